/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connector_read.c - messages out of the workers' journals, for the threads that deliver them.
 *
 * The loop tells here which journals there are (connector_journals_set); each delivering thread keeps readers of its
 * own, so that file reads of different threads go on side by side. Reads only: a connector never writes to a journal.
 */
#include "connector.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int connector_journals_open(struct connector_journals *j, const char *data)
{
	memset(j, 0, sizeof(*j));
	for (int i = 0; i < CONNECTOR_JOURNALS_MAX; i++)
		j->tail_fd[i] = -1;
	snprintf(j->data, sizeof(j->data), "%s", data);
	return -pthread_mutex_init(&j->lock, NULL);
}

int connector_journals_set(struct connector_journals *j, uint32_t number, int tail_fd)
{
	if (number >= CONNECTOR_JOURNALS_MAX)
		return -ERANGE;
	pthread_mutex_lock(&j->lock);
	if (j->tail_fd[number] >= 0)
		close(j->tail_fd[number]);
	j->tail_fd[number] = tail_fd;
	j->gen[number]++;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

void connector_journals_close(struct connector_journals *j)
{
	for (int i = 0; i < CONNECTOR_JOURNALS_MAX; i++) {
		if (j->tail_fd[i] >= 0)
			close(j->tail_fd[i]);
	}
	pthread_mutex_destroy(&j->lock);
}

static void reader_close(struct connector_reads *r, uint32_t journal)
{
	mr_reader_close(r->reader[journal]);
	r->reader[journal] = NULL;
}

/* A reader of the journal as it is now: a worker that was started again has a new tail. */
static int reader_get(struct connector_reads *r, uint32_t journal, struct mr_reader **ret)
{
	struct connector_journals *j = r->journals;
	char folder[sizeof(j->data) + 32];
	int tail, err = 0;

	pthread_mutex_lock(&j->lock);
	if (r->reader[journal] && r->gen[journal] != j->gen[journal])
		reader_close(r, journal);
	if (!r->reader[journal]) {
		r->gen[journal] = j->gen[journal];
		tail = j->tail_fd[journal] < 0 ? -1 : dup(j->tail_fd[journal]);
		if (j->tail_fd[journal] >= 0 && tail < 0)
			err = -errno;
		pthread_mutex_unlock(&j->lock);
		if (err)
			return err;
		snprintf(folder, sizeof(folder), "%s/journal-%u", j->data, journal);
		err = mr_reader_open(folder, tail, &r->reader[journal]);
		if (tail >= 0)
			close(tail);
	} else {
		pthread_mutex_unlock(&j->lock);
	}
	if (!err)
		*ret = r->reader[journal];
	return err;
}

static int read_once(struct connector_reads *r, uint32_t journal, uint64_t position, void *buf, size_t room,
                     uint32_t *ret_bytes, uint64_t *ret_time_ns)
{
	struct mr_rec_message m;
	struct mr_reader *reader;
	struct mr_rec rec;
	uint32_t bytes;
	int err = reader_get(r, journal, &reader);

	if (!err)
		err = mr_reader_message(reader, position, buf, room, &bytes);
	if (!err)
		err = mr_reader_head(reader, position, &rec, &m);
	if (err)
		return err == -ENOSPC ? -EBADMSG : err; /* longer than its owner said: not the record that was meant */
	if (m.payload_bytes != bytes)
		return -EBADMSG;
	*ret_bytes = bytes;
	*ret_time_ns = rec.time_ns;
	return 0;
}

int connector_read(struct connector_reads *r, uint32_t journal, uint64_t position, void *buf, size_t room,
                   uint32_t *ret_bytes, uint64_t *ret_time_ns)
{
	int err;

	must(journal < CONNECTOR_JOURNALS_MAX);
	err = read_once(r, journal, position, buf, room, ret_bytes, ret_time_ns);
	if (err) {
		reader_close(r, journal);
		err = read_once(r, journal, position, buf, room, ret_bytes, ret_time_ns);
	}
	return err;
}

void connector_reads_close(struct connector_reads *r)
{
	for (uint32_t i = 0; i < CONNECTOR_JOURNALS_MAX; i++) {
		if (r->reader[i])
			reader_close(r, i);
	}
}
