/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_edit.c - writes a message again with one element set, inserted or deleted.
 *
 * Called by transformations and the tools, on any core. It must never change a byte that the path does not name.
 */
#include "hl7_scan.h"

#include <errno.h>

#define LEVELS 4

/* What is written instead of the bytes from..to of the old message. */
struct splice {
	uint32_t from, to;
	char pad_char[LEVELS]; /* delimiters before the value */
	uint32_t pad[LEVELS];
	char after[2]; /* one delimiter or line end after the value */
	uint32_t after_bytes;
	char before[2]; /* a line end before it */
	uint32_t before_bytes;
};

/* A level of the path: which piece between which delimiter. index 0 = the path ends above. */
struct level {
	char delim;
	uint32_t index;
};

/* The end of a line, with which the message's first line ends. */
static uint32_t line_end(const struct hl7_index *ix, char out[2])
{
	uint32_t end = ix->entry[hl7_segment_at(ix, 0)->first + hl7_segment_at(ix, 0)->fields];

	out[0] = end < ix->bytes ? ix->msg[end] : '\r';
	out[1] = '\n';
	return out[0] == '\r' && end + 1 < ix->bytes && ix->msg[end + 1] == '\n' && ix->eol_lenient ? 2 : 1;
}

static const struct hl7_segment *segment_of(const struct hl7_index *ix, const struct hl7_path *p)
{
	uint32_t seen = 0;

	for (uint32_t i = 0; i < ix->segments; i++) {
		const struct hl7_segment *seg = hl7_segment_at(ix, i);

		if (seg->name == p->name && ++seen == p->sequence)
			return seg;
	}
	return NULL;
}

/* A whole line. Returns 0 or -ENOENT. */
static int splice_line(const struct hl7_index *ix, int kind, const struct hl7_segment *seg, struct splice *s)
{
	uint32_t end;

	if (!seg) {
		if (kind != HL7_EDIT_INSERT)
			return -ENOENT;
		s->from = s->to = ix->bytes;
		if (ix->msg[ix->bytes - 1] == '\r' || (ix->msg[ix->bytes - 1] == '\n' && ix->eol_lenient))
			s->after_bytes = line_end(ix, s->after);
		else
			s->before_bytes = line_end(ix, s->before);
		return 0;
	}
	end = ix->entry[seg->first + seg->fields];
	s->from = seg->offset;
	s->to = end;
	if (kind == HL7_EDIT_INSERT) {
		s->to = s->from;
		s->after_bytes = line_end(ix, s->after);
	} else if (kind == HL7_EDIT_DELETE) {
		char eol[2];

		s->to = end + line_end(ix, eol) < ix->bytes ? end + line_end(ix, eol) : ix->bytes;
	}
	return 0;
}

/* Narrows [*io_from, *io_to) to its piece @l->index. Returns 0, or how many delimiters are missing for it to be there.
 */
static uint32_t narrow(const char *msg, const struct level *l, uint32_t *io_from, uint32_t *io_to)
{
	uint32_t at = *io_from, end = *io_to, left = l->index;

	for (;;) {
		uint32_t found = at + (l->delim ? hl7_find1(msg + at, end - at, l->delim) : end - at);

		if (--left == 0) {
			*io_from = at;
			*io_to = found;
			return 0;
		}
		if (found == end)
			return left;
		at = found + 1;
	}
}

/* Takes the delimiter beside [from, to) too: the one after it, or else the one before it. */
static void widen(const char *msg, char delim, uint32_t outer_from, uint32_t outer_to, struct splice *s)
{
	if (s->to < outer_to && msg[s->to] == delim)
		s->to++;
	else if (s->from > outer_from && msg[s->from - 1] == delim)
		s->from--;
}

