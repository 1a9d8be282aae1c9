/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - `millrace run`: starts millrace-control and stays with it; what an init system does, for a shell or a
 * container.
 *
 * Forwards SIGTERM, SIGINT and SIGHUP, starts the control process again if it dies (the workers work on meanwhile and
 * are taken over), reaps what a dead one leaves behind, and passes its exit status on. Must never touch the hub itself.
 */
#include "cli.h"
#include "mr_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_WORDS_MAX     512
#define RUN_WAIT_FIRST_MS 100
#define RUN_WAIT_MAX_MS   10000
#define RUN_HEALTHY_S     30
#define RUN_STOP_TRIES    3 /* control processes to start in order to stop the hub properly */

struct run {
	struct cli *cli;
	char program[512];
	char *argv[RUN_WORDS_MAX + 8];
	pid_t pid;      /* of the control process, 0 = none */
	time_t started; /* monotonic */
	uint32_t starts;
	uint32_t wait_ms; /* before the next start */
	int stop;         /* signal that asked to stop, 0 = none */
	uint32_t stop_starts;
};

static time_t run_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static int run_words(struct run *r)
{
	const char *value;
	int n = 0;

	r->argv[n++] = r->program;
	for (int i = 0; (value = cli_value_at(r->cli, "config", i)); i++) {
		if (n + 8 > RUN_WORDS_MAX)
			return cli_usage(r->cli, "too many configuration files");
		r->argv[n++] = (char *)(uintptr_t) "-c";
		r->argv[n++] = (char *)(uintptr_t)value;
	}
	value = cli_value(r->cli, "run");
	if (value) {
		r->argv[n++] = (char *)(uintptr_t) "--run";
		r->argv[n++] = (char *)(uintptr_t)value;
	}
	value = cli_value(r->cli, "log");
	if (value) {
		r->argv[n++] = (char *)(uintptr_t) "--log";
		r->argv[n++] = (char *)(uintptr_t)value;
	}
	r->argv[n] = NULL;
	return CLI_OK;
}

/*
 * The control process gets a process group of its own, so that a Ctrl-C comes to it once, from here; and it starts with
 * the stop signals blocked, so that one that comes early waits until it can be handled.
 */
static int run_start(struct run *r)
{
	posix_spawnattr_t attr;
	sigset_t blocked, defaults;
	int e;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigfillset(&defaults);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &blocked);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	e = posix_spawn(&r->pid, r->program, NULL, &attr, r->argv, environ);
	posix_spawnattr_destroy(&attr);
	if (e) {
		r->pid = 0;
		cli_error(r->cli, "cannot start %s: %s", r->program, strerror(e));
		return -e;
	}
	r->started = run_now();
	r->starts++;
	if (r->stop) { /* only to stop the hub in order */
		r->stop_starts++;
		kill(r->pid, r->stop);
	}
	return 0;
}

static int run_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Is this end final? 0 and 2 always; 1 and 3 when the very first start fails, before there is a hub to look after. */
static bool run_is_final(const struct run *r, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (code == CLI_OK || code == CLI_USAGE)
		return true;
	if (r->stop)
		return code >= 0 || r->stop_starts >= RUN_STOP_TRIES;
	return r->starts == 1 && (code == CLI_FAILED || code == CLI_CONFIG) && run_now() - r->started < RUN_HEALTHY_S;
}

/* Reaps everything that ended. Returns true if the hub is over, with its exit status. */
static bool run_reap(struct run *r, int *ret_status)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != r->pid)
			continue; /* a worker whose control process died: the new one watches it by itself */
		r->pid = 0;
		if (run_is_final(r, status)) {
			*ret_status = run_status(status);
			return true;
		}
		if (run_now() - r->started >= RUN_HEALTHY_S || !r->wait_ms)
			r->wait_ms = RUN_WAIT_FIRST_MS;
		else
			r->wait_ms = r->wait_ms * 2 < RUN_WAIT_MAX_MS ? r->wait_ms * 2 : RUN_WAIT_MAX_MS;
		if (WIFSIGNALED(status))
			cli_error(r->cli,
			          "the control process was killed by signal %d; starting it again in %u ms, the "
			          "workers work on",
			          WTERMSIG(status), r->wait_ms);
		else
			cli_error(r->cli,
			          "the control process exited with status %d; starting it again in %u ms, the workers "
			          "work on",
			          WEXITSTATUS(status), r->wait_ms);
	}
	return false;
}

static void run_forward(struct run *r, int number)
{
	if (number == SIGTERM || number == SIGINT)
		r->stop = number;
	if (r->pid)
		kill(r->pid, number);
}

static int run_loop(struct run *r, const sigset_t *signals)
{
	int status;

	for (;;) {
		struct timespec wait = {.tv_sec = r->wait_ms / 1000, .tv_nsec = (long)(r->wait_ms % 1000) * 1000000};
		int number = sigtimedwait(signals, NULL, r->pid ? NULL : &wait);

		if (number == SIGCHLD) {
			if (run_reap(r, &status))
				return status;
		} else if (number > 0) {
			run_forward(r, number);
		} else if (!r->pid && errno == EAGAIN && run_start(r) < 0) {
			r->wait_ms = RUN_WAIT_MAX_MS;
		}
	}
}

int run_main(struct cli *cli)
{
	struct run r = {.cli = cli};
	sigset_t signals;
	int e;

	if (cli->argc)
		return cli_usage(cli, "takes no arguments; give the configuration with -c");
	if (cli_choice(cli, "log", 0) < 0)
		return CLI_USAGE;
	if (mr_find_program("millrace-control", r.program, sizeof(r.program)) < 0) {
		cli_error(cli, "program millrace-control is not installed beside this one");
		return CLI_FAILED;
	}
	e = run_words(&r);
	if (e)
		return e;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (run_start(&r) < 0)
		return CLI_FAILED;
	return run_loop(&r, &signals);
}
