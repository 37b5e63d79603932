/* SPDX-License-Identifier: MIT */
/*
 * Keeps clean content within size_max and out of the disk's last free_min
 * bytes.  A pass counts what is there (other daemons add and drop too, so no
 * sum in memory is believed for long) and, above a high watermark, drops the
 * least recently used down to the low one.  What is open has a shared flock,
 * and what a kernel reads by itself a lock that outlives its worker: they are
 * passed over.  Nobody waits for a pass but a writer who would
 * otherwise get ENOSPC.
 */
#include <config.h>

#include "cache/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define PERIOD (10 * NSEC_PER_SEC)  /* looks at the disk's free bytes */
#define RECOUNT (300 * NSEC_PER_SEC)
#define PAUSE NSEC_PER_SEC	    /* after a pass that could drop nothing */
#define ORPHAN_AGE 600		    /* seconds; what was not finished */

struct entry {
	int64_t mtime; /* ns */
	uint64_t bytes;
	char name[RECORD_NAME_LEN + 1];
};

struct census {
	struct entry *v; /* owned */
	size_t n, cap;
	uint64_t bytes;
};

static bool
over(struct store *s, uint64_t bytes, uint64_t want)
{
	if (want < s->free_min)
		want = s->free_min;
	return (s->size_max != 0 && bytes > s->size_max) ||
	       store_free_bytes(s, want) < want;
}

static void
census_add(struct census *c, const char *name, const struct stat *st)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;
	uint64_t full = ((uint64_t)st->st_size + 4095) & ~UINT64_C(4095);
	struct entry *e;

	/* Clean content has no holes: its blocks are yet to be allocated. */
	if (bytes < full)
		bytes = full;
	/* Aliases share the bytes. */
	if (st->st_nlink > 1)
		bytes /= st->st_nlink;
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 1024;
		c->v = xrealloc(c->v, c->cap, sizeof(*c->v));
	}
	e = &c->v[c->n++];
	e->mtime = timespec_ns(st->st_mtim);
	e->bytes = bytes;
	memcpy(e->name, name, RECORD_NAME_LEN);
	e->name[RECORD_NAME_LEN] = '\0';
	c->bytes += bytes;
}

static bool
abandoned(const struct stat *st)
{
	return clock_wall().tv_sec - st->st_mtim.tv_sec > ORPHAN_AGE;
}

/* A record beside its content; dropped when that never came. */
static void
count_record(struct census *c, int dir, const char *name, const struct stat *st)
{
	char content[RECORD_NAME_LEN + 1];
	struct stat cst;

	memcpy(content, name, RECORD_NAME_LEN);
	content[RECORD_NAME_LEN] = '\0';
	if (fstatat(dir, content, &cst, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno == ENOENT && abandoned(st))
		unlinkat(dir, name, 0);
	else
		c->bytes += (uint64_t)st->st_blocks * 512;
}

static int
count_bucket(struct store *s, unsigned bucket, struct census *c)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	char name[8];
	int fd;

	snprintf(name, sizeof(name), "%02x", bucket);
	fd = openat(s->fd[DIR_CLEAN], name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		int r = -errno;

		close(fd);
		return r;
	}
	while (errno = 0, (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		struct stat st;

		if (e->d_name[0] == '.' ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (e->d_name[0] == 't') {
			/* A daemon was killed, or is just writing it. */
			if (abandoned(&st))
				unlinkat(fd, e->d_name, 0);
		} else if (len == RECORD_NAME_LEN) {
			census_add(c, e->d_name, &st);
		} else if (len > RECORD_NAME_LEN &&
			   strcmp(e->d_name + RECORD_NAME_LEN, ".rec") == 0) {
			count_record(c, fd, e->d_name, &st);
		}
	}
	return -errno;
}

static int
by_age(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->mtime > y->mtime) - (x->mtime < y->mtime);
}

/* true: it is gone. */
static bool
evict(struct store *s, const struct entry *e)
{
	_cleanup_close_ int fd = -1;
	char name[CLEAN_NAME_MAX];
	struct stat st;

	snprintf(name, sizeof(name), "%.2s/%s", e->name, e->name);
	fd = openat(s->fd[DIR_CLEAN], name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0) {
		/* Open somewhere, or used since it was counted. */
		if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 ||
		    timespec_ns(st.st_mtim) > e->mtime ||
		    store_any_kernel_has(fd))
			return false;
	} else if (errno == ENOENT) {
		return true; /* another daemon was faster */
	}
	if (unlinkat(s->fd[DIR_CLEAN], name, 0) < 0) {
		store_failed(s, FAULT_WRITE, -errno, "evict");
		return errno == ENOENT;
	}
	snprintf(name, sizeof(name), "%.2s/%s.rec", e->name, e->name);
	unlinkat(s->fd[DIR_CLEAN], name, 0);
	atomic_fetch_add(&s->evictions, 1);
	return true;
}

