/* SPDX-License-Identifier: MIT */
/*
 * What the shared directory can, found out by trying: in a scratch directory
 * of its own that is removed again.  Where we may not make one (a read-only
 * store, or a root that belongs to another and a server that takes our root
 * for nobody) the usual abilities are assumed and a line says so.
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

/* Not in every version of the headers. */
#define MAGIC_CIFS 0xFF534D42
#define MAGIC_SMB2 0xFE534D42
#define MAGIC_CEPH 0x00c36400
#define MAGIC_FUSE 0x65735546
#define MAGIC_V9FS 0x01021997
#define MAGIC_AFS 0x5346414F
#define MAGIC_GFS2 0x01161970
#define MAGIC_OCFS2 0x7461636f
#define MAGIC_LUSTRE 0x0BD00BD0
#define MAGIC_GPFS 0x47504653

static bool
is_remote(const struct statfs *st)
{
	switch ((uint32_t)st->f_type) {
	case NFS_SUPER_MAGIC:
	case MAGIC_CIFS:
	case MAGIC_SMB2:
	case MAGIC_CEPH:
	case MAGIC_FUSE:
	case MAGIC_V9FS:
	case MAGIC_AFS:
	case MAGIC_GFS2:
	case MAGIC_OCFS2:
	case MAGIC_LUSTRE:
	case MAGIC_GPFS:
		return true;
	}
	return false;
}

static int
open_root(struct file *f, struct be_ctx *ctx)
{
	const char *what = "the shared directory";
	struct statfs fs;
	struct stat st;
	bool transient;
	int code;

	if (f->root >= 0)
		close(f->root);
	f->root = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->root >= 0 && fstat(f->root, &st) == 0 &&
	    fstatfs(f->root, &fs) == 0) {
		f->dev = st.st_dev;
		f->remote = is_remote(&fs);
		return 0;
	}
	code = file_errno(errno, true, ctx->attempt, &transient);
	switch (errno) {
	case ENOENT:
		return be_fail(ctx, code, false,
			       "%s %s does not exist; make it, or mount what "
			       "should be there",
			       what, f->dir);
	case ENOTDIR:
		return be_fail(ctx, code, false, "%s %s is not a directory",
			       what, f->dir);
	case EACCES:
		return be_fail(ctx, code, false,
			       "%s %s can't be reached by uid %u", what, f->dir,
			       (unsigned)f->uid);
	default:
		return be_fail(ctx, code, transient, "%s %s: %s", what, f->dir,
			       strerror(errno));
	}
}

/* --- in the scratch directory --------------------------------------------- */

