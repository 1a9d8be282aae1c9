/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_uring.c - an MLLP server that does the least: one thread, one io_uring, frames found, answers sent.
 *
 * Called by `bench responder` (always the same answer: the limit that a hub is compared with) and `bench sink` (answers
 * with the right control ID: a destination that is never the bottleneck). Multishot accept and receive into a ring of
 * provided buffers, one send in flight per connection, all submissions of a turn in one system call. It must never
 * parse or store more than its caller asks for: what it costs is what is compared with.
 */
#include "bench_uring.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hl7.h"
#include "mllp.h"
#include "net.h"

#define BS_BUFFERS   1024u
#define BS_BUFFER    16384u
#define BS_FIXED     64u   /* bytes of the fixed answer with its framing */
#define BS_FIXED_MAX 1024u /* fixed answers in one send */
#define BS_OUT_MAX   (1u << 20)
#define BS_NONE      UINT32_MAX

enum bs_op { BS_ACCEPT = 1, BS_RECV = 2, BS_SEND = 3 };

struct bs_conn {
	int fd;
	uint32_t next_free;
	uint32_t fixed;     /* fixed answers that wait to be sent */
	uint32_t in_flight; /* bytes of the send under way; 0 = none */
	uint32_t sent;      /* of these, already gone */
	bool receiving;     /* a receive is armed */
	bool closing;
	bool dirty;
	char *carry; /* the beginning of a frame that goes on in the next buffer */
	uint32_t carry_bytes, carry_room, scanned;
	char *out[2]; /* answers: one half is being sent while the other is filled */
	uint32_t out_bytes[2], out_room[2];
	uint32_t filling;
};

struct bs {
	const struct bench_server_settings *set;
	struct bench_server_results *ret;
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	char *memory;
	uint32_t returned; /* buffers given back in this turn */
	struct bs_conn *conn;
	uint32_t conn_room, free_conn;
	uint32_t *dirty;
	uint32_t dirty_count;
	char fixed[BS_FIXED * BS_FIXED_MAX];
	uint64_t now_ns, cpu_start_ns;
};

static volatile sig_atomic_t bs_stop;

static void bs_on_signal(int number)
{
	bs_stop = 1;
}

static struct io_uring_sqe *bs_sqe(struct bs *b)
{
	struct io_uring_sqe *s;

	while (!(s = io_uring_get_sqe(&b->ring)))
		io_uring_submit(&b->ring);
	return s;
}

static void bs_tag(struct io_uring_sqe *s, enum bs_op op, uint32_t conn)
{
	s->user_data = (uint64_t)op << 32 | conn;
}

static void bs_accept(struct bs *b)
{
	struct io_uring_sqe *s = bs_sqe(b);

	io_uring_prep_multishot_accept(s, b->set->listener, NULL, NULL, SOCK_CLOEXEC);
	bs_tag(s, BS_ACCEPT, 0);
}

static void bs_receive(struct bs *b, struct bs_conn *c)
{
	struct io_uring_sqe *s = bs_sqe(b);

	io_uring_prep_recv_multishot(s, c->fd, NULL, 0, 0);
	s->flags |= IOSQE_BUFFER_SELECT;
	s->buf_group = 1;
	bs_tag(s, BS_RECV, (uint32_t)(c - b->conn));
	c->receiving = true;
}

static void bs_send(struct bs *b, struct bs_conn *c)
{
	struct io_uring_sqe *s;
	const char *from;

	if (!c->in_flight) {
		if (b->set->read_header) {
			c->in_flight = c->out_bytes[c->filling];
			c->filling ^= 1;
			c->out_bytes[c->filling] = 0;
		} else {
			c->in_flight = (c->fixed < BS_FIXED_MAX ? c->fixed : BS_FIXED_MAX) * BS_FIXED;
			c->fixed -= c->in_flight / BS_FIXED;
		}
		c->sent = 0;
		if (!c->in_flight)
			return;
	}
	s = bs_sqe(b);
	from = b->set->read_header ? c->out[c->filling ^ 1] : b->fixed;
	io_uring_prep_send(s, c->fd, from + c->sent, c->in_flight - c->sent, MSG_WAITALL | MSG_NOSIGNAL);
	bs_tag(s, BS_SEND, (uint32_t)(c - b->conn));
}

