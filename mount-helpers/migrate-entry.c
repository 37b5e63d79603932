/* SPDX-License-Identifier: MIT */
/*
 * One name of the source, of any kind: compared with what the journal says,
 * and if it differs carried.  And names that have gone.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"

#define NAMES_BESIDE 9 /* name.from-HOST, name.from-HOST-2, … */

struct entry {
	struct mig_worker *w;
	struct mig *m;
	const char *path;
	struct stat st;
	bool known;
	struct mig_rec old; /* if known */
	struct mig_rec rec; /* the new one */
	struct err err;
};

static char
kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	}
	return '\0';
}

void
mig_rec_of_stat(struct mig_rec *r, const struct stat *st)
{
	memset(r, 0, sizeof(*r));
	r->kind = kind_of(st->st_mode);
	r->ino = st->st_ino;
	r->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	r->mtime = mig_ns(st->st_mtim);
	r->ctime = mig_ns(st->st_ctim);
	r->mode = st->st_mode & 07777;
	r->uid = st->st_uid;
	r->gid = st->st_gid;
	if (S_ISREG(st->st_mode) && st->st_nlink > 1)
		r->flags |= MIG_REC_LINKED;
}

bool
mig_entry_same(const struct mig_rec *r, const struct stat *st)
{
	if (r->kind != kind_of(st->st_mode) || (r->flags & MIG_REC_RACY) ||
	    r->ino != st->st_ino || r->mode != (st->st_mode & 07777) ||
	    r->uid != st->st_uid || r->gid != st->st_gid)
		return false;
	/* A directory's times move with what is in it. */
	if (r->kind == 'd')
		return true;
	return r->mtime == mig_ns(st->st_mtim) &&
	       r->ctime == mig_ns(st->st_ctim) &&
	       (r->kind != 'f' || r->size == (uint64_t)st->st_size);
}

/* One thread at a time works on a path, and on the names of an inode.  A path
 * is taken first. */
static void
key_take(struct mig *m, uint64_t key)
{
	size_t i;

	pthread_mutex_lock(&m->keys_lock);
	for (;;) {
		for (i = 0; i < m->keys_n && m->keys_busy[i] != key; i++)
			;
		if (i == m->keys_n)
			break;
		pthread_cond_wait(&m->keys_freed, &m->keys_lock);
	}
	m->keys_busy = xrealloc(m->keys_busy, m->keys_n + 1,
				  sizeof(*m->keys_busy));
	m->keys_busy[m->keys_n++] = key;
	pthread_mutex_unlock(&m->keys_lock);
}

static void
key_give(struct mig *m, uint64_t key)
{
	pthread_mutex_lock(&m->keys_lock);
	for (size_t i = 0; i < m->keys_n; i++) {
		if (m->keys_busy[i] == key) {
			m->keys_busy[i] = m->keys_busy[--m->keys_n];
			break;
		}
	}
	pthread_cond_broadcast(&m->keys_freed);
	pthread_mutex_unlock(&m->keys_lock);
}

static uint64_t
key_of(const char *path)
{
	/* Not a number that an inode has. */
	return XXH3_64bits(path, strlen(path)) | UINT64_C(1) << 63;
}

/* Its name in the store. */
static const char *
store_name(const struct entry *e)
{
	if (e->rec.as)
		return e->rec.as;
	return e->known && e->old.as ? e->old.as : e->path;
}

static void
done(struct entry *e)
{
	if (!e->rec.as && e->known && e->old.as)
		e->rec.as = xstrdup(e->old.as);
	mig_journal_put(e->m->journal, e->path, &e->rec);
	mig_list_forget(e->m, e->path);
}

static void
failed(struct entry *e, int r)
{
	const char *words = e->err.msg ? e->err.msg : strerror(-r);

	switch (r) {
	case -EINTR:
		if (atomic_load(&e->m->stop))
			return;
		break;
	case -EILSEQ:
	case -ENAMETOOLONG:
		mig_list(e->m, MIG_LEFT_OUT, e->path,
			 "the store can't have this name: %s", words);
		return;
	case -EEXIST:
	case -EISDIR:
	case -ENOTDIR:
	case -ESTALE:
		mig_list(e->m, MIG_COLLISION, e->path, "%s", words);
		return;
	case -ENOSPC:
	case -EDQUOT:
	case -EROFS:
		mig_fatal(e->m, r, "%s: %s", e->path, words);
		return;
	}
	mig_list(e->m, MIG_NOT_CARRIED, e->path, "%s", words);
}

