/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c - units, words and near words of the configuration. */
#include "load_text.h"

#include "config_tree.h"

#include <string.h>

static void sizes_have_units(void **state)
{
	uint64_t n = 7;

	assert_int_equal(config_size("4KiB", &n), 0);
	assert_int_equal(n, 4096);
	assert_int_equal(config_size("32MiB", &n), 0);
	assert_int_equal(n, 32 << 20);
	assert_int_equal(config_size("1 GiB", &n), 0);
	assert_int_equal(n, 1 << 30);
	assert_int_equal(config_size("2TiB", &n), 0);
	assert_true(n == 2ull << 40);
	assert_int_equal(config_size("5KB", &n), 0);
	assert_int_equal(n, 5000);
	assert_int_equal(config_size("5MB", &n), 0);
	assert_int_equal(n, 5000000);
	assert_int_equal(config_size("17B", &n), 0);
	assert_int_equal(n, 17);
	assert_int_equal(config_size("0", &n), 0);
	assert_int_equal(n, 0);
	n = 7;
	assert_int_equal(config_size("5", &n), CONFIG_E_UNIT);
	assert_int_equal(config_size("5mib", &n), CONFIG_E_UNIT);
	assert_int_equal(config_size("5s", &n), CONFIG_E_UNIT);
	assert_int_equal(config_size("", &n), CONFIG_E_VALUE);
	assert_int_equal(config_size("-5KiB", &n), CONFIG_E_VALUE);
	assert_int_equal(config_size("1.5MiB", &n), CONFIG_E_UNIT);
	assert_int_equal(config_size("16777216TiB", &n), CONFIG_E_RANGE);
	assert_int_equal(config_size("18446744073709551616B", &n), CONFIG_E_RANGE);
	assert_int_equal(n, 7); /* untouched on failure */
	assert_int_equal(config_size("18446744073709551615B", &n), 0);
	assert_true(n == UINT64_MAX);
}

static void durations_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {{"100ms", 100000000ull},
	            {"5s", 5000000000ull},
	            {"10min", 600000000000ull},
	            {"24h", 86400000000000ull},
	            {"7d", 604800000000000ull},
	            {"3us", 3000ull},
	            {"9ns", 9},
	            {"0", 0},
	            {"0s", 0}};
	uint64_t n;

	for (size_t i = 0; i < MR_ARRAY_LEN(good); i++) {
		assert_int_equal(config_duration(good[i].text, &n), 0);
		assert_true(n == good[i].ns);
	}
	assert_int_equal(config_duration("5", &n), CONFIG_E_UNIT);
	assert_int_equal(config_duration("5m", &n), CONFIG_E_UNIT);
	assert_int_equal(config_duration("5sec", &n), CONFIG_E_UNIT);
	assert_int_equal(config_duration("s", &n), CONFIG_E_VALUE);
	assert_int_equal(config_duration("99999999999d", &n), CONFIG_E_RANGE);
}

static void words_are_exact(void **state)
{
	uint64_t n;

	assert_int_equal(config_word("durable|os|none", "os", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(config_word("durable|os|none", "none", &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(config_word("durable|os|none", "o", &n), CONFIG_E_VALUE);
	assert_int_equal(config_word("durable|os|none", "", &n), CONFIG_E_VALUE);
	assert_int_equal(config_word("durable|os|none", "durable|os", &n), CONFIG_E_VALUE);
	for (int i = 0; i < 6; i++) {
		static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

		assert_int_equal(config_bool(words[i], &n), 0);
		assert_int_equal(n, i & 1);
	}
	assert_int_equal(config_bool("1", &n), CONFIG_E_VALUE);
	assert_int_equal(config_count("12", &n), 0);
	assert_int_equal(n, 12);
	assert_int_equal(config_count("12x", &n), CONFIG_E_VALUE);
	assert_int_equal(config_count("+12", &n), CONFIG_E_VALUE);
}

static const char *nearest(const char *text, const char *words)
{
	static struct config_nearest n;
	char room[MR_NAME_BYTES];

	n = (struct config_nearest){.text = text};
	for (uint32_t i = 0; *config_word_at(words, i, room, sizeof(room)); i++)
		config_nearest_try(&n, room, NULL);
	return config_nearest_found(&n) ? n.best : "";
}

static void near_words_are_found_and_far_ones_not(void **state)
{
	assert_string_equal(nearest("durabel", "durable|os|none"), "durable");
	assert_string_equal(nearest("erh", "ehr|lab|archive"), "ehr");
	assert_string_equal(nearest("max-frame", "max_frame|backlog"), "max_frame");
	assert_string_equal(nearest("maxframe", "max_frame|backlog"), "max_frame");
	assert_string_equal(nearest("ack_timout", "ack_timeout|connect_timeout"), "ack_timeout");
	assert_string_equal(nearest("listener", "listeners|destinations"), "listeners");
	assert_string_equal(nearest("xyz", "durable|os|none"), "");
	assert_string_equal(nearest("", "durable|os|none"), "");
}

static void names_have_few_characters(void **state)
{
	char longest[65];

	memset(longest, 'a', sizeof(longest));
	longest[64] = 0;
	assert_false(config_name_legal(longest));
	longest[63] = 0;
	assert_true(config_name_legal(longest));
	assert_true(config_name_legal("adt-2_X"));
	assert_true(config_name_legal("7"));
	assert_false(config_name_legal(""));
	assert_false(config_name_legal("-a"));
	assert_false(config_name_legal("_a"));
	assert_false(config_name_legal("a.b"));
	assert_false(config_name_legal("a/b"));
	assert_false(config_name_legal("\xc3\xa4"));
}

/* Each default and bound of the schema must itself be legal, or reading any file would stop the program. */
static void the_schema_holds(void **state)
{
	for (uint32_t i = 0; i < config_setting_count; i++) {
		const struct config_setting *s = &config_settings[i];

		assert_true(strlen(s->path) < MR_NAME_BYTES);
		assert_true(strlen(s->help) > 5);
		assert_int_equal(&config_settings[i] ==
		                     config_setting_at(s->scope, (uint32_t)config_setting_find(s->scope, s->path)),
		                 1);
		assert_true(config_setting_find(s->scope, s->path) < CONFIG_SETTINGS_MAX);
		if (s->initial[0] == '@')
			assert_true(config_setting_find(CONFIG_ROOT, s->initial + 1) >= 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_have_units),          cmocka_unit_test(durations_have_units),
	    cmocka_unit_test(words_are_exact),           cmocka_unit_test(near_words_are_found_and_far_ones_not),
	    cmocka_unit_test(names_have_few_characters), cmocka_unit_test(the_schema_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
