/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dest_send.c - a lane's outgoing side: the payload from where it lies, framed, noted for its answer, given to io.h.
 *
 * Called by dest_mllp.c when a lane is up and has work. Payloads come from a journal's tail without a system call; what
 * is no longer there is read from the segment file through io.h, with read-ahead, since later items are likely to lie
 * behind it. What was read is checked (CRC) before it is sent. Never blocks, never allocates but frame memory.
 */
#include "dest_internal.h"
#include "mllp.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

void lane_give_out(struct core *c, struct lane *l)
{
	frame_give(c->frames, l->out, l->out_room);
	l->out = NULL;
	l->out_room = l->out_bytes = 0;
}

/* The read-ahead goes back, unless a read into it is under way. */
void lane_give_ahead(struct core *c, struct lane *l)
{
	if (l->reading)
		return;
	frame_give(c->frames, l->ahead, l->ahead_room);
	l->ahead = NULL;
	l->ahead_room = l->ahead_bytes = 0;
}

/* The lane's first waiting item becomes its last sent one. */
static uint32_t lane_to_sent(struct core *c, struct lane *l)
{
	uint32_t i = lane_pop_wait(c, l);

	c->item[i].next = ITEM_NONE;
	if (l->sent_tail == ITEM_NONE)
		l->sent_head = i;
	else
		c->item[l->sent_tail].next = i;
	l->sent_tail = i;
	lane_outstanding(c, l, 1);
	return i;
}

/* The message at the head of the lane cannot be had from its journal: it is dead, and that is said loudly. */
static void lane_unreadable(struct core *c, struct lane *l)
{
	uint32_t i = lane_to_sent(c, l); /* so that it ends as every other does */

	link_trouble(c, 3, MR_CODE_MESSAGE_UNREADABLE, l->dest, (int64_t)c->item[i].m.position, false,
		     "journal %u: the message at position %llu cannot be read", c->item[i].m.journal,
		     (unsigned long long)c->item[i].m.position);
	mr_count_worker(&c->region, MR_M_W_JOURNAL_ERRORS, 1);
	dest_finish(c, l, i, MR_RESULT_DEAD, MR_REASON_UNREADABLE, NULL);
}

/* Starts reading the journal's file from the head item on; later items are likely to come along. */
static void lane_read(struct core *c, struct lane *l, const struct lane_item *it)
{
	uint64_t offset, need = it->m.bytes + (uint64_t)mr_rec_payload_offset(MR_MSG_DESTS_MAX) + 8;
	uint64_t want = need < LANE_READ_BYTES ? LANE_READ_BYTES : need;
	int fd = source_fd(c, it->m.journal, it->m.position, &offset);

	if (fd == -ENOENT || fd == -EPROTO) {
		lane_unreadable(c, l);
		return;
	}
	if (fd < 0) { /* out of descriptors, memory ...: nothing wrong with the message */
		mr_region_error(&c->region, MR_CODE_MESSAGE_UNREADABLE, l->dest, fd, c->realtime_ns);
		l->retry_at_ns = c->now_ns + LANE_FILE_RETRY_NS;
		lane_arm(c, l);
		return;
	}
	if (l->ahead_room < want) {
		lane_give_ahead(c, l);
		l->ahead = frame_take(c->frames, want, &l->ahead_room);
		if (!l->ahead) { /* memory is short: later */
			l->retry_at_ns = c->now_ns + STALL_RETRY_NS;
			lane_arm(c, l);
			return;
		}
	}
	l->ahead_bytes = 0;
	l->ahead_journal = it->m.journal;
	l->ahead_from = it->m.position;
	l->ahead_want = (uint32_t)want;
	l->reading = true;
	io_read(c->io, fd, l->ahead, l->ahead_want, offset, core_tag(TAG_LANE_READ, l->index));
}

/* From the read-ahead, if the record is wholly in it and sound. */
static int64_t lane_from_ahead(struct core *c, struct lane *l, const struct lane_item *it, char *to)
{
	uint64_t at = it->m.position - l->ahead_from;
	const struct mr_rec_message *m;
	const char *p;

	if (!l->ahead_bytes || it->m.journal != l->ahead_journal || it->m.position < l->ahead_from || at >= l->ahead_bytes)
		return -EAGAIN;
	p = l->ahead + at;
	if (mr_rec_check(p, l->ahead_bytes - at, it->m.position, source_seed(c, it->m.journal), 0) < 0)
		return at ? -EAGAIN : -EBADMSG;
	m = (const struct mr_rec_message *)(p + sizeof(struct mr_rec));
	if (((const struct mr_rec *)p)->type != MR_REC_MESSAGE || m->payload_bytes != it->m.bytes)
		return -EBADMSG;
	memcpy(to, p + mr_rec_payload_offset(m->dest_count), it->m.bytes);
	return it->m.bytes;
}

