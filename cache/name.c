/* SPDX-License-Identifier: MIT */
/* Names: lookup, attributes, and everything that makes, moves or removes. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#define RETRIES 8 /* of a change whose version moved under it */

/* Open here with bytes that the store has not: it is what a stat shows. */
static bool
pending_attr(struct cache *c, const char *path, struct be_attr *out)
{
	struct content *k = content_find(c, path);
	bool pending;

	if (!k)
		return false;
	pending = content_unsent(k);
	if (pending)
		content_attr(k, out);
	content_put(k);
	return pending;
}

static int
look(struct cache *c, struct cache_ctx *ctx, const char *path,
     struct be_attr *out, struct cache_life *life)
{
	int64_t until = 0;
	int ret;

	life->entry_ns = life->attr_ns = c->cfg.actimeo_ns;
	if (pending_attr(c, path, out))
		return 0;
	ret = attr_get(c, ctx, path, out, &until);
	if (ret == 0) {
		int64_t left = until - clock_mono_ns();

		life->entry_ns = life->attr_ns = left > 0 ? left : 0;
	} else if (ret == -ENOENT) {
		int64_t left = until - clock_mono_ns();

		life->entry_ns = c->cfg.negative_ns && left > 0 ? left : 0;
	}
	return ret;
}

/* Has it been opened before, or brought along to be, and may only be opened after
 * asking?  Then the answer is for the open that this lookup may be part of. */
static bool
for_open(struct cache *c, const struct cache_ctx *ctx, const char *path,
	 const struct be_attr *a)
{
	return ctx->walker && ctx->asked && atomic_load(&c->cfg.cto) &&
	       S_ISREG(a->mode) && !(a->flags & BE_ATTR_RACY) &&
	       (ctx->brought || attr_had_pages(c, path, &a->ver));
}

int
cache_lookup(struct cache *c, struct cache_ctx *ctx, const char *path,
	     struct be_attr *out, struct cache_life *life)
{
	bool once = false;
	int ret;

	ctx->asked = ctx->brought = false;
	ret = look(c, ctx, path, out, life);
	if (c->be->caps.random_write)
		return ret;
	if (ret == 0)
		once = for_open(c, ctx, path, out);
	if (once) {
		life->entry_ns = 0;
		cache_lock(c);
		asked_put_locked(c, path, ctx->walker, &out->ver);
		cache_unlock(c);
	}
	return ret;
}

int
cache_getattr(struct cache *c, struct cache_ctx *ctx, const char *path,
	      struct cfile *cf, struct be_attr *out, struct cache_life *life)
{
	bool own = false;

	life->entry_ns = life->attr_ns = c->cfg.actimeo_ns;
	if (cf) {
		cache_lock(c);
		own = !cf->k->current;
		cache_unlock(c);
		own = own || content_unsent(cf->k);
	}
	if (own || (cf && !path)) {
		content_attr(cf->k, out);
		return 0;
	}
	return look(c, ctx, path, out, life);
}

void
name_relabel(struct cache *c, const char *path, const struct be_ver *from,
	const struct be_attr *to)
{
	struct content *k = content_find(c, path);

	if (!be_ver_equal(from, &to->ver) && !(to->flags & BE_ATTR_RACY))
		store_rekey(c->store, path, from, path, &to->ver);
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	if (be_ver_equal(&k->base, from)) {
		k->base = to->ver;
		k->racy = k->racy || (to->flags & BE_ATTR_RACY);
		if (!content_unsent_locked(k))
			k->attr = *to;
		/* Or the next worker takes our own change for a foreign one. */
		if (k->journaled && !k->committing && !k->failed)
			content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	}
	pthread_mutex_unlock(&k->lock);
	content_put(k);
}

