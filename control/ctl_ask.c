/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_ask.c - keeps open questions to workers and connectors: numbers them, matches answers, gives up after 5 s.
 * Used by ctl.c and ctl_dead.c on the control loop. A late answer finds no question and is dropped.
 */
#include "ctl_ask.h"

#include "handoff.h"

#include <event2/event.h>
#include <stdlib.h>

struct ctl_ask {
	struct ctl_ask *next;
	struct control *control;
	void *arg;
	void (*on_answer)(struct ctl_ask *ask, void *arg, struct process *p, const struct mr_link_msg *m);
	void (*on_end)(void *arg, uint32_t missing);
	uint64_t number;
	bool waiting[MR_PEERS_MAX];
	uint32_t waiting_count, missing;
	bool gone; /* all first questions are out */
	struct event *timer;
};

static void ask_end(struct ctl_ask *ask)
{
	struct ctl_ask **at = &ask->control->asks;

	while (*at != ask)
		at = &(*at)->next;
	*at = ask->next;
	event_free(ask->timer);
	ask->on_end(ask->arg, ask->missing + ask->waiting_count);
	free(ask);
}

static void ask_on_timer(evutil_socket_t fd, short what, void *arg)
{
	ask_end(arg);
}

struct ctl_ask *ctl_ask_new(struct control *c, void *arg,
                            void (*on_answer)(struct ctl_ask *ask, void *arg, struct process *p,
                                              const struct mr_link_msg *m),
                            void (*on_end)(void *arg, uint32_t missing))
{
	const struct timeval limit = {.tv_sec = CTL_ASK_SECONDS};
	struct ctl_ask *ask = calloc(1, sizeof(*ask));

	must(ask);
	ask->control = c;
	ask->arg = arg;
	ask->on_answer = on_answer;
	ask->on_end = on_end;
	ask->number = ++c->ask_number;
	ask->next = c->asks;
	c->asks = ask;
	ask->timer = evtimer_new(c->base, ask_on_timer, ask);
	must(ask->timer);
	event_add(ask->timer, &limit);
	return ask;
}

void ctl_ask_send(struct ctl_ask *ask, struct process *p, struct mr_link_msg *m)
{
	must(!ask->waiting[p->peer]);
	if (!p->link) {
		ask->missing++;
		return;
	}
	m->request = ask->number;
	ask->waiting[p->peer] = true;
	ask->waiting_count++;
	handoff_send(p, m, NULL, 0);
}

void ctl_ask_go(struct ctl_ask *ask)
{
	ask->gone = true;
	if (!ask->waiting_count)
		ask_end(ask);
}

void ctl_ask_answer(struct control *c, struct process *p, const struct mr_link_msg *m)
{
	for (struct ctl_ask *ask = c->asks; ask; ask = ask->next) {
		if (ask->number != m->request || !ask->waiting[p->peer])
			continue;
		ask->waiting[p->peer] = false;
		ask->waiting_count--;
		ask->on_answer(ask, ask->arg, p, m);
		if (ask->gone && !ask->waiting_count)
			ask_end(ask);
		return;
	}
}

void ctl_ask_gone(struct control *c, struct process *p)
{
	struct ctl_ask *next;

	for (struct ctl_ask *ask = c->asks; ask; ask = next) {
		next = ask->next;
		if (!ask->waiting[p->peer])
			continue;
		ask->waiting[p->peer] = false;
		ask->waiting_count--;
		ask->missing++;
		if (ask->gone && !ask->waiting_count)
			ask_end(ask);
	}
}

void ctl_ask_end_all(struct control *c)
{
	while (c->asks)
		ask_end(c->asks);
}
