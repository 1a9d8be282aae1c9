/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - opens the listening sockets and keeps a copy of each.
 *
 * Used by main.c, supervise.c and takeover.c. One socket per worker and listener (SO_REUSEPORT: the kernel spreads
 * connections over the workers). The copy here keeps a dead worker's socket open, so that its connections wait in the
 * backlog until it is back. Never accepts anything itself.
 */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Numeric address of a listener; "" and "::" take IPv4 as well. Returns its length, 0 if it is no address. */
static socklen_t listen_address(const struct mr_config_listener *l, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, l->address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	if (l->address[0] && inet_pton(AF_INET6, l->address, &six->sin6_addr) != 1)
		return 0;
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

static int listen_bind(const struct mr_config_listener *l, uint16_t port, bool share)
{
	struct sockaddr_storage a;
	socklen_t bytes = listen_address(l, port, &a);
	int one = 1, zero = 0, fd, r;

	if (!bytes)
		return -EADDRNOTAVAIL;
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && !l->address[0]) { /* a machine without IPv6 */
		struct sockaddr_in *four = (struct sockaddr_in *)&a;

		memset(&a, 0, sizeof(a));
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		bytes = sizeof(*four);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    (a.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0) ||
	    bind(fd, (struct sockaddr *)&a, bytes) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static uint16_t listen_port_of(int fd)
{
	struct sockaddr_storage a;
	socklen_t bytes = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &bytes) < 0)
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
	                                     : ((struct sockaddr_in *)&a)->sin_port);
}

static int listen_fail(const struct mr_config_listener *l, int error)
{
	const struct log_about about = {.item = l->name};

	log_event(LOG_LISTEN_FAILED, &about, "cannot listen on address %s port %u: %s",
	          l->address[0] ? l->address : "*", l->port, strerror(-error));
	return error;
}

/*
 * Is the port free? The kernel takes a worker's io_uring down a moment after the worker itself was killed, and only then
 * its listening sockets: a hub that is started again at once waits for that a little. At start only; blocks.
 */
static int listen_probe(const struct mr_config_listener *l, uint16_t port)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	int fd = listen_bind(l, port, false);

	for (int tries = 60; fd == -EADDRINUSE && tries; tries--) {
		nanosleep(&pause, NULL);
		fd = listen_bind(l, port, false);
	}
	return fd;
}

int listen_open(struct control *c, uint32_t worker, bool probe)
{
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++) {
		const struct mr_config_listener *l = mr_config_listener(c->cfg, i);
		int *at = listen_at(c, worker, i), fd;

		if (*at >= 0)
			continue;
		if (probe && c->listen_port[i]) {
			fd = listen_probe(l, c->listen_port[i]);
			if (fd < 0)
				return listen_fail(l, fd);
			close(fd);
		}
		fd = listen_bind(l, c->listen_port[i], true);
		if (fd < 0)
			return listen_fail(l, fd);
		*at = fd;
		if (!c->listen_port[i])
			c->listen_port[i] = listen_port_of(fd);
		if (c->state == CONTROL_RUNNING && listen(fd, (int)l->backlog) < 0)
			return listen_fail(l, -errno);
	}
	return 0;
}

int listen_start(struct control *c)
{
	for (uint32_t w = 0; w < c->cfg->workers; w++)
		for (uint32_t i = 0; i < c->cfg->listeners.count; i++) {
			int fd = *listen_at(c, w, i);

			if (fd >= 0 && listen(fd, (int)mr_config_listener(c->cfg, i)->backlog) < 0)
				return listen_fail(mr_config_listener(c->cfg, i), -errno);
		}
	return 0;
}

void listen_close(struct control *c)
{
	for (uint32_t i = 0; i < c->cfg->workers * c->cfg->listeners.count; i++)
		if (c->listen_fd[i] >= 0) {
			close(c->listen_fd[i]);
			c->listen_fd[i] = -1;
		}
}

void listen_put(struct control *c, uint32_t worker, uint32_t listener, int fd)
{
	int *at;

	if (worker >= c->cfg->workers || listener >= c->cfg->listeners.count) {
		close(fd);
		return;
	}
	at = listen_at(c, worker, listener);
	if (*at >= 0)
		close(*at);
	*at = fd;
	if (!c->listen_port[listener] && listen_port_of(fd))
		c->listen_port[listener] = listen_port_of(fd);
}
