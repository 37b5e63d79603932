/* SPDX-License-Identifier: MIT */
/*
 * Ends a process by SIGKILL when none of its threads is inside the kernel:
 *
 *   kill-still PID
 *
 * A kernel without get_user_pages_fast (User-mode Linux) looks, page by page,
 * whether the process that copies a FUSE request or its answer is being killed,
 * and answers that request with EIO.  A kernel of a real machine does so only
 * where a page is not there.  So all threads are stopped first; what they had
 * begun to copy is copied then.
 */
#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LIMIT_MS 30000

static bool
is_stopped(const char *task)
{
	_cleanup_close_ int fd = -1;
	char path[440], stat[256], *end;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/stat", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, stat, sizeof(stat) - 1);
	stat[n > 0 ? n : 0] = '\0';
	end = strrchr(stat, ')'); /* the name may hold anything */
	return !end || strchr("TtZX", end[2]);
}

static bool
all_stopped(const char *tasks)
{
	_cleanup_closedir_ DIR *d = opendir(tasks);
	struct dirent *e;
	char task[400];
	bool all = true;

	while (d && (e = readdir(d))) {
		snprintf(task, sizeof(task), "%s/%s", tasks, e->d_name);
		all &= e->d_name[0] == '.' || is_stopped(task);
	}
	return all;
}

int
main(int argc, char **argv)
{
	long pid = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char tasks[64];

	if (pid <= 1 || kill((pid_t)pid, SIGSTOP) < 0)
		return 1;
	snprintf(tasks, sizeof(tasks), "/proc/%ld/task", pid);
	for (int ms = 0; ms < LIMIT_MS && !all_stopped(tasks); ms++)
		poll(NULL, 0, 1);
	return kill((pid_t)pid, SIGKILL) < 0;
}
