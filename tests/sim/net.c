/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - the simulated network: connections between the hub's cores and the peers, as two streams of bytes each.
 *
 * What is written arrives later, in order, cut into any pieces. A stream towards a peer holds a bounded number of bytes,
 * so a peer that does not read makes the core's io_send() wait. A connection can break: what had not arrived is lost,
 * and the two ends learn of it at different times. The core's half of the calls (io_send() ...) is here as well.
 */
#include "io.h"
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NET_PIPE_BYTES 65536u

struct net_pipe {
	char *data;
	size_t room;
	uint64_t base; /* stream offset of data[0] */
	uint64_t written, arrived, taken;
	uint64_t last_ns;
	bool finished, end_arrived, end_told;
};

struct net_conn {
	struct net_conn *next; /* all of the world, newest first */
	struct sim *s;
	struct io *io;         /* NULL: its process is dead, or knows nothing of it yet */
	uint32_t number;
	uint64_t tag, serial;
	bool core_open, core_closing, paused, connecting;
	const char *send;
	uint32_t send_bytes, sent;
	uint64_t send_sum, send_ns;
	bool sending;
	struct net_mark {
		uint64_t end, sent_ns;
	} *mark; /* when the core sent which bytes of `out` */
	uint32_t marks, marks_room;
	struct net_pipe in, out; /* in: to the hub */
	const struct net_peer *peer;
	void *arg;
	bool peer_open, reading;
};

struct net {
	struct net_conn *first;
	uint64_t serial;
};

static void net_pull(struct net_conn *c);
static void net_push(struct net_conn *c);

void net_init(struct sim *s)
{
	s->net = sim_alloc(sizeof(*s->net));
}

uint64_t net_tag(const struct net_conn *c)
{
	return c->tag;
}

uint32_t net_number(const struct net_conn *c)
{
	return c->number;
}

uint64_t net_serial(const struct net_conn *c)
{
	return c->serial;
}

/* Can this connection still carry anything between both ends? */
bool net_open(const struct net_conn *c)
{
	return c->peer_open && c->core_open && !c->core_closing;
}

/* ---- streams ---- */

static void pipe_append(struct net_pipe *p, const void *bytes, uint32_t n)
{
	size_t used = (size_t)(p->written - p->base);

	if (p->taken > p->base) {
		memmove(p->data, p->data + (p->taken - p->base), (size_t)(p->written - p->taken));
		used = (size_t)(p->written - p->taken);
		p->base = p->taken;
	}
	if (used + n > p->room) {
		p->room = 2 * (used + n);
		p->data = realloc(p->data, p->room);
		must(p->data);
	}
	memcpy(p->data + used, bytes, n);
	p->written += n;
}

static void pipe_cut(struct net_pipe *p)
{
	p->written = p->arrived;
	p->finished = true;
}

static void arrive_in(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	c->in.arrived = c->in.arrived + n < c->in.written ? c->in.arrived + n : c->in.written;
	net_pull(c);
}

static void end_in(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	c->in.end_arrived = true;
	net_pull(c);
}

static void core_broken(struct sim *s, void *arg, uint64_t error)
{
	struct net_conn *c = arg;

	if (!c->core_open || c->core_closing)
		return;
	c->core_open = false;
	pipe_cut(&c->out);
	io_sim_push(c->io, IO_CLOSED, c, 0, -(int32_t)error);
}

static void peer_gone(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	if (!c->peer_open)
		return;
	c->peer_open = false;
	pipe_cut(&c->in);
	c->peer->gone(c->arg, c);
}

static void deliver_out(struct net_conn *c)
{
	if (!c->peer_open) {
		if (c->out.arrived > c->out.taken && c->core_open) /* nobody is there any more */
			sim_at(c->s, c->s->now_ns + sim_latency(c->s), core_broken, c, ECONNRESET);
		c->out.taken = c->out.arrived;
		return;
	}
	if (!c->reading)
		return;
	if (c->out.arrived > c->out.taken) {
		uint32_t n = (uint32_t)(c->out.arrived - c->out.taken);
		const char *p = c->out.data + (c->out.taken - c->out.base);

		c->out.taken += n;
		c->peer->bytes(c->arg, c, p, n);
		net_push(c);
	}
	if (c->out.end_arrived && c->out.taken == c->out.written && !c->out.end_told && c->peer_open) {
		c->out.end_told = true;
		c->peer->eof(c->arg, c);
	}
}

