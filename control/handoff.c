/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handoff.c - the control process's end of the links: accepts them, checks who it is, queues and dispatches packets.
 *
 * Called on the control loop by its own events; calls supervise.c, peers.c, listen.c, resolve.c, trouble.c and ctl.c
 * with what came in. Never blocks: a process that does not read has its packets waiting here and is found by its
 * heartbeat.
 */
#include "handoff.h"

#include "ctl.h"
#include "listen.h"
#include "mr_paths.h"
#include "peers.h"
#include "resolve.h"
#include "store.h"
#include "supervise.h"
#include "takeover.h"
#include "trouble.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct link_out {
	struct link_out *next;
	struct mr_link_msg m;
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds;
};

struct link {
	struct control *control;
	struct process *process; /* NULL until a good HELLO */
	int fd;
	struct event *read_event, *write_event, *later_event;
	struct link_out *first, **last;
};

static void link_free(struct link *l)
{
	struct link_out *o, *next;

	for (o = l->first; o; o = next) {
		next = o->next;
		for (uint32_t i = 0; i < o->nfds; i++)
			close(o->fds[i]);
		free(o);
	}
	event_free(l->read_event);
	event_free(l->write_event);
	event_free(l->later_event);
	close(l->fd);
	free(l);
}

static void link_lost(struct link *l)
{
	struct process *p = l->process;

	link_free(l);
	if (p) {
		p->link = NULL;
		p->unlinked_ns = control_now_ns();
	}
}

void handoff_drop(struct process *p)
{
	if (p->link)
		link_lost(p->link);
}

/* Sends what waits; -EAGAIN and too many descriptors on their way are tried again a little later. */
static void link_flush(struct link *l)
{
	const struct timeval later = {.tv_usec = 10000};

	while (l->first) {
		struct link_out *o = l->first;
		int r = mr_link_send(l->fd, &o->m, o->fds, o->nfds);

		if (r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS) {
			if (r == -EAGAIN)
				event_add(l->write_event, NULL);
			else
				event_add(l->later_event, &later);
			return;
		}
		if (r < 0)
			return; /* the read side sees the end and cleans up */
		l->first = o->next;
		if (!l->first)
			l->last = &l->first;
		for (uint32_t i = 0; i < o->nfds; i++)
			close(o->fds[i]);
		free(o);
	}
}

static void link_on_write(evutil_socket_t fd, short what, void *arg)
{
	link_flush(arg);
}

static void link_queue(struct link *l, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	struct link_out *o = calloc(1, sizeof(*o));

	must(o && nfds <= MR_LINK_FDS_MAX);
	o->m = *m;
	o->m.version = MR_LINK_VERSION;
	for (uint32_t i = 0; i < nfds; i++) {
		o->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (o->fds[i] < 0) {
			log_event(LOG_INTERNAL, NULL, "cannot pass a descriptor to a process: %s", strerror(errno));
			for (uint32_t k = 0; k < i; k++)
				close(o->fds[k]);
			free(o);
			return;
		}
	}
	o->nfds = nfds;
	*l->last = o;
	l->last = &o->next;
	if (l->first == o)
		link_flush(l);
}

void handoff_send(struct process *p, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	if (p->link)
		link_queue(p->link, m, fds, nfds);
}

void handoff_send_simple(struct process *p, enum mr_link_type type)
{
	struct mr_link_msg m = {.type = type};

	handoff_send(p, &m, NULL, 0);
}

bool handoff_idle(const struct control *c)
{
	control_each (c, p)
		if (p->link && p->link->first)
			return false;
	return true;
}

/* Everything that a process needs before it can work: who it is, its configuration, its sockets, the others' journals.
 */
static void handoff_equip(struct process *p)
{
	struct control *c = p->control;
	struct mr_link_msg m = {.type = MR_LINK_CONFIG};

	m.u.config.generation = c->cfg->generation;
	m.u.config.bytes = c->cfg_bytes;
	handoff_send(p, &m, &c->cfg_fd, 1);
	if (p->kind == MR_KIND_WORKER)
		for (uint32_t i = 0; i < c->cfg->listeners.count; i++) {
			struct mr_link_msg out = {.type = MR_LINK_LISTENER};

			out.u.listener.listener = i;
			if (*listen_at(c, p->index, i) >= 0)
				handoff_send(p, &out, listen_at(c, p->index, i), 1);
		}
	peers_send_tails(p);
}

