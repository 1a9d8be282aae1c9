/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h - runs the same tests on every kernel that this CPU has. */
#ifndef TEST_KERNELS_H
#define TEST_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hl7.h"

#define TEXT(s) (s), (uint32_t)(sizeof(s) - 1)

static inline int run_on_every_kernel(const char *group, const struct CMUnitTest *tests, size_t count)
{
	static const char *const names[] = {"scalar", "sse2", "avx2", "avx512", "neon"};
	int failed = 0;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char title[64];

		if (hl7_kernel_select(names[i])) {
			print_message("kernel %s: not on this machine\n", names[i]);
			continue;
		}
		snprintf(title, sizeof title, "%s (%s)", group, hl7_kernel_name());
		failed += _cmocka_run_group_tests(title, tests, count, NULL, NULL);
	}
	return failed;
}

#define RUN_ON_EVERY_KERNEL(group, tests) run_on_every_kernel(group, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
