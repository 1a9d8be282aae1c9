/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - the file connector: destinations that are folders, and the threads that write to them.
 *
 * file_dest.c (on the loop) gives a job - some messages of one destination - to file_pool.c's threads, which run it in
 * file_write.c (one file a message) or file_batch.c (batch files) and give it back. While a job is out, its messages
 * and the part of its destination that says "thread" belong to that thread; of a message in a job the loop may still
 * change what names its owner (owner, owner_gen, m.sequence, m.attempts, unread), which no thread looks at.
 */
#ifndef MILLRACE_CONNECTOR_FILE_H
#define MILLRACE_CONNECTOR_FILE_H

#include "connector.h"

#define FILE_GROUP_MAX      64         /* messages of one job: they share the waits for the disk */
#define FILE_GROUP_MIN      16         /* fewer do not start a second job beside a running one */
#define FILE_GROUP_BYTES    (8u << 20) /* of one job, if it has more than one message */
#define FILE_JOBS_PER_DEST  4
#define FILE_THREADS_MAX    16
#define FILE_MEMORY_BYTES   (64u << 20)  /* large messages in memory, all threads together; one alone may be larger */
#define FILE_BUFFER_BYTES   (256u << 10) /* a thread's own buffer, for the others */
#define FILE_NAME_BYTES     96
#define FILE_UNREAD_MAX     5 /* times a message is read in vain before it is a dead letter */
#define FILE_UNREAD_WAIT_NS 200000000u
#define FILE_LOOK_NS        5000000000u /* READY waits no longer than this for folders that do not answer */
#define FILE_STALL_NS       2000000u    /* a batch that cannot grow is closed after this */

enum file_step { /* how far a job came with one message */
	         FILE_UNTRIED = 0,
	         FILE_UNREAD,  /* not readable from the journal (item's error says why) */
	         FILE_FAILED,  /* the destination's storage refused it (item's error) */
	         FILE_WRITTEN, /* group: not in place yet; batch: in the open batch */
	         FILE_DONE,    /* in place, and on disk if the hub's commit is durable */
};

enum file_job_kind {
	FILE_JOB_PROBE, /* make the folder, remove leftovers of a crash, see that it can be written */
	FILE_JOB_GROUP, /* one file for each message */
	FILE_JOB_BATCH, /* append to the open batch file, or close it */
};

struct file_dest;
struct file_pool;

struct file_job {
	struct file_job *next;
	struct file_dest *dest;
	enum file_job_kind kind;
	bool out;   /* with the threads (loop) */
	bool close; /* FILE_JOB_BATCH: finish the file after this */
	uint32_t count;
	int error; /* 0 or the -errno that ended it: the destination is in trouble */
	struct connector_item *item[FILE_GROUP_MAX];
};

struct file_batch {
	/* thread */
	int fd; /* -1: none open */
	uint32_t messages;
	char name[FILE_NAME_BYTES], temp[FILE_NAME_BYTES];
	/* loop */
	struct connector_list items; /* written to the open file, in its order */
	uint64_t opened_ns, grown_ns;
	uint64_t seq_first[MR_PEERS_MAX],
	    seq_last[MR_PEERS_MAX]; /* queue sequences in it; 0 first = none (kept plus 1) */
};

struct file_dest {
	const struct mr_config_dest *cfg; /* NULL: not a file destination */
	const char *folder;
	struct file_pool *pool;
	uint64_t random; /* state of its back-off's chance; never 0 */
	uint16_t index;
	bool durable; /* wait for the disk */
	bool paused, up;
	bool looked;                   /* the first look is over, well or not */
	bool clean;                    /* leftovers of a crash are removed */
	bool stale;                    /* some message in flight came by rings that are gone */
	uint32_t jobs;                 /* out */
	uint32_t outstanding;          /* messages in jobs and in the open batch */
	uint32_t failures;             /* in a row */
	int error;                     /* of the last failure */
	uint64_t retry_at_ns;          /* monotonic */
	uint64_t hold_until_ns;        /* a message could not be read: a little patience */
	uint64_t trouble_ns;           /* last line about unreadable messages */
	struct connector_list waiting; /* in the order of arrival */
	struct file_job job[FILE_JOBS_PER_DEST];
	struct file_batch batch;
};

struct file_thread {
	struct file_pool *pool;
	pthread_t id;
	uint32_t number; /* part of the names of temporary files */
	struct connector_reads reads;
	char *buffer; /* FILE_BUFFER_BYTES */
};

/* The threads. Fields under `lock`, but what is set before they start. */
struct file_pool {
	pthread_mutex_t lock;
	pthread_cond_t work, memory;
	struct file_job *todo, **todo_last;
	struct file_job *done;
	size_t memory_used;
	bool ending;
	uint32_t running; /* jobs out */
	int work_event;   /* written when `done` was empty */
	uint32_t threads;
	struct file_thread *thread;
};

/* ---- file_dest.c, on the loop ---- */

/** file_dest_take - @it waits here from now on. */
void file_dest_take(struct connector *c, struct file_dest *d, struct connector_item *it);
/** file_dest_peer_gone - forget what waits and came from @peer; what is in flight is finished. */
void file_dest_peer_gone(struct connector *c, struct file_dest *d, uint16_t peer);
/** file_dest_tell - say again what trouble is open. */
void file_dest_tell(struct connector *c, const struct file_dest *d);
/** file_dest_done - a job came back from the threads. */
void file_dest_done(struct connector *c, struct file_job *job);
/** file_dest_turn - give the threads what may be given. Returns when it wants its next turn at the latest. */
uint64_t file_dest_turn(struct connector *c, struct file_dest *d);

/* ---- file_pool.c ---- */

/** file_pool_open - start @threads. @work_event  Borrowed. Returns 0 or -errno. */
int file_pool_open(struct file_pool *p, struct connector_journals *journals, uint32_t threads, int work_event);
void file_pool_give(struct file_pool *p, struct file_job *job);
/** file_pool_done - all jobs finished since the last call, linked by `next`, oldest first. */
struct file_job *file_pool_done(struct file_pool *p);
/** file_pool_close - end the threads. Returns false, and leaves everything as it is, if one hangs in a job. */
bool file_pool_close(struct file_pool *p);

/* ---- file_write.c, on a thread of the pool ---- */

void file_probe_run(struct file_job *job);
void file_group_run(struct file_thread *t, struct file_job *job);

/** file_folder_open - open the destination's folder; made if only it itself is missing. Returns a descriptor or -errno.
 */
int file_folder_open(const struct file_dest *d);
/** file_create - make a new file for writing in @dir, mode 0640; an older one of that name goes. Returns it or -errno.
 */
int file_create(int dir, const char *name);
int file_write_all(int fd, const void *bytes, size_t count);
/** file_stamp - time as yyyymmddThhmmss.nnnnnnnnn, UTC: sorts as the time does. @ret  At least 32 bytes. */
void file_stamp(char *ret, uint64_t realtime_ns);

/**
 * file_payload - read @it's message. On success *@ret is to be given back with file_payload_give().
 * Waits while large messages of other threads use up the memory. On failure the item says why: FILE_UNREAD.
 */
int file_payload(struct file_thread *t, struct connector_item *it, char **ret, uint32_t *ret_bytes,
                 uint64_t *ret_time_ns);
void file_payload_give(struct file_thread *t, const struct connector_item *it, char *payload);

/* ---- file_batch.c, on a thread of the pool ---- */

void file_batch_run(struct file_thread *t, struct file_job *job);

#endif
