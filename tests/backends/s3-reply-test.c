/* SPDX-License-Identifier: MIT */
/*
 * The S3 store against answers that a server should not give: nothing may
 * crash, hang, or pass wrong bytes as right; what can be corrected is.
 */
#include <config.h>

#include "tests/lib/unit.h"

#include "backends/backend.h"
#include "backends/credentials-priv.h"
#include "backends/s3-priv.h"
#include "tests/backends/s3-toy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

static struct {
	struct toy *toy;
	struct backend *be;
	struct err err;
	struct be_ctx ctx;
} w;

static unsigned bad_bytes; /* that the next call has seen already */

static const char *
option(void *arg, const char *name)
{
	if (strcmp(name, "endpoint") == 0)
		return toy_url(w.toy);
	if (strcmp(name, "request_timeout") == 0)
		return "10";
	return NULL;
}

static struct be_ctx *
ctx(unsigned attempt)
{
	err_release(&w.err);
	w.ctx = (struct be_ctx){ .err = &w.err, .attempt = attempt,
				 .bad_bytes = bad_bytes,
				 .deadline_ns = clock_mono_ns() +
						20 * NSEC_PER_SEC };
	return &w.ctx;
}

static struct backend *
open_store(void)
{
	const struct be_config cfg = { option, NULL };
	struct backend *be = NULL;

	assert_int_equal(backend_open("s3://bucket", &cfg, &be, ctx(0)->err), 0);
	return be;
}

static int
setup(void **state)
{
	setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "not really secret", 1);
	unsetenv("AWS_SESSION_TOKEN");
	unsetenv("AWS_REGION");
	unsetenv("AWS_DEFAULT_REGION");
	w.toy = toy_new();
	w.be = open_store();
	if (be_probe(w.be, ctx(0)) < 0)
		fail_msg("%s", err_words(&w.err));
	assert_true(w.be->caps.conditional_put);
	return 0;
}

static int
teardown(void **state)
{
	backend_free(w.be);
	toy_free(w.toy);
	err_release(&w.err);
	return 0;
}

static int
put(const char *path, const char *text, enum be_pre pre,
    const struct be_opid *id, unsigned attempt, struct be_attr *out)
{
	struct be_attr a = { .mode = S_IFREG | 0644 };
	struct range all = { 0, strlen(text) };
	struct be_commit c = { .path = path, .cond = { .pre = pre },
			       .opid = *id, .whole = true, .size = all.len,
			       .dirty = &all, .ndirty = all.len > 0,
			       .attr = &a };
	int ret;

	a.mtime = a.ctime = a.atime = clock_wall();
	c.fd = memfd_create("body", MFD_CLOEXEC);
	assert_int_equal(write(c.fd, text, all.len), (ssize_t)all.len);
	ret = be_commit(w.be, ctx(attempt), &c, out);
	close(c.fd);
	return ret;
}

static void
make(const char *path, const char *text, struct be_attr *out)
{
	struct be_opid id;

	be_opid_new(&id);
	if (put(path, text, BE_ANY, &id, 0, out) < 0)
		fail_msg("%s", err_words(&w.err));
}

static int
fetch(const char *path, unsigned attempt, char *p, size_t cap)
{
	struct be_sink_mem m = { p, 0, cap };
	struct be_sink sink = be_sink_to_mem(&m);
	struct be_attr a;
	uint64_t got;

	return be_fetch(w.be, ctx(attempt), path, NULL, cap, &sink, &a, &got);
}

/* --- hooks that answer one thing to all requests of a method ---------------------- */

struct fixed {
	const char *method, *answer;
	unsigned times; /* how often; 0 = always */
	unsigned seen;
};

