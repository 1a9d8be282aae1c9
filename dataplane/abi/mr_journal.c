/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_journal.c - the journal's format: checking records and headers, walking a segment, mapping the tail.
 *
 * Called by the worker's journal (recovery), by connectors and by the offline tools, in their own processes. It trusts
 * no byte of what it reads: every size is checked before it is used. It never writes to a journal.
 */
#include "mr_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES_MAX (4ull << 30)

uint32_t mr_journal_seed(const uint8_t uuid[16])
{
	return mr_crc32c(0, uuid, 16);
}

/* What follows a PAD's body is filler, up to 4 KiB and more: it needs no protection and is not even all written. */
static uint32_t covered_bytes(const struct mr_rec *r)
{
	return r->type == MR_REC_PAD ? MR_PAD_BYTES : r->bytes;
}

void mr_rec_seal(struct mr_rec *rec, uint32_t seed)
{
	rec->crc = mr_crc32c(seed, (const char *)rec + sizeof(rec->crc), covered_bytes(rec) - sizeof(rec->crc));
}

static bool all_zero(const struct mr_rec *r)
{
	return !r->crc && !r->bytes && !r->position && !r->time_ns && !r->epoch && !r->type && !r->flags;
}

static bool message_fits(const void *body, size_t body_bytes)
{
	struct mr_rec_message m;

	if (body_bytes < sizeof(m))
		return false;
	memcpy(&m, body, sizeof(m));
	return m.dest_count <= MR_MSG_DESTS_MAX &&
	       (uint64_t)mr_rec_payload_offset(m.dest_count) + m.payload_bytes == body_bytes + sizeof(struct mr_rec);
}

static bool names_fit(const void *body, size_t body_bytes)
{
	struct mr_rec_names n;

	if (body_bytes < sizeof(n))
		return false;
	memcpy(&n, body, sizeof(n));
	return n.listener_count <= MR_LISTENERS_MAX && n.dest_count <= MR_DESTINATIONS_MAX &&
	       sizeof(n) + ((size_t)n.listener_count + n.dest_count) * MR_NAME_BYTES == body_bytes;
}

static bool body_fits(const struct mr_rec *r, const void *body)
{
	size_t n = r->bytes - sizeof(*r);

	switch (r->type) {
	case MR_REC_MESSAGE:
		return message_fits(body, n);
	case MR_REC_OUTCOME:
		return n && n % sizeof(struct mr_rec_outcome) == 0 &&
		       n / sizeof(struct mr_rec_outcome) <= MR_OUTCOMES_MAX;
	case MR_REC_NAMES:
		return names_fit(body, n);
	case MR_REC_EVENT:
		return n == sizeof(struct mr_rec_event);
	case MR_REC_PAD:
		return r->bytes >= MR_PAD_BYTES && (r->position + r->bytes) % MR_JOURNAL_BLOCK == 0;
	default:
		return false;
	}
}

int64_t mr_rec_check(const void *p, size_t bytes, uint64_t position, uint32_t seed, uint32_t epoch_min)
{
	const char *at = p;
	struct mr_rec r;

	if (bytes < sizeof(r))
		return -EBADMSG;
	memcpy(&r, at, sizeof(r));
	if (all_zero(&r))
		return -ENODATA;
	if (r.position != position || r.bytes < sizeof(r) || r.bytes > bytes || r.epoch < epoch_min || !r.epoch)
		return -EBADMSG;
	if (!body_fits(&r, at + sizeof(r)))
		return -EBADMSG;
	if (mr_crc32c(seed, at + sizeof(r.crc), covered_bytes(&r) - sizeof(r.crc)) != r.crc)
		return -EBADMSG;
	return (int64_t)mr_align_up(r.bytes, 8);
}

