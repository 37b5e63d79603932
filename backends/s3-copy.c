/* SPDX-License-Identifier: MIT */
/* Copies inside the store: of a file, and onto itself for new attributes. */
#include <config.h>

#include "backends/s3-upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define TRIES 5 /* when others change it meanwhile */

void
s3_attr_apply(struct be_attr *to, unsigned mask, const struct be_attr *from)
{
	be_attr_apply(to, mask, from);
	if (mask && !(mask & BE_SET_CTIME))
		to->ctime = clock_wall();
}

struct copied {
	char *etag;
	struct timespec modified;
};

static int
copied_fn(void *arg, const char *path, const char *text)
{
	struct copied *c = arg;

	if (strcmp(path, "ETag") == 0) {
		free(c->etag);
		c->etag = xstrdup(text);
		s3_etag_bare(c->etag);
	} else if (strcmp(path, "LastModified") == 0) {
		if (!s3_time_iso(text, &c->modified))
			c->modified.tv_sec = 0;
	}
	return 0;
}

/* Which of the two conditions failed, if it was not a copy of ours before? */
static int
copy_refused(struct s3 *s, struct be_ctx *ctx, const char *from,
	     const struct s3_head *src, const char *to,
	     const struct be_cond *cond, const struct be_opid *opid,
	     struct s3_head **out)
{
	_cleanup_head_ struct s3_head *now = NULL;
	int ret = s3_ours(s, ctx, to, opid, out);

	if (ret != 0)
		return ret < 0 ? ret : 0;
	ret = s3_look(s, ctx, from, &now);
	if (ret < 0)
		return ret;
	if (!now)
		return be_fail(ctx, -ENOENT, false, "s3://%s/%s is gone",
			       s->bucket, from);
	atomic_fetch_add(&s->conflicts, 1);
	if (strcmp(now->etag, src->etag) != 0 || cond->pre == BE_ANY)
		return be_fail(ctx, -ESTALE, false,
			       "s3://%s/%s has another version now", s->bucket,
			       from);
	return s3_cond_error(ctx, cond, to);
}

static void
copy_headers(struct s3 *s, struct s3_req *q, const char *from,
	     const struct s3_head *src, const struct be_cond *cond)
{
	_cleanup_free_ char *source = s3_copy_source(s, from);
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", src->etag);

	s3_req_head(q, "x-amz-copy-source", source);
	if (s->facts.copy_source)
		s3_req_head(q, "x-amz-copy-source-if-match", quoted);
	else if (s->facts.copy_ceph)
		s3_req_head(q, S3_COPY_CEPH, quoted);
	s3_req_head(q, "x-amz-metadata-directive", "REPLACE");
	if (s->facts.copy_absent && cond->pre == BE_ABSENT) {
		s3_req_head(q, "if-none-match", "*");
	} else if (s->facts.copy_absent && cond->pre == BE_MATCH) {
		_cleanup_free_ char *etag = s3_ver_etag(&cond->ver);
		_cleanup_free_ char *sent = s3_etag_put(s, etag);

		s3_req_head(q, "if-match", sent);
	}
}

/* src's bytes under the name `to`, which then says of itself what head says;
 * head is used up. */
