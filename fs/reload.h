/* SPDX-License-Identifier: MIT */
/*
 * Options of a live mount: from the config file read anew (SIGHUP, `sharedfs
 * reload`), or named by somebody (`sharedfs reload -o`, `mount -o remount`).
 *
 * Which can change is a table in reload.c.  A reload also makes the store ask
 * for its credentials again and opens the log file anew.
 *
 * The texts of fs->opt may change from here on: they are read through
 * reload_each_option(), or while reload_hold() holds changes off.
 */
#ifndef FS_RELOAD_H
#define FS_RELOAD_H

#include "common/buf.h"
#include "common/err.h"
#include "fs/fs.h"

/* opt is fs->opt and stays the caller's.  link: the supervisor learns what the
 * next worker shall run with. */
struct reload *reload_new(struct fs *fs, struct options *opt, bool foreground,
			  int link);
void reload_free(struct reload *r);

/* From now on every reload is refused: the layers are taken down. */
void reload_stop(struct reload *r);

/* While the chain of layers is built from the options. */
void reload_hold(struct reload *r);
void reload_go(struct reload *r);

/* "actimeo=5 (was 1)", one a line. */
struct reload_result {
	struct buf changed;
	struct buf left; /* can't change while the mount is live */
};
void reload_result_release(struct reload_result *res);

/* The config file and the environment, as at mount.  What can change does, the
 * rest is listed.  0, or -EINVAL and words: nothing was changed. */
int reload_config(struct reload *r, struct reload_result *res,
		  struct err *err);
/*
 * What `named` holds of rank OPTIONS_CLI: all or nothing.  -EOPNOTSUPP: *res
 * lists what can't change.  dry: nothing changes, only the answer comes.
 */
int reload_named(struct reload *r, const struct options *named, bool dry,
		 struct reload_result *res, struct err *err);

void reload_each_option(struct reload *r,
			void (*fn)(void *arg, const char *name,
				   const char *value),
			void *arg);

#endif
