/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - which destinations a message goes to: runs the compiled conditions of the configuration image.
 *
 * One table per core and configuration generation, made at adoption, used by that core only. Nothing is allocated per
 * message. A message is indexed only when a condition looks past its MSH segment, once for all routes.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "hl7.h"
#include "mr_config.h"

#ifdef __cplusplus
extern "C" {
#endif

struct route_table;

struct route_result {
	uint16_t dests[MR_MSG_DESTS_MAX]; /* destination indexes, unique, in the order of the routes that name them */
	uint32_t count;                   /* may be 0 although matched: a route with `to: []` */
	bool matched; /* some route took the message; else the listener's `unrouted` says what to do */
};

/**
 * route_create - make the table for a configuration image.
 *
 * @cfg  Checked (mr_config_check) and mapped as long as the table is used.
 * @ret  Written on success only; route_free() it.
 *
 * Allocates all that routing will ever need. The memory for the index of a message is reserved for the largest frame of
 * any listener, but only pages that a message really needs become resident, and large ones are given back.
 * Returns 0, -ENOMEM, or -EINVAL (a path or a regular expression of the image cannot be used on this machine).
 */
int route_create(const struct mr_config *cfg, struct route_table **ret);

/** route_free - release a table. NULL is legal. */
void route_free(struct route_table *t);

/**
 * route_message - find the destinations of one message.
 *
 * @listener  Index of the listener it came in by.
 * @msg       First byte of the message, @bytes long, borrowed until the next call (route_order_key() reads it too).
 * @msh       Its header, from hl7_msh_read() of the same bytes, borrowed as long.
 * @ret       Caller-owned. Written on success only.
 *
 * A value is compared after its escape sequences are decoded. A path with wild cards has the values of all places that
 * are populated; a path that names nothing populated has one value, the empty one.
 * Returns 0; -E2BIG if the routes that match name more than MR_MSG_DESTS_MAX destinations (refuse the message: it must
 * not go to a part of them); HL7_E_FULL or HL7_E_SIZE if it cannot be indexed (refuse it too).
 * Cost: a few ns per route that fails at its first test, plus one index pass where a condition looks past MSH.
 */
int route_message(struct route_table *t, uint32_t listener, const char *msg, uint32_t bytes, const struct hl7_msh *msh,
                  struct route_result *ret);

/**
 * route_order_key - the ordering key of the message given to the last route_message(), for a listener with
 * `order_by: <path>` (MR_ORDER_FIELD).
 *
 * Returns a hash of the value that the listener's path names, escapes decoded; of the empty value if there is none.
 * 0 for a listener that does not order by a field, or if the message could not be indexed.
 */
uint64_t route_order_key(struct route_table *t);

/** route_hits - messages that route @route (index in the image) has taken since the table was made. */
uint64_t route_hits(const struct route_table *t, uint32_t route);

/** route_memory_bytes - memory the table holds, without the reserve that is not resident; for the worker's start-up
 * line. */
size_t route_memory_bytes(const struct route_table *t);

#ifdef __cplusplus
}
#endif
#endif
