/* SPDX-License-Identifier: Apache-2.0 */
/*
 * senders.c - the simulated senders: MLLP clients with a window that send again what was not acknowledged.
 *
 * Each keeps its messages in order, over any number of connections. Some are slow, send junk between frames, repeat what
 * was acknowledged long ago, close only their half, stop reading, or give a connection up without closing it.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_TIMEOUT_NS (4 * SIM_S)
#define SENDER_MESSAGES   100000u

struct line { /* one connection of a sender; more than one if it gave some up */
	struct line *next;
	struct sender *x;
	struct net_conn *c;
	struct text_stream in;
	struct message **waiting; /* for their answers, in the order of sending */
	uint64_t *since_ns;
	uint32_t first, count, room, answers; /* answers: of the first, so far */
	uint32_t place;
	bool open, finished, busy; /* busy: in the middle of a frame */
	const char *rest;          /* of that frame */
	uint32_t rest_bytes;
};

struct sender {
	struct sim *s;
	uint32_t index, made, window;
	struct line *line, *lines;
	struct message **todo; /* not acknowledged, in order */
	uint32_t todos, todo_room, next;
	struct message *old;   /* some message that was acknowledged */
	uint64_t dial_ns;
	bool dial_due;
};

struct senders {
	struct sender sender[SIM_SENDERS_MAX];
};

static void sender_pump(struct sender *x);

/* ---- messages ---- */

static const char *const asks[][4] = { /* MSH-15, MSH-16, answers if one / both are given */
	{"", "", "AA", ""}, {"AL", "NE", "CA", ""}, {"AL", "AL", "CA", "AA"}, {"NE", "AL", "AA", ""},
	{"SU", "NE", "CA", ""}, {"NE", "SU", "AA", ""}, {"NE", "NE", "", ""}, {"ER", "ER", "", ""},
};

static uint32_t message_filler(struct sim *s)
{
	if (s->p.big_messages && sim_chance(s, 1500))
		return (uint32_t)sim_between(s, 10000, sim_chance(s, 1000) ? 400000 : 100000);
	return (uint32_t)sim_between(s, 1, sim_chance(s, 1000) ? 9000 : 900);
}

static void message_write(struct sim *s, struct message *m, const char *type, const char *const ask[4])
{
	uint32_t filler = message_filler(s), n;

	m->bytes = sim_alloc(filler + 400);
	n = (uint32_t)sprintf(m->bytes, "MSH|^~\\&|SIM|S%u|HUB|H|20260101000000||%s|M%06u|P|2.5|||%s|%s\rPID|1||%u^^^SIM\rOBX|1|ST|X||",
			      m->sender, type, m->number, ask[0], ask[1], m->number);
	for (uint32_t i = 0; i < filler; i++)
		m->bytes[n++] = "abcdefghijklmnopqrstuvwxyz 0123456789"[sim_below(s, 37)];
	m->bytes[n++] = '\r';
	m->length = n;
}

/* What the hub must refuse: no header, no type, a wrong processing ID, a start block inside, or too large. */
static void message_spoil(struct sim *s, struct message *m)
{
	static const char *const kind[] = {"this is no HL7 at all", "MSH|^~\\&|SIM|S|HUB|H|2026|||M%06u|P|2.5\r",
					   "MSH|^~\\&|SIM|S|HUB|H|2026||ADT^A01|M%06u|Q|2.5\r",
					   "MSH|^~\\&|SIM|S|HUB|H|2026||ADT^A01|M%06u|P|2.5\rOBX|\x0b|\r"};
	uint64_t k = sim_below(s, 5);

	m->kind = MESSAGE_BAD;
	if (k == 4) {
		uint32_t large = (s->p.big_messages ? 512u << 10 : 64u << 10) + (uint32_t)sim_between(s, 1, 30000);

		m->bytes = sim_alloc(large);
		memset(m->bytes, 'x', large);
		m->length = (uint32_t)sprintf(m->bytes, "MSH|^~\\&|SIM|S|HUB|H|2026||ADT^A01|M%06u|P|2.5\rOBX|", m->number);
		m->bytes[m->length] = 'x';
		m->length = large;
		return;
	}
	m->bytes = sim_alloc(200);
	m->length = (uint32_t)snprintf(m->bytes, 200, kind[k], m->number);
}

