/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_connector.c - what a user of file destinations would notice, tried on the real connector process.
 *
 * The program to test is named by MILLRACE_CONNECTOR. The random seed is printed and can be given as MILLRACE_SEED.
 */
#include "side.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t seed;

static void add_mixed(struct side *s, uint16_t dest, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t r = side_random(s);

		side_message_add(s, dest, 100 + (uint32_t)(r % 50 ? r % 3000 : r % 400000));
	}
}

static void expect_all(const struct side *s, uint8_t result, uint8_t reason)
{
	for (uint32_t i = 0; i < s->messages; i++) {
		assert_int_equal(s->message[i].result, result);
		assert_int_equal(s->message[i].reason, reason);
		assert_int_equal(s->message[i].outcomes, 1);
	}
	assert_int_equal(s->wrong, 0);
}

static uint32_t entries(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	uint32_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

static void deliver_mixed(bool tail, uint8_t commit)
{
	struct side s = {.random = seed, .tail = tail, .commit = commit};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_dest_add(&s, "other", MR_FILE_HL7);
	add_mixed(&s, 0, 300);
	side_start(&s, true);
	add_mixed(&s, 1, 500);
	add_mixed(&s, 0, 500);
	side_message_add(&s, 0, 1);
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_files(&s, 0);
	side_check_files(&s, 1);
	assert_int_equal(side_metric(&s, MR_M_D_DELIVERED, 0), 801);
	assert_int_equal(side_metric(&s, MR_M_D_SENT, 1), 500);
	assert_int_equal(side_metric(&s, MR_M_D_CONNECTED, 0), 1);
	assert_int_equal(side_metric(&s, MR_M_D_DEAD, 0), 0);
	assert_int_equal(side_lane_state(&s, 0), MR_LANE_UP);
	assert_int_equal(s.troubles, 0);
	side_close(&s);
}

static void each_message_is_one_file(void **state)
{
	deliver_mixed(true, MR_COMMIT_DURABLE);
}

static void old_messages_come_from_the_segment_file(void **state)
{
	deliver_mixed(false, MR_COMMIT_DURABLE);
}

static void without_durability_nothing_else_changes(void **state)
{
	deliver_mixed(true, MR_COMMIT_OS);
}

static void large_messages_share_the_memory(void **state)
{
	struct side s = {.random = seed};

	s.segment_bytes = 0;
	side_open(&s);
	s.segment_bytes = 512u << 20;
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_start(&s, true);
	for (int i = 0; i < 12; i++)
		side_message_add(&s, 0, (10u << 20) + (uint32_t)i);
	side_message_add(&s, 0, 80u << 20); /* more than all of it: alone */
	add_mixed(&s, 0, 20);
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_files(&s, 0);
	side_close(&s);
}

/* kill -9 at any moment: afterwards every message is in exactly one file, whole, and nothing half written stays. */
static void killed_at_any_moment(void **state)
{
	struct side s = {.random = seed + 1, .tail = true};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	for (int life = 0; life < 25; life++) {
		uint64_t until;

		side_start(&s, false);
		add_mixed(&s, 0, 100);
		side_message_add(&s, 0, 500000 + (uint32_t)(side_random(&s) % 500000));
		until = side_now_ns() + side_random(&s) % 25000000u;
		while (side_now_ns() < until) {
			side_hand_out(&s);
			side_turn(&s, 0);
		}
		side_kill(&s);
		side_check_whole(&s, 0);
	}
	side_start(&s, true);
	side_finish_all(&s);
	for (uint32_t i = 0; i < s.messages; i++)
		assert_int_equal(s.message[i].result, MR_RESULT_DELIVERED);
	side_check_files(&s, 0);
	side_close(&s);
}

static void killed_with_a_batch_open(void **state)
{
	struct side s = {.random = seed + 2, .tail = true};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_interval_ns = 20000000u;
	for (int life = 0; life < 20; life++) {
		uint64_t until;

		side_start(&s, false);
		add_mixed(&s, 0, 150);
		until = side_now_ns() + side_random(&s) % 60000000u;
		while (side_now_ns() < until) {
			side_hand_out(&s);
			side_turn(&s, 1);
		}
		side_kill(&s);
	}
	side_start(&s, true);
	side_finish_all(&s);
	side_check_batches(&s, 0, &files); /* also: none of them half written, no temporary one */
	assert_true(files > 0);
	side_close(&s);
}

static void foreign_files_stay(void **state)
{
	static const char *const names[] = {"note.tmp", ".hidden", ".x.hl7.1.tmp",
	                                    "20260101T000000.000000000-0-0000000000001000.hl7"};
	struct side s = {.random = seed};
	char path[500];

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	assert_int_equal(mkdir(s.dest[0].folder, 0700), 0);
	for (size_t i = 0; i < MR_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", s.dest[0].folder, names[i]);
		assert_int_equal(close(creat(path, 0600)), 0);
	}
	snprintf(path, sizeof(path), "%s/.20260101T000000.000000000-0-0000000000001000.hl7.3.tmp", s.dest[0].folder);
	assert_int_equal(close(creat(path, 0600)), 0);
	side_start(&s, true);
	assert_int_equal(entries(s.dest[0].folder), MR_ARRAY_LEN(names)); /* only the leftover went */
	side_close(&s);
}

/* A file that the system will not let grow: tried again, and the messages behind it wait in order. */
static void too_large_a_file_uses_up_its_attempts(void **state)
{
	struct side s = {.random = seed, .fsize_max = 1u << 20};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7)->attempts_max = 3;
	side_start(&s, true);
	add_mixed(&s, 0, 5);
	side_message_add(&s, 0, 2u << 20);
	add_mixed(&s, 0, 5);
	side_finish_all(&s);
	for (uint32_t i = 0; i < s.messages; i++) {
		assert_int_equal(s.message[i].result, i == 5 ? MR_RESULT_DEAD : MR_RESULT_DELIVERED);
		assert_int_equal(s.message[i].reason, i == 5 ? MR_REASON_IO : MR_REASON_NONE);
	}
	assert_int_equal(s.message[5].attempts, 3);
	side_check_files(&s, 0);
	assert_int_equal(side_metric(&s, MR_M_D_RETRIES, 0), 2);
	assert_int_equal(s.trouble_code, 4007);
	side_wait_count(&s, &s.troubles_over, s.troubles); /* said once and over once */
	side_close(&s);
}

