/* SPDX-License-Identifier: MIT */
/* rename: what is cached of a file goes along, if it is the same bytes; what is
 * open follows its name; what was replaced lives on without one. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/path.h"
#include "common/xalloc.h"

/* Open contents of a tree follow it to its new place. */
static void
move_contents(struct cache *c, const char *from, const char *to)
{
	struct content *k, *tmp;

	cache_lock(c);
	HASH_ITER(hh, c->contents, k, tmp)
	{
		if (path_within(k->path, from)) {
			char *p = path_rebase(k->path, from, to);

			content_rename_locked(k, p);
			free(p);
		}
	}
	TAILQ_FOREACH(k, &c->strays, stray)
	{
		if (path_within(k->path, from)) {
			char *p = path_rebase(k->path, from, to);

			content_rename_locked(k, p);
			free(p);
		}
	}
	cache_unlock(c);
}

static void
swap_contents(struct cache *c, const char *a, const char *b)
{
	/* By way of a name that no path can have. */
	move_contents(c, a, "//swap");
	move_contents(c, b, a);
	move_contents(c, "//swap", b);
}

/*
 * What is about to move.  A store whose versions survive a rename needs no
 * question; else it is asked when something here hangs on the answer.
 * (Large objects are made of parts, and get another version when copied.)
 */
void
look_before(struct cache *c, struct cache_ctx *ctx, const char *from,
	    struct before *b)
{
	struct content *k = content_find(c, from);
	bool hangs = false;

	memset(b, 0, sizeof(*b));
	if (k) {
		pthread_mutex_lock(&k->lock);
		hangs = c->be->caps.part_size &&
			k->base_size > c->be->caps.part_size;
		pthread_mutex_unlock(&k->lock);
		content_put(k);
	}
	if (hangs || c->be->caps.random_write) {
		b->asked = true;
		b->known = be_getattr(c->be, &ctx->be, from, BE_HINT_NONE,
				      &b->attr) == 0;
		if (b->known)
			delay_overlay(c, from, &b->attr);
	} else {
		b->known = attr_peek(c, from, &b->attr);
	}
	if (b->known && (b->attr.flags & BE_ATTR_RACY) &&
	    attr_trusted(c, from, &b->attr.ver))
		b->attr.flags &= ~(unsigned)BE_ATTR_RACY;
	if (b->known && !S_ISREG(b->attr.mode))
		b->known = false;
}

bool
same_bytes(const struct before *b, const struct be_attr *out)
{
	if (!b->known)
		return false;
	if (be_ver_equal(&b->attr.ver, &out->ver))
		return true;
	return b->asked && b->attr.ino == out->ino &&
	       b->attr.size == out->size &&
	       timespec_equal(b->attr.mtime, out->mtime);
}

/* The content at `from`, and what is cached, keep their bytes under the version
 * that they got. */
void
moved_version(struct cache *c, const char *from, const char *to,
	      const struct before *b, const struct be_attr *out)
{
	bool same = same_bytes(b, out);
	struct content *k;

	/* A version that can't be believed later is for what is open now. */
	if (same && !((b->attr.flags | out->flags) & BE_ATTR_RACY))
		store_rekey(c->store, from, &b->attr.ver, to, &out->ver);
	k = content_find(c, from);
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	if (same && be_ver_equal(&k->base, &b->attr.ver)) {
		k->base = out->ver;
		k->racy = k->racy || (out->flags & BE_ATTR_RACY);
		if (!content_unsent_locked(k))
			k->attr = *out;
		k->attr.ver = out->ver;
		k->attr.ino = out->ino;
		k->attr.ctime = out->ctime;
		k->attr.nlink = out->nlink;
	}
	pthread_mutex_unlock(&k->lock);
	content_put(k);
}

static void
moved_file(struct cache *c, const char *from, const char *to,
	   const struct before *b, const struct be_attr *out)
{
	moved_version(c, from, to, b, out);
	move_contents(c, from, to);
}

/* For a next process: see struct cache_once. */
static void
note_before(struct cache_once *o, const struct before *b)
{
	o->ino = b->attr.ino;
	o->ver.len = 0;
	if (!b->known)
		return;
	o->ver = b->attr.ver;
	o->off = b->attr.size;
	o->len = timespec_ns(b->attr.mtime);
}

static void
before_again(const struct cache_once *o, struct before *b)
{
	b->known = b->asked = be_ver_known(&o->ver);
	b->attr.ver = o->ver;
	b->attr.ino = o->ino;
	b->attr.size = o->off;
	b->attr.mtime = ns_timespec(o->len);
}

static uint64_t
ino_of(struct content *k)
{
	uint64_t ino;

	pthread_mutex_lock(&k->lock);
	ino = k->attr.ino;
	pthread_mutex_unlock(&k->lock);
	return ino;
}

/*
 * A process that was killed may have done it, here, in the store or both.
 * 1: the store needs no question.  *target is what the new name replaces, not
 * what was moved there; ctx->once->again is false if nothing was done.
 */
static int
was_done(struct cache *c, struct cache_ctx *ctx, const char *from,
	 unsigned flags, struct content **target)
{
	struct cache_once *o = ctx->once;
	struct be_attr now;
	int ret;

	if (flags & RENAME_EXCHANGE) {
		ret = be_getattr(c->be, &ctx->be, from, BE_HINT_NONE, &now);
		if (ret < 0)
			return ret;
		o->again = now.ino != o->ino;
		return o->again;
	}
	if (*target && o->ino && ino_of(*target) == o->ino) {
		content_put(*target);
		*target = NULL;
	}
	return 0;
}

