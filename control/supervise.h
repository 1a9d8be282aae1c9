/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h - starts, watches, restarts and stops the processes of the hub. */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include "control.h"

/** supervise_open - find the programs, begin to tick. Returns 0 or -errno after a log line. */
int supervise_open(struct control *c);
void supervise_close(struct control *c);

/** supervise_start - start every process that does not run. */
void supervise_start(struct control *c);

/** supervise_adopt - @pid, at work already, is process @p: watch it. */
void supervise_adopt(struct process *p, pid_t pid, uint64_t incarnation);

/** supervise_adopted - its HELLO is answered; @state is what it said (enum mr_process_state). */
void supervise_adopted(struct process *p, uint32_t state);

/** supervise_ready, supervise_accepting - the process said so. */
void supervise_ready(struct process *p);
void supervise_accepting(struct process *p);

/** supervise_drain - stop: workers first, connectors after them, then the loop ends. */
void supervise_drain(struct control *c);
void supervise_drain_one(struct process *p);
void supervise_drain_next(struct control *c); /* a process has finished or ended: what follows? */

/** supervise_kill - end everything now. */
void supervise_kill(struct control *c);

/** supervise_running - how many processes are alive? */
uint32_t supervise_running(const struct control *c);

#endif
