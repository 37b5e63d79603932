/* SPDX-License-Identifier: MIT */
/* Conformance: names, directories, rename, links, special files, listings. */
#include <config.h>

#include "tests/backends/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

static const struct be_cond any = {BE_ANY};

static int
mkdir_at(const char *path)
{
	struct be_attr attr = attr_of(S_IFDIR | 0750), out;

	return be_mkdir(store(), ctx(), path, &attr, opid(), &out);
}

static int
create_at(const char *path, struct be_attr *out)
{
	struct be_attr attr = attr_of(S_IFREG | 0640), mine;

	return be_create(store(), ctx(), path, &attr, opid(),
			 out ? out : &mine);
}

static int
rename_at(const char *from, const char *to, unsigned flags)
{
	struct be_attr out;

	return be_rename(store(), ctx(), from, to, flags, opid(), 0, NULL,
			 &out);
}

static int
unlink_at(const char *path)
{
	return be_unlink(store(), ctx(), path, &any, opid());
}

static void
root(void **state)
{
	struct be_attr a = stat_of("");

	assert_true(S_ISDIR(a.mode));
	refused(be_rmdir(store(), ctx(), "", opid()), EBUSY);
	refused(mkdir_at(""), EEXIST);
}

static void
directories(void **state)
{
	struct be_attr attr = attr_of(S_IFDIR | 0750), out, a;

	ok(be_mkdir(store(), ctx(), P("d"), &attr, opid(), &out));
	assert_true(S_ISDIR(out.mode));
	a = stat_of(P("d"));
	assert_true(S_ISDIR(a.mode));
	if (caps()->owner)
		assert_int_equal(a.mode & 07777, 0750);
	refused(mkdir_at(P("d")), EEXIST);
	tree_refuses(mkdir_at(P("none/d")), ENOENT);
	put(P("f"), "x");
	tree_refuses(mkdir_at(P("f")), EEXIST);
	tree_refuses(mkdir_at(P("f/d")), ENOTDIR);
	refused(be_rmdir(store(), ctx(), P("f"), opid()), ENOTDIR);
	refused(be_rmdir(store(), ctx(), P("none"), opid()), ENOENT);
	ok(mkdir_at(P("d/e")));
	refused(be_rmdir(store(), ctx(), P("d"), opid()), ENOTEMPTY);
	ok(be_rmdir(store(), ctx(), P("d/e"), opid()));
	assert_true(exists(P("d")));
	put(P("d/f"), "");
	refused(be_rmdir(store(), ctx(), P("d"), opid()), ENOTEMPTY);
	ok(unlink_at(P("d/f")));
	assert_true(exists(P("d")));
	ok(be_rmdir(store(), ctx(), P("d"), opid()));
	assert_false(exists(P("d")));
}

static void
missing(void **state)
{
	struct be_attr a;
	char *target;

	refused(be_getattr(store(), ctx(), P("n"), BE_HINT_NONE, &a), ENOENT);
	refused(be_getattr(store(), ctx(), P("n"), BE_HINT_FILE, &a), ENOENT);
	refused(be_getattr(store(), ctx(), P("n"), BE_HINT_DIR, &a), ENOENT);
	refused(be_getattr(store(), ctx(), P("n/m"), BE_HINT_NONE, &a), ENOENT);
	tree_refuses(unlink_at(P("n")), ENOENT);
	refused(be_readlink(store(), ctx(), P("n"), &target), ENOENT);
	refused(rename_at(P("n"), P("m"), 0), ENOENT);
	put(P("f"), "x");
	refused(be_readlink(store(), ctx(), P("f"), &target), EINVAL);
	ok(mkdir_at(P("d")));
	tree_refuses(unlink_at(P("d")), EISDIR);
}

/* A wrong hint costs a request, never the answer. */
static void
hints(void **state)
{
	struct be_attr a;

	put(P("f"), "x");
	ok(mkdir_at(P("d")));
	ok(be_getattr(store(), ctx(), P("f"), BE_HINT_DIR, &a));
	assert_true(S_ISREG(a.mode));
	ok(be_getattr(store(), ctx(), P("d"), BE_HINT_FILE, &a));
	assert_true(S_ISDIR(a.mode));
	ok(be_getattr(store(), ctx(), P("d"), BE_HINT_DIR, &a));
	assert_true(S_ISDIR(a.mode));
}

