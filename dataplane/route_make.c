/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_make.c - builds the routing table of a configuration image, and releases it.
 *
 * Called by a core when it adopts a configuration, never on a message's path. All that routing will ever need is
 * allocated here. route.c runs the table.
 */
#include "route_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#define GATE_ROUTES_MIN 8 /* fewer routes behind a gate are begun faster than looked up */

/* Address space that costs memory only where it is written to. */
static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *table(struct route_table *t, size_t count, size_t entry_bytes)
{
	t->memory_bytes += count * entry_bytes;
	return calloc(count ? count : 1, entry_bytes);
}

static int path_make(struct route_table *t, const char *text)
{
	struct route_path *p = &t->paths[t->path_count];

	if (hl7_path_compile(text, (uint32_t)strlen(text), &p->path, NULL))
		return -EINVAL;
	p->in_msh = p->path.name == hl7_name("MSH") && p->path.sequence == 1 && p->path.field <= HL7_MSH_FIELDS &&
	            p->path.repetition != HL7_PATH_ALL;
	t->path_count++;
	return 0;
}

/* All paths of conditions and, after them, those that listeners order by. */
static int paths_make(struct route_table *t)
{
	const struct mr_config *c = t->cfg;
	const struct mr_config_const *texts = mr_config_at(c, &c->paths);

	t->paths = table(t, c->paths.count + c->listeners.count, sizeof(*t->paths));
	if (!t->paths)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->paths.count; i++) {
		if (path_make(t, mr_config_string(c, texts[i].offset)))
			return -EINVAL;
	}
	for (uint32_t i = 0; i < c->listeners.count; i++) {
		const struct mr_config_listener *l = mr_config_listener(c, i);

		t->lists[i].order_path = UINT32_MAX;
		if (l->order_by != MR_ORDER_FIELD)
			continue;
		t->lists[i].order_path = t->path_count;
		if (path_make(t, mr_config_string(c, l->order_path)))
			return -EINVAL;
	}
	return 0;
}

static int regexes_make(struct route_table *t)
{
	const struct mr_config *c = t->cfg;
	const struct mr_config_regex *from = mr_config_at(c, &c->regexes);
	size_t bytes;

	t->regexes = table(t, c->regexes.count, sizeof(*t->regexes));
	t->memos = table(t, c->regexes.count, sizeof(*t->memos));
	if (!t->regexes || !t->memos)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->regexes.count; i++) {
		if (hs_deserialize_database(t->strings + from[i].offset, from[i].bytes, &t->regexes[i].db) ||
		    hs_alloc_scratch(t->regexes[i].db, &t->hs))
			return -EINVAL;
		t->memory_bytes += hs_database_size(t->regexes[i].db, &bytes) ? 0 : bytes;
	}
	t->memory_bytes += t->hs && !hs_scratch_size(t->hs, &bytes) ? bytes : 0;
	return 0;
}

static int lists_make(struct route_table *t)
{
	const struct mr_config *c = t->cfg;
	const uint16_t *listeners = mr_config_at(c, &c->route_listeners);
	uint32_t *next;

	t->entries = table(t, c->route_listeners.count, sizeof(*t->entries));
	next = calloc(c->listeners.count + 1, sizeof(*next));
	if (!t->entries || !next) {
		free(next);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < c->routes.count; i++) {
		const struct mr_config_route *r = mr_config_route(c, i);

		for (uint32_t k = 0; k < r->listener_count; k++)
			t->lists[listeners[r->listeners + k]].count++;
	}
	for (uint32_t i = 0, first = 0; i < c->listeners.count; i++) {
		if (t->lists[i].count > MR_ROUTES_MAX) { /* some route names the listener twice */
			free(next);
			return -EINVAL;
		}
		t->lists[i].first = next[i] = first;
		first += t->lists[i].count;
	}
	for (uint32_t i = 0; i < c->routes.count; i++) {
		const struct mr_config_route *r = mr_config_route(c, i);

		for (uint32_t k = 0; k < r->listener_count; k++)
			t->entries[next[listeners[r->listeners + k]]++] =
			    (struct route_entry){i, r->code, r->code_count, r->dests, r->dest_count};
	}
	free(next);
	return 0;
}

/* ---- gates ---- */

#define NEEDS_MAX 8 /* of one route that are looked at */

/* Something a route stands or falls with: the path must equal the constant, or the route does not take the message. */
struct need {
	uint32_t path, constant;
};

/* While gates are made: which one each entry is behind. */
struct choice {
	struct need need;
	uint32_t gate; /* plus 1; 0: none */
	bool any;
};

struct route_key *route_key_find(const struct route_table *t, uint32_t gate, const char *value, uint32_t bytes)
{
	uint64_t hash = XXH3_64bits_withSeed(value, bytes, gate);

