/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send_run.c - the MLLP client of `millrace send`: connections, windows, schedule, answers, time-outs, retries.
 *
 * One thread, epoll. Called once by send.c. Each connection holds a ring of slots, one per message under way, in
 * sending order; an answer is credited to the message whose control ID it carries and to no other. A time-out poisons
 * its connection: it is closed, so that a late answer cannot meet another message.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "mllp.h"
#include "send.h"

#define SEND_RECENT     256
#define SEND_ANSWER_MAX (64u << 20)
#define SEND_IOV        64
#define SEND_LINGER_NS  1000000000ull

enum send_state { SEND_CLOSED, SEND_CONNECTING, SEND_UP, SEND_DEAD };

struct send_slot {
	uint64_t item;
	uint64_t sent_ns;
	uint32_t tries;
	bool done;
};

struct send_conn {
	int fd;
	uint8_t state; /* enum send_state */
	bool in_free;  /* stands in the queue of connections with room */
	bool dirty;    /* has something to write */
	bool blocked;  /* waits for EPOLLOUT */
	bool fruitful; /* got an answer since it was opened */
	struct send_slot *slot;
	uint32_t head, next, tail; /* counters, not indexes: done.., written.., taken */
	uint32_t written;          /* bytes of slot `next` */
	uint64_t wrote_ns;         /* when the kernel last took something */
	uint32_t failures;         /* connections in a row that did not come about or bore nothing */
	uint64_t since_ns;         /* CONNECTING: when it began; CLOSED: when to try again */
	char *in;
	uint32_t in_bytes, in_room, scanned;
	uint64_t recent[SEND_RECENT]; /* items finished lately, their number + 1; bit 63: no answer was expected */
	uint32_t recent_next;
};

struct sender {
	const struct send_settings *set;
	const struct send_msgs *msgs;
	struct send_results *ret;
	struct send_conn *conn;
	uint32_t conns, dead;
	uint32_t *free, free_first, free_count; /* ring of connection numbers with room */
	uint32_t *dirty, dirty_count;
	uint64_t total, next_item, finished;
	uint64_t start_ns, now_ns;
	int epoll;
	bool closing;
};

static volatile sig_atomic_t send_interrupted;

static void send_on_signal(int number)
{
	send_interrupted = 1;
}

static const struct send_msg *send_item(const struct sender *s, uint64_t item)
{
	return &s->msgs->msg[item % s->msgs->count];
}

static struct send_slot *send_slot(const struct sender *s, struct send_conn *c, uint32_t n)
{
	return &c->slot[n % s->set->window];
}

static void send_watch(struct sender *s, struct send_conn *c, int op, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.u32 = (uint32_t)(c - s->conn)};

	epoll_ctl(s->epoll, op, c->fd, &e);
}

static void send_offer(struct sender *s, struct send_conn *c)
{
	if (c->in_free || c->state != SEND_UP || c->tail - c->head >= s->set->window)
		return;
	c->in_free = true;
	s->free[(s->free_first + s->free_count++) % s->conns] = (uint32_t)(c - s->conn);
}

static void send_mark(struct sender *s, struct send_conn *c)
{
	if (c->dirty || c->blocked)
		return;
	c->dirty = true;
	s->dirty[s->dirty_count++] = (uint32_t)(c - s->conn);
}

static void send_remember(struct send_conn *c, uint64_t item, bool unasked)
{
	c->recent[c->recent_next++ % SEND_RECENT] = (item + 1) | (unasked ? 1ull << 63 : 0);
}

/* Messages at the front that are finished make room. */
static void send_advance(struct sender *s, struct send_conn *c)
{
	while (c->head != c->next && send_slot(s, c, c->head)->done)
		c->head++;
	send_offer(s, c);
}

