/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - the simulated world around one hub: clock, random numbers, disk, network, senders, destinations, auditor.
 *
 * One process, one thread, one seed. Every core of the hub is a coroutine that runs the real pipeline and is left in
 * io_wait(), or at any call of io.h when it is to crash. Everything that happens is an event with a simulated time; the
 * same seed gives the same events in the same order. A seed also chooses the configuration and which faults there are.
 *
 *   world.c    clock, events, random numbers, trace          hub.c          cores and their crashes
 *   profile.c  what a seed is about                          control_sim.c  the control plane's part
 *   io_sim.c   io.h: waiting, watching, listening            senders.c      MLLP clients
 *   disk.c     writes in flight, power cuts                  dests.c        MLLP servers
 *   net.c      connections                                   audit.c        what must hold, seen from outside only
 */
#ifndef SIM_H
#define SIM_H

#include "mr_config.h"
#include "mr_link.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_CORES_MAX   2
#define SIM_DESTS_MAX   3
#define SIM_SENDERS_MAX 6
#define SIM_US          1000ull
#define SIM_MS          1000000ull
#define SIM_S           1000000000ull

struct sim;
struct io;
struct net_conn;

/* What this seed is about; filled by profile.c. Chances are in 1/10000 per occasion. */
struct sim_profile {
	uint32_t cores, dests, senders;
	bool commit_os;        /* commit: os: then only kill -9, no power cuts */
	bool crash_kill, crash_power, crash_starting;
	bool net_breaks, net_splits, dest_faults, dest_down, pauses, control_dies, disk_errors, disk_slow;
	bool garbage, bad_messages, slow_senders, repeats, half_close;
	bool by_name;          /* destinations have names that must be resolved */
	bool window_over_one;
	bool big_messages, small_journal;
	bool duplicates_forward, on_full_reject;
	bool order_listener;
	uint8_t on_error;      /* enum mr_on_reject, for AE and AR alike */
	uint32_t attempts_max;
	uint8_t app_ack;       /* enum mr_app_ack */
	uint32_t lanes[SIM_DESTS_MAX];
	uint32_t queue_max;
	uint32_t message_gap_us;
};

struct sim_event {
	uint64_t at_ns, order;
	void (*fn)(struct sim *s, void *arg, uint64_t n);
	void *arg;
	uint64_t n;
};

struct sim {
	uint64_t seed, random, now_ns, order, steps, trace_hash;
	struct sim_event *heap;
	size_t events, events_room;
	bool verbose, calm, closing;
	char folder[128];
	struct sim_profile p;
	struct mr_config *cfg;
	struct hub *hub;
	struct disk *disk;
	struct net *net;
	struct senders *senders;
	struct dests *dests;
	struct audit *audit;
	char trace[64][160];
	uint64_t traced;
};

