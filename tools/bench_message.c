/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_message.c - the messages of `bench load`: an invented admission of any size, or files with new control IDs.
 *
 * Called once before the load starts. Nothing here describes a real person.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_load.h"
#include "hl7.h"
#include "mllp.h"
#include "split.h"

/* Taken in this order as long as they fit; notes fill the rest. */
static const char *const load_segments[] = {
    "EVN|A01|20261120093000|||ADM01\r",
    "PID|1||900017^^^HUB^MR||TESTER^QUINN^A||19700101|F\r",
    "PV1|1|I|W3^12^A^MAIN||||1007^WELBY^MARCUS\r",
    "NK1|1|TESTER^ROBIN|SPO|1 SAMPLE ROAD^^EXAMPLETON^EX^00000|(000)555-0100\r",
    "PD1|||MAIN CLINIC^^1001|1007^WELBY^MARCUS\r",
    "AL1|1|DA|70618^PENICILLIN^L|MO|HIVES\r",
    "DG1|1||I10^ESSENTIAL HYPERTENSION^I10|||A\r",
    "IN1|1|PLAN7|EX1|EXAMPLE HEALTH|PO BOX 1^^EXAMPLETON^EX^00000|||GRP1||||20260101|20261231\r",
    "OBX|1|NM|8867-4^HEART RATE^LN||72|/min|60-100|N|||F\r",
    "OBX|2|NM|8480-6^SYSTOLIC BLOOD PRESSURE^LN||118|mm[Hg]|90-130|N|||F\r",
    "OBX|3|NM|8462-4^DIASTOLIC BLOOD PRESSURE^LN||76|mm[Hg]|60-85|N|||F\r",
    "OBX|4|NM|8310-5^BODY TEMPERATURE^LN||36.7|Cel|36.0-37.5|N|||F\r",
    "GT1|1||TESTER^QUINN^A||1 SAMPLE ROAD^^EXAMPLETON^EX^00000|(000)555-0100\r",
};

#define LOAD_NOTE_MIN 8
#define LOAD_NOTE_MAX 200
#define LOAD_ED_MIN   65536 /* more than this is filled with one encapsulated document, as in real traffic */

/* Fills exactly @bytes (0 or at least LOAD_NOTE_MIN) with NTE segments, or with an OBX that holds a document. */
static void load_fill(char *at, uint64_t bytes)
{
	static const char words[] = "patient resting comfortably no distress noted plan reviewed with the care team ";
	static const char base64[] =
	    "JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURlY29kZT4+";
	static const char document[] = "OBX|5|ED|PDF^REPORT^L||^AP^PDF^Base64^", end[] = "||||||F\r";

	if (bytes > LOAD_ED_MIN) {
		uint64_t n = bytes - (sizeof(document) - 1) - (sizeof(end) - 1);

		memcpy(at, document, sizeof(document) - 1);
		at += sizeof(document) - 1;
		for (uint64_t i = 0; i < n; i++)
			at[i] = base64[i % (sizeof(base64) - 1)];
		memcpy(at + n, end, sizeof(end) - 1);
		return;
	}
	while (bytes) {
		uint64_t n = bytes > LOAD_NOTE_MAX + LOAD_NOTE_MIN ? LOAD_NOTE_MAX : bytes;

		memcpy(at, "NTE|1||", 7);
		for (uint64_t i = 7; i + 1 < n; i++)
			at[i] = words[(i - 7) % (sizeof(words) - 1)];
		at[n - 1] = '\r';
		at += n;
		bytes -= n;
	}
}

int load_message_make(uint64_t bytes, struct load_message *ret)
{
	static const char msh[] = "MSH|^~\\&|LOADGEN|BENCH|HUB|MAIN|20261120093000||ADT^A01^ADT_A01|";
	static const char after[] = "|P|2.5.1\r";
	uint64_t fixed = sizeof(msh) - 1 + LOAD_ID_BYTES + sizeof(after) - 1, used = fixed;
	struct load_message m = {.head_bytes = 1 + sizeof(msh) - 1 + LOAD_ID_BYTES};
	size_t take = 0;
	char *at;

	must(bytes >= LOAD_SIZE_MIN && bytes <= LOAD_SIZE_MAX);
	m.tail_bytes = (uint32_t)(bytes + MLLP_OVERHEAD - m.head_bytes);
	m.head = malloc(m.head_bytes);
	m.tail = malloc(m.tail_bytes);
	if (!m.head || !m.tail) {
		load_message_free(&m);
		return -ENOMEM;
	}
	m.head[0] = MLLP_SB;
	memcpy(m.head + 1, msh, sizeof(msh) - 1);
	memset(m.head + sizeof(msh), '0', LOAD_ID_BYTES);
	/* A rest that is too short for a note is never left: then the segment before it stays out. */
	while (take < MR_ARRAY_LEN(load_segments)) {
		uint64_t then = used + strlen(load_segments[take]);

		if (then > bytes || (then < bytes && bytes - then < LOAD_NOTE_MIN))
			break;
		used = then;
		take++;
	}
	memcpy(m.tail, after, sizeof(after) - 1);
	at = m.tail + sizeof(after) - 1;
	for (size_t i = 0; i < take; i++) {
		memcpy(at, load_segments[i], strlen(load_segments[i]));
		at += strlen(load_segments[i]);
	}
	load_fill(at, bytes - used);
	m.tail[m.tail_bytes - 2] = MLLP_EB;
	m.tail[m.tail_bytes - 1] = MLLP_CR;
	*ret = m;
	return 0;
}

