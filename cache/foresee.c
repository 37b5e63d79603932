/* SPDX-License-Identifier: MIT */
/*
 * Which lookup is the beginning of an open()?  The kernel does not say.  But
 * where the names of a directory were opened as soon as they had been looked
 * up, the next one's lookup may bring a small file along: then its open() has
 * nothing left to ask.  It stops after a few that nobody opened.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/path.h"
#include "common/xalloc.h"

#define SLOTS 64
#define WASTE_MAX 8 /* lookups in vain, at FORESEE_MAX bytes each */

struct foresee {
	struct foresee_slot {
		uint64_t dir;
		unsigned waste;
	} slot[SLOTS];
};

void
foresee_init(struct cache *c)
{
	c->foresee = xcalloc(1, sizeof(*c->foresee));
}

void
foresee_release(struct cache *c)
{
	free(c->foresee);
}

static struct foresee_slot *
slot_of(struct cache *c, const char *path, uint64_t *h)
{
	char *dir = path_dir(path);

	*h = XXH3_64bits(dir, strlen(dir));
	free(dir);
	return &c->foresee->slot[*h % SLOTS];
}

bool
foresee_open_locked(struct cache *c, const char *path)
{
	uint64_t h;
	struct foresee_slot *s = slot_of(c, path, &h);

	return s->dir == h && s->waste < WASTE_MAX && ++s->waste;
}

void
foresee_opened_locked(struct cache *c, const char *path)
{
	uint64_t h;
	struct foresee_slot *s = slot_of(c, path, &h);

	*s = (struct foresee_slot){ .dir = h };
}
