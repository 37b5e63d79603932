/* SPDX-License-Identifier: MIT */
/*
 * One file's bytes into the store, so that nobody ever sees a part of them and
 * nothing that we did not put there is replaced.
 *
 * A store that replaces whole objects takes them under a condition: the name
 * is absent, or has the version that we made.  A store that writes in place
 * gets a new file under a temporary name, which is then renamed; only a file
 * with several names is written in place, since a new one would part them.
 *
 * What is about to become visible is in the journal first.  So a next run
 * knows its own when this one was killed between the two: by the operation id
 * in the object, or by the inode.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/path.h"
#include "common/xalloc.h"

/* Up to this a file is read once, into memory, and what was hashed is what is
 * sent.  Larger ones, and those with holes, are read twice: if one changes in
 * between its hash counts for nothing.  Where a store takes parts a large one is
 * hashed part by part, as they leave. */
#define SNAPSHOT_MAX (8u << 20)
#define WINDOW (UINT64_C(16) << 20) /* of the store's bytes, to hash them */

#define SET_ALL                                                                \
	(BE_SET_MODE | BE_SET_UID | BE_SET_GID | BE_SET_ATIME | BE_SET_MTIME | \
	 BE_SET_CTIME)

int
mig_worker_init(struct mig_worker *w, struct mig *m)
{
	w->m = m;
	w->memfd = memfd_create("migrate", MFD_CLOEXEC);
	if (w->memfd < 0)
		return -errno;
	w->buf = xmalloc(MIG_BUF);
	return 0;
}

void
mig_worker_release(struct mig_worker *w)
{
	if (w->memfd >= 0)
		close(w->memfd);
	free(w->buf);
}

/* --- hashes ---------------------------------------------------------------- */

struct hash_sink {
	XXH3_state_t *now, *start; /* start: before this window */
	uint64_t base;
};

static int
hash_write(void *arg, const void *data, size_t len, uint64_t off)
{
	struct hash_sink *h = arg;

	/* A read that is repeated begins again. */
	if (off == h->base)
		XXH3_copyState(h->now, h->start);
	XXH3_128bits_update(h->now, data, len);
	return 0;
}

int
mig_store_hash(struct mig *m, const char *path, const struct be_attr *a,
	       XXH128_hash_t *out, struct err *err)
{
	struct hash_sink h = { XXH3_createState(), XXH3_createState(), 0 };
	const struct be_sink sink = { hash_write, &h };
	struct be_ctx ctx = mig_ctx(m, err);
	int r = 0;

	XXH3_128bits_reset(h.now);
	for (h.base = 0; r == 0 && h.base < a->size; h.base += WINDOW) {
		uint64_t n = a->size - h.base, got = 0;

		if (n > WINDOW)
			n = WINDOW;
		XXH3_copyState(h.start, h.now);
		r = be_read(m->be, &ctx, path, &a->ver, h.base, n, &sink, &got);
		if (r == 0 && got != n)
			r = err_set(err, -ESTALE, "it became shorter");
	}
	if (r == 0)
		*out = XXH3_128bits_digest(h.now);
	XXH3_freeState(h.now);
	XXH3_freeState(h.start);
	return r;
}

int
mig_still_ours(struct mig *m, const char *path, const struct mig_rec *rec,
	       struct be_attr *now, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, err);
	XXH128_hash_t hash;
	int r = be_getattr(m->be, &ctx, path, BE_HINT_FILE, now);

	if (r < 0)
		return r;
	if (!S_ISREG(now->mode))
		return 0;
	if (be_ver_known(&rec->ver) && be_ver_equal(&now->ver, &rec->ver))
		return 1;
	/* A chmod in the store moves the version, and so does another name. */
	if (now->size != rec->size)
		return 0;
	r = mig_store_hash(m, path, now, &hash, err);
	return r < 0 ? r : XXH128_isEqual(hash, rec->hash);
}

/* --- reading --------------------------------------------------------------- */

struct content {
	int fd; /* what is sent */
	bool twice; /* it is the source itself, read again */
	bool along; /* hashed while it is sent: the hash is not known before */
	uint64_t size;
	XXH128_hash_t hash;
};

static int
write_all(int fd, const char *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t k = pwrite(fd, p, n, off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		p += k;
		off += k;
		n -= k;
	}
	return 0;
}

