/* SPDX-License-Identifier: Apache-2.0 */
/* rig.h - what the journal's tests share: a configuration, a folder, a journal with its io, and a book of what was put
 * in. */
#ifndef RIG_H
#define RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/mr_config.h"
#include "abi/mr_ring.h"
#include "io_sync.h"
#include "journal.h"

#define RIG_DESTS_MAX 64
#define MIB           (1u << 20)

struct rig_config {
	struct mr_config c;
	struct mr_config_listener listeners[2];
	struct mr_config_dest dests[RIG_DESTS_MAX];
};

/** rig_config_set - listeners "in0", "in1" and destinations of the names in @dests ("a b c"). */
void rig_config_set(struct rig_config *c, const char *dests);

struct book_message { /* what the test put in, or what recovery said */
	uint64_t position, after;
	uint64_t hash; /* of the payload */
	uint32_t bytes;
	uint16_t listener, dest_count;
	uint16_t dests[MR_MSG_DESTS_MAX];
	uint64_t done;          /* bit i: an outcome finished dests[i] */
	uint64_t done_after[8]; /* position after the record of the outcome, for the first 8 */
	uint64_t key, id_hash, time_ns;
};

struct book {
	struct book_message *m;
	size_t count, room;
	uint64_t outcomes;
};

struct book_message *book_add(struct book *b);
struct book_message *book_find(struct book *b, uint64_t position);
void book_clear(struct book *b);

struct rig {
	char folder[100];
	struct rig_config cfg;
	struct io io;
	struct journal *j;
	struct journal_recovery recovery;
	struct book put;   /* appended by the test */
	struct book found; /* told by the last recovery */
	struct journal_found callbacks;
	uint64_t seed;
	char *buf; /* 64 MiB + */
	struct mr_region_writer *region;
	uint64_t ticks;
};

void rig_init(struct rig *r, uint64_t seed);
void rig_free(struct rig *r);
int rig_open(struct rig *r, bool adopted);
void rig_close(struct rig *r); /* as a crash: nothing is flushed */

/** rig_turn - one turn of a loop: completions, tick, flush. rig_settle - turns until everything is durable and idle. */
void rig_turn(struct rig *r);
void rig_settle(struct rig *r);

/** rig_put - append a message of random content to destinations @dests ("0,1" as a mask); false if there is no room. */
bool rig_put(struct rig *r, uint32_t bytes, uint64_t dest_mask);
bool rig_outcome(struct rig *r, struct book_message *m, uint32_t i, uint8_t result);

void rig_payload(uint64_t hash, char *buf, uint32_t bytes);
void rig_check_payload(struct rig *r, const struct book_message *m);
size_t rig_files(const struct rig *r, const char *suffix);
void rig_path(const struct rig *r, const char *name, char ret[128]);

#endif
