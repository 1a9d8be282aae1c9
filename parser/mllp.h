/* SPDX-License-Identifier: Apache-2.0 */
/* mllp.h - the public API of the MLLP framer: a stream of bytes to frames, across any split. Pure; see hl7.h. */
#ifndef MLLP_H
#define MLLP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MLLP_SB       0x0b /* start block */
#define MLLP_EB       0x1c /* end block, always followed by MLLP_CR */
#define MLLP_CR       0x0d
#define MLLP_OVERHEAD 3 /* bytes of framing around a frame's data: SB before it, EB and CR after it */

/* Commit acknowledgements of MLLP release 2: a block whose data is this one byte. */
#define MLLP_COMMIT_NONE  0
#define MLLP_COMMIT_ACK   0x06
#define MLLP_COMMIT_NAK   0x15
#define MLLP_COMMIT_BYTES 4

enum mllp_status {
	MLLP_MORE = 0,  /* nothing whole yet: read more bytes */
	MLLP_FRAME = 1, /* a whole frame starts at the first byte */
	MLLP_JUNK = 2,  /* bytes that belong to no frame */
};

struct mllp_result {
	int status;            /* enum mllp_status */
	uint32_t consumed;     /* bytes to take off the front of the buffer: the frame with its framing, or the junk */
	uint32_t frame_offset; /* MLLP_FRAME: where the data starts (1) */
	uint32_t frame_bytes;  /* MLLP_FRAME: length of the data, 0 for an empty block */
	uint32_t scanned;      /* MLLP_MORE: pass this to the next call */
	uint32_t inner_start;  /* MLLP_FRAME: offset within the data of the first 0x0B inside it, or UINT32_MAX */
};

/**
 * mllp_next - find out what starts at the first byte of a stream.
 *
 * @buf      The unconsumed bytes, in one piece. Borrowed for the call.
 * @bytes    How many there are; 0 gives MLLP_MORE.
 * @scanned  @ret->scanned of the previous call on these same unconsumed bytes, 0 at first and after anything was
 * consumed. With it a frame that arrives in N pieces costs O(its length), not O(N times its length).
 * @ret      Caller-owned, written always.
 *
 * MLLP_FRAME: 0x0B data 0x1C 0x0D stands at @buf[0]; take @ret->consumed bytes off after using it.
 * MLLP_JUNK:  @buf[0] is no 0x0B; @ret->consumed bytes precede the next 0x0B (all of them, if there is none).
 * MLLP_MORE:  a frame started and is not complete; nothing is consumed.
 * A 0x1C that no 0x0D follows is data, and so is a 0x0B inside a frame; the latter usually means that the sender
 * gave up on a message and started another, so @ret->inner_start says where the first one is.
 *
 * Returns nothing: there is no failure. Cost: one pass with the kernel of hl7_kernel_name(). Threads: any.
 * Source: HL7 "Transport Specification: MLLP, Release 1" and "Release 2", block format.
 */
void mllp_next(const char *buf, uint32_t bytes, uint32_t scanned, struct mllp_result *ret);

/**
 * mllp_commit_kind - tell whether a frame's data is a commit acknowledgement of MLLP release 2.
 *
 * @data   The frame's data (@buf + frame_offset of mllp_next()).
 * @bytes  Its length.
 * Returns MLLP_COMMIT_ACK, MLLP_COMMIT_NAK or MLLP_COMMIT_NONE.
 */
int mllp_commit_kind(const char *data, uint32_t bytes);

/**
 * mllp_commit_write - write a commit acknowledgement of MLLP release 2, framing included.
 *
 * @kind  MLLP_COMMIT_ACK or MLLP_COMMIT_NAK.
 * @out   Room for MLLP_COMMIT_BYTES bytes.
 * Returns MLLP_COMMIT_BYTES, or -EINVAL for another @kind (nothing written).
 */
int mllp_commit_write(int kind, char *out);

#ifdef __cplusplus
}
#endif

#endif
