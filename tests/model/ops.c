/* SPDX-License-Identifier: MIT */
/* The operations of the model test on a store that works: each must do just
 * what the model says. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "tests/model/run.h"

/* --- handles -------------------------------------------------------------- */

static struct handle *
free_handle(struct run *r)
{
	for (int i = 0; i < HANDLES; i++)
		if (!r->h[i].cf)
			return &r->h[i];
	return NULL;
}

static struct handle *
some_handle(struct run *r, bool writable)
{
	struct handle *h = &r->h[dice(r, HANDLES)];

	if (!h->cf)
		return NULL;
	if (writable && (h->flags & O_ACCMODE) == O_RDONLY)
		return NULL;
	if (!writable && (h->flags & O_ACCMODE) == O_WRONLY)
		return NULL;
	return h;
}

static bool
handle_of(const struct run *r, const struct mfile *f)
{
	for (int i = 0; i < HANDLES; i++)
		if (r->h[i].cf && r->h[i].f == f)
			return true;
	return false;
}

/* "3 of \"a/b\"", for the trace. */
static const char *
name_of(const struct run *r, const struct handle *h)
{
	static __thread char text[4][300];
	static __thread unsigned next;
	char *s = text[next++ % 4];
	const char *path = tree_path(&r->t, h->f);

	snprintf(s, sizeof(text[0]), "%d of \"%s\"", (int)(h - r->h),
		 path ? path : "(unlinked)");
	return s;
}

static void
close_handle(struct run *r, struct handle *h)
{
	must(r, "flush", cache_flush(h->cf, fresh(r)));
	cache_release(h->cf, fresh(r));
	mfile_put(h->f);
	h->cf = NULL;
}

static void
write_handle(struct run *r, struct handle *h)
{
	bool append = h->flags & O_APPEND;
	size_t off = append ? h->f->size : dice_size(r, r->size_max);
	size_t len = dice_size(r, r->size_max);
	_cleanup_free_ char *p = NULL;

	if (off + len > r->size_max)
		return;
	p = dice_bytes(r, len);
	must(r, "write",
	     cache_write(h->cf, fresh(r), append ? 0 : off, p, len, append));
	mfile_write(h->f, off, p, len);
}

/* --- files ---------------------------------------------------------------- */

static void
op_create(struct run *r)
{
	struct handle *h = free_handle(r);
	_cleanup_free_ char *path = dice_path(r, NOTHING);
	int flags = one_in(r, 2) ? O_RDWR : O_WRONLY;
	mode_t mode = 0600 | dice(r, 0200);
	struct be_attr a;

	if (!path || !h)
		return;
	if (one_in(r, 3))
		flags |= O_APPEND;
	if (one_in(r, 3))
		flags |= O_EXCL;
	if (one_in(r, 3))
		flags |= O_TRUNC;
	doing(r, "create \"%s\" flags %o", path, flags);
	look_up(r, path);
	must(r, "create",
	     cache_create(r->c, fresh(r), path, flags | O_CREAT, mode, &h->cf,
			  &a));
	h->f = mfile_new(S_IFREG | mode);
	mfile_truncate(h->f, 0);
	h->flags = flags;
	tree_add(&r->t, path, h->f);
	if (!one_in(r, 4))
		write_handle(r, h);
	if (one_in(r, 2))
		close_handle(r, h);
}

static void
op_open(struct run *r)
{
	static const int how[] = {O_RDONLY, O_RDWR, O_WRONLY};
	struct handle *h = free_handle(r);
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	int flags = how[dice(r, 3)];
	struct mfile *f;
	bool keep;
	int ret;

	if (!path || !h)
		return;
	f = tree_get(&r->t, path);
	if (!S_ISREG(f->mode) || (f->names > 1 && handle_of(r, f)))
		return;
	if (flags != O_RDONLY && one_in(r, 3))
		flags |= O_TRUNC;
	if (flags != O_RDONLY && one_in(r, 3))
		flags |= O_APPEND;
	doing(r, "open \"%s\" flags %o", path, flags);
	look_up(r, path);
	ret = cache_open(r->c, fresh(r), path, flags, &h->cf, &keep);
	if (ret == -ESTALE)
		ret = cache_open(r->c, fresh(r), path, flags, &h->cf, &keep);
	must(r, "open", ret);
	h->f = mfile_ref(f);
	h->flags = flags;
	if (flags & O_TRUNC)
		mfile_truncate(f, 0);
	if (flags != O_RDONLY && one_in(r, 2))
		write_handle(r, h);
	if (one_in(r, 2))
		close_handle(r, h);
}

