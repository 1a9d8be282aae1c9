/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parser_props.h - what must hold for the parser on any bytes at all, checked against slow and obvious code.
 *
 * Each prop_*() takes bytes and returns NULL, or the name of what does not hold. The property tests feed them seeded
 * random messages, the fuzzers whatever they come up with. Inputs are copied to allocations of their exact size, so
 * that a sanitizer sees every byte read too far.
 */
#ifndef PARSER_PROPS_H
#define PARSER_PROPS_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hl7.h"
#include "hl7_scan.h"
#include "mllp.h"

#define PROP(held)                                                                                                     \
	do {                                                                                                           \
		if (!(held)) {                                                                                         \
			why = #held;                                                                                   \
			goto out;                                                                                      \
		}                                                                                                      \
	} while (0)

static inline char *exact_copy(const void *data, size_t bytes)
{
	char *p = malloc(bytes ? bytes : 1);

	if (!p)
		abort();
	if (bytes)
		memcpy(p, data, bytes);
	return p;
}

/* ---- frames ---- */

/* Reads byte by byte what mllp_next() must find. */
static inline struct mllp_result slow_next(const char *buf, uint32_t bytes)
{
	struct mllp_result r = {MLLP_MORE, 0, 0, 0, 0, UINT32_MAX};

	if (bytes && buf[0] != 0x0b) {
		r.status = MLLP_JUNK;
		while (r.consumed < bytes && buf[r.consumed] != 0x0b)
			r.consumed++;
		return r;
	}
	for (uint32_t i = 1; i + 1 < bytes; i++) {
		if (buf[i] == 0x1c && buf[i + 1] == 0x0d) {
			r.status = MLLP_FRAME;
			r.consumed = i + 2;
			r.frame_offset = 1;
			r.frame_bytes = i - 1;
			return r;
		}
		if (buf[i] == 0x0b && r.inner_start == UINT32_MAX)
			r.inner_start = i - 1;
	}
	return r;
}

/* Whole or in pieces of a size, a stream gives the frames and the junk that byte-by-byte reading finds. */
static inline const char *prop_mllp(const uint8_t *data, size_t size, uint32_t piece)
{
	uint32_t at = 0, have = 0, scanned = 0;
	const char *why = NULL;
	char *held = NULL;

	while (have < size || at < have) {
		struct mllp_result got, want;

		if (have < size)
			have = have + piece < size ? have + piece : (uint32_t)size;
		for (;;) {
			free(held);
			held = exact_copy(data + at, have - at);
			mllp_next(held, have - at, scanned, &got);
			want = slow_next(held, have - at);
			PROP(got.status == want.status);
			PROP(got.consumed == want.consumed);
			PROP(got.status != MLLP_FRAME || got.frame_bytes == want.frame_bytes);
			PROP(got.status != MLLP_FRAME || got.inner_start == want.inner_start);
			PROP(got.status != MLLP_MORE || (got.scanned <= have - at && got.scanned + 1 >= have - at));
			if (got.status == MLLP_MORE)
				break;
			at += got.consumed;
			scanned = 0;
		}
		scanned = got.scanned;
		if (have == size)
			break;
	}
out:
	free(held);
	return why;
}

/* ---- index and paths ---- */

static inline int is_end(char c, int lenient)
{
	return c == '\r' || (lenient && c == '\n');
}

/* The n-th (from 1) piece of [from, to) between @delim. */
static inline struct hl7_span slow_piece(const char *msg, struct hl7_span in, char delim, uint32_t n)
{
	uint32_t start = in.offset;

	if (!in.offset)
		return in;
	for (uint32_t i = in.offset; i <= in.offset + in.bytes; i++) {
		if (i < in.offset + in.bytes && (!delim || msg[i] != delim))
			continue;
		if (--n == 0)
			return (struct hl7_span){start, i - start};
		start = i + 1;
	}
	return (struct hl7_span){0, 0};
}

