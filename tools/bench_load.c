/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_load.c - options and report of `millrace bench load`; the generator is bench_load_run.c.
 */
#include "bench_load.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mllp.h"

const char *const load_code_names[LOAD_CODES] = {"AA", "AE", "AR", "CA", "CE", "CR", "other"};

static const struct {
	const char *key, *text;
	double q;
} load_quantiles[] = {{"p50", "p50", 0.5},
                      {"p90", "p90", 0.9},
                      {"p99", "p99", 0.99},
                      {"p999", "p99.9", 0.999},
                      {"p9999", "p99.99", 0.9999}};

static void load_print_json(const struct load_settings *set, const struct load_results *s)
{
	double seconds = (double)s->measured_ns / 1e9;
	json_t *codes = json_object(), *latency = json_object(), *per_second = json_array(), *out;

	for (int i = 0; i < LOAD_CODES; i++)
		if (s->codes[i])
			json_object_set_new(codes, load_code_names[i], json_integer((json_int_t)s->codes[i]));
	json_object_set_new(latency, "min", json_real((double)s->latency.min / 1e9));
	json_object_set_new(latency, "mean",
	                    json_real(s->latency.count ? (double)s->latency.sum / (double)s->latency.count / 1e9 : 0));
	for (size_t i = 0; i < MR_ARRAY_LEN(load_quantiles); i++)
		json_object_set_new(latency, load_quantiles[i].key,
		                    json_real((double)hist_quantile(&s->latency, load_quantiles[i].q) / 1e9));
	json_object_set_new(latency, "max", json_real((double)s->latency.max / 1e9));
	for (uint64_t i = 0; i < s->measured_ns / 1000000000 && i < LOAD_SECONDS_MAX; i++)
		json_array_append_new(per_second, json_integer(s->per_second[i]));
	out = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f}", "schema", "millrace.bench.load/1", "target",
	                set->target_name, "mode",
	                set->rate > 0 ? set->fixed ? "open, fixed" : "open, poisson" : "closed", "connections",
	                (json_int_t)set->connections, "window", (json_int_t)set->window, "size", (json_int_t)set->size,
	                "threads", (json_int_t)set->threads, "rate_wanted", set->rate, "duration", seconds);
	must(out);
	json_object_update_new(
	    out, json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:f}", "sent",
	                   (json_int_t)s->sent, "answered", (json_int_t)s->answered, "unanswered",
	                   (json_int_t)s->unanswered, "behind", (json_int_t)s->behind, "total_sent",
	                   (json_int_t)s->total_sent, "rate", seconds > 0 ? (double)s->answered_in_time / seconds : 0.0,
	                   "bytes_rate", seconds > 0 ? (double)s->sent_bytes / seconds : 0.0, "codes", codes, "latency",
	                   latency, "per_second", per_second, "wrong_id", (json_int_t)s->wrong_id, "unreadable",
	                   (json_int_t)s->unreadable, "strays", (json_int_t)s->strays, "connected",
	                   (json_int_t)s->connected, "connections_lost", (json_int_t)s->connections_lost, "cpu",
	                   seconds > 0 ? (double)s->cpu_ns / 1e9 / seconds : 0.0));
	json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(out);
}