/* Drops from c->v in its order; the number dropped.  Some disks tell late what
 * an unlink has freed, so the sum is ours. */
static size_t
evict_down(struct store *s, struct census *c, uint64_t want)
{
	uint64_t size_max = s->size_max, free_min = s->free_min;
	uint64_t size_low = size_max - size_max / 10;
	uint64_t free_low = free_min + free_min / 10;
	uint64_t free_now = store_free_bytes(s, UINT64_MAX);
	size_t n = 0;

	if (want > free_low)
		free_low = want;
	for (size_t i = 0; i < c->n && !atomic_load(&s->stopping); i++) {
		if ((size_max == 0 || c->bytes <= size_low) &&
		    free_now >= free_low)
			break;
		if (!evict(s, &c->v[i]))
			continue;
		n++;
		c->bytes -= c->v[i].bytes;
		free_now += c->v[i].bytes;
	}
	return n;
}

/*
 * want: bytes that should be free afterwards, if that is more than the
 * watermark.  must: also while another daemon is at it; two at once only do
 * the same work twice.
 */
static void
pass(struct store *s, uint64_t want, bool must)
{
	struct census c = { 0 };
	size_t dropped = 0;
	int r = 0;

	if (!atomic_load(&s->usable))
		return;
	if (flock(s->fd[DIR_SWEEP], LOCK_EX | LOCK_NB) < 0 && !must)
		return;
	atomic_store(&s->since_sweep, 0);
	for (unsigned i = 0; i < 256 && r == 0; i++) {
		/* What comes to a bucket after its count is not in it. */
		atomic_store(&s->fresh[i], 0);
		r = count_bucket(s, i, &c);
	}
	if (r < 0 && r != -ENOENT)
		store_failed(s, FAULT_READ, r, "count");
	if (r == 0 && over(s, c.bytes, want)) {
		store_idle_flush(s);
		if (c.n)
			qsort(c.v, c.n, sizeof(*c.v), by_age);
		dropped = evict_down(s, &c, want);
		if (dropped > 0)
			log_debug("store",
				  "%s: dropped %zu files, %" PRIu64
				  " bytes stay",
				  s->dir, dropped, c.bytes);
	}
	if (r == 0 || r == -ENOENT) {
		for (unsigned i = 0; i < 256; i++)
			c.bytes += atomic_load(&s->fresh[i]);
		atomic_store(&s->bytes, c.bytes);
		atomic_store(&s->files, c.n - dropped);
	}
	flock(s->fd[DIR_SWEEP], LOCK_UN);
	free(c.v);
	atomic_store(&s->barren_ns,
		     dropped == 0 && over(s, atomic_load(&s->bytes), want) ?
			     clock_mono_ns() :
			     0);
}

static bool
barren(struct store *s)
{
	int64_t t = atomic_load(&s->barren_ns);

	return t != 0 && clock_mono_ns() - t < PAUSE;
}

void
store_reclaim(struct store *s)
{
	pthread_mutex_lock(&s->pass_lock);
	pass(s, 0, true);
	pthread_mutex_unlock(&s->pass_lock);
}

