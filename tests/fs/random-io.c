/* SPDX-License-Identifier: MIT */
/*
 * Random calls on files of two nodes, against an array:
 *
 *   random-io A B THREADS CALLS [SEED]
 *
 * Each thread has one file, up to four descriptors of it on node A, and knows
 * what every read must show.  From time to time all are closed, or one is
 * synced, and node B must see the same bytes; sometimes B changes them then.
 * The first call that is wrong is printed with those before it; exit status 1.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define FILE_MAX (400u * 1024)
#define FDS 4
#define THREADS_MAX 64
#define HISTORY 64
#define NAMES 3

static const struct timespec ACTIMEO = { 1, 10000000 };

static const char *dir_a, *dir_b;
static unsigned calls;
static atomic_bool failed;

struct file {
	unsigned number, seed, name;
	pthread_t thread;
	char a[300], b[300]; /* its path on each node */
	int fd[FDS];	     /* -1: none */
	int flags[FDS];
	char bytes[FILE_MAX]; /* what it must be */
	size_t size;
	char buf[FILE_MAX];
	char history[HISTORY][80];
	unsigned done;
};

static unsigned
pick(struct file *f, size_t n)
{
	return n ? (unsigned)rand_r(&f->seed) % n : 0;
}

__attribute__((format(printf, 2, 3))) static void
note(struct file *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->history[f->done++ % HISTORY], sizeof(f->history[0]), fmt,
		  ap);
	va_end(ap);
}

/* Always false. */
static bool
bad(struct file *f, const char *what, long got, long want)
{
	int err = errno;
	unsigned i = f->done > HISTORY ? f->done - HISTORY : 0;

	if (atomic_exchange(&failed, true))
		return false;
	for (; i < f->done; i++)
		printf("  %s\n", f->history[i % HISTORY]);
	printf("file %u (%s): %s: %ld, expected %ld (%s)\n", f->number, f->a,
	       what, got, want, strerror(err));
	return false;
}

static bool
same(struct file *f, const char *what, const char *p, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != f->bytes[off + i]) {
			note(f, "byte %zu of [%zu, +%zu)", off + i, off, len);
			return bad(f, what, p[i], f->bytes[off + i]);
		}
	}
	return true;
}

static void
set_name(struct file *f, unsigned name)
{
	f->name = name;
	snprintf(f->a, sizeof(f->a), "%s/%u-%u", dir_a, f->number, name);
	snprintf(f->b, sizeof(f->b), "%s/%u-%u", dir_b, f->number, name);
}

/* What a write of len letters at off makes of the file. */
static void
expect(struct file *f, size_t off, const char *p, size_t len)
{
	if (off > f->size)
		memset(f->bytes + f->size, 0, off - f->size);
	memcpy(f->bytes + off, p, len);
	if (off + len > f->size)
		f->size = off + len;
}

static void
expect_size(struct file *f, size_t size)
{
	if (size > f->size)
		memset(f->bytes + f->size, 0, size - f->size);
	f->size = size;
}

static void
letters(struct file *f, size_t len, char first)
{
	for (size_t i = 0; i < len; i++)
		f->buf[i] = first + pick(f, 10);
}

/* --- one call ------------------------------------------------------------- */

static bool
reads(const struct file *f, int i)
{
	return (f->flags[i] & O_ACCMODE) != O_WRONLY;
}

static bool
writes(const struct file *f, int i)
{
	return (f->flags[i] & O_ACCMODE) != O_RDONLY;
}

static bool
do_close(struct file *f, int i)
{
	int fd = f->fd[i];

	if (fd < 0)
		return true;
	note(f, "close %d", i);
	f->fd[i] = -1;
	return close(fd) == 0 || bad(f, "close", -1, 0);
}

static bool
close_all(struct file *f)
{
	bool ok = true;

	for (int i = 0; i < FDS; i++)
		ok = do_close(f, i) && ok;
	return ok;
}

