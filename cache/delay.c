/* SPDX-License-Identifier: MIT */
/* See delay.h. */
#include <config.h>

#include "cache/delay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define DELAYED_MAX 4096 /* more are sent at once */
#define SENDERS 8	 /* at a time */
#define CAN_WAIT                                                               \
	(BE_SET_MODE | BE_SET_UID | BE_SET_GID | BE_SET_ATIME | BE_SET_MTIME)

/* cache.lock; what it says changes only with the key of path held. */
struct delayed {
	UT_hash_handle hh;
	TAILQ_ENTRY(delayed) link; /* the first one due first */
	struct journal_attr r;	   /* path is the key of the table */
	int64_t due_ns;
	bool busy; /* a sender is at it, or waits for the key */
};
TAILQ_HEAD(delayed_list, delayed);

struct delay {
	struct delayed *by_path;
	struct delayed_list list;
	pthread_cond_t cond; /* something came, or was sent */
	pthread_t thread;
	bool ready, running, stop;
	unsigned senders;
	uint64_t failures;
};

void
delay_init(struct cache *c)
{

	c->delay = xcalloc(1, sizeof(*c->delay));
	TAILQ_INIT(&c->delay->list);
	cond_init_mono(&c->delay->cond);
}

static struct delayed *
find_locked(struct cache *c, const char *path)
{
	struct delayed *d;

	HASH_FIND_STR(c->delay->by_path, path, d);
	return d;
}

static void
enter_locked(struct cache *c, struct delayed *d)
{
	HASH_ADD_KEYPTR(hh, c->delay->by_path, d->r.path, strlen(d->r.path), d);
	TAILQ_INSERT_TAIL(&c->delay->list, d, link);
}

static void
leave_locked(struct cache *c, struct delayed *d)
{
	HASH_DEL(c->delay->by_path, d);
	TAILQ_REMOVE(&c->delay->list, d, link);
	pthread_cond_broadcast(&c->delay->cond);
}

static void
delayed_free(struct delayed *d)
{
	free(d->r.path);
	free(d);
}

void
delay_free(struct cache *c)
{
	struct delayed *d;

	while ((d = TAILQ_FIRST(&c->delay->list))) {
		leave_locked(c, d);
		delayed_free(d);
	}
	pthread_cond_destroy(&c->delay->cond);
	free(c->delay);
}

/* --- putting, looking and taking ------------------------------------------ */

void
delay_overlay_locked(struct cache *c, const char *path, struct be_attr *a)
{
	struct delayed *d = c->delay->by_path ? find_locked(c, path) : NULL;

	/* Another file has the name now: see send(). */
	if (d && (!d->r.ino || d->r.ino == a->ino))
		be_attr_apply(a, d->r.mask, &d->r.attr);
}

void
delay_overlay(struct cache *c, const char *path, struct be_attr *a)
{
	cache_lock(c);
	delay_overlay_locked(c, path, a);
	cache_unlock(c);
}

void
delay_take(struct cache *c, const char *path, unsigned *mask,
	   struct be_attr *attr)
{
	struct delayed *d;

	cache_lock(c);
	d = find_locked(c, path);
	if (d) {
		be_attr_apply(attr, d->r.mask & ~*mask, &d->r.attr);
		*mask |= d->r.mask;
	}
	cache_unlock(c);
}

void
delay_drop(struct cache *c, const char *path)
{
	struct delayed *d;

	cache_lock(c);
	d = find_locked(c, path);
	if (d)
		leave_locked(c, d);
	cache_unlock(c);
	if (!d)
		return;
	journal_attr_drop(c->store, &d->r.id);
	delayed_free(d);
}

/* A path of one that waits below dir, or NULL.  The caller frees. */
static char *
one_below(struct cache *c, const char *dir)
{
	struct delayed *d;
	char *path = NULL;

	cache_lock(c);
	TAILQ_FOREACH(d, &c->delay->list, link)
	{
		if (path_within(d->r.path, dir)) {
			path = xstrdup(d->r.path);
			break;
		}
	}
	cache_unlock(c);
	return path;
}

void
delay_drop_tree(struct cache *c, const char *dir)
{
	char *path;

	while ((path = one_below(c, dir))) {
		delay_drop(c, path);
		free(path);
	}
}

void
delay_moved(struct cache *c, const char *from, const char *to)
{
	char *path;

	delay_drop_tree(c, to);
	while ((path = one_below(c, from))) {
		char *moved = path_rebase(path, from, to);
		struct delayed *d;

		cache_lock(c);
		d = find_locked(c, path);
		leave_locked(c, d);
		free(d->r.path);
		d->r.path = moved;
		d->busy = false; /* who waits for the old key finds nothing */
		enter_locked(c, d);
		cache_unlock(c);
		journal_attr_put(c->store, &d->r);
		free(path);
	}
}

