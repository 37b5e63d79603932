/* SPDX-License-Identifier: MIT */
/* Open files and directories by the number that the kernel has. */
#include <config.h>

#include "fs/handle.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/gate.h"
#include "fs/inode.h"
#include "fs/passthrough.h"

/* The lock protects all members; never held across a call that may block. */
struct handles {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t cond;   /* live fell to 0 */
	struct handle *by_fh;  /* those that the kernel holds */
	unsigned live;	       /* and those still being closed */
	atomic_uint unmade;    /* files of a worker ago that nobody used yet */
};

struct handles *
handles_new(struct fs *fs)
{
	struct handles *hs = xcalloc(1, sizeof(*hs));

	hs->fs = fs;
	pthread_mutex_init(&hs->lock, NULL);
	pthread_cond_init(&hs->cond, NULL);
	return hs;
}

void
handles_free(struct handles *hs)
{
	if (!hs)
		return;
	assert(hs->live == 0);
	pthread_cond_destroy(&hs->cond);
	pthread_mutex_destroy(&hs->lock);
	free(hs);
}

/* --- counting ------------------------------------------------------------- */

struct handle *
handle_ref(struct handle *h)
{
	assert(h->magic == HANDLE_MAGIC);
	atomic_fetch_add(&h->refs, 1);
	return h;
}

static void
handle_free(struct handle *h)
{
	struct handles *hs = h->fs->handles;

	if (h->snap)
		snapshot_put(h->snap);
	pthread_mutex_destroy(&h->lock);
	h->magic = 0;
	free(h);

	pthread_mutex_lock(&hs->lock);
	if (--hs->live == 0)
		pthread_cond_broadcast(&hs->cond);
	pthread_mutex_unlock(&hs->lock);
}

static void
release_job(struct pool_job *job)
{
	struct handle *h =
		(struct handle *)((char *)job - offsetof(struct handle, job));
	_cleanup_err_ struct err err = ERR_INIT;
	struct cache_ctx ctx = {
		.be.uid = h->uid,
		.be.gid = h->gid,
		.be.cancel = &h->fs->stopping,
		.be.err = &err,
	};

	cache_release(h->cf, &ctx);
	if (err.code < 0)
		log_debug("fuse", "release: %s", err_words(&err));
	handle_free(h);
}