static int
copy_as(struct s3 *s, struct be_ctx *ctx, const char *from,
	const struct s3_head *src, const char *to, const struct be_cond *cond,
	const struct be_opid *opid, struct s3_fields *head,
	struct s3_head **out)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;
	struct copied c = { 0 };
	const size_t said = head->n;
	struct s3_head *h;
	int ret;

	s3_req_init(&q, S3_COPY, "PUT", to);
	q.head = *head;
	memset(head, 0, sizeof(*head));
	q.body_max = S3_ERROR_MAX;
	copy_headers(s, &q, from, src, cond);
	s3_new_object_headers(s, &q);
	ret = s3_run(s, ctx, &v, 1);
	if (ret < 0)
		return ret;
	if (q.e.class == S3_CLASS_COND || q.e.code == -ENOENT)
		return copy_refused(s, ctx, from, src, to, cond, opid, out);
	if (q.e.code)
		return s3_req_fail(s, ctx, &q);
	ret = s3_xml_parse(q.reply.body.s, q.reply.body.len, "CopyObjectResult",
			   copied_fn, &c);
	if (ret < 0 || !c.etag || !*c.etag || strlen(c.etag) > BE_VER_MAX) {
		free(c.etag);
		return be_fail(ctx, -EIO, true,
			       "copy to s3://%s/%s: the reply is cut short or"
			       " no XML",
			       s->bucket, to);
	}
	h = s3_head_new(c.etag, src->size, c.modified.tv_sec, s3_req_date(&q));
	free(c.etag);
	h->opaque = src->opaque;
	for (size_t i = 0; i < said; i++)
		s3_fields_add(&h->keep, q.head.v[i].name, q.head.v[i].value);
	/*
	 * Of one version, and whole?  Equal ETags say so.  Else (multipart
	 * ETags change in a copy) the object is looked at.
	 */
	if (strcmp(h->etag, src->etag) != 0) {
		s3_head_put(h);
		h = NULL;
		ret = s3_look(s, ctx, to, &h);
		if (ret < 0)
			return ret;
		if (!h || h->size != src->size || !s3_head_has_op(h, opid)) {
			s3_head_put(h);
			return be_fail(ctx, -ESTALE, false,
				       "s3://%s/%s changed while it was copied",
				       s->bucket, from);
		}
		if (!s->facts.copy_source && s3_etag_is_md5(src->etag) &&
		    s3_etag_is_md5(h->etag) && !src->opaque) {
			s3_head_put(h);
			return be_fail(ctx, -ESTALE, false,
				       "s3://%s/%s changed while it was copied",
				       s->bucket, from);
		}
	}
	s3_heads_set(s, to, h);
	*out = h;
	return 0;
}

int
s3_copy_object(struct s3 *s, struct be_ctx *ctx, const char *from,
	       const struct s3_head *src, const char *to,
	       const struct be_cond *cond, const struct be_opid *opid,
	       const struct be_attr *attr, const char *xattr,
	       struct s3_head **out)
{
	struct s3_fields head = { 0 };
	int ret;

	ret = s3_meta_put(&s->meta, attr, src, false, xattr, opid, &head);
	if (ret < 0)
		ret = be_fail(ctx, ret, false, "the metadata of %s is over 2 KB",
			      to);
	else if (src->size > S3_COPY_MAX)
		ret = s3_multipart_copy(s, ctx, from, src, to, cond, &head,
					out);
	else
		ret = copy_as(s, ctx, from, src, to, cond, opid, &head, out);
	s3_fields_release(&head);
	return ret;
}

/* --- setattr ------------------------------------------------------------------------- */

static int
setattr_dir(struct s3 *s, struct be_ctx *ctx, const char *path,
	    const struct s3_stat *st, const struct be_opid *opid,
	    const struct be_attr *a, struct be_attr *out)
{
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_free_ char *marker = NULL;
	struct be_cond cond = { .pre = st->head ? BE_MATCH : BE_ABSENT };
	int ret = s3_key_marker(ctx, s->prefix, path, &marker);

	if (ret < 0)
		return ret;
	/* Other tools' markers without the slash are no markers of ours. */
	if (st->head && strcmp(marker, st->key) == 0)
		be_ver_set(&cond.ver, st->head->etag, strlen(st->head->etag));
	else
		cond.pre = BE_ABSENT;
	ret = s3_put_marker(s, ctx, path, &cond, opid, a, st->head, &now);
	/* Another node was faster; markers are all alike. */
	if (ret == -EEXIST || ret == -ESTALE) {
		cond.pre = BE_ANY;
		ret = s3_put_marker(s, ctx, path, &cond, opid, a, st->head,
				    &now);
	}
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, marker, out);
	out->ver.len = 0;
	return 0;
}

