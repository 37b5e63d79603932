/* SPDX-License-Identifier: MIT */
/*
 * What this node sees of a directory: what the store lists, and what was
 * created here and is not sent yet (rule 11).
 *
 * One thread asks the store for part after part; readers follow it, so that
 * the attributes of what they are told are young, and what the first thousand
 * names need is asked for while the next thousand are listed.
 */
#include <config.h>

#include "cache/listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"

/* What a listing calls a file may be a symlink or a FIFO, if it is no larger
 * than the longest target.  Programs believe the type that they are told. */
#define SMALL_MAX 4096

/* A pool that is full of readers has no thread that fills: then one of them
 * does. */
#define TAKE_NS (50 * NSEC_PER_MSEC)

/* --- life ---------------------------------------------------------------- */

static struct cache_listing *
listing_new(struct cache *c, const struct cache_ctx *ctx, const char *dir)
{
	struct cache_listing *l = xcalloc(1, sizeof(*l));

	l->c = c;
	l->dir = xstrdup(dir);
	l->who = ctx->be;
	l->who.err = NULL;
	l->who.cancel = &l->cancel;
	l->who.deadline_ns = 0;
	l->who.groups = ctx->be.ngroups ?
				xmemdup(ctx->be.groups,
					ctx->be.ngroups * sizeof(gid_t)) :
				NULL;
	l->begun_ns = clock_mono_ns();
	l->with_ino = c->be->caps.stable_ino;
	atomic_init(&l->refs, 1);
	l->readers = 1;
	pthread_mutex_init(&l->lock, NULL);
	cond_init_mono(&l->cond);
	return l;
}

void
listing_get_ref(struct cache_listing *l)
{
	atomic_fetch_add(&l->refs, 1);
}

