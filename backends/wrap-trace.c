/* SPDX-License-Identifier: MIT */
/* One debug line for each call that reaches the store, with its time. */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/wrap.h"
#include "common/clock.h"
#include "common/log.h"

struct trace {
	struct backend be;
};

static int
told(const struct be_ctx *ctx, const char *call, const char *path,
     int64_t start, int ret)
{
	double ms;
	bool words;

	if (!log_enabled(LOG_LEVEL_DEBUG))
		return ret;
	ms = (clock_mono_ns() - start) / 1e6;
	/* What ENOENT means is clear. */
	words = ret < 0 && ret != -ENOENT && ctx->err && ctx->err->msg;
	log_line(LOG_LEVEL_DEBUG, "backend",
		 "op=%" PRIu64 " %s \"%s\"%s: %s, %.3f ms%s%s", ctx->op, call,
		 path, ctx->attempt ? " again" : "",
		 ret < 0 ? strerror(-ret) : "ok", ms, words ? ": " : "",
		 words ? ctx->err->msg : "");
	return ret;
}

static int
trace_probe(struct backend *be, struct be_ctx *ctx)
{
	int64_t start = clock_mono_ns();
	int ret = wrap_probed(be, be_probe(be->below, ctx));

	return told(ctx, "probe", "", start, ret);
}

static int
trace_list(struct backend *be, struct be_ctx *ctx, const char *path,
	   struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	int64_t start = clock_mono_ns();
	int ret = be_list_part(be->below, ctx, path, cur, fn, arg);

	return told(ctx, "list", path, start, ret);
}

static int
trace_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	    struct be_attr *out, uint64_t *got)
{
	int64_t start = clock_mono_ns();
	int ret = be_fetch(be->below, ctx, path, have, max, sink, out, got);

	return told(ctx, "fetch", path, start, ret);
}

static int
trace_read(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_ver *ver, uint64_t off, uint64_t len,
	   const struct be_sink *sink, uint64_t *got)
{
	int64_t start = clock_mono_ns();
	int ret = be_read(be->below, ctx, path, ver, off, len, sink, got);

	return told(ctx, "read", path, start, ret);
}

static void
trace_believe_absent(struct backend *be, const char *path)
{
	be_believe_absent(be->below, path);
}

static int
trace_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	return be_need(be->below, c, need);
}

static int
trace_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      enum be_hint hint, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_getattr(be->below, ctx, path, hint, out);

	return told(ctx, "getattr", path, start, ret);
}

static int
trace_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_statfs(be->below, ctx, out);

	return told(ctx, "statfs", "", start, ret);
}

static int
trace_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	     struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_commit(be->below, ctx, c, out);

	return told(ctx, "commit", c->path, start, ret);
}

static int
trace_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_setattr(be->below, ctx, path, cond, opid, mask, attr, out);

	return told(ctx, "setattr", path, start, ret);
}

static int
trace_create(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_attr *attr, const struct be_opid *opid,
	     struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_create(be->below, ctx, path, attr, opid, out);

	return told(ctx, "create", path, start, ret);
}

static int
trace_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_attr *attr, const struct be_opid *opid,
	    struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_mkdir(be->below, ctx, path, attr, opid, out);

	return told(ctx, "mkdir", path, start, ret);
}

static int
trace_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      const char *target, const struct be_attr *attr,
	      const struct be_opid *opid, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_symlink(be->below, ctx, path, target, attr, opid, out);

	return told(ctx, "symlink", path, start, ret);
}

static int
trace_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	       char **target)
{
	int64_t start = clock_mono_ns();
	int ret = be_readlink(be->below, ctx, path, target);

	return told(ctx, "readlink", path, start, ret);
}

static int
trace_link(struct backend *be, struct be_ctx *ctx, const char *from,
	   const char *to, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_link(be->below, ctx, from, to, out);

	return told(ctx, "link", to, start, ret);
}

static int
trace_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_cond *cond, const struct be_opid *opid)
{
	int64_t start = clock_mono_ns();
	int ret = be_unlink(be->below, ctx, path, cond, opid);

	return told(ctx, "unlink", path, start, ret);
}

static int
trace_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_opid *opid)
{
	int64_t start = clock_mono_ns();
	int ret = be_rmdir(be->below, ctx, path, opid);

	return told(ctx, "rmdir", path, start, ret);
}

static int
trace_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	     const char *to, unsigned flags, const struct be_opid *opid,
	     unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_rename(be->below, ctx, from, to, flags, opid, mask, attr,
			    out);

	return told(ctx, "rename", from, start, ret);
}

static int
trace_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	   const struct be_ver *from_ver, const char *to,
	   const struct be_cond *cond, const struct be_opid *opid,
	   const struct be_attr *attr, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_copy(be->below, ctx, from, from_ver, to, cond, opid, attr,
			  out);

	return told(ctx, "copy", to, start, ret);
}

static int
trace_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, void **value, size_t *len)
{
	int64_t start = clock_mono_ns();
	int ret = be_getxattr(be->below, ctx, path, name, value, len);

	return told(ctx, "getxattr", path, start, ret);
}

static int
trace_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		char **names, size_t *len)
{
	int64_t start = clock_mono_ns();
	int ret = be_listxattr(be->below, ctx, path, names, len);

	return told(ctx, "listxattr", path, start, ret);
}

static int
trace_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, const void *value, size_t len, int flags,
	       const struct be_opid *opid, struct be_attr *out)
{
	int64_t start = clock_mono_ns();
	int ret = be_setxattr(be->below, ctx, path, name, value, len, flags,
			      opid, out);

	return told(ctx, "setxattr", path, start, ret);
}

static void
trace_stats(struct backend *be, be_stat_fn *fn, void *arg)
{
	be_stats(be->below, fn, arg);
}

static void
trace_free(struct backend *be)
{
	free(be);
}

static const struct backend_ops trace_ops = {
	.name = "trace",
	.probe = trace_probe,
	.getattr = trace_getattr,
	.list = trace_list,
	.statfs = trace_statfs,
	.fetch = trace_fetch,
	.read = trace_read,
	.believe_absent = trace_believe_absent,
	.need = trace_need,
	.commit = trace_commit,
	.ahead = wrap_ahead,
	.setattr = trace_setattr,
	.create = trace_create,
	.mkdir = trace_mkdir,
	.symlink = trace_symlink,
	.readlink = trace_readlink,
	.link = trace_link,
	.unlink = trace_unlink,
	.rmdir = trace_rmdir,
	.rename = trace_rename,
	.copy = trace_copy,
	.getxattr = trace_getxattr,
	.listxattr = trace_listxattr,
	.setxattr = trace_setxattr,
	.stats = trace_stats,
	.free = trace_free,
};

int
wrap_trace_new(struct backend **below, struct backend **out)
{
	struct trace *t = xcalloc(1, sizeof(*t));

	wrap_init(&t->be, &trace_ops, below);
	*out = &t->be;
	return 0;
}
