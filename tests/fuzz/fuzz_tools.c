/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_tools.c - what the command line reads from outside: files of messages, the control socket's answers, addresses.
 *
 * The first byte chooses. What is found must lie inside what was given, and be whole.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl_client.h"
#include "hl7.h"
#include "net.h"
#include "split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int on_message(void *arg, const char *msg, uint32_t bytes, uint32_t line)
{
	struct hl7_msh h;

	must(line >= 1 && hl7_msh_read(msg, bytes, &h, NULL) == 0);
	*(uint64_t *)arg += bytes;
	return 0;
}

static void on_problem(void *arg, uint32_t line, const char *text)
{
	must(line >= 1 && *text);
}

static void split(const char *data, size_t bytes, bool keep_eol)
{
	struct split_counts counts = {0};
	uint64_t total = 0;
	struct split_to to = {on_message, on_problem, &total};

	must(split_messages(data, bytes, keep_eol, &to, &counts) == 0);
	must(total <= bytes + counts.messages);
}

static void http(const char *data, size_t bytes, bool ended)
{
	char *copy = malloc(bytes + 1);
	struct ctl_http h;

	must(copy);
	memcpy(copy, data, bytes);
	copy[bytes] = 0;
	if (ctl_http_parse(copy, bytes, ended, &h) == 1)
		must(h.status >= 100 && h.body >= copy && h.body + h.body_bytes <= copy + bytes);
	free(copy);
}

static void text(const char *data, size_t bytes)
{
	char *copy = strndup(data, bytes);
	struct net_address a;
	uint64_t n;
	double d;

	must(copy);
	if (net_parse(copy, NULL, &a) == 0)
		must(*a.host && *a.port);
	cli_parse_duration_ns(copy, &n);
	cli_parse_bytes(copy, &n);
	cli_parse_rate(copy, &d);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const char *rest = (const char *)data + 1;

	if (!bytes)
		return 0;
	if (data[0] % 5 < 2)
		split(rest, bytes - 1, data[0] & 1);
	else if (data[0] % 5 < 4)
		http(rest, bytes - 1, data[0] & 1);
	else
		text(rest, bytes - 1);
	return 0;
}