/* The connection is gone: what may be tried again stays in its ring, in order, the rest is counted. */
static void send_requeue(struct sender *s, struct send_conn *c)
{
	uint32_t to = c->head;

	for (uint32_t n = c->head; n != c->tail; n++) {
		struct send_slot slot = *send_slot(s, c, n);
		bool tried = n - c->head < c->next - c->head || (n == c->next && c->written);

		if (slot.done)
			continue;
		if (tried && slot.tries++ >= s->set->retries) {
			s->ret->lost++;
			s->finished++;
			continue;
		}
		slot.sent_ns = 0;
		s->ret->resent += tried;
		*send_slot(s, c, to++) = slot;
	}
	c->tail = to;
	c->next = c->head;
	c->written = 0;
}

static void send_give_up(struct sender *s, struct send_conn *c)
{
	c->state = SEND_DEAD;
	s->dead++;
	s->ret->not_sent += c->tail - c->head;
	s->finished += c->tail - c->head;
	c->head = c->next = c->tail;
}

static void send_close(struct sender *s, struct send_conn *c)
{
	uint64_t wait_ns = 100000000ull << (c->failures < 6 ? c->failures : 6);

	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->in_bytes = c->scanned = 0;
	c->blocked = false;
	c->failures = c->fruitful ? 0 : c->failures + 1;
	c->since_ns = s->now_ns + (c->fruitful ? 0 : wait_ns > 5000000000ull ? 5000000000ull : wait_ns);
	c->state = SEND_CLOSED;
}

static void send_broken(struct sender *s, struct send_conn *c, int error)
{
	if (c->state == SEND_CONNECTING) {
		s->ret->connect_errors++;
		s->ret->last_error = error;
		send_close(s, c);
		if (c->failures > s->set->retries)
			send_give_up(s, c);
		return;
	}
	s->ret->breaks += c->tail != c->head;
	send_requeue(s, c);
	send_close(s, c);
}

