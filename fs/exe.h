/* SPDX-License-Identifier: MIT */
/*
 * Which binary the next worker is: the one that the supervisor runs, until an
 * upgrade puts the installed one in its place.  Held open, so that a package
 * manager may do with the file what it likes.
 */
#ifndef FS_EXE_H
#define FS_EXE_H

#include "common/err.h"

#define EXE_CHECK_ARG "--worker-check"

/* What this process runs: an open descriptor, and the path where it is
 * installed (the caller frees). */
int exe_self(int *fd, char **path, struct err *err);
/*
 * The binary at path, if it says that it can take over the table.  Takes a
 * moment: it is run.  -errno with words; *fd is the caller's.
 */
int exe_candidate(const char *path, int table, int *fd, struct err *err);
/* As execv(); returns only on failure. */
void exe_exec(int fd, char **argv);
/* The candidate's side; an exit code. */
int exe_check_main(void);

#endif
