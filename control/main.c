/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - millrace-control: checks the configuration, sets the hub up, runs the loop, takes it down.
 *
 * Started by `millrace run` or systemd. One process, one loop thread, a few resolver threads. It must be possible to
 * kill it at any line: workers go on without it, and the next one takes them over.
 */
#include "config.h"
#include "control.h"
#include "ctl.h"
#include "handoff.h"
#include "image.h"
#include "listen.h"
#include "log.h"
#include "peers.h"
#include "resolve.h"
#include "store.h"
#include "supervise.h"
#include "takeover.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIG    3
#define MAIN_PATHS_MAX 256
/*
 * One stop request often comes several times: systemd and `timeout` signal every process, and `millrace run` passes its
 * own on. A second one is sent 1 s or later after the first; less here, since the first may be seen late.
 */
#define MAIN_AGAIN_NS 750000000ull

struct main_options {
	const char *paths[MAIN_PATHS_MAX];
	uint32_t path_count;
	const char *run;
	bool check, print_image;
	int format; /* enum config_format */
	enum log_mode log;
};

static const char main_usage[] =
    "usage: millrace-control [-c FILE|DIR]... [--run DIR] [--log json|text|journald]\n"
    "       millrace-control --check [--format text|json] [FILE|DIR]...\n"
    "       millrace-control --print-image [FILE|DIR]... > IMAGE\n"
    "       millrace-control --print-default\n"
    "\n"
    "Runs a hub: checks the configuration, starts and watches its processes. Usually started by `millrace run`.\n"
    "\n"
    "  -c, --config FILE|DIR  configuration; repeatable; none: the built-in one\n"
    "      --run DIR          run folder; goes before MILLRACE_RUN and the configuration\n"
    "      --log MODE         json, text or journald; default: what standard error is\n"
    "      --check            check the configuration and exit: 0 good, 3 not\n"
    "      --format FORMAT    of --check: text or json\n"
    "      --print-image      write the compiled configuration to standard output and exit\n"
    "      --print-default    write the built-in configuration to standard output and exit\n"
    "      --help, --version\n";

/* Returns 0, or an exit code + 1 when the program is to end. */
static int main_parse(int argc, char **argv, struct main_options *o)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},  {"run", required_argument, NULL, 'r'},
	    {"log", required_argument, NULL, 'l'},     {"check", no_argument, NULL, 'k'},
	    {"format", required_argument, NULL, 'f'},  {"print-image", no_argument, NULL, 'p'},
	    {"help", no_argument, NULL, 'h'},          {"version", no_argument, NULL, 'V'},
	    {"print-default", no_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	int opt, mode;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			if (o->path_count == MAIN_PATHS_MAX) {
				fprintf(stderr, "millrace-control: too many configuration files\n");
				return 2 + 1;
			}
			o->paths[o->path_count++] = optarg;
			break;
		case 'r':
			o->run = optarg;
			break;
		case 'k':
			o->check = true;
			break;
		case 'p':
			o->print_image = true;
			break;
		case 'f':
			if (strcmp(optarg, "text") && strcmp(optarg, "json")) {
				fprintf(stderr, "millrace-control: --format: legal are text and json\n");
				return 2 + 1;
			}
			o->format = strcmp(optarg, "json") ? CONFIG_TEXT : CONFIG_JSON;
			break;
		case 'l':
			mode = log_mode_of(optarg);
			if (mode < 0) {
				fprintf(stderr, "millrace-control: --log: legal are json, text and journald\n");
				return 2 + 1;
			}
			o->log = (enum log_mode)mode;
			break;
		case 'd':
			fputs(config_default_text(), stdout);
			return 0 + 1;
		case 'V':
			printf("millrace-control %s\n", MILLRACE_VERSION);
			return 0 + 1;
		case 'h':
			fputs(main_usage, stdout);
			return 0 + 1;
		default:
			fputs(main_usage, stderr);
			return 2 + 1;
		}
	}
	for (; optind < argc && o->path_count < MAIN_PATHS_MAX; optind++)
		o->paths[o->path_count++] = argv[optind];
	return 0;
}

