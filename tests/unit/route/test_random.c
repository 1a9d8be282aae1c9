/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_random.c - random conditions over random messages: the compiled program, run by the worker's code, must say what
 * the slow evaluator says. Seeded; MILLRACE_SEED=N repeats a run, the seed is printed when something differs.
 */
#include "slow.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS        40
#define ROUTES        128
#define MESSAGES      100
#define LISTENERS     3
#define CONDITION_MAX 8000

static uint64_t seed;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % sides;
}

static const char *pick(const char *const *words, uint32_t count)
{
	return words[dice(count)];
}

#define PICK(words) pick(words, MR_ARRAY_LEN(words))

/* ---- expressions: a tree for the slow evaluator, the same as text for the compiler ---- */

static struct slow_expr pool[100000];
static uint32_t pool_count;

static const char *const values[] = {"A", "B", "ORU", "ADT", "x", "", "A^B", "A&B", "\"\"", "a|b", "1", "\\", "A~B"};
static const char *const patterns[] = {"A", "^A", "B$", "^$", "[AB]+", "^(A|B)$", "O.U", "x|1", "^.$", "A.*B"};

static void random_path(struct slow_path *p)
{
	static const char *const segments[] = {"MSH", "MSH", "PID", "OBX", "OBX", "ZZ1", "NTE"};

	memset(p, 0, sizeof(*p));
	strcpy(p->segment, PICK(segments));
	if (strcmp(p->segment, "MSH") != 0 && !dice(2))
		p->sequence = dice(2) ? SLOW_ALL : (int)dice(4) + 1;
	if (!dice(12) && strcmp(p->segment, "MSH") != 0)
		return;
	p->field = (int)dice(strcmp(p->segment, "MSH") ? 6 : 28) + 1;
	if (!dice(3))
		p->repetition = dice(2) ? SLOW_ALL : (int)dice(3) + 1;
	if (dice(2))
		p->component = (int)dice(3) + 1;
	if (p->component && !dice(3))
		p->subcomponent = (int)dice(3) + 1;
}

static struct slow_expr *random_expr(uint32_t depth)
{
	struct slow_expr *e = &pool[pool_count++];
	uint32_t kind = dice(depth ? 12 : 6);

	assert_true(pool_count < MR_ARRAY_LEN(pool));
	memset(e, 0, sizeof(*e));
	if (kind >= 6) {
		e->op = kind < 8 ? SLOW_NOT : kind < 10 ? SLOW_AND : SLOW_OR;
		e->a = random_expr(depth - 1);
		e->b = e->op == SLOW_NOT ? NULL : random_expr(depth - 1);
		return e;
	}
	e->op = (enum slow_op)kind;
	random_path(&e->path);
	e->count = e->op == SLOW_IN || e->op == SLOW_NOT_IN ? dice(12) + 1 : e->op == SLOW_EXISTS ? 0 : 1;
	for (uint32_t i = 0; i < e->count; i++)
		e->strings[i] = e->op == SLOW_MATCH ? PICK(patterns) : PICK(values);
	return e;
}

static struct slow_expr *join(enum slow_op op, const struct slow_expr *a, const struct slow_expr *b)
{
	struct slow_expr *e = &pool[pool_count++];

	*e = (struct slow_expr){.op = op, .a = a, .b = b};
	return e;
}

static struct slow_expr *header_test(void)
{
	struct slow_expr *e = &pool[pool_count++];

	*e = (struct slow_expr){.op = dice(5) ? SLOW_EQ : SLOW_NE, .count = 1, .strings = {PICK(values)}};
	strcpy(e->path.segment, "MSH");
	e->path.field = (int)dice(2) + 3;
	e->path.component = !dice(6);
	return e;
}

/*
 * What most real conditions begin with: fields of MSH that equal something. Many such routes get gates
 * (route_internal.h); a test of the same kind that need not hold must not make one.
 */
static struct slow_expr *after_header_tests(struct slow_expr *e)
{
	if (!dice(3))
		e = join(SLOW_OR, e, header_test());
	for (uint32_t i = dice(4) ? dice(2) + 1 : 0; i; i--)
		e = join(SLOW_AND, header_test(), e);
	return e;
}

static char *put_number(char *out, int n, const char *open, const char *close)
{
	if (n == SLOW_ALL)
		return out + sprintf(out, "%s*%s", open, close);
	return n ? out + sprintf(out, "%s%d%s", open, n, close) : out;
}

