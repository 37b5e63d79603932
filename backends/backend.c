/* SPDX-License-Identifier: MIT */
/* The checked calls of backend.h, and small helpers. */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

bool
be_ver_equal(const struct be_ver *a, const struct be_ver *b)
{
	return a->len == b->len && a->len != 0 &&
	       memcmp(a->b, b->b, a->len) == 0;
}

bool
be_attr_linked(const struct be_attr *a)
{
	return a->nlink > 1 && !S_ISDIR(a->mode);
}

void
be_attr_apply(struct be_attr *to, unsigned mask, const struct be_attr *from)
{
	if (mask & BE_SET_MODE)
		to->mode = (to->mode & S_IFMT) | (from->mode & 07777);
	if (mask & BE_SET_UID)
		to->uid = from->uid;
	if (mask & BE_SET_GID)
		to->gid = from->gid;
	if (mask & BE_SET_ATIME)
		to->atime = from->atime;
	if (mask & BE_SET_MTIME)
		to->mtime = from->mtime;
	if (mask & BE_SET_CTIME)
		to->ctime = from->ctime;
}

void
be_ver_set(struct be_ver *v, const void *p, size_t n)
{
	memset(v, 0, sizeof(*v));
	if (n > BE_VER_MAX)
		return;
	v->len = n;
	memcpy(v->b, p, n);
}

void
be_opid_new(struct be_opid *id)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char r[16];
	size_t have = 0;

	while (have < sizeof(r)) {
		ssize_t n = getrandom(r + have, sizeof(r) - have, 0);

		if (n > 0)
			have += n;
	}
	for (size_t i = 0; i < sizeof(r); i++) {
		id->s[2 * i] = hex[r[i] >> 4];
		id->s[2 * i + 1] = hex[r[i] & 15];
	}
	id->s[32] = '\0';
}

static int
sink_mem_write(void *arg, const void *data, size_t len, uint64_t off)
{
	struct be_sink_mem *m = arg;

	if (off < m->base || off - m->base > m->cap ||
	    len > m->cap - (off - m->base))
		return -EOVERFLOW;
	memcpy(m->p + (off - m->base), data, len);
	return 0;
}

struct be_sink
be_sink_to_mem(struct be_sink_mem *m)
{
	return (struct be_sink){ sink_mem_write, m };
}

static int
sink_fd_write(void *arg, const void *data, size_t len, uint64_t off)
{
	const int *fd = arg;

	return io_write_all(*fd, data, len, off);
}

struct be_sink
be_sink_to_fd(const int *fd)
{
	return (struct be_sink){ sink_fd_write, (void *)(uintptr_t)fd };
}

void
backend_init(struct backend *be, const struct backend_ops *ops, char *id)
{
	be->magic = BACKEND_MAGIC;
	be->ops = ops;
	be->id = id;
}

void
backend_free(struct backend *be)
{
	while (be) {
		struct backend *below = be->below;

		be->magic = 0;
		free(be->id);
		be->id = NULL;
		be->ops->free(be);
		be = below;
	}
}

int
be_fail(struct be_ctx *ctx, int code, bool transient, const char *fmt, ...)
{
	va_list ap;
	char *msg;

	va_start(ap, fmt);
	msg = xvasprintf(fmt, ap);
	va_end(ap);
	ctx->transient = transient;
	err_set(ctx->err, code, "%s", msg);
	free(msg);
	return code;
}

int
be_must_stop(struct be_ctx *ctx)
{
	if (ctx->cancel && atomic_load(ctx->cancel))
		return be_fail(ctx, -EINTR, false, "interrupted");
	if (ctx->deadline_ns && clock_mono_ns() >= ctx->deadline_ns)
		return be_fail(ctx, -ETIMEDOUT, true, "deadline passed");
	return 0;
}

/* Our own mistake, not a store's: loud in development, survivable else. */
static int
broken(struct backend *be, struct be_ctx *ctx, const char *call,
       const char *what)
{
	log_error("backend", "BUG: %s of %s: %s", call, be->ops->name, what);
#ifdef SHAREDFS_DEV
	abort();
#endif
	return be_fail(ctx, -EIO, false, "%s: internal error: %s", call, what);
}

