/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - the other cores and connectors: their rings, waking them, being woken by them.
 *
 * Called by core.c (each turn) and link.c (peers come and go). A record for this core itself never gets here: queue.c
 * and dest_mllp.c call each other then. Never blocks.
 */
#include "core.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_POPS_A_TURN 4096

/* Takes over @fds: ring to the peer, the peer's eventfd, ring from the peer, our eventfd for it. */
int ring_peer(struct core *c, uint32_t peer, const int fds[4])
{
	struct peer *p = &c->peer[peer];
	struct mr_ring *to, *from;
	size_t to_bytes, from_bytes;
	int r;

	ring_peer_gone(c, peer);
	r = mr_ring_map(fds[0], &to, &to_bytes);
	if (r == 0) {
		r = mr_ring_map(fds[2], &from, &from_bytes);
		if (r < 0)
			munmap(to, to_bytes);
	}
	close(fds[0]);
	close(fds[2]);
	if (r < 0) {
		close(fds[1]);
		close(fds[3]);
		return r;
	}
	p->to = to;
	p->to_bytes = to_bytes;
	p->from = from;
	p->from_bytes = from_bytes;
	p->to_event = fds[1];
	p->from_event = fds[3];
	p->present = true;
	p->wake = false;
	io_watch(c->io, p->from_event, core_tag(TAG_RING, peer));
	queue_peer_back(c, peer);
	return 0;
}

void ring_peer_gone(struct core *c, uint32_t peer)
{
	struct peer *p = &c->peer[peer];

	p->gen++;
	if (!p->present)
		return;
	p->present = false;
	io_unwatch(c->io, p->from_event, core_tag(TAG_RING, peer));
	munmap(p->to, p->to_bytes);
	munmap(p->from, p->from_bytes);
	close(p->to_event);
	close(p->from_event);
	queue_peer_gone(c, peer);
	dest_owner_gone(c, peer);
}

bool ring_push(struct core *c, uint32_t peer, const struct mr_msg *m)
{
	struct peer *p = &c->peer[peer];

	if (!p->present || !mr_ring_push(p->to, m))
		return false;
	p->wake = true;
	return true;
}

void ring_wake(struct core *c)
{
	for (uint32_t i = 0; i < MR_PEERS_MAX; i++) {
		struct peer *p = &c->peer[i];
		uint64_t one = 1;

		if (!p->present || !p->wake)
			continue;
		p->wake = false;
		if (mr_ring_must_wake(p->to) && write(p->to_event, &one, sizeof(one)) < 0)
			p->wake = true; /* its counter is full or a signal came: again next turn */
	}
}

void ring_poll(struct core *c)
{
	for (uint32_t i = 0; i < MR_PEERS_MAX; i++) {
		struct peer *p = &c->peer[i];
		struct mr_msg m;

		/* What is popped must be kept: without room for it, it stays in the ring. */
		for (uint32_t n = 0; p->present && n < RING_POPS_A_TURN && queue_outcomes_room(c) && dest_room(c); n++) {
			if (!mr_ring_pop(p->from, &m))
				break;
			if (m.kind == MR_MSG_OUTCOME)
				queue_outcome(c, &m);
			else if (m.kind == MR_MSG_DELIVER)
				must(dest_take(c, i, &m));
		}
	}
}

bool ring_sleep(struct core *c)
{
	bool idle = true;

	for (uint32_t i = 0; i < MR_PEERS_MAX; i++)
		if (c->peer[i].present && !mr_ring_sleep(c->peer[i].from))
			idle = false;
	return idle;
}

void ring_awake(struct core *c)
{
	for (uint32_t i = 0; i < MR_PEERS_MAX; i++)
		if (c->peer[i].present)
			mr_ring_awake(c->peer[i].from);
}

void ring_event(struct core *c, uint32_t peer)
{
	uint64_t n;

	if (c->peer[peer].present && read(c->peer[peer].from_event, &n, sizeof(n)) < 0)
		return; /* woken for nothing: the ring is polled every turn anyway */
}
