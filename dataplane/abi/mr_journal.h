/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_journal.h - the journal on disk, and how any process reads it. The prose version is docs/journal.md.
 *
 * A journal is a folder DATA/journal-<core>/ of segment files of equal size, written by one worker. A position is a
 * byte offset in the endless journal; position / segment_bytes is the segment's sequence number, the rest the offset in
 * its file. Files are named <sequence as 16 hex digits>.seg; `spare-<n>.seg` are zero-filled or recycled files waiting
 * for use. Block 0 of a file (MR_JOURNAL_BLOCK bytes) is its header; records follow, 8-aligned, never across a
 * segment's end.
 *
 * Commits are whole blocks: the writer closes each batch with a PAD record up to the next block, so no durable block is
 * ever written twice. Each record carries its own position and the writer's epoch (a number that grows with every
 * recovery), so old bytes of a recycled file, and bytes that a crashed writer left behind a gap, are never taken for
 * records. Every CRC starts from the journal's secret seed (of its random uuid), so that no sender can hide bytes in a
 * message that look like records to a reader who lost its place. Little-endian throughout.
 */
#ifndef MR_JOURNAL_H
#define MR_JOURNAL_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_JOURNAL_MAGIC     0x4c4e524a524c4d00ull
#define MR_JOURNAL_VERSION   1
#define MR_JOURNAL_BLOCK     4096
#define MR_SEGMENT_BYTES_MIN (1u << 20)

enum mr_record_type {
	MR_REC_PAD = 1,     /* nothing; fills a batch up to the block's end, or a segment up to its end */
	MR_REC_NAMES = 2,   /* listener and destination numbers to names, from here on */
	MR_REC_MESSAGE = 3, /* one message taken in */
	MR_REC_OUTCOME = 4, /* what became of messages at destinations */
	MR_REC_EVENT = 5,   /* start, stop, adoption ...: for people reading a dump */
};

struct mr_segment_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc;     /* CRC-32C of the rest of this struct, from `uuid` on */
	uint8_t uuid[16]; /* of the journal */
	uint32_t core;
	uint32_t epoch;
	uint64_t sequence; /* of the segment */
	uint64_t segment_bytes;
	uint64_t created_ns; /* realtime */
};

struct mr_rec {            /* 32 bytes, before every body */
	uint32_t crc;      /* CRC-32C, from the journal's seed, of everything after this field: header rest and body */
	uint32_t bytes;    /* header and body, without the alignment after it */
	uint64_t position; /* of this header */
	uint64_t time_ns;  /* realtime of the append */
	uint32_t epoch;
	uint16_t type; /* enum mr_record_type */
	uint16_t flags;
};
MR_STATIC_ASSERT(sizeof(struct mr_rec) == 32, "record header");

struct mr_rec_message {   /* body of MESSAGE: this, then uint16_t dest[dest_count], then zeros to 8, then the payload */
	uint64_t key;     /* ordering key */
	uint64_t id_hash; /* of sender and control ID, for duplicate detection; 0 = none */
	uint32_t payload_bytes; /* the message exactly as it came, without MLLP framing */
	uint16_t listener;      /* number in the NAMES record in force */
	uint16_t dest_count;
	uint32_t peer_hash; /* of the sender's address */
	char code[2];       /* MSA-1 it was answered with, NULs if none was asked for */
	uint16_t flags;
};
MR_STATIC_ASSERT(sizeof(struct mr_rec_message) == 32, "message body head");

