/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingress.c - one whole frame: acceptable? seen before? where to? room for it? then into the journal, answer prepared.
 *
 * Called by conn.c with a frame that still lies in the receive buffer. Either everything is done for a frame, or nothing
 * and the frame is offered again (INGRESS_STALL). The message's bytes are copied once, into the journal. Must never
 * put a byte of a message into a log or an error text.
 */
#include "core.h"
#include "mllp.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

/* HL7 table 0357, message error condition codes. */
#define ERR_REQUIRED_MISSING    101
#define ERR_MESSAGE_TYPE        200
#define ERR_PROCESSING_ID       202
#define ERR_VERSION_ID          203
#define ERR_APPLICATION_INTERNAL 207

struct refusal {
	enum verdict verdict;
	uint32_t err_code;
	uint16_t field; /* of MSH; 0 = err has it, or none */
	const char *text;
	enum mr_metric why;
};

struct frame { /* what is known of the frame at hand */
	const char *msg;
	uint32_t bytes;
	bool usable; /* msh is valid */
	struct hl7_msh msh;
	struct hl7_error err;
	uint64_t id_hash;
};

static const struct mr_config_listener *ingress_cfg(const struct core *c, const struct conn *k)
{
	return mr_config_listener(c->cfg, k->listener);
}

static void ingress_count(struct core *c, struct conn *k, uint32_t bytes)
{
	mr_count_listener(&c->region, MR_M_L_RECEIVED, k->listener, 1);
	mr_count_listener(&c->region, MR_M_L_RECEIVED_BYTES, k->listener, bytes);
}

/* A negative answer in its place among the connection's answers. Room was made sure of. */
static void ingress_refuse(struct core *c, struct conn *k, struct frame *f, const struct refusal *r)
{
	struct ack_plan plan = ack_plan(ingress_cfg(c, k), f->msg, f->usable ? &f->msh : NULL, r->verdict);
	struct ack_what what = {
		.msg = f->msg,
		.msh = f->usable ? &f->msh : NULL,
		.err = &f->err,
		.err_code = r->err_code,
		.text = r->text,
		.time_ns = c->realtime_ns,
		.position = journal_appended(c->journal),
	};

	if (r->field) {
		f->err = (struct hl7_error){.segment = "MSH", .sequence = 1, .field = r->field, .offset = f->msh.field[r->field].offset};
	}
	ingress_count(c, k, f->bytes);
	mr_count_listener(&c->region, r->why, k->listener, 1);
	ack_put(c, k, &plan, &what);
}

/* Is the header acceptable? Fills @ret and returns false if not. */
static bool ingress_header_ok(const struct mr_config_listener *l, const struct frame *f, struct refusal *ret)
{
	const struct hl7_span *field = f->msh.field;
	const char *m = f->msg;
	char id;

	*ret = (struct refusal){.verdict = VERDICT_REJECT, .why = MR_M_L_REFUSED_HEADER};
	if (l->header_check == MR_HEADER_MINIMAL)
		return true;
	if (!field[9].bytes) {
		ret->err_code = ERR_MESSAGE_TYPE;
		ret->field = 9;
		ret->text = "MSH-9 (message type) is empty";
		return false;
	}
	id = field[11].bytes ? m[field[11].offset] : 'P';
	if (id != 'P' && id != 'T' && id != 'D') {
		ret->err_code = ERR_PROCESSING_ID;
		ret->field = 11;
		ret->text = "MSH-11 (processing ID) must be P, T or D";
		return false;
	}
	if (field[12].bytes && (field[12].bytes < 3 || m[field[12].offset] != '2' || m[field[12].offset + 1] != '.')) {
		ret->err_code = ERR_VERSION_ID;
		ret->field = 12;
		ret->text = "MSH-12 (version ID) must be 2.1 to 2.9";
		return false;
	}
	if (!field[10].bytes) {
		ret->verdict = VERDICT_ERROR;
		ret->err_code = ERR_REQUIRED_MISSING;
		ret->field = 10;
		ret->text = "MSH-10 (message control ID) is empty";
		return false;
	}
	return true;
}

/* With the listener's name, not its number: the number is another one after the next change of the configuration. */
static uint64_t ingress_id_hash(const struct mr_config_listener *l, const struct frame *f)
{
	static const int fields[] = {3, 4, 10};
	uint64_t h = XXH3_64bits(l->name, strnlen(l->name, MR_NAME_BYTES));

	if (!f->msh.field[10].bytes)
		return 0;
	for (uint32_t i = 0; i < MR_ARRAY_LEN(fields); i++)
		h = XXH3_64bits_withSeed(f->msg + f->msh.field[fields[i]].offset, f->msh.field[fields[i]].bytes, h + 1);
	return h ? h : 1;
}

/* The tables are larger than the caches: their lines come in while the routes are looked at. */
static void ingress_prefetch(const struct core *c, uint64_t id_hash)
{
	for (uint32_t j = 0; j < c->cfg->workers; j++)
		if (c->sources[j].dupes.table)
			dupes_prefetch(&c->sources[j].dupes, id_hash);
}

