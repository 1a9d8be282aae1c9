/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check.c - the tree of nodes to values, by the schema table: types, units, ranges, unknown and missing keys,
 * names.
 *
 * Called by config_load(). Every error is reported and reading goes on with the default, so that one run shows all.
 */
#include "config_tree.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the schema ---- */

#define SCOPE_ROOT     struct config_root
#define SCOPE_LISTENER struct config_listener
#define SCOPE_DEST     struct config_dest
#define SCOPE_ROUTE    struct config_route

const struct config_setting config_settings[] = {
#define CONFIG_SETTING(scope, kind, path, type, words, initial, min, max, apply, field, help)                          \
	{CONFIG_##scope,                                                                                               \
	 CONFIG_K_##kind,                                                                                              \
	 path,                                                                                                         \
	 CONFIG_T_##type,                                                                                              \
	 words,                                                                                                        \
	 initial,                                                                                                      \
	 min,                                                                                                          \
	 max,                                                                                                          \
	 CONFIG_A_##apply,                                                                                             \
	 offsetof(SCOPE_##scope, field),                                                                               \
	 sizeof(((SCOPE_##scope *)0)->field),                                                                          \
	 help},
#include "config_schema.def"
#undef CONFIG_SETTING
};
const uint32_t config_setting_count = MR_ARRAY_LEN(config_settings);

const struct config_setting *config_setting_at(enum config_scope scope, uint32_t n)
{
	for (uint32_t i = 0; i < config_setting_count; i++) {
		if (config_settings[i].scope == scope && n-- == 0)
			return &config_settings[i];
	}
	return NULL;
}

int config_setting_find(enum config_scope scope, const char *path)
{
	int n = 0;

	for (uint32_t i = 0; i < config_setting_count; i++) {
		if (config_settings[i].scope != scope)
			continue;
		if (strcmp(config_settings[i].path, path) == 0)
			return n;
		n++;
	}
	return -1;
}

static const char *const scope_names[] = {"the top level", "a listener", "a destination", "a route"};

bool config_name_legal(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n >= MR_NAME_BYTES || name[0] == '-' || name[0] == '_')
		return false;
	for (size_t i = 0; i < n; i++) {
		char ch = name[i];

		if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' ||
		      ch == '_'))
			return false;
	}
	return true;
}

/* ---- one value ---- */

/* A value being read: which setting, of what, and where it was given. */
struct reading {
	struct config *c;
	const struct config_setting *s;
	void *base;                     /* struct of the setting's scope */
	const struct config_node *node; /* NULL: the default */
	const char *text;
};

static struct config_diag *say(const struct reading *r, uint32_t code, const char *text)
{
	struct config_place at = {0};

	must(r->node); /* else a default of the table is wrong */
	at = config_place_of(r->node);
	return config_say(r->c, at, code, "%s", text);
}

static void store(const struct reading *r, uint64_t value)
{
	char *p = (char *)r->base + r->s->offset;

	/* Little-endian, as everything that Millrace runs on. */
	must(r->s->bytes <= sizeof(value));
	must(r->s->bytes == 8 || value >> (r->s->bytes * 8) == 0);
	memcpy(p, &value, r->s->bytes);
}

static void say_unit(const struct reading *r, int rc)
{
	bool size = r->s->type == CONFIG_T_SIZE;
	const char *rest = r->text + strspn(r->text, "0123456789 ");
	char text[300];

	if (rc == CONFIG_E_UNIT && !*rest)
		snprintf(text, sizeof(text), "\"%.40s\" has no unit: write %.40s%s or %.40s%s", r->text, r->text,
		         size ? "KiB" : "ms", r->text, size ? "MiB" : "s");
	else if (rc == CONFIG_E_UNIT)
		snprintf(text, sizeof(text), "\"%.40s\" is no unit of %s; legal: %s", rest, size ? "size" : "time",
		         size ? "B KiB MiB GiB TiB KB MB GB TB" : "ns us ms s min h d");
	else if (rc == CONFIG_E_RANGE)
		snprintf(text, sizeof(text), "\"%.40s\" is too large", r->text);
	else
		snprintf(text, sizeof(text), "\"%.40s\" is no %s: write a whole number and its unit, as %s", r->text,
		         size ? "size" : "duration", size ? "64MiB" : "30s");
	say(r, (uint32_t)rc, text);
}

static int number(enum config_type type, const char *text, uint64_t *ret)
{
	if (type == CONFIG_T_SIZE)
		return config_size(text, ret);
	if (type == CONFIG_T_DURATION)
		return config_duration(text, ret);
	return config_count(text, ret);
}

static void set_number(const struct reading *r)
{
	uint64_t value, min = 0, max = UINT64_MAX;
	int rc = number(r->s->type, r->text, &value);
	char text[300];

	if (rc && (r->s->type == CONFIG_T_COUNT || r->s->type == CONFIG_T_PORT)) {
		snprintf(text, sizeof(text),
		         rc == CONFIG_E_RANGE ? "\"%.60s\" is too large" : "\"%.60s\" is no whole number", r->text);
		say(r, (uint32_t)rc, text);
		return;
	}
	if (rc) {
		say_unit(r, rc);
		return;
	}
	must(!*r->s->min || !number(r->s->type, r->s->min, &min));
	must(!*r->s->max || !number(r->s->type, r->s->max, &max));
	if (value < min || value > max) {
		snprintf(text, sizeof(text), "\"%.60s\" is outside %s to %s", r->text, r->s->min, r->s->max);
		say(r, CONFIG_E_RANGE, text);
		return;
	}
	store(r, value);
}

static void legal_words(const char *words, char *ret, size_t room)
{
	size_t n = 0;

	for (; *words && n + 3 < room; words++) {
		ret[n++] = *words == '|' ? ',' : *words;
		if (*words == '|')
			ret[n++] = ' ';
	}
	ret[n] = 0;
}

static void say_word(const struct reading *r, const char *words, const char *more)
{
	struct config_nearest near = {.text = r->text};
	char legal[200], text[400], word[MR_NAME_BYTES];

	legal_words(words, legal, sizeof(legal));
	snprintf(text, sizeof(text), "\"%.60s\" is not legal here; legal: %s%s", r->text, legal, more);
	for (uint32_t i = 0; *config_word_at(words, i, word, sizeof(word)); i++)
		config_nearest_try(&near, word, NULL);
	config_hint_nearest(say(r, CONFIG_E_VALUE, text), &near);
}

static void set_word(const struct reading *r)
{
	uint64_t value;

	if (r->s->type == CONFIG_T_BOOL ? config_bool(r->text, &value) : config_word(r->s->words, r->text, &value))
		say_word(r, r->s->type == CONFIG_T_BOOL ? "true|false" : r->s->words, "");
	else
		store(r, value);
}

static void set_order(const struct reading *r)
{
	struct config_listener *l = r->base;
	struct hl7_path path;
	uint64_t value;

	if (config_word(r->s->words, r->text, &value) == 0) {
		store(r, value);
	} else if (hl7_path_compile(r->text, (uint32_t)strlen(r->text), &path, NULL) == 0) {
		store(r, MR_ORDER_FIELD);
		l->order = r->text;
	} else {
		say_word(r, r->s->words, ", or an HL7 path as PID-3.1");
	}
}

static void set_address(const struct reading *r)
{
	char *to = (char *)r->base + r->s->offset;
	unsigned char address[16];

	if (strcmp(r->text, "*") == 0) {
		to[0] = 0;
	} else if (strlen(r->text) < r->s->bytes &&
	           (inet_pton(AF_INET, r->text, address) == 1 || inet_pton(AF_INET6, r->text, address) == 1)) {
		memset(to, 0, r->s->bytes);
		memcpy(to, r->text, strlen(r->text));
	} else {
		char text[300];

		snprintf(text, sizeof(text), "\"%.60s\" is no numeric IPv4 or IPv6 address", r->text);
		config_hint(say(r, CONFIG_E_VALUE, text), "\"*\" stands for all addresses");
	}
}

int config_absolute(const char *folder, char *ret, size_t room)
{
	char path[1200], cwd[512] = "";
	const char *p = folder;
	size_t n;

	if (!*folder)
		return CONFIG_E_VALUE;
	if (*folder != '/' && !getcwd(cwd, sizeof(cwd)))
		return CONFIG_E_FILE;
	while (*p == '.' && (p[1] == '/' || !p[1])) {
		p += p[1] ? 2 : 1;
		p += strspn(p, "/");
	}
	n = (size_t)snprintf(path, sizeof(path), "%s%s%s", strcmp(cwd, "/") ? cwd : "",
	                     *folder == '/' || !*p ? "" : "/", p);
	if (n >= sizeof(path))
		return CONFIG_E_VALUE;
	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	if (n >= room)
		return CONFIG_E_VALUE;
	memcpy(ret, n ? path : "/", n ? n + 1 : 2);
	return 0;
}

static void set_folder(const struct reading *r)
{
	char path[sizeof(((struct mr_config *)0)->data)];
	bool in_data = r->s->scope == CONFIG_DEST && r->node->source == r->c->built_in;
	int rc = config_absolute(r->text, path, sizeof(path));

	if (in_data) { /* config_rules() puts it into the data folder, which is not known yet */
		snprintf(path, sizeof(path), "%s", r->text);
	} else if (rc) {
		say(r, (uint32_t)rc,
		    rc == CONFIG_E_FILE ? "a relative folder, and the current folder has no usable name"
		    : !*r->text         ? "the name of a folder is empty"
		                        : "a folder's absolute name may have 511 bytes");
		return;
	}
	if (r->s->scope == CONFIG_ROOT) {
		memcpy((char *)r->base + r->s->offset, path, strlen(path) + 1);
	} else {
		((struct config_dest *)r->base)->folder = config_copy(r->c, path, strlen(path));
		((struct config_dest *)r->base)->c.kind = MR_DEST_FILE;
	}
}

static bool host_legal(const char *host, size_t n)
{
	char text[256];
	unsigned char address[16];

	if (n < 1 || n >= sizeof(text) - 1)
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)n, host);
	if (memchr(host, ':', n))
		return inet_pton(AF_INET6, text, address) == 1;
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == n;
}

