/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_rules.c - what the schema cannot say: values worked out from others, names that refer, settings that do not go
 * together.
 *
 * Called by config_check() when every value is read. Rules about a value that was wrong already stay silent.
 */
#include "config_tree.h"
#include "mr_paths.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
/* A journal record around a message: block and record headers, destinations, the segment's index. Generous. */
#define RECORD_OVERHEAD_BYTES (64u << 10)
#define SEGMENT_BYTES_DEFAULT (64 * MIB)

/* Where a setting of an item was given; NULL: nowhere. */
static const struct config_node *given(enum config_scope scope, const struct config_item *item, const char *path)
{
	return item->at[config_setting_find(scope, path)];
}

static struct config_place place_of_setting(enum config_scope scope, const struct config_item *item, const char *path)
{
	const struct config_node *n = given(scope, item, path);

	return n ? config_place_of(n) : config_place_key(item->node);
}

/* A single value as it is written, or its default; and a note which. */
static const char *value_of(enum config_scope scope, const struct config_item *item, const char *path)
{
	const struct config_node *n = given(scope, item, path);

	return n ? n->text : config_setting_at(scope, (uint32_t)config_setting_find(scope, path))->initial;
}

static const char *default_note(enum config_scope scope, const struct config_item *item, const char *path)
{
	return given(scope, item, path) ? "" : ", the default";
}

/* ---- folders and CPUs ---- */

static void default_folders(struct config *c)
{
	struct mr_config *m = &c->root.c;
	struct config_place nowhere = {0};
	char folder[sizeof(m->run)];

	if (c->opt && c->opt->run && config_absolute(c->opt->run, m->run, sizeof(m->run)))
		config_say(c, nowhere, CONFIG_E_VALUE, "--run: no usable folder");
	if (!m->data[0] &&
	    (mr_data_folder(folder, sizeof(folder)) || config_absolute(folder, m->data, sizeof(m->data))))
		config_say(c, nowhere, CONFIG_E_VALUE, "no default for \"data\" here: name a folder");
	if (!m->run[0] &&
	    (mr_run_folder(NULL, folder, sizeof(folder)) || config_absolute(folder, m->run, sizeof(m->run))))
		config_say(c, nowhere, CONFIG_E_VALUE, "no default for \"run\" here: name a folder");
}

/* The built-in configuration's folders are in the data folder. */
static void built_in_folders(struct config *c)
{
	char path[sizeof(c->root.c.data)];

	for (uint32_t i = 0; i < c->dest_count; i++) {
		struct config_dest *d = &c->dests[i];
		size_t n;

		if (!d->folder || d->folder[0] == '/')
			continue;
		n = (size_t)snprintf(path, sizeof(path), "%s/%s", c->root.c.data, d->folder);
		if (n >= sizeof(path))
			config_say(c, place_of_setting(CONFIG_DEST, &d->item, "file"), CONFIG_E_VALUE,
			           "a folder's absolute name may have 511 bytes");
		else
			d->folder = config_copy(c, path, n);
	}
}

uint32_t config_cpus(const struct config *c, int16_t *ret, uint32_t room)
{
	cpu_set_t set;
	uint32_t n = 0;

	if (c->opt && c->opt->cpus) {
		for (; n < c->opt->cpus && n < room; n++)
			ret[n] = (int16_t)n;
		return n;
	}
	if (sched_getaffinity(0, sizeof(set), &set))
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < room; cpu++) {
		if (CPU_ISSET(cpu, &set))
			ret[n++] = (int16_t)cpu;
	}
	return n;
}

/* `auto` or a number: the first CPU is left to the control process and the system where there is one to spare. */
static void share_cpus(struct config *c)
{
	struct mr_config *m = &c->root.c;
	int16_t cpus[CPU_SETSIZE];
	uint32_t n = config_cpus(c, cpus, MR_ARRAY_LEN(cpus)), spare;

	if (m->workers && m->cpus[0] != INT16_MIN)
		return; /* a list */
	if (!m->workers)
		m->workers = (uint16_t)(n <= 2 ? 1 : n - 1 > MR_WORKERS_MAX ? MR_WORKERS_MAX : n - 1);
	spare = n > m->workers;
	for (uint32_t i = 0; i < m->workers; i++)
		m->cpus[i] = n < m->workers ? -1 : cpus[i + spare];
}

/* ---- sizes ---- */

