/* SPDX-License-Identifier: MIT */
/*
 * The local disk store: what is put is found again and nothing else is, any
 * damage is a miss (C5, C6), and several stores share one directory (rule 21).
 */
#include <config.h>

#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

/* --- helpers ------------------------------------------------------------- */

static bool
put(struct store *s, const char *path, const char *v, const void *p, size_t n)
{
	struct be_ver bv = box_ver(v);

	return store_put(s, path, &bv, p, n);
}

static struct store_file *
get(struct store *s, const char *path, const char *v)
{
	struct be_ver bv = box_ver(v);

	return store_open(s, path, &bv);
}

/* 1: there, with these bytes.  0: a miss.  Never anything else. */
static int
look(struct store *s, const char *path, const char *v, const char *want,
     size_t n)
{
	struct store_file *f = get(s, path, v);
	_cleanup_free_ char *p = xmalloc(n + 2);
	size_t got = 0;
	int r;

	if (!f)
		return 0;
	assert_int_equal(store_file_size(f), n);
	r = store_read(f, 0, p, n + 1, &got);
	store_close(f);
	if (r < 0) {
		assert_int_equal(r, -EIO);
		return 0;
	}
	assert_int_equal(got, n);
	assert_memory_equal(p, want, n);
	return 1;
}

static unsigned
count_files(const char *dir, const char *suffix)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	if (!d)
		return 0;
	while ((e = readdir(d))) {
		char path[512];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR)
			n += count_files(path, suffix);
		else if (!suffix || strstr(e->d_name, suffix))
			n++;
	}
	return n;
}

/* Path of the only file below dir/v1/clean that is (not) a record. */
static bool
find_file(const char *dir, bool rec, char *out, size_t cap)
{
	char top[128];

	snprintf(top, sizeof(top), "%s/v1/clean", dir);
	for (unsigned i = 0; i < 256; i++) {
		_cleanup_closedir_ DIR *d = NULL;
		struct dirent *e;
		char sub[192];

		snprintf(sub, sizeof(sub), "%s/%02x", top, i);
		d = opendir(sub);
		while (d && (e = readdir(d))) {
			if (e->d_name[0] == '.' ||
			    (strstr(e->d_name, ".rec") != NULL) != rec)
				continue;
			snprintf(out, cap, "%s/%s", sub, e->d_name);
			return true;
		}
	}
	return false;
}

/* --- what is put is found ------------------------------------------------ */

static void
test_put_get(void **state)
{
	static const size_t sizes[] = { 0, 1, 4096, STORE_BLOCK - 1,
					STORE_BLOCK, STORE_BLOCK + 1,
					5 * STORE_BLOCK + 17 };
	struct box *b = *state;

	for (size_t i = 0; i < 7; i++) {
		_cleanup_free_ char *p = box_bytes(sizes[i], (unsigned)i);
		char path[32];

		snprintf(path, sizeof(path), "dir/file %zu", i);
		assert_int_equal(look(b->s, path, "v1", p, sizes[i]), 0);
		assert_true(put(b->s, path, "v1", p, sizes[i]));
		assert_int_equal(look(b->s, path, "v1", p, sizes[i]), 1);
		assert_int_equal(look(b->s, path, "v1", p, sizes[i]), 1);
		/* C6: neither another version nor another file. */
		assert_int_equal(look(b->s, path, "v2", p, sizes[i]), 0);
		assert_int_equal(look(b->s, "other", "v1", p, sizes[i]), 0);
	}
}

static void
test_unknown_version(void **state)
{
	struct box *b = *state;
	struct be_ver none = { 0 };

	assert_false(store_put(b->s, "a", &none, "x", 1));
	assert_null(store_open(b->s, "a", &none));
}

static void
test_read_anywhere(void **state)
{
	struct box *b = *state;
	size_t n = 3 * STORE_BLOCK + 1000;
	_cleanup_free_ char *p = box_bytes(n, 5), *q = xmalloc(n);
	unsigned x = 12345;

	assert_true(put(b->s, "f", "v", p, n));
	for (unsigned i = 0; i < 300; i++) {
		struct store_file *f = get(b->s, "f", "v");

		assert_non_null(f);
		for (unsigned k = 0; k < 3; k++) {
			size_t off, len, got, want;

			x = x * 1103515245u + 12345u;
			off = x % (n + 100);
			x = x * 1103515245u + 12345u;
			len = x % (2 * STORE_BLOCK);
			want = off >= n ? 0 : len < n - off ? len : n - off;
			assert_int_equal(store_read(f, off, q, len, &got), 0);
			assert_int_equal(got, want);
			if (got)
				assert_memory_equal(q, p + off, got);
		}
		store_close(f);
	}
}

