/* SPDX-License-Identifier: MIT */
/*
 * The cut-over.
 *
 * 1  the share is mounted on DIR.before-sharedfs, and works
 * 2  what changed is carried until that takes its shortest time; the share is
 *    held: whoever calls into it waits
 * 3  DIR and DIR.before-sharedfs change places, with the mount
 * 4  what changed until 3 and is not in the store yet is carried; beside it a
 *    thread looks whether programs are still at something in the old tree
 * 5  the share is let go
 * 6  programs that have files of the old tree open are followed
 *
 * A program that uses DIR before 3 finds the old tree; one that comes later
 * waits until 5 and then finds everything.  Until 3 anything that fails leaves
 * DIR as it was.  A run that is killed is continued by the next one: it finds
 * the tree either at DIR or beside the share (migrate-place.c).
 */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/guard.h"
#include "mount-helpers/migrate-tree.h"

#define NO_SUCH_NAME ".sharedfs-no-such-name"
#define ROUNDS 5 /* before the share is held */
#define QUIET_NS (100 * NSEC_PER_MSEC)	 /* nothing came any more */
#define SETTLE_MAX (500 * NSEC_PER_MSEC) /* longer than that nobody waits */
#define SETTLE_PAUSE_MS 5
#define LATE_PAUSE_MS 200

static int
since_ms(int64_t began)
{
	return (int)((clock_mono_ns() - began) / NSEC_PER_MSEC);
}

/* What may still be under way in the old tree after the exchange. */
struct settle {
	pthread_t thread;
	bool running;
	int64_t until;
	atomic_bool passed; /* every directory's lock was free once */
	atomic_bool looked; /* v is complete, and the thread's no longer */
	struct mig_user *v;
	size_t n;
};

struct cut {
	struct mig *m;
	struct settle settle;
	char *old; /* where the old tree will be, or is */
	int bare;  /* the directory below the mount; -1 */
	bool mounted;
	char **dirs; /* of the old tree */
	size_t ndirs;
	struct err err;
};

int
mig_cutover_check(struct mig *m, struct err *err)
{
	_cleanup_free_ char *old = xasprintf("%s.before-sharedfs", m->dir);
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_free_ char *up = xstrdup(m->dir);
	struct stat st;

	if (geteuid() != 0)
		return err_set(err, -EPERM, "--cutover needs root: it mounts");
	if (mountinfo_at(m->dir, &e) != 0)
		return err_set(err, -EBUSY,
			       "%s is a mount point (%s): a mount can't be "
			       "moved aside.  Use a directory below it, or copy "
			       "without --cutover and change the mounts",
			       m->dir, e.source ? e.source : "?");
	*strrchr(up, '/') = '\0';
	if (stat(*up ? up : "/", &st) < 0 || st.st_dev != m->dev)
		return err_set(err, -EXDEV, "%s and its parent are on different "
					    "file systems",
			       m->dir);
	if (access(*up ? up : "/", W_OK) < 0)
		return err_set(err, -errno, "%s: %s", *up ? up : "/",
			       strerror(errno));
	/* An empty one is of a run that was interrupted. */
	if (lstat(old, &st) == 0 && rmdir(old) < 0)
		return err_set(err, -EEXIST,
			       "%s is there: an earlier cut-over of this "
			       "directory was not undone or cleaned up",
			       old);
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return err_set(err, -errno, "/dev/fuse: %s (modprobe fuse)",
			       strerror(errno));
	return 0;
}

/* --- before ---------------------------------------------------------------- */

