/* SPDX-License-Identifier: MIT */
/*
 * Attributes and versions of the file store.
 *
 * The data version is inode, size, mtime and ctime.  Every write moves the
 * ctime, and nobody can set it back; but the kernel moves it before it copies
 * the bytes, and two writes within one tick of a coarse clock may share it.  So
 * a version younger than 2 s is marked BE_ATTR_RACY (rule 9): what is read under
 * it is looked for again.  What a call of ours has just made needs no such mark
 * where probe() has seen that no two changes share a ctime.
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define RACY_NS (2 * NSEC_PER_SEC)

static struct timespec
time_of(struct statx_timestamp t)
{
	return (struct timespec){t.tv_sec, t.tv_nsec};
}

/* Submounts of the store number their files anew. */
static uint64_t
ino_of(const struct file *f, const struct statx *st)
{
	dev_t dev = makedev(st->stx_dev_major, st->stx_dev_minor);

	if (dev == f->dev)
		return st->stx_ino;
	return XXH3_64bits_withSeed(&st->stx_ino, sizeof(st->stx_ino), dev);
}

static uint64_t
aver_of(const struct be_attr *a)
{
	uint64_t v[] = {a->ctime.tv_sec, a->ctime.tv_nsec, a->mode,
			a->uid,		 a->gid,	   a->nlink};
	uint64_t h = XXH3_64bits(v, sizeof(v));

	return h ? h : 1;
}

static void
attr_of(struct file *f, const struct statx *st, struct be_attr *out)
{
	char ver[BE_VER_MAX + 1];
	int n;

	memset(out, 0, sizeof(*out));
	out->mode = st->stx_mode;
	/* Rule 10; on directories setgid only says which group files get. */
	if (!S_ISDIR(out->mode))
		out->mode &= ~(S_ISUID | S_ISGID);
	out->uid = st->stx_uid;
	out->gid = st->stx_gid;
	out->nlink = st->stx_nlink;
	out->size = st->stx_size;
	out->blocks = st->stx_blocks;
	out->ino = ino_of(f, st);
	/* A device node can be seen and removed, but leads nowhere: rdev is
	 * left 0. */
	out->atime = time_of(st->stx_atime);
	out->mtime = time_of(st->stx_mtime);
	out->ctime = time_of(st->stx_ctime);
	n = snprintf(ver, sizeof(ver),
		     "%" PRIx64 "-%" PRIx64 "-%" PRIx64 ".%x-%" PRIx64 ".%x",
		     out->ino, out->size, (uint64_t)out->mtime.tv_sec,
		     (unsigned)out->mtime.tv_nsec, (uint64_t)out->ctime.tv_sec,
		     (unsigned)out->ctime.tv_nsec);
	be_ver_set(&out->ver, ver, n);
	out->aver = aver_of(out);
	if (timespec_ns(out->ctime) >
	    timespec_ns(clock_wall()) + f->skew_ns - RACY_NS)
		out->flags |= BE_ATTR_RACY;
}

static int
stat_at(struct file *f, int dir, const char *base, struct be_attr *out)
{
	struct statx st;

	while (statx(dir, base,
		     AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC,
		     STATX_BASIC_STATS, &st))
		if (errno != EINTR)
			return -errno;
	attr_of(f, &st, out);
	return 0;
}

int
file_stat(struct file *f, const struct file_place *p, struct be_attr *out)
{
	return stat_at(f, p->dir, p->base, out);
}

int
file_stat_fd(struct file *f, int fd, struct be_attr *out)
{
	return stat_at(f, fd, "", out);
}

int
file_stat_own(struct file *f, int dir, const char *base, struct be_attr *out)
{
	int ret = stat_at(f, dir, base, out);

	if (f->precise)
		out->flags &= ~BE_ATTR_RACY;
	return ret;
}

void
file_disown(struct be_attr *out)
{
	be_ver_set(&out->ver, "?", 1);
	out->flags |= BE_ATTR_RACY;
}

/* A path that means just the inode behind a descriptor, O_PATH or not. */
struct self {
	char path[40];
};

static struct self
self_of(int fd)
{
	struct self s;

	snprintf(s.path, sizeof(s.path), "/proc/self/fd/%d", fd);
	return s;
}

