/* SPDX-License-Identifier: MIT */
/* Names, attributes and listings, error by error (docs/semantics.md §2). */
#include <config.h>

#include "tests/fs/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "common/xalloc.h"

#define NOBODY 65534

static void
directories(void)
{
	struct stat st;

	OK(mkdir("d", 0750));
	CHECK(mode_of("d") == (S_IFDIR | 0750));
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(mkdir("none/d", 0755), ENOENT);
	put("f", "x");
	FAILS(mkdir("f", 0755), EEXIST);
	FAILS(mkdir("f/d", 0755), ENOTDIR);
	OK(mkdir("d/e", 0755));
	FAILS(rmdir("d"), ENOTEMPTY); /* O.7 */
	FAILS(rmdir("f"), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	FAILS(rmdir("d/."), EINVAL);
	FAILS(unlink("d"), EISDIR);
	FAILS(unlink("none"), ENOENT);
	FAILS(unlink("f/x"), ENOTDIR);
	FAILS(unlink("f/"), ENOTDIR);
	OK(rmdir("d/e"));
	OK(stat("d", &st));
	CHECK(on_s3() || st.st_nlink == 2);
	OK(rmdir("d"));
	FAILS(stat("d", &st), ENOENT);
	OK(mkdir("d", 0755));
	OK(unlink("f"));
	OK(rmdir("d"));
}

static void
opens(void)
{
	int fd;

	put("f", "hello");
	OK(mkdir("d", 0755));
	OK(symlink("nowhere", "dangling"));
	OK(symlink("f", "l"));
	FAILS(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	FAILS(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("none/x", O_RDWR | O_CREAT, 0644), ENOENT);
	FAILS(open("f/x", O_RDWR | O_CREAT, 0644), ENOTDIR);
	FAILS(open("d", O_WRONLY), EISDIR);
	FAILS(open("d", O_RDWR | O_CREAT, 0644), EISDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open("f/", O_RDONLY), ENOTDIR);
	FAILS(open(".", O_RDWR | O_TMPFILE, 0644), EOPNOTSUPP);
	fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(close(fd));
	CHECK(holds("f", "hello"));
	CHECK(mode_of("f") == (S_IFREG | 0644));
	fd = OK(open("f", O_WRONLY | O_TRUNC));
	CHECK(size_of("f") == 0);
	OK(close(fd));
	CHECK(size_of("f") == 0);
	fd = OK(open("g", O_WRONLY | O_CREAT | O_EXCL, 0400));
	CHECK(mode_of("g") == (S_IFREG | 0400));
	OK(write(fd, "x", 1));
	OK(close(fd));
	CHECK(holds("g", "x"));
	CHECK(mode_of("g") == (S_IFREG | 0400));
	fd = OK(open("dangling", O_WRONLY | O_CREAT, 0644));
	OK(close(fd));
	CHECK(size_of("nowhere") == 0);
}

static void
long_names(void)
{
	char name[300], path[PATH_MAX];
	struct stat st;

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	put(name, "x");
	CHECK(holds(name, "x"));
	OK(unlink(name));
	OK(mkdir(name, 0755));
	OK(rmdir(name));
	OK(symlink("t", name));
	OK(rename(name, "short"));
	OK(unlink("short"));
	name[255] = 'n';
	name[256] = '\0'; /* O.3 */
	FAILS(open(name, O_RDWR | O_CREAT, 0644), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	FAILS(symlink("t", name), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	FAILS(mkfifo(name, 0644), ENAMETOOLONG);
	FAILS(unlink(name), ENAMETOOLONG);
	FAILS(rmdir(name), ENAMETOOLONG);
	put("f", "x");
	FAILS(rename("f", name), ENAMETOOLONG);
	FAILS(rename(name, "f"), ENAMETOOLONG);
	CHECK(link("f", name) == -1 &&
	      (errno == ENAMETOOLONG || (on_s3() && errno == EPERM)));
	snprintf(path, sizeof(path), "%s/x", name);
	FAILS(open(path, O_RDONLY), ENAMETOOLONG);
}

static void
odd_names(void)
{
	static const char *const names[] = {
		" ",	 "a b",	  "+",	     "%41",	  "a&b",
		"<x>",	 "\"q\"", "back\\s", "new\nline", "tab\t",
		"\x01",	 "...",	  "-rf",     "~",	  "a?b#c",
		"\xc3\xa4", "e\xcc\x81", "a:b",   "*",	  "\xff\xfe",
	};
	size_t i, n = sizeof(names) / sizeof(*names), seen = 0;
	struct dirent *e;
	DIR *d;

	if (on_s3()) {
		/* The last is no UTF-8; a server may refuse it. */
		int fd = open(names[n - 1], O_WRONLY | O_CREAT, 0644);

		if (fd < 0) {
			CHECK(errno == EILSEQ);
			n--;
		} else {
			close(fd);
		}
	}
	for (i = 0; i < n; i++)
		put(names[i], names[i]);
	for (i = 0; i < n; i++)
		CHECK(holds(names[i], names[i]));
	d = opendir(".");
	while (d && (e = readdir(d))) {
		for (i = 0; i < n; i++)
			if (strcmp(e->d_name, names[i]) == 0)
				seen++;
	}
	CHECK(d != NULL);
	if (d)
		closedir(d);
	CHECK(seen == n);
	for (i = 0; i < n; i++)
		OK(unlink(names[i]));
}

static void
symlinks(void)
{
	char buf[PATH_MAX], target[PATH_MAX];
	struct stat st;

	put("f", "x");
	OK(symlink("f", "l"));
	CHECK(readlink("l", buf, sizeof(buf)) == 1 && buf[0] == 'f');
	CHECK(S_ISLNK(mode_of("l")) && size_of("l") == 1);
	CHECK(holds("l", "x"));
	OK(symlink("abcdef", "l2"));
	CHECK(readlink("l2", buf, 3) == 3 && !memcmp(buf, "abc", 3));
	FAILS(stat("l2", &st), ENOENT);
	FAILS(readlink("f", buf, sizeof(buf)), EINVAL);
	FAILS(readlink("none", buf, sizeof(buf)), ENOENT);
	FAILS(symlink("t", "f"), EEXIST);
	FAILS(symlink("t", "l"), EEXIST);
	FAILS(symlink("t", "none/l"), ENOENT);
	OK(symlink("b", "a"));
	OK(symlink("a", "b"));
	FAILS(open("a", O_RDONLY), ELOOP);
	FAILS(stat("b", &st), ELOOP);
	OK(symlink("self/x", "self"));
	FAILS(stat("self", &st), ELOOP);
	memset(target, 'x', sizeof(target));
	target[4095] = '\0';
	OK(symlink(target, "long"));
	CHECK(readlink("long", buf, sizeof(buf)) == 4095);
	OK(unlink("l"));
	CHECK(holds("f", "x"));
	OK(rename("l2", "l3"));
	CHECK(readlink("l3", buf, sizeof(buf)) == 6);
	OK(mkdir("d", 0755));
	OK(symlink("d", "ld"));
	OK(mkdir("ld/e", 0755));
	CHECK(S_ISDIR(mode_of("d/e")));
	FAILS(rmdir("ld"), ENOTDIR);
	OK(lchown("l3", 1, 2));
	OK(lstat("l3", &st));
	CHECK(st.st_uid == 1 && st.st_gid == 2);
}

static void
renames(void)
{
	struct stat st;
	ino_t ino;
	int fd;

	put("a", "a");
	put("b", "b");
	ino = ino_of("a");
	OK(rename("a", "c"));
	FAILS(stat("a", &st), ENOENT);
	CHECK(holds("c", "a"));
	CHECK(ino_of("c") == ino);
	OK(rename("c", "b"));
	CHECK(holds("b", "a"));
	OK(rename("b", "b"));
	CHECK(holds("b", "a"));
	FAILS(rename("none", "x"), ENOENT);
	FAILS(rename("b", "none/x"), ENOENT);
	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	put("d/e/f", "deep");
	FAILS(rename("b", "d"), EISDIR);
	FAILS(rename("d", "b"), ENOTDIR);
	FAILS(rename("d", "d/e/x"), EINVAL);
	OK(mkdir("g", 0755));
	put("g/x", "x");
	CHECK(rename("d", "g") == -1 && (errno == ENOTEMPTY || errno == EEXIST));
	OK(unlink("g/x"));
	fd = OK(open("d/e/f", O_RDWR));
	OK(rename("d", "g"));
	CHECK(holds("g/e/f", "deep"));
	FAILS(stat("d", &st), ENOENT);
	OK(write(fd, "DEEP", 4));
	OK(close(fd));
	CHECK(holds("g/e/f", "DEEP"));
	OK(rename("g/e/f", "up"));
	CHECK(holds("up", "DEEP"));
	OK(rename("up", "g/down"));
	CHECK(holds("g/down", "DEEP"));
}

static void
rename_flags(void)
{
	int r;

	put("a", "a");
	put("b", "b");
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE),
	      EEXIST);
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	CHECK(holds("c", "a"));
	r = renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE);
	if (r == -1) {
		CHECK(errno == EINVAL);
		CHECK(on_s3());
		CHECK(holds("b", "b"));
		CHECK(holds("c", "a"));
	} else {
		CHECK(holds("b", "a"));
		CHECK(holds("c", "b"));
	}
	FAILS(renameat2(AT_FDCWD, "c", AT_FDCWD, "w", RENAME_WHITEOUT), EINVAL);
	FAILS(renameat2(AT_FDCWD, "b", AT_FDCWD, "c",
			RENAME_EXCHANGE | RENAME_NOREPLACE),
	      EINVAL);
}

static void
hard_links(void)
{
	struct stat a, b;

	put("a", "one");
	OK(mkdir("d", 0755));
	if (on_s3()) {
		FAILS(link("a", "b"), EPERM); /* O.2 */
		return;
	}
	OK(link("a", "b"));
	OK(stat("a", &a));
	OK(stat("b", &b));
	CHECK(a.st_nlink == 2 && b.st_nlink == 2 && a.st_ino == b.st_ino);
	FAILS(link("a", "b"), EEXIST);
	FAILS(link("none", "c"), ENOENT);
	FAILS(link("d", "e"), EPERM);
	put("a", "two, longer"); /* O.12 */
	OK(stat("b", &b));
	CHECK(b.st_size == 11);
	CHECK(holds("b", "two, longer"));
	OK(chmod("a", 0604));
	CHECK(mode_of("b") == (S_IFREG | 0604));
	OK(unlink("a"));
	OK(stat("b", &b));
	CHECK(b.st_nlink == 1);
	CHECK(holds("b", "two, longer"));
}

/* I.10: a daemon that opens as root and goes on as somebody else.  With two
 * names the attributes are asked for each time (O.12). */
static void
rights_given_up(void)
{
	struct stat st;
	int fd, status;
	pid_t pid;

	OK(mkdir("private", 0700));
	put("private/f", "mine");
	if (!on_s3())
		OK(link("private/f", "private/g"));
	fd = open("private/f", O_RDONLY);
	CHECK(fd >= 0);
	pid = fork();
	if (pid == 0)
		_exit(setgroups(0, NULL) || setgid(65534) || setuid(65534) ||
		      fstat(fd, &st) || st.st_size != 4 ||
		      stat("private/f", &st) != -1 || errno != EACCES);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	close(fd);
}

static void
special_files(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "sock" };
	char buf[4] = "";
	int fd, status;
	pid_t pid;

	FAILS(mknod("null", S_IFCHR | 0666, makedev(1, 3)), EPERM);
	FAILS(mknod("disk", S_IFBLK | 0600, makedev(8, 0)), EPERM);
	OK(mknod("plain", S_IFREG | 0640, 0));
	CHECK(mode_of("plain") == (S_IFREG | 0640));
	if (mkfifo("p", 0644) == -1) {
		CHECK(errno == EPERM && on_s3());
		return;
	}
	CHECK(mode_of("p") == (S_IFIFO | 0644));
	pid = fork();
	if (pid == 0) {
		fd = open("p", O_WRONLY);
		_exit(write(fd, "hey", 3) == 3 ? 0 : 1);
	}
	fd = OK(open("p", O_RDONLY));
	CHECK(read(fd, buf, 3) == 3 && !memcmp(buf, "hey", 3));
	OK(close(fd));
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(fd, (struct sockaddr *)&sun, sizeof(sun)));
	CHECK(S_ISSOCK(mode_of("sock")));
	close(fd);
	OK(unlink("sock"));
	OK(unlink("p"));
}

