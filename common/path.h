/* SPDX-License-Identifier: MIT */
/*
 * Paths inside the share: relative, "" is the root, segments divided by one
 * '/', none of them "", "." or "..", no leading or trailing '/'.
 */
#ifndef COMMON_PATH_H
#define COMMON_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define PATH_SEGMENT_MAX 255 /* NAME_MAX of Linux */

bool path_name_ok(const char *name, size_t len); /* one segment, see above */
bool path_ok(const char *path);
/* Both results are the caller's. */
char *path_join(const char *dir, const char *name);
char *path_dir(const char *path);	    /* "" for a name in the root */
const char *path_base(const char *path);    /* points into path */
/* Is path == dir or below dir? */
bool path_within(const char *path, const char *dir);
/* path is within from: the same place within to.  Caller frees. */
char *path_rebase(const char *path, const char *from, const char *to);

#endif
