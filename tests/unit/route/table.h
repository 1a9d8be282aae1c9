/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - what the tests of routing share: a configuration text to a routing table, and messages through it. */
#ifndef TABLE_H
#define TABLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config.h"
#include "route.h"

struct rig {
	struct config *config;
	struct mr_config *image;
	struct route_table *table;
};

/* Loads the text, compiles it and makes the table; stops the test if anything is wrong with it. */
struct rig rig_make(const char *yaml);
void rig_free(struct rig *r);

/* Routes one message of listener @listener; its bytes lie at the very end of an allocation. Returns route_message()'s
 * answer. */
int rig_route(struct rig *r, uint32_t listener, const char *msg, uint32_t bytes, struct route_result *ret);

/* Does a message match a condition? With one listener and one route. */
bool condition_takes(const char *condition, const char *msg);

#endif
