/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_avx512.c - the kernel for x86-64 CPUs with AVX-512 BW and VBMI2 (Ice Lake, Zen 4 and later): 64 bytes at a
 * time, positions by byte compression.
 *
 * Called through struct hl7_kernel once usable() said yes, on any core. CPUs with an older AVX-512 take the AVX2
 * kernel.
 */
#include "hl7_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SCAN_FN   __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi,bmi2,popcnt")))
#define SCAN_NAME hl7_kernel_avx512
#define SCAN_TEXT "avx512"
#define SCAN_USABLE                                                                                                    \
	(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&                                    \
	 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") &&                                \
	 __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"))
#define SCAN_PARTIAL_IS_CHEAP  1
#define SCAN_POPCOUNT_IS_CHEAP 1

struct block {
	__m512i all;
};

struct value {
	__m512i spread;
};

SCAN_FN static inline struct block block_load(const char *p)
{
	return (struct block){_mm512_loadu_si512(p)};
}

SCAN_FN static inline struct block block_load_part(const char *p, uint32_t n)
{
	return (struct block){_mm512_maskz_loadu_epi8((1ull << n) - 1, p)};
}

SCAN_FN static inline struct value block_value(char c)
{
	return (struct value){_mm512_set1_epi8(c)};
}

SCAN_FN static inline uint64_t equal(struct block b, struct value v)
{
	return _mm512_cmpeq_epi8_mask(b.all, v.spread);
}

SCAN_FN static inline uint64_t block_any2(struct block b, struct value x, struct value y)
{
	return equal(b, x) | equal(b, y);
}

SCAN_FN static inline uint64_t block_any3(struct block b, struct value x, struct value y, struct value z)
{
	return equal(b, x) | equal(b, y) | equal(b, z);
}

SCAN_FN static inline uint64_t block_any6(struct block b, const struct value v[6])
{
	return block_any3(b, v[0], v[1], v[2]) | block_any3(b, v[3], v[4], v[5]);
}

SCAN_FN static inline uint64_t block_fields(struct block b, struct value x, struct value y, struct value z,
                                            uint64_t *ends)
{
	*ends = block_any2(b, y, z);
	return equal(b, x) | *ends;
}

/* The numbers of the set bits, squeezed to the front of a register, widened and stored sixteen at a time. */
SCAN_FN static inline void block_put(uint32_t *out, uint32_t base, uint64_t bits, uint32_t n)
{
	const __m512i numbers =
	    _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
	                    40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
	                    17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	const __m512i from = _mm512_set1_epi32((int)base);
	__m512i squeezed = _mm512_maskz_compress_epi8(bits, numbers);

	_mm512_storeu_si512(out, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(squeezed))));
	if (__builtin_expect(n > 16, 0)) {
		__m128i second = _mm512_extracti32x4_epi32(squeezed, 1);

		_mm512_storeu_si512(out + 16, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(second)));
	}
	if (__builtin_expect(n > 32, 0)) {
		__m128i third = _mm512_extracti32x4_epi32(squeezed, 2);
		__m128i fourth = _mm512_extracti32x4_epi32(squeezed, 3);

		_mm512_storeu_si512(out + 32, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(third)));
		_mm512_storeu_si512(out + 48, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(fourth)));
	}
}

#include "hl7_scan_body.h"
#endif
