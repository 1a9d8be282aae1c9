/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.c - the table of commands and the parsing of one command line.
 *
 * Called once by main(). It knows no command's business: what a command takes stands in commands.def, what it does in
 * its own file. It must never read a configuration or talk to a hub.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mr_base.h"

/* The table as it stands in the file: a command, then its options. */
static const struct cli_entry {
	struct cli_command command; /* name NULL: an option */
	struct cli_option option;
} cli_table[] = {
#define MR_COMMAND(function, name, args, summary, about)                                                               \
	{{name, args, summary, about, function, NULL}, {0, NULL, NULL, NULL}},
#define MR_OPT(letter, name, value, help) {{NULL, NULL, NULL, NULL, NULL, NULL}, {letter, name, value, help}},
#define MR_FLAG(letter, name, help)       {{NULL, NULL, NULL, NULL, NULL, NULL}, {letter, name, NULL, help}},
#include "commands.def"
#undef MR_COMMAND
#undef MR_OPT
#undef MR_FLAG
};

const struct cli_command *cli_commands(int *ret_count)
{
	static struct cli_command commands[MR_ARRAY_LEN(cli_table)];
	static struct cli_option options[2 * MR_ARRAY_LEN(cli_table)]; /* each command's, closed by an empty one */
	static int count;
	size_t next = 0;

	for (size_t i = 0; count == 0 || next > 0; i++) {
		bool end = i == MR_ARRAY_LEN(cli_table);

		if (end || cli_table[i].command.name) {
			next++; /* the empty one */
			if (end)
				break;
			commands[count] = cli_table[i].command;
			commands[count++].options = options + next;
		} else {
			options[next++] = cli_table[i].option;
		}
	}
	if (ret_count)
		*ret_count = count;
	return commands;
}

const struct cli_command *cli_find(int argc, const char *const *argv, int *ret_words)
{
	const struct cli_command *commands, *best = NULL;
	int count, best_words = 0;

	commands = cli_commands(&count);
	for (int i = 0; i < count; i++) {
		const char *at = commands[i].name;
		int words = 0;

		while (*at && words < argc) {
			size_t n = strcspn(at, " ");

			if (strlen(argv[words]) != n || memcmp(argv[words], at, n) != 0)
				break;
			words++;
			at += n + (at[n] == ' ');
		}
		if (!*at && words > best_words) {
			best = &commands[i];
			best_words = words;
		}
	}
	*ret_words = best_words;
	return best;
}

static const struct cli_option *cli_option_find(const struct cli_command *command, const char *name, size_t name_bytes)
{
	for (const struct cli_option *o = command->options; o->name; o++)
		if (strlen(o->name) == name_bytes && memcmp(o->name, name, name_bytes) == 0)
			return o;
	return NULL;
}

static const struct cli_option *cli_declared(const struct cli *cli, const char *name)
{
	const struct cli_option *o = cli_option_find(cli->command, name, strlen(name));

	must(o); /* commands.def and the command disagree */
	return o;
}

const char *cli_value_at(const struct cli *cli, const char *name, int n)
{
	const struct cli_option *o = cli_declared(cli, name);

	for (int i = 0; i < cli->given_count; i++)
		if (cli->given[i].option == o && n-- == 0)
			return cli->given[i].value;
	return NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
	const struct cli_option *o = cli_declared(cli, name);

	for (int i = cli->given_count; i-- > 0;)
		if (cli->given[i].option == o)
			return cli->given[i].value;
	return NULL;
}

bool cli_flag(const struct cli *cli, const char *name)
{
	return cli_value(cli, name) != NULL;
}

