/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - prints tables for status, queue, dead and top. Used in one go: begin, cells in row order, end.
 */
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void table_add(struct table *t, char *text)
{
	must(text);
	if (t->column == 0) {
		if (t->rows == t->room) {
			t->room = t->room ? 2 * t->room : 16;
			t->cell = realloc(t->cell, (size_t)t->room * (size_t)t->columns * sizeof(*t->cell));
			must(t->cell);
		}
		t->rows++;
	}
	t->cell[(t->rows - 1) * t->columns + t->column] = text;
	t->column = (t->column + 1) % t->columns;
}

void table_begin(struct table *t, const char *titles)
{
	memset(t, 0, sizeof(*t));
	for (const char *at = titles; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		t->columns++;
	must(t->columns <= TABLE_COLUMNS);
	for (int i = 0; i < t->columns; i++) {
		size_t n = strcspn(titles, "|");

		t->right[i] = n && titles[n - 1] == '>';
		table_add(t, strndup(titles, n - t->right[i]));
		titles += n + 1;
	}
}

void table_cell(struct table *t, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	table_add(t, text);
}

void table_count(struct table *t, uint64_t n)
{
	char text[32];

	table_add(t, strdup(cli_format_count(text, sizeof(text), n)));
}

void table_bytes(struct table *t, uint64_t bytes)
{
	char text[32];

	table_add(t, strdup(cli_format_bytes(text, sizeof(text), bytes)));
}

void table_duration(struct table *t, uint64_t ns)
{
	char text[32];

	table_add(t, strdup(ns ? cli_format_duration(text, sizeof(text), ns) : "-"));
}

void table_time(struct table *t, const char *iso)
{
	if (strlen(iso) > 19)
		table_cell(t, "%.19sZ", iso);
	else
		table_cell(t, "%s", *iso ? iso : "-");
}

void table_end(struct table *t, void *out)
{
	int width[TABLE_COLUMNS] = {0};

	must(t->column == 0);
	for (int i = 0; i < t->rows * t->columns; i++) {
		int n = (int)strlen(t->cell[i]);

		if (n > width[i % t->columns])
			width[i % t->columns] = n;
	}
	for (int i = 0; i < t->rows * t->columns; i++) {
		int c = i % t->columns;

		fprintf(out, "  %*s", t->right[c] ? width[c] : c + 1 == t->columns ? 0 : -width[c], t->cell[i]);
		if (c + 1 == t->columns)
			fputc('\n', out);
		free(t->cell[i]);
	}
	free(t->cell);
}
