/* SPDX-License-Identifier: MIT */
/*
 * The least that a FUSE daemon can do for an open: one flat directory, shown
 * read-only through passthrough, everything answered from a table that is
 * made at start.  What open+read+close costs here is the kernel's part, the
 * floor that sharedfs is measured against.
 *
 *   floor DIR MOUNTPOINT     serves until it is unmounted
 *
 * The files' backing ids are made once; nothing is locked, allocated or looked
 * up on disk when a request comes.
 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "fs/abi.h"

#define THREADS 2
#define BUFFER (1u << 20)
#define FOREVER 3600
/* <linux/fuse.h> of the build machine may be older. */
#define OPEN_NOFLUSH (UINT32_C(1) << 5)

struct file {
	char *name;
	struct stat st;
	int32_t id;
};

struct floor {
	int fuse;
	struct file *v; /* node id - 2 is the index; 1 is the directory */
	size_t n;
	struct stat root;
};

static void
die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name,
		      ((const struct file *)b)->name);
}

static void
read_files(struct floor *f, const char *dir)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;

	if (!d || fstat(dirfd(d), &f->root) < 0)
		die(dir);
	while ((e = readdir(d))) {
		struct stat st;
		int fd;

		if (fstatat(dirfd(d), e->d_name, &st, 0) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die(e->d_name);
		f->v = xrealloc(f->v, f->n + 1, sizeof(*f->v));
		f->v[f->n++] = (struct file){ .name = xstrdup(e->d_name),
					      .st = st,
					      .id = fd };
	}
	if (f->n)
		qsort(f->v, f->n, sizeof(*f->v), by_name);
}

/* After INIT; the descriptors are not needed any more. */
static void
make_ids(struct floor *f)
{
	for (size_t i = 0; i < f->n; i++) {
		int id = abi_backing_open(f->fuse, f->v[i].id);

		if (id < 0) {
			errno = -id;
			die("passthrough (Linux 6.9, as root)");
		}
		close(f->v[i].id);
		f->v[i].id = id;
	}
}

static void
send_reply(struct floor *f, uint64_t unique, int error, const void *body,
	   size_t n, int32_t id)
{
	struct fuse_out_header h = { .unique = unique, .error = error };
	char out[512];

	h.len = sizeof(h) + (error ? 0 : n);
	memcpy(out, &h, sizeof(h));
	if (!error && n)
		memcpy(out + sizeof(h), body, n);
	if (id)
		abi_set_backing(out, h.len, id);
	if (write(f->fuse, out, h.len) < 0 && errno != ENOENT)
		die("reply");
}

static void
attr_of(uint64_t node, const struct stat *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = node,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.mtime = (uint64_t)st->st_mtime,
		.mode = st->st_mode,
		.nlink = 1,
		.blksize = 4096,
	};
}

static const struct stat *
stat_of_node(const struct floor *f, uint64_t node)
{
	return node >= 2 && node - 2 < f->n ? &f->v[node - 2].st : &f->root;
}

static void
lookup(struct floor *f, const struct fuse_in_header *in, char *name)
{
	const struct file key = { .name = name };
	struct fuse_entry_out e = { .entry_valid = FOREVER,
				    .attr_valid = FOREVER };
	struct file *at = bsearch(&key, f->v, f->n, sizeof(*f->v), by_name);

	if (!at) {
		send_reply(f, in->unique, -ENOENT, NULL, 0, 0);
		return;
	}
	e.nodeid = (uint64_t)(at - f->v) + 2;
	attr_of(e.nodeid, &at->st, &e.attr);
	send_reply(f, in->unique, 0, &e, sizeof(e), 0);
}

static void
init(struct floor *f, const struct fuse_in_header *in,
     const struct fuse_init_in *want)
{
	struct {
		struct fuse_out_header h;
		struct fuse_init_out o;
	} out = {
		.h = { .len = sizeof(out), .unique = in->unique },
		.o = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = want->max_readahead,
			.flags = want->flags &
				 (FUSE_ASYNC_READ | FUSE_PARALLEL_DIROPS |
				  FUSE_BIG_WRITES),
			.max_write = 131072,
			.time_gran = 1,
		},
	};

	abi_want_passthrough(&out, sizeof(out));
	if (write(f->fuse, &out, sizeof(out)) < 0)
		die("INIT");
	make_ids(f);
}

static void
answer(struct floor *f, char *buf)
{
	const struct fuse_in_header *in = (void *)buf;
	struct fuse_attr_out a = { .attr_valid = FOREVER };
	struct fuse_open_out o = { .open_flags = OPEN_NOFLUSH };
	char *arg = buf + sizeof(*in);

	switch (in->opcode) {
	case FUSE_INIT:
		init(f, in, (void *)arg);
		return;
	case FUSE_LOOKUP:
		lookup(f, in, arg);
		return;
	case FUSE_GETATTR:
		attr_of(in->nodeid, stat_of_node(f, in->nodeid), &a.attr);
		send_reply(f, in->unique, 0, &a, sizeof(a), 0);
		return;
	case FUSE_OPEN:
		send_reply(f, in->unique, 0, &o, sizeof(o),
			   in->nodeid >= 2 ? f->v[in->nodeid - 2].id : 0);
		return;
	case FUSE_OPENDIR:
		o.open_flags = 0;
		send_reply(f, in->unique, 0, &o, sizeof(o), 0);
		return;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
		send_reply(f, in->unique, 0, NULL, 0, 0);
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		send_reply(f, in->unique, -ENOSYS, NULL, 0, 0);
	}
}

static void
serve_one(struct floor *f, char *buf)
{
	ssize_t n = read(f->fuse, buf, BUFFER);

	if (n < 0 && errno == ENODEV)
		exit(0); /* unmounted */
	if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
		die("read a request");
	if (n > 0)
		answer(f, buf);
}

static void *
serve(void *arg)
{
	struct floor *f = arg;
	char *buf = xmalloc(BUFFER);

	for (;;)
		serve_one(f, buf);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct floor f = { 0 };
	_cleanup_free_ char *opts = NULL;
	char *first;
	pthread_t t;

	if (argc != 3) {
		fputs("usage: floor DIR MOUNTPOINT\n", stderr);
		return 2;
	}
	read_files(&f, argv[1]);
	f.fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (f.fuse < 0)
		die("/dev/fuse");
	opts = xasprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,"
			 "allow_other,default_permissions",
			 f.fuse);
	if (mount("floor", argv[2], "fuse.floor", MS_NOSUID | MS_NODEV, opts))
		die(argv[2]);
	first = xmalloc(BUFFER);
	serve_one(&f, first); /* INIT, before there are others */
	free(first);
	for (int i = 1; i < THREADS; i++)
		if (pthread_create(&t, NULL, serve, &f))
			die("thread");
	serve(&f);
	return 0;
}
