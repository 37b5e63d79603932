/* SPDX-License-Identifier: MIT */
/* What the files of the store share: store*.c, reclaim.c, journal.c. */
#ifndef CACHE_STORE_PRIV_H
#define CACHE_STORE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/store-record.h"
#include "cache/store.h"

/* Descriptors that live as long as the store.  Their numbers never change:
 * when the directory was deleted and made again, dup3() puts the new one
 * behind the number, so that no call needs a lock to use one. */
enum store_dir {
	DIR_ROOT,    /* DIR/v1 */
	DIR_CLEAN,   /* DIR/v1/clean */
	DIR_MINE,    /* DIR/v1/mounts/NAME */
	DIR_FILES,   /* …/files */
	DIR_JOURNAL, /* …/journal */
	DIR_LOCK,    /* …/lock, a file; flock(LOCK_EX) */
	DIR_SWEEP,   /* DIR/v1/clean-lock, a file */
	DIR_N,
};

/* Kinds of disk faults: each is logged when it begins and when it ended. */
enum store_fault {
	FAULT_READ,
	FAULT_WRITE,
	FAULT_FULL,
	FAULT_DAMAGE,
	FAULT_DIR,
	FAULT_N,
};

/* "XX/HHHH…" below DIR_CLEAN; with ".rec" for the record beside it. */
#define CLEAN_NAME_MAX (3 + RECORD_NAME_LEN + 4 + 1)
struct clean_name {
	char s[CLEAN_NAME_MAX];
	char rec[CLEAN_NAME_MAX];
	char xattr[16 + RECORD_NAME_LEN];
};

#define SPARE_MAX 32

/* ext4 keeps all attributes of an inode in one block of 4 KiB. */
#define XATTR_REC_MAX 2048

#define STORE_BOOT_MAX 40

struct verified_table;
struct store_idle;

struct store_file {
	struct store *s;
	int fd;
	atomic_int kernel_fd; /* store-take.c; -1: none */
	struct record rec;
	struct verified *_Atomic good; /* of the inode as it was last seen */
	struct verified **retired;     /* … before; s->retire_lock */
	size_t nretired;
	atomic_bool bad;
	bool rec_beside; /* the record is a file, not an attribute */
	bool taken;	 /* by store_take(): not under that name any more */
	struct clean_name name;
	/* What the record was compared with. */
	char *path;
	struct be_ver ver;
};

struct store {
	char *dir, *instance, *id;
	char boot[STORE_BOOT_MAX]; /* which start of the host; "" = not told */
	_Atomic uint64_t size_max, free_min;

	int fd[DIR_N];
	/* Serialises store_setup(); generation counts its successes. */
	pthread_mutex_t setup_lock;
	atomic_uint generation;
	atomic_bool usable;
	int setup_error; /* under setup_lock: of the last try, and when */
	int64_t setup_failed_ns;

	atomic_ullong next_name; /* of private files */
	atomic_bool no_xattr;	 /* the disk has no room for them */

	/* The disk's free bytes as last seen, less what we wrote since. */
	atomic_ullong free_bytes;
	atomic_ullong disk_bytes;
	_Atomic int64_t free_seen_ns;

	struct verified_table *verified;
	pthread_mutex_t retire_lock; /* store-recheck.c; a leaf */
	struct store_idle *idle;

	/* journal.c: inodes of old records, by the number in their names */
	pthread_mutex_t spare_lock;
	unsigned long long spare[SPARE_MAX];
	unsigned nspare;

	/* Clean content: as the last sweep counted it, and ours since. */
	atomic_ullong bytes, files;
	atomic_ullong since_sweep; /* bytes that we added */
	atomic_ullong fresh[256];  /* … to each bucket, since it was counted */

	atomic_ullong evictions, disk_errors, bad_blocks;
	atomic_bool faulty[FAULT_N]; /* now */
	atomic_bool said[FAULT_N];   /* and the log says so */
	_Atomic int64_t said_ns[FAULT_N];

	/* reclaim.c */
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t reclaim_lock; /* fields below */
	pthread_cond_t reclaim_cond;
	bool stop, kicked;
	pthread_mutex_t pass_lock; /* one pass at a time; taken before none */
	atomic_bool stopping;	   /* the same as stop, for a pass under way */
	_Atomic int64_t barren_ns; /* when a pass last found nothing to drop */
};

/* --- store-dir.c --------------------------------------------------------- */

/* Makes or opens the directories.  0, or -errno with words. */
int store_setup(struct store *s, struct err *err);
/* After a call failed because a directory is gone: makes them again, unless
 * another thread did since `generation`.  0: try once more; or -errno. */