static struct message *message_new(struct sender *x)
{
	struct sim *s = x->s;
	struct message *m = audit_new(s, x->index, x->made++);
	static const char *const type[] = {"ADT^A01", "ORU^R01", "ZZZ^Z01"};
	/* Where good messages may be refused too, only those that say so to the sender. */
	uint64_t t = sim_below(s, 3), a = sim_chance(s, 5000) ? 0 : sim_below(s, s->p.on_full_reject ? 3 : MR_ARRAY_LEN(asks));

	if (s->p.bad_messages && sim_chance(s, 300)) {
		message_spoil(s, m);
		return m;
	}
	message_write(s, m, type[t], asks[a]);
	m->route = 1; /* see profile.c: everything goes to 0, ORU to 1, and ORU and ADT to 2 */
	if (t == 1 && s->p.dests > 1)
		m->route |= 2;
	if (t <= 1 && s->p.dests > 2)
		m->route |= 4;
	snprintf(m->expect[0], sizeof(m->expect[0]), "%s", asks[a][2]);
	if (s->p.app_ack == MR_APP_ACK_BOTH || (s->p.app_ack == MR_APP_ACK_ONE && !asks[a][2][0]))
		snprintf(m->expect[1], sizeof(m->expect[1]), "%s", asks[a][3]);
	if (s->p.app_ack == MR_APP_ACK_NONE && a && asks[a][2][0] == 'A')
		m->expect[0][0] = 0; /* it asked for an application answer only, and none is given here */
	if (!m->expect[0][0])
		m->kind = MESSAGE_SILENT;
	return m;
}

static void todo_add(struct sender *x, struct message *m)
{
	if (x->todos == x->todo_room) {
		x->todo_room = x->todo_room ? 2 * x->todo_room : 64;
		x->todo = realloc(x->todo, x->todo_room * sizeof(*x->todo));
		must(x->todo);
	}
	x->todo[x->todos++] = m;
}

static bool todo_remove(struct sender *x, const struct message *m)
{
	for (uint32_t i = 0; i < x->todos; i++)
		if (x->todo[i] == m) {
			memmove(x->todo + i, x->todo + i + 1, (--x->todos - i) * sizeof(*x->todo));
			x->next -= i < x->next;
			return true;
		}
	return false;
}

/* ---- connections ---- */

static void line_wait(struct line *l, struct message *m)
{
	if (l->first + l->count == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->waiting = realloc(l->waiting, l->room * sizeof(*l->waiting));
		l->since_ns = realloc(l->since_ns, l->room * sizeof(*l->since_ns));
		must(l->waiting && l->since_ns);
	}
	l->waiting[l->first + l->count] = m;
	l->since_ns[l->first + l->count++] = l->x->s->now_ns;
}

static void line_pop(struct line *l)
{
	l->first++;
	l->count--;
	l->answers = 0;
}

static void dial_again(struct sim *s, void *arg, uint64_t n)
{
	struct sender *x = arg;

	x->dial_due = false;
	sender_pump(x);
}

/* The sender's present connection is of no more use: everything unanswered goes over the next one. */
static void line_left(struct line *l)
{
	struct sender *x = l->x;

	if (x->line != l)
		return;
	x->line = NULL;
	x->next = 0;
	x->dial_ns = x->s->now_ns + sim_between(x->s, 100, x->s->calm ? 2000 : 200000) * SIM_US;
	if (!x->dial_due)
		sim_at(x->s, x->dial_ns, dial_again, x, 0);
	x->dial_due = true;
}

static void line_refused(struct line *l, struct message *m, const char *code)
{
	struct sim *s = l->x->s;

	line_pop(l);
	if (m->kind == MESSAGE_BAD)
		return;
	if (!s->p.on_full_reject)
		sim_fail(s, "message %u was answered %s, and nothing is wrong with it", m->number, code);
	m->in_order = false;
	if (todo_remove(l->x, m))
		todo_add(l->x, m); /* again later, behind the others */
}

