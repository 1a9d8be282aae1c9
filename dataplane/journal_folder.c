/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_folder.c - what is in a journal's folder: segments, spares, and whose they are.
 *
 * Called by journal_recover.c at start; it may block and allocate. Nothing that might be a segment is ever removed
 * here.
 */
#include "journal_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct listing {
	struct journal *j;
	uint64_t *sequences;
	uint32_t count, room;
};

static int by_sequence(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool is_segment(const char *name, const char *suffix, uint64_t *ret)
{
	char *end;

	if (strlen(name) != 16 + strlen(suffix) || strcmp(name + 16, suffix) || strspn(name, "0123456789abcdef") != 16)
		return false;
	*ret = strtoull(name, &end, 16);
	return true;
}

static int add_sequence(struct listing *r, uint64_t sequence)
{
	if (r->count == r->room) {
		uint32_t room = r->room ? r->room * 2 : 256;
		uint64_t *bigger = realloc(r->sequences, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		r->sequences = bigger;
		r->room = room;
	}
	r->sequences[r->count++] = sequence;
	return 0;
}

static void take_spare(struct journal *j, const char *name)
{
	char expected[32], *end;
	uint32_t number = (uint32_t)strtoul(name + 6, &end, 16);

	snprintf(expected, sizeof(expected), "spare-%08x.seg", number);
	if (strcmp(expected, name))
		return;
	if (number >= j->spare_next)
		j->spare_next = number + 1;
	if (j->spare_count < JOURNAL_SPARES_MAX && j->spare_count < j->spares_wanted + JOURNAL_SPARES_EXTRA)
		j->spares[j->spare_count++] = number;
	else
		unlinkat(j->folder_fd, name, 0);
}

static int list_all(struct listing *r)
{
	int fd = dup(r->j->folder_fd), err = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t sequence;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	rewinddir(dir);
	while (!err && (e = readdir(dir))) {
		if (is_segment(e->d_name, ".seg", &sequence))
			err = add_sequence(r, sequence);
		else if (!strncmp(e->d_name, "spare-", 6))
			take_spare(r->j, e->d_name);
		else if (is_segment(e->d_name, ".idx.tmp", &sequence) || !strcmp(e->d_name, "state.tmp"))
			unlinkat(r->j->folder_fd, e->d_name, 0);
	}
	closedir(dir);
	if (r->count)
		qsort(r->sequences, r->count, sizeof(*r->sequences), by_sequence);
	return err;
}

/** journal_folder_list - the sequences of all segments, ascending (the caller frees them); takes the spares, drops
 * leftovers. */
int journal_folder_list(struct journal *j, uint64_t **ret_sequences, uint32_t *ret_count)
{
	struct listing r = {.j = j};
	int err = list_all(&r);

	if (err) {
		free(r.sequences);
		return err;
	}
	*ret_sequences = r.sequences;
	*ret_count = r.count;
	return 0;
}

/** journal_folder_read - read @bytes of file @name; what it is too short for reads as zeros. Returns 0 or -errno. */
int journal_folder_read(const struct journal *j, const char *name, void *p, uint64_t bytes)
{
	int fd = openat(j->folder_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC), err = 0;
	uint64_t got = 0;

	if (fd < 0)
		return -errno;
	while (got < bytes) {
		ssize_t n = pread(fd, (char *)p + got, bytes - got, (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		got += (uint64_t)n;
	}
	close(fd);
	memset((char *)p + got, 0, bytes - got);
	return err;
}

/** journal_folder_header - the header of a segment. Returns 0, -EPROTO or -EBADMSG (of no use, but @ret is filled),
 * -errno. */
int journal_folder_header(const struct journal *j, uint64_t sequence, struct mr_segment_header *ret)
{
	char name[32];
	int err;

	mr_segment_name(sequence, name);
	err = journal_folder_read(j, name, ret, sizeof(*ret));
	return err ? err : mr_segment_header_check(ret);
}

/** journal_folder_is_ours - does this good header belong to segment @sequence of this journal? */
bool journal_folder_is_ours(const struct journal *j, uint64_t sequence, const struct mr_segment_header *h)
{
	return h->sequence == sequence && h->segment_bytes == j->segment_bytes &&
	       !memcmp(h->uuid, j->uuid, sizeof(h->uuid));
}

/** journal_folder_identify - who are we? The newest good header says. Returns 0, -ENOENT (nothing was ever written),
 * -EPROTO (not a journal). */
int journal_folder_identify(struct journal *j, const uint64_t *sequences, uint32_t count)
{
	struct mr_segment_header h;
	static const struct mr_segment_header nothing;
	bool empty = true;

	for (uint32_t i = count; i-- > 0;) {
		int err = journal_folder_header(j, sequences[i], &h);

		if (!err && h.sequence == sequences[i]) {
			memcpy(j->uuid, h.uuid, sizeof(j->uuid));
			j->seed = mr_journal_seed(j->uuid);
			j->segment_bytes = h.segment_bytes;
			return 0;
		}
		if (err != -EPROTO && err != -EBADMSG && err)
			return err;
		empty = empty && !memcmp(&h, &nothing, sizeof(h));
	}
	return empty ? -ENOENT : -EPROTO;
}

/* A spare of another size (a crash while it was made, an older configuration) is of no use. */
void journal_folder_check_spares(struct journal *j)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < j->spare_count; i++) {
		struct stat st;
		char name[32];

		snprintf(name, sizeof(name), "spare-%08x.seg", j->spares[i]);
		if (!fstatat(j->folder_fd, name, &st, 0) && (uint64_t)st.st_size == j->segment_bytes)
			j->spares[kept++] = j->spares[i];
		else
			unlinkat(j->folder_fd, name, 0);
	}
	j->spare_count = kept;
}
