/* SPDX-License-Identifier: MIT */
/*
 * Objects in parts: what changed is sent, what did not is copied inside the
 * store.  An upload that fails is aborted; one that ends without our knowing
 * is recognised by its operation id.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

#define MIB (UINT64_C(1) << 20)
#define COPY_PARTS 8 /* so many clean parts are copied as one */
#define TRIES 5	     /* of bytes that change while they are sent */

struct part {
	uint64_t off, len;
	bool copy;
	bool done;
	unsigned tries;
	char *etag; /* bare */
	char *sum;  /* checksum as the store echoed it */
};

struct upload {
	struct s3 *s;
	const char *key;
	char *id;
	struct part *v;
	size_t n;
	bool sums; /* parts carry facts.sum */
};

/* --- the plan ------------------------------------------------------------------- */

static uint64_t
part_size_for(struct s3 *s, uint64_t size)
{
	uint64_t n = s->part_size > S3_PART_MIN ? s->part_size : S3_PART_MIN;

	/* Some room below the limit, and whole MiB. */
	if (size / n >= S3_PARTS_MAX - 1000)
		n = (size / (S3_PARTS_MAX - 1000) / MIB + 1) * MIB;
	return n;
}

static bool
is_clean(const struct be_commit *c, uint64_t off, uint64_t len)
{
	if (c->whole || !be_ver_known(&c->base) || off + len > c->base_size)
		return false;
	for (size_t i = 0; i < c->ndirty; i++)
		if (c->dirty[i].off < off + len &&
		    c->dirty[i].off + c->dirty[i].len > off)
			return false;
	return true;
}

static struct part *
plan(struct s3 *s, const struct be_commit *c, size_t *n)
{
	uint64_t unit = part_size_for(s, c->size);
	struct part *v = xcalloc(c->size / unit + 2, sizeof(*v));

	*n = 0;
	for (uint64_t off = 0; off < c->size; off += unit) {
		uint64_t len = c->size - off < unit ? c->size - off : unit;
		struct part *p = &v[*n];

		p->off = off;
		p->len = len;
		p->copy = is_clean(c, off, len);
		if (p->copy && *n && p[-1].copy &&
		    p[-1].len + len <= COPY_PARTS * unit)
			p[-1].len += len;
		else
			(*n)++;
	}
	return v;
}

void
s3_multipart_need(struct s3 *s, const struct be_commit *c, struct rangeset *need)
{
	size_t n;
	_cleanup_free_ struct part *v = plan(s, c, &n);

	for (size_t i = 0; i < n; i++) {
		uint64_t end = v[i].off + v[i].len;

		if (v[i].copy || v[i].off >= c->base_size)
			continue;
		if (end > c->base_size)
			end = c->base_size;
		rangeset_add(need, v[i].off, end - v[i].off);
	}
}

/* --- begin and end ----------------------------------------------------------------- */

static int
upload_begin(struct upload *u, struct be_ctx *ctx, const struct s3_fields *head)
{
	_cleanup_req_ struct s3_req q = { 0 };
	int ret;

	s3_req_init(&q, S3_MP_CREATE, "POST", u->key);
	s3_req_query(&q, "uploads", "");
	for (size_t i = 0; i < head->n; i++)
		s3_req_head(&q, head->v[i].name, head->v[i].value);
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
			  "InitiateMultipartUploadResult", "UploadId", &u->id);
	if (ret < 0 || !u->id || !*u->id)
		return be_fail(ctx, -EIO, true,
			       "POST s3://%s/%s?uploads: no upload id in the"
			       " reply",
			       u->s->bucket, u->key);
	return 0;
}

/* Best effort, also when the call's own time is over. */
static void
upload_abort(struct upload *u)
{
	struct be_ctx ctx = { .deadline_ns = clock_mono_ns() +
					     5 * NSEC_PER_SEC };
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;

	if (!u->id)
		return;
	s3_req_init(&q, S3_MP_ABORT, "DELETE", u->key);
	s3_req_query(&q, "uploadId", u->id);
	s3_run(u->s, &ctx, &v, 1);
	if (q.e.code && q.e.code != -ENOENT)
		log_info("s3", "an upload of %s could not be aborted: %s",
			 u->key, q.e.words ? q.e.words : "");
}

static void
upload_release(struct upload *u)
{
	for (size_t i = 0; i < u->n; i++) {
		free(u->v[i].etag);
		free(u->v[i].sum);
	}
	free(u->v);
	free(u->id);
}

/* --- parts ------------------------------------------------------------------------- */

static void
part_query(struct upload *u, struct s3_req *q, size_t i)
{
	char number[24];

	snprintf(number, sizeof(number), "%zu", i + 1);
	s3_req_query(q, "partNumber", number);
	s3_req_query(q, "uploadId", u->id);
}

