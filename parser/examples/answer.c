/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - example: an MLLP receiver on standard input and output that accepts every message.
 *
 *   cc answer.c $(pkg-config --cflags --libs millrace-hl7) && socat TCP-LISTEN:2575,fork EXEC:./a.out
 */
#include <hl7.h>
#include <mllp.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 20];

static void answer(const char *data, uint32_t bytes)
{
	static unsigned long count;
	char id[24], out[HL7_ACK_BYTES_MAX];
	struct hl7_ack a = {0};
	struct hl7_error err;
	struct hl7_msh msh;
	int n;

	a.code = "AA";
	if (hl7_msh_read(data, bytes, &msh, &err) == 0) {
		a.msh = &msh;
		a.msg = data;
	} else {
		a.code = "AR";
		a.err_code = hl7_error_0357(err.code);
		a.text = hl7_strerror(err.code);
	}
	a.control_id = id;
	a.control_id_bytes = (uint32_t)snprintf(id, sizeof id, "%lu", ++count);
	a.time_ns = (uint64_t)time(NULL) * 1000000000u;
	n = hl7_ack_build(out, sizeof out, &a);
	if (n > 0)
		printf("%c%.*s%c%c", MLLP_SB, n, out, MLLP_EB, MLLP_CR);
	fflush(stdout);
}

int main(void)
{
	uint32_t have = 0, scanned = 0;
	struct mllp_result r;
	ssize_t n;

	while (have < sizeof buf && (n = read(STDIN_FILENO, buf + have, sizeof buf - have)) > 0) {
		have += (uint32_t)n;
		for (;;) {
			mllp_next(buf, have, scanned, &r);
			scanned = r.scanned;
			if (r.status == MLLP_MORE)
				break;
			if (r.status == MLLP_FRAME)
				answer(buf + r.frame_offset, r.frame_bytes);
			have -= r.consumed;
			memmove(buf, buf + r.consumed, have);
		}
	}
	return 0;
}
