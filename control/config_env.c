/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_env.c - environment variables MILLRACE_... over the tree that the files made.
 *
 * Called by config_parse() only. A variable's name is matched against the schema and the names of the items that exist,
 * so that names with `_` in them are found whole. It must never guess: what fits twice is an error, what fits nothing a
 * warning.
 */
#include "config_tree.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLE_PREFIX "MILLRACE_"
#define VARIABLES_MAX   10000

/* Variables of the programs and the tests themselves, no settings. A star ends a prefix. */
static const char *const reserved[] = {"CONFIG", "CORPUS", "BUILD", "LOG", "KEEP", "SEED", "TEST_*"};

struct variable {
	const struct config_source *source; /* "NAME=value" */
	const char *rest;                   /* name after the prefix, NUL-terminated */
	const char *value;                  /* in the source's text */
};

static struct config_place place_of_name(const struct variable *v)
{
	return (struct config_place){v->source, 1, 1, (uint32_t)(v->value - v->source->text) - 1};
}

static char variable_char(char ch)
{
	return ch >= 'a' && ch <= 'z' ? (char)(ch - 32) : ch == '-' || ch == '.' ? '_' : ch;
}

/* Does @var begin with @path in the form of a variable's name? Returns what follows, else NULL. */
static const char *variable_after(const char *var, const char *path)
{
	for (; *path; path++, var++) {
		if (*var != variable_char(*path))
			return NULL;
	}
	return var;
}

/* The setting or group of a scope that @var names, as its path ("journal", "journal.segment"); the type too. */
static bool variable_setting(enum config_scope scope, const char *var, char *ret_path,
                             const struct config_setting **ret)
{
	for (uint32_t i = 0; config_setting_at(scope, i); i++) {
		const struct config_setting *s = config_setting_at(scope, i);
		const char *dot = strchr(s->path, '.'), *after;
		size_t n = strlen(s->path);

		after = variable_after(var, s->path);
		*ret = s;
		if ((!after || *after) && dot) {
			char group[MR_NAME_BYTES];

			n = (size_t)(dot - s->path);
			memcpy(group, s->path, n);
			group[n] = 0;
			after = variable_after(var, group);
			*ret = NULL;
		}
		if (after && !*after) {
			memcpy(ret_path, s->path, n);
			ret_path[n] = 0;
			return true;
		}
	}
	return false;
}

static struct config_node *variable_node(struct config *c, const struct variable *v, const char *text, uint32_t column)
{
	struct config_node *n = config_alloc(c, sizeof(*n));

	if (!n)
		return NULL;
	n->source = v->source;
	n->line = n->end_line = 1;
	n->column = column;
	n->length = (uint32_t)strlen(text);
	n->bytes = (uint32_t)strlen(text);
	n->style = strchr(text, '\n') ? CONFIG_BLOCK : CONFIG_PLAIN;
	n->text = config_copy(c, text, strlen(text));
	return n->text ? n : NULL;
}

/* Settings with one value take the text as it is; lists and maps are YAML. */
static struct config_node *variable_value(struct config *c, const struct variable *v, const struct config_setting *s)
{
	size_t bytes = strlen(v->value);
	bool is_list = s && (s->type == CONFIG_T_WORKERS || s->type == CONFIG_T_NAMES) && v->value[0] == '[';
	bool is_yaml = !s || s->type == CONFIG_T_ITEMS || s->type == CONFIG_T_LIST || is_list;

	if (is_yaml)
		return config_parse_text(c, v->source, v->value, bytes);
	return variable_node(c, v, v->value, (uint32_t)(v->value - v->source->text) + 1);
}

/* Gives @map the entry @key, in place of what it had. */
static void tree_set(struct config_node *map, struct config_node *key, struct config_node *value)
{
	struct config_node **at = &map->first;

	value->key = key;
	while (*at && strcmp((*at)->key->text, key->text) != 0)
		at = &(*at)->next;
	if (!*at) {
		config_node_append(map, value);
		return;
	}
	value->next = (*at)->next;
	if (map->last == *at)
		map->last = value;
	*at = value;
}

