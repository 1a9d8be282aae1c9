/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration: YAML or JSON text and environment -> checked tree -> image that every process runs.
 *
 * The order is config_load() (reads and checks everything, all errors at once), config_print_report(), config_image().
 * Settings are in config_schema.def, diagnostics in config_errors.def; the manual is printed from the same tables.
 * May allocate and read files; control process, tools and tests only. No globals: several may be loaded side by side.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct config; /* one loaded and checked configuration; owns all its memory */

enum config_level { CONFIG_ERROR = 0, CONFIG_WARNING = 1 };

/* Codes: printed as MR1006, explained in config_errors.def. */
enum config_code {
#define CONFIG_CODE(id, number, level, summary, action) CONFIG_E_##id = number,
#include "config_errors.def"
#undef CONFIG_CODE
};

/* One thing that is wrong, or looks wrong, and where. Plain data: valid as long as its report. */
struct config_diag {
	char file[256];   /* as given; "environment" for an override; "default" for the built-in configuration */
	uint32_t line;    /* from 1; 0 = about the whole file */
	uint32_t column;  /* from 1, in characters */
	uint32_t length;  /* characters to underline */
	uint32_t code;    /* enum config_code */
	int level;        /* enum config_level */
	char text[400];   /* what is wrong and what is legal */
	char hint[200];   /* `did you mean "..."?` and where that is defined; or "" */
	char source[200]; /* the line of the source, cut around the place; or "" */
	uint32_t caret;   /* column of the place in `source`, from 1 */
	uint32_t order;   /* when it was found; keeps sorting stable */
};

#define CONFIG_DIAGS_MAX 1000 /* more are counted, not kept */

struct config_report {
	struct config_diag *diags; /* sorted by file, line and column */
	uint32_t count;            /* kept in diags */
	uint32_t errors;
	uint32_t warnings;
	uint32_t room;
	uint32_t listeners, destinations, routes; /* found */
	uint32_t files;
	uint64_t duration_ns;
};

struct config_options {
	char **environ;  /* overrides MILLRACE_...; NULL: none are applied */
	const char *run; /* --run: goes before MILLRACE_RUN and the files; NULL: not given */
	uint32_t cpus;   /* pretend that this machine has CPUs 0..cpus-1; 0: look (sched_getaffinity) */
};

/**
 * config_load - read and check a configuration completely.
 *
 * @paths       Files, or folders whose *.yaml, *.yml and *.json files are read in the order of their names (no hidden
 * ones).
 * @path_count  0: the built-in default (listener on 2575, files in inbox of the data folder, metrics on
 *              127.0.0.1:9464).
 * @opt         NULL: no environment, the machine's CPUs.
 * @ret         Written on success only; config_free() it.
 * @report      Caller-owned, zeroed. Collects every error and warning, also on success; config_report_free() it.
 *
 * Several files are one configuration: listeners, destinations and routes add up, any other setting may be given once.
 * Relative folders (data, run, file destinations) are taken from the current folder and are absolute afterwards.
 * Environment: MILLRACE_COMMIT=os, MILLRACE_JOURNAL_SEGMENT=128MiB, MILLRACE_LISTENERS_ADT_PORT=2575; names in upper
 * case,
 * `-` and `.` as `_`; a value for a list or a map is YAML text (MILLRACE_ROUTES='[{from: adt, to: [ehr]}]').
 * Returns 0; -EINVAL if there is any error (all are in the report); -ENOMEM.
 */
int config_load(const char *const *paths, uint32_t path_count, const struct config_options *opt, struct config **ret,
                struct config_report *report);

/**
 * config_image - compile a configuration to the image that workers and connectors run (struct mr_config).
 *
 * @generation  Its number, 1 and up.
 * @ret_image   malloc()ed; free() it. Checked with mr_config_check(). Written on success only, like @ret_bytes.
 * Returns 0, -ENOMEM or -E2BIG (an image of more than 1 GiB).
 */
int config_image(const struct config *c, uint64_t generation, void **ret_image, size_t *ret_bytes);

/** config_free - release a configuration. NULL is legal. */
void config_free(struct config *c);

/** config_report_free - release a report's memory and zero it. */
void config_report_free(struct config_report *report);

enum config_format { CONFIG_TEXT = 0, CONFIG_JSON = 1 };

/**
 * config_print_report - print every diagnostic, then a line that counts them.
 *
 * @format  enum config_format. Text: `file:line:column: error[MR1006]: ...`, the source line and a caret. JSON: one
 * object, "schema": "millrace.config.check/1".
 */
void config_print_report(FILE *out, const struct config_report *report, int format);

/** config_default_text - the built-in configuration as YAML, for showing and for a first file to edit. */
const char *config_default_text(void);

enum config_doc_format { CONFIG_DOC_MARKDOWN = 0, CONFIG_DOC_MAN = 1 };

/** config_print_doc - print the reference of all settings: docs/configuration.md or millrace.yaml(5). */
void config_print_doc(FILE *out, int format);

/**
 * config_code_text - what a diagnostic means and what to do about it, for `millrace explain`.
 *
 * @number  enum config_code. @ret_summary and @ret_action are written on success only.
 * Returns 0 or -ENOENT.
 */
int config_code_text(uint32_t number, const char **ret_summary, const char **ret_action);

#ifdef __cplusplus
}
#endif
#endif
