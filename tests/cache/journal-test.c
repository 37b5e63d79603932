/* SPDX-License-Identifier: MIT */
/* What a killed daemon has to find again comes back whole or not at all. */
#include <config.h>

#include "cache/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

static void
take(void *arg, const char *name, struct journal_rec *r)
{
	struct journal_rec *out = arg;

	assert_null(out->path);
	*out = *r;
	memset(r, 0, sizeof(*r));
}

static void
test_journal(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *name = NULL, *other = NULL;
	gid_t groups[2] = { 4, 5 };
	struct range dirty[2] = { { 0, 10 }, { 100, 28 } };
	struct journal_rec got = { 0 }, r = {
		.path = (char *)"d/\xff\xfe name",
		.state = JOURNAL_FAILED,
		.uid = 33, .gid = 34, .groups = groups, .ngroups = 2,
		.opid = { "0123456789abcdef0123456789abcdef" },
		.cond = { BE_MATCH, box_ver("\"etag\"") },
		.base = box_ver("\"etag\""), .base_size = 50, .size = 128,
		.dirty = dirty, .ndirty = 2, .mask = BE_SET_MTIME,
		.mode = S_IFREG | 0640, .owner = 1, .group = 2,
		.atime = { 5, 6 }, .mtime = { -7, 8 }, .since = { 9, 10 },
		.error = -EDQUOT, .words = (char *)"PUT: HTTP 403",
	};
	char path[512];
	int fd;

	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	close(fd);
	assert_int_equal(store_private_new(b->s, &fd, &other), 0);
	close(fd);
	assert_int_equal(journal_put(b->s, name, &r, NULL), 0);
	assert_int_equal(journal_put(b->s, name, &r, NULL), 0);
	store_free(b->s);
	b->s = box_store(b->dir, "one", 0, 0);
	assert_int_equal(journal_scan(b->s, take, &got), 0);
	assert_string_equal(got.path, r.path);
	assert_int_equal(got.state, r.state);
	assert_int_equal(got.uid, 33);
	assert_int_equal(got.gid, 34);
	assert_int_equal(got.ngroups, 2);
	assert_int_equal(got.groups[1], 5);
	assert_string_equal(got.opid.s, r.opid.s);
	assert_int_equal(got.cond.pre, BE_MATCH);
	assert_true(be_ver_equal(&got.cond.ver, &r.cond.ver));
	assert_true(be_ver_equal(&got.base, &r.base));
	assert_false(got.whole);
	assert_int_equal(got.base_size, 50);
	assert_int_equal(got.size, 128);
	assert_int_equal(got.ndirty, 2);
	assert_memory_equal(got.dirty, dirty, sizeof(dirty));
	assert_int_equal(got.mask, r.mask);
	assert_int_equal(got.mode, r.mode);
	assert_int_equal(got.owner, 1);
	assert_int_equal(got.group, 2);
	assert_int_equal(got.mtime.tv_sec, -7);
	assert_int_equal(got.atime.tv_nsec, 6);
	assert_int_equal(got.since.tv_sec, 9);
	assert_int_equal(got.error, -EDQUOT);
	assert_string_equal(got.words, r.words);
	journal_rec_release(&got);

	/* Each prefix of a record is refused and left alone. */
	snprintf(path, sizeof(path), "%s/v1/mounts/one/journal/%s.j", b->dir,
		 name);
	for (off_t n = 400; n >= 0; n -= 50) {
		assert_int_equal(truncate(path, n), 0);
		assert_int_equal(journal_scan(b->s, take, &got), 1);
		assert_null(got.path);
	}
	assert_int_equal(access(path, F_OK), 0);
	journal_drop(b->s, name, true);
	journal_drop(b->s, name, true);
	assert_int_equal(journal_scan(b->s, take, &got), 0);
	/* A record whose file is gone speaks of nothing. */
	assert_int_equal(journal_put(b->s, other, &r, NULL), 0);
	store_private_drop(b->s, other);
	assert_int_equal(journal_scan(b->s, take, &got), 0);
	assert_null(got.path);
	snprintf(path, sizeof(path), "%s/v1/mounts/one/journal/%s.j", b->dir,
		 other);
	assert_int_equal(access(path, F_OK), -1);
}

