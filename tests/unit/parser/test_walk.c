/* SPDX-License-Identifier: Apache-2.0 */
/* test_walk.c - every element of a message in order, with its place. */
#include "kernels.h"

static void check(const char *msg, uint32_t flags, const char *want)
{
	char all[2048] = "", *at = all;
	struct hl7_element e[5];
	struct hl7_walk w;
	uint32_t n;

	assert_int_equal(hl7_walk_init(&w, msg, (uint32_t)strlen(msg), flags, NULL), 0);
	while ((n = hl7_walk_next(&w, e, 5)) > 0) {
		for (uint32_t i = 0; i < n; i++)
			at +=
			    sprintf(at, "%u:%u/%u/%u/%u=%.*s ", e[i].line, e[i].field, e[i].repetition, e[i].component,
			            e[i].subcomponent, (int)e[i].value.bytes, msg + e[i].value.offset);
	}
	assert_string_equal(all, want);
	assert_int_equal(hl7_walk_next(&w, e, 5), 0); /* and nothing more */
}

static void every_element_has_its_place(void **state)
{
	check("MSH|^~\\&|A\rPID|1||a^b&c~d|\r", 0,
	      "0:0/1/1/1=MSH 0:1/1/1/1=| 0:2/1/1/1=^~\\& 0:3/1/1/1=A 1:0/1/1/1=PID 1:1/1/1/1=1 1:2/1/1/1= 1:3/1/1/1=a "
	      "1:3/1/2/1=b 1:3/1/2/2=c 1:3/2/1/1=d 1:4/1/1/1= ");
}

static void odd_lines_empty_lines_and_short_ones(void **state)
{
	check("MSH|^~\\&\r\n\r\nfree text|x\nMSH\nPV1", 1,
	      "0:0/1/1/1=MSH 0:1/1/1/1=| 0:2/1/1/1=^~\\& 1:0/1/1/1=free text 1:1/1/1/1=x 2:0/1/1/1=MSH 3:0/1/1/1=PV1 ");
	check("MSH|^~\\&|\r\n", 0, "0:0/1/1/1=MSH 0:1/1/1/1=| 0:2/1/1/1=^~\\& 0:3/1/1/1= 1:0/1/1/1=\n ");
}

static void a_batch_header_is_not_cut_by_its_own_delimiters(void **state)
{
	check("MSH|^~\\&\rBHS|^~\\&|B^C", 0,
	      "0:0/1/1/1=MSH 0:1/1/1/1=| 0:2/1/1/1=^~\\& 1:0/1/1/1=BHS 1:1/1/1/1=| 1:2/1/1/1=^~\\& 1:3/1/1/1=B "
	      "1:3/1/2/1=C ");
}

static void what_is_no_message_is_refused(void **state)
{
	struct hl7_error err;
	struct hl7_walk w;

	assert_int_equal(hl7_walk_init(&w, "", 0, 0, &err), HL7_E_SIZE);
	assert_int_equal(hl7_walk_init(&w, TEXT("PID|1"), 0, &err), HL7_E_HEADER);
	assert_int_equal(err.code, HL7_E_HEADER);
}

static void texts_of_errors(void **state)
{
	for (int code = HL7_E_BATCH; code <= HL7_E_HEADER; code++) {
		assert_string_not_equal(hl7_strerror(code), "an unknown error");
		assert_true(hl7_error_0357(code) >= 100);
	}
	assert_string_equal(hl7_strerror(-1999), "an unknown error");
	assert_string_equal(hl7_strerror(0), "no error");
	assert_string_equal(hl7_strerror(-28), "a system error: see errno");
	assert_int_equal(hl7_error_0357(-28), 207);
}

static void kernels_are_chosen_by_name(void **state)
{
	const char *was = hl7_kernel_name();

	assert_int_not_equal(hl7_kernel_select("abacus"), 0);
	assert_string_equal(hl7_kernel_name(), was);
	assert_int_equal(hl7_kernel_select("scalar"), 0);
	assert_string_equal(hl7_kernel_name(), "scalar");
	assert_int_equal(hl7_kernel_select(was), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_element_has_its_place),
	    cmocka_unit_test(odd_lines_empty_lines_and_short_ones),
	    cmocka_unit_test(a_batch_header_is_not_cut_by_its_own_delimiters),
	    cmocka_unit_test(what_is_no_message_is_refused),
	    cmocka_unit_test(texts_of_errors),
	    cmocka_unit_test(kernels_are_chosen_by_name),
	};

	return RUN_ON_EVERY_KERNEL("walk", tests);
}
