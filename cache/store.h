/* SPDX-License-Identifier: MIT */
/*
 * Immutable, complete files on the local disk, shared by all daemons of a
 * host, and private files of this daemon (partial and staged content).
 *
 * DIR/v1/                       version of the format in the name
 *   clean/XX/HHHH…              content; XX the first two hex digits of
 *                               its record (key in full, size, checksums) is
 *                               the attribute user.sfs.HHHH… or, where that
 *                               does not fit, a file beside it:
 *   clean/XX/HHHH….rec          docs/cache-format.md
 *   mounts/NAME/lock            flock(LOCK_EX) held by the daemon (rule 21)
 *   mounts/NAME/files/N         private files (stage, partial)
 *   mounts/NAME/journal/        see journal.h
 *   clean-lock                  flock(LOCK_EX) by the daemon that sweeps
 *
 * Key = (store id, path, data version); the name is XXH3-128 of it, the record
 * holds it whole and it is compared (C6).  Content is verified by XXH3 per
 * 128 KiB block: each block once per open file, before its first use; a bad one
 * drops the file (C5).  Published by rename; last use is the content's mtime.
 * No fault of the disk is an error here beyond "not there": they are counted
 * and logged once per kind.
 */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"

#define STORE_BLOCK (128u * 1024)

struct store;

struct store_config {
	const char *dir;
	const char *instance;
	const char *store_id; /* backend->id */
	uint64_t size_max;    /* high watermark; low is 90 % of it; 0 = none */
	uint64_t free_min;    /* bytes of the disk that stay free of clean
			       * content; a third of it is the writers' reserve */
};

/* -EBUSY: another live daemon has the instance.  -EINVAL, -EACCES: the
 * directory belongs to somebody else or is no directory; words.  A disk that
 * is full or read-only is no error: store_usable() is then false. */
int store_new(const struct store_config *cfg, struct store **out,
	      struct err *err);
void store_free(struct store *s);
bool store_usable(const struct store *s);

/* --- clean content ------------------------------------------------------- */

struct store_file; /* an open clean file; content can't be evicted meanwhile
		    * by this or another daemon (flock LOCK_SH on it) */

/* NULL: not there (or bad: then dropped). */
struct store_file *store_open(struct store *s, const char *path,
			      const struct be_ver *ver);
uint64_t store_file_size(const struct store_file *f);
/* For the kernel (passthrough), after store_verify; -1: there is none.  A
 * description of its own, since the kernel's outlives this process: while it
 * has it no other daemon takes the file, and ours still may. */
int store_kernel_fd(struct store_file *f);
/* Did this daemon, or an earlier one of its instance, give it to the kernel? */
bool store_kernel_has(struct store_file *f);
/* Reads and verifies; -EIO: the content is bad and was dropped; read from the
 * backend instead.  0 and *got. */
int store_read(struct store_file *f, uint64_t off, void *p, size_t len,
	       size_t *got);
int store_verify(struct store_file *f); /* all blocks; 0 or -EIO (dropped) */
bool store_is_verified(struct store_file *f); /* no block is left to hash */
void store_close(struct store_file *f);

/*
 * Makes a clean file private, in place: the same inode, now writable, in no
 * table and under no key (rule 18).  path and ver: its key now; name: what
 * store_private_name() gave.  *sums (owned by
 * the caller, n of them) are those of its blocks.  f stays open for what still
 * reads through it, but verifies no more.  -EBUSY: another daemon has it open,
 * or it is not the file of that key.
 */
int store_take(struct store_file *f, const char *path, const struct be_ver *ver,
	       const char *name, int *fd, uint64_t **sums, uint64_t *n);
/* For a private file that is still to come: what the journal says of it counts
 * from the moment it is there.  Caller frees. */
char *store_private_name(struct store *s);

/* --- private files ------------------------------------------------------- */

/*
 * A private file of this daemon, read-write.  *name (owned by the caller) is
 * its number for the journal.  -ENOSPC when the reserve is used up too,
 * -EIO/-EROFS when the disk can't be used: the caller may fall back to an
 * unlinked memory file for reading, never for writing.
 */
int store_private_new(struct store *s, int *fd, char **name);
int store_private_open(struct store *s, const char *name, int *fd);
void store_private_drop(struct store *s, const char *name);
/* Reading or writing one failed: counted, and logged once. */
void store_private_fault(struct store *s, bool write, int error);
/* May `bytes` more be written for a writer?  -ENOSPC below the reserve, when
 * no clean content is left to drop for it.  Cheap enough for each write. */
int store_private_room(struct store *s, uint64_t bytes);
/* At the start: drops the private files of a predecessor that nobody wants. */
void store_private_sweep(struct store *s,
			 bool (*keep)(void *arg, const char *name), void *arg);

/* The same for mounts that have no daemon, after a while.  Returns how many of
 * their files hold bytes that were not sent: those are never dropped. */
unsigned store_sweep_dead(struct store *s);

/*
 * Turns a complete private file into clean content under the key: hashes it,
 * writes the record, renames, drops the private name.  The bytes must not
 * change any more.  Failure costs only the cached copy; the private name is
 * gone either way.  true: published.
 */
bool store_publish(struct store *s, const char *name, int fd, const char *path,
		   const struct be_ver *ver, uint64_t size);
/* The same, from memory (small files). */
bool store_put(struct store *s, const char *path, const struct be_ver *ver,
	       const void *p, size_t len);
/* The same bytes under another key from now on (rename, chmod on a file
 * store).  Who has it open goes on. */
bool store_rekey(struct store *s, const char *path, const struct be_ver *ver,
		 const char *new_path, const struct be_ver *new_ver);
void store_forget(struct store *s, const char *path, const struct be_ver *ver);

/* --- size ---------------------------------------------------------------- */

/* A thread of the store's own keeps the watermarks: above size_max or below
 * free_min it drops the least recently used, a few at a time, never what is
 * open, never private files.  Nobody waits for it.  store_reclaim runs one
 * pass now (tests). */
void store_reclaim(struct store *s);
/* Other watermarks from now on; the thread sets to it at once. */
void store_set_limits(struct store *s, uint64_t size_max, uint64_t free_min);

struct store_stats {
	uint64_t bytes, files, evictions, disk_errors, bad_blocks;
};
void store_stats_get(struct store *s, struct store_stats *out);

#endif
