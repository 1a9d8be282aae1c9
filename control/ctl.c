/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.c - the HTTP servers of the control process: who may ask, which path is what, and answering.
 *
 * On the control loop. RUN/ctl.sock is for operators (root, the hub's own user and group); the metrics address serves
 * only /metrics, /livez and /readyz. What takes time (asking workers) is answered later; nothing here blocks.
 */
#include "ctl.h"

#include "ctl_ask.h"
#include "metrics.h"
#include "mr_paths.h"
#include "store.h"
#include "supervise.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CTL_BODY_MAX   65536
#define CTL_HEADER_MAX 16384
#define CTL_TIMEOUT_S  30

struct ctl {
	struct evhttp *local, *public;
};

/* ---- answering ---- */

json_t *ctl_text(const char *text)
{
	json_t *o = text ? json_string(text) : json_null();
	char clean[1024];
	size_t n = 0;

	if (o)
		return o;
	for (; *text && n < sizeof(clean) - 1; text++)
		clean[n++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
	clean[n] = 0;
	return json_string(clean);
}

json_t *ctl_error(const char *code, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return json_pack("{s:{s:s, s:o}}", "error", "code", code, "text", ctl_text(text));
}

static const char *ctl_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 202:
		return "Accepted";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	default:
		return "Internal Server Error";
	}
}

void ctl_reply(struct evhttp_request *request, int status, json_t *body)
{
	struct evbuffer *out = evbuffer_new();
	char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(9));

	must(out);
	evbuffer_add_printf(out, "%s\n", text ? text : "{\"error\":{\"code\":\"internal\",\"text\":\"no answer\"}}");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evhttp_send_reply(request, status, ctl_reason(status), out);
	evbuffer_free(out);
	free(text);
	json_decref(body);
}

static void ctl_on_client_gone(struct evhttp_connection *connection, void *arg)
{
	struct ctl_call *call = arg;

	call->request = NULL;
}

struct ctl_call *ctl_call_new(struct evhttp_request *request)
{
	struct ctl_call *call = calloc(1, sizeof(*call));

	must(call);
	call->request = request;
	evhttp_connection_set_closecb(evhttp_request_get_connection(request), ctl_on_client_gone, call);
	return call;
}

void ctl_call_reply(struct ctl_call *call, int status, json_t *body)
{
	if (call->request) {
		evhttp_connection_set_closecb(evhttp_request_get_connection(call->request), NULL, NULL);
		ctl_reply(call->request, status, body);
	} else {
		json_decref(body);
	}
	free(call);
}

/* ---- finding a destination by name ---- */

static uint32_t ctl_distance(const char *a, const char *b)
{
	uint32_t row[MR_NAME_BYTES + 1], n = (uint32_t)strnlen(b, MR_NAME_BYTES);

	for (uint32_t j = 0; j <= n; j++)
		row[j] = j;
	for (uint32_t i = 1; *a; a++, i++) {
		uint32_t diagonal = row[0];

		row[0] = i;
		for (uint32_t j = 1; j <= n; j++) {
			uint32_t change = diagonal + (*a != b[j - 1]),
			         best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = best < change ? best : change;
		}
	}
	return row[n];
}

int ctl_find_dest(const struct control *c, const char *name, json_t **ret_error)
{
	const char *near = NULL;
	uint32_t nearest = 4;

	for (uint32_t i = 0; i < c->cfg->dests.count; i++) {
		const char *known = mr_config_dest(c->cfg, i)->name;
		uint32_t d;

		if (!strcmp(known, name))
			return (int)i;
		d = strlen(name) < MR_NAME_BYTES ? ctl_distance(name, known) : nearest;
		if (d < nearest && d < strlen(known)) {
			nearest = d;
			near = known;
		}
	}
	*ret_error = near ? ctl_error("not_found", "no destination \"%.64s\"; did you mean \"%s\"?", name, near)
	                  : ctl_error("not_found", "no destination \"%.64s\"", name);
	return -1;
}

/* ---- pause and resume ---- */

struct ctl_pause {
	struct ctl_call *call;
	const char *name;
	bool paused;
};

static void ctl_on_pause_answer(struct ctl_ask *ask, void *arg, struct process *p, const struct mr_link_msg *m)
{
}

/* Whoever did not answer gets it with its next HELLO: the state is stored. */
static void ctl_on_pause_end(void *arg, uint32_t missing)
{
	struct ctl_pause *pause = arg;

	ctl_call_reply(pause->call, 200, json_pack("{s:s, s:b}", "destination", pause->name, "paused", pause->paused));
	free(pause);
}

