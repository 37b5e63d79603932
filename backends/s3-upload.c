/* SPDX-License-Identifier: MIT */
/* See s3-upload.h. */
#include <config.h>

#include "backends/s3-upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define ERROR_PAUSE (2 * NSEC_PER_SEC)

/* --- life ------------------------------------------------------------------------ */

static struct s3_upload *
upload_of(struct s3_sendq *q)
{
	return (struct s3_upload *)((char *)q - offsetof(struct s3_upload, q));
}

void
s3_part_reset_locked(struct s3_part *p)
{
	free(p->etag);
	free(p->sum);
	p->etag = p->sum = NULL;
	p->state = S3_PART_OPEN;
	p->again = false;
	p->tries = 0;
}

static void
upload_put(struct s3_upload *u)
{
	if (atomic_fetch_sub(&u->refs, 1) != 1)
		return;
	for (size_t i = 0; i < u->n; i++)
		s3_part_reset_locked(&u->v[i]);
	free(u->v);
	if (u->fd >= 0)
		close(u->fd);
	s3_fields_release(&u->head);
	err_release(&u->words);
	free(u->from);
	free(u->from_etag);
	free(u->key);
	free(u->id);
	pthread_cond_destroy(&u->cond);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

static void upload_work(struct s3_sendq *q);

static void
upload_done(struct s3_sendq *q)
{
	upload_put(upload_of(q));
}

struct s3_upload *
s3_upload_new(struct s3 *s, const char *key, int fd)
{
	struct s3_upload *u = xcalloc(1, sizeof(*u));

	u->s = s;
	u->refs = 1;
	u->q.work = upload_work;
	u->q.done = upload_done;
	u->key = xstrdup(key);
	u->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	u->words = (struct err)ERR_INIT;
	pthread_mutex_init(&u->lock, NULL);
	cond_init_mono(&u->cond);
	return u;
}

struct s3_part *
s3_upload_add(struct s3_upload *u, uint64_t off, uint64_t len, bool copy)
{
	struct s3_part *p;

	if (u->n == u->cap) {
		u->cap = u->cap ? 2 * u->cap : 16;
		u->v = xrealloc(u->v, u->cap, sizeof(*u->v));
	}
	p = &u->v[u->n++];
	*p = (struct s3_part){ .off = off, .len = len, .copy = copy };
	return p;
}

/* Gives n units to the threads. */
static void
units_locked(struct s3_upload *u, unsigned n)
{
	atomic_fetch_add(&u->refs, n);
	u->busy += n;
	s3_sendq_add(u->s->senders, &u->q, n);
}

/* Takes back those that no thread has begun. */
static void
drop_locked(struct s3_upload *u)
{
	unsigned n = s3_sendq_drop(u->s->senders, &u->q);

	u->busy -= n;
	atomic_fetch_sub(&u->refs, n); /* never the last: the caller's */
	if (!u->busy)
		u->beginning = false;
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].state == S3_PART_WAITING)
			u->v[i].state = S3_PART_OPEN;
}

/* --- begin and end --------------------------------------------------------------- */

static int
begin(struct s3_upload *u, struct be_ctx *ctx, char **id)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_free_ char *got = NULL;
	int ret;

	s3_req_init(&q, S3_MP_CREATE, "POST", u->key);
	s3_req_query(&q, "uploads", "");
	for (size_t i = 0; i < u->head.n; i++)
		s3_req_head(&q, u->head.v[i].name, u->head.v[i].value);
	s3_new_object_headers(u->s, &q);
	if (u->sums) {
		s3_req_head(&q, "x-amz-checksum-algorithm",
			    s3_sum_name(u->s->facts.sum));
		s3_req_head(&q, "x-amz-checksum-type",
			    u->s->facts.sum == S3_SUM_CRC64NVME ?
				    "FULL_OBJECT" : "COMPOSITE");
	}
	ret = s3_run1(u->s, ctx, &q);
	if (ret < 0)
		return ret;
	ret = s3_xml_text(q.reply.body.s, q.reply.body.len,
			  "InitiateMultipartUploadResult", "UploadId", &got);
	if (ret < 0 || !got || !*got)
		return be_fail(ctx, -EIO, true,
			       "POST s3://%s/%s?uploads: no upload id in the"
			       " reply",
			       u->s->bucket, u->key);
	*id = steal_ptr(&got);
	return 0;
}