void load_message_free(struct load_message *m)
{
	free(m->head);
	free(m->tail);
}

struct load_reader {
	const struct cli *cli;
	struct load_message *list;
	uint32_t count, room, left_out;
};

/* Would a receiver that obeys MSH-15/16 answer in any case? */
static bool load_answered(const char *msg, const struct hl7_msh *h)
{
	const struct hl7_span *accept = &h->field[15], *app = &h->field[16];

	return (!accept->bytes && !app->bytes) || (accept->bytes == 2 && memcmp(msg + accept->offset, "AL", 2) == 0) ||
	       (app->bytes == 2 && memcmp(msg + app->offset, "AL", 2) == 0);
}

static int load_take(void *arg, const char *msg, uint32_t bytes, uint32_t line)
{
	struct load_reader *r = arg;
	struct load_message m;
	struct hl7_msh h;
	uint32_t after;

	must(hl7_msh_read(msg, bytes, &h, NULL) == 0);
	if (!h.field[10].offset || !load_answered(msg, &h)) {
		r->left_out++;
		return 0;
	}
	if (r->count == r->room) {
		uint32_t room = r->room ? 2 * r->room : 256;
		struct load_message *p = realloc(r->list, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		r->list = p;
		r->room = room;
	}
	after = h.field[10].offset + h.field[10].bytes;
	m.head_bytes = 1 + h.field[10].offset + LOAD_ID_BYTES;
	m.tail_bytes = bytes - after + 2;
	m.head = malloc(m.head_bytes);
	m.tail = malloc(m.tail_bytes);
	if (!m.head || !m.tail) {
		load_message_free(&m);
		return -ENOMEM;
	}
	m.head[0] = MLLP_SB;
	memcpy(m.head + 1, msg, h.field[10].offset);
	memset(m.head + 1 + h.field[10].offset, '0', LOAD_ID_BYTES);
	memcpy(m.tail, msg + after, bytes - after);
	m.tail[m.tail_bytes - 2] = MLLP_EB;
	m.tail[m.tail_bytes - 1] = MLLP_CR;
	r->list[r->count++] = m;
	return 0;
}

static void load_refuse(void *arg, uint32_t line, const char *text)
{
	struct load_reader *r = arg;

	r->left_out++;
}

static int load_read_file(struct load_reader *r, const char *path, off_t bytes)
{
	struct split_to to = {load_take, load_refuse, r};
	struct split_counts counts = {0};
	char *data = malloc((size_t)bytes + 1);
	FILE *f = fopen(path, "rbe");
	int result = -EIO;

	if (!data || !f)
		result = data ? -errno : -ENOMEM;
	else if (fread(data, 1, (size_t)bytes, f) == (size_t)bytes)
		result = split_messages(data, (size_t)bytes, false, &to, &counts);
	if (f)
		fclose(f);
	free(data);
	return result;
}

static int load_not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int load_read(struct load_reader *r, const char *path, int depth)
{
	struct dirent **names;
	struct stat st;
	int n, result = 0;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return load_read_file(r, path, st.st_size);
	n = depth > 32 ? -1 : scandir(path, &names, load_not_hidden, alphasort);
	if (n < 0)
		return depth > 32 ? -ELOOP : -errno;
	for (int i = 0; i < n; i++) {
		char *below;

		if (result == 0 && asprintf(&below, "%s/%s", path, names[i]->d_name) >= 0) {
			result = load_read(r, below, depth + 1);
			free(below);
		}
		free(names[i]);
	}
	free(names);
	return result;
}

int load_message_read(const struct cli *cli, const char *path, struct load_message **ret, uint32_t *ret_left_out)
{
	struct load_reader r = {.cli = cli};
	int result = load_read(&r, path, 0);

	if (result < 0) {
		for (uint32_t i = 0; i < r.count; i++)
			load_message_free(&r.list[i]);
		free(r.list);
		return result;
	}
	*ret = r.list;
	*ret_left_out = r.left_out;
	return (int)r.count;
}
