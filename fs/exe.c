/* SPDX-License-Identifier: MIT */
/* See exe.h. */
#include <config.h>

#include "fs/exe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "fs/table.h"
#include "fs/worker.h"

#define CHECK_WAIT (10 * NSEC_PER_SEC)
#define CHECK_OK "can take over\n"

extern char **environ;

int
exe_self(int *fd, char **path, struct err *err)
{
	char p[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", p, sizeof(p) - 1);

	*fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (n < 0 || *fd < 0)
		return err_set(err, -errno, "/proc/self/exe: %s",
			       strerror(errno));
	p[n] = '\0';
	*path = xstrdup(p);
	return 0;
}

void
exe_exec(int fd, char **argv)
{
	syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
}

/* The child, which has one thread like its parent. */
static void
run_check(int fd, int table, int out)
{
	char *argv[] = { (char *)(uintptr_t) "sharedfs",
			 (char *)(uintptr_t)EXE_CHECK_ARG, NULL };
	sigset_t none;

	table = fcntl(table, F_DUPFD, 10);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	out = fcntl(out, F_DUPFD_CLOEXEC, 10);
	if (table < 0 || fd < 0 || out < 0 || dup2(table, WORKER_TABLE_FD) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(126);
	close(table);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	exe_exec(fd, argv);
	dprintf(STDERR_FILENO, "%s", strerror(errno));
	_exit(127);
}

/* What it says until it ends; the end must come in time. */
static void
read_words(int fd, char *words, size_t cap)
{
	int64_t until = clock_mono_ns() + CHECK_WAIT;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0;

	for (;;) {
		int64_t left = until - clock_mono_ns();
		ssize_t n;

		if (left <= 0 || have == cap - 1)
			break;
		if (poll(&p, 1, left / NSEC_PER_MSEC + 1) <= 0)
			continue;
		n = read(fd, words + have, cap - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += n;
	}
	words[have] = '\0';
}

static int
check(const char *path, int fd, int table, struct err *err)
{
	char words[512];
	int out[2], status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		run_check(fd, table, out[1]);
	close(out[1]);
	if (pid < 0) {
		close(out[0]);
		return err_set(err, -EAGAIN, "fork: %s", strerror(errno));
	}
	read_words(out[0], words, sizeof(words));
	close(out[0]);
	kill(pid, SIGKILL); /* if it is there still, it hangs */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (strcmp(words, CHECK_OK) == 0)
		return 0;
	words[strcspn(words, "\n")] = '\0';
	return err_set(err, -EPROTO, "%s can't take over: %s", path,
		       *words ? words : "it does not answer");
}

int
exe_candidate(const char *path, int table, int *out, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	r = check(path, fd, table, err);
	if (r == 0)
		*out = steal_fd(&fd);
	return r;
}

int
exe_check_main(void)
{
	_cleanup_err_ struct err err = ERR_INIT;

	if (table_check(WORKER_TABLE_FD, &err) < 0) {
		fprintf(stderr, "%s\n", err_words(&err));
		return EXIT_FAILURE;
	}
	fputs(CHECK_OK, stdout);
	return EXIT_SUCCESS;
}
