/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_journal.c - a hostile journal folder: records, indexes and state files of any content, with checksums that are
 * right.
 *
 * The input is a little program that writes two segments, an index and a state file; what it writes is sealed with the
 * journal's own seed, so that the readers get past the CRC. Then everything that reads a journal reads it:
 * mr_rec_check, mr_scan_segment, mr_reader, recovery; and the journal must take a message and find it again.
 */
#include "../unit/journal/io_sync.c"

#include "abi/mr_config.h"
#include "journal.h"
#include "journal_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define SEGMENT (1u << 20)
#define INDEX   (1u << 16)
#define FIRST   7u /* sequence of the first segment */

struct image {
	struct mr_config c;
	struct mr_config_listener listener[2];
	struct mr_config_dest dest[3];
};

struct input {
	const uint8_t *p;
	size_t bytes;
};

struct target { /* one file being written */
	char *data;
	uint32_t bytes, at;
	uint64_t first; /* position of data[0] */
};

static const uint8_t uuid[16] = "fuzzed journal.";
static char folder[64];

static uint32_t take(struct input *in, uint32_t n)
{
	uint32_t v = 0;

	for (; n; n--) {
		v = v << 8 | (in->bytes ? *in->p : 0);
		in->p += in->bytes != 0;
		in->bytes -= in->bytes != 0;
	}
	return v;
}

static void take_bytes(struct input *in, char *to, uint32_t n)
{
	uint32_t k = n < in->bytes ? n : (uint32_t)in->bytes;

	memcpy(to, in->p, k);
	memset(to + k, 0, n - k);
	in->p += k;
	in->bytes -= k;
}

static void put_header(struct target *t, uint64_t sequence, uint32_t epoch)
{
	struct mr_segment_header h = {.magic = MR_JOURNAL_MAGIC,
	                              .version = MR_JOURNAL_VERSION,
	                              .core = 1,
	                              .epoch = epoch,
	                              .sequence = sequence,
	                              .segment_bytes = SEGMENT};
	size_t from = offsetof(struct mr_segment_header, uuid);

	memcpy(h.uuid, uuid, sizeof(uuid));
	h.crc = mr_crc32c(0, (const char *)&h + from, sizeof(h) - from);
	memcpy(t->data, &h, sizeof(h));
}

/* A record whose fields may lie, but whose CRC is right as far as there are bytes. */
static void put_record(struct target *t, struct input *in, uint16_t type, bool lie)
{
	struct mr_rec r = {
	    .position = t->first + t->at, .type = type, .epoch = 1 + take(in, 1) % 4, .time_ns = take(in, 2)};
	uint32_t body = take(in, 2) % 6000, room = t->bytes - t->at, covered;
	char *at = t->data + t->at;

	if (room < sizeof(r) + body + 8)
		return;
	take_bytes(in, at + sizeof(r), body < 300 ? body : 300);
	r.bytes = (uint32_t)sizeof(r) + body;
	if (type == MR_REC_MESSAGE && !lie && body >= sizeof(struct mr_rec_message)) {
		struct mr_rec_message m;

		memcpy(&m, at + sizeof(r), sizeof(m));
		m.dest_count %= 6;
		if (r.bytes < mr_rec_payload_offset(m.dest_count))
			m.dest_count = 0;
		m.payload_bytes = r.bytes - mr_rec_payload_offset(m.dest_count);
		memcpy(at + sizeof(r), &m, sizeof(m));
	}
	if (type == MR_REC_PAD && !lie)
		r.bytes = (uint32_t)(mr_align_up(r.position + MR_PAD_BYTES, MR_JOURNAL_BLOCK) - r.position);
	if (lie) {
		r.bytes = take(in, 4);
		r.position += take(in, 1) & 8;
	}
	memcpy(at, &r, sizeof(r));
	covered = type == MR_REC_PAD ? MR_PAD_BYTES : r.bytes;
	r.crc = covered >= sizeof(r) && covered <= room ? mr_crc32c(mr_journal_seed(uuid), at + 4, covered - 4) : 0;
	memcpy(at, &r, sizeof(r));
	t->at += (uint32_t)mr_align_up(r.bytes < room ? r.bytes : sizeof(r) + body, 8);
	if (t->at > t->bytes - 64)
		t->at = t->bytes - 64;
}

