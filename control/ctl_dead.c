/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_dead.c - dead letters: listing them page by page over all workers, putting them back or discarding them.
 *
 * Called by ctl.c on the control loop. The letters are the workers' (each has its own journal): this asks over the link
 * and answers the operator when all have answered or 5 s are over. Shows positions, sizes and reasons, never content.
 */
#include "ctl.h"

#include "ctl_ask.h"
#include "mr_ring.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEAD_LIMIT_DEFAULT 100
#define DEAD_LIMIT_MAX     10000

/* ---- listing ---- */

struct dead_list {
	struct control *control;
	struct ctl_call *call;
	uint32_t dest;        /* UINT32_MAX: all */
	uint32_t limit, skip; /* still wanted, still to be skipped; across the workers, in their order */
	uint32_t worker;      /* asked now */
	uint32_t here;        /* skipped and taken of it so far */
	uint64_t total;
	json_t *items;
	json_t *error;
};

static const char *dead_reason(uint8_t reason)
{
	switch (reason) {
	case MR_REASON_REJECTED:
		return "rejected";
	case MR_REASON_ATTEMPTS:
		return "attempts used up";
	case MR_REASON_GONE:
		return "destination gone";
	case MR_REASON_UNREADABLE:
		return "unreadable";
	case MR_REASON_IO:
		return "storage error";
	default:
		return "unknown";
	}
}

static json_t *dead_item(struct control *c, const struct mr_link_dead *d)
{
	const char *name = d->dest < c->cfg->dests.count ? mr_config_dest(c->cfg, d->dest)->name : "";
	char died[32], received[32], id[48], code[3] = {d->code[0], d->code[0] ? d->code[1] : 0, 0};

	if (code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z')
		code[0] = 0;
	snprintf(id, sizeof(id), "%u:%llu", d->journal, (unsigned long long)d->position);
	return json_pack("{s:s, s:i, s:I, s:s, s:s?, s:s?, s:i, s:i, s:s, s:s}", "destination", name, "journal",
	                 (int)d->journal, "position", (json_int_t)d->position, "id", id, "died",
	                 d->time_ns ? log_time(died, d->time_ns) : NULL, "received",
	                 d->received_ns ? log_time(received, d->received_ns) : NULL, "bytes", (int)d->bytes, "attempts",
	                 (int)d->attempts, "reason", dead_reason(d->reason), "code", code);
}

/* Asks the current worker for its next page, or the next worker. Returns false when all have been asked. */
static bool dead_list_ask(struct ctl_ask *ask, struct dead_list *l)
{
	struct mr_link_msg m = {.type = MR_LINK_DEAD_LIST};

	if (l->worker >= l->control->cfg->workers)
		return false;
	m.u.dead_query.dest = l->dest;
	m.u.dead_query.journal = UINT32_MAX;
	m.u.dead_query.skip = l->here;
	/* One page is all that is asked for at a time; one item when only the total is of interest. */
	m.u.dead_query.limit = l->limit == 0 ? 1 : l->limit < MR_LINK_DEAD_MAX ? l->limit : MR_LINK_DEAD_MAX;
	ctl_ask_send(ask, l->control->process[l->worker], &m);
	return l->control->process[l->worker]->link != NULL;
}

static void dead_list_next_worker(struct ctl_ask *ask, struct dead_list *l)
{
	for (;;) {
		l->worker++;
		l->here = l->skip;
		if (l->worker >= l->control->cfg->workers || dead_list_ask(ask, l))
			return;
	}
}

static void dead_on_page(struct ctl_ask *ask, void *arg, struct process *p, const struct mr_link_msg *m)
{
	struct dead_list *l = arg;
	uint32_t count;

	if (m->type != MR_LINK_DEAD_PAGE) {
		dead_list_next_worker(ask, l);
		return;
	}
	count = m->u.dead.count < MR_LINK_DEAD_MAX ? m->u.dead.count : MR_LINK_DEAD_MAX;
	if (l->here >= m->u.dead.total) /* all of this worker's were to be skipped */
		l->skip -= (uint32_t)m->u.dead.total < l->skip ? (uint32_t)m->u.dead.total : l->skip;
	else
		l->skip = 0;
	for (uint32_t i = 0; i < count && l->limit; i++, l->limit--, l->here++)
		json_array_append_new(l->items, dead_item(l->control, &m->u.dead.item[i]));
	if (l->limit && count && l->here < m->u.dead.total) {
		dead_list_ask(ask, l);
		return;
	}
	l->total += m->u.dead.total;
	dead_list_next_worker(ask, l);
}

static void dead_on_list_end(void *arg, uint32_t missing)
{
	struct dead_list *l = arg;

	ctl_call_reply(l->call, 200,
	               json_pack("{s:s, s:I, s:b, s:o}", "schema", "millrace.dead.list/1", "total",
	                         (json_int_t)l->total, "complete", missing == 0, "items", l->items));
	free(l);
}

static uint32_t dead_number(const char *text, uint32_t otherwise, uint32_t max)
{
	unsigned long long v;
	char *end;

	if (!text || !*text)
		return otherwise;
	v = strtoull(text, &end, 10);
	return *end ? otherwise : v < max ? (uint32_t)v : max;
}

void ctl_dead_list(struct control *c, struct evhttp_request *request)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request)), *name;
	struct evkeyvalq args = {0};
	struct dead_list *l;
	struct ctl_ask *ask;
	json_t *error = NULL;
	int dest = 0;

	evhttp_parse_query_str(query ? query : "", &args);
	name = evhttp_find_header(&args, "destination");
	if (name && *name)
		dest = ctl_find_dest(c, name, &error);
	if (dest < 0) {
		evhttp_clear_headers(&args);
		ctl_reply(request, 404, error);
		return;
	}
	l = calloc(1, sizeof(*l));
	must(l);
	l->control = c;
	l->dest = name && *name ? (uint32_t)dest : UINT32_MAX;
	l->limit = dead_number(evhttp_find_header(&args, "limit"), DEAD_LIMIT_DEFAULT, DEAD_LIMIT_MAX);
	l->skip = l->here = dead_number(evhttp_find_header(&args, "skip"), 0, UINT32_MAX);
	evhttp_clear_headers(&args);
	l->call = ctl_call_new(request);
	l->items = json_array();
	ask = ctl_ask_new(c, l, dead_on_page, dead_on_list_end);
	if (!dead_list_ask(ask, l))
		dead_list_next_worker(ask, l);
	ctl_ask_go(ask);
}

