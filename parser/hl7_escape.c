/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_escape.c - escape sequences of a value.
 *
 * Called by routing conditions, transformations and the tools, on any core.
 */
#include "hl7_scan.h"

#include <errno.h>

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The character that \F\ and its like stand for, 0 if @letter is none of them or that delimiter is not declared. */
static char letter_stands_for(const struct hl7_delims *d, char letter)
{
	switch (letter) {
	case 'F':
		return d->field;
	case 'S':
		return d->component;
	case 'T':
		return d->subcomponent;
	case 'R':
		return d->repetition;
	case 'E':
		return d->escape;
	case 'P':
		return d->truncation;
	default:
		return 0;
	}
}

/* Whether the sequence's body is X and whole bytes in hexadecimal. */
static int is_hex_body(const char *body, uint32_t bytes)
{
	if (bytes < 3 || bytes % 2 == 0 || body[0] != 'X')
		return 0;
	for (uint32_t i = 1; i < bytes; i++) {
		if (hex(body[i]) < 0)
			return 0;
	}
	return 1;
}

/* Writes what the sequence stands for. Returns its length, or 0 if it is to be kept as it stands. */
static uint32_t body_to_bytes(const struct hl7_delims *d, const char *body, uint32_t bytes, char *out)
{
	char c = bytes == 1 ? letter_stands_for(d, body[0]) : 0;

	if (c) {
		out[0] = c;
		return 1;
	}
	if (!is_hex_body(body, bytes))
		return 0;
	for (uint32_t i = 1; i < bytes; i += 2)
		*out++ = (char)(hex(body[i]) << 4 | hex(body[i + 1]));
	return bytes / 2;
}

int hl7_unescape(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max)
{
	uint32_t at = 0, n = 0; /* n never exceeds at */

	while (at < in_bytes) {
		uint32_t plain = delims->escape ? hl7_find1(in + at, in_bytes - at, delims->escape) : in_bytes - at;
		uint32_t body, body_bytes, made;

		if (plain > out_max - n)
			return -ENOSPC;
		memmove(out + n, in + at, plain);
		n += plain;
		at += plain;
		if (at == in_bytes)
			break;
		body = at + 1;
		body_bytes = hl7_find1(in + body, in_bytes - body, delims->escape);
		if (body + body_bytes == in_bytes) { /* no end: an escape character that stands for itself */
			if (in_bytes - at > out_max - n)
				return -ENOSPC;
			memmove(out + n, in + at, in_bytes - at);
			n += in_bytes - at;
			break;
		}
		made = body_bytes / 2 <= out_max - n && out_max > n ? body_to_bytes(delims, in + body, body_bytes, out + n) : 0;
		if (made == 0) {
			if (body_bytes + 2 > out_max - n)
				return -ENOSPC;
			memmove(out + n, in + at, body_bytes + 2);
			made = body_bytes + 2;
		}
		n += made;
		at = body + body_bytes + 1;
	}
	return (int)n;
}
