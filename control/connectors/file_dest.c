/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_dest.c - one file destination: its queue, what it gives to the threads, what they bring back, its back-off.
 *
 * Called by file.c on the connector's loop. Groups of messages go to the threads of file_pool.c; nothing in this file
 * waits for a disk. A failing folder keeps its messages, in their order, and is tried again; it stops no other.
 */
#include "file.h"

#include <errno.h>
#include <string.h>

/* ---- what waits ---- */

/* Merges @back, in order of arrival, into what waits: it came first and goes first. */
static void wait_again(struct connector *c, struct file_dest *d, struct connector_list *back)
{
	struct connector_list all = {0};
	struct connector_item *it;

	while (back->head || d->waiting.head) {
		bool first = back->head && (!d->waiting.head || back->head->arrival < d->waiting.head->arrival);

		it = connector_list_pop(first ? back : &d->waiting);
		if (first && connector_stale(c, it))
			connector_drop(c, it);
		else
			connector_list_push(&all, it);
		if (!first && !back->head) { /* the rest is in order as it is */
			if (d->waiting.head) {
				all.tail->next = d->waiting.head;
				all.tail = d->waiting.tail;
				all.count += d->waiting.count;
			}
			break;
		}
	}
	d->waiting = all;
}

/* The same message in flight already, for a worker that died meanwhile: it need not be written twice. */
static struct connector_item *twin_find(struct connector *c, struct file_dest *d, const struct mr_msg *m)
{
	struct connector_item *it;

	for (int j = 0; j < FILE_JOBS_PER_DEST; j++) {
		for (uint32_t i = 0; d->job[j].out && i < d->job[j].count; i++) {
			it = d->job[j].item[i];
			if (it->m.position == m->position && it->m.journal == m->journal && connector_stale(c, it))
				return it;
		}
	}
	for (it = d->batch.items.head; it; it = it->next) {
		if (it->m.position == m->position && it->m.journal == m->journal && connector_stale(c, it))
			return it;
	}
	return NULL;
}

/* From which to which entry of a worker's queue the open batch reaches. */
static void batch_reach(struct file_batch *b, const struct connector_item *it)
{
	uint64_t seq = it->m.sequence + 1;

	if (!b->seq_first[it->owner] || seq < b->seq_first[it->owner])
		b->seq_first[it->owner] = seq;
	if (seq > b->seq_last[it->owner])
		b->seq_last[it->owner] = seq;
}

void file_dest_take(struct connector *c, struct file_dest *d, struct connector_item *it)
{
	struct connector_item *twin = d->stale ? twin_find(c, d, &it->m) : NULL;

	if (!twin) {
		connector_list_push(&d->waiting, it);
		return;
	}
	twin->owner = it->owner;
	twin->owner_gen = it->owner_gen;
	twin->m.sequence = it->m.sequence;
	twin->m.attempts = it->m.attempts;
	if (d->batch.items.head)
		batch_reach(&d->batch, twin);
	connector_drop(c, it);
}

void file_dest_peer_gone(struct connector *c, struct file_dest *d, uint16_t peer)
{
	struct connector_list old = d->waiting;
	struct connector_item *it;

	d->waiting = (struct connector_list){0};
	while ((it = connector_list_pop(&old))) {
		if (connector_stale(c, it))
			connector_drop(c, it);
		else
			connector_list_push(&d->waiting, it);
	}
	d->stale = d->outstanding > 0;
	d->batch.seq_first[peer] = d->batch.seq_last[peer] = 0;
}

/* ---- trouble ---- */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Doubles from retry_first to retry_max; the last half of it by chance, so that destinations do not march in step. */
static uint64_t backoff_ns(struct file_dest *d)
{
	uint64_t first = d->cfg->retry_first_ns ? d->cfg->retry_first_ns : 10000000u;
	uint64_t most = d->cfg->retry_max_ns > first ? d->cfg->retry_max_ns : first, wait = first;

	for (uint32_t i = 1; i < d->failures && wait < most; i++)
		wait *= 2;
	if (wait > most)
		wait = most;
	return wait / 2 + random_next(&d->random) % (wait / 2 + 1);
}

static void trouble_say(struct connector *c, const struct file_dest *d)
{
	connector_trouble(c, CONNECTOR_MR_WRITE, d->index, d->error, 4, false,
	                  "file destination %s: %s; its messages wait", d->cfg->name, strerror(-d->error));
}

