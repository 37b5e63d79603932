/* SPDX-License-Identifier: MIT */
/*
 * Before anything is sent: what is there, what of it can't be carried as it
 * is, who uses it, whether the store takes it, and how long it may take.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "mount-helpers/migrate-tree.h"
#include "mount-helpers/migrate-users.h"

#define SAMPLE_SMALL (16u << 10)
#define SAMPLE_LARGE (8u << 20)

static void
say_odd(struct mig *m, const struct mig_oddity *o, const char *what,
	const char *fate)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (!o->n)
		return;
	for (unsigned i = 0; i < o->shown; i++) {
		_cleanup_free_ char *p = mig_printable(o->example[i]);

		buf_addf(&b, "%s%s", i ? ", " : "", p);
	}
	mig_say(m, "%" PRIu64 " %s: %s (%s%s)", o->n, what, fate, buf_str(&b),
		o->n > o->shown ? ", …" : "");
}

static void
say_tree(struct mig *m, const struct mig_tree *t)
{
	const struct be_caps *c = &m->be->caps;
	_cleanup_free_ char *dir = mig_printable(m->dir);

	mig_say(m,
		"%s: %" PRIu64 " files with %" PRIu64
		" bytes, %" PRIu64 " directories, %" PRIu64 " symbolic links",
		dir, t->files, t->bytes, t->dirs, t->symlinks);
	say_odd(m, &t->odd[MIG_ODD_HARD_LINK], "hard links",
		c->hard_links ? "kept" : "each becomes a copy of its own");
	say_odd(m, &t->odd[MIG_ODD_SPARSE], "sparse files",
		c->random_write ? "kept sparse" :
				  "the same bytes, but the holes take room");
	say_odd(m, &t->odd[MIG_ODD_XATTR], "files with user.* attributes",
		c->xattrs ? c->random_write ? "kept" :
					      "kept, up to 2 KB a file" :
			    "not carried: the store has none");
	say_odd(m, &t->odd[MIG_ODD_ACL], "files with POSIX ACLs",
		"mode and owner are carried, the ACLs are not");
	say_odd(m, &t->odd[MIG_ODD_SETID], "files with setuid or setgid",
		"carried without these bits");
	say_odd(m, &t->odd[MIG_ODD_FIFO], "FIFOs",
		c->special ? "made anew" : "left out");
	say_odd(m, &t->odd[MIG_ODD_SOCKET], "sockets",
		"left out; their programs make them anew");
	say_odd(m, &t->odd[MIG_ODD_DEVICE], "device nodes",
		"left out; a share has none");
	say_odd(m, &t->odd[MIG_ODD_NAME], "names that are not UTF-8",
		t->bad_names_ok ? "kept" :
				  "left out; rename them before the cut-over");
	say_odd(m, &t->odd[MIG_ODD_LONG], "names that are too long",
		"left out; rename them before the cut-over");
	say_odd(m, &t->odd[MIG_ODD_RESERVED],
		"names that sharedfs keeps for itself", "left out");
	say_odd(m, &t->odd[MIG_ODD_MOUNT],
		"places where something else is mounted", "left out");
	say_odd(m, &t->odd[MIG_ODD_UNREADABLE],
		"files or directories that can't be read",
		"not carried; run this as root");
}

/* --- the store ------------------------------------------------------------- */

struct first_name {
	char *name;
	uint64_t n;
};

static int
on_name(void *arg, const char *name, const struct be_attr *attr)
{
	struct first_name *f = arg;

	if (strncmp(name, ".sharedfs-", 10) == 0 ||
	    strcmp(name, "lost+found") == 0)
		return 0;
	if (!f->name)
		f->name = xstrdup(name);
	return ++f->n >= 100 ? 1 : 0;
}

/* A share that has files already may be anybody's. */
static int
check_empty(struct mig *m, struct err *err)
{
	_cleanup_free_ char *known = mig_journal_value(m->journal, "share");
	struct be_ctx ctx = mig_ctx(m, err);
	struct first_name f = { 0 };
	_cleanup_free_ char *p = NULL;
	int r;

	if (known) {
		m->root_ours = strcmp(known, "ours") == 0;
		return 0;
	}
	r = be_list(m->be, &ctx, "", on_name, &f);
	if (r < 0 && r != -ENOENT)
		return r;
	if (f.n == 0) {
		m->root_ours = true;
	} else if (!m->a->merge) {
		p = mig_printable(f.name);
		r = err_set(err, -ENOTEMPTY,
			    "%s is not empty (\"%s\"%s), and nothing was ever "
			    "sent there from %s.  If it is the share of other "
			    "hosts of the same application say --merge, else "
			    "give an empty bucket, prefix or directory",
			    m->a->source, p, f.n > 1 ? " and more" : "",
			    m->dir);
		free(f.name);
		return r;
	}
	free(f.name);
	return 0;
}

