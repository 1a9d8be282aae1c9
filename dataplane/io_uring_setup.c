/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring_setup.c - makes and takes down the io_uring backend: the ring with the best flags this kernel has, the ring of
 * receive buffers, the tables. Called once per core, at start and end; the only part of the backend that allocates.
 */
#include "io_uring_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

static int io_ring_init(struct io *io)
{
	static const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0};
	int r = -EINVAL;

	for (size_t i = 0; i < MR_ARRAY_LEN(flags) && r == -EINVAL; i++) {
		struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | flags[i], .cq_entries = IO_CQ_ENTRIES};

		r = io_uring_queue_init_params(IO_SQ_ENTRIES, &io->ring, &p);
	}
	if (r == 0)
		io_uring_register_ring_fd(&io->ring); /* a saving only; older kernels refuse */
	return r;
}

static int io_buffers_init(struct io *io, const struct io_params *p)
{
	size_t ring_bytes = p->recv_buffers * sizeof(struct io_uring_buf);
	struct io_uring_buf_reg reg = {.ring_entries = p->recv_buffers, .bgid = IO_BUFFER_GROUP};
	int r;

	io->buf_ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	io->bufs = mmap(NULL, (size_t)p->recv_buffers * p->recv_buffer_bytes, PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (io->buf_ring == MAP_FAILED || io->bufs == MAP_FAILED)
		return -ENOMEM;
	madvise(io->bufs, (size_t)p->recv_buffers * p->recv_buffer_bytes, MADV_DONTDUMP); /* messages: never in a core dump */
	io->buf_bytes = p->recv_buffer_bytes;
	io->buf_count = p->recv_buffers;
	reg.ring_addr = (uint64_t)(uintptr_t)io->buf_ring;
	r = io_uring_register_buf_ring(&io->ring, &reg, 0);
	if (r)
		return r;
	io_uring_buf_ring_init(io->buf_ring);
	for (uint32_t i = 0; i < io->buf_count; i++)
		io_uring_buf_ring_add(io->buf_ring, io->bufs + (size_t)i * io->buf_bytes, io->buf_bytes, (unsigned short)i,
				      io_uring_buf_ring_mask(io->buf_count), (int)i);
	io_uring_buf_ring_advance(io->buf_ring, (int)io->buf_count);
	return 0;
}

static int io_tables_init(struct io *io, const struct io_params *p)
{
	io->slot_count = p->connections_max;
	io->file_count = p->files_max;
	io->slot = calloc(io->slot_count, sizeof(*io->slot));
	io->starved = calloc(io->slot_count, sizeof(*io->starved));
	io->dead = calloc(io->slot_count, sizeof(*io->dead));
	io->buf_owner = calloc(p->recv_buffers, sizeof(*io->buf_owner));
	io->file_tag = calloc(io->file_count, sizeof(*io->file_tag));
	io->file_next = calloc(io->file_count, sizeof(*io->file_next));
	io->event = calloc(IO_EVENTS_MAX, sizeof(*io->event));
	if (!io->slot || !io->starved || !io->dead || !io->buf_owner || !io->file_tag || !io->file_next || !io->event)
		return -ENOMEM;
	for (uint32_t i = 0; i < io->slot_count; i++)
		io->slot[i].next = i + 1;
	for (uint32_t i = 0; i < io->file_count; i++)
		io->file_next[i] = i + 1;
	return 0;
}

int io_create(const struct io_params *p, struct io **ret)
{
	struct io *io = calloc(1, sizeof(*io));
	int r;

	if (!io)
		return -ENOMEM;
	io->ring.ring_fd = -1;
	io->busy_poll = p->busy_poll;
	r = io_ring_init(io);
	if (r == 0)
		r = io_buffers_init(io, p);
	if (r == 0)
		r = io_tables_init(io, p);
	if (r == 0 && getrandom(&io->random, sizeof(io->random), 0) != sizeof(io->random))
		r = -EIO;
	if (r) {
		io_destroy(io);
		return r;
	}
	io->now_ns = io_clock(CLOCK_MONOTONIC);
	io->realtime_ns = io_clock(CLOCK_REALTIME);
	*ret = io;
	return 0;
}

void io_destroy(struct io *io)
{
	if (!io)
		return;
	for (uint32_t i = 0; io->slot && i < io->slot_count; i++)
		if (io->slot[i].flags & SLOT_USED)
			close(io->slot[i].fd);
	if (io->ring.ring_fd >= 0)
		io_uring_queue_exit(&io->ring);
	if (io->buf_ring && io->buf_ring != MAP_FAILED)
		munmap(io->buf_ring, io->buf_count * sizeof(struct io_uring_buf));
	if (io->bufs && io->bufs != MAP_FAILED)
		munmap(io->bufs, (size_t)io->buf_count * io->buf_bytes);
	free(io->slot);
	free(io->starved);
	free(io->dead);
	free(io->buf_owner);
	free(io->file_tag);
	free(io->file_next);
	free(io->event);
	free(io);
}
