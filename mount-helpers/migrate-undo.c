/* SPDX-License-Identifier: MIT */
/*
 * --undo: the cut-over backwards.  What changed in the share is brought to the
 * old tree while programs use the share, and its worker tells what changes
 * meanwhile.  Then nothing in it changes any more (fs/freeze.h), the last of
 * that is brought, the two change places, and the calls that waited are sent
 * back to go their path again: they find the old tree.  That needs a moment in
 * which no file of the share is open for writing.
 *
 * What is left in the share are programs that work in it, and mappings; what
 * they write is brought until the last of them has gone.
 *
 * Other nodes may have the share mounted.  If one is seen to write, nothing is
 * moved, unless the user knows: what it writes later would not come here.
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
#include "common/fault.h"
#include "common/log.h"
#include "common/mountinfo.h"
#include "fs/utab.h"
#include "mount-helpers/migrate-back.h"
#include "mount-helpers/migrate-users.h"

#define ROUNDS 3 /* before the share is held */
#define FEW 20	 /* changes that may be left for the moment when it is held */
#define LATE_PAUSE_MS 500
#define WATCH_NS (500 * NSEC_PER_MSEC) /* other nodes, at least */
#define FREEZE_MS 500 /* so long writers may need to come to an end */
#define FREEZE_PAUSE_MS 1000
#define FREEZE_MAX (45 * NSEC_PER_SEC) /* less than the worker's patience */

struct undo {
	struct mig *m;
	char *old;
	bool mounted; /* the share */
	bool swapped; /* by a run that was killed then */
	struct mig_watch watch;
	struct mig_others *others;
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

static bool
is_state(struct mig *m, const char *state)
{
	_cleanup_free_ char *now = mig_journal_value(m->journal, "cutover");

	return now && strcmp(now, state) == 0;
}

static int
find_old_tree(struct undo *u, enum mig_place place)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	struct mig *m = u->m;

	u->old = mig_journal_value(m->journal, "old");
	u->swapped = place == MIG_PLACE_TREE && is_state(m, "undo");
	if (!u->old || (place == MIG_PLACE_TREE && !u->swapped))
		return err_set(&u->err, -ENOENT,
			       "no cut-over of %s to %s is known", m->dir,
			       m->a->source);
	if (u->swapped) {
		u->mounted = mountinfo_at(u->old, &e) == 1;
		return 0;
	}
	u->mounted = place == MIG_PLACE_SHARE;
	if (!u->mounted && mountinfo_at(m->dir, &e) == 1)
		return err_set(&u->err, -EBUSY,
			       "%s is mounted on %s, not the share", e.source,
			       m->dir);
	return mig_place_use_old(m, &u->err);
}

static bool
would_lose(struct mig *m)
{
	return mig_listed(m, MIG_COLLISION) || mig_listed(m, MIG_NOT_CARRIED);
}

static void
name_writers(struct mig *m)
{
	_cleanup_free_ struct mig_user *v = NULL;
	size_t n;

	v = mig_users(m->dir, &n);
	for (size_t i = 0; i < n; i++)
		if (v[i].writing)
			mig_say(m, "process %d (%s) has a file open for writing",
				(int)v[i].pid, v[i].name);
}

/* Why all was not brought. */
static int
not_brought(struct undo *u, int r)
{
	if (back_is_full(r))
		return err_set(&u->err, r,
			       "the old tree takes no more (%s); what was "
			       "brought until now stays there.  Make room, and "
			       "run it again",
			       strerror(-r));
	return err_set(&u->err, r, "the share can't be read");
}

/* What changed since the last time; all, if that can't be told. */
static int
bring_changes(struct undo *u, uint64_t *changes)
{
	struct mig_changes c = { 0 };
	int r = -ENOENT;

	if (u->watch.a.fd >= 0)
		r = mig_watch_take(&u->watch, &c, NULL);
	if (r < 0) {
		mig_watch_end(&u->watch);
		c.lost = true;
	}
	mig_others_told(u->others, &c);
	r = c.lost ? mig_back(u->m, NULL, NULL, changes) :
			      mig_back_some(u->m, c.v, c.n, changes);
	mig_changes_release(&c);
	return r;
}

static void
waited(struct mig *m, int64_t began)
{
	int64_t ns = clock_mono_ns() - began;

	if (ns > m->gap_ns)
		m->gap_ns = ns;
}

