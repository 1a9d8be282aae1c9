/* SPDX-License-Identifier: Apache-2.0 */
/* test_msh.c - the header of a message and of an answer: usual ones, odd ones, wrong ones. */
#include "kernels.h"

#include <stdlib.h>

static const char *text_of(const char *msg, struct hl7_span s)
{
	static char copy[4][256];
	static unsigned turn;
	char *p = copy[turn++ % 4];

	assert_true(s.bytes < sizeof copy[0]);
	memcpy(p, msg + s.offset, s.bytes);
	p[s.bytes] = '\0';
	return p;
}

/* Reads from an allocation of exactly that size, so that a byte read too far is caught. */
static int read_exact(const char *msg, uint32_t bytes, struct hl7_msh *ret, struct hl7_error *err)
{
	char *exact = malloc(bytes ? bytes : 1);
	int rc;

	memcpy(exact, msg, bytes);
	rc = hl7_msh_read(exact, bytes, ret, err);
	free(exact);
	return rc;
}

static void a_usual_header(void **state)
{
	static const char msg[] =
	    "MSH|^~\\&|LAB|HOSP^1.2.3^ISO|HUB|HIE|20260101120000||ORU^R01^ORU_R01|42|P|2.5.1|||AL|NE||"
	    "UNICODE UTF-8\rPID|1||7\r";
	struct hl7_msh h;

	assert_int_equal(read_exact(TEXT(msg), &h, NULL), 0);
	assert_int_equal(h.delims.field, '|');
	assert_int_equal(h.delims.component, '^');
	assert_int_equal(h.delims.repetition, '~');
	assert_int_equal(h.delims.escape, '\\');
	assert_int_equal(h.delims.subcomponent, '&');
	assert_int_equal(h.delims.truncation, 0);
	assert_int_equal(h.segment_bytes, strchr(msg, '\r') - msg);
	assert_string_equal(text_of(msg, h.field[1]), "|");
	assert_string_equal(text_of(msg, h.field[2]), "^~\\&");
	assert_string_equal(text_of(msg, h.field[3]), "LAB");
	assert_string_equal(text_of(msg, h.field[4]), "HOSP^1.2.3^ISO");
	assert_string_equal(text_of(msg, h.field[9]), "ORU^R01^ORU_R01");
	assert_string_equal(text_of(msg, h.field[10]), "42");
	assert_string_equal(text_of(msg, h.field[12]), "2.5.1");
	assert_string_equal(text_of(msg, h.field[15]), "AL");
	assert_string_equal(text_of(msg, h.field[16]), "NE");
	assert_string_equal(text_of(msg, h.field[18]), "UNICODE UTF-8");
	assert_int_equal(h.field[8].bytes, 0);
	assert_true(h.field[8].offset > 0); /* empty */
	assert_int_equal(h.field[19].bytes, 0);
	assert_int_equal(h.field[19].offset, 0); /* absent */
}

static void the_shortest_header(void **state)
{
	struct hl7_msh h;

	assert_int_equal(read_exact(TEXT("MSH|^"), &h, NULL), 0);
	assert_int_equal(h.delims.component, '^');
	assert_int_equal(h.delims.repetition, 0);
	assert_int_equal(h.segment_bytes, 5);
	assert_int_equal(h.field[2].bytes, 1);
	assert_int_equal(h.field[3].offset, 0);
}

static void other_delimiters_and_line_ends(void **state)
{
	struct hl7_msh h;

	assert_int_equal(read_exact(TEXT("MSH*:+!@#*A*B\nPID*1"), &h, NULL), 0);
	assert_int_equal(h.delims.field, '*');
	assert_int_equal(h.delims.component, ':');
	assert_int_equal(h.delims.truncation, '#');
	assert_int_equal(h.segment_bytes, 13);
	assert_int_equal(h.field[4].bytes, 1);
	/* MSH-2 filled up with spaces */
	assert_int_equal(read_exact(TEXT("MSH|^~\\& |A\r"), &h, NULL), 0);
	assert_int_equal(h.delims.truncation, 0);
	assert_int_equal(h.field[2].bytes, 5);
	assert_int_equal(h.field[3].bytes, 1);
}

static void more_fields_than_msh_has(void **state)
{
	char msg[128] = "MSH|^~\\&";
	struct hl7_msh h;

	for (unsigned fields = 2; fields < 40; fields++) {
		assert_int_equal(read_exact(msg, (uint32_t)strlen(msg), &h, NULL), 0);
		assert_int_equal(h.segment_bytes, strlen(msg));
		for (unsigned n = 3; n <= HL7_MSH_FIELDS; n++)
			assert_int_equal(h.field[n].bytes, n <= fields ? 1 : 0);
		strcat(msg, "|x");
	}
}