static char *put_path(char *out, const struct slow_path *p)
{
	static const char *const levels[] = {"-", "."};

	out += sprintf(out, "%s", p->segment);
	out = put_number(out, p->sequence, "(", ")");
	out = put_number(out, p->field, PICK(levels), "");
	out = put_number(out, p->repetition, "[", "]");
	out = put_number(out, p->component, PICK(levels), "");
	return put_number(out, p->subcomponent, PICK(levels), "");
}

static char *put_string(char *out, const char *text)
{
	char quote = dice(2) ? '"' : '\'';

	*out++ = quote;
	for (; *text; text++) {
		if (*text == quote || *text == '\\')
			*out++ = '\\';
		*out++ = *text;
	}
	*out++ = quote;
	return out;
}

static char *put_space(char *out)
{
	return out + sprintf(out, "%.*s", (int)dice(3), "  ");
}

static char *put_list(char *out, const struct slow_expr *e)
{
	out += sprintf(out, "%sin [", e->op == SLOW_NOT_IN ? " not " : " ");
	for (uint32_t i = 0; i < e->count; i++) {
		out = put_space(out);
		out = put_string(out, e->strings[i]);
		out += sprintf(out, "%s", i + 1 < e->count ? "," : "]");
	}
	return out;
}

/* Parentheses only where they are needed, so that the order of operators is tested too. @level: 0 any, 1 inside &&, 2
 * inside ! */
static char *put_expr(char *out, const struct slow_expr *e, int level)
{
	static const char *const marks[] = {"==", "!=", "", "", "=~"};
	bool bracket = (e->op == SLOW_OR && level > 0) || (e->op == SLOW_AND && level > 1) || !dice(8);
	int inside = bracket ? 0 : level;

	out = put_space(out);
	if (bracket)
		*out++ = '(';
	if (e->op == SLOW_NOT) {
		*out++ = '!';
		out = put_expr(out, e->a, 2);
	} else if (e->op == SLOW_AND || e->op == SLOW_OR) {
		out = put_expr(out, e->a, e->op == SLOW_AND ? 1 : inside);
		out += sprintf(out, " %s", e->op == SLOW_AND ? "&&" : "||");
		out = put_expr(out, e->b, e->op == SLOW_AND ? 1 : inside);
	} else if (e->op == SLOW_EXISTS) {
		bool call = dice(2);

		out = put_path(out + sprintf(out, call ? "exists(" : "exists "), &e->path);
		out += sprintf(out, call ? ")" : "");
	} else if (e->op == SLOW_IN || e->op == SLOW_NOT_IN) {
		out = put_list(put_path(out, &e->path), e);
	} else {
		out = put_space(put_path(out, &e->path));
		out = put_string(put_space(out + sprintf(out, "%s", marks[e->op])), e->strings[0]);
	}
	out = put_space(out);
	if (bracket)
		*out++ = ')';
	*out = 0;
	return out;
}

/* ---- messages ---- */

static char *put_value(char *out, const char *d)
{
	static const char *const plain[] = {"A", "B", "ORU", "ADT", "x", "1", "AB", ""};
	static const char *const letters[] = {"F", "S", "R", "E", "T", "X41", "X4142", "Z", "X4"};

	switch (dice(8)) {
	case 0:
		return out + sprintf(out, "%s%c%s%c%s", PICK(plain), d[3], PICK(letters), d[3], PICK(plain));
	case 1:
		return out + sprintf(out, "\"\"");
	case 2:
		return out +
		       sprintf(out, "A%c", d[3]); /* an escape character that begins nothing, unless more follows */
	default:
		return out + sprintf(out, "%s", PICK(plain));
	}
}

static char *put_field(char *out, const char *d)
{
	for (uint32_t reps = dice(3) + 1; reps; reps--) {
		for (uint32_t comps = dice(3) + 1; comps; comps--) {
			for (uint32_t subs = dice(5) ? 1 : dice(3) + 1; subs; subs--) {
				out = put_value(out, d);
				if (subs > 1)
					*out++ = d[4];
			}
			if (comps > 1)
				*out++ = d[1];
		}
		if (reps > 1)
			*out++ = d[2];
	}
	return out;
}

