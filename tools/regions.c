/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regions.c - finds and reads the shared regions of a hub.
 *
 * Used by top, status (when the control process is dead) and completion. Read-only; a region of a dead process is as
 * good as that of a living one. Looks metrics up by name and label, so that it may be older or newer than the hub.
 */
#include "regions.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mr_paths.h"

static const struct {
	const char *name, *label;
} regions_metrics[MR_METRICS] = {
#define MR_METRIC(id, scope, type, name, label, help) {name, label},
#include "mr_metrics.def"
#undef MR_METRIC
};

static int regions_compare(const void *a, const void *b)
{
	const struct mr_region *x = ((const struct regions_process *)a)->region;
	const struct mr_region *y = ((const struct regions_process *)b)->region;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/*
 * Does the process that wrote this region still live? Its number may be in use by another process by now: that one was
 * started later than the region was made. A dead process that nobody has waited for is dead.
 */
static bool regions_alive(const struct mr_region *r)
{
	unsigned long long ticks = 0;
	char path[64], text[1024], state = 'Z';
	struct timespec real, boot;
	const char *after;
	size_t n;
	FILE *f;

	if (mr_load(&r->state) == MR_STATE_STOPPED)
		return false;
	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)r->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	after = strrchr(text, ')'); /* the program's name may hold anything */
	if (!after ||
	    sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
	           &state, &ticks) != 2 ||
	    state == 'Z' || state == 'X')
		return false;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	/* Seconds since boot; two for rounding and for a clock that is being adjusted. */
	return (double)ticks / (double)sysconf(_SC_CLK_TCK) <
	       (double)r->start_ns / 1e9 - (double)(real.tv_sec - boot.tv_sec) + 2;
}

/* Adds the names of one region's items to a list that has each once. Returns the new count or -ENOMEM. */
static int regions_names(const struct mr_region *r, uint32_t scope, char (**list)[MR_NAME_BYTES], int count)
{
	uint32_t items = mr_region_items(r, scope);
	void *p = realloc(*list, ((size_t)count + items + 1) * MR_NAME_BYTES);

	if (!p)
		return -ENOMEM;
	*list = p;
	for (uint32_t i = 0; i < items; i++) {
		const char *name = mr_region_name(r, scope, i);
		int j = 0;

		while (j < count && strncmp((*list)[j], name, MR_NAME_BYTES) != 0)
			j++;
		if (j == count) {
			memcpy((*list)[count], name, MR_NAME_BYTES);
			(*list)[count++][MR_NAME_BYTES - 1] = 0;
		}
	}
	return count;
}

static int regions_collect(struct regions *g, const char *file)
{
	struct regions_process *p = &g->process[g->count];
	size_t stem = strlen(file) - strlen(".region");
	char path[800];
	int r;

	snprintf(path, sizeof(path), "%s/%s", g->run, file);
	r = mr_region_open(path, &p->region, &p->bytes);
	if (r < 0)
		return r == -ENOENT || r == -EPROTO ? 0 : r; /* being replaced, or of another version */
	snprintf(p->name, sizeof(p->name), "%.*s", (int)stem, file);
	for (char *c = p->name; *c; c++)
		if (*c == '-')
			*c = ' ';
	p->alive = regions_alive(p->region);
	g->count++;
	r = regions_names(p->region, MR_SCOPE_LISTENER, &g->listeners, g->listener_count);
	if (r < 0)
		return r;
	g->listener_count = r;
	r = regions_names(p->region, MR_SCOPE_DEST, &g->dests, g->dest_count);
	if (r < 0)
		return r;
	g->dest_count = r;
	return 0;
}

int regions_open(const char *run, struct regions *ret)
{
	struct dirent *e;
	int r = 0;
	DIR *d;

	memset(ret, 0, sizeof(*ret));
	r = mr_run_folder(run, ret->run, sizeof(ret->run));
	if (r < 0)
		return r;
	d = opendir(ret->run);
	if (!d)
		return -errno;
	while (r == 0 && ret->count < MR_PEERS_MAX && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (n > 7 && strcmp(e->d_name + n - 7, ".region") == 0)
			r = regions_collect(ret, e->d_name);
	}
	closedir(d);
	if (r == 0 && ret->count == 0)
		r = -ENOENT;
	if (r < 0) {
		regions_close(ret);
		return r;
	}
	qsort(ret->process, (size_t)ret->count, sizeof(ret->process[0]), regions_compare);
	return 0;
}

