/* SPDX-License-Identifier: MIT */
/*
 * A disk that is full, read-only, broken or taken away means slower, not
 * wrong (C5), and a file being written gets ENOSPC.  Real file systems in a
 * mount namespace of our own.
 */
#include <config.h>

#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/journal.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

/* ext4 stops answering, as after a disk error; from linux/ext4.h. */
#define EXT4_SHUTDOWN _IOR('X', 125, uint32_t)
#define SMALL 16384u

struct disk {
	char top[64];
	char mnt[80];
	char dir[96]; /* in mnt */
};

static bool
put(struct store *s, const char *path, const void *p, size_t n)
{
	struct be_ver v = box_ver("v");

	return store_put(s, path, &v, p, n);
}

/* 1: there and right.  0: a miss. */
static int
look(struct store *s, const char *path, const void *want, size_t n)
{
	struct be_ver v = box_ver("v");
	struct store_file *f = store_open(s, path, &v);
	_cleanup_free_ char *p = xmalloc(n + 1);
	size_t got;
	int r;

	if (!f)
		return 0;
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

static int
run(const char *cmd, ...)
{
	char *argv[12] = { 0 };
	va_list ap;
	pid_t pid;
	int i = 0, status;

	va_start(ap, cmd);
	for (char *a = (char *)cmd; a && i < 11; a = va_arg(ap, char *))
		argv[i++] = a;
	va_end(ap);
	pid = fork();
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static int
disk_setup(void **state)
{
	struct disk *d = xcalloc(1, sizeof(*d));

	snprintf(d->top, sizeof(d->top), "store-disk.XXXXXX");
	if (!mkdtemp(d->top))
		return -1;
	snprintf(d->mnt, sizeof(d->mnt), "%s/mnt", d->top);
	snprintf(d->dir, sizeof(d->dir), "%s/cache", d->mnt);
	*state = d;
	return mkdir(d->mnt, 0700);
}

static int
disk_teardown(void **state)
{
	struct disk *d = *state;
	char img[80];

	if (umount2(d->mnt, 0) < 0 && errno != EINVAL)
		return -1; /* leave it alone */
	snprintf(img, sizeof(img), "%s/img", d->top);
	unlink(img);
	rmdir(d->mnt);
	rmdir(d->top);
	free(d);
	return 0;
}

static void
mount_tmpfs(struct disk *d, const char *options)
{
	if (mount("tmpfs", d->mnt, "tmpfs", 0, options) < 0) {
		print_message("no tmpfs can be mounted here\n");
		skip();
	}
}

static void
mount_ext4(struct disk *d)
{
	char img[80];
	int fd;

	snprintf(img, sizeof(img), "%s/img", d->top);
	fd = open(img, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	close(fd);
	if (run("mkfs.ext4", "-q", "-F", img, NULL) != 0 ||
	    run("mount", "-o", "loop", img, d->mnt, NULL) != 0) {
		print_message("no ext4 image can be mounted here\n");
		skip();
	}
}

/* Both free-space limits far away. */
static struct store *
open_store(struct disk *d)
{
	return box_store(d->dir, "one", 0, 0);
}

static uint64_t
avail(struct disk *d)
{
	struct statvfs sv;

	assert_int_equal(statvfs(d->mnt, &sv), 0);
	return (uint64_t)sv.f_bavail * sv.f_frsize;
}

/* --- full ---------------------------------------------------------------- */

/* All the room is taken by something that is not ours. */
static void
fill(struct disk *d, bool all)
{
	_cleanup_free_ char *p = xcalloc(1, 1 << 16);
	char path[128];
	size_t step = 1 << 16;
	int fd;

	snprintf(path, sizeof(path), "%s/ballast", d->mnt);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while (step >= 1) {
		if (!all && avail(d) < 3 * step)
			break;
		if (write(fd, p, step) <= 0)
			step /= 16;
	}
	close(fd);
}

static void
unfill(struct disk *d)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/ballast", d->mnt);
	assert_int_equal(unlink(path), 0);
}

/* free_min 0: the disk itself says when it is full. */
static void
full_disk(struct disk *d)
{
	_cleanup_free_ char *p = box_bytes(SMALL, 1), *name = NULL;
	_cleanup_free_ char *name2 = NULL;
	struct be_ver v = box_ver("v");
	struct store *s = open_store(d);
	int fd, fd2 = -1, r;

	assert_true(put(s, "before", p, SMALL));
	assert_int_equal(store_private_new(s, &fd, &name), 0);
	assert_int_equal(pwrite(fd, p, SMALL, 0), SMALL);
	fill(d, true);
	/* Reads go on; what does not fit is not kept. */
	assert_int_equal(look(s, "before", p, SMALL), 1);
	for (int i = 0; i < 20; i++) {
		char path[16];

		snprintf(path, sizeof(path), "full%d", i);
		if (put(s, path, p, SMALL))
			assert_int_equal(look(s, path, p, SMALL), 1);
	}
	assert_false(put(s, "full", p, SMALL));
	assert_int_equal(look(s, "full", p, SMALL), 0);
	/* A writer has to be told. */
	assert_int_equal(store_private_room(s, 1 << 20), -ENOSPC);
	r = store_private_new(s, &fd2, &name2);
	if (r == 0) {
		close(fd2);
		store_private_drop(s, name2);
	} else {
		assert_int_equal(r, -ENOSPC);
	}
	/* Whether publishing has room for the record or not. */
	if (store_publish(s, name, fd, "pub", &v, SMALL))
		assert_int_equal(look(s, "pub", p, SMALL), 1);
	else
		assert_int_equal(look(s, "pub", p, SMALL), 0);
	close(fd);
	unfill(d);
	/* At once well again. */
	assert_int_equal(store_private_room(s, 1 << 20), 0);
	assert_true(put(s, "full", p, SMALL));
	assert_int_equal(look(s, "full", p, SMALL), 1);
	store_free(s);
}

static void
test_full_tmpfs(void **state)
{
	mount_tmpfs(*state, "size=4m");
	full_disk(*state);
}

static void
test_full_ext4(void **state)
{
	mount_ext4(*state);
	full_disk(*state);
}

/* No inode left is no room either. */
static void
test_no_inodes(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *name = NULL;
	struct store *s;
	int fd, r = 0;

	mount_tmpfs(d, "size=64m,nr_inodes=400");
	s = open_store(d);
	for (int i = 0; i < 400 && r == 0; i++) {
		free(steal_ptr(&name));
		r = store_private_new(s, &fd, &name);
		if (r == 0)
			close(fd);
	}
	assert_int_equal(r, -ENOSPC);
	assert_false(put(s, "a", "x", 1));
	store_free(s);
}

/* The disk fills up with clean content: that goes before a writer is refused,
 * and it never takes the reserve. */
static void
test_writers_first(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *p = box_bytes(SMALL, 1), *name = NULL;
	struct store_stats st;
	struct store *s;
	uint64_t wrote = 0;
	int fd;

	mount_tmpfs(d, "size=32m");
	s = box_store(d->dir, "one", 0, 4 << 20);
	for (int i = 0; i < 4000; i++) {
		char path[16];

		snprintf(path, sizeof(path), "%d", i);
		put(s, path, p, SMALL);
		assert_true(avail(d) >= 3 << 20);
	}
	assert_int_equal(store_private_new(s, &fd, &name), 0);
	while (store_private_room(s, SMALL) == 0) {
		assert_int_equal(pwrite(fd, p, SMALL, (off_t)wrote), SMALL);
		wrote += SMALL;
	}
	/* All but the reserve (a third of 4 MiB) and some directories. */
	assert_true(wrote > 25 << 20);
	assert_true(avail(d) >= 1 << 20);
	store_stats_get(s, &st);
	assert_true(st.evictions > 0);
	close(fd);
	store_private_drop(s, name);
	assert_int_equal(store_private_room(s, SMALL), 0);
	store_free(s);
}

static void
test_full_at_start(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *name = NULL;
	struct store *s;
	int fd;

	mount_tmpfs(d, "size=1m,nr_inodes=40");
	s = open_store(d); /* 256 directories do not fit */
	assert_false(store_usable(s));
	assert_false(put(s, "a", "x", 1));
	assert_int_equal(look(s, "a", "x", 1), 0);
	assert_int_equal(store_private_new(s, &fd, &name), -ENOSPC);
	store_reclaim(s);
	store_free(s);
}

/* --- read-only, broken, gone --------------------------------------------- */

static void
nothing_works(struct store *s, int private_error)
{
	struct be_ver v = box_ver("v"), w = box_ver("w");
	struct journal_rec rec = { .path = (char *)"a", .whole = true };
	_cleanup_free_ char *name = NULL;
	struct store_stats st;
	int fd, r;

	assert_false(put(s, "new", "x", 1));
	assert_int_equal(look(s, "new", "x", 1), 0);
	assert_false(store_rekey(s, "kept", &v, "other", &w));
	assert_int_equal(store_private_new(s, &fd, &name), private_error);
	r = journal_put(s, "1", &rec, NULL);
	assert_int_equal(r, private_error);
	journal_drop(s, "1", true);
	store_private_drop(s, "1");
	store_forget(s, "nothing", &v);
	store_reclaim(s);
	store_stats_get(s, &st);
	assert_true(st.disk_errors > 0);
}

static void
test_read_only_at_start(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *p = box_bytes(SMALL, 1);
	struct store *s;

	mount_tmpfs(d, "size=16m");
	s = open_store(d);
	assert_true(put(s, "kept", p, SMALL));
	store_free(s);
	assert_int_equal(mount("", d->mnt, "", MS_REMOUNT | MS_RDONLY,
			       NULL), 0);
	s = open_store(d);
	assert_int_equal(look(s, "kept", p, SMALL), 1);
	nothing_works(s, -EROFS);
	assert_int_equal(look(s, "kept", p, SMALL), 1);
	/* Writable again: no restart is needed. */
	assert_int_equal(mount("", d->mnt, "", MS_REMOUNT, NULL), 0);
	assert_true(put(s, "new", p, SMALL));
	assert_int_equal(look(s, "new", p, SMALL), 1);
	store_free(s);
	/* And a disk that was read-only before there was a cache. */
	assert_int_equal(run("rm", "-rf", d->dir, NULL), 0);
	assert_int_equal(mount("", d->mnt, "", MS_REMOUNT | MS_RDONLY,
			       NULL), 0);
	s = open_store(d);
	assert_false(store_usable(s));
	nothing_works(s, -EROFS);
	store_free(s);
}

/* As ext4 does by itself after a disk error. */
static void
test_read_only_while_running(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *p = box_bytes(SMALL, 1);
	struct stat st;
	struct store *s;

	mount_ext4(d);
	s = open_store(d);
	assert_true(put(s, "kept", p, SMALL));
	assert_int_equal(look(s, "kept", p, SMALL), 1);
	/* A remount is refused while files are open for writing, so: force. */
	assert_int_equal(run("mount", "-o", "remount,errors=remount-ro",
			     d->mnt, NULL), 0);
	assert_int_equal(stat(d->mnt, &st), 0);
	{
		char link[64], real[512], path[600];
		ssize_t n;
		int fd;

		snprintf(link, sizeof(link), "/sys/dev/block/%u:%u",
			 (unsigned)(st.st_dev >> 8),
			 (unsigned)(st.st_dev & 255));
		n = readlink(link, real, sizeof(real) - 1);
		assert_true(n > 0);
		real[n] = '\0';
		snprintf(path, sizeof(path), "/sys/fs/ext4/%s/trigger_fs_error",
			 strrchr(real, '/') + 1);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "test", 4) != 4) {
			print_message("ext4 can't be told to fail here\n");
			store_free(s);
			skip();
		}
		close(fd);
	}
	assert_int_equal(look(s, "kept", p, SMALL), 1);
	nothing_works(s, -EROFS);
	assert_int_equal(look(s, "kept", p, SMALL), 1);
	store_free(s);
}