static void random_message(char *out)
{
	static const char *const segments[] = {"PID", "OBX", "OBX", "OBX", "NTE", "ZZ1", "MSH", "junk", "OB"};
	static const char *const ends[] = {"\r", "\r", "\r", "\n", "\r\n", "\r\r"};
	static const char *const delims[] = {"|^~\\&", "|^~\\&", "#*+!%"};
	const char *d = PICK(delims);

	out += sprintf(out, "MSH%s", d);
	for (uint32_t i = dice(27); i; i--) {
		*out++ = d[0];
		out = put_field(out, d);
	}
	out += sprintf(out, "%s", PICK(ends));
	for (uint32_t i = dice(8); i; i--) {
		out += sprintf(out, "%s", PICK(segments));
		for (uint32_t k = dice(7); k; k--) {
			*out++ = d[0];
			out = put_field(out, d);
		}
		out += sprintf(out, "%s", PICK(ends));
	}
	*out = 0;
}

/* ---- the comparison ---- */

struct random_route {
	struct slow_expr *expr; /* NULL: no condition */
	uint32_t listeners;     /* bits */
	uint32_t dest;
};

static char *put_route(char *out, struct random_route *r, bool header, char *condition)
{
	r->listeners = dice((1u << LISTENERS) - 1) + 1;
	r->dest = dice(8);
	r->expr = dice(10) ? random_expr(dice(5)) : NULL;
	if (header && r->expr && dice(8))
		r->expr = after_header_tests(r->expr);
	out += sprintf(out, "  - from: [");
	for (uint32_t i = 0; i < LISTENERS; i++) {
		if (r->listeners & 1u << i)
			out += sprintf(out, "l%u, ", i);
	}
	out += sprintf(out, "]\n    to: d%u\n", r->dest);
	if (!r->expr)
		return out;
	put_expr(condition, r->expr, 0);
	assert_true(strlen(condition) < CONDITION_MAX);
	return out + sprintf(out, "    when: |2-\n      %s\n", condition);
}

static void check_message(struct rig *rig, const struct random_route *routes, bool first, const char *msg,
                          uint64_t start)
{
	for (uint32_t l = 0; l < LISTENERS; l++) {
		struct route_result want = {.count = 0}, got;
		uint64_t seen = 0;

		for (uint32_t i = 0; i < ROUTES && !(first && want.matched); i++) {
			const struct random_route *r = &routes[i];

			if (!(r->listeners & 1u << l) || (r->expr && !slow_takes(r->expr, msg)))
				continue;
			want.matched = true;
			if (!(seen & 1ull << r->dest))
				want.dests[want.count++] = (uint16_t)r->dest;
			seen |= 1ull << r->dest;
		}
		assert_int_equal(rig_route(rig, l, msg, (uint32_t)strlen(msg), &got), 0);
		if (got.matched != want.matched || got.count != want.count ||
		    memcmp(got.dests, want.dests, 2 * want.count) != 0)
			fail_msg("seed %llu: listener %u: %u destinations instead of %u for\n%s",
			         (unsigned long long)start, l, got.count, want.count, msg);
	}
}

static void compiled_conditions_say_what_they_mean(void **state)
{
	static char yaml[1 << 20], condition[1 << 16], msg[1 << 16];
	static struct random_route routes[ROUTES];
	const char *given = getenv("MILLRACE_SEED");
	uint32_t takes = 0, refuses = 0;

	seed = given ? strtoull(given, NULL, 10) : 20261120;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = seed;
		bool first = dice(2), header = dice(2);
		char *out = yaml;
		struct rig rig;

		pool_count = 0;
		out += sprintf(
		    out,
		    "routing: %s\nlisteners: { l0: { port: 1 }, l1: { port: 2 }, l2: { port: 3 } }\ndestinations:\n",
		    first ? "first" : "all");
		for (int i = 0; i < 8; i++)
			out += sprintf(out, "  d%d: { file: /%d }\n", i, i);
		out += sprintf(out, "routes:\n");
		for (int i = 0; i < ROUTES; i++)
			out = put_route(out, &routes[i], header, condition);
		rig = rig_make(yaml);
		for (int i = 0; i < MESSAGES; i++) {
			random_message(msg);
			check_message(&rig, routes, first, msg, start);
		}
		for (uint32_t i = 0; i < ROUTES; i++) {
			takes += route_hits(rig.table, i) > 0;
			refuses += route_hits(rig.table, i) == 0;
		}
		rig_free(&rig);
	}
	/* The dice must not make it easy: both kinds of conditions have to turn up. */
	assert_true(takes > ROUNDS * ROUTES / 8 && refuses > ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(compiled_conditions_say_what_they_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
