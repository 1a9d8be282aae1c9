/* SPDX-License-Identifier: Apache-2.0 */
/* test_path.c - the index and what paths find in it. */
#include "kernels.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t memory[16384] __attribute__((aligned(16)));

static const char oru[] = "MSH|^~\\&|LAB|HOSP|HUB|HIE|20260101||ORU^R01^ORU_R01|1|P|2.5\r"
                          "PID|1||A1^^^MR&1.2&ISO~B2^^^SS||DOE^JANE^^^||\"\"|F\r"
                          "PV1\r"
                          "OBX|1|NM|718-7^Hb^LN||13.5|g/dL\r"
                          "OBX|2|ST|2345-7^Glu||x~y~\r"
                          "ZPI|own|a^b\r"
                          "not a segment\r"
                          "OBX|3|FT|||";

static const char *get_from(const struct hl7_index *ix, const char *path)
{
	static char copy[256];
	struct hl7_span s;
	struct hl7_path p;

	assert_int_equal(hl7_path_compile(path, (uint32_t)strlen(path), &p, NULL), 0);
	if (!hl7_get(ix, &p, &s))
		return "-";
	assert_true(s.bytes > 0 && s.bytes < sizeof copy);
	memcpy(copy, ix->msg + s.offset, s.bytes);
	copy[s.bytes] = '\0';
	return copy;
}

static struct hl7_index indexed(const char *msg, uint32_t bytes, uint32_t flags)
{
	struct hl7_index ix;

	assert_int_equal(hl7_index(msg, bytes, flags, memory, sizeof memory, &ix, NULL), 0);
	return ix;
}

static void lines_and_fields_are_found(void **state)
{
	struct hl7_index ix = indexed(TEXT(oru), 0);

	assert_int_equal(ix.segments, 8);
	assert_int_equal(ix.odd_lines, 1);
	assert_int_equal(ix.eol_lenient, 0);
	assert_int_equal(hl7_segment_at(&ix, 0)->name, hl7_name("MSH"));
	assert_int_equal(hl7_segment_at(&ix, 1)->offset, strstr(oru, "PID") - oru);
	assert_int_equal(hl7_segment_at(&ix, 2)->fields, 0);
	assert_int_equal(hl7_segment_at(&ix, 3)->fields, 6);
	assert_int_equal(hl7_segment_at(&ix, 5)->name, hl7_name("ZPI"));
	assert_int_equal(hl7_segment_at(&ix, 6)->name, 0);
	assert_int_equal(hl7_segment_at(&ix, 7)->name, hl7_name("OBX"));
	assert_int_equal(ix.entry[ix.entries - 1], sizeof oru - 1);
}

static void paths_find_values(void **state)
{
	static const struct {
		const char *path, *value;
	} want[] = {
	    {"MSH-1", "|"},
	    {"MSH-2", "^~\\&"},
	    {"MSH-2.1", "^~\\&"},
	    {"MSH-2.2", "-"},
	    {"MSH-3", "LAB"},
	    {"MSH-9.1", "ORU"},
	    {"MSH-9.3", "ORU_R01"},
	    {"MSH-9.4", "-"},
	    {"MSH-12", "2.5"},
	    {"MSH-13", "-"},
	    {"PID-3", "A1^^^MR&1.2&ISO~B2^^^SS"},
	    {"PID-3[1]", "A1^^^MR&1.2&ISO"},
	    {"PID-3.1", "A1"},
	    {"PID-3.4.2", "1.2"},
	    {"PID-3-4-3", "ISO"},
	    {"PID.3.4.1", "MR"},
	    {"PID-3[2].1", "B2"},
	    {"PID-3[2].4.1", "SS"},
	    {"PID-3[2].4.2", "-"},
	    {"PID-3[3].1", "-"},
	    {"PID-3[*].4.2", "1.2"},
	    {"PID-5.1", "DOE"},
	    {"PID-5.2.1", "JANE"},
	    {"PID-5.3", "-"},
	    {"PID-7", "\"\""},
	    {"PID-8.1.1", "F"},
	    {"PID-8.2", "-"},
	    {"PID-2", "-"},
	    {"PID-99", "-"},
	    {"PV1-2", "-"},
	    {"PV1", "PV1"},
	    {"OBX-5", "13.5"},
	    {"OBX(2)-5", "x~y~"},
	    {"OBX(2)-5[2]", "y"},
	    {"OBX(2)-5[3]", "-"},
	    {"OBX(3)-2", "FT"},
	    {"OBX(3)-5", "-"},
	    {"OBX(4)-1", "-"},
	    {"OBX(*)-3.3", "LN"},
	    {"ZPI-2.2", "b"},
	    {"ZZZ-1", "-"},
	};
	struct hl7_index ix = indexed(TEXT(oru), 0);

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_string_equal(get_from(&ix, want[i].path), want[i].value);
}

