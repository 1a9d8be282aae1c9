/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - writes the log of the control process: JSON lines, text for people, or journald's own protocol.
 *
 * Called by every part of the control process, on its one loop thread. One write per line, so that lines of several
 * processes on the same standard error do not mix. Must never block for long, never write a byte of a message, and
 * never fail: a line that cannot be written is dropped.
 */
#include "log.h"

#include "mr_base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static struct {
	enum log_mode mode;
	int journal_fd;
} log_to = {LOG_MODE_JSON, -1};

static const struct {
	uint32_t number;
	int level;
	const char *text, *means, *action;
} log_codes[] = {
#define MR_CODE(id, number, level, text, means, action) {number, LOG_##level, text, means, action},
#include "errors.def"
#undef MR_CODE
};

const char *log_code_text(uint32_t code, int *ret_level, const char **ret_means, const char **ret_action)
{
	for (size_t i = 0; i < MR_ARRAY_LEN(log_codes); i++)
		if (log_codes[i].number == code) {
			if (ret_level)
				*ret_level = log_codes[i].level;
			if (ret_means)
				*ret_means = log_codes[i].means;
			if (ret_action)
				*ret_action = log_codes[i].action;
			return log_codes[i].text;
		}
	return NULL;
}

static int log_level_of(uint32_t code, const struct log_about *about)
{
	int level = LOG_WARNING;

	if (about && about->level)
		return about->level;
	log_code_text(code, &level, NULL, NULL);
	return level;
}

static const char *log_level_name(int level)
{
	return level <= LOG_ERROR ? "error" : level <= LOG_WARNING ? "warning" : "info";
}

char *log_time(char ret[32], uint64_t realtime_ns)
{
	time_t s = (time_t)(realtime_ns / 1000000000u);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(ret, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret + n, 32 - n, ".%06uZ", (unsigned)(realtime_ns % 1000000000u / 1000u));
	return ret;
}

/* Where the next byte of a line goes; what does not fit is cut off. */
struct log_line {
	char *at, *end;
};

__attribute__((format(printf, 2, 3))) static void log_put(struct log_line *l, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(l->at, (size_t)(l->end - l->at), format, args);
	va_end(args);
	if (n > 0)
		l->at += n < l->end - l->at ? n : l->end - l->at - 1;
}

