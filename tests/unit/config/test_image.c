/* SPDX-License-Identifier: Apache-2.0 */
/* test_image.c - an image that is wrong anywhere is refused, and checking it never reads outside it. */
#include "load_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char rich[] = "listeners: { a: { port: 1, order_by: PID-3 }, b: { port: 2 } }\n"
                           "destinations: { m: { mllp: \"h:2\" }, f: { file: /x } }\n"
                           "routes:\n"
                           "  - { from: a, to: [m, f], when: 'MSH-9.1 == \"A\" && (PID-3 =~ \"x+\" || exists OBX) && "
                           "MSH-4 in [\"B\", \"C\"]' }\n"
                           "  - { from: \"*\", to: f }\n";

static struct loaded l;

/* A copy at the very end of its own allocation, so that a sanitizer sees a read beyond it. */
static struct mr_config *copy(void)
{
	struct mr_config *m = malloc(l.image_bytes);

	assert_non_null(m);
	memcpy(m, l.image, l.image_bytes);
	return m;
}

static void refused(struct mr_config *m)
{
	assert_int_equal(mr_config_check(m, l.image_bytes), -EINVAL);
	free(m);
}

static void the_image_itself_is_right(void **state)
{
	struct mr_config *m = copy();

	assert_int_equal(mr_config_check(m, l.image_bytes), 0);
	assert_int_equal(mr_config_check(m, l.image_bytes - 8), -EINVAL);
	assert_int_equal(mr_config_check(m, 16), -EINVAL);
	free(m);
}

#define ROUTES(m)  ((struct mr_config_route *)((char *)(m) + (m)->routes.offset))
#define CODE(m)    ((struct mr_config_insn *)((char *)(m) + (m)->code.offset))
#define DESTS(m)   ((struct mr_config_dest *)((char *)(m) + (m)->dests.offset))
#define LISTENS(m) ((struct mr_config_listener *)((char *)(m) + (m)->listeners.offset))
#define WRONG(what)                                                                                                    \
	do {                                                                                                           \
		struct mr_config *m = copy();                                                                          \
		what;                                                                                                  \
		refused(m);                                                                                            \
	} while (0)

static void what_is_out_of_place_is_refused(void **state)
{
	WRONG(m->magic++);
	WRONG(m->version++);
	WRONG(m->bytes -= 8);
	WRONG(m->generation = 0);
	WRONG(m->workers = 0);
	WRONG(m->workers = MR_WORKERS_MAX + 1);
	WRONG(m->cpus[0] = -2);
	WRONG(m->commit = 3);
	WRONG(m->tail_bytes--);
	WRONG(m->segment_bytes++);
	WRONG(m->duplicate_entries = 1000);
	WRONG(memset(m->data, 'x', sizeof(m->data)));
	WRONG(m->listeners.count = MR_LISTENERS_MAX + 1);
	WRONG(m->routes.offset = (uint32_t)l.image_bytes - 8);
	WRONG(m->routes.offset += 4);
	WRONG(m->code.count = UINT32_MAX);
	WRONG(m->strings.count = 0);
	WRONG(m->strings.offset = 0);
	WRONG(((char *)m)[m->strings.offset + m->strings.count - 1] = 'x');
	WRONG(((struct mr_config_const *)((char *)m + m->consts.offset))->bytes++);
	WRONG(((struct mr_config_const *)((char *)m + m->paths.offset))->offset = UINT32_MAX);
	WRONG(((struct mr_config_regex *)((char *)m + m->regexes.offset))->bytes = UINT32_MAX);
	WRONG(((struct mr_config_regex *)((char *)m + m->regexes.offset))->offset++);
	WRONG(LISTENS(m)->port = 0);
	WRONG(LISTENS(m)->order_path = m->strings.count);
	WRONG(memset(LISTENS(m)->name, 'x', MR_NAME_BYTES));
	WRONG(DESTS(m)->owner = m->workers);
	WRONG(DESTS(m)->window = 257);
	WRONG(DESTS(m)->host = m->strings.count);
	WRONG(DESTS(m)[1].owner = 0);
	WRONG(DESTS(m)->kind = 9);
	WRONG(ROUTES(m)->code_count++);
	WRONG(ROUTES(m)->code = UINT32_MAX);
	WRONG(ROUTES(m)->dest_count = MR_MSG_DESTS_MAX + 1);
	WRONG(ROUTES(m)->listeners = UINT32_MAX);
	WRONG(((uint16_t *)((char *)m + m->route_dests.offset))[0] = 2);
	WRONG(((uint16_t *)((char *)m + m->route_listeners.offset))[0] = 2);
	WRONG(CODE(m)->op = 0);
	WRONG(CODE(m)->path = m->paths.count);
	WRONG(CODE(m)->jump_true = 0); /* a loop */
	WRONG(CODE(m)[1].jump_false = 1);
	WRONG(CODE(m)[1].jump_false = 4);
	WRONG(CODE(m)->arg = m->consts.count);
	WRONG(CODE(m)->arg_count = 0);
	WRONG(CODE(m)[1].arg = m->regexes.count);
}

/* Any byte may be wrong: the answer may be either, but no byte outside is read (ASan) and what is accepted stays
 * bounded. */
static void any_damage_is_survived(void **state)
{
	uint64_t seed = 42;

	for (int round = 0; round < 20000; round++) {
		struct mr_config *m = copy();

		for (int i = 0; i < 3; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			((unsigned char *)m)[(seed >> 33) % l.image_bytes] = (unsigned char)(seed >> 24);
		}
		if (mr_config_check(m, l.image_bytes) == 0) {
			const struct mr_config_insn *code = CODE(m);

			assert_true(m->bytes == l.image_bytes);
			for (uint32_t i = 0; i < ROUTES(m)->code_count; i++)
				assert_true(code[ROUTES(m)->code + i].jump_true > i &&
				            code[ROUTES(m)->code + i].jump_false > i);
		}
		free(m);
	}
}

static int load_rich(void **state)
{
	l = load_text(rich, NULL, 4);
	return l.rc;
}

static int free_rich(void **state)
{
	loaded_free(&l);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_image_itself_is_right),
	    cmocka_unit_test(what_is_out_of_place_is_refused),
	    cmocka_unit_test(any_damage_is_survived),
	};

	return cmocka_run_group_tests(tests, load_rich, free_rich);
}
