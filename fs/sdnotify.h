/* SPDX-License-Identifier: MIT */
/* What systemd wants to hear of a service of Type=notify; a datagram, and
 * nothing at all where nobody listens. */
#ifndef FS_SDNOTIFY_H
#define FS_SDNOTIFY_H

#include <stdint.h>

/* "READY=1", "STATUS=…"; see sd_notify(3). */
void sdnotify(const char *state);
/* How often "WATCHDOG=1" is due, ns (half of what the unit allows); 0: never. */
int64_t sdnotify_period(void);

#endif