/* A path's value in one line, as the standard's text would have a person find it. */
static inline struct hl7_span slow_value(const char *msg, const struct hl7_delims *d, struct hl7_span line,
                                         const struct hl7_path *p)
{
	struct hl7_span v = line;
	uint32_t n = p->field;

	if (n == 0)
		return line;
	if (p->header && n <= 2) {
		int only =
		    p->component <= 1 && p->subcomponent <= 1 && (p->repetition <= 1 || p->repetition == HL7_PATH_ALL);

		if (!only || line.bytes < 4)
			return (struct hl7_span){0, 0};
		if (n == 1)
			return (struct hl7_span){line.offset + 3, 1};
	}
	/* "+ 1": the first piece of a line is its name */
	v = line.offset ? slow_piece(msg, line, d->field, p->header ? n : n + 1)
	                : slow_piece(msg, (struct hl7_span){4, line.bytes - 4}, d->field, n - 1);
	if (p->header && n == 2)
		return v;
	if (p->repetition)
		v = slow_piece(msg, v, d->repetition, p->repetition);
	if (p->component)
		v = slow_piece(msg, v, d->component, p->component);
	if (p->subcomponent)
		v = slow_piece(msg, v, d->subcomponent, p->subcomponent);
	return v;
}

/* The offset and length of the n-th (from 0) line that is not empty; bytes 0 at the end. */
static inline struct hl7_span slow_line(const char *msg, uint32_t bytes, int lenient, uint32_t n)
{
	uint32_t start = 0;

	for (uint32_t i = 0; i <= bytes; i++) {
		if (i < bytes && !is_end(msg[i], lenient))
			continue;
		if (i > start && n-- == 0)
			return (struct hl7_span){start, i - start};
		start = i + 1;
	}
	return (struct hl7_span){0, 0};
}

static inline int names(const char *msg, struct hl7_span line, char field, uint32_t name)
{
	return line.bytes >= 3 && hl7_name(msg + line.offset) == name &&
	       (line.bytes == 3 || msg[line.offset + 3] == field);
}

static inline struct hl7_span slow_get(const char *msg, uint32_t bytes, int lenient, const struct hl7_delims *d,
                                       const struct hl7_path *p)
{
	uint32_t seen = 0;

	for (uint32_t n = 0;; n++) {
		struct hl7_span line = slow_line(msg, bytes, lenient, n);

		if (!line.bytes)
			return line;
		if (names(msg, line, d->field, p->name) && ++seen == p->sequence)
			return slow_value(msg, d, line, p);
	}
}

/* Lines and what is between them are the whole message, and so are fields and separators of a line. */
static inline const char *check_tiling(const struct hl7_index *ix, int lenient)
{
	const char *why = NULL, *msg = ix->msg;
	uint32_t at = 0, odd = 0;

	for (uint32_t i = 0; i < ix->segments; i++) {
		const struct hl7_segment *s = hl7_segment_at(ix, i);
		const uint32_t *entry = ix->entry + s->first;

		while (at < s->offset && is_end(msg[at], lenient))
			at++;
		PROP(s->offset == at);
		PROP(entry[s->fields] > at && entry[s->fields] <= ix->bytes);
		for (uint32_t n = 0; n < s->fields; n++) {
			PROP(n == 0 || entry[n] > entry[n - 1]);
			PROP(msg[entry[n]] == ix->delims.field);
		}
		for (uint32_t separators = 0; at < entry[s->fields]; at++) {
			PROP(!is_end(msg[at], lenient));
			separators += msg[at] == ix->delims.field;
			PROP(separators <= s->fields);
		}
		PROP(at == ix->bytes || is_end(msg[at], lenient));
		odd += s->name == 0;
		PROP(s->name == 0 ||
		     names(msg, (struct hl7_span){s->offset, at - s->offset}, ix->delims.field, s->name));
	}
	PROP(odd == ix->odd_lines);
	while (at < ix->bytes && is_end(msg[at], lenient))
		at++;
	PROP(at == ix->bytes);
out:
	return why;
}

static inline int same_span(struct hl7_span a, struct hl7_span b)
{
	return a.bytes == b.bytes && (a.bytes == 0 || a.offset == b.offset);
}

/* The header reader always ends MSH at LF; an index that does not take LF for a line end may see a longer MSH. */
static inline int lenient_msh(const struct hl7_index *ix, int lenient)
{
	struct hl7_span line = slow_line(ix->msg, ix->bytes, 1, 0);

	return !lenient && line.bytes < ix->bytes && ix->msg[line.bytes] == '\n';
}

