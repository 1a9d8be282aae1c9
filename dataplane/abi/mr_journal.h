/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_journal.h - the journal on disk, and how any process reads it. The prose version is docs/journal.md.
 *
 * A journal is a folder DATA/journal-<core>/ of segment files of equal size, written by one worker. A position is a byte
 * offset in the endless journal; position / segment_bytes is the segment's sequence number, the rest the offset in its
 * file. Files are named <sequence as 16 hex digits>.seg; `spare-<n>.seg` are zero-filled or recycled files waiting for
 * use. Block 0 of a file (MR_JOURNAL_BLOCK bytes) is its header; records follow, 8-aligned, never across a segment's end.
 *
 * Commits are whole blocks: the writer closes each batch with a PAD record up to the next block, so no durable block is
 * ever written twice. Each record carries its own position and the writer's epoch (a number that grows with every
 * recovery), so old bytes of a recycled file, and bytes that a crashed writer left behind a gap, are never taken for
 * records. Little-endian throughout.
 */
#ifndef MR_JOURNAL_H
#define MR_JOURNAL_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_JOURNAL_MAGIC   0x4c4e524a524c4d00ull
#define MR_JOURNAL_VERSION 1
#define MR_JOURNAL_BLOCK   4096
#define MR_SEGMENT_BYTES_MIN (1u << 20)

enum mr_record_type {
	MR_REC_PAD = 1,     /* nothing; fills a batch up to the block's end */
	MR_REC_NAMES = 2,   /* listener and destination numbers to names, from here on */
	MR_REC_MESSAGE = 3, /* one message taken in */
	MR_REC_OUTCOME = 4, /* what became of messages at destinations */
	MR_REC_EVENT = 5,   /* start, stop, adoption ...: for people reading a dump */
};

struct mr_segment_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc;          /* CRC-32C of the rest of this struct, from `uuid` on */
	uint8_t uuid[16];      /* of the journal */
	uint32_t core;
	uint32_t epoch;
	uint64_t sequence;     /* of the segment */
	uint64_t segment_bytes;
	uint64_t created_ns;   /* realtime */
};

struct mr_rec { /* 32 bytes, before every body */
	uint32_t crc;      /* CRC-32C of everything after this field: header rest and body */
	uint32_t bytes;    /* header and body, without the alignment after it */
	uint64_t position; /* of this header */
	uint64_t time_ns;  /* realtime of the append */
	uint32_t epoch;
	uint16_t type;     /* enum mr_record_type */
	uint16_t flags;
};
MR_STATIC_ASSERT(sizeof(struct mr_rec) == 32, "record header");

struct mr_rec_message { /* body of MESSAGE: this, then uint16_t dest[dest_count], then zeros to 8, then the payload */
	uint64_t key;           /* ordering key */
	uint64_t id_hash;       /* of sender and control ID, for duplicate detection; 0 = none */
	uint32_t payload_bytes; /* the message exactly as it came, without MLLP framing */
	uint16_t listener;      /* number in the NAMES record in force */
	uint16_t dest_count;
	uint32_t peer_hash;     /* of the sender's address */
	char code[2];           /* MSA-1 it was answered with, NULs if none was asked for */
	uint16_t flags;
};
MR_STATIC_ASSERT(sizeof(struct mr_rec_message) == 32, "message body head");

struct mr_rec_outcome { /* body of OUTCOME: an array of these */
	uint64_t position; /* of the MESSAGE record, same journal */
	uint16_t dest;     /* number in the NAMES record in force here */
	uint8_t result;    /* enum mr_result */
	uint8_t reason;    /* enum mr_reason */
	uint16_t attempts;
	char code[2];
};
MR_STATIC_ASSERT(sizeof(struct mr_rec_outcome) == 16, "outcome");

struct mr_rec_names { /* body of NAMES: this, then listener_count + dest_count names of MR_NAME_BYTES each */
	uint64_t generation;
	uint32_t listener_count;
	uint32_t dest_count;
};

/** mr_crc32c - CRC-32C (Castagnoli) of @bytes at @p, continuing from @crc (0 first). Hardware where there is any. */
uint32_t mr_crc32c(uint32_t crc, const void *p, size_t bytes);

/** mr_rec_payload_offset - bytes from a MESSAGE record's header to its payload. */
static inline uint32_t mr_rec_payload_offset(uint32_t dest_count)
{
	return (uint32_t)(sizeof(struct mr_rec) + sizeof(struct mr_rec_message) + mr_align_up(dest_count * 2u, 8));
}

