/* SPDX-License-Identifier: MIT */
/* One commit, as commit.c makes it and rebase.c changes it.  Of a content only
 * one is under way, with the key of its path held; errors as in backend.h. */
#ifndef CACHE_COMMIT_H
#define CACHE_COMMIT_H

#include "cache/cache-priv.h"

/* What one attempt sends; taken from the content under its lock. */
struct sending {
	struct be_commit commit;
	struct be_attr attr;
	struct rangeset dirty, left;
	bool apart;
	uint64_t clean_end;
	int joined; /* a file that commit.fd is then; -1: none yet */
	struct origin_of from; /* what the store may copy; path NULL: nothing */
	uint64_t gen;
	unsigned mask;
	bool unknown; /* it may have reached the store, and no answer came */
};

/* --- rebase.c: what the store has is the content's base now ------------------- */

/*
 * The condition did not hold (WHY: -EEXIST, -ESTALE, -ENOENT): somebody else
 * changed the file between our open and our close.  0: try again with what the
 * content says now.
 */
int commit_conflict(struct content *k, struct cache_ctx *ctx, const char *path,
		    int why);
/*
 * The answer to the first attempt was lost, and the store has another version
 * by now.  If all that was sent is in it at its place, then it had come through,
 * and another node has gone on from there, by an append for instance; nothing
 * is to be sent again.  1: so it is.
 */
int commit_has_come_through(struct content *k, struct cache_ctx *ctx,
			    const char *path, const struct sending *s);
/*
 * The first call may have written some of it in place, and so have made the
 * version that the second one finds (P9.5).  What is there is our base now.
 */
int commit_go_on_in_place(struct content *k, struct cache_ctx *ctx,
			  const char *path);

#endif
