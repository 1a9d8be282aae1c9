/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_link.c - sending and receiving on the link. Used by the control plane, workers and connectors; never blocks.
 */
#include "mr_link.h"
#include "mr_paths.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int mr_link_send(int fd, const struct mr_link_msg *m, const int *fds, uint32_t nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MR_LINK_FDS_MAX)];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	must(nfds <= MR_LINK_FDS_MAX);
	if (nfds) {
		struct cmsghdr *c;

		h.msg_control = control.buf;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	for (;;) {
		if (sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

int mr_link_recv(int fd, struct mr_link_msg *ret, int *ret_fds, uint32_t *ret_nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MR_LINK_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct mr_link_msg m;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	int fds[MR_LINK_FDS_MAX];
	uint32_t nfds = 0;
	ssize_t n;

	do
		n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPIPE;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			uint32_t k = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			for (uint32_t i = 0; i < k && nfds < MR_LINK_FDS_MAX; i++)
				memcpy(&fds[nfds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		}
	if (n != (ssize_t)sizeof(m) || m.version != MR_LINK_VERSION || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		for (uint32_t i = 0; i < nfds; i++)
			close(fds[i]);
		return -EPROTO;
	}
	*ret = m;
	memcpy(ret_fds, fds, sizeof(int) * nfds);
	*ret_nfds = nfds;
	return 0;
}

int mr_link_connect(const char *run)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, dir, r = mr_unix_path(run, "link.sock", a.sun_path, sizeof(a.sun_path), &dir);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -errno : 0;
	if (r == 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		r = -errno;
		close(fd);
	}
	if (dir >= 0)
		close(dir);
	return r < 0 ? r : fd;
}