	for (uint32_t i = (uint32_t)hash;; i++) {
		struct route_key *k = &t->keys[i & t->key_mask];

		if (!k->gate)
			return k;
		if (k->hash == hash && k->gate == gate + 1 && t->consts[k->constant].bytes == bytes &&
		    memcmp(t->strings + t->consts[k->constant].offset, value, bytes) == 0)
			return k;
	}
}

/*
 * The needs of a route: among its leading tests, as long as the failure of each refuses. Only paths inside MSH, which
 * cost nothing to look up; another one would have every message indexed.
 */
static uint32_t needs_of(const struct route_table *t, const struct route_entry *e, struct need *ret)
{
	const struct mr_config_insn *code = t->code + e->code;
	uint32_t count = 0, next;

	for (uint32_t i = 0; i < e->code_count && count < NEEDS_MAX; i = next) {
		bool must_hold = code[i].jump_false == MR_ROUTE_REFUSE,
		     must_fail = code[i].jump_true == MR_ROUTE_REFUSE;

		if (must_hold && code[i].op == MR_ROUTE_EQ && code[i].arg_count == 1 && t->paths[code[i].path].in_msh)
			ret[count++] = (struct need){code[i].path, code[i].arg};
		if (must_hold == must_fail)
			break;
		next = must_hold ? code[i].jump_true : code[i].jump_false;
		if (next != i + 1)
			break;
	}
	return count;
}

static int by_need(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct need));
}

/* How many of the sorted needs are the same as @n. */
static uint32_t need_count(const struct need *all, uint32_t count, const struct need *n)
{
	const struct need *found = bsearch(n, all, count, sizeof(*all), by_need), *first = found, *last = found;

	while (first > all && by_need(first - 1, n) == 0)
		first--;
	while (last + 1 < all + count && by_need(last + 1, n) == 0)
		last++;
	return (uint32_t)(last - first) + 1;
}

/* For each entry of a listener the need that it shares with the fewest others. @all has room for NEEDS_MAX each. */
static void choose_needs(const struct route_table *t, const struct route_list *list, struct need *all,
                         struct choice *ret)
{
	struct need needs[NEEDS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < list->count; i++)
		count += needs_of(t, &t->entries[list->first + i], all + count);
	qsort(all, count, sizeof(*all), by_need);
	for (uint32_t i = 0; i < list->count; i++) {
		uint32_t least = UINT32_MAX, n = needs_of(t, &t->entries[list->first + i], needs);

		for (uint32_t k = 0; k < n; k++) {
			uint32_t same = need_count(all, count, &needs[k]);

			if (same >= least)
				continue;
			least = same;
			ret[i] = (struct choice){.need = needs[k], .any = true};
		}
	}
}

/* Makes a gate of each path that enough entries of the listener chose. */
static int gates_make(struct route_table *t, struct route_list *list, struct choice *choices)
{
	uint32_t words = (list->count + 63) / 64;

	list->gates = t->gate_count;
	list->open = table(t, words, sizeof(*list->open));
	if (!list->open)
		return -ENOMEM;
	for (uint32_t i = 0; i < list->count; i++) {
		uint32_t uses = 0, path = choices[i].need.path;

		for (uint32_t k = i; k < list->count && !choices[i].gate && choices[i].any; k++)
			uses += choices[k].any && choices[k].need.path == path;
		if (uses < GATE_ROUTES_MIN)
			continue;
		t->gates[t->gate_count].path = path;
		t->gates[t->gate_count].behind = table(t, words, sizeof(uint64_t));
		if (!t->gates[t->gate_count++].behind)
			return -ENOMEM;
		for (uint32_t k = i; k < list->count; k++) {
			if (choices[k].any && choices[k].need.path == path)
				choices[k].gate = t->gate_count;
		}
	}
	list->gate_count = t->gate_count - list->gates;
	for (uint32_t i = 0; i < list->count; i++) {
		uint64_t *bits = choices[i].gate ? t->gates[choices[i].gate - 1].behind : list->open;

		bits[i / 64] |= 1ull << (i % 64);
	}
	return 0;
}

static struct route_key *key_of(const struct route_table *t, const struct choice *c)
{
	const struct mr_config_const *k = &t->consts[c->need.constant];

	return route_key_find(t, c->gate - 1, t->strings + k->offset, k->bytes);
}

