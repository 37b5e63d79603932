/* SPDX-License-Identifier: MIT */
/*
 * Attributes of what is listed, before they are asked for one by one: a few
 * threads go along the listing, some way ahead of the reader.
 */
#include <config.h>

#include "cache/listing.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"

/* So far ahead of a reader who has shown that he wants them, at most: what is
 * asked too early is too old when he comes. */
#define AHEAD_MAX 1024
/* Of actimeo: the age at which a reader gets what was asked ahead of him, and the
 * time after which he gets what is there. */
#define AGE_PART 4
/* Entries that a job asks for before it lets others have its thread. */
#define TURN 4
#define WAIT_MIN (100 * NSEC_PER_MSEC)

static bool
is_known(struct cache *c, const char *path, int64_t since)
{
	struct be_attr a;
	int64_t until;
	bool known;

	cache_lock(c);
	known = attr_find_locked(c, path, since, &a, &until) != -EAGAIN;
	cache_unlock(c);
	return known;
}

/* What was listed is there as such: half the questions. */
static int64_t
ask(struct cache_listing *l, struct cache_ctx *ctx, const char *path,
    const struct cache_dirent *d)
{
	int64_t until, begin = clock_mono_ns();
	struct be_attr a;

	attr_get_as(l->c, ctx, path,
		    S_ISDIR(d->mode) ? BE_HINT_DIR : BE_HINT_FILE, &a, &until);
	return clock_mono_ns() - begin;
}

/* How many answers come in the part of actimeo that they may wait for their
 * reader. */
static size_t
ahead_locked(const struct cache_listing *l)
{
	int64_t age = atomic_load(&l->c->cfg.actimeo_ns) / AGE_PART;
	int64_t n;

	if (l->ask_ns == 0)
		return ASKERS_MAX;
	n = age / l->ask_ns * ASKERS_MAX;
	return n < ASKERS_MAX ? ASKERS_MAX : n > AHEAD_MAX ? AHEAD_MAX : n;
}

static size_t
place_locked(struct cache_listing *l)
{
	size_t k = 0;

	while (k < ASKERS_MAX && l->busy[k])
		k++;
	return k;
}

static size_t
left_locked(const struct cache_listing *l)
{
	size_t end = l->n < l->limit ? l->n : l->limit;

	return l->next < end ? end - l->next : 0;
}

/* Who goes along a listing, and how far. */
struct walk {
	struct cache_ctx *ctx;
	size_t end;	  /* an entry */
	unsigned turn;	  /* questions */
	int64_t until_ns; /* a time */
};

static void go_along(struct cache_listing *l, struct walk *w);

static void
ask_job(void *arg)
{
	struct cache_listing *l = arg;
	struct cache_ctx ctx = { .be = l->who };
	struct walk w = { .ctx = &ctx,
			  .end = SIZE_MAX,
			  .turn = TURN,
			  .until_ns = INT64_MAX };

	pthread_mutex_lock(&l->lock);
	/* It is not read by then, but its names are still looked at. */
	if (l->stepping)
		ctx.be.cancel = &l->c->stopping;
	pthread_mutex_unlock(&l->lock);
	go_along(l, &w);
}

/* As many as can help, beside the caller; counted from now on. */
static void
call_others(struct cache_listing *l)
{
	unsigned n = 0;

	if (!l->c->cfg.run)
		return;
	pthread_mutex_lock(&l->lock);
	while (l->askers < ASKERS_MAX && l->askers - 1 < left_locked(l)) {
		l->askers++;
		n++;
	}
	pthread_mutex_unlock(&l->lock);
	while (n--)
		listing_run(l, ask_job);
}

static bool
goes_on_locked(const struct cache_listing *l, const struct walk *w)
{
	return left_locked(l) && l->next < w->end &&
	       be_must_stop(&w->ctx->be) == 0;
}

