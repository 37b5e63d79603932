/* SPDX-License-Identifier: MIT */
/*
 * The other direction, one name: what changed in the store since it was carried
 * goes to the old tree.  The journal knows the version of each file that was
 * sent, so an unchanged one costs its line of a listing.  A file of the old tree
 * is replaced or removed only if it is what the journal says; it is replaced by
 * rename, so nobody sees a part of it.
 */
#include <config.h>

#include "mount-helpers/migrate-back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define WINDOW (UINT64_C(16) << 20)
#define BOTH_CHANGED "changed in the share and in the old tree"

/* A collision is words, not the end. */
static int
conflict(struct back *b, const char *path, const char *words)
{
	mig_list(b->m, MIG_COLLISION, *path ? path : ".", "%s", words);
	return 0;
}

bool
back_is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EROFS;
}

static int
failed(struct back *b, const char *path, int r, const struct err *err)
{
	mig_list(b->m, MIG_NOT_CARRIED, *path ? path : ".", "%s",
		 err && err->msg ? err->msg : strerror(-r));
	if (back_is_full(r))
		return r;
	return atomic_load(&b->m->stop) ? -EINTR : 0;
}

static void
changed(struct back *b, const char *path, const struct be_attr *a)
{
	atomic_fetch_add(&b->changes, 1);
	/* A change by another name of the same file is told by that name. */
	if (b->on_change && !(a && be_attr_linked(a)))
		b->on_change(b->arg, path);
}

/* The directory that path is in. */
static int
open_parent(struct mig *m, const char *path)
{
	_cleanup_free_ char *dir = path_dir(path);

	return mig_source_open(m, dir, O_PATH | O_DIRECTORY);
}

#define TEMP_MAX 48

static void
temp_name(char temp[TEMP_MAX])
{
	struct be_opid id;

	be_opid_new(&id);
	snprintf(temp, TEMP_MAX, ".sharedfs-undo-%.16s", id.s);
}

/* 1: the old tree has what the journal says (or nothing, if it says nothing).
 * 0: somebody changed it there. */
static int
untouched(struct back *b, const char *here, const struct mig_rec *rec)
{
	struct stat st;
	int r = mig_source_stat(b->m, here, &st);

	if (r == -ENOENT)
		return 1; /* nothing is lost */
	return r == 0 && rec && mig_entry_same(rec, &st);
}

static int
set_attributes(struct mig *m, int fd, const struct be_attr *a)
{
	struct timespec t[2] = { a->atime, a->mtime };

	if (fchown(fd, idmap_to_local(&m->uids, a->uid),
		   idmap_to_local(&m->gids, a->gid)) < 0 ||
	    fchmod(fd, a->mode & 07777) < 0 || futimens(fd, t) < 0)
		return -errno;
	return 0;
}

static void
remember(struct back *b, const char *path, const char *here,
	 const struct be_attr *a, XXH128_hash_t hash)
{
	_cleanup_rec_ struct mig_rec rec = { 0 };
	struct stat st;

	if (mig_source_stat(b->m, here, &st) < 0)
		return;
	mig_rec_of_stat(&rec, &st);
	rec.hash = hash;
	rec.ver = a->ver;
	rec.store_ino = a->ino;
	if (a->flags & BE_ATTR_RACY)
		rec.flags |= MIG_REC_YOUNG;
	if (strcmp(path, here) != 0)
		rec.as = xstrdup(path);
	mig_journal_put(b->m->journal, here, &rec);
	mig_list_forget(b->m, here);
	changed(b, path, a);
}

/* --- one file -------------------------------------------------------------- */

#define ROOM_LEFT (UINT64_C(1) << 20) /* others use that disk, too */

/* Before it is filled for nothing. */
static int
check_room(int dir, const struct be_attr *a, struct err *err)
{
	uint64_t needed = a->size, room;
	struct statvfs v;

	if (a->blocks && a->blocks < needed / 512)
		needed = a->blocks * 512; /* it has holes */
	/* Not every file system tells. */
	if (fstatvfs(dir, &v) < 0 || v.f_blocks == 0)
		return 0;
	room = (uint64_t)v.f_bavail * v.f_frsize;
	if (needed + ROOM_LEFT <= room)
		return 0;
	return err_set(err, -ENOSPC,
		       "%llu bytes are needed, and the old tree's file system "
		       "has %llu free",
		       (unsigned long long)needed, (unsigned long long)room);
}

