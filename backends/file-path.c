/* SPDX-License-Identifier: MIT */
/*
 * From a path to a name in an open directory.  Nothing on the way may be a
 * symlink or lead out of the shared directory, also when somebody there moves
 * things about meanwhile (rule 10): openat2() sees to it in one call.  Where
 * the kernel lacks it, one component is opened after the other, each without
 * following; that is as safe, and slower.
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Descriptor or -errno.  A symlink on the way is no directory. */
static int
open_stepwise(int root, const char *dir)
{
	_cleanup_close_ int at = fcntl(root, F_DUPFD_CLOEXEC, 3);

	if (at < 0)
		return -errno;
	while (*dir) {
		size_t len = strcspn(dir, "/");
		_cleanup_free_ char *name = xstrndup(dir, len);
		int next = openat(at, name, DIR_FLAGS);

		if (next < 0)
			return errno == ELOOP ? -ENOTDIR : -errno;
		close(at);
		at = next;
		dir += len;
		if (*dir == '/')
			dir++;
	}
	return steal_fd(&at);
}

static int
open_dir(struct file *f, const char *dir)
{
	struct open_how how = {.flags = DIR_FLAGS,
			       .resolve = RESOLVE_BENEATH |
					  RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS};
	int fd;

	if (__atomic_load_n(&f->no_openat2, __ATOMIC_RELAXED))
		return open_stepwise(f->root, dir);
	do
		fd = syscall(SYS_openat2, f->root, dir, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd >= 0)
		return fd;
	/* EPERM: a container's filter that does not know the call. */
	if (errno == ENOSYS || errno == EPERM) {
		if (!__atomic_exchange_n(&f->no_openat2, true,
					 __ATOMIC_RELAXED))
			log_info("file", "no openat2 here: paths are opened "
					 "step by step");
		return open_stepwise(f->root, dir);
	}
	return errno == ELOOP ? -ENOTDIR : -errno;
}

int
file_find(struct file *f, const char *path, struct file_place *out)
{
	const char *base = path_base(path);
	_cleanup_free_ char *dir = NULL;
	int fd;

	if (base == path) { /* the root, or a name in it */
		*out = (struct file_place){f->root, false, base};
		return 0;
	}
	dir = path_dir(path);
	fd = open_dir(f, dir);
	if (fd < 0)
		return fd;
	*out = (struct file_place){fd, true, base};
	return 0;
}

void
file_place_release(struct file_place *p)
{
	if (p->own)
		close(p->dir);
	*p = (struct file_place)FILE_PLACE_INIT;
}

int
file_open(const struct file_place *p, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(p->dir, *p->base ? p->base : ".",
			    flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC |
				    O_NOCTTY,
			    mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int
file_call_begin(struct file_call *c, struct backend *be, struct be_ctx *ctx,
		const char *call, const char *path)
{
	int ret = be_must_stop(ctx);

	if (ret)
		return ret;
	c->f = file_of(be);
	ret = file_id_begin(c->f, ctx, &c->id);
	if (ret == 0)
		ret = file_find(c->f, path, &c->at);
	return ret ? file_fail(c->f, ctx, ret, call, path) : 0;
}

void
file_call_end(struct file_call *c)
{
	file_place_release(&c->at);
	file_id_end(&c->id);
}
