/* SPDX-License-Identifier: MIT */
/* Open files: their bytes. */
#include <config.h>

#include "fs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "fs/fs.h"
#include "fs/gate.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/passthrough.h"
#include "fs/reply.h"
#include "fs/request.h"

/* --- open and close ------------------------------------------------------- */

/* The kernel's part of the handle. */
static void
open_flags(struct fuse_file_info *fi, bool keep_pages)
{
	fi->keep_cache = keep_pages;
	fi->direct_io = (fi->flags & O_DIRECT) != 0;
	/*
	 * The kernel computes where an append goes and keeps the bytes in its
	 * pages there.  If the file may have grown since it last asked for the
	 * size, that is the wrong place.
	 */
	if ((fi->flags & O_APPEND) && !keep_pages)
		fi->direct_io = 1;
	fi->noflush = !cache_open_changes(fi->flags);
}

/*
 * The name means another file now than this node, which handles may still
 * have open.  ESTALE makes the kernel look the name up again, and it gets a
 * node of its own, so that no page of one version is read as the other's.
 */
static void
forget_name(struct request *r)
{
	table_stale(r->fs->table, r->node);
}

/* Another open was faster than the news of a foreign change. */
static bool
other_bytes(struct request *r, const struct cfile *cf)
{
	_cleanup_handle_ struct handle *h = NULL;

	h = inodes_handle(r->fs->inodes, r->node);
	return h && !cache_same_file(h->cf, cf);
}

/* Closes what can't be answered, in a pool: that may wait. */
static void
drop_open(struct request *r)
{
	uint64_t fh;

	if (handle_new(r, r->node, r->fi.flags, &r->cf, 0, &fh) == 0)
		handle_close(r->fs, fh);
}

static int
op_open(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct fuse_file_info fi = r->fi;
	int32_t backing;
	bool other;
	int rc;

	/* Not the second run of one that was opened and had to wait. */
	if (!r->cf) {
		/* Readers of a worker ago: what is written is their file, and
		 * stays it when the writer is the first to close. */
		rc = cache_open_changes(fi.flags) ?
			     handles_restore_node(r, r->node) :
			     0;
		if (rc == 0)
			rc = pass_node(r, r->node, &at);
		if (rc < 0)
			return rc;
		/* The cache keeps them: the file is sent in their name. */
		request_groups(r);
		rc = cache_open(r->fs->cache, &r->ctx, at.path, fi.flags,
				&r->cf, &r->keep_pages);
		if (rc == -ESTALE)
			forget_name(r);
		if (rc < 0)
			return rc;
		cache_set_node(r->cf, r->node);
	}
	open_flags(&fi, r->keep_pages);
	rc = passthrough_begin(r, r->node, r->cf, &fi, &backing);
	if (rc == -ESTALE && r->ctx.try_only)
		rc = -EAGAIN;
	if (rc == -EAGAIN)
		return rc;
	if (rc < 0) {
		r->counted = false;
		handles_restore_node(r, r->node);
		drop_open(r);
		forget_name(r);
		return rc;
	}
	r->counted = true;
	other = other_bytes(r, r->cf);
	rc = handle_new(r, r->node, fi.flags, &r->cf, backing, &fi.fh);
	if (rc < 0)
		return rc;
	if (other) {
		handle_close(r->fs, fi.fh);
		forget_name(r);
		return -ESTALE;
	}
	if (!r->keep_pages) {
		_cleanup_free_ char *path = table_path(r->fs->table, r->node);

		if (path)
			notify_settle(r->fs, path);
		reply_forget_attr(r->fs, r->node);
	}
	if (!reply_open(r, &fi, backing))
		handle_close(r->fs, fi.fh);
	return 0;
}

void
fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_open, op_open);
	r.node = ino;
	r.fi = *fi;
	r.ctx.walker = r.pid;
	request_run(&r);
}

static int
op_create(struct request *r)
{
	const struct cache_life life = {
		.entry_ns = r->fs->actimeo,
		.attr_ns = r->fs->actimeo,
	};
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct fuse_file_info fi = r->fi;
	struct be_attr a;
	struct cfile *cf;
	uint64_t node;
	int32_t backing = 0;
	int rc;

	rc = pass_child(r, r->node, r->name, &at);
	if (rc < 0)
		return rc;
	request_groups(r);
	request_inherit_gid(r);
	rc = cache_create(r->fs->cache, &r->ctx, at.path, fi.flags | O_CREAT,
			  r->mode, &cf, &a);
	if (rc < 0)
		return rc;
	node = table_ref(r->fs->table, r->node, r->name,
			 inode_number(at.path, a.ino));
	cache_set_node(cf, node);
	open_flags(&fi, a.size == 0);
	fi.keep_cache = 0;
	fi.noflush = 0;
	/* A new node: there is nobody to wait for. */
	r->ctx.try_only = false;
	rc = passthrough_begin(r, node, cf, &fi, &backing);
	r->counted = rc == 0;
	if (rc < 0)
		backing = 0;
	rc = handle_new(r, node, fi.flags & ~(O_EXCL | O_TRUNC), &cf, backing,
			&fi.fh);
	if (rc < 0)
		goto forget;
	if (node == 0) {
		handle_close(r->fs, fi.fh);
		return err_set(&r->err, -ENFILE, "no node for the name");
	}
	if (reply_create(r, node, &a, life, &fi, backing))
		return 0;
	handle_close(r->fs, fi.fh);
forget:
	table_forget(r->fs->table, node, 1);
	return rc;
}

void
fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	  struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_create, op_create);
	r.node = parent;
	r.name = name;
	r.mode = mode;
	r.fi = *fi;
	request_run(&r);
}

