/* SPDX-License-Identifier: MIT */
/* Reading through a handle, with readahead; flush, holes and copies. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define WINDOW_MIN (512u * 1024)
#define STREAM_SLACK (3u * 1024 * 1024)
#define JOBS_MAX 24 /* fetches ahead at a time, all files */
#define COPY_MAX (1u << 30) /* by one call; the caller goes on */

struct ahead {
	struct content *k; /* reference */
	uint64_t off, len;
};

static void
ahead_run(void *job)
{
	struct ahead *a = job;
	struct cache *c = a->k->c;
	struct cache_ctx ctx = { .be.cancel = &c->stopping };

	ctx.be.uid = a->k->uid;
	ctx.be.gid = a->k->gid;
	/* A failure is the reader's to meet, if it comes that far. */
	content_fetch(a->k, &ctx, a->off, a->len);
	content_put(a->k);
	atomic_fetch_sub(&c->jobs, 1);
	free(a);
}

static void
ahead_start(struct content *k, uint64_t off, uint64_t len)
{
	struct cache *c = k->c;
	struct ahead *a = xcalloc(1, sizeof(*a));

	*a = (struct ahead){ .k = k, .off = off, .len = len };
	cache_lock(c);
	content_get_locked(k);
	cache_unlock(c);
	c->cfg.run(c->cfg.arg, ahead_run, a);
}

/* A stream's window doubles with each step; any jump closes it.  cfile.lock;
 * how much is to be fetched from cf->ahead on, or 0. */
static uint64_t
window_step_locked(struct cfile *cf, uint64_t off, size_t len, uint64_t limit)
{
	uint64_t end = off + len, step, to;

	/* The kernel's own readahead sends neighbouring reads, of 1 MiB each,
	 * out of order. */
	if (off > cf->next + STREAM_SLACK || off + STREAM_SLACK < cf->next) {
		cf->window = cf->ahead = 0;
		cf->next = end;
		return 0;
	}
	if (end <= cf->next)
		return 0;
	cf->next = end;
	/* Topped up by whole fetches, so that as many as may be are always
	 * under way. */
	step = cf->window < 2 * FETCH_MAX ? cf->window / 2 : FETCH_MAX;
	if (cf->ahead > end + cf->window - step)
		return 0;
	cf->window = cf->window ? cf->window * 2 : WINDOW_MIN;
	if (cf->window > cf->k->c->cfg.readahead)
		cf->window = cf->k->c->cfg.readahead;
	if (cf->ahead < end)
		cf->ahead = end;
	to = end + cf->window < limit ? end + cf->window : limit;
	if (to < limit && to - to % FETCH_MAX > cf->ahead)
		to -= to % FETCH_MAX;
	return to > cf->ahead ? to - cf->ahead : 0;
}

static void
ahead_step(struct cfile *cf, uint64_t off, size_t len)
{
	struct content *k = cf->k;
	struct cache *c = k->c;
	uint64_t limit, todo;
	bool partial;

	if (!c->cfg.run)
		return;
	pthread_mutex_lock(&k->lock);
	limit = k->clean_end;
	partial = k->fd >= 0;
	pthread_mutex_unlock(&k->lock);
	if (!partial)
		return;
	pthread_mutex_lock(&cf->lock);
	todo = window_step_locked(cf, off, len, limit);
	while (todo) {
		uint64_t whole = FETCH_MAX - cf->ahead % FETCH_MAX;
		uint64_t n = todo < whole ? todo : whole;

		if (!content_local(k, cf->ahead, n)) {
			if (atomic_fetch_add(&c->jobs, 1) >= JOBS_MAX) {
				atomic_fetch_sub(&c->jobs, 1);
				break;
			}
			ahead_start(k, cf->ahead, n);
		}
		cf->ahead += n;
		todo -= n;
	}
	pthread_mutex_unlock(&cf->lock);
}

int
cache_read(struct cfile *cf, struct cache_ctx *ctx, uint64_t off, void *p,
	   size_t len, size_t *got)
{
	int ret = content_read(cf->k, ctx, off, p, len, got);

	if (ret == 0 && *got)
		ahead_step(cf, off, *got);
	return ret;
}

