/* SPDX-License-Identifier: MIT */
/* What the two parts of the memory store share. */
#ifndef BACKENDS_MEM_PRIV_H
#define BACKENDS_MEM_PRIV_H

#include "backends/mem-tree.h"

struct mem {
	struct backend be;
	struct mem_tree *t;
	struct be_caps play; /* what probe() tells */
};

static inline struct mem_tree *
mem_tree_of(struct backend *be)
{
	return ((struct mem *)be)->t;
}

static inline void
mem_unlockp(struct mem_tree **t)
{
	pthread_mutex_unlock(&(*t)->lock);
}
/* Holds the tree until the end of the function. */
#define LOCKED_TREE(be)                                                        \
	struct mem_tree *t __attribute__((cleanup(mem_unlockp))) =             \
		mem_tree_of(be);                                               \
	pthread_mutex_lock(&t->lock)

/* All of these with the tree held.  Words and the code. */
int mem_fail(struct be_ctx *ctx, int code, const char *call, const char *path);
/* What is there; -ENOENT if nothing is. */
int mem_look(struct mem_tree *t, struct be_ctx *ctx, const char *call,
	     const char *path, struct mem_place *at);
/* A place for a new name; -EEXIST if something is there. */
int mem_look_free(struct backend *be, struct be_ctx *ctx, const char *call,
		  const char *path, struct mem_place *at);
void mem_touch_attr(struct backend *be, struct mem_node *n);
void mem_touch_data(struct backend *be, struct mem_node *n);
void mem_set_attr(struct mem_node *n, unsigned mask, const struct be_attr *a);
#define MEM_SET_ALL                                                            \
	(BE_SET_MODE | BE_SET_UID | BE_SET_GID | BE_SET_ATIME | BE_SET_MTIME)
bool mem_ver_is(const struct mem_node *n, const struct be_ver *ver);
/* B6.  n NULL: nothing is there. */
int mem_cond_check(struct backend *be, const struct be_cond *cond,
		   const struct mem_node *n);
/* The end of a mutation: told now, and again if it is repeated (B5). */
int mem_done(struct mem_tree *t, const struct be_opid *opid,
	     const struct mem_node *n, struct be_attr *out);
bool mem_done_before(struct mem_tree *t, const struct be_opid *opid,
		     struct be_attr *out);

/* --- mem-data.c ----------------------------------------------------------- */

int mem_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_ver *have, uint64_t max,
	      const struct be_sink *sink, struct be_attr *out, uint64_t *got);
int mem_read(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_ver *ver, uint64_t off, uint64_t len,
	     const struct be_sink *sink, uint64_t *got);
int mem_need(struct backend *be, const struct be_commit *c,
	     struct rangeset *need);
int mem_commit(struct backend *be, struct be_ctx *ctx,
	       const struct be_commit *c, struct be_attr *out);
int mem_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	     const struct be_ver *from_ver, const char *to,
	     const struct be_cond *cond, const struct be_opid *opid,
	     const struct be_attr *attr, struct be_attr *out);

#endif
