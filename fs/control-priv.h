/* SPDX-License-Identifier: MIT */
/* The parts of the control socket among themselves. */
#ifndef FS_CONTROL_PRIV_H
#define FS_CONTROL_PRIV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/control.h"

/* fs->cache is there and stays until control_cache_end(); false: it is not. */
bool control_cache_begin(struct control *c);
void control_cache_end(struct control *c);
bool control_has_ended(struct control *c); /* the mount is gone */

/* One line.  Takes over o.  -errno. */
int control_send(int fd, json_t *o);
/* One line of less than cap bytes; false: none came. */
bool control_read(int fd, char *line, size_t cap);

/* The conversation of {"cmd":"freeze"}, to its end. */
void control_freeze(struct control *c, struct fs *fs, int fd);

#endif