static void arrive_out(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	c->out.arrived = c->out.arrived + n < c->out.written ? c->out.arrived + n : c->out.written;
	deliver_out(c);
}

static void end_out(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	c->out.end_arrived = true;
	deliver_out(c);
}

/* Bytes on their way: whole, or in pieces of any size. */
static void pipe_send(struct net_conn *c, struct net_pipe *p, const void *bytes, uint32_t n)
{
	struct sim *s = c->s;
	bool pieces = s->p.net_splits && !s->calm && sim_chance(s, 2500);

	pipe_append(p, bytes, n);
	if (s->now_ns + 20 * SIM_US > p->last_ns)
		p->last_ns = s->now_ns + sim_latency(s);
	for (uint32_t k = 0; n; k++) {
		uint32_t piece = pieces && k < 12 ? (uint32_t)sim_between(s, 1, n < 40 || sim_chance(s, 3000) ? n : n / 4) : n;

		p->last_ns += sim_between(s, 1, pieces && sim_chance(s, 500) ? 30 * SIM_MS : 50 * SIM_US);
		sim_at(s, p->last_ns, p == &c->in ? arrive_in : arrive_out, c, piece);
		n -= piece;
	}
}

static void pipe_finish(struct net_conn *c, struct net_pipe *p)
{
	struct sim *s = c->s;

	if (p->finished)
		return;
	p->finished = true;
	if (s->now_ns > p->last_ns)
		p->last_ns = s->now_ns + sim_latency(s);
	sim_at(s, p->last_ns + 1, p == &c->in ? end_in : end_out, c, 0);
}

/* ---- the peers' end ---- */

static struct net_conn *conn_new(struct sim *s, const struct net_peer *peer, void *arg)
{
	struct net_conn *c = sim_alloc(sizeof(*c));

	*c = (struct net_conn){.next = s->net->first, .s = s, .serial = ++s->net->serial, .peer = peer, .arg = arg,
			       .peer_open = peer != NULL, .reading = true};
	s->net->first = c;
	return c;
}

static void dial_arrives(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;
	uint32_t listener = (uint32_t)(n >> 8), first = (uint32_t)sim_below(s, s->p.cores);

	if (!c->peer_open)
		return;
	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct io *io = hub_io(s, (first + i) % s->p.cores);
		uint64_t tag;
		int32_t number;

		if (!io || !io_sim_listening(io, listener, &tag) || (number = io_sim_number(io, c)) < 0)
			continue;
		c->io = io;
		c->number = (uint32_t)number;
		c->core_open = true;
		c->tag = tag;
		sim_trace(s, "connection %llu is with core %u", (unsigned long long)c->serial, (first + i) % s->p.cores);
		io_sim_accepted(io, c, tag, (uint8_t)n);
		net_pull(c);
		return;
	}
	peer_gone(s, c, 0); /* refused */
}

struct net_conn *net_dial(struct sim *s, uint32_t listener, uint8_t address, const struct net_peer *peer, void *arg)
{
	struct net_conn *c = conn_new(s, peer, arg);

	sim_at(s, s->now_ns + sim_latency(s), dial_arrives, c, (uint64_t)listener << 8 | address);
	c->in.last_ns = s->now_ns + 250 * SIM_MS; /* nothing overtakes the connecting */
	return c;
}

void net_accepted(struct net_conn *c, const struct net_peer *peer, void *arg)
{
	c->peer = peer;
	c->arg = arg;
	c->peer_open = true;
}

void net_write(struct net_conn *c, const void *p, uint32_t n)
{
	if (c->peer_open && !c->in.finished && n)
		pipe_send(c, &c->in, p, n);
}

