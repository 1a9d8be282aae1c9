/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_carry.c - giving up a finished segment although an older one is still needed.
 *
 * A dead letter may keep an old segment for weeks; the segments after it must not stay for that. But they hold outcomes
 * of the old one's messages, and without those a start would deliver the messages again. So before such a segment goes,
 * its index is read in the background and the outcomes that still matter are appended again, with a note that the
 * segment's absence is meant; when that is on disk the segment goes. Called from the journal's tick and completions, on
 * its core. It never blocks, and if it cannot vouch for an outcome the segment stays.
 */
#include "journal_internal.h"

#include "abi/mr_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void stop(struct journal *j)
{
	close(j->carry.fd);
	j->carry.fd = -1;
	j->carry.step = CARRY_IDLE;
}

/* This segment cannot be carried: it stays until it is the oldest. */
static void give_up(struct journal *j)
{
	struct segment *s = journal_segment_find(j, j->carry.sequence * j->segment_bytes);

	if (s)
		s->stays = true;
	stop(j);
}

static void read_on(struct journal *j)
{
	j->carry.step = CARRY_READING;
	io_read(j->io, j->carry.fd, j->carry.buf, CARRY_BYTES, j->carry.offset, j->io_tag | JOURNAL_TAG_CARRY);
}

/** journal_carry_begin - start to carry what matters of the finished segment @s, to give it up then. */
void journal_carry_begin(struct journal *j, struct segment *s)
{
	struct journal_carry *c = &j->carry;
	char name[32];

	must(c->step == CARRY_IDLE);
	mr_index_name(s->sequence, name);
	c->fd = openat(j->folder_fd, name, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0) {
		s->stays = true;
		return;
	}
	c->sequence = s->sequence;
	c->offset = 0;
	c->last = 0;
	c->count = 0;
	c->dest_count = 0;
	c->crc = j->seed;
	c->cancelled = false;
	read_on(j);
}

/* Appending must leave to the outcomes of today what was kept for them. */
static bool room_for(const struct journal *j, uint64_t bytes)
{
	return journal_segment_next_ready(j) || j->segment_end - j->appended > bytes + journal_reserve_bytes(j) / 2;
}

static bool flush_outcomes(struct journal *j)
{
	struct journal_carry *c = &j->carry;

	if (!c->count)
		return true;
	if (!room_for(j, c->count * sizeof(*c->outcomes)) || !journal_append_outcomes(j, c->outcomes, c->count))
		return false;
	c->count = 0;
	return true;
}

static uint16_t dest_now(const struct journal *j, const char *name)
{
	for (uint32_t i = 0; i < j->cfg->dests.count; i++)
		if (!strncmp(name, mr_config_dest(j->cfg, i)->name, MR_NAME_BYTES))
			return (uint16_t)i;
	return UINT16_MAX;
}

static void take_names(struct journal *j, const struct mr_rec *r)
{
	const struct mr_rec_names *n = (const struct mr_rec_names *)(r + 1);
	const char *name = (const char *)(n + 1) + (size_t)n->listener_count * MR_NAME_BYTES;

	j->carry.dest_count = n->dest_count;
	for (uint32_t i = 0; i < n->dest_count; i++, name += MR_NAME_BYTES)
		j->carry.dest[i] = dest_now(j, name);
}

static bool is_final(const struct mr_rec_outcome *o)
{
	return o->result == MR_RESULT_DELIVERED || o->result == MR_RESULT_DROPPED || o->result == MR_RESULT_DISCARDED;
}

/*
 * Returns 0, -EAGAIN (no room now), -ENOENT (an outcome that nobody could write down again: its destination's name is
 * gone, or it is not the last word, and a later one must not be followed by it).
 */
static int take_outcomes(struct journal *j, const struct mr_rec *r)
{
	struct journal_carry *c = &j->carry;
	const struct mr_rec_outcome *o = (const struct mr_rec_outcome *)(r + 1);
	size_t n = (r->bytes - sizeof(*r)) / sizeof(*o);

	if (c->count + n > MR_OUTCOMES_MAX && !flush_outcomes(j))
		return -EAGAIN;
	for (; n; n--, o++) {
		uint64_t sequence = o->position / j->segment_bytes;

		if (sequence >= c->sequence || !journal_segment_find(j, o->position))
			continue;
		if (!is_final(o) || o->dest >= c->dest_count || c->dest[o->dest] == UINT16_MAX)
			return -ENOENT;
		c->outcomes[c->count] = *o;
		c->outcomes[c->count++].dest = c->dest[o->dest];
	}
	return 0;
}

