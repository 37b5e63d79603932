/* SPDX-License-Identifier: MIT */
/*
 * Files that the kernel reads and writes without us (FUSE passthrough).  What
 * changed is found by looking: a stamp (size, mtime, ctime) says whether, and
 * block sums say where.
 *
 * Rule 16: a store through a mapping moves ctime only with its first fault
 * after the page was clean, so once the stamp is taken, and before anything is
 * hashed, the pages are cleaned: that protects them again.  Rule 17: a mapping outlives its close; the
 * content is watched until a lease says that nobody can write any more.  Most
 * new files are written by a descriptor that can't be mapped: they need neither.
 */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/store-record.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

/* All of a file that is complete, and whatever it will grow to. */
#define EVERYTHING (UINT64_C(1) << 62)
/* How often it is tried whether each write moves ctime. */
#define PRECISE_TRIES 32
/* A new file above it is not hashed: it is sent whole, and if it changes after
 * that, whole again. */
#define HASH_MAX (64u << 20)
#define WATCH_SECONDS 1
/* What is read through the kernel's pages.  open+fstat+read+close takes a
 * quarter less time so; without the fstat as much, and more above it
 * (bench/README.md). */
#define SMALL_MAX (128u * 1024)
/* What is not read through them while it comes: as much as is fetched ahead.
 * Shorter files are here soon, and then a program that reads a few bytes at a
 * time is glad of the pages. */
#define LONG_FILE (64u << 20)

static bool
same_stamp(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size &&
	       timespec_equal(a->st_mtim, b->st_mtim) &&
	       timespec_equal(a->st_ctim, b->st_ctim);
}

bool
expose_changed_locked(const struct content *k)
{
	struct stat st;

	if (!k->exposed_rw)
		return false;
	return !k->stamp_ok || fstat(k->fd, &st) < 0 ||
	       !same_stamp(&st, &k->stamp);
}

void
expose_refresh_locked(struct content *k)
{
	struct stat st;

	if (!k->exposed_rw || fstat(k->fd, &st) < 0)
		return;
	if (k->stamp_ok && same_stamp(&st, &k->stamp))
		return;
	k->attr.size = st.st_size;
	/* An explicit time stays until a byte is written after it. */
	if (!timespec_equal(st.st_mtim, k->seen_mtim)) {
		k->attr.mtime = st.st_mtim;
		k->attr_dirty &= ~BE_SET_MTIME;
		k->seen_mtim = st.st_mtim;
	}
	k->attr.ctime = st.st_ctim;
}

uint64_t *
expose_sums(int fd, uint64_t size, uint64_t *n)
{
	_cleanup_free_ char *p = xmalloc(STORE_BLOCK);
	uint64_t *sums;

	*n = record_blocks(size);
	sums = xcalloc(*n, sizeof(*sums));
	for (uint64_t i = 0; i < *n; i++) {
		uint64_t off = i * STORE_BLOCK;
		size_t len = size - off < STORE_BLOCK ? size - off :
							STORE_BLOCK;
		size_t got;

		if (read_all(fd, p, len, off, &got) < 0) {
			free(sums);
			return NULL;
		}
		memset(p + got, 0, len - got); /* cut meanwhile */
		sums[i] = record_sum(p, len);
	}
	return sums;
}

static void
mark_changed_locked(struct content *k, uint64_t size)
{
	bool whole = k->truncated || !k->in_store || !k->sums || !k->scanned;

	if (whole) {
		rangeset_add(&k->dirty, 0, size);
		return;
	}
	for (uint64_t i = 0; i < k->nscanned; i++) {
		uint64_t off = i * STORE_BLOCK;
		uint64_t len = size - off < STORE_BLOCK ? size - off :
							  STORE_BLOCK;

		if (i >= k->nsums || k->sums[i] != k->scanned[i])
			rangeset_add(&k->dirty, off, len);
	}
	if (size != k->base_size)
		k->attr_dirty |= BE_SET_MTIME_SOFT;
}

