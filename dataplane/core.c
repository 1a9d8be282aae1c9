/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - THE loop. Read this first.
 *
 * One turn: wait for what happened, let each part handle its events, then push everything as far as it can go: what was
 * committed into the queues, answers out, work to the destinations, outcomes into the journal, the journal to the disk.
 * Runs on the core's own thread; nothing in here may block but the wait itself.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIST_END UINT32_MAX

#define core_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* ---- creation ---- */

static void core_local_time(struct core *c)
{
	time_t t = (time_t)(c->realtime_ns / 1000000000u);
	struct tm tm;

	if (localtime_r(&t, &tm))
		c->utc_offset_minutes = (int32_t)(tm.tm_gmtoff / 60);
}

static int core_listeners_init(struct core *c)
{
	c->listener = calloc(c->cfg->listeners.count + 1, sizeof(*c->listener));
	if (!c->listener)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++)
		c->listener[i] = (struct listener){
			.fd = -1,
			.connections_max = (mr_config_listener(c->cfg, i)->connections_max + c->cfg->workers - 1) / c->cfg->workers,
		};
	return 0;
}

static void core_ready(struct core *c, uint8_t state)
{
	c->state = state;
	mr_store(&c->region.region->state, state);
}

int core_create(struct io *io, const struct mr_config *cfg, uint32_t index, uint64_t incarnation, const char *run,
		int link_fd, struct core **ret)
{
	struct core *c = calloc(1, sizeof(*c));
	char path[600];
	int r;

	if (!c)
		return -ENOMEM;
	c->io = io;
	c->cfg = cfg;
	c->index = index;
	c->incarnation = incarnation;
	c->link_fd = link_fd;
	c->conn_count = cfg->worker_connections_max + 1024;
	c->now_ns = io_now(io);
	c->realtime_ns = io_realtime(io);
	c->hash_seed = io_random(io);
	c->nak_counter = io_random(io) >> 16;
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++)
		c->sources[j].dupes.fd = -1;
	c->dupes.fd = -1;
	snprintf(c->run, sizeof(c->run), "%s", run);
	snprintf(path, sizeof(path), "%s/worker-%u.region", run, index);
	wheel_init(&c->wheel, c->now_ns);
	core_local_time(c);
	r = mr_region_create(path, MR_KIND_WORKER, index, incarnation, cfg, &c->region);
	if (r < 0)
		goto fail;
	core_ready(c, MR_STATE_RECOVERING);
	mr_gauge_worker(&c->region, MR_M_W_COMMIT_DURABLE, cfg->commit == MR_COMMIT_DURABLE);
	if ((r = frame_pool_create(cfg->frame_memory_bytes, &c->frames)) < 0 || (r = route_create(cfg, &c->routes)) < 0 ||
	    (r = conn_init(c)) < 0 || (r = core_listeners_init(c)) < 0 || (r = queue_init(c)) < 0 || (r = dest_init(c)) < 0)
		goto fail;
	if (cfg->duplicate_entries && (r = dupes_create(cfg->duplicate_entries, &c->dupes)) < 0)
		goto fail;
	c->sources[index].dupes = c->dupes;
	if ((r = recover_journal(c, index, false)) < 0 || (r = recover_orphans(c)) < 0)
		goto fail;
	c->journal = c->sources[index].own;
	c->walked = journal_appended(c->journal);
	core_ready(c, MR_STATE_READY);
	*ret = c;
	return 0;
fail:
	core_destroy(c);
	return r;
}

void core_destroy(struct core *c)
{
	if (!c)
		return;
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++) {
		if (c->sources[j].own)
			journal_close(c->sources[j].own);
		if (c->sources[j].reader)
			mr_reader_close(c->sources[j].reader);
		free(c->q.outcome[j]);
		if (j != c->index)
			dupes_destroy(&c->sources[j].dupes);
	}
	if (c->routes)
		route_free(c->routes);
	frame_pool_destroy(c->frames);
	if (c->region.region)
		mr_store(&c->region.region->state, MR_STATE_STOPPED);
	mr_region_close(&c->region);
	queue_destroy(c);
	dest_destroy(c);
	dupes_destroy(&c->dupes);
	free(c->conn);
	free(c->ack);
	free(c->listener);
	free(c);
}

/* ---- listeners ---- */

void core_listener(struct core *c, uint32_t listener, int fd)
{
	if (listener >= c->cfg->listeners.count || c->listener[listener].fd >= 0) {
		close(fd);
		return;
	}
	c->listener[listener].fd = fd;
	if (c->accepting)
		core_accept(c);
}

void core_accept(struct core *c)
{
	c->accepting = true;
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++) {
		struct listener *l = &c->listener[i];

		if (l->fd < 0 || l->listening || c->draining)
			continue;
		l->listening = io_listen(c->io, l->fd, core_tag(TAG_LISTENER, i)) == 0;
	}
	core_ready(c, MR_STATE_RUNNING);
}