/* --check and --print-image. */
static int main_check(const struct main_options *o)
{
	const struct config_options opt = {.environ = environ, .run = o->run};
	struct config_report report = {0};
	struct config *config = NULL;
	void *image = NULL;
	size_t bytes;
	int r = config_load(o->paths, o->path_count, &opt, &config, &report), status = r < 0 ? EXIT_CONFIG : 0;

	if (!o->print_image) {
		config_print_report(stdout, &report, o->format);
	} else if (r < 0) {
		config_print_report(stderr, &report, CONFIG_TEXT);
	} else {
		r = config_image(config, 1, &image, &bytes);
		if (r < 0 || fwrite(image, bytes, 1, stdout) != 1 || fflush(stdout)) {
			fprintf(stderr, "millrace-control: cannot write the image: %s\n", strerror(r < 0 ? -r : errno));
			status = 1;
		}
	}
	free(image);
	config_free(config);
	config_report_free(&report);
	return status;
}

static void main_on_signal(evutil_socket_t number, short what, void *arg)
{
	struct control *c = arg;

	uint64_t now = control_now_ns();
	bool again = c->signal_ns && now - c->signal_ns >= MAIN_AGAIN_NS;

	c->stop_asked = true;
	if (c->signal_ns && !again)
		return;
	if (again) {
		log_event(LOG_KILLED, NULL,
		          "second signal: all processes are killed; nothing that was acknowledged is lost");
		supervise_drain(c);
		supervise_kill(c);
		return;
	}
	c->signal_ns = now;
	if (!c->adopting) /* otherwise when it is known what there is to stop */
		supervise_drain(c);
}

static int main_folder(const char *what, const char *path)
{
	int r = image_folder(path);

	if (r < 0)
		log_event(LOG_FOLDER_FAILED, NULL, "%s folder %s: %s", what, path, strerror(-r));
	return r;
}

/* One hub for each run folder, and for each data folder. Returns a descriptor that holds the lock, or -errno. */
static int main_lock(const char *what, const char *folder, const char *name)
{
	char path[700], pid[24] = "";
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0) {
		r = -errno;
		log_event(LOG_FOLDER_FAILED, NULL, "%s: %s", path, strerror(-r));
		return r;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (read(fd, pid, sizeof(pid) - 1) > 0)
			pid[strcspn(pid, "\n")] = 0;
		if (pid[0])
			log_event(LOG_LOCKED, NULL,
			          "another control process (pid %s) has the %s folder %s; stop it first: `kill %s` "
			          "drains that hub",
			          pid, what, folder, pid);
		else
			log_event(LOG_LOCKED, NULL, "another control process has the %s folder %s; stop that hub first",
			          what, folder);
		close(fd);
		return -EBUSY;
	}
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) == 0)
		(void)!write(fd, pid, strlen(pid));
	return fd;
}

static int main_lock_run(struct control *c, const char *run)
{
	char pid[24];

	c->lock_fd = main_lock("run", run, "control.lock");
	if (c->lock_fd < 0)
		return c->lock_fd;
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	return image_put_text(run, "control.pid", pid);
}

static int main_open_data(struct control *c, const char *data)
{
	int r = main_folder("data", data);

	if (r < 0)
		return r;
	c->data_lock_fd = main_lock("data", data, "hub.lock");
	return c->data_lock_fd < 0 ? c->data_lock_fd : store_open(data, &c->store);
}

/* A new hub runs the configuration on disk, under its generation number. */
static int main_fresh_image(struct control *c, const struct config *config, const char *run)
{
	void *image = NULL;
	uint64_t generation;
	size_t bytes;
	int r = config_image(config, 1, &image, &bytes);

	if (r < 0) {
		log_event(LOG_INTERNAL, NULL, "cannot compile the configuration: %s", strerror(-r));
		return r;
	}
	r = main_open_data(c, ((const struct mr_config *)image)->data);
	if (r == 0)
		r = store_generation(c->store, ((const struct mr_config *)image)->text_hash, &generation);
	if (r == 0 && generation != 1) {
		free(image);
		image = NULL;
		r = config_image(config, generation, &image, &bytes);
	}
	if (r == 0) {
		r = image_save(run, image, bytes);
		if (r < 0)
			log_event(LOG_FOLDER_FAILED, NULL, "%s/" IMAGE_FILE ": %s", run, strerror(-r));
	}
	if (r < 0) {
		free(image);
		return r;
	}
	c->cfg = image;
	c->cfg_bytes = bytes;
	return 0;
}

