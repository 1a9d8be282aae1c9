/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split.c - finds the messages in a file: any terminators, framing, batches, notes in front.
 *
 * Called by send and bench load. Pure but for one buffer per call; never prints, never changes what is inside a
 * segment.
 */
#include "split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hl7.h"
#include "mllp.h"

struct splitter {
	const struct split_to *to;
	struct split_counts *counts;
	bool keep_eol;
	bool begun;        /* inside a message */
	uint32_t line;     /* of the line being looked at */
	uint32_t msg_line; /* of the message's MSH */
	const char *raw;   /* keep_eol: the message as it stands ... */
	size_t raw_bytes;  /* ... up to its last line that is not empty */
	char *out;         /* else: its segments, each with CR */
	size_t out_bytes, out_room;
};

static void split_problem(struct splitter *s, uint32_t line, const char *text)
{
	s->counts->problems++;
	s->to->problem(s->to->arg, line, text);
}

static int split_emit(struct splitter *s, const char *msg, size_t bytes, uint32_t line)
{
	struct hl7_error e = {0};
	struct hl7_msh msh;
	int r;

	if (bytes > HL7_MSG_BYTES_MAX)
		return -EFBIG;
	r = hl7_msh_read(msg, (uint32_t)bytes, &msh, &e);
	if (r < 0) {
		split_problem(s, line, hl7_strerror(r));
		return 0;
	}
	s->counts->messages++;
	return s->to->message(s->to->arg, msg, (uint32_t)bytes, line);
}

/* The message that is being collected is complete. */
static int split_close(struct splitter *s)
{
	if (!s->begun)
		return 0;
	s->begun = false;
	return s->keep_eol ? split_emit(s, s->raw, s->raw_bytes, s->msg_line)
	                   : split_emit(s, s->out, s->out_bytes, s->msg_line);
}

/* The memory was sized for the whole file: every line is copied once, with at most one byte more at the very end. */
static void split_take(struct splitter *s, const char *line, size_t bytes)
{
	must(s->out_bytes + bytes + 1 <= s->out_room);
	memcpy(s->out + s->out_bytes, line, bytes);
	s->out_bytes += bytes;
	s->out[s->out_bytes++] = '\r';
}

static bool split_is(const char *line, size_t bytes, const char *name)
{
	return bytes >= 3 && memcmp(line, name, 3) == 0;
}

static bool split_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A header or trailer of a batch: the name alone, or followed by a delimiter. */
static bool split_envelope(const char *line, size_t bytes)
{
	if (!split_is(line, bytes, "FHS") && !split_is(line, bytes, "BHS") && !split_is(line, bytes, "BTS") &&
	    !split_is(line, bytes, "FTS"))
		return false;
	return bytes == 3 || !split_alnum((unsigned char)line[3]);
}

static bool split_segment(const char *line, size_t bytes)
{
	return bytes >= 3 && line[0] >= 'A' && line[0] <= 'Z' && split_alnum((unsigned char)line[1]) &&
	       split_alnum((unsigned char)line[2]) && (bytes == 3 || !split_alnum((unsigned char)line[3]));
}

/* One line without its terminator; @end points behind the terminator. */
static int split_line(struct splitter *s, const char *line, size_t bytes, const char *end)
{
	int r;

	if (bytes >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0 && split_is(line + 3, bytes - 3, "MSH")) {
		line += 3; /* files that were joined with their byte order marks */
		bytes -= 3;
	}
	if (bytes && line[0] == MLLP_SB) {
		line++;
		bytes--;
	}
	if (bytes && line[bytes - 1] == MLLP_EB)
		bytes--;
	if (!bytes)
		return 0;
	if (split_is(line, bytes, "MSH") && (bytes == 3 || !split_alnum((unsigned char)line[3]))) {
		r = split_close(s);
		s->begun = true;
		s->msg_line = s->line;
		s->out_bytes = 0;
		s->raw = line;
		if (r < 0)
			return r;
	} else if (split_envelope(line, bytes)) {
		s->counts->envelopes++;
		return split_close(s);
	} else if (!s->begun) {
		s->counts->notes++;
		return 0;
	} else {
		s->counts->odd_lines += !split_segment(line, bytes);
	}
	s->raw_bytes = (size_t)(end - s->raw);
	if (!s->keep_eol)
		split_take(s, line, bytes);
	return 0;
}