static off_t
size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void
expect_size(struct box *b, uint64_t size)
{
	struct journal_rec got = { 0 };

	assert_int_equal(journal_scan(b->s, take, &got), 0);
	assert_non_null(got.path);
	assert_int_equal(got.size, size);
	journal_rec_release(&got);
}

/* Records that follow each other: the last complete one counts, whichever byte
 * of the next one was the last to be written. */
static void
test_lines(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *name = NULL;
	struct journal_at at = JOURNAL_AT_INIT;
	struct journal_rec r = { .path = (char *)"f", .size = 1 };
	char path[512];
	off_t first, second;
	int fd;

	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/v1/mounts/one/journal/%s.j", b->dir,
		 name);
	assert_int_equal(journal_put(b->s, name, &r, &at), 0);
	first = size_of(path);
	r.size = 2;
	assert_int_equal(journal_put(b->s, name, &r, &at), 0);
	second = size_of(path);
	assert_true(second > first);
	expect_size(b, 2);
	for (off_t n = second - 1; n >= first; n--) {
		assert_int_equal(truncate(path, n), 0);
		expect_size(b, 1);
	}
	at.end = first;
	/* It does not grow for ever. */
	for (r.size = 3; r.size < 300; r.size++) {
		assert_int_equal(journal_put(b->s, name, &r, &at), 0);
		expect_size(b, r.size);
		assert_in_range(size_of(path), 1, 1 << 15);
	}
	journal_drop(b->s, name, false);
	journal_close(&at);
	/* Its inode is another's record now, with nothing of the old lines. */
	r.size = 7;
	assert_int_equal(journal_put(b->s, name, &r, &at), 0);
	assert_int_equal(size_of(path), first);
	expect_size(b, 7);
	journal_close(&at);
}

static void
count_one(void *arg, const char *name, struct journal_rec *r)
{
	unsigned *n = arg;

	/* Each record speaks of its own file, with its own bytes. */
	assert_string_equal(r->path, name);
	assert_int_equal(r->size, strlen(r->words));
	++*n;
}

/* Inodes of old records are used again: long and short ones, in any order. */
static void
test_many(void **state)
{
	struct box *b = *state;
	char *name[50], words[3000];
	unsigned seen = 0, x = 7;

	for (unsigned i = 0; i < 50; i++) {
		int fd;

		assert_int_equal(store_private_new(b->s, &fd, &name[i]), 0);
		close(fd);
	}
	for (unsigned i = 0; i < 2000; i++) {
		unsigned k;
		struct journal_rec r = { .state = JOURNAL_FAILED,
					 .error = -EIO };

		x = x * 1103515245u + 12345u;
		k = (x >> 16) % 50;
		if (x >> 8 & 1) {
			journal_drop(b->s, name[k], true);
			continue;
		}
		r.path = name[k];
		r.words = words;
		r.size = (x >> 10) % (sizeof(words) - 1);
		memset(words, 'w', sizeof(words));
		words[r.size] = '\0';
		assert_int_equal(journal_put(b->s, name[k], &r, NULL), 0);
		assert_true(journal_has(b->s, name[k]));
	}
	for (unsigned i = 0; i < 50; i++)
		seen += journal_has(b->s, name[i]);
	assert_true(seen > 0 && seen < 50);
	for (int again = 0; again < 2; again++) {
		unsigned n = 0;

		assert_int_equal(journal_scan(b->s, count_one, &n), 0);
		assert_int_equal(n, seen);
		store_free(b->s);
		b->s = box_store(b->dir, "one", 0, 0);
	}
	for (unsigned i = 0; i < 50; i++)
		free(name[i]);
}

/* --- after a loss of power ------------------------------------------------- */

