/* SPDX-License-Identifier: MIT */
/* Operations on names: what is called what. */
#include <config.h>

#include "fs/ops.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/xalloc.h"
#include "fs/fs.h"
#include "fs/gate.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/reply.h"
#include "fs/request.h"

/* --- lookup and forget ---------------------------------------------------- */

/* The name is there: its node goes to the kernel. */
static int
found(struct request *r, uint64_t parent, const char *name, const char *path,
      const struct be_attr *a, struct cache_life life)
{
	struct table *t = r->fs->table;
	uint64_t node;

	node = table_ref(t, parent, name, inode_number(path, a->ino));
	if (node == 0)
		return err_set(&r->err, -ENFILE, "no node for the name");
	if (!reply_entry(r, node, a, life))
		table_forget(t, node, 1);
	return 0;
}

/* We made it: it may be believed as long as anything. */
static int
made(struct request *r, uint64_t parent, const char *name, const char *path,
     const struct be_attr *a)
{
	const struct cache_life life = {
		.entry_ns = r->fs->actimeo,
		.attr_ns = r->fs->actimeo,
	};

	return found(r, parent, name, path, a, life);
}

static int
look(struct request *r, struct pass *at)
{
	struct cache_life life;
	struct be_attr a;
	int rc;

	rc = cache_lookup(r->fs->cache, &r->ctx, at->path, &a, &life);
	if (rc == -ENOENT && r->fs->negative_timeout > 0) {
		pass_put(at);
		if (r->disturbed && !r->insist)
			return rc;
		reply_no_entry(r, life.entry_ns);
		return 0;
	}
	if (rc < 0)
		return rc;
	return found(r, r->node, r->name, at->path, &a, life);
}

static int
op_lookup(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	_cleanup_free_ char *path = NULL;
	int rc;

	rc = look_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	path = xstrdup(at.path);
	cache_entry_begin(r->fs->cache, path);
	rc = look(r, &at);
	cache_entry_end(r->fs->cache, path);
	return rc;
}

void
fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request r;

	request_init(&r, req, REQUEST_lookup, op_lookup);
	r.node = parent;
	r.name = name;
	r.ctx.walker = r.pid;
	request_run(&r);
}

void
fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct fs *fs = fuse_req_userdata(req);

	table_forget(fs->table, ino, nlookup);
	reply_none(req);
}

void
fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fuse_req_userdata(req);
	size_t i;

	for (i = 0; i < count; i++)
		table_forget(fs->table, forgets[i].ino, forgets[i].nlookup);
	reply_none(req);
}

/* --- new names ------------------------------------------------------------ */

static int
op_mkdir(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct be_attr a;
	int rc;

	rc = pass_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	request_inherit_gid(r);
	rc = cache_mkdir(r->fs->cache, &r->ctx, at.path, r->mode & 07777, &a);
	if (rc < 0)
		return rc;
	return made(r, r->node, r->name, at.path, &a);
}

void
fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request r;

	request_init(&r, req, REQUEST_mkdir, op_mkdir);
	r.node = parent;
	r.name = name;
	r.mode = S_IFDIR | mode;
	request_run(&r);
}

static int
op_mknod(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct be_attr a;
	int rc;

	/* Devices of a share would be devices of every host. */
	if (S_ISBLK(r->mode) || S_ISCHR(r->mode))
		return -EPERM;
	rc = pass_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	request_inherit_gid(r);
	rc = cache_mknod(r->fs->cache, &r->ctx, at.path, r->mode, r->rdev, &a);
	if (rc < 0)
		return rc;
	return made(r, r->node, r->name, at.path, &a);
}

void
fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	 dev_t rdev)
{
	struct request r;

	request_init(&r, req, REQUEST_mknod, op_mknod);
	r.node = parent;
	r.name = name;
	r.mode = mode & S_IFMT ? mode : S_IFREG | mode;
	r.rdev = rdev;
	request_run(&r);
}