static void
create(void **state)
{
	struct be_attr out, a;

	ok(create_at(P("f"), &out));
	assert_true(S_ISREG(out.mode));
	assert_int_equal(out.size, 0);
	assert_true(be_ver_known(&out.ver));
	a = stat_of(P("f"));
	assert_true(be_ver_equal(&a.ver, &out.ver));
	if (caps()->owner)
		assert_int_equal(a.mode, S_IFREG | 0640);
	holds(P("f"), "", 0);
	refused(create_at(P("f"), NULL), EEXIST);
	tree_refuses(create_at(P("no/f"), NULL), ENOENT);
	ok(mkdir_at(P("d")));
	tree_refuses(create_at(P("d"), NULL), EEXIST);
	ok(unlink_at(P("f")));
	tree_refuses(unlink_at(P("f")), ENOENT);
	ok(create_at(P("f"), NULL));
}

struct race {
	const char *const *path;
	unsigned names;
	atomic_uint won[64], lost, other;
};

static void
race_one(void *arg, unsigned i)
{
	struct race *r = arg;
	unsigned name = i / 8;
	int ret = create_at(r->path[name], NULL);

	if (ret == 0)
		atomic_fetch_add(&r->won[name], 1);
	else
		atomic_fetch_add(ret == -EEXIST ? &r->lost : &r->other, 1);
}

/* P3: thread t takes the t-th try of each name, all at the same time. */
static void
create_race(void **state)
{
	const char *path[50];
	struct race r = {.path = path, .names = 50};

	skip_unless(exclusive_create);
	for (unsigned i = 0; i < r.names; i++)
		path[i] = P("lock-%u", i);
	parallel(8, r.names * 8, race_one, &r);
	for (unsigned i = 0; i < r.names; i++)
		assert_int_equal(r.won[i], 1);
	assert_int_equal(r.lost, r.names * 7);
	assert_int_equal(r.other, 0);
}

static void
special(void **state)
{
	struct be_attr attr = attr_of(S_IFIFO | 0620), out;
	struct be_sink_mem m = {NULL, 0, 0};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got;

	if (!caps()->special) {
		refused(be_create(store(), ctx(), P("fifo"), &attr, opid(),
				  &out),
			EPERM);
		return;
	}
	ok(be_create(store(), ctx(), P("fifo"), &attr, opid(), &out));
	assert_true(S_ISFIFO(out.mode));
	assert_true(S_ISFIFO(stat_of(P("fifo")).mode));
	/* Never waits for a writer. */
	assert_true(be_fetch(store(), ctx(), P("fifo"), NULL, 0, &sink, &out,
			     &got) < 0);
	attr.mode = S_IFSOCK | 0600;
	ok(be_create(store(), ctx(), P("sock"), &attr, opid(), &out));
	assert_true(S_ISSOCK(stat_of(P("sock")).mode));
	ok(unlink_at(P("sock")));
	ok(unlink_at(P("fifo")));
}

static void
symlinks(void **state)
{
	struct be_attr attr = attr_of(S_IFLNK | 0777), out;
	struct be_sink_mem m = {NULL, 0, 0};
	struct be_sink sink = be_sink_to_mem(&m);
	_cleanup_free_ char *target = NULL;
	_cleanup_free_ char *far = NULL;
	char longest[1001];
	uint64_t got;

	skip_unless(symlinks);
	memset(longest, 'y', 1000);
	longest[1000] = '\0';
	ok(be_symlink(store(), ctx(), P("l"), "../some where/\xc3\xa9", &attr,
		      opid(), &out));
	assert_true(S_ISLNK(out.mode));
	assert_int_equal(out.size, strlen("../some where/\xc3\xa9"));
	assert_true(S_ISLNK(stat_of(P("l")).mode));
	ok(be_readlink(store(), ctx(), P("l"), &target));
	assert_string_equal(target, "../some where/\xc3\xa9");
	refused(be_symlink(store(), ctx(), P("l"), "x", &attr, opid(), &out),
		EEXIST);
	tree_refuses(
		be_symlink(store(), ctx(), P("no/l"), "x", &attr, opid(), &out),
		ENOENT);
	/* Never followed (B8). */
	refused(be_fetch(store(), ctx(), P("l"), NULL, 0, &sink, &out, &got),
		ELOOP);
	ok(be_symlink(store(), ctx(), P("up"), "..", &attr, opid(), &out));
	assert_true(be_getattr(store(), ctx(), P("up/x"), BE_HINT_NONE, &out) <
		    0);
	tree_refuses(create_at(P("up/x"), NULL), ENOTDIR);
	ok(be_symlink(store(), ctx(), P("far"), longest, &attr, opid(), &out));
	ok(be_readlink(store(), ctx(), P("far"), &far));
	assert_string_equal(far, longest);
	ok(unlink_at(P("l")));
	assert_false(exists(P("l")));
}

