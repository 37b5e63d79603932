/* SPDX-License-Identifier: MIT */
/* See kmount.h. */
#include <config.h>

#include "fs/kmount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "common/xalloc.h"
#include "fs/link.h"

#define MAX_READ (1u << 20)

bool
kmount_allow_other(const struct options *o)
{
	return o->allow_other < 0 ? geteuid() == 0 : o->allow_other;
}

static int
open_fuse(struct err *err)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_set(err, -errno,
			       "/dev/fuse is not there: load the module "
			       "(modprobe fuse), or give the container "
			       "--device /dev/fuse --cap-add SYS_ADMIN");
	return err_set(err, -errno, "open /dev/fuse: %s", strerror(errno));
}

static int
mount_as_root(const struct options *o, const char *fsname, const char *dir,
	      int *out, struct err *err)
{
	_cleanup_close_ int fd = open_fuse(err);
	_cleanup_buf_ struct buf data = BUF_INIT;
	unsigned long flags = 0;

	if (fd < 0)
		return fd;
	if (!o->suid)
		flags |= MS_NOSUID;
	if (!o->dev)
		flags |= MS_NODEV;
	if (!o->exec)
		flags |= MS_NOEXEC;
	if (o->ro)
		flags |= MS_RDONLY;
	buf_addf(&data,
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,max_read=%u", fd,
		 (unsigned)geteuid(), (unsigned)getegid(), MAX_READ);
	if (o->default_permissions)
		buf_addstr(&data, ",default_permissions");
	if (kmount_allow_other(o))
		buf_addstr(&data, ",allow_other");
	if (mount(fsname, dir, MOUNT_TYPE, flags, buf_str(&data)) < 0) {
		if (errno == EPERM)
			return err_set(err, -EPERM,
				       "mount on %s: not permitted (a container "
				       "needs --cap-add SYS_ADMIN)",
				       dir);
		if (errno == EBUSY)
			return err_set(err, -EBUSY, "mount on %s: busy", dir);
		return err_set(err, -errno, "mount on %s: %s", dir,
			       strerror(errno));
	}
	*out = steal_fd(&fd);
	return 0;
}

static void
add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			buf_addch(b, '\\');
		buf_addch(b, *s);
	}
}

static int
run_fusermount(char *const argv[], int comm)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (comm >= 0) {
			char n[16];

			snprintf(n, sizeof(n), "%d", comm);
			fcntl(comm, F_SETFD, 0);
			setenv("_FUSE_COMMFD", n, 1);
		}
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (!WIFEXITED(status))
		return -EIO;
	return WEXITSTATUS(status) == 127 ? -ENOENT :
	       WEXITSTATUS(status)	  ? -EPERM :
					    0;
}

/* fusermount3 says what is wrong on stderr; with these words after it. */
static int
mount_as_user(const struct options *o, const char *fsname, const char *dir,
	      int *out, struct err *err)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	_cleanup_buf_ struct buf opts = BUF_INIT;
	struct link_msg *m;
	int sv[2], r;

	buf_addf(&opts, "subtype=sharedfs,max_read=%u,nosuid,nodev", MAX_READ);
	if (o->default_permissions)
		buf_addstr(&opts, ",default_permissions");
	if (kmount_allow_other(o))
		buf_addstr(&opts, ",allow_other");
	if (o->ro)
		buf_addstr(&opts, ",ro");
	if (!o->exec)
		buf_addstr(&opts, ",noexec");
	buf_addstr(&opts, ",fsname=");
	add_escaped(&opts, fsname);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_set(err, -errno, "socketpair: %s", strerror(errno));
	ours = sv[0];
	theirs = sv[1];
	r = run_fusermount((char *[]){ (char *)"fusermount3", (char *)"-o",
				       opts.s, (char *)"--", (char *)dir,
				       NULL },
			   theirs);
	if (r == -ENOENT)
		return err_set(err, r,
			       "fusermount3 is not installed (package fuse3); "
			       "only root can mount without it");
	if (r < 0)
		return err_set(err, r, "fusermount3 did not mount on %s", dir);
	m = xmalloc(sizeof(*m));
	if (link_recv(ours, m) < 0 || m->fds[0] < 0) {
		free(m);
		return err_set(err, -EIO, "fusermount3 gave no descriptor");
	}
	*out = m->fds[0];
	free(m);
	return 0;
}

int
kmount(const struct options *o, const char *fsname, const char *dir, int *fd,
       struct err *err)
{
	if (geteuid() == 0)
		return mount_as_root(o, fsname, dir, fd, err);
	return mount_as_user(o, fsname, dir, fd, err);
}

int
kumount(const char *dir, int flags)
{
	char *lazy[] = { (char *)"fusermount3", (char *)"-u", (char *)"-z",
			 (char *)"--", (char *)dir, NULL };
	char *plain[] = { (char *)"fusermount3", (char *)"-u", (char *)"--",
			  (char *)dir, NULL };

	if (geteuid() == 0)
		return umount2(dir, flags | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	return run_fusermount(flags & MNT_DETACH ? lazy : plain, -1);
}

void
kmount_set_readahead(dev_t dev, size_t bytes)
{
	_cleanup_free_ char *path =
		xasprintf("/sys/class/bdi/%u:%u/read_ahead_kb", major(dev),
			  minor(dev));
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	char kb[24];
	int n = snprintf(kb, sizeof(kb), "%zu", bytes / 1024);

	if (fd < 0 || write(fd, kb, n) != n)
		log_debug("mount", "%s: %s", path, strerror(errno));
}