int64_t mr_index_rec_check(const void *p, size_t bytes)
{
	const char *at = p;
	uint64_t need = sizeof(struct mr_rec);
	struct mr_rec_message m;
	struct mr_rec r;

	if (bytes < need)
		return -EBADMSG;
	memcpy(&r, at, sizeof(r));
	if (r.bytes < sizeof(r))
		return -EBADMSG;
	if (r.type == MR_REC_MESSAGE) {
		need += sizeof(m);
		if (bytes < need || !message_fits(at + sizeof(r), r.bytes - sizeof(r)))
			return -EBADMSG;
		memcpy(&m, at + sizeof(r), sizeof(m));
		need = mr_rec_payload_offset(m.dest_count);
		return bytes < need ? -EBADMSG : (int64_t)need;
	}
	need = mr_align_up(r.bytes, 8);
	return bytes < need || !body_fits(&r, at + sizeof(r)) ? -EBADMSG : (int64_t)need;
}

int mr_segment_header_check(const struct mr_segment_header *h)
{
	size_t from = offsetof(struct mr_segment_header, uuid);

	if (h->magic != MR_JOURNAL_MAGIC || h->version != MR_JOURNAL_VERSION)
		return -EPROTO;
	if (mr_crc32c(0, (const char *)h + from, sizeof(*h) - from) != h->crc)
		return -EBADMSG;
	if (h->segment_bytes < MR_SEGMENT_BYTES_MIN || h->segment_bytes > SEGMENT_BYTES_MAX ||
	    h->segment_bytes % MR_JOURNAL_BLOCK || h->sequence > UINT64_MAX / h->segment_bytes - 1)
		return -EBADMSG;
	return 0;
}

void mr_segment_name(uint64_t sequence, char ret[32])
{
	snprintf(ret, 32, "%016llx.seg", (unsigned long long)sequence);
}

void mr_index_name(uint64_t sequence, char ret[32])
{
	snprintf(ret, 32, "%016llx.idx", (unsigned long long)sequence);
}

void mr_walk_init(struct mr_walk *w, const void *base, uint64_t sequence, uint64_t segment_bytes, uint32_t seed,
                  uint32_t epoch)
{
	w->base = base;
	w->first = sequence * segment_bytes;
	w->bytes = segment_bytes;
	w->position = w->first + MR_JOURNAL_BLOCK;
	w->seed = seed;
	w->epoch = epoch;
}

static int64_t check_at(const struct mr_walk *w, uint64_t position, uint32_t epoch_min)
{
	uint64_t offset = position - w->first;

	if (offset >= w->bytes)
		return -ENODATA;
	return mr_rec_check(w->base + offset, w->bytes - offset, position, w->seed, epoch_min);
}

static const struct mr_rec *record_at(const struct mr_walk *w, uint64_t position)
{
	return (const struct mr_rec *)(w->base + (position - w->first));
}

static bool is_start(const struct mr_rec *r)
{
	return r->type == MR_REC_EVENT && ((const struct mr_rec_event *)(r + 1))->kind == MR_EVENT_START;
}

/* A writer that found the journal torn at w->position in mid-block began its epoch in the next block and says so. */
static int64_t check_successor(const struct mr_walk *w, uint64_t position)
{
	int64_t n = check_at(w, position, w->epoch + 1);
	const struct mr_rec *r = record_at(w, position);

	if (n < 0 || !is_start(r) || ((const struct mr_rec_event *)(r + 1))->arg != w->position)
		return -EBADMSG;
	return n;
}

const struct mr_rec *mr_walk_next(struct mr_walk *w)
{
	uint64_t at = w->position, block = mr_align_up(at, MR_JOURNAL_BLOCK), end = w->first + w->bytes;
	int64_t n = check_at(w, at, w->epoch);

	if (n < 0 && block != at) {
		at = block;
		n = check_successor(w, at);
	}
	if (n < 0)
		return NULL;
	w->epoch = record_at(w, at)->epoch;
	w->position = at + (uint64_t)n < end ? at + (uint64_t)n : end;
	return record_at(w, at);
}

bool mr_walk_resync(struct mr_walk *w)
{
	uint64_t end = w->first + w->bytes;

	for (uint64_t at = w->position + 8; at + sizeof(struct mr_rec) <= end; at += 8) {
		if (record_at(w, at)->position != at || check_at(w, at, w->epoch) < 0)
			continue;
		w->position = at;
		return true;
	}
	return false;
}

