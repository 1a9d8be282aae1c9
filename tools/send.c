/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send.c - `millrace send`: reads the messages, has them sent (send_run.c), and says what became of them.
 *
 * Runs as a client, against any MLLP receiver. It prints nothing of a message; answers only when asked to.
 */
#include "send.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const send_code_names[SEND_CODES] = {"AA", "AE", "AR", "CA", "CE", "CR", "other"};

struct send_reader {
	const struct cli *cli;
	const struct send_settings *set;
	struct send_msgs *msgs;
	const char *file;
	bool in_folder; /* the file was not named, but found */
};

/* Does MSH-15/16 promise an answer? ER and SU promise none, since they depend on how it goes. */
static uint8_t send_expect(const char *msg, const struct hl7_msh *h, int ack)
{
	const struct hl7_span *accept = &h->field[15], *app = &h->field[16];

	if (ack == SEND_ACK_ALWAYS)
		return SEND_EXPECT_ANSWER;
	if (ack == SEND_ACK_NEVER)
		return SEND_EXPECT_NONE;
	if (!accept->bytes && !app->bytes)
		return SEND_EXPECT_ANSWER;
	if ((accept->bytes == 2 && memcmp(msg + accept->offset, "AL", 2) == 0) ||
	    (app->bytes == 2 && memcmp(msg + app->offset, "AL", 2) == 0))
		return SEND_EXPECT_ANSWER;
	return SEND_EXPECT_NONE;
}

static int send_add(void *arg, const char *msg, uint32_t bytes, uint32_t line)
{
	struct send_reader *r = arg;
	struct send_msgs *m = r->msgs;
	struct send_msg *s;
	struct hl7_msh h;

	must(hl7_msh_read(msg, bytes, &h, NULL) == 0); /* split_messages() hands out no others */
	if (m->count == m->room) {
		uint64_t room = m->room ? 2 * m->room : 64;
		struct send_msg *p = realloc(m->msg, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		m->msg = p;
		m->room = room;
	}
	s = &m->msg[m->count];
	s->frame_bytes = bytes + 3;
	s->bytes = malloc(s->frame_bytes);
	if (!s->bytes)
		return -ENOMEM;
	s->bytes[0] = 0x0b;
	memcpy(s->bytes + 1, msg, bytes);
	s->bytes[bytes + 1] = 0x1c;
	s->bytes[bytes + 2] = 0x0d;
	s->id = s->bytes + 1 + h.field[10].offset;
	s->id_bytes = h.field[10].bytes;
	s->expect = send_expect(msg, &h, r->set->ack);
	m->count++;
	m->bytes += bytes;
	return 0;
}

static void send_problem(void *arg, uint32_t line, const char *text)
{
	struct send_reader *r = arg;

	fflush(stdout);
	fprintf(stderr, "%s:%u: not sent: %s\n", r->file, line, text);
}

static int send_split(struct send_reader *r, const char *data, size_t bytes)
{
	struct split_to to = {send_add, send_problem, r};
	struct split_counts *found = &r->msgs->found;
	uint64_t before = found->messages + found->problems;
	int result = split_messages(data, bytes, r->set->keep_eol, &to, found);

	if (result == 0 && found->messages + found->problems == before) {
		if (r->in_folder) { /* a README beside the messages is no failure */
			r->msgs->skipped++;
			return 0;
		}
		found->problems++;
		send_problem(r, 1, "no message found");
	}
	r->msgs->files++;
	return result;
}

/* Everything that can be read from @fd, for standard input and files that cannot be mapped. */
static int send_slurp(struct send_reader *r, int fd)
{
	size_t bytes = 0, room = 0;
	char *data = NULL;
	int result = 0;

	for (;;) {
		ssize_t n;

		if (room - bytes < 65536) {
			char *p = realloc(data, room ? 2 * room : 1u << 18);

			if (!p) {
				result = -ENOMEM;
				break;
			}
			data = p;
			room = room ? 2 * room : 1u << 18;
		}
		n = read(fd, data + bytes, room - bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			result = -errno;
		if (n <= 0)
			break;
		bytes += (size_t)n;
	}
	if (result == 0)
		result = send_split(r, data ? data : "", bytes);
	free(data);
	return result;
}

static int send_read_file(struct send_reader *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result;
	struct stat st;
	void *map;

	r->file = path;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
		result = send_slurp(r, fd);
	} else {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED) {
			result = -errno;
		} else {
			result = send_split(r, map, (size_t)st.st_size);
			munmap(map, (size_t)st.st_size);
		}
	}
	close(fd);
	return result;
}

