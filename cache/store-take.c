/* SPDX-License-Identifier: MIT */
/* A clean file becomes a private one again, because the kernel has it open and
 * somebody wants to write. */
#include <config.h>

#include "cache/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/xalloc.h"

/*
 * A description that the kernel has holds a read lock on this byte, whether or
 * not the file reaches so far: its worker may be gone (and with it the lock on
 * f->fd) when another one asks whose it is.
 */
static off_t
our_byte(const struct store *s)
{
	return (off_t)(XXH3_64bits(s->instance, strlen(s->instance)) >> 2 | 1);
}

/* len 0: up to the end. */
static bool
is_locked(int fd, off_t from, off_t len)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			   .l_start = from, .l_len = len };

	return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

int
store_kernel_fd(struct store_file *f)
{
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET,
			   .l_start = our_byte(f->s), .l_len = 1 };
	int fd = atomic_load(&f->kernel_fd), none = -1;
	char self[32];

	if (fd >= 0)
		return fd;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	fd = open(self, O_RDONLY | O_NOATIME | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fcntl(fd, F_OFD_SETLK, &l) < 0) {
		close(fd);
		return -1;
	}
	if (!atomic_compare_exchange_strong(&f->kernel_fd, &none, fd)) {
		close(fd);
		fd = none;
	}
	return fd;
}

bool
store_kernel_has(struct store_file *f)
{
	return is_locked(f->fd, our_byte(f->s), 1);
}

static bool
others_kernel_has(const struct store_file *f)
{
	off_t ours = our_byte(f->s);

	return is_locked(f->fd, 0, ours) || is_locked(f->fd, ours + 1, 0);
}

bool
store_any_kernel_has(int fd)
{
	return is_locked(fd, 0, 0);
}

/* Is f the only file, under this name only? */
static bool
is_sole(struct store_file *f, const struct clean_name *n)
{
	struct stat st, named;

	return fstat(f->fd, &st) == 0 && st.st_nlink == 1 &&
	       fstatat(f->s->fd[DIR_CLEAN], n->s, &named,
		       AT_SYMLINK_NOFOLLOW) == 0 &&
	       named.st_ino == st.st_ino && named.st_dev == st.st_dev;
}

char *
store_private_name(struct store *s)
{
	char *name;

	for (;;) {
		name = xasprintf("%llx", atomic_fetch_add(&s->next_name, 1));
		if (faccessat(s->fd[DIR_FILES], name, F_OK,
			      AT_SYMLINK_NOFOLLOW) < 0)
			return name;
		free(name);
	}
}

int
store_take(struct store_file *f, const char *path, const struct be_ver *ver,
	   const char *name, int *out, uint64_t **sums, uint64_t *n)
{
	struct store *s = f->s;
	struct record_key key = store_key(s, path, ver);
	_cleanup_close_ int fd = -1;
	struct clean_name at; /* it may have been renamed since it was opened */
	char self[32];

	store_clean_name(&key, &at);
	/* Nobody else may have it open: our own lock becomes exclusive. */
	if (flock(f->fd, LOCK_EX | LOCK_NB) < 0)
		return -EBUSY;
	if (!is_sole(f, &at) || others_kernel_has(f))
		goto busy;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	fd = open(self, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		goto busy;
	FAULT_POINT("take.begun");
	if (renameat(s->fd[DIR_CLEAN], at.s, s->fd[DIR_FILES], name) < 0)
		goto busy;
	FAULT_POINT("take.moved");
	unlinkat(s->fd[DIR_CLEAN], at.rec, 0);
	fremovexattr(fd, at.xattr);
	FAULT_POINT("take.done");
	f->taken = true;
	flock(f->fd, LOCK_UN); /* it can't be evicted where it is now */
	*sums = f->rec.nblocks ? xmemdup(f->rec.sums, f->rec.nblocks *
							      sizeof(**sums)) :
				 NULL;
	*n = f->rec.nblocks;
	*out = steal_fd(&fd);
	return 0;
busy:
	flock(f->fd, LOCK_SH | LOCK_NB);
	return -EBUSY;
}
