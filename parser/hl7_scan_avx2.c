/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_avx2.c - the kernel for x86-64 CPUs with AVX2 and BMI: thirty-two bytes at a time.
 *
 * Called through struct hl7_kernel once usable() said yes, on any core.
 */
#include "hl7_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SCAN_FN   __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define SCAN_NAME hl7_kernel_avx2
#define SCAN_TEXT "avx2"
#define SCAN_USABLE                                                                                                    \
	(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&          \
	 __builtin_cpu_supports("popcnt"))
#define SCAN_PARTIAL_IS_CHEAP  0
#define SCAN_POPCOUNT_IS_CHEAP 1

struct block {
	__m256i lo, hi;
};

struct value {
	__m256i spread;
};

SCAN_FN static inline struct block block_load(const char *p)
{
	struct block b;

	b.lo = _mm256_loadu_si256((const __m256i *)(const void *)p);
	b.hi = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
	return b;
}

SCAN_FN static inline struct block block_load_part(const char *p, uint32_t n)
{
	char copy[64] = {0};

	memcpy(copy, p, n);
	return block_load(copy);
}

SCAN_FN static inline struct value block_value(char c)
{
	return (struct value){_mm256_set1_epi8(c)};
}

SCAN_FN static inline uint64_t gather(__m256i lo, __m256i hi)
{
	return (uint64_t)(uint32_t)_mm256_movemask_epi8(lo) | (uint64_t)(uint32_t)_mm256_movemask_epi8(hi) << 32;
}

SCAN_FN static inline __m256i hit2(__m256i b, struct value x, struct value y)
{
	return _mm256_or_si256(_mm256_cmpeq_epi8(b, x.spread), _mm256_cmpeq_epi8(b, y.spread));
}

SCAN_FN static inline __m256i hit3(__m256i b, struct value x, struct value y, struct value z)
{
	return _mm256_or_si256(hit2(b, x, y), _mm256_cmpeq_epi8(b, z.spread));
}

SCAN_FN static inline uint64_t block_any2(struct block b, struct value x, struct value y)
{
	return gather(hit2(b.lo, x, y), hit2(b.hi, x, y));
}

SCAN_FN static inline uint64_t block_any3(struct block b, struct value x, struct value y, struct value z)
{
	return gather(hit3(b.lo, x, y, z), hit3(b.hi, x, y, z));
}

SCAN_FN static inline uint64_t block_any6(struct block b, const struct value v[6])
{
	return gather(_mm256_or_si256(hit3(b.lo, v[0], v[1], v[2]), hit3(b.lo, v[3], v[4], v[5])),
	              _mm256_or_si256(hit3(b.hi, v[0], v[1], v[2]), hit3(b.hi, v[3], v[4], v[5])));
}

SCAN_FN static inline uint64_t block_fields(struct block b, struct value x, struct value y, struct value z,
                                            uint64_t *ends)
{
	__m256i end_lo = hit2(b.lo, y, z), end_hi = hit2(b.hi, y, z);

	*ends = gather(end_lo, end_hi);
	return gather(_mm256_or_si256(end_lo, _mm256_cmpeq_epi8(b.lo, x.spread)),
	              _mm256_or_si256(end_hi, _mm256_cmpeq_epi8(b.hi, x.spread)));
}

/* Eight at a time without a test in between: how many there are in a block is hard to predict. */
SCAN_FN static inline uint64_t put_8(uint32_t *out, uint32_t base, uint64_t bits)
{
#define PUT(i) out[i] = base + (uint32_t)_tzcnt_u64(bits), bits = _blsr_u64(bits)
	PUT(0), PUT(1), PUT(2), PUT(3), PUT(4), PUT(5), PUT(6), PUT(7); /* compilers do not unroll this at -O2 */
#undef PUT
	return bits;
}

SCAN_FN static inline void block_put(uint32_t *out, uint32_t base, uint64_t bits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 8)
		bits = put_8(out + i, base, bits);
}

#include "hl7_scan_body.h"
#endif
