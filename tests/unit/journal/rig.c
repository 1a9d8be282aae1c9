/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - see rig.h. Part of every journal test program. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

void rig_config_set(struct rig_config *c, const char *dests)
{
	struct mr_config *m = &c->c;

	m->magic = MR_CONFIG_MAGIC;
	m->version = MR_CONFIG_VERSION;
	m->bytes = sizeof(*c);
	m->generation++;
	m->commit = MR_COMMIT_DURABLE;
	if (!m->segment_bytes)
		m->segment_bytes = m->tail_bytes = MIB;
	m->listeners.offset = offsetof(struct rig_config, listeners);
	m->listeners.count = 2;
	m->dests.offset = offsetof(struct rig_config, dests);
	m->dests.count = 0;
	memset(c->listeners, 0, sizeof(c->listeners));
	memset(c->dests, 0, sizeof(c->dests));
	strcpy(c->listeners[0].name, "in0");
	strcpy(c->listeners[1].name, "in1");
	while (*dests) {
		size_t n = strcspn(dests, " ");

		memcpy(c->dests[m->dests.count++].name, dests, n);
		dests += n + strspn(dests + n, " ");
	}
}

struct book_message *book_add(struct book *b)
{
	if (b->count == b->room) {
		b->room = b->room ? b->room * 2 : 256;
		b->m = realloc(b->m, b->room * sizeof(*b->m));
		assert_non_null(b->m);
	}
	memset(&b->m[b->count], 0, sizeof(*b->m));
	return &b->m[b->count++];
}

struct book_message *book_find(struct book *b, uint64_t position)
{
	size_t low = 0, high = b->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (b->m[middle].position < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->count && b->m[low].position == position ? &b->m[low] : NULL;
}

void book_clear(struct book *b)
{
	b->count = 0;
	b->outcomes = 0;
}

static void on_message(void *arg, uint64_t position, const struct mr_rec *rec, const struct mr_rec_message *m,
                       const uint16_t *dests)
{
	struct rig *r = arg;
	struct book_message *b;

	assert_true(!r->found.count || r->found.m[r->found.count - 1].position < position);
	assert_int_equal(rec->position, position);
	b = book_add(&r->found);
	b->position = position;
	b->bytes = m->payload_bytes;
	b->listener = m->listener;
	b->dest_count = m->dest_count;
	b->key = m->key;
	b->id_hash = m->id_hash;
	b->time_ns = rec->time_ns;
	memcpy(b->dests, dests, m->dest_count * sizeof(*dests));
}

static void on_outcome(void *arg, const struct mr_rec_outcome *o, uint64_t time_ns)
{
	struct rig *r = arg;
	struct book_message *b = book_find(&r->found, o->position);

	(void)time_ns;
	assert_non_null(b); /* only of messages that were told, and after them */
	r->found.outcomes++;
	for (uint32_t i = 0; i < b->dest_count; i++)
		if (b->dests[i] == o->dest && o->result != MR_RESULT_DEAD && o->result != MR_RESULT_REQUEUED)
			b->done |= 1ull << i;
}

void rig_init(struct rig *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->folder, sizeof(r->folder), "%s/millrace-journal-XXXXXX",
	         getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(r->folder));
	rig_config_set(&r->cfg, "a b c d");
	r->cfg.c.retain_ns = 3600ull * 1000000000;
	io_sync_init(&r->io, seed);
	r->seed = seed;
	r->callbacks = (struct journal_found){on_message, on_outcome, r};
	r->buf = malloc(70 * MIB);
	assert_non_null(r->buf);
}