/* Only more is allowed than before. */
static bool
widens(mode_t old, mode_t new)
{
	mode_t changed = (old ^ new) & 07777;

	return (changed & 07000) == 0 && (changed & old) == 0;
}

/* An owner may wait only if it is the owner already, as far as is known (tar and
 * cp -a of root name it each time). */
static bool
may_wait(const struct be_attr *now, unsigned mask, const struct be_attr *attr)
{
	if (!S_ISREG(now->mode) && !S_ISDIR(now->mode))
		return false;
	if (((mask & BE_SET_UID) && now->uid != attr->uid) ||
	    ((mask & BE_SET_GID) && now->gid != attr->gid))
		return false;
	return !(mask & BE_SET_MODE) || widens(now->mode, attr->mode);
}

/* What is open shows it too, and sends it with its next bytes.  false: its
 * bytes are on the way, and what may ride with them did. */
static bool
set_content(struct content *k, unsigned mask, const struct be_attr *attr)
{
	bool clean;

	if (!k)
		return true;
	pthread_mutex_lock(&k->lock);
	clean = !content_unsent_locked(k) && !k->unlinked && k->in_store;
	if (clean)
		be_attr_apply(&k->attr, mask, attr);
	pthread_mutex_unlock(&k->lock);
	return clean;
}

static int
put_keyed(struct cache *c, const struct cache_ctx *ctx, const char *path,
	  struct content *k, unsigned mask, const struct be_attr *attr,
	  int64_t life, struct be_attr *out)
{
	struct journal_attr r;
	struct be_attr now;
	struct delayed *d;
	int64_t until;
	int ret;

	cache_lock(c);
	ret = attr_find_locked(c, path, 0, &now, &until);
	d = find_locked(c, path);
	if (ret == 0 && !d && HASH_COUNT(c->delay->by_path) >= DELAYED_MAX)
		ret = -EAGAIN;
	if (d)
		r = d->r;
	cache_unlock(c);
	if (ret < 0 || !may_wait(&now, mask, attr))
		return 1;
	if (d && r.ino != now.ino)
		return 1;
	if (!d) {
		memset(&r, 0, sizeof(r));
		be_opid_new(&r.id);
		r.path = (char *)(uintptr_t)path;
		r.uid = ctx->be.uid;
		r.gid = ctx->be.gid;
		r.ver = now.ver;
		r.ino = now.ino;
		r.mode = now.mode;
	}
	r.attr.mode |= now.mode & S_IFMT;
	be_attr_apply(&r.attr, mask, attr);
	r.mask |= mask;
	/* The same file, but other bytes now, of our own: those carried it. */
	r.ver = now.ver;
	if (journal_attr_put(c->store, &r) < 0)
		return 1;
	if (!set_content(k, mask, attr)) {
		if (!d)
			journal_attr_drop(c->store, &r.id);
		return 1;
	}
	cache_lock(c);
	if (d) {
		r.path = d->r.path;
		d->r = r;
	} else {
		d = xcalloc(1, sizeof(*d));
		d->r = r;
		d->r.path = xstrdup(path);
		d->due_ns = clock_mono_ns() + life;
		enter_locked(c, d);
		pthread_cond_broadcast(&c->delay->cond);
	}
	attr_apply_locked(c, path);
	cache_unlock(c);
	be_attr_apply(&now, mask, attr);
	*out = now;
	return 0;
}

int
delay_put(struct cache *c, struct cache_ctx *ctx, const char *path,
	  struct content *k, unsigned mask, const struct be_attr *attr,
	  struct be_attr *out)
{
	int64_t life = c->cfg.attr_delay_ns, actimeo = c->cfg.actimeo_ns;
	struct be_attr want = *attr;
	struct key key;
	int ret;

	/* Other nodes may see old attributes for that long anyway. */
	if (life > actimeo)
		life = actimeo;
	if (life <= 0 || !path || !c->delay->ready || (mask & ~CAN_WAIT) ||
	    c->be->caps.random_write)
		return 1;
	want.ctime = clock_wall();
	if (ctx->try_only)
		ret = key_try(&c->keys, &key, path);
	else
		ret = key_lock(&c->keys, &key, path, false, &ctx->be);
	if (ret < 0)
		return ret;
	ret = put_keyed(c, ctx, path, k, mask | BE_SET_CTIME, &want, life, out);
	key_unlock(&c->keys, &key);
	return ret;
}

