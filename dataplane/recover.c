/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - after a start: from what a journal holds to the queues, the dead letters and the duplicate table.
 *
 * Called by core_create(), before the loop runs; the only place of a worker that allocates and frees as it goes.
 * The journal tells messages and then their outcomes; what is left over is pending, in its order.
 */
#include "core.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recovered { /* one message, while its outcomes are being read */
	uint64_t position, key;
	uint64_t open; /* bit i: not finished at dest[i] */
	uint32_t bytes;
	uint32_t dest; /* first of its destination numbers in recovery.dest */
};

struct recovered_dead {
	struct mr_rec_outcome outcome;
	uint64_t time_ns;
	size_t order; /* of coming: a clock may be set back */
};

struct recovery {
	struct core *c;
	struct dupes *dupes; /* of this journal: positions of different journals never share a table */
	struct recovered *msg;
	size_t msgs, msgs_room;
	uint16_t *dest;
	size_t dests, dests_room;
	struct recovered_dead *dead;
	size_t deads, deads_room;
	bool failed;
};

static void *recovery_grow(struct recovery *r, void *p, size_t item_bytes, size_t used, size_t *room, size_t want)
{
	size_t n = *room ? *room : 1024;
	void *q;

	if (used + want <= *room)
		return p;
	while (n < used + want)
		n *= 2;
	q = realloc(p, n * item_bytes);
	if (!q) {
		r->failed = true;
		return p;
	}
	*room = n;
	return q;
}

static void recovery_message(void *arg, uint64_t position, const struct mr_rec *rec, const struct mr_rec_message *m,
			     const uint16_t *dests)
{
	struct recovery *r = arg;
	struct core *c = r->c;
	struct recovered *x;

	if (m->id_hash && r->dupes->table && c->realtime_ns - rec->time_ns < c->cfg->duplicate_window_ns)
		dupes_insert(r->dupes, m->id_hash, position);
	if (!m->dest_count || m->dest_count > MR_MSG_DESTS_MAX)
		return;
	r->msg = recovery_grow(r, r->msg, sizeof(*r->msg), r->msgs, &r->msgs_room, 1);
	r->dest = recovery_grow(r, r->dest, sizeof(*r->dest), r->dests, &r->dests_room, m->dest_count);
	if (r->failed)
		return;
	x = &r->msg[r->msgs++];
	*x = (struct recovered){.position = position, .key = m->key, .bytes = m->payload_bytes, .dest = (uint32_t)r->dests,
				.open = m->dest_count == 64 ? UINT64_MAX : (1ull << m->dest_count) - 1};
	memcpy(r->dest + r->dests, dests, m->dest_count * sizeof(*dests));
	r->dests += m->dest_count;
}

static struct recovered *recovery_find(struct recovery *r, uint64_t position)
{
	size_t lo = 0, hi = r->msgs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (r->msg[mid].position < position)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->msgs && r->msg[lo].position == position ? &r->msg[lo] : NULL;
}

static uint32_t recovery_dests(const struct recovery *r, const struct recovered *x)
{
	size_t next = x + 1 < r->msg + r->msgs ? x[1].dest : r->dests;

	return (uint32_t)(next - x->dest);
}

static void recovery_outcome(void *arg, const struct mr_rec_outcome *o, uint64_t time_ns)
{
	struct recovery *r = arg;
	struct recovered *x = recovery_find(r, o->position);

	if (!x)
		return;
	if (o->result == MR_RESULT_DEAD || o->result == MR_RESULT_REQUEUED) {
		r->dead = recovery_grow(r, r->dead, sizeof(*r->dead), r->deads, &r->deads_room, 1);
		if (!r->failed) {
			r->dead[r->deads] = (struct recovered_dead){.outcome = *o, .time_ns = time_ns, .order = r->deads};
			r->deads++;
		}
		return;
	}
	for (uint32_t i = 0; i < recovery_dests(r, x); i++)
		if (r->dest[x->dest + i] == o->dest)
			x->open &= ~(1ull << i);
}

