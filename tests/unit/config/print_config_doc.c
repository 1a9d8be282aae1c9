/* SPDX-License-Identifier: Apache-2.0 */
/* print_config_doc.c - the manual from the schema: `print_config_doc markdown|man` prints it; with a FILE, compares
 * with it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

/* Returns the first line, from 1, in which the two differ; 0 if none. */
static unsigned first_difference(const char *a, const char *b)
{
	unsigned line = 1;

	for (; *a && *a == *b; a++, b++)
		line += *a == '\n';
	return *a == *b ? 0 : line;
}

static char *whole_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = calloc(1, 1 << 20);

	if (!f || !text || fread(text, 1, (1 << 20) - 1, f) == 0) {
		perror(path);
		exit(1);
	}
	fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	int format = argc > 1 && strcmp(argv[1], "man") == 0 ? CONFIG_DOC_MAN : CONFIG_DOC_MARKDOWN;
	char *printed = NULL, *kept;
	size_t bytes;
	unsigned line;
	FILE *out;

	if (argc < 3) {
		config_print_doc(stdout, format);
		return 0;
	}
	out = open_memstream(&printed, &bytes);
	if (!out)
		return 1;
	config_print_doc(out, format);
	fclose(out);
	kept = whole_file(argv[2]);
	line = first_difference(printed, kept);
	if (line)
		fprintf(stderr,
		        "%s differs from control/config_schema.def in line %u: print it anew "
		        "(tests/unit/config/meson.build)\n",
		        argv[2], line);
	free(printed);
	free(kept);
	return line != 0;
}
