/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - main() for a fuzz target without libFuzzer: runs it over every file of the folders given, in order of names.
 *
 * Called by meson's `fuzz` suite on the kept corpora, with any compiler. Each input lies at the very end of its own
 * allocation, so that a sanitizer sees a read beyond it. Never writes anything.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	long bytes;

	if (!f || fseek(f, 0, SEEK_END) || (bytes = ftell(f)) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	rewind(f);
	data = malloc(bytes ? (size_t)bytes : 1);
	if (!data || fread(data, 1, (size_t)bytes, f) != (size_t)bytes) {
		fprintf(stderr, "%s: cannot be read\n", path);
		return -1;
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, (size_t)bytes);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int files = 0;

	for (int i = 1; i < argc; i++) {
		struct dirent **names;
		int count = scandir(argv[i], &names, NULL, alphasort);

		if (count < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 1;
		}
		for (int n = 0; n < count; n++) {
			char path[4096];

			snprintf(path, sizeof(path), "%s/%s", argv[i], names[n]->d_name);
			if (names[n]->d_name[0] != '.') {
				if (replay_file(path))
					return 1;
				files++;
			}
			free(names[n]);
		}
		free(names);
	}
	printf("%d inputs\n", files);
	return files ? 0 : 1;
}
