/* SPDX-License-Identifier: MIT */
/*
 * The entry in mount(8)'s own table, /run/mount/utab.  umount(8) looks for our
 * helper, which waits for unsent bytes, only if there is one; and `_netdev` in
 * it makes systemd unmount before the network goes down.
 *
 * Nobody depends on it: what can't be written is no error.
 */
#ifndef FS_UTAB_H
#define FS_UTAB_H

void utab_add(const char *source, const char *dir);
void utab_remove(const char *dir);

#endif
