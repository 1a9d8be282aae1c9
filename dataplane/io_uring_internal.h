/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring_internal.h - the backend's own structures: shared by io_uring.c (the turn) and io_uring_setup.c (creation). */
#ifndef MILLRACE_IO_URING_INTERNAL_H
#define MILLRACE_IO_URING_INTERNAL_H

#include "io.h"

#include <liburing.h>
#include <netinet/in.h>
#include <time.h>

#define IO_SQ_ENTRIES     4096
#define IO_CQ_ENTRIES     32768
#define IO_EVENTS_MAX     8192
#define IO_LISTENERS_MAX  (MR_LISTENERS_MAX + 8)
#define IO_WATCHES_MAX    256
#define IO_BUFFER_GROUP   1
#define IO_ACCEPT_PAUSE_NS 100000000u /* after EMFILE and the like */

enum io_op { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CONNECT, OP_TIMEOUT, OP_CANCEL, OP_FILE, OP_POLL };

enum slot_flag {
	SLOT_USED = 1,
	SLOT_RECV = 2,       /* a multishot receive is armed */
	SLOT_PAUSED = 4,
	SLOT_SEND = 8,
	SLOT_CONNECT = 16,
	SLOT_TIMEOUT = 32,   /* the connect's linked time-out has not completed */
	SLOT_CLOSING = 64,   /* io_close() was called, or the end was seen */
	SLOT_STARVED = 128,  /* the receive ended for want of buffers */
	SLOT_DEAD = 256,     /* listed for IO_CLOSED */
	SLOT_UP = 512,       /* connected or accepted: receives may be armed */
	SLOT_EOF = 1024,     /* the peer sends no more */
};

struct io_slot {
	int fd;
	uint32_t flags;
	uint32_t next; /* free list, or list of starved slots */
	uint32_t send_left;
	const char *send_at;
	uint64_t tag;
	int32_t result;
	uint32_t buffers; /* receive buffers the core still holds */
	uint32_t cancels;
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr;
	struct __kernel_timespec timeout;
};

struct io_listener {
	int fd;
	bool used, armed;
	uint64_t tag;
	uint64_t again_ns; /* arm again then; 0 = at once */
};

struct io_watch_slot {
	int fd;
	bool used, armed;
	uint64_t tag;
};

struct io {
	struct io_uring ring;
	struct io_uring_buf_ring *buf_ring;
	char *bufs;
	uint32_t *buf_owner; /* slot of each buffer that is out */
	uint32_t buf_bytes, buf_count, buf_added;
	struct io_slot *slot;
	uint32_t slot_count, slot_free;
	uint32_t *starved, starved_count;
	uint32_t *dead, dead_count; /* slots whose IO_CLOSED is due */
	uint64_t *file_tag;
	uint32_t *file_next, file_free, file_count;
	struct io_listener listener[IO_LISTENERS_MAX];
	struct io_watch_slot watch[IO_WATCHES_MAX];
	uint32_t listener_top, watch_top;
	bool rearm_listeners, rearm_watches;
	struct io_event *event;
	uint32_t event_count;
	uint64_t now_ns, realtime_ns, random;
	bool busy_poll;
};

static inline uint64_t io_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
