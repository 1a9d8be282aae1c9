/* SPDX-License-Identifier: Apache-2.0 */
/* test_link.c - packets of the link arrive whole with their descriptors; anything of another shape is refused, leaking nothing. */
#include "unit.h"

#include "mr_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int pair[2];

static int setup(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_packet_and_descriptors_arrive(void **state)
{
	struct mr_link_msg m = {.type = MR_LINK_PEER, .version = MR_LINK_VERSION, .request = 42}, got;
	int fds[MR_LINK_FDS_MAX], out[MR_LINK_FDS_MAX];
	uint32_t nfds = 99;

	m.u.peer.peer = 5;
	for (int i = 0; i < MR_LINK_FDS_MAX; i++) {
		fds[i] = memfd_create("unit", 0);
		assert_true(fds[i] >= 0);
		assert_int_equal(ftruncate(fds[i], 1000 + i), 0);
	}
	assert_int_equal(mr_link_send(pair[0], &m, fds, MR_LINK_FDS_MAX), 0);
	assert_int_equal(mr_link_recv(pair[1], &got, out, &nfds), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	assert_int_equal(nfds, MR_LINK_FDS_MAX);
	for (int i = 0; i < MR_LINK_FDS_MAX; i++) {
		struct stat st;

		assert_int_equal(fstat(out[i], &st), 0);
		assert_int_equal(st.st_size, 1000 + i); /* in their order */
		assert_int_equal(fcntl(out[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(fcntl(fds[i], F_GETFD), 0); /* the sender's own stay open */
		close(out[i]);
		close(fds[i]);
	}
	assert_int_equal(mr_link_recv(pair[1], &got, out, &nfds), -EAGAIN);
}

static void test_packets_keep_their_order_until_the_socket_is_full(void **state)
{
	struct mr_link_msg m = {.type = MR_LINK_DONE, .version = MR_LINK_VERSION}, got;
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds;
	uint64_t sent = 0;
	int r;

	for (; (m.request = sent, r = mr_link_send(pair[0], &m, NULL, 0)) == 0; sent++)
		;
	assert_int_equal(r, -EAGAIN);
	assert_true(sent > 10);
	for (uint64_t i = 0; i < sent; i++) {
		assert_int_equal(mr_link_recv(pair[1], &got, fds, &nfds), 0);
		assert_int_equal(got.request, i);
		assert_int_equal(nfds, 0);
	}
	assert_int_equal(mr_link_recv(pair[1], &got, fds, &nfds), -EAGAIN);
}

/* Sends @bytes of @m with one descriptor; the receiver must refuse, close what came, and leave its outputs alone. */
static void assert_refused(const void *m, size_t bytes)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = bytes};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	struct mr_link_msg got = {.type = 1234};
	int fds[MR_LINK_FDS_MAX] = {-7}, before = open_descriptors();
	uint32_t nfds = 55;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &pair[0], sizeof(int));
	assert_int_equal(sendmsg(pair[0], &h, 0), bytes);
	assert_int_equal(mr_link_recv(pair[1], &got, fds, &nfds), -EPROTO);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(got.type, 1234);
	assert_int_equal(fds[0], -7);
	assert_int_equal(nfds, 55);
}

static void test_wrong_sizes_and_versions_are_refused(void **state)
{
	char large[sizeof(struct mr_link_msg) + 64] = {0};
	struct mr_link_msg m = {.type = MR_LINK_READY, .version = MR_LINK_VERSION};

	memcpy(large, &m, sizeof(m));
	assert_refused(&m, sizeof(m) - 1);
	assert_refused(&m, 1);
	assert_refused(large, sizeof(large));
	m.version++;
	assert_refused(&m, sizeof(m));
	m.version = 0;
	assert_refused(&m, sizeof(m));
}

static void test_more_descriptors_than_allowed_are_refused(void **state)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * 9)];
		struct cmsghdr align;
	} control = {0};
	struct mr_link_msg m = {.type = MR_LINK_PEER, .version = MR_LINK_VERSION}, got;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int fds[9], out[MR_LINK_FDS_MAX], before = open_descriptors();
	uint32_t nfds;

	for (int i = 0; i < 9; i++)
		fds[i] = pair[0];
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	assert_int_equal(sendmsg(pair[0], &h, 0), sizeof(m));
	assert_int_equal(mr_link_recv(pair[1], &got, out, &nfds), -EPROTO);
	assert_int_equal(open_descriptors(), before);
}

static void test_a_closed_link_says_so(void **state)
{
	struct mr_link_msg m = {.type = MR_LINK_READY, .version = MR_LINK_VERSION}, got;
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds;

	assert_int_equal(mr_link_send(pair[0], &m, NULL, 0), 0);
	shutdown(pair[0], SHUT_RDWR);
	assert_int_equal(mr_link_recv(pair[1], &got, fds, &nfds), 0); /* what was sent before still counts */
	assert_int_equal(mr_link_recv(pair[1], &got, fds, &nfds), -EPIPE);
	assert_int_equal(mr_link_send(pair[1], &m, NULL, 0), -EPIPE); /* and no SIGPIPE */
}

/* The folder's path is longer than a socket address can hold. */
static void test_connects_in_a_folder_of_any_length(void **state)
{
	char folder[32] = "/tmp/millrace-unit-XXXXXX", deep[300], cwd[512];
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "link.sock"};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd;

	assert_non_null(mkdtemp(folder));
	snprintf(deep, sizeof(deep), "%s/%0150d", folder, 7);
	assert_int_equal(mr_link_connect(deep), -ENOENT);
	assert_int_equal(mkdir(deep, 0700), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(deep), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(chdir(cwd), 0);
	assert_int_equal(mr_link_connect(deep), -ECONNREFUSED);
	assert_int_equal(listen(listener, 1), 0);
	fd = mr_link_connect(deep);
	assert_true(fd >= 0);
	close(fd);
	close(listener);
	assert_int_equal(chdir(deep), 0);
	unlink("link.sock");
	assert_int_equal(chdir(cwd), 0);
	rmdir(deep);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_packet_and_descriptors_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packets_keep_their_order_until_the_socket_is_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_sizes_and_versions_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_descriptors_than_allowed_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_closed_link_says_so, setup, teardown),
		cmocka_unit_test(test_connects_in_a_folder_of_any_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
