/* SPDX-License-Identifier: MIT */
/*
 * One walk over the source by a pool of threads.  A directory is a task: it is
 * made in the store, then read, and what differs in it becomes tasks; so the
 * order "a directory before what is in it" needs no other care.  Files go
 * before directories, and few threads read directories, which bounds the queue.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"

#define QUEUE_MAX 10000 /* files; readers of directories wait above it */

enum what {
	LOOK, /* compare it with the store, and carry it */
	GONE, /* remove it from the store */
	TIME, /* a directory's time */
};
struct task {
	char *path;
	enum what what;
	struct stat st; /* of LOOK */
	struct task *next;
};
struct seen {
	char *path;
	UT_hash_handle hh;
};

struct pass {
	struct mig *m;
	/* Protects all below, and signals each change. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct task *files, *dirs;
	size_t nfiles;
	unsigned scanning, scanners_max;
	size_t busy; /* tasks that run */
	struct seen *seen;
	bool whole; /* from the root: it counts, and finds what has gone */
	bool incomplete; /* not all was read: nothing may be removed */
};

static void
push_locked(struct task **list, struct task *t)
{
	t->next = *list;
	*list = t;
}

static struct task *
pop_locked(struct task **list)
{
	struct task *t = *list;

	if (t)
		*list = t->next;
	return t;
}

static void
task_free(struct task *t)
{
	free(t->path);
	free(t);
}

static void
add_task(struct pass *p, char *path, const struct stat *st)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->path = path;
	t->st = *st;
	pthread_mutex_lock(&p->lock);
	if (S_ISDIR(st->st_mode)) {
		push_locked(&p->dirs, t);
	} else {
		while (p->nfiles >= QUEUE_MAX && !atomic_load(&p->m->stop))
			pthread_cond_wait(&p->changed, &p->lock);
		push_locked(&p->files, t);
		p->nfiles++;
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void
add_seen(struct pass *p, const char *path)
{
	struct seen *s = xcalloc(1, sizeof(*s));

	s->path = xstrdup(path);
	pthread_mutex_lock(&p->lock);
	HASH_ADD_KEYPTR(hh, p->seen, s->path, strlen(s->path), s);
	pthread_mutex_unlock(&p->lock);
}

static void
done_file(struct pass *p, const struct stat *st)
{
	if (!p->whole)
		return;
	mig_count(p->m, MIG_DONE_FILES, 1);
	mig_count(p->m, MIG_DONE_BYTES, st->st_size);
}

static void
was_incomplete(struct pass *p)
{
	pthread_mutex_lock(&p->lock);
	p->incomplete = true;
	pthread_mutex_unlock(&p->lock);
}

/* --- reading a directory --------------------------------------------------- */

static void
scan_entry(struct pass *p, const char *dir, int fd, const char *name)
{
	_cleanup_free_ char *path = path_join(dir, name);
	_cleanup_rec_ struct mig_rec rec = { 0 };
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			mig_list(p->m, MIG_NOT_CARRIED, path, "%s",
				 strerror(errno));
		return;
	}
	add_seen(p, path);
	if (st.st_dev != p->m->dev) {
		mig_list(p->m, MIG_LEFT_OUT, path,
			 "another file system is mounted there");
		return;
	}
	if (S_ISDIR(st.st_mode) && mig_source_reserved(path)) {
		/* With all that is in it. */
		mig_entry_left_out(p->m, path);
		return;
	}
	if (S_ISREG(st.st_mode) &&
	    mig_journal_get(p->m->journal, path, &rec) &&
	    mig_entry_same(&rec, &st)) {
		done_file(p, &st);
		return;
	}
	add_task(p, steal_ptr(&path), &st);
}

static void
scan_dir(struct pass *p, const char *path)
{
	int fd = mig_source_open(p->m, path, O_RDONLY | O_DIRECTORY);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int code = fd < 0 ? -fd : errno;

		was_incomplete(p);
		if (code == ENOENT || code == ELOOP || code == ENOTDIR)
			mig_count(p->m, MIG_VANISHED, 1);
		else
			mig_list(p->m, MIG_NOT_CARRIED, path,
				 "reading the directory: %s", strerror(code));
		return;
	}
	while (!atomic_load(&p->m->stop)) {
		errno = 0;
		e = readdir(d);
		if (!e && errno) {
			was_incomplete(p);
			mig_list(p->m, MIG_NOT_CARRIED, path,
				 "reading the directory: %s", strerror(errno));
		}
		if (!e)
			return;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			scan_entry(p, path, fd, e->d_name);
	}
}

/* --- workers --------------------------------------------------------------- */

