/* SPDX-License-Identifier: MIT */
/*
 * Repeats what may succeed later, and knows how the store is doing.
 *
 * hard: until the caller gives up (cancel, his deadline); soft: until timeo,
 * then EIO (P7).  Between two tries a random time, from backoff_min to a limit
 * that doubles up to backoff_max (full jitter: the nodes of a share must not
 * come back all at once).
 *
 * While the store is down (breaker.h) no call reaches it but one look every
 * LOOK_EVERY, and everybody goes on within a second when it is back.  A caller
 * with an older answer (have_stale) does not wait.
 *
 * A repeated call carries the same arguments, ctx->attempt says so, and the
 * operation id lets the store recognise it (B5).  A listing is delivered when
 * it is whole, so that no entry comes twice; the bytes of a fetch start anew,
 * those of a read go on where they stopped, being of one version.
 */
#include <config.h>

#include "backends/backend.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backends/breaker.h"
#include "backends/wrap.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"

/* A cancelled caller is noticed within this. */
#define NAP_NS (20 * NSEC_PER_MSEC)
#define LOOK_EVERY (NSEC_PER_SEC / 2)

struct retry {
	struct backend be;
	struct wrap_retry_config cfg; /* but for these two */
	atomic_bool hard;
	_Atomic int64_t timeo_ns;
	struct breaker breaker;
	_Atomic uint64_t retries, gave_up;
};

static const struct backend_ops retry_ops;

static struct retry *
retry_of(struct backend *be)
{
	assert(be->ops == &retry_ops);
	return (struct retry *)be;
}

/* The tries of one call. */
struct attempts {
	struct retry *r;
	struct be_ctx *ctx;
	const char *call, *path;
	int64_t start_ns;
	int64_t caller_deadline_ns; /* to put back */
	unsigned caller_attempt, caller_bad_bytes;
	bool quick;
};

/* As long as the call may last by what the mount is now. */
static void
attempts_limit(struct attempts *a)
{
	int64_t limit = a->start_ns + atomic_load(&a->r->timeo_ns);

	a->ctx->deadline_ns = a->caller_deadline_ns;
	if (!atomic_load(&a->r->hard) &&
	    (!a->caller_deadline_ns || a->caller_deadline_ns > limit))
		a->ctx->deadline_ns = limit;
}

static int
attempts_end(struct attempts *a, int ret)
{
	a->ctx->deadline_ns = a->caller_deadline_ns;
	a->ctx->attempt = a->caller_attempt;
	a->ctx->bad_bytes = a->caller_bad_bytes;
	return ret;
}

static void
answered(struct retry *r)
{
	int64_t down = breaker_answered(&r->breaker);

	if (down)
		log_warn("backend", "the store is back after %.1f s",
			 (double)down / NSEC_PER_SEC);
}

static void
say_down(struct retry *r, const char *words)
{
	log_warn("backend", "the store does not answer, %s: %s",
		 atomic_load(&r->hard) ? "calls wait" : "calls fail after timeo",
		 words);
}

static void
failed(struct retry *r, const struct be_ctx *ctx, const char *call)
{
	if (breaker_failed(&r->breaker))
		say_down(r, ctx->err && ctx->err->msg ? ctx->err->msg : call);
}

/* Evenly from [0, n). */
static int64_t
random_below(int64_t n)
{
	uint64_t r = 0;

	if (n <= 0)
		return 0;
	if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r))
		r = clock_mono_ns();
	return r % (uint64_t)n;
}

static int64_t
backoff_ns(const struct wrap_retry_config *cfg, unsigned attempt)
{
	int64_t top = cfg->backoff_min_ns;

	while (attempt-- && top < cfg->backoff_max_ns)
		top *= 2;
	if (top > cfg->backoff_max_ns)
		top = cfg->backoff_max_ns;
	return cfg->backoff_min_ns +
	       random_below(top - cfg->backoff_min_ns + 1);
}

static bool
is_cancelled(const struct be_ctx *ctx)
{
	return ctx->cancel && atomic_load(ctx->cancel);
}

/* Until end, the deadline or the caller's cancel. */
static void
nap(const struct be_ctx *ctx, int64_t end)
{
	for (;;) {
		int64_t left = end - clock_mono_ns();
		struct timespec t;

		if (left <= 0 || is_cancelled(ctx))
			return;
		if (ctx->deadline_ns && end > ctx->deadline_ns)
			end = ctx->deadline_ns;
		t = ns_timespec(left < NAP_NS ? left : NAP_NS);
		nanosleep(&t, NULL);
	}
}

