/* SPDX-License-Identifier: MIT */
/*
 * Uploads that begin before their commit: parts leave while the file is still
 * written.  What the object says of itself is fixed when an upload begins, so
 * it says nothing of times: Last-Modified stands for them.  What else the
 * commit wants to be different is set by a copy onto itself behind it, but for
 * a mode that is to be tighter: then everything is sent anew.
 */
#include <config.h>

#include "backends/s3-upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define MIB (UINT64_C(1) << 20)
/* Nobody knows how large it gets: each thousand parts are twice as large as
 * those before. */
#define SAME_SIZE 1000
#define PART_MAX (UINT64_C(5) << 30)

struct ahead {
	struct be_ahead base; /* first */
	struct s3_upload *u;
	uint64_t unit;
	struct be_attr attr;
	struct be_cond cond;
	struct be_opid opid;
	struct s3_head *now; /* once completed; the commit's */
};

static struct ahead *
ahead_of(struct be_ahead *a)
{
	return (struct ahead *)a;
}

static struct range
part_range(uint64_t unit, size_t n)
{
	uint64_t off = 0;

	for (; n >= SAME_SIZE; n -= SAME_SIZE) {
		off += unit * SAME_SIZE;
		if (unit < PART_MAX / 2)
			unit *= 2;
	}
	return (struct range){ off + n * unit, unit };
}

static void
ahead_part(struct be_ahead *base, size_t n, struct range *out)
{
	*out = part_range(ahead_of(base)->unit, n);
}

static void
ahead_send(struct be_ahead *base, size_t n)
{
	struct ahead *a = ahead_of(base);
	struct range r = part_range(a->unit, n);

	pthread_mutex_lock(&a->u->lock);
	if (n == a->u->n)
		s3_upload_add(a->u, r.off, r.len, false);
	pthread_mutex_unlock(&a->u->lock);
	s3_upload_go(a->u);
}

static void
ahead_free(struct be_ahead *base)
{
	struct ahead *a = ahead_of(base);

	s3_upload_free(a->u);
	s3_head_put(a->now);
	free(a);
}

static const struct be_ahead_ops ahead_ops = {
	.part = ahead_part,
	.send = ahead_send,
	.free = ahead_free,
};

int
s3_ahead(struct backend *be, const struct be_commit *c, struct be_ahead **out)
{
	struct s3 *s = to_s3(be);
	struct be_ctx ctx = { 0 };
	_cleanup_head_ struct s3_head *old = NULL;
	_cleanup_free_ char *key = NULL, *etag = NULL;
	struct be_attr attr = *c->attr;
	struct ahead *a;
	int ret;

	if (!*c->path || s->facts.readonly || (!c->whole && c->base_size))
		return -ENOTSUP;
	ret = s3_key_file(&ctx, s->prefix, c->path, &key);
	if (ret < 0)
		return ret;
	if (c->cond.pre == BE_MATCH) {
		/* Its other headers are kept, and nobody may be asked now. */
		etag = s3_ver_etag(&c->cond.ver);
		old = s3_heads_get(s, key, etag);
		if (!old)
			return -ENOTSUP;
	} else if (c->cond.pre == BE_ANY) {
		return -ENOTSUP;
	}
	a = xcalloc(1, sizeof(*a));
	a->base.ops = &ahead_ops;
	a->unit = s->part_size / MIB * MIB;
	a->cond = c->cond;
	a->opid = c->opid;
	a->u = s3_upload_new(s, key, c->fd);
	a->u->sums = s3_sum_header(s->facts.sum);
	attr.mode = S_IFREG | (attr.mode & 07777);
	a->attr = attr;
	attr.mtime.tv_nsec = attr.ctime.tv_nsec = attr.atime.tv_nsec =
		UTIME_OMIT;
	ret = s3_upload_head(s, &ctx, key, &attr, &c->opid, old, &a->u->head);
	if (ret < 0) {
		ahead_free(&a->base);
		return ret;
	}
	*out = &a->base;
	return 0;
}

/* --- the commit ------------------------------------------------------------------ */

static bool
differs(const struct s3 *s, const struct be_commit *c, const struct be_attr *a)
{
	if (s->meta.posix == S3_POSIX_NONE)
		return false;
	return (a->mode & 07777) != (c->attr->mode & 07777) ||
	       a->uid != c->attr->uid || a->gid != c->attr->gid ||
	       (c->mask & (BE_SET_MTIME | BE_SET_ATIME)) != 0;
}

