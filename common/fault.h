/* SPDX-License-Identifier: MIT */
/*
 * Named places where a test can have this process killed, at exactly that
 * instruction: FAULT_POINT("name") in a --enable-dev build, started with
 * SHAREDFS_FAULTS=DIR in the environment, removes DIR/name and, if it was
 * there, ends by SIGKILL.  So each file that a test makes kills once, whichever
 * process comes by first.  FAULT_STOP is the same with SIGSTOP: the test changes
 * what it likes and lets the process go on.  Other builds have nothing of it.
 *
 * SHAREDFS_FAULTS_KILLER=PROGRAM: `PROGRAM PID` is to end the process instead
 * (tests/lib/kill-still.c), and the thread waits for that.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include <stdbool.h>

#ifdef SHAREDFS_DEV
/* true: the file was there (and is gone now). */
bool fault_armed(const char *name);
void fault_point(const char *name);
void fault_stop(const char *name);
#define FAULT_POINT(name) fault_point(name)
#define FAULT_STOP(name) fault_stop(name)
#else
static inline bool
fault_armed(const char *name)
{
	(void)name;
	return false;
}
#define FAULT_POINT(name) ((void)0)
#define FAULT_STOP(name) ((void)0)
#endif

#endif
