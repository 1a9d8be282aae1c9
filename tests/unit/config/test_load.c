/* SPDX-License-Identifier: Apache-2.0 */
/* test_load.c - what a right configuration means: the sample, defaults, JSON, several files, environment, CPUs. */
#include "load_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000000ull

static void must_load(const struct loaded *l)
{
	char *text = report_text(&l->report, CONFIG_TEXT);

	if (l->rc)
		fail_msg("rc %d:\n%s", l->rc, text);
	free(text);
}

static const struct config_diag *diag(const struct loaded *l, uint32_t code)
{
	for (uint32_t i = 0; i < l->report.count; i++) {
		if (l->report.diags[i].code == code)
			return &l->report.diags[i];
	}
	return NULL;
}

static void the_sample_works_as_it_stands(void **state)
{
	struct loaded l = load_text(sample_text, NULL, 8);
	const struct mr_config *m = l.image;
	const struct mr_config_dest *ehr, *lab_sys, *archive;
	const uint16_t *dests;

	must_load(&l);
	assert_int_equal(l.report.errors + l.report.warnings, 0);
	assert_true(m->data[0] == '/' && strstr(m->data, "/data") && !strstr(m->data, "/./"));
	assert_true(m->run[0] == '/' && strstr(m->run, "/run"));
	assert_int_equal(m->workers, 2);
	assert_int_equal(m->cpus[0], 1);
	assert_int_equal(m->cpus[1], 2);
	assert_int_equal(m->commit, MR_COMMIT_DURABLE);
	assert_string_equal(m->metrics_address, "127.0.0.1");
	assert_int_equal(m->metrics_port, 9464);
	assert_int_equal(m->segment_bytes, 128 << 20); /* two messages of 32 MiB */
	assert_int_equal(m->tail_bytes, 128 << 20);
	assert_int_equal(m->listeners.count, 2);
	assert_string_equal(mr_config_listener(m, 0)->name, "adt");
	assert_string_equal(mr_config_listener(m, 0)->address, "");
	assert_int_equal(mr_config_listener(m, 0)->port, 2575);
	assert_int_equal(mr_config_listener(m, 0)->frame_bytes_max, 16 << 20);
	assert_string_equal(mr_config_listener(m, 1)->address, "::");
	assert_int_equal(mr_config_listener(m, 1)->frame_bytes_max, 32 << 20);
	assert_true(mr_config_listener(m, 1)->idle_timeout_ns == 600 * SECOND);
	assert_int_equal(m->dests.count, 3);
	ehr = mr_config_dest(m, 0);
	lab_sys = mr_config_dest(m, 1);
	archive = mr_config_dest(m, 2);
	assert_string_equal(mr_config_string(m, ehr->host), "127.0.0.1");
	assert_int_equal(ehr->port, 6661);
	assert_int_equal(ehr->connections, 2);
	assert_true(ehr->ack_timeout_ns == 5 * SECOND && ehr->retry_first_ns == SECOND / 10 &&
	            ehr->retry_max_ns == 30 * SECOND);
	assert_int_equal(ehr->owner, 0);
	assert_int_equal(lab_sys->owner, 1);
	assert_int_equal(lab_sys->on_reject, MR_REJECT_DEAD);
	assert_int_equal(archive->kind, MR_DEST_FILE);
	assert_int_equal(archive->owner, MR_CONNECTOR_FILE);
	assert_true(mr_config_string(m, archive->path)[0] == '/' &&
	            strstr(mr_config_string(m, archive->path), "/archive"));
	assert_int_equal(m->routes.count, 3);
	assert_int_equal(mr_config_route(m, 0)->code_count, 0);
	assert_int_equal(mr_config_route(m, 1)->code_count, 2);
	assert_string_equal(mr_config_route(m, 1)->name, "route-2");
	dests = mr_config_at(m, &m->route_dests);
	assert_int_equal(mr_config_route(m, 0)->dest_count, 2);
	assert_int_equal(dests[mr_config_route(m, 0)->dests], 0);
	assert_int_equal(dests[mr_config_route(m, 0)->dests + 1], 2);
	loaded_free(&l);
}

