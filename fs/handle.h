/* SPDX-License-Identifier: MIT */
/*
 * What fi->fh points to: an open file of the cache, or a directory's snapshot.
 * The number is that of a record in the table, so that a next worker can make
 * the handle again (by path, with the flags it was opened with).
 */
#ifndef FS_HANDLE_H
#define FS_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "fs/fs.h"
#include "fs/request.h"

#define HANDLE_MAGIC 0x68646c65u

/* A directory as it was at one moment; counted. */
struct snapshot {
	atomic_uint refs;
	struct cache_listing *l;
};

/* Counted, and read-only but for the snapshot. */
struct handle {
	uint32_t magic;
	struct fs *fs;
	atomic_uint refs; /* one is the open itself's */
	uint64_t fh;
	uint64_t node;
	int flags; /* of open(2) */
	uid_t uid; /* the opener, as the store knows him */
	gid_t gid;
	struct cfile *cf; /* NULL: a directory */
	bool counted;	  /* by passthrough_begin() */

	pthread_mutex_t lock;  /* of snap */
	struct snapshot *snap; /* of a directory; NULL: not read yet */

	UT_hash_handle hh;	     /* handles.by_fh */
	TAILQ_ENTRY(handle) of_node; /* inode.open */
	struct pool_job job;	     /* the release */
};
TAILQ_HEAD(handle_list, handle);

struct handles *handles_new(struct fs *fs);
/* After cache_takeover(): makes the writers' handles of a worker ago again, as
 * long as their names are known; the others when they are used. */
void handles_restore(struct handles *hs);
/* Those of one node (0: none) that wait for their first use: before its name goes
 * to another node, or to none, and they can't be found by it; or before it is
 * written to, so that the cache knows that it is open.  May wait for the store;
 * -EAGAIN: see try_only.  What fails is found out at that first use. */
int handles_restore_node(struct request *r, uint64_t node);
/* Closes what is open; sends what is unsent. */
void handles_close_all(struct handles *hs);
void handles_free(struct handles *hs);

/* Takes over *cf (cf NULL: a directory) and numbers the handle, which is open
 * until handle_close().  backing: what passthrough_begin() said of a file.  -ENFILE: no number is left; *cf is closed. */
int handle_new(struct request *r, uint64_t node, int flags, struct cfile **cf,
	       int32_t backing, uint64_t *fh);
/* With a reference; made again if this worker did not open it.  -EAGAIN as
 * usual; -ESTALE: it can't be made again. */
int handle_get(struct request *r, uint64_t fh, struct handle **out);
struct handle *handle_ref(struct handle *h);
/* The last one closes the file, in the commit pool: that may send it. */
void handle_put(struct handle *h);
/* The kernel has closed it.  Unknown numbers are fine (a worker ago). */
void handle_close(struct fs *fs, uint64_t fh);

/* What the directory handle has, with a reference, or NULL. */
struct snapshot *handle_snapshot(struct handle *h);
/* Takes over l for the handle; returns it with a reference. */
struct snapshot *handle_set_snapshot(struct handle *h, struct cache_listing *l);
void snapshot_put(struct snapshot *s);

static inline void
handle_putp(struct handle **h)
{
	if (*h)
		handle_put(*h);
}
#define _cleanup_handle_ __attribute__((cleanup(handle_putp)))

static inline void
snapshot_putp(struct snapshot **s)
{
	if (*s)
		snapshot_put(*s);
}
#define _cleanup_snapshot_ __attribute__((cleanup(snapshot_putp)))

#endif