/* As far as it goes: a file that became shorter is looked at again (changed()). */
static int
read_content(struct mig_worker *w, int fd, const struct stat *st,
	     struct content *c)
{
	bool dense = (uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size;
	bool snapshot = dense && st->st_size <= SNAPSHOT_MAX;
	XXH3_state_t *h = XXH3_createState();
	uint64_t off = 0;
	int r = 0;

	XXH3_128bits_reset(h);
	if (snapshot && ftruncate(w->memfd, 0) < 0)
		r = -errno;
	while (r == 0 && off < (uint64_t)st->st_size) {
		uint64_t want = st->st_size - off;
		ssize_t n;

		if (atomic_load(&w->m->stop)) {
			r = -EINTR;
			break;
		}
		n = pread(fd, w->buf, want < MIG_BUF ? want : MIG_BUF, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		mig_throttle_bytes(w->m, n);
		XXH3_128bits_update(h, w->buf, n);
		if (snapshot)
			r = write_all(w->memfd, w->buf, n, off);
		off += n;
	}
	c->hash = XXH3_128bits_digest(h);
	c->size = off;
	c->twice = !snapshot;
	c->fd = snapshot ? w->memfd : fd;
	XXH3_freeState(h);
	return r;
}

/* --- hashing while sending ------------------------------------------------- */

/* A part is hashed by the thread that is about to send it, with all before it;
 * so the disk is read once, and no faster than parts leave. */
struct along {
	struct mig_worker *w; /* its buffer */
	int fd;
	pthread_mutex_t lock; /* all below, and the buffer */
	XXH3_state_t *h;
	uint64_t done, size;
	int error;
};

static void
along_begin(struct along *a, struct mig_worker *w, int fd, uint64_t size)
{
	a->w = w;
	a->fd = fd;
	a->size = size;
	a->h = XXH3_createState();
	XXH3_128bits_reset(a->h);
	pthread_mutex_init(&a->lock, NULL);
}

static void
along_release(struct along *a)
{
	if (!a->h)
		return;
	XXH3_freeState(a->h);
	pthread_mutex_destroy(&a->lock);
}

static void
hash_until(struct along *a, uint64_t end)
{
	pthread_mutex_lock(&a->lock);
	while (a->done < end && !a->error) {
		uint64_t want = end - a->done;
		ssize_t n;

		if (atomic_load(&a->w->m->stop)) {
			a->error = -EINTR;
			break;
		}
		n = pread(a->fd, a->w->buf, want < MIG_BUF ? want : MIG_BUF,
			  a->done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			a->error = n < 0 ? -errno : -ENODATA;
			break;
		}
		XXH3_128bits_update(a->h, a->w->buf, n);
		a->done += n;
	}
	pthread_mutex_unlock(&a->lock);
}

/* be_commit.taking */
static void
hash_part(void *arg, uint64_t off, uint64_t len)
{
	struct along *a = arg;

	mig_throttle_enter_again(a->w->m);
	hash_until(a, off + len);
	mig_throttle_leave(a->w->m);
	FAULT_STOP("migrate.part");
}

/* What was not sent, too.  -ENODATA: it became shorter. */
static int
along_end(struct along *a, XXH128_hash_t *out)
{
	hash_until(a, a->size);
	if (a->error)
		return a->error;
	*out = XXH3_128bits_digest(a->h);
	return 0;
}

/* --- extended attributes --------------------------------------------------- */

static ssize_t
list_xattrs(int fd, char **names)
{
	ssize_t n = flistxattr(fd, NULL, 0);

	*names = NULL;
	if (n <= 0)
		return n < 0 && errno != ENOTSUP ? -errno : 0;
	*names = xcalloc(1, n + 1);
	n = flistxattr(fd, *names, n);
	return n < 0 ? -errno : n;
}

static int
one_xattr(struct mig *m, const char *path, const char *name, int fd,
	  struct be_attr *out, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, err);
	_cleanup_free_ char *value = NULL;
	struct be_opid id;
	ssize_t n = fgetxattr(fd, name, NULL, 0);

	if (n < 0)
		return errno == ENODATA ? 0 : -errno;
	value = xcalloc(1, n + 1);
	n = fgetxattr(fd, name, value, n);
	if (n < 0)
		return errno == ENODATA ? 0 : -errno;
	be_opid_new(&id);
	return be_setxattr(m->be, &ctx, path, name, value, n, 0, &id, out);
}

/* Those that the store has and the source has not (any more). */
static int
drop_xattrs(struct mig *m, const char *path, const char *keep, size_t nkeep,
	    struct be_attr *out, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, err);
	_cleanup_free_ char *names = NULL;
	size_t len = 0;
	int r = be_listxattr(m->be, &ctx, path, &names, &len);