static bool
touch(int dir, const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
			0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool
is_there(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* It must refuse too: a server may ignore the flag. */
static bool
has_noreplace(int dir)
{
	return touch(dir, "n1") && touch(dir, "n2") &&
	       renameat2(dir, "n1", dir, "n2", RENAME_NOREPLACE) < 0 &&
	       errno == EEXIST && is_there(dir, "n1") &&
	       renameat2(dir, "n1", dir, "n3", RENAME_NOREPLACE) == 0;
}

static bool
has_exchange(int dir)
{
	struct stat a, b;

	return touch(dir, "x1") && touch(dir, "x2") &&
	       fstatat(dir, "x1", &a, 0) == 0 &&
	       renameat2(dir, "x1", dir, "x2", RENAME_EXCHANGE) == 0 &&
	       fstatat(dir, "x2", &b, 0) == 0 && a.st_ino == b.st_ino;
}

static bool
has_exclusive(int dir)
{
	return touch(dir, "e") && !touch(dir, "e") && errno == EEXIST;
}

static bool
has_link(int dir)
{
	struct stat st;

	return touch(dir, "l1") && linkat(dir, "l1", dir, "l2", 0) == 0 &&
	       fstatat(dir, "l2", &st, 0) == 0 && st.st_nlink == 2;
}

static bool
has_owner(int dir)
{
	struct stat st;

	return touch(dir, "o") && fchmodat(dir, "o", 0640, 0) == 0 &&
	       fstatat(dir, "o", &st, 0) == 0 && (st.st_mode & 0777) == 0640 &&
	       fchmodat(dir, "o", 0604, 0) == 0 &&
	       fstatat(dir, "o", &st, 0) == 0 && (st.st_mode & 0777) == 0604;
}

static bool
has_xattr(int dir)
{
	int fd = openat(dir, "l1", O_RDWR | O_CLOEXEC);
	bool yes;

	if (fd < 0)
		return false;
	yes = fsetxattr(fd, "user.sharedfs", "1", 1, 0) == 0;
	close(fd);
	return yes;
}

/*
 * Does each change get a ctime of its own?  Write and look, many times; all
 * must differ, and some by so little that it was no coarse clock's luck.
 */
#define CHANGES 64
#define FINE_NS 500000

static bool
has_precise_ctime(int dir, int64_t *skew_ns)
{
	_cleanup_close_ int fd =
		openat(dir, "t", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	int64_t last = INT64_MIN, finest = INT64_MAX;
	bool differ = true;

	if (fd < 0)
		return false;
	for (int i = 0; i < CHANGES; i++) {
		struct statx st;
		int64_t t;

		if (pwrite(fd, &i, sizeof(i), 0) != sizeof(i) ||
		    statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
			  STATX_BASIC_STATS, &st))
			return false;
		t = st.stx_ctime.tv_sec * NSEC_PER_SEC + st.stx_ctime.tv_nsec;
		if (i) {
			if (t <= last)
				differ = false;
			else if (t - last < finest)
				finest = t - last;
		}
		last = t;
	}
	*skew_ns = last - timespec_ns(clock_wall());
	return differ && finest < FINE_NS;
}

static void
try_all(struct file *f, int dir, struct be_caps *caps)
{
	caps->exclusive_create = has_exclusive(dir);
	caps->rename_noreplace = has_noreplace(dir);
	caps->rename_exchange = has_exchange(dir);
	caps->hard_links = has_link(dir);
	caps->owner = has_owner(dir);
	caps->xattrs = has_xattr(dir);
	caps->symlinks = symlinkat("to", dir, "s") == 0;
	caps->special = mknodat(dir, "f", S_IFIFO | 0600, 0) == 0;
	f->precise = has_precise_ctime(dir, &f->skew_ns);
}

static void
remove_scratch(int root, const char *name, int dir)
{
	static const char *const made[] = {"n1", "n2", "n3", "x1", "x2", "e",
					   "l1", "l2", "o",  "s",  "f",	 "t"};

	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		unlinkat(dir, made[i], 0);
	if (unlinkat(root, name, AT_REMOVEDIR))
		log_warn("file", "%s is left behind: %s", name,
			 strerror(errno));
}

static int
make_scratch(struct file *f, char *name, size_t size)
{
	struct be_opid id;

	be_opid_new(&id);
	snprintf(name, size, ".sharedfs-probe-%.8s", id.s);
	if (mkdirat(f->root, name, 0700))
		return -errno;
	return 0;
}

int
file_probe(struct backend *be, struct be_ctx *ctx)
{
	struct file *f = file_of(be);
	struct be_caps caps = {
		.random_write = true,
		.atomic_rename = true,
		.exclusive_create = true,
		.hard_links = true,
		.symlinks = true,
		.special = true,
		.owner = true,
		.stable_ino = true,
		.file_max = INT64_MAX,
		.name_max = NAME_MAX,
		.path_max = PATH_MAX - 1,
	};
	struct file_id id = {NULL};
	struct statvfs v;
	struct stat st;
	char name[40];
	int ret, dir, err;

	ret = be_must_stop(ctx);
	if (ret == 0)
		ret = open_root(f, ctx);
	if (ret)
		return ret;
	if (fstatvfs(f->root, &v) || fstat(f->root, &st))
		return file_fail(f, ctx, errno, "probe", "");
	if (v.f_namemax && v.f_namemax < caps.name_max)
		caps.name_max = v.f_namemax;
	err = make_scratch(f, name, sizeof(name));
	if (err == -EACCES || err == -EPERM) {
		/* Root may be nobody there; the owner of the root is not. */
		struct be_ctx owner = {.uid = st.st_uid, .gid = st.st_gid};

		if (file_id_begin(f, &owner, &id) == 0)
			err = make_scratch(f, name, sizeof(name));
	}
	dir = err ? err
		  : openat(f->root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (err == 0 && dir < 0)
		err = dir = -errno;
	if (dir >= 0) {
		try_all(f, dir, &caps);
		remove_scratch(f->root, name, dir);
		close(dir);
	}
	file_id_end(&id);
	if (err && err != -EACCES && err != -EPERM && err != -EROFS)
		return file_fail(f, ctx, err, "probe", name);
	if (err)
		log_warn("file",
			 "%s: can't write there (%s): what the store "
			 "can was not tried out",
			 f->dir, strerror(-err));
	be->caps = caps;
	return 0;
}