static void nothing_said_means_the_default(void **state)
{
	struct config *c = NULL;
	struct config_report r = {0};
	struct config_options opt = {.cpus = 1, .run = "some/run"};
	struct mr_config *m = NULL;
	char inbox[600];
	size_t bytes;

	assert_int_equal(config_load(NULL, 0, &opt, &c, &r), 0);
	assert_int_equal(r.errors + r.warnings, 0);
	assert_int_equal(config_image(c, 3, (void **)&m, &bytes), 0);
	assert_int_equal(m->generation, 3);
	assert_int_equal(m->listeners.count, 1);
	assert_int_equal(mr_config_listener(m, 0)->port, 2575);
	assert_int_equal(m->dests.count, 1);
	assert_int_equal(m->routes.count, 1);
	assert_int_equal(mr_config_dest(m, 0)->kind, MR_DEST_FILE);
	snprintf(inbox, sizeof(inbox), "%s/inbox", m->data);
	assert_string_equal(mr_config_string(m, mr_config_dest(m, 0)->path), inbox);
	assert_int_equal(m->metrics_port, 9464);
	assert_int_equal(m->workers, 1);
	assert_int_equal(m->cpus[0], 0);
	assert_true(m->data[0] == '/' && m->run[0] == '/' && strstr(m->run, "/some/run"));
	free(m);
	config_free(c);
	config_report_free(&r);
}

static void every_default_is_as_the_manual_says(void **state)
{
	struct loaded l = load_text("listeners: { a: { port: 1 } }\n"
	                            "destinations: { m: { mllp: \"h:2\" }, f: { file: /x } }\nroutes: []\n",
	                            NULL, 4);
	const struct mr_config *m = l.image;
	const struct mr_config_listener *a;
	const struct mr_config_dest *d;

	must_load(&l);
	a = mr_config_listener(m, 0);
	d = mr_config_dest(m, 0);
	assert_int_equal(m->routing, MR_ROUTING_ALL);
	assert_int_equal(m->segment_bytes, 64 << 20);
	assert_int_equal(m->tail_bytes, 64 << 20);
	assert_int_equal(m->journal_bytes_max, 0);
	assert_int_equal(m->disk_free_bytes_min, 256 << 20);
	assert_true(m->retain_ns == 86400 * SECOND && m->retain_bytes == 4ull << 30);
	assert_true(m->duplicate_window_ns == 3600 * SECOND && m->duplicate_entries == 262144);
	assert_true(m->worker_connections_max == 16384 && m->frame_memory_bytes == 256 << 20);
	assert_true(m->drain_timeout_ns == 30 * SECOND && !m->busy_poll && m->on_disk_full == MR_ON_FULL_WAIT);
	assert_true(a->connections_max == 16384 && a->backlog == 4096);
	assert_true(a->frame_timeout_ns == 30 * SECOND && !a->idle_timeout_ns && a->send_timeout_ns == 30 * SECOND);
	assert_int_equal(a->ack_mode + a->app_ack + a->between + a->header_check + a->on_full + a->duplicates +
	                     a->unrouted + a->order_by,
	                 0);
	assert_true(d->connections == 1 && d->window == 1 && d->queue_max == 2000000 && !d->attempts_max && !d->paused);
	assert_true(d->ack_timeout_ns == 30 * SECOND && d->connect_timeout_ns == 5 * SECOND &&
	            d->connect == MR_CONNECT_START);
	assert_true(d->retry_first_ns == SECOND / 5 && d->retry_max_ns == 30 * SECOND);
	assert_true(d->on_error == MR_REJECT_DEAD && d->on_reject == MR_REJECT_DEAD && d->answers == MR_ANSWERS_AUTO);
	d = mr_config_dest(m, 1);
	assert_true(d->file_format == MR_FILE_HL7 && d->batch_messages == 1000 && d->batch_interval_ns == 10 * SECOND);
	assert_string_equal(mr_config_string(m, d->path), "/x");
	loaded_free(&l);
}