static bool
is_zero(const char *p, size_t n)
{
	return n == 0 || (*p == 0 && memcmp(p, p + 1, n - 1) == 0);
}

struct taker {
	int fd;
	XXH3_state_t *now, *start;
	uint64_t base;
};

static int
take_bytes(void *arg, const void *data, size_t len, uint64_t off)
{
	struct taker *t = arg;
	const char *p = data;

	if (off == t->base) {
		/* Also what a first try has written, if it was wrong. */
		if (ftruncate(t->fd, off) < 0)
			return -errno;
		XXH3_copyState(t->now, t->start);
	}
	XXH3_128bits_update(t->now, data, len);
	/* The file is new: what is not written is zeros. */
	if (is_zero(p, len))
		return 0;
	while (len) {
		ssize_t n = pwrite(t->fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int
fetch(struct back *b, const char *path, const struct be_attr *a, int fd,
      XXH128_hash_t *hash, struct err *err)
{
	struct taker t = { fd, XXH3_createState(), XXH3_createState(), 0 };
	const struct be_sink sink = { take_bytes, &t };
	struct be_ctx ctx = mig_ctx(b->m, err);
	int r = 0;

	XXH3_128bits_reset(t.now);
	for (; r == 0 && t.base < a->size; t.base += WINDOW) {
		uint64_t n = a->size - t.base, got = 0;

		if (n > WINDOW)
			n = WINDOW;
		XXH3_copyState(t.start, t.now);
		r = be_read(b->m->be, &ctx, path, &a->ver, t.base, n, &sink,
			    &got);
		if (r == 0 && got != n)
			r = -ESTALE;
	}
	*hash = XXH3_128bits_digest(t.now);
	XXH3_freeState(t.now);
	XXH3_freeState(t.start);
	if (r == 0 && ftruncate(fd, a->size) < 0)
		r = -errno;
	return r;
}

static int
fetch_xattrs(struct back *b, const char *path, int fd, struct err *err)
{
	struct be_ctx ctx = mig_ctx(b->m, err);
	_cleanup_free_ char *names = NULL;
	size_t len = 0;
	int r;

	if (!b->m->be->caps.xattrs)
		return 0;
	r = be_listxattr(b->m->be, &ctx, path, &names, &len);
	for (const char *n = names; r == 0 && n && n < names + len;
	     n += strlen(n) + 1) {
		_cleanup_free_ void *value = NULL;
		size_t size;

		r = be_getxattr(b->m->be, &ctx, path, n, &value, &size);
		if (r == 0 && fsetxattr(fd, n, value, size, 0) < 0)
			r = -errno;
	}
	return r;
}

static int
replace_file(struct back *b, const char *path, const char *here,
	     const struct mig_rec *rec, const struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_close_ int dir = open_parent(b->m, here);
	_cleanup_close_ int fd = -1;
	XXH128_hash_t hash;
	char temp[TEMP_MAX];
	int r = dir < 0 ? dir : 0;

	temp_name(temp);
	if (r == 0)
		r = check_room(dir, a, &err);
	if (r == 0)
		fd = openat(dir, temp,
			    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r == 0 && fd < 0)
		r = -errno;
	if (r < 0)
		return failed(b, here, r, &err);
	r = fetch(b, path, a, fd, &hash, &err);
	if (r == 0)
		r = fetch_xattrs(b, path, fd, &err);
	if (r == 0)
		r = set_attributes(b->m, fd, a);
	/* When somebody waits for it the whole disk is synced afterwards. */
	if (r == 0 && !b->m->hurry && fdatasync(fd) < 0)
		r = -errno;
	/* Programs may be back in the old tree by now. */
	if (r == 0 && !untouched(b, here, rec)) {
		unlinkat(dir, temp, 0);
		return conflict(b, here, BOTH_CHANGED);
	}
	if (r == 0 && renameat(dir, temp, dir, path_base(here)) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, temp, 0);
		/* It changed while it was read: the next round has it. */
		if (r == -ESTALE || r == -ENOENT) {
			atomic_fetch_add(&b->changes, 1);
			return 0;
		}
		return failed(b, here, r, &err);
	}
	mig_count(b->m, MIG_BACK_FILES, 1);
	remember(b, path, here, a, hash);
	return 0;
}

/* Mode, owner and times alone. */
static int
change_attributes(struct back *b, const char *path, const char *here,
		  const struct be_attr *a, const struct mig_rec *rec)
{
	_cleanup_close_ int fd = mig_source_open(b->m, here, O_RDONLY);
	int r = fd < 0 ? fd : set_attributes(b->m, fd, a);

	/* Removed just now, or by hand. */
	if (r == -ENOENT)
		return b->m->swapped ? 0 : replace_file(b, path, here, rec, a);
	if (r < 0)
		return failed(b, here, r, NULL);
	remember(b, path, here, a, rec->hash);
	return 0;
}

static bool
other_attributes(struct mig *m, const struct mig_rec *rec,
		 const struct be_attr *a)
{
	/* setuid and setgid were never carried. */
	mode_t bits = rec->kind == 'd' ? 07777 : 01777;

	return (rec->mode & bits) != (a->mode & bits) ||
	       rec->uid != idmap_to_local(&m->uids, a->uid) ||
	       rec->gid != idmap_to_local(&m->gids, a->gid) ||
	       (rec->kind == 'f' && rec->mtime != mig_ns(a->mtime));
}

/* A young version (rule 9) does not tell: a write moves it before its bytes. */
static bool
same_bytes(struct back *b, const char *path, const struct mig_rec *rec,
	   const struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	XXH128_hash_t hash;

	if (rec->kind != 'f' || rec->size != a->size)
		return false;
	if (be_ver_equal(&rec->ver, &a->ver) && !(rec->flags & MIG_REC_YOUNG))
		return true;
	return mig_store_hash(b->m, path, a, &hash, &err) == 0 &&
	       XXH128_isEqual(hash, rec->hash);
}

/* These bytes were compared: next time the version tells. */
static void
settle(struct back *b, const char *here, const struct mig_rec *rec,
       const struct be_attr *a)
{
	struct mig_rec now = *rec;

	if (!(rec->flags & MIG_REC_YOUNG) || (a->flags & BE_ATTR_RACY))
		return;
	now.flags &= ~(unsigned)MIG_REC_YOUNG;
	now.ver = a->ver;
	mig_journal_put(b->m->journal, here, &now);
}

static int
back_file(struct back *b, const char *path, const char *here,
	  const struct mig_rec *rec, const struct be_attr *a)
{
	bool same = rec && same_bytes(b, path, rec, a);

	if (same && ((rec->flags & MIG_REC_ADOPTED) ||
		     !other_attributes(b->m, rec, a))) {
		settle(b, here, rec, a);
		return 0;
	}
	if (b->m->swapped && rec &&
	    mig_source_stat(b->m, here, &(struct stat){ 0 }) == -ENOENT)
		return 0;
	if (!untouched(b, here, rec))
		return conflict(b, here, BOTH_CHANGED);
	return same ? change_attributes(b, path, here, a, rec) :
		      replace_file(b, path, here, rec, a);
}

/* --- the other kinds ------------------------------------------------------- */

static int
back_symlink(struct back *b, const char *path, const char *here,
	     const struct mig_rec *rec, const struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(b->m, &err);
	_cleanup_free_ char *target = NULL;
	_cleanup_close_ int dir = -1;
	char temp[TEMP_MAX];
	XXH128_hash_t hash;
	int r = be_readlink(b->m->be, &ctx, path, &target);

	if (r < 0)
		return r == -ENOENT ? 0 : failed(b, here, r, &err);
	hash = XXH3_128bits(target, strlen(target));
	if (rec && rec->kind == 'l' && XXH128_isEqual(hash, rec->hash))
		return 0;
	if (!untouched(b, here, rec))
		return conflict(b, here, BOTH_CHANGED);
	dir = open_parent(b->m, here);
	if (dir < 0)
		return failed(b, here, dir, NULL);
	temp_name(temp);
	if (symlinkat(target, dir, temp) < 0)
		return failed(b, here, -errno, NULL);
	if (fchownat(dir, temp, idmap_to_local(&b->m->uids, a->uid),
		     idmap_to_local(&b->m->gids, a->gid),
		     AT_SYMLINK_NOFOLLOW) < 0 ||
	    renameat(dir, temp, dir, path_base(here)) < 0) {
		r = -errno;
		unlinkat(dir, temp, 0);
		return failed(b, here, r, NULL);
	}
	remember(b, path, here, a, hash);
	return 0;
}

static int
back_fifo(struct back *b, const char *path, const char *here,
	  const struct mig_rec *rec, const struct be_attr *a)
{
	_cleanup_close_ int dir = -1;

	if (rec && rec->kind == 'p')
		return 0;
	if (!untouched(b, here, rec))
		return conflict(b, here, BOTH_CHANGED);
	dir = open_parent(b->m, here);
	if (dir < 0)
		return failed(b, here, dir, NULL);
	if (mkfifoat(dir, path_base(here), a->mode & 0777) < 0 ||
	    fchownat(dir, path_base(here), idmap_to_local(&b->m->uids, a->uid),
		     idmap_to_local(&b->m->gids, a->gid),
		     AT_SYMLINK_NOFOLLOW) < 0)
		return failed(b, here, -errno, NULL);
	remember(b, path, here, a, (XXH128_hash_t){ 0 });
	return 0;
}

/* 1: go on below it. */
static int
back_dir(struct back *b, const char *path, const char *here,
	 const struct mig_rec *rec, const struct be_attr *a)
{
	_cleanup_close_ int dir = -1, fd = -1;
	struct stat st;
	int r = mig_source_stat(b->m, here, &st);

	if (r == 0 && !S_ISDIR(st.st_mode))
		return conflict(b, here,
				"a directory in the share, not in the old tree");
	if (r == 0 && (!rec || (rec->flags & MIG_REC_ADOPTED) ||
		       (a->flags & (BE_ATTR_PARTIAL | BE_ATTR_IMPLICIT)) ||
		       !other_attributes(b->m, rec, a)))
		return 1;
	if (r < 0) {
		dir = open_parent(b->m, here);
		if (dir < 0)
			return failed(b, here, dir, NULL);
		if (mkdirat(dir, path_base(here), 0700) < 0)
			return failed(b, here, -errno, NULL);
	}
	fd = mig_source_open(b->m, here, O_RDONLY | O_DIRECTORY);
	r = fd < 0 ? fd : set_attributes(b->m, fd, a);
	if (r < 0)
		return failed(b, here, r, NULL);
	remember(b, path, here, a, (XXH128_hash_t){ 0 });
	return 1;
}

/* --- any ------------------------------------------------------------------- */

/* A listing may not tell all; then it is asked for, unless nothing changed. */
static int
look_closer(struct back *b, const char *path, const struct mig_rec *rec,
	    struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(b->m, &err);

	if (!(a->flags & BE_ATTR_PARTIAL))
		return 0;
	if (rec && rec->kind != 'd' && be_ver_known(&a->ver) &&
	    be_ver_equal(&rec->ver, &a->ver) && a->mtime.tv_sec < b->since)
		return 1;
	if (rec && rec->kind == 'd' && S_ISDIR(a->mode) &&
	    a->mtime.tv_sec < b->since && a->mtime.tv_sec)
		return 0;
	return be_getattr(b->m->be, &ctx, path,
			  S_ISDIR(a->mode) ? BE_HINT_DIR : BE_HINT_FILE, a);
}

int
back_entry(struct back *b, const char *path, const char *here,
	   struct be_attr *a)
{
	_cleanup_rec_ struct mig_rec rec = { 0 };
	bool known = mig_journal_get(b->m->journal, here, &rec);
	int r = look_closer(b, path, known ? &rec : NULL, a);

	if (r == 1 || r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	switch (a->mode & S_IFMT) {
	case S_IFREG:
		return back_file(b, path, here, known ? &rec : NULL, a);
	case S_IFLNK:
		return back_symlink(b, path, here, known ? &rec : NULL, a);
	case S_IFIFO:
		return back_fifo(b, path, here, known ? &rec : NULL, a);
	case S_IFDIR:
		return back_dir(b, path, here, known ? &rec : NULL, a);
	}
	return 0;
}

void
back_gone(struct back *b, const char *here)
{
	_cleanup_rec_ struct mig_rec rec = { 0 };
	_cleanup_close_ int dir = -1;

	if (!mig_journal_get(b->m->journal, here, &rec))
		return;
	if (!untouched(b, here, &rec)) {
		conflict(b, here,
			 "removed in the share, changed in the old tree");
		return;
	}
	dir = open_parent(b->m, here);
	if (dir >= 0 &&
	    unlinkat(dir, path_base(here),
		     rec.kind == 'd' ? AT_REMOVEDIR : 0) < 0 &&
	    errno != ENOENT)
		return; /* a directory with what was never carried stays */
	mig_journal_del(b->m->journal, here);
	mig_list_forget(b->m, here);
	mig_count(b->m, MIG_BACK_REMOVED, 1);
	changed(b, rec.as ? rec.as : here, NULL);
}
