/* SPDX-License-Identifier: MIT */
/*
 * The volumes that dockerd knows, in a file that is replaced at each change,
 * so that they outlive the plugin.
 *
 * Who uses a volume is a set of dockerd's mount ids and no count: after a crash
 * dockerd mounts again under the same id, and an unmount may never come.  The
 * set is empty after a boot.  No locks: the caller's.
 */
#ifndef MOUNT_HELPERS_VOLUME_SET_H
#define MOUNT_HELPERS_VOLUME_SET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct volumes;

/* file: read if it is there.  -EBADMSG: it makes no sense. */
int volumes_open(const char *file, struct volumes **out, struct err *err);
void volumes_free(struct volumes *v);

/* opts: of the request, may be NULL.  The same again is no error; -EEXIST:
 * there is one of that name with other options; -EINVAL: name or option. */
int volumes_create(struct volumes *v, const char *name, json_t *opts,
		   struct err *err);
/* -EBUSY: somebody uses it.  -ENOENT. */
int volumes_check_remove(struct volumes *v, const char *name,
			 struct err *err);
int volumes_remove(struct volumes *v, const char *name, struct err *err);

/* Borrowed until the volume changes; NULL with words. */
const char *volumes_subdir(struct volumes *v, const char *name,
			   struct err *err);
/* Shall its data go with it? */
bool volumes_purge(struct volumes *v, const char *name);
/* Another volume in whose data this one's lies, or the other way round. */
const char *volumes_overlap(struct volumes *v, const char *name);
const char *volumes_created(struct volumes *v, const char *name);
size_t volumes_users(struct volumes *v, const char *name);
size_t volumes_all_users(struct volumes *v);

int volumes_use(struct volumes *v, const char *name, const char *id,
		struct err *err);
/* An id that is not there is no error. */
int volumes_unuse(struct volumes *v, const char *name, const char *id,
		  struct err *err);
void volumes_each(struct volumes *v, void (*fn)(void *arg, const char *name),
		  void *arg);

#endif
