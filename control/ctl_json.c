/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_json.c - the documents that operators get: status, queues, readiness. Called by ctl.c on the control loop.
 * Everything comes from the configuration, the processes' records and their public regions; never from a message.
 */
#include "ctl.h"

#include "metrics.h"
#include "store.h"
#include "trouble.h"

#include <stdio.h>
#include <string.h>

static struct totals *json_totals(struct control *c)
{
	struct totals *t = totals_new(c->cfg->listeners.count, c->cfg->dests.count);

	must(t);
	return t;
}

static uint64_t json_value(const struct totals *t, uint32_t m, uint32_t item)
{
	return *totals_value(t, m, item);
}

static void json_put_count(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void json_put_seconds(json_t *o, const char *key, uint64_t ns)
{
	json_object_set_new(o, key, json_real((double)ns / 1e9));
}

static void json_put_text(json_t *o, const char *key, const char *text)
{
	json_object_set_new(o, key, ctl_text(text));
}

static void json_put_time(json_t *o, const char *key, uint64_t realtime_ns)
{
	char when[32];

	json_put_text(o, key, log_time(when, realtime_ns));
}

/* ---- processes ---- */

static bool json_journal_full(struct process *p)
{
	const struct mr_region *r = process_map_region(p);

	return r && r->metric_count == MR_METRICS &&
	       mr_load_relaxed(mr_region_words(r, mr_region_metric(r, MR_M_W_JOURNAL_FULL), 0));
}

static void json_put_process(json_t *o, struct process *p)
{
	json_object_set_new(o, "pid", p->pid ? json_integer(p->pid) : json_null());
	json_put_text(o, "state", process_state_name(p));
	json_put_count(o, "incarnation", p->incarnation);
	json_put_count(o, "restarts", p->restarts);
	json_put_count(o, "rss_bytes", process_rss_bytes(p->pid));
}

static json_t *json_worker(struct control *c, struct process *p, struct totals *t)
{
	const struct mr_region *r = process_map_region(p);
	uint64_t connections = 0, now = control_wall_ns(), beat = r ? mr_load_relaxed(&r->heartbeat_ns) : 0;
	json_t *o = json_object();

	totals_clear(t);
	metrics_process(p, t);
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++)
		connections += json_value(t, MR_M_L_CONNECTIONS, i);
	json_put_count(o, "index", p->index);
	json_object_set_new(o, "cpu", json_integer(c->cfg->cpus[p->index]));
	json_put_process(o, p);
	json_object_set_new(o, "heartbeat_age",
	                    beat ? json_real(now > beat ? (double)(now - beat) / 1e9 : 0) : json_null());
	json_put_count(o, "connections", connections);
	json_put_count(o, "pending", process_pending(p));
	json_put_count(o, "journal_bytes", json_value(t, MR_M_W_JOURNAL_BYTES, 0));
	json_object_set_new(o, "journal_full", json_boolean(json_journal_full(p)));
	json_object_set_new(o, "busy_ratio", json_real(p->busy_ratio));
	return o;
}

/* Why the hub should get no traffic, or is not whole. An empty list: all is well. */
static json_t *json_reasons(struct control *c)
{
	json_t *reasons = json_array();
	char text[128];

	if (c->state == CONTROL_STARTING)
		json_array_append_new(reasons, json_string("starting"));
	if (c->state == CONTROL_DRAINING)
		json_array_append_new(reasons, json_string("draining"));
	control_each (c, p) {
		if (p->kind == MR_KIND_WORKER ? !p->accepting : !p->ready) {
			snprintf(text, sizeof(text), "%s is %s", p->name, process_state_name(p));
			json_array_append_new(reasons, json_string(text));
		}
		if (p->kind == MR_KIND_WORKER && json_journal_full(p)) {
			snprintf(text, sizeof(text), "the journal of %s is full", p->name);
			json_array_append_new(reasons, json_string(text));
		}
	}
	return reasons;
}

/* A connector that is down does not stop the taking in: it makes the hub degraded, not unready. */
json_t *ctl_ready(struct control *c, bool *ret_ready)
{
	json_t *reasons = json_reasons(c);
	bool ready = c->state == CONTROL_RUNNING;

	control_each (c, p)
		if (p->kind == MR_KIND_WORKER && (!p->accepting || json_journal_full(p)))
			ready = false;
	*ret_ready = ready;
	return json_pack("{s:b, s:o}", "ready", ready, "reasons", reasons);
}

