/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_batch.c - batch files: FHS and BHS, many messages, BTS and FTS with their counts (HL7 v2.5.1 ch. 2, 2.10.3).
 *
 * Runs on the threads of file_pool.c, one job of a destination at a time. The file grows under a temporary name; its
 * messages are delivered when it is closed, synced and renamed, all of them at once. Whatever goes wrong before that
 * throws the whole file away: the loop has its messages still and begins a new one. Never looks into a message but at
 * its last byte.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t realtime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The name is the time it was begun and its first message: never that of an older file, whose messages may be others.
 */
static int batch_begin(const struct file_thread *t, int dir, struct file_batch *b, const struct connector_item *first)
{
	char stamp[32], head[300], id[32];
	uint64_t now = realtime_ns();
	int r, n;

	file_stamp(stamp, now);
	must(snprintf(b->name, sizeof(b->name), "%s-%u-%016llx.batch.hl7", stamp, first->m.journal,
	              (unsigned long long)first->m.position) < (int)sizeof(b->name));
	must(snprintf(b->temp, sizeof(b->temp), ".%s.%u.tmp", b->name, t->number) < (int)sizeof(b->temp));
	b->fd = file_create(dir, b->temp);
	if (b->fd < 0) {
		r = b->fd;
		b->fd = -1;
		return r;
	}
	/* FHS-7 is a time stamp of HL7's: yyyymmddhhmmss+0000. FHS-11 and BHS-11 name the batch. */
	snprintf(id, sizeof(id), "%u-%llx", first->m.journal, (unsigned long long)first->m.position);
	n = snprintf(head, sizeof(head),
	             "FHS|^~\\&|MILLRACE||||%.8s%.6s+0000||%s||%s\r"
	             "BHS|^~\\&|MILLRACE||||%.8s%.6s+0000||||%s\r",
	             stamp, stamp + 9, b->name, id, stamp, stamp + 9, id);
	must(n > 0 && n < (int)sizeof(head));
	b->messages = 0;
	return file_write_all(b->fd, head, (size_t)n);
}

/* Returns 0 also if the message could not be read (see its step): that is no fault of the destination's. */
static int batch_append(struct file_thread *t, struct file_batch *b, struct connector_item *it)
{
	uint64_t time_ns;
	uint32_t bytes;
	char *payload;
	int r;

	if (file_payload(t, it, &payload, &bytes, &time_ns))
		return 0;
	r = file_write_all(b->fd, payload, bytes);
	if (!r && bytes && payload[bytes - 1] != '\r') /* the next MSH must begin a segment */
		r = file_write_all(b->fd, "\r", 1);
	file_payload_give(t, it, payload);
	if (r) {
		it->step = FILE_FAILED;
		it->error = r;
		return r;
	}
	it->step = FILE_WRITTEN;
	it->sent = true;
	b->messages++;
	return 0;
}

/* A file of that name cannot be there, unless a clock was set back: then nothing is overwritten. */
static int batch_rename(int dir, const struct file_batch *b)
{
	if (renameat2(dir, b->temp, dir, b->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (faccessat(dir, b->name, F_OK, 0) == 0) /* a file system without it */
		return -EEXIST;
	return renameat(dir, b->temp, dir, b->name) < 0 ? -errno : 0;
}

static int batch_close(int dir, struct file_batch *b, bool durable)
{
	char tail[64];
	int n = snprintf(tail, sizeof(tail), "BTS|%u\rFTS|1\r", b->messages), fd = b->fd;
	int r = file_write_all(fd, tail, (size_t)n);

	if (!r && durable && fsync(fd) < 0)
		r = -errno;
	b->fd = -1;
	if (close(fd) < 0 && !r && errno != EINTR)
		r = -errno;
	if (!r)
		r = batch_rename(dir, b);
	if (!r && durable && fsync(dir) < 0) {
		r = -errno;
		unlinkat(dir, b->name, 0); /* its messages come again in another file */
	}
	return r;
}

/* @dir may be -1: its folder is gone, and it with it. */
static void batch_abandon(int dir, struct file_batch *b)
{
	if (b->fd >= 0)
		close(b->fd);
	if (dir >= 0 && b->temp[0])
		unlinkat(dir, b->temp, 0);
	b->fd = -1;
	b->messages = 0;
}

void file_batch_run(struct file_thread *t, struct file_job *job)
{
	struct file_batch *b = &job->dest->batch;
	int dir = file_folder_open(job->dest), r = dir < 0 ? dir : 0;

	if (!r && b->fd < 0 && job->count)
		r = batch_begin(t, dir, b, job->item[0]);
	for (uint32_t i = 0; i < job->count && !r; i++) {
		r = batch_append(t, b, job->item[i]);
		if (job->item[i]->step == FILE_UNREAD)
			break; /* those behind it wait for it: a batch keeps the order */
	}
	if (!r && job->close && b->fd >= 0 && b->messages)
		r = batch_close(dir, b, job->dest->durable);
	else if (!r && b->fd >= 0 && !b->messages)
		batch_abandon(dir, b); /* nothing in it was readable */
	if (!r && job->close)
		b->messages = 0;
	if (r && job->count && job->item[0]->step == FILE_UNTRIED) {
		job->item[0]->step = FILE_FAILED;
		job->item[0]->error = r;
	}
	job->error = r;
	if (r)
		batch_abandon(dir, b);
	if (dir >= 0)
		close(dir);
}
