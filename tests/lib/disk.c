/* SPDX-License-Identifier: MIT */
/*
 * A disk that loses power and breaks, for a loop device:
 *
 *   disk IMAGE DIR       returns when DIR/disk is there: the bytes of IMAGE, and
 *                        a write cache as real disks have; ends with umount DIR
 *   echo WORDS >DIR/ctl  fails if the words did:
 *     cut SEED FILE      FILE becomes what the disk has if the power fails now:
 *                        all that was flushed, and some of the rest
 *     fail read|write|all|none
 *                        from now on such calls are EIO
 *     slow MS            from now on each write takes so long
 *
 * Real disks may keep any of the sectors that they were given since the last
 * flush; here each 4 KiB of them is kept or lost by chance.  One thread.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/xalloc.h"

#define PAGE 4096u
/* Then the disk flushes by itself. */
#define CACHE_MAX (64u << 20)
#define COPY_STEP (1u << 20)

struct wr {
	struct wr *next;
	off_t off;
	size_t len;
	char b[];
};

struct disk {
	int now;  /* with all writes: IMAGE */
	int safe; /* with those before the last flush; no name */
	off_t size;
	struct wr *first, **end; /* since */
	size_t cached;
	bool no_read, no_write;
	unsigned slow_ms;
};

static struct disk *
self(void)
{
	return fuse_get_context()->private_data;
}

static bool
is_ctl(const char *path)
{
	return strcmp(path, "/ctl") == 0;
}

static int
copy_data(int from, int to, off_t size)
{
	_cleanup_free_ char *p = xmalloc(COPY_STEP);

	if (ftruncate(to, size) < 0)
		return -errno;
	for (off_t at = lseek(from, 0, SEEK_DATA); at >= 0 && at < size;
	     at = lseek(from, at, SEEK_DATA)) {
		off_t hole = lseek(from, at, SEEK_HOLE);

		while (at < hole) {
			size_t n = hole - at < (off_t)COPY_STEP ?
					   (size_t)(hole - at) :
					   COPY_STEP;
			ssize_t got = pread(from, p, n, at);
			int r = got <= 0 ? -EIO :
					   io_write_all(to, p, (size_t)got,
							(uint64_t)at);

			if (r < 0)
				return r;
			at += got;
		}
	}
	return 0;
}

static int
flush(struct disk *d)
{
	struct wr *w;
	int r = 0;

	while ((w = d->first)) {
		if (r == 0)
			r = io_write_all(d->safe, w->b, w->len,
					 (uint64_t)w->off);
		d->first = w->next;
		free(w);
	}
	d->end = &d->first;
	d->cached = 0;
	return r;
}

/* --- the commands --------------------------------------------------------- */

static int
cut(struct disk *d, unsigned seed, const char *file)
{
	_cleanup_close_ int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				      0600);
	/* Nearly all, half, nearly nothing. */
	int keep = (int)(seed % 3) * 45 + 5;
	int r = fd < 0 ? -errno : copy_data(d->safe, fd, d->size);

	for (struct wr *w = d->first; w && r == 0; w = w->next) {
		for (size_t at = 0; at < w->len && r == 0;) {
			size_t n = PAGE - (size_t)(w->off + (off_t)at) % PAGE;

			n = n < w->len - at ? n : w->len - at;
			if (rand_r(&seed) % 100 < keep)
				r = io_write_all(fd, w->b + at, n,
						 (uint64_t)w->off + at);
			at += n;
		}
	}
	return r;
}

static int
command(struct disk *d, const char *words)
{
	char what[16], arg[4096];
	unsigned seed;

	if (sscanf(words, "cut %u %4095s", &seed, arg) == 2)
		return cut(d, seed, arg);
	if (sscanf(words, "slow %u", &d->slow_ms) == 1)
		return 0;
	if (sscanf(words, "fail %15s", what) != 1)
		return -EINVAL;
	d->no_read = strcmp(what, "read") == 0 || strcmp(what, "all") == 0;
	d->no_write = strcmp(what, "write") == 0 || strcmp(what, "all") == 0;
	return 0;
}

/* --- the files ------------------------------------------------------------- */

static int
disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	struct disk *d = self();

	(void)fi;
	memset(st, 0, sizeof(*st));
	st->st_nlink = 1;
	st->st_mode = S_IFREG | 0600;
	if (strcmp(path, "/") == 0)
		st->st_mode = S_IFDIR | 0700;
	else if (strcmp(path, "/disk") == 0)
		st->st_size = d->size;
	else if (!is_ctl(path))
		return -ENOENT;
	return 0;
}

static int
disk_open(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	/* Each read and write comes here. */
	fi->direct_io = 1;
	return 0;
}

static int
disk_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	(void)size;
	(void)fi;
	return is_ctl(path) ? 0 : -EPERM;
}

static int
disk_read(const char *path, char *p, size_t n, off_t off,
	  struct fuse_file_info *fi)
{
	struct disk *d = self();
	ssize_t got;

	(void)fi;
	if (is_ctl(path))
		return 0;
	if (d->no_read)
		return -EIO;
	got = pread(d->now, p, n, off);
	return got < 0 ? -errno : (int)got;
}

static int
disk_write(const char *path, const char *p, size_t n, off_t off,
	   struct fuse_file_info *fi)
{
	struct disk *d = self();
	struct wr *w;
	int r;

	(void)fi;
	if (is_ctl(path)) {
		_cleanup_free_ char *words = xstrndup(p, n);

		r = command(d, words);
		return r < 0 ? r : (int)n;
	}
	if (d->no_write)
		return -EIO;
	if (d->slow_ms)
		nanosleep(&(struct timespec){ .tv_sec = d->slow_ms / 1000,
					      .tv_nsec = d->slow_ms % 1000 *
							 1000000L },
			  NULL);
	r = io_write_all(d->now, p, n, (uint64_t)off);
	if (r < 0)
		return r;
	w = xmalloc(sizeof(*w) + n);
	w->next = NULL;
	w->off = off;
	w->len = n;
	memcpy(w->b, p, n);
	*d->end = w;
	d->end = &w->next;
	d->cached += n;
	if (d->cached > CACHE_MAX)
		r = flush(d);
	return r < 0 ? r : (int)n;
}

static int
disk_fsync(const char *path, int data, struct fuse_file_info *fi)
{
	struct disk *d = self();

	(void)data;
	(void)fi;
	if (is_ctl(path))
		return 0;
	return d->no_write ? -EIO : flush(d);
}

static const struct fuse_operations ops = {
	.getattr = disk_getattr,
	.open = disk_open,
	.truncate = disk_truncate,
	.read = disk_read,
	.write = disk_write,
	.fsync = disk_fsync,
};

int
main(int argc, char **argv)
{
	struct disk d = { .safe = -1 };
	char *args[] = { argv[0], (char *)"-s", NULL, NULL };
	char name[4096];
	struct stat st;
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: disk IMAGE DIR\n");
		return 2;
	}
	d.end = &d.first;
	d.now = open(argv[1], O_RDWR | O_CLOEXEC);
	snprintf(name, sizeof(name), "%s.safe", argv[1]);
	if (d.now >= 0)
		d.safe = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
			      0600);
	if (d.safe < 0 || fstat(d.now, &st) < 0) {
		perror(argv[1]);
		return 1;
	}
	unlink(name);
	d.size = st.st_size;
	ret = copy_data(d.now, d.safe, d.size);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-ret));
		return 1;
	}
	args[2] = argv[2];
	ret = fuse_main(3, args, &ops, &d);
	flush(&d);
	close(d.now);
	close(d.safe);
	return ret;
}
