/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_help.c - what people are told about the commands: overview, one command, did-you-mean, `help`, `version`.
 *
 * Everything comes from the table of commands.def. Called by cli.c and by the help command; prints only.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "mr_base.h"

#define HELP_COLUMNS 100

/* Prints @text folded at HELP_COLUMNS, every line but the first indented; '\n' in it starts a new line. */
static void help_fold(FILE *to, const char *text, int indent, int at)
{
	while (*text) {
		int word = (int)strcspn(text, " \n");

		if (at > indent && at + 1 + word > HELP_COLUMNS) {
			fprintf(to, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			fputc(' ', to);
			at++;
		}
		fprintf(to, "%.*s", word, text);
		at += word;
		text += word;
		for (; *text == ' ' || *text == '\n'; text++)
			if (*text == '\n') {
				fprintf(to, "\n%*s", indent, "");
				at = indent;
			}
	}
	fputc('\n', to);
}

void cli_help_all(FILE *to)
{
	const struct cli_command *commands;
	int count;

	commands = cli_commands(&count);
	fprintf(to,
	        "Millrace %s: a pipeline for HL7 v2 messages over MLLP\n\nusage: millrace COMMAND [options] "
	        "[arguments]\n\n",
	        MILLRACE_VERSION);
	for (int i = 0; i < count; i++)
		if (commands[i].summary)
			fprintf(to, "  %-18s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\nmillrace COMMAND --help explains one; millrace man shows the manual.\n");
}

bool cli_help_group(FILE *to, const char *group)
{
	const struct cli_command *commands;
	size_t n = strlen(group);
	bool any = false;
	int count;

	commands = cli_commands(&count);
	for (int i = 0; i < count; i++) {
		if (strncmp(commands[i].name, group, n) != 0 || commands[i].name[n] != ' ' || !commands[i].summary)
			continue;
		if (!any)
			fprintf(to, "usage: millrace %s COMMAND\n\n", group);
		any = true;
		fprintf(to, "  millrace %s%s%s\n      %s\n", commands[i].name, *commands[i].args ? " " : "",
		        commands[i].args, commands[i].summary);
	}
	return any;
}

void cli_help_command(FILE *to, const struct cli_command *c)
{
	fprintf(to, "usage: millrace %s%s%s%s\n\n", c->name, c->options->name ? " [options]" : "", *c->args ? " " : "",
	        c->args);
	if (c->summary)
		fprintf(to, "%c%s.\n",
		        c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 32 : c->summary[0],
		        c->summary + 1);
	if (c->about && *c->about) {
		fputc('\n', to);
		help_fold(to, c->about, 0, 0);
	}
	if (c->options->name)
		fprintf(to, "\nOptions:\n");
	for (const struct cli_option *o = c->options; o->name; o++) {
		char left[80];
		int n;

		if (o->letter)
			n = snprintf(left, sizeof(left), "  -%c, --%s%s%s", o->letter, o->name, o->value ? " " : "",
			             o->value ? o->value : "");
		else
			n = snprintf(left, sizeof(left), "      --%s%s%s", o->name, o->value ? " " : "",
			             o->value ? o->value : "");
		if (n > 30)
			fprintf(to, "%s\n%32s", left, "");
		else
			fprintf(to, "%-32s", left);
		help_fold(to, o->help, 32, 32);
	}
}

int help_main(struct cli *cli)
{
	const struct cli_command *c;
	int words;

	if (cli->argc == 0) {
		cli_help_all(stdout);
		return CLI_OK;
	}
	c = cli_find(cli->argc, cli->argv, &words);
	if (c && words == cli->argc) {
		cli_help_command(stdout, c);
		return CLI_OK;
	}
	if (cli->argc == 1 && cli_help_group(stdout, cli->argv[0]))
		return CLI_OK;
	cli_error(cli, "no command '%s'; millrace help lists them", cli->argv[0]);
	return CLI_NOT_FOUND;
}

int version_main(struct cli *cli)
{
	printf("millrace %s\n", MILLRACE_VERSION);
	return CLI_OK;
}

/* Edits (insert, drop, change, swap neighbours) that turn @a into @b; words longer than 63 bytes count as far away. */
static int help_distance(const char *a, const char *b)
{
	int d[3][64], n = (int)strlen(a), m = (int)strlen(b);

	if (n > 63 || m > 62)
		return 99;
	for (int j = 0; j <= m; j++)
		d[0][j] = j;
	for (int i = 1; i <= n; i++) {
		int *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];

		row[0] = i;
		for (int j = 1; j <= m; j++) {
			int best = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < best)
				best = up[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
				best = up2[j - 2] + 1;
			row[j] = best;
		}
	}
	return d[n % 3][m];
}

const char *cli_did_you_mean(const char *word, const char *const *words, int count)
{
	int best = 3 + (int)strlen(word) / 8;
	const char *near = NULL;

	if (strlen(word) <= 3)
		best = 2;
	for (int i = 0; i < count; i++) {
		int d = help_distance(word, words[i]);
		size_t n = strlen(word);

		if (n >= 3 && strncmp(word, words[i], n) == 0)
			d = 1; /* an abbreviation */
		if (d < best) {
			best = d;
			near = words[i];
		}
	}
	return near;
}
