/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dest_mllp.c - delivering: one lane is one connection to an MLLP destination, with its items in order.
 *
 * Items come from their owners (queue.c here, or a ring), wait in the lane, are sent when the window has room, and are
 * finished by dest_answer.c. A lane that fails puts what was sent back in front, in order, waits (exponential back-off
 * with jitter) and connects again; nothing overtakes within a lane. Payloads are read where they lie: the journal's
 * tail, else its file through io.h, with read-ahead. Called by core.c on the core's thread; never allocates.
 */
#include "dest_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* ---- set-up ---- */

static bool dest_literal(const char *host, struct mr_link_addr *a)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, host, a->bytes) == 1)
		a->family = AF_INET;
	else if (inet_pton(AF_INET6, host, a->bytes) == 1)
		a->family = AF_INET6;
	return a->family != 0;
}

int dest_init(struct core *c)
{
	uint32_t dests = c->cfg->dests.count, lanes = 0, at = 0;

	c->dest = calloc(dests + 1, sizeof(*c->dest));
	for (uint32_t d = 0; d < dests; d++)
		if (mr_config_dest(c->cfg, d)->owner == c->index)
			lanes += mr_config_dest(c->cfg, d)->connections;
	c->lane = calloc(lanes + 1, sizeof(*c->lane));
	/* One share more than there are owners: for what was sent for one that died since, and is not answered yet. */
	c->item_count = lanes * (c->cfg->workers + 1u) * LANE_CREDIT + 1;
	c->item = mmap(NULL, (size_t)c->item_count * sizeof(*c->item), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!c->dest || !c->lane || c->item == MAP_FAILED)
		return -ENOMEM;
	c->item_free = c->lane_list = c->report_head = c->report_tail = ITEM_NONE;
	c->lane_count = lanes;
	for (uint32_t d = 0; d < dests; d++) {
		const struct mr_config_dest *cd = mr_config_dest(c->cfg, d);

		c->dest[d].paused = cd->paused;
		if (cd->owner != c->index)
			continue;
		c->dest[d].mine = true;
		c->dest[d].lane_first = at;
		if (dest_literal(mr_config_string(c->cfg, cd->host), &c->dest[d].addr[0]))
			c->dest[d].addr_count = 1;
		for (uint32_t k = 0; k < cd->connections; k++, at++) {
			c->lane[at] = (struct lane){.dest = (uint16_t)d, .lane = (uint8_t)k, .index = at, .conn = -1,
						    .state = MR_LANE_IDLE, .wait_head = ITEM_NONE, .wait_tail = ITEM_NONE,
						    .sent_head = ITEM_NONE, .sent_tail = ITEM_NONE};
			c->lane[at].timer.kind = TAG_LANE;
			dest_list(c, &c->lane[at]);
		}
	}
	return 0;
}

void dest_destroy(struct core *c)
{
	if (c->item && c->item != MAP_FAILED)
		munmap(c->item, (size_t)c->item_count * sizeof(*c->item));
	free(c->dest);
	free(c->lane);
}

void dest_list(struct core *c, struct lane *l)
{
	if (l->listed)
		return;
	l->listed = true;
	l->list_next = c->lane_list;
	c->lane_list = l->index;
}

static void lane_state(struct core *c, struct lane *l, uint8_t state, int error)
{
	struct mr_lane_info *i = &c->region.lanes[c->region.lane_first[l->dest] + l->lane];

	if (l->state == MR_LANE_UP && state != MR_LANE_UP)
		mr_count_dest(&c->region, MR_M_D_CONNECTED, l->dest, (uint64_t)-1);
	else if (l->state != MR_LANE_UP && state == MR_LANE_UP)
		mr_count_dest(&c->region, MR_M_D_CONNECTED, l->dest, 1);
	l->state = state;
	i->state = state == MR_LANE_UP && c->dest[l->dest].paused ? MR_LANE_PAUSED : state;
	mr_set_own(&i->since_ns, c->realtime_ns);
	mr_set_own(&i->retry_at_ns, l->retry_at_ns > c->now_ns ? c->realtime_ns + (l->retry_at_ns - c->now_ns) : 0);
	i->failures = l->failures;
	if (error)
		i->error = error;
}

