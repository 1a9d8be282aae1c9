/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_segments.c - the files behind the journal: recycling, retention, a full disk, changed names, orphans, indexes.
 */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void turn(struct rig *r)
{
	r->io.now_ns += 15000000;
	r->io.realtime_ns += 15000000;
	rig_turn(r);
}

static bool put_or_wait(struct rig *r, uint32_t bytes, uint64_t mask, int turns)
{
	while (!rig_put(r, bytes, mask))
		if (!turns--)
			return false;
		else
			turn(r);
	return true;
}

static void finish(struct rig *r, struct book_message *m)
{
	for (uint32_t k = 0; k < m->dest_count; k++)
		for (int i = 0; !(m->done >> k & 1) && !rig_outcome(r, m, k, MR_RESULT_DELIVERED); i++) {
			assert_true(i < 1000);
			turn(r);
		}
}

static void reopen(struct rig *r, int want)
{
	rig_settle(r);
	rig_close(r);
	assert_int_equal(rig_open(r, false), want);
}

static void pin_pending(struct rig *r)
{
	for (size_t i = 0; i < r->found.count; i++)
		for (uint32_t k = 0; k < r->found.m[i].dest_count; k++)
			if (!(r->found.m[i].done >> k & 1))
				journal_pin(r->j, r->found.m[i].position);
}

static void done_segments_are_recycled_without_growing(void **state)
{
	struct rig r;
	size_t files = 0;

	rig_init(&r, 1);
	r.cfg.c.retain_ns = 0;
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 300; i++) {
		assert_true(put_or_wait(&r, 100000, 3, 1000));
		finish(&r, &r.put.m[i]);
		turn(&r);
		if (i == 100)
			files = rig_files(&r, ".seg");
	}
	rig_settle(&r);
	assert_true(r.put.m[299].position > 25 * MIB);
	assert_true(rig_files(&r, ".seg") <= files + 2);
	assert_true(rig_files(&r, ".seg") <= 10);
	assert_true(rig_put(&r, 100, 1));
	reopen(&r, 0);
	assert_int_equal(r.found.count, 1); /* nothing of the recycled files' old content comes back */
	rig_free(&r);
}

static void an_unfinished_message_is_never_recycled(void **state)
{
	struct rig r;

	rig_init(&r, 2);
	r.cfg.c.retain_ns = 0;
	r.cfg.c.journal_bytes_max = 8 * MIB;
	assert_int_equal(rig_open(&r, false), 0);
	assert_true(put_or_wait(&r, 5000, 1, 100));
	for (int i = 1; i < 200; i++) { /* 20 MB past it */
		assert_true(put_or_wait(&r, 100000, 2, 1000));
		finish(&r, &r.put.m[i]);
	}
	rig_check_payload(&r, &r.put.m[0]);
	assert_true(rig_files(&r, ".seg") <= 8);
	while (put_or_wait(&r, 100000, 2, 400)) /* and now without end */
		assert_true(r.put.count < 400);
	assert_int_equal(journal_room(r.j, 100000, 1), JOURNAL_FULL);
	assert_true(rig_files(&r, ".seg") <= 8);
	for (size_t i = 0; i < r.put.count; i++) {
		if (i == 0 || i >= 200)
			rig_check_payload(&r, &r.put.m[i]);
		finish(&r, &r.put.m[i]); /* outcomes still have their place */
	}
	assert_true(put_or_wait(&r, 100000, 2, 2000)); /* and then it goes on by itself */
	reopen(&r, 0);
	assert_int_equal(r.found.count, 1);
	rig_free(&r);
}

