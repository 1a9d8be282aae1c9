/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - which destinations a message goes to: the compiled conditions, run on one message.
 *
 * Called by ingress.c for every message taken in, on the core that owns the table. What a path names is looked up once
 * per message and shared by all routes; paths inside MSH are answered from the header, and only one that looks further
 * has the message indexed. It must never allocate, nor write to the message. route_make.c builds the table.
 */
#include "route_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#define INDEX_KEEP_BYTES (1u << 20) /* index pages beyond this are given back after the message */
#define SEARCH_BY_HALVES 8          /* constants of an `in` from which a binary search pays */

/* ---- what a path names ---- */

static bool index_message(struct route_table *t)
{
	if (t->indexed)
		return true;
	if (!t->failed)
		t->failed = hl7_index(t->msg, t->msg_bytes, HL7_F_EOL_LENIENT, t->index_memory, t->index_bytes,
		                      &t->index, NULL);
	t->indexed = !t->failed;
	return t->indexed;
}

static bool has_escape(const struct route_table *t, struct hl7_span v)
{
	return t->msh->delims.escape && memchr(t->msg + v.offset, t->msh->delims.escape, v.bytes);
}

/* Decodes a value into @room, which is never too small for it. */
static struct route_value decode(const struct route_table *t, struct hl7_span v, char *room, size_t room_bytes)
{
	int n = hl7_unescape(&t->msh->delims, t->msg + v.offset, v.bytes, room, (uint32_t)room_bytes);

	must(n >= 0);
	return (struct route_value){room, (uint32_t)n};
}

/* Keeps a value of the path for this message. Returns false if there is no more room. */
static bool keep(struct route_table *t, struct route_path *p, struct hl7_span v)
{
	struct route_value value = {t->msg + v.offset, v.bytes};

	if (t->value_count == VALUES_MAX)
		return false;
	if (has_escape(t, v)) {
		if (v.bytes > DECODED_BYTES - t->decoded_bytes)
			return false;
		value = decode(t, v, t->decoded + t->decoded_bytes, DECODED_BYTES - t->decoded_bytes);
		t->decoded_bytes += v.bytes;
	}
	t->values[t->value_count++] = value;
	p->count++;
	return true;
}

static bool is_wild(const struct hl7_path *p)
{
	return p->sequence == HL7_PATH_ALL || p->repetition == HL7_PATH_ALL;
}

/* One walk over the populated places of a path, wild cards or not. */
struct places {
	struct hl7_iter it;
	bool wild, done;
};

static void places_begin(struct places *w, const struct route_table *t, const struct route_path *p)
{
	w->wild = is_wild(&p->path);
	w->done = false;
	if (w->wild)
		hl7_iter_init(&w->it, &t->index, &p->path);
}

static bool places_next(struct places *w, const struct route_table *t, const struct route_path *p, struct hl7_span *ret)
{
	while (w->wild && hl7_iter_next(&w->it, ret)) {
		if (ret->bytes)
			return true;
	}
	if (w->wild || w->done)
		return false;
	w->done = true;
	if (!p->in_msh)
		return hl7_get(&t->index, &p->path, ret) && ret->bytes;
	return hl7_msh_get(t->msg, t->msh, &p->path, ret) == 1;
}

/* Looks up all values of a path, once per message. Returns false if the message cannot be indexed. */
static bool look_up(struct route_table *t, struct route_path *p)
{
	struct places w;
	struct hl7_span v;

	if (p->message == t->message)
		return true;
	if (!p->in_msh && !index_message(t))
		return false;
	p->message = t->message;
	p->first = t->value_count;
	p->count = 0;
	p->walk = false;
	places_begin(&w, t, p);
	while (!p->walk && places_next(&w, t, p, &v))
		p->walk = !keep(t, p, v);
	if (p->walk)
		t->value_count = p->first;
	return true;
}

/* The next value of a path that has too much to keep, decoded into t->scratch. */
static bool walk_next(struct places *w, const struct route_table *t, const struct route_path *p,
                      struct route_value *ret)
{
	struct hl7_span v;

	if (!places_next(w, t, p, &v))
		return false;
	*ret = (struct route_value){t->msg + v.offset, v.bytes};
	if (has_escape(t, v))
		*ret = decode(t, v, t->scratch, t->scratch_bytes);
	return true;
}

