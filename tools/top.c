/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.c - `millrace top`: live rates and latencies of workers, listeners and destinations.
 *
 * Reads the shared regions only, so it costs the hub nothing and works while the control process is dead. Two samples
 * make a screen: counters become rates, histograms become the latencies of that time alone.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "mr_paths.h"
#include "net.h"
#include "regions.h"
#include "table.h"

struct top_process {
	char name[48];
	uint64_t incarnation;
	bool alive;
	uint64_t state, connections, pending, received, received_bytes, busy_ns, written, journal_bytes, full;
	uint64_t fsync[MR_HIST_WORDS];
};

struct top_listener {
	char name[MR_NAME_BYTES];
	uint64_t connections, received, nacks, backpressure_ns;
	uint64_t latency[MR_HIST_WORDS];
};

struct top_dest {
	char name[MR_NAME_BYTES];
	uint64_t queue, outstanding, sent, delivered, dead, retries, nacks;
	uint32_t up, all, state;
	uint64_t latency[MR_HIST_WORDS];
};

struct top_sample {
	uint64_t time_ns;
	char run[512];
	int processes, listeners, dests;
	struct top_process *process;
	struct top_listener *listener;
	struct top_dest *dest;
};

static volatile sig_atomic_t top_stop;

static void top_on_signal(int number)
{
	top_stop = 1;
}

/* ---- samples ---- */

static void top_free(struct top_sample *s)
{
	free(s->process);
	free(s->listener);
	free(s->dest);
	memset(s, 0, sizeof(*s));
}

static void top_hist(const struct regions_process *p, enum mr_metric m, uint64_t *words)
{
	struct regions one = {.count = 1};

	one.process[0] = *p;
	regions_hist(&one, m, "", words);
}

static void top_take_process(const struct regions_process *p, struct top_process *t)
{
	const struct mr_region *r = p->region;

	memcpy(t->name, p->name, sizeof(t->name));
	t->alive = p->alive;
	t->incarnation = mr_load_relaxed(&r->incarnation) ^ r->start_ns;
	t->state = mr_load_relaxed(&r->state);
	t->pending = mr_load_relaxed(&r->pending);
	for (uint32_t i = 0; i < r->listener_count; i++) {
		const char *name = mr_region_name(r, MR_SCOPE_LISTENER, i);

		t->connections += p->alive ? regions_value(p, MR_M_L_CONNECTIONS, name) : 0;
		t->received += regions_value(p, MR_M_L_RECEIVED, name);
		t->received_bytes += regions_value(p, MR_M_L_RECEIVED_BYTES, name);
	}
	t->busy_ns = regions_value(p, MR_M_W_BUSY_NS, "");
	t->written = regions_value(p, MR_M_W_JOURNAL_WRITTEN, "");
	t->journal_bytes = regions_value(p, MR_M_W_JOURNAL_BYTES, "");
	t->full = regions_value(p, MR_M_W_JOURNAL_FULL, "");
	top_hist(p, MR_M_W_JOURNAL_FSYNC, t->fsync);
}

static void top_take_listener(const struct regions *g, const char *name, struct top_listener *t)
{
	memcpy(t->name, name, sizeof(t->name));
	t->connections = regions_sum(g, MR_M_L_CONNECTIONS, name);
	t->received = regions_sum(g, MR_M_L_RECEIVED, name);
	t->nacks = regions_sum(g, MR_M_L_ACK_AE, name) + regions_sum(g, MR_M_L_ACK_AR, name) +
	           regions_sum(g, MR_M_L_ACK_CE, name) + regions_sum(g, MR_M_L_ACK_CR, name);
	t->backpressure_ns = regions_sum(g, MR_M_L_BACKPRESSURE_NS, name);
	regions_hist(g, MR_M_L_ACK_LATENCY, name, t->latency);
}

static void top_take_dest(const struct regions *g, const char *name, struct top_dest *t)
{
	memcpy(t->name, name, sizeof(t->name));
	t->queue = regions_sum(g, MR_M_D_QUEUE, name);
	t->outstanding = regions_sum(g, MR_M_D_OUTSTANDING, name);
	t->sent = regions_sum(g, MR_M_D_SENT, name);
	t->delivered = regions_sum(g, MR_M_D_DELIVERED, name);
	t->dead = regions_sum(g, MR_M_D_DEAD_LETTERS, name);
	t->retries = regions_sum(g, MR_M_D_RETRIES, name);
	t->nacks = regions_sum(g, MR_M_D_NACK, name);
	t->state = regions_lanes(g, name, &t->up, &t->all);
	regions_hist(g, MR_M_D_LATENCY, name, t->latency);
}

