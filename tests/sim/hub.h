/* SPDX-License-Identifier: Apache-2.0 */
/* hub.h - what hub.c (cores) and control_sim.c (the control plane's part) share. */
#ifndef HUB_H
#define HUB_H

#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

struct core;

struct hub_core {
	struct sim *s;
	uint32_t index;
	uint64_t incarnation;
	struct io *io;
	struct core *core; /* NULL while it recovers */
	ucontext_t here;
	void *stack;
	bool up, dead, done;
	uint64_t wake_ns;
	uint32_t die_in;   /* calls of io.h until it crashes; 0: it does not */
	bool die_power;
	/* what the control plane knows of it */
	int link, link_core;    /* our end; the core's, until it has it */
	int tail_fd, dupes_fd;
	bool announced, accepting, drained, look_due;
	bool peered[SIM_CORES_MAX];
};

struct hub {
	struct sim *s;
	struct hub_core core[SIM_CORES_MAX];
	ucontext_t main;
	const void *main_bottom;
	size_t main_bytes;
	uint64_t crashes, disturbed_ns; /* the last death of a core, or joining of its successor */
	uint64_t blind;          /* starts of a core while another one's journal could not be seen */
	bool paused[SIM_DESTS_MAX];
	bool away, draining, drain_again; /* the control plane is dead; a drain was ordered; twice */
	int listen_fd;                    /* RUN/link.sock */
	int listener_fd;                  /* stands for the listening socket of the one listener */
};

/* hub.c */
void hub_spawn(struct hub_core *h);
void hub_crash_soon(struct sim *s, bool power, uint64_t calls);

/* control_sim.c */
void control_init(struct sim *s);
void control_spawn(struct sim *s, struct hub_core *h);
void control_died(struct hub_core *h);
void control_finished(struct hub_core *h);
void control_look(struct sim *s); /* after each turn of a core: did it say something? */
void control_pause(struct sim *s);
void control_die(struct sim *s);

#endif
