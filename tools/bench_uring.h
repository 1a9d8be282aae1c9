/* SPDX-License-Identifier: Apache-2.0 */
/* bench_uring.h - the MLLP server on one core that `bench responder` and `bench sink` are made of. */
#ifndef BENCH_URING_H
#define BENCH_URING_H

#include "mr_base.h"

struct bench_server_settings {
	int listener;
	bool read_header; /* answer with the message's control ID (bench sink), not always the same bytes */
	uint64_t frame_bytes_max;
	uint64_t count; /* end after so many messages; 0 = without end */
	void (*second)(uint64_t messages,
	               uint64_t bytes); /* called about once a second with what came since; may be NULL */
};

struct bench_server_results {
	uint64_t connections, messages, bytes;
	uint64_t unreadable, junk_bytes, too_large, no_buffer;
	uint64_t first_ns, last_ns; /* of the messages, CLOCK_MONOTONIC */
	uint64_t cpu_ns;            /* used from the first message on */
};

/**
 * bench_server_run - serve until SIGINT, SIGTERM or the count. Returns 0 or -errno.
 */
int bench_server_run(const struct bench_server_settings *set, struct bench_server_results *ret);

#endif
