/* SPDX-License-Identifier: MIT */
/*
 * What only the file store has: whose rights count, paths that try to lead
 * out, others who change the directory at the same time, and a probe that
 * meets a store it can't use.  As root also as another user.
 */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/file-priv.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

#include "tests/lib/unit.h"

#define USER 4711
#define GROUP 4712
#define TEAM 4713

struct fix {
	char dir[64]; /* the shared directory is dir/share */
	struct backend *be;
	struct be_ctx ctx;
	struct err err;
};

static const struct be_cond any = {BE_ANY};

static int
setup(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));
	char share[80];

	snprintf(f->dir, sizeof(f->dir), "/tmp/sharedfs-file-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	chmod(f->dir, 0755);
	snprintf(share, sizeof(share), "%s/share", f->dir);
	assert_int_equal(mkdir(share, 0777), 0);
	chmod(share, 0777);
	assert_int_equal(backend_file_open(share, NULL, &f->be, NULL), 0);
	f->ctx.err = &f->err;
	f->ctx.uid = geteuid();
	f->ctx.gid = getegid();
	assert_int_equal(be_probe(f->be, &f->ctx), 0);
	*state = f;
	return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int
teardown(void **state)
{
	struct fix *f = *state;

	backend_free(f->be);
	err_release(&f->err);
	assert_int_equal(nftw(f->dir, remove_one, 16,
			      FTW_DEPTH | FTW_PHYS | FTW_MOUNT),
			 0);
	free(f);
	return 0;
}

static char *
real_path(struct fix *f, const char *path)
{
	static __thread char buf[300];

	snprintf(buf, sizeof(buf), "%s/share/%s", f->dir, path);
	return buf;
}

static void
put_real(struct fix *f, const char *path, const char *text, mode_t mode)
{
	int fd = open(real_path(f, path), O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int
commit(struct fix *f, const char *path, const char *text)
{
	struct be_attr attr = {
		.mode = S_IFREG | 0640, .uid = f->ctx.uid, .gid = f->ctx.gid};
	struct range all = {0, strlen(text)};
	_cleanup_close_ int fd = memfd_create("t", MFD_CLOEXEC);
	struct be_commit c = {.path = path,
			      .fd = fd,
			      .size = all.len,
			      .whole = true,
			      .dirty = &all,
			      .ndirty = 1,
			      .attr = &attr};
	struct be_attr out;

	be_opid_new(&c.opid);
	assert_int_equal(pwrite(fd, text, all.len, 0), all.len);
	return be_commit(f->be, &f->ctx, &c, &out);
}

static int
fetch(struct fix *f, const char *path, char *text, size_t cap)
{
	struct be_sink_mem m = {text, 0, cap - 1};
	struct be_sink sink = be_sink_to_mem(&m);
	struct be_attr a;
	uint64_t got = 0;
	int ret =
		be_fetch(f->be, &f->ctx, path, NULL, cap - 1, &sink, &a, &got);

	text[got] = '\0';
	return ret;
}

static int
create(struct fix *f, const char *path, mode_t mode, struct be_attr *out)
{
	struct be_attr attr = {
		.mode = mode, .uid = f->ctx.uid, .gid = f->ctx.gid};
	struct be_opid id;

	be_opid_new(&id);
	return be_create(f->be, &f->ctx, path, &attr, &id, out);
}

static void
as_user(struct fix *f)
{
	static const gid_t team[] = {TEAM};

	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	f->ctx.uid = USER;
	f->ctx.gid = GROUP;
	f->ctx.groups = team;
	f->ctx.ngroups = 1;
}

/* --- whose rights --------------------------------------------------------- */

static void
callers_rights(void **state)
{
	struct fix *f = *state;
	struct be_attr a;
	char text[32];

	put_real(f, "root only", "secret", 0600);
	put_real(f, "team", "ours", 0640);
	assert_int_equal(mkdir(real_path(f, "closed"), 0700), 0);
	put_real(f, "closed/f", "x", 0666);
	as_user(f);
	assert_int_equal(chown(real_path(f, "team"), 0, TEAM), 0);
	assert_int_equal(fetch(f, "root only", text, sizeof(text)), -EACCES);
	assert_int_equal(commit(f, "root only", "mine"), -EACCES);
	assert_int_equal(fetch(f, "closed/f", text, sizeof(text)), -EACCES);
	assert_int_equal(create(f, "closed/g", S_IFREG | 0644, &a), -EACCES);
	/* By a supplementary group, for reading only. */
	assert_int_equal(fetch(f, "team", text, sizeof(text)), 0);
	assert_string_equal(text, "ours");
	assert_int_equal(commit(f, "team", "mine"), -EACCES);
	/* New files are the caller's. */
	assert_int_equal(create(f, "new", S_IFREG | 0644, &a), 0);
	assert_int_equal(a.uid, USER);
	assert_int_equal(a.gid, GROUP);
	assert_int_equal(commit(f, "new 2", "x"), 0);
	/* And we are ourselves again. */
	f->ctx = (struct be_ctx){.err = &f->err};
	assert_int_equal(fetch(f, "root only", text, sizeof(text)), 0);
	assert_string_equal(text, "secret");
	assert_int_equal(fetch(f, "closed/f", text, sizeof(text)), 0);
}

struct crowd {
	struct fix *f;
	uid_t uid;
	int bad;
};

static void *
crowd_main(void *arg)
{
	struct crowd *c = arg;
	struct fix mine = *c->f;
	struct be_attr a;
	char path[40];

	mine.err = (struct err)ERR_INIT;
	mine.ctx =
		(struct be_ctx){.uid = c->uid, .gid = c->uid, .err = &mine.err};
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "%u-%d", (unsigned)c->uid, i);
		if (create(&mine, path, S_IFREG | 0600, &a) ||
		    a.uid != c->uid || a.gid != c->uid)
			c->bad++;
	}
	err_release(&mine.err);
	return NULL;
}

/* Each thread has its own identity. */
static void
identities_of_threads(void **state)
{
	struct fix *f = *state;
	struct crowd c[8];
	pthread_t t[8];

	as_user(f);
	for (int i = 0; i < 8; i++) {
		c[i] = (struct crowd){f, i ? USER + i : 0, 0};
		pthread_create(&t[i], NULL, crowd_main, &c[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(c[i].bad, 0);
	}
}

/* git makes its objects with mode 0444 and then writes them. */
static void
owner_writes_read_only(void **state)
{
	struct fix *f = *state;
	struct be_attr a;
	char text[32];

	if (geteuid() == 0)
		as_user(f);
	assert_int_equal(create(f, "obj", S_IFREG | 0444, &a), 0);
	assert_int_equal(a.mode & 0777, 0444);
	assert_int_equal(commit(f, "obj", "blob"), 0);
	assert_int_equal(fetch(f, "obj", text, sizeof(text)), 0);
	assert_string_equal(text, "blob");
	assert_int_equal(create(f, "none", S_IFREG, &a), 0);
	assert_int_equal(commit(f, "none", "x"), 0);
	assert_int_equal(be_getattr(f->be, &f->ctx, "none", BE_HINT_NONE, &a),
			 0);
	assert_int_equal(a.mode & 0777, 0);
}

static void
setgid_directory(void **state)
{
	struct fix *f = *state;
	struct be_attr a, dir = {.mode = S_IFDIR | 0755};
	struct be_opid id;

	as_user(f);
	assert_int_equal(mkdir(real_path(f, "team"), 0775), 0);
	assert_int_equal(chown(real_path(f, "team"), USER, TEAM), 0);
	assert_int_equal(chmod(real_path(f, "team"), 02775), 0);
	assert_int_equal(create(f, "team/f", S_IFREG | 0644, &a), 0);
	assert_int_equal(a.gid, TEAM);
	dir.uid = USER;
	dir.gid = GROUP;
	be_opid_new(&id);
	assert_int_equal(be_mkdir(f->be, &f->ctx, "team/d", &dir, &id, &a), 0);
	assert_int_equal(a.gid, TEAM);
	assert_int_equal(a.mode & 07777, 02755);
}

/* Rule 10: neither setuid nor a device comes out of a store. */
static void
nothing_dangerous(void **state)
{
	struct fix *f = *state;
	struct be_attr a;

	put_real(f, "su", "x", 0755);
	assert_int_equal(chmod(real_path(f, "su"), 06755), 0);
	assert_int_equal(be_getattr(f->be, &f->ctx, "su", BE_HINT_NONE, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	assert_int_equal(create(f, "dev", S_IFBLK | 0600, &a), -EPERM);
	assert_int_equal(create(f, "dev", S_IFCHR | 0600, &a), -EPERM);
	if (geteuid() != 0 ||
	    mknod(real_path(f, "null"), S_IFCHR | 0666, makedev(1, 3)))
		return;
	assert_int_equal(be_getattr(f->be, &f->ctx, "null", BE_HINT_NONE, &a),
			 0);
	assert_int_equal(a.rdev, 0);
}

/* --- paths ---------------------------------------------------------------- */

static void
no_way_out_with(struct fix *f)
{
	struct be_attr a;
	char text[32];

	assert_int_equal(fetch(f, "etc/passwd", text, sizeof(text)), -ENOTDIR);
	assert_int_equal(fetch(f, "up/outside", text, sizeof(text)), -ENOTDIR);
	assert_int_equal(fetch(f, "link", text, sizeof(text)), -ELOOP);
	assert_int_equal(commit(f, "link", "overwritten"), -ELOOP);
	assert_int_equal(commit(f, "up/outside", "overwritten"), -ENOTDIR);
	assert_int_equal(create(f, "up/new", S_IFREG | 0644, &a), -ENOTDIR);
	assert_int_equal(create(f, "d/new", S_IFREG | 0644, &a), 0);
	assert_int_equal(be_unlink(f->be, &f->ctx, "d/new", &any, NULL), 0);
}

static void
no_way_out(void **state)
{
	struct fix *f = *state;
	char outside[100], text[10] = "";
	int fd;

	snprintf(outside, sizeof(outside), "%s/outside", f->dir);
	fd = open(outside, O_CREAT | O_RDWR, 0666);
	assert_int_equal(write(fd, "safe", 4), 4);
	assert_int_equal(symlink("/etc", real_path(f, "etc")), 0);
	assert_int_equal(symlink("..", real_path(f, "up")), 0);
	assert_int_equal(symlink("../outside", real_path(f, "link")), 0);
	assert_int_equal(mkdir(real_path(f, "d"), 0777), 0);
	no_way_out_with(f);
	/* The same without openat2. */
	file_of(f->be)->no_openat2 = true;
	no_way_out_with(f);
	assert_int_equal(pread(fd, text, 9, 0), 4);
	assert_string_equal(text, "safe");
	close(fd);
}

/* --- others at work ------------------------------------------------------- */

static void *
rewriter(void *arg)
{
	struct fix *f = arg;
	char text[20000];
	int fd = open(real_path(f, "busy"), O_WRONLY);

	for (int i = 0; i < 300; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		for (size_t at = 0; at < sizeof(text); at += 1000)
			if (pwrite(fd, text + at, 1000, at) != 1000)
				abort();
	}
	close(fd);
	return NULL;
}

/* C1, B7: what is told under one version are the same bytes, unless it is told
 * that the version is too young for that: a write() moves ctime before it
 * copies its bytes. */
static void
fetch_of_a_busy_file(void **state)
{
	struct fix *f = *state;
	_cleanup_free_ char *one = xmalloc(20000), *two = xmalloc(20000);
	struct be_sink_mem m1 = {one, 0, 20000}, m2 = {two, 0, 20000};
	struct be_sink s1 = be_sink_to_mem(&m1), s2 = be_sink_to_mem(&m2);
	struct be_attr a;
	uint64_t got;
	pthread_t t;

	put_real(f, "busy", "", 0644);
	assert_int_equal(truncate(real_path(f, "busy"), 20000), 0);
	pthread_create(&t, NULL, rewriter, f);
	for (int i = 0; i < 300; i++) {
		int ret = be_fetch(f->be, &f->ctx, "busy", NULL, 20000, &s1, &a,
				   &got);

		if (ret) { /* it gave up, and says that it may be tried again */
			assert_int_equal(ret, -EIO);
			assert_true(f->ctx.transient);
			continue;
		}
		ret = be_read(f->be, &f->ctx, "busy", &a.ver, 0, 20000, &s2,
			      &got);
		if (ret < 0)
			assert_int_equal(ret, -ESTALE);
		else if (!(a.flags & BE_ATTR_RACY))
			assert_memory_equal(one, two, 20000);
	}
	pthread_join(t, NULL);
	assert_int_equal(
		be_fetch(f->be, &f->ctx, "busy", NULL, 20000, &s1, &a, &got),
		0);
	assert_int_equal(
		be_read(f->be, &f->ctx, "busy", &a.ver, 0, 20000, &s2, &got),
		0);
	assert_memory_equal(one, two, 20000);
}

static void
fifo_never_blocks(void **state)
{
	struct fix *f = *state;
	char text[8];

	assert_int_equal(mkfifo(real_path(f, "fifo"), 0666), 0);
	assert_int_equal(fetch(f, "fifo", text, sizeof(text)), -EINVAL);
	assert_int_equal(commit(f, "fifo", "x"), -EINVAL);
}

/* In place: the inode stays, and so does what others had open. */
static void
writes_in_place(void **state)
{
	struct fix *f = *state;
	struct stat before, after;
	char text[8] = "";
	int fd;

	put_real(f, "f", "before", 0644);
	assert_int_equal(stat(real_path(f, "f"), &before), 0);
	fd = open(real_path(f, "f"), O_RDONLY);
	assert_int_equal(commit(f, "f", "after"), 0);
	assert_int_equal(stat(real_path(f, "f"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(pread(fd, text, 7, 0), 5);
	assert_string_equal(text, "after");
	close(fd);
}

/* Rule 9, of a store whose clock is too coarse to tell two writes apart. */
static void
young_versions_are_racy(void **state)
{
	struct fix *f = *state;
	struct timespec old = {1000000000, 0};
	struct be_attr a;

	put_real(f, "f", "x", 0644);
	assert_int_equal(be_getattr(f->be, &f->ctx, "f", BE_HINT_NONE, &a), 0);
	assert_true(a.flags & BE_ATTR_RACY);
	/* The ctime counts: an old mtime can be made. */
	assert_int_equal(utimensat(AT_FDCWD, real_path(f, "f"),
				   (struct timespec[]){old, old}, 0),
			 0);
	assert_int_equal(be_getattr(f->be, &f->ctx, "f", BE_HINT_NONE, &a), 0);
	assert_true(a.flags & BE_ATTR_RACY);
	/* What we did ourselves needs only a fine clock. */
	for (int precise = 0; precise < 2; precise++) {
		file_of(f->be)->precise = precise;
		a.mode = 0600;
		assert_int_equal(be_setattr(f->be, &f->ctx, "f",
					    &(struct be_cond){.pre = BE_ANY},
					    NULL, BE_SET_MODE, &a, &a),
				 0);
		assert_int_equal(!(a.flags & BE_ATTR_RACY), precise);
	}
	/* The store's clock is what counts, not ours. */
	file_of(f->be)->skew_ns = INT64_C(10000000000);
	assert_int_equal(be_getattr(f->be, &f->ctx, "f", BE_HINT_NONE, &a), 0);
	assert_false(a.flags & BE_ATTR_RACY);
}

/* --- probe ---------------------------------------------------------------- */

static void
probe_words(const char *dir, const char *words, int code)
{
	struct backend *be;
	struct err err = ERR_INIT;
	struct be_ctx ctx = {.err = &err};

	assert_int_equal(backend_file_open(dir, NULL, &be, &err), 0);
	assert_int_equal(be_probe(be, &ctx), code);
	assert_non_null(strstr(err.msg, words));
	backend_free(be);
	err_release(&err);
}

static void
probe_refusals(void **state)
{
	struct fix *f = *state;
	struct err err = ERR_INIT;
	struct backend *be;
	char none[100];

	snprintf(none, sizeof(none), "%s/none", f->dir);
	probe_words(none, "does not exist", -ENOENT);
	put_real(f, "file", "", 0644);
	probe_words(real_path(f, "file"), "is not a directory", -ENOTDIR);
	assert_int_equal(backend_file_open("relative", NULL, &be, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "from the root"));
	err_release(&err);
}

static void
probe_leaves_nothing(void **state)
{
	struct fix *f = *state;

	assert_int_equal(be_probe(f->be, &f->ctx), 0);
	/* Only an empty directory can be removed. */
	assert_int_equal(rmdir(real_path(f, "")), 0);
}

int
main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(callers_rights),	   T(identities_of_threads),
		T(owner_writes_read_only), T(setgid_directory),
		T(nothing_dangerous),	   T(no_way_out),
		T(fetch_of_a_busy_file),   T(fifo_never_blocks),
		T(writes_in_place),	   T(young_versions_are_racy),
		T(probe_refusals),	   T(probe_leaves_nothing),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
