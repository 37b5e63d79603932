/* SPDX-License-Identifier: MIT */
/* See guard.h; what chattr(1) does. */
#include <config.h>

#include "fs/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"

static int
change(int fd, int set, int clear)
{
	int flags, new;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	new = (flags | set) & ~clear;
	if (new != flags && ioctl(fd, FS_IOC_SETFLAGS, &new) < 0)
		return -errno;
	return 0;
}

static bool
is_empty(int fd)
{
	_cleanup_close_ int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY |
							   O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	bool empty = true;

	if (!d)
		return true;
	copy = -1;
	while (empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 ||
			strcmp(e->d_name, "..") == 0;
	closedir(d);
	return empty;
}

int
guard_set(const char *dir, bool *empty, struct err *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : change(fd, FS_IMMUTABLE_FL, 0);

	if (r < 0)
		return err_set(err, -EOPNOTSUPP, "%s can't be made immutable: %s",
			       dir, strerror(-r));
	*empty = is_empty(fd);
	return 0;
}

int
guard_clear(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : change(fd, 0, FS_IMMUTABLE_FL);
}
