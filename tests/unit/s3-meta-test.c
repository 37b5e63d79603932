/* SPDX-License-Identifier: MIT */
/* Attributes in headers: both families, the way back, and nonsense. */
#include <config.h>

#include "tests/lib/unit.h"

#include "backends/s3-key.h"
#include "backends/s3-meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

static const struct s3_meta_config both = { .uid = 33, .gid = 44, .umask = 027 };

/* Pairs of name and value, then NULL. */
static struct s3_head *
head(uint64_t size, const char *const *kv)
{
	struct s3_head *h = s3_head_new("0123", size, 1000000, 1000010);

	for (; *kv; kv += 2)
		s3_fields_add(&h->keep, kv[0], kv[1]);
	return h;
}

static void
attr_of(const char *key, uint64_t size, const char *const *kv,
	struct be_attr *a)
{
	struct s3_head *h = head(size, kv);

	s3_meta_attr(&both, h, key, a);
	s3_head_put(h);
}

#define KV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NONE ((const char *const[]){ NULL })
#define M S3_META

static void
foreign(void **state)
{
	struct be_attr a;

	attr_of("x", 5, NONE, &a);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.uid, 33);
	assert_int_equal(a.gid, 44);
	assert_int_equal(a.size, 5);
	assert_int_equal(a.mtime.tv_sec, 1000000);
	assert_true(a.ino > 1);
	assert_true(a.aver != 0);
	attr_of("x/", 0, NONE, &a);
	assert_int_equal(a.mode, S_IFDIR | 0750);
	attr_of("x", 0, KV("content-type", "application/x-directory"), &a);
	assert_int_equal(a.mode, S_IFDIR | 0750);
	attr_of("x", 0, KV("content-type", "httpd/unix-directory"), &a);
	assert_true(S_ISDIR(a.mode));
	/* with content it is no directory */
	attr_of("x", 1, KV("content-type", "httpd/unix-directory"), &a);
	assert_true(S_ISREG(a.mode));
}

static void
s3fs_keys(void **state)
{
	struct be_attr a;

	attr_of("x", 5, KV(M "mode", "33188", M "uid", "1000", M "gid", "100",
			   M "mtime", "1700000000.000000005", M "ctime", "7",
			   M "atime", "9.5"), &a);
	assert_int_equal(a.mode, S_IFREG | 0644);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.gid, 100);
	assert_int_equal(a.mtime.tv_sec, 1700000000);
	assert_int_equal(a.mtime.tv_nsec, 5);
	assert_int_equal(a.ctime.tv_sec, 7);
	assert_int_equal(a.atime.tv_nsec, 500000000);
	/* rclone writes octal */
	attr_of("x", 5, KV(M "mode", "0100600"), &a);
	assert_int_equal(a.mode, S_IFREG | 0600);
	attr_of("x", 3, KV(M "mode", "41471"), &a);
	assert_int_equal(a.mode, S_IFLNK | 0777);
	attr_of("x", 0, KV(M "mode", "4516"), &a);
	assert_true(S_ISFIFO(a.mode));
}

static void
aws_keys(void **state)
{
	struct be_attr a;

	attr_of("x", 5, KV(M "file-permissions", "0100640", M "file-owner",
			   "7", M "file-group", "8", M "file-mtime",
			   "1595002920000000001ns", M "file-atime",
			   "1595002920500"), &a);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.uid, 7);
	assert_int_equal(a.gid, 8);
	assert_int_equal(a.mtime.tv_sec, 1595002920);
	assert_int_equal(a.mtime.tv_nsec, 1);
	assert_int_equal(a.atime.tv_sec, 1595002920);
	assert_int_equal(a.atime.tv_nsec, 500000000);
	/* s3fs's win */
	attr_of("x", 5, KV(M "file-owner", "7", M "uid", "9"), &a);
	assert_int_equal(a.uid, 9);
	attr_of("x", 5, KV(M "goog-reserved-posix-mode", "0600"), &a);
	assert_int_equal(a.mode, S_IFREG | 0600);
}

