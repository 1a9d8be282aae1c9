/* SPDX-License-Identifier: Apache-2.0 */
/* test_frame_pool.c - blocks never overlap, have the size they say, and all memory comes back together. */
#include "unit.h"

#include "frame_pool.h"
#include "core_limits.h"

#include <string.h>

#define POOL_BYTES (4u << 20)
#define BLOCKS     1024

struct block {
	char *at;
	uint32_t bytes;
	unsigned char mark;
};

static void test_whole_pool_in_one_block_and_in_the_smallest(void **state)
{
	struct frame_pool *p = NULL;
	static struct block b[POOL_BYTES / FRAME_BLOCK_BYTES + 1];
	uint32_t bytes, n = 0;
	char *all;

	assert_int_equal(frame_pool_create(POOL_BYTES - 5, &p), 0);
	for (int round = 0; round < 3; round++) {
		all = frame_take(p, POOL_BYTES, &bytes);
		assert_non_null(all);
		assert_int_equal(bytes, POOL_BYTES);
		assert_int_equal(frame_pool_used(p), POOL_BYTES);
		assert_null(frame_take(p, 1, &bytes));
		frame_give(p, all, POOL_BYTES);
		for (n = 0; (b[n].at = frame_take(p, 1, &b[n].bytes)); n++)
			assert_int_equal(b[n].bytes, FRAME_BLOCK_BYTES);
		assert_int_equal(n, POOL_BYTES / FRAME_BLOCK_BYTES);
		for (uint32_t i = 0; i < n; i++) /* every second first, so that nothing joins until the end */
			frame_give(p, b[(i * 2) % n + (i * 2) / n].at, FRAME_BLOCK_BYTES);
		assert_int_equal(frame_pool_used(p), 0);
	}
	frame_pool_destroy(p);
}

static void test_too_large_is_refused(void **state)
{
	struct frame_pool *p = NULL;
	uint32_t bytes = 7;

	assert_int_equal(frame_pool_create(POOL_BYTES, &p), 0);
	assert_null(frame_take(p, POOL_BYTES + 1, &bytes));
	assert_null(frame_take(p, UINT32_MAX, &bytes));
	assert_int_equal(bytes, 7);
	frame_give(p, NULL, 0);
	assert_int_equal(frame_pool_used(p), 0);
	frame_pool_destroy(p);
	frame_pool_destroy(NULL);
}

static void block_check(const struct block *b)
{
	for (uint32_t i = 0; i < b->bytes; i += 509)
		assert_int_equal((unsigned char)b->at[i], b->mark);
	assert_int_equal((unsigned char)b->at[b->bytes - 1], b->mark);
}

static void block_take(struct frame_pool *p, struct block *b, uint64_t *random)
{
	uint64_t want = 1 + unit_random(random) % (1u << (unit_random(random) % 20 + 1));

	b->at = frame_take(p, want, &b->bytes);
	if (!b->at)
		return;
	assert_true(b->bytes >= want && b->bytes >= FRAME_BLOCK_BYTES && (b->bytes & (b->bytes - 1)) == 0);
	assert_true(b->bytes < 2 * want || b->bytes == FRAME_BLOCK_BYTES);
	b->mark = (unsigned char)unit_random(random);
	memset(b->at, b->mark, b->bytes);
}

static void test_random_against_a_model(void **state)
{
	static struct block b[BLOCKS];
	struct frame_pool *p = NULL;
	uint64_t random = 42, used = 0;
	uint32_t bytes, refused = 0;
	char *all;

	assert_int_equal(frame_pool_create(POOL_BYTES, &p), 0);
	for (int round = 0; round < 60000; round++) {
		struct block *x = &b[unit_random(&random) % (round % 20000 < 10000 ? BLOCKS : 16)];

		if (x->at) {
			block_check(x);
			frame_give(p, x->at, x->bytes);
			used -= x->bytes;
			x->at = NULL;
		} else {
			block_take(p, x, &random);
			used += x->at ? x->bytes : 0;
			refused += !x->at;
		}
		assert_int_equal(frame_pool_used(p), used);
		assert_true(used <= POOL_BYTES);
	}
	assert_true(refused > 0); /* the full pool was met too */
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (b[i].at) {
			block_check(&b[i]);
			frame_give(p, b[i].at, b[i].bytes);
		}
	all = frame_take(p, POOL_BYTES, &bytes);
	assert_non_null(all); /* all buddies found each other again */
	frame_give(p, all, bytes);
	frame_pool_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_pool_in_one_block_and_in_the_smallest),
		cmocka_unit_test(test_too_large_is_refused),
		cmocka_unit_test(test_random_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
