/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ack.c - which answers a message gets (MSH-15/16), building them, and letting them go once the message is durable.
 *
 * Called by ingress.c for each frame and by core.c each turn. Answers are built while the header is at hand, lie behind
 * the connection's earlier ones, and go out in that order; none goes before its position is durable. Never allocates
 * but from the frame memory.
 * Source: HL7 v2.9.1 ch. 2, 2.8 and 2.11.2 (original and enhanced mode); MSH-15, MSH-16, table 0155.
 */
#include "core.h"
#include "mllp.h"

#include <string.h>

#define ACK_OUT_BYTES_MAX 65536

enum ack_when { ACK_NEVER, ACK_ALWAYS, ACK_ON_ERROR, ACK_ON_SUCCESS };

/* A value that table 0155 does not know is taken as AL: an answer too many harms less than one too few. */
static enum ack_when ack_when(const char *msg, struct hl7_span f)
{
	const char *v = msg + f.offset;

	if (!f.bytes)
		return ACK_NEVER;
	if (f.bytes == 2 && v[0] == 'N' && v[1] == 'E')
		return ACK_NEVER;
	if (f.bytes == 2 && v[0] == 'E' && v[1] == 'R')
		return ACK_ON_ERROR;
	if (f.bytes == 2 && v[0] == 'S' && v[1] == 'U')
		return ACK_ON_SUCCESS;
	return ACK_ALWAYS;
}

static bool ack_due(enum ack_when w, bool accepted)
{
	return w == ACK_ALWAYS || (w == ACK_ON_ERROR && !accepted) || (w == ACK_ON_SUCCESS && accepted);
}

struct ack_plan ack_plan(const struct mr_config_listener *l, const char *msg, const struct hl7_msh *msh, enum verdict v)
{
	static const char *const app[] = {"AA", "AE", "AR", "AR"}, *const accept[] = {"CA", "CE", "CR", "CE"};
	struct ack_plan p = {{NULL, NULL}};
	bool accepted = v == VERDICT_ACCEPT;
	uint32_t n = 0;

	if (!msh || l->ack_mode == MR_ACK_ALWAYS || (!msh->field[15].bytes && !msh->field[16].bytes)) {
		p.code[0] = app[v];
		return p;
	}
	if (ack_due(ack_when(msg, msh->field[15]), accepted))
		p.code[n++] = accept[v];
	if (l->app_ack == MR_APP_ACK_NONE || (n && (l->app_ack == MR_APP_ACK_ONE || !accepted)))
		return p;
	if (ack_due(ack_when(msg, msh->field[16]), accepted))
		p.code[n] = app[v];
	return p;
}

static uint32_t ack_bytes_max(const struct hl7_msh *msh)
{
	return HL7_ACK_BYTES_MAX + MLLP_OVERHEAD + (msh ? 2 * msh->segment_bytes : 0);
}

bool ack_room(struct core *c, struct conn *k, const struct hl7_msh *msh)
{
	uint32_t need = 2 * ack_bytes_max(msh), held = k->out_end - k->out_sent, room;
	uint32_t want = 2 * ACK_OUT_BYTES;
	char *b;

	if (c->ack_tail - c->ack_head >= ACK_WAIT_MAX)
		return false;
	if (k->out && k->out_end - k->out_base + need <= k->out_room)
		return true;
	if (k->sending)
		return false; /* the kernel reads from the present block: wait for it */
	if (k->out && held + need <= k->out_room) {
		memmove(k->out, k->out + (k->out_sent - k->out_base), held);
		k->out_base = k->out_sent;
		return true;
	}
	while (want < held + need)
		want *= 2;
	if (k->out && want > ACK_OUT_BYTES_MAX && held)
		return false; /* the peer does not read its answers: it has to */
	b = frame_take(c->frames, want, &room);
	if (!b)
		return false;
	if (held)
		memcpy(b, k->out + (k->out_sent - k->out_base), held);
	frame_give(c->frames, k->out, k->out_room);
	k->out = b;
	k->out_room = room;
	k->out_base = k->out_sent;
	return true;
}

