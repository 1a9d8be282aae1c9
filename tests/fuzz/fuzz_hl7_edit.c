/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7_edit.c - any bytes as a message to change: the change can be read back and nothing else is different. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;

	if (size < 4 || size > 4096)
		return 0;
	memcpy(&seed, data, 4);
	if (prop_edit(data + 4, size - 4, seed & 1, seed >> 1))
		abort();
	return 0;
}
