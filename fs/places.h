/* SPDX-License-Identifier: MIT */
/* Where things are that nobody gave a path for. */
#ifndef FS_PLACES_H
#define FS_PLACES_H

#include <sys/types.h>

#include "common/err.h"
#include "common/mountinfo.h"
#include "fs/options.h"

/* Directory of sockets and locks; made if missing, ours alone.  All results
 * are the caller's; NULL with words. */
char *places_run_dir(struct err *err);
/* The control socket of a mount: by its device number, which no other has while
 * it lives, in whatever mount namespace. */
char *places_socket(const struct mount_entry *e, struct err *err);
char *places_cache_dir(const struct options *o, struct err *err);
/* Names a mount within the cache directory: source and place. */
char *places_instance(const char *source, const char *dir);
/* Waits for, and takes, the right to mount on dir; a descriptor or -errno. */
int places_lock_mount(const char *dir, struct err *err);
/* The same for making and removing control sockets: the kernel may give our
 * device number to another mount before our socket is removed. */
int places_lock_sockets(struct err *err);

/* Absolute, symlinks resolved, without a look at the last segment if that is
 * a mount point (its store may be down).  NULL and errno. */
char *places_canonical(const char *path);
/* The mount that path lies in, found without touching it.  1, 0 (no mount of
 * ours) or -errno; e is the caller's on 1. */
int places_mount_of(const char *path, struct mount_entry *e);

#endif
