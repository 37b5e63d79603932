/* SPDX-License-Identifier: MIT */
/*
 * What this bucket and these credentials can do, found by trying it on scratch
 * objects with random names below the prefix.  Stores differ widely and old
 * ones ignore conditions silently, so nothing is believed from names.
 *
 * What does not build on each other is tried at the same time, each on an
 * object of its own: a mount waits for seven round trips, not for twenty.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define BODY "sharedfs probe"
#define WRONG "00000000000000000000000000000000"

struct probe {
	struct s3 *s;
	struct be_ctx *ctx;
	char *key;
	char *etag; /* of the scratch object now; NULL: there is none */
	struct s3_facts *f; /* each probe writes facts of its own */
	int status; /* of the last request */
};

/* Only what may pass by itself, or is not an answer, ends the probe. */
static int
ask(struct probe *p, struct s3_req *q)
{
	struct s3_req *v = q;
	int ret = s3_run(p->s, p->ctx, &v, 1);

	if (ret < 0)
		return ret;
	p->status = q->e.status;
	if (q->e.class == S3_CLASS_LATER || q->e.status == 0)
		return s3_req_fail(p->s, p->ctx, q);
	return 0;
}

static void
note_made(struct probe *p, const struct s3_req *q)
{
	const char *etag = s3_reply_get(&q->reply, "etag");

	if (q->e.code != 0 || !etag)
		return;
	free(p->etag);
	p->etag = xstrdup(etag);
	s3_etag_bare(p->etag);
}

/* PUT of the scratch object with one more header. */
static int
put(struct probe *p, const char *name, const char *value)
{
	_cleanup_req_ struct s3_req q = { 0 };
	int ret;

	s3_req_init(&q, S3_PUT, "PUT", p->key);
	q.body = BODY;
	q.body_len = strlen(BODY);
	s3_new_object_headers(p->s, &q);
	if (name)
		s3_req_head(&q, name, value);
	ret = ask(p, &q);
	note_made(p, &q);
	return ret;
}

/* --- the steps ------------------------------------------------------------------- */

static int
step_list(struct probe *p)
{
	_cleanup_req_ struct s3_req q = { 0 };
	int ret;

	s3_req_init(&q, S3_LIST, "GET", NULL);
	s3_list_req(&q, p->s->prefix, false, 1, NULL);
	ret = ask(p, &q);
	if (ret < 0)
		return ret;
	if (q.e.code == -EACCES && q.e.xml.code &&
	    strcmp(q.e.xml.code, "AccessDenied") == 0)
		return be_fail(p->ctx, -EACCES, false,
			       "these credentials may not list the bucket %s"
			       " (s3:ListBucket is needed; is the bucket's name"
			       " right?)",
			       p->s->bucket);
	if (q.e.code == -ENXIO && q.e.xml.code &&
	    strcmp(q.e.xml.code, "NoSuchBucket") == 0)
		return be_fail(p->ctx, -ENXIO, false,
			       "there is no bucket %s on this server (make it,"
			       " or correct the source)",
			       p->s->bucket);
	if (q.e.code)
		return s3_req_fail(p->s, p->ctx, &q);
	if (!q.reply.body.len ||
	    !memmem(q.reply.body.s, q.reply.body.len, "ListBucketResult", 16))
		return be_fail(p->ctx, -EPROTO, false,
			       "the endpoint does not answer like S3 (check"
			       " endpoint=)");
	return 0;
}

/* 1: writing is not allowed. */
static int
step_put_absent(struct probe *p)
{
	int ret = put(p, "if-none-match", "*");

	if (ret < 0)
		return ret;
	if (p->status == 501 || p->status == 400)
		return put(p, NULL, NULL);
	if (p->status == 403 || p->status == 405)
		return 1;
	if (p->status != 200)
		return 0;
	ret = put(p, "if-none-match", "*");
	p->f->put_absent = p->status == 412;
	return ret;
}