static int
give_up(struct attempts *a, int ret)
{
	struct retry *r = a->r;
	struct be_ctx *ctx = a->ctx;
	bool ours = !a->caller_deadline_ns ||
		    ctx->deadline_ns < a->caller_deadline_ns;

	atomic_fetch_add(&r->gave_up, 1);
	if (ctx->err && ctx->err->msg)
		err_prefix(ctx->err, "gave up after %.1f s",
			   (double)(clock_mono_ns() - a->start_ns) /
				   NSEC_PER_SEC);
	else
		err_set(ctx->err, ret, "gave up: %s", strerror(-ret));
	ctx->transient = true;
	/* The end of timeo is EIO; the caller's own deadline is not ours. */
	ret = ours ? -EIO : -ETIMEDOUT;
	if (ctx->err)
		ctx->err->code = ret;
	return ret;
}

/* --- while the store is down ----------------------------------------------- */

/* A name that nobody has, so that nothing can answer but the store. */
static void
look(struct attempts *a)
{
	struct retry *r = a->r;
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = *a->ctx;
	int64_t every = LOOK_EVERY, timeo = atomic_load(&r->timeo_ns);
	struct be_attr attr;
	char path[64];
	int ret;

	if (!atomic_load(&r->hard) && timeo / 8 < every)
		every = timeo / 8;
	ctx.err = &err;
	ctx.transient = false;
	ctx.attempt = 0;
	ctx.deadline_ns = clock_mono_ns() + BREAKER_LOOK_LIMIT;
	snprintf(path, sizeof(path), ".sharedfs-look-%" PRIx64,
		 (uint64_t)clock_mono_ns());
	ret = be_getattr(r->be.below, &ctx, path, BE_HINT_FILE, &attr);
	if (ret == -EINTR)
		;
	else if (ret < 0 && (ctx.transient || ret == -ETIMEDOUT))
		failed(r, &ctx, "getattr");
	else
		answered(r);
	breaker_looked(&r->breaker, every);
}

/* 0: the store is there, as far as anybody knows.  Else the call must end. */
static int
wait_for_store(struct attempts *a)
{
	struct be_ctx *ctx = a->ctx;
	bool waited = false;

	for (;;) {
		bool tell;
		enum breaker_word word = breaker_ask(&a->r->breaker, &tell);

		if (tell)
			say_down(a->r, "calls hang");
		if (word == BREAKER_LOOK) {
			look(a);
			continue;
		}
		if (word == BREAKER_GO)
			break;
		if (is_cancelled(ctx))
			return be_must_stop(ctx);
		attempts_limit(a);
		if (ctx->deadline_ns && clock_mono_ns() >= ctx->deadline_ns)
			return give_up(a, -EIO);
		if (ctx->have_stale)
			return be_fail(ctx, -EIO, true, "the store is down");
		waited = true;
		nap(ctx, clock_mono_ns() + NAP_NS);
	}
	/* Not all in the same instant. */
	if (waited)
		nap(ctx, clock_mono_ns() +
				 random_below(a->r->cfg.backoff_min_ns));
	return 0;
}

/* < 0: the call is over. */
static int
attempts_begin(struct attempts *a, struct backend *be, struct be_ctx *ctx,
	       const char *call, const char *path, bool quick)
{
	int ret;

	a->r = retry_of(be);
	a->ctx = ctx;
	a->call = call;
	a->path = path;
	a->quick = quick;
	a->start_ns = clock_mono_ns();
	a->caller_deadline_ns = ctx->deadline_ns;
	a->caller_attempt = ctx->attempt;
	a->caller_bad_bytes = ctx->bad_bytes;
	ctx->bad_bytes = 0;
	attempts_limit(a);
	ret = wait_for_store(a);
	if (ret < 0)
		return attempts_end(a, ret);
	if (quick)
		breaker_begin(&a->r->breaker);
	return 0;
}