static enum toy_do
say_fixed(void *arg, const struct toy_req *r, struct buf *b)
{
	struct fixed *f = arg;

	if (strcmp(r->method, f->method) != 0 ||
	    (f->times && f->seen >= f->times))
		return TOY_NORMAL;
	f->seen++;
	buf_addstr(b, f->answer);
	return TOY_REPLY;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n"
#define MD5_HELLO "5d41402abc4b2a76b9719d911017c592"

/* A body that is not what it should be: an error, and one that may pass. */
static void
bad_bodies(void **state)
{
	static const char *const t[] = {
		/* shorter than it says */
		OK_HEAD "ETag: \"" MD5_HELLO "\"\r\nContent-Length: 5\r\n\r\nhel",
		OK_HEAD "ETag: \"" MD5_HELLO "\"\r\nContent-Length: 5\r\n\r\n",
		/* other bytes */
		OK_HEAD "ETag: \"" MD5_HELLO "\"\r\nContent-Length: 5\r\n\r\nhullo",
		OK_HEAD "ETag: \"x-1\"\r\nContent-Length: 5\r\n"
			"x-amz-checksum-crc64nvme: AAAAAAAAAAA=\r\n\r\nhello",
		OK_HEAD "ETag: \"x-1\"\r\nContent-Length: 5\r\n"
			"x-amz-checksum-sha256: nonsense\r\n\r\nhello",
		/* no version, no length */
		OK_HEAD "Content-Length: 5\r\n\r\nhello",
		OK_HEAD "ETag: \"\"\r\nContent-Length: 5\r\n\r\nhello",
		OK_HEAD "ETag: \"" MD5_HELLO "\"\r\n\r\nhello",
		"HTTP/1.1 206 Partial\r\nConnection: close\r\nETag: \"" MD5_HELLO
		"\"\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 206 Partial\r\nConnection: close\r\nETag: \"" MD5_HELLO
		"\"\r\nContent-Range: bytes 0-4/99\r\nContent-Length: 5\r\n\r\n"
		"hello",
		/* no HTTP at all */
		"",
		"garbage\r\n\r\n",
		("HTTP/1.1 503 Slow Down\r\nConnection: close\r\n"
		 "Content-Length: 0\r\n\r\n"),
	};
	struct be_attr a;

	make("f", "hello", &a);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fixed f = { "GET", t[i], 0, 0 };
		char p[64];
		int ret;

		toy_hook_set(w.toy, say_fixed, &f);
		ret = fetch("f", 0, p, sizeof(p));
		toy_hook_set(w.toy, NULL, NULL);
		if (ret != -EIO || !w.ctx.transient)
			fail_msg("answer %zu: %d (%s)", i, ret,
				 err_words(&w.err));
		assert_true(f.seen >= 1);
	}
	toy_hook_set(w.toy, NULL, NULL);
}

/* The same wrong bytes again and again: an answer at last, not a hang. */
static void
wrong_for_good(void **state)
{
	struct fixed f = { "GET", OK_HEAD "ETag: \"" MD5_HELLO "\"\r\n"
				  "Content-Length: 5\r\n\r\nhullo", 0, 0 };
	char p[64];

	toy_hook_set(w.toy, say_fixed, &f);
	assert_int_equal(fetch("f", 0, p, sizeof(p)), -EIO);
	assert_true(w.ctx.transient);
	/* What failed before for other reasons does not count. */
	assert_int_equal(fetch("f", 30, p, sizeof(p)), -EIO);
	assert_true(w.ctx.transient);
	assert_int_equal(w.ctx.bad_bytes, 1);
	bad_bytes = 3;
	assert_int_equal(fetch("f", 3, p, sizeof(p)), -EIO);
	bad_bytes = 0;
	assert_false(w.ctx.transient);
	toy_hook_set(w.toy, NULL, NULL);
}

