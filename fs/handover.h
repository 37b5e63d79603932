/* SPDX-License-Identifier: MIT */
/* A worker's part in giving the mount to the next one, and in replacing a
 * supervisor that was killed. */
#ifndef FS_HANDOVER_H
#define FS_HANDOVER_H

#include "fs/fs.h"

/* LINK_LEAVE: reads no more requests, waits for those under way (not for ever:
 * rule 3 covers the rest) and for what runs in the pools, then ends the
 * process.  up: the mount is served. */
void handover_leave(struct fs *fs, bool up) __attribute__((noreturn));

struct handover {
	struct fs *fs;
	unsigned number; /* of this worker */
	bool foreground;
	const char *instance, *source, *dir;
	int control; /* listening */
};
/* Starts a supervisor with all that it needs to hold; WORKER_LINK_FD leads to
 * it then.  -errno with words. */
int handover_supervisor(const struct handover *h, struct err *err);

#endif
