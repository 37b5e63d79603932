/* SPDX-License-Identifier: MIT */
/* One mount in a worker: what every file of fs/ gets as its first argument. */
#ifndef FS_FS_H
#define FS_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/cache.h"
#include "fs/options.h"
#include "fs/pool.h"
#include "fs/table.h"

struct fuse_session;
struct fuse_lowlevel_ops;
struct notify;
struct passthrough;
struct inodes;
struct session;
struct handles;
struct requests;
struct gate;
struct freeze;
struct reload;

struct fs {
	const struct options *opt; /* what may change: reload.h */
	/* Of these; they change with it. */
	_Atomic int64_t actimeo, negative_timeout, drain_timeout;
	struct idmap uids, gids;
	struct cache *cache;
	struct table *table;
	struct fuse_session *se;
	struct session *session; /* whose se it is (session.h) */
	struct pool *io;     /* lookups, attributes, reads, listings */
	struct pool *commit; /* flush, fsync, release: may be long */
	struct notify *notify;
	/* NULL until INIT (passthrough.h), which other threads may see */
	_Atomic(struct passthrough *) passthrough;
	struct inodes *inodes; /* worker-local state of nodes (inode.h) */
	struct handles *handles;   /* what fi->fh is (handle.h) */
	struct requests *requests; /* that wait in a pool (request.h) */
	struct reload *reload;	   /* options change (reload.h) */
	struct gate *gate;	   /* renames wait for paths in use (gate.h) */
	struct freeze *freeze;	   /* nothing changes for a moment (freeze.h) */
	atomic_ullong op;      /* number of the last operation */
	atomic_int stopping;   /* ctx.cancel of work that nobody waits for */
};

/* ops.c: the table of contents. */
extern const struct fuse_lowlevel_ops fs_ops;
int fs_ops_init(struct fs *fs); /* before the session runs */
/* The session has ended.  Waits for requests under way (those that only read
 * give up), closes all handles and sends what is unsent unless fs->stopping is
 * set meanwhile; the pools must still be there.  Then the pools, the
 * cache and the table may be freed, in this order. */
void fs_ops_release(struct fs *fs);
/* Requests by kind. */
void fs_ops_stats(struct fs *fs, be_stat_fn *fn, void *arg);

/* notify.c: tells the kernel to forget, from a thread of its own (rule 27). */
struct notify *notify_new(struct fs *fs);
void notify_free(struct notify *n);
/* A foreign change of path: attributes, or the bytes too.  Only queues; this is
 * cache_config.changed with arg = struct fs. */
void notify_changed(void *fs, const char *path, bool data);
/*
 * For an open() that tells the kernel itself that this path has other bytes:
 * takes back what is queued about it.  Told later, it would make the kernel
 * throw away the answer to the GETATTR that follows, and read with the old
 * size (P2.1).  Waits 100 ms at most for what is being told just now.
 */
void notify_settle(struct fs *fs, const char *path);

#endif