/* None of it is believed, none of it hurts. */
static void
nonsense(void **state)
{
	static const char *const bad[] = {
		"", " ", "-1", "x", "99999999999999999999999", "1e9", "0x",
		"1.2.3", "4294967295", "\xff\xfe", "1 ", "nan", "-", ".",
		"--1", "-.5", "07777777777777777777777",
	};
	static const char *const keys[] = { M "mode", M "uid", M "gid",
					    M "file-permissions",
					    M "file-owner", M "mtime",
					    M "file-mtime", M "atime",
					    M "sharedfs-ino", M "sharedfs-op",
					    M "xattr", "content-type" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
			struct be_attr a;

			attr_of("x", 5, KV(keys[k], bad[i]), &a);
			assert_true(S_ISREG(a.mode));
			assert_true(a.mtime.tv_nsec >= 0 &&
				    a.mtime.tv_nsec < 1000000000);
			assert_true(a.atime.tv_nsec >= 0 &&
				    a.atime.tv_nsec < 1000000000);
			assert_true(a.uid != UINT32_MAX);
			assert_true(a.ino > 1);
		}
}

/* Nothing from a store makes a program run as somebody else. */
static void
stripped(void **state)
{
	struct be_attr a;

	attr_of("x", 5, KV(M "mode", "0106755"), &a);
	assert_int_equal(a.mode, S_IFREG | 0755);
	attr_of("x", 0, KV(M "mode", "0020666"), &a); /* a device */
	assert_int_equal(a.mode, S_IFREG | 0666);
	attr_of("x/", 0, KV(M "mode", "042775"), &a);
	assert_int_equal(a.mode, S_IFDIR | 02775);
}

static void
round_trip(void **state)
{
	static const enum s3_posix how[] = { S3_POSIX_BOTH, S3_POSIX_S3FS,
					     S3_POSIX_AWS };
	const struct be_attr a = {
		.mode = S_IFREG | 0751, .uid = 12, .gid = 34, .ino = 0xabcdef,
		.mtime = { 1700000000, 123456789 }, .ctime = { 5, 0 },
		.atime = { 1600000000, 1 } };
	struct be_opid op;

	be_opid_new(&op);
	for (size_t i = 0; i < 3; i++) {
		struct s3_meta_config c = both;
		struct s3_head *h = s3_head_new("e", 9, 0, 0);
		struct be_attr b;

		c.posix = how[i];
		assert_int_equal(s3_meta_put(&c, &a, NULL, true, NULL, &op,
					     &h->keep), 0);
		s3_meta_attr(&c, h, "k", &b);
		assert_int_equal(b.mode, a.mode);
		assert_int_equal(b.uid, a.uid);
		assert_int_equal(b.gid, a.gid);
		assert_int_equal(b.ino, a.ino);
		assert_memory_equal(&b.mtime, &a.mtime, sizeof(a.mtime));
		assert_memory_equal(&b.atime, &a.atime, sizeof(a.atime));
		assert_true(s3_head_has_op(h, &op));
		s3_head_put(h);
	}
}

static void
others_are_kept(void **state)
{
	struct s3_head *old = head(5, KV("content-type", "image/png",
					 "cache-control", "no-cache",
					 M "colour", "red", M "mode", "1",
					 M "md5chksum", "xxx", M "xattr", "yy",
					 S3_META_INO, "00000000000000ff"));
	struct s3_fields f = { 0 };
	struct be_attr a;

	s3_meta_attr(&both, old, "k", &a);
	assert_int_equal(a.ino, 0xff);
	assert_int_equal(s3_meta_put(&both, &a, old, true, NULL, NULL, &f), 0);
	assert_string_equal(s3_fields_get(&f, "content-type"), "image/png");
	assert_string_equal(s3_fields_get(&f, "cache-control"), "no-cache");
	assert_string_equal(s3_fields_get(&f, M "colour"), "red");
	assert_string_equal(s3_fields_get(&f, M "xattr"), "yy");
	assert_string_equal(s3_fields_get(&f, S3_META_INO), "00000000000000ff");
	assert_null(s3_fields_get(&f, M "md5chksum")); /* of other bytes */
	s3_fields_release(&f);
	/* the same bytes: it stays */
	assert_int_equal(s3_meta_put(&both, &a, old, false, "", NULL, &f), 0);
	assert_non_null(s3_fields_get(&f, M "md5chksum"));
	assert_null(s3_fields_get(&f, M "xattr"));
	s3_fields_release(&f);
	s3_head_put(old);
}

