/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_parse.c - files to one tree of nodes that know where they stand.
 *
 * Called by config_load() only. Reads YAML (and so JSON) by libyaml's events; every scalar stays text, the schema types
 * it. It must never follow what a text says: no aliases, no tags, no includes, and every size has a limit.
 */
#include "config_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* ---- sources ---- */

static struct config_place place_file(const struct config_source *s)
{
	return (struct config_place){s, 0, 0, 0};
}

struct config_source *config_source_add(struct config *c, const char *name, const char *text, size_t bytes)
{
	struct config_source *s = config_alloc(c, sizeof(*s)), **end = &c->sources;

	if (!s)
		return NULL;
	s->name = config_copy(c, name, strlen(name));
	s->text = text ? config_copy(c, text, bytes) : "";
	s->bytes = text ? bytes : 0;
	if (!s->name || !s->text)
		return NULL;
	while (*end)
		end = &(*end)->next;
	*end = s;
	return s;
}

/* The whole of a regular file into @buf. Returns the bytes, -errno, or -EFBIG. */
static ssize_t read_whole(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t have = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (have < room) {
		n = read(fd, buf + have, room - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	if (n < 0)
		n = -errno;
	close(fd);
	return n < 0 ? n : have == room ? -EFBIG : (ssize_t)have;
}

/* ---- YAML to nodes ---- */

struct reader {
	struct config *c;
	const struct config_source *source;
	uint32_t column_shift; /* of the first line: an environment variable's name stands before the text */
	yaml_parser_t parser;
	bool failed; /* an error is in the report */
};

static struct config_place reader_place(const struct reader *r, yaml_mark_t mark)
{
	uint32_t line = (uint32_t)mark.line + 1;

	return (struct config_place){r->source, line, (uint32_t)mark.column + 1 + (line == 1 ? r->column_shift : 0), 1};
}

/* Line and column of a byte, for what libyaml's byte reader refuses. */
static struct config_place place_byte(const struct reader *r, size_t offset)
{
	struct config_place at = {NULL, 1, 1, 1};
	/* `offset` counts from the text that was given to libyaml, which is the end of the source's. */
	for (size_t i = 0; i < offset + r->column_shift && i < r->source->bytes; i++) {
		if (r->source->text[i] == '\n') {
			at.line++;
			at.column = 1;
		} else if (((unsigned char)r->source->text[i] & 0xc0) != 0x80) {
			at.column++;
		}
	}
	at.source = r->source;
	return at;
}

/* Is the character that libyaml stopped at a tab? @index: its number, from the text that was given to libyaml. */
static bool at_tab(const struct reader *r, size_t index)
{
	const char *p = r->source->text + r->column_shift, *end = r->source->text + r->source->bytes;

	for (; p < end && index; index--)
		do
			p++;
		while (p < end && ((unsigned char)*p & 0xc0) == 0x80);
	return p < end && *p == '\t';
}

static void say_yaml(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	struct config_diag *d;

	r->failed = true;
	if (p->error == YAML_MEMORY_ERROR) {
		r->c->no_memory = true;
		return;
	}
	if (p->error == YAML_READER_ERROR) {
		struct config_place at = place_byte(r, p->problem_offset);

		d = config_say(r->c, at, CONFIG_E_SYNTAX, "not a text in UTF-8: %s", p->problem);
		d->source[0] = 0;
		return;
	}
	if (at_tab(r, p->problem_mark.index)) {
		d = config_say(r->c, reader_place(r, p->problem_mark), CONFIG_E_SYNTAX,
		               "a tab character where YAML allows none");
		config_hint(d, "indent with spaces");
		return;
	}
	d = config_say(r->c, reader_place(r, p->problem_mark), CONFIG_E_SYNTAX, "%s%s%s",
	               p->problem ? p->problem : "not YAML", p->context ? " " : "", p->context ? p->context : "");
	if (p->context && strstr(p->context, "alias"))
		config_hint(d, "a value that begins with * or & needs quotes: \"*\"");
	else if (p->problem && strstr(p->problem, "cannot start any token"))
		config_hint(d, "quote the value");
}

static struct config_node *node_add(struct reader *r, enum config_node_kind kind, const yaml_event_t *e)
{
	struct config *c = r->c;
	struct config_node *n;
	struct config_place at = reader_place(r, e->start_mark);

	if (++c->nodes > CONFIG_NODES_MAX) {
		config_say(c, at, CONFIG_E_TOO_BIG, "more than %u values in one configuration", CONFIG_NODES_MAX);
		r->failed = true;
		return NULL;
	}
	n = config_alloc(c, sizeof(*n));
	if (!n)
		return NULL;
	n->kind = kind;
	n->source = r->source;
	n->line = at.line;
	n->column = at.column;
	n->end_line = (uint32_t)e->end_mark.line + 1;
	n->length = 1;
	return n;
}

static bool refuse_anchor(struct reader *r, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (!anchor && !tag)
		return false;
	config_say(r->c, reader_place(r, e->start_mark), CONFIG_E_ALIAS, "%s are not supported: write the value out",
	           anchor ? "anchors" : "tags");
	r->failed = true;
	return true;
}

static struct config_node *read_scalar(struct reader *r, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t bytes = e->data.scalar.length;
	struct config_node *n;

	if (refuse_anchor(r, e, e->data.scalar.anchor, e->data.scalar.tag))
		return NULL;
	n = node_add(r, CONFIG_SCALAR, e);
	if (!n)
		return NULL;
	if (memchr(text, 0, bytes)) {
		config_say(r->c, config_place_of(n), CONFIG_E_VALUE, "a NUL character inside a value");
		r->failed = true;
		return NULL;
	}
	n->text = config_copy(r->c, text, bytes);
	n->bytes = (uint32_t)bytes;
	switch (e->data.scalar.style) {
	case YAML_SINGLE_QUOTED_SCALAR_STYLE:
		n->style = CONFIG_SINGLE;
		break;
	case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
		n->style = CONFIG_DOUBLE;
		break;
	case YAML_PLAIN_SCALAR_STYLE:
		n->style = CONFIG_PLAIN;
		if (!bytes || strcmp(text, "~") == 0 || strcmp(text, "null") == 0)
			n->kind = CONFIG_NULL;
		break;
	default:
		n->style = CONFIG_BLOCK;
	}
	if (n->line == n->end_line && e->end_mark.column > e->start_mark.column)
		n->length = (uint32_t)(e->end_mark.column - e->start_mark.column);
	return n->text ? n : NULL;
}

static bool next_event(struct reader *r, yaml_event_t *e)
{
	if (yaml_parser_parse(&r->parser, e))
		return true;
	say_yaml(r);
	return false;
}

struct config_node *config_child(const struct config_node *map, const char *key)
{
	for (struct config_node *n = map ? map->first : NULL; n; n = n->next) {
		if (n->key && strcmp(n->key->text, key) == 0)
			return n;
	}
	return NULL;
}

void config_node_append(struct config_node *parent, struct config_node *n)
{
	n->next = NULL;
	if (parent->last)
		parent->last->next = n;
	else
		parent->first = n;
	parent->last = n;
	parent->count++;
}

static struct config_node *read_node(struct reader *r, const yaml_event_t *e, uint32_t depth);

static void say_duplicate(struct config *c, const struct config_node *again, const struct config_node *first)
{
	config_say(c, config_place_key(again), CONFIG_E_DUPLICATE, "\"%.64s\" is given twice; first at %.200s:%u",
	           again->key->text, first->source->name, first->key->line);
}

/* The key and the value of one entry. The event is the key's. */
static struct config_node *read_entry(struct reader *r, const yaml_event_t *e, uint32_t depth)
{
	struct config_node *key, *value;
	yaml_event_t next;

	if (e->type != YAML_SCALAR_EVENT) {
		config_say(r->c, reader_place(r, e->start_mark), CONFIG_E_SHAPE, "a key must be a single word");
		r->failed = true;
		return NULL;
	}
	key = read_scalar(r, e);
	if (!key || !next_event(r, &next))
		return NULL;
	value = read_node(r, &next, depth);
	yaml_event_delete(&next);
	if (value)
		value->key = key;
	return value;
}

static struct config_node *read_children(struct reader *r, const yaml_event_t *start, enum config_node_kind kind,
                                         uint32_t depth)
{
	struct config_node *parent = node_add(r, kind, start);
	yaml_event_t e;

	if (!parent)
		return NULL;
	if (depth > CONFIG_DEPTH_MAX) {
		config_say(r->c, config_place_of(parent), CONFIG_E_TOO_BIG, "nested more than %u deep",
		           CONFIG_DEPTH_MAX);
		r->failed = true;
		return NULL;
	}
	while (next_event(r, &e)) {
		struct config_node *n;
		bool end = e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT;

		n = end ? NULL : kind == CONFIG_MAP ? read_entry(r, &e, depth + 1) : read_node(r, &e, depth + 1);
		yaml_event_delete(&e);
		if (end)
			return parent;
		if (!n)
			return NULL;
		if (parent->count >= CONFIG_CHILDREN_MAX) {
			config_say(r->c, config_place_key(n), CONFIG_E_TOO_BIG, "more than %u entries in one place",
			           CONFIG_CHILDREN_MAX);
			r->failed = true;
			return NULL;
		}
		if (kind == CONFIG_MAP && config_child(parent, n->key->text))
			say_duplicate(r->c, n, config_child(parent, n->key->text));
		else
			config_node_append(parent, n);
	}
	return NULL;
}

static struct config_node *read_node(struct reader *r, const yaml_event_t *e, uint32_t depth)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(r, e);
	case YAML_MAPPING_START_EVENT:
		if (refuse_anchor(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag))
			return NULL;
		return read_children(r, e, CONFIG_MAP, depth);
	case YAML_SEQUENCE_START_EVENT:
		if (refuse_anchor(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag))
			return NULL;
		return read_children(r, e, CONFIG_LIST, depth);
	default: {
		struct config_diag *d = config_say(r->c, reader_place(r, e->start_mark), CONFIG_E_ALIAS,
		                                   "aliases are not supported: write the value out");

		config_hint(d, "a value that begins with * needs quotes: \"*\"");
		r->failed = true;
		return NULL;
	}
	}
}