static void
not_owner(void)
{
	struct stat st;
	int fd;

	FAILS(chmod("f", 0777), EPERM);
	FAILS(chown("f", NOBODY, -1), EPERM);
	FAILS(open("secret", O_RDONLY), EACCES);
	FAILS(unlink("d/x"), EACCES);
	FAILS(open("d/new", O_RDWR | O_CREAT, 0644), EACCES);
	FAILS(stat("closed/x", &st), EACCES);
	FAILS(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
	FAILS(open("drop", O_RDONLY), EACCES);
	fd = OK(open("drop", O_WRONLY | O_APPEND));
	OK(write(fd, "two", 3));
	OK(close(fd));
	put("mine", "x");
	OK(stat("mine", &st));
	CHECK(st.st_uid == NOBODY && st.st_gid == NOBODY);
	OK(chmod("mine", 0600));
	OK(mkdir("my", 0700));
	OK(stat("my", &st));
	CHECK(st.st_uid == NOBODY);
}

static void
of_the_group(void)
{
	int fd;

	fd = OK(open("grouped", O_RDWR));
	CHECK(write(fd, "G", 1) == 1);
	OK(close(fd));
	OK(open("gdir/made", O_WRONLY | O_CREAT, 0644));
}

static void
owners(void)
{
	struct stat st;

	put("f", "x");
	put("secret", "x");
	OK(chmod("secret", 0600));
	OK(mkdir("d", 0755));
	put("d/x", "x");
	OK(mkdir("closed", 0700));
	put("closed/x", "x");
	put("drop", "one");
	OK(chmod("drop", 0622));
	as_user(NOBODY, NOBODY, 0, not_owner);
	CHECK(holds("drop", "onetwo"));
	/* I.2: by a supplementary group only, and the close sends it. */
	put("grouped", "g");
	OK(chown("grouped", 0, 4242));
	OK(chmod("grouped", 0660));
	OK(mkdir("gdir", 0770));
	OK(chown("gdir", 0, 4242));
	OK(chmod("gdir", 0770));
	as_user(NOBODY, NOBODY, 4242, of_the_group);
	CHECK(holds("grouped", "G"));
	OK(chown("f", 12, 34));
	OK(stat("f", &st));
	CHECK(st.st_uid == 12 && st.st_gid == 34);
	OK(chown("f", -1, 56));
	OK(stat("f", &st));
	CHECK(st.st_uid == 12 && st.st_gid == 56);
	FAILS(chown("none", 1, 1), ENOENT);
}

static void
group_of_directory(void)
{
	struct stat st;

	OK(mkdir("d", 0755));
	OK(chown("d", 0, 777));
	if (chmod("d", 02775) == -1 || !(mode_of("d") & S_ISGID))
		return; /* the store strips it */
	put("d/f", "x");
	OK(stat("d/f", &st));
	CHECK(st.st_gid == 777);
	OK(mkdir("d/e", 0755));
	OK(stat("d/e", &st));
	CHECK(st.st_gid == 777 && (st.st_mode & S_ISGID));
}

static void
modes(void)
{
	static const mode_t all[] = { 0, 0400, 0644, 0755, 0777, 01777 };
	size_t i;
	int fd;

	put("f", "x");
	OK(mkdir("d", 0755));
	for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
		OK(chmod("f", all[i] & 0777));
		CHECK(mode_of("f") == (S_IFREG | (all[i] & 0777)));
		OK(chmod("d", all[i]));
		CHECK(mode_of("d") == (S_IFDIR | all[i]));
	}
	FAILS(chmod("none", 0644), ENOENT);
	fd = OK(open("f", O_WRONLY | O_TRUNC));
	OK(write(fd, "abc", 3));
	OK(fchmod(fd, 0604));
	OK(close(fd));
	CHECK(mode_of("f") == (S_IFREG | 0604));
	CHECK(holds("f", "abc"));
}

