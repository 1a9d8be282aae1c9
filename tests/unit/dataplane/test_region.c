/* SPDX-License-Identifier: Apache-2.0 */
/* test_region.c - what a process counts is what another one reads; a damaged or foreign file is refused, never followed. */
#include "unit.h"

#include "image.h"
#include "mr_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[96];

static int setup(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/millrace-unit-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/worker-3.region", folder);
	return 0;
}

static int teardown(void **state)
{
	char temp[128];

	snprintf(temp, sizeof(temp), "%s.new", path);
	unlink(temp);
	unlink(path);
	return rmdir(folder);
}

static const struct mr_metric_desc *metric(const struct mr_region *r, enum mr_metric m)
{
	return mr_region_metric(r, (uint32_t)m);
}

static void test_reader_sees_what_the_writer_counts(void **state)
{
	struct image img;
	struct mr_region_writer w = {0};
	const struct mr_region *r = NULL;
	size_t bytes = 0;

	image_init(&img);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 11, &img.c, &w), 0);
	assert_int_equal(mr_region_open(path, &r, &bytes), 0);
	assert_int_equal(r->kind, MR_KIND_WORKER);
	assert_int_equal(r->index, 3);
	assert_int_equal(r->incarnation, 11);
	assert_int_equal(r->generation, 7);
	assert_int_equal(r->pid, getpid());
	assert_string_equal(mr_region_name(r, MR_SCOPE_LISTENER, 1), "in-1");
	assert_string_equal(mr_region_name(r, MR_SCOPE_DEST, 2), "out-2");
	assert_int_equal(mr_region_items(r, MR_SCOPE_DEST), 3);
	assert_int_equal(r->lane_count, 6);
	for (uint32_t i = 0; i < 2; i++)
		mr_count_listener(&w, MR_M_L_RECEIVED, i, 100 + i);
	mr_count_listener(&w, MR_M_L_RECEIVED, 1, 5);
	mr_gauge_dest(&w, MR_M_D_QUEUE, 2, 77);
	mr_count_worker(&w, MR_M_W_LOOPS, 9);
	assert_int_equal(*mr_region_words(r, metric(r, MR_M_L_RECEIVED), 0), 100);
	assert_int_equal(*mr_region_words(r, metric(r, MR_M_L_RECEIVED), 1), 106);
	assert_int_equal(*mr_region_words(r, metric(r, MR_M_D_QUEUE), 2), 77);
	assert_int_equal(*mr_region_words(r, metric(r, MR_M_D_QUEUE), 1), 0);
	assert_int_equal(*mr_region_words(r, metric(r, MR_M_W_LOOPS), 0), 9);
	mr_region_unmap(r, bytes);
	mr_region_close(&w);
	assert_null(w.region);
}

/* Every value of every metric of every item has words of its own. */
static void test_no_two_values_share_a_word(void **state)
{
	struct image img;
	struct mr_region_writer w = {0};
	uint64_t mark = 0, seen = 0;

	image_init(&img);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 1, &img.c, &w), 0);
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t m = 0; m < MR_METRICS; m++) {
			const struct mr_metric_desc *d = mr_region_metric(w.region, m);

			for (uint32_t item = 0; item < mr_region_items(w.region, d->scope); item++)
				for (uint32_t k = 0; k < d->words; k++) {
					uint64_t *v = mr_region_value(&w, (enum mr_metric)m, d->scope, item) + k;

					assert_true((char *)(v + 1) <= (char *)w.region + w.bytes);
					assert_ptr_equal(v, mr_region_words(w.region, d, item) + k);
					if (pass == 0)
						*v = ++mark;
					else
						assert_int_equal(*v, ++seen);
				}
		}
	assert_int_equal(mark, seen);
	mr_region_close(&w);
}

static void test_a_new_region_leaves_the_old_one_to_its_readers(void **state)
{
	struct image img;
	struct mr_region_writer a = {0}, b = {0};
	const struct mr_region *old = NULL, *now = NULL;
	size_t old_bytes, now_bytes;

	image_init(&img);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 1, &img.c, &a), 0);
	mr_count_worker(&a, MR_M_W_LOOPS, 5);
	assert_int_equal(mr_region_open(path, &old, &old_bytes), 0);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 2, &img.c, &b), 0);
	assert_int_equal(mr_region_open(path, &now, &now_bytes), 0);
	assert_int_equal(old->incarnation, 1);
	assert_int_equal(now->incarnation, 2);
	assert_int_equal(*mr_region_words(old, metric(old, MR_M_W_LOOPS), 0), 5);
	assert_int_equal(*mr_region_words(now, metric(now, MR_M_W_LOOPS), 0), 0);
	mr_region_unmap(old, old_bytes);
	mr_region_unmap(now, now_bytes);
	mr_region_close(&a);
	mr_region_close(&b);
}