/* All events of a text. Stops at the first error: what follows one is guesswork. */
static struct config_node *read_document(struct reader *r)
{
	struct config_node *tree = NULL;
	bool end = false;
	yaml_event_t e;

	while (!end && next_event(r, &e)) {
		switch (e.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
			end = true;
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (tree) {
				config_say(r->c, reader_place(r, e.start_mark), CONFIG_E_ALIAS,
				           "a second document in one file");
				r->failed = end = true;
			}
			break;
		default:
			tree = read_node(r, &e, 1);
			end = !tree;
		}
		yaml_event_delete(&e);
	}
	return r->failed || r->c->no_memory ? NULL : tree;
}

struct config_node *config_parse_text(struct config *c, const struct config_source *source, const char *yaml,
                                      size_t bytes)
{
	struct reader r = {.c = c, .source = source, .column_shift = (uint32_t)(yaml - source->text)};
	struct config_node *tree;

	if (!yaml_parser_initialize(&r.parser)) {
		c->no_memory = true;
		return NULL;
	}
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml, bytes);
	tree = read_document(&r);
	yaml_parser_delete(&r.parser);
	return tree;
}

/* ---- files to one tree ---- */

/* Adds the entries of a file's top level. Maps and the list of routes add up; anything else may be given once. */
static void merge(struct config *c, const struct config_node *file)
{
	struct config_node *next;

	for (struct config_node *n = file->first; n; n = next) {
		struct config_node *have = config_child(c->tree, n->key->text), *child, *after;

		next = n->next;
		if (!have) {
			config_node_append(c->tree, n);
			continue;
		}
		if (have->kind != n->kind || (n->kind != CONFIG_MAP && n->kind != CONFIG_LIST)) {
			say_duplicate(c, n, have);
			continue;
		}
		for (child = n->first; child; child = after) {
			after = child->next;
			if (n->kind == CONFIG_MAP && config_child(have, child->key->text))
				say_duplicate(c, child, config_child(have, child->key->text));
			else
				config_node_append(have, child);
		}
	}
}