static void dest_failed(struct connector *c, struct file_dest *d, int error)
{
	uint64_t wait;
	bool news = !d->failures || d->error != error;

	if (d->failures && news) /* the log closes what it opened */
		connector_trouble(c, CONNECTOR_MR_WRITE, d->index, d->error, 6, true,
		                  "file destination %s: another error", d->cfg->name);
	if (!d->failures || c->now_ns >= d->retry_at_ns) /* jobs that fail together are one failure */
		d->failures++;
	d->error = error;
	d->up = false;
	wait = backoff_ns(d);
	d->retry_at_ns = c->now_ns + wait;
	mr_set_own(&connector_lane(c, d->index)->retry_at_ns, c->realtime_ns + wait);
	if (news)
		trouble_say(c, d);
	else
		mr_region_error(&c->region, CONNECTOR_MR_WRITE, d->index, error, c->realtime_ns);
}

static void dest_works(struct connector *c, struct file_dest *d)
{
	if (d->failures)
		connector_trouble(c, CONNECTOR_MR_WRITE, d->index, d->error, 6, true,
		                  "file destination %s can be written again", d->cfg->name);
	d->failures = 0;
	d->error = 0;
	d->retry_at_ns = 0;
	d->up = true;
}

void file_dest_tell(struct connector *c, const struct file_dest *d)
{
	if (d->failures)
		trouble_say(c, d);
}

/* ---- what jobs bring back ---- */

static bool passing(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EAGAIN || error == -EINTR;
}

static void item_delivered(struct connector *c, struct connector_item *it)
{
	mr_hist_record(mr_region_value(&c->region, MR_M_D_LATENCY, MR_SCOPE_DEST, it->m.dest),
	               c->now_ns > it->started_ns ? c->now_ns - it->started_ns : 0);
	if (it->m.attempts < UINT16_MAX)
		it->m.attempts++;
	connector_finish(c, it, MR_RESULT_DELIVERED, MR_REASON_NONE);
}

static void item_unread(struct connector *c, struct file_dest *d, struct connector_item *it,
                        struct connector_list *back)
{
	if (!passing(it->error) && ++it->unread >= FILE_UNREAD_MAX) {
		mr_region_error(&c->region, CONNECTOR_MR_UNREADABLE, d->index, it->error, c->realtime_ns);
		if (c->now_ns - d->trouble_ns > 1000000000u)
			connector_trouble(
			    c, CONNECTOR_MR_UNREADABLE, d->index, (int64_t)it->m.position, 3, false,
			    "destination %s: message %u:%llu cannot be read back: %s; it is a dead letter",
			    d->cfg->name, it->m.journal, (unsigned long long)it->m.position, strerror(-it->error));
		d->trouble_ns = c->now_ns;
		connector_finish(c, it, MR_RESULT_DEAD, MR_REASON_UNREADABLE);
		return;
	}
	d->hold_until_ns = c->now_ns + FILE_UNREAD_WAIT_NS;
	connector_list_push(back, it);
}

static void item_failed(struct connector *c, struct file_dest *d, struct connector_item *it,
                        struct connector_list *back)
{
	if (it->m.attempts < UINT16_MAX)
		it->m.attempts++;
	if (d->cfg->attempts_max && it->m.attempts >= d->cfg->attempts_max) {
		connector_finish(c, it, MR_RESULT_DEAD, MR_REASON_IO);
		return;
	}
	it->again = true;
	connector_list_push(back, it);
}

static void count_sent(struct connector *c, const struct file_dest *d, struct connector_item *it)
{
	if (!it->sent)
		return;
	it->sent = false;
	mr_count_dest(&c->region, MR_M_D_SENT, d->index, 1);
	mr_count_dest(&c->region, MR_M_D_SENT_BYTES, d->index, it->m.bytes);
}

static void group_done(struct connector *c, struct file_dest *d, struct file_job *job)
{
	struct connector_list back = {0};
	bool any = false;

	d->outstanding -= job->count;
	if (job->error)
		dest_failed(c, d, job->error);
	for (uint32_t i = 0; i < job->count; i++) {
		struct connector_item *it = job->item[i];

		count_sent(c, d, it);
		if (it->step == FILE_DONE) {
			item_delivered(c, it);
			any = true;
		} else if (it->step == FILE_UNREAD) {
			item_unread(c, d, it, &back);
		} else if (it->step == FILE_FAILED) {
			item_failed(c, d, it, &back);
		} else {
			connector_list_push(&back, it);
		}
	}
	if (any && !job->error)
		dest_works(c, d);
	wait_again(c, d, &back);
}

