/* SPDX-License-Identifier: MIT */
/*
 * Parent + name -> slot of a node: open addressing with 8 bytes a bucket, since
 * there may be millions of nodes.  The key is in the name record.
 */
#include <config.h>

#include "fs/table-priv.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/xalloc.h"

uint32_t
index_hash(uint64_t parent, const char *name, size_t len)
{
	return (uint32_t)XXH3_64bits_withSeed(name, len, parent);
}

static bool
is_key(const struct table *t, uint32_t slot, uint64_t parent, const char *name,
       size_t len)
{
	uint32_t place = atomic_load_explicit(&t->nodes[slot].place,
					      memory_order_relaxed);
	const struct name *n = table_name_at(t, place);

	return place && n->parent == parent && n->len == len &&
	       memcmp(n->s, name, len) == 0;
}

uint32_t
index_find(const struct table *t, uint64_t parent, const char *name, size_t len,
	   uint32_t hash)
{
	size_t mask = t->nbuckets - 1;

	if (!t->nbuckets)
		return 0;
	for (size_t i = hash & mask; t->buckets[i].slot; i = (i + 1) & mask) {
		if (t->buckets[i].hash == hash &&
		    is_key(t, t->buckets[i].slot, parent, name, len))
			return t->buckets[i].slot;
	}
	return 0;
}

static void
put(struct index_bucket *v, size_t mask, struct index_bucket b)
{
	size_t i = b.hash & mask;

	while (v[i].slot)
		i = (i + 1) & mask;
	v[i] = b;
}

static void
grow(struct table *t)
{
	size_t n = t->nbuckets ? 2 * t->nbuckets : 1024;
	struct index_bucket *v = xcalloc(n, sizeof(*v));

	for (size_t i = 0; i < t->nbuckets; i++) {
		if (t->buckets[i].slot)
			put(v, n - 1, t->buckets[i]);
	}
	free(t->buckets);
	t->buckets = v;
	t->nbuckets = n;
}

void
index_add(struct table *t, uint32_t slot, uint32_t hash)
{
	if (4 * (t->nindexed + 1) > 3 * t->nbuckets)
		grow(t);
	put(t->buckets, t->nbuckets - 1, (struct index_bucket){ slot, hash });
	t->nindexed++;
}

void
index_del(struct table *t, uint32_t slot, uint32_t hash)
{
	size_t mask = t->nbuckets - 1, i = hash & mask, hole;

	while (t->buckets[i].slot != slot) {
		if (!t->buckets[i].slot)
			return;
		i = (i + 1) & mask;
	}
	t->nindexed--;
	/* Close the hole: whatever may stand in it moves up. */
	hole = i;
	for (;;) {
		size_t home;

		i = (i + 1) & mask;
		if (!t->buckets[i].slot)
			break;
		home = t->buckets[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			t->buckets[hole] = t->buckets[i];
			hole = i;
		}
	}
	t->buckets[hole].slot = 0;
}