/* Living processes keep the configuration they have: it is the running one whatever the files say now. */
static int main_running_image(struct control *c, const struct config *config, void *image, size_t bytes)
{
	const struct mr_config *old = image;
	void *fresh = NULL;
	size_t fresh_bytes;

	if (config_image(config, 1, &fresh, &fresh_bytes) == 0 &&
	    ((const struct mr_config *)fresh)->text_hash != old->text_hash)
		log_event(LOG_CONFIG_DIFFERS, NULL,
		          "the running processes go on with generation %llu; restart the hub to use what is on disk",
		          (unsigned long long)old->generation);
	free(fresh);
	c->cfg = old;
	c->cfg_bytes = bytes;
	return main_open_data(c, old->data);
}

static int main_take_image(struct control *c, const struct config *config, const char *run, bool *ret_takeover,
                           uint64_t incarnation[MR_PEERS_MAX])
{
	void *image;
	size_t bytes;

	*ret_takeover = takeover_living(run, incarnation);
	if (*ret_takeover && image_read(run, &image, &bytes) == 0)
		return main_running_image(c, config, image, bytes);
	return main_fresh_image(c, config, run);
}

static void main_make_processes(struct control *c, const uint64_t incarnation[MR_PEERS_MAX])
{
	for (uint32_t i = 0; i < c->cfg->workers; i++)
		c->process[i] = process_new(c, MR_KIND_WORKER, i);
	for (uint32_t i = 0; i < c->cfg->dests.count; i++)
		if (mr_config_dest(c->cfg, i)->owner == MR_CONNECTOR_FILE && !c->process[MR_CONNECTOR_FILE])
			c->process[MR_CONNECTOR_FILE] = process_new(c, MR_KIND_CONNECTOR, 0);
	control_each (c, p)
		p->incarnation = incarnation[p->peer];
	c->listen_fd = calloc((size_t)c->cfg->workers * c->cfg->listeners.count + 1, sizeof(*c->listen_fd));
	c->listen_port = calloc(c->cfg->listeners.count + 1, sizeof(*c->listen_port));
	must(c->listen_fd && c->listen_port);
	for (uint32_t i = 0; i < c->cfg->workers * c->cfg->listeners.count; i++)
		c->listen_fd[i] = -1;
	for (uint32_t i = 0; i < c->cfg->listeners.count; i++)
		c->listen_port[i] = mr_config_listener(c->cfg, i)->port;
}

/* Everything between the configuration and the loop. Returns 0 or -errno after a log line. */
static int main_set_up(struct control *c, const struct config *config, const char *run)
{
	uint64_t incarnation[MR_PEERS_MAX] = {0};
	bool takeover = false;
	int r = main_folder("run", run);

	if (r == 0)
		r = main_lock_run(c, run);
	if (r == 0)
		r = main_take_image(c, config, run, &takeover, incarnation);
	if (r < 0)
		return r;
	c->cfg_fd = image_seal(c->cfg, c->cfg_bytes);
	if (c->cfg_fd < 0) {
		log_event(LOG_INTERNAL, NULL, "cannot make the configuration's memory file: %s", strerror(-c->cfg_fd));
		return c->cfg_fd;
	}
	main_make_processes(c, incarnation);
	if (!takeover)
		peers_unsettled(c); /* a mark of an earlier hub means nothing any more, nor do its counters */
	control_each (c, p) {
		if (takeover)
			process_load_base(p);
		else
			process_forget_base(p);
	}
	r = supervise_open(c);
	for (uint32_t i = 0; r == 0 && !takeover && i < c->cfg->workers; i++)
		r = listen_open(c, i, i == 0);
	if (r < 0)
		return r;
	r = resolve_open(c);
	if (r == 0)
		r = handoff_open(c);
	if (r < 0) {
		log_event(LOG_SOCKET_FAILED, NULL, "%s/link.sock: %s", run, strerror(-r));
		return r;
	}
	r = ctl_open(c);
	if (r < 0)
		return r;
	if (takeover)
		takeover_begin(c);
	else
		supervise_start(c);
	return 0;
}

