/* SPDX-License-Identifier: MIT */
/* Open files: bytes, sizes, mappings, holes and locks (docs/semantics.md §2). */
#include <config.h>

#include "tests/fs/posix.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/xalloc.h"

static long
fd_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -1 : (long)st.st_size;
}

static bool
all(const char *p, char c, size_t n)
{
	while (n > 0 && p[n - 1] == c)
		n--;
	return n == 0;
}

/* O.6 */
static void
unlink_while_open(void)
{
	struct stat st;
	char buf[16];
	int fd, again;

	put("f", "hello");
	fd = OK(open("f", O_RDWR));
	OK(unlink("f"));
	FAILS(open("f", O_RDONLY), ENOENT);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 5 && !memcmp(buf, "hello", 5));
	CHECK(pwrite(fd, "HELLO WORLD", 11, 0) == 11);
	OK(fstat(fd, &st));
	CHECK(st.st_size == 11);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 11 &&
	      !memcmp(buf, "HELLO WORLD", 11));
	OK(ftruncate(fd, 3));
	CHECK(fd_size(fd) == 3);
	OK(fchmod(fd, 0600));
	OK(fsync(fd));
	/* The name may be used again at once. */
	put("f", "other");
	CHECK(pread(fd, buf, sizeof(buf), 0) == 3 && !memcmp(buf, "HEL", 3));
	OK(fstat(fd, &st));
	CHECK(st.st_nlink == 0 && st.st_ino != ino_of("f"));
	OK(close(fd));
	CHECK(holds("f", "other"));
	/* A file that never had bytes in the store. */
	fd = OK(open("tmp", O_RDWR | O_CREAT | O_EXCL, 0600));
	OK(unlink("tmp"));
	OK(write(fd, "scratch", 7));
	CHECK(pread(fd, buf, sizeof(buf), 0) == 7);
	again = OK(dup(fd));
	OK(close(fd));
	CHECK(pread(again, buf, sizeof(buf), 0) == 7);
	OK(close(again));
	CHECK(size_of("tmp") == -1);
}

static void
rename_over_open(void)
{
	char buf[16];
	int fd, wr;

	put("f", "old");
	put("g", "new!");
	fd = OK(open("f", O_RDONLY));
	wr = OK(open("f", O_WRONLY));
	OK(rename("g", "f"));
	CHECK(holds("f", "new!"));
	CHECK(pread(fd, buf, sizeof(buf), 0) == 3 && !memcmp(buf, "old", 3));
	CHECK(pwrite(wr, "OLD", 3, 0) == 3);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 3 && !memcmp(buf, "OLD", 3));
	OK(close(wr));
	OK(close(fd));
	CHECK(holds("f", "new!"));
}

static void
rename_while_open(void)
{
	char buf[16];
	int fd;

	fd = OK(open("a", O_RDWR | O_CREAT, 0644));
	OK(write(fd, "one", 3));
	OK(rename("a", "b"));
	CHECK(size_of("a") == -1);
	CHECK(holds("b", "one"));
	OK(write(fd, "two", 3));
	OK(close(fd));
	CHECK(holds("b", "onetwo"));
	CHECK(size_of("a") == -1);
	fd = OK(open("b", O_RDWR));
	OK(rename("b", "c"));
	put("b", "another");
	CHECK(pread(fd, buf, sizeof(buf), 0) == 6);
	OK(pwrite(fd, "ONE", 3, 0));
	OK(close(fd));
	CHECK(holds("c", "ONEtwo"));
	CHECK(holds("b", "another"));
}

#define RECORDS 200
#define RECORD 100

static bool
append_one(int i)
{
	char rec[RECORD];
	int fd = open("log", O_WRONLY | O_APPEND), n;

	if (fd < 0)
		return false;
	memset(rec, 'a' + i, sizeof(rec));
	rec[RECORD - 1] = '\n';
	for (n = 0; n < RECORDS; n++)
		if (write(fd, rec, sizeof(rec)) != sizeof(rec))
			return false;
	return close(fd) == 0;
}

