/* SPDX-License-Identifier: MIT */
/*
 * Any directory that another file system already shares: names and attributes,
 * and the table.  Others use the directory at the same time, with or without
 * us; nothing is kept in it but the files themselves.
 *
 * So there is no place for an operation id, and a repeated call (B5) is told
 * by the state that it finds: a name that is gone was removed by us, a link
 * that leads to the same file was made by us.  Windows: a stranger may have
 * done just the same in between, which nobody can tell apart.  create() and
 * mkdir() decide races (P3), so there the doubt goes the other way: what is
 * there is somebody else's, unless ctx->made says, or its mode shows
 * (mode_of), that it is ours.  The kernel's own clients repeat lost requests
 * themselves, so such a call is rare.
 */
#include <config.h>

#include "backends/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "backends/file-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/path.h"
#include "common/xalloc.h"

static int
file_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     enum be_hint hint, struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	int ret = file_call_begin(&c, be, ctx, "getattr", path);

	if (ret)
		return ret;
	ret = file_stat(c.f, &c.at, out);
	return ret ? file_fail(c.f, ctx, ret, "getattr", path) : 0;
}

static int
file_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	int ret = be_must_stop(ctx);

	if (ret == 0 && fstatvfs(file_of(be)->root, out))
		ret = file_fail(file_of(be), ctx, errno, "statfs", "");
	return ret;
}

/* --- listing -------------------------------------------------------------- */

#define LIST_PART 1000
/* Attributes come with the names while that is quick: on a local disk.  Over a
 * network each is a round trip, and the cache asks for many at once, if anybody
 * wants them at all. */
#define LIST_STATS_MIN 16
#define LIST_STATS_NS (5 * NSEC_PER_MSEC) /* spent on them in one part */

struct list {
	struct be_cursor base;
	DIR *d;
};

static void
list_free(struct be_cursor *cur)
{
	struct list *l = (struct list *)cur;

	if (l->d)
		closedir(l->d);
	free(l);
}

static int
list_open(struct file_call *c, struct be_ctx *ctx, const char *path,
	  struct list **out)
{
	struct list *l;
	int fd = file_open(&c->at, O_RDONLY | O_DIRECTORY, 0);

	if (fd == -ELOOP)
		fd = -ENOTDIR;
	if (fd < 0)
		return file_fail(c->f, ctx, fd, "list", path);
	l = xcalloc(1, sizeof(*l));
	l->base.free = list_free;
	l->d = fdopendir(fd);
	if (!l->d) {
		close(fd);
		list_free(&l->base);
		return file_fail(c->f, ctx, ENOMEM, "list", path);
	}
	*out = l;
	return 0;
}

/* What the directory itself tells of an entry. */
static bool
attr_of_type(const struct dirent *e, struct be_attr *out)
{
	memset(out, 0, sizeof(*out));
	out->mode = DTTOIF(e->d_type);
	/* What is mounted on a directory has another number. */
	out->ino = e->d_type == DT_DIR ? 0 : e->d_ino;
	out->flags = BE_ATTR_PARTIAL | BE_ATTR_TYPED;
	return e->d_type != DT_UNKNOWN;
}

static int
list_entry(struct file *f, struct be_ctx *ctx, const char *path, int dir,
	   const struct dirent *e, bool quick, be_list_fn *fn, void *arg)
{
	struct file_place at = {dir, false, e->d_name};
	struct be_attr attr;
	int ret = 0;

	if (!path_name_ok(e->d_name, strlen(e->d_name)))
		return 0;
	if (quick || !attr_of_type(e, &attr))
		ret = file_stat(f, &at, &attr);
	if (ret == -ENOENT) /* it went meanwhile */
		return 0;
	if (ret == -EACCES && attr_of_type(e, &attr))
		ret = 0;
	if (ret)
		return file_fail(f, ctx, ret, "list", path);
	return fn(arg, e->d_name, &attr);
}

