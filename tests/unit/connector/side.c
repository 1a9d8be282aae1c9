/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side.c - the other side of a connector, for its tests: folders, journal, control process, worker. See side.h.
 *
 * Used by test_connector.c only. A failed system call fails the test at once.
 */
#include "side.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HANG_NS 60000000000u

uint64_t side_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t mix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t side_random(struct side *s)
{
	return mix(&s->random);
}

static void hang_check(struct side *s, uint64_t since)
{
	if (side_now_ns() - since > HANG_NS)
		fail_msg("it hangs: %u messages unfinished, last trouble: %s", side_unfinished(s), s->trouble_text);
}

/* ---- folders, configuration ---- */

void side_open(struct side *s)
{
	uint64_t tail_bytes = 1u << 20;

	s->link_fd = s->listen_fd = s->tail_fd = -1;
	s->segment_bytes = 64u << 20;
	snprintf(s->root, sizeof(s->root), "%s/millrace-connector-XXXXXX",
	         getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(s->root));
	snprintf(s->run, sizeof(s->run), "%s/run", s->root);
	snprintf(s->data, sizeof(s->data), "%s/data", s->root);
	assert_int_equal(mkdir(s->run, 0700), 0);
	assert_int_equal(mkdir(s->data, 0700), 0);
	s->message = calloc(SIDE_MESSAGES_MAX, sizeof(*s->message));
	assert_non_null(s->message);
	if (s->tail) {
		s->tail_fd = memfd_create("tail", MFD_CLOEXEC);
		assert_true(s->tail_fd >= 0);
		assert_int_equal(ftruncate(s->tail_fd, (off_t)(MR_TAIL_HEAD + tail_bytes)), 0);
		s->tail_map = mmap(NULL, MR_TAIL_HEAD + tail_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->tail_fd, 0);
		assert_true(s->tail_map != MAP_FAILED);
		s->tail_map->tail_bytes = tail_bytes;
	}
}

struct mr_config_dest *side_dest_add(struct side *s, const char *name, uint8_t format)
{
	struct side_dest *d = &s->dest[s->dests++];

	assert_true(asprintf(&d->folder, "%s/%s", s->root, name) > 0);
	snprintf(d->cfg.name, sizeof(d->cfg.name), "%s", name);
	d->cfg.kind = MR_DEST_FILE;
	d->cfg.file_format = format;
	d->cfg.owner = MR_CONNECTOR_FILE;
	d->cfg.connections = 1;
	d->cfg.window = 1;
	d->cfg.queue_max = 1000000;
	d->cfg.retry_first_ns = 10000000u;
	d->cfg.retry_max_ns = 100000000u;
	d->cfg.batch_messages = 100;
	d->cfg.batch_interval_ns = 200000000u;
	return &d->cfg;
}