#define ENTER(slot)                                                            \
	do {                                                                   \
		if (be->magic != BACKEND_MAGIC)                                \
			return broken(be, ctx, #slot, "not a backend");        \
		ctx->transient = false;                                        \
		if (!be->ops->slot)                                            \
			return be_fail(ctx, -ENOTSUP, false,                   \
				       "%s: not supported by %s", #slot,       \
				       be->ops->name);                         \
	} while (0)
#define CHECK_PATH(call, p)                                                    \
	do {                                                                   \
		if (!path_ok(p))                                               \
			return broken(be, ctx, call, "bad path");              \
	} while (0)

static int
result(struct backend *be, struct be_ctx *ctx, const char *call, int ret,
       int max)
{
	if (ret > max || ret < -4095)
		return broken(be, ctx, call, "result out of range");
	return ret;
}

static int
result_attr(struct backend *be, struct be_ctx *ctx, const char *call, int ret,
	    const struct be_attr *out)
{
	if (ret == 0 && (out->mode & S_IFMT) == 0)
		return broken(be, ctx, call, "attributes without a type");
	return result(be, ctx, call, ret, 0);
}

int
be_probe(struct backend *be, struct be_ctx *ctx)
{
	ENTER(probe);
	return result(be, ctx, "probe", be->ops->probe(be, ctx), 0);
}

char *
be_facts(struct backend *be)
{
	while (be->below)
		be = be->below;
	return be->ops->facts ? be->ops->facts(be) : NULL;
}

int
be_trust(struct backend *be, const char *facts)
{
	int ret;

	if (!be->below)
		return be->ops->trust ? be->ops->trust(be, facts) : -EINVAL;
	ret = be_trust(be->below, facts);
	if (ret == 0)
		be->caps = be->below->caps;
	return ret;
}

int
be_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   enum be_hint hint, struct be_attr *out)
{
	ENTER(getattr);
	CHECK_PATH("getattr", path);
	return result_attr(be, ctx, "getattr",
			   be->ops->getattr(be, ctx, path, hint, out), out);
}

int
be_list_part(struct backend *be, struct be_ctx *ctx, const char *path,
	     struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	ENTER(list);
	CHECK_PATH("list", path);
	return be->ops->list(be, ctx, path, cur, fn, arg);
}

int
be_list(struct backend *be, struct be_ctx *ctx, const char *path,
	be_list_fn *fn, void *arg)
{
	struct be_cursor *cur = NULL;
	int ret;

	do
		ret = be_list_part(be, ctx, path, &cur, fn, arg);
	while (ret == 0 && cur);
	be_cursor_free(cur);
	return ret;
}

void
be_cursor_free(struct be_cursor *cur)
{
	if (cur)
		cur->free(cur);
}

int
be_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	ENTER(statfs);
	return result(be, ctx, "statfs", be->ops->statfs(be, ctx, out), 0);
}

int
be_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	 struct be_attr *out, uint64_t *got)
{
	int ret;

	ENTER(fetch);
	CHECK_PATH("fetch", path);
	if (have && !be_ver_known(have))
		have = NULL;
	ret = be->ops->fetch(be, ctx, path, have, max, sink, out, got);
	if (ret == 1 && !have)
		return broken(be, ctx, "fetch", "unchanged from nothing");
	if (ret == 0 && *got != (out->size < max ? out->size : max))
		return broken(be, ctx, "fetch", "short");
	return result(be, ctx, "fetch", ret, 1);
}

int
be_read(struct backend *be, struct be_ctx *ctx, const char *path,
	const struct be_ver *ver, uint64_t off, uint64_t len,
	const struct be_sink *sink, uint64_t *got)
{
	int ret;

	ENTER(read);
	CHECK_PATH("read", path);
	if (!be_ver_known(ver))
		return broken(be, ctx, "read", "no version named");
	ret = be->ops->read(be, ctx, path, ver, off, len, sink, got);
	if (ret == 0 && *got > len)
		return broken(be, ctx, "read", "more than asked for");
	return result(be, ctx, "read", ret, 0);
}

void
be_believe_absent(struct backend *be, const char *path)
{
	if (be->ops->believe_absent)
		be->ops->believe_absent(be, path);
}

void
be_watch_uploads(struct backend *be, const struct be_uploads *uploads)
{
	for (; be; be = be->below)
		be->uploads = uploads;
}

int
be_give_up(struct backend *be, struct be_ctx *ctx, const char *key,
	   const char *id)
{
	while (be->below)
		be = be->below;
	return be->ops->give_up ? be->ops->give_up(be, ctx, key, id) : 0;
}

int
be_old_uploads(struct backend *be, struct be_ctx *ctx, int64_t age_s,
	       bool give_up, uint64_t *n)
{
	while (be->below)
		be = be->below;
	*n = 0;
	return be->ops->old_uploads ?
		       be->ops->old_uploads(be, ctx, age_s, give_up, n) : 0;
}

int
be_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	return be->ops->need ? be->ops->need(be, c, need) : 0;
}

int
be_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	  struct be_attr *out)
{
	int ret;

	ENTER(commit);
	CHECK_PATH("commit", c->path);
	if (!c->opid.s[0] || !c->attr)
		return broken(be, ctx, "commit", "no operation id or attr");
	if (c->cond.pre == BE_MATCH && !be_ver_known(&c->cond.ver))
		return broken(be, ctx, "commit", "condition without version");
	ret = be->ops->commit(be, ctx, c, out);
	/* A repeated one may have been answered by what came before it. */
	if (ret == 0 && out->size != c->size && ctx->attempt == 0 &&
	    !be->caps.random_write)
		return broken(be, ctx, "commit", "size differs");
	return result_attr(be, ctx, "commit", ret, out);
}