static void bs_mark(struct bs *b, struct bs_conn *c)
{
	if (c->dirty || c->in_flight || c->closing)
		return;
	c->dirty = true;
	b->dirty[b->dirty_count++] = (uint32_t)(c - b->conn);
}

/* Frees the connection once nothing of it is left in the ring. */
static void bs_release(struct bs *b, struct bs_conn *c)
{
	if (!c->closing || c->receiving || c->in_flight || c->dirty)
		return;
	close(c->fd);
	free(c->carry);
	free(c->out[0]);
	free(c->out[1]);
	*c = (struct bs_conn){.fd = -1, .next_free = b->free_conn};
	b->free_conn = (uint32_t)(c - b->conn);
}

static void bs_break(struct bs *b, struct bs_conn *c)
{
	if (!c->closing && c->receiving)
		shutdown(c->fd, SHUT_RDWR); /* ends the receive that is armed */
	c->closing = true;
}

static bool bs_room(char **buffer, uint32_t *room, uint64_t want)
{
	uint64_t to = *room ? *room : 4096;
	char *p;

	while (to < want)
		to *= 2;
	if (to == *room)
		return true;
	p = to <= UINT32_MAX / 2 ? realloc(*buffer, to) : NULL;
	if (!p)
		return false;
	*buffer = p;
	*room = (uint32_t)to;
	return true;
}

/* Answers one message with AA and its control ID. */
static void bs_answer(struct bs *b, struct bs_conn *c, const char *msg, uint32_t bytes)
{
	uint32_t k = c->filling, n;
	struct hl7_msh h;
	struct hl7_ack a = {.code = "AA", .control_id = "1", .control_id_bytes = 1, .time_ns = b->now_ns};

	if (hl7_msh_read(msg, bytes, &h, NULL) == 0) {
		a.msh = &h;
		a.msg = msg;
	} else {
		a.code = "AR";
		b->ret->unreadable++;
	}
	n = hl7_ack_bytes(&a);
	if (c->out_bytes[k] > BS_OUT_MAX ||
	    !bs_room(&c->out[k], &c->out_room[k], (uint64_t)c->out_bytes[k] + n + MLLP_OVERHEAD)) {
		bs_break(b, c); /* it does not read its answers */
		return;
	}
	c->out[k][c->out_bytes[k]] = MLLP_SB;
	n = (uint32_t)hl7_ack_build(c->out[k] + c->out_bytes[k] + 1, n, &a);
	c->out_bytes[k] += n + MLLP_OVERHEAD;
	c->out[k][c->out_bytes[k] - 2] = MLLP_EB;
	c->out[k][c->out_bytes[k] - 1] = MLLP_CR;
}

/* Handles the whole frames in @data; returns how many bytes they were. */
static uint32_t bs_frames(struct bs *b, struct bs_conn *c, const char *data, uint32_t bytes)
{
	struct mllp_result f;
	uint32_t at = 0;

	while (at < bytes && !c->closing) {
		mllp_next(data + at, bytes - at, c->scanned, &f);
		c->scanned = 0;
		if (f.status == MLLP_MORE) {
			c->scanned = f.scanned;
			break;
		}
		if (f.status == MLLP_FRAME) {
			b->ret->messages++;
			b->ret->bytes += f.frame_bytes;
			if (b->set->read_header)
				bs_answer(b, c, data + at + f.frame_offset, f.frame_bytes);
			else
				c->fixed++;
		} else {
			b->ret->junk_bytes += f.consumed;
		}
		at += f.consumed;
	}
	return at;
}

