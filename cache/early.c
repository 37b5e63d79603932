/* SPDX-License-Identifier: MIT */
/*
 * Parts of a new file leave while it is still being written, so that close()
 * waits for the last ones only (DESIGN: nothing of it is seen before).  Each
 * part leaves once: what changes after that is sent by the commit.
 *
 * What we write ourselves we know: a part leaves as soon as all of it was
 * written.  What the kernel writes (expose.c) is looked at now and then: parts
 * well behind the end, and without a hole, are hashed and leave; the commit
 * hashes them again and so finds those that have changed since.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/store-record.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define BEGIN_PARTS 2	      /* of a file that it is worth while for */
#define UPLOADS_MAX 64	      /* at a time, all files */
#define BEHIND (4u << 20)     /* of the end, where a writer probably is */
#define LOOK_MS 30
#define QUIET_LOOKS 30 /* with nothing to look at, before the thread sleeps */

/* Nothing of a base is in it. */
static bool
is_new_locked(const struct content *k)
{
	return (!k->unlinked && k->fd >= 0 && k->staged && !k->lost &&
		!k->exposed_other) &&
	       (k->truncated || !k->in_store || k->base_size == 0);
}

void
early_drop_locked(struct content *k)
{
	if (k->early) {
		k->early->ops->free(k->early);
		atomic_fetch_sub(&k->c->nahead, 1);
	}
	k->early = NULL;
	k->early_next = 0;
	rangeset_clear(&k->early_left);
	free(k->early_sums);
	k->early_sums = NULL;
	k->nearly = 0;
	k->early_off = false;
}

bool
early_fits_locked(const struct content *k)
{
	return k->early && is_new_locked(k) && !k->resume.s[0];
}

