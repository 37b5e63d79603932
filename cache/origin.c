/* SPDX-License-Identifier: MIT */
/*
 * What a program copied here inside the mount (copy_file_range), from the
 * first byte of a clean file to its last, need not travel: the store has it
 * and copies it by itself.  The bytes are here all the same, since the program
 * may read and change them, and the source may be another file by then.  So
 * the copy is noted, and believed only by a commit that finds that nothing
 * else has happened to the bytes: by what was written through us, and by their
 * sums where the kernel writes without us.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>

#include "cache/store-record.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

/* A smaller one is sent as fast as it is copied, and by one request less. */
#define COPY_MIN (1u << 20)

struct origin {
	struct origin_of of;
	bool busy;     /* more is just being copied */
	uint64_t upto; /* copied, from the beginning */
	uint64_t gen;  /* the content's, when that was all that was done to it */
	uint64_t *sums; /* of its STORE_BLOCKs */
	uint64_t nsums;
};

void
origin_drop_locked(struct content *k)
{
	struct origin *o = k->origin;

	k->origin = NULL;
	if (!o)
		return;
	free(o->of.path);
	free(o->sums);
	free(o);
}

/* One version of the store's, and nothing else? */
static bool
is_clean_locked(const struct content *k)
{
	return k->in_store && !k->staged && !k->exposed_rw && !k->unlinked &&
	       !k->racy && be_ver_known(&k->base) &&
	       k->attr.size == k->base_size;
}

static bool
is_version(struct content *k, const struct be_ver *ver)
{
	bool same;

	pthread_mutex_lock(&k->lock);
	same = is_clean_locked(k) && be_ver_equal(&k->base, ver);
	pthread_mutex_unlock(&k->lock);
	return same;
}

/* A copy of `in` begins in the empty k, if it may be one of all of it. */
static void
begin(struct content *k, struct content *in)
{
	struct origin *o = xcalloc(1, sizeof(*o));
	bool clean;

	pthread_mutex_lock(&in->lock);
	clean = is_clean_locked(in) && in->base_size >= COPY_MIN;
	if (clean) {
		o->of.path = xstrdup(in->path);
		o->of.ver = in->base;
		o->of.size = in->base_size;
	}
	pthread_mutex_unlock(&in->lock);
	pthread_mutex_lock(&k->lock);
	origin_drop_locked(k);
	if (clean && k->attr.size == 0 && !k->unlinked) {
		o->gen = k->gen;
		k->origin = o;
		o = NULL;
	}
	pthread_mutex_unlock(&k->lock);
	if (o)
		free(o->of.path);
	free(o);
}

bool
origin_begin(struct content *k, struct content *in, uint64_t in_off,
	     uint64_t off)
{
	struct origin *o;
	bool fits;

	if (k == in || in_off != off || !k->c->be->caps.server_copy)
		return false;
	if (off == 0)
		begin(k, in);
	pthread_mutex_lock(&k->lock);
	o = k->origin;
	/* Two at a time, and nobody could tell who wrote what. */
	fits = o && !o->busy && o->upto == off && off % STORE_BLOCK == 0;
	if (fits)
		o->busy = true;
	else
		origin_drop_locked(k);
	pthread_mutex_unlock(&k->lock);
	return fits;
}

static uint64_t *
sums_of(const char *p, size_t len, uint64_t *n)
{
	uint64_t *sums;

	*n = record_blocks(len);
	sums = xcalloc(*n, sizeof(*sums));
	for (uint64_t i = 0; i < *n; i++) {
		size_t at = i * STORE_BLOCK;

		sums[i] = record_sum(p + at, len - at < STORE_BLOCK ?
						     len - at :
						     STORE_BLOCK);
	}
	return sums;
}

bool
origin_copied(struct content *k, struct content *in, const void *p, size_t len)
{
	_cleanup_free_ uint64_t *sums = NULL;
	struct be_ver ver = { 0 };
	struct origin *o;
	uint64_t n;
	bool fits;

	sums = sums_of(p, len, &n);
	pthread_mutex_lock(&k->lock);
	o = k->origin;
	/* Was that write the only one? */
	fits = o && o->gen + 1 == k->gen && o->upto % STORE_BLOCK == 0;
	if (fits) {
		o->sums = xrealloc(o->sums, o->nsums + n, sizeof(*sums));
		memcpy(o->sums + o->nsums, sums, n * sizeof(*sums));
		o->nsums += n;
		o->upto += len;
		o->gen = k->gen;
		ver = o->of.ver;
	}
	pthread_mutex_unlock(&k->lock);
	return fits && is_version(in, &ver);
}

void
origin_end(struct content *k, bool good)
{
	pthread_mutex_lock(&k->lock);
	if (k->origin)
		k->origin->busy = false;
	if (!good)
		origin_drop_locked(k);
	pthread_mutex_unlock(&k->lock);
}

bool
origin_is_all_locked(const struct content *k, uint64_t size)
{
	const struct origin *o = k->origin;

	return o && (o->busy || o->upto == size);
}

const struct origin_of *
origin_find_locked(const struct content *k, const struct be_commit *c)
{
	const struct be_caps *caps = &k->c->be->caps;
	const struct origin *o = k->origin;

	if (!o || o->busy || o->upto != o->of.size || o->upto != c->size ||
	    (!c->whole && c->base_size))
		return NULL;
	/* One PUT is compared with what it replaces. */
	if (!caps->conditional_copy && c->size <= caps->part_size)
		return NULL;
	if (!k->exposed_rw)
		return o->gen == k->gen ? &o->of : NULL;
	return k->scanned && k->nscanned == o->nsums &&
			       memcmp(k->scanned, o->sums,
				      o->nsums * sizeof(*o->sums)) == 0 ?
		       &o->of :
		       NULL;
}