static void bs_data(struct bs *b, struct bs_conn *c, const char *data, uint32_t bytes)
{
	uint64_t before = b->ret->messages;
	uint32_t used;

	if (!c->carry_bytes) {
		used = bs_frames(b, c, data, bytes);
		data += used;
		bytes -= used;
	}
	if (bytes && !c->closing) {
		if (!bs_room(&c->carry, &c->carry_room, (uint64_t)c->carry_bytes + bytes)) {
			bs_break(b, c);
			return;
		}
		memcpy(c->carry + c->carry_bytes, data, bytes);
		if (c->carry_bytes) { /* it was not looked at yet */
			c->carry_bytes += bytes;
			used = bs_frames(b, c, c->carry, c->carry_bytes);
			memmove(c->carry, c->carry + used, c->carry_bytes - used);
			c->carry_bytes -= used;
		} else {
			c->carry_bytes = bytes;
		}
		if (c->carry_bytes > b->set->frame_bytes_max + MLLP_OVERHEAD) {
			b->ret->too_large++;
			bs_break(b, c);
		}
	}
	if (b->ret->messages != before) {
		if (!b->ret->first_ns) {
			b->ret->first_ns = b->now_ns;
			b->cpu_start_ns = net_cpu_ns(false);
		}
		b->ret->last_ns = b->now_ns;
		bs_mark(b, c);
	}
}

static void bs_on_receive(struct bs *b, struct bs_conn *c, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		c->receiving = false;
	if (cqe->res > 0) {
		uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		if (!c->closing)
			bs_data(b, c, b->memory + (size_t)id * BS_BUFFER, (uint32_t)cqe->res);
		io_uring_buf_ring_add(b->buffers, b->memory + (size_t)id * BS_BUFFER, BS_BUFFER, (unsigned short)id,
		                      io_uring_buf_ring_mask(BS_BUFFERS), (int)b->returned++);
	} else if (cqe->res == -ENOBUFS) {
		b->ret->no_buffer++;
	} else {
		c->closing = true;
	}
	if (!c->receiving && !c->closing)
		bs_receive(b, c);
	bs_release(b, c);
}

static void bs_on_send(struct bs *b, struct bs_conn *c, int result)
{
	if (result <= 0) {
		c->in_flight = 0;
		bs_break(b, c);
	} else {
		c->sent += (uint32_t)result;
		if (c->sent < c->in_flight && !c->closing) {
			bs_send(b, c);
			return;
		}
		c->in_flight = 0;
		if (c->fixed || c->out_bytes[c->filling])
			bs_mark(b, c);
	}
	bs_release(b, c);
}

static int bs_grow(struct bs *b)
{
	uint32_t room = b->conn_room ? 2 * b->conn_room : 1024;
	struct bs_conn *p = realloc(b->conn, room * sizeof(*p));
	uint32_t *d;

	if (!p)
		return -ENOMEM;
	b->conn = p;
	d = realloc(b->dirty, room * sizeof(*d));
	if (!d)
		return -ENOMEM;
	b->dirty = d;
	for (uint32_t i = room; i-- > b->conn_room;) {
		p[i] = (struct bs_conn){.fd = -1, .next_free = b->free_conn};
		b->free_conn = i;
	}
	b->conn_room = room;
	return 0;
}

static void bs_on_accept(struct bs *b, const struct io_uring_cqe *cqe)
{
	struct bs_conn *c;

	if (cqe->res >= 0) {
		if (b->free_conn == BS_NONE && bs_grow(b) < 0) {
			close(cqe->res);
		} else {
			c = &b->conn[b->free_conn];
			b->free_conn = c->next_free;
			c->fd = cqe->res;
			b->ret->connections++;
			bs_receive(b, c);
		}
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		bs_accept(b);
}

static int bs_open(struct bs *b)
{
	static const char answer[] = "\x0bMSH|^~\\&|R|R|S|S|20260101||ACK|1|P|2.5\rMSA|AA|1|fixed ok....\r\x1c\r";
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
	                                     IORING_SETUP_DEFER_TASKRUN,
	                            .cq_entries = 32768};
	struct io_uring_buf_reg reg = {.ring_entries = BS_BUFFERS, .bgid = 1};
	size_t ring_bytes = BS_BUFFERS * sizeof(struct io_uring_buf), bytes = (size_t)BS_BUFFERS * BS_BUFFER;
	int r = io_uring_queue_init_params(4096, &b->ring, &p);

	MR_STATIC_ASSERT(sizeof(answer) - 1 == BS_FIXED, "the fixed answer");
	if (r < 0)
		return r;
	io_uring_register_ring_fd(&b->ring);
	b->buffers = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	b->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	if (b->buffers == MAP_FAILED || b->memory == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uint64_t)(uintptr_t)b->buffers;
	r = io_uring_register_buf_ring(&b->ring, &reg, 0);
	if (r < 0)
		return r;
	io_uring_buf_ring_init(b->buffers);
	for (uint32_t i = 0; i < BS_BUFFERS; i++)
		io_uring_buf_ring_add(b->buffers, b->memory + (size_t)i * BS_BUFFER, BS_BUFFER, (unsigned short)i,
		                      io_uring_buf_ring_mask(BS_BUFFERS), (int)i);
	io_uring_buf_ring_advance(b->buffers, BS_BUFFERS);
	for (uint32_t i = 0; i < BS_FIXED_MAX; i++)
		memcpy(b->fixed + (size_t)i * BS_FIXED, answer, BS_FIXED);
	return 0;
}