static int
check_room(struct mig *m, const struct mig_tree *t, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, err);
	uint64_t room, needed = t->bytes - (t->carried < t->bytes ? t->carried :
								    t->bytes);
	struct statvfs v;
	int r = be_statfs(m->be, &ctx, &v);

	if (r < 0)
		return r;
	room = (uint64_t)v.f_bavail * v.f_frsize;
	if (room < needed)
		return err_set(err, -ENOSPC,
			       "%s has %" PRIu64 " bytes free and %" PRIu64
			       " are needed",
			       m->a->source, room, needed);
	mig_say(m, "%s: reachable%s", m->a->source,
		room >> 50 ? "" : ", and there is room");
	return 0;
}

/* A file of that size, sent and removed; the time it took. */
static int
sample(struct mig *m, size_t size, int64_t *ns, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, err);
	_cleanup_close_ int fd = memfd_create("sample", MFD_CLOEXEC);
	_cleanup_free_ char *bytes = xmalloc(size), *path = NULL;
	struct be_attr attr = { .mode = S_IFREG | 0600, .uid = geteuid(),
				.gid = getegid() };
	struct range all = { 0, size };
	struct be_commit c = {
		.cond = { .pre = BE_ABSENT }, .fd = fd, .size = size,
		.whole = true, .dirty = &all, .ndirty = 1, .attr = &attr,
	};
	int64_t began = clock_mono_ns();
	struct be_attr out;
	int r;

	memset(bytes, 's', size);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		return err_set(err, -errno, "memory: %s", strerror(errno));
	attr.atime = attr.mtime = attr.ctime = clock_wall();
	be_opid_new(&c.opid);
	path = xasprintf(MIG_TEMP_PREFIX "%.16s", c.opid.s);
	c.path = path;
	mig_journal_temp(m->journal, path, true);
	r = be_commit(m->be, &ctx, &c, &out);
	*ns = clock_mono_ns() - began;
	if (r == 0) {
		be_opid_new(&c.opid);
		r = be_unlink(m->be, &ctx, path, &mig_any, &c.opid);
	}
	if (r < 0)
		return err_prefix(err, "%s takes no files", m->a->source);
	mig_journal_temp(m->journal, path, false);
	return 0;
}

static void
say_time(struct mig *m, const struct mig_tree *t, int64_t small, int64_t large)
{
	uint64_t files = t->files > t->known ? t->files - t->known : 0;
	uint64_t bytes = t->bytes > t->carried ? t->bytes - t->carried : 0;
	double a = (double)files * small / m->jobs;
	double b = (double)bytes / SAMPLE_LARGE *
		   (large > small ? large - small : large) / 2;
	double s = (a > b ? a : b) / NSEC_PER_SEC;

	if (!m->a->dry_run)
		return mig_say(m,
			       "to be sent: %" PRIu64 " files, %" PRIu64 " bytes",
			       files, bytes);
	mig_say(m,
		"to be sent: %" PRIu64 " files, %" PRIu64
		" bytes; at the pace of a sample about %.0f %s",
		files, bytes, s >= 5400 ? s / 3600 : s >= 90 ? s / 60 : s + 1,
		s >= 5400 ? "hours" : s >= 90 ? "minutes" : "seconds");
}

static int
check_store(struct mig *m, const struct mig_tree *t, struct err *err)
{
	int64_t small, large = 0;
	int r = check_empty(m, err);

	if (r == 0)
		r = check_room(m, t, err);
	/* When all is there already nothing needs to be tried. */
	if (r == 0 && (t->known < t->files || mig_journal_is_new(m->journal))) {
		r = sample(m, SAMPLE_SMALL, &small, err);
		/* How long it takes is told to who only looks; others see. */
		if (r == 0 && m->a->dry_run)
			r = sample(m, SAMPLE_LARGE, &large, err);
		if (r == 0)
			say_time(m, t, small, large);
	}
	return r;
}

int
mig_preflight(struct mig *m, struct err *err)
{
	struct mig_tree t = { 0 };
	int r = mig_tree_walk(m, &t, err);

	if (r == 0) {
		say_tree(m, &t);
		mig_say_users(m);
		r = check_store(m, &t, err);
	}
	if (r == 0) {
		mig_count(m, MIG_TOTAL_FILES, t.files);
		mig_count(m, MIG_TOTAL_BYTES, t.bytes);
	}
	if (r == 0 && !m->a->dry_run)
		mig_journal_set(m->journal, "share",
				m->root_ours ? "ours" : "others");
	mig_tree_release(&t);
	return r;
}
