/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - one core: everything it owns hangs off struct core; there are no mutable globals.
 *
 * A core is one thread, one loop (core.c), one journal it appends to, and the connections, queues and lanes below.
 * The files in the order of a message's way: conn.c (bytes), ingress.c (one frame), route.c, journal.c, ack.c, queue.c,
 * ring.c, dest_mllp.c, dest_answer.c, and back: ring.c, queue.c, journal.c.
 */
#ifndef MILLRACE_CORE_H
#define MILLRACE_CORE_H

#include "abi/mr_codes.h"
#include "abi/mr_config.h"
#include "abi/mr_journal.h"
#include "abi/mr_link.h"
#include "abi/mr_region.h"
#include "abi/mr_ring.h"
#include "dupes.h"
#include "frame_pool.h"
#include "hl7.h"
#include "io.h"
#include "journal.h"
#include "core_limits.h"
#include "route.h"
#include "wheel.h"

/* io tags: what an event is about, in the high byte; an index below it. */
enum core_tag { TAG_LISTENER = 1, TAG_CONN, TAG_LANE, TAG_JOURNAL, TAG_LANE_READ, TAG_LINK, TAG_RING };

static inline uint64_t core_tag(enum core_tag kind, uint64_t index)
{
	return (uint64_t)kind << 56 | index;
}

/* ---- taking in ---- */

enum conn_stall { STALL_NONE = 0, STALL_OUT, STALL_MEMORY, STALL_JOURNAL, STALL_QUEUE, STALL_ACKS, STALL_DUPLICATE };

struct conn { /* one accepted connection; the array is indexed by io's conn number */
	struct timer timer;
	bool used, closing, discarding, sending, paused, dirty, eof;
	uint8_t stall;     /* enum conn_stall */
	bool stall_listed;
	uint16_t listener;
	uint32_t id;       /* own index */
	uint32_t gen;      /* grows with each use of the slot: stale acknowledgements are told apart by it */
	uint32_t peer_hash;
	uint64_t key;      /* ordering key, unless a field gives it */
	char *in;          /* bytes that are not consumed yet: a partial frame, or what waits while stalled */
	uint32_t in_at, in_bytes, in_room, scanned;
	char *out;         /* framed answers: [sent, ready) may be sent, [ready, end) waits for its commit */
	uint32_t out_base, out_sent, out_ready, out_end; /* counted from the connection's start, wrapping; out[0] is out_base */
	uint32_t out_room;
	uint32_t waiting;  /* entries of the ack FIFO that are this connection's */
	uint64_t frame_since_ns, active_ns, send_since_ns, stall_since_ns, discard_until_ns;
	uint64_t discarded;
	uint32_t stall_next, dirty_next;
};

struct ack_wait { /* one answer waiting for its commit, in the order of appending */
	uint64_t position;    /* durable when the journal's durable position reaches this */
	uint64_t received_ns;
	uint32_t conn, gen;
	uint32_t out_end;     /* the connection's out bytes up to here may go */
	uint16_t metric[2];   /* enum mr_metric of each answer's code, 0 = none */
};

struct listener {
	int fd; /* -1 until the control plane gave it */
	uint32_t connections, connections_max;
	bool listening;
};

/* ---- queues (owner's side) ---- */

struct queue_entry { /* 16 bytes: what one waiting message costs per destination */
	uint64_t position;
	uint32_t bytes;
	uint16_t attempts;
	uint8_t journal;
	uint8_t done;
};
MR_STATIC_ASSERT(sizeof(struct queue_entry) == 16, "a queued message costs 16 bytes");

struct queue_lane {
	uint32_t chunk_head, chunk_next, chunk_tail; /* chunks of head, next and tail */
	uint64_t head;   /* sequence of the oldest unfinished entry */
	uint64_t next;   /* next to hand out */
	uint64_t tail;   /* next to be appended */
	uint32_t out;    /* handed out and not answered */
	bool listed;     /* in the list of lanes with something to hand out */
	bool again;      /* a dead letter found no room: from head on once more when all that is out is answered */
	uint32_t list_next;
	uint16_t dest;
	uint8_t lane;
};

