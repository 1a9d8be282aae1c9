/* SPDX-License-Identifier: Apache-2.0 */
/* ctl_client.h - asking the control process: HTTP/1.1 and JSON over RUN/ctl.sock. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <jansson.h>
#include <stddef.h>

#include "cli.h"
#include "mr_base.h"

struct ctl_http { /* one answer, inside the bytes that were parsed; a chunked body is joined in place */
	int status;
	char *body;
	size_t body_bytes;
};

/**
 * ctl_http_parse - is there a whole HTTP/1.x answer in these bytes?
 *
 * @data   What was received so far. A chunked body is put together in place, once the answer is whole.
 * @ended  The other end has closed: a body without a length is complete.
 * @ret    Written when 1 is returned.
 * Returns 1, 0 (more is needed) or -EPROTO.
 */
int ctl_http_parse(char *data, size_t bytes, bool ended, struct ctl_http *ret);

/**
 * ctl_ask - one request to the hub's control process.
 *
 * @method      "GET" or "POST".
 * @path        With its query.
 * @body        JSON to send, borrowed, or NULL.
 * @ret         The answer's JSON; the caller's to json_decref().
 * @ret_status  HTTP status.
 * Returns 0, or -errno: -ENOENT and -ECONNREFUSED nobody listens, -EACCES, -ETIMEDOUT, -EPROTO no proper answer.
 */
int ctl_ask(const char *run, const char *method, const char *path, const json_t *body, json_t **ret, int *ret_status);

/**
 * ctl_request - ctl_ask() for a command: on failure, says what is wrong on standard error.
 *
 * The run folder is the command's --run. Returns CLI_OK with @ret (for HTTP 2xx), or the exit code.
 */
int ctl_request(struct cli *cli, const char *method, const char *path, const json_t *body, json_t **ret);

/* Text for a path segment or a query value; the result is the caller's to free(). */
char *ctl_escape(const char *text);

/* Convenience over answers: missing or of another type gives "" or 0. */
const char *ctl_text(const json_t *o, const char *key);
uint64_t ctl_count(const json_t *o, const char *key);
double ctl_real(const json_t *o, const char *key);

/* Prints a JSON document and a newline. Returns CLI_OK. */
int ctl_print(const json_t *o);

#endif
