/* SPDX-License-Identifier: Apache-2.0 */
/* mr_paths.c - finding programs and folders. Used by every program at start; never on a message's path. */
#include "mr_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

int mr_find_program(const char *name, char *ret, size_t ret_bytes)
{
	static const char *const places[] = {"", "../libexec/millrace/", "../bin/", "../../bin/", "../control/",
					     "../dataplane/", "../tools/", "../control/connectors/", "../../control/",
					     "../../dataplane/", "../../tools/"};
	char self[512], path[1100];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return -ENOENT;
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	slash[1] = 0;
	for (size_t i = 0; i < MR_ARRAY_LEN(places); i++) {
		snprintf(path, sizeof(path), "%s%s%s", self, places[i], name);
		if (access(path, X_OK) == 0 && strlen(path) < ret_bytes) {
			memcpy(ret, path, strlen(path) + 1);
			return 0;
		}
	}
	return -ENOENT;
}

static int paths_put(char *ret, size_t ret_bytes, const char *a, const char *b)
{
	int n = snprintf(ret, ret_bytes, "%s%s", a, b);

	return n < 0 || (size_t)n >= ret_bytes ? -ENAMETOOLONG : 0;
}

int mr_run_folder(const char *given, char *ret, size_t ret_bytes)
{
	const char *env = getenv("MILLRACE_RUN"), *xdg = getenv("XDG_RUNTIME_DIR");
	char uid[40];

	if (given && *given)
		return paths_put(ret, ret_bytes, given, "");
	if (env && *env)
		return paths_put(ret, ret_bytes, env, "");
	if (geteuid() == 0)
		return paths_put(ret, ret_bytes, "/run/millrace", "");
	if (xdg && *xdg)
		return paths_put(ret, ret_bytes, xdg, "/millrace");
	snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	return paths_put(ret, ret_bytes, "/tmp/millrace-", uid);
}

int mr_data_folder(char *ret, size_t ret_bytes)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (geteuid() == 0)
		return paths_put(ret, ret_bytes, "/var/lib/millrace", "");
	if (xdg && *xdg)
		return paths_put(ret, ret_bytes, xdg, "/millrace");
	return paths_put(ret, ret_bytes, home && *home ? home : ".", "/.local/state/millrace");
}

int mr_unix_path(const char *run, const char *name, char *ret, size_t ret_bytes, int *ret_fd)
{
	const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path);
	int n = snprintf(ret, ret_bytes, "%s/%s", run, name), fd;

	*ret_fd = -1;
	if (n > 0 && (size_t)n < room && (size_t)n < ret_bytes)
		return 0;
	fd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = snprintf(ret, ret_bytes, "/proc/self/fd/%d/%s", fd, name);
	if (n < 0 || (size_t)n >= room || (size_t)n >= ret_bytes) {
		close(fd);
		return -ENAMETOOLONG;
	}
	*ret_fd = fd;
	return 0;
}
