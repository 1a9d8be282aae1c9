/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_route.c - the conditions of routes: text to a flat program of tests whose jumps all go forward.
 *
 * Called by config_rules() for each route with `when`. The grammar is
 *
 *   any   = all { "||" all }              path  = as hl7_path_compile() reads it: PID-5.1, OBX(*)-3.1, PID-3[2].4
 *   all   = one { "&&" one }              string = "..." or '...'; in regular expressions only the quote is escaped
 *   one   = "!" one | "(" any ")" | "exists" path | "exists" "(" path ")"
 *         | path ( "==" | "!=" | "=~" ) string | path [ "not" ] "in" "[" string { "," string } "]"
 *
 * The worker runs the result (dataplane/route.c); the regular expressions are compiled here, for any x86-64 machine.
 */
#include "config_tree.h"

#include <errno.h>
#include <hs.h>
#include <stdlib.h>
#include <string.h>

#define EXPRESSION_BYTES_MAX (64u << 10)
#define PATTERN_BYTES_MAX    1000
#define NESTING_MAX          64
#define TESTS_MAX            4000
#define STRINGS_MAX          10000 /* of one `in` */

enum op { OP_TEST, OP_NOT, OP_AND, OP_OR };

struct expr {
	enum op op;
	uint32_t tests; /* below and with this one */
	struct expr *a, *b;
	struct mr_config_insn insn; /* OP_TEST */
};

struct parser {
	struct config *c;
	const struct config_node *node;
	const char *text;
	uint32_t at;
	uint32_t depth, tests;
};

/* ---- the pool: every path, constant and expression once ---- */

static int intern(struct config_text **texts, uint32_t *count, uint32_t *room, const char *text, uint32_t bytes,
                  bool again)
{
	void *array = *texts;

	for (uint32_t i = 0; i < *count && !again; i++) {
		if ((*texts)[i].bytes == bytes && memcmp((*texts)[i].text, text, bytes) == 0)
			return (int)i;
	}
	if (config_grow(&array, *count, room, sizeof(**texts)))
		return -ENOMEM;
	*texts = array;
	(*texts)[*count] = (struct config_text){text, bytes};
	return (int)(*count)++;
}

static int intern_path(struct config *c, const char *text)
{
	return intern(&c->pool.paths, &c->pool.path_count, &c->pool.path_room, text, (uint32_t)strlen(text), false);
}

/* @again: an entry of its own, for the lists of `in`, which lie in one piece. */
static int intern_const(struct config *c, const struct config_text *t, bool again)
{
	return intern(&c->pool.consts, &c->pool.const_count, &c->pool.const_room, t->text, t->bytes, again);
}

/*
 * Compiles for the least of CPUs that Vectorscan runs on: the image may be loaded on another machine than it was made
 * on. Returns the serialised database, or NULL with the reason in @reason.
 */
static char *compile_regex(const char *pattern, size_t *ret_bytes, char *reason, size_t reason_room)
{
	const hs_platform_info_t platform = {.tune = HS_TUNE_FAMILY_GENERIC};
	hs_compile_error_t *error = NULL;
	hs_database_t *db = NULL;
	char *bytes = NULL;

	if (hs_compile(pattern, HS_FLAG_SINGLEMATCH | HS_FLAG_DOTALL | HS_FLAG_ALLOWEMPTY, HS_MODE_BLOCK, &platform,
	               &db, &error)) {
		snprintf(reason, reason_room, "%s", error ? error->message : "unknown");
		hs_free_compile_error(error);
		return NULL;
	}
	if (hs_serialize_database(db, &bytes, ret_bytes)) {
		snprintf(reason, reason_room, "no memory");
		bytes = NULL;
	}
	hs_free_database(db);
	return bytes;
}

/* ---- words ---- */

static bool fail_at(struct parser *p, uint32_t at, uint32_t length, uint32_t code, const char *text)
{
	config_say(p->c, config_place_in(p->node, at, length), code, "condition: %s", text);
	return false;
}

static char skip_space(struct parser *p)
{
	while (p->text[p->at] == ' ' || p->text[p->at] == '\t' || p->text[p->at] == '\n' || p->text[p->at] == '\r')
		p->at++;
	return p->text[p->at];
}

static bool is_alnum(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
}

/* Takes @mark if it is next. */
static bool take(struct parser *p, const char *mark)
{
	skip_space(p);
	if (strncmp(p->text + p->at, mark, strlen(mark)) != 0)
		return false;
	p->at += (uint32_t)strlen(mark);
	return true;
}