static void
four_appenders(void)
{
	unsigned count[4] = { 0 };
	char rec[RECORD];
	int fd, i;

	put("log", "");
	CHECK(in_parallel(4, append_one));
	CHECK(size_of("log") == 4 * RECORDS * RECORD);
	fd = OK(open("log", O_RDONLY));
	while (read(fd, rec, sizeof(rec)) == sizeof(rec)) {
		i = rec[0] - 'a';
		if (i < 0 || i > 3 || !all(rec, rec[0], RECORD - 1)) {
			CHECK(!"a record is torn");
			break;
		}
		count[i]++;
	}
	OK(close(fd));
	for (i = 0; i < 4; i++)
		CHECK(count[i] == RECORDS);
	/* ">>" of a shell: the size is not what the last open knew. */
	for (i = 0; i < 20; i++) {
		fd = OK(open("s", O_WRONLY | O_APPEND | O_CREAT, 0644));
		OK(write(fd, "line\n", 5));
		OK(close(fd));
		CHECK(size_of("s") == 5 * (i + 1));
	}
	/* The flag may come later. */
	fd = OK(open("s", O_RDWR));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	CHECK(write(fd, "end", 3) == 3);
	OK(close(fd));
	CHECK(size_of("s") == 103);
}

static void
mappings(void)
{
	const size_t len = 3 * 4096 + 100;
	char buf[64], *p;
	int fd;

	fd = OK(open("m", O_RDWR | O_CREAT, 0644));
	OK(ftruncate(fd, len));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	memcpy(p, "start", 5);
	memcpy(p + 8192, "middle", 6);
	memcpy(p + len - 3, "end", 3);
	OK(msync(p, len, MS_SYNC));
	CHECK(pread(fd, buf, 6, 8192) == 6 && !memcmp(buf, "middle", 6));
	OK(munmap(p, len));
	OK(close(fd)); /* P1.8 */
	fd = OK(open("m", O_RDONLY));
	CHECK(pread(fd, buf, 5, 0) == 5 && !memcmp(buf, "start", 5));
	CHECK(pread(fd, buf, 3, (off_t)len - 3) == 3 && !memcmp(buf, "end", 3));
	CHECK(fd_size(fd) == (long)len);
	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && !memcmp(p + 8192, "middle", 6));
	if (p != MAP_FAILED)
		munmap(p, len);
	OK(close(fd));
	/* What one handle writes, a mapping of another sees. */
	fd = OK(open("m", O_RDWR));
	p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED && !memcmp(p, "start", 5));
	CHECK(pwrite(fd, "START", 5, 0) == 5);
	CHECK(p == MAP_FAILED || !memcmp(p, "START", 5));
	OK(close(fd));
	if (p != MAP_FAILED)
		munmap(p, len);
}

static void
truncates(void)
{
	char buf[64];
	int fd;

	put("f", "0123456789");
	OK(truncate("f", 4));
	CHECK(holds("f", "0123"));
	OK(truncate("f", 8)); /* O.11 */
	CHECK(size_of("f") == 8);
	fd = OK(open("f", O_RDWR));
	CHECK(read(fd, buf, sizeof(buf)) == 8 &&
	      !memcmp(buf, "0123\0\0\0\0", 8));
	OK(ftruncate(fd, 2));
	CHECK(fd_size(fd) == 2 && size_of("f") == 2);
	CHECK(pwrite(fd, "z", 1, 5) == 1);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 6 &&
	      !memcmp(buf, "01\0\0\0z", 6));
	OK(close(fd));
	CHECK(size_of("f") == 6);
	OK(truncate("f", 0));
	CHECK(size_of("f") == 0);
	fd = OK(open("f", O_RDONLY));
	FAILS(ftruncate(fd, 1), EINVAL);
	FAILS(write(fd, "x", 1), EBADF);
	OK(close(fd));
	fd = OK(open("f", O_WRONLY));
	FAILS(read(fd, buf, 1), EBADF);
	FAILS(ftruncate(fd, -1), EINVAL);
	OK(close(fd));
	FAILS(truncate("none", 0), ENOENT);
	FAILS(truncate(".", 0), EISDIR);
	/* Two handles: both see the new size. */
	put("g", "abcdef");
	fd = OK(open("g", O_RDONLY));
	OK(truncate("g", 3));
	CHECK(fd_size(fd) == 3);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 3);
	OK(close(fd));
}

