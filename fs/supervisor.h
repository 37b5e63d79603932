/* SPDX-License-Identifier: MIT */
/*
 * The small process that holds the mount: /dev/fuse, the table, the control
 * socket.  It starts the worker, and the next one when that dies.  No threads,
 * no network, nothing that a store says ever gets here but words.
 */
#ifndef FS_SUPERVISOR_H
#define FS_SUPERVISOR_H

#include <stdbool.h>

#include "fs/options.h"

struct plan {
	const char *source;
	const char *dir;    /* canonical mount point */
	const char *at;	    /* where it is mounted first; mostly dir */
	const char *fsname; /* as mount(8) shall show it */
	struct options *opt; /* a reload changes it */
	bool foreground;
	/* To the mount command, which waits for LINK_LIVE or LINK_ERROR; the
	 * supervisor closes it. */
	int up;
};

/* Until the mount is gone; what the process shall exit with. */
int supervisor_run(const struct plan *plan);

#endif
