/* SPDX-License-Identifier: MIT */
/* See gate.h. */
#include <config.h>

#include "tests/cache/gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

#define READS_MAX 64

struct gate {
	struct backend be;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;
	unsigned calls[GATE_N], waiting[GATE_N];
	bool shut[GATE_N], shut_after[GATE_N];
	unsigned hold[GATE_N]; /* calls that are still to be held */
	struct {
		unsigned n;
		int err;
		bool after;
	} fail[GATE_N];
	unsigned one_in, seed;
	uint64_t bytes;
	struct {
		const char *path;
		struct range r;
	} reads[READS_MAX];
	bool overlapped;
};

static struct gate *
gate(struct backend *be)
{
	return (struct gate *)be;
}

static void
wait_locked(struct gate *g, enum gate_call call, bool after)
{
	if (!g->shut[call] || g->shut_after[call] != after || !g->hold[call])
		return;
	g->hold[call]--;
	g->waiting[call]++;
	pthread_cond_broadcast(&g->cond);
	while (g->shut[call])
		pthread_cond_wait(&g->cond, &g->lock);
	g->waiting[call]--;
}

/* What the call is to fail with, or 0. */
static int
enter(struct gate *g, enum gate_call call, bool *after)
{
	int err = 0;

	pthread_mutex_lock(&g->lock);
	g->calls[call]++;
	wait_locked(g, call, false);
	if (g->fail[call].n) {
		g->fail[call].n--;
		err = g->fail[call].err;
		*after = g->fail[call].after;
	} else if (g->one_in) {
		g->seed = g->seed * 1103515245u + 12345u;
		if ((g->seed >> 12) % g->one_in == 0) {
			err = -EIO;
			*after = g->seed >> 11 & 1;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

static void
leave(struct gate *g, enum gate_call call)
{
	pthread_mutex_lock(&g->lock);
	wait_locked(g, call, true);
	pthread_mutex_unlock(&g->lock);
}

static int
failed(struct be_ctx *ctx, int err)
{
	return be_fail(ctx, err, true, "the gate: %s", strerror(-err));
}

/* result = the call, unless it is to fail first. */
#define THROUGH(be, ctx, kind, call)                                           \
	do {                                                                   \
		struct gate *g_ = gate(be);                                    \
		bool after_ = false;                                           \
		int err_ = enter(g_, kind, &after_), ret_ = 0;                 \
		if (!err_ || after_)                                           \
			ret_ = (call);                                         \
		leave(g_, kind);                                               \
		return err_ ? failed(ctx, err_) : ret_;                        \
	} while (0)

static int
g_probe(struct backend *be, struct be_ctx *ctx)
{
	int ret = be_probe(be->below, ctx);

	be->caps = be->below->caps;
	return ret;
}

static int
g_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	  enum be_hint hint, struct be_attr *out)
{
	THROUGH(be, ctx, GATE_GETATTR,
		be_getattr(be->below, ctx, path, hint, out));
}

static int
g_list(struct backend *be, struct be_ctx *ctx, const char *path,
       struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	THROUGH(be, ctx, GATE_LIST, 
		be_list_part(be->below, ctx, path, cur, fn, arg));
}

static int
g_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	return be_statfs(be->below, ctx, out);
}

static int
fetch_count(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	    struct be_attr *out, uint64_t *got)
{
	struct gate *g = gate(be);
	int ret = be_fetch(be->below, ctx, path, have, max, sink, out, got);

	pthread_mutex_lock(&g->lock);
	if (ret == 0)
		g->bytes += *got;
	pthread_mutex_unlock(&g->lock);
	return ret;
}

static int
g_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	struct be_attr *out, uint64_t *got)
{
	struct be_attr a;
	uint64_t n;

	THROUGH(be, ctx, GATE_FETCH,
		({
			int r_ = fetch_count(be, ctx, path, have, max, sink,
					     &a, &n);
			/* untouched when the answer is lost (B3) */
			if (r_ >= 0 && !err_) {
				*out = a;
				if (r_ == 0)
					*got = n;
			}
			r_;
		}));
}

