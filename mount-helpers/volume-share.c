/* SPDX-License-Identifier: MIT */
/* See volume-share.h. */
#include <config.h>

#include "mount-helpers/volume-share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/mountinfo.h"
#include "common/path.h"
#include "common/xalloc.h"

#define TYPE "fuse.sharedfs"
#define DEPTH_MAX 200

/* --- mount.sharedfs ---------------------------------------------------------- */

/* Beside ourselves (the build tree), else where make install put it. */
static char *
find_helper(const char *name)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash, *path;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		path = xasprintf("%s/%s", self, name);
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return xasprintf(MOUNTHELPERDIR "/%s", name);
}

/* Its words on standard error become ours. */
static int
run(const char *program, char **argv, struct err *err)
{
	_cleanup_free_ char *path = find_helper(program);
	_cleanup_buf_ struct buf said = BUF_INIT;
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none;
	char chunk[1024];
	int p[2], rc, status;
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	argv[0] = path;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, p[1], STDERR_FILENO);
	/* Ours are blocked, for sigwait(). */
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	rc = posix_spawn(&pid, path, &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	/* The daemon that it starts has a standard error of its own. */
	while (rc == 0 && (n = read(p[0], chunk, sizeof(chunk))) != 0) {
		if (n > 0)
			buf_add(&said, chunk, n);
		else if (errno != EINTR)
			break;
	}
	close(p[0]);
	if (rc != 0)
		return err_set(err, -rc, "%s: %s", path, strerror(rc));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	while (said.len && said.s[said.len - 1] == '\n')
		said.s[--said.len] = '\0';
	return err_set(err, -EIO, "%s",
		       said.len ? said.s : "mount.sharedfs failed");
}

int
share_up(const struct share *s, struct err *err)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	char flag[] = "-o";
	char *argv[] = { NULL, flag, s->options, s->source, s->dir, NULL };
	char *bare[] = { NULL, s->source, s->dir, NULL };

	/* The same again is fine, and a dead one is cleared. */
	if (s->source)
		return run("mount.sharedfs", s->options ? argv : bare, err);
	if (mountinfo_at(s->dir, &e) != 1 || strcmp(e.type, TYPE) != 0)
		return err_set(err, -ENOENT,
			       "no sharedfs is mounted on %s", s->dir);
	return 0;
}

int
share_down(const struct share *s, struct err *err)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	char *argv[] = { NULL, s->dir, NULL };

	if (!s->source || mountinfo_at(s->dir, &e) != 1)
		return 0;
	return run("umount.fuse.sharedfs", argv, err);
}

/* --- a volume's directory ------------------------------------------------------ */

static int
open_below(int dir, const char *path, int flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int
open_share(const struct share *s, struct err *err)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_set(err, -errno, "%s: %s", s->dir, strerror(errno))
		      : fd;
}

/* Each segment is made if it is missing. */
static int
open_made(int share, const char *subdir, struct err *err)
{
	_cleanup_free_ char *path = xstrdup(subdir);
	_cleanup_close_ int fd = fcntl(share, F_DUPFD_CLOEXEC, 0);
	char *save = NULL;

	for (char *seg = strtok_r(path, "/", &save); seg;
	     seg = strtok_r(NULL, "/", &save)) {
		int next = open_below(fd, seg, O_RDONLY | O_DIRECTORY);

		if (next == -ENOENT) {
			if (mkdirat(fd, seg, 0755) < 0 && errno != EEXIST)
				return err_set(err, -errno, "make %s: %s",
					       subdir, strerror(errno));
			next = open_below(fd, seg, O_RDONLY | O_DIRECTORY);
		}
		if (next < 0)
			return err_set(err, next, "%s in the share: %s", subdir,
				       next == -ELOOP ? "a symbolic link is "
							"not followed"
						      : strerror(-next));
		close(fd);
		fd = next;
	}
	return steal_fd(&fd);
}

char *
share_mountpoint(const struct share *s, const char *name)
{
	return xasprintf("%s/%s", s->mounts, name);
}

/* Is `at` a live bind of the file system that fd is of? */
static bool
is_bound(const char *at, int fd)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	struct stat a, b;

	return mountinfo_at(at, &e) == 1 && stat(at, &a) == 0 &&
	       fstat(fd, &b) == 0 && a.st_dev == b.st_dev;
}

static void
unbind_all(const char *at)
{
	for (;;) {
		_cleanup_mount_entry_ struct mount_entry e = { 0 };

		if (mountinfo_at(at, &e) != 1 || umount2(at, MNT_DETACH) < 0)
			return;
	}
}

int
share_bind(const struct share *s, const char *name, const char *subdir,
	   struct err *err)
{
	_cleanup_free_ char *at = share_mountpoint(s, name);
	_cleanup_close_ int root = open_share(s, err), fd = -1, tree = -1;

	if (root < 0)
		return root;
	fd = open_made(root, subdir, err);
	if (fd < 0)
		return fd;
	if (is_bound(at, fd))
		return 0;
	unbind_all(at);
	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", at, strerror(errno));
	tree = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE |
					 OPEN_TREE_CLOEXEC);
	if (tree < 0 || move_mount(tree, "", AT_FDCWD, at,
				   MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, -errno, "bind %s: %s", at, strerror(errno));
	return 0;
}

void
share_unbind(const struct share *s, const char *name)
{
	_cleanup_free_ char *at = share_mountpoint(s, name);

	unbind_all(at);
	rmdir(at);
}

static int
empty_dir(int fd, unsigned depth)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int r;

	if (depth > DEPTH_MAX) {
		close(fd);
		return -ELOOP;
	}
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(d))) {
		int sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		sub = open_below(dirfd(d), e->d_name,
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (sub < 0)
			return sub;
		r = empty_dir(sub, depth + 1);
		if (r < 0)
			return r;
		if (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0)
			return -errno;
	}
	return 0;
}

int
share_purge(const struct share *s, const char *subdir, struct err *err)
{
	_cleanup_close_ int root = open_share(s, err), parent = -1;
	_cleanup_free_ char *up = path_dir(subdir);
	int fd, r;

	if (root < 0)
		return root;
	fd = open_below(root, subdir, O_RDONLY | O_DIRECTORY);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_set(err, fd, "%s: %s", subdir, strerror(-fd));
	r = empty_dir(fd, 0);
	parent = open_below(root, *up ? up : ".", O_RDONLY | O_DIRECTORY);
	if (r == 0 && (parent < 0 ||
		       unlinkat(parent, path_base(subdir), AT_REMOVEDIR) < 0))
		r = -errno;
	return r < 0 ? err_set(err, r, "remove the data in %s: %s", subdir,
			       strerror(-r))
		     : 0;
}
