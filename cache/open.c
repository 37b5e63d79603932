/* SPDX-License-Identifier: MIT */
/* open() and the last close: which content a handle gets, and what
 * becomes of it (close-to-open, P2). */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

void
content_opener_set_locked(struct content *k, const struct cache_ctx *ctx)
{
	free(k->groups);
	k->groups = NULL;
	k->uid = ctx->be.uid;
	k->gid = ctx->be.gid;
	k->ngroups = ctx->be.ngroups;
	if (k->ngroups)
		k->groups = xmemdup(ctx->be.groups,
				    k->ngroups * sizeof(*k->groups));
}

struct cfile *
cfile_new(struct content *k, struct cache_ctx *ctx, int flags)
{
	struct cache *c = k->c;
	struct cfile *cf = xcalloc(1, sizeof(*cf));

	cf->k = k;
	cf->flags = flags;
	pthread_mutex_init(&cf->lock, NULL);
	cache_lock(c);
	k->handles++;
	content_unlist_locked(k);
	cache_unlock(c);
	if (cache_open_changes(cf->flags)) {
		pthread_mutex_lock(&k->lock);
		if (!content_unsent_locked(k))
			content_opener_set_locked(k, ctx);
		pthread_mutex_unlock(&k->lock);
	}
	atomic_fetch_add(&c->open_files, 1);
	return cf;
}

struct content *
content_of(struct cache *c, const char *path, const struct be_attr *a)
{
	struct content *k = content_new(c, path);

	k->attr = *a;
	k->base = a->ver;
	k->base_size = k->clean_end = a->size;
	k->in_store = true;
	k->racy = a->flags & BE_ATTR_RACY;
	return k;
}

static bool
same_version(struct content *a, struct content *b)
{
	struct be_ver va = content_base(a), vb = content_base(b);

	return be_ver_equal(&va, &vb);
}

struct content *
content_enter(struct content *k)
{
	struct cache *c = k->c;
	struct content *old;

	cache_lock(c);
	HASH_FIND_STR(c->contents, k->path, old);
	if (old == k) {
		cache_unlock(c);
		return k;
	}
	if (old && !old->publishing &&
	    (same_version(old, k) || content_unsent(old))) {
		content_get_locked(old);
		cache_unlock(c);
		content_put(k);
		return old;
	}
	content_insert_locked(k);
	cache_unlock(c);
	return k;
}

bool
content_replaced(struct content *k, struct cache_ctx *ctx)
{
	struct cache *c = k->c;
	bool held;

	cache_lock(c);
	content_detach_locked(k);
	held = k->handles > 0;
	content_unlist_locked(k);
	cache_unlock(c);
	if (held && content_local(k, 0, UINT64_MAX / 2))
		content_keep(k, ctx);
	return held;
}

/* Whole and small: to the clean store and from there.  Else a private file
 * with what has come. */
static struct content *
content_from_fetch(struct cache *c, const char *path, const struct be_attr *a,
		   const char *p, uint64_t got)
{
	struct content *k = content_of(c, path, a);

	if (a->size == 0)
		return k; /* nothing to keep */
	/* Here since a worker ago, and perhaps the kernel's: what is kept under
	 * a version was believed to be that one's, however young it is. */
	k->clean = store_open(c->store, path, &a->ver);
	if (k->clean) {
		k->racy = false;
		return k;
	}
	if (got == a->size && !k->racy && be_ver_known(&a->ver) &&
	    store_put(c->store, path, &a->ver, p, got)) {
		k->clean = store_open(c->store, path, &a->ver);
		if (k->clean)
			return k;
	}
	if (got && content_backing_new(k, false) == 0 &&
	    io_write_all(k->fd, p, got, 0) == 0)
		rangeset_add(&k->present, 0, got);
	return k;
}

struct opening {
	struct content *k; /* what a new handle could join; reference */
	struct be_attr known;
	bool have_known;
	struct be_ver have; /* len 0: nothing local */
};