static void run_program(struct target t[3], struct input *in)
{
	struct target *to = &t[0];

	while (in->bytes) {
		uint32_t op = take(in, 1) % 12;

		if (op < 5)
			put_record(to, in, (uint16_t)(op + 1), false);
		else if (op < 6)
			put_record(to, in, (uint16_t)take(in, 1), true);
		else if (op < 7)
			to->at = (uint32_t)(mr_align_up(to->at + 1, MR_JOURNAL_BLOCK) % (to->bytes - 64)) & ~7u;
		else if (op < 8)
			to->at = take(in, 3) % (to->bytes - 64) & ~7u;
		else if (op < 9 && to->bytes - to->at > 256)
			take_bytes(in, to->data + to->at, take(in, 1));
		else
			to = &t[op % 3];
	}
}

static void write_file(const char *name, const void *p, size_t bytes)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	must(fd >= 0 && write(fd, p, bytes) == (ssize_t)bytes);
	close(fd);
}

static void write_index(struct target *t)
{
	struct mr_index_header h = {.magic = MR_INDEX_MAGIC,
	                            .version = MR_INDEX_VERSION,
	                            .sequence = FIRST,
	                            .segment_bytes = SEGMENT,
	                            .data_bytes = t->at};
	size_t from = offsetof(struct mr_index_header, uuid);
	char *file = malloc(sizeof(h) + t->at);

	memcpy(h.uuid, uuid, sizeof(uuid));
	h.data_crc = mr_crc32c(mr_journal_seed(uuid), t->data, t->at);
	h.crc = mr_crc32c(mr_journal_seed(uuid), (const char *)&h + from, sizeof(h) - from);
	memcpy(file, &h, sizeof(h));
	memcpy(file + sizeof(h), t->data, t->at);
	write_file("0000000000000007.idx", file, sizeof(h) + t->at);
	free(file);
}

static uint64_t told;

static void on_message(void *arg, uint64_t position, const struct mr_rec *rec, const struct mr_rec_message *m,
                       const uint16_t *dests)
{
	(void)arg;
	must(rec->position == position && position >= told && m->dest_count <= MR_MSG_DESTS_MAX);
	told = position + 1;
	for (uint32_t i = 0; i < m->dest_count; i++)
		must(dests[i] < 3 || dests[i] == UINT16_MAX);
}

static void on_outcome(void *arg, const struct mr_rec_outcome *o, uint64_t time_ns)
{
	(void)arg;
	(void)time_ns;
	must(o->position < told && (o->dest < 3 || o->dest == UINT16_MAX));
}

static int on_record(void *arg, const struct mr_rec *rec, const void *body)
{
	(void)arg;
	must(body == rec + 1 && rec->bytes >= sizeof(*rec));
	return 0;
}

static void read_offline(void)
{
	struct mr_reader *reader;
	char path[128], *b = malloc(SEGMENT);
	uint64_t end;
	uint32_t bytes;

	snprintf(path, sizeof(path), "%s/0000000000000007.seg", folder);
	(void)mr_scan_segment(path, 0, on_record, NULL, &end);
	if (!mr_reader_open(folder, -1, &reader)) {
		for (uint64_t at = MR_JOURNAL_BLOCK; at < 3 * MR_JOURNAL_BLOCK; at += 72)
			(void)mr_reader_message(reader, (uint64_t)FIRST * SEGMENT + at, b, SEGMENT, &bytes);
		mr_reader_close(reader);
	}
	free(b);
}

static void settle(struct io *io, struct journal *j)
{
	const struct io_event *e;

	for (int i = 0; i < 200 && (i < 3 || !journal_idle(j)); i++) {
		int n = io_wait(io, 0, &e);

		io->now_ns += 20000000;
		for (int k = 0; k < n; k++)
			journal_io(j, &e[k]);
		journal_flush(j, io->now_ns);
	}
	must(journal_idle(j));
}