static void
part_copy_req(struct upload *u, struct s3_req *q, size_t i, const char *from,
	      const char *etag)
{
	_cleanup_free_ char *source = s3_copy_source(u->s, from);
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", etag);
	char range[64];

	s3_req_init(q, S3_PART_COPY, "PUT", u->key);
	part_query(u, q, i);
	s3_req_head(q, "x-amz-copy-source", source);
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64,
		 u->v[i].off, u->v[i].off + u->v[i].len - 1);
	s3_req_head(q, "x-amz-copy-source-range", range);
	if (u->s->facts.copy_source)
		s3_req_head(q, "x-amz-copy-source-if-match", quoted);
}

static int
part_send_req(struct upload *u, struct be_ctx *ctx, struct s3_req *q, size_t i,
	      int fd, struct s3_digest *d)
{
	struct s3 *s = u->s;
	unsigned want = s->https ? 0 : S3_WANT_SHA256;
	enum s3_sum sum = s->facts.sum;
	int ret;

	s3_req_init(q, S3_PART, "PUT", u->key);
	part_query(u, q, i);
	/* A part's checksum must be that of its upload. */
	if (s3_sum_header(sum) && !u->sums)
		sum = S3_SUM_MD5;
	if (s->facts.etag_md5 && sum != S3_SUM_NONE)
		want |= S3_WANT_MD5;
	s3_digest_init(d, s->crc, want, sum);
	ret = s3_digest_fd(d, fd, u->v[i].off, u->v[i].len);
	if (ret < 0)
		return be_fail(ctx, ret == -ENODATA ? -EIO : ret,
			       ret == -ENODATA, "reading the bytes to send: %s",
			       ret == -ENODATA ? "the file became shorter" :
						 strerror(-ret));
	s3_digest_final(d);
	q->fd = fd;
	q->fd_off = u->v[i].off;
	q->body_len = u->v[i].len;
	if (d->sha_hex[0])
		memcpy(q->payload, d->sha_hex, sizeof(q->payload));
	s3_sum_add(q, d);
	return 0;
}

static int
part_copied(struct upload *u, struct be_ctx *ctx, struct s3_req *q, size_t i)
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
	u->v[i].etag = etag;
	u->v[i].done = true;
	return 0;
}

/* 0 also when it must be sent again: not done. */
static int
part_sent(struct upload *u, struct be_ctx *ctx, struct s3_req *q, size_t i,
	  const struct s3_digest *d)
{
	const char *etag = s3_reply_get(&q->reply, "etag");
	const char *name = s3_sum_header(u->s->facts.sum);
	struct part *p = &u->v[i];

	if (q->e.class == S3_CLASS_BODY && ++p->tries < TRIES)
		return 0;
	if (q->e.code)
		return s3_req_fail(u->s, ctx, q);
	if (!etag)
		return be_fail(ctx, -EIO, true, "a part's reply without ETag");
	p->etag = xstrdup(etag);
	s3_etag_bare(p->etag);
	if (d->md5_hex[0] && u->s->facts.etag_md5 &&
	    s3_etag_is_md5(p->etag) && strcasecmp(p->etag, d->md5_hex) != 0) {
		free(p->etag);
		p->etag = NULL;
		if (++p->tries < TRIES)
			return 0;
		return be_fail(ctx, -EIO, true,
			       "the store has other bytes than were sent");
	}
	if (u->sums && name && s3_reply_get(&q->reply, name))
		p->sum = xstrdup(s3_reply_get(&q->reply, name));
	p->done = true;
	return 0;
}

/* Everything that is not done, in waves. */
static int
upload_parts(struct upload *u, struct be_ctx *ctx, int fd, const char *from,
	     const char *from_etag)
{
	unsigned wave = u->s->parallel;
	_cleanup_free_ struct s3_req *q = xcalloc(wave, sizeof(*q));
	_cleanup_free_ struct s3_req **v = xcalloc(wave, sizeof(struct s3_req *));
	_cleanup_free_ struct s3_digest *d = xcalloc(wave, sizeof(*d));
	_cleanup_free_ size_t *at = xcalloc(wave, sizeof(*at));
	size_t next = 0;
	int ret = 0;

	while (ret == 0) {
		size_t n = 0;

		if (next >= u->n)
			for (next = 0; next < u->n && u->v[next].done; next++)
				;
		if (next >= u->n)
			break;
		for (; next < u->n && n < wave && ret == 0; next++) {
			if (u->v[next].done)
				continue;
			at[n] = next;
			v[n] = &q[n];
			memset(&d[n], 0, sizeof(d[n]));
			if (u->v[next].copy)
				part_copy_req(u, &q[n], next, from, from_etag);
			else
				ret = part_send_req(u, ctx, &q[n], next, fd,
						    &d[n]);
			n++;
		}
		if (ret == 0)
			ret = s3_run(u->s, ctx, v, n);
		for (size_t i = 0; i < n; i++) {
			if (ret == 0)
				ret = u->v[at[i]].copy ?
					      part_copied(u, ctx, &q[i], at[i]) :
					      part_sent(u, ctx, &q[i], at[i],
							&d[i]);
			s3_req_release(&q[i]);
			s3_digest_release(&d[i]);
		}
	}
	return ret;
}