static const char *json_state(struct control *c)
{
	json_t *reasons = json_reasons(c);
	bool whole = json_array_size(reasons) == 0;

	json_decref(reasons);
	if (c->state == CONTROL_DRAINING)
		return "draining";
	if (c->state == CONTROL_STARTING)
		return "starting";
	for (uint32_t i = 0; i < c->trouble_count; i++)
		if (c->troubles[i].process && c->troubles[i].level <= LOG_ERROR)
			whole = false;
	return whole ? "running" : "degraded";
}

/* ---- listeners ---- */

static json_t *json_listener(struct control *c, const struct totals *t, uint32_t i)
{
	const struct mr_config_listener *l = mr_config_listener(c->cfg, i);
	const uint64_t *latency = totals_value(t, MR_M_L_ACK_LATENCY, i);
	json_t *o = json_object();

	json_put_text(o, "name", l->name);
	json_put_text(o, "address", l->address);
	json_put_count(o, "port", c->listen_port[i]);
	json_put_count(o, "connections", json_value(t, MR_M_L_CONNECTIONS, i));
	json_put_count(o, "received", json_value(t, MR_M_L_RECEIVED, i));
	json_put_count(o, "accepted", json_value(t, MR_M_L_ACCEPTED, i));
	json_put_count(o, "refused",
	               json_value(t, MR_M_L_REFUSED_NOT_HL7, i) + json_value(t, MR_M_L_REFUSED_HEADER, i) +
	                   json_value(t, MR_M_L_REFUSED_FRAMING, i) + json_value(t, MR_M_L_REFUSED_SIZE, i) +
	                   json_value(t, MR_M_L_REFUSED_FULL, i) + json_value(t, MR_M_L_UNROUTED_REFUSED, i));
	json_put_count(o, "duplicates", json_value(t, MR_M_L_DUPLICATES, i));
	json_put_count(o, "unrouted", json_value(t, MR_M_L_UNROUTED_KEPT, i));
	json_put_seconds(o, "ack_p50", mr_hist_quantile_ns(latency, 0.5));
	json_put_seconds(o, "ack_p99", mr_hist_quantile_ns(latency, 0.99));
	return o;
}

/* ---- destinations ---- */

/* The lanes of destination @dest in its owner's region; NULL if it is not there. */
static const struct mr_lane_info *json_lanes(struct control *c, uint32_t dest, uint32_t *ret_count)
{
	struct process *p = c->process[mr_config_dest(c->cfg, dest)->owner];
	const struct mr_region *r = p ? process_map_region(p) : NULL;
	const uint32_t *first;

	if (!r || dest >= r->dest_count)
		return NULL;
	first = (const uint32_t *)((const char *)r + r->lane_first_offset) + dest;
	if (first[0] > first[1] || first[1] > r->lane_count)
		return NULL;
	*ret_count = first[1] - first[0];
	return (const struct mr_lane_info *)((const char *)r + r->lanes_offset) + first[0];
}

/* What keeps the lane from its work; 0 where it works, or is at rest after it did. */
static int json_lane_error(const struct mr_lane_info *l)
{
	return l->state == MR_LANE_UP || !l->failures ? 0 : l->error;
}

struct json_dest {
	const char *state;
	uint32_t connections, up;
	int error;            /* of the lane that changed last */
	uint64_t retry_at_ns; /* earliest, 0 = none */
};

static bool json_paused(struct control *c, uint32_t dest)
{
	int paused = store_paused(c->store, mr_config_dest(c->cfg, dest)->name);

	return paused >= 0 ? paused : mr_config_dest(c->cfg, dest)->paused;
}

static struct json_dest json_dest_state(struct control *c, uint32_t dest)
{
	struct json_dest d = {.state = "down", .connections = mr_config_dest(c->cfg, dest)->connections};
	uint32_t count = 0, idle = 0;
	uint64_t newest = 0;
	const struct mr_lane_info *lane = json_lanes(c, dest, &count);

	for (uint32_t i = 0; lane && i < count; i++) {
		uint64_t since = mr_load_relaxed(&lane[i].since_ns), retry = mr_load_relaxed(&lane[i].retry_at_ns);

		d.up += lane[i].state == MR_LANE_UP;
		idle += lane[i].state == MR_LANE_IDLE || lane[i].state == MR_LANE_UNUSED;
		if (json_lane_error(&lane[i]) && since >= newest) {
			newest = since;
			d.error = json_lane_error(&lane[i]);
		}
		if (lane[i].state == MR_LANE_BACKOFF && (!d.retry_at_ns || retry < d.retry_at_ns))
			d.retry_at_ns = retry;
	}
	if (json_paused(c, dest))
		d.state = "paused";
	else if (count && d.up == count)
		d.state = "up";
	else if (d.up)
		d.state = "partly";
	else if (count && idle == count)
		d.state = "idle";
	return d;
}

