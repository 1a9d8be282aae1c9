/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_sim.c - the control plane's part in a simulated hub, over the real link: equips cores, joins them with rings,
 * tells of deaths, restarts, pauses, drains; and dies itself now and then, to be found again at RUN/link.sock.
 *
 * It speaks the protocol of abi/mr_link.h as control/handoff.c and control/peers.c do, with random delays.
 */
#include "hub.h"
#include "mr_region.h"
#include "mr_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_RING_RECORDS 512 /* small, so that a full one is met */

static void control_send(struct hub_core *h, struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	int r;

	m->version = MR_LINK_VERSION;
	if (h->link < 0)
		return;
	r = mr_link_send(h->link, m, fds, nfds);
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		sim_fail(h->s, "the link to core %u is stuck: %d", h->index, r);
	if (h->up)
		io_sim_poke(h->io);
}

static void control_simple(struct hub_core *h, enum mr_link_type type, uint32_t dest)
{
	struct mr_link_msg m = {.type = type};

	m.u.item.dest = dest;
	control_send(h, &m, NULL, 0);
}

static void control_listen(struct sim *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	must((size_t)snprintf(a.sun_path, sizeof(a.sun_path), "%s/run/link.sock", s->folder) < sizeof(a.sun_path));
	unlink(a.sun_path);
	s->hub->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(s->hub->listen_fd >= 0 && bind(s->hub->listen_fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	     listen(s->hub->listen_fd, 8) == 0);
}

void control_init(struct sim *s)
{
	s->hub->listener_fd = memfd_create("sim-listener", MFD_CLOEXEC);
	must(s->hub->listener_fd >= 0);
	control_listen(s);
}

uint32_t hub_listener_of(struct sim *s, int fd)
{
	struct stat a, b;

	must(fstat(fd, &a) == 0 && fstat(s->hub->listener_fd, &b) == 0);
	must(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	return 0;
}

static void control_tail(struct hub_core *to, struct hub_core *of)
{
	struct mr_link_msg m = {.type = MR_LINK_JOURNAL};
	int fds[2] = {of->tail_fd, of->dupes_fd};

	if (of->tail_fd < 0)
		return;
	m.u.journal.journal = m.u.journal.owner = of->index;
	m.u.journal.incarnation = of->incarnation;
	control_send(to, &m, fds, fds[1] >= 0 ? 2 : 1);
}

/* ---- birth ---- */

static void control_spawn_later(struct sim *s, void *arg, uint64_t n)
{
	if (s->hub->away) /* nobody restarts it */
		sim_at(s, s->now_ns + 20 * SIM_MS, control_spawn_later, arg, n);
	else
		control_spawn(s, arg);
}

void control_spawn(struct sim *s, struct hub_core *h)
{
	struct mr_link_msg m = {.type = MR_LINK_LISTENER};
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	h->link = pair[0];
	h->link_core = pair[1];
	h->incarnation++;
	h->announced = h->accepting = h->drained = false;
	hub_spawn(h);
	if (s->p.crash_starting && !s->calm && sim_chance(s, 3000)) {
		h->die_in = (uint32_t)sim_between(s, 1, 40);
		h->die_power = s->p.crash_power && sim_chance(s, 5000);
	}
	control_send(h, &m, &s->hub->listener_fd, 1);
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (i != h->index) {
			s->hub->blind += s->hub->core[i].tail_fd < 0;
			control_tail(h, &s->hub->core[i]);
		}
	for (uint32_t d = 0; d < s->p.dests; d++)
		control_simple(h, s->hub->paused[d] ? MR_LINK_PAUSE : MR_LINK_RESUME, d);
}

static int control_ring(void)
{
	size_t bytes = mr_ring_bytes(CONTROL_RING_RECORDS);
	int fd = memfd_create("sim-ring", MFD_CLOEXEC);
	void *p;

	must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED);
	mr_ring_init(p, CONTROL_RING_RECORDS);
	munmap(p, bytes);
	return fd;
}

static void control_join(struct hub_core *a, struct hub_core *b)
{
	int ab = control_ring(), ba = control_ring(), wake_a = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	    wake_b = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int to_a[4] = {ab, wake_b, ba, wake_a}, to_b[4] = {ba, wake_a, ab, wake_b};
	struct mr_link_msg m = {.type = MR_LINK_PEER};

	must(wake_a >= 0 && wake_b >= 0);
	m.u.peer.peer = b->index;
	m.u.peer.kind = MR_KIND_WORKER;
	m.u.peer.incarnation = b->incarnation;
	control_send(a, &m, to_a, 4);
	m.u.peer.peer = a->index;
	m.u.peer.incarnation = a->incarnation;
	control_send(b, &m, to_b, 4);
	for (int i = 0; i < 4; i++)
		close(to_a[i]);
	a->peered[b->index] = b->peered[a->index] = true;
	a->s->hub->disturbed_ns = a->s->now_ns;
	sim_trace(a->s, "cores %u and %u are joined", a->index, b->index);
}

static void control_announce(struct hub_core *h)
{
	h->announced = true;
	for (uint32_t i = 0; i < h->s->p.cores; i++) {
		struct hub_core *q = &h->s->hub->core[i];

		if (q != h && q->link >= 0 && q->announced && !h->peered[i])
			control_join(h, q);
	}
}

static void control_accept(struct sim *s, void *arg, uint64_t incarnation)
{
	struct hub_core *h = arg;

	if (h->up && h->incarnation == incarnation)
		control_simple(h, MR_LINK_ACCEPT, 0);
}

/* ---- death ---- */

static void control_tell_gone(struct sim *s, void *arg, uint64_t n)
{
	struct hub_core *h = arg;

	if (s->hub->away) {
		sim_at(s, s->now_ns + 10 * SIM_MS, control_tell_gone, arg, n);
		return;
	}
	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct hub_core *q = &s->hub->core[i];
		struct mr_link_msg m = {.type = MR_LINK_PEER_GONE};

		m.u.peer.peer = h->index;
		if (q != h && q->peered[h->index])
			control_send(q, &m, NULL, 0);
		q->peered[h->index] = h->peered[i] = false;
	}
	sim_at(s, s->now_ns + sim_between(s, 1, 500) * SIM_MS, control_spawn_later, h, 0);
}

