/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_compile.c - loading from first byte to checked configuration, and the image that every other process runs.
 *
 * config_load() and config_image() are called by the control process, the checker and tests. The image is complete and
 * checked before anybody sees it.
 */
#include "config_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* ---- loading ---- */

static uint64_t hash_sources(const struct config *c)
{
	XXH64_hash_t hash = 0;

	for (const struct config_source *s = c->sources; s; s = s->next)
		hash = XXH3_64bits_withSeed(s->text, s->bytes, hash + 1);
	return hash;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int config_load(const char *const *paths, uint32_t path_count, const struct config_options *opt, struct config **ret,
                struct config_report *report)
{
	struct config *c = calloc(1, sizeof(*c));
	uint64_t start_ns = now_ns();
	int rc;

	if (!c)
		return -ENOMEM;
	c->report = report;
	c->opt = opt;
	rc = config_parse(c, paths, path_count);
	if (!rc)
		rc = config_check(c);
	c->text_hash = hash_sources(c);
	c->report = NULL;
	c->opt = NULL;
	config_report_sort(report);
	report->duration_ns = now_ns() - start_ns;
	if (!rc && report->errors)
		rc = -EINVAL;
	if (rc)
		config_free(c);
	else
		*ret = c;
	return rc;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	config_route_free(c);
	config_arena_free(c);
	free(c);
}

/* ---- the image ---- */

/* Grows while it is written; `bytes` so far. After a failure nothing more is written. */
struct image {
	char *p;
	uint64_t bytes, room;
	bool failed;
};

#define IMAGE_BYTES_MAX (1ull << 30)

static uint64_t image_add(struct image *m, const void *from, uint64_t bytes)
{
	uint64_t at = m->bytes;

	if (m->failed || bytes > IMAGE_BYTES_MAX - m->bytes) {
		m->failed = true;
		return 0;
	}
	if (m->bytes + bytes > m->room) {
		uint64_t room = (m->bytes + bytes) * 2;
		char *p = realloc(m->p, room);

		if (!p) {
			m->failed = true;
			return 0;
		}
		m->p = p;
		m->room = room;
	}
	if (from)
		memcpy(m->p + at, from, bytes);
	else
		memset(m->p + at, 0, bytes);
	m->bytes += bytes;
	return at;
}

static void image_align(struct image *m)
{
	image_add(m, NULL, mr_align_up(m->bytes, 8) - m->bytes);
}

/* Begins a table where the image ends now. */
static struct mr_config_table table_at(struct image *m, uint64_t count)
{
	image_align(m);
	return (struct mr_config_table){(uint32_t)m->bytes, (uint32_t)count};
}

/* Adds a text and its NUL to the strings; returns its offset there. "" is at 0. */
static uint32_t string_add(struct image *strings, const char *text, uint32_t bytes)
{
	uint64_t at;

	if (!bytes)
		return 0;
	at = image_add(strings, text, bytes);
	image_add(strings, "", 1);
	return (uint32_t)at;
}

static void add_listeners(const struct config *c, struct image *m, struct image *strings, struct mr_config *head)
{
	head->listeners = table_at(m, c->listener_count);
	for (uint32_t i = 0; i < c->listener_count; i++) {
		struct mr_config_listener l = c->listeners[i].c;

		if (l.order_by == MR_ORDER_FIELD)
			l.order_path =
			    string_add(strings, c->listeners[i].order, (uint32_t)strlen(c->listeners[i].order));
		image_add(m, &l, sizeof(l));
	}
}

static void add_dests(const struct config *c, struct image *m, struct image *strings, struct mr_config *head)
{
	head->dests = table_at(m, c->dest_count);
	for (uint32_t i = 0; i < c->dest_count; i++) {
		struct mr_config_dest d = c->dests[i].c;

		d.owner = d.kind == MR_DEST_FILE ? MR_CONNECTOR_FILE : (uint16_t)(i % c->root.c.workers);
		if (c->dests[i].host)
			d.host = string_add(strings, c->dests[i].host, (uint32_t)strlen(c->dests[i].host));
		if (c->dests[i].folder)
			d.path = string_add(strings, c->dests[i].folder, (uint32_t)strlen(c->dests[i].folder));
		image_add(m, &d, sizeof(d));
	}
}

static void add_routes(const struct config *c, struct image *m, struct mr_config *head)
{
	uint32_t dests = 0, listeners = 0;

	head->routes = table_at(m, c->route_count);
	for (uint32_t i = 0; i < c->route_count; i++) {
		const struct config_route *from = &c->routes[i];
		struct mr_config_route r = {.code = from->code,
		                            .code_count = from->code_count,
		                            .dests = dests,
		                            .dest_count = from->dest_count,
		                            .listeners = listeners,
		                            .listener_count = from->listener_count};

		snprintf(r.name, sizeof(r.name), "%s", from->name);
		dests += from->dest_count;
		listeners += from->listener_count;
		image_add(m, &r, sizeof(r));
	}
	head->route_dests = table_at(m, dests);
	for (uint32_t i = 0; i < c->route_count; i++)
		image_add(m, c->routes[i].dests, c->routes[i].dest_count * sizeof(uint16_t));
	head->route_listeners = table_at(m, listeners);
	for (uint32_t i = 0; i < c->route_count; i++)
		image_add(m, c->routes[i].listeners, c->routes[i].listener_count * sizeof(uint16_t));
}

static struct mr_config_table add_texts(struct image *m, struct image *strings, const struct config_text *texts,
                                        uint32_t count)
{
	struct mr_config_table t = table_at(m, count);

	for (uint32_t i = 0; i < count; i++) {
		struct mr_config_const k = {string_add(strings, texts[i].text, texts[i].bytes), texts[i].bytes};

		image_add(m, &k, sizeof(k));
	}
	return t;
}

static void add_conditions(const struct config *c, struct image *m, struct image *strings, struct mr_config *head)
{
	const struct config_pool *pool = &c->pool;

	head->code = table_at(m, pool->code_count);
	image_add(m, pool->code, pool->code_count * sizeof(*pool->code));
	head->paths = add_texts(m, strings, pool->paths, pool->path_count);
	head->consts = add_texts(m, strings, pool->consts, pool->const_count);
	head->regexes = table_at(m, pool->regex_count);
	for (uint32_t i = 0; i < pool->regex_count; i++) {
		const struct config_regex *from = &pool->regexes[i];
		struct mr_config_regex r = {.text = string_add(strings, from->pattern.text, from->pattern.bytes)};

		image_align(strings);
		r.offset = (uint32_t)image_add(strings, from->database, from->bytes);
		r.bytes = (uint32_t)from->bytes;
		image_add(m, &r, sizeof(r));
	}
	image_add(strings, "", 1);
}

int config_image(const struct config *c, uint64_t generation, void **ret_image, size_t *ret_bytes)
{
	struct image m = {0}, strings = {0};
	struct mr_config head = c->root.c;
	int rc;

	image_add(&m, NULL, sizeof(head));
	image_add(&strings, "", 1);
	add_listeners(c, &m, &strings, &head);
	add_dests(c, &m, &strings, &head);
	add_routes(c, &m, &head);
	add_conditions(c, &m, &strings, &head);
	head.strings = table_at(&m, strings.bytes);
	if (strings.p)
		image_add(&m, strings.p, strings.bytes);
	image_align(&m);
	rc = m.failed || strings.failed ? (m.bytes + strings.bytes > IMAGE_BYTES_MAX / 2 ? -E2BIG : -ENOMEM) : 0;
	free(strings.p);
	if (rc) {
		free(m.p);
		return rc;
	}
	head.magic = MR_CONFIG_MAGIC;
	head.version = MR_CONFIG_VERSION;
	head.bytes = (uint32_t)m.bytes;
	head.generation = generation;
	head.text_hash = c->text_hash;
	memcpy(m.p, &head, sizeof(head));
	must(mr_config_check(m.p, m.bytes) == 0);
	*ret_image = m.p;
	*ret_bytes = m.bytes;
	return 0;
}
