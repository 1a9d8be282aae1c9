/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - files of the run folder: the configuration image, folders, small text files. Used by main.c and takeover.c
 * at start. The image file is what a later control process takes over with: it appears whole or not at all.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int image_write_all(int fd, const void *bytes, size_t count)
{
	const char *at = bytes;

	while (count) {
		ssize_t n = write(fd, at, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		count -= (size_t)n;
	}
	return 0;
}

int image_seal(const void *image, size_t bytes)
{
	int fd = memfd_create("millrace-config", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	if (fd < 0)
		return -errno;
	r = image_write_all(fd, image, bytes);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int image_put(const char *run, const char *name, const void *bytes, size_t count)
{
	char path[700], temp[720];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", run, name);
	snprintf(temp, sizeof(temp), "%s.new", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	r = image_write_all(fd, bytes, count);
	close(fd); /* not synced: nothing in the run folder means anything after the machine itself has crashed */
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temp);
	return r;
}

int image_save(const char *run, const void *image, size_t bytes)
{
	return image_put(run, IMAGE_FILE, image, bytes);
}

int image_put_text(const char *run, const char *name, const char *text)
{
	return image_put(run, name, text, strlen(text));
}

int image_read(const char *run, void **ret, size_t *ret_bytes)
{
	char path[700], *image = NULL;
	struct stat st;
	size_t got = 0;
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", run, IMAGE_FILE);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno : st.st_size <= 0 || st.st_size > (1 << 30) ? -EINVAL : 0;
	if (r < 0)
		goto out;
	image = malloc((size_t)st.st_size);
	r = image ? 0 : -ENOMEM;
	while (r == 0 && got < (size_t)st.st_size) {
		ssize_t n = read(fd, image + got, (size_t)st.st_size - got);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r = n ? -errno : -EINVAL;
	}
	if (r == 0)
		r = mr_config_check(image, got);
	if (r == 0) {
		*ret = image;
		*ret_bytes = got;
		image = NULL;
	}
out:
	free(image);
	close(fd);
	return r;
}

int image_folder(const char *path)
{
	char part[PATH_MAX];
	struct stat st;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		if (mkdir(part, 0750) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	if (mkdir(part, 0750) < 0 && errno != EEXIST)
		return -errno;
	if (stat(part, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return access(part, R_OK | W_OK | X_OK) < 0 ? -errno : 0;
}
