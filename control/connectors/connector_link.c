/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector_link.c - the connector's end of the link to the control process: hello, what comes with it, and again
 * later.
 *
 * Called by the connector's loop only. Losing the link stops nothing: rings and journals stay, and the link is tried
 * again every 200 ms with `adopt` set. Nothing that comes over the link is trusted further than it was checked.
 */
#include "connector.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int connector_link_say(struct connector *c, enum mr_link_type type, uint64_t request)
{
	struct mr_link_msg m = {.type = type, .version = MR_LINK_VERSION, .request = request};

	return c->link < 0 ? -ENOTCONN : mr_link_send(c->link, &m, NULL, 0);
}

static void link_lost(struct connector *c)
{
	if (c->link >= 0) {
		epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->link, NULL);
		close(c->link);
	}
	c->link = -1;
	c->link_retry_ns = c->now_ns + CONNECTOR_LINK_RETRY_NS;
}

static int link_hello(struct connector *c)
{
	struct mr_link_msg m = {.type = MR_LINK_HELLO, .version = MR_LINK_VERSION};

	m.u.hello.kind = MR_KIND_CONNECTOR;
	m.u.hello.index = 0;
	m.u.hello.pid = (uint64_t)getpid();
	m.u.hello.incarnation = c->incarnation;
	m.u.hello.generation = c->cfg ? c->cfg->generation : 0;
	m.u.hello.adopt = c->cfg != NULL;
	m.u.hello.state = c->cfg ? (uint32_t)mr_load_relaxed(&c->region.region->state) : MR_STATE_STARTING;
	return mr_link_send(c->link, &m, NULL, 0);
}

void connector_link_turn(struct connector *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = CONNECTOR_EVENT_LINK};
	int fd;

	if (c->link >= 0 || c->now_ns < c->link_retry_ns)
		return;
	c->link_retry_ns = c->now_ns + CONNECTOR_LINK_RETRY_NS;
	fd = mr_link_connect(c->run);
	if (fd < 0) {
		if (!c->cfg && c->now_ns - c->started_ns > CONNECTOR_LINK_FIRST_NS) {
			fprintf(stderr, "millrace-connector-%s: no control process in %s: %s\n", c->kind->name, c->run,
			        strerror(-fd));
			c->failed = fd;
		}
		return;
	}
	c->link = fd;
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0 || link_hello(c) < 0)
		link_lost(c);
}

static int config_take(struct connector *c, uint64_t bytes, int fd)
{
	char path[600];
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (bytes < sizeof(struct mr_config) || bytes > (uint64_t)st.st_size)
		return -EINVAL;
	p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	r = mr_config_check(p, bytes);
	if (r)
		goto fail;
	snprintf(path, sizeof(path), "%s/connector-%s.region", c->run, c->kind->name);
	r = mr_region_create(path, MR_KIND_CONNECTOR, 0, c->incarnation, p, &c->region);
	if (r)
		goto fail;
	r = connector_journals_open(&c->journals, ((const struct mr_config *)p)->data);
	if (r) {
		mr_region_close(&c->region);
		goto fail;
	}
	c->cfg = p;
	c->cfg_bytes = bytes;
	return 0;
fail:
	munmap(p, bytes);
	return r;
}

/* An item for every message that the workers can hand out, and room to spare: batch files hold theirs longest. */
static uint32_t items_wanted(const struct connector *c)
{
	uint64_t room = 1024;

	for (uint32_t i = 0; i < c->cfg->dests.count; i++) {
		const struct mr_config_dest *d = mr_config_dest(c->cfg, i);

		if (d->kind == c->kind->dest_kind)
			room += (uint64_t)mr_config_credit(d) * 2 * c->cfg->workers;
	}
	return room > 16u << 20 ? 16u << 20 : (uint32_t)room;
}

