/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - append, commit, look up: the path every message takes through the journal.
 *
 * Called by the pipeline (ingress, queues) on the core that owns the journal, never by another thread. An append is a
 * copy into the shared tail; journal_flush() hands whole blocks to the disk through io.h and journal_io() learns what
 * is durable. It must never wait for the disk after journal_open(), never allocate, and never call something durable
 * that has a gap before it.
 */
#include "journal_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void journal_count(struct journal *j, enum mr_metric m, uint64_t n)
{
	if (j->region)
		mr_count_worker(j->region, m, n);
}

void journal_gauge(struct journal *j, enum mr_metric m, uint64_t v)
{
	if (j->region && !j->adopted) /* the gauges tell of the worker's own journal */
		mr_gauge_worker(j->region, m, v);
}

char *journal_ring_at(const struct journal *j, uint64_t position)
{
	return j->ring + (position & (j->tail_bytes - 1));
}

/* A record may end at the segment's end, or must leave room for the PAD that says where the journal goes on. */
bool journal_fits_segment(uint64_t position, uint64_t bytes, uint64_t segment_end)
{
	return position + bytes == segment_end || position + bytes + MR_PAD_BYTES <= segment_end;
}

uint64_t journal_next_first(const struct journal *j)
{
	return j->segment_end + MR_JOURNAL_BLOCK;
}

/* Would a record of @bytes fit between what is not written yet and the tail's size? @at: where it would stand. */
static bool fits_tail(const struct journal *j, uint64_t at, uint64_t bytes)
{
	return at + bytes + JOURNAL_SLACK_BYTES - j->written <= j->tail_bytes;
}

/* Readers must learn that bytes are going to be overwritten before they are. */
static void claim_ring(struct journal *j, uint64_t end)
{
	uint64_t start = end > j->tail_bytes ? end - j->tail_bytes : 0;

	if (start > mr_load_relaxed(&j->tail->start)) {
		mr_set_own(&j->tail->start, mr_align_up(start, MR_JOURNAL_BLOCK));
		__atomic_thread_fence(__ATOMIC_RELEASE);
	}
}

void journal_publish_end(struct journal *j, uint64_t end)
{
	j->appended = end;
	mr_store(&j->tail->end, end);
	if (j->commit == MR_COMMIT_NONE)
		mr_store(&j->tail->durable, end);
}

static struct mr_rec *begin_record(struct journal *j, uint16_t type, uint32_t bytes)
{
	struct mr_rec *r = (struct mr_rec *)journal_ring_at(j, j->appended);
	uint64_t end = j->appended + mr_align_up(bytes, 8);

	claim_ring(j, end);
	memset((char *)r + bytes, 0, mr_align_up(bytes, 8) - bytes);
	r->bytes = bytes;
	r->position = j->appended;
	r->time_ns = io_realtime(j->io);
	r->epoch = j->epoch;
	r->type = type;
	r->flags = 0;
	return r;
}

static uint64_t end_record(struct journal *j, struct mr_rec *r)
{
	uint64_t bytes = mr_align_up(r->bytes, 8);

	mr_rec_seal(r, j->seed);
	journal_index_add(j, r);
	j->marked = false;
	journal_publish_end(j, j->appended + bytes);
	journal_count(j, MR_M_W_JOURNAL_APPENDED, bytes);
	return j->appended;
}

/* A PAD from here to @end. Only what shares its block is zeroed and written: the rest of a segment is never read. */
static void append_pad(struct journal *j, uint64_t end)
{
	uint64_t block_end = mr_align_up(j->appended + MR_PAD_BYTES, MR_JOURNAL_BLOCK);
	struct mr_rec *r;

	claim_ring(j, block_end);
	r = begin_record(j, MR_REC_PAD, MR_PAD_BYTES);
	r->bytes = (uint32_t)(end - j->appended);
	((struct mr_rec_pad *)(r + 1))->durable = j->written;
	memset((char *)r + MR_PAD_BYTES, 0, block_end - j->appended - MR_PAD_BYTES);
	mr_rec_seal(r, j->seed);
	journal_count(j, MR_M_W_JOURNAL_APPENDED, block_end - j->appended);
	journal_publish_end(j, end);
}

