/* SPDX-License-Identifier: MIT */
/*
 * Objects in one request, with condition, operation id and checksums; and the
 * operations that make new objects.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

/* A body up to this is read once into memory, so that it can't change between
 * hashing and sending. */
#define SNAPSHOT_MAX (1u * 1024 * 1024)
#define TRIES 5 /* of bytes that change under us */

char *
s3_etag_put(struct s3 *s, const char *etag)
{
	return s->facts.match_bare ? xstrdup(etag) : xasprintf("\"%s\"", etag);
}

void
s3_new_object_headers(struct s3 *s, struct s3_req *q)
{
	if (s->acl)
		s3_req_head(q, "x-amz-acl", s->acl);
	if (s->storage_class && !s3_fields_get(&q->head, "x-amz-storage-class"))
		s3_req_head(q, "x-amz-storage-class", s->storage_class);
	if (s->sse)
		s3_req_head(q, "x-amz-server-side-encryption", s->sse);
	if (s->sse_key)
		s3_req_head(q, "x-amz-server-side-encryption-aws-kms-key-id",
			    s->sse_key);
}

int
s3_cond_error(struct be_ctx *ctx, const struct be_cond *cond, const char *key)
{
	return cond->pre == BE_ABSENT ?
		       be_fail(ctx, -EEXIST, false, "%s is there already", key) :
		       be_fail(ctx, -ESTALE, false,
			       "%s has another version now", key);
}

int
s3_ours(struct s3 *s, struct be_ctx *ctx, const char *key,
	const struct be_opid *id, struct s3_head **out)
{
	_cleanup_head_ struct s3_head *h = NULL;
	int ret = s3_look(s, ctx, key, &h);

	if (ret < 0 || !h || !s3_head_has_op(h, id))
		return ret;
	*out = steal_ptr(&h);
	return 1;
}

int
s3_cond_look(struct s3 *s, struct be_ctx *ctx, const char *key,
	     const struct be_cond *cond, const struct be_opid *id,
	     struct s3_head **ours)
{
	_cleanup_head_ struct s3_head *h = NULL;
	int ret = s3_look(s, ctx, key, &h);

	if (ret < 0)
		return ret;
	if (h && s3_head_has_op(h, id)) {
		*ours = steal_ptr(&h);
		return 1;
	}
	if (cond->pre == BE_ABSENT ? !h :
				     h && strlen(h->etag) == cond->ver.len &&
					     memcmp(h->etag, cond->ver.b,
						    cond->ver.len) == 0)
		return 0;
	atomic_fetch_add(&s->conflicts, 1);
	return s3_cond_error(ctx, cond, key);
}

void
s3_sum_add(struct s3_req *q, const struct s3_digest *d)
{
	if (d->sum == S3_SUM_MD5) {
		s3_req_head(q, "content-md5", d->md5_b64);
	} else if (s3_sum_header(d->sum)) {
		s3_req_head(q, s3_sum_header(d->sum), d->sum_b64);
		/* RGW looks at the checksum only if this names it. */
		s3_req_head(q, "x-amz-sdk-checksum-algorithm",
			    s3_sum_name(d->sum));
	}
}

/* --- one PUT ------------------------------------------------------------------------ */

static bool
honoured(struct s3 *s, const struct be_cond *c)
{
	return c->pre == BE_ABSENT ? s->facts.put_absent :
	       c->pre == BE_MATCH  ? s->facts.put_match :
				     true;
}

static void
put_condition(struct s3 *s, struct s3_req *q, const struct be_cond *c)
{
	_cleanup_free_ char *etag = NULL, *sent = NULL;

	if (!honoured(s, c))
		return;
	if (c->pre == BE_ABSENT) {
		s3_req_head(q, "if-none-match", "*");
	} else if (c->pre == BE_MATCH) {
		etag = s3_ver_etag(&c->ver);
		sent = s3_etag_put(s, etag);
		s3_req_head(q, "if-match", sent);
	}
}