static int
list_part(struct file_call *c, struct be_ctx *ctx, const char *path, DIR *d,
	  bool *more, be_list_fn *fn, void *arg)
{
	int64_t until = clock_mono_ns() + LIST_STATS_NS;
	bool quick = true;
	int ret = 0;

	for (unsigned n = 0; ret == 0; n++) {
		const struct dirent *e;

		*more = n == LIST_PART;
		if (*more)
			return 0;
		errno = 0;
		e = readdir(d);
		if (!e && errno)
			return file_fail(c->f, ctx, errno, "list", path);
		if (!e)
			return 0;
		ret = be_must_stop(ctx);
		quick = quick && (n < LIST_STATS_MIN || clock_mono_ns() < until);
		if (ret == 0)
			ret = list_entry(c->f, ctx, path, dirfd(d), e, quick,
					 fn, arg);
	}
	return ret;
}

static int
file_list(struct backend *be, struct be_ctx *ctx, const char *path,
	  struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	struct list *l = (struct list *)*cur;
	bool more = false;
	long at;
	int ret = file_call_begin(&c, be, ctx, "list", path);

	if (ret)
		return ret;
	if (!l)
		ret = list_open(&c, ctx, path, &l);
	if (ret)
		return ret;
	at = telldir(l->d);
	ret = list_part(&c, ctx, path, l->d, &more, fn, arg);
	if (ret == 0 && more) {
		*cur = &l->base;
	} else if (ret == 0 || !*cur) {
		be_cursor_free(&l->base);
		if (ret == 0)
			*cur = NULL;
	} else {
		seekdir(l->d, at);
	}
	return ret;
}

/* --- conditions ----------------------------------------------------------- */

/* B6, by a look immediately before: between it and the call that follows
 * another may change the file.  *now is what was seen; mode 0: no look. */
static int
cond_look(struct file_call *c, struct be_ctx *ctx, const struct be_cond *cond,
	  const char *call, const char *path, struct be_attr *now)
{
	int ret;

	now->mode = 0;
	if (!cond || cond->pre == BE_ANY)
		return 0;
	ret = file_stat(c->f, &c->at, now);
	if (cond->pre == BE_ABSENT) {
		if (ret == 0)
			return be_fail(ctx, -EEXIST, false,
				       "%s \"%s\": it is there already", call,
				       path);
		return ret == -ENOENT ? 0
				      : file_fail(c->f, ctx, ret, call, path);
	}
	if (ret)
		return file_fail(c->f, ctx, ret, call, path);
	if (!be_ver_equal(&now->ver, &cond->ver))
		return be_fail(ctx, -ESTALE, false,
			       "%s \"%s\": another version is there", call,
			       path);
	return 0;
}

static int
cond_check(struct file_call *c, struct be_ctx *ctx, const struct be_cond *cond,
	   const char *call, const char *path)
{
	struct be_attr now;

	return cond_look(c, ctx, cond, call, path, &now);
}

static bool
is_set(const struct be_attr *now, unsigned mask, const struct be_attr *want)
{
	return (!(mask & BE_SET_MODE) ||
		(now->mode & 01777) == (want->mode & 01777)) &&
	       (!(mask & BE_SET_UID) || now->uid == want->uid) &&
	       (!(mask & BE_SET_GID) || now->gid == want->gid) &&
	       (!(mask & BE_SET_MTIME) ||
		timespec_equal(now->mtime, want->mtime));
}

static int
file_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_cond *cond, const struct be_opid *opid,
	     unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	struct be_attr before;
	int ret = file_call_begin(&c, be, ctx, "setattr", path);

	if (ret)
		return ret;
	if (ctx->attempt && file_stat(c.f, &c.at, out) == 0 &&
	    is_set(out, mask, attr))
		return 0;
	ret = cond_look(&c, ctx, cond, "setattr", path, &before);
	if (ret)
		return ret;
	ret = file_set(c.f, &c.at, mask, attr);
	if (ret == 0)
		ret = file_stat_own(c.f, c.at.dir, c.at.base, out);
	/* The new version is taken for that of the bytes that are known. */
	if (ret == 0 && S_ISREG(before.mode) &&
	    (out->size != before.size ||
	     (!(mask & BE_SET_MTIME) &&
	      !timespec_equal(out->mtime, before.mtime))))
		file_disown(out);
	return ret ? file_fail(c.f, ctx, ret, "setattr", path) : 0;
}