int
expose_scan(struct content *k)
{
	struct stat st;
	uint64_t *sums = NULL, n = 0, left;
	bool hash, mappable;

	pthread_mutex_lock(&k->lock);
	if (!expose_changed_locked(k)) {
		pthread_mutex_unlock(&k->lock);
		return 0;
	}
	expose_refresh_locked(k);
	hash = k->attr.size <= HASH_MAX || (k->sums && !k->truncated) ||
	       origin_is_all_locked(k, k->attr.size);
	mappable = k->mappable;
	pthread_mutex_unlock(&k->lock);

	/* fd lives as long as the content, and changes only with no handle. */
	if (fstat(k->fd, &st) < 0)
		return -errno;
	if (mappable && io_protect_pages(k->fd) < 0) {
		pthread_mutex_lock(&k->lock);
		k->unkept = true;
		pthread_mutex_unlock(&k->lock);
	}
	/* What is new leaves while the rest is looked at. */
	pthread_mutex_lock(&k->lock);
	early_rest_locked(k, st.st_size);
	left = k->nearly * STORE_BLOCK;
	pthread_mutex_unlock(&k->lock);
	if (hash || left > (uint64_t)st.st_size)
		left = st.st_size;
	if (hash || left)
		sums = expose_sums(k->fd, left, &n);

	pthread_mutex_lock(&k->lock);
	early_verify_locked(k, sums, n);
	free(k->scanned);
	k->scanned = sums;
	k->nscanned = n;
	expose_refresh_locked(k);
	k->attr.size = st.st_size;
	if (k->clean_end > k->attr.size && !k->apart)
		k->clean_end = k->attr.size;
	rangeset_del(&k->dirty, k->attr.size, EVERYTHING);
	mark_changed_locked(k, st.st_size);
	if (!k->stamp_ok || !same_stamp(&st, &k->stamp))
		content_kill_priv_locked(k, k->uid);
	k->stamp = st;
	/* Mapped meanwhile, its pages were not protected again. */
	k->stamp_ok = mappable == k->mappable;
	k->gen++;
	pthread_mutex_unlock(&k->lock);
	return 0;
}

void
expose_sent_locked(struct content *k)
{
	free(k->sums);
	k->sums = k->scanned;
	k->nsums = k->nscanned;
	k->scanned = NULL;
	k->nscanned = 0;
}

/* --- giving the file to the kernel ---------------------------------------- */

/* Does each write move ctime?  Since 6.13, if it was looked at; before that
 * ctime counts in ticks, and a change could go unseen. */
static bool
measure_precise(struct cache *c)
{
	struct timespec last = { 0 };
	struct stat st;
	char *name;
	int fd, i;

	if (store_private_new(c->store, &fd, &name) < 0)
		return false;
	for (i = 0; i < PRECISE_TRIES; i++) {
		if (io_write_all(fd, "x", 1, 0) < 0 || fstat(fd, &st) < 0 ||
		    timespec_equal(st.st_ctim, last))
			break;
		last = st.st_ctim;
	}
	close(fd);
	store_private_drop(c->store, name);
	free(name);
	return i == PRECISE_TRIES;
}

static bool
is_precise(struct cache *c)
{
	int p = atomic_load(&c->precise);

	if (p == 0) {
		p = measure_precise(c) ? 1 : -1;
		atomic_store(&c->precise, p);
	}
	return p > 0;
}

/* A private file that may be written, complete; the kernel's readers of a
 * clean one keep the same inode. */
static int
make_writable(struct content *k, struct cache_ctx *ctx)
{
	bool fresh;
	int ret;

	pthread_mutex_lock(&k->lock);
	fresh = k->truncated || !k->in_store;
	if (!fresh && !k->exposed && k->attr.size > k->c->cfg.whole_max &&
	    (!k->staged || !content_local_locked(k, 0, EVERYTHING))) {
		/* Its dirty ranges are better known, and what is not here
		 * need not come. */
		pthread_mutex_unlock(&k->lock);
		return -EOPNOTSUPP;
	}
	ret = content_stage_locked(k, ctx);
	pthread_mutex_unlock(&k->lock);
	if (ret == 0 && !fresh)
		ret = content_complete(k, ctx);
	return ret;
}