void journal_close_batch(struct journal *j)
{
	if (j->appended % MR_JOURNAL_BLOCK)
		append_pad(j, mr_align_up(j->appended + MR_PAD_BYTES, MR_JOURNAL_BLOCK));
}

/* The current segment is used up: go over to the next one, which must be ready. */
static void roll(struct journal *j)
{
	uint64_t to = j->segment_end, resume = journal_next_first(j);

	must(j->cut_count < JOURNAL_CUTS_MAX && journal_segment_next_ready(j));
	if (j->appended != j->segment_end) {
		to = mr_align_up(j->appended + MR_PAD_BYTES, MR_JOURNAL_BLOCK);
		append_pad(j, j->segment_end);
	}
	journal_publish_end(j, resume);
	j->cuts[(j->cut_first + j->cut_count++) % JOURNAL_CUTS_MAX] = (struct journal_cut){to, resume};
	journal_segment_roll(j, to);
	journal_append_names(j);
}

static bool can_roll(const struct journal *j, uint64_t bytes)
{
	return journal_segment_next_ready(j) && j->cut_count < JOURNAL_CUTS_MAX &&
	       fits_tail(j, journal_next_first(j), journal_names_bytes(j) + bytes);
}

/* Makes room for a record of @bytes at j->appended, in the next segment if need be. */
bool journal_make_room(struct journal *j, uint64_t bytes)
{
	if (j->failed)
		return false;
	if (journal_fits_segment(j->appended, bytes, j->segment_end))
		return fits_tail(j, j->appended, bytes);
	if (!can_roll(j, bytes))
		return false;
	roll(j);
	return true;
}

uint64_t journal_names_bytes(const struct journal *j)
{
	return sizeof(struct mr_rec) + sizeof(struct mr_rec_names) +
	       ((uint64_t)j->cfg->listeners.count + j->cfg->dests.count) * MR_NAME_BYTES;
}

void journal_append_names(struct journal *j)
{
	const struct mr_config *c = j->cfg;
	struct mr_rec *r = begin_record(j, MR_REC_NAMES, (uint32_t)journal_names_bytes(j));
	struct mr_rec_names *n = (struct mr_rec_names *)(r + 1);
	char *name = (char *)(n + 1);

	n->generation = c->generation;
	n->listener_count = c->listeners.count;
	n->dest_count = c->dests.count;
	for (uint32_t i = 0; i < c->listeners.count; i++, name += MR_NAME_BYTES)
		memcpy(name, mr_config_listener(c, i)->name, MR_NAME_BYTES);
	for (uint32_t i = 0; i < c->dests.count; i++, name += MR_NAME_BYTES)
		memcpy(name, mr_config_dest(c, i)->name, MR_NAME_BYTES);
	end_record(j, r);
}

uint64_t journal_append_event(struct journal *j, uint32_t kind, uint64_t arg)
{
	uint32_t bytes = sizeof(struct mr_rec) + sizeof(struct mr_rec_event);
	struct mr_rec_event *e;
	struct mr_rec *r;

	if (!journal_make_room(j, bytes))
		return 0;
	r = begin_record(j, MR_REC_EVENT, bytes);
	e = (struct mr_rec_event *)(r + 1);
	e->kind = kind;
	e->pid = (uint32_t)getpid();
	e->arg = arg;
	return end_record(j, r);
}

uint64_t journal_reserve_bytes(const struct journal *j)
{
	uint64_t part = j->segment_bytes / 8;

	return part < JOURNAL_RESERVE_MAX ? part : JOURNAL_RESERVE_MAX;
}

/* Largest record that always finds room again, whatever stands before it: two must fit the tail, one an empty segment.
 */