/* What is fine though unusual. */
static void
odd_but_right(void **state)
{
	static const char *const t[] = {
		/* the server knows no ranges */
		OK_HEAD "ETag: \"" MD5_HELLO "\"\r\nContent-Length: 5\r\n\r\nhello",
		/* the ETag of an encrypted object is no MD5 */
		OK_HEAD "ETag: \"00000000000000000000000000000000\"\r\n"
			"x-amz-server-side-encryption: aws:kms\r\n"
			"Content-Length: 5\r\n\r\nhello",
		OK_HEAD "ETag: opaque\r\nContent-Length: 5\r\n\r\nhello",
		OK_HEAD "ETag: \"x-1\"\r\nContent-Length: 5\r\n"
			"x-amz-checksum-crc64nvme: M3eFcAZSQlc=\r\n\r\nhello",
		/* a checksum of checksums says nothing here */
		OK_HEAD "ETag: \"x-2\"\r\nContent-Length: 5\r\n"
			"x-amz-checksum-sha256: AAAA-2\r\n\r\nhello",
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fixed f = { "GET", t[i], 0, 0 };
		char p[64] = "";
		int ret;

		toy_hook_set(w.toy, say_fixed, &f);
		ret = fetch("f", 0, p, sizeof(p));
		toy_hook_set(w.toy, NULL, NULL);
		if (ret != 0)
			fail_msg("answer %zu: %d (%s)", i, ret,
				 err_words(&w.err));
		assert_memory_equal(p, "hello", 5);
	}
	toy_hook_set(w.toy, NULL, NULL);
}

/* A range of another version, or another range, is never the answer. */
static void
bad_ranges(void **state)
{
#define PART "HTTP/1.1 206 Partial\r\nConnection: close\r\n"
	static const struct {
		const char *answer;
		int ret;
	} t[] = {
		{ PART "ETag: \"other\"\r\nContent-Range: bytes 1-3/5\r\n"
		       "Content-Length: 3\r\n\r\nell", -ESTALE },
		{ PART "Content-Range: bytes 1-3/5\r\n"
		       "Content-Length: 3\r\n\r\nell", -ESTALE },
		{ PART "ETag: \"" MD5_HELLO "\"\r\nContent-Range: bytes 0-2/5"
		       "\r\nContent-Length: 3\r\n\r\nhel", -EIO },
		{ PART "ETag: \"" MD5_HELLO "\"\r\n"
		       "Content-Length: 3\r\n\r\nell", -EIO },
		{ PART "ETag: \"" MD5_HELLO "\"\r\nContent-Range: bytes 1-3/5"
		       "\r\nContent-Length: 3\r\n\r\nel", -EIO },
		{ PART "ETag: \"" MD5_HELLO "\"\r\nContent-Range: bytes 1-2/5"
		       "\r\nContent-Length: 2\r\n\r\nel", -EIO },
		{ OK_HEAD "ETag: \"" MD5_HELLO "\"\r\n"
			  "Content-Length: 5\r\n\r\nhello", -EIO },
		{ "HTTP/1.1 412 No\r\nConnection: close\r\n"
		  "Content-Length: 0\r\n\r\n", -ESTALE },
		{ "HTTP/1.1 404 No\r\nConnection: close\r\n"
		  "Content-Length: 0\r\n\r\n", -ESTALE },
	};
	struct be_attr a;

	make("f", "hello", &a);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fixed f = { "GET", t[i].answer, 0, 0 };
		char p[8];
		struct be_sink_mem m = { p, 1, sizeof(p) };
		struct be_sink sink = be_sink_to_mem(&m);
		uint64_t got;
		int ret;

		toy_hook_set(w.toy, say_fixed, &f);
		ret = be_read(w.be, ctx(0), "f", &a.ver, 1, 3, &sink, &got);
		toy_hook_set(w.toy, NULL, NULL);
		if (ret != t[i].ret)
			fail_msg("answer %zu: %d (%s)", i, ret,
				 err_words(&w.err));
	}
	toy_hook_set(w.toy, NULL, NULL);
}

static int
count(void *arg, const char *name, const struct be_attr *attr)
{
	(*(unsigned *)arg)++;
	return 0;
}

