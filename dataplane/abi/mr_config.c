/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_config.c - is this memory a configuration image that can be run without further checks?
 *
 * Called by the control process after compiling, and by every worker and connector before adopting an image. It must
 * never read outside the image nor trust a number in it. What it accepts, route.c and the others index without looking
 * again.
 */
#include "mr_config.h"

#include <errno.h>
#include <string.h>

#define GIB (1ull << 30)

static bool table_fits(const struct mr_config *c, const struct mr_config_table *t, uint64_t entry_bytes,
                       uint64_t count_max)
{
	return t->offset % 8 == 0 && t->offset >= sizeof(*c) && t->count <= count_max &&
	       t->offset + t->count * entry_bytes <= c->bytes;
}

static bool range_fits(uint32_t first, uint32_t count, uint32_t all)
{
	return (uint64_t)first + count <= all;
}

static bool text_ends(const char *text, size_t room)
{
	return memchr(text, 0, room) != NULL;
}

static bool power_of_two(uint64_t v)
{
	return v && (v & (v - 1)) == 0;
}

static bool tables_fit(const struct mr_config *c)
{
	return table_fits(c, &c->listeners, sizeof(struct mr_config_listener), MR_LISTENERS_MAX) &&
	       table_fits(c, &c->dests, sizeof(struct mr_config_dest), MR_DESTINATIONS_MAX) &&
	       table_fits(c, &c->routes, sizeof(struct mr_config_route), MR_ROUTES_MAX) &&
	       table_fits(c, &c->code, sizeof(struct mr_config_insn), UINT32_MAX) &&
	       table_fits(c, &c->paths, sizeof(struct mr_config_const), UINT32_MAX) &&
	       table_fits(c, &c->consts, sizeof(struct mr_config_const), UINT32_MAX) &&
	       table_fits(c, &c->regexes, sizeof(struct mr_config_regex), UINT32_MAX) &&
	       table_fits(c, &c->route_dests, sizeof(uint16_t), UINT32_MAX) &&
	       table_fits(c, &c->route_listeners, sizeof(uint16_t), UINT32_MAX) &&
	       table_fits(c, &c->strings, 1, UINT32_MAX) && c->strings.count > 0 &&
	       *mr_config_string(c, c->strings.count - 1) == 0 && *mr_config_string(c, 0) == 0;
}

static bool header_fits(const struct mr_config *c)
{
	if (!text_ends(c->data, sizeof(c->data)) || !text_ends(c->run, sizeof(c->run)) ||
	    !text_ends(c->metrics_address, sizeof(c->metrics_address)) || !c->generation)
		return false;
	if (c->workers < 1 || c->workers > MR_WORKERS_MAX || c->commit > MR_COMMIT_NONE ||
	    c->routing > MR_ROUTING_FIRST || c->busy_poll > 1 || c->on_disk_full > MR_ON_FULL_REJECT)
		return false;
	for (uint32_t i = 0; i < c->workers; i++) {
		if (c->cpus[i] < -1)
			return false;
	}
	return c->segment_bytes && c->segment_bytes % (1u << 20) == 0 && c->segment_bytes <= 4 * GIB &&
	       power_of_two(c->tail_bytes) && c->tail_bytes >= 4096 && c->tail_bytes <= 4 * GIB &&
	       power_of_two(c->duplicate_entries) && c->worker_connections_max && c->frame_memory_bytes;
}

static bool listener_fits(const struct mr_config *c, const struct mr_config_listener *l)
{
	return text_ends(l->name, sizeof(l->name)) && l->name[0] && text_ends(l->address, sizeof(l->address)) &&
	       l->ack_mode <= MR_ACK_ALWAYS && l->app_ack <= MR_APP_ACK_NONE && l->between <= MR_BETWEEN_REFUSE &&
	       l->header_check <= MR_HEADER_MINIMAL && l->on_full <= MR_ON_FULL_REJECT &&
	       l->duplicates <= MR_DUPLICATES_FORWARD && l->unrouted <= MR_UNROUTED_REJECT &&
	       l->order_by <= MR_ORDER_FIELD && l->order_path < c->strings.count && l->port && l->frame_bytes_max &&
	       l->frame_bytes_max <= GIB && l->connections_max && l->frame_timeout_ns;
}

