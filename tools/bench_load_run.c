/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_load_run.c - the load generator of `bench load`: schedule, sending, answers, latencies.
 *
 * One io_uring and one share of the connections per thread (bench_load_start.c sets them up), nothing shared while it
 * runs. In the open loop each connection has arrivals of its own (their sum is the rate asked for); a message that is
 * due while its connection's window is full waits, and its latency counts from the time it was due. It must never slow
 * the schedule down because answers are late: that is the whole point.
 */
#include "bench_load_run.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "hl7.h"
#include "mllp.h"

/* ---- schedule ---- */

static uint64_t lr_gap(const struct lr_thread *t, struct lr_conn *c)
{
	return (uint64_t)(t->set->fixed ? t->period_ns : -log(lr_random(c)) * t->period_ns);
}

static void lr_heap_push(struct lr_thread *t, struct lr_conn *c)
{
	uint32_t i = t->heap_count++, up;

	c->in_heap = true;
	for (; i > 0 && t->conn[t->heap[up = (i - 1) / 2]].due_ns > c->due_ns; i = up)
		t->heap[i] = t->heap[up];
	t->heap[i] = (uint32_t)(c - t->conn);
}

static struct lr_conn *lr_heap_pop(struct lr_thread *t)
{
	struct lr_conn *first = &t->conn[t->heap[0]];
	uint32_t last = t->heap[--t->heap_count], i = 0, down;

	while ((down = 2 * i + 1) < t->heap_count) {
		if (down + 1 < t->heap_count && t->conn[t->heap[down + 1]].due_ns < t->conn[t->heap[down]].due_ns)
			down++;
		if (t->conn[t->heap[down]].due_ns >= t->conn[last].due_ns)
			break;
		t->heap[i] = t->heap[down];
		i = down;
	}
	t->heap[i] = last;
	first->in_heap = false;
	return first;
}

static void lr_mark(struct lr_thread *t, struct lr_conn *c)
{
	if (c->dirty || c->sending || c->fd < 0)
		return;
	c->dirty = true;
	t->dirty[t->dirty_count++] = (uint32_t)(c - t->conn);
}

static void lr_take(struct lr_thread *t, struct lr_conn *c, uint64_t due_ns)
{
	c->slot[c->tail++ % t->set->window] = (struct lr_slot){due_ns, t->next_number++, false};
	t->under_way++;
	lr_mark(t, c);
}

/* Fills the window (closed loop), or takes what is due and waits for the next (open loop). */
static void lr_fill(struct lr_thread *t, struct lr_conn *c)
{
	if (c->fd < 0 || t->now_ns >= t->to_ns || c->in_heap)
		return;
	while (c->tail - c->head < t->set->window) {
		if (t->set->rate <= 0) {
			lr_take(t, c, t->now_ns);
			continue;
		}
		if (c->due_ns > t->now_ns) {
			lr_heap_push(t, c);
			return;
		}
		lr_take(t, c, c->due_ns);
		c->due_ns += lr_gap(t, c);
	}
}

/* ---- sending ---- */

static struct io_uring_sqe *lr_sqe(struct lr_thread *t)
{
	struct io_uring_sqe *s;

	while (!(s = io_uring_get_sqe(&t->ring)))
		io_uring_submit(&t->ring);
	return s;
}

static void lr_write_id(const struct lr_thread *t, uint64_t number, char *at)
{
	memcpy(at, t->set->run_id, 6);
	number += (uint64_t)t->index * 10000000000ull;
	for (int i = LOAD_ID_BYTES - 1; i >= 6; i--, number /= 10)
		at[i] = (char)('0' + number % 10);
}

static void lr_submit(struct lr_thread *t, struct lr_conn *c)
{
	struct io_uring_sqe *s = lr_sqe(t);

	if (c->header.msg_iovlen)
		io_uring_prep_sendmsg(s, c->fd, &c->header, MSG_WAITALL | MSG_NOSIGNAL);
	else
		io_uring_prep_send(s, c->fd, c->out + c->out_sent, c->out_bytes - c->out_sent,
		                   MSG_WAITALL | MSG_NOSIGNAL);
	s->user_data = (uint64_t)LR_SEND << 32 | (uint32_t)(c - t->conn);
	c->sending = true;
}