/* A listing is whole or an error. */
static void
bad_listings(void **state)
{
	static const char *const t[] = {
		OK_HEAD "Content-Length: 18\r\n\r\n<ListBucketResult>",
		OK_HEAD "Content-Length: 100\r\n\r\n<ListBucketResult>",
		OK_HEAD "Content-Length: 4\r\n\r\nnope",
		OK_HEAD "Content-Length: 0\r\n\r\n",
		OK_HEAD "Content-Length: 41\r\n\r\n"
			"<Error><Code>InternalError</Code></Error>",
		OK_HEAD "Content-Length: 77\r\n\r\n<ListBucketResult>"
			"<IsTruncated>true</IsTruncated></ListBucketResult>"
			"         ",
	};
	_cleanup_buf_ struct buf big = BUF_INIT;
	struct fixed huge = { "GET", NULL, 0, 0 };
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fixed f = { "GET", t[i], 0, 0 };
		int ret;

		toy_hook_set(w.toy, say_fixed, &f);
		ret = be_list(w.be, ctx(0), "d", count, &n);
		toy_hook_set(w.toy, NULL, NULL);
		if (ret != -EIO || !w.ctx.transient)
			fail_msg("answer %zu: %d (%s)", i, ret,
				 err_words(&w.err));
		assert_int_equal(n, 0);
	}
	/* Endless: it is not swallowed whole. */
	buf_addstr(&big, OK_HEAD "Content-Length: 17500000\r\n\r\n"
				 "<ListBucketResult>");
	while (big.len < 17500000)
		buf_addstr(&big, "<Contents><Key>k</Key></Contents>");
	huge.answer = big.s;
	toy_hook_set(w.toy, say_fixed, &huge);
	assert_int_equal(be_list(w.be, ctx(0), "d", count, &n), -EIO);
	assert_int_equal(n, 0);
	toy_hook_set(w.toy, NULL, NULL);
}

/* --- what is corrected ---------------------------------------------------------------- */

struct fix {
	const char *answer, *method;
	char before[512], after[512]; /* authorization */
	char date[64];		      /* x-amz-date of the second */
	unsigned n;
};

static enum toy_do
refuse_once(void *arg, const struct toy_req *r, struct buf *b)
{
	struct fix *f = arg;

	if (strcmp(r->key, "f") != 0 ||
	    (f->method && strcmp(r->method, f->method) != 0))
		return TOY_NORMAL;
	if (f->n++ == 0) {
		toy_header(r, "authorization", f->before, sizeof(f->before));
		buf_addstr(b, f->answer);
		return TOY_REPLY;
	}
	toy_header(r, "authorization", f->after, sizeof(f->after));
	toy_header(r, "x-amz-date", f->date, sizeof(f->date));
	return TOY_NORMAL;
}

static void
region(void **state)
{
	static const char *const t[] = {
		"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 91"
		"\r\n\r\n<Error><Code>AuthorizationHeaderMalformed</Code>"
		"<Region>eu-north-7</Region></Error>        ",
		"HTTP/1.1 301 Moved\r\nConnection: close\r\n"
		"x-amz-bucket-region: eu-north-7\r\nContent-Length: 0\r\n\r\n",
	};
	struct be_attr a;

	make("f", "hello", &a);
	for (size_t i = 0; i < 2; i++) {
		struct backend *was = w.be;
		struct fix f = { .answer = t[i] };
		char p[64];

		/* a new one, that does not know the region yet */
		w.be = open_store();
		toy_hook_set(w.toy, refuse_once, &f);
		if (fetch("f", 0, p, sizeof(p)) != 0)
			fail_msg("%s", err_words(&w.err));
		toy_hook_set(w.toy, NULL, NULL);
		assert_non_null(strstr(f.before, "/us-east-1/s3/"));
		assert_non_null(strstr(f.after, "/eu-north-7/s3/"));
		assert_int_equal(f.n, 2);
		backend_free(w.be);
		w.be = was;
	}
}

