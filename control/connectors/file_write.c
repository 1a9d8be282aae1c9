/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_write.c - one file for each message: written under a temporary name, synced, renamed, the folder synced.
 *
 * Runs on the threads of file_pool.c. A group of messages shares the waits: all are written first, then synced, then
 * renamed, and the folder is synced once. The name comes from the message's time and place in its journal, so that the
 * same message delivered again after a crash takes the place of itself. Never looks into a message.
 */
#include "file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct group_file { /* one of the group, between its writing and its renaming */
	int fd;
	char name[FILE_NAME_BYTES];
};

void file_stamp(char *ret, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000u);
	struct tm t;

	gmtime_r(&seconds, &t);
	snprintf(ret, 32, "%04u%02u%02uT%02u%02u%02u.%09u", (unsigned)(t.tm_year + 1900) % 10000,
	         (unsigned)t.tm_mon + 1, (unsigned)t.tm_mday, (unsigned)t.tm_hour, (unsigned)t.tm_min,
	         (unsigned)t.tm_sec, (unsigned)(realtime_ns % 1000000000u));
}

int file_write_all(int fd, const void *bytes, size_t count)
{
	const char *p = bytes;

	while (count) {
		ssize_t n = write(fd, p, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		count -= (size_t)n;
	}
	return 0;
}

int file_create(int dir, const char *name)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags, 0640);

	if (fd < 0 && errno == EEXIST) {
		unlinkat(dir, name, 0);
		fd = openat(dir, name, flags, 0640);
	}
	return fd < 0 ? -errno : fd;
}

