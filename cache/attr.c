/* SPDX-License-Identifier: MIT */
/*
 * Attributes, names and absences with a lifetime, and the epochs that keep an
 * answer from being remembered after a local change (C9).
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

static unsigned
slot_of(const char *path)
{
	return XXH3_64bits(path, strlen(path)) % EPOCH_SLOTS;
}

/* Of the names in a directory. */
static unsigned
slot_inside(const char *dir)
{
	return XXH3_64bits_withSeed(dir, strlen(dir), 1) % EPOCH_SLOTS;
}

uint64_t
epoch_now(struct cache *c)
{
	uint64_t now;

	cache_lock(c);
	now = c->changes;
	cache_unlock(c);
	return now;
}

bool
epoch_holds_locked(struct cache *c, const char *path, uint64_t asked)
{
	return c->changed[slot_of(path)] <= asked && c->changed_all <= asked;
}

bool
epoch_inside_holds_locked(struct cache *c, const char *dir, uint64_t asked)
{
	return c->changed[slot_inside(dir)] <= asked &&
	       epoch_holds_locked(c, dir, asked);
}

void
attr_changed_locked(struct cache *c, const char *path)
{
	c->changed[slot_of(path)] = ++c->changes;
}

void
attr_parent_changed_locked(struct cache *c, const char *path)
{
	char *dir = path_dir(path);

	c->changed[slot_inside(dir)] = ++c->changes;
	/* A real directory has new times and perhaps a new link count, which
	 * rsync and make look at.  (A store of objects keeps no such thing.) */
	if (c->be->caps.random_write) {
		attr_changed_locked(c, dir);
		attr_memory_believe(c->attrs, dir, 0);
	}
	free(dir);
}

bool
stale_holds(const struct cache *c, int64_t until_ns)
{
	return until_ns != 0 && c->cfg.stale_ns != 0 &&
	       clock_mono_ns() < until_ns + c->cfg.stale_ns;
}

bool
stale_wanted(const struct cache *c)
{
	return c->cfg.stale_ns != 0 && wrap_retry_health(c->be) == BE_DOWN;
}

bool
attr_have_stale(struct cache *c, const char *path, const struct be_ver *ver)
{
	struct known k;
	bool have;

	if (c->cfg.stale_ns == 0)
		return false;
	cache_lock(c);
	have = attr_memory_get(c->attrs, path, &k) && k.attr.mode != 0 &&
	       stale_holds(c, k.until_ns) &&
	       (!ver || be_ver_equal(&k.attr.ver, ver));
	cache_unlock(c);
	return have;
}

int
attr_find_locked(struct cache *c, const char *path, int64_t since_ns,
		 struct be_attr *out, int64_t *until_ns)
{
	struct known k;

	if (!attr_memory_get(c->attrs, path, &k) ||
	    (k.until_ns <= (since_ns ? since_ns : clock_mono_ns()) &&
	     !(k.attr.mode != 0 && stale_holds(c, k.until_ns) &&
	       stale_wanted(c))))
		return -EAGAIN;
	*until_ns = k.until_ns;
	if (k.attr.mode == 0)
		return -ENOENT;
	*out = k.attr;
	return 0;
}

bool
attr_peek(struct cache *c, const char *path, struct be_attr *out)
{
	struct known k;
	bool found;

	cache_lock(c);
	found = attr_memory_get(c->attrs, path, &k) && k.attr.mode != 0;
	if (found)
		*out = k.attr;
	cache_unlock(c);
	return found;
}

/* A version that this node made itself, or that was old enough when it was
 * first seen, does not become too young by being seen again. */
static bool
is_trusted(const struct be_attr *known, const struct be_ver *ver)
{
	return known->mode != 0 && !(known->flags & BE_ATTR_RACY) &&
	       be_ver_equal(&known->ver, ver);
}

bool
attr_trusted(struct cache *c, const char *path, const struct be_ver *ver)
{
	struct be_attr known;

	return attr_peek(c, path, &known) && is_trusted(&known, ver);
}

static uint64_t
pages_hash(const struct be_ver *v)
{
	return v->len ? XXH3_64bits(v->b, v->len) | 1 : 0;
}

/* How long attributes of now are believed.  Those of a file with several names
 * change under its other names, too: they are asked for each time. */
