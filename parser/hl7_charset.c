/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_charset.c - names of character sets (MSH-18), and whether bytes can be what was declared.
 *
 * Called by acceptance checks and the tools, on any core. It changes no byte: converting is iconv's work, outside.
 */
#include "hl7_scan.h"

static const struct {
	int charset;
	const char *name; /* table 0211 */
	const char *iconv;
	const char *aliases; /* normalised: capitals and digits only, each ended by a space */
} charsets[] = {
    {HL7_CHARSET_ASCII, "ASCII", "ASCII", "ASCII USASCII ISOIR6 ANSIX34 7BIT "},
    {HL7_CHARSET_8859_1, "8859/1", "ISO-8859-1", "88591 ISO88591 LATIN1 ISOIR100 WINDOWS1252 "},
    {HL7_CHARSET_8859_2, "8859/2", "ISO-8859-2", "88592 ISO88592 LATIN2 ISOIR101 "},
    {HL7_CHARSET_8859_3, "8859/3", "ISO-8859-3", "88593 ISO88593 ISOIR109 "},
    {HL7_CHARSET_8859_4, "8859/4", "ISO-8859-4", "88594 ISO88594 ISOIR110 "},
    {HL7_CHARSET_8859_5, "8859/5", "ISO-8859-5", "88595 ISO88595 ISOIR144 "},
    {HL7_CHARSET_8859_6, "8859/6", "ISO-8859-6", "88596 ISO88596 ISOIR127 "},
    {HL7_CHARSET_8859_7, "8859/7", "ISO-8859-7", "88597 ISO88597 ISOIR126 "},
    {HL7_CHARSET_8859_8, "8859/8", "ISO-8859-8", "88598 ISO88598 ISOIR138 "},
    {HL7_CHARSET_8859_9, "8859/9", "ISO-8859-9", "88599 ISO88599 ISOIR148 "},
    {HL7_CHARSET_8859_15, "8859/15", "ISO-8859-15", "885915 ISO885915 LATIN9 "},
    {HL7_CHARSET_UTF8, "UNICODE UTF-8", "UTF-8", "UNICODEUTF8 UTF8 ISOIR192 UNICODE "},
    {HL7_CHARSET_UTF16, "UNICODE UTF-16", "UTF-16", "UNICODEUTF16 UTF16 "},
    {HL7_CHARSET_UTF32, "UNICODE UTF-32", "UTF-32", "UNICODEUTF32 UTF32 "},
    {HL7_CHARSET_GB18030, "GB 18030-2000", "GB18030", "GB180302000 GB18030 GB2312 GBK "},
    {HL7_CHARSET_BIG5, "BIG-5", "BIG5", "BIG5 "},
    {HL7_CHARSET_CNS11643, "CNS 11643-1992", "EUC-TW", "CNS116431992 CNS11643 "},
    {HL7_CHARSET_KSX1001, "KS X 1001", "EUC-KR", "KSX1001 EUCKR ISOIR149 "},
    {HL7_CHARSET_JIS_X0201, "ISO IR14", "SHIFT_JIS", "ISOIR14 ISOIR13 JISX0201 SHIFTJIS SJIS "},
    {HL7_CHARSET_JIS_X0208, "ISO IR87", "ISO-2022-JP", "ISOIR87 JISX0208 ISO2022JP "},
    {HL7_CHARSET_JIS_X0212, "ISO IR159", "ISO-2022-JP-1", "ISOIR159 JISX0212 "},
};

#define CHARSETS   (sizeof charsets / sizeof charsets[0])
#define NAME_BYTES 24

/* Capitals and digits of @name, and a space. Returns 0 if there are too many to be any name that is known. */
static int normalise(const char *name, uint32_t bytes, char out[NAME_BYTES])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < bytes; i++) {
		char c = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];

		if (!hl7_name_class[(unsigned char)c])
			continue;
		if (n == NAME_BYTES - 2)
			return 0;
		out[n++] = c;
	}
	out[n++] = ' ';
	out[n] = '\0';
	return n > 1;
}

