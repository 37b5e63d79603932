/* SPDX-License-Identifier: MIT */
/*
 * A store in memory: the oracle of the model test.  Every clause of backend.h
 * in the plainest way, under one lock.  caps say which kind of store it plays:
 * with random_write the one that writes in place (a data version then also
 * changes with the ctime, as on a file system), else one of whole objects.
 */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backends/mem-priv.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define XATTR_MAX (64u * 1024)

int
mem_fail(struct be_ctx *ctx, int code, const char *call, const char *path)
{
	return be_fail(ctx, code, false, "%s \"%s\": %s", call, path,
		       strerror(-code));
}

/* What is there; -ENOENT if nothing is. */
int
mem_look(struct mem_tree *t, struct be_ctx *ctx, const char *call,
	 const char *path, struct mem_place *at)
{
	int ret = mem_find(t, path, at);

	if (ret == 0 && !at->node)
		ret = -ENOENT;
	return ret ? mem_fail(ctx, ret, call, path) : 0;
}

/* A place for a new name; -EEXIST if something is there. */
int
mem_look_free(struct backend *be, struct be_ctx *ctx, const char *call,
	      const char *path, struct mem_place *at)
{
	int ret = mem_find(mem_tree_of(be), path, at);

	if (ret == 0 && at->node)
		ret = -EEXIST;
	if (ret == 0 && strlen(at->base) > be->caps.name_max)
		ret = -ENAMETOOLONG;
	if (ret == 0 && strlen(path) > be->caps.path_max)
		ret = -ENAMETOOLONG;
	return ret ? mem_fail(ctx, ret, call, path) : 0;
}

void
mem_touch_attr(struct backend *be, struct mem_node *n)
{
	struct mem_tree *t = mem_tree_of(be);

	n->ctime = clock_wall();
	n->aver = ++t->counter;
	if (be->caps.random_write)
		n->ver = ++t->counter;
}

void
mem_touch_data(struct backend *be, struct mem_node *n)
{
	mem_touch_attr(be, n);
	n->ver = ++mem_tree_of(be)->counter;
	n->mtime = n->ctime;
}

void
mem_set_attr(struct mem_node *n, unsigned mask, const struct be_attr *a)
{
	if (mask & BE_SET_MODE)
		n->mode = (n->mode & S_IFMT) | (a->mode & 07777);
	if (mask & BE_SET_UID)
		n->uid = a->uid;
	if (mask & BE_SET_GID)
		n->gid = a->gid;
	if (mask & BE_SET_ATIME)
		n->atime = a->atime;
	if (mask & BE_SET_MTIME)
		n->mtime = a->mtime;
}

bool
mem_ver_is(const struct mem_node *n, const struct be_ver *ver)
{
	struct be_attr a;

	mem_node_attr(n, &a);
	return be_ver_equal(&a.ver, ver);
}

/* B6.  n NULL: nothing is there. */
int
mem_cond_check(struct backend *be, const struct be_cond *cond,
	       const struct mem_node *n)
{
	if (!cond || cond->pre == BE_ANY)
		return 0;
	if (cond->pre == BE_ABSENT)
		return n ? -EEXIST : 0;
	if (!n)
		return be->caps.random_write ? -ENOENT : -ESTALE;
	return mem_ver_is(n, &cond->ver) ? 0 : -ESTALE;
}

/* The end of a mutation: told now, and again if it is repeated (B5). */
int
mem_done(struct mem_tree *t, const struct be_opid *opid,
	 const struct mem_node *n, struct be_attr *out)
{
	struct be_attr a = {0};

	if (n)
		mem_node_attr(n, &a);
	mem_done_add(t, opid, &a);
	if (out)
		*out = a;
	return 0;
}

bool
mem_done_before(struct mem_tree *t, const struct be_opid *opid,
		struct be_attr *out)
{
	const struct mem_done *d = mem_done_find(t, opid);

