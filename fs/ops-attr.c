/* SPDX-License-Identifier: MIT */
/* Attributes, extended attributes, and the size of the whole. */
#include <config.h>

#include "fs/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "fs/fs.h"
#include "fs/gate.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/reply.h"
#include "fs/request.h"

/*
 * The path of r's node and, if there is one, an open file of it: the one that
 * was named, else any if the node has lost its name (at->path is then NULL).
 */
static int
target(struct request *r, struct pass *at, bool change, struct handle **h)
{
	struct handle *any = NULL;
	bool nameless;
	int rc;

	if (r->has_fi) {
		rc = handle_get(r, r->fi.fh, &any);
		if (rc < 0 && rc != -ESTALE)
			return rc;
	}
	rc = change ? pass_node(r, r->node, at) : look_node(r, r->node, at);
	nameless = rc == -ENOENT || rc == -ESTALE;
	if (nameless && !any)
		any = inodes_handle(r->fs->inodes, r->node);
	*h = any;
	return nameless && any ? 0 : rc;
}

/*
 * fstat() of what is open, and stat() of where a program stands, take no right
 * to the way there (I.10), and a program may have given its rights up since; on
 * the way of stat("a/b") the kernel has checked.  But a caller may also see
 * more than we do, on an export that squashes root.
 */
static int
getattr(struct request *r, const char *path, struct cfile *cf,
	struct be_attr *out, struct cache_life *life)
{
	struct cache_ctx ctx;
	int rc;

	rc = cache_getattr(r->fs->cache, &r->ctx, path, cf, out, life);
	if (rc != -EACCES || !r->fs->opt->default_permissions)
		return rc;
	ctx = r->ctx;
	ctx.be.uid = 0;
	ctx.be.gid = 0;
	ctx.be.ngroups = 0;
	rc = cache_getattr(r->fs->cache, &ctx, path, cf, out, life);
	r->ctx.be.transient = ctx.be.transient;
	return rc;
}

static int
op_getattr(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct cache_life life;
	struct be_attr a;
	int rc;

	rc = target(r, &at, false, &h);
	if (rc < 0)
		return rc;
	rc = getattr(r, at.path, h ? h->cf : NULL, &a, &life);
	if (rc < 0)
		return rc;
	reply_attr(r, r->node, &a, life.attr_ns);
	return 0;
}

void
fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_getattr, op_getattr);
	r.node = ino;
	if (fi) {
		r.fi = *fi;
		r.has_fi = true;
	}
	request_run(&r);
}

static unsigned
wanted(struct request *r, struct be_attr *a)
{
	const struct timespec now = clock_wall();
	unsigned mask = 0;

	memset(a, 0, sizeof(*a));
	if (r->set & FUSE_SET_ATTR_MODE) {
		a->mode = r->st.st_mode;
		mask |= BE_SET_MODE;
	}
	if (r->set & FUSE_SET_ATTR_UID) {
		a->uid = idmap_to_store(&r->fs->uids, r->st.st_uid);
		mask |= BE_SET_UID;
	}
	if (r->set & FUSE_SET_ATTR_GID) {
		a->gid = idmap_to_store(&r->fs->gids, r->st.st_gid);
		mask |= BE_SET_GID;
	}
	if (r->set & FUSE_SET_ATTR_SIZE) {
		a->size = (uint64_t)r->st.st_size;
		mask |= CACHE_SET_SIZE;
	}
	if (r->set & FUSE_SET_ATTR_ATIME) {
		a->atime = r->set & FUSE_SET_ATTR_ATIME_NOW ? now
							    : r->st.st_atim;
		mask |= BE_SET_ATIME;
	}
	if (r->set & FUSE_SET_ATTR_MTIME) {
		a->mtime = r->set & FUSE_SET_ATTR_MTIME_NOW ? now
							    : r->st.st_mtim;
		mask |= BE_SET_MTIME;
	}
	return mask;
}

static int
op_setattr(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct be_attr a, out;
	unsigned mask;
	int rc;

	mask = wanted(r, &a);
	if (mask == 0)
		return op_getattr(r);
	/* As for an open() that writes. */
	rc = mask & CACHE_SET_SIZE ? handles_restore_node(r, r->node) : 0;
	if (rc == 0)
		rc = target(r, &at, true, &h);
	if (rc < 0)
		return rc;
	rc = cache_setattr(r->fs->cache, &r->ctx, at.path, h ? h->cf : NULL,
			   mask, &a, &out);
	if (rc < 0)
		return rc;
	reply_attr(r, r->node, &out, r->fs->actimeo);
	return 0;
}

