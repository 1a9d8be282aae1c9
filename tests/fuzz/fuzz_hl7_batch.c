/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7_batch.c - any bytes as a stream of messages: the same items whatever the pieces. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;

	if (size < 4 || size > 4096)
		return 0;
	memcpy(&seed, data, 4);
	if (prop_batch(data + 4, size - 4, 1 + seed % 300))
		abort();
	return 0;
}
