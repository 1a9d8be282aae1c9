/* SPDX-License-Identifier: Apache-2.0 */
/* test_batch.c - batch files and plain files of messages, whole and in pieces of every size. */
#include "kernels.h"

#include <stdlib.h>

/* What a stream is, item by item: M message, O other line, F B b f the segments, ! after one with a problem. */
static void read_in_pieces(const char *text, uint32_t bytes, uint32_t piece, char *out, struct hl7_batch *b)
{
	uint32_t at = 0, have = 0, scanned = 0;
	struct hl7_batch_item item;

	memset(b, 0, sizeof *b);
	for (;;) {
		char *exact = malloc(have - at + 1);

		memcpy(exact, text + at, have - at);
		hl7_batch_next(b, exact, have - at, have == bytes, scanned, &item);
		free(exact);
		scanned = item.scanned;
		if (item.status == HL7_BATCH_END)
			break;
		if (item.status == HL7_BATCH_MORE) {
			at += item.consumed;
			assert_true(have < bytes);
			have = have + piece < bytes ? have + piece : bytes;
			continue;
		}
		*out++ = item.status == HL7_BATCH_MESSAGE ? 'M'
		         : item.status == HL7_BATCH_OTHER ? 'O'
		         : item.name == hl7_name("FHS")   ? 'F'
		         : item.name == hl7_name("BHS")   ? 'B'
		         : item.name == hl7_name("BTS")   ? 'b'
		                                          : 'f';
		if (item.rc)
			*out++ = '!';
		if (item.status == HL7_BATCH_MESSAGE)
			assert_memory_equal(text + at + item.offset, "MSH|", 4);
		assert_int_equal(item.offset + item.bytes, item.consumed);
		at += item.consumed;
	}
	*out = '\0';
}

static void streams_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *items;
	} want[] = {
	    {"", ""},
	    {"\r\n\r\n", ""},
	    {"MSH|^~\\&|A\rPID|1\r", "M"},
	    {"\xef\xbb\xbfMSH|^~\\&|A\r\nPID|1\r\n\r\nMSH|^~\\&|B", "MM"},
	    {"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rBTS|2\rFTS|1\r", "FBMMbf"},
	    {"FHS|^~\\&\nBHS|^~\\&\nMSH|^~\\&|A\nBTS|2\nBHS|^~\\&\nBTS|0\nFTS|2\n", "FBMb!Bbf"},
	    {"BHS|^~\\&\rMSH|^~\\&|A\rBTS", "BMb"},
	    {"BHS|^~\\&\rMSH|^~\\&|A\rBTS\r", "BMb"},
	    {"BHS|^~\\&\rBHS|^~\\&\rFTS|9\r", "BB!f!"},
	    {"FHS|^~\\&\rFHS|^~\\&\rBTS|\rFTS\r", "FF!b!f"},
	    {"# a note\nand one more\nMSH|^~\\&|A\nMSHX\nMS\n", "OOM"},
	    {"PID|1\rMSH", "OO"},
	    {"x", "O"},
	    {"MSH|^~\\&|A\rOBX|1|TX|||FHS|\rFTSx|\rZBH|MSH|\r", "M"},
	};

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		uint32_t bytes = (uint32_t)strlen(want[i].text);

		for (uint32_t piece = 1; piece <= bytes + 1; piece++) {
			struct hl7_batch b;
			char items[64];

			read_in_pieces(want[i].text, bytes, piece, items, &b);
			assert_string_equal(items, want[i].items);
			assert_int_equal(b.problems != 0, strchr(want[i].items, '!') != NULL);
		}
	}
}

static void a_long_message_is_scanned_once(void **state)
{
	char *text = malloc(1 << 20);
	uint32_t bytes = (uint32_t)sprintf(text, "MSH|^~\\&|A\r"), scanned = 0, last = 0;
	struct hl7_batch b = {0};
	struct hl7_batch_item item;

	memset(text + bytes, 'x', 300000); /* a line that many pieces do not end */
	bytes += 300000;
	text[bytes++] = '\r';
	for (unsigned i = 0; i < 10000; i++)
		bytes += (uint32_t)sprintf(text + bytes, "OBX|%u|TX|||some text\r", i);
	for (uint32_t have = 4096; have < bytes; have += 4096) {
		hl7_batch_next(&b, text, have, 0, scanned, &item);
		assert_int_equal(item.status, HL7_BATCH_MORE);
		assert_true(item.scanned > last && item.scanned + 64 > have); /* it goes on where it was */
		last = scanned = item.scanned;
	}
	hl7_batch_next(&b, text, bytes, 1, scanned, &item);
	assert_int_equal(item.status, HL7_BATCH_MESSAGE);
	assert_int_equal(item.bytes, bytes);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(streams_are_taken_apart),
	    cmocka_unit_test(a_long_message_is_scanned_once),
	};

	return RUN_ON_EVERY_KERNEL("batch", tests);
}
