/* SPDX-License-Identifier: MIT */
/* The test proxy's view of HTTP: framing at any split, headers, classes. */
#include <config.h>

#include "tests/lib/unit.h"

#include <string.h>

#include "common/cleanup.h"
#include "tests/lib/proxy-fault.h"
#include "tests/lib/proxy-http.h"

/* Feeds text in pieces of step bytes; one letter per event, body bytes are
 * collected. */
static void
run(struct http *h, const char *text, size_t step, struct buf *events,
    struct buf *body)
{
	size_t left = strlen(text), used, n;

	while (left) {
		const char *p = text;
		enum http_event ev;

		n = left < step ? left : step;
		while ((ev = http_feed(h, p, n, &used)) != HTTP_MORE) {
			if (ev == HTTP_HEAD)
				buf_addch(events, 'H');
			if (ev == HTTP_END)
				buf_addch(events, 'E');
			if (ev == HTTP_BAD) {
				buf_addch(events, '!');
				return;
			}
			if (ev == HTTP_BODY)
				buf_add(body, p, used);
			p += used;
			n -= used;
		}
		left -= left < step ? left : step;
		text += step;
	}
}

static void
test_framing(void **state)
{
	static const struct {
		bool reply;
		const char *text, *events, *body;
	} t[] = {
		{false,
		 "PUT /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
		 "GET /b HTTP/1.1\r\n\r\n",
		 "HEHE", "abc"},
		{false, "PUT /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "HE",
		 ""},
		{true,
		 "HTTP/1.1 100 Continue\r\n\r\n"
		 "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
		 "HEHE", "ok"},
		{true, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
		 "HE", ""},
		{true,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "5\r\nhello\r\n0\r\n\r\n"
		 "HTTP/1.1 204 No Content\r\n\r\n",
		 "HEHE", "5\r\nhello\r\n0\r\n\r\n"},
		{true, "HTTP/1.1 200 OK\r\n\r\nuntil the end", "H",
		 "until the end"},
		{false, "nonsense\r\n\r\n", "!", ""},
		{true, "SSH-2.0-OpenSSH\r\n\r\n", "!", ""},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (size_t step = 1; step < 80; step++) {
			_cleanup_buf_ struct buf ev = BUF_INIT, body = BUF_INIT;
			struct http h;

			http_init(&h, t[i].reply);
			run(&h, t[i].text, step, &ev, &body);
			assert_string_equal(buf_str(&ev), t[i].events);
			assert_string_equal(buf_str(&body), t[i].body);
			http_release(&h);
		}
	}
}

static void
test_headers(void **state)
{
	_cleanup_buf_ struct buf head = BUF_INIT;
	_cleanup_free_ char *a = NULL, *b = NULL;

	buf_addstr(&head, "HTTP/1.1 200 OK\r\nETag:  \"x\" \r\nA: 1\r\n\r\n");
	a = http_header(&head, "etag");
	assert_string_equal(a, "\"x\"");
	assert_null(http_header(&head, "Absent"));
	http_set_header(&head, "A", "2");
	http_set_header(&head, "B", "3");
	http_set_header(&head, "ETag", NULL);
	assert_string_equal(head.s, "HTTP/1.1 200 OK\r\nA: 2\r\nB: 3\r\n\r\n");
	b = http_header(&head, "b");
	assert_string_equal(b, "3");
}

static void
test_class(void **state)
{
	static const char *const t[][2] = {
		{"GET /b/k HTTP/1.1\r\n\r\n", "GET"},
		{"GET /b/k?prefixes=1 HTTP/1.1\r\n\r\n", "GET"},
		{"GET /b?list-type=2&prefix=a HTTP/1.1\r\n\r\n", "LIST"},
		{"PUT /b/k HTTP/1.1\r\n\r\n", "PUT"},
		{"PUT /b/k HTTP/1.1\r\nx-amz-copy-source: /b/l\r\n\r\n",
		 "COPY"},
		{"PUT /b/k?partNumber=1&uploadId=u HTTP/1.1\r\n\r\n", "PART"},
		{"PUT /b/k?partNumber=1&uploadId=u HTTP/1.1\r\n"
		 "x-amz-copy-source: /b/l\r\n\r\n",
		 "PART_COPY"},
		{"POST /b/k?uploads HTTP/1.1\r\n\r\n", "CREATE"},
		{"POST /b/k?uploadId=u HTTP/1.1\r\n\r\n", "COMPLETE"},
		{"POST /b?delete= HTTP/1.1\r\n\r\n", "DELETE_MANY"},
		{"DELETE /b/k HTTP/1.1\r\n\r\n", "DELETE"},
		{"DELETE /b/k?uploadId=u HTTP/1.1\r\n\r\n", "ABORT"},
		{"HEAD /b/k HTTP/1.1\r\n\r\n", "HEAD"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct http h;
		size_t used;

		http_init(&h, false);
		assert_int_equal(http_feed(&h, t[i][0], strlen(t[i][0]), &used),
				 HTTP_HEAD);
		assert_string_equal(http_class(&h), t[i][1]);
		http_release(&h);
	}
}

static void
test_faults(void **state)
{
	_cleanup_err_ struct err err = ERR_INIT;
	const struct fault *f;
	struct faults faults;

	faults_init(&faults);
	assert_int_equal(faults_add(&faults,
				    "match=method:PUT path=/x n=2 skip=1 "
				    "status=503 Slow Down",
				    &err),
			 0);
	assert_null(faults_match(&faults, "GET", "GET", "/x"));
	assert_null(faults_match(&faults, "PUT", "PUT", "/y"));
	assert_null(faults_match(&faults, "PUT", "PUT", "/x"));
	f = faults_match(&faults, "PART", "PUT", "/x");
	assert_non_null(f);
	assert_int_equal(f->kind, FAULT_STATUS);
	assert_int_equal(f->arg, 503);
	assert_string_equal(f->text, "503 Slow Down");
	assert_non_null(faults_match(&faults, "PUT", "PUT", "/x"));
	assert_null(faults_match(&faults, "PUT", "PUT", "/x"));
	assert_int_equal(faults.hits, 2);
	assert_int_equal(faults_add(&faults, "nonsense", &err), -EINVAL);
	faults_clear(&faults);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_class),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
