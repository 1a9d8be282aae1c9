/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.c - the auditor: knows only what senders and destinations saw, and says what must not be.
 *
 *   acknowledged is kept     a message whose AA or CA its sender saw arrives at every destination of its route, whole,
 *                            and is accepted there (or refused, where the setting says that this ends it)
 *   nothing from nowhere     nothing arrives that was not sent, nothing that was refused, nothing where no route leads
 *   order                    first arrivals at a destination are in the order of their sender's connection
 *   twice only for a reason  a second arrival needs a lost connection, a refusal or a crash since the one before
 *   the same answer          a repeated message gets its first answer again, byte for byte
 */
#include "hub.h"

#include <string.h>

#define AUDIT_MESSAGES_MAX 65536
#define AUDIT_SERIALS_MAX  65536

struct audit {
	struct message *message[AUDIT_MESSAGES_MAX];
	uint32_t messages;
	uint64_t arrivals;
	uint32_t place[SIM_DESTS_MAX][AUDIT_SERIALS_MAX]; /* by connection: highest place among first arrivals, plus one */
	uint32_t nth[SIM_DESTS_MAX][SIM_SENDERS_MAX];     /* by sender, likewise */
};

void audit_init(struct sim *s)
{
	s->audit = sim_alloc(sizeof(*s->audit));
}

struct message *audit_new(struct sim *s, uint32_t sender, uint32_t nth)
{
	struct message *m = sim_alloc(sizeof(*m));

	must(s->audit->messages < AUDIT_MESSAGES_MAX);
	m->number = s->audit->messages;
	m->sender = sender;
	m->nth = nth;
	m->in_order = true;
	s->audit->message[s->audit->messages++] = m;
	return m;
}

/* Control IDs are M and the number. */
static struct message *audit_find(struct sim *s, const char *id, uint32_t bytes)
{
	uint32_t n = 0;

	if (bytes < 2 || bytes > 8 || id[0] != 'M')
		return NULL;
	for (uint32_t i = 1; i < bytes; i++) {
		if (id[i] < '0' || id[i] > '9')
			return NULL;
		n = n * 10 + (uint32_t)(id[i] - '0');
	}
	return n < s->audit->messages ? s->audit->message[n] : NULL;
}

void audit_sent(struct sim *s, struct message *m, uint64_t serial, uint32_t place)
{
	must(serial < AUDIT_SERIALS_MAX);
	if (!m->sent++) {
		m->serial = serial;
		m->place = place;
		m->blind = hub_blind(s);
	}
}

void audit_answer(struct sim *s, struct message *m, const char *code, uint32_t nth, const char *answer, uint32_t bytes)
{
	uint64_t sum = sim_hash(answer, bytes);

	if (strcmp(code, m->expect[nth]))
		sim_fail(s, "message %u was answered %s, not %s", m->number, code, m->expect[nth]);
	m->unsure |= m->sent > 1 && m->blind != hub_blind(s);
	if (m->answer_sum[nth] && m->answer_sum[nth] != sum && !m->unsure && !s->p.duplicates_forward && !s->p.small_journal)
		sim_fail(s, "message %u was sent again and got another answer than the first time", m->number);
	m->answer_sum[nth] = sum;
	m->acked = true;
}

/* ---- arrivals ---- */

/* A second arrival: was there any reason for it? (One that is read late may have been sent first.) */
static void audit_again(struct sim *s, uint32_t dest, struct message *m, const struct net_conn *c)
{
	bool lost = !net_open(m->at[dest].conn) || !net_open(c), refused = m->at[dest].no_ns >= m->at[dest].last_ns;

	if (lost || refused || m->at[dest].sent_ns <= hub_disturbed_ns(s))
		return;
	if (m->sent > 1 && (s->p.duplicates_forward || s->p.small_journal || m->unsure))
		return;
	sim_fail(s, "message %u came to destination %u again for no reason (sent %u times, first on connection %llu)", m->number,
		 dest, m->sent, (unsigned long long)m->serial);
}