static int send_not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int send_by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* One argument: a file, or all files of a folder and its subfolders in the order of their names. */
static int send_read(struct send_reader *r, const char *path, int depth)
{
	struct dirent **names;
	struct stat st;
	int n, result = 0;

	if (stat(path, &st) < 0)
		return -errno;
	r->in_folder = depth > 0;
	if (!S_ISDIR(st.st_mode))
		return send_read_file(r, path);
	if (depth > 32)
		return -ELOOP;
	n = scandir(path, &names, send_not_hidden, send_by_bytes);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		char *below;

		if (result == 0 && asprintf(&below, "%s/%s", path, names[i]->d_name) >= 0) {
			result = send_read(r, below, depth + 1);
			if (result < 0)
				cli_error(r->cli, "%s: %s", below, strerror(-result));
			free(below);
		}
		free(names[i]);
	}
	free(names);
	return result;
}

static int send_read_all(struct cli *cli, const struct send_settings *set, struct send_msgs *msgs)
{
	struct send_reader r = {cli, set, msgs, "-", false};

	for (int i = 1; i < cli->argc; i++) {
		int result;

		if (strcmp(cli->argv[i], "-") == 0) {
			r.file = "-";
			r.in_folder = false;
			result = send_slurp(&r, 0);
		} else {
			result = send_read(&r, cli->argv[i], 0);
		}
		if (result < 0) {
			cli_error(cli, "%s: %s", cli->argv[i], strerror(-result));
			return result == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED;
		}
	}
	if (!msgs->count) {
		cli_error(cli, "no message to send");
		return CLI_FAILED;
	}
	return 0;
}

static int send_settings(struct cli *cli, struct send_settings *set)
{
	struct net_address a;
	const char *error;
	int r;

	*set = (struct send_settings){.connections = 1, .window = 1, .repeat = 1, .timeout_ns = 30000000000ull};
	if (cli->argc < 2)
		return cli_usage(cli, cli->argc ? "name at least one FILE, DIR or - for standard input"
		                                : "HOST:PORT is missing");
	if (net_parse(cli->argv[0], NULL, &a) < 0)
		return cli_usage(cli, "'%s' is not HOST:PORT (IPv6: [::1]:2575)", cli->argv[0]);
	r = cli_number(cli, "connections", 1, 65000, &set->connections);
	r = r ? r : cli_number(cli, "window", 1, 65536, &set->window);
	r = r ? r : cli_number(cli, "repeat", 1, 1000000000, &set->repeat);
	r = r ? r : cli_number(cli, "retry", 0, 1000000, &set->retries);
	r = r ? r : cli_duration_ns(cli, "timeout", 86400ull * 1000000000, &set->timeout_ns);
	r = r ? r : cli_rate(cli, "rate", &set->rate);
	if (r)
		return r;
	set->ack = cli_choice(cli, "ack", SEND_ACK_AUTO);
	if (set->ack < 0)
		return CLI_USAGE;
	set->keep_eol = cli_flag(cli, "keep-eol");
	set->print_acks = cli_flag(cli, "print-acks");
	if (set->print_acks && cli_flag(cli, "json"))
		return cli_usage(cli, "--print-acks and --json both want standard output; choose one");
	set->progress = !cli_flag(cli, "quiet") && isatty(2);
	set->target_name = cli->argv[0];
	if (!net_resolve(&a, false, &set->target, 1, &error)) {
		cli_error(cli, "%s: %s", a.host, error);
		return CLI_UNREACHABLE;
	}
	return 0;
}

