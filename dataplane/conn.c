/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - accepted connections: received bytes to frames, limits of size and time, answers out, pushing back.
 *
 * Called by core.c for each event of a connection. Complete frames are handed to ingress.c straight from the receive
 * buffer; only what is incomplete or has to wait is copied into the connection's own memory. Must never keep a receive
 * buffer beyond the event, and never reads on from a sender that has to wait.
 */
#include "core.h"
#include "mllp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_END UINT32_MAX

int conn_init(struct core *c)
{
	c->conn = calloc(c->conn_count, sizeof(*c->conn));
	c->ack = calloc(ACK_WAIT_MAX, sizeof(*c->ack));
	c->stall_head = c->stall_tail = c->dirty_head = LIST_END;
	return c->conn && c->ack ? 0 : -ENOMEM;
}

static const struct mr_config_listener *conn_cfg(const struct core *c, const struct conn *k)
{
	return mr_config_listener(c->cfg, k->listener);
}

static uint64_t conn_hash(uint64_t h, const void *p, size_t n)
{
	const unsigned char *u = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ u[i]) * 0x100000001b3u;
	return h ^ h >> 29;
}

/* The timer looks at every limit of the connection; its period follows the shortest of them. */
static void conn_arm(struct core *c, struct conn *k)
{
	const struct mr_config_listener *l = conn_cfg(c, k);
	uint64_t least = l->frame_timeout_ns;

	if (l->idle_timeout_ns && l->idle_timeout_ns < least)
		least = l->idle_timeout_ns;
	if (l->send_timeout_ns && l->send_timeout_ns < least)
		least = l->send_timeout_ns;
	if (least > 4000000000u)
		least = 4000000000u;
	wheel_arm(&c->wheel, &k->timer, c->now_ns + (k->discarding ? DISCARD_NS / 8 : least / 4));
}

void conn_accept(struct core *c, const struct io_event *e)
{
	uint16_t li = (uint16_t)e->tag;
	struct listener *l = &c->listener[li];
	struct conn *k;

	if (e->conn >= c->conn_count || c->draining || l->connections >= l->connections_max ||
	    c->connections >= c->cfg->worker_connections_max) {
		mr_count_listener(&c->region, MR_M_L_CONN_REFUSED, li, 1);
		io_tag(c->io, e->conn, 0);
		io_close(c->io, e->conn, true);
		return;
	}
	k = &c->conn[e->conn];
	must(!k->used);
	memset(k, 0, offsetof(struct conn, gen));
	k->used = true;
	k->id = e->conn;
	k->gen++;
	memset((char *)k + offsetof(struct conn, peer_hash), 0, sizeof(*k) - offsetof(struct conn, peer_hash));
	k->listener = li;
	k->timer.kind = TAG_CONN;
	k->active_ns = c->now_ns;
	k->peer_hash = (uint32_t)conn_hash(c->hash_seed, e->addr.bytes, sizeof(e->addr.bytes));
	switch (mr_config_listener(c->cfg, li)->order_by) {
	case MR_ORDER_PEER:
		k->key = conn_hash(li, e->addr.bytes, sizeof(e->addr.bytes));
		break;
	case MR_ORDER_LISTENER:
		k->key = li;
		break;
	default:
		k->key = io_random(c->io);
	}
	io_tag(c->io, e->conn, core_tag(TAG_CONN, e->conn));
	l->connections++;
	c->connections++;
	mr_count_listener(&c->region, MR_M_L_CONN_OPENED, li, 1);
	mr_gauge_listener(&c->region, MR_M_L_CONNECTIONS, li, l->connections);
	conn_arm(c, k);
}

void conn_close(struct core *c, struct conn *k, enum mr_metric why)
{
	if (k->closing)
		return;
	k->closing = true;
	mr_count_listener(&c->region, why, k->listener, 1);
	io_close(c->io, k->id, why != MR_M_L_CLOSED_PEER && why != MR_M_L_CLOSED_DRAIN);
}

