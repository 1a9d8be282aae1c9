/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_load_start.c - the threads of `bench load`: their connections, rings and buffers, and the sum of their results.
 *
 * Called by bench_load.c. All connections of all threads are made before any load is generated.
 */
#include "bench_load_run.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static int lr_ring(struct lr_thread *t)
{
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
	                                     IORING_SETUP_DEFER_TASKRUN,
	                            .cq_entries = 32768};
	struct io_uring_buf_reg reg = {.ring_entries = LR_BUFFERS, .bgid = 1};
	int r = io_uring_queue_init_params(4096, &t->ring, &p);

	if (r < 0)
		return r;
	io_uring_register_ring_fd(&t->ring);
	t->buffers = mmap(NULL, LR_BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
	                  MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	t->memory = mmap(NULL, (size_t)LR_BUFFERS * LR_BUFFER, PROT_READ | PROT_WRITE,
	                 MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	if (t->buffers == MAP_FAILED || t->memory == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uint64_t)(uintptr_t)t->buffers;
	r = io_uring_register_buf_ring(&t->ring, &reg, 0);
	if (r < 0)
		return r;
	io_uring_buf_ring_init(t->buffers);
	for (uint32_t i = 0; i < LR_BUFFERS; i++)
		io_uring_buf_ring_add(t->buffers, t->memory + (size_t)i * LR_BUFFER, LR_BUFFER, (unsigned short)i,
		                      io_uring_buf_ring_mask(LR_BUFFERS), (int)i);
	io_uring_buf_ring_advance(t->buffers, LR_BUFFERS);
	return 0;
}

/* One connection attempt; when one local address has no port left, the next of 127.0.0.0/8 is used. */
static int lr_dial(const struct load_settings *set, uint32_t *io_source)
{
	const struct sockaddr_in *to = (const struct sockaddr_in *)&set->target.addr;
	bool loopback = to->sin_family == AF_INET && (ntohl(to->sin_addr.s_addr) >> 24) == 127;
	int fd;

	for (;;) {
		struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000100u + *io_source)};
		struct net_target source = {.addr_bytes = sizeof(from)};

		memcpy(&source.addr, &from, sizeof(from));
		fd = net_connect(&set->target, *io_source ? &source : NULL);
		if (fd != -EADDRNOTAVAIL || !loopback || *io_source > 200)
			return fd;
		++*io_source;
	}
}

/* Makes this thread's connections, some at a time. Returns 0, or -errno of the first that fails. */
static int lr_connect(struct lr_thread *t)
{
	struct pollfd waiting[LR_DIALS];
	uint32_t of[LR_DIALS], started = 0, n = 0, source = 0;
	uint64_t end_ns = net_now_ns() + 60000000000ull;

	while (t->open < t->conns) {
		while (n < LR_DIALS && started < t->conns) {
			int fd = lr_dial(t->set, &source);

			if (fd < 0)
				return fd;
			t->conn[started].fd = fd;
			waiting[n] = (struct pollfd){.fd = fd, .events = POLLOUT};
			of[n++] = started++;
		}
		if (net_now_ns() > end_ns)
			return -ETIMEDOUT;
		if (poll(waiting, n, 1000) <= 0)
			continue;
		for (uint32_t i = 0; i < n;) {
			socklen_t bytes = sizeof(int);
			int error = 0;

			if (!waiting[i].revents) {
				i++;
				continue;
			}
			getsockopt(waiting[i].fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
			if (error)
				return -error;
			t->open++;
			waiting[i] = waiting[--n];
			of[i] = of[n];
		}
	}
	return 0;
}

static int lr_prepare(struct lr_thread *t)
{
	uint64_t want = t->set->window * (uint64_t)t->set->frame_bytes_max;
	int r;

	t->out_room = want < LR_COPY_MAX ? (uint32_t)want : LR_COPY_MAX;
	t->conn = calloc(t->conns, sizeof(*t->conn));
	t->dirty = calloc(t->conns, sizeof(*t->dirty));
	t->heap = calloc(t->conns, sizeof(*t->heap));
	if (!t->conn || !t->dirty || !t->heap)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->conns; i++) {
		struct lr_conn *c = &t->conn[i];

		c->fd = -1;
		c->random = (t->set->seed + 1) * 0x9e3779b97f4a7c15ull + (t->first + i) * 0xbf58476d1ce4e5b9ull;
		c->random += !c->random;
		c->slot = calloc(t->set->window, sizeof(*c->slot));
		c->out = malloc(t->out_room + 4096);
		if (!c->slot || !c->out)
			return -ENOMEM;
		for (int j = 0; j < 8; j++)
			lr_random(c);
	}
	r = lr_connect(t);
	return r < 0 ? r : lr_ring(t);
}