/* --- new names ------------------------------------------------------------ */

/* The end of all that make a name: owner and mode, and what came out. */
static int
made(struct file_call *c, struct be_ctx *ctx, const char *call,
     const char *path, const struct be_attr *attr, struct be_attr *out)
{
	int ret = file_set_new(c->f, ctx, &c->at, attr);

	if (ret == 0)
		ret = file_stat_own(c->f, c->at.dir, c->at.base, out);
	return ret ? file_fail(c->f, ctx, ret, call, path) : 0;
}

/*
 * A name that was made for an operation id shows that in its mode until its
 * attributes are set, so that a next process can tell it from one that another
 * node has made in the same moment: nothing else is set in one step with the
 * name.
 */
static mode_t
mode_of(const struct be_ctx *ctx, const struct be_opid *opid,
	const struct be_attr *attr)
{
	const mode_t bits = 0711; /* nobody else may read or write it */
	mode_t mark;

	if (!ctx->made || !opid)
		return attr->mode & 07777;
	mark = XXH3_64bits(opid->s, strlen(opid->s)) & bits;
	if (mark == (attr->mode & 0777))
		mark ^= 1;
	return S_ISVTX | mark;
}

static void
note_made(struct be_ctx *ctx)
{
	if (ctx->made)
		atomic_fetch_or(ctx->made, BE_MADE);
}

/* It is there: is it what an earlier call with this id has made? */
static bool
made_before(struct file_call *c, struct be_ctx *ctx,
	    const struct be_opid *opid, const struct be_attr *attr)
{
	struct be_attr now;

	if (!ctx->attempt || !ctx->made || file_stat(c->f, &c->at, &now) ||
	    (now.mode & S_IFMT) != (attr->mode & S_IFMT))
		return false;
	return (atomic_load(ctx->made) & BE_MADE) ||
	       (now.mode & 01777) == mode_of(ctx, opid, attr);
}

static int
file_create(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_attr *attr, const struct be_opid *opid,
	    struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_close_ int fd = -1;
	int ret = file_call_begin(&c, be, ctx, "create", path);

	if (ret)
		return ret;
	if (!*c.at.base) {
		ret = -EEXIST;
	} else if (S_ISREG(attr->mode)) {
		/* Always readable and writable for the moment, see commit. */
		fd = file_open(&c.at, O_RDWR | O_CREAT | O_EXCL,
			       mode_of(ctx, opid, attr));
		if (fd < 0)
			ret = fd;
	} else if (S_ISFIFO(attr->mode) || S_ISSOCK(attr->mode)) {
		if (mknodat(c.at.dir, c.at.base,
			    (attr->mode & S_IFMT) | mode_of(ctx, opid, attr), 0))
			ret = -errno;
	} else { /* rule 10: no device nodes */
		ret = -EPERM;
	}
	if (ret == -EEXIST && made_before(&c, ctx, opid, attr))
		ret = 0;
	if (ret)
		return file_fail(c.f, ctx, ret, "create", path);
	FAULT_POINT("file.created");
	note_made(ctx);
	ret = made(&c, ctx, "create", path, attr, out);
	if (ret)
		return ret;
	/* A commit syncs the file; that its name lasts is seen to here. */
	ret = file_sync_dir(&c.at);
	return ret ? file_fail(c.f, ctx, ret, "create", path) : 0;
}

