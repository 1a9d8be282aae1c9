/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_region.c - lays out, creates and opens public regions; the distinct error log inside them.
 *
 * Used by every process: the owner creates one at start, readers (metrics, top, status) map it. Never allocates after
 * creation and never reads a value without knowing that it lies inside the mapping.
 */
#include "mr_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void mr_must_fail(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	dprintf(2, "millrace: %s:%d: failed: %s\n", base ? base + 1 : file, line, what);
	abort();
}

static const struct {
	const char *name, *label, *help;
	uint32_t scope, type;
} region_metrics[MR_METRICS] = {
#define MR_METRIC(id, scope, type, name, label, help) {name, label, help, MR_SCOPE_##scope, MR_TYPE_##type},
#include "mr_metrics.def"
#undef MR_METRIC
};

static uint64_t region_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Fills every offset of @r for these numbers of items; returns the bytes of the whole region. */
static size_t region_layout(struct mr_region *r, uint32_t listeners, uint32_t dests, uint32_t lanes)
{
	uint32_t items[3] = {1, listeners, dests}, words[3] = {0, 0, 0}, first = 0;
	size_t at = mr_align_up(sizeof(*r), MR_CACHELINE);

	for (int m = 0; m < MR_METRICS; m++)
		words[region_metrics[m].scope] += region_metrics[m].type == MR_TYPE_HIST ? MR_HIST_WORDS : 1;
	r->metric_count = MR_METRICS;
	r->listener_count = listeners;
	r->dest_count = dests;
	r->lane_count = lanes;
	r->metrics_offset = (uint32_t)at;
	at += MR_METRICS * sizeof(struct mr_metric_desc);
	r->listeners_offset = (uint32_t)at;
	at += (size_t)listeners * MR_NAME_BYTES;
	r->dests_offset = (uint32_t)at;
	at += (size_t)dests * MR_NAME_BYTES;
	r->lane_first_offset = (uint32_t)at;
	at = mr_align_up(at + (dests + 1) * sizeof(uint32_t), MR_CACHELINE);
	r->lanes_offset = (uint32_t)at;
	at = mr_align_up(at + lanes * sizeof(struct mr_lane_info), MR_CACHELINE);
	r->errors_offset = (uint32_t)at;
	at = mr_align_up(at + MR_ERRORS_MAX * sizeof(struct mr_error_info), MR_CACHELINE);
	r->values_offset = (uint32_t)at;
	for (int s = 0; s < 3; s++) {
		r->row_words[s] = (uint32_t)mr_align_up(words[s], MR_CACHELINE / sizeof(uint64_t));
		r->row_first[s] = first;
		first += r->row_words[s] * items[s];
	}
	return mr_align_up(at + (size_t)first * sizeof(uint64_t), 4096);
}

static void region_fill(struct mr_region_writer *w, const struct mr_config *cfg)
{
	struct mr_region *r = w->region;
	struct mr_metric_desc *d = (struct mr_metric_desc *)((char *)r + r->metrics_offset);
	uint32_t next[3] = {0, 0, 0}, lane = 0;

	for (int m = 0; m < MR_METRICS; m++) {
		uint32_t s = region_metrics[m].scope;

		snprintf(d[m].name, sizeof(d[m].name), "%s", region_metrics[m].name);
		snprintf(d[m].label, sizeof(d[m].label), "%s", region_metrics[m].label);
		snprintf(d[m].help, sizeof(d[m].help), "%s", region_metrics[m].help);
		d[m].scope = s;
		d[m].type = region_metrics[m].type;
		d[m].words = region_metrics[m].type == MR_TYPE_HIST ? MR_HIST_WORDS : 1;
		d[m].offset = next[s];
		w->word[m] = next[s];
		next[s] += d[m].words;
	}
	for (uint32_t i = 0; i < r->listener_count; i++)
		memcpy((char *)r + r->listeners_offset + (size_t)i * MR_NAME_BYTES, mr_config_listener(cfg, i)->name,
		       MR_NAME_BYTES);
	for (uint32_t i = 0; i < r->dest_count; i++) {
		memcpy((char *)r + r->dests_offset + (size_t)i * MR_NAME_BYTES, mr_config_dest(cfg, i)->name,
		       MR_NAME_BYTES);
		w->lane_first[i] = lane;
		lane += mr_config_dest(cfg, i)->connections;
	}
	w->lane_first[r->dest_count] = lane;
}

int mr_region_create(const char *path, uint32_t kind, uint32_t index, uint64_t incarnation, const struct mr_config *cfg,
		     struct mr_region_writer *ret)
{
	struct mr_region head = {0};
	struct mr_region_writer w = {0};
	uint32_t lanes = 0;
	char temp[600];
	int fd, r;

