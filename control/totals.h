/* SPDX-License-Identifier: Apache-2.0 */
/*
 * totals.h - the values of many public regions added up, in one layout, whatever process or version wrote them.
 *
 * One struct totals holds every metric of mr_metrics.def for every listener and destination of the configuration, and
 * one row of worker metrics. Metrics are matched by name, label and scope, so a region of another build adds what both
 * know.
 */
#ifndef TOTALS_H
#define TOTALS_H

#include "mr_region.h"

struct totals {
	uint32_t items[3];          /* by enum mr_scope */
	uint64_t *word[MR_METRICS]; /* [item * words of the metric] */
	uint64_t *words;
	size_t count;
};

struct totals_metric {
	const char *name, *label, *help;
	uint32_t scope, type, words;
};

enum totals_what {
	TOTALS_GROWING = 1, /* counters and histograms */
	TOTALS_GAUGES = 2,
	TOTALS_QUEUES = 4, /* only the gauges that survive a crash because the journal holds them */
};

/** totals_metric - the static description of metric @m. */
const struct totals_metric *totals_metric(uint32_t m);

/** totals_new - all zero. Returns NULL when memory is out. */
struct totals *totals_new(uint32_t listeners, uint32_t dests);
void totals_free(struct totals *t);
void totals_clear(struct totals *t);

/** totals_add_region - add the values of @r. @what  enum totals_what flags. */
void totals_add_region(struct totals *t, const struct mr_region *r, uint32_t what);

/** totals_add - add what both have; one without listeners and destinations takes the worker's own metrics only. */
void totals_add(struct totals *t, const struct totals *from);

static inline uint64_t *totals_value(const struct totals *t, uint32_t m, uint32_t item)
{
	return t->word[m] + (size_t)item * totals_metric(m)->words;
}

#endif
