/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - `millrace journal verify|dump`: reads a journal folder offline, record by record.
 *
 * Needs no hub and changes nothing; the journal may even be in use. It decides what is damage and what is the end by
 * the same rule as the worker's recovery: a place that cannot be read is damage if anything behind it proves that it
 * was acknowledged. Nothing of a message is shown; --payload writes one to a file because it was asked to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "mr_journal.h"
#include "mr_ring.h"

#define DAMAGES_MAX 1000

struct damage {
	uint64_t from, until; /* positions */
	const char *what;
};

struct reading {
	struct cli *cli;
	const char *folder;
	uint64_t *sequences;
	size_t count;
	uint64_t segment_bytes;
	uint32_t seed, core;
	uint32_t epoch;
	char *memory; /* one segment */
	void (*record)(struct reading *r, const struct mr_rec *rec);
	struct damage *damages;
	size_t damage_count;
	uint64_t *dropped; /* sequences that are missing on purpose */
	size_t dropped_count;
	uint64_t stopped_at; /* the walk stopped there and nobody has said yet why; UINT64_MAX: it did not */
	uint64_t end;
	uint64_t records, messages, outcomes, payload_bytes, first_ns, last_ns;
	struct mr_rec_names *names; /* in force */
	bool jsonl;
	uint64_t wanted; /* --position */
	bool found;
};

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int list_segments(struct reading *r)
{
	DIR *d = opendir(r->folder);
	size_t room = 0;
	struct dirent *e;

	if (!d) {
		cli_error(r->cli, "%s: %s", r->folder, strerror(errno));
		return CLI_NOT_FOUND;
	}
	while ((e = readdir(d))) {
		if (strlen(e->d_name) != 20 || strcmp(e->d_name + 16, ".seg") ||
		    strspn(e->d_name, "0123456789abcdef") != 16)
			continue;
		if (r->count == room) {
			room = room ? room * 2 : 64;
			r->sequences = realloc(r->sequences, room * sizeof(*r->sequences));
			must(r->sequences);
		}
		r->sequences[r->count++] = strtoull(e->d_name, NULL, 16);
	}
	closedir(d);
	if (r->count)
		qsort(r->sequences, r->count, sizeof(*r->sequences), by_number);
	return CLI_OK;
}

/* Reads a file of the folder to @p; what it is too short for reads as zeros. */
static int read_file(const struct reading *r, const char *name, void *p, size_t bytes)
{
	char path[4096];
	size_t got = 0;
	ssize_t n = 1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (got < bytes && (n = read(fd, (char *)p + got, bytes - got)) > 0)
		got += (size_t)n;
	close(fd);
	memset((char *)p + got, 0, bytes - got);
	return n < 0 ? -EIO : 0;
}

static int header_of(const struct reading *r, uint64_t sequence, struct mr_segment_header *ret)
{
	char name[32];
	int err;

	mr_segment_name(sequence, name);
	err = read_file(r, name, ret, sizeof(*ret));
	return err ? err : mr_segment_header_check(ret);
}

static int identify(struct reading *r)
{
	struct mr_segment_header h;
	int err = list_segments(r);

	if (err)
		return err;
	for (size_t i = r->count; i-- > 0;) {
		if (header_of(r, r->sequences[i], &h) || h.sequence != r->sequences[i])
			continue;
		r->segment_bytes = h.segment_bytes;
		r->seed = mr_journal_seed(h.uuid);
		r->core = h.core;
		r->memory = malloc(h.segment_bytes);
		must(r->memory);
		return CLI_OK;
	}
	cli_error(r->cli, "%s: no journal segments there (a journal's folder is DATA/journal-N)", r->folder);
	return CLI_NOT_FOUND;
}

static void add_damage(struct reading *r, uint64_t from, uint64_t until, const char *what)
{
	if (r->damage_count < DAMAGES_MAX)
		r->damages[r->damage_count] = (struct damage){from, until, what};
	r->damage_count++;
}

static void take_names(struct reading *r, const struct mr_rec *rec)
{
	free(r->names);
	r->names = malloc(rec->bytes - sizeof(*rec));
	must(r->names);
	memcpy(r->names, rec + 1, rec->bytes - sizeof(*rec));
}

