/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector_ring.c - the rings between this connector and the workers, and the fixed pool of what was taken from them.
 *
 * Called by the connector's loop only. A record is taken from a ring only when there is an item for it, so a full pool
 * pushes back on the workers. An outcome is pushed only to the rings by which its message came: when they are gone the
 * worker hands the message out anew, and the old answer must not be taken for one about the new entry.
 */
#include "connector.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

int connector_items_open(struct connector_items *p, uint32_t room)
{
	void *all = mmap(NULL, (size_t)room * sizeof(*p->all), PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (all == MAP_FAILED)
		return -errno;
	memset(p, 0, sizeof(*p));
	p->all = all;
	p->room = room;
	return 0;
}

void connector_items_close(struct connector_items *p)
{
	if (p->all)
		munmap(p->all, (size_t)p->room * sizeof(*p->all));
	memset(p, 0, sizeof(*p));
}

/* Last given, first taken: memory that was never needed stays untouched. */
static struct connector_item *item_take(struct connector_items *p)
{
	struct connector_item *it = p->free;

	if (it)
		p->free = it->next;
	else if (p->used_top < p->room)
		it = &p->all[p->used_top++];
	else
		return NULL;
	memset(it, 0, sizeof(*it));
	it->arrival = ++p->arrivals;
	p->taken++;
	return it;
}

static void item_give(struct connector_items *p, struct connector_item *it)
{
	must(p->taken);
	p->taken--;
	it->next = p->free;
	p->free = it;
}

static bool items_left(const struct connector_items *p)
{
	return p->free || p->used_top < p->room;
}

int connector_ring_open(struct connector *c, uint16_t peer, const int fds[4])
{
	struct connector_peer *p = &c->peer[peer];
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = peer};
	struct mr_ring *to = NULL, *from = NULL;
	size_t to_bytes = 0, from_bytes = 0;
	int r;

	connector_ring_close(c, peer);
	r = mr_ring_map(fds[0], &to, &to_bytes);
	if (!r)
		r = mr_ring_map(fds[2], &from, &from_bytes);
	if (!r && epoll_ctl(c->epoll, EPOLL_CTL_ADD, fds[3], &e) < 0)
		r = -errno;
	if (r)
		goto fail;
	close(fds[0]);
	close(fds[2]);
	p->to = to;
	p->from = from;
	p->to_bytes = to_bytes;
	p->from_bytes = from_bytes;
	p->to_event = fds[1];
	p->from_event = fds[3];
	p->up = true;
	return 0;
fail:
	if (from)
		munmap(from, from_bytes);
	if (to)
		munmap(to, to_bytes);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	return r;
}

void connector_ring_close(struct connector *c, uint16_t peer)
{
	struct connector_peer *p = &c->peer[peer];
	struct connector_item *it;

	if (!p->up)
		return;
	p->up = false;
	p->gen++;
	epoll_ctl(c->epoll, EPOLL_CTL_DEL, p->from_event, NULL);
	close(p->from_event);
	close(p->to_event);
	munmap(p->to, p->to_bytes);
	munmap(p->from, p->from_bytes);
	p->to = p->from = NULL;
	while ((it = connector_list_pop(&p->done)))
		item_give(&c->items, it);
	if (c->cfg)
		c->kind->peer_gone(c, peer);
}

/* A record that this process cannot have been meant to get is answered all the same: nothing may hang in a queue. */
static bool record_ours(const struct connector *c, const struct mr_msg *m)
{
	return m->dest < c->cfg->dests.count && mr_config_dest(c->cfg, m->dest)->kind == c->kind->dest_kind &&
	       m->journal < CONNECTOR_JOURNALS_MAX;
}

static uint32_t take_from(struct connector *c, uint16_t peer)
{
	struct connector_peer *p = &c->peer[peer];
	struct connector_item *it;
	struct mr_msg m;
	uint32_t n = 0;

	while (n < CONNECTOR_TAKE_BUDGET && items_left(&c->items) && mr_ring_pop(p->from, &m)) {
		n++;
		if (m.kind != MR_MSG_DELIVER)
			continue;
		it = item_take(&c->items);
		it->m = m;
		it->owner = peer;
		it->owner_gen = p->gen;
		if (record_ours(c, &m))
			c->kind->take(c, it);
		else
			connector_finish(c, it, MR_RESULT_DEAD, MR_REASON_GONE);
	}
	return n;
}

uint32_t connector_ring_take(struct connector *c)
{
	uint32_t n = 0;

	if (!c->cfg || c->draining)
		return 0;
	for (uint16_t i = 0; i < MR_PEERS_MAX; i++) {
		if (c->peer[i].up)
			n += take_from(c, i);
	}
	return n;
}

static bool flush_to(struct connector *c, struct connector_peer *p)
{
	struct connector_item *it;

	while ((it = p->done.head)) {
		if (!mr_ring_push(p->to, &it->m))
			break;
		p->wake = true;
		item_give(&c->items, connector_list_pop(&p->done));
	}
	if (p->wake && mr_ring_must_wake(p->to))
		eventfd_write(p->to_event, 1);
	p->wake = false;
	return p->done.head == NULL;
}

bool connector_ring_flush(struct connector *c)
{
	bool all = true;

	for (uint16_t i = 0; i < MR_PEERS_MAX; i++) {
		if (c->peer[i].up && c->peer[i].done.head)
			all = flush_to(c, &c->peer[i]) && all;
	}
	return all;
}

bool connector_ring_sleep(struct connector *c)
{
	bool may = true;

	if (!c->cfg || c->draining || !items_left(&c->items))
		return true; /* nothing would be taken now */
	for (uint16_t i = 0; i < MR_PEERS_MAX; i++) {
		if (c->peer[i].up)
			may = mr_ring_sleep(c->peer[i].from) && may;
	}
	return may;
}

void connector_ring_awake(struct connector *c)
{
	for (uint16_t i = 0; i < MR_PEERS_MAX; i++) {
		if (c->peer[i].up)
			mr_ring_awake(c->peer[i].from);
	}
}

void connector_drop(struct connector *c, struct connector_item *it)
{
	item_give(&c->items, it);
}

void connector_finish(struct connector *c, struct connector_item *it, enum mr_result result, enum mr_reason reason)
{
	struct connector_peer *p = &c->peer[it->owner];

	if (it->m.dest < c->cfg->dests.count) {
		if (result == MR_RESULT_DELIVERED)
			mr_count_dest(&c->region, MR_M_D_DELIVERED, it->m.dest, 1);
		else if (result == MR_RESULT_DEAD)
			mr_count_dest(&c->region, MR_M_D_DEAD, it->m.dest, 1);
	}
	if (connector_stale(c, it)) {
		item_give(&c->items, it);
		return;
	}
	must(p->up);
	it->m.kind = MR_MSG_OUTCOME;
	it->m.result = (uint8_t)result;
	it->m.reason = (uint8_t)reason;
	it->m.code[0] = it->m.code[1] = 0;
	connector_list_push(&p->done, it);
}
