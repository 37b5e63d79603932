/* SPDX-License-Identifier: MIT */
/*
 * open() of a name whose entry is too old comes as two requests of the kernel,
 * LOOKUP and OPEN.  The store's answer to the first one is new enough for the
 * second one as well: it was asked for after open() began.
 *
 * That it is so can only be known of a lookup that was not followed by another
 * reply which lets the kernel walk to the name by itself.  So the lookup that
 * asked is answered with an entry that is valid for this walk only; it is
 * remembered with its thread and the version, unless another reply with an entry
 * of that name is on its way; each such reply takes it back when it is begun;
 * and the OPEN of the same thread uses it up.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/xalloc.h"

#define SLOTS 256 /* one more only costs a request */

struct asked {
	struct asked_slot {
		uint64_t path, ver;
		uint64_t listings; /* as below, then */
		unsigned walks;	   /* replies under way */
		int32_t walker;	   /* 0: empty */
	} slot[SLOTS];
	uint64_t listings; /* that have begun: each may hold any name */
	unsigned listing;  /* … and not ended */
};

void
asked_init(struct cache *c)
{
	c->asked = xcalloc(1, sizeof(*c->asked));
}

void
asked_release(struct cache *c)
{
	free(c->asked);
}

static uint64_t
hash(const char *path)
{
	return XXH3_64bits(path, strlen(path));
}

static struct asked_slot *
slot_of(struct cache *c, uint64_t h)
{
	return &c->asked->slot[h % SLOTS];
}

void
cache_entry_begin(struct cache *c, const char *path)
{
	struct asked_slot *s = slot_of(c, hash(path));

	cache_lock(c);
	s->walks++;
	s->walker = 0;
	cache_unlock(c);
}

void
cache_entry_end(struct cache *c, const char *path)
{
	struct asked_slot *s = slot_of(c, hash(path));

	cache_lock(c);
	s->walks--;
	cache_unlock(c);
}

void
cache_entries_begin(struct cache *c)
{
	cache_lock(c);
	c->asked->listings++;
	c->asked->listing++;
	cache_unlock(c);
}

void
cache_entries_end(struct cache *c)
{
	cache_lock(c);
	c->asked->listing--;
	cache_unlock(c);
}

void
asked_put_locked(struct cache *c, const char *path, int32_t walker,
		 const struct be_ver *ver)
{
	uint64_t h = hash(path);
	struct asked_slot *s = slot_of(c, h);

	if (s->walks > 1 || c->asked->listing)
		return;
	s->path = h;
	s->ver = XXH3_64bits(ver->b, ver->len);
	s->listings = c->asked->listings;
	s->walker = walker;
}

bool
asked_take_locked(struct cache *c, const char *path, int32_t walker,
		  const struct be_ver *ver)
{
	uint64_t h = hash(path);
	struct asked_slot *s = slot_of(c, h);
	bool yes = walker && s->walker == walker && s->path == h && ver->len &&
		   s->ver == XXH3_64bits(ver->b, ver->len) &&
		   s->listings == c->asked->listings;

	if (s->path == h)
		s->walker = 0;
	return yes;
}
