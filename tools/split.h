/* SPDX-License-Identifier: Apache-2.0 */
/* split.h - the messages in the bytes of a file, however they were stored. */
#ifndef SPLIT_H
#define SPLIT_H

#include "mr_base.h"

struct split_counts {
	uint64_t messages;
	uint64_t problems;
	uint64_t envelopes; /* FHS BHS BTS FTS segments left out */
	uint64_t notes;     /* lines before the first MSH that are not empty */
	uint64_t odd_lines; /* lines inside messages that look like no segment */
};

struct split_to {
	/* One message: @msg is borrowed for the call. Returns 0, or a negative code that ends the walk. */
	int (*message)(void *arg, const char *msg, uint32_t bytes, uint32_t line);
	/* What could not be read, and why; @line counts from 1. */
	void (*problem)(void *arg, uint32_t line, const char *text);
	void *arg;
};

/**
 * split_messages - find the messages in @data and hand out each.
 *
 * @data      The file. Borrowed for the call.
 * @keep_eol  Leave segment ends as they are; otherwise each becomes one CR and empty lines go.
 * @to        Called in the order of the file.
 * @io        Counters, added to.
 *
 * Understands: CR, LF, CRLF, CRCRLF and mixtures; a UTF-8 byte order mark; MLLP frames (one frame = one message unless
 * it begins with a batch header); several messages; batch envelopes; lines before the first MSH.
 * Nothing is called and nothing counted for a file without any message.
 * Returns 0, -ENOMEM, -EFBIG (a message over 1 GiB), or what @to->message returned.
 */
int split_messages(const char *data, size_t bytes, bool keep_eol, const struct split_to *to, struct split_counts *io);

#endif
