/* SPDX-License-Identifier: MIT */
/*
 * The control socket: one request per connection, a line of JSON each way.
 *
 *   {"cmd":"status"}   state and numbers (docs: sharedfs.8)
 *   {"cmd":"pending"}  names with unsent bytes
 *   {"cmd":"drain"}    sends them; ok, or what is left
 *   {"cmd":"wait"}     says {"ended":true} when the mount is gone, and then
 *                      the result as drain does
 *   {"cmd":"reload"}   reads the config file again; with "options":{name:value}
 *                      these are changed, all or none; with "dry":true
 *                      nothing is, and the answer says whether it can be.
 *                      ok, "changed" and "left" (what can't change live)
 *   {"cmd":"upgrade"}  the installed binary takes over as worker; ok (it
 *                      begins), or why not
 *   {"cmd":"freeze"}   ok; from then on each line is answered:
 *                      {} with what this node has changed in the store since
 *                      the last answer: "changed", "trees" (moved, with all
 *                      below), "lost" (there was more).
 *                      {"wait_ms":n}: nothing changes by way of a path any more
 *                      (freeze.h); ok and the changes until then, or why not.
 *                      Until the next line: {"moved":true} sends those that
 *                      waited back to look their paths up again, and is
 *                      answered with how many.  Anything else, a closed
 *                      connection or a minute let them go on
 *   {"cmd":"stop"}     as SIGTERM to the supervisor
 *
 * Answered to root and to the user that the worker runs as.
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "fs/fs.h"

struct control;

struct control_info {
	struct fs *fs;
	const char *source, *dir;
	pid_t supervisor;
	unsigned worker; /* 0: the first */
	const char *last_end; /* how the worker before ended; or NULL */
	bool crash_loop;      /* not for the first time */
	int link;	 /* for "stop" */
	/* Once the cache is there: which instance it is. */
	char *const *instance;
};

/* Takes over listen_fd. */
struct control *control_new(int listen_fd, const struct control_info *info);
/* There is a new supervisor. */
void control_adopted(struct control *c, pid_t supervisor);
/* From now on fs->cache is there. */
void control_ready(struct control *c);
void control_ended(struct control *c); /* the mount is gone */
/* The result for those who wait; no request touches the cache any more after
 * it returns. */
void control_finish(struct control *c, const char *left);
void control_free(struct control *c);

/* Sends what is unsent, for drain_timeout at most.  0, or -errno and words. */
int control_drain(struct fs *fs, struct err *err);

#endif