	for (const char *p = names; r == 0 && p && p < names + len;
	     p += strlen(p) + 1) {
		bool kept = false;
		struct be_opid id;

		for (const char *k = keep; k && k < keep + nkeep;
		     k += strlen(k) + 1)
			kept |= strcmp(k, p) == 0;
		if (kept || strncmp(p, "user.", 5) != 0)
			continue;
		be_opid_new(&id);
		r = be_setxattr(m->be, &ctx, path, p, NULL, 0, 0, &id, out);
	}
	return r;
}

/* What can't be carried is listed; the file itself goes on. */
static void
copy_xattrs(struct mig *m, const char *shown, const char *path, int fd,
	    bool may_have, struct mig_rec *rec, struct be_attr *out)
{
	_cleanup_free_ char *names = NULL;
	ssize_t n = list_xattrs(fd, &names);

	if (!m->be->caps.xattrs) {
		for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1)
			if (strncmp(p, "user.", 5) == 0)
				mig_list(m, MIG_NOTE, shown,
					 "without %s: the store has no "
					 "extended attributes",
					 p);
		return;
	}
	for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
		_cleanup_err_ struct err err = ERR_INIT;
		int r;

		if (strncmp(p, "user.", 5) != 0)
			continue;
		rec->flags |= MIG_REC_XATTRS;
		r = one_xattr(m, path, p, fd, out, &err);
		if (r < 0)
			mig_list(m, MIG_NOT_CARRIED, shown,
				 "extended attribute %s: %s", p,
				 err.msg ? err.msg : strerror(-r));
	}
	if (may_have) {
		_cleanup_err_ struct err err = ERR_INIT;

		if (drop_xattrs(m, path, names, n > 0 ? n : 0, out, &err) < 0)
			mig_list(m, MIG_NOT_CARRIED, shown,
				 "old extended attributes: %s",
				 err_words(&err));
	}
}

/* --- making it visible ----------------------------------------------------- */

struct put {
	struct mig_worker *w;
	struct mig *m;
	const char *path; /* in the store */
	int fd;		  /* of the source, for its extended attributes */
	const struct stat *st;
	struct content c;
	struct along along; /* if c.along */
	struct be_attr attr;
	struct mig_rec *rec;
	bool had_xattrs;
	bool anew; /* old is not there any more */
	bool left; /* the last run was killed while it put path */
	struct mig_pending pend; /* what it noted then */
	struct err *err;
};

/* Since it was opened: so the bytes that were sent need not be those that were
 * hashed. */
static bool
changed(const struct put *p)
{
	return mig_source_changed(p->fd, p->st) ||
	       p->c.size != (uint64_t)p->st->st_size;
}

static bool
became_shorter(const struct put *p)
{
	struct stat now;

	return fstat(p->fd, &now) < 0 || (uint64_t)now.st_size < p->c.size;
}

static int
commit(struct put *p, const char *path, const struct be_cond *cond,
       const struct be_opid *opid, unsigned attempt, struct be_attr *out)
{
	struct be_ctx ctx = mig_ctx(p->m, p->err);
	struct range all = { 0, p->c.size };
	struct be_commit c = {
		.path = path,
		.cond = *cond,
		.opid = *opid,
		.fd = p->c.fd,
		.size = p->c.size,
		.whole = true,
		.dirty = &all,
		.ndirty = p->c.size > 0,
		.attr = &p->attr,
		.mask = SET_ALL,
		.taking = p->c.along ? hash_part : NULL,
		.taking_arg = &p->along,
	};

	ctx.attempt = attempt;
	return be_commit(p->m->be, &ctx, &c, out);
}