/* By position and destination; the order of coming keeps, so the last of equals is what holds now. */
static int recovery_dead_order(const void *a, const void *b)
{
	const struct recovered_dead *x = a, *y = b;

	if (x->outcome.position != y->outcome.position)
		return x->outcome.position < y->outcome.position ? -1 : 1;
	if (x->outcome.dest != y->outcome.dest)
		return x->outcome.dest < y->outcome.dest ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static const struct recovered_dead *recovery_dead(const struct recovery *r, size_t *at, uint64_t position, uint32_t dest)
{
	const struct recovered_dead *found = NULL;
	size_t i = *at;

	while (i < r->deads && r->dead[i].outcome.position < position)
		i++;
	*at = i;
	for (; i < r->deads && r->dead[i].outcome.position == position; i++)
		if (r->dead[i].outcome.dest == dest)
			found = &r->dead[i];
	return found && found->outcome.result == MR_RESULT_DEAD ? found : NULL;
}

static uint64_t recovery_queue(struct recovery *r, uint32_t journal)
{
	uint64_t gone = 0;
	size_t at = 0;

	if (r->deads)
		qsort(r->dead, r->deads, sizeof(*r->dead), recovery_dead_order);
	for (size_t k = 0; k < r->msgs; k++) {
		struct recovered *x = &r->msg[k];

		for (uint32_t i = 0; x->open && i < recovery_dests(r, x); i++) {
			uint32_t dest = r->dest[x->dest + i];
			const struct recovered_dead *d;

			if (!(x->open >> i & 1))
				continue;
			journal_pin(r->c->sources[journal].own, x->position);
			if (dest == UINT16_MAX) {
				gone++; /* its destination is not in the configuration: kept until it is, or a person decides */
				continue;
			}
			d = recovery_dead(r, &at, x->position, dest);
			queue_recovered(r->c, journal, x->position, x->bytes, x->key, dest, d ? &d->outcome : NULL,
					d ? d->time_ns : 0);
		}
	}
	return gone;
}

int recover_journal(struct core *c, uint32_t journal, bool adopted)
{
	struct recovery r = {.c = c, .dupes = &c->sources[journal].dupes};
	struct journal_found found = {.message = recovery_message, .outcome = recovery_outcome, .arg = &r};
	struct journal_recovery what = {0};
	struct journal_params p = {.core = journal, .cfg = c->cfg, .region = adopted ? NULL : &c->region, .adopted = adopted,
				   .io_tag = core_tag(TAG_JOURNAL, (uint64_t)journal << 16)};
	char folder[600];
	uint64_t gone;
	int e;

	snprintf(folder, sizeof(folder), "%s/journal-%u", c->cfg->data, journal);
	p.folder = folder;
	if (adopted && c->cfg->duplicate_entries && (e = dupes_create(c->cfg->duplicate_entries, r.dupes)) < 0)
		return e;
	e = journal_open(&p, c->io, &found, &what, &c->sources[journal].own);
	if (e == -EUCLEAN) {
		link_trouble(c, 3, MR_CODE_JOURNAL_CORRUPT, UINT32_MAX, (int64_t)what.corrupt_position, false,
			     "journal %u is damaged at position %llu: what stands there is lost, everything else was taken up",
			     journal, (unsigned long long)what.corrupt_position);
		mr_region_error(&c->region, MR_CODE_JOURNAL_CORRUPT, UINT32_MAX, (int64_t)what.corrupt_position, c->realtime_ns);
		e = 0;
	}
	if (e == 0 && r.failed)
		e = -ENOMEM;
	if (e == 0) {
		c->q.outcome[journal] = calloc(OUTCOMES_WAITING_MAX, sizeof(struct mr_rec_outcome));
		if (!c->q.outcome[journal])
			e = -ENOMEM;
	}
	if (e == 0) {
		gone = recovery_queue(&r, journal);
		if (gone)
			link_trouble(c, 4, MR_CODE_DESTINATION_UNKNOWN, UINT32_MAX, (int64_t)gone, false,
				     "journal %u: %llu deliveries wait for destinations that are not in the configuration; kept",
				     journal, (unsigned long long)gone);
	}
	free(r.msg);
	free(r.dest);
	free(r.dead);
	return e;
}

/* Journals of workers that exist no more are looked after by worker (their number modulo ours). */
int recover_orphans(struct core *c)
{
	DIR *d = opendir(c->cfg->data);
	struct dirent *e;
	int r = 0;

	while (d && r == 0 && (e = readdir(d))) {
		unsigned k;
		char end;

		if (sscanf(e->d_name, "journal-%u%c", &k, &end) != 1 || k < c->cfg->workers || k >= MR_WORKERS_MAX ||
		    k % c->cfg->workers != c->index)
			continue;
		r = recover_journal(c, k, true);
	}
	if (d)
		closedir(d);
	return r;
}