static int
step_put_match(struct probe *p)
{
	_cleanup_free_ char *quoted = NULL;
	int ret = put(p, "if-match", "\"" WRONG "\"");

	if (ret < 0 || p->status != 412)
		return ret;
	quoted = xasprintf("\"%s\"", p->etag);
	ret = put(p, "if-match", quoted);
	if (ret < 0)
		return ret;
	if (p->status == 200) {
		p->f->put_match = true;
		return 0;
	}
	/* Some compare with the quotes. */
	ret = put(p, "if-match", p->etag);
	if (ret < 0 || p->status != 200)
		return ret;
	ret = put(p, "if-match", WRONG);
	p->f->put_match = p->f->match_bare = p->status == 412;
	return ret;
}

/* Is the signed hash of the payload held against the bytes? */
static int
step_payload(struct probe *p)
{
	_cleanup_req_ struct s3_req q = { 0 };
	int ret;

	if (p->s->https)
		return 0; /* not sent */
	s3_req_init(&q, S3_PUT, "PUT", p->key);
	q.body = BODY;
	q.body_len = strlen(BODY);
	memcpy(q.payload, WRONG WRONG, sizeof(q.payload));
	ret = ask(p, &q);
	p->f->payload = ret == 0 && q.e.class == S3_CLASS_BODY;
	note_made(p, &q);
	return ret;
}

/* Is this checksum known to the store?  Then it is in the reply. */
static int
step_checksum(struct probe *p)
{
	static const enum s3_sum tries[] = { S3_SUM_CRC64NVME, S3_SUM_CRC32C,
					     S3_SUM_SHA256 };
	enum s3_sum want = p->s->want_sum;

	p->f->sum = S3_SUM_MD5;
	if (want == S3_SUM_NONE || want == S3_SUM_MD5) {
		p->f->sum = want;
		return 0;
	}
	for (size_t i = 0; i < 3; i++) {
		_cleanup_req_ struct s3_req q = { 0 };
		_cleanup_digest_ struct s3_digest d = { 0 };
		const char *name = s3_sum_header(tries[i]), *echo;
		int ret;

		if (want != S3_SUM_AUTO && want != tries[i])
			continue;
		s3_digest_init(&d, p->s->crc, 0, tries[i]);
		s3_digest_add(&d, BODY, strlen(BODY));
		s3_digest_final(&d);
		s3_req_init(&q, S3_PUT, "PUT", p->key);
		q.body = BODY;
		q.body_len = strlen(BODY);
		s3_new_object_headers(p->s, &q);
		s3_sum_add(&q, &d);
		ret = ask(p, &q);
		if (ret < 0)
			return ret;
		note_made(p, &q);
		echo = s3_reply_get(&q.reply, name);
		if (p->status == 200 && echo && strcmp(echo, d.sum_b64) == 0) {
			p->f->sum = tries[i];
			return 0;
		}
	}
	if (want != S3_SUM_AUTO)
		log_warn("s3", "the store does not know checksum=%s;"
			       " Content-MD5 is sent instead",
			 s3_sum_name(want));
	return 0;
}

static int
copy_once(struct probe *p, const char *name, const char *value)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_free_ char *source = s3_copy_source(p->s, p->key);
	int ret;

	s3_req_init(&q, S3_COPY, "PUT", p->key);
	s3_req_head(&q, "x-amz-copy-source", source);
	s3_req_head(&q, "x-amz-metadata-directive", "REPLACE");
	s3_new_object_headers(p->s, &q);
	s3_req_head(&q, name, value);
	ret = ask(p, &q);
	/* 200 with an <Error> in it. */
	if (ret == 0 && q.e.class == S3_CLASS_COND)
		p->status = 412;
	return ret;
}

/* Is the wrong version refused, and does the right one pass? */
static int
copy_compares(struct probe *p, const char *name, bool *does)
{
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", p->etag);
	int ret = copy_once(p, name, "\"" WRONG "\"");

	if (ret < 0 || p->status != 412)
		return ret;
	ret = copy_once(p, name, quoted);
	*does = p->status == 200;
	return ret;
}