struct dead_letter {
	uint64_t position, time_ns;
	uint32_t bytes;
	uint16_t dest, attempts;
	uint8_t journal, lane, reason, used;
	char code[2];
	uint8_t pad[2];
};

struct queues {
	struct queue_lane *lane;  /* all lanes of all destinations; lane_first[dest] + lane */
	uint32_t *lane_first;
	uint32_t lane_count;
	struct queue_entry *entry; /* chunk c's entries start at c * QUEUE_CHUNK_ENTRIES */
	uint32_t *chunk_link;      /* next chunk of the same lane, or of the free list */
	uint32_t chunk_free, chunk_count, chunks_free, chunks_used;
	uint64_t *waiting;         /* per destination: entries not finished */
	uint64_t *waiting_bytes;
	uint64_t *limit;           /* per destination: this core's share of queue_max */
	uint32_t list_head, list_tail;
	struct dead_letter *dead;
	uint32_t dead_top, dead_count;
	uint64_t *dead_of;         /* per destination */
	struct mr_rec_outcome *outcome[MR_WORKERS_MAX]; /* per journal we own: outcomes not appended yet */
	uint32_t outcomes[MR_WORKERS_MAX];
	uint64_t pending;
};

/* ---- delivering (destination's side) ---- */

struct lane_item { /* one message taken from its owner */
	struct mr_msg m;
	uint32_t next;
	uint16_t owner; /* peer number */
	uint16_t owner_gen;
	uint64_t sent_ns;
	uint16_t id_bytes; /* its MSH-10, for matching the answer */
	char id[46];       /* its first bytes; longer ones are matched by id_hash too */
	uint64_t id_hash;
	bool no_answer;    /* its MSH-15/16 ask for none, and the destination goes by them */
};

struct lane { /* one connection to one MLLP destination */
	struct timer timer;
	uint16_t dest;
	uint8_t lane;
	uint8_t state;         /* enum mr_lane_state */
	bool sending, reading, closing;
	bool failed_up;        /* the last failure came after it had connected */
	bool read_again;       /* a read that did not check was tried once more */
	int32_t conn;          /* io conn, -1 */
	uint32_t index;        /* own index in core.lane */
	uint32_t wait_head, wait_tail, wait_count; /* items not sent */
	uint32_t sent_head, sent_tail, sent_count; /* items sent, not answered */
	char *out;
	uint32_t out_room, out_bytes;
	char *in;
	uint32_t in_bytes, in_room, in_scanned;
	char *ahead;           /* read-ahead: bytes [ahead_from, ahead_from + ahead_bytes) of journal ahead_journal */
	uint32_t ahead_room, ahead_bytes, ahead_want;
	uint16_t ahead_journal;
	uint64_t ahead_from;
	uint32_t failures;
	uint64_t retry_at_ns, idle_since_ns, send_since_ns;
	uint32_t progress;     /* answers since the connection came up */
	uint64_t past[LANE_IDS_REMEMBERED]; /* hashes of control IDs that are no longer outstanding */
	uint32_t past_at;
	bool listed;
	uint32_t list_next;
};

struct dest { /* what this core knows of each destination */
	bool mine, paused;
	uint32_t lane_first; /* of core.lane, if mine */
	uint32_t addr_count, addr_next;
	struct mr_link_addr addr[MR_LINK_ADDRS_MAX];
};

/* ---- peers ---- */

struct peer {
	bool present;
	uint16_t gen; /* grows each time the peer is replaced: outcomes for a dead predecessor are dropped */
	struct mr_ring *to, *from;
	size_t to_bytes, from_bytes;
	int to_event, from_event;
	bool wake;
};

