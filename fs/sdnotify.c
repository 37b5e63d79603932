/* SPDX-License-Identifier: MIT */
/* See sdnotify.h.  libsystemd would bring more than these lines into the
 * process that must never die. */
#include <config.h>

#include "fs/sdnotify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

void
sdnotify(const char *state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;
	_cleanup_close_ int fd = -1;

	if (n == 0 || n >= sizeof(a.sun_path) || !strchr("/@", path[0]))
		return;
	memcpy(a.sun_path, path, n);
	if (path[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL,
			     (struct sockaddr *)&a,
			     offsetof(struct sockaddr_un, sun_path) + n) < 0) {
		/* it will ask again, or give up on us */
	}
}

int64_t
sdnotify_period(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	long long n = usec ? strtoll(usec, NULL, 10) : 0;

	if (n <= 0 || n > INT64_MAX / INT64_C(1000) ||
	    (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	return n * INT64_C(1000) / 2;
}
