/* SPDX-License-Identifier: MIT */
/*
 * One request: built, signed, sent, understood; and what can be corrected
 * (clock, region, credentials, a redirect) is corrected and signed again once.
 * Whatever else may pass is left to the caller's caller (wrap-retry).
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"

#define SKEW_MAX 300 /* seconds that servers surely accept */
#define ROUNDS 4     /* one for each kind of correction */

void
s3_req_init(struct s3_req *q, enum s3_kind kind, const char *method,
	    const char *key)
{
	memset(q, 0, sizeof(*q));
	q->kind = kind;
	q->method = method;
	q->key = key ? xstrdup(key) : NULL;
	q->fd = -1;
}

void
s3_req_release(struct s3_req *q)
{
	free(q->key);
	free(q->to_host);
	q->key = q->to_host = NULL;
	s3_fields_release(&q->query);
	s3_fields_release(&q->head);
	s3_reply_release(&q->reply);
	s3_error_release(&q->e);
}

time_t
s3_req_date(const struct s3_req *q)
{
	return s3_http_date(s3_reply_get(&q->reply, "date"));
}

char *
s3_copy_source(struct s3 *s, const char *key)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addch(&b, '/');
	s3_uri_encode(&b, s->bucket, strlen(s->bucket), false);
	buf_addch(&b, '/');
	s3_uri_encode(&b, key, strlen(key), true);
	return buf_steal(&b);
}

/* --- building ------------------------------------------------------------------ */

