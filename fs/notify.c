/* SPDX-License-Identifier: MIT */
/*
 * Tells the kernel to forget what another node has changed: a queue and one
 * thread, since the kernel may make the teller wait until a request on the
 * same inode or directory is answered (rule 27).  Nothing that answers
 * requests waits for this thread, but for a moment in notify_settle().
 */
#include <config.h>

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"
#include "fs/fs.h"
#include "fs/linger.h"
#include "fs/session.h"

/* The kernel may hold the thread back while a page is being read, and that may
 * be for us to answer. */
#define SETTLE_NS (100 * INT64_C(1000000))

#ifndef STAILQ_FOREACH_SAFE
#define STAILQ_FOREACH_SAFE(var, head, field, next)                            \
	for ((var) = STAILQ_FIRST(head);                                       \
	     (var) && ((next) = STAILQ_NEXT(var, field), 1); (var) = (next))
#endif

struct change {
	STAILQ_ENTRY(change) link;
	bool data;
	char path[];
};

struct notify {
	struct fs *fs;
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t more, told;
	STAILQ_HEAD(, change) queue;
	struct change *now; /* what the thread is telling */
	bool stopping;
};

static void
forget_name(struct fs *fs, uint64_t parent, const char *name)
{
	size_t len = strlen(name);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 16)
	int r = fuse_lowlevel_notify_expire_entry(fs->se, parent, name, len);
#else
	int r = fuse_lowlevel_notify_expire_entry(fs->se, parent, name, len,
						  FUSE_LL_EXPIRE_ONLY);
#endif

	/* A kernel before 6.2 can only drop the name at once. */
	if (r == -ENOSYS)
		r = fuse_lowlevel_notify_inval_entry(fs->se, parent, name, len);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		log_debug("notify", "forget a name: %s", strerror(-r));
}

static void
tell(struct fs *fs, const struct change *c)
{
	uint64_t node = table_find_path(fs->table, c->path);
	uint64_t parent;
	_cleanup_free_ char *dir = path_dir(c->path);
	int r;

	if (*c->path) {
		parent = table_find_path(fs->table, dir);
		if (parent)
			forget_name(fs, parent, path_base(c->path));
	}
	if (!node)
		return;
	/* A negative offset: attributes only. */
	r = fuse_lowlevel_notify_inval_inode(fs->se, node, c->data ? 0 : -1, 0);
	if (r < 0 && r != -ENOENT)
		log_debug("notify", "forget a node: %s", strerror(-r));
}

static void *
notify_thread(void *arg)
{
	struct notify *n = arg;
	bool alone = false;

	pthread_setname_np(pthread_self(), LINGER_THREAD);
	pthread_mutex_lock(&n->lock);
	while (!n->stopping) {
		struct change *c = STAILQ_FIRST(&n->queue);

		if (!c) {
			pthread_cond_wait(&n->more, &n->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&n->queue, link);
		n->now = c;
		pthread_mutex_unlock(&n->lock);
		if (!alone)
			linger_keep_only(session_fd(n->fs->session));
		alone = true;
		tell(n->fs, c);
		pthread_mutex_lock(&n->lock);
		n->now = NULL;
		free(c);
		pthread_cond_broadcast(&n->told);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

struct notify *
notify_new(struct fs *fs)
{
	struct notify *n = xcalloc(1, sizeof(*n));
	int rc;

	n->fs = fs;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->more, NULL);
	cond_init_mono(&n->told);
	STAILQ_INIT(&n->queue);
	rc = thread_start(&n->thread, notify_thread, n);
	if (rc != 0) {
		log_error("notify", "start a thread: %s", strerror(rc));
		free(n);
		return NULL;
	}
	return n;
}

void
notify_free(struct notify *n)
{
	struct change *c;

	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->stopping = true;
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	while ((c = STAILQ_FIRST(&n->queue))) {
		STAILQ_REMOVE_HEAD(&n->queue, link);
		free(c);
	}
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->more);
	pthread_cond_destroy(&n->told);
	free(n);
}

/* Not queued and not being told. */
static bool
is_settled_locked(struct notify *n, const char *path)
{
	struct change *c, *next;

	STAILQ_FOREACH_SAFE(c, &n->queue, link, next)
	{
		if (strcmp(c->path, path) == 0) {
			STAILQ_REMOVE(&n->queue, c, change, link);
			free(c);
		}
	}
	return !n->now || strcmp(n->now->path, path) != 0;
}

void
notify_settle(struct fs *fs, const char *path)
{
	struct timespec until = ns_timespec(clock_mono_ns() + SETTLE_NS);
	struct notify *n = fs->notify;

	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	while (!is_settled_locked(n, path) &&
	       pthread_cond_timedwait(&n->told, &n->lock, &until) == 0)
		;
	pthread_mutex_unlock(&n->lock);
}

void
notify_changed(void *arg, const char *path, bool data)
{
	struct fs *fs = arg;
	struct notify *n = fs->notify;
	size_t len = strlen(path);
	struct change *c;

	/* What the kernel does not know needs no telling; an absent name is
	 * known to it only where absence is believed. */
	if (!n || (!table_find_path(fs->table, path) &&
		   fs->negative_timeout == 0))
		return;
	c = xmalloc(sizeof(*c) + len + 1);
	c->data = data;
	memcpy(c->path, path, len + 1);
	pthread_mutex_lock(&n->lock);
	STAILQ_INSERT_TAIL(&n->queue, c, link);
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
}