void
reclaim_now(struct store *s, uint64_t want)
{
	if (barren(s))
		return;
	pthread_mutex_lock(&s->pass_lock);
	if (!barren(s))
		pass(s, want, true);
	pthread_mutex_unlock(&s->pass_lock);
}

void
reclaim_kick(struct store *s)
{
	pthread_mutex_lock(&s->reclaim_lock);
	if (!s->kicked) {
		s->kicked = true;
		pthread_cond_signal(&s->reclaim_cond);
	}
	pthread_mutex_unlock(&s->reclaim_lock);
}

void
store_set_limits(struct store *s, uint64_t size_max, uint64_t free_min)
{
	atomic_store(&s->size_max, size_max);
	atomic_store(&s->free_min, free_min);
	reclaim_kick(s);
}

void
reclaim_added(struct store *s, const struct clean_name *n, uint64_t bytes)
{
	uint64_t size_max = atomic_load(&s->size_max), since;
	unsigned bucket = 0;

	sscanf(n->s, "%2x", &bucket);
	bytes = (bytes + 4095) & ~UINT64_C(4095); /* what it takes on disk */
	atomic_fetch_add(&s->files, 1);
	atomic_store(&s->barren_ns, 0); /* there is something to drop */
	atomic_fetch_add(&s->bytes, bytes);
	atomic_fetch_add(&s->fresh[bucket & 255], bytes);
	since = atomic_fetch_add(&s->since_sweep, bytes) + bytes;
	/* Others add too: look before our own sum says so. */
	if (size_max != 0 &&
	    (atomic_load(&s->bytes) > size_max || since > size_max / 20))
		reclaim_kick(s);
}

static bool
due(struct store *s, int64_t counted)
{
	if (!atomic_load(&s->usable))
		return false;
	return over(s, atomic_load(&s->bytes), 0) ||
	       (s->size_max != 0 &&
		atomic_load(&s->since_sweep) > s->size_max / 20) ||
	       clock_mono_ns() - counted > RECOUNT;
}

static void *
reclaim_thread(void *arg)
{
	struct store *s = arg;
	int64_t counted = 0;

	pthread_mutex_lock(&s->reclaim_lock);
	while (!s->stop) {
		int64_t wake = clock_mono_ns();
		struct timespec t;

		s->kicked = false;
		pthread_mutex_unlock(&s->reclaim_lock);
		store_idle_age(s);
		if (counted == 0 || (due(s, counted) && !barren(s))) {
			pthread_mutex_lock(&s->pass_lock);
			pass(s, 0, false);
			pthread_mutex_unlock(&s->pass_lock);
			counted = clock_mono_ns();
		}
		wake += barren(s) ? PAUSE : PERIOD;
		t = ns_timespec(wake);
		pthread_mutex_lock(&s->reclaim_lock);
		/* A kick does not shorten the pause of a barren disk. */
		while (!s->stop && (!s->kicked || barren(s)))
			if (pthread_cond_timedwait(&s->reclaim_cond,
						   &s->reclaim_lock, &t) ==
			    ETIMEDOUT)
				break;
	}
	pthread_mutex_unlock(&s->reclaim_lock);
	return NULL;
}

void
reclaim_init(struct store *s)
{

	cond_init_mono(&s->reclaim_cond);
	pthread_mutex_init(&s->reclaim_lock, NULL);
	pthread_mutex_init(&s->pass_lock, NULL);
}

void
reclaim_start(struct store *s)
{
	s->has_thread = thread_start(&s->thread, reclaim_thread, s) == 0;
	if (!s->has_thread)
		log_warn("store", "no thread to bound the cache");
}

void
reclaim_stop(struct store *s)
{
	if (s->has_thread) {
		atomic_store(&s->stopping, true);
		pthread_mutex_lock(&s->reclaim_lock);
		s->stop = true;
		pthread_cond_signal(&s->reclaim_cond);
		pthread_mutex_unlock(&s->reclaim_lock);
		pthread_join(s->thread, NULL);
	}
	pthread_cond_destroy(&s->reclaim_cond);
	pthread_mutex_destroy(&s->reclaim_lock);
	pthread_mutex_destroy(&s->pass_lock);
}
