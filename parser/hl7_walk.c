/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_walk.c - every element of a message in order: for transformations, printing and conversion.
 *
 * Called by whoever needs all of a message, on any core. Works on the kernel's delimiter marks, a kilobyte at a time,
 * so that a message of any size takes constant memory. It must never depend on the index.
 */
#include "hl7_scan.h"

/* Which counter a delimiter advances; those below it begin again. The order of the counters in struct hl7_element. */
#define LEVEL_FIELD        0
#define LEVEL_REPETITION   1
#define LEVEL_COMPONENT    2
#define LEVEL_SUBCOMPONENT 3
#define LEVEL_LINE         4

/* What comes next. */
#define STAGE_LINE   0 /* the first element of a line */
#define STAGE_INSIDE 1
#define STAGE_DONE   2

#define WINDOW_BYTES (HL7_WALK_BLOCKS * 64)

/* All four counters in one register: what a delimiter of each level keeps of them and what it adds. */
typedef uint32_t counters __attribute__((vector_size(16)));

static const counters keep[] = {
    {~0u, 0, 0, 0}, {~0u, ~0u, 0, 0}, {~0u, ~0u, ~0u, 0}, {~0u, ~0u, ~0u, ~0u}, {0, 0, 0, 0},
};
static const counters add[] = {
    {1, 1, 1, 1}, {0, 1, 1, 1}, {0, 0, 1, 1}, {0, 0, 0, 1}, {0, 1, 1, 1},
};

int hl7_walk_init(struct hl7_walk *w, const char *msg, uint32_t bytes, uint32_t flags, struct hl7_error *reterr)
{
	struct hl7_delims d;
	uint32_t msh2;
	int rc;

	if (bytes == 0 || bytes > HL7_MSG_BYTES_MAX)
		return hl7_fail(reterr, HL7_E_SIZE, 0, NULL, 0);
	rc = hl7_delims_read(msg, bytes, &d, &msh2, reterr);
	if (rc)
		return rc;
	memset(w, 0, sizeof *w);
	w->msg = msg;
	w->bytes = bytes;
	w->flags = flags;
	w->delims = d;
	w->block = 0u - WINDOW_BYTES; /* the first window is the next one */
	w->next = HL7_WALK_BLOCKS;
	w->level[(unsigned char)d.field] = LEVEL_FIELD;
	w->level[(unsigned char)d.component] = LEVEL_COMPONENT;
	w->level[(unsigned char)d.repetition] = LEVEL_REPETITION;
	w->level[(unsigned char)d.subcomponent] = LEVEL_SUBCOMPONENT;
	w->level['\r'] = w->level['\n'] = LEVEL_LINE;
	memcpy(w->at, &add[LEVEL_LINE], sizeof w->at);
	return 0;
}

/* Marks the delimiters of the next window. Returns 0 when there is none. */
static int next_window(struct hl7_walk *w)
{
	const struct hl7_delims *d = &w->delims;
	const char values[HL7_SCAN_DELIMS] = {
	    d->field,
	    d->component,
	    d->repetition ? d->repetition : d->field,
	    d->subcomponent ? d->subcomponent : d->field,
	    '\r',
	    w->flags & HL7_F_EOL_LENIENT ? '\n' : '\r',
	};
	uint32_t left;

	if (w->block + WINDOW_BYTES >= w->bytes && w->block + WINDOW_BYTES != 0)
		return 0;
	w->block += WINDOW_BYTES;
	left = w->bytes - w->block;
	if (left > WINDOW_BYTES)
		left = WINDOW_BYTES;
	else
		memset(w->marks, 0, sizeof w->marks);
	hl7_kernel()->marks(w->msg + w->block, left, values, w->marks);
	w->next = 0;
	return 1;
}

