/* SPDX-License-Identifier: Apache-2.0 */
/* test_control.c - the parts of the control process that need no processes: waits, log lines, totals, state, images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backoff.h"
#include "config.h"
#include "image.h"
#include "log.h"
#include "resolve.h"
#include "store.h"
#include "totals.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/millrace-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static char *in_folder(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* ---- waits between restarts ---- */

static void waits_double_up_to_ten_seconds(void **state)
{
	struct backoff b = {0};
	uint64_t want = 100000000;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(backoff_next(&b, 1), want);
		want = want * 2 < 10000000000ull ? want * 2 : 10000000000ull;
	}
}

static void a_healthy_life_forgets_the_waits(void **state)
{
	struct backoff b = {0};

	for (int i = 0; i < 10; i++)
		backoff_next(&b, 0);
	assert_int_equal(backoff_next(&b, BACKOFF_HEALTHY_NS), BACKOFF_FIRST_NS);
	assert_int_equal(backoff_next(&b, 0), 2 * BACKOFF_FIRST_NS);
}

/* ---- log lines ---- */

static void every_line_is_one_json_object(void **state)
{
	const struct log_about about = {.process = "worker-\"1\"\\", .item = "e\nhr", .pid = 77, .count = 3};
	char line[2048];
	json_t *o;

	log_render_json(line, sizeof(line), 1700000000123456789ull, LOG_PROCESS_DIED, &about,
	                "a \"quote\", a \\ and\r\na tab\t");
	assert_null(strchr(line, '\n'));
	o = json_loads(line, 0, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "time")), "2023-11-14T22:13:20.123456Z");
	assert_string_equal(json_string_value(json_object_get(o, "level")), "error");
	assert_string_equal(json_string_value(json_object_get(o, "code")), "MR5002");
	assert_string_equal(json_string_value(json_object_get(o, "text")), "a \"quote\", a \\ and  a tab ");
	assert_string_equal(json_string_value(json_object_get(o, "item")), "e hr");
	assert_int_equal(json_integer_value(json_object_get(o, "pid")), 77);
	assert_int_equal(json_integer_value(json_object_get(o, "count")), 3);
	json_decref(o);
}

static void odd_bytes_of_a_path_do_not_break_a_line(void **state)
{
	char line[2048];
	json_t *o;

	log_render_json(line, sizeof(line), 0, LOG_FOLDER_FAILED, NULL,
	                "/tmp/gr\303\274n/\xff\xc3/\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82");
	o = json_loads(line, 0, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "text")),
	                    "/tmp/gr\303\274n/?\?/?\?\?\xf0\x9f\x98\x80?\?");
	json_decref(o);
}

static void lines_for_people_name_what_it_is_about_once(void **state)
{
	const struct log_about about = {.process = "worker-0", .item = "ehr"};
	char line[2048];

	assert_string_equal(log_render_text(line, sizeof(line), 0, LOG_DESTINATION_DOWN, &about, "refused"),
	                    "millrace: warning[MR4001]: worker-0: ehr: refused");
	assert_string_equal(
	    log_render_text(line, sizeof(line), 0, LOG_DESTINATION_DOWN, &about, "destination ehr: refused"),
	    "millrace: warning[MR4001]: worker-0: destination ehr: refused");
	assert_string_equal(log_render_text(line, sizeof(line), 0, LOG_READY, NULL, "ready\nnow"),
	                    "millrace: ready now");
}

static void codes_are_in_order_and_explained(void **state)
{
	static const uint32_t codes[] = {
#define MR_CODE(id, number, level, text, means, action) number,
#include "errors.def"
#undef MR_CODE
	};
	const char *means, *action;
	int level;

	for (size_t i = 0; i < MR_ARRAY_LEN(codes); i++) {
		if (i)
			assert_true(codes[i] > codes[i - 1]);
		assert_true(codes[i] >= 2000 && codes[i] < 7000);
		assert_true(strlen(log_code_text(codes[i], &level, &means, &action)) > 3);
		assert_true(strlen(means) > 3 && strlen(action) > 3);
	}
	assert_null(log_code_text(9999, &level, &means, &action));
}

/* ---- totals ---- */

static struct mr_config *test_config(size_t *ret_bytes)
{
	struct config_report report = {0};
	struct config *c;
	void *image;
	FILE *f = fopen(in_folder("hub.yaml"), "w");
	const char *path = in_folder("hub.yaml");