static void every_setting_arrives(void **state)
{
	struct loaded l =
	    load_text("commit: none\nrouting: first\nunrouted: reject\nmetrics: off\n"
	              "journal: { segment: 33MiB, tail: 40MiB, max: 1TiB, free_min: 1GiB, retain: 7d, retain_max: 0, "
	              "on_full: reject }\n"
	              "duplicates: { window: 0, entries: 5000, action: forward }\n"
	              "limits: { connections: 7, frame_memory: 64MiB }\ndrain_timeout: 1min\nbusy_poll: yes\n"
	              "listeners:\n"
	              "  a: { port: 1, address: 10.1.2.3, connections: 9, backlog: 8, frame_timeout: 1s, idle_timeout: "
	              "2s, send_timeout: 3s, acknowledge: always,\n"
	              "       application_ack: both, between_frames: refuse, header: minimal, order_by: PID-3.1, "
	              "max_frame: 1KiB }\n"
	              "  b: { port: 2, on_full: wait, duplicates: answer, unrouted: accept, order_by: peer, "
	              "application_ack: none }\n"
	              "destinations:\n"
	              "  m: { mllp: \"[::1]:2\", connections: 64, window: 256, ack_timeout: 1s, connect_timeout: 2s, "
	              "connect: demand, idle_timeout: 3s,\n"
	              "       answers: by_msh, queue: 5, retry: { first: 1s, max: 2s, attempts: 3 }, on_error: drop, "
	              "on_reject: drop, paused: true }\n"
	              "  f: { file: /y, format: batch, batch: { messages: 5, interval: 6s } }\n"
	              "routes: [ { name: all, from: [b, a], to: [] }, { from: a, to: m }, { from: \"*\", to: f } ]\n",
	              NULL, 4);
	const struct mr_config *m = l.image;
	const struct mr_config_listener *a;
	const struct mr_config_dest *d;

	must_load(&l);
	a = mr_config_listener(m, 0);
	d = mr_config_dest(m, 0);
	assert_true(m->commit == MR_COMMIT_NONE && m->routing == MR_ROUTING_FIRST && m->metrics_port == 0 &&
	            m->busy_poll);
	assert_true(m->segment_bytes == 33 << 20 && m->tail_bytes == 64 << 20 && m->journal_bytes_max == 1ull << 40);
	assert_true(m->disk_free_bytes_min == 1 << 30 && m->retain_ns == 7 * 86400 * SECOND && m->retain_bytes == 0);
	assert_true(m->on_disk_full == MR_ON_FULL_REJECT && m->duplicate_window_ns == 0 &&
	            m->duplicate_entries == 8192);
	assert_true(m->worker_connections_max == 7 && m->frame_memory_bytes == 64 << 20 &&
	            m->drain_timeout_ns == 60 * SECOND);
	assert_string_equal(a->address, "10.1.2.3");
	assert_true(a->connections_max == 9 && a->backlog == 8 && a->frame_timeout_ns == SECOND &&
	            a->idle_timeout_ns == 2 * SECOND);
	assert_true(a->send_timeout_ns == 3 * SECOND && a->ack_mode == MR_ACK_ALWAYS && a->app_ack == MR_APP_ACK_BOTH);
	assert_true(a->between == MR_BETWEEN_REFUSE && a->header_check == MR_HEADER_MINIMAL &&
	            a->order_by == MR_ORDER_FIELD);
	assert_string_equal(mr_config_string(m, a->order_path), "PID-3.1");
	assert_true(a->on_full == MR_ON_FULL_REJECT && a->duplicates == MR_DUPLICATES_FORWARD &&
	            a->unrouted == MR_UNROUTED_REJECT);
	a = mr_config_listener(m, 1);
	assert_true(a->on_full == MR_ON_FULL_WAIT && a->duplicates == MR_DUPLICATES_ANSWER &&
	            a->unrouted == MR_UNROUTED_ACCEPT);
	assert_true(a->order_by == MR_ORDER_PEER && a->app_ack == MR_APP_ACK_NONE);
	assert_string_equal(mr_config_string(m, d->host), "::1");
	assert_true(d->connections == 64 && d->window == 256 && d->ack_timeout_ns == SECOND &&
	            d->connect_timeout_ns == 2 * SECOND);
	assert_true(d->connect == MR_CONNECT_DEMAND && d->idle_timeout_ns == 3 * SECOND && d->queue_max == 5 &&
	            d->paused);
	assert_true(d->retry_first_ns == SECOND && d->retry_max_ns == 2 * SECOND && d->attempts_max == 3);
	assert_true(d->on_error == MR_REJECT_DROP && d->on_reject == MR_REJECT_DROP && d->answers == MR_ANSWERS_BY_MSH);
	d = mr_config_dest(m, 1);
	assert_true(d->file_format == MR_FILE_BATCH && d->batch_messages == 5 && d->batch_interval_ns == 6 * SECOND);
	assert_true(mr_config_route(m, 0)->dest_count == 0 && mr_config_route(m, 0)->listener_count == 2);
	assert_string_equal(mr_config_route(m, 0)->name, "all");
	assert_int_equal(mr_config_route(m, 2)->listener_count, 2);
	loaded_free(&l);
}

