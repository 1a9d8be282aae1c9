/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_body.h - the one body of all kernels. A kernel file defines, then includes this:
 *
 *   SCAN_FN            attributes of every function (the target instruction set)
 *   SCAN_NAME          the kernel's object, SCAN_TEXT its name, SCAN_USABLE an expression: can this CPU run it
     64 bytes in registers; struct value: one byte value spread over a register
 *   block_load(p)      64 bytes from p;   block_load_part(p, n): n < 64 bytes from p, the rest arbitrary, no byte read
 beyond
 *   block_value(c)     struct value of c
 *   block_any2(b, x, y), block_any3(b, x, y, z), block_any6(b, v): bit i set if byte i equals one of the values
 *   block_fields(b, x, y, z, &ends): as block_any3; ends = bits of y or z
 *   block_put(out, base, bits, n): writes base + position of each of the n bits of @bits, may overrun 16 words
 *
 * Runs on any core. It reads no byte outside the range given, so that a message may end at the edge of a mapping.
 */

/* The block at @at of a range, its bits cut to the range: a whole load, or an overlapping one, or a partial one. */
SCAN_FN static inline struct block block_at(const char *buf, uint32_t bytes, uint32_t at, uint32_t *shift,
                                            uint64_t *valid)
{
	uint32_t left = bytes - at;

	*shift = 0;
	*valid = ~0ull;
	if (__builtin_expect(left >= 64, 1))
		return block_load(buf + at);
	*valid = (1ull << left) - 1;
	if (SCAN_PARTIAL_IS_CHEAP || bytes < 64)
		return block_load_part(buf + at, left);
	*shift = 64 - left;
	return block_load(buf + bytes - 64);
}

/* The lines of the index pass: noted by the number of the entry that ends them, taken down many at a time. */
struct index_lines {
	struct hl7_segment *seg; /* where the next line goes */
	uint32_t start;          /* offset of the next line */
	uint32_t first;          /* its first entry */
	uint32_t odd_lines;
	uint32_t eol_lenient;
};

/* Takes down the line that the @last-th entry ends. An empty one is written too, and overwritten by the next. */
SCAN_FN static inline void index_line(struct index_lines *x, const char *msg, char field, const uint32_t *mem,
                                      uint32_t last)
{
	uint32_t start = x->start, end = mem[last], empty = end == start;
	uint32_t name = hl7_line_name(msg + start, end - start, field);

	x->seg->name = name;
	x->seg->offset = start;
	x->seg->first = x->first;
	x->seg->fields = last - x->first;
	x->odd_lines += (name == 0) & !empty;
	x->seg -= !empty;
	x->start = end + 1;
	x->first = last + 1;
}

__attribute__((noinline)) SCAN_FN static void index_lines(struct index_lines *ret, const char *msg, char field,
                                                          const uint32_t *mem, uint32_t *noted, uint32_t n)
{
	struct index_lines x = *ret;

	for (uint32_t i = 0; i < n; i++) {
		index_line(&x, msg, field, mem, noted[i]);
		x.eol_lenient += msg[x.start - 1] == '\n';
	}
	*ret = x;
}

/* The number, among @bits, of the lowest bit of @ends. */
SCAN_FN static inline uint32_t rank_of(uint64_t bits, uint64_t ends)
{
	return (uint32_t)__builtin_popcountll(bits & ((ends & -ends) - 1));
}

/* Notes the lines that end in a block: for each the number of the entry that ends it. @first is that of its first
 * entry. */
SCAN_FN static inline void note_lines(uint32_t *note, uint32_t first, uint64_t bits, uint64_t ends)
{
	if (!SCAN_POPCOUNT_IS_CHEAP && !ends)
		return;
	/* Two at once, wanted or not: how many there are in a block is hard to predict, more than two are rare. */
	note[0] = first + rank_of(bits, ends);
	ends &= ends - 1;
	note[1] = first + rank_of(bits, ends);
	ends &= ends - 1;
	for (note += 2; __builtin_expect(ends != 0, 0); ends &= ends - 1)
		*note++ = first + rank_of(bits, ends);
}

