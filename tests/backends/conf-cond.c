/* SPDX-License-Identifier: MIT */
/* Conformance: conditions (B6), repeated calls (B5), giving up (B2). */
#include <config.h>

#include "tests/backends/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/cleanup.h"
#include "common/clock.h"

static const struct be_cond any = {BE_ANY};
static const struct be_cond absent = {BE_ABSENT};

static struct be_cond
match(const struct be_attr *a)
{
	return (struct be_cond){BE_MATCH, a->ver};
}

/* Does the store keep the operation's id?  One that has nothing but the state
 * of its files can't know who made a name (B5). */
static bool
remembers(void)
{
	return caps()->conditional_put;
}

static void
commit_absent(void **state)
{
	struct be_attr out;

	ok(put_if(P("f"), &absent, opid(), "one", 3, &out));
	refused(put_if(P("f"), &absent, opid(), "two", 3, &out), EEXIST);
	holds_text(P("f"), "one");
	/* An empty file is somebody's lock. */
	ok(put_if(P("e"), &absent, opid(), "", 0, &out));
	refused(put_if(P("e"), &absent, opid(), "", 0, &out), EEXIST);
}

static void
commit_match(void **state)
{
	struct be_attr a = put(P("f"), "one"), b, out;
	struct be_cond if_a = match(&a), if_b;

	ok(put_if(P("f"), &if_a, opid(), "two two", 7, &b));
	holds_text(P("f"), "two two");
	refused(put_if(P("f"), &if_a, opid(), "three", 5, &out), ESTALE);
	holds_text(P("f"), "two two");
	if_b = match(&b);
	ok(put_if(P("f"), &if_b, opid(), "four", 4, &out));
	holds_text(P("f"), "four");
	ok(be_unlink(store(), ctx(), P("f"), &any, opid()));
	refused(put_if(P("f"), &if_b, opid(), "five", 4, &out),
		caps()->random_write ? ENOENT : ESTALE);
	assert_false(exists(P("f")));
}

static void
setattr_match(void **state)
{
	struct be_attr a = put(P("f"), "one"), b = put(P("f"), "two two");
	struct be_attr set = attr_of(S_IFREG | 0600), out, now;
	struct be_cond if_a = match(&a), if_b = match(&b);

	set.mtime = (struct timespec){1000000000, 0};
	refused(be_setattr(store(), ctx(), P("f"), &if_a, opid(), BE_SET_MTIME,
			   &set, &out),
		ESTALE);
	now = stat_of(P("f"));
	assert_int_not_equal(now.mtime.tv_sec, 1000000000);
	ok(be_setattr(store(), ctx(), P("f"), &if_b, opid(), BE_SET_MTIME, &set,
		      &out));
	assert_int_equal(stat_of(P("f")).mtime.tv_sec, 1000000000);
	holds_text(P("f"), "two two");
}

static void
unlink_match(void **state)
{
	struct be_attr a = put(P("f"), "one"), b = put(P("f"), "two two");
	struct be_cond if_a = match(&a), if_b = match(&b);

	refused(be_unlink(store(), ctx(), P("f"), &if_a, opid()), ESTALE);
	holds_text(P("f"), "two two");
	ok(be_unlink(store(), ctx(), P("f"), &if_b, opid()));
	assert_false(exists(P("f")));
}

static void
copy_conditions(void **state)
{
	struct be_attr a = put(P("a"), "from"), b = put(P("b"), "to"), out;
	struct be_attr attr = attr_of(S_IFREG | 0644);
	struct be_cond if_b = match(&b);

	skip_unless(server_copy);
	refused(be_copy(store(), ctx(), P("a"), &a.ver, P("b"), &absent, opid(),
			&attr, &out),
		EEXIST);
	holds_text(P("b"), "to");
	ok(be_copy(store(), ctx(), P("a"), &a.ver, P("b"), &if_b, opid(), &attr,
		   &out));
	holds_text(P("b"), "from");
	refused(be_copy(store(), ctx(), P("a"), &a.ver, P("b"), &if_b, opid(),
			&attr, &out),
		ESTALE);
	ok(be_copy(store(), ctx(), P("a"), &a.ver, P("c"), &absent, opid(),
		   &attr, &out));
	holds_text(P("c"), "from");
}

/* --- a reply was lost; the call is made again ----------------------------- */