static bool
is_current(struct content *k)
{
	bool current;

	cache_lock(k->c);
	current = k->current;
	cache_unlock(k->c);
	return current;
}

/* What is here already: an open content, or a clean file of the version that
 * the attributes named last. */
static int
find_local(struct cache *c, struct cache_ctx *ctx, const char *path,
	   struct opening *o)
{
	int ret = 0;

	o->have_known = attr_peek(c, path, &o->known);
	while (ret == 0 && (o->k = content_find(c, path))) {
		struct content *k = o->k;
		bool waited = false;

		pthread_mutex_lock(&k->lock);
		while (k->publishing && ret == 0) {
			waited = true;
			ret = must_not_block(ctx);
			if (ret == 0)
				ret = content_wait_locked(k, ctx);
		}
		pthread_mutex_unlock(&k->lock);
		/* (It may have become clean since it was found.) */
		if (!waited && is_current(k)) {
			o->have = content_base(k);
			return 0;
		}
		content_put(k);
		o->k = NULL;
	}
	if (ret < 0)
		return ret;
	if (o->have_known && S_ISREG(o->known.mode) &&
	    !(o->known.flags & BE_ATTR_RACY)) {
		struct store_file *f = store_open(c->store, path,
						  &o->known.ver);

		if (!f)
			return 0;
		o->have = o->known.ver;
		o->k = content_of(c, path, &o->known);
		o->k->clean = f;
	}
	return 0;
}

/* How much an open asks for at once. */
static uint64_t
fetch_max(struct cache *c, const struct opening *o, int flags)
{
	uint64_t whole = c->cfg.whole_max;

	if ((flags & O_ACCMODE) == O_WRONLY && c->be->caps.random_write)
		return 0; /* dirty ranges are all that is sent */
	if (o->have_known && o->known.size > whole)
		return (flags & O_ACCMODE) == O_WRONLY ? 0 : FETCH_BLOCK;
	if (o->have_known && o->known.size == 0)
		return FETCH_BLOCK;
	return whole;
}

/* While the store was asked, this node wrote to k or sent it: k is newer than
 * the answer, or the answer itself. */
static bool
overtaken(struct content *k, struct cache_ctx *ctx, const struct be_attr *a)
{
	bool own;

	pthread_mutex_lock(&k->lock);
	while (k->committing && content_wait_locked(k, ctx) == 0)
		;
	own = content_unsent_locked(k) ||
	      (!k->racy && be_ver_equal(&k->base, &a->ver));
	pthread_mutex_unlock(&k->lock);
	return own;
}

#define COMPARE_STEP (64u << 10)

/* Is [off, off+len) of k what p says?  content.lock. */
static bool
has_bytes_locked(struct content *k, uint64_t off, const char *p, uint64_t len)
{
	_cleanup_free_ char *mine = xmalloc(COMPARE_STEP);

	for (uint64_t done = 0; done < len;) {
		size_t n = len - done < COMPARE_STEP ? len - done :
						       COMPARE_STEP;
		size_t there;

		if (read_all(k->fd, mine, n, off + done, &there) < 0 ||
		    there < n || memcmp(mine, p + done, n) != 0)
			return false;
		done += n;
	}
	return true;
}

/*
 * k's version was too young to be believed (rule 9), and the store names the
 * same one again, with the first `got` bytes: k goes on if it has no others.
 * Else two handles of one file would see two files.
 */
static bool
still_same(struct content *k, const struct be_attr *a, const char *p,
	   uint64_t got)
{
	bool same;

	pthread_mutex_lock(&k->lock);
	same = k->racy && !k->unkept && be_ver_equal(&k->base, &a->ver);
	for (size_t i = 0; same && i < k->present.n; i++) {
		uint64_t off = k->present.v[i].off, len = k->present.v[i].len;

		if (off < got)
			same = has_bytes_locked(k, off, p + off,
						len < got - off ? len :
								  got - off);
	}
	if (same && got == a->size && !(a->flags & BE_ATTR_RACY))
		k->racy = false;
	pthread_mutex_unlock(&k->lock);
	return same;
}

