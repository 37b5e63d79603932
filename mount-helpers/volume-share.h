/* SPDX-License-Identifier: MIT */
/*
 * The one share that the plugin's volumes are directories of, and the place
 * where each volume is mounted for dockerd: a bind of its directory.
 *
 * The directory is found without following a symlink and is bound by
 * descriptor, so that nothing in the share can lead a container out of it.
 * May block on the store.  No locks: the caller's.
 */
#ifndef MOUNT_HELPERS_VOLUME_SHARE_H
#define MOUNT_HELPERS_VOLUME_SHARE_H

#include "common/err.h"

struct share {
	char *source;	/* NULL: somebody else mounts it on dir */
	char *options; /* of mount.sharedfs; NULL */
	char *dir;	     /* where it is mounted */
	char *mounts;	     /* the volumes' mount points are below */
};

/* Mounted, and alive; a dead mount is replaced. */
int share_up(const struct share *s, struct err *err);
/* Sends what is unsent, and unmounts; only what share_up() mounted. */
int share_down(const struct share *s, struct err *err);
/* Where a volume is or would be mounted; the caller's. */
char *share_mountpoint(const struct share *s, const char *name);
/* Makes the volume's directory if it is missing, and binds it; again is no
 * error, and replaces a bind of a mount that is gone. */
int share_bind(const struct share *s, const char *name, const char *subdir,
	       struct err *err);
void share_unbind(const struct share *s, const char *name);
/* Everything below, and the directory.  0 if there is none. */
int share_purge(const struct share *s, const char *subdir, struct err *err);

#endif