static char *
region_get(struct s3 *s)
{
	char *r;

	pthread_mutex_lock(&s->lock);
	r = xstrdup(s->region);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static char *
make_host(struct s3 *s, const struct s3_req *q, const char *region)
{
	const char *tail = strncmp(region, "cn-", 3) == 0 ? ".cn" : "";
	_cleanup_free_ char *aws = NULL;
	const char *host = s->host;

	if (q->to_host)
		return xstrdup(q->to_host);
	if (!host)
		host = aws = xasprintf("s3.%s.amazonaws.com%s", region, tail);
	return s->path_style ? xstrdup(host) :
			       xasprintf("%s.%s", s->bucket, host);
}

struct pair {
	char *name, *value;
};

static int
pair_cmp(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : strcmp(x->value, y->value);
}

static char *
encoded(const char *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	s3_uri_encode(&b, s, strlen(s), false);
	buf_str(&b);
	return buf_steal(&b);
}

static void
make_query(const struct s3_req *q, struct buf *out)
{
	_cleanup_free_ struct pair *v = xcalloc(q->query.n + 1, sizeof(*v));

	for (size_t i = 0; i < q->query.n; i++) {
		v[i].name = encoded(q->query.v[i].name);
		v[i].value = encoded(q->query.v[i].value);
	}
	qsort(v, q->query.n, sizeof(*v), pair_cmp);
	for (size_t i = 0; i < q->query.n; i++) {
		buf_addf(out, "%s%s=", i ? "&" : "", v[i].name);
		buf_addstr(out, v[i].value);
		free(v[i].name);
		free(v[i].value);
	}
	buf_str(out);
}

/* A request on its way. */
struct sent {
	struct s3_req *q;
	struct s3_xfer x;
	char *url;
	struct s3_fields head;
	struct cred cred;
	char *region;
	long long skew; /* by which the time was corrected that it was signed with */
	bool done;
};

static void
sent_clear(struct sent *t)
{
	free(t->url);
	free(t->region);
	t->url = t->region = NULL;
	/* One of them may be the session token. */
	for (size_t i = 0; i < t->head.n; i++)
		OPENSSL_cleanse(t->head.v[i].value, strlen(t->head.v[i].value));
	s3_fields_release(&t->head);
	cred_release(&t->cred);
}

static int
sent_build(struct s3 *s, struct be_ctx *ctx, struct sent *t)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_buf_ struct buf path = BUF_INIT, query = BUF_INIT;
	_cleanup_free_ char *host = NULL, *auth = NULL;
	_cleanup_free_ struct s3_hdr *signed_hdrs = NULL;
	struct s3_req *q = t->q;
	struct s3_sign_req sr;
	time_t now;
	char date[17];
	size_t n = 0;
	int ret;

	sent_clear(t);
	t->skew = atomic_load(&s->skew);
	now = time(NULL) + t->skew;
	ret = cred_get(s->creds, &t->cred, &err);
	if (ret < 0)
		return be_fail(ctx, ret, ret == -EAGAIN, "credentials: %s",
			       err_words(&err));
	t->region = region_get(s);
	host = make_host(s, q, t->region);
	buf_addstr(&path, s->base);
	if (s->path_style) {
		buf_addch(&path, '/');
		s3_uri_encode(&path, s->bucket, strlen(s->bucket), false);
	}
	if (q->key || !s->path_style)
		buf_addch(&path, '/');
	if (q->key)
		s3_uri_encode(&path, q->key, strlen(q->key), true);
	make_query(q, &query);
	t->url = xasprintf("%s://%s%s%s%s", s->https ? "https" : "http", host,
			   buf_str(&path), query.len ? "?" : "",
			   buf_str(&query));

	if (!q->payload[0]) {
		if (q->body_len == 0)
			memcpy(q->payload, S3_EMPTY_SHA256, 65);
		else if (q->body)
			s3_sha256_hex(q->body, q->body_len, q->payload);
		else
			memcpy(q->payload, S3_UNSIGNED, sizeof(S3_UNSIGNED));
	}
	s3_sign_date(now, date);
	for (size_t i = 0; i < q->head.n; i++)
		s3_fields_add(&t->head, q->head.v[i].name, q->head.v[i].value);
	s3_fields_add(&t->head, "x-amz-date", date);
	s3_fields_add(&t->head, "x-amz-content-sha256", q->payload);
	if (t->cred.token)
		s3_fields_add(&t->head, "x-amz-security-token", t->cred.token);
	if (s->requester_pays)
		s3_fields_add(&t->head, "x-amz-request-payer", "requester");
	/* curl adds a type to a POST that has none, and would not sign it. */
	if (strcmp(q->method, "POST") == 0 &&
	    !s3_fields_get(&t->head, "content-type"))
		s3_fields_add(&t->head, "content-type",
			      q->body_len ? "application/xml" :
					    "application/octet-stream");

	signed_hdrs = xcalloc(t->head.n + 1, sizeof(*signed_hdrs));
	for (; n < t->head.n; n++)
		signed_hdrs[n] = (struct s3_hdr){ t->head.v[n].name,
						  t->head.v[n].value };
	signed_hdrs[n++] = (struct s3_hdr){ "host", host };
	sr = (struct s3_sign_req){
		.method = q->method, .path = buf_str(&path),
		.query = buf_str(&query), .hdrs = signed_hdrs, .nhdrs = n,
		.payload_hash = q->payload, .region = t->region,
		.service = "s3", .access_key = t->cred.access_key,
		.secret_key = t->cred.secret_key, .now = now,
	};
	auth = s3_sign(&s->sign, &sr);
	s3_fields_add(&t->head, "authorization", auth);

	t->x.kind = q->kind;
	t->x.method = q->method;
	t->x.url = t->url;
	t->x.h = t->head.v;
	t->x.nh = t->head.n;
	t->x.body = q->body;
	t->x.fd = q->fd;
	t->x.fd_off = q->fd_off;
	t->x.body_len = q->body_len;
	t->x.body_max = q->body_max;
	t->x.hedge = q->kind == S3_HEAD || q->kind == S3_LIST ||
		     (q->kind == S3_GET && !q->large);
	t->x.on_body = q->on_body;
	t->x.arg = q->arg;
	return 0;
}

/* --- correcting ----------------------------------------------------------------- */

struct tried {
	bool clock, region, cred, redirect, asked;
};

