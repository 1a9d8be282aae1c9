/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sink.c - `millrace sink`: a receiver for tests, that answers as told and can misbehave in the usual ways.
 *
 * One thread, epoll. Its faults are deliberate; everything else about it must be right, since other people's senders
 * are judged by it. Prints addresses, counters and, with --verbose, IDs, types and sizes; message bodies go to --out
 * only.
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mllp.h"

#define SINK_LISTENER UINT32_MAX
#define SINK_OUT_MAX  (1u << 20) /* unread answers of one connection; then nothing more is read from it */

static volatile sig_atomic_t sink_stop, sink_show;

static void sink_on_signal(int number)
{
	if (number == SIGUSR1)
		sink_show = 1;
	else
		sink_stop = 1;
}

static void sink_watch(struct sink *s, struct sink_conn *c, int op)
{
	struct epoll_event e = {.data.u32 = (uint32_t)(c - s->conn)};

	e.events = (c->out_bytes < SINK_OUT_MAX ? (uint32_t)EPOLLIN : 0) | (c->out_bytes ? (uint32_t)EPOLLOUT : 0);
	if (op == EPOLL_CTL_MOD && e.events == c->events)
		return;
	c->events = e.events;
	epoll_ctl(s->epoll, op, c->fd, &e);
}

static void sink_close(struct sink *s, struct sink_conn *c)
{
	close(c->fd);
	free(c->in);
	free(c->out);
	*c = (struct sink_conn){.fd = -1, .generation = c->generation + 1, .next_free = s->free_conn};
	s->free_conn = (uint32_t)(c - s->conn);
	s->count.open--;
}

