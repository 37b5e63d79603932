/* SPDX-License-Identifier: MIT */
/*
 * Writing to the file store: in place, the changed ranges only, so that hosts
 * that use the directory directly see the same inode (rule 9).
 *
 * Windows, named in docs/semantics.md:
 * - Between the look at the version and the end of the writing another node
 *   can write too.  Ranges that both wrote are the last writer's, as on NFS.
 *   Only appends of two nodes exclude each other, by a lock.
 * - A failure in the middle (network, quota of a neighbour) leaves some ranges
 *   new and some old; the caller keeps the bytes and writes them again.
 * Room for the data is allocated first, so a full store refuses before the
 * first byte is changed, where it can.
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/xalloc.h"

#define CHUNK (1024u * 1024)
/* Nodes that append lock this byte; programs have no reason to. */
#define APPEND_LOCK (INT64_MAX - 1)
/* One that locks the whole file, from elsewhere, must not stop us for good. */
#define LOCK_WAIT_NS (2 * NSEC_PER_SEC)
#define LOCK_LOOK_NS (2 * NSEC_PER_MSEC)

struct job {
	struct file *f;
	struct be_ctx *ctx;
	const struct be_commit *c;
	int to;
	uint64_t old_size; /* of the file in the store */
	char *buf;	   /* CHUNK bytes */
	bool no_copy;	   /* copy_file_range can't */
	bool no_punch;
	bool stopped; /* be_must_stop() has said the words */
	bool done;    /* a first call has written all that */
};

static int
must_stop(struct job *j)
{
	int ret = be_must_stop(j->ctx);

	j->stopped = ret != 0;
	return ret;
}

/* A part of [off, off+len) of the source: data, or a hole. */
typedef int part_fn(struct job *j, uint64_t off, uint64_t len, bool data);

static int
walk(struct job *j, uint64_t off, uint64_t len, part_fn *fn)
{
	uint64_t end = off + len;
	int ret = 0;

	while (ret == 0 && off < end) {
		off_t data = lseek(j->c->fd, off, SEEK_DATA);
		off_t hole;

		if (data < 0 && errno != ENXIO)
			return fn(j, off, end - off, true);
		if (data < 0 || (uint64_t)data >= end)
			return fn(j, off, end - off, false);
		if ((uint64_t)data > off)
			ret = fn(j, off, data - off, false);
		if (ret)
			break;
		hole = lseek(j->c->fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole > end)
			hole = end;
		ret = fn(j, data, hole - data, true);
		off = hole;
	}
	return ret;
}

/* All that may differ, part by part. */
static int
each_part(struct job *j, part_fn *fn)
{
	int ret = 0;

	if (j->c->whole)
		return walk(j, 0, j->c->size, fn);
	for (size_t i = 0; ret == 0 && i < j->c->ndirty; i++)
		ret = walk(j, j->c->dirty[i].off, j->c->dirty[i].len, fn);
	return ret;
}

static int
allocate(struct job *j, uint64_t off, uint64_t len, bool data)
{
	if (!data)
		return 0;
	while (fallocate(j->to, FALLOC_FL_KEEP_SIZE, off, len)) {
		if (errno == EINTR)
			continue;
		/* Only these are about room; others: no such call here. */
		if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
			return -errno;
		break;
	}
	return 0;
}

/* Up to len bytes of the source; what is beyond its end are zeros. */
static int
read_source(struct job *j, uint64_t off, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(j->c->fd, j->buf + got, len - got, off + got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += n;
	}
	memset(j->buf + got, 0, len - got);
	return 0;
}

/* How much was done, or -errno. */
static ssize_t
copy_some(struct job *j, uint64_t off, size_t len)
{
	int ret;

	if (!j->no_copy) {
		off64_t in = off, out = off;
		ssize_t n = copy_file_range(j->c->fd, &in, j->to, &out, len, 0);

		if (n > 0)
			return n;
		if (n < 0 && (errno == ENOSPC || errno == EDQUOT ||
			      errno == EFBIG || errno == EIO))
			return -errno;
		/* Another file system, or the source ended. */
		j->no_copy = n < 0;
	}
	if (len > CHUNK)
		len = CHUNK;
	ret = read_source(j, off, len);
	if (ret == 0)
		ret = io_write_all(j->to, j->buf, len, off);
	return ret ? ret : (ssize_t)len;
}

