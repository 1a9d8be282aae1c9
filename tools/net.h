/* SPDX-License-Identifier: Apache-2.0 */
/* net.h - addresses, sockets and clocks, for every command that talks MLLP. */
#ifndef NET_H
#define NET_H

#include <stdint.h>
#include <sys/socket.h>

#include "mr_base.h"

struct net_address {
	char host[256]; /* name or numeric address, without brackets */
	char port[8];
};

struct net_target { /* resolved */
	struct sockaddr_storage addr;
	socklen_t addr_bytes;
};

/**
 * net_parse - read HOST:PORT, [IPv6]:PORT or, if @default_host is not NULL, PORT alone.
 *
 * Returns 0 or -EINVAL; @ret untouched then. The name is not looked up.
 */
int net_parse(const char *text, const char *default_host, struct net_address *ret);

/* Looks the host up; fills at most @max targets. Returns their number, or 0 after setting *ret_error to a text. */
int net_resolve(const struct net_address *a, bool passive, struct net_target *ret, int max, const char **ret_error);

/* Non-blocking connect with TCP_NODELAY; @source may be NULL. Returns the descriptor, maybe still connecting, or
 * -errno. */
int net_connect(const struct net_target *to, const struct net_target *source);

/* Listening socket, non-blocking unless @blocking (io_uring wants that). Returns the descriptor or -errno. */
int net_listen(const struct net_target *at, int backlog, bool blocking);

/* Writes the socket's own address as HOST:PORT or [HOST]:PORT. Returns @out. */
char *net_name(int fd, char *out, size_t room);

/* As many descriptors as the system lets this process have. Returns that number. */
uint64_t net_raise_nofile(void);

uint64_t net_now_ns(void); /* CLOCK_MONOTONIC */
uint64_t net_realtime_ns(void);

/* Pins the calling thread. Returns 0 or -errno. */
int net_pin(int cpu);

/* User and system time of this process (or, @thread, of the calling thread) so far. */
uint64_t net_cpu_ns(bool thread);

#endif