static bool
begin_locked(struct content *k, uint64_t size)
{
	struct cache *c = k->c;
	struct be_commit commit = { .path = k->path, .size = size };
	_cleanup_close_ int fd = -1;

	if (k->early)
		return true;
	/* Perhaps none of it need be sent. */
	if (origin_is_all_locked(k, size))
		return false;
	if (k->early_off || !c->be->caps.part_size ||
	    (k->in_store && !be_ver_known(&k->base)) ||
	    size / BEGIN_PARTS < c->be->caps.part_size || !is_new_locked(k))
		return false;
	k->early_off = true;
	if (atomic_load(&c->nahead) >= UPLOADS_MAX)
		return false;
	/* No writer's descriptor: rule 17 asks for a lease. */
	fd = k->private_name ? expose_dup(k->fd, O_RDONLY) :
			       fcntl(k->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return false;
	be_opid_new(&k->early_op);
	commit.fd = fd;
	commit.opid = k->early_op;
	commit.cond.pre = k->in_store ? BE_MATCH : BE_ABSENT;
	commit.cond.ver = k->base;
	commit.whole = true;
	commit.attr = &k->attr;
	if (be_ahead(c->be, &commit, &k->early) < 0)
		return false;
	atomic_fetch_add(&c->nahead, 1);
	return true;
}

/* --- what we write --------------------------------------------------------------- */

void
early_wrote_locked(struct content *k, uint64_t off, uint64_t len)
{
	struct range r;

	rangeset_del(&k->early_left, off, len);
	if (k->exposed_rw || k->committing ||
	    !begin_locked(k, k->attr.size))
		return;
	for (;;) {
		k->early->ops->part(k->early, k->early_next, &r);
		if (!rangeset_has(&k->dirty, r.off, r.len))
			return;
		rangeset_add(&k->early_left, r.off, r.len);
		k->early->ops->send(k->early, k->early_next++);
	}
}

void
early_cut_locked(struct content *k)
{
	struct range next;

	if (!k->early)
		return;
	rangeset_del(&k->early_left, k->attr.size, UINT64_MAX / 2);
	k->early->ops->part(k->early, k->early_next, &next);
	if (k->attr.size < next.off && !k->committing)
		early_drop_locked(k); /* some servers want every part */
}

/* --- what the kernel writes ------------------------------------------------------ */

/* Before a part leaves: what it is. */
static bool
note_sums_locked(struct content *k, struct range r)
{
	_cleanup_free_ char *p = xmalloc(STORE_BLOCK);
	uint64_t from = r.off / STORE_BLOCK, n = r.len / STORE_BLOCK;

	if (from != k->nearly || r.len % STORE_BLOCK)
		return false;
	k->early_sums = xrealloc(k->early_sums, from + n, sizeof(uint64_t));
	for (uint64_t i = 0; i < n; i++) {
		size_t got;

		if (read_all(k->fd, p, STORE_BLOCK, r.off + i * STORE_BLOCK,
			     &got) < 0 || got < STORE_BLOCK)
			return false;
		k->early_sums[from + i] = record_sum(p, STORE_BLOCK);
	}
	k->nearly = from + n;
	return true;
}

/* One part, if there is one.  content.lock is held while it is hashed, and
 * for no longer. */
static bool
look_locked(struct content *k)
{
	struct stat st;
	struct range r;
	off_t hole;

	if (!k->exposed_rw || k->committing || fstat(k->fd, &st) < 0 ||
	    !begin_locked(k, st.st_size))
		return false;
	k->early->ops->part(k->early, k->early_next, &r);
	if (r.off + r.len + BEHIND > (uint64_t)st.st_size)
		return false;
	hole = lseek(k->fd, r.off, SEEK_HOLE);
	if (hole < 0 || (uint64_t)hole < r.off + r.len ||
	    !note_sums_locked(k, r))
		return false;
	rangeset_add(&k->early_left, r.off, r.len);
	k->early->ops->send(k->early, k->early_next++);
	return true;
}

void
early_rest_locked(struct content *k, uint64_t size)
{
	struct range r;

	if (!early_fits_locked(k))
		return;
	for (;;) {
		k->early->ops->part(k->early, k->early_next, &r);
		if (r.off + r.len > size)
			return;
		rangeset_add(&k->early_left, r.off, r.len);
		k->early->ops->send(k->early, k->early_next++);
	}
}

void
early_verify_locked(struct content *k, const uint64_t *sums, uint64_t n)
{
	for (uint64_t i = 0; i < k->nearly; i++)
		if (!sums || i >= n || sums[i] != k->early_sums[i])
			rangeset_del(&k->early_left, i * STORE_BLOCK,
				     STORE_BLOCK);
}

/* --- the thread that looks ------------------------------------------------------- */

static void
look_at(struct content *k)
{
	struct cache *c = k->c;
	bool more = true;

	/* Somebody may be waiting for us to leave it. */
	while (more) {
		pthread_mutex_lock(&k->lock);
		more = look_locked(k);
		pthread_mutex_unlock(&k->lock);
		pthread_mutex_lock(&c->early_lock);
		more = more && k->is_stream && !atomic_load(&c->stopping);
		pthread_mutex_unlock(&c->early_lock);
	}
}

static void *
early_thread(void *arg)
{
	struct cache *c = arg;
	unsigned quiet = 0;

	pthread_setname_np(pthread_self(), "early");
	pthread_mutex_lock(&c->early_lock);
	while (!atomic_load(&c->stopping)) {
		struct timespec t = ns_timespec(clock_mono_ns() +
						LOOK_MS * NSEC_PER_MSEC);
		struct content *k;
		unsigned n = 0;

		TAILQ_FOREACH(k, &c->streams, stream)
			n++;
		/* Each goes to the end when it was looked at. */
		while (n-- && (k = TAILQ_FIRST(&c->streams)) &&
		       !atomic_load(&c->stopping)) {
			TAILQ_REMOVE(&c->streams, k, stream);
			TAILQ_INSERT_TAIL(&c->streams, k, stream);
			k->polled = true;
			pthread_mutex_unlock(&c->early_lock);
			look_at(k);
			pthread_mutex_lock(&c->early_lock);
			k->polled = false;
			pthread_cond_broadcast(&c->early_cond);
		}
		/* Small files come and go: not woken for each of them. */
		if (TAILQ_EMPTY(&c->streams) && quiet++ >= QUIET_LOOKS) {
			c->early_asleep = true;
			pthread_cond_wait(&c->early_cond, &c->early_lock);
			c->early_asleep = false;
		} else {
			pthread_cond_timedwait(&c->early_cond, &c->early_lock,
					       &t);
		}
		if (!TAILQ_EMPTY(&c->streams))
			quiet = 0;
	}
	pthread_mutex_unlock(&c->early_lock);
	return NULL;
}

void
early_watch(struct content *k)
{
	struct cache *c = k->c;
	bool fresh;

	if (!c->be->caps.part_size)
		return;
	pthread_mutex_lock(&k->lock);
	fresh = k->exposed_rw && is_new_locked(k);
	pthread_mutex_unlock(&k->lock);
	if (!fresh)
		return;
	pthread_mutex_lock(&c->early_lock);
	if (!k->is_stream) {
		TAILQ_INSERT_TAIL(&c->streams, k, stream);
		k->is_stream = true;
	}
	if (!c->has_early)
		c->has_early = thread_start(&c->early, early_thread, c) == 0;
	if (c->early_asleep)
		pthread_cond_broadcast(&c->early_cond);
	pthread_mutex_unlock(&c->early_lock);
}

void
early_unwatch(struct content *k)
{
	struct cache *c = k->c;

	pthread_mutex_lock(&c->early_lock);
	if (k->is_stream)
		TAILQ_REMOVE(&c->streams, k, stream);
	k->is_stream = false;
	while (k->polled)
		pthread_cond_wait(&c->early_cond, &c->early_lock);
	pthread_mutex_unlock(&c->early_lock);
}

void
early_init(struct cache *c)
{

	TAILQ_INIT(&c->streams);
	pthread_mutex_init(&c->early_lock, NULL);
	cond_init_mono(&c->early_cond);
}

void
early_stop(struct cache *c)
{
	pthread_mutex_lock(&c->early_lock);
	pthread_cond_broadcast(&c->early_cond);
	pthread_mutex_unlock(&c->early_lock);
	if (c->has_early)
		pthread_join(c->early, NULL);
	c->has_early = false;
}