/* --- files ----------------------------------------------------------------- */

/* Other content has the name.  0: it is the same after all, or it was put
 * beside. */
static int
resolve_collision(struct entry *e, int fd, int r)
{
	for (int i = 1; i <= NAMES_BESIDE; i++) {
		struct be_ctx ctx = mig_ctx(e->m, &e->err);
		const char *at = store_name(e);
		struct be_attr now;
		XXH128_hash_t hash;

		err_release(&e->err);
		if (be_getattr(e->m->be, &ctx, at, BE_HINT_FILE, &now) == 0 &&
		    S_ISREG(now.mode) && now.size == e->rec.size &&
		    mig_store_hash(e->m, at, &now, &hash, &e->err) == 0 &&
		    XXH128_isEqual(hash, e->rec.hash)) {
			e->rec.ver = now.ver;
			e->rec.store_ino = now.ino;
			e->rec.flags |= MIG_REC_ADOPTED;
			return 0;
		}
		err_release(&e->err);
		if (!e->m->a->collision_rename)
			break;
		free(e->rec.as);
		e->rec.as = i == 1 ? xasprintf("%s.from-%s", e->path,
					       e->m->host)
				   : xasprintf("%s.from-%s-%d", e->path,
					       e->m->host, i);
		r = mig_put(e->w, e->rec.as, fd, &e->st, NULL, &e->rec,
			    &e->err);
		if (r == 0)
			mig_list(e->m, MIG_NOTE, e->path,
				 "other content has this name; it is %s now",
				 e->rec.as);
		if (r != -EEXIST)
			return r;
	}
	return err_set(&e->err, -EEXIST, "other content has this name");
}

/* 1: the store has it as one more name of the same file.  0: not so. */
static int
try_link(struct entry *e)
{
	struct be_ctx ctx = mig_ctx(e->m, &e->err);
	_cleanup_free_ char *other = NULL;
	_cleanup_rec_ struct mig_rec r = { 0 };
	struct be_attr out;
	int ret;

	other = mig_journal_same_inode(e->m->journal, e->path, e->st.st_ino);
	if (!other || !mig_journal_get(e->m->journal, other, &r) ||
	    r.size != e->rec.size || r.mtime != e->rec.mtime ||
	    (r.flags & (MIG_REC_RACY | MIG_REC_ADOPTED)))
		return 0;
	if (!e->m->be->caps.hard_links) {
		mig_list(e->m, MIG_NOTE, e->path,
			 "is a hard link of %s; the store has none: a copy",
			 other);
		return 0;
	}
	ret = be_link(e->m->be, &ctx, r.as ? r.as : other, e->path, &out);
	if (ret < 0) {
		/* Perhaps it is there from a run that was killed. */
		struct be_attr now;

		err_release(&e->err);
		if (ret != -EEXIST ||
		    be_getattr(e->m->be, &ctx, e->path, BE_HINT_FILE, &now) < 0)
			return 0;
		if (now.ino != r.store_ino)
			return 0;
		out = now;
	} else {
		mig_count(e->m, MIG_HARD_LINKS, 1);
	}
	e->rec.hash = r.hash;
	e->rec.ver = r.ver = out.ver;
	e->rec.store_ino = out.ino;
	e->rec.flags |= r.flags & MIG_REC_XATTRS;
	mig_journal_put(e->m->journal, other, &r);
	return 1;
}

static int
send_file(struct entry *e, int fd)
{
	int r = mig_put(e->w, store_name(e), fd, &e->st,
			e->known ? &e->old : NULL, &e->rec, &e->err);

	if ((r == -EEXIST || r == -EISDIR) && !e->known)
		r = resolve_collision(e, fd, r);
	return r;
}

static void
look_again(struct entry *e)
{
	mig_count(e->m, MIG_RETRIED, 1);
	if (e->m->follow)
		mig_follow_add(e->m->follow, e->path);
}

