/* SPDX-License-Identifier: MIT */
/*
 * The store's directories, private files, room on the disk, and what becomes
 * of its faults.  Everything is reached from descriptors of directories that
 * belong to us and that nobody else may enter.
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
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#define HEAL_PAUSE (NSEC_PER_SEC) /* after a try that failed */
#define SAY_AGAIN (60 * NSEC_PER_SEC)
#define FREE_AGE (NSEC_PER_SEC / 10)

/* --- faults -------------------------------------------------------------- */

static const char *const fault_words[FAULT_N] = {
	[FAULT_READ] = "reading the cache",
	[FAULT_WRITE] = "writing the cache",
	[FAULT_FULL] = "room on the cache's disk",
	[FAULT_DAMAGE] = "content of the cache",
	[FAULT_DIR] = "the cache directory",
};

/* Begins a fault of the kind; true: it is to be logged.  One that comes and
 * goes is logged once a minute. */
static bool
fault_begins(struct store *s, enum store_fault kind)
{
	int64_t now = clock_mono_ns(), said = atomic_load(&s->said_ns[kind]);

	atomic_fetch_add(&s->disk_errors, 1);
	if (atomic_exchange(&s->faulty[kind], true) ||
	    (said != 0 && now - said < SAY_AGAIN))
		return false;
	atomic_store(&s->said_ns[kind], now);
	atomic_store(&s->said[kind], true);
	return true;
}

void
store_fault(struct store *s, enum store_fault kind, int error, const char *what)
{
	if (fault_begins(s, kind))
		log_warn("store", "%s: %s: %s: %s; going on without", s->dir,
			 fault_words[kind], what, strerror(-error));
}

void
store_failed(struct store *s, enum store_fault kind, int error,
	     const char *what)
{
	if (error == -ENOSPC || error == -EDQUOT) {
		kind = FAULT_FULL;
		atomic_store(&s->free_seen_ns, 0); /* look again */
	}
	if (error != -ENOENT)
		store_fault(s, kind, error, what);
}

void
store_setup_failed(struct store *s, const char *words)
{
	if (fault_begins(s, FAULT_DIR))
		log_warn("store", "%s; going on without a cache", words);
}

void
store_works_again(struct store *s, enum store_fault kind)
{
	if (atomic_exchange(&s->faulty[kind], false) &&
	    atomic_exchange(&s->said[kind], false))
		log_warn("store", "%s: %s: works again", s->dir,
			 fault_words[kind]);
}

/* --- directories --------------------------------------------------------- */

static int
check_owner(int fd, bool dir, const char *dirname, const char *name,
	    struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "%s/%s: %s", dirname, name,
			       strerror(errno));
	if (st.st_uid != geteuid())
		return err_set(err, -EINVAL,
			       "%s/%s belongs to user %u, not to %u", dirname,
			       name, (unsigned)st.st_uid,
			       (unsigned)geteuid());
	if (dir ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s/%s is no %s", dirname, name,
			       dir ? "directory" : "plain file");
	return 0;
}

/* A directory of ours below `at`: made if missing, 0700, no symlink. */
static int
sub_dir(struct store *s, int at, const char *name, int *out, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
			return err_set(err, -errno, "mkdir %s/%s: %s", s->dir,
				       name, strerror(errno));
		fd = openat(at, name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return err_set(err, -EINVAL, "%s/%s is no directory", s->dir,
			       name);
	if (fd < 0)
		return err_set(err, -errno, "open %s/%s: %s", s->dir, name,
			       strerror(errno));
	r = check_owner(fd, true, s->dir, name, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0)
		fchmod(fd, 0700);
	*out = steal_fd(&fd);
	return 0;
}

/* A lock file of ours.  On a read-only disk an old one will do. */
static int
sub_file(struct store *s, int at, const char *name, int *out, struct err *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = openat(at, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EROFS)
		fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ELOOP)
		return err_set(err, -EINVAL, "%s/%s is a symbolic link", s->dir,
			       name);
	if (fd < 0)
		return err_set(err, -errno, "open %s/%s: %s", s->dir, name,
			       strerror(errno));
	r = check_owner(fd, false, s->dir, name, err);
	if (r < 0)
		return r;
	*out = steal_fd(&fd);
	return 0;
}

/* The user's directory, its parents made too. */
static int
open_top(struct store *s, int *out, struct err *err)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *path = xstrdup(s->dir);
	struct stat st;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		for (char *p = path + 1; *p; p++) {
			if (*p != '/')
				continue;
			*p = '\0';
			if (mkdir(path, 0755) < 0 && errno != EEXIST &&
			    errno != EROFS)
				return err_set(err, -errno, "mkdir %s: %s",
					       path, strerror(errno));
			*p = '/';
		}
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_set(err, -errno, "mkdir %s: %s", path,
				       strerror(errno));
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 && errno == ENOTDIR)
		return err_set(err, -EINVAL, "cache directory %s is no "
			       "directory", s->dir);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "cache directory %s: %s", s->dir,
			       strerror(errno));
	if (st.st_uid != geteuid())
		return err_set(err, -EINVAL,
			       "cache directory %s belongs to user %u, not to "
			       "%u", s->dir, (unsigned)st.st_uid,
			       (unsigned)geteuid());
	/* Whoever may rename in it could put another tree in our place. */
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
		return err_set(err, -EINVAL,
			       "cache directory %s can be changed by everybody "
			       "(mode %04o)", s->dir,
			       (unsigned)(st.st_mode & 07777));
	*out = steal_fd(&fd);
	return 0;
}

