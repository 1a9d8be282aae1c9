/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7.c - `millrace hl7`: fields, trees, acknowledgements and statistics of HL7 v2 files, batch files included.
 *
 * Runs as a command, with files or standard input. All knowledge of HL7 is the parser library's. Only get, parse,
 * format and split print what is in a message: that is what they are asked for. stat prints no values.
 */
#include "cli.h"
#include "split.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hl7.h"

#define PATHS_MAX 256

struct hl7_job {
	const struct cli *cli;
	int (*message)(struct hl7_job *job, const char *msg, uint32_t bytes);
	const char *file;
	bool keep_eol;
	bool text; /* escapes resolved */
	bool json;
	void *mem; /* of the index */
	size_t mem_bytes;
	char *scratch;
	size_t scratch_bytes;
	struct split_counts counts;
	uint64_t failed; /* messages that could not be indexed */
	/* what single commands need */
	struct hl7_path path[PATHS_MAX];
	int paths;
	const char *code, *eol, *out;
	bool mllp;
	struct hl7_stats *stats;
};

/* ---- reading ---- */

static int job_message(void *arg, const char *msg, uint32_t bytes, uint32_t line)
{
	struct hl7_job *job = arg;

	return bytes ? job->message(job, msg, bytes) : 0;
}

static void job_problem(void *arg, uint32_t line, const char *text)
{
	struct hl7_job *job = arg;

	cli_error(job->cli, "%s:%u: %s", job->file, line, text);
}

static int job_stream(struct hl7_job *job, FILE *from)
{
	const struct split_to to = {job_message, job_problem, job};
	size_t bytes = 0, room = 1 << 16;
	char *data = malloc(room);
	int result = data ? 0 : -ENOMEM;

	while (!result) {
		size_t n = fread(data + bytes, 1, room - bytes, from);
		char *more;

		bytes += n;
		if (n == 0)
			break;
		if (bytes < room)
			continue;
		more = realloc(data, room *= 2);
		if (more)
			data = more;
		else
			result = -ENOMEM;
	}
	if (!result && ferror(from))
		result = -EIO;
	if (!result)
		result = split_messages(data, bytes, job->keep_eol, &to, &job->counts);
	free(data);
	return result;
}

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int job_path(struct hl7_job *job, const char *path, int depth);

static int job_folder(struct hl7_job *job, const char *path, int depth)
{
	struct dirent **names;
	int n = depth > 32 ? -1 : scandir(path, &names, not_hidden, alphasort), result = 0;

	if (n < 0)
		return depth > 32 ? -ELOOP : -errno;
	for (int i = 0; i < n; i++) {
		char *below;

		if (!result && asprintf(&below, "%s/%s", path, names[i]->d_name) >= 0) {
			result = job_path(job, below, depth + 1);
			free(below);
		}
		free(names[i]);
	}
	free(names);
	return result;
}

/* One argument: a file, a folder, or - for standard input. */
static int job_path(struct hl7_job *job, const char *path, int depth)
{
	struct stat st;
	FILE *from;
	int result;

	job->file = path;
	if (!strcmp(path, "-"))
		return job_stream(job, stdin);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return job_folder(job, path, depth);
	from = fopen(path, "re");
	if (!from)
		result = -errno;
	else
		result = job_stream(job, from);
	if (from)
		fclose(from);
	if (result < 0)
		cli_error(job->cli, "%s: %s", path, strerror(-result));
	return result;
}

static int job_run(struct hl7_job *job, int first)
{
	const struct cli *cli = job->cli;
	int result = 0;

	if (first >= cli->argc)
		result = job_path(job, "-", 0);
	for (int i = first; i < cli->argc && !result; i++)
		result = job_path(job, cli->argv[i], 0);
	free(job->mem);
	free(job->scratch);
	if (fflush(stdout) || ferror(stdout))
		result = -EIO;
	if (result)
		return CLI_FAILED;
	return job->counts.problems || job->failed ? CLI_PARTIAL : CLI_OK;
}