static void
clock_off(void **state)
{
	struct backend *was = w.be;
	struct fix f = {
		.answer = "HTTP/1.1 403 No\r\nConnection: close\r\n"
			  "Date: Wed, 02 Jan 2030 03:04:05 GMT\r\n"
			  "Content-Length: 50\r\n\r\n"
			  "<Error><Code>RequestTimeTooSkewed</Code></Error>  ",
	};
	char p[64];

	w.be = open_store();
	toy_hook_set(w.toy, refuse_once, &f);
	if (fetch("f", 0, p, sizeof(p)) != 0)
		fail_msg("%s", err_words(&w.err));
	toy_hook_set(w.toy, NULL, NULL);
	assert_int_equal(strncmp(f.date, "20300102T0304", 13), 0);
	backend_free(w.be);
	w.be = was;
}

static void
moved(void **state)
{
	struct toy *there = toy_new();
	_cleanup_free_ char *answer =
		xasprintf("HTTP/1.1 307 Elsewhere\r\nConnection: close\r\n"
			  "Location: %s/bucket/f?x\r\nContent-Length: 0"
			  "\r\n\r\n",
			  toy_url(there));
	struct fix f = { .answer = answer, .method = "PUT" };
	struct be_opid id;
	struct be_attr a;
	char p[64];

	/* The bytes are sent once more, to the other place. */
	be_opid_new(&id);
	toy_hook_set(w.toy, refuse_once, &f);
	if (put("f", "there", BE_ANY, &id, 0, &a) < 0)
		fail_msg("%s", err_words(&w.err));
	toy_hook_set(w.toy, NULL, NULL);
	assert_int_equal(fetch("f", 0, p, sizeof(p)), 0);
	assert_memory_equal(p, "hello", 5); /* the old place has the old */
	toy_free(there);
}

/* Keys that can't be renewed: said once, with words, not tried for ever. */
static void
expired(void **state)
{
	struct fixed f = { "GET", "HTTP/1.1 400 No\r\nConnection: close\r\n"
				  "Content-Length: 40\r\n\r\n"
				  "<Error><Code>ExpiredToken</Code></Error>",
			   0, 0 };
	char p[64];

	toy_hook_set(w.toy, say_fixed, &f);
	assert_int_equal(fetch("f", 0, p, sizeof(p)), -EACCES);
	assert_false(w.ctx.transient);
	assert_non_null(strstr(err_words(&w.err), "ExpiredToken"));
	assert_null(strstr(err_words(&w.err), "not really secret"));
	toy_hook_set(w.toy, NULL, NULL);
	assert_true(f.seen <= 2);
}

/* Keys from an endpoint that answers once, and then is too busy. */
static enum toy_do
keys_once(void *arg, const struct toy_req *r, struct buf *b)
{
	unsigned *seen = arg;

	if ((*seen)++ == 0)
		buf_addstr(b, "HTTP/1.1 200 OK\r\nConnection: close\r\n"
			      "Content-Length: 94\r\n\r\n"
			      "{\"AccessKeyId\":\"AKTEST\",\"SecretAccessKey\":"
			      "\"s\",\"Token\":\"t\","
			      "\"Expiration\":\"2099-01-01T00:00:00Z\"}");
	else
		buf_addstr(b, "HTTP/1.1 503 Busy\r\nConnection: close\r\n"
			      "Content-Length: 0\r\n\r\n");
	return TOY_REPLY;
}

static int64_t
a_minute_each(void *arg)
{
	_Atomic int64_t *now = arg; /* the probe has several threads */

	return atomic_fetch_add(now, 60) + 60;
}

