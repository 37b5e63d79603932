/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of a store, and what may be believed.
 *
 * Invariants (tests cite them):
 * C1  One reply never mixes two versions.
 * C2  A commit returns 0 only after the backend has the bytes.
 * C3  The store on disk never serves bytes that the backend refused.
 * C4  Deleting the whole cache directory loses nothing acknowledged.
 * C5  A local disk fault is a miss.
 * C6  Bytes are served only if their record names this file, this version,
 *     and their checksum holds.
 * C7  No lock is held across a backend call.
 * C8  At most one fetch of a byte range of a file at a time.
 * C9  An answer asked for before a local change is not remembered after it.
 *
 * A file's content, and the function of each arrow:
 *
 *            cache_open                      content_fetch (last gap)
 *   NONE ---------------> PARTIAL ------------------------------> CLEAN
 *    |   content_open        |                                      |
 *    |                       | content_stage       content_stage    |
 *    | cache_create,         | (first write)       (first write:    |
 *    | O_TRUNC               v                      a copy)         |
 *    +--------------------> STAGED <-------------------------------+
 *                            | ^
 *            content_commit  | | next write
 *                            v |
 *                          STAGED, nothing dirty --- last close --> CLEAN
 *                                                 content_publish
 *
 * CLEAN: an immutable, complete file in the shared store, one version.
 * PARTIAL: ours alone, holes where nothing was fetched, one version.
 * STAGED: ours alone, dirty ranges over a base version; never evicted.
 *
 * Paths are those of common/path.h.  Every call may block on the backend
 * unless ctx->try_only is set: then it answers from memory and the local disk, or
 * returns -EAGAIN having changed nothing.  Any thread.
 * Errors: negative errno, words in ctx->be.err.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "backends/backend.h"

struct cache;
struct cfile;

/*
 * A mutation that is done once though this process may be killed at any moment
 * and the caller asks the next one again (rule 3).  The cache fills in what it
 * will say to the store and has it saved first.
 */
struct cache_once {
	struct be_opid opid;
	struct be_ver ver; /* of what is removed or moved */
	uint64_t ino;	   /* of what is moved */
	uint64_t off, len; /* where an append puts its bytes; of what is
			    * moved the size and the mtime (ns) */
	bool resent; /* a process ago somebody asked for it */
	bool again;  /* … and it may have been done: the above is of then */
	/* Where it is saved: see be_ctx.made.  NULL: nowhere. */
	_Atomic uint32_t *did;
	void (*save)(struct cache_once *o);
};

struct cache_ctx {
	struct be_ctx be;
	bool try_only; /* never block: -EAGAIN instead */
	/* What was to be believed then is, for this call; 0: what is now. */
	int64_t since_ns;
	/* The thread that walks to the name with this lookup, or opens it; 0:
	 * none that is known. */
	int32_t walker;
	bool asked; /* out: the store, for this call */
	bool brought; /* out: … and the content came along */
	struct cache_once *once; /* of the one mutation asked for; or NULL */
};

/* The atomic ones may change: cache_set_limits(). */
struct cache_config {
	const char *dir;      /* cache directory; made if missing */
	const char *instance; /* names this mount within dir (rule 21) */
	_Atomic uint64_t size_max; /* bytes of clean content kept; 0 = unlimited */
	_Atomic uint64_t free_min; /* bytes of the disk left free */
	_Atomic int64_t actimeo_ns;   /* attributes, names, listings */
	_Atomic int64_t negative_ns;  /* absence */
	_Atomic int64_t stale_ns;     /* how much longer while the store is down */
	int64_t attr_delay_ns; /* rule 8; never longer than actimeo */
	atomic_bool cto;	       /* open() always asks the store */
	atomic_bool conflict_fail; /* ESTALE instead of last close wins (P9) */
	atomic_bool exclusive_at_close; /* excl=close */
	_Atomic uint64_t readahead; /* bytes, the most that is fetched ahead */
	uint64_t whole_max;   /* fetched whole at open up to this size */
	uint64_t attr_cache;  /* bytes of memory for names and attributes; 0 =
			       * 48 MiB */
	uint64_t attr_table;  /* bytes of disk for attributes of objects, which
			       * outlive the daemon; 0 = none */
	/* Ownership of objects that have none, and the mapping. */
	uid_t uid;
	gid_t gid;
	mode_t umask; /* taken from defaults of 0777/0666 */
	/* A foreign change was noticed; called from any thread with no lock
	 * held, must only queue.  `data`: the bytes changed too. */
	void (*changed)(void *arg, const char *path, bool data);
	/* Runs fn(job) soon, in a thread that may block (readahead); NULL:
	 * nothing is fetched ahead. */
	void (*run)(void *arg, void (*fn)(void *job), void *job);
	void *arg;
};

