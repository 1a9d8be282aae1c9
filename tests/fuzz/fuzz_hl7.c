/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7.c - any bytes as a message: header, index and paths, every kernel against the slow reader. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;

	if (size < 4 || size > 4096)
		return 0;
	memcpy(&seed, data, 4);
	if (prop_index(data + 4, size - 4, seed & 1, seed & 2 ? 1200 + seed % 4096 : 0, seed >> 2))
		abort();
	if (prop_walk(data + 4, size - 4, seed & 1, seed >> 2))
		abort();
	return 0;
}
