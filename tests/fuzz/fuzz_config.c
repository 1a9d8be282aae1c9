/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any text as a configuration file, any text as environment variables: refused with diagnostics that
 * lie inside the text, or compiled to an image that checks out.
 *
 * Input: the file, then a NUL and a variable's name and value (without MILLRACE_), and so on.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config.h"
#include "mr_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VARIABLES_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool held)
{
	if (!held)
		abort();
}

static int file_of(const uint8_t *data, size_t bytes, char *path, size_t room)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	expect(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
	snprintf(path, room, "/proc/self/fd/%d", fd);
	return fd;
}

static uint32_t variables_of(const uint8_t *data, size_t size, char **env)
{
	uint32_t count = 0;

	while (size && count < VARIABLES_MAX) {
		size_t n = strnlen((const char *)data, size);

		expect(asprintf(&env[count++], "MILLRACE_%.*s", (int)n, (const char *)data) > 0);
		n += n < size;
		data += n;
		size -= n;
	}
	env[count] = NULL;
	return count;
}

static void check_report(const struct config_report *r)
{
	FILE *out = fopen("/dev/null", "w");
	uint32_t errors = 0;

	expect(out != NULL);
	for (uint32_t i = 0; i < r->count; i++) {
		const struct config_diag *d = &r->diags[i];
		const char *summary, *action;

		errors += d->level == CONFIG_ERROR;
		expect(config_code_text(d->code, &summary, &action) == 0);
		expect(strlen(d->text) > 0 && strlen(d->text) < sizeof(d->text));
		expect(!d->source[0] || (d->caret >= 1 && d->caret <= strlen(d->source) + 1));
	}
	expect(errors == r->errors || r->count == CONFIG_DIAGS_MAX);
	config_print_report(out, r, CONFIG_TEXT);
	config_print_report(out, r, CONFIG_JSON);
	fclose(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t file_bytes = strnlen((const char *)data, size), after = file_bytes + (file_bytes < size);
	struct config_report report = {0};
	struct config *c = NULL;
	char *env[VARIABLES_MAX + 1], path[64];
	uint32_t variables = variables_of(data + after, size - after, env);
	struct config_options opt = {.environ = env, .cpus = 4};
	const char *paths[] = {path};
	int fd = file_of(data, file_bytes, path, sizeof(path)), rc;
	void *image = NULL;
	size_t bytes;

	rc = config_load(paths, 1, &opt, &c, &report);
	expect(rc == 0 ? c && !report.errors : rc == -EINVAL && !c && report.errors);
	check_report(&report);
	if (!rc)
		expect(config_image(c, 1, &image, &bytes) == 0 && mr_config_check(image, bytes) == 0);
	free(image);
	config_free(c);
	config_report_free(&report);
	close(fd);
	while (variables)
		free(env[--variables]);
	return 0;
}
