/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.c - example: read one message from standard input, print who it is about and every result in it.
 *
 *   cc fields.c $(pkg-config --cflags --libs millrace-hl7) && ./a.out < oru.hl7
 */
#include <hl7.h>

#include <stdio.h>
#include <string.h>

static char msg[1 << 20];
static uint32_t room[1 << 16] __attribute__((aligned(16)));

static struct hl7_path path(const char *text)
{
	struct hl7_path p = {0};
	struct hl7_error err;

	if (hl7_path_compile(text, (uint32_t)strlen(text), &p, &err))
		fprintf(stderr, "%s: %s at character %u\n", text, hl7_strerror(err.code), err.offset);
	return p;
}

/* A value as text, with its escape sequences resolved. */
static void print(const struct hl7_index *ix, struct hl7_span s)
{
	char text[4096];
	int n = hl7_unescape(&ix->delims, msg + s.offset, s.bytes, text, sizeof text);

	printf("%.*s", n < 0 ? 0 : n, text);
}

int main(void)
{
	uint32_t bytes = (uint32_t)fread(msg, 1, sizeof msg, stdin);
	struct hl7_path id = path("PID-3.1"), code = path("OBX(*)-3.1"), value = path("OBX(*)-5");
	struct hl7_iter codes, values;
	struct hl7_span s, v;
	struct hl7_index ix;
	struct hl7_error err;

	if (hl7_index(msg, bytes, HL7_F_EOL_LENIENT, room, sizeof room, &ix, &err)) {
		fprintf(stderr, "%s (byte %u)\n", hl7_strerror(err.code), err.offset);
		return 1;
	}
	if (hl7_get(&ix, &id, &s)) {
		printf("patient ");
		print(&ix, s);
		printf("\n");
	}
	/* Both walk over the same segments, so they stay in step. */
	hl7_iter_init(&codes, &ix, &code);
	hl7_iter_init(&values, &ix, &value);
	while (hl7_iter_next(&codes, &s) && hl7_iter_next(&values, &v)) {
		printf("result %u: ", codes.seen);
		print(&ix, s);
		printf(" = ");
		print(&ix, v);
		printf("\n");
	}
	return 0;
}
