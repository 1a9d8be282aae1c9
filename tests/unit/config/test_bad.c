/* SPDX-License-Identifier: Apache-2.0 */
/* test_bad.c - every diagnostic of the configuration: its code, its place, its words, and what was probably meant. */
#include "load_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Parts of a configuration that is right, to put the mistake into. */
#define L            "listeners: { adt: { port: 2575 }, lab: { port: 2576 } }\n"
#define D            "destinations: { ehr: { mllp: \"h:1\" }, archive: { file: ./a } }\n"
#define R            "routes: [ { from: \"*\", to: [ehr, archive] } ]\n"
#define W(condition) L D "routes:\n  - { from: \"*\", to: [ehr, archive], when: " condition " }\n"

struct bad {
	const char *yaml;
	uint32_t code, line, column;
	const char *text; /* part of the text */
	const char *hint; /* part of the hint; NULL: there is none */
};

/* clang-format off */
static const struct bad bad[] = {
	/* not a configuration at all */
	{ "a: [1\n", CONFIG_E_SYNTAX, 2, 1, "did not find expected ',' or ']'", NULL },
	{ "data: x\n\tb: 1\n", CONFIG_E_SYNTAX, 2, 1, "a tab character", "indent with spaces" },
	{ "# caf\xc3\xa9\nlisteners:\n\tadt: { port: 1 }\n", CONFIG_E_SYNTAX, 3, 1, "a tab character", "indent with spaces" },
	{ "data: @x\n", CONFIG_E_SYNTAX, 1, 7, "cannot start any token", "quote the value" },
	{ L D "routes:\n- from: *\n  to: ehr\n", CONFIG_E_SYNTAX, 4, 10, "alias", "needs quotes" },
	{ "data: caf\xe9\n", CONFIG_E_SYNTAX, 1, 10, "not a text in UTF-8", NULL },
	{ "- a\n- b\n", CONFIG_E_SHAPE, 1, 1, "a configuration is a map", NULL },
	{ "data: a\n---\ndata: b\n", CONFIG_E_ALIAS, 2, 1, "second document", NULL },
	{ "data: &x a\nrun: *x\n", CONFIG_E_ALIAS, 1, 7, "anchors are not supported", NULL },
	{ "run: *x\n", CONFIG_E_ALIAS, 1, 6, "aliases are not supported", "needs quotes" },
	{ "data: !!str a\n", CONFIG_E_ALIAS, 1, 7, "tags are not supported", NULL },
	{ "data: \"a\\0b\"\n", CONFIG_E_VALUE, 1, 7, "NUL character", NULL },
	{ "data: {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}\n", CONFIG_E_TOO_BIG, 1, 35, "nested more than 8 deep", NULL },
	{ "? [a]\n: 1\n", CONFIG_E_SHAPE, 1, 3, "a key must be a single word", NULL },
	/* keys */
	{ "workers: 1\ncommit: os\nworkers: 2\n", CONFIG_E_DUPLICATE, 3, 1, "\"workers\" is given twice; first at hub.yaml:1", NULL },
	{ "worker: 2\n", CONFIG_E_UNKNOWN_KEY, 1, 1, "unknown key \"worker\" of the top level; legal: data, run, workers", "\"workers\"" },
	{ "max_frame: 2MiB\n", CONFIG_E_UNKNOWN_KEY, 1, 1, "unknown key", "it is a key of a listener" },
	{ "xyzzy: 2\n", CONFIG_E_UNKNOWN_KEY, 1, 1, "unknown key \"xyzzy\"", NULL },
	{ "journal: { segmant: 64MiB }\n", CONFIG_E_UNKNOWN_KEY, 1, 12, "of journal; legal: segment, tail, max", "\"segment\"" },
	{ "listeners: { a: { port: 1, max-frame: 1MiB } }\n", CONFIG_E_UNKNOWN_KEY, 1, 28, "of a listener", "\"max_frame\"" },
	{ L D "routes:\n  - { form: adt, to: [ehr, archive] }\n", CONFIG_E_UNKNOWN_KEY, 4, 7, "of a route", "\"from\"" },
	{ "listeners: { a: { port: 1, tls: { cert: x } } }\n", CONFIG_E_NOT_BUILT, 1, 28, "this build has no TLS", NULL },
	{ "destinations: { a: { http: \"https://h\" } }\n", CONFIG_E_NOT_BUILT, 1, 22, "this build has no HTTP", NULL },
	/* shapes */
	{ "commit: [durable]\n", CONFIG_E_SHAPE, 1, 9, "\"commit\" takes one value", NULL },
	{ "commit:\nworkers: 1\n", CONFIG_E_SHAPE, 1, 1, "\"commit\" has no value", NULL },
	{ "journal: 64MiB\n", CONFIG_E_SHAPE, 1, 10, "\"journal\" takes a map", NULL },
	{ "metrics: on\n", CONFIG_E_SHAPE, 1, 10, "takes a map, or off", NULL },
	{ "listeners: [adt]\n", CONFIG_E_SHAPE, 1, 12, "takes a map of names", NULL },
	{ "routes: { a: b }\n", CONFIG_E_SHAPE, 1, 9, "\"routes\" takes a list", NULL },
	{ "routes: [ a ]\n", CONFIG_E_SHAPE, 1, 11, "a route is a map of settings", NULL },
	{ L D "routes: [ { from: { a: b }, to: ehr } ]\n", CONFIG_E_SHAPE, 3, 19, "\"from\" takes one value or a list", NULL },
	{ L D "routes: [ { from: adt, to: [[ehr]] } ]\n", CONFIG_E_SHAPE, 3, 29, "a name of a destination is one value", NULL },
	{ "workers: [[1]]\n", CONFIG_E_SHAPE, 1, 11, "a CPU is a number", NULL },
	/* values and units */
	{ "commit: durabel\n", CONFIG_E_VALUE, 1, 9, "\"durabel\" is not legal here; legal: durable, os, none", "\"durable\"" },
	{ "busy_poll: maybe\n", CONFIG_E_VALUE, 1, 12, "legal: true, false", NULL },
	{ "journal: { segment: 64 }\n", CONFIG_E_UNIT, 1, 21, "\"64\" has no unit: write 64KiB or 64MiB", NULL },
	{ "journal: { segment: 64Mib }\n", CONFIG_E_UNIT, 1, 21, "\"Mib\" is no unit of size", NULL },
	{ "drain_timeout: 10\n", CONFIG_E_UNIT, 1, 16, "\"10\" has no unit: write 10ms or 10s", NULL },
	{ "drain_timeout: 10parsecs\n", CONFIG_E_UNIT, 1, 16, "\"parsecs\" is no unit of time; legal: ns us ms s min h d", NULL },
	{ "drain_timeout: soon\n", CONFIG_E_VALUE, 1, 16, "no duration", NULL },
	{ "drain_timeout: -1s\n", CONFIG_E_VALUE, 1, 16, "no duration", NULL },
	{ "drain_timeout: 2d\n", CONFIG_E_RANGE, 1, 16, "outside 0 to 1h", NULL },
	{ "journal: { max: 99999999999999999999TiB }\n", CONFIG_E_RANGE, 1, 17, "too large", NULL },
	{ "limits: { connections: many }\n", CONFIG_E_VALUE, 1, 24, "no whole number", NULL },
	{ "limits: { connections: 0 }\n", CONFIG_E_RANGE, 1, 24, "outside 1 to 1048576", NULL },
	{ "listeners: { a: { port: 0 } }\n", CONFIG_E_RANGE, 1, 25, "outside 1 to 65535", NULL },
	{ "listeners: { a: { port: 65536 } }\n", CONFIG_E_RANGE, 1, 25, "outside 1 to 65535", NULL },
	{ "listeners: { a: { port: 1, address: localhost } }\n", CONFIG_E_VALUE, 1, 37, "no numeric IPv4 or IPv6 address", "\"*\"" },
	{ "listeners: { a: { port: 1, order_by: PID3 } }\n", CONFIG_E_VALUE, 1, 38, "legal: connection, peer, listener, or an HL7 path", NULL },
	{ "destinations: { a: { mllp: nowhere } }\n", CONFIG_E_VALUE, 1, 28, "no receiver: write host:port", NULL },
	{ "destinations: { a: { mllp: \"h:0\" } }\n", CONFIG_E_RANGE, 1, 28, "outside 1 to 65535", NULL },
	{ "destinations: { a: { mllp: \"h!:1\" } }\n", CONFIG_E_VALUE, 1, 28, "no receiver", NULL },
	{ "destinations: { a: { mllp: \"::1:6661\" } }\n", CONFIG_E_VALUE, 1, 28, "IPv6 address needs brackets", "[2001:db8::1]:6661" },
	{ "destinations: { a: { mllp: \"[::x]:6661\" } }\n", CONFIG_E_VALUE, 1, 28, "no receiver", NULL },
	{ "destinations: { a: { file: \"\" } }\n", CONFIG_E_VALUE, 1, 28, "folder is empty", NULL },
	{ "workers: 65\n", CONFIG_E_RANGE, 1, 10, "1 to 64 workers", NULL },
	{ "workers: 0\n", CONFIG_E_RANGE, 1, 10, "1 to 64 workers", NULL },
	{ "workers: atuo\n", CONFIG_E_VALUE, 1, 10, "a number of workers, or a list of CPUs", "\"auto\"" },
	{ "workers: []\n", CONFIG_E_VALUE, 1, 10, "at least one", NULL },
	{ "workers: [0, 9]\n", CONFIG_E_CPU, 1, 14, "CPU 9 is not one that may be used here", NULL },
	{ "workers: [1, 0-2]\n", CONFIG_E_DUPLICATE, 1, 14, "CPU 1 is given twice", NULL },
	{ "workers: [3-1]\n", CONFIG_E_VALUE, 1, 11, "no CPU", NULL },
	/* names */
	{ "listeners: { \"a b\": { port: 1 } }\n", CONFIG_E_NAME, 1, 14, "cannot be a name", NULL },
	{ "destinations: { -a: { file: x } }\n", CONFIG_E_NAME, 1, 17, "cannot be a name", NULL },
	{ L D "routes: [ { name: \"x/y\", from: adt, to: ehr } ]\n", CONFIG_E_NAME, 3, 19, "a name has 1 to 63", NULL },
	{ L D "routes: [ { from: atd, to: [ehr, archive] } ]\n", CONFIG_E_UNKNOWN_NAME, 3, 19, "unknown listener \"atd\"",
	  "did you mean \"adt\"? (defined at hub.yaml:1)" },
	{ L D "routes: [ { from: adt, to: [erh] } ]\n", CONFIG_E_UNKNOWN_NAME, 3, 29, "unknown destination \"erh\"",
	  "did you mean \"ehr\"? (defined at hub.yaml:2)" },
	{ L D "routes: [ { from: adt, to: [ehr, ehr] } ]\n", CONFIG_E_DUPLICATE, 3, 34, "named twice", NULL },
	{ L D "routes: [ { from: [], to: [ehr] } ]\n", CONFIG_E_VALUE, 3, 19, "from no listener", NULL },
	{ L D "routes: [ { name: x, from: adt, to: ehr }, { from: lab, to: archive, name: x } ]\n", CONFIG_E_DUPLICATE, 3, 76,
	  "two routes are named \"x\"", NULL },
	/* what is missing */
	{ "listeners: { adt: { } }\n", CONFIG_E_MISSING, 1, 14, "a listener without \"port\"", NULL },
	{ "listeners:\n  adt:\n", CONFIG_E_MISSING, 2, 3, "a listener without \"port\"", NULL },
	{ "destinations: { a: { queue: 5 } }\n", CONFIG_E_MISSING, 1, 17, "says not where to", NULL },
	{ L D "routes: [ { to: ehr } ]\n", CONFIG_E_MISSING, 3, 11, "a route without \"from\"", NULL },
	{ L D "routes: [ { from: adt } ]\n", CONFIG_E_MISSING, 3, 11, "a route without \"to\"", NULL },
	/* what does not go together */
	{ "listeners:\n  a: { port: 2575 }\n  b: { port: 2575, address: 10.0.0.1 }\n", CONFIG_E_PORT_CLASH, 3, 14,
	  "port 2575 of listener \"b\" is taken by listener \"a\" (hub.yaml:2)", NULL },
	{ "listeners: { a: { port: 1, address: 0.0.0.0 }, b: { port: 1, address: 10.0.0.1 } }\n", CONFIG_E_PORT_CLASH, 1, 59, "taken", NULL },
	{ "listeners: { a: { port: 1, address: \"::\" }, b: { port: 1, address: 10.0.0.1 } }\n", CONFIG_E_PORT_CLASH, 1, 56, "taken", NULL },
	{ "listeners: { a: { port: 9464 } }\n", CONFIG_E_PORT_CLASH, 1, 25, "taken by the metrics", NULL },
	{ "destinations: { a: { mllp: \"h:1\", file: x } }\n", CONFIG_E_CONFLICT, 1, 35, "not both", NULL },
	{ "destinations: { a: { file: x, window: 2 } }\n", CONFIG_E_CONFLICT, 1, 31, "\"window\" is for mllp destinations only", NULL },
	{ "destinations: { a: { mllp: \"h:1\", format: hl7 } }\n", CONFIG_E_CONFLICT, 1, 35, "\"format\" is for file destinations only", NULL },
	{ "destinations: { a: { mllp: \"h:1\", window: 4, on_error: retry } }\n", CONFIG_E_CONFLICT, 1, 43,
	  "a window of 4 cannot keep the order together with \"on_error: retry\"", NULL },
	{ "destinations: { a: { mllp: \"h:1\", window: 4, on_reject: retry } }\n", CONFIG_E_CONFLICT, 1, 43, "\"on_reject: retry\"", NULL },
	{ "destinations: { a: { mllp: \"h:1\", retry: { first: 1min } } }\n", CONFIG_E_CONFLICT, 1, 51,
	  "\"retry.first\" (1min) is longer than \"retry.max\" (30s, the default)", NULL },
	{ "destinations: { a: { mllp: \"h:1\", retry: { max: 10ms } } }\n", CONFIG_E_CONFLICT, 1, 49,
	  "\"retry.first\" (200ms, the default) is longer than \"retry.max\" (10ms)", NULL },
	{ "destinations: { a: { mllp: \"h:1\", idle_timeout: 1min } }\n", CONFIG_E_CONFLICT, 1, 49, "needs \"connect: demand\"", NULL },
	{ "destinations: { a: { file: x, batch: { messages: 5 } } }\n", CONFIG_E_CONFLICT, 1, 50, "needs \"format: batch\"", NULL },
	{ "destinations: { a: { file: x }, b: { file: ./x/ } }\n", CONFIG_E_CONFLICT, 1, 44, "\"a\" writes into this folder already", NULL },
	{ "journal: { segment: 16MiB }\n" L, CONFIG_E_TOO_SMALL, 1, 21,
	  "\"journal.segment\" is 16777216 bytes and must be at least 33685504: listener \"adt\" takes messages of 16777216 bytes", NULL },
	{ "journal: { tail: 1MiB }\n" L, CONFIG_E_TOO_SMALL, 1, 18, "\"journal.tail\" is 1048576 bytes", NULL },
	{ "limits: { frame_memory: 1MiB }\n" L, CONFIG_E_TOO_SMALL, 1, 25, "\"limits.frame_memory\" is 1048576 bytes", NULL },
	{ "journal: { max: 100MiB }\n" L, CONFIG_E_CONFLICT, 1, 17, "at least two segments", NULL },
	/* conditions: the place is the very character */
	{ W("''"), CONFIG_E_EXPRESSION, 4, 45, "it is empty", NULL },
	{ W("'MSH-9.1 = \"A\"'"), CONFIG_E_EXPRESSION, 4, 53, "a comparison is written `==`", NULL },
	{ W("'MSH-9.1 \"A\"'"), CONFIG_E_EXPRESSION, 4, 53, "one of == != =~ in", NULL },
	{ W("'MSH-9.1 == A'"), CONFIG_E_EXPRESSION, 4, 56, "a string in quotes", NULL },
	{ W("'MSH-9.1 == \"A'"), CONFIG_E_EXPRESSION, 4, 56, "this string has no end", NULL },
	{ W("'MSH-9.1 == \"A\\x\"'"), CONFIG_E_EXPRESSION, 4, 58, "are escapes", NULL },
	{ W("'MSH-9.1 == \"A\" && && PID-3 == \"x\"'"), CONFIG_E_EXPRESSION, 4, 63, "an HL7 path is expected", NULL },
	{ W("'MSH-9.1 == \"A\" &&'"), CONFIG_E_EXPRESSION, 4, 62, "it ends where an HL7 path is expected", NULL },
	{ W("'(MSH-9.1 == \"A\"'"), CONFIG_E_EXPRESSION, 4, 60, "`)`, && or ||", NULL },
	{ W("'MSH-9.1 == \"A\")'"), CONFIG_E_EXPRESSION, 4, 59, "this `)` closes nothing", NULL },
	{ W("'MSH-9.1 == \"A\" and exists PID'"), CONFIG_E_EXPRESSION, 4, 60, "`and` is written &&", NULL },
	{ W("'MSH-9.1 == \"A\" | exists PID'"), CONFIG_E_EXPRESSION, 4, 60, "`or` is written ||", NULL },
	{ W("'MSH-9.1 in \"A\"'"), CONFIG_E_EXPRESSION, 4, 56, "a list is expected", NULL },
	{ W("'MSH-9.1 in [\"A\" \"B\"]'"), CONFIG_E_EXPRESSION, 4, 61, "`,` or `]`", NULL },
	{ W("'MSH-9.1 not [\"A\"]'"), CONFIG_E_EXPRESSION, 4, 57, "`in` is expected after `not`", NULL },
	{ W("'exists(PID-3'"), CONFIG_E_EXPRESSION, 4, 57, "`)` is expected", NULL },
	{ W("'PID-3.x == \"A\"'"), CONFIG_E_PATH, 4, 51, "this is no HL7 path", NULL },
	{ W("'OBX(0)-3 == \"A\"'"), CONFIG_E_PATH, 4, 49, "this is no HL7 path", NULL },
	{ W("'PID-3 =~ \"(a\"'"), CONFIG_E_REGEX, 4, 54, "cannot be used: Missing close parenthesis", NULL },
	{ W("'PID-3 =~ \"a(?=b)\"'"), CONFIG_E_REGEX, 4, 54, "cannot be used", NULL },
	{ W("\"PID-3 == \\\"\xc3\xa4\\\" && PID-x\""), CONFIG_E_PATH, 4, 67, "this is no HL7 path", NULL },
	{ W("'PID-3 == ''A'' && PID-x'"), CONFIG_E_PATH, 4, 67, "this is no HL7 path", NULL },
	{ L D "routes:\n  - from: adt\n    to: [ehr, archive]\n    when: PID-3 == \"A\" && PID-x\n", CONFIG_E_PATH, 6, 31, "no HL7 path", NULL },
	/* over several lines the place is where the condition begins */
	{ L D "routes:\n  - from: adt\n    to: [ehr, archive]\n    when: >\n      PID-3 == \"A\"\n      && PID-x\n", CONFIG_E_PATH, 6, 11, "no HL7 path", NULL },
	/* warnings */
	{ "listeners: {}\n", CONFIG_E_NO_LISTENER, 1, 1, "no listeners", NULL },
	{ "", CONFIG_E_NO_LISTENER, 0, 0, "no listeners", NULL },
	{ "commit: os\n" L D R, CONFIG_E_NOT_DURABLE, 1, 9, "can be lost", NULL },
	{ L D "routes: [ { from: \"*\", to: ehr } ]\n", CONFIG_E_UNUSED, 2, 39, "no route names destination \"archive\"", NULL },
	{ L D "routes: [ { from: adt, to: [ehr, archive] } ]\n", CONFIG_E_NO_ROUTE, 1, 35, "no route names listener \"lab\"", NULL },
	{ L "destinations: { ehr: { mllp: \"127.0.0.1:2575\" }, archive: { file: a } }\n" R, CONFIG_E_LOOP, 2, 30, "is listener \"adt\" of this hub", NULL },
	{ L "destinations: { ehr: { mllp: \"localhost:2576\" }, archive: { file: a } }\n" R, CONFIG_E_LOOP, 2, 30, "is listener \"lab\"", NULL },
	{ "routing: first\n" L D "routes: [ { from: \"*\", to: ehr }, { from: lab, to: archive } ]\n", CONFIG_E_UNREACHABLE, 4, 35,
	  "route \"route-2\" can never take a message: \"route-1\" (hub.yaml:4) takes them all", NULL },
	{ "routing: first\n" L D "routes: [ { from: adt, to: ehr }, { from: lab, to: archive }, { name: c, from: [lab, adt], when: exists PID, to: ehr } ]\n",
	  CONFIG_E_UNREACHABLE, 4, 63, "route \"c\" can never take a message", NULL },
	{ "routing: first\n" L D "routes: [ { from: \"*\", when: exists PID, to: ehr }, { from: lab, when: exists PID, to: archive } ]\n",
	  CONFIG_E_UNREACHABLE, 4, 53, "route \"route-2\" can never", NULL },
};
/* clang-format on */

