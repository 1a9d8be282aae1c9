/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_pending.c - at start: which messages of a journal are not finished everywhere, told from its records alone.
 *
 * Called by journal_recover.c, which feeds it every record twice: first journal_pending_feed() marks what each outcome
 * finishes, then journal_pending_emit() hands on what is left, and what is young enough to be sent again, in order.
 * Numbers in the journal are translated by name to those of the present configuration. It may allocate; 24 bytes a
 * message.
 */
#include "journal_internal.h"

#include "abi/mr_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_UNKNOWN UINT16_MAX
#define IDS_MAX      60000
#define IN_WINDOW    0x80000000u

struct entry {
	uint64_t position;
	uint64_t remaining; /* bit i: destination i of its set is not finished */
	uint32_t set;       /* | IN_WINDOW */
	uint32_t pad;
};

struct set {                   /* a list of destinations that messages have in common */
	uint32_t first, count; /* in set_ids */
	uint32_t crc;
};

struct journal_pending {
	const struct mr_config *cfg;
	uint64_t window_from_ns;
	struct entry *entries; /* by position */
	uint64_t entry_count, entry_room, hint;
	struct set *sets;
	uint32_t set_count, set_room, last_set;
	uint16_t *set_ids; /* destination ids: index in names */
	uint32_t set_id_count, set_id_room;
	uint32_t *table; /* hash of sets: number + 1 */
	uint32_t table_room;
	char (*names)[MR_NAME_BYTES]; /* every destination name ever met */
	uint16_t *present;            /* its number now, or UINT16_MAX */
	uint32_t name_count, name_room;
	char *in_force; /* body of the NAMES record in force */
	uint32_t in_force_bytes;
	uint32_t dest_count, listener_count;
	uint16_t dest_id[MR_DESTINATIONS_MAX]; /* by number in force */
	uint16_t listener[MR_LISTENERS_MAX];   /* by number in force: number now */
};

struct journal_pending *journal_pending_new(const struct journal *j, uint64_t window_from_ns)
{
	struct journal_pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->cfg = j->cfg;
	p->window_from_ns = window_from_ns;
	p->in_force = malloc(sizeof(struct mr_rec_names) + (MR_LISTENERS_MAX + MR_DESTINATIONS_MAX) * MR_NAME_BYTES);
	if (!p->in_force) {
		free(p);
		return NULL;
	}
	return p;
}

void journal_pending_free(struct journal_pending *p)
{
	if (!p)
		return;
	free(p->entries);
	free(p->sets);
	free(p->set_ids);
	free(p->table);
	free(p->names);
	free(p->present);
	free(p->in_force);
	free(p);
}

static int grow(void **p, uint32_t *room, size_t each, uint32_t need)
{
	uint32_t more = *room ? *room : 64;
	void *bigger;

	while (more < need)
		more *= 2;
	if (more == *room)
		return 0;
	bigger = realloc(*p, more * each);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	*room = more;
	return 0;
}

/* Names. */

static bool same_name(const char *journal, const char *config)
{
	return !strncmp(journal, config, MR_NAME_BYTES);
}

static uint16_t dest_now(const struct journal_pending *p, const char *name)
{
	for (uint32_t i = 0; i < p->cfg->dests.count; i++)
		if (same_name(name, mr_config_dest(p->cfg, i)->name))
			return (uint16_t)i;
	return UINT16_MAX;
}

static uint16_t listener_now(const struct journal_pending *p, const char *name)
{
	for (uint32_t i = 0; i < p->cfg->listeners.count; i++)
		if (same_name(name, mr_config_listener(p->cfg, i)->name))
			return (uint16_t)i;
	return UINT16_MAX;
}

static int name_id(struct journal_pending *p, const char *name, uint16_t *ret)
{
	uint32_t room = p->name_room;

	for (uint32_t i = 0; i < p->name_count; i++) {
		if (same_name(name, p->names[i])) {
			*ret = (uint16_t)i;
			return 0;
		}
	}
	*ret = NAME_UNKNOWN;
	if (p->name_count >= IDS_MAX)
		return 0;
	if (grow((void **)&p->names, &room, MR_NAME_BYTES, p->name_count + 1) ||
	    grow((void **)&p->present, &p->name_room, sizeof(*p->present), p->name_count + 1))
		return -ENOMEM;
	memcpy(p->names[p->name_count], name, MR_NAME_BYTES);
	p->present[p->name_count] = dest_now(p, name);
	*ret = (uint16_t)p->name_count++;
	return 0;
}

