/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c - numbers, durations, sizes, rates, addresses and suggestions: what people type, and what they are shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli.h"
#include "hist.h"
#include "net.h"

static void durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {{"50ms", 50000000},    {"1.5s", 1500000000}, {"2", 2000000000},     {"2min", 120000000000},
	            {"10us", 10000},       {"7ns", 7},           {"1h", 3600000000000}, {"0", 0},
	            {"1d", 86400000000000}};
	static const char *const bad[] = {
	    "", "ms", "-1s", "1 fortnight", "1e9", "0x10", "1.2.3s", "99999999999999999999s", "1s ", "inf", "."};
	uint64_t ns;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(cli_parse_duration_ns(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ns = 77;
		assert_int_not_equal(cli_parse_duration_ns(bad[i], &ns), 0);
		assert_int_equal(ns, 77);
	}
}

static void sizes_and_rates(void **state)
{
	uint64_t n = 0;
	double rate = 0;

	assert_int_equal(cli_parse_bytes("64KiB", &n), 0);
	assert_int_equal(n, 65536);
	assert_int_equal(cli_parse_bytes("20MB", &n), 0);
	assert_int_equal(n, 20000000);
	assert_int_equal(cli_parse_bytes("658", &n), 0);
	assert_int_equal(n, 658);
	assert_int_not_equal(cli_parse_bytes("1.5", &n), 0);
	assert_int_not_equal(cli_parse_bytes("12 parsecs", &n), 0);
	assert_int_equal(cli_parse_rate("500/s", &rate), 0);
	assert_true(rate > 499.9 && rate < 500.1);
	assert_int_equal(cli_parse_rate("30/min", &rate), 0);
	assert_true(rate > 0.499 && rate < 0.501);
	assert_int_equal(cli_parse_rate("20k", &rate), 0);
	assert_true(rate > 19999 && rate < 20001);
	assert_int_not_equal(cli_parse_rate("0", &rate), 0);
	assert_int_not_equal(cli_parse_number("1x", &n), 0);
	assert_int_not_equal(cli_parse_number("18446744073709551616", &n), 0);
	assert_int_equal(cli_parse_number("18446744073709551615", &n), 0);
	assert_true(n == UINT64_MAX);
}

static void shown(void **state)
{
	char text[40];

	assert_string_equal(cli_format_count(text, sizeof(text), 1234567), "1,234,567");
	assert_string_equal(cli_format_count(text, sizeof(text), 0), "0");
	assert_string_equal(cli_format_count(text, sizeof(text), 999), "999");
	assert_string_equal(cli_format_count(text, sizeof(text), UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(cli_format_bytes(text, sizeof(text), 999), "999 B");
	assert_string_equal(cli_format_bytes(text, sizeof(text), 1536), "1.50 KiB");
	assert_string_equal(cli_format_duration(text, sizeof(text), 1250000), "1.25 ms");
}

static void addresses(void **state)
{
	static const char *const bad[] = {"",      "2575",   ":2575",      "::1:2575",    "[::1]", "[::1]2575",
	                                  "host:", "host:x", "host:65536", "host:123456", "[]:1"};
	struct net_address a;

	assert_int_equal(net_parse("hub.example.org:2575", NULL, &a), 0);
	assert_string_equal(a.host, "hub.example.org");
	assert_string_equal(a.port, "2575");
	assert_int_equal(net_parse("[::1]:65535", NULL, &a), 0);
	assert_string_equal(a.host, "::1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(net_parse(bad[i], NULL, &a), 0);
	assert_int_equal(net_parse("2575", "127.0.0.1", &a), 0);
	assert_string_equal(a.host, "127.0.0.1");
	assert_int_equal(net_parse(":0", "127.0.0.1", &a), 0);
	assert_string_equal(a.port, "0");
}

static void suggestions(void **state)
{
	static const char *const words[] = {"connections", "window", "rate", "repeat", "retry", "print-acks"};

	assert_string_equal(cli_did_you_mean("conections", words, 6), "connections");
	assert_string_equal(cli_did_you_mean("widnow", words, 6), "window");
	assert_string_equal(cli_did_you_mean("conn", words, 6), "connections");
	assert_null(cli_did_you_mean("zebra", words, 6));
	assert_null(
	    cli_did_you_mean("a-word-of-a-length-that-no-command-line-ever-had-and-none-ever-will-have", words, 6));
}

/* Every command can be found by its name; every option's name is its own. */
static void table(void **state)
{
	int count, words;
	const struct cli_command *c = cli_commands(&count);

	assert_true(count > 15);
	for (int i = 0; i < count; i++) {
		const char *argv[4] = {0};
		char copy[64];
		int n = 0;

		assert_true(strlen(c[i].name) < sizeof(copy));
		strcpy(copy, c[i].name);
		for (char *at = strtok(copy, " "); at; at = strtok(NULL, " "))
			argv[n++] = at;
		assert_ptr_equal(cli_find(n, argv, &words), &c[i]);
		assert_int_equal(words, n);
		for (const struct cli_option *o = c[i].options; o->name; o++)
			for (const struct cli_option *p = o + 1; p->name; p++) {
				assert_string_not_equal(o->name, p->name);
				assert_false(o->letter && o->letter == p->letter);
			}
	}
}

static void histogram(void **state)
{
	struct hist *h = calloc(1, sizeof(*h));
	uint64_t p;

	assert_int_equal(hist_quantile(h, 0.5), 0);
	for (uint64_t v = 1; v <= 1000000; v += 7)
		hist_add(h, v);
	p = hist_quantile(h, 0.5);
	assert_true(p >= 490000 && p <= 510000);
	p = hist_quantile(h, 0.999);
	assert_true(p >= 990000 && p <= 1000000);
	assert_true(hist_quantile(h, 1.0) <= h->max);
	for (uint32_t i = 1; i < HIST_BUCKETS; i++)
		assert_int_equal(hist_index(hist_top(i - 1) + 1), i); /* the buckets meet */
	hist_add(h, UINT64_MAX);
	assert_true(h->max == UINT64_MAX);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(durations), cmocka_unit_test(sizes_and_rates), cmocka_unit_test(shown),
	    cmocka_unit_test(addresses), cmocka_unit_test(suggestions),     cmocka_unit_test(table),
	    cmocka_unit_test(histogram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