static void auto_is_what_nothing_said_would_be(void **state)
{
	struct loaded l =
	    load_text("data: auto\nrun: auto\nworkers: auto\njournal: { segment: auto, tail: auto }\n", NULL, 4);

	must_load(&l);
	assert_true(l.image->segment_bytes == 64 << 20 && l.image->tail_bytes == 64 << 20 && l.image->workers == 3);
	assert_true(l.image->data[0] == '/' && !strstr(l.image->data, "/auto"));
	loaded_free(&l);
}

static void json_is_read_by_the_same_reader(void **state)
{
	static const char json[] =
	    "{\n\t\"workers\": 1,\n\t\"busy_poll\":true,\"metrics\": false,\n\t\"listeners\": "
	    "{\"a\":{\"port\":2575}},\n"
	    "\t\"destinations\": {\"f\": {\"file\": \"\\/x\"}},\n"
	    "\t\"routes\": [{\"from\": \"a\", \"when\": \"MSH-9.1 == \\\"ADT\\\"\", \"to\": [\"f\"]}]\n}\n";
	struct loaded l = load_text(json, NULL, 4);

	must_load(&l);
	assert_true(l.image->busy_poll && l.image->metrics_port == 0);
	assert_string_equal(mr_config_string(l.image, mr_config_dest(l.image, 0)->path), "/x");
	assert_int_equal(mr_config_route(l.image, 0)->code_count, 1);
	loaded_free(&l);
	l = load_text("{\"listeners\": {\"a\": {\"prot\": 1}}}", NULL, 4);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(diag(&l, CONFIG_E_UNKNOWN_KEY)->hint, "did you mean \"port\"?");
	loaded_free(&l);
}

static void files_of_a_folder_add_up(void **state)
{
	static const char *const files[] = {
	    "10-base.yaml",
	    "commit: os\njournal: { max: 1TiB }\nlisteners: { a: { port: 1 } }\nroutes: [ { from: a, to: x } ]\n",
	    "20-more.yml",
	    "journal: { retain: 1h }\nlisteners: { b: { port: 2 } }\ndestinations: { x: { file: /x } }\n",
	    "30-last.json",
	    "{\"routes\": [{\"from\": \"b\", \"to\": \"x\"}]}",
	    ".hidden.yaml",
	    "commit: none\n",
	    "notes.txt",
	    "this is no configuration: [\n",
	    "empty.yaml",
	    "# nothing\n",
	    NULL,
	};
	struct loaded l = load_folder(files, NULL);

	must_load(&l);
	assert_int_equal(l.report.files, 4);
	assert_int_equal(l.image->commit, MR_COMMIT_OS);
	assert_true(l.image->journal_bytes_max == 1ull << 40 && l.image->retain_ns == 3600 * SECOND);
	assert_true(l.image->listeners.count == 2 && l.image->dests.count == 1 && l.image->routes.count == 2);
	assert_string_equal(mr_config_route(l.image, 1)->name, "route-2");
	loaded_free(&l);
}

static void one_thing_in_two_files_is_told_with_both_places(void **state)
{
	static const char *const files[] = {
	    "a.yaml", "commit: os\nlisteners:\n  adt: { port: 1 }\n",
	    "b.yaml", "listeners:\n  adt: { port: 2 }\ncommit: durable\n",
	    NULL,
	};
	struct loaded l = load_folder(files, NULL);

	assert_int_equal(l.rc, -EINVAL);
	assert_int_equal(l.report.errors, 2);
	assert_string_equal(l.report.diags[1].file, "./b.yaml");
	assert_int_equal(l.report.diags[1].line, 2);
	assert_string_equal(l.report.diags[1].text, "\"adt\" is given twice; first at ./a.yaml:3");
	assert_string_equal(l.report.diags[2].text, "\"commit\" is given twice; first at ./a.yaml:1");
	loaded_free(&l);
}

