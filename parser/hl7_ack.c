/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_ack.c - writes the acknowledgement of a message: MSH, MSA and, when something is wrong, ERR.
 *
 * Called once per message on a pipeline's core, after the message is on disk. It must never put a byte of the message
 * into the answer but the fields that the standard wants echoed.
 */
#include "hl7_scan.h"

#include <errno.h>

#define FIXED_BYTES 256 /* everything but what is copied: names, separators, times, numbers, texts of table 0357 */

/* Minor versions of HL7 2 where acknowledgements change. */
#define V_TRIGGER   3 /* MSH-9 = ACK^trigger */
#define V_STRUCTURE 4 /* MSH-9 = ACK^trigger^ACK */
#define V_ERL       5 /* ERR-2 ff. instead of ERR-1 */
#define V_NO_MSA3   7 /* MSA-3 withdrawn */
#define V_DEFAULT   5

static const struct {
	uint32_t code;
	const char *text;
} conditions[] = {
    {100, "Segment sequence error"},   {101, "Required field missing"},
    {102, "Data type error"},          {103, "Table value not found"},
    {104, "Value too long"},           {200, "Unsupported message type"},
    {201, "Unsupported event code"},   {202, "Unsupported processing id"},
    {203, "Unsupported version id"},   {204, "Unknown key identifier"},
    {205, "Duplicate key identifier"}, {206, "Application record locked"},
    {207, "Application error"},
};

/* The answer as it grows. Room was checked before: nothing here can overrun. */
struct answer {
	char *p;
	struct hl7_delims d;
	const struct hl7_ack *a;
	unsigned minor; /* version 2.minor */
};

static void put(struct answer *o, const char *text, size_t bytes)
{
	memcpy(o->p, text, bytes);
	o->p += bytes;
}

static void put_text(struct answer *o, const char *text)
{
	put(o, text, strlen(text));
}

static void put_char(struct answer *o, char c)
{
	*o->p++ = c;
}

static void put_field(struct answer *o, unsigned n)
{
	const struct hl7_ack *a = o->a;

	put(o, a->msg + a->msh->field[n].offset, a->msh->field[n].bytes);
}

static void put_number(struct answer *o, uint32_t n)
{
	char digits[10];
	unsigned i = sizeof digits;

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(o, digits + i, sizeof digits - i);
}

/* @n of the field separators (or another character). */
static void put_times(struct answer *o, char c, unsigned n)
{
	memset(o->p, c, n);
	o->p += n;
}

/* The message may declare any punctuation a delimiter, that of our own texts too. */
static int is_delim(const struct hl7_delims *d, char c)
{
	return c == d->field || c == d->component || c == d->repetition || c == d->escape || c == d->subcomponent ||
	       c == d->truncation;
}

static void put_2digits(char *p, unsigned n)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
}

/* YYYYMMDDHHMMSS and, where the version knows it, +ZZZZ. Days to date after the proleptic Gregorian calendar. */
static void put_time(struct answer *o)
{
	int64_t utc_s = (int64_t)(o->a->time_ns / 1000000000u);
	int32_t offset = o->a->utc_offset_minutes;
	int64_t local_s = utc_s + (int64_t)offset * 60;
	uint64_t s = local_s < 0 ? 0 : (uint64_t)local_s;
	uint32_t day = (uint32_t)(s / 86400), of_day = (uint32_t)(s % 86400);
	/* Years begin on 1 March here, so that the leap day is the last one; eras are 400 years. */
	uint32_t z = day + 719468, era = z / 146097, doe = z % 146097;
	uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	uint32_t month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);
	uint32_t minutes = (uint32_t)(offset < 0 ? -offset : offset);
	char sign = offset < 0 ? '-' : '+';

	put_2digits(o->p, year / 100 % 100);
	put_2digits(o->p + 2, year % 100);
	put_2digits(o->p + 4, month);
	put_2digits(o->p + 6, doy - (153 * mp + 2) / 5 + 1);
	put_2digits(o->p + 8, of_day / 3600);
	put_2digits(o->p + 10, of_day / 60 % 60);
	put_2digits(o->p + 12, of_day % 60);
	o->p += 14;
	if (o->minor < 2 || is_delim(&o->d, sign))
		return;
	put_char(o, sign);
	put_2digits(o->p, minutes / 60 % 100);
	put_2digits(o->p + 2, minutes % 60);
	o->p += 4;
}

