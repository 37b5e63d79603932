/* SPDX-License-Identifier: MIT */
/*
 * The other direction: which names of the store are looked at.  All, by a pool
 * of threads, or those that are known to have changed; then what the store no
 * longer has is removed from the old tree.
 */
#include <config.h>

#include "mount-helpers/migrate-back.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"

#define CLOCKS_APART 120 /* seconds that a store's clock may differ */
#define QUEUE_MAX 10000	 /* names; above it who lists a directory helps */

struct name {
	char *path; /* key; in the store */
	char *here; /* its name in the old tree */
	UT_hash_handle hh;
};
struct job {
	char *path;
	struct be_attr a;
	bool below; /* of a directory: also what is in it */
	struct job *next;
};

struct walk {
	struct back b;
	struct name *beside; /* names that were carried under another one; does
			      * not change */
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct name *seen; /* by names in the old tree */
	struct job *jobs;
	size_t njobs, busy;
	int error; /* the walk is not complete */
	int full;  /* the old tree takes no more: names are only seen */
};

/* --- names ----------------------------------------------------------------- */

static void
add_name(struct name **table, const char *path, const char *here)
{
	struct name *n;

	HASH_FIND_STR(*table, path, n);
	if (n)
		return;
	n = xcalloc(1, sizeof(*n));
	n->path = xstrdup(path);
	n->here = xstrdup(here);
	HASH_ADD_KEYPTR(hh, *table, n->path, strlen(n->path), n);
}

static void
drop_names(struct name **table)
{
	struct name *n, *next;

	HASH_ITER(hh, *table, n, next) {
		HASH_DEL(*table, n);
		free(n->path);
		free(n->here);
		free(n);
	}
}

static const char *
local_name(struct walk *w, const char *path)
{
	struct name *n;

	HASH_FIND_STR(w->beside, path, n);
	return n ? n->here : path;
}

static void
find_beside(struct walk *w)
{
	char **paths;
	size_t n;

	if (!mig_journal_has_beside(w->b.m->journal))
		return;
	paths = mig_journal_paths(w->b.m->journal, &n);
	while (n--) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (mig_journal_get(w->b.m->journal, paths[n], &rec) && rec.as)
			add_name(&w->beside, rec.as, paths[n]);
		free(paths[n]);
	}
	free(paths);
}

/* --- the queue ------------------------------------------------------------- */

static bool
stopped(struct walk *w)
{
	return atomic_load(&w->b.m->stop);
}

static void
fail(struct walk *w, const char *path, int r, const struct err *err)
{
	mig_list(w->b.m, MIG_NOT_CARRIED, *path ? path : ".", "%s",
		 err->msg ? err->msg : strerror(-r));
	pthread_mutex_lock(&w->lock);
	w->error = r;
	pthread_mutex_unlock(&w->lock);
}

static struct job *
job_new(const char *path, const struct be_attr *a, bool below)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->path = xstrdup(path);
	j->a = *a;
	j->below = below;
	return j;
}

static void
job_free(struct job *j)
{
	free(j->path);
	free(j);
}

/* false: the queue is full. */
static bool
push(struct walk *w, struct job *j)
{
	bool room;

	pthread_mutex_lock(&w->lock);
	room = w->njobs < QUEUE_MAX || S_ISDIR(j->a.mode);
	if (room) {
		j->next = w->jobs;
		w->jobs = j;
		w->njobs++;
		pthread_cond_signal(&w->changed);
	}
	pthread_mutex_unlock(&w->lock);
	return room;
}

struct entries {
	struct {
		char *name;
		struct be_attr a;
	} *v;
	size_t n, cap;
};

static int
on_entry(void *arg, const char *name, const struct be_attr *a)
{
	struct entries *e = arg;

	if (e->n == e->cap) {
		e->cap = e->cap ? 2 * e->cap : 64;
		e->v = xrealloc(e->v, e->cap, sizeof(*e->v));
	}
	e->v[e->n].name = xstrdup(name);
	e->v[e->n++].a = *a;
	return 0;
}

static void run_job(struct walk *w, struct job *j);