static void
run_task(struct pass *p, struct mig_worker *w, struct task *t)
{
	bool there;

	if (t->what == GONE) {
		mig_entry_gone(w, t->path);
		return;
	}
	if (t->what == TIME) {
		mig_entry_dir_time(w, t->path);
		return;
	}
	there = mig_entry(w, t->path, &t->st);
	if (S_ISDIR(t->st.st_mode)) {
		if (there)
			scan_dir(p, t->path);
		else
			was_incomplete(p);
	} else if (S_ISREG(t->st.st_mode)) {
		done_file(p, &t->st);
	}
}

static struct task *
next_task_locked(struct pass *p, bool *scan)
{
	struct task *t = pop_locked(&p->files);

	*scan = false;
	if (t) {
		p->nfiles--;
		return t;
	}
	if (p->scanning < p->scanners_max) {
		t = pop_locked(&p->dirs);
		*scan = t != NULL;
	}
	return t;
}

static void *
worker_thread(void *arg)
{
	struct pass *p = arg;
	struct mig_worker w;

	if (mig_worker_init(&w, p->m) < 0) {
		mig_fatal(p->m, -ENOMEM, "no memory for a worker");
		return NULL;
	}
	pthread_mutex_lock(&p->lock);
	while (!atomic_load(&p->m->stop)) {
		bool scan;
		struct task *t = next_task_locked(p, &scan);

		if (!t && !p->busy && !p->dirs)
			break;
		if (!t) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		p->busy++;
		p->scanning += scan;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
		run_task(p, &w, t);
		task_free(t);
		pthread_mutex_lock(&p->lock);
		p->busy--;
		p->scanning -= scan;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	mig_worker_release(&w);
	return NULL;
}

static void
run_workers(struct pass *p)
{
	pthread_t t[256];
	/* A directory brings more. */
	size_t most = p->dirs || p->nfiles > p->m->jobs ? p->m->jobs :
							  p->nfiles;
	unsigned n = 0;

	while (n < most &&
	       pthread_create(&t[n], NULL, worker_thread, p) == 0)
		n++;
	if (n == 0)
		mig_fatal(p->m, -EAGAIN, "no thread can be started");
	while (n)
		pthread_join(t[--n], NULL);
}

/* Before the workers run: no limit, no lock. */
static void
queue(struct pass *p, const char *path, enum what what, const struct stat *st)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->path = xstrdup(path);
	t->what = what;
	if (st)
		t->st = *st;
	if (st && S_ISDIR(st->st_mode)) {
		push_locked(&p->dirs, t);
	} else {
		push_locked(&p->files, t);
		p->nfiles++;
	}
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files first and at the same time, then directories, the deepest first.  The
 * strings are freed. */
static void
remove_all(struct pass *p, struct mig_worker *w, char **paths, size_t n)
{
	if (n == 0)
		return;
	qsort(paths, n, sizeof(*paths), by_name);
	for (size_t i = 0; i < n; i++) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (mig_journal_get(p->m->journal, paths[i], &rec) &&
		    rec.kind == 'd')
			continue;
		queue(p, paths[i], GONE, NULL);
		free(paths[i]);
		paths[i] = NULL;
	}
	if (p->files)
		run_workers(p);
	while (n--) {
		if (paths[n] && !atomic_load(&p->m->stop))
			mig_entry_gone(w, paths[n]);
		free(paths[n]);
	}
}

/* --- after the walk -------------------------------------------------------- */

/* What the source no longer has, the deepest first; then times. */
static void
tidy(struct pass *p)
{
	char **paths, **gone;
	struct mig_worker w;
	size_t n, ngone = 0;

	if (mig_worker_init(&w, p->m) < 0)
		return;
	paths = mig_journal_pendings(p->m->journal, &n);
	while (n--) {
		struct stat st;

		if (!p->incomplete && !atomic_load(&p->m->stop) &&
		    mig_source_stat(p->m, paths[n], &st) == -ENOENT)
			mig_leftover(&w, paths[n], '\0');
		free(paths[n]);
	}
	free(paths);
	paths = mig_journal_paths(p->m->journal, &n);
	gone = xcalloc(n + 1, sizeof(*gone));
	for (size_t i = 0; i < n; i++) {
		struct seen *s;
		struct stat st;

		HASH_FIND_STR(p->seen, paths[i], s);
		if (!s && !p->incomplete && *paths[i] &&
		    !atomic_load(&p->m->stop) &&
		    mig_source_stat(p->m, paths[i], &st) == -ENOENT)
			gone[ngone++] = steal_ptr(&paths[i]);
	}
	remove_all(p, &w, gone, ngone);
	for (size_t i = 0; i < n; i++) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (paths[i] && mig_journal_get(p->m->journal, paths[i], &rec) &&
		    rec.kind == 'd')
			queue(p, paths[i], TIME, NULL);
		free(paths[i]);
	}
	if (p->files)
		run_workers(p);
	free(gone);
	free(paths);
	mig_worker_release(&w);
}