/* The map at @key of @map; made, in place of anything that is none. */
static struct config_node *tree_map(struct config *c, const struct variable *v, struct config_node *map,
                                    const char *key)
{
	struct config_node *n = config_child(map, key), *key_node;

	if (n && n->kind == CONFIG_MAP)
		return n;
	n = config_alloc(c, sizeof(*n));
	key_node = variable_node(c, v, key, 1);
	if (!n || !key_node)
		return NULL;
	n->kind = CONFIG_MAP;
	n->source = v->source;
	n->line = n->end_line = n->column = n->length = 1;
	tree_set(map, key_node, n);
	return n;
}

static void variable_set(struct config *c, const struct variable *v, struct config_node *map, const char *path,
                         const struct config_setting *s)
{
	struct config_node *value = variable_value(c, v, s), *key;
	const char *dot = strchr(path, '.');
	char group[MR_NAME_BYTES];

	if (!value || !map)
		return;
	if (dot) {
		snprintf(group, sizeof(group), "%.*s", (int)(dot - path), path);
		map = tree_map(c, v, map, group);
		path = dot + 1;
	}
	key = variable_node(c, v, path, 1);
	if (!map || !key)
		return;
	key->length = (uint32_t)(v->value - v->source->text) - 1;
	tree_set(map, key, value);
}

static const struct {
	const char *section;
	enum config_scope scope;
} sections[] = {{"listeners", CONFIG_LISTENER}, {"destinations", CONFIG_DEST}, {"routes", CONFIG_ROUTE}};

static const char *item_name(const struct config_node *item, uint32_t number, char *room, size_t room_bytes)
{
	const struct config_node *name = item->key ? item->key : config_child(item, "name");

	if (name && name->kind == CONFIG_SCALAR)
		return name->text;
	snprintf(room, room_bytes, "route-%u", number);
	return room;
}

/* LISTENERS_ADT_PORT of an item that exists. Returns how many items fit; the last one is set. */
static uint32_t variable_item(struct config *c, const struct variable *v, const char *rest,
                              const struct config_node *section, enum config_scope scope)
{
	char path[MR_NAME_BYTES], room[MR_NAME_BYTES], first[MR_NAME_BYTES] = "";
	const struct config_setting *s;
	uint32_t number = 0, found = 0;

	for (struct config_node *item = section ? section->first : NULL; item; item = item->next) {
		const char *name = item_name(item, ++number, room, sizeof(room)), *after = variable_after(rest, name);

		if (!after || *after != '_' || !variable_setting(scope, after + 1, path, &s))
			continue;
		if (found++) {
			config_say(c, place_of_name(v), CONFIG_E_ENVIRONMENT, "this fits \"%.64s\" and \"%.64s\"",
			           first, name);
			return found;
		}
		snprintf(first, sizeof(first), "%s", name);
		if (item->kind == CONFIG_NULL)
			item->kind = CONFIG_MAP;
		if (item->kind == CONFIG_MAP)
			variable_set(c, v, item, path, s);
	}
	return found;
}

/* LISTENERS_NEW_PORT: the setting is the longest that fits the end, what stands before it the name of a new item. */
static bool variable_new_item(struct config *c, const struct variable *v, const char *rest, const char *section_name,
                              enum config_scope scope)
{
	struct config_nearest near = {0};
	struct config_node *section, *item;
	const struct config_setting *s = NULL;
	char path[MR_NAME_BYTES], name[MR_NAME_BYTES];
	const char *end = rest;