void conn_refuse(struct core *c, struct conn *k, enum mr_metric why)
{
	if (k->closing || k->discarding)
		return;
	mr_count_listener(&c->region, why, k->listener, 1);
	k->discarding = true;
	k->discard_until_ns = c->now_ns + DISCARD_NS;
	conn_arm(c, k);
}

static void conn_free_in(struct core *c, struct conn *k)
{
	frame_give(c->frames, k->in, k->in_room);
	k->in = NULL;
	k->in_at = k->in_bytes = k->in_room = k->scanned = 0;
}

static void conn_unstall_list(struct core *c, struct conn *k)
{
	uint32_t *at = &c->stall_head, last = LIST_END;

	if (!k->stall_listed)
		return;
	while (*at != k->id) {
		last = *at;
		at = &c->conn[*at].stall_next;
	}
	*at = k->stall_next;
	if (c->stall_tail == k->id)
		c->stall_tail = last;
	k->stall_listed = false;
	c->stall_count--;
}

void conn_closed(struct core *c, const struct io_event *e)
{
	struct conn *k = &c->conn[e->conn];
	struct listener *l;

	if (!k->used)
		return;
	l = &c->listener[k->listener];
	if (!k->closing)
		mr_count_listener(&c->region, e->result ? MR_M_L_CLOSED_ERROR : MR_M_L_CLOSED_PEER, k->listener, 1);
	wheel_cancel(&c->wheel, &k->timer);
	conn_unstall_list(c, k);
	conn_free_in(c, k);
	frame_give(c->frames, k->out, k->out_room);
	k->out = NULL;
	k->out_room = 0;
	k->used = false;
	k->gen++; /* answers still waiting for their commit have nobody to go to */
	l->connections--;
	c->connections--;
	mr_gauge_listener(&c->region, MR_M_L_CONNECTIONS, k->listener, l->connections);
}

/* ---- bytes in ---- */

static void conn_end_if_done(struct core *c, struct conn *k);

static void conn_stall(struct core *c, struct conn *k, uint8_t why)
{
	if (!k->stall)
		k->stall_since_ns = c->now_ns;
	k->stall = why;
	if (!k->paused) {
		k->paused = true;
		io_pause(c->io, k->id);
	}
	if (k->stall_listed)
		return;
	k->stall_listed = true;
	k->stall_next = LIST_END;
	if (c->stall_tail == LIST_END)
		c->stall_head = k->id;
	else
		c->conn[c->stall_tail].stall_next = k->id;
	c->stall_tail = k->id;
	c->stall_count++;
}

static bool conn_frame_too_large(struct core *c, struct conn *k, const char *p, uint32_t bytes)
{
	if (bytes <= conn_cfg(c, k)->frame_bytes_max + MLLP_OVERHEAD)
		return false;
	ingress_too_large(c, k, p + 1, conn_cfg(c, k)->frame_bytes_max);
	conn_refuse(c, k, MR_M_L_CLOSED_FRAME_SIZE);
	return true;
}

/* Handles what is complete in [p, p + bytes); returns how many bytes are used up. */
static uint32_t conn_consume(struct core *c, struct conn *k, const char *p, uint32_t bytes)
{
	uint32_t at = 0;

	while (at < bytes && !k->closing && !k->discarding) {
		struct mllp_result r;
		uint8_t stall = STALL_NONE;

		mllp_next(p + at, bytes - at, k->scanned, &r);
		if (r.status == MLLP_MORE) {
			k->scanned = r.scanned;
			if (conn_frame_too_large(c, k, p + at, bytes - at))
				return bytes;
			if (!k->frame_since_ns)
				k->frame_since_ns = c->now_ns;
			break;
		}
		k->scanned = 0;
		if (r.status == MLLP_JUNK) {
			mr_count_listener(&c->region, MR_M_L_JUNK_BYTES, k->listener, r.consumed);
			if (conn_cfg(c, k)->between == MR_BETWEEN_REFUSE) {
				conn_close(c, k, MR_M_L_CLOSED_JUNK);
				return bytes;
			}
			at += r.consumed;
			continue;
		}
		if (conn_frame_too_large(c, k, p + at, r.frame_bytes + MLLP_OVERHEAD))
			return bytes;
		switch (ingress_frame(c, k, p + at + r.frame_offset, r.frame_bytes, r.inner_start, &stall)) {
		case INGRESS_STALL:
			conn_stall(c, k, stall);
			return at;
		case INGRESS_CLOSE:
			return bytes;
		case INGRESS_DONE:
			k->frame_since_ns = 0;
			at += r.consumed;
		}
	}
	return at;
}

