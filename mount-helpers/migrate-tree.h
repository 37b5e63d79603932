/* SPDX-License-Identifier: MIT */
/* What the preflight counts. */
#ifndef MOUNT_HELPERS_MIGRATE_TREE_H
#define MOUNT_HELPERS_MIGRATE_TREE_H

#include "mount-helpers/migrate-priv.h"

#define MIG_EXAMPLES 3

enum mig_odd {
	MIG_ODD_HARD_LINK,
	MIG_ODD_SPARSE,
	MIG_ODD_XATTR,
	MIG_ODD_ACL,
	MIG_ODD_SETID,
	MIG_ODD_FIFO,
	MIG_ODD_SOCKET,
	MIG_ODD_DEVICE,
	MIG_ODD_NAME,
	MIG_ODD_LONG,
	MIG_ODD_RESERVED,
	MIG_ODD_MOUNT,
	MIG_ODD_UNREADABLE,
	MIG_ODDS,
};
struct mig_oddity {
	uint64_t n;
	unsigned shown;
	char *example[MIG_EXAMPLES];
};
struct mig_tree {
	uint64_t files, bytes, dirs, symlinks;
	uint64_t known, carried; /* of these the journal has files, bytes */
	bool bad_names_ok;	 /* the store has names that are not UTF-8 */
	struct mig_oddity odd[MIG_ODDS];
};
int mig_tree_walk(struct mig *m, struct mig_tree *t, struct err *err);
void mig_tree_release(struct mig_tree *t);

#endif