static int
expose_write(struct content *k, struct cache_ctx *ctx, int *fd)
{
	int ret;

	if (!is_precise(k->c))
		return -EOPNOTSUPP;
	ret = make_writable(k, ctx);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&k->lock);
	if (!k->private_name || k->exposed_other) {
		pthread_mutex_unlock(&k->lock);
		return -EOPNOTSUPP; /* in memory, or not the kernel's */
	}
	if (!k->exposed_rw) {
		early_drop_locked(k); /* it may be changed unseen */
		/* What was written through us is known to be dirty.  From now
		 * on a change shows in the stamp, and where by the sums. */
		if (!k->truncated && k->in_store && k->base_size && !k->sums &&
		    !k->dirty.n)
			k->sums = expose_sums(k->fd, k->attr.size, &k->nsums);
		fstat(k->fd, &k->stamp);
		k->stamp_ok = true;
		k->seen_mtim = k->stamp.st_mtim;
		k->exposed = k->exposed_rw = true;
		rangeset_add(&k->present, 0, EVERYTHING);
		k->append_only = false;
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	}
	*fd = k->fd;
	pthread_mutex_unlock(&k->lock);
	early_watch(k);
	return 0;
}

static int
expose_read(struct content *k, struct cache_ctx *ctx, int *fd)
{
	struct store_file *clean = NULL;
	int ret = -EOPNOTSUPP;

	pthread_mutex_lock(&k->lock);
	/* (Of an empty file there is nothing to give, unless the kernel has it
	 * for a writer: then it must know it as one file.) */
	if (k->exposed_other || (k->attr.size == 0 && !k->exposed_rw)) {
		;
	} else if (k->fd >= 0) {
		if (k->private_name && content_local_locked(k, 0, EVERYTHING)) {
			k->exposed = true;
			/* The next worker must go on with this file. */
			if (!k->kept && !k->exposed_rw)
				content_keep_locked(k);
			*fd = k->fd;
			ret = 0;
		}
	} else if (k->clean && !k->clean_bad) {
		clean = k->clean;
	}
	pthread_mutex_unlock(&k->lock);
	if (!clean)
		return ret;
	/* Hashing a large file takes longer than a FUSE thread may. */
	if (ctx->try_only && store_file_size(clean) > k->c->cfg.whole_max &&
	    !store_is_verified(clean))
		return -EAGAIN;
	if (store_verify(clean) < 0)
		return -EOPNOTSUPP; /* it is dropped; reads will notice */
	pthread_mutex_lock(&k->lock);
	if (k->fd < 0 && !k->clean_bad) {
		k->exposed = true;
		*fd = store_kernel_fd(clean);
		ret = *fd < 0 ? -EOPNOTSUPP : 0;
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

int
cache_expose(struct cfile *cf, struct cache_ctx *ctx, bool again, int *fd)
{
	struct content *k = cf->k;
	bool exposed;

	pthread_mutex_lock(&k->lock);
	exposed = k->exposed;
	/* Whatever comes of it: a handle beside those that have the file can be
	 * mapped, too.  mmap() takes no descriptor that is only for writing. */
	if ((cf->flags & O_ACCMODE) == O_RDWR)
		k->mappable = true;
	pthread_mutex_unlock(&k->lock);
	if (again && !exposed)
		return -ESTALE;
	if (cache_open_changes(cf->flags))
		return expose_write(k, ctx, fd);
	return expose_read(k, ctx, fd);
}

bool
cache_is_small_clean(struct cfile *cf, struct be_ver *ver)
{
	struct content *k = cf->k;
	bool is;

	pthread_mutex_lock(&k->lock);
	is = k->fd < 0 && k->clean && !k->clean_bad && !k->exposed &&
	     store_file_size(k->clean) <= SMALL_MAX;
	if (is && ver)
		*ver = k->base;
	pthread_mutex_unlock(&k->lock);
	return is;
}

bool
cache_is_long_partial(struct cfile *cf)
{
	struct content *k = cf->k;
	bool is;

	pthread_mutex_lock(&k->lock);
	is = k->attr.size >= LONG_FILE && k->in_store &&
	     (k->fd < 0 ? !k->clean || k->clean_bad :
			  !content_local_locked(k, 0, k->clean_end));
	pthread_mutex_unlock(&k->lock);
	return is;
}

/* --- after the last close ------------------------------------------------- */

int
expose_dup(int fd, int flags)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return open(self, flags | O_CLOEXEC);
}

static void
ended_locked(struct content *k)
{
	k->exposed = k->exposed_rw = k->mappable = false;
}

bool
expose_may_change_locked(struct content *k)
{
	bool still;
	int ro, rw;

	if (k->committing)
		return true; /* fd is being read */
	if (!k->mappable) {
		ended_locked(k);
		return false;
	}
	/* Our own descriptor must not be a writer's while we ask. */
	ro = expose_dup(k->fd, O_RDONLY);
	if (ro < 0)
		return true;
	close(k->fd);
	k->fd = ro;
	/* Refused while anybody has it open or mapped for writing. */
	still = fcntl(ro, F_SETLEASE, F_RDLCK) == 0;
	if (still)
		fcntl(ro, F_SETLEASE, F_UNLCK);
	rw = expose_dup(ro, O_RDWR);
	if (rw < 0)
		return true; /* looked at again later */
	k->fd = rw;
	close(ro);
	if (still)
		ended_locked(k);
	return !still;
}

static struct content *
next_mapped(struct cache *c, uint64_t round)
{
	struct content *k;

	TAILQ_FOREACH(k, &c->mapped, link)
	{
		if (k->drained != round) {
			k->drained = round;
			content_get_locked(k);
			return k;
		}
	}
	return NULL;
}

static void
look_again(struct content *k)
{
	struct cache *c = k->c;
	struct cache_ctx ctx = { .be.cancel = &c->stopping };
	bool still = false, publish = false, failed = false;

	if (content_unsent(k) && content_commit(k, &ctx) < 0) {
		log_warn("cache", "\"%s\": what %s was not sent", k->path,
			 k->closed ? "a killed worker had to send" :
				     "a mapping wrote");
		failed = k->closed;
	}
	cache_lock(c);
	pthread_mutex_lock(&k->lock);
	failed = failed && k->handles == 0 && k->list == &c->mapped &&
		 !atomic_load(&c->stopping);
	/* An open() that has found k will write to its fd: two references are
	 * the list's and ours. */
	if (k->list == &c->mapped && k->refs == 2 && !content_unsent_locked(k) &&
	    !expose_may_change_locked(k)) {
		still = true;
		publish = k->current && content_publish_begin_locked(k);
	}
	pthread_mutex_unlock(&k->lock);
	if (still)
		content_unlist_locked(k);
	cache_unlock(c);
	if (publish)
		content_publish(k);
	if (failed)
		content_failed(k);
}

static void *
keeper(void *arg)
{
	struct cache *c = arg;

	cache_lock(c);
	while (!atomic_load(&c->stopping)) {
		struct timespec t = ns_timespec(clock_mono_ns() +
						WATCH_SECONDS * NSEC_PER_SEC);
		uint64_t round = clock_mono_ns();
		struct content *k;

		while (!atomic_load(&c->stopping) &&
		       (k = next_mapped(c, round))) {
			cache_unlock(c);
			look_again(k);
			content_put(k);
			cache_lock(c);
		}
		pthread_cond_timedwait(&c->keeper_cond, &c->lock, &t);
	}
	cache_unlock(c);
	return NULL;
}

void
expose_watch_locked(struct content *k)
{
	struct cache *c = k->c;

	content_list_locked(k, &c->mapped);
	if (!c->has_keeper)
		c->has_keeper = thread_start(&c->keeper, keeper, c) == 0;
}

void
expose_stop(struct cache *c)
{
	struct content *k;

	cache_lock(c);
	pthread_cond_broadcast(&c->keeper_cond);
	cache_unlock(c);
	if (c->has_keeper)
		pthread_join(c->keeper, NULL);
	while ((k = TAILQ_FIRST(&c->mapped))) {
		cache_lock(c);
		content_get_locked(k);
		content_unlist_locked(k);
		cache_unlock(c);
		if (content_unsent(k))
			content_failed(k);
		content_put(k);
	}
}

void
expose_free(struct content *k)
{
	free(k->sums);
	free(k->scanned);
}