/* The index of a message, in memory that grows as needed. */
static int job_index(struct hl7_job *job, const char *msg, uint32_t bytes, struct hl7_index *ix)
{
	struct hl7_error err;
	int rc = HL7_E_FULL;

	if (!job->mem) {
		job->mem_bytes = hl7_index_bytes(4096, 512);
		job->mem = malloc(job->mem_bytes);
	}
	while (job->mem &&
	       (rc = hl7_index(msg, bytes, HL7_F_EOL_LENIENT, job->mem, job->mem_bytes, ix, &err)) == HL7_E_FULL) {
		free(job->mem);
		job->mem = malloc(job->mem_bytes *= 2);
	}
	if (!job->mem)
		return -ENOMEM;
	if (rc) {
		cli_error(job->cli, "%s: %s (at byte %u of a message)", job->file, hl7_strerror(rc), err.offset);
		job->failed++;
	}
	return rc;
}

/* ---- printing values ---- */

/* A value as it is, or as text. Returned bytes stay until the next call. */
static const char *shown(struct hl7_job *job, const struct hl7_delims *d, const char *in, uint32_t bytes,
                         uint32_t *ret_bytes)
{
	size_t room = (size_t)bytes * 34 + 1; /* \.sp99\ is seven bytes and makes ninety-nine */
	int n;

	*ret_bytes = bytes;
	if (!job->text || !d->escape || !memchr(in, d->escape, bytes))
		return in;
	if (room > job->scratch_bytes) {
		free(job->scratch);
		job->scratch = malloc(room);
		job->scratch_bytes = job->scratch ? room : 0;
	}
	n = job->scratch ? hl7_text_plain(d, in, bytes, job->scratch, (uint32_t)job->scratch_bytes) : -1;
	if (n < 0)
		return in;
	*ret_bytes = (uint32_t)n;
	return job->scratch;
}

/* On one line, whatever is in it. */
static void print_line(const char *p, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		putchar((unsigned char)p[i] < ' ' ? ' ' : p[i]);
}

static uint32_t utf8_bytes(const char *p, uint32_t left)
{
	for (uint32_t n = 2; n <= 4 && n <= left; n++) {
		if (!hl7_charset_check(HL7_CHARSET_UTF8, p, n, NULL))
			return n;
	}
	return 0;
}

/* A JSON string. Bytes that are no UTF-8 are taken for ISO 8859-1, so that none is lost. */
static void print_json(const char *p, uint32_t bytes)
{
	putchar('"');
	for (uint32_t i = 0; i < bytes;) {
		unsigned char c = (unsigned char)p[i];
		uint32_t n = c < 0x80 ? 0 : utf8_bytes(p + i, bytes - i);

		if (n) {
			fwrite(p + i, 1, n, stdout);
			i += n;
			continue;
		}
		if (c < ' ' || c >= 0x7f)
			printf("\\u%04x", c);
		else if (c == '"' || c == '\\')
			printf("\\%c", c);
		else
			putchar(c);
		i++;
	}
	putchar('"');
}

/* ---- get ---- */

static int get_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	struct hl7_index ix;
	int rc = job_index(job, msg, bytes, &ix);

	if (rc)
		return rc == -ENOMEM ? rc : 0;
	for (int i = 0; i < job->paths; i++) {
		struct hl7_iter it;
		struct hl7_span s;

		if (i)
			putchar('\t');
		hl7_iter_init(&it, &ix, &job->path[i]);
		for (int n = 0; hl7_iter_next(&it, &s); n++) {
			uint32_t out_bytes;
			const char *out = shown(job, &ix.delims, msg + s.offset, s.bytes, &out_bytes);

			if (n)
				putchar('~');
			print_line(out, out_bytes);
		}
	}
	putchar('\n');
	return 0;
}

int hl7_get_main(struct cli *cli)
{
	struct hl7_job job = {.cli = cli, .message = get_message, .text = cli_flag(cli, "text")};
	struct hl7_error err;

	while (job.paths < cli->argc && job.paths < PATHS_MAX) {
		const char *text = cli->argv[job.paths];

		if (hl7_path_compile(text, (uint32_t)strlen(text), &job.path[job.paths], &err))
			break;
		job.paths++;
	}
	if (job.paths == 0 && cli->argc)
		return cli_usage(cli, "%s: %s (wrong at character %u)", cli->argv[0], hl7_strerror(HL7_E_PATH),
		                 err.offset + 1);
	if (job.paths == 0)
		return cli_usage(cli, "a path is missing, as in PID-5.1");
	return job_run(&job, job.paths);
}

