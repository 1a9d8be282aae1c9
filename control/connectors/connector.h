/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector.h - what every connector shares: the link to the control process, rings with the workers, journals, the
 * region.
 *
 * A connector is a process that owns slow destinations. To a worker it is one more ring peer: it takes DELIVER records,
 * reads each message from the worker's journal, delivers it and answers OUTCOME. One loop (connector_run) does all of
 * that but the slow part, which a kind of connector gives to its own threads. Everything below belongs to the loop's
 * thread unless its comment says otherwise.
 */
#ifndef MILLRACE_CONNECTOR_H
#define MILLRACE_CONNECTOR_H

#include "mr_config.h"
#include "mr_journal.h"
#include "mr_link.h"
#include "mr_region.h"
#include "mr_ring.h"

#include <pthread.h>

#define CONNECTOR_JOURNALS_MAX  1024       /* journal numbers 0.. that can be read */
#define CONNECTOR_IDLE_WAIT_NS  250000000u /* longest sleep: heartbeat */
#define CONNECTOR_RING_WAIT_NS  1000000u   /* a peer's ring is full: look again after this */
#define CONNECTOR_LINK_RETRY_NS 200000000u
#define CONNECTOR_LINK_FIRST_NS 15000000000u /* no configuration after this long: give up */
#define CONNECTOR_TAKE_BUDGET   4096         /* ring records of one turn and peer */

/* What an epoll event of the loop is about: below these a peer's ring. */
enum connector_event { CONNECTOR_EVENT_WORK = MR_PEERS_MAX, CONNECTOR_EVENT_LINK, CONNECTOR_EVENT_SIGNAL };

/* MR codes of connectors; control/errors.def explains them. */
enum connector_code {
	CONNECTOR_MR_UNREADABLE = 3006, /* a message could not be read back from the journal */
	CONNECTOR_MR_WRITE = 4007,      /* the destination cannot be written; tried again */
	CONNECTOR_MR_CONFIG = 6008,     /* another configuration came; this process goes on with its own */
};

struct connector_item { /* one message taken from a worker. Owner: the loop, or the one job it is in (see file.h) */
	struct mr_msg m;
	struct connector_item *next;
	uint64_t arrival;    /* grows with each message taken: the order to keep */
	uint64_t started_ns; /* monotonic, of the present try */
	uint32_t owner_gen;
	uint16_t owner;  /* peer number */
	uint16_t unread; /* times its payload could not be read */
	int32_t error;   /* of the last try: 0 or -errno */
	uint8_t step;    /* the kind's own: how far the last try came */
	bool again;      /* this is not its first try */
	bool sent;       /* its bytes were written in the last try */
};

struct connector_list { /* singly linked, first in first out */
	struct connector_item *head, *tail;
	uint32_t count;
};

struct connector_peer {
	struct mr_ring *to, *from;
	size_t to_bytes, from_bytes;
	int to_event, from_event; /* eventfd of the peer; ours for the ring from it */
	uint32_t gen;             /* grows whenever its rings come or go: stale work is told apart by it */
	bool up;
	bool wake;                  /* something was pushed: ask whether it sleeps */
	struct connector_list done; /* outcomes that wait for room in its ring */
};

/* Tails of the journals by number. Any thread, under `lock`: the loop sets them, readers take copies. */
struct connector_journals {
	pthread_mutex_t lock;
	char data[512];
	int tail_fd[CONNECTOR_JOURNALS_MAX];  /* -1: none */
	uint32_t gen[CONNECTOR_JOURNALS_MAX]; /* grows with each new tail */
};

struct connector_reads { /* one thread's readers */
	struct connector_journals *journals;
	struct mr_reader *reader[CONNECTOR_JOURNALS_MAX];
	uint32_t gen[CONNECTOR_JOURNALS_MAX];
};

struct connector_items { /* a fixed pool; memory is touched when used */
	struct connector_item *all, *free;
	uint32_t room, used_top;
	uint32_t taken;
	uint64_t arrivals;
};

struct connector;

struct connector_kind {
	const char *name;  /* RUN/connector-<name>.region */
	uint8_t dest_kind; /* enum mr_dest_kind it delivers to */

	/* The configuration is there (c->cfg): take up the destinations. Returns 0 or -errno (the process ends). */
	int (*start)(struct connector *c);
	/* Are all destinations looked at, so that READY may be said? */
	bool (*ready)(struct connector *c);
	/* One message for @it->m.dest, a destination of this kind. Takes @it; gives it back with connector_finish(). */
	void (*take)(struct connector *c, struct connector_item *it);
	void (*pause)(struct connector *c, uint32_t dest, bool paused);
	/* The rings of this peer are gone: drop what it waits for with connector_drop(); work in flight is finished. */
	void (*peer_gone)(struct connector *c, uint16_t peer);
	/* Once a turn. Returns the monotonic time it wants the next turn at the latest. */
	uint64_t (*turn)(struct connector *c);
	/* A new control process listens: say again what troubles are open. */
	void (*tell)(struct connector *c);
	/* Draining: is everything that was taken finished or returned? @give_up: the time is over, return what can be.
	 */
	bool (*drained)(struct connector *c, bool give_up);
	void (*stop)(struct connector *c);
};