void dest_read_done(struct core *c, uint32_t lane, int32_t result)
{
	struct lane *l = &c->lane[lane];

	l->reading = false;
	l->ahead_bytes = result > 0 ? (uint32_t)result : 0;
	dest_list(c, l);
	if (l->wait_head == ITEM_NONE || l->state != MR_LANE_UP) {
		lane_give_ahead(c, l);
		return;
	}
	if (l->ahead_bytes && mr_rec_check(l->ahead, l->ahead_bytes, l->ahead_from, source_seed(c, l->ahead_journal), 0) >= 0) {
		l->read_again = false;
		return;
	}
	l->ahead_bytes = 0;
	if (c->item[l->wait_head].m.position != l->ahead_from || c->item[l->wait_head].m.journal != l->ahead_journal)
		return; /* its owner went away meanwhile */
	source_forget(c, l->ahead_journal, l->ahead_from);
	if (l->read_again)
		lane_unreadable(c, l);
	l->read_again = !l->read_again; /* once more: the file may have been another one's successor */
}

uint64_t dest_id_hash(const struct core *c, const char *id, uint32_t bytes)
{
	return XXH3_64bits_withSeed(id, bytes, c->hash_seed) | 1;
}

/* Does this MSH-15 or MSH-16 let a receiver that is content say nothing? */
static bool lane_silent(const char *msg, struct hl7_span f)
{
	const char *v = msg + f.offset;

	return !f.bytes || (f.bytes == 2 && ((v[0] == 'N' && v[1] == 'E') || (v[0] == 'E' && v[1] == 'R')));
}

/* What the answer must name, read from the message that is about to go. */
static void lane_note_id(struct core *c, struct lane *l, struct lane_item *it, const char *msg)
{
	struct hl7_msh msh;
	struct hl7_span id = {0, 0};

	it->no_answer = false;
	if (hl7_msh_read(msg, it->m.bytes, &msh, NULL) == 0) {
		const struct hl7_span *f = msh.field;

		id = f[10];
		it->no_answer = lane_cfg(c, l)->answers != MR_ANSWERS_ALWAYS && (f[15].bytes || f[16].bytes) &&
				lane_silent(msg, f[15]) && lane_silent(msg, f[16]);
	}
	it->id_bytes = id.bytes < UINT16_MAX ? (uint16_t)id.bytes : UINT16_MAX;
	memcpy(it->id, msg + id.offset, id.bytes < sizeof(it->id) ? id.bytes : sizeof(it->id));
	it->id_hash = dest_id_hash(c, msg + id.offset, id.bytes);
}

/* Room for one more framed message of @bytes behind what is composed; takes a larger block if nothing is composed yet. */
static bool lane_room(struct core *c, struct lane *l, uint32_t bytes)
{
	uint32_t need = bytes + MLLP_OVERHEAD;

	if (l->out && l->out_bytes + need <= l->out_room)
		return true;
	if (l->out_bytes)
		return false;
	lane_give_out(c, l);
	l->out = frame_take(c->frames, need > LANE_OUT_BYTES ? need : LANE_OUT_BYTES, &l->out_room);
	if (!l->out) {
		l->retry_at_ns = c->now_ns + STALL_RETRY_NS;
		lane_arm(c, l);
	}
	return l->out != NULL;
}

void lane_compose(struct core *c, struct lane *l)
{
	uint32_t window = lane_cfg(c, l)->window;

	while (l->wait_head != ITEM_NONE && l->sent_count < window) {
		struct lane_item *it = &c->item[l->wait_head];
		char *at;
		int64_t n;

		if (!lane_room(c, l, it->m.bytes))
			break;
		at = l->out + l->out_bytes;
		n = source_payload(c, it->m.journal, it->m.position, at + 1, it->m.bytes);
		if (n < 0)
			n = lane_from_ahead(c, l, it, at + 1);
		if (n < 0) {
			lane_read(c, l, it);
			break;
		}
		at[0] = MLLP_SB;
		at[n + 1] = MLLP_EB;
		at[n + 2] = MLLP_CR;
		l->out_bytes += (uint32_t)n + MLLP_OVERHEAD;
		lane_note_id(c, l, it, at + 1);
		it->sent_ns = c->now_ns;
		lane_to_sent(c, l);
		mr_count_dest(&c->region, MR_M_D_SENT, l->dest, 1);
		mr_count_dest(&c->region, MR_M_D_SENT_BYTES, l->dest, (uint64_t)n);
	}
	if (l->ahead && l->wait_head == ITEM_NONE)
		lane_give_ahead(c, l); /* it has caught up: the memory is for all */
	if (!l->out_bytes)
		return;
	l->sending = true;
	l->send_since_ns = c->now_ns;
	l->idle_since_ns = 0;
	io_send(c->io, (uint32_t)l->conn, l->out, l->out_bytes);
	if (!l->timer.prev || l->timer.deadline_ns > c->now_ns + lane_patience_ns(c, l))
		lane_arm(c, l);
}