/* ---- parse ---- */

/* The shortest path that finds this element again. */
static void print_path(char out[64], const struct hl7_element *e, uint32_t sequence, const struct hl7_delims *d)
{
	bool components = e->component > 1 || (d->component && (char)e->end == d->component);
	bool subcomponents = e->subcomponent > 1 || (d->subcomponent && (char)e->end == d->subcomponent);
	int n = snprintf(out, 64, "%c%c%c", (int)(e->name & 0xff), (int)(e->name >> 8 & 0xff), (int)(e->name >> 16));

	if (sequence > 1)
		n += snprintf(out + n, 64 - (size_t)n, "(%u)", sequence);
	n += snprintf(out + n, 64 - (size_t)n, "-%u", e->field);
	if (e->repetition > 1 || (d->repetition && (char)e->end == d->repetition && !components && !subcomponents))
		n += snprintf(out + n, 64 - (size_t)n, "[%u]", e->repetition);
	if (components || subcomponents)
		n += snprintf(out + n, 64 - (size_t)n, ".%u", e->component);
	if (subcomponents)
		snprintf(out + n, 64 - (size_t)n, ".%u", e->subcomponent);
}

/* How often the name of this line has stood before it, this time included. Names are few: a small list. */
struct hl7_sequences {
	uint32_t name[512], count[512], names;
};

static uint32_t sequence_of(struct hl7_sequences *s, uint32_t name)
{
	for (uint32_t i = 0; i < s->names; i++) {
		if (s->name[i] == name)
			return ++s->count[i];
	}
	if (s->names < 512) {
		s->name[s->names] = name;
		s->count[s->names++] = 1;
	}
	return 1;
}

static void print_element(struct hl7_job *job, const struct hl7_walk *w, const struct hl7_element *e, uint32_t sequence,
                          bool first)
{
	uint32_t bytes;
	const char *value = shown(job, &w->delims, w->msg + e->value.offset, e->value.bytes, &bytes);
	char path[64] = "line";

	if (e->name)
		print_path(path, e, sequence, &w->delims);
	else
		snprintf(path, sizeof path, "line %u", e->line + 1);
	if (job->json) {
		if (!first)
			putchar(',');
		print_json(path, (uint32_t)strlen(path));
		putchar(':');
		print_json(value, bytes);
	} else {
		printf("%-16s ", path);
		print_line(value, bytes);
		putchar('\n');
	}
}

static int parse_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	struct hl7_sequences seen = {.names = 0};
	struct hl7_element e[64];
	uint32_t n, line = UINT32_MAX, sequence = 0;
	struct hl7_walk w;
	bool first = true;

	if (hl7_walk_init(&w, msg, bytes, HL7_F_EOL_LENIENT, NULL)) {
		job->failed++;
		return 0;
	}
	if (job->json)
		putchar('{');
	while ((n = hl7_walk_next(&w, e, 64)) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			if (e[i].line != line) {
				line = e[i].line;
				sequence = e[i].name ? sequence_of(&seen, e[i].name) : 0;
			}
			if ((e[i].field == 0 && e[i].name) || e[i].value.bytes == 0)
				continue;
			print_element(job, &w, &e[i], sequence, first);
			first = false;
		}
	}
	puts(job->json ? "}" : "");
	return 0;
}

int hl7_parse_main(struct cli *cli)
{
	struct hl7_job job = {
	    .cli = cli, .message = parse_message, .text = cli_flag(cli, "text"), .json = cli_flag(cli, "json")};

	return job_run(&job, 0);
}

/* ---- format ---- */

static int format_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	if (job->mllp)
		putchar(0x0b);
	for (uint32_t i = 0; i < bytes; i++) {
		if (msg[i] == '\r')
			fputs(job->eol, stdout);
		else
			putchar(msg[i]);
	}
	if (job->mllp)
		fputs("\x1c\r", stdout);
	return 0;
}

