/* SPDX-License-Identifier: Apache-2.0 */
/* mr_ring.c - mapping a ring that the control plane passed. Used by workers and connectors when a peer comes; never later. */
#include "mr_ring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

int mr_ring_map(int fd, struct mr_ring **ret, size_t *ret_bytes)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct mr_ring))
		return -EPROTO;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (!mr_ring_valid(p, (size_t)st.st_size)) {
		munmap(p, (size_t)st.st_size);
		return -EPROTO;
	}
	*ret = p;
	*ret_bytes = (size_t)st.st_size;
	return 0;
}
