/* SPDX-License-Identifier: MIT */
/* Reading: whole files, ranges of one version, targets of symlinks. */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"

#define READ_PIECE (8u * 1024 * 1024) /* of a long read, in parallel */
#define HEDGE_MAX (1u * 1024 * 1024) /* larger ones are not asked twice */
#define READ_PIECES 4		      /* bound of the memory they wait in */
#define BAD_BYTES_TRIES 4

/* --- a whole file ----------------------------------------------------------------- */

struct taker {
	struct s3 *s;
	const char *key;
	const struct be_sink *sink;
	uint64_t max, off;
	struct s3_head *head;
	struct be_attr attr;
	struct s3_digest digest;
	bool begun, whole, check_md5;
	const char *sum; /* of the reply, checked if not NULL */
};

/* Once the headers are here: what is it, and how is it checked? */
static int
taker_begin(struct taker *t, const struct s3_reply *r)
{
	enum s3_sum kind = S3_SUM_NONE;
	static const enum s3_sum kinds[] = { S3_SUM_CRC64NVME, S3_SUM_CRC32C,
					     S3_SUM_SHA256 };

	t->begun = true;
	t->head = s3_head_from(r);
	if (!t->head)
		return -EPROTO;
	s3_meta_attr(&t->s->meta, t->head, t->key, &t->attr);
	if (!S_ISREG(t->attr.mode))
		return S_ISDIR(t->attr.mode) ? -EISDIR : -ELOOP;
	t->whole = t->head->size <= t->max;
	if (t->whole) {
		t->check_md5 = t->s->facts.etag_md5 && !t->head->opaque &&
			       s3_etag_is_md5(t->head->etag);
		for (size_t i = 0; i < 3 && !t->sum; i++) {
			t->sum = s3_reply_get(r, s3_sum_header(kinds[i]));
			/* "…-3" is a checksum of checksums */
			if (t->sum && strchr(t->sum, '-'))
				t->sum = NULL;
			if (t->sum)
				kind = kinds[i];
		}
	}
	s3_digest_init(&t->digest, t->s->crc, t->check_md5 ? S3_WANT_MD5 : 0,
		       kind);
	return 0;
}

static int
taker_body(void *arg, const struct s3_reply *r, const void *p, size_t n)
{
	struct taker *t = arg;
	int ret;

	if (!t->begun) {
		ret = taker_begin(t, r);
		if (ret < 0)
			return ret;
	}
	/* A server that ignores Range. */
	if (n > t->max - t->off)
		n = t->max - t->off;
	if (n == 0)
		return 0;
	s3_digest_add(&t->digest, p, n);
	ret = t->sink->write(t->sink->arg, p, n, t->off);
	t->off += n;
	return ret;
}

/* Everything came; is it what the store says it has? */
static int
taker_check(struct taker *t, struct be_ctx *ctx)
{
	uint64_t want = t->head->size < t->max ? t->head->size : t->max;
	bool wrong_sum, later;

	if (t->off != want)
		return be_fail(ctx, -EIO, true,
			       "GET s3://%s/%s: %" PRIu64 " bytes instead of %" PRIu64,
			       t->s->bucket, t->key, t->off, want);
	s3_digest_final(&t->digest);
	wrong_sum = t->sum && strcmp(t->sum, t->digest.sum_b64) != 0;
	if (!wrong_sum && !(t->check_md5 &&
			    strcasecmp(t->digest.md5_hex, t->head->etag) != 0))
		return 0;
	/* Wrong bytes that come again and again are not passing; what else
	 * went wrong meanwhile says nothing about them. */
	later = ++ctx->bad_bytes < BAD_BYTES_TRIES;
	return be_fail(ctx, -EIO, later,
		       "GET s3://%s/%s: the bytes don't match %s", t->s->bucket,
		       t->key,
		       wrong_sum ? s3_sum_header(t->digest.sum) : "the ETag");
}

