/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hl7_path.c - any text as a path: refused with an offset inside it, or compiled and looked up. */
#include "../prop/parser_props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char msg[] = "MSH|^~\\&|A^B&C~D|E\rPID|1||a&b^c~d^e&f|\"\"\rOBX|1\rOBX|2|x^y~z\r\rZ99|";
	static uint32_t mem[1024] __attribute__((aligned(16)));
	char *text = exact_copy(data, size);
	struct hl7_error err;
	struct hl7_index ix;
	struct hl7_path p;

	if (hl7_path_compile(text, (uint32_t)size, &p, &err)) {
		if (err.offset > size || err.code != HL7_E_PATH)
			abort();
	} else if (hl7_index(msg, sizeof msg - 1, 0, mem, sizeof mem, &ix, &err) || check_path(&ix, 0, &p)) {
		abort();
	}
	free(text);
	return 0;
}