static int config_fd(struct side *s, uint64_t *ret_bytes)
{
	size_t dests_at = mr_align_up(sizeof(struct mr_config), 8);
	size_t strings_at = dests_at + s->dests * sizeof(struct mr_config_dest), strings = 1;
	size_t bytes = mr_align_up(strings_at + 8 + SIDE_DESTS_MAX * 512, 8);
	char *image = calloc(1, bytes);
	struct mr_config *c = (struct mr_config *)(void *)image;
	int fd = memfd_create("config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(image && fd >= 0);
	c->magic = MR_CONFIG_MAGIC;
	c->version = MR_CONFIG_VERSION;
	c->bytes = (uint32_t)bytes;
	c->generation = 1;
	snprintf(c->data, sizeof(c->data), "%s", s->data);
	snprintf(c->run, sizeof(c->run), "%s", s->run);
	c->workers = 1;
	c->cpus[0] = -1;
	c->commit = s->commit;
	c->segment_bytes = s->segment_bytes;
	c->tail_bytes = 1u << 20;
	c->duplicate_entries = 1024;
	c->worker_connections_max = 1;
	c->frame_memory_bytes = 1u << 20;
	c->drain_timeout_ns = 10000000000u;
	for (struct mr_config_table *t = &c->listeners; t <= &c->strings; t++)
		t->offset = (uint32_t)dests_at;
	c->dests.count = s->dests;
	c->strings.offset = (uint32_t)strings_at;
	for (uint32_t i = 0; i < s->dests; i++) {
		s->dest[i].cfg.path = (uint32_t)strings;
		memcpy(image + dests_at + i * sizeof(s->dest[i].cfg), &s->dest[i].cfg, sizeof(s->dest[i].cfg));
		strings += (size_t)sprintf(image + strings_at + strings, "%s", s->dest[i].folder) + 1;
	}
	c->strings.count = (uint32_t)strings;
	assert_int_equal(mr_config_check(image, bytes), 0);
	assert_int_equal(write(fd, image, bytes), bytes);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
	free(image);
	*ret_bytes = bytes;
	return fd;
}

/* ---- the journal ---- */

static void journal_open(struct side *s)
{
	struct mr_segment_header h = {.magic = MR_JOURNAL_MAGIC, .version = MR_JOURNAL_VERSION, .epoch = 1};
	char path[400];

	if (s->segment)
		return;
	snprintf(path, sizeof(path), "%s/journal-0", s->data);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/journal-0/%016x.seg", s->data, 0);
	s->segment_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(s->segment_fd >= 0);
	assert_int_equal(ftruncate(s->segment_fd, (off_t)s->segment_bytes), 0);
	s->segment = mmap(NULL, s->segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->segment_fd, 0);
	assert_true(s->segment != MAP_FAILED);
	h.segment_bytes = s->segment_bytes;
	memset(h.uuid, 7, sizeof(h.uuid));
	h.crc = mr_crc32c(0, h.uuid, sizeof(h) - offsetof(struct mr_segment_header, uuid));
	memcpy(s->segment, &h, sizeof(h));
	s->seed = mr_journal_seed(h.uuid);
	s->end = MR_JOURNAL_BLOCK;
	if (s->tail_map) {
		s->tail_map->magic = MR_TAIL_MAGIC;
		s->tail_map->segment_bytes = s->segment_bytes;
		memcpy(s->tail_map->uuid, h.uuid, sizeof(h.uuid));
		s->tail_map->start = s->tail_map->end = s->end;
		mr_store(&s->tail_map->version, MR_TAIL_VERSION);
	}
}

char *side_message_bytes(const struct side_message *m)
{
	uint64_t x = m->size_seed;
	char *p = malloc(m->bytes + 1), head[64];
	int n = snprintf(head, sizeof(head), "MSH|^~\\&|A|B|C|D|%016llx|", (unsigned long long)m->size_seed);

	assert_non_null(p);
	for (uint32_t i = 0; i < m->bytes; i++)
		p[i] = (char)("ABCDEFGHIJKLMNOPQRSTUVWXYZ|^&~ \r"[mix(&x) % 32]);
	memcpy(p, head, (size_t)n < m->bytes ? (size_t)n : m->bytes);
	if (m->bytes > 64 && m->size_seed % 3) /* most end as they should, some without the last CR */
		p[m->bytes - 1] = '\r';
	p[m->bytes] = 0;
	return p;
}

static void tail_copy(struct side *s, uint64_t from, uint64_t bytes)
{
	struct mr_tail *t = s->tail_map;
	uint64_t end = from + bytes;

	if (end - t->start > t->tail_bytes)
		mr_store(&t->start, end - t->tail_bytes);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (uint64_t p = from; p < end; p++)
		((char *)t)[MR_TAIL_HEAD + (p & (t->tail_bytes - 1))] = s->segment[p];
	mr_store(&t->end, end);
}

struct side_message *side_message_add(struct side *s, uint16_t dest, uint32_t bytes)
{
	struct side_message *m = &s->message[s->messages++];
	struct mr_rec_message body = {.payload_bytes = bytes, .dest_count = 1};
	struct mr_rec rec = {.epoch = 1, .type = MR_REC_MESSAGE};
	struct timespec now;
	uint64_t from;
	char *payload;

	assert_true(s->messages <= SIDE_MESSAGES_MAX);
	journal_open(s);
	clock_gettime(CLOCK_REALTIME, &now);
	memset(m, 0, sizeof(*m));
	m->position = from = s->end;
	m->bytes = bytes;
	m->dest = dest;
	m->size_seed = side_random(s);
	m->sequence = s->next_sequence[dest]++;
	rec.bytes = mr_rec_payload_offset(1) + bytes;
	rec.position = s->end;
	rec.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	assert_true(s->end + rec.bytes + MR_PAD_BYTES < s->segment_bytes);
	memcpy(s->segment + from, &rec, sizeof(rec));
	memcpy(s->segment + from + sizeof(rec), &body, sizeof(body));
	memcpy(s->segment + from + sizeof(rec) + sizeof(body), &dest, sizeof(dest));
	payload = side_message_bytes(m);
	memcpy(s->segment + from + mr_rec_payload_offset(1), payload, bytes);
	free(payload);
	mr_rec_seal((struct mr_rec *)(void *)(s->segment + from), s->seed);
	s->end = mr_align_up(s->end + rec.bytes, 8);
	if (s->tail_map)
		tail_copy(s, from, s->end - from);
	return m;
}

void side_damage(struct side *s, const struct side_message *m)
{
	s->segment[m->position + mr_rec_payload_offset(1) + m->bytes / 2] ^= 4;
	if (s->tail_map)
		tail_copy(s, m->position, s->end - m->position);
}

/* ---- the control process ---- */

static void link_send(struct side *s, struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	m->version = MR_LINK_VERSION;
	assert_int_equal(mr_link_send(s->link_fd, m, fds, nfds), 0);
}

void side_say(struct side *s, enum mr_link_type type, uint32_t dest)
{
	struct mr_link_msg m = {.type = type, .request = 77};

	m.u.item.dest = dest;
	link_send(s, &m, NULL, 0);
}

static struct mr_ring *ring_make(int *ret_fd)
{
	size_t bytes = mr_ring_bytes(MR_RING_RECORDS);
	struct mr_ring *r;

	*ret_fd = memfd_create("ring", MFD_CLOEXEC);
	assert_true(*ret_fd >= 0);
	assert_int_equal(ftruncate(*ret_fd, (off_t)bytes), 0);
	r = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
	assert_true(r != MAP_FAILED);
	mr_ring_init(r, MR_RING_RECORDS);
	return r;
}

void side_rings_gone(struct side *s)
{
	struct mr_link_msg gone = {.type = MR_LINK_PEER_GONE};

	if (s->link_fd >= 0)
		link_send(s, &gone, NULL, 0);
	if (s->to) {
		munmap(s->to, mr_ring_bytes(MR_RING_RECORDS));
		munmap(s->from, mr_ring_bytes(MR_RING_RECORDS));
		close(s->to_event);
		close(s->from_event);
	}
	s->to = s->from = NULL;
	for (uint32_t i = 0; i < s->messages; i++) { /* a worker that comes back numbers its queues anew */
		struct side_message *m = &s->message[i];

		m->out = false;
		if (!m->result)
			m->sequence = s->next_sequence[m->dest]++;
	}
}

void side_rings_new(struct side *s)
{
	struct mr_link_msg m = {.type = MR_LINK_PEER};
	int to_fd, from_fd;

	if (s->to)
		side_rings_gone(s);
	s->to = ring_make(&to_fd);
	s->from = ring_make(&from_fd);
	s->to_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->from_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m.u.peer.kind = MR_KIND_WORKER;
	link_send(s, &m, (const int[4]){from_fd, s->from_event, to_fd, s->to_event}, 4);
	close(to_fd);
	close(from_fd);
}

void side_link_accept(struct side *s)
{
	struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};
	struct mr_link_msg welcome = {.type = MR_LINK_WELCOME};
	uint64_t since = side_now_ns();
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds;

	while (poll(&p, 1, 100) == 0) {
		assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0); /* it ended instead of saying hello */
		hang_check(s, since);
	}
	s->link_fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(s->link_fd >= 0);
	p.fd = s->link_fd;
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(mr_link_recv(s->link_fd, &s->hello, fds, &nfds), 0);
	assert_int_equal(s->hello.type, MR_LINK_HELLO);
	assert_int_equal(s->hello.u.hello.kind, MR_KIND_CONNECTOR);
	assert_int_equal(s->hello.u.hello.pid, s->pid);
	welcome.u.hello.incarnation = s->incarnation;
	link_send(s, &welcome, NULL, 0);
}

