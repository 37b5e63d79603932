/* SPDX-License-Identifier: MIT */
/*
 * The inside of cache/.
 *
 * Locks, outermost first (docs/locking.md):
 *   keys.lock      which paths a mutation is under way for
 *   cache.lock     the tables: attributes, listings, contents by path
 *   content.lock   one file's bytes
 * None is held across a backend call (C7).  content.lock is held across reads
 * and writes of the local staging file: those bytes are what it protects.
 */
#ifndef CACHE_PRIV_H
#define CACHE_PRIV_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <uthash.h>

#include "cache/attr-memory.h"
#include "cache/attr-table.h"
#include "cache/cache.h"
#include "cache/delay.h"
#include "cache/journal.h"
#include "cache/store.h"
#include "common/range.h"

#define FETCH_BLOCK (256u * 1024)	 /* fetches are aligned to it */
#define FETCH_MAX (8u * 1024 * 1024)	 /* one backend read */
#define LISTING_MAX 128			 /* shared listings */
#define IDLE_MAX 256			 /* closed contents kept in memory */
#define EPOCH_SLOTS 4096
#define CONFLICT_TRIES 16

/* --- attributes, names and absences (attr.c) ----------------------------- */

/* Local changes are numbered; a question notes the number of the last one
 * before it, and its answer is dropped if the path was changed since (C9). */
TAILQ_HEAD(listing_list, cache_listing); /* listing.h */

/* --- content of one file (content.c) ------------------------------------- */

struct flight {
	struct range r;
	LIST_ENTRY(flight) link;
};

struct content {
	struct cache *c;
	UT_hash_handle hh; /* in cache.contents by path, while `current` */
	TAILQ_ENTRY(content) link; /* in *list */
	unsigned refs;	 /* cache.lock; handles, jobs and the list */
	unsigned handles; /* cache.lock */
	bool current;	 /* cache.lock: in the table: what a new open gets */
	uint64_t node;	 /* also content.lock to change it: cache_set_node() */
	struct content_list *list; /* cache.lock: the one that keeps it */
	TAILQ_ENTRY(content) stray;
	bool is_stray;	 /* cache.lock: not current, but open or unsent */
	bool abandoned;	 /* content.lock: no close() will acknowledge it any
			  * more; never sent over what is newer */
	uint64_t drained; /* cache.lock: the round that tried it */

	pthread_mutex_t lock; /* protects everything below */
	pthread_cond_t cond;  /* flights and commits */
	char *path;	      /* also cache.lock to change it */
	bool unlinked;	      /* no name any more: never sent … */
	bool other_names;     /* … but for its hard links, which we don't know */
	uint64_t orphan_ino;  /* unlinked: its number, when its own may be another
			       * file's; else 0 */
	bool in_store;	      /* base is an object; else: believed absent */
	bool reserved;	      /* base is our own, empty: nothing to protect yet */
	bool truncated;	      /* opened with O_TRUNC: no byte of what is there */
	bool racy;	      /* base can't be believed at the next open */
	bool unkept;	      /* the disk refused bytes of fd: they are right as
			       * long as they are in memory, and never clean */
	bool gone;	      /* they are not all in memory */

	struct be_attr attr; /* as stat shows it; size is the current one */
	struct be_ver base;  /* what the clean bytes are of */
	uint64_t base_size;
	uint64_t clean_end;   /* below it absent bytes are the base's; above
			       * it, holes are zeros */
	uint64_t commit_size; /* while committing: the size that is sent */
	uint64_t commit_end;  /* what clean_end will be after it */
	unsigned attr_dirty; /* BE_SET_* that ride on the next commit */
	unsigned attr_sending; /* … that ride on the one under way: a truncate
				* has no dirty byte, and is unsent till then */

