/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring.c - the default backend of io.h: kernel TCP and files through one io_uring.
 *
 * Called by the core's thread only. One ring with deferred task work; accepts and receives are multishot, receives take
 * their memory from one ring of provided buffers, and each turn is one system call. A connection's slot is given free
 * only when nothing in flight refers to it any more, so a completion can never hit a successor.
 * Never blocks outside io_wait(), never allocates after io_create().
 */
#include "io_uring_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t io_data(enum io_op op, uint32_t index)
{
	return (uint64_t)op << 56 | index;
}

static struct io_uring_sqe *io_sqe(struct io *io)
{
	struct io_uring_sqe *s;

	while (!(s = io_uring_get_sqe(&io->ring)))
		io_uring_submit(&io->ring);
	return s;
}

/* ---- connections ---- */

static void slot_arm_recv(struct io *io, uint32_t i)
{
	struct io_slot *s = &io->slot[i];
	struct io_uring_sqe *q;

	if (s->flags & (SLOT_RECV | SLOT_PAUSED | SLOT_CLOSING | SLOT_DEAD | SLOT_EOF) || !(s->flags & SLOT_UP))
		return;
	q = io_sqe(io);
	io_uring_prep_recv_multishot(q, s->fd, NULL, 0, 0);
	q->flags |= IOSQE_BUFFER_SELECT;
	q->buf_group = IO_BUFFER_GROUP;
	io_uring_sqe_set_data64(q, io_data(OP_RECV, i));
	s->flags |= SLOT_RECV;
}

static int slot_take(struct io *io, int fd, uint64_t tag)
{
	uint32_t i = io->slot_free;
	struct io_slot *s;

	if (i >= io->slot_count)
		return -ENFILE;
	s = &io->slot[i];
	io->slot_free = s->next;
	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->tag = tag;
	s->flags = SLOT_USED;
	return (int)i;
}

/* The slot's IO_CLOSED is due as soon as nothing is in flight and the core has given all its buffers back. */
static void slot_check_dead(struct io *io, uint32_t i)
{
	struct io_slot *s = &io->slot[i];

	if (!(s->flags & SLOT_CLOSING) || s->flags & (SLOT_RECV | SLOT_SEND | SLOT_CONNECT | SLOT_TIMEOUT | SLOT_DEAD) ||
	    s->buffers || s->cancels)
		return;
	s->flags |= SLOT_DEAD;
	io->dead[io->dead_count++] = i;
}

static void slot_cancel_recv(struct io *io, uint32_t i)
{
	struct io_uring_sqe *q = io_sqe(io);

	io_uring_prep_cancel64(q, io_data(OP_RECV, i), 0);
	io_uring_sqe_set_data64(q, io_data(OP_CANCEL, i));
	io->slot[i].cancels++;
}

/* The connection is over for reason @result; its end is told when nothing refers to it any more. */
static void slot_end(struct io *io, uint32_t i, int32_t result)
{
	struct io_slot *s = &io->slot[i];

	if (!(s->flags & SLOT_CLOSING)) {
		s->flags |= SLOT_CLOSING;
		s->result = result;
		shutdown(s->fd, SHUT_RDWR); /* ends an armed receive and a send that waits */
		if (s->flags & SLOT_RECV)
			slot_cancel_recv(io, i);
	}
	slot_check_dead(io, i);
}

void io_tag(struct io *io, uint32_t conn, uint64_t tag)
{
	io->slot[conn].tag = tag;
}

static void slot_submit_send(struct io *io, uint32_t i)
{
	struct io_slot *s = &io->slot[i];
	struct io_uring_sqe *q = io_sqe(io);

	io_uring_prep_send(q, s->fd, s->send_at, s->send_left, MSG_WAITALL | MSG_NOSIGNAL);
	io_uring_sqe_set_data64(q, io_data(OP_SEND, i));
	s->flags |= SLOT_SEND;
}

void io_send(struct io *io, uint32_t conn, const void *buf, uint32_t bytes)
{
	struct io_slot *s = &io->slot[conn];

	must(!(s->flags & SLOT_SEND));
	if (s->flags & SLOT_CLOSING)
		return; /* IO_CLOSED is on its way */
	s->send_at = buf;
	s->send_left = bytes;
	slot_submit_send(io, conn);
}