/* --- sending -------------------------------------------------------------- */

/*
 * Another node has changed the file meanwhile.  It is still that file: the
 * times that came with its bytes are the newer ones, and a mode that is no
 * longer what was widened is not touched.  Else the change was of a file that
 * is gone.
 */
static unsigned
still_wanted(const struct journal_attr *r, const struct be_attr *now)
{
	unsigned mask = r->mask & (BE_SET_UID | BE_SET_GID);

	if (r->ino != now->ino)
		return 0;
	if ((r->mask & BE_SET_MODE) && r->mode == now->mode)
		mask |= BE_SET_MODE;
	return mask ? mask | BE_SET_CTIME : 0;
}

/* 0: sent, or not wanted any more (*out->mode 0). */
static int
send(struct cache *c, struct cache_ctx *ctx, const struct journal_attr *r,
     struct be_cond *cond, struct be_attr *out)
{
	unsigned mask = r->mask;
	int ret = 0;

	memset(out, 0, sizeof(*out));
	*cond = (struct be_cond){ .pre = BE_ANY };
	if (S_ISREG(r->mode) && be_ver_known(&r->ver))
		*cond = (struct be_cond){ BE_MATCH, r->ver };
	for (int i = 0; i < CONFLICT_TRIES && mask; i++) {
		struct be_attr now;
		struct be_opid id;

		be_opid_new(&id);
		ret = be_setattr(c->be, &ctx->be, r->path, cond, &id, mask,
				 &r->attr, out);
		if (ret != -ESTALE)
			break;
		ret = be_getattr(c->be, &ctx->be, r->path, BE_HINT_FILE, &now);
		if (ret < 0)
			break;
		mask = still_wanted(r, &now);
		*cond = (struct be_cond){ BE_MATCH, now.ver };
	}
	return ret == -ENOENT ? 0 : ret;
}

int
delay_send_keyed(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct cache_ctx as = *ctx;
	struct journal_attr r;
	struct be_attr out;
	struct be_cond cond;
	struct delayed *d;
	int ret;

	cache_lock(c);
	d = find_locked(c, path);
	if (d)
		r = d->r;
	cache_unlock(c);
	if (!d)
		return 0;
	r.path = (char *)(uintptr_t)path;
	as.be.uid = r.uid;
	as.be.gid = r.gid;
	as.be.groups = NULL;
	as.be.ngroups = 0;
	ret = send(c, &as, &r, &cond, &out);
	ctx->be.transient = as.be.transient;
	if (ret == -EINTR || ret == -ETIMEDOUT || as.be.transient)
		return ret; /* it goes on waiting */
	delay_drop(c, path);
	if (ret == 0 && out.mode) {
		if (cond.pre == BE_MATCH)
			name_relabel(c, path, &cond.ver, &out);
		attr_set_own(c, path, &out);
	} else {
		attr_forget_tree(c, path);
	}
	if (ret < 0)
		log_error("cache", "\"%s\": new attributes were not taken by"
			  " the store: %s", path,
			  as.be.err ? err_words(as.be.err) : strerror(-ret));
	return ret;
}

static int
flush_one(struct cache *c, struct cache_ctx *ctx, const char *path)
{
	struct key key;
	int ret = key_lock(&c->keys, &key, path, false, &ctx->be);

	if (ret < 0)
		return ret;
	ret = delay_send_keyed(c, ctx, path);
	key_unlock(&c->keys, &key);
	return ret;
}

static bool
waits(struct cache *c, const char *path)
{
	bool yes;

	cache_lock(c);
	yes = find_locked(c, path);
	cache_unlock(c);
	return yes;
}

int
delay_flush(struct cache *c, struct cache_ctx *ctx, const char *path, bool tree)
{
	int ret = 0;

	if (!tree) {
		if (waits(c, path))
			ret = must_not_block(ctx);
		return ret == 0 ? flush_one(c, ctx, path) : ret;
	}
	while (ret == 0) {
		_cleanup_free_ char *p = one_below(c, path);

		if (!p)
			break;
		ret = must_not_block(ctx);
		if (ret == 0)
			ret = flush_one(c, ctx, p);
	}
	return ret;
}

/* --- in the background ------------------------------------------------------ */

/* The first one that is due and not taken. */
static struct delayed *
next_due_locked(struct cache *c, int64_t *wake_ns)
{
	int64_t now = clock_mono_ns();
	struct delayed *d;

	TAILQ_FOREACH(d, &c->delay->list, link)
	{
		if (d->busy)
			continue;
		if (d->due_ns <= now)
			return d;
		if (d->due_ns < *wake_ns)
			*wake_ns = d->due_ns;
	}
	return NULL;
}