/* One answer: it must be the next one that is due on this connection. */
static void line_answer(struct line *l, const char *p, uint32_t n)
{
	struct sim *s = l->x->s;
	struct message *m = l->count ? l->waiting[l->first] : NULL;
	const char *at, *id;
	uint32_t at_bytes, id_bytes;
	char code[3] = "", want[16];

	if (!m)
		sim_fail(s, "sender %u gets an answer for nothing", l->x->index);
	if (!text_field(p, n, "MSA", 1, &at, &at_bytes) || at_bytes != 2)
		sim_fail(s, "sender %u gets an answer without a code", l->x->index);
	memcpy(code, at, 2);
	if (!text_field(p, n, "MSA", 2, &id, &id_bytes))
		id_bytes = 0;
	snprintf(want, sizeof(want), "M%06u", m->number);
	if ((id_bytes || m->kind != MESSAGE_BAD) && (id_bytes != strlen(want) || memcmp(id, want, id_bytes)))
		sim_fail(s, "sender %u gets answer %s for %.*s, but the turn is message %u's on connection %llu", l->x->index, code,
			 (int)(id_bytes < 20 ? id_bytes : 20), id, m->number, (unsigned long long)net_serial(l->c));
	if (code[1] != 'A') {
		line_refused(l, m, code);
		return;
	}
	if (m->kind == MESSAGE_BAD)
		sim_fail(s, "message %u was answered %s, and it is unusable", m->number, code);
	sim_trace(s, "message %u is answered %s on %llu", m->number, code, (unsigned long long)net_serial(l->c));
	audit_answer(s, m, code, l->answers++, p, n);
	todo_remove(l->x, m);
	l->x->old = m;
	if (l->answers == 2 || !m->expect[l->answers][0])
		line_pop(l);
}

static void line_bytes(void *arg, struct net_conn *c, const char *p, uint32_t n)
{
	struct line *l = arg;
	const char *frame;
	uint32_t bytes;

	text_add(&l->in, p, n);
	while (text_frame(&l->in, &frame, &bytes)) {
		line_answer(l, frame, bytes);
		text_drop(&l->in);
	}
	sender_pump(l->x);
}

static void line_eof(void *arg, struct net_conn *c)
{
	struct line *l = arg;

	l->open = false;
	net_close(c, false);
	line_left(l);
}

static void line_gone(void *arg, struct net_conn *c)
{
	struct line *l = arg;

	l->open = false;
	line_left(l);
}

static const struct net_peer sender_peer = {line_bytes, line_eof, line_gone};

static void sender_dial(struct sender *x)
{
	struct line *l = sim_alloc(sizeof(*l));

	l->next = x->lines;
	l->x = x;
	l->open = true;
	x->lines = x->line = l;
	x->next = 0;
	l->c = net_dial(x->s, 0, (uint8_t)(x->index + 1), &sender_peer, l);
	sim_trace(x->s, "sender %u opens connection %llu", x->index, (unsigned long long)net_serial(l->c));
}

/* ---- sending ---- */

static void line_rest(struct sim *s, void *arg, uint64_t n)
{
	struct line *l = arg;

	l->busy = false;
	if (!l->open)
		return;
	net_write(l->c, l->rest, l->rest_bytes);
	sender_pump(l->x);
}

static void line_send(struct line *l, struct message *m)
{
	struct sim *s = l->x->s;
	char *frame = sim_alloc(m->length + 64);
	uint32_t n = 0;

	if (s->p.garbage && !s->calm && sim_chance(s, 500))
		n = (uint32_t)sprintf(frame, "\r\n%.*s\n", (int)sim_below(s, 40), "between frames, nobody needs these bytes");
	n += text_wrap(frame + n, m->bytes, m->length);
	audit_sent(s, m, net_serial(l->c), l->place++);
	sim_trace(s, "sender %u sends message %u on %llu%s", l->x->index, m->number, (unsigned long long)net_serial(l->c),
		  m->sent > 1 ? " again" : "");
	if (m->kind != MESSAGE_SILENT)
		line_wait(l, m);
	if (s->p.slow_senders && !s->calm && sim_chance(s, 300)) {
		uint32_t now = (uint32_t)sim_below(s, n);

		net_write(l->c, frame, now);
		l->busy = true;
		l->rest = frame + now;
		l->rest_bytes = n - now;
		sim_at(s, s->now_ns + sim_between(s, 1, sim_chance(s, 500) ? 4000 : 300) * SIM_MS, line_rest, l, 0);
		return;
	}
	net_write(l->c, frame, n);
}