enum seen { SEEN_NEW, SEEN_ANSWERED, SEEN_WAIT };

/*
 * The same sender, control ID and bytes inside the window: answered as it was the first time, not forwarded. Only on the
 * same listener: another one has other routes, and what it acknowledges it must deliver.
 */
static enum seen ingress_duplicate(struct core *c, struct conn *k, struct frame *f)
{
	bool reused = false;

	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++) {
		uint64_t at[DUPES_WAYS];
		uint32_t n = c->sources[j].dupes.table ? dupes_find(&c->sources[j].dupes, f->id_hash, at) : 0;

		while (n--) {
			struct mr_rec rec;
			struct mr_rec_message m;
			int r = source_compare(c, j, at[n], f->msg, f->bytes, &rec, &m);

			if (r == -EAGAIN)
				return SEEN_WAIT;
			if (r < 0 || m.id_hash != f->id_hash || c->realtime_ns - rec.time_ns > c->cfg->duplicate_window_ns)
				continue;
			if (r == 0) {
				reused = true;
				continue;
			}
			{
				struct ack_plan plan = ack_plan(ingress_cfg(c, k), f->msg, &f->msh, VERDICT_ACCEPT);
				struct ack_what what = {.msg = f->msg, .msh = &f->msh, .kept = true, .journal = (uint16_t)j,
							.id_position = at[n], .time_ns = rec.time_ns,
							.position = journal_appended(c->journal)};

				ingress_count(c, k, f->bytes);
				mr_count_listener(&c->region, MR_M_L_DUPLICATES, k->listener, 1);
				ack_put(c, k, &plan, &what);
			}
			return SEEN_ANSWERED;
		}
	}
	if (reused)
		mr_count_listener(&c->region, MR_M_L_ID_REUSED, k->listener, 1);
	return SEEN_NEW;
}

/* Appends the accepted message and prepares its answer. Everything that could fail was looked at before. */
static void ingress_append(struct core *c, struct conn *k, struct frame *f, const struct route_result *to)
{
	const struct mr_config_listener *l = ingress_cfg(c, k);
	struct ack_plan plan = ack_plan(l, f->msg, &f->msh, VERDICT_ACCEPT);
	struct mr_rec_message m = {
		.key = l->order_by == MR_ORDER_FIELD ? route_order_key(c->routes) : k->key,
		.id_hash = f->id_hash,
		.payload_bytes = f->bytes,
		.listener = k->listener,
		.dest_count = (uint16_t)to->count,
		.peer_hash = k->peer_hash,
	};
	struct ack_what what = {.msg = f->msg, .msh = &f->msh, .kept = true, .journal = (uint16_t)c->index,
				.time_ns = c->realtime_ns};

	if (plan.code[0])
		memcpy(m.code, plan.code[0], 2);
	what.position = journal_append_message(c->journal, &m, to->dests, f->msg, &what.id_position);
	for (uint32_t i = 0; i < to->count; i++)
		journal_pin(c->journal, what.id_position);
	if (f->id_hash && c->dupes.table)
		dupes_insert(&c->dupes, f->id_hash, what.id_position);
	ingress_count(c, k, f->bytes);
	mr_count_listener(&c->region, MR_M_L_ACCEPTED, k->listener, 1);
	if (!to->matched)
		mr_count_listener(&c->region, MR_M_L_UNROUTED_KEPT, k->listener, 1);
	ack_put(c, k, &plan, &what);
}

/* Room behind the listener for one more message? Else stall or refuse, as the settings say. */
static enum ingress_result ingress_room(struct core *c, struct conn *k, struct frame *f, const struct route_result *to,
					uint8_t *ret_stall)
{
	static const struct refusal full = {.verdict = VERDICT_LATER, .err_code = ERR_APPLICATION_INTERNAL,
					    .why = MR_M_L_REFUSED_FULL, .text = "the hub is full; send again later"};
	static const struct refusal never = {.verdict = VERDICT_LATER, .err_code = ERR_APPLICATION_INTERNAL,
					     .why = MR_M_L_REFUSED_SIZE, .text = "the message is larger than the hub's journal can hold"};
	enum journal_room room;

	for (uint32_t i = 0; i < to->count; i++)
		if (!queue_room(c, to->dests[i])) {
			*ret_stall = STALL_QUEUE;
			link_trouble(c, 4, MR_CODE_QUEUE_FULL, to->dests[i], 0, false, "the queue of %s is full",
				     mr_config_dest(c->cfg, to->dests[i])->name);
			if (ingress_cfg(c, k)->on_full == MR_ON_FULL_WAIT)
				return INGRESS_STALL;
			ingress_refuse(c, k, f, &full);
			return INGRESS_CLOSE;
		}
	room = journal_room(c->journal, f->bytes, to->count);
	if (room == JOURNAL_ROOM && !journal_failed(c->journal))
		return INGRESS_DONE;
	if (room == JOURNAL_NEVER) { /* waiting would not help: max_frame was raised, but a journal keeps its segments' size */
		ingress_refuse(c, k, f, &never);
		return INGRESS_CLOSE;
	}
	*ret_stall = STALL_JOURNAL;
	if (room == JOURNAL_FULL)
		core_full(c, f->bytes, to->count);
	if (room == JOURNAL_BUSY || c->cfg->on_disk_full == MR_ON_FULL_WAIT)
		return INGRESS_STALL;
	ingress_refuse(c, k, f, &full);
	return INGRESS_CLOSE;
}