static int
setattr_store(struct cache *c, struct cache_ctx *ctx, const char *path,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	struct be_cond cond = { .pre = BE_ANY };
	struct be_attr now, want = *attr;
	struct be_opid opid;
	struct key key;
	int64_t until;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	want.ctime = clock_wall();
	mask |= BE_SET_CTIME;
	ret = key_lock(&c->keys, &key, path, false, &ctx->be);
	if (ret < 0)
		return ret;
	delay_take(c, path, &mask, &want);
	for (int i = 0; i < RETRIES; i++) {
		if (i)
			ret = be_getattr(c->be, &ctx->be, path, BE_HINT_NONE,
					 &now);
		else if (!attr_peek(c, path, &now))
			ret = attr_get(c, ctx, path, &now, &until);
		if (ret < 0)
			break;
		if (S_ISREG(now.mode) && be_ver_known(&now.ver))
			cond = (struct be_cond){ BE_MATCH, now.ver };
		/* A store may ask first for what it probably is. */
		want.mode = (want.mode & 07777) | (now.mode & S_IFMT);
		if ((mask & (BE_SET_UID | BE_SET_GID)) &&
		    !(mask & BE_SET_MODE) &&
		    attr_without_priv(now.mode) != now.mode) {
			mask |= BE_SET_MODE;
			want.mode = attr_without_priv(now.mode);
		}
		be_opid_new(&opid);
		ret = be_setattr(c->be, &ctx->be, path, &cond, &opid, mask,
				 &want, out);
		if (ret != -ESTALE)
			break;
	}
	if (ret == 0) {
		delay_drop(c, path);
		if (cond.pre == BE_MATCH)
			name_relabel(c, path, &cond.ver, out);
		attr_set_own(c, path, out);
	}
	attr_doubt(c, ctx, path, ret);
	key_unlock(&c->keys, &key);
	return ret;
}

/* On bytes that are still here: what may ride on their commit does. */
static unsigned
setattr_staged(struct content *k, unsigned mask, const struct be_attr *attr)
{
	unsigned ride = 0;

	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	if (k->unlinked ||
	    (content_unsent_locked(k) && (!k->in_store || k->reserved)))
		ride = mask;
	else if (content_unsent_locked(k))
		ride = mask & (BE_SET_ATIME | BE_SET_MTIME);
	be_attr_apply(&k->attr, ride, attr);
	if ((ride & (BE_SET_UID | BE_SET_GID)) && !(mask & BE_SET_MODE)) {
		k->attr.mode = attr_without_priv(k->attr.mode);
		ride |= BE_SET_MODE;
	}
	if (ride) {
		k->attr.ctime = clock_wall();
		k->attr_dirty |= ride;
		if (k->unlinked ? k->kept : !k->committing)
			content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	}
	pthread_mutex_unlock(&k->lock);
	return mask & ~ride;
}

/* 1: as content_truncate(). */
static int
truncate_path(struct cache *c, struct cache_ctx *ctx, const char *path,
	      uint64_t size)
{
	struct cfile *cf;
	bool keep;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	ret = cache_open(c, ctx, path, size ? O_WRONLY : O_WRONLY | O_TRUNC,
			 &cf, &keep);
	if (ret < 0)
		return ret;
	ret = content_truncate(cf->k, ctx, size);
	if (ret == 0 || size == 0)
		ret = cache_flush(cf, ctx);
	cache_release(cf, ctx);
	return ret;
}

int
cache_setattr(struct cache *c, struct cache_ctx *ctx, const char *path,
	      struct cfile *cf, unsigned mask, const struct be_attr *attr,
	      struct be_attr *out)
{
	struct cache_life life;
	struct content *k = cf ? cf->k : NULL;
	unsigned rest = mask & ~CACHE_SET_SIZE;
	struct be_attr touched;
	bool soft = false;
	int ret = 0;