/* Bytes of the UTF-8 character at @s, 0 if it is none. */
static int log_utf8(const unsigned char *s)
{
	int more = s[0] < 0x80                   ? 0
	           : s[0] >= 0xc2 && s[0] < 0xe0 ? 1
	           : (s[0] & 0xf0) == 0xe0       ? 2
	           : s[0] >= 0xf0 && s[0] < 0xf5 ? 3
	                                         : -1;

	for (int i = 1; i <= more; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return more + 1;
}

static void log_put_json(struct log_line *l, const char *key, const char *text)
{
	log_put(l, ",\"%s\":\"", key);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			log_put(l, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			log_put(l, " ");
		else if (c < 0x80)
			log_put(l, "%c", c);
		else if (log_utf8((const unsigned char *)text)) {
			int n = log_utf8((const unsigned char *)text);

			log_put(l, "%.*s", n, text);
			text += n - 1;
		} else {
			log_put(l, "?"); /* a path may hold any byte */
		}
	}
	log_put(l, "\"");
}

char *log_render_json(char *ret, uint32_t ret_bytes, uint64_t now_ns, uint32_t code, const struct log_about *about,
                      const char *text)
{
	struct log_line l = {ret, ret + ret_bytes};
	char when[32];

	log_put(&l, "{\"time\":\"%s\",\"level\":\"%s\",\"code\":\"MR%04u\"", log_time(when, now_ns),
	        log_level_name(log_level_of(code, about)), code);
	log_put_json(&l, "text", text);
	if (about && about->process)
		log_put_json(&l, "process", about->process);
	if (about && about->item)
		log_put_json(&l, "item", about->item);
	if (about && about->pid)
		log_put(&l, ",\"pid\":%lld", (long long)about->pid);
	if (about && about->count)
		log_put(&l, ",\"count\":%llu", (unsigned long long)about->count);
	log_put(&l, "}");
	return ret;
}

char *log_render_text(char *ret, uint32_t ret_bytes, uint64_t now_ns, uint32_t code, const struct log_about *about,
                      const char *text)
{
	struct log_line l = {ret, ret + ret_bytes};
	int level = log_level_of(code, about);

	log_put(&l, "millrace: ");
	if (level < LOG_INFO)
		log_put(&l, "%s[MR%04u]: ", log_level_name(level), code);
	if (about && about->process)
		log_put(&l, "%s: ", about->process);
	if (about && about->item && !strstr(text, about->item))
		log_put(&l, "%s: ", about->item);
	log_put(&l, "%s", text);
	if (about && about->count > 1)
		log_put(&l, " (%llu times)", (unsigned long long)about->count);
	for (char *p = ret; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	return ret;
}

/* Is standard error the very stream that systemd gave us (device:inode in JOURNAL_STREAM)? */
static bool log_is_journal_stream(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 && fstat(2, &st) == 0 && st.st_dev == (dev_t)dev &&
	       st.st_ino == (ino_t)ino;
}

static int log_journal_connect(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void log_open(enum log_mode mode)
{
	if (mode == LOG_MODE_AUTO)
		mode = log_is_journal_stream() ? LOG_MODE_JOURNALD : isatty(2) ? LOG_MODE_TEXT : LOG_MODE_JSON;
	if (mode == LOG_MODE_JOURNALD && log_to.journal_fd < 0) {
		log_to.journal_fd = log_journal_connect();
		if (log_to.journal_fd < 0)
			mode = LOG_MODE_JSON;
	}
	log_to.mode = mode;
}

bool log_is_text(void)
{
	return log_to.mode == LOG_MODE_TEXT;
}

int log_mode_of(const char *name)
{
	if (!strcmp(name, "json"))
		return LOG_MODE_JSON;
	if (!strcmp(name, "text"))
		return LOG_MODE_TEXT;
	return strcmp(name, "journald") ? -1 : LOG_MODE_JOURNALD;
}

static bool log_send_journal(uint32_t code, const struct log_about *about, const char *text)
{
	char line[LOG_LINE_MAX];
	struct log_line l = {line, line + sizeof(line)};
	const bool named = about && about->item && !strstr(text, about->item);

	log_put(&l, "PRIORITY=%d\nSYSLOG_IDENTIFIER=millrace\nMILLRACE_CODE=MR%04u\n", log_level_of(code, about), code);
	if (about && about->process)
		log_put(&l, "MILLRACE_PROCESS=%s\n", about->process);
	if (about && about->item)
		log_put(&l, "MILLRACE_ITEM=%s\n", about->item);
	if (about && about->pid)
		log_put(&l, "MILLRACE_PID=%lld\n", (long long)about->pid);
	if (about && about->count)
		log_put(&l, "MILLRACE_COUNT=%llu\n", (unsigned long long)about->count);
	log_put(&l, "MESSAGE=%s%s%s%s%s\n", about && about->process ? about->process : "",
	        about && about->process ? ": " : "", named ? about->item : "", named ? ": " : "", text);
	return send(log_to.journal_fd, line, (size_t)(l.at - line), MSG_NOSIGNAL) >= 0;
}

void log_event(uint32_t code, const struct log_about *about, const char *format, ...)
{
	char text[LOG_TEXT_MAX], line[LOG_LINE_MAX];
	struct timespec now;
	uint64_t now_ns;
	va_list args;
	size_t n;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	if (log_to.mode == LOG_MODE_JOURNALD && log_send_journal(code, about, text))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (log_to.mode == LOG_MODE_TEXT)
		log_render_text(line, sizeof(line) - 1, now_ns, code, about, text);
	else
		log_render_json(line, sizeof(line) - 1, now_ns, code, about, text);
	n = strlen(line);
	line[n] = '\n';
	if (write(2, line, n + 1) < 0 && errno == EINTR)
		(void)!write(2, line, n + 1);
}