static void *lr_thread(void *arg)
{
	struct lr_thread *t = arg;

	if (t->set->cpu >= 0)
		net_pin(t->set->cpu + (int)t->index);
	prctl(PR_SET_TIMERSLACK, 1000);
	t->error = lr_prepare(t);
	t->ret.connected = t->open;
	if (t->error)
		__atomic_store_n(t->failed, true, __ATOMIC_RELEASE);
	pthread_barrier_wait(t->ready); /* all connections first, then the load */
	if (!__atomic_load_n(t->failed, __ATOMIC_ACQUIRE))
		lr_run(t);
	for (uint32_t i = 0; t->conn && i < t->conns; i++)
		if (t->conn[i].fd >= 0)
			close(t->conn[i].fd);
	if (t->ring.ring_fd > 0)
		io_uring_queue_exit(&t->ring);
	for (uint32_t i = 0; t->conn && i < t->conns; i++) {
		free(t->conn[i].slot);
		free(t->conn[i].out);
	}
	free(t->conn);
	free(t->dirty);
	free(t->heap);
	return NULL;
}

static void lr_merge(struct load_results *to, const struct load_results *from)
{
	hist_merge(&to->latency, &from->latency);
	to->sent += from->sent;
	to->answered += from->answered;
	to->unanswered += from->unanswered;
	to->sent_bytes += from->sent_bytes;
	to->behind += from->behind;
	to->wrong_id += from->wrong_id;
	to->unreadable += from->unreadable;
	to->strays += from->strays;
	to->junk_bytes += from->junk_bytes;
	to->connected += from->connected;
	to->connections_lost += from->connections_lost;
	to->answered_in_time += from->answered_in_time;
	to->cpu_ns += from->cpu_ns;
	to->total_sent += from->total_sent;
	to->measured_ns = from->measured_ns;
	for (int i = 0; i < LOAD_CODES; i++)
		to->codes[i] += from->codes[i];
	for (int i = 0; i < LOAD_SECONDS_MAX; i++)
		to->per_second[i] += from->per_second[i];
}

int load_run(const struct load_settings *set, struct load_results *ret)
{
	uint32_t n = (uint32_t)set->threads, first = 0;
	struct lr_thread *t = calloc(n, sizeof(*t));
	pthread_barrier_t ready;
	bool failed = false;
	int r = 0;

	if (!t)
		return -ENOMEM;
	pthread_barrier_init(&ready, NULL, n);
	for (uint32_t i = 0; i < n; i++) {
		t[i].set = set;
		t[i].index = i;
		t[i].first = first;
		t[i].conns = (uint32_t)(set->connections / n + (i < set->connections % n));
		first += t[i].conns;
		t[i].ready = &ready;
		t[i].failed = &failed;
		must(pthread_create(&t[i].id, NULL, lr_thread, &t[i]) == 0);
	}
	for (uint32_t i = 0; i < n; i++) {
		pthread_join(t[i].id, NULL);
		lr_merge(ret, &t[i].ret);
		if (t[i].error)
			r = t[i].error;
	}
	pthread_barrier_destroy(&ready);
	free(t);
	return r;
}