void io_pause(struct io *io, uint32_t conn)
{
	struct io_slot *s = &io->slot[conn];

	if (s->flags & (SLOT_PAUSED | SLOT_CLOSING))
		return;
	s->flags |= SLOT_PAUSED;
	if (s->flags & SLOT_RECV)
		slot_cancel_recv(io, conn);
}

void io_resume(struct io *io, uint32_t conn)
{
	io->slot[conn].flags &= ~(uint32_t)SLOT_PAUSED;
	slot_arm_recv(io, conn);
}

void io_finish(struct io *io, uint32_t conn)
{
	shutdown(io->slot[conn].fd, SHUT_WR);
}

void io_close(struct io *io, uint32_t conn, bool reset)
{
	struct io_slot *s = &io->slot[conn];
	struct linger l = {.l_onoff = 1, .l_linger = 0};

	if (reset)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	slot_end(io, conn, 0);
}

int io_connect(struct io *io, const struct mr_link_addr *addr, uint16_t port, uint64_t timeout_ns, uint64_t tag)
{
	int fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, i;
	struct io_uring_sqe *q;
	struct io_slot *s;
	socklen_t len;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	i = slot_take(io, fd, tag);
	if (i < 0) {
		close(fd);
		return i;
	}
	s = &io->slot[i];
	if (addr->family == AF_INET6) {
		s->addr.in6.sin6_family = AF_INET6;
		s->addr.in6.sin6_port = htons(port);
		s->addr.in6.sin6_scope_id = addr->scope;
		memcpy(&s->addr.in6.sin6_addr, addr->bytes, 16);
		len = sizeof(s->addr.in6);
	} else {
		s->addr.in.sin_family = AF_INET;
		s->addr.in.sin_port = htons(port);
		memcpy(&s->addr.in.sin_addr, addr->bytes, 4);
		len = sizeof(s->addr.in);
	}
	if (io_uring_sq_space_left(&io->ring) < 2)
		io_uring_submit(&io->ring); /* a link must not be torn apart */
	q = io_sqe(io);
	io_uring_prep_connect(q, fd, (struct sockaddr *)&s->addr, len);
	q->flags |= IOSQE_IO_LINK;
	io_uring_sqe_set_data64(q, io_data(OP_CONNECT, (uint32_t)i));
	s->timeout.tv_sec = (long long)(timeout_ns / 1000000000u);
	s->timeout.tv_nsec = (long long)(timeout_ns % 1000000000u);
	q = io_sqe(io);
	io_uring_prep_link_timeout(q, &s->timeout, 0);
	io_uring_sqe_set_data64(q, io_data(OP_TIMEOUT, (uint32_t)i));
	s->flags |= SLOT_CONNECT | SLOT_TIMEOUT;
	return i;
}

void io_release(struct io *io, uint32_t buffer)
{
	uint32_t i = io->buf_owner[buffer];

	io_uring_buf_ring_add(io->buf_ring, io->bufs + (size_t)buffer * io->buf_bytes, io->buf_bytes, (unsigned short)buffer,
			      io_uring_buf_ring_mask(io->buf_count), (int)io->buf_added++);
	must(io->slot[i].buffers > 0);
	if (--io->slot[i].buffers == 0)
		slot_check_dead(io, i);
}

/* ---- listeners and watches ---- */

int io_listen(struct io *io, int fd, uint64_t tag)
{
	for (uint32_t i = 0; i < IO_LISTENERS_MAX; i++) {
		struct io_listener *l = &io->listener[i];

		if (l->used || l->armed)
			continue;
		*l = (struct io_listener){.fd = fd, .used = true, .tag = tag};
		if (i >= io->listener_top)
			io->listener_top = i + 1;
		io->rearm_listeners = true;
		return 0;
	}
	return -ENFILE;
}

void io_unlisten(struct io *io, uint64_t tag)
{
	for (uint32_t i = 0; i < io->listener_top; i++) {
		struct io_listener *l = &io->listener[i];
		struct io_uring_sqe *q;

		if (!l->used || l->tag != tag)
			continue;
		l->used = false;
		if (!l->armed)
			continue;
		q = io_sqe(io);
		io_uring_prep_cancel64(q, io_data(OP_ACCEPT, i), 0);
		io_uring_sqe_set_data64(q, io_data(OP_CANCEL, UINT32_MAX));
	}
}

