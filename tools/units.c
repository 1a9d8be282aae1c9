/* SPDX-License-Identifier: Apache-2.0 */
/*
 * units.c - durations, sizes, rates and counts, from text and to text. Used by every command; pure.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "mr_base.h"

struct unit {
	const char *name;
	double factor;
};

/* Number and unit; the number is not negative and has no exponent or hex form. */
static int units_parse(const char *text, const struct unit *units, double *ret)
{
	double value;
	char *end;

	if (!*text || strspn(text, "0123456789.") == 0)
		return -EINVAL;
	if (strspn(text, "0123456789.") > 18 || (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')))
		return -EINVAL;
	value = strtod(text, &end);
	if (end != text + strspn(text, "0123456789."))
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (; units->name; units++)
		if (strcmp(end, units->name) == 0) {
			*ret = value * units->factor;
			return 0;
		}
	return -EINVAL;
}

int cli_parse_number(const char *text, uint64_t *ret)
{
	char *end;
	uint64_t n;

	if (!*text || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	*ret = n;
	return 0;
}

int cli_parse_duration_ns(const char *text, uint64_t *ret)
{
	static const struct unit units[] = {{"", 1e9},     {"s", 1e9},  {"ms", 1e6},   {"us", 1e3},    {"ns", 1},
	                                    {"min", 60e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {NULL, 0}};
	double ns;

	if (units_parse(text, units, &ns) < 0 || ns > 1e18)
		return -EINVAL;
	*ret = (uint64_t)(ns + 0.5);
	return 0;
}

int cli_parse_bytes(const char *text, uint64_t *ret)
{
	static const struct unit units[] = {{"", 1},          {"B", 1},    {"k", 1024},         {"K", 1024},
	                                    {"KiB", 1024},    {"kB", 1e3}, {"KB", 1e3},         {"M", 1048576},
	                                    {"MiB", 1048576}, {"MB", 1e6}, {"G", 1073741824.0}, {"GiB", 1073741824.0},
	                                    {"GB", 1e9},      {NULL, 0}};
	double bytes;

	if (units_parse(text, units, &bytes) < 0 || bytes > 1e18 || bytes != floor(bytes))
		return -EINVAL;
	*ret = (uint64_t)bytes;
	return 0;
}

int cli_parse_rate(const char *text, double *ret)
{
	static const struct unit units[] = {{"", 1},    {"/s", 1},    {"/min", 1 / 60.0}, {"/h", 1 / 3600.0},
	                                    {"k", 1e3}, {"k/s", 1e3}, {"K", 1e3},         {"K/s", 1e3},
	                                    {"M", 1e6}, {"M/s", 1e6}, {NULL, 0}};
	double rate;

	if (units_parse(text, units, &rate) < 0 || rate <= 0 || rate > 1e9)
		return -EINVAL;
	*ret = rate;
	return 0;
}

char *cli_format_duration(char *out, size_t room, uint64_t ns)
{
	if (ns < 1000)
		snprintf(out, room, "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(out, room, "%.3g us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(out, room, "%.3g ms", (double)ns / 1e6);
	else if (ns < 120ull * 1000000000)
		snprintf(out, room, "%.3g s", (double)ns / 1e9);
	else if (ns < 7200ull * 1000000000)
		snprintf(out, room, "%llu min", (unsigned long long)(ns / 60000000000ull));
	else if (ns < 172800ull * 1000000000)
		snprintf(out, room, "%.1f h", (double)ns / 3600e9);
	else
		snprintf(out, room, "%.1f d", (double)ns / 86400e9);
	return out;
}

char *cli_format_bytes(char *out, size_t room, uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1000 && u + 1 < MR_ARRAY_LEN(names)) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(out, room, "%llu B", (unsigned long long)bytes);
	else
		snprintf(out, room, v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, names[u]);
	return out;
}

char *cli_format_count(char *out, size_t room, uint64_t n)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;

	for (size_t i = 0; i < len && at + 2 < room; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = 0;
	return out;
}