static void control_forget(struct hub_core *h)
{
	int *fds[] = {&h->link, &h->tail_fd, &h->dupes_fd};

	for (size_t i = 0; i < MR_ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	h->announced = false;
}

void control_died(struct hub_core *h)
{
	control_forget(h);
	sim_at(h->s, h->s->now_ns + sim_between(h->s, 100, 20000) * SIM_US, control_tell_gone, h, 0);
}

void control_finished(struct hub_core *h)
{
	if (!h->s->hub->draining)
		sim_fail(h->s, "core %u ended without being told to", h->index);
	control_forget(h);
	memset(h->peered, 0, sizeof(h->peered));
}

/* ---- listening to the cores ---- */

static void control_trouble(struct hub_core *h, const struct mr_link_msg *m)
{
	sim_trace(h->s, "core %u says MR%u, item %d, number %lld%s", h->index, m->u.trouble.code, (int)m->u.trouble.item,
		  (long long)m->u.trouble.arg, m->u.trouble.over ? ": over" : "");
	if (m->u.trouble.code == 3002)
		sim_fail(h->s, "core %u calls its journal damaged, though every durable write was kept", h->index);
	if (m->u.trouble.code == 3005 && !h->s->p.disk_errors)
		sim_fail(h->s, "core %u cannot read a message, though no read failed", h->index);
}

static void control_resolve(struct hub_core *h, const struct mr_link_msg *m)
{
	struct mr_link_msg answer = {.type = MR_LINK_RESOLVED, .request = m->request};

	answer.u.resolve.dest = m->u.resolve.dest;
	if (h->s->p.dest_faults && !h->s->calm && sim_chance(h->s, 1000)) {
		answer.u.resolve.error = -2; /* EAI_NONAME */
	} else {
		answer.u.resolve.count = 1;
		answer.u.resolve.addr[0].family = AF_INET;
		memcpy(answer.u.resolve.addr[0].bytes, "\x0a\x09\x00\x01", 4);
	}
	control_send(h, &answer, NULL, 0);
}

static void control_drained(struct sim *s)
{
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (s->hub->core[i].up && !s->hub->core[i].drained)
			return;
	for (uint32_t i = 0; i < s->p.cores && !s->hub->drain_again; i++)
		control_simple(&s->hub->core[i], MR_LINK_DRAIN, 0);
	s->hub->drain_again = true;
}

static void control_journal(struct hub_core *h, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	must(m->u.journal.journal == h->index && nfds >= 1);
	if (h->tail_fd >= 0)
		close(h->tail_fd);
	if (h->dupes_fd >= 0)
		close(h->dupes_fd);
	h->tail_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	h->dupes_fd = nfds > 1 ? fcntl(fds[1], F_DUPFD_CLOEXEC, 3) : -1;
	for (uint32_t i = 0; i < h->s->p.cores; i++)
		if (i != h->index && h->s->hub->core[i].link >= 0)
			control_tail(&h->s->hub->core[i], h);
}

static void control_handle(struct hub_core *h, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	struct sim *s = h->s;

	switch (m->type) {
	case MR_LINK_JOURNAL:
		control_journal(h, m, fds, nfds);
		break;
	case MR_LINK_READY:
		control_announce(h);
		sim_at(s, s->now_ns + sim_between(s, 10, 5000) * SIM_US, control_accept, h, h->incarnation);
		break;
	case MR_LINK_ACCEPTING:
		h->accepting = true;
		break;
	case MR_LINK_RESOLVE:
		control_resolve(h, m);
		break;
	case MR_LINK_TROUBLE:
		control_trouble(h, m);
		break;
	case MR_LINK_DRAINED:
		h->drained = true;
		control_drained(s);
		break;
	case MR_LINK_DONE:
		if (m->u.done.count)
			sim_trace(s, "core %u retries %llu dead letters", h->index, (unsigned long long)m->u.done.count);
		break;
	}
	for (uint32_t i = 0; i < nfds; i++)
		close(fds[i]);
}

static void control_read(struct sim *s, void *arg, uint64_t n)
{
	struct hub_core *h = arg;

	h->look_due = false;
	while (h->link >= 0) {
		struct mr_link_msg m;
		int fds[MR_LINK_FDS_MAX], r;
		uint32_t nfds = 0;

		r = mr_link_recv(h->link, &m, fds, &nfds);
		if (r == -EAGAIN)
			return;
		if (r < 0) {
			if (h->up)
				sim_fail(s, "core %u closed its link: %d", h->index, r);
			return;
		}
		control_handle(h, &m, fds, nfds);
	}
}

/* A core that lost us has found us again. */
static void control_adopt(struct sim *s, int fd)
{
	struct mr_link_msg m, gone = {.type = MR_LINK_PEER_GONE}, welcome = {.type = MR_LINK_WELCOME};
	int fds[MR_LINK_FDS_MAX];
	struct hub_core *h;
	uint32_t nfds;

	if (mr_link_recv(fd, &m, fds, &nfds) < 0 || m.type != MR_LINK_HELLO || m.u.hello.index >= s->p.cores) {
		close(fd); /* one that died while it connected */
		return;
	}
	h = &s->hub->core[m.u.hello.index];
	if (!h->up || h->incarnation != m.u.hello.incarnation || h->link >= 0) {
		close(fd);
		return;
	}
	must(m.u.hello.adopt && m.u.hello.state >= MR_STATE_READY);
	h->link = fd;
	sim_trace(s, "core %u has found the new control plane", h->index);
	control_send(h, &welcome, NULL, 0);
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (i != h->index && !h->peered[i]) {
			gone.u.peer.peer = i;
			control_send(h, &gone, NULL, 0);
			control_tail(h, &s->hub->core[i]);
		}
	for (uint32_t d = 0; d < s->p.dests; d++)
		control_simple(h, s->hub->paused[d] ? MR_LINK_PAUSE : MR_LINK_RESUME, d);
	control_announce(h);
	if (m.u.hello.state == MR_STATE_READY)
		control_accept(s, h, h->incarnation);
	if (s->hub->draining)
		control_simple(h, MR_LINK_DRAIN, 0);
}

void control_look(struct sim *s)
{
	bool unlinked = false;

	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct hub_core *h = &s->hub->core[i];
		struct pollfd p = {.fd = h->link, .events = POLLIN};

		unlinked |= h->up && h->link < 0;
		if (h->look_due || h->link < 0 || poll(&p, 1, 0) <= 0)
			continue;
		h->look_due = true;
		sim_at(s, s->now_ns + sim_between(s, 10, 2000) * SIM_US, control_read, h, 0);
	}
	if (unlinked && s->hub->listen_fd >= 0) {
		int fd = accept4(s->hub->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			control_adopt(s, fd);
	}
}

/* ---- faults and orders ---- */

static void control_back(struct sim *s, void *arg, uint64_t n)
{
	s->hub->away = false;
	control_listen(s);
	sim_trace(s, "the control plane is back");
}

void control_die(struct sim *s)
{
	if (s->hub->away)
		return;
	sim_trace(s, "the control plane dies");
	s->hub->away = true;
	close(s->hub->listen_fd);
	s->hub->listen_fd = -1;
	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct hub_core *h = &s->hub->core[i];

		if (h->link >= 0)
			close(h->link);
		h->link = -1;
		h->announced = false;
		if (h->up)
			io_sim_poke(h->io);
	}
	sim_at(s, s->now_ns + sim_between(s, 1, 2000) * SIM_MS, control_back, NULL, 0);
}

