/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_crash.c - power cuts at any moment, and damage to any byte afterwards.
 *
 * What was durable is found again, what was never put in is never told, and damage is called damage. Seeded: a failure
 * prints its seed. MILLRACE_TEST_ROUNDS multiplies the number of cases.
 */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t rounds(uint64_t n)
{
	const char *e = getenv("MILLRACE_TEST_ROUNDS");

	return e ? n * strtoull(e, NULL, 10) : n;
}

static uint64_t all_of(const struct book_message *m)
{
	return m->dest_count ? ~0ull >> (64 - m->dest_count) : 0;
}

static void work(struct rig *r, int steps)
{
	for (int i = 0; i < steps; i++) {
		uint64_t what = io_sync_random(&r->io, 10);

		if (what < 5) {
			rig_put(r, (uint32_t)io_sync_random(&r->io, io_sync_random(&r->io, 20) ? 3000 : 150000),
			        io_sync_random(&r->io, 16));
		} else if (what < 8 && r->put.count) {
			struct book_message *m = &r->put.m[io_sync_random(&r->io, r->put.count)];

			for (uint32_t k = 0; k < m->dest_count; k++)
				if (!(m->done >> k & 1))
					rig_outcome(r, m, k,
					            io_sync_random(&r->io, 9) ? MR_RESULT_DELIVERED : MR_RESULT_DEAD);
		} else {
			r->io.now_ns += io_sync_random(&r->io, 30000000);
			rig_turn(r);
		}
	}
}

/* After a power cut: compare what recovery told with the book, and bring the book up to date. */
static void compare_after_crash(struct rig *r, uint64_t durable)
{
	size_t kept = 0, told = 0;

	assert_int_equal(r->recovery.corrupt_position, UINT64_MAX);
	assert_true(r->recovery.end >= durable || journal_appended(r->j) >= durable);
	for (size_t i = 0; i < r->put.count; i++) {
		struct book_message *m = &r->put.m[i], *f = book_find(&r->found, m->position);
		uint64_t sure = 0;

		for (uint32_t k = 0; k < m->dest_count; k++)
			if (m->done >> k & 1 && m->done_after[k] <= durable)
				sure |= 1ull << k;
		if (!f) {
			bool lost = m->after > durable;

			assert_true(lost || m->done == all_of(m));
			if (lost && m->position >= r->recovery.end)
				continue; /* its place may be taken by another */
			m->done = all_of(m);
		} else {
			told++;
			assert_int_equal(f->bytes, m->bytes);
			assert_int_equal(f->key, m->key);
			assert_int_equal(f->dest_count, m->dest_count);
			assert_memory_equal(f->dests, m->dests, m->dest_count * sizeof(*m->dests));
			assert_int_equal(f->done & sure, sure);  /* nothing durable is forgotten */
			assert_int_equal(f->done & ~m->done, 0); /* nothing is made up */
			rig_check_payload(r, m);
			m->done = f->done;
			for (uint32_t k = 0; k < m->dest_count; k++)
				if (!(m->done >> k & 1))
					journal_pin(r->j, m->position);
		}
		for (uint32_t k = 0; k < 8; k++)
			m->done_after[k] = 0;
		m->after = 0;
		r->put.m[kept++] = *m;
	}
	assert_int_equal(told, r->found.count); /* nothing is told that was not put in */
	r->put.count = kept;
}

static void power_cuts_lose_nothing_durable(void **state)
{
	for (uint64_t seed = 1; seed <= rounds(40); seed++) {
		struct rig r;

		print_message("seed %llu\r", (unsigned long long)seed);
		rig_init(&r, 1000 + seed);
		r.io.shuffle = true;
		r.io.short_writes = seed & 1 ? 7 : 0;
		r.cfg.c.tail_bytes = seed & 2 ? 8 * MIB : MIB;
		r.cfg.c.retain_ns = seed & 4 ? 0 : 3600ull * 1000000000;
		assert_int_equal(rig_open(&r, false), 0);
		for (int crash = 0; crash < 12; crash++) {
			uint64_t durable;

			work(&r, (int)io_sync_random(&r.io, 400));
			durable = journal_durable(r.j);
			io_sync_crash(&r.io);
			rig_close(&r);
			assert_int_equal(rig_open(&r, false), 0);
			compare_after_crash(&r, durable);
		}
		rig_free(&r);
	}
}