static void send_print_json(const struct send_settings *set, const struct send_msgs *m, const struct send_results *s)
{
	json_t *codes = json_object(), *out;

	for (int i = 0; i < SEND_CODES; i++)
		if (s->codes[i])
			json_object_set_new(codes, send_code_names[i], json_integer((json_int_t)s->codes[i]));
	out = json_pack(
	    "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:f, s:f}", "schema",
	    "millrace.send/1", "target", set->target_name, "messages", (json_int_t)(m->count * set->repeat), "files",
	    (json_int_t)m->files, "problems", (json_int_t)m->found.problems, "envelopes",
	    (json_int_t)m->found.envelopes, "sent", (json_int_t)s->sent, "accepted", (json_int_t)s->accepted, "refused",
	    (json_int_t)s->refused, "no_answer_expected", (json_int_t)s->unasked, "lost", (json_int_t)s->lost,
	    "not_sent", (json_int_t)s->not_sent, "resent", (json_int_t)s->resent, "timeouts", (json_int_t)s->timeouts,
	    "codes", codes, "unknown_answers", (json_int_t)s->unknown, "unreadable_answers", (json_int_t)s->unreadable,
	    "elapsed", (double)s->elapsed_ns / 1e9, "rate",
	    s->elapsed_ns ? (double)s->sent * 1e9 / (double)s->elapsed_ns : 0.0);
	must(out);
	json_object_set_new(out, "latency",
	                    json_pack("{s:f, s:f, s:f, s:f}", "p50", (double)hist_quantile(&s->latency, 0.5) / 1e9,
	                              "p99", (double)hist_quantile(&s->latency, 0.99) / 1e9, "p999",
	                              (double)hist_quantile(&s->latency, 0.999) / 1e9, "max",
	                              (double)s->latency.max / 1e9));
	json_object_set_new(out, "skipped_files", json_integer((json_int_t)m->skipped));
	json_object_set_new(out, "connects", json_integer((json_int_t)s->connects));
	json_object_set_new(out, "late", json_integer((json_int_t)s->late));
	json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(out);
}

static void send_line(const char *what, uint64_t n)
{
	char text[32];

	if (n)
		printf("  %-24s %12s\n", what, cli_format_count(text, sizeof(text), n));
}

static void send_print(const struct send_settings *set, const struct send_msgs *m, const struct send_results *s)
{
	char a[32], b[32], c[32], d[32];
	double seconds = (double)s->elapsed_ns / 1e9;

	printf("%s: sent %s message%s (%s) in %s: %.0f/s\n", set->target_name, cli_format_count(a, sizeof(a), s->sent),
	       cli_plural(s->sent), cli_format_bytes(b, sizeof(b), s->bytes),
	       cli_format_duration(c, sizeof(c), s->elapsed_ns), seconds > 0 ? (double)s->sent / seconds : 0.0);
	for (int i = 0; i < SEND_CODES; i++) {
		snprintf(d, sizeof(d), i == SEND_OTHER ? "other answers" : "%s", send_code_names[i]);
		send_line(d, s->codes[i]);
	}
	send_line("no answer expected", s->unasked);
	send_line("no answer", s->lost);
	send_line("not sent", s->not_sent);
	send_line("sent again", s->resent);
	send_line("answers to nothing sent", s->unknown);
	send_line("unreadable answers", s->unreadable);
	send_line("commit blocks", s->commits);
	send_line("late on the schedule", s->late);
	send_line("could not be read", m->found.problems);
	send_line("files without a message", m->skipped);
	send_line("batch segments left out", m->found.envelopes);
	send_line("lines before messages", m->found.notes);
	send_line("lines that look odd", m->found.odd_lines);
	if (s->latency.count)
		printf("  answer time: p50 %s, p99 %s, p99.9 %s, longest %s\n",
		       cli_format_duration(a, sizeof(a), hist_quantile(&s->latency, 0.5)),
		       cli_format_duration(b, sizeof(b), hist_quantile(&s->latency, 0.99)),
		       cli_format_duration(c, sizeof(c), hist_quantile(&s->latency, 0.999)),
		       cli_format_duration(d, sizeof(d), s->latency.max));
}

static int send_exit(const struct send_msgs *m, const struct send_results *s)
{
	uint64_t good = s->accepted + s->unasked;

	if (good && !s->refused && !s->lost && !s->not_sent && !m->found.problems)
		return CLI_OK;
	if (good)
		return CLI_PARTIAL;
	return s->connects == 0 && s->connect_errors ? CLI_UNREACHABLE : CLI_FAILED;
}

int send_main(struct cli *cli)
{
	struct send_msgs msgs = {0};
	struct send_settings set;
	struct send_results *results;
	int r;

	r = send_settings(cli, &set);
	if (r)
		return r;
	r = send_read_all(cli, &set, &msgs);
	if (r)
		goto out;
	results = calloc(1, sizeof(*results));
	must(results);
	r = send_run(&set, &msgs, results);
	if (r < 0) {
		cli_error(cli, "%s: %s", set.target_name, strerror(-r));
		r = CLI_FAILED;
	} else {
		if (results->connect_errors && results->last_error)
			cli_error(cli, "%s: %s", set.target_name, strerror(results->last_error));
		if (cli_flag(cli, "json"))
			send_print_json(&set, &msgs, results);
		else
			send_print(&set, &msgs, results);
		r = send_exit(&msgs, results);
	}
	free(results);
out:
	for (uint64_t i = 0; i < msgs.count; i++)
		free(msgs.msg[i].bytes);
	free(msgs.msg);
	return r;
}
