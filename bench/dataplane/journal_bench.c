/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_bench.c - what a journal costs over bare writes: commits and bytes a second, both on the same disk in the
 * same run.
 *
 * A program of its own: journal_bench FOLDER [SECONDS]. Closed loop: the bare writer keeps a write of the group's size
 * in flight (O_DIRECT|O_DSYNC, into a file full of zeros) and starts the next when it is done; the journal gets a group
 * of messages and a flush each turn, as many as its own flow control lets through. Prints both and their ratio.
 */
#include "abi/mr_config.h"
#include "io.h"
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BARE_FILE_BYTES (256ull << 20)

struct image {
	struct mr_config c;
	struct mr_config_listener listener;
	struct mr_config_dest dest;
};

struct result {
	double messages, bytes, commits, cpu; /* a second */
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "journal_bench: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static int bare_file(const char *folder)
{
	static char zeros[1 << 20] __attribute__((aligned(4096)));
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/bare", folder);
	fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path, errno);
	for (uint64_t at = 0; at < BARE_FILE_BYTES; at += sizeof(zeros))
		if (pwrite(fd, zeros, sizeof(zeros), (off_t)at) != (ssize_t)sizeof(zeros))
			die("zeroing", errno);
	return fd;
}

static struct result bare(struct io *io, int fd, uint32_t bytes, uint32_t depth, double seconds)
{
	uint64_t begin = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), end, done = 0, at = 0,
	         in_flight = 0;
	const struct io_event *e;
	struct result r = {0};
	char *buf = aligned_alloc(4096, bytes);

	memset(buf, 'x', bytes);
	end = begin + (uint64_t)(seconds * 1e9);
	while (now_ns(CLOCK_MONOTONIC) < end || in_flight) {
		int n;

		while (in_flight < depth && now_ns(CLOCK_MONOTONIC) < end) {
			io_write(io, fd, buf, bytes, at, 1);
			at = at + 2 * bytes > BARE_FILE_BYTES ? 0 : at + bytes;
			in_flight++;
		}
		n = io_wait(io, 1000000000, &e);
		for (int i = 0; i < n; i++) {
			if (e[i].result != (int32_t)bytes)
				die("bare write", e[i].result);
			done++;
			in_flight--;
		}
	}
	seconds = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
	r.commits = (double)done / seconds;
	r.bytes = (double)(done * bytes) / seconds;
	r.cpu = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9 / seconds;
	free(buf);
	return r;
}

static struct journal *open_journal(struct io *io, const char *folder, struct image *im)
{
	struct journal_recovery recovery;
	struct journal *j;
	char path[512];
	struct journal_params p = {.folder = path, .cfg = &im->c, .io_tag = 1ull << 32};
	int err;

	snprintf(path, sizeof(path), "%s/journal", folder);
	err = journal_open(&p, io, NULL, &recovery, &j);
	if (err)
		die("opening the journal", err);
	return j;
}

static void turn(struct io *io, struct journal *j, uint64_t timeout_ns)
{
	static uint64_t ticked_ns;
	const struct io_event *e;
	int n = io_wait(io, timeout_ns, &e);

	for (int i = 0; i < n; i++)
		journal_io(j, &e[i]);
	if (io_now(io) - ticked_ns > 100000000) {
		ticked_ns = io_now(io);
		journal_tick(j, io_now(io), io_realtime(io));
	}
}

/* @group messages are handed in, then the loop waits until they are durable if @wait, else goes on as fast as there is
 * room. */
static struct result journal_run(struct io *io, struct journal *j, uint32_t bytes, uint32_t group, bool wait,
                                 double seconds)
{
	struct mr_rec_message m = {.payload_bytes = bytes, .dest_count = 1, .code = {'A', 'A'}};
	uint64_t begin, cpu, end, messages = 0, commits = 0, position, last = 0;
	struct result r = {0};
	uint16_t dest = 0;
	char *payload = malloc(bytes);

	memset(payload, 'x', bytes);
	for (int i = 0; i < 300; i++)
		turn(io, j, 5000000);
	begin = now_ns(CLOCK_MONOTONIC);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	end = begin + (uint64_t)(seconds * 1e9);
	while (now_ns(CLOCK_MONOTONIC) < end) {
		uint32_t k = 0;

		for (; k < group && journal_room(j, bytes, 1) == JOURNAL_ROOM; k++)
			last = journal_append_message(j, &m, &dest, payload, &position);
		messages += k;
		journal_flush(j, io_now(io));
		turn(io, j, wait || k < group ? 1000000 : 0);
		while (wait && journal_durable(j) < last) {
			journal_flush(j, io_now(io));
			turn(io, j, 10000000);
		}
		commits++;
	}
	while (!journal_idle(j)) {
		journal_flush(j, io_now(io));
		turn(io, j, 1000000);
	}
	seconds = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
	r.messages = (double)messages / seconds;
	r.commits = (double)commits / seconds;
	r.bytes = (double)(messages * bytes) / seconds;
	r.cpu = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9 / seconds;
	free(payload);
	return r;
}

