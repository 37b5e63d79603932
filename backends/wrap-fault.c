/* SPDX-License-Identifier: MIT */
/*
 * Faults on demand, for tests: each nth call fails, before it reaches the
 * store or after it was done there (a lost reply).
 */
#include <config.h>

#include "backends/backend.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/wrap.h"

struct fault {
	struct backend be;
	pthread_mutex_t lock; /* all below */
	struct wrap_fault_config cfg;
	unsigned calls;
	uint64_t injected;
};

static const struct backend_ops fault_ops;

static struct fault *
fault_of(const struct backend *be)
{
	assert(be->ops == &fault_ops);
	return (struct fault *)(uintptr_t)be;
}

enum fate { PASS, FAIL, LOSE };

static enum fate
next_fate(struct backend *be)
{
	struct fault *f = fault_of(be);
	const struct wrap_fault_config *cfg = &f->cfg;
	enum fate fate = PASS;
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = ++f->calls;
	if (cfg->first && n >= cfg->first &&
	    (cfg->every ? (n - cfg->first) % cfg->every == 0
			: n == cfg->first)) {
		fate = cfg->after ? LOSE : FAIL;
		f->injected++;
	}
	pthread_mutex_unlock(&f->lock);
	return fate;
}

static int
injected(struct backend *be, struct be_ctx *ctx, const char *call,
	 const char *path)
{
	struct fault *f = fault_of(be);
	struct wrap_fault_config cfg;

	pthread_mutex_lock(&f->lock);
	cfg = f->cfg;
	pthread_mutex_unlock(&f->lock);
	return be_fail(ctx, cfg.err, cfg.transient, "%s \"%s\": injected: %s%s",
		       call, path, strerror(-cfg.err),
		       cfg.after ? ", reply lost" : "");
}

static int
fault_probe(struct backend *be, struct be_ctx *ctx)
{
	return wrap_probed(be, be_probe(be->below, ctx));
}

static int
fault_list(struct backend *be, struct be_ctx *ctx, const char *path,
	   struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	if (next_fate(be) == PASS)
		return be_list_part(be->below, ctx, path, cur, fn, arg);
	return injected(be, ctx, "list", path);
}

static int
fault_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	    struct be_attr *out, uint64_t *got)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;
	uint64_t n;

	if (fate == PASS)
		return be_fetch(be->below, ctx, path, have, max, sink, out,
				got);
	/* The bytes came, the end of the reply did not. */
	if (fate == LOSE)
		be_fetch(be->below, ctx, path, have, max, sink, &lost, &n);
	return injected(be, ctx, "fetch", path);
}

static int
fault_read(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_ver *ver, uint64_t off, uint64_t len,
	   const struct be_sink *sink, uint64_t *got)
{
	enum fate fate = next_fate(be);
	uint64_t n;

	if (fate == PASS)
		return be_read(be->below, ctx, path, ver, off, len, sink, got);
	if (fate == LOSE)
		be_read(be->below, ctx, path, ver, off, len, sink, &n);
	return injected(be, ctx, "read", path);
}

static void
fault_believe_absent(struct backend *be, const char *path)
{
	be_believe_absent(be->below, path);
}

static int
fault_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	return be_need(be->below, c, need);
}

static int
fault_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      enum be_hint hint, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_getattr(be->below, ctx, path, hint, out);
	if (fate == LOSE)
		be_getattr(be->below, ctx, path, hint, &lost);
	return injected(be, ctx, "getattr", path);
}

static int
fault_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	enum fate fate = next_fate(be);
	struct statvfs lost;

	if (fate == PASS)
		return be_statfs(be->below, ctx, out);
	if (fate == LOSE)
		be_statfs(be->below, ctx, &lost);
	return injected(be, ctx, "statfs", "");
}

static int
fault_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	     struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_commit(be->below, ctx, c, out);
	if (fate == LOSE)
		be_commit(be->below, ctx, c, &lost);
	return injected(be, ctx, "commit", c->path);
}

static int
fault_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_setattr(be->below, ctx, path, cond, opid, mask, attr,
				  out);
	if (fate == LOSE)
		be_setattr(be->below, ctx, path, cond, opid, mask, attr, &lost);
	return injected(be, ctx, "setattr", path);
}

static int
fault_create(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_attr *attr, const struct be_opid *opid,
	     struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_create(be->below, ctx, path, attr, opid, out);
	if (fate == LOSE)
		be_create(be->below, ctx, path, attr, opid, &lost);
	return injected(be, ctx, "create", path);
}

static int
fault_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_attr *attr, const struct be_opid *opid,
	    struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_mkdir(be->below, ctx, path, attr, opid, out);
	if (fate == LOSE)
		be_mkdir(be->below, ctx, path, attr, opid, &lost);
	return injected(be, ctx, "mkdir", path);
}

static int
fault_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      const char *target, const struct be_attr *attr,
	      const struct be_opid *opid, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_symlink(be->below, ctx, path, target, attr, opid,
				  out);
	if (fate == LOSE)
		be_symlink(be->below, ctx, path, target, attr, opid, &lost);
	return injected(be, ctx, "symlink", path);
}

static int
fault_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	       char **target)
{
	enum fate fate = next_fate(be);
	char *lost = NULL;

	if (fate == PASS)
		return be_readlink(be->below, ctx, path, target);
	if (fate == LOSE && be_readlink(be->below, ctx, path, &lost) == 0)
		free(lost);
	return injected(be, ctx, "readlink", path);
}