/* Digests of the body, and their headers. */
static int
put_body(struct s3 *s, struct be_ctx *ctx, const struct s3_put *p,
	 struct s3_req *q, char **snapshot, struct s3_digest *d)
{
	unsigned want = s->https ? 0 : S3_WANT_SHA256;
	int ret = 0;

	if (s->facts.etag_md5 && s->facts.sum != S3_SUM_NONE)
		want |= S3_WANT_MD5;
	s3_digest_init(d, s->crc, want, s->facts.sum);
	q->body_len = p->size;
	if (p->body) {
		q->body = p->body;
		s3_digest_add(d, p->body, p->size);
	} else if (p->size <= SNAPSHOT_MAX) {
		*snapshot = xmalloc(p->size + 1);
		for (size_t have = 0; have < p->size && ret == 0;) {
			ssize_t n = pread(p->fd, *snapshot + have,
					  p->size - have, have);

			if (n > 0)
				have += n;
			else if (n == 0)
				ret = -ENODATA;
			else if (errno != EINTR)
				ret = -errno;
		}
		q->body = *snapshot;
		if (ret == 0)
			s3_digest_add(d, *snapshot, p->size);
	} else {
		q->fd = p->fd;
		ret = s3_digest_fd(d, p->fd, 0, p->size);
	}
	if (ret < 0)
		return be_fail(ctx, ret, false,
			       "reading the bytes to send: %s",
			       ret == -ENODATA ? "the file became shorter" :
						 strerror(-ret));
	s3_digest_final(d);
	if (d->sha_hex[0])
		memcpy(q->payload, d->sha_hex, sizeof(q->payload));
	s3_sum_add(q, d);
	return 0;
}

/* What the object is after a PUT with these headers. */
static struct s3_head *
head_sent(const struct s3_req *q, const char *etag, uint64_t size)
{
	struct s3_head *h = s3_head_new(etag, size, 0, s3_req_date(q));

	for (size_t i = 0; i < q->head.n; i++) {
		const struct s3_field *f = &q->head.v[i];

		if (strncmp(f->name, S3_META, strlen(S3_META)) == 0 ||
		    strcmp(f->name, "content-type") == 0 ||
		    strcmp(f->name, "cache-control") == 0 ||
		    strcmp(f->name, "content-disposition") == 0 ||
		    strcmp(f->name, "content-encoding") == 0 ||
		    strcmp(f->name, "content-language") == 0 ||
		    strcmp(f->name, "expires") == 0 ||
		    strcmp(f->name, "x-amz-storage-class") == 0 ||
		    strcmp(f->name, "x-amz-website-redirect-location") == 0)
			s3_fields_add(&h->keep, f->name, f->value);
	}
	return h;
}

enum put_verdict { PUT_DONE, PUT_AGAIN, PUT_FAILED };

/*
 * The answer to one try.  PUT_AGAIN: other bytes than ours are under our
 * operation id, or the bytes changed while they were sent; *cond then says what
 * to replace.
 */
static enum put_verdict
put_verdict(struct s3 *s, struct be_ctx *ctx, const struct s3_put *p,
	    struct s3_req *q, const struct s3_digest *d, struct be_cond *cond,
	    struct s3_head **out, int *ret)
{
	const char *etag = s3_reply_get(&q->reply, "etag");
	_cleanup_head_ struct s3_head *h = NULL;
	_cleanup_free_ char *bare = NULL;

