/* SPDX-License-Identifier: MIT */
/*
 * Requests: first tried in the FUSE thread, then in a pool; counted; and
 * ended early when their caller is being killed.
 */
#include <config.h>

#include "fs/request.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"
#include "fs/freeze.h"
#include "fs/reply.h"
#include "fs/session.h"

TAILQ_HEAD(request_list, request);

/*
 * The lock protects the list, and req and interrupted of what is in it.  It is
 * taken inside libfuse's lock of a request (the interrupt callback), so no
 * function of libfuse may be called with it held.
 */
struct requests {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t cond; /* interrupted, stop, or the list got empty */
	struct request_list waiting;
	bool interrupted; /* some of them are */
	bool stop;
	pthread_t watcher;
	atomic_ullong count[REQUEST_TYPES];
};

static const char *const type_name[] = {
#define OP(name, pool) #name,
#include "fs/ops.def"
#undef OP
};

enum which_pool { POOL_io, POOL_commit };
static const enum which_pool type_pool[] = {
#define OP(name, pool) POOL_##pool,
#include "fs/ops.def"
#undef OP
};

/* --- callers that are being killed ---------------------------------------- */

#define SIGBIT(n) (UINT64_C(1) << ((n) - 1))
/* Whose default is not to end the process. */
#define HARMLESS                                                               \
	(SIGBIT(SIGCHLD) | SIGBIT(SIGCONT) | SIGBIT(SIGURG) |                  \
	 SIGBIT(SIGWINCH) | SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) |                \
	 SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))

/*
 * Has the thread a fatal signal pending?  The kernel turns one that ends a
 * process without a core into a pending SIGKILL of each thread.  A caller that
 * can't be seen (pid 0: another pid namespace) is taken to live.
 */
static bool
killed(pid_t tid)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	uint64_t pending = 0, blocked = 0, ignored = 0, caught = 0, v;
	char line[256], key[16];

	if (tid <= 0)
		return false;
	path = xasprintf("/proc/%d/status", (int)tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15[A-Za-z]:\t%" SCNx64, key, &v) != 2)
			continue;
		if (!strcmp(key, "SigPnd") || !strcmp(key, "ShdPnd"))
			pending |= v;
		else if (!strcmp(key, "SigBlk"))
			blocked = v;
		else if (!strcmp(key, "SigIgn"))
			ignored = v;
		else if (!strcmp(key, "SigCgt"))
			caught = v;
	}
	if (pending & SIGBIT(SIGKILL))
		return true;
	return (pending & ~(blocked | ignored | caught | HARMLESS)) != 0;
}

/* libfuse calls it with its lock of req held. */
static void
on_interrupt(fuse_req_t req, void *arg)
{
	struct requests *q = arg;
	struct request *r;

	pthread_mutex_lock(&q->lock);
	TAILQ_FOREACH (r, &q->waiting, link) {
		if (r->req != req)
			continue;
		r->interrupted = true;
		q->interrupted = true;
		pthread_cond_broadcast(&q->cond);
		break;
	}
	pthread_mutex_unlock(&q->lock);
}

static bool
sends_data(enum request_type type)
{
	return type == REQUEST_flush || type == REQUEST_fsync;
}

/*
 * One look at all interrupted callers.  What sends a file is answered at once
 * and goes on in its thread (it stays listed as unsent); the rest is told to
 * give up, and answers by itself.
 */
static void
watch_once(struct requests *q)
{
	struct request_list *l = &q->waiting;
	struct request *r;
	fuse_req_t answer;

	do {
		answer = NULL;
		pthread_mutex_lock(&q->lock);
		q->interrupted = false;
		TAILQ_FOREACH (r, l, link) {
			if (!r->interrupted || !r->registered || !r->req)
				continue;
			if (!killed(r->pid)) {
				q->interrupted = true;
				continue;
			}
			if (sends_data(r->type)) {
				answer = r->req;
				r->req = NULL;
				break;
			}
			atomic_store(&r->cancel, 1);
			r->interrupted = false;
		}
		pthread_mutex_unlock(&q->lock);
		if (answer)
			reply_interrupted(answer);
	} while (answer);
}

/* Threads beyond io_threads while the store is down. */
#define SPARE_THREADS 512

/*
 * Threads that hang in the kernel come back when the store does.  The others
 * that wait for it must not wait behind those: they have an older answer, or a
 * caller who is being killed.  (None of them reaches the store: wrap-retry.c.)
 */
