/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_segment.c - the files behind a journal: which there are, the next one, spares, retention, free space.
 *
 * Called by journal.c on the journal's core. A segment is taken into use only when its name, its header and every block
 * of it are on disk, so that a commit never waits for the file system's own journal. The maker does that ahead of time,
 * one asynchronous step at a time; the calls that may block for a moment (open, rename, unlink, statvfs) come once a
 * segment. It must never give up a segment in which something is pinned, nor one that is younger than such a segment
 * without journal_carry.c: the younger may hold outcomes of the older.
 */
#include "journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void spare_name(uint32_t number, char ret[32])
{
	snprintf(ret, 32, "spare-%08x.seg", number);
}

struct segment *journal_segment_find(struct journal *j, uint64_t position)
{
	uint64_t sequence = position / j->segment_bytes;
	uint32_t low = 0, high = j->segment_count;

	if (j->found_at < j->segment_count && j->segments[j->found_at].sequence == sequence)
		return &j->segments[j->found_at];
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (j->segments[middle].sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == j->segment_count || j->segments[low].sequence != sequence)
		return NULL;
	j->found_at = low;
	return &j->segments[low];
}

/* Sequences are only ever added at the end. Returns NULL if the table is full. */
struct segment *journal_segment_add(struct journal *j, uint64_t sequence)
{
	struct segment *s;

	if (j->segment_count == JOURNAL_SEGMENTS_MAX)
		return NULL;
	must(!j->segment_count || j->segments[j->segment_count - 1].sequence < sequence);
	s = &j->segments[j->segment_count++];
	*s = (struct segment){.sequence = sequence, .read_fd = -1, .write_fd = -1, .state = SEGMENT_SEALED};
	return s;
}

bool journal_segment_next_ready(const struct journal *j)
{
	return j->current + 1 < j->segment_count && j->segments[j->current + 1].state == SEGMENT_READY;
}

/** journal_segment_wants_next - an orphan gets a next segment only when it needs one: it will mostly be done before. */
bool journal_segment_wants_next(const struct journal *j, uint64_t appended)
{
	return !j->adopted || j->segment_end - appended < 2 * journal_reserve_bytes(j);
}

static int open_direct(const struct journal *j, const char *name, int flags)
{
	int fd = openat(j->folder_fd, name, flags | O_DIRECT | O_CLOEXEC, 0640);

	if (fd < 0 && errno == EINVAL) /* a file system without direct I/O */
		fd = openat(j->folder_fd, name, flags | O_CLOEXEC, 0640);
	return fd < 0 ? -errno : fd;
}

/** journal_segment_open_write - a descriptor whose completed writes are as durable as the commit mode says. */
int journal_segment_open_write(const struct journal *j, const char *name)
{
	/* Without O_DSYNC a write is done when the disk has it in its cache. Through the page cache it would be copied
	 * once more, by threads on the worker's own CPU: measured, half the rate. */
	return open_direct(j, name, O_WRONLY | (j->commit == MR_COMMIT_DURABLE ? O_DSYNC : 0));
}

static void fill_header(const struct journal *j, uint64_t sequence, struct segment_block *ret)
{
	struct mr_segment_header *h = &ret->h;
	size_t from = offsetof(struct mr_segment_header, uuid);

	memset(ret, 0, sizeof(*ret));
	h->magic = MR_JOURNAL_MAGIC;
	h->version = MR_JOURNAL_VERSION;
	memcpy(h->uuid, j->uuid, sizeof(h->uuid));
	h->core = j->core;
	h->epoch = j->epoch;
	h->sequence = sequence;
	h->segment_bytes = j->segment_bytes;
	h->created_ns = io_realtime(j->io);
	h->crc = mr_crc32c(0, (const char *)h + from, sizeof(*h) - from);
}

static uint64_t bytes_held(const struct journal *j)
{
	return ((uint64_t)j->segment_count + j->spare_count) * j->segment_bytes;
}

static uint64_t free_bytes(const struct journal *j)
{
	struct statvfs v;

	return fstatvfs(j->folder_fd, &v) < 0 ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
}

/* May one more file of segment size be made? A journal always gets three: it could not even go on without. */
/* Three segments are held at least, whatever journal.max says: the journal could not work with fewer. */
static bool within_limits(const struct journal *j)
{
	uint64_t max = j->cfg->journal_bytes_max;

	return !max || bytes_held(j) <= max || j->segment_count + j->spare_count <= 3;
}