static void
taker_release(struct taker *t)
{
	s3_head_put(t->head);
	s3_digest_release(&t->digest);
}
#define _cleanup_taker_ __attribute__((cleanup(taker_release)))

/* Nothing of that name as a file: is it a directory? */
static int
missing(struct s3 *s, struct be_ctx *ctx, const char *path)
{
	_cleanup_free_ char *below = s3_key_below(s->prefix, path);
	struct s3_entries l = { 0 };
	bool dir;
	int ret = s3_list_keys(s, ctx, below, 1, &l);

	if (ret < 0)
		return ret;
	dir = l.n > 0;
	s3_entries_release(&l);
	return dir ? be_fail(ctx, -EISDIR, false, "%s is a directory", path) :
		     be_fail(ctx, -ENOENT, false, "no object s3://%s/%s%s",
			     s->bucket, s->prefix, path);
}

/* The version is still `have`: 304 may lack all but that. */
static int
unchanged(struct s3 *s, struct be_ctx *ctx, const char *key, const char *etag,
	  const struct s3_reply *r, struct be_attr *out)
{
	time_t modified = s3_http_date(s3_reply_get(r, "last-modified"));
	_cleanup_head_ struct s3_head *h = s3_heads_get(s, key, etag);
	int ret;

	if (!h) {
		ret = s3_look(s, ctx, key, &h);
		if (ret < 0)
			return ret;
		if (!h || strcmp(h->etag, etag) != 0)
			return -ESTALE;
		s3_meta_attr(&s->meta, h, key, out);
		return 1;
	}
	s3_meta_attr(&s->meta, h, key, out);
	if (!modified || modified != h->modified || out->aver == 0) {
		out->mode = 0;
		out->aver = 0;
		out->flags |= BE_ATTR_PARTIAL;
	}
	return 1;
}

/* beside: asked at the same time; NULL: nothing. */
static int
get_whole(struct s3 *s, struct be_ctx *ctx, struct taker *t, const char *etag,
	  bool ranged, struct s3_req *q, struct s3_req *beside)
{
	struct s3_req *v[2] = { q, beside };

	s3_req_init(q, S3_GET, "GET", t->key);
	if (ranged) {
		char range[64];

		snprintf(range, sizeof(range), "bytes=0-%" PRIu64, t->max - 1);
		s3_req_head(q, "range", range);
	}
	if (etag) {
		_cleanup_free_ char *quoted = xasprintf("\"%s\"", etag);

		s3_req_head(q, "if-none-match", quoted);
	}
	s3_req_head(q, "x-amz-checksum-mode", "ENABLED");
	q->on_body = taker_body;
	q->arg = t;
	return s3_run(s, ctx, v, beside ? 2 : 1);
}

/* What was asked for beside a name that nobody has looked at: a directory of that
 * name is what the name is. */
static int
is_directory(struct s3 *s, struct be_ctx *ctx, const char *path,
	     struct s3_beside *b, const struct s3_req *q)
{
	int ret = s3_beside_answer(s, ctx, b);

	if (ret > 0)
		return be_fail(ctx, -EISDIR, false, "%s is a directory", path);
	if (ret == 0 && q->e.code == -ENOENT) {
		s3_heads_plain(s, q->key, NULL);
		return be_fail(ctx, -ENOENT, false, "no object s3://%s/%s",
			       s->bucket, q->key);
	}
	return ret;
}

static int
fetch_once(struct s3 *s, struct be_ctx *ctx, const char *path, const char *key,
	   const char *etag, uint64_t max, const struct be_sink *sink,
	   struct be_attr *out, uint64_t *got)
{
	_cleanup_taker_ struct taker t = { .s = s, .key = key, .sink = sink,
					   .max = max };
	_cleanup_beside_ struct s3_beside beside = { 0 };
	_cleanup_req_ struct s3_req q = { 0 };
	bool unseen = ctx->unseen;
	int ret = unseen ? s3_beside_req(s, ctx, path, &beside) : 0;