	if (q->e.code == 0) {
		bare = xstrdup(etag ? etag : "");
		s3_etag_bare(bare);
		if (!*bare || strlen(bare) > BE_VER_MAX) {
			*ret = be_fail(ctx, -EIO, true,
				       "PUT s3://%s/%s: a reply without ETag",
				       s->bucket, p->key);
			return PUT_FAILED;
		}
		h = head_sent(q, bare, p->size);
	} else if (q->e.class == S3_CLASS_BODY) {
		return PUT_AGAIN;
	} else if (q->e.class == S3_CLASS_COND ||
		   (q->e.code == -ENOENT && cond->pre == BE_MATCH)) {
		/* A lost reply is not a lost race. */
		*ret = s3_ours(s, ctx, p->key, p->opid, &h);
		if (*ret == 0) {
			atomic_fetch_add(&s->conflicts, 1);
			*ret = s3_cond_error(ctx, &p->cond, p->key);
		}
		if (*ret < 0)
			return PUT_FAILED;
	} else {
		*ret = s3_req_fail(s, ctx, q);
		return PUT_FAILED;
	}
	if (h->size != p->size ||
	    (d->md5_hex[0] && s->facts.etag_md5 && !h->opaque &&
	     s3_etag_is_md5(h->etag) && strcasecmp(h->etag, d->md5_hex) != 0)) {
		cond->pre = BE_MATCH;
		be_ver_set(&cond->ver, h->etag, strlen(h->etag));
		return PUT_AGAIN;
	}
	s3_heads_set(s, p->key, h);
	*out = steal_ptr(&h);
	return PUT_DONE;
}

int
s3_put_object(struct s3 *s, struct be_ctx *ctx, const struct s3_put *p,
	      struct s3_head **out)
{
	struct be_cond cond = p->cond;
	struct be_attr attr = *p->attr;

	if (attr.ino <= 1 && p->old) {
		struct be_attr was;

		s3_meta_attr(&s->meta, p->old, p->key, &was);
		attr.ino = was.ino;
	} else if (attr.ino <= 1) {
		attr.ino = s3_meta_ino_new();
	}
	for (int i = 0; i < TRIES; i++) {
		_cleanup_req_ struct s3_req q = { 0 };
		_cleanup_digest_ struct s3_digest d = { 0 };
		_cleanup_free_ char *snapshot = NULL;
		struct s3_req *v = &q;
		enum put_verdict verdict;
		int ret;

		s3_req_init(&q, S3_PUT, "PUT", p->key);
		ret = s3_meta_put(&s->meta, &attr, p->old, true, NULL, p->opid,
				  &q.head);
		if (ret < 0)
			return be_fail(ctx, ret, false,
				       "the metadata of %s is over 2 KB", p->key);
		if (!s3_fields_get(&q.head, "content-type"))
			s3_req_head(&q, "content-type", p->type);
		s3_new_object_headers(s, &q);
		put_condition(s, &q, &cond);
		ret = put_body(s, ctx, p, &q, &snapshot, &d);
		if (ret < 0)
			return ret;
		if (!honoured(s, &cond)) {
			ret = s3_cond_look(s, ctx, p->key, &cond, p->opid, out);
			if (ret != 0)
				return ret < 0 ? ret : 0;
		}
		ret = s3_run(s, ctx, &v, 1);
		if (ret < 0)
			return ret;
		verdict = put_verdict(s, ctx, p, &q, &d, &cond, out, &ret);
		if (verdict == PUT_DONE)
			return 0;
		if (verdict == PUT_FAILED)
			return ret;
	}
	return be_fail(ctx, -EIO, true,
		       "PUT s3://%s/%s: the bytes changed each time while they"
		       " were sent",
		       s->bucket, p->key);
}

/* --- operations -------------------------------------------------------------------------- */

int
s3_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	struct s3 *s = to_s3(be);

	if (c->whole)
		return 0;
	if (c->size > s->part_size)
		s3_multipart_need(s, c, need);
	else if (c->base_size)
		rangeset_add(need, 0,
			     c->size < c->base_size ? c->size : c->base_size);
	return 0;
}

