/* SPDX-License-Identifier: MIT */
/*
 * What a listing tells about the names that are not in it.
 *
 * Of a listed directory the hashes of its names are kept, and those of the
 * names that this node made since.  So the set never lacks a name that the
 * store had when it was asked, or that was made here; two names with one hash
 * only mean that the store is asked about both.
 *
 * With negative_timeout a name that is not in the set need not be asked for,
 * for that long after the listing was asked for.  Without it, absence is never
 * believed; then the set only helps to guess which question is the cheapest.
 *
 * A listing that answers many lookups is renewed before it is too old, if that
 * costs less than they would; so is one that is too old already and would have
 * answered many.  A directory that nobody has listed is not.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define DIRS_MAX 256
#define NAMES_MAX (1u << 20) /* hashes, of all directories */
#define OWN_MAX 16384	     /* names made here while listings are under way */
#define PAGE 1000	     /* names that one LIST tells */
#define WORTH 4		     /* lookups that pay for a page */

/* Open addressing; 0 is free, 1 was removed. */
struct hset {
	uint64_t *v;
	size_t cap, used, n; /* used: with the removed ones */
};

struct dir {
	UT_hash_handle hh;
	TAILQ_ENTRY(dir) lru;
	struct hset set; /* v NULL: never listed */
	int64_t asked_ns;
	uint64_t saved; /* lookups that it answered, or could have if younger */
	int64_t lapsed_ns; /* those are counted from then on; 0: it is young */
	bool renewing;
	bool missed; /* the last name that was looked up was not there */
	char path[];
};
TAILQ_HEAD(dir_list, dir);

/* A name that was made here, with the number of that change. */
struct own {
	uint64_t change, dir, name;
};

struct names {
	struct dir *dirs;
	struct dir_list lru;
	size_t total;
	struct own *own; /* a ring */
	uint64_t nown;
};

static uint64_t
hash(const char *s, size_t n)
{
	uint64_t h = XXH3_64bits(s, n);

	return h < 2 ? h + 2 : h;
}

/* Where h is, or would be. */
static size_t
slot(const struct hset *s, uint64_t h)
{
	size_t i = h & (s->cap - 1);

	while (s->v[i] != 0 && s->v[i] != h)
		i = (i + 1) & (s->cap - 1);
	return i;
}

static bool
hset_has(const struct hset *s, uint64_t h)
{
	return s->v && s->v[slot(s, h)] == h;
}

static void
hset_resize(struct hset *s, size_t names)
{
	struct hset to = { .cap = 64 };

	while (to.cap < names * 2)
		to.cap *= 2;
	to.v = xcalloc(to.cap, sizeof(*to.v));
	for (size_t i = 0; s->v && i < s->cap; i++) {
		if (s->v[i] > 1) {
			to.v[slot(&to, s->v[i])] = s->v[i];
			to.n++;
		}
	}
	to.used = to.n;
	free(s->v);
	*s = to;
}

static bool
hset_add(struct hset *s, uint64_t h)
{
	size_t i = slot(s, h);

	if (s->v[i] == h)
		return false;
	s->v[i] = h;
	s->n++;
	if (++s->used * 4 > s->cap * 3)
		hset_resize(s, s->n * 2);
	return true;
}

static bool
hset_del(struct hset *s, uint64_t h)
{
	size_t i = slot(s, h);

	if (s->v[i] != h)
		return false;
	s->v[i] = 1;
	s->n--;
	return true;
}

/* --- directories --------------------------------------------------------- */

void
names_init(struct cache *c)
{
	c->names = xcalloc(1, sizeof(*c->names));
	TAILQ_INIT(&c->names->lru);
	c->names->own = xcalloc(OWN_MAX, sizeof(struct own));
}

static void
drop(struct names *ns, struct dir *d)
{
	HASH_DEL(ns->dirs, d);
	TAILQ_REMOVE(&ns->lru, d, lru);
	ns->total -= d->set.n;
	free(d->set.v);
	free(d);
}

void
names_release(struct cache *c)
{
	struct names *ns = c->names;

	while (!TAILQ_EMPTY(&ns->lru))
		drop(ns, TAILQ_FIRST(&ns->lru));
	free(ns->own);
	free(ns);
}

void
names_forget_locked(struct cache *c, const char *path)
{
	struct dir *d, *tmp;

	HASH_ITER(hh, c->names->dirs, d, tmp)
	{
		if (path_within(d->path, path))
			drop(c->names, d);
	}
}

static struct dir *
find(struct names *ns, const char *path, bool make)
{
	struct dir *d;
	size_t n;

	HASH_FIND_STR(ns->dirs, path, d);
	if (d) {
		TAILQ_REMOVE(&ns->lru, d, lru);
		TAILQ_INSERT_TAIL(&ns->lru, d, lru);
		return d;
	}
	if (!make)
		return NULL;
	if (HASH_COUNT(ns->dirs) >= DIRS_MAX)
		drop(ns, TAILQ_FIRST(&ns->lru));
	n = strlen(path) + 1;
	d = xcalloc(1, sizeof(*d) + n);
	memcpy(d->path, path, n);
	HASH_ADD_STR(ns->dirs, path, d);
	TAILQ_INSERT_TAIL(&ns->lru, d, lru);
	return d;
}

static struct dir *
dir_of(struct names *ns, const char *path, bool make)
{
	char *dir = path_dir(path);
	struct dir *d = find(ns, dir, make);

	free(dir);
	return d;
}