/* --- the end -------------------------------------------------------------------------- */

static void
complete_body(struct upload *u, struct buf *b)
{
	const char *sum = s3_sum_name(u->s->facts.sum);

	buf_addstr(b, "<CompleteMultipartUpload>");
	for (size_t i = 0; i < u->n; i++) {
		buf_addf(b, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
		/* An ETag needs no escapes but for its quotes. */
		for (const char *c = u->v[i].etag; *c; c++)
			if (!strchr("<>&", *c))
				buf_addch(b, *c);
		buf_addstr(b, "</ETag>");
		if (u->v[i].sum)
			buf_addf(b, "<Checksum%s>%s</Checksum%s>", sum,
				 u->v[i].sum, sum);
		buf_addstr(b, "</Part>");
	}
	buf_addstr(b, "</CompleteMultipartUpload>");
}

/* "md5 of the parts' md5s-N", if that is what this store does. */
static bool
etag_fits(const struct upload *u, const char *etag)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char h[EVP_MAX_MD_SIZE];
	char hex[33];
	bool fits;

	if (!md || EVP_DigestInit_ex(md, EVP_md5(), NULL) != 1)
		abort();
	for (size_t i = 0; i < u->n; i++) {
		unsigned char bin[16] = { 0 };

		for (size_t k = 0; s3_etag_is_md5(u->v[i].etag) && k < 16; k++) {
			char two[3] = { u->v[i].etag[2 * k],
					u->v[i].etag[2 * k + 1], 0 };

			bin[k] = strtoul(two, NULL, 16);
		}
		EVP_DigestUpdate(md, bin, sizeof(bin));
	}
	EVP_DigestFinal_ex(md, h, NULL);
	EVP_MD_CTX_free(md);
	s3_hex(h, 16, hex);
	fits = strncasecmp(etag, hex, 32) == 0 && etag[32] == '-';
	return fits;
}

/*
 * Nobody told us how it ended, or it was refused: look.  What is there under
 * our operation id is ours.
 */
static int
complete_look(struct upload *u, struct be_ctx *ctx, const struct be_cond *cond,
	      const struct be_opid *opid, uint64_t size, const struct s3_req *q,
	      struct s3_head **out)
{
	struct s3_head *h = NULL;
	int ret = s3_ours(u->s, ctx, u->key, opid, &h);

	if (ret < 0)
		return ret;
	if (ret == 1 && h->size == size) {
		*out = h;
		return 0;
	}
	s3_head_put(h);
	if (q->e.class == S3_CLASS_COND && cond && cond->pre != BE_ANY) {
		atomic_fetch_add(&u->s->conflicts, 1);
		return s3_cond_error(ctx, cond, u->key);
	}
	if (q->e.code == -ENOENT || q->e.code == 0)
		return be_fail(ctx, -EIO, true, "the upload of %s was lost",
			       u->key);
	return s3_req_fail(u->s, ctx, q);
}

static int
upload_complete(struct upload *u, struct be_ctx *ctx,
		const struct be_cond *cond, const struct be_opid *opid,
		uint64_t size, const struct s3_fields *head,
		struct s3_head **out)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_buf_ struct buf body = BUF_INIT;
	_cleanup_free_ char *etag = NULL;
	struct s3_req *v = &q;
	struct s3_head *h;
	int ret;

	complete_body(u, &body);
	s3_req_init(&q, S3_MP_COMPLETE, "POST", u->key);
	s3_req_query(&q, "uploadId", u->id);
	q.body = body.s;
	q.body_len = body.len;
	if (cond && cond->pre == BE_ABSENT && u->s->facts.done_cond) {
		s3_req_head(&q, "if-none-match", "*");
	} else if (cond && cond->pre == BE_MATCH && u->s->facts.done_cond) {
		_cleanup_free_ char *bare = s3_ver_etag(&cond->ver);
		_cleanup_free_ char *sent = s3_etag_put(u->s, bare);

		s3_req_head(&q, "if-match", sent);
	} else if (cond && cond->pre != BE_ANY) {
		ret = s3_cond_look(u->s, ctx, u->key, cond, opid, out);
		if (ret != 0)
			return ret < 0 ? ret : 0;
	}
	ret = s3_run(u->s, ctx, &v, 1);
	if (ret < 0)
		return ret;
	if (q.e.code && !q.e.unclear && q.e.class != S3_CLASS_COND &&
	    q.e.code != -ENOENT)
		return s3_req_fail(u->s, ctx, &q);
	if (q.e.code == 0)
		ret = s3_xml_text(q.reply.body.s, q.reply.body.len,
				  "CompleteMultipartUploadResult", "ETag",
				  &etag);
	if (etag)
		s3_etag_bare(etag);
	if (q.e.code || ret < 0 || !etag || !*etag ||
	    strlen(etag) > BE_VER_MAX || !etag_fits(u, etag))
		return complete_look(u, ctx, cond, opid, size, &q, out);
	h = s3_head_new(etag, size, 0, s3_req_date(&q));
	for (size_t i = 0; i < head->n; i++)
		s3_fields_add(&h->keep, head->v[i].name, head->v[i].value);
	s3_heads_set(u->s, u->key, h);
	*out = h;
	return 0;
}