void lane_outstanding(struct core *c, struct lane *l, int32_t change)
{
	l->sent_count += (uint32_t)change;
	c->region.lanes[c->region.lane_first[l->dest] + l->lane].outstanding = l->sent_count;
	mr_count_dest(&c->region, MR_M_D_OUTSTANDING, l->dest, (uint64_t)(int64_t)change);
}

/* ---- items ---- */

bool dest_room(const struct core *c)
{
	return c->item_free != ITEM_NONE || c->item_used < c->item_count;
}

bool dest_take(struct core *c, uint32_t owner, const struct mr_msg *m)
{
	struct lane *l;
	uint32_t i = c->item_free;

	if (m->dest >= c->cfg->dests.count || !c->dest[m->dest].mine || m->lane >= mr_config_dest(c->cfg, m->dest)->connections) {
		mr_count_worker(&c->region, MR_M_W_STALE_OUTCOMES, 1);
		return true; /* from an owner with another configuration; it hands out again when it has ours */
	}
	if (i != ITEM_NONE)
		c->item_free = c->item[i].next;
	else if (c->item_used < c->item_count)
		i = c->item_used++;
	else
		return false;
	l = &c->lane[c->dest[m->dest].lane_first + m->lane];
	c->item[i] = (struct lane_item){.m = *m, .next = ITEM_NONE, .owner = (uint16_t)owner, .owner_gen = c->peer[owner].gen};
	if (l->wait_tail == ITEM_NONE)
		l->wait_head = i;
	else
		c->item[l->wait_tail].next = i;
	l->wait_tail = i;
	l->wait_count++;
	dest_list(c, l);
	return true;
}

uint32_t lane_pop_wait(struct core *c, struct lane *l)
{
	uint32_t i = l->wait_head;

	l->wait_head = c->item[i].next;
	if (l->wait_head == ITEM_NONE)
		l->wait_tail = ITEM_NONE;
	l->wait_count--;
	return i;
}

static void lane_unlink_sent(struct core *c, struct lane *l, uint32_t item)
{
	uint32_t *at = &l->sent_head, last = ITEM_NONE;

	while (*at != item) {
		must(*at != ITEM_NONE);
		last = *at;
		at = &c->item[*at].next;
	}
	*at = c->item[item].next;
	if (l->sent_tail == item)
		l->sent_tail = last;
	lane_outstanding(c, l, -1);
}

static void item_release(struct core *c, uint32_t i)
{
	c->item[i].next = c->item_free;
	c->item_free = i;
}

static void item_report(struct core *c, uint32_t i)
{
	c->item[i].next = ITEM_NONE;
	if (c->report_tail == ITEM_NONE)
		c->report_head = i;
	else
		c->item[c->report_tail].next = i;
	c->report_tail = i;
}

/* Its owner died since: the successor hands the same work out again. */
static bool item_stale(const struct core *c, const struct lane_item *it)
{
	return it->owner != c->index && (it->owner_gen != c->peer[it->owner].gen || !c->peer[it->owner].present);
}

/* Outcomes to their owners, in order; one whose owner died since goes nowhere: the successor hands the work out again. */
static void dest_report(struct core *c)
{
	while (c->report_head != ITEM_NONE) {
		uint32_t i = c->report_head;
		struct lane_item *it = &c->item[i];

		if (!item_stale(c, it)) {
			if (it->owner == c->index) {
				if (!queue_outcomes_room(c))
					return;
				queue_outcome(c, &it->m);
			} else if (!ring_push(c, it->owner, &it->m)) {
				return;
			}
		}
		c->report_head = it->next;
		if (c->report_head == ITEM_NONE)
			c->report_tail = ITEM_NONE;
		item_release(c, i);
	}
}

