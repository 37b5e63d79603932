/* SPDX-License-Identifier: MIT */
/* See passthrough.h. */
#include <config.h>

#include "fs/passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "common/log.h"
#include "common/xalloc.h"
#include "fs/abi.h"

/* OPEN's and CREATE's replies; both are small. */
#define REPLY_MAX 512

struct node {
	uint64_t number;
	int32_t id; /* backing id; 0: cached */
	unsigned users;
	bool deciding; /* the first open asks the cache */
	bool old;      /* of a worker ago: the id may mean another file than
			* the one that an open gets now */
	uint64_t ino;  /* of the file that the id means; 0: not known */
	UT_hash_handle hh;
};

struct passthrough {
	int fd;
	_Atomic(const char *) off; /* why not; NULL: on */
	bool streams; /* see is_stream() */
	pthread_mutex_t lock; /* protects the nodes */
	pthread_cond_t cond;  /* a decision was made */
	struct node *nodes;   /* those with an open handle */
};

/* Set and taken within one reply, in one thread. */
static _Thread_local int32_t reply_id;

struct passthrough *
passthrough_new(struct fs *fs, int fuse_fd, const void *init, size_t n)
{
	struct passthrough *p = xcalloc(1, sizeof(*p));

	p->fd = fuse_fd;
	p->streams = abi_can_map_direct(init, n);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	if (strcmp(fs->opt->passthrough, "off") == 0)
		p->off = "off: by option";
	else if (!abi_can_passthrough(init, n))
		p->off = "off: the kernel is older than 6.9";
	else if (geteuid() != 0)
		p->off = "off: not run by root";
	return p;
}

void
passthrough_free(struct passthrough *p)
{
	struct node *n, *tmp;

	if (!p)
		return;
	HASH_ITER(hh, p->nodes, n, tmp)
	{
		HASH_DEL(p->nodes, n);
		free(n);
	}
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

bool
passthrough_on(const struct passthrough *p)
{
	return p && !p->off;
}

const char *
passthrough_why(const struct passthrough *p)
{
	const char *off = p ? p->off : "off";

	return off ? off : "on";
}

static void
switch_off(struct passthrough *p, int err)
{
	const char *why = err == -ELOOP ?
				  "off: the cache lies on a stacked file system" :
			  err == -EPERM ?
				  "off: the kernel does not permit it" :
				  "off: the kernel refused a file";

	if (!p->off)
		log_warn("fuse", "passthrough is %s (%s)", why, strerror(-err));
	p->off = why;
}

static struct node *
node_locked(struct passthrough *p, uint64_t number, bool make)
{
	struct node *n;

	HASH_FIND(hh, p->nodes, &number, sizeof(number), n);
	if (!n && make) {
		n = xcalloc(1, sizeof(*n));
		n->number = number;
		HASH_ADD(hh, p->nodes, number, sizeof(n->number), n);
	}
	return n;
}

static void
leave_locked(struct passthrough *p, struct node *n)
{
	if (--n->users)
		return;
	if (n->id)
		abi_backing_close(p->fd, n->id);
	HASH_DEL(p->nodes, n);
	free(n);
}

/* Must it be served by us, whatever the others are? */
static bool
must_serve(const struct fuse_file_info *fi)
{
	return (fi->flags & (O_SYNC | O_DSYNC | O_DIRECT | O_APPEND)) != 0;
}

static uint64_t
inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* The first handle of a node decides how all are served until the last one is
 * gone.  Returns a backing id and which file it is of, 0 for cached, or
 * -EAGAIN. */
static int
decide(struct request *r, struct cfile *cf, const struct fuse_file_info *fi,
       uint64_t *ino)
{
	struct passthrough *p = r->fs->passthrough;
	int fd, ret;

	if (p->off || must_serve(fi))
		return 0;
	/* The kernel forgets the attributes with each read of a backing file,
	 * and its next fstat() is a request.  The pages of a small file are as
	 * fast, and they need no id. */
	if ((fi->flags & O_ACCMODE) == O_RDONLY && cache_is_small_clean(cf, NULL))
		return 0;
	ret = cache_expose(cf, &r->ctx, false, &fd);
	if (ret == -EAGAIN)
		return ret;
	if (ret < 0)
		return 0;
	*ino = inode_of(fd);
	ret = abi_backing_open(p->fd, fd);
	if (ret < 0) {
		switch_off(p, ret);
		return 0;
	}
	return ret;
}

/* The node has an id: this handle goes with it. */
static int
join(struct request *r, struct cfile *cf, struct fuse_file_info *fi)
{
	int fd, ret = cache_expose(cf, &r->ctx, true, &fd);

	if (ret == -ESTALE || ret == -EAGAIN)
		return ret;
	if (ret < 0 || must_serve(fi))
		fi->direct_io = 1;
	return 0;
}

/* The id is of a worker ago: this handle goes with it if the content is in the
 * very file that the kernel has.  (As long as it has it, its inode number is
 * nobody else's.) */
static int
rejoin(struct request *r, struct cfile *cf, struct fuse_file_info *fi,
       uint64_t ino)
{
	int fd, ret = cache_expose(cf, &r->ctx, false, &fd);

	if (ret == -EAGAIN)
		return ret;
	if (ret < 0 || !ino || inode_of(fd) != ino)
		return -ESTALE;
	if (must_serve(fi))
		fi->direct_io = 1;
	return 0;
}

/* The pages that the kernel would fill behind a long cold read cost more than
 * the transfer: without them its bytes are copied once less, to memory that the
 * reader has already. */
static bool
is_stream(const struct passthrough *p, struct cfile *cf,
	  const struct fuse_file_info *fi)
{
	return p->streams && (fi->flags & O_ACCMODE) == O_RDONLY &&
	       cache_is_long_partial(cf);
}

int
passthrough_begin(struct request *r, uint64_t number, struct cfile *cf,
		  struct fuse_file_info *fi, int32_t *id)
{
	struct passthrough *p = r->fs->passthrough;
	struct node *n;
	uint64_t ino = 0;
	int ret = 0;

	*id = 0;
	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		n = node_locked(p, number, true);
		if (!n->deciding)
			break;
		if (r->ctx.try_only) {
			pthread_mutex_unlock(&p->lock);
			return -EAGAIN;
		}
		pthread_cond_wait(&p->cond, &p->lock);
	}
	n->deciding = n->users++ == 0;
	if (n->deciding) {
		pthread_mutex_unlock(&p->lock);
		ret = decide(r, cf, fi, &ino);
		pthread_mutex_lock(&p->lock);
		n->deciding = false;
		if (ret > 0) {
			n->ino = ino;
			*id = n->id = ret;
		}
		pthread_cond_broadcast(&p->cond);
	} else if (n->id && n->old) {
		ino = n->ino;
		pthread_mutex_unlock(&p->lock);
		ret = rejoin(r, cf, fi, ino);
		pthread_mutex_lock(&p->lock);
		if (ret == 0) {
			*id = n->id;
			n->old = false;
		}
	} else if (n->id) {
		*id = n->id;
		pthread_mutex_unlock(&p->lock);
		ret = join(r, cf, fi);
		pthread_mutex_lock(&p->lock);
	}
	if (ret < 0)
		leave_locked(p, n);
	pthread_mutex_unlock(&p->lock);
	if (ret >= 0 && !*id && is_stream(p, cf, fi))
		fi->direct_io = 1;
	return ret < 0 ? ret : 0;
}