static int splice_element(const struct hl7_index *ix, int kind, const struct level levels[LEVELS], struct splice *s)
{
	uint32_t outer_from = s->from, outer_to = s->to;
	char delim = 0;

	for (unsigned i = 0; i < LEVELS && levels[i].index; i++) {
		uint32_t missing;

		outer_from = s->from;
		outer_to = s->to;
		delim = levels[i].delim;
		missing = narrow(ix->msg, &levels[i], &s->from, &s->to);
		if (!missing)
			continue;
		/* Everything from here on has to be made. */
		for (unsigned deeper = i; deeper < LEVELS && levels[deeper].index; deeper++) {
			s->pad_char[deeper] = levels[deeper].delim;
			s->pad[deeper] = deeper == i ? missing : levels[deeper].index - 1;
			if (s->pad[deeper] && !levels[deeper].delim)
				return HL7_E_DELIM;
		}
		s->from = s->to = kind == HL7_EDIT_DELETE ? ix->bytes : s->to;
		if (kind == HL7_EDIT_DELETE)
			memset(s->pad, 0, sizeof s->pad);
		return 0;
	}
	if (kind == HL7_EDIT_DELETE) {
		widen(ix->msg, delim, outer_from, outer_to, s);
	} else if (kind == HL7_EDIT_INSERT) {
		if (!delim)
			return HL7_E_DELIM;
		s->to = s->from;
		s->after[0] = delim;
		s->after_bytes = 1;
	}
	return 0;
}

/* Writes the new message. Returns its length or -ENOSPC. */
static int write_spliced(const struct hl7_index *ix, const struct splice *s, const char *value, uint32_t bytes,
                         char *out, uint32_t out_max)
{
	uint64_t total = (uint64_t)s->from + s->before_bytes + bytes + s->after_bytes + (ix->bytes - s->to);
	char *p = out;

	for (unsigned i = 0; i < LEVELS; i++)
		total += s->pad[i];
	if (total > out_max || total > HL7_MSG_BYTES_MAX)
		return -ENOSPC;
	memcpy(p, ix->msg, s->from);
	p += s->from;
	memcpy(p, s->before, s->before_bytes);
	p += s->before_bytes;
	for (unsigned i = 0; i < LEVELS; i++) {
		memset(p, s->pad_char[i], s->pad[i]);
		p += s->pad[i];
	}
	if (bytes)
		memcpy(p, value, bytes);
	p += bytes;
	memcpy(p, s->after, s->after_bytes);
	p += s->after_bytes;
	memcpy(p, ix->msg + s->to, ix->bytes - s->to);
	return (int)total;
}

int hl7_edit(const struct hl7_index *ix, int kind, const struct hl7_path *p, const char *value, uint32_t bytes,
             char *out, uint32_t out_max)
{
	const struct level levels[LEVELS] = {
	    {ix->delims.field, p->field + 1u - p->header},
	    {ix->delims.repetition, p->repetition},
	    {ix->delims.component, p->component},
	    {ix->delims.subcomponent, p->subcomponent},
	};
	char separator = p->field ? ix->delims.field : '\r';
	const struct hl7_segment *seg;
	struct splice s = {0};
	int rc;

	if (p->sequence == HL7_PATH_ALL || p->repetition == HL7_PATH_ALL)
		return HL7_E_PATH;
	if (p->header && p->field && p->field <= 2)
		return HL7_E_DELIM;
	if (kind == HL7_EDIT_DELETE)
		bytes = 0;
	else if (bytes && hl7_kernel()->find(value, bytes, separator, '\r', '\n') < bytes)
		return HL7_E_ORDER;
	seg = segment_of(ix, p);
	if (!p->field) {
		rc = splice_line(ix, kind, seg, &s);
	} else if (!seg) {
		rc = kind == HL7_EDIT_DELETE ? 0 : -ENOENT;
		s.from = s.to = ix->bytes;
	} else if (p->header && !seg->fields) {
		rc = HL7_E_DELIM; /* a bare "MSH" further down declares nothing: it would have to be given MSH-1 and
		                     MSH-2 */
	} else {
		s.from = seg->offset;
		s.to = ix->entry[seg->first + seg->fields];
		rc = splice_element(ix, kind, levels, &s);
	}
	return rc ? rc : write_spliced(ix, &s, value, bytes, out, out_max);
}
