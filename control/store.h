/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - what operators decided and must outlive every process: DATA/control.db. Never messages. */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stdint.h>

struct store;

/**
 * store_open - open or make @data/control.db (SQLite, WAL, synchronous FULL); a damaged one is set aside with a log
 * line. Returns 0 or -EIO after a log line.
 */
int store_open(const char *data, struct store **ret);
void store_close(struct store *s);

/** store_paused - what an operator set for destination @name: 1 paused, 0 resumed, -1 nothing. No disk access. */
int store_paused(const struct store *s, const char *name);

/** store_set_paused - durable on return. Returns 0 or -EIO. */
int store_set_paused(struct store *s, const char *name, bool paused);

/**
 * store_generation - the number of the configuration with this hash: the last one's if it is the same, else one more.
 * Remembered. Returns 0 or -EIO.
 */
int store_generation(struct store *s, uint64_t text_hash, uint64_t *ret);

#endif