static void
hard_links(void **state)
{
	struct be_attr out, a;

	put(P("a"), "one");
	if (!caps()->hard_links) {
		refused(be_link(store(), ctx(), P("a"), P("b"), &out), EPERM);
		return;
	}
	ok(be_link(store(), ctx(), P("a"), P("b"), &out));
	assert_int_equal(out.nlink, 2);
	a = stat_of(P("a"));
	assert_int_equal(a.nlink, 2);
	if (caps()->stable_ino)
		assert_int_equal(a.ino, out.ino);
	holds_text(P("b"), "one");
	refused(be_link(store(), ctx(), P("a"), P("b"), &out), EEXIST);
	refused(be_link(store(), ctx(), P("no"), P("c"), &out), ENOENT);
	refused(be_link(store(), ctx(), P("a"), P("no/c"), &out), ENOENT);
	ok(mkdir_at(P("d")));
	refused(be_link(store(), ctx(), P("d"), P("e"), &out), EPERM);
	/* A lost reply: both names are the file already (B5). */
	ok(be_link(store(), ctx_again(), P("a"), P("b"), &out));
	ok(unlink_at(P("a")));
	assert_int_equal(stat_of(P("b")).nlink, 1);
	holds_text(P("b"), "one");
	/* Two names of one file: rename does nothing. */
	ok(be_link(store(), ctx(), P("b"), P("c"), &out));
	ok(rename_at(P("b"), P("c"), 0));
	assert_true(exists(P("b")) && exists(P("c")));
}

static void
rename_files(void **state)
{
	put(P("a"), "A");
	ok(rename_at(P("a"), P("b"), 0));
	assert_false(exists(P("a")));
	holds_text(P("b"), "A");
	put(P("c"), "C");
	ok(rename_at(P("c"), P("b"), 0));
	assert_false(exists(P("c")));
	holds_text(P("b"), "C");
	ok(rename_at(P("b"), P("b"), 0));
	holds_text(P("b"), "C");
	ok(mkdir_at(P("d")));
	refused(rename_at(P("b"), P("d"), 0), EISDIR);
	tree_refuses(rename_at(P("b"), P("no/b"), 0), ENOENT);
	tree_refuses(rename_at(P("b"), P("b/x"), 0), ENOTDIR);
	ok(rename_at(P("b"), P("d/b"), 0));
	holds_text(P("d/b"), "C");
	put(P("f"), "F");
	refused(rename_at(P("d"), P("f"), 0), ENOTDIR);
	holds_text(P("f"), "F");
	refused(rename_at(P("f"), P("g"), 1u << 20), EINVAL);
}

static void
rename_directories(void **state)
{
	ok(mkdir_at(P("d")));
	ok(mkdir_at(P("d/sub")));
	ok(mkdir_at(P("d/empty")));
	put(P("d/f"), "1");
	put(P("d/sub/g"), "2");
	ok(rename_at(P("d"), P("e"), 0));
	assert_false(exists(P("d")));
	assert_false(exists(P("d/f")));
	holds_text(P("e/f"), "1");
	holds_text(P("e/sub/g"), "2");
	assert_true(S_ISDIR(stat_of(P("e/empty")).mode));
	refused(rename_at(P("e"), P("e/x"), 0), EINVAL);
	refused(rename_at(P("e"), P("e/sub/x"), 0), EINVAL);
	refused(rename_at(P("e/sub"), P("e"), 0), ENOTEMPTY);
	ok(mkdir_at(P("t")));
	ok(rename_at(P("e"), P("t"), 0)); /* over an empty one */
	holds_text(P("t/sub/g"), "2");
	ok(mkdir_at(P("u")));
	put(P("u/x"), "3");
	refused(rename_at(P("t"), P("u"), 0), ENOTEMPTY);
	holds_text(P("u/x"), "3");
	holds_text(P("t/f"), "1");
	ok(rename_at(P("t"), P("u/t"), 0));
	holds_text(P("u/t/sub/g"), "2");
	refused(be_rmdir(store(), ctx(), P("t"), opid()), ENOENT);
}

