/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side.h - the other side of a connector, for its tests: a hub's folders, a control process and a worker with a
 * journal.
 *
 * The connector is the real program in a process of its own; what it meets here is the real link, rings and journal
 * format. Every wait has a limit that only says "it hangs": no test depends on how long anything takes.
 */
#ifndef SIDE_H
#define SIDE_H

#include "mr_config.h"
#include "mr_journal.h"
#include "mr_link.h"
#include "mr_region.h"
#include "mr_ring.h"

#include <sys/types.h>

#define SIDE_DESTS_MAX    4
#define SIDE_MESSAGES_MAX 20000

struct side_dest {
	struct mr_config_dest cfg;
	char *folder;
};

struct side_message { /* one message for one destination */
	uint64_t position;
	uint64_t size_seed; /* its bytes follow from this */
	uint32_t bytes;
	uint16_t dest;
	uint64_t sequence; /* in the queue of its destination */
	bool out;          /* handed out by the present rings */
	uint8_t result, reason;
	uint16_t attempts;
	uint32_t outcomes;
};

struct side {
	char root[256], run[300], data[300];
	struct side_dest dest[SIDE_DESTS_MAX];
	uint32_t dests;
	uint8_t commit;
	bool tail;          /* the journal shows its newest bytes in memory */
	uint64_t fsize_max; /* RLIMIT_FSIZE of the connector, 0: none */
	/* the journal: one segment */
	char *segment;
	uint64_t segment_bytes, end;
	uint32_t seed;
	int segment_fd, tail_fd;
	struct mr_tail *tail_map;
	/* the control process */
	int listen_fd, link_fd;
	pid_t pid;
	uint64_t incarnation;
	struct mr_link_msg hello;
	bool ready, drained;
	uint32_t done; /* DONE answers */
	uint32_t troubles, troubles_over;
	uint32_t trouble_code;
	char trouble_text[160];
	/* the worker */
	struct mr_ring *to, *from;
	int to_event, from_event;
	struct side_message *message;
	uint32_t messages;
	uint64_t next_sequence[SIDE_DESTS_MAX];
	uint32_t wrong; /* outcomes that answer nothing */
	uint64_t random;
};

void side_open(struct side *s);
/** side_dest_add - a file destination; its folder is ROOT/<name> (not made). Before side_start(). */
struct mr_config_dest *side_dest_add(struct side *s, const char *name, uint8_t format);
/** side_start - start the connector, configure it, give it rings; waits for READY if @ready. */
void side_start(struct side *s, bool ready);
void side_kill(struct side *s);     /* kill -9 and wait; its rings are gone */
int side_wait_exit(struct side *s); /* exit status */
void side_close(struct side *s);

/** side_message_add - put a message of @bytes into the journal for destination @dest; not handed out yet. */
struct side_message *side_message_add(struct side *s, uint16_t dest, uint32_t bytes);
/** side_message_bytes - what message @m consists of; free() it. */
char *side_message_bytes(const struct side_message *m);
/** side_damage - flip a bit of the message in the journal. */
void side_damage(struct side *s, const struct side_message *m);

/** side_hand_out - hand out what has no outcome, in order, as far as credit goes. */
void side_hand_out(struct side *s);
/** side_turn - take what came by link and ring; waits up to @ms for it. */
void side_turn(struct side *s, int ms);
/** side_finish_all - hand out and take outcomes until every message has one. */
void side_finish_all(struct side *s);
uint32_t side_unfinished(const struct side *s);
/** side_wait - turn until @flag is true. */
void side_wait(struct side *s, const bool *flag);
void side_wait_count(struct side *s, const uint32_t *count, uint32_t at_least);

void side_say(struct side *s, enum mr_link_type type, uint32_t dest); /* PAUSE, RESUME, DRAIN */
void side_rings_new(struct side *s);                                  /* as if the worker had died and come back */
void side_rings_gone(struct side *s);
void side_link_cut(struct side *s);
void side_link_accept(struct side *s); /* waits for the connector's HELLO */

uint64_t side_metric(struct side *s, enum mr_metric m, uint16_t dest);
uint32_t side_lane_state(struct side *s, uint16_t dest);
uint64_t side_now_ns(void);
uint64_t side_random(struct side *s);

/** side_check_files - every delivered message of @dest in exactly one file, byte for byte, and nothing else there. */
void side_check_files(struct side *s, uint16_t dest);
/** side_check_whole - at any moment: what stands there under a final name is a whole message. */
void side_check_whole(struct side *s, uint16_t dest);
/** side_check_batches - the same for batch files; @ret_files  Number of files. */
void side_check_batches(struct side *s, uint16_t dest, uint32_t *ret_files);

#endif