/* A path finds what the slow reader finds, and an iterator's first match is what hl7_get() finds. */
static inline const char *check_path(const struct hl7_index *ix, int lenient, const struct hl7_path *p)
{
	struct hl7_span got = {0, 0}, want, set;
	const char *why = NULL;
	struct hl7_iter it;
	struct hl7_msh msh;

	if (p->sequence != HL7_PATH_ALL && p->repetition != HL7_PATH_ALL) {
		want = slow_get(ix->msg, ix->bytes, lenient, &ix->delims, p);
		PROP(hl7_get(ix, p, &got) == (want.bytes != 0));
		PROP(same_span(got, want));
	} else {
		hl7_iter_init(&it, ix, p);
		want = (struct hl7_span){0, 0};
		for (struct hl7_span s; hl7_iter_next(&it, &s);) {
			struct hl7_path one = *p;

			one.sequence = (uint16_t)it.seen;
			one.repetition = (uint16_t)it.repetition;
			if (it.seen >= HL7_PATH_ALL || it.repetition >= HL7_PATH_ALL)
				break;
			PROP(same_span(s, slow_get(ix->msg, ix->bytes, lenient, &ix->delims, &one)));
			if (!want.bytes)
				want = s;
		}
		PROP(hl7_get(ix, p, &got) == (want.bytes != 0));
		PROP(same_span(got, want));
	}
	if (hl7_msh_read(ix->msg, ix->bytes, &msh, NULL) == 0 && hl7_msh_get(ix->msg, &msh, p, &set) != -ERANGE) {
		set = (struct hl7_span){0, 0};
		PROP(lenient_msh(ix, lenient) || hl7_msh_get(ix->msg, &msh, p, &set) == (want.bytes != 0));
		PROP(lenient_msh(ix, lenient) || same_span(set, want));
	}
	PROP(hl7_get_set(ix, p, 1, &set) == (want.bytes != 0));
	PROP(same_span(set, want));
out:
	return why;
}

/* Paths to every line, and past the end of what is there. */
static inline const char *check_paths(const struct hl7_index *ix, int lenient, uint32_t seed)
{
	const char *why = NULL;

	for (uint32_t i = 0; i < ix->segments && i < 12 && !why; i++) {
		uint32_t r = (seed = seed * 1664525 + 1013904223) >> 4;
		struct hl7_path p = {.name = hl7_segment_at(ix, i)->name};

		if (!p.name)
			continue;
		p.header = (uint16_t)hl7_name_is_header(p.name);
		p.sequence = r % 8 == 0 ? HL7_PATH_ALL : (uint16_t)(1 + (r >> 3) % 4 % 3);
		p.field = (uint16_t)((r >> 6) % 7);
		if (p.field) {
			p.repetition = (uint16_t)((r >> 10) % 5 == 4 ? HL7_PATH_ALL : (r >> 10) % 5);
			p.component = (uint16_t)((r >> 14) % 4);
			p.subcomponent = p.component ? (uint16_t)((r >> 18) % 4) : 0;
			if (p.component && !p.repetition)
				p.repetition = 1;
		}
		why = check_path(ix, lenient, &p);
	}
	return why;
}

/* Entry for entry and line for line. */
static inline const char *check_same_index(const struct hl7_index *a, const struct hl7_index *b)
{
	const char *why = NULL;

	PROP(a->entries == b->entries);
	PROP(a->segments == b->segments);
	PROP(a->odd_lines == b->odd_lines);
	PROP(a->eol_lenient == b->eol_lenient);
	PROP(!memcmp(&a->delims, &b->delims, sizeof a->delims));
	PROP(!memcmp(a->entry, b->entry, a->entries * sizeof *a->entry));
	for (uint32_t i = 0; i < a->segments; i++)
		PROP(!memcmp(hl7_segment_at(a, i), hl7_segment_at(b, i), sizeof(struct hl7_segment)));
out:
	return why;
}

/*
 * Any bytes: indexed alike by every kernel (in memory of @mem_bytes, 0 = enough), the lines tile the message, and paths
 * find what the slow reader finds.
 */
