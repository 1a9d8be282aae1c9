/* SPDX-License-Identifier: Apache-2.0 */
/* test_wheel.c - timers fire once, not early, at most a slot late, and never when cancelled; against a plain list. */
#include "unit.h"

#include "wheel.h"

#include <string.h>

#define TIMERS 300

static uint32_t fire_all(struct wheel *w, uint64_t now_ns)
{
	uint32_t n = 0;

	while (wheel_fire(w, now_ns))
		n++;
	return n;
}

static void test_fires_after_its_deadline_and_once(void **state)
{
	static struct wheel w;
	struct timer t = {0};
	uint64_t start = 77 * WHEEL_SLOT_NS + 5;

	wheel_init(&w, start);
	wheel_arm(&w, &t, start + 1000000);
	assert_null(wheel_fire(&w, start));
	assert_null(wheel_fire(&w, start + 999999));
	assert_ptr_equal(wheel_fire(&w, start + 1000000 + 2 * (uint64_t)WHEEL_SLOT_NS), &t);
	assert_null(wheel_fire(&w, start + 10000000000u));
	assert_int_equal(w.armed, 0);
}

static void test_deadline_in_the_past_fires_next(void **state)
{
	static struct wheel w;
	struct timer t = {0};

	wheel_init(&w, 1000 * (uint64_t)WHEEL_SLOT_NS);
	wheel_arm(&w, &t, 5);
	assert_ptr_equal(wheel_fire(&w, 1001 * (uint64_t)WHEEL_SLOT_NS), &t);
}

static void test_armed_again_counts_from_the_new_deadline(void **state)
{
	static struct wheel w;
	struct timer t = {0};

	wheel_init(&w, 0);
	wheel_arm(&w, &t, 20000000);
	wheel_arm(&w, &t, 900000000);
	assert_int_equal(w.armed, 1);
	assert_int_equal(fire_all(&w, 899999999), 0);
	assert_int_equal(fire_all(&w, 900000000 + 2 * (uint64_t)WHEEL_SLOT_NS), 1);
}

static void test_long_timers_go_round(void **state)
{
	static struct wheel w;
	struct timer t = {0};
	const uint64_t turn = (uint64_t)WHEEL_SLOTS * WHEEL_SLOT_NS;

	wheel_init(&w, 0);
	wheel_arm(&w, &t, 3 * turn + 7);
	for (uint64_t now = 0; now < 3 * turn; now += turn / 16)
		assert_int_equal(fire_all(&w, now), 0);
	assert_int_equal(fire_all(&w, 3 * turn + 7 + WHEEL_SLOT_NS), 1);
}

static void test_all_due_fire_after_a_long_sleep(void **state)
{
	static struct wheel w;
	static struct timer t[TIMERS];
	const uint64_t turn = (uint64_t)WHEEL_SLOTS * WHEEL_SLOT_NS;

	wheel_init(&w, 0);
	for (uint64_t i = 0; i < TIMERS; i++)
		wheel_arm(&w, &t[i], i * turn / 50);
	assert_int_equal(fire_all(&w, 100 * turn), TIMERS);
	assert_int_equal(w.armed, 0);
}

static void test_wait_never_oversleeps(void **state)
{
	static struct wheel w;
	struct timer t = {0};
	uint64_t random = 5;

	wheel_init(&w, 0);
	assert_int_equal(wheel_wait_ns(&w, 0, 12345), 12345);
	for (int i = 0; i < 2000; i++) {
		uint64_t now = unit_random(&random) % 1000000000u, deadline = now + unit_random(&random) % 300000000u, wait;

		wheel_init(&w, now);
		memset(&t, 0, sizeof(t));
		wheel_arm(&w, &t, deadline);
		wait = wheel_wait_ns(&w, now, 400000000);
		assert_true(now + wait <= deadline + WHEEL_SLOT_NS);
		if (wait < 400000000)
			assert_ptr_equal(wheel_fire(&w, now + wait), &t);
		else
			assert_true(deadline + WHEEL_SLOT_NS >= now + wait);
	}
}

struct model {
	struct timer timer[TIMERS];
	bool armed[TIMERS];
	uint64_t deadline[TIMERS];
};

/* Takes what fires now and compares with the model: nothing early, nothing later than a slot. */
static void model_fire(struct wheel *w, struct model *m, uint64_t now)
{
	struct timer *t;

	while ((t = wheel_fire(w, now))) {
		size_t i = (size_t)(t - m->timer);

		assert_true(i < TIMERS && m->armed[i]);
		assert_true(m->deadline[i] <= now);
		m->armed[i] = false;
	}
	for (size_t i = 0; i < TIMERS; i++)
		assert_true(!m->armed[i] || m->deadline[i] + 2 * (uint64_t)WHEEL_SLOT_NS > now);
}

static void test_random_against_a_list(void **state)
{
	static struct wheel w;
	static struct model m;
	uint64_t random = 1, now = 123456789;

	wheel_init(&w, now);
	for (int round = 0; round < 40000; round++) {
		size_t i = unit_random(&random) % TIMERS;

		switch (unit_random(&random) % 8) {
		case 0:
			wheel_cancel(&w, &m.timer[i]);
			m.armed[i] = false;
			break;
		case 1:
			now += unit_random(&random) % (unit_random(&random) % 100 ? 20000000u : 90000000000u);
			model_fire(&w, &m, now);
			break;
		default:
			m.deadline[i] = now + unit_random(&random) % (unit_random(&random) % 5 ? 100000000u : 80000000000u);
			m.armed[i] = true;
			wheel_arm(&w, &m.timer[i], m.deadline[i]);
		}
	}
	now += 200000000000u;
	model_fire(&w, &m, now);
	assert_int_equal(w.armed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fires_after_its_deadline_and_once),
		cmocka_unit_test(test_deadline_in_the_past_fires_next),
		cmocka_unit_test(test_armed_again_counts_from_the_new_deadline),
		cmocka_unit_test(test_long_timers_go_round),
		cmocka_unit_test(test_all_due_fire_after_a_long_sleep),
		cmocka_unit_test(test_wait_never_oversleeps),
		cmocka_unit_test(test_random_against_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
