/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - what the control process knows of one worker or connector: its record and its public region.
 *
 * Used by every file of control/ that deals with processes. A region is another process's memory: read only, mapped as
 * long as needed, and kept after its owner's death until the next life has recovered, so that counters never go back
 * and a queue never looks empty because its worker is being restarted.
 */
#include "control.h"
#include "image.h"
#include "totals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t process_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t control_now_ns(void)
{
	return process_clock_ns(CLOCK_MONOTONIC);
}

uint64_t control_wall_ns(void)
{
	return process_clock_ns(CLOCK_REALTIME);
}

struct process *process_new(struct control *c, uint32_t kind, uint32_t index)
{
	struct process *p = calloc(1, sizeof(*p));

	must(p);
	p->control = c;
	p->kind = kind;
	p->index = index;
	p->peer = kind == MR_KIND_WORKER ? index : MR_CONNECTOR_FILE;
	p->pidfd = -1;
	if (kind == MR_KIND_WORKER)
		snprintf(p->name, sizeof(p->name), "worker-%u", index);
	else
		snprintf(p->name, sizeof(p->name), "connector-file");
	return p;
}

void process_free(struct process *p)
{
	for (uint32_t i = 0; i < p->tail_count; i++)
		for (int k = 0; k < 2; k++)
			if (p->tails[i].fds[k] >= 0)
				close(p->tails[i].fds[k]);
	free(p->tails);
	mr_region_unmap(p->region, p->region_bytes);
	mr_region_unmap(p->ghost, p->ghost_bytes);
	totals_free(p->base);
	free(p);
}

static const struct mr_region *process_open_region(struct process *p)
{
	const struct mr_region *r;
	char path[700];
	size_t bytes;

	snprintf(path, sizeof(path), "%s/%s.region", p->control->cfg->run, p->name);
	if (mr_region_open(path, &r, &bytes) < 0)
		return NULL;
	if (r->incarnation != p->incarnation || r->kind != p->kind || r->index != p->index) {
		mr_region_unmap(r, bytes); /* of a life before: the new one has not made its own yet */
		return NULL;
	}
	p->region = r;
	p->region_bytes = bytes;
	p->heartbeat_ns = mr_load_relaxed(&r->heartbeat_ns);
	p->heartbeat_seen_ns = control_now_ns();
	p->busy_seen_ns = 0;
	return r;
}

const struct mr_region *process_map_region(struct process *p)
{
	return p->region || !p->pid ? p->region : process_open_region(p);
}

/* What RUN/<name>.base holds before the words of the totals: a later control process goes on from it. */
struct process_base {
	uint64_t magic;
	uint64_t metrics, listeners, dests; /* of another build or configuration: not used */
	uint64_t incarnation;               /* the last life that is in it */
	uint64_t restarts;
};

#define PROCESS_BASE_MAGIC 0x45534142524c4d01ull

static struct totals *process_base(struct process *p)
{
	if (!p->base)
		p->base = totals_new(p->control->cfg->listeners.count, p->control->cfg->dests.count);
	must(p->base);
	return p->base;
}

static struct process_base process_base_head(const struct process *p)
{
	return (struct process_base){
	    PROCESS_BASE_MAGIC,           MR_METRICS,          p->control->cfg->listeners.count,
	    p->control->cfg->dests.count, p->base_incarnation, p->restarts};
}

void process_save_base(struct process *p)
{
	const struct totals *t = process_base(p);
	struct process_base head = process_base_head(p);
	size_t bytes = sizeof(head) + t->count * sizeof(uint64_t);
	char name[48], *all = malloc(bytes);

	must(all);
	memcpy(all, &head, sizeof(head));
	memcpy(all + sizeof(head), t->words, t->count * sizeof(uint64_t));
	snprintf(name, sizeof(name), "%s.base", p->name);
	image_put(p->control->cfg->run, name, all,
	          bytes); /* without it a counter may begin anew later: no more than that */
	free(all);
}

void process_load_base(struct process *p)
{
	struct process_base head, mine = process_base_head(p);
	struct totals *t = process_base(p);
	char path[700];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.base", p->control->cfg->run, p->name);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fread(&head, sizeof(head), 1, f) == 1 &&
	    !memcmp(&head, &mine, offsetof(struct process_base, incarnation)) &&
	    fread(t->words, sizeof(uint64_t), t->count, f) == t->count) {
		p->base_incarnation = head.incarnation;
		p->restarts = head.restarts;
	} else {
		totals_clear(t);
	}
	fclose(f);
}

void process_forget_base(struct process *p)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/%s.base", p->control->cfg->run, p->name);
	unlink(path);
}

void process_bury_unseen(struct process *p)
{
	if (!p->pid && p->incarnation > p->base_incarnation && process_open_region(p))
		process_bury_region(p);
}

void process_bury_region(struct process *p)
{
	if (!p->region)
		return;
	totals_add_region(process_base(p), p->region, TOTALS_GROWING);
	p->base_incarnation = p->incarnation;
	process_save_base(p);
	/* A life that died while it recovered never had true gauges: those of the one before stay. */
	if (p->ghost && mr_load_relaxed(&p->region->state) < MR_STATE_READY) {
		mr_region_unmap(p->region, p->region_bytes);
	} else {
		mr_region_unmap(p->ghost, p->ghost_bytes);
		p->ghost = p->region;
		p->ghost_bytes = p->region_bytes;
	}
	p->region = NULL;
	p->region_bytes = 0;
}

void process_drop_ghost(struct process *p)
{
	mr_region_unmap(p->ghost, p->ghost_bytes);
	p->ghost = NULL;
	p->ghost_bytes = 0;
}

uint64_t process_pending(const struct process *p)
{
	const struct mr_region *r = p->ghost ? p->ghost : p->region;

	return r && p->kind == MR_KIND_WORKER ? mr_load_relaxed(&r->pending) : 0;
}

uint64_t process_rss_bytes(pid_t pid)
{
	unsigned long long pages = 0;
	char path[64];
	FILE *f;

	if (!pid)
		return 0;
	if (pid < 0)
		snprintf(path, sizeof(path), "/proc/self/statm");
	else
		snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *process_state_name(const struct process *p)
{
	if (!p->pid)
		return "down";
	if (!p->region)
		return "starting";
	switch (mr_load_relaxed(&p->region->state)) {
	case MR_STATE_STARTING:
		return "starting";
	case MR_STATE_RECOVERING:
		return "recovering";
	case MR_STATE_READY:
		return "ready";
	case MR_STATE_RUNNING:
		return "running";
	case MR_STATE_DRAINING:
		return "draining";
	default:
		return "stopped";
	}
}
