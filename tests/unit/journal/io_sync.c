/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_sync.c - see io_sync.h. Linked into the journal's tests in the place of a real backend; never into the product.
 */
#include "io_sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void io_sync_init(struct io *io, uint64_t seed)
{
	memset(io, 0, sizeof(*io));
	io->random = seed * 0x9e3779b97f4a7c15ull + 1;
	io->now_ns = 1000000000;
	io->realtime_ns = 1700000000ull * 1000000000ull;
}

uint64_t io_random(struct io *io)
{
	uint64_t z = io->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t io_sync_random(struct io *io, uint64_t below)
{
	return io_random(io) % below;
}

static void add(struct io *io, int kind, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	must(io->pending_count < IO_SYNC_PENDING);
	io->pending[io->pending_count++] = (struct io_sync_request){kind, fd, buf, bytes, offset, tag};
}

void io_write(struct io *io, int fd, const void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	io->writes++;
	add(io, IO_SYNC_WRITE, fd, (void *)(uintptr_t)buf, bytes, offset, tag);
}

void io_read(struct io *io, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	add(io, IO_SYNC_READ, fd, buf, bytes, offset, tag);
}

void io_fdatasync(struct io *io, int fd, uint64_t tag)
{
	add(io, IO_SYNC_FDATASYNC, fd, NULL, 0, 0, tag);
}

static int32_t carry_out(struct io *io, const struct io_sync_request *r)
{
	uint32_t bytes = r->bytes;
	ssize_t n;

	if ((io->error_one_in && !io_sync_random(io, io->error_one_in)) ||
	    (io->refuse && io->refuse(io->refuse_arg, r))) {
		io->errors++;
		return -io->error;
	}
	if (r->kind == IO_SYNC_FDATASYNC)
		return fdatasync(r->fd) < 0 ? -errno : 0;
	if (r->kind == IO_SYNC_READ) {
		n = pread(r->fd, r->buf, r->bytes, (off_t)r->offset);
		return n < 0 ? -errno : (int32_t)n;
	}
	if (io->short_writes && bytes > 4096 && !io_sync_random(io, io->short_writes))
		bytes = (uint32_t)(1 + io_sync_random(io, bytes / 512)) * 512;
	if (bytes > r->bytes)
		bytes = r->bytes;
	n = pwrite(r->fd, r->buf, bytes, (off_t)r->offset);
	return n < 0 ? -errno : (int32_t)n;
}

int io_wait(struct io *io, uint64_t timeout_ns, const struct io_event **ret_events)
{
	struct io_sync_request now[IO_SYNC_PENDING];
	uint32_t count = io->pending_count, kept = 0, done = 0;

	memcpy(now, io->pending, count * sizeof(*now));
	io->pending_count = 0;
	io->now_ns += 50000;
	io->realtime_ns += 50000;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = io->shuffle ? i + (uint32_t)io_sync_random(io, count - i) : i;
		struct io_sync_request r = now[at];

		now[at] = now[i];
		if (io->shuffle && kept + 1 < count && !io_sync_random(io, 2)) {
			io->pending[kept++] = r;
			continue;
		}
		io->events[done] = (struct io_event){.type = IO_FILE, .tag = r.tag};
		io->events[done++].result = carry_out(io, &r);
	}
	io->pending_count = kept;
	*ret_events = io->events;
	return (int)done;
}

void io_sync_crash(struct io *io)
{
	for (uint32_t i = 0; i < io->pending_count; i++) {
		struct io_sync_request *r = &io->pending[i];
		uint32_t sectors = r->bytes / 512;
		ssize_t n = 0;

		if (r->kind != IO_SYNC_WRITE)
			continue;
		switch (io_sync_random(io, 4)) {
		case 0:
			break;
		case 1:
			n = pwrite(r->fd, r->buf, r->bytes, (off_t)r->offset);
			break;
		case 2: /* the first sectors */
			if (sectors)
				n = pwrite(r->fd, r->buf, io_sync_random(io, sectors + 1) * 512, (off_t)r->offset);
			break;
		default: /* some sectors, not only the first: whole blocks, as direct I/O wants them */
			for (uint32_t s = 0; s + 8 <= sectors && n >= 0; s += 8)
				if (io_sync_random(io, 2))
					n = pwrite(r->fd, (char *)r->buf + s * 512, 4096, (off_t)(r->offset + s * 512));
			break;
		}
		must(n >= 0);
	}
	io->pending_count = 0;
}

uint64_t io_now(const struct io *io)
{
	return io->now_ns;
}

uint64_t io_now_exact(const struct io *io)
{
	return io->now_ns;
}

uint64_t io_realtime(const struct io *io)
{
	return io->realtime_ns;
}
