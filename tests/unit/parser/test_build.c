/* SPDX-License-Identifier: Apache-2.0 */
/* test_build.c - messages written from nothing, and messages with one thing changed. */
#include "kernels.h"

#include <errno.h>
#include <stdlib.h>

#define VALUE(s) (s), (uint32_t)strlen(s)

static void a_message_is_written_front_to_back(void **state)
{
	char out[256];
	struct hl7_build b;
	int n;

	hl7_build_init(&b, out, sizeof out, NULL);
	assert_int_equal(hl7_build_segment(&b, "MSH"), 0);
	assert_int_equal(hl7_build_text(&b, 3, 0, 0, 0, VALUE("A|B")), 0);
	assert_int_equal(hl7_build_raw(&b, 9, 0, 0, 0, VALUE("ADT^A01")), 0);
	assert_int_equal(hl7_build_segment(&b, "PID"), 0);
	assert_int_equal(hl7_build_text(&b, 3, 1, 1, 1, VALUE("7")), 0);
	assert_int_equal(hl7_build_text(&b, 3, 1, 4, 2, VALUE("1.2")), 0);
	assert_int_equal(hl7_build_text(&b, 3, 2, 1, 1, VALUE("8")), 0);
	assert_int_equal(hl7_build_text(&b, 5, 1, 2, 1, VALUE("JANE")), 0);
	assert_int_equal(hl7_build_segment(&b, "ZZ1"), 0);
	n = hl7_build_end(&b);
	assert_true(n > 0);
	out[n] = '\0';
	assert_string_equal(out, "MSH|^~\\&|A\\F\\B||||||ADT^A01\rPID|||7^^^&1.2~8||^JANE\rZZ1\r");
}

static void what_cannot_be_written_is_refused(void **state)
{
	static const struct hl7_delims only_component = {'|', '^', 0, 0, 0, 0};
	char out[64];
	struct hl7_build b;

	hl7_build_init(&b, out, sizeof out, NULL);
	assert_int_equal(hl7_build_raw(&b, 1, 0, 0, 0, VALUE("x")), HL7_E_ORDER);
	assert_int_equal(hl7_build_segment(&b, "PID"), HL7_E_ORDER); /* the first failure stays */
	hl7_build_init(&b, out, sizeof out, NULL);
	assert_int_equal(hl7_build_segment(&b, "pid"), HL7_E_ORDER);
	hl7_build_init(&b, out, sizeof out, NULL);
	hl7_build_segment(&b, "PID");
	assert_int_equal(hl7_build_raw(&b, 2, 0, 0, 0, VALUE("x")), 0);
	assert_int_equal(hl7_build_raw(&b, 1, 0, 0, 0, VALUE("x")), HL7_E_ORDER);
	assert_int_equal(hl7_build_end(&b), HL7_E_ORDER);
	hl7_build_init(&b, out, sizeof out, NULL);
	hl7_build_segment(&b, "PID");
	assert_int_equal(hl7_build_raw(&b, 2, 0, 0, 0, VALUE("x|y")), HL7_E_ORDER);
	hl7_build_init(&b, out, sizeof out, NULL);
	hl7_build_segment(&b, "PID");
	hl7_build_raw(&b, 2, 0, 0, 0, VALUE("x"));
	assert_int_equal(hl7_build_raw(&b, 2, 0, 0, 0, VALUE("y")), HL7_E_ORDER);
	hl7_build_init(&b, out, sizeof out, &only_component);
	hl7_build_segment(&b, "MSH");
	assert_int_equal(hl7_build_text(&b, 3, 2, 1, 1, VALUE("x")), HL7_E_DELIM);
	hl7_build_init(&b, out, sizeof out, &only_component);
	hl7_build_segment(&b, "MSH");
	assert_int_equal(hl7_build_text(&b, 3, 1, 2, 1, VALUE("x^")), HL7_E_ESCAPE);
	for (uint32_t room = 0; room < 12; room++) {
		hl7_build_init(&b, out, room, NULL);
		hl7_build_segment(&b, "PID");
		hl7_build_text(&b, 3, 1, 2, 1, VALUE("a&"));
		assert_int_equal(hl7_build_end(&b), -ENOSPC);
		assert_true(b.bytes <= room);
	}
}

