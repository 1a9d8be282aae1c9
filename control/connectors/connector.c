/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector.c - the loop of a connector process: ring records in, the kind's work, outcomes out, heartbeat, drain.
 *
 * connector_run() is called by the main() of each kind of connector and is the process's only loop; the kind's threads
 * wake it by c->work_event. It must never wait for a disk or a network: a kind gives such work to its threads.
 */
#include "connector.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct mr_lane_info *connector_lane(struct connector *c, uint32_t dest)
{
	return &c->region.lanes[c->region.lane_first[dest]];
}

void connector_lane_state(struct connector *c, uint32_t dest, enum mr_lane_state state)
{
	struct mr_lane_info *lane = connector_lane(c, dest);

	if (lane->state == (uint32_t)state)
		return;
	lane->state = (uint32_t)state;
	mr_set_own(&lane->since_ns, c->realtime_ns);
}

void connector_trouble(struct connector *c, enum connector_code code, uint32_t item, int64_t arg, uint32_t level,
                       bool over, const char *fmt, ...)
{
	struct mr_link_msg m = {.type = MR_LINK_TROUBLE, .version = MR_LINK_VERSION};
	va_list ap;

	m.u.trouble.code = (uint32_t)code;
	m.u.trouble.item = item;
	m.u.trouble.arg = arg;
	m.u.trouble.level = level;
	m.u.trouble.over = over;
	va_start(ap, fmt);
	vsnprintf(m.u.trouble.text, sizeof(m.u.trouble.text), fmt, ap);
	va_end(ap);
	if (!over)
		mr_region_error(&c->region, (uint32_t)code, item, arg, c->realtime_ns);
	if (c->link >= 0)
		mr_link_send(c->link, &m, NULL, 0);
}

void connector_drain(struct connector *c)
{
	if (c->draining)
		return;
	c->draining = true;
	if (!c->cfg)
		return;
	c->drain_until_ns = c->now_ns + c->cfg->drain_timeout_ns;
	mr_set_own(&c->region.region->state, MR_STATE_DRAINING);
}

static int loop_watch(struct connector *c, int fd, uint64_t what)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = what};

	return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int loop_signals(struct connector *c)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	/* Ctrl-C reaches the whole group of a terminal: the control process decides then. A file size limit is an
	 * error. */
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	c->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return c->signals < 0 ? -errno : loop_watch(c, c->signals, CONNECTOR_EVENT_SIGNAL);
}

static void loop_files_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int loop_open(struct connector *c)
{
	int r;

	loop_files_limit();
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll < 0)
		return -errno;
	c->work_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->work_event < 0)
		return -errno;
	r = loop_watch(c, c->work_event, CONNECTOR_EVENT_WORK);
	return r ? r : loop_signals(c);
}

