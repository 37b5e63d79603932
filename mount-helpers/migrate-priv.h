/* SPDX-License-Identifier: MIT */
/*
 * What the parts of migrate-local-uploads share.
 *
 *   main      migrate-local-uploads.c   the order of the steps, exit codes
 *   args      migrate-args.c            the command line
 *   source    migrate-source.c          the tree on the local disk, read only
 *   journal   migrate-journal.c         what is in the store already
 *   put       migrate-put.c             one file's bytes into the store
 *   entry     migrate-entry.c           one name of any kind; removals
 *   leftover  migrate-leftover.c        what a killed run left half done
 *   pass      migrate-pass.c            the whole tree, by a pool of threads
 *   throttle  migrate-throttle.c        how fast the source is read
 *   follow    migrate-follow.c          what changes meanwhile
 *   preflight migrate-preflight.c       what is known before anything is sent
 *   cut-over  migrate-cutover.c, migrate-exchange.c, migrate-mount.c
 *   place     migrate-place.c           what an earlier cut-over has left
 *   undo      migrate-undo.c, migrate-back.c, migrate-back-walk.c,
 *             migrate-others.c
 *   verify    migrate-verify.c          reads the store again and compares
 *   report    migrate-report.c          progress, lists, JSON
 *
 * Promises: nothing is ever written below DIR before the cut-over; nothing in
 * the store is replaced or removed unless this program put it there and it is
 * unchanged since.
 *
 * Threads: the main thread runs the steps; a pass has workers of its own; one
 * thread prints.  Locks are leaves: journal.lock, pass.lock, report.lock; none
 * is held across a call of a backend.
 */
#ifndef MOUNT_HELPERS_MIGRATE_PRIV_H
#define MOUNT_HELPERS_MIGRATE_PRIV_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <jansson.h>
#include <xxhash.h>

#include "backends/backend.h"
#include "common/buf.h"
#include "common/err.h"
#include "fs/options.h"

/* Exit codes; 128 + signal when one ended it. */
enum {
	MIG_OK = 0,
	MIG_FAILED = 1,
	MIG_USAGE = 2, /* or the preflight says no */
	MIG_NOT_ALL = 3,
	MIG_MISMATCH = 4,
	MIG_CHANGING = 5,
};

#define MIG_TEMP_PREFIX ".sharedfs-new-" /* in the store, before a rename */

/* --- args ------------------------------------------------------------------ */

enum mig_progress { MIG_PROGRESS_AUTO, MIG_PROGRESS_PLAIN, MIG_PROGRESS_NONE };

enum mig_cutover { MIG_CUT_NO, MIG_CUT_NOW, MIG_CUT_WAIT };

struct mig_args {
	const char *dir, *source;
	bool help, version;
	bool dry_run, verify, merge, collision_rename;
	enum mig_cutover cutover;
	bool undo, write_fstab;
	bool alone; /* undo also if other nodes go on with the share */
	bool follow;
	int64_t follow_ns; /* 0: until a signal */
	int64_t late_ns;   /* how long late writers are waited for */
	int64_t lag_ns;    /* so little is enough for the cut-over */
	const char *report, *state;
	enum mig_progress progress;
	unsigned jobs; /* 0: by the store */
	uint64_t bwlimit; /* bytes a second, 0: none */
	uint64_t iops;	  /* files a second, 0: no limit */
	bool adaptive;	  /* gives way to others */
	struct options opt;
};
/* On failure nothing needs a release. */
int mig_args_parse(struct mig_args *a, int argc, char **argv, struct err *err);
void mig_args_release(struct mig_args *a);
const char *mig_args_usage(void);

/* --- the run --------------------------------------------------------------- */

struct mig_journal;
struct mig_report;
struct mig_follow;
struct mig_throttle;

struct mig {
	struct mig_args *a;
	char *dir;  /* absolute, without symlinks */
	int root;   /* O_PATH of it */
	dev_t dev;  /* its file system: others below it are left out */
	struct stat root_st;
	struct backend *be;
	struct idmap uids, gids;
	struct mig_journal *journal;
	struct mig_report *report;
	struct mig_throttle *throttle;
	struct mig_follow *follow; /* NULL: nobody notes changes */
	unsigned jobs;
	bool root_ours; /* the share was empty: its root gets DIR's attributes */
	char host[65];
	/* Of the cut-over or its undo: how long a writer below DIR may have
	 * waited. */
	int64_t gap_ns;
	/* Somebody waits just now: no pass waits for a disk to have all.  The
	 * main thread's; set by mig_hurry(). */
	bool hurry;
	/* --undo: programs are in the old tree again, and what they remove there
	 * is not brought back. */
	bool swapped;
	int nice; /* as it is when there is no hurry */
	/* Paths, and inodes with several names, that a thread works on. */
	pthread_mutex_t keys_lock;
	pthread_cond_t keys_freed;
	uint64_t *keys_busy;
	size_t keys_n;
	atomic_int stop;  /* be_ctx.cancel: a signal, or a fatal error */
	atomic_int fatal; /* an errno that ends it all, words are in the report */
	atomic_int signal; /* that asked us to stop */
	atomic_bool showing; /* progress is of interest */
};

