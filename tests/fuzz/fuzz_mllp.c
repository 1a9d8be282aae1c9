/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_mllp.c - any stream in any pieces: the framer finds what byte-by-byte reading finds. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 4096)
		return 0;
	if (prop_mllp(data + 1, size - 1, 1 + data[0]))
		abort();
	if (prop_kernels(data + 1, size - 1, "\v\034\r|^~"))
		abort();
	return 0;
}