static void ctl_pause(struct control *c, struct evhttp_request *request, uint32_t dest, bool paused)
{
	const char *name = mr_config_dest(c->cfg, dest)->name;
	const struct log_about about = {.item = name};
	struct mr_link_msg m = {.type = paused ? MR_LINK_PAUSE : MR_LINK_RESUME};
	int stored = store_paused(c->store, name);
	bool was = stored >= 0 ? stored : mr_config_dest(c->cfg, dest)->paused;
	struct ctl_pause *pause;
	struct ctl_ask *ask;

	if (store_set_paused(c->store, name, paused) < 0) {
		ctl_reply(request, 500, ctl_error("store", "the state could not be stored; nothing changed"));
		return;
	}
	if (paused != was)
		log_event(paused ? LOG_PAUSED : LOG_RESUMED, &about, "destination %s: %s by an operator", name,
		          paused ? "paused" : "resumed");
	pause = calloc(1, sizeof(*pause));
	must(pause);
	pause->call = ctl_call_new(request);
	pause->name = name;
	pause->paused = paused;
	m.u.item.dest = dest;
	ask = ctl_ask_new(c, pause, ctl_on_pause_answer, ctl_on_pause_end);
	control_each (c, p)
		if (p->link)
			ctl_ask_send(ask, p, &m);
	ctl_ask_go(ask);
}

/* ---- paths ---- */

static void ctl_metrics(struct control *c, struct evhttp_request *request)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
	bool open = accept && strstr(accept, "application/openmetrics-text");
	struct evbuffer *out = evbuffer_new();

	must(out);
	metrics_render(c, out, open);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
	                  open ? METRICS_TYPE_OPEN : METRICS_TYPE_PLAIN);
	evhttp_send_reply(request, 200, "OK", out);
	evbuffer_free(out);
}

/* What both servers answer. Returns false if the path is none of these. */
static bool ctl_open_path(struct control *c, struct evhttp_request *request, const char *path)
{
	bool ready;

	if (!strcmp(path, "/metrics")) {
		ctl_metrics(c, request);
	} else if (!strcmp(path, "/livez")) {
		ctl_reply(request, 200, json_pack("{s:b}", "live", 1));
	} else if (!strcmp(path, "/readyz")) {
		json_t *body = ctl_ready(c, &ready);

		ctl_reply(request, ready ? 200 : 503, body);
	} else {
		return false;
	}
	return true;
}

/* /v1/queue/NAME, /v1/queue/NAME/pause, /v1/queue/NAME/resume */
static void ctl_queue_path(struct control *c, struct evhttp_request *request, const char *rest, bool post)
{
	const char *slash = strchr(rest, '/'), *verb = slash ? slash + 1 : "";
	char raw[256], *name;
	json_t *error = NULL;
	int dest;

	snprintf(raw, sizeof(raw), "%.*s", (int)(slash ? slash - rest : (long)strlen(rest)), rest);
	name = evhttp_uridecode(raw, 0, NULL);
	must(name);
	dest = ctl_find_dest(c, name, &error);
	free(name);
	if (dest < 0)
		ctl_reply(request, 404, error);
	else if (!post && !verb[0])
		ctl_reply(request, 200, ctl_queue(c, (uint32_t)dest));
	else if (post && (!strcmp(verb, "pause") || !strcmp(verb, "resume")))
		ctl_pause(c, request, (uint32_t)dest, verb[0] == 'p');
	else
		ctl_reply(request, 405,
		          ctl_error("bad_request", "legal: GET /v1/queue/NAME, POST /v1/queue/NAME/pause or /resume"));
}

static void ctl_drain(struct control *c, struct evhttp_request *request)
{
	ctl_reply(request, 202, json_pack("{s:b}", "draining", 1));
	c->stop_asked = true;
	if (!c->adopting)
		supervise_drain(c);
}

static void ctl_local_path(struct control *c, struct evhttp_request *request, const char *path, bool post)
{
	if (!post && !strcmp(path, "/v1/status"))
		ctl_reply(request, 200, ctl_status(c));
	else if (!post && !strcmp(path, "/v1/queue"))
		ctl_reply(request, 200, ctl_queues(c));
	else if (!strncmp(path, "/v1/queue/", 10))
		ctl_queue_path(c, request, path + 10, post);
	else if (!post && !strcmp(path, "/v1/dead"))
		ctl_dead_list(c, request);
	else if (post && !strcmp(path, "/v1/dead/retry"))
		ctl_dead_change(c, request, MR_LINK_DEAD_RETRY);
	else if (post && !strcmp(path, "/v1/dead/discard"))
		ctl_dead_change(c, request, MR_LINK_DEAD_DISCARD);
	else if (post && !strcmp(path, "/v1/drain"))
		ctl_drain(c, request);
	else
		ctl_reply(request, 404, ctl_error("not_found", "no such path, or not with this method: %.100s", path));
}