int store_heal(struct store *s, unsigned generation);

/* What a killed predecessor had not finished; at the start only. */
void store_drop_temps(struct store *s);

/* Counts a fault, logs the first of its kind; `what` names the call. */
void store_fault(struct store *s, enum store_fault kind, int error,
		 const char *what);
void store_setup_failed(struct store *s, const char *words);
/* By errno: full, or `kind`.  -ENOENT is none. */
void store_failed(struct store *s, enum store_fault kind, int error,
		  const char *what);
void store_works_again(struct store *s, enum store_fault kind);
static inline void
store_works(struct store *s, enum store_fault kind)
{
	if (atomic_load_explicit(&s->faulty[kind], memory_order_relaxed))
		store_works_again(s, kind);
}

/* Free bytes of the disk; exact when they are near `near`. */
uint64_t store_free_bytes(struct store *s, uint64_t near);
void store_free_spent(struct store *s, uint64_t bytes);
uint64_t store_reserve(const struct store *s);

/* A new file in dir, its name (prefix: at most 8 bytes) in out; 0 or -errno. */
#define TEMP_NAME_MAX 32
int store_temp(struct store *s, enum store_dir dir, const char *prefix,
	       int *fd, char out[TEMP_NAME_MAX]);

/* --- store.c ------------------------------------------------------------- */

struct record_key store_key(struct store *s, const char *path,
			    const struct be_ver *ver);
void store_clean_name(const struct record_key *k, struct clean_name *n);
void store_drop_clean(struct store *s, const struct clean_name *n);
/* All n bytes, or -errno; -EBADMSG: the file ends before that. */
int store_read_all(int fd, void *p, size_t n, uint64_t off);
/* We changed the inode, not the bytes: what was good is so under the new
 * ctime. */
void store_carry_verified(struct store_file *f);

/* Closes it for good. */
void store_file_free(struct store_file *f);

/* --- store-recheck.c ----------------------------------------------------- */

/* What is known to be good of f; nothing, if somebody has changed the inode
 * since.  NULL: it has another size.  Valid as long as f. */
struct verified *store_good(struct store_file *f);
/* The first block that the kernel would read from the disk; their number if all
 * are in memory. */
uint64_t store_first_on_disk(const struct store_file *f);

/* --- store-take.c -------------------------------------------------------- */

/* Does the kernel read that clean file by itself, of whichever daemon?  Its
 * worker may be gone, and with it the flock. */
bool store_any_kernel_has(int fd);

/* --- journal.c ----------------------------------------------------------- */

void journal_boot_id(char out[STORE_BOOT_MAX]);

/* --- store-idle.c -------------------------------------------------------- */

struct store_idle *store_idle_new(void);
void store_idle_free(struct store *s);
/* Takes over f, which nobody uses any more. */
void store_idle_put(struct store_file *f);
/* The one of that name, or NULL; the caller's from now on. */
struct store_file *store_idle_take(struct store *s, const struct clean_name *n);
/* The name goes away, or another file gets it. */
void store_idle_drop(struct store *s, const struct clean_name *n);
void store_idle_flush(struct store *s);
void store_idle_age(struct store *s); /* closes what was idle for seconds */

/* --- reclaim.c ----------------------------------------------------------- */

void reclaim_init(struct store *s);
void reclaim_start(struct store *s);
/* Ends the thread, if there is one, and releases what init made. */
void reclaim_stop(struct store *s);
void reclaim_kick(struct store *s); /* cheap; any thread */
/* Clean content came, under that name. */
void reclaim_added(struct store *s, const struct clean_name *n, uint64_t bytes);
/* For a writer who needs `want` free bytes: drops clean content now. */
void reclaim_now(struct store *s, uint64_t want);

/* --- store-verified.c ---------------------------------------------------- */

/*
 * Which blocks of which inode were found good by this process: an inode that
 * is opened again is not hashed again (rule 19).  Any write, and damage
 * through the file system, changes the ctime and so the key.
 */
struct verified;
struct verified_table *verified_table_new(void);
void verified_table_free(struct verified_table *t);
struct verified *verified_get(struct verified_table *t, const struct stat *st,
			      uint64_t nblocks); /* counted */
void verified_put(struct verified_table *t, struct verified *v);
bool verified_has(const struct verified *v, uint64_t block);
void verified_add(struct verified *v, uint64_t block);
/* Is v of the inode as it is in st? */
bool verified_fits(const struct verified *v, const struct stat *st);

#endif
