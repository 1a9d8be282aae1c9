/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - `millrace status`: the state of the hub, asked of the control process or read from the shared regions.
 *
 * The regions are the second source, for the hour in which the control process is dead; the output says which it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl_client.h"
#include "net.h"
#include "regions.h"
#include "table.h"

#define STATUS_SILENT_S 10

enum status_end { STATUS_ALIVE, STATUS_DIED, STATUS_FORCED, STATUS_IN_ORDER };

static volatile sig_atomic_t status_stop;

static void status_on_signal(int number)
{
	status_stop = 1;
}

static const char *status_color(const struct cli *cli, const char *state)
{
	if (!cli->color)
		return "";
	if (strcmp(state, "running") == 0 || strcmp(state, "up") == 0)
		return "\033[32m";
	return strcmp(state, "down") == 0 || strcmp(state, "stopped") == 0 || strcmp(state, "dead") == 0 ? "\033[31m"
	                                                                                                 : "\033[33m";
}

static uint64_t status_ns(const json_t *o, const char *key)
{
	double seconds = ctl_real(o, key);

	return seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
}

static void status_memory(struct table *t, const json_t *process)
{
	if (ctl_count(process, "rss_bytes"))
		table_bytes(t, ctl_count(process, "rss_bytes"));
	else
		table_cell(t, "-");
}

static void status_pid(struct table *t, const json_t *process)
{
	if (ctl_count(process, "pid"))
		table_cell(t, "%llu", (unsigned long long)ctl_count(process, "pid"));
	else
		table_cell(t, "-");
}

static void status_processes(const json_t *o)
{
	struct table t;
	json_t *w;
	size_t i;

	table_begin(&t, "PROCESS|STATE|PID>|CPU>|CONNECTIONS>|PENDING>|BUSY>|JOURNAL>|MEMORY>|RESTARTS>");
	json_array_foreach(json_object_get(o, "workers"), i, w)
	{
		bool full = json_is_true(json_object_get(w, "journal_full"));
		bool silent =
		    ctl_real(w, "heartbeat_age") > STATUS_SILENT_S && strcmp(ctl_text(w, "state"), "dead") != 0;

		table_cell(&t, "worker %llu", (unsigned long long)ctl_count(w, "index"));
		table_cell(&t, "%s%s%s", ctl_text(w, "state"), full ? ", journal full" : "",
		           silent ? ", does not beat" : "");
		status_pid(&t, w);
		if (json_integer_value(json_object_get(w, "cpu")) >= 0)
			table_cell(&t, "%llu", (unsigned long long)ctl_count(w, "cpu"));
		else
			table_cell(&t, "-");
		table_count(&t, ctl_count(w, "connections"));
		table_count(&t, ctl_count(w, "pending"));
		if (json_object_get(w, "busy_ratio"))
			table_cell(&t, "%.0f %%", 100 * ctl_real(w, "busy_ratio"));
		else
			table_cell(&t, "-");
		table_bytes(&t, ctl_count(w, "journal_bytes"));
		status_memory(&t, w);
		table_count(&t, ctl_count(w, "restarts"));
	}
	json_array_foreach(json_object_get(o, "connectors"), i, w)
	{
		const char *name = ctl_text(w, "name"); /* "file", or in the regions "connector file" */

		table_cell(&t, "connector %s", strncmp(name, "connector ", 10) == 0 ? name + 10 : name);
		table_cell(&t, "%s", ctl_text(w, "state"));
		status_pid(&t, w);
		for (int k = 0; k < 5; k++)
			table_cell(&t, "-");
		status_memory(&t, w);
		table_count(&t, ctl_count(w, "restarts"));
	}
	table_end(&t, stdout);
}