static void
op_read(struct run *r)
{
	struct handle *h = some_handle(r, false);
	size_t off = dice_size(r, r->size_max);
	size_t len = dice_size(r, r->size_max), got = 0, want;
	_cleanup_free_ char *p = xmalloc(len + 1);

	if (!h)
		return;
	want = off < h->f->size ? h->f->size - off : 0;
	if (want > len)
		want = len;
	doing(r, "read %zu+%zu of handle %s", off, len, name_of(r, h));
	must(r, "read", cache_read(h->cf, fresh(r), off, p, len, &got));
	if (got != want)
		die(r, "%zu bytes instead of %zu", got, want);
	if (want && memcmp(p, h->f->data + off, want) != 0)
		die(r, "wrong bytes");
}

static void
op_write(struct run *r)
{
	struct handle *h = some_handle(r, true);

	if (!h)
		return;
	doing(r, "write by handle %s", name_of(r, h));
	write_handle(r, h);
}

static void
op_flush(struct run *r)
{
	struct handle *h = some_handle(r, true);

	if (!h)
		return;
	doing(r, "flush handle %s", name_of(r, h));
	must(r, "flush", cache_flush(h->cf, fresh(r)));
}

static void
op_close(struct run *r)
{
	struct handle *h = &r->h[dice(r, HANDLES)];

	if (!h->cf)
		return;
	doing(r, "close handle %s", name_of(r, h));
	close_handle(r, h);
}

static void
op_truncate(struct run *r)
{
	struct handle *h = one_in(r, 2) ? some_handle(r, true) : NULL;
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	struct be_attr set = {.size = dice_size(r, r->size_max)}, a;
	struct mfile *f = h ? h->f : path ? tree_get(&r->t, path) : NULL;

	if (!f || !S_ISREG(f->mode) || (!h && f->names > 1 && handle_of(r, f)))
		return;
	if (h && f->names == 0) /* it has no path to ask by */
		return;
	doing(r, "truncate \"%s\" to %zu%s", h ? tree_path(&r->t, f) : path,
	      (size_t)set.size, h ? " by handle" : "");
	if (!h)
		look_up(r, path);
	must(r, "truncate",
	     cache_setattr(r->c, fresh(r), h ? tree_path(&r->t, f) : path,
			   h ? h->cf : NULL, CACHE_SET_SIZE, &set, &a));
	if (a.size != set.size)
		die(r, "then it has size %zu", (size_t)a.size);
	mfile_truncate(f, set.size);
}

static void
op_zero(struct run *r)
{
	struct handle *h = some_handle(r, true);
	size_t off = dice_size(r, r->size_max), len = dice_size(r, 100000);
	_cleanup_free_ char *zeros = NULL;

	if (!h || len == 0 || off >= h->f->size)
		return;
	doing(r, "punch %zu+%zu by handle %s", off, len, name_of(r, h));
	must(r, "fallocate",
	     cache_fallocate(h->cf, fresh(r),
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			     len));
	if (len > h->f->size - off)
		len = h->f->size - off;
	zeros = xcalloc(1, len);
	mfile_write(h->f, off, zeros, len);
}

static void
op_copy(struct run *r)
{
	struct handle *in = some_handle(r, false), *out = some_handle(r, true);
	size_t len = dice_size(r, 200000), got = 0, want, from, to;

	if (!in || !out || in->f == out->f || (out->flags & O_APPEND))
		return;
	from = dice(r, in->f->size + 1);
	to = dice(r, out->f->size + 1);
	want = in->f->size - from < len ? in->f->size - from : len;
	if (to + want > r->size_max)
		return;
	doing(r, "copy %zu bytes from handle %s to %s", len, name_of(r, in),
	      name_of(r, out));
	must(r, "copy",
	     cache_copy_range(in->cf, from, out->cf, to, len, fresh(r), &got));
	if (got != want)
		die(r, "%zu bytes instead of %zu", got, want);
	mfile_write(out->f, to, in->f->data + from, want);
}

/* --- names ---------------------------------------------------------------- */

static void
op_stat(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, ANYTHING);

	if (!path)
		return;
	doing(r, "stat \"%s\"", path);
	look_up(r, path);
}

static void
op_mkdir(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, NOTHING);
	struct mfile *f;
	struct be_attr a;

	if (!path)
		return;
	doing(r, "mkdir \"%s\"", path);
	look_up(r, path);
	must(r, "mkdir", cache_mkdir(r->c, fresh(r), path, 0750, &a));
	f = mfile_new(S_IFDIR | 0750);
	tree_add(&r->t, path, f);
	mfile_put(f);
}

