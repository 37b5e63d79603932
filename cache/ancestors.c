/* SPDX-License-Identifier: MIT */
/*
 * The directories above a name that is asked for.  The kernel looks at each of
 * them on its way there, and when it finds that one is too old it waits for the
 * store, one after the other.  So while somebody works below a directory its
 * attributes are asked for shortly before that, and nobody waits.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define SLOTS 64
/* Of actimeo: so long before the end. */
#define PART 4

/* Who is asked for, to replace the answer that is good until then. */
struct ancestors {
	struct {
		uint64_t path;
		int64_t until_ns;
	} slot[SLOTS];
};

void
ancestors_init(struct cache *c)
{
	c->ancestors = xcalloc(1, sizeof(*c->ancestors));
}

void
ancestors_release(struct cache *c)
{
	free(c->ancestors);
}

struct question {
	struct cache *c;
	char *path;
};

static void
ask(void *job)
{
	struct question *q = job;
	struct cache *c = q->c;
	struct cache_ctx ctx = { .be.cancel = &c->stopping };
	uint64_t asked = epoch_now(c);
	struct be_attr a;

	/* A failure is told to who asks for it himself. */
	if (be_getattr(c->be, &ctx.be, q->path, BE_HINT_DIR, &a) == 0)
		attr_install(c, q->path, &a, asked);
	atomic_fetch_sub(&c->jobs, 1);
	free(q->path);
	free(q);
}

/* Is it known, will soon be too old, and is not asked for yet? */
static bool
is_due(struct cache *c, const char *path, int64_t now)
{
	int64_t part = atomic_load(&c->cfg.actimeo_ns) / PART, until;
	uint64_t h = XXH3_64bits(path, strlen(path));
	struct be_attr a;
	bool due = false;

	cache_lock(c);
	if (attr_find_locked(c, path, 0, &a, &until) == 0 && S_ISDIR(a.mode) &&
	    until > now && until - now < part) {
		size_t i = h % SLOTS;

		due = c->ancestors->slot[i].path != h ||
		      c->ancestors->slot[i].until_ns != until;
		c->ancestors->slot[i].path = h;
		c->ancestors->slot[i].until_ns = until;
	}
	cache_unlock(c);
	return due;
}

void
ancestors_renew(struct cache *c, const char *path)
{
	int64_t now = clock_mono_ns();
	char *dir, *above;

	if (c->be->caps.random_write || !c->cfg.run || !*path ||
	    atomic_load(&c->stopping))
		return;
	for (dir = path_dir(path);; dir = above) {
		if (is_due(c, dir, now)) {
			struct question *q = xcalloc(1, sizeof(*q));

			*q = (struct question){ c, xstrdup(dir) };
			atomic_fetch_add(&c->jobs, 1);
			c->cfg.run(c->cfg.arg, ask, q);
		}
		if (!*dir)
			break;
		above = path_dir(dir);
		free(dir);
	}
	free(dir);
}
