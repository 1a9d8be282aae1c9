/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_escape.c - escape sequences of a value, both ways, and as pieces of text.
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
		made = body_bytes / 2 <= out_max - n && out_max > n
		           ? body_to_bytes(delims, in + body, body_bytes, out + n)
		           : 0;
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

/* ---- bytes to sequences ---- */

static char letter_of(const struct hl7_delims *d, char c)
{
	return c == d->field          ? 'F'
	       : c == d->component    ? 'S'
	       : c == d->subcomponent ? 'T'
	       : c == d->repetition   ? 'R'
	       : c == d->escape       ? 'E'
	       : c == d->truncation   ? 'P'
	                              : 0;
}

int hl7_escape(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max)
{
	static const char hex_digits[] = "0123456789ABCDEF";
	uint32_t n = 0;

	for (uint32_t i = 0; i < in_bytes; i++) {
		unsigned char c = (unsigned char)in[i];
		char letter = c ? letter_of(delims, in[i]) : 0, sequence[5];
		uint32_t bytes = 1;

		sequence[0] = in[i];
		if (letter || c < ' ' || c == 0x7f) {
			if (!delims->escape)
				return HL7_E_ESCAPE;
			sequence[0] = delims->escape;
			sequence[1] = letter ? letter : 'X';
			sequence[2] = letter ? delims->escape : hex_digits[c >> 4];
			sequence[3] = hex_digits[c & 15];
			sequence[4] = delims->escape;
			bytes = letter ? 3 : 5;
		}
		if (bytes > out_max - n)
			return -ENOSPC;
		memcpy(out + n, sequence, bytes);
		n += bytes;
	}
	return (int)n;
}

/* ---- text ---- */

/* A format command: two letters, then maybe a number with or without a sign. Returns 0, or -1 if it is none. */
static int format_command(const char *body, uint32_t bytes, struct hl7_text *ret)
{
	static const char *const commands[] = {"br", "sp", "sk", "fi", "nf", "in", "ti", "ce"};
	uint32_t at = 3, number = 0;
	unsigned i = 0;
	int minus;

	if (bytes < 3 || body[0] != '.')
		return -1;
	while (i < 8 && memcmp(commands[i], body + 1, 2))
		i++;
	if (i == 8)
		return -1;
	minus = at < bytes && body[at] == '-';
	at += at < bytes && (body[at] == '-' || body[at] == '+' || body[at] == ' ');
	for (; at < bytes && body[at] >= '0' && body[at] <= '9' && number < 100000; at++)
		number = number * 10 + (uint32_t)(body[at] - '0');
	if (at < bytes)
		return -1;
	memcpy(ret->command, commands[i], 3);
	ret->number = minus ? -(int32_t)number : (int32_t)number;
	return 0;
}

static int is_hex(const char *p, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++) {
		if (hex(p[i]) < 0)
			return 0;
	}
	return bytes > 0;
}

/* What the sequence with this body is. value is set to the whole sequence beforehand. */
static void classify(const struct hl7_delims *d, const char *body, uint32_t bytes, struct hl7_text *t)
{
	t->kind = HL7_TEXT_UNKNOWN;
	if (bytes == 0)
		return;
	if ((bytes == 1 && letter_stands_for(d, body[0])) || is_hex_body(body, bytes)) {
		t->kind = HL7_TEXT_BYTES;
	} else if (bytes == 1 && (body[0] == 'H' || body[0] == 'N')) {
		t->kind = HL7_TEXT_HIGHLIGHT;
		t->code = body[0];
	} else if (((body[0] == 'C' && bytes == 5) || (body[0] == 'M' && (bytes == 5 || bytes == 7))) &&
	           is_hex(body + 1, bytes - 1)) {
		t->kind = HL7_TEXT_CHARSET;
		t->code = body[0];
		t->value = (struct hl7_span){t->value.offset + 2, bytes - 1};
	} else if (body[0] == 'Z') {
		t->kind = HL7_TEXT_LOCAL;
		t->value = (struct hl7_span){t->value.offset + 2, bytes - 1};
	} else if (!format_command(body, bytes, t)) {
		t->kind = HL7_TEXT_FORMAT;
	}
}

int hl7_text_next(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, uint32_t *io_at,
                  struct hl7_text *ret)
{
	uint32_t at = *io_at, left = in_bytes - at, plain, body;

	if (left == 0)
		return 0;
	memset(ret, 0, sizeof *ret);
	plain = delims->escape ? hl7_find1(in + at, left, delims->escape) : left;
	body = plain < left ? hl7_find1(in + at + plain + 1, left - plain - 1, delims->escape) : 0;
	if (plain == left || plain + 1 + body == left) { /* no sequence any more */
		ret->value = (struct hl7_span){at, left};
		*io_at = in_bytes;
	} else if (plain) {
		ret->value = (struct hl7_span){at, plain};
		*io_at = at + plain;
	} else {
		ret->value = (struct hl7_span){at, body + 2};
		*io_at = at + body + 2;
		classify(delims, in + at + 1, body, ret);
	}
	return 1;
}

/* What a format command looks like in plain text: @ret_c repeated as often as returned. */
static uint32_t format_plain(const struct hl7_text *t, char *ret_c)
{
	uint32_t n = t->number < 0 ? 0 : t->number > HL7_TEXT_SKIP_MAX ? HL7_TEXT_SKIP_MAX : (uint32_t)t->number;

	*ret_c = '\n';
	if (!strcmp(t->command, "br") || !strcmp(t->command, "ce"))
		return 1;
	if (!strcmp(t->command, "sp"))
		return n ? n : 1;
	*ret_c = ' ';
	return strcmp(t->command, "sk") ? 0 : n;
}

int hl7_text_plain(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max)
{
	uint32_t at = 0, n = 0, from = 0;
	struct hl7_text t;

	for (; hl7_text_next(delims, in, in_bytes, &at, &t); from = at) {
		int made = 0;

		if (t.kind == HL7_TEXT_FORMAT) {
			char c;
			uint32_t times = format_plain(&t, &c);

			if (times > out_max - n)
				return -ENOSPC;
			memset(out + n, c, times);
			made = (int)times;
		} else if (t.kind == HL7_TEXT_BYTES) {
			made = hl7_unescape(delims, in + from, at - from, out + n, out_max - n);
		} else if (t.kind != HL7_TEXT_HIGHLIGHT) {
			if (at - from > out_max - n)
				return -ENOSPC;
			memcpy(out + n, in + from, at - from);
			made = (int)(at - from);
		}
		if (made < 0)
			return made;
		n += (uint32_t)made;
	}
	return (int)n;
}