static bool dest_fits(const struct mr_config *c, const struct mr_config_dest *d)
{
	if (!text_ends(d->name, sizeof(d->name)) || !d->name[0] || d->connect > MR_CONNECT_DEMAND ||
	    d->on_error > MR_REJECT_DROP || d->on_reject > MR_REJECT_DROP || d->paused > 1 ||
	    d->file_format > MR_FILE_BATCH || d->host >= c->strings.count || d->path >= c->strings.count ||
	    !d->queue_max)
		return false;
	if (d->kind == MR_DEST_FILE)
		return d->owner == MR_CONNECTOR_FILE && d->connections == 1 && d->window == 1 && d->batch_messages;
	return d->kind == MR_DEST_MLLP && d->owner < c->workers && d->port && d->connections >= 1 &&
	       d->connections <= MR_LANES_MAX && d->window >= 1 && d->window <= 256 && d->answers <= MR_ANSWERS_AUTO &&
	       d->ack_timeout_ns && d->connect_timeout_ns;
}

static bool strings_fit(const struct mr_config *c, const struct mr_config_table *t)
{
	const struct mr_config_const *k = mr_config_at(c, t);

	for (uint32_t i = 0; i < t->count; i++) {
		if ((uint64_t)k[i].offset + k[i].bytes >= c->strings.count ||
		    *mr_config_string(c, k[i].offset + k[i].bytes))
			return false;
	}
	return true;
}

static bool regexes_fit(const struct mr_config *c)
{
	const struct mr_config_regex *r = mr_config_at(c, &c->regexes);

	for (uint32_t i = 0; i < c->regexes.count; i++) {
		if (r[i].offset % 8 || !range_fits(r[i].offset, r[i].bytes, c->strings.count) ||
		    r[i].text >= c->strings.count)
			return false;
	}
	return true;
}

static bool jump_fits(uint16_t to, uint32_t own, uint32_t count)
{
	return to == MR_ROUTE_ACCEPT || to == MR_ROUTE_REFUSE || (to > own && to < count);
}

static bool insn_fits(const struct mr_config *c, const struct mr_config_insn *in, uint32_t own, uint32_t count)
{
	if (in->path >= c->paths.count || !jump_fits(in->jump_true, own, count) ||
	    !jump_fits(in->jump_false, own, count))
		return false;
	switch (in->op) {
	case MR_ROUTE_EQ:
		return in->arg_count && range_fits(in->arg, in->arg_count, c->consts.count);
	case MR_ROUTE_MATCH:
		return in->arg < c->regexes.count;
	case MR_ROUTE_EXISTS:
		return true;
	default:
		return false;
	}
}

static bool indexes_fit(const struct mr_config *c, const struct mr_config_table *t, uint32_t first, uint32_t count,
                        uint32_t all)
{
	const uint16_t *index = mr_config_at(c, t);

	if (!range_fits(first, count, t->count))
		return false;
	for (uint32_t i = first; i < first + count; i++) {
		if (index[i] >= all)
			return false;
	}
	return true;
}

static bool route_fits(const struct mr_config *c, const struct mr_config_route *r)
{
	const struct mr_config_insn *code = mr_config_at(c, &c->code);

	if (!text_ends(r->name, sizeof(r->name)) || !range_fits(r->code, r->code_count, c->code.count) ||
	    r->code_count >= MR_ROUTE_REFUSE || r->dest_count > MR_MSG_DESTS_MAX)
		return false;
	for (uint32_t i = 0; i < r->code_count; i++) {
		if (!insn_fits(c, &code[r->code + i], i, r->code_count))
			return false;
	}
	return indexes_fit(c, &c->route_dests, r->dests, r->dest_count, c->dests.count) &&
	       indexes_fit(c, &c->route_listeners, r->listeners, r->listener_count, c->listeners.count);
}

int mr_config_check(const void *image, size_t bytes)
{
	const struct mr_config *c = image;

	if (bytes < sizeof(*c) || (uintptr_t)image % 8 || c->magic != MR_CONFIG_MAGIC ||
	    c->version != MR_CONFIG_VERSION || c->bytes != bytes)
		return -EINVAL;
	if (!tables_fit(c) || !header_fits(c) || !strings_fit(c, &c->paths) || !strings_fit(c, &c->consts) ||
	    !regexes_fit(c))
		return -EINVAL;
	for (uint32_t i = 0; i < c->listeners.count; i++) {
		if (!listener_fits(c, mr_config_listener(c, i)))
			return -EINVAL;
	}
	for (uint32_t i = 0; i < c->dests.count; i++) {
		if (!dest_fits(c, mr_config_dest(c, i)))
			return -EINVAL;
	}
	for (uint32_t i = 0; i < c->routes.count; i++) {
		if (!route_fits(c, mr_config_route(c, i)))
			return -EINVAL;
	}
	return 0;
}
