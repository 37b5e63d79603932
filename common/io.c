/* SPDX-License-Identifier: MIT */
/* See io.h. */
#include <config.h>

#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.5; neither the libc nor its headers need to know it. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#define BEYOND_ALL_FILES (INT64_C(1) << 62)

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

bool
io_write_failed(int fd)
{
	/* It waits for nothing there, and then tells of the whole file. */
	return sync_file_range(fd, BEYOND_ALL_FILES, 1,
			       SYNC_FILE_RANGE_WAIT_BEFORE) < 0 &&
	       (errno == EIO || errno == ENOSPC);
}

/* cachestat(2) */
struct pages {
	uint64_t cached, dirty, writeback, evicted, recently;
};

/* len 0: to the end. */
static int
pages_of(int fd, uint64_t off, uint64_t len, struct pages *now)
{
	const struct {
		uint64_t off, len;
	} range = { off, len };

	return syscall(SYS_cachestat, fd, &range, now, 0) < 0 ? -errno : 0;
}

int
io_in_memory(int fd, uint64_t off, uint64_t len)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct pages now;

	if (len == 0)
		return 1;
	if (pages_of(fd, off, len, &now) < 0)
		return -1;
	return now.cached >= (len + page - 1) / page;
}

int
io_protect_pages(int fd)
{
	struct pages now;

	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
		return -errno;
	if (pages_of(fd, 0, 0, &now) == 0 && !now.dirty)
		return 0;
	if (sync_file_range(fd, 0, 0,
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		return -errno;
	return 0;
}
