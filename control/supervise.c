/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c - the life of the processes: started, made ready in order, watched, started again with back-off, drained.
 *
 * Called by main.c, handoff.c, takeover.c and its own events, on the control loop. Children stand in process groups of
 * their own (a Ctrl-C at the terminal is for the hub as a whole) and outlive this process: it must never tie their
 * lives to its own. Every process is watched by a pidfd, ours to reap or not.
 */
#include "supervise.h"

#include "ctl.h"
#include "handoff.h"
#include "listen.h"
#include "mr_paths.h"
#include "notify.h"
#include "peers.h"
#include "takeover.h"
#include "trouble.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUPERVISE_TICK_NS         1000000000ull
#define SUPERVISE_STUCK_NS        10000000000ull  /* a heartbeat that stands still while the process works */
#define SUPERVISE_RECOVER_NS      300000000000ull /* while it starts or recovers: reading a journal can take its time */
#define SUPERVISE_HELLO_NS        20000000000ull  /* from start to HELLO, or without a link */
#define SUPERVISE_START_PARTIAL_S 60              /* then accept with the workers that are ready */
#define SUPERVISE_DRAIN_EXTRA_NS  10000000000ull  /* the processes end by themselves 5 s after drain_timeout */

static void supervise_progress(struct control *c);
static void supervise_gone(struct process *p, int status, bool known);

static void supervise_after(struct event *e, uint64_t ns)
{
	const struct timeval t = {.tv_sec = (time_t)(ns / 1000000000u),
	                          .tv_usec = (suseconds_t)(ns % 1000000000u / 1000)};

	event_add(e, &t);
}

uint32_t supervise_running(const struct control *c)
{
	uint32_t n = 0;

	control_each (c, p)
		n += p->pid != 0;
	return n;
}

/* ---- starting ---- */

static void supervise_on_exit(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;
	int status = 0;
	bool known = p->child;

	if (p->child && waitpid(p->pid, &status, WNOHANG) == 0)
		return;
	supervise_gone(p, status, known);
}