static int
write_zeros(struct job *j, uint64_t off, uint64_t len)
{
	/* What lies beyond the end comes as zeros with the new size. */
	if (off >= j->old_size)
		return 0;
	if (len > j->old_size - off)
		len = j->old_size - off;
	if (!j->no_punch) {
		if (fallocate(j->to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      off, len) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL &&
		    errno != EINTR)
			return -errno;
		j->no_punch = true;
	}
	memset(j->buf, 0, CHUNK);
	while (len) {
		size_t n = len < CHUNK ? len : CHUNK;
		int ret = must_stop(j);

		if (ret == 0)
			ret = io_write_all(j->to, j->buf, n, off);
		if (ret)
			return ret;
		off += n;
		len -= n;
	}
	return 0;
}

static int
write_part(struct job *j, uint64_t off, uint64_t len, bool data)
{
	if (!data)
		return write_zeros(j, off, len);
	while (len) {
		/* In pieces, so that a deadline is seen. */
		ssize_t n = must_stop(j);

		if (n == 0)
			n = copy_some(j, off,
				      len < 16 * CHUNK ? len : 16 * CHUNK);
		if (n < 0)
			return n;
		off += n;
		len -= n;
	}
	return 0;
}

/* 1: the store has other bytes than the source. */
static int
compare_part(struct job *j, uint64_t off, uint64_t len, bool data)
{
	_cleanup_free_ char *theirs = xmalloc(CHUNK);

	while (len) {
		size_t n = len < CHUNK ? len : CHUNK;
		ssize_t got;
		int ret = must_stop(j);

		if (ret == 0)
			ret = read_source(j, off, n);
		if (ret)
			return ret;
		got = pread(j->to, theirs, n, off);
		if (got < 0)
			return -errno;
		if ((size_t)got != n || memcmp(theirs, j->buf, n) != 0)
			return 1;
		off += n;
		len -= n;
	}
	return 0;
}

/*
 * The condition does not hold, but this is a repeated call: if the file is
 * just what we would make of it, then either we did (B5), or nobody can tell
 * the difference.  Not so for an empty file: it may be another's lock.
 */
static bool
is_ours(struct job *j, const struct be_attr *now)
{
	if (!j->ctx->attempt || now->size != j->c->size || now->size == 0)
		return false;
	return each_part(j, compare_part) == 0;
}

static int
write_data(struct job *j)
{
	int ret = each_part(j, allocate);

	if (ret == 0)
		ret = each_part(j, write_part);
	if (ret == 0 && j->c->size != j->old_size &&
	    ftruncate(j->to, j->c->size))
		ret = -errno;
	return ret;
}

/* Opens what is there, or makes it.  *fresh: it is new. */
static int
open_target(struct file *f, struct be_ctx *ctx, const struct file_place *at,
	    const struct be_commit *c, bool *fresh)
{
	int fd;

	*fresh = false;
	if (!*at->base)
		return -EISDIR;
	for (int i = 0; i < 10; i++) {
		fd = file_open_data(f, ctx, at, O_RDWR);
		if (fd == -EACCES) /* a file that may only be written */
			fd = file_open(at, O_WRONLY, 0);
		if (fd != -ENOENT || c->cond.pre == BE_MATCH)
			return fd;
		/* Not readable by others before it has its owner. */
		fd = file_open(at, O_RDWR | O_CREAT | O_EXCL, 0600);
		*fresh = fd >= 0;
		if (fd != -EEXIST)
			return fd;
	}
	return -EAGAIN;
}

/*
 * Two nodes that append would both find the same end of the file, and one write
 * over the other's bytes.  Ends with the descriptor.  Where the file system has
 * no locks the window stays.
 */
static int
lock_append(struct job *j)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = APPEND_LOCK,
		.l_len = 1,
	};
	int64_t end = clock_mono_ns() + LOCK_WAIT_NS;
	int ret = 0;

	while (fcntl(j->to, F_OFD_SETLK, &lock) &&
	       (errno == EAGAIN || errno == EACCES || errno == EINTR) &&
	       clock_mono_ns() < end && ret == 0) {
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_LOOK_NS }, NULL);
		ret = must_stop(j);
	}
	return ret;
}