static void set_endpoint(const struct reading *r)
{
	struct config_dest *d = r->base;
	const char *host = r->text, *colon = strrchr(r->text, ':');
	size_t n = colon ? (size_t)(colon - host) : 0;
	bool bracket = host[0] == '[' && n > 2 && host[n - 1] == ']';
	uint64_t port = 0;
	struct config_diag *diag;
	char text[300];

	d->c.kind = MR_DEST_MLLP;
	if (colon && !bracket && memchr(host, ':', n)) {
		diag = say(r, CONFIG_E_VALUE, "an IPv6 address needs brackets");
		config_hint(diag, "write \"[2001:db8::1]:6661\"");
		return;
	}
	if (bracket) {
		host++;
		n -= 2;
	}
	if (!colon || !host_legal(host, n) || config_count(colon + 1, &port) || (bracket && !memchr(host, ':', n))) {
		snprintf(text, sizeof(text), "\"%.100s\" is no receiver: write host:port or [IPv6]:port", r->text);
		say(r, CONFIG_E_VALUE, text);
		return;
	}
	if (port < 1 || port > 65535) {
		say(r, CONFIG_E_RANGE, "the port is outside 1 to 65535");
		return;
	}
	d->host = config_copy(r->c, host, n);
	d->c.port = (uint16_t)port;
}

