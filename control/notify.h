/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - tells people and the service manager that the hub is ready or stopping. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include "control.h"

/** notify_ready - print the ready line, tell systemd. */
void notify_ready(struct control *c);

/** notify_stopping - tell systemd. */
void notify_stopping(void);

/** notify_ready_text - the ready line without "millrace: ". Returns @ret. */
char *notify_ready_text(struct control *c, char *ret, size_t ret_bytes);

#endif
