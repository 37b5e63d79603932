/* SPDX-License-Identifier: MIT */
/* The cache as a whole: made, asked for its state, drained, freed. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

/* What attributes depend on beside the object. */
static uint64_t
defaults_of(const struct cache_config *cfg, const struct backend *be)
{
	_cleanup_free_ char *s =
		xasprintf("%s %lu %lu %lo", be->id, (unsigned long)cfg->uid,
			  (unsigned long)cfg->gid, (unsigned long)cfg->umask);

	return XXH3_64bits(s, strlen(s));
}

int
cache_new(const struct cache_config *cfg, struct backend **be,
	  struct cache **out, struct err *err)
{
	struct cache *c = xcalloc(1, sizeof(*c));
	struct store_config sc = {
		.dir = cfg->dir,
		.instance = cfg->instance,
		.store_id = (*be)->id,
		.size_max = cfg->size_max,
		.free_min = cfg->free_min,
	};
	int ret = store_new(&sc, &c->store, err);

	if (ret < 0) {
		free(c);
		return ret;
	}
	c->cfg = *cfg;
	c->cfg.dir = NULL; /* the store has its own copy */
	c->cfg.instance = NULL;
	if (!c->cfg.whole_max)
		c->cfg.whole_max = FETCH_MAX;
	c->be = steal_ptr(be);
	if (cfg->attr_table)
		c->table = attr_table_new(c->store, cfg->attr_table,
					  defaults_of(cfg, c->be));
	pthread_mutex_init(&c->lock, NULL);
	keys_init(&c->keys);
	names_init(c);
	dirtimes_init(c);
	asked_init(c);
	foresee_init(c);
	ancestors_init(c);
	delay_init(c);
	if (!c->cfg.attr_cache)
		c->cfg.attr_cache = UINT64_C(48) << 20;
	c->attrs = attr_memory_new(c->cfg.attr_cache);
	TAILQ_INIT(&c->listing_lru);
	LIST_INIT(&c->filling);
	TAILQ_INIT(&c->idle);
	TAILQ_INIT(&c->failed);
	TAILQ_INIT(&c->orphans);
	TAILQ_INIT(&c->mapped);
	TAILQ_INIT(&c->strays);
	cond_init_mono(&c->keeper_cond);
	early_init(c);
	uploads_init(c);
	*out = c;
	return 0;
}

void
cache_set_limits(struct cache *c, const struct cache_config *cfg)
{
	atomic_store(&c->cfg.actimeo_ns, cfg->actimeo_ns);
	atomic_store(&c->cfg.negative_ns, cfg->negative_ns);
	atomic_store(&c->cfg.stale_ns, cfg->stale_ns);
	atomic_store(&c->cfg.cto, cfg->cto);
	atomic_store(&c->cfg.conflict_fail, cfg->conflict_fail);
	atomic_store(&c->cfg.exclusive_at_close, cfg->exclusive_at_close);
	atomic_store(&c->cfg.readahead, cfg->readahead);
	store_set_limits(c->store, cfg->size_max, cfg->free_min);
}

struct recovery {
	struct cache *c;
	struct cache_ctx *ctx;
};

static void
finish_move(void *arg, const struct be_opid *opid, const char *from,
	    const char *to)
{
	struct recovery *r = arg;
	struct be_attr none = { 0 }, out;
	struct key a, b;
	int ret;

	/* The program that asked for it may be asking again. */
	if (key_lock2(&r->c->keys, &a, from, &b, to, true, &r->ctx->be) < 0)
		return;
	r->ctx->be.attempt = 1; /* B5: it may have been done already */
	ret = be_rename(r->c->be, &r->ctx->be, from, to, 0, opid, 0, &none,
			&out);
	r->ctx->be.attempt = 0;
	key_unlock(&r->c->keys, &b);
	key_unlock(&r->c->keys, &a);
	if (ret == 0)
		log_info("cache", "finished the rename of \"%s\" to \"%s\"",
			 from, to);
	else
		log_warn("cache", "rename of \"%s\" to \"%s\", which an "
			 "earlier daemon began: %s", from, to,
			 r->ctx->be.err ? err_words(r->ctx->be.err) :
					  strerror(-ret));
	if (ret != -EINTR && ret != -ETIMEDOUT && ret != -EIO)
		journal_move_drop(r->c->store, opid);
}

void
cache_recover(struct cache *c, struct cache_ctx *ctx)
{
	struct recovery r = { .c = c, .ctx = ctx };

	journal_move_scan(c->store, finish_move, &r);
	uploads_give_up(c, ctx);
	delay_start(c);
	takeover_send_closed(c);
}

static void
drop_idle(struct cache *c)
{
	for (;;) {
		struct content *k;

		cache_lock(c);
		k = TAILQ_FIRST(&c->idle);
		if (k) {
			content_get_locked(k);
			content_unlist_locked(k);
			content_detach_locked(k);
		}
		cache_unlock(c);
		if (!k)
			return;
		content_put(k);
	}
}