/* One dead letter must not keep everything that came after it, nor must what goes be forgotten. */
static void a_dead_letter_keeps_its_own_segment_only(void **state)
{
	struct rig r;
	size_t n;

	rig_init(&r, 20);
	r.cfg.c.retain_ns = 0;
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 40; i++)
		assert_true(put_or_wait(&r, 20000, 3, 1000)); /* most of them in the dead letter's segment */
	assert_true(rig_outcome(&r, &r.put.m[7], 0, MR_RESULT_DEAD));
	assert_true(rig_outcome(&r, &r.put.m[7], 1, MR_RESULT_DELIVERED));
	for (int i = 40; i < 120; i++) /* the others finish one segment later */
		assert_true(put_or_wait(&r, 20000, 3, 1000));
	for (int i = 0; i < 120; i++)
		if (i != 7)
			finish(&r, &r.put.m[i]);
	for (int round = 0; round < 4; round++) {
		n = r.put.count;
		for (size_t i = n; i < n + 600; i++) {
			assert_true(put_or_wait(&r, 20000, 3, 1000));
			finish(&r, &r.put.m[i]);
			turn(&r);
		}
		rig_settle(&r);
		assert_true(rig_files(&r, ".seg") <= 11);
		reopen(&r, 0);
		assert_int_equal(r.recovery.corrupt_position, UINT64_MAX);
		assert_int_equal(r.found.count, 1); /* the dead letter, and nothing else */
		assert_int_equal(r.found.m[0].position, r.put.m[7].position);
		assert_int_equal(r.found.m[0].done, 2);
		rig_check_payload(&r, &r.put.m[7]);
		pin_pending(&r);
	}
	assert_true(rig_outcome(&r, &r.put.m[7], 0, MR_RESULT_DISCARDED));
	rig_settle(&r);
	assert_true(rig_files(&r, ".seg") <= 8);
	reopen(&r, 0);
	assert_int_equal(r.found.count, 0);
	rig_free(&r);
}

static void retention_keeps_by_time_and_by_size(void **state)
{
	struct rig r;
	size_t files;

	rig_init(&r, 3);
	r.cfg.c.retain_ns = 100ull * 1000000000;
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 100; i++) {
		assert_true(put_or_wait(&r, 100000, 1, 1000));
		finish(&r, &r.put.m[i]);
	}
	rig_settle(&r);
	files = rig_files(&r, ".seg");
	assert_true(files >= 12); /* ten full ones are kept */
	rig_check_payload(&r, &r.put.m[0]);
	r.io.realtime_ns += 101ull * 1000000000;
	rig_settle(&r);
	assert_true(rig_files(&r, ".seg") <= 6); /* current, next, and up to four spares */
	assert_int_equal(journal_read_sync(r.j, r.put.m[0].position, r.buf, MIB), -ENOENT);
	r.cfg.c.retain_bytes = 3 * MIB;
	for (int i = 100; i < 200; i++) {
		assert_true(put_or_wait(&r, 100000, 1, 1000));
		finish(&r, &r.put.m[i]);
	}
	rig_settle(&r);
	assert_true(rig_files(&r, ".seg") <= 10);
	rig_free(&r);
}

static bool no_space(void *arg, const struct io_sync_request *r)
{
	return r->kind == IO_SYNC_WRITE && r->bytes == MIB; /* only the making of spares writes this much here */
}

static void a_full_disk_refuses_messages_but_not_outcomes(void **state)
{
	struct rig r;
	size_t n;

	rig_init(&r, 4);
	assert_int_equal(rig_open(&r, false), 0);
	r.io.error = ENOSPC;
	r.io.refuse = no_space;
	while (put_or_wait(&r, 5000, 3, 200))
		assert_true(r.put.count < 2000);
	assert_int_equal(journal_room(r.j, 5000, 2), JOURNAL_FULL);
	assert_true(r.io.errors > 0);
	assert_false(journal_failed(r.j));
	n = r.put.count;
	for (size_t i = 0; i < n; i++)
		finish(&r, &r.put.m[i]);
	r.io.refuse = NULL;
	assert_true(put_or_wait(&r, 5000, 3, 1000));
	assert_int_equal(journal_room(r.j, 5000, 2), JOURNAL_ROOM);
	reopen(&r, 0);
	assert_int_equal(r.found.count, 1);
	rig_free(&r);
}

static void too_little_free_space_refuses_at_once(void **state)
{
	struct rig r;

	rig_init(&r, 5);
	assert_int_equal(rig_open(&r, false), 0);
	assert_true(put_or_wait(&r, 500, 1, 10));
	r.cfg.c.disk_free_bytes_min = 1ull << 60;
	for (int i = 0; i < 200; i++)
		turn(&r);
	assert_int_equal(journal_room(r.j, 500, 1), JOURNAL_FULL);
	finish(&r, &r.put.m[0]);
	r.cfg.c.disk_free_bytes_min = 0;
	for (int i = 0; i < 200; i++)
		turn(&r);
	assert_int_equal(journal_room(r.j, 500, 1), JOURNAL_ROOM);
	rig_free(&r);
}