static void
holes(void)
{
	char buf[16384];
	off_t at;
	int fd, r;

	fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	CHECK(pwrite(fd, "end", 3, 1 << 20) == 3);
	CHECK(fd_size(fd) == (1 << 20) + 3);
	CHECK(pread(fd, buf, sizeof(buf), 4096) == sizeof(buf) &&
	      all(buf, 0, sizeof(buf)));
	at = lseek(fd, 0, SEEK_DATA);
	CHECK(at >= 0 && at <= 1 << 20);
	at = lseek(fd, 1 << 20, SEEK_HOLE);
	CHECK(at == (1 << 20) + 3);
	FAILS(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 2 << 20, SEEK_HOLE), ENXIO);
	CHECK(lseek(fd, 0, SEEK_END) == (1 << 20) + 3);
	OK(close(fd));
	CHECK(size_of("f") == (1 << 20) + 3);

	fd = OK(open("a", O_RDWR | O_CREAT, 0644));
	memset(buf, 'x', sizeof(buf));
	CHECK(write(fd, buf, sizeof(buf)) == sizeof(buf));
	OK(fallocate(fd, 0, 0, 32768));
	CHECK(fd_size(fd) == 32768);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536));
	CHECK(fd_size(fd) == 32768);
	r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096,
		      4096);
	if (r == 0) {
		CHECK(pread(fd, buf, 12288, 0) == 12288);
		CHECK(all(buf, 'x', 4096) && all(buf + 4096, 0, 4096) &&
		      all(buf + 8192, 'x', 4096));
	} else {
		CHECK(errno == EOPNOTSUPP);
	}
	r = fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 100);
	CHECK(r == 0 || errno == EOPNOTSUPP);
	CHECK(pread(fd, buf, 200, 0) == 200);
	CHECK(r != 0 || (all(buf, 0, 100) && all(buf + 100, 'x', 100)));
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	CHECK(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == -1);
	OK(close(fd));
	CHECK(size_of("a") == 32768);
	fd = OK(open("a", O_RDONLY));
	FAILS(fallocate(fd, 0, 0, 10), EBADF);
	OK(close(fd));
}

static void
copies(void)
{
	off_t from = 2, to = 1;
	int in, out;

	put("a", "0123456789");
	in = OK(open("a", O_RDONLY));
	out = OK(open("b", O_RDWR | O_CREAT, 0644));
	CHECK(copy_file_range(in, &from, out, &to, 5, 0) == 5);
	CHECK(from == 7 && to == 6 && fd_size(out) == 6);
	CHECK(copy_file_range(in, NULL, out, NULL, 0, 0) == 0);
	from = 100;
	CHECK(copy_file_range(in, &from, out, NULL, 5, 0) == 0);
	OK(close(out));
	out = OK(open("b", O_RDONLY));
	CHECK(fd_size(out) == 6);
	OK(close(out));
	out = OK(open("c", O_RDWR | O_CREAT, 0644));
	CHECK(ioctl(out, FICLONE, in) == -1 &&
	      (errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV));
	from = 0;
	CHECK(sendfile(out, in, &from, 10) == 10);
	OK(close(out));
	OK(close(in));
	CHECK(holds("c", "0123456789"));
}

#define BIG (9 * 1024 * 1024 + 17)

static void
large_file(void)
{
	unsigned char *p = xmalloc(BIG), *q = xmalloc(BIG);
	size_t i, step = 300007, off;
	int fd;

	for (i = 0; i < BIG; i++)
		p[i] = (unsigned char)(i * 2654435761u >> 13);
	fd = OK(open("big", O_RDWR | O_CREAT, 0644));
	/* Backwards, in odd pieces. */
	for (off = BIG / step * step;; off -= step) {
		size_t n = BIG - off < step ? BIG - off : step;

		CHECK(pwrite(fd, p + off, n, (off_t)off) == (ssize_t)n);
		if (off == 0)
			break;
	}
	CHECK(pread(fd, q, BIG, 0) == BIG && !memcmp(p, q, BIG));
	OK(close(fd));
	fd = OK(open("big", O_RDWR));
	memset(q, 0, BIG);
	CHECK(pread(fd, q, BIG, 0) == BIG && !memcmp(p, q, BIG));
	/* A small change of a large file. */
	memcpy(p + 5000000, "changed", 7);
	CHECK(pwrite(fd, "changed", 7, 5000000) == 7);
	OK(close(fd));
	fd = OK(open("big", O_RDONLY));
	CHECK(pread(fd, q, BIG, 0) == BIG && !memcmp(p, q, BIG));
	CHECK(pread(fd, q, 100, BIG - 10) == 10);
	CHECK(pread(fd, q, 100, BIG + 10) == 0);
	OK(close(fd));
	free(p);
	free(q);
}