static uint64_t
activity(struct mig *m)
{
	static const enum mig_count counts[] = {
		MIG_SENT_FILES, MIG_DIRS,    MIG_SYMLINKS, MIG_SPECIAL,
		MIG_REMOVED,	MIG_RETRIED, MIG_ATTRS,	   MIG_HARD_LINKS,
	};
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		n += mig_counted(m, counts[i]);
	return n;
}

static void
begin(struct pass *p, struct mig *m)
{
	p->m = m;
	p->scanners_max = m->jobs > 2 ? m->jobs / 2 : 1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
}

static int
end(struct pass *p)
{
	struct mig *m = p->m;
	struct seen *s, *next;
	struct task *t;

	while ((t = pop_locked(&p->files)) || (t = pop_locked(&p->dirs)))
		task_free(t);
	HASH_ITER(hh, p->seen, s, next) {
		HASH_DEL(p->seen, s);
		free(s->path);
		free(s);
	}
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	if (!m->hurry && mig_journal_sync(m->journal) < 0)
		mig_fatal(m, -EIO, "the journal in %s can't be written",
			  mig_journal_dir(m->journal));
	return atomic_load(&m->fatal) ? -atomic_load(&m->fatal) :
	       atomic_load(&m->stop)  ? -EINTR :
					0;
}

int
mig_pass(struct mig *m, uint64_t *changes)
{
	struct pass p = { .whole = true };
	uint64_t before = activity(m);
	struct stat st;
	int r;

	begin(&p, m);
	mig_count(m, MIG_DONE_FILES, -(int64_t)mig_counted(m, MIG_DONE_FILES));
	mig_count(m, MIG_DONE_BYTES, -(int64_t)mig_counted(m, MIG_DONE_BYTES));
	r = mig_source_stat(m, "", &st);
	if (r < 0) {
		mig_fatal(m, r, "%s: %s", m->dir, strerror(-r));
	} else {
		add_task(&p, xstrdup(""), &st);
		run_workers(&p);
	}
	tidy(&p);
	*changes = activity(m) - before;
	return end(&p);
}

/* --- some names ------------------------------------------------------------ */

/* Directories on the way that the store may not have yet. */
static void
make_parents(struct mig_worker *w, const char *path)
{
	_cleanup_free_ char *up = xstrdup(path);

	for (char *slash = up; (slash = strchr(slash, '/')); slash++) {
		_cleanup_rec_ struct mig_rec rec = { 0 };
		struct stat st;

		*slash = '\0';
		if (!mig_journal_get(w->m->journal, up, &rec) &&
		    mig_source_stat(w->m, up, &st) == 0)
			mig_entry(w, up, &st);
		*slash = '/';
	}
}

int
mig_pass_some(struct mig *m, char **paths, size_t n, uint64_t *changes)
{
	uint64_t before = activity(m);
	struct pass p = { 0 };
	struct mig_worker w;
	char **gone = NULL;
	size_t ngone = 0;

	begin(&p, m);
	if (mig_worker_init(&w, m) < 0) {
		mig_fatal(m, -ENOMEM, "no memory for a worker");
		return end(&p);
	}
	for (size_t i = 0; i < n && !atomic_load(&m->stop); i++) {
		struct stat st;
		int r = mig_source_stat(m, paths[i], &st);

		if (r < 0 || st.st_dev != m->dev)
			continue;
		make_parents(&w, paths[i]);
		queue(&p, paths[i], LOOK, &st);
	}
	if (p.files || p.dirs)
		run_workers(&p);
	/* Last: what was renamed is in the store under both names first. */
	for (size_t i = 0; i < n && !atomic_load(&m->stop); i++) {
		struct stat st;
		int r = mig_source_stat(m, paths[i], &st);
		char **below;
		size_t k;

		if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
			continue;
		/* With all that was below it. */
		below = mig_journal_below(m->journal, paths[i], &k);
		gone = xrealloc(gone, ngone + k + 1, sizeof(*gone));
		for (size_t j = 0; j < k; j++)
			gone[ngone++] = below[j];
		free(below);
	}
	remove_all(&p, &w, gone, ngone);
	free(gone);
	mig_worker_release(&w);
	*changes = activity(m) - before;
	return end(&p);
}