/* One send of as many waiting messages as fit. */
static void lr_send(struct lr_thread *t, struct lr_conn *c)
{
	c->out_bytes = c->out_sent = 0;
	c->header.msg_iovlen = 0;
	while (c->next != c->tail && !c->header.msg_iovlen) {
		struct lr_slot *slot = &c->slot[c->next % t->set->window];
		const struct load_message *m = &t->set->message[slot->number % t->set->message_count];
		uint32_t frame_bytes = m->head_bytes + m->tail_bytes;
		bool copy = frame_bytes <= LR_COPY_MAX;

		if (c->out_bytes && (!copy || c->out_bytes + frame_bytes > t->out_room))
			break;
		memcpy(c->out + c->out_bytes, m->head, m->head_bytes);
		lr_write_id(t, slot->number, c->out + c->out_bytes + m->head_bytes - LOAD_ID_BYTES);
		c->out_bytes += m->head_bytes;
		if (copy) {
			memcpy(c->out + c->out_bytes, m->tail, m->tail_bytes);
			c->out_bytes += m->tail_bytes;
		} else {
			c->gather[0] = (struct iovec){c->out, c->out_bytes};
			c->gather[1] = (struct iovec){m->tail, m->tail_bytes};
			c->header = (struct msghdr){.msg_iov = c->gather, .msg_iovlen = 2};
		}
		slot->counted = t->now_ns >= t->from_ns && t->now_ns < t->to_ns;
		if (slot->counted) {
			t->ret.sent++;
			t->ret.sent_bytes += frame_bytes - MLLP_OVERHEAD;
		}
		t->ret.total_sent++;
		c->next++;
	}
	if (c->out_bytes)
		lr_submit(t, c);
}

static void lr_lose(struct lr_thread *t, struct lr_conn *c, int error)
{
	if (c->fd < 0)
		return;
	for (uint32_t n = c->head; n != c->tail; n++) {
		t->under_way--;
		if (n - c->head < c->next - c->head)
			t->ret.unanswered += c->slot[n % t->set->window].counted;
		else
			t->ret.behind++;
	}
	c->head = c->next = c->tail;
	shutdown(c->fd, SHUT_RDWR); /* what the ring still holds of it ends with an error */
	close(c->fd);
	c->fd = -1;
	t->open--;
	t->ret.connections_lost++;
	t->ret.last_error = error;
}

static void lr_on_send(struct lr_thread *t, struct lr_conn *c, int result)
{
	c->sending = false;
	if (c->fd < 0)
		return;
	if (result <= 0) {
		lr_lose(t, c, result ? -result : EPIPE);
		return;
	}
	if (c->header.msg_iovlen) {
		for (uint32_t left = (uint32_t)result, i = 0; i < 2; i++) {
			uint32_t n = left < c->gather[i].iov_len ? left : (uint32_t)c->gather[i].iov_len;

			c->gather[i].iov_base = (char *)c->gather[i].iov_base + n;
			c->gather[i].iov_len -= n;
			left -= n;
		}
		if (c->gather[0].iov_len + c->gather[1].iov_len) {
			lr_submit(t, c);
			return;
		}
	} else {
		c->out_sent += (uint32_t)result;
		if (c->out_sent < c->out_bytes) {
			lr_submit(t, c);
			return;
		}
	}
	if (c->next != c->tail)
		lr_mark(t, c);
}

/* ---- answers ---- */

static int lr_code(const char *code)
{
	for (int i = 0; i < LOAD_OTHER; i++)
		if (code[0] == load_code_names[i][0] && code[1] == load_code_names[i][1])
			return i;
	return LOAD_OTHER;
}

/* Code and control ID of an answer; the usual layout without reading it all. Returns the code or -1. */
static int lr_read(const char *data, uint32_t bytes, const char **ret_id, uint32_t *ret_id_bytes)
{
	const char *msa = memchr(data, '\r', bytes), *end = data + bytes, *stop;
	struct hl7_msh h;
	struct hl7_msa a;

	if (msa && end - msa > 8 && msa[1] == 'M' && msa[2] == 'S' && msa[3] == 'A' && msa[4] == data[3] &&
	    msa[7] == data[3]) {
		for (stop = msa + 8; stop < end && *stop != data[3] && *stop != '\r'; stop++)
			;
		*ret_id = msa + 8;
		*ret_id_bytes = (uint32_t)(stop - msa - 8);
		return lr_code(msa + 5);
	}
	if (hl7_msa_read(data, bytes, &h, &a, NULL) < 0)
		return -1;
	*ret_id = data + a.control_id.offset;
	*ret_id_bytes = a.control_id.bytes;
	return lr_code(a.code);
}

