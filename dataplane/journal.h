/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - one append-only journal: where every message is put before it is acknowledged, and every outcome after.
 *
 * Owner: one core. Appending is a copy into memory (the shared tail); journal_flush(), once a turn of the loop, hands
 * the disk what came in; journal_durable() says how far it is on disk. Format: abi/mr_journal.h and docs/journal.md.
 * All disk work goes through io.h; opening and recovery (at start) may block.
 */
#ifndef MILLRACE_JOURNAL_H
#define MILLRACE_JOURNAL_H

#include "abi/mr_journal.h"
#include "abi/mr_region.h"
#include "io.h"

struct journal;

struct journal_params {
	const char *folder; /* DATA/journal-<core>; made if missing */
	uint32_t core;
	const struct mr_config *cfg;     /* names, sizes, retention, commit mode. Borrowed until journal_set_config() */
	struct mr_region_writer *region; /* metrics go here; may be NULL */
	bool adopted;                    /* an orphan: outcomes only, small tail, no message is ever appended */
	uint64_t io_tag; /* the journal's file requests carry tags io_tag | 0..0xffff; the core routes IO_FILE by it */
};

/*
 * What recovery finds, in journal order, each message before its outcomes. Destination and listener numbers are already
 * those of the present configuration (by name); UINT16_MAX: the name is gone.
 */
struct journal_found {
	/* A message that is not finished at all its destinations, or that is inside the duplicate window. */
	void (*message)(void *arg, uint64_t position, const struct mr_rec *rec, const struct mr_rec_message *m,
	                const uint16_t *dests);
	void (*outcome)(void *arg, const struct mr_rec_outcome *o, uint64_t time_ns);
	void *arg;
};

struct journal_recovery {
	uint64_t messages, outcomes, segments, bytes_read, duration_ns;
	uint64_t
	    corrupt_position; /* UINT64_MAX: none. Else the first place where valid data was expected and not found */
	uint64_t end;         /* appending goes on here */
};

/**
 * journal_open - open or make the journal, recover it, prepare segments. Blocks (start-up only).
 *
 * Reads the segment indexes from the oldest segment that still has unfinished messages, and whole segments where an
 * index is missing or unusable. Returns 0, -errno; -EUCLEAN if a segment of the middle is missing or corrupt and
 * `found` would be incomplete: the caller says so loudly and goes on with what there is (ret is valid then).
 */
int journal_open(const struct journal_params *p, struct io *io, const struct journal_found *found,
                 struct journal_recovery *ret_recovery, struct journal **ret);
void journal_close(struct journal *j); /* flushes nothing; call journal_idle() first */

enum journal_room {
	JOURNAL_ROOM = 0,
	JOURNAL_BUSY = 1 /* tail full of unwritten bytes: soon */,
	JOURNAL_FULL = 2 /* disk */,
	JOURNAL_NEVER = 3 /* larger than this journal's segments or tail can hold */
};

/** journal_room - may a message of @payload_bytes be appended now? Keeps a reserve for outcomes. */
enum journal_room journal_room(const struct journal *j, uint32_t payload_bytes, uint32_t dest_count);

/**
 * journal_append_message - append one message; needs journal_room() == JOURNAL_ROOM.
 *
 * @m, @dests  Head and destination numbers (present configuration). @payload  Copied.
 * @ret_position  Where it stands. Returns the position after it: it is durable when journal_durable() >= that.
 */
uint64_t journal_append_message(struct journal *j, const struct mr_rec_message *m, const uint16_t *dests,
                                const void *payload, uint64_t *ret_position);

/**
 * journal_append_outcomes - append @n outcomes (1..1024) as one record. Returns the position after it, or 0 if there is
 * no room even in the reserve (disk full or tail busy): the caller keeps them and tries again next turn.
 */
uint64_t journal_append_outcomes(struct journal *j, const struct mr_rec_outcome *o, uint32_t n);

/** journal_set_config - new names or limits from here on; writes a NAMES record. Returns 0 or -EAGAIN (no room now). */
int journal_set_config(struct journal *j, const struct mr_config *cfg);

void journal_flush(struct journal *j, uint64_t now_ns);       /* once a turn, after everything was appended */
void journal_io(struct journal *j, const struct io_event *e); /* an IO_FILE event with our tag */
void journal_tick(struct journal *j, uint64_t now_ns,
                  uint64_t realtime_ns); /* about every 100 ms: spares, retention, free space */
uint64_t journal_appended(const struct journal *j);
uint64_t journal_durable(const struct journal *j);
bool journal_idle(const struct journal *j); /* nothing appended that is not durable, no request in flight */
bool journal_failed(
    const struct journal *j); /* a write failed for good: nothing more will become durable; accept nothing */
int journal_tail_fd(const struct journal *j); /* memfd for the peers; the journal's own */
const struct mr_tail *journal_tail(const struct journal *j);

/**
 * journal_record - the record at @position, if it is still in the tail (any appended, durable or not); NULL if not.
 * The pointer is good until the next append.
 */
const struct mr_rec *journal_record(const struct journal *j, uint64_t position);

/** journal_read_sync - copy a whole MESSAGE record of any age (rare path: duplicates); blocks on a file read.
 *  Returns record bytes, -ENOENT, -EBADMSG or -ENOSPC. */
int64_t journal_read_sync(struct journal *j, uint64_t position, void *buf, size_t buf_bytes);

/**
 * journal_segment_fd - a read-only descriptor of the segment that holds @position, for io_read().
 *
 * The journal's own; stays open until 64 other segments were asked for, or the segment goes. @ret_offset  Offset of the
 * position in it. Check what was read with mr_rec_check(.., journal_seed(j), 0). Returns it, -ENOENT or -errno. Opens a
 * file the first time.
 */
int journal_segment_fd(struct journal *j, uint64_t position, uint64_t *ret_offset);
uint32_t journal_seed(const struct journal *j);

/* Unfinished work per segment keeps the segment: taken for each (message, destination), given when finished. */
void journal_pin(struct journal *j, uint64_t position);
void journal_unpin(struct journal *j, uint64_t position);

#endif