SCAN_FN static int scan_index(struct hl7_index *ix, char lf, uint32_t *mem, uint32_t words)
{
	const char *msg = ix->msg;
	const uint32_t bytes = ix->bytes;
	const char field = ix->delims.field;
	const struct value vf = block_value(field), vc = block_value('\r'), vl = block_value(lf);
	struct hl7_segment *const top = (struct hl7_segment *)(void *)(mem + words) - 1;
	struct index_lines l = {.seg = top};
	uint32_t noted[HL7_SCAN_LINES + 64 + 2], lines = 0;
	uint32_t entries = 0, limit = words; /* entries that fit beside the lines taken down */
	uint64_t valid, ends, bits;
	uint32_t shift, n;

	for (uint32_t at = 0; at < bytes; at += 64) {
		if (__builtin_expect(bytes - at >= 64, 1)) {
			bits = block_fields(block_load(msg + at), vf, vc, vl, &ends);
		} else {
			struct block b = block_at(msg, bytes, at, &shift, &valid);

			bits = block_fields(b, vf, vc, vl, &ends) >> shift & valid;
			ends = ends >> shift & valid;
		}
		if (!bits)
			continue;
		if (__builtin_expect(entries + HL7_SCAN_SLACK_WORDS > limit, 0))
			return HL7_E_FULL;
		n = (uint32_t)__builtin_popcountll(bits);
		block_put(mem + entries, at, bits, n);
		note_lines(noted + lines, entries, bits, ends);
		entries += n;
		lines += (uint32_t)__builtin_popcountll(ends);
		if (__builtin_expect(lines > HL7_SCAN_LINES, 0)) {
			index_lines(&l, msg, field, mem, noted, lines);
			limit = words - (uint32_t)(top - l.seg) * 4;
			lines = 0;
		}
	}
	index_lines(&l, msg, field, mem, noted, lines);
	if (l.start < bytes) { /* the last line has no end: the message's end is one */
		if (__builtin_expect(entries + (uint32_t)(top - l.seg) * 4 + HL7_SCAN_SLACK_WORDS > words, 0))
			return HL7_E_FULL;
		mem[entries] = bytes;
		index_line(&l, msg, field, mem, entries++);
	}
	ix->entry = mem;
	ix->segment = top;
	ix->entries = entries;
	ix->segments = (uint32_t)(top - l.seg);
	ix->odd_lines = l.odd_lines;
	ix->eol_lenient = l.eol_lenient;
	return 0;
}

SCAN_FN static uint32_t scan_line(const char *msg, uint32_t bytes, char field, uint32_t *pos, uint32_t max,
                                  uint32_t *end)
{
	const struct value vf = block_value(field), vc = block_value('\r'), vl = block_value('\n');
	uint32_t n = 0;

	*end = bytes;
	for (uint32_t at = 0; at < bytes; at += 64) {
		uint64_t valid, ends, bits;
		uint32_t shift, more;
		struct block b = block_at(msg, bytes, at, &shift, &valid);

		bits = block_fields(b, vf, vc, vl, &ends) >> shift & valid;
		ends = ends >> shift & valid;
		bits &= ends ? (ends & -ends) - 1 : ~0ull;
		more = (uint32_t)__builtin_popcountll(bits);
		if (n < max) {
			block_put(pos + n, at, bits, more);
			n += more;
		}
		if (ends) {
			*end = at + (uint32_t)__builtin_ctzll(ends);
			break;
		}
	}
	return n < max ? n : max;
}

SCAN_FN static uint32_t scan_find(const char *buf, uint32_t bytes, char a, char b, char c)
{
	const struct value va = block_value(a), vb = block_value(b), vc = block_value(c);

	for (uint32_t at = 0; at < bytes; at += 64) {
		uint64_t valid;
		uint32_t shift;
		struct block blk = block_at(buf, bytes, at, &shift, &valid);
		uint64_t bits = block_any3(blk, va, vb, vc) >> shift & valid;

		if (bits)
			return at + (uint32_t)__builtin_ctzll(bits);
	}
	return bytes;
}

SCAN_FN static uint32_t scan_frame(const char *buf, uint32_t bytes, uint32_t from, uint32_t *inner, uint32_t *scanned)
{
	const struct value veb = block_value(0x1c), vsb = block_value(0x0b);
	const char *p = buf + from;
	const uint32_t left = bytes - from;
	uint32_t sb = HL7_NONE;

	for (uint32_t at = 0; at < left; at += 64) {
		uint64_t valid;
		uint32_t shift;
		struct block blk = block_at(p, left, at, &shift, &valid);
		uint64_t bits = block_any2(blk, veb, vsb) >> shift & valid;

		for (; bits; bits &= bits - 1) {
			uint32_t i = at + (uint32_t)__builtin_ctzll(bits);

			if (p[i] == 0x0b) {
				if (sb == HL7_NONE)
					sb = from + i;
			} else if (i + 1 == left) {
				*inner = sb;
				*scanned = from + i; /* the CR may be the next byte to come */
				return HL7_NONE;
			} else if (p[i + 1] == '\r') {
				*inner = sb;
				return from + i;
			}
		}
	}
	*inner = sb;
	*scanned = bytes;
	return HL7_NONE;
}

SCAN_FN static void scan_marks(const char *buf, uint32_t bytes, const char values[HL7_SCAN_DELIMS], uint64_t *out)
{
	struct value v[HL7_SCAN_DELIMS];

	for (unsigned i = 0; i < HL7_SCAN_DELIMS; i++)
		v[i] = block_value(values[i]);
	for (uint32_t at = 0; at < bytes; at += 64) {
		uint64_t valid;
		uint32_t shift;
		struct block blk = block_at(buf, bytes, at, &shift, &valid);

		out[at / 64] = block_any6(blk, v) >> shift & valid;
	}
}

static int scan_usable(void)
{
	return SCAN_USABLE;
}

const struct hl7_kernel SCAN_NAME = {
    .name = SCAN_TEXT,
    .usable = scan_usable,
    .index = scan_index,
    .line = scan_line,
    .find = scan_find,
    .frame = scan_frame,
    .marks = scan_marks,
};
