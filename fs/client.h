/* SPDX-License-Identifier: MIT */
/* The commands that talk to a mount that is there. */
#ifndef FS_CLIENT_H
#define FS_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/mountinfo.h"
#include "common/err.h"
#include "fs/options.h"

enum client_format { CLIENT_TEXT, CLIENT_JSON, CLIENT_CHECK };

/* Both: what to exit with. */
int client_status(const char *dir, enum client_format format);
/* The installed binary takes over; returns when it serves. */
int client_upgrade(const char *dir);
int client_umount(const char *dir, bool force, bool lazy);

/* `named` NULL: the config file is read again.  Else these options change. */
int client_reload(const char *dir, const struct options *named);
/* What `named` holds of rank OPTIONS_CLI, all or nothing; dry: only says
 * whether that can be.  0, or words (by prefix) on stderr. */
int client_change(const struct mount_entry *e, const struct options *named,
		  bool dry, struct err *err);

/* Asks the mount's control socket; *out is the caller's.  -ENOENT, -ECONN…:
 * nobody listens.  -ETIMEDOUT: no answer within wait_ms (-1: wait on). */
int client_ask(const struct mount_entry *e, const char *cmd, int wait_ms,
	       json_t **out, struct err *err);

/* For sharedfs recover: drops a file that was given up. */
int client_discard(const struct mount_entry *e, const char *name, json_t **out,
		   struct err *err);

#endif