static void load_print(const struct load_settings *set, const struct load_results *s)
{
	double seconds = (double)s->measured_ns / 1e9;
	char a[32], b[32];

	printf("%s: %llu connections, window %llu, ", set->target_name, (unsigned long long)set->connections,
	       (unsigned long long)set->window);
	if (set->rate > 0)
		printf("open loop at %.0f/s (%s arrivals), ", set->rate, set->fixed ? "fixed" : "Poisson");
	else
		printf("closed loop, ");
	if (set->size)
		printf("%llu-byte messages, ", (unsigned long long)set->size);
	printf("%.1f s\n", seconds);
	printf("  %.0f msg/s, %.1f MB/s; sent %s, answered %s; CPU %.0f %%\n",
	       seconds > 0 ? (double)s->answered_in_time / seconds : 0.0,
	       seconds > 0 ? (double)s->sent_bytes / seconds / 1e6 : 0.0, cli_format_count(a, sizeof(a), s->sent),
	       cli_format_count(b, sizeof(b), s->answered), seconds > 0 ? (double)s->cpu_ns / 1e7 / seconds : 0.0);
	printf("  latency%s: min %s", set->rate > 0 ? " from the time due" : "",
	       cli_format_duration(a, sizeof(a), s->latency.min));
	for (size_t i = 0; i < MR_ARRAY_LEN(load_quantiles); i++)
		printf(", %s %s", load_quantiles[i].text,
		       cli_format_duration(a, sizeof(a), hist_quantile(&s->latency, load_quantiles[i].q)));
	printf(", max %s\n", cli_format_duration(a, sizeof(a), s->latency.max));
	if (set->check) {
		printf("  codes:");
		for (int i = 0; i < LOAD_CODES; i++)
			if (s->codes[i])
				printf(" %s %s", load_code_names[i], cli_format_count(a, sizeof(a), s->codes[i]));
		putchar('\n');
	}
	if (s->unanswered || s->wrong_id || s->unreadable || s->strays || s->connections_lost || s->junk_bytes)
		printf("  unanswered %llu, wrong control ID %llu, unreadable %llu, answers to nothing %llu, bytes "
		       "between frames "
		       "%llu, connections lost %llu\n",
		       (unsigned long long)s->unanswered, (unsigned long long)s->wrong_id,
		       (unsigned long long)s->unreadable, (unsigned long long)s->strays,
		       (unsigned long long)s->junk_bytes, (unsigned long long)s->connections_lost);
	if (s->behind > s->sent / 1000) /* a few are always due in the last moment */
		printf("  %s messages were due and could not be sent: the receiver does not keep this rate\n",
		       cli_format_count(a, sizeof(a), s->behind));
}

static int load_numbers(struct cli *cli, struct load_settings *set)
{
	uint64_t cpu = UINT64_MAX;
	int r;

	r = cli_number(cli, "connections", 1, 1000000, &set->connections);
	r = r ? r : cli_rate(cli, "rate", &set->rate);
	if (r)
		return r;
	set->window = set->rate > 0 ? 64 : 1;
	r = cli_number(cli, "window", 1, 65536, &set->window);
	r = r ? r : cli_bytes(cli, "size", LOAD_SIZE_MIN, LOAD_SIZE_MAX, &set->size);
	r = r ? r : cli_duration_ns(cli, "duration", LOAD_SECONDS_MAX * 1000000000ull, &set->duration_ns);
	r = r ? r : cli_duration_ns(cli, "warmup", LOAD_SECONDS_MAX * 1000000000ull, &set->warmup_ns);
	r = r ? r : cli_duration_ns(cli, "timeout", LOAD_SECONDS_MAX * 1000000000ull, &set->timeout_ns);
	r = r ? r : cli_number(cli, "threads", 1, 256, &set->threads);
	r = r ? r : cli_number(cli, "seed", 0, UINT64_MAX, &set->seed);
	r = r ? r : cli_number(cli, "cpu", 0, 1023, &cpu);
	if (r)
		return r;
	set->cpu = cpu == UINT64_MAX ? -1 : (int)cpu;
	if (cli_flag(cli, "closed") == (set->rate > 0))
		return cli_usage(cli, "choose --rate (open loop) or --closed");
	r = cli_choice(cli, "arrivals", 0);
	if (r < 0)
		return CLI_USAGE;
	set->fixed = r == 1;
	set->check = !cli_flag(cli, "no-check");
	if (set->threads > set->connections)
		return cli_usage(cli, "more threads than connections");
	return 0;
}