static inline const char *prop_index(const uint8_t *data, size_t size, uint32_t flags, size_t mem_bytes, uint32_t seed)
{
	size_t need = mem_bytes ? mem_bytes : hl7_index_bytes((uint32_t)size, (uint32_t)size);
	int lenient = flags & HL7_F_EOL_LENIENT;
	const char *why = NULL, *was = hl7_kernel_name();
	char *msg = exact_copy(data, size);
	void *mem[2] = {aligned_alloc(16, (need + 15) & ~(size_t)15), aligned_alloc(16, (need + 15) & ~(size_t)15)};
	struct hl7_index ix[2];
	struct hl7_msh msh[2];
	struct hl7_error err[2];
	int rc, msh_rc;

	memset(msh, 0, sizeof msh);
	hl7_kernel_select("scalar");
	rc = hl7_index(msg, (uint32_t)size, flags, mem[0], need, &ix[0], &err[0]);
	msh_rc = hl7_msh_read(msg, (uint32_t)size, &msh[0], NULL);
	PROP(size == 0 || rc == msh_rc || rc == HL7_E_FULL);
	PROP(rc != HL7_E_FULL || mem_bytes);
	for (unsigned i = 0; hl7_kernels[i]; i++) {
		if (hl7_kernel_select(hl7_kernels[i]->name))
			continue;
		PROP(hl7_index(msg, (uint32_t)size, flags, mem[1], need, &ix[1], &err[1]) == rc);
		PROP(hl7_msh_read(msg, (uint32_t)size, &msh[1], NULL) == msh_rc);
		PROP(!memcmp(&msh[0], &msh[1], sizeof msh[0]));
		PROP(rc == 0 || (err[0].code == rc && !memcmp(&err[0], &err[1], sizeof err[0])));
		if (rc == 0)
			why = check_same_index(&ix[0], &ix[1]);
		if (rc == 0 && !why)
			why = check_paths(&ix[1], lenient, seed);
		if (why)
			goto out;
	}
	if (rc == 0)
		why = check_tiling(&ix[0], lenient);
out:
	hl7_kernel_select(was);
	free(mem[0]);
	free(mem[1]);
	free(msg);
	return why;
}

/* Every kernel marks, finds and frames as the scalar one does. */
static inline const char *prop_kernels(const uint8_t *data, size_t size, const char values[HL7_SCAN_DELIMS])
{
	char *buf = exact_copy(data, size);
	uint64_t *want = calloc(size / 64 + 1, 8), *got = calloc(size / 64 + 1, 8);
	uint32_t bytes = (uint32_t)size, first = 0, inner[2], scanned[2], end;
	const char *why = NULL;

	for (uint32_t i = 0; i < bytes; i++) {
		if (memchr(values, buf[i], HL7_SCAN_DELIMS))
			want[i / 64] |= 1ull << i % 64;
	}
	while (first < bytes && buf[first] != values[0] && buf[first] != values[1] && buf[first] != values[2])
		first++;
	for (unsigned k = 0; hl7_kernels[k]; k++) {
		if (!hl7_kernels[k]->usable())
			continue;
		hl7_kernels[k]->marks(buf, bytes, values, got);
		PROP(!memcmp(want, got, (size + 63) / 64 * 8));
		PROP(hl7_kernels[k]->find(buf, bytes, values[0], values[1], values[2]) == first);
		for (uint32_t from = 0; from < bytes && from < 70; from += 9) {
			end = hl7_kernel_scalar.frame(buf, bytes, from, &inner[0], &scanned[0]);
			PROP(hl7_kernels[k]->frame(buf, bytes, from, &inner[1], &scanned[1]) == end);
			PROP(inner[0] == inner[1]);
			PROP(end != HL7_NONE || scanned[0] == scanned[1]);
		}
	}
out:
	free(want);
	free(got);
	free(buf);
	return why;
}

/* ---- walk ---- */