static void note_dropped(struct reading *r, uint64_t sequence)
{
	r->dropped = realloc(r->dropped, (r->dropped_count + 1) * sizeof(*r->dropped));
	must(r->dropped);
	r->dropped[r->dropped_count++] = sequence;
}

static void take(struct reading *r, const struct mr_rec *rec)
{
	const struct mr_rec_event *e = (const struct mr_rec_event *)(rec + 1);

	r->records++;
	r->first_ns = r->first_ns ? r->first_ns : rec->time_ns;
	r->last_ns = rec->time_ns;
	if (rec->type == MR_REC_NAMES)
		take_names(r, rec);
	if (rec->type == MR_REC_EVENT && e->kind == MR_EVENT_DROPPED)
		note_dropped(r, e->arg);
	if (rec->type == MR_REC_MESSAGE) {
		r->messages++;
		r->payload_bytes += ((const struct mr_rec_message *)(rec + 1))->payload_bytes;
	}
	if (rec->type == MR_REC_OUTCOME)
		r->outcomes += (rec->bytes - sizeof(*rec)) / sizeof(struct mr_rec_outcome);
	if (r->record)
		r->record(r, rec);
}

/* The walk stopped in an earlier segment. Does this record say that what stood there was acknowledged? */
static bool proves_damage(const struct mr_rec *rec, uint64_t position)
{
	const struct mr_rec_event *e = (const struct mr_rec_event *)(rec + 1);

	if (rec->type == MR_REC_EVENT && e->kind == MR_EVENT_START)
		return e->arg > position;
	return rec->type == MR_REC_PAD && ((const struct mr_rec_pad *)(rec + 1))->durable > position;
}

static bool is_start(const struct mr_rec *rec)
{
	return rec->type == MR_REC_EVENT && ((const struct mr_rec_event *)(rec + 1))->kind == MR_EVENT_START;
}

/* Looks ahead in this segment for why an earlier one stopped. Returns true if it has to be walked. */
static bool explain_stop(struct reading *r, struct mr_walk w)
{
	const struct mr_rec *rec;

	do {
		while (w.position < w.first + w.bytes && (rec = mr_walk_next(&w))) {
			if (proves_damage(rec, r->stopped_at)) {
				add_damage(r, r->stopped_at, w.first, "cannot be read");
				r->stopped_at = UINT64_MAX;
				return true;
			}
			if (is_start(rec)) {
				r->stopped_at = UINT64_MAX;
				return true;
			}
		}
	} while (mr_walk_resync(&w));
	return false;
}

static int walk_segment(struct reading *r, uint64_t sequence)
{
	struct mr_segment_header h;
	const struct mr_rec *rec;
	struct mr_walk w;
	char name[32];
	int err;

	mr_segment_name(sequence, name);
	err = read_file(r, name, r->memory, r->segment_bytes);
	if (err) {
		cli_error(r->cli, "%s/%s: %s", r->folder, name, strerror(-err));
		return CLI_FAILED;
	}
	memcpy(&h, r->memory, sizeof(h));
	mr_walk_init(&w, r->memory, sequence, r->segment_bytes, r->seed, r->epoch);
	if (r->stopped_at != UINT64_MAX && !explain_stop(r, w))
		return CLI_OK;
	for (;;) {
		uint64_t place;

		while (w.position < w.first + w.bytes && (rec = mr_walk_next(&w))) {
			if (rec->position == w.first + MR_JOURNAL_BLOCK &&
			    (mr_segment_header_check(&h) || h.sequence != sequence ||
			     mr_journal_seed(h.uuid) != r->seed))
				add_damage(r, w.first, w.first + MR_JOURNAL_BLOCK,
				           "header is damaged; the records are not");
			take(r, rec);
			if (ferror(stdout))
				return CLI_FAILED; /* nobody reads on, or the disk is full; main() says which */
		}
		place = w.position;
		if (place == w.first + w.bytes || !mr_walk_damaged(&w))
			break;
		mr_walk_resync(&w);
		add_damage(r, place, w.position, "cannot be read");
	}
	r->epoch = w.epoch;
	if (w.position > w.first + MR_JOURNAL_BLOCK || r->end == 0)
		r->end = w.position;
	if (w.position < w.first + w.bytes)
		r->stopped_at = w.position;
	return CLI_OK;
}

