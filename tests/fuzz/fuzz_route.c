/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_route.c - any text as a condition, any bytes as a message: of the condition and its opposite, one takes the
 * message.
 *
 * Input: the condition, a NUL, the message. Runs the real reader, compiler and worker code.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config.h"
#include "route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool held)
{
	if (!held)
		abort();
}

static const char base[] = "listeners: { a: { port: 1, max_frame: 64KiB, order_by: PID-3 } }\n"
                           "destinations: { yes: { file: /y }, no: { file: /n } }\n"
                           "routes: [ { from: a, to: \"yes\" }, { from: a, to: \"no\" } ]\n";

/* One file for all runs; the conditions come by environment. */
static const char *base_path(void)
{
	static char path[64];
	int fd;

	if (!path[0]) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		expect(fd >= 0 && write(fd, base, sizeof(base) - 1) == sizeof(base) - 1);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	return path;
}

static struct mr_config *compile(const char *condition)
{
	const char *paths[] = {base_path()};
	struct config_report report = {0};
	struct config *c = NULL;
	struct mr_config *image = NULL;
	char *env[3] = {NULL};
	struct config_options opt = {.environ = env, .cpus = 1};
	size_t bytes;

	expect(asprintf(&env[0], "MILLRACE_ROUTES_ROUTE_1_WHEN=%s", condition) > 0);
	expect(asprintf(&env[1], "MILLRACE_ROUTES_ROUTE_2_WHEN=!(%s)", condition) > 0);
	if (config_load(paths, 1, &opt, &c, &report) == 0)
		expect(config_image(c, 1, (void **)&image, &bytes) == 0);
	else
		expect(report.errors > 0);
	config_free(c);
	config_report_free(&report);
	free(env[0]);
	free(env[1]);
	return image;
}

/* Nested one deeper, a condition may be too deep, and an empty one counts as not set; then the two routes differ by
 * more. */
static bool comparable(const struct mr_config *m)
{
	return mr_config_route(m, 0)->code_count &&
	       mr_config_route(m, 0)->code_count == mr_config_route(m, 1)->code_count;
}

static void route_one(const struct mr_config *m, const char *msg, uint32_t bytes)
{
	struct route_result result, again;
	struct route_table *t;
	struct hl7_msh msh;
	uint64_t key;

	if (hl7_msh_read(msg, bytes, &msh, NULL) || !comparable(m))
		return;
	expect(route_create(m, &t) == 0);
	expect(route_message(t, 0, msg, bytes, &msh, &result) == 0);
	expect(result.matched && result.count == 1 && result.dests[0] < 2);
	expect(route_hits(t, result.dests[0]) == 1 && route_hits(t, !result.dests[0]) == 0);
	key = route_order_key(t);
	expect(route_message(t, 0, msg, bytes, &msh, &again) == 0);
	expect(again.count == 1 && again.dests[0] == result.dests[0] && route_order_key(t) == key);
	route_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = strnlen((const char *)data, size), bytes = n < size ? size - n - 1 : 0;
	char *condition = strndup((const char *)data, n), *msg = malloc(bytes ? bytes : 1);
	struct mr_config *m = NULL;

	expect(condition && msg);
	memcpy(msg, data + size - bytes, bytes);
	/* Counted repetitions can take Vectorscan seconds to compile; its compiler is not what is tested here. */
	if (!(strstr(condition, "=~") && strchr(condition, '{')))
		m = compile(condition);
	if (m && bytes && bytes <= 64 << 10)
		route_one(m, msg, (uint32_t)bytes);
	free(m);
	free(msg);
	free(condition);
	return 0;
}
