/* SPDX-License-Identifier: MIT */
/*
 * What changes below DIR while the program runs.
 *
 * One fanotify mark on the whole file system tells the directory, as a file
 * handle, and the name; no watch a directory is needed and none can be
 * forgotten.  Events are only hints to look: a name is looked at and compared
 * with the journal, so a superfluous one costs a stat, and when the kernel's
 * queue overflows everything is looked at.
 *
 * follow.lock protects the table of names; it is a leaf.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <unistd.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

#define QUIET_NS (200 * NSEC_PER_MSEC) /* a writer is probably done */
#define OLDEST_NS (2 * NSEC_PER_SEC)   /* it is looked at all the same */
#define LOOK_EVERY (2 * NSEC_PER_SEC)  /* without events */

struct changed {
	char *path; /* key */
	int64_t first, last;
	UT_hash_handle hh;
};

struct mig_follow {
	struct mig *m;
	int fan;   /* -1: no events */
	int mount; /* for open_by_handle_at() */
	int end;   /* eventfd */
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t idle;  /* round moved */
	struct changed *table;
	bool all; /* the kernel lost events */
	uint64_t round; /* how often the queue was found empty */
	int64_t last;	/* event; 0: none yet */
	int64_t looked; /* begin of the last look at everything */
};

static void
note(struct mig_follow *f, const char *path, bool event)
{
	int64_t now = clock_mono_ns();
	struct changed *c;

	pthread_mutex_lock(&f->lock);
	HASH_FIND_STR(f->table, path, c);
	if (!c) {
		c = xcalloc(1, sizeof(*c));
		c->path = xstrdup(path);
		c->first = now;
		HASH_ADD_KEYPTR(hh, f->table, c->path, strlen(c->path), c);
	}
	c->last = now;
	if (event)
		f->last = now;
	pthread_mutex_unlock(&f->lock);
}

void
mig_follow_add(struct mig_follow *f, const char *path)
{
	note(f, path, false);
}

static void
lost_events(struct mig_follow *f)
{
	pthread_mutex_lock(&f->lock);
	f->all = true;
	pthread_mutex_unlock(&f->lock);
}

/* --- events ---------------------------------------------------------------- */

/* Where a descriptor is now; false: nowhere. */
static bool
path_of_fd(int fd, char *out, size_t size)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out, size - 1);
	if (n <= 0)
		return false;
	out[n] = '\0';
	return true;
}

/* The directory's path below DIR; false: it is not there. */
static bool
path_below(struct mig_follow *f, int fd, char *root, char *dir)
{
	/* DIR may be moved aside just between the two looks. */
	for (int i = 0; i < 2; i++) {
		size_t n = strlen(root);

		if (!path_of_fd(fd, dir, PATH_MAX))
			return false;
		if (strncmp(dir, root, n) == 0 && (!dir[n] || dir[n] == '/')) {
			memmove(dir, dir + n + (dir[n] == '/'),
				strlen(dir + n) + !dir[n]);
			return true;
		}
		if (!path_of_fd(f->m->root, root, PATH_MAX))
			return false;
	}
	return false;
}

/* root: where DIR was a moment ago. */
static void
on_name(struct mig_follow *f, char *root,
	const struct fanotify_event_info_fid *info)
{
	struct file_handle *h = (struct file_handle *)info->handle;
	const char *name = (const char *)h->f_handle + h->handle_bytes;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	char dir[PATH_MAX];

	fd = open_by_handle_at(f->mount, h, O_PATH | O_CLOEXEC);
	/* Gone: its own removal is an event of its parent. */
	if (fd < 0 || !path_below(f, fd, root, dir))
		return;
	if (info->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME ||
	    strcmp(name, ".") == 0) {
		/* The directory itself: its attributes. */
		note(f, dir, true);
		return;
	}
	path = *dir ? xasprintf("%s/%s", dir, name) : xstrdup(name);
	note(f, path, true);
}

/* at: its beginning, aligned to 4 only. */
static void
on_event(struct mig_follow *f, char *root, const char *at,
	 const struct fanotify_event_metadata *e)
{
	const char *p = at + e->metadata_len, *end = at + e->event_len;

	if (e->mask & FAN_Q_OVERFLOW) {
		lost_events(f);
		return;
	}
	while (p + sizeof(struct fanotify_event_info_header) <= end) {
		const struct fanotify_event_info_fid *i = (const void *)p;

		if (i->hdr.len == 0)
			break;
		if (i->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME ||
		    i->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID)
			on_name(f, root, i);
		p += i->hdr.len;
	}
}

/* false: the queue is empty. */
static bool
read_events(struct mig_follow *f)
{
	char buf[16384] __attribute__((aligned(8)));
	struct fanotify_event_metadata e;
	ssize_t n = read(f->fan, buf, sizeof(buf));
	char root[PATH_MAX];

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	if (n <= 0 || !path_of_fd(f->m->root, root, sizeof(root))) {
		lost_events(f);
		return false;
	}
	for (const char *p = buf; n >= (ssize_t)sizeof(e);) {
		memcpy(&e, p, sizeof(e));
		if (e.event_len < sizeof(e) || (ssize_t)e.event_len > n)
			break;
		on_event(f, root, p, &e);
		p += e.event_len;
		n -= e.event_len;
	}
	return true;
}