static void status_listeners(const json_t *o)
{
	struct table t;
	json_t *l;
	size_t i;

	if (!json_array_size(json_object_get(o, "listeners")))
		return;
	putchar('\n');
	table_begin(
	    &t, "LISTENER|ADDRESS|CONNECTIONS>|RECEIVED>|ACCEPTED>|REFUSED>|DUPLICATES>|UNROUTED>|ACK P50>|ACK P99>");
	json_array_foreach(json_object_get(o, "listeners"), i, l)
	{
		const char *address = ctl_text(l, "address");

		table_cell(&t, "%s", ctl_text(l, "name"));
		if (!json_object_get(l, "port"))
			table_cell(&t, "-");
		else
			table_cell(&t, strchr(address, ':') ? "[%s]:%llu" : "%s:%llu", address,
			           (unsigned long long)ctl_count(l, "port"));
		table_count(&t, ctl_count(l, "connections"));
		table_count(&t, ctl_count(l, "received"));
		table_count(&t, ctl_count(l, "accepted"));
		table_count(&t, ctl_count(l, "refused"));
		table_count(&t, ctl_count(l, "duplicates"));
		table_count(&t, ctl_count(l, "unrouted"));
		table_duration(&t, status_ns(l, "ack_p50"));
		table_duration(&t, status_ns(l, "ack_p99"));
	}
	table_end(&t, stdout);
}

static void status_destinations(const json_t *o)
{
	struct table t;
	json_t *d;
	size_t i;

	if (!json_array_size(json_object_get(o, "destinations")))
		return;
	putchar('\n');
	table_begin(&t,
	            "DESTINATION|TARGET|STATE|UP>|QUEUE>|BYTES>|OUTSTANDING>|DELIVERED>|DEAD>|RETRY IN>|LAST ERROR");
	json_array_foreach(json_object_get(o, "destinations"), i, d)
	{
		table_cell(&t, "%s", ctl_text(d, "name"));
		table_cell(&t, "%s %s", ctl_text(d, "kind"), ctl_text(d, "target"));
		table_cell(&t, "%s", ctl_text(d, "state"));
		table_cell(&t, "%llu/%llu", (unsigned long long)ctl_count(d, "connections_up"),
		           (unsigned long long)ctl_count(d, "connections"));
		table_count(&t, ctl_count(d, "queue"));
		table_bytes(&t, ctl_count(d, "queue_bytes"));
		table_count(&t, ctl_count(d, "outstanding"));
		table_count(&t, ctl_count(d, "delivered"));
		table_count(&t, ctl_count(d, "dead_letters"));
		table_duration(&t, status_ns(d, "retry_in"));
		table_cell(&t, "%s", *ctl_text(d, "last_error") ? ctl_text(d, "last_error") : "-");
	}
	table_end(&t, stdout);
}

static void status_troubles(const json_t *o)
{
	json_t *x;
	size_t i;

	json_array_foreach(json_object_get(o, "troubles"), i, x)
	{
		unsigned long long count = ctl_count(x, "count");

		printf("%s%s %s: %s (since %.19sZ", i ? "" : "\n", ctl_text(x, "code"), ctl_text(x, "level"),
		       ctl_text(x, "text"), ctl_text(x, "first"));
		if (count > 1)
			printf(", %llu times, last %.19sZ", count, ctl_text(x, "last"));
		puts(")");
	}
}

/* Nobody is there, and nobody should be: a hub that was stopped. */
static void status_print_stopped(const json_t *o, const json_t *stopped)
{
	unsigned long long pending = ctl_count(stopped, "pending");

	printf("no hub runs at %s; it was stopped %s at %.19sZ; ", ctl_text(o, "run"),
	       json_is_true(json_object_get(stopped, "in_order")) ? "in order" : "at once", ctl_text(stopped, "at"));
	if (pending)
		printf("%llu message%s pending, kept in the journal\n", pending, cli_plural(pending));
	else
		puts("nothing pending");
}