/* ---- who may ask ---- */

static bool ctl_in_group(int fd, gid_t gid)
{
	gid_t groups[256];
	socklen_t bytes = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0)
		return false;
	for (size_t i = 0; i < bytes / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

static bool ctl_may_ask(struct evhttp_request *request)
{
	struct bufferevent *b = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
	struct ucred who = {0};
	socklen_t bytes = sizeof(who);
	int fd = (int)bufferevent_getfd(b);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) < 0)
		return false;
	return who.uid == 0 || who.uid == geteuid() || who.gid == getegid() || ctl_in_group(fd, getegid());
}

static const char *ctl_path(struct evhttp_request *request)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));

	return path && path[0] ? path : "/";
}

static void ctl_on_local(struct evhttp_request *request, void *arg)
{
	struct control *c = arg;
	bool post = evhttp_request_get_command(request) == EVHTTP_REQ_POST;
	const char *path = ctl_path(request);

	if (!ctl_may_ask(request))
		ctl_reply(request, 403, ctl_error("denied", "only root and the hub's own user and group may ask"));
	else if (post || !ctl_open_path(c, request, path))
		ctl_local_path(c, request, path, post);
}

static void ctl_on_public(struct evhttp_request *request, void *arg)
{
	const char *path = ctl_path(request);

	if (evhttp_request_get_command(request) == EVHTTP_REQ_POST || !ctl_open_path(arg, request, path))
		ctl_reply(request, 404, ctl_error("not_found", "legal: /metrics, /livez, /readyz"));
}

/* ---- servers ---- */

static struct evhttp *ctl_server(struct control *c, int fd, void (*on_request)(struct evhttp_request *, void *))
{
	struct evhttp *http = evhttp_new(c->base);

	must(http);
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD);
	evhttp_set_max_body_size(http, CTL_BODY_MAX);
	evhttp_set_max_headers_size(http, CTL_HEADER_MAX);
	evhttp_set_timeout(http, CTL_TIMEOUT_S);
	evhttp_set_gencb(http, on_request, c);
	must(evhttp_accept_socket(http, fd) == 0);
	return http;
}

static int ctl_listen_local(const char *run)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int dir, fd, r = mr_unix_path(run, "ctl.sock", a.sun_path, sizeof(a.sun_path), &dir);

	if (r < 0)
		return r;
	unlink(a.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0660) < 0 ||
	    listen(fd, 64) < 0)
		r = -errno;
	if (dir >= 0)
		close(dir);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

static int ctl_listen_public(const char *address, uint16_t port)
{
	struct sockaddr_storage a;
	int one = 1, fd, r, bytes = sizeof(a);
	char text[80];

	snprintf(text, sizeof(text), strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&a, &bytes) < 0)
		return -EADDRNOTAVAIL;
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, (socklen_t)bytes) < 0 || listen(fd, 64) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int ctl_open(struct control *c)
{
	int fd = ctl_listen_local(c->cfg->run);

	if (fd < 0) {
		log_event(LOG_SOCKET_FAILED, NULL, "%s/ctl.sock: %s", c->cfg->run, strerror(-fd));
		return fd;
	}
	c->ctl = calloc(1, sizeof(*c->ctl));
	must(c->ctl);
	c->ctl->local = ctl_server(c, fd, ctl_on_local);
	if (!c->cfg->metrics_address[0] || !c->cfg->metrics_port)
		return 0;
	fd = ctl_listen_public(c->cfg->metrics_address, c->cfg->metrics_port);
	if (fd < 0) {
		log_event(LOG_METRICS_FAILED, NULL, "cannot listen on address %s port %u for metrics: %s",
		          c->cfg->metrics_address, c->cfg->metrics_port, strerror(-fd));
		return fd;
	}
	c->ctl->public = ctl_server(c, fd, ctl_on_public);
	return 0;
}

void ctl_close(struct control *c)
{
	char path[700];

	if (!c->ctl)
		return;
	ctl_ask_end_all(c);
	evhttp_free(c->ctl->local);
	if (c->ctl->public)
		evhttp_free(c->ctl->public);
	snprintf(path, sizeof(path), "%s/ctl.sock", c->cfg->run);
	unlink(path);
	free(c->ctl);
	c->ctl = NULL;
}

void ctl_answer(struct control *c, struct process *p, const struct mr_link_msg *m)
{
	ctl_ask_answer(c, p, m);
}

void ctl_process_gone(struct control *c, struct process *p)
{
	ctl_ask_gone(c, p);
}