	/* Nobody asks for 2^63 bytes: such a max means the whole file. */
	if (ret == 0)
		ret = get_whole(s, ctx, &t, etag, max < INT64_MAX, &q,
				unseen ? &beside.q : NULL);
	if (ret == 0 && unseen)
		ret = is_directory(s, ctx, path, &beside, &q);
	if (ret < 0)
		return ret;
	if (q.e.code == -ERANGE) {
		/* An empty object has no byte 0. */
		s3_req_release(&q);
		ret = get_whole(s, ctx, &t, etag, false, &q, NULL);
		if (ret < 0)
			return ret;
	}
	if (q.e.code == -ENOENT)
		return missing(s, ctx, path);
	if (q.reply.status == 304 && etag)
		return unchanged(s, ctx, key, etag, &q.reply, out);
	if (q.reply.taker && q.reply.taker != -EPROTO) {
		ret = q.reply.taker;
		if (ret == -EISDIR || ret == -ELOOP)
			s3_heads_set(s, key, t.head);
		return be_fail(ctx, ret, false, "GET s3://%s/%s: %s", s->bucket,
			       key, strerror(-ret));
	}
	if (q.reply.taker == 0 && q.e.code)
		return s3_req_fail(s, ctx, &q);
	if (!t.begun)
		ret = taker_begin(&t, &q.reply);
	if (ret == -EPROTO || q.reply.taker)
		return be_fail(ctx, -EIO, true,
			       "GET s3://%s/%s: a reply without ETag or length",
			       s->bucket, key);
	if (ret < 0)
		return be_fail(ctx, ret, false, "s3://%s/%s: %s", s->bucket,
			       key, strerror(-ret));
	ret = taker_check(&t, ctx);
	if (ret < 0)
		return ret;
	if (unseen)
		s3_heads_plain(s, key, t.head);
	else
		s3_heads_set(s, key, t.head);
	*out = t.attr;
	*got = t.off;
	return 0;
}

/* Attributes only. */
static int
fetch_nothing(struct s3 *s, struct be_ctx *ctx, const char *path,
	      const char *key, const char *etag, struct be_attr *out,
	      uint64_t *got)
{
	_cleanup_head_ struct s3_head *h = NULL;
	int ret = s3_look(s, ctx, key, &h);

	if (ret < 0)
		return ret;
	if (!h)
		return missing(s, ctx, path);
	s3_meta_attr(&s->meta, h, key, out);
	if (!S_ISREG(out->mode))
		return be_fail(ctx, S_ISDIR(out->mode) ? -EISDIR : -ELOOP,
			       false, "s3://%s/%s is no plain file", s->bucket,
			       key);
	*got = 0;
	return etag && strcmp(etag, h->etag) == 0;
}

int
s3_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	 struct be_attr *out, uint64_t *got)
{
	struct s3 *s = to_s3(be);
	_cleanup_free_ char *key = NULL, *etag = NULL;
	struct be_attr a;
	int ret;

	if (!*path)
		return be_fail(ctx, -EISDIR, false, "the root is a directory");
	ret = s3_key_file(ctx, s->prefix, path, &key);
	if (ret < 0)
		return ret;
	if (have)
		etag = s3_ver_etag(have);
	if (max == 0) {
		ret = fetch_nothing(s, ctx, path, key, etag, &a, got);
	} else {
		ret = fetch_once(s, ctx, path, key, etag, max, sink, &a, got);
		/* It changed between the 304 and the look behind it. */
		if (ret == -ESTALE && etag)
			ret = fetch_once(s, ctx, path, key, NULL, max, sink, &a,
					 got);
	}
	if (ret >= 0)
		*out = a;
	return ret;
}

/* --- ranges of one version --------------------------------------------------------------- */

struct piece {
	struct s3_req q;
	char *p; /* memory it waits in; NULL: goes to the sink */
	const struct be_sink *sink;
	const char *etag;
	uint64_t off, len, done;
	bool begun;
};

