/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_sync.h - the file half of io.h over plain system calls, with a clock and a disk that the test commands.
 *
 * A request is carried out when the test lets io_wait() come to it, in any order; a crash may leave some not done at
 * all, or done in part. What has been reported as done really is in the file.
 */
#ifndef IO_SYNC_H
#define IO_SYNC_H

#include "io.h"

#define IO_SYNC_PENDING 64

enum io_sync_kind { IO_SYNC_WRITE, IO_SYNC_READ, IO_SYNC_FDATASYNC };

struct io_sync_request {
	int kind, fd;
	void *buf;
	uint32_t bytes;
	uint64_t offset, tag;
};

struct io {
	struct io_sync_request pending[IO_SYNC_PENDING];
	uint32_t pending_count;
	struct io_event events[IO_SYNC_PENDING];
	uint64_t now_ns, realtime_ns, random;
	bool shuffle;          /* complete in random order, some of them only */
	uint32_t short_writes; /* one in that many writes is cut short; 0: none */
	uint32_t error_one_in; /* one in that many requests fails with `error`; 0: none */
	int error;
	uint64_t writes, errors;
	bool (*refuse)(void *arg, const struct io_sync_request *r); /* true: fails with `error` */
	void *refuse_arg;
};

void io_sync_init(struct io *io, uint64_t seed);
uint64_t io_sync_random(struct io *io, uint64_t below);

/** io_sync_crash - the power fails: each pending request is done, not done, or done in part (whole sectors). */
void io_sync_crash(struct io *io);

#endif