/* ---- retry and discard ---- */

struct dead_change {
	struct ctl_call *call;
	uint64_t count;
	int error; /* of a single letter */
	bool single;
};

static void dead_on_done(struct ctl_ask *ask, void *arg, struct process *p, const struct mr_link_msg *m)
{
	struct dead_change *d = arg;

	if (m->type != MR_LINK_DONE)
		return;
	d->count += m->u.done.count;
	if (m->u.done.error)
		d->error = m->u.done.error;
}

static void dead_on_change_end(void *arg, uint32_t missing)
{
	struct dead_change *d = arg;

	if (d->single && !d->count && (!missing || d->error))
		ctl_call_reply(d->call, 404, ctl_error("not_found", "no such dead letter"));
	else if (missing)
		ctl_call_reply(d->call, 504,
		               ctl_error("timeout", "%u processes did not answer; %llu dead letters were changed",
		                         missing, (unsigned long long)d->count));
	else
		ctl_call_reply(d->call, 200, json_pack("{s:I}", "count", (json_int_t)d->count));
	free(d);
}

/* The worker that owns @journal now: by the tails they announced, else the one of that number. */
static struct process *dead_owner(struct control *c, uint64_t journal)
{
	control_each (c, p)
		for (uint32_t i = 0; i < p->tail_count; i++)
			if (p->tails[i].journal == journal)
				return p;
	return journal < c->cfg->workers ? c->process[journal] : NULL;
}

/* Reads the body. Returns an HTTP status other than 200 and @ret_error if it is no use. */
static int dead_read_body(struct control *c, struct evhttp_request *request, struct mr_link_msg *m, json_t **ret_error)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request);
	size_t bytes = evbuffer_get_length(in);
	json_t *body = json_loadb((const char *)evbuffer_pullup(in, -1), bytes, JSON_REJECT_DUPLICATES, NULL), *journal,
	       *position;
	const char *name = json_string_value(json_object_get(body, "destination"));
	int status = 400, dest;

	journal = json_object_get(body, "journal");
	position = json_object_get(body, "position");
	if (!name) {
		*ret_error = ctl_error("bad_request", "the body must be a JSON object with \"destination\"");
		goto out;
	}
	if (!journal != !position ||
	    (journal && (!json_is_integer(journal) || !json_is_integer(position) || json_integer_value(journal) < 0 ||
	                 json_integer_value(position) < 0))) {
		*ret_error = ctl_error("bad_request", "\"journal\" and \"position\" are numbers and go together");
		goto out;
	}
	status = 404;
	dest = ctl_find_dest(c, name, ret_error);
	if (dest < 0)
		goto out;
	m->u.dead_query.dest = (uint32_t)dest;
	m->u.dead_query.journal = journal ? (uint32_t)json_integer_value(journal) : UINT32_MAX;
	m->u.dead_query.position = journal ? (uint64_t)json_integer_value(position) : 0;
	status = 200;
out:
	json_decref(body);
	return status;
}

void ctl_dead_change(struct control *c, struct evhttp_request *request, enum mr_link_type type)
{
	struct mr_link_msg m = {.type = type};
	struct dead_change *d;
	struct ctl_ask *ask;
	json_t *error = NULL;
	int status = dead_read_body(c, request, &m, &error);

	if (status != 200) {
		ctl_reply(request, status, error);
		return;
	}
	d = calloc(1, sizeof(*d));
	must(d);
	d->call = ctl_call_new(request);
	d->single = m.u.dead_query.journal != UINT32_MAX;
	ask = ctl_ask_new(c, d, dead_on_done, dead_on_change_end);
	if (d->single) {
		struct process *p = dead_owner(c, m.u.dead_query.journal);

		if (p)
			ctl_ask_send(ask, p, &m);
	} else {
		control_each (c, p)
			if (p->kind == MR_KIND_WORKER)
				ctl_ask_send(ask, p, &m);
	}
	ctl_ask_go(ask);
}