/* A moment in which nobody writes is waited for; in between programs go on. */
static int
freeze(struct undo *u, struct mig_changes *c, int64_t *began)
{
	int64_t until = clock_mono_ns() + u->m->a->late_ns;
	uint64_t changes;
	int r;

	for (;;) {
		*began = clock_mono_ns();
		r = mig_watch_freeze(&u->watch, FREEZE_MS, c, &u->err);
		log_info("migrate", "frozen in %lld ms",
			 (long long)(clock_mono_ns() - *began) / NSEC_PER_MSEC);
		if (r < 0)
			waited(u->m, *began);
		if (r != -EBUSY || *began > until || atomic_load(&u->m->stop) ||
		    bring_changes(u, &changes) < 0)
			break;
		err_release(&u->err);
		poll(NULL, 0, FREEZE_PAUSE_MS);
	}
	if (r == -EBUSY) {
		name_writers(u->m);
		err_prefix(&u->err, "end what writes, or give it time (--late)");
	}
	return r;
}

/* When all that is under way here has ended, and c is the last of it. */
static int
check_others(struct undo *u, const struct mig_changes *c)
{
	_cleanup_free_ char *name = NULL, *shown = NULL;

	mig_others_told(u->others, c);
	name = mig_others_name(u->others);
	if (!name || u->m->a->alone)
		return 0;
	shown = mig_printable(name);
	return err_set(&u->err, -EBUSY,
		       "another node writes to the share (\"%s\"), and what it "
		       "writes later would not come to %s.  Unmount it there; "
		       "or, if that is as it should be, say --undo=alone",
		       shown, u->m->dir);
}

/* With the share frozen, and c is what changed last; or not mounted. */
static int
exchange(struct undo *u, struct mig_exchange *x, const struct mig_changes *c,
	 int64_t began)
{
	struct mig *m = u->m;
	uint64_t changes;
	int r = !u->mounted || c->lost ?
			mig_back(m, NULL, NULL, &changes) :
			mig_back_some(m, c->v, c->n, &changes);

	log_info("migrate", "%zu changes after %lld ms", c->n,
		 (long long)(clock_mono_ns() - began) / NSEC_PER_MSEC);
	FAULT_POINT("undo.frozen");
	if (r < 0)
		return not_brought(u, r);
	if (check_others(u, c) < 0)
		return u->err.code;
	if (would_lose(m))
		return err_set(&u->err, -EBUSY,
			       "something would be lost; it is listed");
	if (clock_mono_ns() - began > FREEZE_MAX)
		return err_set(&u->err, -EBUSY,
			       "too much changes in the share; try it when "
			       "less is written");
	if (u->mounted && !mig_watch_holds(&u->watch))
		return err_set(&u->err, -EPIPE,
			       "the share's worker ended just now; try again");
	r = mig_exchange_go(x, false);
	if (r < 0)
		return err_set(&u->err, r, "exchange %s and %s: %s", m->dir,
			       u->old, strerror(-r));
	FAULT_POINT("undo.exchanged");
	return 0;
}

static int
change_places(struct undo *u)
{
	_cleanup_free_ char *was = mig_journal_value(u->m->journal, "cutover");
	struct mig_changes c = { 0 };
	struct mig *m = u->m;
	struct mig_exchange x;
	int64_t began;
	int r = mig_exchange_begin(&x, m->dir, u->old, &u->err);

	if (r < 0)
		return r;
	/* On the disk before it is so: where the tree is tells the rest. */
	mig_journal_set(m->journal, "cutover", "undo");
	if (mig_journal_sync(m->journal) < 0)
		r = err_set(&u->err, -EIO, "the journal can't be written");
	began = clock_mono_ns();
	if (r == 0 && u->mounted)
		r = freeze(u, &c, &began);
	if (r == 0) {
		mig_hurry(m, u->mounted);
		r = exchange(u, &x, &c, began);
		mig_watch_thaw(&u->watch, r == 0);
		mig_hurry(m, false);
		waited(m, began);
	}
	if (r < 0)
		mig_journal_set(m->journal, "cutover", was);
	mig_changes_release(&c);
	mig_exchange_end(&x);
	return r;
}

/* What was brought while somebody waited. */
static void
sync_tree(struct mig *m)
{
	_cleanup_close_ int fd = mig_source_open(m, "", O_RDONLY | O_DIRECTORY);

	if (fd < 0 || syncfs(fd) < 0 || mig_journal_sync(m->journal) < 0)
		mig_list(m, MIG_NOTE, "", "the disk of %s: %s", m->dir,
			 strerror(errno));
}

/* For those who undo alone. */
static void
say_others(struct undo *u)
{
	_cleanup_free_ char *name = mig_others_name(u->others);
	_cleanup_free_ char *shown = name ? mig_printable(name) : NULL;

	if (name)
		mig_say(u->m,
			"other nodes write to the share (\"%s\"): what they "
			"write from now on does not come to %s",
			shown, u->m->dir);
}

/* When it is not mounted here any more. */
static int
last_look(struct undo *u)
{
	uint64_t changes;
	int r = mig_back(u->m, NULL, NULL, &changes);

	if (r == 0)
		return MIG_OK;
	if (!atomic_load(&u->m->stop)) {
		not_brought(u, r);
		mig_fatal(u->m, r,
			  "%s is the old tree again, but the last of what "
			  "changed in the share is not there: %s",
			  u->m->dir, err_words(&u->err));
	}
	return MIG_FAILED;
}