/* temp is complete; path must be absent. */
static int
publish_new(struct put *p, const char *temp, struct be_attr *out)
{
	struct be_ctx ctx = mig_ctx(p->m, p->err);
	struct backend *be = p->m->be;
	struct be_opid id;
	struct be_attr a;
	int r;

	be_opid_new(&id);
	if (be->caps.rename_noreplace)
		return be_rename(be, &ctx, temp, p->path, RENAME_NOREPLACE, &id,
				 0, NULL, out);
	if (be->caps.hard_links) {
		/* Over NFS: link() has one winner, rename() has none. */
		r = be_link(be, &ctx, temp, p->path, &a);
		if (r == 0)
			r = be_unlink(be, &ctx, temp, &mig_any, &id);
		if (r == 0)
			r = be_getattr(be, &ctx, p->path, BE_HINT_FILE, out);
		return r;
	}
	r = be_getattr(be, &ctx, p->path, BE_HINT_NONE, &a);
	if (r == 0)
		return err_set(p->err, -EEXIST, "it is there already");
	if (r != -ENOENT)
		return r;
	return be_rename(be, &ctx, temp, p->path, 0, &id, 0, NULL, out);
}

static int
publish_over(struct put *p, const char *temp, const struct be_ver *was,
	     struct be_attr *out)
{
	struct be_ctx ctx = mig_ctx(p->m, p->err);
	struct be_opid id;
	struct be_attr a;
	int r;

	be_opid_new(&id);
	/* Looked at immediately before: the store has no condition for this. */
	r = be_getattr(p->m->be, &ctx, p->path, BE_HINT_FILE, &a);
	if (r < 0)
		return r;
	if (!be_ver_equal(&a.ver, was))
		return err_set(p->err, -ESTALE, "another version is there");
	return be_rename(p->m->be, &ctx, temp, p->path, 0, &id, 0, NULL, out);
}

static void
drop_temp(struct mig *m, const char *temp)
{
	struct be_ctx ctx = mig_ctx(m, NULL);
	struct be_opid id;
	int r;

	/* Also when the run is being ended. */
	ctx.cancel = NULL;
	be_opid_new(&id);
	r = be_unlink(m->be, &ctx, temp, &mig_any, &id);
	if (r == 0 || r == -ENOENT)
		mig_journal_temp(m->journal, temp, false);
}

/* By a temporary name.  was NULL: absent. */
static int
put_by_rename(struct put *p, const struct be_ver *was, struct be_attr *out)
{
	const struct be_cond absent = { .pre = BE_ABSENT };
	_cleanup_free_ char *dir = path_dir(p->path), *name = NULL;
	_cleanup_free_ char *temp = NULL;
	struct mig_pending pend = { 0 };
	int r;

	be_opid_new(&pend.opid);
	name = xasprintf(MIG_TEMP_PREFIX "%.16s", pend.opid.s);
	temp = path_join(dir, name);
	mig_journal_temp(p->m->journal, temp, true);
	r = commit(p, temp, &absent, &pend.opid, 0, out);
	FAULT_STOP("migrate.sent");
	/* Nobody has seen yet what may be zeros now. */
	if (r == 0 && p->c.twice && became_shorter(p))
		r = err_set(p->err, -ENODATA, "it became shorter");
	if (r == 0) {
		copy_xattrs(p->m, p->path, temp, p->fd, false, p->rec, out);
		pend.ino = out->ino;
		mig_journal_pend(p->m->journal, p->path, &pend);
		FAULT_STOP("migrate.pended");
		r = was ? publish_over(p, temp, was, out)
			: publish_new(p, temp, out);
	}
	if (r < 0) {
		drop_temp(p->m, temp);
		if (r == -EEXIST || r == -ESTALE)
			mig_journal_unpend(p->m->journal, p->path);
	} else {
		mig_journal_temp(p->m->journal, temp, false);
	}
	return r;
}

/* Something is there that the journal does not know, and the last run may have
 * made it.  1: it did, now is its state. */
static int
left_by_last_run(struct put *p, struct be_attr *now)
{
	struct be_ctx ctx = mig_ctx(p->m, p->err);
	int r;

	if (!p->left || !p->m->be->caps.random_write)
		return 0;
	r = be_getattr(p->m->be, &ctx, p->path, BE_HINT_FILE, now);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return S_ISREG(now->mode) && p->pend.ino && now->ino == p->pend.ino;
}

static int
set_attributes(struct put *p, const struct be_ver *was, struct be_attr *out)
{
	struct be_ctx ctx = mig_ctx(p->m, p->err);
	const struct be_cond cond = { .pre = BE_MATCH, .ver = *was };
	struct be_opid id;
	int r;

	be_opid_new(&id);
	r = be_setattr(p->m->be, &ctx, p->path, &cond, &id, SET_ALL, &p->attr,
		       out);
	if (r == 0)
		copy_xattrs(p->m, p->path, p->path, p->fd, p->had_xattrs,
			    p->rec, out);
	return r;
}

