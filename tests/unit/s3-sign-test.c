/* SPDX-License-Identifier: MIT */
/* The signer against the vectors that AWS publishes for S3. */
#include <config.h>

#include "tests/lib/unit.h"

#include "backends/s3-sign.h"

#include <stdlib.h>
#include <string.h>

#define HOST { "host", "examplebucket.s3.amazonaws.com" }
#define DATE { "x-amz-date", "20130524T000000Z" }

static void
check(const char *method, const char *path, const char *query,
      const struct s3_hdr *h, size_t n, const char *sha, const char *want)
{
	struct s3_sign_cache cache;
	struct s3_sign_req r = {
		.method = method, .path = path, .query = query, .hdrs = h,
		.nhdrs = n, .payload_hash = sha, .region = "us-east-1",
		.service = "s3", .access_key = "AKIAIOSFODNN7EXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		.now = 1369353600,
	};

	s3_sign_cache_init(&cache);
	/* without, into, and out of the cache */
	for (int i = 0; i < 3; i++) {
		char *got = s3_sign(i ? &cache : NULL, &r);
		char *sig = strstr(got, "Signature=");

		assert_non_null(sig);
		assert_string_equal(sig + 10, want);
		assert_non_null(strstr(got, "Credential=AKIAIOSFODNN7EXAMPLE/"
					    "20130524/us-east-1/s3/"
					    "aws4_request,"));
		free(got);
	}
	s3_sign_cache_release(&cache);
}

static void
get_object(void **state)
{
	const struct s3_hdr h[] = {
		{ "x-amz-content-sha256", S3_EMPTY_SHA256 }, DATE,
		{ "range", "bytes=0-9" }, HOST };

	check("GET", "/test.txt", "", h, 4, S3_EMPTY_SHA256,
	      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void
put_object(void **state)
{
	char sha[65];

	s3_sha256_hex("Welcome to Amazon S3.", 21, sha);
	const struct s3_hdr h[] = {
		{ "date", "Fri, 24 May 2013 00:00:00 GMT" },
		{ "x-amz-content-sha256", sha }, DATE, HOST,
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" } };

	check("PUT", "/test%24file.text", "", h, 5, sha,
	      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void
get_lifecycle(void **state)
{
	const struct s3_hdr h[] = {
		HOST, DATE, { "x-amz-content-sha256", S3_EMPTY_SHA256 } };

	check("GET", "/", "lifecycle=", h, 3, S3_EMPTY_SHA256,
	      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

static void
list_objects(void **state)
{
	const struct s3_hdr h[] = {
		HOST, DATE, { "x-amz-content-sha256", S3_EMPTY_SHA256 } };

	check("GET", "/", "max-keys=2&prefix=J", h, 3, S3_EMPTY_SHA256,
	      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void
blanks_fold(void **state)
{
	const struct s3_hdr a[] = { HOST, DATE, { "x-amz-meta-a", "b c" } };
	const struct s3_hdr b[] = { HOST, DATE, { "x-amz-meta-a", " b   c " } };
	struct s3_sign_req r = { .method = "GET", .path = "/", .query = "",
		.hdrs = a, .nhdrs = 3, .payload_hash = S3_UNSIGNED,
		.region = "r", .service = "s3", .access_key = "k",
		.secret_key = "s" };
	char *one = s3_sign(NULL, &r), *two;

	r.hdrs = b;
	two = s3_sign(NULL, &r);
	assert_string_equal(one, two);
	free(one);
	free(two);
}

static void
encode(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	s3_uri_encode(&b, "a b/c+\xc3\xa9~", 9, true);
	assert_string_equal(buf_str(&b), "a%20b/c%2B%C3%A9~");
	buf_reset(&b);
	s3_uri_encode(&b, "a/\0", 3, false);
	assert_string_equal(buf_str(&b), "a%2F%00");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_object),
		cmocka_unit_test(put_object),
		cmocka_unit_test(get_lifecycle),
		cmocka_unit_test(list_objects),
		cmocka_unit_test(blanks_fold),
		cmocka_unit_test(encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