static void the_header_alone_answers_for_msh(void **state)
{
	static const struct {
		const char *path, *value; /* NULL = only the index can tell */
	} want[] = {
	    {"MSH-1", "|"},     {"MSH-2", "^~\\&"}, {"MSH-9.3", "ORU_R01"}, {"MSH-9[2]", ""},   {"MSH-13", ""},
	    {"MSH-25", ""},     {"MSH-26", NULL},   {"PID-3", NULL},        {"MSH(2)-3", NULL}, {"MSH(*)-3", NULL},
	    {"MSH-3[*]", NULL}, {"MSH-2.2", ""},    {"MSH-3.1.1", "LAB"},
	};
	struct hl7_msh msh;

	assert_int_equal(hl7_msh_read(TEXT(oru), &msh, NULL), 0);
	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct hl7_span s = {0, 0};
		struct hl7_path p;
		int rc;

		assert_int_equal(hl7_path_compile(want[i].path, (uint32_t)strlen(want[i].path), &p, NULL), 0);
		rc = hl7_msh_get(oru, &msh, &p, &s);
		assert_int_equal(rc, want[i].value ? want[i].value[0] != 0 : -ERANGE);
		if (rc == 1)
			assert_int_equal(s.bytes, strlen(want[i].value));
		if (rc == 1)
			assert_memory_equal(oru + s.offset, want[i].value, s.bytes);
	}
}

static void null_is_not_empty(void **state)
{
	struct hl7_index ix = indexed(TEXT(oru), 0);
	struct hl7_path p;
	struct hl7_span s;

	assert_int_equal(hl7_path_compile(TEXT("PID-7"), &p, NULL), 0);
	assert_int_equal(hl7_get(&ix, &p, &s), 1);
	assert_int_equal(hl7_is_null(oru, s), 1);
	assert_int_equal(hl7_path_compile(TEXT("PID-8"), &p, NULL), 0);
	assert_int_equal(hl7_get(&ix, &p, &s), 1);
	assert_int_equal(hl7_is_null(oru, s), 0);
}

static void wild_cards_visit_every_place(void **state)
{
	static const struct {
		const char *path, *values;
	} want[] = {
	    {"OBX(*)-5", "1:13.5 2:x~y~ 3: "},
	    {"OBX(*)-3.1", "1/1:718-7 2/1:2345-7 3/1: "},
	    {"OBX(*)-5[*]", "1/1:13.5 2/1:x 2/2:y 2/3: 3/1: "},
	    {"PID-3[*].1", "1/1:A1 1/2:B2 "},
	    {"PID-3[*].4.2", "1/1:1.2 1/2:- "},
	    {"PID-30[*]", "1/1:- "},
	    {"OBX(2)-5[2]", "2/2:y "},
	    {"MSH-2[*]", "1/1:^~\\& "},
	    {"ZZZ(*)-1", ""},
	    {"PV1(*)-1", "1:- "},
	};
	struct hl7_index ix = indexed(TEXT(oru), 0);

	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		char all[256] = "", *at = all;
		struct hl7_path p;
		struct hl7_iter it;
		struct hl7_span s;

		assert_int_equal(hl7_path_compile(want[i].path, (uint32_t)strlen(want[i].path), &p, NULL), 0);
		hl7_iter_init(&it, &ix, &p);
		while (hl7_iter_next(&it, &s)) {
			at += sprintf(at, it.repetition ? "%u/%u:" : "%u:", it.seen, it.repetition);
			at += sprintf(at, s.offset ? "%.*s " : "- ", (int)s.bytes, oru + s.offset);
		}
		assert_string_equal(all, want[i].values);
	}
}

