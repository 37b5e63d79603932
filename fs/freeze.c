/* SPDX-License-Identifier: MIT */
/* See freeze.h. */
#include <config.h>

#include "fs/freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uthash.h>

#include "cache/cache.h"
#include "common/clock.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "fs/control.h"
#include "fs/handle.h"
#include "fs/inode.h"

#define LOOK_MS 5

TAILQ_HEAD(frozen_list, request);

struct thread {
	pid_t tid;
	UT_hash_handle hh;
};

struct freeze {
	struct fs *fs;
	/* A request counts itself and then looks whether it must wait; who
	 * freezes says so and then waits until nobody is counted. */
	atomic_bool watching; /* frozen or moved: the lock must be taken */
	atomic_uint active;
	pthread_mutex_t lock; /* all below */
	bool frozen, moved, stopped;
	struct frozen_list waiting;
	struct thread *sent_back;
};

struct freeze *
freeze_new(struct fs *fs)
{
	struct freeze *f = xcalloc(1, sizeof(*f));

	f->fs = fs;
	pthread_mutex_init(&f->lock, NULL);
	TAILQ_INIT(&f->waiting);
	return f;
}

void
freeze_free(struct freeze *f)
{
	struct thread *t, *next;

	if (!f)
		return;
	HASH_ITER(hh, f->sent_back, t, next) {
		HASH_DEL(f->sent_back, t);
		free(t);
	}
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* --- requests -------------------------------------------------------------- */

static bool
is_open(struct fs *fs, uint64_t node)
{
	_cleanup_handle_ struct handle *h = inodes_handle(fs->inodes, node);

	return h != NULL;
}

/* Of a path, not of an open file (which fchmod() and the like can't be told
 * from by their request). */
static bool
changes_by_path(struct request *r)
{
	switch (r->type) {
	case REQUEST_mknod:
	case REQUEST_mkdir:
	case REQUEST_unlink:
	case REQUEST_rmdir:
	case REQUEST_symlink:
	case REQUEST_rename:
	case REQUEST_link:
	case REQUEST_create:
		return true;
	case REQUEST_open:
		return cache_open_changes(r->fi.flags);
	case REQUEST_setattr:
		return !r->has_fi;
	case REQUEST_setxattr:
	case REQUEST_removexattr:
		return true;
	default:
		return false;
	}
}

static bool
on_open_file(struct request *r)
{
	return (r->type == REQUEST_setattr || r->type == REQUEST_setxattr ||
		r->type == REQUEST_removexattr) &&
	       is_open(r->fs, r->node);
}

/* false: it was already, or can't be known again (another pid namespace). */
static bool
send_back_locked(struct freeze *f, pid_t tid)
{
	struct thread *t;

	HASH_FIND_INT(f->sent_back, &tid, t);
	if (t || tid <= 0)
		return false;
	t = xcalloc(1, sizeof(*t));
	t->tid = tid;
	HASH_ADD_INT(f->sent_back, tid, t);
	return true;
}

static int
enter_slowly(struct freeze *f, struct request *r)
{
	bool open = on_open_file(r); /* takes a lock of its own */
	int rc = 1;

	pthread_mutex_lock(&f->lock);
	if (f->frozen && !open) {
		struct request *d = request_defer(r);

		TAILQ_INSERT_TAIL(&f->waiting, d, frozen);
		rc = 0;
	} else if (f->moved && !open && send_back_locked(f, r->pid)) {
		rc = -ESTALE;
	} else {
		atomic_fetch_add(&f->active, 1);
		r->counted_change = true;
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}

int
freeze_enter(struct freeze *f, struct request *r)
{
	if (!changes_by_path(r))
		return 1;
	atomic_fetch_add(&f->active, 1);
	r->counted_change = true;
	if (!atomic_load(&f->watching))
		return 1;
	freeze_leave(f, r);
	return enter_slowly(f, r);
}

void
freeze_leave(struct freeze *f, struct request *r)
{
	if (r->counted_change)
		atomic_fetch_sub(&f->active, 1);
	r->counted_change = false;
}

/* --- the moment ------------------------------------------------------------ */

struct writers {
	struct fs *fs;
	unsigned n;
};

static void
count_writer(void *arg, uint64_t fh, const struct table_handle *h)
{
	struct writers *w = arg;
	_cleanup_free_ char *path = NULL;

	if (h->kind != TABLE_FILE || (h->flags & O_ACCMODE) == O_RDONLY)
		return;
	/* What has no name is in no tree. */
	path = table_path(w->fs->table, h->node);
	w->n += path != NULL;
}

static unsigned
writers(struct freeze *f)
{
	struct writers w = { f->fs, 0 };

	table_handles(f->fs->table, count_writer, &w);
	return w.n;
}

/* What was sent in the background just now is in the store, but those who were
 * at it may not have noted it yet. */
static int
wait_for_notes(struct freeze *f, struct err *err)
{
	struct cache_ctx ctx = {
		.be = { .deadline_ns = clock_mono_ns() + f->fs->drain_timeout,
			.cancel = &f->fs->stopping,
			.err = err },
	};

	return cache_wait_changes(f->fs->cache, &ctx);
}

static int
wait_for_writers(struct freeze *f, int64_t until, struct err *err)
{
	unsigned n;
	int r;

	while (atomic_load(&f->active) || (n = writers(f)) != 0) {
		if (clock_mono_ns() > until) {
			n = writers(f);
			return n ? err_set(err, -EBUSY,
					   "%u files are open for writing", n) :
				   err_set(err, -EBUSY,
					   "a call that changes something takes "
					   "long");
		}
		poll(NULL, 0, LOOK_MS);
	}
	r = control_drain(f->fs, err);
	return r < 0 ? r : wait_for_notes(f, err);
}

int
freeze_begin(struct freeze *f, int wait_ms, struct err *err)
{
	int64_t until = clock_mono_ns() + wait_ms * NSEC_PER_MSEC;
	bool mine;
	int r;

	pthread_mutex_lock(&f->lock);
	mine = !f->frozen && !f->moved && !f->stopped;
	if (mine) {
		f->frozen = true;
		atomic_store(&f->watching, true);
	}
	pthread_mutex_unlock(&f->lock);
	if (!mine)
		return err_set(err, -EALREADY, "it is held, or ends");
	r = wait_for_writers(f, until, err);
	if (r < 0)
		freeze_end(f, false);
	return r;
}

static unsigned
thaw(struct freeze *f, bool moved, bool stopped)
{
	struct frozen_list all = TAILQ_HEAD_INITIALIZER(all);
	struct request *r;
	unsigned n = 0;

	pthread_mutex_lock(&f->lock);
	f->frozen = false;
	f->moved |= moved;
	f->stopped |= stopped;
	atomic_store(&f->watching, f->moved);
	TAILQ_CONCAT(&all, &f->waiting, frozen);
	TAILQ_FOREACH (r, &all, frozen) {
		atomic_fetch_add(&f->active, 1);
		r->counted_change = true;
		if (!moved)
			continue;
		/* All that waited are sent back; with a thread id they are
		 * known when they come again. */
		send_back_locked(f, r->pid);
		r->sent_back = true;
		n++;
	}
	pthread_mutex_unlock(&f->lock);
	while ((r = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, r, frozen);
		request_resume(r);
	}
	return n;
}

unsigned
freeze_end(struct freeze *f, bool moved)
{
	return thaw(f, moved, false);
}

void
freeze_stop(struct freeze *f)
{
	if (f)
		thaw(f, false, true);
}