/* Expired keys whose source does not answer just now: that passes. */
static void
expired_and_no_new_ones(void **state)
{
	struct fixed f = { "GET", "HTTP/1.1 400 No\r\nConnection: close\r\n"
				  "Content-Length: 40\r\n\r\n"
				  "<Error><Code>ExpiredToken</Code></Error>",
			   0, 0 };
	struct toy *keys = toy_new();
	_cleanup_free_ char *url = xasprintf("%s/keys", toy_url(keys));
	struct backend *was = w.be;
	_Atomic int64_t now = 1700000000;
	struct cred_conf *conf;
	unsigned seen = 0;
	char p[64];

	toy_hook_set(keys, keys_once, &seen);
	unsetenv("AWS_ACCESS_KEY_ID");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
	w.be = open_store();
	conf = cred_chain_conf(((struct s3 *)w.be)->creds);
	conf->now = a_minute_each;
	conf->now_arg = &now;
	if (be_probe(w.be, ctx(0)) < 0)
		fail_msg("%s", err_words(&w.err));
	assert_int_equal(seen, 1);
	toy_hook_set(w.toy, say_fixed, &f);
	assert_true(fetch("f", 0, p, sizeof(p)) < 0);
	assert_true(w.ctx.transient);
	assert_true(seen > 1);
	toy_hook_set(w.toy, NULL, NULL);
	unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1);
	backend_free(w.be);
	w.be = was;
	toy_free(keys);
}

/* --- a lost reply is not a lost race ------------------------------------------------------ */

static enum toy_do
swallow_put(void *arg, const struct toy_req *r, struct buf *b)
{
	unsigned *left = arg;

	if (strcmp(r->method, "PUT") != 0 || *left == 0)
		return TOY_NORMAL;
	--*left;
	return TOY_SWALLOW;
}

static void
lost_reply(void **state)
{
	unsigned left = 1;
	struct be_opid id, other;
	struct be_attr a;

	be_opid_new(&id);
	be_opid_new(&other);
	toy_hook_set(w.toy, swallow_put, &left);
	assert_int_equal(put("lost", "mine", BE_ABSENT, &id, 0, &a), -EIO);
	assert_true(w.ctx.transient);
	toy_hook_set(w.toy, NULL, NULL);
	assert_int_equal(left, 0);
	/* it happened: the same operation again succeeds, another does not */
	if (put("lost", "mine", BE_ABSENT, &id, 1, &a) < 0)
		fail_msg("%s", err_words(&w.err));
	assert_int_equal(a.size, 4);
	assert_int_equal(put("lost", "mine", BE_ABSENT, &other, 0, &a),
			 -EEXIST);
	assert_false(w.ctx.transient);
}

static enum toy_do
wrong_etag(void *arg, const struct toy_req *r, struct buf *b)
{
	unsigned *left = arg;

	if (strcmp(r->method, "PUT") != 0 || *left == 0)
		return TOY_NORMAL;
	--*left;
	buf_addstr(b, OK_HEAD "ETag: \"00000000000000000000000000000000\"\r\n"
			      "Content-Length: 0\r\n\r\n");
	return TOY_REPLY;
}

/* The store says that it has other bytes than were sent. */
static void
bytes_lost_on_the_way(void **state)
{
	unsigned left = 100;
	struct be_opid id;
	struct be_attr a;

	be_opid_new(&id);
	toy_hook_set(w.toy, wrong_etag, &left);
	assert_int_equal(put("w", "text", BE_ANY, &id, 0, &a), -EIO);
	assert_true(w.ctx.transient);
	toy_hook_set(w.toy, NULL, NULL);
}

static enum toy_do
many_headers(void *arg, const struct toy_req *r, struct buf *b)
{
	buf_addstr(b, OK_HEAD "ETag: \"x\"\r\nContent-Length: 0\r\n");
	for (int i = 0; i < 5000; i++)
		buf_addf(b, "x-amz-meta-%d: %d\r\n", i, i);
	buf_addstr(b, "\r\n");
	return TOY_REPLY;
}

static void
endless_headers(void **state)
{
	struct be_attr a;

	toy_hook_set(w.toy, many_headers, NULL);
	assert_int_equal(be_getattr(w.be, ctx(0), "f", BE_HINT_FILE, &a), -EIO);
	toy_hook_set(w.toy, NULL, NULL);
}

/* A server that takes the request and says nothing. */
static enum toy_do
silence(void *arg, const struct toy_req *r, struct buf *b)
{
	usleep(*(unsigned *)arg);
	return TOY_NORMAL;
}