void regions_close(struct regions *g)
{
	for (int i = 0; i < g->count; i++)
		mr_region_unmap(g->process[i].region, g->process[i].bytes);
	free(g->listeners);
	free(g->dests);
	g->count = g->listener_count = g->dest_count = 0;
	g->listeners = g->dests = NULL;
}

/* The words of @m for item @name in one region, or NULL. */
static const uint64_t *regions_words(const struct mr_region *r, enum mr_metric m, const char *name, uint32_t *ret_words)
{
	const struct mr_metric_desc *d = m < r->metric_count ? mr_region_metric(r, m) : NULL;

	if (!d || strcmp(d->name, regions_metrics[m].name) != 0 || strcmp(d->label, regions_metrics[m].label) != 0) {
		d = NULL; /* a hub of another version: search */
		for (uint32_t i = 0; i < r->metric_count && !d; i++) {
			d = mr_region_metric(r, i);
			if (strcmp(d->name, regions_metrics[m].name) != 0 ||
			    strcmp(d->label, regions_metrics[m].label) != 0)
				d = NULL;
		}
	}
	if (!d)
		return NULL;
	*ret_words = d->words;
	if (d->scope == MR_SCOPE_WORKER)
		return mr_region_words(r, d, 0);
	for (uint32_t i = 0; i < mr_region_items(r, d->scope); i++)
		if (strncmp(mr_region_name(r, d->scope, i), name, MR_NAME_BYTES) == 0)
			return mr_region_words(r, d, i);
	return NULL;
}

uint64_t regions_value(const struct regions_process *p, enum mr_metric m, const char *name)
{
	uint32_t words;
	const uint64_t *w = regions_words(p->region, m, name, &words);

	return w ? mr_load_relaxed(w) : 0;
}

uint64_t regions_sum(const struct regions *g, enum mr_metric m, const char *name)
{
	uint64_t sum = 0;

	for (int i = 0; i < g->count; i++)
		sum += regions_value(&g->process[i], m, name);
	return sum;
}

void regions_hist(const struct regions *g, enum mr_metric m, const char *name, uint64_t *words)
{
	memset(words, 0, MR_HIST_WORDS * sizeof(*words));
	for (int i = 0; i < g->count; i++) {
		uint32_t n = 0;
		const uint64_t *w = regions_words(g->process[i].region, m, name, &n);

		for (uint32_t j = 0; w && n == MR_HIST_WORDS && j < n; j++)
			words[j] += mr_load_relaxed(w + j);
	}
}

uint32_t regions_lanes(const struct regions *g, const char *dest, uint32_t *ret_up, uint32_t *ret_all)
{
	uint32_t best = MR_LANE_UNUSED, up = 0, all = 0;

	for (int i = 0; i < g->count; i++) {
		const struct mr_region *r = g->process[i].region;
		const struct mr_lane_info *lanes = (const void *)((const char *)r + r->lanes_offset);
		const uint32_t *first = (const void *)((const char *)r + r->lane_first_offset);

		for (uint32_t d = 0; d < r->dest_count; d++) {
			if (strncmp(mr_region_name(r, MR_SCOPE_DEST, d), dest, MR_NAME_BYTES) != 0)
				continue;
			for (uint32_t l = first[d]; l < first[d + 1] && l < r->lane_count; l++) {
				uint32_t state = g->process[i].alive ? lanes[l].state : (uint32_t)MR_LANE_UNUSED;

				all += state != MR_LANE_UNUSED;
				up += state == MR_LANE_UP;
				if (state == MR_LANE_UP || (best != MR_LANE_UP && state > best))
					best = state;
			}
		}
	}
	*ret_up = up;
	*ret_all = all;
	return best;
}

const char *regions_state_name(uint64_t state)
{
	static const char *const names[] = {"?", "starting", "recovering", "ready", "running", "draining", "stopped"};

	return state < MR_ARRAY_LEN(names) ? names[state] : "?";
}

const char *regions_lane_name(uint32_t state)
{
	static const char *const names[] = {"unused", "idle", "resolving", "connecting", "up", "backoff", "paused"};

	return state < MR_ARRAY_LEN(names) ? names[state] : "?";
}
