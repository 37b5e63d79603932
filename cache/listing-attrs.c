/* SPDX-License-Identifier: MIT */
/*
 * Attributes of what is listed, before they are asked for one by one: a few
 * threads go along the listing, some way ahead of the reader.
 */
#include <config.h>

#include "cache/listing.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "common/path.h"

/* So far ahead of a reader who has shown that he wants them. */
#define AHEAD 512

static bool
is_known(struct cache *c, const char *path)
{
	struct be_attr a;
	int64_t until;
	bool known;

	cache_lock(c);
	known = attr_find_locked(c, path, &a, &until) != -EAGAIN;
	cache_unlock(c);
	return known;
}

/* What was listed is there as such: half the questions. */
static void
ask(struct cache_listing *l, struct cache_ctx *ctx, const char *path,
    const struct cache_dirent *d)
{
	struct be_attr a;
	int64_t until;

	attr_get_as(l->c, ctx, path,
		    S_ISDIR(d->mode) ? BE_HINT_DIR : BE_HINT_FILE, &a, &until);
}

static size_t
place_locked(struct cache_listing *l)
{
	size_t k = 0;

	while (k < ASKERS_MAX && l->busy[k])
		k++;
	return k;
}

static void go_along(struct cache_listing *l, struct cache_ctx *ctx,
		     size_t end, bool first);

static void
ask_job(void *arg)
{
	struct cache_listing *l = arg;
	struct cache_ctx ctx = { .be = l->who };

	go_along(l, &ctx, SIZE_MAX, false);
}

/* Until the limit, or entry `end`.  The first one has the others started when
 * there is something to ask at all. */
static void
go_along(struct cache_listing *l, struct cache_ctx *ctx, size_t end, bool first)
{
	pthread_mutex_lock(&l->lock);
	l->askers++;
	while (l->next < l->n && l->next < l->limit && l->next < end &&
	       be_must_stop(&ctx->be) == 0) {
		size_t k = place_locked(l), left;
		struct cache_dirent d;
		char *path;
		bool known;

		if (k == ASKERS_MAX)
			break;
		listing_entry_locked(l, l->next, &d);
		l->busy[k] = ++l->next;
		left = (l->n < l->limit ? l->n : l->limit) - l->next;
		pthread_mutex_unlock(&l->lock);
		path = path_join(l->dir, d.name);
		known = is_known(l->c, path);
		for (size_t i = 0; first && !known && l->c->cfg.run &&
				   i < left && i < ASKERS_MAX - 1; i++)
			listing_run(l, ask_job);
		if (!known) {
			first = false;
			ask(l, ctx, path, &d);
		}
		free(path);
		pthread_mutex_lock(&l->lock);
		l->busy[k] = 0;
		pthread_cond_broadcast(&l->cond);
	}
	l->askers--;
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
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

static void
make_known(struct cache_listing *l, struct cache_ctx *ctx, size_t from,
	   size_t end)
{
	int ret = 0;

	go_along(l, ctx, end, true);
	pthread_mutex_lock(&l->lock);
	while (ret == 0 && is_busy_locked(l, from, end))
		ret = listing_wait_locked(l, ctx);
	pthread_mutex_unlock(&l->lock);
}

static bool
all_known(struct cache_listing *l, size_t from, size_t end)
{
	bool known = true;

	for (size_t i = from; known && i < end; i++) {
		_cleanup_free_ char *path = NULL;
		struct cache_dirent d;

		pthread_mutex_lock(&l->lock);
		listing_entry_locked(l, i, &d);
		pthread_mutex_unlock(&l->lock);
		path = path_join(l->dir, d.name);
		known = is_known(l->c, path);
	}
	return known;
}

void
cache_prefetch_attrs(struct cache_listing *l, struct cache_ctx *ctx,
		     size_t from, size_t n)
{
	size_t end = from + n, ahead = from ? AHEAD : 0;
	bool before;

	if (ctx->try_only)
		return;
	pthread_mutex_lock(&l->lock);
	if (end > l->n)
		end = l->n;
	before = l->next > from && l->next <= end + ahead;
	if (!before)
		l->next = from;
	l->limit = end + ahead;
	pthread_mutex_unlock(&l->lock);
	make_known(l, ctx, from, end);
	/* What was known when they came by may be old when the reader comes. */
	if (!before || be_must_stop(&ctx->be) < 0 || all_known(l, from, end))
		return;
	pthread_mutex_lock(&l->lock);
	l->next = from;
	pthread_mutex_unlock(&l->lock);
	make_known(l, ctx, from, end);
}