	if (!cf && path)
		k = content_find(c, path);
	if (mask & CACHE_SET_SIZE) {
		if (cf)
			ret = content_truncate(k, ctx, attr->size);
		else
			ret = truncate_path(c, ctx, path, attr->size);
	}
	if (ret == 1) { /* O.11: the time changes all the same */
		soft = rest == 0;
		touched = *attr;
		if (!(rest & BE_SET_MTIME))
			touched.mtime = clock_wall();
		rest |= BE_SET_MTIME;
		attr = &touched;
		ret = 0;
	}
	if (ret == 0 && rest && k)
		rest = setattr_staged(k, rest, attr);
	if (ret == 0 && rest) {
		/* A directory's own time beats the one that names have left. */
		if ((rest & BE_SET_MTIME) && path)
			dirtimes_drop(c, path, false);
		ret = delay_put(c, ctx, path, k, rest, attr, out);
		if (ret <= 0)
			goto out;
		ret = setattr_store(c, ctx, path, rest, attr, out);
		if (ret == 0 && path) {
			cache_lock(c);
			dirtimes_overlay_locked(c, path, out);
			cache_unlock(c);
		}
		if (ret == 0 && k && content_unsent(k)) {
			pthread_mutex_lock(&k->lock);
			k->attr.mode = out->mode;
			k->attr.uid = out->uid;
			k->attr.gid = out->gid;
			k->attr.ctime = out->ctime;
			*out = k->attr;
			pthread_mutex_unlock(&k->lock);
		}
	} else if (ret == 0) {
		ret = cache_getattr(c, ctx, path, cf, out, &life);
	}
out:
	/* Who may write need not be the owner. */
	if (soft && (ret == -EPERM || ret == -EACCES))
		ret = cache_getattr(c, ctx, path, cf, out, &life);
	if (!cf && k)
		content_put(k);
	return ret;
}

/* Serial with other changes of the path; call uses `opid`. */
#define WITH_KEY(c, ctx, path, ret, call)                                      \
	do {                                                                   \
		struct key key_;                                               \
									       \
		ret = must_not_block(ctx);                                     \
		if (ret < 0)                                                   \
			break;                                                 \
		ret = key_lock(&(c)->keys, &key_, path, false, &(ctx)->be);    \
		if (ret < 0)                                                   \
			break;                                                 \
		once_begin(ctx, &opid);                                        \
		ret = once_end(ctx, (call));                                   \
		key_unlock(&(c)->keys, &key_);                                 \
	} while (0)

int
cache_mkdir(struct cache *c, struct cache_ctx *ctx, const char *path,
	    mode_t mode, struct be_attr *out)
{
	int64_t asked_ns = clock_mono_ns();
	uint64_t asked = epoch_now(c);
	struct be_opid opid;
	struct be_attr a;
	int ret;

	attr_new(c, ctx, path, S_IFDIR | (mode & 07777), &a);
	WITH_KEY(c, ctx, path, ret,
		 be_mkdir(c->be, &ctx->be, path, &a, &opid, out));
	if (ret == 0) {
		delay_drop(c, path);
		attr_made_own(c, path, out);
		/* Nothing was there, so nothing is in it. */
		names_listed(c, path, names_set_new(c), asked, asked_ns);
	}
	return attr_doubt(c, ctx, path, ret);
}

int
cache_mknod(struct cache *c, struct cache_ctx *ctx, const char *path,
	    mode_t mode, dev_t rdev, struct be_attr *out)
{
	struct be_opid opid;
	struct be_attr a;
	int ret;

	if (S_ISCHR(mode) || S_ISBLK(mode))
		return err_set(ctx->be.err, -EPERM, "no device nodes on a share");
	if (!S_ISREG(mode) && !c->be->caps.special)
		return err_set(ctx->be.err, -EPERM,
			       "the store has no such kind of file");
	attr_new(c, ctx, path, mode, &a);
	a.rdev = rdev;
	WITH_KEY(c, ctx, path, ret,
		 be_create(c->be, &ctx->be, path, &a, &opid, out));
	if (ret == 0) {
		delay_drop(c, path);
		attr_made_own(c, path, out);
	}
	return attr_doubt(c, ctx, path, ret);
}

int
cache_symlink(struct cache *c, struct cache_ctx *ctx, const char *path,
	      const char *target, struct be_attr *out)
{
	struct be_opid opid;
	struct be_attr a;
	int ret;

	attr_new(c, ctx, path, S_IFLNK | 0777, &a);
	WITH_KEY(c, ctx, path, ret,
		 be_symlink(c->be, &ctx->be, path, target, &a, &opid, out));
	if (ret == 0) {
		delay_drop(c, path);
		attr_made_own(c, path, out);
	}
	return attr_doubt(c, ctx, path, ret);
}