static void what_cannot_be_read_is_told(void **state)
{
	const char *paths[] = {"/nonexistent/hub.yaml", "/nonexistent"};
	struct config *c = NULL;
	struct config_report r = {0};
	static const char *const none[] = {NULL};
	struct loaded l;

	assert_int_equal(config_load(paths, 2, NULL, &c, &r), -EINVAL);
	assert_null(c);
	assert_int_equal(r.errors, 2);
	assert_int_equal(r.diags[0].code, CONFIG_E_FILE);
	assert_string_equal(r.diags[0].file, "/nonexistent");
	assert_string_equal(r.diags[1].file, "/nonexistent/hub.yaml");
	assert_non_null(strstr(r.diags[1].text, "No such file"));
	config_report_free(&r);
	l = load_folder(none, NULL);
	assert_int_equal(l.rc, -EINVAL);
	assert_non_null(strstr(diag(&l, CONFIG_E_FILE)->text, "a folder without *.yaml, *.yml or *.json files"));
	loaded_free(&l);
}

static void too_many_items_are_refused(void **state)
{
	char *yaml = malloc(1 << 20), *p = yaml;
	struct loaded l;

	p += sprintf(p, "listeners:\n");
	for (int i = 0; i < MR_LISTENERS_MAX + 1; i++)
		p += sprintf(p, "  l%d: { port: %d }\n", i, i + 1);
	l = load_text(yaml, NULL, 4);
	assert_int_equal(l.rc, -EINVAL);
	assert_non_null(strstr(diag(&l, CONFIG_E_TOO_MANY)->text, "1025 listeners; a hub holds 1024"));
	loaded_free(&l);
	p = yaml + sprintf(yaml, "listeners: { a: { port: 1 } }\ndestinations:\n");
	for (int i = 0; i < MR_MSG_DESTS_MAX + 1; i++)
		p += sprintf(p, "  d%d: { file: /%d }\n", i, i);
	p += sprintf(p, "routes: [ { from: a, to: [");
	for (int i = 0; i < MR_MSG_DESTS_MAX + 1; i++)
		p += sprintf(p, "d%d,", i);
	sprintf(p, "] } ]\n");
	l = load_text(yaml, NULL, 4);
	assert_int_equal(l.rc, -EINVAL);
	assert_non_null(strstr(diag(&l, CONFIG_E_TOO_MANY)->text, "65 destinations; a message may have 64"));
	loaded_free(&l);
	free(yaml);
}

/* ---- environment ---- */

static void the_environment_goes_before_the_files(void **state)
{
	char *env[] = {(char *)"HOME=/x",
	               (char *)"MILLRACE_COMMIT=os",
	               (char *)"MILLRACE_LISTENERS_ADT_PORT=4000",
	               (char *)"MILLRACE_LISTENERS_LAB_ADDRESS=::1",
	               (char *)"MILLRACE_LISTENERS_LAB_FRAME_TIMEOUT=7s",
	               (char *)"MILLRACE_DESTINATIONS_LAB_SYS_MLLP=h2:99",
	               (char *)"MILLRACE_DESTINATIONS_EHR_RETRY_MAX=9s",
	               (char *)"MILLRACE_JOURNAL_SEGMENT=256MiB",
	               (char *)"MILLRACE_WORKERS=[3]",
	               (char *)"MILLRACE_METRICS=off",
	               (char *)"MILLRACE_RUN=/r",
	               (char *)"MILLRACE_DATA=",
	               (char *)"MILLRACE_CONFIG=whatever",
	               (char *)"MILLRACE_ROUTES_ROUTE_2_WHEN=exists PID-3",
	               (char *)"MILLRACE_ROUTES_ROUTE_3_TO=[archive, ehr]",
	               NULL};
	struct loaded l = load_text(sample_text, env, 8);
	const struct mr_config *m = l.image;

	must_load(&l);
	assert_int_equal(l.report.warnings, 1); /* commit: os */
	assert_string_equal(l.report.diags[0].file, "environment");
	assert_int_equal(m->commit, MR_COMMIT_OS);
	assert_int_equal(mr_config_listener(m, 0)->port, 4000);
	assert_string_equal(mr_config_listener(m, 1)->address, "::1");
	assert_int_equal(mr_config_listener(m, 1)->port, 2576);
	assert_true(mr_config_listener(m, 1)->frame_timeout_ns == 7 * SECOND);
	assert_string_equal(mr_config_string(m, mr_config_dest(m, 1)->host), "h2");
	assert_true(mr_config_dest(m, 0)->retry_max_ns == 9 * SECOND &&
	            mr_config_dest(m, 0)->retry_first_ns == SECOND / 10);
	assert_int_equal(m->segment_bytes, 256 << 20);
	assert_true(m->workers == 1 && m->cpus[0] == 3 && m->metrics_port == 0);
	assert_string_equal(m->run, "/r");
	assert_non_null(strstr(m->data, "/data"));
	assert_int_equal(mr_config_route(m, 1)->code_count, 1);
	assert_int_equal(mr_config_route(m, 2)->dest_count, 2);
	loaded_free(&l);
}

