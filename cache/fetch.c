/* SPDX-License-Identifier: MIT */
/* Reading a content: which bytes are here, and how the missing ones come, one
 * fetch of a range at a time (C8). */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/xalloc.h"

#define FETCH_LONG (4 * FETCH_MAX) /* of what is wanted whole */

int
read_all(int fd, void *p, size_t len, uint64_t off, size_t *got)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(fd, (char *)p + have, len - have, off + have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += n;
	}
	*got = have;
	return 0;
}

/* The first flight that overlaps r. */
static struct flight *
flight_over_locked(struct content *k, struct range r)
{
	struct flight *f;

	LIST_FOREACH(f, &k->flights, link)
	{
		if (f->r.off < r.off + r.len && r.off < f->r.off + f->r.len)
			return f;
	}
	return NULL;
}

int
content_wait_locked(struct content *k, struct cache_ctx *ctx)
{
	struct timespec until =
		ns_timespec(clock_mono_ns() + 100 * NSEC_PER_MSEC);

	pthread_cond_timedwait(&k->cond, &k->lock, &until);
	return be_must_stop(&ctx->be);
}

/* Rounds a gap to blocks, within what the base still has, and off the ranges
 * that somebody else is fetching. */
static struct range
flight_range_locked(struct content *k, struct range gap, uint64_t max)
{
	uint64_t from = gap.off / FETCH_BLOCK * FETCH_BLOCK;
	uint64_t to = (gap.off + gap.len + FETCH_BLOCK - 1) / FETCH_BLOCK *
		      FETCH_BLOCK;
	struct flight *f;

	if (to > from + max)
		to = from + max;
	if (to > k->clean_end)
		to = k->clean_end;
	LIST_FOREACH(f, &k->flights, link)
	{
		if (f->r.off + f->r.len <= gap.off &&
		    f->r.off + f->r.len > from)
			from = f->r.off + f->r.len;
		if (f->r.off > gap.off && f->r.off < to)
			to = f->r.off;
	}
	return (struct range){ from, to - from };
}

int
content_base_read(struct content *k, struct cache_ctx *ctx, const char *path,
	  const struct be_ver *ver, struct range r, const struct be_sink *sink)
{
	uint64_t got = 0;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	ret = be_read(k->c->be, &ctx->be, path, ver, r.off, r.len, sink, &got);
	if (ret == 0 && got != r.len)
		ret = err_set(ctx->be.err, -ESTALE,
			      "the file became shorter while it was read");
	return ret;
}

/* Puts fetched bytes where nothing is yet: what was written meanwhile stays. */
static int
fill_locked(struct content *k, struct range r, const char *p)
{
	uint64_t end = r.off + r.len;
	uint64_t off = r.off;
	struct range gap;

	if (end > k->clean_end)
		end = k->clean_end; /* truncated meanwhile */
	while (off < end && rangeset_gap(&k->present, off, end - off, &gap)) {
		int ret = io_write_all(k->fd, p + (gap.off - r.off), gap.len,
				    gap.off);

		if (ret < 0) {
			k->no_fill = true;
			store_private_fault(k->c->store, true, ret);
			return ret;
		}
		k->no_fill = false;
		rangeset_add(&k->present, gap.off, gap.len);
		off = gap.off + gap.len;
	}
	return 0;
}

/* Bytes on their way into fd; a reader has them as soon as they are there. */
struct filling {
	struct content *k;
	uint64_t base_gen;
};

