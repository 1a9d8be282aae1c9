/* SPDX-License-Identifier: Apache-2.0 */
/* load_text.c - see load_text.h. Works in a new folder under the temporary one and removes it. */
#include "load_text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The configuration that the first issue promises, as it stands there. */
const char sample_text[] = "data: ./data            # journals\n"
                           "run: ./run              # sockets, shared regions\n"
                           "workers: 2\n"
                           "commit: durable         # or os (page cache), for measurement\n"
                           "metrics: { address: 127.0.0.1, port: 9464 }\n"
                           "listeners:\n"
                           "  adt:   { port: 2575 }\n"
                           "  lab:   { address: \"::\", port: 2576, max_frame: 32MiB, idle_timeout: 10min }\n"
                           "destinations:\n"
                           "  ehr:     { mllp: \"127.0.0.1:6661\", connections: 2, ack_timeout: 5s, retry: { first: "
                           "100ms, max: 30s, attempts: 0 } }\n"
                           "  lab_sys: { mllp: \"127.0.0.1:6662\", on_reject: dead_letter }\n"
                           "  archive: { file: ./archive, format: hl7 }\n"
                           "routes:\n"
                           "  - { from: adt, to: [ehr, archive] }\n"
                           "  - { from: lab, when: 'MSH-9.1 == \"ORU\" && PV1-2 in [\"I\",\"E\"]', to: [lab_sys] }\n"
                           "  - { from: lab, to: [archive] }\n";

static char *enter_folder(char *old, size_t room)
{
	char *folder = strdup("/tmp/millrace-config-XXXXXX");

	assert_non_null(folder);
	assert_non_null(getcwd(old, room));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	return folder;
}

static void leave_folder(char *folder, const char *old)
{
	assert_int_equal(chdir(old), 0);
	assert_int_equal(rmdir(folder), 0);
	free(folder);
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static void load(struct loaded *l, const char *path, char **env, uint32_t cpus)
{
	struct config_options opt = {.environ = env, .cpus = cpus};

	memset(l, 0, sizeof(*l));
	l->rc = config_load(&path, 1, &opt, &l->config, &l->report);
	if (l->rc)
		assert_null(l->config);
	else
		assert_int_equal(config_image(l->config, 1, (void **)&l->image, &l->image_bytes), 0);
}

struct loaded load_text(const char *text, char **env, uint32_t cpus)
{
	struct loaded l;
	char old[512], *folder = enter_folder(old, sizeof(old));

	write_file("hub.yaml", text);
	load(&l, "hub.yaml", env, cpus);
	assert_int_equal(unlink("hub.yaml"), 0);
	leave_folder(folder, old);
	return l;
}

struct loaded load_folder(const char *const *names_and_texts, char **env)
{
	struct loaded l;
	char old[512], *folder = enter_folder(old, sizeof(old));

	for (const char *const *p = names_and_texts; *p; p += 2)
		write_file(p[0], p[1]);
	load(&l, ".", env, 4);
	for (const char *const *p = names_and_texts; *p; p += 2)
		assert_int_equal(unlink(p[0]), 0);
	leave_folder(folder, old);
	return l;
}

void loaded_free(struct loaded *l)
{
	free(l->image);
	config_free(l->config);
	config_report_free(&l->report);
}

char *report_text(const struct config_report *r, int format)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	assert_non_null(f);
	config_print_report(f, r, format);
	fclose(f);
	return text;
}