bool mr_walk_damaged(const struct mr_walk *from)
{
	struct mr_walk w = *from;
	const struct mr_rec *r;

	while (mr_walk_resync(&w)) {
		while ((r = mr_walk_next(&w))) {
			if (is_start(r))
				return ((const struct mr_rec_event *)(r + 1))->arg > from->position;
			if (r->type == MR_REC_PAD && ((const struct mr_rec_pad *)(r + 1))->durable > from->position)
				return true;
		}
	}
	return false;
}

static int read_all(int fd, char *p, uint64_t bytes)
{
	uint64_t got = 0;

	while (got < bytes) {
		ssize_t n = pread(fd, p + got, bytes - got, (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break; /* shorter than it should be: the rest reads as zeros */
		got += (uint64_t)n;
	}
	return 0;
}

static int scan_memory(struct mr_walk *w, uint64_t from_position, mr_scan_fn *fn, void *arg, uint64_t *ret_end)
{
	const struct mr_rec *r;

	if (from_position > w->position)
		w->position = from_position;
	while (w->position < w->first + w->bytes && (r = mr_walk_next(w))) {
		int err = fn(arg, r, r + 1);

		if (err) {
			*ret_end = r->position;
			return err;
		}
	}
	*ret_end = w->position;
	return mr_walk_damaged(w) ? -EBADMSG : 0;
}

int mr_scan_segment(const char *path, uint64_t from_position, mr_scan_fn *fn, void *arg, uint64_t *ret_end)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct mr_segment_header h = {0};
	char *memory = MAP_FAILED;
	struct mr_walk w;
	int err;

	if (fd < 0)
		return -errno;
	err = read_all(fd, (char *)&h, sizeof(h));
	if (!err)
		err = mr_segment_header_check(&h);
	if (err)
		goto fail;
	err = -EINVAL;
	if (from_position && (from_position % 8 || from_position / h.segment_bytes != h.sequence))
		goto fail;
	memory = mmap(NULL, h.segment_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	err = memory == MAP_FAILED ? -errno : read_all(fd, memory, h.segment_bytes);
	if (err)
		goto fail;
	mr_walk_init(&w, memory, h.sequence, h.segment_bytes, mr_journal_seed(h.uuid), h.epoch);
	err = scan_memory(&w, from_position, fn, arg, ret_end);
fail:
	if (memory != MAP_FAILED)
		munmap(memory, h.segment_bytes);
	close(fd);
	return err;
}

const struct mr_tail *mr_tail_map(int fd)
{
	struct mr_tail head;
	struct stat st;
	char *at, *data;

	if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || fstat(fd, &st) < 0)
		return NULL;
	if (head.magic != MR_TAIL_MAGIC || head.version != MR_TAIL_VERSION || head.tail_bytes < MR_JOURNAL_BLOCK ||
	    (head.tail_bytes & (head.tail_bytes - 1)) || head.tail_bytes > (1ull << 40) ||
	    (uint64_t)st.st_size < MR_TAIL_HEAD + head.tail_bytes || head.segment_bytes < MR_SEGMENT_BYTES_MIN ||
	    head.segment_bytes > SEGMENT_BYTES_MAX || head.segment_bytes % MR_JOURNAL_BLOCK) {
		errno = EPROTO;
		return NULL;
	}
	at = mmap(NULL, MR_TAIL_HEAD + 2 * head.tail_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	data = mmap(at, MR_TAIL_HEAD + head.tail_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	if (data != MAP_FAILED)
		data = mmap(at + MR_TAIL_HEAD + head.tail_bytes, head.tail_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
		            MR_TAIL_HEAD);
	if (data == MAP_FAILED) {
		int err = errno;

		munmap(at, MR_TAIL_HEAD + 2 * head.tail_bytes);
		errno = err;
		return NULL;
	}
	return (const struct mr_tail *)at;
}

void mr_tail_unmap(const struct mr_tail *t)
{
	if (t)
		munmap((void *)(uintptr_t)t, MR_TAIL_HEAD + 2 * t->tail_bytes);
}

int mr_read_whole(int fd, void *buf, size_t bytes, uint64_t offset)
{
	size_t got = 0;

	while (got < bytes) {
		ssize_t n = pread(fd, (char *)buf + got, bytes - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	return 0;
}