static void parse_source(struct config *c, const struct config_source *s)
{
	struct config_node *file = config_parse_text(c, s, s->text, s->bytes);

	if (!file || file->kind == CONFIG_NULL)
		return;
	if (file->kind == CONFIG_MAP)
		merge(c, file);
	else
		config_say(c, config_place_of(file), CONFIG_E_SHAPE,
		           "a configuration is a map: `key: value` lines, or {...} in JSON");
}

static void parse_file(struct config *c, const char *path, char *buf)
{
	ssize_t n = read_whole(path, buf, CONFIG_FILE_BYTES_MAX);
	struct config_source *s = config_source_add(c, path, n >= 0 ? buf : NULL, n >= 0 ? (size_t)n : 0);

	if (!s)
		return;
	c->report->files++;
	if (n == -EFBIG)
		config_say(c, place_file(s), CONFIG_E_TOO_BIG, "a file of %u MiB or more", CONFIG_FILE_BYTES_MAX >> 20);
	else if (n < 0)
		config_say(c, place_file(s), CONFIG_E_FILE, "cannot read: %s", strerror((int)-n));
	else if (memchr(buf, 0, (size_t)n))
		config_say(c, place_file(s), CONFIG_E_SYNTAX, "not a text in UTF-8: it holds a NUL byte");
	else
		parse_source(c, s);
}