void net_finish(struct net_conn *c)
{
	pipe_finish(c, &c->in);
}

void net_close(struct net_conn *c, bool reset)
{
	if (!c->peer_open)
		return;
	c->peer_open = false;
	if (!reset) {
		pipe_finish(c, &c->in);
		return;
	}
	pipe_cut(&c->in);
	sim_at(c->s, c->s->now_ns + sim_latency(c->s), core_broken, c, ECONNRESET);
}

void net_reading(struct net_conn *c, bool reading)
{
	c->reading = reading;
	if (reading && c->peer_open)
		deliver_out(c);
}

/* The network itself gives out between two ends that are both well. */
void net_break_one(struct sim *s)
{
	uint64_t open = 0;

	for (struct net_conn *c = s->net->first; c; c = c->next)
		open += c->peer_open && c->core_open;
	if (!open)
		return;
	open = sim_below(s, open);
	for (struct net_conn *c = s->net->first; c; c = c->next) {
		if (!c->peer_open || !c->core_open || open--)
			continue;
		sim_trace(s, "connection %llu breaks", (unsigned long long)c->serial);
		pipe_cut(&c->in);
		pipe_cut(&c->out);
		sim_at(s, s->now_ns + sim_between(s, 0, 200 * SIM_MS), core_broken, c, ECONNRESET);
		sim_at(s, s->now_ns + sim_between(s, 0, 200 * SIM_MS), peer_gone, c, 0);
		return;
	}
}

void net_core_dead(struct sim *s, struct io *io, bool power)
{
	for (struct net_conn *c = s->net->first; c; c = c->next) {
		if (c->io != io || !c->io)
			continue;
		c->io = NULL;
		c->core_open = c->sending = false;
		c->send = NULL;
		if (power) {
			pipe_cut(&c->out);
			sim_at(s, s->now_ns + sim_between(s, 0, SIM_S), peer_gone, c, 0);
		} else { /* its kernel still delivers what it had been given */
			pipe_finish(c, &c->out);
			sim_at(s, c->out.last_ns + sim_latency(s), peer_gone, c, 0);
		}
	}
}

/* ---- the core's end ---- */

/* What has arrived becomes events, unless the core paused. */
static void net_pull(struct net_conn *c)
{
	while (c->core_open && !c->core_closing && !c->paused && !c->connecting && c->in.arrived > c->in.taken) {
		uint64_t n = c->in.arrived - c->in.taken;

		if (n > 16384)
			n = 16384;
		if (c->s->p.net_splits && sim_chance(c->s, 500))
			n = sim_between(c->s, 1, n);
		io_sim_received(c->io, c, c->in.data + (c->in.taken - c->in.base), (uint32_t)n);
		c->in.taken += n;
	}
	if (c->core_open && !c->core_closing && !c->paused && c->in.end_arrived && c->in.taken == c->in.written &&
	    !c->in.end_told) {
		c->in.end_told = true;
		io_sim_push(c->io, IO_EOF, c, 0, 0);
	}
}

static void send_done(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	if (!c->core_open || !c->sending || c->sent != c->send_bytes)
		return;
	if (sim_hash(c->send, c->send_bytes) != c->send_sum)
		sim_fail(s, "bytes changed while they were being sent on connection %llu", (unsigned long long)c->serial);
	c->sending = false;
	io_sim_push(c->io, IO_SENT, c, 0, 0);
}

static void mark_add(struct net_conn *c)
{
	if (c->marks == c->marks_room) {
		c->marks_room = c->marks_room ? 2 * c->marks_room : 16;
		c->mark = realloc(c->mark, c->marks_room * sizeof(*c->mark));
		must(c->mark);
	}
	c->mark[c->marks++] = (struct net_mark){.end = c->out.written, .sent_ns = c->send_ns};
}