	if (d && out)
		*out = d->attr;
	return d;
}

static int
mem_probe(struct backend *be, struct be_ctx *ctx)
{
	be->caps = ((struct mem *)be)->play;
	return 0;
}

static int
mem_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    enum be_hint hint, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret = mem_look(t, ctx, "getattr", path, &at);

	if (ret == 0)
		mem_node_attr(at.node, out);
	return ret;
}

#define LIST_PART 1000

struct snapshot {
	struct be_cursor base;
	size_t n, next;
	struct {
		char *name;
		struct be_attr attr;
	} * v;
};

static void
snapshot_free(struct be_cursor *cur)
{
	struct snapshot *s = (struct snapshot *)cur;

	for (size_t i = 0; i < s->n; i++)
		free(s->v[i].name);
	free(s->v);
	free(s);
}

static int
snapshot_take(struct backend *be, struct be_ctx *ctx, const char *path,
	      struct snapshot *s)
{
	LOCKED_TREE(be);
	struct mem_place at;
	struct mem_name *e, *tmp;
	int ret = mem_look(t, ctx, "list", path, &at);

	if (ret)
		return ret;
	if (!S_ISDIR(at.node->mode))
		return mem_fail(ctx, -ENOTDIR, "list", path);
	s->v = xcalloc(HASH_COUNT(at.node->names) + 1, sizeof(*s->v));
	HASH_ITER(hh, at.node->names, e, tmp)
	{
		s->v[s->n].name = xstrdup(e->name);
		mem_node_attr(e->node, &s->v[s->n].attr);
		s->n++;
	}
	return 0;
}

static int
mem_list(struct backend *be, struct be_ctx *ctx, const char *path,
	 struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	struct snapshot *s = (struct snapshot *)*cur;
	size_t i, end;
	int ret = 0;

	if (!s) {
		s = xcalloc(1, sizeof(*s));
		s->base.free = snapshot_free;
		ret = snapshot_take(be, ctx, path, s);
	}
	end = s->n - s->next > LIST_PART ? s->next + LIST_PART : s->n;
	for (i = s->next; ret == 0 && i < end; i++) {
		ret = be_must_stop(ctx);
		if (ret == 0)
			ret = fn(arg, s->v[i].name, &s->v[i].attr);
	}
	if (ret == 0 && i < s->n) {
		s->next = i;
		*cur = &s->base;
	} else if (ret == 0 || !*cur) {
		be_cursor_free(&s->base);
		if (ret == 0)
			*cur = NULL;
	}
	return ret;
}

static int
mem_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	memset(out, 0, sizeof(*out));
	out->f_bsize = out->f_frsize = 4096;
	out->f_blocks = out->f_bfree = out->f_bavail = 1u << 28;
	out->f_files = out->f_ffree = out->f_favail = 1u << 28;
	out->f_namemax = be->caps.name_max;
	return 0;
}

static int
mem_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_cond *cond, const struct be_opid *opid,
	    unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret;

	if (mem_done_before(t, opid, out))
		return 0;
	ret = mem_look(t, ctx, "setattr", path, &at);
	if (ret)
		return ret;
	ret = mem_cond_check(be, cond, at.node);
	if (ret)
		return mem_fail(ctx, ret, "setattr", path);
	mem_set_attr(at.node, mask, attr);
	mem_touch_attr(be, at.node);
	return mem_done(t, opid, at.node, out);
}

/* The common part of all that make a name. */
static int
make(struct backend *be, struct be_ctx *ctx, const char *call, const char *path,
     const struct be_attr *attr, const char *target, const struct be_opid *opid,
     struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place at;
	struct mem_node *n;
	int ret;

	if (mem_done_before(t, opid, out))
		return 0;
	ret = mem_look_free(be, ctx, call, path, &at);
	if (ret)
		return ret;
	n = mem_node_new(t, attr);
	if (target) {
		n->data = xstrdup(target);
		n->size = strlen(target);
	}
	mem_name_add(&at, n);
	return mem_done(t, opid, n, out);
}

