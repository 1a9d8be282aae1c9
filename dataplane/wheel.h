/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.h - timers of one core: a hashed wheel of 8 ms slots. Arming, re-arming and cancelling cost O(1); a timer fires
 * at most one slot late. A struct timer lives inside what it times; zeroed means not armed.
 */
#ifndef MILLRACE_WHEEL_H
#define MILLRACE_WHEEL_H

#include "abi/mr_base.h"

#define WHEEL_SLOTS   4096
#define WHEEL_SLOT_NS 8388608u /* 2^23: 8.4 ms, the wheel's turn is 34 s; later timers go round again */

struct timer {
	struct timer *next, **prev;
	uint64_t deadline_ns;
	uint32_t kind; /* the owner's, to tell what it is in */
};

struct wheel {
	struct timer *slot[WHEEL_SLOTS];
	uint64_t done; /* slot number up to which all was fired */
	uint64_t armed;
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ns); /* re-arms an armed one */
void wheel_cancel(struct wheel *w, struct timer *t);

/** wheel_fire - take out one timer that is due at @now_ns, or NULL. Call until NULL. */
struct timer *wheel_fire(struct wheel *w, uint64_t now_ns);

/** wheel_wait_ns - how long to sleep at most, looking @max_ns ahead. */
uint64_t wheel_wait_ns(const struct wheel *w, uint64_t now_ns, uint64_t max_ns);

#endif
