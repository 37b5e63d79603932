/* SPDX-License-Identifier: MIT */
/* The path of a mount's control socket.  One thread. */
#ifndef FS_CONTROL_SOCKET_H
#define FS_CONTROL_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/mountinfo.h"

struct control_socket {
	int fd;	    /* listening; -1: none */
	char *path; /* by the mount's device number; NULL: not ours */
	ino_t ino;  /* is the path still ours? */
	const char *other; /* the path that the user wanted, or NULL */
};

/* Listens at `other`, with a link to it at the standard path, or there.  -errno
 * with words. */
int control_socket_listen(struct control_socket *s, const struct mount_entry *e,
			  struct err *err);
/* fd was handed to us: is e, which is mounted now where it was, its mount? */
bool control_socket_adopt(struct control_socket *s,
			  const struct mount_entry *e);
/* Removes what is still ours, and closes. */
void control_socket_end(struct control_socket *s);

#endif
