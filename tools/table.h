/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - columns for people: cells are collected, then printed as wide as they need to be. */
#ifndef TABLE_H
#define TABLE_H

#include "mr_base.h"

#define TABLE_COLUMNS 16

struct table {
	const char *titles[TABLE_COLUMNS];
	bool right[TABLE_COLUMNS]; /* numbers */
	int columns;
	char **cell; /* rows * columns */
	int rows, room;
	int column; /* of the next cell */
};

/* @titles: "NAME|QUEUE>|STATE"; a '>' at the end of a title aligns its column to the right. At most TABLE_COLUMNS. */
void table_begin(struct table *t, const char *titles);
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_count(struct table *t, uint64_t n);
void table_bytes(struct table *t, uint64_t bytes);
void table_duration(struct table *t, uint64_t ns); /* 0 = "-" */

/* @iso: "2026-11-20T20:34:47.123456Z" without the part of a second; "" = "-" */
void table_time(struct table *t, const char *iso);

/* Prints into @out (a stream), each line indented by two spaces, and frees the table. */
void table_end(struct table *t, void *out);

#endif