/* Takes @word if it is next and ends there. */
static bool take_word(struct parser *p, const char *word)
{
	uint32_t start = p->at;

	if (take(p, word) && !is_alnum(p->text[p->at]))
		return true;
	p->at = start;
	return false;
}

/* Bytes of what looks like a path, right or wrong, so that hl7_path_compile() can say where it is wrong. */
static uint32_t path_bytes(const char *s)
{
	uint32_t n = 0;

	while (is_alnum(s[n]))
		n++;
	if (n == 3 && s[n] == '(')
		n += (uint32_t)strcspn(s + n, ") ") + 1;
	if (n && !s[n - 1])
		return n - 1;
	for (;;) {
		if (is_alnum(s[n]) || s[n] == '-' || s[n] == '.') {
			n++;
		} else if (s[n] == '[' && strchr(s + n, ']')) {
			n += (uint32_t)strcspn(s + n, "]") + 1;
		} else {
			return n;
		}
	}
}

static bool take_path(struct parser *p, uint32_t *ret)
{
	struct hl7_error error = {0};
	struct hl7_path path;
	uint32_t start, n;
	char *text;
	int index;

	skip_space(p);
	start = p->at;
	n = path_bytes(p->text + start);
	if (!n)
		return fail_at(p, start, 1, CONFIG_E_EXPRESSION,
		               p->text[start] ? "an HL7 path is expected here, as MSH-9.1"
		                              : "it ends where an HL7 path is expected");
	if (hl7_path_compile(p->text + start, n, &path, &error))
		return fail_at(p, start + (error.offset < n ? error.offset : n - 1), 1, CONFIG_E_PATH,
		               "this is no HL7 path; they are written as PID-5.1, OBX(*)-3.1 or PID-3[2].4");
	text = config_copy(p->c, p->text + start, n);
	index = text ? intern_path(p->c, text) : -ENOMEM;
	if (index < 0) {
		p->c->no_memory = true;
		return false;
	}
	p->at += n;
	*ret = (uint32_t)index;
	return true;
}

/* A quoted string, decoded into the arena. In a regular expression (@regex) a backslash before anything but the quote
 * stays. */
static bool take_string(struct parser *p, bool regex, struct config_text *ret)
{
	char quote = skip_space(p), *out;
	uint32_t start = p->at, n = 0;

	if (quote != '"' && quote != '\'')
		return fail_at(p, start, 1, CONFIG_E_EXPRESSION, "a string in quotes is expected here");
	out = config_alloc(p->c, strlen(p->text + start) + 1);
	if (!out)
		return false;
	for (p->at++; p->text[p->at] != quote; p->at++) {
		const char *s = p->text + p->at;

		if (!s[0])
			return fail_at(p, start, 1, CONFIG_E_EXPRESSION, "this string has no end");
		if (s[0] != '\\') {
			out[n++] = s[0];
		} else if (s[1] == quote || (!regex && (s[1] == '\\' || s[1] == '"' || s[1] == '\''))) {
			out[n++] = s[1];
			p->at++;
		} else if (regex && s[1]) {
			out[n++] = s[0];
			out[n++] = s[1];
			p->at++;
		} else if (s[1]) {
			return fail_at(p, p->at, 2, CONFIG_E_EXPRESSION,
			               "in a string only \\\\, \\\" and \\' are escapes");
		} else {
			return fail_at(p, start, 1, CONFIG_E_EXPRESSION, "this string has no end");
		}
	}
	p->at++;
	*ret = (struct config_text){out, n};
	return true;
}

/* ---- tests ---- */

static struct expr *expr_new(struct parser *p, enum op op, struct expr *a, struct expr *b)
{
	struct expr *e = config_alloc(p->c, sizeof(*e));

	if (!e)
		return NULL;
	e->op = op;
	e->a = a;
	e->b = b;
	e->tests = (a ? a->tests : 0) + (b ? b->tests : 0) + (op == OP_TEST);
	return e;
}

static struct expr *test_new(struct parser *p, uint8_t op, uint32_t path, uint32_t arg, uint32_t arg_count)
{
	struct expr *e;

	if (++p->tests > TESTS_MAX) {
		fail_at(p, 0, 1, CONFIG_E_TOO_BIG, "more than 4000 tests");
		return NULL;
	}
	e = expr_new(p, OP_TEST, NULL, NULL);
	if (e)
		e->insn = (struct mr_config_insn){.op = op, .path = path, .arg = arg, .arg_count = arg_count};
	return e;
}

static struct expr *parse_equal(struct parser *p, uint32_t path)
{
	struct config_text text;
	int index;

