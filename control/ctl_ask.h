/* SPDX-License-Identifier: Apache-2.0 */
/* ctl_ask.h - questions to processes over the link, whose answers are collected with a time limit. */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include "control.h"

#define CTL_ASK_SECONDS 5

struct ctl_ask;

/**
 * ctl_ask_new - begin a question.
 * @on_answer  Each answer; may send more. @on_end  Once, when nothing is awaited any more or time is up; @missing
 * processes have not answered. The ask is freed after it.
 */
struct ctl_ask *ctl_ask_new(struct control *c, void *arg,
                            void (*on_answer)(struct ctl_ask *ask, void *arg, struct process *p,
                                              const struct mr_link_msg *m),
                            void (*on_end)(void *arg, uint32_t missing));

/** ctl_ask_send - ask @p; one question per process at a time. A process without a link counts as missing. */
void ctl_ask_send(struct ctl_ask *ask, struct process *p, struct mr_link_msg *m);

/** ctl_ask_go - all first questions are sent; ends at once if nothing is awaited. */
void ctl_ask_go(struct ctl_ask *ask);

void ctl_ask_answer(struct control *c, struct process *p, const struct mr_link_msg *m);
void ctl_ask_gone(struct control *c, struct process *p);

/** ctl_ask_end_all - the hub stops: every open question ends. */
void ctl_ask_end_all(struct control *c);

#endif