static int is_config_name(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');

	return e->d_name[0] != '.' && dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void parse_folder(struct config *c, const char *path, char *buf)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_config_name, by_name);
	struct config_source *s = n > 0 && n <= CONFIG_FILES_MAX ? NULL : config_source_add(c, path, NULL, 0);

	if (n < 0 && s)
		config_say(c, place_file(s), CONFIG_E_FILE, "cannot read: %s", strerror(errno));
	else if (n == 0 && s)
		config_say(c, place_file(s), CONFIG_E_FILE, "a folder without *.yaml, *.yml or *.json files");
	else if (n > CONFIG_FILES_MAX && s)
		config_say(c, place_file(s), CONFIG_E_TOO_BIG, "more than %u files", CONFIG_FILES_MAX);
	for (int i = 0; i < n; i++) {
		char file[4096];
		bool slash = path[strlen(path) - 1] == '/';
		int length = snprintf(file, sizeof(file), "%s%s%s", path, slash ? "" : "/", names[i]->d_name);

		if (n <= CONFIG_FILES_MAX && length > 0 && (size_t)length < sizeof(file))
			parse_file(c, file, buf);
		free(names[i]);
	}
	free(names);
}

static void parse_default(struct config *c)
{
	const char *text = config_default_text();
	struct config_source *s = config_source_add(c, "default", text, strlen(text));

	c->built_in = s;
	if (s)
		parse_source(c, s);
}

int config_parse(struct config *c, const char *const *paths, uint32_t path_count)
{
	char *buf = malloc(CONFIG_FILE_BYTES_MAX);
	struct stat st;

	c->tree = config_alloc(c, sizeof(*c->tree));
	if (!buf || !c->tree) {
		free(buf);
		return -ENOMEM;
	}
	c->tree->kind = CONFIG_MAP;
	if (!path_count)
		parse_default(c);
	for (uint32_t i = 0; i < path_count; i++) {
		if (stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode))
			parse_folder(c, paths[i], buf);
		else
			parse_file(c, paths[i], buf);
	}
	free(buf);
	config_environment(c);
	return c->no_memory ? -ENOMEM : 0;
}
