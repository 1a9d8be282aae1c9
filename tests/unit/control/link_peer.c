/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_peer.c - for tests only: a process that speaks the link's protocol as workers and connectors do, and nothing
 * else.
 *
 * Placed beside millrace-control under the name of a worker or connector. It takes its configuration, rings, journals
 * and listeners, passes one record to each new peer, answers what it gets, and writes what it saw to RUN/<name>.seen,
 * one line per event, so that a test can tell whether rings work and who was told what. Lives on without the control
 * process.
 */
#include "mr_link.h"
#include "mr_paths.h"
#include "mr_region.h"
#include "mr_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct peer_ring {
	struct mr_ring *to, *from;
	int wake_it, wake_me;
};

static struct {
	uint32_t kind, index, peer;
	char run[512], name[40];
	int link;
	uint64_t incarnation, generation;
	uint32_t state;
	void *image;
	struct mr_region_writer region;
	struct peer_ring ring[MR_PEERS_MAX];
	int listener[64];
	int tail;
	bool freeze;
} peer = {.link = -1, .tail = -1};

__attribute__((format(printf, 1, 2))) static void seen(const char *format, ...)
{
	char path[700], line[200];
	va_list args;
	int fd, n;

	snprintf(path, sizeof(path), "%s/%s.seen", peer.run, peer.name);
	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	line[n++] = '\n';
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd >= 0) {
		(void)!write(fd, line, (size_t)n);
		close(fd);
	}
}

static void say(uint32_t type, const struct mr_link_msg *from, const int *fds, uint32_t nfds)
{
	struct mr_link_msg m = {.type = type};

	if (from)
		m = *from;
	m.type = type;
	m.version = MR_LINK_VERSION;
	mr_link_send(peer.link, &m, fds, nfds);
}

static void set_state(uint32_t state)
{
	peer.state = state;
	mr_set_own(&peer.region.region->state, state);
}

static void hello(bool adopt)
{
	struct mr_link_msg m = {0};

	m.u.hello.kind = peer.kind;
	m.u.hello.index = peer.index;
	m.u.hello.pid = (uint64_t)getpid();
	m.u.hello.incarnation = peer.incarnation;
	m.u.hello.generation = peer.generation;
	m.u.hello.adopt = adopt;
	m.u.hello.state = peer.state;
	say(MR_LINK_HELLO, &m, NULL, 0);
}

static void tell_journal(void)
{
	struct mr_link_msg m = {0};

	if (peer.kind != MR_KIND_WORKER)
		return;
	m.u.journal.journal = peer.index;
	m.u.journal.owner = peer.index;
	m.u.journal.incarnation = peer.incarnation;
	say(MR_LINK_JOURNAL, &m, &peer.tail, 1);
}

static void take_config(const struct mr_link_msg *m, int fd)
{
	char path[700];

	peer.image = mmap(NULL, m->u.config.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	must(peer.image != MAP_FAILED && mr_config_check(peer.image, m->u.config.bytes) == 0);
	must((fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_SHRINK)) == (F_SEAL_WRITE | F_SEAL_SHRINK));
	peer.generation = m->u.config.generation;
	snprintf(path, sizeof(path), "%s/%s.region", peer.run, peer.name);
	must(mr_region_create(path, peer.kind, peer.index, peer.incarnation, peer.image, &peer.region) == 0);
	if (getenv("LINK_PEER_SLOW_MS")) /* a long recovery */
		usleep((useconds_t)atoi(getenv("LINK_PEER_SLOW_MS")) * 1000);
	mr_count_listener(&peer.region, MR_M_L_RECEIVED, 0, 10);
	if (peer.kind == MR_KIND_WORKER)
		mr_set_own(&peer.region.region->pending, 3);
	tell_journal();
	set_state(MR_STATE_READY);
	say(MR_LINK_READY, NULL, NULL, 0);
}

