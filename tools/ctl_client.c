/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_client.c - a small HTTP client for the hub's control socket. Used by status, queue and dead.
 *
 * One request per connection, with an end to every wait. It trusts the socket's owner, not the form of the answer.
 */
#include "ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mr_paths.h"
#include "net.h"
#include "regions.h"

#define CTL_TIMEOUT_NS 10000000000ull
#define CTL_ANSWER_MAX (256u << 20)

/*
 * Walks the chunks at @at..@end and, if @join, moves their bytes together. Returns 1 with the body's length if all are
 * there, 0 if not, or -EPROTO. To be called without @join first: bytes must not move before all have arrived.
 */
static int ctl_chunks(char *at, const char *end, bool join, size_t *ret_bytes)
{
	char *out = at;

	for (char *in = at;;) {
		char *line = memchr(in, '\n', (size_t)(end - in)), *stop;
		unsigned long long n;

		if (!line)
			return end - in > 64 ? -EPROTO : 0;
		n = strtoull(in, &stop, 16);
		if (stop == in || stop > line || n > CTL_ANSWER_MAX)
			return -EPROTO;
		in = line + 1;
		if (n == 0) {
			*ret_bytes = (size_t)(out - at);
			return 1;
		}
		if ((unsigned long long)(end - in) < n + 2)
			return 0;
		if (join)
			memmove(out, in, n);
		out += n;
		in += n;
		in += *in == '\r';
		if (in >= end || *in++ != '\n')
			return -EPROTO;
	}
}

int ctl_http_parse(char *data, size_t bytes, bool ended, struct ctl_http *ret)
{
	char *end = data + bytes, *head = memmem(data, bytes, "\r\n\r\n", 4), *line;
	unsigned long long length = 0;
	bool chunked = false, counted = false;
	size_t body_bytes;
	int status, r;

	if (!head)
		return ended || bytes > 65536 ? -EPROTO : 0;
	if (bytes < 12 || memcmp(data, "HTTP/1.", 7) != 0 || data[8] != ' ')
		return -EPROTO;
	status = atoi(data + 9);
	for (line = memchr(data, '\n', bytes); line && line < head; line = memchr(line, '\n', (size_t)(end - line))) {
		line++;
		if (strncasecmp(line, "Content-Length:", 15) == 0) {
			length = strtoull(line + 15, NULL, 10);
			counted = true;
		} else if (strncasecmp(line, "Transfer-Encoding:", 18) == 0) {
			chunked = memmem(line, (size_t)(head - line), "chunked", 7) != NULL;
		}
	}
	if (status < 100 || status > 599 || length > CTL_ANSWER_MAX)
		return -EPROTO;
	if (chunked) {
		r = ctl_chunks(head + 4, end, false, &body_bytes);
		if (r <= 0)
			return r == 0 && ended ? -EPROTO : r;
		ctl_chunks(head + 4, end, true, &body_bytes);
	} else if (counted) {
		if ((unsigned long long)(end - head - 4) < length)
			return ended ? -EPROTO : 0;
		body_bytes = (size_t)length;
	} else {
		if (!ended)
			return 0;
		body_bytes = (size_t)(end - head - 4);
	}
	*ret = (struct ctl_http){status, head + 4, body_bytes};
	return 1;
}

static int ctl_wait(int fd, short events, uint64_t end_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = net_now_ns();
	int n;

	do {
		n = poll(&p, 1, now < end_ns ? (int)((end_ns - now) / 1000000) + 1 : 0);
	} while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : n < 0 ? -errno : -ETIMEDOUT;
}

static int ctl_connect(const char *run)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int dir = -1, fd, r;

	r = mr_unix_path(run, "ctl.sock", a.sun_path, sizeof(a.sun_path), &dir);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		fd = r == -EAGAIN ? -ETIMEDOUT : r; /* EAGAIN: its backlog is full, it is stuck */
	}
	if (dir >= 0)
		close(dir);
	return fd;
}

