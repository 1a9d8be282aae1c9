/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.h - the HTTP servers: operators on RUN/ctl.sock, scrapes and probes on the metrics address. */
#ifndef CTL_H
#define CTL_H

#include "control.h"

#include <jansson.h>

struct evhttp_request;

/** ctl_open - open both servers. Returns 0 or -errno after a log line. */
int ctl_open(struct control *c);
void ctl_close(struct control *c);

/** ctl_answer - DEAD_PAGE or DONE came from @p. */
void ctl_answer(struct control *c, struct process *p, const struct mr_link_msg *m);

/** ctl_process_gone - @p will not answer any more. */
void ctl_process_gone(struct control *c, struct process *p);

/*
 * A call: one request that may be answered later. The client may go away meanwhile: then answering does nothing.
 */
struct ctl_call {
	struct evhttp_request *request; /* NULL: the client is gone */
};

struct ctl_call *ctl_call_new(struct evhttp_request *request);

/** ctl_call_reply - answer and free the call. @body is consumed. */
void ctl_call_reply(struct ctl_call *call, int status, json_t *body);

/** ctl_reply - answer at once. @body is consumed. */
void ctl_reply(struct evhttp_request *request, int status, json_t *body);

/** ctl_text - a JSON string whatever the bytes are (what is not UTF-8 is shown as `?`); NULL becomes null. */
json_t *ctl_text(const char *text);

/** ctl_error - {"error": {"code", "text"}}. */
json_t *ctl_error(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** ctl_find_dest - index of destination @name or -1; then @ret_error has what to answer, with did-you-mean. */
int ctl_find_dest(const struct control *c, const char *name, json_t **ret_error);

/* ctl_json.c: documents */
json_t *ctl_status(struct control *c);
json_t *ctl_queues(struct control *c);
json_t *ctl_queue(struct control *c, uint32_t dest);
json_t *ctl_ready(struct control *c, bool *ret_ready);

/* ctl_dead.c: dead letters; they answer the request themselves, later */
void ctl_dead_list(struct control *c, struct evhttp_request *request);
void ctl_dead_change(struct control *c, struct evhttp_request *request, enum mr_link_type type);

#endif