/* All 256 at once, so that publishing never has to look. */
static int
make_buckets(struct store *s, int clean, struct err *err)
{
	for (unsigned i = 0; i < 256; i++) {
		struct stat st;
		char name[8];

		snprintf(name, sizeof(name), "%02x", i);
		if (mkdirat(clean, name, 0700) == 0)
			continue;
		if (errno != EEXIST)
			return err_set(err, -errno, "mkdir %s/clean/%s: %s",
				       s->dir, name, strerror(errno));
		if (fstatat(clean, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_set(err, -errno, "%s/clean/%s: %s", s->dir,
				       name, strerror(errno));
		if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
			return err_set(err, -EINVAL,
				       "%s/clean/%s is no directory of ours",
				       s->dir, name);
	}
	return 0;
}

/* Takes the lock behind fd, unless the held one is the same file. */
static int
take_instance(struct store *s, int fd, struct err *err)
{
	struct stat now, held;

	if (fstat(s->fd[DIR_LOCK], &held) == 0 && fstat(fd, &now) == 0 &&
	    held.st_dev == now.st_dev && held.st_ino == now.st_ino)
		return dup3(s->fd[DIR_LOCK], fd, O_CLOEXEC) < 0 ? -errno : 0;
	/* Whoever only looks (sharedfs recover) is gone in a moment. */
	for (int tries = 0; tries < 20; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	if (errno == EWOULDBLOCK)
		return err_set(err, -EBUSY,
			       "cache %s: another daemon uses the instance %s",
			       s->dir, s->instance);
	return err_set(err, -errno, "lock %s/%s: %s", s->dir, s->instance,
		       strerror(errno));
}

static int
open_all(struct store *s, int fd[DIR_N], struct err *err)
{
	_cleanup_close_ int top = -1, mounts = -1;
	int r;

	r = open_top(s, &top, err);
	if (r == 0)
		r = sub_dir(s, top, "v1", &fd[DIR_ROOT], err);
	if (r == 0)
		r = sub_dir(s, fd[DIR_ROOT], "clean", &fd[DIR_CLEAN], err);
	if (r == 0)
		r = make_buckets(s, fd[DIR_CLEAN], err);
	if (r == 0)
		r = sub_dir(s, fd[DIR_ROOT], "mounts", &mounts, err);
	if (r == 0)
		r = sub_dir(s, mounts, s->instance, &fd[DIR_MINE], err);
	if (r == 0)
		r = sub_file(s, fd[DIR_MINE], "lock", &fd[DIR_LOCK], err);
	if (r == 0)
		r = take_instance(s, fd[DIR_LOCK], err);
	if (r == 0)
		r = sub_dir(s, fd[DIR_MINE], "files", &fd[DIR_FILES], err);
	if (r == 0)
		r = sub_dir(s, fd[DIR_MINE], "journal", &fd[DIR_JOURNAL], err);
	if (r == 0)
		r = sub_file(s, fd[DIR_ROOT], "clean-lock", &fd[DIR_SWEEP],
			     err);
	return r;
}

static void
drop_names(int dir, char first)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int fd;

	fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] == first)
			unlinkat(dir, e->d_name, 0);
}

/* What a killed predecessor had not finished to write; we hold the lock. */
void
store_drop_temps(struct store *s)
{
	drop_names(s->fd[DIR_FILES], 't');
	drop_names(s->fd[DIR_JOURNAL], 's'); /* spares, journal.c */
}