static void
open_flags(void)
{
	char *buf = NULL;
	int fd, other;

	CHECK(posix_memalign((void **)&buf, 4096, 8192) == 0);
	memset(buf, 'd', 8192);
	fd = OK(open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644));
	CHECK(write(fd, buf, 8192) == 8192);
	memset(buf, 0, 8192);
	CHECK(pread(fd, buf, 4096, 4096) == 4096 && all(buf, 'd', 4096));
	OK(close(fd));
	CHECK(size_of("direct") == 8192);
	fd = OK(open("sync", O_WRONLY | O_CREAT | O_SYNC, 0644));
	CHECK(write(fd, "one", 3) == 3 && write(fd, "two", 3) == 3);
	OK(close(fd));
	fd = OK(open("sync", O_WRONLY | O_DSYNC | O_APPEND));
	CHECK(write(fd, "three", 5) == 5);
	OK(close(fd));
	CHECK(holds("sync", "onetwothree"));
	/* What one handle writes, another reads at once. */
	fd = OK(open("two", O_WRONLY | O_CREAT, 0644));
	other = OK(open("two", O_RDONLY));
	CHECK(write(fd, "abc", 3) == 3);
	CHECK(pread(other, buf, 10, 0) == 3 && !memcmp(buf, "abc", 3));
	CHECK(pwrite(fd, "B", 1, 1) == 1);
	CHECK(pread(other, buf, 10, 0) == 3 && !memcmp(buf, "aBc", 3));
	OK(fsync(fd));
	OK(fdatasync(other));
	OK(close(other));
	OK(close(fd));
	fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	OK(fsync(fd));
	OK(close(fd));
	free(buf);
}

/* P1.6 */
static void
duplicates(void)
{
	int fd, other, status;
	pid_t pid;

	fd = OK(open("f", O_WRONLY | O_CREAT, 0644));
	CHECK(write(fd, "one", 3) == 3);
	other = OK(dup(fd));
	OK(close(other));
	CHECK(holds("f", "one"));
	pid = fork();
	if (pid == 0)
		_exit(write(fd, "two", 3) == 3 && close(fd) == 0 ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(write(fd, "three", 5) == 5);
	OK(close(fd));
	CHECK(holds("f", "onetwothree"));
}

static bool
lock_taken(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* L.1 */
static void
locks(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			   .l_start = 1 << 30, .l_len = 10 };
	int a, b, status;
	pid_t pid;

	put("f", "x");
	a = OK(open("f", O_RDWR));
	b = OK(open("f", O_RDWR));
	OK(flock(a, LOCK_EX));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(a, LOCK_UN));
	OK(flock(b, LOCK_SH | LOCK_NB));
	OK(flock(a, LOCK_SH | LOCK_NB));
	OK(fcntl(a, F_SETLK, &l));
	pid = fork();
	if (pid == 0)
		_exit(lock_taken(b) ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	OK(close(b)); /* gives up the process's record locks */
	pid = fork();
	if (pid == 0)
		_exit(lock_taken(a) ? 1 : 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	OK(close(a));
}

static void
vectors(void)
{
	struct iovec v[3] = { { (void *)(uintptr_t) "abc", 3 },
			      { (void *)(uintptr_t) "", 0 },
			      { (void *)(uintptr_t) "defgh", 5 } };
	char x[4], y[8];
	struct iovec r[2] = { { x, 4 }, { y, 8 } };
	int fd;

	fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	CHECK(writev(fd, v, 3) == 8);
	CHECK(preadv(fd, r, 2, 0) == 8 && !memcmp(x, "abcd", 4) &&
	      !memcmp(y, "efgh", 4));
	CHECK(write(fd, "", 0) == 0);
	OK(close(fd));
	CHECK(size_of("f") == 8);
}

/* Programs that write to a temporary name and rename it: what git, sed -i and
 * editors do; each step must hold. */
static void
replace_by_rename(void)
{
	char text[32];
	int fd, i;

	put("f", "0");
	for (i = 1; i <= 20; i++) {
		snprintf(text, sizeof(text), "version %d", i);
		fd = OK(open("f.tmp", O_WRONLY | O_CREAT | O_EXCL, 0600));
		CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
		OK(fchmod(fd, 0644));
		OK(fsync(fd));
		OK(close(fd));
		OK(rename("f.tmp", "f"));
		CHECK(holds("f", text));
		CHECK(mode_of("f") == (S_IFREG | 0644));
	}
	CHECK(size_of("f.tmp") == -1);
}

int
main(int argc, char **argv)
{
	static const struct posix_test tests[] = {
		POSIX_TEST(unlink_while_open), POSIX_TEST(rename_over_open),
		POSIX_TEST(rename_while_open), POSIX_TEST(four_appenders),
		POSIX_TEST(mappings),	       POSIX_TEST(truncates),
		POSIX_TEST(holes),	       POSIX_TEST(copies),
		POSIX_TEST(large_file),	       POSIX_TEST(open_flags),
		POSIX_TEST(duplicates),	       POSIX_TEST(locks),
		POSIX_TEST(vectors),	       POSIX_TEST(replace_by_rename),
	};

	return posix_main(argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