int hl7_charset_find(const char *name, uint32_t bytes)
{
	char plain[NAME_BYTES];

	if (bytes == 0 || (bytes == 2 && !memcmp(name, "\"\"", 2)))
		return HL7_CHARSET_NONE;
	if (!normalise(name, bytes, plain))
		return HL7_CHARSET_UNKNOWN;
	for (unsigned i = 0; i < CHARSETS; i++) {
		const char *found = strstr(charsets[i].aliases, plain);

		for (; found; found = strstr(found + 1, plain)) {
			if (found == charsets[i].aliases || found[-1] == ' ')
				return charsets[i].charset;
		}
	}
	return HL7_CHARSET_UNKNOWN;
}

const char *hl7_charset_name(int charset, int iconv)
{
	for (unsigned i = 0; i < CHARSETS; i++) {
		if (charsets[i].charset == charset)
			return iconv ? charsets[i].iconv : charsets[i].name;
	}
	return NULL;
}

/* The first byte with its high bit set at or after @at, or @bytes. */
static uint32_t skip_ascii(const char *buf, uint32_t bytes, uint32_t at)
{
	for (; bytes - at >= 8; at += 8) {
		uint64_t w;

		memcpy(&w, buf + at, sizeof w);
		if (w & 0x8080808080808080ull)
			break;
	}
	while (at < bytes && (unsigned char)buf[at] < 0x80)
		at++;
	return at;
}

/* Length of the UTF-8 character at @p, 0 if it is not valid: too long a form, surrogates and beyond U+10FFFF are not.
 */
static uint32_t utf8_char(const unsigned char *p, uint32_t left)
{
	uint32_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (n == 0 || left < n)
		return 0;
	for (uint32_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* The first byte that is not UTF-8, or @bytes. */
static uint32_t utf8_end(const char *buf, uint32_t bytes)
{
	uint32_t at = 0, n;

	while ((at = skip_ascii(buf, bytes, at)) < bytes) {
		n = utf8_char((const unsigned char *)buf + at, bytes - at);
		if (!n)
			break;
		at += n;
	}
	return at;
}

/* The first byte that is one of the control characters 0x80-0x9F, which no 8859 text holds, or @bytes. */
static uint32_t iso8859_end(const char *buf, uint32_t bytes)
{
	uint32_t at = 0;

	while ((at = skip_ascii(buf, bytes, at)) < bytes) {
		if ((unsigned char)buf[at] < 0xa0)
			break;
		at++;
	}
	return at;
}

int hl7_charset_check(int charset, const char *buf, uint32_t bytes, uint32_t *ret_offset)
{
	uint32_t end = bytes;

	if (charset == HL7_CHARSET_ASCII || charset == HL7_CHARSET_JIS_X0208 || charset == HL7_CHARSET_JIS_X0212)
		end = skip_ascii(buf, bytes, 0); /* ISO 2022 shifts between sets with seven bits */
	else if (charset == HL7_CHARSET_UTF8)
		end = utf8_end(buf, bytes);
	else if (charset >= HL7_CHARSET_8859_1 && charset <= HL7_CHARSET_8859_15)
		end = iso8859_end(buf, bytes);
	if (end == bytes)
		return 0;
	if (ret_offset)
		*ret_offset = end;
	return HL7_E_CHARSET;
}

int hl7_charset_guess(const char *buf, uint32_t bytes)
{
	if (bytes >= 2 && (!memcmp(buf, "\xff\xfe", 2) || !memcmp(buf, "\xfe\xff", 2)))
		return HL7_CHARSET_UTF16;
	if (bytes && memchr(buf, 0, bytes))
		return HL7_CHARSET_UTF16;
	if (skip_ascii(buf, bytes, 0) == bytes)
		return HL7_CHARSET_ASCII;
	if (utf8_end(buf, bytes) == bytes)
		return HL7_CHARSET_UTF8;
	return iso8859_end(buf, bytes) == bytes ? HL7_CHARSET_8859_1 : HL7_CHARSET_UNKNOWN;
}
