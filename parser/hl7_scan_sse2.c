/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_sse2.c - the kernel for every x86-64 CPU: sixteen bytes at a time.
 *
 * Called through struct hl7_kernel, on any core. It must never use an instruction beyond x86-64's baseline.
 */
#include "hl7_scan.h"

#if defined(__x86_64__)
#include <emmintrin.h>

#define SCAN_FN
#define SCAN_NAME              hl7_kernel_sse2
#define SCAN_TEXT              "sse2"
#define SCAN_USABLE            1
#define SCAN_PARTIAL_IS_CHEAP  0
#define SCAN_POPCOUNT_IS_CHEAP 0

struct block {
	__m128i part[4];
};

struct value {
	__m128i spread;
};

static inline struct block block_load(const char *p)
{
	struct block b;

	for (unsigned i = 0; i < 4; i++)
		b.part[i] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
	return b;
}

static inline struct block block_load_part(const char *p, uint32_t n)
{
	char copy[64] = {0};

	memcpy(copy, p, n);
	return block_load(copy);
}

static inline struct value block_value(char c)
{
	return (struct value){_mm_set1_epi8(c)};
}

static inline uint64_t gather(const __m128i hit[4])
{
	return (uint64_t)(uint32_t)_mm_movemask_epi8(hit[0]) | (uint64_t)(uint32_t)_mm_movemask_epi8(hit[1]) << 16 |
	       (uint64_t)(uint32_t)_mm_movemask_epi8(hit[2]) << 32 |
	       (uint64_t)(uint32_t)_mm_movemask_epi8(hit[3]) << 48;
}

static inline uint64_t block_any2(struct block b, struct value x, struct value y)
{
	__m128i hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = _mm_or_si128(_mm_cmpeq_epi8(b.part[i], x.spread), _mm_cmpeq_epi8(b.part[i], y.spread));
	return gather(hit);
}

static inline __m128i hit3(__m128i b, struct value x, struct value y, struct value z)
{
	return _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(b, x.spread), _mm_cmpeq_epi8(b, y.spread)),
	                    _mm_cmpeq_epi8(b, z.spread));
}

static inline uint64_t block_any3(struct block b, struct value x, struct value y, struct value z)
{
	__m128i hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = hit3(b.part[i], x, y, z);
	return gather(hit);
}

static inline uint64_t block_any6(struct block b, const struct value v[6])
{
	__m128i hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = _mm_or_si128(hit3(b.part[i], v[0], v[1], v[2]), hit3(b.part[i], v[3], v[4], v[5]));
	return gather(hit);
}

static inline uint64_t block_fields(struct block b, struct value x, struct value y, struct value z, uint64_t *ends)
{
	__m128i end[4], any[4];

	for (unsigned i = 0; i < 4; i++) {
		end[i] = _mm_or_si128(_mm_cmpeq_epi8(b.part[i], y.spread), _mm_cmpeq_epi8(b.part[i], z.spread));
		any[i] = _mm_or_si128(end[i], _mm_cmpeq_epi8(b.part[i], x.spread));
	}
	*ends = gather(end);
	return gather(any);
}

/* Eight at a time without a test in between: how many there are in a block is hard to predict. */
static inline uint64_t put_8(uint32_t *out, uint32_t base, uint64_t bits)
{
#define PUT(i) out[i] = base + (uint32_t)__builtin_ctzll(bits | 1ull << 63), bits = bits & (bits - 1)
	PUT(0), PUT(1), PUT(2), PUT(3), PUT(4), PUT(5), PUT(6), PUT(7); /* compilers do not unroll this at -O2 */
#undef PUT
	return bits;
}

static inline void block_put(uint32_t *out, uint32_t base, uint64_t bits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 8)
		bits = put_8(out + i, base, bits);
}

#include "hl7_scan_body.h"
#endif
