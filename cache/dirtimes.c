/* SPDX-License-Identifier: MIT */
/*
 * A store of objects does not move the times of a directory when names are made
 * or removed in it.  Programs that look there for what is new (scanners, make)
 * see when this node did so last, if that is newer than what the store says.
 * Other nodes and a next worker do not know it.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define DIRS_MAX 4096

struct dirtime {
	char *path;
	struct timespec moved;
	TAILQ_ENTRY(dirtime) lru;
	UT_hash_handle hh;
};

/* All of it is cache.lock's. */
struct dirtimes {
	struct dirtime *by_path;
	TAILQ_HEAD(, dirtime) lru; /* the oldest first */
	unsigned n;
};

void
dirtimes_init(struct cache *c)
{
	c->dirtimes = xcalloc(1, sizeof(*c->dirtimes));
	TAILQ_INIT(&c->dirtimes->lru);
}

static void
drop_locked(struct dirtimes *t, struct dirtime *d)
{
	HASH_DEL(t->by_path, d);
	TAILQ_REMOVE(&t->lru, d, lru);
	t->n--;
	free(d->path);
	free(d);
}

void
dirtimes_release(struct cache *c)
{
	struct dirtime *d;

	while ((d = TAILQ_FIRST(&c->dirtimes->lru)))
		drop_locked(c->dirtimes, d);
	free(c->dirtimes);
}

void
dirtimes_overlay_locked(struct cache *c, const char *path, struct be_attr *a)
{
	struct dirtime *d;

	if (!S_ISDIR(a->mode) || !c->dirtimes->n)
		return;
	HASH_FIND_STR(c->dirtimes->by_path, path, d);
	if (!d)
		return;
	if (timespec_ns(a->mtime) < timespec_ns(d->moved))
		a->mtime = d->moved;
	if (timespec_ns(a->ctime) < timespec_ns(d->moved))
		a->ctime = d->moved;
}

void
dirtimes_move_locked(struct cache *c, const char *path)
{
	struct dirtimes *t = c->dirtimes;
	struct dirtime *d;
	char *dir;

	if (c->be->caps.random_write)
		return; /* the store does it */
	dir = path_dir(path);
	HASH_FIND_STR(t->by_path, dir, d);
	if (d) {
		TAILQ_REMOVE(&t->lru, d, lru);
		free(dir);
	} else {
		d = xcalloc(1, sizeof(*d));
		d->path = dir;
		HASH_ADD_KEYPTR(hh, t->by_path, d->path, strlen(d->path), d);
		t->n++;
	}
	TAILQ_INSERT_TAIL(&t->lru, d, lru);
	d->moved = clock_wall();
	attr_apply_locked(c, d->path);
	if (t->n > DIRS_MAX)
		drop_locked(t, TAILQ_FIRST(&t->lru));
}

void
dirtimes_drop(struct cache *c, const char *path, bool tree)
{
	struct dirtime *d, *next;

	cache_lock(c);
	if (tree) {
		HASH_ITER (hh, c->dirtimes->by_path, d, next)
			if (path_within(d->path, path))
				drop_locked(c->dirtimes, d);
	} else {
		HASH_FIND_STR(c->dirtimes->by_path, path, d);
		if (d)
			drop_locked(c->dirtimes, d);
	}
	cache_unlock(c);
}
