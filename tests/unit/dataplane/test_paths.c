/* SPDX-License-Identifier: Apache-2.0 */
/* test_paths.c - where a hub's run folder, its data and its programs are, whatever the environment says. */
#include "unit.h"

#include "mr_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
	unsetenv("MILLRACE_RUN");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("XDG_STATE_HOME");
	return 0;
}

static void test_run_folder_in_the_order_of_who_says_it(void **state)
{
	char at[64];

	setenv("MILLRACE_RUN", "/from/environment", 1);
	assert_int_equal(mr_run_folder("/given", at, sizeof(at)), 0);
	assert_string_equal(at, "/given");
	assert_int_equal(mr_run_folder(NULL, at, sizeof(at)), 0);
	assert_string_equal(at, "/from/environment");
	assert_int_equal(mr_run_folder("", at, sizeof(at)), 0);
	assert_string_equal(at, "/from/environment");
	unsetenv("MILLRACE_RUN");
	setenv("XDG_RUNTIME_DIR", "/run/user/77", 1);
	assert_int_equal(mr_run_folder(NULL, at, sizeof(at)), 0);
	assert_string_equal(at, geteuid() == 0 ? "/run/millrace" : "/run/user/77/millrace");
	unsetenv("XDG_RUNTIME_DIR");
	assert_int_equal(mr_run_folder(NULL, at, sizeof(at)), 0);
	if (geteuid() != 0)
		assert_memory_equal(at, "/tmp/millrace-", 14);
}

static void test_too_long_a_name_is_an_error(void **state)
{
	char at[10];

	assert_int_equal(mr_run_folder("/123456789", at, sizeof(at)), -ENAMETOOLONG);
	assert_int_equal(mr_run_folder("/12345678", at, sizeof(at)), 0);
}

static void test_data_folder(void **state)
{
	char at[256];

	setenv("XDG_STATE_HOME", "/state", 1);
	assert_int_equal(mr_data_folder(at, sizeof(at)), 0);
	assert_string_equal(at, geteuid() == 0 ? "/var/lib/millrace" : "/state/millrace");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/of/somebody", 1);
	assert_int_equal(mr_data_folder(at, sizeof(at)), 0);
	assert_string_equal(at, geteuid() == 0 ? "/var/lib/millrace" : "/home/of/somebody/.local/state/millrace");
}

static void test_socket_paths(void **state)
{
	char folder[32] = "/tmp/millrace-unit-XXXXXX", deep[256], at[108], back[256], link[160];
	ssize_t n;
	int fd = 5;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(mr_unix_path(folder, "link.sock", at, sizeof(at), &fd), 0);
	assert_int_equal(fd, -1);
	snprintf(deep, sizeof(deep), "%s/link.sock", folder);
	assert_string_equal(at, deep);
	snprintf(deep, sizeof(deep), "%s/%0120d", folder, 1);
	assert_int_equal(mr_unix_path(deep, "link.sock", at, sizeof(at), &fd), -ENOENT);
	assert_int_equal(mkdir(deep, 0700), 0);
	assert_int_equal(mr_unix_path(deep, "link.sock", at, sizeof(at), &fd), 0);
	assert_true(fd >= 0);
	assert_string_equal(strrchr(at, '/'), "/link.sock");
	snprintf(link, sizeof(link), "%.*s", (int)(strrchr(at, '/') - at), at);
	n = readlink(link, back, sizeof(back) - 1);
	assert_true(n > 0);
	back[n] = 0;
	assert_string_equal(back, deep); /* it leads to the folder */
	close(fd);
	rmdir(deep);
	rmdir(folder);
}

static void test_finds_programs_beside_itself(void **state)
{
	char self[512], name[80], at[512], small[4];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = 0;
	snprintf(name, sizeof(name), "%s", strrchr(self, '/') + 1);
	assert_int_equal(mr_find_program(name, at, sizeof(at)), 0);
	assert_string_equal(at, self);
	assert_int_equal(mr_find_program(name, small, sizeof(small)), -ENOENT);
	assert_int_equal(mr_find_program("no-such-program-anywhere", at, sizeof(at)), -ENOENT);
	assert_string_equal(at, self); /* untouched */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_run_folder_in_the_order_of_who_says_it, setup),
		cmocka_unit_test_setup(test_too_long_a_name_is_an_error, setup),
		cmocka_unit_test_setup(test_data_folder, setup),
		cmocka_unit_test_setup(test_socket_paths, setup),
		cmocka_unit_test_setup(test_finds_programs_beside_itself, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