static void an_edit_changes_only_what_it_names(void **state)
{
	static const char msg[] = "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\r";
	static const struct {
		int kind;
		const char *path, *value, *result;
	} want[] = {
	    {HL7_EDIT_SET, "PID-3.1", "N", "MSH|^~\\&|A|B\rPID|1||N^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "PID-3", "N", "MSH|^~\\&|A|B\rPID|1||N||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "PID-3[2].2.2", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "PID-3[3].2.2", "N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e~^&N||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "PID-7.2", "N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x||^N\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "PID-2.1.2", "N", "MSH|^~\\&|A|B\rPID|1|&N|a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "OBX(2)-1", "N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|N\r"},
	    {HL7_EDIT_SET, "MSH-3", "N", "MSH|^~\\&|N|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "MSH-6", "N", "MSH|^~\\&|A|B||N\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_SET, "OBX", "OBX|N|", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|N|\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "PID-3[1]", "N", "MSH|^~\\&|A|B\rPID|1||N~a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "PID-3[3]", "N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e~N||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "PID-3", "N", "MSH|^~\\&|A|B\rPID|1||N|a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "PID-3[2].2", "N", "MSH|^~\\&|A|B\rPID|1||a^b~c^N^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "OBX(2)", "OBX|N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|N\rOBX|2\r"},
	    {HL7_EDIT_INSERT, "OBX(3)", "OBX|N", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\rOBX|N\r"},
	    {HL7_EDIT_DELETE, "PID-3[1]", "", "MSH|^~\\&|A|B\rPID|1||c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "PID-3[2]", "", "MSH|^~\\&|A|B\rPID|1||a^b||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "PID-3[2].2.1", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "PID-1", "", "MSH|^~\\&|A|B\rPID||a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "PID-5[1].1", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "PID-9.2", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "ZZZ-9.2", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\rOBX|2\r"},
	    {HL7_EDIT_DELETE, "OBX(2)", "", "MSH|^~\\&|A|B\rPID|1||a^b~c^d&e||x\rOBX|1\r"},
	    {HL7_EDIT_DELETE, "PID", "", "MSH|^~\\&|A|B\rOBX|1\rOBX|2\r"},
	};
	static uint32_t mem[2048] __attribute__((aligned(16)));
	struct hl7_index ix;

	assert_int_equal(hl7_index(TEXT(msg), 0, mem, sizeof mem, &ix, NULL), 0);
	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		uint32_t room = (uint32_t)strlen(want[i].result);
		char *out = malloc(room + 1);
		struct hl7_path p;
		int n;

		assert_int_equal(hl7_path_compile(VALUE(want[i].path), &p, NULL), 0);
		assert_int_equal(hl7_edit(&ix, want[i].kind, &p, VALUE(want[i].value), out, room - 1), -ENOSPC);
		n = hl7_edit(&ix, want[i].kind, &p, VALUE(want[i].value), out, room);
		assert_int_equal(n, room);
		out[n] = '\0';
		assert_string_equal(out, want[i].result);
		free(out);
	}
}

static void edits_that_make_no_sense(void **state)
{
	static const struct {
		int kind;
		const char *path, *value;
		int rc;
	} want[] = {
	    {HL7_EDIT_SET, "ZZZ-1", "x", -ENOENT},         {HL7_EDIT_SET, "ZZZ", "x", -ENOENT},
	    {HL7_EDIT_DELETE, "ZZZ", "", -ENOENT},         {HL7_EDIT_SET, "OBX(*)-1", "x", HL7_E_PATH},
	    {HL7_EDIT_SET, "PID-3[*].1", "x", HL7_E_PATH}, {HL7_EDIT_SET, "MSH-1", "x", HL7_E_DELIM},
	    {HL7_EDIT_DELETE, "MSH-2", "", HL7_E_DELIM},   {HL7_EDIT_SET, "PID-3", "a|b", HL7_E_ORDER},
	    {HL7_EDIT_SET, "PID-3", "a\rb", HL7_E_ORDER},  {HL7_EDIT_SET, "PID", "PID|\n", HL7_E_ORDER},
	    {HL7_EDIT_SET, "PID-1.1.2", "x", HL7_E_DELIM}, {HL7_EDIT_INSERT, "PID-1[1].1.1", "x", HL7_E_DELIM},
	};
	static uint32_t mem[2048] __attribute__((aligned(16)));
	struct hl7_index ix;
	char out[64];

	assert_int_equal(hl7_index(TEXT("MSH|^~\\|A\rPID|1\rOBX"), 0, mem, sizeof mem, &ix, NULL), 0);
	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct hl7_path p;

		assert_int_equal(hl7_path_compile(VALUE(want[i].path), &p, NULL), 0);
		assert_int_equal(hl7_edit(&ix, want[i].kind, &p, VALUE(want[i].value), out, sizeof out), want[i].rc);
	}
}

static void line_ends_are_those_of_the_message(void **state)
{
	static uint32_t mem[2048] __attribute__((aligned(16)));
	struct hl7_index ix;
	struct hl7_path p;
	char out[64];
	int n;

	assert_int_equal(hl7_path_compile(TEXT("OBX"), &p, NULL), 0);
	assert_int_equal(hl7_index(TEXT("MSH|^~\\&\r\nPID|1\r\n"), 1, mem, sizeof mem, &ix, NULL), 0);
	n = hl7_edit(&ix, HL7_EDIT_INSERT, &p, VALUE("OBX|1"), out, sizeof out);
	assert_int_equal(n, 24);
	assert_memory_equal(out, "MSH|^~\\&\r\nPID|1\r\nOBX|1\r\n", 24);
	assert_int_equal(hl7_index(TEXT("MSH|^~\\&\nPID|1"), 1, mem, sizeof mem, &ix, NULL), 0);
	n = hl7_edit(&ix, HL7_EDIT_INSERT, &p, VALUE("OBX|1"), out, sizeof out);
	assert_int_equal(n, 20);
	assert_memory_equal(out, "MSH|^~\\&\nPID|1\nOBX|1", 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_is_written_front_to_back), cmocka_unit_test(what_cannot_be_written_is_refused),
	    cmocka_unit_test(an_edit_changes_only_what_it_names), cmocka_unit_test(edits_that_make_no_sense),
	    cmocka_unit_test(line_ends_are_those_of_the_message),
	};

	return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