	struct store_file *clean; /* CLEAN, or where fd is filled from; kept
				   * until the end once opened */
	bool clean_bad;		  /* the disk spoiled it: not used any more */
	bool no_fill;		  /* fd could not take what was fetched */
	int fd;			  /* PARTIAL and STAGED; -1 */
	char *private_name;	  /* of fd; NULL: a memory file */
	struct rangeset present;  /* in fd; only with fd >= 0 */
	struct rangeset dirty;	  /* in fd, not in the store */
	struct rangeset sending;  /* dirty ones that a commit has taken */
	bool staged;		  /* fd may differ from base */
	bool append_only;	  /* dirty = bytes appended from append_at */
	uint64_t append_at;
	/* The kernel reads, and with exposed_rw writes, the local file itself
	 * (expose.c); until the last handle is gone. */
	bool exposed, exposed_rw;
	bool exposed_other; /* … but a file that is no longer this content */
	bool apart; /* exposed_rw, and what is not dirty of fd is of an older
		     * version than base, since the kernel may be writing it.
		     * Then racy, too: no new open gets it */
	bool mappable;	    /* … and somebody may map it to write to it */
	bool stamp_ok;	    /* stamp is of the bytes that were last hashed */
	struct stat stamp;
	struct timespec seen_mtim; /* of fd, when attr.mtime was set */
	uint64_t *sums;	    /* of STORE_BLOCKs of the base; NULL: unknown */
	uint64_t nsums;
	uint64_t *scanned; /* the same, as the last scan saw them */
	uint64_t nscanned;
	bool committing;
	pthread_t committer; /* while committing */
	bool publishing; /* until it ends, an open waits */
	bool lost;   /* of a killed worker, and can't be told any more */
	bool failed; /* the last commit failed; words were logged */
	bool exclusive; /* excl=close: EEXIST comes at close */
	uint64_t gen; /* bumped by each write and truncate */
	uint64_t base_gen; /* bumped when base becomes another's version */
	struct timespec since; /* first unsent byte */
	bool journaled; /* the journal has a record of private_name */
	struct journal_at record; /* … and it is this one */
	bool kept; /* … and all bytes are in that file, for a next daemon */
	bool closed; /* was to be sent when a worker died, and nobody has it
		      * open: expose.c's thread sends it */
	bool old_log;	/* and perhaps an earlier worker's log */
	int log_fd;    /* of what was written since the record; -1: nothing */
	uint64_t logged; /* entries in it */
	struct journal_change last; /* of them */
	struct be_opid resume; /* of a commit that may have been sent without
				* an answer; "" = none */
	uint64_t room; /* bytes that may be written before asking the disk */
	/* Parts that leave before the commit (early.c). */
	struct be_ahead *early; /* NULL: none */
	struct be_opid early_op;
	size_t early_next;	    /* number of the next part */
	struct rangeset early_left; /* given to it, and not changed since */
	uint64_t *early_sums; /* exposed: of their STORE_BLOCKs, as they left */
	uint64_t nearly;
	bool early_off;	       /* not tried before the next commit */
	struct origin *origin; /* what it is a copy of; NULL: of nothing */
	bool is_stream, polled; /* early_lock: looked at, just now */
	TAILQ_ENTRY(content) stream;
	LIST_HEAD(, flight) flights;

	/* the opener, for commits */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t ngroups;
};
TAILQ_HEAD(content_list, content);

struct cfile {
	struct content *k;
	int flags;
	pthread_mutex_t lock; /* outside content.lock; protects what follows */
	uint64_t next;	 /* where a sequential reader goes on */
	uint64_t window; /* readahead, bytes */
	uint64_t ahead;	 /* fetched or asked for up to here */
};

/* --- one mutation a path at a time (keys.c) ------------------------------- */

struct key {
	const char *path;
	bool tree; /* and everything below */
	LIST_ENTRY(key) link;
};
struct note;
struct keys {
	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;
	LIST_HEAD(, key) held;
	struct note *notes; /* by path: what changed while `noting` */
	bool noting, notes_lost;
};
void keys_init(struct keys *k);
void keys_release(struct keys *k);
/* Waits until neither path nor (tree) anything below or above it is held.
 * key->path must live until key_unlock.  -EINTR by ctx. */
