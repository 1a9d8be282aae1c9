/* SPDX-License-Identifier: Apache-2.0 */
/* backoff.c - waits between restarts. Used by the supervisor (supervise.c) only; pure arithmetic, no clock of its own.
 */
#include "backoff.h"

uint64_t backoff_next(struct backoff *b, uint64_t lived_ns)
{
	uint64_t wait_ns = b->next_ns;

	if (!wait_ns || lived_ns >= BACKOFF_HEALTHY_NS)
		wait_ns = BACKOFF_FIRST_NS;
	b->next_ns = wait_ns * 2 < BACKOFF_MAX_NS ? wait_ns * 2 : BACKOFF_MAX_NS;
	return wait_ns;
}
