/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - the simulated disk behind io_write(), io_read() and io_fdatasync(): real files, simulated completion.
 *
 * A write reaches the file only at its completion time; requests in flight overtake each other. When its core dies each
 * write in flight is done, not done, or (power cut) done for some of its 512-byte sectors. Writes through a descriptor
 * that is not O_DSYNC stay in a cache until an fdatasync of the file or 30 s: a power cut may take them back.
 * Names (create, rename, unlink) and what the journal does at start-up are durable at once: a limit of this simulation.
 */
#include "io.h"
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SECTOR    512u
#define DISK_CACHED_NS (30 * SIM_S)

struct disk_request {
	struct disk_request *next;
	struct io *io; /* NULL: its core is dead, nobody waits */
	uint8_t kind;
	bool durable;  /* O_DSYNC */
	int fd;        /* our own, -1 for a folder */
	void *buf;
	uint32_t bytes;
	uint64_t offset, tag, sum;
};

struct disk_cached { /* what a write replaced that is not on the disk yet; newest first */
	struct disk_cached *next;
	dev_t dev;
	ino_t ino;
	int fd;
	uint64_t offset, at_ns;
	uint32_t bytes;
	char before[];
};

struct disk {
	struct disk_request *flight;
	struct disk_cached *cached;
};

void disk_init(struct sim *s)
{
	s->disk = sim_alloc(sizeof(*s->disk));
}

