/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - the core's side of the link to the control plane (abi/mr_link.h).
 *
 * Called by core.c when the link is readable and on every tick. The core never waits for the control plane: if the link
 * is gone it goes on working, tries again now and then, and tells a new control plane what it needs to take over.
 */
#include "core.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_RETRY_NS      200000000u
#define LINK_ADOPT_WAIT_MS 20 /* a link holds about 90 packets; what a new control plane must have is not dropped */

static void link_lost(struct core *c)
{
	if (c->link_fd < 0)
		return;
	io_unwatch(c->io, c->link_fd, core_tag(TAG_LINK, 0));
	close(c->link_fd);
	c->link_fd = -1;
	c->adopt_left = 0;
	c->link_again_ns = c->now_ns + LINK_RETRY_NS;
}

static void link_send_wait(struct core *c, struct mr_link_msg *m, const int *fds, uint32_t nfds, int wait_ms)
{
	struct pollfd p = {.fd = c->link_fd, .events = POLLOUT};
	int r;

	m->version = MR_LINK_VERSION;
	if (c->link_fd < 0)
		return;
	do
		r = mr_link_send(c->link_fd, m, fds, nfds);
	while (r == -EAGAIN && wait_ms && poll(&p, 1, wait_ms) > 0);
	if (r == -EAGAIN && wait_ms)
		r = -ETIMEDOUT; /* half of it is worse than nothing: once more with a new link */
	if (r < 0 && r != -EAGAIN) /* a full link loses a notice, never a message; its end is seen when it is read */
		shutdown(c->link_fd, SHUT_RDWR);
}

void link_trouble(struct core *c, uint32_t level, uint32_t code, uint32_t item, int64_t arg, bool over, const char *fmt, ...)
{
	struct mr_link_msg m = {.type = MR_LINK_TROUBLE};
	uint64_t key = ((uint64_t)code << 32 | item) + 1, *told = NULL, *empty = NULL;
	va_list ap;

	for (uint32_t i = 0; i < TROUBLE_PROBES && !told; i++) {
		uint64_t *slot = &c->trouble_open[((code * 2654435761u >> 16) + item + i) % TROUBLES_MAX];

		if (*slot == key)
			told = slot;
		else if (!*slot && !empty)
			empty = slot;
	}
	if (over ? !told : told != NULL)
		return; /* told already */
	if (over)
		*told = 0;
	else if (empty) /* else it is told each time */
		*empty = key;
	m.u.trouble.code = code;
	m.u.trouble.item = item;
	m.u.trouble.arg = arg;
	m.u.trouble.level = over ? 6 : level;
	m.u.trouble.over = over;
	va_start(ap, fmt);
	vsnprintf(m.u.trouble.text, sizeof(m.u.trouble.text), fmt, ap);
	va_end(ap);
	link_send(c, &m, NULL, 0);
}

void link_send(struct core *c, struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	link_send_wait(c, m, fds, nfds, 0);
}

static void link_tell_journals(struct core *c)
{
	for (uint32_t j = 0; j < MR_WORKERS_MAX; j++) {
		struct mr_link_msg m = {.type = MR_LINK_JOURNAL};
		int fds[2];

		if (!c->sources[j].own)
			continue;
		m.u.journal.journal = j;
		m.u.journal.owner = c->index;
		m.u.journal.incarnation = c->incarnation;
		fds[0] = journal_tail_fd(c->sources[j].own);
		fds[1] = c->sources[j].dupes.fd;
		link_send_wait(c, &m, fds, fds[1] >= 0 ? 2 : 1, LINK_ADOPT_WAIT_MS);
	}
}

/* The rest of what a new control plane is told: hundreds of sockets do not fit into the link at once. */
void link_push(struct core *c)
{
	while (c->adopt_left && c->link_fd >= 0) {
		struct mr_link_msg m = {.type = MR_LINK_LISTENER, .version = MR_LINK_VERSION};
		uint32_t i = c->adopt_left - 1;

		m.u.listener.listener = i;
		if (c->listener[i].fd >= 0 && mr_link_send(c->link_fd, &m, &c->listener[i].fd, 1) < 0)
			return; /* full: next turn; if the link is gone, reading it says so */
		c->adopt_left = i;
	}
}

