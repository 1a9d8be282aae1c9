/* SPDX-License-Identifier: Apache-2.0 */
/* test_split.c - the messages in files as people really have them: terminators, frames, batches, notes, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "split.h"

#define A "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5"
#define B "MSH|^~\\&|A|B|C|D|20260101||ADT^A02|2|P|2.5"

struct seen {
	char text[8][400];
	uint32_t line[8], problem_line[8];
	int count, problems;
};

static int on_message(void *arg, const char *msg, uint32_t bytes, uint32_t line)
{
	struct seen *s = arg;

	assert_true(s->count < 8 && bytes < sizeof(s->text[0]));
	memcpy(s->text[s->count], msg, bytes);
	s->text[s->count][bytes] = 0;
	s->line[s->count++] = line;
	return 0;
}

static void on_problem(void *arg, uint32_t line, const char *text)
{
	struct seen *s = arg;

	assert_true(s->problems < 8);
	assert_non_null(text);
	s->problem_line[s->problems++] = line;
}

static struct seen split(const char *data, size_t bytes, bool keep_eol, struct split_counts *counts)
{
	struct split_counts none = {0};
	struct seen s = {0};
	struct split_to to = {on_message, on_problem, &s};
	char *copy = malloc(bytes ? bytes : 1); /* of the exact size: a read beyond it is found by the sanitizer */

	memcpy(copy, data, bytes);
	assert_int_equal(split_messages(copy, bytes, keep_eol, &to, counts ? counts : &none), 0);
	free(copy);
	return s;
}

static struct seen split_text(const char *text)
{
	return split(text, strlen(text), false, NULL);
}

static void terminators(void **state)
{
	static const char *const files[] = {
	    A "\rPID|1\r",         A "\nPID|1\n",       A "\r\nPID|1\r\n",  A "\rPID|1",
	    A "\r\r\nPID|1\r\r\n", A "\n\nPID|1\n\n\n", "\n\n" A "\nPID|1", "\xef\xbb\xbf" A "\nPID|1\n"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct seen s = split_text(files[i]);

		assert_int_equal(s.count, 1);
		assert_int_equal(s.problems, 0);
		assert_string_equal(s.text[0], A "\rPID|1\r");
	}
}

static void several(void **state)
{
	struct seen s = split_text("a note\n\n" A "\nPID|1\n\n" B "\nPID|2\n");

	assert_int_equal(s.count, 2);
	assert_string_equal(s.text[0], A "\rPID|1\r");
	assert_string_equal(s.text[1], B "\rPID|2\r");
	assert_int_equal(s.line[0], 3);
	assert_int_equal(s.line[1], 6);
}

static void joined_with_marks(void **state)
{
	struct seen s = split_text("\xef\xbb\xbf" A "\r\n\xef\xbb\xbf" B "\r\n");

	assert_int_equal(s.count, 2);
	assert_string_equal(s.text[1], B "\r");
}

static void batches(void **state)
{
	struct split_counts c = {0};
	const char *file = "FHS|^~\\&|X\rBHS|^~\\&|X\r" A "\rPID|1\r" B "\rPID|2\rBTS|2\rFTS|1\r";
	struct seen s = split(file, strlen(file), false, &c);

	assert_int_equal(s.count, 2);
	assert_int_equal(c.envelopes, 4);
	assert_string_equal(s.text[1], B "\rPID|2\r");
}

static void frames(void **state)
{
	struct seen s = split_text("\x0b" A "\rNTE|1||x\rMSH|not another message\r\x1c\r\x0b" B "\n\x1c\r");

	assert_int_equal(s.count, 2);
	assert_string_equal(s.text[0], A "\rNTE|1||x\rMSH|not another message\r");
	assert_string_equal(s.text[1], B "\r");
	s = split_text("\x0b"
	               "BHS|^~\\&|X\r" A "\r" B "\rBTS|2\r\x1c\r\n");
	assert_int_equal(s.count, 2);
	s = split_text("\x0b" A "\r\x1c\r\x0b" B "\r"); /* the second is cut short: it is not sent */
	assert_int_equal(s.count, 1);
	assert_int_equal(s.problems, 1);
	s = split_text("\x0b" A "\r\x1c\rjunk\r\x0b" B "\r\x1c\r");
	assert_int_equal(s.count, 2);
	assert_int_equal(s.problems, 1);
	assert_int_equal(s.problem_line[0], 3);
	s = split_text("a note\n\x0b" A "\r\x1c\r\n"); /* framing inside a text file */
	assert_int_equal(s.count, 1);
	assert_string_equal(s.text[0], A "\r");
}

static void kept_as_is(void **state)
{
	const char *file = "note\r\n" A "\r\nPID|1\r\n\r\n" B "\nPID|2\n\n";
	struct seen s = split(file, strlen(file), true, NULL);

	assert_int_equal(s.count, 2);
	assert_string_equal(s.text[0], A "\r\nPID|1\r\n");
	assert_string_equal(s.text[1], B "\nPID|2\n");
}

static void refused(void **state)
{
	struct seen s = split_text("");

	assert_int_equal(s.count + s.problems, 0);
	s = split_text("PID|1\rPV1|1\r");
	assert_int_equal(s.count + s.problems, 0);
	s = split_text("MSH\r" B "\r"); /* no delimiters */
	assert_int_equal(s.count, 1);
	assert_int_equal(s.problems, 1);
	assert_int_equal(s.problem_line[0], 1);
	s = split_text("MSH||||\r\r" B "\r"); /* all delimiters the same */
	assert_int_equal(s.count, 1);
	assert_int_equal(s.problems, 1);
	s = split("\xff\xfeM\0S\0H\0", 8, false, NULL);
	assert_int_equal(s.count, 0);
	assert_int_equal(s.problems, 1);
	s = split("\0\0\0\x0b\x1c\r", 6, false, NULL);
	assert_int_equal(s.count, 0);
	s = split_text("\x0b\x1c\r"); /* an empty frame */
	assert_int_equal(s.problems, 1);
}

static void nul_bytes(void **state)
{
	static const char file[] = A "\rOBX|1|ED|x\0y\r";
	struct split_counts c = {0};
	struct seen s = split(file, sizeof(file) - 1, false, &c);

	assert_int_equal(s.count, 1);
	assert_memory_equal(s.text[0], file, sizeof(file) - 1);
}

/* Any cut of a file that mixes everything: nothing is read beyond its end, and what comes out is never longer. */
static void every_cut(void **state)
{
	static const char file[] = "\xef\xbb\xbf"
	                           "note\r\n" A "\r\nPID|1\n\rFHS|\r" B "\rPID\x1c\r\x0b" A "\r\x1c\r\nBTS";

	for (size_t n = 0; n < sizeof(file); n++)
		for (size_t from = 0; from <= n; from++) {
			struct seen s = split(file + from, n - from, from & 1, NULL);

			for (int i = 0; i < s.count; i++)
				assert_memory_equal(s.text[i], "MSH", 3);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(terminators), cmocka_unit_test(several),   cmocka_unit_test(joined_with_marks),
	    cmocka_unit_test(batches),     cmocka_unit_test(frames),    cmocka_unit_test(kept_as_is),
	    cmocka_unit_test(refused),     cmocka_unit_test(nul_bytes), cmocka_unit_test(every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
