/* SPDX-License-Identifier: MIT */
/*
 * Clean content is found, read and verified.  See store.h and
 * docs/cache-format.md.
 */
#include <config.h>

#include "cache/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#define REC_FILE_MAX (1u << 30)
#define LOOK_MAX (1u << 20)
#define TOUCH_AGE 60 /* seconds; the order of eviction is no finer */

/* --- the store ----------------------------------------------------------- */

int
store_new(const struct store_config *cfg, struct store **out, struct err *err)
{
	struct store *s;
	int r;

	if (!path_name_ok(cfg->instance, strlen(cfg->instance)))
		return err_set(err, -EINVAL, "bad instance name \"%s\"",
			       cfg->instance);
	s = xcalloc(1, sizeof(*s));
	s->dir = xstrdup(cfg->dir);
	s->instance = xstrdup(cfg->instance);
	s->id = xstrdup(cfg->store_id);
	s->size_max = cfg->size_max;
	s->free_min = cfg->free_min;
	pthread_mutex_init(&s->setup_lock, NULL);
	pthread_mutex_init(&s->spare_lock, NULL);
	pthread_mutex_init(&s->retire_lock, NULL);
	journal_boot_id(s->boot);
	reclaim_init(s);
	atomic_store(&s->next_name, (unsigned long long)timespec_ns(clock_wall()));
	s->verified = verified_table_new();
	s->idle = store_idle_new();
	for (int i = 0; i < DIR_N; i++)
		s->fd[i] = -1;
	for (int i = 0; i < DIR_N; i++) {
		/* A number that dup3() can replace later. */
		s->fd[i] = open("/dev/null", O_PATH | O_CLOEXEC);
		if (s->fd[i] < 0) {
			r = err_set(err, -errno, "/dev/null: %s",
				    strerror(errno));
			goto fail;
		}
	}
	r = store_setup(s, err);
	if (r == -EINVAL || r == -EACCES || r == -EPERM || r == -EBUSY ||
	    r == -ELOOP)
		goto fail;
	if (r < 0) {
		store_setup_failed(s, err ? err_words(err) : strerror(-r));
		if (err)
			err_release(err);
	} else {
		store_drop_temps(s);
	}
	store_free_bytes(s, UINT64_MAX);
	reclaim_start(s);
	*out = s;
	return 0;
fail:
	store_free(s);
	return r == -EPERM || r == -ELOOP ? -EACCES : r;
}

void
store_free(struct store *s)
{
	if (!s)
		return;
	reclaim_stop(s);
	store_idle_free(s);
	for (int i = 0; i < DIR_N; i++)
		if (s->fd[i] >= 0)
			close(s->fd[i]);
	verified_table_free(s->verified);
	pthread_mutex_destroy(&s->setup_lock);
	pthread_mutex_destroy(&s->spare_lock);
	pthread_mutex_destroy(&s->retire_lock);
	free(s->dir);
	free(s->instance);
	free(s->id);
	free(s);
}

bool
store_usable(const struct store *s)
{
	return atomic_load(&s->usable);
}

void
store_stats_get(struct store *s, struct store_stats *out)
{
	out->bytes = atomic_load(&s->bytes);
	out->files = atomic_load(&s->files);
	out->evictions = atomic_load(&s->evictions);
	out->disk_errors = atomic_load(&s->disk_errors);
	out->bad_blocks = atomic_load(&s->bad_blocks);
}

/* --- names and records --------------------------------------------------- */

struct record_key
store_key(struct store *s, const char *path, const struct be_ver *ver)
{
	return (struct record_key){ .id = s->id, .path = path, .ver = ver };
}

void
store_clean_name(const struct record_key *k, struct clean_name *n)
{
	char h[RECORD_NAME_LEN + 1];

	record_name(k, h);
	snprintf(n->s, sizeof(n->s), "%.2s/%s", h, h);
	snprintf(n->rec, sizeof(n->rec), "%.2s/%s.rec", h, h);
	snprintf(n->xattr, sizeof(n->xattr), "user.sfs.%s", h);
}

void
store_drop_clean(struct store *s, const struct clean_name *n)
{
	store_idle_drop(s, n);
	if (unlinkat(s->fd[DIR_CLEAN], n->s, 0) < 0)
		store_failed(s, FAULT_WRITE, -errno, "unlink");
	unlinkat(s->fd[DIR_CLEAN], n->rec, 0);
}

static void
damaged(struct store *s, const struct clean_name *n, const char *what)
{
	atomic_fetch_add(&s->bad_blocks, 1);
	store_fault(s, FAULT_DAMAGE, -EBADMSG, what);
	store_drop_clean(s, n);
}

