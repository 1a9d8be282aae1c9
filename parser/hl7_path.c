/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_path.c - paths as `PID-3[2].4.2`: compiled once, looked up in the index of many messages.
 *
 * Compiled by the control plane and the tools; looked up by every pipeline's core for routing. A look-up reads the
 * index and the bytes of the one field that it wants, never the whole message.
 */
#include "hl7_scan.h"

#include <errno.h>

#define POSITION_MAX 65534 /* one below HL7_PATH_ALL */

/* ---- text to path ---- */

struct text {
	const char *p;
	uint32_t bytes;
	uint32_t at;
};

static char peek(const struct text *t)
{
	return t->at < t->bytes ? t->p[t->at] : '\0';
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A number of 1 to POSITION_MAX. Returns 0, or -1 with t->at on what is wrong. */
static int take_number(struct text *t, uint16_t *ret)
{
	uint32_t start = t->at, n = 0;

	while (is_digit(peek(t)) && n <= POSITION_MAX)
		n = n * 10 + (uint32_t)(t->p[t->at++] - '0');
	if (t->at > start && n >= 1 && n <= POSITION_MAX) {
		*ret = (uint16_t)n;
		return 0;
	}
	t->at = start;
	return -1;
}

/* `(2)`, `(*)`, `[2]`, `[*]`, or nothing at all. */
static int take_choice(struct text *t, char open, char close, uint16_t *ret)
{
	if (peek(t) != open)
		return 0;
	t->at++;
	if (peek(t) == '*') {
		t->at++;
		*ret = HL7_PATH_ALL;
	} else if (take_number(t, ret)) {
		return -1;
	}
	if (peek(t) != close)
		return -1;
	t->at++;
	return 0;
}

/* `-5`, `.5`, or nothing at all. */
static int take_level(struct text *t, uint16_t *ret)
{
	if (peek(t) != '-' && peek(t) != '.')
		return 0;
	t->at++;
	return take_number(t, ret);
}

static int take_path(struct text *t, struct hl7_path *p)
{
	p->name = hl7_line_name(t->p, t->bytes < 3 ? t->bytes : 3, '\0');
	if (!p->name)
		return -1;
	t->at = 3;
	p->sequence = 1;
	p->header = (uint16_t)hl7_name_is_header(p->name);
	if (take_choice(t, '(', ')', &p->sequence) || take_level(t, &p->field))
		return -1;
	if (p->field && (take_choice(t, '[', ']', &p->repetition) || take_level(t, &p->component)))
		return -1;
	if (p->component && take_level(t, &p->subcomponent))
		return -1;
	if (p->component && p->repetition == HL7_PATH_WHOLE)
		p->repetition = 1;
	return t->at == t->bytes ? 0 : -1;
}

int hl7_path_compile(const char *text, uint32_t bytes, struct hl7_path *ret, struct hl7_error *reterr)
{
	struct text t = {text, bytes, 0};
	struct hl7_path p = {0};

	if (take_path(&t, &p))
		return hl7_fail(reterr, HL7_E_PATH, t.at, NULL, 0);
	*ret = p;
	return 0;
}

/* ---- path to bytes ---- */

/* Spans made in a called function go through memory in two halves, which stalls the processor. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

static const struct hl7_span absent = {0, 0};

/* Eight bytes of the message as a number, the first byte lowest. */
static inline uint64_t load8(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	return w;
}

/* The first @a or @b in msg[at..end), or @end. Values are short: eight bytes at a time, as long as the message has
 * them. */
static inline uint32_t find_delim(const struct hl7_index *ix, uint32_t at, uint32_t end, char a, char b)
{
	const uint64_t ones = 0x0101010101010101ull, spread_a = ones * (unsigned char)a,
	               spread_b = ones * (unsigned char)b;

	for (uint32_t tries = 4; at < end && at + 8 <= ix->bytes && tries; at += 8, tries--) {
		uint64_t w = load8(ix->msg + at), x = w ^ spread_a, y = w ^ spread_b;
		uint64_t hit = (((x - ones) & ~x) | ((y - ones) & ~y)) & ones << 7;

		if (hit) { /* the lowest one is exact */
			uint32_t found = at + (uint32_t)__builtin_ctzll(hit) / 8;

			return found < end ? found : end;
		}
	}
	return at < end ? at + hl7_find2(ix->msg + at, end - at, a, b) : end;
}

/* The n-th piece of @in between @delim; the piece after the last is absent. An undeclared delimiter divides nothing. */
ALWAYS_INLINE struct hl7_span piece(const struct hl7_index *ix, struct hl7_span in, char delim, uint32_t n)
{
	uint32_t at = in.offset, end = in.offset + in.bytes;

	if (in.offset == 0)
		return absent;
	if (!delim)
		return n == 1 ? in : absent;
	for (;; n--) {
		uint32_t found = find_delim(ix, at, end, delim, delim);

		if (n == 1)
			return (struct hl7_span){at, found - at};
		if (found == end)
			return absent;
		at = found + 1;
	}
}

ALWAYS_INLINE struct hl7_span field_at(const struct hl7_index *ix, const struct hl7_segment *seg,
                                       const struct hl7_path *p)
{
	const uint32_t *entry = ix->entry + seg->first;
	uint32_t n = p->field;

	if (n == HL7_PATH_WHOLE)
		return (struct hl7_span){seg->offset, entry[seg->fields] - seg->offset};
	if (p->header) {
		if (n == 1)
			return seg->fields ? (struct hl7_span){seg->offset + 3, 1} : absent;
		n--;
	}
	if (n > seg->fields)
		return absent;
	return (struct hl7_span){entry[n - 1] + 1, entry[n] - entry[n - 1] - 1};
}

/* The n-th component of a field's first repetition, in one go. */
ALWAYS_INLINE struct hl7_span component_of_first(const struct hl7_index *ix, struct hl7_span in, uint32_t n)
{
	uint32_t at = in.offset, end = in.offset + in.bytes;
	char component = ix->delims.component, repetition = ix->delims.repetition ? ix->delims.repetition : component;

	if (in.offset == 0)
		return absent;
	for (;; n--) {
		uint32_t found = find_delim(ix, at, end, component, repetition);

		if (n == 1)
			return (struct hl7_span){at, found - at};
		if (found == end || ix->msg[found] != component)
			return absent;
		at = found + 1;
	}
}

/* Component and sub-component of one repetition. */
ALWAYS_INLINE struct hl7_span within(const struct hl7_index *ix, const struct hl7_path *p, struct hl7_span value)
{
	if (p->component)
		value = piece(ix, value, ix->delims.component, p->component);
	if (p->subcomponent)
		value = piece(ix, value, ix->delims.subcomponent, p->subcomponent);
	return value;
}

/* What MSH-1 and MSH-2 are made of must not be taken for delimiters: they are one value each. */
static int is_declaration(const struct hl7_path *p)
{
	return p->header && p->field <= 2 && p->field != HL7_PATH_WHOLE;
}

ALWAYS_INLINE struct hl7_span declaration(const struct hl7_path *p, struct hl7_span value)
{
	int first = p->component <= 1 && p->subcomponent <= 1 && (p->repetition <= 1 || p->repetition == HL7_PATH_ALL);

	return first ? value : absent;
}

/* What a path without [*] names inside its field. */
ALWAYS_INLINE struct hl7_span value_in(const struct hl7_index *ix, struct hl7_span value, const struct hl7_path *p)
{
	if (is_declaration(p))
		return declaration(p, value);
	if (p->repetition == 1 && p->component) {
		value = component_of_first(ix, value, p->component);
		return p->subcomponent ? piece(ix, value, ix->delims.subcomponent, p->subcomponent) : value;
	}
	if (p->repetition)
		return within(ix, p, piece(ix, value, ix->delims.repetition, p->repetition));
	return value;
}

/* What a path without [*] names in one segment. */
ALWAYS_INLINE struct hl7_span value_at(const struct hl7_index *ix, const struct hl7_segment *seg,
                                       const struct hl7_path *p)
{
	return value_in(ix, field_at(ix, seg, p), p);
}

/* The @sequence-th segment of a name, NULL if there are fewer. */
static inline const struct hl7_segment *segment_find(const struct hl7_index *ix, uint32_t name, uint32_t sequence)
{
	const struct hl7_segment *seg = ix->segment, *end = seg - ix->segments;

	for (; seg != end; seg--) {
		if (seg->name == name && --sequence == 0)
			return seg;
	}
	return NULL;
}

static int is_wild(const struct hl7_path *p)
{
	return p->sequence == HL7_PATH_ALL || p->repetition == HL7_PATH_ALL;
}

/* The first populated match of a path with wild cards. */
static struct hl7_span first_match(const struct hl7_index *ix, const struct hl7_path *p)
{
	struct hl7_span value;
	struct hl7_iter it;

	hl7_iter_init(&it, ix, p);
	while (hl7_iter_next(&it, &value)) {
		if (value.bytes)
			return value;
	}
	return absent;
}

int hl7_get(const struct hl7_index *ix, const struct hl7_path *p, struct hl7_span *ret)
{
	const struct hl7_segment *seg;
	struct hl7_span value;

	if (is_wild(p)) {
		value = first_match(ix, p);
	} else {
		seg = segment_find(ix, p->name, p->sequence);
		value = seg ? value_at(ix, seg, p) : absent;
	}
	if (value.bytes)
		*ret = value;
	return value.bytes != 0;
}

uint32_t hl7_get_set(const struct hl7_index *ix, const struct hl7_path *paths, uint32_t n, struct hl7_span *ret)
{
	const struct hl7_segment *seg = NULL;
	uint32_t name = 0, sequence = 0, found = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct hl7_path *p = &paths[i];

		if (is_wild(p)) {
			ret[i] = first_match(ix, p);
		} else {
			if (p->name != name || p->sequence != sequence)
				seg = segment_find(ix, p->name, p->sequence);
			name = p->name;
			sequence = p->sequence;
			ret[i] = seg ? value_at(ix, seg, p) : absent;
		}
		found += ret[i].bytes != 0;
	}
	return found;
}

