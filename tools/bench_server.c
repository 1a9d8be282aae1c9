/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_server.c - options and report of `bench responder` and `bench sink`; the server is bench_uring.c.
 */
#include <jansson.h>
#include <string.h>

#include "bench_uring.h"
#include "cli.h"
#include "net.h"

static void bench_server_second(uint64_t messages, uint64_t bytes)
{
	if (messages) {
		printf("%llu msg/s  %.1f MB/s\n", (unsigned long long)messages, (double)bytes / 1e6);
		fflush(stdout);
	}
}

static void bench_server_print(const struct bench_server_results *s, bool json)
{
	double seconds = (double)(s->last_ns - s->first_ns) / 1e9;
	double rate = seconds > 0 ? (double)s->messages / seconds : 0;
	json_t *out;

	if (!json) {
		printf("messages %llu, connections %llu, %.2f s, %.0f msg/s, %.1f MB/s, CPU %.0f %%\n",
		       (unsigned long long)s->messages, (unsigned long long)s->connections, seconds, rate,
		       seconds > 0 ? (double)s->bytes / seconds / 1e6 : 0.0,
		       seconds > 0 ? (double)s->cpu_ns / 1e7 / seconds : 0.0);
		if (s->unreadable || s->junk_bytes || s->too_large)
			printf("not HL7 %llu, bytes between frames %llu, frames too large %llu\n",
			       (unsigned long long)s->unreadable, (unsigned long long)s->junk_bytes,
			       (unsigned long long)s->too_large);
		return;
	}
	out = json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "schema", "millrace.bench.server/1",
	                "messages", (json_int_t)s->messages, "bytes", (json_int_t)s->bytes, "connections",
	                (json_int_t)s->connections, "elapsed", seconds, "rate", rate, "cpu", (double)s->cpu_ns / 1e9,
	                "unreadable", (json_int_t)s->unreadable, "bytes_between_frames", (json_int_t)s->junk_bytes,
	                "too_large", (json_int_t)s->too_large, "no_buffer", (json_int_t)s->no_buffer);
	must(out);
	json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(out);
}

static int bench_server(struct cli *cli, struct bench_server_settings *set)
{
	struct bench_server_results results;
	uint64_t cpu = UINT64_MAX;
	struct net_address a;
	struct net_target at;
	const char *error;
	char name[96];
	bool json = cli_flag(cli, "json");
	int r;

	set->frame_bytes_max = 64u << 20;
	if (cli->argc != 1)
		return cli_usage(cli, "give one address: [HOST:]PORT");
	if (net_parse(cli->argv[0], "127.0.0.1", &a) < 0)
		return cli_usage(cli, "'%s' is not [HOST:]PORT (IPv6: [::]:2575)", cli->argv[0]);
	r = cli_number(cli, "cpu", 0, 1023, &cpu);
	r = r ? r : cli_bytes(cli, "max", 1024, 1u << 30, &set->frame_bytes_max);
	if (r)
		return r;
	if (!net_resolve(&a, true, &at, 1, &error)) {
		cli_error(cli, "%s: %s", a.host, error);
		return CLI_FAILED;
	}
	if (cpu != UINT64_MAX && (r = net_pin((int)cpu)) < 0) {
		cli_error(cli, "--cpu %llu: %s", (unsigned long long)cpu, strerror(-r));
		return CLI_FAILED;
	}
	net_raise_nofile();
	set->listener = net_listen(&at, 16384, true);
	if (set->listener < 0) {
		cli_error(cli, "%s: %s", cli->argv[0], strerror(-set->listener));
		return CLI_FAILED;
	}
	net_name(set->listener, name, sizeof(name));
	printf(json ? "{\"schema\":\"millrace.bench.server/1\",\"listening\":\"%s\"}\n" : "listening on %s\n", name);
	fflush(stdout);
	r = bench_server_run(set, &results);
	if (r < 0) {
		cli_error(cli, "io_uring: %s", strerror(-r));
		return CLI_FAILED;
	}
	bench_server_print(&results, json);
	return CLI_OK;
}

int bench_responder_main(struct cli *cli)
{
	struct bench_server_settings set = {0};

	return bench_server(cli, &set);
}

int bench_sink_main(struct cli *cli)
{
	struct bench_server_settings set = {.read_header = true};
	int r = cli_number(cli, "count", 1, UINT64_MAX, &set.count);

	if (r)
		return r;
	if (!cli_flag(cli, "quiet") && !cli_flag(cli, "json"))
		set.second = bench_server_second;
	return bench_server(cli, &set);
}