static int64_t
believed_until(const struct cache *c, const struct be_attr *a)
{
	return be_attr_linked(a) ? 0 : clock_mono_ns() + c->cfg.actimeo_ns;
}

/* What this node has done and the store does not tell, or not yet. */
static void
overlay_locked(struct cache *c, const char *path, struct be_attr *a)
{
	delay_overlay_locked(c, path, a);
	dirtimes_overlay_locked(c, path, a);
}

static void
install(struct cache *c, const char *path, const struct be_attr *a,
	uint64_t asked)
{
	struct known k = { .pages = 0 };
	bool tell = false, known, holds;

	cache_lock(c);
	known = attr_memory_get(c->attrs, path, &k);
	/* That there is a directory stays true whatever is made in it: else one
	 * that is written to all the time would never be known. */
	holds = a && S_ISDIR(a->mode) ?
			epoch_holds_locked(c, path, asked) :
			epoch_inside_holds_locked(c, path, asked);
	if (!holds) {
		/* C9.  Which of the two is newer only the store can tell. */
		if (known && !(a && be_ver_equal(&k.attr.ver, &a->ver)))
			attr_memory_believe(c->attrs, path, 0);
		goto out;
	}
	if (!a) {
		tell = k.pages;
		if (c->cfg.negative_ns == 0) {
			attr_memory_drop(c->attrs, path);
			goto out;
		}
		k = (struct known){
			.until_ns = clock_mono_ns() + c->cfg.negative_ns,
		};
		attr_memory_put(c->attrs, path, &k);
		goto out;
	}
	if (k.pages && k.pages != pages_hash(&a->ver)) {
		tell = true;
		k.pages = 0;
	}
	known = known && is_trusted(&k.attr, &a->ver);
	k.attr = *a;
	if (known)
		k.attr.flags &= ~BE_ATTR_RACY;
	overlay_locked(c, path, &k.attr);
	k.until_ns = believed_until(c, a);
	attr_memory_put(c->attrs, path, &k);
out:
	cache_unlock(c);
	if (tell && c->cfg.changed)
		c->cfg.changed(c->cfg.arg, path, true);
}

/* The table on disk, where listings tell versions and not all attributes. */
static struct attr_table *
table_of(const struct cache *c)
{
	return c->be->caps.random_write ? NULL : c->table;
}

/* What a listing tells confirms what is known, and is nothing new.  true: no
 * more is to be done; false: somebody else may know the rest. */
static bool
confirm(struct cache *c, const char *path, const struct be_attr *a,
	uint64_t asked)
{
	struct known k;
	bool done = true, there;

	cache_lock(c);
	if (!epoch_holds_locked(c, path, asked))
		goto out; /* C9 */
	there = attr_memory_get(c->attrs, path, &k) && k.attr.mode != 0;
	if (there && a->aver != 0 && k.attr.aver == a->aver &&
	    k.attr.size == a->size) {
		attr_memory_believe(c->attrs, path,
				    believed_until(c, &k.attr));
		goto out;
	}
	/* A directory has no version that could have changed. */
	if (there && !(a->flags & BE_ATTR_TYPED) &&
	    !(S_ISDIR(a->mode) && S_ISDIR(k.attr.mode)) &&
	    !be_ver_equal(&k.attr.ver, &a->ver))
		attr_memory_believe(c->attrs, path, 0);
	done = a->aver == 0;
out:
	cache_unlock(c);
	return done;
}

void
attr_install(struct cache *c, const char *path, const struct be_attr *a,
	     uint64_t asked)
{
	struct attr_table *table = table_of(c);
	struct be_attr full;

	if (a && (a->flags & BE_ATTR_PARTIAL)) {
		if (!confirm(c, path, a, asked) && table &&
		    attr_table_get(table, path, a, &full))
			install(c, path, &full, asked);
		return;
	}
	if (a && table)
		attr_table_put(table, path, a);
	install(c, path, a, asked);
}

void
attr_apply_locked(struct cache *c, const char *path)
{
	struct known k;

	if (!attr_memory_get(c->attrs, path, &k) || k.attr.mode == 0)
		return;
	overlay_locked(c, path, &k.attr);
	attr_memory_put(c->attrs, path, &k);
}

