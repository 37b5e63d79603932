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

/* By another program, while this thread stands still. */
static void
end_by(const char *killer)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (fork() == 0) {
		execl(killer, killer, pid, NULL);
		_exit(127);
	}
	for (;;)
		pause();
}

void
fault_point(const char *name)
{
	const char *killer = getenv("SHAREDFS_FAULTS_KILLER");

	if (!fault_armed(name))
		return;
	if (killer)
		end_by(killer);
	kill(getpid(), SIGKILL);
}

void
fault_stop(const char *name)
{
	/* To this thread: what is sent to the process may be taken by another
	 * one, and this one would go on until that has run. */
	if (fault_armed(name))
		raise(SIGSTOP);
}

#endif
