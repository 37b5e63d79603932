/* SPDX-License-Identifier: MIT */
/*
 * --undo: the cut-over backwards.  What changed in the share is brought to the
 * old tree while programs use the share, again with the share held, and then
 * the mount moves aside and the old tree takes its place.  Programs that have
 * files of the share open are waited for, and what they wrote is brought too.
 */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/guard.h"

#define ROUNDS 3 /* before the share is held */
#define LATE_PAUSE_MS 500

struct undo {
	struct mig *m;
	char *stage, *old;
	bool mounted; /* the share, on DIR */
	struct err err;
};

static int
refuse(struct undo *u)
{
	mig_fatal(u->m, u->err.code ? u->err.code : -EIO,
		  "not undone, %s is as it was: %s", u->m->dir,
		  err_words(&u->err));
	return MIG_FAILED;
}

static int
find_old_tree(struct undo *u)
{
	_cleanup_free_ char *state = mig_journal_value(u->m->journal, "cutover");
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	struct mig *m = u->m;
	struct stat st;

	u->old = mig_journal_value(m->journal, "old");
	if (!state || !u->old)
		return err_set(&u->err, -ENOENT,
			       "no cut-over of %s to %s is known", m->dir,
			       m->a->source);
	/* The descriptor of DIR would keep the share busy. */
	close(m->root);
	m->root = open(u->old, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root < 0 || fstat(m->root, &st) < 0)
		return err_set(&u->err, -errno, "the old tree %s: %s", u->old,
			       strerror(errno));
	m->root_st = st;
	m->dev = st.st_dev;
	u->mounted = mountinfo_at(m->dir, &e) == 1;
	if (u->mounted && strncmp(e.type, "fuse.sharedfs", 13) != 0)
		return err_set(&u->err, -EBUSY,
			       "%s is mounted on %s, not the share", e.source,
			       m->dir);
	return 0;
}

static bool
would_lose(struct mig *m)
{
	return mig_listed(m, MIG_COLLISION) || mig_listed(m, MIG_NOT_CARRIED);
}

/* The mount to the staging directory, the old tree to its place. */
static int
swap(struct undo *u)
{
	_cleanup_close_ int clone = -1;
	struct mig *m = u->m;
	int64_t began;

	if (u->mounted) {
		if (mkdir(u->stage, 0700) < 0 && errno != EEXIST)
			return err_set(&u->err, -errno, "make %s: %s", u->stage,
				       strerror(errno));
		clone = mig_mount_clone(m->dir);
		if (clone < 0 || mig_mount_put(clone, u->stage) < 0)
			return err_set(&u->err, -EIO,
				       "the mount can't be moved to %s",
				       u->stage);
	}
	began = clock_mono_ns();
	if (u->mounted && umount2(m->dir, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
		err_set(&u->err, -errno, "umount %s: %s", m->dir,
			strerror(errno));
		umount2(u->stage, MNT_DETACH | UMOUNT_NOFOLLOW);
		return u->err.code;
	}
	guard_clear(m->dir);
	if (renameat2(AT_FDCWD, m->dir, AT_FDCWD, u->old, RENAME_EXCHANGE) < 0) {
		err_set(&u->err, -errno, "exchange %s and %s: %s", m->dir,
			u->old, strerror(errno));
		if (u->mounted && mig_mount_put(mig_mount_clone(u->stage),
						m->dir) < 0)
			mig_say(m, "the share is mounted on %s", u->stage);
		return u->err.code;
	}
	m->bare_ns = clock_mono_ns() - began;
	return 0;
}

static int
change_places(struct undo *u)
{
	struct mig_hold hold = { 0 };
	struct mig *m = u->m;
	int64_t began = clock_mono_ns();
	uint64_t changes;
	pid_t worker;
	int r = 0;

	if (u->mounted)
		r = mig_mount_worker(m->dir, &worker, &u->err);
	if (r == 0 && u->mounted) {
		r = mig_hold_begin(&hold, worker);
		if (r < 0)
			err_set(&u->err, r, "holding the share: %s",
				strerror(-r));
	}
	if (r == 0)
		r = mig_back(m, &changes);
	if (r == 0 && would_lose(m))
		r = err_set(&u->err, -EBUSY,
			    "something would be lost; it is listed");
	if (r == 0)
		r = swap(u);
	mig_hold_end(&hold);
	m->gap_ns = clock_mono_ns() - began;
	return r;
}

/* Until nobody has a file of the share open: then it is unmounted. */
static int
late_writers(struct undo *u)
{
	int64_t until = clock_mono_ns() + u->m->a->late_ns;
	uint64_t changes;
	int r;

	/* The calls that waited have ended in the share: that first. */
	while (!atomic_load(&u->m->stop)) {
		r = mig_back(u->m, &changes);
		/* Not busy is EAGAIN: it would expire with the next call. */
		if (r < 0 || changes == 0)
			if (umount2(u->stage, UMOUNT_NOFOLLOW | MNT_EXPIRE) ==
				    0 ||
			    errno != EBUSY || clock_mono_ns() > until)
				break;
		if (changes == 0)
			poll(NULL, 0, LATE_PAUSE_MS);
	}
	if (atomic_load(&u->m->stop))
		return MIG_FAILED;
	r = mig_mount_stop(u->stage, &u->err);
	if (r < 0) {
		mig_say(u->m,
			"the share is still in use, and mounted on %s: %s; "
			"later: sharedfs umount %s, and --undo once more",
			u->stage, err_words(&u->err), u->stage);
		return MIG_CHANGING;
	}
	rmdir(u->stage);
	return mig_back(u->m, &changes) < 0 ? MIG_FAILED : MIG_OK;
}

static int
put_back(struct undo *u)
{
	struct mig *m = u->m;
	uint64_t changes = 1;
	int code = MIG_OK;

	for (int i = 0; i < ROUNDS && changes; i++) {
		if (mig_back(m, &changes) < 0) {
			err_set(&u->err, -EIO, "the share can't be read");
			return refuse(u);
		}
		if (would_lose(m)) {
			err_set(&u->err, -EBUSY,
				"something would be lost; it is listed");
			return refuse(u);
		}
	}
	if (change_places(u) < 0)
		return refuse(u);
	mig_journal_set(m->journal, "cutover", NULL);
	mig_say(m, "%s is the old tree again; the longest moment in which it "
		   "could not be written: %.0f ms",
		m->dir, (double)m->gap_ns / NSEC_PER_MSEC);
	if (u->mounted)
		code = late_writers(u);
	/* The bare directory that the share was mounted on. */
	if (rmdir(u->old) < 0)
		mig_say(m, "%s is not empty: it has what was written while the "
			   "share was not mounted",
			u->old);
	mig_say(m, "a line for %s in /etc/fstab must be removed by hand",
		m->dir);
	return code;
}

int
mig_undo(struct mig *m)
{
	struct undo u = { .m = m, .err = ERR_INIT };
	int code;

	mig_phase(m, "bringing back");
	u.stage = xasprintf("%s.sharedfs-new", m->dir);
	code = find_old_tree(&u) < 0 ? refuse(&u) : put_back(&u);
	free(u.stage);
	free(u.old);
	err_release(&u.err);
	return code;
}