int key_lock(struct keys *k, struct key *key, const char *path, bool tree,
	     struct be_ctx *ctx);
int key_lock2(struct keys *k, struct key *a, const char *path_a,
	      struct key *b, const char *path_b, bool tree, struct be_ctx *ctx);
/* -EAGAIN instead of waiting. */
int key_try(struct keys *k, struct key *key, const char *path);
void key_unlock(struct keys *k, struct key *key);

/* --- the cache ------------------------------------------------------------ */

struct cache {
	struct cache_config cfg;
	struct backend *be;
	struct store *store;
	struct attr_table *table; /* NULL: none is wanted */
	struct keys keys;

	pthread_mutex_t lock;
	struct attr_memory *attrs;
	struct cache_listing *listings; /* by path */
	struct listing_list listing_lru;
	LIST_HEAD(, cache_listing) filling;
	struct delay *delay; /* attributes that wait; the same */
	struct asked *asked; /* the same */
	struct foresee *foresee; /* the same */
	struct ancestors *ancestors; /* the same */
	struct dirtimes *dirtimes; /* the same */
	struct names *names; /* what it points to is cache.lock's too */
	struct content *contents; /* by path */
	struct content_list idle; /* partly fetched, for the next open */
	unsigned nidle;
	struct content_list orphans; /* restored, no handle has come yet */
	struct content_list mapped;  /* closed, but a mapping may write it */
	struct content_list strays; /* what handles still have of a name that
				     * means another file now */
	pthread_t keeper; /* looks at them; started with the first */
	bool has_keeper;
	pthread_cond_t keeper_cond;
	pthread_mutex_t early_lock; /* streams; a leaf */
	pthread_cond_t early_cond;
	struct content_list streams; /* the kernel writes them, unseen */
	pthread_t early;	     /* looks at them; started with the first */
	bool has_early, early_asleep;
	atomic_uint nahead; /* contents with `early` */
	struct content_list failed; /* unsent, and nobody has them open */
	uint64_t changes;		/* number of the last local change */
	uint64_t changed[EPOCH_SLOTS];	/* … of a path in this slot */
	uint64_t changed_all;		/* … that concerned a whole tree */
	struct statvfs statfs;
	int64_t statfs_until_ns;

	struct be_uploads uploads;
	SLIST_HEAD(, upload) left; /* by an earlier daemon; uploads.c, from
				    * cache_takeover to cache_recover */

	atomic_ullong hits, misses, conflicts, open_files, failed_files;
	atomic_uint kept_files; /* of dead mounts in the same directory */
	atomic_ullong memory_bytes; /* of memory files, see stage_new */
	atomic_int precise; /* writes move ctime: 1; not: -1; unknown: 0 */
	atomic_uint jobs;	    /* readahead under way */
	atomic_int stopping;
};

static inline void
cache_lock(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
}

static inline void
cache_unlock(struct cache *c)
{
	pthread_mutex_unlock(&c->lock);
}

/* The store is about to be asked for ctx->once: with this operation id, which a
 * next process knows.  once_end(): it has answered.  (once.c) */
void once_begin(struct cache_ctx *ctx, struct be_opid *opid);
int once_end(struct cache_ctx *ctx, int ret);
static inline bool
once_again(const struct cache_ctx *ctx)
{
	return ctx->once && ctx->once->again;
}

/* -EAGAIN for a caller that must not block. */
static inline int
must_not_block(const struct cache_ctx *ctx)
{
	return ctx->try_only ? -EAGAIN : 0;
}

/* attr.c.  Those that end in _locked want cache.lock. */
uint64_t epoch_now(struct cache *c);
bool epoch_holds_locked(struct cache *c, const char *path, uint64_t asked);
/* The same of a directory and of the names in it. */
bool epoch_inside_holds_locked(struct cache *c, const char *dir,
			       uint64_t asked);
