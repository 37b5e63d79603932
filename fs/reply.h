/* SPDX-License-Identifier: MIT */
/*
 * The only callers of fuse_reply_*.  A request is answered once; a second
 * answer is dropped.  No lock is held here, and what the answer refers to is
 * not used afterwards.  Functions that return bool: false means that the
 * kernel did not take the answer (the caller was interrupted), so that what it
 * would have referred to must be undone.
 */
#ifndef FS_REPLY_H
#define FS_REPLY_H

#include "fs/request.h"

/* err: negative errno.  Logged once, with the words of r->err, if it is not
 * an everyday answer. */
void reply_err(struct request *r, int err);
void reply_ok(struct request *r);
void reply_none(fuse_req_t req); /* FORGET has no answer */
/* The caller is being killed; its request goes on without it. */
void reply_interrupted(fuse_req_t req);

/* The name is node, with one lookup counted. */
bool reply_entry(struct request *r, uint64_t node, const struct be_attr *a,
		 struct cache_life life);
void reply_no_entry(struct request *r, int64_t life_ns);
void reply_attr(struct request *r, uint64_t node, const struct be_attr *a,
		int64_t life_ns);
/* Not an answer: the kernel is to ask for the attributes again, because an
 * open found other bytes than it may know of (its size must not cut the new
 * ones), or the file has one more name.  Of attributes only, so that it waits for nothing and may come from
 * a handler, before the answer (rule 27). */
void reply_forget_attr(struct fs *fs, uint64_t node);
/* backing: of passthrough_begin(); 0 = none. */
bool reply_open(struct request *r, const struct fuse_file_info *fi,
		int32_t backing);
bool reply_create(struct request *r, uint64_t node, const struct be_attr *a,
		  struct cache_life life, const struct fuse_file_info *fi,
		  int32_t backing);
void reply_buf(struct request *r, const void *p, size_t n);
void reply_write(struct request *r, size_t n);
void reply_readlink(struct request *r, const char *target);
void reply_statfs(struct request *r, const struct statvfs *st);
void reply_lseek(struct request *r, uint64_t off);
/* An xattr's value or the list of names: r->len 0 asks for the size. */
void reply_xattr(struct request *r, const void *p, size_t n);

/* Attributes as stat shows them: ids mapped, an inode number made up where
 * the store has none. */
void stat_of(struct fs *fs, uint64_t node, const struct be_attr *a,
	     struct stat *st);
void entry_of(struct fs *fs, uint64_t node, const struct be_attr *a,
	      struct cache_life life, struct fuse_entry_param *e);

#endif
