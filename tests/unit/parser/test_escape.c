/* SPDX-License-Identifier: Apache-2.0 */
/* test_escape.c - escape sequences of values. */
#include "kernels.h"

#include <errno.h>
#include <stdlib.h>

static const struct hl7_delims usual = {'|', '^', '~', '\\', '&', '#'};

static void sequences_are_resolved(void **state)
{
	static const struct {
		const char *in, *out;
	} want[] = {
	    {"", ""},
	    {"plain", "plain"},
	    {"a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\P\\", "a|b^c&d~e\\f#"},
	    {"\\X41\\\\X0d0A\\", "A\r\n"},
	    {"\\X4\\\\XG1\\\\X\\", "\\X4\\\\XG1\\\\X\\"},
	    {"\\H\\bold\\N\\ \\.br\\ \\C2842\\ \\Zown\\", "\\H\\bold\\N\\ \\.br\\ \\C2842\\ \\Zown\\"},
	    {"C:\\no end", "C:\\no end"},
	    {"\\", "\\"},
	    {"a\\\\b", "a\\\\b"},
	    {"\\f\\", "\\f\\"},
	};

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		uint32_t in_bytes = (uint32_t)strlen(want[i].in), out_bytes = (uint32_t)strlen(want[i].out);
		char *out = malloc(in_bytes + 1), *exact = malloc(out_bytes + 1);

		assert_int_equal(hl7_unescape(&usual, want[i].in, in_bytes, out, in_bytes), out_bytes);
		assert_memory_equal(out, want[i].out, out_bytes);
		/* in place */
		memcpy(out, want[i].in, in_bytes);
		assert_int_equal(hl7_unescape(&usual, out, in_bytes, out, in_bytes), out_bytes);
		assert_memory_equal(out, want[i].out, out_bytes);
		/* room for exactly the result, and too little */
		assert_int_equal(hl7_unescape(&usual, want[i].in, in_bytes, exact, out_bytes), out_bytes);
		for (uint32_t room = 0; room < out_bytes; room++) {
			char *less = malloc(room + 1);

			assert_int_equal(hl7_unescape(&usual, want[i].in, in_bytes, less, room), -ENOSPC);
			free(less);
		}
		free(exact);
		free(out);
	}
}

static void without_an_escape_character_nothing_is_escaped(void **state)
{
	static const struct hl7_delims short_msh2 = {'|', '^', 0, 0, 0, 0};
	char out[16];

	assert_int_equal(hl7_unescape(&short_msh2, TEXT("a\\F\\b"), out, sizeof out), 5);
	assert_memory_equal(out, "a\\F\\b", 5);
	/* and a delimiter that is not declared has no sequence */
	assert_int_equal(
	    hl7_unescape(&(struct hl7_delims){'|', '^', '~', '\\', 0, 0}, TEXT("\\T\\\\P\\"), out, sizeof out), 6);
	assert_memory_equal(out, "\\T\\\\P\\", 6);
}

static void any_bytes_can_be_escaped_and_come_back(void **state)
{
	char in[300], out[1500], back[1500];
	int n;

	for (unsigned i = 0; i < sizeof in; i++)
		in[i] = (char)i;
	n = hl7_escape(&usual, in, sizeof in, out, sizeof out);
	assert_true(n > (int)sizeof in);
	for (int i = 0; i < n; i++)
		assert_null(strchr("|^~&\r\n#", out[i] ? out[i] : '|'));
	assert_int_equal(hl7_unescape(&usual, out, (uint32_t)n, back, sizeof back), sizeof in);
	assert_memory_equal(in, back, sizeof in);
	for (uint32_t room = 0; room < (uint32_t)n; room++) {
		char *less = malloc(room + 1);

		assert_int_equal(hl7_escape(&usual, in, sizeof in, less, room), -ENOSPC);
		free(less);
	}
	assert_int_equal(hl7_escape(&usual, TEXT("a|b\n"), out, sizeof out), 10);
	assert_memory_equal(out, "a\\F\\b\\X0A\\", 10);
	assert_int_equal(hl7_escape(&(struct hl7_delims){'|', '^', 0, 0, 0, 0}, TEXT("a^b"), out, sizeof out),
	                 HL7_E_ESCAPE);
	assert_int_equal(hl7_escape(&(struct hl7_delims){'|', '^', 0, 0, 0, 0}, TEXT("a~&\\"), out, sizeof out), 4);
}

static void text_comes_in_pieces(void **state)
{
	static const char in[] = "a\\H\\b\\N\\\\.br\\\\.sp3\\\\.in-4\\\\.sk "
	                         "2\\\\C2842\\\\M244142\\\\Zmine\\\\X41\\\\F\\\\?\\\\.zz\\\\\\z\\end";
	static const struct {
		int kind;
		const char *value;
		char code;
		const char *command;
		int number;
	} want[] = {
	    {HL7_TEXT_PLAIN, "a", 0, "", 0},
	    {HL7_TEXT_HIGHLIGHT, "\\H\\", 'H', "", 0},
	    {HL7_TEXT_PLAIN, "b", 0, "", 0},
	    {HL7_TEXT_HIGHLIGHT, "\\N\\", 'N', "", 0},
	    {HL7_TEXT_FORMAT, "\\.br\\", 0, "br", 0},
	    {HL7_TEXT_FORMAT, "\\.sp3\\", 0, "sp", 3},
	    {HL7_TEXT_FORMAT, "\\.in-4\\", 0, "in", -4},
	    {HL7_TEXT_FORMAT, "\\.sk 2\\", 0, "sk", 2},
	    {HL7_TEXT_CHARSET, "2842", 'C', "", 0},
	    {HL7_TEXT_CHARSET, "244142", 'M', "", 0},
	    {HL7_TEXT_LOCAL, "mine", 0, "", 0},
	    {HL7_TEXT_BYTES, "\\X41\\", 0, "", 0},
	    {HL7_TEXT_BYTES, "\\F\\", 0, "", 0},
	    {HL7_TEXT_UNKNOWN, "\\?\\", 0, "", 0},
	    {HL7_TEXT_UNKNOWN, "\\.zz\\", 0, "", 0},
	    {HL7_TEXT_UNKNOWN, "\\\\", 0, "", 0},
	    {HL7_TEXT_PLAIN, "z\\end", 0, "", 0},
	};
	uint32_t at = 0, i = 0;
	struct hl7_text t;
	char out[128];
	int n;

	for (; hl7_text_next(&usual, TEXT(in), &at, &t); i++) {
		assert_true(i < sizeof want / sizeof want[0]);
		assert_int_equal(t.kind, want[i].kind);
		assert_int_equal(t.value.bytes, strlen(want[i].value));
		assert_memory_equal(in + t.value.offset, want[i].value, t.value.bytes);
		assert_int_equal(t.code, want[i].code);
		assert_string_equal(t.command, want[i].command);
		assert_int_equal(t.number, want[i].number);
	}
	assert_int_equal(i, sizeof want / sizeof want[0]);
	n = hl7_text_plain(&usual, TEXT(in), out, sizeof out);
	assert_int_equal(n, 48);
	assert_memory_equal(out, "ab\n\n\n\n  \\C2842\\\\M244142\\\\Zmine\\A|\\?\\\\.zz\\\\\\z\\end", 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sequences_are_resolved),
	    cmocka_unit_test(any_bytes_can_be_escaped_and_come_back),
	    cmocka_unit_test(text_comes_in_pieces),
	    cmocka_unit_test(without_an_escape_character_nothing_is_escaped),
	};

	return RUN_ON_EVERY_KERNEL("escape", tests);
}
