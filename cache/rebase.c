/* SPDX-License-Identifier: MIT */
/* Another node was faster, or an earlier attempt of our own had come through:
 * what is here is put onto what the store has (P9). */
#include <config.h>

#include "cache/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "common/xalloc.h"

/* Copies [from, from+len) of fd to `to`; the ranges may overlap. */
static int
shift(int fd, uint64_t from, uint64_t to, uint64_t len)
{
	size_t step = len < (1u << 20) ? len : (1u << 20);
	_cleanup_free_ char *p = xmalloc(step);
	uint64_t done = 0;

	while (done < len) {
		size_t n = len - done < step ? len - done : step;
		uint64_t at = to > from ? len - done - n : done;
		size_t got;
		int ret = read_all(fd, p, n, from + at, &got);

		if (ret == 0 && got < n)
			memset(p + got, 0, n - got);
		if (ret == 0)
			ret = io_write_all(fd, p, n, to + at);
		if (ret < 0)
			return ret;
		done += n;
	}
	return 0;
}

/* Our bytes were appended to a file that another node has changed (or made)
 * meanwhile: they now follow its end, so that nobody's are lost. */
static int
rebase_append_locked(struct content *k, const struct be_attr *now)
{
	uint64_t n = k->attr.size - k->append_at;
	int ret = shift(k->fd, k->append_at, now->size, n);

	if (ret == 0 && ftruncate(k->fd, now->size + n) < 0)
		ret = -errno;
	if (ret < 0)
		return ret;
	rangeset_clear(&k->present);
	rangeset_clear(&k->sending);
	rangeset_clear(&k->dirty);
	rangeset_add(&k->present, now->size, n);
	rangeset_add(&k->dirty, now->size, n);
	k->append_at = now->size;
	k->attr.size = now->size + n;
	return 0;
}

static void
not_sent_locked(struct content *k)
{
	rangeset_add_all(&k->dirty, &k->sending);
	rangeset_clear(&k->sending);
}

/* What we wrote goes over what is there now; the rest is the other node's. */
static void
rebase_over_locked(struct content *k, const struct be_attr *now)
{
	bool cut = k->clean_end < k->base_size;

	not_sent_locked(k);
	rangeset_copy(&k->present, &k->dirty);
	if (!cut && now->size > k->attr.size)
		k->attr.size = now->size;
	if (ftruncate(k->fd, k->attr.size) < 0)
		log_warn("cache", "truncate of a staging file: %m");
}

/* The same of a file that the kernel may be writing: its bytes can't be moved
 * about. */
static void
rebase_apart_locked(struct content *k)
{
	not_sent_locked(k);
	k->apart = k->racy = true;
}

