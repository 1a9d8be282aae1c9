/* SPDX-License-Identifier: Apache-2.0 */
/* handoff.h - the link to each process: packets with descriptors over RUN/link.sock. The messages are in mr_link.h. */
#ifndef HANDOFF_H
#define HANDOFF_H

#include "control.h"

/** handoff_open - listen on RUN/link.sock. Returns 0 or -errno. */
int handoff_open(struct control *c);

/** handoff_close - drop all links and the socket. */
void handoff_close(struct control *c);

/**
 * handoff_send - send @m to @p, in order, as soon as its socket takes it. Nothing happens if it has no link.
 * @fds  Stay the caller's. Never blocks; what the socket does not take waits in memory here.
 */
void handoff_send(struct process *p, const struct mr_link_msg *m, const int *fds, uint32_t nfds);

/** handoff_send_simple - a message without a body. */
void handoff_send_simple(struct process *p, enum mr_link_type type);

/** handoff_drop - close the link of @p, if it has one. */
void handoff_drop(struct process *p);

/** handoff_idle - has every message been taken by the sockets? */
bool handoff_idle(const struct control *c);

#endif