static bool record_possible(const struct journal *j, uint64_t bytes)
{
	uint64_t overhead = journal_names_bytes(j) + JOURNAL_SLACK_BYTES + MR_JOURNAL_BLOCK;

	return bytes + overhead + journal_reserve_bytes(j) <= j->segment_bytes &&
	       2 * bytes + 2 * overhead <= j->tail_bytes;
}

enum journal_room journal_room(const struct journal *j, uint32_t payload_bytes, uint32_t dest_count)
{
	uint64_t bytes = mr_align_up(mr_rec_payload_offset(dest_count) + (uint64_t)payload_bytes, 8);
	bool next = journal_segment_next_ready(j);

	if (j->failed || j->adopted || j->low_space || j->beyond)
		return JOURNAL_FULL;
	if (!record_possible(j, bytes))
		return JOURNAL_NEVER;
	if (journal_fits_segment(j->appended, bytes + (next ? 0 : journal_reserve_bytes(j)), j->segment_end))
		return fits_tail(j, j->appended, bytes) ? JOURNAL_ROOM : JOURNAL_BUSY;
	if (next)
		return can_roll(j, bytes) ? JOURNAL_ROOM : JOURNAL_BUSY;
	return j->full ? JOURNAL_FULL : JOURNAL_BUSY;
}

uint64_t journal_append_message(struct journal *j, const struct mr_rec_message *m, const uint16_t *dests,
                                const void *payload, uint64_t *ret_position)
{
	uint32_t head = mr_rec_payload_offset(m->dest_count), bytes = head + m->payload_bytes;
	struct mr_rec *r;
	char *at;

	must(m->dest_count <= MR_MSG_DESTS_MAX);
	must(journal_make_room(j, mr_align_up(bytes, 8)));
	r = begin_record(j, MR_REC_MESSAGE, bytes);
	at = (char *)(r + 1);
	memcpy(at, m, sizeof(*m));
	at += sizeof(*m);
	memset((char *)r + head - 8, 0, m->dest_count ? 8 : 0);
	memcpy(at, dests, m->dest_count * sizeof(*dests));
	memcpy((char *)r + head, payload, m->payload_bytes);
	*ret_position = r->position;
	return end_record(j, r);
}

uint64_t journal_append_outcomes(struct journal *j, const struct mr_rec_outcome *o, uint32_t n)
{
	uint32_t bytes = (uint32_t)(sizeof(struct mr_rec) + n * sizeof(*o));
	struct mr_rec *r;

	must(n >= 1 && n <= MR_OUTCOMES_MAX);
	if (!journal_make_room(j, bytes))
		return 0;
	r = begin_record(j, MR_REC_OUTCOME, bytes);
	memcpy(r + 1, o, n * sizeof(*o));
	return end_record(j, r);
}

int journal_set_config(struct journal *j, const struct mr_config *cfg)
{
	const struct mr_config *before = j->cfg;

	j->cfg = cfg; /* its names decide the size */
	if (journal_fits_segment(j->appended, mr_align_up(journal_names_bytes(j), 8), j->segment_end) &&
	    fits_tail(j, j->appended, journal_names_bytes(j)) && !j->failed) {
		journal_append_names(j);
		journal_carry_cancel(j);
		return 0;
	}
	if (!j->failed && can_roll(j, 0)) {
		roll(j); /* every segment begins with the names */
		journal_carry_cancel(j);
		return 0;
	}
	j->cfg = before;
	return -EAGAIN;
}

/* Writing. */

static void start_write(struct journal *j, struct journal_write *w)
{
	uint64_t slot = (uint64_t)(w - j->writes);

	w->waiting = false;
	io_write(j->io, w->fd, journal_ring_at(j, w->from), (uint32_t)(w->to - w->from), w->from % j->segment_bytes,
	         j->io_tag | (JOURNAL_TAG_WRITE + slot));
}