static void
test_restart(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *p = box_bytes(200000, 1);

	assert_true(put(b->s, "f", "v", p, 200000));
	store_free(b->s);
	b->s = box_store(b->dir, "one", 0, 0);
	assert_int_equal(look(b->s, "f", "v", p, 200000), 1);
}

/* Rule 21: one instance, one daemon; clean content is everybody's. */
static void
test_instances(void **state)
{
	struct box *b = *state;
	struct store_config cfg = { .dir = b->dir, .instance = "one",
				    .store_id = "test-store" };
	_cleanup_err_ struct err err = ERR_INIT;
	struct store *s = NULL, *two;

	assert_int_equal(store_new(&cfg, &s, &err), -EBUSY);
	assert_null(s);
	assert_non_null(strstr(err_words(&err), "one"));
	two = box_store(b->dir, "two", 0, 0);
	assert_true(put(b->s, "f", "v", "hello", 5));
	assert_int_equal(look(two, "f", "v", "hello", 5), 1);
	store_free(two);
	cfg.store_id = "another";
	cfg.instance = "two";
	assert_int_equal(store_new(&cfg, &two, &err), 0);
	assert_int_equal(look(two, "f", "v", "hello", 5), 0);
	store_free(two);
	cfg.instance = "../x";
	assert_int_equal(store_new(&cfg, &two, &err), -EINVAL);
}

static void
test_private_publish(void **state)
{
	struct box *b = *state;
	size_t n = 3 * STORE_BLOCK + 5;
	_cleanup_free_ char *p = box_bytes(n, 9), *name = NULL;
	struct be_ver v = box_ver("v");
	struct stat st;
	int fd, again;

	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(pwrite(fd, p, n, 0), (ssize_t)n);
	assert_int_equal(store_private_open(b->s, name, &again), 0);
	close(again);
	assert_true(store_publish(b->s, name, fd, "f", &v, n));
	assert_int_equal(store_private_open(b->s, name, &again), -ENOENT);
	close(fd);
	assert_int_equal(look(b->s, "f", "v", p, n), 1);
	free(steal_ptr(&name));

	/* A size that is not the file's: not published, and gone. */
	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	assert_int_equal(pwrite(fd, p, n, 0), (ssize_t)n);
	assert_false(store_publish(b->s, name, fd, "g", &v, n + 1));
	assert_int_equal(store_private_open(b->s, name, &again), -ENOENT);
	close(fd);
	assert_int_equal(look(b->s, "g", "v", p, n), 0);
}

static bool
keep_named(void *arg, const char *name)
{
	return strcmp(arg, name) == 0;
}

static void
test_private_sweep(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *kept = NULL, *lost = NULL;
	int fd;

	assert_int_equal(store_private_new(b->s, &fd, &kept), 0);
	close(fd);
	assert_int_equal(store_private_new(b->s, &fd, &lost), 0);
	close(fd);
	store_free(b->s);
	b->s = box_store(b->dir, "one", 0, 0);
	/* Not before it is known what a journal or a handle names. */
	assert_int_equal(store_private_open(b->s, lost, &fd), 0);
	close(fd);
	store_private_sweep(b->s, keep_named, kept);
	assert_int_equal(store_private_open(b->s, lost, &fd), -ENOENT);
	assert_int_equal(store_private_open(b->s, kept, &fd), 0);
	close(fd);
	store_private_drop(b->s, kept);
	assert_int_equal(store_private_open(b->s, "../lock", &fd), -EINVAL);
}

static void
test_rekey(void **state)
{
	static const size_t sizes[] = { 1000, 40u << 20 };
	struct box *b = *state;

	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *p = box_bytes(sizes[i], 3);
		struct be_ver v1 = box_ver("v1"), v2 = box_ver("v2");
		char last[300];

		assert_false(store_rekey(b->s, "none", &v1, "b", &v2));
		assert_true(put(b->s, "a", "v1", p, sizes[i]));
		assert_true(store_rekey(b->s, "a", &v1, "b", &v2));
		assert_false(store_rekey(b->s, "a", &v1, "b", &v2));
		assert_int_equal(look(b->s, "b", "v2", p, sizes[i]), 1);
		assert_int_equal(look(b->s, "b", "v1", p, sizes[i]), 0);
		assert_int_equal(look(b->s, "a", "v1", p, sizes[i]), 0);
		/* Many renames. */
		for (unsigned k = 0; k < 40; k++) {
			char from[300], to[300];

			snprintf(from, sizeof(from), "%0200u", k);
			snprintf(to, sizeof(to), "%0200u", k + 1);
			assert_true(store_rekey(b->s, k ? from : "b", &v2, to,
						&v2));
			assert_int_equal(look(b->s, to, "v2", p, sizes[i]), 1);
		}
		snprintf(last, sizeof(last), "%0200u", 40);
		store_forget(b->s, last, &v2);
		assert_int_equal(look(b->s, last, "v2", p, sizes[i]), 0);
		assert_int_equal(count_files(b->dir, ".rec"), 0);
		store_free(b->s);
		box_remove_tree(b->dir);
		mkdir(b->dir, 0700);
		b->s = box_store(b->dir, "one", 0, 0);
	}
}