static void status_print(const struct cli *cli, const json_t *o)
{
	const char *state = ctl_text(o, "state"), *metrics = ctl_text(o, "metrics"), *commit = ctl_text(o, "commit");
	char age[32];

	printf("millrace %s: %s%s%s", ctl_text(o, "version"), status_color(cli, state), state,
	       cli->color ? "\033[0m" : "");
	if (status_ns(o, "uptime"))
		printf(", up %s", cli_format_duration(age, sizeof(age), status_ns(o, "uptime")));
	if (*commit)
		printf(", commit %s", commit);
	if (*commit && strcmp(commit, "durable") != 0)
		printf(" (an acknowledgement does NOT mean on disk)");
	putchar('\n');
	if (json_object_get(o, "offline"))
		printf("The control process does not answer; this comes from the shared regions.\n");
	if (*ctl_text(o, "data"))
		printf("data %s, run %s%s%s\n", ctl_text(o, "data"), ctl_text(o, "run"), *metrics ? ", metrics " : "",
		       metrics);
	putchar('\n');
	status_processes(o);
	status_listeners(o);
	status_destinations(o);
	status_troubles(o);
}

/* ---- from the regions ---- */

static void status_put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *status_region_process(const struct regions_process *p)
{
	const struct mr_region *r = p->region;
	uint64_t beat = mr_load_relaxed(&r->heartbeat_ns), now = net_realtime_ns(), connections = 0;
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(p->name));
	status_put(o, "index", r->index);
	status_put(o, "pid", r->pid);
	json_object_set_new(o, "cpu", json_integer(-1));
	json_object_set_new(o, "state",
	                    json_string(p->alive ? regions_state_name(mr_load_relaxed(&r->state)) : "dead"));
	status_put(o, "incarnation", mr_load_relaxed(&r->incarnation));
	json_object_set_new(o, "heartbeat_age", json_real(now > beat ? (double)(now - beat) / 1e9 : 0));
	for (uint32_t i = 0; i < r->listener_count && p->alive; i++)
		connections += regions_value(p, MR_M_L_CONNECTIONS, mr_region_name(r, MR_SCOPE_LISTENER, i));
	status_put(o, "connections", connections);
	status_put(o, "pending", mr_load_relaxed(&r->pending));
	status_put(o, "journal_bytes", regions_value(p, MR_M_W_JOURNAL_BYTES, ""));
	json_object_set_new(o, "journal_full", json_boolean(regions_value(p, MR_M_W_JOURNAL_FULL, "") != 0));
	return o;
}

/*
 * How did the hub of these regions end? Its workers write that they stopped; the control process takes its control.pid
 * away when it ends by itself. A hub that is just being started is alive: its regions are those of the one before.
 */
static enum status_end status_end(const struct regions *g)
{
	bool in_order = true, alive = false;
	long pid = 0;
	char path[600];
	FILE *f;

	for (int i = 0; i < g->count; i++) {
		if (g->process[i].alive)
			return STATUS_ALIVE;
		in_order = in_order && mr_load(&g->process[i].region->state) == MR_STATE_STOPPED;
	}
	snprintf(path, sizeof(path), "%s/control.pid", g->run);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%ld", &pid) == 1 && pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM))
			alive = true;
		fclose(f);
	}
	if (alive)
		return STATUS_ALIVE;
	return in_order ? STATUS_IN_ORDER : f ? STATUS_DIED : STATUS_FORCED;
}

