/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - `millrace queue list|show|pause|resume`: what waits for each destination, and stopping its delivery.
 *
 * Asks the control process; changes nothing but by its answer.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl_client.h"
#include "table.h"

int queue_list_main(struct cli *cli)
{
	json_t *o, *q;
	struct table t;
	size_t i;
	int r;

	if (cli->argc)
		return cli_usage(cli, "no argument wanted; queue show NAME shows one");
	r = ctl_request(cli, "GET", "/v1/queue", NULL, &o);
	if (r)
		return r;
	if (cli_flag(cli, "json")) {
		ctl_print(o);
	} else {
		table_begin(&t, "DESTINATION|KIND|STATE|WAITING>|BYTES>|OUTSTANDING>|DEAD>|DELIVERED>");
		json_array_foreach(json_object_get(o, "queues"), i, q)
		{
			table_cell(&t, "%s", ctl_text(q, "destination"));
			table_cell(&t, "%s", ctl_text(q, "kind"));
			table_cell(&t, "%s",
			           json_is_true(json_object_get(q, "paused")) ? "paused" : ctl_text(q, "state"));
			table_count(&t, ctl_count(q, "waiting"));
			table_bytes(&t, ctl_count(q, "bytes"));
			table_count(&t, ctl_count(q, "outstanding"));
			table_count(&t, ctl_count(q, "dead_letters"));
			table_count(&t, ctl_count(q, "delivered"));
		}
		table_end(&t, stdout);
	}
	json_decref(o);
	return CLI_OK;
}

/* /v1/queue/NAME, with @verb behind it if that is not empty. */
static int queue_request(struct cli *cli, const char *method, const char *verb, json_t **ret)
{
	char *name, *path;
	int r;

	if (cli->argc != 1)
		return cli_usage(cli, "name one destination");
	name = ctl_escape(cli->argv[0]);
	must(asprintf(&path, "/v1/queue/%s%s%s", name, *verb ? "/" : "", verb) > 0);
	r = ctl_request(cli, method, path, NULL, ret);
	free(path);
	free(name);
	return r;
}

static void queue_print_lanes(const json_t *o)
{
	struct table t;
	json_t *l;
	size_t i;

	table_begin(&t, "LANE>|STATE|OUTSTANDING>|FAILURES>|RETRY IN>|SINCE|LAST ERROR");
	json_array_foreach(json_object_get(o, "lanes"), i, l)
	{
		table_count(&t, ctl_count(l, "lane"));
		table_cell(&t, "%s", ctl_text(l, "state"));
		table_count(&t, ctl_count(l, "outstanding"));
		table_count(&t, ctl_count(l, "failures"));
		table_duration(&t, (uint64_t)(ctl_real(l, "retry_in") * 1e9));
		table_time(&t, ctl_text(l, "since"));
		table_cell(&t, "%s", *ctl_text(l, "last_error") ? ctl_text(l, "last_error") : "-");
	}
	table_end(&t, stdout);
}

int queue_show_main(struct cli *cli)
{
	char a[32], b[32];
	json_t *o, *w;
	size_t i;
	int r;

	r = queue_request(cli, "GET", "", &o);
	if (r)
		return r;
	if (cli_flag(cli, "json")) {
		ctl_print(o);
		json_decref(o);
		return CLI_OK;
	}
	printf("%s (%s%s%s): %s\n", ctl_text(o, "destination"), ctl_text(o, "kind"), *ctl_text(o, "target") ? " " : "",
	       ctl_text(o, "target"), json_is_true(json_object_get(o, "paused")) ? "paused" : ctl_text(o, "state"));
	printf("  waiting %s (%s), outstanding %llu, dead letters %llu, delivered %llu\n",
	       cli_format_count(a, sizeof(a), ctl_count(o, "waiting")),
	       cli_format_bytes(b, sizeof(b), ctl_count(o, "bytes")), (unsigned long long)ctl_count(o, "outstanding"),
	       (unsigned long long)ctl_count(o, "dead_letters"), (unsigned long long)ctl_count(o, "delivered"));
	if (json_is_number(json_object_get(o, "oldest_age")))
		printf("  oldest message: %s\n",
		       cli_format_duration(a, sizeof(a), (uint64_t)(ctl_real(o, "oldest_age") * 1e9)));
	json_array_foreach(json_object_get(o, "owners"), i, w) if (ctl_count(w, "waiting"))
	    printf("  in the journal of worker %llu: %s\n", (unsigned long long)ctl_count(w, "worker"),
	           cli_format_count(a, sizeof(a), ctl_count(w, "waiting")));
	queue_print_lanes(o);
	json_decref(o);
	return CLI_OK;
}

static int queue_switch(struct cli *cli, const char *verb, const char *done)
{
	json_t *o;
	int r = queue_request(cli, "POST", verb, &o);

	if (r)
		return r;
	if (cli_flag(cli, "json"))
		ctl_print(o);
	else
		printf("%s: %s\n", ctl_text(o, "destination"), done);
	json_decref(o);
	return CLI_OK;
}

int queue_pause_main(struct cli *cli)
{
	return queue_switch(cli, "pause", "paused; its messages are kept");
}

int queue_resume_main(struct cli *cli)
{
	return queue_switch(cli, "resume", "resumed");
}