	if (!take_string(p, false, &text))
		return NULL;
	index = intern_const(p->c, &text, false);
	p->c->no_memory |= index < 0;
	return index < 0 ? NULL : test_new(p, MR_ROUTE_EQ, path, (uint32_t)index, 1);
}

static struct expr *parse_match(struct parser *p, uint32_t path)
{
	struct config_pool *pool = &p->c->pool;
	struct config_text text;
	char reason[200], message[300];
	void *array = pool->regexes;
	uint32_t start;

	skip_space(p);
	start = p->at;
	if (!take_string(p, true, &text))
		return NULL;
	for (uint32_t i = 0; i < pool->regex_count; i++) {
		if (strcmp(pool->regexes[i].pattern.text, text.text) == 0)
			return test_new(p, MR_ROUTE_MATCH, path, i, 0);
	}
	if (text.bytes > PATTERN_BYTES_MAX) {
		fail_at(p, start, p->at - start, CONFIG_E_TOO_BIG, "a regular expression of more than 1000 bytes");
		return NULL;
	}
	if (config_grow(&array, pool->regex_count, &pool->regex_room, sizeof(*pool->regexes))) {
		p->c->no_memory = true;
		return NULL;
	}
	pool->regexes = array;
	pool->regexes[pool->regex_count].pattern = text;
	pool->regexes[pool->regex_count].database =
	    compile_regex(text.text, &pool->regexes[pool->regex_count].bytes, reason, sizeof(reason));
	if (!pool->regexes[pool->regex_count].database) {
		snprintf(message, sizeof(message), "this regular expression cannot be used: %s", reason);
		fail_at(p, start, p->at - start, CONFIG_E_REGEX, message);
		return NULL;
	}
	return test_new(p, MR_ROUTE_MATCH, path, pool->regex_count++, 0);
}