struct source { /* a journal that can be read: own, adopted or another core's */
	struct journal *own;        /* owned by this core, or NULL */
	const struct mr_tail *tail; /* NULL: files only */
	struct mr_reader *reader;
	struct dupes dupes;         /* the writer's duplicate table, mapped read-only; table NULL if none */
};

struct core {
	struct io *io;
	const struct mr_config *cfg;
	uint32_t index;
	uint64_t incarnation;
	struct mr_region_writer region;
	uint64_t now_ns, realtime_ns;
	struct wheel wheel;
	struct frame_pool *frames;
	struct route_table *routes;

	struct journal *journal; /* own: sources[index].own */
	struct source sources[MR_WORKERS_MAX];
	uint64_t walked;         /* own journal: queued for delivery up to here */
	struct dupes dupes;
	uint64_t hash_seed;
	int32_t utc_offset_minutes;
	uint64_t nak_counter;

	struct listener *listener;
	struct conn *conn;
	uint32_t conn_count, connections;
	uint32_t stall_head, stall_tail, stall_count;
	uint32_t dirty_head;
	struct ack_wait *ack;
	uint64_t ack_head, ack_tail;
	uint64_t stall_at_ns;

	struct queues q;
	struct dest *dest;
	struct lane *lane;
	uint32_t lane_count, lane_list;
	struct lane_item *item;
	uint32_t item_free, item_used, item_count;
	uint32_t report_head, report_tail; /* finished items whose outcome has not reached its owner yet */
	struct peer peer[MR_PEERS_MAX];

	int link_fd; /* -1: the control plane is away */
	uint64_t link_again_ns;
	uint32_t adopt_left; /* listening sockets that a new control plane has not been sent yet */
	char run[512];
	uint8_t state; /* enum mr_process_state */
	bool accepting, draining, drained_told, others_drained, stop;
	bool journal_dead; /* a journal's writes failed for good */
	uint64_t drain_since_ns, quiet_since_ns;
	uint64_t tick_ns, cycle_max_ns;
	uint32_t full_bytes; /* 0, or the size of the message that the journal had no room for: nothing is accepted */
	uint16_t full_dests;
	uint64_t trouble_open[TROUBLES_MAX]; /* told to the control plane and not over */
};

/**
 * core_create - make a core for @cfg: region, journal (recovered), queues, lanes. Blocks while it recovers.
 *
 * @run  The hub's run folder. @cfg  Borrowed for the core's life. @io  The backend, made by the caller, used by the core.
 * Returns 0 or -errno. Everything the core will ever use is allocated here.
 */
int core_create(struct io *io, const struct mr_config *cfg, uint32_t index, uint64_t incarnation, const char *run,
		int link_fd, struct core **ret);
void core_destroy(struct core *c);

/** core_run - THE loop; returns 0 when drained, -errno if the backend failed. */
int core_run(struct core *c);

/** core_turn - one turn of it; @timeout_ns bounds the wait. For core_run() and the simulator. */
int core_turn(struct core *c, uint64_t timeout_ns);

/** core_drain - stop accepting; finish or keep what is in flight; core_run() returns when that is done. A second call
 *  says that every other process of the hub has finished too. */
void core_drain(struct core *c);

/** core_full - the journal cannot take a message of this size: say so until it can. */
void core_full(struct core *c, uint32_t bytes, uint32_t dests);

/** core_accept - start accepting on the listeners that the control plane gave. */
void core_accept(struct core *c);
void core_listener(struct core *c, uint32_t listener, int fd);

/* recover.c */
int recover_journal(struct core *c, uint32_t journal, bool adopted);
int recover_orphans(struct core *c);

/** core_committed - the journal's durable position moved: queue what is newly durable. */
void core_committed(struct core *c);