int
store_setup(struct store *s, struct err *err)
{
	int fd[DIR_N], r;

	for (int i = 0; i < DIR_N; i++)
		fd[i] = -1;
	r = open_all(s, fd, err);
	for (int i = 0; r == 0 && i < DIR_N; i++)
		if (dup3(fd[i], s->fd[i], O_CLOEXEC) < 0)
			r = err_set(err, -errno, "%s: %s", s->dir,
				    strerror(errno));
	for (int i = 0; i < DIR_N; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	if (r == 0)
		atomic_fetch_add(&s->generation, 1);
	atomic_store(&s->usable, r == 0);
	return r;
}

int
store_heal(struct store *s, unsigned generation)
{
	_cleanup_err_ struct err err = ERR_INIT;
	int64_t now = clock_mono_ns();
	int r = 0;

	pthread_mutex_lock(&s->setup_lock);
	if (atomic_load(&s->generation) == generation) {
		r = s->setup_error;
		if (r == 0 || now - s->setup_failed_ns > HEAL_PAUSE) {
			r = store_setup(s, &err);
			s->setup_error = r;
			s->setup_failed_ns = now;
			if (r < 0)
				store_setup_failed(s, err_words(&err));
			else
				store_works(s, FAULT_DIR);
		}
	}
	pthread_mutex_unlock(&s->setup_lock);
	return r;
}

/* --- room ---------------------------------------------------------------- */

uint64_t
store_free_bytes(struct store *s, uint64_t near)
{
	uint64_t seen = atomic_load(&s->free_bytes);
	int64_t now = clock_mono_ns();
	struct statvfs v;

	if (atomic_load(&s->free_seen_ns) > now - FREE_AGE && seen / 2 > near)
		return seen;
	if (fstatvfs(s->fd[DIR_ROOT], &v) < 0)
		return seen;
	seen = (uint64_t)v.f_bavail * v.f_frsize;
	atomic_store(&s->disk_bytes, (uint64_t)v.f_blocks * v.f_frsize);
	atomic_store(&s->free_bytes, seen);
	atomic_store(&s->free_seen_ns, now);
	return seen;
}

void
store_free_spent(struct store *s, uint64_t bytes)
{
	unsigned long long seen = atomic_load(&s->free_bytes);

	atomic_store(&s->free_bytes, seen > bytes ? seen - bytes : 0);
}

/* Never so much that a small disk could take no writer at all. */
uint64_t
store_reserve(const struct store *s)
{
	uint64_t most = atomic_load(&s->disk_bytes) / 20;

	return s->free_min / 3 < most ? s->free_min / 3 : most;
}

int
store_private_room(struct store *s, uint64_t bytes)
{
	uint64_t reserve = store_reserve(s);

	if (store_free_bytes(s, reserve + bytes) >= reserve + bytes) {
		store_free_spent(s, bytes);
		store_works(s, FAULT_FULL);
		return 0;
	}
	/* Clean content goes before a writer is refused. */
	reclaim_now(s, reserve + bytes);
	if (store_free_bytes(s, UINT64_MAX) >= reserve + bytes)
		return 0;
	store_fault(s, FAULT_FULL, -ENOSPC, "a file being written");
	return -ENOSPC;
}

/* --- private files ------------------------------------------------------- */

int
store_temp(struct store *s, enum store_dir dir, const char *prefix, int *fd,
	   char out[TEMP_NAME_MAX])
{
	int r;

	for (unsigned tries = 0; tries < 100; tries++) {
		unsigned gen = atomic_load(&s->generation);
		unsigned long long n = atomic_fetch_add(&s->next_name, 1);

		snprintf(out, TEMP_NAME_MAX, "%.8s%llx", prefix, n);
		*fd = openat(s->fd[dir], out,
			     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			     0600);
		if (*fd >= 0)
			return 0;
		if (errno == EEXIST)
			continue;
		/* ENOENT: deleted under us; ENOTDIR: never set up. */
		if (errno != ENOENT && errno != ENOTDIR)
			return -errno;
		r = store_heal(s, gen);
		if (r < 0)
			return r;
	}
	return -EIO;
}

static int
private_error(int r)
{
	if (r == -ENOSPC || r == -EDQUOT)
		return -ENOSPC;
	return r == -EROFS ? r : -EIO;
}

int
store_private_new(struct store *s, int *fd, char **name)
{
	char buf[TEMP_NAME_MAX];
	int r;

	r = store_private_room(s, 0);
	if (r < 0)
		return r;
	r = store_temp(s, DIR_FILES, "", fd, buf);
	if (r < 0) {
		store_failed(s, FAULT_WRITE, r, "new file");
		return private_error(r);
	}
	store_works(s, FAULT_WRITE);
	*name = xstrdup(buf);
	return 0;
}

void
store_private_fault(struct store *s, bool write, int error)
{
	store_failed(s, write ? FAULT_WRITE : FAULT_READ, error,
		     "a file in use");
}

int
store_private_open(struct store *s, const char *name, int *fd)
{
	int r;

	if (!path_name_ok(name, strlen(name)))
		return -EINVAL;
	r = openat(s->fd[DIR_FILES], name,
		   O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (r < 0)
		return errno == ENOENT ? -ENOENT : private_error(-errno);
	*fd = r;
	return 0;
}

void
store_private_drop(struct store *s, const char *name)
{
	if (unlinkat(s->fd[DIR_FILES], name, 0) < 0)
		store_failed(s, FAULT_WRITE, -errno, "unlink");
}

void
store_private_sweep(struct store *s, bool (*keep)(void *arg, const char *name),
		    void *arg)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int fd;

	fd = openat(s->fd[DIR_FILES], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (path_name_ok(e->d_name, strlen(e->d_name)) &&
		    !keep(arg, e->d_name))
			unlinkat(s->fd[DIR_FILES], e->d_name, 0);
}
