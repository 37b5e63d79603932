/* SPDX-License-Identifier: MIT */
/*
 * A moment in which nothing in the share changes by way of a path, so that
 * another tree can take its place (migrate-local-uploads --undo).
 *
 * Calls that make, change or remove something by its path, or open it for
 * writing, wait.  Those on files that are open go on, so that writers can
 * finish.  If the share was moved meanwhile each thread is sent back once, with
 * ESTALE: the kernel then goes its path again from the beginning and finds the
 * other tree.  One that comes again has its working directory, or its root, in
 * the share, and is served.
 */
#ifndef FS_FREEZE_H
#define FS_FREEZE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "fs/request.h"

struct freeze;

struct freeze *freeze_new(struct fs *fs);
void freeze_free(struct freeze *f); /* nothing waits */

/* 0: all that was under way has ended, no file is open for writing, and
 * everything is in the store.  -EBUSY: not within wait_ms, and nothing is
 * frozen; -EALREADY: somebody else did it. */
int freeze_begin(struct freeze *f, int wait_ms, struct err *err);
/* moved: see above.  How many were sent back. */
unsigned freeze_end(struct freeze *f, bool moved);
/* The mount ends: as freeze_end(false), and never again. */
void freeze_stop(struct freeze *f);

/* Each request asks before it runs.  1: it may.  0: it was taken, and runs
 * later.  -ESTALE: to be answered.  *r is on the stack of a FUSE thread. */
int freeze_enter(struct freeze *f, struct request *r);
/* After it ran, if freeze_enter() said 1 or it was taken. */
void freeze_leave(struct freeze *f, struct request *r);

#endif