/* conn.c */
int conn_init(struct core *c);
void conn_accept(struct core *c, const struct io_event *e);
void conn_received(struct core *c, const struct io_event *e);
void conn_sent(struct core *c, const struct io_event *e);
void conn_eof(struct core *c, const struct io_event *e);
void conn_closed(struct core *c, const struct io_event *e);
void conn_timer(struct core *c, struct conn *k);
void conn_close(struct core *c, struct conn *k, enum mr_metric why);
void conn_refuse(struct core *c, struct conn *k, enum mr_metric why); /* after a negative answer: read on a while, then close */
void conn_retry_stalled(struct core *c);
void conn_flush(struct core *c); /* send what became ready */
void conn_dirty(struct core *c, struct conn *k);
void conn_drain(struct core *c);

/* ingress.c */
enum ingress_result { INGRESS_DONE = 0, INGRESS_STALL = 1, INGRESS_CLOSE = 2 };
/**
 * ingress_frame - one whole frame: check it, find out where it goes, append it, prepare its answer.
 * @ret_stall  enum conn_stall if INGRESS_STALL is returned: nothing was done, the same frame must be offered again.
 */
enum ingress_result ingress_frame(struct core *c, struct conn *k, const char *msg, uint32_t bytes, uint32_t inner_start,
				  uint8_t *ret_stall);
/** ingress_too_large - answer a frame that is over the limit, from what came of it so far. */
void ingress_too_large(struct core *c, struct conn *k, const char *msg, uint32_t bytes);

/* ack.c */
enum verdict {
	VERDICT_ACCEPT, /* AA, CA */
	VERDICT_ERROR,  /* AE, CE: the content is wrong */
	VERDICT_REJECT, /* AR, CR: MSH-9, MSH-11 or MSH-12 is not acceptable, or it is not HL7 */
	VERDICT_LATER,  /* AR, CE: nothing to do with the content; may be accepted later */
};

struct ack_plan {
	const char *code[2]; /* answers to send, in order; NULL = none */
};

/** ack_plan - what MSH-15 and MSH-16 ask for, given how it went. @msh NULL: nothing usable, original mode. */
struct ack_plan ack_plan(const struct mr_config_listener *l, const char *msg, const struct hl7_msh *msh, enum verdict v);

/** ack_room - is there room for two answers to this header behind the connection's earlier ones? May take memory. */
bool ack_room(struct core *c, struct conn *k, const struct hl7_msh *msh);

struct ack_what {
	const char *msg;
	const struct hl7_msh *msh; /* NULL: nothing usable to answer to */
	const struct hl7_error *err;
	uint32_t err_code;    /* table 0357; 0 none */
	const char *text;
	bool kept;            /* in a journal: the answer's own MSH-10 and MSH-7 come from there, so a repeat is the same */
	uint16_t journal;
	uint64_t id_position;
	uint64_t time_ns;
	uint64_t position;    /* durable position to wait for */
};

/** ack_put - build the answers of @plan behind the earlier ones; they go when @what->position is durable. */
void ack_put(struct core *c, struct conn *k, const struct ack_plan *plan, const struct ack_what *what);
void ack_release(struct core *c);

/* queue.c */
int queue_init(struct core *c);
void queue_destroy(struct core *c);
bool queue_room(const struct core *c, uint32_t dest);
void queue_push(struct core *c, uint32_t dest, uint64_t key, uint32_t journal, uint64_t position, uint32_t bytes);
void queue_recovered(struct core *c, uint32_t journal, uint64_t position, uint32_t bytes, uint64_t key, uint32_t dest,
		     const struct mr_rec_outcome *dead, uint64_t dead_ns);
void queue_hand_out(struct core *c);
void queue_outcome(struct core *c, const struct mr_msg *m);
void queue_flush_outcomes(struct core *c);
bool queue_outcomes_room(const struct core *c);
void queue_peer_gone(struct core *c, uint32_t peer);
void queue_peer_back(struct core *c, uint32_t peer);
void queue_gauges(struct core *c);
void queue_dead_page(struct core *c, const struct mr_link_msg *ask, struct mr_link_msg *answer);
uint64_t queue_dead_retry(struct core *c, uint32_t dest, uint32_t journal, uint64_t position);
uint64_t queue_dead_discard(struct core *c, uint32_t dest, uint32_t journal, uint64_t position);

