/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dupes.h - which messages came in lately: a table from (sender, control ID) to where the message stands in a journal.
 *
 * Each worker writes one table, in a memfd that all workers map: a sender that reconnects may meet another core. The
 * table only proposes positions; the message found there is compared byte for byte before anything is called a duplicate,
 * so a collision costs a look and never a message.
 *
 * Nearly every look finds nothing, so it must be cheap: a bucket has one word of the filter (a tag byte per entry, and
 * which entry gives way next), small enough to stay in the core's cache; the entries, some megabytes, are only read when a
 * tag fits, and written without being read. The oldest entry of a full bucket gives way.
 */
#ifndef MILLRACE_DUPES_H
#define MILLRACE_DUPES_H

#include "abi/mr_base.h"

#define DUPES_WAYS 7   /* entries of a bucket */
#define DUPES_SLOTS 8  /* of which the last is never used: its byte of the filter counts */

struct dupes_entry {
	uint64_t hash;     /* 0 = free; written last */
	uint64_t position; /* in the writer's journal */
};

struct dupes {
	uint64_t *table;           /* the filter: one word a bucket; NULL: no table */
	struct dupes_entry *entry; /* DUPES_SLOTS a bucket */
	uint32_t buckets;          /* power of two */
	int fd;                    /* memfd, writer only; else -1 */
};

/** dupes_create - a table of @entries (power of two) in a new memfd. Returns 0 or -errno. */
int dupes_create(uint32_t entries, struct dupes *ret);
/** dupes_map - another worker's table, read-only. @fd is not consumed. Returns 0 or -errno. */
int dupes_map(int fd, struct dupes *ret);
void dupes_destroy(struct dupes *d);

/** dupes_insert - writer: remember @position under @hash (not 0); the bucket's oldest entry gives way. */
void dupes_insert(struct dupes *d, uint64_t hash, uint64_t position);

/** dupes_prefetch - ask for the filter's cache line of @hash, to be looked at soon. */
static inline void dupes_prefetch(const struct dupes *d, uint64_t hash)
{
	__builtin_prefetch(d->table + (hash & (d->buckets - 1)));
}

/** dupes_find - up to DUPES_WAYS positions noted under @hash, newest last not guaranteed. Returns their number. */
uint32_t dupes_find(const struct dupes *d, uint64_t hash, uint64_t ret_position[DUPES_WAYS]);

#endif