static void
too_much(void **state)
{
	struct be_attr a = { .mode = S_IFREG | 0644 };
	struct s3_fields f = { 0 };
	char big[S3_META_MAX + 1];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(s3_meta_put(&both, &a, NULL, true, big, NULL, &f),
			 -ENOSPC);
	s3_fields_release(&f);
}

static void
versions(void **state)
{
	assert_int_equal(s3_meta_aver("e", 1000, 1001), 0); /* too young */
	assert_int_equal(s3_meta_aver("e", 0, 1001), 0);
	assert_true(s3_meta_aver("e", 1000, 1002) != 0);
	assert_true(s3_meta_aver("e", 1000, 1002) !=
		    s3_meta_aver("e", 1001, 1005));
	assert_true(s3_meta_aver("e", 1000, 1002) ==
		    s3_meta_aver("e", 1000, 5000));
}

static void
keys(void **state)
{
	struct be_ctx ctx = { 0 };
	char *k = NULL, name[1100];

	assert_int_equal(s3_key_file(&ctx, "p/", "a/b", &k), 0);
	assert_string_equal(k, "p/a/b");
	free(k);
	assert_int_equal(s3_key_marker(&ctx, "p/", "a/b", &k), 0);
	assert_string_equal(k, "p/a/b/");
	free(k);
	assert_int_equal(s3_key_marker(&ctx, "p/", "", &k), 0);
	assert_string_equal(k, "p/");
	free(k);
	assert_int_equal(s3_key_marker(&ctx, "", "", &k), 0);
	assert_string_equal(k, S3_ROOT_KEY);
	free(k);
	k = NULL;
	assert_int_equal(s3_key_file(&ctx, "", "caf\xe9", &k), -EILSEQ);
	assert_int_equal(s3_key_file(&ctx, "", "\xed\xa0\x80", &k), -EILSEQ);
	assert_int_equal(s3_key_file(&ctx, "", "\xc0\xaf", &k), -EILSEQ);
	assert_int_equal(s3_key_file(&ctx, "", S3_ROOT_KEY, &k), -EPERM);
	assert_null(k);
	memset(name, 'a', sizeof(name));
	for (size_t i = 200; i < 1025; i += 200)
		name[i] = '/';
	name[1024] = '\0';
	assert_int_equal(s3_key_file(&ctx, "", name, &k), 0);
	free(k);
	k = NULL;
	assert_int_equal(s3_key_file(&ctx, "p", name, &k), -ENAMETOOLONG);
	assert_int_equal(s3_key_marker(&ctx, "", name, &k), -ENAMETOOLONG);
	assert_true(s3_utf8_ok("\xf0\x9f\x98\x80"));
	assert_true(s3_key_name_ok("a", 1));
	assert_false(s3_key_name_ok("", 0));
	assert_false(s3_key_name_ok("..", 2));
	assert_false(s3_key_name_ok(name, 300));
}

static void
types(void **state)
{
	assert_string_equal(s3_content_type("a/b.PNG"), "image/png");
	assert_string_equal(s3_content_type("a.png/b"),
			    "application/octet-stream");
	assert_string_equal(s3_content_type("x"), "application/octet-stream");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(foreign),
		cmocka_unit_test(s3fs_keys),
		cmocka_unit_test(aws_keys),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(stripped),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(others_are_kept),
		cmocka_unit_test(too_much),
		cmocka_unit_test(versions),
		cmocka_unit_test(keys),
		cmocka_unit_test(types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
