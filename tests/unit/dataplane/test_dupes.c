/* SPDX-License-Identifier: Apache-2.0 */
/* test_dupes.c - what was inserted is found, the oldest gives way, and a reader beside a writer never sees a mixture. */
#include "unit.h"

#include "dupes.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static bool found_at(const struct dupes *d, uint64_t hash, uint64_t position)
{
	uint64_t at[DUPES_WAYS];
	uint32_t n = dupes_find(d, hash, at);

	assert_true(n <= DUPES_WAYS);
	while (n--)
		if (at[n] == position)
			return true;
	return false;
}

static void test_finds_what_was_inserted(void **state)
{
	struct dupes d = {.fd = -1};
	uint64_t at[DUPES_WAYS];

	assert_int_equal(dupes_create(1024, &d), 0);
	assert_int_equal(dupes_find(&d, 77, at), 0);
	dupes_insert(&d, 77, 4096);
	assert_true(found_at(&d, 77, 4096));
	assert_int_equal(dupes_find(&d, 78, at), 0);
	assert_int_equal(dupes_find(&d, 77 + 256, at), 0); /* same bucket, another hash */
	dupes_insert(&d, 77, 8192);
	assert_int_equal(dupes_find(&d, 77, at), 2);
	assert_true(found_at(&d, 77, 4096) && found_at(&d, 77, 8192));
	dupes_destroy(&d);
	assert_null(d.table);
	dupes_destroy(&d);
}

static void test_the_oldest_of_a_bucket_gives_way(void **state)
{
	struct dupes d = {.fd = -1};
	const uint64_t buckets = 1024 / DUPES_SLOTS;

	assert_int_equal(dupes_create(1024, &d), 0);
	for (uint64_t i = 1; i <= DUPES_WAYS + 3; i++)
		dupes_insert(&d, 9 + i * buckets, 1000 * i);
	for (uint64_t i = 1; i <= DUPES_WAYS + 3; i++)
		assert_int_equal(found_at(&d, 9 + i * buckets, 1000 * i), i > 3);
	dupes_destroy(&d);
}

static void test_position_zero_is_kept(void **state)
{
	struct dupes d = {.fd = -1};

	assert_int_equal(dupes_create(DUPES_SLOTS, &d), 0);
	dupes_insert(&d, 1, 0);
	assert_true(found_at(&d, 1, 0));
	dupes_destroy(&d);
}

static void test_map_of_another_core_sees_the_same(void **state)
{
	struct dupes d = {.fd = -1}, other = {.fd = -1};

	assert_int_equal(dupes_create(4096, &d), 0);
	dupes_insert(&d, 0x123456789abcdefu, 640);
	assert_int_equal(dupes_map(d.fd, &other), 0);
	assert_int_equal(other.buckets, d.buckets);
	assert_true(found_at(&other, 0x123456789abcdefu, 640));
	dupes_insert(&d, 5, 720);
	assert_true(found_at(&other, 5, 720));
	dupes_destroy(&other);
	assert_true(found_at(&d, 5, 720));
	dupes_destroy(&d);
}

static void test_unusable_memory_is_refused(void **state)
{
	struct dupes d = {.fd = -1};
	int fd = memfd_create("unit", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(dupes_map(fd, &d), -EPROTO);
	assert_int_equal(ftruncate(fd, 5 * sizeof(struct dupes_entry)), 0);
	assert_int_equal(dupes_map(fd, &d), -EPROTO);
	assert_int_equal(dupes_map(-1, &d), -EBADF);
	assert_null(d.table);
	close(fd);
}

/* One writer fills two buckets over and over with positions that follow from the hash; readers check each pair. */
struct race {
	struct dupes writer, reader;
	uint64_t stop, seen, wrong;
};

static uint64_t race_hash(uint64_t i)
{
	return (i % 23 + 1) * 64 + i % 2; /* 64 buckets: only buckets 0 and 1 */
}

static void *race_read(void *arg)
{
	struct race *r = arg;
	uint64_t random = 3, at[DUPES_WAYS];

	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		uint64_t hash = race_hash(unit_random(&random));
		uint32_t n = dupes_find(&r->reader, hash, at);

		for (uint32_t i = 0; i < n; i++) {
			r->seen++;
			if (at[i] % 4096 != hash % 4096)
				r->wrong++;
		}
	}
	return NULL;
}

static void test_a_reader_beside_the_writer_sees_no_mixture(void **state)
{
	struct race r = {.writer = {.fd = -1}, .reader = {.fd = -1}};
	pthread_t t;

	assert_int_equal(dupes_create(64 * DUPES_SLOTS, &r.writer), 0);
	assert_int_equal(dupes_map(r.writer.fd, &r.reader), 0);
	assert_int_equal(pthread_create(&t, NULL, race_read, &r), 0);
	for (uint64_t i = 0; i < 3000000; i++)
		dupes_insert(&r.writer, race_hash(i * 7), (i << 12) + race_hash(i * 7) % 4096);
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	assert_int_equal(r.wrong, 0);
	dupes_destroy(&r.reader);
	dupes_destroy(&r.writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_what_was_inserted),
		cmocka_unit_test(test_the_oldest_of_a_bucket_gives_way),
		cmocka_unit_test(test_position_zero_is_kept),
		cmocka_unit_test(test_map_of_another_core_sees_the_same),
		cmocka_unit_test(test_unusable_memory_is_refused),
		cmocka_unit_test(test_a_reader_beside_the_writer_sees_no_mixture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