static void
file_entry(struct entry *e)
{
	_cleanup_close_ int fd = mig_source_open(e->m, e->path, O_RDONLY);
	bool linked = false;
	int r;

	if (fd == -ENOENT) {
		mig_count(e->m, MIG_VANISHED, 1);
		return;
	}
	if (fd < 0) {
		err_set(&e->err, fd, "reading it: %s", strerror(-fd));
		/* A symlink or a directory is there now: see the next pass. */
		if (fd == -ELOOP)
			mig_count(e->m, MIG_RETRIED, 1);
		else
			mig_list(e->m, MIG_NOT_CARRIED, e->path, "%s",
				 err_words(&e->err));
		return;
	}
	if (fstat(fd, &e->st) < 0 || !S_ISREG(e->st.st_mode)) {
		mig_count(e->m, MIG_RETRIED, 1);
		return;
	}
	mig_rec_of_stat(&e->rec, &e->st);
	if (mig_source_racy(&e->st))
		e->rec.flags |= MIG_REC_RACY;
	if (e->st.st_nlink > 1) {
		key_take(e->m, e->st.st_ino);
		linked = true;
	}
	r = linked && !e->known && try_link(e) ? 0 : send_file(e, fd);
	if (r == 0) {
		if (mig_source_changed(fd, &e->st) ||
		    e->rec.size != (uint64_t)e->st.st_size)
			e->rec.flags |= MIG_REC_RACY;
		if (e->rec.flags & MIG_REC_RACY)
			look_again(e);
		done(e);
	} else if (r == -ENODATA && mig_source_changed(fd, &e->st)) {
		look_again(e);
	} else {
		failed(e, r);
	}
	if (linked)
		key_give(e->m, e->st.st_ino);
}

/* --- the other kinds ------------------------------------------------------- */

static void
dir_entry(struct entry *e)
{
	struct be_ctx ctx = mig_ctx(e->m, &e->err);
	struct be_attr a = mig_source_attr(e->m, &e->st), out;
	const unsigned mask = BE_SET_MODE | BE_SET_UID | BE_SET_GID;
	struct mig_pending pend;
	bool ours;
	int r;

	be_opid_new(&pend.opid);
	if (!*e->path) {
		/* The share's root is there.  It looks like DIR if we found it
		 * empty. */
		if (e->m->root_ours) {
			r = be_setattr(e->m->be, &ctx, "", &mig_any, &pend.opid,
				       mask, &a, &out);
			if (r < 0)
				return failed(e, r);
			e->rec.flags |= MIG_REC_TIME;
		} else {
			e->rec.flags |= MIG_REC_ADOPTED;
		}
		return done(e);
	}
	if (e->known) {
		if (!(e->old.flags & MIG_REC_ADOPTED)) {
			mig_count(e->m, MIG_ATTRS, 1);
			r = be_setattr(e->m->be, &ctx, e->path, &mig_any,
				       &pend.opid, mask, &a, &out);
			if (r < 0)
				return failed(e, r);
		}
		e->rec.flags = e->old.flags;
		return done(e);
	}
	ours = mig_journal_pending(e->m->journal, e->path, &pend);
	pend.ino = 0;
	mig_journal_pend(e->m->journal, e->path, &pend);
	r = be_mkdir(e->m->be, &ctx, e->path, &a, &pend.opid, &out);
	/* mkdir() itself makes no setgid bit. */
	if (r == 0 && (out.mode & 07777) != (a.mode & 07777))
		r = be_setattr(e->m->be, &ctx, e->path, &mig_any, &pend.opid, mask,
			       &a, &out);
	if (r == 0) {
		mig_count(e->m, MIG_DIRS, 1);
		/* Where times are the file system's own they are set later. */
		if (e->m->be->caps.random_write)
			e->rec.flags |= MIG_REC_TIME;
		return done(e);
	}
	if (r != -EEXIST)
		return failed(e, r);
	err_release(&e->err);
	r = be_getattr(e->m->be, &ctx, e->path, BE_HINT_DIR, &out);
	if (r == 0 && !S_ISDIR(out.mode))
		r = err_set(&e->err, -EEXIST,
			    "it is no directory in the store; nothing below "
			    "it can be carried");
	if (r == 0 && ours)
		r = be_setattr(e->m->be, &ctx, e->path, &mig_any, &pend.opid, mask,
			       &a, &out);
	if (r < 0)
		return failed(e, r);
	if (!ours)
		e->rec.flags |= MIG_REC_ADOPTED;
	done(e);
}