/* No condition. */
static const struct be_cond mig_any = { .pre = BE_ANY };
/* The context of a call of the store. */
struct be_ctx mig_ctx(struct mig *m, struct err *err);

/* --- source ---------------------------------------------------------------- */

/* Descriptors of names below DIR: no symlink is followed on the way, and none
 * at the end.  -errno. */
int mig_source_open(struct mig *m, const char *path, int flags);
int mig_source_stat(struct mig *m, const char *path, struct stat *st);
/* The file's target; the caller's. */
int mig_source_readlink(struct mig *m, const char *path, char **target);
static inline int64_t
mig_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
/* A name that sharedfs keeps for itself. */
bool mig_source_reserved(const char *path);
/* Is it another file than `was` tells? */
bool mig_source_changed(int fd, const struct stat *was);
/* Written to so lately that a later write may not move the time stamps. */
bool mig_source_racy(const struct stat *st);
/* What the store is to know of it; ids translated. */
struct be_attr mig_source_attr(struct mig *m, const struct stat *st);

/* --- journal --------------------------------------------------------------- */

/* What was sent: the source as it was then, and what the store made of it. */
struct mig_rec {
	char kind; /* f, d, l (symlink), p (FIFO) */
	uint64_t ino, size;
	int64_t mtime, ctime;
	uint32_t mode, uid, gid;
	XXH128_hash_t hash; /* of the bytes, or of a symlink's target */
	struct be_ver ver;  /* the store's */
	uint64_t store_ino;
	unsigned flags;
	char *as; /* it has this name in the store; NULL: the same */
};
enum {
	/* Look again: it changed while it was read, or just before. */
	MIG_REC_RACY = 1 << 0,
	/* It was there already, with the same content; attributes are not
	 * ours. */
	MIG_REC_ADOPTED = 1 << 1,
	MIG_REC_XATTRS = 1 << 2, /* has some */
	/* A directory whose time is set when all is in it. */
	MIG_REC_TIME = 1 << 3,
	MIG_REC_LINKED = 1 << 4, /* the source's inode has other names too */
	/* Brought back in a version that was too young to tell (BE_ATTR_RACY) */
	MIG_REC_YOUNG = 1 << 5,
};
void mig_rec_release(struct mig_rec *r);
#define _cleanup_rec_ __attribute__((cleanup(mig_rec_release)))

/* A name that was about to appear in the store when the last run ended. */
struct mig_pending {
	struct be_opid opid;
	uint64_t ino; /* the store's, 0 = not known */
};

/* Opens, or makes, the journal of this DIR and SOURCE.  -EBUSY: another run
 * has it. */
int mig_journal_open(struct mig *m, const char *store_id,
		     struct mig_journal **out, struct err *err);
void mig_journal_close(struct mig_journal *j); /* NULL is fine */
bool mig_journal_is_new(const struct mig_journal *j);
const char *mig_journal_dir(const struct mig_journal *j);
/* A copy, the caller's to release; false: there is none. */
bool mig_journal_get(struct mig_journal *j, const char *path,
		     struct mig_rec *out);
/* Done.  Takes a copy. */
void mig_journal_put(struct mig_journal *j, const char *path,
		     const struct mig_rec *r);
void mig_journal_del(struct mig_journal *j, const char *path);
/* A temporary name is about to be made, or is gone. */
void mig_journal_temp(struct mig_journal *j, const char *temp, bool there);
/* path is about to get new content; put and del end that. */
void mig_journal_pend(struct mig_journal *j, const char *path,
		      const struct mig_pending *p);
void mig_journal_unpend(struct mig_journal *j, const char *path);
bool mig_journal_pending(struct mig_journal *j, const char *path,
			 struct mig_pending *out);
char **mig_journal_pendings(struct mig_journal *j, size_t *n);
/* Temporary names that a run that was killed may have left. */
char **mig_journal_temps(struct mig_journal *j, size_t *n);
/* A word that outlives the run, such as "root"; NULL: not set. */
void mig_journal_set(struct mig_journal *j, const char *name,
		     const char *value);
