/* SPDX-License-Identifier: MIT */
/* create(): a name that the caller did not find, decided at once or believed
 * until the close (P3, rules 6 and 7). */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>

/* Nothing is asked: the kernel's lookup has just found no such name.  The
 * commit says "only if absent" (rule 6). */
static int
create_believed(struct cache *c, struct cache_ctx *ctx, const char *path,
		const struct be_attr *a, int flags, struct content **out)
{
	struct content *k = content_new(c, path);
	int ret;

	k->attr = *a;
	k->truncated = flags & O_TRUNC;
	k->exclusive = flags & O_EXCL;
	content_opener_set_locked(k, ctx);
	/* A next worker must know that the file exists. */
	pthread_mutex_lock(&k->lock);
	ret = content_stage_locked(k, ctx);
	if (ret == 0)
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	pthread_mutex_unlock(&k->lock);
	if (ret < 0)
		content_put(k);
	else
		*out = k;
	return ret;
}

/* By the same request, in a process that was killed before it could answer: as
 * long as it runs nobody else on this node gets at the name. */
static bool
made_before(const struct cache_ctx *ctx, struct content *k)
{
	bool ours;

	if (!ctx->once || !ctx->once->resent)
		return false;
	pthread_mutex_lock(&k->lock);
	ours = k->attr.size == 0;
	pthread_mutex_unlock(&k->lock);
	return ours;
}

static int
open_created(struct cache *c, struct cache_ctx *ctx, const char *path,
	     int flags, struct cfile **out, struct be_attr *attr)
{
	bool keep;
	int ret = cache_open(c, ctx, path, flags & ~(O_CREAT | O_EXCL), out,
			     &keep);

	if (ret == 0)
		content_attr((*out)->k, attr);
	return ret;
}

/* The caller found no such name, but a content of it is here, perhaps not yet
 * in the store; or the store has it no more.  -ENOENT: so it is. */
static int
create_open(struct cache *c, struct cache_ctx *ctx, const char *path, int flags,
	    struct cfile **out, struct be_attr *attr)
{
	struct content *k = content_find(c, path);
	bool excl = flags & O_EXCL, unsent;
	struct be_attr now;
	int ret = 0;

	if (!k)
		return -ENOENT;
	unsent = content_unsent(k);
	excl = excl && !made_before(ctx, k);
	if (!unsent) {
		ret = must_not_block(ctx);
		if (ret == 0)
			ret = be_getattr(c->be, &ctx->be, path, BE_HINT_FILE,
					 &now);
		if (ret == -ENOENT)
			content_replaced(k, ctx);
	}
	content_put(k);
	if (ret == 0 && excl)
		return -EEXIST;
	return ret < 0 ? ret :
			 open_created(c, ctx, path, flags, out, attr);
}

int
cache_create(struct cache *c, struct cache_ctx *ctx, const char *path,
	     int flags, mode_t mode, struct cfile **out, struct be_attr *attr)
{
	bool now = c->be->caps.random_write ||
		   ((flags & O_EXCL) && !c->cfg.exclusive_at_close);
	struct be_attr a, made;
	struct be_opid opid;
	struct be_ver base;
	struct content *k;
	int ret;

	ret = create_open(c, ctx, path, flags, out, attr);
	if (ret != -ENOENT)
		return ret;
	attr_new(c, ctx, path, S_IFREG | (mode & 07777), &a);
	if (now) {
		struct key key;

		ret = must_not_block(ctx);
		if (ret < 0)
			return ret;
		ret = key_lock(&c->keys, &key, path, false, &ctx->be);
		if (ret < 0)
			return ret;
		once_begin(ctx, &opid);
		ret = once_end(ctx, be_create(c->be, &ctx->be, path, &a, &opid,
					      &made));
		if (ret == 0) {
			delay_drop(c, path);
			attr_made_own(c, path, &made);
		}
		attr_doubt(c, ctx, path, ret);
		key_unlock(&c->keys, &key);
		if (ret == -EEXIST && !(flags & O_EXCL)) {
			attr_forget_tree(c, path);
			return open_created(c, ctx, path, flags, out, attr);
		}
		if (ret < 0)
			return ret;
		k = content_of(c, path, &made);
		k->reserved = !c->be->caps.random_write;
	} else {
		ret = create_believed(c, ctx, path, &a, flags, &k);
		if (ret < 0)
			return ret;
		cache_lock(c);
		attr_changed_locked(c, path);
		attr_parent_changed_locked(c, path);
		names_made_locked(c, path);
		dirtimes_move_locked(c, path);
		cache_unlock(c);
	}
	k = content_enter(k);
	content_attr(k, attr);
	base = content_base(k);
	attr_pages(c, path, &base);
	*out = cfile_new(k, ctx, flags);
	return 0;
}
