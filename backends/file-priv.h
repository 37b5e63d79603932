/* SPDX-License-Identifier: MIT */
/* What the parts of the file store share; nobody else includes it. */
#ifndef BACKENDS_FILE_PRIV_H
#define BACKENDS_FILE_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "backends/backend.h"

struct file {
	struct backend be;
	char *dir;	 /* as given; absolute */
	int root;	 /* O_PATH; -1 before probe() */
	dev_t dev;	 /* of the root */
	bool remote;	 /* a network file system: other errors, page cache */
	bool precise;	 /* no two changes share a ctime (rule 9) */
	int64_t skew_ns; /* the store's clock minus ours */
	bool no_openat2;
	/* Who we are, to come back to (file-id.c). */
	bool privileged; /* can take the caller's identity */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int ngroups;
};

static inline struct file *
file_of(struct backend *be)
{
	return (struct file *)be;
}

/* --- file-errno.c --------------------------------------------------------- */

/* Words and class for an errno of a system call on the store; returns what
 * the contract calls it. */
int file_fail(struct file *f, struct be_ctx *ctx, int err, const char *call,
	      const char *path);
/* The mapping alone: negative errno; *transient. */
int file_errno(int err, bool remote, unsigned attempt, bool *transient);

/* --- file-id.c ------------------------------------------------------------ */

void file_id_init(struct file *f);
/* This thread acts as the caller from here to file_id_end().  -EPERM. */
struct file_id {
	struct file *f; /* NULL: nothing to come back from */
};
int file_id_begin(struct file *f, struct be_ctx *ctx, struct file_id *id);
/* For a moment within: ourselves, and the caller again.  Groups stay. */
void file_id_set(struct file *f, uid_t uid, gid_t gid);
void file_id_end(struct file_id *id);

/* --- file-path.c ---------------------------------------------------------- */

/* A name in its directory; base "": what dir itself is, the root or an open
 * file. */
struct file_place {
	int dir; /* O_PATH will do */
	bool own;
	const char *base; /* points into the path */
};
#define FILE_PLACE_INIT                                                        \
	{                                                                      \
		-1, false, ""                                                  \
	}
int file_find(struct file *f, const char *path, struct file_place *out);
void file_place_release(struct file_place *p);
/* openat() of the name itself: never follows, never blocks.  Descriptor or
 * -errno. */
int file_open(const struct file_place *p, int flags, mode_t mode);

/* Begins nearly every call: stop?, identity, path. */
struct file_call {
	struct file *f;
	struct file_id id;
	struct file_place at;
};
#define FILE_CALL_INIT                                                         \
	{                                                                      \
		NULL, {NULL}, FILE_PLACE_INIT                                  \
	}
int file_call_begin(struct file_call *c, struct backend *be, struct be_ctx *ctx,
		    const char *call, const char *path);
void file_call_end(struct file_call *c);
#define _cleanup_call_ __attribute__((cleanup(file_call_end)))
#define _cleanup_place_ __attribute__((cleanup(file_place_release)))

/* --- file-attr.c ---------------------------------------------------------- */

int file_stat(struct file *f, const struct file_place *p, struct be_attr *out);
int file_stat_fd(struct file *f, int fd, struct be_attr *out);
/* For the answer of a call that has changed it: see file-attr.c. */
int file_stat_own(struct file *f, int dir, const char *base,
		  struct be_attr *out);
/* Others have changed the bytes within the call: the version in *out becomes one
 * that no file has, and is not believed. */
void file_disown(struct be_attr *out);
/* What mask names, on a name; nothing is followed. */
int file_set(struct file *f, const struct file_place *p, unsigned mask,
	     const struct be_attr *attr);
/* A new name gets mode and owner as asked, whatever the umask was. */
int file_set_new(struct file *f, struct be_ctx *ctx, const struct file_place *p,
		 const struct be_attr *attr);
/* The directory of the name is on the disk. */
int file_sync_dir(const struct file_place *p);

/* --- file-data.c, file-commit.c, file-xattr.c, file-probe.c --------------- */

int file_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	       const struct be_ver *have, uint64_t max,
	       const struct be_sink *sink, struct be_attr *out, uint64_t *got);
int file_read(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_ver *ver, uint64_t off, uint64_t len,
	      const struct be_sink *sink, uint64_t *got);
/* For data, O_RDONLY or O_RDWR, of the opener: what a later chmod took from
 * the owner does not count. */
int file_open_data(struct file *f, struct be_ctx *ctx,
		   const struct file_place *p, int flags);
int file_commit(struct backend *be, struct be_ctx *ctx,
		const struct be_commit *c, struct be_attr *out);
int file_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		  const char *name, void **value, size_t *len);
int file_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		   char **names, size_t *len);
int file_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		  const char *name, const void *value, size_t len, int flags,
		  const struct be_opid *opid, struct be_attr *out);
int file_probe(struct backend *be, struct be_ctx *ctx);

#endif