static void
times(void)
{
	struct timespec t[2] = { { 1000000000, 111111111 },
				 { 1234567890, 123456789 } };
	struct timespec before;
	struct stat st;
	int fd;

	put("f", "x");
	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec == 1234567890 &&
	      st.st_mtim.tv_nsec == 123456789);
	CHECK(st.st_atim.tv_sec == 1000000000);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_sec = 1111111111;
	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec == 1111111111 &&
	      st.st_atim.tv_sec == 1000000000);
	OK(utimensat(AT_FDCWD, "d", t, 0));
	OK(stat("d", &st));
	CHECK(st.st_mtim.tv_sec == 1111111111);
	/* cp -p and tar: times are set on the open file before its close. */
	fd = OK(open("g", O_WRONLY | O_CREAT, 0644));
	OK(write(fd, "abc", 3));
	OK(futimens(fd, t));
	OK(close(fd));
	OK(stat("g", &st));
	CHECK(st.st_mtim.tv_sec == 1111111111 &&
	      st.st_mtim.tv_nsec == 123456789);
	clock_gettime(CLOCK_REALTIME, &before);
	OK(utimensat(AT_FDCWD, "f", NULL, 0));
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec >= before.tv_sec - 1);
	OK(utimensat(AT_FDCWD, "f", t, 0));
	put("f", "new");
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec >= before.tv_sec - 1);
	CHECK(st.st_ctim.tv_sec >= before.tv_sec - 1);
}