char *mig_journal_value(struct mig_journal *j, const char *name);
/* Each path, sorted; the array and its strings are the caller's. */
char **mig_journal_paths(struct mig_journal *j, size_t *n);
/* Is there one that has another name in the store (rec.as)? */
bool mig_journal_has_beside(struct mig_journal *j);
/* path, if it is known, and those below it. */
char **mig_journal_below(struct mig_journal *j, const char *path, size_t *n);
/* Another name of the same inode that was carried; the caller's, or NULL. */
char *mig_journal_same_inode(struct mig_journal *j, const char *path,
			     uint64_t ino);
/* On the disk. */
int mig_journal_sync(struct mig_journal *j);

/* --- put ------------------------------------------------------------------- */

struct mig_worker {
	struct mig *m;
	int memfd;
	char *buf; /* MIG_BUF bytes */
};
#define MIG_BUF (1u << 20)
int mig_worker_init(struct mig_worker *w, struct mig *m);
void mig_worker_release(struct mig_worker *w);

/* The bytes [0,size) of fd to the store under path; old NULL: the name must be
 * absent.  On 0, rec has hash, ver, store_ino.  -EEXIST: other content is
 * there.  -ESTALE: it is not what we put there. */
int mig_put(struct mig_worker *w, const char *path, int fd,
	    const struct stat *st, const struct mig_rec *old,
	    struct mig_rec *rec, struct err *err);
/* Hash of what the store has of exactly that version. */
int mig_store_hash(struct mig *m, const char *path, const struct be_attr *a,
		   XXH128_hash_t *out, struct err *err);
/* Is what is at path still what rec says we put there?  1, 0, -errno.  now
 * has its present version. */
int mig_still_ours(struct mig *m, const char *path, const struct mig_rec *rec,
		   struct be_attr *now, struct err *err);

/* --- entry ----------------------------------------------------------------- */

/* Brings the store up to date with one name of the source; *st is its state (a
 * directory's entries are the caller's affair).  Failures go to the report.
 * false: the store does not have it. */
bool mig_entry(struct mig_worker *w, const char *path, const struct stat *st);
/* The name has gone from the source. */
void mig_entry_gone(struct mig_worker *w, const char *path);
/* A name that mig_source_reserved() knows. */
void mig_entry_left_out(struct mig *m, const char *path);
/* What the source is; nothing of the store. */
void mig_rec_of_stat(struct mig_rec *r, const struct stat *st);
/* Is the record true of what the source has? */
bool mig_entry_same(const struct mig_rec *r, const struct stat *st);
/* The time of a directory, after all was put into it. */
void mig_entry_dir_time(struct mig_worker *w, const char *path);

/* What the last run left half done at path, if it is no `kind` ('\0': the source
 * has nothing there), goes. */
void mig_leftover(struct mig_worker *w, const char *path, char kind);
/* A symlink's mig_pending.ino. */
uint64_t mig_target_mark(const char *target);

/* --- pass ------------------------------------------------------------------ */

/* Carries everything that differs; removes from the store what we put there
 * and the source no longer has.  *changes: what it had to do. */
int mig_pass(struct mig *m, uint64_t *changes);

/* The same for these names alone and what is below them. */
int mig_pass_some(struct mig *m, char **paths, size_t n, uint64_t *changes);

/* --- throttle -------------------------------------------------------------- */

/* Looks at the host from now on, to know it at rest. */
struct mig_throttle *mig_throttle_new(struct mig *m);
/* That was the rest; what follows is work.  m->jobs is known. */
void mig_throttle_start(struct mig *m);
void mig_throttle_free(struct mig_throttle *t); /* NULL is fine */
/* Around the reading of one file; may wait. */
void mig_throttle_enter(struct mig *m);
void mig_throttle_enter_again(struct mig *m); /* more of the same file */
void mig_throttle_leave(struct mig *m);
void mig_throttle_bytes(struct mig *m, uint64_t n);
/* The adaptive one does not hold back any more, or does again. */
void mig_throttle_lift(struct mig *m, bool on);
/* Programs wait: no limit is kept. */
void mig_throttle_hurry(struct mig *m, bool on);

/* --- follow ---------------------------------------------------------------- */

/* Notes what changes below DIR from now on: by fanotify where that is allowed,
 * else by looking at everything again. */
struct mig_follow *mig_follow_start(struct mig *m);
void mig_follow_stop(struct mig_follow *f); /* NULL is fine */
bool mig_follow_events(const struct mig_follow *f); /* not by looking */
void mig_follow_add(struct mig_follow *f, const char *path);
/* Carries what changed and is quiet since a moment; all: whatever there is,
 * with every event up to now. */
