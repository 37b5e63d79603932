/* SPDX-License-Identifier: MIT */
/*
 * A path is put together from nodes before the cache is called with it, and a
 * rename makes it wrong.  So what opens, makes, changes or removes something by
 * path holds a pass for it, and a rename waits for the passes in both of its
 * trees and keeps new ones out.  Passes are given in the order they were asked
 * for; only a rename excludes others.
 *
 * What only looks neither waits nor is waited for.  If it finds nothing and a
 * rename came between, r->disturbed is set: it must look again, insisting.
 */
#ifndef FS_GATE_H
#define FS_GATE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "fs/request.h"

struct gate;

struct pass {
	struct gate *gate; /* NULL: not held */
	char *path, *path2; /* owned; path2 may be NULL */
	enum pass_kind { PASS_LOOK, PASS_USE, PASS_MOVE } kind;
	struct request *looker; /* of PASS_LOOK */
	TAILQ_ENTRY(pass) link;
};
#define PASS_INIT                                                              \
	{                                                                      \
		.gate = NULL                                                   \
	}

struct gate *gate_new(void);
void gate_free(struct gate *g);

/*
 * Each waits for renames (try_only: -EAGAIN; -EINTR when cancelled) and then
 * the path is right until the pass is put.  Errors as of request_path() and
 * request_child().  One pass a thread.
 */
int pass_node(struct request *r, uint64_t node, struct pass *p);
int pass_child(struct request *r, uint64_t parent, const char *name,
	       struct pass *p);
/* The same for what only looks; waits if r->insist. */
int look_node(struct request *r, uint64_t node, struct pass *p);
int look_child(struct request *r, uint64_t parent, const char *name,
	       struct pass *p);
/* link(2): a node and a new name. */
int pass_link(struct request *r, struct pass *p);
/* r's two names, exclusively, with all that is below. */
int pass_rename(struct request *r, struct pass *p);
void pass_put(struct pass *p);

static inline void
pass_putp(struct pass *p)
{
	pass_put(p);
}
#define _cleanup_pass_ __attribute__((cleanup(pass_putp)))

#endif