static void
rename_noreplace(void **state)
{
	put(P("a"), "A");
	put(P("b"), "B");
	if (!caps()->rename_noreplace) {
		refused(rename_at(P("a"), P("b"), RENAME_NOREPLACE), EINVAL);
		return;
	}
	refused(rename_at(P("a"), P("b"), RENAME_NOREPLACE), EEXIST);
	holds_text(P("a"), "A");
	holds_text(P("b"), "B");
	refused(rename_at(P("a"), P("a"), RENAME_NOREPLACE), EEXIST);
	ok(rename_at(P("a"), P("c"), RENAME_NOREPLACE));
	holds_text(P("c"), "A");
	ok(mkdir_at(P("d")));
	refused(rename_at(P("c"), P("d"), RENAME_NOREPLACE), EEXIST);
	ok(mkdir_at(P("e")));
	refused(rename_at(P("d"), P("e"), RENAME_NOREPLACE), EEXIST);
}

static void
rename_exchange(void **state)
{
	put(P("a"), "A");
	put(P("b"), "B");
	if (!caps()->rename_exchange) {
		refused(rename_at(P("a"), P("b"), RENAME_EXCHANGE), EINVAL);
		return;
	}
	ok(rename_at(P("a"), P("b"), RENAME_EXCHANGE));
	holds_text(P("a"), "B");
	holds_text(P("b"), "A");
	refused(rename_at(P("a"), P("no"), RENAME_EXCHANGE), ENOENT);
	ok(mkdir_at(P("d")));
	put(P("d/x"), "X");
	ok(rename_at(P("a"), P("d"), RENAME_EXCHANGE));
	holds_text(P("d"), "B");
	holds_text(P("a/x"), "X");
	refused(rename_at(P("a"), P("a/x"), RENAME_EXCHANGE), EINVAL);
}

/* Attributes may ride on a rename. */
static void
rename_attributes(void **state)
{
	struct be_attr set = attr_of(S_IFREG | 0600), out, a;

	put(P("a"), "A");
	set.mtime = (struct timespec){1000000007, 123456789};
	ok(be_rename(store(), ctx(), P("a"), P("b"), 0, opid(),
		     BE_SET_MODE | BE_SET_MTIME, &set, &out));
	a = stat_of(P("b"));
	assert_int_equal(a.mtime.tv_sec, 1000000007);
	assert_int_equal(a.mtime.tv_nsec, 123456789);
	if (caps()->owner)
		assert_int_equal(a.mode & 07777, 0600);
	assert_true(be_ver_equal(&a.ver, &out.ver));
	holds_text(P("b"), "A");
}

struct listing {
	size_t n;
	char *name[4000];
	mode_t mode[4000];
	uint64_t size[4000];
};

static int
listing_add(void *arg, const char *name, const struct be_attr *attr)
{
	struct listing *l = arg;

	if (l->n == 4000)
		return -E2BIG;
	l->name[l->n] = xstrdup(name);
	l->mode[l->n] = attr->mode;
	l->size[l->n] = attr->size;
	l->n++;
	return 0;
}

static size_t
listing_find(const struct listing *l, const char *name)
{
	size_t at = SIZE_MAX;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->name[i], name) == 0) {
			if (at != SIZE_MAX)
				fail_msg("\"%s\" is listed twice", name);
			at = i;
		}
	if (at == SIZE_MAX)
		fail_msg("\"%s\" is not listed", name);
	return at;
}

static struct listing *
listing_of(const char *path)
{
	struct listing *l = xcalloc(1, sizeof(*l));

	ok(be_list(store(), ctx(), path, listing_add, l));
	return l;
}

static void
listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l);
}

static int
listing_stop(void *arg, const char *name, const struct be_attr *attr)
{
	unsigned *seen = arg;

	return ++*seen == 2 ? 77 : 0;
}