static bool
do_open(struct file *f, int i)
{
	static const int kinds[] = {
		O_RDWR,		   O_RDWR,	     O_RDONLY,
		O_RDONLY,	   O_WRONLY,	     O_RDWR | O_APPEND,
		O_RDWR | O_TRUNC,  O_RDWR | O_SYNC,  O_WRONLY | O_APPEND,
		O_WRONLY | O_CREAT | O_TRUNC,
		O_RDONLY | O_TRUNC, O_RDWR | O_DIRECT, O_RDONLY | O_DIRECT,
	};

	f->flags[i] = kinds[pick(f, sizeof(kinds) / sizeof(kinds[0]))];
	note(f, "open %d flags 0%o", i, f->flags[i]);
	f->fd[i] = open(f->a, f->flags[i] | O_CLOEXEC, 0644);
	if (f->fd[i] < 0)
		return bad(f, "open", -1, 0);
	if (f->flags[i] & O_TRUNC)
		f->size = 0;
	return true;
}

static bool
do_write(struct file *f, int i)
{
	size_t len = 1 + pick(f, pick(f, 4) ? 5000 : 100000);
	size_t off = pick(f, f->size + (pick(f, 5) ? 1 : 20000));
	ssize_t n;

	if (f->flags[i] & O_APPEND)
		off = f->size;
	if (off + len > FILE_MAX)
		return true;
	letters(f, len, 'a');
	note(f, "write %d [%zu, +%zu)", i, off, len);
	n = pwrite(f->fd[i], f->buf, len, off);
	if (n != (ssize_t)len)
		return bad(f, "write", n, len);
	expect(f, off, f->buf, len);
	return true;
}

static bool
do_read(struct file *f, int i)
{
	size_t off = pick(f, f->size + 10), len = 1 + pick(f, 60000);
	size_t there = off < f->size ? f->size - off : 0;
	ssize_t n;

	note(f, "read %d [%zu, +%zu)", i, off, len);
	n = pread(f->fd[i], f->buf, len, off);
	if (n != (ssize_t)(len < there ? len : there))
		return bad(f, "read", n, len < there ? len : there);
	return same(f, "read", f->buf, off, n);
}

static bool
do_truncate(struct file *f, int i, bool by_name)
{
	size_t size = pick(f, f->size + 10000);

	if (size > FILE_MAX)
		return true;
	note(f, "truncate %s to %zu", by_name ? "by name" : "by descriptor",
	     size);
	if ((by_name ? truncate(f->a, size) : ftruncate(f->fd[i], size)) < 0)
		return bad(f, "truncate", -1, 0);
	expect_size(f, size);
	return true;
}

static bool
do_stat(struct file *f, int i)
{
	bool by_name = pick(f, 2);
	struct stat st;

	note(f, "stat %s", by_name ? "by name" : "by descriptor");
	if ((by_name ? stat(f->a, &st) : fstat(f->fd[i], &st)) < 0)
		return bad(f, "stat", -1, 0);
	return (size_t)st.st_size == f->size ||
	       bad(f, "size", st.st_size, f->size);
}

static bool
do_map(struct file *f, int i, bool for_write)
{
	size_t size = f->size, off = pick(f, size), len = 1 + pick(f, 300);
	struct stat st;
	char *p;
	bool ok;

	/* As programs do; P2.10. */
	if (size == 0 || fstat(f->fd[i], &st) < 0)
		return true;
	note(f, "map %d%s", i, for_write ? " for writing" : "");
	p = mmap(NULL, size, PROT_READ | (for_write ? PROT_WRITE : 0),
		 MAP_SHARED, f->fd[i], 0);
	if (p == MAP_FAILED)
		return errno == ENODEV || bad(f, "mmap", -1, 0);
	ok = same(f, "mapping", p, 0, size);
	if (ok && for_write) {
		if (len > size - off)
			len = size - off;
		letters(f, len, 'A');
		note(f, "store [%zu, +%zu)", off, len);
		memcpy(p + off, f->buf, len);
		expect(f, off, f->buf, len);
		if (pick(f, 2) && msync(p, size, MS_SYNC) < 0)
			ok = bad(f, "msync", -1, 0);
	}
	munmap(p, size);
	return ok;
}