static unsigned
read_begin(struct gate *g, const char *path, uint64_t off, uint64_t len)
{
	unsigned slot = READS_MAX;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < READS_MAX; i++) {
		const struct range *r = &g->reads[i].r;

		if (!g->reads[i].path) {
			slot = i;
			continue;
		}
		if (strcmp(g->reads[i].path, path) == 0 &&
		    off < r->off + r->len && r->off < off + len)
			g->overlapped = true;
	}
	if (slot < READS_MAX) {
		g->reads[slot].path = path;
		g->reads[slot].r = (struct range){ off, len };
	}
	pthread_mutex_unlock(&g->lock);
	return slot;
}

static void
read_end(struct gate *g, unsigned slot, uint64_t bytes)
{
	pthread_mutex_lock(&g->lock);
	if (slot < READS_MAX)
		g->reads[slot].path = NULL;
	g->bytes += bytes;
	pthread_mutex_unlock(&g->lock);
}

static int
g_read(struct backend *be, struct be_ctx *ctx, const char *path,
       const struct be_ver *ver, uint64_t off, uint64_t len,
       const struct be_sink *sink, uint64_t *got)
{
	struct gate *g = gate(be);
	unsigned slot = read_begin(g, path, off, len);
	bool after = false;
	int err = enter(g, GATE_READ, &after), ret = 0;
	uint64_t n = 0;

	if (!err || after)
		ret = be_read(be->below, ctx, path, ver, off, len, sink, &n);
	leave(g, GATE_READ);
	read_end(g, slot, n);
	if (err)
		return failed(ctx, err);
	if (ret == 0)
		*got = n;
	return ret;
}

static int
g_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	return be_need(be->below, c, need);
}

/* Out-parameters are untouched when the answer is lost (B3). */
#define WITH_ATTR(kind, call)                                                  \
	do {                                                                   \
		struct be_attr a;                                              \
		THROUGH(be, ctx, kind, ({                                      \
				int r_ = (call);                               \
				if (r_ == 0 && !err_)                          \
					*out = a;                              \
				r_;                                            \
			}));                                                   \
	} while (0)

static int
g_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	 struct be_attr *out)
{
	WITH_ATTR(GATE_COMMIT, be_commit(be->below, ctx, c, &a));
}

static int
g_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_cond *cond, const struct be_opid *opid, unsigned mask,
	  const struct be_attr *attr, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_setattr(be->below, ctx, path, cond, opid,
					  mask, attr, &a));
}

static int
g_create(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_attr *attr, const struct be_opid *opid,
	 struct be_attr *out)
{
	WITH_ATTR(GATE_CREATE,
		  be_create(be->below, ctx, path, attr, opid, &a));
}

static int
g_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	const struct be_attr *attr, const struct be_opid *opid,
	struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_mkdir(be->below, ctx, path, attr, opid, &a));
}

static int
g_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	  const char *target, const struct be_attr *attr,
	  const struct be_opid *opid, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE,
		  be_symlink(be->below, ctx, path, target, attr, opid, &a));
}

static int
g_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	   char **target)
{
	return be_readlink(be->below, ctx, path, target);
}

static int
g_link(struct backend *be, struct be_ctx *ctx, const char *from,
       const char *to, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_link(be->below, ctx, from, to, &a));
}

static int
g_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_cond *cond, const struct be_opid *opid)
{
	THROUGH(be, ctx, GATE_CHANGE,
		be_unlink(be->below, ctx, path, cond, opid));
}

static int
g_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	const struct be_opid *opid)
{
	THROUGH(be, ctx, GATE_CHANGE, be_rmdir(be->below, ctx, path, opid));
}

static int
g_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	 const char *to, unsigned flags, const struct be_opid *opid,
	 unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_rename(be->below, ctx, from, to, flags, opid,
					 mask, attr, &a));
}

static int
g_copy(struct backend *be, struct be_ctx *ctx, const char *from,
       const struct be_ver *from_ver, const char *to,
       const struct be_cond *cond, const struct be_opid *opid,
       const struct be_attr *attr, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_copy(be->below, ctx, from, from_ver, to, cond,
				       opid, attr, &a));
}