static void send_open(struct sender *s, struct send_conn *c)
{
	c->fruitful = false;
	c->since_ns = s->now_ns;
	c->state = SEND_CONNECTING;
	c->fd = net_connect(&s->set->target, NULL);
	if (c->fd < 0) {
		int error = -c->fd;

		c->fd = -1;
		send_broken(s, c, error);
		return;
	}
	send_watch(s, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void send_connected(struct sender *s, struct send_conn *c)
{
	socklen_t n = sizeof(int);
	int error = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
	if (error) {
		send_broken(s, c, error);
		return;
	}
	c->state = SEND_UP;
	c->wrote_ns = s->now_ns;
	s->ret->connects++;
	send_watch(s, c, EPOLL_CTL_MOD, EPOLLIN);
	send_offer(s, c);
	if (c->next != c->tail)
		send_mark(s, c);
}

/* Slot `next` is written completely. */
static void send_written(struct sender *s, struct send_conn *c)
{
	struct send_slot *slot = send_slot(s, c, c->next);
	const struct send_msg *m = send_item(s, slot->item);

	slot->sent_ns = s->now_ns;
	c->written = 0;
	c->next++;
	if (!slot->tries) {
		s->ret->sent++;
		s->ret->bytes += m->frame_bytes - MLLP_OVERHEAD;
	}
	if (m->expect == SEND_EXPECT_NONE) {
		slot->done = true;
		s->ret->unasked++;
		s->finished++;
		send_remember(c, slot->item, true);
	}
}

static void send_flush(struct sender *s, struct send_conn *c)
{
	while (c->state == SEND_UP && c->next != c->tail) {
		struct iovec iov[SEND_IOV];
		struct msghdr h = {.msg_iov = iov};
		ssize_t n;

		for (uint32_t i = c->next; i != c->tail && h.msg_iovlen < SEND_IOV; i++) {
			const struct send_msg *m = send_item(s, send_slot(s, c, i)->item);
			uint32_t skip = i == c->next ? c->written : 0;

			iov[h.msg_iovlen++] = (struct iovec){m->bytes + skip, m->frame_bytes - skip};
		}
		n = sendmsg(c->fd, &h, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			c->blocked = true;
			send_watch(s, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			break;
		}
		if (n < 0) {
			send_broken(s, c, errno);
			return;
		}
		c->wrote_ns = s->now_ns;
		while (n > 0) {
			uint32_t left = send_item(s, send_slot(s, c, c->next)->item)->frame_bytes - c->written;

			if ((uint64_t)n < left) {
				c->written += (uint32_t)n;
				break;
			}
			n -= left;
			send_written(s, c);
		}
	}
	if (c->state == SEND_UP)
		send_advance(s, c);
}

static int send_code(const char *code)
{
	for (int i = 0; i < SEND_OTHER; i++)
		if (strcmp(code, send_code_names[i]) == 0)
			return i;
	return SEND_OTHER;
}

static bool send_id_is(const struct sender *s, uint64_t item, const char *id, uint32_t id_bytes)
{
	const struct send_msg *m = send_item(s, item);

	return m->id_bytes == id_bytes && memcmp(m->id, id, id_bytes) == 0;
}

/* An answer that no waiting message has: a second one, one that was not asked for, or a stranger. */
static void send_answer_late(struct sender *s, struct send_conn *c, int code, const char *id, uint32_t id_bytes)
{
	for (int i = 0; i < SEND_RECENT; i++) {
		uint64_t item = c->recent[i] & ~(1ull << 63);

		if (!item || !send_id_is(s, item - 1, id, id_bytes))
			continue;
		s->ret->codes[code]++;
		if ((c->recent[i] >> 63) && code != SEND_AA && code != SEND_CA) {
			s->ret->unasked--; /* it asked for bad news only, and this is bad news */
			s->ret->refused++;
		}
		c->recent[i] &= ~(1ull << 63);
		return;
	}
	s->ret->unknown++;
}

static void send_answer(struct sender *s, struct send_conn *c, const char *data, uint32_t bytes)
{
	struct hl7_msh msh;
	struct hl7_msa msa;
	const char *id;
	int code;

	if (s->set->print_acks) {
		for (uint32_t i = 0; i < bytes; i++)
			putchar(data[i] == '\r' ? '\n' : data[i]);
		putchar('\n');
	}
	if (mllp_commit_kind(data, bytes) != MLLP_COMMIT_NONE) {
		s->ret->commits++;
		return;
	}
	if (hl7_msa_read(data, bytes, &msh, &msa, NULL) < 0) {
		s->ret->unreadable++;
		return;
	}
	c->fruitful = true;
	code = send_code(msa.code);
	id = data + msa.control_id.offset;
	for (uint32_t n = c->head; n != c->next; n++) {
		struct send_slot *slot = send_slot(s, c, n);

		if (slot->done || !send_id_is(s, slot->item, id, msa.control_id.bytes))
			continue;
		slot->done = true;
		s->finished++;
		s->ret->codes[code]++;
		if (code == SEND_AA || code == SEND_CA)
			s->ret->accepted++;
		else
			s->ret->refused++;
		hist_add(&s->ret->latency, s->now_ns - slot->sent_ns);
		send_remember(c, slot->item, false);
		return;
	}
	send_answer_late(s, c, code, id, msa.control_id.bytes);
}

/* Takes all whole frames off the connection's buffer. */
static void send_frames(struct sender *s, struct send_conn *c)
{
	uint32_t at = 0;
	struct mllp_result f;

	while (at < c->in_bytes) {
		mllp_next(c->in + at, c->in_bytes - at, c->scanned, &f);
		c->scanned = 0;
		if (f.status == MLLP_MORE) {
			c->scanned = f.scanned;
			break;
		}
		if (f.status == MLLP_FRAME)
			send_answer(s, c, c->in + at + f.frame_offset, f.frame_bytes);
		at += f.consumed;
	}
	memmove(c->in, c->in + at, c->in_bytes - at);
	c->in_bytes -= at;
	send_advance(s, c);
}

static void send_receive(struct sender *s, struct send_conn *c)
{
	for (;;) {
		ssize_t n;

		if (c->in_room - c->in_bytes < 4096) {
			uint32_t room = c->in_room ? 2 * c->in_room : 16384;
			char *p = room <= SEND_ANSWER_MAX ? realloc(c->in, room) : NULL;

			if (!p) {
				send_broken(s, c, EMSGSIZE);
				return;
			}
			c->in = p;
			c->in_room = room;
		}
		n = recv(c->fd, c->in + c->in_bytes, c->in_room - c->in_bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			send_broken(s, c, n < 0 ? errno : ECONNRESET);
			return;
		}
		c->in_bytes += (uint32_t)n;
		send_frames(s, c);
		if (c->in_room - c->in_bytes > 4096 && (uint32_t)n < 4096)
			return; /* most likely all there was; epoll says if not */
	}
}

/* Gives messages that are due to connections that have room. Returns ns until the next one is due, or -1. */
static int64_t send_hand_out(struct sender *s)
{
	while (s->free_count && s->next_item < s->total && !s->closing) {
		struct send_conn *c = &s->conn[s->free[s->free_first % s->conns]];
		struct send_slot *slot;

		if (s->set->rate > 0) {
			uint64_t due = s->start_ns + (uint64_t)((double)s->next_item / s->set->rate * 1e9);

			if (due > s->now_ns)
				return (int64_t)(due - s->now_ns);
			s->ret->late += s->now_ns - due > 50000000; /* it had to wait for a window */
		}
		s->free_first = (s->free_first + 1) % s->conns;
		s->free_count--;
		c->in_free = false;
		if (c->state != SEND_UP)
			continue;
		slot = send_slot(s, c, c->tail++);
		*slot = (struct send_slot){.item = s->next_item++};
		send_mark(s, c);
		send_offer(s, c);
	}
	return -1;
}

/* Time-outs and connections to be opened. Looks at all connections: called some ten times a second. */
static void send_tick(struct sender *s)
{
	for (uint32_t i = 0; i < s->conns; i++) {
		struct send_conn *c = &s->conn[i];
		struct send_slot *slot = c->head != c->next ? send_slot(s, c, c->head) : NULL;

		if (c->state == SEND_CONNECTING && s->now_ns - c->since_ns > s->set->timeout_ns) {
			send_broken(s, c, ETIMEDOUT);
		} else if (c->state == SEND_UP && ((slot && s->now_ns - slot->sent_ns > s->set->timeout_ns) ||
		                                   (c->blocked && s->now_ns - c->wrote_ns > s->set->timeout_ns))) {
			s->ret->timeouts++;
			send_broken(s, c, ETIMEDOUT);
		}
		if (c->state == SEND_CLOSED && s->now_ns >= c->since_ns && !s->closing &&
		    (c->head != c->tail || s->next_item < s->total))
			send_open(s, c);
	}
}

static void send_progress(struct sender *s)
{
	char a[32], b[32];

	fprintf(stderr, "\r%s of %s finished, %.0f/s ", cli_format_count(a, sizeof(a), s->finished),
	        cli_format_count(b, sizeof(b), s->total),
	        (double)s->finished * 1e9 / (double)(s->now_ns - s->start_ns + 1));
}

static void send_events(struct sender *s, int64_t wait_ns)
{
	struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
	struct epoll_event e[256];
	int n = epoll_pwait2(s->epoll, e, 256, &wait, NULL);

	s->now_ns = net_now_ns();
	for (int i = 0; i < n; i++) {
		struct send_conn *c = &s->conn[e[i].data.u32];

		if (c->state == SEND_CONNECTING) {
			send_connected(s, c);
			continue;
		}
		if (c->state == SEND_UP && (e[i].events & EPOLLOUT) && c->blocked) {
			c->blocked = false;
			send_watch(s, c, EPOLL_CTL_MOD, EPOLLIN);
			send_mark(s, c);
		}
		if (c->state == SEND_UP && (e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			send_receive(s, c);
	}
}

static void send_loop(struct sender *s)
{
	uint64_t tick_ns = 0, progress_ns = 0;

	while (s->finished < s->total && s->dead < s->conns && !send_interrupted) {
		int64_t wait_ns;

		if (s->now_ns >= tick_ns) {
			send_tick(s);
			tick_ns =
			    s->now_ns + (s->set->timeout_ns < 1000000000 ? s->set->timeout_ns / 20 + 1 : 50000000);
		}
		if (s->set->progress && s->now_ns >= progress_ns) {
			send_progress(s);
			progress_ns = s->now_ns + 250000000;
		}
		wait_ns = send_hand_out(s);
		for (uint32_t i = 0; i < s->dirty_count; i++) {
			struct send_conn *c = &s->conn[s->dirty[i]];

			c->dirty = false;
			send_flush(s, c);
		}
		s->dirty_count = 0;
		if (s->free_count && s->next_item < s->total && s->set->rate <= 0)
			wait_ns = 0; /* messages that want no answer made room while being written */
		if (wait_ns < 0 || wait_ns > (int64_t)(tick_ns - s->now_ns))
			wait_ns = tick_ns > s->now_ns ? (int64_t)(tick_ns - s->now_ns) : 0;
		send_events(s, wait_ns);
	}
	if (s->set->progress)
		fprintf(stderr, "\r%60s\r", "");
}

/* Says goodbye and reads until the other end does so too: closing at once could throw away what it has not read yet. */
static void send_goodbye(struct sender *s)
{
	uint64_t end = s->now_ns + SEND_LINGER_NS;
	uint32_t open = 0;

	s->closing = true;
	for (uint32_t i = 0; i < s->conns; i++)
		if (s->conn[i].state == SEND_UP) {
			shutdown(s->conn[i].fd, SHUT_WR);
			open++;
		}
	while (open && s->now_ns < end && !send_interrupted) {
		send_events(s, 20000000);
		open = 0;
		for (uint32_t i = 0; i < s->conns; i++)
			open += s->conn[i].state == SEND_UP;
	}
}

static void send_free(struct sender *s)
{
	for (uint32_t i = 0; s->conn && i < s->conns; i++) {
		if (s->conn[i].fd >= 0)
			close(s->conn[i].fd);
		free(s->conn[i].slot);
		free(s->conn[i].in);
	}
	free(s->conn);
	free(s->free);
	free(s->dirty);
	if (s->epoll >= 0)
		close(s->epoll);
}

int send_run(const struct send_settings *set, const struct send_msgs *msgs, struct send_results *ret)
{
	struct sender s = {.set = set, .msgs = msgs, .ret = ret, .total = msgs->count * set->repeat};
	struct sigaction sa = {.sa_handler = send_on_signal, .sa_flags = SA_RESETHAND};
	int r = 0;

	s.conns = (uint32_t)(set->connections < s.total ? set->connections : s.total);
	if (net_raise_nofile() < s.conns + 16u)
		return -EMFILE;
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s.epoll < 0)
		return -errno;
	s.conn = calloc(s.conns, sizeof(*s.conn));
	s.free = calloc(s.conns, sizeof(*s.free));
	s.dirty = calloc(s.conns, sizeof(*s.dirty));
	if (!s.conn || !s.free || !s.dirty)
		r = -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < s.conns; i++) {
		s.conn[i].fd = -1;
		s.conn[i].slot = calloc(set->window, sizeof(struct send_slot));
		if (!s.conn[i].slot)
			r = -ENOMEM;
	}
	if (r == 0) {
		sigaction(SIGINT, &sa, NULL);
		sigaction(SIGTERM, &sa, NULL);
		s.start_ns = s.now_ns = net_now_ns();
		send_loop(&s);
		ret->elapsed_ns = s.now_ns - s.start_ns;
		send_goodbye(&s);
		for (uint32_t i = 0; i < s.conns; i++) /* interrupted: what was on its way */
			for (uint32_t n = s.conn[i].head; n != s.conn[i].tail; n++)
				if (!send_slot(&s, &s.conn[i], n)->done) {
					ret->lost += n - s.conn[i].head < s.conn[i].next - s.conn[i].head;
					ret->not_sent += n - s.conn[i].head >= s.conn[i].next - s.conn[i].head;
				}
		ret->not_sent += s.total - s.next_item;
	}
	send_free(&s);
	return r;
}