/* A sent item is finished: out of the lane, outcome to its owner. */
void dest_finish(struct core *c, struct lane *l, uint32_t item, uint8_t result, uint8_t reason, const char *code)
{
	static const enum mr_metric metric[] = {0, MR_M_D_DELIVERED, MR_M_D_DEAD, MR_M_D_DROPPED};
	struct lane_item *it = &c->item[item];

	lane_unlink_sent(c, l, item);
	l->past[l->past_at++ % LANE_IDS_REMEMBERED] = it->id_hash;
	it->m.kind = MR_MSG_OUTCOME;
	it->m.result = result;
	it->m.reason = reason;
	it->m.code[0] = code ? code[0] : 0;
	it->m.code[1] = code ? code[1] : 0;
	mr_count_dest(&c->region, metric[result], l->dest, 1);
	item_report(c, item);
	dest_list(c, l);
}

/* Sent items go back in front of the waiting ones, in their order. */
static void lane_unsend(struct core *c, struct lane *l, bool count_attempt)
{
	uint32_t attempts_max = lane_cfg(c, l)->attempts_max;

	for (uint32_t i = l->sent_head; i != ITEM_NONE;) {
		uint32_t next = c->item[i].next;

		l->past[l->past_at++ % LANE_IDS_REMEMBERED] = c->item[i].id_hash;
		if (item_stale(c, &c->item[i])) { /* or it would be delivered once more than needed */
			lane_unlink_sent(c, l, i);
			item_release(c, i);
		} else if (count_attempt) {
			c->item[i].m.attempts++;
			mr_count_dest(&c->region, MR_M_D_RETRIES, l->dest, 1);
			if (attempts_max && c->item[i].m.attempts >= attempts_max)
				dest_finish(c, l, i, MR_RESULT_DEAD, MR_REASON_ATTEMPTS, NULL);
		}
		i = next;
	}
	if (l->sent_head == ITEM_NONE)
		return;
	c->item[l->sent_tail].next = l->wait_head;
	if (l->wait_tail == ITEM_NONE)
		l->wait_tail = l->sent_tail;
	l->wait_head = l->sent_head;
	l->wait_count += l->sent_count;
	lane_outstanding(c, l, -(int32_t)l->sent_count);
	l->sent_head = l->sent_tail = ITEM_NONE;
}

void dest_owner_gone(struct core *c, uint32_t owner)
{
	for (uint32_t k = 0; k < c->lane_count; k++) { /* what it handed out and was not sent yet comes again */
		struct lane *l = &c->lane[k];
		uint32_t *at = &l->wait_head, last = ITEM_NONE;

		while (*at != ITEM_NONE) {
			uint32_t i = *at;

			if (c->item[i].owner == owner) {
				*at = c->item[i].next;
				l->wait_count--;
				item_release(c, i);
			} else {
				last = i;
				at = &c->item[i].next;
			}
		}
		l->wait_tail = last;
	}
}

/* ---- connecting ---- */

static uint64_t lane_backoff(struct core *c, struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);
	uint64_t delay = d->retry_first_ns;

	for (uint32_t n = 1; n < l->failures && delay < d->retry_max_ns; n++)
		delay *= 2;
	if (delay > d->retry_max_ns)
		delay = d->retry_max_ns;
	return delay - delay / 4 + io_random(c->io) % (delay / 2 + 1); /* 75 % to 125 % */
}

/* How long the lane's oldest message may go without an answer. */
uint64_t lane_patience_ns(const struct core *c, const struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);

	return c->item[l->sent_head].no_answer && d->ack_timeout_ns > LANE_NO_ANSWER_NS ? LANE_NO_ANSWER_NS : d->ack_timeout_ns;
}