static void handoff_welcome(struct process *p)
{
	struct mr_link_msg m = {.type = MR_LINK_WELCOME};

	m.u.hello.kind = p->kind;
	m.u.hello.index = p->index;
	m.u.hello.pid = (uint64_t)getpid();
	m.u.hello.incarnation = p->incarnation;
	m.u.hello.generation = p->control->cfg->generation;
	handoff_send(p, &m, NULL, 0);
}

/* Operators' pauses go before the configuration's own setting, in every life. */
static void handoff_send_items(struct process *p)
{
	struct control *c = p->control;

	for (uint32_t i = 0; i < c->cfg->dests.count; i++) {
		int paused = store_paused(c->store, mr_config_dest(c->cfg, i)->name);
		struct mr_link_msg m = {.type = paused ? MR_LINK_PAUSE : MR_LINK_RESUME};

		m.u.item.dest = i;
		if (paused >= 0)
			handoff_send(p, &m, NULL, 0);
	}
}

static struct process *handoff_find(struct control *c, uint32_t kind, uint32_t index)
{
	if (kind == MR_KIND_WORKER && index < MR_WORKERS_MAX)
		return c->process[index];
	return kind == MR_KIND_CONNECTOR && index == 0 ? c->process[MR_CONNECTOR_FILE] : NULL;
}

/* A packet that this process must not send: it is of another version or broken. It starts anew from its journal. */
static void handoff_broken(struct link *l, const char *why)
{
	struct process *p = l->process;
	const struct log_about about = {.process = p ? p->name : NULL, .pid = p ? p->pid : 0};

	log_event(LOG_PROCESS_PROTOCOL, &about, "%s", why);
	link_lost(l);
	if (p && p->pid)
		kill(p->pid, SIGKILL);
}

/*
 * One that works already, but is not the one that belongs in its place (its configuration is an older one, or another
 * runs there): two must never own one journal, so it is ended. Anything else is only turned away.
 */
static void handoff_refuse(struct link *l, const struct mr_link_msg *m, const struct ucred *who)
{
	bool connector = m->u.hello.kind == MR_KIND_CONNECTOR, stale;

	stale = m->u.hello.adopt && l->control->state != CONTROL_DRAINING && who->uid == geteuid() &&
	        takeover_is_ours(who->pid);
	trouble_raise(l->control, NULL, LOG_PROCESS_FOREIGN, UINT32_MAX, 0,
	              "process %d of user %u said hello as %s %u: %s", (int)who->pid, (unsigned)who->uid,
	              connector ? "connector" : "worker", m->u.hello.index,
	              stale ? "killed, it is not wanted" : "refused");
	if (stale)
		kill(who->pid, SIGKILL);
	link_free(l);
}

static bool handoff_is_welcome(const struct control *c, const struct process *p, const struct mr_link_msg *m,
                               const struct ucred *who)
{
	if (!p || (who->uid != geteuid() && who->uid != 0))
		return false;
	if (p->pid)
		return p->pid == who->pid;
	return m->u.hello.adopt && c->state != CONTROL_DRAINING && m->u.hello.generation == c->cfg->generation;
}

/* Returns false if the link was closed. */
static bool handoff_hello(struct link *l, const struct mr_link_msg *m)
{
	struct control *c = l->control;
	struct process *p = handoff_find(c, m->u.hello.kind, m->u.hello.index);
	struct ucred who = {0};
	socklen_t bytes = sizeof(who);
	bool adopt = m->u.hello.adopt != 0;

	if (getsockopt(l->fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) < 0 || !handoff_is_welcome(c, p, m, &who)) {
		handoff_refuse(l, m, &who);
		return false;
	}
	handoff_drop(p); /* the same process, faster than the end of its last link */
	l->process = p;
	p->link = l;
	if (!p->pid)
		supervise_adopt(p, who.pid, m->u.hello.incarnation);
	if (adopt && m->u.hello.state < MR_STATE_READY) { /* half started when the control plane died: cheaper anew */
		kill(p->pid, SIGKILL);
		return true;
	}
	handoff_welcome(p);
	if (adopt) {
		trouble_process_gone(c, p); /* it tells them again; the end of one may have been lost with the link */
		supervise_adopted(p, m->u.hello.state);
	} else {
		handoff_equip(p);
	}
	handoff_send_items(p);
	if (p->kind == MR_KIND_CONNECTOR)
		peers_announce(p);
	if (c->state == CONTROL_DRAINING)
		supervise_drain_one(p);
	return true;
}