/* The open contents of two names follow them, unless they have. */
static void
exchanged(struct cache *c, const struct cache_ctx *ctx, const char *a,
	  const char *b)
{
	struct content *k = once_again(ctx) ? content_find(c, b) : NULL;

	if (!k || ino_of(k) != ctx->once->ino)
		swap_contents(c, a, b);
	if (k)
		content_put(k);
}

static int
rename_locked_keys(struct cache *c, struct cache_ctx *ctx, const char *from,
		   const char *to, unsigned flags)
{
	struct content *target = content_find(c, to);
	struct be_attr out, ride = { 0 };
	struct be_opid opid;
	struct before before, there = { .known = false };
	struct be_attr known, back;
	unsigned mask = 0;
	bool moves;
	int ret = 0, done = 0;

	look_before(c, ctx, from, &before);
	if (once_again(ctx)) {
		done = was_done(c, ctx, from, flags, &target);
		if (!before.known)
			before_again(ctx->once, &before);
	} else if (ctx->once) {
		note_before(ctx->once, &before);
	}
	if (flags & RENAME_EXCHANGE)
		look_before(c, ctx, to, &there);
	if (done < 0)
		ret = done;
	else if (target && !(flags & RENAME_EXCHANGE))
		ret = content_prepare_unlink(target, ctx);
	if (once_again(ctx) && done == 0)
		ret = 0; /* of the old bytes there may be no more to have */
	once_begin(ctx, &opid);
	/* Many steps: a next daemon must find it if we are killed. */
	moves = !c->be->caps.atomic_rename && attr_peek(c, from, &known) &&
		S_ISDIR(known.mode);
	if (moves)
		journal_move_put(c->store, &opid, from, to);
	if (!moves)
		delay_take(c, from, &mask, &ride);
	if (ret == 0 && done)
		ret = be_getattr(c->be, &ctx->be, to, BE_HINT_NONE, &out);
	else if (ret == 0)
		ret = be_rename(c->be, &ctx->be, from, to, flags, &opid, mask,
				&ride, &out);
	once_end(ctx, ret);
	/* A call that was cut short may have begun to move: it stays. */
	if (moves && !(ret == -EINTR || ret == -ETIMEDOUT || ret == -EIO))
		journal_move_drop(c->store, &opid);
	if (ret == 0 && (flags & RENAME_EXCHANGE)) {
		/* A new ctime is a new version of the same bytes. */
		moved_version(c, from, to, &before, &out);
		if (there.known && be_getattr(c->be, &ctx->be, from,
					      BE_HINT_NONE, &back) == 0)
			moved_version(c, to, from, &there, &back);
		exchanged(c, ctx, from, to);
		attr_forget_tree(c, from);
		attr_forget_tree(c, to);
	} else if (ret == 0) {
		if (target)
			content_unlinked(target);
		content_strays_unlinked(c, to);
		if (S_ISDIR(out.mode)) {
			delay_moved(c, from, to);
			move_contents(c, from, to);
			dirtimes_drop(c, from, true);
			dirtimes_drop(c, to, true);
			attr_forget_tree(c, from);
			attr_forget_tree(c, to);
		} else {
			delay_drop(c, from);
			delay_drop(c, to);
			moved_file(c, from, to, &before, &out);
		}
		attr_gone_own(c, from);
		attr_made_own(c, to, &out);
	}
	attr_doubt(c, ctx, from, ret);
	attr_doubt(c, ctx, to, ret);
	if (target)
		content_put(target);
	return ret;
}

/* Sends what is not in the store at all, at path and below. */
static int
commit_tree(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	for (;;) {
		struct content *k;
		bool found = false;
		int ret;

		cache_lock(c);
		for (k = c->contents; k; k = k->hh.next) {
			if (!path_within(k->path, path))
				continue;
			pthread_mutex_lock(&k->lock);
			found = !k->in_store && !k->unlinked;
			pthread_mutex_unlock(&k->lock);
			if (found) {
				content_get_locked(k);
				break;
			}
		}
		cache_unlock(c);
		if (!found)
			return 0;
		ret = content_commit(k, ctx);
		content_put(k);
		if (ret < 0)
			return ret;
	}
}

int
cache_rename(struct cache *c, struct cache_ctx *ctx, const char *from,
	     const char *to, unsigned flags)
{
	struct be_attr known;
	struct key a, b;
	int ret = must_not_block(ctx);

	if (ret < 0)
		return ret;
	if (strcmp(from, to) == 0)
		return 0;
	/* (Again: those may be the ones that were moved.) */
	if (!(flags & RENAME_EXCHANGE) && !once_again(ctx) &&
	    name_unsent_below(c, to))
		return -ENOTEMPTY;
	/* What is not in the store yet is sent first, also below it: then a
	 * rename is one change of what is there. */
	ret = commit_tree(c, ctx, from);
	if (ret == 0 && (flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
		ret = name_make_real(c, ctx, to, false);
	/* A file takes along what waits for it; of a tree it is sent. */
	if (ret == 0 && attr_peek(c, from, &known) && S_ISDIR(known.mode))
		ret = delay_flush(c, ctx, from, true);
	if (ret == 0)
		ret = key_lock2(&c->keys, &a, from, &b, to, true, &ctx->be);
	if (ret < 0)
		return ret;
	ret = rename_locked_keys(c, ctx, from, to, flags);
	FAULT_POINT("rename.moved");
	key_unlock(&c->keys, &b);
	key_unlock(&c->keys, &a);
	return ret;
}