void
attr_set_own(struct cache *c, const char *path, const struct be_attr *a)
{
	struct known k = { .pages = 0 };

	cache_lock(c);
	attr_changed_locked(c, path);
	attr_parent_changed_locked(c, path);
	names_made_locked(c, path);
	attr_memory_get(c->attrs, path, &k);
	/* The kernel's pages went along with our own write. */
	if (k.pages)
		k.pages = pages_hash(&a->ver);
	k.attr = *a;
	dirtimes_overlay_locked(c, path, &k.attr);
	k.until_ns = believed_until(c, a);
	attr_memory_put(c->attrs, path, &k);
	cache_unlock(c);
}

void
attr_made_own(struct cache *c, const char *path, const struct be_attr *a)
{
	attr_set_own(c, path, a);
	cache_lock(c);
	dirtimes_move_locked(c, path);
	cache_unlock(c);
}

void
attr_gone_own(struct cache *c, const char *path)
{
	cache_lock(c);
	attr_changed_locked(c, path);
	attr_parent_changed_locked(c, path);
	names_gone_locked(c, path);
	dirtimes_move_locked(c, path);
	attr_memory_drop(c->attrs, path);
	cache_unlock(c);
}

void
attr_forget_tree(struct cache *c, const char *path)
{
	cache_lock(c);
	c->changed_all = ++c->changes;
	names_forget_locked(c, path);
	attr_memory_drop_tree(c->attrs, path);
	attr_parent_changed_locked(c, path);
	cache_unlock(c);
}

int
attr_doubt(struct cache *c, const struct cache_ctx *ctx, const char *path,
	   int ret)
{
	if (ret < 0 && (ctx->be.transient || ret == -EIO || ret == -EINTR ||
			ret == -ETIMEDOUT)) {
		attr_forget_tree(c, path);
		cache_lock(c);
		names_made_locked(c, path);
		cache_unlock(c);
	}
	return ret;
}

bool
attr_pages(struct cache *c, const char *path, const struct be_ver *ver)
{
	struct known k = { .pages = 0 };
	uint64_t h = pages_hash(ver);
	bool same;

	cache_lock(c);
	attr_memory_get(c->attrs, path, &k);
	same = h && k.pages == h;
	if (!same) {
		k.pages = h;
		attr_memory_put(c->attrs, path, &k);
	}
	cache_unlock(c);
	return same;
}

bool
attr_had_pages(struct cache *c, const char *path, const struct be_ver *ver)
{
	uint64_t h = pages_hash(ver);
	struct known k;
	bool had;

	cache_lock(c);
	had = h && attr_memory_get(c->attrs, path, &k) && k.pages == h;
	cache_unlock(c);
	return had;
}