int hl7_format_main(struct cli *cli)
{
	static const char *const ends[] = {"\n", "\r", "\r\n"};
	struct hl7_job job = {.cli = cli, .message = format_message, .mllp = cli_flag(cli, "mllp")};
	int eol = cli_choice(cli, "eol", job.mllp ? 1 : 0);

	if (eol < 0)
		return CLI_USAGE;
	job.eol = ends[eol];
	return job_run(&job, 0);
}

/* ---- ack ---- */

static int ack_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	char id[32], out[4096];
	struct hl7_ack a = {.code = job->code, .msg = msg, .control_id = id};
	struct timespec now;
	struct hl7_msh msh;
	uint32_t room;
	char *big;
	int n;

	if (hl7_msh_read(msg, bytes, &msh, NULL)) {
		job->failed++;
		return 0;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	a.msh = &msh;
	a.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	a.control_id_bytes = (uint32_t)snprintf(id, sizeof id, "%llX%03llX", (unsigned long long)(a.time_ns / 1000),
	                                        (unsigned long long)(job->counts.messages & 0xfff));
	a.text = job->out;
	a.err_code = job->code[1] == 'A' ? 0 : 207;
	room = hl7_ack_bytes(&a);
	big = room > sizeof out ? malloc(room) : out;
	if (!big)
		return -ENOMEM;
	n = hl7_ack_build(big, room, &a);
	if (n > 0)
		format_message(job, big, (uint32_t)n);
	if (big != out)
		free(big);
	return 0;
}

int hl7_ack_main(struct cli *cli)
{
	static const char *const codes[] = {"AA", "AE", "AR", "CA", "CE", "CR"};
	struct hl7_job job = {
	    .cli = cli, .message = ack_message, .mllp = cli_flag(cli, "mllp"), .out = cli_value(cli, "text")};
	int code = cli_choice(cli, "code", 0);

	if (code < 0)
		return CLI_USAGE;
	job.code = codes[code];
	job.eol = job.mllp ? "\r" : "\n";
	return job_run(&job, 0);
}

/* ---- split ---- */

static int split_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	char *path;
	FILE *to;
	int result = 0;

	if (asprintf(&path, "%s/%08llu.hl7", job->out, (unsigned long long)job->counts.messages) < 0)
		return -ENOMEM;
	to = fopen(path, "wxe");
	if (!to || fwrite(msg, 1, bytes, to) != bytes)
		result = -errno;
	if (to && fclose(to) && !result)
		result = -errno;
	if (result)
		cli_error(job->cli, "%s: %s", path, strerror(-result));
	free(path);
	return result;
}

int hl7_split_main(struct cli *cli)
{
	struct hl7_job job = {.cli = cli, .message = split_message, .keep_eol = cli_flag(cli, "keep-eol")};
	int result;

	job.out = cli_value(cli, "out") ? cli_value(cli, "out") : ".";
	result = job_run(&job, 0);
	if (result != CLI_FAILED)
		printf("%llu messages\n", (unsigned long long)job.counts.messages);
	return result;
}

/* ---- stat ---- */

#define STAT_NAMES 4096

struct hl7_tally {
	struct {
		char name[32];
		uint64_t count;
	} of[STAT_NAMES];
	int names;
};

struct hl7_stats {
	struct hl7_tally types, versions, charsets, segments;
	uint64_t bytes, smallest, largest, odd_lines, lying;
};

static bool only(const char *p, uint32_t bytes, const char *allowed)
{
	for (uint32_t i = 0; i < bytes; i++) {
		if (!p[i] || !strchr(allowed, p[i]))
			return false;
	}
	return true;
}

/* Counts a name; one that is no code (it might be anything) counts as "other". */
static void tally(struct hl7_tally *t, const char *name, uint32_t bytes, const char *allowed)
{
	char key[32] = "other";
	int i = 0;

	if (bytes == 0)
		strcpy(key, "none");
	else if (bytes < sizeof key && only(name, bytes, allowed))
		snprintf(key, sizeof key, "%.*s", (int)bytes, name);
	while (i < t->names && strcmp(t->of[i].name, key))
		i++;
	if (i == STAT_NAMES)
		return;
	if (i == t->names) {
		strcpy(t->of[i].name, key);
		t->names++;
	}
	t->of[i].count++;
}

