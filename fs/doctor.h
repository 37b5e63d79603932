/* SPDX-License-Identifier: MIT */
/* `sharedfs doctor`: which layer is in the way, and the cure. */
#ifndef FS_DOCTOR_H
#define FS_DOCTOR_H

#include "fs/options.h"

/* what: a source or a directory.  0: all is well; else 1. */
int doctor_command(const char *what, const struct options *opt);

#endif
