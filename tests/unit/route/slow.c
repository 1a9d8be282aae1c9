/* SPDX-License-Identifier: Apache-2.0 */
/* slow.c - see slow.h. Written for being obviously right; a message and a value have bounds that the random test keeps.
 */
#include "slow.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 200
#define BYTES_MAX  400

struct values {
	char text[VALUES_MAX][BYTES_MAX];
	uint32_t count;
};

struct delims {
	char field, component, repetition, escape, subcomponent;
};

static void expect(bool held)
{
	if (!held)
		abort();
}

/* The n-th part of a text, from 1; NULL if there are fewer. Returned in a buffer that the next call reuses. */
static const char *part(const char *text, char delim, int n)
{
	static char buf[4][BYTES_MAX * 4];
	static int turn;
	char *out = buf[turn++ & 3];
	const char *p = text, *end;

	for (;;) {
		end = strchr(p, delim);
		if (n == 1)
			break;
		if (!end)
			return NULL;
		p = end + 1;
		n--;
	}
	expect((end ? (size_t)(end - p) : strlen(p)) < sizeof(buf[0]));
	snprintf(out, sizeof(buf[0]), "%.*s", (int)(end ? (size_t)(end - p) : strlen(p)), p);
	return out;
}

static int sequence_value(const struct delims *d, const char *body, size_t n, char *out)
{
	static const char letters[] = "FSRET";
	const char chars[] = {d->field, d->component, d->repetition, d->escape, d->subcomponent};
	unsigned byte;

	if (n == 1 && strchr(letters, body[0])) {
		out[0] = chars[strchr(letters, body[0]) - letters];
		return 1;
	}
	if (n < 3 || body[0] != 'X' || n % 2 == 0 || strspn(body + 1, "0123456789ABCDEFabcdef") < n - 1)
		return -1;
	for (size_t i = 1; i < n; i += 2) {
		expect(sscanf(body + i, "%2x", &byte) == 1);
		out[i / 2] = (char)byte;
	}
	return (int)(n / 2);
}

static void add_decoded(struct values *v, const struct delims *d, const char *raw)
{
	char *out = v->text[v->count];
	size_t n = 0;

	expect(v->count < VALUES_MAX && strlen(raw) < BYTES_MAX);
	while (*raw) {
		const char *end = *raw == d->escape ? strchr(raw + 1, d->escape) : NULL;
		int made;

		if (!end) {
			out[n++] = *raw++;
			continue;
		}
		made = sequence_value(d, raw + 1, (size_t)(end - raw - 1), out + n);
		if (made < 0) {
			memcpy(out + n, raw, (size_t)(end - raw) + 1);
			made = (int)(end - raw) + 1;
		}
		n += (size_t)made;
		raw = end + 1;
	}
	out[n] = 0;
	v->count++;
}

static void add_repetition(struct values *v, const struct delims *d, const struct slow_path *p, const char *text)
{
	if (p->component)
		text = part(text, d->component, p->component);
	if (text && p->subcomponent)
		text = part(text, d->subcomponent, p->subcomponent);
	if (text && *text)
		add_decoded(v, d, text);
}

static void add_field(struct values *v, const struct delims *d, const struct slow_path *p, const char *text)
{
	char whole[BYTES_MAX * 4];
	const char *one;

	snprintf(whole, sizeof(whole), "%s", text);
	if (!p->repetition && !p->component) {
		if (*whole)
			add_decoded(v, d, whole);
	} else if (p->repetition == SLOW_ALL) {
		for (int i = 1; (one = part(whole, d->repetition, i)); i++)
			add_repetition(v, d, p, one);
	} else {
		one = part(whole, d->repetition, p->repetition ? p->repetition : 1);
		if (one)
			add_repetition(v, d, p, one);
	}
}

static void add_segment(struct values *v, const struct delims *d, const struct slow_path *p, const char *line)
{
	bool header = strcmp(p->segment, "MSH") == 0;
	const char *text;

	if (!p->field) {
		add_decoded(v, d, line);
		return;
	}
	if (header && p->field <= 2) {
		char declared[8] = {d->field, 0};

		if (p->field == 2)
			snprintf(declared, sizeof(declared), "%.4s", line + 4);
		if (p->repetition <= 1 && p->component <= 1 && p->subcomponent <= 1)
			snprintf(v->text[v->count++], BYTES_MAX, "%s", declared);
		return;
	}
	text = part(line, d->field, p->field + !header);
	if (text)
		add_field(v, d, p, text);
}

static void find_values(struct values *v, const struct slow_path *p, const char *msg)
{
	const struct delims d = {msg[3], msg[4], msg[5], msg[6], msg[7]};
	char line[BYTES_MAX * 4];
	int seen = 0;
	size_t n;

	v->count = 0;
	for (; *msg; msg += n) {
		n = strcspn(msg, "\r\n");
		snprintf(line, sizeof(line), "%.*s", (int)n, msg);
		if (!n) {
			n = 1;
			continue;
		}
		if (strncmp(line, p->segment, 3) != 0 || (line[3] && line[3] != d.field))
			continue;
		seen++;
		if (p->sequence == SLOW_ALL || seen == (p->sequence ? p->sequence : 1))
			add_segment(v, &d, p, line);
	}
}

static bool value_fits(const struct slow_expr *e, const char *value)
{
	regex_t regex;
	bool fits = false;

	if (e->op == SLOW_MATCH) {
		expect(regcomp(&regex, e->strings[0], REG_EXTENDED | REG_NOSUB) == 0);
		fits = regexec(&regex, value, 0, NULL, 0) == 0;
		regfree(&regex);
		return fits;
	}
	for (uint32_t i = 0; i < e->count; i++)
		fits |= strcmp(e->strings[i], value) == 0;
	return fits;
}

static bool any_value_fits(const struct slow_expr *e, const char *msg)
{
	static struct values v;

	find_values(&v, &e->path, msg);
	if (e->op == SLOW_EXISTS)
		return v.count > 0;
	if (!v.count)
		return value_fits(e, "");
	for (uint32_t i = 0; i < v.count; i++) {
		if (value_fits(e, v.text[i]))
			return true;
	}
	return false;
}

bool slow_takes(const struct slow_expr *e, const char *msg)
{
	switch (e->op) {
	case SLOW_NOT:
		return !slow_takes(e->a, msg);
	case SLOW_AND:
		return slow_takes(e->a, msg) && slow_takes(e->b, msg);
	case SLOW_OR:
		return slow_takes(e->a, msg) || slow_takes(e->b, msg);
	case SLOW_NE:
	case SLOW_NOT_IN:
		return !any_value_fits(e, msg);
	default:
		return any_value_fits(e, msg);
	}
}