static void failed_writes_are_tried_again(void **state)
{
	struct rig r;

	rig_init(&r, 6);
	assert_int_equal(rig_open(&r, false), 0);
	r.io.error = EIO;
	r.io.error_one_in = 4;
	for (int i = 0; i < 200; i++) {
		assert_true(put_or_wait(&r, 20000, 3, 1000));
		turn(&r);
	}
	rig_settle(&r);
	assert_true(r.io.errors > 10);
	assert_false(journal_failed(r.j));
	r.io.error_one_in = 0;
	reopen(&r, 0);
	assert_int_equal(r.found.count, 200);
	for (int i = 0; i < 200; i++)
		rig_check_payload(&r, &r.put.m[i]);
	rig_free(&r);
}

static void a_dead_disk_is_said_to_be_dead(void **state)
{
	struct rig r;
	uint64_t durable;

	rig_init(&r, 7);
	assert_int_equal(rig_open(&r, false), 0);
	rig_settle(&r);
	durable = journal_durable(r.j);
	r.io.error = EIO;
	r.io.error_one_in = 1;
	assert_true(put_or_wait(&r, 2000, 3, 10));
	for (int i = 0; i < 1000 && !journal_failed(r.j); i++)
		turn(&r);
	assert_true(journal_failed(r.j));
	assert_int_equal(journal_durable(r.j), durable);
	assert_int_equal(journal_room(r.j, 1, 1), JOURNAL_FULL);
	rig_free(&r);
}

static void names_are_translated_to_the_present_configuration(void **state)
{
	struct rig r;

	rig_init(&r, 8);
	assert_int_equal(rig_open(&r, false), 0);
	assert_true(put_or_wait(&r, 500, 0xf, 10));                        /* to a b c d */
	assert_true(rig_outcome(&r, &r.put.m[0], 1, MR_RESULT_DELIVERED)); /* b */
	rig_config_set(&r.cfg, "d x a");
	assert_int_equal(journal_set_config(r.j, &r.cfg.c), 0);
	assert_true(put_or_wait(&r, 500, 3, 10));                          /* to d x */
	assert_true(rig_outcome(&r, &r.put.m[1], 1, MR_RESULT_DELIVERED)); /* x */
	rig_settle(&r);
	rig_close(&r);
	rig_config_set(&r.cfg, "x c d e");
	strcpy(r.cfg.listeners[0].name, "other");
	strcpy(r.cfg.listeners[1].name, "in0");
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 2);
	assert_int_equal(r.found.m[0].dests[0], UINT16_MAX); /* a is gone */
	assert_int_equal(r.found.m[0].dests[1], 1);          /* b too, but it was delivered: not told of */
	assert_int_equal(r.found.m[0].dests[2], 2);
	assert_int_equal(r.found.m[1].dests[0], 2);
	assert_int_equal(r.found.m[1].dests[1], 0);
	assert_int_equal(r.found.m[1].done, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(r.found.m[i].listener, r.put.m[i].listener ? UINT16_MAX : 1);
	/* b finished, c and d too: a alone keeps the message, though nobody is called a any more */
	r.put.m[0].dests[2] = 1;
	r.put.m[0].dests[3] = 2;
	pin_pending(&r);
	assert_true(rig_outcome(&r, &r.put.m[0], 2, MR_RESULT_DELIVERED));
	assert_true(rig_outcome(&r, &r.put.m[0], 3, MR_RESULT_DELIVERED));
	reopen(&r, 0);
	assert_non_null(book_find(&r.found, r.put.m[0].position));
	rig_close(&r);
	rig_config_set(&r.cfg, "a b c d");
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.m[0].dests[0], 0); /* a is back, and with it the message's way */
	assert_int_equal(r.found.m[0].done, 0xe);
	rig_free(&r);
}