static int
file_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_attr *attr, const struct be_opid *opid,
	   struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	int ret = file_call_begin(&c, be, ctx, "mkdir", path);

	if (ret)
		return ret;
	if (!*c.at.base)
		return file_fail(c.f, ctx, EEXIST, "mkdir", path);
	if (mkdirat(c.at.dir, c.at.base, mode_of(ctx, opid, attr)))
		ret = -errno;
	if (ret == -EEXIST && made_before(&c, ctx, opid, attr))
		ret = 0;
	if (ret)
		return file_fail(c.f, ctx, ret, "mkdir", path);
	FAULT_POINT("file.made");
	note_made(ctx);
	return made(&c, ctx, "mkdir", path, attr, out);
}

/* *target is the caller's; 0 or -errno. */
static int
read_target(const struct file_place *at, char **target)
{
	for (size_t cap = 256;; cap *= 4) {
		_cleanup_free_ char *buf = xmalloc(cap + 1);
		ssize_t n = readlinkat(at->dir, at->base, buf, cap);

		if (n < 0)
			return -errno;
		if ((size_t)n == cap)
			continue;
		buf[n] = '\0';
		*target = steal_ptr(&buf);
		return 0;
	}
}

static int
file_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	     const char *target, const struct be_attr *attr,
	     const struct be_opid *opid, struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_free_ char *there = NULL;
	int ret = file_call_begin(&c, be, ctx, "symlink", path);

	if (ret)
		return ret;
	if (!*c.at.base)
		ret = -EEXIST;
	else if (symlinkat(target, c.at.dir, c.at.base))
		ret = -errno;
	if (ret == -EEXIST && ctx->attempt && read_target(&c.at, &there) == 0 &&
	    strcmp(there, target) == 0)
		ret = 0;
	if (ret)
		return file_fail(c.f, ctx, ret, "symlink", path);
	return made(&c, ctx, "symlink", path, attr, out);
}

static int
file_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      char **target)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	int ret = file_call_begin(&c, be, ctx, "readlink", path);

	if (ret)
		return ret;
	ret = *c.at.base ? read_target(&c.at, target) : -EINVAL;
	return ret ? file_fail(c.f, ctx, ret, "readlink", path) : 0;
}

static int
file_link(struct backend *be, struct be_ctx *ctx, const char *from,
	  const char *to, struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_place_ struct file_place dst = FILE_PLACE_INIT;
	struct be_attr a, b;
	int ret = file_call_begin(&c, be, ctx, "link", from);

	if (ret)
		return ret;
	ret = file_find(c.f, to, &dst);
	if (ret)
		return file_fail(c.f, ctx, ret, "link", to);
	if (!*c.at.base || !*dst.base)
		ret = -EPERM;
	else if (linkat(c.at.dir, c.at.base, dst.dir, dst.base, 0))
		ret = -errno;
	if (ret == -EEXIST && ctx->attempt && file_stat(c.f, &c.at, &a) == 0 &&
	    file_stat(c.f, &dst, &b) == 0 && a.ino == b.ino)
		ret = 0;
	if (ret == 0)
		ret = file_stat_own(c.f, dst.dir, dst.base, out);
	return ret ? file_fail(c.f, ctx, ret, "link", to) : 0;
}

/* --- names that go or change ---------------------------------------------- */

static int
file_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_cond *cond, const struct be_opid *opid)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	int ret = file_call_begin(&c, be, ctx, "unlink", path);

	if (ret)
		return ret;
	if (!*c.at.base)
		return file_fail(c.f, ctx, EISDIR, "unlink", path);
	ret = cond_check(&c, ctx, cond, "unlink", path);
	if (ret == 0 && unlinkat(c.at.dir, c.at.base, 0))
		ret = file_fail(c.f, ctx, errno, "unlink", path);
	if (ret == -ENOENT && ctx->attempt)
		ret = 0;
	return ret;
}

