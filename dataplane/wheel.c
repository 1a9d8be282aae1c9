/* SPDX-License-Identifier: Apache-2.0 */
/* wheel.c - the timers of one core. Called by its thread only; never allocates. */
#include "wheel.h"

#include <string.h>

void wheel_init(struct wheel *w, uint64_t now_ns)
{
	memset(w, 0, sizeof(*w));
	w->done = now_ns / WHEEL_SLOT_NS;
}

void wheel_cancel(struct wheel *w, struct timer *t)
{
	if (!t->prev)
		return;
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->next = NULL;
	t->prev = NULL;
	w->armed--;
}

void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ns)
{
	uint64_t n = deadline_ns / WHEEL_SLOT_NS + 1;
	struct timer **slot;

	wheel_cancel(w, t);
	if (n <= w->done)
		n = w->done + 1; /* its slot is past: the next one to be fired */
	slot = &w->slot[n % WHEEL_SLOTS];
	t->deadline_ns = deadline_ns;
	t->next = *slot;
	t->prev = slot;
	if (t->next)
		t->next->prev = &t->next;
	*slot = t;
	w->armed++;
}

struct timer *wheel_fire(struct wheel *w, uint64_t now_ns)
{
	uint64_t now = now_ns / WHEEL_SLOT_NS;

	if (now > w->done + WHEEL_SLOTS)
		w->done = now - WHEEL_SLOTS; /* asleep for a whole turn: every slot is looked at once */
	while (w->done < now) {
		for (struct timer *t = w->slot[(w->done + 1) % WHEEL_SLOTS]; t; t = t->next)
			if (t->deadline_ns <= now_ns) {
				wheel_cancel(w, t);
				return t;
			}
		w->done++;
	}
	return NULL;
}

uint64_t wheel_wait_ns(const struct wheel *w, uint64_t now_ns, uint64_t max_ns)
{
	uint64_t last = (now_ns + max_ns) / WHEEL_SLOT_NS;

	if (!w->armed)
		return max_ns;
	for (uint64_t n = w->done + 1; n <= last; n++)
		if (w->slot[n % WHEEL_SLOTS]) {
			uint64_t at = n * WHEEL_SLOT_NS;

			return at > now_ns ? at - now_ns : 0;
		}
	return max_ns;
}