/* He is counted in askers before. */
static void
go_along(struct cache_listing *l, struct walk *w)
{
	bool again;

	pthread_mutex_lock(&l->lock);
	while (w->turn && goes_on_locked(l, w) &&
	       clock_mono_ns() < w->until_ns) {
		size_t k = place_locked(l);
		struct cache_dirent d;
		int64_t took = 0;
		char *path;

		if (k == ASKERS_MAX)
			break;
		listing_entry_locked(l, l->next, &d);
		l->busy[k] = ++l->next;
		pthread_mutex_unlock(&l->lock);
		path = path_join(l->dir, d.name);
		if (!is_known(l->c, path, 0)) {
			call_others(l);
			w->turn--;
			took = ask(l, w->ctx, path, &d);
		}
		free(path);
		pthread_mutex_lock(&l->lock);
		if (took)
			l->ask_ns += (took - l->ask_ns) / (l->ask_ns ? 8 : 1);
		l->busy[k] = 0;
		pthread_cond_broadcast(&l->cond);
	}
	again = !w->turn && goes_on_locked(l, w);
	if (!again)
		l->askers--;
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
	if (again)
		listing_run(l, ask_job);
}

/* Somebody is at an entry of the window, or will be. */
static bool
is_busy_locked(const struct cache_listing *l, size_t from, size_t end)
{
	if (l->askers && l->next < end && l->next < l->n && l->next < l->limit)
		return true;
	for (size_t k = 0; k < ASKERS_MAX; k++)
		if (l->busy[k] > from && l->busy[k] <= end)
			return true;
	return false;
}

/* Asks for them, and waits for those that others ask for; until the time is
 * over, but for the first. */
static void
make_known(struct cache_listing *l, struct cache_ctx *ctx, size_t from,
	   size_t end, int64_t until_ns)
{
	struct walk w = { .ctx = ctx,
			  .end = end,
			  .turn = UINT_MAX,
			  .until_ns = until_ns };
	bool more;
	int ret = 0;

	pthread_mutex_lock(&l->lock);
	l->askers++;
	pthread_mutex_unlock(&l->lock);
	go_along(l, &w);
	pthread_mutex_lock(&l->lock);
	while (ret == 0 && is_busy_locked(l, from, end) &&
	       (clock_mono_ns() < until_ns ||
		is_busy_locked(l, from, from + 1)))
		ret = listing_wait_locked(l, ctx);
	more = l->c->cfg.run && !l->askers && left_locked(l);
	if (more)
		l->askers++;
	pthread_mutex_unlock(&l->lock);
	if (more)
		listing_run(l, ask_job);
}

/* How many, from the first on. */
static size_t
count_known(struct cache_listing *l, size_t from, size_t end, int64_t since)
{
	size_t i;

	for (i = from; i < end; i++) {
		_cleanup_free_ char *path = NULL;
		struct cache_dirent d;

		pthread_mutex_lock(&l->lock);
		listing_entry_locked(l, i, &d);
		pthread_mutex_unlock(&l->lock);
		path = path_join(l->dir, d.name);
		if (!is_known(l->c, path, since))
			break;
	}
	return i - from;
}

static int64_t
until_of(const struct cache *c, int64_t since)
{
	int64_t part = atomic_load(&c->cfg.actimeo_ns) / AGE_PART;

	return since + (part > WAIT_MIN ? part : WAIT_MIN);
}

size_t
cache_prefetch_attrs(struct cache_listing *l, struct cache_ctx *ctx,
		     size_t from, size_t n)
{
	int64_t since = ctx->since_ns ? ctx->since_ns : clock_mono_ns();
	int64_t until = until_of(l->c, since);
	size_t end = from + n, ahead;
	bool before;

	if (ctx->try_only)
		return n;
	pthread_mutex_lock(&l->lock);
	ahead = from ? ahead_locked(l) : 0;
	if (end > l->n)
		end = l->n;
	l->stepping = false;
	before = l->next > from && l->next <= end + AHEAD_MAX;
	if (!before)
		l->next = from;
	if (!before || l->limit < end + ahead)
		l->limit = end + ahead;
	pthread_mutex_unlock(&l->lock);
	make_known(l, ctx, from, end, until);
	n = count_known(l, from, end, since);
	/* What was known when they came by may be old when the reader comes. */
	if (before && n < end - from && be_must_stop(&ctx->be) == 0 &&
	    clock_mono_ns() < until) {
		pthread_mutex_lock(&l->lock);
		l->next = from;
		pthread_mutex_unlock(&l->lock);
		make_known(l, ctx, from, end, until);
		n = count_known(l, from, end, since);
	}
	return n ? n : 1;
}