static int top_take(const char *run, struct top_sample *ret)
{
	struct regions g;
	int r = regions_open(run, &g);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->time_ns = net_now_ns();
	memcpy(ret->run, g.run, sizeof(ret->run));
	ret->process = calloc((size_t)g.count + 1, sizeof(*ret->process));
	ret->listener = calloc((size_t)g.listener_count + 1, sizeof(*ret->listener));
	ret->dest = calloc((size_t)g.dest_count + 1, sizeof(*ret->dest));
	must(ret->process && ret->listener && ret->dest);
	for (int i = 0; i < g.count; i++)
		top_take_process(&g.process[i], &ret->process[ret->processes++]);
	for (int i = 0; i < g.listener_count; i++)
		top_take_listener(&g, g.listeners[i], &ret->listener[ret->listeners++]);
	for (int i = 0; i < g.dest_count; i++)
		top_take_dest(&g, g.dests[i], &ret->dest[ret->dests++]);
	regions_close(&g);
	return 0;
}

/* ---- differences ---- */

static double top_rate(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds
	                                   : 0; /* smaller: the process was restarted */
}

static uint64_t top_quantile(const uint64_t *now, const uint64_t *before, double q)
{
	uint64_t words[MR_HIST_WORDS];

	for (uint32_t i = 0; i < MR_HIST_WORDS; i++)
		words[i] = before && now[i] >= before[i] ? now[i] - before[i] : now[i];
	return mr_hist_quantile_ns(words, q);
}

static const struct top_process *top_before_process(const struct top_sample *s, const struct top_process *p)
{
	static const struct top_process none;

	for (int i = 0; i < s->processes; i++)
		if (strcmp(s->process[i].name, p->name) == 0)
			return s->process[i].incarnation == p->incarnation ? &s->process[i] : &none;
	return &none;
}

static const struct top_listener *top_before_listener(const struct top_sample *s, const char *name)
{
	static const struct top_listener none;

	for (int i = 0; i < s->listeners; i++)
		if (strcmp(s->listener[i].name, name) == 0)
			return &s->listener[i];
	return &none;
}

static const struct top_dest *top_before_dest(const struct top_sample *s, const char *name)
{
	static const struct top_dest none;

	for (int i = 0; i < s->dests; i++)
		if (strcmp(s->dest[i].name, name) == 0)
			return &s->dest[i];
	return &none;
}

static const char *top_dest_state(const struct top_dest *d)
{
	if (d->all && d->up == d->all)
		return "up";
	return d->up ? "partly" : regions_lane_name(d->state);
}

/* ---- screens ---- */

static void top_print(FILE *out, const struct top_sample *now, const struct top_sample *before)
{
	double s = (double)(now->time_ns - before->time_ns) / 1e9;
	char clock[16];
	time_t t = time(NULL);
	struct table table;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&t));
	fprintf(out, "millrace top  %s  %s", clock, now->run);
	if (now->time_ns > before->time_ns) /* not so on the first screen, which has no rates yet */
		fprintf(out, "  last %.1f s", s);
	fputs("\n\n", out);
	table_begin(&table, "PROCESS|STATE|CONNECTIONS>|MSG/S>|MB/S>|BUSY>|PENDING>|JOURNAL MB/S>|JOURNAL>|SYNC P99>");
	for (int i = 0; i < now->processes; i++) {
		const struct top_process *p = &now->process[i], *b = top_before_process(before, p);

		table_cell(&table, "%s", p->name);
		table_cell(&table, "%s%s", p->alive ? regions_state_name(p->state) : "dead",
		           p->full ? ", journal full" : "");
		table_count(&table, p->connections);
		table_cell(&table, "%.0f", top_rate(p->received, b->received, s));
		table_cell(&table, "%.1f", top_rate(p->received_bytes, b->received_bytes, s) / 1e6);
		table_cell(&table, "%.0f %%", top_rate(p->busy_ns, b->busy_ns, s) / 1e7);
		table_count(&table, p->pending);
		table_cell(&table, "%.1f", top_rate(p->written, b->written, s) / 1e6);
		table_bytes(&table, p->journal_bytes);
		table_duration(&table, top_quantile(p->fsync, b->fsync, 0.99));
	}
	table_end(&table, out);
	fputc('\n', out);
	table_begin(&table, "LISTENER|CONNECTIONS>|MSG/S>|ACK P50>|ACK P99>|NACK/S>|HELD BACK>");
	for (int i = 0; i < now->listeners; i++) {
		const struct top_listener *l = &now->listener[i], *b = top_before_listener(before, l->name);

		table_cell(&table, "%s", l->name);
		table_count(&table, l->connections);
		table_cell(&table, "%.0f", top_rate(l->received, b->received, s));
		table_duration(&table, top_quantile(l->latency, b->latency, 0.5));
		table_duration(&table, top_quantile(l->latency, b->latency, 0.99));
		table_cell(&table, "%.0f", top_rate(l->nacks, b->nacks, s));
		table_cell(&table, "%.0f %%", top_rate(l->backpressure_ns, b->backpressure_ns, s) / 1e7);
	}
	table_end(&table, out);
	fputc('\n', out);
	table_begin(&table,
	            "DESTINATION|STATE|UP>|QUEUE>|OUTSTANDING>|MSG/S>|ANSWER P50>|ANSWER P99>|RETRY/S>|NACK/S>|DEAD>");
	for (int i = 0; i < now->dests; i++) {
		const struct top_dest *d = &now->dest[i], *b = top_before_dest(before, d->name);

		table_cell(&table, "%s", d->name);
		table_cell(&table, "%s", top_dest_state(d));
		table_cell(&table, "%u/%u", d->up, d->all);
		table_count(&table, d->queue);
		table_count(&table, d->outstanding);
		table_cell(&table, "%.0f", top_rate(d->delivered, b->delivered, s));
		table_duration(&table, top_quantile(d->latency, b->latency, 0.5));
		table_duration(&table, top_quantile(d->latency, b->latency, 0.99));
		table_cell(&table, "%.0f", top_rate(d->retries, b->retries, s));
		table_cell(&table, "%.0f", top_rate(d->nacks, b->nacks, s));
		table_count(&table, d->dead);
	}
	table_end(&table, out);
}

