/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_batch.c - batch files as a stream: FHS BHS messages BTS FTS, or messages alone.
 *
 * Called by file connectors and the tools, on any core. It must never hold more than it was given and never look at a
 * byte of a message twice because it came in pieces.
 */
#include "hl7_scan.h"

#define NAME_BTS 0x535442u /* hl7_name("BTS") */
#define NAME_FTS 0x535446u

static int is_eol(char c)
{
	return c == '\r' || c == '\n';
}

/* MSH or a batch segment at a line's start, 0 for another line. Wants four bytes. */
static uint32_t boundary_name(const char *line)
{
	uint32_t name = hl7_name(line);
	unsigned char separator = (unsigned char)line[3];

	if (!hl7_name_is_header(name) && name != NAME_BTS && name != NAME_FTS)
		return 0;
	/* A separator is punctuation; a trailer may be nothing but its name. */
	if (separator > ' ' && separator < 0x7f && !hl7_name_class[separator] &&
	    !(separator >= 'a' && separator <= 'z'))
		return name;
	return is_eol(line[3]) && (name == NAME_BTS || name == NAME_FTS) ? name : 0;
}

/* Line starts at @at: its boundary name; *ret_unknown = 1 if there are too few bytes to say. */
static uint32_t line_boundary(const char *buf, uint32_t bytes, uint32_t at, int at_end, int *ret_unknown)
{
	char line[4] = {0, 0, 0, '\r'};

	*ret_unknown = 0;
	if (bytes - at >= 4)
		return boundary_name(buf + at);
	if (!at_end) {
		*ret_unknown = 1;
		return 0;
	}
	memcpy(line, buf + at, bytes - at);
	return bytes - at == 3 ? boundary_name(line) : 0;
}

/* Whether the number in a trailer's first field, if there is one, is @want. */
static int count_matches(const char *line, uint32_t bytes, uint64_t want)
{
	uint64_t n = 0;
	uint32_t i = 4;

	for (; i < bytes && line[i] >= '0' && line[i] <= '9' && n < UINT32_MAX; i++)
		n = n * 10 + (uint64_t)(line[i] - '0');
	return i == 4 || n == want;
}

/* Keeps account of a batch segment. Returns 0 or HL7_E_BATCH. */
static int account(struct hl7_batch *b, uint32_t name, const char *line, uint32_t bytes)
{
	int right = 1;

	if (name == HL7_NAME_FHS) {
		right = !b->in_file && !b->in_batch;
		b->in_file = 1;
		b->batches = 0;
	} else if (name == HL7_NAME_BHS) {
		right = !b->in_batch;
		b->in_batch = 1;
		b->batches++;
		b->batch_messages = 0;
	} else if (name == NAME_BTS) {
		right = b->in_batch && count_matches(line, bytes, b->batch_messages);
		b->in_batch = 0;
	} else {
		right = b->in_file && !b->in_batch && count_matches(line, bytes, b->batches);
		b->in_file = 0;
		b->in_batch = 0;
	}
	b->problems += !right;
	return right ? 0 : HL7_E_BATCH;
}

/*
 * The end of a message that starts at @start: the next boundary line, or the stream's end. HL7_NONE = not there yet;
 * then the search for a line end goes on at *io_scanned, in the middle of a line maybe.
 */
static uint32_t message_end(const char *buf, uint32_t bytes, uint32_t start, int at_end, uint32_t *io_scanned)
{
	uint32_t at = *io_scanned > start ? *io_scanned : start;
	int unknown;

	for (;;) {
		uint32_t end = at + hl7_kernel()->find(buf + at, bytes - at, '\r', '\n', '\n'), next = end;

		while (next < bytes && is_eol(buf[next]))
			next++;
		*io_scanned = end;
		if (next == bytes)
			break;
		if (line_boundary(buf, bytes, next, at_end, &unknown))
			return next;
		if (unknown)
			break;
		at = next;
	}
	return at_end ? bytes : HL7_NONE;
}

/* The end of the one line that starts at @start, its line end included. HL7_NONE = not there yet. */
static uint32_t line_stop(const char *buf, uint32_t bytes, uint32_t start, int at_end)
{
	uint32_t end = start + hl7_kernel()->find(buf + start, bytes - start, '\r', '\n', '\n');

	if (end == bytes || (buf[end] == '\r' && end + 1 == bytes))
		return at_end ? bytes : HL7_NONE; /* the LF of a CRLF may still come */
	return end + (buf[end] == '\r' && buf[end + 1] == '\n' ? 2 : 1);
}

void hl7_batch_next(struct hl7_batch *b, const char *buf, uint32_t bytes, int at_end, uint32_t scanned,
                    struct hl7_batch_item *ret)
{
	uint32_t start = 0, end, name;
	int unknown;

	memset(ret, 0, sizeof *ret);
	ret->scanned = scanned;
	if (!b->started && bytes < 3 && !at_end)
		return;
	if (!b->started && bytes >= 3 && !memcmp(buf, "\xef\xbb\xbf", 3))
		start = 3;
	while (start < bytes && is_eol(buf[start]))
		start++;
	if (start == bytes) {
		ret->consumed = bytes;
		ret->scanned = 0;
		ret->status = at_end ? HL7_BATCH_END : HL7_BATCH_MORE;
		b->started |= bytes != 0;
		return;
	}
	name = line_boundary(buf, bytes, start, at_end, &unknown);
	if (unknown)
		return;
	end = name == HL7_NAME_MSH ? message_end(buf, bytes, start, at_end, &ret->scanned)
	                           : line_stop(buf, bytes, start, at_end);
	if (end == HL7_NONE)
		return;
	b->started = 1;
	ret->consumed = end;
	ret->scanned = 0;
	ret->offset = start;
	ret->bytes = end - start;
	ret->name = name;
	ret->status = name == HL7_NAME_MSH ? HL7_BATCH_MESSAGE : name ? HL7_BATCH_SEGMENT : HL7_BATCH_OTHER;
	if (ret->status == HL7_BATCH_MESSAGE) {
		b->messages++;
		b->batch_messages++;
	} else if (ret->status == HL7_BATCH_SEGMENT) {
		ret->rc = account(b, name, buf + start, end - start);
	} else {
		b->others++;
	}
}
