/* SPDX-License-Identifier: MIT */
/* Workers that were killed and can't end yet: their files and their threads. */
#include <config.h>

#include "fs/linger.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"

static void
close_between(int above, int below)
{
	if (below - above > 1)
		close_range(above + 1, below - 1, 0);
}

void
linger_keep_only(int fuse)
{
	int log = log_fd(), a, b;

	if (unshare(CLONE_FILES) < 0)
		return;
	a = fuse < log ? fuse : log;
	b = fuse < log ? log : fuse;
	close_between(STDERR_FILENO, a);
	close_between(a > STDERR_FILENO ? a : STDERR_FILENO, b);
	close_range(b + 1, ~0U, 0);
}

/* A line of a file below /proc, or "" when it is gone. */
static void
read_line(char buf[256], const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, 255) : -1;

	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

/* The letter behind the name, which is in parentheses and may hold any. */
static char
state_of(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
	char line[256];
	const char *p;

	read_line(line, path);
	p = strrchr(line, ')');
	return p && p[1] == ' ' ? p[2] : '\0';
}

bool
linger_is(pid_t pid)
{
	_cleanup_free_ char *leader = xasprintf("%d", (int)pid);
	_cleanup_free_ char *tasks = xasprintf("/proc/%s/task", leader);
	struct dirent *e;
	unsigned left = 0;
	bool other = false;
	DIR *d;

	if (state_of(pid) != 'Z')
		return false;
	d = opendir(tasks);
	while (d && (e = readdir(d))) {
		_cleanup_free_ char *comm = NULL;
		char name[256];

		if (e->d_name[0] == '.' || strcmp(e->d_name, leader) == 0)
			continue;
		comm = xasprintf("%s/%s/comm", tasks, e->d_name);
		read_line(name, comm);
		if (strcmp(name, LINGER_THREAD) == 0)
			left++;
		else if (name[0])
			other = true;
	}
	if (d)
		closedir(d);
	return left && !other;
}
