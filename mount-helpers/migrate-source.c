/* SPDX-License-Identifier: MIT */
/*
 * The tree on the local disk, as it is read: by paths below DIR that can't
 * lead out of it, since a program may put a symlink in the way at any moment.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

/* Two writes within one tick of a coarse clock leave the same time stamps. */
#define RACY_NS (20 * NSEC_PER_MSEC)

int
mig_source_open(struct mig *m, const char *path, int flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (flags & O_PATH)
		how.flags &= ~(uint64_t)O_NONBLOCK;
	do
		fd = syscall(SYS_openat2, m->root, *path ? path : ".", &how,
			     sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : fd;
}

int
mig_source_stat(struct mig *m, const char *path, struct stat *st)
{
	_cleanup_close_ int fd = mig_source_open(m, path, O_PATH);

	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}

int
mig_source_readlink(struct mig *m, const char *path, char **target)
{
	_cleanup_close_ int fd = mig_source_open(m, path, O_PATH);
	char buf[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", buf, sizeof(buf));
	if (n < 0)
		return -errno;
	*target = xstrndup(buf, n);
	return 0;
}

bool
mig_source_reserved(const char *path)
{
	return strcmp(path, ".sharedfs-root") == 0 ||
	       (strncmp(path, ".sharedfs-probe-", 16) == 0 &&
		!strchr(path, '/'));
}

bool
mig_source_changed(int fd, const struct stat *was)
{
	struct stat now;

	return fstat(fd, &now) < 0 ||
	       mig_ns(now.st_mtim) != mig_ns(was->st_mtim) ||
	       mig_ns(now.st_ctim) != mig_ns(was->st_ctim) ||
	       now.st_size != was->st_size;
}

bool
mig_source_racy(const struct stat *st)
{
	int64_t now = timespec_ns(clock_wall());

	return timespec_ns(st->st_ctim) > now - RACY_NS;
}

struct be_attr
mig_source_attr(struct mig *m, const struct stat *st)
{
	struct be_attr a = {
		.mode = st->st_mode,
		.uid = idmap_to_store(&m->uids, st->st_uid),
		.gid = idmap_to_store(&m->gids, st->st_gid),
		.nlink = 1,
		.size = st->st_size,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
		.ctime = clock_wall(),
	};

	/* The store never has them on files (semantics, section 2). */
	if (!S_ISDIR(a.mode))
		a.mode &= ~(S_ISUID | S_ISGID);
	return a;
}
