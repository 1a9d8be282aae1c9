/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side_check.c - looks into the folders that a connector wrote and compares them with the messages that were sent.
 *
 * Used by test_connector.c only. Knows nothing of the connector but the layout that the manual promises.
 */
#include "side.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *file_read(const char *folder, const char *name, size_t *ret_bytes)
{
	char path[800], *text;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640 & ~022);
	text = malloc((size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	text[st.st_size] = 0;
	close(fd);
	*ret_bytes = (size_t)st.st_size;
	return text;
}

static int visible(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static struct side_message *message_at(struct side *s, uint64_t position)
{
	for (uint32_t i = 0; i < s->messages; i++) {
		if (s->message[i].position == position)
			return &s->message[i];
	}
	return NULL;
}

static void message_check(struct side *s, uint16_t dest, const char *name, const struct side_message *m)
{
	char *text, *want = side_message_bytes(m);
	size_t bytes;

	text = file_read(s->dest[dest].folder, name, &bytes);
	assert_int_equal(m->dest, dest);
	assert_int_equal(bytes, m->bytes);
	assert_memory_equal(text, want, bytes);
	free(text);
	free(want);
}

void side_check_whole(struct side *s, uint16_t dest)
{
	struct dirent **e;
	int n = scandir(s->dest[dest].folder, &e, visible, alphasort);

	for (int i = 0; i < n; i++) {
		unsigned long long position;
		struct side_message *m;

		if (e[i]->d_name[0] != '.') {
			assert_int_equal(sscanf(e[i]->d_name, "%*8uT%*6u.%*9u-%*u-%16llx.hl7", &position), 1);
			m = message_at(s, position);
			assert_non_null(m);
			message_check(s, dest, e[i]->d_name, m);
		}
		free(e[i]);
	}
	if (n >= 0)
		free(e);
}

void side_check_files(struct side *s, uint16_t dest)
{
	uint32_t delivered = 0;
	uint64_t before = 0;
	struct dirent **e;
	int n = scandir(s->dest[dest].folder, &e, visible, alphasort);

	assert_true(n >= 0);
	for (uint32_t i = 0; i < s->messages; i++)
		delivered += s->message[i].dest == dest && s->message[i].result == MR_RESULT_DELIVERED;
	assert_int_equal(n, delivered); /* one file each, and no temporary one */
	for (int i = 0; i < n; i++) {
		unsigned long long position;
		unsigned journal, day, time, ns;
		struct side_message *m;
		int end = 0;

		assert_int_equal(
		    sscanf(e[i]->d_name, "%8uT%6u.%9u-%u-%16llx.hl7%n", &day, &time, &ns, &journal, &position, &end),
		    5);
		assert_int_equal(e[i]->d_name[end], 0);
		assert_int_equal(journal, 0);
		assert_true(position > before); /* names sort as the messages came */
		before = position;
		m = message_at(s, position);
		assert_non_null(m);
		message_check(s, dest, e[i]->d_name, m);
		free(e[i]);
	}
	free(e);
}

/* Takes @m off the front of @text, with the CR that batches end every message with. */
static char *message_skip(char *text, const char *end, const struct side_message *m)
{
	char *want = side_message_bytes(m);

	assert_true((size_t)(end - text) >= m->bytes);
	assert_memory_equal(text, want, m->bytes);
	text += m->bytes;
	if (want[m->bytes - 1] != '\r') {
		assert_int_equal(*text, '\r');
		text++;
	}
	free(want);
	return text;
}

static char *line_skip(char *text, const char *starts)
{
	char *end = strchr(text, '\r');

	assert_non_null(end);
	assert_memory_equal(text, starts, strlen(starts));
	return end + 1;
}

/* One batch file: which messages come next is told by the seed in their MSH. */
static uint32_t batch_check(struct side *s, uint16_t dest, char *text, size_t bytes, uint32_t *seen, uint64_t *newest)
{
	char *p = line_skip(line_skip(text, "FHS|^~\\&|MILLRACE|"), "BHS|^~\\&|MILLRACE|"), want[64];
	uint32_t n = 0;

	while (strncmp(p, "BTS|", 4)) {
		unsigned long long seed;
		uint32_t i = 0;

		assert_int_equal(sscanf(p, "MSH|^~\\&|A|B|C|D|%16llx|", &seed), 1);
		while (i < s->messages && s->message[i].size_seed != seed)
			i++;
		assert_true(i < s->messages && s->message[i].dest == dest);
		if (!seen[i]) { /* in order, but for what comes again around a crash */
			assert_true(s->message[i].position > *newest);
			*newest = s->message[i].position;
		}
		p = message_skip(p, text + bytes, &s->message[i]);
		seen[i]++;
		n++;
	}
	snprintf(want, sizeof(want), "BTS|%u\rFTS|1\r", n);
	assert_string_equal(p, want);
	assert_int_equal(p + strlen(want) - text, bytes);
	return n;
}

void side_check_batches(struct side *s, uint16_t dest, uint32_t *ret_files)
{
	uint32_t *seen = calloc(s->messages ? s->messages : 1, sizeof(*seen));
	struct dirent **e;
	int n = scandir(s->dest[dest].folder, &e, visible, alphasort);
	uint64_t newest = 0;

	assert_true(n >= 0 && seen);
	for (int i = 0; i < n; i++) {
		size_t bytes, name = strlen(e[i]->d_name);
		char *text = file_read(s->dest[dest].folder, e[i]->d_name, &bytes);
		uint32_t messages;

		assert_true(name > 10 && !strcmp(e[i]->d_name + name - 10, ".batch.hl7") && e[i]->d_name[0] != '.');
		messages = batch_check(s, dest, text, bytes, seen, &newest);
		assert_true(messages > 0 && messages <= s->dest[dest].cfg.batch_messages);
		free(text);
		free(e[i]);
	}
	free(e);
	for (uint32_t i = 0; i < s->messages; i++) {
		if (s->message[i].dest != dest)
			continue;
		if (s->message[i].result == MR_RESULT_DELIVERED && !seen[i])
			fail_msg("message %u was delivered to no file", i);
		if (s->message[i].result == MR_RESULT_DEAD && seen[i])
			fail_msg("message %u is dead and in a file", i);
		s->message[i].outcomes = seen[i]; /* how many files hold it */
	}
	free(seen);
	*ret_files = (uint32_t)n;
}