static void
list_dir(struct walk *w, const char *dir)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(w->b.m, &err);
	struct entries e = { 0 };
	int r = be_list(w->b.m->be, &ctx, dir, on_entry, &e);

	for (size_t i = 0; i < e.n; i++) {
		if (r == 0 && !stopped(w) &&
		    strncmp(e.v[i].name, ".sharedfs-", 10) != 0) {
			_cleanup_free_ char *path = path_join(dir, e.v[i].name);
			struct job *j = job_new(path, &e.v[i].a, true);

			if (!push(w, j)) {
				run_job(w, j);
				job_free(j);
			}
		}
		free(e.v[i].name);
	}
	free(e.v);
	/* (-ENOENT: it went meanwhile.) */
	if (r < 0 && !(r == -ENOENT && *dir)) {
		if (!err.msg)
			err_set(&err, r, "%s", strerror(-r));
		err_prefix(&err, "listing the share");
		fail(w, dir, r, &err);
	}
}

static void
run_job(struct walk *w, struct job *j)
{
	const char *here = local_name(w, j->path);
	bool full;
	int r;

	pthread_mutex_lock(&w->lock);
	add_name(&w->seen, here, here);
	full = w->full;
	pthread_mutex_unlock(&w->lock);
	if (full)
		r = S_ISDIR(j->a.mode);
	else /* The root's attributes are the share's own. */
		r = *j->path ? back_entry(&w->b, j->path, here, &j->a) : 1;
	if (back_is_full(r)) {
		pthread_mutex_lock(&w->lock);
		w->full = r;
		pthread_mutex_unlock(&w->lock);
		if (S_ISDIR(j->a.mode) && j->below)
			list_dir(w, j->path);
	} else if (r < 0) {
		_cleanup_err_ struct err err = ERR_INIT;

		fail(w, j->path, r, &err);
	} else if (r == 1 && j->below) {
		list_dir(w, j->path);
	}
}