static void cli_print_error(const struct cli *cli, const char *format, va_list args)
{
	fflush(stdout);
	fprintf(stderr, "millrace%s%s: ", cli->command ? " " : "", cli->command ? cli->command->name : "");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void cli_error(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	cli_print_error(cli, format, args);
	va_end(args);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	cli_print_error(cli, format, args);
	va_end(args);
	if (cli->command)
		fprintf(stderr, "usage: millrace %s%s%s%s\n", cli->command->name,
		        cli->command->options->name ? " [options]" : "", *cli->command->args ? " " : "",
		        cli->command->args);
	fprintf(stderr, "Try: millrace %s%s--help\n", cli->command ? cli->command->name : "", cli->command ? " " : "");
	return CLI_USAGE;
}

int cli_number(const struct cli *cli, const char *name, uint64_t min, uint64_t max, uint64_t *io)
{
	const char *text = cli_value(cli, name);
	uint64_t n;

	if (!text)
		return 0;
	if (cli_parse_number(text, &n) < 0 || n < min || n > max)
		return cli_usage(cli, "--%s: '%s' is not a number from %llu to %llu", name, text,
		                 (unsigned long long)min, (unsigned long long)max);
	*io = n;
	return 0;
}

int cli_duration_ns(const struct cli *cli, const char *name, uint64_t max_ns, uint64_t *io)
{
	const char *text = cli_value(cli, name);
	uint64_t ns;
	char most[32];

	if (!text)
		return 0;
	if (cli_parse_duration_ns(text, &ns) < 0 || ns > max_ns)
		return cli_usage(cli, "--%s: '%s' is not a duration up to %s; write 50ms, 1.5s, 2min", name, text,
		                 cli_format_duration(most, sizeof(most), max_ns));
	*io = ns;
	return 0;
}

int cli_bytes(const struct cli *cli, const char *name, uint64_t min, uint64_t max, uint64_t *io)
{
	const char *text = cli_value(cli, name);
	uint64_t n;

	if (!text)
		return 0;
	if (cli_parse_bytes(text, &n) < 0 || n < min || n > max)
		return cli_usage(cli, "--%s: '%s' is not a size from %llu to %llu bytes; write 1024, 64KiB, 20MB", name,
		                 text, (unsigned long long)min, (unsigned long long)max);
	*io = n;
	return 0;
}

int cli_rate(const struct cli *cli, const char *name, double *io)
{
	const char *text = cli_value(cli, name);
	double rate;

	if (!text)
		return 0;
	if (cli_parse_rate(text, &rate) < 0)
		return cli_usage(cli, "--%s: '%s' is not a rate; write 500/s, 30/min, 20k", name, text);
	*io = rate;
	return 0;
}

int cli_choice(const struct cli *cli, const char *name, int missing)
{
	const struct cli_option *o = cli_declared(cli, name);
	const char *text = cli_value(cli, name), *at = o->value;
	int index = 0;

	if (!text)
		return missing;
	for (;; index++) {
		size_t n = strcspn(at, "|");

		if (strlen(text) == n && memcmp(at, text, n) == 0)
			return index;
		if (!at[n])
			break;
		at += n + 1;
	}
	cli_usage(cli, "--%s: '%s' is not one of %s", name, text, o->value);
	return -1;
}

static int cli_unknown_option(const struct cli *cli, const char *word, size_t bytes)
{
	const char *words[64], *near;
	char given[80];
	int n = 0;

	for (const struct cli_option *o = cli->command->options; o->name && n < 64; o++)
		words[n++] = o->name;
	snprintf(given, sizeof(given), "%.*s", (int)bytes, word);
	near = cli_did_you_mean(given, words, n);
	if (near)
		return cli_usage(cli, "unknown option '--%s'; did you mean --%s?", given, near);
	return cli_usage(cli, "unknown option '--%s'", given);
}

/* One option word at argv[i]; *io_i moves on if its value is the next word. */
static int cli_take_option(struct cli *cli, int argc, char **argv, int *io_i)
{
	const char *word = argv[*io_i], *value = NULL;
	const struct cli_option *o = NULL;

	if (word[1] == '-') {
		size_t n = strcspn(word + 2, "=");

		o = cli_option_find(cli->command, word + 2, n);
		if (!o)
			return cli_unknown_option(cli, word + 2, n);
		if (word[2 + n] == '=')
			value = word + 2 + n + 1;
	} else {
		for (o = cli->command->options; o->name && o->letter != word[1]; o++)
			;
		if (!o->name)
			return cli_usage(cli, "unknown option '-%c'", word[1]);
		if (word[2])
			value = word + 2;
	}
	if (!o->value) {
		if (value)
			return cli_usage(cli, "--%s takes no value", o->name);
		value = "";
	} else if (!value) {
		if (*io_i + 1 >= argc)
			return cli_usage(cli, "--%s needs a value: %s", o->name, o->value);
		value = argv[++*io_i];
	}
	cli->given[cli->given_count++] = (struct cli_given){o, value};
	return 0;
}

/* All words after the command's name, and the options that stood before it. */
static int cli_parse(struct cli *cli, int argc, char **argv, int lead)
{
	bool options = true;
	int r;

	for (int i = 0; i < argc; i++) {
		/* `millrace --run DIR send ...`: said for every command, no use to this one. */
		if (i < lead && strncmp(argv[i], "--run", 5) == 0 && !cli_option_find(cli->command, "run", 3)) {
			i += argv[i][5] != '=';
			continue;
		}
		if (!options || argv[i][0] != '-' || !argv[i][1]) {
			cli->argv[cli->argc++] = argv[i];
		} else if (strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			cli_help_command(stdout, cli->command);
			return -1;
		} else {
			r = cli_take_option(cli, argc, argv, &i);
			if (r)
				return r;
		}
	}
	cli->argv[cli->argc] = NULL;
	return 0;
}

/* Adds what a mistyped command may have meant: whole names if a second word was typed after a known first, else first
 * words. */
static int cli_candidates(bool whole, char (*words)[32], const char **ret, int max)
{
	const struct cli_command *commands;
	int count, n = 0;

	commands = cli_commands(&count);
	for (int i = 0; i < count && n < max; i++) {
		int bytes = whole ? (int)strlen(commands[i].name) : (int)strcspn(commands[i].name, " ");

		if (!commands[i].summary)
			continue;
		snprintf(words[n], sizeof(words[n]), "%.*s", bytes, commands[i].name);
		ret[n] = words[n];
		n++;
	}
	return n;
}

static int cli_unknown_command(const struct cli *cli, int argc, char **argv)
{
	static char words[256][32];
	const char *names[256], *near;
	char typed[160];
	bool group = cli_help_group(stderr, argv[0]);

	if (group && argc < 2)
		return CLI_USAGE;
	snprintf(typed, sizeof(typed), "%s%s%s", argv[0], group ? " " : "", group ? argv[1] : "");
	near = cli_did_you_mean(typed, names, cli_candidates(group, words, names, 256));
	if (near)
		return cli_usage(cli, "unknown command '%s'; did you mean '%s'?", typed, near);
	return cli_usage(cli, "unknown command '%s'", typed);
}

/* Options before the command's name are moved behind it: `millrace --run DIR status`. Returns how many words they are.
 */
static int cli_leading(int argc, char **argv)
{
	int i = 1;

	while (i < argc && argv[i][0] == '-' && argv[i][1] && strcmp(argv[i], "--") != 0)
		i += strcmp(argv[i], "--run") == 0 ? 2 : 1;
	return i > argc ? argc - 1 : i - 1;
}

int cli_run(int argc, char **argv)
{
	struct cli cli = {.color = isatty(1) && !(getenv("NO_COLOR") && *getenv("NO_COLOR"))};
	int lead = cli_leading(argc, argv), words, rest, r;
	char **moved;

	for (int i = 1; i <= lead; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			cli_help_all(stdout);
			return CLI_OK;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("millrace %s\n", MILLRACE_VERSION);
			return CLI_OK;
		}
	}
	if (lead + 1 >= argc) {
		cli_help_all(stderr);
		return CLI_USAGE;
	}
	cli.command = cli_find(argc - 1 - lead, (const char *const *)argv + 1 + lead, &words);
	if (!cli.command && argc - 1 - lead >= 2 && strcmp(argv[argc - 1], "--help") == 0 &&
	    cli_help_group(stdout, argv[1 + lead]))
		return CLI_OK;
	if (!cli.command)
		return cli_unknown_command(&cli, argc - 1 - lead, argv + 1 + lead);
	rest = argc - 1 - words;
	moved = calloc((size_t)rest + 1, sizeof(*moved));
	cli.argv = calloc((size_t)rest + 1, sizeof(*cli.argv));
	cli.given = calloc((size_t)rest + 1, sizeof(*cli.given));
	must(moved && cli.argv && cli.given);
	for (int i = 0; i < lead; i++)
		moved[i] = argv[1 + i];
	for (int i = lead; i < rest; i++)
		moved[i] = argv[1 + words + i];
	r = strcmp(cli.command->name, "__complete") == 0 ? 0 : cli_parse(&cli, rest, moved, lead);
	if (r == 0 && cli.command->main == complete_main) {
		cli.argc = rest;
		memcpy(cli.argv, moved, (size_t)rest * sizeof(*moved));
	}
	if (r == 0)
		r = cli.command->main(&cli);
	else if (r < 0)
		r = CLI_OK;
	free(moved);
	free(cli.argv);
	free(cli.given);
	return r;
}