/* ---- draining ---- */

void core_drain(struct core *c)
{
	if (c->draining) {
		c->others_drained = true;
		return;
	}
	c->draining = true;
	c->drain_since_ns = c->now_ns;
	core_ready(c, MR_STATE_DRAINING);
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++)
		if (c->listener[i].fd >= 0) {
			if (c->listener[i].listening)
				io_unlisten(c->io, core_tag(TAG_LISTENER, i));
			shutdown(c->listener[i].fd, SHUT_RDWR); /* refuse from now on: senders must not wait in a backlog */
		}
}

static bool core_journals_idle(const struct core *c)
{
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++)
		if (c->sources[j].own && (c->q.outcomes[j] || (!journal_idle(c->sources[j].own) && !journal_failed(c->sources[j].own))))
			return false;
	return true;
}

/*
 * Finished here means: no connection has an answer due, nothing sent is unanswered, the journal is on disk. Outcomes may
 * still come from the other processes, so the end is when the control plane says that they have finished too.
 */
static void core_drain_step(struct core *c)
{
	struct mr_link_msg m = {.type = MR_LINK_DRAINED};
	bool quiet;

	conn_drain(c);
	quiet = !c->connections && !dest_outstanding(c) && core_journals_idle(c);
	if (!quiet)
		c->quiet_since_ns = 0;
	else if (!c->quiet_since_ns)
		c->quiet_since_ns = c->now_ns;
	if (quiet && !c->drained_told) {
		c->drained_told = true;
		link_send(c, &m, NULL, 0);
	}
	if (quiet && (c->others_drained || c->link_fd < 0) && c->now_ns - c->quiet_since_ns > 20000000u)
		c->stop = true;
	if (c->now_ns - c->drain_since_ns > c->cfg->drain_timeout_ns && core_journals_idle(c))
		c->stop = true;
	if (c->now_ns - c->drain_since_ns > c->cfg->drain_timeout_ns + 5000000000u)
		c->stop = true;
}

/* ---- the turn ---- */

void core_committed(struct core *c)
{
	uint64_t durable = journal_durable(c->journal);
	uint64_t segment = journal_tail(c->journal)->segment_bytes; /* a journal keeps the size it was made with */

	while (c->walked < durable) {
		const struct mr_rec *rec;

		if (c->walked % segment == 0) {
			c->walked += MR_JOURNAL_BLOCK; /* the segment's header */
			continue;
		}
		rec = journal_record(c->journal, c->walked);
		must(rec); /* journal_room() overwrites only what was walked: see core_turn() */
		if (rec->type == MR_REC_MESSAGE) {
			const struct mr_rec_message *m = (const struct mr_rec_message *)(rec + 1);
			const uint16_t *dests = (const uint16_t *)(m + 1);

			for (uint32_t i = 0; i < m->dest_count; i++)
				queue_push(c, dests[i], m->key, c->index, c->walked, m->payload_bytes);
		}
		c->walked += mr_align_up(rec->bytes, 8);
	}
}

static void core_file_event(struct core *c, const struct io_event *e)
{
	uint32_t index = (uint32_t)(e->tag & 0xffffffffu);

	if (e->tag >> 56 == TAG_LANE_READ) {
		dest_read_done(c, index, e->result);
		return;
	}
	journal_io(c->sources[index >> 16].own, e);
	core_committed(c); /* before anything is appended over what became durable */
}

static void core_event(struct core *c, const struct io_event *e)
{
	if (e->tag >> 56 == TAG_LANE) { /* connections that we made */
		dest_event(c, e);
		return;
	}
	switch (e->type) {
	case IO_ACCEPTED:
		conn_accept(c, e);
		break;
	case IO_RECEIVED:
		conn_received(c, e);
		break;
	case IO_SENT:
		conn_sent(c, e);
		break;
	case IO_EOF:
		conn_eof(c, e);
		break;
	case IO_CLOSED:
		conn_closed(c, e);
		break;
	case IO_FILE:
		core_file_event(c, e);
		break;
	case IO_WAKE:
		if (e->tag >> 56 == TAG_LINK)
			link_event(c);
		else
			ring_event(c, (uint32_t)e->tag);
		break;
	}
}

static void core_timers(struct core *c)
{
	struct timer *t;

	while ((t = wheel_fire(&c->wheel, c->now_ns))) {
		if (t->kind == TAG_CONN)
			conn_timer(c, core_of(t, struct conn, timer));
		else
			dest_timer(c, core_of(t, struct lane, timer));
	}
}