/* Takes over *be on success, and only then.  -EBUSY: the instance is in use.
 * A disk that can't be used is no error but for -EINVAL (the directory is
 * somebody else's): the cache then keeps nothing but what is open. */
int cache_new(const struct cache_config *cfg, struct backend **be,
	      struct cache **out, struct err *err);
/* First of all, and without the backend: takes over the staged bytes of an
 * earlier daemon of this instance.  wanted(path, node): is a handle of it still
 * open, and goes on with them (node: cache_set_node(); 0: not told)?  Others
 * (wanted NULL: all) are told of and kept on disk. */
enum cache_wanted {
	CACHE_UNWANTED,
	CACHE_WANTED,
	CACHE_NAMELESS, /* … but the path means no file, or another one */
	CACHE_CLOSED,	/* not open, but of a worker of this mount, which was to
			 * send it: now we are */
};
void cache_takeover(struct cache *c,
		    enum cache_wanted (*wanted)(void *arg, const char *path,
						uint64_t node),
		    void *arg);
/* After be_probe(): finishes the renames of directories that an earlier daemon
 * of this instance began, and has CACHE_CLOSED ones sent in the background. */
void cache_recover(struct cache *c, struct cache_ctx *ctx);
/* Nothing is open any more.  Unsent bytes stay on disk, journaled. */
void cache_free(struct cache *c);
struct backend *cache_backend(struct cache *c);
/* From now on; of cfg only what is atomic is looked at.  What is known already
 * keeps the life that it was given.  Any thread. */
void cache_set_limits(struct cache *c, const struct cache_config *cfg);

/* --- names and attributes ------------------------------------------------ */

/* How long what was just told may be believed by the kernel, ns. */
struct cache_life {
	int64_t entry_ns;
	int64_t attr_ns;
};
int cache_lookup(struct cache *c, struct cache_ctx *ctx, const char *path,
		 struct be_attr *out, struct cache_life *life);
/*
 * From before cache_lookup() until its answer is with the kernel, if the answer
 * may tell the kernel to believe the entry: of a LOOKUP, and of a listing with
 * attributes.  In between another lookup is not remembered for the open() that
 * it is part of (asked.c).
 */
void cache_entry_begin(struct cache *c, const char *path);
void cache_entry_end(struct cache *c, const char *path);
void cache_entries_begin(struct cache *c);
void cache_entries_end(struct cache *c);
/* cf: an open file of that path, or NULL.  An unlinked cf is answered. */
int cache_getattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		  struct cfile *cf, struct be_attr *out,
		  struct cache_life *life);
/* mask: BE_SET_*, or CACHE_SET_SIZE for truncate. */
#define CACHE_SET_SIZE (1u << 16)
int cache_setattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		  struct cfile *cf, unsigned mask, const struct be_attr *attr,
		  struct be_attr *out);
int cache_mkdir(struct cache *c, struct cache_ctx *ctx, const char *path,
		mode_t mode, struct be_attr *out);
/* FIFO, socket, and plain files; -EPERM where the store has no such thing. */
int cache_mknod(struct cache *c, struct cache_ctx *ctx, const char *path,
		mode_t mode, dev_t rdev, struct be_attr *out);
int cache_symlink(struct cache *c, struct cache_ctx *ctx, const char *path,
		  const char *target, struct be_attr *out);
int cache_readlink(struct cache *c, struct cache_ctx *ctx, const char *path,
		   char **target);
int cache_link(struct cache *c, struct cache_ctx *ctx, const char *from,
	       const char *to, struct be_attr *out);