static uint32_t ack_hex(char *p, uint64_t v)
{
	static const char digit[] = "0123456789ABCDEF";
	uint32_t n = v ? (67 - (uint32_t)__builtin_clzll(v)) / 4 : 1;

	for (uint32_t i = n; i--; v >>= 4)
		p[i] = digit[v & 15];
	return n;
}

/*
 * MSH-10 of the answer. For a message in a journal it is made from its place there, so that the answer to a repeated
 * message is the first answer again, byte for byte; 20 characters at most, as the older versions have it.
 */
static uint32_t ack_control_id(struct core *c, const struct ack_what *w, uint32_t nth, char *p)
{
	uint32_t n = 0;

	p[n++] = w->kept ? (nth ? 'P' : 'M') : 'N';
	n += ack_hex(p + n, 0x100u + (w->kept ? w->journal : c->index));
	p[1] = '-';
	n += ack_hex(p + n, w->kept ? w->id_position : ++c->nak_counter);
	return n;
}

static enum mr_metric ack_metric(const char *code)
{
	static const enum mr_metric app[] = {MR_M_L_ACK_AA, MR_M_L_ACK_AE, MR_M_L_ACK_AR};
	static const enum mr_metric accept[] = {MR_M_L_ACK_CA, MR_M_L_ACK_CE, MR_M_L_ACK_CR};
	uint32_t i = code[1] == 'A' ? 0 : code[1] == 'E' ? 1 : 2;

	return code[0] == 'A' ? app[i] : accept[i];
}

static void ack_build(struct core *c, struct conn *k, const char *code, uint32_t nth, const struct ack_what *w)
{
	char id[40], *at = k->out + (k->out_end - k->out_base);
	uint32_t room = k->out_room - (k->out_end - k->out_base);
	struct hl7_ack a = {
		.msh = w->msh,
		.msg = w->msg,
		.code = code,
		.control_id = id,
		.control_id_bytes = ack_control_id(c, w, nth, id),
		.utc_offset_minutes = c->utc_offset_minutes,
		.time_ns = w->time_ns,
		.err = w->err,
		.err_code = w->err_code,
		.text = w->text,
	};
	int n = hl7_ack_build(at + 1, room - MLLP_OVERHEAD, &a);

	must(n > 0); /* ack_room() made room for it */
	at[0] = MLLP_SB;
	at[n + 1] = MLLP_EB;
	at[n + 2] = MLLP_CR;
	k->out_end += (uint32_t)n + MLLP_OVERHEAD;
}

void ack_put(struct core *c, struct conn *k, const struct ack_plan *plan, const struct ack_what *what)
{
	struct ack_wait *w = &c->ack[c->ack_tail & (ACK_WAIT_MAX - 1)];

	if (!plan->code[0]) {
		mr_count_listener(&c->region, MR_M_L_ACK_SILENT, k->listener, 1);
		return;
	}
	*w = (struct ack_wait){.position = what->position, .received_ns = c->now_ns, .conn = k->id, .gen = k->gen};
	for (uint32_t i = 0; i < 2 && plan->code[i]; i++) {
		ack_build(c, k, plan->code[i], i, what);
		w->metric[i] = (uint16_t)(ack_metric(plan->code[i]) + 1);
	}
	w->out_end = k->out_end;
	c->ack_tail++;
	k->waiting++;
}

void ack_release(struct core *c)
{
	uint64_t durable = journal_durable(c->journal), now = 0;

	while (c->ack_head != c->ack_tail) {
		struct ack_wait *w = &c->ack[c->ack_head & (ACK_WAIT_MAX - 1)];
		struct conn *k = &c->conn[w->conn];

		if (w->position > durable)
			break;
		c->ack_head++;
		if (k->gen != w->gen)
			continue; /* its connection is gone */
		if (!now)
			now = io_now_exact(c->io);
		k->waiting--;
		k->out_ready = w->out_end;
		for (uint32_t i = 0; i < 2 && w->metric[i]; i++)
			mr_count_listener(&c->region, (enum mr_metric)(w->metric[i] - 1), k->listener, 1);
		mr_hist_record(mr_region_value(&c->region, MR_M_L_ACK_LATENCY, MR_SCOPE_LISTENER, k->listener),
			       now - w->received_ns);
		conn_dirty(c, k);
	}
}