int mig_follow_work(struct mig_follow *f, bool all, uint64_t *changes);
/* Age of the oldest change that is not in the store, and how many. */
int64_t mig_follow_lag(struct mig_follow *f, size_t *n);
/* clock_mono_ns() when the last change was noticed; 0: none was, or changes are
 * not told. */
int64_t mig_follow_last(struct mig_follow *f);

/* --- cut-over -------------------------------------------------------------- */

/* Where a cut-over, maybe one that was interrupted, has left things. */
enum mig_place {
	MIG_PLACE_TREE,	 /* DIR is the tree */
	MIG_PLACE_SHARE, /* DIR is the share */
	MIG_PLACE_BARE,	 /* DIR is where the share belongs, not mounted */
};

/* Before anything is sent: can DIR be replaced at all? */
int mig_cutover_check(struct mig *m, struct err *err);
/* Replaces DIR by the mounted share; what changed until then is carried over.
 * An exit code; words are said.  On failure DIR is what it was. */
int mig_cutover(struct mig *m);
/* Brings back what changed in the share, and puts the old tree in its place.
 * Refuses, with words, where that would lose something. */
int mig_undo(struct mig *m, enum mig_place place);
/* Called for each name of the share that had changed, from any thread. */
typedef void mig_changed_fn(void *arg, const char *path);
/* Brings what the store has, and the journal does not know, to the tree that
 * m->root is, and removes from it what the store no longer has.  What changed
 * on both sides is listed as a collision and left alone.  fn may be NULL.
 * -ENOSPC, -EDQUOT, -EROFS: that tree takes no more; what it was is listed. */
int mig_back(struct mig *m, mig_changed_fn *fn, void *arg, uint64_t *changes);
/* The same for these names of the store alone. */
struct mig_change {
	char *path;
	bool tree; /* with what is below it */
};
int mig_back_some(struct mig *m, const struct mig_change *v, size_t n,
		  uint64_t *changes);

/* --- preflight ------------------------------------------------------------- */

/* Looks at everything and says so on stdout.  0, or MIG_USAGE with words. */
int mig_preflight(struct mig *m, struct err *err);

/* --- verify ---------------------------------------------------------------- */

/* Reads all of the store again; differences go to the report. */
int mig_verify(struct mig *m);

/* --- report ---------------------------------------------------------------- */

enum mig_list {
	MIG_NOT_CARRIED, /* it failed */
	MIG_COLLISION,	 /* other content is there */
	MIG_LEFT_OUT,	 /* no such thing in the store, as the preflight said */
	MIG_DIFFERS,	 /* --verify */
	MIG_NOTE,	 /* carried, but not as it was */
	MIG_LISTS,
};
enum mig_count {
	MIG_TOTAL_FILES, /* of the preflight */
	MIG_TOTAL_BYTES,
	MIG_DONE_FILES, /* this pass: sent, or known to be the same */
	MIG_DONE_BYTES,
	MIG_SENT_FILES,
	MIG_SENT_BYTES,
	MIG_DIRS,
	MIG_SYMLINKS,
	MIG_SPECIAL,
	MIG_HARD_LINKS, /* made as links */
	MIG_REMOVED,	/* from the store */
	MIG_VANISHED,
	MIG_RETRIED, /* changed while read */
	MIG_ATTRS,   /* attributes only */
	MIG_VERIFIED,
	MIG_BACK_FILES, /* undo */
	MIG_BACK_REMOVED,
	MIG_COUNTS,
};
struct mig_report *mig_report_new(struct mig *m);
void mig_report_free(struct mig_report *r);
void mig_count(struct mig *m, enum mig_count c, int64_t n);
uint64_t mig_counted(struct mig *m, enum mig_count c);
void mig_list(struct mig *m, enum mig_list l, const char *path,
	      const char *fmt, ...) __attribute__((format(printf, 4, 5)));
size_t mig_listed(struct mig *m, enum mig_list l);
void mig_list_forget(struct mig *m, const char *path); /* it went well since */
/* Ends the run: words, once. */
void mig_fatal(struct mig *m, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "copying", "verifying", …: what the line says. */
void mig_phase(struct mig *m, const char *phase);
void mig_say(struct mig *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Its thread also waits for signals: call before others are started. */
void mig_report_start(struct mig *m);
void mig_report_stop(struct mig *m);
/* The lists and the sum, on the terminal. */
void mig_report_print(struct mig *m);
int mig_report_write(struct mig *m, const char *file, int exit_code,
		     struct err *err);
/* Bytes that are no text are shown as %XX; the caller's. */
char *mig_printable(const char *path);

#endif