static bool
do_punch(struct file *f, int i)
{
	size_t off = pick(f, f->size), len = 1 + pick(f, f->size - off);

	if (f->size == 0)
		return true;
	note(f, "punch %d [%zu, +%zu)", i, off, len);
	if (fallocate(f->fd[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
		      len) < 0)
		return bad(f, "punch", -1, 0);
	memset(f->bytes + off, 0, len);
	return true;
}

/* Room, or zeros. */
static bool
do_allocate(struct file *f, int i)
{
	int mode = pick(f, 2) ? FALLOC_FL_ZERO_RANGE : 0;
	size_t off = pick(f, f->size + 3000), len = 1 + pick(f, 9000);

	if (off + len > FILE_MAX)
		return true;
	note(f, "fallocate %d mode %d [%zu, +%zu)", i, mode, off, len);
	if (fallocate(f->fd[i], mode, off, len) < 0)
		return errno == EOPNOTSUPP || bad(f, "fallocate", -1, 0);
	if (off + len > f->size)
		expect_size(f, off + len);
	if (mode)
		memset(f->bytes + off, 0, len);
	return true;
}

static bool
do_copy(struct file *f, int from, int to)
{
	size_t half = f->size / 2, len = half ? 1 + pick(f, half) : 0;
	off_t in = pick(f, half - len + 1), out = half + pick(f, 1000);
	struct stat st;
	ssize_t n;

	/* P2.10 */
	if (len == 0 || out + len > FILE_MAX || f->fd[to] < 0 ||
	    !writes(f, to) || (f->flags[to] & O_APPEND) ||
	    fstat(f->fd[from], &st) < 0)
		return true;
	note(f, "copy %d to %d [%zu, +%zu) to %zu", from, to, (size_t)in, len,
	     (size_t)out);
	memcpy(f->buf, f->bytes + in, len);
	n = copy_file_range(f->fd[from], &in, f->fd[to], &out, len, 0);
	if (n <= 0)
		return bad(f, "copy_file_range", n, len);
	expect(f, out - n, f->buf, n);
	return true;
}

static bool
do_rename(struct file *f)
{
	char old[sizeof(f->a)];

	snprintf(old, sizeof(old), "%s", f->a);
	set_name(f, (f->name + 1) % NAMES);
	note(f, "rename to %u", f->name);
	return rename(old, f->a) == 0 || bad(f, "rename", -1, 0);
}

static bool
do_dup(struct file *f, int i)
{
	int fd = dup(f->fd[i]);

	note(f, "close a duplicate of %d", i);
	return (fd >= 0 && close(fd) == 0) || bad(f, "dup", -1, 0);
}

static bool
do_replace(struct file *f)
{
	if (!close_all(f))
		return false;
	note(f, "unlink and create");
	if (unlink(f->a) < 0)
		return bad(f, "unlink", -1, 0);
	f->flags[0] = O_RDWR;
	f->fd[0] = open(f->a, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	f->size = 0;
	return f->fd[0] >= 0 || bad(f, "create", -1, 0);
}

static bool
same_on_b(struct file *f)
{
	_cleanup_close_ int fd = -1;
	size_t got = 0;
	ssize_t n;

	note(f, "look on B");
	fd = open(f->b, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return bad(f, "open on B", -1, 0);
	while ((n = pread(fd, f->buf + got, FILE_MAX - got, got)) > 0)
		got += n;
	if (n < 0)
		return bad(f, "read on B", -1, 0);
	if (got != f->size)
		return bad(f, "size on B", got, f->size);
	return same(f, "bytes on B", f->buf, 0, got);
}

/* P2.1: all is closed here, so the other node sees it. */
static bool
look_on_b(struct file *f)
{
	return close_all(f) && same_on_b(f);
}

/* So it does what was synced. */
static bool
do_sync(struct file *f, int i)
{
	note(f, "fsync %d", i);
	if (fsync(f->fd[i]) < 0)
		return bad(f, "fsync", -1, 0);
	return pick(f, 3) || same_on_b(f);
}

/* Mode and time, and fsync() brings them to the other node too, which may go by
 * what it knows for actimeo (P2.4). */
static bool
do_attr(struct file *f, int i)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
				 { .tv_sec = 1000000000 + pick(f, 1000000),
				   .tv_nsec = pick(f, 1000) * 1000000L } };
	mode_t mode = 0600 | pick(f, 0200);
	bool on_b = pick(f, 5) == 0;
	_cleanup_close_ int fd = -1;
	struct stat st;

	note(f, "mode 0%o, time %ld.%03ld by %d", mode, (long)t[1].tv_sec,
	     t[1].tv_nsec / 1000000, i);
	if (fchmod(f->fd[i], mode) < 0 || futimens(f->fd[i], t) < 0 ||
	    fsync(f->fd[i]) < 0)
		return bad(f, "fchmod, futimens, fsync", -1, 0);
	if (on_b)
		nanosleep(&ACTIMEO, NULL);
	fd = open(on_b ? f->b : f->a, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return bad(f, "open, fstat", -1, 0);
	if ((st.st_mode & 07777) != mode)
		return bad(f, "mode", st.st_mode & 07777, mode);
	if (st.st_mtim.tv_sec != t[1].tv_sec)
		return bad(f, "seconds", st.st_mtim.tv_sec, t[1].tv_sec);
	return st.st_mtim.tv_nsec == t[1].tv_nsec ||
	       bad(f, "nanoseconds", st.st_mtim.tv_nsec, t[1].tv_nsec);
}

static bool
change_on_b(struct file *f)
{
	bool cut = pick(f, 2);
	size_t len = 100, off = cut ? 0 : pick(f, f->size + 1);
	int fd;

	if (off + len > FILE_MAX)
		return true;
	note(f, "B writes [%zu, +%zu)%s", off, len, cut ? " and cuts" : "");
	fd = open(f->b, cut ? O_WRONLY | O_TRUNC : O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return bad(f, "open for writing on B", -1, 0);
	if (cut)
		f->size = 0;
	letters(f, len, '0');
	expect(f, off, f->buf, len);
	if (pwrite(fd, f->buf, len, off) != (ssize_t)len) {
		close(fd);
		return bad(f, "write on B", -1, len);
	}
	return close(fd) == 0 || bad(f, "close on B", -1, 0);
}

/* --- all of them ---------------------------------------------------------- */

static bool
one_call(struct file *f)
{
	unsigned what = pick(f, 100);
	int i = pick(f, FDS);

	if (f->fd[i] < 0 || what < 12)
		return do_close(f, i) && do_open(f, i);
	if (what < 35)
		return !writes(f, i) || do_write(f, i);
	if (what < 60)
		return !reads(f, i) || do_read(f, i);
	if (what < 69)
		return what >= 66 ? do_truncate(f, i, true) :
				    !writes(f, i) || do_truncate(f, i, false);
	if (what < 73)
		return do_sync(f, i);
	if (what < 75)
		return !writes(f, i) || do_allocate(f, i);
	if (what < 77)
		return !reads(f, i) || do_copy(f, i, pick(f, FDS));
	if (what < 78)
		return do_attr(f, i);
	if (what < 79)
		return do_stat(f, i);
	if (what < 83)
		return !reads(f, i) || do_map(f, i, false);
	if (what < 86)
		return !reads(f, i) || !writes(f, i) || do_map(f, i, true);
	if (what < 88)
		return do_rename(f);
	if (what < 90)
		return do_dup(f, i);
	if (what < 91) {
		note(f, "chmod");
		return chmod(f->a, 0600 + pick(f, 2) * 044) == 0 ||
		       bad(f, "chmod", -1, 0);
	}
	if (what < 93)
		return !writes(f, i) || do_punch(f, i);
	if (what < 97)
		return look_on_b(f) && (pick(f, 3) || change_on_b(f));
	return do_replace(f);
}

static void *
run(void *arg)
{
	struct file *f = arg;

	f->fd[0] = open(f->a, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	f->flags[0] = O_RDWR;
	if (f->fd[0] < 0)
		bad(f, "create", -1, 0);
	for (unsigned n = 0; n < calls && !atomic_load(&failed); n++)
		if (!one_call(f))
			break;
	if (!atomic_load(&failed))
		look_on_b(f);
	return NULL;
}

int
main(int argc, char **argv)
{
	unsigned n = argc > 4 ? strtoul(argv[3], NULL, 10) : 0, seed;
	struct file *files;

	if (n == 0 || n > THREADS_MAX) {
		fprintf(stderr, "usage: random-io A B THREADS CALLS [SEED]\n");
		return 2;
	}
	dir_a = argv[1];
	dir_b = argv[2];
	calls = strtoul(argv[4], NULL, 10);
	seed = argc > 5 ? strtoul(argv[5], NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	files = xcalloc(n, sizeof(*files));
	for (unsigned i = 0; i < n; i++) {
		files[i].number = i;
		files[i].seed = seed * 1000 + i;
		for (int k = 0; k < FDS; k++)
			files[i].fd[k] = -1;
		set_name(&files[i], 0);
		if (pthread_create(&files[i].thread, NULL, run, &files[i]))
			abort();
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(files[i].thread, NULL);
	free(files);
	return atomic_load(&failed);
}
