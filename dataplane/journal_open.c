/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_open.c - a journal's first and last moments: memory, tail, recovery, the first block of an epoch, the last
 * word.
 *
 * Called by the core that is to own the journal, at start or when it adopts an orphan, and when it stops. It allocates
 * everything the journal will ever use, and it waits for the disk; nothing here runs while messages flow.
 */
#include "journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t power_of_two(uint64_t at_least)
{
	uint64_t v = MR_SEGMENT_BYTES_MIN;

	while (v < at_least)
		v <<= 1;
	return v;
}

static int tail_create(struct journal *j)
{
	size_t bytes;
	char *at;

	j->tail_bytes = j->adopted ? MR_SEGMENT_BYTES_MIN : power_of_two(j->cfg->tail_bytes);
	bytes = MR_TAIL_HEAD + j->tail_bytes;
	j->tail_fd = memfd_create("millrace-tail", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (j->tail_fd < 0)
		return -errno;
	if (ftruncate(j->tail_fd, (off_t)bytes) < 0 || fcntl(j->tail_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	at = mmap(NULL, bytes + j->tail_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	j->tail = (struct mr_tail *)at;
	j->ring = at + MR_TAIL_HEAD;
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, j->tail_fd, 0) == MAP_FAILED ||
	    mmap(at + bytes, j->tail_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, j->tail_fd, MR_TAIL_HEAD) ==
	        MAP_FAILED)
		return -errno;
	return 0;
}

static void tail_begin(struct journal *j, uint64_t position)
{
	struct mr_tail *t = j->tail;

	j->appended = j->submitted = j->written = position;
	t->tail_bytes = j->tail_bytes;
	t->segment_bytes = j->segment_bytes;
	t->core = j->core;
	memcpy(t->uuid, j->uuid, sizeof(t->uuid));
	t->start = t->end = t->durable = position;
	t->magic = MR_TAIL_MAGIC;
	mr_store(&t->version, MR_TAIL_VERSION);
}

/* Start-up only: puts what was appended on disk and waits for it. */
static int write_out(struct journal *j)
{
	struct segment *s = journal_segment_find(j, j->submitted);
	uint64_t bytes;

	journal_close_batch(j);
	bytes = j->appended - j->submitted;
	must(s && s->write_fd >= 0);
	if (pwrite(s->write_fd, journal_ring_at(j, j->submitted), bytes, (off_t)(j->submitted % j->segment_bytes)) !=
	    (ssize_t)bytes)
		return errno ? -errno : -EIO;
	if (fdatasync(s->write_fd) < 0)
		return -errno;
	j->submitted = j->written = j->appended;
	mr_store(&j->tail->durable, j->written);
	return 0;
}

/*
 * The first block of an epoch goes to disk alone, before anything else: a crash while it is written leaves either the
 * epoch or nothing of it, so its number is never used twice.
 */
static int begin_epoch(struct journal *j, uint64_t ended_at)
{
	uint64_t block = mr_align_up(ended_at, MR_JOURNAL_BLOCK);
	int err;

	tail_begin(j, block);
	if (!journal_fits_segment(block, MR_JOURNAL_BLOCK, j->segment_end)) {
		must(journal_segment_next_ready(j));
		journal_publish_end(j, journal_next_first(j));
		j->submitted = j->written = j->appended;
		journal_segment_roll(j, block);
	}
	mr_set_own(&j->tail->start, j->appended);
	must(journal_append_event(j, MR_EVENT_START, ended_at));
	err = write_out(j);
	if (err)
		return err;
	if (j->adopted)
		journal_append_event(j, MR_EVENT_ADOPTED, j->core);
	if (!journal_make_room(j, mr_align_up(journal_names_bytes(j), 8)))
		return -ENOSPC;
	journal_append_names(j);
	return j->cut_count ? 0 : write_out(j);
}

static int open_folder(struct journal *j, const char *folder)
{
	if (mkdir(folder, 0750) < 0 && errno != EEXIST)
		return -errno;
	j->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return j->folder_fd < 0 ? -errno : 0;
}

static int make_pools(struct journal *j)
{
	void *p;

	j->segments = calloc(JOURNAL_SEGMENTS_MAX, sizeof(*j->segments));
	if (!j->segments || posix_memalign(&p, MR_JOURNAL_BLOCK, MR_JOURNAL_BLOCK + JOURNAL_WRITE_BYTES + CARRY_BYTES))
		return -ENOMEM;
	memset(p, 0, MR_JOURNAL_BLOCK + JOURNAL_WRITE_BYTES + CARRY_BYTES);
	j->maker.header = p;
	j->maker.zeros = (char *)p + MR_JOURNAL_BLOCK;
	j->carry.buf = j->maker.zeros + JOURNAL_WRITE_BYTES;
	return journal_index_init(j);
}

int journal_open(const struct journal_params *p, struct io *io, const struct journal_found *found,
                 struct journal_recovery *ret_recovery, struct journal **ret)
{
	struct journal_recovery recovery = {.corrupt_position = UINT64_MAX};
	struct journal *j = calloc(1, sizeof(*j));
	int err, damaged = 0;

	if (!j)
		return -ENOMEM;
	j->io = io;
	j->io_tag = p->io_tag;
	j->core = p->core;
	j->adopted = p->adopted;
	j->cfg = p->cfg;
	j->region = p->region;
	j->commit = p->cfg->commit;
	j->segment_bytes = p->cfg->segment_bytes;
	j->spares_wanted = p->adopted ? 0 : JOURNAL_SPARES_WANTED;
	j->folder_fd = j->tail_fd = j->state_fd = j->maker.fd = j->carry.fd = -1;
	err = open_folder(j, p->folder);
	if (!err)
		err = make_pools(j);
	if (!err)
		err = tail_create(j);
	if (!err)
		err = damaged = journal_recover(j, found, &recovery);
	if (!err || err == -EUCLEAN)
		err = begin_epoch(j, recovery.end);
	if (err)
		goto fail;
	j->index.sync = false;
	*ret_recovery = recovery;
	*ret = j;
	return damaged;
fail:
	journal_close(j);
	return err;
}

/* The last word of a journal closed in good order. Blocks for one small write. */
static void say_stop(struct journal *j)
{
	if (!j->segment_count || j->failed || j->written != j->appended || !journal_idle(j) ||
	    j->written % MR_JOURNAL_BLOCK || !journal_fits_segment(j->appended, MR_JOURNAL_BLOCK, j->segment_end))
		return;
	journal_append_event(j, MR_EVENT_STOP, 0);
	(void)write_out(j); /* if it fails, the next start finds a journal that was not closed: no harm */
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->tail && j->tail->version)
		say_stop(j);
	journal_index_close(j);
	journal_segment_close(j);
	if (j->tail)
		munmap(j->tail, MR_TAIL_HEAD + 2 * j->tail_bytes);
	if (j->tail_fd >= 0)
		close(j->tail_fd);
	if (j->folder_fd >= 0)
		close(j->folder_fd);
	free(j->maker.header);
	free(j->segments);
	free(j);
}