void
listing_put_ref(struct cache_listing *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	err_release(&l->err);
	free(l->where);
	free(l->text);
	free(l->dir);
	free((void *)(uintptr_t)l->who.groups);
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

struct run {
	struct cache_listing *l;
	void (*fn)(void *l);
};

static void
run_job(void *arg)
{
	struct run *r = arg;
	struct cache *c = r->l->c;

	r->fn(r->l);
	listing_put_ref(r->l);
	free(r);
	atomic_fetch_sub(&c->jobs, 1);
}

void
listing_run(struct cache_listing *l, void (*fn)(void *l))
{
	struct run *r = xcalloc(1, sizeof(*r));

	*r = (struct run){ l, fn };
	listing_get_ref(l);
	atomic_fetch_add(&l->c->jobs, 1);
	l->c->cfg.run(l->c->cfg.arg, run_job, r);
}

int
listing_wait_locked(struct cache_listing *l, struct cache_ctx *ctx)
{
	/* Cancelling has no condition of its own: look now and then. */
	struct timespec until = ns_timespec(clock_mono_ns() + TAKE_NS);

	pthread_cond_timedwait(&l->cond, &l->lock, &until);
	return be_must_stop(&ctx->be);
}

/* --- entries ------------------------------------------------------------- */

static void
add_locked(struct cache_listing *l, const char *name, mode_t mode, uint64_t ino)
{
	size_t len = strlen(name) + 1;
	size_t need = l->text_len + 1 + sizeof(ino) + len;

	if (l->n == l->where_cap) {
		l->where_cap = l->n ? l->n + l->n / 4 + 16 : 64;
		l->where = xrealloc(l->where, l->where_cap, sizeof(*l->where));
	}
	if (need > l->text_cap) {
		l->text_cap = need + need / 4 + 1024;
		l->text = xrealloc(l->text, l->text_cap, 1);
	}
	l->where[l->n++] = l->text_len;
	l->text[l->text_len++] = (mode & S_IFMT) >> 12;
	if (l->with_ino) {
		memcpy(l->text + l->text_len, &ino, sizeof(ino));
		l->text_len += sizeof(ino);
	}
	memcpy(l->text + l->text_len, name, len);
	l->text_len += len;
}

static const char *
name_at(const struct cache_listing *l, size_t i)
{
	return l->text + l->where[i] + 1 +
	       (l->with_ino ? sizeof(uint64_t) : 0);
}

void
listing_entry_locked(const struct cache_listing *l, size_t i,
		     struct cache_dirent *out)
{
	const char *p = l->text + l->where[i];

	out->mode = (mode_t)(unsigned char)*p << 12;
	out->ino = 2;
	if (l->with_ino)
		memcpy(&out->ino, p + 1, sizeof(out->ino));
	memcpy(out->name, name_at(l, i), strlen(name_at(l, i)) + 1);
}

static size_t
bytes_of(const struct cache_listing *l)
{
	return sizeof(*l) + l->where_cap * sizeof(*l->where) + l->text_cap;
}

/* --- what was made here and is not sent ---------------------------------- */

struct unsent {
	char **v;
	size_t n;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
unsent_release(struct unsent *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
}
#define _cleanup_unsent_ __attribute__((cleanup(unsent_release)))

static void
pending_in(struct cache *c, const char *dir, struct unsent *out)
{
	size_t len = strlen(dir);
	struct content *k;

	cache_lock(c);
	for (k = c->contents; k; k = k->hh.next) {
		const char *base = path_base(k->path);
		bool in = len ? strncmp(k->path, dir, len) == 0 &&
					k->path[len] == '/' &&
					base == k->path + len + 1 :
				base == k->path;

		if (!in || !content_unsent(k))
			continue;
		out->v = xrealloc(out->v, out->n + 1, sizeof(*out->v));
		out->v[out->n++] = xstrdup(base);
	}
	cache_unlock(c);
}

static void
unsent_sort(struct unsent *s)
{
	size_t n = 0;

	if (!s->n)
		return;
	qsort(s->v, s->n, sizeof(*s->v), by_name);
	for (size_t i = 0; i < s->n; i++) {
		if (n && strcmp(s->v[i], s->v[n - 1]) == 0)
			free(s->v[i]);
		else
			s->v[n++] = s->v[i];
	}
	s->n = n;
}

/* Those of the sorted names that the store did not list. */
static void
add_pending_locked(struct cache_listing *l, struct unsent *s)
{
	_cleanup_free_ bool *seen = NULL;
	size_t n = l->n;

	if (!s->n)
		return;
	seen = xcalloc(s->n, sizeof(*seen));
	for (size_t i = 0; i < n; i++) {
		const char *name = name_at(l, i);
		char **at = bsearch(&name, s->v, s->n, sizeof(*s->v), by_name);

		if (at)
			seen[at - s->v] = true;
	}
	for (size_t i = 0; i < s->n; i++)
		if (!seen[i])
			add_locked(l, s->v[i], S_IFREG, 2);
}

/* --- filling ------------------------------------------------------------- */

struct gather {
	struct cache_listing *l;
	struct part_entry {
		char *name;
		mode_t mode;
		uint64_t ino;
	} *v; /* of this part */
	size_t n, cap;
	struct names_set *set; /* of all parts */
};

static void
gather_clear(struct gather *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->v[i].name);
	g->n = 0;
}

static void
gather_add(struct gather *g, const char *name, mode_t mode, uint64_t ino)
{
	if (g->n == g->cap) {
		g->cap = g->cap ? g->cap * 2 : 64;
		g->v = xrealloc(g->v, g->cap, sizeof(*g->v));
	}
	g->v[g->n++] = (struct part_entry){ xstrdup(name), mode, ino };
}

static int
gather_entry(void *arg, const char *name, const struct be_attr *attr)
{
	struct gather *g = arg;
	struct cache *c = g->l->c;
	_cleanup_free_ char *path = path_join(g->l->dir, name);
	mode_t mode = attr->mode;
	uint64_t ino = attr->ino;
	struct be_attr known;

	attr_install(c, path, attr, g->l->asked);
	if ((attr->flags & BE_ATTR_PARTIAL) && !(attr->flags & BE_ATTR_TYPED)) {
		bool have = attr_peek(c, path, &known);

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
by_entry(const void *a, const void *b)
{
	return strcmp(((const struct part_entry *)a)->name,
		      ((const struct part_entry *)b)->name);
}

/* What came in one part is sorted with what is pending. */
static void
merge_pending(struct gather *g, struct unsent *s)
{
	size_t n = g->n;

	for (size_t i = 0; i < s->n; i++) {
		struct part_entry key = { .name = s->v[i] };

		if (!n || !bsearch(&key, g->v, n, sizeof(*g->v), by_entry))
			gather_add(g, s->v[i], S_IFREG, 2);
	}
	qsort(g->v, g->n, sizeof(*g->v), by_entry);
}

/* To the readers; with the last part what is pending. */
static void
publish(struct gather *g, bool first, struct unsent *pending)
{
	struct cache_listing *l = g->l;

	if (g->n > 1)
		qsort(g->v, g->n, sizeof(*g->v), by_entry);
	if (pending) {
		pending_in(l->c, l->dir, pending);
		unsent_sort(pending);
	}
	if (first && pending && pending->n)
		merge_pending(g, pending);
	for (size_t i = 0; i < g->n; i++)
		names_set_add(&g->set, g->v[i].name);
	for (size_t i = 0; pending && i < pending->n; i++)
		names_set_add(&g->set, pending->v[i]);
	if (pending)
		names_listed(l->c, l->dir, steal_ptr(&g->set), l->asked,
			     l->begun_ns);
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < g->n; i++)
		add_locked(l, g->v[i].name, g->v[i].mode, g->v[i].ino);
	if (pending) {
		add_pending_locked(l, pending);
		l->done = true;
	}
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
	gather_clear(g);
}

static void
end(struct cache_listing *l, int ret, struct err *err)
{
	struct cache *c = l->c;

	pthread_mutex_lock(&l->lock);
	if (ret < 0) {
		err_set(&l->err, ret, "%s", err_words(err));
		l->done = true;
	} else if (l->n) { /* it does not grow any more */
		l->where_cap = l->n;
		l->where = xrealloc(l->where, l->where_cap, sizeof(*l->where));
		l->text_cap = l->text_len;
		l->text = xrealloc(l->text, l->text_cap, 1);
	}
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
	cache_lock(c);
	LIST_REMOVE(l, filling);
	if (ret < 0)
		listing_unshare_locked(l);
	else
		listing_shrink_locked(c);
	cache_unlock(c);
}

/* In the thread that has taken it. */
static void
fill(struct cache_listing *l, struct be_ctx *ctx)
{
	_cleanup_unsent_ struct unsent pending = { 0 };
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx own = *ctx;
	struct be_cursor *cur = NULL;
	struct gather g = { .l = l, .set = names_set_new(l->c) };
	bool first = true;
	int ret;

	own.err = &err;
	/* What is sent meanwhile may have come too late for its part. */
	pending_in(l->c, l->dir, &pending);
	do {
		gather_clear(&g);
		err_release(&err);
		ret = be_list_part(l->c->be, &own, l->dir, &cur, gather_entry,
				   &g);
		if (ret == 0)
			publish(&g, first, cur ? NULL : &pending);
		first = false;
	} while (ret == 0 && cur);
	be_cursor_free(cur);
	gather_clear(&g);
	names_set_free(g.set);
	free(g.v);
	end(l, ret, &err);
}

static void
fill_job(void *arg)
{
	struct cache_listing *l = arg;

	if (!atomic_exchange(&l->taken, true))
		fill(l, &l->who);
}

/* --- shared by those who open the directory within actimeo ---------------- */

void
listing_unshare_locked(struct cache_listing *l)
{
	struct cache *c = l->c;

	if (!l->shared)
		return;
	l->shared = false;
	HASH_DELETE(hh, c->listings, l);
	TAILQ_REMOVE(&c->listing_lru, l, lru);
	if (!l->readers)
		atomic_store(&l->cancel, 1);
	listing_put_ref(l);
}

/* The oldest go, until the others fit in a quarter of the memory for names; the
 * rest is for attributes. */
void
listing_shrink_locked(struct cache *c)
{
	struct cache_listing *l = TAILQ_LAST(&c->listing_lru, listing_list);
	uint64_t bytes = 0;
	unsigned n = 0;

	while (l) {
		struct cache_listing *before = TAILQ_PREV(l, listing_list, lru);

		uint64_t size;

		pthread_mutex_lock(&l->lock);
		size = bytes_of(l);
		pthread_mutex_unlock(&l->lock);
		bytes += size;
		if (++n > LISTING_MAX || bytes > c->cfg.attr_cache / 4) {
			bytes -= size;
			listing_unshare_locked(l);
		}
		l = before;
	}
	attr_memory_limit(c->attrs, c->cfg.attr_cache - bytes);
}

void
listing_free_all(struct cache *c)
{
	while (!TAILQ_EMPTY(&c->listing_lru))
		listing_unshare_locked(TAILQ_FIRST(&c->listing_lru));
}

void
listing_stop_all(struct cache *c)
{
	struct cache_listing *l;

	cache_lock(c);
	LIST_FOREACH(l, &c->filling, filling)
	{
		atomic_store(&l->cancel, 1);
	}
	TAILQ_FOREACH(l, &c->listing_lru, lru)
	{
		atomic_store(&l->cancel, 1);
	}
	cache_unlock(c);
}

/* Or whole, and the store is down (stale_if_error). */
static bool
young(struct cache *c, struct cache_listing *l)
{
	int64_t until = l->begun_ns + atomic_load(&c->cfg.actimeo_ns);
	bool whole;

	if (until > clock_mono_ns())
		return true;
	if (!stale_holds(c, until) || !stale_wanted(c))
		return false;
	pthread_mutex_lock(&l->lock);
	whole = l->done && !l->err.code;
	pthread_mutex_unlock(&l->lock);
	return whole;
}

/* A young one, also one that is still being filled. */
static struct cache_listing *
find_fresh(struct cache *c, const char *path)
{
	struct cache_listing *l;

	cache_lock(c);
	HASH_FIND(hh, c->listings, path, strlen(path), l);
	if (l && (!young(c, l) || !epoch_inside_holds_locked(c, path, l->asked))) {
		listing_unshare_locked(l);
		l = NULL;
	}
	if (l) {
		l->readers++;
		atomic_store(&l->cancel, 0);
		listing_get_ref(l);
	}
	cache_unlock(c);
	return l;
}

static struct cache_listing *
begin(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct cache_listing *l = listing_new(c, ctx, path), *old;

	cache_lock(c);
	l->asked = c->changes;
	if (atomic_load(&c->stopping))
		atomic_store(&l->cancel, 1);
	LIST_INSERT_HEAD(&c->filling, l, filling);
	if (atomic_load(&c->cfg.actimeo_ns) != 0) {
		HASH_FIND(hh, c->listings, path, strlen(path), old);
		if (old)
			listing_unshare_locked(old);
		HASH_ADD_KEYPTR(hh, c->listings, l->dir, strlen(l->dir), l);
		TAILQ_INSERT_TAIL(&c->listing_lru, l, lru);
		l->shared = true;
		listing_get_ref(l);
	}
	cache_unlock(c);
	return l;
}

/* --- reading ------------------------------------------------------------- */

/* Until entry i is there: 0; -ENOENT: there are fewer. */
static int
await(struct cache_listing *l, struct cache_ctx *ctx, size_t i)
{
	int ret = 0;

	pthread_mutex_lock(&l->lock);
	while (ret == 0 && l->n <= i && !l->done) {
		ret = must_not_block(ctx);
		if (ret == 0)
			ret = listing_wait_locked(l, ctx);
		if (ret == 0 && l->n <= i && !l->done &&
		    !atomic_exchange(&l->taken, true)) {
			pthread_mutex_unlock(&l->lock);
			fill(l, &ctx->be);
			pthread_mutex_lock(&l->lock);
		}
	}
	if (ret == 0 && l->n <= i)
		ret = l->err.code ? err_set(ctx->be.err, l->err.code, "%s",
					    err_words(&l->err)) :
				    -ENOENT;
	pthread_mutex_unlock(&l->lock);
	return ret;
}

int
cache_list(struct cache *c, struct cache_ctx *ctx, const char *path,
	   struct cache_listing **out)
{
	struct cache_listing *l;
	int ret;

again:
	l = find_fresh(c, path);
	if (!l) {
		ret = must_not_block(ctx);
		if (ret < 0)
			return ret;
		l = begin(c, ctx, path);
		if (c->cfg.run)
			listing_run(l, fill_job);
		else if (!atomic_exchange(&l->taken, true))
			fill(l, &ctx->be);
	}
	/* Whether there is such a directory is told here. */
	ret = await(l, ctx, 0);
	if (ret < 0 && (ret != -ENOENT || l->err.code)) {
		cache_listing_put(l);
		/* Who filled it was interrupted, not this caller. */
		if (ret == -EINTR && be_must_stop(&ctx->be) == 0)
			goto again;
		return ret;
	}
	*out = l;
	return 0;
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
	struct cache_ctx ctx = { 0 };
	struct cache_listing *l = begin(c, &ctx, r->dir);

	/* A failure only means that lookups ask for themselves. */
	fill_job(l);
	cache_listing_put(l);
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

int
cache_listing_get(struct cache_listing *l, struct cache_ctx *ctx, size_t i,
		  struct cache_dirent *out)
{
	int ret = await(l, ctx, i);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&l->lock);
	listing_entry_locked(l, i, out);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

void
cache_listing_put(struct cache_listing *l)
{
	struct cache *c = l->c;

	cache_lock(c);
	if (--l->readers == 0) {
		bool done;

		pthread_mutex_lock(&l->lock);
		done = l->done;
		pthread_mutex_unlock(&l->lock);
		/* What nobody waits for is not asked. */
		atomic_store(&l->cancel, 1);
		if (!done)
			listing_unshare_locked(l);
	}
	cache_unlock(c);
	listing_put_ref(l);
}