/* A crash right after a crash, before anything new is written: the epochs must still tell old from new. */
static void crashes_in_a_row(void **state)
{
	for (uint64_t seed = 1; seed <= rounds(20); seed++) {
		struct rig r;

		rig_init(&r, 2000 + seed);
		r.io.shuffle = true;
		assert_int_equal(rig_open(&r, false), 0);
		for (int crash = 0; crash < 30; crash++) {
			uint64_t durable;

			for (uint64_t i = io_sync_random(&r.io, 20); i; i--)
				rig_put(&r, (uint32_t)io_sync_random(&r.io, 60000), 3);
			journal_flush(r.j, r.io.now_ns);
			for (uint64_t i = io_sync_random(&r.io, 3); i; i--)
				rig_turn(&r);
			durable = journal_durable(r.j);
			io_sync_crash(&r.io);
			rig_close(&r);
			assert_int_equal(rig_open(&r, false), 0);
			compare_after_crash(&r, durable);
		}
		rig_free(&r);
	}
}

/* Damage. */

struct harm {
	char name[80];
	uint64_t from, to; /* positions; both 0 if it is no segment file */
};

static size_t pick_file(const struct rig *r, struct io *io, char names[][80], size_t max)
{
	DIR *d = opendir(r->folder);
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) && n < max)
		if (e->d_name[0] != '.' && strncmp(e->d_name, "spare", 5))
			snprintf(names[n++], 80, "%.79s", e->d_name);
	closedir(d);
	assert_true(n > 0);
	return io_sync_random(io, n);
}

static struct harm do_harm(struct rig *r)
{
	char names[64][80], path[128], b[20000];
	struct io *io = &r->io;
	size_t i = pick_file(r, io, names, 64);
	struct harm h = {0};
	uint64_t size, at, bytes = 1 + io_sync_random(io, io_sync_random(io, 2) ? 16 : sizeof(b)), sequence;
	struct stat st;
	int fd;