static bool
fix_clock(struct s3 *s, struct sent *t, struct tried *tr)
{
	time_t there = s3_req_date(t->q);
	long long off, old = atomic_load(&s->skew);

	if (tr->clock || !there)
		return false;
	off = (long long)there - time(NULL);
	if (llabs(off - t->skew) < SKEW_MAX)
		return false;
	tr->clock = true;
	if (llabs(off - old) < SKEW_MAX)
		return true; /* another request has seen to it */
	atomic_store(&s->skew, off);
	log_warn("s3", "this host's clock differs from the server's by %lld s;"
		       " requests are signed with the server's time: set the"
		       " clock (NTP)",
		 -off);
	return true;
}

static bool
fix_region(struct s3 *s, struct be_ctx *ctx, struct sent *t, struct tried *tr)
{
	const char *want = s3_reply_get(&t->q->reply, "x-amz-bucket-region");
	bool changed = false;

	if (t->q->e.status == 307 && !tr->redirect) {
		char *host = s3_reply_other_host(&t->q->reply);

		tr->redirect = true;
		if (host) {
			free(t->q->to_host);
			t->q->to_host = host;
			return true;
		}
	}
	if (tr->region)
		return false;
	if (!want)
		want = t->q->e.xml.region;
	if (!s3_region_ok(want))
		return false;
	tr->region = true;
	pthread_mutex_lock(&s->lock);
	if (strcmp(s->region, want) != 0) {
		free(s->region);
		s->region = xstrdup(want);
		changed = true;
	}
	pthread_mutex_unlock(&s->lock);
	if (changed)
		log_warn("s3", "the bucket %s is in region %s (region=%s saves"
			       " a request)",
			 s->bucket, want, want);
	return changed || strcmp(t->region, want) != 0;
}

static bool
fix_cred(struct s3 *s, struct sent *t, struct tried *tr)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_cred_ struct cred fresh = CRED_INIT;
	bool other;
	int ret;

	/* Unless we find that the new ones can't be had just now. */
	t->q->e.class = S3_CLASS_FINAL;

	if (tr->cred)
		return false;
	tr->cred = true;
	cred_invalidate(s->creds, &t->cred);
	ret = cred_get(s->creds, &fresh, &err);
	if (ret == -EAGAIN)
		t->q->e.class = S3_CLASS_LATER;
	if (ret < 0)
		return false;
	other = strcmp(fresh.access_key, t->cred.access_key) != 0 ||
		strcmp(fresh.secret_key, t->cred.secret_key) != 0 ||
		strcmp(fresh.token ? fresh.token : "",
		       t->cred.token ? t->cred.token : "") != 0;
	return other;
}

/*
 * A HEAD's refusal has no document.  Asks something that has, and takes over
 * what it says if that can be corrected.
 */
static void
ask_why(struct s3 *s, struct be_ctx *ctx, struct sent *t, struct tried *tr)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct sent ask = { .q = &q };
	struct s3_xfer *x = &ask.x;
	struct s3_error *e = &t->q->e;

	if (tr->asked || strcmp(t->q->method, "HEAD") != 0 ||
	    (e->status != 400 && e->status != 403 && e->status != 301))
		return;
	tr->asked = true;
	s3_req_init(&q, S3_LIST, "GET", NULL);
	s3_list_req(&q, s->prefix, false, 1, NULL);
	if (sent_build(s, ctx, &ask) == 0 &&
	    s3_http_run(s->http, ctx, &x, 1, 1) == 0) {
		q.reply = ask.x.reply;
		memset(&ask.x.reply, 0, sizeof(ask.x.reply));
		s3_error_from(&q.reply, &q.e);
		if (q.e.code && q.e.xml.code) {
			struct s3_error swap = *e;

			*e = q.e;
			q.e = swap;
		}
	}
	s3_reply_release(&ask.x.reply);
	sent_clear(&ask);
}

