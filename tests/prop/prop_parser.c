/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prop_parser.c - the parser's properties over seeded random messages. A failure is shrunk and printed with its seed.
 *
 *   prop_parser [ROUNDS [SEED]]
 */
#include "parser_props.h"

static uint64_t rng_state;

static uint32_t rng(void)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng_state >> 33);
}

/* One input and all that decides how it is looked at. */
struct trial {
	uint8_t data[700];
	size_t size;
	uint32_t knob;
};

static void put(struct trial *t, const char *text)
{
	size_t n = strlen(text);

	if (t->size + n <= sizeof t->data) {
		memcpy(t->data + t->size, text, n);
		t->size += n;
	}
}

/* Mostly a message: a header, then lines of delimiters, names and text; now and then noise. */
static void make_message(struct trial *t)
{
	static const char *const heads[] = {"MSH|^~\\&|A|B|C|D|2026||ADT^A01^ADT_A01|1|P|2.5",
	                                    "MSH|^~\\&",
	                                    "MSH*:+!@#*x*y",
	                                    "MSH|^~\\&#|A",
	                                    "MSH|^|A|B",
	                                    "MSH|^~|",
	                                    "MSH|^~\\& |B"};
	static const char *const bits[] = {
	    "|",
	    "|",
	    "||",
	    "^",
	    "~",
	    "\\",
	    "&",
	    "\r",
	    "\rPID|",
	    "\rOBX|",
	    "\rZ1|",
	    "\nPV1|",
	    "\r\n",
	    "\r\r",
	    "x",
	    "text",
	    "\"\"",
	    "*",
	    ":",
	    "+",
	    "@",
	    "\\F\\",
	    "\rMSH|^~\\&|",
	    "\rPID|a^b&c~d^e&f|^x~y^|",
	    "\rOBX|~a^b|&&^c~",
	    "a long stretch of text without any delimiter, longer than a block of bytes"};
	uint32_t pieces = rng() % 60;

	t->size = 0;
	t->knob = rng();
	put(t, heads[rng() % (sizeof heads / sizeof heads[0])]);
	while (pieces--) {
		put(t, bits[rng() % (sizeof bits / sizeof bits[0])]);
		if (rng() % 50 == 0 && t->size)
			t->data[rng() % t->size] = (uint8_t)rng();
	}
}

static void make_stream(struct trial *t)
{
	static const char *const bits[] = {
	    "\v",
	    "\v",
	    "\034\r",
	    "\034\r",
	    "\034",
	    "\r",
	    "x",
	    "MSH|^~\\&|A\r",
	    "a long stretch of text without any delimiter, longer than a block of bytes"};
	uint32_t pieces = rng() % 30;

	t->size = 0;
	t->knob = rng();
	while (pieces--)
		put(t, bits[rng() % (sizeof bits / sizeof bits[0])]);
}

static void make_from(struct trial *t, const char *const *bits, uint32_t count)
{
	uint32_t pieces = rng() % 30;

	t->size = 0;
	t->knob = rng();
	while (pieces--)
		put(t, bits[rng() % count]);
}

static void make_text(struct trial *t)
{
	static const char *const bits[] = {
	    "\\",        "\\",     "F\\",   "\\S\\",         "\\X4142\\", "\\X4\\", "\\.br\\", "\\.sp+3\\", "\\H\\",
	    "\\C2842\\", "\\Zx\\", "plain", "M\xc3\xbcller", "|",         "&",      "\r",      "!",         "\xff\x80"};

	make_from(t, bits, sizeof bits / sizeof bits[0]);
}

static void make_batch(struct trial *t)
{
	static const char *const bits[] = {"\xef\xbb\xbf",
	                                   "FHS|^~\\&\r",
	                                   "BHS|^~\\&\n",
	                                   "MSH|^~\\&|A\r",
	                                   "MSH|^~\\&|B\r\n",
	                                   "PID|1\r",
	                                   "OBX|text",
	                                   "BTS|1\r",
	                                   "BTS\r\n",
	                                   "FTS|1\n",
	                                   "\r\n",
	                                   "MS",
	                                   "H|",
	                                   "\n",
	                                   "a note\r"};

	make_from(t, bits, sizeof bits / sizeof bits[0]);
}

static const char *try_index(const struct trial *t)
{
	return prop_index(t->data, t->size, t->knob & 1, t->knob % 16 ? 0 : 1200 + t->knob % 3000, t->knob);
}

static const char *try_walk(const struct trial *t)
{
	return prop_walk(t->data, t->size, t->knob & 1, t->knob >> 1);
}

static const char *try_kernels(const struct trial *t)
{
	return prop_kernels(t->data, t->size, "|^~&\r\n");
}

static const char *try_mllp(const struct trial *t)
{
	return prop_mllp(t->data, t->size, 1 + t->knob % 70);
}

static const char *try_text(const struct trial *t)
{
	return prop_text(t->data, t->size, t->knob);
}

static const char *try_batch(const struct trial *t)
{
	return prop_batch(t->data, t->size, 1 + t->knob % 90);
}

static const char *try_edit(const struct trial *t)
{
	return prop_edit(t->data, t->size, t->knob & 1, t->knob >> 1);
}

static const char *try_ack(const struct trial *t)
{
	return prop_ack(t->data, t->size, t->knob);
}

/* Leaves out whatever can be left out while it still fails. */
static void shrink(struct trial *t, const char *(*holds)(const struct trial *))
{
	for (size_t chunk = t->size / 2; chunk; chunk /= 2) {
		for (size_t at = 0; at + chunk <= t->size;) {
			struct trial less = *t;

			memmove(less.data + at, less.data + at + chunk, less.size - at - chunk);
			less.size -= chunk;
			if (holds(&less))
				*t = less;
			else
				at += chunk;
		}
	}
}

static void print_bytes(const struct trial *t)
{
	for (size_t i = 0; i < t->size; i++)
		printf(t->data[i] >= ' ' && t->data[i] < 0x7f && t->data[i] != '\\' ? "%c" : "\\x%02x", t->data[i]);
	printf("\n");
}

static const struct {
	const char *name;
	void (*make)(struct trial *);
	const char *(*holds)(const struct trial *);
} props[] = {
    {"index", make_message, try_index}, {"walk", make_message, try_walk},   {"kernels", make_message, try_kernels},
    {"frames", make_stream, try_mllp},  {"text", make_text, try_text},      {"batches", make_batch, try_batch},
    {"edits", make_message, try_edit},  {"answers", make_message, try_ack},
};

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 20000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 20260112;
	int failed = 0;

	for (unsigned i = 0; i < sizeof props / sizeof props[0]; i++) {
		const char *why = NULL;
		struct trial t;
		unsigned round = 0;

		rng_state = seed + i;
		for (; round < rounds && !why; round++) {
			props[i].make(&t);
			why = props[i].holds(&t);
		}
		printf("%s: %u messages, seed %llu: %s\n", props[i].name, round, (unsigned long long)seed,
		       why ? "FAILED" : "ok");
		if (!why)
			continue;
		failed = 1;
		shrink(&t, props[i].holds);
		printf("  does not hold: %s\n  knob %u, %zu bytes: ", props[i].holds(&t), t.knob, t.size);
		print_bytes(&t);
	}
	return failed;
}