/* Until nobody has a file of the share open: then it is unmounted. */
static int
late_writers(struct undo *u)
{
	int64_t until = clock_mono_ns() + u->m->a->late_ns;
	uint64_t changes;
	int r;

	/* What other nodes have changed is not told. */
	if (u->watch.a.fd < 0)
		mig_watch_begin(&u->watch, u->old, NULL);
	r = mig_back(u->m, mig_others_found, u->others, &changes);
	while (r == 0 && !atomic_load(&u->m->stop)) {
		r = bring_changes(u, &changes);
		if (r < 0)
			break;
		/* Not busy is EAGAIN: it would expire with the next call. */
		if (changes == 0)
			if (umount2(u->old, UMOUNT_NOFOLLOW | MNT_EXPIRE) ==
				    0 ||
			    errno != EBUSY || clock_mono_ns() > until)
				break;
		if (changes == 0)
			poll(NULL, 0, LATE_PAUSE_MS);
	}
	mig_watch_end(&u->watch);
	if (r < 0 && !atomic_load(&u->m->stop)) {
		not_brought(u, r);
		mig_fatal(u->m, r,
			  "%s is the old tree again, but the last of what "
			  "changed in the share, which is mounted on %s, is "
			  "not there: %s",
			  u->m->dir, u->old, err_words(&u->err));
	}
	if (atomic_load(&u->m->stop))
		return MIG_FAILED;
	say_others(u);
	r = mig_mount_stop(u->old, &u->err);
	if (r < 0) {
		mig_say(u->m,
			"the share is still in use, and mounted on %s: %s; "
			"later: sharedfs umount %s, and --undo once more",
			u->old, err_words(&u->err), u->old);
		return MIG_CHANGING;
	}
	return last_look(u);
}

/* As much as can be while programs use the share. */
static int
bring_back(struct undo *u)
{
	struct mig *m = u->m;
	uint64_t changes;
	int64_t left;
	int r;

	if (u->mounted &&
	    mig_watch_begin(&u->watch, m->dir, &u->err) < 0)
		return u->err.code;
	left = clock_mono_ns() + WATCH_NS;
	r = mig_back(m, NULL, NULL, &changes);
	/* Once more, and what has changed is of this moment. */
	left -= clock_mono_ns();
	if (u->mounted && r == 0 && left > 0)
		poll(NULL, 0, (int)(left / NSEC_PER_MSEC) + 1);
	if (r == 0 && u->mounted)
		r = mig_back(m, mig_others_found, u->others, &changes);
	/* If that took long, what changed meanwhile. */
	changes = FEW + 1;
	for (int i = 0;
	     u->mounted && r == 0 && changes > FEW && i < ROUNDS; i++)
		r = bring_changes(u, &changes);
	if (r < 0)
		return not_brought(u, r);
	if (would_lose(m))
		return err_set(&u->err, -EBUSY,
			       "something would be lost; it is listed");
	return 0;
}

/* DIR is the old tree again. */
static int
finish(struct undo *u)
{
	struct mig *m = u->m;
	int code = MIG_OK;

	m->swapped = true;
	mig_say(m, "%s is the old tree again", m->dir);
	if (m->gap_ns)
		mig_say(m,
			"the longest moment in which %s could not be written: "
			"%.0f ms",
			m->dir, (double)m->gap_ns / NSEC_PER_MSEC);
	utab_remove(m->dir);
	sync_tree(m);
	if (u->mounted)
		code = late_writers(u);
	else if (u->swapped)
		code = last_look(u);
	if (code != MIG_OK)
		return code;
	mig_journal_set(m->journal, "cutover", NULL);
	/* The bare directory that the share was mounted on. */
	if (rmdir(u->old) < 0 && errno != ENOENT)
		mig_say(m, "%s is not empty: it has what was written while the "
			   "share was not mounted",
			u->old);
	mig_say(m, "a line for %s in /etc/fstab must be removed by hand",
		m->dir);
	return code;
}

int
mig_undo(struct mig *m, enum mig_place place)
{
	struct undo u = { .m = m, .watch = MIG_WATCH_INIT, .err = ERR_INIT };
	int code;

	mig_phase(m, "bringing back");
	u.others = mig_others_new();
	if (find_old_tree(&u, place) < 0 ||
	    (!u.swapped && (bring_back(&u) < 0 || change_places(&u) < 0)))
		code = refuse(&u);
	else
		code = finish(&u);
	mig_watch_end(&u.watch);
	mig_others_free(u.others);
	free(u.old);
	err_release(&u.err);
	return code;
}
