/* SPDX-License-Identifier: Apache-2.0 */
/* load_text.h - what the tests of the configuration share: texts to files to a loaded configuration. */
#ifndef LOAD_TEXT_H
#define LOAD_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config.h"
#include "mr_config.h"

struct loaded {
	int rc;
	struct config *config;
	struct config_report report;
	struct mr_config *image; /* when rc is 0 */
	size_t image_bytes;
};

extern const char sample_text[];

/* Loads a text as the file `hub.yaml` of a new folder (the current one while loading), on a machine with @cpus CPUs. */
struct loaded load_text(const char *text, char **env, uint32_t cpus);
/* The same for several files: name, text, name, text ..., NULL. The folder is given to config_load(). */
struct loaded load_folder(const char *const *names_and_texts, char **env);
void loaded_free(struct loaded *l);

/* The report as one text. malloc()ed. */
char *report_text(const struct config_report *r, int format);

#endif