struct connector {
	const struct connector_kind *kind;
	void *state; /* the kind's own */
	char run[512];
	const struct mr_config *cfg; /* NULL until it came */
	size_t cfg_bytes;
	struct mr_region_writer region;
	int epoll, link, work_event, signals;
	uint64_t incarnation;
	uint64_t now_ns, realtime_ns; /* at the start of this turn: monotonic, realtime */
	uint64_t started_ns, link_retry_ns, drain_until_ns;
	bool ready_said, draining;
	int failed; /* the process must end: -errno */
	struct connector_peer peer[MR_PEERS_MAX];
	struct connector_items items;
	struct connector_journals journals;
};

/**
 * connector_run - be a connector of this kind until drained.
 *
 * @kind  Borrowed. @run  The hub's run folder.
 * Returns the exit status: 0 after a drain, 1 if it could not work (said on stderr).
 */
int connector_run(const struct connector_kind *kind, const char *run);

/** connector_finish - this is what became of @it: counts it and answers its owner, if that is still there. Takes @it.
 */
void connector_finish(struct connector *c, struct connector_item *it, enum mr_result result, enum mr_reason reason);

/** connector_drop - forget @it without an answer. Takes @it. */
void connector_drop(struct connector *c, struct connector_item *it);

/** connector_stale - are the rings gone by which @it came? Its outcome would reach nobody. */
static inline bool connector_stale(const struct connector *c, const struct connector_item *it)
{
	return c->peer[it->owner].gen != it->owner_gen;
}

/** connector_lane - the public state of destination @dest's only lane. */
struct mr_lane_info *connector_lane(struct connector *c, uint32_t dest);
void connector_lane_state(struct connector *c, uint32_t dest, enum mr_lane_state state);

/**
 * connector_trouble - one line for the control process's log, and a count in the region.
 *
 * @level  As syslog's: 3 error, 4 warning, 6 info. @over  The trouble is over. @arg  -errno or a number.
 * The text must not hold a byte of a message. Lost if there is no control process: kind->tell() says it again.
 */
__attribute__((format(printf, 7, 8))) void connector_trouble(struct connector *c, enum connector_code code,
                                                             uint32_t item, int64_t arg, uint32_t level, bool over,
                                                             const char *fmt, ...);

/** connector_drain - take nothing more, finish what was taken, then end. */
void connector_drain(struct connector *c);

/* ---- connector_link.c ---- */

/** connector_link_turn - connect or connect again if there is no link and it is time to try. */
void connector_link_turn(struct connector *c);
/** connector_link_event - take all messages of the control process. */
void connector_link_event(struct connector *c);
/** connector_link_say - send a message that has nothing but its type. Returns 0 or -errno. */
int connector_link_say(struct connector *c, enum mr_link_type type, uint64_t request);

/* ---- connector_ring.c ---- */

/** connector_ring_open - take up the rings of @peer: ring to it, its eventfd, ring from it, our eventfd. Owns the fds
 * then. */
int connector_ring_open(struct connector *c, uint16_t peer, const int fds[4]);
void connector_ring_close(struct connector *c, uint16_t peer);
/** connector_ring_take - take what came in by all rings and hand it to the kind. Returns the number of records. */
uint32_t connector_ring_take(struct connector *c);
/** connector_ring_flush - push waiting outcomes and wake their readers. Returns false if some ring is full. */
bool connector_ring_flush(struct connector *c);
/** connector_ring_sleep - before blocking; false: work came in. connector_ring_awake - after it. */
bool connector_ring_sleep(struct connector *c);
void connector_ring_awake(struct connector *c);
/** connector_items_open - make the pool of @room items. Returns 0 or -ENOMEM. */
int connector_items_open(struct connector_items *p, uint32_t room);
void connector_items_close(struct connector_items *p);

static inline void connector_list_push(struct connector_list *l, struct connector_item *it)
{
	it->next = NULL;
	if (l->tail)
		l->tail->next = it;
	else
		l->head = it;
	l->tail = it;
	l->count++;
}

static inline struct connector_item *connector_list_pop(struct connector_list *l)
{
	struct connector_item *it = l->head;

	if (!it)
		return NULL;
	l->head = it->next;
	if (!l->head)
		l->tail = NULL;
	l->count--;
	it->next = NULL;
	return it;
}

/* ---- connector_read.c: any thread, each with its own struct connector_reads ---- */

int connector_journals_open(struct connector_journals *j, const char *data);
/** connector_journals_set - a (new) tail of journal @number; @tail_fd is owned then, -1: none. Returns 0 or -ERANGE. */
int connector_journals_set(struct connector_journals *j, uint32_t number, int tail_fd);
void connector_journals_close(struct connector_journals *j);

/**
 * connector_read - copy a message's payload to @buf.
 *
 * @ret_bytes    Its length.
 * @ret_time_ns  Realtime at which the worker took it in: the same at every try.
 * Blocks on file reads. Tries once more with a fresh reader before it fails. Returns 0, -ENOENT (not there), -EBADMSG
 * (corrupt, or longer than @room), or -errno.
 */
int connector_read(struct connector_reads *r, uint32_t journal, uint64_t position, void *buf, size_t room,
                   uint32_t *ret_bytes, uint64_t *ret_time_ns);
void connector_reads_close(struct connector_reads *r);

#endif