static void
space(void)
{
	struct statvfs v;

	OK(statvfs(".", &v));
	CHECK(v.f_namemax == 255);
	CHECK(v.f_bsize != 0 && v.f_frsize != 0);
	CHECK(v.f_blocks != 0 && v.f_bavail != 0);
}

static void
xattrs(void)
{
	char buf[256];
	ssize_t n;

	put("f", "x");
	CHECK(getxattr("f", "user.sharedfs.state", buf, sizeof(buf)) == 5 ||
	      errno == ENODATA || errno == EOPNOTSUPP);
	if (setxattr("f", "user.a", "one", 3, 0) == -1) {
		CHECK(errno == EOPNOTSUPP);
		return;
	}
	CHECK(getxattr("f", "user.a", buf, sizeof(buf)) == 3 &&
	      !memcmp(buf, "one", 3));
	CHECK(getxattr("f", "user.a", NULL, 0) == 3);
	FAILS(getxattr("f", "user.a", buf, 2), ERANGE);
	FAILS(getxattr("f", "user.b", buf, sizeof(buf)), ENODATA);
	FAILS(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
	FAILS(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
	OK(setxattr("f", "user.b", "", 0, XATTR_CREATE));
	CHECK(getxattr("f", "user.b", buf, sizeof(buf)) == 0);
	n = OK(listxattr("f", buf, sizeof(buf)));
	CHECK(memmem(buf, n, "user.a", 7) && memmem(buf, n, "user.b", 7));
	CHECK(!memmem(buf, n, "sharedfs", 8));
	CHECK(listxattr("f", NULL, 0) == n);
	FAILS(listxattr("f", buf, 3), ERANGE);
	OK(removexattr("f", "user.a"));
	FAILS(removexattr("f", "user.a"), ENODATA);
	OK(rename("f", "g"));
	CHECK(getxattr("g", "user.b", buf, sizeof(buf)) == 0);
	put("g", "other bytes");
	CHECK(getxattr("g", "user.b", buf, sizeof(buf)) == 0);
}

/* What names a mount keeps to itself. */
static void
xattrs_of_system(void)
{
	char buf[64];

	put("f", "x");
	CHECK(getxattr("f", "security.capability", buf, sizeof(buf)) == -1 &&
	      (errno == ENODATA || errno == EOPNOTSUPP));
	FAILS(setxattr("f", "trusted.x", "x", 1, 0), EOPNOTSUPP);
	FAILS(setxattr("f", "user.", "x", 1, 0), EINVAL);
	FAILS(getxattr("f", "user.", buf, sizeof(buf)), EINVAL);
	FAILS(removexattr("f", "user."), EINVAL);
	CHECK(getxattr("f", "system.posix_acl_access", buf, sizeof(buf)) ==
		      -1 &&
	      (errno == EOPNOTSUPP || errno == ENODATA));
	FAILS(setxattr("f", "user.sharedfs.state", "x", 1, 0), EPERM);
}

#define MANY 5000 /* a listing of several answers */
#define MANY_S3 1300 /* more than one page */

static void
big_directory(void)
{
	static bool seen[MANY];
	struct dirent *e;
	unsigned n = 0, twice = 0, many = on_s3() ? MANY_S3 : MANY, i;
	char name[32];
	DIR *d;

	OK(mkdir("big", 0755));
	for (i = 0; i < many; i++) {
		snprintf(name, sizeof(name), "big/%u", i);
		if (mkdir(name, 0755) < 0) {
			CHECK(!"mkdir");
			return;
		}
	}
	d = opendir("big");
	CHECK(d != NULL);
	/* Removing what was just read must not hide what comes. */
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		i = (unsigned)strtoul(e->d_name, NULL, 10);
		twice += seen[i];
		seen[i] = true;
		n++;
		if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
			CHECK(!"d_type");
		if (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0)
			check_failed(__FILE__, __LINE__, e->d_name, -1, errno);
	}
	if (d)
		closedir(d);
	CHECK(n == many && twice == 0);
	OK(rmdir("big"));
}

static void
listings(void)
{
	struct dirent *e;
	struct stat st;
	unsigned n = 0;
	long where = 0;
	char name[32], third[32] = "";
	DIR *d, *other;

	for (n = 0; n < 20; n++) {
		snprintf(name, sizeof(name), "f%u", n);
		put(name, "x");
	}
	d = opendir(".");
	CHECK(d != NULL);
	if (!d)
		return;
	e = readdir(d);
	CHECK(e && !strcmp(e->d_name, "."));
	CHECK(e && e->d_ino == ino_of("."));
	e = readdir(d);
	CHECK(e && !strcmp(e->d_name, ".."));
	for (n = 0; (e = readdir(d)); n++) {
		if (n == 2) {
			snprintf(third, sizeof(third), "%.31s", e->d_name);
		} else if (n == 1) {
			where = telldir(d);
		}
		OK(lstat(e->d_name, &st));
		CHECK(e->d_type == DT_REG && e->d_ino == st.st_ino);
	}
	CHECK(n == 20);
	seekdir(d, where);
	e = readdir(d);
	CHECK(e && !strcmp(e->d_name, third));
	/* A rewinddir looks anew; another handle is not moved by it. */
	other = opendir(".");
	CHECK(other && readdir(other));
	put("new", "x");
	OK(unlink("f0"));
	rewinddir(d);
	for (n = 0; (e = readdir(d)); n++)
		CHECK(strcmp(e->d_name, "f0") != 0);
	CHECK(n == 22);
	if (other) {
		for (n = 1; readdir(other); n++)
			;
		CHECK(n >= 21);
		closedir(other);
	}
	closedir(d);
	FAILS(rmdir("../listings"), ENOTEMPTY);
}

/* A directory that is gone while somebody is in it. */
static void
removed_directory(void)
{
	int fd;

	OK(mkdir("d", 0755));
	OK(chdir("d"));
	OK(rmdir("../d"));
	FAILS(open("x", O_WRONLY | O_CREAT, 0644), ENOENT);
	FAILS(mkdir("y", 0755), ENOENT);
	OK(chdir(".."));
	OK(mkdir("d", 0755));
	fd = OK(open("d/x", O_WRONLY | O_CREAT, 0644));
	OK(close(fd));
	CHECK(size_of("d/x") == 0);
}

/* P3.1 within one node; over nodes it is another test's. */
static bool
race_one(int i)
{
	char name[32];
	int fd, won = 0, n;

	for (n = 0; n < 40; n++) {
		snprintf(name, sizeof(name), "x%d", n);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd >= 0) {
			won++;
			close(fd);
		} else if (errno != EEXIST) {
			return false;
		}
	}
	snprintf(name, sizeof(name), "won%d", i);
	fd = open(name, O_WRONLY | O_CREAT, 0644);
	return fd >= 0 && ftruncate(fd, won) == 0 && close(fd) == 0;
}

