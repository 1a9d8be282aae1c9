/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_reader.c - reads messages of one journal by position: from the living writer's tail, else from its segment files.
 *
 * Called by connectors, tools and by workers for other cores' journals; one thread per reader. The writer may take a
 * finished segment into use again at any time, so nothing read is believed before its position and CRC are checked, and
 * a file that turns out to hold other data is opened again by its name once.
 */
#include "mr_journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READER_FILES 64

struct reader_file {
	uint64_t sequence;
	uint64_t used; /* clock of the last use; 0: free */
	int fd;
};

struct mr_reader {
	int folder_fd;
	const struct mr_tail *tail; /* NULL: none */
	uint64_t segment_bytes;
	uint32_t seed;
	uint64_t clock;
	struct reader_file files[READER_FILES];
};

static int header_of(int folder_fd, const char *name, struct mr_segment_header *ret)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, ret, sizeof(*ret), 0);
	close(fd);
	return n == (ssize_t)sizeof(*ret) ? mr_segment_header_check(ret) : -EPROTO;
}

static int identify_by_file(struct mr_reader *r)
{
	int fd = dup(r->folder_fd), err = -EPROTO;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct mr_segment_header h;
	struct dirent *e;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (err && (e = readdir(dir))) {
		size_t n = strlen(e->d_name);

		if (n == 20 && !strcmp(e->d_name + 16, ".seg") && !header_of(r->folder_fd, e->d_name, &h)) {
			r->segment_bytes = h.segment_bytes;
			r->seed = mr_journal_seed(h.uuid);
			err = 0;
		}
	}
	closedir(dir);
	return err;
}

int mr_reader_open(const char *folder, int tail_fd, struct mr_reader **ret)
{
	struct mr_reader *r = calloc(1, sizeof(*r));
	int err = 0;

	if (!r)
		return -ENOMEM;
	r->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->folder_fd < 0) {
		err = -errno;
		goto fail;
	}
	if (tail_fd >= 0) {
		r->tail = mr_tail_map(tail_fd);
		if (!r->tail) {
			err = -errno;
			goto fail;
		}
		r->segment_bytes = r->tail->segment_bytes;
		r->seed = mr_journal_seed(r->tail->uuid);
	} else {
		err = identify_by_file(r);
	}
	if (err)
		goto fail;
	*ret = r;
	return 0;
fail:
	mr_reader_close(r);
	return err;
}

void mr_reader_close(struct mr_reader *r)
{
	if (!r)
		return;
	for (int i = 0; i < READER_FILES; i++)
		if (r->files[i].used)
			close(r->files[i].fd);
	mr_tail_unmap(r->tail);
	if (r->folder_fd >= 0)
		close(r->folder_fd);
	free(r);
}

uint32_t mr_reader_seed(const struct mr_reader *r)
{
	return r->seed;
}

const struct mr_tail *mr_reader_tail(const struct mr_reader *r)
{
	return r->tail;
}

static struct reader_file *file_slot(struct mr_reader *r, uint64_t sequence)
{
	struct reader_file *oldest = r->files;

	for (int i = 0; i < READER_FILES; i++) {
		struct reader_file *f = &r->files[i];

		if (f->used && f->sequence == sequence)
			return f;
		if (f->used < oldest->used)
			oldest = f;
	}
	return oldest;
}

static void file_forget(struct reader_file *f)
{
	close(f->fd);
	f->used = 0;
}

