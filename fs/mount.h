/* SPDX-License-Identifier: MIT */
/* `sharedfs mount`: everything that can be said before anything is done. */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#include <stdbool.h>

#include "fs/options.h"

/* Returns when the mount is live (foreground: when it is gone); what to exit
 * with. */
int mount_command(const char *source, const char *dir, struct options *opt,
		  bool foreground);

#endif
