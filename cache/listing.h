/* SPDX-License-Identifier: MIT */
/*
 * A directory as it is being read: a listing grows while the store tells it,
 * and those who read it wait for what they need only.  The inside, for
 * listing.c and listing-attrs.c.
 */
#ifndef CACHE_LISTING_H
#define CACHE_LISTING_H

#include "cache/cache-priv.h"

#define ASKERS_MAX 32 /* threads that ask for attributes for one reader */

struct cache_listing {
	struct cache *c;
	UT_hash_handle hh; /* in cache.listings by dir, while `shared` */
	TAILQ_ENTRY(cache_listing) lru;
	LIST_ENTRY(cache_listing) filling;
	bool shared;	   /* cache.lock: a new open gets it too */
	unsigned readers;  /* cache.lock */
	uint64_t asked;	   /* epoch when it began */
	int64_t begun_ns;
	atomic_uint refs;  /* readers and jobs */
	atomic_bool taken; /* somebody fills it */
	atomic_int cancel; /* nobody reads it any more */
	char *dir;
	struct be_ctx who; /* who asked first; groups are owned */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;  /* it grew, ended, or an asker moved */
	bool done;
	struct err err; /* why it ended early */
	bool with_ino;
	size_t n;
	uint32_t *where; /* in text, of each entry */
	size_t where_cap;
	char *text; /* type, perhaps ino, name NUL */
	size_t text_len, text_cap;

	/* Attributes, ahead of a reader (listing-attrs.c). */
	size_t next, limit; /* the next to be asked for, and up to where */
	size_t busy[ASKERS_MAX]; /* entry + 1 that an asker is at; 0 = none */
	unsigned askers; /* that are at it, or will be */
	int64_t ask_ns;	 /* what an answer takes, about */
	/* Somebody looks at one name after the other: the one behind that at
	 * which he was, and how often he came to the next. */
	size_t step_at;
	unsigned steps;
	bool stepping; /* it is for him that the askers ask */
};

void listing_get_ref(struct cache_listing *l);
void listing_put_ref(struct cache_listing *l);
/* Entry i is there. */
void listing_entry_locked(const struct cache_listing *l, size_t i,
			  struct cache_dirent *out);
/* Waits until cond is signalled, or a little: the caller may be cancelled. */
int listing_wait_locked(struct cache_listing *l, struct cache_ctx *ctx);
/* A job of cfg.run that has a reference on l. */
void listing_run(struct cache_listing *l, void (*fn)(void *l));

#endif