/* Is it a connection on demand with nothing to do? */
static bool lane_may_idle(const struct core *c, const struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);

	return l->state == MR_LANE_UP && !l->closing && l->sent_head == ITEM_NONE && l->wait_head == ITEM_NONE && !l->sending &&
	       d->connect == MR_CONNECT_DEMAND && d->idle_timeout_ns && l->idle_since_ns;
}

/* The lane's one timer follows whatever is due first. */
void lane_arm(struct core *c, struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);
	uint64_t at = UINT64_MAX;

	if (l->retry_at_ns > c->now_ns)
		at = l->retry_at_ns;
	if (l->state == MR_LANE_UP && l->sent_head != ITEM_NONE && c->item[l->sent_head].sent_ns + lane_patience_ns(c, l) < at)
		at = c->item[l->sent_head].sent_ns + lane_patience_ns(c, l);
	if (l->state == MR_LANE_RESOLVING && c->now_ns + d->connect_timeout_ns < at)
		at = c->now_ns + d->connect_timeout_ns;
	if (lane_may_idle(c, l) && l->idle_since_ns + d->idle_timeout_ns < at)
		at = l->idle_since_ns + d->idle_timeout_ns;
	if (at != UINT64_MAX) /* never for this very moment: what fires now and arms again would never end */
		wheel_arm(&c->wheel, &l->timer, at > c->now_ns ? at : c->now_ns + 1);
}

static void lane_wait(struct core *c, struct lane *l, int error)
{
	uint32_t code = error == -ETIMEDOUT && l->state == MR_LANE_UP ? MR_CODE_ACK_TIMEOUT : MR_CODE_DESTINATION_DOWN;

	l->failures++;
	l->failed_up = l->state == MR_LANE_UP;
	l->retry_at_ns = c->now_ns + lane_backoff(c, l);
	lane_state(c, l, MR_LANE_BACKOFF, error);
	lane_arm(c, l);
	mr_region_error(&c->region, code, l->dest, error, c->realtime_ns);
	if (l->failures == 2 || error != -ECONNRESET)
		link_trouble(c, 4, code, l->dest, error, false, "destination %s: %s; trying again", lane_cfg(c, l)->name,
			     code == MR_CODE_ACK_TIMEOUT ? "no answer in time" : strerror(-error));
}

static void lane_connect(struct core *c, struct lane *l)
{
	struct dest *d = &c->dest[l->dest];
	int r = io_connect(c->io, &d->addr[d->addr_next++ % d->addr_count], lane_cfg(c, l)->port,
			   lane_cfg(c, l)->connect_timeout_ns, core_tag(TAG_LANE, l->index));

	if (r < 0) {
		lane_wait(c, l, r);
		return;
	}
	l->conn = r;
	lane_state(c, l, MR_LANE_CONNECTING, 0);
}

static void lane_start(struct core *c, struct lane *l)
{
	struct mr_link_addr literal;
	struct mr_link_msg ask = {.type = MR_LINK_RESOLVE};

	if (dest_literal(mr_config_string(c->cfg, lane_cfg(c, l)->host), &literal)) {
		lane_connect(c, l);
		return;
	}
	if (c->link_fd < 0) { /* nobody to ask: the last known address will do */
		if (c->dest[l->dest].addr_count)
			lane_connect(c, l);
		else
			lane_wait(c, l, -EHOSTUNREACH);
		return;
	}
	ask.u.resolve.dest = l->dest;
	link_send(c, &ask, NULL, 0);
	lane_state(c, l, MR_LANE_RESOLVING, 0);
	lane_arm(c, l);
}

void dest_resolved(struct core *c, const struct mr_link_msg *m)
{
	struct dest *d;

	if (m->u.resolve.dest >= c->cfg->dests.count || m->u.resolve.count > MR_LINK_ADDRS_MAX)
		return;
	d = &c->dest[m->u.resolve.dest];
	if (!d->mine)
		return;
	if (m->u.resolve.count) {
		memcpy(d->addr, m->u.resolve.addr, sizeof(d->addr));
		d->addr_count = m->u.resolve.count;
	}
	for (uint32_t k = 0; k < mr_config_dest(c->cfg, m->u.resolve.dest)->connections; k++) {
		struct lane *l = &c->lane[d->lane_first + k];

		if (l->state != MR_LANE_RESOLVING)
			continue;
		if (d->addr_count)
			lane_connect(c, l);
		else
			lane_wait(c, l, -EHOSTUNREACH);
	}
}

