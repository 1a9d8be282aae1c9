/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_internal.h - what the files journal*.c share. Nobody else includes it (but the fuzzer of the format).
 *
 *   journal.c          append, flush, completions: the path of every message
 *   journal_open.c     opening and closing
 *   journal_segment.c  segment files: table, spares, the next one, retention, free space
 *   journal_carry.c    giving up a segment although an older one stays
 *   journal_index.c    the .idx file beside each segment, written as the segment fills
 *   journal_folder.c   recovery: which files are there, whose are they
 *   journal_recover.c  ... what do they hold, where does the journal end, what is damaged
 *   journal_pending.c  ... and which messages are not finished
 */
#ifndef MILLRACE_JOURNAL_INTERNAL_H
#define MILLRACE_JOURNAL_INTERNAL_H

#include "journal.h"
#include "abi/mr_config.h"

#define JOURNAL_WRITES_MAX    8           /* in flight */
#define JOURNAL_WRITE_BYTES   (1u << 20)  /* at most, each */
#define JOURNAL_GATHER_BYTES  (16u << 10) /* with something in flight, start another write from here on */
#define JOURNAL_TRIES_MAX     20          /* of one write, one a tick: about 2 s */
#define JOURNAL_CUTS_MAX      8
#define JOURNAL_SEGMENTS_MAX  16384
#define JOURNAL_SPARES_MAX    8
#define JOURNAL_SPARES_WANTED 2
#define JOURNAL_SPARES_EXTRA  2             /* of done segments: cheaper than to make new ones */
#define JOURNAL_FILES_MAX     64            /* read descriptors kept open */
#define JOURNAL_RESERVE_MAX   (4u << 20)    /* of the last segment: for outcomes */
#define JOURNAL_RETRY_NS      1000000000ull /* to make a segment, after it failed; free space is looked at as often */
#define JOURNAL_SETTLE_NS     100000000ull  /* a sealed segment is not given up before its messages can be pinned */
#define JOURNAL_MARK_NS       1000000000ull /* idle so long: write down how far it is durable */
#define JOURNAL_HOLD_NS       100000000ull  /* while full: outcomes wait this long for company */
#define JOURNAL_SLACK_BYTES   (3u * MR_JOURNAL_BLOCK) /* what closing batches may add behind a record */

/* Low 16 bits of the tags of our file requests. */
enum journal_tag {
	JOURNAL_TAG_WRITE = 0,     /* + slot */
	JOURNAL_TAG_MAKE = 0x100,  /* the one step of making a segment that is under way */
	JOURNAL_TAG_INDEX = 0x200, /* + buffer */
	JOURNAL_TAG_INDEX_HEAD = 0x300,
	JOURNAL_TAG_STATE = 0x400,
	JOURNAL_TAG_CARRY = 0x500,
	JOURNAL_TAG_MASK = 0xffff,
};

enum segment_state {
	SEGMENT_PREPARING, /* has its name; header being written */
	SEGMENT_READY,     /* the next one */
	SEGMENT_CURRENT,
	SEGMENT_CLOSING, /* full, last bytes on their way to the disk */
	SEGMENT_SEALED,
};

struct segment {
	uint64_t sequence;
	uint64_t pins;      /* unfinished (message, destination) pairs */
	uint64_t last_ns;   /* realtime of its newest record */
	uint64_t data_end;  /* CLOSING: position behind the last block to be written */
	uint64_t sealed_ns; /* monotonic; 0: before this start */
	uint64_t file_used; /* clock of the last use of read_fd; 0: not open */
	int read_fd;
	int write_fd;   /* -1 once sealed */
	uint32_t state; /* enum segment_state */
	bool stays;     /* may go only as the oldest: what it holds of others cannot be carried on */
};

struct journal_write {
	uint64_t from, to; /* positions; from moves up after a short write */
	uint64_t start_ns;
	int fd;
	uint32_t tries;
	bool done, waiting; /* waiting: failed, to be tried again at the next tick */
};

struct journal_cut { /* the used part of a segment ends at `to`, the journal goes on at `resume` */
	uint64_t to, resume;
};

enum maker_step { MAKER_IDLE, MAKER_ZERO, MAKER_ZERO_SYNC, MAKER_FOLDER, MAKER_HEADER };