static int supervise_watch(struct process *p)
{
	p->pidfd = pidfd_open(p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	p->exit_event = event_new(p->control->base, p->pidfd, EV_READ | EV_PERSIST, supervise_on_exit, p);
	must(p->exit_event);
	event_add(p->exit_event, NULL);
	return 0;
}

static void supervise_begin_life(struct process *p, pid_t pid, bool child)
{
	p->pid = pid;
	p->child = child;
	p->drain_sent = p->drained = p->drain_again = p->killed = false;
	p->ready = p->accept_sent = p->accepting = p->announced = false;
	p->started_ns = p->unlinked_ns = p->heartbeat_seen_ns = control_now_ns();
	p->wall_ns = control_wall_ns();
	p->heartbeat_ns = 0;
	p->busy_ratio = 0;
	p->busy_seen_ns = 0;
}

/*
 * A worker holds a lock on its number in the data folder by a descriptor that it inherits and knows nothing of, so that
 * it ends with the process: two processes can never own one journal, not even those of two hubs by mistake.
 */
static int supervise_lock(const struct process *p)
{
	char path[700];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s.lock", p->control->cfg->data, p->name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* @lock_fd stays open in the child. */
static int supervise_exec(struct process *p, int lock_fd, pid_t *ret)
{
	struct control *c = p->control;
	const char *program = p->kind == MR_KIND_WORKER ? c->program : c->connector_program;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char index[16];
	char *argv[6] = {(char *)(uintptr_t)program, (char *)(uintptr_t) "--run", (char *)(uintptr_t)c->cfg->run, NULL};
	sigset_t none, all;
	int r;

	snprintf(index, sizeof(index), "%u", p->index);
	if (p->kind == MR_KIND_WORKER) {
		argv[3] = (char *)(uintptr_t) "--index";
		argv[4] = index;
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, lock_fd, lock_fd);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	r = -posix_spawn(ret, program, &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return r;
}

static void supervise_on_restart(evutil_socket_t fd, short what, void *arg);

static void supervise_retry(struct process *p, uint64_t lived_ns)
{
	if (p->control->state != CONTROL_DRAINING)
		supervise_after(p->restart_timer, backoff_next(&p->backoff, lived_ns));
}

static void supervise_spawn(struct process *p)
{
	struct control *c = p->control;
	const struct log_about about = {.process = p->name};
	int lock_fd, r;
	pid_t pid;

	if (p->kind == MR_KIND_WORKER && listen_open(c, p->index, false) < 0) {
		supervise_retry(p, 0);
		return;
	}
	lock_fd = supervise_lock(p);
	if (lock_fd < 0) {
		trouble_raise(c, p, LOG_JOURNAL_LOCKED, UINT32_MAX, lock_fd, "%s/%s.lock: %s; waiting for it",
		              c->cfg->data, p->name,
		              lock_fd == -EBUSY ? "another process has this place" : strerror(-lock_fd));
		supervise_retry(p, 0);
		return;
	}
	r = supervise_exec(p, lock_fd, &pid);
	close(lock_fd);
	if (r < 0) {
		trouble_raise(c, p, LOG_PROCESS_NOT_FOUND, UINT32_MAX, r, "cannot start %s: %s",
		              p->kind == MR_KIND_WORKER ? c->program : c->connector_program, strerror(-r));
		supervise_retry(p, 0);
		return;
	}
	trouble_over_silent(c, p, LOG_JOURNAL_LOCKED, UINT32_MAX);
	trouble_over(c, p, LOG_PROCESS_NOT_FOUND, UINT32_MAX);
	p->incarnation++;
	supervise_begin_life(p, pid, true);
	r = supervise_watch(p);
	if (r < 0) { /* out of descriptors: without the watch we cannot answer for it */
		log_event(LOG_INTERNAL, &about, "cannot watch a process: %s", strerror(-r));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		p->pid = 0;
		supervise_retry(p, 0);
	}
}

static void supervise_on_restart(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	if (!p->pid && p->control->state != CONTROL_DRAINING) {
		p->restarts++;
		process_save_base(p);
		supervise_spawn(p);
	}
}

static void supervise_on_start_timer(evutil_socket_t fd, short what, void *arg)
{
	supervise_progress(arg);
}

void supervise_start(struct control *c)
{
	control_each (c, p)
		if (!p->pid && !event_pending(p->restart_timer, EV_TIMEOUT, NULL))
			supervise_spawn(p);
	if (c->state == CONTROL_STARTING)
		supervise_after(c->start_timer, SUPERVISE_START_PARTIAL_S * 1000000000ull);
	supervise_progress(c);
}

/* ---- becoming ready ---- */

static void supervise_send_accept(struct process *p)
{
	if (p->kind == MR_KIND_WORKER && p->ready && !p->accept_sent && !p->drain_sent) {
		handoff_send_simple(p, MR_LINK_ACCEPT);
		p->accept_sent = true;
	}
}

/* Destinations and routes first, then listeners: accepting begins when every process is ready. */
static bool supervise_may_accept(struct control *c)
{
	uint32_t ready_workers = 0;
	bool all = true;

	control_each (c, p) {
		all = all && p->ready;
		ready_workers += p->ready && p->kind == MR_KIND_WORKER;
	}
	if (all)
		return true;
	if (!ready_workers || control_now_ns() - c->started_ns < SUPERVISE_START_PARTIAL_S * 1000000000ull)
		return false;
	log_event(LOG_START_PARTIAL, NULL, "accepting with %u of %u workers: not every process is ready after %d s",
	          ready_workers, c->cfg->workers, SUPERVISE_START_PARTIAL_S);
	return true;
}

static bool supervise_all_accepting(const struct control *c)
{
	control_each (c, p)
		if (p->kind == MR_KIND_WORKER && p->ready && !p->accepting)
			return false;
	return true;
}

static void supervise_progress(struct control *c)
{
	if (c->state == CONTROL_STARTING && !c->adopting && supervise_may_accept(c)) {
		if (listen_start(c) < 0) {
			c->exit_status = 1;
			supervise_drain(c);
			return;
		}
		c->state = CONTROL_RUNNING;
	}
	if (c->state != CONTROL_RUNNING)
		return;
	control_each (c, p)
		supervise_send_accept(p);
	if (!c->announced && supervise_all_accepting(c)) {
		c->announced = true;
		notify_ready(c);
	}
}

void supervise_ready(struct process *p)
{
	const struct log_about about = {.process = p->name, .pid = p->pid};

	if (p->ready)
		return;
	p->ready = true;
	peers_announce(p);
	process_map_region(p);
	process_drop_ghost(p);
	if (p->down_logged) {
		log_event(LOG_PROCESS_READY, &about, "back at work after %.1f s",
		          (double)(control_now_ns() - p->started_ns) / 1e9);
		trouble_over_silent(p->control, p, LOG_PROCESS_DIED, UINT32_MAX);
		trouble_over_silent(p->control, p, LOG_PROCESS_STUCK, UINT32_MAX);
		p->down_logged = false;
	}
	supervise_progress(p->control);
}

void supervise_accepting(struct process *p)
{
	p->accepting = true;
	supervise_progress(p->control);
}

void supervise_adopt(struct process *p, pid_t pid, uint64_t incarnation)
{
	const struct log_about about = {.process = p->name, .pid = pid};
	int r;

	event_del(p->restart_timer);
	if (p->incarnation < incarnation)
		p->incarnation = incarnation;
	supervise_begin_life(p, pid, false);
	r = supervise_watch(p);
	if (r < 0) { /* died since it spoke */
		supervise_gone(p, 0, false);
		return;
	}
	log_event(LOG_PROCESS_ADOPTED, &about, "taken over, at work already");
}

void supervise_adopted(struct process *p, uint32_t state)
{
	process_map_region(p);
	p->ready = true;
	p->accepting = p->accept_sent = state >= MR_STATE_RUNNING;
	takeover_adopted(p);
	supervise_progress(p->control);
}

/* ---- dying ---- */

static void supervise_log_death(struct process *p, int status, bool known)
{
	struct control *c = p->control;
	char how[80];

	if (!known)
		snprintf(how, sizeof(how), "ended");
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, sizeof(how), "exited with status %d", WEXITSTATUS(status));
	trouble_raise(c, p, LOG_PROCESS_DIED, UINT32_MAX, 0, "pid %d %s after %.1f s; starting it again", (int)p->pid,
	              how, (double)(control_now_ns() - p->started_ns) / 1e9);
	p->down_logged = true;
}

static void supervise_gone(struct process *p, int status, bool known)
{
	struct control *c = p->control;
	uint64_t lived_ns = control_now_ns() - p->started_ns;

	process_map_region(p);
	process_bury_region(p);
	if (c->state != CONTROL_DRAINING)
		supervise_log_death(p, status, known);
	if (p->exit_event)
		event_free(p->exit_event);
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->exit_event = NULL;
	p->pidfd = -1;
	handoff_drop(p);
	peers_gone(p);
	ctl_process_gone(c, p);
	trouble_process_gone(c, p);
	p->pid = 0;
	p->ready = p->accept_sent = p->accepting = false;
	if (c->state == CONTROL_DRAINING)
		supervise_drain_next(c);
	else if (!c->adopting)
		supervise_retry(p, lived_ns);
}

/* ---- watching ---- */

static void supervise_kill_stuck(struct process *p, const char *why, uint64_t stuck_ns)
{
	trouble_raise(p->control, p, LOG_PROCESS_STUCK, UINT32_MAX, 0, "pid %d %s for %.0f s: killing it", (int)p->pid,
	              why, (double)stuck_ns / 1e9);
	p->killed = true;
	kill(p->pid, SIGKILL);
}

static void supervise_check(struct process *p, uint64_t now)
{
	const struct mr_region *r = process_map_region(p);
	uint64_t beat, limit;

	if (!p->link && now > p->unlinked_ns && now - p->unlinked_ns > SUPERVISE_HELLO_NS) {
		supervise_kill_stuck(p, "has no link to the control process", now - p->unlinked_ns);
		return;
	}
	if (!r)
		return;
	beat = mr_load_relaxed(&r->heartbeat_ns);
	if (beat != p->heartbeat_ns) {
		p->heartbeat_ns = beat;
		p->heartbeat_seen_ns = now;
	}
	limit = mr_load_relaxed(&r->state) < MR_STATE_READY ? SUPERVISE_RECOVER_NS : SUPERVISE_STUCK_NS;
	if (now > p->heartbeat_seen_ns && now - p->heartbeat_seen_ns > limit) /* it may have been seen since the tick began */
		supervise_kill_stuck(p, "has not moved its heartbeat", now - p->heartbeat_seen_ns);
}

static void supervise_busy(struct process *p, uint64_t now)
{
	const struct mr_region *r = p->region;
	uint64_t busy;

	if (!r || r->metric_count != MR_METRICS)
		return;
	busy = mr_load_relaxed(mr_region_words(r, mr_region_metric(r, MR_M_W_BUSY_NS), 0));
	if (p->busy_seen_ns && now > p->busy_seen_ns && busy >= p->busy_ns)
		p->busy_ratio = (double)(busy - p->busy_ns) / (double)(now - p->busy_seen_ns);
	p->busy_ns = busy;
	p->busy_seen_ns = now;
}

static void supervise_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	uint64_t now = control_now_ns();
	bool asleep = now - c->tick_ns > 3 * SUPERVISE_TICK_NS; /* we, or the whole machine, stood still: no judging */

	c->tick_ns = now;
	control_each (c, p) {
		if (!p->pid || p->killed)
			continue;
		if (asleep)
			p->heartbeat_seen_ns = p->unlinked_ns = now;
		supervise_busy(p, now);
		supervise_check(p, now);
	}
	peers_settle(c);
}

/* ---- stopping ---- */

void supervise_drain_one(struct process *p)
{
	if (!p->drain_sent && p->link) {
		handoff_send_simple(p, MR_LINK_DRAIN);
		p->drain_sent = true;
	}
}

void supervise_drain_next(struct control *c)
{
	if (c->state != CONTROL_DRAINING)
		return;

	if (!supervise_running(c)) {
		event_base_loopbreak(c->base);
		return;
	}
	/*
	 * Every process finishes what it has in flight and says so. Outcomes may cross from one to the other until the
	 * last has; then the workers, which journal them, are told a second time and end.
	 */
	control_each (c, p)
		if (p->pid && !(p->kind == MR_KIND_WORKER ? p->drained : false))
			return;
	control_each (c, p)
		if (p->pid && !p->drain_again) {
			p->drain_again = true;
			handoff_send_simple(p, MR_LINK_DRAIN);
		}
}

static void supervise_on_drain_timer(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	log_event(LOG_KILLED, NULL,
	          "not drained in time: %u processes are killed; nothing that was acknowledged is lost",
	          supervise_running(c));
	supervise_kill(c);
}

void supervise_drain(struct control *c)
{
	if (c->state == CONTROL_DRAINING)
		return;
	c->state = CONTROL_DRAINING;
	notify_stopping();
	log_event(LOG_DRAINING, NULL, "stopping: nothing new is accepted, what is in flight is finished or kept");
	listen_close(c);
	control_each (c, p) {
		event_del(p->restart_timer);
		if (!p->pid)
			continue;
		if (p->link)
			supervise_drain_one(p);
		else if (p->child)
			kill(p->pid, SIGKILL); /* it has not begun to work: nothing to finish */
	}
	supervise_after(c->drain_timer, c->cfg->drain_timeout_ns + SUPERVISE_DRAIN_EXTRA_NS);
	supervise_drain_next(c);
}

void supervise_kill(struct control *c)
{
	c->by_force = true;
	control_each (c, p)
		if (p->pid) {
			p->killed = true;
			kill(p->pid, SIGKILL);
		}
	if (!supervise_running(c))
		event_base_loopbreak(c->base);
}

/* ---- begin and end ---- */

int supervise_open(struct control *c)
{
	const struct timeval tick = {.tv_sec = 1};
	const char *missing = NULL;

	if (mr_find_program("millrace-worker", c->program, sizeof(c->program)) < 0)
		missing = "millrace-worker";
	if (c->process[MR_CONNECTOR_FILE] &&
	    mr_find_program("millrace-connector-file", c->connector_program, sizeof(c->connector_program)) < 0)
		missing = "millrace-connector-file";
	if (missing) {
		log_event(LOG_PROCESS_NOT_FOUND, NULL, "program %s is not installed beside this one", missing);
		return -ENOENT;
	}
	c->tick_ns = control_now_ns();
	c->tick_timer = event_new(c->base, -1, EV_PERSIST, supervise_on_tick, c);
	c->drain_timer = evtimer_new(c->base, supervise_on_drain_timer, c);
	c->start_timer = evtimer_new(c->base, supervise_on_start_timer, c);
	must(c->tick_timer && c->drain_timer && c->start_timer);
	event_add(c->tick_timer, &tick);
	control_each (c, p) {
		p->restart_timer = evtimer_new(c->base, supervise_on_restart, p);
		must(p->restart_timer);
	}
	return 0;
}

void supervise_close(struct control *c)
{
	struct event *timers[] = {c->tick_timer, c->drain_timer, c->start_timer};

	for (size_t i = 0; i < MR_ARRAY_LEN(timers); i++)
		if (timers[i])
			event_free(timers[i]);
	control_each (c, p) {
		if (p->exit_event)
			event_free(p->exit_event);
		if (p->pidfd >= 0)
			close(p->pidfd);
		if (p->restart_timer)
			event_free(p->restart_timer);
		p->exit_event = p->restart_timer = NULL;
		p->pidfd = -1;
	}
	c->tick_timer = c->drain_timer = c->start_timer = NULL;
}
