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

/*
 * A supervisor that was killed is replaced by its worker, which starts
 *
 *   sharedfs --supervisor PID NUMBER foreground|daemon INSTANCE SOURCE DIR
 *            FSNAME [--opt=v…]
 *
 * (its own pid and number) with these descriptors.
 */
#define SUPERVISOR_ARG "--supervisor"
#define SUPERVISOR_LINK_FD 3
#define SUPERVISOR_TABLE_FD 4
#define SUPERVISOR_FUSE_FD 5
#define SUPERVISOR_CONTROL_FD 6
#define SUPERVISOR_PIDFD 7
int supervisor_again_main(int argc, char **argv);

#endif