static int
piece_body(void *arg, const struct s3_reply *r, const void *p, size_t n)
{
	struct piece *pc = arg;
	int ret = 0;

	if (!pc->begun) {
		const char *etag = s3_reply_get(r, "etag");
		_cleanup_free_ char *bare = etag ? xstrdup(etag) : NULL;

		pc->begun = true;
		if (bare)
			s3_etag_bare(bare);
		if (!bare || strcmp(bare, pc->etag) != 0)
			return -ESTALE;
		if (!s3_reply_begins_at(r, pc->off))
			return -EPROTO;
	}
	if (n > pc->len - pc->done) /* a server that ignores Range */
		n = pc->len - pc->done;
	if (n == 0)
		return 0;
	if (pc->p)
		memcpy(pc->p + pc->done, p, n);
	else
		ret = pc->sink->write(pc->sink->arg, p, n, pc->off + pc->done);
	pc->done += n;
	return ret;
}

static void
piece_init(struct piece *pc, const char *key, const char *etag, uint64_t off,
	   uint64_t len)
{
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", etag);
	char range[64];

	memset(pc, 0, sizeof(*pc));
	pc->etag = etag;
	pc->off = off;
	pc->len = len;
	s3_req_init(&pc->q, S3_GET, "GET", key);
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, off,
		 off + len - 1);
	s3_req_head(&pc->q, "range", range);
	s3_req_head(&pc->q, "if-match", quoted);
	pc->q.large = len > HEDGE_MAX;
	pc->q.on_body = piece_body;
	pc->q.arg = pc;
}

static int
piece_result(struct s3 *s, struct be_ctx *ctx, struct piece *pc)
{
	uint64_t size;

	/* Behind the end: of this version? */
	if (pc->q.e.code == -ERANGE) {
		_cleanup_head_ struct s3_head *h = NULL;
		int ret = s3_look(s, ctx, pc->q.key, &h);

		if (ret < 0 || (h && strcmp(h->etag, pc->etag) == 0))
			return ret;
		return be_fail(ctx, -ESTALE, false,
			       "s3://%s/%s has another version now", s->bucket,
			       pc->q.key);
	}
	if (pc->q.reply.taker == -ESTALE || pc->q.e.code == -ENOENT ||
	    pc->q.e.class == S3_CLASS_COND)
		return be_fail(ctx, -ESTALE, false,
			       "s3://%s/%s has another version now", s->bucket,
			       pc->q.key);
	if (pc->q.reply.taker == -EPROTO)
		return be_fail(ctx, -EIO, true,
			       "GET s3://%s/%s: not the range that was asked for",
			       s->bucket, pc->q.key);
	if (pc->q.reply.taker)
		return be_fail(ctx, pc->q.reply.taker, false,
			       "GET s3://%s/%s: %s", s->bucket, pc->q.key,
			       strerror(-pc->q.reply.taker));
	if (pc->q.e.code)
		return s3_req_fail(s, ctx, &pc->q);
	size = s3_reply_total(&pc->q.reply);
	if (pc->done < pc->len && pc->off + pc->done != size)
		return be_fail(ctx, -EIO, true,
			       "GET s3://%s/%s: the body is cut short",
			       s->bucket, pc->q.key);
	return 0;
}

