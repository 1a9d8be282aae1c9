/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan_neon.c - the kernel for 64-bit ARM: sixteen bytes at a time.
 *
 * Called through struct hl7_kernel, on any core.
 */
#include "hl7_scan.h"

#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>

#define SCAN_FN
#define SCAN_NAME              hl7_kernel_neon
#define SCAN_TEXT              "neon"
#define SCAN_USABLE            1
#define SCAN_PARTIAL_IS_CHEAP  0
#define SCAN_POPCOUNT_IS_CHEAP 0

struct block {
	uint8x16_t part[4];
};

struct value {
	uint8x16_t spread;
};

static inline struct block block_load(const char *p)
{
	struct block b;

	for (unsigned i = 0; i < 4; i++)
		b.part[i] = vld1q_u8((const uint8_t *)p + 16 * i);
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
	return (struct value){vdupq_n_u8((uint8_t)c)};
}

/* One bit per byte: keep bit (i mod 8) of byte i, then add neighbours until eight bytes share one. */
static inline uint64_t gather(const uint8x16_t hit[4])
{
	static const uint8_t weight_bytes[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	const uint8x16_t weight = vld1q_u8(weight_bytes);
	uint8x16_t low = vpaddq_u8(vandq_u8(hit[0], weight), vandq_u8(hit[1], weight));
	uint8x16_t high = vpaddq_u8(vandq_u8(hit[2], weight), vandq_u8(hit[3], weight));
	uint8x16_t all = vpaddq_u8(low, high);

	all = vpaddq_u8(all, all);
	return vgetq_lane_u64(vreinterpretq_u64_u8(all), 0);
}

static inline uint8x16_t hit2(uint8x16_t b, struct value x, struct value y)
{
	return vorrq_u8(vceqq_u8(b, x.spread), vceqq_u8(b, y.spread));
}

static inline uint8x16_t hit3(uint8x16_t b, struct value x, struct value y, struct value z)
{
	return vorrq_u8(hit2(b, x, y), vceqq_u8(b, z.spread));
}

static inline uint64_t block_any2(struct block b, struct value x, struct value y)
{
	uint8x16_t hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = hit2(b.part[i], x, y);
	return gather(hit);
}

static inline uint64_t block_any3(struct block b, struct value x, struct value y, struct value z)
{
	uint8x16_t hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = hit3(b.part[i], x, y, z);
	return gather(hit);
}

static inline uint64_t block_any6(struct block b, const struct value v[6])
{
	uint8x16_t hit[4];

	for (unsigned i = 0; i < 4; i++)
		hit[i] = vorrq_u8(hit3(b.part[i], v[0], v[1], v[2]), hit3(b.part[i], v[3], v[4], v[5]));
	return gather(hit);
}

static inline uint64_t block_fields(struct block b, struct value x, struct value y, struct value z, uint64_t *ends)
{
	uint8x16_t end[4], any[4];

	for (unsigned i = 0; i < 4; i++) {
		end[i] = hit2(b.part[i], y, z);
		any[i] = vorrq_u8(end[i], vceqq_u8(b.part[i], x.spread));
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
