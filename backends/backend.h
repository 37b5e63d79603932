/* SPDX-License-Identifier: MIT */
/*
 * The contract of a store: where the truth is.
 *
 * Rules (cited by tests):
 * B1  Paths are those of common/path.h.  A backend rebuilds everything from a
 *     path; it keeps no per-file state that a call depends on.
 * B2  Every call may block for the network; it honours ctx->deadline_ns and
 *     ctx->cancel (-EINTR), and may be made from any thread at once.
 * B3  0 (or a documented positive) is success, else a negative errno with
 *     words in ctx->err; out-parameters are untouched on failure.
 * B4  ctx->transient tells whether the same call may succeed later (network,
 *     5xx, throttling).  wrap-retry repeats such calls with the same
 *     arguments and ctx->attempt > 0.
 * B5  A mutation with an operation id that is called again is recognised as
 *     our own and answered as the first would have been (a lost reply is not
 *     a lost race).
 * B6  A mutation with a condition that does not hold changes nothing and
 *     returns -EEXIST (BE_ABSENT) or -ESTALE (BE_MATCH).  Without the
 *     capability it looks immediately before; docs/semantics.md names the
 *     window.
 * B7  Equal data versions mean equal bytes; nothing else may be concluded.
 * B8  Nothing that a store says makes a backend touch anything outside its
 *     root; a name that is no valid segment is never listed.
 * B9  Mutations of one path are serialised by the caller (cache/).
 */
#ifndef BACKENDS_BACKEND_H
#define BACKENDS_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

#include "common/err.h"
#include "common/range.h"

struct backend;
struct backend_ops;
struct be_config;

/* Who asks, how long it may take, and the way back for words. */
struct be_ctx {
	uid_t uid; /* the caller's; for a commit the opener's */
	gid_t gid;
	const gid_t *groups; /* supplementary; not owned; may be NULL */
	size_t ngroups;
	uint64_t op;	     /* number of the operation, for the log */
	int64_t deadline_ns; /* CLOCK_MONOTONIC, 0 = none */
	const atomic_int *cancel; /* nonzero: give up with -EINTR; may be NULL */
	unsigned attempt;	  /* set by wrap-retry: 0 = the first */
	bool have_stale;	  /* the caller can do without: while the store
				   * is down it gets -EIO, transient, at once */
	bool unseen;		  /* of fetch: nobody has looked what the path
				   * is; a directory beside the file counts */
	unsigned bad_bytes;	  /* how often this call got wrong bytes; counted
				   * by the store, reset by wrap-retry */
	bool transient;		  /* out: see B4 */
	struct err *err;	  /* out: words; may be NULL */
	/* Of a call with an operation id, in memory that outlives this process:
	 * gets BE_MADE at the moment the store has made the name, by stores that
	 * can't tell by the id (file); read when attempt > 0.  May be NULL. */
	_Atomic uint32_t *made;
};
#define BE_MADE 1u

/* Opaque data version (ETag; inode+size+times).  len 0 = unknown. */
#define BE_VER_MAX 95
struct be_ver {
	uint8_t len;
	char b[BE_VER_MAX];
};
bool be_ver_equal(const struct be_ver *a, const struct be_ver *b);
void be_ver_set(struct be_ver *v, const void *p, size_t n); /* too long: unknown */
static inline bool
be_ver_known(const struct be_ver *v)
{
	return v->len != 0;
}

/* 128 random bits in hex; in the object's metadata, and in the journal. */
struct be_opid {
	char s[33]; /* "" = none */
};
void be_opid_new(struct be_opid *id);

enum be_attr_flags {
	/* Only name, type, size, ver and mtime are known (from a listing); and
	 * a small file may turn out to be a symlink, FIFO or socket. */
	BE_ATTR_PARTIAL = 1 << 0,
	/* With PARTIAL: of name, type and ino nothing will turn out otherwise,
	 * and nothing else is known at all. */
	BE_ATTR_TYPED = 1 << 3,
	/* A directory that exists only because something is in it. */
	BE_ATTR_IMPLICIT = 1 << 1,
	/* The version is too young to be believed later (rule 9): bytes read
	 * now must not be found again under it. */
	BE_ATTR_RACY = 1 << 2,
};

