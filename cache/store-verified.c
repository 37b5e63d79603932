/* SPDX-License-Identifier: MIT */
/* See store-priv.h.  A hash table of bitmaps; those that nobody holds stay
 * for the next open until there are too many. */
#include <config.h>

#include "cache/store-priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "common/xalloc.h"

#define IDLE_MAX 16384

struct verified_key {
	uint64_t ino, size;
	int64_t sec, nsec; /* ctime */
};

struct verified {
	struct verified_key key;
	UT_hash_handle hh;
	unsigned refs; /* table lock; 0: in idle */
	TAILQ_ENTRY(verified) link;
	uint64_t nwords;
	atomic_ullong bits[];
};

TAILQ_HEAD(idle_list, verified);

struct verified_table {
	pthread_mutex_t lock; /* all below */
	struct verified *hash;
	struct idle_list idle; /* least recently used first */
	unsigned nidle;
};

struct verified_table *
verified_table_new(void)
{
	struct verified_table *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->lock, NULL);
	TAILQ_INIT(&t->idle);
	return t;
}

static void
drop_idle_locked(struct verified_table *t, struct verified *v)
{
	TAILQ_REMOVE(&t->idle, v, link);
	t->nidle--;
	HASH_DEL(t->hash, v);
	free(v);
}

void
verified_table_free(struct verified_table *t)
{
	struct verified *v;

	while ((v = TAILQ_FIRST(&t->idle)))
		drop_idle_locked(t, v);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct verified_key
key_of(const struct stat *st)
{
	return (struct verified_key){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.sec = st->st_ctim.tv_sec,
		.nsec = st->st_ctim.tv_nsec,
	};
}

bool
verified_fits(const struct verified *v, const struct stat *st)
{
	const struct verified_key key = key_of(st);

	return memcmp(&v->key, &key, sizeof(key)) == 0;
}

struct verified *
verified_get(struct verified_table *t, const struct stat *st, uint64_t nblocks)
{
	const struct verified_key key = key_of(st);
	struct verified *v;

	pthread_mutex_lock(&t->lock);
	HASH_FIND(hh, t->hash, &key, sizeof(key), v);
	if (!v) {
		uint64_t nwords = nblocks / 64 + 1;

		v = xcalloc(1, sizeof(*v) + nwords * sizeof(v->bits[0]));
		v->key = key;
		v->nwords = nwords;
		HASH_ADD(hh, t->hash, key, sizeof(v->key), v);
	} else if (v->refs == 0) {
		TAILQ_REMOVE(&t->idle, v, link);
		t->nidle--;
	}
	v->refs++;
	pthread_mutex_unlock(&t->lock);
	return v;
}

void
verified_put(struct verified_table *t, struct verified *v)
{
	pthread_mutex_lock(&t->lock);
	if (--v->refs == 0) {
		TAILQ_INSERT_TAIL(&t->idle, v, link);
		t->nidle++;
		if (t->nidle > IDLE_MAX)
			drop_idle_locked(t, TAILQ_FIRST(&t->idle));
	}
	pthread_mutex_unlock(&t->lock);
}

bool
verified_has(const struct verified *v, uint64_t block)
{
	return block / 64 < v->nwords &&
	       (atomic_load(&v->bits[block / 64]) >> (block % 64) & 1);
}

void
verified_add(struct verified *v, uint64_t block)
{
	if (block / 64 < v->nwords)
		atomic_fetch_or(&v->bits[block / 64], 1ull << (block % 64));
}