static int
prepare(struct cut *c)
{
	_cleanup_free_ char *tree = NULL;
	struct mig *m = c->m;
	int r;

	/* What a run that is killed from now on leaves must be found again. */
	tree = xasprintf("%llu", (unsigned long long)m->root_st.st_ino);
	mig_journal_set(m->journal, "old", c->old);
	mig_journal_set(m->journal, "tree", tree);
	mig_journal_set(m->journal, "cutover", "begun");
	if (mig_journal_sync(m->journal) < 0)
		return err_set(&c->err, -EIO, "the journal can't be written");
	/* When the share is not mounted nobody shall write there. */
	if (mkdir(c->old, 0555) < 0)
		return err_set(&c->err, -errno, "make %s: %s", c->old,
			       strerror(errno));
	if (m->a->opt.guard)
		c->bare = open(c->old, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = mig_mount_start(m, c->old, &c->err);
	if (r == 0)
		c->mounted = true;
	FAULT_POINT("cutover.mounted");
	return r;
}

/* DIR is what it was; so is all beside it. */
static int
give_up(struct cut *c)
{
	_cleanup_err_ struct err err = ERR_INIT;

	if (c->mounted && mig_mount_stop(c->old, &err) < 0)
		mig_say(c->m, "%s is still mounted: %s", c->old,
			err_words(&err));
	rmdir(c->old);
	mig_journal_set(c->m->journal, "cutover", NULL);
	mig_fatal(c->m, c->err.code ? c->err.code : -EIO,
		  "no cut-over, %s is as it was: %s", c->m->dir,
		  err_words(&c->err));
	return MIG_FAILED;
}

/* --- the moment ------------------------------------------------------------ */

/* The directories of the tree; beforehand, since there are many names. */
static void
find_dirs(struct cut *c)
{
	size_t n;
	char **paths = mig_journal_paths(c->m->journal, &n);

	for (size_t i = 0; i < n; i++) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (mig_journal_get(c->m->journal, paths[i], &rec) &&
		    rec.kind == 'd')
			paths[c->ndirs++] = paths[i];
		else
			free(paths[i]);
	}
	c->dirs = paths;
}

/* A call that had found its directory before the exchange may not have come to
 * that directory's lock yet, on a busy host; or it waits for it, behind others
 * or behind the disk.  Whoever takes the lock now comes after it; removing a
 * name that is not there does. */
static void
let_pass(struct cut *c, int64_t until)
{
	mig_let_run(until);
	for (size_t i = 0; i < c->ndirs && clock_mono_ns() < until; i++) {
		_cleanup_close_ int dir = mig_source_open(
			c->m, c->dirs[i], O_PATH | O_DIRECTORY);

		if (dir >= 0)
			unlinkat(dir, NO_SUCH_NAME, AT_REMOVEDIR);
	}
}

/* All processes are looked at once, which takes its time where there are many;
 * who has no file of the old tree open by then opens none. */
static void *
settle_thread(void *arg)
{
	struct cut *c = arg;
	struct settle *s = &c->settle;

	let_pass(c, s->until);
	atomic_store(&s->passed, true);
	s->v = mig_users(c->old, &s->n);
	atomic_store(&s->looked, true);
	return NULL;
}

static void
settle_begin(struct cut *c, int64_t until)
{
	struct settle *s = &c->settle;

	s->until = until;
	s->running = pthread_create(&s->thread, NULL, settle_thread, c) == 0;
	if (!s->running)
		settle_thread(c);
}

static void
settle_end(struct cut *c)
{
	struct settle *s = &c->settle;

	if (s->running)
		pthread_join(s->thread, NULL);
	s->running = false;
	free(s->v);
	s->v = NULL;
	s->n = 0;
}

static bool
is_written(struct cut *c)
{
	struct settle *s = &c->settle;

	if (!atomic_load(&s->looked))
		return true;
	while (s->n && !mig_user_writes(s->v[s->n - 1].pid, c->old))
		s->n--;
	return s->n > 0;
}

/* Nothing came to the old tree any more for a moment. */
static bool
is_quiet(struct cut *c, int64_t began, int64_t carried)
{
	int64_t last = mig_follow_events(c->m->follow) ?
			       mig_follow_last(c->m->follow) :
			       carried;

	return clock_mono_ns() - (last > began ? last : began) > QUIET_NS &&
	       !is_written(c);
}

/* All that changes in the old tree, until programs have done what they were at
 * when they were overtaken: opened a file, and are about to write and to rename
 * it.  Those that write for ever are followed afterwards. */
static int
last_delta(struct cut *c, int64_t began)
{
	int64_t carried = began;
	uint64_t changes;
	int r;

	settle_begin(c, began + SETTLE_MAX);
	for (;;) {
		bool passed = atomic_load(&c->settle.passed);

		r = mig_follow_work(c->m->follow, true, &changes);
		if (changes)
			carried = clock_mono_ns();
		log_info("migrate", "%d ms after the exchange: %llu changes",
			 since_ms(began), (unsigned long long)changes);
		if (r < 0 || clock_mono_ns() - began > SETTLE_MAX ||
		    (passed && !changes && is_quiet(c, began, carried)))
			return r;
		if (!changes)
			poll(NULL, 0, SETTLE_PAUSE_MS);
	}
}