/* Is there to be one more try?  If not, *ret is the answer. */
static bool
attempts_more(struct attempts *a, int *ret)
{
	struct be_ctx *ctx = a->ctx;
	int stop;

	if (*ret >= 0 || !ctx->transient) {
		if (a->quick)
			breaker_end(&a->r->breaker);
		if (*ret != -EINTR)
			answered(a->r);
		*ret = attempts_end(a, *ret);
		return false;
	}
	failed(a->r, ctx, a->call);
	if (a->quick)
		breaker_end(&a->r->breaker);
	attempts_limit(a);
	if (ctx->deadline_ns && clock_mono_ns() >= ctx->deadline_ns) {
		*ret = attempts_end(a, give_up(a, *ret));
		return false;
	}
	log_debug("backend", "op=%" PRIu64 " %s \"%s\" will be tried again: %s",
		  ctx->op, a->call, a->path,
		  ctx->err && ctx->err->msg ? ctx->err->msg : strerror(-*ret));
	if (wrap_retry_health(&a->r->be) != BE_DOWN)
		nap(ctx, clock_mono_ns() +
				 backoff_ns(&a->r->cfg, ctx->attempt));
	stop = is_cancelled(ctx) ? be_must_stop(ctx) :
	       ctx->deadline_ns && clock_mono_ns() >= ctx->deadline_ns ?
				   give_up(a, *ret) :
				   wait_for_store(a);
	if (stop < 0) {
		*ret = attempts_end(a, stop);
		return false;
	}
	atomic_fetch_add(&a->r->retries, 1);
	ctx->attempt++;
	if (a->quick)
		breaker_begin(&a->r->breaker);
	return true;
}

static int
retry_probe(struct backend *be, struct be_ctx *ctx)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "probe", "", false);
	if (ret < 0)
		return ret;
	do
		ret = wrap_probed(be, be_probe(be->below, ctx));
	while (attempts_more(&a, &ret));
	return ret;
}

/* --- listings: each part is kept until it is whole --------------------------------- */

struct listing {
	size_t n, cap;
	struct {
		char *name;
		struct be_attr attr;
	} * v;
};

static int
listing_add(void *arg, const char *name, const struct be_attr *attr)
{
	struct listing *l = arg;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->v = xrealloc(l->v, l->cap, sizeof(*l->v));
	}
	l->v[l->n].name = xstrdup(name);
	l->v[l->n++].attr = *attr;
	return 0;
}

static void
listing_clear(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].name);
	l->n = 0;
}

static int
retry_list(struct backend *be, struct be_ctx *ctx, const char *path,
	   struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	struct listing l = {0};
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "list", path, true);
	if (ret < 0)
		return ret;
	do {
		listing_clear(&l);
		ret = be_list_part(be->below, ctx, path, cur, listing_add, &l);
	} while (attempts_more(&a, &ret));
	for (size_t i = 0; ret == 0 && i < l.n; i++)
		ret = fn(arg, l.v[i].name, &l.v[i].attr);
	listing_clear(&l);
	free(l.v);
	return ret;
}

/* --- bytes --------------------------------------------------------------- */

static int
retry_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	    struct be_attr *out, uint64_t *got)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "fetch", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_fetch(be->below, ctx, path, have, max, sink, out, got);
	while (attempts_more(&a, &ret));
	return ret;
}

/* Counts what went by. */
struct meter {
	const struct be_sink *sink;
	uint64_t next; /* offset after the last byte delivered */
};

static int
meter_write(void *arg, const void *data, size_t len, uint64_t off)
{
	struct meter *m = arg;
	int ret = m->sink->write(m->sink->arg, data, len, off);

	if (ret == 0)
		m->next = off + len;
	return ret;
}

static int
retry_read(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_ver *ver, uint64_t off, uint64_t len,
	   const struct be_sink *sink, uint64_t *got)
{
	struct meter m = {sink, off};
	struct be_sink metered = {meter_write, &m};
	struct attempts a;
	uint64_t from, n;
	int ret;

	ret = attempts_begin(&a, be, ctx, "read", path, true);
	if (ret < 0)
		return ret;
	do {
		from = m.next;
		ret = be_read(be->below, ctx, path, ver, from,
			      len - (from - off), &metered, &n);
	} while (attempts_more(&a, &ret));
	if (ret == 0)
		*got = from - off + n;
	return ret;
}

static void
retry_believe_absent(struct backend *be, const char *path)
{
	be_believe_absent(be->below, path);
}

static int
retry_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	return be_need(be->below, c, need);
}

/* --- all others ---------------------------------------------------------- */