/* world.c */
void sim_at(struct sim *s, uint64_t at_ns, void (*fn)(struct sim *s, void *arg, uint64_t n), void *arg, uint64_t n);
bool sim_next(struct sim *s, uint64_t *ret_at_ns);
void sim_run_one(struct sim *s);
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n);                     /* 0 .. n-1 */
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high);  /* low .. high */
bool sim_chance(struct sim *s, uint32_t in_10000);
uint64_t sim_latency(struct sim *s);                               /* of the network, ns */
uint64_t sim_hash(const void *p, size_t bytes);
void *sim_alloc(size_t bytes);                                     /* zeroed; never fails; freed with the process */
void sim_trace(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace_print(const struct sim *s);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* profile.c */
void profile_choose(struct sim *s);
void profile_config(struct sim *s);

/* io_sim.c */
struct io *io_sim_new(struct sim *s, uint32_t core);
void io_sim_push(struct io *io, uint32_t type, struct net_conn *c, uint64_t tag, int32_t result);
void io_sim_received(struct io *io, struct net_conn *c, const char *data, uint32_t bytes);
void io_sim_accepted(struct io *io, struct net_conn *c, uint64_t tag, uint8_t address);
bool io_sim_listening(const struct io *io, uint32_t listener, uint64_t *ret_tag);
void io_sim_poke(struct io *io);   /* may a watched descriptor have become readable? */
void io_sim_dead(struct io *io);
int32_t io_sim_number(struct io *io, struct net_conn *c); /* a free connection number, or -ENFILE */

/* disk.c */
enum disk_kind { DISK_WRITE, DISK_READ, DISK_SYNC };
void disk_submit(struct sim *s, struct io *io, int kind, int fd, void *buf, uint32_t bytes, uint64_t offset, uint64_t tag);
void disk_init(struct sim *s);
void disk_crash(struct sim *s, struct io *io, bool power);
void disk_power_cut(struct sim *s);

/* net.c */
struct net_peer {
	void (*bytes)(void *arg, struct net_conn *c, const char *p, uint32_t n);
	void (*eof)(void *arg, struct net_conn *c);  /* the hub sends no more */
	void (*gone)(void *arg, struct net_conn *c); /* the connection is no more; last call */
};
void net_init(struct sim *s);
struct net_conn *net_dial(struct sim *s, uint32_t listener, uint8_t address, const struct net_peer *peer, void *arg);
void net_write(struct net_conn *c, const void *p, uint32_t n);
void net_finish(struct net_conn *c);
void net_close(struct net_conn *c, bool reset);
void net_reading(struct net_conn *c, bool reading);
bool net_open(const struct net_conn *c);
uint64_t net_serial(const struct net_conn *c);
uint64_t net_sent_ns(const struct net_conn *c, uint32_t after); /* when the core sent what ends @after bytes before the last received */
void net_accepted(struct net_conn *c, const struct net_peer *peer, void *arg);
void net_break_one(struct sim *s);
void net_core_dead(struct sim *s, struct io *io, bool power);
uint64_t net_tag(const struct net_conn *c);
uint32_t net_number(const struct net_conn *c);
/* ... the core's end, for io_sim.c */
void net_io_send(struct net_conn *c, const void *buf, uint32_t bytes);
void net_io_close(struct net_conn *c, bool reset);
void net_io_pause(struct net_conn *c, bool paused);
void net_io_finish(struct net_conn *c);
void net_io_tag(struct net_conn *c, uint64_t tag);
int32_t net_io_connect(struct sim *s, struct io *io, uint16_t port, uint64_t timeout_ns, uint64_t tag);

/* hub.c */
void hub_init(struct sim *s);
void hub_start(struct sim *s);
bool hub_run(struct sim *s, uint64_t *ret_at_ns); /* which core runs next, and when; hub_run_one() runs it */
void hub_run_one(struct sim *s);
void hub_wait(struct sim *s, uint32_t core, uint64_t until_ns); /* not longer than that; UINT64_MAX: for ever */
void hub_leave(struct sim *s, uint32_t core);      /* leaves the core until the time that hub_wait() was told */
void hub_point(struct sim *s, uint32_t core);      /* a call of io.h: the core may end here */
struct io *hub_io(struct sim *s, uint32_t core);   /* NULL: not running */
uint32_t hub_listener_of(struct sim *s, int fd);
void hub_fault(struct sim *s);
void hub_calm(struct sim *s);
void hub_retry_dead(struct sim *s);
void hub_drain(struct sim *s);
bool hub_stopped(const struct sim *s);
bool hub_up(const struct sim *s);
uint64_t hub_crashes(const struct sim *s);
uint64_t hub_disturbed_ns(const struct sim *s);
uint64_t hub_blind(const struct sim *s);

/* senders.c */
void senders_init(struct sim *s);
void senders_calm(struct sim *s);
bool senders_done(const struct sim *s);

/* dests.c */
void dests_init(struct sim *s);
void dests_fault(struct sim *s);
void dests_calm(struct sim *s);
bool dests_dial(struct sim *s, uint16_t port, struct net_conn *c); /* false: refused */

/* audit.c */
enum message_kind { MESSAGE_GOOD, MESSAGE_SILENT, MESSAGE_BAD };
struct message {
	uint32_t number, sender, nth;  /* of all; its sender, and its place there */
	char *bytes;
	uint32_t length;
	uint8_t kind;                  /* enum message_kind */
	bool in_order;                 /* its sender never had to put it behind later ones */
	uint8_t route;                 /* bit d: it must arrive at destination d */
	char expect[2][3];             /* codes of its answers if it is taken */
	bool acked;                    /* a positive answer came */
	uint32_t sent;                 /* how often */
	uint64_t serial;               /* the connection it was first sent on */
	uint32_t place;                /* its place among that connection's frames */
	uint64_t blind;                /* hub_blind() when it was first sent */
	bool unsure;                   /* ... and not any more when it was answered: it may have been taken twice */
	uint64_t answer_sum[2];        /* of its first positive answers, by their place in `expect` */
	struct {
		uint32_t arrived, yes, no; /* times it came, was accepted, was refused */
		uint64_t last_ns, sent_ns, no_ns;
		const struct net_conn *conn;
	} at[SIM_DESTS_MAX];
};
void audit_init(struct sim *s);
struct message *audit_new(struct sim *s, uint32_t sender, uint32_t nth);
void audit_sent(struct sim *s, struct message *m, uint64_t serial, uint32_t place);
void audit_answer(struct sim *s, struct message *m, const char *code, uint32_t nth, const char *answer, uint32_t bytes);
struct message *audit_arrival(struct sim *s, uint32_t dest, const struct net_conn *c, uint64_t sent_ns, const char *p, uint32_t n);
void audit_said(struct sim *s, uint32_t dest, struct message *m, bool yes);
bool audit_settled(const struct sim *s); /* has everything arrived that must? */
void audit_end(struct sim *s);
uint64_t audit_arrivals(const struct sim *s);
void audit_print(const struct sim *s);

/* text.c: what senders and destinations know of MLLP and HL7, written apart from the parser that is being tested */
struct text_stream { char *data; uint32_t bytes, room; };
void text_add(struct text_stream *t, const char *p, uint32_t n);
bool text_frame(const struct text_stream *t, const char **ret, uint32_t *ret_bytes); /* the first whole frame */
void text_drop(struct text_stream *t);                                               /* ... is used up */
bool text_field(const char *m, uint32_t bytes, const char *segment, uint32_t field, const char **ret, uint32_t *ret_bytes);
uint32_t text_wrap(char *to, const char *m, uint32_t bytes);

#endif