/* Asks the store; afterwards o->k is what a handle gets. */
static int
revalidate(struct cache *c, struct cache_ctx *ctx, const char *path, int flags,
	   struct opening *o)
{
	uint64_t max = fetch_max(c, o, flags), got = 0;
	struct be_sink_mem mem = { .cap = max };
	struct be_sink sink = be_sink_to_mem(&mem);
	uint64_t asked = epoch_now(c);
	struct content *k;
	struct be_attr a;
	bool held;
	int ret;

	/* Pages that are not touched cost nothing. */
	if (max) {
		mem.p = mmap(NULL, max, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem.p == MAP_FAILED)
			return err_set(ctx->be.err, -ENOMEM, "out of memory");
	}
	ret = be_fetch(c->be, &ctx->be, path, &o->have, max, &sink, &a, &got);
	if (ret == 1) {
		attr_install(c, path, &a, asked);
		o->k = content_enter(o->k);
		ret = 0;
		goto out;
	}
	if (ret == 0 && o->k && overtaken(o->k, ctx, &a))
		goto out; /* no other node's doing */
	if (ret == -ENOENT)
		attr_install(c, path, NULL, asked);
	if (ret == -ENOENT || ret == -EISDIR || ret == -ELOOP) {
		/* Not what the kernel believes: it looks the name up again. */
		if (o->k)
			content_replaced(o->k, ctx);
		ret = err_set(ctx->be.err, -ESTALE,
			      "changed by another node just now");
	}
	if (ret < 0)
		goto out;
	attr_install(c, path, &a, asked);
	delay_overlay(c, path, &a);
	if (o->k && still_same(o->k, &a, mem.p, got)) {
		o->k = content_enter(o->k);
		goto out;
	}
	k = content_from_fetch(c, path, &a, mem.p, got);
	if (a.size <= FORESEE_MAX) {
		cache_lock(c);
		foresee_opened_locked(c, path);
		cache_unlock(c);
	}
	held = false;
	if (o->k) {
		held = content_replaced(o->k, ctx);
		content_put(o->k);
	}
	o->k = content_enter(k);
	if (held)
		ret = err_set(ctx->be.err, -ESTALE,
			      "replaced by another node while open here");
out:
	if (max)
		munmap(mem.p, max);
	return ret;
}

/*
 * The version that O_TRUNC replaces, asked for as for any other open(): what
 * another node's close() put there before is no conflict (P9.1).
 */
static int
revalidate_base(struct cache *c, struct cache_ctx *ctx, const char *path,
		struct opening *o)
{
	bool ask = c->cfg.cto && !stale_wanted(c);
	uint64_t asked = epoch_now(c);
	struct be_attr a;
	int64_t until;
	int ret = ask ? be_getattr(c->be, &ctx->be, path, BE_HINT_FILE, &a) :
			attr_get(c, ctx, path, &a, &until);

	if (ret == 0 && S_ISREG(a.mode) && o->k && overtaken(o->k, ctx, &a))
		return 0;
	if (ask && (ret == 0 || ret == -ENOENT))
		attr_install(c, path, ret == 0 ? &a : NULL, asked);
	if (ret == -ENOENT || (ret == 0 && !S_ISREG(a.mode))) {
		if (o->k)
			content_replaced(o->k, ctx);
		return err_set(ctx->be.err, -ESTALE,
			       "changed by another node just now");
	}
	if (ret < 0)
		return ret;
	delay_overlay(c, path, &a);
	if (o->k && still_same(o->k, &a, NULL, 0))
		return 0;
	if (o->k && content_replaced(o->k, ctx))
		return err_set(ctx->be.err, -ESTALE,
			       "replaced by another node while open here");
	if (o->k)
		content_put(o->k);
	o->k = content_of(c, path, &a);
	/* What the kernel reads by itself is the file that is cut. */
	o->k->clean = store_open(c->store, path, &a.ver);
	if (o->k->clean && !store_kernel_has(o->k->clean))
		store_close(steal_ptr(&o->k->clean));
	return 0;
}

