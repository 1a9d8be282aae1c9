/* SPDX-License-Identifier: Apache-2.0 */
/* test_regions.c - what status and top read of a hub: several processes, dead ones, sums, latencies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "regions.h"

/* A configuration image of two listeners and one destination with three connections: only what a region needs. */
static struct mr_config *image(void)
{
	size_t bytes = sizeof(struct mr_config) + 2 * sizeof(struct mr_config_listener) + sizeof(struct mr_config_dest);
	struct mr_config *c = calloc(1, bytes);
	struct mr_config_listener *l = (struct mr_config_listener *)(c + 1);
	struct mr_config_dest *d = (struct mr_config_dest *)(l + 2);

	c->listeners = (struct mr_config_table){sizeof(*c), 2};
	c->dests = (struct mr_config_table){(uint32_t)((char *)d - (char *)c), 1};
	strcpy(l[0].name, "adt");
	strcpy(l[1].name, "lab");
	strcpy(d->name, "ehr");
	d->connections = 3;
	return c;
}

static void two_workers(void **state)
{
	char folder[] = "/tmp/millrace-test-XXXXXX", path[64];
	struct mr_region_writer w[2];
	uint64_t words[MR_HIST_WORDS];
	struct mr_config *cfg = image();
	struct regions g;
	uint32_t up, all;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(regions_open(folder, &g), -ENOENT);
	for (uint32_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/worker-%u.region", folder, 1 - i);
		assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 1 - i, 1, cfg, &w[i]), 0);
	}
	snprintf(path, sizeof(path), "%s/broken.region", folder); /* of another version, say: left out */
	fclose(fopen(path, "w"));
	mr_count_listener(&w[0], MR_M_L_RECEIVED, 1, 5);
	mr_count_listener(&w[1], MR_M_L_RECEIVED, 1, 7);
	mr_count_listener(&w[1], MR_M_L_RECEIVED, 0, 100);
	mr_gauge_dest(&w[1], MR_M_D_QUEUE, 0, 42);
	mr_hist_record(mr_region_value(&w[0], MR_M_L_ACK_LATENCY, MR_SCOPE_LISTENER, 1), 2000000);
	mr_hist_record(mr_region_value(&w[1], MR_M_L_ACK_LATENCY, MR_SCOPE_LISTENER, 1), 2000000);
	w[1].lanes[0].state = MR_LANE_UP;
	w[1].lanes[1].state = MR_LANE_BACKOFF;
	w[0].region->state = MR_STATE_STOPPED;
	w[0].lanes[0].state = MR_LANE_UP; /* left behind by a process that is gone: not up */

	assert_int_equal(regions_open(folder, &g), 0);
	assert_int_equal(g.count, 2);
	assert_string_equal(g.process[0].name, "worker 0");
	assert_true(g.process[0].alive);
	assert_false(g.process[1].alive);
	assert_int_equal(g.listener_count, 2);
	assert_int_equal(g.dest_count, 1);
	assert_int_equal(regions_sum(&g, MR_M_L_RECEIVED, "lab"), 12);
	assert_int_equal(regions_sum(&g, MR_M_L_RECEIVED, "adt"), 100);
	assert_int_equal(regions_sum(&g, MR_M_L_RECEIVED, "nobody"), 0);
	assert_int_equal(regions_sum(&g, MR_M_D_QUEUE, "ehr"), 42);
	regions_hist(&g, MR_M_L_ACK_LATENCY, "lab", words);
	assert_in_range(mr_hist_quantile_ns(words, 0.5), 1900000, 2300000);
	assert_int_equal(words[MR_HIST_BUCKETS], 4000000);
	assert_int_equal(regions_lanes(&g, "ehr", &up, &all), MR_LANE_UP);
	assert_int_equal(up, 1);
	assert_int_equal(all, 2);
	regions_close(&g);
	mr_region_close(&w[0]);
	mr_region_close(&w[1]);
	free(cfg);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/worker-%d.region", folder, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/broken.region", folder);
	unlink(path);
	assert_int_equal(rmdir(folder), 0);
}

/* A process that died and was not waited for, and one whose number another process has by now, are dead. */
static void dead_processes(void **state)
{
	char folder[] = "/tmp/millrace-test-XXXXXX", path[64];
	struct mr_region_writer w;
	struct mr_config *cfg = image();
	struct regions g;
	siginfo_t info;
	pid_t pid;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/worker-0.region", folder);
	pid = fork();
	if (pid == 0)
		_exit(mr_region_create(path, MR_KIND_WORKER, 0, 1, cfg, &w) != 0);
	assert_true(pid > 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* it stays a zombie */
	assert_int_equal(info.si_status, 0);
	assert_int_equal(regions_open(folder, &g), 0);
	assert_false(g.process[0].alive);
	regions_close(&g);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	assert_int_equal(mr_region_create(path, MR_KIND_WORKER, 0, 2, cfg, &w), 0);
	assert_int_equal(regions_open(folder, &g), 0);
	assert_true(g.process[0].alive);
	regions_close(&g);
	w.region->start_ns -= 3600000000000ull; /* made an hour before this process was started */
	assert_int_equal(regions_open(folder, &g), 0);
	assert_false(g.process[0].alive);
	regions_close(&g);
	mr_region_close(&w);
	free(cfg);
	unlink(path);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_workers),
	    cmocka_unit_test(dead_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
