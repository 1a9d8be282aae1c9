/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_text.c - the small things of the configuration reader: its memory, units, near words, diagnostics and their
 * print.
 *
 * Called by the other config_*.c files and, for the report, by the control process and the tools. Control process only;
 * it must never exit or print by itself: the caller owns both.
 */
#include "config_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

#define BLOCK_BYTES (64u << 10)

struct config_block {
	struct config_block *next;
	size_t used, room;
	_Alignas(16) char bytes[];
};

void *config_alloc(struct config *c, size_t bytes)
{
	struct config_block *b = c->blocks;
	size_t need = (bytes + 15) & ~(size_t)15;
	void *p;

	if (!b || b->room - b->used < need) {
		size_t room = need > BLOCK_BYTES ? need : BLOCK_BYTES;

		b = malloc(sizeof(*b) + room);
		if (!b) {
			c->no_memory = true;
			return NULL;
		}
		b->next = c->blocks;
		b->used = 0;
		b->room = room;
		c->blocks = b;
	}
	p = b->bytes + b->used;
	b->used += need;
	return memset(p, 0, need);
}

char *config_copy(struct config *c, const char *text, size_t bytes)
{
	char *p = config_alloc(c, bytes + 1);

	return p ? memcpy(p, text, bytes) : NULL;
}

void config_arena_free(struct config *c)
{
	while (c->blocks) {
		struct config_block *next = c->blocks->next;

		free(c->blocks);
		c->blocks = next;
	}
}

int config_grow(void **array, uint32_t count, uint32_t *room, size_t entry_bytes)
{
	uint32_t more = *room ? *room * 2 : 16;
	void *p;

	if (count < *room)
		return 0;
	p = realloc(*array, (size_t)more * entry_bytes);
	if (!p)
		return -ENOMEM;
	*array = p;
	*room = more;
	return 0;
}

/* ---- units ---- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
    {"B", 1},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {"KB", 1000ull},
    {"kB", 1000ull},
    {"MB", 1000ull * 1000},
    {"GB", 1000ull * 1000 * 1000},
    {"TB", 1000ull * 1000 * 1000 * 1000},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ns", 1},
    {"us", 1000ull},
    {"ms", 1000ull * 1000},
    {"s", 1000ull * 1000 * 1000},
    {"min", 60ull * 1000 * 1000 * 1000},
    {"h", 3600ull * 1000 * 1000 * 1000},
    {"d", 86400ull * 1000 * 1000 * 1000},
    {NULL, 0},
};

/* Decimal digits at the start of @text; returns the first character after them, NULL if there are none or too many. */
static const char *take_digits(const char *text, uint64_t *ret, int *reterr)
{
	uint64_t n = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)) {
			*reterr = CONFIG_E_RANGE;
			return NULL;
		}
	}
	*reterr = CONFIG_E_VALUE;
	*ret = n;
	return p == text ? NULL : p;
}

static int number_with_unit(const char *text, const struct unit *units, uint64_t *ret)
{
	uint64_t n;
	int rc;
	const char *rest = take_digits(text, &n, &rc);

	if (!rest)
		return rc;
	while (*rest == ' ')
		rest++;
	if (!*rest && n == 0) {
		*ret = 0;
		return 0;
	}
	for (const struct unit *u = units; u->name; u++) {
		if (strcmp(rest, u->name) == 0) {
			if (__builtin_mul_overflow(n, u->factor, &n))
				return CONFIG_E_RANGE;
			*ret = n;
			return 0;
		}
	}
	return CONFIG_E_UNIT;
}

int config_size(const char *text, uint64_t *ret_bytes)
{
	return number_with_unit(text, size_units, ret_bytes);
}

int config_duration(const char *text, uint64_t *ret_ns)
{
	return number_with_unit(text, duration_units, ret_ns);
}

int config_count(const char *text, uint64_t *ret)
{
	uint64_t n;
	int rc;
	const char *rest = take_digits(text, &n, &rc);

	if (!rest)
		return rc;
	if (*rest)
		return CONFIG_E_VALUE;
	*ret = n;
	return 0;
}

int config_bool(const char *text, uint64_t *ret)
{
	uint64_t index;

	if (config_word("false|true|no|yes|off|on", text, &index))
		return CONFIG_E_VALUE;
	*ret = index & 1;
	return 0;
}