static void audit_order(struct sim *s, uint32_t dest, const struct message *m)
{
	uint32_t *place = &s->audit->place[dest][m->serial], *nth = &s->audit->nth[dest][m->sender];
	/* With one core, and one lane or one key for all, the order holds over a sender's reconnecting too. */
	bool whole = s->p.cores == 1 && (s->p.order_listener || s->p.lanes[dest] == 1) && m->kind == MESSAGE_GOOD;

	if (s->p.attempts_max || !m->in_order)
		return; /* it may have been a dead letter before it ever arrived */
	if (m->sent == 1) {
		if (m->place + 1 < *place)
			sim_fail(s, "message %u came to destination %u after a later one of its connection %llu", m->number, dest,
				 (unsigned long long)m->serial);
		*place = m->place + 1;
	}
	if (whole && m->nth + 1 < *nth)
		sim_fail(s, "message %u came to destination %u after a later one of its sender %u", m->number, dest, m->sender);
	if (m->kind == MESSAGE_GOOD && m->nth + 1 > *nth) /* one without an answer is not sent again, so it may be overtaken */
		*nth = m->nth + 1;
}

struct message *audit_arrival(struct sim *s, uint32_t dest, const struct net_conn *c, uint64_t sent_ns, const char *p, uint32_t n)
{
	struct message *m = NULL;
	const char *id;
	uint32_t id_bytes;

	if (text_field(p, n, "MSH", 10, &id, &id_bytes))
		m = audit_find(s, id, id_bytes);
	if (!m || !m->sent)
		sim_fail(s, "something that was never sent came to destination %u (%u bytes)", dest, n);
	if (m->length != n || memcmp(m->bytes, p, n))
		sim_fail(s, "message %u came to destination %u with other bytes than it was sent with", m->number, dest);
	if (m->kind == MESSAGE_BAD)
		sim_fail(s, "message %u was to be refused and came to destination %u", m->number, dest);
	if (!(m->route >> dest & 1))
		sim_fail(s, "message %u came to destination %u, where no route leads", m->number, dest);
	sim_trace(s, "message %u arrives at destination %u on %llu%s", m->number, dest, (unsigned long long)net_serial(c),
		  m->at[dest].arrived ? " again" : "");
	if (m->at[dest].arrived++)
		audit_again(s, dest, m, c);
	else
		audit_order(s, dest, m);
	m->at[dest].last_ns = s->now_ns;
	m->at[dest].conn = c;
	m->at[dest].sent_ns = sent_ns;
	s->audit->arrivals++;
	return m;
}

void audit_said(struct sim *s, uint32_t dest, struct message *m, bool yes)
{
	if (yes) {
		m->at[dest].yes++;
	} else {
		m->at[dest].no++;
		m->at[dest].no_ns = s->now_ns;
	}
}

/* ---- the end ---- */

static bool audit_due(const struct sim *s, const struct message *m, uint32_t dest)
{
	if (!m->acked || !(m->route >> dest & 1) || m->at[dest].yes)
		return false;
	return !(s->p.on_error == MR_REJECT_DROP && m->at[dest].no);
}

bool audit_settled(const struct sim *s)
{
	for (uint32_t i = 0; i < s->audit->messages; i++)
		for (uint32_t d = 0; d < s->p.dests; d++)
			if (audit_due(s, s->audit->message[i], d))
				return false;
	return true;
}

void audit_end(struct sim *s)
{
	for (uint32_t i = 0; i < s->audit->messages; i++)
		for (uint32_t d = 0; d < s->p.dests; d++) {
			const struct message *m = s->audit->message[i];

			if (audit_due(s, m, d))
				sim_fail(s, "message %u was acknowledged (sent %u times, first on connection %llu) and destination %u "
					 "never accepted it (it came %u times, %u refusals)", m->number, m->sent,
					 (unsigned long long)m->serial, d, m->at[d].arrived, m->at[d].no);
		}
}

uint64_t audit_arrivals(const struct sim *s)
{
	return s->audit->arrivals;
}

void audit_print(const struct sim *s)
{
	uint32_t acked = 0, again = 0;

	for (uint32_t i = 0; i < s->audit->messages; i++) {
		acked += s->audit->message[i]->acked;
		again += s->audit->message[i]->sent > 1;
	}
	printf("%u messages, %u acknowledged, %u sent more than once, %llu arrivals", s->audit->messages, acked, again,
	       (unsigned long long)s->audit->arrivals);
}