struct mr_rec_outcome {    /* body of OUTCOME: an array of these */
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

struct mr_rec_pad { /* body of PAD; `rec.bytes` leads to the next block (or to the segment's end), the CRC covers only
	               this */
	uint64_t
	    durable; /* as the writer knew it: what is before this was acknowledged, so it must be readable for ever */
};
#define MR_PAD_BYTES 40u /* shortest PAD; no record leaves less than this (but more than nothing) of a segment */

enum mr_event {
	MR_EVENT_START = 1,   /* first record of an epoch; arg: where the epoch before it ended */
	MR_EVENT_STOP = 2,    /* closed in good order */
	MR_EVENT_ADOPTED = 3, /* taken over by the worker of another core; arg: its number */
	MR_EVENT_DROPPED = 4, /* the segment of sequence arg was given up although older ones are still there */
};

struct mr_rec_event {  /* body of EVENT */
	uint32_t kind; /* enum mr_event */
	uint32_t pid;
	uint64_t arg;
};

#define MR_OUTCOMES_MAX 1024 /* in one OUTCOME record */

/*
 * <sequence>.idx: what recovery needs of a whole segment, without the payloads. This header, then the segment's NAMES,
 * OUTCOME and EVENT records as they are and its MESSAGE records without their payload, each 8-aligned; `rec.bytes` and
 * `rec.crc` are those of the whole record. An accelerator only: without it, or if its CRC is wrong, the segment is
 * read.
 */
#define MR_INDEX_MAGIC   0x584449524a524c4dull
#define MR_INDEX_VERSION 1
struct mr_index_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc; /* CRC-32C, from the seed, of the rest of this struct; data_crc covers what follows */
	uint8_t uuid[16];
	uint64_t sequence;
	uint64_t segment_bytes;
	uint64_t data_bytes; /* after this header */
	uint64_t last_ns;    /* time of the newest record */
	uint64_t messages;
	uint64_t outcomes;
	uint32_t data_crc; /* CRC-32C, from the seed */
	uint32_t epoch;    /* of the last record */
	uint64_t pad[3];
};
MR_STATIC_ASSERT(sizeof(struct mr_index_header) == 112, "index header");

/** mr_journal_seed - what all CRCs of a journal start from. */
uint32_t mr_journal_seed(const uint8_t uuid[16]);

/** mr_crc32c - CRC-32C (Castagnoli) of @bytes at @p, continuing from @crc (0 first). Hardware where there is any. */
uint32_t mr_crc32c(uint32_t crc, const void *p, size_t bytes);
uint32_t mr_crc32c_portable(uint32_t crc, const void *p, size_t bytes); /* without hardware: for comparison */

/** mr_rec_payload_offset - bytes from a MESSAGE record's header to its payload. */
static inline uint32_t mr_rec_payload_offset(uint32_t dest_count)
{
	return (uint32_t)(sizeof(struct mr_rec) + sizeof(struct mr_rec_message) + mr_align_up(dest_count * 2u, 8));
}

/**
 * mr_rec_check - is there a whole valid record of @position at @p?
 *
 * @bytes  Readable bytes at @p (up to the segment's end).
 * @seed   mr_journal_seed() of the journal (journal_seed(), mr_reader_seed()).
 * @epoch_min  Epoch of the record before it: an older one means leftovers. 0 if it is not known.
 * Checks size, position, epoch, type, the inner sizes of the type's body and the CRC. Returns the bytes to the next
 * record (aligned), or -ENODATA (zeros: never written), -EBADMSG (torn, corrupt or left over).
 */
int64_t mr_rec_check(const void *p, size_t bytes, uint64_t position, uint32_t seed, uint32_t epoch_min);

/**
 * mr_index_rec_check - is there a whole record at @p in the data of an index (@bytes left)? Sizes only: the data's CRC
 * has been checked. Returns the bytes to the next one, or -EBADMSG.
 */
int64_t mr_index_rec_check(const void *p, size_t bytes);

/** mr_rec_seal - fill in the CRC of the record at @rec, everything else being in place. For writers (and tests). */
void mr_rec_seal(struct mr_rec *rec, uint32_t seed);

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

/**
 * mr_reader_head - record header and message head of the MESSAGE at @position, without its payload (not CRC-checked
 * when it comes from the file: use it for times and sizes only). Returns as mr_reader_message().
 */
int mr_reader_head(struct mr_reader *r, uint64_t position, struct mr_rec *ret_rec, struct mr_rec_message *ret_m);