static int
file_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_opid *opid)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	int ret = file_call_begin(&c, be, ctx, "rmdir", path);

	if (ret)
		return ret;
	if (!*c.at.base)
		return file_fail(c.f, ctx, EBUSY, "rmdir", path);
	if (unlinkat(c.at.dir, c.at.base, AT_REMOVEDIR) == 0)
		return 0;
	if (errno == ENOENT && ctx->attempt)
		return 0;
	return file_fail(c.f, ctx, errno == EEXIST ? ENOTEMPTY : errno, "rmdir",
			 path);
}

/* Which of the two flags probe() has seen to work. */
static bool
flags_ok(const struct backend *be, unsigned flags)
{
	if (flags == RENAME_NOREPLACE)
		return be->caps.rename_noreplace;
	if (flags == RENAME_EXCHANGE)
		return be->caps.rename_exchange;
	return flags == 0;
}

static int
file_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	    const char *to, unsigned flags, const struct be_opid *opid,
	    unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_place_ struct file_place dst = FILE_PLACE_INIT;
	int ret;

	if (!flags_ok(be, flags))
		return be_fail(ctx, -EINVAL, false,
			       "rename to \"%s\": flags %x can't be kept", to,
			       flags);
	/* Done twice it would be undone, and nothing tells. */
	if (ctx->attempt && flags == RENAME_EXCHANGE)
		return be_fail(ctx, -EIO, false,
			       "exchange with \"%s\": whether it was done is "
			       "not known",
			       to);
	ret = file_call_begin(&c, be, ctx, "rename", from);
	if (ret)
		return ret;
	ret = file_find(c.f, to, &dst);
	if (ret == 0 && (!*c.at.base || !*dst.base))
		ret = -EBUSY;
	if (ret == 0 &&
	    renameat2(c.at.dir, c.at.base, dst.dir, dst.base, flags))
		ret = -errno;
	if (ret == -EEXIST && !(flags & RENAME_NOREPLACE))
		ret = -ENOTEMPTY;
	/* The old name gone, the new one there: that was the first call. */
	if (ret == -ENOENT && ctx->attempt &&
	    file_stat(c.f, &c.at, out) == -ENOENT &&
	    file_stat(c.f, &dst, out) == 0)
		ret = 0;
	if (ret == 0 && mask)
		ret = file_set(c.f, &dst, mask, attr);
	if (ret == 0)
		ret = file_stat_own(c.f, dst.dir, dst.base, out);
	return ret ? file_fail(c.f, ctx, ret, "rename", to) : 0;
}

static void
file_free(struct backend *be)
{
	struct file *f = file_of(be);

	if (f->root >= 0)
		close(f->root);
	free(f->groups);
	free(f->dir);
	free(f);
}

static const struct backend_ops file_ops = {
	.name = "file",
	.probe = file_probe,
	.getattr = file_getattr,
	.list = file_list,
	.statfs = file_statfs,
	.fetch = file_fetch,
	.read = file_read,
	.commit = file_commit,
	.setattr = file_setattr,
	.create = file_create,
	.mkdir = file_mkdir,
	.symlink = file_symlink,
	.readlink = file_readlink,
	.link = file_link,
	.unlink = file_unlink,
	.rmdir = file_rmdir,
	.rename = file_rename,
	.getxattr = file_getxattr,
	.listxattr = file_listxattr,
	.setxattr = file_setxattr,
	.free = file_free,
};

int
backend_file_open(const char *dir, const struct be_config *cfg,
		  struct backend **out, struct err *err)
{
	size_t len = strlen(dir);
	struct file *f;

	if (dir[0] != '/')
		return err_set(err, -EINVAL,
			       "\"%s\": the shared directory must be given "
			       "from the root",
			       dir);
	if (len >= PATH_MAX)
		return err_set(err, -EINVAL,
			       "the path of the shared directory "
			       "is too long");
	while (len > 1 && dir[len - 1] == '/')
		len--;
	f = xcalloc(1, sizeof(*f));
	f->dir = xstrndup(dir, len);
	f->root = -1;
	backend_init(&f->be, &file_ops, xasprintf("file:%s", f->dir));
	file_id_init(f);
	*out = &f->be;
	return 0;
}
