/* SPDX-License-Identifier: Apache-2.0 */
/* backoff.h - how long to wait before a process that died is started again. */
#ifndef BACKOFF_H
#define BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_NS   100000000ull
#define BACKOFF_MAX_NS     10000000000ull
#define BACKOFF_HEALTHY_NS 30000000000ull /* a process that lived this long starts from the first wait again */

struct backoff {
	uint64_t next_ns; /* 0: never used */
};

/** backoff_next - the wait after a life of @lived_ns: 100 ms, doubling to 10 s; from the start after a healthy life. */
uint64_t backoff_next(struct backoff *b, uint64_t lived_ns);

#endif