/* A new folder's name must be on disk before what is in it counts as delivered. */
static int folder_make(const struct file_dest *d)
{
	char parent[600];
	char *slash;
	int fd, r = 0;

	if (mkdir(d->folder, 0750) < 0 && errno != EEXIST)
		return -errno;
	if (!d->durable)
		return 0;
	snprintf(parent, sizeof(parent), "%s", d->folder);
	while ((slash = strrchr(parent, '/')) && slash != parent && !slash[1])
		*slash = 0;
	if (!slash)
		return 0;
	slash[slash == parent] = 0;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES ? 0 : -errno; /* it may be passed but not read: nothing more can be done */
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int file_folder_open(const struct file_dest *d)
{
	int fd = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0 && errno == ENOENT) {
		r = folder_make(d);
		if (r < 0)
			return r;
		fd = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* .<time>-<journal>-<position>[.batch].hl7.<thread>.tmp: exactly what file_group_run() and file_batch_run() make. */
static bool leftover(const char *name)
{
	static const char shape[] = ".ddddddddTdddddd.ddddddddd-";
	const char *p = name;
	int digits = 0;

	for (const char *s = shape; *s; s++, p++) {
		if (*s == 'd' ? !isdigit((unsigned char)*p) : *p != *s)
			return false;
	}
	for (; isdigit((unsigned char)*p); p++)
		digits++;
	if (!digits || *p++ != '-')
		return false;
	for (digits = 0; isxdigit((unsigned char)*p); p++)
		digits++;
	if (digits != 16)
		return false;
	if (!strncmp(p, ".batch", 6))
		p += 6;
	if (strncmp(p, ".hl7.", 5))
		return false;
	p += 5;
	for (digits = 0; isdigit((unsigned char)*p); p++)
		digits++;
	return digits && !strcmp(p, ".tmp");
}

/* What a crash left half written: its messages come again. */
static int leftovers_remove(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((e = readdir(dir))) {
		if (leftover(e->d_name) && unlinkat(folder, e->d_name, 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	closedir(dir);
	return r;
}

void file_probe_run(struct file_job *job)
{
	int dir = file_folder_open(job->dest);

	job->error = dir < 0 ? dir : 0;
	if (dir < 0)
		return;
	job->error = leftovers_remove(dir);
	if (!job->error && faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) < 0)
		job->error = -errno;
	close(dir);
}

/* Large messages wait for each other here; small ones have the thread's own buffer. */
static char *payload_room(struct file_thread *t, size_t bytes)
{
	struct file_pool *p = t->pool;
	char *room;

	if (bytes <= FILE_BUFFER_BYTES)
		return t->buffer;
	pthread_mutex_lock(&p->lock);
	while (p->memory_used && p->memory_used + bytes > FILE_MEMORY_BYTES)
		pthread_cond_wait(&p->memory, &p->lock);
	p->memory_used += bytes;
	pthread_mutex_unlock(&p->lock);
	room = malloc(bytes);
	if (!room) {
		pthread_mutex_lock(&p->lock);
		p->memory_used -= bytes;
		pthread_cond_broadcast(&p->memory);
		pthread_mutex_unlock(&p->lock);
	}
	return room;
}

void file_payload_give(struct file_thread *t, const struct connector_item *it, char *payload)
{
	struct file_pool *p = t->pool;

	if (payload == t->buffer)
		return;
	free(payload);
	pthread_mutex_lock(&p->lock);
	p->memory_used -= it->m.bytes;
	pthread_cond_broadcast(&p->memory);
	pthread_mutex_unlock(&p->lock);
}

int file_payload(struct file_thread *t, struct connector_item *it, char **ret, uint32_t *ret_bytes,
                 uint64_t *ret_time_ns)
{
	char *room = payload_room(t, it->m.bytes);
	uint32_t bytes;
	int r = -ENOMEM;

	if (room)
		r = connector_read(&t->reads, it->m.journal, it->m.position, room, it->m.bytes, &bytes, ret_time_ns);
	if (!r && bytes != it->m.bytes)
		r = -EBADMSG;
	if (r) {
		if (room)
			file_payload_give(t, it, room);
		it->step = FILE_UNREAD;
		it->error = r;
		return r;
	}
	*ret = room;
	*ret_bytes = bytes;
	return 0;
}

static void temp_name(const struct file_thread *t, const char *name, char *ret)
{
	must(snprintf(ret, FILE_NAME_BYTES, ".%s.%u.tmp", name, t->number) < FILE_NAME_BYTES);
}

static int group_fail(struct connector_item *it, int error)
{
	it->step = FILE_FAILED;
	it->error = error;
	return error;
}

/* Returns 0 also if the message could not be read: that is no fault of the destination's. */
static int group_write(struct file_thread *t, int dir, struct connector_item *it, struct group_file *f)
{
	char temp[FILE_NAME_BYTES], stamp[32];
	uint64_t time_ns;
	uint32_t bytes;
	char *payload;
	int r;

	if (file_payload(t, it, &payload, &bytes, &time_ns))
		return 0;
	file_stamp(stamp, time_ns);
	must(snprintf(f->name, sizeof(f->name), "%s-%u-%016llx.hl7", stamp, it->m.journal,
	              (unsigned long long)it->m.position) < (int)sizeof(f->name));
	temp_name(t, f->name, temp);
	f->fd = file_create(dir, temp);
	r = f->fd < 0 ? f->fd : file_write_all(f->fd, payload, bytes);
	file_payload_give(t, it, payload);
	if (!r) {
		it->step = FILE_WRITTEN;
		it->sent = true;
		return 0;
	}
	if (f->fd >= 0) {
		close(f->fd);
		unlinkat(dir, temp, 0);
	}
	return group_fail(it, r);
}

/* Syncs and closes one written file; if the disk refused it, no half of it stays. */
static int group_sync(const struct file_thread *t, int dir, bool durable, struct connector_item *it,
                      const struct group_file *f)
{
	char temp[FILE_NAME_BYTES];
	int r = durable && fsync(f->fd) < 0 ? -errno : 0;

	if (close(f->fd) < 0 && !r && errno != EINTR)
		r = -errno;
	temp_name(t, f->name, temp);
	if (!r && renameat(dir, temp, dir, f->name) < 0)
		r = -errno;
	if (!r)
		return 0;
	unlinkat(dir, temp, 0);
	return group_fail(it, r);
}

void file_group_run(struct file_thread *t, struct file_job *job)
{
	struct group_file files[FILE_GROUP_MAX];
	bool durable = job->dest->durable;
	int dir = file_folder_open(job->dest), r;
	uint32_t written;

	if (dir < 0) {
		job->error = group_fail(job->item[0], dir);
		return;
	}
	for (written = 0; written < job->count && !job->error; written++)
		job->error = group_write(t, dir, job->item[written], &files[written]);
	/* Start them all before waiting for the first, so that the file system commits them together. */
	for (uint32_t i = 0; durable && written > 1 && i < written; i++) {
		if (job->item[i]->step == FILE_WRITTEN)
			sync_file_range(files[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
	for (uint32_t i = 0; i < written; i++) {
		if (job->item[i]->step != FILE_WRITTEN)
			continue;
		r = group_sync(t, dir, durable, job->item[i], &files[i]);
		if (r && !job->error)
			job->error = r;
	}
	r = durable && fsync(dir) < 0 ? -errno : 0;
	if (r && !job->error)
		job->error = r;
	for (uint32_t i = 0; i < written; i++) {
		if (job->item[i]->step == FILE_WRITTEN && r)
			group_fail(job->item[i], r);
		else if (job->item[i]->step == FILE_WRITTEN)
			job->item[i]->step = FILE_DONE;
	}
	close(dir);
}