static bool sink_grow(char **buffer, uint32_t *room, uint64_t want)
{
	uint64_t to = *room ? *room : 16384;
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

static void sink_write(struct sink *s, struct sink_conn *c)
{
	uint32_t at = 0;

	while (at < c->out_bytes) {
		ssize_t n = send(c->fd, c->out + at, c->out_bytes - at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			sink_close(s, c);
			return;
		}
		if (n < 0)
			break;
		at += (uint32_t)n;
	}
	memmove(c->out, c->out + at, c->out_bytes - at);
	c->out_bytes -= at;
	sink_watch(s, c, EPOLL_CTL_MOD);
}

/* Puts an answer, framed, behind what still waits to be written. */
static void sink_reply(struct sink *s, struct sink_conn *c, const char *data, uint32_t bytes)
{
	if (!sink_grow(&c->out, &c->out_room, (uint64_t)c->out_bytes + bytes + MLLP_OVERHEAD)) {
		sink_close(s, c);
		return;
	}
	c->out[c->out_bytes++] = MLLP_SB;
	memcpy(c->out + c->out_bytes, data, bytes);
	c->out_bytes += bytes;
	c->out[c->out_bytes++] = MLLP_EB;
	c->out[c->out_bytes++] = MLLP_CR;
}

/* ---- answers that wait: a binary heap by time, then by the order in which they were made ---- */

static bool sink_before(const struct sink_later *a, const struct sink_later *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static int sink_later_push(struct sink *s, const struct sink_later *l)
{
	uint32_t i = s->later_count, up;

	if (s->later_count == s->later_room) {
		uint32_t room = s->later_room ? 2 * s->later_room : 256;
		struct sink_later *p = realloc(s->later, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->later = p;
		s->later_room = room;
	}
	s->later_count++;
	for (; i > 0 && sink_before(l, &s->later[up = (i - 1) / 2]); i = up)
		s->later[i] = s->later[up];
	s->later[i] = *l;
	return 0;
}

static struct sink_later sink_later_pop(struct sink *s)
{
	struct sink_later first = s->later[0], last = s->later[--s->later_count];
	uint32_t i = 0, down;

	while ((down = 2 * i + 1) < s->later_count) {
		if (down + 1 < s->later_count && sink_before(&s->later[down + 1], &s->later[down]))
			down++;
		if (!sink_before(&s->later[down], &last))
			break;
		s->later[i] = s->later[down];
		i = down;
	}
	s->later[i] = last;
	return first;
}

static void sink_due(struct sink *s)
{
	while (s->later_count && s->later[0].due_ns <= s->now_ns) {
		struct sink_later l = sink_later_pop(s);
		struct sink_conn *c = &s->conn[l.conn];

		if (c->generation == l.generation && c->fd >= 0) {
			sink_reply(s, c, l.data, l.bytes);
			if (c->fd >= 0)
				sink_write(s, c);
		}
		free(l.data);
	}
}

static int sink_answer(struct sink *s, struct sink_conn *c, const char *data, uint32_t bytes, uint64_t due_ns,
                       bool ordered)
{
	struct sink_later l = {.due_ns = due_ns,
	                       .number = s->later_number++,
	                       .conn = (uint32_t)(c - s->conn),
	                       .generation = c->generation,
	                       .bytes = bytes};

	if (ordered && l.due_ns < c->last_due_ns)
		l.due_ns = c->last_due_ns; /* an answer that is due at once does not overtake a delayed one */
	if (ordered)
		c->last_due_ns = l.due_ns;
	if (l.due_ns <= s->now_ns) {
		sink_reply(s, c, data, bytes);
		return 0;
	}
	l.data = malloc(bytes);
	if (!l.data)
		return -ENOMEM;
	memcpy(l.data, data, bytes);
	return sink_later_push(s, &l);
}

/* ---- one message ---- */

/* What --ack auto answers, by MSH-15 and MSH-16: AA in original mode, else what is asked for. NULL = nothing. */
static const char *sink_auto_code(const char *msg, const struct hl7_msh *h)
{
	const struct hl7_span *accept = &h->field[15], *app = &h->field[16];

	if (!accept->bytes && !app->bytes)
		return "AA";
	if ((accept->bytes == 2 &&
	     (memcmp(msg + accept->offset, "AL", 2) == 0 || memcmp(msg + accept->offset, "SU", 2) == 0)))
		return "CA";
	if ((app->bytes == 2 && (memcmp(msg + app->offset, "AL", 2) == 0 || memcmp(msg + app->offset, "SU", 2) == 0)))
		return "AA";
	return NULL;
}

/* A header like the message's, with another control ID. Returns its length in @out, or 0 if it does not fit. */
static uint32_t sink_other_id(const char *msg, const struct hl7_msh *h, const char *id, char *out, uint32_t room)
{
	const struct hl7_span *f = &h->field[10];
	uint32_t id_bytes = (uint32_t)strlen(id), rest;

	if (!f->offset || h->segment_bytes + id_bytes >= room)
		return 0;
	rest = h->segment_bytes - f->offset - f->bytes;
	memcpy(out, msg, f->offset);
	memcpy(out + f->offset, id, id_bytes);
	memcpy(out + f->offset + id_bytes, msg + f->offset + f->bytes, rest);
	return f->offset + id_bytes + rest;
}

static int sink_build(struct sink *s, const char *msg, const struct hl7_msh *h, const char *code, char *out,
                      uint32_t room)
{
	char id[24];
	struct hl7_ack a = {.msh = h, .msg = msg, .code = code, .control_id = id, .time_ns = net_realtime_ns()};

	a.control_id_bytes = (uint32_t)snprintf(id, sizeof(id), "SINK%llu", (unsigned long long)s->count.messages);
	return hl7_ack_build(out, room, &a);
}

static void sink_count_code(struct sink *s, const char *code)
{
	for (int i = 0; i < SINK_CODES; i++)
		if (strcmp(code, sink_codes[i]) == 0)
			s->count.codes[i]++;
}

static int sink_keep(struct sink *s, const char *msg, uint32_t bytes)
{
	static const char head = MLLP_SB, tail[2] = {MLLP_EB, MLLP_CR};

	if (s->set.out_file &&
	    (fwrite(&head, 1, 1, s->set.out_file) != 1 || (bytes && fwrite(msg, 1, bytes, s->set.out_file) != bytes) ||
	     fwrite(tail, 1, 2, s->set.out_file) != 2))
		return -EIO;
	if (s->set.out_dir) {
		char path[4200];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%08llu.hl7", s->set.out_dir, (unsigned long long)s->count.messages);
		f = fopen(path, "wbe");
		if (!f)
			return -errno;
		if (bytes && fwrite(msg, 1, bytes, f) != bytes) {
			fclose(f);
			return -EIO;
		}
		if (fclose(f) != 0)
			return -errno;
	}
	return 0;
}

static void sink_say(struct sink *s, const struct sink_conn *c, const char *msg, const struct hl7_msh *h,
                     uint32_t bytes, const char *code)
{
	static const struct hl7_span none;
	const struct hl7_span *type = h ? &h->field[9] : &none, *id = h ? &h->field[10] : &none;

	if (s->set.verbose)
		printf("%llu connection %u type %.*s id %.*s bytes %u answer %s\n",
		       (unsigned long long)s->count.messages, (unsigned)(c - s->conn), (int)type->bytes,
		       msg + type->offset, (int)id->bytes, msg + id->offset, bytes, code ? code : "none");
}

static void sink_previous(struct sink *s, const char *msg, const struct hl7_msh *h)
{
	const struct hl7_span *id = &h->field[10];

	snprintf(s->previous_id, sizeof(s->previous_id), "%.*s", (int)id->bytes, msg + id->offset);
}

/* One frame's data. Returns 0, or a negative code if the sink cannot go on. */
static int sink_message(struct sink *s, struct sink_conn *c, const char *msg, uint32_t bytes)
{
	char header[4096], out[16384];
	struct hl7_msh msh, other, *h = &msh;
	const char *code, *from = msg;
	bool fault;
	int r, n;

	s->count.messages++;
	s->count.bytes += bytes;
	c->messages++;
	fault = s->count.messages % s->set.every == 0;
	r = sink_keep(s, msg, bytes);
	if (r < 0)
		return r;
	if (hl7_msh_read(msg, bytes, &msh, NULL) < 0) {
		s->count.unreadable++;
		h = NULL;
	}
	if (s->set.close_after && c->messages >= s->set.close_after) {
		sink_say(s, c, msg, h, bytes, "closed");
		s->count.closed++;
		c->doomed = true;
		return 0;
	}
	code = !h ? "AR" : sink_auto_code(msg, h);
	if (fault && s->set.ack >= 0)
		code = s->set.ack == SINK_CODES ? NULL : sink_codes[s->set.ack];
	sink_say(s, c, msg, h, bytes, code);
	if (!code) {
		s->count.silent++;
		return 0;
	}
	if (h && fault && s->set.swap_ids) {
		uint32_t k = sink_other_id(msg, h, s->previous_id, header, sizeof(header));

		sink_previous(s, msg, h);
		if (k && hl7_msh_read(header, k, &other, NULL) == 0) {
			s->count.swapped++;
			from = header;
			h = &other;
		}
	} else if (h) {
		sink_previous(s, msg, h);
	}
	n = sink_build(s, from, h, code, out, sizeof(out));
	if (n < 0)
		n = sink_build(s, NULL, NULL, "AR", out, sizeof(out)); /* a header of more than 15 KB */
	sink_count_code(s, code);
	return sink_answer(s, c, out, (uint32_t)n, s->now_ns + (fault ? s->set.delay_ns + s->set.late_ns : 0),
	                   !(fault && s->set.late_ns));
}

/* ---- connections ---- */

static int sink_frames(struct sink *s, struct sink_conn *c)
{
	struct mllp_result f;
	uint32_t at = 0;
	int r = 0;

	while (at < c->in_bytes && !c->doomed && r == 0 && !(s->set.count && s->count.messages >= s->set.count)) {
		mllp_next(c->in + at, c->in_bytes - at, c->scanned, &f);
		c->scanned = 0;
		if (f.status == MLLP_MORE) {
			c->scanned = f.scanned;
			break;
		}
		if (f.status == MLLP_FRAME)
			r = sink_message(s, c, c->in + at + f.frame_offset, f.frame_bytes);
		else
			s->count.junk += f.consumed;
		at += f.consumed;
	}
	memmove(c->in, c->in + at, c->in_bytes - at);
	c->in_bytes -= at;
	return r;
}

static int sink_read(struct sink *s, struct sink_conn *c)
{
	ssize_t n;
	int r;

	if (!sink_grow(&c->in, &c->in_room, c->in_bytes + 8192ull)) {
		sink_close(s, c);
		return 0;
	}
	n = recv(c->fd, c->in + c->in_bytes, c->in_room - c->in_bytes, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		s->count.cut += c->in_bytes > 0;
		sink_close(s, c);
		return 0;
	}
	c->in_bytes += (uint32_t)n;
	r = sink_frames(s, c);
	if (r < 0)
		return r;
	if (c->in_bytes > s->set.frame_bytes_max + MLLP_OVERHEAD) {
		s->count.too_large++;
		c->doomed = true;
	}
	if (c->out_bytes)
		sink_write(s, c);
	if (c->fd >= 0 && c->doomed)
		sink_close(s, c);
	return 0;
}

static void sink_accept(struct sink *s)
{
	for (;;) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct sink_conn *c;

		if (fd < 0)
			return;
		if (s->free_conn == SINK_LISTENER) {
			uint32_t room = s->conn_room ? 2 * s->conn_room : 64;
			struct sink_conn *p = realloc(s->conn, room * sizeof(*p));

			if (!p) {
				close(fd);
				return;
			}
			s->conn = p;
			for (uint32_t i = room; i-- > s->conn_room;) {
				s->conn[i] = (struct sink_conn){.fd = -1, .next_free = s->free_conn};
				s->free_conn = i;
			}
			s->conn_room = room;
		}
		c = &s->conn[s->free_conn];
		s->free_conn = c->next_free;
		c->fd = fd;
		s->count.connections++;
		s->count.open++;
		sink_watch(s, c, EPOLL_CTL_ADD);
	}
}

static int sink_turn(struct sink *s)
{
	struct epoll_event e[256];
	struct timespec wait = {3600, 0};
	int n, r = 0;

	if (s->later_count) {
		uint64_t ns = s->later[0].due_ns > s->now_ns ? s->later[0].due_ns - s->now_ns : 0;

		wait = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	}
	n = epoll_pwait2(s->epoll, e, 256, &wait, &s->signals);
	s->now_ns = net_now_ns();
	for (int i = 0; i < n && r == 0; i++) {
		struct sink_conn *c = e[i].data.u32 == SINK_LISTENER ? NULL : &s->conn[e[i].data.u32];

		if (!c) {
			sink_accept(s);
			continue;
		}
		if (c->fd >= 0 && (e[i].events & EPOLLOUT))
			sink_write(s, c);
		if (c->fd >= 0 && (e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			r = sink_read(s, c);
	}
	sink_due(s);
	if (s->set.out_file && fflush(s->set.out_file) != 0)
		r = -errno;
	if (sink_show) {
		sink_show = 0;
		sink_print(s);
	}
	fflush(stdout);
	return r;
}

/* What was answered gets time to be written and read before the end. */
static void sink_finish(struct sink *s)
{
	uint64_t end = s->now_ns + 1000000000;
	bool busy = true;

	while (busy && s->now_ns < end && !sink_stop) {
		busy = s->later_count > 0;
		for (uint32_t i = 0; i < s->conn_room; i++)
			if (s->conn[i].fd >= 0 && s->conn[i].out_bytes) {
				sink_write(s, &s->conn[i]);
				busy |= s->conn[i].fd >= 0 && s->conn[i].out_bytes;
			}
		sink_due(s);
		if (busy)
			usleep(1000);
		s->now_ns = net_now_ns();
	}
	for (uint32_t i = 0; i < s->conn_room; i++)
		if (s->conn[i].fd >= 0)
			shutdown(s->conn[i].fd, SHUT_WR);
}

int sink_run(struct sink *s)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = SINK_LISTENER};
	struct sigaction sa = {.sa_handler = sink_on_signal};
	sigset_t block;
	int r = 0;

	/* Signals arrive only while waiting, so that none is missed between the check and the wait. */
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, &s->signals);
	sigdelset(&s->signals, SIGINT);
	sigdelset(&s->signals, SIGTERM);
	sigdelset(&s->signals, SIGUSR1);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	s->free_conn = SINK_LISTENER;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &e) < 0)
		return -errno;
	s->now_ns = net_now_ns();
	while (!sink_stop && r == 0 && !(s->set.count && s->count.messages >= s->set.count))
		r = sink_turn(s);
	if (r == 0)
		sink_finish(s);
	while (s->later_count)
		free(sink_later_pop(s).data);
	for (uint32_t i = 0; i < s->conn_room; i++)
		if (s->conn[i].fd >= 0)
			sink_close(s, &s->conn[i]);
	free(s->later);
	free(s->conn);
	close(s->epoll);
	return r;
}
