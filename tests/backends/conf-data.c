/* SPDX-License-Identifier: MIT */
/* Conformance: bytes, versions, commits by dirty ranges, copies, xattrs. */
#include <config.h>

#include "tests/backends/conformance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define MIB (1024u * 1024)

static const struct be_cond any = {BE_ANY};

static void
whole_content(void **state)
{
	struct be_attr a, b;

	a = put(P("f"), "first");
	assert_true(S_ISREG(a.mode));
	holds_text(P("f"), "first");
	b = stat_of(P("f"));
	assert_true(be_ver_equal(&a.ver, &b.ver));
	assert_int_equal(b.size, 5);
	b = put(P("f"), "the second, longer");
	assert_false(be_ver_equal(&a.ver, &b.ver));
	holds_text(P("f"), "the second, longer");
	put(P("f"), "3rd");
	holds_text(P("f"), "3rd");
	put(P("f"), "");
	holds_text(P("f"), "");
	tree_refuses(put_if(P("no/f"), &any, opid(), "x", 1, &a), ENOENT);
}

/* Same size, other bytes: within one tick of a coarse clock too (B7). */
static void
versions_differ(void **state)
{
	struct be_attr a[20];
	char text[2] = "A";

	for (int i = 0; i < 20; i++, text[0]++) {
		a[i] = put(P("f"), text);
		if (i == 0)
			continue;
		if (!be_ver_equal(&a[i - 1].ver, &a[i].ver))
			continue;
		/* Not to be believed is as good (rule 9). */
		assert_true(a[i - 1].flags & a[i].flags & BE_ATTR_RACY);
	}
}

static void
read_ranges(void **state)
{
	struct be_attr a = put(P("f"), "0123456789");
	char buf[32];
	struct be_sink_mem m = {buf, 0, sizeof(buf)};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got = 99;

	memset(buf, '-', sizeof(buf));
	ok(be_read(store(), ctx(), P("f"), &a.ver, 3, 4, &sink, &got));
	assert_int_equal(got, 4);
	assert_memory_equal(buf, "---3456-", 8);
	ok(be_read(store(), ctx(), P("f"), &a.ver, 8, 20, &sink, &got));
	assert_int_equal(got, 2);
	assert_memory_equal(buf + 8, "89--", 4);
	ok(be_read(store(), ctx(), P("f"), &a.ver, 10, 5, &sink, &got));
	assert_int_equal(got, 0);
	ok(be_read(store(), ctx(), P("f"), &a.ver, 1000, 5, &sink, &got));
	assert_int_equal(got, 0);
	ok(be_read(store(), ctx(), P("f"), &a.ver, 2, 0, &sink, &got));
	assert_int_equal(got, 0);
}

static void
read_of_a_gone_version(void **state)
{
	struct be_attr a = put(P("f"), "old bytes");
	char buf[32];
	struct be_sink_mem m = {buf, 0, sizeof(buf)};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got;

	put(P("f"), "new bytes, other length");
	refused(be_read(store(), ctx(), P("f"), &a.ver, 0, 4, &sink, &got),
		ESTALE);
	ok(be_unlink(store(), ctx(), P("f"), &any, opid()));
	refused(be_read(store(), ctx(), P("f"), &a.ver, 0, 4, &sink, &got),
		ESTALE);
	put(P("f"), "once more");
	refused(be_read(store(), ctx(), P("f"), &a.ver, 0, 4, &sink, &got),
		ESTALE);
}

static void
fetch(void **state)
{
	struct be_attr a = put(P("f"), "abcdefgh"), b, dir;
	char buf[32];
	struct be_sink_mem m = {buf, 0, sizeof(buf)};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got = 0;

	assert_int_equal(
		be_fetch(store(), ctx(), P("f"), &a.ver, 32, &sink, &b, &got),
		1);
	assert_int_equal(b.size, 8);
	assert_true(be_ver_equal(&a.ver, &b.ver));
	ok(be_fetch(store(), ctx(), P("f"), NULL, 3, &sink, &b, &got));
	assert_int_equal(got, 3);
	assert_int_equal(b.size, 8);
	assert_memory_equal(buf, "abc", 3);
	ok(be_fetch(store(), ctx(), P("f"), NULL, 0, &sink, &b, &got));
	assert_int_equal(got, 0);
	assert_int_equal(b.size, 8);
	put(P("f"), "ABCD");
	assert_int_equal(
		be_fetch(store(), ctx(), P("f"), &a.ver, 32, &sink, &b, &got),
		0);
	assert_int_equal(got, 4);
	assert_memory_equal(buf, "ABCD", 4);
	dir = attr_of(S_IFDIR | 0755);
	ok(be_mkdir(store(), ctx(), P("d"), &dir, opid(), &b));
	refused(be_fetch(store(), ctx(), P("d"), NULL, 3, &sink, &b, &got),
		EISDIR);
	refused(be_fetch(store(), ctx(), P("no"), NULL, 3, &sink, &b, &got),
		ENOENT);
	refused(be_fetch(store(), ctx(), P("no"), &a.ver, 3, &sink, &b, &got),
		ENOENT);
}