/* --- one after the other --------------------------------------------------- */

/* Of a program that lists first and looks then (find, du, rsync). */

#define STEPS_MIN 2
#define STEP_AHEAD 16 /* the first time, then twice as far */
#define STEP_SKIP 2   /* he need not ask for each: some are known */

static struct cache_listing *
listing_of(struct cache *c, const char *path)
{
	char *dir = path_dir(path);
	struct cache_listing *l;

	cache_lock(c);
	HASH_FIND(hh, c->listings, dir, strlen(dir), l);
	if (l)
		listing_get_ref(l);
	cache_unlock(c);
	free(dir);
	return l;
}

/* Parts come in the order of keys, which is not quite that of names: the few that
 * this does not find are looked at as if they were not listed. */
static bool
find_locked(struct cache_listing *l, const char *name, size_t *at,
	    struct cache_dirent *d)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp;

		listing_entry_locked(l, mid, d);
		cmp = strcmp(d->name, name);
		if (cmp == 0) {
			*at = mid;
			return true;
		}
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static size_t
step_ahead_locked(const struct cache_listing *l)
{
	size_t most = ahead_locked(l);
	unsigned n = l->steps - STEPS_MIN;
	size_t far = n < 16 ? (size_t)STEP_AHEAD << n : most;

	return far < most ? far : most;
}

/* Somebody asks for entry i, or is about to. */
static bool
is_asked_locked(const struct cache_listing *l, size_t i)
{
	return i < l->limit && is_busy_locked(l, i, i + 1);
}

/* He is at entry i.  true: one is to lead those who ask behind it. */
static bool
step_locked(struct cache_listing *l, size_t i)
{
	bool goes_on = i >= l->step_at && i - l->step_at <= STEP_SKIP;
	bool lead = false;

	/* What was asked ahead of him was known when he came. */
	if (l->stepping && i >= l->step_at && i <= l->limit + STEP_SKIP)
		goes_on = true;
	l->steps = goes_on ? l->steps + 1 : 0;
	l->step_at = i + 1;
	if (l->steps >= STEPS_MIN && (l->stepping || !l->askers)) {
		size_t to = i + 1 + step_ahead_locked(l);

		if (!l->askers) {
			l->stepping = true;
			l->next = i + 1;
			l->limit = to;
			lead = left_locked(l) > 0;
		} else if (l->limit < to) {
			l->limit = to;
		}
	}
	return lead;
}

enum be_hint
listing_step(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct cache_listing *l;
	enum be_hint hint = BE_HINT_NONE;
	struct cache_dirent d;
	bool lead = false;
	int ret = 0;
	size_t i;

	/* There a name costs nothing; who reads the listing has its askers; and
	 * what is known shows nothing of what is wanted next. */
	if (c->be->caps.random_write || !*path || ctx->since_ns ||
	    is_known(c, path, 0))
		return BE_HINT_NONE;
	l = listing_of(c, path);
	if (!l)
		return BE_HINT_NONE;
	pthread_mutex_lock(&l->lock);
	if (find_locked(l, path_base(path), &i, &d)) {
		hint = S_ISDIR(d.mode) ? BE_HINT_DIR : BE_HINT_FILE;
		if (c->cfg.run && atomic_load(&c->cfg.actimeo_ns) != 0)
			lead = step_locked(l, i);
		if (lead)
			l->askers++;
		while (!lead && ret == 0 && is_asked_locked(l, i))
			ret = listing_wait_locked(l, ctx);
	}
	pthread_mutex_unlock(&l->lock);
	if (lead)
		listing_run(l, ask_job);
	listing_put_ref(l);
	return hint;
}