const char *config_word_at(const char *words, uint32_t index, char *room, size_t room_bytes)
{
	size_t n;

	for (; index; index--) {
		words = strchr(words, '|');
		if (!words)
			return "";
		words++;
	}
	n = strcspn(words, "|");
	if (n >= room_bytes)
		n = room_bytes - 1;
	memcpy(room, words, n);
	room[n] = 0;
	return room;
}

int config_word(const char *words, const char *text, uint64_t *ret_index)
{
	char room[MR_NAME_BYTES];

	for (uint32_t i = 0;; i++) {
		const char *word = config_word_at(words, i, room, sizeof(room));

		if (!*word)
			return CONFIG_E_VALUE;
		if (strcmp(word, text) == 0) {
			*ret_index = i;
			return 0;
		}
	}
}

/* ---- near words ---- */

static char lower(char ch)
{
	return ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch == '-' ? '_' : ch;
}

/* Edits that make @b of @a: insert, delete, replace, swap two neighbours. Case, `-` and `_` do not count. */
static uint32_t distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	uint32_t row[3][MR_NAME_BYTES + 1], *before = row[0], *last = row[1], *now = row[2];

	if (na > MR_NAME_BYTES || nb > MR_NAME_BYTES)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= nb; j++)
		last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		uint32_t *swap = before;

		now[0] = (uint32_t)i;
		for (size_t j = 1; j <= nb; j++) {
			bool same = lower(a[i - 1]) == lower(b[j - 1]);
			uint32_t best = last[j - 1] + !same;

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
			    lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = swap;
	}
	return last[nb];
}

void config_nearest_try(struct config_nearest *n, const char *candidate, const struct config_node *node)
{
	uint32_t d;

	if (strlen(candidate) >= sizeof(n->best))
		return;
	d = distance(n->text, candidate);
	if (n->best[0] && d >= n->distance)
		return;
	memcpy(n->best, candidate, strlen(candidate) + 1);
	n->distance = d;
	n->node = node;
}

bool config_nearest_found(const struct config_nearest *n)
{
	size_t longest = strlen(n->best) > strlen(n->text) ? strlen(n->best) : strlen(n->text);

	return n->best[0] && n->distance <= (longest <= 3 ? 1 : 1 + longest / 4);
}

/* ---- places ---- */

struct config_place config_place_of(const struct config_node *node)
{
	return (struct config_place){node->source, node->line, node->column, node->length ? node->length : 1};
}

struct config_place config_place_key(const struct config_node *entry)
{
	return config_place_of(entry->key ? entry->key : entry);
}

/* Bytes of the line break at @p, as libyaml counts lines: LF, CR, CR LF, and three that only Unicode knows. 0: none. */
static size_t break_bytes(const char *p)
{
	if (*p == '\n')
		return 1;
	if (*p == '\r')
		return p[1] == '\n' ? 2 : 1;
	if (strncmp(p, "\xc2\x85", 2) == 0)
		return 2;
	return strncmp(p, "\xe2\x80\xa8", 3) == 0 || strncmp(p, "\xe2\x80\xa9", 3) == 0 ? 3 : 0;
}

static size_t line_bytes(const char *line)
{
	const char *p = line;

	while (*p && !break_bytes(p))
		p++;
	return (size_t)(p - line);
}

/* First byte of a line (from 1) of a text; the end of the text if it has fewer. */
static const char *line_start(const struct config_source *s, uint32_t line)
{
	const char *p = s->text;

	while (*p && line > 1) {
		size_t n = break_bytes(p);

		line -= n != 0;
		p += n ? n : 1;
	}
	return p;
}

static bool continues(char ch)
{
	return ((unsigned char)ch & 0xc0) == 0x80;
}

/* First byte of a character (column from 1) of a line; the end of the line if it is shorter. */
static const char *column_at(const char *line, uint32_t column)
{
	const char *end = line + line_bytes(line);

	while (line < end && --column) {
		do
			line++;
		while (line < end && continues(*line));
	}
	return line;
}

/*
 * How many bytes of source and of value the next character of a scalar takes. A double-quoted scalar has escapes; what
 * they make is one byte for those that can stand in a condition, except \u and \U of other characters (then places are
 * near, not exact).
 */
static uint32_t step(const char *p, enum config_node_style style)
{
	if (style == CONFIG_SINGLE && p[0] == '\'' && p[1] == '\'')
		return 2;
	if (style != CONFIG_DOUBLE || p[0] != '\\')
		return 1;
	return p[1] == 'x' ? 4 : p[1] == 'u' ? 6 : p[1] == 'U' ? 10 : 2;
}

