/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ack_plan.c - which answers a message gets: every MSH-15, every MSH-16, every setting, every verdict.
 *
 * The expected value is worked out here from the standard's words, not from the code: chapter 2, 2.8 and table 0155.
 */
#include "unit.h"

#include "core.h"

#include <stdio.h>
#include <string.h>

static const char *const asked[] = {"", "AL", "NE", "ER", "SU", "XX", "A", "\"\""};

/* Is this kind of answer wanted? Unknown words count as "always". */
static bool wanted(const char *word, bool accepted)
{
	if (!*word || !strcmp(word, "NE"))
		return false;
	if (!strcmp(word, "ER"))
		return !accepted;
	if (!strcmp(word, "SU"))
		return accepted;
	return true;
}

static void expect(char *ret, const char *w15, const char *w16, int mode, int app, enum verdict v)
{
	static const char *const application[] = {"AA", "AE", "AR", "AR"}, *const commit[] = {"CA", "CE", "CR", "CE"};
	bool accepted = v == VERDICT_ACCEPT, first = wanted(w15, accepted), second = wanted(w16, accepted);

	*ret = 0;
	if (mode == MR_ACK_ALWAYS || (!*w15 && !*w16)) { /* original mode: always one application answer */
		strcat(ret, application[v]);
		return;
	}
	if (app == MR_APP_ACK_NONE)
		second = false;
	if (app == MR_APP_ACK_ONE && first)
		second = false;
	if (!accepted && first) /* what was not taken in never reaches an application: one answer says all */
		second = false;
	if (first)
		strcat(ret, commit[v]);
	if (second)
		strcat(ret, application[v]);
}

static void check_one(const char *w15, const char *w16, int mode, int app, enum verdict v)
{
	struct mr_config_listener l = {.ack_mode = (uint8_t)mode, .app_ack = (uint8_t)app};
	struct hl7_msh msh;
	struct ack_plan p;
	char msg[200], want[8], got[8] = "";
	int n = snprintf(msg, sizeof(msg), "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|||%s|%s\rPID|1\r", w15, w16);

	assert_int_equal(hl7_msh_read(msg, (uint32_t)n, &msh, NULL), 0);
	expect(want, w15, w16, mode, app, v);
	p = ack_plan(&l, msg, &msh, v);
	for (int i = 0; i < 2 && p.code[i]; i++)
		strcat(got, p.code[i]);
	if (strcmp(got, want))
		fail_msg("MSH-15 '%s' MSH-16 '%s' mode %d application %d verdict %d: '%s', not '%s'", w15, w16, mode, app, (int)v,
			 got, want);
	assert_true(p.code[0] || !p.code[1]);
}

static void test_every_combination(void **state)
{
	for (size_t a = 0; a < MR_ARRAY_LEN(asked); a++)
		for (size_t b = 0; b < MR_ARRAY_LEN(asked); b++)
			for (int mode = MR_ACK_BY_MSH; mode <= MR_ACK_ALWAYS; mode++)
				for (int app = MR_APP_ACK_ONE; app <= MR_APP_ACK_NONE; app++)
					for (int v = VERDICT_ACCEPT; v <= VERDICT_LATER; v++)
						check_one(asked[a], asked[b], mode, app, (enum verdict)v);
}

static void test_a_short_header_is_original_mode(void **state)
{
	static const char msg[] = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.2\r";
	struct mr_config_listener l = {.app_ack = MR_APP_ACK_NONE};
	struct hl7_msh msh;

	assert_int_equal(hl7_msh_read(msg, sizeof(msg) - 1, &msh, NULL), 0);
	assert_string_equal(ack_plan(&l, msg, &msh, VERDICT_ACCEPT).code[0], "AA");
}

static void test_without_a_header_the_answer_is_in_original_mode(void **state)
{
	static const char *const code[] = {"AA", "AE", "AR", "AR"};
	struct mr_config_listener l = {.ack_mode = MR_ACK_BY_MSH, .app_ack = MR_APP_ACK_NONE};

	for (int v = VERDICT_ACCEPT; v <= VERDICT_LATER; v++) {
		struct ack_plan p = ack_plan(&l, "not HL7", NULL, (enum verdict)v);

		assert_string_equal(p.code[0], code[v]);
		assert_null(p.code[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_combination),
		cmocka_unit_test(test_a_short_header_is_original_mode),
		cmocka_unit_test(test_without_a_header_the_answer_is_in_original_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
