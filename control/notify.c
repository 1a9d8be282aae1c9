/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.c - says "ready" once, on one line with everything one wants to know, and speaks systemd's notify protocol.
 * Called by supervise.c. Never fails: who does not listen, does not hear.
 */
#include "notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void notify_systemd(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (!n || n >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, n);
	if (a.sun_path[0] == '@')
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

struct notify_text {
	char *at, *end;
};

__attribute__((format(printf, 2, 3))) static void notify_put(struct notify_text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->at, (size_t)(t->end - t->at), format, args);
	va_end(args);
	if (n > 0)
		t->at += n < t->end - t->at ? n : t->end - t->at - 1;
}

static const char *notify_plural(uint32_t n)
{
	return n == 1 ? "" : "s";
}

char *notify_ready_text(struct control *c, char *ret, size_t ret_bytes)
{
	static const char *const commit[] = {"durable", "os", "none"};
	const struct mr_config *cfg = c->cfg;
	struct notify_text t = {ret, ret + ret_bytes};
	const uint32_t shown = cfg->listeners.count < 8 ? cfg->listeners.count : 8;

	notify_put(&t, "ready: %u worker%s, %u listener%s", cfg->workers, notify_plural(cfg->workers),
	           cfg->listeners.count, notify_plural(cfg->listeners.count));
	for (uint32_t i = 0; i < shown; i++) {
		const struct mr_config_listener *l = mr_config_listener(cfg, i);
		bool six = strchr(l->address, ':') != NULL;

		notify_put(&t, "%s%s %s%s%s:%u", i ? ", " : " (", l->name, six ? "[" : "", l->address, six ? "]" : "",
		           c->listen_port[i]);
	}
	if (shown)
		notify_put(&t, "%s)", shown < cfg->listeners.count ? ", ..." : "");
	notify_put(&t, ", %u destination%s, %u route%s", cfg->dests.count, notify_plural(cfg->dests.count),
	           cfg->routes.count, notify_plural(cfg->routes.count));
	if (cfg->metrics_address[0] && cfg->metrics_port) {
		bool six = strchr(cfg->metrics_address, ':') != NULL;

		notify_put(&t, ", metrics http://%s%s%s:%u/metrics", six ? "[" : "", cfg->metrics_address,
		           six ? "]" : "", cfg->metrics_port);
	}
	notify_put(&t, ", data %s, commit %s", cfg->data, commit[cfg->commit <= MR_COMMIT_NONE ? cfg->commit : 0]);
	return ret;
}

void notify_ready(struct control *c)
{
	char text[1200];

	printf("millrace: %s\n", notify_ready_text(c, text, sizeof(text)));
	fflush(stdout);
	if (!log_is_text()) /* a person has just read it */
		log_event(LOG_READY, NULL, "%s", text);
	notify_systemd("READY=1\n");
}

void notify_stopping(void)
{
	notify_systemd("STOPPING=1\n");
}