static const struct config_diag *find(const struct config_report *r, const struct bad *b)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct config_diag *d = &r->diags[i];

		if (d->code == b->code && d->line == b->line && d->column == b->column && strstr(d->text, b->text))
			return d;
	}
	return NULL;
}

/* Says what is different and returns false, so that one run shows every difference. */
static bool told(const struct bad *b)
{
	struct loaded l = load_text(b->yaml, NULL, 4);
	const struct config_diag *d = find(&l.report, b);
	char *text = report_text(&l.report, CONFIG_TEXT);
	bool ok = d && (b->code <= 1100) == (l.rc == -EINVAL) && strcmp(d->file, "hub.yaml") == 0 &&
	          d->level == (b->code > 1100 ? CONFIG_WARNING : CONFIG_ERROR) &&
	          (b->hint ? strstr(d->hint, b->hint) != NULL : d->hint[0] == 0);

	if (!ok)
		print_error("want MR%u at %u:%u \"%s\" (%s) of\n%s\ngot rc %d:\n%s\n", b->code, b->line, b->column,
		            b->text, b->hint ? b->hint : "no hint", b->yaml, l.rc, text);
	free(text);
	loaded_free(&l);
	return ok;
}

static void each_mistake_is_told_where_it_is(void **state)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < MR_ARRAY_LEN(bad); i++)
		wrong += !told(&bad[i]);
	assert_int_equal(wrong, 0);
}

