/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the program `millrace`: everything stands in commands.def and the commands' own files.
 *
 * Runs as the operator. It must never be setuid, and never change a hub in another way than through its control socket.
 */
#include <signal.h>
#include <stdio.h>

#include "cli.h"

int main(int argc, char **argv)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	r = cli_run(argc, argv);
	if (fflush(stdout) != 0 && r == CLI_OK) {
		perror("millrace: standard output");
		return CLI_FAILED;
	}
	return r;
}