/* May it be sent once more? */
static bool
correct(struct s3 *s, struct be_ctx *ctx, struct sent *t, struct tried *tr)
{
	struct s3_error *e = &t->q->e;
	bool again = false;

	if (e->code == 0)
		return false;
	ask_why(s, ctx, t, tr);
	switch (e->class) {
	case S3_CLASS_CLOCK:
		again = fix_clock(s, t, tr);
		/* A wrong secret looks the same. */
		if (!again)
			e->class = S3_CLASS_FINAL;
		break;
	case S3_CLASS_REGION:
		again = fix_region(s, ctx, t, tr);
		if (!again)
			e->class = e->status == 307 ? S3_CLASS_LATER :
						      S3_CLASS_FINAL;
		break;
	case S3_CLASS_CRED:
		again = fix_cred(s, t, tr);
		break;
	default:
		/* Some servers say no more than 403 to a wrong clock. */
		if (e->status == 403 && !e->xml.code)
			again = fix_clock(s, t, tr);
		break;
	}
	if (again)
		atomic_fetch_add(&s->corrections, 1);
	return again;
}

/* --- running ---------------------------------------------------------------------- */

int
s3_run(struct s3 *s, struct be_ctx *ctx, struct s3_req **v, size_t n)
{
	_cleanup_free_ struct sent *t = xcalloc(n, sizeof(*t));
	_cleanup_free_ struct tried *tr = xcalloc(n, sizeof(*tr));
	_cleanup_free_ struct s3_xfer **x = xcalloc(n, sizeof(struct s3_xfer *));
	size_t left = n;
	int ret = 0;

	for (size_t i = 0; i < n; i++)
		t[i].q = v[i];
	if (ctx->attempt > 0)
		s3_http_count_retry(s->http);
	for (int round = 0; left && round < ROUNDS && ret == 0; round++) {
		size_t nx = 0;

		for (size_t i = 0; i < n && ret == 0; i++) {
			if (t[i].done)
				continue;
			ret = sent_build(s, ctx, &t[i]);
			x[nx++] = &t[i].x;
		}
		if (ret == 0)
			ret = s3_http_run(s->http, ctx, x, nx, s->parallel);
		for (size_t i = 0; i < n; i++) {
			if (t[i].done)
				continue;
			s3_reply_release(&v[i]->reply);
			v[i]->reply = t[i].x.reply;
			memset(&t[i].x.reply, 0, sizeof(t[i].x.reply));
			s3_error_from(&v[i]->reply, &v[i]->e);
			if (v[i]->e.code)
				log_debug("s3", "%s %s: %s", v[i]->method,
					  t[i].url ? t[i].url : "",
					  v[i]->e.words);
			if (ret == 0 && correct(s, ctx, &t[i], &tr[i]))
				continue;
			t[i].done = true;
			left--;
		}
	}
	for (size_t i = 0; i < n; i++)
		sent_clear(&t[i]);
	return ret;
}

/* What the user can do about it; "" if nothing comes to mind. */
static const char *
cure(const struct s3_error *e)
{
	const char *c = e->xml.code ? e->xml.code : "";

	if (strcmp(c, "NoSuchBucket") == 0)
		return " (make the bucket, or correct its name in the source)";
	if (strcmp(c, "InvalidAccessKeyId") == 0)
		return " (the access key is not known to this server: check"
		       " the credentials and endpoint=)";
	if (strcmp(c, "SignatureDoesNotMatch") == 0)
		return " (the secret key is wrong)";
	if (strcmp(c, "ExpiredToken") == 0)
		return " (the session token is over: get new credentials)";
	if (strcmp(c, "AccessDenied") == 0)
		return " (these credentials may not do this)";
	if (strcmp(c, "AuthorizationHeaderMalformed") == 0 ||
	    strcmp(c, "PermanentRedirect") == 0)
		return " (give the bucket's region with region=)";
	return "";
}

int
s3_req_fail(struct s3 *s, struct be_ctx *ctx, const struct s3_req *q)
{
	bool later = q->e.class == S3_CLASS_LATER ||
		     q->e.class == S3_CLASS_BODY;

	return be_fail(ctx, q->e.code, later, "%s s3://%s/%s: %s%s", q->method,
		       s->bucket, q->key ? q->key : "",
		       q->e.words ? q->e.words : "no words", cure(&q->e));
}

int
s3_run1(struct s3 *s, struct be_ctx *ctx, struct s3_req *q)
{
	int ret = s3_run(s, ctx, &q, 1);

	if (ret == 0 && q->e.code)
		ret = s3_req_fail(s, ctx, q);
	return ret;
}