int io_watch(struct io *io, int fd, uint64_t tag)
{
	for (uint32_t i = 0; i < IO_WATCHES_MAX; i++) {
		struct io_watch_slot *w = &io->watch[i];

		if (w->used || w->armed)
			continue;
		*w = (struct io_watch_slot){.fd = fd, .used = true, .tag = tag};
		if (i >= io->watch_top)
			io->watch_top = i + 1;
		io->rearm_watches = true;
		return 0;
	}
	return -ENFILE;
}

void io_unwatch(struct io *io, int fd, uint64_t tag)
{
	for (uint32_t i = 0; i < io->watch_top; i++) {
		struct io_watch_slot *w = &io->watch[i];
		struct io_uring_sqe *q;

		if (!w->used || w->tag != tag || w->fd != fd)
			continue;
		w->used = false;
		if (!w->armed)
			continue;
		q = io_sqe(io);
		io_uring_prep_poll_remove(q, io_data(OP_POLL, i));
		io_uring_sqe_set_data64(q, io_data(OP_CANCEL, UINT32_MAX));
		io_uring_submit(&io->ring); /* the caller closes the descriptor next */
	}
}

static void io_rearm(struct io *io)
{
	bool later = false;

	for (uint32_t i = 0; io->rearm_listeners && i < io->listener_top; i++) {
		struct io_listener *l = &io->listener[i];
		struct io_uring_sqe *q;

		if (!l->used || l->armed)
			continue;
		if (l->again_ns > io->now_ns) {
			later = true;
			continue;
		}
		q = io_sqe(io);
		io_uring_prep_multishot_accept(q, l->fd, NULL, NULL, SOCK_CLOEXEC);
		io_uring_sqe_set_data64(q, io_data(OP_ACCEPT, i));
		l->armed = true;
	}
	io->rearm_listeners = later;
	for (uint32_t i = 0; io->rearm_watches && i < io->watch_top; i++) {
		struct io_watch_slot *w = &io->watch[i];
		struct io_uring_sqe *q;

		if (!w->used || w->armed)
			continue;
		q = io_sqe(io);
		io_uring_prep_poll_add(q, w->fd, POLLIN);
		io_uring_sqe_set_data64(q, io_data(OP_POLL, i));
		w->armed = true;
	}
	io->rearm_watches = false;
}

/* ---- files ---- */

static struct io_uring_sqe *io_file_sqe(struct io *io, uint64_t tag, uint64_t *ret_data)
{
	uint32_t i = io->file_free;

	must(i < io->file_count); /* users bound what they have in flight */
	io->file_free = io->file_next[i];
	io->file_tag[i] = tag;
	*ret_data = io_data(OP_FILE, i);
	return io_sqe(io);
}

void io_write(struct io *io, int fd, const void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	uint64_t data;
	struct io_uring_sqe *q = io_file_sqe(io, tag, &data);

	io_uring_prep_write(q, fd, buf, bytes, offset);
	io_uring_sqe_set_data64(q, data);
}

void io_read(struct io *io, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	uint64_t data;
	struct io_uring_sqe *q = io_file_sqe(io, tag, &data);

	io_uring_prep_read(q, fd, buf, bytes, offset);
	io_uring_sqe_set_data64(q, data);
}

