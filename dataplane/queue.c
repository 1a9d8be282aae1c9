/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - the owner's side of delivery: what of this core's journals is not finished yet, per destination and lane.
 *
 * A message becomes an entry of 16 bytes (journal, position) in the lane that its ordering key picks, once it is durable.
 * Entries are handed out in order to the core or connector that owns the destination, a bounded number at a time, over
 * rings (ring.c); outcomes come back, go into the journal, and free the entry. When a peer dies everything handed to it
 * is handed out again. Dead letters are remembered apart, still pinned in the journal.
 * Called by core.c on the core's thread. Never allocates after queue_init(); never touches a payload.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LIST_END UINT32_MAX

static void *queue_reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int queue_lanes_init(struct core *c)
{
	struct queues *q = &c->q;
	uint32_t dests = c->cfg->dests.count, at = 0;

	for (uint32_t d = 0; d < dests; d++) {
		const struct mr_config_dest *cd = mr_config_dest(c->cfg, d);

		q->lane_first[d] = at;
		q->limit[d] = cd->queue_max / c->cfg->workers + 1;
		for (uint32_t l = 0; l < cd->connections; l++, at++)
			q->lane[at] = (struct queue_lane){.chunk_head = LIST_END, .chunk_next = LIST_END, .chunk_tail = LIST_END,
							  .dest = (uint16_t)d, .lane = (uint8_t)l};
	}
	q->lane_first[dests] = q->lane_count = at;
	return 0;
}

int queue_init(struct core *c)
{
	struct queues *q = &c->q;
	uint32_t dests = c->cfg->dests.count, lanes = 0;

	for (uint32_t d = 0; d < dests; d++)
		lanes += mr_config_dest(c->cfg, d)->connections;
	q->chunk_count = QUEUE_ENTRIES_HELD / QUEUE_CHUNK_ENTRIES;
	q->entry = queue_reserve((size_t)QUEUE_ENTRIES_HELD * sizeof(*q->entry));
	q->chunk_link = queue_reserve((size_t)q->chunk_count * sizeof(*q->chunk_link));
	q->dead = queue_reserve((size_t)DEAD_ENTRIES_MAX * sizeof(*q->dead));
	q->lane = calloc(lanes + 1, sizeof(*q->lane));
	q->lane_first = calloc(dests + 1, sizeof(*q->lane_first));
	q->waiting = calloc(dests + 1, sizeof(*q->waiting));
	q->waiting_bytes = calloc(dests + 1, sizeof(*q->waiting_bytes));
	q->limit = calloc(dests + 1, sizeof(*q->limit));
	q->dead_of = calloc(dests + 1, sizeof(*q->dead_of));
	if (!q->entry || !q->chunk_link || !q->dead || !q->lane || !q->lane_first || !q->waiting || !q->waiting_bytes ||
	    !q->limit || !q->dead_of)
		return -ENOMEM;
	q->chunk_free = LIST_END; /* never used chunks are taken from chunks_free on, so that they are not touched before */
	q->chunks_free = 0;
	q->list_head = q->list_tail = LIST_END;
	return queue_lanes_init(c);
}

