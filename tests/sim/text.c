/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - as much MLLP and HL7 as simulated peers need, written apart from the parser that is being tested. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

void text_add(struct text_stream *t, const char *p, uint32_t n)
{
	if (t->bytes + n > t->room) {
		t->room = 2 * (t->bytes + n);
		t->data = realloc(t->data, t->room);
		must(t->data);
	}
	if (n)
		memcpy(t->data + t->bytes, p, n);
	t->bytes += n;
}

static uint32_t text_start(const struct text_stream *t)
{
	const char *p = t->bytes ? memchr(t->data, 0x0b, t->bytes) : NULL;

	return p ? (uint32_t)(p - t->data) : t->bytes;
}

bool text_frame(const struct text_stream *t, const char **ret, uint32_t *ret_bytes)
{
	uint32_t from = text_start(t);

	for (uint32_t i = from; i + 1 < t->bytes; i++)
		if (t->data[i] == 0x1c && t->data[i + 1] == 0x0d) {
			*ret = t->data + from + 1;
			*ret_bytes = i - from - 1;
			return true;
		}
	return false;
}

void text_drop(struct text_stream *t)
{
	const char *p;
	uint32_t n, used;

	if (!text_frame(t, &p, &n))
		return;
	used = (uint32_t)(p + n + 2 - t->data);
	memmove(t->data, t->data + used, t->bytes - used);
	t->bytes -= used;
}

bool text_field(const char *m, uint32_t bytes, const char *segment, uint32_t field, const char **ret, uint32_t *ret_bytes)
{
	const char *end = m + bytes;

	for (const char *line = m; line < end;) {
		const char *cr = memchr(line, '\r', (size_t)(end - line)), *stop = cr ? cr : end, *p = line;
		uint32_t at = strcmp(segment, "MSH") ? 0 : 1; /* MSH-1 is the separator itself */

		if (stop - line >= 4 && !memcmp(line, segment, 3) && line[3] == '|') {
			while (at < field && (p = memchr(p, '|', (size_t)(stop - p)))) {
				p++;
				at++;
			}
			if (!p)
				return false;
			*ret = p;
			while (p < stop && *p != '|')
				p++;
			*ret_bytes = (uint32_t)(p - *ret);
			return true;
		}
		if (!cr)
			return false;
		line = cr + 1;
	}
	return false;
}

uint32_t text_wrap(char *to, const char *m, uint32_t bytes)
{
	to[0] = 0x0b;
	memcpy(to + 1, m, bytes);
	to[bytes + 1] = 0x1c;
	to[bytes + 2] = 0x0d;
	return bytes + 3;
}
