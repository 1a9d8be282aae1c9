/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c - the program: runs seeds, each in a process of its own, first with faults, then calm, then once more after a stop.
 *
 *   sim --seed N [--seeds COUNT] [--steps M] [--seconds S] [--verbose]
 *
 * No seed is begun after S seconds of real time, so that a slow machine runs fewer of them; the first is always run.
 * A seed fails with the command that repeats it and what happened last. Exit status 1 if any failed.
 */
#include "sim.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIM_STEPS       20000u
#define SIM_CALM_NS     (120 * SIM_S) /* after the faults, everything must be done by then */
#define SIM_HANG_STEPS  20000000u

static struct sim *sim_running; /* for the signal handler only */

/* One step: whatever is due first, an event of the world or a core. */
static void sim_step(struct sim *s)
{
	uint64_t event = UINT64_MAX, core = UINT64_MAX;

	must(sim_next(s, &event) | hub_run(s, &core));
	s->steps++;
	if (core < event)
		hub_run_one(s);
	else
		sim_run_one(s);
}

static void sim_fault(struct sim *s, void *arg, uint64_t n)
{
	if (s->calm)
		return;
	switch (sim_below(s, 3)) {
	case 0:
		hub_fault(s);
		break;
	case 1:
		dests_fault(s);
		break;
	default:
		if (s->p.net_breaks)
			net_break_one(s);
	}
	sim_at(s, s->now_ns + sim_between(s, 5, 600) * SIM_MS, sim_fault, NULL, 0);
}

static void sim_retry_dead(struct sim *s, void *arg, uint64_t n)
{
	if (s->closing)
		return;
	hub_retry_dead(s);
	sim_at(s, s->now_ns + 2 * SIM_S, sim_retry_dead, NULL, 0);
}

/* No more faults: all that was acknowledged must get where it belongs. */
static void sim_calm(struct sim *s)
{
	uint64_t end = s->now_ns + SIM_CALM_NS, steps = s->steps;

	sim_trace(s, "from here on it is calm");
	s->calm = true;
	hub_calm(s);
	dests_calm(s);
	senders_calm(s);
	sim_at(s, s->now_ns + 3 * SIM_S, sim_retry_dead, NULL, 0);
	while (!(senders_done(s) && audit_settled(s) && hub_up(s))) {
		for (int i = 0; i < 64; i++)
			sim_step(s);
		if (s->now_ns < end && s->steps - steps < SIM_HANG_STEPS)
			continue;
		if (!hub_up(s))
			sim_fail(s, "a core does not take connections though nothing hinders it");
		audit_end(s);
		sim_fail(s, "senders do not get their answers though nothing hinders the hub");
	}
	for (end = s->now_ns + SIM_S; s->now_ns < end;) /* the last outcomes get home */
		sim_step(s);
	audit_end(s);
}

/* A stop in good order and a new start: nothing is delivered again, and nothing is left. */
static void sim_restart(struct sim *s)
{
	uint64_t end = s->now_ns + 20 * SIM_S, before;

	s->closing = true;
	hub_drain(s);
	while (!hub_stopped(s)) {
		sim_step(s);
		if (s->now_ns > end)
			sim_fail(s, "the hub does not finish draining");
	}
	before = audit_arrivals(s);
	hub_start(s);
	for (end = s->now_ns + 3 * SIM_S; s->now_ns < end;)
		sim_step(s);
	if (audit_arrivals(s) != before)
		sim_fail(s, "%llu messages came again after a stop in good order", (unsigned long long)(audit_arrivals(s) - before));
}

/* ---- one seed ---- */

static void sim_make_folder(struct sim *s)
{
	const char *at = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

	snprintf(s->folder, sizeof(s->folder), "%s/millrace-sim-XXXXXX", at ? at : "/tmp");
	must(mkdtemp(s->folder));
}

static void sim_remove(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char below[600];

	while (d && (e = readdir(d))) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
			sim_remove(below);
		else
			unlink(below);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static void sim_on_signal(int number)
{
	sim_trace_print(sim_running);
	fprintf(stderr, "sim: seed %llu FAILED at %.6f s: signal %d\n", (unsigned long long)sim_running->seed,
		(double)sim_running->now_ns / 1e9, number);
	fflush(stderr);
	_Exit(1);
}

static void sim_seed(struct sim *s, uint64_t seed, uint64_t steps)
{
	s->seed = seed;
	s->random = seed * 0x9e3779b97f4a7c15u + 12345;
	s->now_ns = SIM_S;
	sim_running = s;
	signal(SIGABRT, sim_on_signal);
	signal(SIGSEGV, sim_on_signal);
	signal(SIGALRM, sim_on_signal);
	alarm(300); /* a core that never waits again */
	profile_choose(s);
	profile_config(s);
	disk_init(s);
	net_init(s);
	audit_init(s);
	dests_init(s);
	hub_init(s);
	senders_init(s);
	hub_start(s);
	sim_at(s, s->now_ns + SIM_S / 4, sim_fault, NULL, 0);
	while (s->steps < steps)
		sim_step(s);
	sim_calm(s);
	sim_restart(s);
	printf("seed %llu: ", (unsigned long long)seed);
	audit_print(s);
	printf(", %llu crashes, %.1f s, trace %016llx\n", (unsigned long long)hub_crashes(s), (double)s->now_ns / 1e9,
	       (unsigned long long)s->trace_hash);
	fflush(stdout);
}

/* In a process of its own: a seed may abort, and what a crashed core held goes with the process. */
static bool sim_fork(uint64_t seed, uint64_t steps, bool verbose)
{
	static struct sim s;
	int status;
	pid_t pid;

	memset(&s, 0, sizeof(s));
	s.verbose = verbose;
	sim_make_folder(&s);
	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		sim_seed(&s, seed, steps);
		_Exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	sim_remove(s.folder);
	if (status == 0)
		return true;
	fprintf(stderr, "sim: to repeat it: sim --seed %llu --steps %llu --verbose\n", (unsigned long long)seed,
		(unsigned long long)steps);
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'n'},
						{"steps", required_argument, NULL, 'm'}, {"seconds", required_argument, NULL, 't'},
						{"verbose", no_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
	uint64_t seed = 1, seeds = 1, steps = SIM_STEPS, seconds = UINT64_MAX, failed = 0, run = 0;
	time_t begin = time(NULL);
	struct rlimit files;
	bool verbose = false;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			seeds = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			steps = strtoull(optarg, NULL, 10);
			break;
		case 't':
			seconds = strtoull(optarg, NULL, 10);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			fputs("usage: sim --seed N [--seeds COUNT] [--steps M] [--seconds S] [--verbose]\n", stderr);
			return 2;
		}
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (; run < seeds && failed < 20 && (!run || (uint64_t)(time(NULL) - begin) < seconds); run++)
		failed += !sim_fork(seed + run, steps, verbose);
	printf("%llu seeds of %llu run, %llu failed\n", (unsigned long long)run, (unsigned long long)seeds,
	       (unsigned long long)failed);
	return failed != 0;
}