static int
retry_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      enum be_hint hint, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "getattr", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_getattr(be->below, ctx, path, hint, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "statfs", "", true);
	if (ret < 0)
		return ret;
	do
		ret = be_statfs(be->below, ctx, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	     struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "commit", c->path, false);
	if (ret < 0)
		return ret;
	do
		ret = be_commit(be->below, ctx, c, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "setattr", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_setattr(be->below, ctx, path, cond, opid, mask, attr,
				 out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_create(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_attr *attr, const struct be_opid *opid,
	     struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "create", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_create(be->below, ctx, path, attr, opid, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_attr *attr, const struct be_opid *opid,
	    struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "mkdir", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_mkdir(be->below, ctx, path, attr, opid, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      const char *target, const struct be_attr *attr,
	      const struct be_opid *opid, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "symlink", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_symlink(be->below, ctx, path, target, attr, opid, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	       char **target)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "readlink", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_readlink(be->below, ctx, path, target);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_link(struct backend *be, struct be_ctx *ctx, const char *from,
	   const char *to, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "link", to, true);
	if (ret < 0)
		return ret;
	do
		ret = be_link(be->below, ctx, from, to, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_cond *cond, const struct be_opid *opid)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "unlink", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_unlink(be->below, ctx, path, cond, opid);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_opid *opid)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "rmdir", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_rmdir(be->below, ctx, path, opid);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	     const char *to, unsigned flags, const struct be_opid *opid,
	     unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "rename", from, false);
	if (ret < 0)
		return ret;
	do
		ret = be_rename(be->below, ctx, from, to, flags, opid, mask,
				attr, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	   const struct be_ver *from_ver, const char *to,
	   const struct be_cond *cond, const struct be_opid *opid,
	   const struct be_attr *attr, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "copy", to, false);
	if (ret < 0)
		return ret;
	do
		ret = be_copy(be->below, ctx, from, from_ver, to, cond, opid,
			      attr, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, void **value, size_t *len)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "getxattr", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_getxattr(be->below, ctx, path, name, value, len);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		char **names, size_t *len)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "listxattr", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_listxattr(be->below, ctx, path, names, len);
	while (attempts_more(&a, &ret));
	return ret;
}

static int
retry_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *name, const void *value, size_t len, int flags,
	       const struct be_opid *opid, struct be_attr *out)
{
	struct attempts a;
	int ret;

	ret = attempts_begin(&a, be, ctx, "setxattr", path, true);
	if (ret < 0)
		return ret;
	do
		ret = be_setxattr(be->below, ctx, path, name, value, len, flags,
				  opid, out);
	while (attempts_more(&a, &ret));
	return ret;
}

static void
retry_stats(struct backend *be, be_stat_fn *fn, void *arg)
{
	struct retry *r = retry_of(be);

	fn(arg, "retries", atomic_load(&r->retries));
	fn(arg, "gave_up", atomic_load(&r->gave_up));
	fn(arg, "looks", breaker_looks(&r->breaker));
	be_stats(be->below, fn, arg);
}

static void
retry_free(struct backend *be)
{
	struct retry *r = (struct retry *)be;

	breaker_release(&r->breaker);
	free(r);
}

static const struct backend_ops retry_ops = {
	.name = "retry",
	.probe = retry_probe,
	.getattr = retry_getattr,
	.list = retry_list,
	.statfs = retry_statfs,
	.fetch = retry_fetch,
	.read = retry_read,
	.believe_absent = retry_believe_absent,
	.need = retry_need,
	.commit = retry_commit,
	.ahead = wrap_ahead,
	.setattr = retry_setattr,
	.create = retry_create,
	.mkdir = retry_mkdir,
	.symlink = retry_symlink,
	.readlink = retry_readlink,
	.link = retry_link,
	.unlink = retry_unlink,
	.rmdir = retry_rmdir,
	.rename = retry_rename,
	.copy = retry_copy,
	.getxattr = retry_getxattr,
	.listxattr = retry_listxattr,
	.setxattr = retry_setxattr,
	.stats = retry_stats,
	.free = retry_free,
};

int
wrap_retry_new(struct backend **below, const struct wrap_retry_config *cfg,
	       struct backend **out)
{
	struct retry *r = xcalloc(1, sizeof(*r));

	wrap_init(&r->be, &retry_ops, below);
	r->cfg = *cfg;
	atomic_init(&r->hard, cfg->hard);
	atomic_init(&r->timeo_ns, cfg->timeo_ns);
	breaker_init(&r->breaker);
	*out = &r->be;
	return 0;
}

void
wrap_retry_set(struct backend *be, bool hard, int64_t timeo_ns)
{
	struct retry *r;

	while (be && be->ops != &retry_ops)
		be = be->below;
	if (!be)
		return;
	r = retry_of(be);
	atomic_store(&r->timeo_ns, timeo_ns);
	atomic_store(&r->hard, hard);
}

enum be_health
wrap_retry_health(const struct backend *be)
{
	struct retry *r;
	enum be_health health;
	bool tell;

	while (be && be->ops != &retry_ops)
		be = be->below;
	if (!be)
		return BE_UP;
	r = (struct retry *)(uintptr_t)be;
	health = breaker_health(&r->breaker, &tell);
	if (tell)
		say_down(r, "calls hang");
	return health;
}