static void *
follow_thread(void *arg)
{
	struct mig_follow *f = arg;

	for (;;) {
		struct pollfd p[2] = { { .fd = f->fan, .events = POLLIN },
				       { .fd = f->end, .events = POLLIN } };

		if (poll(p, 2, 5) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		while (read_events(f))
			;
		pthread_mutex_lock(&f->lock);
		f->round++;
		pthread_cond_broadcast(&f->idle);
		pthread_mutex_unlock(&f->lock);
	}
	return NULL;
}

static int
open_events(struct mig_follow *f)
{
	const uint64_t mask = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM |
			      FAN_MOVED_TO | FAN_MODIFY | FAN_ATTRIB |
			      FAN_CLOSE_WRITE | FAN_ONDIR;

	f->mount = openat(f->m->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->mount < 0)
		return -errno;
	f->fan = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME |
				       FAN_CLOEXEC | FAN_NONBLOCK |
				       FAN_UNLIMITED_QUEUE,
			       O_RDONLY);
	if (f->fan < 0)
		return -errno;
	if (fanotify_mark(f->fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask,
			  f->mount, NULL) < 0)
		return -errno;
	f->end = eventfd(0, EFD_CLOEXEC);
	return f->end < 0 ? -errno : 0;
}

struct mig_follow *
mig_follow_start(struct mig *m)
{
	struct mig_follow *f = xcalloc(1, sizeof(*f));
	int r;

	f->m = m;
	f->fan = f->mount = f->end = -1;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->idle, NULL);
	f->looked = clock_mono_ns();
	r = getenv("MIGRATE_NO_EVENTS") ? -EPERM : open_events(f);
	if (r == 0)
		r = -pthread_create(&f->thread, NULL, follow_thread, f);
	if (r < 0) {
		log_info("migrate", "no fanotify (%s): all is looked at again "
				    "and again",
			 strerror(-r));
		if (f->fan >= 0)
			close(f->fan);
		f->fan = -1;
	}
	return f;
}

void
mig_follow_stop(struct mig_follow *f)
{
	struct changed *c, *next;
	uint64_t one = 1;

	if (!f)
		return;
	if (f->fan >= 0) {
		if (write(f->end, &one, sizeof(one)) < 0)
			abort(); /* an eventfd takes it */
		pthread_join(f->thread, NULL);
		close(f->fan);
	}
	if (f->end >= 0)
		close(f->end);
	if (f->mount >= 0)
		close(f->mount);
	HASH_ITER(hh, f->table, c, next) {
		HASH_DEL(f->table, c);
		free(c->path);
		free(c);
	}
	pthread_cond_destroy(&f->idle);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

bool
mig_follow_events(const struct mig_follow *f)
{
	return f->fan >= 0;
}

/* --- work ------------------------------------------------------------------ */

/* Events are queued by the call that makes them; so after two empty queues all
 * that was done before is in the table. */
static void
drain(struct mig_follow *f)
{
	uint64_t until;

	if (f->fan < 0)
		return;
	pthread_mutex_lock(&f->lock);
	until = f->round + 2;
	while (f->round < until)
		pthread_cond_wait(&f->idle, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **
take(struct mig_follow *f, bool all, size_t *n)
{
	int64_t now = clock_mono_ns();
	struct changed *c, *next;
	char **v;

	*n = 0;
	pthread_mutex_lock(&f->lock);
	v = xcalloc(HASH_COUNT(f->table) + 1, sizeof(*v));
	HASH_ITER(hh, f->table, c, next) {
		if (!all && now - c->last < QUIET_NS &&
		    now - c->first < OLDEST_NS)
			continue;
		HASH_DEL(f->table, c);
		v[(*n)++] = c->path;
		free(c);
	}
	pthread_mutex_unlock(&f->lock);
	qsort(v, *n, sizeof(*v), by_name);
	return v;
}

int
mig_follow_work(struct mig_follow *f, bool all, uint64_t *changes)
{
	int64_t now = clock_mono_ns();
	bool whole;
	char **v;
	size_t n;
	int r = 0;

	*changes = 0;
	if (all)
		drain(f);
	pthread_mutex_lock(&f->lock);
	whole = f->all || (f->fan < 0 && (all || now - f->looked > LOOK_EVERY));
	f->all = false;
	pthread_mutex_unlock(&f->lock);
	v = take(f, all || whole, &n);
	if (whole) {
		r = mig_pass(f->m, changes);
		pthread_mutex_lock(&f->lock);
		f->looked = now;
		pthread_mutex_unlock(&f->lock);
	} else if (n) {
		r = mig_pass_some(f->m, v, n, changes);
	}
	while (n)
		free(v[--n]);
	free(v);
	return r;
}

int64_t
mig_follow_last(struct mig_follow *f)
{
	int64_t last;

	pthread_mutex_lock(&f->lock);
	last = f->last;
	pthread_mutex_unlock(&f->lock);
	return last;
}

int64_t
mig_follow_lag(struct mig_follow *f, size_t *n)
{
	int64_t now = clock_mono_ns(), oldest = now;
	struct changed *c, *next;

	pthread_mutex_lock(&f->lock);
	HASH_ITER(hh, f->table, c, next)
		if (c->first < oldest)
			oldest = c->first;
	*n = HASH_COUNT(f->table);
	if (f->fan < 0)
		oldest = f->looked;
	pthread_mutex_unlock(&f->lock);
	return now - oldest;
}