static void set_name(const struct reading *r)
{
	if (config_name_legal(r->text))
		((struct config_route *)r->base)->name = r->text;
	else
		say(r, CONFIG_E_NAME,
		    "a name has 1 to 63 letters, digits, `_` or `-`, and begins with a letter or a digit");
}

/* "3" or "2-5": adds CPUs that this process may use, once each. */
static void add_cpus(const struct reading *r)
{
	struct mr_config *m = &((struct config_root *)r->base)->c;
	int16_t legal[1024];
	uint32_t legal_count = config_cpus(r->c, legal, MR_ARRAY_LEN(legal));
	unsigned first, last;
	char end, text[300];
	int n = sscanf(r->text, "%4u-%4u%c", &first, &last, &end);

	if (n == 1 && strspn(r->text, "0123456789") == strlen(r->text))
		last = first;
	else if (n != 2 || last < first) {
		snprintf(text, sizeof(text), "\"%.60s\" is no CPU; write its number, or a range as 2-5", r->text);
		say(r, CONFIG_E_VALUE, text);
		return;
	}
	for (unsigned cpu = first; cpu <= last; cpu++) {
		bool known = false, again = false;

		for (uint32_t i = 0; i < legal_count; i++)
			known |= (unsigned)legal[i] == cpu;
		for (uint32_t i = 0; i < m->workers; i++)
			again |= (unsigned)m->cpus[i] == cpu;
		if (!known || again || m->workers >= MR_WORKERS_MAX) {
			snprintf(text, sizeof(text),
			         !known  ? "CPU %u is not one that may be used here"
			         : again ? "CPU %u is given twice"
			                 : "more than 64 workers, at CPU %u",
			         cpu);
			say(r, !known ? CONFIG_E_CPU : again ? CONFIG_E_DUPLICATE : CONFIG_E_TOO_MANY, text);
			return;
		}
		m->cpus[m->workers++] = (int16_t)cpu;
	}
}

