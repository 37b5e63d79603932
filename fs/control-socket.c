/* SPDX-License-Identifier: MIT */
/* See control-socket.h. */
#include <config.h>

#include "fs/control-socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/places.h"

#define BACKLOG 64

int
control_socket_listen(struct control_socket *s, const struct mount_entry *e,
		      struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_free_ char *standard = places_socket(e, err);
	_cleanup_close_ int fd = -1, lock = -1;
	const char *path = s->other ? s->other : standard;
	struct stat st;
	mode_t old;
	int r;

	if (!standard)
		return err->code;
	lock = places_lock_sockets(err);
	if (lock < 0)
		return lock;
	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "control socket %s: the path is too long", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	/* The device number is ours while we are mounted: what is there is
	 * left from an earlier life. */
	unlink(standard);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	old = umask(0177);
	r = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, BACKLOG) < 0;
	umask(old);
	if (r)
		return err_set(err, -errno, "control socket %s: %s", path,
			       strerror(errno));
	/* So that it is found without the option. */
	if (path != standard && symlink(path, standard) < 0)
		log_warn("supervisor", "link %s: %s", standard,
			 strerror(errno));
	if (lstat(standard, &st) == 0)
		s->ino = st.st_ino;
	s->path = steal_ptr(&standard);
	s->fd = steal_fd(&fd);
	return 0;
}

/* Is that path the socket's, or a link to it? */
static bool
leads_to(int fd, const char *path)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a) - 1;
	char target[sizeof(a.sun_path)];
	ssize_t n;

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return false;
	if (strcmp(a.sun_path, path) == 0)
		return true;
	n = readlink(path, target, sizeof(target));
	return n > 0 && (size_t)n == strlen(a.sun_path) &&
	       memcmp(target, a.sun_path, n) == 0;
}

bool
control_socket_adopt(struct control_socket *s, const struct mount_entry *e)
{
	_cleanup_free_ char *path = places_socket(e, NULL);
	struct stat st;

	if (!path || !leads_to(s->fd, path) || lstat(path, &st) < 0)
		return false;
	s->ino = st.st_ino;
	s->path = steal_ptr(&path);
	return true;
}

void
control_socket_end(struct control_socket *s)
{
	_cleanup_close_ int lock = -1;
	struct stat st;

	if (s->path) {
		lock = places_lock_sockets(NULL);
		if (lock >= 0 && lstat(s->path, &st) == 0 &&
		    st.st_ino == s->ino)
			unlink(s->path);
		if (s->other)
			unlink(s->other);
	}
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(steal_ptr(&s->path));
}
