/* SPDX-License-Identifier: MIT */
/*
 * Workers that were killed and can't end yet.
 *
 * The thread that tells the kernel to forget a name (notify.c) waits in it for
 * the directory.  A program may hold that while it waits for the answer to a
 * request; if the worker is killed then, the thread ends when a next worker has
 * answered, and not before.  It has nothing else to do, nor any file but
 * /dev/fuse, so that the next worker need not wait for it (rule 23).
 */
#ifndef FS_LINGER_H
#define FS_LINGER_H

#include <stdbool.h>
#include <sys/types.h>

/* Called by that thread before it first waits: of the process's files it keeps
 * fuse, the log and the standard ones.  Other threads see no change. */
void linger_keep_only(int fuse);

/* Of process pid, which was killed, is only such a thread left? */
bool linger_is(pid_t pid);

#define LINGER_THREAD "notify" /* its name */

#endif
