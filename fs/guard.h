/* SPDX-License-Identifier: MIT */
/*
 * The bare mount point made immutable, so that nobody writes to the host's
 * disk while the share is not mounted: a container that starts too early gets
 * EPERM instead of a directory that will be hidden.  Mounting over it works.
 */
#ifndef FS_GUARD_H
#define FS_GUARD_H

#include <stdbool.h>

#include "common/err.h"

/* Before mounting.  0 also if it was set; -EOPNOTSUPP and words: this file
 * system or user can't.  *empty: nothing is in the directory. */
int guard_set(const char *dir, bool *empty, struct err *err);
/* After unmounting; dir must be the bare directory again. */
int guard_clear(const char *dir);

#endif