/* An element is what a path to it finds, and all of them with their delimiters are the message again. */
static inline const char *prop_walk(const uint8_t *data, size_t size, uint32_t flags, uint32_t seed)
{
	char *msg = exact_copy(data, size), *text = malloc(size + 1);
	struct hl7_element el[40];
	const char *why = NULL, *was = hl7_kernel_name();
	uint32_t n, elements = 0, at, bytes, room = 3 + seed % 38;
	struct hl7_walk w;

	for (unsigned k = 0; hl7_kernels[k]; k++) {
		if (hl7_kernel_select(hl7_kernels[k]->name) || hl7_walk_init(&w, msg, (uint32_t)size, flags, NULL))
			continue;
		at = bytes = 0;
		while ((n = hl7_walk_next(&w, el, room)) > 0) {
			PROP(n <= room);
			for (uint32_t i = 0; i < n; i++, elements++) {
				struct hl7_path p = {el[i].name,
				                     HL7_PATH_ALL,
				                     (uint16_t)el[i].field,
				                     (uint16_t)el[i].repetition,
				                     (uint16_t)el[i].component,
				                     (uint16_t)el[i].subcomponent,
				                     0};
				struct hl7_span line;

				memcpy(text + bytes, msg + el[i].value.offset, el[i].value.bytes);
				bytes += el[i].value.bytes;
				if (el[i].end)
					text[bytes++] = (char)el[i].end;
				if (!el[i].name || !el[i].field || (elements + seed) % 3)
					continue;
				p.header = (uint16_t)hl7_name_is_header(p.name);
				line = slow_line(msg, (uint32_t)size, flags & HL7_F_EOL_LENIENT, el[i].line);
				PROP(names(msg, line, w.delims.field, p.name));
				PROP(same_span(slow_value(msg, &w.delims, line, &p), el[i].value));
			}
		}
		/* the message but for empty lines: those are line ends that nothing stands before */
		for (uint32_t i = 0; i < bytes; i++, at++) {
			while (text[i] != msg[at] ||
			       (is_end(msg[at], flags & 1) && (!i || is_end(text[i - 1], flags & 1)))) {
				PROP(is_end(msg[at], flags & 1));
				at++;
			}
		}
		while (at < size && is_end(msg[at], flags & 1))
			at++;
		PROP(at == size);
	}
out:
	hl7_kernel_select(was);
	free(text);
	free(msg);
	return why;
}

/* ---- text ---- */

/* Escaping can be undone, resolving never grows a value, and the pieces of a value are the value. */
static inline const char *prop_text(const uint8_t *data, size_t size, uint32_t seed)
{
	static const struct hl7_delims some[] = {{'|', '^', '~', '\\', '&', 0},
	                                         {'|', '^', '~', '\\', '&', '#'},
	                                         {'*', ':', '+', '!', '@', 0},
	                                         {'|', '^', '~', '\\', 0, 0}};
	const struct hl7_delims *d = &some[seed % 4];
	uint32_t bytes = (uint32_t)size, room = bytes * 5, at = 0, from = 0;
	char *in = exact_copy(data, size), *out = malloc(room + 1), *back = malloc(room + 1),
	     *place = exact_copy(data, size);
	const char *why = NULL;
	struct hl7_text t;
	int n, m;

	n = hl7_escape(d, in, bytes, out, room);
	PROP(n >= (int)bytes && n <= (int)room);
	PROP(hl7_kernel()->find(out, (uint32_t)n, d->field, '\r', '\n') == (uint32_t)n);
	PROP(hl7_unescape(d, out, (uint32_t)n, back, room) == (int)bytes);
	PROP(!memcmp(in, back, bytes));
	n = hl7_unescape(d, in, bytes, out, bytes);
	PROP(n >= 0 && n <= (int)bytes);
	PROP(hl7_unescape(d, place, bytes, place, bytes) == n);
	PROP(!memcmp(out, place, (size_t)n));
	for (; hl7_text_next(d, in, bytes, &at, &t); from = at) {
		PROP(at > from && at <= bytes);
		PROP(t.value.offset >= from && t.value.offset + t.value.bytes <= at);
		if (t.kind == HL7_TEXT_PLAIN) {
			PROP(t.value.offset == from && t.value.bytes == at - from);
			PROP(hl7_unescape(d, in + from, at - from, out, room) == (int)(at - from));
		} else {
			PROP(in[from] == d->escape && in[at - 1] == d->escape);
		}
	}
	PROP(at == bytes);
	m = hl7_text_plain(d, in, bytes, out, room);
	PROP(m <= (int)room && (m >= 0 || bytes > 4));
	(void)hl7_charset_guess(in, bytes);
	for (int c = 0; c <= HL7_CHARSET_UNKNOWN; c++) {
		uint32_t bad = 0;

		PROP(hl7_charset_check(c, in, bytes, &bad) == 0 ||
		     (bad < bytes && hl7_charset_check(c, in, bad, NULL) == 0));
	}
	(void)hl7_charset_find(in, bytes);
out:
	free(in);
	free(place);
	free(out);
	free(back);
	return why;
}

/* ---- batches ---- */

