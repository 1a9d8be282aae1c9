/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_pool.h - memory for bytes on their way: frames that are still arriving, answers and messages being sent.
 *
 * A buddy allocator over one reserved range, so that a 20 MB frame and ten thousand small ones share one bound. Blocks
 * are powers of two from FRAME_BLOCK_BYTES up. Its own notes lie beside the range, so blocks that nobody uses are never
 * touched. One core's; never allocates after creation.
 */
#ifndef MILLRACE_FRAME_POOL_H
#define MILLRACE_FRAME_POOL_H

#include "abi/mr_base.h"

struct frame_pool;

/** frame_pool_create - reserve @bytes (rounded up to a power of two). Returns 0 or -ENOMEM. */
int frame_pool_create(uint64_t bytes, struct frame_pool **ret);
void frame_pool_destroy(struct frame_pool *p);

/** frame_take - a block of at least @bytes; @ret_bytes gets its size. NULL if none is free: push back. */
char *frame_take(struct frame_pool *p, uint64_t bytes, uint32_t *ret_bytes);

/** frame_give - give back a block of frame_take(); @bytes is the size it returned. NULL is ignored. */
void frame_give(struct frame_pool *p, char *block, uint32_t bytes);
uint64_t frame_pool_used(const struct frame_pool *p);

#endif