static void wrong_headers_say_what_and_where(void **state)
{
	static const struct {
		const char *msg;
		int code;
		uint32_t offset;
	} wrong[] = {
	    {"", HL7_E_HEADER, 0},
	    {"MSH", HL7_E_HEADER, 0},
	    {"MSH\r", HL7_E_HEADER, 0},
	    {"PID|1", HL7_E_HEADER, 0},
	    {"msh|^~\\&|", HL7_E_HEADER, 0},
	    {"\nMSH|^~\\&|", HL7_E_HEADER, 0},
	    {"\xef\xbb\xbfMSH|^~\\&|", HL7_E_BOM, 0},
	    {"\xff\xfeM", HL7_E_BOM, 0},
	    {"MSHA^~\\&A", HL7_E_DELIM, 3},
	    {"MSH7^~\\&7", HL7_E_DELIM, 3},
	    {"MSH ^~\\& ", HL7_E_DELIM, 3},
	    {"MSH\t^~\\&\t", HL7_E_DELIM, 3},
	    {"MSH||LAB|", HL7_E_DELIM, 4},
	    {"MSH|", HL7_E_DELIM, 4},
	    {"MSH|\rPID|", HL7_E_DELIM, 4},
	    {"MSH|^~^&|", HL7_E_DELIM, 6},
	    {"MSH|^~\\\\|", HL7_E_DELIM, 7},
	    {"MSH|^~\\x|", HL7_E_DELIM, 7},
	    {"MSH|^~\\\xc2\xa7|", HL7_E_DELIM, 7}, /* a section sign in UTF-8 */
	    {"MSH|^~\\&#!|", HL7_E_DELIM, 9},
	    {"MSH|^~\\& A B C D", HL7_E_DELIM, 9},
	    {"MSH| ^~&|", HL7_E_DELIM, 4},
	};

	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct hl7_error err = {0};
		struct hl7_msh h, before;

		memset(&h, 0x5a, sizeof h);
		before = h;
		assert_int_equal(read_exact(wrong[i].msg, (uint32_t)strlen(wrong[i].msg), &h, &err), wrong[i].code);
		assert_int_equal(err.code, wrong[i].code);
		assert_int_equal(err.offset, wrong[i].offset);
		assert_memory_equal(&h, &before, sizeof h); /* untouched */
		assert_true(strlen(hl7_strerror(err.code)) > 10);
		assert_true(hl7_error_0357(err.code) >= 100 && hl7_error_0357(err.code) <= 207);
		if (err.code == HL7_E_DELIM)
			assert_string_equal(err.segment, "MSH");
	}
}

static void an_answer_is_read(void **state)
{
	static const char msg[] =
	    "MSH|^~\\&|A|B|C|D|||ACK|1|P|2.3\r\nSFT|x\r\nMSA|AE|id-7|no such patient\r\nERR|^^^207\r\n";
	struct hl7_msh h;
	struct hl7_msa a;

	assert_int_equal(hl7_msa_read(TEXT(msg), &h, &a, NULL), 0);
	assert_string_equal(a.code, "AE");
	assert_string_equal(text_of(msg, a.control_id), "id-7");
	assert_string_equal(text_of(msg, a.text), "no such patient");
	assert_int_equal(a.err_offset, strstr(msg, "ERR|") - msg);
	assert_int_equal(h.field[10].bytes, 1);
	assert_int_equal(hl7_msa_read(TEXT("MSH|^~\\&|A\rMSA|CA|9"), &h, &a, NULL), 0);
	assert_string_equal(a.code, "CA");
	assert_int_equal(a.control_id.bytes, 1);
	assert_int_equal(a.text.bytes, 0);
	assert_int_equal(a.err_offset, 0);
}

static void an_answer_without_a_code_is_none(void **state)
{
	struct hl7_error err;
	struct hl7_msh h;
	struct hl7_msa a;

	assert_int_equal(hl7_msa_read(TEXT("MSH|^~\\&|A\rMSAX|AA|1\rXMSA|AA|1\r"), &h, &a, &err), HL7_E_MSA);
	assert_int_equal(hl7_msa_read(TEXT("MSH|^~\\&|A\rMSA||1\r"), &h, &a, &err), HL7_E_MSA);
	assert_string_equal(err.segment, "MSA");
	assert_int_equal(err.field, 1);
	assert_int_equal(hl7_msa_read(TEXT("MSH|^~\\&|A\rMSA|AAA|1\r"), &h, &a, &err), HL7_E_MSA);
	assert_int_equal(hl7_msa_read(TEXT("MSH|^~\\&|A\rMSA"), &h, &a, &err), HL7_E_MSA);
	assert_int_equal(hl7_msa_read(TEXT("MSA|AA|1\r"), &h, &a, &err), HL7_E_HEADER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_usual_header),
	    cmocka_unit_test(the_shortest_header),
	    cmocka_unit_test(other_delimiters_and_line_ends),
	    cmocka_unit_test(more_fields_than_msh_has),
	    cmocka_unit_test(wrong_headers_say_what_and_where),
	    cmocka_unit_test(an_answer_is_read),
	    cmocka_unit_test(an_answer_without_a_code_is_none),
	};

	return RUN_ON_EVERY_KERNEL("msh", tests);
}
