/* SPDX-License-Identifier: MIT */
/*
 * FUSE passthrough: the kernel reads and writes the local file of a cached
 * object by itself.  This file knows what the kernel allows:
 *
 *   - all handles of a node are either served by us (cached), or go with one
 *     backing id; mixing them is EIO;
 *   - a handle that must be served beside such ones (O_SYNC, O_DIRECT, O_APPEND)
 *     gets DIRECT_IO and the same id;
 *   - a handle that reads a long file which is not here yet gets DIRECT_IO
 *     without an id: it counts as cached, and so do its mappings;
 *   - when the last handle is gone the node may change over.
 *
 * Which files may be given away is the cache's to say (cache_expose).
 * docs/architecture.md tells how it fits together.
 */
#ifndef FS_PASSTHROUGH_H
#define FS_PASSTHROUGH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fs/fs.h"
#include "fs/request.h"

struct passthrough;

/* fuse_fd: of the connection; init: the kernel's INIT request. */
struct passthrough *passthrough_new(struct fs *fs, int fuse_fd,
				    const void *init, size_t n);
void passthrough_free(struct passthrough *p);
bool passthrough_on(const struct passthrough *p);
/* "on", or "off: why"; for status.  Valid for ever. */
const char *passthrough_why(const struct passthrough *p);

/*
 * Chooses for a handle that is about to be answered, and counts it in the
 * node's mode; undone by passthrough_end().  *id: what OPEN's reply is to
 * carry, 0 for none; fi's flags are adjusted.  -ESTALE: the kernel has another
 * file for this node, the name must be looked up again.  -EAGAIN: see
 * try_only.
 */
int passthrough_begin(struct request *r, uint64_t node, struct cfile *cf,
		      struct fuse_file_info *fi, int32_t *id);
void passthrough_end(struct fs *fs, uint64_t node);
/* The inode number, in the cache, of the file that the kernel has for the node;
 * 0: none.  The handle's record keeps it for a next worker. */
uint64_t passthrough_inode(struct fs *fs, uint64_t node);
/* The handles of a worker ago, by their records; each is ended as others. */
void passthrough_restore(struct fs *fs);

/* The next reply that this thread sends is to OPEN or CREATE, with fi, and
 * carries id: in fi, or put there by the session's writev hook. */
void passthrough_reply_with(struct fuse_file_info *fi, int32_t id);
ssize_t passthrough_writev(int fd, struct iovec *iov, int count);

#endif