static void waiting(struct io *io, struct journal *j, int fd, double seconds)
{
	printf("one group at a time, durable before the next\n%8s %6s | %10s %9s | %10s %9s %8s | %5s\n", "message",
	       "group", "bare c/s", "MB/s", "commits/s", "MB/s", "msg/s", "ratio");
	for (uint32_t bytes = 1024; bytes <= 65536; bytes *= 64)
		for (uint32_t group = 1; group <= 64; group *= group == 1 ? 16 : 4) {
			uint32_t whole = (uint32_t)mr_align_up((uint64_t)group * (bytes + 72) + MR_PAD_BYTES, 4096);
			struct result b = bare(io, fd, whole, 1, seconds),
			              r = journal_run(io, j, bytes, group, true, seconds);

			printf("%8u %6u | %10.0f %9.1f | %10.0f %9.1f %8.0f | %5.2f\n", bytes, group, b.commits,
			       b.bytes / 1e6, r.commits, r.bytes / 1e6, r.messages, r.commits / b.commits);
			fflush(stdout);
		}
}

static void streaming(struct io *io, struct journal *j, int fd, double seconds)
{
	printf("\nas fast as there is room (bare: 4 writes of 1 MiB in flight)\n%8s | %9s %5s | %9s %5s %8s | %5s\n",
	       "message", "bare MB/s", "cpu", "MB/s", "cpu", "msg/s", "ratio");
	for (uint32_t bytes = 1024; bytes <= 65536; bytes *= 64) {
		struct result b = bare(io, fd, 1 << 20, 4, seconds);
		struct result r = journal_run(io, j, bytes, 65536 / bytes * 4, false, seconds);

		printf("%8u | %9.1f %5.2f | %9.1f %5.2f %8.0f | %5.2f\n", bytes, b.bytes / 1e6, b.cpu, r.bytes / 1e6,
		       r.cpu, r.messages, r.bytes / b.bytes);
		fflush(stdout);
	}
}

static void checksum(void)
{
	size_t bytes = 1 << 16;
	char *p = malloc(bytes);
	uint64_t begin;
	uint32_t crc = 0;

	memset(p, 'x', bytes);
	begin = now_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < 20000; i++)
		crc = mr_crc32c(crc, p, bytes);
	printf("CRC-32C: %.1f GB/s (%08x)\n", 20000.0 * (double)bytes / (double)(now_ns(CLOCK_MONOTONIC) - begin), crc);
	free(p);
}

int main(int argc, char **argv)
{
	struct io_params params = {
	    .connections_max = 16, .recv_buffers = 64, .recv_buffer_bytes = 4096, .files_max = 256};
	static struct image im = {
	    .c = {.generation = 1, .segment_bytes = 64 << 20, .tail_bytes = 64 << 20, .retain_bytes = 1 << 20},
	    .listener = {.name = "in"},
	    .dest = {.name = "out"},
	};
	double seconds = argc > 2 ? atof(argv[2]) : 1.0;
	struct journal *j;
	struct io *io;
	int err, fd;

	if (argc < 2) {
		fprintf(stderr, "usage: journal_bench FOLDER [SECONDS]   (files of up to 1 GiB are made in "
		                "FOLDER/journal, FOLDER/bare)\n");
		return 2;
	}
	if (mkdir(argv[1], 0750) < 0 && errno != EEXIST)
		die(argv[1], errno);
	im.c.listeners = (struct mr_config_table){offsetof(struct image, listener), 1};
	im.c.dests = (struct mr_config_table){offsetof(struct image, dest), 1};
	err = io_create(&params, &io);
	if (err)
		die("io_create", err);
	checksum();
	fd = bare_file(argv[1]);
	j = open_journal(io, argv[1], &im);
	waiting(io, j, fd, seconds);
	streaming(io, j, fd, seconds);
	journal_close(j);
	io_destroy(io);
	close(fd);
	return 0;
}