static void sender_pump(struct sender *x)
{
	struct sim *s = x->s;
	struct line *l;

	if (!x->line && (s->closing || s->now_ns < x->dial_ns))
		return;
	if (!x->line)
		sender_dial(x);
	l = x->line;
	while (l->open && !l->busy && !l->finished && x->next < x->todos && l->count < x->window) {
		struct message *m = x->todo[x->next++];

		line_send(l, m);
		if (m->kind != MESSAGE_GOOD)
			todo_remove(x, m); /* no second try */
	}
}

static void line_reading_again(struct sim *s, void *arg, uint64_t n)
{
	struct line *l = arg;

	net_reading(l->c, true);
}

/* Something that senders do now and then. */
static void sender_whim(struct sender *x)
{
	struct sim *s = x->s;
	struct line *l = x->line;

	switch (sim_below(s, 5)) {
	case 0:
		if (s->p.repeats && x->old && !l->busy && !l->finished)
			line_send(l, x->old);
		break;
	case 1:
		if (s->p.half_close && !l->busy) {
			l->finished = true;
			net_finish(l->c);
		}
		break;
	case 2:
		if (s->p.slow_senders) {
			net_reading(l->c, false);
			sim_at(s, s->now_ns + sim_between(s, 1, 2000) * SIM_MS, line_reading_again, l, 0);
		}
		break;
	case 3:
		if (s->p.net_breaks) { /* it opens another one; this one stays as it is */
			sim_trace(s, "sender %u gives connection %llu up", x->index, (unsigned long long)net_serial(l->c));
			line_left(l);
		}
		break;
	default:
		if (s->p.net_breaks) {
			l->open = false;
			net_close(l->c, sim_chance(s, 5000));
			line_left(l);
		}
	}
}

static void sender_patience(struct sender *x)
{
	struct line *l = x->line;

	if (!l || !l->count || x->s->now_ns - l->since_ns[l->first] < SENDER_TIMEOUT_NS)
		return;
	sim_trace(x->s, "sender %u waits no longer on connection %llu", x->index, (unsigned long long)net_serial(l->c));
	l->open = false;
	net_close(l->c, true);
	line_left(l);
}

static void sender_tick(struct sim *s, void *arg, uint64_t n)
{
	struct sender *x = arg;

	if (!s->calm && x->made < SENDER_MESSAGES && x->todos < 200)
		for (uint64_t k = sim_chance(s, 500) ? 30 : 1; k--;)
			todo_add(x, message_new(x));
	sender_patience(x);
	if (!s->calm && x->line && x->line->open && sim_chance(s, 100))
		sender_whim(x);
	sender_pump(x);
	if (!s->closing)
		sim_at(s, s->now_ns + sim_between(s, s->p.message_gap_us / 10, 2 * s->p.message_gap_us) * SIM_US, sender_tick, x, 0);
}

void senders_init(struct sim *s)
{
	s->senders = sim_alloc(sizeof(*s->senders));
	for (uint32_t i = 0; i < s->p.senders; i++) {
		struct sender *x = &s->senders->sender[i];

		*x = (struct sender){.s = s, .index = i, .window = sim_chance(s, 4000) ? 1 : (uint32_t)sim_between(s, 2, 24)};
		sim_at(s, s->now_ns + sim_between(s, 1, 100) * SIM_MS, sender_tick, x, 0);
	}
}

void senders_calm(struct sim *s)
{
	for (uint32_t i = 0; i < s->p.senders; i++)
		for (struct line *l = s->senders->sender[i].lines; l; l = l->next)
			if (l->open)
				net_reading(l->c, true);
}

bool senders_done(const struct sim *s)
{
	for (uint32_t i = 0; i < s->p.senders; i++)
		if (s->senders->sender[i].todos)
			return false;
	return true;
}