/*
 * A file that was written or looked at a moment ago is taken as it was, if the
 * copy itself compares the version.
 */
static int
setattr_look(struct s3 *s, struct be_ctx *ctx, const char *path, bool dir,
	     bool again, struct s3_stat *st)
{
	_cleanup_free_ char *key = NULL;
	struct be_attr a;
	int ret;

	if (!dir && *path && !again && s->facts.copy_source) {
		ret = s3_key_file(ctx, s->prefix, path, &key);
		if (ret < 0)
			return ret;
		if (s3_heads_recent(s, key, S3_RECENT_HEAD, &st->head)) {
			s3_meta_attr(&s->meta, st->head, key, &a);
			st->what = S_ISDIR(a.mode) ? S3_DIR : S3_FILE;
			st->key = steal_ptr(&key);
			return 0;
		}
	}
	return s3_stat(s, ctx, path, dir ? BE_HINT_DIR : BE_HINT_FILE, st);
}

/* -EAGAIN: it changed between the look and the copy. */
static int
setattr_once(struct s3 *s, struct be_ctx *ctx, const char *path,
	     const struct be_cond *cond, const struct be_opid *opid,
	     unsigned mask, const struct be_attr *attr, bool again,
	     struct be_attr *out)
{
	_cleanup_stat_ struct s3_stat st = { 0 };
	_cleanup_head_ struct s3_head *now = NULL;
	struct be_cond same = { .pre = BE_MATCH };
	struct be_attr a;
	int ret;

	ret = setattr_look(s, ctx, path, S_ISDIR(attr->mode),
			   again || ctx->attempt > 0, &st);
	if (ret < 0)
		return ret;
	if (st.what == S3_NONE)
		return be_fail(ctx, -ENOENT, false, "no object s3://%s/%s%s",
			       s->bucket, s->prefix, path);
	s3_stat_attr(s, &st, &a);
	if (st.head && s3_head_has_op(st.head, opid)) {
		*out = a; /* done before, its reply was lost */
		return 0;
	}
	s3_attr_apply(&a, mask, attr);
	if (st.what == S3_DIR)
		return setattr_dir(s, ctx, path, &st, opid, &a, out);
	if (cond->pre == BE_ABSENT)
		return s3_cond_error(ctx, cond, st.key);
	if (cond->pre == BE_MATCH && !be_ver_equal(&a.ver, &cond->ver)) {
		/* What was looked at may be older than what is known. */
		if (!again)
			return -EAGAIN;
		atomic_fetch_add(&s->conflicts, 1);
		return s3_cond_error(ctx, cond, st.key);
	}
	be_ver_set(&same.ver, st.head->etag, strlen(st.head->etag));
	ret = s3_copy_object(s, ctx, st.key, st.head, st.key, &same, opid, &a,
			     NULL, &now);
	if (ret == -ESTALE && cond->pre == BE_ANY)
		return -EAGAIN;
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, st.key, out);
	return 0;
}

int
s3_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_cond *cond, const struct be_opid *opid,
	   unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	int ret = -EAGAIN;

	for (int i = 0; i < TRIES && ret == -EAGAIN; i++)
		ret = setattr_once(to_s3(be), ctx, path, cond, opid, mask, attr,
				   i > 0, out);
	if (ret == -EAGAIN)
		ret = be_fail(ctx, -EIO, true, "%s changes all the time", path);
	return ret;
}

/* --- copy --------------------------------------------------------------------------------- */

/* The version that is copied.  1: it was done before, *now is the copy. */
static int
copy_source(struct s3 *s, struct be_ctx *ctx, const char *from,
	    const struct be_ver *ver, const char *to,
	    const struct be_opid *opid, struct s3_head **src,
	    struct s3_head **now)
{
	_cleanup_free_ char *etag = s3_ver_etag(ver);
	int ret;