static int take_names(struct journal_pending *p, const struct mr_rec *r)
{
	uint32_t bytes = r->bytes - (uint32_t)sizeof(*r);
	const struct mr_rec_names *n = (const struct mr_rec_names *)(r + 1);
	const char *name = (const char *)(n + 1);
	int err = 0;

	if (bytes == p->in_force_bytes && !memcmp(p->in_force, n, bytes))
		return 0; /* every segment begins with them: mostly the same */
	memcpy(p->in_force, n, bytes);
	p->in_force_bytes = bytes;
	p->listener_count = n->listener_count;
	p->dest_count = n->dest_count;
	for (uint32_t i = 0; i < n->listener_count; i++, name += MR_NAME_BYTES)
		p->listener[i] = listener_now(p, name);
	for (uint32_t i = 0; i < n->dest_count && !err; i++, name += MR_NAME_BYTES)
		err = name_id(p, name, &p->dest_id[i]);
	return err;
}

static uint16_t id_of(const struct journal_pending *p, uint16_t dest)
{
	return dest < p->dest_count ? p->dest_id[dest] : NAME_UNKNOWN;
}

static uint16_t number_now(const struct journal_pending *p, uint16_t id)
{
	return id == NAME_UNKNOWN ? UINT16_MAX : p->present[id];
}

/* Sets of destinations. */

static bool set_is(const struct journal_pending *p, const struct set *s, const uint16_t *ids, uint32_t n)
{
	return s->count == n && !memcmp(p->set_ids + s->first, ids, n * sizeof(*ids));
}

static int table_grow(struct journal_pending *p)
{
	uint32_t room = p->table_room ? p->table_room * 2 : 256;
	uint32_t *t = calloc(room, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->set_count; i++) {
		uint32_t at = p->sets[i].crc & (room - 1);

		while (t[at])
			at = (at + 1) & (room - 1);
		t[at] = i + 1;
	}
	free(p->table);
	p->table = t;
	p->table_room = room;
	return 0;
}

static int set_find(struct journal_pending *p, const uint16_t *ids, uint32_t n, uint32_t *ret)
{
	uint32_t crc = mr_crc32c(0, ids, n * sizeof(*ids)), at;

	if (p->last_set < p->set_count && set_is(p, &p->sets[p->last_set], ids, n)) {
		*ret = p->last_set;
		return 0;
	}
	if (p->set_count * 2 >= p->table_room && table_grow(p))
		return -ENOMEM;
	for (at = crc & (p->table_room - 1); p->table[at]; at = (at + 1) & (p->table_room - 1)) {
		if (set_is(p, &p->sets[p->table[at] - 1], ids, n)) {
			*ret = p->last_set = p->table[at] - 1;
			return 0;
		}
	}
	if (grow((void **)&p->sets, &p->set_room, sizeof(*p->sets), p->set_count + 1) ||
	    grow((void **)&p->set_ids, &p->set_id_room, sizeof(*ids), p->set_id_count + n))
		return -ENOMEM;
	memcpy(p->set_ids + p->set_id_count, ids, n * sizeof(*ids));
	p->sets[p->set_count] = (struct set){.first = p->set_id_count, .count = n, .crc = crc};
	p->set_id_count += n;
	p->table[at] = ++p->set_count;
	*ret = p->last_set = p->set_count - 1;
	return 0;
}

/* Messages. */

static bool wanted(const struct entry *e)
{
	return e->remaining || (e->set & IN_WINDOW);
}

static int entries_room(struct journal_pending *p)
{
	uint64_t kept = 0, room;
	struct entry *bigger;

	if (p->entry_count < p->entry_room)
		return 0;
	for (uint64_t i = 0; i < p->entry_count; i++)
		if (wanted(&p->entries[i]))
			p->entries[kept++] = p->entries[i];
	p->entry_count = kept;
	p->hint = 0;
	if (kept < p->entry_room / 2)
		return 0;
	room = p->entry_room ? p->entry_room * 2 : 65536;
	bigger = realloc(p->entries, room * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	p->entries = bigger;
	p->entry_room = room;
	return 0;
}

static uint32_t ids_of(const struct journal_pending *p, const struct mr_rec_message *m, uint16_t ids[MR_MSG_DESTS_MAX])
{
	const uint16_t *dests = (const uint16_t *)(m + 1);

	for (uint32_t i = 0; i < m->dest_count; i++)
		ids[i] = id_of(p, dests[i]);
	return m->dest_count;
}

static int take_message(struct journal_pending *p, const struct mr_rec *r)
{
	const struct mr_rec_message *m = (const struct mr_rec_message *)(r + 1);
	uint16_t ids[MR_MSG_DESTS_MAX];
	uint32_t n = ids_of(p, m, ids), set;
	struct entry *e;
	int err;

	if (p->entry_count && p->entries[p->entry_count - 1].position >= r->position)
		return -EBADMSG;
	err = entries_room(p);
	if (!err)
		err = set_find(p, ids, n, &set);
	if (err)
		return err;
	e = &p->entries[p->entry_count++];
	e->position = r->position;
	e->remaining = n == 64 ? UINT64_MAX : (1ull << n) - 1;
	e->set = set | (r->time_ns >= p->window_from_ns ? IN_WINDOW : 0);
	e->pad = 0;
	return 0;
}

static struct entry *entry_find(struct journal_pending *p, uint64_t position)
{
	uint64_t low = 0, high = p->entry_count;

	for (uint64_t i = p->hint; i < p->hint + 2 && i < p->entry_count; i++) {
		if (p->entries[i].position == position) {
			p->hint = i;
			return &p->entries[i];
		}
	}
	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (p->entries[middle].position < position)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == p->entry_count || p->entries[low].position != position)
		return NULL;
	p->hint = low;
	return &p->entries[low];
}