static void
test_broken(void **state)
{
	struct disk *d = *state;
	size_t n = 20 * STORE_BLOCK;
	_cleanup_free_ char *p = box_bytes(n, 1), *q = xmalloc(n);
	struct be_ver v = box_ver("v");
	struct store_file *f;
	struct store *s;
	uint32_t how = 2; /* without flushing anything */
	size_t got;
	int fd;

	mount_ext4(d);
	s = open_store(d);
	assert_true(put(s, "kept", p, n));
	f = store_open(s, "kept", &v);
	assert_non_null(f);
	assert_int_equal(store_read(f, 0, q, 100, &got), 0);
	fd = open(d->mnt, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	if (ioctl(fd, EXT4_SHUTDOWN, &how) < 0) {
		print_message("ext4 can't be shut down here\n");
		close(fd);
		store_close(f);
		store_free(s);
		skip();
	}
	close(fd);
	/* Right bytes from memory, or an error: never others. */
	if (store_read(f, 0, q, n, &got) == 0) {
		assert_int_equal(got, n);
		assert_memory_equal(p, q, n);
	}
	store_close(f);
	nothing_works(s, -EIO);
	store_free(s);
}

static void
test_deleted(void **state)
{
	struct disk *d = *state;
	_cleanup_free_ char *p = box_bytes(SMALL, 1), *q = xmalloc(SMALL);
	struct be_ver v = box_ver("v");
	struct store_file *f;
	struct store *s;
	char path[128];
	size_t got;

	mount_tmpfs(d, "size=16m");
	s = open_store(d);
	for (int i = 0; i < 4; i++) {
		_cleanup_free_ char *name = NULL;
		int fd;

		assert_true(put(s, "a", p, SMALL));
		f = store_open(s, "a", &v);
		assert_non_null(f);
		/* All of it, or parts. */
		snprintf(path, sizeof(path), "%s%s", d->dir,
			 i == 0 ? "" :
			 i == 1 ? "/v1" :
			 i == 2 ? "/v1/mounts" :
				  "/v1/clean");
		assert_int_equal(run("rm", "-rf", path, NULL), 0);
		/* What is open stays whole. */
		assert_int_equal(store_read(f, 0, q, SMALL, &got), 0);
		assert_memory_equal(p, q, SMALL);
		store_close(f);
		assert_int_equal(look(s, "a", p, SMALL), i == 2);
		/* The first writer makes it again. */
		assert_int_equal(store_private_new(s, &fd, &name), 0);
		assert_int_equal(pwrite(fd, p, SMALL, 0), SMALL);
		store_publish(s, name, fd, "b", &v, SMALL);
		close(fd);
		assert_true(put(s, "b", p, SMALL));
		assert_int_equal(look(s, "b", p, SMALL), 1);
	}
	/* The instance is still ours alone. */
	{
		struct store_config cfg = { .dir = d->dir, .instance = "one",
					    .store_id = "x" };
		struct store *two;

		assert_int_equal(store_new(&cfg, &two, NULL), -EBUSY);
	}
	store_free(s);
}

/* --- directories that are not ours --------------------------------------- */

static void
refused(const char *dir, int code, const char *words)
{
	struct store_config cfg = { .dir = dir, .instance = "one",
				    .store_id = "x" };
	_cleanup_err_ struct err err = ERR_INIT;
	struct store *s;

	assert_int_equal(store_new(&cfg, &s, &err), code);
	if (!strstr(err_words(&err), words))
		fail_msg("\"%s\" does not say \"%s\"", err_words(&err), words);
}

static void
test_not_ours(void **state)
{
	struct disk *d = *state;
	char path[128];
	int fd;

	mount_tmpfs(d, "size=16m");
	assert_int_equal(mkdir(d->dir, 0755), 0);
	assert_int_equal(chown(d->dir, 12345, 12345), 0);
	refused(d->dir, -EINVAL, "12345");
	assert_int_equal(chown(d->dir, 0, 0), 0);
	assert_int_equal(chmod(d->dir, 0777), 0);
	refused(d->dir, -EINVAL, "0777");
	assert_int_equal(chmod(d->dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/v1", d->dir);
	assert_int_equal(symlink("/etc", path), 0);
	refused(d->dir, -EINVAL, "v1");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chown(path, 12345, 12345), 0);
	refused(d->dir, -EINVAL, "12345");
	assert_int_equal(chown(path, 0, 0), 0);
	snprintf(path, sizeof(path), "%s/v1/clean", d->dir);
	assert_int_equal(symlink("/etc", path), 0);
	refused(d->dir, -EINVAL, "clean");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/v1/clean/7f", d->dir);
	assert_int_equal(symlink("/etc", path), 0);
	refused(d->dir, -EINVAL, "7f");
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/file", d->mnt);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	refused(path, -EINVAL, "no directory");
	store_free(open_store(d));
}

static void
test_modes(void **state)
{
	struct disk *d = *state;
	struct stat st;
	struct store *s;
	char path[128];

	mount_tmpfs(d, "size=16m");
	snprintf(path, sizeof(path), "%s/made/on/the/way", d->mnt);
	s = box_store(path, "one", 0, 0);
	assert_true(put(s, "a", "x", 1));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	store_free(s);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, disk_setup, disk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_full_tmpfs),	    T(test_full_ext4),
		T(test_no_inodes),	    T(test_writers_first),
		T(test_full_at_start),	    T(test_read_only_at_start),
		T(test_read_only_while_running), T(test_broken),
		T(test_deleted),	    T(test_not_ours),
		T(test_modes),
	};

	if (geteuid() != 0) {
		print_message("SKIP: mounting needs root\n");
		return 77;
	}
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("SKIP: no mount namespace of our own: %s\n",
			      strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