static void
stops(void **state)
{
	unsigned us = 1500000;
	atomic_int cancel = 1;
	struct be_attr a;
	int64_t start = clock_mono_ns();
	struct be_ctx *c = ctx(0);

	toy_hook_set(w.toy, silence, &us);
	c->deadline_ns = start + 200 * NSEC_PER_MSEC;
	assert_int_equal(be_getattr(w.be, c, "f", BE_HINT_FILE, &a),
			 -ETIMEDOUT);
	assert_true(clock_mono_ns() - start < NSEC_PER_SEC);
	c = ctx(0);
	c->cancel = &cancel;
	assert_int_equal(be_getattr(w.be, c, "f", BE_HINT_FILE, &a), -EINTR);
	toy_hook_set(w.toy, NULL, NULL);
}

/* Uploads come in pages; what is outside, or has no time, is nobody's. */
static enum toy_do
upload_pages(void *arg, const struct toy_req *r, struct buf *answer)
{
	static const char first[] =
		"<ListMultipartUploadsResult><EncodingType>url</EncodingType>"
		"<Upload><Key>old%201</Key><UploadId>i1</UploadId>"
		"<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>"
		"<Upload><Key>timeless</Key><UploadId>i2</UploadId></Upload>"
		"<IsTruncated>true</IsTruncated>"
		"<NextKeyMarker>a%20b</NextKeyMarker>"
		"<NextUploadIdMarker>i2</NextUploadIdMarker>"
		"</ListMultipartUploadsResult>";
	static const char second[] =
		"<ListMultipartUploadsResult>"
		"<Upload><Key>young</Key><UploadId>i3</UploadId>"
		"<Initiated>2020-01-02T00:00:00Z</Initiated></Upload>"
		"<Upload><Key>old2</Key><UploadId>i4</UploadId>"
		"<Initiated>2020-01-01T00:00:00Z</Initiated></Upload>"
		"</ListMultipartUploadsResult>";
	const char *text = first;
	unsigned *aborted = arg;

	if (strcmp(r->method, "DELETE") == 0) {
		*aborted |= strstr(r->query, "uploadId=i1") &&
					    strcmp(r->key, "old%201") == 0 ? 1 :
			    strstr(r->query, "uploadId=i4") ? 2 : 4;
		buf_addstr(answer, "HTTP/1.1 204 No Content\r\n\r\n");
		return TOY_REPLY;
	}
	if (!strstr(r->query, "uploads"))
		return TOY_NORMAL;
	if (strstr(r->query, "key-marker")) {
		if (!strstr(r->query, "key-marker=a%20b") ||
		    !strstr(r->query, "upload-id-marker=i2"))
			*aborted |= 8;
		text = second;
	}
	buf_addf(answer,
		 "HTTP/1.1 200 OK\r\nDate: Thu, 02 Jan 2020 12:00:00 GMT\r\n"
		 "Content-Length: %zu\r\n\r\n%s",
		 strlen(text), text);
	return TOY_REPLY;
}

static void
old_uploads(void **state)
{
	unsigned aborted = 0;
	uint64_t n;

	toy_hook_set(w.toy, upload_pages, &aborted);
	assert_int_equal(be_old_uploads(w.be, ctx(0), 86400, false, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(aborted, 0);
	assert_int_equal(be_old_uploads(w.be, ctx(0), 86400, true, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(aborted, 1 | 2);
	toy_hook_set(w.toy, NULL, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_bodies),
		cmocka_unit_test(wrong_for_good),
		cmocka_unit_test(odd_but_right),
		cmocka_unit_test(bad_ranges),
		cmocka_unit_test(bad_listings),
		cmocka_unit_test(region),
		cmocka_unit_test(clock_off),
		cmocka_unit_test(moved),
		cmocka_unit_test(expired),
		cmocka_unit_test(expired_and_no_new_ones),
		cmocka_unit_test(lost_reply),
		cmocka_unit_test(bytes_lost_on_the_way),
		cmocka_unit_test(endless_headers),
		cmocka_unit_test(old_uploads),
		cmocka_unit_test(stops),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
