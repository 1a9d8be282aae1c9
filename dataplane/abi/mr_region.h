/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_region.h - the public region: what one process shows to all others while it runs, and after it died.
 *
 * A file RUN/<kind>-<index>.region (worker-0.region, connector-file.region), created and written by that process alone,
 * mapped read-only by everybody else: no pointers, no locks, offsets only, version stored last. It describes itself
 * (metric names, labels, help), so a reader needs no other source and no living process. Written with relaxed atomic
 * stores: a reader may see a counter late, never torn.
 */
#ifndef MR_REGION_H
#define MR_REGION_H

#include "mr_base.h"
#include "mr_config.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_REGION_MAGIC   0x4e4f494745524c4dull /* "MLREGION" */
#define MR_REGION_VERSION 1
#define MR_ERRORS_MAX     64

enum mr_scope { MR_SCOPE_WORKER = 0, MR_SCOPE_LISTENER = 1, MR_SCOPE_DEST = 2 };
enum mr_metric_type { MR_TYPE_COUNTER = 0, MR_TYPE_GAUGE = 1, MR_TYPE_HIST = 2 };
enum mr_region_kind { MR_KIND_WORKER = 1, MR_KIND_CONNECTOR = 2 };
enum mr_process_state {
	MR_STATE_STARTING = 1,
	MR_STATE_RECOVERING = 2,
	MR_STATE_READY = 3,   /* recovered, destinations taken up, not accepting yet */
	MR_STATE_RUNNING = 4, /* accepting */
	MR_STATE_DRAINING = 5,
	MR_STATE_STOPPED = 6,
};
enum mr_lane_state {
	MR_LANE_UNUSED = 0,
	MR_LANE_IDLE = 1,       /* not connected, nothing to do (connect on demand) */
	MR_LANE_RESOLVING = 2,
	MR_LANE_CONNECTING = 3,
	MR_LANE_UP = 4,
	MR_LANE_BACKOFF = 5,    /* waiting to try again */
	MR_LANE_PAUSED = 6,
};

/* Metric numbers: index into the descriptor table, in the order of mr_metrics.def. */
enum mr_metric {
#define MR_METRIC(id, scope, type, name, label, help) MR_M_##id,
#include "mr_metrics.def"
#undef MR_METRIC
	MR_METRICS
};

/*
 * Histogram of nanoseconds: 8 buckets per power of two (width at most 12.5 % of the value) from 1 us to 137 s; the first
 * bucket takes all below, the last all above. Words: the buckets, then the sum of all values.
 */
#define MR_HIST_SHIFT   3
#define MR_HIST_MIN_LOG 10
#define MR_HIST_MAX_LOG 37
#define MR_HIST_BUCKETS (((MR_HIST_MAX_LOG - MR_HIST_MIN_LOG) << MR_HIST_SHIFT) + 2)
#define MR_HIST_WORDS   (MR_HIST_BUCKETS + 1)

struct mr_metric_desc {
	char name[64];
	char label[48]; /* fixed label, `key="value"`, or "" */
	char help[144];
	uint32_t scope;  /* enum mr_scope */
	uint32_t type;   /* enum mr_metric_type */
	uint32_t offset; /* word index inside the row of its scope */
	uint32_t words;
};

struct mr_lane_info {
	uint32_t state; /* enum mr_lane_state */
	uint32_t outstanding;
	uint64_t since_ns;      /* realtime of the last change of state */
	uint64_t retry_at_ns;   /* realtime; MR_LANE_BACKOFF only */
	int32_t error;          /* last error, -errno or 0 */
	uint32_t failures;      /* in a row */
};

/* One distinct trouble: first and last time and how often, instead of a flood of log lines. */
struct mr_error_info {
	uint64_t first_ns, last_ns; /* realtime */
	uint64_t count;
	uint32_t code;  /* MRnnnn, see control/errors.def */
	uint32_t item;  /* listener or destination index, UINT32_MAX = none */
	int64_t arg;    /* -errno, position or number, by code */
};

struct mr_region {
	uint64_t magic;
	uint64_t bytes;
	uint64_t version; /* MR_REGION_VERSION, stored last */
	uint32_t kind;    /* enum mr_region_kind */
	uint32_t index;   /* core number, or 0 */
	uint64_t pid;
	uint64_t start_ns;     /* realtime */
	uint64_t heartbeat_ns; /* realtime, at least every second while alive */
	uint64_t generation;   /* configuration adopted */
	uint64_t incarnation;  /* times this process was started in this hub's life, given by the control plane */
	uint64_t state;        /* enum mr_process_state */
	uint64_t pending;      /* messages not finished at all their destinations */
	uint32_t metric_count, listener_count, dest_count, lane_count; /* lanes of all destinations */
	uint32_t metrics_offset;   /* struct mr_metric_desc[metric_count] */
	uint32_t listeners_offset; /* char[listener_count][MR_NAME_BYTES] */
	uint32_t dests_offset;     /* char[dest_count][MR_NAME_BYTES] */
	uint32_t lanes_offset;     /* struct mr_lane_info[lane_count]; destination d's rows start at lane_first[d] */
	uint32_t lane_first_offset; /* uint32_t[dest_count + 1] */
	uint32_t errors_offset;    /* struct mr_error_info[MR_ERRORS_MAX] */
	uint32_t values_offset;    /* uint64_t: worker row, listener rows, destination rows, each row cache-line aligned */
	uint32_t row_words[3];     /* by enum mr_scope */
	uint32_t row_first[3];     /* word index of the scope's first row from values_offset */
};

