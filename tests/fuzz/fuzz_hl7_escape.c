/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7_escape.c - any bytes as a value: escaped, resolved, taken to pieces, guessed at. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;

	if (size < 4 || size > 4096)
		return 0;
	memcpy(&seed, data, 4);
	if (prop_text(data + 4, size - 4, seed))
		abort();
	return 0;
}
