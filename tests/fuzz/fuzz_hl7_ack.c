/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7_ack.c - any bytes as a message to acknowledge, and as an answer to read. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hl7_error err;
	struct hl7_msh msh;
	struct hl7_msa msa;
	uint32_t seed;
	char *msg;

	if (size < 4)
		return 0;
	memcpy(&seed, data, 4);
	if (prop_ack(data + 4, size - 4, seed))
		abort();
	msg = exact_copy(data + 4, size - 4);
	if (!hl7_msa_read(msg, (uint32_t)size - 4, &msh, &msa, &err)) {
		if (strlen(msa.code) > 2 || msa.control_id.offset + msa.control_id.bytes > size - 4 ||
		    msa.text.offset + msa.text.bytes > size - 4 || msa.err_offset >= size - 4)
			abort();
	}
	free(msg);
	return 0;
}
