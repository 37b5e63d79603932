/* SPDX-License-Identifier: MIT */
/* The share's mount, as the cut-over and its undo need it. */
#ifndef MOUNT_HELPERS_MIGRATE_MOUNT_H
#define MOUNT_HELPERS_MIGRATE_MOUNT_H

#include "mount-helpers/migrate-priv.h"

/* sharedfs mount SOURCE at, which will be moved to m->dir. */
int mig_mount_start(struct mig *m, const char *at, struct err *err);
/* Drains and unmounts. */
int mig_mount_stop(const char *at, struct err *err);
/* The worker of the share that is mounted at dir. */
int mig_mount_worker(const char *dir, pid_t *pid, struct err *err);

/*
 * Holds the share: its worker is stopped, so whoever calls into it waits.  A
 * watchman lets it go if we die, and after a few seconds in any case.
 */
struct mig_hold {
	pid_t worker, watchman;
	int pipe;
};
int mig_hold_begin(struct mig_hold *h, pid_t worker);
void mig_hold_end(struct mig_hold *h);

/* Puts what is mounted at `from` over the directory `to` too; then `from` may
 * be unmounted.  fd: of mig_mount_clone(). */
int mig_mount_clone(const char *from);
int mig_mount_put(int fd, const char *to);

/* "SOURCE DIR sharedfs OPTIONS 0 0"; the caller's. */
char *mig_fstab_line(struct mig *m);
int mig_fstab_add(struct mig *m, const char *line, struct err *err);

#endif
