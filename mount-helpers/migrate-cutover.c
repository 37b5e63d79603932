/* SPDX-License-Identifier: MIT */
/*
 * The cut-over.
 *
 *   DIR.sharedfs-new      the share is mounted here first, and works
 *   DIR.before-sharedfs   an empty directory, made beside DIR
 *
 * 1  the share is held: whoever calls into it waits
 * 2  DIR and DIR.before-sharedfs change places (RENAME_EXCHANGE)
 * 3  the share's mount is put over DIR, which is the empty directory now
 * 4  what changed until 2 and is not in the store yet is carried
 * 5  the share is let go
 *
 * A program that uses DIR between 2 and 3 finds an empty directory for some
 * microseconds; what it makes there is carried too.  One that comes later waits
 * until 5 and then finds everything.  Until 2 anything that fails leaves DIR
 * as it was; a failure in 3 changes the places back.
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
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/guard.h"
#include "mount-helpers/migrate-tree.h"

#define DELTA_MAX (5 * NSEC_PER_SEC) /* longer than that nobody waits */
#define LATE_PAUSE_MS 200

struct cut {
	struct mig *m;
	char *stage, *old;
	int bare; /* the empty directory; -1 */
	bool mounted;
	struct err err;
};

static void
cut_release(struct cut *c)
{
	free(c->stage);
	free(c->old);
	if (c->bare >= 0)
		close(c->bare);
	err_release(&c->err);
}

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
	struct mig *m = c->m;
	int r;

	if (mkdir(c->stage, 0700) < 0 && errno != EEXIST)
		return err_set(&c->err, -errno, "make %s: %s", c->stage,
			       strerror(errno));
	r = mig_mount_start(m, c->stage, &c->err);
	if (r < 0)
		return r;
	c->mounted = true;
	if (mkdir(c->old, 0700) < 0)
		return err_set(&c->err, -errno, "make %s: %s", c->old,
			       strerror(errno));
	c->bare = open(c->old, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* For the moment in which it is DIR it looks like DIR. */
	if (c->bare < 0 ||
	    fchown(c->bare, m->root_st.st_uid, m->root_st.st_gid) < 0 ||
	    fchmod(c->bare, m->root_st.st_mode & 07777) < 0)
		return err_set(&c->err, -errno, "%s: %s", c->old,
			       strerror(errno));
	return 0;
}

/* DIR is what it was; so is all beside it. */
static int
give_up(struct cut *c)
{
	_cleanup_err_ struct err err = ERR_INIT;

	if (c->mounted && mig_mount_stop(c->stage, &err) < 0)
		mig_say(c->m, "%s is still mounted: %s", c->stage,
			err_words(&err));
	rmdir(c->stage);
	rmdir(c->old);
	mig_journal_set(c->m->journal, "cutover", NULL);
	mig_fatal(c->m, c->err.code ? c->err.code : -EIO,
		  "no cut-over, %s is as it was: %s", c->m->dir,
		  err_words(&c->err));
	return MIG_FAILED;
}

/* --- the moment ------------------------------------------------------------ */

/* All that changed until now. */
static int
last_delta(struct mig *m, int64_t began)
{
	uint64_t changes = 1;
	int r = 0;

	/* Late writers may go on for ever: they are followed afterwards. */
	for (int i = 0; r == 0 && changes && i < 3 &&
			clock_mono_ns() - began < DELTA_MAX;
	     i++)
		r = mig_follow_work(m->follow, true, &changes);
	return r;
}

