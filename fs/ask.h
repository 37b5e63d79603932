/* SPDX-License-Identifier: MIT */
/* The control socket from outside: one question, and lines of JSON back. */
#ifndef FS_ASK_H
#define FS_ASK_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/mountinfo.h"

struct asked {
	int fd;
	struct buf in;
};

/* -ENOENT, -ECONN…: nobody listens. */
int ask_begin(const struct mount_entry *e, json_t *req, struct asked *a,
	      struct err *err);
/* The next line of the answer; *out is the caller's.  -ETIMEDOUT: not within
 * wait_ms (-1: wait on). */
int ask_more(struct asked *a, int wait_ms, json_t **out, struct err *err);
/* Another line in the same conversation. */
int ask_say(struct asked *a, json_t *line, struct err *err);
void ask_end(struct asked *a);

#endif