static int
step_copy(struct probe *p)
{
	int ret = copy_once(p, "if-none-match", "*");

	if (ret < 0)
		return ret;
	p->f->copy_absent = p->status == 412;
	ret = copy_compares(p, "x-amz-copy-source-if-match",
			    &p->f->copy_source);
	if (ret == 0 && !p->f->copy_source)
		ret = copy_compares(p, S3_COPY_CEPH, &p->f->copy_ceph);
	return ret;
}

/* A multipart of one part over the scratch object. */
static int
step_complete(struct probe *p)
{
	_cleanup_req_ struct s3_req begin = { 0 }, part = { 0 }, done = { 0 },
				    stop = { 0 };
	_cleanup_free_ char *id = NULL, *etag = NULL, *body = NULL;
	const char *tag;
	int ret;

	s3_req_init(&begin, S3_MP_CREATE, "POST", p->key);
	s3_req_init(&part, S3_PART, "PUT", p->key);
	s3_req_init(&done, S3_MP_COMPLETE, "POST", p->key);
	s3_req_init(&stop, S3_MP_ABORT, "DELETE", p->key);
	s3_req_query(&begin, "uploads", "");
	s3_new_object_headers(p->s, &begin);
	ret = ask(p, &begin);
	if (ret < 0 || p->status != 200)
		return ret;
	ret = s3_xml_text(begin.reply.body.s, begin.reply.body.len,
			  "InitiateMultipartUploadResult", "UploadId", &id);
	if (ret < 0 || !id)
		return 0;
	s3_req_query(&part, "partNumber", "1");
	s3_req_query(&part, "uploadId", id);
	part.body = BODY;
	part.body_len = strlen(BODY);
	ret = ask(p, &part);
	tag = s3_reply_get(&part.reply, "etag");
	if (ret == 0 && p->status == 200 && tag) {
		etag = xstrdup(tag);
		s3_etag_bare(etag);
		body = xasprintf("<CompleteMultipartUpload><Part><PartNumber>1"
				 "</PartNumber><ETag>%s</ETag></Part>"
				 "</CompleteMultipartUpload>",
				 etag);
		s3_req_query(&done, "uploadId", id);
		s3_req_head(&done, "if-none-match", "*");
		done.body = body;
		done.body_len = strlen(body);
		ret = ask(p, &done);
		p->f->done_cond = ret == 0 && done.e.class == S3_CLASS_COND;
		if (ret == 0 && done.e.code == 0)
			return 0; /* made: nothing to abort */
	}
	s3_req_query(&stop, "uploadId", id);
	if (ret == 0)
		ret = ask(p, &stop);
	return ret;
}

static int
step_delete(struct probe *p)
{
	_cleanup_req_ struct s3_req q = { 0 };
	int ret;

	s3_req_init(&q, S3_DELETE, "DELETE", p->key);
	s3_req_head(&q, "if-match",
		    p->f->match_bare ? WRONG : "\"" WRONG "\"");
	ret = ask(p, &q);
	p->f->delete_match = p->status == 412;
	if (ret == 0 && q.e.code == 0) {
		free(p->etag);
		p->etag = NULL;
	}
	return ret;
}

/* --- together ------------------------------------------------------------------------ */

/* May we write at all? */
static int
try_new(struct probe *p)
{
	_cleanup_digest_ struct s3_digest d = { 0 };
	int ret = step_put_absent(p);

	if (ret == 1) {
		p->f->readonly = true;
		return 0;
	}
	if (ret < 0)
		return ret;
	if (!p->etag)
		return be_fail(p->ctx, -EIO, false,
			       "a test object could not be written: status %d",
			       p->status);
	s3_digest_init(&d, p->s->crc, S3_WANT_MD5, S3_SUM_NONE);
	s3_digest_add(&d, BODY, strlen(BODY));
	s3_digest_final(&d);
	p->f->etag_md5 = strcasecmp(d.md5_hex, p->etag) == 0;
	return 0;
}

static int
try_versions(struct probe *p)
{
	int ret = step_put_match(p);

	return ret == 0 ? step_delete(p) : ret;
}