static void dead_letters_and_their_return_are_kept(void **state)
{
	struct rig r;
	struct mr_rec_outcome o = {.result = MR_RESULT_DISCARDED};

	rig_init(&r, 9);
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 3; i++) {
		assert_true(put_or_wait(&r, 500, 1, 10));
		assert_true(rig_outcome(&r, &r.put.m[i], 0, MR_RESULT_DEAD));
	}
	assert_true(rig_outcome(&r, &r.put.m[1], 0, MR_RESULT_REQUEUED));
	o.position = r.put.m[2].position;
	assert_true(journal_append_outcomes(r.j, &o, 1) > 0);
	reopen(&r, 0);
	assert_int_equal(r.found.count, 2);
	assert_int_equal(r.found.m[0].position, r.put.m[0].position);
	assert_int_equal(r.found.m[1].position, r.put.m[1].position);
	assert_int_equal(r.found.outcomes, 3);
	rig_free(&r);
}

static void the_duplicate_window_tells_finished_messages_too(void **state)
{
	struct rig r;

	rig_init(&r, 10);
	r.cfg.c.duplicate_window_ns = 50ull * 1000000000;
	assert_int_equal(rig_open(&r, false), 0);
	assert_true(put_or_wait(&r, 500, 1, 10));
	finish(&r, &r.put.m[0]);
	r.io.realtime_ns += 60ull * 1000000000;
	assert_true(put_or_wait(&r, 500, 1, 10));
	finish(&r, &r.put.m[1]);
	reopen(&r, 0);
	assert_int_equal(r.found.count, 1);
	assert_int_equal(r.found.m[0].position, r.put.m[1].position);
	assert_int_equal(r.found.m[0].done, 1);
	rig_free(&r);
}

static void an_orphan_takes_outcomes_and_nothing_else(void **state)
{
	struct rig r;

	rig_init(&r, 11);
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 20; i++)
		assert_true(put_or_wait(&r, 30000, 3, 100));
	rig_settle(&r);
	rig_close(&r);
	assert_int_equal(rig_open(&r, true), 0);
	assert_int_equal(r.found.count, 20);
	assert_int_equal(journal_room(r.j, 10, 1), JOURNAL_FULL);
	pin_pending(&r);
	for (int i = 0; i < 19; i++)
		finish(&r, &r.put.m[i]);
	rig_settle(&r);
	rig_close(&r);
	assert_int_equal(rig_open(&r, true), 0);
	assert_int_equal(r.found.count, 1);
	rig_free(&r);
}

static void fill(struct rig *r, int messages, int finished)
{
	for (int i = 0; i < messages; i++) {
		assert_true(put_or_wait(r, 20000, 3, 1000));
		if (i < finished)
			finish(r, &r->put.m[i]);
	}
}

static void an_index_saves_reading_and_is_never_needed(void **state)
{
	struct rig r;
	uint64_t with, without;
	DIR *d;
	struct dirent *e;

	rig_init(&r, 12);
	assert_int_equal(rig_open(&r, false), 0);
	fill(&r, 400, 300);
	reopen(&r, 0);
	assert_int_equal(r.found.count, 100);
	with = r.recovery.bytes_read;
	assert_true(rig_files(&r, ".idx") >= 6);
	rig_close(&r);
	d = opendir(r.folder);
	while ((e = readdir(d)))
		if (strstr(e->d_name, ".idx"))
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	closedir(d);
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 100);
	without = r.recovery.bytes_read;
	assert_true(without > with + 6 * MIB);
	rig_close(&r);
	assert_int_equal(rig_open(&r, false), 0); /* they have been written anew */
	assert_int_equal(r.found.count, 100);
	assert_int_equal(r.recovery.bytes_read, with);
	rig_free(&r);
}

static void a_damaged_index_is_not_believed(void **state)
{
	struct rig r;
	DIR *d;
	struct dirent *e;

	rig_init(&r, 13);
	assert_int_equal(rig_open(&r, false), 0);
	fill(&r, 400, 300);
	rig_settle(&r);
	rig_close(&r);
	d = opendir(r.folder);
	while ((e = readdir(d))) {
		int fd;
		char c;

		if (strlen(e->d_name) != 20 || strcmp(e->d_name + 16, ".idx"))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDWR);
		assert_int_equal(pread(fd, &c, 1, 300), 1);
		c ^= 1;
		assert_int_equal(pwrite(fd, &c, 1, 300), 1);
		close(fd);
	}
	closedir(d);
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 100);
	rig_free(&r);
}