static uint32_t disk_fill(const char *folder)
{
	char path[500], block[4096] = {0};
	uint32_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/filler", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		n++;
	assert_int_equal(errno, ENOSPC);
	close(fd);
	return n;
}

static void full_disk(uint8_t format)
{
	struct side s = {.random = seed};
	char filler[500];
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "archive", format);
	side_dest_add(&s, "healthy", MR_FILE_HL7);
	assert_int_equal(mkdir(s.dest[0].folder, 0700), 0);
	/* In a mount namespace of its own: whatever happens, nothing stays mounted. */
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("millrace-test", s.dest[0].folder, "tmpfs", 0, "size=4m") < 0) {
		assert_int_equal(errno, EPERM);
		side_close(&s);
		skip(); /* needs the right to mount */
	}
	disk_fill(s.dest[0].folder);
	side_start(&s, true);
	for (int i = 0; i < 400; i++)
		side_message_add(&s, i % 2, 2000);
	side_wait_count(&s, &s.troubles, 1);
	assert_non_null(strstr(s.trouble_text, "No space left on device"));
	while (side_unfinished(&s) > 200) { /* the other destination goes on */
		side_hand_out(&s);
		side_turn(&s, 20);
	}
	assert_int_equal(side_lane_state(&s, 0), MR_LANE_BACKOFF);
	assert_int_equal(s.troubles, 1);
	assert_int_equal(s.troubles_over, 0);
	snprintf(filler, sizeof(filler), "%s/filler", s.dest[0].folder);
	assert_int_equal(unlink(filler), 0);
	side_finish_all(&s);
	side_wait_count(&s, &s.troubles_over, 1);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_files(&s, 1);
	if (format == MR_FILE_HL7)
		side_check_files(&s, 0);
	else
		side_check_batches(&s, 0, &files);
	side_kill(&s);
	assert_int_equal(umount(s.dest[0].folder), 0);
	side_close(&s);
}

