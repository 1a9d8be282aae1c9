/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_sim.c - io.h for a simulated hub: what io_uring.c is for a real one.
 *
 * A core that waits is left (hub.c) until an event for it is due. Every call is a place where the core may crash. What
 * the contract of io.h demands of a core is checked here: a buffer is given back once, a number is not used after its
 * IO_CLOSED, what is being sent or written stays as it is (net.c, disk.c).
 */
#include "io.h"
#include "sim.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define IO_WATCHES   16
#define IO_LISTENERS 8
#define IO_BUFFERS   4096
#define IO_CONNS     64

struct io_pending { /* an event and the connection it is about */
	struct io_event e;
	struct net_conn *c;
};

struct io {
	struct sim *s;
	uint32_t core;
	bool dead;
	struct io_pending *ready;
	uint32_t ready_count, ready_room;
	struct io_event *batch;
	struct net_conn **batch_conn;
	uint32_t batch_count, batch_room;
	struct net_conn *conn[IO_CONNS];
	struct {
		int fd;
		uint64_t tag;
	} watch[IO_WATCHES];
	uint32_t watches;
	struct {
		uint32_t listener;
		uint64_t tag;
	} listening[IO_LISTENERS];
	uint32_t listenings;
	char *buffer[IO_BUFFERS];
};

struct io *io_sim_new(struct sim *s, uint32_t core)
{
	struct io *io = sim_alloc(sizeof(*io));

	io->s = s;
	io->core = core;
	return io;
}

void io_sim_dead(struct io *io)
{
	io->dead = true;
}

int32_t io_sim_number(struct io *io, struct net_conn *c)
{
	uint32_t first = (uint32_t)sim_below(io->s, IO_CONNS);

	for (uint32_t i = 0; i < IO_CONNS; i++) {
		uint32_t n = (first + i) % IO_CONNS;

		if (!io->conn[n]) {
			io->conn[n] = c;
			return (int32_t)n;
		}
	}
	return -ENFILE;
}

/* ---- events ---- */

static struct io_event *io_add(struct io *io, uint32_t type, struct net_conn *c, uint64_t tag)
{
	struct io_pending *p;

	must(!io->dead);
	if (io->ready_count == io->ready_room) {
		io->ready_room = io->ready_room ? 2 * io->ready_room : 64;
		io->ready = realloc(io->ready, io->ready_room * sizeof(*io->ready));
		must(io->ready);
	}
	p = &io->ready[io->ready_count++];
	memset(p, 0, sizeof(*p));
	p->c = c;
	p->e.type = type;
	p->e.tag = tag;
	p->e.conn = c ? net_number(c) : UINT32_MAX;
	hub_wait(io->s, io->core, io->s->now_ns + sim_between(io->s, 1, 20) * SIM_US);
	return &p->e;
}

void io_sim_push(struct io *io, uint32_t type, struct net_conn *c, uint64_t tag, int32_t result)
{
	io_add(io, type, c, tag)->result = result;
}

void io_sim_accepted(struct io *io, struct net_conn *c, uint64_t tag, uint8_t address)
{
	struct io_event *e = io_add(io, IO_ACCEPTED, c, tag);

	e->addr.family = 2;
	e->addr.bytes[0] = 10;
	e->addr.bytes[3] = address;
	e->port = (uint16_t)sim_between(io->s, 1024, 65535);
}

void io_sim_received(struct io *io, struct net_conn *c, const char *data, uint32_t bytes)
{
	struct io_event *e = io_add(io, IO_RECEIVED, c, 0);
	uint32_t b = 0;

	while (b < IO_BUFFERS && io->buffer[b])
		b++;
	if (b == IO_BUFFERS)
		sim_fail(io->s, "core %u gives its receive buffers not back", io->core);
	io->buffer[b] = sim_alloc(bytes);
	memcpy(io->buffer[b], data, bytes);
	e->data = io->buffer[b];
	e->bytes = bytes;
	e->buffer = b;
}

void io_release(struct io *io, uint32_t buffer)
{
	if (buffer >= IO_BUFFERS || !io->buffer[buffer])
		sim_fail(io->s, "core %u gives receive buffer %u back that it does not have", io->core, buffer);
	free(io->buffer[buffer]);
	io->buffer[buffer] = NULL;
}

static bool io_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

void io_sim_poke(struct io *io)
{
	for (uint32_t i = 0; i < io->watches; i++)
		if (io_readable(io->watch[i].fd)) {
			hub_wait(io->s, io->core, io->s->now_ns + sim_between(io->s, 1, 20) * SIM_US);
			return;
		}
}

static bool io_any_readable(const struct io *io)
{
	for (uint32_t i = 0; i < io->watches; i++)
		if (io_readable(io->watch[i].fd))
			return true;
	return false;
}

static void batch_add(struct io *io, const struct io_pending *p)
{
	if (io->batch_count == io->batch_room) {
		io->batch_room = io->batch_room ? 2 * io->batch_room : 64;
		io->batch = realloc(io->batch, io->batch_room * sizeof(*io->batch));
		io->batch_conn = realloc(io->batch_conn, io->batch_room * sizeof(*io->batch_conn));
		must(io->batch && io->batch_conn);
	}
	io->batch_conn[io->batch_count] = p->c;
	io->batch[io->batch_count] = p->e;
	if (p->c && p->e.type != IO_ACCEPTED)
		io->batch[io->batch_count].tag = net_tag(p->c);
	io->batch_count++;
}

