/* SPDX-License-Identifier: Apache-2.0 */
/* test_escape.c - escape sequences of values. */
#include "kernels.h"

#include <errno.h>
#include <stdlib.h>

static const struct hl7_delims usual = { '|', '^', '~', '\\', '&', '#' };

static void sequences_are_resolved(void **state)
{
	static const struct {
		const char *in, *out;
	} want[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\P\\", "a|b^c&d~e\\f#" },
		{ "\\X41\\\\X0d0A\\", "A\r\n" },
		{ "\\X4\\\\XG1\\\\X\\", "\\X4\\\\XG1\\\\X\\" },
		{ "\\H\\bold\\N\\ \\.br\\ \\C2842\\ \\Zown\\", "\\H\\bold\\N\\ \\.br\\ \\C2842\\ \\Zown\\" },
		{ "C:\\no end", "C:\\no end" },
		{ "\\", "\\" },
		{ "a\\\\b", "a\\\\b" },
		{ "\\f\\", "\\f\\" },
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
	static const struct hl7_delims short_msh2 = { '|', '^', 0, 0, 0, 0 };
	char out[16];

	assert_int_equal(hl7_unescape(&short_msh2, TEXT("a\\F\\b"), out, sizeof out), 5);
	assert_memory_equal(out, "a\\F\\b", 5);
	/* and a delimiter that is not declared has no sequence */
	assert_int_equal(hl7_unescape(&(struct hl7_delims){ '|', '^', '~', '\\', 0, 0 }, TEXT("\\T\\\\P\\"), out, sizeof out), 6);
	assert_memory_equal(out, "\\T\\\\P\\", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences_are_resolved),
		cmocka_unit_test(without_an_escape_character_nothing_is_escaped),
	};

	return RUN_ON_EVERY_KERNEL("escape", tests);
}