static void control_set_paused(struct sim *s, uint32_t dest, bool paused)
{
	s->hub->paused[dest] = paused;
	for (uint32_t i = 0; i < s->p.cores; i++)
		control_simple(&s->hub->core[i], paused ? MR_LINK_PAUSE : MR_LINK_RESUME, dest);
}

void control_pause(struct sim *s)
{
	uint32_t d = (uint32_t)sim_below(s, s->p.dests);

	if (s->hub->away)
		return;
	sim_trace(s, "destination %u is %s", d, s->hub->paused[d] ? "resumed" : "paused");
	control_set_paused(s, d, !s->hub->paused[d]);
}

void hub_calm(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_CORES_MAX; i++)
		s->hub->core[i].die_in = 0;
	for (uint32_t d = 0; d < s->p.dests; d++)
		control_set_paused(s, d, false);
}

void hub_retry_dead(struct sim *s)
{
	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct mr_link_msg m = {.type = MR_LINK_DEAD_RETRY};

		m.u.dead_query.dest = m.u.dead_query.journal = UINT32_MAX;
		control_send(&s->hub->core[i], &m, NULL, 0);
	}
}

void hub_drain(struct sim *s)
{
	s->hub->draining = true;
	s->hub->drain_again = false;
	sim_trace(s, "the hub is told to drain");
	for (uint32_t i = 0; i < s->p.cores; i++)
		control_simple(&s->hub->core[i], MR_LINK_DRAIN, 0);
}