void core_full(struct core *c, uint32_t bytes, uint32_t dests)
{
	c->full_bytes = bytes ? bytes : 1;
	c->full_dests = (uint16_t)dests;
	mr_gauge_worker(&c->region, MR_M_W_JOURNAL_FULL, 1);
	link_trouble(c, 3, MR_CODE_DISK_FULL, UINT32_MAX, 0, false,
		     "the journal cannot grow (disk or journal.max full): nothing is accepted, deliveries go on");
}

static void core_check_full(struct core *c)
{
	if (c->full_bytes && journal_room(c->journal, c->full_bytes, c->full_dests) != JOURNAL_FULL) {
		c->full_bytes = 0;
		link_trouble(c, 3, MR_CODE_DISK_FULL, UINT32_MAX, 0, true, "the journal has room again");
	}
	mr_gauge_worker(&c->region, MR_M_W_JOURNAL_FULL, c->full_bytes != 0);
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++) {
		if (!c->sources[j].own || !journal_failed(c->sources[j].own))
			continue;
		link_trouble(c, 3, MR_CODE_JOURNAL_WRITE, UINT32_MAX, j, false,
			     "the disk refuses the writes of journal %u: the worker starts again", j);
		c->journal_dead = true;
	}
}

/* Now and then: heartbeat, gauges, the journals' housekeeping. */
static void core_tick(struct core *c)
{
	if (c->now_ns < c->tick_ns)
		return;
	c->tick_ns = c->now_ns + CORE_TICK_NS;
	mr_set_own(&c->region.region->heartbeat_ns, c->realtime_ns);
	core_local_time(c);
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++)
		if (c->sources[j].own)
			journal_tick(c->sources[j].own, c->now_ns, c->realtime_ns);
	core_check_full(c);
	queue_gauges(c);
	mr_gauge_worker(&c->region, MR_M_W_FRAME_MEMORY, frame_pool_used(c->frames));
	link_tick(c);
}

/* Everything as far as it can go now. */
static void core_push(struct core *c)
{
	ring_poll(c);
	if (c->stall_count && (c->now_ns >= c->stall_at_ns)) {
		c->stall_at_ns = c->now_ns + STALL_RETRY_NS / 8;
		conn_retry_stalled(c);
	}
	core_committed(c);
	ack_release(c);
	queue_hand_out(c);
	dest_pump(c);
	queue_hand_out(c); /* what an outcome just made room for */
	queue_flush_outcomes(c);
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++)
		if (c->sources[j].own)
			journal_flush(c->sources[j].own, c->now_ns);
	core_committed(c);
	ack_release(c);
	conn_flush(c);
	ring_wake(c);
	if (c->adopt_left)
		link_push(c);
}

static uint64_t core_wait_ns(struct core *c, uint64_t timeout_ns)
{
	uint64_t t = wheel_wait_ns(&c->wheel, c->now_ns, timeout_ns);

	if (c->cfg->busy_poll || c->lane_list != LIST_END || c->q.list_head != LIST_END || c->report_head != LIST_END)
		t = t < 200000u ? t : 200000u;
	if ((c->stall_count || c->adopt_left) && t > STALL_RETRY_NS)
		t = STALL_RETRY_NS;
	if (c->tick_ns > c->now_ns && t > c->tick_ns - c->now_ns)
		t = c->tick_ns - c->now_ns;
	return t;
}

int core_turn(struct core *c, uint64_t timeout_ns)
{
	const struct io_event *e;
	uint64_t wait = core_wait_ns(c, timeout_ns), busy;
	int n;

	if (wait && !ring_sleep(c))
		wait = 0;
	n = io_wait(c->io, wait, &e);
	ring_awake(c);
	if (n < 0)
		return n;
	c->now_ns = io_now(c->io);
	c->realtime_ns = io_realtime(c->io);
	for (int i = 0; i < n; i++)
		core_event(c, &e[i]);
	core_timers(c);
	core_push(c);
	core_tick(c);
	if (c->draining)
		core_drain_step(c);
	busy = io_now_exact(c->io) - c->now_ns;
	mr_count_worker(&c->region, MR_M_W_LOOPS, 1);
	mr_count_worker(&c->region, MR_M_W_EVENTS, (uint64_t)n);
	mr_count_worker(&c->region, MR_M_W_BUSY_NS, busy);
	if (busy > c->cycle_max_ns) {
		c->cycle_max_ns = busy;
		mr_gauge_worker(&c->region, MR_M_W_CYCLE_MAX_NS, busy);
	}
	return 0;
}

int core_run(struct core *c)
{
	int r = 0;

	while (r == 0 && !c->stop && !c->journal_dead)
		r = core_turn(c, CORE_IDLE_WAIT_NS);
	return c->journal_dead ? -EIO : r; /* started again it finds out whether the disk is well: nothing here can mend it */
}