/* The connection is of no more use. What was sent and not answered will be sent again, first. */
void dest_lane_failed(struct core *c, struct lane *l, int error, bool count_attempt)
{
	lane_unsend(c, l, count_attempt);
	if (l->conn >= 0 && !l->closing) {
		l->closing = true; /* the rest follows when IO_CLOSED says that nothing refers to our memory any more */
		io_close(c->io, (uint32_t)l->conn, true);
	}
	lane_wait(c, l, error);
}

/* The destination said "not now": what was sent goes back in front and is sent again later, on the same connection. */
void dest_retry_later(struct core *c, struct lane *l)
{
	lane_unsend(c, l, true);
	l->failures++;
	l->retry_at_ns = c->now_ns + lane_backoff(c, l);
	lane_state(c, l, l->state, 0);
	lane_arm(c, l);
}

static void lane_pump(struct core *c, struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);
	bool work = l->wait_head != ITEM_NONE && !c->dest[l->dest].paused && !c->draining;

	if (l->retry_at_ns > c->now_ns || l->closing)
		return;
	if (l->state == MR_LANE_UP) {
		if (work && !l->sending && !l->reading)
			lane_compose(c, l);
		return;
	}
	if ((l->state == MR_LANE_IDLE || l->state == MR_LANE_BACKOFF) && l->conn < 0) {
		if (work || (d->connect == MR_CONNECT_START && !c->draining && c->state >= MR_STATE_READY))
			lane_start(c, l);
		else
			lane_state(c, l, MR_LANE_IDLE, 0);
	}
}

void dest_pump(struct core *c)
{
	uint32_t i = c->lane_list;

	c->lane_list = ITEM_NONE;
	while (i != ITEM_NONE) {
		struct lane *l = &c->lane[i];

		i = l->list_next;
		l->listed = false;
		lane_pump(c, l);
	}
	dest_report(c);
}

/* ---- events ---- */

static void lane_up(struct core *c, struct lane *l)
{
	l->progress = 0;
	l->in_bytes = l->in_scanned = 0;
	l->idle_since_ns = c->now_ns;
	lane_state(c, l, MR_LANE_UP, 0);
	mr_count_dest(&c->region, MR_M_D_CONNECTS, l->dest, 1);
	if (!l->failed_up) /* one that fails after it connects has to answer before it is well again */
		link_trouble(c, 4, MR_CODE_DESTINATION_DOWN, l->dest, 0, true, "destination %s: connected", lane_cfg(c, l)->name);
	dest_list(c, l);
}

static void lane_closed(struct core *c, struct lane *l, int32_t result)
{
	bool was_up = l->state == MR_LANE_UP, was_closing = l->closing;

	l->conn = -1;
	l->closing = l->sending = false;
	lane_give_out(c, l);
	lane_give_ahead(c, l);
	frame_give(c->frames, l->in, l->in_room);
	l->in = NULL;
	l->in_room = l->in_bytes = l->in_scanned = 0;
	dest_list(c, l);
	if (was_closing)
		return; /* we closed it: state and back-off are set already */
	if (!was_up)
		mr_count_dest(&c->region, MR_M_D_CONNECT_ERRORS, l->dest, 1);
	if (was_up && l->progress && l->sent_head == ITEM_NONE) { /* it served us and went: no failure */
		l->failures = 0;
		lane_state(c, l, MR_LANE_IDLE, 0);
		l->retry_at_ns = l->wait_head != ITEM_NONE ? 0 : c->now_ns + lane_cfg(c, l)->retry_first_ns;
		lane_arm(c, l);
		return;
	}
	dest_lane_failed(c, l, result ? result : -ECONNRESET, was_up);
}