static void main_report_end(struct control *c)
{
	uint64_t pending = 0;

	control_each (c, p)
		pending += process_pending(p);
	if (pending)
		log_event(LOG_STOPPED, NULL, "stopped: %llu messages pending, kept in the journal",
		          (unsigned long long)pending);
	else
		log_event(LOG_STOPPED, NULL, "stopped: nothing pending");
}

static void main_take_down(struct control *c)
{
	char path[700];

	ctl_close(c);
	takeover_close(c);
	handoff_close(c);
	resolve_close(c);
	supervise_close(c);
	if (c->listen_fd)
		listen_close(c);
	for (uint32_t i = 0; i < MR_PEERS_MAX; i++)
		if (c->process[i])
			process_free(c->process[i]);
	store_close(c->store);
	if (c->cfg && c->lock_fd >= 0) {
		snprintf(path, sizeof(path), "%s/control.pid", c->cfg->run);
		unlink(path);
	}
	if (c->cfg_fd >= 0)
		close(c->cfg_fd);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	if (c->data_lock_fd >= 0)
		close(c->data_lock_fd);
	free((void *)(uintptr_t)c->cfg);
	free(c->listen_fd);
	free(c->listen_port);
	free(c->troubles);
}

static void main_raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* `millrace run` starts us with these blocked, so that none is lost before there is somebody to handle it. */
static void main_unblock(const int *numbers, size_t count)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int main_run(const struct config *config, const char *run)
{
	static const int stops[] = {SIGTERM, SIGINT};
	struct control c = {.cfg_fd = -1, .lock_fd = -1, .data_lock_fd = -1, .link_fd = -1};
	struct event *signals[MR_ARRAY_LEN(stops)] = {0};
	int status = 1;

	c.started_ns = control_now_ns();
	c.started_wall_ns = control_wall_ns();
	c.base = event_base_new();
	must(c.base);
	for (size_t i = 0; i < MR_ARRAY_LEN(stops); i++) {
		signals[i] = evsignal_new(c.base, stops[i], main_on_signal, &c);
		must(signals[i]);
		event_add(signals[i], NULL);
	}
	main_unblock(stops, MR_ARRAY_LEN(stops));
	if (main_set_up(&c, config, run) == 0) {
		event_base_dispatch(c.base);
		main_report_end(&c);
		status = c.by_force && !c.exit_status ? 1 : c.exit_status;
	}
	main_take_down(&c);
	for (size_t i = 0; i < MR_ARRAY_LEN(stops); i++)
		event_free(signals[i]);
	event_base_free(c.base);
	return status;
}

int main(int argc, char **argv)
{
	struct main_options o = {.log = LOG_MODE_AUTO};
	struct config_report report = {0};
	struct config *config = NULL;
	void *image = NULL;
	char run[512] = "";
	size_t bytes;
	int r = main_parse(argc, argv, &o);

	if (r)
		return r - 1;
	if (o.check || o.print_image)
		return main_check(&o);
	umask(0027);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	main_raise_limits();
	log_open(o.log);
	r = config_load(o.paths, o.path_count, &(const struct config_options){.environ = environ, .run = o.run},
	                &config, &report);
	if (r < 0 || report.warnings)
		config_print_report(stderr, &report, CONFIG_TEXT);
	config_report_free(&report);
	if (r < 0)
		return EXIT_CONFIG;
	if (!o.path_count)
		log_event(LOG_CONFIG_DEFAULT, NULL,
		          "no configuration given (-c): the built-in one is used (`millrace config default` shows it); "
		          "messages go as files into the folder inbox of the data folder");
	if (config_image(config, 1, &image, &bytes) == 0)
		snprintf(run, sizeof(run), "%s", ((const struct mr_config *)image)->run);
	free(image);
	r = run[0] ? main_run(config, run) : 1;
	config_free(config);
	return r;
}
