/* SPDX-License-Identifier: MIT */
/* The commands that talk to a mount that is there. */
#ifndef FS_CLIENT_H
#define FS_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/mountinfo.h"
#include "common/err.h"

enum client_format { CLIENT_TEXT, CLIENT_JSON, CLIENT_CHECK };

/* Both: what to exit with. */
int client_status(const char *dir, enum client_format format);
int client_umount(const char *dir, bool force, bool lazy);

/* Asks the mount's control socket; *out is the caller's.  -ENOENT, -ECONN…:
 * nobody listens.  -ETIMEDOUT: no answer within wait_ms (-1: wait on). */
int client_ask(const struct mount_entry *e, const char *cmd, int wait_ms,
	       json_t **out, struct err *err);

#endif