static void batch_fill(struct io *io)
{
	uint32_t n = io->ready_count;

	if (n > 1 && sim_chance(io->s, 2000))
		n = (uint32_t)sim_between(io->s, 1, n); /* the rest in the next turn */
	for (uint32_t i = 0; i < n; i++)
		batch_add(io, &io->ready[i]);
	io->ready_count -= n;
	if (io->ready_count)
		memmove(io->ready, io->ready + n, io->ready_count * sizeof(*io->ready));
	for (uint32_t i = 0; i < io->watches; i++)
		if (io_readable(io->watch[i].fd)) {
			struct io_pending p = {.e = {.type = IO_WAKE, .tag = io->watch[i].tag}};

			batch_add(io, &p);
		}
}

int io_wait(struct io *io, uint64_t timeout_ns, const struct io_event **ret_events)
{
	uint64_t work = sim_between(io->s, 2, 30) * SIM_US; /* what the turn that ends here took */

	hub_point(io->s, io->core);
	for (uint32_t i = 0; i < io->batch_count; i++)
		if (io->batch[i].type == IO_CLOSED)
			io->conn[io->batch[i].conn] = NULL;
	io->batch_count = 0;
	if (io->ready_count || io_any_readable(io) || timeout_ns < work)
		timeout_ns = work;
	hub_wait(io->s, io->core, UINT64_MAX);
	hub_wait(io->s, io->core, io->s->now_ns + timeout_ns);
	hub_leave(io->s, io->core); /* back when it is due */
	batch_fill(io);
	*ret_events = io->batch;
	return (int)io->batch_count;
}

/* ---- connections ---- */

bool io_sim_listening(const struct io *io, uint32_t listener, uint64_t *ret_tag)
{
	for (uint32_t i = 0; i < io->listenings; i++)
		if (io->listening[i].listener == listener) {
			*ret_tag = io->listening[i].tag;
			return true;
		}
	return false;
}

int io_listen(struct io *io, int fd, uint64_t tag)
{
	hub_point(io->s, io->core);
	must(io->listenings < IO_LISTENERS);
	io->listening[io->listenings].listener = hub_listener_of(io->s, fd);
	io->listening[io->listenings++].tag = tag;
	return 0;
}

void io_unlisten(struct io *io, uint64_t tag)
{
	for (uint32_t i = 0; i < io->listenings; i++)
		if (io->listening[i].tag == tag)
			io->listening[i--] = io->listening[--io->listenings];
}

static struct net_conn *io_conn(struct io *io, uint32_t conn)
{
	hub_point(io->s, io->core);
	if (conn >= IO_CONNS || !io->conn[conn])
		sim_fail(io->s, "core %u uses connection number %u that is not open", io->core, conn);
	return io->conn[conn];
}

int io_connect(struct io *io, const struct mr_link_addr *addr, uint16_t port, uint64_t timeout_ns, uint64_t tag)
{
	hub_point(io->s, io->core);
	must(addr->family == 2 && addr->bytes[0] == 10 && addr->bytes[1] == 9);
	return net_io_connect(io->s, io, port, timeout_ns, tag);
}

void io_tag(struct io *io, uint32_t conn, uint64_t tag)
{
	net_io_tag(io_conn(io, conn), tag);
}

void io_send(struct io *io, uint32_t conn, const void *buf, uint32_t bytes)
{
	net_io_send(io_conn(io, conn), buf, bytes);
}

void io_pause(struct io *io, uint32_t conn)
{
	net_io_pause(io_conn(io, conn), true);
}

void io_resume(struct io *io, uint32_t conn)
{
	net_io_pause(io_conn(io, conn), false);
}

void io_finish(struct io *io, uint32_t conn)
{
	net_io_finish(io_conn(io, conn));
}

void io_close(struct io *io, uint32_t conn, bool reset)
{
	net_io_close(io_conn(io, conn), reset);
}

/* ---- files ---- */

void io_write(struct io *io, int fd, const void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	hub_point(io->s, io->core);
	disk_submit(io->s, io, DISK_WRITE, fd, (void *)(uintptr_t)buf, bytes, offset, tag);
}

void io_read(struct io *io, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag)
{
	hub_point(io->s, io->core);
	disk_submit(io->s, io, DISK_READ, fd, buf, bytes, offset, tag);
}

void io_fdatasync(struct io *io, int fd, uint64_t tag)
{
	hub_point(io->s, io->core);
	disk_submit(io->s, io, DISK_SYNC, fd, NULL, 0, 0, tag);
}

/* ---- watching, time, chance ---- */

int io_watch(struct io *io, int fd, uint64_t tag)
{
	must(io->watches < IO_WATCHES);
	io->watch[io->watches].fd = fd;
	io->watch[io->watches++].tag = tag;
	return 0;
}

void io_unwatch(struct io *io, int fd, uint64_t tag)
{
	for (uint32_t i = 0; i < io->watches; i++)
		if (io->watch[i].fd == fd && io->watch[i].tag == tag)
			io->watch[i--] = io->watch[--io->watches];
}

uint64_t io_now(const struct io *io)
{
	return io->s->now_ns;
}

uint64_t io_now_exact(const struct io *io)
{
	return io->s->now_ns;
}

uint64_t io_realtime(const struct io *io)
{
	hub_point(io->s, io->core);
	return 1767225600ull * SIM_S + io->s->now_ns;
}

uint64_t io_random(struct io *io)
{
	return sim_random(io->s);
}
