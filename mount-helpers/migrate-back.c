/* SPDX-License-Identifier: MIT */
/*
 * The other direction: what changed in the store since it was carried goes to
 * the old tree.  The journal knows the version of each file that was sent, so
 * an unchanged one costs its line of a listing.  A file of the old tree is
 * replaced or removed only if it is what the journal says; it is replaced by
 * rename, so nobody sees a part of it.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define WINDOW (UINT64_C(16) << 20)
#define CLOCKS_APART 120 /* seconds that a store's clock may differ */

struct name {
	char *path; /* key; in the store */
	char *here; /* its name in the old tree */
	UT_hash_handle hh;
};

struct back {
	struct mig *m;
	struct name *beside; /* names that were carried under another one */
	struct name *seen;   /* by names in the old tree */
	int64_t since;	     /* seconds; attributes changed after it */
	uint64_t changes;
};

static void
add_name(struct name **table, const char *path, const char *here)
{
	struct name *n = xcalloc(1, sizeof(*n));

	n->path = xstrdup(path);
	n->here = xstrdup(here);
	HASH_ADD_KEYPTR(hh, *table, n->path, strlen(n->path), n);
}

static void
drop_names(struct name **table)
{
	struct name *n, *next;

	HASH_ITER(hh, *table, n, next) {
		HASH_DEL(*table, n);
		free(n->path);
		free(n->here);
		free(n);
	}
}

static const char *
local_name(struct back *b, const char *path)
{
	struct name *n;

	HASH_FIND_STR(b->beside, path, n);
	return n ? n->here : path;
}

/* A collision is words, not the end. */
static int
conflict(struct back *b, const char *path, const char *words)
{
	mig_list(b->m, MIG_COLLISION, *path ? path : ".", "%s", words);
	return 0;
}

static int
failed(struct back *b, const char *path, int r, const struct err *err)
{
	mig_list(b->m, MIG_NOT_CARRIED, *path ? path : ".", "%s",
		 err && err->msg ? err->msg : strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT || r == -EROFS)
		mig_fatal(b->m, r, "the old tree takes no more: %s",
			  strerror(-r));
	return atomic_load(&b->m->stop) ? -EINTR : 0;
}

/* The directory that path is in. */
static int
open_parent(struct mig *m, const char *path)
{
	_cleanup_free_ char *dir = path_dir(path);

	return mig_source_open(m, dir, O_PATH | O_DIRECTORY);
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
	if (strcmp(path, here) != 0)
		rec.as = xstrdup(path);
	mig_journal_put(b->m->journal, here, &rec);
	mig_list_forget(b->m, here);
	b->changes++;
}

