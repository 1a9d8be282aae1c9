/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_recover.c - opening a journal folder: which segments are there, where does the journal end, what is damaged.
 *
 * Called once by journal_open(), at start or when an orphan is adopted; it may block and allocate. Two passes over the
 * same records: the first learns what is finished, the second hands on what is not. Sealed segments are read through
 * their index where there is a good one. It must never take for the end what is damage, nor for damage what is the end:
 * a torn place is damage if anything after it proves that it was acknowledged; then the walk goes on behind it. If
 * not, it is where the writer died, and everything after it was never acknowledged and is forgotten.
 */
#include "journal_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum later { LATER_NOTHING, LATER_SUCCESSOR, LATER_PROOF };

struct recover {
	struct journal *j;
	struct journal_pending *pending;
	const struct journal_found *found; /* second pass; NULL in the first */
	struct journal_recovery *out;
	uint64_t *sequences;
	uint32_t count;
	char *memory;      /* one segment */
	uint64_t *dropped; /* sequences that are missing on purpose */
	uint32_t dropped_count, dropped_room;
	uint32_t epoch;
	uint32_t epoch_max;
	uint64_t end;
	bool ended;
	bool damaged_here; /* in the segment being walked */
	bool header_bad;   /* of it */
};

static void damage(struct recover *r, uint64_t position)
{
	r->damaged_here = true;
	if (position < r->out->corrupt_position)
		r->out->corrupt_position = position;
}