int
cache_flush(struct cfile *cf, struct cache_ctx *ctx)
{
	return cache_open_changes(cf->flags) ? content_commit(cf->k, ctx) : 0;
}

int
cache_sync_name(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	return delay_flush(c, ctx, path, false);
}

int
cache_fsync(struct cfile *cf, struct cache_ctx *ctx)
{
	struct content *k = cf->k;
	_cleanup_free_ char *path = NULL;
	int ret = content_commit(k, ctx);

	pthread_mutex_lock(&k->lock);
	if (ret == 0 && !k->unlinked)
		path = xstrdup(k->path);
	pthread_mutex_unlock(&k->lock);
	return path ? cache_sync_name(k->c, ctx, path) : ret;
}

static int
zero_range(struct content *k, struct cache_ctx *ctx, uint64_t off,
	   uint64_t len)
{
	int ret;

	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	if (off >= k->attr.size) {
		pthread_mutex_unlock(&k->lock);
		return 0;
	}
	if (len > k->attr.size - off)
		len = k->attr.size - off;
	ret = content_stage_locked(k, ctx);
	if (ret == 0 && fallocate(k->fd, FALLOC_FL_PUNCH_HOLE |
					 FALLOC_FL_KEEP_SIZE, off, len) < 0)
		ret = -errno;
	if (ret == 0) {
		content_journal_change_locked(k);
		rangeset_add(&k->present, off, len);
		rangeset_add(&k->dirty, off, len);
		content_log_locked(k, off, len);
		early_wrote_locked(k, off, len);
		k->append_only = false;
		k->gen++;
		content_touch_locked(k);
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

int
cache_fallocate(struct cfile *cf, struct cache_ctx *ctx, int mode,
		uint64_t off, uint64_t len)
{
	struct content *k = cf->k;
	struct be_attr a;
	int ret;

	content_attr(k, &a);
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
		ret = store_private_room(k->c->store, len);
		if (ret == -ENOSPC)
			return err_set(ctx->be.err, ret, "no room in the cache");
		if (mode == 0 && off + len > a.size)
			ret = content_truncate(k, ctx, off + len);
		return ret < 0 ? ret : 0;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return zero_range(k, ctx, off, len);
	case FALLOC_FL_ZERO_RANGE:
		ret = zero_range(k, ctx, off, len);
		if (ret == 0 && off + len > a.size)
			ret = content_truncate(k, ctx, off + len);
		return ret < 0 ? ret : 0;
	default:
		return -EOPNOTSUPP;
	}
}

int
cache_lseek(struct cfile *cf, struct cache_ctx *ctx, uint64_t off, int whence,
	    uint64_t *out)
{
	struct be_attr a;

	content_attr(cf->k, &a);
	if (off >= a.size)
		return -ENXIO;
	/* All data, one hole at the end: always a right answer. */
	if (whence == SEEK_DATA)
		*out = off;
	else if (whence == SEEK_HOLE)
		*out = a.size;
	else
		return -EINVAL;
	return 0;
}

int
cache_copy_range(struct cfile *in, uint64_t in_off, struct cfile *out,
		 uint64_t out_off, size_t len, struct cache_ctx *ctx,
		 size_t *copied)
{
	size_t step = len < FETCH_MAX ? len : FETCH_MAX;
	_cleanup_free_ char *p = NULL;
	bool noted, same;
	size_t done = 0;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	if (len > COPY_MAX)
		len = COPY_MAX;
	noted = same = origin_begin(out->k, in->k, in_off, out_off);
	p = xmalloc(step);
	while (done < len) {
		size_t n = len - done < step ? len - done : step;
		size_t got;

		ret = cache_read(in, ctx, in_off + done, p, n, &got);
		if (ret == 0 && got)
			ret = cache_write(out, ctx, out_off + done, p, got,
					  false);
		if (ret < 0 || got == 0)
			break;
		same = same && origin_copied(out->k, in->k, p, got);
		done += got;
	}
	if (noted)
		origin_end(out->k, same);
	if (ret < 0 && done == 0)
		return ret;
	*copied = done;
	return 0;
}
