/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check.c - `millrace config check|default`: has millrace-control check the configuration, or print the built-in
 * one, so that there is one place that knows.
 *
 * Replaces this process by that program: its output and exit status are the command's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "mr_paths.h"
#include "mr_base.h"

/* Goes on as millrace-control with these words (argv[0] is left free for its path). Returns only if that fails. */
static int config_become(struct cli *cli, const char **argv)
{
	char program[512];

	if (mr_find_program("millrace-control", program, sizeof(program)) < 0) {
		cli_error(cli, "millrace-control is not installed beside this program");
		return CLI_FAILED;
	}
	argv[0] = program;
	execv(program, (char *const *)(uintptr_t)argv);
	cli_error(cli, "%s: %s", program, strerror(errno));
	return CLI_FAILED;
}

int config_default_main(struct cli *cli)
{
	const char *argv[] = {NULL, "--print-default", NULL};

	return cli->argc ? cli_usage(cli, "no argument wanted") : config_become(cli, argv);
}

int config_check_main(struct cli *cli)
{
	const char **argv;
	int n = 1, r;

	if (!cli->argc)
		return cli_usage(cli, "name at least one FILE or DIR");
	if (cli_choice(cli, "format", 0) < 0)
		return CLI_USAGE;
	argv = calloc((size_t)cli->argc * 2 + 5, sizeof(*argv));
	must(argv);
	argv[n++] = "--check";
	if (cli_value(cli, "format")) {
		argv[n++] = "--format";
		argv[n++] = cli_value(cli, "format");
	}
	for (int i = 0; i < cli->argc; i++) {
		argv[n++] = "-c";
		argv[n++] = cli->argv[i];
	}
	r = config_become(cli, argv);
	free(argv);
	return r;
}