static void queue_unreserve(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

void queue_destroy(struct core *c)
{
	struct queues *q = &c->q;

	queue_unreserve(q->entry, (size_t)QUEUE_ENTRIES_HELD * sizeof(*q->entry));
	queue_unreserve(q->chunk_link, (size_t)q->chunk_count * sizeof(*q->chunk_link));
	queue_unreserve(q->dead, (size_t)DEAD_ENTRIES_MAX * sizeof(*q->dead));
	free(q->lane);
	free(q->lane_first);
	free(q->waiting);
	free(q->waiting_bytes);
	free(q->limit);
	free(q->dead_of);
}

/* ---- entries ---- */

static uint32_t queue_chunk_take(struct queues *q)
{
	uint32_t k = q->chunk_free;

	if (k != LIST_END)
		q->chunk_free = q->chunk_link[k];
	else if (q->chunks_free < q->chunk_count)
		k = q->chunks_free++;
	if (k != LIST_END) {
		q->chunk_link[k] = LIST_END;
		q->chunks_used++;
	}
	return k;
}

static bool queue_chunks_left(const struct queues *q)
{
	return q->chunks_used + QUEUE_CHUNKS_KEPT < QUEUE_ENTRIES_MAX / QUEUE_CHUNK_ENTRIES;
}

static struct queue_entry *queue_at(struct queues *q, uint32_t chunk, uint64_t sequence)
{
	return &q->entry[(size_t)chunk * QUEUE_CHUNK_ENTRIES + sequence % QUEUE_CHUNK_ENTRIES];
}

static void queue_list(struct core *c, struct queue_lane *l)
{
	uint32_t i = (uint32_t)(l - c->q.lane);

	if (l->listed)
		return;
	l->listed = true;
	l->list_next = LIST_END;
	if (c->q.list_tail == LIST_END)
		c->q.list_head = i;
	else
		c->q.lane[c->q.list_tail].list_next = i;
	c->q.list_tail = i;
}

static void queue_append(struct core *c, struct queue_lane *l, const struct queue_entry *e)
{
	struct queues *q = &c->q;

	if (l->tail % QUEUE_CHUNK_ENTRIES == 0 || l->chunk_tail == LIST_END) {
		uint32_t k = queue_chunk_take(q);

		must(k != LIST_END); /* queue_room() keeps a reserve */
		if (l->chunk_tail != LIST_END)
			q->chunk_link[l->chunk_tail] = k;
		else
			l->chunk_head = k;
		l->chunk_tail = k;
		if (l->next == l->tail)
			l->chunk_next = k;
	}
	*queue_at(q, l->chunk_tail, l->tail) = *e;
	l->tail++;
	q->waiting[l->dest]++;
	q->waiting_bytes[l->dest] += e->bytes;
	mr_set_own(&c->region.region->pending, ++q->pending);
	mr_gauge_dest(&c->region, MR_M_D_QUEUE, l->dest, q->waiting[l->dest]);
	queue_list(c, l);
}

/* The oldest entries that are done leave the lane. */
static void queue_trim(struct core *c, struct queue_lane *l)
{
	struct queues *q = &c->q;

	while (l->head < l->tail && queue_at(q, l->chunk_head, l->head)->done) {
		l->head++;
		if (l->head % QUEUE_CHUNK_ENTRIES && l->head != l->tail)
			continue;
		if (l->head % QUEUE_CHUNK_ENTRIES == 0) {
			uint32_t k = l->chunk_head, after = q->chunk_link[k];

			q->chunk_link[k] = q->chunk_free;
			q->chunk_free = k;
			q->chunks_used--;
			if (l->chunk_next == k)
				l->chunk_next = after;
			l->chunk_head = after;
			if (after == LIST_END)
				l->chunk_tail = l->chunk_next = LIST_END;
		}
	}
	if (l->next < l->head)
		l->next = l->head;
}

bool queue_room(const struct core *c, uint32_t dest)
{
	return c->q.waiting[dest] < c->q.limit[dest] && queue_chunks_left(&c->q);
}

static struct queue_lane *queue_lane_of(struct core *c, uint32_t dest, uint64_t key)
{
	uint32_t lanes = mr_config_dest(c->cfg, dest)->connections;

	return &c->q.lane[c->q.lane_first[dest] + (uint32_t)((key ^ key >> 32) % lanes)];
}

void queue_push(struct core *c, uint32_t dest, uint64_t key, uint32_t journal, uint64_t position, uint32_t bytes)
{
	struct queue_entry e = {.position = position, .bytes = bytes, .journal = (uint8_t)journal};

	queue_append(c, queue_lane_of(c, dest, key), &e);
}

/* ---- dead letters ---- */

static bool queue_dead_put(struct core *c, const struct dead_letter *d)
{
	struct queues *q = &c->q;
	uint32_t i = q->dead_top;

	if (q->dead_count < q->dead_top) /* a hole left by a retry or a discard */
		for (i = 0; i < q->dead_top && q->dead[i].used; i++)
			;
	if (i >= DEAD_ENTRIES_MAX)
		return false;
	if (i == q->dead_top)
		q->dead_top++;
	q->dead[i] = *d;
	q->dead[i].used = 1;
	q->dead_count++;
	q->dead_of[d->dest]++;
	return true;
}

void queue_recovered(struct core *c, uint32_t journal, uint64_t position, uint32_t bytes, uint64_t key, uint32_t dest,
		     const struct mr_rec_outcome *dead, uint64_t dead_ns)
{
	struct dead_letter d = {.position = position, .time_ns = dead_ns, .bytes = bytes, .dest = (uint16_t)dest,
				.journal = (uint8_t)journal};

	if (!dead) {
		queue_push(c, dest, key, journal, position, bytes);
		return;
	}
	d.attempts = dead->attempts;
	d.reason = dead->reason;
	d.lane = queue_lane_of(c, dest, key)->lane;
	memcpy(d.code, dead->code, 2);
	if (!queue_dead_put(c, &d)) /* no room to remember it as dead: it is tried again, never lost */
		queue_push(c, dest, key, journal, position, bytes);
}

/* ---- handing out ---- */

static bool queue_hand_one(struct core *c, struct queue_lane *l, uint32_t owner)
{
	struct queue_entry *e = queue_at(&c->q, l->chunk_next, l->next);
	struct mr_msg m = {.kind = MR_MSG_DELIVER, .dest = l->dest, .lane = l->lane, .journal = e->journal,
			   .sequence = l->next, .position = e->position, .bytes = e->bytes, .attempts = e->attempts};

	if (!e->done) {
		if (owner == c->index ? !dest_take(c, owner, &m) : !ring_push(c, owner, &m))
			return false;
		l->out++;
	}
	l->next++;
	if (l->next % QUEUE_CHUNK_ENTRIES == 0)
		l->chunk_next = c->q.chunk_link[l->chunk_next];
	return true;
}

void queue_hand_out(struct core *c)
{
	uint32_t i = c->q.list_head;

	c->q.list_head = c->q.list_tail = LIST_END;
	while (i != LIST_END) {
		struct queue_lane *l = &c->q.lane[i];
		uint32_t owner = mr_config_dest(c->cfg, l->dest)->owner;
		bool ok = !l->again && (owner == c->index || c->peer[owner].present);
		uint64_t credit = mr_config_credit(mr_config_dest(c->cfg, l->dest));

		i = l->list_next;
		l->listed = false;
		while (ok && l->next < l->tail && l->next - l->head < credit)
			ok = queue_hand_one(c, l, owner);
		if (!ok && !l->again && l->next < l->tail && (owner == c->index || c->peer[owner].present))
			queue_list(c, l); /* its ring is full: next turn. An absent owner's lanes are listed when it is back */
	}
}

static void queue_from_head(struct queue_lane *l)
{
	l->next = l->head;
	l->chunk_next = l->chunk_head;
	l->out = 0;
	l->again = false;
}

void queue_peer_gone(struct core *c, uint32_t peer)
{
	for (uint32_t i = 0; i < c->q.lane_count; i++) {
		struct queue_lane *l = &c->q.lane[i];

		if (mr_config_dest(c->cfg, l->dest)->owner != peer)
			continue;
		queue_from_head(l);
	}
}

void queue_peer_back(struct core *c, uint32_t peer)
{
	for (uint32_t i = 0; i < c->q.lane_count; i++)
		if (mr_config_dest(c->cfg, c->q.lane[i].dest)->owner == peer)
			queue_list(c, &c->q.lane[i]);
}

/* ---- outcomes ---- */

bool queue_outcomes_room(const struct core *c)
{
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++)
		if (c->q.outcomes[j] >= OUTCOMES_WAITING_MAX - 4 * LANE_CREDIT)
			return false;
	return true;
}