static bool
same_attributes(const struct put *p, const struct be_attr *now)
{
	return (now->mode & 01777) == (p->attr.mode & 01777) &&
	       now->uid == p->attr.uid && now->gid == p->attr.gid &&
	       timespec_equal(now->mtime, p->attr.mtime);
}

/* Under its own name, with a condition. */
static int
put_direct(struct put *p, const struct be_ver *was, struct be_attr *out)
{
	struct be_cond cond = { .pre = was ? BE_MATCH : BE_ABSENT };
	struct mig_pending pend = p->pend;
	/* The last run may have sent it already. */
	unsigned attempt = p->left ? 1 : 0;
	int r;

	if (was)
		cond.ver = *was;
	if (!p->left)
		be_opid_new(&pend.opid);
	if (p->m->be->caps.random_write)
		pend.ino = p->rec->store_ino;
	mig_journal_pend(p->m->journal, p->path, &pend);
	FAULT_STOP("migrate.pended");
	r = commit(p, p->path, &cond, &pend.opid, attempt, out);
	FAULT_STOP("migrate.sent");
	if (r == -ESTALE || r == -EEXIST)
		mig_journal_unpend(p->m->journal, p->path);
	if (r == 0 && attempt && p->m->be->caps.part_size &&
	    p->c.size > p->m->be->caps.part_size) {
		/* Ours; but a large one was not compared. */
		XXH128_hash_t there;

		r = mig_store_hash(p->m, p->path, out, &there, p->err);
		if (r == 0 && !XXH128_isEqual(there, p->c.hash)) {
			cond = (struct be_cond){ BE_MATCH, out->ver };
			be_opid_new(&pend.opid);
			mig_journal_pend(p->m->journal, p->path, &pend);
			r = commit(p, p->path, &cond, &pend.opid, 0, out);
		}
	}
	/* The same bytes as the last run's, but perhaps not the same owner. */
	if (r == 0 && attempt && !same_attributes(p, out)) {
		const struct be_ver ver = out->ver;

		return set_attributes(p, &ver, out);
	}
	if (r == 0)
		copy_xattrs(p->m, p->path, p->path, p->fd, p->had_xattrs,
			    p->rec, out);
	return r;
}

static int
put_over(struct put *p, const struct mig_rec *old, struct be_attr *out)
{
	struct be_attr now = { .ver = old->ver };
	int r = 1;

	/* A store with conditions is asked only if the condition fails. */
	if (p->m->be->caps.random_write || !be_ver_known(&old->ver))
		r = mig_still_ours(p->m, p->path, old, &now, p->err);
	for (int i = 0;; i++) {
		if (r == 0)
			r = left_by_last_run(p, &now);
		if (r == 0)
			return err_set(p->err, -ESTALE,
				       "it was changed in the store");
		if (r < 0)
			return r;
		if (XXH128_isEqual(old->hash, p->c.hash) &&
		    old->size == p->c.size) {
			mig_count(p->m, MIG_ATTRS, 1);
			r = set_attributes(p, &now.ver, out);
		} else if (p->m->be->caps.random_write &&
			   !(old->flags & MIG_REC_LINKED)) {
			r = put_by_rename(p, &now.ver, out);
		} else {
			r = put_direct(p, &now.ver, out);
		}
		if (r != -ESTALE || i == 1)
			return r;
		err_release(p->err);
		r = mig_still_ours(p->m, p->path, old, &now, p->err);
	}
}

/* It was looked at again, and nothing that is carried differs. */
static bool
is_carried(const struct put *p, const struct mig_rec *old)
{
	const unsigned not_if = MIG_REC_XATTRS | MIG_REC_YOUNG;
	_cleanup_free_ char *names = NULL;
	const struct stat *st = p->st;
	ssize_t n;

	if (p->left || (old->flags & not_if) || !be_ver_known(&old->ver) ||
	    !XXH128_isEqual(old->hash, p->c.hash) || old->size != p->c.size ||
	    old->mode != (st->st_mode & 07777) || old->uid != st->st_uid ||
	    old->gid != st->st_gid || old->mtime != mig_ns(st->st_mtim))
		return false;
	n = list_xattrs(p->fd, &names);
	for (char *k = names; n > 0 && k < names + n; k += strlen(k) + 1)
		if (strncmp(k, "user.", 5) == 0)
			return false;
	return n >= 0;
}

