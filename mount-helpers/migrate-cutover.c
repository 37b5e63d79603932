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
#include "mount-helpers/migrate-users.h"

#define ROUNDS 5 /* before the share is held */
#define QUIET_NS (100 * NSEC_PER_MSEC)	 /* nothing came any more */
#define SETTLE_NS (500 * NSEC_PER_MSEC) /* for who has a file open */
#define HELD_MAX (5 * NSEC_PER_SEC)	/* nobody waits longer than that */
#define SETTLE_PAUSE_MS 5
#define LATE_PAUSE_MS 200

static int
since_ms(int64_t began)
{
	return (int)((clock_mono_ns() - began) / NSEC_PER_MSEC);
}

struct cut {
	struct mig *m;
	struct mig_settle *settle;
	char *old; /* where the old tree will be, or is */
	int bare;  /* the directory below the mount; -1 */
	bool mounted;
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

/* Nothing came to the old tree any more for a moment. */
static bool
is_quiet(struct cut *c, int64_t began, int64_t carried)
{
	int64_t last = mig_follow_events(c->m->follow) ?
			       mig_follow_last(c->m->follow) :
			       carried;

	return clock_mono_ns() - (last > began ? last : began) > QUIET_NS &&
	       !mig_settle_written(c->settle);
}

/* All that changes in the old tree, until programs have done what they were at
 * when they were overtaken: opened a file, and are about to write and to rename
 * it.  Those that write for ever are followed afterwards; but who is only slow
 * since the host or the disk is busy gets its turn. */
static int
last_delta(struct cut *c, int64_t began)
{
	int64_t carried = began, until = began + HELD_MAX;
	uint64_t changes;
	bool first = true;
	int r;

	mig_settle_begin(c->settle, until);
	for (;;) {
		bool passed = mig_settle_passed(c->settle);
		bool enough = passed && clock_mono_ns() - began > SETTLE_NS;

		if (enough)
			mig_settle_let_write(c->settle, until);
		r = mig_follow_work(c->m->follow, true, &changes);
		if (changes)
			carried = clock_mono_ns();
		/* What had piled up before is nobody's slowness. */
		if (first)
			until = clock_mono_ns() + HELD_MAX;
		first = false;
		log_info("migrate", "%d ms after the exchange: %llu changes",
			 since_ms(began), (unsigned long long)changes);
		if (r < 0 || enough || clock_mono_ns() > until ||
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
	mig_throttle_hurry(m, on);
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
	c->settle = mig_settle_new(m, c->old);
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
	mig_settle_free(c->settle);
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