int
be_ahead(struct backend *be, const struct be_commit *c, struct be_ahead **out)
{
	return be->ops->ahead ? be->ops->ahead(be, c, out) : -ENOTSUP;
}

int
be_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_cond *cond, const struct be_opid *opid,
	   unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	ENTER(setattr);
	CHECK_PATH("setattr", path);
	return result_attr(be, ctx, "setattr",
			   be->ops->setattr(be, ctx, path, cond, opid, mask,
					    attr, out),
			   out);
}

int
be_create(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_attr *attr, const struct be_opid *opid,
	  struct be_attr *out)
{
	ENTER(create);
	CHECK_PATH("create", path);
	return result_attr(be, ctx, "create",
			   be->ops->create(be, ctx, path, attr, opid, out),
			   out);
}

int
be_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_attr *attr, const struct be_opid *opid,
	 struct be_attr *out)
{
	ENTER(mkdir);
	CHECK_PATH("mkdir", path);
	return result_attr(be, ctx, "mkdir",
			   be->ops->mkdir(be, ctx, path, attr, opid, out), out);
}

int
be_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	   const char *target, const struct be_attr *attr,
	   const struct be_opid *opid, struct be_attr *out)
{
	ENTER(symlink);
	CHECK_PATH("symlink", path);
	return result_attr(be, ctx, "symlink",
			   be->ops->symlink(be, ctx, path, target, attr, opid,
					    out),
			   out);
}

int
be_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	    char **target)
{
	ENTER(readlink);
	CHECK_PATH("readlink", path);
	return result(be, ctx, "readlink",
		      be->ops->readlink(be, ctx, path, target), 0);
}

int
be_link(struct backend *be, struct be_ctx *ctx, const char *from,
	const char *to, struct be_attr *out)
{
	if (!be->ops->link)
		return be_fail(ctx, -EPERM, false, "no hard links on %s",
			       be->ops->name);
	ENTER(link);
	CHECK_PATH("link", from);
	CHECK_PATH("link", to);
	return result_attr(be, ctx, "link",
			   be->ops->link(be, ctx, from, to, out), out);
}

int
be_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_cond *cond, const struct be_opid *opid)
{
	ENTER(unlink);
	CHECK_PATH("unlink", path);
	return result(be, ctx, "unlink",
		      be->ops->unlink(be, ctx, path, cond, opid), 0);
}

int
be_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_opid *opid)
{
	ENTER(rmdir);
	CHECK_PATH("rmdir", path);
	return result(be, ctx, "rmdir", be->ops->rmdir(be, ctx, path, opid), 0);
}

int
be_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	  const char *to, unsigned flags, const struct be_opid *opid,
	  unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	ENTER(rename);
	CHECK_PATH("rename", from);
	CHECK_PATH("rename", to);
	return result_attr(be, ctx, "rename",
			   be->ops->rename(be, ctx, from, to, flags, opid, mask,
					   attr, out),
			   out);
}

int
be_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	const struct be_ver *from_ver, const char *to,
	const struct be_cond *cond, const struct be_opid *opid,
	const struct be_attr *attr, struct be_attr *out)
{
	ENTER(copy);
	CHECK_PATH("copy", from);
	CHECK_PATH("copy", to);
	return result_attr(be, ctx, "copy",
			   be->ops->copy(be, ctx, from, from_ver, to, cond,
					 opid, attr, out),
			   out);
}

int
be_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    const char *name, void **value, size_t *len)
{
	ENTER(getxattr);
	CHECK_PATH("getxattr", path);
	return result(be, ctx, "getxattr",
		      be->ops->getxattr(be, ctx, path, name, value, len), 0);
}

int
be_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     char **names, size_t *len)
{
	ENTER(listxattr);
	CHECK_PATH("listxattr", path);
	return result(be, ctx, "listxattr",
		      be->ops->listxattr(be, ctx, path, names, len), 0);
}

int
be_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    const char *name, const void *value, size_t len, int flags,
	    const struct be_opid *opid, struct be_attr *out)
{
	ENTER(setxattr);
	CHECK_PATH("setxattr", path);
	return result_attr(be, ctx, "setxattr",
			   be->ops->setxattr(be, ctx, path, name, value, len,
					     flags, opid, out),
			   out);
}

void
be_stats(struct backend *be, be_stat_fn *fn, void *arg)
{
	if (be->ops->stats)
		be->ops->stats(be, fn, arg);
}

void
be_reload(struct backend *be, const struct be_config *cfg)
{
	for (; be; be = be->below)
		if (be->ops->reload)
			be->ops->reload(be, cfg);
}
