/* SPDX-License-Identifier: MIT */
/* See posix.h. */
#include <config.h>

#include "tests/fs/posix.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/xalloc.h"

/* A test program has one run. */
static int failed;
static const char *store = "local";

bool
on_s3(void)
{
	return strcmp(store, "s3") == 0;
}

void
check_failed(const char *file, int line, const char *what, long got, int err)
{
	failed++;
	printf("%s:%d: %s (returned %ld, %s)\n", file, line, what, got,
	       err ? strerror(err) : "no error");
	fflush(stdout);
}

void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	size_t n = strlen(text);

	if (fd < 0 || write(fd, text, n) != (ssize_t)n || close(fd) < 0)
		check_failed(path, 0, "put", -1, errno);
}

char *
get(const char *path)
{
	char *p = xcalloc(1, 65536);
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		printf("open of %s: %m\n", path);
		return p;
	}
	if (read(fd, p, 65535) < 0)
		printf("read of %s: %m\n", path);
	close(fd);
	return p;
}

bool
holds(const char *path, const char *text)
{
	char *s = get(path);
	bool same = strcmp(s, text) == 0;

	if (!same)
		printf("%s has \"%.60s\"\n", path, s);
	free(s);
	return same;
}

long
size_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? -1 : (long)st.st_size;
}

mode_t
mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

ino_t
ino_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

void
as_user(uid_t uid, gid_t gid, gid_t extra, void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		failed = 0;
		if (setgroups(extra ? 1 : 0, &extra) < 0 || setgid(gid) < 0 ||
		    setuid(uid) < 0)
			check_failed(__FILE__, __LINE__, "ids", -1, errno);
		fn();
		_exit(failed > 100 ? 100 : failed);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		check_failed(__FILE__, __LINE__, "child", -1, errno);
	else
		failed += WEXITSTATUS(status);
}

bool
in_parallel(int n, bool (*fn)(int i))
{
	bool good = true;
	int status, i;

	fflush(stdout);
	for (i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(fn(i) ? 0 : 1);
		if (pid < 0)
			good = false;
	}
	while (wait(&status) > 0)
		if (status != 0)
			good = false;
	return good;
}

static bool
wanted(int argc, char **argv, const char *name)
{
	int i;

	if (argc <= 3)
		return true;
	for (i = 3; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

int
posix_main(int argc, char **argv, const struct posix_test *tests, size_t n)
{
	int bad = 0, run = 0;
	size_t i;

	if (argc < 3) {
		fprintf(stderr, "usage: %s DIR file|s3|local [TEST...]\n",
			argv[0]);
		return 2;
	}
	store = argv[2];
	umask(022);
	for (i = 0; i < n; i++) {
		if (!wanted(argc, argv, tests[i].name))
			continue;
		failed = 0;
		run++;
		if (chdir(argv[1]) < 0 || mkdir(tests[i].name, 0777) < 0 ||
		    chmod(tests[i].name, 0777) < 0 || chdir(tests[i].name) < 0) {
			check_failed(tests[i].name, 0, "own directory", -1,
				     errno);
			return 1;
		}
		tests[i].fn();
		printf("%s: %s\n", tests[i].name, failed ? "FAILED" : "ok");
		fflush(stdout);
		bad += failed != 0;
	}
	if (chdir("/") < 0)
		return 1;
	printf("%d of %d tests failed\n", bad, run);
	return bad != 0;
}