/* Puts `to` in place of `from` in journal/FILE. */
static void
edit(struct box *b, const char *file, const char *from, const char *to)
{
	_cleanup_free_ char *path = xasprintf("%s/v1/mounts/one/journal/%s",
					      b->dir, file);
	char text[8192], *at;
	FILE *f = fopen(path, "r+");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	at = strstr(text, from);
	assert_non_null(at);
	rewind(f);
	assert_int_equal(ftruncate(fileno(f), 0), 0);
	fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	assert_int_equal(fclose(f), 0);
}

/* A private file of n bytes with a record; its name. */
static char *
with_record(struct box *b, size_t n, uint64_t size)
{
	struct range dirty = { 0, size };
	struct journal_rec r = {
		.path = (char *)"d/file", .size = size, .dirty = &dirty,
		.ndirty = 1,
	};
	char *name;
	int fd;

	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	assert_int_equal(ftruncate(fd, (off_t)n), 0);
	close(fd);
	assert_int_equal(journal_put(b->s, name, &r, NULL), 0);
	return name;
}

/* What an inode that was used again held before speaks of another file. */
static void
test_other_file(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *name = with_record(b, 10, 10);
	_cleanup_free_ char *file = xasprintf("%s.j", name);
	struct journal_rec got = { 0 };

	edit(b, file, name, "1234");
	assert_int_equal(journal_scan(b->s, take, &got), 1);
	assert_null(got.path);
	assert_true(journal_has(b->s, name));
}

/* The bytes may have got further than what tells of them. */
static void
test_longer_file(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *name = with_record(b, 5000, 10);
	_cleanup_free_ char *file = xasprintf("%s.j", name);
	struct journal_rec got = { 0 };

	assert_int_equal(journal_scan(b->s, take, &got), 0);
	assert_int_equal(journal_fold(b->s, name, &got), 0);
	assert_int_equal(got.size, 10); /* this boot: it knows better */
	journal_rec_release(&got);
	edit(b, file, "\"boot\":\"", "\"boot\":\"not ");
	assert_int_equal(journal_scan(b->s, take, &got), 0);
	assert_int_equal(journal_fold(b->s, name, &got), 0);
	assert_int_equal(got.size, 5000);
	assert_int_equal(got.ndirty, 1);
	assert_int_equal(got.dirty[0].len, 5000);
	journal_rec_release(&got);
}

static void
count_move(void *arg, const struct be_opid *opid, const char *from,
	   const char *to)
{
	(void)opid;
	assert_string_equal(from, "a");
	assert_string_equal(to, "b");
	++*(unsigned *)arg;
}

static void
count_attr(void *arg, struct journal_attr *r)
{
	assert_string_equal(r->path, "f");
	++*(unsigned *)arg;
}

/* What may be older than what was done since is not done again. */
static void
test_other_boot(void **state)
{
	struct box *b = *state;
	struct journal_attr r = { .path = (char *)"f", .mask = BE_SET_MODE };
	_cleanup_free_ char *mv = NULL, *at = NULL;
	struct be_opid opid;
	unsigned n = 0;

	be_opid_new(&opid);
	be_opid_new(&r.id);
	mv = xasprintf("%s.mv", opid.s);
	at = xasprintf("%s.at", r.id.s);
	assert_int_equal(journal_move_put(b->s, &opid, "a", "b"), 0);
	assert_int_equal(journal_attr_put(b->s, &r), 0);
	journal_move_scan(b->s, count_move, &n);
	journal_attr_scan(b->s, count_attr, &n);
	assert_int_equal(n, 2);
	edit(b, mv, "\"boot\":\"", "\"boot\":\"not ");
	edit(b, at, "\"boot\":\"", "\"boot\":\"not ");
	for (int i = 0; i < 2; i++) {
		journal_move_scan(b->s, count_move, &n);
		journal_attr_scan(b->s, count_attr, &n);
		assert_int_equal(n, 2);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_journal, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_other_file, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_longer_file, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_other_boot, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_lines, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_many, box_setup,
						box_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
