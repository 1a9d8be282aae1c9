/* SPDX-License-Identifier: Apache-2.0 */
/* sink.h - what the parts of `millrace sink` share: settings, counters, connections. */
#ifndef SINK_H
#define SINK_H

#include <signal.h>
#include <stdio.h>

#include "cli.h"
#include "hl7.h"
#include "net.h"

#define SINK_CODES 6

extern const char *const sink_codes[SINK_CODES];

struct sink_settings {
	int ack; /* -1 = by MSH-15/16, index into sink_codes, SINK_CODES = never */
	uint64_t delay_ns, late_ns;
	bool swap_ids, verbose;
	uint64_t close_after; /* 0 = never */
	uint64_t every;       /* 1 = every message */
	uint64_t count;       /* 0 = without end */
	uint64_t frame_bytes_max;
	const char *out_dir;
	FILE *out_file;
	bool json;
};

struct sink_count {
	uint64_t connections, open, messages, bytes, silent, unreadable, swapped, closed, cut, too_large, junk;
	uint64_t codes[SINK_CODES];
};

struct sink_conn {
	int fd; /* -1 = not in use */
	uint32_t generation;
	uint32_t next_free;
	uint32_t events; /* that epoll waits for */
	bool doomed;     /* close it after this turn */
	char *in, *out;
	uint32_t in_bytes, in_room, scanned;
	uint32_t out_bytes, out_room;
	uint64_t messages;
	uint64_t last_due_ns; /* of the answers that keep their order */
};

struct sink_later { /* an answer that waits */
	uint64_t due_ns, number;
	uint32_t conn, generation;
	uint32_t bytes;
	char *data;
};

struct sink {
	struct sink_settings set;
	struct sink_count count;
	int listener, epoll;
	struct sink_conn *conn;
	uint32_t conn_room, free_conn;
	struct sink_later *later;
	uint32_t later_count, later_room;
	uint64_t later_number;
	uint64_t now_ns;
	char previous_id[256];
	sigset_t signals;
};

/* Serves @s->listener until a signal or --count ends it. Returns 0 or -errno (a file that cannot be written). */
int sink_run(struct sink *s);

/* Prints the counters, as text or JSON. */
void sink_print(const struct sink *s);

#endif
