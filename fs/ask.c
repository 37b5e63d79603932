/* SPDX-License-Identifier: MIT */
/* See ask.h. */
#include <config.h>

#include "fs/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "fs/places.h"

static int
send_line(int fd, json_t *req, struct err *err)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	char *text = req ? json_dumps(req, JSON_COMPACT) : NULL;

	buf_addstr(&line, text ? text : "");
	buf_addch(&line, '\n');
	free(text);
	if (send(fd, line.s, line.len, MSG_NOSIGNAL) != (ssize_t)line.len)
		return err_set(err, -EIO, "the control socket takes no line");
	return 0;
}

int
ask_begin(const struct mount_entry *e, json_t *req, struct asked *a,
	  struct err *err)
{
	_cleanup_free_ char *path = places_socket(e, err);
	_cleanup_close_ int fd = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int r;

	if (!path)
		return err->code ? err->code : -EACCES;
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s is too long", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_set(err, -errno, "control socket %s: %s", path,
			       strerror(errno));
	r = send_line(fd, req, err);
	if (r < 0)
		return r;
	a->fd = steal_fd(&fd);
	a->in = (struct buf)BUF_INIT;
	return 0;
}

void
ask_end(struct asked *a)
{
	close(a->fd);
	buf_release(&a->in);
}

/* The next line of the answer. */
int
ask_more(struct asked *a, int wait_ms, json_t **out, struct err *err)
{
	int64_t until = clock_mono_ns() + wait_ms * NSEC_PER_MSEC;
	struct pollfd p = { .fd = a->fd, .events = POLLIN };
	char *end;

	while (!a->in.len || !(end = strchr(a->in.s, '\n'))) {
		int64_t left = (until - clock_mono_ns()) / NSEC_PER_MSEC;
		char chunk[4096];
		ssize_t n;
		int r;

		r = poll(&p, 1, wait_ms < 0 ? -1 : left < 0 ? 0 : (int)left);
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			return err_set(err, -ETIMEDOUT,
				       "the worker does not answer");
		n = recv(a->fd, chunk, sizeof(chunk), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(err, -EPIPE,
				       "the worker ended while it was asked");
		buf_add(&a->in, chunk, n);
	}
	*end = '\0';
	*out = json_loads(a->in.s, 0, NULL);
	{
		size_t used = end + 1 - a->in.s;

		memmove(a->in.s, end + 1, a->in.len - used + 1);
		a->in.len -= used;
	}
	if (!*out)
		return err_set(err, -EBADMSG, "the worker's answer is no JSON");
	return 0;
}

int
ask_say(struct asked *a, json_t *line, struct err *err)
{
	return send_line(a->fd, line, err);
}
