/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c - what a seed is about: the shape of the hub, its settings, and which kinds of faults there are.
 *
 * Each seed leaves out most kinds of faults, so that every combination of a few meets undisturbed time of its own. The
 * configuration is written as text and goes through the real reader and compiler.
 */
#include "config.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool maybe(struct sim *s, uint32_t percent)
{
	return sim_chance(s, percent * 100);
}

static void profile_faults(struct sim *s)
{
	struct sim_profile *p = &s->p;

	p->crash_kill = maybe(s, 50);
	p->crash_power = !p->commit_os && maybe(s, 50);
	p->crash_starting = maybe(s, 30);
	p->net_breaks = maybe(s, 40);
	p->net_splits = maybe(s, 50);
	p->dest_faults = maybe(s, 50);
	p->dest_down = maybe(s, 40);
	p->pauses = maybe(s, 25);
	p->control_dies = maybe(s, 25);
	p->disk_errors = maybe(s, 20);
	p->disk_slow = maybe(s, 30);
	p->garbage = maybe(s, 30);
	p->bad_messages = maybe(s, 40);
	p->slow_senders = maybe(s, 30);
	p->repeats = maybe(s, 40);
	p->half_close = maybe(s, 30);
}

void profile_choose(struct sim *s)
{
	struct sim_profile *p = &s->p;

	p->cores = maybe(s, 60) ? 2 : 1;
	p->dests = (uint32_t)sim_between(s, 1, SIM_DESTS_MAX);
	p->senders = (uint32_t)sim_between(s, 1, SIM_SENDERS_MAX);
	p->commit_os = maybe(s, 15);
	profile_faults(s);
	p->by_name = maybe(s, 30);
	p->on_error = maybe(s, 30) ? MR_REJECT_RETRY : maybe(s, 70) ? MR_REJECT_DEAD : MR_REJECT_DROP;
	p->window_over_one = p->on_error != MR_REJECT_RETRY && maybe(s, 50);
	p->attempts_max = maybe(s, 15) ? (uint32_t)sim_between(s, 1, 4) : 0;
	p->app_ack = (uint8_t)sim_below(s, 3);
	p->big_messages = maybe(s, 20);
	p->small_journal = maybe(s, 15);
	p->duplicates_forward = maybe(s, 15);
	p->on_full_reject = maybe(s, 15);
	p->order_listener = maybe(s, 30);
	for (uint32_t d = 0; d < SIM_DESTS_MAX; d++)
		p->lanes[d] = maybe(s, 50) ? 1 : (uint32_t)sim_between(s, 2, 5);
	p->queue_max = maybe(s, 20) ? (uint32_t)sim_between(s, 2, 60) : 2000000;
	p->message_gap_us = (uint32_t)(maybe(s, 50) ? sim_between(s, 1000, 5000) : sim_between(s, 5000, 40000));
}

static int profile_dest(const struct sim *s, char *to, size_t room, uint32_t d)
{
	static const char *const on[] = {"retry", "dead_letter", "drop"};
	const struct sim_profile *p = &s->p;

	return snprintf(to, room,
			"  d%u: {mllp: \"%s:%u\", connections: %u, window: %u, ack_timeout: 800ms, connect_timeout: 500ms, queue: %u, "
			"retry.first: 20ms, retry.max: 500ms, retry.attempts: %u, on_error: %s, on_reject: %s%s}\n",
			d, p->by_name ? "receiver.sim" : "10.9.0.1", 7000 + d, p->lanes[d], p->window_over_one ? 2 + 5 * d : 1, p->queue_max,
			p->attempts_max, on[p->on_error], on[p->on_error], d == 1 ? ", connect: demand, idle_timeout: 300ms" : "");
}