void
fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
	   struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_setattr, op_setattr);
	r.node = ino;
	r.st = *attr;
	r.set = (unsigned)to_set;
	if (fi) {
		r.fi = *fi;
		r.has_fi = true;
	}
	request_run(&r);
}

static int
op_statfs(struct request *r)
{
	struct statvfs st;
	int rc;

	rc = cache_statfs(r->fs->cache, &r->ctx, &st);
	if (rc < 0)
		return rc;
	reply_statfs(r, &st);
	return 0;
}

void
fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct request r;

	request_init(&r, req, REQUEST_statfs, op_statfs);
	r.node = ino;
	request_run(&r);
}

/* --- extended attributes -------------------------------------------------- */

#define STATE_XATTR "user.sharedfs.state"
#define OWN_PREFIX "user.sharedfs."

static bool
starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* May programs have an attribute of that name?  0, or as Linux has it. */
static int
user_name(const char *name)
{
	if (!starts_with(name, "user."))
		return -EOPNOTSUPP;
	return name[strlen("user.")] ? 0 : -EINVAL;
}

struct find_pending {
	const char *path;
	bool found;
};

static void
find_pending(void *arg, const char *path, uint64_t bytes)
{
	struct find_pending *f = arg;

	if (strcmp(path, f->path) == 0)
		f->found = true;
}

/* Is it in the store?  Programs that ignore what close() says can ask. */
static int
state_xattr(struct request *r, const char *path)
{
	struct find_pending f = { .path = path };
	const char *state;

	cache_pending(r->fs->cache, find_pending, &f);
	state = f.found ? "dirty" : "clean";
	reply_xattr(r, state, strlen(state));
	return 0;
}

static int
op_getxattr(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	_cleanup_free_ void *value = NULL;
	size_t len;
	int rc;

	/* The kernel asks for it before each write: never the store. */
	if (strcmp(r->name, "security.capability") == 0)
		return -ENODATA;
	rc = user_name(r->name);
	if (rc < 0)
		return rc;
	rc = look_node(r, r->node, &at);
	if (rc < 0)
		return rc;
	if (strcmp(r->name, STATE_XATTR) == 0)
		return state_xattr(r, at.path);
	rc = cache_getxattr(r->fs->cache, &r->ctx, at.path, r->name, &value,
			    &len);
	if (rc < 0)
		return rc;
	reply_xattr(r, value, len);
	return 0;
}

void
fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct request r;

	request_init(&r, req, REQUEST_getxattr, op_getxattr);
	r.node = ino;
	r.name = name;
	r.len = size;
	request_run(&r);
}

static int
op_listxattr(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	_cleanup_free_ char *names = NULL;
	size_t len;
	int rc;

	rc = look_node(r, r->node, &at);
	if (rc < 0)
		return rc;
	rc = cache_listxattr(r->fs->cache, &r->ctx, at.path, &names, &len);
	if (rc == -EOPNOTSUPP) {
		/* cp -a and rsync ask all files: none is the right answer. */
		reply_xattr(r, "", 0);
		return 0;
	}
	if (rc < 0)
		return rc;
	reply_xattr(r, names, len);
	return 0;
}

void
fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct request r;

	request_init(&r, req, REQUEST_listxattr, op_listxattr);
	r.node = ino;
	r.len = size;
	request_run(&r);
}

static int
op_setxattr(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	int rc;

	rc = user_name(r->name);
	if (rc < 0)
		return rc;
	if (starts_with(r->name, OWN_PREFIX))
		return -EPERM;
	rc = pass_node(r, r->node, &at);
	if (rc < 0)
		return rc;
	rc = cache_setxattr(r->fs->cache, &r->ctx, at.path, r->name, r->data,
			    r->data_len, r->flags);
	if (rc < 0)
		return rc;
	reply_ok(r);
	return 0;
}

void
fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
	    const char *value, size_t size, int flags)
{
	struct request r;

	request_init(&r, req, REQUEST_setxattr, op_setxattr);
	r.node = ino;
	r.name = name;
	r.data = value;
	r.data_len = size;
	r.flags = flags;
	request_run(&r);
}

void
fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct request r;

	request_init(&r, req, REQUEST_removexattr, op_setxattr);
	r.node = ino;
	r.name = name;
	request_run(&r);
}