/* path was changed by us: answers asked before are not remembered. */
void attr_changed_locked(struct cache *c, const char *path);
/* What the directory has that path is in was changed by us. */
void attr_parent_changed_locked(struct cache *c, const char *path);
/* Fresh (since: cache_ctx): 0, or -ENOENT for a believed absence; -EAGAIN: ask. */
int attr_find_locked(struct cache *c, const char *path, int64_t since_ns,
		     struct be_attr *out, int64_t *until_ns);
/* stale_if_error (P7): an answer that was good until then may still be given
 * while the store is down; and that it is. */
bool stale_holds(const struct cache *c, int64_t until_ns);
bool stale_wanted(const struct cache *c);
/* Is there such an answer, and with that version (NULL: any)? */
bool attr_have_stale(struct cache *c, const char *path,
		     const struct be_ver *ver);
/* What an earlier answer said, however old; false: nothing. */
bool attr_peek(struct cache *c, const char *path, struct be_attr *out);
/* Is it the version that such an answer named, old enough to be believed? */
bool attr_trusted(struct cache *c, const char *path, const struct be_ver *ver);
/* An answer (a == NULL: absent); asked: epoch_now() before the question.  Tells cfg.changed
 * when the bytes differ from those the kernel may have. */
void attr_install(struct cache *c, const char *path, const struct be_attr *a,
		  uint64_t asked);
/* The state after a change of our own: path and its directory. */
void attr_set_own(struct cache *c, const char *path, const struct be_attr *a);
void attr_made_own(struct cache *c, const char *path, const struct be_attr *a);
void attr_gone_own(struct cache *c, const char *path);
/* Of the directory it is in, the times. */
void attr_forget_tree(struct cache *c, const char *path);
/* After a mutation of path: if it failed and may have happened all the same,
 * nothing is believed of path any more.  Returns ret. */
int attr_doubt(struct cache *c, const struct cache_ctx *ctx, const char *path,
	       int ret);
/* What is remembered of path gets what waits for it (delay.c). */
void attr_apply_locked(struct cache *c, const char *path);
/* Note that the kernel's pages are of this version; was it so before? */
bool attr_pages(struct cache *c, const char *path, const struct be_ver *ver);
/* Were the kernel's pages of that version? */
bool attr_had_pages(struct cache *c, const char *path,
		    const struct be_ver *ver);
/* Attributes now, asked for if need be. */
int attr_get(struct cache *c, struct cache_ctx *ctx, const char *path,
	     struct be_attr *out, int64_t *until_ns);
/* The same of what a listing has just shown to be such a thing. */
int attr_get_as(struct cache *c, struct cache_ctx *ctx, const char *path,
		enum be_hint hint, struct be_attr *out, int64_t *until_ns);
/* Attributes of something that is to be made by this caller. */
void attr_new(struct cache *c, struct cache_ctx *ctx, const char *path,
	      mode_t mode, struct be_attr *a);
/* What a write or a change of owner leaves of it. */
mode_t attr_without_priv(mode_t mode);
/* listing.c */
void listing_free_all(struct cache *c);
/* Asks the store for a listing of the directory that path is in, in a thread
 * of cfg.run. */
void listing_renew(struct cache *c, const char *path);
/* Somebody is about to ask for path's attributes.  Those of the names that follow
 * are asked for as well if he has looked at some in the order of a listing; then
 * path's may be known when this returns.  What path was when it was listed. */
enum be_hint listing_step(struct cache *c, struct cache_ctx *ctx,
			  const char *path);

/* ancestors.c: the directories above path are asked for again before their
 * attributes are too old, in a thread of cfg.run. */
void ancestors_init(struct cache *c);
void ancestors_release(struct cache *c);
void ancestors_renew(struct cache *c, const char *path);

/* dirtimes.c: when this node made or removed a name in a directory. */
void dirtimes_init(struct cache *c);
void dirtimes_release(struct cache *c);
/* path was made or removed by us. */
void dirtimes_move_locked(struct cache *c, const char *path);
void dirtimes_overlay_locked(struct cache *c, const char *path,
			     struct be_attr *a);
/* The directory path has other times now, or is another one; tree: and those
 * below it. */