static void line_ends_by_leniency(void **state)
{
	static const char msg[] = "MSH|^~\\&|A\r\nPID|1\nPV1|2\r\r\nOBX|3\n\n";
	struct hl7_index ix = indexed(TEXT(msg), HL7_F_EOL_LENIENT);

	assert_int_equal(ix.segments, 4);
	assert_int_equal(ix.odd_lines, 0);
	assert_int_equal(ix.eol_lenient, 5);
	assert_string_equal(get_from(&ix, "MSH-3"), "A");
	assert_string_equal(get_from(&ix, "PID-1"), "1");
	assert_string_equal(get_from(&ix, "PV1-1"), "2");
	assert_string_equal(get_from(&ix, "OBX-1"), "3");
	ix = indexed(TEXT(msg), 0);
	assert_int_equal(ix.segments, 3); /* MSH, a line with LF in it, a last one */
	assert_int_equal(ix.odd_lines, 2);
	assert_int_equal(ix.eol_lenient, 0);
}

static void batch_headers_count_like_msh(void **state)
{
	struct hl7_index ix = indexed(TEXT("MSH|^~\\&|A\rBHS|^~\\&|B\rFHS|^~\\&|C\r"), 0);

	assert_string_equal(get_from(&ix, "BHS-2"), "^~\\&");
	assert_string_equal(get_from(&ix, "BHS-3"), "B");
	assert_string_equal(get_from(&ix, "FHS-1"), "|");
	assert_string_equal(get_from(&ix, "FHS-3"), "C");
}

static void undeclared_delimiters_divide_nothing(void **state)
{
	struct hl7_index ix = indexed(TEXT("MSH|^|A\rPID|a~b&c^d\r"), 0);

	assert_string_equal(get_from(&ix, "PID-1[1].1.1"), "a~b&c");
	assert_string_equal(get_from(&ix, "PID-1[2]"), "-");
	assert_string_equal(get_from(&ix, "PID-1.1.2"), "-");
	assert_string_equal(get_from(&ix, "PID-1.2"), "d");
}

static void long_values_are_divided_too(void **state)
{
	static char msg[4096];
	struct hl7_index ix;
	int n = sprintf(msg, "MSH|^~\\&|A\rOBX|1|ED|a~");

	memset(msg + n, 'B', 3000);
	strcpy(msg + n + 3000, "^tail|last");
	ix = indexed(msg, (uint32_t)strlen(msg), 0);
	assert_string_equal(get_from(&ix, "OBX-3[2].2"), "tail");
	assert_string_equal(get_from(&ix, "OBX-4"), "last");
	assert_string_equal(get_from(&ix, "OBX-3[3].1"), "-");
}

static void what_fits_is_told_beforehand(void **state)
{
	char msg[2048] = "MSH|^~\\&";
	struct hl7_index ix;
	struct hl7_error err;
	size_t need;

	for (unsigned i = 0; i < 100; i++)
		strcat(msg, i % 3 ? "\rZ12|1|2" : "|x|");
	need = hl7_index_bytes(1 + 34 * 2 + 66 * 2, 67);
	assert_true(need <= sizeof memory);
	assert_int_equal(hl7_index(msg, (uint32_t)strlen(msg), 0, memory, need, &ix, NULL), 0);
	assert_int_equal(ix.segments, 67);
	assert_int_equal(hl7_index(msg, (uint32_t)strlen(msg), 0, memory, 1024, &ix, &err), HL7_E_FULL);
	assert_int_equal(hl7_index(msg, (uint32_t)strlen(msg), 0, memory, 0, &ix, &err), HL7_E_FULL);
	assert_int_equal(hl7_index(msg, 0, 0, memory, need, &ix, &err), HL7_E_SIZE);
	assert_int_equal(err.code, HL7_E_SIZE);
	assert_int_equal(hl7_index(TEXT("PID|1"), 0, memory, need, &ix, &err), HL7_E_HEADER);
}

