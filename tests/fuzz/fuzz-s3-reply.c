/* SPDX-License-Identifier: MIT */
/*
 * The head of an answer, line by line as it comes: "HTTP/1.1 206 …", headers,
 * an empty line, and what follows is the body.  Whatever it says is bounded,
 * and what is made of it can be sent.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <ctype.h>

#include "backends/s3-error.h"
#include "backends/s3-http.h"
#include "backends/s3-meta.h"
#include "common/cleanup.h"

#define FIELDS 256

static void
fields(const struct s3_reply *r)
{
	FUZZ_CHECK(r->nh <= FIELDS);
	for (size_t i = 0; i < r->nh; i++) {
		const char *v = r->h[i].value;
		size_t n = strlen(v);

		for (const char *c = r->h[i].name; *c; c++)
			FUZZ_CHECK(!isupper((unsigned char)*c) && *c != ':');
		FUZZ_CHECK(!n || (v[0] != ' ' && v[n - 1] != ' '));
		FUZZ_CHECK(!strchr(v, '\n'));
		FUZZ_CHECK(s3_reply_get(r, r->h[i].name));
	}
}

/* What decides which bytes are believed to be which. */
static void
sizes(const struct s3_reply *r)
{
	struct s3_head *h = s3_head_from(r);
	uint64_t total = s3_reply_total(r);
	bool at0 = s3_reply_begins_at(r, 0), at5 = s3_reply_begins_at(r, 5);

	FUZZ_CHECK(!(at0 && at5));
	FUZZ_CHECK(!at5 || r->status != 200);
	if (!h)
		return;
	FUZZ_CHECK(h->size <= INT64_MAX);
	FUZZ_CHECK(*h->etag && strlen(h->etag) <= BE_VER_MAX);
	FUZZ_CHECK(h->modified >= 0 && h->date >= 0);
	/* Both ways to read a size say the same. */
	if (r->status == 200)
		FUZZ_CHECK(total == h->size);
	for (size_t i = 0; i < h->keep.n; i++)
		FUZZ_CHECK(!strpbrk(h->keep.v[i].value, "\n"));
	s3_head_put(h);
}

static void
corrections(const struct s3_reply *r)
{
	_cleanup_free_ char *host = s3_reply_other_host(r);
	const char *region = s3_reply_get(r, "x-amz-bucket-region");

	if (host)
		FUZZ_CHECK(*host && !strpbrk(host, "/?#@ \t\r\n\\%"));
	if (s3_region_ok(region))
		FUZZ_CHECK(strlen(region) <= 40 && !strpbrk(region, "/. \r\n"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = fuzz_string(data, size);
	struct s3_reply r = { 0 };
	struct s3_error e = { 0 };
	const char *p = s, *end = s + size;
	bool room = true;

	while (room && p < end) {
		const char *nl = memchr(p, '\n', end - p);
		size_t n = nl ? (size_t)(nl + 1 - p) : (size_t)(end - p);

		if (n > 12 && memcmp(p, "HTTP/1.1 ", 9) == 0)
			r.status = strtol(p + 9, NULL, 10) % 600;
		room = s3_reply_line(&r, p, n);
		p += n;
		if (n <= 2 && (p[-1] == '\n' || n == 0))
			break; /* the empty line */
	}
	fields(&r);
	if (p < end) {
		buf_add(&r.body, p, end - p);
		r.got = end - p;
	}
	sizes(&r);
	corrections(&r);
	if (r.status) {
		s3_error_from(&r, &e);
		FUZZ_CHECK(e.code <= 0);
		FUZZ_CHECK(!e.code || e.words);
		FUZZ_CHECK(r.status < 300 || r.status == 304 || e.code < 0);
	}
	s3_error_release(&e);
	s3_reply_release(&r);
	return 0;
}
