/* SPDX-License-Identifier: MIT */
/* What this node sees of a directory: what the store lists, and what was
 * created here and is not sent yet (rule 11). */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define ASKERS_MAX 16 /* threads that fetch attributes for one reader */

/* What a listing calls a file may be a symlink or a FIFO, if it is no larger
 * than the longest target.  Programs believe the type that they are told. */
#define SMALL_MAX 4096

struct gather {
	struct cache *c;
	const char *dir;
	uint64_t asked;
	struct cache_listing l;
	size_t cap;
};

static void
gather_add(struct gather *g, const char *name, mode_t mode, uint64_t ino)
{
	struct cache_dirent *d;

	if (g->l.n == g->cap) {
		g->cap = g->cap ? g->cap * 2 : 64;
		g->l.v = xrealloc(g->l.v, g->cap, sizeof(*g->l.v));
	}
	d = &g->l.v[g->l.n++];
	d->name = xstrdup(name);
	d->mode = mode & S_IFMT;
	d->ino = ino;
}

static int
gather_entry(void *arg, const char *name, const struct be_attr *attr)
{
	struct gather *g = arg;
	_cleanup_free_ char *path = path_join(g->dir, name);
	mode_t mode = attr->mode;
	struct be_attr known;
	uint64_t ino = attr->ino;

	attr_install(g->c, path, attr, g->asked);
	if (attr->flags & BE_ATTR_PARTIAL) {
		bool have = attr_peek(g->c, path, &known);

		if (have)
			ino = known.ino;
		if (have && known.aver && known.aver == attr->aver)
			mode = known.mode;
		else if (S_ISREG(mode) && attr->size <= SMALL_MAX)
			mode = 0;
	}
	gather_add(g, name, mode, ino ? ino : 2);
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct cache_dirent *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static bool
listed(const struct cache_listing *l, size_t n, const char *name)
{
	struct cache_dirent key = { .name = (char *)(uintptr_t)name };

	return n && bsearch(&key, l->v, n, sizeof(*l->v), by_name);
}

static void
add_pending(struct gather *g)
{
	struct cache *c = g->c;
	size_t sorted = g->l.n;
	struct content *k;

	if (sorted)
		qsort(g->l.v, sorted, sizeof(*g->l.v), by_name);
	cache_lock(c);
	for (k = c->contents; k; k = k->hh.next) {
		const char *base = path_base(k->path);
		size_t n = strlen(g->dir);
		bool in = n ? strncmp(k->path, g->dir, n) == 0 &&
				      k->path[n] == '/' &&
				      base == k->path + n + 1 :
			      base == k->path;

		if (in && content_unsent(k) && !listed(&g->l, sorted, base))
			gather_add(g, base, S_IFREG, 2);
	}
	cache_unlock(c);
	if (g->l.n > sorted)
		qsort(g->l.v, g->l.n, sizeof(*g->l.v), by_name);
}

static void
copy(struct cache_listing *to, const struct cache_listing *from)
{
	to->n = from->n;
	to->v = xcalloc(from->n, sizeof(*to->v));
	for (size_t i = 0; i < from->n; i++) {
		to->v[i] = from->v[i];
		to->v[i].name = xstrdup(from->v[i].name);
	}
}

void
cache_listing_release(struct cache_listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

static void
drop_locked(struct cache *c, struct lent *e)
{
	HASH_DEL(c->listings, e);
	TAILQ_REMOVE(&c->listing_lru, e, lru);
	cache_listing_release(&e->l);
	free(e);
}

void
listing_free_all(struct cache *c)
{
	while (!TAILQ_EMPTY(&c->listing_lru))
		drop_locked(c, TAILQ_FIRST(&c->listing_lru));
}

static bool
find_fresh(struct cache *c, const char *path, struct cache_listing *out)
{
	struct lent *e;
	bool fresh = false;

	cache_lock(c);
	HASH_FIND_STR(c->listings, path, e);
	if (e && e->until_ns > clock_mono_ns() &&
	    epoch_holds_locked(c, path, e->asked)) {
		copy(out, &e->l);
		fresh = true;
	} else if (e) {
		drop_locked(c, e);
	}
	cache_unlock(c);
	return fresh;
}

static void
remember(struct cache *c, const char *path, const struct cache_listing *l,
	 uint64_t asked)
{
	size_t n = strlen(path) + 1;
	struct lent *e;

	if (c->cfg.actimeo_ns == 0)
		return;
	cache_lock(c);
	if (!epoch_holds_locked(c, path, asked)) {
		cache_unlock(c); /* rule 11 */
		return;
	}
	HASH_FIND_STR(c->listings, path, e);
	if (e)
		drop_locked(c, e);
	if (HASH_COUNT(c->listings) >= LISTING_MAX)
		drop_locked(c, TAILQ_FIRST(&c->listing_lru));
	e = xcalloc(1, sizeof(*e) + n);
	memcpy(e->path, path, n);
	e->asked = asked;
	e->until_ns = clock_mono_ns() + c->cfg.actimeo_ns;
	copy(&e->l, l);
	HASH_ADD_STR(c->listings, path, e);
	TAILQ_INSERT_TAIL(&c->listing_lru, e, lru);
	cache_unlock(c);
}

static int
list_store(struct cache *c, struct cache_ctx *ctx, const char *path,
	   struct cache_listing *out)
{
	struct gather g = { .c = c, .dir = path };
	int64_t asked_ns = clock_mono_ns();
	int ret;

	g.asked = epoch_now(c);
	ret = be_list(c->be, &ctx->be, path, gather_entry, &g);
	if (ret < 0) {
		cache_listing_release(&g.l);
		return ret;
	}
	add_pending(&g);
	remember(c, path, &g.l, g.asked);
	names_listed(c, path, &g.l, g.asked, asked_ns);
	*out = g.l;
	return 0;
}

int
cache_list(struct cache *c, struct cache_ctx *ctx, const char *path,
	   struct cache_listing *out)
{
	int ret;

	if (find_fresh(c, path, out))
		return 0;
	ret = must_not_block(ctx);
	return ret < 0 ? ret : list_store(c, ctx, path, out);
}

struct renewal {
	struct cache *c;
	char *dir;
};

static void
renew_run(void *job)
{
	struct renewal *r = job;
	struct cache *c = r->c;
	struct cache_ctx ctx = { .be.cancel = &c->stopping };
	struct cache_listing l;

	/* A failure only means that lookups ask for themselves. */
	if (list_store(c, &ctx, r->dir, &l) == 0)
		cache_listing_release(&l);
	names_renewed(c, r->dir);
	atomic_fetch_sub(&c->jobs, 1);
	free(r->dir);
	free(r);
}

void
listing_renew(struct cache *c, const char *path)
{
	struct renewal *r = xcalloc(1, sizeof(*r));

	r->c = c;
	r->dir = path_dir(path);
	if (!c->cfg.run) {
		names_renewed(c, r->dir);
		free(r->dir);
		free(r);
		return;
	}
	atomic_fetch_add(&c->jobs, 1);
	c->cfg.run(c->cfg.arg, renew_run, r);
}

/* A crowd of threads that take names off one list. */
struct crowd {
	struct cache *c;
	struct cache_ctx ctx;
	char *dir;
	char **names;
	enum be_hint *hints;
	size_t n;
	atomic_size_t next;
	atomic_uint refs;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned working; /* lock */
};

static void
crowd_put(struct crowd *w)
{
	if (atomic_fetch_sub(&w->refs, 1) != 1)
		return;
	for (size_t i = 0; i < w->n; i++)
		free(w->names[i]);
	free(w->names);
	free(w->hints);
	free(w->dir);
	free((void *)(uintptr_t)w->ctx.be.groups);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void
crowd_work(void *arg)
{
	struct crowd *w = arg;
	struct cache_ctx ctx = w->ctx;
	size_t i;

	pthread_mutex_lock(&w->lock);
	w->working++;
	pthread_mutex_unlock(&w->lock);
	while ((i = atomic_fetch_add(&w->next, 1)) < w->n) {
		char *path = path_join(w->dir, w->names[i]);
		struct be_attr a;
		int64_t until;

		attr_get_as(w->c, &ctx, path, w->hints[i], &a, &until);
		free(path);
	}
	pthread_mutex_lock(&w->lock);
	if (--w->working == 0)
		pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
	crowd_put(w);
}

static void
crowd_helper(void *arg)
{
	struct crowd *w = arg;
	struct cache *c = w->c;

	crowd_work(w);
	atomic_fetch_sub(&c->jobs, 1);
}

void
cache_prefetch_attrs(struct cache *c, struct cache_ctx *ctx, const char *path,
		     const struct cache_listing *l, size_t from, size_t n)
{
	struct crowd *w;
	struct be_attr a;
	int64_t until;
	unsigned helpers;

	if (ctx->try_only)
		return;
	w = xcalloc(1, sizeof(*w));
	w->c = c;
	w->ctx = *ctx;
	w->ctx.be.err = NULL;
	w->ctx.be.cancel = &c->stopping; /* the caller's may be gone */
	w->ctx.be.groups = ctx->be.ngroups ?
				   xmemdup(ctx->be.groups,
					   ctx->be.ngroups * sizeof(gid_t)) :
				   NULL;
	w->dir = xstrdup(path);
	w->names = xcalloc(n, sizeof(*w->names));
	w->hints = xcalloc(n, sizeof(*w->hints));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	for (size_t i = from; i < l->n && i < from + n; i++) {
		_cleanup_free_ char *p = path_join(path, l->v[i].name);
		bool ask;

		cache_lock(c);
		ask = attr_find_locked(c, p, &a, &until) == -EAGAIN;
		cache_unlock(c);
		if (!ask)
			continue;
		/* What was listed is there as such: half the questions. */
		w->hints[w->n] = S_ISDIR(l->v[i].mode) ? BE_HINT_DIR :
							 BE_HINT_FILE;
		w->names[w->n++] = xstrdup(l->v[i].name);
	}
	helpers = !c->cfg.run || w->n < 2  ? 0 :
		  w->n - 1 < ASKERS_MAX ? w->n - 1 :
					  ASKERS_MAX;
	atomic_store(&w->refs, 2 + helpers);
	for (unsigned i = 0; i < helpers; i++) {
		atomic_fetch_add(&c->jobs, 1);
		c->cfg.run(c->cfg.arg, crowd_helper, w);
	}
	/* This thread works too, so it never waits for a helper that has not
	 * started; only for those that are at their last name. */
	crowd_work(w);
	pthread_mutex_lock(&w->lock);
	while (w->working)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	crowd_put(w);
}