struct be_attr {
	mode_t mode; /* with S_IFMT; setuid, setgid stripped from foreign */
	uid_t uid;
	gid_t gid;
	uint32_t nlink;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes */
	uint64_t ino;	 /* 0: the store has none, the caller makes one up */
	dev_t rdev;
	struct timespec atime, mtime, ctime;
	struct be_ver ver; /* of the data */
	uint64_t aver;	   /* of the attributes; 0 = unknown */
	unsigned flags;	   /* enum be_attr_flags */
};

/* Not a directory, and it has other names. */
bool be_attr_linked(const struct be_attr *a);

enum be_set {
	BE_SET_MODE = 1 << 0,
	BE_SET_UID = 1 << 1,
	BE_SET_GID = 1 << 2,
	BE_SET_ATIME = 1 << 3,
	BE_SET_MTIME = 1 << 4,
	BE_SET_CTIME = 1 << 5, /* only stores without a ctime of their own */
	/* commit: attr->mtime is when the last byte was written; a store with
	 * times of its own sets it if it may, and does not fail if not. */
	BE_SET_MTIME_SOFT = 1 << 6,
};
/* Those of BE_SET_MODE to BE_SET_CTIME that are in mask; the type stays. */
void be_attr_apply(struct be_attr *to, unsigned mask,
		   const struct be_attr *from);

enum be_pre { BE_ANY, BE_ABSENT, BE_MATCH };
struct be_cond {
	enum be_pre pre;
	struct be_ver ver; /* for BE_MATCH */
};

/* What is likely to be there; the answer is the same with each. */
enum be_hint { BE_HINT_NONE, BE_HINT_FILE, BE_HINT_DIR, BE_HINT_NEW };

/* Takes bytes as they come, in rising order of off; <0 stops the transfer.  A
 * fetch that is repeated (wrap-retry) begins at 0 again. */
struct be_sink {
	int (*write)(void *arg, const void *data, size_t len, uint64_t off);
	void *arg;
};
/* Ready-made sinks: into memory that holds [base, base+cap), into a file. */
struct be_sink_mem {
	char *p;
	uint64_t base;
	size_t cap;
};
struct be_sink be_sink_to_mem(struct be_sink_mem *m);
struct be_sink be_sink_to_fd(const int *fd);

/*
 * Parts of a content that leave before it is committed.  Made by ahead(),
 * named by the commit, freed by who made it.  No function of it waits for the
 * store: any lock may be held.  Nothing is seen in the store before the commit.
 */
struct be_ahead;
struct be_ahead_ops {
	/* The range of part n, counted from 0; the last one of a file may be
	 * shorter. */
	void (*part)(struct be_ahead *a, size_t n, struct range *out);
	/* All bytes of part n are there: it may leave.  Parts come in order. */
	void (*send)(struct be_ahead *a, size_t n);
	/* What no commit has taken is thrown away. */
	void (*free)(struct be_ahead *a);
};
struct be_ahead {
	const struct be_ahead_ops *ops;
};

/*
 * Makes `path` have the bytes [0,size) of fd.  `dirty` are the ranges that may
 * differ from version `base`; what is neither dirty nor wanted by need() may
 * be absent from fd (a hole).  Bytes in [0,size) beyond the base's size that
 * are not dirty are zero.  fd may change under the call (another handle, a
 * mapping): a digest that no longer fits means read again, not an error.
 */
struct be_commit {
	const char *path;
	struct be_cond cond;
	struct be_opid opid;
	int fd;
	uint64_t size;
	bool whole;	    /* no byte of a base is used: base is unknown */
	struct be_ver base; /* what the clean ranges are of */
	uint64_t base_size;
	const struct range *dirty; /* sorted, disjoint, within [0,size) */
	size_t ndirty;
	/* What to set beside the data.  A store that makes a new object uses
	 * all of attr (mode, uid, gid, times), others only what mask names. */
	const struct be_attr *attr;
	unsigned mask;
	/* Parts that have left already (else NULL): of them count those within
	 * these ranges, whose bytes are still what they were when sent. */
	struct be_ahead *ahead;
	const struct range *left;
	size_t nleft;
	/* Sends nothing and reads no byte of fd: 0 as if it had been sent, if
	 * an attempt with this operation id has reached the store, -ESTALE if
	 * not.  For stores whose need() asks for something. */
	bool look;
	/* The dirty bytes were appended (O_APPEND): a store that writes in place
	 * lets no other node's append come between its look at the end of the
	 * file and the write. */
	bool append;
	/* NULL, or called before a part of fd is read to be sent: from any
	 * thread, in about the order of the file, again if it is read again.  It
	 * may wait.  Not after be_commit() has returned; and a store need not
	 * call it. */
	void (*taking)(void *arg, uint64_t off, uint64_t len);
	void *taking_arg;
};