struct journal_maker { /* makes spares and the next segment, one step at a time */
	uint32_t step; /* enum maker_step */
	int fd;
	uint32_t number; /* of the spare being written */
	uint64_t done_bytes;
	uint64_t retry_at_ns;
	struct segment_block *header;
	char *zeros; /* JOURNAL_WRITE_BYTES */
};

struct segment_block { /* one block, for the header */
	struct mr_segment_header h;
	char rest[MR_JOURNAL_BLOCK - sizeof(struct mr_segment_header)];
};

#define INDEX_BUFFERS      4
#define INDEX_BUFFER_BYTES (256u << 10)

struct index_out { /* the index of one segment, being written */
	struct mr_index_header head;
	int fd;           /* -1: none */
	uint32_t writing; /* requests in flight */
	int32_t buffer;   /* being filled, -1: none */
	uint32_t used;    /* of it */
	uint64_t offset;  /* in the file, of the buffer's first byte */
	bool closing;     /* segment full: finish when it is on disk */
	bool head_written;
	bool failed; /* given up; goes when its last request is done */
};

struct journal_index {
	struct index_out out[2]; /* current, and the one before it that is not finished yet */
	uint32_t current;
	bool sync; /* start-up: write at once */
	struct {
		char *data;
		int32_t owner; /* out[] number while in use, else -1 */
		bool writing;
		uint32_t bytes;
	} buffers[INDEX_BUFFERS];
};

enum carry_step { CARRY_IDLE, CARRY_READING, CARRY_PAUSED, CARRY_WAITING };

#define CARRY_BYTES (256u << 10) /* more than the largest record of an index */

struct journal_carry {
	uint32_t step; /* enum carry_step */
	bool cancelled;
	int fd; /* of the index */
	uint64_t sequence;
	uint64_t offset, end; /* in the index: next record, end of the data */
	uint64_t last;        /* position of the last record taken */
	uint64_t durable_at;  /* WAITING: for that */
	uint32_t crc, data_crc;
	uint32_t count;
	uint32_t dest_count;
	uint16_t dest[MR_DESTINATIONS_MAX]; /* number in the index: number now */
	struct mr_rec_outcome outcomes[MR_OUTCOMES_MAX];
	char *buf; /* CARRY_BYTES */
};

struct journal_state { /* file `state`: where recovery may begin. Only ever an accelerator */
	uint64_t magic;
	uint32_t version;
	uint32_t crc;              /* CRC-32C, from the seed, of the rest */
	uint64_t first_unfinished; /* sequence: nothing before it is unfinished */
	uint64_t pad[5];
};
#define JOURNAL_STATE_MAGIC 0x544154534a524c4dull

struct journal {
	struct io *io;
	uint64_t io_tag;
	int folder_fd;
	uint32_t core;
	bool adopted;
	bool failed;
	bool full; /* the last attempt to make room failed: outcomes only */
	bool low_space;
	bool beyond; /* a segment was made beyond the limits, for outcomes: no message until there is room again */
	uint8_t commit; /* enum mr_commit */
	const struct mr_config *cfg;
	struct mr_region_writer *region;

	uint8_t uuid[16];
	uint32_t seed;
	uint32_t epoch;
	uint64_t segment_bytes;

	int tail_fd;
	struct mr_tail *tail;
	char *ring;
	uint64_t tail_bytes;

	uint64_t appended;
	uint64_t submitted; /* handed to the disk up to here */
	uint64_t written;   /* ... and on it, without a gap */
	uint64_t segment_end;
	uint64_t flushed_ns;
	bool marked; /* everything appended is known to be durable to whoever reads the journal */
	struct journal_write writes[JOURNAL_WRITES_MAX]; /* ring, oldest first */
	uint32_t write_first, write_count;
	struct journal_cut cuts[JOURNAL_CUTS_MAX];
	uint32_t cut_first, cut_count;

	struct segment *segments; /* sorted by sequence */
	uint32_t segment_count;
	uint32_t current;  /* index in segments */
	uint32_t found_at; /* last hit of journal_segment_find() */
	uint32_t files_open;
	uint64_t clock;

