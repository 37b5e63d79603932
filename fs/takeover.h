/* SPDX-License-Identifier: MIT */
/* What a killed worker has left in the cache directory, and whose it is. */
#ifndef FS_TAKEOVER_H
#define FS_TAKEOVER_H

#include "fs/fs.h"

/* Gives the cache's staged bytes back to the handles that the table has, before
 * any request is served.  Asks nothing of the store. */
void takeover(struct fs *fs);

#endif