static double top_seconds(const uint64_t *now, const uint64_t *before, double q)
{
	return (double)top_quantile(now, before, q) / 1e9;
}

/* One line per screen. */
static void top_print_json(const struct top_sample *now, const struct top_sample *before)
{
	double s = (double)(now->time_ns - before->time_ns) / 1e9;
	json_t *processes = json_array(), *listeners = json_array(), *dests = json_array(), *o;

	for (int i = 0; i < now->processes; i++) {
		const struct top_process *p = &now->process[i], *b = top_before_process(before, p);

		json_array_append_new(
		    processes,
		    json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:I, s:f, s:I, s:b, s:f}", "name", p->name, "state",
		              p->alive ? regions_state_name(p->state) : "dead", "connections",
		              (json_int_t)p->connections, "received_rate", top_rate(p->received, b->received, s),
		              "received_bytes_rate", top_rate(p->received_bytes, b->received_bytes, s), "busy_ratio",
		              top_rate(p->busy_ns, b->busy_ns, s) / 1e9, "pending", (json_int_t)p->pending,
		              "journal_bytes_rate", top_rate(p->written, b->written, s), "journal_bytes",
		              (json_int_t)p->journal_bytes, "journal_full", (int)p->full, "fsync_p99",
		              top_seconds(p->fsync, b->fsync, 0.99)));
	}
	for (int i = 0; i < now->listeners; i++) {
		const struct top_listener *l = &now->listener[i], *b = top_before_listener(before, l->name);

		json_array_append_new(listeners, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "name", l->name,
		                                           "connections", (json_int_t)l->connections, "received_rate",
		                                           top_rate(l->received, b->received, s), "ack_p50",
		                                           top_seconds(l->latency, b->latency, 0.5), "ack_p99",
		                                           top_seconds(l->latency, b->latency, 0.99), "nack_rate",
		                                           top_rate(l->nacks, b->nacks, s)));
	}
	for (int i = 0; i < now->dests; i++) {
		const struct top_dest *d = &now->dest[i], *b = top_before_dest(before, d->name);

		json_array_append_new(dests, json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:I}",
		                                       "name", d->name, "state", top_dest_state(d), "connections_up",
		                                       (int)d->up, "connections", (int)d->all, "queue",
		                                       (json_int_t)d->queue, "outstanding", (json_int_t)d->outstanding,
		                                       "delivered_rate", top_rate(d->delivered, b->delivered, s),
		                                       "answer_p50", top_seconds(d->latency, b->latency, 0.5),
		                                       "answer_p99", top_seconds(d->latency, b->latency, 0.99),
		                                       "retry_rate", top_rate(d->retries, b->retries, s),
		                                       "dead_letters", (json_int_t)d->dead));
	}
	o = json_pack("{s:s, s:s, s:f, s:o, s:o, s:o}", "schema", "millrace.top/1", "run", now->run, "interval", s,
	              "processes", processes, "listeners", listeners, "destinations", dests);
	must(o);
	json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(o);
}