/* Appends to the connection's own memory; false if there is none left to have. */
static bool conn_keep(struct core *c, struct conn *k, const char *p, uint32_t bytes)
{
	uint64_t need = (uint64_t)k->in_bytes + bytes;

	if (k->in_at + need > k->in_room && k->in_at && need <= k->in_room) {
		memmove(k->in, k->in + k->in_at, k->in_bytes);
		k->in_at = 0;
	}
	if (k->in_at + need > k->in_room) {
		uint64_t most = mr_align_up(conn_cfg(c, k)->frame_bytes_max + MLLP_OVERHEAD, FRAME_BLOCK_BYTES);
		uint64_t want = need < 65536 ? need : need + need / 2;
		uint32_t room;
		char *b;

		if (want > most && need <= most)
			want = most;
		b = frame_take(c->frames, want, &room);
		if (!b && want > need)
			b = frame_take(c->frames, need, &room);
		if (!b)
			return false;
		if (k->in_bytes)
			memcpy(b, k->in + k->in_at, k->in_bytes);
		frame_give(c->frames, k->in, k->in_room);
		k->in = b;
		k->in_room = room;
		k->in_at = 0;
	}
	memcpy(k->in + k->in_at + k->in_bytes, p, bytes);
	k->in_bytes += bytes;
	return true;
}

static void conn_consume_kept(struct core *c, struct conn *k)
{
	uint32_t used = conn_consume(c, k, k->in + k->in_at, k->in_bytes);

	k->in_at += used;
	k->in_bytes -= used;
	if (!k->in_bytes || k->closing || k->discarding)
		conn_free_in(c, k);
}

void conn_received(struct core *c, const struct io_event *e)
{
	struct conn *k = &c->conn[e->conn];
	uint32_t used = 0;

	if (!k->used || k->closing)
		goto out;
	k->active_ns = c->now_ns;
	if (k->discarding) {
		k->discarded += e->bytes;
		if (k->discarded > DISCARD_BYTES) {
			k->closing = true;
			io_close(c->io, k->id, true);
		}
		goto out;
	}
	if (!k->in_bytes && !k->stall)
		used = conn_consume(c, k, e->data, e->bytes);
	if (used < e->bytes && !k->closing && !k->discarding) {
		if (!conn_keep(c, k, e->data + used, e->bytes - used))
			conn_close(c, k, MR_M_L_CLOSED_MEMORY);
		else if (used == 0 && !k->stall && k->in_bytes > e->bytes)
			conn_consume_kept(c, k);
	}
out:
	io_release(c->io, e->buffer);
}

void conn_retry_stalled(struct core *c)
{
	uint32_t n = c->stall_count < STALL_RETRIES_A_TURN ? c->stall_count : STALL_RETRIES_A_TURN;

	while (n-- && c->stall_head != LIST_END) {
		struct conn *k = &c->conn[c->stall_head];
		uint8_t was = k->stall;

		c->stall_head = k->stall_next;
		if (c->stall_head == LIST_END)
			c->stall_tail = LIST_END;
		k->stall_listed = false;
		c->stall_count--;
		mr_count_listener(&c->region, MR_M_L_BACKPRESSURE_NS, k->listener, c->now_ns - k->stall_since_ns);
		k->stall = STALL_NONE; /* conn_stall() begins to count anew */
		conn_consume_kept(c, k);
		if (!k->stall) {
			if (!k->closing) {
				k->paused = false;
				io_resume(c->io, k->id);
				conn_end_if_done(c, k);
			}
		} else if (k->stall == was && was == STALL_JOURNAL) {
			return; /* full for one is full for all: the others keep their places */
		}
	}
}

