/* SPDX-License-Identifier: MIT */
/*
 * --verify: everything that the journal says was carried is read again, from
 * the disk and from the store, and compared: bytes by hash, and attributes.
 * What changed in the source meanwhile is no mismatch: it is carried by the
 * next pass.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

struct verify {
	struct mig *m;
	char **paths;
	size_t n;
	atomic_size_t next;
};

static int
source_hash(struct mig_worker *w, const char *path, XXH128_hash_t *out)
{
	_cleanup_close_ int fd = mig_source_open(w->m, path, O_RDONLY);
	XXH3_state_t *h;
	ssize_t n;

	if (fd < 0)
		return fd;
	h = XXH3_createState();
	XXH3_128bits_reset(h);
	do {
		n = read(fd, w->buf, MIG_BUF);
		if (n > 0)
			XXH3_128bits_update(h, w->buf, n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	*out = XXH3_128bits_digest(h);
	XXH3_freeState(h);
	return n < 0 ? -errno : 0;
}

static bool
unchanged(struct mig *m, const char *path, const struct mig_rec *rec)
{
	struct stat st;

	return mig_source_stat(m, path, &st) == 0 && mig_entry_same(rec, &st);
}

static void
check_attributes(struct mig *m, const char *path, const struct mig_rec *rec,
		 const struct be_attr *now)
{
	mode_t mode = rec->mode & (rec->kind == 'd' ? 03777 : 01777);
	struct stat st;
	struct be_attr want;

	if ((rec->flags & MIG_REC_ADOPTED) || !m->be->caps.owner ||
	    mig_source_stat(m, path, &st) < 0)
		return;
	want = mig_source_attr(m, &st);
	if (rec->kind != 'l' && (now->mode & 03777) != (mode & 03777))
		mig_list(m, MIG_DIFFERS, path, "mode %o instead of %o",
			 now->mode & 07777, mode);
	else if (now->uid != want.uid || now->gid != want.gid)
		mig_list(m, MIG_DIFFERS, path, "owner %u:%u instead of %u:%u",
			 (unsigned)now->uid, (unsigned)now->gid,
			 (unsigned)want.uid, (unsigned)want.gid);
	else if (rec->kind == 'f' && mig_ns(now->mtime) != rec->mtime)
		mig_list(m, MIG_DIFFERS, path, "another time");
}

static void
verify_one(struct mig_worker *w, const char *path)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_rec_ struct mig_rec rec = { 0 };
	struct be_ctx ctx = mig_ctx(w->m, &err);
	_cleanup_free_ char *target = NULL;
	const char *at = path;
	XXH128_hash_t here, there;
	struct be_attr now;
	int r;

	if (!mig_journal_get(w->m->journal, path, &rec))
		return;
	if (rec.as)
		at = rec.as;
	r = be_getattr(w->m->be, &ctx, at,
		       rec.kind == 'd' ? BE_HINT_DIR : BE_HINT_FILE, &now);
	if (r == 0 && (S_ISDIR(now.mode) ? 'd' :
		       S_ISREG(now.mode) ? 'f' :
		       S_ISLNK(now.mode) ? 'l' :
					   'p') != rec.kind)
		r = err_set(&err, -EINVAL, "it is another kind of thing");
	if (r == 0 && rec.kind == 'f') {
		r = mig_store_hash(w->m, at, &now, &there, &err);
		if (r == 0)
			r = source_hash(w, path, &here);
		if (r == 0 && !XXH128_isEqual(here, there))
			r = err_set(&err, -EINVAL, "other bytes");
	}
	if (r == 0 && rec.kind == 'l') {
		r = be_readlink(w->m->be, &ctx, at, &target);
		if (r == 0 &&
		    !XXH128_isEqual(rec.hash,
				    XXH3_128bits(target, strlen(target))))
			r = err_set(&err, -EINVAL, "another target");
	}
	/* Look last: only what stood still can be compared. */
	if (!unchanged(w->m, path, &rec)) {
		mig_count(w->m, MIG_RETRIED, 1);
		return;
	}
	if (r == -EINTR && atomic_load(&w->m->stop))
		return;
	mig_count(w->m, MIG_VERIFIED, 1);
	if (r < 0)
		mig_list(w->m, MIG_DIFFERS, path, "%s",
			 err.msg ? err.msg : strerror(-r));
	else if (*path)
		check_attributes(w->m, path, &rec, &now);
}

static void *
verify_thread(void *arg)
{
	struct verify *v = arg;
	struct mig_worker w;
	size_t i;

	if (mig_worker_init(&w, v->m) < 0)
		return NULL;
	while ((i = atomic_fetch_add(&v->next, 1)) < v->n &&
	       !atomic_load(&v->m->stop))
		verify_one(&w, v->paths[i]);
	mig_worker_release(&w);
	return NULL;
}

int
mig_verify(struct mig *m)
{
	struct verify v = { .m = m };
	pthread_t t[256];
	unsigned n = 0;

	v.paths = mig_journal_paths(m->journal, &v.n);
	while (n < m->jobs &&
	       pthread_create(&t[n], NULL, verify_thread, &v) == 0)
		n++;
	while (n)
		pthread_join(t[--n], NULL);
	for (size_t i = 0; i < v.n; i++)
		free(v.paths[i]);
	free(v.paths);
	return mig_listed(m, MIG_DIFFERS) ? MIG_MISMATCH : MIG_OK;
}
