/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_error.c - what the library's error codes mean, in words and in HL7's own codes.
 *
 * Called by whoever reports an error, on any core. The texts must never hold anything of a message.
 */
#include "hl7_scan.h"

static const struct {
	int code;
	uint32_t condition; /* HL7 table 0357 */
	const char *text;
} errors[] = {
    {HL7_E_HEADER, 100, "the message does not begin with an MSH segment"},
    {HL7_E_BOM, 100, "a byte order mark stands before MSH"},
    {HL7_E_DELIM, 102, "MSH-1 or MSH-2 declares a delimiter that cannot be one"},
    {HL7_E_FULL, 207, "the message has more fields and segments than there is room for"},
    {HL7_E_PATH, 207, "not a path to a field, as in PID-5.1, PID-3[2].4 or OBX(*)-3.1"},
    {HL7_E_MSA, 101, "the answer has no MSA segment with an acknowledgement code"},
    {HL7_E_ESCAPE, 102, "a malformed escape sequence"},
    {HL7_E_SIZE, 207, "the message is empty or too long"},
    {HL7_E_CHARSET, 102, "bytes that cannot be of the character set declared"},
    {HL7_E_ORDER, 207, "values must be written in the order of the message, and raw ones must hold no delimiters"},
    {HL7_E_BATCH, 100, "batch segments are out of order or a count does not match"},
};

#define ERRORS (sizeof errors / sizeof errors[0])

const char *hl7_strerror(int code)
{
	for (unsigned i = 0; i < ERRORS; i++) {
		if (errors[i].code == code)
			return errors[i].text;
	}
	return code == 0 ? "no error" : code > -1000 ? "a system error: see errno" : "an unknown error";
}

uint32_t hl7_error_0357(int code)
{
	for (unsigned i = 0; i < ERRORS; i++) {
		if (errors[i].code == code)
			return errors[i].condition;
	}
	return 207;
}

/* Fills @reterr, where there is one, and returns @code. */
int hl7_fail(struct hl7_error *reterr, int code, uint32_t offset, const char *segment, uint16_t field)
{
	if (!reterr)
		return code;
	memset(reterr, 0, sizeof *reterr);
	reterr->code = code;
	reterr->offset = offset;
	reterr->field = field;
	if (segment) {
		memcpy(reterr->segment, segment, 3);
		reterr->sequence = 1;
	}
	return code;
}
