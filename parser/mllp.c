/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mllp.c - finds MLLP frames in a stream of bytes, across any split, and knows the commit bytes of release 2.
 *
 * Called by the pipeline for what each connection received, and by the tools; on any core. It must never look at a
 * byte of a frame twice because the frame came in pieces, with one exception: see frame_inner().
 */
#include "mllp.h"
#include "hl7_scan.h"

#include <errno.h>

/* The first 0x0B before the last piece. Only a frame that came in pieces pays for it, once, when it is complete. */
static uint32_t frame_inner(const char *buf, uint32_t scanned)
{
	uint32_t at = scanned > 1 ? hl7_find1(buf + 1, scanned - 1, MLLP_SB) : 0;

	return at + 1 < scanned ? at : UINT32_MAX;
}

void mllp_next(const char *buf, uint32_t bytes, uint32_t scanned, struct mllp_result *ret)
{
	uint32_t from = scanned > 1 ? scanned : 1, inner = UINT32_MAX, end;

	*ret = (struct mllp_result){MLLP_MORE, 0, 0, 0, 0, UINT32_MAX};
	if (bytes == 0)
		return;
	if (buf[0] != MLLP_SB) {
		ret->status = MLLP_JUNK;
		ret->consumed = hl7_find1(buf, bytes, MLLP_SB);
		return;
	}
	ret->scanned = bytes;
	if (from >= bytes) /* nothing new */
		return;
	end = hl7_kernel()->frame(buf, bytes, from, &inner, &ret->scanned);
	if (end == HL7_NONE)
		return;
	ret->status = MLLP_FRAME;
	ret->consumed = end + 2;
	ret->frame_offset = 1;
	ret->frame_bytes = end - 1;
	ret->scanned = 0;
	ret->inner_start = inner == HL7_NONE ? UINT32_MAX : inner - 1;
	if (from > 1) {
		uint32_t earlier = frame_inner(buf, from);

		if (earlier != UINT32_MAX)
			ret->inner_start = earlier;
	}
}

int mllp_commit_kind(const char *data, uint32_t bytes)
{
	if (bytes == 1 && (data[0] == MLLP_COMMIT_ACK || data[0] == MLLP_COMMIT_NAK))
		return data[0];
	return MLLP_COMMIT_NONE;
}

int mllp_commit_write(int kind, char *out)
{
	if (kind != MLLP_COMMIT_ACK && kind != MLLP_COMMIT_NAK)
		return -EINVAL;
	out[0] = MLLP_SB;
	out[1] = (char)kind;
	out[2] = MLLP_EB;
	out[3] = MLLP_CR;
	return MLLP_COMMIT_BYTES;
}