static void queue_record(struct core *c, uint32_t journal, uint64_t position, uint32_t dest, uint8_t result, uint8_t reason,
			 uint16_t attempts, const char *code)
{
	struct mr_rec_outcome *o;

	must(c->q.outcome[journal] && c->q.outcomes[journal] < OUTCOMES_WAITING_MAX);
	o = &c->q.outcome[journal][c->q.outcomes[journal]++];
	*o = (struct mr_rec_outcome){.position = position, .dest = (uint16_t)dest, .result = result, .reason = reason,
				     .attempts = attempts};
	memcpy(o->code, code, 2);
	/*
	 * Finished, so its segment need not be kept for it, even before this outcome is on disk: a message whose segment is
	 * gone is never delivered again. Waiting for the outcome would lock a full journal up: no room for outcomes until a
	 * segment goes, and no segment goes until its outcomes are in.
	 */
	if (result != MR_RESULT_DEAD && result != MR_RESULT_REQUEUED)
		journal_unpin(c->sources[journal].own, position);
}

void queue_flush_outcomes(struct core *c)
{
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++) {
		uint32_t n = c->q.outcomes[j], done = 0;

		while (done < n) {
			uint32_t k = n - done < OUTCOMES_PER_RECORD ? n - done : OUTCOMES_PER_RECORD;

			if (!journal_append_outcomes(c->sources[j].own, c->q.outcome[j] + done, k))
				break; /* no room now: kept, and tried again next turn */
			done += k;
		}
		if (done && done < n)
			memmove(c->q.outcome[j], c->q.outcome[j] + done, (n - done) * sizeof(struct mr_rec_outcome));
		c->q.outcomes[j] = n - done;
	}
}

