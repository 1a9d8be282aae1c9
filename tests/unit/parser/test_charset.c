/* SPDX-License-Identifier: Apache-2.0 */
/* test_charset.c - names of character sets, and declarations that lie. */
#include "kernels.h"

static int find(const char *name)
{
	return hl7_charset_find(name, (uint32_t)strlen(name));
}

static void names_of_table_0211_and_common_spellings(void **state)
{
	assert_int_equal(find(""), HL7_CHARSET_NONE);
	assert_int_equal(find("\"\""), HL7_CHARSET_NONE);
	assert_int_equal(find("UNICODE UTF-8"), HL7_CHARSET_UTF8);
	assert_int_equal(find("utf8"), HL7_CHARSET_UTF8);
	assert_int_equal(find("8859/1"), HL7_CHARSET_8859_1);
	assert_int_equal(find("ISO-8859-1"), HL7_CHARSET_8859_1);
	assert_int_equal(find("8859/15"), HL7_CHARSET_8859_15);
	assert_int_equal(find("ISO IR87"), HL7_CHARSET_JIS_X0208);
	assert_int_equal(find("GB 18030-2000"), HL7_CHARSET_GB18030);
	assert_int_equal(find("8859"), HL7_CHARSET_UNKNOWN);
	assert_int_equal(find("FT8"), HL7_CHARSET_UNKNOWN);
	assert_int_equal(find("--"), HL7_CHARSET_UNKNOWN);
	assert_int_equal(find("a name that is much too long to be one"), HL7_CHARSET_UNKNOWN);
	for (int c = HL7_CHARSET_ASCII; c < HL7_CHARSET_UNKNOWN; c++) {
		assert_non_null(hl7_charset_name(c, 0));
		assert_int_equal(find(hl7_charset_name(c, 0)), c);
		assert_non_null(hl7_charset_name(c, 1));
	}
	assert_null(hl7_charset_name(HL7_CHARSET_NONE, 0));
	assert_null(hl7_charset_name(HL7_CHARSET_UNKNOWN, 1));
}

static void bytes_that_cannot_be_are_found(void **state)
{
	static const struct {
		int charset;
		const char *bytes;
		int offset; /* -1 = fine */
	} want[] = {
	    {HL7_CHARSET_ASCII, "a long stretch of plain text", -1},
	    {HL7_CHARSET_ASCII, "a long stretch of plain te\xc3\xbct", 26},
	    {HL7_CHARSET_UTF8, "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80", -1},
	    {HL7_CHARSET_UTF8, "M\xfcller", 1},
	    {HL7_CHARSET_UTF8, "x\xc0\xaf", 1}, /* too long a form */
	    {HL7_CHARSET_UTF8, "x\xe0\x80\xaf", 1},
	    {HL7_CHARSET_UTF8, "x\xed\xa0\x80", 1},     /* a surrogate */
	    {HL7_CHARSET_UTF8, "x\xf4\x90\x80\x80", 1}, /* beyond U+10FFFF */
	    {HL7_CHARSET_UTF8, "x\xf0\x80\x80\x80", 1},
	    {HL7_CHARSET_UTF8, "x\xf5\x80\x80\x80", 1},
	    {HL7_CHARSET_UTF8, "cut \xe2\x82", 4},
	    {HL7_CHARSET_8859_1, "M\xfcller", -1},
	    {HL7_CHARSET_8859_1, "price \x80", 6}, /* Windows-1252 */
	    {HL7_CHARSET_JIS_X0208, "\033$B%\"\033(B", -1},
	    {HL7_CHARSET_GB18030, "\x81\x30", -1},
	    {HL7_CHARSET_NONE, "\xff", -1},
	};

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		uint32_t offset = 99, bytes = (uint32_t)strlen(want[i].bytes);
		int rc = hl7_charset_check(want[i].charset, want[i].bytes, bytes, &offset);

		assert_int_equal(rc, want[i].offset < 0 ? 0 : HL7_E_CHARSET);
		assert_int_equal((int)offset, want[i].offset < 0 ? 99 : want[i].offset);
	}
	assert_int_equal(hl7_charset_check(HL7_CHARSET_ASCII, "\xff", 1, NULL), HL7_E_CHARSET);
}

static void bytes_are_guessed(void **state)
{
	assert_int_equal(hl7_charset_guess(TEXT("plain")), HL7_CHARSET_ASCII);
	assert_int_equal(hl7_charset_guess(TEXT("")), HL7_CHARSET_ASCII);
	assert_int_equal(hl7_charset_guess(TEXT("M\xc3\xbcller")), HL7_CHARSET_UTF8);
	assert_int_equal(hl7_charset_guess(TEXT("M\xfcller")), HL7_CHARSET_8859_1);
	assert_int_equal(hl7_charset_guess(TEXT("\x93quoted\x94")), HL7_CHARSET_UNKNOWN);
	assert_int_equal(hl7_charset_guess(TEXT("\xff\xfeM\0S\0")), HL7_CHARSET_UTF16);
	assert_int_equal(hl7_charset_guess(TEXT("\0M\0S")), HL7_CHARSET_UTF16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_of_table_0211_and_common_spellings),
	    cmocka_unit_test(bytes_that_cannot_be_are_found),
	    cmocka_unit_test(bytes_are_guessed),
	};

	return cmocka_run_group_tests_name("charset", tests, NULL, NULL);
}
