/* SPDX-License-Identifier: Apache-2.0 */
/* bench_load_run.h - one thread of the load generator: what bench_load_start.c sets up and bench_load_run.c runs. */
#ifndef BENCH_LOAD_RUN_H
#define BENCH_LOAD_RUN_H

#include <liburing.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bench_load.h"

#define LR_BUFFERS  2048u
#define LR_BUFFER   4096u
#define LR_COPY_MAX 32768u /* frames up to this size are copied into one send; longer ones go alone, gathered */
#define LR_SPIN_NS  60000  /* a message that is due sooner than this is waited for without sleeping */
#define LR_DIALS    256    /* connections being made at the same time */

enum lr_op { LR_RECV = 1, LR_SEND = 2 };

struct lr_slot {
	uint64_t due_ns;
	uint64_t number; /* of the message in this thread: its control ID */
	bool counted;    /* sent in the measured time */
};

struct lr_conn {
	int fd; /* -1 = lost */
	bool receiving, sending, dirty, in_heap;
	struct lr_slot *slot;      /* ring of the window */
	uint32_t head, next, tail; /* counters: answered.., given to the kernel.., taken */
	uint64_t due_ns;           /* of the next message (open loop) */
	uint64_t random;
	char *out; /* what is being sent */
	uint32_t out_bytes, out_sent;
	struct iovec gather[2];
	struct msghdr header;
	char carry[LR_BUFFER]; /* the beginning of an answer that goes on in the next buffer */
	uint32_t carry_bytes, scanned;
};

struct lr_thread {
	pthread_t id;
	const struct load_settings *set;
	struct load_results ret;
	uint32_t index, first, conns; /* connections first .. first + conns */
	struct lr_conn *conn;
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	char *memory;
	uint32_t returned;
	uint32_t *dirty, dirty_count;
	uint32_t *heap, heap_count; /* connections by the time their next message is due */
	uint32_t open;
	uint64_t under_way;
	uint64_t next_number;
	uint64_t now_ns, start_ns, from_ns, to_ns; /* measured: from..to */
	uint64_t cpu_from_ns;
	uint32_t out_room;
	double period_ns; /* mean distance of one connection's arrivals */
	pthread_barrier_t *ready;
	bool *failed; /* some thread could not be set up: then none begins */
	int error;
};

static inline double lr_random(struct lr_conn *c) /* in (0, 1] */
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return ((double)(c->random >> 11) + 1) / 9007199254740992.0;
}

/**
 * lr_run - generate load on this thread's connections until the time is over and the answers are in.
 *
 * @t  Prepared: connections made, ring and buffers set up. Results are in @t->ret, @t->error is 0 or -errno.
 */
void lr_run(struct lr_thread *t);

#endif