/* The next delimiters: a word of marks that is not 0, and the offset its bits count from. 0 when there are no more. */
static inline uint64_t next_marks(struct hl7_walk *w)
{
	uint64_t bits;

	do {
		if (w->next == HL7_WALK_BLOCKS && !next_window(w))
			return 0;
		bits = w->marks[w->next++];
	} while (!bits);
	return bits;
}

static int is_end(const struct hl7_walk *w, char c)
{
	return c == '\r' || (c == '\n' && w->flags & HL7_F_EOL_LENIENT);
}

/* The name of the line that begins at w->start, 0 if it is no segment. */
static uint32_t line_name(const struct hl7_walk *w)
{
	const char *line = w->msg + w->start;
	uint32_t left = w->bytes - w->start;

	return hl7_line_name(line, left > 3 && !is_end(w, line[3]) ? 4 : left < 3 ? left : 3, w->delims.field);
}

/* Begins a line; empty ones are passed over. MSH and its like give their name and MSH-1 here. Returns how many. */
static uint32_t begin_line(struct hl7_walk *w, struct hl7_element *e)
{
	uint32_t at;

	while (w->start < w->bytes && is_end(w, w->msg[w->start]))
		w->start++;
	w->skip = w->start;
	if (w->start == w->bytes) {
		w->stage = STAGE_DONE;
		return 0;
	}
	w->stage = STAGE_INSIDE;
	w->name = line_name(w);
	at = w->start;
	if (!hl7_name_is_header(w->name) || w->bytes - at < 4 || w->msg[at + 3] != w->delims.field)
		return 0;
	e[0] = (struct hl7_element){{at, 3}, w->name, w->line, 0, 1, 1, 1, 0};
	e[1] = (struct hl7_element){{at + 3, 1}, w->name, w->line, 1, 1, 1, 1, 0};
	w->start = w->skip = at + 4;
	w->at[LEVEL_FIELD] = 2;
	while (w->skip < w->bytes && w->msg[w->skip] != w->delims.field && !is_end(w, w->msg[w->skip]))
		w->skip++;
	return 2;
}

/* Writes the elements up to the end of the line, or of the room. Returns the number of the next one. */
static inline uint32_t line_elements(struct hl7_walk *w, struct hl7_element *ret, uint32_t n, uint32_t max)
{
	const uint32_t bytes = w->bytes, name = w->name, line = w->line, skip = w->skip;
	uint32_t start = w->start, base = w->block + (w->next - 1) * 64, pos;
	uint64_t bits = w->bits;
	const char *msg = w->msg;
	counters at;

	memcpy(&at, w->at, sizeof at);
	while (n < max) {
		struct hl7_element *e = &ret[n];
		unsigned level;

		if (!bits) {
			bits = next_marks(w);
			base = w->block + (w->next - 1) * 64;
		}
		pos = bits ? base + (uint32_t)__builtin_ctzll(bits) : bytes;
		bits &= bits - 1;
		if (pos < skip)
			continue;
		e->value.offset = start;
		e->value.bytes = pos - start;
		e->name = name;
		e->line = line;
		memcpy(&e->field, &at, sizeof at);
		n++;
		if (__builtin_expect(pos == bytes, 0)) {
			e->end = 0;
			w->stage = STAGE_DONE;
			break;
		}
		e->end = (unsigned char)msg[pos];
		level = w->level[e->end];
		at = (at & keep[level]) + add[level];
		start = pos + 1;
		if (level == LEVEL_LINE) {
			w->line = line + 1;
			w->stage = STAGE_LINE;
			break;
		}
	}
	memcpy(w->at, &at, sizeof at);
	w->start = start;
	w->bits = bits;
	return n;
}

uint32_t hl7_walk_next(struct hl7_walk *w, struct hl7_element *ret, uint32_t max)
{
	uint32_t n = 0;

	while (n + 2 < max && w->stage != STAGE_DONE) {
		if (w->stage == STAGE_LINE)
			n += begin_line(w, ret + n);
		if (w->stage == STAGE_INSIDE)
			n = line_elements(w, ret, n, max);
	}
	return n;
}
