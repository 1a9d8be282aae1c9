/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the program `millrace`: everything stands in commands.def and the commands' own files.
 *
 * Runs as the operator. It must never be setuid, and never change a hub in another way than through its control socket.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cli.h"

/* Standard output cannot be written. Silent where its reader had enough (`| head`). */
static void main_output_failed(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)))
		return;
	fputs("millrace: standard output: not everything could be written\n", stderr);
}

int main(int argc, char **argv)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	r = cli_run(argc, argv);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return r;
	main_output_failed();
	return r == CLI_OK ? CLI_FAILED : r;
}