static void
op_rmdir(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	int ret;

	if (!path || !tree_is_dir(&r->t, path))
		return;
	doing(r, "rmdir \"%s\"", path);
	look_up(r, path);
	ret = cache_rmdir(r->c, fresh(r), path);
	if (tree_children(&r->t, path)) {
		if (ret != -ENOTEMPTY)
			die(r, "%d, though it is not empty", ret);
		return;
	}
	must(r, "rmdir", ret);
	tree_del(&r->t, path);
}

static void
op_unlink(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);

	if (!path || tree_is_dir(&r->t, path))
		return;
	doing(r, "unlink \"%s\"", path);
	look_up(r, path);
	must(r, "unlink", cache_unlink(r->c, fresh(r), path));
	tree_del(&r->t, path);
}

/* What the kernel refuses by itself, having looked both up. */
static bool
kernel_refuses(const struct run *r, const char *from, const char *to,
	       unsigned flags)
{
	const struct mfile *a = tree_get(&r->t, from);
	const struct mfile *b = tree_get(&r->t, to);

	if (path_within(to, from) || path_within(from, to))
		return true;
	if (!b || (flags & RENAME_EXCHANGE))
		return a == b;
	return a == b || (flags & RENAME_NOREPLACE) ||
	       !S_ISDIR(a->mode) != !S_ISDIR(b->mode);
}

static void
op_rename(struct run *r)
{
	const struct be_caps *caps = &cache_backend(r->c)->caps;
	_cleanup_free_ char *from = dice_path(r, SOMETHING);
	_cleanup_free_ char *to = dice_path(r, ANYTHING);
	unsigned flags = 0;
	int ret;

	if (!from || !to)
		return;
	if (caps->rename_noreplace && one_in(r, 5))
		flags = RENAME_NOREPLACE;
	else if (caps->rename_exchange && tree_get(&r->t, to) && one_in(r, 5))
		flags = RENAME_EXCHANGE;
	if (kernel_refuses(r, from, to, flags))
		return;
	doing(r, "rename \"%s\" to \"%s\" flags %u", from, to, flags);
	look_up(r, from);
	look_up(r, to);
	ret = cache_rename(r->c, fresh(r), from, to, flags);
	if (tree_is_dir(&r->t, to) && tree_children(&r->t, to) &&
	    !(flags & RENAME_EXCHANGE)) {
		if (ret != -ENOTEMPTY)
			die(r, "%d, though it is not empty", ret);
		return;
	}
	must(r, "rename", ret);
	tree_move(&r->t, from, to, flags & RENAME_EXCHANGE);
}

static void
op_symlink(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, NOTHING);
	_cleanup_free_ char *target = dice_bytes(r, 1 + dice(r, 100));
	struct mfile *f;
	struct be_attr a;

	if (!path)
		return;
	doing(r, "symlink \"%s\"", path);
	look_up(r, path);
	must(r, "symlink", cache_symlink(r->c, fresh(r), path, target, &a));
	f = mfile_new(S_IFLNK | 0777);
	f->size = strlen(target);
	f->data = steal_ptr(&target);
	tree_add(&r->t, path, f);
	mfile_put(f);
}

static void
op_readlink(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	_cleanup_free_ char *target = NULL;
	struct mfile *f;

	if (!path)
		return;
	f = tree_get(&r->t, path);
	if (!S_ISLNK(f->mode))
		return;
	doing(r, "readlink \"%s\"", path);
	look_up(r, path);
	must(r, "readlink", cache_readlink(r->c, fresh(r), path, &target));
	if (strcmp(target, f->data) != 0)
		die(r, "it leads to \"%s\", not \"%s\"", target, f->data);
}

static void
op_link(struct run *r)
{
	_cleanup_free_ char *from = dice_path(r, SOMETHING);
	_cleanup_free_ char *to = dice_path(r, NOTHING);
	struct mfile *f;
	struct be_attr a;

	if (!r->links || !from || !to || !cache_backend(r->c)->caps.hard_links)
		return;
	f = tree_get(&r->t, from);
	if (!S_ISREG(f->mode) || handle_of(r, f))
		return;
	doing(r, "link \"%s\" to \"%s\"", from, to);
	look_up(r, from);
	look_up(r, to);
	must(r, "link", cache_link(r->c, fresh(r), from, to, &a));
	tree_add(&r->t, to, f);
	/* Remembered attributes are by name. */
	f->has_mtime = false;
}

/* --- attributes ----------------------------------------------------------- */

