/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - fills in small configuration images by hand for the tests of routing: see table.h. Used by the route tests only;
 * must never go through the configuration reader, which is tested elsewhere.
 */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rig rig_make(const char *yaml)
{
	char path[] = "/tmp/millrace-route-XXXXXX";
	const char *paths[] = {path};
	struct config_report report = {0};
	struct config_options opt = {.cpus = 2};
	struct rig r = {0};
	size_t bytes;
	int fd = mkstemp(path), rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
	close(fd);
	rc = config_load(paths, 1, &opt, &r.config, &report);
	unlink(path);
	if (rc) {
		config_print_report(stderr, &report, CONFIG_TEXT);
		fail_msg("the configuration is wrong");
	}
	assert_int_equal(config_image(r.config, 1, (void **)&r.image, &bytes), 0);
	assert_int_equal(route_create(r.image, &r.table), 0);
	config_report_free(&report);
	return r;
}

void rig_free(struct rig *r)
{
	route_free(r->table);
	free(r->image);
	config_free(r->config);
}

int rig_route(struct rig *r, uint32_t listener, const char *msg, uint32_t bytes, struct route_result *ret)
{
	char *copy = malloc(bytes);
	struct hl7_msh msh;
	int rc;

	assert_non_null(copy);
	memcpy(copy, msg, bytes);
	assert_int_equal(hl7_msh_read(copy, bytes, &msh, NULL), 0);
	rc = route_message(r->table, listener, copy, bytes, &msh, ret);
	/* The message and its header may be gone only after the next call; here nothing asks for the key. */
	free(copy);
	return rc;
}

bool condition_takes(const char *condition, const char *msg)
{
	char yaml[4096];
	struct route_result result;
	struct rig r;

	assert_true(strlen(condition) < 3000);
	snprintf(yaml, sizeof(yaml),
	         "listeners: { a: { port: 1 } }\ndestinations: { f: { file: /x } }\n"
	         "routes:\n  - from: a\n    to: f\n    when: |-\n      %s\n",
	         condition);
	r = rig_make(yaml);
	assert_int_equal(rig_route(&r, 0, msg, (uint32_t)strlen(msg), &result), 0);
	rig_free(&r);
	return result.matched;
}
