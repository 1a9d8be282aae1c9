/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - makes the rings between each two processes and passes them, with eventfds and journal tails, to both ends.
 *
 * Called by handoff.c and supervise.c on the control loop. The control process keeps no ring: once both ends have it,
 * they need nobody. From the death of a process until it is joined with all others again a file RUN/peering stands, so
 * that a later control process knows that a pair may be half connected or not at all, and gives out fresh ones.
 *
 * A worker gets its rings when it is ready, so after it has told its journals: what comes out of a ring always refers
 * to a journal whose tail was sent to the reader before the ring.
 */
#include "peers.h"

#include "handoff.h"
#include "image.h"
#include "mr_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PEERS_MARK "peering"

static int peers_make_ring(void)
{
	const size_t bytes = mr_ring_bytes(MR_RING_RECORDS);
	int fd = memfd_create("millrace-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;
	void *p;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0)
		goto fail;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	mr_ring_init(p, MR_RING_RECORDS);
	munmap(p, bytes);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail;
	return fd;
fail:
	r = -errno;
	close(fd);
	return r;
}

static void peers_send(struct process *to, const struct process *about, const int fds[4])
{
	struct mr_link_msg m = {.type = MR_LINK_PEER};

	m.u.peer.peer = about->peer;
	m.u.peer.kind = about->kind;
	m.u.peer.incarnation = about->incarnation;
	handoff_send(to, &m, fds, 4);
}

static void peers_send_gone(struct process *to, const struct process *about)
{
	struct mr_link_msg m = {.type = MR_LINK_PEER_GONE};

	m.u.peer.peer = about->peer;
	m.u.peer.kind = about->kind;
	m.u.peer.incarnation = about->incarnation;
	handoff_send(to, &m, NULL, 0);
}

static void peers_mark(struct control *c)
{
	if (!c->peering && image_put_text(c->cfg->run, PEERS_MARK, "") == 0)
		c->peering = true;
}

/* Two rings and two eventfds between @a and @b. */
static void peers_join(struct process *a, struct process *b)
{
	enum { RING_AB, RING_BA, WAKE_A, WAKE_B };
	int fd[4] = {peers_make_ring(), peers_make_ring(), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	             eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

	if (fd[0] >= 0 && fd[1] >= 0 && fd[2] >= 0 && fd[3] >= 0) {
		const int to_a[4] = {fd[RING_AB], fd[WAKE_B], fd[RING_BA], fd[WAKE_A]};
		const int to_b[4] = {fd[RING_BA], fd[WAKE_A], fd[RING_AB], fd[WAKE_B]};

		peers_mark(a->control);
		peers_send(a, b, to_a);
		peers_send(b, a, to_b);
		a->peered[b->peer] = b->peered[a->peer] = true;
	} else {
		log_event(LOG_INTERNAL, NULL, "cannot make rings between %s and %s: %s", a->name, b->name,
		          strerror(errno));
	}
	for (int i = 0; i < 4; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

void peers_announce(struct process *p)
{
	if (p->announced)
		return;
	p->announced = true;
	control_each (p->control, q)
		if (q != p && q->link && q->announced && !p->peered[q->peer])
			peers_join(p, q);
	peers_settle(p->control);
}

static void peers_send_tail(struct process *to, const struct process *owner, const struct process_tail *t)
{
	struct mr_link_msg m = {.type = MR_LINK_JOURNAL};

	m.u.journal.journal = t->journal;
	m.u.journal.owner = owner->peer;
	m.u.journal.incarnation = owner->incarnation;
	handoff_send(to, &m, t->fds, t->fds[1] >= 0 ? 2 : 1);
}

void peers_send_tails(struct process *p)
{
	control_each (p->control, q)
		for (uint32_t i = 0; q != p && i < q->tail_count; i++)
			peers_send_tail(p, q, &q->tails[i]);
}

static void peers_tail_close(struct process_tail *t)
{
	for (int i = 0; i < 2; i++)
		if (t->fds[i] >= 0)
			close(t->fds[i]);
}

static struct process_tail *peers_tail(struct process *p, uint32_t journal)
{
	struct process_tail *grown;

	for (uint32_t i = 0; i < p->tail_count; i++)
		if (p->tails[i].journal == journal)
			return &p->tails[i];
	grown = realloc(p->tails, (p->tail_count + 1) * sizeof(*grown));
	must(grown);
	p->tails = grown;
	grown += p->tail_count++;
	grown->journal = journal;
	grown->fds[0] = grown->fds[1] = -1;
	return grown;
}

void peers_journal(struct process *p, const struct mr_link_msg *m, int tail_fd, int duplicates_fd)
{
	struct process_tail *t = peers_tail(p, m->u.journal.journal);

	peers_tail_close(t);
	t->fds[0] = tail_fd;
	t->fds[1] = duplicates_fd;
	control_each (p->control, q)
		if (q != p && q->link && (p->child || q->child)) /* those taken over know each other's already */
			peers_send_tail(q, p, t);
}

void peers_gone(struct process *p)
{
	for (uint32_t i = 0; i < p->tail_count; i++)
		peers_tail_close(&p->tails[i]);
	p->tail_count = 0;
	p->announced = false;
	peers_mark(p->control);
	control_each (p->control, q) {
		if (q->peered[p->peer])
			peers_send_gone(q, p);
		q->peered[p->peer] = p->peered[q->peer] = false;
	}
}

void peers_adopted(struct process *p)
{
	control_each (p->control, q)
		if (q != p && q->link && !q->child && !p->child)
			q->peered[p->peer] = p->peered[q->peer] = true;
}

void peers_missing(struct process *p)
{
	control_each (p->control, q)
		if (q != p && !p->peered[q->peer])
			peers_send_gone(p, q);
}

/* Is every process of the hub there and joined with every other? */
static bool peers_whole(const struct control *c)
{
	control_each (c, p) {
		if (!p->link || !p->announced)
			return false;
		control_each (c, q)
			if (q != p && !p->peered[q->peer])
				return false;
	}
	return true;
}

void peers_settle(struct control *c)
{
	char path[700];

	if (!c->peering || !handoff_idle(c) || !peers_whole(c))
		return;
	snprintf(path, sizeof(path), "%s/" PEERS_MARK, c->cfg->run);
	unlink(path);
	c->peering = false;
}

bool peers_unsettled(struct control *c)
{
	char path[700];

	/* The mark stays until all are joined: this control process may die before that, too. */
	snprintf(path, sizeof(path), "%s/" PEERS_MARK, c->cfg->run);
	c->peering = access(path, F_OK) == 0;
	return c->peering;
}