/* The entry that an outcome names, if it is still handed out and unfinished. */
static struct queue_entry *queue_find(struct core *c, struct queue_lane *l, const struct mr_msg *m)
{
	uint32_t chunk = l->chunk_head;
	struct queue_entry *e;

	if (m->sequence < l->head || m->sequence >= l->next)
		return NULL;
	for (uint64_t n = m->sequence / QUEUE_CHUNK_ENTRIES - l->head / QUEUE_CHUNK_ENTRIES; n; n--)
		chunk = c->q.chunk_link[chunk];
	e = queue_at(&c->q, chunk, m->sequence);
	return e->done || e->position != m->position || e->journal != m->journal ? NULL : e;
}

void queue_outcome(struct core *c, const struct mr_msg *m)
{
	struct queue_lane *l;
	struct queue_entry *e = NULL;

	if (m->dest < c->cfg->dests.count && m->lane < mr_config_dest(c->cfg, m->dest)->connections) {
		l = &c->q.lane[c->q.lane_first[m->dest] + m->lane];
		e = queue_find(c, l, m);
	}
	if (!e || m->result < MR_RESULT_DELIVERED || m->result > MR_RESULT_DROPPED) {
		mr_count_worker(&c->region, MR_M_W_STALE_OUTCOMES, 1);
		return;
	}
	l->out--;
	if (m->result == MR_RESULT_DEAD) {
		struct dead_letter d = {.position = m->position, .time_ns = c->realtime_ns, .bytes = m->bytes, .dest = m->dest,
					.attempts = m->attempts, .journal = (uint8_t)m->journal, .lane = m->lane,
					.reason = m->reason};

		memcpy(d.code, m->code, 2);
		if (!queue_dead_put(c, &d)) { /* the dead letters are full: it stays in its queue and is tried again */
			link_trouble(c, 3, MR_CODE_DEAD_FULL, m->dest, 0, false, "dead letters are full; the destination waits");
			l->again = true; /* not before the others that are out are answered: they would be delivered twice */
			return;
		}
	}
	if (m->result == MR_RESULT_DEAD)
		link_trouble(c, 4, MR_CODE_DEAD_LETTER, m->dest, 0, false, "messages for %s went to the dead letters",
			     mr_config_dest(c->cfg, m->dest)->name);
	queue_record(c, m->journal, m->position, m->dest, m->result, m->reason, m->attempts, m->code);
	e->done = 1;
	c->q.waiting[m->dest]--;
	c->q.waiting_bytes[m->dest] -= e->bytes;
	mr_set_own(&c->region.region->pending, --c->q.pending);
	mr_gauge_dest(&c->region, MR_M_D_QUEUE, m->dest, c->q.waiting[m->dest]);
	queue_trim(c, l);
	if (l->next < l->tail)
		queue_list(c, l);
}

/* ---- what operators do with dead letters ---- */

