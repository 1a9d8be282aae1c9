/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - millrace-connector-file: delivers messages to folders.
 *
 * Started by the control process as `millrace-connector-file --run RUN`. Its loop (connector.c) calls what stands in
 * file_kind below, and file_dest.c does the work of each destination. Nothing in this file waits for a disk.
 */
#include "file.h"

#include "mr_paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct file_state {
	struct file_dest *dest; /* by number in the configuration; cfg is NULL for those that are none of ours */
	uint32_t dests, ours;
	uint64_t started_ns;
	struct file_pool pool;
};

static struct file_state *state_of(const struct connector *c)
{
	return c->state;
}

static void file_take(struct connector *c, struct connector_item *it)
{
	file_dest_take(c, &state_of(c)->dest[it->m.dest], it);
}

static void file_peer_gone(struct connector *c, uint16_t peer)
{
	struct file_state *s = state_of(c);

	for (uint32_t i = 0; i < s->dests; i++)
		file_dest_peer_gone(c, &s->dest[i], peer);
}

static void file_tell(struct connector *c)
{
	struct file_state *s = state_of(c);

	for (uint32_t i = 0; i < s->dests; i++)
		file_dest_tell(c, &s->dest[i]);
}

static uint64_t file_turn(struct connector *c)
{
	struct file_state *s = state_of(c);
	struct file_job *job, *next;
	uint64_t due = UINT64_MAX;

	for (job = file_pool_done(&s->pool); job; job = next) {
		next = job->next;
		file_dest_done(c, job);
	}
	for (uint32_t i = 0; i < s->dests; i++) {
		uint64_t at;

		if (!s->dest[i].cfg)
			continue;
		at = file_dest_turn(c, &s->dest[i]);
		if (at < due)
			due = at;
	}
	return due;
}

/* ---- life ---- */

static int file_start(struct connector *c)
{
	struct file_state *s = calloc(1, sizeof(*s));
	uint32_t threads;
	int r = -ENOMEM;

	if (!s)
		return r;
	s->started_ns = c->now_ns;
	s->dests = c->cfg->dests.count;
	s->dest = calloc(s->dests ? s->dests : 1, sizeof(*s->dest));
	if (!s->dest)
		goto fail;
	for (uint32_t i = 0; i < s->dests; i++) {
		const struct mr_config_dest *cfg = mr_config_dest(c->cfg, i);
		struct file_dest *d = &s->dest[i];

		if (cfg->kind != MR_DEST_FILE)
			continue;
		d->cfg = cfg;
		d->index = (uint16_t)i;
		d->folder = mr_config_string(c->cfg, cfg->path);
		d->durable = c->cfg->commit == MR_COMMIT_DURABLE;
		d->paused = cfg->paused;
		d->batch.fd = -1;
		d->pool = &s->pool;
		if (getrandom(&d->random, sizeof(d->random), 0) < 0 || !d->random)
			d->random = c->realtime_ns + i + 1;
		s->ours++;
	}
	threads = s->ours * FILE_JOBS_PER_DEST < FILE_THREADS_MAX ? s->ours * FILE_JOBS_PER_DEST : FILE_THREADS_MAX;
	r = file_pool_open(&s->pool, &c->journals, threads ? threads : 1, c->work_event);
	if (r)
		goto fail;
	c->state = s;
	return 0;
fail:
	free(s->dest);
	free(s);
	return r;
}

static bool file_ready(struct connector *c)
{
	const struct file_state *s = state_of(c);
	uint32_t looked = 0;

	for (uint32_t i = 0; i < s->dests; i++)
		looked += s->dest[i].looked;
	return looked == s->ours || c->now_ns - s->started_ns > FILE_LOOK_NS;
}

static void file_pause(struct connector *c, uint32_t dest, bool paused)
{
	state_of(c)->dest[dest].paused = paused;
}

static bool file_drained(struct connector *c, bool give_up)
{
	struct file_state *s = state_of(c);
	bool all = true;

	for (uint32_t i = 0; i < s->dests; i++) {
		struct file_dest *d = &s->dest[i];
		struct connector_item *it;

		if (!d->cfg)
			continue;
		if (d->paused || d->failures || give_up) {
			while ((it = connector_list_pop(&d->waiting)))
				connector_finish(c, it, MR_RESULT_RETURNED, MR_REASON_NONE);
		}
		all = all && !d->jobs && !d->waiting.head && !d->batch.items.head;
	}
	return all;
}

static void file_stop(struct connector *c)
{
	struct file_state *s = state_of(c);

	if (!s || !file_pool_close(&s->pool)) /* a thread hangs in a file system: the end of the process ends it */
		return;
	free(s->dest);
	free(s);
	c->state = NULL;
}

static const struct connector_kind file_kind = {
    .name = "file",
    .dest_kind = MR_DEST_FILE,
    .start = file_start,
    .ready = file_ready,
    .take = file_take,
    .pause = file_pause,
    .peer_gone = file_peer_gone,
    .turn = file_turn,
    .tell = file_tell,
    .drained = file_drained,
    .stop = file_stop,
};

int main(int argc, char **argv)
{
	char run[512];

	if (argc != 3 || strcmp(argv[1], "--run") || mr_run_folder(argv[2], run, sizeof(run)) < 0) {
		fprintf(stderr, "usage: millrace-connector-file --run DIR\n"
		                "Delivers messages to folders. millrace-control starts it; it is of no use alone.\n");
		return 2;
	}
	return connector_run(&file_kind, run);
}
