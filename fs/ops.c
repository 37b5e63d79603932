/* SPDX-License-Identifier: MIT */
/* The table of contents: what the kernel may ask, and who answers. */
#include <config.h>

#include "fs/ops.h"

#include <errno.h>

#include "fs/freeze.h"
#include "fs/fs.h"
#include "fs/gate.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/request.h"

int
fs_ops_init(struct fs *fs)
{
	fs->gate = gate_new();
	fs->freeze = freeze_new(fs);
	fs->inodes = inodes_new();
	fs->handles = handles_new(fs);
	fs->requests = requests_new(fs);
	if (!fs->requests) {
		fs_ops_release(fs);
		return -EAGAIN;
	}
	return 0;
}

void
fs_ops_release(struct fs *fs)
{
	freeze_stop(fs->freeze);
	if (fs->requests) {
		/* The kernel has dropped them with the mount. */
		requests_cancel(fs->requests);
		requests_wait(fs->requests);
	}
	if (fs->handles)
		handles_close_all(fs->handles);
	requests_free(fs->requests);
	handles_free(fs->handles);
	inodes_free(fs->inodes);
	gate_free(fs->gate);
	freeze_free(fs->freeze);
	fs->requests = NULL;
	fs->handles = NULL;
	fs->inodes = NULL;
	fs->gate = NULL;
	fs->freeze = NULL;
}

void
fs_ops_stats(struct fs *fs, be_stat_fn *fn, void *arg)
{
	requests_stats(fs->requests, fn, arg);
}

/* No access: the kernel checks (default_permissions).  No locks: they are the
 * kernel's, per node.  No bmap, poll and ioctl: there is nothing to tell. */
const struct fuse_lowlevel_ops fs_ops = {
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.readlink = fs_readlink,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.symlink = fs_symlink,
	.rename = fs_rename,
	.link = fs_link,
	.open = fs_open,
	.create = fs_create,
	.read = fs_read,
	.write = fs_write,
	.flush = fs_flush,
	.release = fs_release,
	.fsync = fs_fsync,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.releasedir = fs_releasedir,
	.fsyncdir = fs_fsyncdir,
	.statfs = fs_statfs,
	.setxattr = fs_setxattr,
	.getxattr = fs_getxattr,
	.listxattr = fs_listxattr,
	.removexattr = fs_removexattr,
	.fallocate = fs_fallocate,
	.lseek = fs_lseek,
	.copy_file_range = fs_copy_file_range,
};
