/* SPDX-License-Identifier: MIT */
/* Bodies of S3's replies, and the small texts in them. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "backends/s3-error.h"
#include "backends/s3-sign.h"
#include "backends/s3-xml.h"
#include "common/buf.h"
#include "common/cleanup.h"

static int
entry(void *arg, const struct s3_xml_entry *e)
{
	FUZZ_CHECK(e->key && e->etag);
	FUZZ_CHECK(e->size <= INT64_MAX);
	FUZZ_CHECK(e->modified.tv_nsec >= 0 &&
		   e->modified.tv_nsec < 1000000000);
	/* Some callers stop early. */
	return ++*(unsigned *)arg == 5 ? 7 : 0;
}

static void
list(const char *p, size_t n)
{
	struct s3_xml_list page = { 0 };
	unsigned seen = 0;
	int ret = s3_xml_list(p, n, entry, &seen, &page);

	FUZZ_CHECK(ret <= 0 || (ret == 7 && seen == 5));
	FUZZ_CHECK(ret || !page.truncated || (page.next && *page.next));
	s3_xml_list_release(&page);
}

static int
upload(void *arg, const struct s3_xml_upload *u)
{
	FUZZ_CHECK(u->key && u->id && *u->id);
	FUZZ_CHECK(u->begun.tv_nsec >= 0 && u->begun.tv_nsec < 1000000000);
	return ++*(unsigned *)arg == 5 ? 7 : 0;
}

static void
uploads(const char *p, size_t n)
{
	struct s3_xml_uploads page = { 0 };
	unsigned seen = 0;
	int ret = s3_xml_uploads(p, n, upload, &seen, &page);

	FUZZ_CHECK(ret <= 0 || (ret == 7 && seen == 5));
	FUZZ_CHECK(ret || !page.truncated || (page.next_id && *page.next_key));
	s3_xml_uploads_release(&page);
}

static void
error(const char *p, size_t n, int status)
{
	struct s3_reply r = { .status = status };
	struct s3_error e = { 0 };

	buf_add(&r.body, p, n);
	s3_error_from(&r, &e);
	FUZZ_CHECK(e.code <= 0 && e.code > -4096);
	FUZZ_CHECK(e.code < 0 || status < 300 || status == 304);
	FUZZ_CHECK(!e.code || e.words);
	FUZZ_CHECK(!e.code || e.class != S3_CLASS_OK);
	s3_error_release(&e);
	s3_reply_release(&r);
}

/* What we encode is decoded to the same. */
static void
encode(const char *s)
{
	for (int keep_slash = 0; keep_slash < 2; keep_slash++) {
		struct buf b = BUF_INIT;

		s3_uri_encode(&b, s, strlen(s), keep_slash);
		for (const char *p = buf_str(&b); *p; p++)
			FUZZ_CHECK(*p > ' ' && *p < 0x7f && *p != '+');
		if (b.s) {
			FUZZ_CHECK(s3_uri_decode(b.s));
			FUZZ_CHECK(strcmp(b.s, s) == 0);
		}
		buf_release(&b);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = { 200, 206, 301, 304, 400, 403, 404, 412,
					500, 503, 599 };
	_cleanup_free_ char *s = NULL, *text = NULL;
	struct timespec t;

	if (!size--)
		return 0;
	s = fuzz_string(data + 1, size);
	switch (data[0]) {
	case 'l':
		list(s, size);
		break;
	case 'm':
		uploads(s, size);
		break;
	case 't':
		s3_xml_text(s, size, "InitiateMultipartUploadResult",
			    "UploadId", &text);
		break;
	case 'u':
		encode(s);
		s3_uri_decode(s);
		break;
	case 'q':
		s3_etag_bare(s);
		if (s3_time_iso(s, &t))
			FUZZ_CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
		break;
	default:
		error(s, size,
		      statuses[data[0] % (sizeof(statuses) / sizeof(int))]);
	}
	return 0;
}
