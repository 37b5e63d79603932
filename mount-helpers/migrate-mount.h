/* SPDX-License-Identifier: MIT */
/* The share's mount, as the cut-over and its undo need it. */
#ifndef MOUNT_HELPERS_MIGRATE_MOUNT_H
#define MOUNT_HELPERS_MIGRATE_MOUNT_H

#include "fs/ask.h"
#include "mount-helpers/migrate-priv.h"

/* Somebody waits, or no longer: this thread and its passes go first. */
void mig_hurry(struct mig *m, bool on);

/* sharedfs mount SOURCE at, which will be moved to m->dir. */
int mig_mount_start(struct mig *m, const char *at, struct err *err);
/* Drains and unmounts. */
int mig_mount_stop(const char *at, struct err *err);
/* The worker of the share that is mounted at dir. */
int mig_mount_worker(const char *dir, pid_t *pid, struct err *err);

/*
 * Holds the share: its worker is stopped, so whoever calls into it waits.  A
 * watchman lets it go if we die, and after a few seconds in any case.
 */
struct mig_hold {
	pid_t worker, watchman;
	int pipe;
};
int mig_hold_begin(struct mig_hold *h, pid_t worker);
void mig_hold_end(struct mig_hold *h);

/* A conversation with the share's worker, which notes what changes in the store
 * by way of this mount. */
struct mig_watch {
	struct asked a; /* fd -1: none */
};
#define MIG_WATCH_INIT                                                         \
	{                                                                      \
		.a = { .fd = -1 }                                              \
	}
struct mig_changes {
	struct mig_change *v;
	size_t n;
	bool lost; /* there was more */
};
void mig_changes_release(struct mig_changes *c);
int mig_watch_begin(struct mig_watch *w, const char *dir, struct err *err);
/* Since the last time. */
int mig_watch_take(struct mig_watch *w, struct mig_changes *c, struct err *err);
/* From now on nothing changes by way of a path (fs/freeze.h), for a minute at
 * most.  -EBUSY: not within wait_ms. */
int mig_watch_freeze(struct mig_watch *w, int wait_ms, struct mig_changes *c,
		     struct err *err);
/* It still is so: the worker has not ended. */
bool mig_watch_holds(const struct mig_watch *w);
/* moved: those that waited go their way again. */
void mig_watch_thaw(struct mig_watch *w, bool moved);
void mig_watch_end(struct mig_watch *w);

/* See migrate-others.c.  Any thread. */
struct mig_others;
struct mig_others *mig_others_new(void);
void mig_others_free(struct mig_others *o); /* NULL is fine */
/* This host's worker has told these. */
void mig_others_told(struct mig_others *o, const struct mig_changes *c);
/* A mig_changed_fn; arg is the mig_others. */
void mig_others_found(void *arg, const char *path);
/* One that was found and not told, the caller's; NULL: there is none, or it
 * can't be known. */
char *mig_others_name(struct mig_others *o);

/*
 * dir and other change places, with what is mounted on them.  Prepared first,
 * since making a namespace takes its time; done by go, which says whether; end
 * in any case.
 */
struct mig_exchange {
	pid_t child;
	int s; /* -1: nothing to end */
};
int mig_exchange_begin(struct mig_exchange *x, const char *dir,
		       const char *other, struct err *err);
int mig_exchange_go(struct mig_exchange *x, bool other_is_bare);
void mig_exchange_end(struct mig_exchange *x);

/* Takes away what a run that was killed before the exchange left.  Words if
 * it can't be told, or DIR is another share. */
int mig_place_find(struct mig *m, enum mig_place *place, struct err *err);
/* The cut-over of a run that was killed, or whose mount a reboot has undone, is
 * finished.  An exit code; words are said. */
int mig_cutover_go_on(struct mig *m, enum mig_place place);
/* From now on the tree is what stands beside DIR. */
int mig_place_use_old(struct mig *m, struct err *err);

/* "SOURCE DIR sharedfs OPTIONS 0 0"; the caller's. */
char *mig_fstab_line(struct mig *m);
int mig_fstab_add(struct mig *m, const char *line, struct err *err);

#endif
