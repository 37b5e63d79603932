/* SPDX-License-Identifier: MIT */
/* user.* attributes of the file store.  Others are the host's own affair. */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

static bool
is_user(const char *name)
{
	return strncmp(name, "user.", 5) == 0 && name[5];
}

/* The calls know no directory descriptor; the name's own has a path. */
struct subject {
	struct file_call call;
	int fd;
	char path[40];
};
#define SUBJECT_INIT                                                           \
	{                                                                      \
		FILE_CALL_INIT, -1, ""                                         \
	}

static void
subject_release(struct subject *s)
{
	if (s->fd >= 0)
		close(s->fd);
	file_call_end(&s->call);
}
#define _cleanup_subject_ __attribute__((cleanup(subject_release)))

static int
subject_init(struct subject *s, struct backend *be, struct be_ctx *ctx,
	     const char *call, const char *path)
{
	int ret = file_call_begin(&s->call, be, ctx, call, path);

	if (ret)
		return ret;
	s->fd = file_open(&s->call.at, O_PATH, 0);
	if (s->fd < 0)
		return file_fail(s->call.f, ctx, s->fd, call, path);
	snprintf(s->path, sizeof(s->path), "/proc/self/fd/%d", s->fd);
	return 0;
}

static int
refuse(struct be_ctx *ctx, const char *name)
{
	return be_fail(ctx, -ENOTSUP, false, "xattr \"%s\": only user.*", name);
}

/* Both calls tell the length first, and the value may grow in between. */
static int
get(const char *path, const char *name, char **value, size_t *len)
{
	for (;;) {
		ssize_t n = name ? getxattr(path, name, NULL, 0)
				 : listxattr(path, NULL, 0);
		_cleanup_free_ char *buf = NULL;
		ssize_t got;

		if (n < 0)
			return -errno;
		buf = xmalloc(n + 1);
		got = name ? getxattr(path, name, buf, n)
			   : listxattr(path, buf, n);
		if (n == 0)
			got = 0;
		if (got < 0 && errno == ERANGE)
			continue;
		if (got < 0)
			return -errno;
		*value = steal_ptr(&buf);
		*len = got;
		return 0;
	}
}

int
file_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      const char *name, void **value, size_t *len)
{
	_cleanup_subject_ struct subject s = SUBJECT_INIT;
	char *v;
	int ret;

	if (!is_user(name))
		return refuse(ctx, name);
	ret = subject_init(&s, be, ctx, "getxattr", path);
	if (ret)
		return ret;
	ret = get(s.path, name, &v, len);
	if (ret)
		return file_fail(s.call.f, ctx, ret, "getxattr", path);
	*value = v;
	return 0;
}

int
file_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       char **names, size_t *len)
{
	_cleanup_subject_ struct subject s = SUBJECT_INIT;
	char *all, *to;
	size_t n;
	int ret = subject_init(&s, be, ctx, "listxattr", path);

	if (ret)
		return ret;
	ret = get(s.path, NULL, &all, &n);
	if (ret == -ENOTSUP || ret == -EPERM) { /* then it has none */
		all = xstrdup("");
		n = 0;
		ret = 0;
	}
	if (ret)
		return file_fail(s.call.f, ctx, ret, "listxattr", path);
	to = all;
	for (char *p = all; p < all + n;) {
		size_t k = strlen(p) + 1;

		if (is_user(p)) {
			memmove(to, p, k);
			to += k;
		}
		p += k;
	}
	*names = all;
	*len = to - all;
	return 0;
}

/* A repeated call whose first one has done it (B5). */
static bool
is_done(const struct subject *s, const char *name, const void *value,
	size_t len)
{
	_cleanup_free_ char *now = NULL;
	size_t n = 0;
	int ret = get(s->path, name, &now, &n);

	if (!value)
		return ret == -ENODATA;
	return ret == 0 && n == len && memcmp(now, value, len) == 0;
}

int
file_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	      const char *name, const void *value, size_t len, int flags,
	      const struct be_opid *opid, struct be_attr *out)
{
	_cleanup_subject_ struct subject s = SUBJECT_INIT;
	int ret;

	if (!is_user(name))
		return refuse(ctx, name);
	ret = subject_init(&s, be, ctx, "setxattr", path);
	if (ret)
		return ret;
	ret = value ? setxattr(s.path, name, value, len, flags)
		    : removexattr(s.path, name);
	if (ret)
		ret = -errno;
	if ((ret == -EEXIST || ret == -ENODATA) && ctx->attempt &&
	    is_done(&s, name, value, len))
		ret = 0;
	if (ret == 0)
		ret = file_stat_own(s.call.f, s.fd, "", out);
	return ret ? file_fail(s.call.f, ctx, ret, "setxattr", path) : 0;
}
