/* SPDX-License-Identifier: MIT */
/*
 * Messages between the mount command, the supervisor and the worker: one
 * letter, words, and up to two descriptors, over a SOCK_SEQPACKET pair.
 */
#ifndef FS_LINK_H
#define FS_LINK_H

#include <stddef.h>

enum link_kind {
	/* worker -> supervisor */
	LINK_PROBED = 'P', /* the store was asked; text: cache instance */
	LINK_LIVE = 'L',   /* INIT is answered; -> mount command as well */
	LINK_DRAINED = 'N', /* answer to LINK_DRAIN; text: what is left */
	LINK_OPTION = 'O',  /* for later workers; text: options_arg() */
	LINK_STOP = 'S',    /* somebody asked for the end (control socket) */
	LINK_UPGRADE = 'U', /* the installed binary is to go on; fd: a pipe for
			     * the words if it can't */
	LINK_PONG = 'p',    /* answer to LINK_PING: requests are handled */
	LINK_DONE = 'X',    /* it ends; text: with which code */
	/* worker -> supervisor -> mount command */
	LINK_ERROR = 'E', /* the end, with words */
	LINK_WARN = 'W',
	/* supervisor -> worker */
	LINK_GO = 'G',	  /* mounted; fds: /dev/fuse, control socket; text:
			   * how the worker before ended, "" = no matter */
	LINK_ADOPTED = 'A', /* from a new supervisor; text: its pid */
	LINK_LEAVE = 'V',   /* finish what is under way, then end */
	LINK_PING = 'i',
	LINK_RELOAD = 'R', /* read the config file again */
	LINK_DRAIN = 'D', /* send what is unsent, then answer */
};

#define LINK_TEXT_MAX 8000
struct link_msg {
	enum link_kind kind;
	int fds[2]; /* -1 = none; the receiver's to close */
	char text[LINK_TEXT_MAX];
};

int link_pair(int sv[2]); /* 0 or -errno; close on exec */
/* text may be NULL (and is cut if too long).  0 or -errno; never blocks long,
 * the other side being gone is -EPIPE. */
int link_send(int fd, enum link_kind kind, const char *text, int fd1, int fd2);
/* 0, or -EPIPE: the other side is gone.  Blocks. */
int link_recv(int fd, struct link_msg *m);

#endif