static void submit(struct journal *j, uint64_t to)
{
	struct journal_write *w = &j->writes[(j->write_first + j->write_count++) % JOURNAL_WRITES_MAX];
	struct segment *s = journal_segment_find(j, j->submitted);

	must(s && s->write_fd >= 0);
	*w = (struct journal_write){.from = j->submitted, .to = to, .start_ns = io_now(j->io), .fd = s->write_fd};
	j->submitted = to;
	start_write(j, w);
	journal_count(j, MR_M_W_JOURNAL_WRITES, 1);
	journal_count(j, MR_M_W_JOURNAL_WRITTEN, w->to - w->from);
}

/*
 * Is it time to start a write of the open batch? With nothing in flight at once; behind others only when it is worth a
 * request: they will be done in a tenth of a millisecond and then everything that came meanwhile goes together. While
 * the disk is full each block counts, so outcomes wait for company.
 */
static bool batch_due(const struct journal *j, uint64_t now_ns)
{
	uint64_t waiting = j->appended - j->submitted;

	if (!waiting)
		return false;
	if (j->write_count)
		return waiting >= JOURNAL_GATHER_BYTES;
	if (j->full && !journal_segment_next_ready(j))
		return waiting >= MR_JOURNAL_BLOCK || now_ns - j->flushed_ns >= JOURNAL_HOLD_NS;
	return true;
}

void journal_flush(struct journal *j, uint64_t now_ns)
{
	while (!j->failed && j->write_count < JOURNAL_WRITES_MAX) {
		struct journal_cut *cut = &j->cuts[j->cut_first];
		uint64_t end;

		if (j->cut_count && j->submitted == cut->to) {
			j->submitted = cut->resume;
			j->cut_first = (j->cut_first + 1) % JOURNAL_CUTS_MAX;
			j->cut_count--;
			continue;
		}
		if (!j->cut_count) {
			if (!batch_due(j, now_ns))
				break;
			journal_close_batch(j);
			j->flushed_ns = now_ns;
		}
		end = j->cut_count ? cut->to : j->appended;
		if (end - j->submitted > JOURNAL_WRITE_BYTES)
			end = j->submitted + JOURNAL_WRITE_BYTES;
		submit(j, end);
	}
}

static void advance(struct journal *j)
{
	while (j->write_count && j->writes[j->write_first].done) {
		j->written = j->writes[j->write_first].to;
		j->write_first = (j->write_first + 1) % JOURNAL_WRITES_MAX;
		j->write_count--;
	}
	if (j->commit != MR_COMMIT_NONE)
		mr_store(&j->tail->durable, j->written);
	journal_segment_written(j);
	journal_index_written(j);
}

static void write_done(struct journal *j, struct journal_write *w, int32_t result)
{
	must(!w->done && !w->waiting);
	if (result > 0 && (uint32_t)result >= w->to - w->from) {
		w->done = true;
		if (j->region)
			mr_hist_record(mr_region_value(j->region, MR_M_W_JOURNAL_FSYNC, MR_SCOPE_WORKER, 0),
			               io_now(j->io) - w->start_ns);
		advance(j);
		return;
	}
	if (result >= MR_JOURNAL_BLOCK) { /* short: the rest, from a whole block on */
		w->from += (uint64_t)result & ~(uint64_t)(MR_JOURNAL_BLOCK - 1);
		start_write(j, w);
		return;
	}
	journal_count(j, MR_M_W_JOURNAL_ERRORS, 1);
	if (++w->tries >= JOURNAL_TRIES_MAX)
		j->failed = true;
	w->waiting = true;
}

void journal_io(struct journal *j, const struct io_event *e)
{
	uint32_t id = (uint32_t)(e->tag & JOURNAL_TAG_MASK);

	if (id < JOURNAL_WRITES_MAX)
		write_done(j, &j->writes[id], e->result);
	else if (id == JOURNAL_TAG_MAKE)
		journal_segment_made(j, e->result);
	else if (id == JOURNAL_TAG_STATE)
		journal_segment_state_done(j, e->result);
	else if (id == JOURNAL_TAG_CARRY)
		journal_carry_io(j, e->result);
	else
		journal_index_io(j, id, e->result);
}