static void json_put_retry(json_t *o, uint64_t retry_at_ns)
{
	uint64_t now = control_wall_ns();

	json_object_set_new(o, "retry_in",
	                    retry_at_ns ? json_real(retry_at_ns > now ? (double)(retry_at_ns - now) / 1e9 : 0)
	                                : json_null());
}

static const char *json_error_text(int error)
{
	return error ? strerror(error < 0 ? -error : error) : NULL;
}

static const char *json_kind(const struct mr_config_dest *d)
{
	return d->kind == MR_DEST_FILE ? "file" : "mllp";
}

static json_t *json_target(struct control *c, const struct mr_config_dest *d)
{
	const char *host = mr_config_string(c->cfg, d->host);

	if (d->kind == MR_DEST_FILE)
		return ctl_text(mr_config_string(c->cfg, d->path));
	return json_sprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, d->port);
}

static json_t *json_destination(struct control *c, const struct totals *t, uint32_t i)
{
	const struct mr_config_dest *d = mr_config_dest(c->cfg, i);
	struct json_dest s = json_dest_state(c, i);
	json_t *o = json_object();

	json_put_text(o, "name", d->name);
	json_put_text(o, "kind", json_kind(d));
	json_object_set_new(o, "target", json_target(c, d));
	json_put_text(o, "owner", c->process[d->owner] ? c->process[d->owner]->name : NULL);
	json_put_text(o, "state", s.state);
	json_put_count(o, "connections", s.connections);
	json_put_count(o, "connections_up", s.up);
	json_put_count(o, "queue", json_value(t, MR_M_D_QUEUE, i));
	json_put_count(o, "queue_bytes", json_value(t, MR_M_D_QUEUE_BYTES, i));
	json_put_count(o, "outstanding", json_value(t, MR_M_D_OUTSTANDING, i));
	json_put_count(o, "dead_letters", json_value(t, MR_M_D_DEAD_LETTERS, i));
	json_put_count(o, "delivered", json_value(t, MR_M_D_DELIVERED, i));
	json_put_text(o, "last_error", json_error_text(s.error));
	json_put_retry(o, s.retry_at_ns);
	return o;
}

/* ---- the documents ---- */