static int
g_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   const char *name, void **value, size_t *len)
{
	return be_getxattr(be->below, ctx, path, name, value, len);
}

static int
g_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    char **names, size_t *len)
{
	return be_listxattr(be->below, ctx, path, names, len);
}

static int
g_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   const char *name, const void *value, size_t len, int flags,
	   const struct be_opid *opid, struct be_attr *out)
{
	WITH_ATTR(GATE_CHANGE, be_setxattr(be->below, ctx, path, name, value,
					   len, flags, opid, &a));
}

static void
g_free(struct backend *be)
{
	struct gate *g = gate(be);

	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->cond);
	free(g);
}

/* --- for the test -------------------------------------------------------- */

unsigned
gate_calls(struct gate *g, enum gate_call call)
{
	unsigned n;

	pthread_mutex_lock(&g->lock);
	n = g->calls[call];
	pthread_mutex_unlock(&g->lock);
	return n;
}

unsigned
gate_all_calls(struct gate *g)
{
	unsigned n = 0;

	for (int i = 0; i < GATE_N; i++)
		n += gate_calls(g, i);
	return n;
}

void
gate_reset(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	memset(g->calls, 0, sizeof(g->calls));
	g->bytes = 0;
	g->overlapped = false;
	pthread_mutex_unlock(&g->lock);
}

uint64_t
gate_bytes(struct gate *g)
{
	uint64_t n;

	pthread_mutex_lock(&g->lock);
	n = g->bytes;
	pthread_mutex_unlock(&g->lock);
	return n;
}

bool
gate_overlapped(struct gate *g)
{
	bool b;

	pthread_mutex_lock(&g->lock);
	b = g->overlapped;
	pthread_mutex_unlock(&g->lock);
	return b;
}

void
gate_shut(struct gate *g, enum gate_call call, unsigned n, bool after)
{
	pthread_mutex_lock(&g->lock);
	g->shut[call] = true;
	g->hold[call] = n;
	g->shut_after[call] = after;
	pthread_mutex_unlock(&g->lock);
}

void
gate_wait(struct gate *g, enum gate_call call, unsigned n)
{
	pthread_mutex_lock(&g->lock);
	while (g->waiting[call] < n)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void
gate_open(struct gate *g, enum gate_call call)
{
	pthread_mutex_lock(&g->lock);
	g->shut[call] = false;
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

void
gate_fail(struct gate *g, enum gate_call call, unsigned n, int err, bool after)
{
	pthread_mutex_lock(&g->lock);
	g->fail[call].n = n;
	g->fail[call].err = err;
	g->fail[call].after = after;
	pthread_mutex_unlock(&g->lock);
}

void
gate_fail_random(struct gate *g, unsigned one_in, unsigned seed)
{
	pthread_mutex_lock(&g->lock);
	g->one_in = one_in;
	g->seed = seed;
	pthread_mutex_unlock(&g->lock);
}

static const struct backend_ops gate_ops = {
	.name = "gate",
	.probe = g_probe,
	.getattr = g_getattr,
	.list = g_list,
	.statfs = g_statfs,
	.fetch = g_fetch,
	.read = g_read,
	.need = g_need,
	.commit = g_commit,
	.setattr = g_setattr,
	.create = g_create,
	.mkdir = g_mkdir,
	.symlink = g_symlink,
	.readlink = g_readlink,
	.link = g_link,
	.unlink = g_unlink,
	.rmdir = g_rmdir,
	.rename = g_rename,
	.copy = g_copy,
	.getxattr = g_getxattr,
	.listxattr = g_listxattr,
	.setxattr = g_setxattr,
	.free = g_free,
};

struct gate *
gate_new(struct backend **below, struct backend **out)
{
	struct gate *g = xcalloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->cond, NULL);
	backend_init(&g->be, &gate_ops, xstrdup((*below)->id));
	g->be.below = *below;
	*below = NULL;
	*out = &g->be;
	return g;
}