/* A new control plane: it gets what the old one had. */
static void link_adopt(struct core *c)
{
	struct mr_link_msg hello = {.type = MR_LINK_HELLO};

	hello.u.hello.kind = MR_KIND_WORKER;
	hello.u.hello.index = c->index;
	hello.u.hello.pid = (uint64_t)getpid();
	hello.u.hello.incarnation = c->incarnation;
	hello.u.hello.generation = c->cfg->generation;
	hello.u.hello.adopt = 1;
	hello.u.hello.state = c->state;
	link_send_wait(c, &hello, NULL, 0, LINK_ADOPT_WAIT_MS);
	link_tell_journals(c);
	c->adopt_left = c->cfg->listeners.count;
	link_push(c);
	memset(c->trouble_open, 0, sizeof(c->trouble_open)); /* it knows of no trouble yet */
}

void link_tick(struct core *c)
{
	if (!c->link_again_ns && c->link_fd >= 0) { /* first tick: the link came with the core */
		struct mr_link_msg ready = {.type = MR_LINK_READY};

		c->link_again_ns = 1;
		io_watch(c->io, c->link_fd, core_tag(TAG_LINK, 0));
		link_tell_journals(c);
		link_send(c, &ready, NULL, 0);
	}
	if (c->link_fd >= 0 || c->now_ns < c->link_again_ns)
		return;
	c->link_again_ns = c->now_ns + LINK_RETRY_NS;
	c->link_fd = mr_link_connect(c->run);
	if (c->link_fd < 0) {
		c->link_fd = -1;
		return;
	}
	io_watch(c->io, c->link_fd, core_tag(TAG_LINK, 0));
	link_adopt(c);
}

static void link_item(struct core *c, const struct mr_link_msg *m)
{
	struct mr_link_msg done = {.type = MR_LINK_DONE, .request = m->request};

	if (m->u.item.dest < c->cfg->dests.count)
		dest_pause(c, m->u.item.dest, m->type == MR_LINK_PAUSE);
	else
		done.u.done.error = -ENOENT;
	link_send(c, &done, NULL, 0);
}

static void link_dead(struct core *c, const struct mr_link_msg *m)
{
	struct mr_link_msg answer = {.type = MR_LINK_DONE, .request = m->request};

	if (m->type == MR_LINK_DEAD_LIST)
		queue_dead_page(c, m, &answer);
	else if (m->type == MR_LINK_DEAD_RETRY)
		answer.u.done.count = queue_dead_retry(c, m->u.dead_query.dest, m->u.dead_query.journal, m->u.dead_query.position);
	else
		answer.u.done.count = queue_dead_discard(c, m->u.dead_query.dest, m->u.dead_query.journal, m->u.dead_query.position);
	link_send(c, &answer, NULL, 0);
}

/* Takes over the descriptors it uses; returns how many it did. */
static uint32_t link_handle(struct core *c, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	switch (m->type) {
	case MR_LINK_PEER:
		if (nfds != 4 || m->u.peer.peer >= MR_PEERS_MAX || m->u.peer.peer == c->index)
			return 0;
		ring_peer(c, m->u.peer.peer, fds);
		return 4;
	case MR_LINK_PEER_GONE:
		if (m->u.peer.peer < MR_PEERS_MAX)
			ring_peer_gone(c, m->u.peer.peer);
		return 0;
	case MR_LINK_JOURNAL:
		if (nfds < 1 || m->u.journal.journal >= MR_WORKERS_MAX)
			return 0;
		source_set(c, m->u.journal.journal, fds[0], nfds > 1 ? fds[1] : -1);
		return nfds > 2 ? 2 : nfds;
	case MR_LINK_LISTENER:
		if (nfds != 1)
			return 0;
		core_listener(c, m->u.listener.listener, fds[0]);
		return 1;
	case MR_LINK_ACCEPT: {
		struct mr_link_msg answer = {.type = MR_LINK_ACCEPTING};

		core_accept(c);
		link_send(c, &answer, NULL, 0);
		return 0;
	}
	case MR_LINK_RESOLVED:
		dest_resolved(c, m);
		return 0;
	case MR_LINK_DRAIN:
		core_drain(c);
		return 0;
	case MR_LINK_PAUSE:
	case MR_LINK_RESUME:
		link_item(c, m);
		return 0;
	case MR_LINK_DEAD_LIST:
	case MR_LINK_DEAD_RETRY:
	case MR_LINK_DEAD_DISCARD:
		link_dead(c, m);
		return 0;
	default:
		return 0;
	}
}

void link_event(struct core *c)
{
	while (c->link_fd >= 0) {
		struct mr_link_msg m;
		int fds[MR_LINK_FDS_MAX];
		uint32_t nfds = 0, used;
		int r = mr_link_recv(c->link_fd, &m, fds, &nfds);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			link_lost(c);
			return;
		}
		used = link_handle(c, &m, fds, nfds);
		for (uint32_t i = used; i < nfds; i++)
			close(fds[i]);
	}
}