/* chmod() of a name that is not followed: by way of its descriptor. */
static int
set_mode(const struct file_place *p, mode_t mode)
{
	_cleanup_close_ int fd = -1;

	if (*p->base) {
		fd = file_open(p, O_PATH, 0);
		if (fd < 0)
			return fd;
	}
	return chmod(self_of(*p->base ? fd : p->dir).path, mode & 07777)
		       ? -errno
		       : 0;
}

static int
call_utimens(const struct file_place *p, const struct timespec *t)
{
	int ret = *p->base ? utimensat(p->dir, p->base, t, AT_SYMLINK_NOFOLLOW)
			   : utimensat(AT_FDCWD, self_of(p->dir).path, t, 0);

	return ret ? -errno : 0;
}

static bool
is_now(struct timespec t)
{
	int64_t d = timespec_ns(t) - timespec_ns(clock_wall());

	return d < 10 * NSEC_PER_SEC && d > -10 * NSEC_PER_SEC;
}

static int
set_times(const struct file_place *p, unsigned mask, const struct be_attr *a)
{
	struct timespec t[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	int ret;

	if (mask & BE_SET_ATIME)
		t[0] = a->atime;
	if (mask & BE_SET_MTIME)
		t[1] = a->mtime;
	ret = call_utimens(p, t);
	/* Who may write but is not the owner may only say "now"; the kernel
	 * has made a time of it on the way to us. */
	if ((ret == -EPERM || ret == -EACCES) && (mask & BE_SET_ATIME) &&
	    (mask & BE_SET_MTIME) && is_now(a->atime) && is_now(a->mtime))
		ret = call_utimens(p, NULL);
	return ret;
}

int
file_set(struct file *f, const struct file_place *p, unsigned mask,
	 const struct be_attr *attr)
{
	int ret = 0;

	/* The owner first: it takes setuid away, and the right to go on. */
	if (mask & (BE_SET_UID | BE_SET_GID)) {
		struct be_attr now;
		uid_t uid = mask & BE_SET_UID ? attr->uid : (uid_t)-1;
		gid_t gid = mask & BE_SET_GID ? attr->gid : (gid_t)-1;

		ret = file_stat(f, p, &now);
		if (ret)
			return ret;
		/* What is so already needs no right. */
		if (uid == now.uid)
			uid = -1;
		if (gid == now.gid)
			gid = -1;
		if ((uid != (uid_t)-1 || gid != (gid_t)-1) &&
		    fchownat(p->dir, p->base, uid, gid,
			     AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
			return -errno;
	}
	if (mask & BE_SET_MODE)
		ret = set_mode(p, attr->mode);
	if (ret == 0 && (mask & (BE_SET_ATIME | BE_SET_MTIME)))
		ret = set_times(p, mask, attr);
	return ret;
}

int
file_set_new(struct file *f, struct be_ctx *ctx, const struct file_place *p,
	     const struct be_attr *attr)
{
	struct be_attr now;
	unsigned mask = 0;
	struct be_attr want = *attr;
	int ret = file_stat(f, p, &now);

	if (ret)
		return ret;
	/* The caller's own owner and group came with the creation (or, below a
	 * setgid directory, its group); only others have to be asked for. */
	if (attr->uid != ctx->uid && attr->uid != now.uid)
		mask |= BE_SET_UID;
	if (attr->gid != ctx->gid && attr->gid != now.gid)
		mask |= BE_SET_GID;
	if (!f->privileged)
		mask = 0;
	if (!S_ISLNK(now.mode) && (now.mode & 01777) != (attr->mode & 01777)) {
		want.mode = (attr->mode & 07777) | (now.mode & S_ISGID);
		mask |= BE_SET_MODE;
	}
	return mask ? file_set(f, p, mask, &want) : 0;
}

int
file_sync_dir(const struct file_place *p)
{
	_cleanup_close_ int fd =
		openat(p->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* Who may not read a directory may still put a name into it. */
	if (fd < 0)
		return errno == EACCES ? 0 : -errno;
	/* Some file systems have nothing to do and say EINVAL. */
	if (fsync(fd) && errno != EINVAL && errno != ENOTSUP)
		return -errno;
	return 0;
}
