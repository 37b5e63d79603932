/* SPDX-License-Identifier: MIT */
/*
 * What the worker gives up before it talks to a store: capabilities that it
 * never needs, also for the programs that it runs (credential_process), and
 * being looked into: no core dump and no debugger of its user sees the keys.
 */
#ifndef FS_CONFINE_H
#define FS_CONFINE_H

/* Once, before any thread.  As good as it goes: what can't be given up is not
 * worth a mount. */
void confine_worker(void);

#endif
