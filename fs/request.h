/* SPDX-License-Identifier: MIT */
/*
 * One question of the kernel, from its arrival to its answer.
 *
 * A FUSE thread builds it on its stack, with pointers that libfuse lends, and
 * runs the operation with ctx.try_only set.  If that says -EAGAIN the request
 * is copied to the heap and the same function runs again in a pool, where it
 * may wait for the store.  It is answered once (reply.h).
 *
 * A caller that is being killed gets EINTR (rule 15).  Other signals do not
 * end a wait: programs do not expect EINTR of open() or stat().
 */
#ifndef FS_REQUEST_H
#define FS_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <fuse_lowlevel.h>

#include "fs/fs.h"

struct request;

enum request_type {
#define OP(name, pool) REQUEST_##name,
#include "fs/ops.def"
#undef OP
	REQUEST_TYPES
};

struct requests; /* those of a mount that wait in a pool */

struct request {
	enum request_type type;
	/* 0 when the answer was given, else a negative errno to answer. */
	int (*run)(struct request *r);
	struct fs *fs;
	fuse_req_t req; /* NULL: answered; protected by requests.lock when
			 * deferred */
	struct cache_ctx ctx;
	struct err err;
	atomic_int cancel;
	pid_t pid;
	gid_t *groups; /* owned; NULL until request_groups() */

	/* What was asked; strings and data are lent until deferred. */
	uint64_t node, node2;
	const char *name, *name2;
	const void *data; /* of a write or an xattr */
	size_t len;	  /* of data, or how much is wanted */
	uint64_t off, off2;
	bool has_fi;
	struct fuse_file_info fi, fi2;
	struct stat st;
	unsigned set;
	mode_t mode;
	dev_t rdev;
	int flags;
	/* Mutations: done once (rule 3).  op: its record in the table, or 0. */
	uint64_t unique;
	struct cache_once once;
	uint32_t op;
	uint64_t op_fh; /* of an append */
	struct cfile *cf; /* of an open that is half done; owned */
	bool keep_pages;
	bool counted; /* by passthrough_begin(), for handle_new() */
	size_t data_len; /* bytes at data, to be copied when deferred */

	/* gate.h; disturbed is protected by the gate's lock while a pass is
	 * held. */
	bool disturbed, insist;

	bool counted_change; /* by freeze_enter() */

	/* Deferred only. */
	bool deferred;
	bool sent_back; /* freeze.h: it is not run, but answered */
	TAILQ_ENTRY(request) frozen;
	bool registered;  /* requests.lock: libfuse knows our callback */
	bool interrupted; /* requests.lock */
	struct pool_job job;
	TAILQ_ENTRY(request) link;
};

void request_init(struct request *r, fuse_req_t req, enum request_type type,
		  int (*run)(struct request *r));
/* Runs it here or in its pool; r may be gone afterwards but for the caller's
 * own stack. */
void request_run(struct request *r);
/* A copy on the heap, which waits until request_resume(); r itself is done
 * with. */
struct request *request_defer(struct request *r);
void request_resume(struct request *d);
/* Whoever gets it must answer; NULL: somebody did. */
fuse_req_t request_take(struct request *r);

/* A worker ago the table got the new names. */
bool request_was_named(const struct request *r);

/* The caller's supplementary groups, into ctx.  A pool job has them already;
 * an open needs them for its later commits. */
void request_groups(struct request *r);
/* "write of a/b", for the log.  Caller frees. */
char *request_describe(const struct request *r);

/* Caller frees *path.  -ENOENT: the node has no name any more. */
int request_path(struct request *r, uint64_t node, char **path);
/* A name in a directory; -ENAMETOOLONG. */
int request_child(struct request *r, uint64_t parent, const char *name,
		  char **path);
/* A new file belongs to the group of a directory with S_ISGID, and a new
 * directory inherits the bit. */
void request_inherit_gid(struct request *r);

struct requests *requests_new(struct fs *fs);
/* Everything that waits gives up with EINTR but what sends a file: that heeds
 * fs->stopping only. */
void requests_cancel(struct requests *q);
void requests_wait(struct requests *q); /* until none is deferred */
bool requests_idle(struct requests *q);
void requests_free(struct requests *q); /* none is deferred */
/* How often each type was asked. */
void requests_stats(struct requests *q, be_stat_fn *fn, void *arg);

#endif
