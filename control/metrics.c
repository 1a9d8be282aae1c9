/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - renders /metrics from the public regions. Called by ctl.c for each scrape, on the control loop.
 *
 * Listener and destination metrics are summed over the processes, worker metrics carry a label. Counters of dead
 * processes stay in (process.c keeps them), so nothing ever goes back. Labels are names of the configuration and fixed
 * words: never anything of a message.
 */
#include "metrics.h"

#include <event2/buffer.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Exported buckets: every power of two from 8 us to 17 s; exact, because they are limits of the internal ones too. */
#define METRICS_BUCKET_FIRST_LOG 13
#define METRICS_BUCKET_LAST_LOG  34

void metrics_process(struct process *p, struct totals *t)
{
	const struct mr_region *r = process_map_region(p);

	if (p->base)
		totals_add(t, p->base);
	if (r)
		totals_add_region(t, r, p->ghost ? TOTALS_GROWING : TOTALS_GROWING | TOTALS_GAUGES);
	if (p->ghost)
		totals_add_region(t, p->ghost, TOTALS_QUEUES);
}

void metrics_hub(struct control *c, struct totals *t)
{
	totals_clear(t);
	control_each (c, p)
		metrics_process(p, t);
}

struct metrics_out {
	struct evbuffer *to;
	bool open;
};

static bool metrics_is_seconds(const char *name)
{
	size_t n = strlen(name);

	return n > 8 && !strcmp(name + n - 8, "_seconds");
}

static const char *metrics_unit(const char *name)
{
	size_t n = strlen(name);

	if (metrics_is_seconds(name))
		return "seconds";
	return n > 6 && !strcmp(name + n - 6, "_bytes") ? "bytes" : NULL;
}

/* In OpenMetrics the family of a counter has no _total, in the older text it has. */
static void metrics_head(const struct metrics_out *o, const char *name, const char *type, const char *help)
{
	const bool counter = !strcmp(type, "counter");
	const char *suffix = counter && !o->open ? "_total" : "";

	evbuffer_add_printf(o->to, "# TYPE %s%s %s\n", name, suffix, type);
	if (o->open && metrics_unit(name))
		evbuffer_add_printf(o->to, "# UNIT %s %s\n", name, metrics_unit(name));
	evbuffer_add_printf(o->to, "# HELP %s%s %s\n", name, suffix, help);
}

static void metrics_number(const struct metrics_out *o, uint64_t v, bool seconds)
{
	if (seconds)
		evbuffer_add_printf(o->to, " %.9g\n", (double)v / 1e9);
	else
		evbuffer_add_printf(o->to, " %llu\n", (unsigned long long)v);
}

/* Each label text is `key="value"` or "". */
static void metrics_name(const struct metrics_out *o, const char *name, const char *suffix, const char *a,
                         const char *b, const char *d)
{
	const char *labels[] = {a, b, d};
	const char *before = "{";

	evbuffer_add_printf(o->to, "%s%s", name, suffix);
	for (size_t i = 0; i < MR_ARRAY_LEN(labels); i++)
		if (labels[i][0]) {
			evbuffer_add_printf(o->to, "%s%s", before, labels[i]);
			before = ",";
		}
	if (before[0] == ',')
		evbuffer_add(o->to, "}", 1);
}

static void metrics_hist(const struct metrics_out *o, const struct totals_metric *k, const char *item,
                         const uint64_t *words)
{
	uint64_t seen = 0;
	uint32_t b = 0;
	char le[40];

	for (uint32_t log = METRICS_BUCKET_FIRST_LOG; log <= METRICS_BUCKET_LAST_LOG; log++) {
		for (; b < MR_HIST_BUCKETS && mr_hist_limit_ns(b) <= 1ull << log; b++)
			seen += words[b];
		snprintf(le, sizeof(le), "le=\"%.12g\"", ldexp(1e-9, (int)log));
		metrics_name(o, k->name, "_bucket", item, k->label, le);
		metrics_number(o, seen, false);
	}
	for (; b < MR_HIST_BUCKETS; b++)
		seen += words[b];
	metrics_name(o, k->name, "_bucket", item, k->label, "le=\"+Inf\"");
	metrics_number(o, seen, false);
	metrics_name(o, k->name, "_sum", item, k->label, "");
	metrics_number(o, words[MR_HIST_BUCKETS], true);
	metrics_name(o, k->name, "_count", item, k->label, "");
	metrics_number(o, seen, false);
}

static void metrics_sample(const struct metrics_out *o, uint32_t m, const char *item, const uint64_t *words)
{
	const struct totals_metric *k = totals_metric(m);

	if (k->type == MR_TYPE_HIST) {
		metrics_hist(o, k, item, words);
		return;
	}
	metrics_name(o, k->name, k->type == MR_TYPE_COUNTER ? "_total" : "", item, k->label, "");
	metrics_number(o, words[0], metrics_is_seconds(k->name));
}

/* Does metric @m's name occur first at @m? The family is rendered there, with all its fixed labels. */
static bool metrics_is_first(uint32_t m)
{
	for (uint32_t i = 0; i < m; i++)
		if (!strcmp(totals_metric(i)->name, totals_metric(m)->name))
			return false;
	return true;
}

