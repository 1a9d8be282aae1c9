/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the listening sockets of the hub: one for each worker and listener, held by the control process too. */
#ifndef LISTEN_H
#define LISTEN_H

#include "control.h"

/**
 * listen_open - bind the sockets of worker @worker that are not there yet; they refuse clients until listen_start().
 *
 * @probe  First see that nobody else listens there (SO_REUSEPORT would let two hubs share a port in silence).
 * Returns 0 or -errno after one log line that names the listener, the address and the port.
 */
int listen_open(struct control *c, uint32_t worker, bool probe);

/** listen_start - let all sockets take connections. Returns 0 or -errno after a log line. */
int listen_start(struct control *c);

/** listen_close - close our copies, of all workers. */
void listen_close(struct control *c);

/** listen_put - take over the socket that an adopted worker sent. Consumes @fd. */
void listen_put(struct control *c, uint32_t worker, uint32_t listener, int fd);

static inline int *listen_at(struct control *c, uint32_t worker, uint32_t listener)
{
	return &c->listen_fd[worker * c->cfg->listeners.count + listener];
}

#endif