/**
 * mr_reader_fd - a read-only descriptor of the segment that holds @position, for asynchronous reads.
 *
 * Stays open until 64 other segments were asked for. @ret_offset  Offset of the position in it. What is read must be
 * checked with mr_rec_check(): the writer may have taken the file into use again (never while it holds something
 * unfinished). After -EBADMSG call mr_reader_forget() and try once more. Returns it, -ENOENT or -errno.
 */
int mr_reader_fd(struct mr_reader *r, uint64_t position, uint64_t *ret_offset);
void mr_reader_forget(struct mr_reader *r, uint64_t position);
uint32_t mr_reader_seed(const struct mr_reader *r);
const struct mr_tail *mr_reader_tail(const struct mr_reader *r); /* NULL if it was opened without one */

/** mr_read_whole - pread() all of @bytes at @offset. Returns 0, -EBADMSG (the file is shorter), -errno. Blocks. */
int mr_read_whole(int fd, void *buf, size_t bytes, uint64_t offset);

/** mr_tail_map - map a tail memfd read-only, data part twice in a row after the head. Returns NULL and errno on
 * failure. */
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

/** mr_segment_header_check - 0, or -EPROTO (not a segment, or another version), -EBADMSG (damaged). */
int mr_segment_header_check(const struct mr_segment_header *h);

/** mr_segment_name, mr_index_name - file name of a segment or its index; @ret of 32 bytes. */
void mr_segment_name(uint64_t sequence, char ret[32]);
void mr_index_name(uint64_t sequence, char ret[32]);

/**
 * struct mr_walk - a walk over the records of one segment that stands whole in memory.
 *
 * Set by mr_walk_init(); `position` is the place of the next record, `epoch` that of the last.
 */
struct mr_walk {
	const char *base; /* the segment's first byte */
	uint64_t first;   /* its position */
	uint64_t bytes;   /* of the segment */
	uint64_t position;
	uint32_t seed;
	uint32_t epoch;
};

void mr_walk_init(struct mr_walk *w, const void *base, uint64_t sequence, uint64_t segment_bytes, uint32_t seed,
                  uint32_t epoch);

/**
 * mr_walk_next - the next valid record, PADs and epoch starts included; NULL at the first place that is none.
 *
 * Goes over the place where a crashed writer stopped in mid-block and its successor began in the next block. At NULL,
 * `position` is the place; it is first + bytes if the segment is full.
 */
const struct mr_rec *mr_walk_next(struct mr_walk *w);

/**
 * mr_walk_resync - after mr_walk_next() gave NULL: go to the next place that holds a valid record of this epoch or a
 * later one. Returns false (nothing changed) if there is none. What follows may never have been acknowledged. It looks
 * at every multiple of 8: the seed in the CRC is what keeps a message's content from passing for a record.
 */
bool mr_walk_resync(struct mr_walk *w);

/**
 * mr_walk_damaged - after mr_walk_next() gave NULL: does anything further on in this segment prove that the place was
 * once valid and acknowledged? If not, it is where a writer crashed (or the journal ends).
 */
bool mr_walk_damaged(const struct mr_walk *w);

/**
 * mr_scan_segment - walk the records of one segment file from the first (or @from_position) to the last valid one.
 *
 * The callback gets each record with its whole body (PADs included); a non-zero return stops the scan and is returned.
 * @ret_end gets the position after the last valid record (the segment's end if it is full). Returns 0, -EBADMSG if a
 * record is damaged that was acknowledged (later ones prove it; @ret_end is the damaged place, the scan ends there),
 * -EPROTO (not a segment), -errno. Whether an early end is damage in a segment that is not the newest, the caller
 * knows.
 */
typedef int mr_scan_fn(void *arg, const struct mr_rec *rec, const void *body);
int mr_scan_segment(const char *path, uint64_t from_position, mr_scan_fn *fn, void *arg, uint64_t *ret_end);

#ifdef __cplusplus
}
#endif
#endif