static struct cfile *
maybe_open(struct run *r, const struct mfile *f)
{
	for (int i = 0; i < HANDLES; i++)
		if (r->h[i].cf && r->h[i].f == f && one_in(r, 2))
			return r->h[i].cf;
	return NULL;
}

static void
op_setattr(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	struct be_attr set = {.mode = 0600 | dice(r, 0200)}, a;
	unsigned mask = 0;
	struct mfile *f;

	if (!path)
		return;
	f = tree_get(&r->t, path);
	if (S_ISLNK(f->mode) || f->names > 1)
		return;
	if (S_ISDIR(f->mode))
		set.mode |= 0100;
	set.mode |= f->mode & S_IFMT;
	set.atime.tv_sec = 1000000000 + dice(r, 600000000);
	set.mtime.tv_sec = 1000000000 + dice(r, 600000000);
	set.mtime.tv_nsec = dice(r, 1000000000);
	if (one_in(r, 2))
		mask |= BE_SET_MODE;
	if (one_in(r, 2) || !mask)
		mask |= BE_SET_MTIME | BE_SET_ATIME;
	doing(r, "setattr \"%s\" mask %x", path, mask);
	look_up(r, path);
	must(r, "setattr",
	     cache_setattr(r->c, fresh(r), path, maybe_open(r, f), mask, &set,
			   &a));
	if (mask & BE_SET_MODE)
		f->mode = set.mode;
	if (S_ISREG(f->mode) && (mask & BE_SET_MTIME)) {
		f->has_mtime = true;
		f->mtime = set.mtime;
	}
	look_up(r, path);
}

static void
op_xattr(struct run *r)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	_cleanup_free_ void *now = NULL;
	char value[20];
	struct mfile *f;
	size_t len = 0;
	int ret;

	if (!path || !cache_backend(r->c)->caps.xattrs)
		return;
	f = tree_get(&r->t, path);
	if (!S_ISREG(f->mode) || f->names > 1)
		return;
	doing(r, "xattr of \"%s\"", path);
	look_up(r, path);
	ret = cache_getxattr(r->c, fresh(r), path, "user.tag", &now, &len);
	if (!f->tag && ret != -ENODATA)
		die(r, "getxattr: %d though there is none", ret);
	if (f->tag) {
		must(r, "getxattr", ret);
		if (len != strlen(f->tag) || memcmp(now, f->tag, len) != 0)
			die(r, "getxattr: it is not \"%s\"", f->tag);
	}
	snprintf(value, sizeof(value), "%u", r->op);
	if (f->tag && one_in(r, 3)) {
		must(r, "removexattr",
		     cache_setxattr(r->c, fresh(r), path, "user.tag", NULL, 0,
				    0));
		free(f->tag);
		f->tag = NULL;
	} else {
		must(r, "setxattr",
		     cache_setxattr(r->c, fresh(r), path, "user.tag", value,
				    strlen(value), 0));
		free(f->tag);
		f->tag = xstrdup(value);
	}
}

/* --- life ----------------------------------------------------------------- */

static void
op_check(struct run *r)
{
	if (!one_in(r, 10))
		return;
	doing(r, "check all");
	check_all(r);
}

/* Closes all, and begins again: with the old cache, or with none. */
static void
op_restart(struct run *r)
{
	bool new_dir = one_in(r, 3);

	if (!one_in(r, 15))
		return;
	doing(r, "restart%s", new_dir ? " with a new cache" : "");
	node_down(r);
	node_up(r, new_dir);
	check_all(r);
}

void
ops_run(struct run *r)
{
	static const struct {
		void (*fn)(struct run *r);
		unsigned weight;
	} all[] = {
		{op_create, 12},  {op_open, 12},   {op_read, 14},
		{op_write, 14},	  {op_flush, 6},   {op_close, 12},
		{op_truncate, 5}, {op_zero, 3},	   {op_copy, 3},
		{op_stat, 8},	  {op_mkdir, 6},   {op_rmdir, 4},
		{op_unlink, 7},	  {op_rename, 10}, {op_symlink, 3},
		{op_readlink, 2}, {op_link, 2},	   {op_setattr, 6},
		{op_xattr, 4},	  {op_check, 2},   {op_restart, 2},
	};
	const unsigned n = sizeof(all) / sizeof(all[0]);
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += all[i].weight;
	for (r->op = 1; r->op <= r->ops; r->op++) {
		unsigned at = dice(r, sum), i = 0;

		while (at >= all[i].weight)
			at -= all[i++].weight;
		all[i].fn(r);
	}
	doing(r, "check at the end");
	check_all(r);
}
