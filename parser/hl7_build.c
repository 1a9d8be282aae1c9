/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_build.c - writes a message front to back, element by element.
 *
 * Called by transformations, batch writers and the tools, on any core. It must never write past the room it was given,
 * and never an element that would be read back as something else.
 */
#include "hl7_scan.h"

#include <errno.h>

static int fail(struct hl7_build *b, int rc)
{
	b->rc = rc;
	return rc;
}

/* @n of the same character. */
static int put_times(struct hl7_build *b, char c, uint32_t n)
{
	if (n && !c)
		return fail(b, HL7_E_DELIM);
	if (n > b->out_max - b->bytes)
		return fail(b, -ENOSPC);
	memset(b->out + b->bytes, c, n);
	b->bytes += n;
	return 0;
}

static int put(struct hl7_build *b, const char *bytes, uint32_t n)
{
	if (n > b->out_max - b->bytes)
		return fail(b, -ENOSPC);
	if (n)
		memcpy(b->out + b->bytes, bytes, n);
	b->bytes += n;
	return 0;
}

void hl7_build_init(struct hl7_build *b, char *out, uint32_t out_max, const struct hl7_delims *delims)
{
	static const struct hl7_delims usual = {'|', '^', '~', '\\', '&', 0};

	memset(b, 0, sizeof *b);
	b->out = out;
	b->out_max = out_max;
	b->delims = delims ? *delims : usual;
}

/* The separator and the encoding characters, as many as are declared. */
static void put_declaration(struct hl7_build *b)
{
	const struct hl7_delims *d = &b->delims;
	const char all[] = {d->field, d->component, d->repetition, d->escape, d->subcomponent, d->truncation};
	uint32_t n = 0;

	while (n < sizeof all && all[n])
		n++;
	put(b, all, n);
	b->at[0] = 2;
	b->filled = 1;
}

int hl7_build_segment(struct hl7_build *b, const char *name)
{
	uint32_t packed = strlen(name) == 3 ? hl7_line_name(name, 3, 0) : 0;

	if (b->rc)
		return b->rc;
	if (!packed)
		return fail(b, HL7_E_ORDER);
	if ((b->bytes && put_times(b, '\r', 1)) || put(b, name, 3))
		return b->rc;
	b->at[0] = 0;
	b->at[1] = b->at[2] = b->at[3] = 1;
	b->filled = 1;
	if (hl7_name_is_header(packed))
		put_declaration(b);
	return b->rc;
}

/* Writes the delimiters from where the message is to @to. */
static int advance(struct hl7_build *b, const uint32_t to[4])
{
	const char delim[4] = {b->delims.field, b->delims.repetition, b->delims.component, b->delims.subcomponent};
	unsigned level = 0;

	while (level < 4 && to[level] == b->at[level])
		level++;
	if (level == 4 ? b->filled : to[level] < b->at[level])
		return fail(b, HL7_E_ORDER);
	for (; level < 4; level++) {
		if (put_times(b, delim[level], to[level] - b->at[level]))
			return b->rc;
		b->at[level] = to[level];
		for (unsigned below = level + 1; below < 4; below++)
			b->at[below] = 1;
	}
	b->filled = 0;
	return 0;
}

static int begin_element(struct hl7_build *b, uint32_t field, uint32_t repetition, uint32_t component,
                         uint32_t subcomponent)
{
	const uint32_t to[4] = {field ? field : 1, repetition ? repetition : 1, component ? component : 1,
	                        subcomponent ? subcomponent : 1};

	if (b->rc)
		return b->rc;
	return b->bytes ? advance(b, to) : fail(b, HL7_E_ORDER);
}

int hl7_build_raw(struct hl7_build *b, uint32_t field, uint32_t repetition, uint32_t component, uint32_t subcomponent,
                  const char *value, uint32_t bytes)
{
	if (b->rc)
		return b->rc;
	if (bytes && hl7_kernel()->find(value, bytes, b->delims.field, '\r', '\n') < bytes)
		return fail(b, HL7_E_ORDER);
	if (begin_element(b, field, repetition, component, subcomponent))
		return b->rc;
	b->filled = bytes != 0;
	return put(b, value, bytes);
}

int hl7_build_text(struct hl7_build *b, uint32_t field, uint32_t repetition, uint32_t component, uint32_t subcomponent,
                   const char *value, uint32_t bytes)
{
	int n;

	if (begin_element(b, field, repetition, component, subcomponent))
		return b->rc;
	n = hl7_escape(&b->delims, value, bytes, b->out + b->bytes, b->out_max - b->bytes);
	if (n < 0)
		return fail(b, n);
	b->filled = n != 0;
	b->bytes += (uint32_t)n;
	return 0;
}

int hl7_build_end(struct hl7_build *b)
{
	if (b->rc)
		return b->rc;
	if (b->bytes && put_times(b, '\r', 1))
		return b->rc;
	return (int)b->bytes;
}
