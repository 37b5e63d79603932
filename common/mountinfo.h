/* SPDX-License-Identifier: MIT */
/* What is mounted where, from /proc/self/mountinfo, and is it alive. */
#ifndef COMMON_MOUNTINFO_H
#define COMMON_MOUNTINFO_H

#include <stdio.h>

struct mount_entry {
	int id, parent;
	unsigned major, minor;
	char *root, *target;
	char *options;	     /* of this mount: "rw,nosuid,nodev,relatime" */
	char *type, *source; /* "fuse.sharedfs", what fstab's field 1 says */
	char *super_options; /* of the file system */
};
void mount_entry_release(struct mount_entry *m);
static inline void
mount_entry_releasep(struct mount_entry *e)
{
	mount_entry_release(e);
}
#define _cleanup_mount_entry_ __attribute__((cleanup(mount_entry_releasep)))

/* One line; escapes such as \040 are undone.  0 or -EINVAL. */
int mountinfo_parse(const char *line, struct mount_entry *out);
/* The topmost mount exactly at dir (an absolute path without symlinks).
 * 1: *out is the caller's.  0: nothing is mounted there.  -errno. */
int mountinfo_at(const char *dir, struct mount_entry *out);
int mountinfo_find(FILE *f, const char *dir, struct mount_entry *out);
/* Is the word (no value) among the options "a,b=c,d"? */
int mount_has_option(const char *options, const char *word);

/*
 * Asks the file system at dir whether it is there, without being held up: 0,
 * -ENOTCONN (its daemon is gone), -ETIMEDOUT (no answer within timeout_ms, as
 * with a store that is down), or statfs's -errno.
 */
int mountpoint_probe(const char *dir, int timeout_ms);

#endif