static void *map_ring(int fd)
{
	struct stat st;
	void *p;

	must(fstat(fd, &st) == 0);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED && mr_ring_valid(p, (size_t)st.st_size));
	return p;
}

static void push(struct peer_ring *r, uint32_t kind)
{
	struct mr_msg m = {.kind = (uint8_t)kind, .journal = (uint16_t)peer.peer, .sequence = peer.incarnation};
	const uint64_t one = 1;

	must(mr_ring_push(r->to, &m));
	must(write(r->wake_it, &one, sizeof(one)) == sizeof(one));
}

static void take_peer(const struct mr_link_msg *m, const int *fds)
{
	struct peer_ring *r = &peer.ring[m->u.peer.peer];

	r->to = map_ring(fds[0]);
	r->wake_it = fds[1];
	r->from = map_ring(fds[2]);
	r->wake_me = fds[3];
	seen("peer %u incarnation %llu", m->u.peer.peer, (unsigned long long)m->u.peer.incarnation);
	push(r, MR_MSG_DELIVER);
}

static void take_ring(uint32_t from)
{
	struct peer_ring *r = &peer.ring[from];
	struct mr_msg m;
	uint64_t n;

	must(read(r->wake_me, &n, sizeof(n)) == sizeof(n));
	while (mr_ring_pop(r->from, &m)) {
		seen("%s from %u life %llu", m.kind == MR_MSG_DELIVER ? "deliver" : "outcome", from,
		     (unsigned long long)m.sequence);
		if (m.kind == MR_MSG_DELIVER)
			push(r, MR_MSG_OUTCOME);
	}
}

/* Two dead letters of destination 0 at each worker, so that paging and answers can be seen. */
static void dead_page(const struct mr_link_msg *m)
{
	struct mr_link_msg a = {.request = m->request};
	uint32_t skip = m->u.dead_query.skip, n = 0;

	a.u.dead.total = 2;
	for (uint32_t i = skip; i < 2 && n < m->u.dead_query.limit; i++, n++) {
		a.u.dead.item[n].journal = (uint16_t)peer.index;
		a.u.dead.item[n].position = 4096 + 64 * i;
		a.u.dead.item[n].reason = MR_REASON_REJECTED;
		memcpy(a.u.dead.item[n].code, "AR", 2);
	}
	a.u.dead.count = n;
	say(MR_LINK_DEAD_PAGE, &a, NULL, 0);
}

static void done(const struct mr_link_msg *m, uint64_t count)
{
	struct mr_link_msg a = {.request = m->request};

	a.u.done.count = count;
	say(MR_LINK_DONE, &a, NULL, 0);
}

static void handle(const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	struct mr_link_msg a = {0};

	switch (m->type) {
	case MR_LINK_WELCOME:
		peer.incarnation = m->u.hello.incarnation;
		break;
	case MR_LINK_CONFIG:
		must(nfds == 1);
		take_config(m, fds[0]);
		break;
	case MR_LINK_LISTENER:
		peer.listener[m->u.listener.listener] = fds[0];
		break;
	case MR_LINK_PEER:
		must(nfds == 4);
		take_peer(m, fds);
		break;
	case MR_LINK_PEER_GONE:
		seen("gone %u", m->u.peer.peer);
		break;
	case MR_LINK_JOURNAL:
		seen("journal %u incarnation %llu", m->u.journal.journal, (unsigned long long)m->u.journal.incarnation);
		break;
	case MR_LINK_ACCEPT:
		set_state(MR_STATE_RUNNING);
		say(MR_LINK_ACCEPTING, NULL, NULL, 0);
		a.u.resolve.dest = 0;
		say(MR_LINK_RESOLVE, &a, NULL, 0);
		break;
	case MR_LINK_RESOLVED:
		seen("resolved %u error %d count %u family %u", m->u.resolve.dest, m->u.resolve.error,
		     m->u.resolve.count, m->u.resolve.addr[0].family);
		break;
	case MR_LINK_PAUSE:
	case MR_LINK_RESUME:
		seen("%s %u", m->type == MR_LINK_PAUSE ? "pause" : "resume", m->u.item.dest);
		done(m, 1);
		break;
	case MR_LINK_DEAD_LIST:
		dead_page(m);
		break;
	case MR_LINK_DEAD_RETRY:
	case MR_LINK_DEAD_DISCARD:
		done(m, m->u.dead_query.journal == UINT32_MAX ? 2 : m->u.dead_query.position == 4096);
		break;
	case MR_LINK_DRAIN: /* a worker ends at the second: the others have drained too */
		seen("drain");
		if (peer.kind == MR_KIND_WORKER && peer.state != MR_STATE_DRAINING) {
			set_state(MR_STATE_DRAINING);
			say(MR_LINK_DRAINED, NULL, NULL, 0);
			break;
		}
		set_state(MR_STATE_STOPPED);
		say(MR_LINK_DRAINED, NULL, NULL, 0);
		exit(0);
	default:
		break;
	}
}

