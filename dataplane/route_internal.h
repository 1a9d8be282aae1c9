/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_internal.h - the routing table as its two files see it: route_make.c builds it, route.c runs it. Nobody else
 * includes it.
 */
#ifndef ROUTE_INTERNAL_H
#define ROUTE_INTERNAL_H

#include "route.h"

#include <hs.h>

#define VALUES_MAX    4096        /* values kept per message, all paths together */
#define DECODED_BYTES (64u << 10) /* decoded values kept per message */

/* A value of a path, decoded. Bytes are in the message, in t->decoded or in t->scratch. */
struct route_value {
	const char *p;
	uint32_t bytes;
};

struct route_path {
	struct hl7_path path;
	bool in_msh;    /* the header answers it */
	bool walk;      /* this message: too much to keep, look it up for each test */
	uint32_t first; /* this message: values[first .. first + count) */
	uint32_t count;
	uint64_t message; /* number of the message that the above are of */
};

struct route_regex {
	hs_database_t *db;
};

/* The last result of one expression on one path: conditions of many routes repeat it. */
struct route_memo {
	uint64_t message;
	uint32_t path;
	bool result;
};

/* One route of one listener. */
struct route_entry {
	uint32_t route;
	uint32_t code, code_count;
	uint32_t dests, dest_count;
};

/* The routes of one listener, in file order. */
struct route_list {
	uint32_t first, count;      /* in t->entries */
	uint32_t order_path;        /* index into paths; UINT32_MAX: not ordered by a field */
	uint32_t gates, gate_count; /* in t->gates */
	uint64_t *open;             /* bit n: entry first + n is behind no gate */
};

/*
 * A gate: many routes of a listener ask first of all that one path equals one constant (MSH-4 == "LAB"). The message's
 * value says by one look-up which of them can take it; the others are not even begun, so a thousand such routes cost as
 * one.
 */
struct route_gate {
	uint32_t path;
	uint64_t *behind; /* bit n: entry first + n is behind it */
};

/* One constant of one gate: the entries that it lets through. */
struct route_key {
	uint32_t gate;     /* index into t->gates, plus 1; 0: an empty slot */
	uint32_t constant; /* index into consts */
	uint64_t hash;
	uint32_t first, count; /* in t->behind */
};

struct route_table {
	const struct mr_config *cfg;
	const struct mr_config_insn *code;
	const struct mr_config_const *consts;
	const uint16_t *dests;
	const char *strings;
	bool first_only;
	/* the message at hand */
	uint64_t message; /* counts up */
	const char *msg;  /* borrowed until the next one */
	uint32_t msg_bytes, listener;
	const struct hl7_msh *msh;
	struct hl7_index index;
	bool indexed;
	int failed; /* why it cannot be indexed */
	uint32_t value_count, decoded_bytes;
	struct route_value values[VALUES_MAX];
	/* tables */
	uint32_t path_count;
	struct route_path *paths;
	struct route_regex *regexes;
	struct route_memo *memos;
	struct route_entry *entries;
	struct route_list *lists;
	struct route_gate *gates;
	struct route_key *keys; /* open addressing */
	uint32_t *behind;       /* entries, relative to their listener's first */
	uint32_t gate_count, key_mask;
	uint64_t *hits;
	uint64_t *dest_seen; /* per destination: number of the message that has it already */
	char *decoded, *scratch;
	size_t scratch_bytes;
	hs_scratch_t *hs;
	void *index_memory;
	size_t index_bytes, memory_bytes;
};

/* The slot of a constant of a gate, or the empty one where it would be. */
struct route_key *route_key_find(const struct route_table *t, uint32_t gate, const char *value, uint32_t bytes);

#endif
