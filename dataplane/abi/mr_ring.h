/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_ring.h - single producer, single consumer ring of fixed records in shared memory: how cores and connectors talk.
 *
 * One ring carries work one way, from peer A to peer B; every pair of peers has two. The control plane creates each as a
 * memfd of mr_ring_bytes() and passes it, with one eventfd for its consumer, to both ends. When one end dies both rings
 * of the pair are replaced by fresh ones; nothing of the old ones is read again (the owner hands its work out anew).
 *
 * The producer writes `tail`, the consumer `head` and `sleeping`; each stands on a cache line of its own.
 */
#ifndef MR_RING_H
#define MR_RING_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_RING_MAGIC   0x474e495252454c4dull /* "MLERRING" */
#define MR_RING_VERSION 1
#define MR_RING_RECORDS 32768 /* power of two */

enum mr_msg_kind {
	MR_MSG_DELIVER = 1, /* owner -> destination's core: deliver (journal, position) */
	MR_MSG_OUTCOME = 2, /* destination's core -> owner: what became of it */
};

enum mr_result {
	MR_RESULT_NONE = 0,
	MR_RESULT_DELIVERED = 1, /* accepted by the destination (AA or CA, or the file is in place) */
	MR_RESULT_DEAD = 2,      /* rejected or out of attempts: goes to the dead letters */
	MR_RESULT_DROPPED = 3,   /* rejected and the setting says: drop with a record */
	MR_RESULT_DISCARDED = 4, /* an operator discarded the dead letter */
	MR_RESULT_REQUEUED = 5,  /* an operator put the dead letter back in its queue; the message is pending again */
	MR_RESULT_RETURNED = 6,  /* the destination's core gives it back untried (drain); never journalled */
};

/* Why a message is dead or dropped. Kept in the journal: numbers are for ever. */
enum mr_reason {
	MR_REASON_NONE = 0,
	MR_REASON_REJECTED = 1,   /* the answer was AE, AR, CE or CR (see the code) */
	MR_REASON_ATTEMPTS = 2,   /* attempts used up: no answer or no connection */
	MR_REASON_GONE = 3,       /* its destination is no longer in the configuration */
	MR_REASON_UNREADABLE = 4, /* its bytes could not be read back from the journal */
	MR_REASON_IO = 5,         /* the destination's own storage refused it (file destinations) */
};

/**
 * struct mr_msg - one ring record, 32 bytes.
 *
 * DELIVER: all fields but result, reason and code; `attempts` is what was used up before.
 * OUTCOME: echoes dest, lane, journal, sequence and position; result, reason, code and attempts say how it went.
 */
struct mr_msg {
	uint8_t kind;      /* enum mr_msg_kind */
	uint8_t result;    /* enum mr_result */
	uint16_t dest;     /* index in the configuration image */
	uint8_t lane;      /* ordering lane, 0..connections-1 of the destination */
	uint8_t reason;    /* enum mr_reason */
	uint16_t journal;  /* number of the journal that holds it (the core number it was written by) */
	uint64_t sequence; /* of the owner's queue for (dest, lane): names the entry */
	uint64_t position; /* of the MESSAGE record in the journal */
	uint32_t bytes;    /* of the payload */
	uint16_t attempts;
	char code[2]; /* MSA-1 of the answer, NULs if there was none */
};
MR_STATIC_ASSERT(sizeof(struct mr_msg) == 32, "ring records are 32 bytes");

struct mr_ring {
	/* line 0: written once by the control plane; version last */
	uint64_t magic;
	uint32_t records;
	uint32_t record_bytes;
	uint64_t version;
	uint8_t pad0[MR_CACHELINE - 24];
	/* line 1: producer */
	uint64_t tail;
	uint8_t pad1[MR_CACHELINE - 8];
	/* line 2: consumer */
	uint64_t head;
	uint8_t pad2[MR_CACHELINE - 8];
	/* line 3: consumer: 1 while it may sleep and wants its eventfd written after a push */
	uint64_t sleeping;
	uint8_t pad3[MR_CACHELINE - 8];
	struct mr_msg record[];
};
MR_STATIC_ASSERT(offsetof(struct mr_ring, tail) == 64 && offsetof(struct mr_ring, head) == 128 &&
			 offsetof(struct mr_ring, record) == 256,
		 "one writer per cache line");

static inline size_t mr_ring_bytes(uint32_t records)
{
	return sizeof(struct mr_ring) + (size_t)records * sizeof(struct mr_msg);
}

/** mr_ring_init - make zeroed memory of mr_ring_bytes(@records) a ring. @records is a power of two. Control plane only. */
static inline void mr_ring_init(struct mr_ring *r, uint32_t records)
{
	r->magic = MR_RING_MAGIC;
	r->records = records;
	r->record_bytes = sizeof(struct mr_msg);
	mr_store(&r->version, MR_RING_VERSION);
}

/** mr_ring_valid - is @mapped_bytes of memory at @r a ring this program can use? Checked by whoever maps one. */
static inline bool mr_ring_valid(const struct mr_ring *r, size_t mapped_bytes)
{
	return mapped_bytes >= sizeof(*r) && mr_load(&r->version) == MR_RING_VERSION && r->magic == MR_RING_MAGIC &&
	       r->records && (r->records & (r->records - 1)) == 0 && r->record_bytes == sizeof(struct mr_msg) &&
	       mapped_bytes >= mr_ring_bytes(r->records);
}

/** mr_ring_map - map the ring behind @fd (not consumed) and check it; munmap() it. Returns 0, -errno, or -EPROTO (not a ring). */
int mr_ring_map(int fd, struct mr_ring **ret, size_t *ret_bytes);

/** mr_ring_push - producer: append one record. Returns false if the ring is full (try again later; nothing is lost). */
static inline bool mr_ring_push(struct mr_ring *r, const struct mr_msg *m)
{
	uint64_t tail = mr_load_relaxed(&r->tail);

	if (tail - mr_load(&r->head) >= r->records)
		return false;
	r->record[tail & (r->records - 1)] = *m;
	mr_store(&r->tail, tail + 1);
	return true;
}

/** mr_ring_must_wake - producer, after a batch of pushes: must the consumer's eventfd be written? */
static inline bool mr_ring_must_wake(struct mr_ring *r)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return mr_load_relaxed(&r->sleeping) != 0;
}

/** mr_ring_pop - consumer: take the oldest record. Returns false if the ring is empty. */
static inline bool mr_ring_pop(struct mr_ring *r, struct mr_msg *ret)
{
	uint64_t head = mr_load_relaxed(&r->head);

	if (head == mr_load(&r->tail))
		return false;
	*ret = r->record[head & (r->records - 1)];
	mr_store(&r->head, head + 1);
	return true;
}

/**
 * mr_ring_sleep - consumer, before it blocks: ask to be woken. Returns false if work came in meanwhile: do not block.
 * mr_ring_awake - consumer, after it woke: producers need not write the eventfd any more.
 */
static inline bool mr_ring_sleep(struct mr_ring *r)
{
	__atomic_store_n(&r->sleeping, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return mr_load_relaxed(&r->head) == mr_load(&r->tail);
}

static inline void mr_ring_awake(struct mr_ring *r)
{
	__atomic_store_n(&r->sleeping, 0, __ATOMIC_RELAXED);
}

static inline uint64_t mr_ring_used(const struct mr_ring *r)
{
	return mr_load(&r->tail) - mr_load(&r->head);
}

#ifdef __cplusplus
}
#endif
#endif