static void metrics_family(struct control *c, const struct metrics_out *o, uint32_t m, const struct totals *hub,
                           struct totals *const *workers)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const struct totals_metric *k = totals_metric(m);
	char item[MR_NAME_BYTES + 24];

	metrics_head(o, k->name, types[k->type], k->help);
	for (uint32_t n = m; n < MR_METRICS; n++) {
		if (strcmp(totals_metric(n)->name, k->name))
			continue;
		for (uint32_t i = 0; k->scope == MR_SCOPE_WORKER && i < c->cfg->workers; i++) {
			snprintf(item, sizeof(item), "worker=\"%u\"", i);
			metrics_sample(o, n, item, totals_value(workers[i], n, 0));
		}
		for (uint32_t i = 0; k->scope != MR_SCOPE_WORKER && i < hub->items[k->scope]; i++) {
			if (k->scope == MR_SCOPE_LISTENER)
				snprintf(item, sizeof(item), "listener=\"%s\"", mr_config_listener(c->cfg, i)->name);
			else
				snprintf(item, sizeof(item), "destination=\"%s\"", mr_config_dest(c->cfg, i)->name);
			metrics_sample(o, n, item, totals_value(hub, n, i));
		}
	}
}

static void metrics_processes(struct control *c, const struct metrics_out *o)
{
	metrics_head(o, "millrace_worker_up", "gauge", "1 while the worker takes messages in");
	control_each (c, p)
		if (p->kind == MR_KIND_WORKER)
			evbuffer_add_printf(o->to, "millrace_worker_up{worker=\"%u\"} %d\n", p->index,
			                    p->pid && p->accepting && c->state == CONTROL_RUNNING);
	metrics_head(o, "millrace_worker_busy_ratio", "gauge",
	             "Share of the last second that the worker's loop spent working");
	control_each (c, p)
		if (p->kind == MR_KIND_WORKER)
			evbuffer_add_printf(o->to, "millrace_worker_busy_ratio{worker=\"%u\"} %.4f\n", p->index,
			                    p->busy_ratio);
	metrics_head(o, "millrace_process_restarts", "counter", "Times a process was started again");
	control_each (c, p)
		evbuffer_add_printf(o->to, "millrace_process_restarts_total{process=\"%s\"} %llu\n", p->name,
		                    (unsigned long long)p->restarts);
	metrics_head(o, "millrace_process_resident_memory_bytes", "gauge", "Resident memory of a process");
	evbuffer_add_printf(o->to, "millrace_process_resident_memory_bytes{process=\"control\"} %llu\n",
	                    (unsigned long long)process_rss_bytes(-1));
	control_each (c, p)
		evbuffer_add_printf(o->to, "millrace_process_resident_memory_bytes{process=\"%s\"} %llu\n", p->name,
		                    (unsigned long long)process_rss_bytes(p->pid));
	metrics_head(o, "millrace_pending_messages", "gauge",
	             "Messages acknowledged and not finished at all their destinations");
	control_each (c, p)
		if (p->kind == MR_KIND_WORKER)
			evbuffer_add_printf(o->to, "millrace_pending_messages{worker=\"%u\"} %llu\n", p->index,
			                    (unsigned long long)process_pending(p));
}

static void metrics_own(struct control *c, const struct metrics_out *o)
{
	const char *help = "Version of this build and its way to the network";

	if (o->open)
		metrics_head(o, "millrace_build", "info", help);
	else
		metrics_head(o, "millrace_build_info", "gauge", help);
	evbuffer_add_printf(o->to, "millrace_build_info{version=\"%s\",io=\"uring\"} 1\n", MILLRACE_VERSION);
	metrics_head(o, "millrace_config_generation", "gauge", "Number of the running configuration");
	evbuffer_add_printf(o->to, "millrace_config_generation %llu\n", (unsigned long long)c->cfg->generation);
	metrics_head(o, "millrace_start_time_seconds", "gauge",
	             "When this control process started, seconds since 1970");
	evbuffer_add_printf(o->to, "millrace_start_time_seconds %.3f\n", (double)c->started_wall_ns / 1e9);
	metrics_head(o, "millrace_troubles", "gauge", "Distinct troubles that are open now");
	evbuffer_add_printf(o->to, "millrace_troubles %u\n", c->trouble_count);
}

void metrics_render(struct control *c, struct evbuffer *out, bool open)
{
	const struct metrics_out o = {out, open};
	struct totals *hub = totals_new(c->cfg->listeners.count, c->cfg->dests.count);
	struct totals *workers[MR_WORKERS_MAX] = {0};

	must(hub);
	metrics_hub(c, hub);
	control_each (c, p)
		if (p->kind == MR_KIND_WORKER) {
			workers[p->index] = totals_new(0, 0); /* its own metrics only */
			must(workers[p->index]);
			metrics_process(p, workers[p->index]);
		}
	metrics_own(c, &o);
	metrics_processes(c, &o);
	for (uint32_t m = 0; m < MR_METRICS; m++)
		if (metrics_is_first(m))
			metrics_family(c, &o, m, hub, workers);
	if (open)
		evbuffer_add_printf(out, "# EOF\n");
	for (uint32_t i = 0; i < MR_WORKERS_MAX; i++)
		totals_free(workers[i]);
	totals_free(hub);
}
