/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trouble.c - the table of open troubles. Called by every file of control/ that finds something wrong, and for what
 * workers and connectors report. Keeps the log short: a trouble is a line when it begins, and one when it ends.
 */
#include "trouble.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TROUBLE_AGAIN_NS  600000000000ull /* one that lasts is logged again */
#define TROUBLE_EXPIRE_NS 600000000000ull

const char *trouble_item_name(const struct control *c, uint32_t code, uint32_t item)
{
	if (code >= 2000 && code < 3000)
		return item < c->cfg->listeners.count ? mr_config_listener(c->cfg, item)->name : NULL;
	return item < c->cfg->dests.count ? mr_config_dest(c->cfg, item)->name : NULL;
}

static struct trouble *trouble_find(struct control *c, const struct process *p, uint32_t code, uint32_t item)
{
	for (uint32_t i = 0; i < c->trouble_count; i++) {
		struct trouble *t = &c->troubles[i];

		if (t->process == p && t->code == code && t->item == item)
			return t;
	}
	return NULL;
}

static struct trouble *trouble_new(struct control *c)
{
	if (!c->troubles) {
		c->troubles = calloc(TROUBLE_MAX, sizeof(*c->troubles));
		must(c->troubles);
	}
	if (c->trouble_count == TROUBLE_MAX)
		return NULL;
	memset(&c->troubles[c->trouble_count], 0, sizeof(*c->troubles));
	return &c->troubles[c->trouble_count++];
}

static void trouble_drop(struct control *c, struct trouble *t)
{
	memmove(t, t + 1, (size_t)(&c->troubles[--c->trouble_count] - t) * sizeof(*t));
}

static void trouble_log(struct control *c, const struct trouble *t, const char *text)
{
	const struct log_about about = {.process = t->process ? t->process->name : NULL,
	                                .item = trouble_item_name(c, t->code, t->item),
	                                .count = t->count > 1 ? t->count : 0,
	                                .level = t->level};

	log_event(t->code, &about, "%s", text);
}

static void trouble_add(struct control *c, const struct process *p, bool reported, uint32_t code, uint32_t item,
                        int64_t arg, int level, const char *text)
{
	struct trouble *t = trouble_find(c, p, code, item), passing = {.process = p};
	uint64_t now = control_wall_ns();
	bool fresh = !t;

	if (!t)
		t = trouble_new(c);
	if (!t)
		t = &passing;
	if (fresh) {
		t->process = p;
		t->code = code;
		t->item = item;
		t->first_ns = now;
	}
	t->reported = reported;
	t->arg = arg;
	t->level = level;
	t->last_ns = now;
	t->count++;
	if (!fresh && !strcmp(t->text, text) && now - t->logged_ns < TROUBLE_AGAIN_NS)
		return;
	t->logged_ns = now;
	snprintf(t->text, sizeof(t->text), "%s", text);
	trouble_log(c, t, text);
}

void trouble_raise(struct control *c, struct process *p, uint32_t code, uint32_t item, int64_t arg, const char *format,
                   ...)
{
	char text[LOG_TEXT_MAX];
	int level = LOG_WARNING;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_code_text(code, &level, NULL, NULL);
	trouble_add(c, p, false, code, item, arg, level, text);
}

/* @now: how it is instead, "" if nobody says. */
static void trouble_end(struct control *c, struct trouble *t, const char *now)
{
	char text[LOG_TEXT_MAX + 64];

	t->level = LOG_INFO;
	snprintf(text, sizeof(text), "over after %.1f s%s: %s", (double)(control_wall_ns() - t->first_ns) / 1e9,
	         *now ? "" : "; it was", *now ? now : t->text);
	trouble_log(c, t, text);
	trouble_drop(c, t);
}

void trouble_over(struct control *c, struct process *p, uint32_t code, uint32_t item)
{
	struct trouble *t = trouble_find(c, p, code, item);

	if (t)
		trouble_end(c, t, "");
}

void trouble_over_silent(struct control *c, struct process *p, uint32_t code, uint32_t item)
{
	struct trouble *t = trouble_find(c, p, code, item);

	if (t)
		trouble_drop(c, t);
}

void trouble_from_process(struct process *p, const struct mr_link_msg *m)
{
	char text[sizeof(m->u.trouble.text) + 1];
	int level = m->u.trouble.level <= LOG_ERROR     ? LOG_ERROR
	            : m->u.trouble.level <= LOG_WARNING ? LOG_WARNING
	                                                : LOG_INFO;

	memcpy(text, m->u.trouble.text, sizeof(m->u.trouble.text));
	text[sizeof(text) - 1] = 0;
	if (m->u.trouble.over) {
		struct trouble *t = trouble_find(p->control, p, m->u.trouble.code, m->u.trouble.item);

		if (t)
			trouble_end(p->control, t, text);
		return;
	}
	if (level == LOG_INFO) { /* told once, nothing that lasts */
		const struct log_about about = {.process = p->name,
		                                .item =
		                                    trouble_item_name(p->control, m->u.trouble.code, m->u.trouble.item),
		                                .level = level};

		log_event(m->u.trouble.code, &about, "%s", text);
		return;
	}
	trouble_add(p->control, p, true, m->u.trouble.code, m->u.trouble.item, m->u.trouble.arg, level, text);
}

void trouble_process_gone(struct control *c, const struct process *p)
{
	for (uint32_t i = c->trouble_count; i-- > 0;)
		if (c->troubles[i].process == p && c->troubles[i].reported)
			trouble_drop(c, &c->troubles[i]);
}

void trouble_expire(struct control *c)
{
	uint64_t now = control_wall_ns();

	for (uint32_t i = c->trouble_count; i-- > 0;)
		if (!c->troubles[i].process && now - c->troubles[i].last_ns > TROUBLE_EXPIRE_NS)
			trouble_drop(c, &c->troubles[i]);
}