static void full_disk_waits_and_goes_on(void **state)
{
	full_disk(MR_FILE_HL7);
}

static void full_disk_under_a_batch(void **state)
{
	full_disk(MR_FILE_BATCH);
}

static void a_missing_folder_is_made_and_made_again(void **state)
{
	struct side s = {.random = seed};
	char moved[400];

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_start(&s, true);
	add_mixed(&s, 0, 10);
	side_finish_all(&s);
	side_check_files(&s, 0);
	snprintf(moved, sizeof(moved), "%s/moved", s.root);
	assert_int_equal(rename(s.dest[0].folder, moved), 0);
	s.messages = 0;
	add_mixed(&s, 0, 10);
	side_finish_all(&s);
	side_check_files(&s, 0);
	assert_int_equal(entries(moved), 10);
	side_close(&s);
}

static void a_folder_that_cannot_be_made_is_waited_for(void **state)
{
	struct side s = {.random = seed};
	char parent[400];

	side_open(&s);
	side_dest_add(&s, "in/archive", MR_FILE_HL7);
	side_start(&s, true); /* one bad destination does not keep the hub from starting */
	add_mixed(&s, 0, 30);
	side_wait_count(&s, &s.troubles, 1);
	assert_int_equal(side_metric(&s, MR_M_D_CONNECTED, 0), 0);
	snprintf(parent, sizeof(parent), "%s/in", s.root);
	assert_int_equal(mkdir(parent, 0700), 0);
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_files(&s, 0);
	side_wait_count(&s, &s.troubles_over, 1);
	side_close(&s);
}

static void unreadable_messages_are_dead_letters(void **state)
{
	struct side s = {.random = seed};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_dest_add(&s, "batches", MR_FILE_BATCH);
	side_start(&s, true);
	for (int i = 0; i < 40; i++)
		side_message_add(&s, i % 2, 1000);
	side_damage(&s, &s.message[10]);
	side_damage(&s, &s.message[11]);
	side_finish_all(&s);
	for (uint32_t i = 0; i < s.messages; i++) {
		bool bad = i == 10 || i == 11;

		assert_int_equal(s.message[i].result, bad ? MR_RESULT_DEAD : MR_RESULT_DELIVERED);
		assert_int_equal(s.message[i].reason, bad ? MR_REASON_UNREADABLE : MR_REASON_NONE);
	}
	side_check_files(&s, 0);
	side_check_batches(&s, 1, &(uint32_t){0});
	side_wait_count(&s, &s.troubles, 2);
	assert_int_equal(s.trouble_code, 3006);
	side_close(&s);
}

static void batches_are_closed_by_number_and_by_time(void **state)
{
	struct side s = {.random = seed};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_messages = 50;
	side_start(&s, true);
	add_mixed(&s, 0, 230);
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_batches(&s, 0, &files);
	assert_int_equal(files, 5); /* four full ones, and the rest when its time is over */
	for (uint32_t i = 0; i < s.messages; i++)
		assert_int_equal(s.message[i].outcomes, 1);
	side_close(&s);
}

/* A worker hands out so many messages and then waits: a batch of more than that must not wait for the interval. */
static void a_batch_larger_than_the_credit_does_not_wait(void **state)
{
	struct side s = {.random = seed};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_messages = 20000;
	s.dest[0].cfg.batch_interval_ns = 3600000000000u;
	side_start(&s, true);
	add_mixed(&s, 0, mr_config_credit(&s.dest[0].cfg));
	side_finish_all(&s);
	side_check_batches(&s, 0, &files);
	assert_true(files >= 1);
	side_close(&s);
}