int cache_unlink(struct cache *c, struct cache_ctx *ctx, const char *path);
int cache_rmdir(struct cache *c, struct cache_ctx *ctx, const char *path);
int cache_rename(struct cache *c, struct cache_ctx *ctx, const char *from,
		 const char *to, unsigned flags);
int cache_statfs(struct cache *c, struct cache_ctx *ctx, struct statvfs *out);
int cache_getxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		   const char *name, void **value, size_t *len);
int cache_listxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		    char **names, size_t *len);
int cache_setxattr(struct cache *c, struct cache_ctx *ctx, const char *path,
		   const char *name, const void *value, size_t len, int flags);

/* A snapshot of a directory.  It grows while the store tells it; what is in it
 * keeps its place.  "." and ".." are not in it.  What the store tells in one
 * part (a thousand names) is sorted by name.  cache_list() returns when the
 * first part is there, or -ENOENT, -ENOTDIR, ….  Counted. */
struct cache_listing;
struct cache_dirent {
	mode_t mode;  /* type bits only; 0: a stat would have to tell */
	uint64_t ino; /* as stat would tell, where known; never 0 */
	char name[256];
};
int cache_list(struct cache *c, struct cache_ctx *ctx, const char *path,
	       struct cache_listing **out);
/* Entry i, waiting for it; -ENOENT: there are no more. */
int cache_listing_get(struct cache_listing *l, struct cache_ctx *ctx, size_t i,
		      struct cache_dirent *out);
void cache_listing_put(struct cache_listing *l);
/* Makes the attributes of n entries from `from` on known, in parallel, and others
 * behind them.  How many of them are, from the first on, when it has lasted long
 * enough; at least 1: errors are left for the lookups that follow. */
size_t cache_prefetch_attrs(struct cache_listing *l, struct cache_ctx *ctx,
			    size_t from, size_t n);

/* --- files --------------------------------------------------------------- */

/* flags: of open(2).  A handle; close with cache_release.  -ELOOP, -EISDIR.
 * *keep_pages: the kernel's are of that version; NULL: they may be of any. */
int cache_open(struct cache *c, struct cache_ctx *ctx, const char *path,
	       int flags, struct cfile **out, bool *keep_pages);
/* A handle on `had`, an older version of cf's file, for a reader that has read
 * some of it.  NULL: it is cf's, or no complete copy of it is here. */
struct cfile *cache_open_older(struct cfile *cf, struct cache_ctx *ctx,
			       const struct be_ver *had);
/* What the caller calls the file, never the same for two files at a time: so a
 * next daemon finds what handles had open though its name is gone. */
void cache_set_node(struct cfile *cf, uint64_t node);
/* A handle of an earlier daemon: on the file that `other` (or NULL) has open, or
 * that was taken over for the node.  -ENOENT: there is none. */
int cache_open_again(struct cache *c, struct cache_ctx *ctx, uint64_t node,
		     const struct cfile *other, int flags, struct cfile **out);
/* May what is opened with these flags change?  O_RDONLY | O_TRUNC changes it. */
static inline bool
cache_open_changes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}
/* O_CREAT: with O_EXCL one winner (P3); else opens what is there. */
int cache_create(struct cache *c, struct cache_ctx *ctx, const char *path,
		 int flags, mode_t mode, struct cfile **out,
		 struct be_attr *attr);
/* Bytes [off, off+len) into p; *got < len at the end of the file. */
int cache_read(struct cfile *cf, struct cache_ctx *ctx, uint64_t off, void *p,
	       size_t len, size_t *got);
/* Only moves bytes to the local disk.  append: off is ignored.  -ENOSPC. */
int cache_write(struct cfile *cf, struct cache_ctx *ctx, uint64_t off,
		const void *p, size_t len, bool append);
/* close(): 0 only when the store has the bytes (C2, P1).  Nothing is sent for a
 * handle that changes nothing. */
int cache_flush(struct cfile *cf, struct cache_ctx *ctx);
int cache_fallocate(struct cfile *cf, struct cache_ctx *ctx, int mode,
		    uint64_t off, uint64_t len);