static int
put_absent(struct put *p, struct be_attr *out)
{
	struct be_attr now;
	int r = p->m->be->caps.random_write ? left_by_last_run(p, &now) : 0;

	if (r < 0)
		return r;
	if (r == 1)
		return put_by_rename(p, &now.ver, out);
	return p->m->be->caps.random_write ? put_by_rename(p, NULL, out) :
					     put_direct(p, NULL, out);
}

/* Nothing has to be known of the bytes before they are sent: the store takes
 * the name or refuses it, whatever they are. */
static bool
may_hash_along(const struct put *p, const struct mig_rec *old)
{
	uint64_t size = p->st->st_size;

	return !p->m->be->caps.random_write && size > SNAPSHOT_MAX &&
	       size > p->m->be->caps.part_size && !p->left &&
	       (!old || old->size != size) &&
	       /* A slow pace would be that of the connections. */
	       !p->m->a->bwlimit;
}

static int
get_content(struct put *p, const struct mig_rec *old)
{
	int r;

	mig_throttle_enter(p->m);
	if (may_hash_along(p, old)) {
		p->c = (struct content){
			.fd = p->fd, .twice = true, .along = true,
			.size = p->st->st_size,
		};
		along_begin(&p->along, p->w, p->fd, p->c.size);
		r = 0;
	} else {
		r = read_content(p->w, p->fd, p->st, &p->c);
	}
	mig_throttle_leave(p->m);
	FAULT_STOP("migrate.read");
	return r < 0 ? err_set(p->err, r, "reading it: %s", strerror(-r)) : 0;
}

/* The hash is wanted by who looks what is there, too. */
static int
hash_sent(struct put *p, int r)
{
	int read;

	if (!p->c.along || (r < 0 && r != -EEXIST && r != -EISDIR))
		return r;
	read = along_end(&p->along, &p->rec->hash);
	if (read == -ENODATA)
		p->rec->flags |= MIG_REC_RACY; /* it is sent again */
	else if (read < 0)
		return err_set(p->err, read, "reading it: %s", strerror(-read));
	return r;
}

static int
send_content(struct put *p, const struct mig_rec *old, struct be_attr *out)
{
	int r;

	if (!old)
		return put_absent(p, out);
	p->rec->store_ino = old->store_ino;
	r = put_over(p, old, out);
	/* Somebody removed it there: what the source has counts. */
	if (r == -ENOENT) {
		err_release(p->err);
		r = put_absent(p, out);
		p->anew = true;
	}
	return r;
}

static int
put(struct put *p, const struct mig_rec *old)
{
	bool same = old && !p->c.along && old->size == p->c.size &&
		    XXH128_isEqual(old->hash, p->c.hash);
	struct mig_rec *rec = p->rec;
	struct be_attr out;
	int r;

	rec->hash = p->c.hash;
	rec->size = p->c.size;
	p->attr.size = p->c.size;
	if (old && is_carried(p, old)) {
		rec->ver = old->ver;
		rec->store_ino = old->store_ino;
		rec->flags |= old->flags & MIG_REC_ADOPTED;
		return 0;
	}
	r = hash_sent(p, send_content(p, old, &out));
	if (r < 0)
		return r;
	rec->ver = out.ver;
	rec->store_ino = out.ino;
	/* Then it is sent again, whatever it has by then. */
	if (p->c.twice && ((rec->flags & MIG_REC_RACY) || changed(p)))
		rec->hash = (XXH128_hash_t){ 0 };
	if (!same || p->anew) {
		mig_count(p->m, MIG_SENT_FILES, 1);
		mig_count(p->m, MIG_SENT_BYTES, p->c.size);
	}
	return 0;
}

int
mig_put(struct mig_worker *w, const char *path, int fd, const struct stat *st,
	const struct mig_rec *old, struct mig_rec *rec, struct err *err)
{
	struct put p = {
		.w = w,
		.m = w->m,
		.path = path,
		.fd = fd,
		.st = st,
		.attr = mig_source_attr(w->m, st),
		.rec = rec,
		.had_xattrs = old && (old->flags & MIG_REC_XATTRS),
		.err = err,
	};
	int r;

	p.left = mig_journal_pending(w->m->journal, path, &p.pend);
	r = get_content(&p, old);
	if (r == 0)
		r = put(&p, old);
	along_release(&p.along);
	return r;
}
