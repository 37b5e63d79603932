/* SPDX-License-Identifier: MIT */
/*
 * What DIR is when a run begins.  A cut-over may have been done, or ended by a
 * kill or a reboot at any moment; the journal has what it was about to do, and
 * the inode number of the tree tells which of the two directories it is.
 *
 *   old      DIR.before-sharedfs
 *   tree     the inode number of the tree
 *   cutover  begun; done: DIR is the share; over: nothing is left to do; undo:
 *            the tree comes back to its place
 */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mountinfo.h"

/* Of a run that was killed before it exchanged anything. */
static int
clear_away(struct mig *m, const char *old, struct err *err)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };

	if (mountinfo_at(old, &e) == 1 &&
	    strncmp(e.type, "fuse.sharedfs", 13) == 0 &&
	    mig_mount_stop(old, err) < 0)
		return err->code;
	if (rmdir(old) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove %s: %s", old,
			       strerror(errno));
	mig_journal_set(m->journal, "cutover", NULL);
	return 0;
}

/* Of what is mounted on DIR; NULL: no share is. */
static char *
share_at(const char *dir)
{
	struct mount_entry e = { 0 };
	char *source = NULL;

	if (mountinfo_at(dir, &e) == 1 &&
	    strncmp(e.type, "fuse.sharedfs", 13) == 0)
		source = steal_ptr(&e.source);
	mount_entry_release(&e);
	return source;
}

static bool
has_inode(const struct stat *st, const char *number)
{
	return number && st->st_ino == strtoull(number, NULL, 10);
}

int
mig_place_find(struct mig *m, enum mig_place *place, struct err *err)
{
	_cleanup_free_ char *state = mig_journal_value(m->journal, "cutover");
	_cleanup_free_ char *tree = mig_journal_value(m->journal, "tree");
	_cleanup_free_ char *old = mig_journal_value(m->journal, "old");
	_cleanup_free_ char *share = share_at(m->dir);
	struct stat st;

	*place = MIG_PLACE_TREE;
	if (share && (!state || !old || strcmp(share, m->a->source) != 0))
		return err_set(err, -EBUSY, "%s is a share already (%s)",
			       m->dir, share);
	if (!state || !old)
		return 0;
	if (share) {
		*place = MIG_PLACE_SHARE;
		return 0;
	}
	if (has_inode(&m->root_st, tree)) {
		if (strcmp(state, "undo") != 0)
			return m->a->dry_run ? 0 : clear_away(m, old, err);
		return m->a->undo ? 0 :
				    err_set(err, -EBUSY,
					    "an --undo of %s was interrupted: "
					    "run it again",
					    m->dir);
	}
	if (lstat(old, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    (tree && !has_inode(&st, tree)))
		return err_set(err, -ENOENT,
			       "%s became a share, and neither it nor %s is "
			       "the old tree.  To migrate anew what is there "
			       "now, remove %s",
			       m->dir, old, mig_journal_dir(m->journal));
	*place = MIG_PLACE_BARE;
	return 0;
}

int
mig_place_use_old(struct mig *m, struct err *err)
{
	_cleanup_free_ char *old = mig_journal_value(m->journal, "old");
	_cleanup_free_ char *share = mig_journal_value(m->journal, "share");

	/* The descriptor of DIR would keep the share busy. */
	close(m->root);
	m->root = open(old, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root < 0 || fstat(m->root, &m->root_st) < 0)
		return err_set(err, -errno, "the old tree %s: %s", old,
			       strerror(errno));
	m->dev = m->root_st.st_dev;
	m->root_ours = share && strcmp(share, "ours") == 0;
	return 0;
}
