/* SPDX-License-Identifier: MIT */
/* See fault.h. */
#include <config.h>

#include "common/fault.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef SHAREDFS_DEV

bool
fault_armed(const char *name)
{
	const char *dir = getenv("SHAREDFS_FAULTS");
	char path[PATH_MAX];

	if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, name) >=
			    (int)sizeof(path))
		return false;
	return unlink(path) == 0;
}

void
fault_point(const char *name)
{
	if (fault_armed(name))
		kill(getpid(), SIGKILL);
}

void
fault_stop(const char *name)
{
	if (fault_armed(name))
		kill(getpid(), SIGSTOP);
}

#endif
