/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_config.h - the compiled configuration image: what control/config_compile.c writes and every other process only runs.
 *
 * One sealed memfd (or a file of the same bytes): header, then tables at byte offsets from its start; no pointers. An
 * image is complete and checked before anybody sees it; a reader still checks magic, version, size and the bounds of
 * every table with mr_config_check(), since it comes from another process.
 * All durations are nanoseconds, all sizes bytes, 0 in a limit means "none" only where the comment says so.
 */
#ifndef MR_CONFIG_H
#define MR_CONFIG_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_CONFIG_MAGIC   0x4749464e4f434c4dull /* "MLCONFIG" */
#define MR_CONFIG_VERSION 1

struct mr_config_table {
	uint32_t offset; /* bytes from the image's start, 8-aligned */
	uint32_t count;  /* entries (bytes for `strings`) */
};

enum mr_commit { MR_COMMIT_DURABLE = 0, MR_COMMIT_OS = 1, MR_COMMIT_NONE = 2 /* bench only: acknowledge at append */ };
enum mr_routing { MR_ROUTING_ALL = 0, MR_ROUTING_FIRST = 1 };
enum mr_unrouted { MR_UNROUTED_ACCEPT = 0, MR_UNROUTED_REJECT = 1 };
enum mr_ack_mode {
	MR_ACK_BY_MSH = 0, /* original or enhanced by MSH-15/16 of each message */
	MR_ACK_ALWAYS = 1, /* original mode (AA/AE/AR) whatever MSH-15/16 say: for senders that wait although they say NE */
};
enum mr_app_ack {
	MR_APP_ACK_ONE = 0,  /* at most one answer per message: the accept ack if MSH-15 asks for it, else by MSH-16 */
	MR_APP_ACK_BOTH = 1, /* both where both are asked for, accept first, on the same connection */
	MR_APP_ACK_NONE = 2, /* accept acknowledgements only */
};
enum mr_between { MR_BETWEEN_SKIP = 0, MR_BETWEEN_REFUSE = 1 };
enum mr_header_check { MR_HEADER_STANDARD = 0 /* MSH-9 and -10 must be there, -11 and -12 legal or empty */, MR_HEADER_MINIMAL = 1 };
enum mr_on_full { MR_ON_FULL_WAIT = 0 /* stop reading: the sender waits */, MR_ON_FULL_REJECT = 1 /* AR / CR, not kept */ };
enum mr_duplicates { MR_DUPLICATES_ANSWER = 0 /* stored ack again, not forwarded */, MR_DUPLICATES_FORWARD = 1 /* off */ };
enum mr_order_by { MR_ORDER_CONNECTION = 0, MR_ORDER_PEER = 1 /* sender's address */, MR_ORDER_LISTENER = 2, MR_ORDER_FIELD = 3 };
enum mr_dest_kind { MR_DEST_MLLP = 0, MR_DEST_FILE = 1 };
enum mr_connect { MR_CONNECT_START = 0, MR_CONNECT_DEMAND = 1 };
enum mr_on_reject { MR_REJECT_RETRY = 0, MR_REJECT_DEAD = 1, MR_REJECT_DROP = 2 };
enum mr_answers {
	MR_ANSWERS_ALWAYS = 0, /* wait for an answer whatever MSH-15/16 say */
	MR_ANSWERS_BY_MSH = 1, /* none expected where they ask for none: delivered when sent */
	MR_ANSWERS_AUTO = 2,   /* none is no failure where they ask for none: delivered when none came for a second */
};
enum mr_file_format { MR_FILE_HL7 = 0 /* one file a message */, MR_FILE_BATCH = 1 /* FHS/BHS/../BTS/FTS files */ };

struct mr_config_listener {
	char name[MR_NAME_BYTES];
	char address[48]; /* numeric, "" = all (dual stack) */
	uint16_t port;
	uint8_t ack_mode;        /* enum mr_ack_mode */
	uint8_t app_ack;         /* enum mr_app_ack */
	uint8_t between;         /* enum mr_between: bytes between frames */
	uint8_t header_check;    /* enum mr_header_check */
	uint8_t on_full;         /* enum mr_on_full */
	uint8_t duplicates;      /* enum mr_duplicates */
	uint8_t unrouted;        /* enum mr_unrouted */
	uint8_t order_by;        /* enum mr_order_by */
	uint8_t pad[6];
	uint32_t order_path;     /* offset into strings, path text for MR_ORDER_FIELD */
	uint32_t frame_bytes_max;
	uint32_t connections_max; /* over the whole hub, shared out evenly over the workers (rounded up) */
	uint32_t backlog;
	uint64_t frame_timeout_ns; /* first byte of a frame to its last */
	uint64_t idle_timeout_ns;  /* 0 = none */
	uint64_t send_timeout_ns;  /* the sender does not read its acknowledgements */
};

