/* SPDX-License-Identifier: Apache-2.0 */
/* test_ack.c - the acknowledgement that a sender gets, version by version. */
#include "kernels.h"

#include <errno.h>
#include <stdlib.h>

/* 2026-02-28 23:59:59 UTC */
#define TIME_NS (1772323199ull * 1000000000ull + 5)

static struct hl7_error at_pid_11 = {.code = HL7_E_ESCAPE, .segment = "PID", .sequence = 1, .field = 11};

struct want {
	const char *msg;
	struct hl7_ack a;
	const char *answer;
};

static void check(const struct want *w)
{
	struct hl7_ack a = w->a;
	struct hl7_msh msh;
	char *out;
	uint32_t room;
	int n;

	if (w->msg) {
		assert_int_equal(hl7_msh_read(w->msg, (uint32_t)strlen(w->msg), &msh, NULL), 0);
		a.msh = &msh;
		a.msg = w->msg;
	}
	a.control_id = "M1";
	a.control_id_bytes = 2;
	a.time_ns = TIME_NS;
	room = hl7_ack_bytes(&a);
	out = malloc(room + 1);
	assert_int_equal(hl7_ack_build(out, room - 1, &a), -ENOSPC);
	n = hl7_ack_build(out, room, &a);
	assert_true(n > 0 && (uint32_t)n <= room);
	out[n] = '\0';
	assert_string_equal(out, w->answer);
	free(out);
}

static void sender_and_receiver_are_swapped(void **state)
{
	const struct want w = {
	    "MSH|^~\\&|LAB^1^L|HOSP|HUB|HIE^2^L|2026||ADT^A01^ADT_A01|id\\T\\7|T^A|2.5.1^DEU|||AL|NE|DEU|UNICODE "
	    "UTF-8~A\rPID|",
	    {.code = "CA"},
	    "MSH|^~\\&|HUB|HIE^2^L|LAB^1^L|HOSP|20260228235959+0000||ACK^A01^ACK|M1|T^A|2.5.1^DEU||||||UNICODE "
	    "UTF-8~A\r"
	    "MSA|CA|id\\T\\7\r",
	};

	check(&w);
}

static void the_type_follows_the_version(void **state)
{
	static const char *const by_version[][3] = {
	    {"2.1", "20260228235959", "ACK"},
	    {"2.2", "20260228235959+0000", "ACK"},
	    {"2.3", "20260228235959+0000", "ACK^A08"},
	    {"2.3.1", "20260228235959+0000", "ACK^A08"},
	    {"2.4", "20260228235959+0000", "ACK^A08^ACK"},
	    {"2.9", "20260228235959+0000", "ACK^A08^ACK"},
	};

	for (unsigned i = 0; i < sizeof by_version / sizeof by_version[0]; i++) {
		char msg[128], answer[128];
		const struct want w = {msg, {.code = "AA"}, answer};

		sprintf(msg, "MSH|^~\\&|||||||ADT^A08|1||%s\r", by_version[i][0]);
		sprintf(answer, "MSH|^~\\&|||||%s||%s|M1|P|%s\rMSA|AA|1\r", by_version[i][1], by_version[i][2],
		        by_version[i][0]);
		check(&w);
	}
}

static void no_trigger_and_no_version(void **state)
{
	static const struct want w[] = {
	    {"MSH|^~\\&|||||||ADT|1", {.code = "AA"}, "MSH|^~\\&|||||20260228235959+0000||ACK|M1|P|2.5\rMSA|AA|1\r"},
	    {"MSH|^~\\&|||||||ADT^^ADT_A01|1|D|3.0",
	     {.code = "AA"},
	     "MSH|^~\\&|||||20260228235959+0000||ACK|M1|D|2.5\rMSA|AA|1\r"},
	    {"MSH|^", {.code = "AR"}, "MSH|^|||||20260228235959+0000||ACK|M1|P|2.5\rMSA|AR|\r"},
	};

	for (unsigned i = 0; i < 3; i++)
		check(&w[i]);
}

static void own_delimiters_of_the_sender(void **state)
{
	const struct want w = {
	    "MSH*:+!@*A*B*C*D***ORU:R01*9*P*2.6\r",
	    {.code = "AE", .err = &at_pid_11, .err_code = 102, .text = "no * or : or ! please"},
	    "MSH*:+!@*C*D*A*B*20260228235959**ACK:R01:ACK*M1*P*2.6\rMSA*AE*9*no !F! or !S! or !E! please\r"
	    "ERR**PID:1:11*102:Data type error:HL70357*E****no !F! or !S! or !E! please\r",
	};

	check(&w);
}

