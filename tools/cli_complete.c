/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_complete.c - shell completion: the scripts for bash, zsh and fish, and `millrace __complete`, which they ask.
 *
 * The scripts know nothing; all words come from commands.def and, for destinations, from the hub's shared regions (no
 * waiting for a process). Must never print an error: a shell would show it in the middle of a command line.
 */
#include <string.h>

#include "cli.h"
#include "mr_base.h"
#include "regions.h"

static const char complete_bash[] =
    "_millrace()\n"
    "{\n"
    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} line\n"
    "\tCOMPREPLY=()\n"
    "\twhile IFS= read -r line; do\n"
    "\t\tcase $line in\n"
    "\t\t:files) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
    "\t\t:dirs) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- \"$cur\") ;;\n"
    "\t\t*) [[ ${line%%$'\\t'*} == \"$cur\"* ]] && COMPREPLY+=(\"${line%%$'\\t'*}\") ;;\n"
    "\t\tesac\n"
    "\tdone < <(millrace __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _millrace millrace\n";

static const char complete_zsh[] =
    "#compdef millrace\n"
    "_millrace()\n"
    "{\n"
    "\tlocal line\n"
    "\tlocal -a found\n"
    "\twhile IFS= read -r line; do\n"
    "\t\tcase $line in\n"
    "\t\t:files) _files ;;\n"
    "\t\t:dirs) _files -/ ;;\n"
    "\t\t*$'\\t'*) found+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\") ;;\n"
    "\t\t*) found+=(\"${line//:/\\\\:}\") ;;\n"
    "\t\tesac\n"
    "\tdone < <(millrace __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "\t(( $#found )) && _describe millrace found\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _millrace ]; then _millrace \"$@\"; else compdef _millrace millrace; fi\n";

static const char complete_fish[] = "function __millrace_complete\n"
                                    "\tset -l words (commandline -opc) (commandline -ct)\n"
                                    "\tset -e words[1]\n"
                                    "\tfor line in (millrace __complete $words 2>/dev/null)\n"
                                    "\t\tswitch $line\n"
                                    "\t\t\tcase ':files'\n"
                                    "\t\t\t\t__fish_complete_path (commandline -ct)\n"
                                    "\t\t\tcase ':dirs'\n"
                                    "\t\t\t\t__fish_complete_directories (commandline -ct)\n"
                                    "\t\t\tcase '*'\n"
                                    "\t\t\t\techo $line\n"
                                    "\t\tend\n"
                                    "\tend\n"
                                    "end\n"
                                    "complete -c millrace -f -a '(__millrace_complete)'\n";

int completion_main(struct cli *cli)
{
	static const char *const shells[] = {"bash", "zsh", "fish"};
	static const char *const scripts[] = {complete_bash, complete_zsh, complete_fish};

	for (size_t i = 0; cli->argc == 1 && i < MR_ARRAY_LEN(shells); i++)
		if (strcmp(cli->argv[0], shells[i]) == 0) {
			fputs(scripts[i], stdout);
			return CLI_OK;
		}
	return cli_usage(cli, "name one of bash, zsh, fish");
}

static void complete_destinations(const char *run)
{
	struct regions g;

	if (regions_open(run, &g) < 0)
		return;
	for (int i = 0; i < g.dest_count; i++)
		printf("%s\n", g.dests[i]);
	regions_close(&g);
}

/* What may stand for a value or an argument described as @kind. */
static void complete_kind(const char *kind, const char *run)
{
	if (strstr(kind, "DESTINATION")) {
		complete_destinations(run);
	} else if (strstr(kind, "FILE")) {
		puts(":files");
	} else if (strstr(kind, "DIR")) {
		puts(":dirs");
	} else if (strchr(kind, '|')) {
		for (const char *at = kind; *at; at += *at == '|') {
			int n = (int)strcspn(at, "|");

			printf("%.*s\n", n, at);
			at += n;
		}
	}
}

/* The words that may come next in a command's name, after @count given ones. */
static void complete_names(const char *const *words, int count)
{
	const struct cli_command *commands;
	char last[64] = "";
	int total;

	commands = cli_commands(&total);
	for (int i = 0; i < total; i++) {
		const char *at = commands[i].name;
		int w = 0, n;

		for (; w < count && *at; w++) {
			n = (int)strcspn(at, " ");
			if ((int)strlen(words[w]) != n || memcmp(words[w], at, (size_t)n) != 0)
				break;
			at += n + (at[n] == ' ');
		}
		n = (int)strcspn(at, " ");
		if (w < count || !*at || !commands[i].summary ||
		    (strlen(last) == (size_t)n && memcmp(last, at, (size_t)n) == 0))
			continue;
		snprintf(last, sizeof(last), "%.*s", n, at);
		printf("%s\t%s\n", last, at[n] ? "..." : commands[i].summary);
	}
}

static const struct cli_option *complete_option(const struct cli_command *c, const char *word)
{
	for (const struct cli_option *o = c->options; o->name; o++)
		if ((word[0] == '-' && word[1] == '-' && strcmp(word + 2, o->name) == 0) ||
		    (o->letter && word[0] == '-' && word[1] == o->letter && !word[2]))
			return o;
	return NULL;
}

/* millrace __complete WORD... CURRENT: one candidate a line, TAB and an explanation behind it; or :files, :dirs. */
int complete_main(struct cli *cli)
{
	const struct cli_command *c;
	const char *current, *run = NULL;
	const struct cli_option *before;
	int words, count = cli->argc - 1;

	if (cli->argc < 1)
		return CLI_OK;
	current = cli->argv[count];
	c = cli_find(count, cli->argv, &words);
	for (int i = 0; i + 1 < count; i++)
		if (strcmp(cli->argv[i], "--run") == 0)
			run = cli->argv[i + 1];
	if (!c) {
		bool help = count > 0 && strcmp(cli->argv[0], "help") == 0;

		complete_names(cli->argv + help, count - help);
		return CLI_OK;
	}
	if (strcmp(c->name, "help") == 0) {
		complete_names(cli->argv + 1, count - 1);
		return CLI_OK;
	}
	before = count > words ? complete_option(c, cli->argv[count - 1]) : NULL;
	if (before && before->value) {
		complete_kind(before->value, run);
		return CLI_OK;
	}
	if (current[0] == '-') {
		for (const struct cli_option *o = c->options; o->name; o++)
			printf("--%s\t%s\n", o->name, o->help);
		printf("--help\texplain this command\n");
		return CLI_OK;
	}
	complete_kind(c->args, run);
	return CLI_OK;
}