static bool may_grow(const struct journal *j)
{
	uint64_t max = j->cfg->journal_bytes_max;

	if (j->segment_count + 1 >= JOURNAL_SEGMENTS_MAX)
		return false;
	if (max && bytes_held(j) + j->segment_bytes > max && j->segment_count + j->spare_count >= 3)
		return false;
	return free_bytes(j) >= j->cfg->disk_free_bytes_min + j->segment_bytes;
}

/* Giving up. */

static bool is_done(const struct journal *j, const struct segment *s)
{
	return s->state == SEGMENT_SEALED && !s->pins && j->now_ns >= s->sealed_ns + JOURNAL_SETTLE_NS;
}

static void close_reading(struct journal *j, struct segment *s)
{
	if (!s->file_used)
		return;
	close(s->read_fd);
	s->read_fd = -1;
	s->file_used = 0;
	j->files_open--;
}

/* A finished segment becomes a spare, or goes. */
static void drop(struct journal *j, struct segment *s, bool keep_file)
{
	uint32_t i = (uint32_t)(s - j->segments);
	char name[32], spare[32];

	must(i < j->current);
	close_reading(j, s);
	mr_index_name(s->sequence, name);
	unlinkat(j->folder_fd, name, 0);
	mr_segment_name(s->sequence, name);
	spare_name(j->spare_next, spare);
	if (keep_file && j->spare_count < JOURNAL_SPARES_MAX &&
	    renameat(j->folder_fd, name, j->folder_fd, spare) == 0) {
		j->spares[j->spare_count++] = j->spare_next++;
		journal_count(j, MR_M_W_JOURNAL_RECYCLED, 1);
	} else {
		unlinkat(j->folder_fd, name, 0);
	}
	j->segment_count--;
	j->current--;
	memmove(s, s + 1, (j->segment_count - i) * sizeof(*s));
	j->found_at = 0;
}

static bool want_spare(const struct journal *j)
{
	return !j->low_space && !j->beyond && j->spare_count < j->spares_wanted + JOURNAL_SPARES_EXTRA;
}

/* The oldest finished segment that may go; NULL if there is none. All before it are needed. */
static struct segment *oldest_done(struct journal *j)
{
	for (uint32_t i = 0; i < j->current; i++)
		if (is_done(j, &j->segments[i]) && (i == 0 || !j->segments[i].stays))
			return &j->segments[i];
	return NULL;
}

/* Gives up a finished segment, at once if it is the oldest, else as soon as what matters of it is carried on. */
static void give_up(struct journal *j, struct segment *s)
{
	if (s == j->segments)
		drop(j, s, want_spare(j));
	else if (j->carry.step == CARRY_IDLE)
		journal_carry_begin(j, s);
}

static uint64_t done_bytes(const struct journal *j)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < j->current; i++)
		bytes += is_done(j, &j->segments[i]) ? j->segment_bytes : 0;
	return bytes;
}

static bool retention_over(const struct journal *j, const struct segment *s, uint64_t realtime_ns)
{
	uint64_t keep = j->cfg->retain_ns;

	if (keep < j->cfg->duplicate_window_ns)
		keep = j->cfg->duplicate_window_ns;
	return s->last_ns + keep < realtime_ns || (j->cfg->retain_bytes && done_bytes(j) > j->cfg->retain_bytes);
}

/* Making. */

static void maker_failed(struct journal *j)
{
	j->full = !journal_segment_next_ready(j);
	j->maker.step = MAKER_IDLE;
	j->maker.retry_at_ns = j->now_ns + JOURNAL_RETRY_NS;
}

static void drop_spare_file(struct journal *j)
{
	char name[32];

	if (j->maker.fd >= 0)
		close(j->maker.fd);
	j->maker.fd = -1;
	spare_name(j->maker.number, name);
	unlinkat(j->folder_fd, name, 0);
}

static void zero_step(struct journal *j)
{
	struct journal_maker *m = &j->maker;
	uint64_t left = j->segment_bytes - m->done_bytes;

	if (!left) {
		m->step = MAKER_ZERO_SYNC;
		io_fdatasync(j->io, m->fd, j->io_tag | JOURNAL_TAG_MAKE);
		return;
	}
	io_write(j->io, m->fd, m->zeros, (uint32_t)(left < JOURNAL_WRITE_BYTES ? left : JOURNAL_WRITE_BYTES),
	         m->done_bytes, j->io_tag | JOURNAL_TAG_MAKE);
}

