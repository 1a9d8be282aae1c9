/* SPDX-License-Identifier: Apache-2.0 */
/* test_hist.c - the histogram of the public region: buckets cover all, widths are as promised, quantiles are right. */
#include "unit.h"

#include "mr_region.h"

#include <stdlib.h>
#include <string.h>

static void test_every_value_is_below_its_buckets_limit(void **state)
{
	uint64_t random = 1;

	for (int i = 0; i < 200000; i++) {
		uint64_t ns = unit_random(&random) >> unit_random(&random) % 64;
		uint32_t b = mr_hist_bucket(ns);

		assert_true(b < MR_HIST_BUCKETS);
		assert_true(ns < mr_hist_limit_ns(b) || b == MR_HIST_BUCKETS - 1);
		if (b > 0)
			assert_true(ns >= mr_hist_limit_ns(b - 1));
	}
}

static void test_limits_grow_by_an_eighth_at_most(void **state)
{
	assert_int_equal(mr_hist_limit_ns(0), 1u << MR_HIST_MIN_LOG);
	assert_int_equal(mr_hist_limit_ns(MR_HIST_BUCKETS - 2), 1ull << MR_HIST_MAX_LOG);
	assert_int_equal(mr_hist_limit_ns(MR_HIST_BUCKETS - 1), UINT64_MAX);
	for (uint32_t b = 1; b < MR_HIST_BUCKETS - 1; b++) {
		uint64_t low = mr_hist_limit_ns(b - 1), high = mr_hist_limit_ns(b);

		assert_true(high > low && high - low <= low / 8);
		assert_int_equal(mr_hist_bucket(low), b);
		assert_int_equal(mr_hist_bucket(high - 1), b);
	}
	assert_int_equal(mr_hist_bucket(0), 0);
	assert_int_equal(mr_hist_bucket(UINT64_MAX), MR_HIST_BUCKETS - 1);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void test_quantiles_against_sorted_values(void **state)
{
	enum { N = 10007 };
	static uint64_t value[N], words[MR_HIST_WORDS];
	static const double q[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
	uint64_t random = 8, sum = 0;

	for (int i = 0; i < N; i++) {
		value[i] = 1024 + unit_random(&random) % (1ull << (11 + unit_random(&random) % 20));
		sum += value[i];
		mr_hist_record(words, value[i]);
	}
	assert_int_equal(words[MR_HIST_BUCKETS], sum);
	qsort(value, N, sizeof(*value), by_value);
	for (size_t i = 0; i < MR_ARRAY_LEN(q); i++) {
		size_t at = (size_t)(q[i] * N);
		uint64_t exact = value[at < N ? at : N - 1], got = mr_hist_quantile_ns(words, q[i]);

		assert_true(got > exact && got <= exact + exact / 8 + 1);
	}
}

static void test_empty_and_extreme(void **state)
{
	static uint64_t words[MR_HIST_WORDS];

	assert_int_equal(mr_hist_quantile_ns(words, 0.5), 0);
	mr_hist_record(words, 3);
	assert_int_equal(mr_hist_quantile_ns(words, 0.5), 1u << MR_HIST_MIN_LOG);
	memset(words, 0, sizeof(words));
	mr_hist_record(words, UINT64_MAX);
	assert_int_equal(mr_hist_quantile_ns(words, 0.99), 1ull << MR_HIST_MAX_LOG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_value_is_below_its_buckets_limit),
		cmocka_unit_test(test_limits_grow_by_an_eighth_at_most),
		cmocka_unit_test(test_quantiles_against_sorted_values),
		cmocka_unit_test(test_empty_and_extreme),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
