/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.c - the simulated hub: its cores as coroutines, when each runs, and how they die and come back.
 *
 * A core runs the real core_create() and core_run() on a stack of its own and is left in io_wait(). To crash it is never
 * gone back to: its memory, connections and requests are dealt with as a kernel would. The part of the control plane
 * is in control_sim.c.
 */
#include "core.h"
#include "hub.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define fiber_start(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define fiber_finish(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define fiber_start(save, bottom, size) (void)0
#define fiber_finish(save, bottom, size) (void)0
#endif

#define HUB_STACK_BYTES (1u << 20)

void hub_init(struct sim *s)
{
	char path[160];

	s->hub = sim_alloc(sizeof(*s->hub));
	s->hub->s = s;
	s->hub->listen_fd = -1;
	for (uint32_t i = 0; i < SIM_CORES_MAX; i++)
		s->hub->core[i] = (struct hub_core){.s = s, .index = i, .link = -1, .tail_fd = -1, .dupes_fd = -1};
	snprintf(path, sizeof(path), "%s/data", s->folder);
	must(mkdir(path, 0700) == 0);
	snprintf(path, sizeof(path), "%s/run", s->folder);
	must(mkdir(path, 0700) == 0);
	control_init(s);
}

void hub_start(struct sim *s)
{
	s->hub->draining = false;
	for (uint32_t i = 0; i < s->p.cores; i++)
		control_spawn(s, &s->hub->core[i]);
}

struct io *hub_io(struct sim *s, uint32_t core)
{
	return s->hub->core[core].up ? s->hub->core[core].io : NULL;
}

bool hub_up(const struct sim *s)
{
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (!s->hub->core[i].up || !s->hub->core[i].accepting)
			return false;
	return true;
}

bool hub_stopped(const struct sim *s)
{
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (s->hub->core[i].up)
			return false;
	return true;
}

uint64_t hub_crashes(const struct sim *s)
{
	return s->hub->crashes;
}

/** hub_blind - grows when a core starts that cannot know yet what is in another one's journal. */
uint64_t hub_blind(const struct sim *s)
{
	return s->hub->blind;
}

/** hub_disturbed_ns - last death of a core or joining of its successor: what was sent before may be sent again. */
uint64_t hub_disturbed_ns(const struct sim *s)
{
	return s->hub->disturbed_ns;
}

/* ---- coroutines ---- */

void hub_wait(struct sim *s, uint32_t core, uint64_t until_ns)
{
	struct hub_core *h = &s->hub->core[core];

	if (until_ns == UINT64_MAX || until_ns < h->wake_ns)
		h->wake_ns = until_ns;
}

void hub_leave(struct sim *s, uint32_t core)
{
	struct hub_core *h = &s->hub->core[core];
	void *fake = NULL;

	fiber_start(&fake, s->hub->main_bottom, s->hub->main_bytes);
	must(swapcontext(&h->here, &s->hub->main) == 0);
	fiber_finish(fake, &s->hub->main_bottom, &s->hub->main_bytes);
	(void)fake;
}

void hub_point(struct sim *s, uint32_t core)
{
	struct hub_core *h = &s->hub->core[core];

	if (!h->die_in || --h->die_in)
		return;
	h->dead = true;
	hub_leave(s, core);
	abort(); /* nobody comes back to a dead core */
}

static void hub_core_main(unsigned high, unsigned low)
{
	struct hub_core *h = (struct hub_core *)((uintptr_t)high << 32 | low);
	struct sim *s = h->s;
	char run[160];
	int r;

	fiber_finish(NULL, &s->hub->main_bottom, &s->hub->main_bytes);
	snprintf(run, sizeof(run), "%s/run", s->folder);
	r = core_create(h->io, s->cfg, h->index, h->incarnation, run, h->link_core, &h->core);
	if (r < 0)
		sim_fail(s, "core %u cannot start: %d", h->index, r);
	sim_trace(s, "core %u is up, journal ends at %llu", h->index,
		  (unsigned long long)journal_appended(h->core->journal));
	r = core_run(h->core);
	if (r < 0)
		sim_fail(s, "core %u: the loop failed: %d", h->index, r);
	h->done = true;
	hub_leave(s, h->index);
	abort();
}