static bool
nameless(struct request *r)
{
	char *path = table_path(r->fs->table, r->node);

	free(path);
	return !path;
}

static int
op_flush(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	int rc;

	rc = handle_get(r, r->fi.fh, &h);
	if (rc == -ESTALE && nameless(r)) {
		/* A worker ago, and removed: nobody waits for its bytes. */
		reply_ok(r);
		return 0;
	}
	if (rc < 0)
		return rc;
	rc = r->type == REQUEST_fsync ? cache_fsync(h->cf, &r->ctx) :
					cache_flush(h->cf, &r->ctx);
	if (rc < 0)
		return rc;
	reply_ok(r);
	return 0;
}

void
fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_flush, op_flush);
	r.node = ino;
	r.fi = *fi;
	request_run(&r);
}

void
fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	 struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_fsync, op_flush);
	r.node = ino;
	r.fi = *fi;
	request_run(&r);
}

/* Nobody waits for it; the work is the handle's last reference's.  Answered when
 * it is out of the table: the kernel tells no next worker what was answered. */
static int
op_release(struct request *r)
{
	handle_close(r->fs, r->fi.fh);
	reply_ok(r);
	return 0;
}

void
fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_release, op_release);
	r.node = ino;
	r.fi = *fi;
	request_run(&r);
}

/* --- bytes ---------------------------------------------------------------- */

static int
op_read(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	_cleanup_free_ void *buf = NULL;
	size_t got;
	int rc;

	rc = handle_get(r, r->fi.fh, &h);
	if (rc < 0)
		return rc;
	buf = xmalloc(r->len);
	rc = cache_read(h->cf, &r->ctx, r->off, buf, r->len, &got);
	if (rc < 0)
		return rc;
	reply_buf(r, buf, got);
	return 0;
}

void
fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_read, op_read);
	r.node = ino;
	r.len = size;
	r.off = (uint64_t)off;
	r.fi = *fi;
	request_run(&r);
}

static int
op_write(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	const int flags = r->fi.flags;
	bool sync, append;
	int rc;

	/* What a mapping changed has a place, whatever the handle's flags. */
	sync = (flags & (O_SYNC | O_DSYNC)) && !r->fi.writepage;
	append = (flags & O_APPEND) && !r->fi.writepage;
	if (sync && r->ctx.try_only)
		return -EAGAIN; /* written once, and flushed in the pool */
	rc = handle_get(r, r->fi.fh, &h);
	if (rc < 0)
		return rc;
	r->op_fh = r->fi.fh;
	if (!append)
		r->ctx.once = NULL;
	/* (An append of a worker ago that was not done has no record any more:
	 * handles_restore.) */
	if (!append || !r->once.again)
		rc = cache_write(h->cf, &r->ctx, r->off, r->data, r->data_len,
				 append);
	if (rc == 0 && sync)
		rc = cache_flush(h->cf, &r->ctx);
	if (rc < 0)
		return rc;
	reply_write(r, r->data_len);
	return 0;
}

void
fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	 off_t off, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_write, op_write);
	r.node = ino;
	r.data = buf;
	r.data_len = size;
	r.off = (uint64_t)off;
	r.fi = *fi;
	request_run(&r);
}

static int
op_fallocate(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	int rc;

	rc = handle_get(r, r->fi.fh, &h);
	if (rc < 0)
		return rc;
	rc = cache_fallocate(h->cf, &r->ctx, r->flags, r->off, r->len);
	if (rc < 0)
		return rc;
	reply_ok(r);
	return 0;
}

void
fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
	     off_t length, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_fallocate, op_fallocate);
	r.node = ino;
	r.flags = mode;
	r.off = (uint64_t)offset;
	r.len = (size_t)length;
	r.fi = *fi;
	request_run(&r);
}

static int
op_lseek(struct request *r)
{
	_cleanup_handle_ struct handle *h = NULL;
	uint64_t out;
	int rc;

	if (r->flags != SEEK_DATA && r->flags != SEEK_HOLE)
		return -EINVAL;
	rc = handle_get(r, r->fi.fh, &h);
	if (rc < 0)
		return rc;
	rc = cache_lseek(h->cf, &r->ctx, r->off, r->flags, &out);
	if (rc < 0)
		return rc;
	reply_lseek(r, out);
	return 0;
}

void
fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	 struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_lseek, op_lseek);
	r.node = ino;
	r.off = (uint64_t)off;
	r.flags = whence;
	r.fi = *fi;
	request_run(&r);
}

static int
op_copy_file_range(struct request *r)
{
	_cleanup_handle_ struct handle *in = NULL, *out = NULL;
	size_t copied;
	int rc;

	if (r->flags != 0)
		return -EINVAL;
	rc = handle_get(r, r->fi.fh, &in);
	if (rc < 0)
		return rc;
	rc = handle_get(r, r->fi2.fh, &out);
	if (rc < 0)
		return rc;
	rc = cache_copy_range(in->cf, r->off, out->cf, r->off2, r->len,
			      &r->ctx, &copied);
	if (rc < 0)
		return rc;
	reply_write(r, copied);
	return 0;
}

void
fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
		   struct fuse_file_info *fi_in, fuse_ino_t ino_out,
		   off_t off_out, struct fuse_file_info *fi_out, size_t len,
		   int flags)
{
	struct request r;

	request_init(&r, req, REQUEST_copy_file_range, op_copy_file_range);
	r.node = ino_in;
	r.off = (uint64_t)off_in;
	r.fi = *fi_in;
	r.node2 = ino_out;
	r.off2 = (uint64_t)off_out;
	r.fi2 = *fi_out;
	r.len = len;
	r.flags = flags;
	request_run(&r);
}