static json_t *json_troubles(struct control *c)
{
	json_t *a = json_array();
	char code[16], text[LOG_TEXT_MAX + MR_NAME_BYTES + 40];

	trouble_expire(c);
	for (uint32_t i = 0; i < c->trouble_count; i++) {
		const struct trouble *t = &c->troubles[i];
		const char *item = trouble_item_name(c, t->code, t->item);
		json_t *o = json_object();

		snprintf(code, sizeof(code), "MR%04u", t->code);
		if (item && strstr(t->text, item))
			item = NULL; /* the text says it */
		snprintf(text, sizeof(text), "%s%s%s%s%s", t->process ? t->process->name : "", t->process ? ": " : "",
		         item ? item : "", item ? ": " : "", t->text);
		json_put_text(o, "code", code);
		json_put_text(o, "level", t->level <= LOG_ERROR ? "error" : "warning");
		json_put_text(o, "text", text);
		json_put_time(o, "first", t->first_ns);
		json_put_time(o, "last", t->last_ns);
		json_put_count(o, "count", t->count);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *json_head(struct control *c)
{
	static const char *const commit[] = {"durable", "os", "none"};
	const struct mr_config *cfg = c->cfg;
	json_t *o = json_object();

	json_put_text(o, "schema", "millrace.status/1");
	json_put_text(o, "version", MILLRACE_VERSION);
	json_put_text(o, "state", json_state(c));
	json_put_count(o, "generation", cfg->generation);
	json_put_time(o, "started", c->started_wall_ns);
	json_put_seconds(o, "uptime", control_now_ns() - c->started_ns);
	json_put_text(o, "commit", commit[cfg->commit <= MR_COMMIT_NONE ? cfg->commit : 0]);
	json_put_text(o, "data", cfg->data);
	json_put_text(o, "run", cfg->run);
	if (cfg->metrics_address[0] && cfg->metrics_port)
		json_object_set_new(o, "metrics",
		                    json_sprintf(strchr(cfg->metrics_address, ':') ? "[%s]:%u" : "%s:%u",
		                                 cfg->metrics_address, cfg->metrics_port));
	else
		json_put_text(o, "metrics", NULL);
	return o;
}

json_t *ctl_status(struct control *c)
{
	json_t *o = json_head(c), *workers = json_array(), *connectors = json_array(), *listeners = json_array(),
	       *dests = json_array();
	struct totals *t = json_totals(c);

	control_each (c, p) {
		if (p->kind == MR_KIND_WORKER) {
			json_array_append_new(workers, json_worker(c, p, t));
		} else {
			json_t *one = json_pack("{s:s}", "name", "file");

			json_put_process(one, p);
			json_array_append_new(connectors, one);
		}
	}
	metrics_hub(c, t);
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++)
		json_array_append_new(listeners, json_listener(c, t, i));
	for (uint32_t i = 0; i < c->cfg->dests.count; i++)
		json_array_append_new(dests, json_destination(c, t, i));
	totals_free(t);
	json_object_set_new(o, "workers", workers);
	json_object_set_new(o, "connectors", connectors);
	json_object_set_new(o, "listeners", listeners);
	json_object_set_new(o, "destinations", dests);
	json_object_set_new(o, "troubles", json_troubles(c));
	return o;
}

static void json_put_queue(json_t *o, struct control *c, const struct totals *t, uint32_t i)
{
	const struct mr_config_dest *d = mr_config_dest(c->cfg, i);

	json_put_text(o, "destination", d->name);
	json_put_text(o, "kind", json_kind(d));
	json_object_set_new(o, "paused", json_boolean(json_paused(c, i)));
	json_put_text(o, "state", json_dest_state(c, i).state);
	json_put_count(o, "waiting", json_value(t, MR_M_D_QUEUE, i));
	json_put_count(o, "bytes", json_value(t, MR_M_D_QUEUE_BYTES, i));
	json_put_count(o, "outstanding", json_value(t, MR_M_D_OUTSTANDING, i));
	json_put_count(o, "dead_letters", json_value(t, MR_M_D_DEAD_LETTERS, i));
	json_put_count(o, "delivered", json_value(t, MR_M_D_DELIVERED, i));
}

json_t *ctl_queues(struct control *c)
{
	struct totals *t = json_totals(c);
	json_t *a = json_array();

	metrics_hub(c, t);
	for (uint32_t i = 0; i < c->cfg->dests.count; i++) {
		json_t *o = json_object();

		json_put_queue(o, c, t, i);
		json_array_append_new(a, o);
	}
	totals_free(t);
	return json_pack("{s:s, s:o}", "schema", "millrace.queue.list/1", "queues", a);
}

static json_t *json_lane(const struct mr_lane_info *l, uint32_t number)
{
	static const char *const states[] = {"unused", "idle", "resolving", "connecting", "up", "backoff", "paused"};
	uint32_t state = l->state;
	json_t *o = json_object();

	json_put_count(o, "lane", number);
	json_put_text(o, "state", state < MR_ARRAY_LEN(states) ? states[state] : "unknown");
	json_put_count(o, "outstanding", l->outstanding);
	if (l->since_ns)
		json_put_time(o, "since", mr_load_relaxed(&l->since_ns));
	else
		json_put_text(o, "since", NULL);
	json_put_retry(o, state == MR_LANE_BACKOFF ? mr_load_relaxed(&l->retry_at_ns) : 0);
	json_put_count(o, "failures", l->failures);
	json_put_text(o, "last_error", json_error_text(json_lane_error(l)));
	return o;
}

json_t *ctl_queue(struct control *c, uint32_t dest)
{
	json_t *o = json_pack("{s:s}", "schema", "millrace.queue.show/1"), *lanes = json_array(),
	       *owners = json_array();
	const struct mr_lane_info *lane;
	struct totals *t = json_totals(c);
	uint32_t count = 0;

	metrics_hub(c, t);
	json_put_queue(o, c, t, dest);
	json_object_set_new(o, "target", json_target(c, mr_config_dest(c->cfg, dest)));
	lane = json_lanes(c, dest, &count);
	for (uint32_t i = 0; lane && i < count; i++)
		json_array_append_new(lanes, json_lane(&lane[i], i));
	control_each (c, p) {
		if (p->kind != MR_KIND_WORKER)
			continue;
		totals_clear(t);
		metrics_process(p, t);
		json_array_append_new(owners, json_pack("{s:i, s:I}", "worker", (int)p->index, "waiting",
		                                        (json_int_t)json_value(t, MR_M_D_QUEUE, dest)));
	}
	totals_free(t);
	json_object_set_new(o, "lanes", lanes);
	json_object_set_new(o, "owners", owners);
	return o;
}