static int
rebase(struct content *k, const struct be_attr *now)
{
	bool appended;
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	appended = k->append_only && !k->truncated;
	/* Until the next attempt writes down what holds then.  Else the bytes
	 * stay where the record says. */
	if (appended)
		content_journal_locked(k, JOURNAL_JOINING, NULL, 0, NULL);
	if (appended)
		ret = rebase_append_locked(k, now);
	else if (!k->truncated && k->exposed_rw)
		rebase_apart_locked(k);
	else if (!k->truncated)
		rebase_over_locked(k, now);
	if (ret == 0) {
		bool cut = k->in_store && k->clean_end < k->base_size;

		k->clean_bad = true; /* it is of the old version */
		k->base_gen++;
		k->gen++;
		k->in_store = true;
		k->reserved = false;
		k->base = now->ver;
		k->base_size = now->size;
		k->attr.ino = now->ino;
		k->clean_end = k->truncated	       ? 0 :
			       now->size < k->attr.size ? now->size :
			       k->apart && !cut	       ? now->size :
							  k->attr.size;
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* The file is gone.  Our bytes are all that is left of it. */
static int
recreate(struct content *k, struct cache_ctx *ctx)
{
	int ret = k->apart ? -ESTALE : content_complete(k, ctx);

	if (ret < 0)
		return err_set(ctx->be.err, -ESTALE,
			       "removed by another node while it was written,"
			       " and not all of it is here");
	pthread_mutex_lock(&k->lock);
	k->in_store = false;
	memset(&k->base, 0, sizeof(k->base));
	k->base_size = 0;
	k->truncated = true;
	k->clean_end = 0;
	pthread_mutex_unlock(&k->lock);
	return 0;
}

/* Has the store these bytes of ours at their place?  1: yes. */
static int
has_bytes(struct content *k, struct cache_ctx *ctx, const char *path,
	  const struct be_ver *ver, const struct range *r)
{
	size_t step = r->len < FETCH_MAX ? r->len : FETCH_MAX;
	_cleanup_free_ char *ours = xmalloc(step);
	_cleanup_free_ char *theirs = xmalloc(step);

	for (uint64_t done = 0; done < r->len;) {
		uint64_t left = r->len - done, there = 0;
		size_t n = left < step ? left : step, here = 0;
		struct be_sink_mem mem = { theirs, r->off + done, n };
		struct be_sink sink = be_sink_to_mem(&mem);
		int ret = be_read(k->c->be, &ctx->be, path, ver, r->off + done,
				  n, &sink, &there);

		if (ret == 0)
			ret = read_all(k->fd, ours, n, r->off + done, &here);
		if (ret < 0)
			return ret;
		if (here < n || there < n || memcmp(ours, theirs, n) != 0)
			return 0;
		done += n;
	}
	return 1;
}

/* All that was sent is in `now`, whose other bytes are another node's. */
static void
come_through_locked(struct content *k, const struct sending *s,
		    const struct be_attr *now)
{
	const unsigned set = BE_SET_MODE | BE_SET_UID | BE_SET_GID;
	bool still = k->gen == s->gen;

	rangeset_clear(&k->sending);
	/* (Its times are the other's.) */
	k->attr_dirty |= k->attr_sending & set;
	k->attr_sending = 0;
	k->commit_size = 0;
	k->in_store = true;
	k->truncated = k->reserved = false;
	k->clean_bad = true;
	k->base = now->ver;
	k->base_size = k->clean_end = now->size;
	k->base_gen++;
	k->gen++;
	expose_sent_locked(k);
	if (k->exposed_rw) {
		k->apart = k->racy = true;
	} else {
		rangeset_copy(&k->present, &s->dirty);
		rangeset_add_all(&k->present, &k->dirty);
		if (still || k->attr.size < now->size)
			k->attr.size = now->size;
		if (ftruncate(k->fd, k->attr.size) < 0)
			log_warn("cache", "truncate of a staging file: %m");
	}
	k->attr.ver = now->ver;
	k->attr.ino = now->ino;
	if (k->exposed_rw)
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	else if (!content_unsent_locked(k))
		content_settled_locked(k);
}

int
commit_has_come_through(struct content *k, struct cache_ctx *ctx, const char *path,
		 const struct sending *s)
{
	const struct be_commit *c = &s->commit;
	struct be_attr now;
	int ret;

	/* What was appended may be there twice by right. */
	if (c->append || c->size == 0 || !c->ndirty)
		return 0;
	ret = be_getattr(k->c->be, &ctx->be, path, BE_HINT_FILE, &now);
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return ret;
	if (!S_ISREG(now.mode) || now.size < c->size)
		return 0;
	for (size_t i = 0; i < c->ndirty; i++) {
		ret = has_bytes(k, ctx, path, &now.ver, &c->dirty[i]);
		if (ret <= 0)
			return ret == -ESTALE ? 0 : ret;
	}
	log_info("cache", "\"%s\": what was sent is there, and another node has"
		 " gone on from it", path);
	attr_set_own(k->c, path, &now);
	pthread_mutex_lock(&k->lock);
	come_through_locked(k, s, &now);
	pthread_mutex_unlock(&k->lock);
	return 1;
}

/* Is what the store has behind our base the beginning of what we append?
 * Nobody else commits k. */
static int
append_has_begun(struct content *k, struct cache_ctx *ctx, const char *path,
		 const struct be_attr *now)
{
	const uint64_t off = k->append_at;
	struct range behind = { off, now->size - off };

	if (now->size <= off || now->size > k->attr.size)
		return 0;
	return has_bytes(k, ctx, path, &now->ver, &behind);
}

int
commit_go_on_in_place(struct content *k, struct cache_ctx *ctx, const char *path)
{
	struct be_attr now;
	bool appends;
	int ret = be_getattr(k->c->be, &ctx->be, path, BE_HINT_FILE, &now);

	if (ret < 0 || !S_ISREG(now.mode))
		return ret < 0 ? ret : -ESTALE;
	pthread_mutex_lock(&k->lock);
	appends = k->append_only && !k->truncated;
	pthread_mutex_unlock(&k->lock);
	ret = appends ? append_has_begun(k, ctx, path, &now) : 0;
	if (ret < 0)
		return ret;
	if (ret > 0) {
		/* It stays where it is, and is not written behind itself. */
		pthread_mutex_lock(&k->lock);
		k->append_only = false;
		pthread_mutex_unlock(&k->lock);
	}
	log_info("cache", "\"%s\": a write in place is gone on with", path);
	return rebase(k, &now);
}

int
commit_conflict(struct content *k, struct cache_ctx *ctx, const char *path, int why)
{
	struct cache *c = k->c;
	struct be_attr now;
	bool appends, abandoned;
	int ret;

	pthread_mutex_lock(&k->lock);
	appends = k->append_only && !k->truncated;
	abandoned = k->abandoned || k->closed;
	pthread_mutex_unlock(&k->lock);
	if (k->exclusive && why == -EEXIST)
		return -EEXIST;
	atomic_fetch_add(&c->conflicts, 1);
	ret = be_getattr(c->be, &ctx->be, path, BE_HINT_NONE, &now);
	if (ret < 0 && ret != -ENOENT)
		return ret;
	log_warn("cache", "\"%s\": %s by another node while it was written here"
		 " (version %.*s, now %.*s)%s",
		 path, ret == -ENOENT ? "removed" : "changed",
		 k->base.len, k->base.b, ret == 0 ? now.ver.len : 0,
		 ret == 0 ? now.ver.b : "",
		 c->cfg.conflict_fail || abandoned ? "" :
						     "; the last close wins");
	/* Whoever wrote it was told that it failed, or was told nothing, and
	 * may have gone on by other means: what came since is newer. */
	if (abandoned && !(ret == 0 && appends))
		return err_set(ctx->be.err, -ESTALE,
			       "changed by another node since its close()"
			       " failed or was cut short; see sharedfs recover");
	if (c->cfg.conflict_fail && !(ret == 0 && appends))
		return err_set(ctx->be.err, -ESTALE,
			       "changed by another node since it was opened"
			       " (conflict=fail)");
	if (ret == -ENOENT)
		return recreate(k, ctx);
	if (!S_ISREG(now.mode))
		return err_set(ctx->be.err, -ESTALE,
			       "is no regular file any more");
	ret = rebase(k, &now);
	if (ret == 0 && c->cfg.changed)
		c->cfg.changed(c->cfg.arg, path, true);
	return ret;
}
