/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.h - the seam between a core and the world: bytes, disk completions, time and random numbers come through here only.
 *
 * One backend is linked into a program: io_uring.c (kernel TCP), dpdk/ (user-space TCP), or the simulator of tests/sim.
 * A core queues requests and calls io_wait() once a turn; everything that happened comes back as one batch of events.
 * Nothing here blocks except io_wait(), and nothing calls back into the core.
 *
 * Threads: one struct io per core, used by its thread only.
 */
#ifndef MILLRACE_IO_H
#define MILLRACE_IO_H

#include "abi/mr_base.h"
#include "abi/mr_link.h"

struct io;

enum io_event_type {
	IO_ACCEPTED = 1,  /* conn: new connection; tag: of the listener; addr: the peer */
	IO_RECEIVED = 2,  /* conn; data, bytes: received, the core's until io_release(); more events of the conn may follow */
	IO_SENT = 3,      /* conn: the whole io_send() was taken by the network */
	IO_CONNECTED = 4, /* conn: an io_connect() is up; tag as given */
	IO_CLOSED = 5,    /* conn: gone, result says why: 0 peer closed, -errno. Last event of a conn; its number may be reused
			     after the batch. Follows io_close() too, once nothing of the conn is in flight any more */
	IO_FILE = 6,      /* tag: an io_write/read/... is done; result: bytes or -errno */
	IO_WAKE = 7,      /* tag: a watched descriptor is readable (level: comes again until read) */
	IO_EOF = 8,       /* conn: the peer sends no more (it may still read); the core closes when it is done */
};

struct io_event {
	uint32_t type;
	uint32_t conn;
	uint64_t tag;
	const char *data;
	uint32_t bytes;
	int32_t result;
	uint32_t buffer; /* IO_RECEIVED: for io_release() */
	struct mr_link_addr addr; /* IO_ACCEPTED */
	uint16_t port;
};

struct io_params {
	uint32_t connections_max; /* open at once, accepted and made, at most */
	uint32_t recv_buffers;    /* power of two */
	uint32_t recv_buffer_bytes;
	uint32_t files_max;       /* file requests in flight at most */
	bool busy_poll;
};

/** io_create - Returns 0 or -errno (-ENOSYS: the kernel has no io_uring or forbids it). The only call that allocates. */
int io_create(const struct io_params *p, struct io **ret);
void io_destroy(struct io *io);

/**
 * io_wait - submit what was queued; wait for at least one event, @timeout_ns at most (0: do not wait).
 *
 * @ret_events  Valid until the next call. Returns their number, 0 on time-out, -errno.
 * Cost: one system call a turn.
 */
int io_wait(struct io *io, uint64_t timeout_ns, const struct io_event **ret_events);

/** io_listen - accept on @fd (a listening socket, not consumed); accepted connections carry @tag. io_unlisten ends it. */
int io_listen(struct io *io, int fd, uint64_t tag);
void io_unlisten(struct io *io, uint64_t tag);

/** io_connect - open a TCP connection; IO_CONNECTED or IO_CLOSED follows. Returns the conn number (>= 0) or -errno. */
int io_connect(struct io *io, const struct mr_link_addr *addr, uint16_t port, uint64_t timeout_ns, uint64_t tag);

/** io_tag - the tag of the conn's later events (IO_ACCEPTED's conns start with their listener's). */
void io_tag(struct io *io, uint32_t conn, uint64_t tag);

/** io_send - send @bytes at @buf, which must stay as it is until IO_SENT or IO_CLOSED. One send in flight per conn. */
void io_send(struct io *io, uint32_t conn, const void *buf, uint32_t bytes);

/** io_pause - take in no more of this conn (its kernel buffer fills, the sender waits); what was on its way still comes.
 *  io_resume takes it up again. */
void io_pause(struct io *io, uint32_t conn);
void io_resume(struct io *io, uint32_t conn);

/** io_finish - nothing more will be sent: the peer sees the end after what was sent. Receiving goes on. */
void io_finish(struct io *io, uint32_t conn);

/** io_close - close; @reset drops unsent bytes. IO_CLOSED follows when nothing refers to the conn or its buffers any more. */
void io_close(struct io *io, uint32_t conn, bool reset);

/** io_release - give a receive buffer back. Every IO_RECEIVED must be given back exactly once. */
void io_release(struct io *io, uint32_t buffer);

/* Files. @fd is a plain descriptor; offset, bytes and buf as O_DIRECT wants them if it was opened so. IO_FILE follows. */
void io_write(struct io *io, int fd, const void *buf, uint32_t bytes, uint64_t offset, uint64_t tag);
void io_read(struct io *io, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag);
void io_fdatasync(struct io *io, int fd, uint64_t tag);

/** io_watch - tell with IO_WAKE when @fd (eventfd, link socket) is readable. io_unwatch ends it. */
int io_watch(struct io *io, int fd, uint64_t tag);
void io_unwatch(struct io *io, int fd, uint64_t tag);

uint64_t io_now(const struct io *io);      /* monotonic ns, taken once a turn: cheap */
uint64_t io_now_exact(const struct io *io); /* monotonic ns, now */
uint64_t io_realtime(const struct io *io); /* realtime ns, taken once a turn */
uint64_t io_random(struct io *io);


#endif