static int
mem_create(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_attr *attr, const struct be_opid *opid,
	   struct be_attr *out)
{
	if (!S_ISREG(attr->mode) && !be->caps.special)
		return mem_fail(ctx, -EPERM, "create", path);
	return make(be, ctx, "create", path, attr, NULL, opid, out);
}

static int
mem_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_attr *attr, const struct be_opid *opid,
	  struct be_attr *out)
{
	struct be_attr a = *attr;

	a.mode = S_IFDIR | (a.mode & 07777);
	return make(be, ctx, "mkdir", path, &a, NULL, opid, out);
}

static int
mem_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	    const char *target, const struct be_attr *attr,
	    const struct be_opid *opid, struct be_attr *out)
{
	struct be_attr a = *attr;

	if (!be->caps.symlinks)
		return mem_fail(ctx, -EPERM, "symlink", path);
	a.mode = S_IFLNK | 0777;
	return make(be, ctx, "symlink", path, &a, target, opid, out);
}

static int
mem_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	     char **target)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret = mem_look(t, ctx, "readlink", path, &at);

	if (ret)
		return ret;
	if (!S_ISLNK(at.node->mode))
		return mem_fail(ctx, -EINVAL, "readlink", path);
	*target = xstrdup(at.node->data);
	return 0;
}

static int
mem_link(struct backend *be, struct be_ctx *ctx, const char *from,
	 const char *to, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place src, dst;
	int ret;

	if (!be->caps.hard_links)
		return mem_fail(ctx, -EPERM, "link", to);
	ret = mem_look(t, ctx, "link", from, &src);
	if (ret)
		return ret;
	if (S_ISDIR(src.node->mode))
		return mem_fail(ctx, -EPERM, "link", from);
	ret = mem_find(t, to, &dst);
	/* There is no operation id: the state tells (B5). */
	if (ret == 0 && ctx->attempt && dst.node == src.node)
		return mem_done(t, NULL, src.node, out);
	ret = mem_look_free(be, ctx, "link", to, &dst);
	if (ret)
		return ret;
	mem_name_add(&dst, src.node);
	mem_touch_attr(be, src.node);
	return mem_done(t, NULL, src.node, out);
}

static int
mem_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_cond *cond, const struct be_opid *opid)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret;

	if (mem_done_before(t, opid, NULL))
		return 0;
	ret = mem_look(t, ctx, "unlink", path, &at);
	if (ret)
		return ret;
	if (S_ISDIR(at.node->mode))
		return mem_fail(ctx, -EISDIR, "unlink", path);
	ret = mem_cond_check(be, cond, at.node);
	if (ret)
		return mem_fail(ctx, ret, "unlink", path);
	mem_touch_attr(be, at.node);
	mem_name_del(&at);
	return mem_done(t, opid, NULL, NULL);
}

static int
mem_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_opid *opid)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret;

	if (mem_done_before(t, opid, NULL))
		return 0;
	ret = mem_look(t, ctx, "rmdir", path, &at);
	if (ret)
		return ret;
	if (!S_ISDIR(at.node->mode))
		return mem_fail(ctx, -ENOTDIR, "rmdir", path);
	if (!at.dir)
		return mem_fail(ctx, -EBUSY, "rmdir", path);
	if (at.node->names)
		return mem_fail(ctx, -ENOTEMPTY, "rmdir", path);
	mem_name_del(&at);
	return mem_done(t, opid, NULL, NULL);
}