/* Facts about a store, filled by probe(); data, never names (STYLE 10). */
struct be_caps {
	bool random_write; /* commits write in place; creates are immediate */
	bool atomic_rename; /* file and directory, one step, replaces */
	bool rename_noreplace;
	bool rename_exchange;
	bool exclusive_create;	 /* create() has one winner over all nodes */
	bool conditional_put;	 /* BE_MATCH and BE_ABSENT are atomic */
	bool conditional_copy;
	bool conditional_delete;
	bool checksums;	  /* the store verifies what we send */
	bool hard_links;
	bool symlinks;
	bool special;	  /* FIFO, socket */
	bool owner;	  /* uid, gid and mode are kept */
	bool xattrs;	  /* user.* */
	bool server_copy; /* copy() of exactly one version, without us */
	bool stable_ino;
	bool sound_reads; /* what read() has delivered is of that version,
			   * whatever becomes of the call after that */
	uint64_t part_size; /* largest object sent in one request; 0: no such */
	uint64_t file_max;
	unsigned name_max; /* bytes of a segment */
	unsigned path_max; /* bytes of a path below the root */
};

/* One entry of a directory.  name is valid during the call only.
 * Nonzero stops the listing, which then returns that value. */
typedef int be_list_fn(void *arg, const char *name, const struct be_attr *attr);

/* Where a listing goes on; the store's. */
struct be_cursor {
	void (*free)(struct be_cursor *cur);
};
void be_cursor_free(struct be_cursor *cur); /* NULL is fine */

/* name, number; for status and metrics. */
typedef void be_stat_fn(void *arg, const char *name, uint64_t value);

/*
 * A missing slot is -ENOTSUP unless its comment names another default.
 * Common errors: -ENOENT, -ENOTDIR, -EACCES, -EIO (final), -ETIMEDOUT
 * (deadline), -EINTR (cancel).
 */
struct backend_ops {
	const char *name; /* "s3"; for messages only */

	/* Reaches the store, fills be->caps.  Called once, before all others,
	 * and again by wrap-retry as long as it fails transiently. */
	int (*probe)(struct backend *be, struct be_ctx *ctx);
	/* What probe() found out, a line of at most 128 bytes for a later
	 * process of the same mount; the caller's to free.  Default: NULL. */
	char *(*facts)(struct backend *be);
	/* Instead of probe(), without asking the store: what facts() has told.
	 * -EINVAL: it is of another version; probe() is needed.  The default. */
	int (*trust)(struct backend *be, const char *facts);

	int (*getattr)(struct backend *be, struct be_ctx *ctx, const char *path,
		       enum be_hint hint, struct be_attr *out);
	/*
	 * One part of a directory, about a thousand entries: as many as come
	 * with one request.  *cur is NULL for the first; on 0 it is where the
	 * next one begins, or NULL: that was all.  On failure it is as it was,
	 * and the same part may be asked for again.  Each entry once in all
	 * parts, in any order; "." and ".." are not listed.  -ENOENT, -ENOTDIR.
	 */
	int (*list)(struct backend *be, struct be_ctx *ctx, const char *path,
		    struct be_cursor **cur, be_list_fn *fn, void *arg);
	int (*statfs)(struct backend *be, struct be_ctx *ctx,
		      struct statvfs *out);
	/*
	 * Gives up an upload that an earlier process was told of (struct
	 * be_uploads).  0: the store has nothing of it any more.  Default: 0.
	 */
	int (*give_up)(struct backend *be, struct be_ctx *ctx, const char *key,
		       const char *id);
	/*
	 * Uploads, of whoever, that were begun more than age_s seconds ago and
	 * did not end; give_up: they are given up.  *n of them were found, or
	 * given up.  Default: 0, and *n is 0.
	 */
	int (*old_uploads)(struct backend *be, struct be_ctx *ctx,
			   int64_t age_s, bool give_up, uint64_t *n);
	/* The caller has good reason to believe that there is nothing at path:
	 * what it does next need not ask.  Never blocks.  Default: nothing. */
	void (*believe_absent)(struct backend *be, const char *path);