/*
 * A PAD tells how far the journal was durable before its own batch, so a reader cannot know of the last batch whether
 * it was acknowledged. When there is time for it, one more block says so: then damage to it cannot pass for a crash.
 */
static void mark_when_idle(struct journal *j, uint64_t now_ns)
{
	bool idle = j->written == j->appended && !j->write_count && !j->cut_count;

	if (j->marked || j->failed || j->full || !idle || now_ns - j->flushed_ns < JOURNAL_MARK_NS ||
	    !journal_fits_segment(j->appended, MR_JOURNAL_BLOCK, j->segment_end))
		return;
	append_pad(j, j->appended + MR_JOURNAL_BLOCK);
	j->marked = true;
}

void journal_tick(struct journal *j, uint64_t now_ns, uint64_t realtime_ns)
{
	for (uint32_t i = 0; i < j->write_count && !j->failed; i++) {
		struct journal_write *w = &j->writes[(j->write_first + i) % JOURNAL_WRITES_MAX];

		if (w->waiting)
			start_write(j, w);
	}
	mark_when_idle(j, now_ns);
	journal_segment_tick(j, now_ns, realtime_ns);
}

uint64_t journal_appended(const struct journal *j)
{
	return j->appended;
}

uint64_t journal_durable(const struct journal *j)
{
	return j->commit == MR_COMMIT_NONE ? j->appended : j->written;
}

bool journal_idle(const struct journal *j)
{
	bool written = j->submitted == j->appended && !j->write_count && !j->cut_count;

	return (written || j->failed) && j->maker.step == MAKER_IDLE && j->state_fd < 0 &&
	       j->carry.step != CARRY_READING && journal_index_idle(j);
}

bool journal_failed(const struct journal *j)
{
	return j->failed;
}

int journal_tail_fd(const struct journal *j)
{
	return j->tail_fd;
}

const struct mr_tail *journal_tail(const struct journal *j)
{
	return j->tail;
}

uint32_t journal_seed(const struct journal *j)
{
	return j->seed;
}

const struct mr_rec *journal_record(const struct journal *j, uint64_t position)
{
	const struct mr_rec *r;

	if (position % 8 || position < j->tail->start || position >= j->appended)
		return NULL;
	r = (const struct mr_rec *)journal_ring_at(j, position);
	return r->position == position ? r : NULL;
}

int64_t journal_read_sync(struct journal *j, uint64_t position, void *buf, size_t buf_bytes)
{
	const struct mr_rec *r = journal_record(j, position);
	struct mr_rec head;
	uint64_t offset;
	int fd, err;

	if (r) {
		if (r->bytes > buf_bytes)
			return -ENOSPC;
		memcpy(buf, r, r->bytes);
		return r->bytes;
	}
	fd = journal_segment_fd(j, position, &offset);
	if (fd < 0)
		return fd;
	err = mr_read_whole(fd, &head, sizeof(head), offset);
	if (err)
		return err;
	if (head.position != position || head.bytes < sizeof(head) || head.bytes > j->segment_bytes - offset)
		return -EBADMSG;
	if (head.bytes > buf_bytes)
		return -ENOSPC;
	err = mr_read_whole(fd, buf, head.bytes, offset);
	if (err)
		return err;
	return mr_rec_check(buf, head.bytes, position, j->seed, 0) < 0 ? -EBADMSG : (int64_t)head.bytes;
}

void journal_pin(struct journal *j, uint64_t position)
{
	struct segment *s = journal_segment_find(j, position);

	must(s);
	s->pins++;
}

void journal_unpin(struct journal *j, uint64_t position)
{
	struct segment *s = journal_segment_find(j, position);

	must(s && s->pins);
	s->pins--;
}