static void loop_event(struct connector *c, uint64_t what)
{
	struct signalfd_siginfo info;
	eventfd_t n;

	if (what == CONNECTOR_EVENT_LINK) {
		connector_link_event(c);
	} else if (what == CONNECTOR_EVENT_SIGNAL) {
		while (read(c->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
			connector_drain(c);
	} else if (what == CONNECTOR_EVENT_WORK) {
		eventfd_read(c->work_event, &n);
	} else if (c->peer[what].up) { /* a PEER_GONE before it in the same batch may have closed it */
		eventfd_read(c->peer[what].from_event, &n);
	}
}

static void loop_wait(struct connector *c, uint64_t until_ns)
{
	struct epoll_event e[64];
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t wait = until_ns > now ? until_ns - now : 0;
	struct timespec t;
	int n;

	if (wait > CONNECTOR_IDLE_WAIT_NS)
		wait = CONNECTOR_IDLE_WAIT_NS;
	if (wait && !connector_ring_sleep(c))
		wait = 0;
	t.tv_sec = 0;
	t.tv_nsec = (long)wait;
	n = epoll_pwait2(c->epoll, e, (int)MR_ARRAY_LEN(e), &t, NULL);
	connector_ring_awake(c);
	c->now_ns = clock_ns(CLOCK_MONOTONIC);
	c->realtime_ns = clock_ns(CLOCK_REALTIME);
	for (int i = 0; i < n; i++)
		loop_event(c, e[i].data.u64);
}

static void loop_ready(struct connector *c)
{
	if (c->ready_said || !c->kind->ready(c))
		return;
	c->ready_said = true;
	mr_set_own(&c->region.region->state, c->draining ? MR_STATE_DRAINING : MR_STATE_RUNNING);
	connector_link_say(c, MR_LINK_READY, 0);
}

/* Returns true when the process may end. */
static bool loop_drained(struct connector *c)
{
	if (!c->draining)
		return false;
	if (!c->cfg) {
		connector_link_say(c, MR_LINK_DRAINED, 0);
		return true;
	}
	if (!c->kind->drained(c, c->now_ns >= c->drain_until_ns) &&
	    c->now_ns < c->drain_until_ns + CONNECTOR_LINK_FIRST_NS)
		return false;
	if (!connector_ring_flush(c) && c->now_ns < c->drain_until_ns)
		return false;
	mr_set_own(&c->region.region->state, MR_STATE_STOPPED);
	connector_link_say(c, MR_LINK_DRAINED, 0);
	return true;
}

/* One turn; returns when the next one is due at the latest. */
static uint64_t loop_turn(struct connector *c)
{
	uint64_t due = c->now_ns + CONNECTOR_IDLE_WAIT_NS, kind_due;

	connector_link_turn(c);
	if (c->link < 0 && c->link_retry_ns < due)
		due = c->link_retry_ns;
	if (!c->cfg)
		return due;
	if (connector_ring_take(c) >= CONNECTOR_TAKE_BUDGET)
		due = c->now_ns;
	kind_due = c->kind->turn(c);
	if (kind_due < due)
		due = kind_due;
	if (!connector_ring_flush(c) && due > c->now_ns + CONNECTOR_RING_WAIT_NS)
		due = c->now_ns + CONNECTOR_RING_WAIT_NS;
	loop_ready(c);
	mr_set_own(&c->region.region->pending, c->items.taken);
	mr_set_own(&c->region.region->heartbeat_ns, c->realtime_ns);
	return due;
}

static void loop_close(struct connector *c)
{
	if (c->cfg) {
		for (uint16_t i = 0; i < MR_PEERS_MAX; i++)
			connector_ring_close(c, i);
		c->kind->stop(c);
		connector_journals_close(&c->journals);
		connector_items_close(&c->items);
		mr_region_close(&c->region);
		munmap((void *)(uintptr_t)c->cfg, c->cfg_bytes);
	}
	if (c->link >= 0)
		close(c->link);
	if (c->signals >= 0)
		close(c->signals);
	if (c->work_event >= 0)
		close(c->work_event);
	if (c->epoll >= 0)
		close(c->epoll);
}

int connector_run(const struct connector_kind *kind, const char *run)
{
	static struct connector c; /* large; one a process */
	uint64_t due;

	c = (struct connector){.kind = kind, .epoll = -1, .link = -1, .work_event = -1, .signals = -1};
	snprintf(c.run, sizeof(c.run), "%s", run);
	c.now_ns = c.started_ns = c.link_retry_ns = clock_ns(CLOCK_MONOTONIC);
	c.realtime_ns = clock_ns(CLOCK_REALTIME);
	c.failed = loop_open(&c);
	if (c.failed)
		fprintf(stderr, "millrace-connector-%s: cannot start: %s\n", kind->name, strerror(-c.failed));
	while (!c.failed) {
		due = loop_turn(&c);
		if (loop_drained(&c))
			break;
		if (!c.failed)
			loop_wait(&c, due);
	}
	loop_close(&c);
	return c.failed ? 1 : 0;
}