static void a_port_given_by_the_environment_is_said_so(void **state)
{
	char *env[] = {(char *)"MILLRACE_LISTENERS_A_PORT=4000", NULL};
	struct loaded l = load_text("listeners: { a: { port: 1 }, b: { port: 4000 } }\n", env, 4);
	char *text = report_text(&l.report, CONFIG_TEXT);

	assert_non_null(strstr(text, "port 4000 of listener \"b\" is taken by listener \"a\" (environment)"));
	assert_int_equal(l.report.errors, 1);
	free(text);
	loaded_free(&l);
}

static void a_whole_hub_from_the_environment(void **state)
{
	char *env[] = {(char *)"MILLRACE_LISTENERS_IN_PORT=4000",
	               (char *)"MILLRACE_LISTENERS_IN_MAX_FRAME=1MiB",
	               (char *)"MILLRACE_DESTINATIONS={ehr: {mllp: 'h:1'}}",
	               (char *)"MILLRACE_DESTINATIONS_TO_THE_LAB_MLLP=h:2",
	               (char *)"MILLRACE_ROUTES=[{from: in, to: [ehr, to_the_lab]}]",
	               NULL};
	struct loaded l = load_text("", env, 4);

	must_load(&l);
	assert_int_equal(l.report.warnings, 0);
	assert_string_equal(mr_config_listener(l.image, 0)->name, "in");
	assert_int_equal(mr_config_listener(l.image, 0)->frame_bytes_max, 1 << 20);
	assert_string_equal(mr_config_dest(l.image, 1)->name, "to_the_lab");
	assert_int_equal(mr_config_route(l.image, 0)->dest_count, 2);
	loaded_free(&l);
}

static void a_bad_variable_is_told_by_its_name(void **state)
{
	char *env[] = {(char *)"MILLRACE_LISTENERS_ADT_PORT=99999", NULL};
	struct loaded l = load_text(sample_text, env, 4);
	const struct config_diag *d;

	assert_int_equal(l.rc, -EINVAL);
	d = diag(&l, CONFIG_E_RANGE);
	assert_string_equal(d->file, "environment");
	assert_true(d->line == 1 && d->column == 29);
	assert_string_equal(d->source, "MILLRACE_LISTENERS_ADT_PORT=99999");
	loaded_free(&l);
	env[0] = (char *)"MILLRACE_ROUTES=[{from: adt, to: [erh]}]";
	l = load_text(sample_text, env, 4);
	d = diag(&l, CONFIG_E_UNKNOWN_NAME);
	assert_true(d && d->line == 1 && d->column == 35);
	loaded_free(&l);
}

static void doubtful_variables_are_told(void **state)
{
	char *env[] = {(char *)"MILLRACE_LISENERS=1", (char *)"MILLRACE_LISTENERS_ADTT_PORT=77",
	               (char *)"MILLRACE_LISTENERS_ADT_BORT=5", NULL};
	struct loaded l = load_text(sample_text, env, 4);
	const struct config_diag *d;

	must_load(&l);
	d = diag(&l, CONFIG_E_UNKNOWN_VARIABLE);
	assert_string_equal(d->text, "MILLRACE_LISENERS fits no setting");
	assert_string_equal(d->hint, "did you mean \"MILLRACE_LISTENERS\"?");
	assert_string_equal(d->source, "MILLRACE_LISENERS=1");
	assert_string_equal((d + 2)->text, "MILLRACE_LISTENERS_ADT_BORT fits no setting");
	d = diag(&l, CONFIG_E_NEW_BY_VARIABLE);
	assert_string_equal(d->text, "this makes a new item \"adtt\" of listeners");
	assert_string_equal(d->hint, "did you mean \"adt\"? (defined at hub.yaml:7)");
	loaded_free(&l);
}