static void take_outcome(struct journal_pending *p, const struct mr_rec_outcome *o)
{
	struct entry *e = entry_find(p, o->position);
	uint16_t id = id_of(p, o->dest);
	const struct set *s;
	uint64_t bit = 0;

	if (!e)
		return;
	s = &p->sets[e->set & ~IN_WINDOW];
	for (uint32_t i = 0; i < s->count && !bit; i++)
		if (p->set_ids[s->first + i] == id && (id != NAME_UNKNOWN || (e->remaining >> i & 1)))
			bit = 1ull << i;
	switch (o->result) {
	case MR_RESULT_DELIVERED:
	case MR_RESULT_DROPPED:
	case MR_RESULT_DISCARDED:
		e->remaining &= ~bit;
		break;
	case MR_RESULT_REQUEUED:
		e->remaining |= bit;
		break;
	default: /* DEAD: waits for an operator, so it is not finished */
		break;
	}
}

/** journal_pending_feed - first pass. Returns 0, -ENOMEM, or -EBADMSG (records out of order: not our writer's work). */
int journal_pending_feed(struct journal_pending *p, const struct mr_rec *r)
{
	const struct mr_rec_outcome *o = (const struct mr_rec_outcome *)(r + 1);

	if (r->type == MR_REC_NAMES)
		return take_names(p, r);
	if (r->type == MR_REC_MESSAGE)
		return take_message(p, r);
	if (r->type == MR_REC_OUTCOME)
		for (size_t n = (r->bytes - sizeof(*r)) / sizeof(*o); n; n--, o++)
			take_outcome(p, o);
	return 0;
}

/** journal_pending_first - position of the first message to hand on, UINT64_MAX if there is none. */
uint64_t journal_pending_first(const struct journal_pending *p)
{
	for (uint64_t i = 0; i < p->entry_count; i++)
		if (wanted(&p->entries[i]))
			return p->entries[i].position;
	return UINT64_MAX;
}

/** journal_pending_rewind - before the second pass: no names are in force. */
void journal_pending_rewind(struct journal_pending *p)
{
	p->in_force_bytes = p->dest_count = p->listener_count = 0;
	p->hint = 0;
}

/*
 * Destinations that are not in the configuration have one number between them, so that an outcome could not say which
 * of them it finished: those that are finished are left out here, and their outcomes are not handed on.
 */
static void emit_message(struct journal_pending *p, const struct mr_rec *r, const struct entry *e,
                         const struct journal_found *found)
{
	struct mr_rec_message m = *(const struct mr_rec_message *)(r + 1);
	uint16_t dests[MR_MSG_DESTS_MAX];
	uint32_t n = ids_of(p, (const struct mr_rec_message *)(r + 1), dests), kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint16_t now = number_now(p, dests[i]);

		if (now != UINT16_MAX || (e->remaining >> i & 1))
			dests[kept++] = now;
	}
	m.dest_count = (uint16_t)kept;
	m.listener = m.listener < p->listener_count ? p->listener[m.listener] : UINT16_MAX;
	found->message(found->arg, r->position, r, &m, dests);
}

/** journal_pending_emit - second pass: hand on what is wanted. */
void journal_pending_emit(struct journal_pending *p, const struct mr_rec *r, const struct journal_found *found)
{
	const struct mr_rec_outcome *o = (const struct mr_rec_outcome *)(r + 1);
	const struct entry *e;

	if (r->type == MR_REC_NAMES) {
		(void)take_names(p, r); /* cannot fail: all names are known by now */
	} else if (r->type == MR_REC_MESSAGE) {
		e = entry_find(p, r->position);
		if (e && wanted(e))
			emit_message(p, r, e, found);
	} else if (r->type == MR_REC_OUTCOME) {
		for (size_t n = (r->bytes - sizeof(*r)) / sizeof(*o); n; n--, o++) {
			struct mr_rec_outcome now = *o;

			e = entry_find(p, o->position);
			if (!e || !wanted(e) || o->position >= r->position)
				continue;
			now.dest = number_now(p, id_of(p, o->dest));
			if (now.dest == UINT16_MAX)
				continue;
			found->outcome(found->arg, &now, r->time_ns);
		}
	}
}