void hub_spawn(struct hub_core *h)
{
	uintptr_t p = (uintptr_t)h;

	h->io = io_sim_new(h->s, h->index);
	h->stack = mmap(NULL, HUB_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(h->stack != MAP_FAILED && getcontext(&h->here) == 0);
	h->here.uc_stack.ss_sp = h->stack;
	h->here.uc_stack.ss_size = HUB_STACK_BYTES;
	h->here.uc_link = NULL;
	makecontext(&h->here, (void (*)(void))hub_core_main, 2, (unsigned)(p >> 32), (unsigned)p);
	h->core = NULL;
	h->up = true;
	h->dead = h->done = false;
	h->wake_ns = h->s->now_ns;
}

/* ---- the end of a core ---- */

/* Gives back what the kernel would: descriptors and shared memory. Private memory stays, as nobody counts it here. */
static void hub_reap(struct hub_core *h)
{
	struct core *c = h->core;

	if (c) {
		for (uint32_t i = 0; i < SIM_CORES_MAX; i++)
			if (c->peer[i].present) {
				munmap(c->peer[i].to, c->peer[i].to_bytes);
				munmap(c->peer[i].from, c->peer[i].from_bytes);
				close(c->peer[i].to_event);
				close(c->peer[i].from_event);
			}
		for (uint32_t i = 0; i < h->s->cfg->listeners.count; i++)
			if (c->listener[i].fd >= 0)
				close(c->listener[i].fd);
		if (c->link_fd >= 0)
			close(c->link_fd);
		dupes_destroy(&c->dupes);
		core_destroy(c);
	} else if (h->link_core >= 0) {
		close(h->link_core); /* it died while it recovered */
	}
	h->core = NULL;
	h->link_core = -1;
}

static void hub_kill(struct hub_core *h, bool power)
{
	struct sim *s = h->s;

	h->die_in = 0;
	if (!h->up)
		return;
	h->up = h->accepting = false;
	s->hub->crashes++;
	s->hub->disturbed_ns = s->now_ns;
	sim_trace(s, "core %u dies%s%s", h->index, power ? " (power cut)" : " (killed)", h->core ? "" : " while starting");
	disk_crash(s, h->io, power);
	net_core_dead(s, h->io, power);
	io_sim_dead(h->io);
	hub_reap(h);
	control_died(h);
}

static void hub_power_cut(struct sim *s)
{
	for (uint32_t i = 0; i < s->p.cores; i++)
		hub_kill(&s->hub->core[i], true);
	disk_power_cut(s);
}

static void hub_finished(struct hub_core *h)
{
	sim_trace(h->s, "core %u has finished", h->index);
	h->up = h->accepting = false;
	disk_crash(h->s, h->io, false);
	net_core_dead(h->s, h->io, false);
	io_sim_dead(h->io);
	hub_reap(h);
	control_finished(h);
}

/** hub_crash_soon - the core dies at one of its next calls of io.h. */
void hub_crash_soon(struct sim *s, bool power, uint64_t calls)
{
	struct hub_core *h = &s->hub->core[sim_below(s, s->p.cores)];

	if (!h->up || h->die_in)
		return;
	h->die_in = (uint32_t)sim_between(s, 1, calls);
	h->die_power = power;
}

/* ---- running ---- */

static struct hub_core *hub_next(struct sim *s)
{
	struct hub_core *next = NULL;

	for (uint32_t i = 0; i < s->p.cores; i++) {
		struct hub_core *h = &s->hub->core[i];

		if (h->up && (!next || h->wake_ns < next->wake_ns))
			next = h;
	}
	return next;
}

bool hub_run(struct sim *s, uint64_t *ret_at_ns)
{
	struct hub_core *h = hub_next(s);

	if (h)
		*ret_at_ns = h->wake_ns;
	return h != NULL;
}

void hub_run_one(struct sim *s)
{
	struct hub_core *h = hub_next(s);
	void *fake = NULL;

	if (h->wake_ns > s->now_ns)
		s->now_ns = h->wake_ns;
	fiber_start(&fake, h->stack, HUB_STACK_BYTES);
	must(swapcontext(&s->hub->main, &h->here) == 0);
	fiber_finish(fake, NULL, NULL);
	(void)fake;
	if (h->dead && h->die_power)
		hub_power_cut(s);
	else if (h->dead)
		hub_kill(h, false);
	else if (h->done)
		hub_finished(h);
	control_look(s);
	for (uint32_t i = 0; i < s->p.cores; i++)
		if (s->hub->core[i].up && &s->hub->core[i] != h)
			io_sim_poke(s->hub->core[i].io);
}

void hub_fault(struct sim *s)
{
	switch (sim_below(s, 4)) {
	case 0:
		if (s->p.crash_kill)
			hub_crash_soon(s, false, 400);
		break;
	case 1:
		if (s->p.crash_power)
			hub_crash_soon(s, true, 400);
		break;
	case 2:
		if (s->p.pauses)
			control_pause(s);
		break;
	default:
		if (s->p.control_dies)
			control_die(s);
	}
}
