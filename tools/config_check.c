/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check.c - `millrace config check`: has millrace-control check the configuration, so that there is one checker.
 *
 * Replaces this process by the checker: its output and exit status are the command's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "mr_paths.h"
#include "mr_base.h"

int config_check_main(struct cli *cli)
{
	const char **argv;
	char program[512];
	int n = 0;

	if (!cli->argc)
		return cli_usage(cli, "name at least one FILE or DIR");
	if (cli_choice(cli, "format", 0) < 0)
		return CLI_USAGE;
	if (mr_find_program("millrace-control", program, sizeof(program)) < 0) {
		cli_error(cli, "millrace-control is not installed beside this program");
		return CLI_FAILED;
	}
	argv = calloc((size_t)cli->argc * 2 + 5, sizeof(*argv));
	must(argv);
	argv[n++] = program;
	argv[n++] = "--check";
	if (cli_value(cli, "format")) {
		argv[n++] = "--format";
		argv[n++] = cli_value(cli, "format");
	}
	for (int i = 0; i < cli->argc; i++) {
		argv[n++] = "-c";
		argv[n++] = cli->argv[i];
	}
	execv(program, (char *const *)(uintptr_t)argv);
	cli_error(cli, "%s: %s", program, strerror(errno));
	free(argv);
	return CLI_FAILED;
}