static void errors_by_version(void **state)
{
	static struct hl7_error deep = {.segment = "OBX", .sequence = 3, .field = 5, .component = 2, .subcomponent = 1};
	static struct hl7_error whole_segment = {.segment = "PV1", .sequence = 1};
	static const struct want w[] = {
	    {"MSH|^~\\&|||||||A^B|1||2.3",
	     {.code = "AE", .err = &at_pid_11, .err_code = 103, .text = "bad"},
	     "MSH|^~\\&|||||20260228235959+0000||ACK^B|M1|P|2.3\rMSA|AE|1|bad\r"
	     "ERR|PID^1^11^103&Table value not found&HL70357\r"},
	    {"MSH|^~\\&|||||||A^B|1||2.4",
	     {.code = "AR", .err_code = 207},
	     "MSH|^~\\&|||||20260228235959+0000||ACK^B^ACK|M1|P|2.4\rMSA|AR|1\rERR|^^^207&Application error&HL70357\r"},
	    {"MSH|^~\\&|||||||A^B|1||2.4",
	     {.code = "AR", .err = &whole_segment, .err_code = 100},
	     "MSH|^~\\&|||||20260228235959+0000||ACK^B^ACK|M1|P|2.4\rMSA|AR|1\r"
	     "ERR|PV1^1^^100&Segment sequence error&HL70357\r"},
	    {"MSH|^~\\&|||||||A^B|1||2.5",
	     {.code = "AE", .err = &deep, .err_code = 103, .err_severity = 'W'},
	     "MSH|^~\\&|||||20260228235959+0000||ACK^B^ACK|M1|P|2.5\rMSA|AE|1\r"
	     "ERR||OBX^3^5^1^2^1|103^Table value not found^HL70357|W\r"},
	    {"MSH|^~\\&#|||||||A^B|1||2.8",
	     {.code = "CR", .err_code = 203, .text = "a#b\n\xe4"},
	     "MSH|^~\\&#|||||20260228235959+0000||ACK^B^ACK|M1|P|2.8\rMSA|CR|1\r"
	     "ERR|||203^Unsupported version id^HL70357|E||||a\\P\\b ?\r"},
	    {"MSH|^|||||||A^B|1||2.3",
	     {.code = "AE", .err = &at_pid_11, .err_code = 103, .text = "a|b"},
	     "MSH|^|||||20260228235959+0000||ACK^B|M1|P|2.3\rMSA|AE|1|a b\rERR|PID^1^11^103\r"},
	};

	for (unsigned i = 0; i < sizeof w / sizeof w[0]; i++)
		check(&w[i]);
}

static void what_has_no_header_is_answered_too(void **state)
{
	static struct hl7_error err = {.code = HL7_E_HEADER};
	const struct want w = {
	    NULL,
	    {.code = "AR", .app = "MILLRACE", .facility = "HIE", .err = &err, .err_code = 100, .text = "no MSH"},
	    "MSH|^~\\&|MILLRACE|HIE|||20260228235959+0000||ACK|M1|P|2.5\rMSA|AR||no MSH\r"
	    "ERR|||100^Segment sequence error^HL70357|E||||no MSH\r",
	};

	check(&w);
}

static void local_time(void **state)
{
	static const struct {
		uint64_t s;
		int32_t minutes;
		const char *text;
	} want[] = {
	    {0, 0, "19700101000000+0000"},
	    {951782400, 0, "20000229000000+0000"},
	    {1709251199, 330, "20240301052959+0530"},
	    {1735689600, -210, "20241231203000-0330"},
	    {4102444799, 60, "21000101005959+0100"},
	};

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct hl7_ack a = {.code = "AA", .control_id = "1", .control_id_bytes = 1};
		char out[HL7_ACK_BYTES_MAX];
		int n;

		a.time_ns = want[i].s * 1000000000ull;
		a.utc_offset_minutes = want[i].minutes;
		n = hl7_ack_build(out, sizeof out, &a);
		assert_true(n > 40);
		assert_memory_equal(out + 13, want[i].text, 19);
	}
}

static void an_own_answer_can_be_read(void **state)
{
	static const char msg[] = "MSH|^~\\&|A|B|C|D|||ADT^A01|control|P|2.5\r";
	struct hl7_ack a = {.msg = msg, .code = "AE", .control_id = "1", .control_id_bytes = 1, .err_code = 207};
	struct hl7_msh msh, answer_msh;
	struct hl7_msa msa;
	char out[HL7_ACK_BYTES_MAX];
	int n;

	assert_int_equal(hl7_msh_read(TEXT(msg), &msh, NULL), 0);
	a.msh = &msh;
	n = hl7_ack_build(out, sizeof out, &a);
	assert_int_equal(hl7_msa_read(out, (uint32_t)n, &answer_msh, &msa, NULL), 0);
	assert_string_equal(msa.code, "AE");
	assert_memory_equal(out + msa.control_id.offset, "control", msa.control_id.bytes);
	assert_true(msa.err_offset > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sender_and_receiver_are_swapped),
	    cmocka_unit_test(the_type_follows_the_version),
	    cmocka_unit_test(no_trigger_and_no_version),
	    cmocka_unit_test(own_delimiters_of_the_sender),
	    cmocka_unit_test(errors_by_version),
	    cmocka_unit_test(what_has_no_header_is_answered_too),
	    cmocka_unit_test(local_time),
	    cmocka_unit_test(an_own_answer_can_be_read),
	};

	return cmocka_run_group_tests_name("ack", tests, NULL, NULL);
}
