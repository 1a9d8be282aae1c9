/* SPDX-License-Identifier: Apache-2.0 */
/* takeover.h - a control process that is started while workers live takes them over instead of starting others. */
#ifndef TAKEOVER_H
#define TAKEOVER_H

#include "control.h"

/** takeover_living - does any process of the hub in @run live? @ret_max  largest incarnation seen per peer (optional).
 */
bool takeover_living(const char *run, uint64_t ret_incarnation[MR_PEERS_MAX]);

/** takeover_is_ours - is @pid one of our programs? Judged by the name it was started with. */
bool takeover_is_ours(pid_t pid);

/** takeover_begin - wait up to 3 s for living processes to say HELLO, then start the others. */
void takeover_begin(struct control *c);

/** takeover_adopted - @p has said HELLO and is at work. */
void takeover_adopted(struct process *p);

void takeover_close(struct control *c);

#endif
