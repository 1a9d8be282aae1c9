/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_man.c - the manual pages, written as mdoc from the table of commands.def: millrace(1) and one page per first
 * word.
 *
 * Called by the man command and, at build time, to make the pages that are installed. Prints only.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "mr_base.h"

/* millrace.yaml(5), printed from the configuration's schema and kept in docs/man. */
static const unsigned char man_yaml[] = {
#include "millrace_yaml_page.inc"
};

/* Commands that have no page of their own: they stand in millrace(1). */
static bool man_small(const char *noun)
{
	return strcmp(noun, "help") == 0 || strcmp(noun, "version") == 0 || strcmp(noun, "man") == 0 ||
	       strcmp(noun, "completion") == 0;
}

static void man_noun(const struct cli_command *c, char *ret, size_t room)
{
	snprintf(ret, room, "%.*s", (int)strcspn(c->name, " "), c->name);
}

/* One word with what roff would take for its own written safely. */
static int man_word(FILE *to, const char *word, int bytes, bool first)
{
	int at = 0;

	if (first && (word[0] == '.' || word[0] == '\''))
		at += fprintf(to, "\\&");
	for (int i = 0; i < bytes; i++)
		at += word[i] == '\\'  ? fprintf(to, "\\e")
		      : word[i] == '-' ? fprintf(to, "\\-")
		                       : fprintf(to, "%c", word[i]);
	return at;
}

/* Text as short lines; each sentence starts a new line, as mdoc wants, and an empty line a paragraph. */
static void man_text(FILE *to, const char *text)
{
	int at = 0;

	while (*text) {
		int n = (int)strcspn(text, " \n");
		bool sentence =
		    n > 1 && text[n - 1] == '.' && text[n] == ' ' && text[n + 1] >= 'A' && text[n + 1] <= 'Z';

		if (at && at + n > 70) {
			fputc('\n', to);
			at = 0;
		}
		if (at)
			at += fprintf(to, " ");
		at += man_word(to, text, n, at == 0);
		text += n;
		if (text[0] == '\n' && text[1] == '\n') {
			fputs("\n.Pp", to);
			sentence = true;
		}
		text += strspn(text, " \n");
		if (sentence && *text) {
			fputc('\n', to);
			at = 0;
		}
	}
	fputc('\n', to);
}

/* "HOST:PORT FILE|DIR|-..." as mdoc arguments, each quoted. */
static void man_args(FILE *to, const char *args)
{
	while (*args) {
		int n = (int)strcspn(args, " ");

		fprintf(to, " Ar \"%.*s\"", n, args);
		args += n;
		args += strspn(args, " ");
	}
}

static void man_head(FILE *to, const char *page, const char *summary)
{
	char upper[64];
	size_t n = strlen(page);

	for (size_t i = 0; i <= n && i < sizeof(upper); i++)
		upper[i] = (char)(page[i] >= 'a' && page[i] <= 'z' ? page[i] - 32 : page[i]);
	fprintf(to, ".Dd November 20, 2026\n.Dt %s 1\n.Os Millrace\n.Sh NAME\n.Nm %s\n.Nd %s\n", upper, page, summary);
}

static void man_options(FILE *to, const struct cli_command *c)
{
	if (!c->options->name)
		return;
	fputs(".Bl -tag -width Ds\n", to);
	for (const struct cli_option *o = c->options; o->name; o++) {
		fputs(".It ", to);
		if (o->letter)
			fprintf(to, "Fl %c , ", o->letter);
		fputs("Fl Fl ", to);
		for (const char *at = o->name; *at; at++)
			fprintf(to, *at == '-' ? "\\-" : "%c", *at);
		if (o->value)
			fprintf(to, " Ar \"%s\"", o->value);
		fputc('\n', to);
		man_text(to, o->help);
	}
	fputs(".El\n", to);
}

static void man_exit(FILE *to)
{
	static const struct {
		int code;
		const char *text;
	} codes[] = {
	    {CLI_OK, "done, or healthy"},
	    {CLI_FAILED, "could not do it; nothing changed"},
	    {CLI_USAGE, "wrong use of the command line"},
	    {CLI_CONFIG, "configuration invalid"},
	    {CLI_NOT_FOUND, "no such destination, message or page"},
	    {CLI_DENIED, "not permitted"},
	    {CLI_PRECONDITION, "not confirmed"},
	    {CLI_TIMEOUT, "timed out; the outcome is unknown"},
	    {CLI_UNREACHABLE, "the hub or the other end cannot be reached"},
	    {CLI_UNHEALTHY, "asked successfully: the answer is unhealthy"},
	    {CLI_DEGRADED, "works, but not all of it"},
	    {CLI_PARTIAL, "some succeeded, some did not"},
	};

	fputs(".Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n", to);
	for (size_t i = 0; i < MR_ARRAY_LEN(codes); i++)
		fprintf(to, ".It %d\n%s\n", codes[i].code, codes[i].text);
	fputs(".El\n", to);
}

