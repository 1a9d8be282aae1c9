/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - which destinations a message goes to: the compiled conditions, run on one message.
 *
 * Called by ingress.c for every message taken in, on the core that owns the table. What a path names is looked up once per
 * message and shared by all routes; paths inside MSH are answered from the header, and only one that looks further has the
 * message indexed. It must never allocate after route_create(), nor write to the message.
 */
#include "route.h"

#include <errno.h>
#include <hs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#define VALUES_MAX         4096        /* values kept per message, all paths together */
#define DECODED_BYTES      (64u << 10) /* decoded values kept per message */
#define INDEX_KEEP_BYTES   (1u << 20)  /* index pages beyond this are given back after the message */
#define SEARCH_BY_HALVES   8           /* constants of an `in` from which a binary search pays */

/* A value of a path, decoded. Bytes are in the message, in t->decoded or in t->scratch. */
struct route_value {
	const char *p;
	uint32_t bytes;
};

struct route_path {
	struct hl7_path path;
	bool in_msh;        /* the header answers it */
	bool walk;          /* this message: too much to keep, look it up for each test */
	uint32_t first;     /* this message: values[first .. first + count) */
	uint32_t count;
	uint64_t message;   /* number of the message that the above are of */
};

struct route_regex {
	hs_database_t *db;
};

/* The last result of one expression on one path: conditions of many routes repeat it. */
struct route_memo {
	uint64_t message;
	uint32_t path;
	bool result;
};

/* What route_message() walks over: only the routes of the listener, in file order. */
struct route_entry {
	uint32_t route;
	uint32_t code, code_count;
	uint32_t dests, dest_count;
};

struct route_list {
	uint32_t first, count;
	uint32_t order_path; /* index into paths; UINT32_MAX: not ordered by a field */
};

struct route_table {
	const struct mr_config *cfg;
	const struct mr_config_insn *code;
	const struct mr_config_const *consts;
	const uint16_t *dests;
	const char *strings;
	bool first_only;
	/* the message at hand */
	uint64_t message; /* counts up */
	const char *msg;  /* borrowed until the next one */
	uint32_t msg_bytes, listener;
	const struct hl7_msh *msh;
	struct hl7_index index;
	bool indexed;
	int failed; /* why it cannot be indexed */
	uint32_t value_count, decoded_bytes;
	struct route_value values[VALUES_MAX];
	/* tables */
	uint32_t path_count;
	struct route_path *paths;
	struct route_regex *regexes;
	struct route_memo *memos;
	struct route_entry *entries;
	struct route_list *lists;
	uint64_t *hits;
	uint64_t *dest_seen; /* per destination: number of the message that has it already */
	char *decoded, *scratch;
	size_t scratch_bytes;
	hs_scratch_t *hs;
	void *index_memory;
	size_t index_bytes, memory_bytes;
};

/* ---- making and releasing ---- */

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
		t->lists[i].first = next[i] = first;
		first += t->lists[i].count;
	}
	for (uint32_t i = 0; i < c->routes.count; i++) {
		const struct mr_config_route *r = mr_config_route(c, i);

		for (uint32_t k = 0; k < r->listener_count; k++)
			t->entries[next[listeners[r->listeners + k]]++] =
				(struct route_entry){ i, r->code, r->code_count, r->dests, r->dest_count };
	}
	free(next);
	return 0;
}

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
	free(t->hits);
	free(t->dest_seen);
	free(t);
}

/* ---- what a path names ---- */

static bool index_message(struct route_table *t)
{
	if (t->indexed)
		return true;
	if (!t->failed)
		t->failed = hl7_index(t->msg, t->msg_bytes, HL7_F_EOL_LENIENT, t->index_memory, t->index_bytes, &t->index, NULL);
	t->indexed = !t->failed;
	return t->indexed;
}

/* The n-th piece, from 1, of @in between @delim; what is not there is empty. */
static struct hl7_span piece(const char *msg, struct hl7_span in, char delim, uint32_t n)
{
	const char *p = msg + in.offset, *end = p + in.bytes;

	for (;; n--) {
		const char *found = delim && p < end ? memchr(p, delim, (size_t)(end - p)) : NULL;

		if (n == 1)
			return (struct hl7_span){ (uint32_t)(p - msg), (uint32_t)((found ? found : end) - p) };
		if (!found)
			return (struct hl7_span){ 0, 0 };
		p = found + 1;
	}
}

/* A path inside MSH, from the header. Says the same as hl7_get() on the index. */
static struct hl7_span from_header(const struct route_table *t, const struct hl7_path *p)
{
	const struct hl7_msh *m = t->msh;
	struct hl7_span v;

	if (p->field == HL7_PATH_WHOLE)
		return (struct hl7_span){ 0, m->segment_bytes };
	v = m->field[p->field];
	if (p->field <= 2)
		return p->repetition <= 1 && p->component <= 1 && p->subcomponent <= 1 ? v : (struct hl7_span){ 0, 0 };
	if (p->repetition)
		v = piece(t->msg, v, m->delims.repetition, p->repetition);
	if (p->component && v.bytes)
		v = piece(t->msg, v, m->delims.component, p->component);
	if (p->subcomponent && v.bytes)
		v = piece(t->msg, v, m->delims.subcomponent, p->subcomponent);
	return v;
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
	return (struct route_value){ room, (uint32_t)n };
}

/* Keeps a value of the path for this message. Returns false if there is no more room. */
static bool keep(struct route_table *t, struct route_path *p, struct hl7_span v)
{
	struct route_value value = { t->msg + v.offset, v.bytes };

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
	*ret = from_header(t, &p->path);
	return ret->bytes != 0;
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
static bool walk_next(struct places *w, const struct route_table *t, const struct route_path *p, struct route_value *ret)
{
	struct hl7_span v;

	if (!places_next(w, t, p, &v))
		return false;
	*ret = (struct route_value){ t->msg + v.offset, v.bytes };
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
	static const struct route_value nothing = { "", 0 };
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
		*memo = (struct route_memo){ t->message, in->path, result };
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

int route_message(struct route_table *t, uint32_t listener, const char *msg, uint32_t bytes, const struct hl7_msh *msh,
		  struct route_result *ret)
{
	uint32_t taken[MR_ROUTES_MAX], taken_count = 0;
	const struct route_list *list;
	struct route_result r;
	int rc = 0;

	must(listener < t->cfg->listeners.count);
	list = &t->lists[listener];
	r.count = 0;
	begin(t, msg, bytes, msh);
	t->listener = listener;
	for (uint32_t i = 0; i < list->count && !rc && !t->failed; i++) {
		const struct route_entry *e = &t->entries[list->first + i];

		if (!accepts(t, e) || t->failed)
			continue;
		taken[taken_count++] = e->route;
		rc = take_dests(t, e, &r);
		if (t->first_only)
			break;
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
	struct route_value value = { "", 0 };
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