static void
listing(void **state)
{
	struct be_attr link = attr_of(S_IFLNK | 0777), out;
	struct listing *l;
	unsigned seen = 0;

	l = listing_of(P("%s", ""));
	assert_int_equal(l->n, 0);
	listing_free(l);
	put(P("f"), "12345");
	ok(mkdir_at(P("d")));
	put(P("d/below"), "x");
	ok(mkdir_at(P("e")));
	if (caps()->symlinks)
		ok(be_symlink(store(), ctx(), P("l"), "f", &link, opid(),
			      &out));
	l = listing_of(P("%s", ""));
	assert_int_equal(l->n, 3 + caps()->symlinks);
	assert_true(S_ISREG(l->mode[listing_find(l, "f")]));
	assert_int_equal(l->size[listing_find(l, "f")], 5);
	assert_true(S_ISDIR(l->mode[listing_find(l, "d")]));
	assert_true(S_ISDIR(l->mode[listing_find(l, "e")]));
	listing_free(l);
	assert_int_equal(
		be_list(store(), ctx(), P("%s", ""), listing_stop, &seen), 77);
	assert_int_equal(seen, 2);
	refused(be_list(store(), ctx(), P("f"), listing_add, NULL), ENOTDIR);
	refused(be_list(store(), ctx(), P("no"), listing_add, NULL), ENOENT);
}

struct many {
	const char *dir;
	atomic_int ret;
};

static void
many_one(void *arg, unsigned i)
{
	struct many *m = arg;
	char path[200];
	int ret;

	snprintf(path, sizeof(path), "%s/entry %04u", m->dir, i);
	ret = i % 10 ? create_at(path, NULL) : mkdir_at(path);
	if (ret)
		atomic_store(&m->ret, ret);
}

static void
listing_of_many(void **state)
{
	struct many m = {.dir = P("%s", "")};
	struct listing *l;
	bool seen[2500] = {false};

	parallel(8, 2500, many_one, &m);
	assert_int_equal(m.ret, 0);
	l = listing_of(m.dir);
	assert_int_equal(l->n, 2500);
	for (size_t i = 0; i < l->n; i++) {
		unsigned n = 9999;

		assert_int_equal(sscanf(l->name[i], "entry %u", &n), 1);
		assert_true(n < 2500 && !seen[n]);
		seen[n] = true;
		assert_int_equal(S_ISDIR(l->mode[i]), n % 10 == 0);
	}
	listing_free(l);
}

/* What stands between a name and the store must not change it. */
static void
odd_names(void **state)
{
	static const char *const name[] = {
		" ",	       "  two  ",
		"a b+c%20d",   "%2F",
		"quote'\"`",   "<&>;]]>",
		"back\\slash", "new\nline",
		"tab\t",       "\x01\x1f\x7f",
		"#?&=",	       "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
		"a\xcc\x88",   "...",
		".hidden",     "~",
		"-rf",	       "*",
		"x_$folder$",  ":;,@!",
		"{}[]|^",      "CON",
		"end.",	       "\xef\xbf\xbd",
	};
	static const char *const bytes[] = {"latin\xe9", "\xff\xfe", "\x80"};
	size_t n = sizeof(name) / sizeof(name[0]);
	char longest[256];
	struct listing *l;

	memset(longest, 'n', 255);
	longest[255] = '\0';
	for (size_t i = 0; i < n; i++)
		put(P("%s", name[i]), name[i]);
	put(P("%s", longest), "long");
	l = listing_of(P("%s", ""));
	for (size_t i = 0; i < n; i++) {
		listing_find(l, name[i]);
		holds_text(P("%s", name[i]), name[i]);
	}
	listing_find(l, longest);
	assert_int_equal(l->n, n + 1);
	listing_free(l);
	for (size_t i = 0; i < n; i++) {
		ok(rename_at(P("%s", name[i]), P("%s!", name[i]), 0));
		ok(unlink_at(P("%s!", name[i])));
	}
	ok(unlink_at(P("%s", longest)));
	/* Names that are not UTF-8: kept exactly, or refused with words. */
	for (size_t i = 0; i < 3; i++) {
		struct be_attr out;
		int ret = put_if(P("%s", bytes[i]), &any, opid(), "b", 1, &out);

		if (ret == -EILSEQ)
			continue;
		ok(ret);
		holds_text(P("%s", bytes[i]), "b");
		l = listing_of(P("%s", ""));
		listing_find(l, bytes[i]);
		listing_free(l);
		ok(unlink_at(P("%s", bytes[i])));
	}
}