/* ---- tests ---- */

static int compare(const struct route_table *t, const struct mr_config_const *k, const struct route_value *v)
{
	uint32_t n = k->bytes < v->bytes ? k->bytes : v->bytes;
	int rc = memcmp(t->strings + k->offset, v->p, n);

	return rc ? rc : k->bytes < v->bytes ? -1 : k->bytes > v->bytes;
}

/* Is the value one of the constants? Those of an `in` are sorted. */
static bool equals(const struct route_table *t, const struct mr_config_insn *in, const struct route_value *v)
{
	const struct mr_config_const *k = t->consts + in->arg;
	uint32_t low = 0, high = in->arg_count;

	if (in->arg_count < SEARCH_BY_HALVES) {
		for (uint32_t i = 0; i < in->arg_count; i++) {
			if (k[i].bytes == v->bytes && memcmp(t->strings + k[i].offset, v->p, v->bytes) == 0)
				return true;
		}
		return false;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int rc = compare(t, &k[middle], v);

		if (rc == 0)
			return true;
		if (rc < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static int on_match(unsigned int id, unsigned long long from, unsigned long long to, unsigned int flags, void *context)
{
	*(bool *)context = true;
	return 1; /* enough */
}

static bool matches(const struct route_table *t, const struct mr_config_insn *in, const struct route_value *v)
{
	bool found = false;
	hs_error_t rc = hs_scan(t->regexes[in->arg].db, v->p, v->bytes, 0, t->hs, on_match, &found);

	must(rc == HS_SUCCESS || rc == HS_SCAN_TERMINATED);
	return found;
}

static bool test_value(const struct route_table *t, const struct mr_config_insn *in, const struct route_value *v)
{
	return in->op == MR_ROUTE_EQ ? equals(t, in, v) : in->op == MR_ROUTE_MATCH ? matches(t, in, v) : true;
}

/* For a path with more values, or longer ones, than are kept: each is looked up and decoded anew. */
static bool test_walk(const struct route_table *t, const struct mr_config_insn *in, const struct route_path *p)
{
	struct route_value value;
	struct places w;

	places_begin(&w, t, p);
	while (walk_next(&w, t, p, &value)) {
		if (test_value(t, in, &value))
			return true;
	}
	return false;
}

static bool test(struct route_table *t, const struct mr_config_insn *in)
{
	static const struct route_value nothing = {"", 0};
	struct route_path *p = &t->paths[in->path];
	struct route_memo *memo = in->op == MR_ROUTE_MATCH ? &t->memos[in->arg] : NULL;
	bool result = false;

	if (!look_up(t, p))
		return false;
	if (memo && memo->message == t->message && memo->path == in->path)
		return memo->result;
	if (in->op == MR_ROUTE_EXISTS)
		return p->count || p->walk;
	if (p->walk)
		result = test_walk(t, in, p);
	else if (!p->count)
		result = test_value(t, in, &nothing);
	for (uint32_t i = 0; i < p->count && !p->walk && !result; i++)
		result = test_value(t, in, &t->values[p->first + i]);
	if (memo)
		*memo = (struct route_memo){t->message, in->path, result};
	return result;
}

/* ---- routes ---- */

static bool accepts(struct route_table *t, const struct route_entry *e)
{
	const struct mr_config_insn *code = t->code + e->code;
	uint32_t at = 0;

	if (!e->code_count)
		return true;
	while (at < e->code_count)
		at = test(t, &code[at]) ? code[at].jump_true : code[at].jump_false;
	return at == MR_ROUTE_ACCEPT;
}

static int take_dests(struct route_table *t, const struct route_entry *e, struct route_result *r)
{
	for (uint32_t i = 0; i < e->dest_count; i++) {
		uint16_t dest = t->dests[e->dests + i];

		if (t->dest_seen[dest] == t->message)
			continue;
		if (r->count == MR_MSG_DESTS_MAX)
			return -E2BIG;
		t->dest_seen[dest] = t->message;
		r->dests[r->count++] = dest;
	}
	return 0;
}

/* A huge message made many pages of the reserves resident: give them back, or they would stay for ever. */
static void trim(struct route_table *t)
{
	if (t->indexed && ((size_t)t->index.entries * 4 + (size_t)t->index.segments * 16) > INDEX_KEEP_BYTES)
		madvise(t->index_memory, t->index_bytes, MADV_DONTNEED);
	if (t->msg_bytes > INDEX_KEEP_BYTES)
		madvise(t->scratch, t->scratch_bytes, MADV_DONTNEED);
}

/* Forgets the message before and takes up the next one. */
static void begin(struct route_table *t, const char *msg, uint32_t bytes, const struct hl7_msh *msh)
{
	trim(t);
	t->message++;
	t->msg = msg;
	t->msg_bytes = bytes;
	t->msh = msh;
	t->indexed = false;
	t->failed = 0;
	t->value_count = t->decoded_bytes = 0;
}

/* The entries that a gate lets through for one value of its path. */
static void pass_gate(const struct route_table *t, uint32_t gate, const struct route_value *v, uint64_t *todo)
{
	const struct route_key *k = route_key_find(t, gate, v->p, v->bytes);

	for (uint32_t i = 0; k->gate && i < k->count; i++) {
		uint32_t n = t->behind[k->first + i];

		todo[n / 64] |= 1ull << (n % 64);
	}
}

/* Which routes of the listener have to be looked at: those behind no gate, and those that their gate lets through. */
static void open_gates(struct route_table *t, const struct route_list *list, uint64_t *todo)
{
	static const struct route_value nothing = {"", 0};
	uint32_t words = (list->count + 63) / 64;

	memcpy(todo, list->open, words * sizeof(*todo));
	for (uint32_t g = list->gates; g < list->gates + list->gate_count; g++) {
		struct route_path *p = &t->paths[t->gates[g].path];

		if (!look_up(t, p))
			return;
		for (uint32_t i = 0; p->walk && i < words; i++)
			todo[i] |= t->gates[g].behind[i];
		if (!p->walk && !p->count)
			pass_gate(t, g, &nothing, todo);
		for (uint32_t i = 0; !p->walk && i < p->count; i++)
			pass_gate(t, g, &t->values[p->first + i], todo);
	}
}

int route_message(struct route_table *t, uint32_t listener, const char *msg, uint32_t bytes, const struct hl7_msh *msh,
                  struct route_result *ret)
{
	uint32_t taken[MR_ROUTES_MAX], taken_count = 0;
	uint64_t todo[MR_ROUTES_MAX / 64];
	const struct route_list *list;
	struct route_result r;
	bool done = false;
	int rc = 0;

	must(listener < t->cfg->listeners.count);
	list = &t->lists[listener];
	r.count = 0;
	begin(t, msg, bytes, msh);
	t->listener = listener;
	open_gates(t, list, todo);
	for (uint32_t word = 0; word < (list->count + 63) / 64 && !done; word++) {
		for (; todo[word] && !done && !rc && !t->failed; todo[word] &= todo[word] - 1) {
			const struct route_entry *e =
			    &t->entries[list->first + word * 64 + (uint32_t)__builtin_ctzll(todo[word])];

			if (!accepts(t, e) || t->failed)
				continue;
			taken[taken_count++] = e->route;
			rc = take_dests(t, e, &r);
			done = t->first_only;
		}
	}
	if (t->failed)
		rc = t->failed;
	if (rc)
		return rc;
	for (uint32_t i = 0; i < taken_count; i++)
		t->hits[taken[i]]++;
	r.matched = taken_count > 0;
	*ret = r;
	return 0;
}

uint64_t route_order_key(struct route_table *t)
{
	struct route_value value = {"", 0};
	struct route_path *p;
	struct places w;

	if (!t->message || t->lists[t->listener].order_path == UINT32_MAX)
		return 0;
	p = &t->paths[t->lists[t->listener].order_path];
	if (!look_up(t, p))
		return 0;
	if (p->walk) {
		places_begin(&w, t, p);
		walk_next(&w, t, p, &value);
	} else if (p->count) {
		value = t->values[p->first];
	}
	return XXH3_64bits(value.p, value.bytes);
}

uint64_t route_hits(const struct route_table *t, uint32_t route)
{
	must(route < t->cfg->routes.count);
	return t->hits[route];
}

size_t route_memory_bytes(const struct route_table *t)
{
	return t->memory_bytes;
}