static int note_dropped(struct recover *r, uint64_t sequence)
{
	if (r->dropped_count == r->dropped_room) {
		uint32_t room = r->dropped_room ? r->dropped_room * 2 : 64;
		uint64_t *bigger = realloc(r->dropped, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		r->dropped = bigger;
		r->dropped_room = room;
	}
	r->dropped[r->dropped_count++] = sequence;
	return 0;
}

/* Gaps in the row of segments are damage, unless the journal itself says that they were given up. */
static void check_missing(struct recover *r, uint32_t from)
{
	for (uint32_t i = from + 1; i < r->count; i++) {
		for (uint64_t s = r->sequences[i - 1] + 1; s < r->sequences[i]; s++) {
			uint32_t k = 0;

			while (k < r->dropped_count && r->dropped[k] != s)
				k++;
			if (k < r->dropped_count)
				continue;
			damage(r, s * r->j->segment_bytes);
			break;
		}
	}
}

/* One record, in order, from a segment or from an index. */
static int take(struct recover *r, const struct mr_rec *rec)
{
	if (r->found) {
		journal_pending_emit(r->pending, rec, r->found);
		return 0;
	}
	if (rec->epoch > r->epoch_max)
		r->epoch_max = rec->epoch;
	if (rec->type == MR_REC_MESSAGE)
		r->out->messages++;
	else if (rec->type == MR_REC_OUTCOME)
		r->out->outcomes += (rec->bytes - sizeof(*rec)) / sizeof(struct mr_rec_outcome);
	else if (rec->type == MR_REC_EVENT && ((const struct mr_rec_event *)(rec + 1))->kind == MR_EVENT_DROPPED)
		return note_dropped(r, ((const struct mr_rec_event *)(rec + 1))->arg);
	return journal_pending_feed(r->pending, rec);
}

static bool index_plausible(const struct journal *j, const struct mr_index_header *h, const char *data)
{
	uint64_t last = h->sequence * j->segment_bytes;

	for (uint64_t at = 0; at < h->data_bytes;) {
		const struct mr_rec *rec = (const struct mr_rec *)(data + at);
		int64_t n = mr_index_rec_check(rec, h->data_bytes - at);

		if (n < 0 || rec->position <= last || rec->position / j->segment_bytes != h->sequence)
			return false;
		last = rec->position;
		at += (uint64_t)n;
	}
	return true;
}

/* Returns 1 if the segment's index was good and is taken, 0 if the segment must be read, or -errno. */
static int take_index(struct recover *r, uint64_t sequence)
{
	struct mr_index_header h;
	char *data;
	int err = journal_index_load(r->j, sequence, &h, &data);

	if (err)
		return err == -ENOMEM ? err : 0;
	if (!index_plausible(r->j, &h, data)) {
		free(data);
		return 0;
	}
	for (uint64_t at = 0; at < h.data_bytes && !err;) {
		const struct mr_rec *rec = (const struct mr_rec *)(data + at);

		err = take(r, rec);
		at += (uint64_t)mr_index_rec_check(rec, h.data_bytes - at);
	}
	free(data);
	r->epoch = h.epoch;
	r->out->bytes_read += sizeof(h) + h.data_bytes;
	return err ? err : 1;
}

static int load_segment(struct recover *r, uint64_t sequence, struct mr_walk *ret)
{
	struct journal *j = r->j;
	struct mr_segment_header h;
	char name[32];
	int err;

	mr_segment_name(sequence, name);
	err = journal_folder_read(j, name, r->memory, j->segment_bytes);
	if (err)
		return err;
	r->out->bytes_read += j->segment_bytes;
	memcpy(&h, r->memory, sizeof(h));
	r->header_bad = mr_segment_header_check(&h) || !journal_folder_is_ours(j, sequence, &h);
	if (!r->header_bad && h.epoch > r->epoch_max)
		r->epoch_max = h.epoch;
	mr_walk_init(ret, r->memory, sequence, j->segment_bytes, j->seed, r->epoch);
	return 0;
}

/* Looks for a word on @position among the records of a later segment; true if it was found. */
static bool ask_record(const struct mr_rec *rec, uint64_t position, enum later *ret)
{
	const struct mr_rec_event *e = (const struct mr_rec_event *)(rec + 1);

	if (rec->type == MR_REC_EVENT && e->kind == MR_EVENT_START)
		*ret = e->arg > position ? LATER_PROOF : LATER_SUCCESSOR;
	else if (rec->type == MR_REC_PAD && ((const struct mr_rec_pad *)(rec + 1))->durable > position)
		*ret = LATER_PROOF;
	return *ret != LATER_NOTHING;
}

/* An index is only published when its segment is on disk, and so all before it: it is proof by itself. */
static int ask_index(struct recover *r, uint64_t sequence, uint64_t position, enum later *ret)
{
	struct mr_index_header h;
	uint64_t at = 0;
	char *data;
	int err = journal_index_load(r->j, sequence, &h, &data);

	if (err)
		return err;
	if (index_plausible(r->j, &h, data)) {
		while (at < h.data_bytes && !ask_record((const struct mr_rec *)(data + at), position, ret))
			at += (uint64_t)mr_index_rec_check(data + at, h.data_bytes - at);
		if (*ret == LATER_NOTHING)
			*ret = LATER_PROOF;
	}
	free(data);
	return 0;
}

/* Segment number @i stops at @position. Do the segments after it say why? Loads them over r->memory. */
static int ask_later(struct recover *r, uint32_t i, uint64_t position, enum later *ret)
{
	*ret = LATER_NOTHING;
	while (++i < r->count && *ret == LATER_NOTHING) {
		const struct mr_rec *rec;
		struct mr_walk w;
		int err = ask_index(r, r->sequences[i], position, ret);

		if (err == -ENOMEM)
			return err;
		if (*ret != LATER_NOTHING)
			break;
		err = load_segment(r, r->sequences[i], &w);
		if (err)
			return err;
		do {
			while (*ret == LATER_NOTHING && w.position < w.first + w.bytes && (rec = mr_walk_next(&w)))
				(void)ask_record(rec, position, ret);
		} while (*ret == LATER_NOTHING && mr_walk_resync(&w));
	}
	return 0;
}

/* The walk stopped inside segment @i. Returns 1 to go on walking it, 0 when there is no more of it, -errno. */
static int stopped(struct recover *r, uint32_t i, struct mr_walk *w)
{
	uint64_t place = w->position;
	enum later later;
	struct mr_walk again;
	int err;

	if (r->found && place == r->end) { /* the first pass asked */
		r->ended = true;
		return 0;
	}
	if (mr_walk_damaged(w)) {
		damage(r, place);
		return mr_walk_resync(w);
	}
	err = ask_later(r, i, place, &later);
	if (err)
		return err;
	if (later == LATER_SUCCESSOR)
		return 0;
	if (later == LATER_PROOF) {
		damage(r, place);
		err = load_segment(r, r->sequences[i], &again); /* r->memory held others meanwhile */
		return err ? err : mr_walk_resync(w);
	}
	r->ended = true;
	r->end = place;
	return 0;
}

static int walk_segment(struct recover *r, uint32_t i)
{
	struct journal *j = r->j;
	bool building = false;
	const struct mr_rec *rec;
	struct mr_walk w;
	int err = load_segment(r, r->sequences[i], &w);

	if (err)
		return err;
	do {
		while (!err && w.position < w.first + w.bytes && (rec = mr_walk_next(&w))) {
			if (!building && r->header_bad)
				damage(r, w.first);
			if (!r->found && !building)
				journal_index_begin(j, r->sequences[i]);
			if (!r->found)
				journal_index_add(j, rec);
			building = true;
			err = take(r, rec);
		}
		if (!err)
			err = w.position < w.first + w.bytes ? stopped(r, i, &w) : 0;
		if (err < 0)
			return err;
	} while (err-- > 0);
	r->epoch = w.epoch;
	if (i + 1 == r->count && !r->ended) {
		r->ended = true;
		r->end = w.position;
	}
	if (!r->found && building && r->damaged_here)
		journal_index_abandon(j);
	else if (!r->found && building && !r->ended)
		journal_index_end(j);
	return 0;
}

static int pass(struct recover *r, uint32_t from)
{
	int err = 0;

	r->ended = false;
	r->epoch = 0;
	for (uint32_t i = from; i < r->count && !r->ended && err >= 0; i++) {
		r->damaged_here = false;
		err = i + 1 < r->count ? take_index(r, r->sequences[i]) : 0;
		if (err == 0)
			err = walk_segment(r, i);
	}
	return err < 0 ? err : 0;
}

/* Where to begin: at the first segment that may hold something unfinished, or something young enough. */

static uint64_t read_state(const struct journal *j)
{
	size_t from = offsetof(struct journal_state, first_unfinished);
	struct journal_state s;

	if (journal_folder_read(j, "state", &s, sizeof(s)) || s.magic != JOURNAL_STATE_MAGIC || s.version != 1 ||
	    mr_crc32c(j->seed, (const char *)&s + from, sizeof(s) - from) != s.crc)
		return 0;
	return s.first_unfinished;
}

static int fill_table(struct recover *r, uint64_t window_from_ns, uint32_t *ret_first)
{
	struct journal *j = r->j;
	uint64_t unfinished = read_state(j);
	uint32_t first = r->count;

	if (r->count + 2 > JOURNAL_SEGMENTS_MAX)
		return -E2BIG;
	if (unfinished > r->sequences[r->count - 1])
		unfinished = 0; /* not of this journal as it is now */
	for (uint32_t i = 0; i < r->count; i++) {
		struct segment *s = journal_segment_add(j, r->sequences[i]);
		struct stat st;
		char name[32];

		mr_segment_name(s->sequence, name);
		if (fstatat(j->folder_fd, name, &st, 0) < 0)
			return -errno;
		s->last_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
		if (first == r->count && (s->sequence >= unfinished || s->last_ns >= window_from_ns))
			first = i;
	}
	*ret_first = first;
	return 0;
}

/* After the passes: everything behind the end is free, and the journal has a current and a next segment again. */

static void free_later(struct recover *r)
{
	struct journal *j = r->j;
	char name[32], spare[32];

	for (uint32_t i = j->current + 1; i < r->count; i++) {
		mr_segment_name(r->sequences[i], name);
		snprintf(spare, sizeof(spare), "spare-%08x.seg", j->spare_next);
		if (j->spare_count < JOURNAL_SPARES_MAX && !renameat(j->folder_fd, name, j->folder_fd, spare))
			j->spares[j->spare_count++] = j->spare_next++;
		else
			unlinkat(j->folder_fd, name, 0);
	}
	j->segment_count = j->current + 1;
}

static int take_current(struct journal *j)
{
	struct segment *s = &j->segments[j->current];
	char name[32];

	mr_index_name(s->sequence, name);
	unlinkat(j->folder_fd, name, 0); /* whatever it says, it does not know of what comes now */
	mr_segment_name(s->sequence, name);
	s->write_fd = journal_segment_open_write(j, name);
	if (s->write_fd < 0)
		return s->write_fd;
	s->state = SEGMENT_CURRENT;
	j->segment_end = (s->sequence + 1) * j->segment_bytes;
	return 0;
}

static int go_on(struct recover *r)
{
	struct journal *j = r->j;
	struct mr_segment_header h;
	uint64_t last = (r->end - 1) / j->segment_bytes;
	int err;

	for (uint32_t i = r->count > 3 ? r->count - 3 : 0; i < r->count; i++)
		if (!journal_folder_header(j, r->sequences[i], &h) && journal_folder_is_ours(j, r->sequences[i], &h) &&
		    h.epoch > r->epoch_max)
			r->epoch_max = h.epoch;
	j->epoch = r->epoch_max + 1;
	for (j->current = 0; j->segments[j->current].sequence != last;)
		must(++j->current < j->segment_count);
	free_later(r);
	journal_folder_check_spares(j);
	err = take_current(j);
	if (err)
		return err;
	if (j->adopted && !journal_segment_wants_next(j, r->end))
		return 0;
	if (!journal_segment_create(j, last + 1, false))
		return 0;
	j->full = true; /* outcomes may still fit */
	if (j->segment_end - r->end > journal_names_bytes(j) + 8 * MR_JOURNAL_BLOCK)
		return 0;
	return journal_segment_create(j, last + 1, true); /* without it nothing is delivered, and it stays full for ever */
}

static int make_new(struct recover *r)
{
	struct journal *j = r->j;
	uint64_t random[2] = {io_random(j->io), io_random(j->io)};
	char name[32];
	int err;

	for (uint32_t i = 0; i < r->count; i++) { /* named, but nothing was ever written to them */
		mr_segment_name(r->sequences[i], name);
		unlinkat(j->folder_fd, name, 0);
	}
	journal_folder_check_spares(j);
	memcpy(j->uuid, random, sizeof(j->uuid));
	j->seed = mr_journal_seed(j->uuid);
	j->epoch = 1;
	err = journal_segment_create(j, 1, true);
	if (err)
		return err;
	j->segments[0].state = SEGMENT_CURRENT;
	j->segment_end = 2 * j->segment_bytes;
	r->end = j->segment_bytes + MR_JOURNAL_BLOCK;
	journal_index_begin(j, 1);
	if (!j->adopted && journal_segment_create(j, 2, false))
		j->full = true;
	return 0;
}

static int both_passes(struct recover *r, const struct journal_found *found, uint64_t window_from_ns)
{
	uint32_t first = 0;
	uint64_t wanted;
	int err = fill_table(r, window_from_ns, &first);

	if (!err)
		err = pass(r, first);
	if (!err)
		check_missing(r, first);
	if (err || !found)
		return err;
	wanted = journal_pending_first(r->pending);
	if (wanted == UINT64_MAX)
		return 0;
	while (r->sequences[first] != wanted / r->j->segment_bytes)
		first++;
	r->found = found;
	journal_pending_rewind(r->pending);
	return pass(r, first);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/**
 * journal_recover - read what is in the folder, hand on what is not finished, and get ready to go on.
 * Returns 0, -EUCLEAN (damage: ret->corrupt_position; everything else is done), -EPROTO (not a journal), -errno.
 */
int journal_recover(struct journal *j, const struct journal_found *found, struct journal_recovery *ret)
{
	uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC), now_ns = io_realtime(j->io),
	         window = j->cfg->duplicate_window_ns;
	uint64_t window_from_ns = now_ns > window ? now_ns - window : 0;
	struct recover r = {.j = j, .out = ret, .memory = MAP_FAILED};
	int err = journal_folder_list(j, &r.sequences, &r.count);

	if (!err)
		err = journal_folder_identify(j, r.sequences, r.count);
	if (err == -ENOENT || (!err && !r.count)) {
		err = make_new(&r);
		goto fail;
	}
	if (err)
		goto fail;
	err = -ENOMEM;
	r.memory = mmap(NULL, j->segment_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.pending = journal_pending_new(j, window_from_ns);
	if (r.memory == MAP_FAILED || !r.pending)
		goto fail;
	err = both_passes(&r, found, window_from_ns);
	if (!err)
		err = go_on(&r);
	ret->segments = r.count;
	if (!err && ret->corrupt_position != UINT64_MAX)
		err = -EUCLEAN;
fail:
	ret->end = r.end;
	ret->duration_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns;
	if (r.memory != MAP_FAILED)
		munmap(r.memory, j->segment_bytes);
	journal_pending_free(r.pending);
	free(r.sequences);
	free(r.dropped);
	return err;
}