/* Free text: delimiters escaped, or blanked where there is no escape character; nothing but printable ASCII. */
static void put_escaped(struct answer *o, const char *text)
{
	const struct hl7_delims *d = &o->d;

	for (; *text; text++) {
		char c = *text;
		char letter = c == d->field          ? 'F'
		              : c == d->component    ? 'S'
		              : c == d->subcomponent ? 'T'
		              : c == d->repetition   ? 'R'
		              : c == d->escape       ? 'E'
		              : c == d->truncation   ? 'P'
		                                     : 0;

		if (letter && d->escape) {
			put_char(o, d->escape);
			put_char(o, letter);
			put_char(o, d->escape);
		} else {
			put_char(o, letter || (unsigned char)c < ' ' ? ' ' : (unsigned char)c < 0x7f ? c : '?');
		}
	}
}

/* The first component of a field. */
static struct hl7_span first_component(const struct hl7_ack *a, unsigned n, char component)
{
	struct hl7_span f = a->msh->field[n];

	if (component)
		f.bytes = hl7_find1(a->msg + f.offset, f.bytes, component);
	return f;
}

/* The x of "2.x" in MSH-12, or V_DEFAULT. */
static unsigned version_minor(const struct hl7_ack *a, int *ret_usable)
{
	struct hl7_span v;
	const char *p;

	*ret_usable = 0;
	if (!a->msh)
		return V_DEFAULT;
	v = first_component(a, 12, a->msh->delims.component);
	p = a->msg + v.offset;
	if (v.bytes < 3 || p[0] != '2' || p[1] != '.' || p[2] < '1' || p[2] > '9' || (v.bytes > 3 && p[3] != '.'))
		return V_DEFAULT;
	*ret_usable = 1;
	return (unsigned)(p[2] - '0');
}

/* MSH-9: ACK, ACK^trigger or ACK^trigger^ACK. */
static void put_type(struct answer *o)
{
	const struct hl7_ack *a = o->a;
	char component = o->d.component;
	struct hl7_span type, rest;

	put(o, "ACK", 3);
	if (!a->msh || !component || o->minor < V_TRIGGER)
		return;
	type = first_component(a, 9, component);
	if (type.bytes == a->msh->field[9].bytes)
		return;
	rest.offset = type.offset + type.bytes + 1;
	rest.bytes = a->msh->field[9].bytes - type.bytes - 1;
	rest.bytes = hl7_find1(a->msg + rest.offset, rest.bytes, component);
	if (rest.bytes == 0)
		return;
	put_char(o, component);
	put(o, a->msg + rest.offset, rest.bytes);
	if (o->minor >= V_STRUCTURE) {
		put_char(o, component);
		put(o, "ACK", 3);
	}
}

/* A copied field, or @instead where the message has none. */
static void put_echo(struct answer *o, unsigned n, const char *instead)
{
	if (o->a->msh && o->a->msh->field[n].bytes)
		put_field(o, n);
	else
		put_text(o, instead);
}

static void put_msh(struct answer *o, int version_usable)
{
	const struct hl7_ack *a = o->a;
	char f = o->d.field;

	put(o, "MSH", 3);
	put_char(o, f);
	if (a->msh)
		put_field(o, 2);
	else
		put(o, "^~\\&", 4);
	put_char(o, f);
	if (a->app)
		put_text(o, a->app);
	else
		put_echo(o, 5, "");
	put_char(o, f);
	if (a->facility)
		put_text(o, a->facility);
	else
		put_echo(o, 6, "");
	put_char(o, f);
	put_echo(o, 3, "");
	put_char(o, f);
	put_echo(o, 4, "");
	put_char(o, f);
	put_time(o);
	put_times(o, f, 2);
	put_type(o);
	put_char(o, f);
	put(o, a->control_id, a->control_id_bytes);
	put_char(o, f);
	put_echo(o, 11, "P");
	put_char(o, f);
	if (version_usable)
		put_field(o, 12);
	else if (!is_delim(&o->d, '.'))
		put(o, "2.5", 3);
	if (a->msh && a->msh->field[18].bytes) {
		put_times(o, f, 6);
		put_field(o, 18);
	}
	put_char(o, '\r');
}