static void the_state_file_only_saves_time(void **state)
{
	struct rig r;
	char path[128];
	uint64_t with;
	struct stat st;

	rig_init(&r, 14);
	assert_int_equal(rig_open(&r, false), 0);
	fill(&r, 400, 400);
	assert_true(put_or_wait(&r, 20000, 3, 1000));
	for (int i = 0; i < 400; i++)
		turn(&r);
	rig_settle(&r);
	rig_close(&r);
	rig_path(&r, "state", path);
	assert_int_equal(stat(path, &st), 0);
	r.io.realtime_ns =
	    4000000000ull * 1000000000ull; /* the files are old: only the state keeps them from being read */
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 1);
	with = r.recovery.bytes_read;
	rig_close(&r);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 1);
	assert_true(r.recovery.bytes_read > with);
	rig_free(&r);
}

static void a_missing_segment_is_reported_and_the_rest_is_taken_up(void **state)
{
	struct rig r;
	char name[32], path[128];
	uint64_t sequence;

	rig_init(&r, 15);
	assert_int_equal(rig_open(&r, false), 0);
	fill(&r, 300, 0);
	rig_settle(&r);
	rig_close(&r);
	sequence = r.put.m[150].position / MIB;
	mr_segment_name(sequence, name);
	rig_path(&r, name, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rig_open(&r, false), -EUCLEAN);
	assert_int_equal(r.recovery.corrupt_position, sequence * MIB);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(!book_find(&r.found, r.put.m[i].position), r.put.m[i].position / MIB == sequence);
	assert_int_equal(journal_read_sync(r.j, r.put.m[150].position, r.buf, MIB), -ENOENT);
	rig_free(&r);
}

static void readers_follow_a_living_writer(void **state)
{
	struct rig r;
	struct mr_reader *reader;
	struct mr_rec rec;
	struct mr_rec_message m;
	uint32_t bytes;
	char *b = malloc(MIB), *want = malloc(MIB);

	rig_init(&r, 16);
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(mr_reader_open(r.folder, journal_tail_fd(r.j), &reader), 0);
	for (int i = 0; i < 200; i++) {
		assert_true(put_or_wait(&r, 40000 + (uint32_t)i, 1, 1000));
		turn(&r);
		for (int back = 0; back < 3; back++) {
			const struct book_message *x = &r.put.m[io_sync_random(&r.io, (uint64_t)i + 1)];

			assert_int_equal(mr_reader_message(reader, x->position, b, MIB, &bytes), 0);
			assert_int_equal(bytes, x->bytes);
			rig_payload(x->hash, want, bytes);
			assert_memory_equal(b, want, bytes);
			assert_int_equal(mr_reader_head(reader, x->position, &rec, &m), 0);
			assert_int_equal(rec.time_ns, x->time_ns);
			assert_int_equal(m.key, x->key);
			assert_int_equal(mr_reader_message(reader, x->position, b, 100, &bytes), -ENOSPC);
			assert_int_equal(bytes, x->bytes);
		}
	}
	assert_true(mr_reader_message(reader, r.put.m[3].position + 8, b, MIB, &bytes) < 0);
	assert_int_equal(mr_reader_message(reader, 1000 * (uint64_t)MIB + 4096, b, MIB, &bytes), -ENOENT);
	mr_reader_close(reader);
	rig_settle(&r);
	rig_close(&r);
	assert_int_equal(mr_reader_open(r.folder, -1, &reader), 0); /* and a dead one's */
	for (int i = 0; i < 200; i++)
		assert_int_equal(mr_reader_message(reader, r.put.m[i].position, b, MIB, &bytes), 0);
	mr_reader_close(reader);
	free(b);
	free(want);
	rig_free(&r);
}