/* The screen is made in memory and cut to the terminal, so that it neither flickers nor scrolls. */
static void top_draw(const struct top_sample *now, const struct top_sample *before, bool paused)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	char *text = NULL, *at;
	size_t bytes = 0;
	FILE *f = open_memstream(&text, &bytes);

	must(f);
	ioctl(1, TIOCGWINSZ, &size);
	top_print(f, now, before);
	fclose(f);
	fputs("\033[H", stdout);
	at = text;
	for (int row = 1; row < size.ws_row && *at; row++) {
		int n = (int)strcspn(at, "\n");

		printf("%.*s\033[K\n", n < size.ws_col ? n : size.ws_col, at);
		at += n + (at[n] == '\n');
	}
	printf("\033[J%sq quit, p pause, + - interval", paused ? "PAUSED  " : "");
	fflush(stdout);
	free(text);
}

/* ---- the terminal ---- */

static struct termios top_saved;

static void top_terminal(bool on)
{
	struct termios raw = top_saved;

	if (!on) {
		fputs("\033[?25h\033[?1049l", stdout);
		fflush(stdout);
		tcsetattr(0, TCSANOW, &top_saved);
		return;
	}
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(0, TCSANOW, &raw);
	fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

/* Waits, and handles keys meanwhile. Returns false to end. */
static bool top_wait(uint64_t *io_interval_ns, bool *io_paused, bool keys)
{
	uint64_t end = net_now_ns() + *io_interval_ns;

	while (!top_stop) {
		uint64_t now = net_now_ns();
		struct pollfd p = {.fd = keys ? 0 : -1, .events = POLLIN};
		char key;

		if (now >= end && !*io_paused)
			return true;
		if (poll(&p, 1, *io_paused ? 1000 : (int)((end - now) / 1000000) + 1) <= 0 || read(0, &key, 1) != 1)
			continue;
		if (key == 'q')
			return false;
		if (key == 'p' || key == ' ') {
			*io_paused = !*io_paused;
			return true;
		}
		if (key == '+' && *io_interval_ns < 60000000000ull)
			*io_interval_ns *= 2;
		if (key == '-' && *io_interval_ns > 200000000)
			*io_interval_ns /= 2;
	}
	return false;
}

static int top_loop(struct cli *cli, uint64_t interval_ns, uint64_t count, bool screen)
{
	struct top_sample before = {0}, now = {0};
	bool paused = false;
	int r = top_take(cli_value(cli, "run"), &before);

	if (r == 0 && screen) {
		top_terminal(true);
		top_draw(&before, &before, false);
	}
	for (uint64_t n = 0; r == 0 && (!count || n < count);) {
		if (!top_wait(&interval_ns, &paused, screen))
			break;
		if (paused) {
			top_draw(&before, &before, true);
			continue;
		}
		r = top_take(cli_value(cli, "run"), &now);
		if (r == -ENOENT && screen) {
			r = 0; /* the hub is being set up again */
			continue;
		}
		if (r < 0)
			break;
		if (screen)
			top_draw(&now, &before, false);
		else if (cli_flag(cli, "json"))
			top_print_json(&now, &before);
		else
			top_print(stdout, &now, &before);
		fflush(stdout);
		top_free(&before);
		before = now;
		memset(&now, 0, sizeof(now));
		n++;
	}
	if (screen && before.time_ns)
		top_terminal(false);
	top_free(&before);
	return r;
}

int top_main(struct cli *cli)
{
	bool screen = !cli_flag(cli, "batch") && !cli_flag(cli, "json") && isatty(0) && isatty(1);
	struct sigaction sa = {.sa_handler = top_on_signal};
	uint64_t interval_ns = 1000000000, count = 0;
	int r;

	if (cli->argc)
		return cli_usage(cli, "no argument wanted");
	r = cli_number(cli, "count", 1, UINT64_MAX, &count);
	r = r ? r : cli_duration_ns(cli, "interval", 3600ull * 1000000000, &interval_ns);
	if (r)
		return r;
	if (interval_ns < 50000000)
		return cli_usage(cli, "--interval: at least 50ms");
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	if (screen)
		tcgetattr(0, &top_saved);
	r = top_loop(cli, interval_ns, count, screen);
	if (r < 0) {
		char folder[512] = "?";

		mr_run_folder(cli_value(cli, "run"), folder, sizeof(folder));
		cli_error(cli, "no hub at %s (%s); name its run folder with --run or MILLRACE_RUN", folder,
		          strerror(-r));
		return r == -EACCES ? CLI_DENIED : CLI_UNREACHABLE;
	}
	return CLI_OK;
}