	/*
	 * Attributes, and the first `max` bytes unless the version is `have`
	 * (may be NULL), in one request where the store can.
	 * Returns 1: still `have`, nothing was delivered (out may be
	 * BE_ATTR_PARTIAL with mode 0: attributes not told; size and ver are
	 * always set).  0: *got = min(size, max) bytes went to the sink.
	 * -EISDIR, -ELOOP (a symlink) without bytes.
	 */
	int (*fetch)(struct backend *be, struct be_ctx *ctx, const char *path,
		     const struct be_ver *have, uint64_t max,
		     const struct be_sink *sink, struct be_attr *out,
		     uint64_t *got);
	/*
	 * [off, off+len) of exactly version ver (known).  *got < len only at
	 * the end of the file.  -ESTALE: that version is gone, or the file.
	 */
	int (*read)(struct backend *be, struct be_ctx *ctx, const char *path,
		    const struct be_ver *ver, uint64_t off, uint64_t len,
		    const struct be_sink *sink, uint64_t *got);

	/* Adds to `need` what commit() will read from fd beside the dirty
	 * ranges (unchanged bytes that must be fetched first).  Default:
	 * nothing. */
	int (*need)(struct backend *be, const struct be_commit *c,
		    struct rangeset *need);
	/*
	 * On 0 the store has the bytes, durable and verified; out is the new
	 * state (all attributes, ver, aver).  -EEXIST/-ESTALE by B6.  -ENOENT:
	 * the parent, or with BE_MATCH on a store that writes in place the
	 * file, is gone.  -EDQUOT, -ENOSPC, -EFBIG.  -ENODATA: fd has become
	 * shorter than size, so that these bytes are nobody's any more.
	 */
	int (*commit)(struct backend *be, struct be_ctx *ctx,
		      const struct be_commit *c, struct be_attr *out);
	/* Of a commit that will come: path, cond, opid, fd (duplicated), and
	 * whole or a base of no bytes; attr as it is now.  Waits for nothing.
	 * Default -ENOTSUP: everything is sent by commit. */
	int (*ahead)(struct backend *be, const struct be_commit *c,
		     struct be_ahead **out);

	/* Names the values that differ; out is the new state.  cond by data
	 * version.  The data version may change though the bytes do not (file:
	 * ctime): with BE_MATCH out->ver then holds the same bytes. */
	int (*setattr)(struct backend *be, struct be_ctx *ctx, const char *path,
		       const struct be_cond *cond, const struct be_opid *opid,
		       unsigned mask, const struct be_attr *attr,
		       struct be_attr *out);

	/* An empty file, FIFO, socket or device by attr->mode's type; always
	 * exclusive: -EEXIST. */
	int (*create)(struct backend *be, struct be_ctx *ctx, const char *path,
		      const struct be_attr *attr, const struct be_opid *opid,
		      struct be_attr *out);
	int (*mkdir)(struct backend *be, struct be_ctx *ctx, const char *path,
		     const struct be_attr *attr, const struct be_opid *opid,
		     struct be_attr *out);
	int (*symlink)(struct backend *be, struct be_ctx *ctx, const char *path,
		       const char *target, const struct be_attr *attr,
		       const struct be_opid *opid, struct be_attr *out);
	/* *target is the caller's to free.  -EINVAL: not a symlink. */
	int (*readlink)(struct backend *be, struct be_ctx *ctx,
			const char *path, char **target);
	/* out: of the one inode with two names.  Default -EPERM. */
	int (*link)(struct backend *be, struct be_ctx *ctx, const char *from,
		    const char *to, struct be_attr *out);
	/* A name that is not a directory.  -EISDIR. */
	int (*unlink)(struct backend *be, struct be_ctx *ctx, const char *path,
		      const struct be_cond *cond, const struct be_opid *opid);
	int (*rmdir)(struct backend *be, struct be_ctx *ctx, const char *path,
		     const struct be_opid *opid);
	/*
	 * rename(2) with its errors; flags are renameat2's RENAME_NOREPLACE and
	 * RENAME_EXCHANGE (-EINVAL where the store can't).  At each moment the
	 * old name, the new, or both exist.  mask/attr: attribute changes that
	 * ride along (files only; mask 0: none).  out: of the new name.
	 */
	int (*rename)(struct backend *be, struct be_ctx *ctx, const char *from,
		      const char *to, unsigned flags,
		      const struct be_opid *opid, unsigned mask,
		      const struct be_attr *attr, struct be_attr *out);
	/* A whole file to a new content of `to`, inside the store: version
	 * from_ver exactly (-ESTALE), attributes from attr; what else is kept
	 * of a file is that of `to`, as for commit().  Default -ENOTSUP: the
	 * caller copies through itself. */
	int (*copy)(struct backend *be, struct be_ctx *ctx, const char *from,
		    const struct be_ver *from_ver, const char *to,
		    const struct be_cond *cond, const struct be_opid *opid,
		    const struct be_attr *attr, struct be_attr *out);