/* A store that is down is not waited for, if what is here is to be used then
 * (stale_if_error). */
static int
revalidate_or_stale(struct cache *c, struct cache_ctx *ctx, const char *path,
		    int flags, struct opening *o)
{
	int ret;

	ctx->be.have_stale = o->k && attr_have_stale(c, path, &o->have);
	ret = flags & O_TRUNC ? revalidate_base(c, ctx, path, o) :
				revalidate(c, ctx, path, flags, o);
	if (ret == -EIO && ctx->be.have_stale && ctx->be.transient) {
		o->k = content_enter(o->k);
		ret = 0;
	}
	ctx->be.have_stale = false;
	return ret;
}

/* Nothing of the old bytes is asked for. */
static int
truncate_opened(struct cache *c, struct cache_ctx *ctx, struct opening *o)
{
	int ret;

	/* Others must see the new size: a clean file is not in the table. */
	o->k = content_enter(o->k);
	pthread_mutex_lock(&o->k->lock);
	ret = content_stage_locked(o->k, ctx);
	if (ret == 0 && !content_unsent_locked(o->k))
		content_opener_set_locked(o->k, ctx);
	pthread_mutex_unlock(&o->k->lock);
	if (ret == 0)
		ret = content_truncate(o->k, ctx, 0);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&o->k->lock);
	if (o->k->in_store) {
		/* It was empty before: nothing was cut, nor journaled. */
		bool first = !content_unsent_locked(o->k);

		o->k->truncated = true;
		o->k->clean_end = 0;
		o->k->attr_dirty |= BE_SET_MTIME_SOFT;
		content_touch_locked(o->k);
		if (first)
			content_journal_locked(o->k, JOURNAL_OPEN, NULL, 0,
					       NULL);
	}
	pthread_mutex_unlock(&o->k->lock);
	return 0;
}

/* A lookup of the same open() has found the version that is here. */
static bool
just_asked(struct cache *c, const struct cache_ctx *ctx, const char *path,
	   struct opening *o)
{
	bool racy, yes;

	if (!ctx->walker || !o->k)
		return false;
	pthread_mutex_lock(&o->k->lock);
	racy = o->k->racy;
	pthread_mutex_unlock(&o->k->lock);
	cache_lock(c);
	yes = asked_take_locked(c, path, ctx->walker, &o->have);
	if (yes)
		foresee_opened_locked(c, path);
	cache_unlock(c);
	return yes && !racy;
}

int
cache_open(struct cache *c, struct cache_ctx *ctx, const char *path, int flags,
	   struct cfile **out, bool *keep_pages)
{
	struct opening o = { 0 };
	struct be_attr fresh;
	struct be_ver base;
	int64_t until;
	bool pending, known;
	int ret = find_local(c, ctx, path, &o);

	if (ret < 0)
		return ret;
	pending = o.k && content_unsent(o.k);
	if (!pending) {
		cache_lock(c);
		known = (!c->cfg.cto || stale_wanted(c)) &&
			attr_find_locked(c, path, 0, &fresh, &until) == 0 &&
			be_ver_equal(&fresh.ver, &o.have);
		cache_unlock(c);
		/* nocto, within actimeo; or the store is down; or it was
		 * asked by the lookup */
		known = known || just_asked(c, ctx, path, &o);
		if (known)
			o.k = content_enter(o.k);
		else
			ret = must_not_block(ctx);
		if (!known && ret == 0)
			ret = revalidate_or_stale(c, ctx, path, flags, &o);
	}
	if (ret == 0 && (flags & O_TRUNC))
		ret = truncate_opened(c, ctx, &o);
	if (ret < 0) {
		if (o.k)
			content_put(o.k);
		return ret;
	}
	base = content_base(o.k);
	if (keep_pages)
		*keep_pages = attr_pages(c, path, &base) || pending;
	*out = cfile_new(o.k, ctx, flags);
	return 0;
}