static int
sink_refuses(void *arg, const void *data, size_t len, uint64_t off)
{
	return -ENOSPC;
}

static void
sink_stops(void **state)
{
	struct be_attr a = put(P("f"), "bytes"), b;
	struct be_sink sink = {sink_refuses, NULL};
	uint64_t got;

	assert_int_equal(
		be_read(store(), ctx(), P("f"), &a.ver, 0, 5, &sink, &got),
		-ENOSPC);
	assert_int_equal(
		be_fetch(store(), ctx(), P("f"), NULL, 5, &sink, &b, &got),
		-ENOSPC);
}

/* --- dirty ranges -------------------------------------------------------- */

/* A file of the store and what it must hold. */
struct image {
	const char *path;
	char *bytes;
	uint64_t size, cap;
	struct be_attr attr;
};

static void
fill(int fd, const char *p, uint64_t off, uint64_t len)
{
	assert_int_equal(pwrite(fd, p + off, len, off), len);
}

/*
 * Changes the image and commits only that.  Beside the dirty bytes fd gets
 * what need() asks for; all else within the base is rubbish, or with `holes`
 * a hole: a store that reads it is found out.
 */
static void
patch(struct image *m, uint64_t size, const struct range *dirty, size_t n,
      unsigned seed, bool holes)
{
	uint64_t old = m->size, low = old < size ? old : size;
	struct be_attr attr = attr_of(S_IFREG | 0644);
	struct rangeset need = RANGESET_INIT;
	_cleanup_close_ int fd = tmp_fd();
	struct be_commit c = {.path = m->path,
			      .cond = {BE_MATCH, m->attr.ver},
			      .opid = *opid(),
			      .fd = fd,
			      .size = size,
			      .base = m->attr.ver,
			      .base_size = old,
			      .dirty = dirty,
			      .ndirty = n,
			      .attr = &attr};
	_cleanup_free_ char *rubbish = xmalloc(MIB);

	assert_true(size <= m->cap);
	if (size > old)
		memset(m->bytes + old, 0, size - old);
	for (size_t i = 0; i < n; i++)
		pattern(m->bytes + dirty[i].off, dirty[i].len, dirty[i].off,
			seed);
	m->size = size;

	assert_int_equal(ftruncate(fd, size), 0);
	memset(rubbish, 0xEE, MIB);
	for (uint64_t off = 0; !holes && off < low; off += MIB)
		assert_true(pwrite(fd, rubbish,
				   low - off < MIB ? low - off : MIB, off) > 0);
	ok(be_need(store(), &c, &need));
	for (size_t i = 0; i < need.n; i++) {
		assert_true(need.v[i].off + need.v[i].len <= size);
		fill(fd, m->bytes, need.v[i].off, need.v[i].len);
	}
	rangeset_release(&need);
	for (size_t i = 0; i < n; i++)
		fill(fd, m->bytes, dirty[i].off, dirty[i].len);
	ok(be_commit(store(), ctx(), &c, &m->attr));
	assert_int_equal(m->attr.size, size);
	holds(m->path, m->bytes, size);
}

static struct image
image_new(const char *path, uint64_t size, uint64_t cap)
{
	struct image m = {path, xmalloc(cap), size, cap};

	pattern(m.bytes, size, 0, 1);
	ok(put_if(path, &any, opid(), m.bytes, size, &m.attr));
	holds(path, m.bytes, size);
	return m;
}

/* All shapes of a change, of a file of this size. */
static void
patches(uint64_t size)
{
	struct image m = image_new(P("f"), size, 2 * size + 3 * MIB);
	uint64_t q = size / 4;
	struct range two[] = {{q, q / 2}, {3 * q, q / 3}};
	struct range head[] = {{0, q / 5 + 1}};
	struct range tail[] = {{size - 10, 10}};
	struct range append[] = {{size, MIB + 17}};
	struct range past[] = {{2 * size, 5}};

	patch(&m, size, two, 2, 2, false);
	patch(&m, size, two, 2, 3, true);
	patch(&m, size, head, 1, 4, false);
	patch(&m, size, tail, 1, 5, true);
	patch(&m, size + MIB + 17, append, 1, 6, false);
	patch(&m, size + 10, NULL, 0, 0, false); /* shorter */
	patch(&m, size, NULL, 0, 0, true);
	patch(&m, size + 100, NULL, 0, 0, true); /* longer: zeros */
	patch(&m, size, NULL, 0, 0, false);
	patch(&m, 2 * size + 5, past, 1, 7, false); /* a hole between */
	patch(&m, q, head, 1, 8, true);		    /* both */
	patch(&m, 0, NULL, 0, 0, false);
	patch(&m, q, head, 1, 9, false);
	free(m.bytes);
}

