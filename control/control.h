/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the state of the control process: the hub, its processes and how the files of control/ reach each other.
 *
 * One struct control per program, made in main.c; everything runs on its libevent loop. Files own what they name:
 * image.c the configuration image, listen.c the listening sockets, handoff.c the links, peers.c rings and journal
 * tails, supervise.c starting, watching and stopping, takeover.c adopting, trouble.c what is wrong now.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "backoff.h"
#include "log.h"

#include "mr_config.h"
#include "mr_link.h"
#include "mr_region.h"

#include <sys/types.h>

struct event;
struct event_base;
struct link;
struct totals;
struct store;
struct resolver;
struct ctl;
struct ctl_ask;
struct trouble;

enum control_state {
	CONTROL_STARTING = 0, /* waiting until every process is ready */
	CONTROL_RUNNING = 1,  /* accepting */
	CONTROL_DRAINING = 2,
};

struct process_tail { /* a journal that this process owns: the memfds of its newest bytes and of its duplicate table */
	uint32_t journal;
	int fds[2]; /* -1: none */
};

/* One worker or connector, over all its lives. */
struct process {
	struct control *control;
	char name[32]; /* "worker-0", "connector-file": also the stem of its region file */
	uint32_t kind; /* enum mr_region_kind */
	uint32_t index;
	uint32_t peer; /* peer number */

	/* this life; supervise.c */
	pid_t pid; /* 0: not running */
	int pidfd;
	bool child; /* ours to reap; false after a take-over */
	bool drain_sent, drained, drain_again, killed;
	uint64_t incarnation;
	uint64_t restarts;
	uint64_t started_ns;  /* monotonic; of this life, or when it was adopted */
	uint64_t wall_ns;     /* realtime of the same */
	uint64_t unlinked_ns; /* monotonic since when it has no link */
	struct event *exit_event, *restart_timer;
	struct backoff backoff;
	bool down_logged;

	/* the link; handoff.c */
	struct link *link; /* NULL until HELLO */
	bool ready, accept_sent, accepting;
	bool announced; /* all its journals are known: rings may be given out */
	bool peered[MR_PEERS_MAX];
	struct process_tail *tails;
	uint32_t tail_count;

	/* its public region; process.c */
	const struct mr_region *region;
	size_t region_bytes;
	const struct mr_region *ghost; /* of the life before, until this one has recovered */
	size_t ghost_bytes;
	uint64_t heartbeat_ns, heartbeat_seen_ns; /* last value, monotonic time when it changed */
	struct totals *base;                      /* counters of the lives before; NULL: there were none */
	uint64_t base_incarnation;                /* the last life that is in it */
	uint64_t busy_ns, busy_seen_ns;
	double busy_ratio;
};

struct control {
	struct event_base *base;
	enum control_state state;
	bool announced; /* the ready line is out */
	bool by_force;
	uint64_t signal_ns; /* monotonic of the first SIGTERM or SIGINT, 0 = none */
	bool stop_asked;    /* by a signal or by an operator */
	int exit_status;
	uint64_t started_ns; /* monotonic */
	uint64_t started_wall_ns;
	uint64_t tick_ns;  /* monotonic of the last tick */
	char program[512]; /* of the workers */
	char connector_program[512];

	const struct mr_config *cfg; /* the running image: private memory */
	size_t cfg_bytes;
	int cfg_fd;                /* the same, sealed */
	int lock_fd, data_lock_fd; /* of the run and the data folder */

	struct process *process[MR_PEERS_MAX]; /* NULL: no such peer */
	int *listen_fd;                        /* [worker * listeners + listener], -1 = none */
	uint16_t *listen_port;                 /* [listener]: the real one where the configuration says 0 */

	int link_fd;
	struct event *link_event;
	bool peering; /* RUN/peering stands: rings may be half handed out */

	bool adopting;           /* takeover.c: waiting for living processes */
	bool takeover_unsettled; /* the last control process died while it handed out rings */
	struct event *adopt_timer, *drain_timer, *tick_timer, *start_timer;

	struct store *store;
	struct resolver *resolver;
	struct ctl *ctl;
	struct ctl_ask *asks; /* open questions to processes */
	uint64_t ask_number;
	struct trouble *troubles;
	uint32_t trouble_count;
};

/* Every process of the hub in order of peer numbers. */
#define control_each(c, p)                                                                                             \
	for (uint32_t p##_peer = 0; p##_peer < MR_PEERS_MAX; p##_peer++)                                               \
		for (struct process *p = (c)->process[p##_peer]; p; p = NULL)

uint64_t control_now_ns(void);  /* monotonic */
uint64_t control_wall_ns(void); /* realtime */

/* process.c */

/** process_new - a process that does not run yet. Never fails: aborts when memory is out at start. */
struct process *process_new(struct control *c, uint32_t kind, uint32_t index);
void process_free(struct process *p);

/** process_map_region - see to it that the region of this life is mapped, if there is one. Returns it or NULL. */
const struct mr_region *process_map_region(struct process *p);

/** process_bury_region - the process is dead: its counters go to the base, its gauges stay until the next life is
 * ready. */
void process_bury_region(struct process *p);

/** process_bury_unseen - after a take-over: the same for a life that ended while there was no control process. */
void process_bury_unseen(struct process *p);

/** process_save_base, _load_base, _forget_base - RUN/<name>.base keeps counters of dead lives over take-overs. */
void process_save_base(struct process *p);
void process_load_base(struct process *p);
void process_forget_base(struct process *p);

/** process_drop_ghost - the new life has recovered: its own gauges count from now on. */
void process_drop_ghost(struct process *p);

/** process_pending - messages of this process that are not finished; of the life before while the new one recovers. */
uint64_t process_pending(const struct process *p);

/** process_rss_bytes - resident memory of @pid (-1: our own), 0 if unknown. */
uint64_t process_rss_bytes(pid_t pid);

/** process_state_name - "running" ... as /v1/status says it. */
const char *process_state_name(const struct process *p);

#endif