/**
 * mr_rec_check - is there a whole valid record of @position at @p?
 *
 * @bytes  Readable bytes at @p (up to the segment's end).
 * @epoch_min  Epoch of the record before it: an older one means leftovers.
 * Checks size, position, epoch, type, the inner sizes of the type's body and the CRC. Returns the bytes to the next
 * record (aligned), or -ENODATA (zeros: never written), -EBADMSG (torn, corrupt or left over).
 */
int64_t mr_rec_check(const void *p, size_t bytes, uint64_t position, uint32_t epoch_min);

/*
 * The tail: the newest bytes of a living worker's journal, in a memfd of MR_TAIL_HEAD + tail_bytes, mapped read-only by
 * every peer. Byte of position p stands at ring[p & (tail_bytes - 1)]; valid while start <= p < end. The writer moves
 * `start` up before it overwrites; a reader copies first and asks mr_tail_holds() afterwards.
 * The data part is meant to be mapped twice in a row, so that a record that wraps is contiguous.
 */
#define MR_TAIL_HEAD 4096
struct mr_tail {
	uint64_t magic;
	uint64_t version;
	uint64_t tail_bytes; /* power of two, multiple of 4096 */
	uint64_t segment_bytes;
	uint32_t core;
	uint32_t pad0;
	uint8_t uuid[16];
	uint8_t pad1[MR_CACHELINE - 56 + 64];
	uint64_t start;   /* oldest position still valid; writer */
	uint64_t end;     /* appended so far; writer */
	uint64_t durable; /* committed so far; writer */
};
#define MR_TAIL_MAGIC   0x4c494154524c4d00ull
#define MR_TAIL_VERSION 1

/**
 * struct mr_reader - reads messages of one journal by position: from its tail if it is still there, else from the file.
 * Used by the connectors and by tools; workers use the same functions for the tail and do file reads through io.h.
 */
struct mr_reader;

/**
 * mr_reader_open - get ready to read the journal in @folder.
 * @tail_fd  memfd of its tail or -1 (dead writer, offline). Not consumed.
 * Returns 0, -errno, or -EPROTO (not a journal). Allocates.
 */
int mr_reader_open(const char *folder, int tail_fd, struct mr_reader **ret);
void mr_reader_close(struct mr_reader *r);

/**
 * mr_reader_message - copy the payload of the MESSAGE record at @position to @buf.
 *
 * @buf_bytes  Room. @ret_bytes  Payload length; if larger than the room, -ENOSPC and nothing but this is written.
 * Blocks on file reads. Checks position and CRC. Returns 0, -ENOENT (segment gone), -EBADMSG (corrupt), -errno.
 */
int mr_reader_message(struct mr_reader *r, uint64_t position, void *buf, size_t buf_bytes, uint32_t *ret_bytes);

/** mr_tail_map - map a tail memfd read-only, data part twice in a row after the head. Returns NULL and errno on failure. */
const struct mr_tail *mr_tail_map(int fd);
void mr_tail_unmap(const struct mr_tail *t);

static inline const char *mr_tail_at(const struct mr_tail *t, uint64_t position)
{
	return (const char *)t + MR_TAIL_HEAD + (position & (t->tail_bytes - 1));
}

/** mr_tail_holds - after copying: was [position, position + bytes) valid all the while? */
static inline bool mr_tail_holds(const struct mr_tail *t, uint64_t position, uint64_t bytes)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return position >= mr_load_relaxed(&t->start) && position + bytes <= mr_load(&t->end);
}

/**
 * mr_scan - walk the records of one segment (or all of a journal folder) from the first to the last valid one.
 *
 * The callback gets each record with its whole body; a non-zero return stops the scan and is returned. @ret_end gets the
 * position after the last valid record. A torn or corrupt place ends the segment's scan: -EBADMSG with @ret_end at the
 * place if valid data of the same epoch was expected there (a segment that is not the newest), 0 if it is the newest end.
 */
typedef int mr_scan_fn(void *arg, const struct mr_rec *rec, const void *body);
int mr_scan_segment(const char *path, uint64_t from_position, mr_scan_fn *fn, void *arg, uint64_t *ret_end);

#ifdef __cplusplus
}
#endif
#endif
