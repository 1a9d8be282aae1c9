/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_body.h - the one body of all kernels. A kernel file defines, then includes this:
 *
 *   SCAN_FN            attributes of every function (the target instruction set)
 *   SCAN_NAME          the kernel's object, SCAN_TEXT its name, SCAN_USABLE an expression: can this CPU run it
 *   struct block       64 bytes in registers; struct value: one byte value spread over a register
 *   block_load(p)      64 bytes from p;   block_load_part(p, n): n < 64 bytes from p, the rest arbitrary, no byte read beyond
 *   block_value(c)     struct value of c
 *   block_any2(b, x, y), block_any3(b, x, y, z), block_any6(b, v): bit i set if byte i equals one of the values
 *   block_fields(b, x, y, z, &ends): as block_any3; ends = bits of y or z
 *   block_put(out, base, bits, n): writes base + position of each of the n bits of @bits, may overrun 16 words
 *
 * Runs on any core. It reads no byte outside the range given, so that a message may end at the edge of a mapping.
 */

/* The block at @at of a range, its bits cut to the range: a whole load, or an overlapping one, or a partial one. */
SCAN_FN static inline struct block block_at(const char *buf, uint32_t bytes, uint32_t at, uint32_t *shift, uint64_t *valid)
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

/* Takes down one line that ends at @end, the @last-th entry. */
SCAN_FN static inline void index_line(struct hl7_index *ix, struct hl7_segment *seg, uint32_t start, uint32_t end,
				      uint32_t first, uint32_t last)
{
	seg->name = hl7_line_name(ix->msg + start, end - start, ix->delims.field);
	seg->offset = start;
	seg->first = first;
	seg->fields = last - first;
	ix->odd_lines += seg->name == 0;
}

SCAN_FN static int scan_index(struct hl7_index *ix, char lf, uint32_t *mem, uint32_t words)
{
	const char *msg = ix->msg;
	const uint32_t bytes = ix->bytes;
	const struct value vf = block_value(ix->delims.field), vc = block_value('\r'), vl = block_value(lf);
	struct hl7_segment *const top = (struct hl7_segment *)(void *)(mem + words) - 1;
	uint32_t entries = 0, segments = 0, lenient = 0, start = 0, first = 0;

	ix->odd_lines = 0;
	for (uint32_t at = 0; at < bytes; at += 64) {
		uint64_t valid, ends, bits;
		uint32_t shift;
		struct block b = block_at(msg, bytes, at, &shift, &valid);

		if (__builtin_expect(entries + segments * 4 + HL7_SCAN_SLACK_WORDS > words, 0))
			return HL7_E_FULL;
		bits = block_fields(b, vf, vc, vl, &ends) >> shift & valid;
		ends = ends >> shift & valid;
		uint32_t n = (uint32_t)__builtin_popcountll(bits);

		block_put(mem + entries, at, bits, n);
		for (; ends; ends &= ends - 1) {
			uint32_t last = entries + (uint32_t)__builtin_popcountll(bits & ((ends & -ends) - 1));
			uint32_t end = at + (uint32_t)__builtin_ctzll(ends);

			if (msg[end] == '\n')
				lenient++;
			if (end > start) {
				index_line(ix, top - segments, start, end, first, last);
				segments++;
			}
			start = end + 1;
			first = last + 1;
		}
		entries += n;
	}
	if (start < bytes) { /* the last line has no terminator: the end of the message is one */
		mem[entries] = bytes;
		index_line(ix, top - segments, start, bytes, first, entries);
		segments++;
		entries++;
	}
	ix->entry = mem;
	ix->segment = top;
	ix->entries = entries;
	ix->segments = segments;
	ix->eol_lenient = lenient;
	return 0;
}

SCAN_FN static uint32_t scan_line(const char *msg, uint32_t bytes, char field, uint32_t *pos, uint32_t max, uint32_t *end)
{
	const struct value vf = block_value(field), vc = block_value('\r'), vl = block_value('\n');
	uint32_t n = 0;

	for (uint32_t at = 0; at < bytes; at += 64) {
		uint64_t valid, ends, bits;
		uint32_t shift;
		struct block b = block_at(msg, bytes, at, &shift, &valid);

		bits = block_fields(b, vf, vc, vl, &ends) >> shift & valid;
		ends = ends >> shift & valid;
		bits &= ~ends;
		if (ends)
			bits &= (ends & -ends) - 1;
		for (; bits && n < max; bits &= bits - 1)
			pos[n++] = at + (uint32_t)__builtin_ctzll(bits);
		if (ends) {
			*end = at + (uint32_t)__builtin_ctzll(ends);
			return n;
		}
	}
	*end = bytes;
	return n;
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