void io_fdatasync(struct io *io, int fd, uint64_t tag)
{
	uint64_t data;
	struct io_uring_sqe *q = io_file_sqe(io, tag, &data);

	io_uring_prep_fsync(q, fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data64(q, data);
}

/* ---- completions ---- */

static struct io_event *io_event(struct io *io, uint32_t type, uint64_t tag)
{
	struct io_event *e = &io->event[io->event_count++];

	memset(e, 0, offsetof(struct io_event, addr));
	e->type = type;
	e->tag = tag;
	return e;
}

static void io_peer_addr(int fd, struct io_event *e)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	memset(&e->addr, 0, sizeof(e->addr));
	e->port = 0;
	if (getpeername(fd, (struct sockaddr *)&a, &len) < 0)
		return;
	e->addr.family = (uint8_t)a.ss_family;
	if (a.ss_family == AF_INET6) {
		memcpy(e->addr.bytes, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
		e->port = ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
	} else if (a.ss_family == AF_INET) {
		memcpy(e->addr.bytes, &((struct sockaddr_in *)&a)->sin_addr, 4);
		e->port = ntohs(((struct sockaddr_in *)&a)->sin_port);
	}
}

static void io_on_accept(struct io *io, uint32_t li, const struct io_uring_cqe *c)
{
	struct io_listener *l = &io->listener[li];
	int i, one = 1;

	if (!(c->flags & IORING_CQE_F_MORE)) {
		l->armed = false;
		io->rearm_listeners = true;
	}
	if (c->res < 0) {
		if (c->res == -EMFILE || c->res == -ENFILE || c->res == -ENOMEM || c->res == -ENOBUFS)
			l->again_ns = io->now_ns + IO_ACCEPT_PAUSE_NS;
		else if (c->res == -EINVAL || c->res == -EBADF)
			l->used = false; /* not listening any more */
		return;
	}
	i = l->used ? slot_take(io, c->res, l->tag) : -1;
	if (i < 0) {
		close(c->res);
		return;
	}
	setsockopt(c->res, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->res, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	io->slot[i].flags |= SLOT_UP;
	slot_arm_recv(io, (uint32_t)i);
	{
		struct io_event *e = io_event(io, IO_ACCEPTED, l->tag);

		e->conn = (uint32_t)i;
		io_peer_addr(c->res, e);
	}
}

static void io_on_recv(struct io *io, uint32_t i, const struct io_uring_cqe *c)
{
	struct io_slot *s = &io->slot[i];

	if (!(c->flags & IORING_CQE_F_MORE))
		s->flags &= ~(uint32_t)SLOT_RECV;
	if (c->res > 0) {
		uint32_t b = c->flags >> IORING_CQE_BUFFER_SHIFT;
		struct io_event *e = io_event(io, IO_RECEIVED, s->tag);

		io->buf_owner[b] = i;
		s->buffers++;
		e->conn = i;
		e->buffer = b;
		e->data = io->bufs + (size_t)b * io->buf_bytes;
		e->bytes = (uint32_t)c->res;
	} else if (c->res == -ENOBUFS) {
		if (!(s->flags & SLOT_STARVED)) {
			s->flags |= SLOT_STARVED;
			io->starved[io->starved_count++] = i;
		}
		slot_check_dead(io, i);
		return;
	} else if (c->res == 0 && !(s->flags & SLOT_CLOSING)) {
		s->flags |= SLOT_EOF;
		io_event(io, IO_EOF, s->tag)->conn = i;
		return;
	} else if (c->res != -ECANCELED && c->res != -EINTR && c->res != -EAGAIN) {
		slot_end(io, i, c->res);
		return;
	}
	if (s->flags & SLOT_CLOSING)
		slot_check_dead(io, i);
	else
		slot_arm_recv(io, i);
}

static void io_on_send(struct io *io, uint32_t i, const struct io_uring_cqe *c)
{
	struct io_slot *s = &io->slot[i];

	s->flags &= ~(uint32_t)SLOT_SEND;
	if (s->flags & SLOT_CLOSING) {
		slot_check_dead(io, i);
		return;
	}
	if (c->res <= 0 && c->res != -EINTR && c->res != -EAGAIN) {
		slot_end(io, i, c->res ? c->res : -EPIPE);
		return;
	}
	if (c->res > 0) {
		s->send_at += c->res;
		s->send_left -= (uint32_t)c->res;
	}
	if (s->send_left)
		slot_submit_send(io, i);
	else
		io_event(io, IO_SENT, s->tag)->conn = i;
}

static void io_on_connect(struct io *io, uint32_t i, const struct io_uring_cqe *c)
{
	struct io_slot *s = &io->slot[i];

	s->flags &= ~(uint32_t)SLOT_CONNECT;
	if (c->res < 0) {
		slot_end(io, i, c->res == -ECANCELED ? -ETIMEDOUT : c->res);
		return;
	}
	if (s->flags & SLOT_CLOSING) {
		slot_check_dead(io, i);
		return;
	}
	s->flags |= SLOT_UP;
	slot_arm_recv(io, i);
	io_event(io, IO_CONNECTED, s->tag)->conn = i;
}

static void io_on_file(struct io *io, uint32_t i, const struct io_uring_cqe *c)
{
	io_event(io, IO_FILE, io->file_tag[i])->result = c->res;
	io->file_next[i] = io->file_free;
	io->file_free = i;
}

static void io_complete(struct io *io, const struct io_uring_cqe *c)
{
	uint32_t i = (uint32_t)c->user_data;

	switch ((enum io_op)(c->user_data >> 56)) {
	case OP_ACCEPT:
		io_on_accept(io, i, c);
		break;
	case OP_RECV:
		io_on_recv(io, i, c);
		break;
	case OP_SEND:
		io_on_send(io, i, c);
		break;
	case OP_CONNECT:
		io_on_connect(io, i, c);
		break;
	case OP_TIMEOUT:
		io->slot[i].flags &= ~(uint32_t)SLOT_TIMEOUT;
		slot_check_dead(io, i);
		break;
	case OP_CANCEL:
		if (i != UINT32_MAX) {
			io->slot[i].cancels--;
			slot_check_dead(io, i);
		}
		break;
	case OP_FILE:
		io_on_file(io, i, c);
		break;
	case OP_POLL:
		io->watch[i].armed = false;
		io->rearm_watches = true;
		if (io->watch[i].used)
			io_event(io, IO_WAKE, io->watch[i].tag);
		break;
	}
}

/* Slots that ended: close their sockets, tell the core, give the slots free. */
static void io_bury(struct io *io)
{
	while (io->dead_count && io->event_count < IO_EVENTS_MAX) {
		uint32_t i = io->dead[--io->dead_count];
		struct io_slot *s = &io->slot[i];
		struct io_event *e = io_event(io, IO_CLOSED, s->tag);

		e->conn = i;
		e->result = s->result;
		close(s->fd);
		if (s->flags & SLOT_STARVED)
			for (uint32_t k = 0; k < io->starved_count; k++)
				if (io->starved[k] == i)
					io->starved[k--] = io->starved[--io->starved_count];
		s->flags = 0;
		s->next = io->slot_free;
		io->slot_free = i;
	}
}

static void io_before_wait(struct io *io)
{
	if (io->buf_added) {
		io_uring_buf_ring_advance(io->buf_ring, (int)io->buf_added);
		io->buf_added = 0;
	}
	/* Even if nothing was given back in this very turn: the core keeps no buffer beyond a turn, so there are some. */
	for (uint32_t n = io->starved_count; n; n--) {
		uint32_t i = io->starved[n - 1];

		io->slot[i].flags &= ~(uint32_t)SLOT_STARVED;
		slot_arm_recv(io, i);
	}
	io->starved_count = 0;
	if (io->rearm_listeners || io->rearm_watches)
		io_rearm(io);
}

int io_wait(struct io *io, uint64_t timeout_ns, const struct io_event **ret_events)
{
	struct __kernel_timespec ts = {.tv_sec = (long long)(timeout_ns / 1000000000u), .tv_nsec = (long long)(timeout_ns % 1000000000u)};
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r;

	io->event_count = 0;
	io_before_wait(io);
	if (timeout_ns == 0 || io->dead_count || io->busy_poll || io_uring_cq_ready(&io->ring))
		r = io_uring_submit_and_get_events(&io->ring);
	else
		r = io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &ts, NULL);
	io->now_ns = io_clock(CLOCK_MONOTONIC);
	io->realtime_ns = io_clock(CLOCK_REALTIME);
	if (r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN && r != -EBUSY)
		return r;
	io_uring_for_each_cqe(&io->ring, head, cqe) {
		if (io->event_count + 2 > IO_EVENTS_MAX / 2)
			break;
		io_complete(io, cqe);
		n++;
	}
	io_uring_cq_advance(&io->ring, n);
	io_bury(io);
	*ret_events = io->event;
	return (int)io->event_count;
}

uint64_t io_now(const struct io *io)
{
	return io->now_ns;
}

uint64_t io_now_exact(const struct io *io)
{
	return io_clock(CLOCK_MONOTONIC);
}

uint64_t io_realtime(const struct io *io)
{
	return io->realtime_ns;
}

uint64_t io_random(struct io *io)
{
	uint64_t z = io->random += 0x9e3779b97f4a7c15u; /* splitmix64, seeded by the kernel */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