static bool
spare_threads(struct requests *q)
{
	const struct fs *fs = q->fs;
	bool down = wrap_retry_health(cache_backend(fs->cache)) == BE_DOWN;

	pool_set_spare(fs->io, down ? SPARE_THREADS : 0);
	pool_set_spare(fs->commit, down ? SPARE_THREADS : 0);
	return down;
}

/*
 * The kernel tells of the first signal only, so an interrupted caller is
 * looked at again until its request ends.
 */
static void *
watch(void *arg)
{
	struct requests *q = arg;
	struct timespec t;
	bool spare = false;

	pthread_mutex_lock(&q->lock);
	while (!q->stop) {
		int64_t ns = q->interrupted ? 200 * NSEC_PER_MSEC :
					      NSEC_PER_SEC;
		bool quiet, some;

		t = ns_timespec(timespec_ns(clock_wall()) + ns);
		quiet = pthread_cond_timedwait(&q->cond, &q->lock, &t) != 0;
		some = q->interrupted;
		quiet = quiet && !TAILQ_EMPTY(&q->waiting);
		if (q->stop || (!some && !quiet && !spare))
			continue;
		pthread_mutex_unlock(&q->lock);
		if (quiet || spare)
			spare = spare_threads(q);
		if (some)
			watch_once(q);
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

struct requests *
requests_new(struct fs *fs)
{
	struct requests *q = xcalloc(1, sizeof(*q));

	q->fs = fs;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->cond, NULL);
	TAILQ_INIT(&q->waiting);
	if (thread_start(&q->watcher, watch, q) != 0) {
		free(q);
		return NULL;
	}
	return q;
}

void
requests_cancel(struct requests *q)
{
	struct request *r;

	pthread_mutex_lock(&q->lock);
	TAILQ_FOREACH (r, &q->waiting, link)
		atomic_store(&r->cancel, 1);
	pthread_mutex_unlock(&q->lock);
}

void
requests_wait(struct requests *q)
{
	pthread_mutex_lock(&q->lock);
	while (!TAILQ_EMPTY(&q->waiting))
		pthread_cond_wait(&q->cond, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

bool
requests_idle(struct requests *q)
{
	bool idle;

	pthread_mutex_lock(&q->lock);
	idle = TAILQ_EMPTY(&q->waiting);
	pthread_mutex_unlock(&q->lock);
	return idle;
}

void
requests_free(struct requests *q)
{
	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_broadcast(&q->cond);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->watcher, NULL);
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void
requests_stats(struct requests *q, be_stat_fn *fn, void *arg)
{
	unsigned i;

	for (i = 0; i < REQUEST_TYPES; i++)
		fn(arg, type_name[i], atomic_load(&q->count[i]));
}

/* --- mutations are done once ----------------------------------------------- */

/* Written down before the store is asked, dropped when the kernel has the
 * answer: a next worker that is asked again knows what was under way. */
static void
save_op(struct cache_once *o)
{
	struct request *r = (struct request *)((char *)o -
					       offsetof(struct request, once));
	struct table_op op = {
		.unique = r->unique,
		.type = r->type,
		.fh = r->op_fh,
		.off = o->off,
		.len = o->len,
		.ino = o->ino,
		.ver_len = o->ver.len,
	};
	uint32_t slot;

	_Static_assert(sizeof(op.ver) >= sizeof(o->ver.b) &&
			       sizeof(op.opid) >= sizeof(o->opid.s),
		       "they fit");
	_Static_assert(TABLE_OP_MADE == BE_MADE, "one word for both");
	memcpy(op.ver, o->ver.b, o->ver.len);
	memcpy(op.opid, o->opid.s, sizeof(o->opid.s));
	slot = table_op_put(r->fs->table, &op, r->op);
	if (!slot)
		return; /* thousands at once: this one is as before rule 3 */
	r->op = slot;
	o->did = table_op_did(r->fs->table, slot);
}

static bool
is_mutation(enum request_type type)
{
	switch (type) {
	case REQUEST_mknod:
	case REQUEST_mkdir:
	case REQUEST_unlink:
	case REQUEST_rmdir:
	case REQUEST_symlink:
	case REQUEST_rename:
	case REQUEST_link:
	case REQUEST_create:
	case REQUEST_write: /* appends only */
	case REQUEST_setxattr:
	case REQUEST_removexattr:
		return true;
	default:
		return false;
	}
}

static void
once_init(struct request *r)
{
	struct cache_once *o = &r->once;
	struct table_op op;
	unsigned did;

	r->unique = session_request(&o->resent);
	if (!is_mutation(r->type))
		return;
	o->save = save_op;
	r->ctx.once = o;
	if (!o->resent)
		return;
	r->op = table_op_find(r->fs->table, r->unique, &op, &did);
	if (!r->op || op.type != r->type)
		return; /* it had not come far */
	o->again = true;
	o->off = op.off;
	o->len = op.len;
	o->ino = op.ino;
	be_ver_set(&o->ver, op.ver, op.ver_len);
	memcpy(o->opid.s, op.opid, sizeof(o->opid.s));
	o->opid.s[sizeof(o->opid.s) - 1] = '\0';
	o->did = table_op_did(r->fs->table, r->op);
}

bool
request_was_named(const struct request *r)
{
	return r->once.again &&
	       (atomic_load(r->once.did) & TABLE_OP_NAMED) != 0;
}

/* --- the life of a request ------------------------------------------------ */

void
request_init(struct request *r, fuse_req_t req, enum request_type type,
	     int (*run)(struct request *r))
{
	const struct fuse_ctx *fc = fuse_req_ctx(req);
	struct fs *fs = fuse_req_userdata(req);

	memset(r, 0, sizeof(*r));
	r->type = type;
	r->run = run;
	r->fs = fs;
	r->req = req;
	r->pid = fc->pid;
	r->ctx.try_only = true;
	r->ctx.be.uid = idmap_to_store(&fs->uids, fc->uid);
	r->ctx.be.gid = idmap_to_store(&fs->gids, fc->gid);
	r->ctx.be.op = atomic_fetch_add(&fs->op, 1) + 1;
	r->ctx.be.cancel = &r->cancel;
	r->ctx.be.err = &r->err;
	atomic_fetch_add_explicit(&fs->requests->count[type], 1,
				  memory_order_relaxed);
	once_init(r);
}

static void
request_release(struct request *r)
{
	err_release(&r->err);
	free(r->groups);
	if (r->op)
		table_op_drop(r->fs->table, r->op);
	if (!r->deferred)
		return;
	free((char *)r->name);
	free((char *)r->name2);
	free((void *)r->data);
	free(r);
}

static void
run_deferred(struct pool_job *job)
{
	struct request *r = (struct request *)((char *)job -
					       offsetof(struct request, job));
	struct requests *q = r->fs->requests;
	int rc;

	request_groups(r);
	rc = r->sent_back ? -ESTALE : r->run(r);
	if (rc == -ENOENT && r->disturbed) {
		err_release(&r->err);
		r->insist = true;
		rc = r->run(r);
	}
	if (rc < 0)
		reply_err(r, rc);
	freeze_leave(r->fs->freeze, r);
	pthread_mutex_lock(&q->lock);
	TAILQ_REMOVE(&q->waiting, r, link);
	if (TAILQ_EMPTY(&q->waiting))
		pthread_cond_broadcast(&q->cond);
	pthread_mutex_unlock(&q->lock);
	request_release(r);
}

struct request *
request_defer(struct request *r)
{
	struct requests *q = r->fs->requests;
	struct request *d = xmemdup(r, sizeof(*r));
	fuse_req_t req = r->req;

	if (d->name)
		d->name = xstrdup(d->name);
	if (d->name2)
		d->name2 = xstrdup(d->name2);
	if (d->data)
		d->data = xmemdup(d->data, d->data_len);
	err_release(&r->err);
	d->err = (struct err)ERR_INIT;
	r->groups = NULL;
	d->deferred = true;
	d->disturbed = false;
	d->ctx.try_only = false;
	d->ctx.be.err = &d->err;
	if (d->ctx.once)
		d->ctx.once = &d->once;
	/* A file that is being sent is not given up for its caller's sake. */
	d->ctx.be.cancel = sends_data(d->type) ? &q->fs->stopping : &d->cancel;
	d->job.run = run_deferred;

	pthread_mutex_lock(&q->lock);
	TAILQ_INSERT_TAIL(&q->waiting, d, link);
	pthread_mutex_unlock(&q->lock);
	/* Before the job starts, and before the watcher may answer: libfuse
	 * uses req until it returns. */
	fuse_req_interrupt_func(req, on_interrupt, q);
	pthread_mutex_lock(&q->lock);
	d->registered = true;
	if (d->interrupted) {
		/* The watcher may have passed it over. */
		q->interrupted = true;
		pthread_cond_broadcast(&q->cond);
	}
	pthread_mutex_unlock(&q->lock);
	return d;
}

void
request_resume(struct request *d)
{
	pool_add(type_pool[d->type] == POOL_commit ? d->fs->commit : d->fs->io,
		 &d->job);
}

void
request_run(struct request *r)
{
	int rc = freeze_enter(r->fs->freeze, r);

	if (rc == 0)
		return;
	if (rc > 0)
		rc = r->run(r);
	if (rc == -EAGAIN || (rc == -ENOENT && r->disturbed)) {
		request_resume(request_defer(r));
		return;
	}
	if (rc < 0)
		reply_err(r, rc);
	freeze_leave(r->fs->freeze, r);
	request_release(r);
}

fuse_req_t
request_take(struct request *r)
{
	struct requests *q = r->fs->requests;
	fuse_req_t req;

	if (!r->deferred) {
		req = r->req;
		r->req = NULL;
		return req;
	}
	pthread_mutex_lock(&q->lock);
	req = r->req;
	r->req = NULL;
	pthread_mutex_unlock(&q->lock);
	return req;
}

/* --- the caller ----------------------------------------------------------- */

void
request_groups(struct request *r)
{
	_cleanup_free_ gid_t *g = NULL;
	int n = 32, got, i;

	/* root needs none.  What sends data has the opener's, and its request
	 * may be answered by the watcher meanwhile. */
	if (r->groups || r->ctx.be.uid == 0 || sends_data(r->type))
		return;
	for (;;) {
		g = xrealloc(g, n, sizeof(*g));
		got = fuse_req_getgroups(r->req, n, g);
		if (got <= n)
			break;
		n = got;
	}
	if (got < 0)
		return;
	for (i = 0; i < got; i++)
		g[i] = idmap_to_store(&r->fs->gids, g[i]);
	r->ctx.be.groups = g;
	r->ctx.be.ngroups = got;
	r->groups = steal_ptr(&g);
}

void
request_inherit_gid(struct request *r)
{
	_cleanup_free_ char *path = NULL;
	struct be_attr a;
	struct cache_life life;

	if (request_path(r, r->node, &path) < 0)
		return;
	/* A parent that is not known by now was not looked up either. */
	if (cache_getattr(r->fs->cache, &r->ctx, path, NULL, &a, &life) < 0)
		return;
	if (!(a.mode & S_ISGID))
		return;
	r->ctx.be.gid = a.gid;
	if (S_ISDIR(r->mode))
		r->mode |= S_ISGID;
}

/* --- names ---------------------------------------------------------------- */

int
request_path(struct request *r, uint64_t node, char **path)
{
	char *p = table_path(r->fs->table, node);

	if (!p)
		/* ESTALE makes the kernel look the name up again. */
		return table_is_stale(r->fs->table, node) ?
			       err_set(&r->err, -ESTALE,
				       "the name means another file now") :
			       err_set(&r->err, -ENOENT, "the name is gone");
	*path = p;
	return 0;
}

int
request_child(struct request *r, uint64_t parent, const char *name, char **path)
{
	const struct be_caps *caps = &cache_backend(r->fs->cache)->caps;
	size_t len = strlen(name);
	char *p;

	if (len > PATH_SEGMENT_MAX ||
	    (caps->name_max != 0 && len > caps->name_max))
		return -ENAMETOOLONG;
	if (!path_name_ok(name, len))
		return -EINVAL;
	p = table_child_path(r->fs->table, parent, name);
	if (!p)
		return err_set(&r->err, -ENOENT, "the directory is gone");
	if (caps->path_max != 0 && strlen(p) > caps->path_max) {
		free(p);
		return -ENAMETOOLONG;
	}
	*path = p;
	return 0;
}

char *
request_describe(const struct request *r)
{
	_cleanup_free_ char *path = NULL;

	if (r->name && r->node)
		path = table_child_path(r->fs->table, r->node, r->name);
	else if (r->node)
		path = table_path(r->fs->table, r->node);
	return xasprintf("%s of /%s", type_name[r->type],
			 path ? path : "(a removed file)");
}
