/* SPDX-License-Identifier: MIT */
/* See io.h. */
#include <config.h>

#include "common/io.h"

#include <errno.h>
#include <unistd.h>

int
io_write_all(int fd, const void *p, size_t n, uint64_t off)
{
	const char *c = p;

	while (n > 0) {
		ssize_t k = pwrite(fd, c, n, (off_t)off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		c += k;
		off += (uint64_t)k;
		n -= (size_t)k;
	}
	return 0;
}
