/* SPDX-License-Identifier: MIT */
/*
 * Listings.  A directory handle keeps a snapshot, taken at offset 0: what is
 * listed does not jump while names come and go.  Offsets are 1 for ".", 2 for
 * "..", n + 3 for entry n; each says where the next read starts.
 */
#include <config.h>

#include "fs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "fs/fs.h"
#include "fs/gate.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/reply.h"
#include "fs/request.h"

static int
op_opendir(struct request *r)
{
	struct fuse_file_info fi = r->fi;
	int rc;

	rc = handle_new(r, r->node, r->fi.flags, NULL, 0, &fi.fh);
	if (rc < 0)
		return rc;
	if (!reply_open(r, &fi, 0))
		handle_close(r->fs, fi.fh);
	return 0;
}

void
fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_opendir, op_opendir);
	r.node = ino;
	r.fi = *fi;
	request_run(&r);
}

static int
op_releasedir(struct request *r)
{
	handle_close(r->fs, r->fi.fh);
	reply_ok(r);
	return 0;
}

void
fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_releasedir, op_releasedir);
	r.node = ino;
	r.fi = *fi;
	request_run(&r);
}

/* Names are in the store when the call that made them returns; new times may
 * wait. */
static int
op_fsyncdir(struct request *r)
{
	_cleanup_pass_ struct pass at = PASS_INIT;
	int rc;

	rc = look_node(r, r->node, &at);
	if (rc == 0)
		rc = cache_sync_name(r->fs->cache, &r->ctx, at.path);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	reply_ok(r);
	return 0;
}

void
fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
	    struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_fsyncdir, op_fsyncdir);
	r.node = ino;
	request_run(&r);
}

/* --- one answer ----------------------------------------------------------- */

struct answer {
	struct request *r;
	const char *path; /* of the directory */
	const struct snapshot *snap;
	char *buf;
	size_t len, cap;
};

/* The snapshot of r's handle: a new one at offset 0. */
static int
snapshot_for(struct request *r, const char *path, struct handle *h,
	     struct snapshot **out)
{
	struct cache_listing *l;
	int rc;

	if (r->off != 0) {
		*out = handle_snapshot(h);
		if (*out)
			return 0;
		/* A worker ago, or a seek in a directory just opened. */
	}
	rc = cache_list(r->fs->cache, &r->ctx, path, &l);
	if (rc < 0)
		return rc;
	*out = handle_set_snapshot(h, l);
	return 0;
}

static uint64_t
entry_ino(struct request *r, const char *dir, const struct cache_dirent *d)
{
	const bool stable = cache_backend(r->fs->cache)->caps.stable_ino;
	_cleanup_free_ char *path = NULL;
	uint64_t node;

	node = table_find(r->fs->table, r->node, d->name);
	if (node != 0)
		return table_ino(r->fs->table, node);
	/* A listing's numbers are those of stat only where they are the
	 * store's. */
	path = path_join(dir, d->name);
	return inode_number(path, stable ? d->ino : 0);
}

static bool
add(struct answer *a, const char *name, uint64_t ino, mode_t mode,
    uint64_t next)
{
	const struct stat st = { .st_ino = ino, .st_mode = mode };
	size_t left = a->cap - a->len, n;

	n = fuse_add_direntry(a->r->req, a->buf + a->len, left, name, &st,
			      (off_t)next);
	if (n > left)
		return false;
	a->len += n;
	return true;
}

static bool
add_plus(struct answer *a, const char *name,
	 const struct fuse_entry_param *e, uint64_t next)
{
	size_t left = a->cap - a->len, n;

	n = fuse_add_direntry_plus(a->r->req, a->buf + a->len, left, name, e,
				   (off_t)next);
	if (n > left)
		return false;
	a->len += n;
	return true;
}

/* "." and "..", without attributes: the kernel has their nodes. */
static bool
add_dots(struct answer *a, bool plus)
{
	struct table *t = a->r->fs->table;
	static const char *const names[] = { ".", ".." };
	struct fuse_entry_param e = { .attr.st_mode = S_IFDIR };
	uint64_t node[2], off;

	node[0] = a->r->node;
	node[1] = table_parent(t, node[0], NULL);
	if (node[1] == 0)
		node[1] = TABLE_ROOT;
	for (off = a->r->off; off < 2; off++) {
		e.attr.st_ino = table_ino(t, node[off]);
		if (plus ? !add_plus(a, names[off], &e, off + 1)
			 : !add(a, names[off], e.attr.st_ino, S_IFDIR, off + 1))
			return false;
	}
	return true;
}

/* The next entry; -ENOENT: no more.  What is in the answer already need not
 * wait for the store. */
static int
entry(struct answer *a, bool first, uint64_t i, struct cache_dirent *d)
{
	struct cache_ctx ctx = a->r->ctx;

	ctx.try_only |= !first;
	return cache_listing_get(a->snap->l, &ctx, i, d);
}

static int
fill(struct answer *a)
{
	struct cache_dirent d;
	uint64_t i;
	int rc = 0;

	if (!add_dots(a, false))
		return 0;
	for (i = a->r->off < 2 ? 0 : a->r->off - 2;; i++) {
		rc = entry(a, a->len == 0, i, &d);
		if (rc < 0)
			break;
		if (!add(a, d.name, entry_ino(a->r, a->path, &d), d.mode,
			 i + 3))
			break;
	}
	return a->len || rc == -ENOENT ? 0 : rc;
}

/* --- with attributes ------------------------------------------------------ */