mode_t
attr_without_priv(mode_t mode)
{
	if (!S_ISREG(mode))
		return mode;
	mode &= ~(mode_t)S_ISUID;
	/* Without group execution it is no privilege, but mandatory locking. */
	if (mode & S_IXGRP)
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

/* What is remembered, or which question is likely to be the cheapest. */
static int
recall(struct cache *c, const struct cache_ctx *ctx, const char *path,
       struct be_attr *out, int64_t *until_ns, enum be_hint *hint, uint64_t *asked)
{
	bool told = false, renew = false;
	struct known k;
	int ret;

	*hint = BE_HINT_NONE;
	cache_lock(c);
	ret = attr_find_locked(c, path, ctx->since_ns, out, until_ns);
	*asked = c->changes;
	if (attr_memory_get(c->attrs, path, &k) && k.attr.mode != 0)
		*hint = S_ISDIR(k.attr.mode) ? BE_HINT_DIR : BE_HINT_FILE;
	else if (ret == -EAGAIN) {
		told = names_absent_locked(c, path, until_ns, &renew);
		if (names_guess_locked(c, path))
			*hint = BE_HINT_NEW;
	}
	cache_unlock(c);
	if (renew)
		listing_renew(c, path);
	if (told || ret == -EAGAIN)
		ancestors_renew(c, path);
	if (!told)
		return ret;
	be_believe_absent(c->be, path);
	return -ENOENT;
}

int
attr_get(struct cache *c, struct cache_ctx *ctx, const char *path,
	 struct be_attr *out, int64_t *until_ns)
{
	enum be_hint hint = BE_HINT_NONE;

	if (!ctx->try_only)
		hint = listing_step(c, ctx, path);
	return attr_get_as(c, ctx, path, hint, out, until_ns);
}

/*
 * A lookup that is likely to be followed by an open(): the file comes along, if
 * it is small.  1: it is to be looked up as others are.
 */
static int
bring(struct cache *c, struct cache_ctx *ctx, const char *path,
      enum be_hint *hint, struct be_attr *out)
{
	struct be_sink_mem mem = { .cap = FORESEE_MAX };
	struct be_sink sink = be_sink_to_mem(&mem);
	_cleanup_free_ char *p = NULL;
	uint64_t got = 0;
	bool open;
	int ret;

	if (!ctx->walker || c->be->caps.random_write || *hint != BE_HINT_NONE)
		return 1;
	cache_lock(c);
	open = foresee_open_locked(c, path);
	cache_unlock(c);
	if (!open)
		return 1;
	mem.p = p = xmalloc(FORESEE_MAX);
	ctx->be.unseen = true;
	ret = be_fetch(c->be, &ctx->be, path, NULL, FORESEE_MAX, &sink, out,
		       &got);
	ctx->be.unseen = false;
	if (ret == 0 && got == out->size && be_ver_known(&out->ver))
		ctx->brought = store_put(c->store, path, &out->ver, p, got);
	if (ret == -EISDIR)
		*hint = BE_HINT_DIR;
	/* A file that can't be read (an archived one) has attributes. */
	return ret == 0 || ret == -ENOENT || ctx->be.transient ? ret : 1;
}

int
attr_get_as(struct cache *c, struct cache_ctx *ctx, const char *path,
	    enum be_hint hint, struct be_attr *out, int64_t *until_ns)
{
	enum be_hint guess;
	struct be_attr a;
	uint64_t asked;
	int ret;

	ret = recall(c, ctx, path, out, until_ns, &guess, &asked);
	if (ret != -EAGAIN)
		return ret;
	ret = must_not_block(ctx);
	if (ret < 0)
		return ret;
	if (hint == BE_HINT_NONE || guess == BE_HINT_NEW)
		hint = guess;
	ctx->be.have_stale = attr_have_stale(c, path, NULL);
	ret = bring(c, ctx, path, &hint, &a);
	if (ret == 1)
		ret = be_getattr(c->be, &ctx->be, path, hint, &a);
	if (ret == -EIO && ctx->be.have_stale && ctx->be.transient &&
	    recall(c, ctx, path, out, until_ns, &guess, &asked) == 0)
		ret = 1; /* an older answer */
	ctx->be.have_stale = false;
	if (ret == 1)
		return 0;
	if (ret == 0) {
		ctx->asked = true;
		attr_install(c, path, &a, asked);
		cache_lock(c);
		overlay_locked(c, path, &a);
		cache_unlock(c);
		*out = a;
		*until_ns = believed_until(c, &a);
	} else if (ret == -ENOENT) {
		attr_install(c, path, NULL, asked);
		*until_ns = clock_mono_ns() + c->cfg.negative_ns;
	}
	if (hint != BE_HINT_FILE && hint != BE_HINT_DIR &&
	    (ret == 0 || ret == -ENOENT)) {
		cache_lock(c);
		names_looked_locked(c, path, ret == 0);
		cache_unlock(c);
	}
	return ret;
}

void
attr_new(struct cache *c, struct cache_ctx *ctx, const char *path, mode_t mode,
	 struct be_attr *a)
{
	char *dir = path_dir(path);
	struct be_attr parent;

	memset(a, 0, sizeof(*a));
	/* Shown before the store has the file, which then keeps the number. */
	if (!c->be->caps.random_write) {
		struct be_opid r;

		be_opid_new(&r);
		a->ino = XXH3_64bits(r.s, sizeof(r.s)) | 2;
	}
	a->mode = mode;
	a->uid = ctx->be.uid;
	a->gid = ctx->be.gid;
	a->nlink = S_ISDIR(mode) ? 2 : 1;
	a->atime = a->mtime = a->ctime = clock_wall();
	/* A set-group-id directory hands its group on. */
	if (attr_peek(c, dir, &parent) && (parent.mode & S_ISGID)) {
		a->gid = parent.gid;
		if (S_ISDIR(mode))
			a->mode |= S_ISGID;
	}
	free(dir);
}