/* What is replaced, for its other headers.  1: it is ours already. */
static int
commit_old(struct s3 *s, struct be_ctx *ctx, const char *key,
	   const struct be_commit *c, struct s3_head **old)
{
	_cleanup_free_ char *etag = NULL;
	int ret;

	switch (c->cond.pre) {
	case BE_ABSENT:
		/* A multipart is too much to send for nothing. */
		if (c->size <= s->part_size ||
		    (ctx->attempt == 0 && s3_ahead_usable(s, key, c)))
			return 0;
		return s3_cond_look(s, ctx, key, &c->cond, &c->opid, old);
	case BE_MATCH:
		etag = s3_ver_etag(&c->cond.ver);
		*old = s3_heads_get(s, key, etag);
		if (*old && ctx->attempt == 0)
			return 0;
		s3_head_put(*old);
		*old = NULL;
		ret = s3_look(s, ctx, key, old);
		break;
	default:
		ret = s3_look(s, ctx, key, old);
		break;
	}
	if (ret < 0)
		return ret;
	if (*old && ctx->attempt > 0 && s3_head_has_op(*old, &c->opid) &&
	    (*old)->size == c->size && c->size > s->part_size)
		return 1;
	if (c->cond.pre == BE_MATCH &&
	    !(*old && (strcmp((*old)->etag, etag) == 0 ||
		       s3_head_has_op(*old, &c->opid)))) {
		atomic_fetch_add(&s->conflicts, 1);
		return s3_cond_error(ctx, &c->cond, key);
	}
	return 0;
}

/* be_commit.look */
static int
commit_look(struct s3 *s, struct be_ctx *ctx, const char *key,
	    const struct be_commit *c, struct s3_head **now)
{
	int ret = s3_ours(s, ctx, key, &c->opid, now);

	if (ret == 0)
		return be_fail(ctx, -ESTALE, false,
			       "%s has another version now", key);
	return ret < 0 ? ret : 1;
}

int
s3_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	  struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	_cleanup_head_ struct s3_head *old = NULL, *now = NULL;
	_cleanup_free_ char *key = NULL;
	struct be_attr attr = *c->attr;
	struct be_commit c2 = *c;
	bool tried = false;
	int ret;

	if (!*c->path)
		return be_fail(ctx, -EISDIR, false, "the root is a directory");
	if (c->size > s->be.caps.file_max)
		return be_fail(ctx, -EFBIG, false, "larger than S3 takes");
	ret = s3_key_file(ctx, s->prefix, c->path, &key);
	if (ret == 0)
		ret = c->look ? commit_look(s, ctx, key, c, &old) :
				commit_old(s, ctx, key, c, &old);
	if (ret < 0)
		return ret;
	if ((attr.mode & S_IFMT) != S_IFREG)
		attr.mode = S_IFREG | (attr.mode & 07777);
	c2.attr = &attr;
	if (ret == 1)
		now = steal_ptr(&old);
	if (s3_ahead_usable(s, key, &c2)) {
		ret = s3_ahead_commit(s, ctx, key, &c2, &now);
		tried = ret != 1;
	}
	if (now || tried) {
		;
	} else if (c->size > s->part_size) {
		ret = s3_multipart_commit(s, ctx, key, &c2, old, &now);
	} else {
		bool absent = s3_heads_recent(s, key, S3_RECENT_ABSENT, NULL);
		struct s3_put p = {
			.key = key, .cond = c->cond, .opid = &c->opid,
			.fd = c->fd, .size = c->size, .attr = &attr,
			.old = old, .type = s3_content_type(c->path),
		};

		ret = s3_put_object(s, ctx, &p, &now);
		if (ret == 0 && absent)
			s3_heads_plain(s, key, now);
	}
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, key, out);
	return 0;
}

/* A new name with a small body of our own. */
static int
put_new(struct s3 *s, struct be_ctx *ctx, const char *path, const void *body,
	size_t size, const struct be_attr *attr, const struct be_opid *opid,
	struct be_attr *out)
{
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_free_ char *key = NULL;
	bool absent;
	struct s3_put p = {
		.cond = { .pre = BE_ABSENT }, .opid = opid, .body = body,
		.fd = -1, .size = size, .attr = attr,
		.type = S_ISREG(attr->mode) ? s3_content_type(path) :
					      "application/octet-stream",
	};
	int ret;