void
mig_entry_dir_time(struct mig_worker *w, const char *path)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_rec_ struct mig_rec rec = { 0 };
	struct be_ctx ctx = mig_ctx(w->m, &err);
	struct be_opid id;
	struct be_attr a, out;
	struct stat st;

	if (!mig_journal_get(w->m->journal, path, &rec) || rec.kind != 'd' ||
	    (rec.flags & MIG_REC_ADOPTED) ||
	    mig_source_stat(w->m, path, &st) < 0 || !S_ISDIR(st.st_mode))
		return;
	if (!(rec.flags & MIG_REC_TIME) && rec.mtime == mig_ns(st.st_mtim))
		return;
	a = mig_source_attr(w->m, &st);
	be_opid_new(&id);
	/* Not worth a failure: a directory's time is the store's own affair. */
	if (be_setattr(w->m->be, &ctx, path, &mig_any, &id,
		       BE_SET_ATIME | BE_SET_MTIME, &a, &out) < 0)
		return;
	rec.flags &= ~MIG_REC_TIME;
	rec.mtime = mig_ns(st.st_mtim);
	mig_journal_put(w->m->journal, path, &rec);
}

/* 1: the store has a symlink with this target. */
static int
same_target(struct entry *e, const char *at, XXH128_hash_t hash)
{
	_cleanup_free_ char *there = NULL;
	struct be_ctx ctx = mig_ctx(e->m, NULL);

	if (be_readlink(e->m->be, &ctx, at, &there) < 0)
		return 0;
	return XXH128_isEqual(hash, XXH3_128bits(there, strlen(there)));
}

static void
symlink_entry(struct entry *e)
{
	struct be_ctx ctx = mig_ctx(e->m, &e->err);
	struct be_attr a = mig_source_attr(e->m, &e->st), out;
	_cleanup_free_ char *target = NULL;
	const unsigned mask = BE_SET_UID | BE_SET_GID | BE_SET_MTIME |
			      BE_SET_ATIME;
	struct be_opid id;
	int r = mig_source_readlink(e->m, e->path, &target);

	if (r < 0) {
		mig_count(e->m, r == -ENOENT ? MIG_VANISHED : MIG_RETRIED, 1);
		return;
	}
	e->rec.hash = XXH3_128bits(target, strlen(target));
	be_opid_new(&id);
	mig_journal_pend(e->m->journal, e->path,
			 &(struct mig_pending){ id, mig_target_mark(target) });
	if (e->known && !XXH128_isEqual(e->rec.hash, e->old.hash)) {
		if (same_target(e, e->path, e->old.hash))
			r = be_unlink(e->m->be, &ctx, e->path, &mig_any, &id);
		if (r < 0 && r != -ENOENT)
			return failed(e, r);
	}
	err_release(&e->err);
	r = be_symlink(e->m->be, &ctx, e->path, target, &a, &id, &out);
	if (r == -EEXIST && same_target(e, e->path, e->rec.hash)) {
		err_release(&e->err);
		if (!e->known)
			e->rec.flags |= MIG_REC_ADOPTED;
		e->rec.flags |= e->known ? e->old.flags & MIG_REC_ADOPTED : 0;
		r = 0;
	} else if (r == 0) {
		mig_count(e->m, MIG_SYMLINKS, 1);
	}
	if (r == 0 && e->m->be->caps.random_write &&
	    !(e->rec.flags & MIG_REC_ADOPTED))
		r = be_setattr(e->m->be, &ctx, e->path, &mig_any, &id, mask, &a,
			       &out);
	if (r < 0)
		return failed(e, r);
	done(e);
}

static void
fifo_entry(struct entry *e)
{
	struct be_ctx ctx = mig_ctx(e->m, &e->err);
	struct be_attr a = mig_source_attr(e->m, &e->st), out;
	struct be_opid id;
	int r;

	if (!e->m->be->caps.special) {
		mig_list(e->m, MIG_LEFT_OUT, e->path,
			 "a FIFO, and the store has none");
		return;
	}
	be_opid_new(&id);
	mig_journal_pend(e->m->journal, e->path,
			 &(struct mig_pending){ id, 0 });
	r = be_create(e->m->be, &ctx, e->path, &a, &id, &out);
	if (r == 0) {
		mig_count(e->m, MIG_SPECIAL, 1);
		/* A new name has the time of its making. */
		if (e->m->be->caps.random_write)
			r = be_setattr(e->m->be, &ctx, e->path, &mig_any, &id,
				       BE_SET_ATIME | BE_SET_MTIME, &a, &out);
	} else if (r == -EEXIST && be_getattr(e->m->be, &ctx, e->path,
					      BE_HINT_FILE, &out) == 0 &&
		   S_ISFIFO(out.mode)) {
		e->rec.flags |= MIG_REC_ADOPTED;
		r = 0;
	}
	if (r < 0)
		return failed(e, r);
	done(e);
}

/* --- removals -------------------------------------------------------------- */