static void link_config(struct connector *c, const struct mr_link_msg *m, int fd)
{
	int r;

	if (c->cfg) { /* a control process that took over may send it again */
		if (m->u.config.generation != c->cfg->generation)
			connector_trouble(c, CONNECTOR_MR_CONFIG, UINT32_MAX, (int64_t)m->u.config.generation, 4, false,
			                  "connector %s: goes on with configuration %llu until it is started again",
			                  c->kind->name, (unsigned long long)c->cfg->generation);
		return;
	}
	r = config_take(c, m->u.config.bytes, fd);
	if (!r)
		r = connector_items_open(&c->items, items_wanted(c));
	if (!r)
		r = c->kind->start(c);
	if (r) {
		fprintf(stderr, "millrace-connector-%s: cannot take up the configuration: %s\n", c->kind->name,
		        strerror(-r));
		c->failed = r;
	}
}

static void link_item(struct connector *c, const struct mr_link_msg *m)
{
	struct mr_link_msg answer = {.type = MR_LINK_DONE, .version = MR_LINK_VERSION, .request = m->request};
	uint32_t dest = m->u.item.dest;

	if (!c->cfg || dest >= c->cfg->dests.count) {
		answer.u.done.error = -ENOENT;
	} else if (mr_config_dest(c->cfg, dest)->kind == c->kind->dest_kind) {
		c->kind->pause(c, dest, m->type == MR_LINK_PAUSE);
		answer.u.done.count = 1;
	}
	mr_link_send(c->link, &answer, NULL, 0);
}

static void link_peer(struct connector *c, const struct mr_link_msg *m, const int *fds)
{
	int r = connector_ring_open(c, (uint16_t)m->u.peer.peer, fds);

	if (r)
		fprintf(stderr, "millrace-connector-%s: cannot use the rings of peer %u: %s\n", c->kind->name,
		        m->u.peer.peer, strerror(-r));
}

static void link_journal(struct connector *c, const struct mr_link_msg *m, int fd)
{
	if (connector_journals_set(&c->journals, m->u.journal.journal, fd) < 0) {
		fprintf(stderr, "millrace-connector-%s: journal number %u is out of range\n", c->kind->name,
		        m->u.journal.journal);
		if (fd >= 0)
			close(fd);
	}
}

/* Returns how many of the descriptors it has taken over, the first ones. */
static uint32_t link_message(struct connector *c, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	switch (m->type) {
	case MR_LINK_WELCOME:
		if (!c->cfg)
			c->incarnation = m->u.hello.incarnation;
		else
			c->kind->tell(c);
		return 0;
	case MR_LINK_CONFIG:
		if (nfds)
			link_config(c, m, fds[0]);
		return 0;
	case MR_LINK_JOURNAL:
		if (!c->cfg)
			return 0;
		link_journal(c, m, nfds ? fds[0] : -1);
		return nfds ? 1 : 0;
	case MR_LINK_PEER:
		if (!c->cfg || nfds < 4 || m->u.peer.peer >= MR_PEERS_MAX)
			return 0;
		link_peer(c, m, fds);
		return 4;
	case MR_LINK_PEER_GONE:
		if (m->u.peer.peer < MR_PEERS_MAX)
			connector_ring_close(c, (uint16_t)m->u.peer.peer);
		return 0;
	case MR_LINK_PAUSE:
	case MR_LINK_RESUME:
		link_item(c, m);
		return 0;
	case MR_LINK_DRAIN:
		connector_drain(c);
		return 0;
	default:
		return 0; /* for workers, or of a newer control process */
	}
}

void connector_link_event(struct connector *c)
{
	while (c->link >= 0 && !c->failed) {
		struct mr_link_msg m;
		int fds[MR_LINK_FDS_MAX], r;
		uint32_t nfds = 0, taken;

		r = mr_link_recv(c->link, &m, fds, &nfds);
		if (r == -EAGAIN)
			return;
		if (r < 0) {
			link_lost(c);
			return;
		}
		taken = link_message(c, &m, fds, nfds);
		for (uint32_t i = taken; i < nfds; i++)
			close(fds[i]);
	}
}