uint64_t net_sent_ns(const struct net_conn *c, uint32_t after)
{
	uint64_t at = c->out.taken - after;
	uint32_t i = c->marks;

	while (i > 1 && c->mark[i - 2].end >= at)
		i--;
	must(i);
	return c->mark[i - 1].sent_ns;
}

/* Moves what the stream has room for. */
static void net_push(struct net_conn *c)
{
	uint64_t held = c->out.written - c->out.taken;
	uint32_t n = c->send_bytes - c->sent;

	if (!c->core_open || !c->sending || !n || held >= NET_PIPE_BYTES)
		return;
	if (n > NET_PIPE_BYTES - held)
		n = (uint32_t)(NET_PIPE_BYTES - held);
	pipe_send(c, &c->out, c->send + c->sent, n);
	mark_add(c);
	c->sent += n;
	if (c->sent == c->send_bytes)
		sim_at(c->s, c->s->now_ns + sim_between(c->s, 1, 40) * SIM_US, send_done, c, 0);
}

void net_io_send(struct net_conn *c, const void *buf, uint32_t bytes)
{
	must(!c->sending && bytes && !c->connecting);
	if (!c->core_open || c->core_closing)
		return;
	c->sending = true;
	c->send = buf;
	c->send_bytes = bytes;
	c->sent = 0;
	c->send_sum = sim_hash(buf, bytes);
	c->send_ns = c->s->now_ns;
	if (c->out.finished) /* it is broken already, but the core does not know */
		c->sent = c->send_bytes;
	else
		net_push(c);
}

static void close_done(struct sim *s, void *arg, uint64_t n)
{
	struct net_conn *c = arg;

	if (!c->core_open)
		return;
	if (c->sending && sim_hash(c->send, c->send_bytes) != c->send_sum)
		sim_fail(s, "bytes changed before their connection %llu was closed", (unsigned long long)c->serial);
	c->core_open = false;
	io_sim_push(c->io, IO_CLOSED, c, 0, 0);
}

void net_io_close(struct net_conn *c, bool reset)
{
	struct sim *s = c->s;

	if (!c->core_open || c->core_closing)
		return;
	c->core_closing = true;
	if (reset) {
		pipe_cut(&c->out);
		sim_at(s, s->now_ns + sim_latency(s), peer_gone, c, 0);
	} else {
		pipe_finish(c, &c->out);
	}
	sim_at(s, s->now_ns + sim_between(s, 1, 300) * SIM_US, close_done, c, 0);
}

void net_io_pause(struct net_conn *c, bool paused)
{
	c->paused = paused;
	if (!paused)
		net_pull(c);
}

void net_io_finish(struct net_conn *c)
{
	if (c->core_open && !c->core_closing)
		pipe_finish(c, &c->out);
}

void net_io_tag(struct net_conn *c, uint64_t tag)
{
	c->tag = tag;
}

static void connect_arrives(struct sim *s, void *arg, uint64_t port)
{
	struct net_conn *c = arg;

	if (!c->core_open || c->core_closing)
		return;
	c->connecting = false;
	if (dests_dial(s, (uint16_t)port, c)) {
		io_sim_push(c->io, IO_CONNECTED, c, 0, 0);
		net_pull(c);
	} else {
		core_broken(s, c, ECONNREFUSED);
	}
}

/* Connects to a simulated destination; some attempts are never answered. Returns the connection number or -errno. */
int32_t net_io_connect(struct sim *s, struct io *io, uint16_t port, uint64_t timeout_ns, uint64_t tag)
{
	struct net_conn *c = conn_new(s, NULL, NULL);
	int32_t number = io_sim_number(io, c);

	if (number < 0)
		return number;
	c->io = io;
	c->number = (uint32_t)number;
	c->core_open = c->connecting = true;
	c->tag = tag;
	if (s->p.dest_faults && !s->calm && sim_chance(s, 300)) {
		c->connecting = false;
		sim_at(s, s->now_ns + timeout_ns, core_broken, c, ETIMEDOUT);
	} else {
		sim_at(s, s->now_ns + sim_latency(s), connect_arrives, c, port);
	}
	return number;
}
