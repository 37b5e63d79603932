/* SPDX-License-Identifier: MIT */
/*
 * Clean files that were closed a moment ago stay open for the next one: that
 * saves a path walk and the reading of the record.  They are found by name.  They
 * have no lock meanwhile, so that any daemon may evict them; what was evicted
 * or changed is found out at the next use, and its bytes are kept from the disk
 * for some seconds only: then they are closed.  Our own sweep closes all.
 */
#include <config.h>

#include "cache/store-priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <unistd.h>
#include <uthash.h>

#include "common/clock.h"
#include "common/xalloc.h"

#define IDLE_FILES 256
#define IDLE_AGE (10 * NSEC_PER_SEC)

struct idle {
	struct store_file *f;
	int64_t since_ns;
	UT_hash_handle hh; /* by f->name.s */
	TAILQ_ENTRY(idle) link;
};

TAILQ_HEAD(idle_files, idle);

struct store_idle {
	pthread_mutex_t lock; /* all below; a leaf */
	struct idle *by_name;
	struct idle_files list; /* the longest idle first */
	unsigned n;
	uint64_t bytes;
};

struct store_idle *
store_idle_new(void)
{
	struct store_idle *i = xcalloc(1, sizeof(*i));

	pthread_mutex_init(&i->lock, NULL);
	TAILQ_INIT(&i->list);
	return i;
}

static struct store_file *
remove_locked(struct store_idle *t, struct idle *e)
{
	struct store_file *f = e->f;

	HASH_DEL(t->by_name, e);
	TAILQ_REMOVE(&t->list, e, link);
	t->n--;
	t->bytes -= f->rec.size;
	free(e);
	return f;
}

/* Those that have been idle since before that. */
static void
close_older(struct store *s, int64_t before_ns)
{
	struct store_idle *t = s->idle;
	struct idle *e;

	for (;;) {
		struct store_file *f = NULL;

		pthread_mutex_lock(&t->lock);
		e = TAILQ_FIRST(&t->list);
		if (e && e->since_ns <= before_ns)
			f = remove_locked(t, e);
		pthread_mutex_unlock(&t->lock);
		if (!f)
			return;
		store_file_free(f);
	}
}

void
store_idle_flush(struct store *s)
{
	close_older(s, INT64_MAX);
}

void
store_idle_age(struct store *s)
{
	close_older(s, clock_mono_ns() - IDLE_AGE);
}

void
store_idle_free(struct store *s)
{
	if (!s->idle)
		return;
	store_idle_flush(s);
	pthread_mutex_destroy(&s->idle->lock);
	free(s->idle);
	s->idle = NULL;
}

void
store_idle_put(struct store_file *f)
{
	struct store *s = f->s;
	struct store_idle *t = s->idle;
	struct store_file *drop = NULL;
	uint64_t bytes_max = s->size_max ? s->size_max / 8 : UINT64_MAX;
	struct idle *e;

	/* A change of a record beside it could not be seen. */
	if (atomic_load(&f->bad) || f->taken || f->rec_beside ||
	    f->rec.size > bytes_max) {
		store_file_free(f);
		return;
	}
	flock(f->fd, LOCK_UN);
	pthread_mutex_lock(&t->lock);
	HASH_FIND_STR(t->by_name, f->name.s, e);
	if (e) {
		drop = f;
	} else {
		e = xcalloc(1, sizeof(*e));
		e->f = f;
		e->since_ns = clock_mono_ns();
		HASH_ADD_KEYPTR(hh, t->by_name, f->name.s, strlen(f->name.s),
				e);
		TAILQ_INSERT_TAIL(&t->list, e, link);
		t->n++;
		t->bytes += f->rec.size;
		/* One in, at most one out; what is left over ages. */
		if (t->n > IDLE_FILES || t->bytes > bytes_max)
			drop = remove_locked(t, TAILQ_FIRST(&t->list));
	}
	pthread_mutex_unlock(&t->lock);
	if (drop)
		store_file_free(drop);
}

struct store_file *
store_idle_take(struct store *s, const struct clean_name *n)
{
	struct store_idle *t = s->idle;
	struct store_file *f = NULL;
	struct idle *e;

	pthread_mutex_lock(&t->lock);
	HASH_FIND_STR(t->by_name, n->s, e);
	if (e)
		f = remove_locked(t, e);
	pthread_mutex_unlock(&t->lock);
	return f;
}

void
store_idle_drop(struct store *s, const struct clean_name *n)
{
	struct store_file *f = store_idle_take(s, n);

	if (f)
		store_file_free(f);
}