/* Files that could not be sent keep their private file and its journal record on disk. */
static void
leave_unsent(struct cache *c, struct content_list *list)
{
	struct content *k;

	while ((k = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, k, link); /* its reference is ours now */
		k->list = NULL;
		pthread_mutex_lock(&k->lock);
		free(k->private_name);
		k->private_name = NULL;
		atomic_fetch_add(&c->memory_bytes, k->attr.size);
		pthread_mutex_unlock(&k->lock);
		content_put(k);
	}
}

void
cache_free(struct cache *c)
{
	struct timespec tick = { .tv_nsec = 1000000 };

	if (!c)
		return;
	atomic_store(&c->stopping, 1);
	listing_stop_all(c);
	delay_stop(c);
	/* Jobs that were handed to cfg.run end soon: they are cancelled. */
	while (atomic_load(&c->jobs))
		nanosleep(&tick, NULL);
	expose_stop(c);
	early_stop(c);
	drop_idle(c);
	leave_unsent(c, &c->failed);
	leave_unsent(c, &c->orphans);
	uploads_free(c);
	listing_free_all(c);
	names_release(c);
	dirtimes_release(c);
	asked_release(c);
	foresee_release(c);
	ancestors_release(c);
	delay_free(c);
	attr_memory_free(c->attrs);
	backend_free(c->be); /* tells of uploads that end */
	attr_table_free(c->table);
	store_free(c->store);
	keys_release(&c->keys);
	pthread_cond_destroy(&c->keeper_cond);
	pthread_cond_destroy(&c->early_cond);
	pthread_mutex_destroy(&c->early_lock);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct backend *
cache_backend(struct cache *c)
{
	return c->be;
}

struct pending {
	void (*fn)(void *arg, const char *path, uint64_t bytes);
	void *arg;
	uint64_t files, bytes;
};

static void
pending_one(struct content *k, struct pending *p)
{
	uint64_t bytes;
	bool unsent;

	pthread_mutex_lock(&k->lock);
	unsent = content_unsent_locked(k);
	bytes = rangeset_bytes(&k->dirty) + rangeset_bytes(&k->sending);
	if (unsent && p->fn)
		p->fn(p->arg, k->path, bytes);
	pthread_mutex_unlock(&k->lock);
	if (unsent) {
		p->files++;
		p->bytes += bytes;
	}
}

static void
pending_all(struct cache *c, struct pending *p)
{
	struct content *k;

	cache_lock(c);
	for (k = c->contents; k; k = k->hh.next)
		pending_one(k, p);
	TAILQ_FOREACH(k, &c->failed, link)
		pending_one(k, p);
	cache_unlock(c);
}

void
cache_pending(struct cache *c,
	      void (*fn)(void *arg, const char *path, uint64_t bytes),
	      void *arg)
{
	struct pending p = { .fn = fn, .arg = arg };

	pending_all(c, &p);
}

void
cache_stats_get(struct cache *c, struct cache_stats *out)
{
	struct pending p = { 0 };
	struct store_stats s;

	pending_all(c, &p);
	store_stats_get(c->store, &s);
	*out = (struct cache_stats){
		.hits = atomic_load(&c->hits),
		.misses = atomic_load(&c->misses),
		.bytes = s.bytes,
		.pending_files = p.files,
		.pending_bytes = p.bytes,
		.evictions = s.evictions,
		.conflicts = atomic_load(&c->conflicts),
		.disk_errors = s.disk_errors,
		.failed_files = atomic_load(&c->failed_files),
		.kept_files = atomic_load(&c->kept_files),
		.open_files = atomic_load(&c->open_files),
		.pending_attrs = delay_count(c),
	};
}

/* One unsent content with a reference, of those not tried yet. */
static struct content *
next_unsent(struct cache *c, uint64_t round)
{
	struct content *k, *found = NULL;

	cache_lock(c);
	for (k = c->contents; k && !found; k = k->hh.next) {
		if (k->drained != round && content_unsent(k))
			found = k;
	}
	TAILQ_FOREACH(k, &c->failed, link)
	{
		if (!found && k->drained != round && content_unsent(k))
			found = k;
	}
	if (found) {
		found->drained = round;
		content_get_locked(found);
	}
	cache_unlock(c);
	return found;
}

int
cache_drain(struct cache *c, struct cache_ctx *ctx)
{
	struct pending left = { 0 };
	struct content *k;
	uint64_t round = clock_mono_ns();
	size_t attrs;

	while ((k = next_unsent(c, round))) {
		int ret = content_commit(k, ctx);

		if (ret < 0)
			log_warn("cache", "drain: %s",
				 ctx->be.err ? err_words(ctx->be.err) :
					       strerror(-ret));
		content_put(k);
		if (be_must_stop(&ctx->be) < 0)
			break;
	}
	attrs = delay_drain(c, ctx);
	pending_all(c, &left);
	if (!left.files && attrs)
		return err_set(ctx->be.err, -EIO,
			       "%zu changes of attributes are not in the store",
			       attrs);
	if (!left.files)
		return 0;
	return err_set(ctx->be.err, -EIO,
		       "%llu files with %llu bytes are not in the store",
		       (unsigned long long)left.files,
		       (unsigned long long)left.bytes);
}