/* What is to be told of a hub that was stopped: when, how, and what it left. */
static json_t *status_stopped(const struct regions *g, enum status_end end)
{
	uint64_t last_ns = 0, pending = 0;
	char when[32];
	struct tm tm;
	time_t s;

	for (int i = 0; i < g->count; i++) {
		uint64_t beat = mr_load_relaxed(&g->process[i].region->heartbeat_ns);

		last_ns = beat > last_ns ? beat : last_ns;
		pending += mr_load_relaxed(&g->process[i].region->pending);
	}
	s = (time_t)(last_ns / 1000000000u);
	gmtime_r(&s, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_pack("{s:b, s:s, s:I}", "in_order", end == STATUS_IN_ORDER, "at", when, "pending",
	                 (json_int_t)pending);
}

/* Where a listener or destination is, from the configuration image that the hub left in its run folder. */
static void status_put_place(json_t *o, const struct mr_config *c, const char *listener, const char *dest)
{
	for (uint32_t i = 0; c && listener && i < c->listeners.count; i++) {
		const struct mr_config_listener *l = mr_config_listener(c, i);

		if (strcmp(l->name, listener) == 0) {
			json_object_set_new(o, "address", json_string(l->address));
			status_put(o, "port", l->port);
		}
	}
	for (uint32_t i = 0; c && dest && i < c->dests.count; i++) {
		const struct mr_config_dest *d = mr_config_dest(c, i);
		const char *host = mr_config_string(c, d->host);

		if (strcmp(d->name, dest) != 0)
			continue;
		json_object_set_new(o, "kind", json_string(d->kind == MR_DEST_FILE ? "file" : "mllp"));
		json_object_set_new(o, "target",
		                    d->kind == MR_DEST_FILE ? json_string(mr_config_string(c, d->path))
		                                            : json_sprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u",
		                                                           host, (unsigned)d->port));
	}
}

/* Maps RUN/config.image; NULL if there is none that can be used. The process is short-lived: it is never unmapped. */
static const struct mr_config *status_image(const char *run)
{
	char path[600];
	struct stat st;
	void *p = MAP_FAILED;
	int fd;

	snprintf(path, sizeof(path), "%s/config.image", run);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return NULL;
	if (mr_config_check(p, (size_t)st.st_size) == 0)
		return p;
	munmap(p, (size_t)st.st_size);
	return NULL;
}

static json_t *status_region_listener(const struct regions *g, const struct mr_config *c, const char *name)
{
	uint64_t words[MR_HIST_WORDS];
	json_t *o = json_pack("{s:s}", "name", name);

	status_put_place(o, c, name, NULL);
	regions_hist(g, MR_M_L_ACK_LATENCY, name, words);
	status_put(o, "connections", regions_sum(g, MR_M_L_CONNECTIONS, name));
	status_put(o, "received", regions_sum(g, MR_M_L_RECEIVED, name));
	status_put(o, "accepted", regions_sum(g, MR_M_L_ACCEPTED, name));
	status_put(o, "refused",
	           regions_sum(g, MR_M_L_REFUSED_NOT_HL7, name) + regions_sum(g, MR_M_L_REFUSED_HEADER, name) +
	               regions_sum(g, MR_M_L_REFUSED_FRAMING, name) + regions_sum(g, MR_M_L_REFUSED_SIZE, name) +
	               regions_sum(g, MR_M_L_REFUSED_FULL, name) + regions_sum(g, MR_M_L_UNROUTED_REFUSED, name));
	status_put(o, "duplicates", regions_sum(g, MR_M_L_DUPLICATES, name));
	status_put(o, "unrouted", regions_sum(g, MR_M_L_UNROUTED_KEPT, name));
	json_object_set_new(o, "ack_p50", json_real((double)mr_hist_quantile_ns(words, 0.5) / 1e9));
	json_object_set_new(o, "ack_p99", json_real((double)mr_hist_quantile_ns(words, 0.99) / 1e9));
	return o;
}

static json_t *status_region_dest(const struct regions *g, const struct mr_config *c, const char *name)
{
	json_t *o = json_pack("{s:s}", "name", name);
	uint32_t up, all, state = regions_lanes(g, name, &up, &all);
	const char *text = !all                      ? "unknown"
	                   : state == MR_LANE_PAUSED ? "paused"
	                   : up == all               ? "up"
	                   : up                      ? "partly"
	                   : state == MR_LANE_IDLE   ? "idle"
	                                             : "down";

	status_put_place(o, c, NULL, name);
	json_object_set_new(o, "state", json_string(text));
	status_put(o, "connections", all);
	status_put(o, "connections_up", up);
	status_put(o, "queue", regions_sum(g, MR_M_D_QUEUE, name));
	status_put(o, "queue_bytes", regions_sum(g, MR_M_D_QUEUE_BYTES, name));
	status_put(o, "outstanding", regions_sum(g, MR_M_D_OUTSTANDING, name));
	status_put(o, "dead_letters", regions_sum(g, MR_M_D_DEAD_LETTERS, name));
	status_put(o, "delivered", regions_sum(g, MR_M_D_DELIVERED, name));
	return o;
}

