/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_index.c - where every line and field of a message is. The work is in the kernel; this is its front door.
 *
 * Called once per message that someone wants to look into, on any core. It must never allocate.
 */
#include "hl7_scan.h"

#define WORD_BYTES sizeof(uint32_t)

size_t hl7_index_bytes(uint32_t fields, uint32_t segments)
{
	/* A line takes an entry for its end beside its own 16 bytes. */
	size_t words = (size_t)fields + (size_t)segments * 5 + HL7_SCAN_SLACK_WORDS;

	return (words * WORD_BYTES + 15) & ~(size_t)15;
}

int hl7_index(const char *msg, uint32_t bytes, uint32_t flags, void *mem, size_t mem_bytes, struct hl7_index *ret,
              struct hl7_error *reterr)
{
	struct hl7_index ix = {.msg = msg, .bytes = bytes};
	size_t words = mem_bytes / 16 * 4;
	uint32_t msh2;
	int rc;

	if (bytes == 0 || bytes > HL7_MSG_BYTES_MAX)
		return hl7_fail(reterr, HL7_E_SIZE, 0, NULL, 0);
	rc = hl7_delims_read(msg, bytes, &ix.delims, &msh2, reterr);
	if (rc)
		return rc;
	if (words > UINT32_MAX)
		words = UINT32_MAX & ~3u;
	rc = hl7_kernel()->index(&ix, flags & HL7_F_EOL_LENIENT ? '\n' : '\r', mem, (uint32_t)words);
	if (rc)
		return hl7_fail(reterr, rc, 0, NULL, 0);
	*ret = ix;
	return 0;
}
