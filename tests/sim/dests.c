/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dests.c - the simulated destinations: MLLP servers that answer well, late, wrongly, negatively, twice or not at all.
 *
 * They go by what is on the wire only. While the world is calm they take every connection and accept every message.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEST_PORT 7000u

struct dest {
	struct sim *s;
	uint32_t index;
	bool down;
	struct message *last; /* accepted last: for answers that come with an old ID */
	struct dest_line *lines;
};

struct dest_line {
	struct dest_line *next;
	struct dest *d;
	struct net_conn *c;
	struct text_stream in;
	bool open;
	struct message *held; /* its answer goes after the next one's */
};

struct dests {
	struct dest dest[SIM_DESTS_MAX];
};

struct dest_answer { /* on its way out */
	struct dest_line *l;
	struct message *m; /* NULL: says nothing about any message */
	bool yes;
	char text[200];
	uint32_t bytes;
};

void dests_init(struct sim *s)
{
	s->dests = sim_alloc(sizeof(*s->dests));
	for (uint32_t i = 0; i < SIM_DESTS_MAX; i++)
		s->dests->dest[i] = (struct dest){.s = s, .index = i};
}

/* ---- answering ---- */

static void answer_goes(struct sim *s, void *arg, uint64_t n)
{
	struct dest_answer *a = arg;

	if (a->l->open && net_open(a->l->c)) {
		net_write(a->l->c, a->text, a->bytes);
		if (a->m)
			audit_said(s, a->l->d->index, a->m, a->yes);
	}
	free(a);
}

static void answer(struct dest_line *l, struct message *m, const char *code, const char *id, uint64_t delay_ns)
{
	struct sim *s = l->d->s;
	struct dest_answer *a = sim_alloc(sizeof(*a));
	char text[180], number[16];
	int n;

	if (m) {
		snprintf(number, sizeof(number), "M%06u", m->number);
		id = number;
	}
	n = snprintf(text, sizeof(text), "MSH|^~\\&|D%u|DEST|HUB|SIM|20260101000000||ACK|%llu|P|2.5\rMSA|%s|%s\r", l->d->index,
		     (unsigned long long)(s->order), code, id);
	a->l = l;
	a->m = m;
	a->yes = code[1] == 'A';
	a->bytes = text_wrap(a->text, text, (uint32_t)n);
	sim_at(s, s->now_ns + delay_ns, answer_goes, a, 0);
}

static uint64_t think(struct sim *s)
{
	return sim_chance(s, s->calm ? 0 : 500) ? sim_between(s, 5, 300) * SIM_MS : sim_between(s, 10, 3000) * SIM_US;
}

static void accept_message(struct dest_line *l, struct message *m, uint64_t delay_ns)
{
	answer(l, m, sim_chance(l->d->s, 8000) ? "AA" : "CA", NULL, delay_ns);
	l->d->last = m;
}

static void line_lost(struct dest_line *l, bool reset)
{
	l->open = false;
	net_close(l->c, reset);
}

static void hang_up(struct sim *s, void *arg, uint64_t n)
{
	line_lost(arg, true);
}

static void reading_again(struct sim *s, void *arg, uint64_t n)
{
	struct dest_line *l = arg;

	if (l->open)
		net_reading(l->c, true);
}