	uint32_t spares[JOURNAL_SPARES_MAX]; /* numbers of their files */
	uint32_t spare_count, spare_next;
	uint32_t spares_wanted;
	struct journal_maker maker;
	uint64_t space_checked_ns;
	uint64_t now_ns; /* of the last tick */

	uint64_t state_written; /* first_unfinished in the state file */
	uint64_t state_writing;
	int state_fd; /* -1: not being written */
	struct journal_state state;

	struct journal_index index;
	struct journal_carry carry;
};

/* journal.c */
char *journal_ring_at(const struct journal *j, uint64_t position);
bool journal_fits_segment(uint64_t position, uint64_t bytes, uint64_t segment_end);
uint64_t journal_next_first(const struct journal *j);
void journal_publish_end(struct journal *j, uint64_t end);
void journal_close_batch(struct journal *j);
bool journal_make_room(struct journal *j, uint64_t bytes);
uint64_t journal_reserve_bytes(const struct journal *j);
uint64_t journal_names_bytes(const struct journal *j);
void journal_append_names(struct journal *j);
uint64_t journal_append_event(struct journal *j, uint32_t kind, uint64_t arg);
void journal_count(struct journal *j, enum mr_metric m, uint64_t n);
void journal_gauge(struct journal *j, enum mr_metric m, uint64_t v);

/* journal_segment.c */
struct segment *journal_segment_find(struct journal *j, uint64_t position);
struct segment *journal_segment_add(struct journal *j, uint64_t sequence);
int journal_segment_open_write(const struct journal *j, const char *name);
bool journal_segment_wants_next(const struct journal *j, uint64_t appended);
bool journal_segment_next_ready(const struct journal *j);
void journal_segment_roll(struct journal *j, uint64_t data_end);
void journal_segment_written(struct journal *j);
void journal_segment_made(struct journal *j, int32_t result);
void journal_segment_tick(struct journal *j, uint64_t now_ns, uint64_t realtime_ns);
int journal_segment_create(struct journal *j, uint64_t sequence, bool beyond_max);
void journal_segment_close(struct journal *j);
void journal_segment_state_done(struct journal *j, int32_t result);

/* journal_index.c */
int journal_index_init(struct journal *j);
void journal_index_begin(struct journal *j, uint64_t sequence);
void journal_index_add(struct journal *j, const struct mr_rec *rec);
void journal_index_end(struct journal *j);
void journal_index_abandon(struct journal *j);
void journal_index_written(struct journal *j);
void journal_index_io(struct journal *j, uint32_t id, int32_t result);
bool journal_index_idle(const struct journal *j);
void journal_index_close(struct journal *j);
int journal_index_head_check(const struct journal *j, const struct mr_index_header *h, uint64_t sequence);
int journal_index_load(const struct journal *j, uint64_t sequence, struct mr_index_header *ret_head, char **ret_data);

/* journal_carry.c */
void journal_carry_begin(struct journal *j, struct segment *s);
void journal_carry_cancel(struct journal *j);
void journal_carry_io(struct journal *j, int32_t result);
struct segment *journal_carry_tick(struct journal *j);

/* journal_folder.c: start-up only */
int journal_folder_list(struct journal *j, uint64_t **ret_sequences, uint32_t *ret_count);
int journal_folder_identify(struct journal *j, const uint64_t *sequences, uint32_t count);
int journal_folder_read(const struct journal *j, const char *name, void *p, uint64_t bytes);
int journal_folder_header(const struct journal *j, uint64_t sequence, struct mr_segment_header *ret);
bool journal_folder_is_ours(const struct journal *j, uint64_t sequence, const struct mr_segment_header *h);
void journal_folder_check_spares(struct journal *j);

/* journal_pending.c: start-up only */
struct journal_pending;
struct journal_pending *journal_pending_new(const struct journal *j, uint64_t window_from_ns);
void journal_pending_free(struct journal_pending *p);
int journal_pending_feed(struct journal_pending *p, const struct mr_rec *r);
uint64_t journal_pending_first(const struct journal_pending *p);
void journal_pending_emit(struct journal_pending *p, const struct mr_rec *r, const struct journal_found *found);
void journal_pending_rewind(struct journal_pending *p);

/* journal_recover.c */
int journal_recover(struct journal *j, const struct journal_found *found, struct journal_recovery *ret);

#endif