static void man_main_page(FILE *to)
{
	const struct cli_command *commands;
	char noun[64];
	int count;

	commands = cli_commands(&count);
	man_head(to, "millrace", "a pipeline for HL7 v2 messages over MLLP");
	fputs(".Sh SYNOPSIS\n.Nm millrace\n.Ar command\n.Op options\n.Op arguments\n.Sh DESCRIPTION\n", to);
	man_text(
	    to,
	    "Millrace takes HL7 v2 messages in over MLLP, puts them on disk, acknowledges them, and delivers each to "
	    "everyone who must have it. This program starts a hub, shows and steers a running one, and has a sender, a "
	    "test receiver and load tools that work with other people's systems too.");
	fputs(".Bl -tag -width Ds\n", to);
	for (int i = 0; i < count; i++) {
		if (!commands[i].summary)
			continue;
		man_noun(&commands[i], noun, sizeof(noun));
		fprintf(to, ".It Nm millrace %s", commands[i].name);
		man_args(to, commands[i].args);
		fputc('\n', to);
		man_text(to, commands[i].summary);
		if (!man_small(noun))
			fprintf(to, "See\n.Xr millrace\\-%s 1 .\n", noun);
	}
	fputs(".El\n.Sh ENVIRONMENT\n.Bl -tag -width Ds\n"
	      ".It Ev MILLRACE_RUN\nRun folder of the hub; the option\n.Fl Fl run\noverrides it.\n"
	      ".It Ev NO_COLOR\nIf set, no colours are used.\n.El\n"
	      ".Sh FILES\n.Bl -tag -width Ds\n"
	      ".It Pa /run/millrace\nRun folder of a hub that root starts: control socket, shared regions.\nOther "
	      "users:\n"
	      ".Pa $XDG_RUNTIME_DIR/millrace\nor\n.Pa /tmp/millrace\\-UID .\n"
	      ".It Pa /var/lib/millrace\nIts data folder: journals.\n.El\n",
	      to);
	man_exit(to);
	fputs(".Sh SEE ALSO\n.Xr millrace.yaml 5\n", to);
}

static bool man_page(FILE *to, const char *noun)
{
	const struct cli_command *commands;
	bool any = false, several = false;
	char page[80], has[64];
	int count;

	commands = cli_commands(&count);
	for (int i = 0; i < count; i++) {
		man_noun(&commands[i], has, sizeof(has));
		several |= strcmp(has, noun) == 0 && commands[i].summary && strchr(commands[i].name, ' ');
	}
	for (int i = 0; i < count; i++) {
		const struct cli_command *c = &commands[i];

		man_noun(c, has, sizeof(has));
		if (strcmp(has, noun) != 0 || !c->summary || man_small(noun))
			continue;
		if (!any) {
			snprintf(page, sizeof(page), "millrace-%s", noun);
			man_head(to, page, c->summary);
			fputs(".Sh SYNOPSIS\n", to);
			for (int j = i; j < count; j++) {
				man_noun(&commands[j], has, sizeof(has));
				if (strcmp(has, noun) != 0 || !commands[j].summary)
					continue;
				fprintf(to, ".Nm millrace %s\n%s", commands[j].name,
				        commands[j].options->name ? ".Op options\n" : "");
				if (*commands[j].args) {
					fputs(".", to);
					man_args(to, commands[j].args);
					fputc('\n', to);
				}
			}
			fputs(".Sh DESCRIPTION\n", to);
		}
		any = true;
		if (several)
			fprintf(to, ".Ss millrace %s\n", c->name);
		if (several || !c->about || !*c->about) {
			char line[200];

			snprintf(line, sizeof(line), "%s.", c->summary);
			if (line[0] >= 'a' && line[0] <= 'z')
				line[0] = (char)(line[0] - 32);
			man_text(to, line);
		}
		if (c->about && *c->about) {
			if (several)
				fputs(".Pp\n", to);
			man_text(to, c->about);
		}
		man_options(to, c);
	}
	if (!any)
		return false;
	man_exit(to);
	fputs(".Sh SEE ALSO\n.Xr millrace 1 ,\n.Xr millrace.yaml 5\n", to);
	return true;
}

static int man_list(void)
{
	const struct cli_command *commands;
	char last[64] = "", noun[64];
	int count;

	commands = cli_commands(&count);
	puts("millrace");
	for (int i = 0; i < count; i++) {
		man_noun(&commands[i], noun, sizeof(noun));
		if (commands[i].summary && !man_small(noun) && strcmp(noun, last) != 0) {
			printf("millrace-%s\n", noun);
			memcpy(last, noun, sizeof(last));
		}
	}
	puts("millrace.yaml");
	return CLI_OK;
}

static bool man_write(FILE *to, const char *page)
{
	if (strcmp(page, "millrace.yaml") == 0 || strcmp(page, "yaml") == 0)
		return fwrite(man_yaml, sizeof(man_yaml), 1, to) == 1;
	if (strncmp(page, "millrace-", 9) == 0)
		page += 9;
	if (strcmp(page, "millrace") != 0)
		return man_page(to, page);
	man_main_page(to);
	return true;
}

/* Shows a file with the pager that the machine has; the last resort is the source itself. */
static int man_show(const char *path)
{
	execlp("man", "man", path, (char *)NULL);
	execlp("mandoc", "mandoc", "-a", path, (char *)NULL);
	execlp("cat", "cat", path, (char *)NULL);
	return CLI_FAILED;
}

int man_main(struct cli *cli)
{
	const char *page = cli->argc ? cli->argv[0] : "millrace";
	char path[] = "/tmp/millrace-man-XXXXXX";
	int fd, status = 0;
	pid_t pid;
	FILE *f;

	if (cli->argc > 1)
		return cli_usage(cli, "one page at a time");
	if (cli_flag(cli, "list"))
		return man_list();
	if (cli_flag(cli, "source")) {
		if (man_write(stdout, page))
			return CLI_OK;
		cli_error(cli, "no page '%s'; millrace man --list names them", page);
		return CLI_NOT_FOUND;
	}
	fd = mkstemp(path);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		cli_error(cli, "cannot make a temporary file");
		return CLI_FAILED;
	}
	if (!man_write(f, page)) {
		fclose(f);
		unlink(path);
		cli_error(cli, "no page '%s'; millrace man --list names them", page);
		return CLI_NOT_FOUND;
	}
	fclose(f);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(man_show(path));
	if (pid > 0)
		waitpid(pid, &status, 0);
	unlink(path);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? CLI_OK : CLI_FAILED;
}