static int
fault_link(struct backend *be, struct be_ctx *ctx, const char *from,
	   const char *to, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_link(be->below, ctx, from, to, out);
	if (fate == LOSE)
		be_link(be->below, ctx, from, to, &lost);
	return injected(be, ctx, "link", to);
}

static int
fault_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_cond *cond, const struct be_opid *opid)
{
	enum fate fate = next_fate(be);

	if (fate == PASS)
		return be_unlink(be->below, ctx, path, cond, opid);
	if (fate == LOSE)
		be_unlink(be->below, ctx, path, cond, opid);
	return injected(be, ctx, "unlink", path);
}

static int
fault_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_opid *opid)
{
	enum fate fate = next_fate(be);

	if (fate == PASS)
		return be_rmdir(be->below, ctx, path, opid);
	if (fate == LOSE)
		be_rmdir(be->below, ctx, path, opid);
	return injected(be, ctx, "rmdir", path);
}

static int
fault_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	     const char *to, unsigned flags, const struct be_opid *opid,
	     unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_rename(be->below, ctx, from, to, flags, opid, mask,
				 attr, out);
	if (fate == LOSE)
		be_rename(be->below, ctx, from, to, flags, opid, mask, attr,
			  &lost);
	return injected(be, ctx, "rename", from);
}

static int
fault_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	   const struct be_ver *from_ver, const char *to,
	   const struct be_cond *cond, const struct be_opid *opid,
	   const struct be_attr *attr, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_copy(be->below, ctx, from, from_ver, to, cond, opid,
			       attr, out);
	if (fate == LOSE)
		be_copy(be->below, ctx, from, from_ver, to, cond, opid, attr,
			&lost);
	return injected(be, ctx, "copy", to);
}

static int
fault_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, void **value, size_t *len)
{
	enum fate fate = next_fate(be);
	void *lost = NULL;
	size_t n;

	if (fate == PASS)
		return be_getxattr(be->below, ctx, path, name, value, len);
	if (fate == LOSE &&
	    be_getxattr(be->below, ctx, path, name, &lost, &n) == 0)
		free(lost);
	return injected(be, ctx, "getxattr", path);
}

static int
fault_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		char **names, size_t *len)
{
	enum fate fate = next_fate(be);
	char *lost = NULL;
	size_t n;

	if (fate == PASS)
		return be_listxattr(be->below, ctx, path, names, len);
	if (fate == LOSE && be_listxattr(be->below, ctx, path, &lost, &n) == 0)
		free(lost);
	return injected(be, ctx, "listxattr", path);
}

static int
fault_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, const void *value, size_t len, int flags,
	       const struct be_opid *opid, struct be_attr *out)
{
	enum fate fate = next_fate(be);
	struct be_attr lost;

	if (fate == PASS)
		return be_setxattr(be->below, ctx, path, name, value, len,
				   flags, opid, out);
	if (fate == LOSE)
		be_setxattr(be->below, ctx, path, name, value, len, flags, opid,
			    &lost);
	return injected(be, ctx, "setxattr", path);
}

static void
fault_stats(struct backend *be, be_stat_fn *fn, void *arg)
{
	struct fault *f = fault_of(be);
	uint64_t n;

	pthread_mutex_lock(&f->lock);
	n = f->injected;
	pthread_mutex_unlock(&f->lock);
	fn(arg, "injected", n);
	be_stats(be->below, fn, arg);
}

static void
fault_free(struct backend *be)
{
	struct fault *f = (struct fault *)be;

	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct backend_ops fault_ops = {
	.name = "fault",
	.probe = fault_probe,
	.getattr = fault_getattr,
	.list = fault_list,
	.statfs = fault_statfs,
	.fetch = fault_fetch,
	.read = fault_read,
	.believe_absent = fault_believe_absent,
	.need = fault_need,
	.commit = fault_commit,
	.setattr = fault_setattr,
	.create = fault_create,
	.mkdir = fault_mkdir,
	.symlink = fault_symlink,
	.readlink = fault_readlink,
	.link = fault_link,
	.unlink = fault_unlink,
	.rmdir = fault_rmdir,
	.rename = fault_rename,
	.copy = fault_copy,
	.getxattr = fault_getxattr,
	.listxattr = fault_listxattr,
	.setxattr = fault_setxattr,
	.stats = fault_stats,
	.free = fault_free,
};

int
wrap_fault_new(struct backend **below, const struct wrap_fault_config *cfg,
	       struct backend **out)
{
	struct fault *f = xcalloc(1, sizeof(*f));

	wrap_init(&f->be, &fault_ops, below);
	pthread_mutex_init(&f->lock, NULL);
	f->cfg = *cfg;
	*out = &f->be;
	return 0;
}

void
wrap_fault_set(struct backend *be, const struct wrap_fault_config *cfg)
{
	struct fault *f = fault_of(be);

	pthread_mutex_lock(&f->lock);
	f->cfg = *cfg;
	f->calls = 0;
	pthread_mutex_unlock(&f->lock);
}

unsigned
wrap_fault_calls(const struct backend *be)
{
	struct fault *f = fault_of(be);
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->calls;
	pthread_mutex_unlock(&f->lock);
	return n;
}
