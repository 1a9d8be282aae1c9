/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_scalar.c - the kernel for any CPU: eight bytes at a time in ordinary registers.
 *
 * Called through struct hl7_kernel, on any core. The reference that every other kernel is compared with; it must never
 * use an instruction that not every CPU has.
 */
#include "hl7_scan.h"

#define SCAN_FN
#define SCAN_NAME              hl7_kernel_scalar
#define SCAN_TEXT              "scalar"
#define SCAN_USABLE            1
#define SCAN_PARTIAL_IS_CHEAP  0
#define SCAN_POPCOUNT_IS_CHEAP 0

#define LOW7 0x7f7f7f7f7f7f7f7full

struct block {
	uint64_t word[8];
};

struct value {
	uint64_t spread;
};

static inline uint64_t load_le(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	return w;
}

static inline struct block block_load(const char *p)
{
	struct block b;

	for (unsigned i = 0; i < 8; i++)
		b.word[i] = load_le(p + 8 * i);
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
	return (struct value){(unsigned char)c * 0x0101010101010101ull};
}

/* 0x80 in every byte of @w that equals the value, 0 in the others; exact, no carry from byte to byte. */
static inline uint64_t equal_high(uint64_t w, struct value v)
{
	uint64_t x = w ^ v.spread;

	return ~(((x & LOW7) + LOW7) | x | LOW7);
}

/* The eight high bits as a number of eight bits. */
static inline uint64_t gather(uint64_t high)
{
	return (high >> 7) * 0x0102040810204080ull >> 56;
}

static inline uint64_t block_any2(struct block b, struct value x, struct value y)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 8; i++)
		bits |= gather(equal_high(b.word[i], x) | equal_high(b.word[i], y)) << 8 * i;
	return bits;
}

static inline uint64_t block_any3(struct block b, struct value x, struct value y, struct value z)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t w = b.word[i];

		bits |= gather(equal_high(w, x) | equal_high(w, y) | equal_high(w, z)) << 8 * i;
	}
	return bits;
}

static inline uint64_t block_any6(struct block b, const struct value v[6])
{
	return block_any3(b, v[0], v[1], v[2]) | block_any3(b, v[3], v[4], v[5]);
}

static inline uint64_t block_fields(struct block b, struct value x, struct value y, struct value z, uint64_t *ends)
{
	uint64_t bits = 0, e = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t w = b.word[i], end = equal_high(w, y) | equal_high(w, z);

		e |= gather(end) << 8 * i;
		bits |= gather(end | equal_high(w, x)) << 8 * i;
	}
	*ends = e;
	return bits;
}

static inline void block_put(uint32_t *out, uint32_t base, uint64_t bits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, bits &= bits - 1)
		out[i] = base + (uint32_t)__builtin_ctzll(bits);
}

#include "hl7_scan_body.h"
