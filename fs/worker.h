/* SPDX-License-Identifier: MIT */
/*
 * The process that does the work: it builds the chain options -> backend ->
 * retry -> cache -> session and serves the mount until it is gone.  Started by
 * the supervisor as
 *
 *   sharedfs --worker NUMBER foreground|daemon INSTANCE SOURCE DIR [--opt=v…]
 *
 * (options as options_arg() makes them), with two descriptors of fixed number.
 */
#ifndef FS_WORKER_H
#define FS_WORKER_H

#define WORKER_ARG "--worker"
#define WORKER_LINK_FD 3  /* to the supervisor (link.h) */
#define WORKER_TABLE_FD 4 /* table.h */

/* Exit codes; any other: it failed, and the next one is tried. */
#define WORKER_ENDED 0 /* the mount is gone, everything is sent */
#define WORKER_LEFT 3  /* the mount is gone, something stays unsent */
#define WORKER_HANDED 4 /* LINK_LEAVE: the next one goes on */

int worker_main(int argc, char **argv);

#endif
