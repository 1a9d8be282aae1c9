/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - the running configuration: built from text, kept in RUN/config.image, handed out as a sealed memfd. */
#ifndef IMAGE_H
#define IMAGE_H

#include "control.h"

#define IMAGE_FILE "config.image"

/** image_seal - a sealed memfd of these bytes. Returns the descriptor or -errno. */
int image_seal(const void *image, size_t bytes);

/** image_save - write RUN/config.image atomically. Returns 0 or -errno. */
int image_save(const char *run, const void *image, size_t bytes);

/** image_read - read and check RUN/config.image. @ret is malloc()ed. Returns 0, -errno, -EINVAL (damaged). */
int image_read(const char *run, void **ret, size_t *ret_bytes);

/** image_folder - make a folder and its parents (0750 for those made). Returns 0 or -errno. */
int image_folder(const char *path);

/** image_put - write a file atomically: it appears whole or not at all. Returns 0 or -errno. */
int image_put(const char *run, const char *name, const void *bytes, size_t count);

/** image_put_text - write a small file atomically. Returns 0 or -errno. */
int image_put_text(const char *run, const char *name, const char *text);

#endif