/* 0, -ENOENT (no record), -EBADMSG, or what the disk said. */
static int
read_rec_file(struct store *s, const struct clean_name *n,
	      const struct record_key *k, struct record *out)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *p = NULL;
	struct stat st;
	ssize_t got;

	fd = openat(s->fd[DIR_CLEAN], n->rec,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    st.st_size > REC_FILE_MAX)
		return -EBADMSG;
	p = xmalloc((size_t)st.st_size);
	got = pread(fd, p, (size_t)st.st_size, 0);
	if (got < 0)
		return -errno;
	return record_parse(p, (size_t)got, k, out);
}

static int
load_record(struct store *s, int fd, const struct clean_name *n,
	    const struct record_key *k, struct record *out, bool *beside)
{
	char buf[XATTR_REC_MAX];
	ssize_t len;

	len = fgetxattr(fd, n->xattr, buf, sizeof(buf));
	if (len >= 0)
		return record_parse(buf, (size_t)len, k, out);
	if (errno == ERANGE)
		return -EBADMSG;
	if (errno != ENODATA && errno != ENOTSUP)
		return -errno;
	*beside = true;
	return read_rec_file(s, n, k, out);
}

/* --- open and read ------------------------------------------------------- */

void
store_carry_verified(struct store_file *f)
{
	struct verified *v;
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return;
	v = verified_get(f->s->verified, &st, f->rec.nblocks);
	for (uint64_t i = 0; i < f->rec.nblocks; i++)
		if (verified_has(f->good, i))
			verified_add(v, i);
	verified_put(f->s->verified, f->good);
	f->good = v;
}

/* Marks the use, rarely: the inode is written each time. */
static void
touch(struct store_file *f, const struct stat *st)
{
	struct timespec now = clock_wall();
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, now };

	if (st->st_mtim.tv_sec <= now.tv_sec &&
	    now.tv_sec - st->st_mtim.tv_sec < TOUCH_AGE)
		return;
	if (futimens(f->fd, t) == 0)
		store_carry_verified(f);
}

/* One that was closed a moment ago, if it still is what it was. */
static struct store_file *
open_idle(struct store *s, const struct clean_name *n,
	  const struct record_key *k)
{
	struct store_file *f = store_idle_take(s, n);
	struct stat st;

	if (!f)
		return NULL;
	if (strcmp(f->path, k->path) != 0 || !be_ver_equal(&f->ver, k->ver) ||
	    flock(f->fd, LOCK_SH | LOCK_NB) < 0 || fstat(f->fd, &st) < 0 ||
	    st.st_nlink == 0 || !verified_fits(f->good, &st)) {
		store_file_free(f);
		return NULL;
	}
	touch(f, &st);
	return f;
}

struct store_file *
store_open(struct store *s, const char *path, const struct be_ver *ver)
{
	_cleanup_close_ int fd = -1;
	struct record_key k = store_key(s, path, ver);
	struct store_file *f;
	struct clean_name n;
	struct record rec;
	bool beside = false;
	struct stat st;
	int r;

	if (!be_ver_known(ver))
		return NULL;
	store_clean_name(&k, &n);
	f = open_idle(s, &n, &k);
	if (f)
		return f;
	fd = openat(s->fd[DIR_CLEAN], n.s,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			store_failed(s, FAULT_READ, -errno, "open");
		return NULL;
	}
	/* Refused: it is just being evicted. */
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return NULL;
	if (fstat(fd, &st) < 0) {
		store_failed(s, FAULT_READ, -errno, "stat");
		return NULL;
	}
	r = S_ISREG(st.st_mode) ? load_record(s, fd, &n, &k, &rec, &beside) :
				   -EBADMSG;
	if (r == -EBADMSG) {
		damaged(s, &n, "bad record");
		return NULL;
	}
	if (r < 0) {
		/* Without a record, or with another file's: of no use. */
		if (r == -ENOENT)
			store_drop_clean(s, &n);
		store_failed(s, FAULT_READ, r, "record");
		return NULL;
	}
	if ((uint64_t)st.st_size != rec.size) {
		record_release(&rec);
		damaged(s, &n, "size");
		return NULL;
	}
	f = xcalloc(1, sizeof(*f));
	f->s = s;
	f->fd = steal_fd(&fd);
	atomic_init(&f->kernel_fd, -1);
	f->rec = rec;
	f->good = verified_get(s->verified, &st, rec.nblocks);
	f->name = n;
	f->rec_beside = beside;
	f->path = xstrdup(path);
	f->ver = *ver;
	touch(f, &st);
	store_works(s, FAULT_READ);
	return f;
}

uint64_t
store_file_size(const struct store_file *f)
{
	return f->rec.size;
}

void
store_close(struct store_file *f)
{
	int fd;

	if (!f)
		return;
	/* The kernel keeps its own for as long as it wants it. */
	fd = atomic_exchange(&f->kernel_fd, -1);
	if (fd >= 0)
		close(fd);
	store_idle_put(f);
}