static void
again_commit(void **state)
{
	struct be_attr a, b;
	struct be_attr attr = attr_of(S_IFREG | 0644);
	_cleanup_close_ int fd = tmp_fd();
	struct range all = {0, 5};
	struct be_commit c = {.path = P("f"),
			      .cond = {BE_ABSENT},
			      .opid = *opid(),
			      .fd = fd,
			      .size = 5,
			      .whole = true,
			      .dirty = &all,
			      .ndirty = 1,
			      .attr = &attr};

	assert_int_equal(write(fd, "mine!", 5), 5);
	ok(be_commit(store(), ctx(), &c, &a));
	ok(be_commit(store(), ctx_again(), &c, &b));
	assert_true(be_ver_equal(&a.ver, &b.ver));
	holds_text(P("f"), "mine!");

	assert_int_equal(pwrite(fd, "MINE?", 5, 0), 5);
	c.opid = *opid();
	c.cond = match(&a);
	ok(be_commit(store(), ctx(), &c, &a));
	ok(be_commit(store(), ctx_again(), &c, &b));
	assert_int_equal(b.size, 5);
	holds_text(P("f"), "MINE?");

	/* Another's bytes under the same condition are not ours. */
	put(P("f"), "alien");
	c.opid = *opid();
	refused(be_commit(store(), ctx_again(), &c, &b), ESTALE);
	holds_text(P("f"), "alien");
}

static void
again_create(void **state)
{
	struct be_attr attr = attr_of(S_IFREG | 0644), a, b;
	const struct be_opid *id = opid();

	ok(be_create(store(), ctx(), P("f"), &attr, id, &a));
	/* Empty files are equal; the id is not (rule 2). */
	refused(be_create(store(), ctx_again(), P("f"), &attr, opid(), &b),
		EEXIST);
	if (!remembers())
		return;
	ok(be_create(store(), ctx_again(), P("f"), &attr, id, &b));
	assert_true(be_ver_equal(&a.ver, &b.ver));
}

static void
again_mkdir(void **state)
{
	struct be_attr attr = attr_of(S_IFDIR | 0755), a;
	const struct be_opid *id = opid();

	ok(be_mkdir(store(), ctx(), P("d"), &attr, id, &a));
	refused(be_mkdir(store(), ctx_again(), P("d"), &attr, opid(), &a),
		EEXIST);
	if (!remembers())
		return;
	ok(be_mkdir(store(), ctx_again(), P("d"), &attr, id, &a));
}

static void
again_symlink(void **state)
{
	struct be_attr attr = attr_of(S_IFLNK | 0777), a;
	const struct be_opid *id = opid();

	skip_unless(symlinks);
	ok(be_symlink(store(), ctx(), P("l"), "to", &attr, id, &a));
	ok(be_symlink(store(), ctx_again(), P("l"), "to", &attr, id, &a));
	refused(be_symlink(store(), ctx_again(), P("l"), "other", &attr, opid(),
			   &a),
		EEXIST);
}

static void
again_unlink(void **state)
{
	const struct be_opid *id = opid();
	struct be_attr a = put(P("f"), "x");
	struct be_cond if_a = match(&a);

	ok(be_unlink(store(), ctx(), P("f"), &if_a, id));
	ok(be_unlink(store(), ctx_again(), P("f"), &if_a, id));
	assert_false(exists(P("f")));
}

static void
again_rmdir(void **state)
{
	struct be_attr attr = attr_of(S_IFDIR | 0755), a;
	const struct be_opid *id = opid();

	ok(be_mkdir(store(), ctx(), P("d"), &attr, opid(), &a));
	ok(be_rmdir(store(), ctx(), P("d"), id));
	ok(be_rmdir(store(), ctx_again(), P("d"), id));
}

static void
again_rename(void **state)
{
	const struct be_opid *id = opid();
	struct be_attr out, dir = attr_of(S_IFDIR | 0755);

	put(P("a"), "A");
	put(P("b"), "B");
	ok(be_rename(store(), ctx(), P("a"), P("b"), 0, id, 0, NULL, &out));
	ok(be_rename(store(), ctx_again(), P("a"), P("b"), 0, id, 0, NULL,
		     &out));
	assert_int_equal(out.size, 1);
	holds_text(P("b"), "A");
	ok(be_mkdir(store(), ctx(), P("d"), &dir, opid(), &out));
	put(P("d/f"), "F");
	id = opid();
	ok(be_rename(store(), ctx(), P("d"), P("e"), 0, id, 0, NULL, &out));
	ok(be_rename(store(), ctx_again(), P("d"), P("e"), 0, id, 0, NULL,
		     &out));
	holds_text(P("e/f"), "F");
	if (!caps()->rename_noreplace)
		return;
	id = opid();
	ok(be_rename(store(), ctx(), P("b"), P("c"), RENAME_NOREPLACE, id, 0,
		     NULL, &out));
	ok(be_rename(store(), ctx_again(), P("b"), P("c"), RENAME_NOREPLACE, id,
		     0, NULL, &out));
	holds_text(P("c"), "A");
}