static int
op_symlink(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct be_attr a;
	int rc;

	rc = pass_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	request_inherit_gid(r);
	rc = cache_symlink(r->fs->cache, &r->ctx, at.path, r->name2, &a);
	if (rc < 0)
		return rc;
	return made(r, r->node, r->name, at.path, &a);
}

void
fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
	   const char *name)
{
	struct request r;

	request_init(&r, req, REQUEST_symlink, op_symlink);
	r.node = parent;
	r.name = name;
	r.name2 = target;
	r.mode = S_IFLNK | 0777;
	request_run(&r);
}

static int
op_readlink(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	_cleanup_free_ char *target = NULL;
	int rc;

	rc = look_node(r, r->node, &at);
	if (rc < 0)
		return rc;
	rc = cache_readlink(r->fs->cache, &r->ctx, at.path, &target);
	if (rc < 0)
		return rc;
	reply_readlink(r, target);
	return 0;
}

void
fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request r;

	request_init(&r, req, REQUEST_readlink, op_readlink);
	r.node = ino;
	request_run(&r);
}

/* The second name gets a node of its own; stat shows one inode number. */
static int
op_link(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct be_attr a;
	int rc;

	rc = pass_link(r, &at);
	if (rc < 0)
		return rc;
	rc = cache_link(r->fs->cache, &r->ctx, at.path, at.path2, &a);
	if (rc < 0)
		return rc;
	/* The new name is another file to the kernel, which would go on
	 * believing that the old one is the only name. */
	reply_forget_attr(r->fs, r->node);
	return made(r, r->node2, r->name2, at.path2, &a);
}

void
fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	const char *newname)
{
	struct request r;

	request_init(&r, req, REQUEST_link, op_link);
	r.node = ino;
	r.node2 = newparent;
	r.name2 = newname;
	request_run(&r);
}

/* --- names that go -------------------------------------------------------- */

static int
op_unlink(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	int rc;

	rc = handles_restore_node(r, table_find(r->fs->table, r->node, r->name));
	if (rc == 0)
		rc = pass_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	if (r->type == REQUEST_rmdir)
		rc = cache_rmdir(r->fs->cache, &r->ctx, at.path);
	else
		rc = cache_unlink(r->fs->cache, &r->ctx, at.path);
	if (rc < 0)
		return rc;
	table_unlink(r->fs->table, r->node, r->name);
	FAULT_POINT("unlink.named");
	reply_ok(r);
	return 0;
}

void
fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request r;

	request_init(&r, req, REQUEST_unlink, op_unlink);
	r.node = parent;
	r.name = name;
	request_run(&r);
}

void
fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request r;

	request_init(&r, req, REQUEST_rmdir, op_unlink);
	r.node = parent;
	r.name = name;
	request_run(&r);
}

static int
op_rename(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	int rc;

	if (r->flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (r->ctx.try_only)
		return -EAGAIN;
	handles_restore_node(r, table_find(r->fs->table, r->node2, r->name2));
	rc = pass_rename(r, &at);
	if (rc < 0)
		return rc;
	rc = cache_rename(r->fs->cache, &r->ctx, at.path, at.path2,
			  (unsigned)r->flags);
	if (rc < 0)
		return rc;
	if (!request_was_named(r))
		table_rename(r->fs->table, r->node, r->name, r->node2,
			     r->name2, (unsigned)r->flags, r->op);
	FAULT_POINT("rename.named");
	pass_put(&at); /* what the caller asks next need not wait */
	reply_ok(r);
	return 0;
}

void
fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	  fuse_ino_t newparent, const char *newname, unsigned int flags)
{
	struct request r;

	request_init(&r, req, REQUEST_rename, op_rename);
	r.node = parent;
	r.name = name;
	r.node2 = newparent;
	r.name2 = newname;
	r.flags = (int)flags;
	request_run(&r);
}