static void zero_begin(struct journal *j)
{
	struct journal_maker *m = &j->maker;
	char name[32];

	m->number = j->spare_next++;
	spare_name(m->number, name);
	m->fd = open_direct(j, name, O_WRONLY | O_CREAT | O_TRUNC);
	if (m->fd < 0) {
		journal_count(j, MR_M_W_JOURNAL_ERRORS, 1);
		maker_failed(j);
		return;
	}
	m->step = MAKER_ZERO;
	m->done_bytes = 0;
	zero_step(j);
}

static void folder_step(struct journal *j)
{
	j->maker.step = MAKER_FOLDER;
	io_fdatasync(j->io, j->folder_fd, j->io_tag | JOURNAL_TAG_MAKE);
}

/* Takes a spare as the next segment. Its new name is on disk before its header, its header before its first record. */
static void prepare_begin(struct journal *j)
{
	uint64_t sequence = j->segments[j->current].sequence + 1;
	uint32_t number = j->spares[j->spare_count - 1];
	char spare[32], name[32];
	struct segment *s;

	spare_name(number, spare);
	mr_segment_name(sequence, name);
	j->spare_count--;
	if (renameat(j->folder_fd, spare, j->folder_fd, name) < 0 || !(s = journal_segment_add(j, sequence))) {
		journal_count(j, MR_M_W_JOURNAL_ERRORS, 1);
		maker_failed(j);
		return;
	}
	s->state = SEGMENT_PREPARING;
	s->write_fd = journal_segment_open_write(j, name);
	if (s->write_fd < 0) {
		j->segment_count--;
		unlinkat(j->folder_fd, name, 0);
		maker_failed(j);
		return;
	}
	folder_step(j);
}

static void header_step(struct journal *j)
{
	struct segment *s = &j->segments[j->current + 1];

	fill_header(j, s->sequence, j->maker.header);
	j->maker.step = MAKER_HEADER;
	io_write(j->io, s->write_fd, j->maker.header, MR_JOURNAL_BLOCK, 0, j->io_tag | JOURNAL_TAG_MAKE);
}

/*
 * Will there soon be no room even for outcomes? Then a segment is made for them, whatever the limits say, as long as the
 * disk has it: without them nothing ever gets finished, and the journal would stay full for ever.
 */
static bool outcomes_short(const struct journal *j)
{
	return j->segment_end - j->appended < journal_reserve_bytes(j) / 2 && j->segment_count + 1 < JOURNAL_SEGMENTS_MAX &&
	       free_bytes(j) >= 2 * j->segment_bytes;
}

/* What is missing most? One thing at a time. */
static void maker_run(struct journal *j)
{
	bool prepared = j->current + 1 < j->segment_count;
	struct segment *done;

	if (j->maker.step != MAKER_IDLE || j->failed || j->now_ns < j->maker.retry_at_ns)
		return;
	if (prepared && j->segments[j->current + 1].state == SEGMENT_PREPARING) {
		folder_step(j); /* a step of it failed before */
		return;
	}
	if (prepared && j->spare_count >= j->spares_wanted)
		return;
	if (!prepared && !journal_segment_wants_next(j, j->appended))
		return;
	if (!prepared && j->spare_count) {
		prepare_begin(j);
		return;
	}
	done = oldest_done(j);
	if (!(done == j->segments && retention_over(j, done, io_realtime(j->io))) && may_grow(j)) {
		zero_begin(j);
		return;
	}
	if (done == j->segments && done) { /* no space: what is finished makes room, retention or not */
		drop(j, done, true);
		if (!prepared && j->spare_count)
			prepare_begin(j);
		return;
	}
	if (done)
		give_up(j, done);
	if (!prepared && outcomes_short(j)) {
		j->beyond = true;
		zero_begin(j);
		return;
	}
	maker_failed(j);
}

