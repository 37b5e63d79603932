/* SPDX-License-Identifier: MIT */
/*
 * open() of a name whose entry is too old comes as two requests of the kernel,
 * LOOKUP and OPEN.  The store's answer to the first one is new enough for the
 * second one as well: it was asked for after open() began.
 *
 * That it is so can only be known of a lookup that was not followed by another
 * reply which lets the kernel walk to the name by itself.  So the lookup that
 * asked is answered with an entry that is valid for this walk only; it is
 * remembered with its thread and the version; each other lookup of the name
 * takes that back; and the OPEN of the same thread uses it up.
 *
 * (Two replies for one name that overtake each other on the way into the kernel
 * by more than a round trip to the store could still deceive it.)
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
		int32_t walker; /* 0: empty */
	} slot[SLOTS];
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

void
asked_put_locked(struct cache *c, const char *path, int32_t walker,
		 const struct be_ver *ver)
{
	uint64_t h = hash(path);

	c->asked->slot[h % SLOTS] = (struct asked_slot){
		.path = h,
		.ver = XXH3_64bits(ver->b, ver->len),
		.walker = walker,
	};
}

void
asked_drop_locked(struct cache *c, const char *path)
{
	uint64_t h = hash(path);
	struct asked_slot *s = &c->asked->slot[h % SLOTS];

	if (s->path == h)
		s->walker = 0;
}

bool
asked_take_locked(struct cache *c, const char *path, int32_t walker,
		  const struct be_ver *ver)
{
	uint64_t h = hash(path);
	struct asked_slot *s = &c->asked->slot[h % SLOTS];
	bool yes = walker && s->walker == walker && s->path == h && ver->len &&
		   s->ver == XXH3_64bits(ver->b, ver->len);

	if (s->path == h)
		s->walker = 0;
	return yes;
}
