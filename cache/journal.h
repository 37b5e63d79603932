/* SPDX-License-Identifier: MIT */
/*
 * What must be found again after a daemon was killed: one small JSON record
 * for each private file whose bytes are not in the store yet.
 *
 *   mounts/NAME/journal/N.j   about mounts/NAME/files/N
 *
 * The record is one line.  The first one is written to a temporary name and
 * renamed, later ones follow it; the last complete line counts.  So a killed
 * process leaves the old or the new record, never half of one.  There is no
 * fsync: a power cut may lose records; it can only lose bytes that close() had
 * not acknowledged.
 * Threads: any; the caller serialises the calls about one name.
 */
#ifndef CACHE_JOURNAL_H
#define CACHE_JOURNAL_H

#include "backends/backend.h"

struct store;

enum journal_state {
	JOURNAL_OPEN,	 /* being written; nothing was sent */
	JOURNAL_SENDING, /* a commit with `opid` may have reached the store */
	JOURNAL_FAILED,	 /* the store refused for good; kept for the user */
	JOURNAL_JOINING, /* being moved behind another node's bytes; if that
			  * was cut short, nobody knows where they are */
	JOURNAL_UNLINKED, /* has no name any more: for its handles only */
};

struct journal_rec {
	char *path;
	enum journal_state state;
	/* Of the commit: who, over what, and how it is recognised. */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t ngroups;
	struct be_opid opid;
	struct be_cond cond;
	bool whole;
	uint64_t node; /* cache_set_node(); 0: not told */
	bool complete; /* all bytes are in the file, not only the dirty ones */
	bool links;    /* UNLINKED, but the store has it under other names */
	bool exposed; /* the kernel wrote by itself: all may be dirty … */
	struct timespec sent; /* … but if this is its ctime all is in the
			       * store; 0 = never */
	struct be_ver base;
	uint64_t base_size;
	uint64_t size;
	struct range *dirty; /* sorted, disjoint */
	size_t ndirty;
	/* What rides along; enum be_set. */
	unsigned mask;
	uint64_t ino; /* 0: the store's own */
	mode_t mode;
	uid_t owner;
	gid_t group;
	struct timespec atime, mtime;
	/* JOURNAL_FAILED. */
	int error;   /* negative errno */
	char *words; /* NULL = none */
	struct timespec since; /* first byte staged */
	/* Which store they are for, and which start of this host they are of;
	 * NULL: journal_put tells this one's. */
	char *store;
	char *boot;
};

/* For records that journal_scan's fn copied out by hand. */
void journal_rec_release(struct journal_rec *r);

/* Where the next line goes; whoever has a name for long keeps it. */
struct journal_at {
	int fd; /* -1: not open */
	uint64_t end;
};
#define JOURNAL_AT_INIT { .fd = -1 }
void journal_close(struct journal_at *at);

/* Replaces the record of the private file `name`.  0, -ENOSPC, -EROFS, -EIO.
 * at: may be NULL. */
int journal_put(struct store *s, const char *name, const struct journal_rec *r,
		struct journal_at *at);
/* Was it written since this host was started?  If not, power may have been
 * lost between the record and the bytes. */
bool journal_this_boot(const struct journal_rec *r);
/* The same with what its log says added, and the log emptied. */
int journal_fold(struct store *s, const char *name, struct journal_rec *r);
/* The bytes are in the store, or nobody wants them.  Absence is fine.
 * has_log: there may be one. */
void journal_drop(struct store *s, const char *name, bool has_log);
/* Is there a record about `name`, readable or not? */
bool journal_has(struct store *s, const char *name);
/*
 * Calls fn for each record whose private file is there; r is valid during the
 * call, but fn may take its pointers and set them to NULL.  A record that
 * can't be read is logged and left alone, like the file it speaks of.
 * Returns the number of such records.
 */
unsigned journal_scan(struct store *s,
		      void (*fn)(void *arg, const char *name,
				 struct journal_rec *r),
		      void *arg);

/*
 * What was written since the record: a log beside it (journal/N.r), so that a
 * write costs one small pwrite and no new record.  Replayed over the record's
 * dirty ranges; journal_put() does not empty it, journal_log_reset() does.
 */
struct journal_change {
	uint64_t off, len;  /* dirty from now on; len 0: none */
	uint64_t size;	    /* of the file, after it; a smaller one cut it */
	uint64_t clean_end; /* below it, what is not dirty is the base's */
};
int journal_log_open(struct store *s, const char *name, int *fd);
int journal_log_set(int fd, uint64_t n, const struct journal_change *ch);
int journal_log_reset(int fd);
/* Is there an entry? */
bool journal_has_log(struct store *s, const char *name);
/* What an entry does to the dirty ranges and the size of its file. */
void journal_replay(const struct journal_change *ch, uint64_t base_size,
		    struct rangeset *dirty, uint64_t *size);
/* In order; nothing if there is no log. */
void journal_log_read(struct store *s, const char *name,
		      void (*fn)(void *arg, const struct journal_change *ch),
		      void *arg);

/*
 * A rename of a directory on a store without one step for it: written down
 * before the first copy, dropped after the last delete, and gone through again
 * by the next daemon (journal/OPID.mv).
 */
int journal_move_put(struct store *s, const struct be_opid *opid,
		     const char *from, const char *to);
void journal_move_drop(struct store *s, const struct be_opid *opid);
void journal_move_scan(struct store *s,
		       void (*fn)(void *arg, const struct be_opid *opid,
				  const char *from, const char *to),
		       void *arg);

/*
 * An upload that was begun (journal/HASH.up): dropped when it was completed or
 * aborted, else the next daemon aborts it.
 */
void journal_upload_put(struct store *s, const char *key, const char *id);
void journal_upload_drop(struct store *s, const char *key, const char *id);
/* Those for this store. */
void journal_upload_scan(struct store *s,
			 void (*fn)(void *arg, const char *key, const char *id),
			 void *arg);

/*
 * A change of attributes that waits (delay.h): journal/ID.at until it was sent.
 */
struct journal_attr {
	struct be_opid id;
	char *path;
	uid_t uid; /* whose it is */
	gid_t gid;
	/* What was changed: this version of this file, with that mode. */
	struct be_ver ver;
	uint64_t ino;
	mode_t mode;
	unsigned mask; /* enum be_set, and the values in attr */
	struct be_attr attr;
};
int journal_attr_put(struct store *s, const struct journal_attr *r);
void journal_attr_drop(struct store *s, const struct be_opid *id);
/* fn may take r->path and set it to NULL. */
void journal_attr_scan(struct store *s,
		       void (*fn)(void *arg, struct journal_attr *r),
		       void *arg);

#endif
