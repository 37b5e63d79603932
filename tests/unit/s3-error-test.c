/* SPDX-License-Identifier: MIT */
/* Every row of s3-errno.def, answers of all kinds, and the digests. */
#include <config.h>

#include "tests/lib/unit.h"

#include "backends/s3-digest.h"
#include "backends/s3-error.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

static void
answer(int status, const char *body, struct s3_error *e)
{
	struct s3_reply r = { .status = status };

	memset(e, 0, sizeof(*e));
	if (body)
		buf_addstr(&r.body, body);
	s3_error_from(&r, e);
	s3_reply_release(&r);
}

static void
table(void **state)
{
	for (size_t i = 0; i < s3_errno_count; i++) {
		const struct s3_errno *t = &s3_errno_table[i];
		struct s3_error e;
		char *body;

		assert_true(t->err > 0);
		assert_true(t->class != S3_CLASS_OK);
		for (size_t k = 0; k < i; k++) {
			const struct s3_errno *o = &s3_errno_table[k];

			assert_false(t->code && o->code &&
				     strcmp(t->code, o->code) == 0);
			assert_false(!t->code && !o->code &&
				     t->status == o->status);
		}
		if (!t->code) {
			answer(t->status, NULL, &e);
			assert_int_equal(e.code, -t->err);
			assert_int_equal(e.class, t->class);
			assert_non_null(e.words);
			s3_error_release(&e);
			continue;
		}
		body = xasprintf("<Error><Code>%s</Code><Message>m</Message>"
				 "</Error>",
				 t->code);
		answer(403, body, &e);
		assert_int_equal(e.code, -t->err);
		assert_int_equal(e.class, t->class);
		assert_non_null(strstr(e.words, t->code));
		s3_error_release(&e);
		/* A 200 can be an error too. */
		answer(200, body, &e);
		assert_int_equal(e.code, -t->err);
		assert_true(e.unclear);
		s3_error_release(&e);
		free(body);
	}
}

static void
answers(void **state)
{
	struct s3_error e;

	answer(200, "<CopyObjectResult/>", &e);
	assert_int_equal(e.code, 0);
	s3_error_release(&e);
	answer(304, NULL, &e);
	assert_int_equal(e.code, 0);
	s3_error_release(&e);
	/* A code that nobody knows. */
	answer(400, "<Error><Code>Newfangled</Code></Error>", &e);
	assert_int_equal(e.code, -EINVAL);
	assert_int_equal(e.class, S3_CLASS_FINAL);
	s3_error_release(&e);
	answer(200, "<Error><Code>Newfangled</Code></Error>", &e);
	assert_int_equal(e.class, S3_CLASS_LATER);
	s3_error_release(&e);
	answer(599, NULL, &e);
	assert_int_equal(e.class, S3_CLASS_LATER);
	s3_error_release(&e);
	answer(418, NULL, &e);
	assert_int_equal(e.class, S3_CLASS_FINAL);
	s3_error_release(&e);
	/* A proxy's page. */
	answer(503, "<html>down</html>", &e);
	assert_int_equal(e.class, S3_CLASS_LATER);
	s3_error_release(&e);
	/* A document that is cut short. */
	answer(403, "<Error><Code>SlowDown</Co", &e);
	assert_int_equal(e.code, -EACCES);
	s3_error_release(&e);
}

static void
no_answer(void **state)
{
	static const struct {
		int curl;
		enum s3_class class;
		bool unclear;
	} t[] = {
		{ CURLE_COULDNT_CONNECT, S3_CLASS_LATER, false },
		{ CURLE_COULDNT_RESOLVE_HOST, S3_CLASS_LATER, false },
		{ CURLE_OPERATION_TIMEDOUT, S3_CLASS_LATER, true },
		{ CURLE_PARTIAL_FILE, S3_CLASS_LATER, true },
		{ CURLE_RECV_ERROR, S3_CLASS_LATER, true },
		{ CURLE_SEND_ERROR, S3_CLASS_LATER, true },
		{ CURLE_GOT_NOTHING, S3_CLASS_LATER, true },
		{ CURLE_PEER_FAILED_VERIFICATION, S3_CLASS_FINAL, false },
		{ CURLE_SSL_CACERT_BADFILE, S3_CLASS_FINAL, false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct s3_reply r = { .curl = t[i].curl };
		struct s3_error e = { 0 };

		s3_error_from(&r, &e);
		assert_true(e.code < 0);
		assert_int_equal(e.class, t[i].class);
		assert_int_equal(e.unclear, t[i].unclear);
		s3_error_release(&e);
		s3_reply_release(&r);
	}
}

/* What the store was not sent is no fault of the store's. */
static void
no_bytes(void **state)
{
	static const int source[] = { -EIO, -ENODATA };

	for (size_t i = 0; i < sizeof(source) / sizeof(source[0]); i++) {
		struct s3_reply r = { .curl = CURLE_ABORTED_BY_CALLBACK,
				      .source = source[i] };
		struct s3_error e = { 0 };

		s3_error_from(&r, &e);
		assert_int_equal(e.code, source[i]);
		assert_int_equal(e.class, S3_CLASS_FINAL);
		assert_false(e.unclear);
		assert_non_null(strstr(e.words, "reading the bytes to send"));
		s3_error_release(&e);
		s3_reply_release(&r);
	}
}

static void
crcs(void **state)
{
	struct s3_crc *t = s3_crc_new();
	char text[1001];

	assert_true(s3_crc64nvme(t, 0, "123456789", 9) ==
		    UINT64_C(0xae8b14860a799888));
	assert_true(s3_crc32c(t, 0, "123456789", 9) == 0xe3069283u);
	/* in pieces as at once */
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i * 7;
	for (size_t i = 0; i < sizeof(text); i += 13) {
		assert_true(s3_crc64nvme(t, s3_crc64nvme(t, 0, text, i),
					 text + i, sizeof(text) - i) ==
			    s3_crc64nvme(t, 0, text, sizeof(text)));
		assert_true(s3_crc32c(t, s3_crc32c(t, 0, text, i), text + i,
				      sizeof(text) - i) ==
			    s3_crc32c(t, 0, text, sizeof(text)));
	}
	s3_crc_free(t);
}

static void
digests(void **state)
{
	struct s3_crc *t = s3_crc_new();
	_cleanup_digest_ struct s3_digest d;

	s3_digest_init(&d, t, S3_WANT_MD5 | S3_WANT_SHA256, S3_SUM_CRC32C);
	s3_digest_add(&d, "12345", 5);
	s3_digest_add(&d, "6789", 4);
	s3_digest_final(&d);
	assert_string_equal(d.md5_hex, "25f9e794323b453885f5181f1b624d0b");
	assert_string_equal(d.md5_b64, "JfnnlDI7RTiF9RgfG2JNCw==");
	assert_string_equal(d.sha_hex, "15e2b0d3c33891ebb0f1ef609ec419420c20e3"
				       "20ce94c65fbc8c3312448eb225");
	assert_string_equal(d.sum_b64, "4waSgw==");
	s3_crc_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(answers),
		cmocka_unit_test(no_answer), cmocka_unit_test(no_bytes),
		cmocka_unit_test(crcs),
		cmocka_unit_test(digests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
