/* SPDX-License-Identifier: Apache-2.0 */
/* send.h - what the parts of `millrace send` share: the messages, the settings, the results. */
#ifndef SEND_H
#define SEND_H

#include "cli.h"
#include "hist.h"
#include "hl7.h"
#include "net.h"
#include "split.h"

enum send_expect {
	SEND_EXPECT_ANSWER = 0,
	SEND_EXPECT_NONE = 1, /* MSH-15 and MSH-16 ask for none, or only for bad news */
};

struct send_msg {
	char *bytes; /* framed: SB, message, EB, CR */
	uint32_t frame_bytes;
	uint32_t id_bytes;
	const char *id; /* MSH-10 inside @bytes */
	uint8_t expect; /* enum send_expect */
};

struct send_msgs {
	struct send_msg *msg;
	uint64_t count, room;
	uint64_t bytes;
	uint64_t files;
	uint64_t skipped; /* files in folders that hold no message at all */
	struct split_counts found;
};

enum send_ack { SEND_ACK_AUTO = 0, SEND_ACK_ALWAYS = 1, SEND_ACK_NEVER = 2 };

struct send_settings {
	struct net_target target;
	const char *target_name;
	uint64_t connections, window, repeat, retries;
	uint64_t timeout_ns;
	double rate; /* messages a second, 0 = none */
	int ack;     /* enum send_ack */
	bool keep_eol, print_acks, progress;
};

enum send_code { SEND_AA, SEND_AE, SEND_AR, SEND_CA, SEND_CE, SEND_CR, SEND_OTHER, SEND_CODES };

struct send_results {
	uint64_t sent; /* messages written completely, repeats after a failure not counted */
	uint64_t resent;
	uint64_t accepted; /* answered AA or CA */
	uint64_t refused;  /* answered otherwise */
	uint64_t unasked;  /* sent, no answer expected */
	uint64_t lost;     /* no answer in time, or the connection broke */
	uint64_t not_sent; /* never written completely */
	uint64_t codes[SEND_CODES];
	uint64_t unknown;    /* answers to nothing that was sent */
	uint64_t unreadable; /* frames that are no answer */
	uint64_t commits;    /* commit blocks of MLLP release 2 */
	uint64_t timeouts, breaks, connects, connect_errors;
	uint64_t late; /* with --rate: messages that had to wait for a window */
	uint64_t bytes;
	uint64_t elapsed_ns;
	int last_error; /* errno of the last failed connection */
	struct hist latency;
};

/**
 * send_run - send every message and wait for the answers.
 *
 * Returns 0, or -errno if it could not even begin. Problems of the other end are in @ret.
 */
int send_run(const struct send_settings *set, const struct send_msgs *msgs, struct send_results *ret);

extern const char *const send_code_names[SEND_CODES];

#endif