/** journal_segment_made - the maker's request is done. */
void journal_segment_made(struct journal *j, int32_t result)
{
	struct journal_maker *m = &j->maker;
	uint32_t step = m->step;

	if (result < 0 || (step == MAKER_HEADER && result != MR_JOURNAL_BLOCK) || (step == MAKER_ZERO && result == 0)) {
		journal_count(j, MR_M_W_JOURNAL_ERRORS, 1);
		if (step == MAKER_ZERO || step == MAKER_ZERO_SYNC)
			drop_spare_file(j);
		maker_failed(j);
		return;
	}
	switch (step) {
	case MAKER_ZERO:
		m->done_bytes += (uint64_t)result & ~(uint64_t)(MR_JOURNAL_BLOCK - 1);
		zero_step(j);
		return;
	case MAKER_ZERO_SYNC:
		close(m->fd);
		m->fd = -1;
		j->spares[j->spare_count++] = m->number;
		break;
	case MAKER_FOLDER:
		header_step(j);
		return;
	default:
		must(step == MAKER_HEADER);
		j->segments[j->current + 1].state = SEGMENT_READY;
		j->full = false;
		break;
	}
	m->step = MAKER_IDLE;
	maker_run(j);
}

/** journal_segment_roll - the current segment ends at @data_end; the next one becomes the current. */
void journal_segment_roll(struct journal *j, uint64_t data_end)
{
	struct segment *s = &j->segments[j->current];

	s->state = SEGMENT_CLOSING;
	s->data_end = data_end;
	s->last_ns = io_realtime(j->io);
	journal_index_end(j);
	s++;
	must(s->state == SEGMENT_READY);
	s->state = SEGMENT_CURRENT;
	j->current++;
	j->segment_end = (s->sequence + 1) * j->segment_bytes;
	journal_index_begin(j, s->sequence);
	maker_run(j);
}

/** journal_segment_written - j->written moved: closes what is wholly on disk. */
void journal_segment_written(struct journal *j)
{
	for (uint32_t i = j->current; i-- > 0 && j->segments[i].state == SEGMENT_CLOSING;) {
		struct segment *s = &j->segments[i];

		if (j->written < s->data_end)
			continue;
		close(s->write_fd);
		s->write_fd = -1;
		s->state = SEGMENT_SEALED;
		s->sealed_ns = io_now(j->io);
	}
}

/* The state file: from which segment on recovery must look for unfinished messages. */

static uint64_t first_unfinished(const struct journal *j)
{
	for (uint32_t i = 0; i < j->current; i++)
		if (!is_done(j, &j->segments[i]))
			return j->segments[i].sequence;
	return j->segments[j->current].sequence;
}