static void read_link(void)
{
	struct mr_link_msg m;
	int fds[MR_LINK_FDS_MAX], r;
	uint32_t nfds = 0;

	while ((r = mr_link_recv(peer.link, &m, fds, &nfds)) == 0)
		handle(&m, fds, nfds);
	if (r != -EAGAIN) {
		close(peer.link);
		peer.link = -1;
	}
}

static void connect_link(void)
{
	bool adopt = peer.image != NULL;

	peer.link = mr_link_connect(peer.run);
	if (peer.link < 0) {
		if (!adopt)
			exit(1);
		return;
	}
	hello(adopt);
	if (!adopt)
		return;
	tell_journal();
	for (uint32_t i = 0; peer.kind == MR_KIND_WORKER && i < ((struct mr_config *)peer.image)->listeners.count;
	     i++) {
		struct mr_link_msg m = {0};

		m.u.listener.listener = i;
		say(MR_LINK_LISTENER, &m, &peer.listener[i], 1);
	}
}

static void on_freeze(int number)
{
	peer.freeze = true;
}

static void turn(void)
{
	struct pollfd p[MR_PEERS_MAX + 1] = {{.fd = peer.link, .events = POLLIN}};
	uint32_t who[MR_PEERS_MAX + 1] = {0};
	struct timespec now;
	nfds_t n = 1;

	for (uint32_t i = 0; i < MR_PEERS_MAX; i++)
		if (peer.ring[i].from) {
			who[n] = i;
			p[n++] = (struct pollfd){.fd = peer.ring[i].wake_me, .events = POLLIN};
		}
	poll(p, n, 100);
	if (peer.region.region && !peer.freeze) {
		clock_gettime(CLOCK_REALTIME, &now);
		mr_set_own(&peer.region.region->heartbeat_ns,
		           (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	}
	if (peer.link < 0)
		connect_link();
	else if (p[0].revents)
		read_link();
	for (nfds_t i = 1; i < n; i++)
		if (p[i].revents & POLLIN)
			take_ring(who[i]);
}

int main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/');

	base = base ? base + 1 : argv[0];
	peer.kind = strstr(base, "connector") ? MR_KIND_CONNECTOR : MR_KIND_WORKER;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--index"))
			peer.index = (uint32_t)atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--run"))
			snprintf(peer.run, sizeof(peer.run), "%s", argv[i + 1]);
	}
	peer.peer = peer.kind == MR_KIND_WORKER ? peer.index : MR_CONNECTOR_FILE;
	snprintf(peer.name, sizeof(peer.name), peer.kind == MR_KIND_WORKER ? "worker-%u" : "connector-file",
	         peer.index);
	signal(SIGUSR1, on_freeze);
	signal(SIGPIPE, SIG_IGN);
	peer.state = MR_STATE_STARTING;
	peer.tail = memfd_create("tail", MFD_CLOEXEC);
	must(peer.tail >= 0);
	connect_link();
	for (;;)
		turn();
}
