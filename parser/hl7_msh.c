/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7_msh.c - the header of a message: its delimiters and the fields of MSH; and what an answer says (MSA).
 *
 * Called for every message that comes in and every answer, on any core. It must never trust a byte: what it reads is
 * whatever a peer sent.
 */
#include "hl7_scan.h"

/* Whether a byte can be a delimiter: printable ASCII that is no letter, no digit and no space. */
static int can_delimit(char c)
{
	unsigned char u = (unsigned char)c;

	return u > ' ' && u < 0x7f && !hl7_name_class[u] && !(u >= 'a' && u <= 'z');
}

static int bom_at(const char *msg, uint32_t bytes)
{
	return (bytes >= 3 && !memcmp(msg, "\xef\xbb\xbf", 3)) ||
	       (bytes >= 2 && (!memcmp(msg, "\xff\xfe", 2) || !memcmp(msg, "\xfe\xff", 2)));
}

/* Length of MSH-2: up to the next separator or the end of the line, HL7_NONE if longer than it may be. */
static uint32_t msh2_bytes(const char *msg, uint32_t bytes, char field)
{
	for (uint32_t i = 4; i < bytes && i <= 10; i++) {
		if (msg[i] == field || msg[i] == '\r' || msg[i] == '\n')
			return i - 4;
	}
	return bytes <= 10 ? bytes - 4 : HL7_NONE;
}

/* Reads MSH-1 and MSH-2 of a line that begins with @segment ("MSH", "FHS" or "BHS": all three declare delimiters). */
static int delims_read(const char *msg, uint32_t bytes, const char *segment, struct hl7_delims *ret,
                       uint32_t *ret_msh2_bytes, struct hl7_error *reterr)
{
	struct hl7_delims d = {0};
	char *const slot[] = {&d.component, &d.repetition, &d.escape, &d.subcomponent, &d.truncation};
	uint32_t n, declared;

	if (bytes > 8 && !memcmp(msg + 3, "|^~\\&|", 6) && !memcmp(msg, segment, 3)) { /* nearly all messages */
		*ret = (struct hl7_delims){'|', '^', '~', '\\', '&', 0};
		*ret_msh2_bytes = 4;
		return 0;
	}
	if (bom_at(msg, bytes))
		return hl7_fail(reterr, HL7_E_BOM, 0, NULL, 0);
	if (bytes < 4 || memcmp(msg, segment, 3) || msg[3] == '\r' || msg[3] == '\n')
		return hl7_fail(reterr, HL7_E_HEADER, 0, NULL, 0);
	d.field = msg[3];
	if (!can_delimit(d.field))
		return hl7_fail(reterr, HL7_E_DELIM, 3, segment, 1);
	n = msh2_bytes(msg, bytes, d.field);
	declared = n;
	/* Some systems fill MSH-2 with spaces: those declare nothing. */
	while (n != HL7_NONE && declared > 1 && msg[4 + declared - 1] == ' ')
		declared--;
	if (n == 0 || declared > 5)
		return hl7_fail(reterr, HL7_E_DELIM, n == 0 ? 4 : 9, segment, 2);
	for (uint32_t i = 0; i < declared; i++) {
		if (!can_delimit(msg[4 + i]) || memchr(msg + 3, msg[4 + i], 1 + i))
			return hl7_fail(reterr, HL7_E_DELIM, 4 + i, segment, 2);
		*slot[i] = msg[4 + i];
	}
	*ret = d;
	*ret_msh2_bytes = n;
	return 0;
}

int hl7_delims_read(const char *msg, uint32_t bytes, struct hl7_delims *ret, uint32_t *ret_msh2_bytes,
                    struct hl7_error *reterr)
{
	return delims_read(msg, bytes, "MSH", ret, ret_msh2_bytes, reterr);
}

int hl7_msh_read(const char *msg, uint32_t bytes, struct hl7_msh *ret, struct hl7_error *reterr)
{
	uint32_t pos[HL7_MSH_FIELDS + 1 + HL7_SCAN_LINE_SLACK], msh2, n, end;
	struct hl7_delims delims;
	int rc = hl7_delims_read(msg, bytes, &delims, &msh2, reterr);

	if (rc)
		return rc;
	/* pos[k] is the separator before MSH-(k + 2), so MSH-n ends where pos[n - 1] is. */
	n = hl7_kernel()->line(msg, bytes, delims.field, pos, HL7_MSH_FIELDS, &end);
	if (n < HL7_MSH_FIELDS)
		pos[n] = end;
	else
		n = HL7_MSH_FIELDS - 1;
	ret->delims = delims;
	ret->segment_bytes = end;
	ret->field[0] = (struct hl7_span){0, 0};
	ret->field[1] = (struct hl7_span){3, 1};
	for (uint32_t i = 0; i < n; i++)
		ret->field[i + 2] = (struct hl7_span){pos[i] + 1, pos[i + 1] - pos[i] - 1};
	if (n + 2 <= HL7_MSH_FIELDS)
		memset(&ret->field[n + 2], 0, (HL7_MSH_FIELDS + 1 - (n + 2)) * sizeof ret->field[0]);
	return 0;
}

/* The first line at or after @at that begins with @name and a separator; HL7_NONE if there is none. */
static uint32_t line_find(const char *msg, uint32_t bytes, uint32_t at, const char *name, char field)
{
	const struct hl7_kernel *k = hl7_kernel();

	while (at < bytes) {
		if (bytes - at > 3 && !memcmp(msg + at, name, 3) && msg[at + 3] == field)
			return at;
		at += k->find(msg + at, bytes - at, '\r', '\n', '\n') + 1;
	}
	return HL7_NONE;
}

int hl7_msa_read(const char *msg, uint32_t bytes, struct hl7_msh *msh, struct hl7_msa *ret, struct hl7_error *reterr)
{
	struct hl7_msh head;
	struct hl7_span field[5] = {{0, 0}};
	uint32_t pos[4 + HL7_SCAN_LINE_SLACK], at, n, end;
	int rc = hl7_msh_read(msg, bytes, &head, reterr);

	if (rc)
		return rc;
	at = line_find(msg, bytes, head.segment_bytes, "MSA", head.delims.field);
	if (at == HL7_NONE)
		return hl7_fail(reterr, HL7_E_MSA, bytes, NULL, 0);
	n = hl7_kernel()->line(msg + at, bytes - at, head.delims.field, pos, 4, &end);
	for (uint32_t i = 0; i < n; i++)
		field[i + 1] = (struct hl7_span){at + pos[i] + 1, (i + 1 < n ? pos[i + 1] : end) - pos[i] - 1};
	if (field[1].bytes != 2)
		return hl7_fail(reterr, HL7_E_MSA, field[1].offset, "MSA", 1);
	memcpy(ret->code, msg + field[1].offset, 2);
	ret->code[2] = '\0';
	ret->control_id = field[2];
	ret->text = field[3];
	at = line_find(msg, bytes, head.segment_bytes, "ERR", head.delims.field);
	ret->err_offset = at == HL7_NONE ? 0 : at;
	*msh = head;
	return 0;
}