static void batch_reset(struct file_batch *b)
{
	b->items = (struct connector_list){0};
	b->opened_ns = b->grown_ns = 0;
	memset(b->seq_first, 0, sizeof(b->seq_first));
	memset(b->seq_last, 0, sizeof(b->seq_last));
}

static void batch_grown(struct connector *c, struct file_batch *b, struct connector_item *it)
{
	if (!b->items.head)
		b->opened_ns = c->now_ns;
	b->grown_ns = c->now_ns;
	batch_reach(b, it);
	connector_list_push(&b->items, it);
}

/* The file was thrown away: every message of it begins again. */
static void batch_failed(struct connector *c, struct file_dest *d, struct file_job *job)
{
	struct connector_list back = {0}, old = d->batch.items;
	struct connector_item *it;

	dest_failed(c, d, job->error);
	d->outstanding -= old.count + job->count;
	batch_reset(&d->batch);
	while ((it = connector_list_pop(&old)))
		item_failed(c, d, it, &back);
	for (uint32_t i = 0; i < job->count; i++) {
		it = job->item[i];
		count_sent(c, d, it);
		if (it->step == FILE_UNREAD)
			item_unread(c, d, it, &back);
		else if (it->step == FILE_UNTRIED)
			connector_list_push(&back, it);
		else
			item_failed(c, d, it, &back);
	}
	wait_again(c, d, &back);
}

static void batch_done(struct connector *c, struct file_dest *d, struct file_job *job)
{
	struct connector_list back = {0}, old;
	struct connector_item *it;

	if (job->error) {
		batch_failed(c, d, job);
		return;
	}
	for (uint32_t i = 0; i < job->count; i++) {
		it = job->item[i];
		count_sent(c, d, it);
		if (it->step == FILE_WRITTEN) {
			batch_grown(c, &d->batch, it);
			continue;
		}
		d->outstanding--;
		if (it->step == FILE_UNREAD)
			item_unread(c, d, it, &back);
		else
			connector_list_push(&back, it);
	}
	if (job->close && d->batch.items.head) {
		old = d->batch.items;
		d->outstanding -= old.count;
		batch_reset(&d->batch);
		while ((it = connector_list_pop(&old)))
			item_delivered(c, it);
		dest_works(c, d);
	}
	wait_again(c, d, &back);
}

void file_dest_done(struct connector *c, struct file_job *job)
{
	struct file_dest *d = job->dest;

	must(job->out);
	job->out = false;
	d->jobs--;
	if (job->kind == FILE_JOB_PROBE) {
		d->looked = true;
		if (job->error)
			dest_failed(c, d, job->error);
		else
			dest_works(c, d);
		d->clean = d->clean || !job->error;
	} else if (job->kind == FILE_JOB_GROUP) {
		group_done(c, d, job);
	} else {
		batch_done(c, d, job);
	}
	if (!d->outstanding)
		d->stale = false;
}

/* ---- giving jobs ---- */

static struct file_job *job_free(struct file_dest *d)
{
	for (int i = 0; i < FILE_JOBS_PER_DEST; i++) {
		if (!d->job[i].out)
			return &d->job[i];
	}
	return NULL;
}

static void job_give(struct connector *c, struct file_dest *d, enum file_job_kind kind, uint32_t messages, bool close)
{
	struct file_job *job = job_free(d);
	uint64_t bytes = 0;

	must(job);
	job->dest = d;
	job->kind = kind;
	job->close = close;
	job->error = 0;
	job->count = 0;
	while (job->count < messages && d->waiting.head) {
		struct connector_item *it = d->waiting.head;

		bytes += it->m.bytes;
		if (job->count && bytes > FILE_GROUP_BYTES)
			break;
		connector_list_pop(&d->waiting);
		it->step = FILE_UNTRIED;
		it->error = 0;
		it->started_ns = c->now_ns;
		if (it->again)
			mr_count_dest(&c->region, MR_M_D_RETRIES, d->index, 1);
		job->item[job->count++] = it;
	}
	d->outstanding += job->count;
	d->jobs++;
	job->out = true;
	file_pool_give(d->pool, job);
}