/* --- damage is a miss (C5, C6) ------------------------------------------- */

/* Clocks of files tick slower than this test runs. */
static void
new_ctime(const char *path, const struct stat *before)
{
	struct stat st;

	do {
		assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
		assert_int_equal(stat(path, &st), 0);
	} while (st.st_ctim.tv_sec == before->st_ctim.tv_sec &&
		 st.st_ctim.tv_nsec == before->st_ctim.tv_nsec);
}

static void
flip_file(const char *path, off_t at)
{
	_cleanup_close_ int fd = open(path, O_RDWR);
	struct stat st;
	char c;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 0x10;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	new_ctime(path, &st);
}

static void
cut_file(const char *path, off_t size)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, size), 0);
	new_ctime(path, &st);
}

struct damage {
	struct box *b;
	const char *path;
	char *p;
	size_t n;
	char content[512], rec[512];
};

/* The content is whole and known to be good; both paths are found. */
static void
fresh(struct damage *d)
{
	assert_true(put(d->b->s, d->path, "v", d->p, d->n));
	assert_int_equal(look(d->b->s, d->path, "v", d->p, d->n), 1);
	assert_true(find_file(d->b->dir, false, d->content,
			      sizeof(d->content)));
	if (!find_file(d->b->dir, true, d->rec, sizeof(d->rec)))
		d->rec[0] = '\0';
}

/* Too long for an attribute: its records are files. */
#define LONG_FILL "%02000d"

/* A miss, counted, and a second look does not even find it. */
static void
is_miss(struct damage *d)
{
	assert_int_equal(look(d->b->s, d->path, "v", d->p, d->n), 0);
	assert_int_equal(access(d->content, F_OK), -1);
	assert_int_equal(look(d->b->s, d->path, "v", d->p, d->n), 0);
}

static void
damage_content(struct box *b, const char *path, size_t n)
{
	_cleanup_free_ char *p = box_bytes(n, 77);
	struct damage d = { .b = b, .path = path, .p = p, .n = n };
	size_t step = n / 9 + 1;
	struct store_stats st;

	for (size_t at = 0; at < n; at += step) {
		fresh(&d);
		flip_file(d.content, (off_t)at);
		is_miss(&d);
	}
	fresh(&d);
	flip_file(d.content, (off_t)n - 1);
	is_miss(&d);
	store_stats_get(b->s, &st);
	assert_true(st.bad_blocks >= 2);
	for (size_t at = 0; at < n; at += step) {
		fresh(&d);
		cut_file(d.content, (off_t)at);
		is_miss(&d);
	}
	fresh(&d);
	cut_file(d.content, (off_t)n + 1);
	is_miss(&d);
	/* Cut while it is open: found by the read. */
	{
		struct store_file *f;
		size_t got;
		char c[16];

		fresh(&d);
		f = get(b->s, path, "v");
		assert_non_null(f);
		cut_file(d.content, 0);
		assert_int_equal(store_read(f, 0, c, 1, &got), -EIO);
		assert_int_equal(store_verify(f), -EIO);
		store_close(f);
		is_miss(&d);
	}
	/* Something else in its place. */
	fresh(&d);
	assert_int_equal(unlink(d.content), 0);
	assert_int_equal(mkdir(d.content, 0700), 0);
	assert_int_equal(look(b->s, path, "v", p, n), 0);
	assert_int_equal(rmdir(d.content), 0);
	assert_int_equal(symlink("/etc/passwd", d.content), 0);
	assert_int_equal(look(b->s, path, "v", p, n), 0);
	unlink(d.content);
	assert_int_equal(mkfifo(d.content, 0600), 0);
	assert_int_equal(look(b->s, path, "v", p, n), 0);
	unlink(d.content);
}

static void
test_damaged_content(void **state)
{
	damage_content(*state, "f", 1000);
	damage_content(*state, "f", 3 * STORE_BLOCK + 100);
}

static void
test_damaged_content_rec_file(void **state)
{
	char path[2100];

	snprintf(path, sizeof(path), LONG_FILL, 1);
	damage_content(*state, path, 3 * STORE_BLOCK + 100);
}