/* Gaps in the row of segments are damage, unless the journal says that they were given up. */
static void check_missing(struct reading *r)
{
	for (size_t i = 1; i < r->count; i++) {
		uint64_t s = r->sequences[i - 1] + 1;

		for (size_t k = 0; s < r->sequences[i] && k < r->dropped_count;) {
			if (r->dropped[k++] == s) {
				s++;
				k = 0;
			}
		}
		if (s < r->sequences[i])
			add_damage(r, s * r->segment_bytes, r->sequences[i] * r->segment_bytes, "segment is missing");
	}
}

static int walk_all(struct reading *r)
{
	int err = CLI_OK;

	r->stopped_at = UINT64_MAX;
	r->damages = calloc(DAMAGES_MAX, sizeof(*r->damages));
	must(r->damages);
	for (size_t i = 0; i < r->count && !err; i++)
		err = walk_segment(r, r->sequences[i]);
	if (!err)
		check_missing(r);
	return err;
}

static void reading_free(struct reading *r)
{
	free(r->sequences);
	free(r->memory);
	free(r->damages);
	free(r->dropped);
	free(r->names);
}

static char *time_text(char out[40], uint64_t ns)
{
	time_t s = (time_t)(ns / 1000000000u);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 40 - n, ".%06uZ", (unsigned)(ns % 1000000000u / 1000));
	return out;
}

/* verify */

static void verify_json(const struct reading *r)
{
	json_t *list = json_array(), *o;

	for (size_t i = 0; i < r->damage_count && i < DAMAGES_MAX; i++)
		json_array_append_new(list,
		                      json_pack("{s:I,s:I,s:s}", "position", (json_int_t)r->damages[i].from, "until",
		                                (json_int_t)r->damages[i].until, "what", r->damages[i].what));
	o = json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "folder", r->folder, "core", (int)r->core,
	              "segments", (json_int_t)r->count, "segment_bytes", (json_int_t)r->segment_bytes, "records",
	              (json_int_t)r->records, "messages", (json_int_t)r->messages, "payload_bytes",
	              (json_int_t)r->payload_bytes, "outcomes", (json_int_t)r->outcomes, "end", (json_int_t)r->end,
	              "damages", (json_int_t)r->damage_count, "damage", list);
	must(o);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

static void verify_text(const struct reading *r)
{
	char bytes[32], from[40], to[40];

	for (size_t i = 0; i < r->damage_count && i < DAMAGES_MAX; i++) {
		const struct damage *d = &r->damages[i];

		printf("damage at position %" PRIu64 " (segment %016" PRIx64 ", offset %" PRIu64
		       "): %s; goes on at %" PRIu64 "\n",
		       d->from, d->from / r->segment_bytes, d->from % r->segment_bytes, d->what, d->until);
	}
	if (r->damage_count > DAMAGES_MAX)
		printf("... and %zu more\n", r->damage_count - DAMAGES_MAX);
	printf("%s: journal of worker %u, %zu segments of %s, format %u\n", r->folder, r->core, r->count,
	       cli_format_bytes(bytes, sizeof(bytes), r->segment_bytes), MR_JOURNAL_VERSION);
	printf("%" PRIu64 " record%s: %" PRIu64 " message%s (%s), %" PRIu64 " outcome%s", r->records,
	       cli_plural(r->records), r->messages, cli_plural(r->messages),
	       cli_format_bytes(bytes, sizeof(bytes), r->payload_bytes), r->outcomes, cli_plural(r->outcomes));
	if (r->records)
		printf(", from %s to %s", time_text(from, r->first_ns), time_text(to, r->last_ns));
	printf("\nends at position %" PRIu64 "; %zu damaged place%s\n", r->end, r->damage_count,
	       r->damage_count == 1 ? "" : "s");
}

int journal_verify_main(struct cli *cli)
{
	struct reading r = {.cli = cli};
	int err;

	if (cli->argc != 1)
		return cli_usage(cli, "one journal folder wanted (DATA/journal-N)");
	r.folder = cli->argv[0];
	err = identify(&r);
	if (!err)
		err = walk_all(&r);
	if (!err && cli_flag(cli, "json"))
		verify_json(&r);
	else if (!err)
		verify_text(&r);
	if (!err && r.damage_count)
		err = CLI_UNHEALTHY;
	reading_free(&r);
	return err;
}

