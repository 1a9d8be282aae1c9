/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring.c - records come out whole, once, in order: over the wrap, at full, between two threads, asleep or not. */
#include "unit.h"

#include "mr_ring.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct mr_ring *ring_new(uint32_t records)
{
	struct mr_ring *r = aligned_alloc(MR_CACHELINE, mr_align_up(mr_ring_bytes(records), MR_CACHELINE));

	assert_non_null(r);
	memset(r, 0, mr_ring_bytes(records));
	mr_ring_init(r, records);
	return r;
}

static struct mr_msg record(uint64_t i)
{
	return (struct mr_msg){.kind = MR_MSG_DELIVER, .dest = (uint16_t)i, .sequence = i, .position = ~i,
			       .bytes = (uint32_t)(i * 3), .code = {'A', (char)i}};
}

static void record_check(const struct mr_msg *m, uint64_t i)
{
	const struct mr_msg want = record(i);

	assert_memory_equal(m, &want, sizeof(want));
}

static void test_full_then_empty_over_many_wraps(void **state)
{
	struct mr_ring *r = ring_new(8);
	uint64_t in = 0, out = 0, random = 11;
	struct mr_msg m;

	assert_false(mr_ring_pop(r, &m));
	for (int round = 0; round < 2000; round++) {
		for (uint64_t n = unit_random(&random) % 12; n--;) {
			bool full = in - out == 8;

			m = record(in);
			assert_int_equal(mr_ring_push(r, &m), !full);
			in += !full;
			assert_int_equal(mr_ring_used(r), in - out);
		}
		for (uint64_t n = unit_random(&random) % 12; n--;) {
			bool empty = in == out;

			assert_int_equal(mr_ring_pop(r, &m), !empty);
			if (!empty)
				record_check(&m, out++);
		}
	}
	assert_true(out > 100 * 8);
	free(r);
}

static void test_full_keeps_what_is_in_it(void **state)
{
	struct mr_ring *r = ring_new(4);
	struct mr_msg m = record(99);

	for (uint64_t i = 0; i < 4; i++) {
		struct mr_msg x = record(i);

		assert_true(mr_ring_push(r, &x));
	}
	assert_false(mr_ring_push(r, &m));
	for (uint64_t i = 0; i < 4; i++) {
		assert_true(mr_ring_pop(r, &m));
		record_check(&m, i);
	}
	assert_false(mr_ring_pop(r, &m));
	free(r);
}

static void test_broken_memory_is_not_a_ring(void **state)
{
	struct mr_ring *r = ring_new(16);
	size_t bytes = mr_ring_bytes(16);

	assert_true(mr_ring_valid(r, bytes));
	assert_false(mr_ring_valid(r, bytes - 1));
	assert_false(mr_ring_valid(r, sizeof(*r) - 1));
	r->records = 15;
	assert_false(mr_ring_valid(r, bytes));
	r->records = 32;
	assert_false(mr_ring_valid(r, bytes));
	r->records = 0;
	assert_false(mr_ring_valid(r, bytes));
	r->records = 16;
	r->record_bytes++;
	assert_false(mr_ring_valid(r, bytes));
	r->record_bytes--;
	r->version++;
	assert_false(mr_ring_valid(r, bytes));
	r->version--;
	r->magic++;
	assert_false(mr_ring_valid(r, bytes));
	free(r);
}

static void test_sleep_and_wake(void **state)
{
	struct mr_ring *r = ring_new(4);
	struct mr_msg m = record(1);

	assert_false(mr_ring_must_wake(r));
	assert_true(mr_ring_sleep(r)); /* empty: may sleep */
	assert_true(mr_ring_push(r, &m));
	assert_true(mr_ring_must_wake(r));
	mr_ring_awake(r);
	assert_false(mr_ring_must_wake(r));
	assert_false(mr_ring_sleep(r)); /* something is there: must not */
	free(r);
}

/* The two threads use the ring exactly as the cores do: sleep on an eventfd when it is empty, wake after a batch. */
struct threads {
	struct mr_ring *ring;
	int event;
	uint64_t count, wrong, slept, lost;
};

static void *threads_consume(void *arg)
{
	struct threads *t = arg;
	struct mr_msg m;

	for (uint64_t i = 0; i < t->count;) {
		if (mr_ring_pop(t->ring, &m)) {
			const struct mr_msg want = record(i++);

			t->wrong += memcmp(&m, &want, sizeof(m)) != 0;
			continue;
		}
		if (mr_ring_sleep(t->ring)) {
			struct pollfd p = {.fd = t->event, .events = POLLIN};
			uint64_t n;

			t->slept++;
			if (poll(&p, 1, 20000) <= 0) { /* far beyond any delay: a wake-up was lost */
				t->lost++;
				return NULL;
			}
			if (read(t->event, &n, sizeof(n)) < 0)
				t->wrong++;
		}
		mr_ring_awake(t->ring);
	}
	return NULL;
}

static void test_two_threads(void **state)
{
	struct threads t = {.ring = ring_new(64), .event = eventfd(0, EFD_CLOEXEC), .count = 400000};
	uint64_t random = 9, one = 1, left = 0;
	pthread_t id;

	assert_true(t.event >= 0);
	assert_int_equal(pthread_create(&id, NULL, threads_consume, &t), 0);
	for (uint64_t i = 0; i < t.count;) {
		struct mr_msg m = record(i);

		if (!left)
			left = 1 + unit_random(&random) % 100;
		if (mr_ring_push(t.ring, &m)) {
			i++;
			left--;
			if (left && i < t.count)
				continue;
		}
		if (mr_ring_must_wake(t.ring))
			assert_int_equal(write(t.event, &one, sizeof(one)), sizeof(one));
		if (__atomic_load_n(&t.lost, __ATOMIC_RELAXED))
			break;
	}
	pthread_join(id, NULL);
	assert_int_equal(t.lost, 0);
	assert_int_equal(t.wrong, 0);
	assert_int_equal(mr_ring_used(t.ring), 0);
	close(t.event);
	free(t.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_then_empty_over_many_wraps),
		cmocka_unit_test(test_full_keeps_what_is_in_it),
		cmocka_unit_test(test_broken_memory_is_not_a_ring),
		cmocka_unit_test(test_sleep_and_wake),
		cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
