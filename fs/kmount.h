/* SPDX-License-Identifier: MIT */
/* Mounting and unmounting: mount(2) for root, fusermount3 for others. */
#ifndef FS_KMOUNT_H
#define FS_KMOUNT_H

#include <sys/types.h>

#include "common/err.h"
#include "fs/options.h"

#define MOUNT_TYPE "fuse.sharedfs"

/* *fd: the other end of the mount on dir, close on exec. */
int kmount(const struct options *o, const char *fsname, const char *dir,
	   int *fd, struct err *err);
/* flags: of umount2(2).  0 or -errno. */
int kumount(const char *dir, int flags);
/* How far the kernel reads ahead on this mount; only root can say. */
void kmount_set_readahead(dev_t dev, size_t bytes);
/* Is allow_other in force? */
bool kmount_allow_other(const struct options *o);

#endif