	assert_non_null(f);
	fprintf(f,
	        "data: %s/data\nrun: %s/run\nworkers: 2\nlisteners: { a: { port: 2001 }, b: { port: 2002 } }\n"
	        "destinations: { x: { mllp: \"h:1\", connections: 3 }, y: { mllp: \"h:2\" } }\n"
	        "routes: [ { from: a, to: [x, y] }, { from: b, to: x } ]\n",
	        folder, folder);
	fclose(f);
	assert_int_equal(config_load(&path, 1, NULL, &c, &report), 0);
	assert_int_equal(config_image(c, 1, &image, ret_bytes), 0);
	config_free(c);
	config_report_free(&report);
	return image;
}

static void totals_add_up_what_processes_counted(void **state)
{
	struct mr_region_writer w[2];
	const struct mr_region *r[2];
	struct totals *t = totals_new(2, 2);
	size_t bytes, mapped[2];
	struct mr_config *cfg = test_config(&bytes);

	for (int i = 0; i < 2; i++) {
		char name[32];

		snprintf(name, sizeof(name), "worker-%d.region", i);
		assert_int_equal(mr_region_create(in_folder(name), MR_KIND_WORKER, (uint32_t)i, 1, cfg, &w[i]), 0);
		assert_int_equal(mr_region_open(in_folder(name), &r[i], &mapped[i]), 0);
		mr_count_listener(&w[i], MR_M_L_RECEIVED, 1, 10 + (uint64_t)i);
		mr_count_dest(&w[i], MR_M_D_DELIVERED, 1, 5);
		mr_gauge_dest(&w[i], MR_M_D_QUEUE, 0, 7);
		mr_gauge_dest(&w[i], MR_M_D_OUTSTANDING, 0, 2);
		mr_gauge_worker(&w[i], MR_M_W_JOURNAL_BYTES, 100);
		mr_hist_record(mr_region_value(&w[i], MR_M_L_ACK_LATENCY, MR_SCOPE_LISTENER, 0), 5000);
		totals_add_region(t, r[i], TOTALS_GROWING | TOTALS_GAUGES);
	}
	assert_int_equal(*totals_value(t, MR_M_L_RECEIVED, 1), 21);
	assert_int_equal(*totals_value(t, MR_M_L_RECEIVED, 0), 0);
	assert_int_equal(*totals_value(t, MR_M_D_DELIVERED, 1), 10);
	assert_int_equal(*totals_value(t, MR_M_D_QUEUE, 0), 14);
	assert_int_equal(*totals_value(t, MR_M_W_JOURNAL_BYTES, 0), 200);
	assert_int_equal(totals_value(t, MR_M_L_ACK_LATENCY, 0)[mr_hist_bucket(5000)], 2);
	assert_int_equal(totals_value(t, MR_M_L_ACK_LATENCY, 0)[MR_HIST_BUCKETS], 10000);

	totals_clear(t); /* of a dead process only what its journal holds is still true */
	totals_add_region(t, r[0], TOTALS_QUEUES);
	assert_int_equal(*totals_value(t, MR_M_D_QUEUE, 0), 7);
	assert_int_equal(*totals_value(t, MR_M_D_OUTSTANDING, 0), 0);
	assert_int_equal(*totals_value(t, MR_M_L_RECEIVED, 1), 0);
	for (int i = 0; i < 2; i++) {
		mr_region_unmap(r[i], mapped[i]);
		mr_region_close(&w[i]);
	}
	totals_free(t);
	free(cfg);
}

static void totals_of_a_smaller_region_stay_inside(void **state)
{
	struct totals *t = totals_new(1, 1);
	struct mr_region_writer w;
	const struct mr_region *r;
	size_t bytes, mapped;
	struct mr_config *cfg = test_config(&bytes);

	assert_int_equal(mr_region_create(in_folder("w.region"), MR_KIND_WORKER, 0, 1, cfg, &w), 0);
	assert_int_equal(mr_region_open(in_folder("w.region"), &r, &mapped), 0);
	mr_count_listener(&w, MR_M_L_RECEIVED, 0, 1);
	mr_count_listener(&w, MR_M_L_RECEIVED, 1, 1000);
	totals_add_region(t, r, TOTALS_GROWING | TOTALS_GAUGES);
	assert_int_equal(*totals_value(t, MR_M_L_RECEIVED, 0), 1);
	mr_region_unmap(r, mapped);
	mr_region_close(&w);
	totals_free(t);
	free(cfg);
}

/* ---- durable state ---- */