static void lr_answer(struct lr_thread *t, struct lr_conn *c, const char *data, uint32_t bytes)
{
	const struct lr_slot *slot = &c->slot[c->head % t->set->window];
	char want[LOAD_ID_BYTES];
	uint32_t id_bytes = 0;
	const char *id = NULL;
	int code;

	if (c->head == c->next) {
		t->ret.strays++;
		return;
	}
	if (t->set->check) {
		code = lr_read(data, bytes, &id, &id_bytes);
		if (code < 0) {
			t->ret.unreadable++;
		} else {
			lr_write_id(t, slot->number, want);
			t->ret.wrong_id += id_bytes != LOAD_ID_BYTES || memcmp(id, want, LOAD_ID_BYTES) != 0;
			if (slot->counted)
				t->ret.codes[code]++;
		}
	}
	if (slot->counted) {
		t->ret.answered++;
		hist_add(&t->ret.latency, t->now_ns > slot->due_ns ? t->now_ns - slot->due_ns : 0);
	}
	if (t->now_ns >= t->from_ns && t->now_ns < t->to_ns) {
		uint64_t second = (t->now_ns - t->from_ns) / 1000000000;

		t->ret.answered_in_time++;
		t->ret.per_second[second < LOAD_SECONDS_MAX ? second : LOAD_SECONDS_MAX - 1]++;
	}
	c->head++;
	t->under_way--;
}

static uint32_t lr_frames(struct lr_thread *t, struct lr_conn *c, const char *data, uint32_t bytes)
{
	struct mllp_result f;
	uint32_t at = 0;

	while (at < bytes) {
		mllp_next(data + at, bytes - at, c->scanned, &f);
		c->scanned = 0;
		if (f.status == MLLP_MORE) {
			c->scanned = f.scanned;
			break;
		}
		if (f.status == MLLP_FRAME)
			lr_answer(t, c, data + at + f.frame_offset, f.frame_bytes);
		else
			t->ret.junk_bytes += f.consumed;
		at += f.consumed;
	}
	return at;
}

static void lr_data(struct lr_thread *t, struct lr_conn *c, const char *data, uint32_t bytes)
{
	uint32_t used;

	while (c->carry_bytes && bytes) {
		uint32_t had = c->carry_bytes,
		         n = sizeof(c->carry) - had < bytes ? (uint32_t)sizeof(c->carry) - had : bytes;

		memcpy(c->carry + had, data, n);
		c->carry_bytes += n;
		used = lr_frames(t, c, c->carry, c->carry_bytes);
		memmove(c->carry, c->carry + used, c->carry_bytes - used);
		c->carry_bytes -= used;
		data += n;
		bytes -= n;
		if (c->carry_bytes == sizeof(c->carry)) {
			t->ret.unreadable++;
			lr_lose(t, c, EMSGSIZE); /* an acknowledgement of more than 4 KiB */
			return;
		}
	}
	used = lr_frames(t, c, data, bytes);
	memcpy(c->carry, data + used, bytes - used);
	c->carry_bytes = bytes - used;
}

static void lr_arm(struct lr_thread *t, struct lr_conn *c)
{
	struct io_uring_sqe *s = lr_sqe(t);

	io_uring_prep_recv_multishot(s, c->fd, NULL, 0, 0);
	s->flags |= IOSQE_BUFFER_SELECT;
	s->buf_group = 1;
	s->user_data = (uint64_t)LR_RECV << 32 | (uint32_t)(c - t->conn);
	c->receiving = true;
}

static void lr_on_receive(struct lr_thread *t, struct lr_conn *c, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		c->receiving = false;
	if (cqe->res > 0) {
		uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		if (c->fd >= 0) {
			lr_data(t, c, t->memory + (size_t)id * LR_BUFFER, (uint32_t)cqe->res);
			lr_fill(t, c);
		}
		io_uring_buf_ring_add(t->buffers, t->memory + (size_t)id * LR_BUFFER, LR_BUFFER, (unsigned short)id,
		                      io_uring_buf_ring_mask(LR_BUFFERS), (int)t->returned++);
	} else if (cqe->res != -ENOBUFS) {
		lr_lose(t, c, cqe->res ? -cqe->res : ECONNRESET);
	}
	if (!c->receiving && c->fd >= 0)
		lr_arm(t, c);
}

/* ---- one thread ---- */