static void
forget_locked(struct s3_upload *u)
{
	free(u->id);
	u->id = NULL;
	for (size_t i = 0; i < u->n; i++)
		s3_part_reset_locked(&u->v[i]);
}

static void
ended(const struct s3_upload *u)
{
	const struct be_uploads *w = u->s->be.uploads;

	if (w && u->id)
		w->ended(w->arg, u->key, u->id);
}

/* The store does not know the upload any more. */
static void
lost_locked(struct s3_upload *u)
{
	ended(u);
	forget_locked(u);
}

void
s3_upload_lost(struct s3_upload *u)
{
	pthread_mutex_lock(&u->lock);
	lost_locked(u);
	pthread_mutex_unlock(&u->lock);
}

/* 0 also if the store does not know it. */
static int
abort_upload(struct s3 *s, struct be_ctx *ctx, const char *key, const char *id)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;
	int ret;

	s3_req_init(&q, S3_MP_ABORT, "DELETE", key);
	s3_req_query(&q, "uploadId", id);
	FAULT_POINT("s3.upload-aborting");
	ret = s3_run(s, ctx, &v, 1);
	FAULT_POINT("s3.upload-aborted");
	if (ret == 0 && q.e.code && q.e.code != -ENOENT) {
		log_info("s3", "an upload of %s could not be aborted: %s", key,
			 q.e.words ? q.e.words : "");
		ret = q.e.code;
	}
	return ret;
}

int
s3_give_up(struct backend *be, struct be_ctx *ctx, const char *key,
	   const char *id)
{
	return abort_upload(to_s3(be), ctx, key, id);
}

/* Best effort, also when the call's own time is over. */
void
s3_upload_abort(struct s3_upload *u)
{
	struct be_ctx ctx = { .deadline_ns = clock_mono_ns() +
					     5 * NSEC_PER_SEC };

	if (!u->id || u->completed)
		return;
	/* What can't be aborted now is left to a next process. */
	if (abort_upload(u->s, &ctx, u->key, u->id) == 0)
		ended(u);
	pthread_mutex_lock(&u->lock);
	forget_locked(u);
	pthread_mutex_unlock(&u->lock);
}

void
s3_upload_completed(struct s3_upload *u)
{
	FAULT_POINT("s3.upload-completed");
	if (!u->completed)
		ended(u);
	u->completed = true;
}

void
s3_upload_free(struct s3_upload *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	atomic_store(&u->cancel, 1);
	drop_locked(u);
	u->dying = true;
	/* Else the last that is under way does it. */
	if (!u->busy && u->id && !u->completed)
		units_locked(u, 1);
	pthread_mutex_unlock(&u->lock);
	upload_put(u);
}

/* --- in the threads -------------------------------------------------------------- */

static void
failed_locked(struct s3_upload *u, int ret, bool transient, struct err *err)
{
	if (u->error)
		return;
	u->error = ret;
	u->error_ns = clock_mono_ns();
	u->transient = transient;
	err_release(&u->words);
	u->words = *err;
	*err = (struct err)ERR_INIT;
}

static struct s3_part *
waiting_locked(struct s3_upload *u)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].state == S3_PART_WAITING)
			return &u->v[i];
	return NULL;
}

/* Everything that is to do; nothing while it is not begun. */
static void
go_locked(struct s3_upload *u)
{
	unsigned n = 0;

	if (!u->id || u->dying)
		return;
	for (size_t i = 0; i < u->n; i++) {
		if (u->v[i].state != S3_PART_OPEN)
			continue;
		u->v[i].state = S3_PART_WAITING;
		n++;
	}
	units_locked(u, n);
}

static void
work_begin(struct s3_upload *u, struct be_ctx *ctx, struct err *err)
{
	char *id = NULL;
	int ret = begin(u, ctx, &id);
	const struct be_uploads *w = u->s->be.uploads;

	if (ret == 0 && w)
		w->begun(w->arg, u->key, id);
	FAULT_POINT("s3.upload-begun");
	pthread_mutex_lock(&u->lock);
	u->beginning = false;
	if (ret < 0) {
		failed_locked(u, ret, ctx->transient, err);
	} else {
		u->id = id;
		go_locked(u);
	}
	pthread_mutex_unlock(&u->lock);
}

