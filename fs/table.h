/* SPDX-License-Identifier: MIT */
/*
 * The records a next worker needs, in a memfd that the supervisor holds too:
 * what the kernel holds (node ids, handles), FUSE's INIT request, mutation
 * records.  Offsets, no pointers; each record is published by one store, so
 * that a worker killed at any instruction leaves a table that can be read.
 * A table with another version or with records that don't fit is refused.
 *
 * Threads: any; the table has a lock of its own (in the worker's memory).
 */
#ifndef FS_TABLE_H
#define FS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/err.h"

struct table;

#define TABLE_ROOT 1 /* FUSE_ROOT_ID */

int table_create(int *fd, struct err *err);	/* a new memfd (supervisor) */
int table_attach(int fd, struct table **out, struct err *err); /* worker */
/* Could this program attach it?  Only looks, whoever uses it meanwhile. */
int table_check(int fd, struct err *err);
void table_detach(struct table *t);		/* fd is not closed */
int table_fd(const struct table *t);

/* --- nodes: node id <-> parent + name, lookups counted ------------------- */

/* The id of name in parent, its lookup count raised by one.  ino: what stat
 * shows, kept as long as the node lives (given ino != 0 is taken if the node
 * is new). */
uint64_t table_ref(struct table *t, uint64_t parent, const char *name,
		   uint64_t ino);
void table_forget(struct table *t, uint64_t node, uint64_t nlookup);
/* Caller frees; NULL: the node is stale or has lost its name (unlinked). */
char *table_path(struct table *t, uint64_t node);
char *table_child_path(struct table *t, uint64_t parent, const char *name);
uint64_t table_ino(struct table *t, uint64_t node);
/* 0: not known to the kernel. */
uint64_t table_find(struct table *t, uint64_t parent, const char *name);
uint64_t table_find_path(struct table *t, const char *path);
uint64_t table_parent(struct table *t, uint64_t node, char **name);
/* The name is gone; the node lives on while the kernel holds it. */
void table_unlink(struct table *t, uint64_t parent, const char *name);
/* The name means another file now, and gets a node of its own when it is looked
 * up: this one is only what handles have. */
void table_stale(struct table *t, uint64_t node);
bool table_is_stale(struct table *t, uint64_t node);
/* flags: RENAME_EXCHANGE swaps; else what had the new name loses it. */
/* op: the record that gets TABLE_OP_NAMED in the same instant; 0: none. */
void table_rename(struct table *t, uint64_t parent, const char *name,
		  uint64_t newparent, const char *newname, unsigned flags,
		  uint32_t op);
size_t table_nodes(struct table *t);

/* --- handles: what fi->fh is -------------------------------------------- */

enum table_kind { TABLE_FILE = 1, TABLE_DIR = 2 };
struct table_handle {
	uint64_t node;
	enum table_kind kind;
	int flags; /* of open(2) */
	uid_t uid;
	gid_t gid;
	int32_t backing; /* id of the connection (passthrough.h), 0 = none */
	char stage[64]; /* passthrough_inode() in hexadecimal; "": none */
	uint64_t unique; /* of the request that made it */
	uint8_t had_len; /* the version that a reader of pages opened; 0: none */
	char had[95];
};
uint64_t table_handle_add(struct table *t, const struct table_handle *h);
int table_handle_get(struct table *t, uint64_t fh, struct table_handle *out);
int table_handle_set_stage(struct table *t, uint64_t fh, const char *stage);
/* Its backing id is told by table_lost_backings() until table_handle_done(). */
void table_handle_del(struct table *t, uint64_t fh);
void table_handle_done(struct table *t, uint64_t fh);
/* Ids of handles that a worker was just closing when it died. */
void table_lost_backings(struct table *t, void (*fn)(void *arg, int32_t id),
			 void *arg);
void table_handles(struct table *t,
		   void (*fn)(void *arg, uint64_t fh,
			      const struct table_handle *h),
		   void *arg);

/* The handle that this request made, but not `but`; 0: none. */
uint64_t table_handle_by(struct table *t, uint64_t unique, uint64_t but);

/* --- mutations under way (rule 3) ---------------------------------------- */

/* A mutating request that may have reached the store and is not answered. */
struct table_op {
	uint64_t unique;   /* the kernel's number of the request */
	uint32_t type;	   /* enum request_type */
	uint64_t fh, off;  /* of an append: where its bytes go */
	uint64_t len;
	uint64_t ino;	   /* of what is moved */
	char opid[40];	   /* "" = none */
	uint8_t ver_len;   /* of what is removed; 0 = unknown */
	char ver[95];
};
/* Steps that were done, each told by one store. */
enum table_op_did {
	TABLE_OP_MADE = 1 << 0,	 /* the store has made the name */
	TABLE_OP_NAMED = 1 << 1, /* the table has the new names */
};

/* Writes it down, instead of the record `old` (0: none).  0: no room, and old
 * is still there. */
uint32_t table_op_put(struct table *t, const struct table_op *op,
		      uint32_t old);
/* What a worker ago was under way under this number; 0: nothing. */
uint32_t table_op_find(struct table *t, uint64_t unique, struct table_op *out,
		       unsigned *did);
/* In shared memory, of that record: enum table_op_did. */
_Atomic uint32_t *table_op_did(struct table *t, uint32_t slot);
void table_op_drop(struct table *t, uint32_t slot); /* it is answered */
void table_ops(struct table *t,
	       void (*fn)(void *arg, uint32_t slot, const struct table_op *op),
	       void *arg);

/* --- requests, for kernels that don't send them again --------------------- */

#define TABLE_REQ_ROOM (1088u << 10) /* the largest: a write of 1 MiB */

/* A place to read the next one into; 0: all are taken. */
uint32_t table_req_begin(struct table *t, void **p);
/* It was read; unique 0: nothing came. */
void table_req_read(struct table *t, uint32_t slot, uint64_t unique);
/* This is about to be written to the kernel.  Then drop; 0: not kept. */
uint32_t table_req_answer(struct table *t, uint64_t unique,
			  const struct iovec *iov, int count);
void table_req_drop(struct table *t, uint32_t slot);
/* What a worker ago left: *answered: an answer for the kernel, which may have
 * it; else a request that nobody has answered.  after: 0, or the last one.
 * 0: no more. */
uint32_t table_req_next(struct table *t, uint32_t after, const void **p,
			size_t *n, bool *answered);

/* Has a worker of this mount taken over what was staged before it? */
bool table_taken_over(const struct table *t);
void table_set_taken_over(struct table *t);

/* --- the session's INIT request, as the kernel sent it ------------------- */

int table_init_set(struct table *t, const void *p, size_t n); /* once */
size_t table_init_get(struct table *t, void *p, size_t cap);  /* 0: none */

/* --- what a worker found out about the store ------------------------------ */

/* facts: be_facts().  -EINVAL: too long; then there are those of before. */
int table_facts_set(struct table *t, const char *facts);
char *table_facts(const struct table *t); /* the caller's to free; NULL: none */

#endif