static void
exclusive_race(void)
{
	char name[32];
	long sum = 0;
	int i;

	CHECK(in_parallel(8, race_one));
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "won%d", i);
		sum += size_of(name);
	}
	CHECK(sum == 40);
}

/* One process renames the directory in which others work: their relative names
 * go with it. */
static int inside; /* a descriptor of that directory */

static bool
work_inside(int i)
{
	char name[32];
	int n, fd;

	if (i == 0) {
		for (n = 0; n < 30; n++)
			if (rename(n % 2 ? "b" : "a", n % 2 ? "a" : "b") < 0)
				return false;
		return true;
	}
	if (fchdir(inside) < 0)
		return false;
	for (n = 0; n < 30; n++) {
		snprintf(name, sizeof(name), "%d-%d", i, n);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0 || write(fd, "x", 1) != 1 || close(fd) < 0 ||
		    size_of(name) != 1 || unlink(name) < 0) {
			printf("%s: %m\n", name);
			fflush(stdout);
			return false;
		}
	}
	return true;
}

static void
renamed_around(void)
{
	OK(mkdir("a", 0755));
	inside = OK(open("a", O_RDONLY | O_DIRECTORY));
	CHECK(in_parallel(4, work_inside));
	OK(close(inside));
	OK(rmdir("a"));
}

