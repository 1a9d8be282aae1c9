/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dupes.h - which messages came in lately: a table from (sender, control ID) to where the message stands in a journal.
 *
 * Each worker writes one table, in a memfd that all workers map: a sender that reconnects may meet another core. The
 * table only proposes positions; the message found there is compared byte for byte before anything is called a duplicate,
 * so a collision costs a look and never a message. Buckets of four entries, one cache line; the oldest is replaced.
 */
#ifndef MILLRACE_DUPES_H
#define MILLRACE_DUPES_H

#include "abi/mr_base.h"

#define DUPES_WAYS 4

struct dupes_entry {
	uint64_t hash;     /* 0 = free; written last */
	uint64_t position; /* in the writer's journal */
};

struct dupes {
	struct dupes_entry *table; /* NULL: none */
	uint32_t buckets;          /* power of two */
	int fd;                    /* memfd, writer only; else -1 */
};

/** dupes_create - a table of @entries (power of two) in a new memfd. Returns 0 or -errno. */
int dupes_create(uint32_t entries, struct dupes *ret);
/** dupes_map - another worker's table, read-only. @fd is not consumed. Returns 0 or -errno. */
int dupes_map(int fd, struct dupes *ret);
void dupes_destroy(struct dupes *d);

/** dupes_insert - writer: remember @position under @hash (not 0); the bucket's oldest position gives way. */
void dupes_insert(struct dupes *d, uint64_t hash, uint64_t position);

/** dupes_prefetch - ask for the cache line of @hash, to be looked at soon. */
static inline void dupes_prefetch(const struct dupes *d, uint64_t hash)
{
	__builtin_prefetch(d->table + (hash & (d->buckets - 1)) * DUPES_WAYS);
}

/** dupes_find - up to DUPES_WAYS positions noted under @hash, newest last not guaranteed. Returns their number. */
uint32_t dupes_find(const struct dupes *d, uint64_t hash, uint64_t ret_position[DUPES_WAYS]);

#endif
