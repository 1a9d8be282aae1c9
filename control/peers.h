/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - who talks to whom: rings between pairs of processes, and the journal tails they read from each other. */
#ifndef PEERS_H
#define PEERS_H

#include "control.h"

/** peers_announce - @p can take rings now (a worker: ready): give it fresh ones with every other process that can. */
void peers_announce(struct process *p);

/** peers_journal - @p has a journal: keep its tail and its duplicate table (or -1), both consumed, and tell the others.
 */
void peers_journal(struct process *p, const struct mr_link_msg *m, int tail_fd, int duplicates_fd);

/** peers_send_tails - tell @p all journals of the others that are known. */
void peers_send_tails(struct process *p);

/** peers_gone - @p is dead: tell everybody, forget its rings and tails. */
void peers_gone(struct process *p);

/** peers_adopted - @p was taken over: its rings with the others that were taken over still work. */
void peers_adopted(struct process *p);

/** peers_missing - after a take-over: tell @p which peers are not there, in case they died unseen. */
void peers_missing(struct process *p);

/** peers_settle - when every process is joined with all others, take the mark away that says "half joined". */
void peers_settle(struct control *c);

/** peers_unsettled - did the last control process die before all processes were joined? The mark stays until they are. */
bool peers_unsettled(struct control *c);

#endif
