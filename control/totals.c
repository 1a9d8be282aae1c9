/* SPDX-License-Identifier: Apache-2.0 */
/*
 * totals.c - adds up the public regions of all processes for /metrics and the status.
 *
 * Called by metrics.c, ctl_json.c and process.c on the control process's loop. Reads regions that other processes write
 * at the same moment: every word by a relaxed atomic load, nothing outside what mr_region_open() has checked.
 */
#include "totals.h"

#include <stdlib.h>
#include <string.h>

static const struct totals_metric totals_metrics[MR_METRICS] = {
#define MR_METRIC(id, scope, type, name, label, help)                                                                  \
	{name, label, help, MR_SCOPE_##scope, MR_TYPE_##type, MR_TYPE_##type == MR_TYPE_HIST ? MR_HIST_WORDS : 1},
#include "mr_metrics.def"
#undef MR_METRIC
};

const struct totals_metric *totals_metric(uint32_t m)
{
	must(m < MR_METRICS);
	return &totals_metrics[m];
}

struct totals *totals_new(uint32_t listeners, uint32_t dests)
{
	struct totals *t = calloc(1, sizeof(*t));
	uint64_t *at;

	if (!t)
		return NULL;
	t->items[MR_SCOPE_WORKER] = 1;
	t->items[MR_SCOPE_LISTENER] = listeners;
	t->items[MR_SCOPE_DEST] = dests;
	for (uint32_t m = 0; m < MR_METRICS; m++)
		t->count += (size_t)t->items[totals_metrics[m].scope] * totals_metrics[m].words;
	t->words = at = calloc(t->count ? t->count : 1, sizeof(uint64_t));
	if (!at) {
		free(t);
		return NULL;
	}
	for (uint32_t m = 0; m < MR_METRICS; m++) {
		t->word[m] = at;
		at += (size_t)t->items[totals_metrics[m].scope] * totals_metrics[m].words;
	}
	return t;
}

void totals_free(struct totals *t)
{
	if (t)
		free(t->words);
	free(t);
}

void totals_clear(struct totals *t)
{
	memset(t->words, 0, t->count * sizeof(uint64_t));
}

void totals_add(struct totals *t, const struct totals *from)
{
	for (uint32_t m = 0; m < MR_METRICS; m++) {
		uint32_t s = totals_metrics[m].scope,
		         items = t->items[s] < from->items[s] ? t->items[s] : from->items[s];

		for (size_t i = 0; i < (size_t)items * totals_metrics[m].words; i++)
			t->word[m][i] += from->word[m][i];
	}
}

/* These describe what the journal holds: they are as true of a crashed process as of a living one. */
static bool totals_is_queue(uint32_t m)
{
	return m == MR_M_D_QUEUE || m == MR_M_D_QUEUE_BYTES || m == MR_M_D_DEAD_LETTERS || m == MR_M_W_JOURNAL_BYTES ||
	       m == MR_M_W_JOURNAL_SEGMENTS || m == MR_M_D_PAUSED;
}

static bool totals_wanted(uint32_t m, uint32_t what)
{
	if (totals_metrics[m].type != MR_TYPE_GAUGE)
		return what & TOTALS_GROWING;
	return (what & TOTALS_GAUGES) || ((what & TOTALS_QUEUES) && totals_is_queue(m));
}

/* The descriptor of metric @m in @r; nearly always at the same place. */
static const struct mr_metric_desc *totals_find(const struct mr_region *r, uint32_t m)
{
	const struct totals_metric *k = &totals_metrics[m];

	for (uint32_t i = 0; i < r->metric_count; i++) {
		const struct mr_metric_desc *d = mr_region_metric(r, (m + i) % r->metric_count);

		if (d->scope == k->scope && d->type == k->type && d->words == k->words &&
		    !strncmp(d->name, k->name, sizeof(d->name)) && !strncmp(d->label, k->label, sizeof(d->label)))
			return d;
	}
	return NULL;
}

void totals_add_region(struct totals *t, const struct mr_region *r, uint32_t what)
{
	for (uint32_t m = 0; m < MR_METRICS; m++) {
		const struct mr_metric_desc *d = totals_wanted(m, what) ? totals_find(r, m) : NULL;
		uint32_t items;

		if (!d)
			continue;
		items = mr_region_items(r, d->scope);
		if (items > t->items[d->scope])
			items = t->items[d->scope];
		for (uint32_t i = 0; i < items; i++) {
			const uint64_t *from = mr_region_words(r, d, i);
			uint64_t *to = totals_value(t, m, i);

			for (uint32_t w = 0; w < d->words; w++)
				to[w] += mr_load_relaxed(from + w);
		}
	}
}