static struct timespec moved; /* d's, as last seen */

/* Has it moved since? */
static bool
has_moved(void)
{
	const struct timespec tick = { .tv_nsec = 20000000 };
	struct timespec was = moved;
	struct stat st;

	OK(stat("d", &st));
	moved = st.st_mtim;
	nanosleep(&tick, NULL); /* of a clock that counts in ticks */
	return moved.tv_sec > was.tv_sec ||
	       (moved.tv_sec == was.tv_sec && moved.tv_nsec > was.tv_nsec);
}

/* Scanners look there for what is new: names move it, bytes do not. */
static void
times_of_directory(void)
{
	const struct timespec old[2] = { { .tv_sec = 1000000000 },
					 { .tv_sec = 1000000000 } };
	int fd;

	OK(mkdir("d", 0755));
	OK(mkdir("other", 0755));
	has_moved();
	fd = OK(open("d/f", O_WRONLY | O_CREAT | O_EXCL, 0644));
	CHECK(has_moved());
	OK(write(fd, "x", 1));
	OK(close(fd));
	has_moved();
	put("d/f", "bytes");
	CHECK(!has_moved());
	OK(chmod("d/f", 0600));
	CHECK(!has_moved());
	OK(chmod("d", 0700));
	CHECK(!has_moved());
	OK(mkdir("d/sub", 0755));
	CHECK(has_moved());
	OK(symlink("f", "d/l"));
	CHECK(has_moved());
	OK(rename("d/f", "d/g"));
	CHECK(has_moved());
	OK(rename("d/g", "other/g"));
	CHECK(has_moved());
	OK(rename("other/g", "d/g"));
	CHECK(has_moved());
	OK(utimensat(AT_FDCWD, "d", old, 0));
	has_moved();
	CHECK(moved.tv_sec == 1000000000);
	OK(unlink("d/l"));
	CHECK(has_moved());
	OK(rmdir("d/sub"));
	CHECK(has_moved());
	OK(unlink("d/g"));
	CHECK(has_moved());
}

int
main(int argc, char **argv)
{
	static const struct posix_test tests[] = {
		POSIX_TEST(directories),      POSIX_TEST(opens),
		POSIX_TEST(long_names),	      POSIX_TEST(odd_names),
		POSIX_TEST(symlinks),	      POSIX_TEST(renames),
		POSIX_TEST(rename_flags),     POSIX_TEST(hard_links),
		POSIX_TEST(rights_given_up),  POSIX_TEST(special_files),
		POSIX_TEST(owners),
		POSIX_TEST(group_of_directory), POSIX_TEST(modes),
		POSIX_TEST(times),	      POSIX_TEST(space),
		POSIX_TEST(xattrs),	      POSIX_TEST(xattrs_of_system),
		POSIX_TEST(big_directory),    POSIX_TEST(listings),
		POSIX_TEST(removed_directory), POSIX_TEST(exclusive_race),
		POSIX_TEST(renamed_around),   POSIX_TEST(times_of_directory),
	};

	return posix_main(argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
