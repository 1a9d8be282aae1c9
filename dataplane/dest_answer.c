/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dest_answer.c - a destination's answers: to frames, to MSA, to the one outstanding message that they name.
 *
 * Called by dest_mllp.c with the bytes of a lane's connection. An answer is credited only to a message that is
 * outstanding on that very connection and has exactly the control ID of MSA-2. A late, unknown or swapped answer is
 * counted and credited to nobody. Source: HL7 v2.9.1 ch. 2, 2.8 (MSA-1, MSA-2).
 */
#include "core.h"
#include "mllp.h"

#include <errno.h>
#include <string.h>

static bool answer_names(const struct lane_item *it, const char *id, uint32_t bytes, uint64_t hash)
{
	uint32_t n = bytes < sizeof(it->id) ? bytes : (uint32_t)sizeof(it->id);

	return it->id_hash == hash && it->id_bytes == bytes && memcmp(it->id, id, n) == 0;
}

/* The oldest outstanding item that the answer names. */
static uint32_t answer_find(const struct core *c, const struct lane *l, const char *id, uint32_t bytes, uint64_t hash)
{
	uint32_t i = l->sent_head;

	while (i != UINT32_MAX && !answer_names(&c->item[i], id, bytes, hash))
		i = c->item[i].next;
	if (i != UINT32_MAX && bytes == 0 && l->sent_count > 1)
		return UINT32_MAX; /* no ID on either side says nothing while several are outstanding */
	return i;
}

static void answer_unknown(struct core *c, struct lane *l, uint64_t hash)
{
	bool late = false;

	for (uint32_t k = 0; k < LANE_IDS_REMEMBERED; k++)
		late |= l->past[k] == hash;
	mr_count_dest(&c->region, late ? MR_M_D_ACK_LATE : MR_M_D_ACK_MISMATCH, l->dest, 1);
	mr_region_error(&c->region, late ? MR_CODE_ACK_LATE : MR_CODE_ACK_MISMATCH, l->dest, 0, c->realtime_ns);
	if (!late)
		link_trouble(c, 4, MR_CODE_ACK_MISMATCH, l->dest, 0, false,
			     "destination %s answers with control IDs that are not outstanding", mr_config_dest(c->cfg, l->dest)->name);
}

static void answer_rejected(struct core *c, struct lane *l, uint32_t item, const char *code)
{
	const struct mr_config_dest *d = mr_config_dest(c->cfg, l->dest);
	uint8_t what = code[1] == 'E' ? d->on_error : d->on_reject;

	mr_count_dest(&c->region, MR_M_D_NACK, l->dest, 1);
	if (what == MR_REJECT_RETRY && (!d->attempts_max || c->item[item].m.attempts + 1u < d->attempts_max)) {
		dest_retry_later(c, l); /* one outstanding per connection (checked with the configuration): order is kept */
		return;
	}
	c->item[item].m.attempts++;
	if (what == MR_REJECT_DROP)
		dest_finish(c, l, item, MR_RESULT_DROPPED, MR_REASON_REJECTED, code);
	else
		dest_finish(c, l, item, MR_RESULT_DEAD, MR_REASON_REJECTED, code);
}

/* Returns false if the answer must wait: its message is part of the send under way. */
static bool answer_frame(struct core *c, struct lane *l, const char *msg, uint32_t bytes)
{
	struct hl7_msh msh;
	struct hl7_msa msa;
	uint64_t hash;
	uint32_t i;

	if (hl7_msa_read(msg, bytes, &msh, &msa, NULL) < 0 || (msa.code[0] != 'A' && msa.code[0] != 'C') ||
	    !memchr("AER", msa.code[1], 3)) {
		mr_count_dest(&c->region, MR_M_D_ACK_BAD, l->dest, 1);
		mr_region_error(&c->region, MR_CODE_ACK_UNREADABLE, l->dest, 0, c->realtime_ns);
		return true;
	}
	hash = dest_id_hash(c, msg + msa.control_id.offset, msa.control_id.bytes);
	i = answer_find(c, l, msg + msa.control_id.offset, msa.control_id.bytes, hash);
	if (i == UINT32_MAX) {
		answer_unknown(c, l, hash);
		return true;
	}
	if (l->sending && c->item[i].sent_ns == l->send_since_ns)
		return false;
	l->progress++;
	l->idle_since_ns = c->now_ns;
	mr_hist_record(mr_region_value(&c->region, MR_M_D_LATENCY, MR_SCOPE_DEST, l->dest), c->now_ns - c->item[i].sent_ns);
	if (msa.code[1] != 'A') {
		answer_rejected(c, l, i, msa.code);
		return true;
	}
	if (l->failures) {
		l->failures = 0;
		l->failed_up = false;
		c->region.lanes[c->region.lane_first[l->dest] + l->lane].failures = 0;
		link_trouble(c, 4, MR_CODE_DESTINATION_DOWN, l->dest, 0, true, "destination answers again");
		link_trouble(c, 4, MR_CODE_ACK_TIMEOUT, l->dest, 0, true, "destination answers in time again");
	}
	c->item[i].m.attempts++;
	dest_finish(c, l, i, MR_RESULT_DELIVERED, MR_REASON_NONE, msa.code);
	return true;
}

/* Handles what is whole in [p, p + bytes); returns how much is used up. */
static uint32_t answer_consume(struct core *c, struct lane *l, const char *p, uint32_t bytes)
{
	uint32_t at = 0;

	while (at < bytes && !l->closing) {
		struct mllp_result r;

		mllp_next(p + at, bytes - at, l->in_scanned, &r);
		l->in_scanned = 0;
		if (r.status == MLLP_MORE) {
			l->in_scanned = r.scanned;
			break;
		}
		if (r.status == MLLP_FRAME && !answer_frame(c, l, p + at + r.frame_offset, r.frame_bytes))
			break;
		at += r.consumed;
	}
	return at;
}

static void answer_forget(struct core *c, struct lane *l)
{
	frame_give(c->frames, l->in, l->in_room);
	l->in = NULL;
	l->in_room = l->in_bytes = 0;
}

/* Handles what was kept: the rest of an answer, or answers that came while a send was under way. */
void dest_answer_kept(struct core *c, struct lane *l)
{
	uint32_t used = answer_consume(c, l, l->in, l->in_bytes);

	if (l->closing)
		return;
	memmove(l->in, l->in + used, l->in_bytes - used);
	l->in_bytes -= used;
	if (!l->in_bytes)
		answer_forget(c, l);
}

/*
 * No message of the send under way is credited: a receiver that answers before it has the whole message, and then goes,
 * has not got it. lane_on_sent() looks at what was kept. Answers to messages sent before count at once.
 */
void dest_answer(struct core *c, struct lane *l, const char *data, uint32_t bytes)
{
	uint32_t used = 0;

	if (!l->in_bytes)
		used = answer_consume(c, l, data, bytes);
	if (used == bytes || l->closing)
		return;
	if (!l->in)
		l->in = frame_take(c->frames, LANE_ANSWER_BYTES, &l->in_room);
	if (!l->in || l->in_bytes + (bytes - used) > l->in_room) { /* no answer is that long */
		mr_count_dest(&c->region, MR_M_D_ACK_BAD, l->dest, 1);
		dest_lane_failed(c, l, l->in ? -EMSGSIZE : -ENOMEM, true);
		return;
	}
	memcpy(l->in + l->in_bytes, data + used, bytes - used);
	l->in_bytes += bytes - used;
	if (used == 0)
		dest_answer_kept(c, l);
}
