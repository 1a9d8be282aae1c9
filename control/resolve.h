/* SPDX-License-Identifier: Apache-2.0 */
/* resolve.h - host names of destinations to addresses, in helper threads, because the resolver blocks. */
#ifndef RESOLVE_H
#define RESOLVE_H

#include "control.h"

/** resolve_open - start the threads. Returns 0 or -errno. */
int resolve_open(struct control *c);

/** resolve_close - stop using them; a look-up that hangs is left behind. */
void resolve_close(struct control *c);

/** resolve_ask - answer @p with RESOLVED for destination @dest, now (numeric) or later. */
void resolve_ask(struct resolver *r, struct process *p, uint64_t request, uint32_t dest);

/** resolve_addresses - the blocking look-up. @ret_addr has room for MR_LINK_ADDRS_MAX. Returns 0 or an EAI_ code. */
int resolve_addresses(const char *host, bool numeric_only, struct mr_link_addr *ret_addr, uint32_t *ret_count);

#endif