static void bs_completions(struct bs *b)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&b->ring, head, cqe)
	{
		uint32_t i = (uint32_t)cqe->user_data;

		n++;
		switch ((enum bs_op)(cqe->user_data >> 32)) {
		case BS_ACCEPT:
			bs_on_accept(b, cqe);
			break;
		case BS_RECV:
			bs_on_receive(b, &b->conn[i], cqe);
			break;
		case BS_SEND:
			bs_on_send(b, &b->conn[i], cqe->res);
			break;
		}
	}
	io_uring_cq_advance(&b->ring, n);
	if (b->returned)
		io_uring_buf_ring_advance(b->buffers, (int)b->returned);
	b->returned = 0;
	for (uint32_t i = 0; i < b->dirty_count; i++) {
		struct bs_conn *c = &b->conn[b->dirty[i]];

		c->dirty = false;
		if (!c->closing && !c->in_flight)
			bs_send(b, c);
		bs_release(b, c);
	}
	b->dirty_count = 0;
}

static int bs_loop(struct bs *b)
{
	uint64_t second_ns = 0, messages = 0, bytes = 0;

	bs_accept(b);
	while (!bs_stop && !(b->set->count && b->ret->messages >= b->set->count)) {
		struct __kernel_timespec wait = {.tv_nsec = 250000000};
		struct io_uring_cqe *cqe;
		int r = io_uring_submit_and_wait_timeout(&b->ring, &cqe, 1, &wait, NULL);

		if (r < 0 && r != -EINTR && r != -ETIME && r != -EBUSY && r != -EAGAIN)
			return r;
		b->now_ns = net_now_ns();
		bs_completions(b);
		if (b->now_ns >= second_ns) {
			if (second_ns && b->set->second)
				b->set->second(b->ret->messages - messages, b->ret->bytes - bytes);
			messages = b->ret->messages;
			bytes = b->ret->bytes;
			second_ns = b->now_ns + 1000000000;
		}
	}
	io_uring_submit(&b->ring); /* the last answers */
	return 0;
}

int bench_server_run(const struct bench_server_settings *set, struct bench_server_results *ret)
{
	struct bs *b = calloc(1, sizeof(*b));
	struct sigaction sa = {.sa_handler = bs_on_signal};
	int r;

	if (!b)
		return -ENOMEM;
	memset(ret, 0, sizeof(*ret));
	b->set = set;
	b->ret = ret;
	b->free_conn = BS_NONE;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	r = bs_open(b);
	if (r == 0)
		r = bs_loop(b);
	if (ret->first_ns)
		ret->cpu_ns = net_cpu_ns(false) - b->cpu_start_ns;
	for (uint32_t i = 0; i < b->conn_room; i++)
		if (b->conn[i].fd >= 0)
			shutdown(b->conn[i].fd, SHUT_WR);
	if (b->ring.ring_fd > 0)
		io_uring_queue_exit(&b->ring);
	for (uint32_t i = 0; i < b->conn_room; i++) {
		if (b->conn[i].fd >= 0)
			close(b->conn[i].fd);
		free(b->conn[i].carry);
		free(b->conn[i].out[0]);
		free(b->conn[i].out[1]);
	}
	free(b->conn);
	free(b->dirty);
	free(b);
	return r; /* the mapped buffers go with the process */
}