void side_link_cut(struct side *s)
{
	close(s->link_fd);
	s->link_fd = -1;
}

static void link_listen(struct side *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	must(snprintf(a.sun_path, sizeof(a.sun_path), "%s/link.sock", s->run) < (int)sizeof(a.sun_path));
	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(s->listen_fd >= 0);
	assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->listen_fd, 4), 0);
}

static void connector_spawn(struct side *s)
{
	const char *program = getenv("MILLRACE_CONNECTOR");

	assert_non_null(program);
	fflush(NULL);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
	if (s->fsize_max) {
		struct rlimit l = {s->fsize_max, s->fsize_max};

		setrlimit(RLIMIT_FSIZE, &l);
	}
	execl(program, program, "--run", s->run, (char *)NULL);
	_exit(127);
}

void side_start(struct side *s, bool ready)
{
	struct mr_link_msg m = {.type = MR_LINK_CONFIG}, j = {.type = MR_LINK_JOURNAL};
	int fd;

	if (s->listen_fd < 0)
		link_listen(s);
	journal_open(s);
	s->ready = s->drained = false;
	s->incarnation++;
	connector_spawn(s);
	side_link_accept(s);
	assert_int_equal(s->hello.u.hello.adopt, 0);
	fd = config_fd(s, &m.u.config.bytes);
	m.u.config.generation = 1;
	link_send(s, &m, &fd, 1);
	close(fd);
	link_send(s, &j, &s->tail_fd, s->tail_fd >= 0);
	side_rings_new(s);
	if (ready)
		side_wait(s, &s->ready);
}