/* ---- answers out ---- */

void conn_dirty(struct core *c, struct conn *k)
{
	if (k->dirty)
		return;
	k->dirty = true;
	k->dirty_next = c->dirty_head;
	c->dirty_head = k->id;
}

static void conn_send(struct core *c, struct conn *k)
{
	if (k->sending || k->closing || k->out_ready == k->out_sent)
		return;
	k->sending = true;
	k->send_since_ns = c->now_ns;
	io_send(c->io, k->id, k->out + (k->out_sent - k->out_base), k->out_ready - k->out_sent);
	k->out_sent = k->out_ready;
}

void conn_flush(struct core *c)
{
	while (c->dirty_head != LIST_END) {
		struct conn *k = &c->conn[c->dirty_head];

		c->dirty_head = k->dirty_next;
		k->dirty = false;
		if (!k->used)
			continue;
		conn_send(c, k);
		conn_end_if_done(c, k);
	}
}

/* The peer sends no more: its connection ends when all that it sent is answered. */
static void conn_end_if_done(struct core *c, struct conn *k)
{
	if (k->eof && !k->stall && !k->waiting && !k->sending && k->out_sent == k->out_ready)
		conn_close(c, k, MR_M_L_CLOSED_PEER);
}

void conn_eof(struct core *c, const struct io_event *e)
{
	struct conn *k = &c->conn[e->conn];

	if (!k->used)
		return;
	k->eof = true;
	if (k->discarding && !k->closing) {
		k->closing = true;
		io_close(c->io, k->id, false);
	}
	conn_end_if_done(c, k);
}

void conn_sent(struct core *c, const struct io_event *e)
{
	struct conn *k = &c->conn[e->conn];

	if (!k->used)
		return;
	k->sending = false;
	k->active_ns = c->now_ns;
	if (k->out_sent == k->out_end) { /* all answers are out: the memory goes back */
		frame_give(c->frames, k->out, k->out_room);
		k->out = NULL;
		k->out_room = 0;
		if (k->discarding)
			io_finish(c->io, k->id);
		conn_end_if_done(c, k);
	} else {
		conn_dirty(c, k);
	}
}

/* ---- time ---- */

void conn_timer(struct core *c, struct conn *k)
{
	const struct mr_config_listener *l = conn_cfg(c, k);

	if (!k->used || k->closing)
		return;
	if (k->discarding && c->now_ns >= k->discard_until_ns) {
		k->closing = true;
		io_close(c->io, k->id, true);
		return;
	}
	if (k->sending && l->send_timeout_ns && c->now_ns - k->send_since_ns > l->send_timeout_ns)
		conn_close(c, k, MR_M_L_CLOSED_SEND_TIME);
	else if (k->frame_since_ns && !k->stall && c->now_ns - k->frame_since_ns > l->frame_timeout_ns)
		conn_close(c, k, MR_M_L_CLOSED_FRAME_TIME);
	else if (l->idle_timeout_ns && !k->frame_since_ns && !k->stall && !k->waiting && !k->sending &&
		 c->now_ns - k->active_ns > l->idle_timeout_ns)
		conn_close(c, k, MR_M_L_CLOSED_IDLE);
	if (!k->closing)
		conn_arm(c, k);
}

/* ---- draining ---- */

void conn_drain(struct core *c)
{
	for (uint32_t i = 0; i < c->conn_count; i++) {
		struct conn *k = &c->conn[i];

		if (!k->used || k->closing)
			continue;
		if (!k->paused) { /* nothing new is taken in; what came whole was taken already */
			k->paused = true;
			io_pause(c->io, i);
		}
		if (!k->waiting && !k->sending && k->out_ready == k->out_sent)
			conn_close(c, k, MR_M_L_CLOSED_DRAIN);
	}
}