/* Sorts the entries behind gates by gate and constant: count, lay out, fill. */
static void keys_fill(struct route_table *t, const struct choice *choices)
{
	uint32_t first = 0;

	for (uint32_t i = 0; i < t->cfg->route_listeners.count; i++) {
		const struct mr_config_const *c = &t->consts[choices[i].need.constant];
		struct route_key *k;

		if (!choices[i].gate)
			continue;
		k = key_of(t, &choices[i]);
		k->gate = choices[i].gate;
		k->constant = choices[i].need.constant;
		k->hash = XXH3_64bits_withSeed(t->strings + c->offset, c->bytes, choices[i].gate - 1);
		k->count++;
	}
	for (uint32_t i = 0; i <= t->key_mask; i++) {
		t->keys[i].first = first;
		first += t->keys[i].count;
		t->keys[i].count = 0;
	}
	for (uint32_t l = 0; l < t->cfg->listeners.count; l++) {
		const struct route_list *list = &t->lists[l];

		for (uint32_t i = 0; i < list->count; i++) {
			struct route_key *k =
			    choices[list->first + i].gate ? key_of(t, &choices[list->first + i]) : NULL;

			if (k)
				t->behind[k->first + k->count++] = i;
		}
	}
}

static int all_gates_make(struct route_table *t)
{
	uint32_t entries = t->cfg->route_listeners.count, gated = 0, room = 1;
	struct choice *choices = calloc(entries + 1, sizeof(*choices));
	struct need *needs = calloc((size_t)MR_ROUTES_MAX * NEEDS_MAX, sizeof(*needs));
	int rc = choices && needs ? 0 : -ENOMEM;

	t->gates = table(t, entries / GATE_ROUTES_MIN, sizeof(*t->gates));
	for (uint32_t l = 0; l < t->cfg->listeners.count && !rc && t->gates; l++) {
		choose_needs(t, &t->lists[l], needs, choices + t->lists[l].first);
		rc = gates_make(t, &t->lists[l], choices + t->lists[l].first);
	}
	for (uint32_t i = 0; i < entries && !rc; i++)
		gated += choices[i].gate != 0;
	while (room < gated * 2 + 2)
		room *= 2;
	t->key_mask = room - 1;
	t->keys = table(t, room, sizeof(*t->keys));
	t->behind = table(t, gated, sizeof(*t->behind));
	if (!t->gates || !t->keys || !t->behind)
		rc = -ENOMEM;
	if (!rc)
		keys_fill(t, choices);
	free(choices);
	free(needs);
	return rc;
}

/* ---- the whole ---- */

/* The index of the worst message that a listener takes: nothing but field separators, or the shortest of lines. */
static int reserves_make(struct route_table *t)
{
	uint32_t largest = 4096;

	for (uint32_t i = 0; i < t->cfg->listeners.count; i++) {
		const struct mr_config_listener *l = mr_config_listener(t->cfg, i);

		largest = l->frame_bytes_max > largest ? l->frame_bytes_max : largest;
	}
	t->index_bytes = hl7_index_bytes(largest, largest / 2 + 1);
	t->index_memory = reserve(t->index_bytes);
	t->scratch_bytes = largest;
	t->scratch = reserve(largest);
	t->decoded = table(t, DECODED_BYTES, 1);
	return t->index_memory && t->scratch && t->decoded ? 0 : -ENOMEM;
}

int route_create(const struct mr_config *cfg, struct route_table **ret)
{
	struct route_table *t = calloc(1, sizeof(*t));
	int rc = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->cfg = cfg;
	t->code = mr_config_at(cfg, &cfg->code);
	t->consts = mr_config_at(cfg, &cfg->consts);
	t->dests = mr_config_at(cfg, &cfg->route_dests);
	t->strings = mr_config_string(cfg, 0);
	t->first_only = cfg->routing == MR_ROUTING_FIRST;
	t->memory_bytes = sizeof(*t);
	t->lists = table(t, cfg->listeners.count, sizeof(*t->lists));
	t->hits = table(t, cfg->routes.count, sizeof(*t->hits));
	t->dest_seen = table(t, cfg->dests.count, sizeof(*t->dest_seen));
	if (!t->lists || !t->hits || !t->dest_seen)
		goto fail;
	rc = paths_make(t);
	if (!rc)
		rc = regexes_make(t);
	if (!rc)
		rc = lists_make(t);
	if (!rc)
		rc = all_gates_make(t);
	if (!rc)
		rc = reserves_make(t);
	if (rc)
		goto fail;
	*ret = t;
	return 0;
fail:
	route_free(t);
	return rc;
}

void route_free(struct route_table *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; t->regexes && i < t->cfg->regexes.count; i++)
		hs_free_database(t->regexes[i].db);
	hs_free_scratch(t->hs);
	for (uint32_t i = 0; i < t->gate_count; i++)
		free(t->gates[i].behind);
	for (uint32_t i = 0; t->lists && i < t->cfg->listeners.count; i++)
		free(t->lists[i].open);
	if (t->index_memory)
		munmap(t->index_memory, t->index_bytes);
	if (t->scratch)
		munmap(t->scratch, t->scratch_bytes);
	free(t->decoded);
	free(t->paths);
	free(t->regexes);
	free(t->memos);
	free(t->entries);
	free(t->lists);
	free(t->gates);
	free(t->keys);
	free(t->behind);
	free(t->hits);
	free(t->dest_seen);
	free(t);
}
