/* SPDX-License-Identifier: MIT */
/* One part of an upload: sent and checked, or copied inside the store. */
#include <config.h>

#include "backends/s3-upload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define TRIES 5 /* of bytes that change while they are sent */

static void
part_query(struct s3_upload *u, struct s3_req *q, size_t i)
{
	char number[24];

	snprintf(number, sizeof(number), "%zu", i + 1);
	s3_req_query(q, "partNumber", number);
	s3_req_query(q, "uploadId", u->id);
}

/* --- copied ------------------------------------------------------------------------ */

static int
copied(struct s3_upload *u, struct be_ctx *ctx, struct s3_req *q,
       struct s3_part *p)
{
	char *etag = NULL;
	int ret;

	if (q->e.class == S3_CLASS_COND || q->e.code == -ENOENT)
		return be_fail(ctx, -ESTALE, false,
			       "the version that parts are copied from is gone");
	if (q->e.code)
		return s3_req_fail(u->s, ctx, q);
	ret = s3_xml_text(q->reply.body.s, q->reply.body.len, "CopyPartResult",
			  "ETag", &etag);
	if (ret < 0 || !etag)
		return be_fail(ctx, -EIO, true,
			       "copy of a part to %s: broken reply", u->key);
	s3_etag_bare(etag);
	p->etag = etag;
	return 0;
}

static int
part_copy(struct s3_upload *u, struct be_ctx *ctx, size_t i, struct s3_part *p,
	  bool *done)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_free_ char *source = s3_copy_source(u->s, u->from);
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", u->from_etag);
	struct s3_req *v = &q;
	char range[64];
	int ret;

	s3_req_init(&q, S3_PART_COPY, "PUT", u->key);
	part_query(u, &q, i);
	s3_req_head(&q, "x-amz-copy-source", source);
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, p->off,
		 p->off + p->len - 1);
	s3_req_head(&q, "x-amz-copy-source-range", range);
	if (u->s->facts.copy_source)
		s3_req_head(&q, "x-amz-copy-source-if-match", quoted);
	ret = s3_run(u->s, ctx, &v, 1);
	if (ret == 0)
		ret = copied(u, ctx, &q, p);
	*done = ret == 0;
	return ret;
}

/* --- sent ---------------------------------------------------------------------------- */

/*
 * Which digests: one that the store verifies is enough, and each costs as much
 * as a network.  A checksum that the store knows; else the signed hash of the
 * payload, which http needs anyway; else MD5, which it compares, and we with
 * the ETag.
 */
static int
part_digest(struct s3_upload *u, struct be_ctx *ctx, const struct s3_part *p,
	    struct s3_digest *d)
{
	struct s3 *s = u->s;
	bool sign = !s->https && s->facts.payload;
	enum s3_sum sum = s->facts.sum;
	unsigned want = s->https ? 0 : S3_WANT_SHA256;
	int ret;

	/* A part's checksum must be that of its upload. */
	if (s3_sum_header(sum) && !u->sums)
		sum = S3_SUM_MD5;
	if (sum == S3_SUM_MD5 && sign && s->want_sum != S3_SUM_MD5)
		sum = S3_SUM_NONE;
	if (sum == S3_SUM_MD5 && s->facts.etag_md5)
		want |= S3_WANT_MD5;
	s3_digest_init(d, s->crc, want, sum);
	ret = s3_digest_fd(d, u->fd, p->off, p->len);
	if (ret < 0)
		return be_fail(ctx, ret, false, "reading the bytes to send: %s",
			       ret == -ENODATA ? "the file became shorter" :
						 strerror(-ret));
	s3_digest_final(d);
	return 0;
}

static int
sent(struct s3_upload *u, struct be_ctx *ctx, struct s3_req *q,
     struct s3_part *p, const struct s3_digest *d, bool *done)
{
	const char *etag = s3_reply_get(&q->reply, "etag");
	const char *name = u->sums ? s3_sum_header(d->sum) : NULL;
	const char *echo = name ? s3_reply_get(&q->reply, name) : NULL;
	_cleanup_free_ char *bare = NULL;
	bool other;

	if (q->e.class == S3_CLASS_BODY && ++p->tries < TRIES)
		return 0;
	if (q->e.code == -ENOENT)
		return be_fail(ctx, -ENOENT, true,
			       "the store has forgotten the upload of %s",
			       u->key);
	if (q->e.code)
		return s3_req_fail(u->s, ctx, q);
	if (!etag)
		return be_fail(ctx, -EIO, true, "a part's reply without ETag");
	bare = xstrdup(etag);
	s3_etag_bare(bare);
	other = (d->md5_hex[0] && u->s->facts.etag_md5 &&
		 s3_etag_is_md5(bare) && strcasecmp(bare, d->md5_hex) != 0) ||
		(echo && strcmp(echo, d->sum_b64) != 0);
	if (other && ++p->tries < TRIES)
		return 0;
	if (other)
		return be_fail(ctx, -EIO, true,
			       "the store has other bytes than were sent");
	p->etag = steal_ptr(&bare);
	if (echo)
		p->sum = xstrdup(echo);
	*done = true;
	return 0;
}

static int
part_send(struct s3_upload *u, struct be_ctx *ctx, size_t i, struct s3_part *p,
	  bool *done)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_digest_ struct s3_digest d = { 0 };
	struct s3_req *v = &q;
	int ret;

	s3_req_init(&q, S3_PART, "PUT", u->key);
	part_query(u, &q, i);
	if (u->taking)
		u->taking(u->taking_arg, p->off, p->len);
	ret = part_digest(u, ctx, p, &d);
	if (ret < 0)
		return ret;
	q.fd = u->fd;
	q.fd_off = p->off;
	q.body_len = p->len;
	if (d.sha_hex[0])
		memcpy(q.payload, d.sha_hex, sizeof(q.payload));
	s3_sum_add(&q, &d);
	ret = s3_run(u->s, ctx, &v, 1);
	if (ret == 0)
		ret = sent(u, ctx, &q, p, &d, done);
	return ret;
}

int
s3_part_run(struct s3_upload *u, struct be_ctx *ctx, size_t i,
	    struct s3_part *p, bool *done)
{
	*done = false;
	return p->copy ? part_copy(u, ctx, i, p, done) :
			 part_send(u, ctx, i, p, done);
}
