/* SPDX-License-Identifier: MIT */
/* What was written since a record: entries of one size, see journal.h. */
#include <config.h>

#include "cache/journal-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cache/store-priv.h"
#include "common/cleanup.h"

int
journal_log_open(struct store *s, const char *name, int *fd)
{
	char file[48];

	journal_file(name, ".r", file);
	*fd = openat(s->fd[DIR_JOURNAL], file,
		     O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0) {
		store_failed(s, FAULT_WRITE, -errno, "journal");
		return -EIO;
	}
	return 0;
}

int
journal_log_set(int fd, uint64_t n, const struct journal_change *ch)
{
	ssize_t w = pwrite(fd, ch, sizeof(*ch), (off_t)(n * sizeof(*ch)));

	return w == (ssize_t)sizeof(*ch) ? 0 : w < 0 ? -errno : -ENOSPC;
}

int
journal_log_reset(int fd)
{
	return ftruncate(fd, 0) < 0 ? -errno : 0;
}

void
journal_log_read(struct store *s, const char *name,
		 void (*fn)(void *arg, const struct journal_change *ch),
		 void *arg)
{
	_cleanup_close_ int fd = -1;
	struct journal_change ch;
	char file[48];

	journal_file(name, ".r", file);
	fd = openat(s->fd[DIR_JOURNAL], file,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (read(fd, &ch, sizeof(ch)) == (ssize_t)sizeof(ch)) {
		if (ch.size > INT64_MAX || ch.off > ch.size ||
		    ch.len > ch.size - ch.off || ch.clean_end > INT64_MAX)
			return; /* not ours */
		fn(arg, &ch);
	}
}
