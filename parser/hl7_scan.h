/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan.h - the kernels: the few loops that look at every byte, once per instruction set. Inside the library only.
 *
 * Each hl7_scan_<isa>.c says how to load 64 bytes and how to compare them with a few byte values, then includes
 * hl7_scan_body.h, so that all kernels are one algorithm and give identical results.
 */
#ifndef HL7_SCAN_H
#define HL7_SCAN_H

#include "hl7.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HL7_NONE UINT32_MAX

/* Lines are noted first and taken down many at a time: this many at most, and a block's 64 more. */
#define HL7_SCAN_LINES 64

/* Words of index memory that must be free before a block of 64 bytes is taken in: 64 entries, 16 words that a vector
 * store may overrun, the lines noted and the block's 64, each of 4 words, and the last line's. The same for every
 * kernel, so HL7_E_FULL is too. */
#define HL7_SCAN_SLACK_WORDS (64 + 16 + (HL7_SCAN_LINES + 64) * 4 + 8)

/* Words that hl7_kernel.line() may write past @max. */
#define HL7_SCAN_LINE_SLACK (64 + 16)

#define HL7_SCAN_DELIMS 6 /* how many values hl7_kernel.marks compares with */

struct hl7_kernel {
	const char *name;
	/* Whether this CPU can run it. */
	int (*usable)(void);
	/* Indexes ix->msg: entries upwards from @mem, lines downwards from its end. @lf is '\n', or '\r' if LF ends no
	 * line. 0 or HL7_E_FULL. */
	int (*index)(struct hl7_index *ix, char lf, uint32_t *mem, uint32_t words);
	/* Offsets of @field up to the first CR or LF, @max of them at most; @end gets the line's length. Returns how
	 * many.
	 * @pos has room for HL7_SCAN_LINE_SLACK more. */
	uint32_t (*line)(const char *msg, uint32_t bytes, char field, uint32_t *pos, uint32_t max, uint32_t *end);
	/* Offset of the first byte equal to @a, @b or @c, or @bytes. */
	uint32_t (*find)(const char *buf, uint32_t bytes, char a, char b, char c);
	/* Offset of the first 0x1C 0x0D at or after @from, or HL7_NONE; then @scanned says where to go on. @inner gets
	 * the first 0x0B at or after @from and before that, if there is one. */
	uint32_t (*frame)(const char *buf, uint32_t bytes, uint32_t from, uint32_t *inner, uint32_t *scanned);
	/* One bit per byte: is it one of the values? @out has (bytes + 63) / 64 words. */
	void (*marks)(const char *buf, uint32_t bytes, const char values[HL7_SCAN_DELIMS], uint64_t *out);
};

extern const struct hl7_kernel hl7_kernel_scalar;
extern const struct hl7_kernel hl7_kernel_sse2;
extern const struct hl7_kernel hl7_kernel_avx2;
extern const struct hl7_kernel hl7_kernel_avx512;
extern const struct hl7_kernel hl7_kernel_neon;

/* All kernels of this build, best first, NULL at the end. */
extern const struct hl7_kernel *const hl7_kernels[];

extern const struct hl7_kernel *hl7_kernel_chosen;
const struct hl7_kernel *hl7_kernel_choose(void);

/* The kernel in use. The pointer goes once from NULL to the best one (every thread would choose the same). */
static inline const struct hl7_kernel *hl7_kernel(void)
{
	const struct hl7_kernel *k = __atomic_load_n(&hl7_kernel_chosen, __ATOMIC_ACQUIRE);

	return __builtin_expect(k != NULL, 1) ? k : hl7_kernel_choose();
}

/* First byte equal to @a or @b, or @bytes: short ranges, the usual ones, are not worth a call. */
static inline uint32_t hl7_find2(const char *buf, uint32_t bytes, char a, char b)
{
	if (bytes > 48)
		return hl7_kernel()->find(buf, bytes, a, b, b);
	for (uint32_t i = 0; i < bytes; i++) {
		if (buf[i] == a || buf[i] == b)
			return i;
	}
	return bytes;
}

static inline uint32_t hl7_find1(const char *buf, uint32_t bytes, char a)
{
	return hl7_find2(buf, bytes, a, a);
}

/* Shared by the files of the library: delimiters from the first bytes of a header segment, and failure details. */
int hl7_delims_read(const char *msg, uint32_t bytes, struct hl7_delims *ret, uint32_t *ret_msh2_bytes,
                    struct hl7_error *reterr);
int hl7_fail(struct hl7_error *reterr, int code, uint32_t offset, const char *segment, uint16_t field);

/* hl7_name() of what stands at a line's start, 0 if that is no segment name. Table: 3 = capital, 2 = digit, 0 = other.
 */
extern const uint8_t hl7_name_class[256];

static inline uint32_t hl7_line_name(const char *line, uint32_t bytes, char field)
{
	const unsigned char *u = (const unsigned char *)line;

	if (bytes < 3 || (bytes > 3 && line[3] != field))
		return 0;
	return (hl7_name_class[u[0]] & 1) & (hl7_name_class[u[1]] & hl7_name_class[u[2]]) >> 1 ? hl7_name(line) : 0;
}

#define HL7_NAME_MSH 0x48534du /* hl7_name("MSH") */
#define HL7_NAME_FHS 0x534846u
#define HL7_NAME_BHS 0x534842u

static inline int hl7_name_is_header(uint32_t name)
{
	return name == HL7_NAME_MSH || name == HL7_NAME_FHS || name == HL7_NAME_BHS;
}

#endif
