/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_link.h - the link between the control plane and each worker or connector: SOCK_SEQPACKET messages with descriptors.
 *
 * The control plane listens on RUN/link.sock. A process it starts connects there at once and says HELLO; one that loses
 * the link (the control plane died) goes on working, tries again every 200 ms, and says HELLO with `adopt` set, followed
 * by what a new control plane needs to take over: its JOURNAL tails and LISTENER sockets. One packet = one struct
 * mr_link_msg (fixed size), possibly with descriptors, so neither side ever parses text from the other.
 */
#ifndef MR_LINK_H
#define MR_LINK_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_LINK_VERSION 1
#define MR_LINK_FDS_MAX 4
#define MR_LINK_ADDRS_MAX 8
#define MR_LINK_DEAD_MAX 32

enum mr_link_type {
	/* process -> control */
	MR_LINK_HELLO = 1,    /* u.hello */
	MR_LINK_JOURNAL = 2,  /* u.journal; fds: tail memfd, and the worker's duplicate table if it has one. Also control -> process, for the others' journals */
	MR_LINK_READY = 3,    /* recovered, knows its peers, has taken up its destinations */
	MR_LINK_ACCEPTING = 4,
	MR_LINK_RESOLVE = 5,  /* u.resolve.dest: what is the address of this destination now? */
	MR_LINK_DRAINED = 6,  /* everything in flight is finished or kept; exits after this */
	MR_LINK_TROUBLE = 7,  /* u.trouble: one line for the log, rate-limited by the sender (one per distinct trouble) */
	MR_LINK_DEAD_PAGE = 8, /* u.dead: answer to DEAD_LIST; `more` set if there are further pages */
	MR_LINK_DONE = 9,     /* u.done: answer to PAUSE, RESUME, DEAD_RETRY, DEAD_DISCARD */
	/* control -> process */
	MR_LINK_CONFIG = 20,   /* u.config; fd: sealed image memfd */
	MR_LINK_PEER = 21,     /* u.peer; fds: ring to it, eventfd of it, ring from it, eventfd of this process for that ring */
	MR_LINK_PEER_GONE = 22, /* u.peer: rings of this peer are dead; a PEER follows when it is back */
	MR_LINK_LISTENER = 23, /* u.listener; fd: listening socket of this process. Also process -> control when adopting */
	MR_LINK_ACCEPT = 24,   /* start accepting */
	MR_LINK_RESOLVED = 25, /* u.resolve */
	MR_LINK_DRAIN = 26,    /* stop accepting, finish or keep what is in flight, say DRAINED, exit 0 */
	MR_LINK_PAUSE = 27,    /* u.item.dest */
	MR_LINK_RESUME = 28,
	MR_LINK_DEAD_LIST = 29,    /* u.dead_query */
	MR_LINK_DEAD_RETRY = 30,   /* u.dead_query: all of a destination, or the one at (journal, position) */
	MR_LINK_DEAD_DISCARD = 31,
	MR_LINK_WELCOME = 32,  /* first answer to HELLO */
};

struct mr_link_dead {
	uint64_t position;
	uint64_t time_ns;  /* realtime it died */
	uint64_t received_ns;
	uint32_t bytes;
	uint16_t journal;
	uint16_t dest;
	uint16_t attempts;
	uint8_t reason;    /* enum mr_reason */
	uint8_t pad;
	char code[2];
	char pad2[2];
};

struct mr_link_addr { /* numeric socket address of a destination */
	uint8_t family;  /* AF_INET or AF_INET6 */
	uint8_t pad[3];
	uint32_t scope;
	uint8_t bytes[16];
};

struct mr_link_msg {
	uint32_t type; /* enum mr_link_type */
	uint32_t version;
	uint64_t request; /* echoed in the answer */
	union {
		struct {
			uint32_t kind;  /* enum mr_region_kind */
			uint32_t index; /* core number; 0 for the connector */
			uint64_t pid;
			uint64_t incarnation;
			uint64_t generation; /* adopted configuration, 0 = none yet */
			uint32_t adopt;      /* 1: already at work, looking for a new control plane */
			uint32_t state;      /* enum mr_process_state */
		} hello;
		struct {
			uint32_t journal; /* number: core that wrote it */
			uint32_t owner;   /* peer that owns it now (differs after adoption of an orphan) */
			uint64_t incarnation;
		} journal;
		struct {
			uint64_t generation;
			uint64_t bytes;
		} config;
		struct {
			uint32_t peer;
			uint32_t kind;
			uint64_t incarnation;
		} peer;
		struct {
			uint32_t listener;
		} listener;
		struct {
			uint32_t dest;
			int32_t error; /* 0 or EAI_ code */
			uint32_t count;
			uint32_t pad;
			struct mr_link_addr addr[MR_LINK_ADDRS_MAX];
		} resolve;
		struct {
			uint32_t code; /* MRnnnn */
			uint32_t item; /* destination or listener, UINT32_MAX none */
			int64_t arg;
			uint32_t level; /* 3 error, 4 warning, 6 info: as syslog's */
			uint32_t over;  /* 1: the trouble is over */
			char text[160]; /* no byte of a message, ever */
		} trouble;
		struct {
			uint32_t dest;
		} item;
		struct {
			uint32_t dest;    /* UINT32_MAX: all */
			uint32_t journal; /* with position: just that one; UINT32_MAX: all */
			uint64_t position;
			uint32_t limit;
			uint32_t skip;
		} dead_query;
		struct {
			uint32_t count;
			uint32_t more;
			uint64_t total;
			struct mr_link_dead item[MR_LINK_DEAD_MAX];
		} dead;
		struct {
			int32_t error;
			uint32_t pad;
			uint64_t count;
		} done;
	} u;
};

/**
 * mr_link_send - send one message with @nfds descriptors (not consumed). Returns 0 or -errno (-EAGAIN: buffer full).
 * mr_link_recv - receive one. @ret_fds  room for MR_LINK_FDS_MAX; received ones are close-on-exec and the caller's.
 * Returns 0, -EAGAIN (nothing there), -EPIPE (closed by the other side), -EPROTO (wrong size or version), -errno.
 */
int mr_link_send(int fd, const struct mr_link_msg *m, const int *fds, uint32_t nfds);
int mr_link_recv(int fd, struct mr_link_msg *ret, int *ret_fds, uint32_t *ret_nfds);

/** mr_link_connect - connect to RUN/link.sock, close-on-exec, non-blocking. Returns a descriptor or -errno. */
int mr_link_connect(const char *run);

#ifdef __cplusplus
}
#endif
#endif
