/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slow.h - conditions evaluated the slow and obvious way: by walking the expression and splitting the message anew for
 * every test. Shares no code with the parser, the compiler or the worker; the random test holds it against them.
 */
#ifndef SLOW_H
#define SLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOW_ALL (-1)

enum slow_op { SLOW_EQ, SLOW_NE, SLOW_IN, SLOW_NOT_IN, SLOW_MATCH, SLOW_EXISTS, SLOW_NOT, SLOW_AND, SLOW_OR };

struct slow_path {
	char segment[4];
	int sequence, field, repetition, component, subcomponent; /* 0: not given */
};

struct slow_expr {
	enum slow_op op;
	const struct slow_expr *a, *b;
	struct slow_path path;
	const char *strings[12]; /* EQ, NE, MATCH: one; IN: count */
	uint32_t count;
};

/* The message ends with a NUL and holds none. */
bool slow_takes(const struct slow_expr *e, const char *msg);

#endif
