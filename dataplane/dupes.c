/* SPDX-License-Identifier: Apache-2.0 */
/* dupes.c - the duplicate tables. One writer each (its core), read by every core of the hub; never allocates later. */
#include "dupes.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int dupes_create(uint32_t entries, struct dupes *ret)
{
	size_t bytes = (size_t)entries * sizeof(struct dupes_entry);
	int fd = memfd_create("millrace-duplicates", MFD_CLOEXEC), r;
	void *p;

	must(entries >= DUPES_WAYS && (entries & (entries - 1)) == 0);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    (p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret = (struct dupes){.table = p, .buckets = entries / DUPES_WAYS, .fd = fd};
	return 0;
}

int dupes_map(int fd, struct dupes *ret)
{
	struct stat st;
	uint64_t entries;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	entries = (uint64_t)st.st_size / sizeof(struct dupes_entry);
	if (entries < DUPES_WAYS || entries > (1u << 30) || (entries & (entries - 1)))
		return -EPROTO;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct dupes){.table = p, .buckets = (uint32_t)(entries / DUPES_WAYS), .fd = -1};
	return 0;
}

void dupes_destroy(struct dupes *d)
{
	if (d->table)
		munmap(d->table, (size_t)d->buckets * DUPES_WAYS * sizeof(struct dupes_entry));
	if (d->fd >= 0)
		close(d->fd);
	*d = (struct dupes){.fd = -1};
}

void dupes_insert(struct dupes *d, uint64_t hash, uint64_t position)
{
	struct dupes_entry *e = d->table + (hash & (d->buckets - 1)) * DUPES_WAYS, *oldest = e;

	for (uint32_t i = 0; i < DUPES_WAYS; i++) {
		if (e[i].hash == 0) {
			oldest = &e[i];
			break;
		}
		if (e[i].position < oldest->position)
			oldest = &e[i];
	}
	mr_store(&oldest->hash, 0); /* readers never see one message's hash with another's position */
	mr_store(&oldest->position, position);
	mr_store(&oldest->hash, hash);
}

uint32_t dupes_find(const struct dupes *d, uint64_t hash, uint64_t ret_position[DUPES_WAYS])
{
	const struct dupes_entry *e = d->table + (hash & (d->buckets - 1)) * DUPES_WAYS;
	uint32_t n = 0;

	for (uint32_t i = 0; i < DUPES_WAYS; i++)
		if (mr_load(&e[i].hash) == hash) {
			uint64_t p = mr_load(&e[i].position);

			if (mr_load(&e[i].hash) == hash)
				ret_position[n++] = p;
		}
	return n;
}