static void set_workers(struct reading *r)
{
	struct mr_config *m = &((struct config_root *)r->base)->c;
	uint64_t count;

	if (r->node && r->node->kind == CONFIG_LIST) {
		const struct config_node *list = r->node;

		if (!list->first)
			say(r, CONFIG_E_VALUE, "a list of CPUs needs at least one");
		for (r->node = list->first; r->node; r->node = r->node->next) {
			r->text = r->node->text;
			if (r->node->kind == CONFIG_SCALAR)
				add_cpus(r);
			else
				say(r, CONFIG_E_SHAPE, "a CPU is a number, or a range as 2-5");
		}
		return;
	}
	if (strcmp(r->text, "auto") == 0)
		return; /* 0 so far: config_rules() shares out the CPUs */
	if (config_count(r->text, &count)) {
		say_word(r, "auto", ", a number of workers, or a list of CPUs as [2, 3]");
	} else if (count < 1 || count > MR_WORKERS_MAX) {
		say(r, CONFIG_E_RANGE, "a hub has 1 to 64 workers");
	} else {
		m->workers = (uint16_t)count;
		m->cpus[0] = INT16_MIN; /* to be shared out */
	}
}

/* `auto` where that is the default: config_rules() works it out. */
static bool is_worked_out(const struct reading *r)
{
	return r->text && r->s->type != CONFIG_T_WORD && strcmp(r->s->initial, "auto") == 0 &&
	       strcmp(r->text, "auto") == 0;
}

static void set_scalar(struct reading *r)
{
	if (is_worked_out(r))
		return;
	switch (r->s->type) {
	case CONFIG_T_SIZE:
	case CONFIG_T_DURATION:
	case CONFIG_T_COUNT:
	case CONFIG_T_PORT:
		set_number(r);
		break;
	case CONFIG_T_BOOL:
	case CONFIG_T_WORD:
		set_word(r);
		break;
	case CONFIG_T_ADDRESS:
		set_address(r);
		break;
	case CONFIG_T_FOLDER:
		set_folder(r);
		break;
	case CONFIG_T_ENDPOINT:
		set_endpoint(r);
		break;
	case CONFIG_T_WORKERS:
		set_workers(r);
		break;
	case CONFIG_T_ORDER:
		set_order(r);
		break;
	case CONFIG_T_NAME:
		set_name(r);
		break;
	case CONFIG_T_CONDITION:
		((struct config_route *)r->base)->when = r->text;
		((struct config_route *)r->base)->when_node = r->node;
		break;
	default:
		break; /* names, items and lists are read when all items are known */
	}
}

static bool shape_fits(const struct config_setting *s, const struct config_node *n)
{
	switch (s->type) {
	case CONFIG_T_ITEMS:
		return n->kind == CONFIG_MAP || n->kind == CONFIG_NULL;
	case CONFIG_T_LIST:
		return n->kind == CONFIG_LIST || n->kind == CONFIG_NULL;
	case CONFIG_T_NAMES:
	case CONFIG_T_WORKERS:
		return n->kind == CONFIG_SCALAR || n->kind == CONFIG_LIST;
	case CONFIG_T_ABSENT:
		return true;
	default:
		return n->kind == CONFIG_SCALAR;
	}
}

static void say_shape(struct config *c, const struct config_setting *s, const struct config_node *n)
{
	const char *wants = s->type == CONFIG_T_ITEMS                                  ? "a map of names"
	                    : s->type == CONFIG_T_LIST                                 ? "a list"
	                    : s->type == CONFIG_T_NAMES || s->type == CONFIG_T_WORKERS ? "one value or a list"
	                                                                               : "one value";

	if (n->kind == CONFIG_NULL)
		config_say(c, config_place_key(n), CONFIG_E_SHAPE, "\"%.64s\" has no value", s->path);
	else
		config_say(c, config_place_of(n), CONFIG_E_SHAPE, "\"%.64s\" takes %s", s->path, wants);
}

static void set_given(struct config *c, const struct config_setting *s, void *base, const struct config_node *n)
{
	struct reading r = {c, s, base, n, n->text};

	if (s->type == CONFIG_T_ABSENT)
		config_say(c, config_place_key(n), CONFIG_E_NOT_BUILT, "\"%s\" is known, but this build has no %s",
		           s->path, s->words);
	else if (!shape_fits(s, n))
		say_shape(c, s, n);
	else
		set_scalar(&r);
}