/* ring.c */
void ring_poll(struct core *c);
bool ring_push(struct core *c, uint32_t peer, const struct mr_msg *m);
void ring_wake(struct core *c);
bool ring_sleep(struct core *c);
void ring_awake(struct core *c);
int ring_peer(struct core *c, uint32_t peer, const int fds[4]);
void ring_peer_gone(struct core *c, uint32_t peer);
void ring_event(struct core *c, uint32_t peer);

/* source.c */
/**
 * source_payload - copy the payload of the MESSAGE at @position from a tail, without waiting.
 * @buf  Room for @bytes, what the payload is expected to have. Returns @bytes, -EAGAIN (only in the file: read it with
 * source_fd()), or -EBADMSG (no such message there).
 */
int64_t source_payload(struct core *c, uint32_t journal, uint64_t position, void *buf, uint32_t bytes);
/**
 * source_compare - is the message at @position these very bytes? Ready answers come from memory; a message that is only
 * in a file is read (rare). Returns 1 yes, 0 no, -EAGAIN another core has not committed it yet, -ENOENT, -errno.
 */
int source_compare(struct core *c, uint32_t journal, uint64_t position, const char *payload, uint32_t bytes,
		   struct mr_rec *ret_rec, struct mr_rec_message *ret_message);
/** source_fd - descriptor and offset for an asynchronous read of @position; -ENOENT, -errno. source_seed - for its check. */
int source_fd(struct core *c, uint32_t journal, uint64_t position, uint64_t *ret_offset);
uint32_t source_seed(const struct core *c, uint32_t journal);
/** source_received_ns - when a message of our own journals came in (realtime); 0 if unknown. May read: not for every message. */
uint64_t source_received_ns(struct core *c, uint32_t journal, uint64_t position);
void source_forget(struct core *c, uint32_t journal, uint64_t position);
void source_set(struct core *c, uint32_t journal, int tail_fd, int dupes_fd);

/* dest_mllp.c, dest_answer.c */
int dest_init(struct core *c);
void dest_destroy(struct core *c);
bool dest_take(struct core *c, uint32_t owner, const struct mr_msg *m);
bool dest_room(const struct core *c); /* would dest_take() take one more? */
void dest_pump(struct core *c);
void dest_event(struct core *c, const struct io_event *e);
void dest_read_done(struct core *c, uint32_t lane, int32_t result);
void dest_timer(struct core *c, struct lane *l);
void dest_owner_gone(struct core *c, uint32_t owner);
void dest_pause(struct core *c, uint32_t dest, bool paused);
void dest_resolved(struct core *c, const struct mr_link_msg *m);
uint32_t dest_outstanding(const struct core *c);
void dest_list(struct core *c, struct lane *l);
void dest_finish(struct core *c, struct lane *l, uint32_t item, uint8_t result, uint8_t reason, const char *code);
void dest_lane_failed(struct core *c, struct lane *l, int error, bool count_attempt);
void dest_retry_later(struct core *c, struct lane *l);
void dest_answer(struct core *c, struct lane *l, const char *data, uint32_t bytes);
void dest_answer_kept(struct core *c, struct lane *l);
uint64_t dest_id_hash(const struct core *c, const char *id, uint32_t bytes);

/* link.c */
void link_tick(struct core *c);
void link_event(struct core *c);
void link_push(struct core *c);
void link_send(struct core *c, struct mr_link_msg *m, const int *fds, uint32_t nfds);
/** link_trouble - one line for the log when @code starts to be true of @item, and one when it is over. */
void link_trouble(struct core *c, uint32_t level, uint32_t code, uint32_t item, int64_t arg, bool over, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));

#endif
