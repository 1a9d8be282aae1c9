/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.h - log-linear histogram of nanoseconds, 64 buckets per power of two (values within 1.6 %), for latencies that
 * send and bench report. One writer; add up several with hist_merge().
 */
#ifndef HIST_H
#define HIST_H

#include <stdint.h>

#define HIST_SUB_LOG 6
#define HIST_BUCKETS ((64 - HIST_SUB_LOG + 1) << HIST_SUB_LOG)

struct hist {
	uint64_t count, sum, min, max;
	uint64_t bucket[HIST_BUCKETS];
};

static inline uint32_t hist_index(uint64_t v)
{
	uint32_t log;

	if (v < (1u << HIST_SUB_LOG))
		return (uint32_t)v;
	log = 63 - (uint32_t)__builtin_clzll(v);
	return ((log - HIST_SUB_LOG + 1) << HIST_SUB_LOG) +
	       (uint32_t)((v >> (log - HIST_SUB_LOG)) & ((1u << HIST_SUB_LOG) - 1));
}

/* Largest value of bucket @i. */
static inline uint64_t hist_top(uint32_t i)
{
	uint32_t log;

	if (i < (1u << HIST_SUB_LOG))
		return i;
	log = (i >> HIST_SUB_LOG) - 1;
	return (((uint64_t)(i & ((1u << HIST_SUB_LOG) - 1)) + (1u << HIST_SUB_LOG) + 1) << log) - 1;
}

static inline void hist_add(struct hist *h, uint64_t v)
{
	if (!h->count || v < h->min)
		h->min = v;
	if (v > h->max)
		h->max = v;
	h->count++;
	h->sum += v;
	h->bucket[hist_index(v)]++;
}

static inline void hist_merge(struct hist *to, const struct hist *from)
{
	if (from->count && (!to->count || from->min < to->min))
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->count += from->count;
	to->sum += from->sum;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

/* The value that the share @q (0..1) of all values does not exceed; 0 if there are none. */
static inline uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->count + 0.999999), seen = 0;

	if (!h->count)
		return 0;
	if (want < 1)
		want = 1;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want)
			return hist_top(i) < h->max ? hist_top(i) : h->max;
	}
	return h->max;
}

#endif