static void link_take(struct side *s)
{
	struct mr_link_msg m;
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds;

	while (s->link_fd >= 0 && mr_link_recv(s->link_fd, &m, fds, &nfds) == 0) {
		assert_int_equal(nfds, 0);
		if (m.type == MR_LINK_READY) {
			s->ready = true;
		} else if (m.type == MR_LINK_DRAINED) {
			s->drained = true;
		} else if (m.type == MR_LINK_DONE) {
			assert_int_equal(m.request, 77);
			assert_int_equal(m.u.done.error, 0);
			s->done++;
		} else if (m.type == MR_LINK_TROUBLE) {
			s->trouble_code = m.u.trouble.code;
			s->troubles += !m.u.trouble.over;
			s->troubles_over += m.u.trouble.over;
			memcpy(s->trouble_text, m.u.trouble.text, sizeof(s->trouble_text));
		} else {
			fail_msg("link message of type %u", m.type);
		}
	}
}

/* ---- the worker ---- */

void side_hand_out(struct side *s)
{
	uint64_t head[SIDE_DESTS_MAX];
	bool pushed = false;

	memset(head, 0xff, sizeof(head));
	for (uint32_t i = 0; i < s->messages && s->to; i++) {
		struct side_message *m = &s->message[i];
		struct mr_msg msg = {.kind = MR_MSG_DELIVER,
		                     .dest = m->dest,
		                     .sequence = m->sequence,
		                     .position = m->position,
		                     .bytes = m->bytes,
		                     .attempts = m->attempts};

		if (!m->result && m->sequence < head[m->dest])
			head[m->dest] = m->sequence;
		if (m->result || m->out || m->sequence - head[m->dest] >= mr_config_credit(&s->dest[m->dest].cfg))
			continue;
		assert_true(mr_ring_push(s->to, &msg));
		m->out = pushed = true;
	}
	if (pushed && mr_ring_must_wake(s->to))
		eventfd_write(s->to_event, 1);
}

static struct side_message *message_of(struct side *s, const struct mr_msg *o)
{
	for (uint32_t i = 0; i < s->messages; i++) {
		struct side_message *m = &s->message[i];

		if (m->position == o->position)
			return m->dest == o->dest && m->sequence == o->sequence && m->out ? m : NULL;
	}
	return NULL;
}