static void lane_on_sent(struct core *c, struct lane *l)
{
	l->sending = false;
	if (l->out_room > LANE_OUT_BYTES || l->wait_head == ITEM_NONE)
		lane_give_out(c, l);
	l->out_bytes = 0;
	dest_list(c, l);
	while (lane_cfg(c, l)->answers == MR_ANSWERS_BY_MSH && l->sent_head != ITEM_NONE && c->item[l->sent_head].no_answer)
		dest_finish(c, l, l->sent_head, MR_RESULT_DELIVERED, MR_REASON_NONE, NULL);
	if (l->in_bytes)
		dest_answer_kept(c, l);
}

void dest_event(struct core *c, const struct io_event *e)
{
	struct lane *l = &c->lane[e->tag & 0xffffffffu];
	bool mine = l->conn == (int32_t)e->conn;

	switch (e->type) {
	case IO_CONNECTED:
		if (mine && !l->closing)
			lane_up(c, l);
		break;
	case IO_RECEIVED:
		if (mine && !l->closing)
			dest_answer(c, l, e->data, e->bytes);
		io_release(c->io, e->buffer);
		break;
	case IO_SENT:
		if (mine && !l->closing)
			lane_on_sent(c, l);
		break;
	case IO_EOF:
		if (mine && !l->closing)
			io_close(c->io, e->conn, false);
		break;
	case IO_CLOSED:
		if (mine)
			lane_closed(c, l, e->result);
		break;
	}
}

void dest_timer(struct core *c, struct lane *l)
{
	const struct mr_config_dest *d = lane_cfg(c, l);

	dest_list(c, l);
	if (l->state == MR_LANE_RESOLVING && !l->closing) {
		if (c->dest[l->dest].addr_count)
			lane_connect(c, l);
		else
			lane_wait(c, l, -EHOSTUNREACH);
	} else if (l->state == MR_LANE_UP && !l->closing && l->sent_head != ITEM_NONE &&
		   c->now_ns >= c->item[l->sent_head].sent_ns + lane_patience_ns(c, l)) {
		if (c->item[l->sent_head].no_answer && !l->sending) { /* it asked for none and none came */
			dest_finish(c, l, l->sent_head, MR_RESULT_DELIVERED, MR_REASON_NONE, NULL);
			lane_arm(c, l);
			return;
		}
		/* The answer may still come, and must never be taken for a later message's: this connection is poisoned. */
		mr_count_dest(&c->region, MR_M_D_ACK_TIMEOUT, l->dest, 1);
		dest_lane_failed(c, l, -ETIMEDOUT, true);
		return;
	} else if (lane_may_idle(c, l) && c->now_ns >= l->idle_since_ns + d->idle_timeout_ns) {
		l->closing = true;
		io_close(c->io, (uint32_t)l->conn, false);
		lane_state(c, l, MR_LANE_IDLE, 0);
	}
	lane_arm(c, l);
}

void dest_pause(struct core *c, uint32_t dest, bool paused)
{
	struct dest *d = &c->dest[dest];

	d->paused = paused;
	if (!d->mine)
		return;
	mr_gauge_dest(&c->region, MR_M_D_PAUSED, dest, paused);
	for (uint32_t k = 0; k < mr_config_dest(c->cfg, dest)->connections; k++) {
		struct lane *l = &c->lane[d->lane_first + k];

		if (!paused)
			l->retry_at_ns = 0;
		lane_state(c, l, l->state, 0);
		dest_list(c, l);
	}
}

uint32_t dest_outstanding(const struct core *c)
{
	uint32_t n = c->report_head != ITEM_NONE;

	for (uint32_t i = 0; i < c->lane_count; i++)
		n += c->lane[i].sent_count;
	return n;
}
