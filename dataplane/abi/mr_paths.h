/* SPDX-License-Identifier: Apache-2.0 */
/* mr_paths.h - where the programs of Millrace find each other, their hub's run folder and their data. */
#ifndef MR_PATHS_H
#define MR_PATHS_H

#include "mr_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * mr_find_program - path of one of our programs (millrace-control, millrace-worker, millrace-connector-file).
 *
 * Looks beside the running program, then where `meson install` puts it, then in the folders of the build tree, so that
 * programs run uninstalled. @ret  Room for 512 bytes. Returns 0 or -ENOENT.
 */
int mr_find_program(const char *name, char *ret, size_t ret_bytes);

/**
 * mr_run_folder - the hub's run folder: @given (--run) or else MILLRACE_RUN or else the default: /run/millrace for root,
 * XDG_RUNTIME_DIR/millrace or /tmp/millrace-<uid> for others. Returns 0 or -ENAMETOOLONG.
 */
int mr_run_folder(const char *given, char *ret, size_t ret_bytes);

/** mr_data_folder - default data folder: /var/lib/millrace for root, XDG_STATE_HOME/millrace or ~/.local/state/millrace. */
int mr_data_folder(char *ret, size_t ret_bytes);

/**
 * mr_unix_path - a path for sun_path that reaches RUN/<name> even where the whole would be too long for it.
 *
 * Opens RUN and goes by /proc/self/fd then; @ret_fd gets that descriptor (or -1) and must stay open until bind() or
 * connect() is done. Returns 0 or -errno.
 */
int mr_unix_path(const char *run, const char *name, char *ret, size_t ret_bytes, int *ret_fd);

#ifdef __cplusplus
}
#endif
#endif