/* --- one file -------------------------------------------------------------- */

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

	if (off == t->base)
		XXH3_copyState(t->now, t->start);
	XXH3_128bits_update(t->now, data, len);
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
	     const struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_close_ int dir = open_parent(b->m, here);
	_cleanup_close_ int fd = -1;
	XXH128_hash_t hash;
	struct be_opid id;
	char temp[48];
	int r = dir < 0 ? dir : 0;

	be_opid_new(&id);
	snprintf(temp, sizeof(temp), ".sharedfs-undo-%.16s", id.s);
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
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir, temp, dir, path_base(here)) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, temp, 0);
		/* It changed while it was read: the next round has it. */
		if (r == -ESTALE || r == -ENOENT) {
			b->changes++;
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

static int
back_file(struct back *b, const char *path, const char *here,
	  const struct mig_rec *rec, const struct be_attr *a)
{
	_cleanup_err_ struct err err = ERR_INIT;
	XXH128_hash_t hash;
	bool same;

	same = rec && rec->kind == 'f' && rec->size == a->size &&
	       (be_ver_equal(&rec->ver, &a->ver) ||
		(mig_store_hash(b->m, path, a, &hash, &err) == 0 &&
		 XXH128_isEqual(hash, rec->hash)));
	if (same && ((rec->flags & MIG_REC_ADOPTED) ||
		     !other_attributes(b->m, rec, a)))
		return 0;
	if (!untouched(b, here, rec))
		return conflict(b, here,
				"changed in the share and in the old tree");
	return same ? change_attributes(b, path, here, a, rec) :
		      replace_file(b, path, here, a);
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
	XXH128_hash_t hash;
	int r = be_readlink(b->m->be, &ctx, path, &target);

	if (r < 0)
		return r == -ENOENT ? 0 : failed(b, here, r, &err);
	hash = XXH3_128bits(target, strlen(target));
	if (rec && rec->kind == 'l' && XXH128_isEqual(hash, rec->hash))
		return 0;
	if (!untouched(b, here, rec))
		return conflict(b, here,
				"changed in the share and in the old tree");
	dir = open_parent(b->m, here);
	if (dir < 0)
		return failed(b, here, dir, NULL);
	if (unlinkat(dir, path_base(here), 0) < 0 && errno != ENOENT)
		return failed(b, here, -errno, NULL);
	if (symlinkat(target, dir, path_base(here)) < 0 ||
	    fchownat(dir, path_base(here), idmap_to_local(&b->m->uids, a->uid),
		     idmap_to_local(&b->m->gids, a->gid),
		     AT_SYMLINK_NOFOLLOW) < 0)
		return failed(b, here, -errno, NULL);
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
		return conflict(b, here,
				"changed in the share and in the old tree");
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

/* --- all of it ------------------------------------------------------------- */

struct entries {
	struct {
		char *name;
		struct be_attr a;
	} *v;
	size_t n, cap;
};

static int
on_entry(void *arg, const char *name, const struct be_attr *a)
{
	struct entries *e = arg;

	if (e->n == e->cap) {
		e->cap = e->cap ? 2 * e->cap : 64;
		e->v = xrealloc(e->v, e->cap, sizeof(*e->v));
	}
	e->v[e->n].name = xstrdup(name);
	e->v[e->n++].a = *a;
	return 0;
}

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

static int walk(struct back *b, const char *dir);

static int
back_entry(struct back *b, const char *path, struct be_attr *a)
{
	const char *here = local_name(b, path);
	_cleanup_rec_ struct mig_rec rec = { 0 };
	bool known = mig_journal_get(b->m->journal, here, &rec);
	int r;

	add_name(&b->seen, here, here);
	r = look_closer(b, path, known ? &rec : NULL, a);
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
		r = back_dir(b, path, here, known ? &rec : NULL, a);
		return r == 1 ? walk(b, path) : r;
	}
	return 0;
}

static int
walk(struct back *b, const char *dir)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(b->m, &err);
	struct entries e = { 0 };
	int r = be_list(b->m->be, &ctx, dir, on_entry, &e);

	if (r == -ENOENT && *dir)
		r = 0; /* it went meanwhile */
	for (size_t i = 0; i < e.n; i++) {
		if (r == 0 && !atomic_load(&b->m->stop) &&
		    strncmp(e.v[i].name, ".sharedfs-", 10) != 0) {
			_cleanup_free_ char *path = path_join(dir, e.v[i].name);

			r = back_entry(b, path, &e.v[i].a);
		}
		free(e.v[i].name);
	}
	free(e.v);
	if (r < 0)
		mig_list(b->m, MIG_NOT_CARRIED, *dir ? dir : ".",
			 "listing the share: %s",
			 err.msg ? err.msg : strerror(-r));
	return atomic_load(&b->m->stop) ? -EINTR : r;
}

/* What the share no longer has. */
static int
remove_gone(struct back *b)
{
	size_t n;
	char **paths = mig_journal_paths(b->m->journal, &n);

	while (n--) {
		_cleanup_rec_ struct mig_rec rec = { 0 };
		_cleanup_close_ int dir = -1;
		struct name *s;

		HASH_FIND_STR(b->seen, paths[n], s);
		if (!s && *paths[n] && !atomic_load(&b->m->stop) &&
		    mig_journal_get(b->m->journal, paths[n], &rec)) {
			dir = open_parent(b->m, paths[n]);
			if (!untouched(b, paths[n], &rec)) {
				conflict(b, paths[n],
					 "removed in the share, changed in the "
					 "old tree");
			} else if (dir < 0 ||
				   unlinkat(dir, path_base(paths[n]),
					    rec.kind == 'd' ? AT_REMOVEDIR :
							      0) == 0 ||
				   errno == ENOENT) {
				mig_journal_del(b->m->journal, paths[n]);
				mig_count(b->m, MIG_BACK_REMOVED, 1);
				b->changes++;
			}
			/* A directory with what was never carried stays. */
		}
		free(paths[n]);
	}
	free(paths);
	return 0;
}

int
mig_back(struct mig *m, uint64_t *changes)
{
	_cleanup_free_ char *when = mig_journal_value(m->journal, "cut");
	struct back b = { .m = m };
	size_t n;
	char **paths = mig_journal_paths(m->journal, &n);
	int r;

	b.since = when ? strtoll(when, NULL, 10) - CLOCKS_APART : 0;
	while (n--) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (mig_journal_get(m->journal, paths[n], &rec) && rec.as)
			add_name(&b.beside, rec.as, paths[n]);
		free(paths[n]);
	}
	free(paths);
	r = walk(&b, "");
	if (r == 0)
		r = remove_gone(&b);
	drop_names(&b.beside);
	drop_names(&b.seen);
	*changes = b.changes;
	mig_journal_sync(m->journal);
	return atomic_load(&m->stop) ? -EINTR : r;
}