struct config_place config_place_in(const struct config_node *scalar, uint32_t offset, uint32_t length)
{
	struct config_place at = config_place_of(scalar);
	const char *p, *end;

	if (scalar->line != scalar->end_line || scalar->style == CONFIG_BLOCK)
		return at;
	p = column_at(line_start(scalar->source, scalar->line), scalar->column);
	end = p + line_bytes(p);
	if (scalar->style == CONFIG_SINGLE || scalar->style == CONFIG_DOUBLE) {
		p++;
		at.column++;
	}
	for (; offset && p < end; offset--) {
		for (uint32_t n = step(p, scalar->style); n && p < end; n--) {
			p++;
			at.column += !continues(*p);
		}
	}
	at.length = length ? length : 1;
	return at;
}

/* ---- diagnostics ---- */

/* Copies the line that a diagnostic is about, cut to what fits around the column, without tabs and other controls. */
static void quote_source(struct config_diag *d, const struct config_place *at)
{
	const char *line = at->source && at->line ? line_start(at->source, at->line) : NULL;
	const uint32_t before = 100;
	uint32_t skipped = 0;
	size_t n;

	if (!line)
		return;
	if (at->column > before) {
		skipped = at->column - before;
		line = column_at(line, skipped + 1);
	}
	n = line_bytes(line);
	if (n >= sizeof(d->source)) {
		n = sizeof(d->source) - 1;
		while (n && continues(line[n]))
			n--;
	}
	memcpy(d->source, line, n);
	d->source[n] = 0;
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)d->source[i] < ' ' || d->source[i] == 127)
			d->source[i] = ' ';
	}
	d->caret = at->column - skipped;
	if (d->caret > n + 1) /* a control character in a variable ends what is shown of it */
		d->caret = (uint32_t)n + 1;
}

static struct config_diag *report_room(struct config_report *r)
{
	void *diags = r->diags;

	/* One more than is ever counted: the spare slot takes what no longer fits. */
	while (r->room < CONFIG_DIAGS_MAX + 1 && r->count + 1 >= r->room) {
		if (config_grow(&diags, r->room, &r->room, sizeof(*r->diags)))
			break;
		r->diags = diags;
	}
	return r->count + 1 < r->room ? &r->diags[r->count] : NULL;
}

struct config_diag *config_say(struct config *c, struct config_place at, uint32_t code, const char *format, ...)
{
	struct config_report *r = c->report;
	struct config_diag *d = r->count < CONFIG_DIAGS_MAX ? report_room(r) : NULL;
	bool kept = d != NULL;
	va_list args;

	if (!kept)
		d = &c->spare_diag;
	memset(d, 0, sizeof(*d));
	d->level = code > 1100 ? CONFIG_WARNING : CONFIG_ERROR;
	d->code = code;
	d->line = at.line;
	d->column = at.column;
	d->length = at.length;
	d->order = r->count;
	snprintf(d->file, sizeof(d->file), "%s", at.source ? at.source->name : "");
	va_start(args, format);
	vsnprintf(d->text, sizeof(d->text), format, args);
	va_end(args);
	if (strlen(d->text) == sizeof(d->text) - 1)
		memcpy(d->text + sizeof(d->text) - 5, " ...", 5);
	quote_source(d, &at);
	r->count += kept;
	if (d->level == CONFIG_ERROR)
		r->errors++;
	else
		r->warnings++;
	return d;
}

void config_hint(struct config_diag *d, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(d->hint, sizeof(d->hint), format, args);
	va_end(args);
}

void config_hint_nearest(struct config_diag *d, const struct config_nearest *n)
{
	if (!config_nearest_found(n))
		return;
	if (n->node && n->node->source)
		config_hint(d, "did you mean \"%s\"? (defined at %.100s:%u)", n->best, n->node->source->name,
		            n->node->line);
	else
		config_hint(d, "did you mean \"%s\"?", n->best);
}

