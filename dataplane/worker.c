/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - the program millrace-worker: one process, one pinned core, one loop.
 *
 * Started by millrace-control with its number; gets everything else over the link: configuration, listening sockets,
 * rings. Says what is wrong on standard error and exits; the supervisor starts it again.
 */
#include "core.h"
#include "abi/mr_paths.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKER_LINK_WAIT_MS 10000

struct worker {
	uint32_t index;
	char run[512];
	int link;
	uint64_t incarnation;
	const struct mr_config *cfg;
};

static int worker_say(const struct worker *w, const char *what, int error)
{
	fprintf(stderr, "millrace-worker %u: %s: %s\n", w->index, what, strerror(error < 0 ? -error : error));
	return error < 0 ? error : -error;
}

/* The image is mapped privately: an older kernel refuses a shared mapping of sealed memory. */
static int worker_map_config(struct worker *w, int fd, uint64_t bytes)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < bytes)
		return -EPROTO;
	p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (mr_config_check(p, bytes) < 0) {
		munmap(p, bytes);
		return -EPROTO;
	}
	w->cfg = p;
	return 0;
}

/* Says HELLO and waits for the configuration; what comes after it stays in the socket for the core. */
static int worker_greet(struct worker *w)
{
	struct mr_link_msg m = {.type = MR_LINK_HELLO, .version = MR_LINK_VERSION};
	int fds[MR_LINK_FDS_MAX], r;
	uint32_t nfds;

	w->link = mr_link_connect(w->run);
	if (w->link < 0)
		return worker_say(w, "no control plane to talk to", w->link);
	m.u.hello.kind = MR_KIND_WORKER;
	m.u.hello.index = w->index;
	m.u.hello.pid = (uint64_t)getpid();
	m.u.hello.state = MR_STATE_STARTING;
	r = mr_link_send(w->link, &m, NULL, 0);
	while (r == 0 && !w->cfg) {
		struct pollfd p = {.fd = w->link, .events = POLLIN};

		if (poll(&p, 1, WORKER_LINK_WAIT_MS) <= 0)
			return worker_say(w, "no configuration came", ETIMEDOUT);
		r = mr_link_recv(w->link, &m, fds, &nfds);
		if (r < 0)
			break;
		if (m.type == MR_LINK_WELCOME)
			w->incarnation = m.u.hello.incarnation;
		if (m.type == MR_LINK_CONFIG && nfds == 1)
			r = worker_map_config(w, fds[0], m.u.config.bytes);
		for (uint32_t i = 0; i < nfds; i++)
			close(fds[i]);
	}
	return r < 0 ? worker_say(w, "the link failed", r) : 0;
}

static void worker_pin(const struct worker *w)
{
	int cpu = w->cfg->cpus[w->index];
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		worker_say(w, "cannot be pinned to its CPU; goes on unpinned", errno);
}

static void worker_limits(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);  /* the terminal's Ctrl-C goes to the whole group; draining is the control plane's order */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* Lanes of this worker: each may have one read of a journal file in flight. */
static uint32_t worker_lanes(const struct worker *w)
{
	uint32_t lanes = 0;

	for (uint32_t d = 0; d < w->cfg->dests.count; d++)
		if (mr_config_dest(w->cfg, d)->owner == w->index)
			lanes += mr_config_dest(w->cfg, d)->connections;
	return lanes;
}

static int worker_run(struct worker *w)
{
	struct io_params p = {
		.connections_max = w->cfg->worker_connections_max + 1024,
		.recv_buffers = RECV_BUFFERS,
		.recv_buffer_bytes = RECV_BUFFER_BYTES,
		.files_max = FILES_IN_FLIGHT + worker_lanes(w),
		.busy_poll = w->cfg->busy_poll,
	};
	struct core *c = NULL;
	struct io *io = NULL;
	int r = io_create(&p, &io);

	if (r < 0)
		return worker_say(w, "io_uring cannot be used here", r);
	r = core_create(io, w->cfg, w->index, w->incarnation, w->run, w->link, &c);
	if (r < 0)
		return worker_say(w, "cannot start", r);
	r = core_run(c);
	core_destroy(c);
	io_destroy(io);
	return r < 0 ? worker_say(w, "the loop failed", r) : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"index", required_argument, NULL, 'i'}, {"run", required_argument, NULL, 'r'},
		{"version", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0},
	};
	struct worker w = {.link = -1};
	const char *run = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case 'i':
			w.index = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			run = optarg;
			break;
		case 'v':
			puts("millrace-worker " MILLRACE_VERSION " io_uring");
			return 0;
		default:
			fputs("usage: millrace-worker --index N --run DIR (started by millrace-control)\n", stderr);
			return 2;
		}
	if (w.index >= MR_WORKERS_MAX || mr_run_folder(run, w.run, sizeof(w.run)) < 0)
		return 2;
	worker_limits();
	if (worker_greet(&w) < 0)
		return 1;
	worker_pin(&w);
	return worker_run(&w) < 0;
}