	/* *value is the caller's to free; -ENODATA. */
	int (*getxattr)(struct backend *be, struct be_ctx *ctx,
			const char *path, const char *name, void **value,
			size_t *len);
	/* Names, each with its NUL. */
	int (*listxattr)(struct backend *be, struct be_ctx *ctx,
			 const char *path, char **names, size_t *len);
	/* flags: XATTR_CREATE, XATTR_REPLACE.  value NULL: remove.
	 * -ENODATA, -EEXIST, -E2BIG, -ENOSPC.  out: new state. */
	int (*setxattr)(struct backend *be, struct be_ctx *ctx,
			const char *path, const char *name, const void *value,
			size_t len, int flags, const struct be_opid *opid,
			struct be_attr *out);

	/* Counters since start ("requests_get", "retries", "bytes_in", …). */
	void (*stats)(struct backend *be, be_stat_fn *fn, void *arg);
	/* What was read from outside the store (keys) is read again at the next
	 * use, and the options connect_timeout and request_timeout are as cfg
	 * says.  Any thread, beside any call.  Default: nothing. */
	void (*reload)(struct backend *be, const struct be_config *cfg);
	/* No call is under way.  Must take be == partly built. */
	void (*free)(struct backend *be);
};

#define BACKEND_MAGIC 0x62656e64u
/*
 * Who wants to know which uploads are under way, so that a next process can give
 * up what this one leaves behind.  Called in any thread; must not call back.
 */
struct be_uploads {
	void *arg;
	void (*begun)(void *arg, const char *key, const char *id);
	void (*ended)(void *arg, const char *key, const char *id);
};

struct backend {
	uint32_t magic;
	const struct backend_ops *ops;
	struct be_caps caps;
	char *id;	       /* names the store for the cache: equal ids, equal
				* files.  No secrets.  Owned. */
	struct backend *below; /* decorators: the next one; owned */
	const struct be_uploads *uploads; /* NULL: nobody */
};

/* Base part for constructors; takes over id. */
void backend_init(struct backend *be, const struct backend_ops *ops, char *id);
void backend_free(struct backend *be); /* the whole chain; NULL is fine */

/*
 * Options of a store: looked up by name, NULL = not given.  The names and
 * defaults are in fs/options.def.
 */
struct be_config {
	const char *(*get)(void *arg, const char *name);
	void *arg;
};
/*
 * By URL: "mem:", "file:///dir", "/dir", "s3://bucket[/prefix]".  Does not
 * reach the store (probe does).  -EINVAL with words for a URL or an option
 * that can't be understood.
 */
int backend_open(const char *url, const struct be_config *cfg,
		 struct backend **out, struct err *err);
int backend_mem_open(struct backend **out); /* "mem:" */
/* For tests: a tree in memory that plays a kind of store.  caps() gives the
 * two usual ones: writes in place, or whole objects in parts ("mem:object"). */
void backend_mem_caps(struct be_caps *caps, bool in_place);
int backend_mem_open_as(const struct be_caps *play, struct backend **out);
/* One more front of the same tree, as a second node would have. */
int backend_mem_share(struct backend *mem, struct backend **out);
int backend_file_open(const char *dir, const struct be_config *cfg,
		      struct backend **out, struct err *err);
int backend_s3_open(const char *url, const struct be_config *cfg,
		    struct backend **out, struct err *err);

/* Decorators; each takes over *below on success, and only then. */
struct wrap_retry_config {
	bool hard;	   /* repeat until cancelled; else until timeo */
	int64_t timeo_ns;  /* soft: the whole call's limit */
	int64_t backoff_min_ns, backoff_max_ns; /* full jitter between */
};
int wrap_retry_new(struct backend **below, const struct wrap_retry_config *cfg,
		   struct backend **out);