static int by_place(const void *a, const void *b)
{
	const struct config_diag *x = a, *y = b;
	int rc = strcmp(x->file, y->file);

	if (rc)
		return rc;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void config_report_sort(struct config_report *r)
{
	if (r->count)
		qsort(r->diags, r->count, sizeof(*r->diags), by_place);
}

void config_report_free(struct config_report *r)
{
	free(r->diags);
	memset(r, 0, sizeof(*r));
}

/* ---- printing ---- */

static const char *level_name(int level)
{
	return level == CONFIG_WARNING ? "warning" : "error";
}

static void print_diag(FILE *out, const struct config_diag *d)
{
	if (d->line)
		fprintf(out, "%s:%u:%u: %s[MR%04u]: %s\n", d->file, d->line, d->column, level_name(d->level), d->code,
		        d->text);
	else
		fprintf(out, "%s%s%s[MR%04u]: %s\n", d->file, *d->file ? ": " : "", level_name(d->level), d->code,
		        d->text);
	if (!d->source[0]) {
		if (d->hint[0])
			fprintf(out, "      | %s\n", d->hint);
		return;
	}
	fprintf(out, "%5u | %s\n      | %*s", d->line, d->source, (int)d->caret - 1, "");
	for (uint32_t i = 0; i < (d->length ? d->length : 1) && (i == 0 || i < strlen(d->source) + 1 - d->caret); i++)
		fputc('^', out);
	fprintf(out, "%s%s\n", d->hint[0] ? " " : "", d->hint);
}

static void print_plural(FILE *out, uint32_t n, const char *what, const char *more)
{
	fprintf(out, "%u %s%s%s", n, what, n == 1 ? "" : "s", more);
}

/* Bytes of the UTF-8 character at @s; 0 if there is none: names of files and variables may hold anything. */
static uint32_t utf8_bytes(const char *s)
{
	unsigned char first = (unsigned char)*s;
	uint32_t n = first < 0x80                    ? 1
	             : first >= 0xc2 && first < 0xe0 ? 2
	             : first >= 0xe0 && first < 0xf0 ? 3
	             : first >= 0xf0 && first < 0xf5 ? 4
	                                             : 0;

	for (uint32_t i = 1; i < n; i++) {
		if (!continues(s[i]))
			return 0;
	}
	return n;
}

static void print_json_string(FILE *out, const char *s)
{
	uint32_t n;

	fputc('"', out);
	for (; *s; s += n ? n : 1) {
		unsigned char ch = (unsigned char)*s;

		n = utf8_bytes(s);
		if (!n)
			fputs("\\ufffd", out);
		else if (ch == '"' || ch == '\\')
			fprintf(out, "\\%c", ch);
		else if (ch < ' ' || ch == 127)
			fprintf(out, "\\u%04x", ch);
		else
			fwrite(s, 1, n, out);
	}
	fputc('"', out);
}

static void print_json(FILE *out, const struct config_report *r)
{
	fprintf(out,
	        "{\"schema\":\"millrace.config.check/1\",\"errors\":%u,\"warnings\":%u,\"files\":%u,\"listeners\":%u,"
	        "\"destinations\":%u,\"routes\":%u,\"duration\":%.6f,\"diagnostics\":[",
	        r->errors, r->warnings, r->files, r->listeners, r->destinations, r->routes,
	        (double)r->duration_ns / 1e9);
	for (uint32_t i = 0; i < r->count; i++) {
		const struct config_diag *d = &r->diags[i];

		fprintf(out, "%s{\"level\":\"%s\",\"code\":\"MR%04u\",\"file\":", i ? "," : "", level_name(d->level),
		        d->code);
		print_json_string(out, d->file);
		fprintf(out, ",\"line\":%u,\"column\":%u,\"length\":%u,\"text\":", d->line, d->column, d->length);
		print_json_string(out, d->text);
		fputs(",\"hint\":", out);
		print_json_string(out, d->hint);
		fputs(",\"source\":", out);
		print_json_string(out, d->source);
		fputc('}', out);
	}
	fputs("]}\n", out);
}

void config_print_report(FILE *out, const struct config_report *r, int format)
{
	if (format == CONFIG_JSON) {
		print_json(out, r);
		return;
	}
	for (uint32_t i = 0; i < r->count; i++)
		print_diag(out, &r->diags[i]);
	if (r->errors + r->warnings > r->count)
		fprintf(out, "... and %u more\n", r->errors + r->warnings - r->count);
	print_plural(out, r->errors, "error", ", ");
	print_plural(out, r->warnings, "warning", "; ");
	print_plural(out, r->listeners, "listener", ", ");
	print_plural(out, r->destinations, "destination", ", ");
	print_plural(out, r->routes, "route", "");
	fprintf(out, " checked in %.0f ms\n", (double)r->duration_ns / 1e6);
}