/* A document like the control process's, as far as the regions know. NULL = there are none. */
static json_t *status_from_regions(const char *run)
{
	json_t *workers = json_array(), *connectors = json_array(), *listeners = json_array(), *dests = json_array(),
	       *o;
	const struct mr_config *image;
	struct regions g;
	enum status_end end;
	int living = 0;

	o = json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "schema", "millrace.status/1", "version", MILLRACE_VERSION,
	              "offline", 1, "workers", workers, "connectors", connectors, "listeners", listeners,
	              "destinations", dests);
	must(o);
	if (regions_open(run, &g) < 0) {
		json_decref(o);
		return NULL;
	}
	image = status_image(g.run);
	for (int i = 0; i < g.count; i++) {
		bool worker = g.process[i].region->kind == MR_KIND_WORKER;

		living += worker && g.process[i].alive;
		json_array_append_new(worker ? workers : connectors, status_region_process(&g.process[i]));
	}
	for (int i = 0; i < g.listener_count; i++)
		json_array_append_new(listeners, status_region_listener(&g, image, g.listeners[i]));
	for (int i = 0; i < g.dest_count; i++)
		json_array_append_new(dests, status_region_dest(&g, image, g.dests[i]));
	json_object_set_new(o, "state", json_string(living == 0 ? "stopped" : "degraded"));
	json_object_set_new(o, "run", json_string(g.run));
	end = status_end(&g);
	if (end == STATUS_IN_ORDER || end == STATUS_FORCED)
		json_object_set_new(o, "stopped", status_stopped(&g, end));
	regions_close(&g);
	return o;
}

static int status_exit(const json_t *o)
{
	const char *state = ctl_text(o, "state");

	if (json_object_get(o, "stopped"))
		return CLI_UNREACHABLE;
	if (strcmp(state, "running") == 0)
		return CLI_OK;
	return strcmp(state, "degraded") == 0 ? CLI_DEGRADED : CLI_UNHEALTHY;
}

static int status_once(struct cli *cli, bool clear)
{
	json_t *o = NULL;
	int http, r;

	r = ctl_ask(cli_value(cli, "run"), "GET", "/v1/status", NULL, &o, &http);
	if (r == 0 && http != 200) {
		cli_error(cli, "%s", ctl_text(json_object_get(o, "error"), "text"));
		json_decref(o);
		return http == 403 ? CLI_DENIED : CLI_FAILED;
	}
	if (r == -EACCES || r == -EPERM) {
		cli_error(cli, "not permitted to ask the hub");
		return CLI_DENIED;
	}
	if (r < 0)
		o = status_from_regions(cli_value(cli, "run"));
	if (!o)
		return ctl_request(cli, "GET", "/v1/status", NULL, &o); /* says what is wrong */
	if (clear && cli->color)
		fputs("\033[H\033[2J", stdout);
	if (cli_flag(cli, "json"))
		ctl_print(o);
	else if (json_object_get(o, "stopped"))
		status_print_stopped(o, json_object_get(o, "stopped"));
	else
		status_print(cli, o);
	fflush(stdout);
	r = status_exit(o);
	json_decref(o);
	return r;
}

int status_main(struct cli *cli)
{
	struct sigaction sa = {.sa_handler = status_on_signal};
	int r;

	if (cli->argc)
		return cli_usage(cli, "no argument wanted");
	if (!cli_flag(cli, "watch"))
		return status_once(cli, false);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	do {
		r = status_once(cli, true);
		sleep(status_stop ? 0 : 1);
	} while (!status_stop);
	return r;
}