static void *
worker_thread(void *arg)
{
	struct walk *w = arg;
	struct job *j;

	pthread_mutex_lock(&w->lock);
	while (w->error == 0 && !stopped(w)) {
		j = w->jobs;
		if (!j && !w->busy)
			break;
		if (!j) {
			pthread_cond_wait(&w->changed, &w->lock);
			continue;
		}
		w->jobs = j->next;
		w->njobs--;
		w->busy++;
		pthread_mutex_unlock(&w->lock);
		run_job(w, j);
		job_free(j);
		pthread_mutex_lock(&w->lock);
		w->busy--;
		pthread_cond_broadcast(&w->changed);
	}
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Until the queue is empty. */
static void
run_queue(struct walk *w)
{
	unsigned n = 0, max = w->b.m->jobs;
	pthread_t t[256];

	if (max > sizeof(t) / sizeof(*t))
		max = sizeof(t) / sizeof(*t);
	while (n < max && pthread_create(&t[n], NULL, worker_thread, w) == 0)
		n++;
	if (n == 0)
		worker_thread(w);
	while (n)
		pthread_join(t[--n], NULL);
}

static void
begin(struct walk *w, struct mig *m)
{
	_cleanup_free_ char *when = mig_journal_value(m->journal, "cut");

	w->b.m = m;
	w->b.since = when ? strtoll(when, NULL, 10) - CLOCKS_APART : 0;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	find_beside(w);
}

static int
end(struct walk *w, uint64_t *changes)
{
	struct mig *m = w->b.m;
	struct job *j;

	while ((j = w->jobs)) {
		w->jobs = j->next;
		job_free(j);
	}
	drop_names(&w->beside);
	drop_names(&w->seen);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	*changes = atomic_load(&w->b.changes);
	if (!m->hurry)
		mig_journal_sync(m->journal);
	return stopped(w) ? -EINTR : w->error ? w->error : w->full;
}

/* What the journal has of these and the share no longer has; sorted: the deepest
 * go first.  The strings are freed. */
static void
remove_gone(struct walk *w, char **paths, size_t n)
{
	while (n--) {
		struct name *s;

		HASH_FIND_STR(w->seen, paths[n], s);
		if (!s && *paths[n] && w->error == 0 && !stopped(w))
			back_gone(&w->b, paths[n]);
		free(paths[n]);
	}
	free(paths);
}

int
mig_back(struct mig *m, mig_changed_fn *fn, void *arg, uint64_t *changes)
{
	const struct be_attr root = { .mode = S_IFDIR };
	struct walk w = { .b = { .on_change = fn, .arg = arg } };
	uint64_t removed;
	char **paths;
	size_t n;

	begin(&w, m);
	for (int i = 0;; i++) {
		removed = mig_counted(m, MIG_BACK_REMOVED);
		push(&w, job_new("", &root, true));
		run_queue(&w);
		paths = mig_journal_paths(m->journal, &n);
		remove_gone(&w, paths, n);
		/* That may have made the room that it lacks. */
		if (!w.full || i == 1 || w.error || stopped(&w) ||
		    mig_counted(m, MIG_BACK_REMOVED) == removed)
			break;
		w.full = 0;
		drop_names(&w.seen);
	}
	return end(&w, changes);
}

/* --- some names ------------------------------------------------------------ */

/* 1: the store has it.  0: not. */
static int
look(struct walk *w, const char *path, struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(w->b.m, &err);
	int r = be_getattr(w->b.m->be, &ctx, path, BE_HINT_NONE, a);

	if (r == 0)
		return 1;
	if (r != -ENOENT && r != -ENOTDIR)
		fail(w, path, r, &err);
	return 0;
}

/* Answers of the store, by several threads: each takes a round trip. */
struct asking {
	struct walk *w;
	const struct mig_change *v;
	struct be_attr *a;
	bool *there;
	size_t n;
	atomic_size_t next;
};

static void *
asking_thread(void *arg)
{
	struct asking *q = arg;
	size_t i;

	while ((i = atomic_fetch_add(&q->next, 1)) < q->n && !stopped(q->w))
		q->there[i] = look(q->w, q->v[i].path, &q->a[i]) == 1;
	return NULL;
}

static void
ask_all(struct asking *q)
{
	unsigned n = 0, max = q->w->b.m->jobs;
	pthread_t t[256];

	if (max > sizeof(t) / sizeof(*t))
		max = sizeof(t) / sizeof(*t);
	while (n < max && n + 1 < q->n &&
	       pthread_create(&t[n], NULL, asking_thread, q) == 0)
		n++;
	asking_thread(q);
	while (n)
		pthread_join(t[--n], NULL);
}

/* Directories on the way that the old tree does not have yet. */
static void
make_parents(struct walk *w, const char *path)
{
	_cleanup_free_ char *up = xstrdup(path);

	for (char *slash = up; (slash = strchr(slash, '/')); slash++) {
		struct be_attr a;
		struct stat st;

		*slash = '\0';
		if (mig_source_stat(w->b.m, up, &st) == -ENOENT &&
		    look(w, up, &a) == 1)
			back_entry(&w->b, up, up, &a);
		*slash = '/';
	}
}

/* Is path in one of the trees before it? */
static bool
covered(const struct mig_change *v, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (v[k].tree && path_within(v[i].path, v[k].path))
			return true;
	return false;
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(((const struct mig_change *)a)->path,
		      ((const struct mig_change *)b)->path);
}

/* What was below these names, too. */
static void
remove_some(struct walk *w, const struct mig_change *v, size_t n)
{
	/* Backwards: what is in a directory before it. */
	while (n--) {
		const char *here = local_name(w, v[n].path);
		struct name *s;
		char **paths;
		size_t k;

		HASH_FIND_STR(w->seen, here, s);
		if (!s)
			mig_list_forget(w->b.m, here);
		if (s && !v[n].tree)
			continue;
		paths = mig_journal_below(w->b.m->journal, here, &k);
		remove_gone(w, paths, k);
	}
}

int
mig_back_some(struct mig *m, const struct mig_change *changed, size_t n,
	      uint64_t *changes)
{
	struct mig_change *v = xmemdup(changed, n * sizeof(*v));
	_cleanup_free_ struct be_attr *a = xcalloc(n + 1, sizeof(*a));
	_cleanup_free_ bool *there = xcalloc(n + 1, sizeof(*there));
	struct walk w = { 0 };
	struct asking q = { &w, v, a, there, n, 0 };

	begin(&w, m);
	if (n)
		qsort(v, n, sizeof(*v), by_path);
	ask_all(&q);
	for (size_t i = 0; i < n && w.error == 0 && !stopped(&w); i++) {
		struct job *j;

		if (strncmp(path_base(v[i].path), ".sharedfs-", 10) == 0 ||
		    covered(v, i) || !there[i])
			continue;
		make_parents(&w, v[i].path);
		j = job_new(v[i].path, &a[i], v[i].tree);
		/* Before what is in it. */
		if (S_ISDIR(a[i].mode) && !v[i].tree) {
			run_job(&w, j);
			job_free(j);
		} else if (!push(&w, j)) {
			run_job(&w, j);
			job_free(j);
		}
	}
	if (w.jobs)
		run_queue(&w);
	remove_some(&w, v, n);
	free(v);
	return end(&w, changes);
}