static void paused_destinations_start_nothing(void **state)
{
	struct side s = {.random = seed};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7)->paused = 1;
	side_dest_add(&s, "other", MR_FILE_HL7);
	side_start(&s, true);
	for (int i = 0; i < 100; i++)
		side_message_add(&s, i % 2, 500);
	while (side_unfinished(&s) > 50) {
		side_hand_out(&s);
		side_turn(&s, 20);
	}
	assert_int_equal(side_lane_state(&s, 0), MR_LANE_PAUSED);
	assert_int_equal(entries(s.dest[0].folder), 0);
	side_say(&s, MR_LINK_RESUME, 0);
	side_finish_all(&s);
	assert_int_equal(s.done, 1);
	side_check_files(&s, 0);
	side_say(&s, MR_LINK_PAUSE, 1);
	side_wait_count(&s, &s.done, 2);
	side_message_add(&s, 1, 500);
	side_message_add(&s, 0, 500);
	while (side_unfinished(&s) > 1) {
		side_hand_out(&s);
		side_turn(&s, 20);
	}
	assert_int_equal(s.message[100].result, MR_RESULT_NONE);
	side_close(&s);
}

static void drain_finishes_what_was_taken(void **state)
{
	struct side s = {.random = seed};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_interval_ns = 3600000000000u;
	side_dest_add(&s, "asleep", MR_FILE_HL7)->paused = 1;
	side_start(&s, true);
	for (int i = 0; i < 60; i++)
		side_message_add(&s, i % 3, 500);
	side_hand_out(&s);
	while (side_metric(&s, MR_M_D_DELIVERED, 0) < 20 || side_metric(&s, MR_M_D_OUTSTANDING, 1) < 20)
		side_turn(&s, 1);
	side_say(&s, MR_LINK_DRAIN, 0);
	side_wait(&s, &s.drained);
	assert_int_equal(side_wait_exit(&s), 0);
	side_turn(&s, 0);
	for (uint32_t i = 0; i < s.messages; i++)
		assert_int_equal(s.message[i].result, i % 3 == 2 ? MR_RESULT_RETURNED : MR_RESULT_DELIVERED);
	side_check_files(&s, 0);
	side_check_batches(&s, 1, &files);
	assert_int_equal(files, 1);
	side_close(&s);
}

static void the_control_process_may_die_and_come_back(void **state)
{
	struct side s = {.random = seed};

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_start(&s, true);
	add_mixed(&s, 0, 50);
	side_finish_all(&s);
	side_link_cut(&s);
	add_mixed(&s, 0, 300);
	side_finish_all(&s); /* nobody is there, and the work goes on */
	side_link_accept(&s);
	assert_int_equal(s.hello.u.hello.adopt, 1);
	assert_int_equal(s.hello.u.hello.generation, 1);
	assert_int_equal(s.hello.u.hello.incarnation, 1);
	assert_true(s.hello.u.hello.state >= MR_STATE_READY);
	add_mixed(&s, 0, 50);
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_files(&s, 0);
	side_close(&s);
}

/* The worker dies and comes back, again and again: it hears nothing about entries of its former life. */
static void workers_come_and_go(void **state)
{
	struct side s = {.random = seed + 3, .tail = true};
	uint32_t files, twice = 0;

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_dest_add(&s, "batches", MR_FILE_BATCH);
	side_start(&s, true);
	for (int life = 0; life < 40; life++) {
		for (int i = 0; i < 60; i++)
			side_message_add(&s, i % 2, 300);
		side_hand_out(&s);
		side_turn(&s, (int)(side_random(&s) % 5));
		side_rings_new(&s);
	}
	side_finish_all(&s);
	assert_int_equal(s.wrong, 0);
	side_check_files(&s, 0);
	side_check_batches(&s, 1, &files);
	for (uint32_t i = 1; i < s.messages; i += 2)
		twice += s.message[i].outcomes > 1;
	/* A file that was finished while its outcomes were on their way is the only way to see a message again. */
	assert_true(twice <= files * 100);
	side_close(&s);
}