static void spoil(uint64_t offset, const void *bytes, size_t n)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), n);
	close(fd);
}

static void assert_refused(void)
{
	const struct mr_region *r = NULL;
	size_t bytes = 0;

	assert_int_equal(mr_region_open(path, &r, &bytes), -EPROTO);
	assert_null(r);
}

static void make_region(void)
{
	struct image img;
	struct mr_region_writer w = {0};

	image_init(&img);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 1, &img.c, &w), 0);
	mr_region_close(&w);
}

#define SPOIL(field, value) do { \
		__typeof__(((struct mr_region *)0)->field) v_ = (value); \
		make_region(); \
		spoil(offsetof(struct mr_region, field), &v_, sizeof(v_)); \
		assert_refused(); \
	} while (0)

static void test_damaged_files_are_refused(void **state)
{
	const struct mr_region *r = NULL;
	uint32_t huge = 0x7ffffff0;
	size_t bytes;

	SPOIL(magic, 1);
	SPOIL(version, MR_REGION_VERSION + 1);
	SPOIL(version, 0); /* not finished yet */
	SPOIL(bytes, 4096);
	SPOIL(metric_count, huge);
	SPOIL(listener_count, huge);
	SPOIL(dest_count, 100000);
	SPOIL(lane_count, huge);
	SPOIL(metrics_offset, huge);
	SPOIL(listeners_offset, huge);
	SPOIL(dests_offset, huge);
	SPOIL(lanes_offset, huge);
	SPOIL(lane_first_offset, huge);
	SPOIL(errors_offset, huge);
	SPOIL(values_offset, huge);
	make_region();
	spoil(offsetof(struct mr_region, row_first) + 8, &huge, 4);
	assert_refused();
	make_region();
	assert_int_equal(mr_region_open(path, &r, &bytes), 0); /* the same file unspoilt is fine */
	mr_region_unmap(r, bytes);
	assert_int_equal(truncate(path, 100), 0);
	assert_refused();
	assert_int_equal(truncate(path, 0), 0);
	assert_refused();
	unlink(path);
	assert_int_equal(mr_region_open(path, &r, &bytes), -ENOENT);
}

/* Random damage of the header: it is refused, or every word of it can be read. */
static void test_no_damage_leads_outside(void **state)
{
	uint64_t random = 2026;
	uint32_t opened = 0;

	for (int round = 0; round < 400; round++) {
		const struct mr_region *r = NULL;
		size_t bytes = 0;
		uint64_t v = unit_random(&random);

		make_region();
		spoil(unit_random(&random) % (sizeof(struct mr_region) + 400), &v, 1 + unit_random(&random) % 4);
		if (mr_region_open(path, &r, &bytes) < 0)
			continue;
		opened++;
		for (uint32_t m = 0; m < r->metric_count; m++) {
			const struct mr_metric_desc *d = mr_region_metric(r, m);
			uint32_t items = mr_region_items(r, d->scope);

			if (items) {
				const char *last = (const char *)(mr_region_words(r, d, items - 1) + d->words);

				assert_true(last <= (const char *)r + bytes);
			}
		}
		mr_region_unmap(r, bytes);
	}
	assert_true(opened > 0 && opened < 400);
	make_region(); /* teardown removes it */
}

static void test_errors_are_counted_once_per_kind(void **state)
{
	struct image img;
	struct mr_region_writer w = {0};
	uint64_t all = 0;

	image_init(&img);
	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 3, 1, &img.c, &w), 0);
	for (uint64_t i = 0; i < 10; i++)
		mr_region_error(&w, 4001, 2, -ECONNREFUSED, 1000 + i);
	mr_region_error(&w, 4001, 1, -ECONNREFUSED, 2000);
	for (uint32_t i = 0; i < MR_ERRORS_MAX; i++) {
		const struct mr_error_info *e = &w.errors[i];

		all += e->count;
		if (e->count && e->item == 2) {
			assert_int_equal(e->count, 10);
			assert_int_equal(e->first_ns, 1000);
			assert_int_equal(e->last_ns, 1009);
			assert_int_equal(e->arg, -ECONNREFUSED);
		}
	}
	assert_int_equal(all, 11);
	for (uint32_t i = 0; i < MR_ERRORS_MAX; i++) /* more kinds than slots: the oldest go */
		mr_region_error(&w, 5000 + i, 0, 0, 3000 + i);
	for (uint32_t i = 0; i < MR_ERRORS_MAX; i++) {
		assert_true(w.errors[i].code >= 5000);
		assert_int_equal(w.errors[i].count, 1);
	}
	mr_region_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reader_sees_what_the_writer_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_two_values_share_a_word, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_new_region_leaves_the_old_one_to_its_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_files_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_damage_leads_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_are_counted_once_per_kind, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