struct mr_config_dest {
	char name[MR_NAME_BYTES];
	uint8_t kind;           /* enum mr_dest_kind */
	uint8_t connect;        /* enum mr_connect */
	uint8_t on_error;       /* enum mr_on_reject, for AE and CE */
	uint8_t on_reject;      /* enum mr_on_reject, for AR and CR */
	uint8_t paused;         /* starts paused */
	uint8_t file_format;    /* enum mr_file_format */
	uint16_t owner;         /* peer number that delivers to it: a worker, or MR_CONNECTOR_FILE */
	uint16_t port;          /* MLLP */
	uint8_t connections;    /* 1..MR_LANES_MAX: lanes, each one connection (file: always 1) */
	uint8_t answers;        /* enum mr_answers (MLLP) */
	uint16_t window;        /* outstanding messages per connection, 1..256 */
	uint16_t pad1;
	uint32_t host;          /* offset into strings: host name or numeric address (MLLP) */
	uint32_t path;          /* offset into strings: absolute folder (file) */
	uint32_t attempts_max;  /* 0 = without end */
	uint32_t queue_max;     /* messages waiting for this destination, over the whole hub, shared out over the workers */
	uint64_t ack_timeout_ns;
	uint64_t connect_timeout_ns;
	uint64_t retry_first_ns;
	uint64_t retry_max_ns;
	uint64_t idle_timeout_ns;   /* connect on demand: close after this long without work; 0 = keep */
	uint32_t batch_messages;    /* file batch: close the file after this many */
	uint32_t pad2;
	uint64_t batch_interval_ns; /* file batch: or after this long */
};

/*
 * A route's condition is a flat program of tests; every jump goes forward, so it ends after `count` steps at most.
 * Execution starts at `code` and ends at MR_ROUTE_ACCEPT or MR_ROUTE_REFUSE. No condition: count 0, always accepted.
 */
#define MR_ROUTE_ACCEPT 0xffffu
#define MR_ROUTE_REFUSE 0xfffeu

enum mr_route_op {
	MR_ROUTE_EQ = 1,     /* any value of the path equals one of the constants (== has one, `in` several; != swaps jumps) */
	MR_ROUTE_MATCH = 2,  /* any value of the path matches the regular expression */
	MR_ROUTE_EXISTS = 3, /* the path has a populated value ("" in HL7 quotes counts as populated) */
};

struct mr_config_insn {
	uint8_t op; /* enum mr_route_op */
	uint8_t pad[3];
	uint32_t path;      /* index into `paths` */
	uint32_t arg;       /* EQ: first index into `consts`; MATCH: index into `regexes` */
	uint32_t arg_count; /* EQ: how many consts */
	uint16_t jump_true; /* instruction index relative to the route's code, > own index, or MR_ROUTE_* */
	uint16_t jump_false;
	uint32_t pad1;
};

struct mr_config_const { /* a string constant, in `strings` */
	uint32_t offset;
	uint32_t bytes;
};

struct mr_config_regex { /* a serialised Vectorscan block-mode database, in `strings` (8-aligned) */
	uint32_t offset;
	uint32_t bytes;
	uint32_t text; /* offset of the pattern's text */
	uint32_t pad;
};

struct mr_config_route {
	char name[MR_NAME_BYTES]; /* given, or "route-N", N from 1 in file order */
	uint32_t code;            /* first index into `code` */
	uint32_t code_count;
	uint32_t dests;           /* first index into `route_dests` (uint16_t destination indexes) */
	uint32_t dest_count;      /* may be 0: takes the message and sends it nowhere */
	uint32_t listeners;       /* first index into `route_listeners` (uint16_t listener indexes); always expanded */
	uint32_t listener_count;
};