int hl7_msh_get(const char *msg, const struct hl7_msh *msh, const struct hl7_path *p, struct hl7_span *ret)
{
	const struct hl7_index ix = {.msg = msg, .bytes = msh->segment_bytes, .delims = msh->delims};
	struct hl7_span value;

	if (p->name != HL7_NAME_MSH || p->sequence != 1 || p->field > HL7_MSH_FIELDS || is_wild(p))
		return -ERANGE;
	value = p->field ? msh->field[p->field] : (struct hl7_span){0, msh->segment_bytes};
	value = value_in(&ix, value, p);
	if (value.bytes)
		*ret = value;
	return value.bytes != 0;
}

void hl7_iter_init(struct hl7_iter *it, const struct hl7_index *ix, const struct hl7_path *p)
{
	memset(it, 0, sizeof *it);
	it->ix = ix;
	it->path = *p;
}

/* The next repetition of the field at hand. */
static struct hl7_span next_repetition(struct hl7_iter *it)
{
	const struct hl7_index *ix = it->ix;
	uint32_t bytes = it->rest_bytes, offset = it->rest_offset;
	char delim = ix->delims.repetition;
	uint32_t n = delim ? hl7_find1(ix->msg + offset, bytes, delim) : bytes;

	it->repetition++;
	it->more = n < bytes;
	if (it->more) {
		it->rest_offset = offset + n + 1;
		it->rest_bytes = bytes - n - 1;
	}
	return (struct hl7_span){offset, n};
}

