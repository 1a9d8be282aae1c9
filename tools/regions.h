/* SPDX-License-Identifier: Apache-2.0 */
/* regions.h - all shared regions of a hub at once, for status, top and completion; needs no living process. */
#ifndef REGIONS_H
#define REGIONS_H

#include "mr_region.h"

struct regions_process {
	const struct mr_region *region;
	size_t bytes;
	char name[48]; /* "worker 0", "connector file" */
	bool alive;    /* the process that wrote it still lives */
};

struct regions {
	char run[512];
	struct regions_process process[MR_PEERS_MAX];
	int count;
	int listener_count, dest_count; /* over all processes, by name */
	char (*listeners)[MR_NAME_BYTES];
	char (*dests)[MR_NAME_BYTES];
};

/**
 * regions_open - map every RUN/<process>.region, workers by number first, then connectors.
 *
 * @run  Run folder or NULL for the default one. Returns 0 (with at least one region), -ENOENT if there is none, or
 * -errno.
 */
int regions_open(const char *run, struct regions *ret);
void regions_close(struct regions *g);

/* Sum over the living and dead processes of metric @m, for listener or destination @name, or "" for the workers' own.
 */
uint64_t regions_sum(const struct regions *g, enum mr_metric m, const char *name);

/* Value of metric @m of one process; @name as above. Histograms: NULL if it has none, else its words. */
uint64_t regions_value(const struct regions_process *p, enum mr_metric m, const char *name);

/* Adds up the histogram words of @m over all processes into @words (MR_HIST_WORDS of them). */
void regions_hist(const struct regions *g, enum mr_metric m, const char *name, uint64_t *words);

/* Best state of a destination's lanes over all processes: enum mr_lane_state; counts those up and all in use. */
uint32_t regions_lanes(const struct regions *g, const char *dest, uint32_t *ret_up, uint32_t *ret_all);

const char *regions_state_name(uint64_t state);
const char *regions_lane_name(uint32_t state);

#endif