static int
check_target(struct job *j, bool fresh, struct be_attr *now)
{
	const struct be_cond *cond = &j->c->cond;
	int ret = file_stat_fd(j->f, j->to, now);

	if (ret)
		return ret;
	if (!S_ISREG(now->mode))
		return S_ISDIR(now->mode) ? -EISDIR : -EINVAL;
	j->old_size = now->size;
	if (fresh || cond->pre == BE_ANY)
		return 0;
	if (cond->pre == BE_MATCH && be_ver_equal(&cond->ver, &now->ver))
		return 0;
	j->done = is_ours(j, now);
	if (j->done)
		return 0;
	return cond->pre == BE_ABSENT ? -EEXIST : -ESTALE;
}

/* A write sets the time by itself.  Where none was needed (an empty file was
 * truncated), who may not say when may still say that it was now. */
static void
touch(struct job *j, const struct file_place *at)
{
	const struct timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};

	if ((j->c->mask & BE_SET_MTIME_SOFT) && !(j->c->mask & BE_SET_MTIME) &&
	    j->c->ndirty == 0 && j->c->size == j->old_size &&
	    file_set(j->f, at, BE_SET_MTIME, j->c->attr) < 0)
		futimens(at->dir, now);
}

static int
set_beside(struct job *j, bool fresh)
{
	const struct file_place at = {j->to, false, ""};
	int ret;

	if (!fresh) {
		touch(j, &at);
		return file_set(j->f, &at, j->c->mask, j->c->attr);
	}
	ret = file_set_new(j->f, j->ctx, &at, j->c->attr);
	if (ret)
		return ret;
	return file_set(j->f, &at,
			(j->c->mask | BE_SET_ATIME | BE_SET_MTIME) &
				~(BE_SET_UID | BE_SET_GID | BE_SET_MODE),
			j->c->attr);
}

/*
 * The version of what was just written.  At once: fsync() takes its time, and a
 * version that came with another node's bytes would be believed to be of ours.
 */
static int
stat_written(struct job *j, struct be_attr *out)
{
	int ret = file_stat_own(j->f, j->to, "", out);

	if (ret == 0 && out->size != j->c->size) {
		out->size = j->c->size;
		file_disown(out);
	}
	return ret;
}

int
file_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	    struct be_attr *out)
{
	_cleanup_call_ struct file_call call = FILE_CALL_INIT;
	_cleanup_free_ char *buf = NULL;
	_cleanup_close_ int fd = -1;
	struct job j = {.f = file_of(be), .ctx = ctx, .c = c};
	struct be_attr now;
	bool fresh;
	int ret = file_call_begin(&call, be, ctx, "commit", c->path);

	if (ret)
		return ret;
	fd = open_target(call.f, ctx, &call.at, c, &fresh);
	if (fd < 0)
		return file_fail(call.f, ctx, fd, "commit", c->path);
	j.to = fd;
	j.buf = buf = xmalloc(CHUNK);
	if (c->append)
		ret = lock_append(&j);
	if (ret == 0)
		ret = check_target(&j, fresh, &now);
	if (ret == -EEXIST || ret == -ESTALE)
		return be_fail(ctx, ret, false, "commit \"%s\": %s", c->path,
			       ret == -EEXIST ? "it is there already"
					      : "another version is there");
	if (ret == 0 && !j.done)
		ret = write_data(&j);
	if (ret == 0)
		ret = set_beside(&j, fresh);
	if (ret == 0)
		ret = stat_written(&j, out);
	if (ret == 0 && fsync(fd))
		ret = -errno;
	if (ret == 0 && fresh)
		ret = file_sync_dir(&call.at);
	if (ret == 0)
		return 0;
	if (fresh) /* ours, and not what was promised */
		unlinkat(call.at.dir, call.at.base, 0);
	if (j.stopped)
		return ret;
	return file_fail(call.f, ctx, ret, "commit", c->path);
}