static void
patches_small(void **state)
{
	patches(1000);
}

static void
patches_middle(void **state)
{
	patches(MIB + 4321);
}

/* Over the size at which a store sends parts, if it has one. */
static void
patches_large(void **state)
{
	uint64_t part = caps()->part_size ? caps()->part_size : 4 * MIB;

	patches(2 * part + part / 2 + 4321);
}

static void
commit_attributes(void **state)
{
	struct be_attr attr = attr_of(S_IFREG | 0604), out, a;
	_cleanup_close_ int fd = tmp_fd();
	struct range all = {0, 3};
	struct be_commit c = {.path = P("f"),
			      .opid = *opid(),
			      .fd = fd,
			      .size = 3,
			      .whole = true,
			      .dirty = &all,
			      .ndirty = 1,
			      .attr = &attr,
			      .mask = BE_SET_MTIME | BE_SET_MODE};

	attr.mtime = (struct timespec){1300000000, 250000000};
	fill(fd, "abc", 0, 3);
	ok(be_commit(store(), ctx(), &c, &out));
	a = stat_of(P("f"));
	assert_int_equal(a.mtime.tv_sec, 1300000000);
	assert_int_equal(a.mtime.tv_nsec, 250000000);
	assert_true(be_ver_equal(&a.ver, &out.ver));
	assert_true(a.ctime.tv_sec > 1400000000);
	if (caps()->owner)
		assert_int_equal(a.mode, S_IFREG | 0604);
	holds_text(P("f"), "abc");
}

static void
commit_on_others(void **state)
{
	struct be_attr dir = attr_of(S_IFDIR | 0755), out;

	ok(be_mkdir(store(), ctx(), P("d"), &dir, opid(), &out));
	tree_refuses(put_if(P("d"), &any, opid(), "x", 1, &out), EISDIR);
	put(P("f"), "f");
	tree_refuses(put_if(P("f/g"), &any, opid(), "x", 1, &out), ENOTDIR);
	holds_text(P("f"), "f");
}

static void
too_big(void **state)
{
	struct be_attr attr = attr_of(S_IFREG | 0644), out;
	_cleanup_close_ int fd = tmp_fd();
	struct be_commit c = {.path = P("f"),
			      .opid = *opid(),
			      .fd = fd,
			      .whole = true,
			      .attr = &attr};

	if (caps()->file_max > UINT64_C(1) << 60) {
		print_message("no limit here\n");
		skip();
	}
	c.size = caps()->file_max + 1;
	refused(be_commit(store(), ctx(), &c, &out), EFBIG);
	assert_false(exists(P("f")));
}

/* A sparse file of 100 MiB with little in it. */
static void
sparse(void **state)
{
	uint64_t size = 100 * (uint64_t)MIB;
	struct range dirty[] = {{0, 100}, {70 * MIB, 200}};
	struct be_attr attr = attr_of(S_IFREG | 0644), out;
	_cleanup_close_ int fd = tmp_fd();
	struct be_commit c = {.path = P("f"),
			      .opid = *opid(),
			      .fd = fd,
			      .size = size,
			      .whole = true,
			      .dirty = dirty,
			      .ndirty = 2,
			      .attr = &attr};
	char text[200], buf[400];
	struct be_sink_mem m = {buf, 70 * MIB - 100, sizeof(buf)};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got = 0;

	if (!caps()->random_write) {
		print_message("objects have no holes\n");
		skip();
	}
	pattern(text, sizeof(text), 0, 3);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, text, 100, 0), 100);
	assert_int_equal(pwrite(fd, text, 200, 70 * MIB), 200);
	ok(be_commit(store(), ctx(), &c, &out));
	assert_int_equal(out.size, size);
	ok(be_read(store(), ctx(), P("f"), &out.ver, m.base, 400, &sink, &got));
	assert_int_equal(got, 400);
	assert_memory_equal(buf + 100, text, 200);
	for (int i = 0; i < 100; i++)
		assert_true(buf[i] == 0 && buf[300 + i] == 0);
}