static void remove_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char name[400];

	while (d && (e = readdir(d))) {
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		unlink(name);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

void rig_free(struct rig *r)
{
	rig_close(r);
	remove_folder(r->folder);
	free(r->put.m);
	free(r->found.m);
	free(r->buf);
}

int rig_open(struct rig *r, bool adopted)
{
	struct journal_params p = {.folder = r->folder,
	                           .core = 3,
	                           .cfg = &r->cfg.c,
	                           .region = r->region,
	                           .adopted = adopted,
	                           .io_tag = 0xab0000};

	book_clear(&r->found);
	memset(&r->recovery, 0, sizeof(r->recovery));
	return journal_open(&p, &r->io, &r->callbacks, &r->recovery, &r->j);
}

void rig_close(struct rig *r)
{
	r->io.pending_count = 0;
	journal_close(r->j);
	r->j = NULL;
}

void rig_turn(struct rig *r)
{
	const struct io_event *e;
	int n = io_wait(&r->io, 0, &e);

	for (int i = 0; i < n; i++) {
		assert_int_equal(e[i].tag & ~0xffffull, 0xab0000);
		journal_io(r->j, &e[i]);
	}
	if (++r->ticks % 8 == 0)
		journal_tick(r->j, r->io.now_ns, r->io.realtime_ns);
	journal_flush(r->j, r->io.now_ns);
}

void rig_settle(struct rig *r)
{
	for (int i = 0; i < 100000; i++) {
		r->io.now_ns += 20000000; /* well over a second in all: everything that is done when idle is done */
		r->io.realtime_ns += 20000000;
		rig_turn(r);
		if (i > 100 && journal_idle(r->j) && !r->io.pending_count)
			return;
	}
	fail_msg("the journal does not come to rest");
}

void rig_payload(uint64_t hash, char *buf, uint32_t bytes)
{
	uint64_t x = hash;

	for (uint32_t i = 0; i < bytes; i += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(buf + i, &x, 8);
	}
}

bool rig_put(struct rig *r, uint32_t bytes, uint64_t dest_mask)
{
	uint32_t n = (uint32_t)__builtin_popcountll(dest_mask);
	struct mr_rec_message m = {.payload_bytes = bytes, .dest_count = (uint16_t)n, .code = {'A', 'A'}};
	struct book_message *b;

	if (journal_room(r->j, bytes, n) != JOURNAL_ROOM)
		return false;
	b = book_add(&r->put);
	b->hash = io_random(&r->io);
	b->bytes = bytes;
	b->listener = m.listener = (uint16_t)io_sync_random(&r->io, 2);
	b->key = m.key = io_random(&r->io);
	b->id_hash = m.id_hash = io_random(&r->io);
	for (uint32_t i = 0; dest_mask; dest_mask &= dest_mask - 1)
		b->dests[i++] = (uint16_t)__builtin_ctzll(dest_mask);
	b->dest_count = (uint16_t)n;
	b->time_ns = r->io.realtime_ns;
	rig_payload(b->hash, r->buf, bytes);
	b->after = journal_append_message(r->j, &m, b->dests, r->buf, &b->position);
	for (uint32_t i = 0; i < n; i++)
		journal_pin(r->j, b->position);
	return true;
}

bool rig_outcome(struct rig *r, struct book_message *m, uint32_t i, uint8_t result)
{
	struct mr_rec_outcome o = {.position = m->position, .dest = m->dests[i], .result = result, .attempts = 1};
	uint64_t after = journal_append_outcomes(r->j, &o, 1);

	if (!after)
		return false;
	if (result != MR_RESULT_DEAD && result != MR_RESULT_REQUEUED) {
		m->done |= 1ull << i;
		if (i < 8)
			m->done_after[i] = after;
		journal_unpin(r->j, m->position);
	}
	return true;
}

void rig_check_payload(struct rig *r, const struct book_message *m)
{
	int64_t n = journal_read_sync(r->j, m->position, r->buf, 35 * MIB);
	char *want = r->buf + 35 * MIB;

	assert_true(n > 0);
	assert_int_equal(n, mr_rec_payload_offset(m->dest_count) + m->bytes);
	rig_payload(m->hash, want, m->bytes);
	assert_memory_equal(r->buf + mr_rec_payload_offset(m->dest_count), want, m->bytes);
}

size_t rig_files(const struct rig *r, const char *suffix)
{
	DIR *d = opendir(r->folder);
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d))) {
		size_t k = strlen(e->d_name);

		n += k > strlen(suffix) && !strcmp(e->d_name + k - strlen(suffix), suffix);
	}
	closedir(d);
	return n;
}

void rig_path(const struct rig *r, const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", r->folder, name);
}