static int
fill_write(void *arg, const void *data, size_t len, uint64_t off)
{
	struct filling *f = arg;
	struct content *k = f->k;
	int ret = -ESTALE;

	pthread_mutex_lock(&k->lock);
	/* A commit of our own changes none of the clean bytes. */
	if (f->base_gen == k->base_gen)
		ret = fill_locked(k, (struct range){ off, len }, data);
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* r of the base version, to where it is missing. */
static int
fetch_range(struct content *k, struct cache_ctx *ctx, const char *path,
	    struct store_file *clean, const struct be_ver *ver, struct range r,
	    uint64_t base_gen)
{
	struct filling f = { k, base_gen };
	struct be_sink_mem mem = { .base = r.off, .cap = r.len };
	struct be_sink straight = { fill_write, &f };
	struct be_sink held = be_sink_to_mem(&mem);
	_cleanup_free_ char *p = NULL;
	size_t n;
	int ret;

	if (!clean && k->c->be->caps.sound_reads)
		return content_base_read(k, ctx, path, ver, r, &straight);
	mem.p = p = xmalloc(r.len);
	if (clean && store_read(clean, r.off, p, r.len, &n) == 0 && n == r.len)
		return fill_write(&f, p, n, r.off);
	if (clean) {
		pthread_mutex_lock(&k->lock);
		k->clean_bad = true;
		pthread_mutex_unlock(&k->lock);
	}
	ret = content_base_read(k, ctx, path, ver, r, &held);
	return ret == 0 ? fill_write(&f, p, r.len, r.off) : ret;
}

int
content_fetch(struct content *k, struct cache_ctx *ctx, uint64_t off,
	      uint64_t len)
{
	/* What is held in memory until it is whole is not more than that. */
	uint64_t max = len > FETCH_MAX && k->c->be->caps.sound_reads ?
			       FETCH_LONG : FETCH_MAX;
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	while (ret == 0) {
		uint64_t end = off + len < k->clean_end ? off + len :
							  k->clean_end;
		struct flight f;
		struct range gap;
		struct store_file *clean;
		struct be_ver ver;
		uint64_t base_gen;
		_cleanup_free_ char *path = NULL;

		if (off >= end || !rangeset_gap(&k->present, off, end - off,
						&gap))
			break;
		clean = k->clean_bad ? NULL : k->clean;
		if (flight_over_locked(k, (struct range){ gap.off, 1 })) {
			ret = must_not_block(ctx);
			if (ret == 0)
				ret = content_wait_locked(k, ctx); /* C8 */
			continue;
		}
		if (!clean && ctx->try_only) {
			ret = -EAGAIN;
			break;
		}
		f.r = flight_range_locked(k, gap, clean ? FETCH_MAX : max);
		LIST_INSERT_HEAD(&k->flights, &f, link);
		path = xstrdup(k->path);
		ver = k->base;
		base_gen = k->base_gen;
		pthread_mutex_unlock(&k->lock);

		ret = fetch_range(k, ctx, path, clean, &ver, f.r, base_gen);

		pthread_mutex_lock(&k->lock);
		LIST_REMOVE(&f, link);
		pthread_cond_broadcast(&k->cond);
		/* It may be our own doing; the commit itself is told. */
		if (ret == -ESTALE && k->committing &&
		    !pthread_equal(k->committer, pthread_self()))
			ret = content_wait_locked(k, ctx);
		else if (ret == -ESTALE && (base_gen != k->base_gen ||
					    !be_ver_equal(&ver, &k->base)))
			ret = 0;
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

bool
content_local_locked(struct content *k, uint64_t off, uint64_t len)
{
	uint64_t end = off + len < k->clean_end ? off + len : k->clean_end;

	return off >= end || rangeset_has(&k->present, off, end - off);
}

bool
content_local(struct content *k, uint64_t off, uint64_t len)
{
	bool local;

	pthread_mutex_lock(&k->lock);
	local = k->fd < 0 ? k->clean && !k->clean_bad :
			    content_local_locked(k, off, len);
	pthread_mutex_unlock(&k->lock);
	return local;
}

int
content_read(struct content *k, struct cache_ctx *ctx, uint64_t off, void *p,
	     size_t len, size_t *got)
{
	struct cache *c = k->c;
	struct store_file *clean = NULL;
	bool counted = false, local, gone;
	int fd, ret;

	for (;;) {
		pthread_mutex_lock(&k->lock);
		expose_refresh_locked(k);
		if (off >= k->attr.size) {
			pthread_mutex_unlock(&k->lock);
			*got = 0;
			return 0;
		}
		if (len > k->attr.size - off)
			len = k->attr.size - off;
		fd = k->fd;
		clean = fd < 0 && !k->clean_bad ? k->clean : NULL;
		local = fd >= 0 && content_local_locked(k, off, len);
		gone = local && content_gone_locked(k);
		pthread_mutex_unlock(&k->lock);

		if (!counted && (local || clean))
			atomic_fetch_add(&c->hits, 1);
		else if (!counted && !ctx->try_only)
			atomic_fetch_add(&c->misses, 1);
		counted = true;
		if (clean) {
			if (store_read(clean, off, p, len, got) == 0)
				return 0;
			pthread_mutex_lock(&k->lock);
			k->clean_bad = true;
			pthread_mutex_unlock(&k->lock);
			continue;
		}
		if (local)
			break;
		ret = fd < 0 ? content_backing_new(k, false) : 0;
		if (ret < 0) {
			ret = must_not_block(ctx);
			return ret < 0 ? ret :
					 content_read_through(k, ctx, off, p,
							      len, got);
		}
		ret = content_fetch(k, ctx, off, len);
		/* A disk that takes nothing: reads go on without it. */
		if (ret < 0 && content_no_fill(k))
			return content_read_through(k, ctx, off, p, len, got);
		if (ret < 0)
			return ret;
	}
	/* fd lives as long as the content does */
	ret = gone ? -EIO : read_all(fd, p, len, off, got);
	if (ret < 0 && content_unreadable(k, off, len, ret))
		return content_read_through(k, ctx, off, p, len, got);
	if (ret == 0 && *got < len) {
		/* the file ends in a hole that was never written */
		memset((char *)p + *got, 0, len - *got);
		*got = len;
	}
	return ret;
}

int
content_complete(struct content *k, struct cache_ctx *ctx)
{
	int ret;

	pthread_mutex_lock(&k->lock);
	if (k->fd < 0 && k->clean && !k->clean_bad) {
		pthread_mutex_unlock(&k->lock);
		return 0;
	}
	ret = k->fd < 0 ? content_backing_new_locked(k, false) : 0;
	pthread_mutex_unlock(&k->lock);
	if (ret < 0)
		return ret;
	return content_fetch(k, ctx, 0, UINT64_MAX / 2);
}