static uint64_t power_of_two_from(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static void check_room(struct config *c, const char *path, uint64_t have, uint64_t need,
                       const struct config_listener *largest)
{
	if (have >= need)
		return;
	config_say(
	    c, place_of_setting(CONFIG_ROOT, &c->root_item, path), CONFIG_E_TOO_SMALL,
	    "\"%s\" is %llu bytes and must be at least %llu: listener \"%.63s\" takes messages of %u bytes (max_frame)",
	    path, (unsigned long long)have, (unsigned long long)need, largest->c.name, largest->c.frame_bytes_max);
}

static void journal_sizes(struct config *c)
{
	struct mr_config *m = &c->root.c;
	const struct config_listener *largest = NULL;
	uint64_t need = 0, fallback;

	for (uint32_t i = 0; i < c->listener_count; i++) {
		if (!largest || c->listeners[i].c.frame_bytes_max > largest->c.frame_bytes_max)
			largest = &c->listeners[i];
	}
	if (largest)
		need = 2 * ((uint64_t)largest->c.frame_bytes_max + RECORD_OVERHEAD_BYTES);
	fallback = power_of_two_from(need > SEGMENT_BYTES_DEFAULT ? need : SEGMENT_BYTES_DEFAULT);
	m->segment_bytes = m->segment_bytes ? mr_align_up(m->segment_bytes, MIB) : fallback;
	m->tail_bytes = m->tail_bytes ? power_of_two_from(m->tail_bytes) : fallback;
	m->duplicate_entries = (uint32_t)power_of_two_from(m->duplicate_entries);
	if (largest) {
		check_room(c, "journal.segment", m->segment_bytes, need, largest);
		check_room(c, "journal.tail", m->tail_bytes, need, largest);
		check_room(c, "limits.frame_memory", m->frame_memory_bytes, largest->c.frame_bytes_max, largest);
	}
	if (m->journal_bytes_max && m->journal_bytes_max < 2 * m->segment_bytes)
		config_say(c, place_of_setting(CONFIG_ROOT, &c->root_item, "journal.max"), CONFIG_E_CONFLICT,
		           "\"journal.max\" must hold at least two segments (journal.segment is %llu bytes)",
		           (unsigned long long)m->segment_bytes);
	if (m->commit != MR_COMMIT_DURABLE)
		config_say(c, place_of_setting(CONFIG_ROOT, &c->root_item, "commit"), CONFIG_E_NOT_DURABLE,
		           "a message acknowledged before it is on disk can be lost: for measurement only");
}

/* ---- listeners ---- */

/* Some address as 16 bytes, IPv4 as its IPv6 form; what kind of wildcard it is. */
struct endpoint {
	unsigned char bytes[16];
	bool all, all_v4, is_v4;
	uint16_t port;
};

static struct endpoint endpoint_of(const char *address, uint16_t port)
{
	struct endpoint e = {.port = port};
	unsigned char v4[4];

	if (!address[0]) {
		e.all = true;
	} else if (inet_pton(AF_INET, address, v4) == 1) {
		memcpy(e.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
		memcpy(e.bytes + 12, v4, 4);
		e.is_v4 = true;
		e.all_v4 = memcmp(v4, "\0\0\0\0", 4) == 0;
	} else if (inet_pton(AF_INET6, address, e.bytes) == 1) {
		e.is_v4 = memcmp(e.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0;
		e.all = memcmp(e.bytes, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16) == 0;
	}
	return e;
}

static bool endpoints_meet(const struct endpoint *a, const struct endpoint *b)
{
	if (a->port != b->port || !a->port)
		return false;
	return a->all || b->all || (a->all_v4 && b->is_v4) || (b->all_v4 && a->is_v4) ||
	       memcmp(a->bytes, b->bytes, 16) == 0;
}

static void say_port_taken(struct config *c, const struct config_listener *l, const struct config_listener *by)
{
	struct config_place at = place_of_setting(CONFIG_LISTENER, &by->item, "port");
	char where[128] = "environment";

	if (!at.source->is_variable)
		snprintf(where, sizeof(where), "%.100s:%u", at.source->name, at.line);
	config_say(c, place_of_setting(CONFIG_LISTENER, &l->item, "port"), CONFIG_E_PORT_CLASH,
	           "port %u of listener \"%.63s\" is taken by listener \"%.63s\" (%s)", l->c.port, l->c.name,
	           by->c.name, where);
}

static void check_ports(struct config *c)
{
	struct endpoint metrics = endpoint_of(c->root.c.metrics_address, c->root.c.metrics_port);

	for (uint32_t i = 0; i < c->listener_count; i++) {
		const struct config_listener *l = &c->listeners[i];
		struct endpoint e = endpoint_of(l->c.address, l->c.port);
		bool told = false;

		for (uint32_t k = 0; k < i && !told; k++) {
			const struct config_listener *o = &c->listeners[k];
			struct endpoint other = endpoint_of(o->c.address, o->c.port);

			if (!endpoints_meet(&e, &other))
				continue;
			say_port_taken(c, l, o);
			told = true;
		}
		if (!told && endpoints_meet(&e, &metrics))
			config_say(c, place_of_setting(CONFIG_LISTENER, &l->item, "port"), CONFIG_E_PORT_CLASH,
			           "port %u of listener \"%.63s\" is taken by the metrics (metrics.port)", l->c.port,
			           l->c.name);
	}
}

/* ---- destinations ---- */

static const char *const kind_names[] = {"any", "mllp", "file"};

static void check_kind(struct config *c, const struct config_dest *d)
{
	const struct config_node *mllp = given(CONFIG_DEST, &d->item, "mllp"),
	                         *file = given(CONFIG_DEST, &d->item, "file");
	const struct config_setting *s;
	enum config_kind kind = mllp ? CONFIG_K_MLLP : CONFIG_K_FILE;

	if (!mllp && !file) {
		if (!given(CONFIG_DEST, &d->item, "http"))
			config_say(c, config_place_key(d->item.node), CONFIG_E_MISSING,
			           "destination \"%.63s\" says not where to: give \"mllp\" or \"file\"", d->item.name);
		return;
	}
	if (mllp && file) {
		config_say(c, config_place_key(file), CONFIG_E_CONFLICT,
		           "a destination has \"mllp\" or \"file\", not both");
		return;
	}
	for (uint32_t i = 0; (s = config_setting_at(CONFIG_DEST, i)); i++) {
		if (d->item.at[i] && s->kind != CONFIG_K_ANY && s->kind != kind)
			config_say(c, config_place_key(d->item.at[i]), CONFIG_E_CONFLICT,
			           "\"%s\" is for %s destinations only", s->path, kind_names[s->kind]);
	}
}

static void check_dest(struct config *c, struct config_dest *d)
{
	struct config_item *item = &d->item;
	const char *again = d->c.on_error == MR_REJECT_RETRY    ? "on_error"
	                    : d->c.on_reject == MR_REJECT_RETRY ? "on_reject"
	                                                        : NULL;

	check_kind(c, d);
	if (d->c.window > 1 && again)
		config_say(c, place_of_setting(CONFIG_DEST, item, "window"), CONFIG_E_CONFLICT,
		           "a window of %u cannot keep the order together with \"%s: retry\": the messages behind it "
		           "are sent already",
		           d->c.window, again);
	if (d->c.retry_first_ns > d->c.retry_max_ns)
		config_say(c,
		           place_of_setting(CONFIG_DEST, item,
		                            given(CONFIG_DEST, item, "retry.max") ? "retry.max" : "retry.first"),
		           CONFIG_E_CONFLICT, "\"retry.first\" (%.24s%s) is longer than \"retry.max\" (%.24s%s)",
		           value_of(CONFIG_DEST, item, "retry.first"), default_note(CONFIG_DEST, item, "retry.first"),
		           value_of(CONFIG_DEST, item, "retry.max"), default_note(CONFIG_DEST, item, "retry.max"));
	if (given(CONFIG_DEST, item, "idle_timeout") && d->c.idle_timeout_ns && d->c.connect == MR_CONNECT_START)
		config_say(c, place_of_setting(CONFIG_DEST, item, "idle_timeout"), CONFIG_E_CONFLICT,
		           "\"idle_timeout\" of a destination needs \"connect: demand\"");
	if (d->c.file_format != MR_FILE_BATCH && d->c.kind == MR_DEST_FILE &&
	    (given(CONFIG_DEST, item, "batch.messages") || given(CONFIG_DEST, item, "batch.interval")))
		config_say(
		    c,
		    place_of_setting(CONFIG_DEST, item,
		                     given(CONFIG_DEST, item, "batch.messages") ? "batch.messages" : "batch.interval"),
		    CONFIG_E_CONFLICT, "\"batch\" needs \"format: batch\"");
}

static bool is_own_address(const char *host)
{
	return !strcmp(host, "localhost") || !strcmp(host, "::1") || !strncmp(host, "127.", 4);
}

static void check_loop(struct config *c, const struct config_dest *d)
{
	struct endpoint to = endpoint_of(d->host && strcmp(d->host, "localhost") ? d->host : "127.0.0.1", d->c.port);

	for (uint32_t i = 0; d->host && is_own_address(d->host) && i < c->listener_count; i++) {
		const struct config_listener *l = &c->listeners[i];
		struct endpoint from = endpoint_of(l->c.address, l->c.port);

		if (endpoints_meet(&to, &from))
			config_say(c, place_of_setting(CONFIG_DEST, &d->item, "mllp"), CONFIG_E_LOOP,
			           "destination \"%.63s\" is listener \"%.63s\" of this hub", d->item.name, l->c.name);
	}
}

static void check_dests(struct config *c)
{
	for (uint32_t i = 0; i < c->dest_count; i++) {
		struct config_dest *d = &c->dests[i];

		check_dest(c, d);
		check_loop(c, d);
		for (uint32_t k = 0; k < i && d->folder; k++) {
			if (c->dests[k].folder && strcmp(c->dests[k].folder, d->folder) == 0)
				config_say(c, place_of_setting(CONFIG_DEST, &d->item, "file"), CONFIG_E_CONFLICT,
				           "destination \"%.63s\" writes into this folder already: give each its own",
				           c->dests[k].item.name);
		}
	}
}

/* ---- routes ---- */

static const char *listener_name(const struct config *c, uint32_t i)
{
	return i < c->listener_count ? c->listeners[i].item.name : NULL;
}

static const char *dest_name(const struct config *c, uint32_t i)
{
	return i < c->dest_count ? c->dests[i].item.name : NULL;
}

/* What names refer to: listeners or destinations. */
struct space {
	const char *(*name)(const struct config *c, uint32_t i);
	const char *what;
	uint32_t count;
	bool unknown; /* some name was wrong: what it meant cannot be said to be missing elsewhere */
};

static void resolve_one(struct config *c, struct space *space, const struct config_node *n, uint16_t *list,
                        uint32_t *count)
{
	struct config_nearest near = {.text = n->text};
	const char *name;

	for (uint32_t i = 0; (name = space->name(c, i)); i++) {
		bool dest = space->name == dest_name;

		if (strcmp(name, n->text) == 0) {
			for (uint32_t k = 0; k < *count; k++) {
				if (list[k] == i) {
					config_say(c, config_place_of(n), CONFIG_E_DUPLICATE,
					           "%s \"%.63s\" is named twice", space->what, name);
					return;
				}
			}
			list[(*count)++] = (uint16_t)i;
			return;
		}
		config_nearest_try(&near, name, dest ? c->dests[i].item.node->key : c->listeners[i].item.node->key);
	}
	config_hint_nearest(
	    config_say(c, config_place_of(n), CONFIG_E_UNKNOWN_NAME, "unknown %s \"%.80s\"", space->what, n->text),
	    &near);
	space->unknown = true;
}

/* A name, a list of names, or "*" where that is legal. Returns the list (arena), its length in @ret_count. */
static uint16_t *resolve(struct config *c, struct space *space, const struct config_node *n, bool star,
                         uint32_t *ret_count)
{
	uint16_t *list = config_alloc(c, (space->count + 1) * sizeof(*list));

	*ret_count = 0;
	if (!list || !n || (n->kind != CONFIG_SCALAR && n->kind != CONFIG_LIST))
		return list;
	if (n->kind == CONFIG_SCALAR && star && strcmp(n->text, "*") == 0) {
		for (; *ret_count < space->count; (*ret_count)++)
			list[*ret_count] = (uint16_t)*ret_count;
		return list;
	}
	if (n->kind == CONFIG_SCALAR) {
		resolve_one(c, space, n, list, ret_count);
		return list;
	}
	for (const struct config_node *e = n->first; e; e = e->next) {
		if (e->kind == CONFIG_SCALAR)
			resolve_one(c, space, e, list, ret_count);
		else
			config_say(c, config_place_of(e), CONFIG_E_SHAPE, "a name of a %s is one value", space->what);
	}
	return list;
}

static void resolve_route(struct config *c, struct config_route *r, struct space *listeners, struct space *dests)
{
	const struct config_node *from = given(CONFIG_ROUTE, &r->item, "from"),
	                         *to = given(CONFIG_ROUTE, &r->item, "to");

	r->listeners = resolve(c, listeners, from, true, &r->listener_count);
	r->dests = resolve(c, dests, to, false, &r->dest_count);
	if (from && from->kind == CONFIG_LIST && !from->first)
		config_say(c, config_place_of(from), CONFIG_E_VALUE,
		           "a route from no listener; name one, or \"*\" for all");
	if (r->dest_count > MR_MSG_DESTS_MAX)
		config_say(c, config_place_of(to), CONFIG_E_TOO_MANY, "%u destinations; a message may have %u",
		           r->dest_count, MR_MSG_DESTS_MAX);
	for (uint32_t i = 0; i < r->dest_count; i++)
		c->dests[r->dests[i]].used = true;
}

/* With `routing: first`: is there an earlier route that takes all that this one could? */
static void check_reachable(struct config *c, uint32_t number, const struct config_route **taken_by)
{
	struct config_route *r = &c->routes[number];
	uint32_t taken = 0;

	for (uint32_t i = 0; i < r->listener_count; i++) {
		const struct config_route *by = taken_by[r->listeners[i]];

		for (uint32_t k = 0; !by && r->when && k < number; k++) {
			const struct config_route *o = &c->routes[k];

			if (!o->when || strcmp(o->when, r->when) != 0)
				continue;
			for (uint32_t j = 0; j < o->listener_count; j++)
				by = o->listeners[j] == r->listeners[i] ? o : by;
		}
		if (!by)
			break;
		if (++taken == r->listener_count)
			config_say(c, config_place_of(r->item.node), CONFIG_E_UNREACHABLE,
			           "route \"%.63s\" can never take a message: \"%.63s\" (%.100s:%u) takes them all "
			           "(routing: first)",
			           r->name, by->name, by->item.node->source->name, by->item.node->line);
	}
	for (uint32_t i = 0; i < r->listener_count && !given(CONFIG_ROUTE, &r->item, "when"); i++) {
		if (!taken_by[r->listeners[i]])
			taken_by[r->listeners[i]] = r;
	}
}

static void check_route_names(struct config *c)
{
	for (uint32_t i = 0; i < c->route_count; i++) {
		for (uint32_t k = 0; k < i; k++) {
			const struct config_route *r = &c->routes[i], *o = &c->routes[k];
			const struct config_item *named = given(CONFIG_ROUTE, &r->item, "name") ? &r->item : &o->item;

			if (strcmp(r->name, o->name) == 0)
				config_say(c, place_of_setting(CONFIG_ROUTE, named, "name"), CONFIG_E_DUPLICATE,
				           "two routes are named \"%.63s\"; the other is at %.100s:%u", r->name,
				           (named == &r->item ? o : r)->item.node->source->name,
				           (named == &r->item ? o : r)->item.node->line);
		}
	}
}

static void check_routes(struct config *c)
{
	const struct config_route **taken_by = config_alloc(c, (c->listener_count + 1) * sizeof(*taken_by));
	bool *named = config_alloc(c, c->listener_count + 1);
	struct space listeners = {listener_name, "listener", c->listener_count, false};
	struct space dests = {dest_name, "destination", c->dest_count, false};

	if (!taken_by || !named)
		return;
	for (uint32_t i = 0; i < c->route_count; i++) {
		struct config_route *r = &c->routes[i];

		resolve_route(c, r, &listeners, &dests);
		if (r->when && config_route_compile(c, r) == -ENOMEM)
			c->no_memory = true;
		if (c->no_memory)
			return;
		if (c->root.c.routing == MR_ROUTING_FIRST)
			check_reachable(c, i, taken_by);
		for (uint32_t k = 0; k < r->listener_count; k++)
			named[r->listeners[k]] = true;
	}
	check_route_names(c);
	for (uint32_t i = 0; i < c->dest_count && !dests.unknown; i++) {
		if (!c->dests[i].used)
			config_say(c, config_place_key(c->dests[i].item.node), CONFIG_E_UNUSED,
			           "no route names destination \"%.63s\"", c->dests[i].item.name);
	}
	for (uint32_t i = 0; i < c->listener_count && c->route_count && !listeners.unknown; i++) {
		if (!named[i])
			config_say(c, config_place_key(c->listeners[i].item.node), CONFIG_E_NO_ROUTE,
			           "no route names listener \"%.63s\": its messages are unrouted",
			           c->listeners[i].item.name);
	}
}

static void check_any_listener(struct config *c)
{
	const struct config_node *n = given(CONFIG_ROOT, &c->root_item, "listeners");
	struct config_place at = {c->sources, 0, 0, 0};

	if (!c->listener_count && !c->report->errors)
		config_say(c, n ? config_place_key(n) : at, CONFIG_E_NO_LISTENER,
		           "no listeners: the hub takes no messages in");
}

void config_rules(struct config *c)
{
	default_folders(c);
	built_in_folders(c);
	share_cpus(c);
	journal_sizes(c);
	check_ports(c);
	check_dests(c);
	check_routes(c);
	check_any_listener(c);
}