static void
copy(void **state)
{
	struct be_attr a = put(P("f"), "copy me"), out, b;
	struct be_attr attr = attr_of(S_IFREG | 0600);
	int ret = be_copy(store(), ctx(), P("f"), &a.ver, P("g"), &any, opid(),
			  &attr, &out);

	if (!caps()->server_copy) {
		assert_int_equal(ret, -ENOTSUP);
		skip();
	}
	ok(ret);
	assert_int_equal(out.size, 7);
	holds_text(P("g"), "copy me");
	holds_text(P("f"), "copy me");
	b = stat_of(P("g"));
	assert_true(be_ver_equal(&b.ver, &out.ver));
	if (caps()->owner)
		assert_int_equal(b.mode & 07777, 0600);
	put(P("f"), "changed!");
	refused(be_copy(store(), ctx(), P("f"), &a.ver, P("g"), &any, opid(),
			&attr, &out),
		ESTALE);
	holds_text(P("g"), "copy me");
	b = stat_of(P("f"));
	ok(be_copy(store(), ctx(), P("f"), &b.ver, P("g"), &any, opid(), &attr,
		   &out));
	holds_text(P("g"), "changed!");
}

static int
set(const char *path, const char *name, const char *value, int flags)
{
	struct be_attr out;

	return be_setxattr(store(), ctx(), path, name, value,
			   value ? strlen(value) : 0, flags, opid(), &out);
}

static void
xattr_is(const char *path, const char *name, const char *value)
{
	_cleanup_free_ void *got = NULL;
	size_t len = 0;

	ok(be_getxattr(store(), ctx(), path, name, &got, &len));
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
}

static void
xattrs(void **state)
{
	_cleanup_free_ char *names = NULL, *none = NULL;
	size_t len = 99;
	void *value;

	skip_unless(xattrs);
	put(P("f"), "x");
	ok(be_listxattr(store(), ctx(), P("f"), &none, &len));
	assert_int_equal(len, 0);
	refused(be_getxattr(store(), ctx(), P("f"), "user.a", &value, &len),
		ENODATA);
	ok(set(P("f"), "user.a", "1", 0));
	xattr_is(P("f"), "user.a", "1");
	refused(set(P("f"), "user.a", "2", XATTR_CREATE), EEXIST);
	refused(set(P("f"), "user.b", "2", XATTR_REPLACE), ENODATA);
	xattr_is(P("f"), "user.a", "1");
	ok(set(P("f"), "user.a", "other\xff\x01", XATTR_REPLACE));
	xattr_is(P("f"), "user.a", "other\xff\x01");
	ok(set(P("f"), "user.Mixed Case-\xc3\xa4", "", XATTR_CREATE));
	xattr_is(P("f"), "user.Mixed Case-\xc3\xa4", "");
	ok(be_listxattr(store(), ctx(), P("f"), &names, &len));
	assert_int_equal(len, 7 + strlen("user.Mixed Case-\xc3\xa4") + 1);
	ok(set(P("f"), "user.a", NULL, 0));
	refused(set(P("f"), "user.a", NULL, 0), ENODATA);
	refused(be_getxattr(store(), ctx(), P("f"), "user.a", &value, &len),
		ENODATA);
	refused(be_getxattr(store(), ctx(), P("no"), "user.a", &value, &len),
		ENOENT);
	assert_true(set(P("f"), "security.x", "1", 0) < 0);
	holds_text(P("f"), "x");
}

/* xattrs stay with a file that is written again, renamed and chmoded. */
static void
xattrs_stay(void **state)
{
	struct be_attr a = attr_of(S_IFREG | 0600), out;

	skip_unless(xattrs);
	put(P("f"), "x");
	ok(set(P("f"), "user.tag", "kept", 0));
	ok(be_setattr(store(), ctx(), P("f"), &any, opid(), BE_SET_MTIME, &a,
		      &out));
	xattr_is(P("f"), "user.tag", "kept");
	ok(be_rename(store(), ctx(), P("f"), P("g"), 0, opid(), 0, NULL, &out));
	xattr_is(P("g"), "user.tag", "kept");
	put(P("g"), "again");
	xattr_is(P("g"), "user.tag", "kept");
	holds_text(P("g"), "again");
}

const struct CMUnitTest conf_data[] = {
	CONF_TEST(whole_content),
	CONF_TEST(versions_differ),
	CONF_TEST(read_ranges),
	CONF_TEST(read_of_a_gone_version),
	CONF_TEST(fetch),
	CONF_TEST(sink_stops),
	CONF_TEST(patches_small),
	CONF_TEST(patches_middle),
	CONF_TEST(patches_large),
	CONF_TEST(commit_attributes),
	CONF_TEST(commit_on_others),
	CONF_TEST(too_big),
	CONF_TEST(sparse),
	CONF_TEST(copy),
	CONF_TEST(xattrs),
	CONF_TEST(xattrs_stay),
};
const size_t conf_data_n = sizeof(conf_data) / sizeof(conf_data[0]);