	for (uint32_t i = 0; i < cfg->dests.count; i++)
		lanes += mr_config_dest(cfg, i)->connections;
	w.bytes = region_layout(&head, cfg->listeners.count, cfg->dests.count, lanes);
	snprintf(temp, sizeof(temp), "%s.new", path);
	unlink(temp);
	fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	r = -posix_fallocate(fd, 0, (off_t)w.bytes); /* a full disk must fail here, not as a SIGBUS later */
	if (r)
		goto fail;
	w.region = mmap(NULL, w.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (w.region == MAP_FAILED) {
		r = -errno;
		goto fail;
	}
	head.magic = MR_REGION_MAGIC;
	head.bytes = w.bytes;
	head.kind = kind;
	head.index = index;
	head.pid = (uint64_t)getpid();
	head.start_ns = head.heartbeat_ns = region_now_ns();
	head.generation = cfg->generation;
	head.incarnation = incarnation;
	head.state = MR_STATE_STARTING;
	*w.region = head;
	w.lane_first = (uint32_t *)((char *)w.region + head.lane_first_offset);
	w.lanes = (struct mr_lane_info *)((char *)w.region + head.lanes_offset);
	w.errors = (struct mr_error_info *)((char *)w.region + head.errors_offset);
	for (int s = 0; s < 3; s++) {
		w.row_words[s] = head.row_words[s];
		w.row[s] = (uint64_t *)((char *)w.region + head.values_offset) + head.row_first[s];
	}
	region_fill(&w, cfg);
	mr_store(&w.region->version, MR_REGION_VERSION);
	if (rename(temp, path) < 0) {
		r = -errno;
		munmap(w.region, w.bytes);
		goto fail;
	}
	close(fd);
	*ret = w;
	return 0;
fail:
	close(fd);
	unlink(temp);
	return r;
}

void mr_region_close(struct mr_region_writer *w)
{
	if (w->region)
		munmap(w->region, w->bytes);
	memset(w, 0, sizeof(*w));
}

/* Does every table that the header names lie inside @bytes? */
static bool region_valid(const struct mr_region *r, size_t bytes)
{
	const uint32_t items[3] = {1, r->listener_count, r->dest_count};
	const struct mr_metric_desc *d;

	if (r->metric_count > 4096 || r->listener_count > MR_LISTENERS_MAX || r->dest_count > MR_DESTINATIONS_MAX)
		return false;
	if (r->metrics_offset + (uint64_t)r->metric_count * sizeof(*d) > bytes ||
	    r->listeners_offset + (uint64_t)r->listener_count * MR_NAME_BYTES > bytes ||
	    r->dests_offset + (uint64_t)r->dest_count * MR_NAME_BYTES > bytes ||
	    r->lane_first_offset + (r->dest_count + 1ull) * sizeof(uint32_t) > bytes ||
	    r->lanes_offset + (uint64_t)r->lane_count * sizeof(struct mr_lane_info) > bytes ||
	    r->errors_offset + (uint64_t)MR_ERRORS_MAX * sizeof(struct mr_error_info) > bytes)
		return false;
	for (int s = 0; s < 3; s++)
		if (r->values_offset + ((uint64_t)r->row_first[s] + (uint64_t)items[s] * r->row_words[s]) * 8 > bytes)
			return false;
	d = (const struct mr_metric_desc *)((const char *)r + r->metrics_offset);
	for (uint32_t i = 0; i < r->metric_count; i++)
		if (d[i].scope > MR_SCOPE_DEST || d[i].type > MR_TYPE_HIST || !memchr(d[i].name, 0, sizeof(d[i].name)) ||
		    d[i].words < (d[i].type == MR_TYPE_HIST ? MR_HIST_WORDS : 1) ||
		    (uint64_t)d[i].offset + d[i].words > r->row_words[d[i].scope])
			return false;
	return true;
}

int mr_region_open(const char *path, const struct mr_region **ret, size_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;
	struct stat st;
	void *p;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		r = -errno;
		goto out;
	}
	r = -EPROTO;
	if ((size_t)st.st_size < sizeof(struct mr_region))
		goto out;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		r = -errno;
		goto out;
	}
	*ret = p;
	*ret_bytes = (size_t)st.st_size;
	r = 0;
	if (mr_load(&(*ret)->version) != MR_REGION_VERSION || (*ret)->magic != MR_REGION_MAGIC ||
	    (*ret)->bytes != (uint64_t)st.st_size || !region_valid(*ret, (size_t)st.st_size)) {
		munmap(p, (size_t)st.st_size);
		*ret = NULL;
		r = -EPROTO;
	}
out:
	close(fd);
	return r;
}

void mr_region_unmap(const struct mr_region *r, size_t bytes)
{
	if (r)
		munmap((void *)(uintptr_t)r, bytes);
}

uint64_t mr_hist_quantile_ns(const uint64_t *words, double q)
{
	uint64_t total = 0, seen = 0, want;

	for (uint32_t b = 0; b < MR_HIST_BUCKETS; b++)
		total += mr_load_relaxed(words + b);
	if (!total)
		return 0;
	want = (uint64_t)(q * (double)total);
	if (want >= total)
		want = total - 1;
	for (uint32_t b = 0; b < MR_HIST_BUCKETS; b++) {
		seen += mr_load_relaxed(words + b);
		if (seen > want)
			return mr_hist_limit_ns(b) == UINT64_MAX ? 1ull << MR_HIST_MAX_LOG : mr_hist_limit_ns(b);
	}
	return 1ull << MR_HIST_MAX_LOG;
}

void mr_region_error(struct mr_region_writer *w, uint32_t code, uint32_t item, int64_t arg, uint64_t now_ns)
{
	struct mr_error_info *e = w->errors, *oldest = e;

	for (uint32_t i = 0; i < MR_ERRORS_MAX; i++, e++) {
		if (e->count && e->code == code && e->item == item && e->arg == arg) {
			mr_set_own(&e->last_ns, now_ns);
			mr_add_own(&e->count, 1);
			return;
		}
		if (e->last_ns < oldest->last_ns)
			oldest = e;
	}
	mr_set_own(&oldest->count, 0); /* a reader sees an empty slot while it changes hands */
	oldest->code = code;
	oldest->item = item;
	oldest->arg = arg;
	mr_set_own(&oldest->first_ns, now_ns);
	mr_set_own(&oldest->last_ns, now_ns);
	mr_store(&oldest->count, 1);
}