struct mr_config {
	uint64_t magic;
	uint32_t version;
	uint32_t bytes;      /* whole image */
	uint64_t generation; /* 1, 2, ... of this hub */
	uint64_t text_hash;  /* XXH3 of the source texts and the overrides: "is it the same configuration?" */
	char data[512];      /* absolute folder: journals under data/journal-N */
	char run[512];       /* absolute folder: sockets and regions */
	char metrics_address[48]; /* "" = no metrics listener */
	uint16_t metrics_port;
	uint16_t workers;
	uint8_t commit;      /* enum mr_commit */
	uint8_t routing;     /* enum mr_routing */
	uint8_t busy_poll;   /* spin instead of sleeping */
	uint8_t on_disk_full; /* enum mr_on_full */
	uint8_t pad0[4];
	int16_t cpus[MR_WORKERS_MAX];    /* CPU each worker is pinned to, -1 = not pinned */
	uint64_t segment_bytes;          /* journal segment, multiple of 1 MiB */
	uint64_t tail_bytes;             /* newest bytes of a journal kept in memory, power of two */
	uint64_t journal_bytes_max;      /* per worker, all its segments; 0 = until the disk is full */
	uint64_t disk_free_bytes_min;    /* stop accepting below this much free space */
	uint64_t retain_ns;              /* keep done messages at least this long ... */
	uint64_t retain_bytes;           /* ... but not more than this many bytes of done segments per worker (0 = no bound) */
	uint64_t duplicate_window_ns;
	uint32_t duplicate_entries;      /* per worker, power of two */
	uint32_t worker_connections_max; /* accepted connections per worker */
	uint64_t frame_memory_bytes;     /* per worker: for frames that are still arriving */
	uint64_t drain_timeout_ns;
	struct mr_config_table listeners;       /* struct mr_config_listener */
	struct mr_config_table dests;           /* struct mr_config_dest */
	struct mr_config_table routes;          /* struct mr_config_route, in file order */
	struct mr_config_table code;            /* struct mr_config_insn */
	struct mr_config_table paths;           /* struct mr_config_const: path texts */
	struct mr_config_table consts;          /* struct mr_config_const */
	struct mr_config_table regexes;         /* struct mr_config_regex */
	struct mr_config_table route_dests;     /* uint16_t */
	struct mr_config_table route_listeners; /* uint16_t */
	struct mr_config_table strings;         /* bytes; every string is NUL-terminated; offset 0 is "" */
};

/**
 * mr_config_check - may the @bytes at @image be used as a configuration image?
 *
 * Checks magic, version, sizes, that every table lies inside, every index is in range, every string is terminated,
 * every route jump goes forward and every destination's owner is a peer. Returns 0 or -EINVAL; reads nothing outside
 * the image.
 */
int mr_config_check(const void *image, size_t bytes);

static inline const void *mr_config_at(const struct mr_config *c, const struct mr_config_table *t)
{
	return (const char *)c + t->offset;
}

static inline const char *mr_config_string(const struct mr_config *c, uint32_t offset)
{
	return (const char *)c + c->strings.offset + offset;
}

static inline const struct mr_config_listener *mr_config_listener(const struct mr_config *c, uint32_t i)
{
	return (const struct mr_config_listener *)mr_config_at(c, &c->listeners) + i;
}

static inline const struct mr_config_dest *mr_config_dest(const struct mr_config *c, uint32_t i)
{
	return (const struct mr_config_dest *)mr_config_at(c, &c->dests) + i;
}

/**
 * mr_config_credit - messages that a worker hands out for one lane of @d before it hears of the oldest of them.
 *
 * Bounds what a destination's side has to hold. A batch file is finished as a whole, so it wants all its messages at once.
 */
static inline uint32_t mr_config_credit(const struct mr_config_dest *d)
{
	const uint32_t usual = 256, most = 8192;

	if (d->kind != MR_DEST_FILE || d->file_format != MR_FILE_BATCH || d->batch_messages <= usual)
		return usual;
	return d->batch_messages < most ? d->batch_messages : most;
}

static inline const struct mr_config_route *mr_config_route(const struct mr_config *c, uint32_t i)
{
	return (const struct mr_config_route *)mr_config_at(c, &c->routes) + i;
}

#ifdef __cplusplus
}
#endif
#endif
