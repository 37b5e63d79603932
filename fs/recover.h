/* SPDX-License-Identifier: MIT */
/* sharedfs recover: what to do with bytes that no close() acknowledged. */
#ifndef FS_RECOVER_H
#define FS_RECOVER_H

/* argv behind "recover".  What to exit with: 0, 1 (it did not work), 2. */
int recover_command(int argc, char **argv);

#endif