/* A file can be made in DIR again; *when that was.  What takes it away again
 * keeps nobody waiting. */
static int
try_write(struct mig *m, int64_t *when)
{
	_cleanup_free_ char *path =
		xasprintf("%s/.sharedfs-cutover-%d", m->dir, (int)getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	*when = clock_mono_ns();
	if (close(fd) < 0 || unlink(path) < 0)
		return -errno;
	return 0;
}

/* The directory below the mount; before, it couldn't have been moved. */
static void
guard_bare(struct cut *c)
{
	_cleanup_free_ char *at = NULL;
	bool empty;

	if (c->bare < 0)
		return;
	at = xasprintf("/proc/self/fd/%d", c->bare);
	guard_set(at, &empty, NULL);
}

/* From here on it can only be taken back by --undo. */
static void
carry_last(struct cut *c, int64_t began, struct mig_hold *hold)
{
	struct mig *m = c->m;
	int64_t written = 0;
	int r;

	FAULT_POINT("cutover.exchanged");
	mig_journal_set(m->journal, "cutover", "done");
	guard_bare(c);
	r = last_delta(c, began);
	FAULT_POINT("cutover.carried");
	mig_hold_end(hold);
	log_info("migrate", "let go %d ms after the exchange", since_ms(began));
	if (r == 0)
		r = try_write(m, &written);
	m->gap_ns = (written ? written : clock_mono_ns()) - began;
	settle_end(c);
	if (r < 0)
		mig_list(m, MIG_NOTE, "", "the first write after the cut-over: "
					  "%s", strerror(-r));
}

void
mig_hurry(struct mig *m, bool on)
{
	/* Of this thread, and of those that it starts. */
	if (on && !m->hurry) {
		m->nice = getpriority(PRIO_PROCESS, 0);
		setpriority(PRIO_PROCESS, 0, -20);
	} else if (!on && m->hurry) {
		setpriority(PRIO_PROCESS, 0, m->nice);
	}
	m->hurry = on;
}

/* As near as can be: until it takes as long as little does. */
static int
catch_up(struct cut *c)
{
	uint64_t last = UINT64_MAX, changes;
	int r = 0;

	for (int i = 0; r == 0 && i < ROUNDS; i++) {
		int64_t began = clock_mono_ns();

		r = mig_follow_work(c->m->follow, true, &changes);
		log_info("migrate", "%llu changes in %d ms",
			 (unsigned long long)changes, since_ms(began));
		if (changes == 0 || changes >= last)
			break;
		last = changes;
	}
	return r;
}

static int
change_places(struct cut *c)
{
	struct mig *m = c->m;
	_cleanup_free_ char *when =
		xasprintf("%lld", (long long)clock_wall().tv_sec);
	struct mig_exchange x;
	struct mig_hold hold;
	int64_t began;
	pid_t worker;
	int r = mig_mount_worker(c->old, &worker, &c->err);

	if (r < 0)
		return r;
	find_dirs(c);
	mig_journal_set(m->journal, "cut", when);
	r = mig_exchange_begin(&x, m->dir, c->old, &c->err);
	if (r < 0)
		return r;
	mig_hurry(m, true);
	r = catch_up(c);
	if (r == 0) {
		r = mig_hold_begin(&hold, worker);
		if (r < 0)
			err_set(&c->err, r, "holding the share: %s",
				strerror(-r));
	}
	if (r < 0)
		goto end;
	FAULT_POINT("cutover.held");
	began = clock_mono_ns();
	r = mig_exchange_go(&x, true);
	if (r == 0)
		carry_last(c, began, &hold);
	else
		err_set(&c->err, r, "exchange %s and %s: %s", m->dir, c->old,
			strerror(-r));
	mig_hold_end(&hold);
end:
	mig_hurry(m, false);
	mig_exchange_end(&x);
	return r;
}

/* --- after ----------------------------------------------------------------- */

static bool
has_writers(const char *old, bool say, struct mig *m)
{
	_cleanup_free_ struct mig_user *v = NULL;
	bool any = false;
	size_t n;

	v = mig_users(old, &n);
	for (size_t i = 0; i < n; i++) {
		any |= v[i].writing || v[i].cwd;
		if (!say || (!v[i].writing && !v[i].cwd))
			continue;
		mig_say(m, "process %d (%s) still %s", (int)v[i].pid,
			v[i].name,
			v[i].writing ? "writes to files of the old tree" :
				       "works in the old tree: restart it");
	}
	return any;
}

/* Those that hold old files open write on to them; until they close. */
static int
follow_late(struct cut *c)
{
	int64_t until = clock_mono_ns() + c->m->a->late_ns;
	uint64_t changes = 1;
	bool late = true;
	int r = 0;

	mig_phase(c->m, "late writers");
	while (r == 0 && !atomic_load(&c->m->stop)) {
		late = has_writers(c->old, false, c->m);
		r = mig_follow_work(c->m->follow, true, &changes);
		if (!late && changes == 0)
			break;
		if (late && clock_mono_ns() > until)
			break;
		if (changes == 0)
			poll(NULL, 0, LATE_PAUSE_MS);
	}
	if (r < 0)
		return MIG_FAILED;
	if (!late)
		return MIG_OK;
	has_writers(c->old, true, c->m);
	return MIG_CHANGING;
}

static void
say_done(struct cut *c)
{
	_cleanup_free_ char *line = mig_fstab_line(c->m);
	_cleanup_err_ struct err err = ERR_INIT;
	struct mig *m = c->m;

	mig_say(m, "%s is the share now; the old tree is %s", m->dir, c->old);
	if (m->gap_ns)
		mig_say(m,
			"the longest moment in which %s could not be written: "
			"%.0f ms",
			m->dir, (double)m->gap_ns / NSEC_PER_MSEC);
	mig_say(m, "for /etc/fstab: %s", line);
	if (m->a->write_fstab) {
		if (mig_fstab_add(m, line, &err) < 0)
			mig_list(m, MIG_NOTE, "fstab", "%s", err_words(&err));
		else
			mig_say(m, "it is there now");
	}
	mig_say(m, "back: migrate-local-uploads --undo with the same DIR, SOURCE "
		   "and options");
}

/* What is left to do when DIR is the share. */
static int
finish(struct cut *c)
{
	struct mig *m = c->m;
	int code = follow_late(c);

	if (!atomic_load(&m->stop)) {
		mig_journal_set(m->journal, "cutover", "over");
		say_done(c);
	}
	return code;
}

static void
cut_release(struct cut *c)
{
	if (c->bare >= 0)
		close(c->bare);
	while (c->ndirs)
		free(c->dirs[--c->ndirs]);
	free(c->dirs);
	free(c->old);
	err_release(&c->err);
}

int
mig_cutover(struct mig *m)
{
	struct cut c = { .m = m, .bare = -1, .err = ERR_INIT };
	int code;

	mig_phase(m, "cut-over");
	c.old = xasprintf("%s.before-sharedfs", m->dir);
	if (prepare(&c) < 0 || change_places(&c) < 0)
		code = give_up(&c);
	else
		code = finish(&c);
	cut_release(&c);
	return code;
}

/* --- one that was interrupted ---------------------------------------------- */

/* The share is not mounted on DIR, and should be. */
static int
mount_again(struct cut *c)
{
	_cleanup_closedir_ DIR *d = opendir(c->m->dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return err_set(&c->err, -ENOTEMPTY,
				       "the share belongs on %s, and would "
				       "hide what was put there meanwhile "
				       "(%s): move that away",
				       c->m->dir, e->d_name);
	return mig_mount_start(c->m, c->m->dir, &c->err);
}

int
mig_cutover_go_on(struct mig *m, enum mig_place place)
{
	struct cut c = { .m = m, .bare = -1, .err = ERR_INIT };
	uint64_t changes;
	int code = MIG_FAILED;

	mig_phase(m, "finishing the cut-over");
	c.old = mig_journal_value(m->journal, "old");
	if (place == MIG_PLACE_BARE && mount_again(&c) < 0) {
		mig_fatal(m, c.err.code, "%s", err_words(&c.err));
	} else {
		mig_journal_set(m->journal, "cutover", "done");
		if (mig_pass(m, &changes) == 0)
			code = finish(&c);
	}
	cut_release(&c);
	return code;
}