/* whence: SEEK_DATA, SEEK_HOLE. */
int cache_lseek(struct cfile *cf, struct cache_ctx *ctx, uint64_t off,
		int whence, uint64_t *out);
int cache_copy_range(struct cfile *in, uint64_t in_off, struct cfile *out,
		     uint64_t out_off, size_t len, struct cache_ctx *ctx,
		     size_t *copied);
/* Are both handles of the same bytes?  (One path may have two contents open:
 * what it had, and what another node put there.) */
bool cache_same_file(const struct cfile *a, const struct cfile *b);
/*
 * May the kernel read (and write) the local file by itself?  0: *fd is that
 * file, the cache's, open as long as cf is; from now on what was written is
 * found by looking.  -EAGAIN: not yet told, see try_only.  -EOPNOTSUPP: no, it
 * must be served.  again: the kernel has it already, as an earlier cache_expose
 * of the same node said; then -EOPNOTSUPP means that this handle must be
 * served beside it, and -ESTALE that the kernel has another file.
 */
int cache_expose(struct cfile *cf, struct cache_ctx *ctx, bool again, int *fd);
/* Is it complete, unchanged, and so small that the kernel's pages do as well as
 * the file?  Nobody writes to it unseen as long as it is not exposed.  *ver, if
 * not NULL: its version. */
bool cache_is_small_clean(struct cfile *cf, struct be_ver *ver);
/* Is it long (64 MiB), and not all of it here? */
bool cache_is_long_partial(struct cfile *cf);
/* fsync(): all of the file that has not been sent, whoever has written it. */
int cache_fsync(struct cfile *cf, struct cache_ctx *ctx);
/* The same of a name, for directories. */
int cache_sync_name(struct cache *c, struct cache_ctx *ctx, const char *path);
/* The last reference of a handle.  What is unsent (no flush came) is sent
 * here, in this thread. */
void cache_release(struct cfile *cf, struct cache_ctx *ctx);
/* Would it wait for nothing and write nothing?  (A guess; both are right.) */
bool cache_release_is_quick(struct cfile *cf);

/* --- state --------------------------------------------------------------- */

struct cache_stats {
	uint64_t hits, misses; /* of cache_read: served locally, or not */
	uint64_t bytes;	       /* clean content on disk, all mounts */
	uint64_t pending_files, pending_bytes; /* accepted, not in the store */
	uint64_t evictions, conflicts, disk_errors;
	uint64_t failed_files; /* commits that failed for good, kept on disk */
	uint64_t kept_files;   /* the same, of mounts that are no more */
	uint64_t open_files;
	uint64_t pending_attrs; /* changes of attributes that wait */
};
void cache_stats_get(struct cache *c, struct cache_stats *out);
/* Names of files with unsent bytes, for umount and status. */
void cache_pending(struct cache *c,
		   void (*fn)(void *arg, const char *path, uint64_t bytes),
		   void *arg);
/* Files that this daemon has given up, by name (as in kept.h) and path, also those
 * whose record a failing disk did not take.  FN must not call the cache. */
void cache_given_up(struct cache *c,
		    void (*fn)(void *arg, const char *name, const char *path),
		    void *arg);
/* Drops the bytes of a file that was given up, by its name in kept.h, for good.
 * -ENOENT; -EBUSY: it is not given up. */
int cache_discard(struct cache *c, const char *name);
/* Sends all that is unsent; -EIO and words if any stays. */
int cache_drain(struct cache *c, struct cache_ctx *ctx);

/* From now on what this node changes in the store is noted, by name; or no
 * longer.  Notes of before are dropped. */
void cache_note_changes(struct cache *c, bool on);
struct cache_change {
	char *path;
	bool tree; /* moved: what is below it changed, too */
};
/* The notes since the last call, each path once; *lost: they were too many.
 * What is under way is noted when it is done.  The caller's. */
struct cache_change *cache_take_changes(struct cache *c, size_t *n, bool *lost);
void cache_changes_free(struct cache_change *v, size_t n);
/* Until nothing is under way, so that all is noted; for a moment in which nobody
 * begins anything. */
int cache_wait_changes(struct cache *c, struct cache_ctx *ctx);

#endif