/* dump */

static const char *type_text(uint16_t type)
{
	static const char *const texts[] = {"?", "pad", "names", "message", "outcome", "event"};

	return type < MR_ARRAY_LEN(texts) ? texts[type] : "?";
}

static const char *result_text(uint8_t result)
{
	static const char *const texts[] = {"none",      "delivered", "dead",    "dropped",
	                                    "discarded", "requeued",  "returned"};

	return result < MR_ARRAY_LEN(texts) ? texts[result] : "?";
}

static const char *reason_text(uint8_t reason)
{
	static const char *const texts[] = {"none", "rejected", "attempts", "gone", "unreadable", "io"};

	return reason < MR_ARRAY_LEN(texts) ? texts[reason] : "?";
}

static const char *event_text(uint32_t kind)
{
	static const char *const texts[] = {"?", "start", "stop", "adopted", "dropped"};

	return kind < MR_ARRAY_LEN(texts) ? texts[kind] : "?";
}

/* A name of the NAMES record in force, or its number. Only what a name may hold is printed. */
static const char *name_text(const struct reading *r, bool dest, uint32_t number, char out[MR_NAME_BYTES + 1])
{
	const char *all = r->names ? (const char *)(r->names + 1) : NULL;
	uint32_t count = !r->names ? 0 : dest ? r->names->dest_count : r->names->listener_count;

	if (number >= count) {
		snprintf(out, MR_NAME_BYTES, "#%u", number);
		return out;
	}
	memcpy(out, all + (size_t)(number + (dest ? r->names->listener_count : 0)) * MR_NAME_BYTES, MR_NAME_BYTES);
	out[MR_NAME_BYTES] = 0;
	for (char *p = out; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\')
			*p = '?';
	return out;
}

/* An MSA-1 code as it is kept: two letters or nothing. */
static const char *code_text(const char code[2], char out[3])
{
	bool letters = code[0] >= 'A' && code[0] <= 'Z' && code[1] >= 'A' && code[1] <= 'Z';

	snprintf(out, 3, "%.2s", letters ? code : "");
	return out;
}

static void dump_message(const struct reading *r, const struct mr_rec *rec)
{
	const struct mr_rec_message *m = (const struct mr_rec_message *)(rec + 1);
	const uint16_t *dests = (const uint16_t *)(m + 1);
	char name[MR_NAME_BYTES + 1], code[3];

	printf(r->jsonl ? ",\"listener\":\"%s\",\"payload_bytes\":%u,\"code\":\"%s\",\"key\":\"%016" PRIx64
	                  "\",\"to\":["
	                : " listener=%s bytes=%u code=%s key=%016" PRIx64 " to=",
	       name_text(r, false, m->listener, name), m->payload_bytes, code_text(m->code, code), m->key);
	for (uint32_t i = 0; i < m->dest_count; i++)
		printf(r->jsonl ? "%s\"%s\"" : "%s%s", i ? "," : "", name_text(r, true, dests[i], name));
	printf("%s", r->jsonl ? "]" : "");
}

static void dump_outcomes(const struct reading *r, const struct mr_rec *rec)
{
	const struct mr_rec_outcome *o = (const struct mr_rec_outcome *)(rec + 1);
	size_t n = (rec->bytes - sizeof(*rec)) / sizeof(*o);
	char name[MR_NAME_BYTES + 1], code[3];

	printf("%s", r->jsonl ? ",\"outcomes\":[" : "");
	for (size_t i = 0; i < n; i++, o++)
		printf(r->jsonl ? "%s{\"position\":%" PRIu64
		                  ",\"destination\":\"%s\",\"result\":\"%s\",\"reason\":\"%s\","
		                  "\"attempts\":%u,\"code\":\"%s\"}"
		                : "%s %" PRIu64 ":%s=%s,%s,attempts=%u,code=%s",
		       r->jsonl && i ? "," : "", o->position, name_text(r, true, o->dest, name), result_text(o->result),
		       reason_text(o->reason), o->attempts, code_text(o->code, code));
	printf("%s", r->jsonl ? "]" : "");
}

static void dump_record(struct reading *r, const struct mr_rec *rec)
{
	const struct mr_rec_event *e = (const struct mr_rec_event *)(rec + 1);
	const struct mr_rec_pad *pad = (const struct mr_rec_pad *)(rec + 1);
	char when[40];

	printf(r->jsonl ? "{\"position\":%" PRIu64 ",\"time\":\"%s\",\"epoch\":%u,\"type\":\"%s\",\"bytes\":%u"
	                : "%" PRIu64 " %s epoch=%u %s record=%u",
	       rec->position, time_text(when, rec->time_ns), rec->epoch, type_text(rec->type), rec->bytes);
	if (rec->type == MR_REC_MESSAGE)
		dump_message(r, rec);
	else if (rec->type == MR_REC_OUTCOME)
		dump_outcomes(r, rec);
	else if (rec->type == MR_REC_EVENT)
		printf(r->jsonl ? ",\"event\":\"%s\",\"argument\":%" PRIu64 : " %s argument=%" PRIu64,
		       event_text(e->kind), e->arg);
	else if (rec->type == MR_REC_PAD)
		printf(r->jsonl ? ",\"durable\":%" PRIu64 : " durable=%" PRIu64, pad->durable);
	else if (rec->type == MR_REC_NAMES)
		printf(r->jsonl ? ",\"generation\":%" PRIu64 ",\"listeners\":%u,\"destinations\":%u"
		                : " generation=%" PRIu64 " listeners=%u destinations=%u",
		       r->names->generation, r->names->listener_count, r->names->dest_count);
	puts(r->jsonl ? "}" : "");
}

/* One payload, as it came, to a file that only its owner can read. */
static int write_payload(struct cli *cli, const char *folder, uint64_t position, const char *path)
{
	struct mr_reader *reader;
	struct mr_rec_message m;
	struct mr_rec rec;
	uint32_t bytes;
	char *p = NULL;
	int err = mr_reader_open(folder, -1, &reader), fd;

	if (err) {
		cli_error(cli, "%s: %s", folder, strerror(-err));
		return CLI_NOT_FOUND;
	}
	err = mr_reader_head(reader, position, &rec, &m);
	if (!err) {
		p = malloc(m.payload_bytes + 1u);
		must(p);
		err = mr_reader_message(reader, position, p, m.payload_bytes, &bytes);
	}
	mr_reader_close(reader);
	if (err) {
		cli_error(cli, "no message can be read at position %" PRIu64 ": %s", position, strerror(-err));
		free(p);
		return CLI_NOT_FOUND;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	err = fd < 0 || write(fd, p, bytes) != (ssize_t)bytes || fsync(fd) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	free(p);
	if (err)
		cli_error(cli, "%s: %s", path, strerror(err));
	return err ? CLI_FAILED : CLI_OK;
}

static void dump_one(struct reading *r, const struct mr_rec *rec)
{
	if (rec->position != r->wanted)
		return;
	r->found = true;
	dump_record(r, rec);
}

int journal_dump_main(struct cli *cli)
{
	struct reading r = {.cli = cli, .record = dump_record, .jsonl = cli_flag(cli, "jsonl")};
	const char *payload = cli_value(cli, "payload");
	bool one = cli_value(cli, "position");
	int err = cli_number(cli, "position", 0, UINT64_MAX, &r.wanted);

	if (err)
		return err;
	if (cli->argc != 1)
		return cli_usage(cli, "one journal folder wanted (DATA/journal-N)");
	if (payload && !one)
		return cli_usage(cli, "--payload needs --position");
	r.folder = cli->argv[0];
	if (payload)
		return write_payload(cli, r.folder, r.wanted, payload);
	if (one)
		r.record = dump_one;
	err = identify(&r);
	if (!err)
		err = walk_all(&r);
	if (!err && one && !r.found) {
		cli_error(cli, "no record begins at position %" PRIu64, r.wanted);
		err = CLI_NOT_FOUND;
	}
	if (!err && r.damage_count) {
		cli_error(cli, "%zu damaged place%s; `millrace journal verify %s` shows more", r.damage_count,
		          cli_plural(r.damage_count), r.folder);
		err = CLI_UNHEALTHY;
	}
	reading_free(&r);
	return err;
}
