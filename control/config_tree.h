/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_tree.h - what the files of the configuration reader share; nobody else includes it.
 *
 * config_parse.c makes nodes from text and environment, config_check.c turns them into values by the schema,
 * config_route.c compiles conditions, config_compile.c writes the image. Everything lives in the configuration's arena
 * until config_free().
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "config.h"
#include "hl7.h"
#include "mr_config.h"

#define CONFIG_FILE_BYTES_MAX (4u << 20)
#define CONFIG_FILES_MAX      256
#define CONFIG_DEPTH_MAX      8
#define CONFIG_CHILDREN_MAX   5000
#define CONFIG_NODES_MAX      200000
#define CONFIG_SETTINGS_MAX   32 /* of one scope */

/* ---- text ---- */

struct config_source {
	const char *name; /* of the file; "environment", "default" */
	const char *text; /* the whole text, NUL-terminated */
	size_t bytes;
	bool is_variable; /* one of the environment */
	struct config_source *next;
};

enum config_node_kind { CONFIG_SCALAR, CONFIG_MAP, CONFIG_LIST, CONFIG_NULL };
enum config_node_style { CONFIG_PLAIN, CONFIG_SINGLE, CONFIG_DOUBLE, CONFIG_BLOCK };

struct config_node {
	enum config_node_kind kind;
	enum config_node_style style;
	const struct config_source *source;
	uint32_t line, column; /* from 1 */
	uint32_t end_line;
	uint32_t length;  /* characters to underline */
	const char *text; /* CONFIG_SCALAR: its value, NUL-terminated, no NUL inside */
	uint32_t bytes;
	uint32_t count;          /* children */
	struct config_node *key; /* of an entry of a map */
	struct config_node *first, *last, *next;
};

/* ---- settings ---- */

enum config_scope { CONFIG_ROOT, CONFIG_LISTENER, CONFIG_DEST, CONFIG_ROUTE };
enum config_type {
	CONFIG_T_SIZE,
	CONFIG_T_DURATION,
	CONFIG_T_COUNT,
	CONFIG_T_PORT,
	CONFIG_T_BOOL,
	CONFIG_T_WORD,
	CONFIG_T_ADDRESS,
	CONFIG_T_FOLDER,
	CONFIG_T_ENDPOINT,
	CONFIG_T_WORKERS,
	CONFIG_T_ORDER,
	CONFIG_T_NAME,
	CONFIG_T_NAMES,
	CONFIG_T_CONDITION,
	CONFIG_T_ITEMS,
	CONFIG_T_LIST,
	CONFIG_T_ABSENT,
};
enum config_kind { CONFIG_K_ANY, CONFIG_K_MLLP, CONFIG_K_FILE };
enum config_apply { CONFIG_A_RELOAD, CONFIG_A_RESTART };

struct config_setting {
	enum config_scope scope;
	enum config_kind kind;
	const char *path;
	enum config_type type;
	const char *words, *initial, *min, *max;
	enum config_apply apply;
	uint32_t offset, bytes; /* of the field in its scope's struct */
	const char *help;
};

extern const struct config_setting config_settings[];
extern const uint32_t config_setting_count;

/* ---- values ---- */

struct config_root {
	struct mr_config c;
	uint8_t unrouted;
	uint8_t duplicates_action;
};

/* Where the values of one listener, destination, route or of the top level were given. at[n]: the n-th setting of the
 * scope. */
struct config_item {
	const char *name;
	const struct config_node *node; /* NULL: nothing was given */
	const struct config_node *at[CONFIG_SETTINGS_MAX];
};

struct config_listener {
	struct mr_config_listener c;
	const char *order; /* path text for MR_ORDER_FIELD */
	struct config_item item;
};

struct config_dest {
	struct mr_config_dest c;
	const char *host, *folder;
	struct config_item item;
	bool used;
};

struct config_route {
	const char *name;
	uint16_t *listeners, *dests;
	uint32_t listener_count, dest_count;
	const char *when; /* NULL: no condition */
	const struct config_node *when_node;
	uint32_t code, code_count; /* into the pool */
	struct config_item item;
};

/* What conditions are made of, each thing once. Grown by realloc, released by config_route_free(). */
struct config_text {
	const char *text; /* arena */
	uint32_t bytes;
};

struct config_regex {
	struct config_text pattern;
	char *database; /* serialised; malloc()ed by Vectorscan */
	size_t bytes;
};

struct config_pool {
	struct mr_config_insn *code;
	struct config_text *paths, *consts;
	struct config_regex *regexes;
	uint32_t code_count, path_count, const_count, regex_count;
	uint32_t code_room, path_room, const_room, regex_room;
};

struct config_block;

