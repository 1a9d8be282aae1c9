/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_scan.c - chooses the kernel for this CPU, once, and lets tests choose another.
 *
 * Called by everything in the library through hl7_kernel(), on any core. The chosen kernel is the library's only state.
 */
#include "hl7_scan.h"

#include <errno.h>

const struct hl7_kernel *const hl7_kernels[] = {
#if defined(__x86_64__)
    &hl7_kernel_avx512, &hl7_kernel_avx2,
    &hl7_kernel_sse2,
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	&hl7_kernel_neon,
#endif
    &hl7_kernel_scalar, NULL,
};

const struct hl7_kernel *hl7_kernel_chosen;

const struct hl7_kernel *hl7_kernel_choose(void)
{
	const struct hl7_kernel *none = NULL;
	unsigned i = 0;

	while (!hl7_kernels[i]->usable())
		i++;
	/* A kernel selected by hand meanwhile stays. */
	if (__atomic_compare_exchange_n(&hl7_kernel_chosen, &none, hl7_kernels[i], 0, __ATOMIC_ACQ_REL,
	                                __ATOMIC_ACQUIRE))
		return hl7_kernels[i];
	return none;
}

const char *hl7_kernel_name(void)
{
	return hl7_kernel()->name;
}

int hl7_kernel_select(const char *name)
{
	for (unsigned i = 0; hl7_kernels[i]; i++) {
		if (strcmp(hl7_kernels[i]->name, name))
			continue;
		if (!hl7_kernels[i]->usable())
			break;
		__atomic_store_n(&hl7_kernel_chosen, hl7_kernels[i], __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOTSUP;
}

const uint8_t hl7_name_class[256] = {
    ['0'] = 2, ['1'] = 2, ['2'] = 2, ['3'] = 2, ['4'] = 2, ['5'] = 2, ['6'] = 2, ['7'] = 2, ['8'] = 2,
    ['9'] = 2, ['A'] = 3, ['B'] = 3, ['C'] = 3, ['D'] = 3, ['E'] = 3, ['F'] = 3, ['G'] = 3, ['H'] = 3,
    ['I'] = 3, ['J'] = 3, ['K'] = 3, ['L'] = 3, ['M'] = 3, ['N'] = 3, ['O'] = 3, ['P'] = 3, ['Q'] = 3,
    ['R'] = 3, ['S'] = 3, ['T'] = 3, ['U'] = 3, ['V'] = 3, ['W'] = 3, ['X'] = 3, ['Y'] = 3, ['Z'] = 3,
};
