/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dead.c - `millrace dead list|show|retry|discard`: messages that a destination refused or that ran out of attempts.
 *
 * Asks the control process. Shows where a message is and what became of it, never what is in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_client.h"
#include "table.h"

#define DEAD_PAGE 1000

struct dead_id {
	uint64_t journal, position;
};

static int dead_get(struct cli *cli, uint64_t limit, uint64_t skip, json_t **ret)
{
	const char *destination = cli_value(cli, "destination");
	char *name = ctl_escape(destination ? destination : ""), *path;
	int r;

	must(asprintf(&path, "/v1/dead?limit=%llu&skip=%llu%s%s", (unsigned long long)limit, (unsigned long long)skip,
	              destination ? "&destination=" : "", name) > 0);
	r = ctl_request(cli, "GET", path, NULL, ret);
	free(path);
	free(name);
	return r;
}

int dead_list_main(struct cli *cli)
{
	uint64_t limit = 100, skip = 0, total;
	struct table t;
	json_t *o, *d;
	size_t i;
	int r;

	if (cli->argc)
		return cli_usage(cli, "no argument wanted; --destination NAME lists one");
	r = cli_number(cli, "limit", 1, 1000000, &limit);
	r = r ? r : cli_number(cli, "skip", 0, UINT32_MAX, &skip);
	r = r ? r : dead_get(cli, limit, skip, &o);
	if (r)
		return r;
	if (cli_flag(cli, "json")) {
		ctl_print(o);
		json_decref(o);
		return CLI_OK;
	}
	total = ctl_count(o, "total");
	if (total) {
		table_begin(&t, "ID|DESTINATION|RECEIVED|DIED|BYTES>|ATTEMPTS>|CODE|REASON");
		json_array_foreach(json_object_get(o, "items"), i, d)
		{
			table_cell(&t, "%s", ctl_text(d, "id"));
			table_cell(&t, "%s", ctl_text(d, "destination"));
			table_time(&t, ctl_text(d, "received"));
			table_time(&t, ctl_text(d, "died"));
			table_bytes(&t, ctl_count(d, "bytes"));
			table_count(&t, ctl_count(d, "attempts"));
			table_cell(&t, "%s", *ctl_text(d, "code") ? ctl_text(d, "code") : "-");
			table_cell(&t, "%s", ctl_text(d, "reason"));
		}
		table_end(&t, stdout);
	}
	printf("%llu dead letter%s\n", (unsigned long long)total, cli_plural(total));
	json_decref(o);
	return CLI_OK;
}

static int dead_read_id(const char *text, struct dead_id *ret)
{
	const char *colon = strchr(text, ':');
	char journal[24];
	struct dead_id id;

	if (!colon || (size_t)(colon - text) >= sizeof(journal))
		return -EINVAL;
	memcpy(journal, text, (size_t)(colon - text));
	journal[colon - text] = 0;
	if (cli_parse_number(journal, &id.journal) < 0 || cli_parse_number(colon + 1, &id.position) < 0)
		return -EINVAL;
	*ret = id;
	return 0;
}

/* All dead letters with this ID: one per destination that gave the message up. @ret: array, the caller's. */
static int dead_find(struct cli *cli, const struct dead_id *id, json_t **ret)
{
	json_t *found = json_array(), *o, *d;
	uint64_t skip = 0, total;
	size_t i;
	int r;

	do {
		r = dead_get(cli, DEAD_PAGE, skip, &o);
		if (r) {
			json_decref(found);
			return r;
		}
		total = ctl_count(o, "total");
		json_array_foreach(json_object_get(o, "items"), i, d) if (ctl_count(d, "journal") == id->journal &&
		                                                          ctl_count(d, "position") == id->position)
		    json_array_append(found, d);
		i = json_array_size(json_object_get(o, "items"));
		skip += i;
		json_decref(o);
	} while (i && skip < total);
	*ret = found;
	return CLI_OK;
}

/* One dead letter for people. @data: the hub's data folder, "" = not known. */
static void dead_print(const json_t *d, const char *data)
{
	const char *received = ctl_text(d, "received"), *died = ctl_text(d, "died"), *code = ctl_text(d, "code");
	unsigned long long journal = ctl_count(d, "journal"), position = ctl_count(d, "position");
	char bytes[32];

	printf("%s\n", ctl_text(d, "id"));
	printf("  destination  %s\n", ctl_text(d, "destination"));
	printf("  received     %s\n", *received ? received : "-");
	printf("  died         %s\n", *died ? died : "-");
	printf("  size         %s\n", cli_format_bytes(bytes, sizeof(bytes), ctl_count(d, "bytes")));
	printf("  attempts     %llu\n", (unsigned long long)ctl_count(d, "attempts"));
	printf("  reason       %s\n", ctl_text(d, "reason"));
	printf("  answer       %s\n", *code ? code : "none");
	printf("  to read it   millrace journal dump %s/journal-%llu --position %llu --payload FILE\n",
	       *data ? data : "DATA", journal, position);
}

