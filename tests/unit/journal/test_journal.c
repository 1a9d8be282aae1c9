/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_journal.c - what the pipeline relies on: what was put in is there, durable means durable, in order, at any age.
 *
 * Each test plays a worker's core over a disk that it commands (io_sync.c).
 */
#include "rig.h"

#include <errno.h>
#include <unistd.h>

static void crc_is_the_published_one(void **state)
{
	char b[300];
	uint32_t crc;

	assert_int_equal(mr_crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(mr_crc32c_portable(0, "123456789", 9), 0xe3069283u);
	crc = mr_crc32c(0, "1234", 4);
	assert_int_equal(mr_crc32c(crc, "56789", 5), 0xe3069283u);
	memset(b, 0xff, 32);
	assert_int_equal(mr_crc32c(0, b, 32), 0x62a8ab43u); /* RFC 3720 B.4 */
}

static void crc_fast_equals_slow_at_every_length(void **state)
{
	char *b = malloc(9000);

	rig_payload(7, b, 8992);
	for (uint32_t n = 0; n < 8900; n += n < 400 ? 1 : 37)
		for (uint32_t at = 0; at < 3; at++)
			assert_int_equal(mr_crc32c(at, b + at, n), mr_crc32c_portable(at, b + at, n));
	free(b);
}

static void a_new_journal_is_empty_and_ready(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	assert_int_equal(rig_open(&r, false), 0);
	assert_int_equal(r.found.count, 0);
	assert_int_equal(journal_room(r.j, 1000, 2), JOURNAL_ROOM);
	assert_int_equal(journal_durable(r.j), journal_appended(r.j));
	rig_settle(&r);
	assert_true(rig_files(&r, ".seg") >= 4); /* current, next and two spares */
	rig_free(&r);
}

static void durable_comes_after_the_write_and_not_before(void **state)
{
	struct rig r;

	rig_init(&r, 2);
	assert_int_equal(rig_open(&r, false), 0);
	rig_settle(&r);
	assert_true(rig_put(&r, 500, 1));
	assert_true(journal_durable(r.j) < r.put.m[0].after);
	journal_flush(r.j, r.io.now_ns);
	assert_true(journal_durable(r.j) < r.put.m[0].after);
	assert_false(journal_idle(r.j));
	rig_turn(&r);
	assert_true(journal_durable(r.j) >= r.put.m[0].after);
	assert_non_null(journal_record(r.j, r.put.m[0].position));
	rig_check_payload(&r, &r.put.m[0]);
	rig_free(&r);
}

static void a_gap_keeps_what_follows_from_being_durable(void **state)
{
	struct rig r;
	struct io_sync_request first;

	rig_init(&r, 3);
	assert_int_equal(rig_open(&r, false), 0);
	rig_settle(&r);
	assert_true(rig_put(&r, 100, 1));
	journal_flush(r.j, r.io.now_ns);
	assert_int_equal(r.io.pending_count, 1);
	first = r.io.pending[0];
	r.io.pending_count = 0; /* the disk is slow with this one */
	for (int i = 0; i < 20; i++)
		assert_true(rig_put(&r, 2000, 1));
	journal_flush(r.j, r.io.now_ns);
	assert_int_equal(r.io.pending_count, 1);
	rig_turn(&r);
	assert_true(journal_durable(r.j) < r.put.m[0].after);
	r.io.pending[r.io.pending_count++] = first;
	rig_turn(&r);
	assert_true(journal_durable(r.j) >= r.put.m[20].after);
	rig_free(&r);
}

static void group_commit_gathers_while_a_write_is_in_flight(void **state)
{
	struct rig r;
	uint64_t writes;

	rig_init(&r, 4);
	assert_int_equal(rig_open(&r, false), 0);
	rig_settle(&r);
	writes = r.io.writes;
	for (int i = 0; i < 10; i++) {
		assert_true(rig_put(&r, 300, 1));
		journal_flush(r.j, r.io.now_ns);
	}
	assert_int_equal(r.io.writes - writes, 1);
	rig_turn(&r); /* the first is done; the others go together */
	assert_int_equal(r.io.writes - writes, 2);
	rig_turn(&r);
	assert_true(journal_durable(r.j) >= r.put.m[9].after);
	rig_free(&r);
}

static uint32_t random_size(struct rig *r, uint32_t max)
{
	switch (io_sync_random(&r->io, 8)) {
	case 0:
		return (uint32_t)io_sync_random(&r->io, max);
	case 1:
		return (uint32_t)io_sync_random(&r->io, 64);
	case 2:
		return 4096 - 72 + (uint32_t)io_sync_random(&r->io, 60); /* around a block's end */
	default:
		return (uint32_t)io_sync_random(&r->io, 4000);
	}
}

/* Puts @n messages of up to @max bytes, finishing about @done_percent of them at each destination. */
static void busy(struct rig *r, int n, uint32_t max, uint32_t done_percent)
{
	for (int i = 0; i < n; i++) {
		uint32_t bytes = random_size(r, max);

		for (int tries = 0; !rig_put(r, bytes, io_sync_random(&r->io, 16)); tries++) {
			assert_true(tries < 100000);
			r->io.now_ns += 10000000;
			rig_turn(r);
		}
		if (io_sync_random(&r->io, 100) < done_percent && r->put.count) {
			struct book_message *m = &r->put.m[io_sync_random(&r->io, r->put.count)];

			for (uint32_t k = 0; k < m->dest_count; k++)
				if (!(m->done >> k & 1))
					rig_outcome(r, m, k, MR_RESULT_DELIVERED);
		}
		if (!io_sync_random(&r->io, 5))
			rig_turn(r);
	}
}

/* What recovery told must be exactly what is not finished. */
static void check_found(struct rig *r)
{
	size_t pending = 0;

	for (size_t i = 0; i < r->put.count; i++) {
		struct book_message *m = &r->put.m[i], *f = book_find(&r->found, m->position);
		uint64_t all = m->dest_count ? ~0ull >> (64 - m->dest_count) : 0;

		if ((m->done & all) == all) {
			assert_null(f);
			continue;
		}
		pending++;
		assert_non_null(f);
		assert_int_equal(f->bytes, m->bytes);
		assert_int_equal(f->listener, m->listener);
		assert_int_equal(f->key, m->key);
		assert_int_equal(f->id_hash, m->id_hash);
		assert_int_equal(f->time_ns, m->time_ns);
		assert_int_equal(f->dest_count, m->dest_count);
		assert_memory_equal(f->dests, m->dests, m->dest_count * sizeof(*m->dests));
		assert_int_equal(f->done, m->done);
		rig_check_payload(r, m);
	}
	assert_int_equal(r->found.count, pending);
}

static void pin_found(struct rig *r)
{
	for (size_t i = 0; i < r->put.count; i++) {
		struct book_message *m = &r->put.m[i];

		for (uint32_t k = 0; k < m->dest_count; k++)
			if (!(m->done >> k & 1))
				journal_pin(r->j, m->position);
	}
}

static void put_in_is_found_again(void **state)
{
	for (uint64_t seed = 10; seed < 22; seed++) {
		struct rig r;

		rig_init(&r, seed);
		r.io.shuffle = seed & 1;
		r.io.short_writes = seed & 2 ? 5 : 0;
		r.cfg.c.tail_bytes = seed & 4 ? 4 * MIB : MIB;
		assert_int_equal(rig_open(&r, false), 0);
		for (int round = 0; round < 4; round++) {
			busy(&r, 400, 200000, round == 1 ? 0 : 60);
			rig_settle(&r);
			assert_true(journal_durable(r.j) == journal_appended(r.j));
			rig_close(&r);
			assert_int_equal(rig_open(&r, false), 0);
			assert_int_equal(r.recovery.corrupt_position, UINT64_MAX);
			check_found(&r);
			pin_found(&r);
		}
		rig_free(&r);
	}
}

static void large_messages(void **state)
{
	struct rig r;

	rig_init(&r, 30);
	r.cfg.c.segment_bytes = r.cfg.c.tail_bytes = 128 * MIB;
	assert_int_equal(rig_open(&r, false), 0);
	for (int i = 0; i < 8; i++) {
		for (int tries = 0; !rig_put(&r, 32 * MIB - (uint32_t)i * 1000, 3); tries++) {
			assert_true(tries < 10000);
			r.io.now_ns += 10000000;
			rig_turn(&r);
		}
	}
	rig_settle(&r);
	rig_close(&r);
	assert_int_equal(rig_open(&r, false), 0);
	check_found(&r);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crc_is_the_published_one),
	    cmocka_unit_test(crc_fast_equals_slow_at_every_length),
	    cmocka_unit_test(a_new_journal_is_empty_and_ready),
	    cmocka_unit_test(durable_comes_after_the_write_and_not_before),
	    cmocka_unit_test(a_gap_keeps_what_follows_from_being_durable),
	    cmocka_unit_test(group_commit_gathers_while_a_write_is_in_flight),
	    cmocka_unit_test(put_in_is_found_again),
	    cmocka_unit_test(large_messages),
	};

	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