/* Items that follow one another, the same ones whatever the pieces. */
static inline const char *prop_batch(const uint8_t *data, size_t size, uint32_t piece)
{
	uint32_t bytes = (uint32_t)size, at[2] = {0, 0}, have = 0, scanned = 0;
	char *text = exact_copy(data, size), *held = NULL;
	struct hl7_batch b[2] = {0};
	struct hl7_batch_item whole, item;
	const char *why = NULL;

	do {
		hl7_batch_next(&b[0], text + at[0], bytes - at[0], 1, 0, &whole);
		PROP(whole.status != HL7_BATCH_MORE);
		PROP(whole.consumed <= bytes - at[0]);
		PROP(whole.status == HL7_BATCH_END || (whole.bytes && whole.offset + whole.bytes == whole.consumed));
		for (;;) {
			free(held);
			held = exact_copy(text + at[1], have - at[1]);
			hl7_batch_next(&b[1], held, have - at[1], have == bytes, scanned, &item);
			if (item.status != HL7_BATCH_MORE)
				break;
			scanned = item.scanned;
			at[1] += item.consumed;
			PROP(have < bytes);
			have = have + piece < bytes ? have + piece : bytes;
		}
		scanned = 0;
		PROP(item.status == whole.status && item.rc == whole.rc && item.bytes == whole.bytes);
		PROP(item.status == HL7_BATCH_END || at[1] + item.offset == at[0] + whole.offset);
		at[0] += whole.consumed;
		at[1] += item.consumed;
	} while (whole.status != HL7_BATCH_END);
	PROP(at[0] == bytes && at[1] == bytes);
	PROP(!memcmp(&b[0], &b[1], sizeof b[0]));
out:
	free(held);
	free(text);
	return why;
}

/* ---- edits ---- */

static inline int inside(const struct hl7_element *e, uint32_t line, const struct hl7_path *p)
{
	return e->line == line && (!p->field || e->field == p->field) &&
	       (!p->repetition || e->repetition == p->repetition) && (!p->component || e->component == p->component) &&
	       (!p->subcomponent || e->subcomponent == p->subcomponent);
}

/* The next element that is neither empty nor inside what was edited; 0 at the end. */
static inline int next_outside(struct hl7_walk *w, uint32_t line, const struct hl7_path *p, struct hl7_element *buf,
                               uint32_t *io_at, uint32_t *io_n, struct hl7_element *ret)
{
	for (;;) {
		if (*io_at == *io_n) {
			*io_n = hl7_walk_next(w, buf, 16);
			*io_at = 0;
			if (!*io_n)
				return 0;
		}
		*ret = buf[(*io_at)++];
		if (ret->value.bytes && !inside(ret, line, p))
			return 1;
	}
}

/* Setting a value: it can be read back, and all else is as it was. */
static inline const char *check_set(const struct hl7_index *ix, const struct hl7_path *p, uint32_t flags)
{
	static const char value[] = "VALUE";
	uint32_t room = ix->bytes + 64, line = 0, seen = 0, at[2] = {0, 0}, n[2] = {0, 0};
	struct hl7_element buf[2][16], e[2] = {0};
	const char *why = NULL;
	struct hl7_walk w[2];
	struct hl7_index after;
	struct hl7_span s;
	char *out = malloc(room);
	size_t need = hl7_index_bytes(room, room);
	void *mem = aligned_alloc(16, need);
	int bytes = hl7_edit(ix, HL7_EDIT_SET, p, value, 5, out, room), more;

	if (bytes < 0) { /* not there, or the message declares too few delimiters */
		PROP(bytes == -ENOENT || bytes == HL7_E_DELIM || bytes == HL7_E_PATH || bytes == -ENOSPC);
		goto out;
	}
	while (hl7_segment_at(ix, line)->name != p->name || ++seen != p->sequence)
		line++;
	PROP(hl7_index(out, (uint32_t)bytes, flags, mem, need, &after, NULL) == 0);
	PROP(hl7_get(&after, p, &s) == 1);
	PROP(s.bytes == 5 && !memcmp(out + s.offset, value, 5));
	PROP(hl7_walk_init(&w[0], ix->msg, ix->bytes, flags, NULL) == 0);
	PROP(hl7_walk_init(&w[1], out, (uint32_t)bytes, flags, NULL) == 0);
	do {
		more = next_outside(&w[0], line, p, buf[0], &at[0], &n[0], &e[0]);
		PROP(next_outside(&w[1], line, p, buf[1], &at[1], &n[1], &e[1]) == more);
		if (!more)
			break;
		PROP(e[0].line == e[1].line && e[0].name == e[1].name && e[0].field == e[1].field);
		PROP(e[0].repetition == e[1].repetition && e[0].component == e[1].component);
		PROP(e[0].subcomponent == e[1].subcomponent && e[0].value.bytes == e[1].value.bytes);
		PROP(!memcmp(ix->msg + e[0].value.offset, out + e[1].value.offset, e[0].value.bytes));
	} while (more);
out:
	free(mem);
	free(out);
	return why;
}