static void
xattr_name(const char *content, char *out, size_t cap)
{
	char list[4096];
	ssize_t n = listxattr(content, list, sizeof(list));

	out[0] = '\0';
	for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
		if (strncmp(p, "user.sfs.", 9) == 0 && strlen(p) < cap)
			memcpy(out, p, strlen(p) + 1);
}

static void
test_damaged_record(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *p = box_bytes(2000, 8);
	struct damage d = { .b = b, .path = "f", .p = p, .n = 2000 };
	char rec[4096] = { 0 }, name[XATTR_NAME_MAX + 1];
	ssize_t len;

	fresh(&d);
	xattr_name(d.content, name, sizeof(name));
	if (!name[0]) {
		print_message("no user attributes here: not tested\n");
		skip();
	}
	len = getxattr(d.content, name, rec, sizeof(rec));
	assert_true(len > 0);
	for (ssize_t at = 0; at < len; at++) {
		fresh(&d);
		rec[at] ^= 1;
		assert_int_equal(setxattr(d.content, name, rec, (size_t)len, 0),
				 0);
		rec[at] ^= 1;
		is_miss(&d);
	}
	for (ssize_t cut = 0; cut < len; cut++) {
		fresh(&d);
		assert_int_equal(setxattr(d.content, name, rec, (size_t)cut, 0),
				 0);
		is_miss(&d);
	}
	fresh(&d);
	assert_int_equal(removexattr(d.content, name), 0);
	is_miss(&d);
	fresh(&d);
	assert_int_equal(setxattr(d.content, name, rec, sizeof(rec) / 2 + 500,
				  0), 0);
	is_miss(&d);
}

static void
test_damaged_record_file(void **state)
{
	struct box *b = *state;
	size_t n = 3 * STORE_BLOCK;
	_cleanup_free_ char *p = box_bytes(n, 8);
	char path[2100];
	struct damage d = { .b = b, .path = path, .p = p, .n = n };
	struct stat st;

	snprintf(path, sizeof(path), LONG_FILL, 1);
	fresh(&d);
	assert_true(d.rec[0] != '\0');
	assert_int_equal(stat(d.rec, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		if (at > 150 && at < st.st_size - 60)
			at += 40;
		fresh(&d);
		flip_file(d.rec, at);
		is_miss(&d);
	}
	for (off_t cut = 0; cut < st.st_size; cut += 31) {
		fresh(&d);
		cut_file(d.rec, cut);
		is_miss(&d);
	}
	fresh(&d);
	assert_int_equal(unlink(d.rec), 0);
	is_miss(&d);
}

/* Two good files under each other's names: neither is what it is called. */
static void
test_swapped(void **state)
{
	struct box *b = *state;

	for (size_t i = 0; i < 2; i++) {
		size_t n = 2000;
		_cleanup_free_ char *p = box_bytes(n, 1), *q = box_bytes(n, 2);
		char a[512], c[512], arec[512], crec[512];
		char na[2100], nc[2100];
		bool has_rec;

		snprintf(na, sizeof(na), i ? LONG_FILL : "%d", 1);
		snprintf(nc, sizeof(nc), i ? LONG_FILL : "%d", 2);
		assert_true(put(b->s, na, "v", p, n));
		assert_true(find_file(b->dir, false, a, sizeof(a)));
		has_rec = find_file(b->dir, true, arec, sizeof(arec));
		assert_int_equal(rename(a, "swap.tmp"), 0);
		if (has_rec)
			assert_int_equal(rename(arec, "swap.rec"), 0);
		assert_true(put(b->s, nc, "v", q, n));
		assert_true(find_file(b->dir, false, c, sizeof(c)));
		assert_int_equal(rename(c, a), 0);
		assert_int_equal(rename("swap.tmp", c), 0);
		if (has_rec) {
			assert_true(find_file(b->dir, true, crec,
					      sizeof(crec)));
			assert_int_equal(rename(crec, arec), 0);
			assert_int_equal(rename("swap.rec", crec), 0);
		}
		assert_int_equal(look(b->s, na, "v", p, n), 0);
		assert_int_equal(look(b->s, nc, "v", q, n), 0);
	}
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, \
							box_teardown)
	const struct CMUnitTest tests[] = {
		T(test_put_get),	 T(test_unknown_version),
		T(test_read_anywhere),	 T(test_restart),
		T(test_instances),	 T(test_private_publish),
		T(test_private_sweep),	 T(test_rekey),
		T(test_damaged_content),
		T(test_damaged_content_rec_file),
		T(test_damaged_record),
		T(test_damaged_record_file), T(test_swapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