	strcpy(h.name, names[i]);
	rig_path(r, h.name, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	size = (uint64_t)st.st_size;
	if (!size) {
		close(fd);
		return h;
	}
	at = io_sync_random(io, size);
	if (io_sync_random(io, 3) == 0) /* where the records are */
		at = io_sync_random(io, size < 60000 ? size : 60000);
	if (bytes > size - at)
		bytes = size - at;
	switch (io_sync_random(io, 5)) {
	case 0: /* one bit */
		bytes = 1;
		assert_int_equal(pread(fd, b, 1, (off_t)at), 1);
		b[0] ^= (char)(1 << io_sync_random(io, 8));
		assert_int_equal(pwrite(fd, b, 1, (off_t)at), 1);
		break;
	case 1: /* zeros */
		memset(b, 0, bytes);
		assert_int_equal(pwrite(fd, b, bytes, (off_t)at), bytes);
		break;
	case 2: /* garbage */
		for (uint64_t k = 0; k < bytes; k++)
			b[k] = (char)io_random(io);
		assert_int_equal(pwrite(fd, b, bytes, (off_t)at), bytes);
		break;
	case 3: /* cut off */
		assert_int_equal(ftruncate(fd, (off_t)at), 0);
		bytes = size - at;
		break;
	default: /* one block is that of another place */
		at &= ~4095ull;
		bytes = size - at < 4096 ? size - at : 4096;
		assert_true(pread(fd, b, 4096, (off_t)(io_sync_random(io, size) & ~4095ull)) >= 0);
		assert_int_equal(pwrite(fd, b, bytes, (off_t)at), bytes);
		break;
	}
	close(fd);
	if (strstr(h.name, ".seg")) {
		sequence = strtoull(h.name, NULL, 16);
		h.from = sequence * r->cfg.c.segment_bytes + at;
		h.to = h.from + bytes;
	}
	return h;
}

static bool overlaps(const struct harm *h, uint64_t from, uint64_t to)
{
	return h->to > from && h->from < to;
}

/* What is not under the damage must be there, unless the damage took away the proof that it was ever acknowledged. */
static void compare_after_damage(struct rig *r, const struct harm *h, uint64_t end, int err)
{
	bool proof = !overlaps(h, end - 2 * MR_JOURNAL_BLOCK, end), lost = false;
	size_t told = 0;

	for (size_t i = 0; i < r->put.count; i++) {
		struct book_message *m = &r->put.m[i], *f = book_find(&r->found, m->position);
		bool hit = overlaps(h, m->position, m->after);

		if (f) {
			told++;
			assert_int_equal(f->bytes, m->bytes);
			assert_int_equal(f->key, m->key);
			assert_int_equal(f->id_hash, m->id_hash);
			assert_int_equal(f->dest_count, m->dest_count);
			assert_int_equal(f->done & ~m->done, 0);
			if (!hit)
				rig_check_payload(r, m);
		} else if (m->done != all_of(m)) {
			if (!hit && m->after <= h->from)
				fail_msg("a message before the damage is lost (%s)", h->name);
			if (!hit && proof)
				fail_msg("a message behind the damage is lost (%s)", h->name);
			lost = true;
		}
	}
	assert_int_equal(told, r->found.count);
	if (lost && proof)
		assert_int_equal(err, -EUCLEAN);
}

static void one_damage(uint64_t seed)
{
	struct rig r;
	struct harm h;
	uint64_t end;
	int err;

	rig_init(&r, 100000 + seed);
	r.cfg.c.tail_bytes = 2 * MIB;
	assert_int_equal(rig_open(&r, false), 0);
	for (int crash = 0; crash < 2; crash++) {
		uint64_t durable;

		r.io.shuffle = true;
		work(&r, 100 + (int)io_sync_random(&r.io, 200));
		durable = journal_durable(r.j);
		io_sync_crash(&r.io);
		rig_close(&r);
		assert_int_equal(rig_open(&r, false), 0);
		compare_after_crash(&r, durable);
	}
	r.io.shuffle = false;
	work(&r, 200);
	rig_settle(&r);
	for (size_t i = 0; i < r.put.count; i++) /* their length is known again */
		if (!r.put.m[i].after)
			r.put.m[i].after =
			    r.put.m[i].position + mr_rec_payload_offset(r.put.m[i].dest_count) + r.put.m[i].bytes;
	end = journal_appended(r.j) + MR_JOURNAL_BLOCK; /* the last word is said when it closes */
	rig_close(&r);
	h = do_harm(&r);
	err = rig_open(&r, false);
	if (err != -EPROTO) { /* the header of the only segment */
		if (err && err != -EUCLEAN)
			fail_msg("seed %llu: opening gives %d (%s)", (unsigned long long)seed, err, h.name);
		compare_after_damage(&r, &h, end, err);
		for (size_t i = 0; i < r.found.count; i++) /* and it goes on */
			journal_pin(r.j, r.found.m[i].position);
		r.put.count = 0;
		assert_true(rig_put(&r, 1000, 3));
		rig_settle(&r);
		rig_close(&r);
		err = rig_open(&r, false);
		assert_true(!err || err == -EUCLEAN);
		assert_non_null(book_find(&r.found, r.put.m[0].position));
	}
	rig_free(&r);
}

static void damage_anywhere_is_found_and_contained(void **state)
{
	for (uint64_t seed = 1; seed <= rounds(150); seed++) {
		print_message("seed %llu\r", (unsigned long long)seed);
		one_damage(seed);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(power_cuts_lose_nothing_durable),
	    cmocka_unit_test(crashes_in_a_row),
	    cmocka_unit_test(damage_anywhere_is_found_and_contained),
	};

	if (!access("/dev/shm", W_OK)) /* thousands of cases: the crashes are ours, the disk need not be one */
		setenv("TMPDIR", "/dev/shm", 0);
	if (argc > 1) { /* one damage case again, by its seed */
		one_damage(strtoull(argv[1], NULL, 10));
		return 0;
	}
	return cmocka_run_group_tests_name("journal crash", tests, NULL, NULL);
}