/* One wave of pieces; the first goes straight to the sink. */
static int
read_wave(struct s3 *s, struct be_ctx *ctx, const char *key, const char *etag,
	  uint64_t off, uint64_t len, const struct be_sink *sink, uint64_t *got)
{
	struct piece pc[READ_PIECES];
	struct s3_req *v[READ_PIECES];
	size_t n = 0;
	int ret;

	*got = 0;
	while (len && n < READ_PIECES) {
		uint64_t part = len;

		if (part > READ_PIECE)
			part = READ_PIECE;
		piece_init(&pc[n], key, etag, off, part);
		pc[n].sink = sink;
		if (n)
			pc[n].p = xmalloc(part);
		v[n] = &pc[n].q;
		n++;
		off += part;
		len -= part;
	}
	ret = s3_run(s, ctx, v, n);
	for (size_t i = 0; i < n; i++) {
		bool last;

		if (ret == 0)
			ret = piece_result(s, ctx, &pc[i]);
		last = pc[i].done < pc[i].len;
		if (ret == 0 && pc[i].p && pc[i].done)
			ret = sink->write(sink->arg, pc[i].p, pc[i].done,
					  pc[i].off);
		if (ret == 0)
			*got += pc[i].done;
		if (ret == 0 && last)
			ret = 1; /* the end of the file */
	}
	for (size_t i = 0; i < n; i++) {
		free(pc[i].p);
		s3_req_release(&pc[i].q);
	}
	return ret;
}

int
s3_read(struct backend *be, struct be_ctx *ctx, const char *path,
	const struct be_ver *ver, uint64_t off, uint64_t len,
	const struct be_sink *sink, uint64_t *got)
{
	struct s3 *s = to_s3(be);
	_cleanup_free_ char *key = NULL;
	_cleanup_free_ char *etag = s3_ver_etag(ver);
	uint64_t sum = 0;
	int ret;

	if (!*path)
		return be_fail(ctx, -EISDIR, false, "the root is a directory");
	ret = s3_key_file(ctx, s->prefix, path, &key);
	if (ret < 0)
		return ret;
	while (ret == 0 && sum < len) {
		uint64_t n;

		ret = read_wave(s, ctx, key, etag, off + sum, len - sum, sink,
				&n);
		if (ret >= 0)
			sum += n;
	}
	if (ret < 0)
		return ret;
	*got = sum;
	return 0;
}

/* --- symlinks ------------------------------------------------------------------------------ */

static int
link_body(void *arg, const struct s3_reply *r, const void *p, size_t n)
{
	struct buf *b = arg;

	if (b->len + n > 4096)
		return -ENAMETOOLONG;
	buf_add(b, p, n);
	return 0;
}

int
s3_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
	    char **target)
{
	struct s3 *s = to_s3(be);
	_cleanup_buf_ struct buf body = BUF_INIT;
	_cleanup_free_ char *key = NULL;
	_cleanup_head_ struct s3_head *h = NULL;
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;
	struct be_attr a;
	int ret;

	if (!*path)
		return be_fail(ctx, -EINVAL, false, "the root is no symlink");
	ret = s3_key_file(ctx, s->prefix, path, &key);
	if (ret < 0)
		return ret;
	s3_req_init(&q, S3_GET, "GET", key);
	/* Never pull a large file to learn that it is no link. */
	s3_req_head(&q, "range", "bytes=0-4095");
	q.on_body = link_body;
	q.arg = &body;
	ret = s3_run(s, ctx, &v, 1);
	if (ret < 0)
		return ret;
	if (q.e.code == -ENOENT) {
		ret = missing(s, ctx, path);
		return ret == -EISDIR ? be_fail(ctx, -EINVAL, false,
						"%s is a directory", path) :
					ret;
	}
	if (q.e.code == -ERANGE || q.reply.taker)
		return be_fail(ctx, -EINVAL, false, "%s is no symlink", path);
	if (q.e.code)
		return s3_req_fail(s, ctx, &q);
	h = s3_head_from(&q.reply);
	if (!h)
		return be_fail(ctx, -EIO, true, "GET s3://%s/%s: broken reply",
			       s->bucket, key);
	s3_meta_attr(&s->meta, h, key, &a);
	if (!S_ISLNK(a.mode) || memchr(buf_str(&body), 0, body.len))
		return be_fail(ctx, -EINVAL, false, "%s is no symlink", path);
	if (body.len != h->size)
		return be_fail(ctx, -EIO, true,
			       "GET s3://%s/%s: the body is cut short",
			       s->bucket, key);
	*target = buf_steal(&body);
	return 0;
}
