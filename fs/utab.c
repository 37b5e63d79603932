/* SPDX-License-Identifier: MIT */
/* See utab.h. */
#include <config.h>

#include "fs/utab.h"

#include <libmount.h>

#include "common/log.h"
#include "fs/kmount.h"

void
utab_add(const char *source, const char *dir)
{
	struct libmnt_update *upd = mnt_new_update();
	struct libmnt_fs *fs = mnt_new_fs();

	if (!upd || !fs || mnt_fs_set_source(fs, source) ||
	    mnt_fs_set_target(fs, dir) ||
	    mnt_fs_set_fstype(fs, MOUNT_TYPE) ||
	    mnt_fs_set_options(fs, "_netdev") ||
	    mnt_update_set_fs(upd, 0, NULL, fs) ||
	    mnt_update_table(upd, NULL))
		log_debug("mount", "%s: no entry in utab", dir);
	mnt_unref_fs(fs);
	mnt_free_update(upd);
}

void
utab_remove(const char *dir)
{
	int i;

	/* mount(8) adds one of its own for a line of fstab with _netdev, and
	 * each update takes one away. */
	for (i = 0; i < 2; i++) {
		struct libmnt_update *upd = mnt_new_update();

		if (upd && mnt_update_set_fs(upd, 0, dir, NULL) == 0)
			mnt_update_table(upd, NULL);
		mnt_free_update(upd);
	}
}