static void handoff_close_fds(const int *fds, uint32_t nfds)
{
	for (uint32_t i = 0; i < nfds; i++)
		close(fds[i]);
}

/* One packet of a known process. Returns false if the link was closed. Descriptors are consumed. */
static bool handoff_message(struct link *l, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	struct control *c = l->control;
	struct process *p = l->process;
	uint32_t used = 0;

	switch (m->type) {
	case MR_LINK_JOURNAL:
		if (nfds == 1 || nfds == 2) {
			peers_journal(p, m, fds[0], nfds > 1 ? fds[1] : -1);
			used = nfds;
		}
		break;
	case MR_LINK_LISTENER:
		if (nfds == 1 && p->kind == MR_KIND_WORKER && c->state != CONTROL_DRAINING)
			listen_put(c, p->index, m->u.listener.listener, fds[used++]);
		break;
	case MR_LINK_READY:
		supervise_ready(p);
		break;
	case MR_LINK_ACCEPTING:
		supervise_accepting(p);
		break;
	case MR_LINK_DRAINED:
		p->drained = true;
		supervise_drain_next(c);
		break;
	case MR_LINK_RESOLVE:
		resolve_ask(c->resolver, p, m->request, m->u.resolve.dest);
		break;
	case MR_LINK_TROUBLE:
		trouble_from_process(p, m);
		break;
	case MR_LINK_DEAD_PAGE:
	case MR_LINK_DONE:
		ctl_answer(c, p, m);
		break;
	default:
		handoff_close_fds(fds, nfds);
		handoff_broken(l, "sent a packet that it must not send; killing it");
		return false;
	}
	handoff_close_fds(fds + used, nfds - used);
	return true;
}

static void link_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	for (int budget = 64; budget; budget--) {
		struct mr_link_msg m;
		int fds[MR_LINK_FDS_MAX], r;
		uint32_t nfds = 0;

		r = mr_link_recv(l->fd, &m, fds, &nfds);
		if (r == -EAGAIN)
			return;
		if (r == -EPROTO) {
			handoff_broken(l, "sent a packet of another version; killing it");
			return;
		}
		if (r < 0) {
			link_lost(l);
			return;
		}
		if (l->process) {
			if (!handoff_message(l, &m, fds, nfds))
				return;
			continue;
		}
		handoff_close_fds(fds, nfds);
		if (m.type != MR_LINK_HELLO) {
			handoff_broken(l, "a process spoke before it said hello");
			return;
		}
		if (!handoff_hello(l, &m))
			return;
	}
}

static void handoff_on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	struct control *c = arg;
	int fd;

	while ((fd = accept4((int)listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct link *l = calloc(1, sizeof(*l));

		must(l);
		l->control = c;
		l->fd = fd;
		l->last = &l->first;
		l->read_event = event_new(c->base, fd, EV_READ | EV_PERSIST, link_on_read, l);
		l->write_event = event_new(c->base, fd, EV_WRITE, link_on_write, l);
		l->later_event = evtimer_new(c->base, link_on_write, l);
		must(l->read_event && l->write_event && l->later_event);
		event_add(l->read_event, NULL);
	}
}

int handoff_open(struct control *c)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int dir, fd, r = mr_unix_path(c->cfg->run, "link.sock", a.sun_path, sizeof(a.sun_path), &dir);

	if (r < 0)
		return r;
	unlink(a.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0600) < 0 ||
	    listen(fd, 128) < 0)
		r = -errno;
	if (dir >= 0)
		close(dir);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	c->link_fd = fd;
	c->link_event = event_new(c->base, fd, EV_READ | EV_PERSIST, handoff_on_accept, c);
	must(c->link_event);
	event_add(c->link_event, NULL);
	return 0;
}

void handoff_close(struct control *c)
{
	char path[700];

	control_each (c, p)
		handoff_drop(p);
	if (c->link_event)
		event_free(c->link_event);
	if (c->link_fd >= 0) {
		snprintf(path, sizeof(path), "%s/link.sock", c->cfg->run);
		unlink(path);
		close(c->link_fd);
	}
	c->link_event = NULL;
	c->link_fd = -1;
}
