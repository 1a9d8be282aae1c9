/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeover.c - finds processes that outlived their control process, waits for them and completes what is missing.
 *
 * Used by main.c at start and by supervise.c when a process says HELLO with `adopt`. A process that lives and does not
 * come is killed before another takes its place: two must never own one journal.
 */
#include "takeover.h"

#include "listen.h"
#include "handoff.h"
#include "peers.h"
#include "supervise.h"
#include "trouble.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAKEOVER_WAIT_S 3

/* When did @pid start, realtime ns? 0 if there is no such process. */
static uint64_t takeover_started_ns(pid_t pid)
{
	unsigned long long ticks = 0, boot = 0;
	char path[64], line[1024], *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	at = fgets(line, sizeof(line), f);
	fclose(f);
	at = at ? strrchr(line, ')') : NULL; /* the name may hold anything */
	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
	                  &ticks) != 1)
		return 0;
	f = fopen("/proc/stat", "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "btime %llu", &boot) == 1)
			break;
	fclose(f);
	return boot * 1000000000ull + ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

bool takeover_is_ours(pid_t pid)
{
	char path[64], line[512];
	const char *base;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = 0;
	base = strrchr(line, '/');
	base = base ? base + 1 : line;
	return !strncmp(base, "millrace-", 9);
}

/* The process that wrote this region, if it lives; 0 otherwise. */
static pid_t takeover_region(const char *run, const char *name, uint64_t *ret_incarnation)
{
	const uint64_t slack_ns = 3000000000ull; /* the kernel's boot time is whole seconds, and clocks are set */
	const struct mr_region *r;
	char path[700];
	uint64_t started;
	size_t bytes;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s.region", run, name);
	if (mr_region_open(path, &r, &bytes) < 0)
		return 0;
	pid = (pid_t)r->pid;
	*ret_incarnation = r->incarnation;
	started = takeover_started_ns(pid);
	if (!started || started > r->start_ns + slack_ns || !takeover_is_ours(pid))
		pid = 0;
	mr_region_unmap(r, bytes);
	return pid;
}

static pid_t takeover_peer(const char *run, uint32_t peer, uint64_t *ret_incarnation)
{
	char name[32];

	if (peer == MR_CONNECTOR_FILE)
		snprintf(name, sizeof(name), "connector-file");
	else
		snprintf(name, sizeof(name), "worker-%u", peer);
	return takeover_region(run, name, ret_incarnation);
}

bool takeover_living(const char *run, uint64_t ret_incarnation[MR_PEERS_MAX])
{
	bool living = false;

	for (uint32_t peer = 0; peer <= MR_CONNECTOR_FILE; peer++) {
		ret_incarnation[peer] = 0;
		if (takeover_peer(run, peer, &ret_incarnation[peer]))
			living = true;
	}
	return living;
}

/* What the last control process may not have come to: news of peers that died since, and listening sockets. */
static void takeover_complete_process(struct process *p)
{
	struct control *c = p->control;

	peers_missing(p);
	for (uint32_t i = 0; p->kind == MR_KIND_WORKER && i < c->cfg->listeners.count; i++) {
		struct mr_link_msg m = {.type = MR_LINK_LISTENER};

		if (*listen_at(c, p->index, i) >= 0 || listen_open(c, p->index, false) < 0)
			continue;
		m.u.listener.listener = i;
		handoff_send(p, &m, listen_at(c, p->index, i), 1);
	}
}

static void takeover_end(struct control *c)
{
	uint64_t incarnation;

	c->adopting = false;
	event_del(c->adopt_timer);
	control_each (c, p) {
		pid_t pid = p->pid ? 0 : takeover_peer(c->cfg->run, p->peer, &incarnation);
		const struct log_about about = {.process = p->name, .pid = pid};

		if (!pid)
			continue;
		log_event(LOG_PROCESS_STUCK, &about, "lives but does not answer: killing it");
		kill(pid, SIGKILL);
	}
	control_each (c, p)
		process_bury_unseen(p);
	control_each (c, p)
		if (p->pid && p->ready)
			peers_announce(p);
	control_each (c, p)
		if (p->pid && p->ready)
			takeover_complete_process(p);
	if (c->stop_asked)
		supervise_drain(c);
	else
		supervise_start(c);
}

static void takeover_on_timer(evutil_socket_t fd, short what, void *arg)
{
	takeover_end(arg);
}

void takeover_begin(struct control *c)
{
	const struct timeval wait = {.tv_sec = TAKEOVER_WAIT_S};

	c->adopting = true;
	c->takeover_unsettled = peers_unsettled(c);
	c->adopt_timer = evtimer_new(c->base, takeover_on_timer, c);
	must(c->adopt_timer);
	event_add(c->adopt_timer, &wait);
	log_event(LOG_TAKEOVER, NULL, "processes of this hub are at work: taking them over");
}

/* Has every process that lives come? */
static bool takeover_complete(struct control *c)
{
	uint64_t incarnation;

	control_each (c, p)
		if (!p->pid && takeover_peer(c->cfg->run, p->peer, &incarnation))
			return false;
	return true;
}

void takeover_adopted(struct process *p)
{
	const struct timeval soon = {.tv_usec = 200000}; /* what follows its HELLO is still on its way */
	struct control *c = p->control;

	if (c->takeover_unsettled)
		peers_missing(p); /* every pair gets fresh rings when both have announced their journals */
	else
		peers_adopted(p);
	if (!c->adopting)
		peers_announce(p);
	else if (takeover_complete(c))
		event_add(c->adopt_timer, &soon);
}

void takeover_close(struct control *c)
{
	if (c->adopt_timer)
		event_free(c->adopt_timer);
	c->adopt_timer = NULL;
}