struct cfile *
cache_open_older(struct cfile *cf, struct cache_ctx *ctx,
		 const struct be_ver *had)
{
	struct content *now = cf->k, *k;
	_cleanup_free_ char *path = NULL;
	struct store_file *f;
	struct be_attr a;
	bool same;

	content_attr(now, &a);
	pthread_mutex_lock(&now->lock);
	same = be_ver_equal(&now->base, had);
	path = xstrdup(now->path);
	pthread_mutex_unlock(&now->lock);
	f = same ? NULL : store_open(now->c->store, path, had);
	if (!f)
		return NULL;
	a.ver = *had;
	a.size = store_file_size(f);
	/* In no table: nobody else opens it. */
	k = content_of(now->c, path, &a);
	k->clean = f;
	return cfile_new(k, ctx, cf->flags);
}

bool
cache_same_file(const struct cfile *a, const struct cfile *b)
{
	return a->k == b->k;
}

/* Keeps partly fetched content for the next open of the same version. */
static void
idle_keep_locked(struct content *k, struct content **drop)
{
	struct cache *c = k->c;

	content_list_locked(k, &c->idle);
	if (c->nidle > IDLE_MAX) {
		*drop = TAILQ_FIRST(&c->idle);
		content_get_locked(*drop);
		content_unlist_locked(*drop);
		content_detach_locked(*drop);
	}
}

bool
cache_release_is_quick(struct cfile *cf)
{
	struct content *k = cf->k;
	bool quick;

	if (cache_open_changes(cf->flags))
		return false;
	pthread_mutex_lock(&k->lock);
	quick = k->fd < 0 && !k->private_name;
	pthread_mutex_unlock(&k->lock);
	return quick;
}

/* Then also a reader sends what is there: a writer of a killed daemon may have
 * left it. */
static bool
is_last(struct content *k)
{
	bool last;

	cache_lock(k->c);
	last = k->handles == 1;
	cache_unlock(k->c);
	return last;
}

void
cache_release(struct cfile *cf, struct cache_ctx *ctx)
{
	struct content *k = cf->k, *drop = NULL;
	struct cache *c = k->c;
	bool last, sole, publish = false, failed = false;
	int ret = 0;

	/* Normally nothing: FLUSH came before.  Each round sends all there is
	 * when it begins; only another writer can make a second one needed. */
	if (cache_open_changes(cf->flags) || is_last(k)) {
		while (ret == 0 && content_unsent(k))
			ret = content_commit(k, ctx);
	}
	if (ret < 0)
		log_error("cache", "%s", ctx->be.err ? err_words(ctx->be.err) :
						       strerror(-ret));
	atomic_fetch_sub(&c->open_files, 1);
	cache_lock(c);
	last = --k->handles == 0;
	/* An open() that has found k may be asking the store, and will take
	 * it, or has truncated it just now. */
	sole = k->refs == 1;
	pthread_mutex_lock(&k->lock);
	if (last && content_unsent_locked(k)) {
		failed = sole || ret < 0;
	} else if (last && sole && k->exposed_rw && !k->unlinked &&
		   expose_may_change_locked(k)) {
		expose_watch_locked(k);
	} else if (last && k->current && !k->unlinked && !k->racy &&
		   !k->unkept) {
		if (sole)
			k->exposed = false;
		publish = sole && content_publish_begin_locked(k);
		if (!publish && k->fd >= 0 && !k->list)
			idle_keep_locked(k, &drop);
	} else if (sole && (k->racy || k->unkept)) {
		content_detach_locked(k);
	}
	pthread_mutex_unlock(&k->lock);
	cache_unlock(c);
	if (failed)
		content_failed(k);
	if (publish)
		content_publish(k);
	if (drop)
		content_put(drop);
	content_put(k);
	pthread_mutex_destroy(&cf->lock);
	free(cf);
}