void dirtimes_drop(struct cache *c, const char *path, bool tree);

/* asked.c: what a lookup has asked is new enough for the open() that it is part
 * of.  The last: is it so?  It is used up. */
void asked_init(struct cache *c);
void asked_release(struct cache *c);
void asked_put_locked(struct cache *c, const char *path, int32_t walker,
		      const struct be_ver *ver);
bool asked_take_locked(struct cache *c, const char *path, int32_t walker,
		       const struct be_ver *ver);

/* foresee.c: is the lookup of path the beginning of an open() of a small file?
 * If it is followed by one, foresee_opened_locked() tells. */
#define FORESEE_MAX (128u * 1024) /* bytes */
void foresee_init(struct cache *c);
void foresee_release(struct cache *c);
bool foresee_open_locked(struct cache *c, const char *path);
void foresee_opened_locked(struct cache *c, const char *path);

/* names.c: names that are believed or guessed not to be there. */
void names_init(struct cache *c);
void names_release(struct cache *c);
/* The names of one listing, as they come; NULL: they are of no use here. */
struct names_set;
struct names_set *names_set_new(struct cache *c);
void names_set_add(struct names_set **set, const char *name);
void names_set_free(struct names_set *set); /* NULL is fine */
/* A listing of path that was asked for then; takes over set. */
void names_listed(struct cache *c, const char *path, struct names_set *set,
		  uint64_t asked, int64_t asked_ns);
/* This node made that name, or may have; it removed it. */
void names_made_locked(struct cache *c, const char *path);
void names_gone_locked(struct cache *c, const char *path);
void names_forget_locked(struct cache *c, const char *path); /* and below */
/* Does a fresh listing say so?  renew: the caller calls listing_renew. */
bool names_absent_locked(struct cache *c, const char *path, int64_t *until_ns,
			 bool *renew);
void names_renewed(struct cache *c, const char *path);
/* Would one bet on it? */
bool names_guess_locked(struct cache *c, const char *path);
void names_looked_locked(struct cache *c, const char *path, bool found);
void listing_stop_all(struct cache *c);
void listing_unshare_locked(struct cache_listing *l); /* cache.lock */
void listing_shrink_locked(struct cache *c);	      /* cache.lock */

/* open.c */
/* A handle on k; takes over the reference. */
struct cfile *cfile_new(struct content *k, struct cache_ctx *ctx, int flags);
/* New content that says what the store said. */
struct content *content_of(struct cache *c, const char *path,
			   const struct be_attr *a);
/* Puts k in the table.  If somebody else was faster with the same version,
 * that one is taken and k is dropped. */
struct content *content_enter(struct content *k);
/* The commits of this content are made as this caller (rule 10). */
void content_opener_set_locked(struct content *k, const struct cache_ctx *ctx);
/* The name means another file, or none.  true: handles keep this one, and the
 * kernel must look the name up again and get a new node (P2: "Open handles
 * keep the version they opened"). */
bool content_replaced(struct content *k, struct cache_ctx *ctx);

/* content.c, fetch.c, stage.c */
struct content *content_new(struct cache *c, const char *path);
void content_get_locked(struct content *k); /* cache.lock */
void content_put(struct content *k);
/* The current content of path with a reference, or NULL. */
struct content *content_find(struct cache *c, const char *path);
void content_insert_locked(struct content *k);
/* No new open gets it. */
void content_detach_locked(struct content *k);
bool content_unsent_locked(const struct content *k); /* content.lock */
bool content_unsent(struct content *k);
void content_attr(struct content *k, struct be_attr *out);
struct be_ver content_base(struct content *k); /* len 0: not to be believed */
void content_rename_locked(struct content *k, const char *path); /* cache.lock */
/* The name is gone; handles go on, also in a next daemon.  Fetches first what is
 * not here. */
int content_prepare_unlink(struct content *k, struct cache_ctx *ctx);
void content_unlinked(struct content *k);
/* Other nodes have another file there: what is here of this one stays for its
 * handles in a next daemon. */
