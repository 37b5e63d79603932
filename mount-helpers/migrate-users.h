/* SPDX-License-Identifier: MIT */
/* Who uses a tree, and what programs are just at in it. */
#ifndef MOUNT_HELPERS_MIGRATE_USERS_H
#define MOUNT_HELPERS_MIGRATE_USERS_H

#include "mount-helpers/migrate-priv.h"

/* A process with a file or a working directory below a directory. */
struct mig_user {
	pid_t pid;
	char name[32];
	unsigned files, writing; /* open; of these for writing */
	bool cwd;		 /* or its root */
};
/* Those below dir, but ourselves; the caller's.  Never blocks. */
struct mig_user *mig_users(const char *dir, size_t *n);
/* Has it a file below dir open for writing? */
bool mig_user_writes(pid_t pid, const char *dir);
void mig_say_users(struct mig *m);

/* Waits until each thread of these processes (NULL: of all on this host) that is
 * ready to run has run for `quantum` ns or waits for something, and each that is
 * just truncating a file, or writing or syncing if v has it, has done so; or
 * until then. */
void mig_let_run(const struct mig_user *v, size_t n, uint64_t quantum,
		 int64_t until);

/*
 * What is still under way in the tree that a cut-over has moved aside.  A call
 * that had found its directory before may not have come to that directory's lock
 * yet, on a busy host; or it waits for the lock, behind others or behind the
 * disk.  Then there are files that are open for writing.
 */
struct mig_settle;
/* Beforehand, since there are many names.  old: where the tree will be. */
struct mig_settle *mig_settle_new(struct mig *m, const char *old);
/* The tree has been moved.  A thread looks, until then at most. */
void mig_settle_begin(struct mig_settle *s, int64_t until);
/* Whoever had begun before has ended, or has a file open. */
bool mig_settle_passed(struct mig_settle *s);
/* Of these, has one a file open for writing that it had then? */
bool mig_settle_written(struct mig_settle *s);
/* Lets those run who would have closed it by now if they could. */
void mig_settle_let_write(struct mig_settle *s, int64_t until);
void mig_settle_free(struct mig_settle *s); /* waits for the thread */

#endif