static void put_msa(struct answer *o)
{
	const struct hl7_ack *a = o->a;

	put(o, "MSA", 3);
	put_char(o, o->d.field);
	put_text(o, a->code);
	put_char(o, o->d.field);
	if (a->msh)
		put_field(o, 10);
	if (a->text && *a->text && o->minor < V_NO_MSA3) {
		put_char(o, o->d.field);
		put_escaped(o, a->text);
	}
	put_char(o, '\r');
}

/* A location: segment, sequence and then as deep as the error is known, parted by @between. */
static void put_location(struct answer *o, char between, int with_repetition)
{
	const struct hl7_error *e = o->a->err;
	uint16_t deep[4] = {0};
	unsigned n = 0;

	if (!e || !e->segment[0])
		return;
	put(o, e->segment, strnlen(e->segment, 3));
	if (!e->sequence)
		return;
	put_char(o, between);
	put_number(o, e->sequence);
	if (!e->field)
		return;
	put_char(o, between);
	put_number(o, e->field);
	if (!with_repetition)
		return;
	deep[n++] = e->repetition ? e->repetition : e->component ? 1 : 0;
	deep[n++] = e->component;
	deep[n++] = e->component ? e->subcomponent : 0;
	for (unsigned i = 0; i < n && deep[i]; i++) {
		put_char(o, between);
		put_number(o, deep[i]);
	}
}

static const char *condition_text(uint32_t code)
{
	for (unsigned i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
		if (conditions[i].code == code)
			return conditions[i].text;
	}
	return "Application error";
}

/* A coded value of table 0357, its parts divided by @between, or by nothing known: then the number alone. */
static void put_condition(struct answer *o, char between)
{
	put_number(o, o->a->err_code);
	if (!between)
		return;
	put_char(o, between);
	put_text(o, condition_text(o->a->err_code));
	put_char(o, between);
	put(o, "HL70357", 7);
}

/* Up to 2.4 everything is in ERR-1: segment^sequence^field^code&text&HL70357. */
static void put_err_1(struct answer *o)
{
	const struct hl7_error *e = o->a->err;
	char component = o->d.component;
	unsigned parts = !e || !e->segment[0] ? 0 : !e->sequence ? 1 : !e->field ? 2 : 3;

	put_char(o, o->d.field);
	if (!component) { /* MSH-2 leaves no way to divide it */
		put_number(o, o->a->err_code);
		return;
	}
	put_location(o, component, 0);
	put_times(o, component, parts ? 4 - parts : 3);
	put_condition(o, o->d.subcomponent);
}

static void put_err(struct answer *o)
{
	const struct hl7_ack *a = o->a;
	char f = o->d.field;

	put(o, "ERR", 3);
	if (o->minor < V_ERL) {
		put_err_1(o);
	} else {
		put_times(o, f, 2);
		if (o->d.component)
			put_location(o, o->d.component, 1);
		put_char(o, f);
		put_condition(o, o->d.component);
		put_char(o, f);
		put_char(o, a->err_severity ? a->err_severity : 'E');
		if (a->text && *a->text) {
			put_times(o, f, 4);
			put_escaped(o, a->text);
		}
	}
	put_char(o, '\r');
}

static size_t length_of(const char *text)
{
	return text ? strlen(text) : 0;
}

uint32_t hl7_ack_bytes(const struct hl7_ack *a)
{
	/* The text may stand in MSA-3 and in ERR-8, each character as three. MSH-9's trigger and MSH-10 are in MSH
	 * once. */
	size_t bytes = FIXED_BYTES + a->control_id_bytes + length_of(a->code) + length_of(a->app) +
	               length_of(a->facility) + 6 * length_of(a->text) + (a->msh ? a->msh->segment_bytes : 0);

	return bytes > INT32_MAX ? INT32_MAX : (uint32_t)bytes;
}

int hl7_ack_build(char *out, uint32_t out_max, const struct hl7_ack *a)
{
	static const struct hl7_delims usual = {'|', '^', '~', '\\', '&', 0};
	struct answer o = {.p = out, .a = a, .d = a->msh ? a->msh->delims : usual};
	int version_usable;

	if (hl7_ack_bytes(a) > out_max)
		return -ENOSPC;
	o.minor = version_minor(a, &version_usable);
	put_msh(&o, version_usable);
	put_msa(&o);
	if (a->err_code)
		put_err(&o);
	return (int)(o.p - out);
}