struct config {
	struct config_block *blocks; /* the arena */
	struct config_source *sources;
	const struct config_source *built_in; /* the default configuration; NULL: files were given */
	struct config_report *report;         /* while loading */
	const struct config_options *opt;     /* while loading */
	struct config_node *tree;
	uint32_t nodes;
	bool no_memory;
	struct config_root root;
	struct config_item root_item;
	struct config_listener *listeners;
	struct config_dest *dests;
	struct config_route *routes;
	uint32_t listener_count, dest_count, route_count;
	struct config_pool pool;
	uint64_t text_hash;
	struct config_diag spare_diag; /* where a diagnostic goes that no longer fits the report */
};

/* ---- config_text.c: memory, units, words, diagnostics ---- */

/* From the arena, zeroed, 16-aligned; NULL and c->no_memory when there is none. */
void *config_alloc(struct config *c, size_t bytes);
char *config_copy(struct config *c, const char *text, size_t bytes);
void config_arena_free(struct config *c);

/* Makes room for one more in a malloc()ed array. Returns 0 or -ENOMEM (array unchanged). */
int config_grow(void **array, uint32_t count, uint32_t *room, size_t entry_bytes);

/* Values: 0 and the value; or CONFIG_E_UNIT, CONFIG_E_VALUE, CONFIG_E_RANGE (too large for 64 bits). */
int config_size(const char *text, uint64_t *ret_bytes);
int config_duration(const char *text, uint64_t *ret_ns);
int config_count(const char *text, uint64_t *ret);
int config_bool(const char *text, uint64_t *ret);
int config_word(const char *words, const char *text, uint64_t *ret_index);

/* The word of "a|b|c" at an index; "" past the end. @room for the result. */
const char *config_word_at(const char *words, uint32_t index, char *room, size_t room_bytes);

/* The nearest of candidates given one by one. Start with { .text = what was written }. */
struct config_nearest {
	const char *text;
	char best[MR_NAME_BYTES];
	uint32_t distance;
	const struct config_node *node; /* of the best one; may be NULL */
};

void config_nearest_try(struct config_nearest *n, const char *candidate, const struct config_node *node);
bool config_nearest_found(const struct config_nearest *n);

/* Where to point: a node, or @offset bytes into a scalar's value. */
struct config_place {
	const struct config_source *source;
	uint32_t line, column, length;
};

struct config_place config_place_of(const struct config_node *node);
struct config_place config_place_key(const struct config_node *entry);
struct config_place config_place_in(const struct config_node *scalar, uint32_t offset, uint32_t length);

/* Adds a diagnostic; returns its slot for a hint, never NULL (a spare one when the report is full). */
struct config_diag *config_say(struct config *c, struct config_place at, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void config_hint(struct config_diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void config_hint_nearest(struct config_diag *d, const struct config_nearest *n);
void config_report_sort(struct config_report *report);

/* ---- config_parse.c ---- */

/* Reads a YAML text into nodes; adds to the report. Returns NULL for an empty text or on errors. */
struct config_node *config_parse_text(struct config *c, const struct config_source *source, const char *yaml,
                                      size_t bytes);
/* All files, merged, and the environment: c->tree. Returns 0 or -ENOMEM; errors of the texts go to the report. */
int config_parse(struct config *c, const char *const *paths, uint32_t path_count);
/* A source made of a text that is no file; NULL without memory. */
struct config_source *config_source_add(struct config *c, const char *name, const char *text, size_t bytes);
void config_node_append(struct config_node *parent, struct config_node *n);
struct config_node *config_child(const struct config_node *map, const char *key);

/* ---- config_env.c ---- */

/* Puts the values of MILLRACE_... variables into c->tree. */
void config_environment(struct config *c);

/* ---- config_check.c ---- */

int config_check(struct config *c);
/* The n-th setting of a scope (as in config_item.at), or its number by path; -1 if there is none. */
const struct config_setting *config_setting_at(enum config_scope scope, uint32_t n);
int config_setting_find(enum config_scope scope, const char *path);
bool config_name_legal(const char *name);
/* A folder's absolute name, from the current folder. 0, CONFIG_E_VALUE (empty, too long) or CONFIG_E_FILE (no current
 * folder). */
int config_absolute(const char *folder, char *ret, size_t room);

/* ---- config_rules.c ---- */

/* What the schema cannot say: values worked out from others, and settings that do not go together. */
void config_rules(struct config *c);
/* The CPUs that this process may use, ascending. Returns how many; at most @room. */
uint32_t config_cpus(const struct config *c, int16_t *ret, uint32_t room);

/* ---- config_route.c ---- */

/* Compiles route->when into the pool; errors go to the report. */
int config_route_compile(struct config *c, struct config_route *route);
void config_route_free(struct config *c);

#endif