void content_keep(struct content *k, struct cache_ctx *ctx);
void content_keep_locked(struct content *k); /* … if all of it is here */
/* The same for handles that have an older file of this name: their close() must
 * not bring the name back. */
void content_strays_unlinked(struct cache *c, const char *path);
/* Makes [off, off+len) local.  Not with a CLEAN content. */
int content_fetch(struct content *k, struct cache_ctx *ctx, uint64_t off,
		  uint64_t len);
/* Waits for a flight or a commit to end; -EINTR, -ETIMEDOUT by ctx. */
int content_wait_locked(struct content *k, struct cache_ctx *ctx);
bool content_local_locked(struct content *k, uint64_t off, uint64_t len);
bool content_local(struct content *k, uint64_t off, uint64_t len);
int content_read(struct content *k, struct cache_ctx *ctx, uint64_t off,
		 void *p, size_t len, size_t *got);
/* All of r of the base version, from the backend. */
int content_base_read(struct content *k, struct cache_ctx *ctx,
		      const char *path, const struct be_ver *ver,
		      struct range r, const struct be_sink *sink);
/* read-through.c: the same as content_read, but what is not here is not kept. */
int content_read_through(struct content *k, struct cache_ctx *ctx, uint64_t off,
			 void *p, size_t len, size_t *got);
/* Did fd not take what was fetched last? */
bool content_no_fill(struct content *k);
/* fd could not be read there.  true: the store has what is not our own. */
bool content_unreadable(struct content *k, uint64_t off, uint64_t len,
			int error);
/* A staging file that may be written; content.lock held before and after. */
int content_stage_locked(struct content *k, struct cache_ctx *ctx);
/* 1: it had that size before. */
int content_truncate(struct content *k, struct cache_ctx *ctx, uint64_t size);
int content_complete(struct content *k, struct cache_ctx *ctx);
/* An fd for PARTIAL or STAGED content that has none. */
int content_backing_new(struct content *k, bool for_write);
int content_backing_new_locked(struct content *k, bool for_write);
/* Turns finished staged or partial content into a clean file, if it can.  What has
 * nothing unsent any more loses its journal record: there, with no lock held; or at
 * once, if it is not published. */
bool content_publish_begin_locked(struct content *k);
void content_publish(struct content *k);
void content_kill_priv_locked(struct content *k, uid_t uid);
void content_touch_locked(struct content *k); /* mtime, ctime = now */
int read_all(int fd, void *p, size_t len, uint64_t off, size_t *got);

/* name.c */
/* The content that was opened under path is now the bytes of version `to`
 * instead of `from`: the same ones. */
void name_relabel(struct cache *c, const char *path, const struct be_ver *from,
		  const struct be_attr *to);
/* An object must exist before it can be linked, renamed or given xattrs; all:
 * and have all the bytes. */
int name_make_real(struct cache *c, struct cache_ctx *ctx, const char *path,
		   bool all);
/* Is a file in the tree dir that the store does not have yet? */
bool name_unsent_below(struct cache *c, const char *dir);

/* rename.c */
/* What a change of our own finds: the bytes stay, the version does not. */
struct before {
	struct be_attr attr;
	bool known;
	bool asked; /* just now, not remembered */
};
void look_before(struct cache *c, struct cache_ctx *ctx, const char *from,
		 struct before *b);
/* Do both name the same bytes?  Equal versions say so; else what a change of
 * names or attributes keeps and a write changes, if we looked a moment ago. */
bool same_bytes(const struct before *b, const struct be_attr *out);
void moved_version(struct cache *c, const char *from, const char *to,
		   const struct before *b, const struct be_attr *out);

/* expose.c */
/* Bytes that only a scan would find may have come. */
bool expose_changed_locked(const struct content *k);
/* Size and times as the kernel's own writes have made them. */
void expose_refresh_locked(struct content *k);
/* Finds what changed; the committing thread only. */
int expose_scan(struct content *k);
/* Sums of the STORE_BLOCKs of [0, size); NULL: can't be read. */
uint64_t *expose_sums(int fd, uint64_t size, uint64_t *n);
/* The same file under another mode of access. */
int expose_dup(int fd, int flags);
/* After a commit: what was scanned is what the base has. */
void expose_sent_locked(struct content *k);
/* The last handle is gone: may the bytes still change?  false: they are
 * still, and fd is read-only. */