static void a_reader_is_never_given_another_message(void **state)
{
	struct rig r;
	struct mr_reader *reader;
	uint32_t bytes, gone = 0;
	char *b = malloc(MIB), *want = malloc(MIB);

	rig_init(&r, 17);
	r.cfg.c.retain_ns = 0;
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(mr_reader_open(r.folder, -1, &reader), 0);
	for (int i = 0; i < 300; i++) {
		assert_true(put_or_wait(&r, 40000, 1, 1000));
		while (journal_durable(r.j) < r.put.m[i].after)
			turn(&r);
		assert_int_equal(mr_reader_message(reader, r.put.m[i].position, b, MIB, &bytes),
		                 0); /* keeps the file open */
		finish(&r, &r.put.m[i]);
	}
	for (int i = 0; i < 300; i++) {
		int err = mr_reader_message(reader, r.put.m[i].position, b, MIB, &bytes);

		rig_payload(r.put.m[i].hash, want, 40000);
		if (!err) /* its file is a spare that was not used yet */
			assert_memory_equal(b, want, 40000);
		else
			assert_true(err == -ENOENT || err == -EBADMSG);
		gone += err != 0;
	}
	assert_true(gone > 20);
	mr_reader_close(reader);
	free(b);
	free(want);
	rig_free(&r);
}

static void the_weaker_commit_modes(void **state)
{
	for (uint8_t commit = MR_COMMIT_OS; commit <= MR_COMMIT_NONE; commit++) {
		struct rig r;

		rig_init(&r, 18);
		r.cfg.c.commit = commit;
		assert_int_equal(rig_open(&r, false), 0);
		rig_settle(&r);
		assert_true(put_or_wait(&r, 40000, 1, 1000));
		assert_int_equal(journal_durable(r.j) >= r.put.m[0].after, commit == MR_COMMIT_NONE);
		fill(&r, 100, 50);
		reopen(&r, 0);
		assert_int_equal(r.found.count, 51);
		rig_free(&r);
	}
}

static void a_million_pending_messages_come_back(void **state)
{
	struct rig r;
	size_t n = 1000000;

	rig_init(&r, 19);
	r.cfg.c.segment_bytes = r.cfg.c.tail_bytes = 64 * MIB;
	assert_int_equal(rig_open(&r, false), 0);
	for (size_t i = 0; i < n; i++) {
		assert_true(put_or_wait(&r, 100, 5, 100000));
		if (i % 64 == 0)
			rig_turn(&r);
	}
	reopen(&r, 0);
	assert_int_equal(r.found.count, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(r.found.m[i].position, r.put.m[i].position);
	print_message("recovered in %llu ms, read %llu MB\n", (unsigned long long)r.recovery.duration_ns / 1000000,
	              (unsigned long long)r.recovery.bytes_read / 1000000);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(done_segments_are_recycled_without_growing),
	    cmocka_unit_test(an_unfinished_message_is_never_recycled),
	    cmocka_unit_test(a_dead_letter_keeps_its_own_segment_only),
	    cmocka_unit_test(retention_keeps_by_time_and_by_size),
	    cmocka_unit_test(a_full_disk_refuses_messages_but_not_outcomes),
	    cmocka_unit_test(too_little_free_space_refuses_at_once),
	    cmocka_unit_test(failed_writes_are_tried_again),
	    cmocka_unit_test(a_dead_disk_is_said_to_be_dead),
	    cmocka_unit_test(names_are_translated_to_the_present_configuration),
	    cmocka_unit_test(dead_letters_and_their_return_are_kept),
	    cmocka_unit_test(the_duplicate_window_tells_finished_messages_too),
	    cmocka_unit_test(an_orphan_takes_outcomes_and_nothing_else),
	    cmocka_unit_test(an_index_saves_reading_and_is_never_needed),
	    cmocka_unit_test(a_damaged_index_is_not_believed),
	    cmocka_unit_test(the_state_file_only_saves_time),
	    cmocka_unit_test(a_missing_segment_is_reported_and_the_rest_is_taken_up),
	    cmocka_unit_test(readers_follow_a_living_writer),
	    cmocka_unit_test(a_reader_is_never_given_another_message),
	    cmocka_unit_test(the_weaker_commit_modes),
	    cmocka_unit_test(a_million_pending_messages_come_back),
	};

	return cmocka_run_group_tests_name("journal segments", tests, NULL, NULL);
}