/* The parts that were copied must be of one version. */
static int
still_base(struct upload *u, struct be_ctx *ctx, const char *from,
	   const char *etag)
{
	struct s3_head *h = NULL;
	bool same;
	int ret;

	for (size_t i = 0;; i++) {
		if (i == u->n)
			return 0;
		if (u->v[i].copy)
			break;
	}
	if (u->s->facts.copy_source)
		return 0;
	ret = s3_look(u->s, ctx, from, &h);
	if (ret < 0)
		return ret;
	same = h && strcmp(h->etag, etag) == 0;
	s3_head_put(h);
	return same ? 0 :
		      be_fail(ctx, -ESTALE, false,
			      "s3://%s/%s changed while parts of it were copied",
			      u->s->bucket, from);
}

static int
upload_run(struct upload *u, struct be_ctx *ctx, const struct s3_fields *head,
	   int fd, const char *from, const char *from_etag,
	   const struct be_cond *cond, const struct be_opid *opid,
	   uint64_t size, struct s3_head **out)
{
	int ret = upload_begin(u, ctx, head);

	if (ret == 0)
		ret = upload_parts(u, ctx, fd, from, from_etag);
	if (ret == 0)
		ret = still_base(u, ctx, from, from_etag);
	if (ret == 0)
		ret = upload_complete(u, ctx, cond, opid, size, head, out);
	if (ret < 0)
		upload_abort(u);
	return ret;
}

int
s3_multipart_commit(struct s3 *s, struct be_ctx *ctx, const char *key,
		    const struct be_commit *c, const struct s3_head *old,
		    struct s3_head **out)
{
	_cleanup_free_ char *base = s3_ver_etag(&c->base);
	struct upload u = { .s = s, .key = key };
	struct s3_fields head = { 0 };
	struct be_attr attr = *c->attr;
	bool copies = false;
	int ret;

	if (attr.ino <= 1 && old) {
		struct be_attr was;

		s3_meta_attr(&s->meta, old, key, &was);
		attr.ino = was.ino;
	}
	ret = s3_meta_put(&s->meta, &attr, old, true, NULL, &c->opid, &head);
	if (ret < 0) {
		ret = be_fail(ctx, ret, false, "the metadata of %s is over 2 KB",
			      key);
		goto out;
	}
	if (!s3_fields_get(&head, "content-type"))
		s3_fields_add(&head, "content-type", s3_content_type(key));
	u.v = plan(s, c, &u.n);
	for (size_t i = 0; i < u.n; i++)
		copies |= u.v[i].copy;
	u.sums = !copies && s3_sum_header(s->facts.sum);
	ret = upload_run(&u, ctx, &head, c->fd, key, base, &c->cond, &c->opid,
			 c->size, out);
out:
	s3_fields_release(&head);
	upload_release(&u);
	return ret;
}

int
s3_multipart_copy(struct s3 *s, struct be_ctx *ctx, const char *from,
		  const struct s3_head *src, const char *to,
		  const struct s3_fields *head, struct s3_head **out)
{
	const uint64_t unit = UINT64_C(512) * MIB;
	struct upload u = { .s = s, .key = to };
	struct be_opid opid = { "" };
	const char *op = s3_fields_get(head, S3_META_OP);
	int ret;

	if (op)
		snprintf(opid.s, sizeof(opid.s), "%s", op);
	u.v = xcalloc(src->size / unit + 1, sizeof(*u.v));
	for (uint64_t off = 0; off < src->size; off += unit) {
		u.v[u.n].off = off;
		u.v[u.n].len = src->size - off < unit ? src->size - off : unit;
		u.v[u.n].copy = true;
		u.n++;
	}
	ret = upload_run(&u, ctx, head, -1, from, src->etag, NULL, &opid,
			 src->size, out);
	upload_release(&u);
	return ret;
}