uint64_t
passthrough_inode(struct fs *fs, uint64_t number)
{
	struct passthrough *p = fs->passthrough;
	uint64_t ino = 0;
	struct node *n;

	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	n = node_locked(p, number, false);
	if (n && n->id)
		ino = n->ino;
	pthread_mutex_unlock(&p->lock);
	return ino;
}

void
passthrough_end(struct fs *fs, uint64_t number)
{
	struct passthrough *p = fs->passthrough;
	struct node *n;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	n = node_locked(p, number, false);
	if (n)
		leave_locked(p, n);
	pthread_mutex_unlock(&p->lock);
}

static void
restore(void *arg, uint64_t fh, const struct table_handle *h)
{
	struct fs *fs = arg;
	struct passthrough *p = fs->passthrough;
	struct node *n;

	if (h->kind != TABLE_FILE)
		return;
	pthread_mutex_lock(&p->lock);
	n = node_locked(p, h->node, true);
	n->users++;
	n->id = h->backing;
	n->old = h->backing != 0;
	n->ino = strtoull(h->stage, NULL, 16);
	pthread_mutex_unlock(&p->lock);
}

/* The kernel would have the file open until the share is unmounted. */
static void
close_lost(void *arg, int32_t id)
{
	struct passthrough *p = arg;
	struct node *n, *tmp;
	bool used = false;

	pthread_mutex_lock(&p->lock);
	HASH_ITER(hh, p->nodes, n, tmp)
		used = used || n->id == id;
	pthread_mutex_unlock(&p->lock);
	if (!used)
		abi_backing_close(p->fd, id);
}

void
passthrough_restore(struct fs *fs)
{
	table_handles(fs->table, restore, fs);
	table_lost_backings(fs->table, close_lost, fs->passthrough);
}

#if ABI_LIBFUSE_PASSTHROUGH
void
passthrough_reply_with(struct fuse_file_info *fi, int32_t id)
{
	fi->backing_id = id;
	if (id)
		fi->keep_cache = 0; /* not beside it: EIO */
}
#else
void
passthrough_reply_with(struct fuse_file_info *fi, int32_t id)
{
	(void)fi;
	reply_id = id;
}
#endif

ssize_t
passthrough_writev(int fd, struct iovec *iov, int count)
{
	char reply[REPLY_MAX];
	int32_t id = reply_id;
	size_t n;

	reply_id = 0;
	if (!id)
		return writev(fd, iov, count);
	n = abi_gather(iov, count, reply, sizeof(reply));
	if (!n)
		return writev(fd, iov, count);
	abi_set_backing(reply, n, id);
	return write(fd, reply, n);
}
