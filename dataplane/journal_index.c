/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_index.c - the .idx file beside each full segment: its records without the payloads, for a fast start.
 *
 * Called by journal.c and journal_recover.c on the journal's core. Records are copied to it as they are appended and go
 * to a .tmp file a buffer at a time, in the background; the file gets its header and its name once the whole segment
 * is on disk, so a valid index also proves that its segment was. Never waits and never fails loudly: if the disk does
 * not keep up, or anything goes wrong, this segment has no index and a start has to read it whole.
 */
#include "journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void temporary_name(uint64_t sequence, char ret[40])
{
	snprintf(ret, 40, "%016llx.idx.tmp", (unsigned long long)sequence);
}

int journal_index_init(struct journal *j)
{
	struct journal_index *x = &j->index;

	x->out[0].fd = x->out[1].fd = -1;
	x->out[0].buffer = x->out[1].buffer = -1;
	x->sync = true;
	for (uint32_t i = 0; i < INDEX_BUFFERS; i++) {
		x->buffers[i].data = malloc(INDEX_BUFFER_BYTES);
		x->buffers[i].owner = -1;
		if (!x->buffers[i].data)
			return -ENOMEM;
	}
	return 0;
}

static void close_out(struct journal *j, struct index_out *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	if (o->buffer >= 0)
		j->index.buffers[o->buffer].owner = -1;
	o->buffer = -1;
	o->closing = false;
}

/* Gives this index up. Buffers whose writes are in flight come back by themselves. */
static void abandon(struct journal *j, struct index_out *o)
{
	char name[40];

	if (o->fd < 0)
		return;
	temporary_name(o->head.sequence, name);
	unlinkat(j->folder_fd, name, 0);
	o->failed = true;
	if (!o->writing)
		close_out(j, o);
}

void journal_index_begin(struct journal *j, uint64_t sequence)
{
	struct journal_index *x = &j->index;
	struct index_out *o = &x->out[x->current ^ 1];
	char name[40];

	x->current ^= 1;
	if (o->fd >= 0) {
		abandon(j, o);
		if (o->fd >= 0)
			return; /* still in flight: the new segment goes without */
	}
	temporary_name(sequence, name);
	memset(o, 0, sizeof(*o));
	o->buffer = -1;
	o->fd = openat(j->folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	o->offset = sizeof(o->head);
	o->head.magic = MR_INDEX_MAGIC;
	o->head.version = MR_INDEX_VERSION;
	memcpy(o->head.uuid, j->uuid, sizeof(o->head.uuid));
	o->head.sequence = sequence;
	o->head.segment_bytes = j->segment_bytes;
	o->head.data_crc = j->seed;
}

/* Hands the buffer being filled to the disk. */
static void flush_buffer(struct journal *j, struct index_out *o)
{
	int32_t b = o->buffer;
	char *data;

	if (b < 0 || !o->used)
		return;
	data = j->index.buffers[b].data;
	o->head.data_crc = mr_crc32c(o->head.data_crc, data, o->used);
	o->head.data_bytes += o->used;
	if (j->index.sync) {
		if (pwrite(o->fd, data, o->used, (off_t)o->offset) != (ssize_t)o->used)
			o->failed = true;
		j->index.buffers[b].owner = -1;
	} else {
		j->index.buffers[b].writing = true;
		j->index.buffers[b].bytes = o->used;
		o->writing++;
		io_write(j->io, o->fd, data, o->used, o->offset, j->io_tag | (JOURNAL_TAG_INDEX + (uint32_t)b));
	}
	o->offset += o->used;
	o->used = 0;
	o->buffer = -1;
}

static bool take_buffer(struct journal *j, struct index_out *o)
{
	for (int32_t i = 0; i < INDEX_BUFFERS; i++) {
		if (j->index.buffers[i].owner >= 0)
			continue;
		j->index.buffers[i].owner = (int32_t)(o - j->index.out);
		o->buffer = i;
		o->used = 0;
		return true;
	}
	return false;
}

static void add_bytes(struct journal *j, struct index_out *o, const char *p, uint32_t bytes)
{
	while (bytes) {
		uint32_t n;

		if (o->buffer < 0 && !take_buffer(j, o)) {
			abandon(j, o); /* the disk does not keep up */
			return;
		}
		n = INDEX_BUFFER_BYTES - o->used < bytes ? INDEX_BUFFER_BYTES - o->used : bytes;
		memcpy(j->index.buffers[o->buffer].data + o->used, p, n);
		o->used += n;
		p += n;
		bytes -= n;
		if (o->used == INDEX_BUFFER_BYTES)
			flush_buffer(j, o);
	}
}

void journal_index_add(struct journal *j, const struct mr_rec *r)
{
	struct index_out *o = &j->index.out[j->index.current];
	uint32_t bytes = (uint32_t)mr_align_up(r->bytes, 8);

	if (o->fd < 0 || o->failed || o->closing || r->type == MR_REC_PAD)
		return;
	if (r->type == MR_REC_MESSAGE) {
		bytes = mr_rec_payload_offset(((const struct mr_rec_message *)(r + 1))->dest_count);
		o->head.messages++;
	} else if (r->type == MR_REC_OUTCOME) {
		o->head.outcomes += (r->bytes - sizeof(*r)) / sizeof(struct mr_rec_outcome);
	}
	o->head.last_ns = r->time_ns;
	o->head.epoch = r->epoch;
	add_bytes(j, o, (const char *)r, bytes);
}

static void publish(struct journal *j, struct index_out *o)
{
	char from[40], to[32];

	temporary_name(o->head.sequence, from);
	mr_index_name(o->head.sequence, to);
	if (renameat(j->folder_fd, from, j->folder_fd, to) < 0)
		unlinkat(j->folder_fd, from, 0);
	close_out(j, o);
}

static void write_head(struct journal *j, struct index_out *o)
{
	size_t from = offsetof(struct mr_index_header, uuid);

	o->head.crc = mr_crc32c(j->seed, (const char *)&o->head + from, sizeof(o->head) - from);
	o->head_written = true;
	if (j->index.sync) {
		if (pwrite(o->fd, &o->head, sizeof(o->head), 0) == (ssize_t)sizeof(o->head))
			publish(j, o);
		else
			abandon(j, o);
		return;
	}
	o->writing++;
	io_write(j->io, o->fd, &o->head, sizeof(o->head), 0,
	         j->io_tag | (JOURNAL_TAG_INDEX_HEAD + (uint32_t)(o - j->index.out)));
}

/** journal_index_written - finish what can be finished: all its buffers written and its segment on disk. */
void journal_index_written(struct journal *j)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct index_out *o = &j->index.out[i];
		const struct segment *s;

		if (o->fd < 0 || !o->closing || o->failed || o->writing || o->head_written)
			continue;
		s = journal_segment_find(j, o->head.sequence * j->segment_bytes);
		if (!s)
			abandon(j, o);
		else if (s->state == SEGMENT_SEALED)
			write_head(j, o);
	}
}