static void
gone_entry(struct entry *e)
{
	struct be_ctx ctx = mig_ctx(e->m, &e->err);
	struct be_cond cond = { .pre = BE_ANY };
	const char *at = e->old.as ? e->old.as : e->path;
	struct be_attr now;
	struct be_opid id;
	int r = 0;

	be_opid_new(&id);
	if (e->old.flags & MIG_REC_ADOPTED)
		goto forget; /* it was there before us */
	switch (e->old.kind) {
	case 'd':
		r = be_rmdir(e->m->be, &ctx, at, &id);
		if (r == -ENOTEMPTY)
			goto forget; /* others have files in it */
		break;
	case 'f':
		/* A store that compares versions is asked only if they differ. */
		if (e->m->be->caps.conditional_delete &&
		    be_ver_known(&e->old.ver)) {
			cond = (struct be_cond){ BE_MATCH, e->old.ver };
			r = be_unlink(e->m->be, &ctx, at, &cond, &id);
			if (r != -ESTALE)
				break;
			err_release(&e->err);
		}
		r = mig_still_ours(e->m, at, &e->old, &now, &e->err);
		if (r == 0)
			goto changed;
		if (r < 0)
			break;
		cond = (struct be_cond){ BE_MATCH, now.ver };
		r = be_unlink(e->m->be, &ctx, at, &cond, &id);
		if (r == -ESTALE)
			goto changed;
		break;
	case 'l':
		if (!same_target(e, at, e->old.hash))
			goto changed;
		r = be_unlink(e->m->be, &ctx, at, &cond, &id);
		break;
	default:
		r = be_unlink(e->m->be, &ctx, at, &cond, &id);
	}
	if (r == -ENOENT)
		r = 0;
	if (r < 0)
		return failed(e, r);
	mig_count(e->m, MIG_REMOVED, 1);
forget:
	mig_journal_del(e->m->journal, e->path);
	mig_list_forget(e->m, e->path);
	return;
changed:
	mig_list(e->m, MIG_NOTE, e->path,
		 "removed from DIR, changed in the store: it is left there");
	mig_journal_del(e->m->journal, e->path);
}

void
mig_entry_gone(struct mig_worker *w, const char *path)
{
	struct entry e = { .w = w, .m = w->m, .path = path, .err = ERR_INIT };

	key_take(w->m, key_of(path));
	if (mig_journal_get(w->m->journal, path, &e.old))
		gone_entry(&e);
	else
		mig_list_forget(w->m, path);
	key_give(w->m, key_of(path));
	mig_rec_release(&e.old);
	err_release(&e.err);
}

/* --- any ------------------------------------------------------------------- */

void
mig_entry_left_out(struct mig *m, const char *path)
{
	mig_list(m, MIG_LEFT_OUT, path, "sharedfs keeps this name for itself");
}

bool
mig_entry(struct mig_worker *w, const char *path, const struct stat *st)
{
	struct entry e = {
		.w = w, .m = w->m, .path = path, .st = *st, .err = ERR_INIT,
	};
	char kind = kind_of(st->st_mode);
	bool there;

	if (mig_source_reserved(path)) {
		mig_entry_left_out(w->m, path);
		return false;
	}
	key_take(w->m, key_of(path));
	e.known = mig_journal_get(w->m->journal, path, &e.old);
	if (e.known && kind && mig_entry_same(&e.old, st))
		goto out;
	if (e.known && e.old.kind != kind) {
		/* Another kind of thing: the old one goes first. */
		gone_entry(&e);
		mig_count(w->m, MIG_RETRIED, 1);
		mig_rec_release(&e.old);
		e.known = mig_journal_get(w->m->journal, path, &e.old);
		if (e.known)
			goto out;
	}
	if (!e.known)
		mig_leftover(w, path, kind);
	mig_rec_of_stat(&e.rec, st);
	switch (kind) {
	case 'f':
		file_entry(&e);
		break;
	case 'd':
		dir_entry(&e);
		break;
	case 'l':
		symlink_entry(&e);
		break;
	case 'p':
		fifo_entry(&e);
		break;
	default:
		mig_list(w->m, MIG_LEFT_OUT, path, "%s",
			 S_ISSOCK(st->st_mode) ?
				 "a socket: its program makes it anew" :
				 "a device: a share has none");
	}
out:
	key_give(w->m, key_of(path));
	mig_rec_release(&e.old);
	mig_rec_release(&e.rec);
	err_release(&e.err);
	there = mig_journal_get(w->m->journal, path, &e.old);
	mig_rec_release(&e.old);
	return there;
}