static int take_event(struct journal *j, const struct mr_rec *r)
{
	const struct mr_rec_event *e = (const struct mr_rec_event *)(r + 1);

	if (e->kind != MR_EVENT_DROPPED || e->arg < j->segments[0].sequence)
		return 0;
	return room_for(j, 64) && journal_append_event(j, MR_EVENT_DROPPED, e->arg) ? 0 : -EAGAIN;
}

static int take_record(struct journal *j, const struct mr_rec *r)
{
	switch (r->type) {
	case MR_REC_NAMES:
		if (!flush_outcomes(j))
			return -EAGAIN;
		take_names(j, r);
		return 0;
	case MR_REC_OUTCOME:
		return take_outcomes(j, r);
	case MR_REC_EVENT:
		return take_event(j, r);
	default:
		return 0;
	}
}

static int take_head(struct journal *j, uint32_t bytes)
{
	struct mr_index_header h;

	if (bytes < sizeof(h))
		return -EBADMSG;
	memcpy(&h, j->carry.buf, sizeof(h));
	if (journal_index_head_check(j, &h, j->carry.sequence))
		return -EBADMSG;
	j->carry.end = sizeof(h) + h.data_bytes;
	j->carry.data_crc = h.data_crc;
	return 0;
}

/* Everything is appended: note that the segment goes, and wait until that is on disk. */
static int finish(struct journal *j)
{
	struct journal_carry *c = &j->carry;
	uint64_t after;

	if (c->crc != c->data_crc)
		return -EBADMSG;
	if (!flush_outcomes(j) || !room_for(j, 64))
		return -EAGAIN;
	after = journal_append_event(j, MR_EVENT_DROPPED, c->sequence);
	if (!after)
		return -EAGAIN;
	c->durable_at = after;
	c->step = CARRY_WAITING;
	return 0;
}

/* Takes whole records from the buffer; offset moves on by what was taken. */
static int take_buffer(struct journal *j, uint32_t bytes)
{
	struct journal_carry *c = &j->carry;
	uint32_t at = 0;

	if (!c->offset) {
		if (take_head(j, bytes))
			return -EBADMSG;
		at = sizeof(struct mr_index_header);
		c->offset = at;
	}
	if (bytes - at > c->end - c->offset)
		bytes = (uint32_t)(c->end - c->offset) + at;
	while (c->offset < c->end) {
		const struct mr_rec *r = (const struct mr_rec *)(c->buf + at);
		int64_t n = mr_index_rec_check(r, bytes - at);
		int err;

		if (n < 0) /* cut off by the buffer's end, or bad */
			return at ? 0 : -EBADMSG;
		if (r->position <= c->last ||
		    (r->type != MR_REC_MESSAGE && mr_rec_check(r, bytes - at, r->position, j->seed, 0) < 0))
			return -EBADMSG;
		err = take_record(j, r);
		if (err)
			return err;
		c->last = r->position;
		c->crc = mr_crc32c(c->crc, r, (size_t)n);
		c->offset += (uint64_t)n;
		at += (uint32_t)n;
	}
	return finish(j);
}

static void after_step(struct journal *j, int err)
{
	if (err == -EAGAIN)
		j->carry.step = CARRY_PAUSED;
	else if (err)
		give_up(j);
	else if (j->carry.step == CARRY_READING)
		read_on(j);
}

/** journal_carry_cancel - the numbers of the destinations change: what was translated is void. It begins anew later. */
void journal_carry_cancel(struct journal *j)
{
	if (j->carry.step == CARRY_PAUSED)
		stop(j);
	else if (j->carry.step == CARRY_READING)
		j->carry.cancelled = true;
}

/** journal_carry_io - the read is done. */
void journal_carry_io(struct journal *j, int32_t result)
{
	must(j->carry.step == CARRY_READING);
	if (j->carry.cancelled) {
		stop(j);
		return;
	}
	if (result <= 0) {
		journal_count(j, MR_M_W_JOURNAL_ERRORS, result < 0);
		give_up(j);
		return;
	}
	after_step(j, take_buffer(j, (uint32_t)result));
}

/** journal_carry_tick - go on after a pause. Returns the segment that may go now, or NULL. */
struct segment *journal_carry_tick(struct journal *j)
{
	struct journal_carry *c = &j->carry;
	struct segment *s;

	if (c->step == CARRY_PAUSED && c->offset && c->offset == c->end)
		after_step(j, finish(j));
	else if (c->step == CARRY_PAUSED)
		read_on(j);
	if (c->step != CARRY_WAITING || j->written < c->durable_at)
		return NULL;
	s = journal_segment_find(j, c->sequence * j->segment_bytes);
	stop(j);
	return s && !s->pins ? s : NULL;
}