bool expose_may_change_locked(struct content *k);
void expose_watch_locked(struct content *k); /* cache.lock; until they are still */
void expose_stop(struct cache *c);
void expose_free(struct content *k);

/* early.c: parts of a new file leave while it is still written. */
void early_init(struct cache *c);
void early_stop(struct cache *c);
/* Bytes that we wrote ourselves; sends what is whole now. */
void early_wrote_locked(struct content *k, uint64_t off, uint64_t len);
/* Their size became smaller. */
void early_cut_locked(struct content *k);
/* The kernel writes it: it is looked at now and then, until early_unwatch(),
 * after which nobody does.  No lock is held. */
void early_watch(struct content *k);
void early_unwatch(struct content *k);
/* For the committing thread: what is whole leaves now. */
void early_rest_locked(struct content *k, uint64_t size);
/* sums: of the first n blocks as they are now; what differs has not left. */
void early_verify_locked(struct content *k, const uint64_t *sums, uint64_t n);
/* May this commit go on with it? */
bool early_fits_locked(const struct content *k);
/* What left and is in no commit is thrown away. */
void early_drop_locked(struct content *k);

/* origin.c: what copy_file_range() made of a whole clean file. */
struct origin_of {
	char *path;
	struct be_ver ver;
	uint64_t size;
};
/* The bytes of `in` from in_off on will be written to k at off.  false: that
 * can't be such a copy. */
bool origin_begin(struct content *k, struct content *in, uint64_t in_off,
		  uint64_t off);
/* The next ones, just read and written; false as before. */
bool origin_copied(struct content *k, struct content *in, const void *p,
		   size_t len);
/* After origin_begin(); not good: it is no such copy after all. */
void origin_end(struct content *k, bool good);
/* Is all that is in k, `size` bytes, a copy so far? */
bool origin_is_all_locked(const struct content *k, uint64_t size);
/* What the store may copy instead of taking these bytes, or NULL.  For the
 * committing thread, behind its scan. */
const struct origin_of *origin_find_locked(const struct content *k,
					   const struct be_commit *c);
void origin_drop_locked(struct content *k);

/* takeover.c: what nobody has open goes to expose.c's thread. */
void takeover_send_closed(struct cache *c);

/* uploads.c: what an earlier daemon had begun to upload. */
void uploads_init(struct cache *c);
void uploads_restore(struct cache *c);
void uploads_give_up(struct cache *c, struct cache_ctx *ctx);
void uploads_free(struct cache *c);

/* Can't the bytes of fd be told any more?  The disk could not take some, and
 * memory has let them go: then they read as zeros, or as what was there before.
 * content.lock; a system call that does not wait. */
bool content_gone_locked(struct content *k);

/* commit.c */
int content_commit(struct content *k, struct cache_ctx *ctx);

/* content-journal.c.  Writes down what a next daemon must know of unsent bytes. */
void content_journal_locked(struct content *k, enum journal_state state,
			    const struct be_commit *commit, int error,
			    const char *words);

/* Nothing is unsent: a next daemon need not know of it, but for the handles of
 * what was kept. */
void content_settled_locked(struct content *k);
/* It is about to differ from what the store has. */
void content_journal_change_locked(struct content *k);
/* Dirty ranges and size changed: for a next worker. */
void content_log_locked(struct content *k, uint64_t off, uint64_t len);

/* content.c.  One list of the cache may keep a content that no handle holds, with a
 * reference of its own.  The caller has one too.  cache.lock. */
void content_list_locked(struct content *k, struct content_list *list);
void content_unlist_locked(struct content *k);
/* What is unsent when the last handle goes: kept and listed. */
void content_failed(struct content *k);

#endif