static void profile_text(const struct sim *s, char *to, size_t room)
{
	static const char *const app[] = {"one", "both", "none"};
	const struct sim_profile *p = &s->p;
	int n = snprintf(to, room,
			 "data: %s/data\nrun: %s/run\nworkers: %u\ncommit: %s\nmetrics: off\n"
			 "journal.segment: %s\njournal.tail: %s\njournal.free_min: 0\njournal.max: %s\njournal.on_full: %s\n"
			 "duplicates.action: %s\nlimits.connections: 60\nlimits.frame_memory: 8MiB\ndrain_timeout: 5s\n"
			 "listeners:\n  in: {port: 2575, max_frame: %s, frame_timeout: 2s, send_timeout: 3s, application_ack: %s, "
			 "order_by: %s}\ndestinations:\n",
			 s->folder, s->folder, p->cores, p->commit_os ? "os" : "durable", p->big_messages ? "2MiB" : "1MiB",
			 p->big_messages ? "2MiB" : "1MiB", !p->small_journal ? "0" : p->big_messages ? "10MiB" : "5MiB",
			 p->on_full_reject ? "reject" : "wait", p->duplicates_forward ? "forward" : "answer",
			 p->big_messages ? "512KiB" : "64KiB", app[p->app_ack], p->order_listener ? "listener" : "connection");

	for (uint32_t d = 0; d < p->dests; d++)
		n += profile_dest(s, to + n, room - (size_t)n, d);
	n += snprintf(to + n, room - (size_t)n, "routes:\n  - {from: in, to: [d0]}\n");
	if (p->dests > 1)
		n += snprintf(to + n, room - (size_t)n, "  - {from: in, when: 'MSH-9.1 == \"ORU\"', to: [d1, d0]}\n");
	if (p->dests > 2)
		n += snprintf(to + n, room - (size_t)n, "  - {from: in, when: 'MSH-9.1 in [\"ORU\", \"ADT\"] && PID-1 == \"1\"', to: d2}\n");
	must((size_t)n < room);
}

static void profile_tell(struct sim *s)
{
	const struct sim_profile *p = &s->p;

	sim_trace(s, "%u cores, %u senders, %u destinations with %u, %u, %u lanes, queue %u, commit %s", p->cores, p->senders, p->dests,
		  p->lanes[0], p->lanes[1], p->lanes[2], p->queue_max, p->commit_os ? "os" : "durable");
	sim_trace(s, "on_error %u, attempts %u, window%s, app_ack %u%s%s%s%s%s%s", p->on_error, p->attempts_max,
		  p->window_over_one ? "s" : " 1", p->app_ack, p->big_messages ? ", big" : "", p->small_journal ? ", small journal" : "",
		  p->duplicates_forward ? ", forward" : "", p->on_full_reject ? ", reject" : "", p->order_listener ? ", by listener" : "",
		  p->by_name ? ", by name" : "");
	sim_trace(s, "faults:%s%s%s%s%s%s%s%s%s%s%s", p->crash_kill ? " kill" : "", p->crash_power ? " power" : "",
		  p->crash_starting ? " starting" : "", p->net_breaks ? " breaks" : "", p->net_splits ? " splits" : "",
		  p->dest_faults ? " answers" : "", p->dest_down ? " down" : "", p->pauses ? " pauses" : "",
		  p->control_dies ? " control" : "", p->disk_errors ? " disk" : "", p->disk_slow ? " slow disk" : "");
}

void profile_config(struct sim *s)
{
	struct config_options opt = {.cpus = 4};
	struct config_report report = {0};
	struct config *c = NULL;
	char text[8192], path[192];
	const char *paths[] = {path};
	void *image;
	size_t bytes;
	FILE *f;

	profile_tell(s);
	profile_text(s, text, sizeof(text));
	snprintf(path, sizeof(path), "%s/millrace.yaml", s->folder);
	f = fopen(path, "w");
	must(f && fputs(text, f) >= 0 && fclose(f) == 0);
	if (config_load(paths, 1, &opt, &c, &report) < 0) {
		config_print_report(stderr, &report, CONFIG_TEXT);
		sim_fail(s, "the configuration of this seed is refused");
	}
	must(config_image(c, 1, &image, &bytes) == 0);
	config_free(c);
	config_report_free(&report);
	s->cfg = image;
	for (uint32_t i = 0; i < s->p.cores; i++)
		s->cfg->cpus[i] = -1;
}
