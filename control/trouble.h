/* SPDX-License-Identifier: Apache-2.0 */
/* trouble.h - what is wrong now: one entry and one log line per distinct trouble, with its count when it ends. */
#ifndef TROUBLE_H
#define TROUBLE_H

#include "control.h"

#define TROUBLE_MAX 256 /* further ones are logged, not kept */

struct trouble {
	const struct process *process; /* NULL: the hub's own */
	bool reported;                 /* by the process itself: ends with its life */
	uint32_t code, item;           /* item: destination or listener by the code, UINT32_MAX none */
	int64_t arg;
	int level;                  /* enum log_level */
	uint64_t first_ns, last_ns; /* realtime */
	uint64_t logged_ns;
	uint64_t count;
	char text[LOG_TEXT_MAX];
};

/** trouble_raise - something about @p (or the hub, NULL) is wrong; logged if it is new or reads differently. */
void trouble_raise(struct control *c, struct process *p, uint32_t code, uint32_t item, int64_t arg, const char *format,
                   ...) __attribute__((format(printf, 6, 7)));

/** trouble_over - it is over: one log line with its count; _silent: none. Nothing happens if it was not wrong. */
void trouble_over(struct control *c, struct process *p, uint32_t code, uint32_t item);
void trouble_over_silent(struct control *c, struct process *p, uint32_t code, uint32_t item);

/** trouble_from_process - a TROUBLE packet. */
void trouble_from_process(struct process *p, const struct mr_link_msg *m);

/** trouble_process_gone - what @p reported itself is forgotten: its next life says it again. */
void trouble_process_gone(struct control *c, const struct process *p);

/** trouble_expire - forget what has no end of its own and was not seen for ten minutes. Called by whoever lists them.
 */
void trouble_expire(struct control *c);

/** trouble_item_name - the listener's or destination's name, or NULL. */
const char *trouble_item_name(const struct control *c, uint32_t code, uint32_t item);

#endif