	if (scope == CONFIG_ROUTE)
		return false;
	while ((end = strchr(end + (*end == '_'), '_')) && !variable_setting(scope, end + 1, path, &s))
		;
	if (!end || end == rest || (size_t)(end - rest) >= sizeof(name))
		return false;
	for (size_t i = 0; i < (size_t)(end - rest); i++)
		name[i] = rest[i] >= 'A' && rest[i] <= 'Z' ? (char)(rest[i] + 32) : rest[i];
	name[end - rest] = 0;
	section = tree_map(c, v, c->tree, section_name);
	if (!section)
		return true;
	near.text = name;
	for (item = section->first; item; item = item->next)
		config_nearest_try(&near, item->key->text, item->key);
	if (config_nearest_found(&near))
		config_hint_nearest(config_say(c, place_of_name(v), CONFIG_E_NEW_BY_VARIABLE,
		                               "this makes a new item \"%s\" of %s", name, section_name),
		                    &near);
	variable_set(c, v, tree_map(c, v, section, name), path, s);
	return true;
}

static void variable_apply(struct config *c, const struct variable *v)
{
	struct config_nearest near = {0};
	const struct config_setting *s;
	char path[MR_NAME_BYTES];
	const char *name;

	if (variable_setting(CONFIG_ROOT, v->rest, path, &s)) {
		variable_set(c, v, c->tree, path, s);
		return;
	}
	for (uint32_t i = 0; i < MR_ARRAY_LEN(sections); i++) {
		const char *rest = variable_after(v->rest, sections[i].section);

		if (!rest || *rest != '_')
			continue;
		if (variable_item(c, v, rest + 1, config_child(c->tree, sections[i].section), sections[i].scope) ||
		    variable_new_item(c, v, rest + 1, sections[i].section, sections[i].scope))
			return;
	}
	name = config_copy(c, v->source->text, (size_t)(v->value - v->source->text) - 1);
	if (!name)
		return;
	near.text = name;
	for (uint32_t i = 0; config_setting_at(CONFIG_ROOT, i); i++) {
		const char *from = config_setting_at(CONFIG_ROOT, i)->path;
		size_t n = strlen(VARIABLE_PREFIX);

		memcpy(path, VARIABLE_PREFIX, n);
		for (; *from; from++)
			path[n++] = variable_char(*from);
		path[n] = 0;
		config_nearest_try(&near, path, NULL);
	}
	config_hint_nearest(config_say(c, place_of_name(v), CONFIG_E_UNKNOWN_VARIABLE, "%.100s fits no setting", name),
	                    &near);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_reserved(const char *rest, size_t bytes)
{
	for (uint32_t i = 0; i < MR_ARRAY_LEN(reserved); i++) {
		size_t n = strcspn(reserved[i], "*");

		if ((reserved[i][n] ? bytes >= n : bytes == n) && memcmp(reserved[i], rest, n) == 0)
			return true;
	}
	return false;
}

/* Whole maps come before single settings in them, since shorter names sort first. Empty variables count as not set. */
void config_environment(struct config *c)
{
	const char **names;
	size_t count = 0, prefix = strlen(VARIABLE_PREFIX);

	if (!c->opt || !c->opt->environ)
		return;
	names = malloc(VARIABLES_MAX * sizeof(*names));
	if (!names) {
		c->no_memory = true;
		return;
	}
	for (char **e = c->opt->environ; *e && count < VARIABLES_MAX; e++) {
		if (strncmp(*e, VARIABLE_PREFIX, prefix) == 0 && strchr(*e, '='))
			names[count++] = *e;
	}
	qsort(names, count, sizeof(*names), by_text);
	for (size_t i = 0; i < count && !c->no_memory; i++) {
		const char *equals = strchr(names[i], '=');
		struct config_source *source;
		struct variable v;

		if (!equals[1] || is_reserved(names[i] + prefix, (size_t)(equals - names[i]) - prefix))
			continue;
		source = config_source_add(c, "environment", names[i], strlen(names[i]));
		v.rest = config_copy(c, names[i] + prefix, (size_t)(equals - names[i]) - prefix);
		if (!source || !v.rest)
			break;
		source->is_variable = true;
		v.source = source;
		v.value = v.source->text + (equals - names[i]) + 1;
		variable_apply(c, &v);
	}
	free(names);
}