/* A file can be made in DIR again. */
static int
try_write(struct mig *m)
{
	_cleanup_free_ char *path =
		xasprintf("%s/.sharedfs-cutover-%d", m->dir, (int)getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (close(fd) < 0 || unlink(path) < 0)
		return -errno;
	return 0;
}

static int
swap(struct cut *c)
{
	struct mig *m = c->m;
	struct mig_hold hold = { 0 };
	_cleanup_close_ int clone = -1;
	_cleanup_free_ char *when =
		xasprintf("%lld", (long long)clock_wall().tv_sec);
	int64_t began, bare;
	pid_t worker;
	int r = mig_mount_worker(c->stage, &worker, &c->err);

	if (r < 0)
		return r;
	clone = mig_mount_clone(c->stage);
	if (clone < 0)
		return err_set(&c->err, clone, "open_tree %s: %s", c->stage,
			       strerror(-clone));
	/* What a run that is killed now leaves must be found again. */
	mig_journal_set(m->journal, "old", c->old);
	mig_journal_set(m->journal, "cutover", "begun");
	if (mig_journal_sync(m->journal) < 0)
		return err_set(&c->err, -EIO, "the journal can't be written");
	r = mig_hold_begin(&hold, worker);
	if (r < 0)
		return err_set(&c->err, r, "holding the share: %s",
			       strerror(-r));
	began = clock_mono_ns();
	if (renameat2(AT_FDCWD, m->dir, AT_FDCWD, c->old, RENAME_EXCHANGE) < 0) {
		r = err_set(&c->err, -errno, "exchange %s and %s: %s", m->dir,
			    c->old, strerror(errno));
		mig_hold_end(&hold);
		return r;
	}
	r = mig_mount_put(clone, m->dir);
	bare = clock_mono_ns() - began;
	if (r < 0) {
		err_set(&c->err, r, "move the mount to %s: %s", m->dir,
			strerror(-r));
		if (renameat2(AT_FDCWD, m->dir, AT_FDCWD, c->old,
			      RENAME_EXCHANGE) < 0)
			mig_say(m, "the tree is at %s: move it back", c->old);
		mig_hold_end(&hold);
		return r;
	}
	mig_journal_set(m->journal, "cut", when);
	mig_journal_set(m->journal, "cutover", "done");
	r = last_delta(m, began);
	mig_hold_end(&hold);
	if (r == 0)
		r = try_write(m);
	m->gap_ns = clock_mono_ns() - began;
	m->bare_ns = bare;
	if (r < 0)
		mig_list(m, MIG_NOTE, "", "the first write after the cut-over: "
					  "%s", strerror(-r));
	return 0;
}

/* --- after ----------------------------------------------------------------- */

/* What was made in the empty directory goes to the old tree, and from there
 * its way. */
static void
carry_strays(struct cut *c)
{
	int copy = openat(c->bare, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = copy < 0 ? NULL : fdopendir(copy);
	_cleanup_close_ int old = open(c->old, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (renameat2(c->bare, e->d_name, old, e->d_name,
			      RENAME_NOREPLACE) < 0)
			mig_list(c->m, MIG_NOT_CARRIED, e->d_name,
				 "made in the bare directory while the share "
				 "took its place; it is below the mount: %s",
				 strerror(errno));
		else if (c->m->follow)
			mig_follow_add(c->m->follow, e->d_name);
	}
	/* From now on nobody shall write there. */
	fchmod(c->bare, 0555);
	if (c->m->a->opt.guard) {
		_cleanup_free_ char *path =
			xasprintf("/proc/self/fd/%d", c->bare);
		bool empty;

		guard_set(path, &empty, NULL);
	}
}

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
	mig_say(m, "the longest moment in which %s could not be written: %.0f ms "
		   "(an empty directory for %.2f ms of it)",
		m->dir, (double)m->gap_ns / NSEC_PER_MSEC,
		(double)m->bare_ns / NSEC_PER_MSEC);
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

int
mig_cutover(struct mig *m)
{
	struct cut c = { .m = m, .bare = -1, .err = ERR_INIT };
	uint64_t changes;
	int code;

	mig_phase(m, "cut-over");
	c.stage = xasprintf("%s.sharedfs-new", m->dir);
	c.old = xasprintf("%s.before-sharedfs", m->dir);
	if (prepare(&c) < 0 ||
	    /* Mounting took a moment: again as near as can be. */
	    mig_follow_work(m->follow, true, &changes) < 0 || swap(&c) < 0) {
		code = give_up(&c);
		cut_release(&c);
		return code;
	}
	if (umount2(c.stage, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		rmdir(c.stage);
	carry_strays(&c);
	code = follow_late(&c);
	say_done(&c);
	cut_release(&c);
	return code;
}