void queue_dead_page(struct core *c, const struct mr_link_msg *ask, struct mr_link_msg *answer)
{
	uint32_t seen = 0, n = 0, limit = ask->u.dead_query.limit < MR_LINK_DEAD_MAX ? ask->u.dead_query.limit : MR_LINK_DEAD_MAX;

	answer->type = MR_LINK_DEAD_PAGE;
	for (uint32_t i = 0; i < c->q.dead_top; i++) {
		const struct dead_letter *d = &c->q.dead[i];

		if (!d->used || (ask->u.dead_query.dest != UINT32_MAX && d->dest != ask->u.dead_query.dest))
			continue;
		answer->u.dead.total++;
		if (seen++ < ask->u.dead_query.skip || n >= limit)
			continue;
		answer->u.dead.item[n++] = (struct mr_link_dead){
			.position = d->position, .time_ns = d->time_ns,
			.received_ns = source_received_ns(c, d->journal, d->position), .bytes = d->bytes, .journal = d->journal, .dest = d->dest,
			.attempts = d->attempts, .reason = d->reason, .code = {d->code[0], d->code[1]}};
	}
	answer->u.dead.count = n;
	answer->u.dead.more = answer->u.dead.total > ask->u.dead_query.skip + n;
}

static uint64_t queue_dead_each(struct core *c, uint32_t dest, uint32_t journal, uint64_t position, uint8_t result)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < c->q.dead_top; i++) {
		struct dead_letter *d = &c->q.dead[i];

		if (!d->used || (dest != UINT32_MAX && d->dest != dest) ||
		    (journal != UINT32_MAX && (d->journal != journal || d->position != position)))
			continue;
		if (!queue_outcomes_room(c) || (result == MR_RESULT_REQUEUED && !queue_chunks_left(&c->q)))
			break; /* what is left stays dead; the count says how many were done */
		queue_record(c, d->journal, d->position, d->dest, result, d->reason, d->attempts, d->code);
		if (result == MR_RESULT_REQUEUED) {
			struct queue_entry e = {.position = d->position, .bytes = d->bytes, .journal = d->journal};

			queue_append(c, &c->q.lane[c->q.lane_first[d->dest] + d->lane], &e);
		}
		c->q.dead_of[d->dest]--;
		c->q.dead_count--;
		d->used = 0;
		count++;
		if (journal != UINT32_MAX)
			break;
	}
	while (c->q.dead_top && !c->q.dead[c->q.dead_top - 1].used)
		c->q.dead_top--;
	return count;
}

uint64_t queue_dead_retry(struct core *c, uint32_t dest, uint32_t journal, uint64_t position)
{
	return queue_dead_each(c, dest, journal, position, MR_RESULT_REQUEUED);
}

uint64_t queue_dead_discard(struct core *c, uint32_t dest, uint32_t journal, uint64_t position)
{
	return queue_dead_each(c, dest, journal, position, MR_RESULT_DISCARDED);
}

/* Dead letters that found no room are tried again, all together, at the pace of the tick. */
static void queue_try_again(struct core *c)
{
	for (uint32_t i = 0; i < c->q.lane_count; i++) {
		struct queue_lane *l = &c->q.lane[i];

		if (!l->again || l->out)
			continue;
		queue_from_head(l);
		queue_list(c, l);
	}
}

void queue_gauges(struct core *c)
{
	queue_try_again(c);
	for (uint32_t d = 0; d < c->cfg->dests.count; d++) {
		if (c->q.waiting[d] < c->q.limit[d] - c->q.limit[d] / 8)
			link_trouble(c, 4, MR_CODE_QUEUE_FULL, d, 0, true, "the queue of %s has room again",
				     mr_config_dest(c->cfg, d)->name);
		if (!c->q.dead_of[d])
			link_trouble(c, 4, MR_CODE_DEAD_LETTER, d, 0, true, "the dead letters of %s are empty",
				     mr_config_dest(c->cfg, d)->name);
		mr_gauge_dest(&c->region, MR_M_D_QUEUE, d, c->q.waiting[d]);
		mr_gauge_dest(&c->region, MR_M_D_QUEUE_BYTES, d, c->q.waiting_bytes[d]);
		mr_gauge_dest(&c->region, MR_M_D_DEAD_LETTERS, d, c->q.dead_of[d]);
	}
}