/** journal_index_end - the current segment gets no more records. */
void journal_index_end(struct journal *j)
{
	struct index_out *o = &j->index.out[j->index.current];

	if (o->fd < 0 || o->failed)
		return;
	flush_buffer(j, o);
	o->closing = true;
	if (o->failed)
		abandon(j, o);
	else
		journal_index_written(j);
}

/** journal_index_abandon - the current segment gets no index: it is damaged, and every start shall see that. */
void journal_index_abandon(struct journal *j)
{
	abandon(j, &j->index.out[j->index.current]);
}

void journal_index_io(struct journal *j, uint32_t id, int32_t result)
{
	struct journal_index *x = &j->index;
	bool head = id >= JOURNAL_TAG_INDEX_HEAD;
	uint32_t b = id - JOURNAL_TAG_INDEX;
	struct index_out *o;
	bool whole;

	must(head ? id < JOURNAL_TAG_INDEX_HEAD + 2 : b < INDEX_BUFFERS && x->buffers[b].writing);
	o = head ? &x->out[id - JOURNAL_TAG_INDEX_HEAD] : &x->out[x->buffers[b].owner];
	whole = result == (int32_t)(head ? sizeof(o->head) : x->buffers[b].bytes);
	o->writing--;
	if (!head) {
		x->buffers[b].writing = false;
		x->buffers[b].owner = -1;
	}
	if (!whole && !o->failed) {
		journal_count(j, MR_M_W_JOURNAL_ERRORS, 1);
		abandon(j, o);
	} else if (o->failed) {
		if (!o->writing)
			close_out(j, o);
	} else if (head) {
		publish(j, o);
	} else {
		journal_index_written(j);
	}
}

bool journal_index_idle(const struct journal *j)
{
	return !j->index.out[0].writing && !j->index.out[1].writing;
}

void journal_index_close(struct journal *j)
{
	for (uint32_t i = 0; i < 2; i++)
		if (j->index.out[i].fd >= 0)
			close(j->index.out[i].fd);
	for (uint32_t i = 0; i < INDEX_BUFFERS; i++)
		free(j->index.buffers[i].data);
}

int journal_index_head_check(const struct journal *j, const struct mr_index_header *h, uint64_t sequence)
{
	size_t from = offsetof(struct mr_index_header, uuid);

	if (h->magic != MR_INDEX_MAGIC || h->version != MR_INDEX_VERSION || h->sequence != sequence ||
	    h->segment_bytes != j->segment_bytes || memcmp(h->uuid, j->uuid, sizeof(h->uuid)) ||
	    mr_crc32c(j->seed, (const char *)h + from, sizeof(*h) - from) != h->crc)
		return -EBADMSG;
	return h->data_bytes <= j->segment_bytes ? 0 : -EBADMSG;
}

static int load_head(const struct journal *j, int fd, uint64_t sequence, struct mr_index_header *ret)
{
	struct stat st;

	if (pread(fd, ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret) || fstat(fd, &st) < 0)
		return -EBADMSG;
	if (journal_index_head_check(j, ret, sequence))
		return -EBADMSG;
	return ret->data_bytes == (uint64_t)st.st_size - sizeof(*ret) ? 0 : -EBADMSG;
}

/**
 * journal_index_load - at start: read and check the index of @sequence. @ret_data  Records; the caller frees it.
 * Returns 0, -ENOENT, -EBADMSG (of no use), -errno.
 */
int journal_index_load(const struct journal *j, uint64_t sequence, struct mr_index_header *ret_head, char **ret_data)
{
	char name[32], *data = NULL;
	int fd, err;

	mr_index_name(sequence, name);
	fd = openat(j->folder_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = load_head(j, fd, sequence, ret_head);
	if (!err) {
		data = malloc(ret_head->data_bytes + 8);
		err = data ? 0 : -ENOMEM;
	}
	for (uint64_t got = 0; !err && got < ret_head->data_bytes;) {
		ssize_t n = pread(fd, data + got, ret_head->data_bytes - got, (off_t)(sizeof(*ret_head) + got));

		if (n > 0)
			got += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			err = n ? -errno : -EBADMSG;
	}
	if (!err && mr_crc32c(j->seed, data, ret_head->data_bytes) != ret_head->data_crc)
		err = -EBADMSG;
	close(fd);
	if (err) {
		free(data);
		return err;
	}
	*ret_data = data;
	return 0;
}