static void set_default(struct config *c, const struct config_setting *s, void *base)
{
	struct reading r = {c, s, base, NULL, s->initial};

	if (s->initial[0] == '@') {
		const struct config_setting *from =
		    config_setting_at(CONFIG_ROOT, (uint32_t)config_setting_find(CONFIG_ROOT, s->initial + 1));

		must(from->bytes == s->bytes);
		memcpy((char *)base + s->offset, (char *)&c->root + from->offset, s->bytes);
	} else if (s->initial[0] && s->initial[0] != '!') {
		set_scalar(&r);
	}
}

/* ---- maps of settings ---- */

/* First parts of the keys that are legal below @prefix, each once: calls @each. */
static void each_key(enum config_scope scope, const char *prefix, void (*each)(void *arg, const char *key), void *arg)
{
	const struct config_setting *s;
	char key[MR_NAME_BYTES], last[MR_NAME_BYTES] = "";

	for (uint32_t i = 0; (s = config_setting_at(scope, i)); i++) {
		const char *rest = s->path + strlen(prefix);

		if (strncmp(s->path, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(key, sizeof(key), "%.*s", (int)strcspn(rest, "."), rest);
		if (s->type != CONFIG_T_ABSENT && strcmp(key, last) != 0)
			each(arg, key);
		memcpy(last, key, sizeof(last));
	}
}

struct legal {
	struct config_nearest near;
	char text[300];
};

static void add_legal(void *arg, const char *key)
{
	struct legal *l = arg;
	size_t n = strlen(l->text);

	config_nearest_try(&l->near, key, NULL);
	snprintf(l->text + n, sizeof(l->text) - n, "%s%s", n ? ", " : "", key);
}

static void say_unknown(struct config *c, enum config_scope scope, const char *prefix, const struct config_node *entry)
{
	struct legal legal = {.near = {.text = entry->key->text}};
	struct config_diag *d;

	each_key(scope, prefix, add_legal, &legal);
	d = config_say(c, config_place_key(entry), CONFIG_E_UNKNOWN_KEY, "unknown key \"%.64s\" of %s%.*s; legal: %s",
	               entry->key->text, *prefix ? "" : scope_names[scope], *prefix ? (int)strlen(prefix) - 1 : 0,
	               prefix, legal.text);
	if (config_nearest_found(&legal.near)) {
		config_hint_nearest(d, &legal.near);
		return;
	}
	for (uint32_t i = 0; i < config_setting_count && !*prefix; i++) {
		if (config_settings[i].scope != scope && strcmp(config_settings[i].path, entry->key->text) == 0)
			config_hint(d, "it is a key of %s", scope_names[config_settings[i].scope]);
	}
}

static bool is_group(enum config_scope scope, const char *path)
{
	const struct config_setting *s;
	size_t n = strlen(path);

	for (uint32_t i = 0; (s = config_setting_at(scope, i)); i++) {
		if (strncmp(s->path, path, n) == 0 && s->path[n] == '.')
			return true;
	}
	return false;
}

/* Notes in @item which setting was given where; the values are read afterwards, in the order of the schema. */
static void note_settings(struct config *c, enum config_scope scope, const char *prefix, const struct config_node *map,
                          struct config_item *item)
{
	for (const struct config_node *n = map->first; n; n = n->next) {
		char path[MR_NAME_BYTES + 2];
		int length = snprintf(path, sizeof(path), "%s%s", prefix, n->key->text);
		int at = length < (int)sizeof(path) ? config_setting_find(scope, path) : -1;
		uint64_t on = 1;

		if (at >= 0) {
			item->at[at] = n;
		} else if (length + 1 >= (int)sizeof(path) || !is_group(scope, path)) {
			say_unknown(c, scope, prefix, n);
		} else if (n->kind == CONFIG_MAP) {
			path[length] = '.';
			path[length + 1] = 0;
			note_settings(c, scope, path, n, item);
		} else if (strcmp(path, "metrics") == 0 && n->kind == CONFIG_SCALAR && config_bool(n->text, &on) == 0 &&
		           !on) {
			item->at[config_setting_find(scope, "metrics.port")] = n;
		} else if (n->kind != CONFIG_NULL) {
			config_say(c, config_place_of(n), CONFIG_E_SHAPE, "\"%s\" takes a map%s", path,
			           strcmp(path, "metrics") == 0 ? ", or off" : "");
		}
	}
}

static void read_settings(struct config *c, enum config_scope scope, void *base, struct config_item *item)
{
	const struct config_setting *s;

	if (item->node && item->node->kind == CONFIG_MAP)
		note_settings(c, scope, "", item->node, item);
	else if (item->node && item->node->kind != CONFIG_NULL)
		config_say(c, config_place_of(item->node), CONFIG_E_SHAPE, "%s is a map of settings",
		           scope_names[scope]);
	for (uint32_t i = 0; (s = config_setting_at(scope, i)); i++) {
		const struct config_node *n = item->at[i];

		set_default(c, s, base);
		if (n && scope == CONFIG_ROOT && strcmp(n->key->text, "metrics") == 0)
			c->root.c.metrics_port = 0;
		else if (n)
			set_given(c, s, base, n);
		else if (s->initial[0] == '!')
			config_say(c, config_place_key(item->node), CONFIG_E_MISSING, "%s without \"%s\"",
			           scope_names[scope], s->path);
	}
}

/* ---- items ---- */

static void check_name(struct config *c, const struct config_node *entry)
{
	if (!config_name_legal(entry->key->text))
		config_say(
		    c, config_place_key(entry), CONFIG_E_NAME,
		    "\"%.80s\" cannot be a name: 1 to 63 letters, digits, `_` or `-`, and a letter or a digit first",
		    entry->key->text);
}

static const struct config_node *section(const struct config *c, const char *path, uint32_t max, const char *what)
{
	const struct config_node *n = c->root_item.at[config_setting_find(CONFIG_ROOT, path)];

	if (n && n->count > max) {
		config_say((struct config *)c, config_place_key(n), CONFIG_E_TOO_MANY, "%u %s; a hub holds %u",
		           n->count, what, max);
		return NULL;
	}
	return n && n->count ? n : NULL;
}

static int read_listeners(struct config *c)
{
	const struct config_node *n = section(c, "listeners", MR_LISTENERS_MAX, "listeners");

	if (!n || n->kind != CONFIG_MAP)
		return 0;
	c->listeners = config_alloc(c, n->count * sizeof(*c->listeners));
	if (!c->listeners)
		return -ENOMEM;
	for (n = n->first; n; n = n->next) {
		struct config_listener *l = &c->listeners[c->listener_count++];

		check_name(c, n);
		l->item.node = n;
		l->item.name = n->key->text;
		snprintf(l->c.name, sizeof(l->c.name), "%.63s", n->key->text);
		read_settings(c, CONFIG_LISTENER, l, &l->item);
	}
	return 0;
}

static int read_dests(struct config *c)
{
	const struct config_node *n = section(c, "destinations", MR_DESTINATIONS_MAX, "destinations");

	if (!n || n->kind != CONFIG_MAP)
		return 0;
	c->dests = config_alloc(c, n->count * sizeof(*c->dests));
	if (!c->dests)
		return -ENOMEM;
	for (n = n->first; n; n = n->next) {
		struct config_dest *d = &c->dests[c->dest_count++];

		check_name(c, n);
		d->item.node = n;
		d->item.name = n->key->text;
		snprintf(d->c.name, sizeof(d->c.name), "%.63s", n->key->text);
		read_settings(c, CONFIG_DEST, d, &d->item);
	}
	return 0;
}

static int read_routes(struct config *c)
{
	const struct config_node *n = section(c, "routes", MR_ROUTES_MAX, "routes");

	if (!n || n->kind != CONFIG_LIST)
		return 0;
	c->routes = config_alloc(c, n->count * sizeof(*c->routes));
	if (!c->routes)
		return -ENOMEM;
	for (n = n->first; n; n = n->next) {
		struct config_route *r = &c->routes[c->route_count++];
		char name[24];

		r->item.node = n;
		read_settings(c, CONFIG_ROUTE, r, &r->item);
		if (r->name)
			continue;
		r->name = config_copy(c, name, (size_t)snprintf(name, sizeof(name), "route-%u", c->route_count));
		if (!r->name)
			return -ENOMEM;
	}
	return 0;
}

int config_check(struct config *c)
{
	c->root_item.node = c->tree;
	read_settings(c, CONFIG_ROOT, &c->root, &c->root_item);
	if (read_listeners(c) || read_dests(c) || read_routes(c))
		return -ENOMEM;
	c->report->listeners = c->listener_count;
	c->report->destinations = c->dest_count;
	c->report->routes = c->route_count;
	config_rules(c);
	return c->no_memory ? -ENOMEM : 0;
}
