/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - the command line of Millrace: one table of commands (commands.def), from which parsing, --help, did-you-mean,
 * man pages and shell completion come. A command is a function `int xxx_main(struct cli *cli)` that returns an exit
 * code.
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes, the same for every command. */
enum cli_exit {
	CLI_OK = 0,           /* done, or healthy */
	CLI_FAILED = 1,       /* could not do it; nothing changed */
	CLI_USAGE = 2,        /* wrong use of the command line */
	CLI_CONFIG = 3,       /* configuration invalid */
	CLI_NOT_FOUND = 4,    /* no such destination, message, page */
	CLI_DENIED = 5,       /* not permitted */
	CLI_PRECONDITION = 6, /* not confirmed, or the state does not allow it */
	CLI_TIMEOUT = 7,      /* timed out; the outcome is unknown */
	CLI_UNREACHABLE = 8,  /* the hub or the other end cannot be reached */
	CLI_UNHEALTHY = 10,   /* asked successfully: the answer is "unhealthy" */
	CLI_DEGRADED = 11,    /* works, but not all of it */
	CLI_PARTIAL = 12,     /* some succeeded, some did not */
};

#define CLI_ARGS_MAX 4096 /* words of one command line after its name */

struct cli_option {
	char letter;       /* short form, 0 = none */
	const char *name;  /* long form without the dashes */
	const char *value; /* what it takes: "FILE", "N", "AA|AE"; NULL = a flag */
	const char *help;
};

struct cli;

struct cli_command {
	const char *name;    /* "queue list" */
	const char *args;    /* "NAME...", for the usage line */
	const char *summary; /* one line; NULL = hidden */
	const char *about;   /* paragraphs, separated by an empty line */
	int (*main)(struct cli *cli);
	const struct cli_option *options; /* the last one has name NULL */
};

/* The commands' functions. */
#define MR_COMMAND(function, name, args, summary, about) int function(struct cli *cli);
#define MR_OPT(letter, name, value, help)
#define MR_FLAG(letter, name, help)
#include "commands.def"
#undef MR_COMMAND
#undef MR_OPT
#undef MR_FLAG

struct cli_given {
	const struct cli_option *option;
	const char *value;
};

/** struct cli - one parsed command line. Lives as long as main(); strings are argv's. */
struct cli {
	const struct cli_command *command;
	int argc;          /* words that are no options, without the command's name */
	const char **argv; /* argv[argc] is NULL */
	int given_count;
	struct cli_given *given;
	bool color; /* standard output is a terminal and NO_COLOR is not set */
};

/* All commands, in the order of commands.def. @ret_count may be NULL. */
const struct cli_command *cli_commands(int *ret_count);

/**
 * cli_run - parse a command line and run its command. Returns the exit code.
 */
int cli_run(int argc, char **argv);

/* Was option @name given? @name must be one of the command's. */
bool cli_flag(const struct cli *cli, const char *name);

/* The last value given for option @name, or NULL. */
const char *cli_value(const struct cli *cli, const char *name);

/* The @n-th value given for a repeatable option, from 0; NULL after the last. */
const char *cli_value_at(const struct cli *cli, const char *name, int n);

/**
 * cli_number, cli_duration_ns, cli_bytes, cli_rate - the value of option @name as a number within min..max.
 *
 * @io  Holds the default before the call; written only if the option was given and is right.
 * Plain number; duration with unit (`50ms`, `1.5s`, `2min`; bare = seconds); size (`1KiB`, `20MB`; bare = bytes); rate
 * (`500/s`, `30/min`, `1k`; messages a second).
 * Returns 0, or CLI_USAGE after saying on standard error what is wrong and what is legal.
 */
int cli_number(const struct cli *cli, const char *name, uint64_t min, uint64_t max, uint64_t *io);
int cli_duration_ns(const struct cli *cli, const char *name, uint64_t max_ns, uint64_t *io);
int cli_bytes(const struct cli *cli, const char *name, uint64_t min, uint64_t max, uint64_t *io);
int cli_rate(const struct cli *cli, const char *name, double *io);

/**
 * cli_choice - which of the alternatives in the option's value text ("AA|AE|AR") was given?
 *
 * Returns its index from 0, @missing if the option was not given, or -1 after an error message.
 */
int cli_choice(const struct cli *cli, const char *name, int missing);

/* "millrace send: ..." on standard error, with a newline. */
void cli_error(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, then the usage line. Returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reads one duration, size or rate text (units.c does the work). Return 0 or -EINVAL; outputs untouched then. */
int cli_parse_duration_ns(const char *text, uint64_t *ret);
int cli_parse_bytes(const char *text, uint64_t *ret);
int cli_parse_rate(const char *text, double *ret);
int cli_parse_number(const char *text, uint64_t *ret);

/* The best match for a mistyped @word among @count @words, or NULL if none is near. */
const char *cli_did_you_mean(const char *word, const char *const *words, int count);

/* Help (cli_help.c). */
void cli_help_all(FILE *to);
void cli_help_command(FILE *to, const struct cli_command *command);
bool cli_help_group(FILE *to, const char *group); /* false = no command begins with these words */
const struct cli_command *cli_find(int argc, const char *const *argv, int *ret_words);

/* "s" after a word that stands behind the number @n, "" after "1". */
static inline const char *cli_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Durations, sizes and numbers for people: "1.25 ms", "12.3 MiB", "1,234,567". Return @out. */
char *cli_format_duration(char *out, size_t room, uint64_t ns);
char *cli_format_bytes(char *out, size_t room, uint64_t bytes);
char *cli_format_count(char *out, size_t room, uint64_t n);

#endif