/* One mistake, one diagnostic: nothing follows from it that is not wrong itself. */
static void a_mistake_does_not_cascade(void **state)
{
	static const char *const single[] = {
	    L D "routes: [ { from: adt, to: [erh, archive] }, { from: lab, to: [archive] } ]\n",
	    L D "routes: [ { from: atd, to: [ehr, archive] } ]\n",
	    "journal: { segment: 64 }\n" L D R,
	    "listeners: { adt: { port: x } }\n" D R,
	    W("'MSH-9.1 = \"A\"'"),
	    "destinations: { ehr: { mllp: bad }, archive: { file: ./a } }\n" L R,
	};

	for (size_t i = 0; i < MR_ARRAY_LEN(single); i++) {
		struct loaded l = load_text(single[i], NULL, 4);
		char *text = report_text(&l.report, CONFIG_TEXT);

		if (l.report.errors != 1 || l.report.warnings)
			fail_msg("more than one diagnostic for\n%s\n%s", single[i], text);
		free(text);
		loaded_free(&l);
	}
}

static void all_mistakes_are_told_at_once(void **state)
{
	struct loaded l =
	    load_text("worker: 2\ncommit: maybe\nlisteners: { a: { port: 70000 } }\ndrain_timeout: 5\n", NULL, 4);

	assert_int_equal(l.rc, -EINVAL);
	assert_int_equal(l.report.errors, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(l.report.diags[i].line, i + 1); /* in the order of the file */
	loaded_free(&l);
}

static void a_report_shows_the_line_and_the_place(void **state)
{
	struct loaded l = load_text("workers: 2\njournal: { segmant: 64MiB }\n" L, NULL, 4);
	char *text = report_text(&l.report, CONFIG_TEXT);

	assert_non_null(strstr(
	    text, "hub.yaml:2:12: error[MR1006]: unknown key \"segmant\" of journal; legal: segment, tail, max"));
	assert_non_null(strstr(
	    text, "\n    2 | journal: { segmant: 64MiB }\n      |            ^^^^^^^ did you mean \"segment\"?\n"));
	assert_non_null(strstr(text, "\n1 error, 0 warnings; 2 listeners, 0 destinations, 0 routes checked in "));
	free(text);
	loaded_free(&l);
}

static void a_thousand_mistakes_are_counted_and_bounded(void **state)
{
	char *yaml = malloc(1 << 20), *p = yaml, *text;
	struct loaded l;

	for (int i = 0; i < 3000; i++)
		p += sprintf(p, "x%d: 1\n", i);
	l = load_text(yaml, NULL, 4);
	assert_int_equal(l.report.errors, 3000);
	assert_int_equal(l.report.count, CONFIG_DIAGS_MAX);
	text = report_text(&l.report, CONFIG_TEXT);
	assert_non_null(strstr(text, "... and 2000 more"));
	free(text);
	free(yaml);
	loaded_free(&l);
}

static void every_code_is_explained_and_tested(void **state)
{
	static const uint32_t all[] = {
#define CONFIG_CODE(id, number, level, summary, action) number,
#include "config_errors.def"
#undef CONFIG_CODE
	};
	/* These need files, many items or an environment: test_load.c has them. */
	static const uint32_t elsewhere[] = {CONFIG_E_FILE, CONFIG_E_TOO_MANY, CONFIG_E_ENVIRONMENT,
	                                     CONFIG_E_UNKNOWN_VARIABLE, CONFIG_E_NEW_BY_VARIABLE};
	const char *summary, *action;

	for (size_t i = 0; i < MR_ARRAY_LEN(all); i++) {
		bool tested = false;

		for (size_t k = 0; k < MR_ARRAY_LEN(bad); k++)
			tested |= bad[k].code == all[i];
		for (size_t k = 0; k < MR_ARRAY_LEN(elsewhere); k++)
			tested |= elsewhere[k] == all[i];
		if (!tested)
			fail_msg("no test has MR%u", all[i]);
		assert_int_equal(config_code_text(all[i], &summary, &action), 0);
		assert_true(strlen(summary) > 10 && strlen(action) >= 7);
	}
	assert_int_equal(config_code_text(1, &summary, &action), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_mistake_is_told_where_it_is),
	    cmocka_unit_test(a_mistake_does_not_cascade),
	    cmocka_unit_test(all_mistakes_are_told_at_once),
	    cmocka_unit_test(a_report_shows_the_line_and_the_place),
	    cmocka_unit_test(a_thousand_mistakes_are_counted_and_bounded),
	    cmocka_unit_test(every_code_is_explained_and_tested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