static void group_turn(struct connector *c, struct file_dest *d)
{
	uint32_t jobs_max = d->failures ? 1 : FILE_JOBS_PER_DEST, most = d->failures ? 1 : FILE_GROUP_MAX;

	/* A few messages beside a running job wait for it: they then share one wait for the disk. */
	while (d->waiting.head && d->jobs < jobs_max && (!d->jobs || d->waiting.count >= FILE_GROUP_MIN))
		job_give(c, d, FILE_JOB_GROUP, most, false);
}

/* Some worker has handed out all it may before it hears of one of these: waiting longer brings nothing. */
static bool batch_stalled(const struct connector *c, const struct file_dest *d, const struct file_batch *b)
{
	if (c->now_ns - b->grown_ns < FILE_STALL_NS)
		return false;
	for (int i = 0; i < MR_PEERS_MAX; i++) {
		if (b->seq_first[i] && b->seq_last[i] - b->seq_first[i] + 1 >= mr_config_credit(d->cfg))
			return true;
	}
	return false;
}

/* Returns when the open batch wants to be looked at again. */
static uint64_t batch_turn(struct connector *c, struct file_dest *d, bool may)
{
	struct file_batch *b = &d->batch;
	uint32_t most = d->cfg->batch_messages ? d->cfg->batch_messages : 1;
	uint32_t room = most > b->items.count ? most - b->items.count : 0;
	bool now = c->draining || d->paused;

	if (d->jobs)
		return UINT64_MAX; /* its end is an event */
	if (may && d->waiting.head && room) {
		uint32_t n = room < FILE_GROUP_MAX ? room : FILE_GROUP_MAX;

		/* After trouble the first file is closed at once: so it is known whether the trouble is over. */
		job_give(c, d, FILE_JOB_BATCH, n, d->failures || (d->waiting.count >= room && n == room));
		return UINT64_MAX;
	}
	if (!b->items.head)
		return UINT64_MAX;
	if (now || !room || c->now_ns - b->opened_ns >= d->cfg->batch_interval_ns || batch_stalled(c, d, b)) {
		job_give(c, d, FILE_JOB_BATCH, 0, true);
		return UINT64_MAX;
	}
	if (c->now_ns - b->grown_ns < FILE_STALL_NS)
		return b->grown_ns + FILE_STALL_NS;
	return b->opened_ns + d->cfg->batch_interval_ns;
}

static void dest_show(struct connector *c, struct file_dest *d)
{
	struct mr_lane_info *lane = connector_lane(c, d->index);

	if (d->paused)
		connector_lane_state(c, d->index, MR_LANE_PAUSED);
	else if (d->failures)
		connector_lane_state(c, d->index, MR_LANE_BACKOFF);
	else
		connector_lane_state(c, d->index, d->up ? MR_LANE_UP : MR_LANE_CONNECTING);
	lane->outstanding = d->outstanding;
	lane->error = d->error;
	lane->failures = d->failures;
	mr_gauge_dest(&c->region, MR_M_D_OUTSTANDING, d->index, d->outstanding);
	mr_gauge_dest(&c->region, MR_M_D_CONNECTED, d->index, d->up);
}

uint64_t file_dest_turn(struct connector *c, struct file_dest *d)
{
	bool retry = c->now_ns >= d->retry_at_ns, may = !d->paused && retry && c->now_ns >= d->hold_until_ns;
	uint64_t due = UINT64_MAX;

	/* A look removes the temporary files of others than this process: never while it writes any itself. */
	if (!d->looked || (!d->failures && !d->clean && !d->batch.items.head) ||
	    (d->failures && !d->waiting.head && !d->batch.items.head)) {
		if (!d->jobs && retry)
			job_give(c, d, FILE_JOB_PROBE, 0, false);
	} else if (d->cfg->file_format == MR_FILE_BATCH) {
		due = batch_turn(c, d, may);
	} else if (may) {
		group_turn(c, d);
	}
	if (c->now_ns < d->retry_at_ns && d->retry_at_ns < due)
		due = d->retry_at_ns;
	if (c->now_ns < d->hold_until_ns && d->hold_until_ns < due)
		due = d->hold_until_ns;
	dest_show(c, d);
	return due;
}
