/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - the simulated clock, the events in its order, random numbers of the seed, and the trace that a failure prints. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- events: a binary heap by time, then by order of making ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void event_swap(struct sim *s, size_t a, size_t b)
{
	struct sim_event e = s->heap[a];

	s->heap[a] = s->heap[b];
	s->heap[b] = e;
}

void sim_at(struct sim *s, uint64_t at_ns, void (*fn)(struct sim *s, void *arg, uint64_t n), void *arg, uint64_t n)
{
	size_t i = s->events++;

	if (s->events > s->events_room) {
		s->events_room = s->events_room ? 2 * s->events_room : 1024;
		s->heap = realloc(s->heap, s->events_room * sizeof(*s->heap));
		must(s->heap);
	}
	s->heap[i] = (struct sim_event){.at_ns = at_ns < s->now_ns ? s->now_ns : at_ns, .order = s->order++, .fn = fn,
					.arg = arg, .n = n};
	for (; i && event_before(&s->heap[i], &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		event_swap(s, i, (i - 1) / 2);
}

bool sim_next(struct sim *s, uint64_t *ret_at_ns)
{
	if (!s->events)
		return false;
	*ret_at_ns = s->heap[0].at_ns;
	return true;
}

void sim_run_one(struct sim *s)
{
	struct sim_event e = s->heap[0];

	s->heap[0] = s->heap[--s->events];
	for (size_t i = 0, least;; i = least) {
		least = i;
		for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < s->events; k++)
			if (event_before(&s->heap[k], &s->heap[least]))
				least = k;
		if (least == i)
			break;
		event_swap(s, i, least);
	}
	s->now_ns = e.at_ns;
	e.fn(s, e.arg, e.n);
}

/* ---- chance ---- */

uint64_t sim_random(struct sim *s)
{
	uint64_t z = s->random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
	return sim_random(s) % n;
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
	return low + sim_random(s) % (high - low + 1);
}

bool sim_chance(struct sim *s, uint32_t in_10000)
{
	return sim_random(s) % 10000 < in_10000;
}

/* Mostly a local network, now and then a lost packet. */
uint64_t sim_latency(struct sim *s)
{
	if (sim_chance(s, s->calm ? 0 : 100))
		return sim_between(s, 20 * SIM_MS, 220 * SIM_MS);
	return sim_between(s, 20 * SIM_US, 600 * SIM_US);
}

uint64_t sim_hash(const void *p, size_t bytes)
{
	const unsigned char *u = p;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < bytes; i++)
		h = (h ^ u[i]) * 0x100000001b3u;
	return h;
}

void *sim_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	must(p);
	return p;
}

/* ---- telling ---- */

void sim_trace(struct sim *s, const char *fmt, ...)
{
	char *line = s->trace[s->traced++ % MR_ARRAY_LEN(s->trace)];
	int n = snprintf(line, sizeof(s->trace[0]), "%4llu.%06llu ", (unsigned long long)(s->now_ns / SIM_S),
			 (unsigned long long)(s->now_ns % SIM_S / 1000));
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(s->trace[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	s->trace_hash = s->trace_hash * 0x100000001b3u ^ sim_hash(line, strlen(line));
	if (s->verbose)
		puts(line);
}

void sim_trace_print(const struct sim *s)
{
	uint64_t room = MR_ARRAY_LEN(s->trace);

	fflush(stdout);
	fprintf(stderr, "what happened last (time in simulated seconds):\n");
	for (uint64_t i = s->traced > room ? s->traced - room : 0; i < s->traced; i++)
		fprintf(stderr, "  %s\n", s->trace[i % room]);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	sim_trace_print(s);
	fprintf(stderr, "sim: seed %llu FAILED at %.6f s: ", (unsigned long long)s->seed, (double)s->now_ns / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stderr);
	_Exit(1);
}
