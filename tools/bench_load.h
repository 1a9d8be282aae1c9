/* SPDX-License-Identifier: Apache-2.0 */
/* bench_load.h - what the parts of `millrace bench load` share: settings, messages, results. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "cli.h"
#include "hist.h"
#include "net.h"

#define LOAD_ID_BYTES    18 /* 6 characters of the run, 12 digits */
#define LOAD_SIZE_MIN    256
#define LOAD_SIZE_MAX    (256u << 20)
#define LOAD_SECONDS_MAX 3600

struct load_message {        /* framed; the control ID is written over head + id_offset */
	char *head;          /* the frame up to and including MSH-10 */
	uint32_t head_bytes; /* the ID is its last LOAD_ID_BYTES */
	char *tail;          /* the rest of the frame */
	uint32_t tail_bytes;
};

struct load_settings {
	struct net_target target;
	const char *target_name;
	uint64_t connections, window, threads, size, seed;
	uint64_t duration_ns, warmup_ns, timeout_ns;
	double rate; /* messages a second, all connections; 0 = closed loop */
	bool fixed;  /* arrivals at equal distances */
	bool check;
	int cpu; /* first CPU, -1 = not pinned */
	const struct load_message *message;
	uint32_t message_count;
	uint32_t frame_bytes_max;
	char run_id[7];
};

enum load_code { LOAD_AA, LOAD_AE, LOAD_AR, LOAD_CA, LOAD_CE, LOAD_CR, LOAD_OTHER, LOAD_CODES };

/* Of the messages that were sent in the measured time, if not said otherwise. */
struct load_results {
	uint64_t sent, answered, unanswered;
	uint64_t sent_bytes;
	uint64_t behind; /* due before the end, and never sent: the window was full */
	uint64_t codes[LOAD_CODES];
	uint64_t wrong_id;   /* answers whose MSA-2 is not that of the oldest message under way */
	uint64_t unreadable; /* frames that are no answer */
	uint64_t strays;     /* answers to nothing */
	uint64_t junk_bytes;
	uint64_t connected, connections_lost;
	uint64_t answered_in_time; /* answers that arrived in the measured time, for the rate */
	uint64_t cpu_ns;           /* used by the threads in the measured time */
	uint64_t measured_ns;
	uint64_t total_sent; /* warm-up included */
	int last_error;
	struct hist latency;
	uint32_t per_second[LOAD_SECONDS_MAX]; /* answers in each second of the measured time */
};

extern const char *const load_code_names[LOAD_CODES];

/** load_run - make the connections, generate the load, add up the results. Returns 0 or -errno. */
int load_run(const struct load_settings *set, struct load_results *ret);

/** load_message_make - an ADT^A01 of exactly @bytes bytes (without framing). Returns 0 or -ENOMEM. */
int load_message_make(uint64_t bytes, struct load_message *ret);

/** load_message_read - all messages under @path that want an answer. Returns their number or -errno. */
int load_message_read(const struct cli *cli, const char *path, struct load_message **ret, uint32_t *ret_left_out);

void load_message_free(struct load_message *m);

#endif