static void state_begin(struct journal *j)
{
	uint64_t first = first_unfinished(j);
	size_t from = offsetof(struct journal_state, first_unfinished);

	if (j->state_fd >= 0 || first == j->state_written || j->failed)
		return;
	j->state_fd = openat(j->folder_fd, "state.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (j->state_fd < 0)
		return; /* it only saves time at the next start */
	j->state_writing = first;
	j->state = (struct journal_state){.magic = JOURNAL_STATE_MAGIC, .version = 1, .first_unfinished = first};
	j->state.crc = mr_crc32c(j->seed, (const char *)&j->state + from, sizeof(j->state) - from);
	io_write(j->io, j->state_fd, &j->state, sizeof(j->state), 0, j->io_tag | JOURNAL_TAG_STATE);
}

void journal_segment_state_done(struct journal *j, int32_t result)
{
	close(j->state_fd);
	j->state_fd = -1;
	if (result == (int32_t)sizeof(j->state) && !renameat(j->folder_fd, "state.tmp", j->folder_fd, "state"))
		j->state_written = j->state_writing;
}

static void check_space(struct journal *j)
{
	uint64_t space = free_bytes(j);

	j->low_space = space < j->cfg->disk_free_bytes_min;
	if (within_limits(j))
		j->beyond = false;
	journal_gauge(j, MR_M_W_JOURNAL_FREE, space);
	journal_gauge(j, MR_M_W_JOURNAL_BYTES, bytes_held(j));
	journal_gauge(j, MR_M_W_JOURNAL_SEGMENTS, j->segment_count);
}

/** journal_segment_tick - retention, spares, free space, the state file. About every 100 ms. */
/* Beyond the limits for the sake of outcomes: what is not needed any more goes, until the journal is inside them again. */
static void shrink(struct journal *j)
{
	char name[32];

	if (!j->beyond || within_limits(j) || !j->spare_count || j->maker.step != MAKER_IDLE)
		return;
	spare_name(j->spares[--j->spare_count], name);
	unlinkat(j->folder_fd, name, 0);
}

void journal_segment_tick(struct journal *j, uint64_t now_ns, uint64_t realtime_ns)
{
	struct segment *s;

	j->now_ns = now_ns;
	s = journal_carry_tick(j);
	if (s)
		drop(j, s, want_spare(j));
	s = oldest_done(j);
	if (s && (j->low_space || j->beyond || retention_over(j, s, realtime_ns)))
		give_up(j, s); /* one a tick */
	shrink(j);
	maker_run(j);
	if (now_ns - j->space_checked_ns >= JOURNAL_RETRY_NS) {
		j->space_checked_ns = now_ns;
		check_space(j);
		state_begin(j);
	}
	journal_gauge(j, MR_M_W_JOURNAL_FULL, journal_room(j, 1, 1) == JOURNAL_FULL);
}

/* Start-up: these block. */

static int zero_file(struct journal *j, const char *name)
{
	int fd = open_direct(j, name, O_WRONLY | O_CREAT | O_TRUNC), err = 0;

	if (fd < 0)
		return fd;
	for (uint64_t at = 0; at < j->segment_bytes && !err;) {
		uint64_t left = j->segment_bytes - at;
		ssize_t n =
		    pwrite(fd, j->maker.zeros, left < JOURNAL_WRITE_BYTES ? left : JOURNAL_WRITE_BYTES, (off_t)at);

		if (n < MR_JOURNAL_BLOCK)
			err = n < 0 ? -errno : -ENOSPC;
		else
			at += (uint64_t)n & ~(uint64_t)(MR_JOURNAL_BLOCK - 1);
	}
	if (!err && fdatasync(fd) < 0)
		err = -errno;
	close(fd);
	if (err)
		unlinkat(j->folder_fd, name, 0);
	return err;
}

/** journal_segment_create - at start: make segment @sequence of a spare or anew, and add it as READY. @beyond_max: never mind limits. */
int journal_segment_create(struct journal *j, uint64_t sequence, bool beyond_max)
{
	struct segment *s;
	char spare[32], name[32];
	int err = 0, fd;

	mr_segment_name(sequence, name);
	if (j->spare_count) {
		spare_name(j->spares[--j->spare_count], spare);
	} else {
		spare_name(j->spare_next++, spare);
		err = beyond_max || may_grow(j) ? zero_file(j, spare) : -ENOSPC;
	}
	if (!err && (renameat(j->folder_fd, spare, j->folder_fd, name) < 0 || fsync(j->folder_fd) < 0))
		err = -errno;
	if (err)
		return err;
	fd = journal_segment_open_write(j, name);
	if (fd < 0)
		return fd;
	fill_header(j, sequence, j->maker.header);
	if (pwrite(fd, j->maker.header, MR_JOURNAL_BLOCK, 0) != MR_JOURNAL_BLOCK || fdatasync(fd) < 0)
		err = -EIO;
	s = err ? NULL : journal_segment_add(j, sequence);
	if (!s) {
		close(fd);
		return err ? err : -EMFILE;
	}
	s->write_fd = fd;
	s->state = SEGMENT_READY;
	return 0;
}

void journal_segment_close(struct journal *j)
{
	for (uint32_t i = 0; i < j->segment_count; i++) {
		if (j->segments[i].write_fd >= 0)
			close(j->segments[i].write_fd);
		close_reading(j, &j->segments[i]);
	}
	if (j->maker.fd >= 0)
		close(j->maker.fd);
	if (j->state_fd >= 0)
		close(j->state_fd);
	if (j->carry.fd >= 0)
		close(j->carry.fd);
}

/* Reading old messages. */

static void close_least_used(struct journal *j)
{
	struct segment *oldest = NULL;

	for (uint32_t i = 0; i < j->segment_count; i++) {
		struct segment *s = &j->segments[i];

		if (s->file_used && (!oldest || s->file_used < oldest->file_used))
			oldest = s;
	}
	close_reading(j, oldest);
}

int journal_segment_fd(struct journal *j, uint64_t position, uint64_t *ret_offset)
{
	struct segment *s = journal_segment_find(j, position);
	char name[32];

	if (!s)
		return -ENOENT;
	if (!s->file_used) {
		if (j->files_open == JOURNAL_FILES_MAX)
			close_least_used(j);
		mr_segment_name(s->sequence, name);
		s->read_fd = openat(j->folder_fd, name, O_RDONLY | O_CLOEXEC);
		if (s->read_fd < 0)
			return -errno;
		j->files_open++;
	}
	s->file_used = ++j->clock;
	*ret_offset = position % j->segment_bytes;
	return s->read_fd;
}
