/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_crc32c.c - CRC-32C, the checksum of every journal record.
 *
 * Called by everybody who writes or reads a journal; on a worker for every message, so it must keep up with memory.
 * On x86-64 three streams of the crc32 instruction (latency 3, one a cycle) are joined with carry-less multiplications;
 * elsewhere eight bytes a step come from tables. The choice is made once, before main(). No other state.
 */
#include "mr_journal.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* Castagnoli, bit-reflected */

static uint32_t slice[8][256];

static void slice_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = (c >> 1) ^ (c & 1 ? POLYNOMIAL : 0);
		slice[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			slice[t][i] = (slice[t - 1][i] >> 8) ^ slice[0][slice[t - 1][i] & 0xff];
}

static uint32_t crc_tables(uint32_t crc, const void *p, size_t bytes)
{
	const uint8_t *b = p;

	for (; bytes >= 8; b += 8, bytes -= 8) {
		uint64_t w;

		memcpy(&w, b, 8); /* little-endian hosts only, as the whole format */
		w ^= crc;
		crc = slice[7][w & 0xff] ^ slice[6][(w >> 8) & 0xff] ^ slice[5][(w >> 16) & 0xff] ^
		      slice[4][(w >> 24) & 0xff] ^ slice[3][(w >> 32) & 0xff] ^ slice[2][(w >> 40) & 0xff] ^
		      slice[1][(w >> 48) & 0xff] ^ slice[0][w >> 56];
	}
	for (; bytes; b++, bytes--)
		crc = (crc >> 8) ^ slice[0][(crc ^ *b) & 0xff];
	return crc;
}

#ifdef __x86_64__
#include <immintrin.h>

#define WORDS_MAX 128 /* per stream and round */

/* shift[i] = x^(64 i - 33) mod P, reflected: multiplying by it and reducing moves a CRC over 8 i zero bytes. */
static uint32_t shift[2 * WORDS_MAX + 1];

__attribute__((target("sse4.2"))) static void shift_init(void)
{
	shift[1] = 1; /* x^31 */
	for (int i = 2; i <= 2 * WORDS_MAX; i++)
		shift[i] = (uint32_t)_mm_crc32_u64(shift[i - 1], 0);
}

static inline uint64_t word_at(const uint8_t *b)
{
	uint64_t w;

	memcpy(&w, b, 8);
	return w;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t times(uint64_t crc, uint32_t k)
{
	__m128i r = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)k), 0);

	return (uint64_t)_mm_cvtsi128_si64(r);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_hardware(uint32_t crc, const void *p, size_t bytes)
{
	const uint8_t *b = p;
	uint64_t a = crc;

	while (bytes >= 3 * 8 * 4) {
		size_t words = bytes / 24 < WORDS_MAX ? bytes / 24 : WORDS_MAX;
		const uint8_t *b1 = b + 8 * words, *b2 = b1 + 8 * words;
		uint64_t c1 = 0, c2 = 0;

		for (size_t i = 0; i < words; i++) {
			a = _mm_crc32_u64(a, word_at(b + 8 * i));
			c1 = _mm_crc32_u64(c1, word_at(b1 + 8 * i));
			c2 = _mm_crc32_u64(c2, word_at(b2 + 8 * i));
		}
		a = _mm_crc32_u64(0, times(a, shift[2 * words]) ^ times(c1, shift[words])) ^ c2;
		b += 24 * words;
		bytes -= 24 * words;
	}
	for (; bytes >= 8; b += 8, bytes -= 8)
		a = _mm_crc32_u64(a, word_at(b));
	for (; bytes; b++, bytes--)
		a = _mm_crc32_u8((uint32_t)a, *b);
	return (uint32_t)a;
}
#endif

static uint32_t (*crc_run)(uint32_t crc, const void *p, size_t bytes) = crc_tables;

__attribute__((constructor)) static void crc_choose(void)
{
	slice_init();
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
		shift_init();
		crc_run = crc_hardware;
	}
#endif
}

uint32_t mr_crc32c(uint32_t crc, const void *p, size_t bytes)
{
	return ~crc_run(~crc, p, bytes);
}

uint32_t mr_crc32c_portable(uint32_t crc, const void *p, size_t bytes)
{
	return ~crc_tables(~crc, p, bytes);
}
