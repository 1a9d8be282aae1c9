/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the log of the control process: one line per event, as JSON, as text for people, or to the journal of
 * systemd.
 *
 * Never a byte of a message: texts come from errors.def and from system errors, fields are names and numbers.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_TEXT_MAX 400

enum log_code {
#define MR_CODE(id, number, level, text, means, action) LOG_##id = number,
#include "errors.def"
#undef MR_CODE
};

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6 }; /* as syslog's */
enum log_mode { LOG_MODE_AUTO = 0, LOG_MODE_JSON, LOG_MODE_TEXT, LOG_MODE_JOURNALD };

/* What a line is about; zero or NULL fields are left out. */
struct log_about {
	const char *process; /* "worker-0" */
	const char *item;    /* listener or destination */
	int64_t pid;
	uint64_t count;
	int level; /* enum log_level; 0: the code's own */
};

/**
 * log_open - choose where the log goes. @mode  AUTO: journald if standard error is its stream, text on a terminal, else
 * JSON. Not needed for logging at all: until called, lines are JSON on standard error.
 */
void log_open(enum log_mode mode);

/** log_is_text - does the log go to a person? */
bool log_is_text(void);

/** log_mode_of - "json", "text" or "journald" to its mode; -1 for anything else. */
int log_mode_of(const char *name);

/** log_event - write one line. @about may be NULL. Line breaks and control characters in the text become spaces. */
void log_event(uint32_t code, const struct log_about *about, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** log_render_json, log_render_text - the line without writing it (and without a newline). Return @ret. */
char *log_render_json(char *ret, uint32_t ret_bytes, uint64_t now_ns, uint32_t code, const struct log_about *about,
                      const char *text);
char *log_render_text(char *ret, uint32_t ret_bytes, uint64_t now_ns, uint32_t code, const struct log_about *about,
                      const char *text);

/** log_code_text - what a code of errors.def means. Returns its short text, or NULL if there is no such code. */
const char *log_code_text(uint32_t code, int *ret_level, const char **ret_means, const char **ret_action);

/** log_time - RFC 3339 UTC with microseconds. @ret has room for 32 bytes. Returns @ret. */
char *log_time(char ret[32], uint64_t realtime_ns);

#endif
