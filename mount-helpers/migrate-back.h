/* SPDX-License-Identifier: MIT */
/* From the store to the old tree: one name (migrate-back.c), and which names
 * (migrate-back-walk.c). */
#ifndef MOUNT_HELPERS_MIGRATE_BACK_H
#define MOUNT_HELPERS_MIGRATE_BACK_H

#include "mount-helpers/migrate-priv.h"

struct back {
	struct mig *m;
	int64_t since; /* seconds; attributes changed after it */
	atomic_ullong changes;
	mig_changed_fn *on_change; /* may be NULL */
	void *arg;
};
/* The old tree's file system takes no more. */
bool back_is_full(int r);

/* Brings the old tree's `here` up to date with the store's path, whose
 * attributes are *a; of a directory not what is in it.  Any thread, one at a
 * time for a name.  1: it is a directory that the old tree has too.  0: it was
 * brought, or listed as what can't be.  -errno: go no further; if
 * back_is_full() it is listed. */
int back_entry(struct back *b, const char *path, const char *here,
	       struct be_attr *a);
/* The store no longer has it. */
void back_gone(struct back *b, const char *here);

#endif