static int load_messages(struct cli *cli, struct load_settings *set, struct load_message **ret)
{
	const char *files = cli_value(cli, "files");
	uint32_t left_out = 0;
	int n = 1, r;

	if (files) {
		if (cli_value(cli, "size"))
			return cli_usage(cli, "choose --size or --files");
		n = load_message_read(cli, files, ret, &left_out);
		set->size = 0;
		if (n > 0 && left_out)
			cli_error(cli, "%u messages left out: unreadable, without MSH-10, or not to be answered",
			          left_out);
		if (n == 0)
			cli_error(cli, "%s: no message that can be sent", files);
		else if (n < 0)
			cli_error(cli, "%s: %s", files, strerror(-n));
		if (n <= 0)
			return CLI_FAILED;
	} else {
		*ret = calloc(1, sizeof(**ret));
		r = *ret ? load_message_make(set->size, *ret) : -ENOMEM;
		if (r < 0) {
			cli_error(cli, "%s", strerror(-r));
			return CLI_FAILED;
		}
	}
	set->message = *ret;
	set->message_count = (uint32_t)n;
	for (int i = 0; i < n; i++)
		if ((*ret)[i].head_bytes + (*ret)[i].tail_bytes > set->frame_bytes_max)
			set->frame_bytes_max = (*ret)[i].head_bytes + (*ret)[i].tail_bytes;
	return 0;
}

/* Six characters that no other run of the last years has: control IDs are never used twice. */
static void load_run_id(char *ret)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	uint64_t v = net_realtime_ns() / 100000000 + (uint64_t)getpid() * 7919;

	for (int i = 5; i >= 0; i--, v /= 36)
		ret[i] = digits[v % 36];
	ret[6] = 0;
}

static int load_exit(const struct load_results *s)
{
	uint64_t good = s->codes[LOAD_AA] + s->codes[LOAD_CA];

	if (s->connected == 0)
		return CLI_UNREACHABLE;
	if (s->answered == 0)
		return CLI_FAILED;
	return good == s->answered && !s->unanswered && !s->wrong_id && !s->unreadable && !s->connections_lost
	           ? CLI_OK
	           : CLI_PARTIAL;
}

int bench_load_main(struct cli *cli)
{
	struct load_settings set = {.connections = 64,
	                            .size = 1024,
	                            .threads = 1,
	                            .duration_ns = 10000000000ull,
	                            .seed = 1,
	                            .warmup_ns = 2000000000ull,
	                            .timeout_ns = 5000000000ull};
	struct load_message *messages = NULL;
	struct load_results *results;
	struct net_address a;
	const char *error;
	int r;

	if (cli->argc != 1 || net_parse(cli->argv[0], NULL, &a) < 0)
		return cli_usage(cli, "give one address: HOST:PORT");
	r = load_numbers(cli, &set);
	if (r)
		return r;
	set.target_name = cli->argv[0];
	if (!net_resolve(&a, false, &set.target, 1, &error)) {
		cli_error(cli, "%s: %s", a.host, error);
		return CLI_UNREACHABLE;
	}
	r = load_messages(cli, &set, &messages);
	if (r)
		return r;
	load_run_id(set.run_id);
	if (net_raise_nofile() < set.connections + 64)
		cli_error(cli, "only %llu descriptors allowed (ulimit -n)", (unsigned long long)net_raise_nofile());
	results = calloc(1, sizeof(*results));
	must(results);
	r = load_run(&set, results);
	if (r < 0) {
		cli_error(cli, "%s: %s", set.target_name, strerror(-r));
		r = results->connected ? CLI_FAILED : CLI_UNREACHABLE;
	} else {
		if (!set.check)
			results->codes[LOAD_AA] = results->answered; /* taken as good: nobody looked */
		if (cli_flag(cli, "json"))
			load_print_json(&set, results);
		else
			load_print(&set, results);
		r = load_exit(results);
	}
	for (uint32_t i = 0; i < set.message_count; i++)
		load_message_free(&messages[i]);
	free(messages);
	free(results);
	return r;
}