static int ctl_send(int fd, const char *data, size_t bytes, uint64_t end_ns)
{
	while (bytes) {
		ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			int r = ctl_wait(fd, POLLOUT, end_ns);

			if (r < 0)
				return r;
			continue;
		}
		if (n < 0)
			return -errno;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* Receives until the answer is whole. *io_data is the caller's to free in any case. */
static int ctl_receive(int fd, char **io_data, struct ctl_http *ret, uint64_t end_ns)
{
	size_t bytes = 0, room = 0;

	for (;;) {
		ssize_t n;
		int r;

		if (room - bytes < 16384) {
			size_t to = room ? 2 * room : 65536;
			char *p = to <= CTL_ANSWER_MAX ? realloc(*io_data, to) : NULL;

			if (!p)
				return -ENOMEM;
			*io_data = p;
			room = to;
		}
		r = ctl_wait(fd, POLLIN, end_ns);
		if (r < 0)
			return r;
		n = recv(fd, *io_data + bytes, room - bytes - 1, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		bytes += (size_t)n;
		(*io_data)[bytes] = 0; /* numbers in it end somewhere */
		r = ctl_http_parse(*io_data, bytes, n == 0, ret);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

int ctl_ask(const char *run, const char *method, const char *path, const json_t *body, json_t **ret, int *ret_status)
{
	uint64_t end_ns = net_now_ns() + CTL_TIMEOUT_NS;
	char folder[512], *text = NULL, *head = NULL, *data = NULL;
	struct ctl_http http;
	json_t *json;
	int fd = -1, r;

	r = mr_run_folder(run, folder, sizeof(folder));
	if (r < 0)
		return r;
	fd = ctl_connect(folder);
	if (fd < 0)
		return fd;
	r = -ENOMEM;
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	if (body && !text)
		goto out;
	if (asprintf(&head,
	             "%s %s HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Type: "
	             "application/json\r\nContent-Length: %zu\r\n\r\n%s",
	             method, path, text ? strlen(text) : 0, text ? text : "") < 0) {
		head = NULL;
		goto out;
	}
	r = ctl_send(fd, head, strlen(head), end_ns);
	if (r == 0)
		r = ctl_receive(fd, &data, &http, end_ns);
	if (r < 0)
		goto out;
	json = json_loadb(http.body, http.body_bytes, 0, NULL);
	if (json) {
		*ret = json;
		*ret_status = http.status;
	} else {
		r = -EPROTO;
	}
out:
	close(fd);
	free(text);
	free(head);
	free(data);
	return r;
}

/* Nobody listens at RUN/ctl.sock. Are there workers, or is a hub in the folder that people call run? */
static void ctl_no_hub(struct cli *cli, const char *folder, int error)
{
	bool named = cli_value(cli, "run") || getenv("MILLRACE_RUN");
	struct regions regions;
	bool alive = false;

	if (regions_open(folder, &regions) == 0) {
		for (int i = 0; i < regions.count; i++)
			alive |= regions.process[i].alive;
		regions_close(&regions);
	}
	if (alive)
		cli_error(cli, "the control process of the hub at %s does not answer (%s); see millrace status", folder,
		          strerror(-error));
	else if (!named && access("run/ctl.sock", F_OK) == 0)
		cli_error(cli, "no hub at %s (%s); there is one in this folder: --run ./run", folder, strerror(-error));
	else
		cli_error(cli, "no hub at %s (%s); name its run folder with --run or MILLRACE_RUN", folder,
		          strerror(-error));
}

int ctl_request(struct cli *cli, const char *method, const char *path, const json_t *body, json_t **ret)
{
	const char *run = cli_value(cli, "run");
	json_t *json = NULL, *error;
	char folder[512] = "?";
	int status, r;

	r = ctl_ask(run, method, path, body, &json, &status);
	if (r < 0) {
		mr_run_folder(run, folder, sizeof(folder));
		if (r == -ETIMEDOUT)
			cli_error(cli, "%s/ctl.sock: no answer in time; the outcome is unknown", folder);
		else if (r == -EPROTO)
			cli_error(cli, "%s/ctl.sock: not the answer of a hub", folder);
		else
			ctl_no_hub(cli, folder, r);
		return r == -ETIMEDOUT ? CLI_TIMEOUT : r == -EACCES || r == -EPERM ? CLI_DENIED : CLI_UNREACHABLE;
	}
	if (status >= 200 && status < 300) {
		*ret = json;
		return CLI_OK;
	}
	error = json_object_get(json, "error");
	cli_error(cli, "%s", *ctl_text(error, "text") ? ctl_text(error, "text") : "the hub refused");
	json_decref(json);
	return status == 404 ? CLI_NOT_FOUND : status == 403 ? CLI_DENIED : status == 504 ? CLI_TIMEOUT : CLI_FAILED;
}

char *ctl_escape(const char *text)
{
	char *out = malloc(3 * strlen(text) + 1), *at = out;

	must(out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
		    c == '_' || c == '.')
			*at++ = (char)c;
		else
			at += sprintf(at, "%%%02X", c);
	}
	*at = 0;
	return out;
}

const char *ctl_text(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

uint64_t ctl_count(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

double ctl_real(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

int ctl_print(const json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	return CLI_OK;
}