	*src = ctx->attempt == 0 ? s3_heads_get(s, from, etag) : NULL;
	if (*src)
		return 0; /* the copy compares it */
	ret = s3_look(s, ctx, from, src);
	if (ret < 0 || (*src && strcmp((*src)->etag, etag) == 0))
		return ret;
	ret = s3_ours(s, ctx, to, opid, now);
	return ret != 0 ? ret :
			  be_fail(ctx, -ESTALE, false,
				  "s3://%s/%s has another version now",
				  s->bucket, from);
}

/* What is replaced, for its other headers (S3.8). */
static int
copy_old(struct s3 *s, struct be_ctx *ctx, const char *to,
	 const struct be_cond *cond, struct s3_head **old)
{
	_cleanup_free_ char *etag = NULL;

	if (cond->pre == BE_ABSENT)
		return 0;
	if (cond->pre == BE_MATCH) {
		etag = s3_ver_etag(&cond->ver);
		*old = s3_heads_get(s, to, etag);
		if (*old)
			return 0;
	}
	return s3_look(s, ctx, to, old);
}

/* In parts if only the end of an upload has a condition. */
static bool
copy_in_parts(const struct s3 *s, const struct s3_head *src,
	      const struct be_cond *cond)
{
	return src->size > S3_COPY_MAX ||
	       (cond->pre != BE_ANY && !s->facts.copy_absent &&
		s->facts.done_cond && src->size > 0);
}

static int
copy_file(struct s3 *s, struct be_ctx *ctx, const char *from,
	  const struct s3_head *src, const char *to,
	  const struct be_cond *cond, const struct be_opid *opid,
	  const struct be_attr *attr, struct s3_head **now)
{
	bool parts = copy_in_parts(s, src, cond);
	_cleanup_head_ struct s3_head *old = NULL;
	struct s3_fields head = { 0 };
	int ret = 0;

	if (!parts && cond->pre != BE_ANY && !s->facts.copy_absent)
		ret = s3_cond_look(s, ctx, to, cond, opid, now);
	if (ret != 0)
		return ret < 0 ? ret : 0;
	ret = copy_old(s, ctx, to, cond, &old);
	if (ret == 0)
		ret = s3_upload_head(s, ctx, to, attr, opid, old, &head);
	if (ret == 0 && parts)
		ret = s3_multipart_copy(s, ctx, from, src, to, cond, &head,
					now);
	else if (ret == 0)
		ret = copy_as(s, ctx, from, src, to, cond, opid, &head, now);
	s3_fields_release(&head);
	return ret;
}

int
s3_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	const struct be_ver *from_ver, const char *to,
	const struct be_cond *cond, const struct be_opid *opid,
	const struct be_attr *attr, struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	_cleanup_head_ struct s3_head *src = NULL, *now = NULL;
	_cleanup_free_ char *kfrom = NULL, *kto = NULL;
	struct be_attr a = *attr;
	int ret;

	/* Else another version might be what is copied. */
	if (!s->be.caps.server_copy)
		return be_fail(ctx, -ENOTSUP, false,
			       "this store does not compare what it copies");
	ret = s3_key_file(ctx, s->prefix, from, &kfrom);
	if (ret == 0)
		ret = s3_key_file(ctx, s->prefix, to, &kto);
	if (ret == 0)
		ret = copy_source(s, ctx, kfrom, from_ver, kto, opid, &src,
				  &now);
	if (ret < 0)
		return ret;
	if ((a.mode & S_IFMT) == 0)
		a.mode |= S_IFREG;
	if (!now) {
		ret = copy_file(s, ctx, kfrom, src, kto, cond, opid, &a, &now);
		if (ret < 0)
			return ret;
	}
	s3_meta_attr(&s->meta, now, kto, out);
	return 0;
}
