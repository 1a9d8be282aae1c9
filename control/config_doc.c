/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_doc.c - the manual of the configuration, printed from the tables that the reader itself works by; the built-in
 * default.
 *
 * Called by the manual's generator (docs/configuration.md, docs/man/millrace.yaml.5), by `millrace explain` and, for
 * the default, by config_parse.c.
 */
#include "config_tree.h"

#include <errno.h>
#include <string.h>

const char *config_default_text(void)
{
	return "# The built-in configuration: messages are taken in, acknowledged and kept as files.\n"
	       "# Nothing is forwarded yet. The folder inbox is in the data folder here; in your own file give its\n"
	       "# full name.\n"
	       "listeners:\n"
	       "  default: { port: 2575 }\n"
	       "destinations:\n"
	       "  inbox: { file: inbox }\n"
	       "routes:\n"
	       "  - { from: default, to: inbox }\n";
}

static const struct {
	uint32_t number;
	const char *summary, *action;
} codes[] = {
#define CONFIG_CODE(id, number, level, summary, action) {number, summary, action},
#include "config_errors.def"
#undef CONFIG_CODE
};

int config_code_text(uint32_t number, const char **ret_summary, const char **ret_action)
{
	for (size_t i = 0; i < MR_ARRAY_LEN(codes); i++) {
		if (codes[i].number == number) {
			*ret_summary = codes[i].summary;
			*ret_action = codes[i].action;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---- two ways to write the same page ---- */

struct page {
	FILE *out;
	bool man;
	bool fresh; /* right after a heading */
};

/* One word of a man page; `code` in bold. Returns its width. */
static size_t man_word(const struct page *p, const char *s, size_t n, bool *code)
{
	size_t width = n;

	if (*s == '.' || *s == '\'')
		fputs("\\&", p->out);
	for (; n; n--, s++) {
		if (*s == '`') {
			fputs((*code = !*code) ? "\\fB" : "\\fR", p->out);
			width--;
		} else if (*s == '\\') {
			fputs("\\e", p->out);
		} else if (*s == '-' && *code) {
			fputs("\\-", p->out);
		} else {
			fputc(*s, p->out);
		}
	}
	return width;
}

/* Text with `code` in it. A man page has short lines and a new one for each sentence. Ends its line. */
static void text(const struct page *p, const char *s)
{
	size_t column = 0, n;
	bool code = false;

	if (!p->man) {
		fputs(s, p->out);
		return;
	}
	for (; *s; s += n) {
		bool end;

		s += strspn(s, " ");
		n = strcspn(s, " ");
		if (column && column + n > 60) {
			fputc('\n', p->out);
			column = 0;
		} else if (column) {
			fputc(' ', p->out);
			column++;
		}
		column += man_word(p, s, n, &code);
		end = n && s[n - 1] == '.' && s[n];
		if (end) {
			fputc('\n', p->out);
			column = 0;
		}
	}
	fputc('\n', p->out);
}

static void heading(struct page *p, const char *s)
{
	fputs(p->man ? ".Sh " : "## ", p->out);
	for (; *s; s++)
		fputc(p->man && *s >= 'a' && *s <= 'z' ? *s - 32 : *s, p->out);
	fputs(p->man ? "\n" : "\n\n", p->out);
	p->fresh = true;
}

static void paragraph(struct page *p, const char *s)
{
	if (p->man && !p->fresh)
		fputs(".Pp\n", p->out);
	p->fresh = false;
	text(p, s);
	fputs(p->man ? "" : "\n\n", p->out);
}

static void example(const struct page *p, const char *s)
{
	fputs(p->man ? ".Bd -literal -offset indent\n" : "```yaml\n", p->out);
	for (; *s; s++) {
		if (p->man && *s == '\\')
			fputs("\\e", p->out);
		else
			fputc(*s, p->out);
	}
	fputs(p->man ? ".Ed\n" : "```\n\n", p->out);
}

/* ---- settings ---- */

static const char *legal_values(const struct config_setting *s, char *room, size_t room_bytes)
{
	size_t n = 0;

	switch (s->type) {
	case CONFIG_T_WORD:
	case CONFIG_T_ORDER:
		for (const char *w = s->words; *w && n + 4 < room_bytes; w++) {
			room[n++] = *w == '|' ? ',' : *w;
			if (*w == '|')
				room[n++] = ' ';
		}
		snprintf(room + n, room_bytes - n, "%s", s->type == CONFIG_T_ORDER ? ", an HL7 path" : "");
		return room;
	case CONFIG_T_SIZE:
	case CONFIG_T_DURATION:
	case CONFIG_T_COUNT:
		snprintf(room, room_bytes, "%s, %s to %s",
		         s->type == CONFIG_T_SIZE       ? "size"
		         : s->type == CONFIG_T_DURATION ? "duration"
		                                        : "number",
		         s->min, s->max);
		return room;
	case CONFIG_T_BOOL:
		return "true, false";
	case CONFIG_T_PORT:
		return "1 to 65535";
	case CONFIG_T_ADDRESS:
		return "numeric address";
	case CONFIG_T_FOLDER:
		return "folder";
	case CONFIG_T_ENDPOINT:
		return "host:port";
	case CONFIG_T_WORKERS:
		return "auto, number, list of CPUs";
	case CONFIG_T_NAME:
		return "name";
	case CONFIG_T_NAMES:
		return "name, list of names";
	case CONFIG_T_CONDITION:
		return "condition";
	case CONFIG_T_ITEMS:
		return "map";
	case CONFIG_T_LIST:
		return "list";
	default:
		return "";
	}
}

static const char *default_value(const struct config_setting *s, char *room, size_t room_bytes)
{
	if (s->initial[0] == '!')
		return "must be given";
	if (s->initial[0] == '@') {
		snprintf(room, room_bytes, "as `%s`", s->initial + 1);
		return room;
	}
	if (!s->initial[0])
		return "none";
	snprintf(room, room_bytes, "`%s`", s->initial);
	return room;
}

static void print_settings(const struct page *p, enum config_scope scope)
{
	const struct config_setting *s;
	char legal[200], initial[100];

	fputs(p->man ? ".Bl -tag -width Ds\n" : "| setting | value | default | change | |\n|---|---|---|---|---|\n",
	      p->out);
	for (uint32_t i = 0; (s = config_setting_at(scope, i)); i++) {
		const char *values = legal_values(s, legal, sizeof(legal)),
		           *fallback = default_value(s, initial, sizeof(initial));
		const char *apply = s->apply == CONFIG_A_RELOAD ? "reload" : "restart";
		const char *kind = s->kind == CONFIG_K_MLLP   ? "MLLP only. "
		                   : s->kind == CONFIG_K_FILE ? "Files only. "
		                                              : "";

		if (s->type == CONFIG_T_ABSENT)
			continue;
		if (p->man) {
			char line[1000];

			snprintf(line, sizeof(line), "%s%s Value: %s. Default: %s. Change: %s.", kind, s->help, values,
			         fallback, apply);
			fprintf(p->out, ".It Sy %s\n", s->path);
			text(p, line);
		} else {
			fprintf(p->out, "| `%s` | %s | %s | %s | %s%s |\n", s->path, values, fallback, apply, kind,
			        s->help);
		}
	}
	fputs(p->man ? ".El\n" : "\n", p->out);
}

static void print_codes(const struct page *p)
{
	fputs(p->man ? ".Bl -tag -width MR1001\n" : "| code | what | what to do |\n|---|---|---|\n", p->out);
	for (size_t i = 0; i < MR_ARRAY_LEN(codes); i++) {
		if (!p->man) {
			fprintf(p->out, "| MR%04u | %s | %s |\n", codes[i].number, codes[i].summary, codes[i].action);
			continue;
		}
		fprintf(p->out, ".It MR%04u\n", codes[i].number);
		text(p, codes[i].summary);
		text(p, codes[i].action);
	}
	fputs(p->man ? ".El\n" : "\n", p->out);
}

static const char sample[] =
    "data: ./data            # journals\n"
    "run: ./run              # sockets, shared regions\n"
    "workers: 2\n"
    "commit: durable\n"
    "metrics: { address: 127.0.0.1, port: 9464 }\n"
    "listeners:\n"
    "  adt:   { port: 2575 }\n"
    "  lab:   { address: \"::\", port: 2576, max_frame: 32MiB, idle_timeout: 10min }\n"
    "destinations:\n"
    "  ehr:     { mllp: \"127.0.0.1:6661\", connections: 2, ack_timeout: 5s, retry: { first: 100ms, max: 30s } }\n"
    "  lab_sys: { mllp: \"127.0.0.1:6662\", on_reject: dead_letter }\n"
    "  archive: { file: ./archive, format: hl7 }\n"
    "routes:\n"
    "  - { from: adt, to: [ehr, archive] }\n"
    "  - { from: lab, when: 'MSH-9.1 == \"ORU\" && PV1-2 in [\"I\",\"E\"]', to: [lab_sys] }\n"
    "  - { from: lab, to: [archive] }\n";

static void print_conditions(struct page *p)
{
	heading(p, "Conditions");
	paragraph(
	    p,
	    "A condition is made of tests, joined by `&&`, `||`, `!` and parentheses; `!` binds strongest, then `&&`.");
	example(p, "MSH-9.1 == \"ORU\"                 # equal\n"
	           "MSH-9.1 != \"ORU\"                 # not equal\n"
	           "PV1-2 in [\"I\", \"E\"]             # one of these; also: not in\n"
	           "OBX(*)-3.1 =~ \"^(718|789)-\"      # a regular expression matches somewhere in the value\n"
	           "exists PID-19                    # has a value; also: exists(PID-19)\n"
	           "!(PID-8 == \"F\" || exists PID-30) && MSH-4 == 'LAB'\n");
	paragraph(
	    p,
	    "A path is written as `PID-5.1`, `PID-3[2].4.2`, `OBX(2)-5`, `OBX(*)-3.1`, `PID-3[*].1` or `PID`. `(*)` "
	    "and `[*]` stand "
	    "for every segment of that name and every repetition: then a test is true if it is true for any of the "
	    "values. "
	    "A path that names nothing populated has one value, the empty one, so `PID-8 == \"\"` is the opposite of "
	    "`exists PID-8`. `!=` and `not in` are always the opposite of `==` and `in`.");
	paragraph(p, "Escape sequences of a value are decoded before it is compared; letters are compared as they are. "
	             "Strings stand in "
	             "double or single quotes, with `\\\\`, `\\\"` and `\\'` as escapes. In a regular expression a "
	             "backslash stays, except "
	             "before the quote. Regular expressions are those of Vectorscan: no back-references, no "
	             "look-around; a dot matches "
	             "any byte.");
}

static void print_files(struct page *p)
{
	heading(p, "Files");
	paragraph(p, "A configuration is YAML; JSON is YAML too. `-c` names a file or a folder, of which the *.yaml, "
	             "*.yml and *.json files are "
	             "read in the order of their names. Several files are one configuration: listeners, destinations "
	             "and routes add up, any "
	             "other setting may be given once. Anchors, aliases and tags are refused. Relative folders are "
	             "taken from the current "
	             "folder. `millrace config check FILE` shows everything that is wrong.");
	heading(p, "Units");
	paragraph(p, "Sizes have a unit: B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000). "
	             "Durations too: ns, us, "
	             "ms, s, min, h, d. Only 0 needs none.");
	heading(p, "Environment variables");
	paragraph(p,
	          "Every setting can be given by an environment variable, which goes before the files: `MILLRACE_` and "
	          "the setting in "
	          "upper case, with _ for each dot and dash: `MILLRACE_COMMIT=os`, `MILLRACE_JOURNAL_SEGMENT=128MiB`, "
	          "`MILLRACE_LISTENERS_ADT_PORT=2575`, `MILLRACE_DESTINATIONS_EHR_RETRY_MAX=1min`, "
	          "`MILLRACE_ROUTES_ROUTE_1_TO=[ehr]`. "
	          "A variable for a list or a map holds YAML: `MILLRACE_ROUTES='[{from: adt, to: [ehr]}]'`. A name "
	          "that no listener or "
	          "destination has makes a new one. Empty variables count as not set.");
}

void config_print_doc(FILE *out, int format)
{
	struct page p = {out, format == CONFIG_DOC_MAN, false};

	if (p.man) {
		fputs(".\\\" Printed from control/config_schema.def; do not edit.\n.Dd November 20, 2026\n.Dt "
		      "MILLRACE.YAML 5\n.Os\n"
		      ".Sh NAME\n.Nm millrace.yaml\n.Nd configuration of a Millrace hub\n.Sh DESCRIPTION\n",
		      out);
		fputs("The configuration says where messages come in, where they go to,\nand which go where.\n", out);
	} else {
		fputs("# Configuration\n\nPrinted from `control/config_schema.def`; do not edit. "
		      "The configuration says where messages come in, where they go to, and which go where.\n\n",
		      out);
	}
	example(&p, sample);
	print_files(&p);
	paragraph(
	    &p,
	    "`change` says what a setting's change asks of the workers: `reload` (they could take it up as they run) "
	    "or `restart`. "
	    "This version reads the configuration at the start only, so that every change needs a restart of the hub.");
	heading(&p, "Top level");
	print_settings(&p, CONFIG_ROOT);
	heading(&p, "Listeners");
	print_settings(&p, CONFIG_LISTENER);
	heading(&p, "Destinations");
	print_settings(&p, CONFIG_DEST);
	heading(&p, "Routes");
	print_settings(&p, CONFIG_ROUTE);
	print_conditions(&p);
	heading(&p, "Diagnostics");
	print_codes(&p);
	if (p.man)
		fputs(".Sh SEE ALSO\n.Xr millrace 1\n", out);
}