static void names_with_underscores_are_found_whole(void **state)
{
	static const char yaml[] = "listeners: { a: { port: 1 }, a_idle: { port: 2 }, B-C: { port: 3 } }\n";
	char *env[] = {(char *)"MILLRACE_LISTENERS_A_IDLE_PORT=8", (char *)"MILLRACE_LISTENERS_B_C_PORT=9", NULL};
	struct loaded l = load_text(yaml, env, 4);

	must_load(&l);
	assert_int_equal(mr_config_listener(l.image, 0)->port, 1);
	assert_int_equal(mr_config_listener(l.image, 1)->port, 8);
	assert_int_equal(mr_config_listener(l.image, 2)->port, 9);
	loaded_free(&l);
	l = load_text("listeners: { b-c: { port: 1 }, b_c: { port: 2 } }\n", env + 1, 4);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(diag(&l, CONFIG_E_ENVIRONMENT)->text, "this fits \"b-c\" and \"b_c\"");
	loaded_free(&l);
}

/* ---- CPUs ---- */

static void check_cpus(const char *workers, uint32_t cpus, uint32_t count, int first, int last)
{
	char yaml[100];
	struct loaded l;

	snprintf(yaml, sizeof(yaml), "workers: %s\n", workers);
	l = load_text(yaml, NULL, cpus);
	must_load(&l);
	assert_int_equal(l.image->workers, count);
	assert_int_equal(l.image->cpus[0], first);
	assert_int_equal(l.image->cpus[count - 1], last);
	loaded_free(&l);
}

static void workers_get_their_cpus(void **state)
{
	check_cpus("auto", 1, 1, 0, 0);
	check_cpus("auto", 2, 1, 1, 1);
	check_cpus("auto", 8, 7, 1, 7);
	check_cpus("auto", 200, 64, 1, 64);
	check_cpus("3", 8, 3, 1, 3);
	check_cpus("2", 2, 2, 0, 1);
	check_cpus("3", 2, 3, -1, -1);
	check_cpus("[5, 2]", 8, 2, 5, 2);
	check_cpus("[0, 2-4]", 8, 4, 0, 4);
}

static void the_text_has_a_hash(void **state)
{
	char *env[] = {(char *)"MILLRACE_COMMIT=os", NULL};
	struct loaded a = load_text(sample_text, NULL, 4), b = load_text(sample_text, NULL, 4),
	              c = load_text(sample_text, env, 4);

	assert_true(a.image->text_hash == b.image->text_hash);
	assert_true(a.image->text_hash != c.image->text_hash);
	assert_int_equal(a.image_bytes, b.image_bytes);
	loaded_free(&a);
	loaded_free(&b);
	loaded_free(&c);
}

static void a_report_in_json_is_one_object(void **state)
{
	struct loaded l = load_text("commit: \"a\\\"b\\\\\"\n", NULL, 4);
	char *text = report_text(&l.report, CONFIG_JSON);

	assert_non_null(strstr(text, "{\"schema\":\"millrace.config.check/1\",\"errors\":1,\"warnings\":0,"));
	assert_non_null(
	    strstr(text, "{\"level\":\"error\",\"code\":\"MR1008\",\"file\":\"hub.yaml\",\"line\":1,\"column\":9,"));
	assert_non_null(strstr(text, "\"text\":\"\\\"a\\\"b\\\\\\\" is not legal here; legal: durable, os, none\""));
	free(text);
	loaded_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_sample_works_as_it_stands),
	    cmocka_unit_test(nothing_said_means_the_default),
	    cmocka_unit_test(every_default_is_as_the_manual_says),
	    cmocka_unit_test(every_setting_arrives),
	    cmocka_unit_test(auto_is_what_nothing_said_would_be),
	    cmocka_unit_test(json_is_read_by_the_same_reader),
	    cmocka_unit_test(files_of_a_folder_add_up),
	    cmocka_unit_test(one_thing_in_two_files_is_told_with_both_places),
	    cmocka_unit_test(what_cannot_be_read_is_told),
	    cmocka_unit_test(too_many_items_are_refused),
	    cmocka_unit_test(the_environment_goes_before_the_files),
	    cmocka_unit_test(a_port_given_by_the_environment_is_said_so),
	    cmocka_unit_test(a_whole_hub_from_the_environment),
	    cmocka_unit_test(a_bad_variable_is_told_by_its_name),
	    cmocka_unit_test(doubtful_variables_are_told),
	    cmocka_unit_test(names_with_underscores_are_found_whole),
	    cmocka_unit_test(workers_get_their_cpus),
	    cmocka_unit_test(the_text_has_a_hash),
	    cmocka_unit_test(a_report_in_json_is_one_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