static uint64_t
name_of(const char *path)
{
	const char *base = path_base(path);

	return hash(base, strlen(base));
}

/* --- what this node does ------------------------------------------------- */

void
names_made_locked(struct cache *c, const char *path)
{
	struct names *ns = c->names;
	const char *base = path_base(path);
	struct dir *d;

	if (c->be->caps.random_write)
		return; /* names cost nothing there */
	d = dir_of(ns, path, false);
	if (d && d->set.v && hset_add(&d->set, name_of(path)))
		ns->total++;
	ns->own[ns->nown++ % OWN_MAX] = (struct own){
		.change = c->changes,
		.dir = hash(path, base > path ? base - path - 1 : 0),
		.name = name_of(path),
	};
}

void
names_gone_locked(struct cache *c, const char *path)
{
	struct dir *d = dir_of(c->names, path, false);

	if (d && d->set.v && hset_del(&d->set, name_of(path)))
		c->names->total--;
}

/* --- what listings and lookups say --------------------------------------- */

/* What was made here after the question is there too.  false: it is not known
 * any more what that was. */
static bool
add_own(struct cache *c, struct dir *d, uint64_t asked)
{
	struct names *ns = c->names;
	uint64_t dir = hash(d->path, strlen(d->path));
	uint64_t first = ns->nown > OWN_MAX ? ns->nown - OWN_MAX : 0;

	for (uint64_t i = ns->nown; i > first; i--) {
		const struct own *o = &ns->own[(i - 1) % OWN_MAX];

		if (o->change <= asked)
			return true;
		if (o->dir == dir)
			hset_add(&d->set, o->name);
	}
	return first == 0;
}

struct names_set {
	struct hset h;
};

struct names_set *
names_set_new(struct cache *c)
{
	struct names_set *set;

	if (c->be->caps.random_write)
		return NULL;
	set = xcalloc(1, sizeof(*set));
	hset_resize(&set->h, 0);
	return set;
}

void
names_set_add(struct names_set **set, const char *name)
{
	if (!*set)
		return;
	hset_add(&(*set)->h, hash(name, strlen(name)));
	if ((*set)->h.n > NAMES_MAX / 2) {
		names_set_free(*set);
		*set = NULL;
	}
}

void
names_set_free(struct names_set *set)
{
	if (!set)
		return;
	free(set->h.v);
	free(set);
}

void
names_listed(struct cache *c, const char *path, struct names_set *from,
	     uint64_t asked, int64_t asked_ns)
{
	struct names *ns = c->names;
	struct hset set;
	struct dir *d;

	if (!from)
		return;
	set = from->h;
	free(from);
	cache_lock(c);
	if (c->changed_all > asked) {
		free(set.v); /* whole trees have come or gone */
		goto out;
	}
	d = find(ns, path, true);
	if (d->set.v && d->asked_ns > asked_ns) {
		free(set.v);
		goto out;
	}
	ns->total -= d->set.n;
	free(d->set.v);
	d->set = set;
	d->asked_ns = asked_ns;
	d->saved = 0;
	d->lapsed_ns = 0;
	d->missed = true;
	if (!add_own(c, d, asked)) {
		free(d->set.v);
		memset(&d->set, 0, sizeof(d->set));
	}
	ns->total += d->set.n;
	while (ns->total > NAMES_MAX && TAILQ_FIRST(&ns->lru) != d)
		drop(ns, TAILQ_FIRST(&ns->lru));
out:
	cache_unlock(c);
}

/* One more lookup: does it pay to list again? */
static bool
is_worth_renewing(struct dir *d, int64_t now, int64_t life)
{
	int64_t end = d->asked_ns + life;

	/* Of many lookups in a long time each costs less than a listing. */
	if (now >= end && (!d->lapsed_ns || now >= d->lapsed_ns + life)) {
		d->lapsed_ns = now;
		d->saved = 0;
	}
	d->saved++;
	return !d->renewing && now > end - life / 2 &&
	       d->saved >= WORTH * (1 + d->set.n / PAGE);
}

bool
names_absent_locked(struct cache *c, const char *path, int64_t *until_ns,
		    bool *renew)
{
	int64_t now, life = c->cfg.negative_ns;
	struct dir *d;

	*renew = false;
	if (!life || !*path)
		return false;
	d = dir_of(c->names, path, false);
	if (!d || !d->set.v || hset_has(&d->set, name_of(path)))
		return false;
	now = clock_mono_ns();
	*until_ns = d->asked_ns + life;
	*renew = is_worth_renewing(d, now, life);
	if (*renew)
		d->renewing = true;
	return now < *until_ns;
}

void
names_renewed(struct cache *c, const char *path)
{
	struct dir *d;

	cache_lock(c);
	d = find(c->names, path, false);
	if (d)
		d->renewing = false;
	cache_unlock(c);
}

bool
names_guess_locked(struct cache *c, const char *path)
{
	struct dir *d = dir_of(c->names, path, false);

	return d && d->missed &&
	       !(d->set.v && hset_has(&d->set, name_of(path)));
}

void
names_looked_locked(struct cache *c, const char *path, bool found)
{
	struct dir *d;

	if (c->be->caps.random_write || !*path)
		return;
	d = dir_of(c->names, path, !found);
	if (d)
		d->missed = !found;
}