static void
work_part(struct s3_upload *u, struct be_ctx *ctx, struct err *err, size_t i,
	  struct s3_part *now)
{
	struct s3_part *p;
	bool done;
	int ret = s3_part_run(u, ctx, i, now, &done);

	FAULT_POINT("s3.part-sent");
	pthread_mutex_lock(&u->lock);
	p = &u->v[i];
	p->state = S3_PART_OPEN;
	p->tries = now->tries;
	if (ret < 0)
		failed_locked(u, ret, ctx->transient, err);
	if (done && !p->again) {
		p->state = S3_PART_DONE;
		p->etag = steal_ptr(&now->etag);
		p->sum = steal_ptr(&now->sum);
	}
	p->again = false;
	pthread_mutex_unlock(&u->lock);
	free(now->etag);
	free(now->sum);
}

static void
upload_work(struct s3_sendq *q)
{
	struct s3_upload *u = upload_of(q);
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = { .cancel = &u->cancel, .err = &err };
	struct s3_part *p, now;
	bool dying;
	size_t i;

	pthread_mutex_lock(&u->lock);
	ctx.deadline_ns = u->deadline_ns;
	ctx.attempt = u->attempt;
	p = waiting_locked(u);
	if (u->beginning) {
		pthread_mutex_unlock(&u->lock);
		work_begin(u, &ctx, &err);
	} else if (p && !u->dying) {
		i = p - u->v;
		p->state = S3_PART_SENDING;
		now = *p;
		pthread_mutex_unlock(&u->lock);
		work_part(u, &ctx, &err, i, &now);
	} else {
		pthread_mutex_unlock(&u->lock);
	}
	pthread_mutex_lock(&u->lock);
	u->busy--;
	dying = u->dying && !u->busy;
	pthread_cond_broadcast(&u->cond);
	pthread_mutex_unlock(&u->lock);
	if (dying)
		s3_upload_abort(u);
}

/* --- what the owner wants -------------------------------------------------------- */

void
s3_upload_go(struct s3_upload *u)
{
	pthread_mutex_lock(&u->lock);
	/* After an error the commit tells how it goes on, but for a store
	 * that had a bad moment while a program writes for long. */
	if (u->error && u->transient && !u->busy &&
	    clock_mono_ns() - u->error_ns > ERROR_PAUSE) {
		if (u->error == -ENOENT)
			lost_locked(u);
		u->error = 0;
	}
	if (u->id && !u->error) {
		go_locked(u);
	} else if (!u->beginning && !u->error) {
		u->beginning = true;
		units_locked(u, 1);
	}
	pthread_mutex_unlock(&u->lock);
}

static bool
all_done_locked(const struct s3_upload *u)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].state != S3_PART_DONE)
			return false;
	return true;
}

/* Until nothing is on its way, or there is a reason to give up. */
static int
wait_locked(struct s3_upload *u, struct be_ctx *ctx)
{
	int ret = 0;

	while (u->busy && !u->error && ret == 0) {
		struct timespec until =
			ns_timespec(clock_mono_ns() + 100 * NSEC_PER_MSEC);

		pthread_cond_timedwait(&u->cond, &u->lock, &until);
		ret = be_must_stop(ctx);
	}
	if (ret == 0 && !u->error)
		return 0;
	atomic_store(&u->cancel, 1);
	drop_locked(u);
	while (u->busy)
		pthread_cond_wait(&u->cond, &u->lock);
	atomic_store(&u->cancel, 0);
	if (ret < 0)
		return ret;
	/* A new one is begun if the call is tried again. */
	if (u->error == -ENOENT)
		lost_locked(u);
	return be_fail(ctx, u->error == -ENOENT ? -EIO : u->error, u->transient,
		       "%s", u->words.msg ? u->words.msg : strerror(-u->error));
}

int
s3_upload_parts(struct s3_upload *u, struct be_ctx *ctx)
{
	int ret = 0;

	pthread_mutex_lock(&u->lock);
	u->deadline_ns = ctx->deadline_ns;
	u->attempt = ctx->attempt;
	u->error = 0; /* what failed while nobody waited is tried again */
	if (!u->id && !u->beginning) {
		u->beginning = true;
		units_locked(u, 1);
	}
	while (ret == 0) {
		go_locked(u);
		ret = wait_locked(u, ctx);
		if (ret == 0 && u->id && all_done_locked(u))
			break;
	}
	pthread_mutex_unlock(&u->lock);
	return ret;
}
