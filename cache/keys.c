/* SPDX-License-Identifier: MIT */
/* One mutation of a path at a time (rule 1, B9).  A few hundred are under way
 * at the most, so the list is searched.  Whoever wants to know what this node
 * changes in the store learns it here, since nothing changes without a key. */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/clock.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define NOTES_MAX 100000 /* then they are too many to be of use */

struct note {
	struct cache_change change;
	UT_hash_handle hh;
};

static void
notes_drop_locked(struct keys *k)
{
	struct note *n, *next;

	HASH_ITER(hh, k->notes, n, next) {
		HASH_DEL(k->notes, n);
		free(n->change.path);
		free(n);
	}
}

void
keys_init(struct keys *k)
{

	pthread_mutex_init(&k->lock, NULL);
	cond_init_mono(&k->cond);
	LIST_INIT(&k->held);
}

void
keys_release(struct keys *k)
{
	notes_drop_locked(k);
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->lock);
}

static bool
collides(const struct key *a, const char *path, bool tree)
{
	if (strcmp(a->path, path) == 0)
		return true;
	return (a->tree && path_within(path, a->path)) ||
	       (tree && path_within(a->path, path));
}

static bool
free_locked(struct keys *k, const char *path, bool tree)
{
	struct key *h;

	LIST_FOREACH(h, &k->held, link)
	{
		if (collides(h, path, tree))
			return false;
	}
	return true;
}

static int
wait_locked(struct keys *k, struct be_ctx *ctx)
{
	/* Cancelling has no condition of its own: look now and then. */
	struct timespec until =
		ns_timespec(clock_mono_ns() + 100 * NSEC_PER_MSEC);

	pthread_cond_timedwait(&k->cond, &k->lock, &until);
	return be_must_stop(ctx);
}

int
key_lock2(struct keys *k, struct key *a, const char *path_a, struct key *b,
	  const char *path_b, bool tree, struct be_ctx *ctx)
{
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	/* Both or none: no order of locking to get wrong. */
	while (!free_locked(k, path_a, tree) ||
	       (b && !free_locked(k, path_b, tree))) {
		ret = wait_locked(k, ctx);
		if (ret < 0)
			break;
	}
	if (ret == 0) {
		*a = (struct key){ .path = path_a, .tree = tree };
		LIST_INSERT_HEAD(&k->held, a, link);
		if (b) {
			*b = (struct key){ .path = path_b, .tree = tree };
			LIST_INSERT_HEAD(&k->held, b, link);
		}
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

int
key_lock(struct keys *k, struct key *key, const char *path, bool tree,
	 struct be_ctx *ctx)
{
	return key_lock2(k, key, path, NULL, NULL, tree, ctx);
}

int
key_try(struct keys *k, struct key *key, const char *path)
{
	int ret = -EAGAIN;

	pthread_mutex_lock(&k->lock);
	if (free_locked(k, path, false)) {
		*key = (struct key){ .path = path };
		LIST_INSERT_HEAD(&k->held, key, link);
		ret = 0;
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* At the end: whatever looked at the store before then saw the old state, and
 * whoever asks later is told. */
static void
note_locked(struct keys *k, const struct key *key)
{
	struct note *n;

	if (!k->noting)
		return;
	HASH_FIND_STR(k->notes, key->path, n);
	if (!n && HASH_COUNT(k->notes) >= NOTES_MAX) {
		k->notes_lost = true;
		return;
	}
	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->change.path = xstrdup(key->path);
		HASH_ADD_KEYPTR(hh, k->notes, n->change.path,
				strlen(n->change.path), n);
	}
	n->change.tree |= key->tree;
}

void
key_unlock(struct keys *k, struct key *key)
{
	pthread_mutex_lock(&k->lock);
	note_locked(k, key);
	LIST_REMOVE(key, link);
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
}

void
cache_note_changes(struct cache *c, bool on)
{
	struct keys *k = &c->keys;

	pthread_mutex_lock(&k->lock);
	notes_drop_locked(k);
	k->noting = on;
	k->notes_lost = false;
	pthread_mutex_unlock(&k->lock);
}

struct cache_change *
cache_take_changes(struct cache *c, size_t *n, bool *lost)
{
	struct keys *k = &c->keys;
	struct cache_change *v;
	struct note *x, *next;

	*n = 0;
	pthread_mutex_lock(&k->lock);
	v = xcalloc(HASH_COUNT(k->notes) + 1, sizeof(*v));
	HASH_ITER(hh, k->notes, x, next) {
		v[(*n)++] = x->change;
		x->change.path = NULL;
	}
	notes_drop_locked(k);
	*lost = k->notes_lost;
	k->notes_lost = false;
	pthread_mutex_unlock(&k->lock);
	return v;
}

int
cache_wait_changes(struct cache *c, struct cache_ctx *ctx)
{
	struct keys *k = &c->keys;
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	while (ret == 0 && !LIST_EMPTY(&k->held))
		ret = wait_locked(k, &ctx->be);
	pthread_mutex_unlock(&k->lock);
	return ret;
}

void
cache_changes_free(struct cache_change *v, size_t n)
{
	while (n)
		free(v[--n].path);
	free(v);
}