static void
sender_run(void *arg)
{
	struct cache *c = arg;
	int64_t wake;

	cache_lock(c);
	for (;;) {
		_cleanup_err_ struct err err = ERR_INIT;
		struct cache_ctx ctx = { .be.cancel = &c->stopping,
					 .be.err = &err };
		struct delayed *d = next_due_locked(c, &wake);
		char *path;
		int ret;

		if (!d || atomic_load(&c->stopping))
			break;
		d->busy = true;
		path = xstrdup(d->r.path);
		cache_unlock(c);
		ret = flush_one(c, &ctx, path);
		cache_lock(c);
		d = find_locked(c, path);
		if (d) {
			d->busy = false;
			d->due_ns = clock_mono_ns() + NSEC_PER_SEC;
			TAILQ_REMOVE(&c->delay->list, d, link);
			TAILQ_INSERT_TAIL(&c->delay->list, d, link);
		}
		if (ret < 0)
			c->delay->failures++;
		pthread_cond_broadcast(&c->delay->cond);
		free(path);
	}
	c->delay->senders--;
	pthread_cond_broadcast(&c->delay->cond);
	cache_unlock(c);
	atomic_fetch_sub(&c->jobs, 1);
}

/* Hands out what is due. */
static void *
delay_main(void *arg)
{
	struct cache *c = arg;
	struct delay *dl = c->delay;

	cache_lock(c);
	while (!dl->stop) {
		int64_t wake = clock_mono_ns() + 10 * NSEC_PER_SEC;
		bool due = next_due_locked(c, &wake);

		if (due && dl->senders < SENDERS) {
			dl->senders++;
			atomic_fetch_add(&c->jobs, 1);
			cache_unlock(c);
			if (c->cfg.run)
				c->cfg.run(c->cfg.arg, sender_run, c);
			else
				sender_run(c);
			cache_lock(c);
			/* One more for each that is due, not for each look. */
			if (c->cfg.run)
				wake = clock_mono_ns() + 5 * NSEC_PER_MSEC;
		}
		if (!dl->stop) {
			struct timespec t = ns_timespec(wake);

			pthread_cond_timedwait(&dl->cond, &c->lock, &t);
		}
	}
	cache_unlock(c);
	return NULL;
}

static void
restore_one(void *arg, struct journal_attr *r)
{
	struct cache *c = arg;
	struct delayed *d = xcalloc(1, sizeof(*d)), *old;

	d->r = *r;
	r->path = NULL;
	cache_lock(c);
	old = find_locked(c, d->r.path);
	if (old)
		leave_locked(c, old); /* (never two of one path) */
	enter_locked(c, d);
	cache_unlock(c);
	if (old)
		delayed_free(old);
}

void
delay_restore(struct cache *c)
{
	journal_attr_scan(c->store, restore_one, c);
}

void
delay_start(struct cache *c)
{
	cache_lock(c);
	if (!c->delay->running && !c->be->caps.random_write)
		c->delay->running = c->delay->ready =
			thread_start(&c->delay->thread, delay_main, c) == 0;
	cache_unlock(c);
}

void
delay_stop(struct cache *c)
{
	bool running;

	cache_lock(c);
	running = c->delay->running;
	c->delay->stop = true;
	c->delay->ready = c->delay->running = false;
	pthread_cond_broadcast(&c->delay->cond);
	cache_unlock(c);
	if (running)
		pthread_join(c->delay->thread, NULL);
}

size_t
delay_count(struct cache *c)
{
	size_t n;

	cache_lock(c);
	n = HASH_COUNT(c->delay->by_path);
	cache_unlock(c);
	return n;
}

size_t
delay_drain(struct cache *c, struct cache_ctx *ctx)
{
	struct delay *dl = c->delay;
	struct delayed *d;
	uint64_t failures;
	size_t left;

	cache_lock(c);
	failures = dl->failures;
	TAILQ_FOREACH(d, &dl->list, link)
	{
		d->due_ns = 0;
	}
	pthread_cond_broadcast(&dl->cond);
	while ((left = HASH_COUNT(dl->by_path)) && dl->failures == failures &&
	       dl->running && be_must_stop(&ctx->be) == 0) {
		struct timespec t =
			ns_timespec(clock_mono_ns() + 100 * NSEC_PER_MSEC);

		pthread_cond_timedwait(&dl->cond, &c->lock, &t);
	}
	cache_unlock(c);
	return left;
}
