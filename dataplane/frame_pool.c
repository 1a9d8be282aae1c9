/* SPDX-License-Identifier: Apache-2.0 */
/* frame_pool.c - the buddy allocator behind frame_pool.h. One core's thread only; never allocates after creation. */
#include "frame_pool.h"
#include "core_limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define POOL_NONE   UINT32_MAX
#define POOL_ORDERS 32

struct frame_pool {
	char *base;
	uint64_t bytes, used;
	uint32_t orders;          /* the whole range is one block of order orders - 1 */
	uint8_t *free_order;      /* per smallest block: order + 1 if a free block starts there, else 0 */
	uint32_t *next, *prev;    /* free lists, by smallest block */
	uint32_t list[POOL_ORDERS];
};

static void pool_link(struct frame_pool *p, uint32_t b, uint32_t order)
{
	p->free_order[b] = (uint8_t)(order + 1);
	p->prev[b] = POOL_NONE;
	p->next[b] = p->list[order];
	if (p->next[b] != POOL_NONE)
		p->prev[p->next[b]] = b;
	p->list[order] = b;
}

static void pool_unlink(struct frame_pool *p, uint32_t b, uint32_t order)
{
	p->free_order[b] = 0;
	if (p->prev[b] != POOL_NONE)
		p->next[p->prev[b]] = p->next[b];
	else
		p->list[order] = p->next[b];
	if (p->next[b] != POOL_NONE)
		p->prev[p->next[b]] = p->prev[b];
}

int frame_pool_create(uint64_t bytes, struct frame_pool **ret)
{
	struct frame_pool *p = calloc(1, sizeof(*p));
	uint64_t blocks;

	if (!p)
		return -ENOMEM;
	p->bytes = FRAME_BLOCK_BYTES;
	p->orders = 1;
	while (p->bytes < bytes && p->orders < POOL_ORDERS) {
		p->bytes *= 2;
		p->orders++;
	}
	blocks = p->bytes / FRAME_BLOCK_BYTES;
	p->free_order = calloc(blocks, 1);
	p->next = calloc(blocks, sizeof(*p->next));
	p->prev = calloc(blocks, sizeof(*p->prev));
	p->base = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!p->free_order || !p->next || !p->prev || p->base == MAP_FAILED) {
		frame_pool_destroy(p);
		return -ENOMEM;
	}
	madvise(p->base, p->bytes, MADV_DONTDUMP); /* messages: never in a core dump */
	for (uint32_t i = 0; i < POOL_ORDERS; i++)
		p->list[i] = POOL_NONE;
	pool_link(p, 0, p->orders - 1);
	*ret = p;
	return 0;
}

void frame_pool_destroy(struct frame_pool *p)
{
	if (!p)
		return;
	if (p->base && p->base != MAP_FAILED)
		munmap(p->base, p->bytes);
	free(p->free_order);
	free(p->next);
	free(p->prev);
	free(p);
}

static uint32_t pool_order(uint64_t bytes)
{
	uint32_t order = 0;

	while (((uint64_t)FRAME_BLOCK_BYTES << order) < bytes)
		order++;
	return order;
}

char *frame_take(struct frame_pool *p, uint64_t bytes, uint32_t *ret_bytes)
{
	uint32_t want = pool_order(bytes), order = want, b;

	while (order < p->orders && p->list[order] == POOL_NONE)
		order++;
	if (order >= p->orders)
		return NULL;
	b = p->list[order];
	pool_unlink(p, b, order);
	while (order > want) {
		order--;
		pool_link(p, b + (1u << order), order); /* the upper half stays free */
	}
	*ret_bytes = (uint32_t)FRAME_BLOCK_BYTES << want;
	p->used += *ret_bytes;
	return p->base + (uint64_t)b * FRAME_BLOCK_BYTES;
}

void frame_give(struct frame_pool *p, char *block, uint32_t bytes)
{
	uint32_t order, b;

	if (!block)
		return;
	order = pool_order(bytes);
	b = (uint32_t)((uint64_t)(block - p->base) / FRAME_BLOCK_BYTES);
	must(block >= p->base && (uint64_t)(block - p->base) < p->bytes && p->free_order[b] == 0);
	p->used -= bytes;
	if (bytes >= (1u << 20))
		madvise(block, bytes, MADV_FREE); /* the kernel may have it when it needs it */
	while (order + 1 < p->orders) {
		uint32_t buddy = b ^ (1u << order);

		if (p->free_order[buddy] != order + 1)
			break;
		pool_unlink(p, buddy, order);
		b &= ~(1u << order);
		order++;
	}
	pool_link(p, b, order);
}

uint64_t frame_pool_used(const struct frame_pool *p)
{
	return p->used;
}