/* One message, one of many ways to treat it. */
static void misbehave(struct dest_line *l, struct message *m)
{
	struct sim *s = l->d->s;
	uint64_t delay = think(s);

	switch (sim_below(s, 13)) {
	case 0: /* never answered */
		break;
	case 1:
		line_lost(l, sim_chance(s, 5000));
		break;
	case 2: /* answered, and gone before the answer can arrive */
		accept_message(l, m, 0);
		sim_at(s, s->now_ns + 1, hang_up, l, 0);
		break;
	case 3:
		answer(l, NULL, "AA", "NEVER-SENT", delay);
		break;
	case 4: /* an ID that was right once */
		if (l->d->last && l->d->last != m)
			answer(l, l->d->last, "AA", NULL, delay);
		break;
	case 5:
		l->held = m;
		break;
	case 6: /* too late */
		accept_message(l, m, sim_between(s, 900, 1500) * SIM_MS);
		break;
	case 7:
		answer(l, m, sim_chance(s, 5000) ? "AE" : "CE", NULL, delay);
		break;
	case 8:
		answer(l, m, sim_chance(s, 5000) ? "AR" : "CR", NULL, delay);
		break;
	case 9:
		accept_message(l, m, delay);
		accept_message(l, m, delay + 50 * SIM_US);
		break;
	case 10:
		net_write(l->c, "garbage\r\n", 9);
		accept_message(l, m, delay);
		break;
	case 11: /* a frame that is no answer */
		net_write(l->c, "\x0bMSH|^~\\&|nothing\r\x1c\r", 20);
		accept_message(l, m, delay);
		break;
	default:
		accept_message(l, m, delay);
		net_reading(l->c, false);
		sim_at(s, s->now_ns + sim_between(s, 10, 3000) * SIM_MS, reading_again, l, 0);
	}
}

static void line_bytes(void *arg, struct net_conn *c, const char *p, uint32_t n)
{
	struct dest_line *l = arg;
	struct sim *s = l->d->s;
	const char *frame;
	uint32_t bytes;

	if (!l->open)
		return;
	text_add(&l->in, p, n);
	while (l->open && text_frame(&l->in, &frame, &bytes)) {
		uint32_t after = (uint32_t)(l->in.data + l->in.bytes - (frame + bytes + 2));
		struct message *m = audit_arrival(s, l->d->index, c, net_sent_ns(c, after), frame, bytes), *held = l->held;

		text_drop(&l->in);
		l->held = NULL;
		if (s->p.dest_faults && !s->calm && sim_chance(s, 700))
			misbehave(l, m);
		else
			accept_message(l, m, think(s));
		if (held && l->open)
			accept_message(l, held, 4 * SIM_MS);
	}
}

static void line_eof(void *arg, struct net_conn *c)
{
	struct dest_line *l = arg;

	l->open = false;
	net_close(c, false);
}

static void line_gone(void *arg, struct net_conn *c)
{
	struct dest_line *l = arg;

	l->open = false;
}

static const struct net_peer dest_peer = {line_bytes, line_eof, line_gone};

bool dests_dial(struct sim *s, uint16_t port, struct net_conn *c)
{
	struct dest *d = &s->dests->dest[port - DEST_PORT];
	struct dest_line *l;

	must(port >= DEST_PORT && port < DEST_PORT + s->p.dests);
	if (d->down)
		return false;
	l = sim_alloc(sizeof(*l));
	*l = (struct dest_line){.next = d->lines, .d = d, .c = c, .open = true};
	d->lines = l;
	net_accepted(c, &dest_peer, l);
	sim_trace(s, "destination %u takes connection %llu", d->index, (unsigned long long)net_serial(c));
	return true;
}

/* ---- faults ---- */

static void dest_up(struct sim *s, void *arg, uint64_t n)
{
	struct dest *d = arg;

	d->down = false;
}

void dests_fault(struct sim *s)
{
	struct dest *d = &s->dests->dest[sim_below(s, s->p.dests)];

	if (!s->p.dest_down || d->down)
		return;
	sim_trace(s, "destination %u goes down", d->index);
	d->down = true;
	for (struct dest_line *l = d->lines; l; l = l->next)
		if (l->open)
			line_lost(l, true);
	sim_at(s, s->now_ns + sim_between(s, 1, sim_chance(s, 2000) ? 6000 : 800) * SIM_MS, dest_up, d, 0);
}

void dests_calm(struct sim *s)
{
	for (uint32_t i = 0; i < s->p.dests; i++) {
		struct dest *d = &s->dests->dest[i];

		d->down = false;
		for (struct dest_line *l = d->lines; l; l = l->next) {
			if (l->open)
				net_reading(l->c, true);
			if (l->open && l->held)
				accept_message(l, l->held, 0);
			l->held = NULL;
		}
	}
}