/* An answer echoes most of MSH: one without a bound would make answers, here and at every destination, as long. */
static void ingress_read(struct frame *f)
{
	f->usable = hl7_msh_read(f->msg, f->bytes, &f->msh, &f->err) == 0;
	if (!f->usable || f->msh.segment_bytes <= MSH_BYTES_MAX)
		return;
	f->usable = false;
	f->err = (struct hl7_error){.code = HL7_E_SIZE, .segment = "MSH", .sequence = 1, .offset = MSH_BYTES_MAX};
}

/* Judges the header. false: refused and answered. */
static bool ingress_judge(struct core *c, struct conn *k, struct frame *f, uint32_t inner_start)
{
	struct refusal r;

	if (!f->usable) {
		r = (struct refusal){.verdict = VERDICT_REJECT, .err_code = hl7_error_0357(f->err.code),
				     .text = hl7_strerror(f->err.code), .why = MR_M_L_REFUSED_NOT_HL7};
		if (f->err.code == HL7_E_SIZE && f->err.offset)
			r.text = "the MSH segment is longer than 16384 bytes";
		ingress_refuse(c, k, f, &r);
		return false;
	}
	if (inner_start != UINT32_MAX) {
		/* Most likely a sender that gave up in the middle and began again: two messages must not become one. */
		f->err = (struct hl7_error){.offset = inner_start};
		r = (struct refusal){.verdict = VERDICT_ERROR, .err_code = ERR_APPLICATION_INTERNAL,
				     .text = "a start block (0x0B) stands inside the frame", .why = MR_M_L_REFUSED_FRAMING};
		ingress_refuse(c, k, f, &r);
		return false;
	}
	if (!ingress_header_ok(ingress_cfg(c, k), f, &r)) {
		ingress_refuse(c, k, f, &r);
		return false;
	}
	return true;
}

enum ingress_result ingress_frame(struct core *c, struct conn *k, const char *msg, uint32_t bytes, uint32_t inner_start,
				  uint8_t *ret_stall)
{
	static const struct refusal unrouted = {.verdict = VERDICT_LATER, .err_code = ERR_APPLICATION_INTERNAL,
						.text = "no route takes this message", .why = MR_M_L_UNROUTED_REFUSED};
	static const struct refusal unreadable = {.verdict = VERDICT_ERROR, .err_code = ERR_APPLICATION_INTERNAL,
						  .text = "the message cannot be routed: too many segments, fields or destinations",
						  .why = MR_M_L_REFUSED_HEADER};
	const struct mr_config_listener *l = ingress_cfg(c, k);
	struct frame f = {.msg = msg, .bytes = bytes};
	struct route_result to;
	enum ingress_result r;

	ingress_read(&f);
	if (!ack_room(c, k, f.usable ? &f.msh : NULL)) {
		*ret_stall = STALL_OUT;
		return INGRESS_STALL;
	}
	if (!ingress_judge(c, k, &f, inner_start))
		return INGRESS_DONE;
	f.id_hash = ingress_id_hash(l, &f);
	ingress_prefetch(c, f.id_hash);
	if (route_message(c->routes, k->listener, msg, bytes, &f.msh, &to) < 0) {
		ingress_refuse(c, k, &f, &unreadable);
		return INGRESS_DONE;
	}
	if (f.id_hash && l->duplicates == MR_DUPLICATES_ANSWER) {
		enum seen seen = ingress_duplicate(c, k, &f);

		*ret_stall = STALL_DUPLICATE;
		if (seen != SEEN_NEW)
			return seen == SEEN_WAIT ? INGRESS_STALL : INGRESS_DONE;
	}
	if (!to.matched && l->unrouted == MR_UNROUTED_REJECT) {
		ingress_refuse(c, k, &f, &unrouted);
		return INGRESS_DONE;
	}
	r = ingress_room(c, k, &f, &to, ret_stall);
	if (r == INGRESS_CLOSE)
		return INGRESS_DONE; /* refused and answered; the connection goes on */
	if (r == INGRESS_DONE)
		ingress_append(c, k, &f, &to);
	return r;
}

void ingress_too_large(struct core *c, struct conn *k, const char *msg, uint32_t bytes)
{
	static const struct refusal large = {.verdict = VERDICT_LATER, .err_code = ERR_APPLICATION_INTERNAL,
					     .text = "the message is larger than this listener accepts", .why = MR_M_L_REFUSED_SIZE};
	struct frame f = {.msg = msg, .bytes = bytes};

	ingress_read(&f);
	if (!ack_room(c, k, f.usable ? &f.msh : NULL))
		return; /* no answer can be made; the connection is closed all the same */
	ingress_refuse(c, k, &f, &large);
}