void
handle_put(struct handle *h)
{
	assert(h->magic == HANDLE_MAGIC);
	if (atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	if (!h->cf) {
		handle_free(h);
		return;
	}
	h->job.run = release_job;
	if (cache_release_is_quick(h->cf)) {
		release_job(&h->job);
		return;
	}
	pool_add(h->fs->commit, &h->job);
}

/* --- by number ------------------------------------------------------------ */

static struct handle *
handle_alloc(struct fs *fs, uint64_t node, int flags, uid_t uid, gid_t gid)
{
	struct handle *h = xcalloc(1, sizeof(*h));

	h->magic = HANDLE_MAGIC;
	h->fs = fs;
	h->node = node;
	h->flags = flags;
	h->uid = uid;
	h->gid = gid;
	atomic_init(&h->refs, 1);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_lock(&fs->handles->lock);
	fs->handles->live++;
	pthread_mutex_unlock(&fs->handles->lock);
	return h;
}

static struct handle *
handle_find_locked(struct handles *hs, uint64_t fh)
{
	struct handle *h;

	HASH_FIND(hh, hs->by_fh, &fh, sizeof(fh), h);
	return h;
}

/* Takes it out of reach; drops the open's reference. */
static void
handle_retire(struct handle *h)
{
	if (h->cf)
		inodes_del(h->fs->inodes, h);
	if (h->counted)
		passthrough_end(h->fs, h->node);
	handle_put(h);
}

static void
handle_enter_locked(struct handles *hs, struct handle *h)
{
	HASH_ADD(hh, hs->by_fh, fh, sizeof(h->fh), h);
	if (h->cf)
		inodes_add(h->fs->inodes, h);
}

/* A handle of a worker ago is ready for use.  false: another thread was
 * faster. */
static bool
handle_publish(struct handles *hs, struct handle *h)
{
	bool mine;

	pthread_mutex_lock(&hs->lock);
	mine = !handle_find_locked(hs, h->fh);
	if (mine)
		handle_enter_locked(hs, h);
	pthread_mutex_unlock(&hs->lock);
	return mine;
}

/* So is a new one.  Its record was in the table before: another thread may have
 * taken it for one of a worker ago, and opened it once more. */
static void
handle_publish_new(struct handles *hs, struct handle *h)
{
	struct handle *again;

	pthread_mutex_lock(&hs->lock);
	again = handle_find_locked(hs, h->fh);
	if (again)
		HASH_DEL(hs->by_fh, again);
	handle_enter_locked(hs, h);
	pthread_mutex_unlock(&hs->lock);
	if (!again)
		return;
	again->counted = false; /* that is h's */
	handle_retire(again);
}

int
handle_new(struct request *r, uint64_t node, int flags, struct cfile **cf,
	   int32_t backing, uint64_t *fh)
{
	struct fs *fs = r->fs;
	struct table_handle rec = {
		.node = node,
		.kind = cf ? TABLE_FILE : TABLE_DIR,
		.flags = flags,
		.uid = r->ctx.be.uid,
		.gid = r->ctx.be.gid,
		.backing = backing,
		.unique = r->unique,
	};
	struct be_ver had;
	struct handle *h;
	uint64_t lost;

	h = handle_alloc(fs, node, flags, rec.uid, rec.gid);
	if (cf) {
		h->cf = steal_ptr(cf);
		h->counted = r->counted;
	}
	if (cf && !backing && (flags & O_ACCMODE) == O_RDONLY &&
	    cache_is_small_clean(h->cf, &had)) {
		rec.had_len = had.len;
		memcpy(rec.had, had.b, sizeof(rec.had));
	}
	if (backing)
		snprintf(rec.stage, sizeof(rec.stage), "%" PRIx64,
			 passthrough_inode(fs, node));
	h->fh = table_handle_add(fs->table, &rec);
	if (h->fh == 0) {
		if (h->counted)
			passthrough_end(fs, node);
		handle_put(h);
		return err_set(&r->err, -ENFILE, "too many open files");
	}
	*fh = h->fh;
	handle_publish_new(fs->handles, h);
	FAULT_POINT("open.numbered");
	/* A worker ago it got one that the kernel never heard of. */
	while (r->once.resent &&
	       (lost = table_handle_by(fs->table, r->unique, h->fh)) != 0)
		handle_close(fs, lost);
	return 0;
}

/* The kernel has pages of what it read a worker ago, and no later version goes
 * with them.  Without a copy of that one it goes on with what is there: it may
 * be our own writer's. */
static void
go_on_with(struct fs *fs, const struct table_handle *rec, struct cache_ctx *ctx,
	   struct cfile **cf)
{
	struct cfile *older = NULL;
	struct handle *unused;
	struct be_ver had;

	be_ver_set(&had, rec->had, rec->had_len);
	if (be_ver_known(&had))
		older = cache_open_older(*cf, ctx, &had);
	if (!older)
		return;
	/* Closed in a pool: that may wait. */
	unused = handle_alloc(fs, rec->node, rec->flags, rec->uid, rec->gid);
	unused->cf = *cf;
	handle_put(unused);
	*cf = older;
}

/* What was taken over for its node, or is open again; else what has its name. */
static int
file_again(struct request *r, const struct table_handle *rec, struct cfile **cf)
{
	_cleanup_handle_ struct handle *other = NULL;
	_cleanup_pass_ struct pass at = PASS_INIT;
	struct fs *fs = r->fs;
	struct cache_ctx ctx = r->ctx;
	int rc;

	ctx.be.uid = rec->uid;
	ctx.be.gid = rec->gid;
	other = inodes_handle(fs->inodes, rec->node);
	if (cache_open_again(fs->cache, &ctx, rec->node,
			     other ? other->cf : NULL, rec->flags, cf) == 0)
		return 0;
	rc = pass_node(r, rec->node, &at);
	if (rc == -ENOENT)
		return err_set(&r->err, -ESTALE, "removed while no worker ran");
	if (rc < 0)
		return rc;
	rc = cache_open(fs->cache, &ctx, at.path, rec->flags & ~O_TRUNC, cf,
			NULL);
	if (rc < 0)
		return rc == -ENOENT ? -ESTALE : rc;
	go_on_with(fs, rec, &ctx, cf);
	cache_set_node(*cf, rec->node);
	return 0;
}

static void
made(struct handles *hs)
{
	unsigned n = atomic_load(&hs->unmade);

	while (n && !atomic_compare_exchange_weak(&hs->unmade, &n, n - 1))
		;
}

/* A worker ago the kernel got this number. */
static int
handle_again(struct request *r, uint64_t fh)
{
	struct fs *fs = r->fs;
	struct cfile *cf = NULL;
	struct table_handle rec;
	struct handle *h;
	int rc;

	rc = table_handle_get(fs->table, fh, &rec);
	if (rc < 0)
		return err_set(&r->err, -EBADF, "no such handle");
	rec.flags &= ~(O_CREAT | O_EXCL);
	if (rec.kind == TABLE_FILE) {
		rc = file_again(r, &rec, &cf);
		if (rc < 0)
			return rc;
	}
	h = handle_alloc(fs, rec.node, rec.flags, rec.uid, rec.gid);
	h->fh = fh;
	h->cf = cf;
	h->counted = cf != NULL; /* passthrough_restore() */
	if (!handle_publish(fs->handles, h))
		handle_put(h);
	else if (cf)
		made(fs->handles);
	return 0;
}

static void
restore_one(void *arg, uint64_t fh, const struct table_handle *rec)
{
	struct handles *hs = arg;
	struct request r = { .fs = hs->fs };

	if (rec->kind != TABLE_FILE)
		return;
	r.ctx.try_only = true; /* what was taken over needs no store */
	r.ctx.be.err = &r.err;
	handle_again(&r, fh);
	err_release(&r.err);
}

static bool
is_unmade(struct handles *hs, uint64_t fh, const struct table_handle *rec)
{
	bool here;

	if (rec->kind != TABLE_FILE)
		return false;
	pthread_mutex_lock(&hs->lock);
	here = handle_find_locked(hs, fh) != NULL;
	pthread_mutex_unlock(&hs->lock);
	return !here;
}

struct again {
	struct request *r;
	uint64_t node;
	int ret;
};

static void
again_one(void *arg, uint64_t fh, const struct table_handle *rec)
{
	struct again *a = arg;

	if (rec->node != a->node || !is_unmade(a->r->fs->handles, fh, rec))
		return;
	if (a->r->ctx.try_only)
		a->ret = -EAGAIN;
	else
		handle_again(a->r, fh);
}

int
handles_restore_node(struct request *r, uint64_t node)
{
	struct again a = { .r = r, .node = node };

	if (node && atomic_load(&r->fs->handles->unmade))
		table_handles(r->fs->table, again_one, &a);
	return a.ret;
}

static void
count_unmade(void *arg, uint64_t fh, const struct table_handle *rec)
{
	struct handles *hs = arg;

	if (is_unmade(hs, fh, rec))
		atomic_fetch_add(&hs->unmade, 1);
}

/* Bytes that were to be appended: are they there?  Told before anybody else
 * appends; if they are not, it is forgotten that there was such a request. */
static void
settle_append(void *arg, uint32_t slot, const struct table_op *op)
{
	_cleanup_handle_ struct handle *h = NULL;
	struct handles *hs = arg;
	struct request r = { .fs = hs->fs };
	struct cache_life life;
	struct be_attr a;

	if (op->type != REQUEST_write)
		return;
	/* (Not staged any more: then the store is asked.) */
	r.ctx.be.err = &r.err;
	r.ctx.be.cancel = &hs->fs->stopping;
	if (handle_get(&r, op->fh, &h) == 0 &&
	    cache_getattr(hs->fs->cache, &r.ctx, NULL, h->cf, &a, &life) == 0 &&
	    a.size < op->off + op->len)
		table_op_drop(hs->fs->table, slot);
	err_release(&r.err);
}

void
handles_restore(struct handles *hs)
{
	table_handles(hs->fs->table, restore_one, hs);
	table_handles(hs->fs->table, count_unmade, hs);
	table_ops(hs->fs->table, settle_append, hs);
}

int
handle_get(struct request *r, uint64_t fh, struct handle **out)
{
	struct handles *hs = r->fs->handles;
	struct handle *h;
	int rc;

	for (;;) {
		pthread_mutex_lock(&hs->lock);
		h = handle_find_locked(hs, fh);
		if (h)
			handle_ref(h);
		pthread_mutex_unlock(&hs->lock);
		if (h)
			break;
		rc = handle_again(r, fh);
		if (rc < 0)
			return rc;
	}
	*out = h;
	return 0;
}

void
handle_close(struct fs *fs, uint64_t fh)
{
	struct handles *hs = fs->handles;
	struct table_handle rec;
	struct handle *h;
	bool known = table_handle_get(fs->table, fh, &rec) == 0;

	table_handle_del(fs->table, fh);
	pthread_mutex_lock(&hs->lock);
	h = handle_find_locked(hs, fh);
	if (h)
		HASH_DEL(hs->by_fh, h);
	pthread_mutex_unlock(&hs->lock);
	if (h) {
		handle_retire(h);
	} else if (known && rec.kind == TABLE_FILE) {
		passthrough_end(fs, rec.node); /* never made again here */
		made(hs);
	}
	if (known && rec.backing)
		table_handle_done(fs->table, fh);
}

void
handles_close_all(struct handles *hs)
{
	struct handle *h;

	pthread_mutex_lock(&hs->lock);
	while ((h = hs->by_fh) != NULL) {
		HASH_DEL(hs->by_fh, h);
		pthread_mutex_unlock(&hs->lock);
		handle_retire(h);
		pthread_mutex_lock(&hs->lock);
	}
	while (hs->live != 0)
		pthread_cond_wait(&hs->cond, &hs->lock);
	pthread_mutex_unlock(&hs->lock);
}

/* --- snapshots of directories --------------------------------------------- */

struct snapshot *
handle_snapshot(struct handle *h)
{
	struct snapshot *s;

	pthread_mutex_lock(&h->lock);
	s = h->snap;
	if (s)
		atomic_fetch_add(&s->refs, 1);
	pthread_mutex_unlock(&h->lock);
	return s;
}

struct snapshot *
handle_set_snapshot(struct handle *h, struct cache_listing *l)
{
	struct snapshot *s = xcalloc(1, sizeof(*s)), *old;

	atomic_init(&s->refs, 2);
	s->l = l;
	pthread_mutex_lock(&h->lock);
	old = h->snap;
	h->snap = s;
	pthread_mutex_unlock(&h->lock);
	if (old)
		snapshot_put(old);
	return s;
}

void
snapshot_put(struct snapshot *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	cache_listing_put(s->l);
	free(s);
}
