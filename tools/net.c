/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - addresses, sockets and clocks. Used by send, sink and the bench commands; holds no state.
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int net_parse(const char *text, const char *default_host, struct net_address *ret)
{
	const char *host = text, *port, *colon = strrchr(text, ':');
	size_t host_bytes;

	if (text[0] == '[') {
		const char *end = strchr(text, ']');

		if (!end || end[1] != ':')
			return -EINVAL;
		host = text + 1;
		host_bytes = (size_t)(end - host);
		port = end + 2;
	} else if (colon) {
		host_bytes = (size_t)(colon - host);
		port = colon + 1;
		if (memchr(host, ':', host_bytes))
			return -EINVAL; /* an IPv6 address without brackets */
	} else {
		if (!default_host)
			return -EINVAL;
		host = default_host;
		host_bytes = strlen(default_host);
		port = text;
	}
	if (!host_bytes && default_host) {
		host = default_host;
		host_bytes = strlen(default_host);
	}
	if (!host_bytes || host_bytes >= sizeof(ret->host) || !*port || strspn(port, "0123456789") != strlen(port) ||
	    strlen(port) > 5)
		return -EINVAL;
	if (strlen(port) == 5 && strcmp(port, "65535") > 0)
		return -EINVAL;
	memcpy(ret->host, host, host_bytes);
	ret->host[host_bytes] = 0;
	memcpy(ret->port, port, strlen(port) + 1);
	return 0;
}

int net_resolve(const struct net_address *a, bool passive, struct net_target *ret, int max, const char **ret_error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	                         .ai_flags = passive ? AI_PASSIVE | AI_NUMERICSERV : AI_NUMERICSERV};
	struct addrinfo *list, *i;
	int n = 0, r;

	r = getaddrinfo(a->host, a->port, &hints, &list);
	if (r) {
		*ret_error = gai_strerror(r);
		return 0;
	}
	for (i = list; i && n < max; i = i->ai_next) {
		memcpy(&ret[n].addr, i->ai_addr, i->ai_addrlen);
		ret[n++].addr_bytes = i->ai_addrlen;
	}
	freeaddrinfo(list);
	if (!n)
		*ret_error = "no address";
	return n;
}

int net_connect(const struct net_target *to, const struct net_target *source)
{
	int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (source) { /* the port is chosen at connect(), so that it may be used for several peers */
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(fd, (const struct sockaddr *)&source->addr, source->addr_bytes) < 0)
			goto fail;
	}
	if (connect(fd, (const struct sockaddr *)&to->addr, to->addr_bytes) == 0 || errno == EINPROGRESS)
		return fd;
fail:
	r = -errno;
	close(fd);
	return r;
}

int net_listen(const struct net_target *at, int backlog, bool blocking)
{
	int fd = socket(at->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0), one = 1,
	    zero = 0, r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
	if (at->addr.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (const struct sockaddr *)&at->addr, at->addr_bytes) == 0 && listen(fd, backlog) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

char *net_name(int fd, char *out, size_t room)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	char host[64], port[8];

	if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0 ||
	    getnameinfo((struct sockaddr *)&ss, n, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, room, "?");
	else
		snprintf(out, room, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
	return out;
}

uint64_t net_raise_nofile(void)
{
	struct rlimit rl = {0, 0};

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
		getrlimit(RLIMIT_NOFILE, &rl);
	}
	return rl.rlim_cur;
}

static uint64_t net_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t net_now_ns(void)
{
	return net_clock(CLOCK_MONOTONIC);
}

uint64_t net_realtime_ns(void)
{
	return net_clock(CLOCK_REALTIME);
}

uint64_t net_cpu_ns(bool thread)
{
	return net_clock(thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID);
}

int net_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}