	if (!*path)
		return be_fail(ctx, -EEXIST, false, "the root is there");
	ret = s3_key_file(ctx, s->prefix, path, &key);
	p.key = key;
	if (ret < 0)
		return ret;
	absent = s3_heads_recent(s, key, S3_RECENT_ABSENT, NULL);
	ret = s3_put_object(s, ctx, &p, &now);
	if (ret < 0)
		return ret;
	if (absent)
		s3_heads_plain(s, key, now);
	s3_meta_attr(&s->meta, now, key, out);
	return 0;
}

int
s3_create(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_attr *attr, const struct be_opid *opid,
	  struct be_attr *out)
{
	struct be_attr a = *attr;

	if ((a.mode & S_IFMT) == 0)
		a.mode |= S_IFREG;
	if (!S_ISREG(a.mode) && !S_ISFIFO(a.mode) && !S_ISSOCK(a.mode))
		return be_fail(ctx, -EPERM, false, "no devices on s3");
	return put_new(to_s3(be), ctx, path, "", 0, &a, opid, out);
}

int
s3_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	   const char *target, const struct be_attr *attr,
	   const struct be_opid *opid, struct be_attr *out)
{
	struct be_attr a = *attr;
	size_t n = strlen(target);

	if (n == 0)
		return be_fail(ctx, -ENOENT, false, "an empty target");
	if (n >= 4096)
		return be_fail(ctx, -ENAMETOOLONG, false, "the target is too long");
	a.mode = S_IFLNK | 0777;
	return put_new(to_s3(be), ctx, path, target, n, &a, opid, out);
}

int
s3_put_marker(struct s3 *s, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid,
	      const struct be_attr *attr, const struct s3_head *old,
	      struct s3_head **out)
{
	_cleanup_free_ char *key = NULL;
	struct be_attr a = *attr;
	struct s3_put p = { .cond = *cond, .opid = opid, .body = "", .fd = -1,
			    .attr = &a, .old = old, .type = S3_DIR_TYPE };
	int ret = s3_key_marker(ctx, s->prefix, path, &key);

	if (ret < 0)
		return ret;
	a.mode = S_IFDIR | (a.mode & 07777);
	p.key = key;
	ret = s3_put_object(s, ctx, &p, out);
	if (ret == 0) {
		/* It may be remembered that nothing has that name. */
		key[strlen(key) - 1] = '\0';
		s3_heads_drop(s, key);
	}
	return ret;
}

int
s3_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_attr *attr, const struct be_opid *opid,
	 struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	const struct be_cond absent = { .pre = BE_ABSENT };
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_stat_ struct s3_stat st = { 0 };
	_cleanup_free_ char *marker = NULL, *key = NULL;
	int ret;

	if (!*path)
		return be_fail(ctx, -EEXIST, false, "the root is there");
	ret = s3_key_marker(ctx, s->prefix, path, &marker);
	if (ret == 0)
		ret = s3_key_file(ctx, s->prefix, path, &key);
	if (ret < 0)
		return ret;
	/* The kernel's lookup usually just asked. */
	if (!s3_heads_recent(s, key, S3_RECENT_ABSENT, NULL))
		ret = s3_stat(s, ctx, path, BE_HINT_NONE, &st);
	if (ret < 0)
		return ret;
	if (st.what != S3_NONE &&
	    !(st.what == S3_DIR && st.head && s3_head_has_op(st.head, opid)))
		return be_fail(ctx, -EEXIST, false, "%s is there already", path);
	if (st.what == S3_DIR)
		now = s3_head_ref(st.head);
	else
		ret = s3_put_marker(s, ctx, path, &absent, opid, attr, NULL,
				    &now);
	s3_heads_drop(s, key);
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, marker, out);
	out->ver.len = 0;
	return 0;
}