/* The worker dies while its messages stand in an open batch: handed out anew, they are not written again. */
static void an_open_batch_outlives_its_worker(void **state)
{
	struct side s = {.random = seed};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_interval_ns = 3600000000000u;
	side_start(&s, true);
	add_mixed(&s, 0, 60);
	side_hand_out(&s);
	while (side_metric(&s, MR_M_D_SENT, 0) < 60)
		side_turn(&s, 1);
	side_rings_new(&s);
	add_mixed(&s, 0, 40); /* fills it */
	side_finish_all(&s);
	expect_all(&s, MR_RESULT_DELIVERED, MR_REASON_NONE);
	side_check_batches(&s, 0, &files);
	assert_int_equal(files, 1);
	side_close(&s);
}

/* What a worker's former life handed out is finished, and its new life hears nothing of it. */
static void a_new_worker_hears_nothing_of_the_old_one(void **state)
{
	struct side s = {.random = seed};
	uint32_t files;

	side_open(&s);
	side_dest_add(&s, "batches", MR_FILE_BATCH)->batch_interval_ns = 3600000000000u;
	side_start(&s, true);
	add_mixed(&s, 0, 60);
	side_hand_out(&s);
	while (side_metric(&s, MR_M_D_SENT, 0) < 60)
		side_turn(&s, 1);
	side_rings_new(&s);
	for (uint32_t i = 0; i < 60; i++)
		s.message[i].result = MR_RESULT_DELIVERED; /* settled otherwise: not handed out again */
	add_mixed(&s, 0, 40);
	side_finish_all(&s);
	assert_int_equal(s.wrong, 0);
	side_check_batches(&s, 0, &files);
	assert_int_equal(files, 1);
	assert_int_equal(side_metric(&s, MR_M_D_DELIVERED, 0), 100);
	side_close(&s);
}

static void nobody_else_may_read_what_it_shows(void **state)
{
	struct side s = {.random = seed};
	char path[400], log[4096];
	struct stat st;
	int fd, n;

	side_open(&s);
	side_dest_add(&s, "archive", MR_FILE_HL7);
	side_start(&s, true);
	add_mixed(&s, 0, 10);
	side_finish_all(&s);
	assert_int_equal(stat(s.dest[0].folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	snprintf(path, sizeof(path), "%s/connector-file.region", s.run);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	while ((n = (int)read(fd, log, sizeof(log))) > 0)
		assert_null(memmem(log, (size_t)n, "MSH|", 4));
	close(fd);
	side_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_message_is_one_file),
	    cmocka_unit_test(old_messages_come_from_the_segment_file),
	    cmocka_unit_test(without_durability_nothing_else_changes),
	    cmocka_unit_test(large_messages_share_the_memory),
	    cmocka_unit_test(killed_at_any_moment),
	    cmocka_unit_test(killed_with_a_batch_open),
	    cmocka_unit_test(foreign_files_stay),
	    cmocka_unit_test(too_large_a_file_uses_up_its_attempts),
	    cmocka_unit_test(full_disk_waits_and_goes_on),
	    cmocka_unit_test(full_disk_under_a_batch),
	    cmocka_unit_test(a_missing_folder_is_made_and_made_again),
	    cmocka_unit_test(a_folder_that_cannot_be_made_is_waited_for),
	    cmocka_unit_test(unreadable_messages_are_dead_letters),
	    cmocka_unit_test(batches_are_closed_by_number_and_by_time),
	    cmocka_unit_test(a_batch_larger_than_the_credit_does_not_wait),
	    cmocka_unit_test(paused_destinations_start_nothing),
	    cmocka_unit_test(drain_finishes_what_was_taken),
	    cmocka_unit_test(the_control_process_may_die_and_come_back),
	    cmocka_unit_test(workers_come_and_go),
	    cmocka_unit_test(an_open_batch_outlives_its_worker),
	    cmocka_unit_test(a_new_worker_hears_nothing_of_the_old_one),
	    cmocka_unit_test(nobody_else_may_read_what_it_shows),
	};
	const char *given = getenv("MILLRACE_SEED");
	const char *filter = getenv("MILLRACE_TEST_FILTER");

	umask(022);
	signal(SIGPIPE, SIG_IGN);
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("# MILLRACE_SEED=%llu\n", (unsigned long long)seed);
	if (filter)
		cmocka_set_test_filter(filter);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
