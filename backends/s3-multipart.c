/* SPDX-License-Identifier: MIT */
/*
 * Objects in parts: what changed is sent, what did not is copied inside the
 * store.  An upload that fails is aborted; one that ends without our knowing
 * is recognised by its operation id.  The parts themselves: s3-upload.h.
 */
#include <config.h>

#include "backends/s3-upload.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/xalloc.h"

#define MIB (UINT64_C(1) << 20)
/* Clean neighbours are copied as one part.  Each copy is a request, and what
 * the store does for one it does one byte after the other. */
#define COPY_MIN (64 * MIB)
#define COPY_MAX (512 * MIB)

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

/* All copies go at the same time if they can. */
static uint64_t
copy_size_for(struct s3 *s, uint64_t size)
{
	uint64_t n = (size / s->parallel / MIB + 1) * MIB;

	return n < COPY_MIN ? COPY_MIN : n > COPY_MAX ? COPY_MAX : n;
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

struct plan {
	void (*part)(void *arg, uint64_t off, uint64_t len, bool copy);
	void *arg;
};

static void
plan(struct s3 *s, const struct be_commit *c, const struct plan *to)
{
	uint64_t unit = part_size_for(s, c->size);
	uint64_t most = copy_size_for(s, c->size);
	uint64_t off = 0;

	while (off < c->size) {
		uint64_t len = c->size - off < unit ? c->size - off : unit;
		bool copy = is_clean(c, off, len);

		while (copy && len < most) {
			uint64_t left = c->size - off - len;
			uint64_t more = left < unit ? left : unit;

			if (!more || !is_clean(c, off + len, more))
				break;
			len += more;
		}
		to->part(to->arg, off, len, copy);
		off += len;
	}
}

struct needed {
	const struct be_commit *c;
	struct rangeset *need;
};

static void
need_part(void *arg, uint64_t off, uint64_t len, bool copy)
{
	struct needed *n = arg;
	uint64_t end = off + len;

	if (copy || off >= n->c->base_size)
		return;
	if (end > n->c->base_size)
		end = n->c->base_size;
	rangeset_add(n->need, off, end - off);
}

void
s3_multipart_need(struct s3 *s, const struct be_commit *c, struct rangeset *need)
{
	struct needed n = { c, need };

	plan(s, c, &(struct plan){ need_part, &n });
}

static void
add_part(void *arg, uint64_t off, uint64_t len, bool copy)
{
	s3_upload_add(arg, off, len, copy);
}

/* --- the end -------------------------------------------------------------------------- */

static void
complete_body(struct s3_upload *u, struct buf *b)
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
etag_fits(const struct s3_upload *u, const char *etag)
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
complete_look(struct s3_upload *u, struct be_ctx *ctx, const struct be_cond *cond,
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
	if (q->e.code == -ENOENT || q->e.code == 0) {
		s3_upload_lost(u);
		return be_fail(ctx, -EIO, true, "the upload of %s was lost",
			       u->key);
	}
	return s3_req_fail(u->s, ctx, q);
}

int
s3_upload_complete(struct s3_upload *u, struct be_ctx *ctx,
		const struct be_cond *cond, const struct be_opid *opid,
		uint64_t size, struct s3_head **out)
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
	FAULT_POINT("s3.upload-completing");
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
	for (size_t i = 0; i < u->head.n; i++)
		s3_fields_add(&h->keep, u->head.v[i].name, u->head.v[i].value);
	s3_heads_set(u->s, u->key, h);
	*out = h;
	return 0;
}

/* The parts that were copied must be of one version. */
static int
still_base(struct s3_upload *u, struct be_ctx *ctx)
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
	ret = s3_look(u->s, ctx, u->from, &h);
	if (ret < 0)
		return ret;
	same = h && strcmp(h->etag, u->from_etag) == 0;
	s3_head_put(h);
	return same ? 0 :
		      be_fail(ctx, -ESTALE, false,
			      "s3://%s/%s changed while parts of it were copied",
			      u->s->bucket, u->from);
}

static int
upload_run(struct s3_upload *u, struct be_ctx *ctx, const struct be_cond *cond,
	   const struct be_opid *opid, uint64_t size, struct s3_head **out)
{
	int ret = s3_upload_parts(u, ctx);

	if (ret == 0)
		ret = still_base(u, ctx);
	if (ret == 0)
		ret = s3_upload_complete(u, ctx, cond, opid, size, out);
	if (ret == 0)
		s3_upload_completed(u);
	else
		s3_upload_abort(u);
	return ret;
}

int
s3_upload_head(struct s3 *s, struct be_ctx *ctx, const char *key,
	    const struct be_attr *want, const struct be_opid *opid,
	    const struct s3_head *old, struct s3_fields *head)
{
	struct be_attr attr = *want;
	int ret;

	if (attr.ino <= 1 && old) {
		struct be_attr was;

		s3_meta_attr(&s->meta, old, key, &was);
		attr.ino = was.ino;
	}
	ret = s3_meta_put(&s->meta, &attr, old, true, NULL, opid, head);
	if (ret < 0)
		return be_fail(ctx, ret, false, "the metadata of %s is over 2 KB",
			       key);
	if (!s3_fields_get(head, "content-type"))
		s3_fields_add(head, "content-type", s3_content_type(key));
	return 0;
}

int
s3_multipart_commit(struct s3 *s, struct be_ctx *ctx, const char *key,
		    const struct be_commit *c, const struct s3_head *old,
		    struct s3_head **out)
{
	struct s3_upload *u = s3_upload_new(s, key, c->fd);
	bool copies = false;
	int ret;

	u->taking = c->taking;
	u->taking_arg = c->taking_arg;
	ret = s3_upload_head(s, ctx, key, c->attr, &c->opid, old, &u->head);
	if (ret == 0) {
		plan(s, c, &(struct plan){ add_part, u });
		for (size_t i = 0; i < u->n; i++)
			copies |= u->v[i].copy;
		if (copies) {
			u->from = xstrdup(key);
			u->from_etag = s3_ver_etag(&c->base);
		}
		u->sums = !copies && s3_sum_header(s->facts.sum);
		ret = upload_run(u, ctx, &c->cond, &c->opid, c->size, out);
	}
	s3_upload_free(u);
	return ret;
}

int
s3_multipart_copy(struct s3 *s, struct be_ctx *ctx, const char *from,
		  const struct s3_head *src, const char *to,
		  const struct be_cond *cond, const struct s3_fields *head,
		  struct s3_head **out)
{
	const uint64_t unit = copy_size_for(s, src->size);
	struct s3_upload *u = s3_upload_new(s, to, -1);
	struct be_opid opid = { "" };
	const char *op = s3_fields_get(head, S3_META_OP);
	int ret;

	if (op)
		snprintf(opid.s, sizeof(opid.s), "%s", op);
	u->from = xstrdup(from);
	u->from_etag = xstrdup(src->etag);
	for (size_t i = 0; i < head->n; i++)
		s3_fields_add(&u->head, head->v[i].name, head->v[i].value);
	for (uint64_t off = 0; off < src->size; off += unit)
		s3_upload_add(u, off,
			      src->size - off < unit ? src->size - off : unit,
			      true);
	ret = upload_run(u, ctx, cond, &opid, src->size, out);
	s3_upload_free(u);
	return ret;
}
