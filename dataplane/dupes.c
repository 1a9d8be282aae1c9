/* SPDX-License-Identifier: Apache-2.0 */
/* dupes.c - the duplicate tables. One writer each (its core), read by every core of the hub; never allocates later. */
#include "dupes.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DUPES_BUCKET_BYTES (sizeof(uint64_t) + DUPES_SLOTS * sizeof(struct dupes_entry))
#define DUPES_NEXT_SHIFT   (8 * DUPES_WAYS) /* the filter word's top byte: the entry that gives way next */

static void dupes_set(struct dupes *d, void *p, uint32_t buckets, int fd)
{
	*d = (struct dupes){.table = p, .entry = (struct dupes_entry *)((uint64_t *)p + buckets), .buckets = buckets, .fd = fd};
}

int dupes_create(uint32_t entries, struct dupes *ret)
{
	uint32_t buckets = entries / DUPES_SLOTS;
	size_t bytes = buckets * DUPES_BUCKET_BYTES;
	int fd = memfd_create("millrace-duplicates", MFD_CLOEXEC), r;
	void *p;

	must(entries >= DUPES_SLOTS && (entries & (entries - 1)) == 0);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    (p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		r = -errno;
		close(fd);
		return r;
	}
	dupes_set(ret, p, buckets, fd);
	return 0;
}

int dupes_map(int fd, struct dupes *ret)
{
	struct stat st;
	uint64_t buckets;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	buckets = (uint64_t)st.st_size / DUPES_BUCKET_BYTES;
	if (!buckets || buckets > (1u << 27) || (buckets & (buckets - 1)))
		return -EPROTO;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	dupes_set(ret, p, (uint32_t)buckets, -1);
	return 0;
}

void dupes_destroy(struct dupes *d)
{
	if (d->table)
		munmap(d->table, d->buckets * DUPES_BUCKET_BYTES);
	if (d->fd >= 0)
		close(d->fd);
	*d = (struct dupes){.fd = -1};
}

/* 1..255: a filter byte of 0 is an entry never used. The bucket comes from the low bits, the tag from the high ones. */
static uint64_t dupes_tag(uint64_t hash)
{
	return 1 + (hash >> 56) % 255;
}

void dupes_insert(struct dupes *d, uint64_t hash, uint64_t position)
{
	uint32_t b = (uint32_t)(hash & (d->buckets - 1));
	uint64_t word = mr_load_relaxed(&d->table[b]), way = word >> DUPES_NEXT_SHIFT;
	struct dupes_entry *e = &d->entry[(size_t)b * DUPES_SLOTS + way];

	mr_store(&e->hash, 0); /* readers never see one message's hash with another's position */
	mr_store(&e->position, position);
	mr_store(&e->hash, hash);
	word &= ~(0xffull << (8 * way) | 0xffull << DUPES_NEXT_SHIFT);
	word |= dupes_tag(hash) << (8 * way) | ((way + 1) % DUPES_WAYS) << DUPES_NEXT_SHIFT;
	mr_store(&d->table[b], word);
}

uint32_t dupes_find(const struct dupes *d, uint64_t hash, uint64_t ret_position[DUPES_WAYS])
{
	uint32_t b = (uint32_t)(hash & (d->buckets - 1)), n = 0;
	uint64_t word = mr_load(&d->table[b]), tag = dupes_tag(hash);

	for (uint32_t i = 0; i < DUPES_WAYS; i++, word >>= 8) {
		const struct dupes_entry *e = &d->entry[(size_t)b * DUPES_SLOTS + i];
		uint64_t position;

		if ((word & 0xff) != tag || mr_load(&e->hash) != hash)
			continue;
		position = mr_load(&e->position);
		if (mr_load(&e->hash) == hash)
			ret_position[n++] = position;
	}
	return n;
}