static void recover_and_go_on(bool go_on)
{
	static struct image im = {
	    .c = {.generation = 1, .segment_bytes = SEGMENT, .tail_bytes = SEGMENT, .duplicate_window_ns = 1000},
	    .listener = {{.name = "in"}, {.name = "lab"}},
	    .dest = {{.name = "a"}, {.name = "b"}, {.name = "c"}}};
	struct journal_params p = {.folder = folder, .cfg = &im.c};
	struct journal_found found = {on_message, on_outcome, NULL};
	struct mr_rec_message m = {.payload_bytes = 11, .dest_count = 1};
	struct journal_recovery what;
	struct journal *j;
	uint64_t position = 0;
	uint16_t dest = 1;
	char b[256];
	static struct io io;
	int err;

	io_sync_init(&io, 1);
	im.c.listeners = (struct mr_config_table){offsetof(struct image, listener), 2};
	im.c.dests = (struct mr_config_table){offsetof(struct image, dest), 3};
	for (int round = 0; round < 2; round++) {
		told = 0;
		err = journal_open(&p, &io, &found, &what, &j);
		if (err == -EPROTO)
			return;
		must(!err || err == -EUCLEAN);
		if (!go_on) {
			journal_close(j);
			return;
		}
		must(!round || told > position);
		must(journal_room(j, 11, 1) != JOURNAL_FULL);
		settle(&io, j);
		must(journal_room(j, 11, 1) == JOURNAL_ROOM);
		journal_append_message(j, &m, &dest, "MSH|^~\\&|a|", &position);
		journal_flush(j, io.now_ns);
		settle(&io, j);
		must(journal_durable(j) > position);
		must(journal_read_sync(j, position, b, sizeof(b)) > 0);
		journal_close(j);
	}
}

static void remove_files(void)
{
	char command[128];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(command, sizeof(command), "%s/%016x.seg", folder, i);
		unlink(command);
		snprintf(command, sizeof(command), "%s/%016x.idx", folder, i);
		unlink(command);
		snprintf(command, sizeof(command), "%s/%016x.idx.tmp", folder, i);
		unlink(command);
		snprintf(command, sizeof(command), "%s/spare-%08x.seg", folder, i);
		unlink(command);
	}
	snprintf(command, sizeof(command), "%s/state", folder);
	unlink(command);
}

static void remove_folder(void)
{
	remove_files();
	rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char segments[2][SEGMENT] __attribute__((aligned(8))), index_data[INDEX] __attribute__((aligned(8)));
	struct target t[3] = {
	    {segments[0], SEGMENT, MR_JOURNAL_BLOCK, (uint64_t)FIRST * SEGMENT},
	    {segments[1], SEGMENT, MR_JOURNAL_BLOCK, (uint64_t)(FIRST + 1) * SEGMENT},
	    {index_data, INDEX, 0, (uint64_t)FIRST * SEGMENT + MR_JOURNAL_BLOCK},
	};
	struct input in = {data, size};
	uint32_t how = take(&in, 1);

	if (!folder[0]) {
		strcpy(folder,
		       access("/dev/shm", W_OK) ? "/tmp/millrace-fuzz-XXXXXX" : "/dev/shm/millrace-fuzz-XXXXXX");
		must(mkdtemp(folder));
		atexit(remove_folder);
	}
	memset(segments, 0, sizeof(segments));
	memset(index_data, 0, sizeof(index_data));
	put_header(&t[0], FIRST, 1);
	put_header(&t[1], FIRST + 1, 1);
	run_program(t, &in);
	(void)mr_rec_check(data, size, take(&in, 1), 0, 0);
	remove_files();
	write_file("0000000000000007.seg", segments[0], how & 1 ? SEGMENT : t[0].at);
	if (how & 2)
		write_file("0000000000000008.seg", segments[1], SEGMENT);
	if (how & 4)
		write_index(&t[2]);
	if (how & 8)
		write_file("state", data, size < 64 ? size : 64);
	read_offline();
	recover_and_go_on(how & 16);
	return 0;
}
