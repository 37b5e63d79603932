/* SPDX-License-Identifier: MIT */
/*
 * Reading from the file store.  A file may be written by others at any moment
 * and in place, so its version is looked at before and after: equal, the bytes
 * between are of it (C1).
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define CHUNK (1024u * 1024)
/* Up to here bytes are kept back until they are known to be of one version. */
#define WHOLE_MAX (4u * 1024 * 1024)
#define FETCH_TRIES 10

/* The owner's u+r or u+w for the moment of opening; others see it then. */
static int
open_lent(const struct file_place *p, int flags, mode_t mode)
{
	_cleanup_close_ int self = file_open(p, O_PATH, 0);
	char name[40];
	int fd, err;

	if (self < 0)
		return self;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", self);
	if (chmod(name, (mode & 07777) | 0600))
		return -errno;
	fd = open(name, flags | O_CLOEXEC);
	err = errno;
	if (chmod(name, mode & 07777) && fd >= 0) {
		err = errno;
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -err : fd;
}

/*
 * The right to the bytes was held against the mode when the program opened
 * its file; we open the store's only now.  A file made with mode 0444 for its
 * writer (git does so) must get its bytes, so the owner, who could chmod it at
 * any time, is let in.  Nobody else is: the store's refusal stands.
 */
int
file_open_data(struct file *f, struct be_ctx *ctx, const struct file_place *p,
	       int flags)
{
	struct be_attr attr;
	int ret, fd = file_open(p, flags, 0);

	if (fd != -EACCES)
		return fd;
	ret = file_stat(f, p, &attr);
	if (ret)
		return ret;
	if (!S_ISREG(attr.mode) ||
	    attr.uid != (f->privileged ? ctx->uid : f->uid))
		return fd;
	if (f->privileged && ctx->uid != f->uid) {
		file_id_set(f, f->uid, f->gid);
		fd = file_open(p, flags, 0);
		file_id_set(f, ctx->uid, ctx->gid);
		if (fd != -EACCES) /* root may be nobody on an NFS server */
			return fd;
	}
	return open_lent(p, flags, attr.mode);
}

/* Opens for reading and looks; only plain files have bytes.  Where none are
 * wanted the right to write will do. */
static int
open_for_read(struct file_call *c, struct be_ctx *ctx, bool bytes,
	      struct be_attr *attr)
{
	int ret, fd = file_open_data(c->f, ctx, &c->at, O_RDONLY);

	if (fd == -EACCES && !bytes)
		fd = file_open(&c->at, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	ret = file_stat_fd(c->f, fd, attr);
	if (ret == 0 && S_ISDIR(attr->mode))
		ret = -EISDIR;
	else if (ret == 0 && !S_ISREG(attr->mode))
		ret = -EINVAL;
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

/* Up to the end of the file; *got < len only there. */
static int
read_all(int fd, char *p, uint64_t off, size_t len, size_t *got)
{
	*got = 0;
	while (*got < len) {
		ssize_t n = pread(fd, p + *got, len - *got, off + *got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*got += n;
	}
	return 0;
}

/* What a sink says is not the store's word. */
struct transfer {
	int store; /* -errno of the store */
	int sink;  /* what the sink said */
	bool stop; /* cancelled: words are there */
	uint64_t got;
};

static void
stream(struct be_ctx *ctx, int fd, uint64_t off, uint64_t len,
       const struct be_sink *sink, struct transfer *t)
{
	size_t cap = len < CHUNK ? len : CHUNK;
	_cleanup_free_ char *buf = xmalloc(cap ? cap : 1);

	memset(t, 0, sizeof(*t));
	while (t->got < len) {
		size_t want = len - t->got < cap ? len - t->got : cap, n;

		t->sink = be_must_stop(ctx);
		if (t->sink) {
			t->stop = true;
			return;
		}
		t->store = read_all(fd, buf, off + t->got, want, &n);
		if (t->store == 0 && n)
			t->sink = sink->write(sink->arg, buf, n, off + t->got);
		if (t->store || t->sink)
			return;
		t->got += n;
		if (n < want)
			return;
	}
}

/* The bytes are in our cache now; a second copy in memory helps nobody. */
static void
drop_pages(const struct file *f, int fd, uint64_t off, uint64_t len)
{
	if (f->remote)
		posix_fadvise(fd, off, len, POSIX_FADV_DONTNEED);
}

static int
transfer_result(struct file *f, struct be_ctx *ctx, const struct transfer *t,
		const char *call, const char *path)
{
	if (t->stop)
		return t->sink;
	if (t->sink)
		return be_fail(ctx, t->sink, false, "%s \"%s\": %s", call, path,
			       strerror(t->sink < 0 ? -t->sink : EIO));
	return file_fail(f, ctx, t->store, call, path);
}

/* One look at the file: 1 unchanged, 0 delivered, -EAGAIN it moved under us. */
static int
fetch_once(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	   struct be_attr *out, uint64_t *got)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct be_attr before, after;
	struct transfer t = {0};
	uint64_t len;
	size_t n = 0;
	int ret = file_call_begin(&c, be, ctx, "fetch", path);

	if (ret)
		return ret;
	fd = open_for_read(&c, ctx, max > 0, &before);
	if (fd < 0)
		return file_fail(c.f, ctx, fd, "fetch", path);
	if (have && be_ver_equal(have, &before.ver)) {
		*out = before;
		*got = 0;
		return 1;
	}
	/* The file is open; what the sink does is not the caller's doing. */
	file_id_end(&c.id);
	len = before.size < max ? before.size : max;
	if (len <= WHOLE_MAX) {
		buf = xmalloc(len ? len : 1);
		ret = read_all(fd, buf, 0, len, &n);
		if (ret)
			return file_fail(c.f, ctx, ret, "fetch", path);
	} else {
		stream(ctx, fd, 0, len, sink, &t);
		if (t.store || t.sink)
			return transfer_result(c.f, ctx, &t, "fetch", path);
		n = t.got;
	}
	ret = file_stat_fd(c.f, fd, &after);
	if (ret)
		return file_fail(c.f, ctx, ret, "fetch", path);
	if (n < len || !be_ver_equal(&before.ver, &after.ver)) {
		if (buf)
			return -EAGAIN;
		return be_fail(ctx, -EIO, true,
			       "fetch \"%s\": it changed meanwhile", path);
	}
	if (buf && len) {
		ret = sink->write(sink->arg, buf, len, 0);
		if (ret)
			return be_fail(ctx, ret, false, "fetch \"%s\": %s",
				       path, strerror(ret < 0 ? -ret : EIO));
	}
	drop_pages(c.f, fd, 0, len);
	*out = before;
	*got = len;
	return 0;
}

int
file_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	   const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	   struct be_attr *out, uint64_t *got)
{
	for (int i = 0; i < FETCH_TRIES; i++) {
		int ret = fetch_once(be, ctx, path, have, max, sink, out, got);

		if (ret != -EAGAIN)
			return ret;
	}
	return be_fail(ctx, -EIO, true, "fetch \"%s\": it changes all the time",
		       path);
}

int
file_read(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_ver *ver, uint64_t off, uint64_t len,
	  const struct be_sink *sink, uint64_t *got)
{
	_cleanup_call_ struct file_call c = FILE_CALL_INIT;
	_cleanup_close_ int fd = -1;
	struct be_attr attr;
	struct transfer t;
	int ret = file_call_begin(&c, be, ctx, "read", path);

	if (ret == 0) {
		fd = open_for_read(&c, ctx, true, &attr);
		if (fd < 0)
			ret = file_fail(c.f, ctx, fd, "read", path);
	}
	if (ret == -ENOENT || ret == -ENOTDIR || ret == -ELOOP ||
	    ret == -EISDIR || (ret == 0 && !be_ver_equal(ver, &attr.ver)))
		return be_fail(ctx, -ESTALE, false,
			       "read \"%s\": that version is gone", path);
	if (ret)
		return ret;
	if (off > attr.size)
		off = attr.size;
	if (len > attr.size - off)
		len = attr.size - off;
	file_id_end(&c.id);
	stream(ctx, fd, off, len, sink, &t);
	if (t.store || t.sink)
		return transfer_result(c.f, ctx, &t, "read", path);
	ret = file_stat_fd(c.f, fd, &attr);
	if (ret)
		return file_fail(c.f, ctx, ret, "read", path);
	if (t.got < len || !be_ver_equal(ver, &attr.ver))
		return be_fail(ctx, -ESTALE, false,
			       "read \"%s\": it changed meanwhile", path);
	drop_pages(c.f, fd, off, len);
	*got = len;
	return 0;
}