/* rename(2)'s refusals, in Linux's order. */
static int
rename_check(struct backend *be, const char *from, const char *to,
	     unsigned flags, const struct mem_place *src,
	     const struct mem_place *dst)
{
	size_t nfrom = strlen(from), nto = strlen(to);

	if (!src->dir || !dst->dir)
		return -EBUSY;
	if (!src->node)
		return -ENOENT;
	if ((flags & RENAME_NOREPLACE) && dst->node)
		return -EEXIST;
	if ((flags & RENAME_EXCHANGE) && !dst->node)
		return -ENOENT;
	if (strncmp(to, from, nfrom) == 0 && to[nfrom] == '/')
		return -EINVAL;
	if (strncmp(from, to, nto) == 0 && from[nto] == '/')
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (strlen(dst->base) > be->caps.name_max || nto > be->caps.path_max)
		return -ENAMETOOLONG;
	if (!dst->node || dst->node == src->node || (flags & RENAME_EXCHANGE))
		return 0;
	if (S_ISDIR(src->node->mode) && !S_ISDIR(dst->node->mode))
		return -ENOTDIR;
	if (!S_ISDIR(src->node->mode) && S_ISDIR(dst->node->mode))
		return -EISDIR;
	return dst->node->names ? -ENOTEMPTY : 0;
}

static void
exchange(struct mem_place *a, struct mem_place *b)
{
	struct mem_node *n = mem_name_take(a);
	struct mem_node *m = mem_name_take(b);

	mem_name_add(b, n);
	mem_name_add(a, m);
}

static int
mem_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	   const char *to, unsigned flags, const struct be_opid *opid,
	   unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place src, dst;
	int ret;

	if (mem_done_before(t, opid, out))
		return 0;
	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    ((flags & RENAME_NOREPLACE) && !be->caps.rename_noreplace) ||
	    ((flags & RENAME_EXCHANGE) && !be->caps.rename_exchange))
		return mem_fail(ctx, -EINVAL, "rename", to);
	ret = mem_find(t, from, &src);
	if (ret)
		return mem_fail(ctx, ret, "rename", from);
	ret = mem_find(t, to, &dst);
	if (ret == 0)
		ret = rename_check(be, from, to, flags, &src, &dst);
	if (ret)
		return mem_fail(ctx, ret, "rename", to);
	if (src.node == dst.node) /* two names of one file: both stay */
		return mem_done(t, opid, src.node, out);
	if (flags & RENAME_EXCHANGE) {
		exchange(&src, &dst);
		mem_touch_attr(be, src.node);
	} else {
		if (dst.node)
			mem_name_del(&dst);
		mem_name_add(&dst, mem_name_take(&src));
	}
	if (S_ISREG(dst.node->mode))
		mem_set_attr(dst.node, mask, attr);
	mem_touch_attr(be, dst.node);
	return mem_done(t, opid, dst.node, out);
}

static int
xattr_name_check(struct backend *be, struct be_ctx *ctx, const char *name)
{
	if (be->caps.xattrs && strncmp(name, "user.", 5) == 0 && name[5])
		return 0;
	return be_fail(ctx, -ENOTSUP, false, "xattr \"%s\": only user.*", name);
}

static int
mem_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     const char *name, void **value, size_t *len)
{
	LOCKED_TREE(be);
	struct mem_place at;
	struct mem_xattr *x;
	int ret = xattr_name_check(be, ctx, name);

	if (ret == 0)
		ret = mem_look(t, ctx, "getxattr", path, &at);
	if (ret)
		return ret;
	x = *mem_xattr_find(at.node, name);
	if (!x)
		return mem_fail(ctx, -ENODATA, "getxattr", path);
	*value = xmemdup(x->value, x->len);
	*len = x->len;
	return 0;
}

static int
mem_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      char **names, size_t *len)
{
	LOCKED_TREE(be);
	struct mem_place at;
	char *p;
	size_t n = 0;
	int ret = mem_look(t, ctx, "listxattr", path, &at);

	if (ret)
		return ret;
	for (struct mem_xattr *x = at.node->xattrs; x; x = x->next)
		n += strlen(x->name) + 1;
	*names = p = xmalloc(n + 1);
	*len = n;
	for (struct mem_xattr *x = at.node->xattrs; x; x = x->next)
		p = (char *)memcpy(p, x->name, strlen(x->name) + 1) +
		    strlen(x->name) + 1;
	return 0;
}

