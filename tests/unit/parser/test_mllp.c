/* SPDX-License-Identifier: Apache-2.0 */
/* test_mllp.c - what a peer of the framer would notice: which bytes become a frame, whatever the split. */
#include "kernels.h"
#include "mllp.h"

#include <errno.h>
#include <stdlib.h>

static struct mllp_result next(const char *buf, uint32_t bytes)
{
	struct mllp_result r;

	mllp_next(buf, bytes, 0, &r);
	return r;
}

static void a_whole_frame_is_found(void **state)
{
	struct mllp_result r = next(TEXT("\vMSH|^~\\&\r\034\r\vnext"));

	assert_int_equal(r.status, MLLP_FRAME);
	assert_int_equal(r.frame_offset, 1);
	assert_int_equal(r.frame_bytes, 9);
	assert_int_equal(r.consumed, 12);
	assert_int_equal(r.inner_start, UINT32_MAX);
}

static void an_empty_block_is_a_frame_without_data(void **state)
{
	struct mllp_result r = next(TEXT("\v\034\r"));

	assert_int_equal(r.status, MLLP_FRAME);
	assert_int_equal(r.frame_bytes, 0);
	assert_int_equal(r.consumed, MLLP_OVERHEAD);
}

static void nothing_is_more(void **state)
{
	struct mllp_result r = next("", 0);

	assert_int_equal(r.status, MLLP_MORE);
	assert_int_equal(r.consumed, 0);
	assert_int_equal(r.scanned, 0);
}

static void junk_ends_where_a_frame_begins(void **state)
{
	struct mllp_result r = next(TEXT("\r\n\vX\034\r"));

	assert_int_equal(r.status, MLLP_JUNK);
	assert_int_equal(r.consumed, 2);
	r = next(TEXT("GET / HTTP/1.1\r\nHost: a.example.org, and more than a block of sixty-four bytes of it\r\n"));
	assert_int_equal(r.status, MLLP_JUNK);
	assert_int_equal(r.consumed, 86);
}

static void an_end_byte_without_cr_is_data(void **state)
{
	struct mllp_result r = next(TEXT("\va\034b\034\034\r"));

	assert_int_equal(r.status, MLLP_FRAME);
	assert_int_equal(r.frame_bytes, 4);
	assert_int_equal(r.consumed, 7);
}

static void a_second_start_inside_a_frame_is_reported(void **state)
{
	struct mllp_result r = next(TEXT("\vMSH|abandoned\vMSH|whole\r\034\r"));

	assert_int_equal(r.status, MLLP_FRAME);
	assert_int_equal(r.frame_bytes, 24);
	assert_int_equal(r.inner_start, 13);
	/* one that only follows the frame is not inside it */
	r = next(TEXT("\vMSH\034\r\vMSH\034\r"));
	assert_int_equal(r.frame_bytes, 3);
	assert_int_equal(r.inner_start, UINT32_MAX);
	r = next(TEXT("\v\vMSH\034\r"));
	assert_int_equal(r.inner_start, 0);
}

/* Frames with awkward bytes near the ends and around block borders. */
static uint32_t make_frame(char *buf, uint32_t data_bytes, uint32_t start_at, uint32_t end_at)
{
	memset(buf, 'x', data_bytes + 3);
	buf[0] = MLLP_SB;
	if (start_at < data_bytes)
		buf[1 + start_at] = MLLP_SB;
	if (end_at < data_bytes)
		buf[1 + end_at] = MLLP_EB;
	buf[data_bytes + 1] = MLLP_EB;
	buf[data_bytes + 2] = MLLP_CR;
	return data_bytes + 3;
}

static void every_split_gives_the_same_frame(void **state)
{
	char buf[256];

	for (uint32_t data = 0; data < 140; data += 1 + data / 7) {
		for (uint32_t piece = 1; piece < 70; piece++) {
			uint32_t start_at = (data * 31 + piece) % 150, end_at = (data * 17 + piece * 3) % 150;
			uint32_t bytes = make_frame(buf, data, start_at, end_at), have = 0, scanned = 0;
			uint32_t inner = start_at < data && start_at != end_at ? start_at : UINT32_MAX;
			struct mllp_result r;

			while (have < bytes) {
				/* an allocation of exactly that size, so that a byte read too far is caught */
				char *exact;

				have = have + piece < bytes ? have + piece : bytes;
				exact = malloc(have);
				memcpy(exact, buf, have);
				mllp_next(exact, have, scanned, &r);
				free(exact);
				if (have < bytes) {
					assert_int_equal(r.status, MLLP_MORE);
					assert_int_equal(r.consumed, 0);
					assert_true(r.scanned <= have && r.scanned + 1 >= have);
				}
				scanned = r.scanned;
			}
			assert_int_equal(r.status, MLLP_FRAME);
			assert_int_equal(r.frame_bytes, data);
			assert_int_equal(r.consumed, bytes);
			assert_int_equal(r.inner_start, inner);
		}
	}
}

static void pipelined_frames_come_out_one_by_one(void **state)
{
	static const char stream[] = "\vone\034\r\vtwo\034\rjunk\vthree\034\r";
	static const char *const want[] = {"one", "two", "three"};
	uint32_t at = 0, bytes = sizeof stream - 1, frames = 0, junk = 0;

	while (at < bytes) {
		struct mllp_result r = next(stream + at, bytes - at);

		if (r.status == MLLP_FRAME) {
			assert_int_equal(r.frame_bytes, strlen(want[frames]));
			assert_memory_equal(stream + at + r.frame_offset, want[frames], r.frame_bytes);
			frames++;
		} else {
			assert_int_equal(r.status, MLLP_JUNK);
			junk += r.consumed;
		}
		at += r.consumed;
	}
	assert_int_equal(frames, 3);
	assert_int_equal(junk, 4);
}

static void commit_bytes_of_release_2(void **state)
{
	char out[MLLP_COMMIT_BYTES] = "zzz";

	assert_int_equal(mllp_commit_write('A', out), -EINVAL);
	assert_memory_equal(out, "zzz", 4);
	assert_int_equal(mllp_commit_write(MLLP_COMMIT_ACK, out), MLLP_COMMIT_BYTES);
	assert_memory_equal(out, "\v\006\034\r", 4);
	assert_int_equal(mllp_commit_write(MLLP_COMMIT_NAK, out), MLLP_COMMIT_BYTES);
	assert_memory_equal(out, "\v\025\034\r", 4);
	assert_int_equal(mllp_commit_kind("\006", 1), MLLP_COMMIT_ACK);
	assert_int_equal(mllp_commit_kind("\025", 1), MLLP_COMMIT_NAK);
	assert_int_equal(mllp_commit_kind("\006\006", 2), MLLP_COMMIT_NONE);
	assert_int_equal(mllp_commit_kind("M", 1), MLLP_COMMIT_NONE);
	assert_int_equal(mllp_commit_kind("", 0), MLLP_COMMIT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_whole_frame_is_found),
	    cmocka_unit_test(an_empty_block_is_a_frame_without_data),
	    cmocka_unit_test(nothing_is_more),
	    cmocka_unit_test(junk_ends_where_a_frame_begins),
	    cmocka_unit_test(an_end_byte_without_cr_is_data),
	    cmocka_unit_test(a_second_start_inside_a_frame_is_reported),
	    cmocka_unit_test(every_split_gives_the_same_frame),
	    cmocka_unit_test(pipelined_frames_come_out_one_by_one),
	    cmocka_unit_test(commit_bytes_of_release_2),
	};

	return RUN_ON_EVERY_KERNEL("mllp", tests);
}