static void
again_setattr(void **state)
{
	struct be_attr a = put(P("f"), "x"), set = attr_of(S_IFREG | 0600);
	struct be_attr out;
	struct be_cond if_a = match(&a);
	const struct be_opid *id = opid();

	set.mtime = (struct timespec){1000000000, 0};
	ok(be_setattr(store(), ctx(), P("f"), &if_a, id, BE_SET_MTIME, &set,
		      &out));
	ok(be_setattr(store(), ctx_again(), P("f"), &if_a, id, BE_SET_MTIME,
		      &set, &out));
	assert_int_equal(out.mtime.tv_sec, 1000000000);
}

static void
again_setxattr(void **state)
{
	const struct be_opid *id = opid();
	struct be_attr out;

	skip_unless(xattrs);
	put(P("f"), "x");
	ok(be_setxattr(store(), ctx(), P("f"), "user.a", "1", 1, XATTR_CREATE,
		       id, &out));
	ok(be_setxattr(store(), ctx_again(), P("f"), "user.a", "1", 1,
		       XATTR_CREATE, id, &out));
	refused(be_setxattr(store(), ctx_again(), P("f"), "user.a", "2", 1,
			    XATTR_CREATE, opid(), &out),
		EEXIST);
	id = opid();
	ok(be_setxattr(store(), ctx(), P("f"), "user.a", NULL, 0, 0, id, &out));
	ok(be_setxattr(store(), ctx_again(), P("f"), "user.a", NULL, 0, 0, id,
		       &out));
}

/* --- giving up ------------------------------------------------------------ */

static void
cancelled(void **state)
{
	atomic_int cancel = 1;
	struct be_attr a;
	struct be_ctx *x = ctx();
	int ret;

	put(P("f"), "x");
	x = ctx();
	x->cancel = &cancel;
	ret = be_getattr(store(), x, P("f"), BE_HINT_NONE, &a);
	assert_true(ret == 0 || ret == -EINTR);
	x = ctx();
	x->deadline_ns = clock_mono_ns() - 1;
	ret = be_getattr(store(), x, P("f"), BE_HINT_NONE, &a);
	assert_true(ret == 0 || ret == -ETIMEDOUT);
}

/* Out-parameters are untouched on failure (B3). */
static void
untouched(void **state)
{
	struct be_attr a, b;
	struct be_sink_mem m = {NULL, 0, 0};
	struct be_sink sink = be_sink_to_mem(&m);
	uint64_t got = 4711;
	char *target = (char *)&m;

	memset(&a, 0x5a, sizeof(a));
	b = a;
	refused(be_getattr(store(), ctx(), P("n"), BE_HINT_NONE, &a), ENOENT);
	refused(be_fetch(store(), ctx(), P("n"), NULL, 1, &sink, &a, &got),
		ENOENT);
	refused(be_readlink(store(), ctx(), P("n"), &target), ENOENT);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(got, 4711);
	assert_ptr_equal(target, &m);
}

static void
stats_add(void *arg, const char *name, uint64_t value)
{
	assert_true(*name != '\0');
	++*(unsigned *)arg;
}

static void
stats(void **state)
{
	unsigned n = 0;

	be_stats(store(), stats_add, &n);
}

const struct CMUnitTest conf_cond[] = {
	CONF_TEST(commit_absent),   CONF_TEST(commit_match),
	CONF_TEST(setattr_match),   CONF_TEST(unlink_match),
	CONF_TEST(copy_conditions), CONF_TEST(again_commit),
	CONF_TEST(again_create),    CONF_TEST(again_mkdir),
	CONF_TEST(again_symlink),   CONF_TEST(again_unlink),
	CONF_TEST(again_rmdir),	    CONF_TEST(again_rename),
	CONF_TEST(again_setattr),   CONF_TEST(again_setxattr),
	CONF_TEST(cancelled),	    CONF_TEST(untouched),
	CONF_TEST(stats),
};
const size_t conf_cond_n = sizeof(conf_cond) / sizeof(conf_cond[0]);