struct known {
	struct cache_dirent d;
	struct be_attr a;
	struct cache_life life;
	int rc;
};

/* The entries from `from` on that may fit in what is left: *n of them. */
static int
window(struct answer *a, size_t from, struct known **out, size_t *n)
{
	size_t left = a->cap - a->len, used = 0, cap = 0;
	struct known *k = NULL;
	int rc;

	for (*n = 0;; ++*n) {
		if (*n == cap) {
			cap = cap ? 2 * cap : 32;
			k = xrealloc(k, cap, sizeof(*k));
		}
		rc = entry(a, a->len == 0 && *n == 0, from + *n, &k[*n].d);
		if (rc < 0)
			break;
		used += fuse_add_direntry_plus(a->r->req, NULL, 0, k[*n].d.name,
					       NULL, 0);
		if (used > left)
			break;
	}
	*out = k;
	return *n || a->len || rc == -ENOENT ? 0 : rc;
}

/* Nothing is referred to before all is known: a try may end here.  Fewer than *n
 * if the rest takes long. */
static int
know(struct answer *a, size_t from, size_t *n, struct known *k)
{
	struct request *r = a->r;
	size_t i;

	/* The kernel would believe none of them, and ask for each again. */
	if (r->fs->actimeo == 0) {
		for (i = 0; i < *n; i++)
			k[i].rc = -ENODATA;
		return 0;
	}
	/* The first of them is not too old for this answer when the last one
	 * is known. */
	r->ctx.since_ns = clock_mono_ns();
	*n = cache_prefetch_attrs(a->snap->l, &r->ctx, from, *n);
	for (i = 0; i < *n; i++) {
		_cleanup_free_ char *path = NULL;

		path = path_join(a->path, k[i].d.name);
		k[i].rc = cache_lookup(r->fs->cache, &r->ctx, path, &k[i].a,
				       &k[i].life);
		if (k[i].rc == -EAGAIN && r->ctx.try_only)
			return -EAGAIN;
		if (k[i].rc == -EINTR)
			return -EINTR;
		err_release(&r->err);
	}
	return 0;
}

static void
fill_known(struct answer *a, size_t from, size_t n, const struct known *k)
{
	struct request *r = a->r;
	struct fs *fs = r->fs;
	struct fuse_entry_param e;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct cache_dirent *d = &k[i].d;
		_cleanup_free_ char *path = NULL;
		uint64_t node = 0;

		path = path_join(a->path, d->name);
		if (k[i].rc == 0)
			node = table_ref(fs->table, r->node, d->name,
					 inode_number(path, k[i].a.ino));
		if (node == 0) {
			memset(&e, 0, sizeof(e));
			e.attr.st_ino = entry_ino(r, a->path, d);
			e.attr.st_mode = d->mode;
			if (!add_plus(a, d->name, &e, from + i + 3))
				return;
			continue;
		}
		entry_of(fs, node, &k[i].a, k[i].life, &e);
		if (!add_plus(a, d->name, &e, from + i + 3)) {
			table_forget(fs->table, node, 1);
			return;
		}
	}
}

/* Who lists names only, and not their attributes, is recognised by the kernel
 * when he has read on (READDIRPLUS_AUTO): until then few are asked for. */
#define FIRST_PLUS 16

static int
fill_plus(struct answer *a)
{
	_cleanup_free_ struct known *k = NULL;
	size_t from, n;
	int rc;

	if (!add_dots(a, true))
		return 0;
	from = a->r->off < 2 ? 0 : a->r->off - 2;
	rc = window(a, from, &k, &n);
	if (rc < 0 || n == 0)
		return rc;
	if (from == 0 && n > FIRST_PLUS)
		n = FIRST_PLUS;
	rc = know(a, from, &n, k);
	if (rc < 0)
		return rc;
	fill_known(a, from, n, k);
	return 0;
}

static int
op_readdir(struct request *r)
{
	_cleanup_free_ char *buf = NULL;
	_cleanup_handle_ struct handle *h = NULL;
	_cleanup_pass_ struct pass at = PASS_INIT;
	_cleanup_snapshot_ struct snapshot *snap = NULL;
	struct answer a = { .r = r };
	int rc;

	rc = handle_get(r, r->fi.fh, &h);
	if (rc < 0)
		return rc;
	rc = look_node(r, r->node, &at);
	if (rc < 0)
		return rc;
	rc = snapshot_for(r, at.path, h, &snap);
	if (rc < 0)
		return rc;
	buf = xmalloc(r->len);
	a.path = at.path;
	a.snap = snap;
	a.buf = buf;
	a.cap = r->len;
	if (r->type != REQUEST_readdirplus) {
		rc = fill(&a);
		if (rc == 0)
			reply_buf(r, a.buf, a.len);
		return rc;
	}
	cache_entries_begin(r->fs->cache);
	rc = fill_plus(&a);
	if (rc == 0)
		reply_buf(r, a.buf, a.len);
	cache_entries_end(r->fs->cache);
	return rc;
}

void
fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	   struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_readdir, op_readdir);
	r.node = ino;
	r.len = size;
	r.off = (uint64_t)off;
	r.fi = *fi;
	request_run(&r);
}

void
fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	       struct fuse_file_info *fi)
{
	struct request r;

	request_init(&r, req, REQUEST_readdirplus, op_readdir);
	r.node = ino;
	r.len = size;
	r.off = (uint64_t)off;
	r.fi = *fi;
	request_run(&r);
}