/* From now on, for calls under way too; any thread, any of a chain. */
void wrap_retry_set(struct backend *be, bool hard, int64_t timeo_ns);
/* State of the store as the retry wrapper sees it, for status. */
enum be_health { BE_UP, BE_DEGRADED, BE_DOWN };
enum be_health wrap_retry_health(const struct backend *be); /* any of a chain */

int wrap_trace_new(struct backend **below, struct backend **out); /* log lines */
/* Fails call number `first` (from 1; 0: never) and then each `every`th after it
 * (0: no more) with err; `after` makes the call happen and loses its reply.
 * probe() and need() are not counted.  set() counts anew.  Tests only. */
struct wrap_fault_config {
	unsigned first, every;
	int err; /* -EIO, … */
	bool transient, after;
};
int wrap_fault_new(struct backend **below, const struct wrap_fault_config *cfg,
		   struct backend **out);
void wrap_fault_set(struct backend *be, const struct wrap_fault_config *cfg);
unsigned wrap_fault_calls(const struct backend *be);

/* The checked calls: paths, out-parameters and results are held against the
 * contract; a breach aborts with --enable-dev, else logs BUG and is -EIO. */
int be_probe(struct backend *be, struct be_ctx *ctx);
char *be_facts(struct backend *be);
int be_trust(struct backend *be, const char *facts);
int be_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       enum be_hint hint, struct be_attr *out);
int be_list_part(struct backend *be, struct be_ctx *ctx, const char *path,
		 struct be_cursor **cur, be_list_fn *fn, void *arg);
/* All parts. */
int be_list(struct backend *be, struct be_ctx *ctx, const char *path,
	    be_list_fn *fn, void *arg);
int be_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out);
/* Of the whole chain; before the first call. */
void be_watch_uploads(struct backend *be, const struct be_uploads *uploads);
/* Straight to the store: it is tried once. */
int be_give_up(struct backend *be, struct be_ctx *ctx, const char *key,
	       const char *id);
int be_old_uploads(struct backend *be, struct be_ctx *ctx, int64_t age_s,
		   bool give_up, uint64_t *n);
void be_believe_absent(struct backend *be, const char *path);
int be_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_ver *have, uint64_t max,
	     const struct be_sink *sink, struct be_attr *out, uint64_t *got);
int be_read(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *ver, uint64_t off, uint64_t len,
	    const struct be_sink *sink, uint64_t *got);
int be_need(struct backend *be, const struct be_commit *c,
	    struct rangeset *need);
int be_commit(struct backend *be, struct be_ctx *ctx,
	      const struct be_commit *c, struct be_attr *out);
int be_ahead(struct backend *be, const struct be_commit *c,
	     struct be_ahead **out);
int be_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const struct be_cond *cond, const struct be_opid *opid,
	       unsigned mask, const struct be_attr *attr, struct be_attr *out);
int be_create(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_attr *attr, const struct be_opid *opid,
	      struct be_attr *out);
int be_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_attr *attr, const struct be_opid *opid,
	     struct be_attr *out);
int be_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *target, const struct be_attr *attr,
	       const struct be_opid *opid, struct be_attr *out);
int be_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
		char **target);
int be_link(struct backend *be, struct be_ctx *ctx, const char *from,
	    const char *to, struct be_attr *out);
int be_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid);
int be_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_opid *opid);
int be_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	      const char *to, unsigned flags, const struct be_opid *opid,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out);
int be_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	    const struct be_ver *from_ver, const char *to,
	    const struct be_cond *cond, const struct be_opid *opid,
	    const struct be_attr *attr, struct be_attr *out);
int be_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		const char *name, void **value, size_t *len);
int be_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		 char **names, size_t *len);
int be_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		const char *name, const void *value, size_t len, int flags,
		const struct be_opid *opid, struct be_attr *out);
void be_stats(struct backend *be, be_stat_fn *fn, void *arg);
/* Of each of the chain. */
void be_reload(struct backend *be, const struct be_config *cfg);

/* For implementations: words into ctx->err, class into ctx->transient. */
int be_fail(struct be_ctx *ctx, int code, bool transient, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* -EINTR or -ETIMEDOUT when the call must end now, else 0. */
int be_must_stop(struct be_ctx *ctx);

#endif
