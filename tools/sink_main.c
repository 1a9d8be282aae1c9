/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sink_main.c - options and report of `millrace sink`; the receiver itself is sink.c.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink.h"

const char *const sink_codes[SINK_CODES] = {"AA", "AE", "AR", "CA", "CE", "CR"};

static const struct {
	const char *key, *text;
	size_t offset;
} sink_counters[] = {
    {"connections", "connections", offsetof(struct sink_count, connections)},
    {"open", "connections open", offsetof(struct sink_count, open)},
    {"messages", "messages", offsetof(struct sink_count, messages)},
    {"bytes", "bytes of messages", offsetof(struct sink_count, bytes)},
    {"unanswered", "not answered", offsetof(struct sink_count, silent)},
    {"unreadable", "not HL7", offsetof(struct sink_count, unreadable)},
    {"swapped", "answered with another ID", offsetof(struct sink_count, swapped)},
    {"closed", "connections closed", offsetof(struct sink_count, closed)},
    {"cut", "frames cut short", offsetof(struct sink_count, cut)},
    {"too_large", "frames too large", offsetof(struct sink_count, too_large)},
    {"bytes_between_frames", "bytes between frames", offsetof(struct sink_count, junk)},
};

void sink_print(const struct sink *s)
{
	json_t *out = json_pack("{s:s}", "schema", "millrace.sink/1"), *codes = json_object();

	for (size_t i = 0; i < MR_ARRAY_LEN(sink_counters); i++) {
		uint64_t n = *(const uint64_t *)((const char *)&s->count + sink_counters[i].offset);

		if (s->set.json)
			json_object_set_new(out, sink_counters[i].key, json_integer((json_int_t)n));
		else if (n || i == 2)
			printf("%-26s %llu\n", sink_counters[i].text, (unsigned long long)n);
	}
	for (int i = 0; i < SINK_CODES; i++) {
		if (s->set.json)
			json_object_set_new(codes, sink_codes[i], json_integer((json_int_t)s->count.codes[i]));
		else if (s->count.codes[i])
			printf("answered %-17s %llu\n", sink_codes[i], (unsigned long long)s->count.codes[i]);
	}
	json_object_set_new(out, "codes", codes);
	if (s->set.json) {
		json_dumpf(out, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(out);
}

static int sink_settings(struct cli *cli, struct sink *s)
{
	struct sink_settings *set = &s->set;
	int choice, r;

	*set = (struct sink_settings){.every = 1, .frame_bytes_max = 64u << 20};
	r = cli_duration_ns(cli, "delay", 3600ull * 1000000000, &set->delay_ns);
	r = r ? r : cli_duration_ns(cli, "late", 3600ull * 1000000000, &set->late_ns);
	r = r ? r : cli_number(cli, "close-after", 1, UINT32_MAX, &set->close_after);
	r = r ? r : cli_number(cli, "every", 1, UINT32_MAX, &set->every);
	r = r ? r : cli_number(cli, "count", 1, UINT64_MAX, &set->count);
	r = r ? r : cli_bytes(cli, "max", 1024, 1u << 30, &set->frame_bytes_max);
	if (r)
		return r;
	choice = cli_choice(cli, "ack", 0); /* auto|AA|AE|AR|CA|CE|CR|none */
	if (choice < 0)
		return CLI_USAGE;
	set->ack = choice - 1;
	set->swap_ids = cli_flag(cli, "swap-ids");
	set->verbose = cli_flag(cli, "verbose") && !cli_flag(cli, "quiet");
	set->json = cli_flag(cli, "json");
	set->out_dir = cli_value(cli, "out");
	if (set->verbose && set->json)
		return cli_usage(cli, "--verbose and --json both want standard output; choose one");
	if (set->out_dir && mkdir(set->out_dir, 0750) < 0 && errno != EEXIST) {
		cli_error(cli, "%s: %s", set->out_dir, strerror(errno));
		return CLI_FAILED;
	}
	if (cli_value(cli, "out-file")) {
		set->out_file = fopen(cli_value(cli, "out-file"), "abe");
		if (!set->out_file) {
			cli_error(cli, "%s: %s", cli_value(cli, "out-file"), strerror(errno));
			return CLI_FAILED;
		}
	}
	snprintf(s->previous_id, sizeof(s->previous_id), "SWAPPED");
	return 0;
}

static int sink_listen(struct cli *cli, struct sink *s)
{
	struct net_address a;
	struct net_target at;
	const char *error;
	char name[96];

	if (cli->argc != 1)
		return cli_usage(cli, "give one address: [HOST:]PORT");
	if (net_parse(cli->argv[0], "127.0.0.1", &a) < 0)
		return cli_usage(cli, "'%s' is not [HOST:]PORT (IPv6: [::]:2575)", cli->argv[0]);
	if (!net_resolve(&a, true, &at, 1, &error)) {
		cli_error(cli, "%s: %s", a.host, error);
		return CLI_FAILED;
	}
	s->listener = net_listen(&at, 4096, false);
	if (s->listener < 0) {
		cli_error(cli, "%s: %s", cli->argv[0], strerror(-s->listener));
		return CLI_FAILED;
	}
	net_name(s->listener, name, sizeof(name));
	printf(s->set.json ? "{\"schema\":\"millrace.sink/1\",\"listening\":\"%s\"}\n" : "listening on %s\n", name);
	fflush(stdout);
	return 0;
}

int sink_main(struct cli *cli)
{
	struct sink s = {.listener = -1};
	int r;

	r = sink_settings(cli, &s);
	if (r)
		return r;
	net_raise_nofile();
	r = sink_listen(cli, &s);
	if (r)
		return r;
	r = sink_run(&s);
	if (s.set.out_file && fclose(s.set.out_file) != 0 && r == 0)
		r = -errno;
	sink_print(&s);
	if (r < 0) {
		cli_error(cli, "cannot write what was received: %s", strerror(-r));
		return CLI_FAILED;
	}
	return CLI_OK;
}
