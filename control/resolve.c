/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve.c - getaddrinfo() for workers, which must not block. Asked by handoff.c; the answer goes back on the link.
 *
 * A few threads share one queue, so that one name server that does not answer holds up one look-up and not all of them.
 * The threads touch only jobs and the two lists under the lock; everything else happens on the control loop.
 */
#include "resolve.h"

#include "handoff.h"
#include "trouble.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RESOLVE_THREADS 4

struct resolve_job {
	struct resolve_job *next;
	uint32_t peer, dest;
	uint64_t incarnation; /* of the process that asked: a later life asks itself */
	uint64_t request;
	char host[256];
	int error;
	uint32_t count;
	struct mr_link_addr addr[MR_LINK_ADDRS_MAX];
};

/* Freed by whoever leaves last: a thread may still hang in a look-up when the rest is gone. */
struct resolver {
	struct control *control;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct resolve_job *todo, **todo_last, *done;
	int wake_fd;
	struct event *wake_event;
	bool stop;
	uint32_t users;
};

static void resolve_free_jobs(struct resolve_job *j)
{
	struct resolve_job *next;

	for (; j; j = next) {
		next = j->next;
		free(j);
	}
}

/* Called with the lock held; gives it up. */
static void resolve_leave(struct resolver *r)
{
	bool last = --r->users == 0;

	pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	resolve_free_jobs(r->todo);
	resolve_free_jobs(r->done);
	close(r->wake_fd);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->work);
	free(r);
}

static bool resolve_same(const struct mr_link_addr *a, const struct mr_link_addr *b)
{
	return a->family == b->family && a->scope == b->scope && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int resolve_addresses(const char *host, bool numeric_only, struct mr_link_addr *ret_addr, uint32_t *ret_count)
{
	const struct addrinfo hints = {
	    .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = numeric_only ? AI_NUMERICHOST : 0};
	struct addrinfo *list;
	uint32_t count = 0;
	int r = getaddrinfo(host, NULL, &hints, &list);

	if (r)
		return r;
	for (struct addrinfo *a = list; a && count < MR_LINK_ADDRS_MAX; a = a->ai_next) {
		struct mr_link_addr out = {.family = (uint8_t)a->ai_family};
		bool known = false;

		if (a->ai_family == AF_INET) {
			memcpy(out.bytes, &((struct sockaddr_in *)a->ai_addr)->sin_addr, 4);
		} else if (a->ai_family == AF_INET6) {
			memcpy(out.bytes, &((struct sockaddr_in6 *)a->ai_addr)->sin6_addr, 16);
			out.scope = ((struct sockaddr_in6 *)a->ai_addr)->sin6_scope_id;
		} else {
			continue;
		}
		for (uint32_t i = 0; i < count; i++)
			known = known || resolve_same(&ret_addr[i], &out);
		if (!known)
			ret_addr[count++] = out;
	}
	freeaddrinfo(list);
	*ret_count = count;
	return count ? 0 : EAI_NONAME;
}

static void *resolve_thread(void *arg)
{
	struct resolver *r = arg;
	const uint64_t one = 1;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct resolve_job *j = r->todo;

		if (!j) {
			pthread_cond_wait(&r->work, &r->lock);
			continue;
		}
		r->todo = j->next;
		if (!r->todo)
			r->todo_last = &r->todo;
		pthread_mutex_unlock(&r->lock);
		j->error = resolve_addresses(j->host, false, j->addr, &j->count);
		pthread_mutex_lock(&r->lock);
		j->next = r->done;
		r->done = j;
		if (!r->stop)
			(void)!write(r->wake_fd, &one, sizeof(one));
	}
	resolve_leave(r);
	return NULL;
}

static void resolve_answer(struct control *c, const struct resolve_job *j)
{
	struct process *p = c->process[j->peer];
	struct mr_link_msg m = {.type = MR_LINK_RESOLVED, .request = j->request};

	if (!p || p->incarnation != j->incarnation)
		return;
	m.u.resolve.dest = j->dest;
	m.u.resolve.error = j->error;
	m.u.resolve.count = j->count;
	memcpy(m.u.resolve.addr, j->addr, sizeof(j->addr));
	handoff_send(p, &m, NULL, 0);
	if (j->error)
		trouble_raise(c, p, LOG_RESOLVE_FAILED, j->dest, j->error, "host %s: %s", j->host,
		              gai_strerror(j->error));
	else
		trouble_over(c, p, LOG_RESOLVE_FAILED, j->dest);
}

static void resolve_on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct resolve_job *jobs;
	uint64_t n;

	(void)!read(r->wake_fd, &n, sizeof(n));
	pthread_mutex_lock(&r->lock);
	jobs = r->done;
	r->done = NULL;
	pthread_mutex_unlock(&r->lock);
	for (const struct resolve_job *j = jobs; j; j = j->next)
		resolve_answer(r->control, j);
	resolve_free_jobs(jobs);
}

void resolve_ask(struct resolver *r, struct process *p, uint64_t request, uint32_t dest)
{
	struct control *c = p->control;
	struct resolve_job *j = calloc(1, sizeof(*j));

	must(j);
	j->peer = p->peer;
	j->incarnation = p->incarnation;
	j->request = request;
	j->dest = dest;
	j->error = EAI_NONAME;
	if (dest < c->cfg->dests.count && mr_config_dest(c->cfg, dest)->kind == MR_DEST_MLLP) {
		snprintf(j->host, sizeof(j->host), "%s", mr_config_string(c->cfg, mr_config_dest(c->cfg, dest)->host));
		j->error = resolve_addresses(j->host, true, j->addr, &j->count);
		if (j->error) { /* a name */
			pthread_mutex_lock(&r->lock);
			*r->todo_last = j;
			r->todo_last = &j->next;
			pthread_cond_signal(&r->work);
			pthread_mutex_unlock(&r->lock);
			return;
		}
	}
	resolve_answer(c, j);
	free(j);
}

int resolve_open(struct control *c)
{
	struct resolver *r = calloc(1, sizeof(*r));
	pthread_attr_t attr;
	pthread_t thread;
	int e = 0;

	must(r);
	r->control = c;
	r->todo_last = &r->todo;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->work, NULL);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0) {
		e = -errno;
		free(r);
		return e;
	}
	r->wake_event = event_new(c->base, r->wake_fd, EV_READ | EV_PERSIST, resolve_on_wake, r);
	must(r->wake_event);
	event_add(r->wake_event, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r->users = 1;
	for (int i = 0; i < RESOLVE_THREADS && e == 0; i++) {
		pthread_mutex_lock(&r->lock);
		e = -pthread_create(&thread, &attr, resolve_thread, r);
		r->users += e == 0;
		pthread_mutex_unlock(&r->lock);
	}
	pthread_attr_destroy(&attr);
	c->resolver = r;
	return e;
}

void resolve_close(struct control *c)
{
	struct resolver *r = c->resolver;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->work);
	event_free(r->wake_event);
	resolve_leave(r);
	c->resolver = NULL;
}