/* A descriptor of our own of the same file: the core may close its own, and we write parts that O_DIRECT forbids. */
static int disk_reopen(int fd)
{
	char path[64];
	struct stat st;

	must(fstat(fd, &st) == 0);
	if (S_ISDIR(st.st_mode))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

static void cached_free(struct disk_cached **at)
{
	struct disk_cached *c = *at;

	*at = c->next;
	close(c->fd);
	free(c);
}

static void cached_add(struct sim *s, const struct disk_request *r, uint32_t bytes)
{
	struct disk_cached *c = sim_alloc(sizeof(*c) + bytes);
	struct stat st;
	ssize_t n = pread(r->fd, c->before, bytes, (off_t)r->offset);

	must(n >= 0 && fstat(r->fd, &st) == 0);
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	c->fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
	must(c->fd >= 0);
	c->offset = r->offset;
	c->bytes = bytes;
	c->at_ns = s->now_ns;
	c->next = s->disk->cached;
	s->disk->cached = c;
}

/* What of this file is durable now: all of it (@bytes 0) or the range that a durable write just replaced. */
static void cached_durable(struct sim *s, int fd, uint64_t offset, uint64_t bytes)
{
	struct stat st;

	must(fstat(fd, &st) == 0);
	for (struct disk_cached **at = &s->disk->cached; *at;) {
		struct disk_cached *c = *at;
		bool same = c->dev == st.st_dev && c->ino == st.st_ino;
		bool hit = !bytes || (c->offset < offset + bytes && offset < c->offset + c->bytes);

		if ((same && hit) || c->at_ns + DISK_CACHED_NS < s->now_ns)
			cached_free(at);
		else
			at = &c->next;
	}
}

void disk_power_cut(struct sim *s)
{
	while (s->disk->cached) {
		struct disk_cached *c = s->disk->cached;

		for (uint32_t i = 0; i < c->bytes; i += DISK_SECTOR) {
			uint32_t n = c->bytes - i < DISK_SECTOR ? c->bytes - i : DISK_SECTOR;

			if (c->at_ns + DISK_CACHED_NS >= s->now_ns && sim_chance(s, 5000))
				must(pwrite(c->fd, c->before + i, n, (off_t)(c->offset + i)) == (ssize_t)n);
		}
		cached_free(&s->disk->cached);
	}
}

/* ---- carrying out ---- */

static bool disk_errs(struct sim *s, uint32_t in_10000)
{
	return s->p.disk_errors && !s->calm && sim_chance(s, in_10000);
}

static int32_t disk_write(struct sim *s, struct disk_request *r)
{
	uint32_t bytes = r->bytes;

	if (sim_hash(r->buf, r->bytes) != r->sum)
		sim_fail(s, "bytes changed while they were being written (offset %llu)", (unsigned long long)r->offset);
	if (disk_errs(s, 100))
		return sim_chance(s, 5000) ? -EIO : -ENOSPC;
	if (bytes > DISK_SECTOR && disk_errs(s, 200))
		bytes = (uint32_t)sim_between(s, 1, bytes / DISK_SECTOR) * DISK_SECTOR;
	if (!r->durable)
		cached_add(s, r, bytes);
	must(pwrite(r->fd, r->buf, bytes, (off_t)r->offset) == (ssize_t)bytes);
	if (r->durable)
		cached_durable(s, r->fd, r->offset, bytes);
	return (int32_t)bytes;
}

static int32_t disk_read(struct sim *s, struct disk_request *r)
{
	ssize_t n;

	if (disk_errs(s, 50))
		return -EIO;
	n = pread(r->fd, r->buf, r->bytes, (off_t)r->offset);
	return n < 0 ? -errno : (int32_t)n;
}

static int32_t disk_sync(struct sim *s, struct disk_request *r)
{
	if (disk_errs(s, 50))
		return -EIO;
	if (r->fd >= 0)
		cached_durable(s, r->fd, 0, 0);
	return 0;
}

static void request_free(struct sim *s, struct disk_request *r)
{
	struct disk_request **at = &s->disk->flight;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1; /* the event that completes it may still come: the struct stays, it is marked by its io */
	r->io = NULL;
}

static void disk_done(struct sim *s, void *arg, uint64_t n)
{
	struct disk_request *r = arg;
	struct io *io = r->io;
	int32_t result;

	if (io) {
		result = r->kind == DISK_WRITE ? disk_write(s, r) : r->kind == DISK_READ ? disk_read(s, r) : disk_sync(s, r);
		io_sim_push(io, IO_FILE, NULL, r->tag, result);
		request_free(s, r);
	}
	free(r);
}

static uint64_t disk_latency(struct sim *s)
{
	if (s->p.disk_slow && !s->calm && sim_chance(s, 200))
		return sim_between(s, 10 * SIM_MS, 400 * SIM_MS);
	return sim_between(s, 40 * SIM_US, 500 * SIM_US);
}

void disk_submit(struct sim *s, struct io *io, int kind, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	struct disk_request *r = sim_alloc(sizeof(*r));
	int flags = fcntl(fd, F_GETFL);

	must(flags >= 0);
	*r = (struct disk_request){.next = s->disk->flight, .io = io, .kind = (uint8_t)kind, .fd = disk_reopen(fd), .buf = buf,
				   .bytes = bytes, .offset = offset, .tag = tag, .durable = (flags & O_DSYNC) != 0};
	if (kind == DISK_WRITE)
		r->sum = sim_hash(buf, bytes);
	s->disk->flight = r;
	sim_at(s, s->now_ns + disk_latency(s), disk_done, r, 0);
}

/* ---- the core is gone ---- */

static void disk_tear(struct sim *s, struct disk_request *r)
{
	uint32_t first = 0, last = r->bytes / DISK_SECTOR;
	bool some = sim_chance(s, 5000);

	if (!some)
		last = (uint32_t)sim_below(s, last + 1); /* the first sectors only */
	for (; first < last; first++)
		if (!some || sim_chance(s, 5000))
			must(pwrite(r->fd, (char *)r->buf + first * DISK_SECTOR, DISK_SECTOR,
				    (off_t)(r->offset + first * DISK_SECTOR)) == DISK_SECTOR);
}

void disk_crash(struct sim *s, struct io *io, bool power)
{
	for (struct disk_request *r = s->disk->flight, *next; r; r = next) {
		next = r->next;
		if (r->io != io)
			continue;
		if (r->kind == DISK_WRITE) {
			uint64_t what = sim_below(s, power ? 3 : 2);

			sim_trace(s, "  write in flight, %u bytes at %llu: %s", r->bytes, (unsigned long long)r->offset,
				  what == 0 ? "not done" : what == 1 ? "done" : "torn");
			if (what == 1)
				must(pwrite(r->fd, r->buf, r->bytes, (off_t)r->offset) == (ssize_t)r->bytes);
			else if (what == 2)
				disk_tear(s, r);
		}
		request_free(s, r);
	}
}