void
store_file_free(struct store_file *f)
{
	verified_put(f->s->verified, f->good);
	for (size_t i = 0; i < f->nretired; i++)
		verified_put(f->s->verified, f->retired[i]);
	free(f->retired);
	close(f->fd);
	record_release(&f->rec);
	free(f->path);
	free(f);
}

static int
spoil(struct store_file *f, int error, const char *what)
{
	if (!atomic_exchange(&f->bad, true)) {
		if (error == -EBADMSG)
			damaged(f->s, &f->name, what);
		else {
			store_failed(f->s, FAULT_READ, error, what);
			store_drop_clean(f->s, &f->name);
		}
	}
	return -EIO;
}

int
store_read_all(int fd, void *p, size_t n, uint64_t off)
{
	char *c = p;

	while (n > 0) {
		ssize_t k = pread(fd, c, n, (off_t)off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EBADMSG;
		c += k;
		off += (uint64_t)k;
		n -= (size_t)k;
	}
	return 0;
}

static size_t
block_len(const struct store_file *f, uint64_t block)
{
	uint64_t left = f->rec.size - block * STORE_BLOCK;

	return left < STORE_BLOCK ? (size_t)left : STORE_BLOCK;
}

/* One whole block into p, compared with its sum and noted in good. */
static int
read_block(struct store_file *f, struct verified *good, uint64_t block, void *p)
{
	size_t n = block_len(f, block);
	int r;

	r = store_read_all(f->fd, p, n, block * STORE_BLOCK);
	if (r == 0 && record_sum(p, n) != f->rec.sums[block])
		r = -EBADMSG;
	if (r == 0)
		verified_add(good, block);
	return r;
}

int
store_read(struct store_file *f, uint64_t off, void *p, size_t len, size_t *got)
{
	_cleanup_free_ char *whole = NULL;
	struct verified *good;
	uint64_t end, at;
	int r = 0;

	if (atomic_load(&f->bad))
		return -EIO;
	if (off >= f->rec.size || len == 0) {
		*got = 0;
		return 0;
	}
	if (len > f->rec.size - off)
		len = (size_t)(f->rec.size - off);
	good = store_good(f);
	if (!good)
		return spoil(f, -EBADMSG, "size");
	end = off + len;
	for (at = off; at < end && r == 0;) {
		uint64_t block = at / STORE_BLOCK;
		uint64_t start = block * STORE_BLOCK;
		char *to = (char *)p + (at - off);
		uint64_t stop = start;

		/* As far as all is known to be good, in one call. */
		while (stop < end && verified_has(good, stop / STORE_BLOCK))
			stop += STORE_BLOCK;
		if (stop > start) {
			stop = stop < end ? stop : end;
			r = store_read_all(f->fd, to, (size_t)(stop - at), at);
		} else if (at == start && end - at >= block_len(f, block)) {
			stop = start + block_len(f, block);
			r = read_block(f, good, block, to);
		} else {
			if (!whole)
				whole = xmalloc(STORE_BLOCK);
			stop = start + block_len(f, block);
			stop = stop < end ? stop : end;
			r = read_block(f, good, block, whole);
			if (r == 0)
				memcpy(to, whole + (at - start),
				       (size_t)(stop - at));
		}
		at = stop;
	}
	if (r < 0)
		return spoil(f, r, "read");
	*got = len;
	return 0;
}

/* Before the kernel reads by itself: nobody would notice an error there, and it
 * would come back with each open.  Of a large file the ends will do, and
 * something that is read from the disk and not from memory. */
static bool
is_worth_a_look(const struct store_file *f, uint64_t block, uint64_t on_disk)
{
	return f->rec.size <= LOOK_MAX || block == 0 || block == on_disk ||
	       block == f->rec.nblocks - 1;
}

int
store_verify(struct store_file *f)
{
	_cleanup_free_ char *p = NULL;
	struct verified *good;
	uint64_t on_disk;
	bool look;

	if (atomic_load(&f->bad))
		return -EIO;
	good = store_good(f);
	if (!good)
		return spoil(f, -EBADMSG, "size");
	if (io_write_failed(f->fd))
		return spoil(f, -EIO, "write");
	on_disk = store_first_on_disk(f);
	look = on_disk < f->rec.nblocks;
	for (uint64_t b = 0; b < f->rec.nblocks; b++) {
		int r;

		if (verified_has(good, b) &&
		    !(look && is_worth_a_look(f, b, on_disk)))
			continue;
		if (!p)
			p = xmalloc(STORE_BLOCK);
		r = read_block(f, good, b, p);
		if (r < 0)
			return spoil(f, r, "verify");
	}
	return 0;
}

bool
store_is_verified(struct store_file *f)
{
	struct verified *good = store_good(f);

	for (uint64_t b = 0; good && b < f->rec.nblocks; b++) {
		if (!verified_has(good, b))
			return false;
	}
	return !atomic_load(&f->bad);
}