static void pauses_and_generations_are_kept(void **state)
{
	struct store *s;
	uint64_t g;

	assert_int_equal(store_open(folder, &s), 0);
	assert_int_equal(store_paused(s, "ehr"), -1);
	assert_int_equal(store_set_paused(s, "ehr", true), 0);
	assert_int_equal(store_set_paused(s, "it's \"odd\"", false), 0);
	assert_int_equal(store_generation(s, UINT64_MAX, &g), 0);
	assert_int_equal(g, 1);
	store_close(s);

	assert_int_equal(store_open(folder, &s), 0);
	assert_int_equal(store_paused(s, "ehr"), 1);
	assert_int_equal(store_paused(s, "it's \"odd\""), 0);
	assert_int_equal(store_generation(s, UINT64_MAX, &g), 0);
	assert_int_equal(g, 1);
	assert_int_equal(store_generation(s, 7, &g), 0);
	assert_int_equal(g, 2);
	store_close(s);
}

/* ---- the image ---- */

static void an_image_is_read_back_whole_or_not_at_all(void **state)
{
	size_t bytes, got;
	struct mr_config *cfg = test_config(&bytes);
	void *back = NULL;

	assert_int_equal(image_read(folder, &back, &got), -ENOENT);
	assert_int_equal(image_save(folder, cfg, bytes), 0);
	assert_int_equal(image_read(folder, &back, &got), 0);
	assert_int_equal(got, bytes);
	assert_memory_equal(back, cfg, bytes);
	free(back);
	back = NULL;
	assert_int_equal(truncate(in_folder(IMAGE_FILE), (off_t)bytes / 2), 0);
	assert_int_equal(image_read(folder, &back, &got), -EINVAL);
	assert_null(back);
	free(cfg);
}

static void nobody_can_change_a_sealed_image(void **state)
{
	size_t bytes;
	struct mr_config *cfg = test_config(&bytes);
	int fd = image_seal(cfg, bytes);
	void *p;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_ptr_equal(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mr_config_check(p, bytes), 0);
	munmap(p, bytes);
	close(fd);
	free(cfg);
}

static void folders_are_made_with_their_parents(void **state)
{
	struct stat st;

	assert_int_equal(image_folder(in_folder("a/b/c")), 0);
	assert_int_equal(stat(in_folder("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07, 0);
	assert_int_equal(image_folder(in_folder("a/b/c")), 0);
	close(open(in_folder("file"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(image_folder(in_folder("file")), -ENOTDIR);
	assert_int_equal(image_folder(in_folder("file/x")), -ENOTDIR);
}

/* ---- names ---- */

static void numeric_addresses_need_no_resolver(void **state)
{
	struct mr_link_addr a[MR_LINK_ADDRS_MAX];
	uint32_t n = 0;

	assert_int_equal(resolve_addresses("192.0.2.7", true, a, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(a[0].family, AF_INET);
	assert_memory_equal(a[0].bytes, ((uint8_t[]){192, 0, 2, 7}), 4);
	assert_int_equal(resolve_addresses("2001:db8::1", true, a, &n), 0);
	assert_int_equal(a[0].family, AF_INET6);
	assert_int_equal(a[0].bytes[15], 1);
	assert_int_equal(resolve_addresses("a name", true, a, &n), EAI_NONAME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(waits_double_up_to_ten_seconds),
	    cmocka_unit_test(a_healthy_life_forgets_the_waits),
	    cmocka_unit_test(every_line_is_one_json_object),
	    cmocka_unit_test(odd_bytes_of_a_path_do_not_break_a_line),
	    cmocka_unit_test(lines_for_people_name_what_it_is_about_once),
	    cmocka_unit_test(codes_are_in_order_and_explained),
	    cmocka_unit_test_setup_teardown(totals_add_up_what_processes_counted, make_folder, drop_folder),
	    cmocka_unit_test_setup_teardown(totals_of_a_smaller_region_stay_inside, make_folder, drop_folder),
	    cmocka_unit_test_setup_teardown(pauses_and_generations_are_kept, make_folder, drop_folder),
	    cmocka_unit_test_setup_teardown(an_image_is_read_back_whole_or_not_at_all, make_folder, drop_folder),
	    cmocka_unit_test_setup_teardown(nobody_can_change_a_sealed_image, make_folder, drop_folder),
	    cmocka_unit_test_setup_teardown(folders_are_made_with_their_parents, make_folder, drop_folder),
	    cmocka_unit_test(numeric_addresses_need_no_resolver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