int dead_show_main(struct cli *cli)
{
	json_t *found, *d, *status = NULL;
	struct dead_id id;
	size_t i;
	int http;
	int r;

	if (cli->argc != 1 || dead_read_id(cli->argv[0], &id) < 0)
		return cli_usage(cli, "give one ID as dead list prints it: JOURNAL:POSITION");
	r = dead_find(cli, &id, &found);
	if (r)
		return r;
	if (!json_array_size(found)) {
		cli_error(cli, "no dead letter %s", cli->argv[0]);
		r = CLI_NOT_FOUND;
	} else if (cli_flag(cli, "json")) {
		ctl_print(found);
	} else {
		if (ctl_ask(cli_value(cli, "run"), "GET", "/v1/status", NULL, &status, &http) < 0)
			status = NULL;
		json_array_foreach(found, i, d)
		{
			dead_print(d, ctl_text(status, "data"));
		}
		json_decref(status);
	}
	json_decref(found);
	return r;
}

/* One POST; adds the number changed to *io_count. */
static int dead_post(struct cli *cli, const char *verb, const char *destination, const struct dead_id *id,
                     uint64_t *io_count)
{
	json_t *body = json_pack("{s:s}", "destination", destination), *o;
	char path[64];
	int r;

	must(body);
	if (id) {
		json_object_set_new(body, "journal", json_integer((json_int_t)id->journal));
		json_object_set_new(body, "position", json_integer((json_int_t)id->position));
	}
	snprintf(path, sizeof(path), "/v1/dead/%s", verb);
	r = ctl_request(cli, "POST", path, body, &o);
	json_decref(body);
	if (r)
		return r;
	*io_count += ctl_count(o, "count");
	json_decref(o);
	return CLI_OK;
}

static int dead_change_one(struct cli *cli, const char *verb, const char *text, uint64_t *io_count)
{
	const char *destination = cli_value(cli, "destination");
	struct dead_id id;
	json_t *found, *d;
	size_t i;
	int r;

	must(dead_read_id(text, &id) == 0);
	if (destination)
		return dead_post(cli, verb, destination, &id, io_count);
	r = dead_find(cli, &id, &found);
	if (r)
		return r;
	if (!json_array_size(found)) {
		cli_error(cli, "no dead letter %s", text);
		r = CLI_NOT_FOUND;
	}
	json_array_foreach(found, i, d) r = r ? r : dead_post(cli, verb, ctl_text(d, "destination"), &id, io_count);
	json_decref(found);
	return r;
}

/* "3 dead letters put back into the queue of ehr", "1 dead letter discarded" */
static void dead_print_done(const struct cli *cli, bool retry, uint64_t count)
{
	const char *destination = cli_value(cli, "destination");

	printf("%llu dead letter%s ", (unsigned long long)count, cli_plural(count));
	if (!retry)
		printf("discarded\n");
	else if (destination)
		printf("put back into the queue of %s\n", destination);
	else
		printf("put back into %s\n", count == 1 ? "its queue" : "their queues");
}

static int dead_change(struct cli *cli, const char *verb)
{
	const char *destination = cli_value(cli, "destination");
	uint64_t count = 0;
	struct dead_id id;
	int r = CLI_OK, bad = 0;

	if (!cli->argc && !destination)
		return cli_usage(cli, "give IDs, or --destination NAME for all of one destination");
	for (int i = 0; i < cli->argc; i++)
		if (dead_read_id(cli->argv[i], &id) < 0)
			return cli_usage(cli, "'%s' is not an ID as dead list prints it: JOURNAL:POSITION",
			                 cli->argv[i]);
	if (!cli->argc)
		r = dead_post(cli, verb, destination, NULL, &count);
	for (int i = 0; i < cli->argc; i++) {
		int one = dead_change_one(cli, verb, cli->argv[i], &count);

		if (one) {
			bad++;
			r = one;
		}
	}
	if (r && !count)
		return r;
	if (cli_flag(cli, "json"))
		printf("{\"schema\":\"millrace.dead.%s/1\",\"count\":%llu}\n", verb, (unsigned long long)count);
	else
		dead_print_done(cli, strcmp(verb, "retry") == 0, count);
	return bad ? CLI_PARTIAL : r;
}

int dead_retry_main(struct cli *cli)
{
	return dead_change(cli, "retry");
}

/* Asks at the terminal what is to go. Returns CLI_OK for a yes, and where there is nothing to lose. */
static int dead_confirm(struct cli *cli)
{
	const char *destination = cli_value(cli, "destination");
	uint64_t count = (uint64_t)cli->argc;
	char answer[16] = "";
	json_t *o;
	int r;

	if (!isatty(0)) {
		cli_error(cli, "not confirmed: there is no terminal to ask on; say --yes");
		return CLI_PRECONDITION;
	}
	if (!cli->argc) {
		r = dead_get(cli, 1, 0, &o);
		if (r)
			return r;
		count = ctl_count(o, "total");
		json_decref(o);
		if (!count)
			return CLI_OK;
	}
	fprintf(stderr, "Discard %llu dead letter%s%s%s for good? [y/N] ", (unsigned long long)count, cli_plural(count),
	        destination ? " of " : "", destination ? destination : "");
	if (!fgets(answer, sizeof(answer), stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
		cli_error(cli, "nothing discarded");
		return CLI_PRECONDITION;
	}
	return CLI_OK;
}

int dead_discard_main(struct cli *cli)
{
	int r = CLI_OK;

	if (!cli_flag(cli, "yes") && (cli->argc || cli_value(cli, "destination")))
		r = dead_confirm(cli);
	return r ? r : dead_change(cli, "discard");
}