static void
deep(void **state)
{
	char path[512] = "";

	for (int i = 0; i < 20; i++) {
		strncat(path, i ? "/level" : "level",
			sizeof(path) - 1 - strlen(path));
		ok(mkdir_at(P("%s", path)));
	}
	put(P("%s/f", path), "deep");
	ok(rename_at(P("level"), P("top"), 0));
	holds_text(P("top%s/f", path + 5), "deep");
}

static void
too_long(void **state)
{
	char path[6000];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 200 == 199 ? '/' : 'p';
	path[sizeof(path) - 1] = '\0';
	path[5000] = 'p';
	if (caps()->path_max < 4999) {
		int ret = create_at(path, NULL);

		assert_true(ret == -ENAMETOOLONG || ret == -ENOENT);
	}
}

static void
filesystem(void **state)
{
	struct statvfs v;

	ok(be_statfs(store(), ctx(), &v));
	assert_true(v.f_bsize > 0 && v.f_blocks > 0);
	assert_true(v.f_namemax >= 200);
}

static void
attributes(void **state)
{
	struct be_attr set = attr_of(S_IFREG | 0601), out, a;
	struct be_attr was = put(P("f"), "same bytes");

	set.mtime = (struct timespec){1234567890, 987654321};
	set.atime = (struct timespec){1111111111, 5};
	ok(be_setattr(store(), ctx(), P("f"), &any, opid(),
		      BE_SET_MTIME | BE_SET_ATIME, &set, &out));
	assert_int_equal(out.mtime.tv_sec, 1234567890);
	assert_int_equal(out.mtime.tv_nsec, 987654321);
	a = stat_of(P("f"));
	assert_int_equal(a.mtime.tv_sec, 1234567890);
	assert_int_equal(a.mtime.tv_nsec, 987654321);
	assert_int_equal(a.mode, was.mode);
	assert_true(be_ver_equal(&a.ver, &out.ver));
	holds_text(P("f"), "same bytes");
	refused(be_setattr(store(), ctx(), P("no"), &any, opid(), BE_SET_MTIME,
			   &set, &out),
		ENOENT);
	skip_unless(owner);
	ok(be_setattr(store(), ctx(), P("f"), &any, opid(), BE_SET_MODE, &set,
		      &out));
	assert_int_equal(out.mode, S_IFREG | 0601);
	a = stat_of(P("f"));
	assert_int_equal(a.mode, S_IFREG | 0601);
	assert_int_equal(a.mtime.tv_sec, 1234567890);
	assert_true(a.aver == 0 || was.aver == 0 || a.aver != was.aver);
	if (geteuid() == 0) {
		set.uid = 1234;
		set.gid = 4321;
		ok(be_setattr(store(), ctx(), P("f"), &any, opid(),
			      BE_SET_UID | BE_SET_GID, &set, &out));
		a = stat_of(P("f"));
		assert_int_equal(a.uid, 1234);
		assert_int_equal(a.gid, 4321);
		assert_int_equal(a.mode, S_IFREG | 0601);
	}
	ok(mkdir_at(P("d")));
	set.mode = S_IFDIR | 0711;
	ok(be_setattr(store(), ctx(), P("d"), &any, opid(),
		      BE_SET_MODE | BE_SET_MTIME, &set, &out));
	a = stat_of(P("d"));
	assert_int_equal(a.mode, S_IFDIR | 0711);
	assert_int_equal(a.mtime.tv_sec, 1234567890);
	put(P("d/f"), "x");
	assert_int_equal(stat_of(P("d")).mode, S_IFDIR | 0711);
}

const struct CMUnitTest conf_names[] = {
	CONF_TEST(root),
	CONF_TEST(directories),
	CONF_TEST(missing),
	CONF_TEST(hints),
	CONF_TEST(create),
	CONF_TEST(create_race),
	CONF_TEST(special),
	CONF_TEST(symlinks),
	CONF_TEST(hard_links),
	CONF_TEST(rename_files),
	CONF_TEST(rename_directories),
	CONF_TEST(rename_noreplace),
	CONF_TEST(rename_exchange),
	CONF_TEST(rename_attributes),
	CONF_TEST(listing),
	CONF_TEST(listing_of_many),
	CONF_TEST(odd_names),
	CONF_TEST(deep),
	CONF_TEST(too_long),
	CONF_TEST(filesystem),
	CONF_TEST(attributes),
};
const size_t conf_names_n = sizeof(conf_names) / sizeof(conf_names[0]);
