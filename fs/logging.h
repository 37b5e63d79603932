/* SPDX-License-Identifier: MIT */
/* Where the log goes: a file, stderr in the foreground, else syslog. */
#ifndef FS_LOGGING_H
#define FS_LOGGING_H

#include <stdbool.h>

#include "common/err.h"
#include "fs/options.h"

/* Once in a process; the descriptor stays open until it ends. */
int logging_start(const struct options *o, bool foreground, struct err *err);
/* Level, format and file as *o says now; a log file is opened anew, so that it
 * can be rotated.  On failure all is as before. */
int logging_change(const struct options *o, bool foreground, struct err *err);

#endif