static void lr_completions(struct lr_thread *t)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&t->ring, head, cqe)
	{
		struct lr_conn *c = &t->conn[(uint32_t)cqe->user_data];

		n++;
		if (cqe->user_data >> 32 == LR_RECV)
			lr_on_receive(t, c, cqe);
		else
			lr_on_send(t, c, cqe->res);
	}
	io_uring_cq_advance(&t->ring, n);
	if (t->returned)
		io_uring_buf_ring_advance(t->buffers, (int)t->returned);
	t->returned = 0;
}

static int lr_wait(struct lr_thread *t, uint64_t end_ns)
{
	uint64_t until = end_ns;
	struct io_uring_cqe *cqe;
	int r;

	if (t->heap_count && t->conn[t->heap[0]].due_ns < until)
		until = t->conn[t->heap[0]].due_ns;
	if (until < t->now_ns + LR_SPIN_NS) {
		r = io_uring_submit_and_get_events(&t->ring);
	} else {
		struct __kernel_timespec wait = {.tv_sec = (int64_t)((until - t->now_ns - LR_SPIN_NS / 2) / 1000000000),
		                                 .tv_nsec =
		                                     (int64_t)((until - t->now_ns - LR_SPIN_NS / 2) % 1000000000)};

		r = io_uring_submit_and_wait_timeout(&t->ring, &cqe, 1, &wait, NULL);
	}
	return r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN && r != -EBUSY ? r : 0;
}

static void lr_loop(struct lr_thread *t)
{
	uint64_t end_ns = t->to_ns + t->set->timeout_ns;
	bool measuring = false, over = false;

	while (t->open && t->now_ns < end_ns && !(over && !t->under_way)) {
		while (t->heap_count && t->conn[t->heap[0]].due_ns <= t->now_ns && t->now_ns < t->to_ns)
			lr_fill(t, lr_heap_pop(t));
		for (uint32_t i = 0; i < t->dirty_count; i++) {
			struct lr_conn *c = &t->conn[t->dirty[i]];

			c->dirty = false;
			if (c->fd >= 0 && !c->sending && !over)
				lr_send(t, c);
		}
		t->dirty_count = 0;
		t->error = lr_wait(t, over ? end_ns : measuring ? t->to_ns : t->from_ns);
		if (t->error)
			return;
		t->now_ns = net_now_ns();
		if (!measuring && t->now_ns >= t->from_ns) {
			measuring = true;
			t->cpu_from_ns = net_cpu_ns(true);
		}
		if (!over && t->now_ns >= t->to_ns) {
			over = true;
			t->heap_count = 0;
			t->ret.cpu_ns = net_cpu_ns(true) - t->cpu_from_ns;
			for (uint32_t i = 0; i < t->conns; i++) { /* taken, but not given to the kernel */
				struct lr_conn *c = &t->conn[i];

				t->ret.behind += c->tail - c->next;
				t->under_way -= c->tail - c->next;
				c->tail = c->next;
			}
		}
		lr_completions(t);
	}
}

/* What was due before the end and found no room in its window. */
static void lr_count_behind(struct lr_thread *t)
{
	for (uint32_t i = 0; i < t->conns; i++) {
		struct lr_conn *c = &t->conn[i];

		for (uint32_t n = c->head; n != c->next && c->fd >= 0; n++)
			t->ret.unanswered += c->slot[n % t->set->window].counted;
		for (; t->set->rate > 0 && c->due_ns < t->to_ns; c->due_ns += lr_gap(t, c) + 1)
			t->ret.behind++;
	}
}

static void lr_start(struct lr_thread *t)
{
	t->now_ns = t->start_ns = net_now_ns();
	t->from_ns = t->start_ns + t->set->warmup_ns;
	t->to_ns = t->from_ns + t->set->duration_ns;
	if (t->set->rate > 0)
		t->period_ns = 1e9 * (double)t->set->connections / t->set->rate;
	for (uint32_t i = 0; i < t->conns; i++) {
		struct lr_conn *c = &t->conn[i];

		c->due_ns = t->start_ns;
		if (t->set->fixed)
			c->due_ns += (uint64_t)(t->period_ns * (double)(t->first + i) / (double)t->set->connections);
		else if (t->set->rate > 0)
			c->due_ns += lr_gap(t, c);
		lr_arm(t, c);
		lr_fill(t, c);
	}
}

void lr_run(struct lr_thread *t)
{
	lr_start(t);
	lr_loop(t);
	lr_count_behind(t);
	t->ret.measured_ns = t->set->duration_ns;
}