/* The next segment the path selects, NULL at the end. */
static const struct hl7_segment *next_segment(struct hl7_iter *it)
{
	const struct hl7_path *p = &it->path;

	while (it->segment < it->ix->segments) {
		const struct hl7_segment *seg = hl7_segment_at(it->ix, it->segment++);

		if (seg->name != p->name)
			continue;
		it->seen++;
		if (p->sequence == HL7_PATH_ALL || p->sequence == it->seen)
			return seg;
	}
	return NULL;
}

int hl7_iter_next(struct hl7_iter *it, struct hl7_span *ret)
{
	const struct hl7_path *p = &it->path;
	const struct hl7_segment *seg;
	struct hl7_span value;

	if (it->more) {
		*ret = within(it->ix, p, next_repetition(it));
		return 1;
	}
	seg = next_segment(it);
	if (!seg)
		return 0;
	value = field_at(it->ix, seg, p);
	it->repetition = p->repetition == HL7_PATH_ALL ? 1 : p->repetition;
	if (is_declaration(p)) {
		value = declaration(p, value);
	} else if (p->repetition == HL7_PATH_ALL && value.offset) {
		it->rest_offset = value.offset;
		it->rest_bytes = value.bytes;
		it->repetition = 0;
		value = within(it->ix, p, next_repetition(it));
	} else if (p->repetition && value.offset) {
		value = within(it->ix, p, piece(it->ix, value, it->ix->delims.repetition, p->repetition));
	}
	*ret = value;
	return 1;
}