static int by_count(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)((const char *)a + 32), y = *(const uint64_t *)((const char *)b + 32);

	return x < y ? 1 : x > y ? -1 : strcmp(a, b);
}

static void print_tally(struct hl7_tally *t, const char *title, bool json, bool last)
{
	qsort(t->of, (size_t)t->names, sizeof t->of[0], by_count);
	printf(json ? "\"%s\":{" : "%s\n", title);
	for (int i = 0; i < t->names; i++)
		printf(json ? "%s\"%s\":%llu" : "%s  %-29s %llu\n", json && i ? "," : "", t->of[i].name,
		       (unsigned long long)t->of[i].count);
	if (json)
		fputs(last ? "}" : "},", stdout);
}

static int stat_message(struct hl7_job *job, const char *msg, uint32_t bytes)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	struct hl7_stats *s = job->stats;
	struct hl7_index ix;
	struct hl7_msh msh;
	struct hl7_span type;
	char name[32], first[16] = "", *trigger;
	uint32_t n;
	int rc = job_index(job, msg, bytes, &ix), charset;

	if (rc)
		return rc == -ENOMEM ? rc : 0;
	if (hl7_msh_read(msg, bytes, &msh, NULL))
		return 0;
	type = msh.field[9];
	n = (uint32_t)snprintf(name, sizeof name, "%.*s", type.bytes < 24 ? (int)type.bytes : 24, msg + type.offset);
	for (uint32_t i = 0; i < n; i++)
		name[i] = name[i] == msh.delims.component ? '^' : name[i];
	trigger = strchr(name, '^');
	trigger = trigger ? strchr(trigger + 1, '^') : NULL;
	tally(&s->types, name, trigger ? (uint32_t)(trigger - name) : n, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789^");
	tally(&s->versions, msg + msh.field[12].offset, msh.field[12].bytes, "0123456789.");
	charset = hl7_charset_find(msg + msh.field[18].offset, msh.field[18].bytes);
	snprintf(first, sizeof first, "%s", hl7_charset_name(charset, 0) ? hl7_charset_name(charset, 0) : "");
	tally(&s->charsets, charset == HL7_CHARSET_UNKNOWN ? "?" : first,
	      charset == HL7_CHARSET_UNKNOWN ? 1 : (uint32_t)strlen(first), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /-");
	s->lying += hl7_charset_check(charset, msg, bytes, NULL) != 0;
	for (uint32_t i = 0; i < ix.segments; i++) {
		const struct hl7_segment *seg = hl7_segment_at(&ix, i);

		if (seg->name)
			tally(&s->segments, msg + seg->offset, 3, letters);
	}
	s->odd_lines += ix.odd_lines;
	s->bytes += bytes;
	s->smallest = s->smallest && s->smallest < bytes ? s->smallest : bytes;
	s->largest = s->largest > bytes ? s->largest : bytes;
	return 0;
}

int hl7_stat_main(struct cli *cli)
{
	struct hl7_job job = {.cli = cli, .message = stat_message, .json = cli_flag(cli, "json")};
	struct hl7_stats *s = job.stats = calloc(1, sizeof *s);
	int result;

	if (!s)
		return CLI_FAILED;
	result = job_run(&job, 0);
	printf(job.json ? "{\"messages\":%llu,\"bytes\":%llu,\"smallest\":%llu,\"largest\":%llu,\"odd_lines\":%llu,"
	                  "\"not_of_their_charset\":%llu,\"unreadable\":%llu,"
	                : "messages                        %llu\nbytes                           %llu (smallest %llu, "
	                  "largest %llu)\nlines that are no segments      %llu\nbytes outside their charset     %llu "
	                  "messages\nunreadable                      %llu\n",
	       (unsigned long long)job.counts.messages, (unsigned long long)s->bytes, (unsigned long long)s->smallest,
	       (unsigned long long)s->largest, (unsigned long long)s->odd_lines, (unsigned long long)s->lying,
	       (unsigned long long)(job.counts.problems + job.failed));
	print_tally(&s->types, "types", job.json, false);
	print_tally(&s->versions, "versions", job.json, false);
	print_tally(&s->charsets, "charsets", job.json, false);
	print_tally(&s->segments, "segments", job.json, true);
	if (job.json)
		puts("}");
	free(s);
	return result;
}