/* Lines from @data on; the splitter's line number goes along. */
static int split_text(struct splitter *s, const char *data, size_t bytes)
{
	const char *at = data, *stop = data + bytes;

	while (at < stop) {
		const char *end = at, *next;
		int r;

		while (end < stop && *end != '\r' && *end != '\n')
			end++;
		next = end + (end < stop);
		if (next < stop && end[0] == '\r' && next[0] == '\n')
			next++;
		r = split_line(s, at, (size_t)(end - at), next);
		if (r < 0)
			return r;
		s->line++;
		at = next;
	}
	return split_close(s);
}

static uint32_t split_count_lines(const char *at, size_t bytes)
{
	uint32_t lines = 0;

	for (size_t i = 0; i < bytes; i++)
		lines += at[i] == '\n' || (at[i] == '\r' && (i + 1 == bytes || at[i + 1] != '\n'));
	return lines;
}

/* The data of one MLLP frame: a message, whatever stands inside it, or a batch. */
static int split_frame(struct splitter *s, const char *data, size_t bytes)
{
	const char *at = data, *stop = data + bytes;

	if (split_envelope(data, bytes))
		return split_text(s, data, bytes);
	if (s->keep_eol || !bytes)
		return split_emit(s, data, bytes, s->line);
	s->out_bytes = 0;
	while (at < stop) {
		const char *end = at;

		while (end < stop && *end != '\r' && *end != '\n')
			end++;
		if (end > at)
			split_take(s, at, (size_t)(end - at));
		at = end + 1;
	}
	return split_emit(s, s->out, s->out_bytes, s->line);
}

static int split_framed(struct splitter *s, const char *data, size_t bytes)
{
	struct mllp_result f;
	int r;

	for (size_t at = 0; at < bytes; at += f.consumed) {
		uint32_t rest = bytes - at > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes - at);
		uint32_t line = s->line;

		mllp_next(data + at, rest, 0, &f);
		if (f.status == MLLP_MORE) {
			split_problem(s, s->line, "an MLLP frame without its end");
			return 0;
		}
		if (f.status == MLLP_FRAME) {
			r = split_frame(s, data + at + f.frame_offset, f.frame_bytes);
			if (r < 0)
				return r;
		} else {
			for (uint32_t i = 0; i < f.consumed; i++)
				if (!strchr("\r\n\t ", data[at + i]) || !data[at + i]) {
					split_problem(s, s->line, "bytes between MLLP frames");
					break;
				}
		}
		s->line = line + split_count_lines(data + at, f.consumed);
	}
	return 0;
}

int split_messages(const char *data, size_t bytes, bool keep_eol, const struct split_to *to, struct split_counts *io)
{
	struct splitter s = {.to = to, .counts = io, .keep_eol = keep_eol, .line = 1};
	size_t skip = 0;
	int r;

	if (bytes >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0)) {
		split_problem(&s, 1, "the file is UTF-16; convert it to UTF-8 first");
		return 0;
	}
	if (bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		data += 3;
		bytes -= 3;
	}
	s.out_room = bytes + 1;
	s.out = malloc(s.out_room);
	if (!s.out)
		return -ENOMEM;
	while (skip < bytes && data[skip] && strchr("\r\n\t ", data[skip]))
		skip++;
	r = skip < bytes && data[skip] == MLLP_SB ? split_framed(&s, data, bytes) : split_text(&s, data, bytes);
	free(s.out);
	return r;
}