/** struct mr_region_writer - the owner's side: direct pointers into its own region. */
struct mr_region_writer {
	struct mr_region *region;
	size_t bytes;
	uint64_t *row[3];        /* first row of each scope */
	uint32_t row_words[3];
	uint32_t word[MR_METRICS]; /* word of each metric inside its row */
	struct mr_lane_info *lanes;
	uint32_t *lane_first;
	struct mr_error_info *errors;
};

/**
 * mr_region_create - make the region file of this process and map it.
 *
 * @path  File to create; an older one of the same name is replaced by rename, so that readers of the old one keep it.
 * @cfg   Names and numbers of listeners, destinations and lanes. Borrowed during the call.
 * Returns 0 or -errno. Allocates address space only; touched once here.
 */
int mr_region_create(const char *path, uint32_t kind, uint32_t index, uint64_t incarnation, const struct mr_config *cfg,
		     struct mr_region_writer *ret);
void mr_region_close(struct mr_region_writer *w);

/** mr_region_open - map another process's region read-only. Returns 0, -errno, or -EPROTO (not a region, other version). */
int mr_region_open(const char *path, const struct mr_region **ret, size_t *ret_bytes);
void mr_region_unmap(const struct mr_region *r, size_t bytes);

static inline uint64_t *mr_region_value(const struct mr_region_writer *w, enum mr_metric m, uint32_t scope, uint32_t item)
{
	return w->row[scope] + (size_t)item * w->row_words[scope] + w->word[m];
}

/* Readers: the first word of metric descriptor @d for @item of its scope. */
static inline const uint64_t *mr_region_words(const struct mr_region *r, const struct mr_metric_desc *d, uint32_t item)
{
	const uint64_t *v = (const uint64_t *)((const char *)r + r->values_offset);

	return v + r->row_first[d->scope] + (size_t)item * r->row_words[d->scope] + d->offset;
}

static inline const struct mr_metric_desc *mr_region_metric(const struct mr_region *r, uint32_t i)
{
	return (const struct mr_metric_desc *)((const char *)r + r->metrics_offset) + i;
}

static inline const char *mr_region_name(const struct mr_region *r, uint32_t scope, uint32_t item)
{
	uint32_t at = scope == MR_SCOPE_LISTENER ? r->listeners_offset : r->dests_offset;

	return (const char *)r + at + (size_t)item * MR_NAME_BYTES;
}

static inline uint32_t mr_region_items(const struct mr_region *r, uint32_t scope)
{
	return scope == MR_SCOPE_WORKER ? 1 : scope == MR_SCOPE_LISTENER ? r->listener_count : r->dest_count;
}

/* Shorthands for the writer. */
static inline void mr_count_worker(const struct mr_region_writer *w, enum mr_metric m, uint64_t n)
{
	mr_add_own(w->row[MR_SCOPE_WORKER] + w->word[m], n);
}

static inline void mr_count_listener(const struct mr_region_writer *w, enum mr_metric m, uint32_t item, uint64_t n)
{
	mr_add_own(mr_region_value(w, m, MR_SCOPE_LISTENER, item), n);
}

static inline void mr_count_dest(const struct mr_region_writer *w, enum mr_metric m, uint32_t item, uint64_t n)
{
	mr_add_own(mr_region_value(w, m, MR_SCOPE_DEST, item), n);
}

static inline void mr_gauge_worker(const struct mr_region_writer *w, enum mr_metric m, uint64_t v)
{
	mr_set_own(w->row[MR_SCOPE_WORKER] + w->word[m], v);
}

static inline void mr_gauge_listener(const struct mr_region_writer *w, enum mr_metric m, uint32_t item, uint64_t v)
{
	mr_set_own(mr_region_value(w, m, MR_SCOPE_LISTENER, item), v);
}

static inline void mr_gauge_dest(const struct mr_region_writer *w, enum mr_metric m, uint32_t item, uint64_t v)
{
	mr_set_own(mr_region_value(w, m, MR_SCOPE_DEST, item), v);
}

static inline uint32_t mr_hist_bucket(uint64_t ns)
{
	uint32_t log;

	if (ns < (1ull << MR_HIST_MIN_LOG))
		return 0;
	log = 63 - (uint32_t)__builtin_clzll(ns);
	if (log >= MR_HIST_MAX_LOG)
		return MR_HIST_BUCKETS - 1;
	return 1 + ((log - MR_HIST_MIN_LOG) << MR_HIST_SHIFT) +
	       (uint32_t)((ns >> (log - MR_HIST_SHIFT)) & ((1u << MR_HIST_SHIFT) - 1));
}

/** mr_hist_limit_ns - exclusive upper end of bucket @b in ns; UINT64_MAX for the last. */
static inline uint64_t mr_hist_limit_ns(uint32_t b)
{
	uint32_t log;

	if (b == 0)
		return 1ull << MR_HIST_MIN_LOG;
	if (b >= MR_HIST_BUCKETS - 1)
		return UINT64_MAX;
	log = MR_HIST_MIN_LOG + ((b - 1) >> MR_HIST_SHIFT);
	return (1ull << log) + ((uint64_t)(((b - 1) & ((1u << MR_HIST_SHIFT) - 1)) + 1) << (log - MR_HIST_SHIFT));
}

static inline void mr_hist_record(uint64_t *words, uint64_t ns)
{
	mr_add_own(words + mr_hist_bucket(ns), 1);
	mr_add_own(words + MR_HIST_BUCKETS, ns);
}

/** mr_hist_quantile_ns - value under which the share @q (0..1) of the records lies; 0 if there are none. */
uint64_t mr_hist_quantile_ns(const uint64_t *words, double q);

/** mr_region_error - count one trouble in the distinct error log; a new kind takes the oldest slot. Owner only. */
void mr_region_error(struct mr_region_writer *w, uint32_t code, uint32_t item, int64_t arg, uint64_t now_ns);

#ifdef __cplusplus
}
#endif
#endif
