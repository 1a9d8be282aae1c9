/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.c - reading messages of any journal of the hub: this core's, an adopted one, another core's.
 *
 * Called by ingress.c (is it a duplicate?), dest_mllp.c (the bytes to send) and link.c (journals come and go). The newest
 * bytes come from the writer's tail without a system call; older ones from the segment files.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct mr_tail *source_tail(const struct core *c, uint32_t journal)
{
	const struct source *s = &c->sources[journal];

	return s->own ? journal_tail(s->own) : s->tail;
}

/* The record at @position in a tail if it is a MESSAGE, else NULL. Another core's may be overwritten at any moment. */
static const struct mr_rec *source_in_tail(const struct mr_tail *t, uint64_t position)
{
	const struct mr_rec *r;

	if (!t || !mr_tail_holds(t, position, sizeof(struct mr_rec) + sizeof(struct mr_rec_message)))
		return NULL;
	r = (const struct mr_rec *)mr_tail_at(t, position);
	return r->position == position && r->type == MR_REC_MESSAGE ? r : NULL;
}

static const char *source_payload_at(const struct mr_rec *r, const struct mr_rec_message *m)
{
	return (const char *)r + mr_rec_payload_offset(m->dest_count);
}

int64_t source_payload(struct core *c, uint32_t journal, uint64_t position, void *buf, uint32_t bytes)
{
	const struct mr_tail *t = journal < MR_WORKERS_MAX ? source_tail(c, journal) : NULL;
	const struct mr_rec *r = source_in_tail(t, position);
	struct mr_rec_message m;

	if (!r)
		return -EAGAIN;
	memcpy(&m, r + 1, sizeof(m));
	if (m.payload_bytes != bytes || m.dest_count > MR_MSG_DESTS_MAX)
		return mr_tail_holds(t, position, sizeof(*r) + sizeof(m)) ? -EBADMSG : -EAGAIN;
	if (!mr_tail_holds(t, position, mr_rec_payload_offset(m.dest_count) + (uint64_t)bytes))
		return -EAGAIN;
	memcpy(buf, source_payload_at(r, &m), bytes);
	return mr_tail_holds(t, position, mr_rec_payload_offset(m.dest_count) + (uint64_t)bytes) ? (int64_t)bytes : -EAGAIN;
}

/* The message is in no tail any more: read it from its file and compare. Blocks; only repeated messages come here. */
static int source_compare_file(struct core *c, uint32_t journal, uint64_t position, const char *payload, uint32_t bytes,
			       struct mr_rec *ret_rec, struct mr_rec_message *ret_message)
{
	struct source *s = &c->sources[journal];
	uint32_t room, got;
	char *b = frame_take(c->frames, bytes + 1024u, &room);
	int r = -ENOMEM;

	if (!b)
		return r;
	if (s->own) {
		int64_t n = journal_read_sync(s->own, position, b, room);
		const struct mr_rec_message *m = (const struct mr_rec_message *)(b + sizeof(struct mr_rec));

		r = n == -ENOSPC ? 0 : n < 0 ? (int)n : 0;
		if (n > 0) {
			*ret_rec = *(const struct mr_rec *)b;
			*ret_message = *m;
			r = m->payload_bytes == bytes &&
			    memcmp(source_payload_at((const struct mr_rec *)b, m), payload, bytes) == 0;
		}
	} else if (s->reader) {
		r = mr_reader_head(s->reader, position, ret_rec, ret_message);
		if (r == 0 && ret_message->payload_bytes == bytes) {
			r = mr_reader_message(s->reader, position, b, room, &got);
			if (r == 0)
				r = got == bytes && memcmp(b, payload, bytes) == 0;
		}
	} else {
		r = -ENOENT;
	}
	frame_give(c->frames, b, room);
	return r;
}

int source_compare(struct core *c, uint32_t journal, uint64_t position, const char *payload, uint32_t bytes,
		   struct mr_rec *ret_rec, struct mr_rec_message *ret_message)
{
	struct source *s = &c->sources[journal];
	const struct mr_tail *t = source_tail(c, journal);
	const struct mr_rec *r = source_in_tail(t, position);
	bool same;

	if (!r)
		return source_compare_file(c, journal, position, payload, bytes, ret_rec, ret_message);
	memcpy(ret_rec, r, sizeof(*ret_rec));
	memcpy(ret_message, r + 1, sizeof(*ret_message));
	same = ret_message->payload_bytes == bytes && ret_message->dest_count <= MR_MSG_DESTS_MAX &&
	       mr_tail_holds(t, position, ret_rec->bytes) && memcmp(source_payload_at(r, ret_message), payload, bytes) == 0;
	if (!mr_tail_holds(t, position, ret_rec->bytes)) /* overwritten meanwhile */
		return source_compare_file(c, journal, position, payload, bytes, ret_rec, ret_message);
	if (same && !s->own && position + ret_rec->bytes > mr_load(&t->durable))
		return -EAGAIN;
	return same;
}

int source_fd(struct core *c, uint32_t journal, uint64_t position, uint64_t *ret_offset)
{
	struct source *s;
	char folder[600];
	int r;

	if (journal >= MR_WORKERS_MAX)
		return -ENOENT;
	s = &c->sources[journal];
	if (s->own)
		return journal_segment_fd(s->own, position, ret_offset);
	if (!s->reader) { /* it could not be opened when it was told of: its files will do */
		snprintf(folder, sizeof(folder), "%s/journal-%u", c->cfg->data, journal);
		r = mr_reader_open(folder, -1, &s->reader);
		if (r < 0)
			return r;
	}
	return mr_reader_fd(s->reader, position, ret_offset);
}

uint64_t source_received_ns(struct core *c, uint32_t journal, uint64_t position)
{
	struct journal *j = journal < MR_WORKERS_MAX ? c->sources[journal].own : NULL;
	const struct mr_rec *r = j ? journal_record(j, position) : NULL;
	struct mr_rec head;
	uint64_t offset;
	int fd;

	if (r)
		return r->time_ns;
	fd = j ? journal_segment_fd(j, position, &offset) : -1;
	if (fd < 0 || pread(fd, &head, sizeof(head), (off_t)offset) != sizeof(head) || head.position != position)
		return 0;
	return head.time_ns;
}

uint32_t source_seed(const struct core *c, uint32_t journal)
{
	const struct source *s = &c->sources[journal];

	return s->own ? journal_seed(s->own) : s->reader ? mr_reader_seed(s->reader) : 0;
}

void source_forget(struct core *c, uint32_t journal, uint64_t position)
{
	if (journal < MR_WORKERS_MAX && c->sources[journal].reader)
		mr_reader_forget(c->sources[journal].reader, position);
}

/* Another core's journal came up (or came back with a new tail). Descriptors are consumed. */
void source_set(struct core *c, uint32_t journal, int tail_fd, int dupes_fd)
{
	struct source *s = &c->sources[journal];
	char folder[600];

	if (s->own)
		goto out;
	if (s->reader)
		mr_reader_close(s->reader);
	s->reader = NULL;
	s->tail = NULL;
	dupes_destroy(&s->dupes);
	snprintf(folder, sizeof(folder), "%s/journal-%u", c->cfg->data, journal);
	if (mr_reader_open(folder, tail_fd, &s->reader) == 0)
		s->tail = mr_reader_tail(s->reader);
	if (dupes_fd >= 0)
		dupes_map(dupes_fd, &s->dupes);
out:
	if (tail_fd >= 0)
		close(tail_fd);
	if (dupes_fd >= 0)
		close(dupes_fd);
}