static void ring_take(struct side *s)
{
	struct mr_msg o;

	while (s->from && mr_ring_pop(s->from, &o)) {
		struct side_message *m = message_of(s, &o);

		assert_int_equal(o.kind, MR_MSG_OUTCOME);
		if (!m || m->result) {
			s->wrong++;
			continue;
		}
		m->result = o.result;
		m->reason = o.reason;
		m->attempts = o.attempts;
		m->outcomes++;
	}
}

void side_turn(struct side *s, int ms)
{
	struct pollfd p[2] = {{.fd = s->link_fd, .events = POLLIN},
	                      {.fd = s->to ? s->from_event : -1, .events = POLLIN}};
	eventfd_t n;

	if (s->from && !mr_ring_sleep(s->from))
		ms = 0;
	poll(p, 2, ms);
	if (s->from) {
		mr_ring_awake(s->from);
		eventfd_read(s->from_event, &n);
	}
	link_take(s);
	ring_take(s);
}

uint32_t side_unfinished(const struct side *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->messages; i++)
		n += s->message[i].result == 0;
	return n;
}

void side_finish_all(struct side *s)
{
	uint64_t since = side_now_ns();

	while (side_unfinished(s)) {
		side_hand_out(s);
		side_turn(s, 20);
		hang_check(s, since);
	}
}

void side_wait(struct side *s, const bool *flag)
{
	uint64_t since = side_now_ns();

	while (!*flag) {
		side_turn(s, 20);
		hang_check(s, since);
	}
}

void side_wait_count(struct side *s, const uint32_t *count, uint32_t at_least)
{
	uint64_t since = side_now_ns();

	while (*count < at_least) {
		side_hand_out(s);
		side_turn(s, 20);
		hang_check(s, since);
	}
}

/* ---- life ---- */

void side_kill(struct side *s)
{
	assert_int_equal(kill(s->pid, SIGKILL), 0);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
	ring_take(s); /* what it answered before it died counts */
	side_link_cut(s);
	side_rings_gone(s);
}

int side_wait_exit(struct side *s)
{
	int status;

	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	s->pid = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void side_close(struct side *s)
{
	char command[400];

	if (s->pid)
		side_kill(s);
	if (s->link_fd >= 0)
		side_link_cut(s);
	if (s->to)
		side_rings_gone(s);
	close(s->listen_fd);
	if (s->segment) {
		munmap(s->segment, s->segment_bytes);
		close(s->segment_fd);
	}
	if (s->tail_map)
		munmap(s->tail_map, MR_TAIL_HEAD + (1u << 20));
	if (s->tail_fd >= 0)
		close(s->tail_fd);
	free(s->message);
	for (uint32_t i = 0; i < s->dests; i++)
		free(s->dest[i].folder);
	snprintf(command, sizeof(command), "rm -rf -- '%s'", s->root);
	assert_int_equal(system(command), 0);
}

static const struct mr_region *region_map(struct side *s, size_t *ret_bytes)
{
	const struct mr_region *r;
	char path[400];

	snprintf(path, sizeof(path), "%s/connector-file.region", s->run);
	assert_int_equal(mr_region_open(path, &r, ret_bytes), 0);
	return r;
}

uint64_t side_metric(struct side *s, enum mr_metric m, uint16_t dest)
{
	size_t bytes;
	const struct mr_region *r = region_map(s, &bytes);
	uint64_t v = mr_load_relaxed(mr_region_words(r, mr_region_metric(r, (uint32_t)m), dest));

	mr_region_unmap(r, bytes);
	return v;
}

uint32_t side_lane_state(struct side *s, uint16_t dest)
{
	size_t bytes;
	const struct mr_region *r = region_map(s, &bytes);
	const uint32_t *first = (const void *)((const char *)r + r->lane_first_offset);
	const struct mr_lane_info *lanes = (const void *)((const char *)r + r->lanes_offset);
	uint32_t state = __atomic_load_n(&lanes[first[dest]].state, __ATOMIC_RELAXED);

	mr_region_unmap(r, bytes);
	return state;
}