static int
mem_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     const char *name, const void *value, size_t len, int flags,
	     const struct be_opid *opid, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place at;
	struct mem_xattr **x;
	int ret = xattr_name_check(be, ctx, name);

	if (ret)
		return ret;
	if (mem_done_before(t, opid, out))
		return 0;
	ret = mem_look(t, ctx, "setxattr", path, &at);
	if (ret)
		return ret;
	if (len > XATTR_MAX)
		return mem_fail(ctx, -E2BIG, "setxattr", path);
	x = mem_xattr_find(at.node, name);
	if (*x && (flags & XATTR_CREATE))
		return mem_fail(ctx, -EEXIST, "setxattr", path);
	if (!*x && (!value || (flags & XATTR_REPLACE)))
		return mem_fail(ctx, -ENODATA, "setxattr", path);
	if (!*x) {
		*x = xcalloc(1, sizeof(**x));
		(*x)->name = xstrdup(name);
	}
	free((*x)->value);
	if (value) {
		(*x)->value = xmemdup(value, len);
		(*x)->len = len;
	} else {
		struct mem_xattr *gone = *x;

		*x = gone->next;
		free(gone->name);
		free(gone);
	}
	mem_touch_attr(be, at.node);
	return mem_done(t, opid, at.node, out);
}

static void
mem_free(struct backend *be)
{
	mem_tree_put(mem_tree_of(be));
	free(be);
}

static const struct backend_ops mem_ops = {
	.name = "mem",
	.probe = mem_probe,
	.getattr = mem_getattr,
	.list = mem_list,
	.statfs = mem_statfs,
	.fetch = mem_fetch,
	.read = mem_read,
	.need = mem_need,
	.commit = mem_commit,
	.setattr = mem_setattr,
	.create = mem_create,
	.mkdir = mem_mkdir,
	.symlink = mem_symlink,
	.readlink = mem_readlink,
	.link = mem_link,
	.unlink = mem_unlink,
	.rmdir = mem_rmdir,
	.rename = mem_rename,
	.copy = mem_copy,
	.getxattr = mem_getxattr,
	.listxattr = mem_listxattr,
	.setxattr = mem_setxattr,
	.free = mem_free,
};

void
backend_mem_caps(struct be_caps *caps, bool in_place)
{
	*caps = (struct be_caps){
		.random_write = in_place,
		.atomic_rename = true,
		.rename_noreplace = true,
		.rename_exchange = true,
		.exclusive_create = true,
		.conditional_put = true,
		.conditional_copy = true,
		.conditional_delete = true,
		.checksums = true,
		.hard_links = true,
		.symlinks = true,
		.special = true,
		.owner = true,
		.xattrs = true,
		.server_copy = true,
		.stable_ino = true,
		.part_size = in_place ? 0 : 256 * 1024,
		.file_max = UINT64_C(1) << 30,
		.name_max = 255,
		.path_max = 4095,
	};
}

static struct backend *
mem_new(struct mem_tree *t, const struct be_caps *play)
{
	struct mem *m = xcalloc(1, sizeof(*m));

	backend_init(&m->be, &mem_ops, xstrdup(t->id));
	m->t = t;
	m->play = *play;
	return &m->be;
}

int
backend_mem_open_as(const struct be_caps *play, struct backend **out)
{
	*out = mem_new(mem_tree_new(), play);
	return 0;
}

int
backend_mem_share(struct backend *mem, struct backend **out)
{
	*out = mem_new(mem_tree_ref(mem_tree_of(mem)),
		       &((struct mem *)mem)->play);
	return 0;
}

int
backend_mem_open(struct backend **out)
{
	struct be_caps play;

	backend_mem_caps(&play, true);
	return backend_mem_open_as(&play, out);
}
