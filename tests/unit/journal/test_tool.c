/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tool.c - `millrace journal verify|dump`, the real program, on journals that are whole, crashed and damaged.
 *
 * MILLRACE names the program.
 */
#include "rig.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static char output[1 << 20];

/* Runs the program; returns its exit status. */
static int run(const char *verb, const struct rig *r, const char *more)
{
	const char *program = getenv("MILLRACE");
	char command[600];
	size_t n;
	FILE *f;
	int status;

	assert_non_null(program);
	snprintf(command, sizeof(command), "%s journal %s %s %s 2>&1", program, verb, r->folder, more);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = 0;
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void has(const char *text)
{
	if (!strstr(output, text))
		fail_msg("\"%s\" is not in: %s", text, output);
}

static void fill(struct rig *r, uint64_t seed)
{
	rig_init(r, seed);
	assert_int_equal(rig_open(r, false), 0);
	for (int i = 0; i < 60; i++) {
		while (!rig_put(r, 40000, 5))
			rig_turn(r);
		rig_turn(r);
	}
	assert_true(rig_outcome(r, &r->put.m[2], 0, MR_RESULT_DELIVERED));
	assert_true(rig_outcome(r, &r->put.m[3], 1, MR_RESULT_DEAD));
}

static void a_whole_journal(void **state)
{
	struct rig r;
	char text[64];

	fill(&r, 1);
	rig_settle(&r);
	rig_close(&r);
	assert_int_equal(run("verify", &r, ""), 0);
	has("60 messages");
	has("2 outcomes");
	has("0 damaged places");
	assert_int_equal(run("verify", &r, "--json"), 0);
	has("\"messages\": 60");
	has("\"payload_bytes\": 2400000");
	assert_int_equal(run("dump", &r, ""), 0);
	has(" start argument=");
	has(" stop argument=");
	has("to=a,c");
	snprintf(text, sizeof(text), "%llu:a=delivered", (unsigned long long)r.put.m[2].position);
	has(text);
	assert_int_equal(run("dump", &r, "--jsonl"), 0);
	has("\"to\":[\"a\",\"c\"]");
	rig_free(&r);
}

static void one_message_to_a_file(void **state)
{
	struct rig r;
	char more[300], path[128];
	char *want = malloc(40008), *got = malloc(50000);
	int fd;

	fill(&r, 2);
	rig_settle(&r);
	rig_close(&r);
	rig_path(&r, "payload", path);
	snprintf(more, sizeof(more), "--position %llu --payload %s", (unsigned long long)r.put.m[40].position, path);
	assert_int_equal(run("dump", &r, more), 0);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, got, 50000), 40000);
	close(fd);
	rig_payload(r.put.m[40].hash, want, 40000);
	assert_memory_equal(got, want, 40000);
	snprintf(more, sizeof(more), "--position %llu", (unsigned long long)r.put.m[40].position + 8);
	assert_int_equal(run("dump", &r, more), 4);
	free(want);
	free(got);
	rig_free(&r);
}

static void a_crash_is_no_damage(void **state)
{
	for (uint64_t seed = 10; seed < 20; seed++) {
		struct rig r;

		fill(&r, seed);
		r.io.shuffle = true;
		for (int i = 0; i < 10; i++) {
			rig_put(&r, 50000, 1);
			journal_flush(r.j, r.io.now_ns);
		}
		io_sync_crash(&r.io);
		rig_close(&r);
		assert_int_equal(run("verify", &r, ""), 0);
		assert_int_equal(rig_open(&r, false), 0);
		rig_settle(&r);
		rig_close(&r);
		assert_int_equal(run("verify", &r, ""), 0);
		rig_free(&r);
	}
}

static void damage_is_told_by_its_position(void **state)
{
	struct rig r;
	char name[32], path[128], text[64];
	uint64_t at;
	int fd;

	fill(&r, 3);
	rig_settle(&r);
	rig_close(&r);
	at = r.put.m[30].position; /* in the second of three segments */
	mr_segment_name(at / MIB, name);
	rig_path(&r, name, path);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "!", 1, (off_t)(at % MIB + 5000)), 1);
	close(fd);
	assert_int_equal(run("verify", &r, ""), 10);
	snprintf(text, sizeof(text), "damage at position %llu ", (unsigned long long)at);
	has(text);
	has("59 messages");
	has("1 damaged place");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(run("verify", &r, "--json"), 10);
	rig_free(&r);
}

static void what_is_no_journal(void **state)
{
	struct rig r;

	rig_init(&r, 4);
	assert_int_equal(run("verify", &r, ""), 4);
	assert_int_equal(run("verify", &r, "too many"), 2);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_journal),      cmocka_unit_test(one_message_to_a_file),
		cmocka_unit_test(a_crash_is_no_damage), cmocka_unit_test(damage_is_told_by_its_position),
		cmocka_unit_test(what_is_no_journal),
	};

	return cmocka_run_group_tests_name("journal tool", tests, NULL, NULL);
}