int mr_reader_fd(struct mr_reader *r, uint64_t position, uint64_t *ret_offset)
{
	uint64_t sequence = position / r->segment_bytes;
	struct reader_file *f = file_slot(r, sequence);
	char name[32];
	int fd;

	if (!f->used || f->sequence != sequence) {
		mr_segment_name(sequence, name);
		fd = openat(r->folder_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (f->used)
			file_forget(f);
		f->fd = fd;
		f->sequence = sequence;
	}
	f->used = ++r->clock;
	*ret_offset = position % r->segment_bytes;
	return f->fd;
}

void mr_reader_forget(struct mr_reader *r, uint64_t position)
{
	struct reader_file *f = file_slot(r, position / r->segment_bytes);

	if (f->used && f->sequence == position / r->segment_bytes)
		file_forget(f);
}

struct message_head { /* what stands before a payload, at its longest */
	struct mr_rec rec;
	struct mr_rec_message m;
	uint16_t dests[MR_MSG_DESTS_MAX];
};

static bool head_plausible(const struct message_head *h, uint64_t position, uint64_t room)
{
	return h->rec.type == MR_REC_MESSAGE && h->rec.position == position && h->rec.bytes <= room &&
	       h->m.dest_count <= MR_MSG_DESTS_MAX &&
	       (uint64_t)mr_rec_payload_offset(h->m.dest_count) + h->m.payload_bytes == h->rec.bytes;
}

static uint32_t crc_of(const struct mr_reader *r, const struct message_head *h, const void *payload)
{
	uint32_t head_bytes = mr_rec_payload_offset(h->m.dest_count);
	uint32_t crc = mr_crc32c(r->seed, (const char *)h + sizeof(h->rec.crc), head_bytes - sizeof(h->rec.crc));

	return mr_crc32c(crc, payload, h->m.payload_bytes);
}

/* Copies first and asks afterwards: the writer never waits for readers. -EAGAIN: not (or no longer) in the tail. */
static int tail_head(const struct mr_reader *r, uint64_t position, struct message_head *ret)
{
	const struct mr_tail *t = r->tail;

	if (!t || !mr_tail_holds(t, position, sizeof(struct mr_rec)))
		return -EAGAIN;
	memcpy(ret, mr_tail_at(t, position), sizeof(*ret)); /* may go past the end: the second mapping is behind */
	if (!mr_tail_holds(t, position, sizeof(struct mr_rec)))
		return -EAGAIN;
	return head_plausible(ret, position, t->tail_bytes) ? 0 : -EBADMSG;
}

static int file_head(struct mr_reader *r, uint64_t position, struct message_head *ret, int *ret_fd,
                     uint64_t *ret_offset)
{
	uint64_t room;
	int fd = mr_reader_fd(r, position, ret_offset), err;

	if (fd < 0)
		return fd;
	room = r->segment_bytes - *ret_offset;
	memset(ret, 0, sizeof(*ret));
	err = mr_read_whole(fd, ret, room < sizeof(*ret) ? room : sizeof(*ret), *ret_offset);
	if (err)
		return err;
	*ret_fd = fd;
	return head_plausible(ret, position, room) ? 0 : -EBADMSG;
}

static int message_from_tail(struct mr_reader *r, uint64_t position, void *buf, size_t buf_bytes, uint32_t *ret_bytes)
{
	struct message_head h;
	int err = tail_head(r, position, &h);
	uint64_t payload;

	if (err)
		return err;
	if (h.m.payload_bytes > buf_bytes) {
		*ret_bytes = h.m.payload_bytes;
		return -ENOSPC;
	}
	payload = position + mr_rec_payload_offset(h.m.dest_count);
	memcpy(buf, mr_tail_at(r->tail, payload), h.m.payload_bytes);
	if (!mr_tail_holds(r->tail, position, h.rec.bytes))
		return -EAGAIN;
	if (crc_of(r, &h, buf) != h.rec.crc)
		return -EBADMSG;
	*ret_bytes = h.m.payload_bytes;
	return 0;
}

static int message_from_file(struct mr_reader *r, uint64_t position, void *buf, size_t buf_bytes, uint32_t *ret_bytes)
{
	struct message_head h;
	uint64_t offset;
	int fd, err = file_head(r, position, &h, &fd, &offset);

	if (err)
		return err;
	if (h.m.payload_bytes > buf_bytes) {
		*ret_bytes = h.m.payload_bytes;
		return -ENOSPC;
	}
	err = mr_read_whole(fd, buf, h.m.payload_bytes, offset + mr_rec_payload_offset(h.m.dest_count));
	if (err)
		return err;
	if (crc_of(r, &h, buf) != h.rec.crc)
		return -EBADMSG;
	*ret_bytes = h.m.payload_bytes;
	return 0;
}

int mr_reader_message(struct mr_reader *r, uint64_t position, void *buf, size_t buf_bytes, uint32_t *ret_bytes)
{
	int err;

	if (position % 8)
		return -EBADMSG;
	err = message_from_tail(r, position, buf, buf_bytes, ret_bytes);
	if (err != -EAGAIN)
		return err;
	err = message_from_file(r, position, buf, buf_bytes, ret_bytes);
	if (err == -EBADMSG) { /* the file may have been taken into use again under its old descriptor */
		mr_reader_forget(r, position);
		err = message_from_file(r, position, buf, buf_bytes, ret_bytes);
	}
	return err;
}

int mr_reader_head(struct mr_reader *r, uint64_t position, struct mr_rec *ret_rec, struct mr_rec_message *ret_m)
{
	struct message_head h;
	uint64_t offset;
	int fd, err = position % 8 ? -EBADMSG : tail_head(r, position, &h);

	if (err == -EAGAIN) {
		err = file_head(r, position, &h, &fd, &offset);
		if (err == -EBADMSG) {
			mr_reader_forget(r, position);
			err = file_head(r, position, &h, &fd, &offset);
		}
	}
	if (err)
		return err;
	*ret_rec = h.rec;
	*ret_m = h.m;
	return 0;
}
