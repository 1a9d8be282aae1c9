/* SPDX-License-Identifier: Apache-2.0 */
/* test_route.c - which destinations a message goes to, told by conditions and messages. */
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS                                                                                                          \
	"listeners: { a: { port: 1 }, b: { port: 2 }, c: { port: 3, max_frame: 64KiB } }\n"                            \
	"destinations: { d0: { file: /0 }, d1: { file: /1 }, d2: { file: /2 }, d3: { file: /3 } }\n"

static const char oru[] = "MSH|^~\\&|LAB|HOSP^1.2.3^ISO|HUB||20260101||ORU^R01^ORU_R01|17|P|2.5\r"
                          "PID|1||A1^^^MR~B2^^^SS||DOE^JANE&X||\"\"|F\r"
                          "PV1|1|I\r"
                          "OBX|1|NM|718-7^Hb||13.5\r"
                          "OBX|2|ST|789-8^Ery||A\\T\\B \\X41\\\\F\\\r"
                          "NTE|1||\r";

static void each_operator_does_what_the_manual_says(void **state)
{
	static const struct {
		const char *condition;
		bool takes;
	} cases[] = {
	    {"MSH-9.1 == \"ORU\"", true},
	    {"MSH-9.1 == 'ORU'", true},
	    {"MSH-9.1 == \"oru\"", false},
	    {"MSH-9 == \"ORU^R01^ORU_R01\"", true},
	    {"MSH-9.1 == \"ADT\"", false},
	    {"MSH-9.1 != \"ADT\"", true},
	    {"MSH-9.1 != \"ORU\"", false},
	    {"MSH-4.2 == \"1.2.3\"", true},
	    {"MSH-1 == \"|\"", true},
	    {"MSH-2 == \"^~\\\\&\"", true},
	    {"PV1-2 in [\"I\",\"E\"]", true},
	    {"PV1-2 in [\"O\"]", false},
	    {"PV1-2 not in [\"O\", \"E\"]", true},
	    {"PV1-2 not in [\"I\"]", false},
	    {"PV1-2 in [\"A\",\"B\",\"C\",\"D\",\"E\",\"F\",\"G\",\"H\",\"I\",\"J\",\"K\"]", true},
	    {"PV1-2 in [\"K\",\"J\",\"H\",\"G\",\"F\",\"E\",\"D\",\"C\",\"B\",\"A\",\"\"]", false},
	    {"exists PID-8", true},
	    {"exists(PID-8)", true},
	    {"exists PID-9", false},
	    {"exists PID-7", true}, /* \"\" is a value: delete what you have */
	    {"PID-7 == '\"\"'", true},
	    {"exists NTE", true},
	    {"exists NTE-3", false},
	    {"exists ZZZ", false},
	    {"!exists ZZZ", true},
	    {"!!exists ZZZ", false},
	    {"PID-9 == \"\"", true},
	    {"PID-8 == \"\"", false},
	    {"ZZZ-1 == \"\"", true},
	    {"ZZZ-1 != \"x\"", true},
	    {"ZZZ-1 in [\"x\", \"\"]", true},
	    {"PID-3.1 == \"A1\"", true},
	    {"PID-3.1 == \"B2\"", false},
	    {"PID-3[2].1 == \"B2\"", true},
	    {"PID-3[*].1 == \"B2\"", true},
	    {"PID-3[*].1 != \"B2\"", false},
	    {"PID-3[*].4 in [\"SS\"]", true},
	    {"PID-5.2.2 == \"X\"", true},
	    {"OBX-3.1 == \"789-8\"", false},
	    {"OBX(2)-3.1 == \"789-8\"", true},
	    {"OBX(*)-3.1 == \"789-8\"", true},
	    {"OBX(*)-3.1 == \"790-0\"", false},
	    {"OBX(2)-5 == \"A&B A|\"", true}, /* escapes are decoded */
	    {"OBX(2)-5 =~ \"^A&B\"", true},
	    {"OBX(*)-5 =~ \"[|]$\"", true},
	    {"OBX(*)-3.1 =~ \"^7(18|19)-\\d$\"", true},
	    {"OBX(*)-3.1 =~ \"^8\"", false},
	    {"PID-5.1 =~ \"O\"", true}, /* anywhere in the value */
	    {"PID-5.1 =~ \"o\"", false},
	    {"PID-5.1 =~ \"(?i)o\"", true},
	    {"ZZZ-1 =~ \"^$\"", true},
	    {"PID-8 =~ \"^$\"", false},
	    {"PID-8 =~ \".*\"", true},
	    {"ZZZ-1 =~ \"x\"", false},
	    {"MSH-9.1 == \"ORU\" && PV1-2 in [\"I\",\"E\"]", true},
	    {"MSH-9.1 == \"ORU\" && PV1-2 == \"O\"", false},
	    {"MSH-9.1 == \"ADT\" || PV1-2 == \"I\"", true},
	    {"MSH-9.1 == \"ADT\" || PV1-2 == \"O\"", false},
	    {"MSH-9.1 == \"ORU\" || MSH-9.1 == \"x\" && MSH-9.1 == \"y\"", true}, /* && binds stronger */
	    {"(MSH-9.1 == \"ORU\" || MSH-9.1 == \"x\") && MSH-9.1 == \"y\"", false},
	    {"!(MSH-9.1 == \"x\" || exists ZZZ) && MSH-3 == 'LAB'", true},
	    {"!MSH-9.1 == \"x\"", true},
	    {"PID.5.1=='DOE'&&PID-5-1=='DOE'", true},
	    {"PID-5.1 == \"D\\\"E\" || PID-5.1 == 'D\\'E'", false},
	};
	unsigned wrong = 0;

	for (size_t i = 0; i < MR_ARRAY_LEN(cases); i++) {
		if (condition_takes(cases[i].condition, oru) != cases[i].takes) {
			print_error("%s: should be %s\n", cases[i].condition, cases[i].takes ? "true" : "false");
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

static void delimiters_are_those_of_the_message(void **state)
{
	assert_true(
	    condition_takes("MSH-9.2 == \"R01\" && PID-3[2] == \"b\"", "MSH#*+!%#LAB######ORU*R01\rPID###a+b\r"));
	assert_true(condition_takes("PID-3 == \"x#y\"", "MSH#*+!%#LAB######ORU*R01\rPID###x!F!y\r"));
	assert_true(condition_takes("PID-3 == \"x\\\\F\\\\y\"", "MSH#*+!%#LAB######ORU*R01\rPID###x\\F\\y\r"));
}

static void lines_may_end_as_they_like(void **state)
{
	assert_true(condition_takes("PID-3 == \"x\"", "MSH|^~\\&|LAB\nPID|||x\nPV1||I\n"));
	assert_true(condition_takes("PID-3 == \"x\" && PV1-2 == 'I'", "MSH|^~\\&|LAB\r\nPID|||x\r\nPV1||I"));
}

static void all_routes_that_match_add_up(void **state)
{
	struct rig r =
	    rig_make(ITEMS "routes:\n  - { from: a, to: [d2, d0] }\n  - { from: a, when: exists PID, to: [d1, d0] }\n"
	                   "  - { from: a, when: exists ZZZ, to: d3 }\n  - { from: b, to: [] }\n");
	struct route_result result;

	assert_int_equal(rig_route(&r, 0, oru, sizeof(oru) - 1, &result), 0);
	assert_true(result.matched);
	assert_int_equal(result.count, 3);
	assert_int_equal(result.dests[0], 2);
	assert_int_equal(result.dests[1], 0);
	assert_int_equal(result.dests[2], 1);
	assert_int_equal(rig_route(&r, 1, oru, sizeof(oru) - 1, &result), 0);
	assert_true(result.matched && result.count == 0);
	assert_int_equal(rig_route(&r, 2, oru, sizeof(oru) - 1, &result), 0);
	assert_true(!result.matched && result.count == 0);
	assert_true(route_hits(r.table, 0) == 1 && route_hits(r.table, 1) == 1 && route_hits(r.table, 2) == 0 &&
	            route_hits(r.table, 3) == 1);
	rig_free(&r);
}

static void with_first_only_the_first_counts(void **state)
{
	struct rig r = rig_make("routing: first\n" ITEMS "routes:\n  - { from: a, when: exists ZZZ, to: d3 }\n"
	                        "  - { from: a, when: exists PID, to: [d1] }\n  - { from: a, to: [d2, d0] }\n");
	struct route_result result;

	assert_int_equal(rig_route(&r, 0, oru, sizeof(oru) - 1, &result), 0);
	assert_true(result.matched && result.count == 1 && result.dests[0] == 1);
	assert_int_equal(rig_route(&r, 0, "MSH|^~\\&|", 9, &result), 0);
	assert_true(result.matched && result.count == 2 && result.dests[0] == 2);
	rig_free(&r);
}

static void no_routes_means_unrouted(void **state)
{
	struct rig r = rig_make(ITEMS "routes: []\n");
	struct route_result result;

	assert_int_equal(rig_route(&r, 0, oru, sizeof(oru) - 1, &result), 0);
	assert_false(result.matched);
	rig_free(&r);
}

/* 70 destinations in 70 routes: a message that matches them all must not go to a part of them. */
static void more_destinations_than_a_message_may_have_are_refused(void **state)
{
	char *yaml = malloc(1 << 16), *p = yaml;
	struct route_result result = {.count = 77};
	struct rig r;

	p += sprintf(p, "listeners: { a: { port: 1 } }\ndestinations:\n");
	for (int i = 0; i < 70; i++)
		p += sprintf(p, "  d%d: { file: /%d }\n", i, i);
	p += sprintf(p, "routes:\n");
	for (int i = 0; i < 70; i++)
		p += sprintf(p, "  - { from: a, to: d%d, when: 'MSH-3 in [\"all\", \"d%d\"]' }\n", i, i);
	r = rig_make(yaml);
	assert_int_equal(rig_route(&r, 0, "MSH|^~\\&|all|", 13, &result), -E2BIG);
	assert_int_equal(result.count, 77); /* untouched */
	assert_int_equal(rig_route(&r, 0, "MSH|^~\\&|d69|", 13, &result), 0);
	assert_true(result.count == 1 && result.dests[0] == 69);
	rig_free(&r);
	free(yaml);
}

/* A route for each of a thousand senders, as a region has them: found by look-up, in the order of the file, `first`
 * too. */
static void a_thousand_senders_each_find_their_routes(void **state)
{
	for (int first = 0; first < 2; first++) {
		char *yaml = malloc(1 << 18), *p = yaml, msg[64];
		struct route_result result;
		struct rig r;

		p += sprintf(p,
		             "routing: %s\n" ITEMS
		             "routes:\n  - { from: a, to: d3, when: 'MSH-3 == \"x\" || MSH-4 == \"H7\"' }\n",
		             first ? "first" : "all");
		for (int i = 0; i < 1000; i++)
			p += sprintf(p, "  - { from: a, to: d%d, when: 'MSH-3 == \"L\" && MSH-4 == \"H%d\"' }\n", i % 3,
			             i);
		sprintf(p, "  - { from: a, to: d3, when: 'MSH-4 == \"H999\" && MSH-3 != \"x\"' }\n");
		r = rig_make(yaml);
		for (int i = 0; i < 1001; i++) {
			int n = sprintf(msg, "MSH|^~\\&|L|H%d|", i);

			assert_int_equal(rig_route(&r, 0, msg, (uint32_t)n, &result), 0);
			assert_int_equal(result.count, i == 1000 ? 0 : (i == 7 || i == 999) && !first ? 2 : 1);
			assert_int_equal(result.matched, i < 1000);
			if (i < 1000)
				assert_int_equal(result.dests[0], i == 7 ? 3 : i % 3);
		}
		assert_int_equal(rig_route(&r, 0, "MSH|^~\\&|M|H5|", 15, &result), 0);
		assert_false(result.matched);
		assert_int_equal(rig_route(&r, 0, "MSH|^~\\&|L||", 13, &result), 0);
		assert_false(result.matched);
		rig_free(&r);
		free(yaml);
	}
}

/* Values that are too many or too long to be kept are looked at all the same, escapes and all. */
static void large_values_count_too(void **state)
{
	const uint32_t room = 1 << 20;
	char *msg = malloc(room), *p = msg;

	p += sprintf(p, "MSH|^~\\&|x\r");
	for (int i = 0; i < 6000; i++)
		p += sprintf(p, "OBX|%d|ST|c%d\\F\\\r", i, i);
	p += sprintf(p, "NTE|1||");
	for (int i = 0; i < 30000; i++)
		p += sprintf(p, "\\X41\\b");
	p += sprintf(p, "\\T\\end\r");
	assert_true(condition_takes("OBX(*)-3 == \"c5999|\"", msg));
	assert_false(condition_takes("OBX(*)-3 == \"c6000|\"", msg));
	assert_true(condition_takes("OBX(*)-3 =~ \"^c5998.$\" && OBX(*)-1 == \"5999\"", msg));
	assert_true(condition_takes("NTE-3 =~ \"AbAb&end$\" && exists NTE-3", msg));
	assert_false(condition_takes("NTE-3 == \"Ab\"", msg));
	assert_true(condition_takes("exists OBX(*)-3 && OBX(6000)-1 == \"5999\" && OBX(*)-3 == \"c0|\"", msg));
	free(msg);
}

/* Nothing but separators: the worst that a listener's largest message can do to the index. */
static void the_worst_message_can_be_indexed(void **state)
{
	static char msg[64 << 10];
	struct rig r = rig_make(ITEMS "routes:\n  - { from: c, when: 'ZZZ-1 == \"x\"', to: d0 }\n");
	struct route_result result;

	memcpy(msg, "MSH|^~\\&|", 9);
	memset(msg + 9, '|', sizeof(msg) - 9);
	assert_int_equal(rig_route(&r, 2, msg, sizeof(msg), &result), 0);
	for (size_t i = 9; i < sizeof(msg); i += 2)
		memcpy(msg + i, "\rA", i + 2 <= sizeof(msg) ? 2 : 1);
	assert_int_equal(rig_route(&r, 2, msg, sizeof(msg), &result), 0);
	assert_false(result.matched);
	rig_free(&r);
}

static uint64_t key_of(struct rig *r, uint32_t listener, const char *msg)
{
	struct route_result result;
	struct hl7_msh msh;

	assert_int_equal(hl7_msh_read(msg, (uint32_t)strlen(msg), &msh, NULL), 0);
	assert_int_equal(route_message(r->table, listener, msg, (uint32_t)strlen(msg), &msh, &result), 0);
	return route_order_key(r->table);
}

static void the_ordering_key_is_the_value_of_the_field(void **state)
{
	struct rig r = rig_make(
	    "listeners: { a: { port: 1, order_by: PID-3.1 }, b: { port: 2 }, c: { port: 3, order_by: MSH-4 } }\n"
	    "destinations: { d0: { file: /0 } }\nroutes: [ { from: \"*\", to: d0 } ]\n");
	uint64_t one = key_of(&r, 0, "MSH|^~\\&|x\rPID|||1^a\r"), two = key_of(&r, 0, "MSH|^~\\&|x\rPID|||2^a\r");

	assert_true(one && two && one != two);
	assert_true(key_of(&r, 0, "MSH|^~\\&|y\rEVN|1\rPID|||\\X31\\^b\r") ==
	            one); /* the value, not how it is written */
	assert_true(key_of(&r, 0, "MSH|^~\\&|y\r") == key_of(&r, 0, "MSH|^~\\&|y\rPID|1\r")); /* the empty value */
	assert_int_equal(key_of(&r, 1, "MSH|^~\\&|x\rPID|||1^a\r"), 0);
	assert_true(key_of(&r, 2, "MSH|^~\\&|x|H1\r") != key_of(&r, 2, "MSH|^~\\&|x|H2\r"));
	rig_free(&r);
}

/* A table that is made from an image with a path that the parser does not know must fail, not misroute. */
static void an_image_that_cannot_be_run_is_refused(void **state)
{
	struct rig r = rig_make(ITEMS "routes:\n  - { from: a, when: 'PID-3 =~ \"x\"', to: d0 }\n");
	const struct mr_config_const *path = mr_config_at(r.image, &r.image->paths);
	const struct mr_config_regex *regex = mr_config_at(r.image, &r.image->regexes);
	struct route_table *t = NULL;
	char *text = (char *)mr_config_string(r.image, path[0].offset),
	     *db = (char *)mr_config_string(r.image, regex[0].offset);

	text[0] = '?';
	assert_int_equal(mr_config_check(r.image, r.image->bytes), 0);
	assert_int_equal(route_create(r.image, &t), -EINVAL);
	text[0] = 'P';
	db[0] ^= 0x55;
	assert_int_equal(route_create(r.image, &t), -EINVAL);
	assert_null(t);
	db[0] ^= 0x55;
	assert_int_equal(route_create(r.image, &t), 0);
	assert_true(route_memory_bytes(t) > 64 << 10);
	route_free(t);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_operator_does_what_the_manual_says),
	    cmocka_unit_test(delimiters_are_those_of_the_message),
	    cmocka_unit_test(lines_may_end_as_they_like),
	    cmocka_unit_test(all_routes_that_match_add_up),
	    cmocka_unit_test(with_first_only_the_first_counts),
	    cmocka_unit_test(no_routes_means_unrouted),
	    cmocka_unit_test(more_destinations_than_a_message_may_have_are_refused),
	    cmocka_unit_test(a_thousand_senders_each_find_their_routes),
	    cmocka_unit_test(large_values_count_too),
	    cmocka_unit_test(the_worst_message_can_be_indexed),
	    cmocka_unit_test(the_ordering_key_is_the_value_of_the_field),
	    cmocka_unit_test(an_image_that_cannot_be_run_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