static int by_content(const void *a, const void *b)
{
	const struct config_text *x = a, *y = b;
	uint32_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
	int rc = memcmp(x->text, y->text, n);

	return rc ? rc : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The constants of one `in` lie in one piece, sorted, so that the worker can search them by halves. */
static struct expr *parse_in(struct parser *p, uint32_t path)
{
	struct config_pool *pool = &p->c->pool;
	uint32_t first = pool->const_count, count;
	struct config_text text;
	struct expr *e;

	if (!take(p, "[")) {
		fail_at(p, p->at, 1, CONFIG_E_EXPRESSION, "a list is expected here, as [\"A\", \"B\"]");
		return NULL;
	}
	do {
		if (!take_string(p, false, &text))
			return NULL;
		if (intern_const(p->c, &text, true) < 0) {
			p->c->no_memory = true;
			return NULL;
		}
	} while (take(p, ",") && pool->const_count - first < STRINGS_MAX);
	if (!take(p, "]")) {
		fail_at(p, p->at, 1, CONFIG_E_EXPRESSION,
		        pool->const_count - first < STRINGS_MAX ? "`,` or `]` is expected here"
		                                                : "more than 10000 strings in a list");
		return NULL;
	}
	count = pool->const_count - first;
	qsort(pool->consts + first, count, sizeof(*pool->consts), by_content);
	e = test_new(p, MR_ROUTE_EQ, path, first, count);
	return e;
}

static struct expr *parse_exists(struct parser *p)
{
	bool bracket = take(p, "(");
	uint32_t path;

	if (!take_path(p, &path))
		return NULL;
	if (bracket && !take(p, ")")) {
		fail_at(p, p->at, 1, CONFIG_E_EXPRESSION, "`)` is expected here");
		return NULL;
	}
	return test_new(p, MR_ROUTE_EXISTS, path, 0, 0);
}

static struct expr *negate(struct parser *p, struct expr *e)
{
	return e ? expr_new(p, OP_NOT, e, NULL) : NULL;
}

static struct expr *parse_comparison(struct parser *p)
{
	uint32_t path;

	if (!take_path(p, &path))
		return NULL;
	if (take(p, "=="))
		return parse_equal(p, path);
	if (take(p, "!="))
		return negate(p, parse_equal(p, path));
	if (take(p, "=~"))
		return parse_match(p, path);
	if (take_word(p, "in"))
		return parse_in(p, path);
	if (take_word(p, "not")) {
		if (take_word(p, "in"))
			return negate(p, parse_in(p, path));
		skip_space(p);
		fail_at(p, p->at, 1, CONFIG_E_EXPRESSION, "`in` is expected after `not`");
		return NULL;
	}
	skip_space(p);
	fail_at(p, p->at, 1, CONFIG_E_EXPRESSION,
	        p->text[p->at] == '=' ? "a comparison is written `==`"
	                              : "one of == != =~ in `not in` is expected here");
	return NULL;
}

/* ---- expressions ---- */

static struct expr *parse_any(struct parser *p);

static struct expr *parse_one(struct parser *p)
{
	struct expr *e;

	if (p->depth >= NESTING_MAX) {
		fail_at(p, p->at, 1, CONFIG_E_TOO_BIG, "nested more than 64 deep");
		return NULL;
	}
	if (take(p, "!")) {
		p->depth++;
		e = negate(p, parse_one(p));
		p->depth--;
		return e;
	}
	if (take(p, "(")) {
		p->depth++;
		e = parse_any(p);
		p->depth--;
		if (e && !take(p, ")")) {
			fail_at(p, p->at, 1, CONFIG_E_EXPRESSION, "`)`, && or || is expected here");
			return NULL;
		}
		return e;
	}
	return take_word(p, "exists") ? parse_exists(p) : parse_comparison(p);
}

/* Chains become trees that lean to the left: their depth is bounded by TESTS_MAX, and so is the recursion of emit(). */
static struct expr *parse_chain(struct parser *p, const char *mark, enum op op, struct expr *(*part)(struct parser *p))
{
	struct expr *e = part(p), *more;

	while (e && take(p, mark)) {
		more = part(p);
		e = more ? expr_new(p, op, e, more) : NULL;
	}
	return e;
}

static struct expr *parse_all(struct parser *p)
{
	return parse_chain(p, "&&", OP_AND, parse_one);
}

static struct expr *parse_any(struct parser *p)
{
	return parse_chain(p, "||", OP_OR, parse_all);
}

static void say_rest(struct parser *p)
{
	const char *s = p->text + p->at;
	const char *hint = !strncmp(s, "and", 3)  ? "`and` is written &&"
	                   : !strncmp(s, "or", 2) ? "`or` is written ||"
	                   : *s == '&'            ? "`and` is written &&"
	                   : *s == '|'            ? "`or` is written ||"
	                   : *s == ')'            ? "this `)` closes nothing"
	                                          : "&& or || is expected here";

	fail_at(p, p->at, 1, CONFIG_E_EXPRESSION, hint);
}

/*
 * Writes the tests of @e to code[base ...]; a test that decides goes to @yes or @no. What comes behind a part of the
 * expression starts right after that part's tests, so every jump goes forward.
 */
static void emit(struct mr_config_insn *code, const struct expr *e, uint32_t base, uint16_t yes, uint16_t no)
{
	uint16_t behind;

	switch (e->op) {
	case OP_TEST:
		code[base] = e->insn;
		code[base].jump_true = yes;
		code[base].jump_false = no;
		break;
	case OP_NOT:
		emit(code, e->a, base, no, yes);
		break;
	case OP_AND:
		behind = (uint16_t)(base + e->a->tests);
		emit(code, e->a, base, behind, no);
		emit(code, e->b, behind, yes, no);
		break;
	case OP_OR:
		behind = (uint16_t)(base + e->a->tests);
		emit(code, e->a, base, yes, behind);
		emit(code, e->b, behind, yes, no);
		break;
	}
}

int config_route_compile(struct config *c, struct config_route *route)
{
	struct parser p = {.c = c, .node = route->when_node, .text = route->when};
	struct config_pool *pool = &c->pool;
	void *code = pool->code;
	struct expr *e;

	if (strlen(route->when) > EXPRESSION_BYTES_MAX) {
		fail_at(&p, 0, 1, CONFIG_E_TOO_BIG, "more than 64 KiB");
		return -EINVAL;
	}
	if (!skip_space(&p)) {
		fail_at(&p, 0, 1, CONFIG_E_EXPRESSION, "it is empty; leave out `when` to take every message");
		return -EINVAL;
	}
	e = parse_any(&p);
	if (e && skip_space(&p)) {
		say_rest(&p);
		e = NULL;
	}
	if (!e)
		return c->no_memory ? -ENOMEM : -EINVAL;
	while (pool->code_count + e->tests > pool->code_room) {
		if (config_grow(&code, pool->code_room, &pool->code_room, sizeof(*pool->code)))
			return -ENOMEM;
		pool->code = code;
	}
	emit(pool->code + pool->code_count, e, 0, MR_ROUTE_ACCEPT, MR_ROUTE_REFUSE);
	route->code = pool->code_count;
	route->code_count = e->tests;
	pool->code_count += e->tests;
	return 0;
}

void config_route_free(struct config *c)
{
	for (uint32_t i = 0; i < c->pool.regex_count; i++)
		free(c->pool.regexes[i].database);
	free(c->pool.regexes);
	free(c->pool.paths);
	free(c->pool.consts);
	free(c->pool.code);
}