bool
s3_ahead_usable(struct s3 *s, const char *key, const struct be_commit *c)
{
	struct ahead *a = c->ahead ? ahead_of(c->ahead) : NULL;

	return a && c->size > s->part_size && (c->whole || !c->base_size) &&
	       strcmp(a->u->key, key) == 0 &&
	       strcmp(a->opid.s, c->opid.s) == 0 &&
	       a->cond.pre == c->cond.pre &&
	       (c->cond.pre != BE_MATCH ||
		be_ver_equal(&a->cond.ver, &c->cond.ver)) &&
	       /* It is never seen under a mode that lets more people in. */
	       !(a->attr.mode & ~c->attr->mode & 0777);
}

static bool
is_left(const struct be_commit *c, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < c->nleft; i++)
		if (c->left[i].off <= off &&
		    off + len <= c->left[i].off + c->left[i].len)
			return true;
	return false;
}

/* The parts as they must be; false: one too many has left, and some servers
 * want to have every part in the object. */
static bool
arrange(struct ahead *a, const struct be_commit *c)
{
	struct s3_upload *u = a->u;
	struct range r;
	size_t n = 0;

	pthread_mutex_lock(&u->lock);
	for (r = part_range(a->unit, n); r.off < c->size;
	     r = part_range(a->unit, ++n)) {
		struct s3_part *p = n < u->n ? &u->v[n] : NULL;

		if (r.len > c->size - r.off)
			r.len = c->size - r.off;
		if (!p)
			p = s3_upload_add(u, r.off, r.len, false);
		if (p->len == r.len && is_left(c, r.off, r.len))
			continue;
		p->len = r.len;
		if (p->state == S3_PART_SENDING)
			p->again = true;
		else if (p->state == S3_PART_DONE)
			s3_part_reset_locked(p);
	}
	pthread_mutex_unlock(&u->lock);
	return n == u->n;
}

/* What the commit wants it to say, and it does not. */
static int
correct(struct s3 *s, struct be_ctx *ctx, const char *key,
	const struct be_commit *c, struct s3_head **now)
{
	struct be_cond cond = { .pre = BE_MATCH };
	struct s3_head *fixed = NULL;
	struct be_attr attr;
	int ret;

	s3_meta_attr(&s->meta, *now, key, &attr);
	if (!differs(s, c, &attr))
		return 0;
	be_ver_set(&cond.ver, (*now)->etag, strlen((*now)->etag));
	s3_attr_apply(&attr,
		      BE_SET_MODE | BE_SET_UID | BE_SET_GID |
			      (c->mask & (BE_SET_MTIME | BE_SET_ATIME)),
		      c->attr);
	ret = s3_copy_object(s, ctx, key, *now, key, &cond, &c->opid, &attr,
			     NULL, &fixed);
	if (ret == -ESTALE || ret == -ENOENT)
		return 0; /* another's by now, who closed it later */
	if (ret < 0)
		return ret;
	s3_head_put(*now);
	*now = fixed;
	return 0;
}

int
s3_ahead_commit(struct s3 *s, struct be_ctx *ctx, const char *key,
		const struct be_commit *c, struct s3_head **out)
{
	struct ahead *a = ahead_of(c->ahead);
	_cleanup_head_ struct s3_head *now = NULL, *seen = NULL;
	int ret;

	if (*out)
		a->now = steal_ptr(out); /* of an attempt whose reply was lost */
	if (!a->now) {
		if (!arrange(a, c))
			return 1;
		ret = s3_upload_parts(a->u, ctx);
		if (ret == 0)
			ret = s3_upload_complete(a->u, ctx, &c->cond, &c->opid,
						 c->size, &a->now);
		if (ret < 0)
			return ret;
	}
	s3_upload_completed(a->u);
	now = s3_head_ref(a->now);
	ret = 0;
	if (!now->modified) {
		/* When it was made, only the store knows. */
		ret = s3_look(s, ctx, key, &seen);
		if (ret == 0 && seen && s3_head_has_op(seen, &c->opid)) {
			s3_head_put(now);
			now = steal_ptr(&seen);
		}
	}
	if (ret == 0)
		ret = correct(s, ctx, key, c, &now);
	if (ret == 0)
		*out = steal_ptr(&now);
	return ret;
}
