/* SPDX-License-Identifier: MIT */
/*
 * The conversation with the kernel: INIT (or its replay in a later worker),
 * then threads that read requests until the mount is gone.
 */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include "common/err.h"
#include "fs/fs.h"

struct session;

/* Takes over fd (/dev/fuse, mounted) in any case; sets fs->session, fs->se. */
int session_new(struct fs *fs, int fd, struct session **out, struct err *err);
/* Answers INIT; blocks until the kernel has sent it.  A table that has INIT
 * already: replays it for libfuse, the kernel hears nothing. */
/* The request that this thread has read last: its number, and whether the
 * kernel (or session_start) has given it to a worker ago. */
uint64_t session_request(bool *resent);
int session_init(struct session *s, struct err *err);
/* Lets threads handle requests.  A later worker also asks the kernel for the
 * requests that the one before it did not answer. */
int session_start(struct session *s, struct err *err);
/* No more requests are read; each thread ends with the one that it has.  Then
 * the mount is a next worker's. */
void session_leave(struct session *s);
/* Has no thread been busy with one request for longer than that?  (None waits
 * for the store.) */
bool session_is_well(const struct session *s, int64_t limit_ns);
int session_fd(const struct session *s); /* /dev/fuse */
int session_end_fd(const struct session *s); /* readable: the mount is gone */
bool session_is_gone(const struct session *s); /* asks the kernel, any time */
void session_join(struct session *s); /* after the end: no thread is left */
void session_free(struct session *s); /* after session_join() */

#endif