int
cache_readlink(struct cache *c, struct cache_ctx *ctx, const char *path,
	       char **target)
{
	int ret = must_not_block(ctx);

	return ret < 0 ? ret : be_readlink(c->be, &ctx->be, path, target);
}

/* An object must exist before it can be linked, renamed or given xattrs. */
int
name_make_real(struct cache *c, struct cache_ctx *ctx, const char *path,
	       bool all)
{
	struct content *k = content_find(c, path);
	bool commit;
	int ret = 0;

	if (!k)
		return 0;
	pthread_mutex_lock(&k->lock);
	commit = content_unsent_locked(k) && (all || !k->in_store);
	pthread_mutex_unlock(&k->lock);
	if (commit)
		ret = content_commit(k, ctx);
	content_put(k);
	return ret;
}

int
cache_link(struct cache *c, struct cache_ctx *ctx, const char *from,
	   const char *to, struct be_attr *out)
{
	struct key a, b;
	struct before before;
	struct be_opid opid; /* links have none; only "again" is of use */
	int ret = must_not_block(ctx);

	if (!c->be->caps.hard_links)
		return -EPERM;
	if (ret == 0)
		ret = name_make_real(c, ctx, from, true);
	if (ret == 0)
		ret = key_lock2(&c->keys, &a, from, &b, to, false, &ctx->be);
	if (ret < 0)
		return ret;
	look_before(c, ctx, from, &before);
	once_begin(ctx, &opid);
	ret = once_end(ctx, be_link(c->be, &ctx->be, from, to, out));
	if (ret == 0) {
		moved_version(c, from, from, &before, out);
		attr_set_own(c, from, out);
		attr_made_own(c, to, out);
	}
	attr_doubt(c, ctx, from, ret);
	attr_doubt(c, ctx, to, ret);
	key_unlock(&c->keys, &b);
	key_unlock(&c->keys, &a);
	return ret;
}

static int
unlink_store(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct be_cond cond = { .pre = BE_ANY };
	struct be_opid opid;
	struct be_attr now = { 0 };
	int ret = 0;

	for (int i = 0; i < RETRIES; i++) {
		bool known = i ? false : attr_peek(c, path, &now);

		if (i) {
			ret = be_getattr(c->be, &ctx->be, path, BE_HINT_NONE,
					 &now);
			known = ret == 0;
			if (ret < 0)
				return ret;
		}
		if (once_again(ctx)) {
			known = be_ver_known(&ctx->once->ver);
			now.mode = S_IFREG;
			now.ver = ctx->once->ver;
		}
		if (known && S_ISREG(now.mode) && be_ver_known(&now.ver))
			cond = (struct be_cond){ BE_MATCH, now.ver };
		if (ctx->once)
			ctx->once->ver = cond.ver;
		once_begin(ctx, &opid);
		ret = once_end(ctx, be_unlink(c->be, &ctx->be, path, &cond,
					      &opid));
		if (ret == -ESTALE && once_again(ctx))
			return 0; /* what is there now came after it */
		if (ret != -ESTALE)
			return ret;
	}
	return ret;
}

int
cache_unlink(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct content *k;
	struct key key;
	bool real = true;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	ret = key_lock(&c->keys, &key, path, false, &ctx->be);
	if (ret < 0)
		return ret;
	k = content_find(c, path);
	if (k) {
		pthread_mutex_lock(&k->lock);
		real = k->in_store;
		pthread_mutex_unlock(&k->lock);
		ret = content_prepare_unlink(k, ctx);
	}
	if (ret == 0 && real)
		ret = unlink_store(c, ctx, path);
	if (ret == 0 || ret == -ENOENT) {
		if (k)
			content_unlinked(k);
		content_strays_unlinked(c, path);
		delay_drop(c, path);
		attr_gone_own(c, path);
	}
	attr_doubt(c, ctx, path, ret);
	if (k)
		content_put(k);
	key_unlock(&c->keys, &key);
	return ret;
}