/* Places here and there in a message, set to another value. */
static inline const char *prop_edit(const uint8_t *data, size_t size, uint32_t flags, uint32_t seed)
{
	size_t need = hl7_index_bytes((uint32_t)size, (uint32_t)size);
	char *msg = exact_copy(data, size);
	void *mem = aligned_alloc(16, need);
	const char *why = NULL;
	struct hl7_index ix;

	if (!hl7_index(msg, (uint32_t)size, flags, mem, need, &ix, NULL)) {
		for (uint32_t i = 0; i < ix.segments && i < 6 && !why; i++) {
			uint32_t r = (seed = seed * 1664525 + 1013904223) >> 4;
			struct hl7_path p = {.name = hl7_segment_at(&ix, i)->name};

			if (!p.name)
				continue;
			p.header = (uint16_t)hl7_name_is_header(p.name);
			p.sequence = (uint16_t)(1 + r % 3);
			p.field = (uint16_t)(1 + (r >> 3) % 6);
			p.repetition = (uint16_t)((r >> 7) % 4);
			p.component = p.repetition ? (uint16_t)((r >> 10) % 4) : 0;
			p.subcomponent = p.component ? (uint16_t)((r >> 13) % 3) : 0;
			why = check_set(&ix, &p, flags);
		}
	}
	free(mem);
	free(msg);
	return why;
}

/* ---- answers ---- */

/* Whatever can be read can be acknowledged, and the acknowledgement says whose it is. */
static inline const char *prop_ack(const uint8_t *data, size_t size, uint32_t seed)
{
	static const char *const codes[] = {"AA", "AE", "AR", "CA", "CE", "CR"};
	static struct hl7_error err = {.segment = "PID", .sequence = 1, .field = 3, .component = 2};
	struct hl7_ack a = {.code = codes[seed % 6], .control_id = "42", .control_id_bytes = 2};
	char *msg = exact_copy(data, size), *out = NULL;
	const char *why = NULL;
	struct hl7_msh msh, answer;
	struct hl7_msa msa;
	uint32_t room;
	int n;

	a.time_ns = (uint64_t)seed << 32;
	a.utc_offset_minutes = (int32_t)(seed % 1681) - 840;
	a.err_code = seed % 3 ? 0 : 102;
	a.err = seed % 5 ? &err : NULL;
	a.text = seed % 7 ? NULL : "a|b^c~d\\e&f#g\r\n";
	if (!hl7_msh_read(msg, (uint32_t)size, &msh, NULL)) {
		a.msh = &msh;
		a.msg = msg;
	}
	room = hl7_ack_bytes(&a);
	out = malloc(room);
	n = hl7_ack_build(out, room, &a);
	PROP(n > 0 && (uint32_t)n <= room);
	out = realloc(out, (size_t)n);
	PROP(out[n - 1] == '\r');
	PROP(hl7_msa_read(out, (uint32_t)n, &answer, &msa, NULL) == 0);
	PROP(!strcmp(msa.code, a.code));
	PROP(answer.field[10].bytes == 2 && !memcmp(out + answer.field[10].offset, "42", 2));
	PROP((msa.err_offset != 0) == (a.err_code != 0));
	if (a.msh) {
		PROP(msa.control_id.bytes == msh.field[10].bytes);
		PROP(!memcmp(out + msa.control_id.offset, msg + msh.field[10].offset, msa.control_id.bytes));
		PROP(answer.field[5].bytes == msh.field[3].bytes);
		PROP(answer.field[6].bytes == msh.field[4].bytes);
		PROP(answer.field[3].bytes == msh.field[5].bytes);
		PROP(answer.field[18].bytes == msh.field[18].bytes);
		PROP(!memcmp(&answer.delims, &msh.delims, sizeof msh.delims));
	}
out:
	free(out);
	free(msg);
	return why;
}

#endif