/* Only delimiters and line ends, at every length: the fullest blocks that there can be. */
static void the_densest_message_stays_within_its_memory(void **state)
{
	static char msg[700];

	for (unsigned kind = 0; kind < 3; kind++) {
		for (uint32_t bytes = 9; bytes < sizeof msg; bytes++) {
			char *exact = malloc(bytes);
			size_t need = hl7_index_bytes(bytes, bytes);
			uint32_t *mem = aligned_alloc(16, need);
			struct hl7_index ix;

			memset(msg, kind == 0 ? '|' : '\r', bytes);
			if (kind == 2) {
				for (uint32_t i = 0; i < bytes; i += 2)
					msg[i] = 'Z';
			}
			memcpy(msg, kind == 0 ? "MSH|^~\\&|" : "MSH|^~\\&\r", 9);
			memcpy(exact, msg, bytes);
			assert_int_equal(hl7_index(exact, bytes, HL7_F_EOL_LENIENT, mem, need, &ix, NULL), 0);
			assert_int_equal(ix.segments, kind < 2 ? 1 : 1 + ix.odd_lines);
			assert_int_equal(hl7_segment_at(&ix, 0)->fields, kind == 0 ? bytes - 7 : 1);
			free(mem);
			free(exact);
		}
	}
}

static void wrong_paths_say_where(void **state)
{
	static const struct {
		const char *text;
		uint32_t offset;
	} wrong[] = {
	    {"", 0},         {"PI", 0},
	    {"pid-5", 0},    {"1ID-5", 0},
	    {"PID-", 4},     {"PID-0", 4},
	    {"PID-x", 4},    {"PID5", 3},
	    {"PID-5.", 6},   {"PID-5.1.1.1", 9},
	    {"PID-3[", 6},   {"PID-3[0]", 6},
	    {"PID-3[1", 7},  {"PID(2", 5},
	    {"PID()-1", 4},  {"PID-65535", 4},
	    {"PID-5 ", 5},   {"PID-99999999999", 4},
	    {"PID[2]-1", 3}, {"PID-3.1[2]", 7},
	};

	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct hl7_path p = {.name = 7};
		struct hl7_error err = {0};

		assert_int_equal(hl7_path_compile(wrong[i].text, (uint32_t)strlen(wrong[i].text), &p, &err),
		                 HL7_E_PATH);
		assert_int_equal(err.offset, wrong[i].offset);
		assert_int_equal(p.name, 7);
	}
}

static void paths_compile(void **state)
{
	struct hl7_path p;

	assert_int_equal(hl7_path_compile(TEXT("OBX(*)-3[65534].2.1"), &p, NULL), 0);
	assert_int_equal(p.name, hl7_name("OBX"));
	assert_int_equal(p.sequence, HL7_PATH_ALL);
	assert_int_equal(p.field, 3);
	assert_int_equal(p.repetition, 65534);
	assert_int_equal(p.component, 2);
	assert_int_equal(p.subcomponent, 1);
	assert_int_equal(p.header, 0);
	assert_int_equal(hl7_path_compile(TEXT("MSH-9.1"), &p, NULL), 0);
	assert_int_equal(p.header, 1);
	assert_int_equal(p.repetition, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_and_fields_are_found),
	    cmocka_unit_test(paths_find_values),
	    cmocka_unit_test(null_is_not_empty),
	    cmocka_unit_test(the_header_alone_answers_for_msh),
	    cmocka_unit_test(wild_cards_visit_every_place),
	    cmocka_unit_test(line_ends_by_leniency),
	    cmocka_unit_test(batch_headers_count_like_msh),
	    cmocka_unit_test(undeclared_delimiters_divide_nothing),
	    cmocka_unit_test(long_values_are_divided_too),
	    cmocka_unit_test(what_fits_is_told_beforehand),
	    cmocka_unit_test(the_densest_message_stays_within_its_memory),
	    cmocka_unit_test(wrong_paths_say_where),
	    cmocka_unit_test(paths_compile),
	};

	return RUN_ON_EVERY_KERNEL("path", tests);
}