static int
try_bodies(struct probe *p)
{
	int ret = step_payload(p);

	return ret == 0 ? step_checksum(p) : ret;
}

/* One scratch object and what is tried on it. */
struct trial {
	int (*run)(struct probe *p);
	bool made; /* it is there before run() */
	struct probe p;
	struct be_ctx ctx;
	struct err err;
	int ret;
	pthread_t thread;
	bool running;
};

static void *
trial_thread(void *arg)
{
	struct trial *t = arg;

	if (t->made)
		t->ret = put(&t->p, NULL, NULL);
	if (t->ret == 0 && (!t->made || t->p.etag))
		t->ret = t->run(&t->p);
	if (t->p.etag) {
		struct be_ctx rest = { .deadline_ns = t->ctx.deadline_ns };

		s3_delete_key(t->p.s, &rest, t->p.key, NULL);
	}
	return NULL;
}

static void
trial_begin(struct trial *t, struct s3 *s, const struct be_ctx *ctx,
	    struct s3_facts *f)
{
	struct be_opid id;

	be_opid_new(&id);
	t->ctx = *ctx;
	t->ctx.err = &t->err;
	t->p = (struct probe){
		.s = s,
		.ctx = &t->ctx,
		.key = xasprintf("%s%s%s", s->prefix, S3_PROBE_KEY, id.s),
		.f = f,
	};
	t->running = thread_start(&t->thread, trial_thread, t) == 0;
	if (!t->running)
		trial_thread(t);
}

/* Its failure becomes ret, unless there is one. */
static int
trial_end(struct trial *t, struct be_ctx *ctx, int ret)
{
	if (t->running)
		pthread_join(t->thread, NULL);
	if (ret == 0 && t->ret < 0)
		ret = be_fail(ctx, t->ret, t->ctx.transient, "%s",
			      err_words(&t->err));
	err_release(&t->err);
	free(t->p.key);
	free(t->p.etag);
	return ret;
}

static int
try_all(struct s3 *s, struct be_ctx *ctx, struct s3_facts *f)
{
	struct trial trials[] = {
		{ .run = try_new },
		{ .run = try_versions, .made = true },
		{ .run = try_bodies },
		{ .run = step_copy, .made = true },
		{ .run = step_complete, .made = true },
	};
	const size_t n = sizeof(trials) / sizeof(trials[0]);
	struct probe list = { .s = s, .ctx = ctx };
	int ret;

	for (size_t i = 0; i < n; i++)
		trial_begin(&trials[i], s, ctx, f);
	/* Its words are the ones that help. */
	ret = step_list(&list);
	for (size_t i = 0; i < n; i++)
		ret = trial_end(&trials[i], ctx, ret);
	return ret;
}

int
s3_probe(struct backend *be, struct be_ctx *ctx)
{
	struct s3 *s = to_s3(be);
	struct s3_facts f = { .sum = S3_SUM_MD5 };
	int ret = try_all(s, ctx, &f);

	if (ret < 0)
		return ret;
	s3_know(s, &f);
	if (f.readonly)
		log_warn("s3", "these credentials may not write to %s:"
			       " the share is read-only",
			 s->bucket);
	else if (!f.copy_absent && f.put_absent)
		log_info("s3", "the store ignores If-None-Match on copies:"
			       " RENAME_NOREPLACE has one winner on this node"
			       " only");
	if (!f.readonly && !f.put_absent)
		log_warn("s3", "the store ignores If-None-Match: O_EXCL and"
			       " mkdir have one winner on this node only");
	log_debug("s3",
		  "probe: put_absent=%d put_match=%d bare=%d done=%d"
		  " copy_absent=%d copy_source=%d copy_ceph=%d delete_match=%d"
		  " etag_md5=%d"
		  " payload=%d sum=%d",
		  f.put_absent, f.put_match, f.match_bare, f.done_cond,
		  f.copy_absent, f.copy_source, f.copy_ceph,
		  f.delete_match,
		  f.etag_md5, f.payload, f.sum);
	return 0;
}