/* A file that is created but not yet sent is in its directory all the same. */
bool
name_unsent_below(struct cache *c, const char *dir)
{
	struct content *k;
	bool busy = false;

	cache_lock(c);
	for (k = c->contents; k && !busy; k = k->hh.next)
		busy = path_within(k->path, dir) &&
		       strcmp(k->path, dir) != 0 && content_unsent(k);
	cache_unlock(c);
	return busy;
}

int
cache_rmdir(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct be_opid opid;
	int ret;

	if (name_unsent_below(c, path))
		return -ENOTEMPTY;
	WITH_KEY(c, ctx, path, ret, be_rmdir(c->be, &ctx->be, path, &opid));
	if (ret == 0 || ret == -ENOENT) {
		delay_drop_tree(c, path);
		dirtimes_drop(c, path, true);
		attr_forget_tree(c, path);
		attr_gone_own(c, path);
	}
	return attr_doubt(c, ctx, path, ret);
}

int
cache_statfs(struct cache *c, struct cache_ctx *ctx, struct statvfs *out)
{
	int64_t now = clock_mono_ns();
	bool fresh;
	int ret;

	cache_lock(c);
	fresh = c->statfs_until_ns > now;
	if (fresh)
		*out = c->statfs;
	cache_unlock(c);
	if (fresh)
		return 0;
	ret = must_not_block(ctx);
	if (ret == 0)
		ret = be_statfs(c->be, &ctx->be, out);
	if (ret < 0)
		return ret;
	cache_lock(c);
	c->statfs = *out;
	c->statfs_until_ns = now + NSEC_PER_SEC;
	cache_unlock(c);
	return 0;
}

static bool
not_in_store(struct cache *c, const char *path)
{
	struct content *k = content_find(c, path);
	bool absent;

	if (!k)
		return false;
	pthread_mutex_lock(&k->lock);
	absent = !k->in_store;
	pthread_mutex_unlock(&k->lock);
	content_put(k);
	return absent;
}

int
cache_getxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
	       const char *name, void **value, size_t *len)
{
	int ret;

	if (!c->be->caps.xattrs)
		return -EOPNOTSUPP;
	if (not_in_store(c, path))
		return -ENODATA;
	ret = must_not_block(ctx);
	return ret < 0 ? ret :
			 be_getxattr(c->be, &ctx->be, path, name, value, len);
}

int
cache_listxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		char **names, size_t *len)
{
	int ret;

	if (!c->be->caps.xattrs || not_in_store(c, path)) {
		*names = xstrdup("");
		*len = 0;
		return 0;
	}
	ret = must_not_block(ctx);
	return ret < 0 ? ret :
			 be_listxattr(c->be, &ctx->be, path, names, len);
}

/* With the key held. */
static int
setxattr_store(struct cache *c, struct cache_ctx *ctx, const char *path,
	       const char *name, const void *value, size_t len, int flags,
	       const struct be_opid *opid)
{
	struct before before;
	struct be_attr out;
	int ret;

	ret = delay_send_keyed(c, ctx, path);
	if (ret < 0)
		return ret;
	/* What is open here must not take our own change for another node's. */
	look_before(c, ctx, path, &before);
	ret = be_setxattr(c->be, &ctx->be, path, name, value, len, flags, opid,
			  &out);
	if (ret < 0)
		return ret;
	moved_version(c, path, path, &before, &out);
	attr_set_own(c, path, &out);
	return 0;
}

int
cache_setxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
	       const char *name, const void *value, size_t len, int flags)
{
	struct be_opid opid;
	int ret = must_not_block(ctx);

	if (!c->be->caps.xattrs)
		return -EOPNOTSUPP;
	if (ret == 0)
		ret = name_make_real(c, ctx, path, false);
	if (ret < 0)
		return ret;
	WITH_KEY(c, ctx, path, ret,
		 setxattr_store(c, ctx, path, name, value, len, flags, &opid));
	return attr_doubt(c, ctx, path, ret);
}
