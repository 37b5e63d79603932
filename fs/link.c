/* SPDX-License-Identifier: MIT */
/* See link.h. */
#include <config.h>

#include "fs/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int
link_pair(int sv[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	return 0;
}

int
link_send(int fd, enum link_kind kind, const char *text, int fd1, int fd2)
{
	size_t len = text ? strnlen(text, LINK_TEXT_MAX - 1) : 0;
	char letter = kind;
	struct iovec iov[2] = { { &letter, 1 },
				{ (void *)(text ? text : ""), len } };
	union {
		char space[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	int fds[2] = { fd1, fd2 };
	size_t nfds = fd1 < 0 ? 0 : fd2 < 0 ? 1 : 2;

	if (nfds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		m.msg_control = ctl.space;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	while (sendmsg(fd, &m, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int
link_recv(int fd, struct link_msg *msg)
{
	char letter;
	struct iovec iov[2] = { { &letter, 1 },
				{ msg->text, sizeof(msg->text) - 1 } };
	union {
		char space[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct msghdr m = { .msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = ctl.space,
			    .msg_controllen = sizeof(ctl.space) };
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return -EPIPE;
	msg->kind = letter;
	msg->text[n - 1] = '\0';
	msg->fds[0] = msg->fds[1] = -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len <= CMSG_LEN(sizeof(msg->fds)))
		memcpy(msg->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return 0;
}
