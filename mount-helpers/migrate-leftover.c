/* SPDX-License-Identifier: MIT */
/*
 * Names that were about to appear in the store when the last run was killed,
 * and that the source no longer has, or has as another kind of thing.  They
 * are removed if they are ours: by inode, by operation id, by target.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

uint64_t
mig_target_mark(const char *target)
{
	uint64_t mark = XXH3_64bits(target, strlen(target));

	return mark ? mark : 1;
}

/*
 * A store with operation ids is asked by sending an empty file with the same
 * id: it replaces ours, and is refused if somebody else's is there.
 */
static int
remove_object(struct mig_worker *w, const char *path,
	      const struct mig_pending *pend, struct err *err)
{
	struct be_ctx ctx = mig_ctx(w->m, err);
	struct be_attr attr = { .mode = S_IFREG | 0600, .uid = geteuid(),
				.gid = getegid() };
	struct be_commit c = {
		.path = path,
		.cond = { .pre = BE_ABSENT },
		.opid = pend->opid,
		.fd = w->memfd,
		.whole = true,
		.attr = &attr,
	};
	struct be_cond cond = { .pre = BE_MATCH };
	struct be_attr out;
	struct be_opid id;
	int r;

	if (ftruncate(w->memfd, 0) < 0)
		return -errno;
	attr.atime = attr.mtime = attr.ctime = clock_wall();
	ctx.attempt = 1;
	r = be_commit(w->m->be, &ctx, &c, &out);
	if (r < 0)
		return r;
	ctx.attempt = 0;
	cond.ver = out.ver;
	be_opid_new(&id);
	return be_unlink(w->m->be, &ctx, path, &cond, &id);
}

static int
remove_ours(struct mig_worker *w, const char *path,
	    const struct mig_pending *pend, const struct be_attr *now,
	    struct err *err)
{
	struct be_ctx ctx = mig_ctx(w->m, err);
	_cleanup_free_ char *target = NULL;
	struct be_cond cond = { BE_MATCH, now->ver };
	struct be_opid id;
	int r;

	be_opid_new(&id);
	if (S_ISDIR(now->mode)) {
		/* Only an empty one goes. */
		return be_rmdir(w->m->be, &ctx, path, &id);
	}
	if (S_ISLNK(now->mode)) {
		r = be_readlink(w->m->be, &ctx, path, &target);
		if (r < 0 || mig_target_mark(target) != pend->ino)
			return r < 0 ? r : -EEXIST;
		return be_unlink(w->m->be, &ctx, path, &mig_any, &id);
	}
	if (S_ISREG(now->mode) && !w->m->be->caps.random_write)
		return remove_object(w, path, pend, err);
	if (S_ISREG(now->mode) && now->ino != pend->ino)
		return -EEXIST;
	return be_unlink(w->m->be, &ctx, path, &cond, &id);
}

void
mig_leftover(struct mig_worker *w, const char *path, char kind)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = mig_ctx(w->m, &err);
	struct mig_pending pend;
	struct be_attr now;
	char is;
	int r;

	if (!mig_journal_pending(w->m->journal, path, &pend))
		return;
	r = be_getattr(w->m->be, &ctx, path, BE_HINT_NONE, &now);
	is = S_ISREG(now.mode) ? 'f' : S_ISDIR(now.mode) ? 'd' :
	     S_ISLNK(now.mode) ? 'l' : 'p';
	if (r == 0 && is == kind)
		return; /* it is looked at with more care */
	if (r == 0) {
		r = remove_ours(w, path, &pend, &now, &err);
		if (r == 0)
			mig_count(w->m, MIG_REMOVED, 1);
	}
	if (r == 0 || r == -ENOENT) {
		mig_journal_del(w->m->journal, path);
	} else if (r == -EEXIST || r == -ENOTEMPTY || r == -ESTALE) {
		/* It did not come to that: what is there is ours of before, if
		 * the journal knows one, or theirs. */
		mig_journal_unpend(w->m->journal, path);
	}
}
