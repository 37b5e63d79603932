/* SPDX-License-Identifier: MIT */
/* See migrate-tree.h: one walk that only looks. */
#include <config.h>

#include "mount-helpers/migrate-tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/units.h"
#include "common/xalloc.h"

static void
odd(struct mig_tree *t, enum mig_odd what, const char *path)
{
	struct mig_oddity *o = &t->odd[what];

	o->n++;
	if (o->shown < MIG_EXAMPLES)
		o->example[o->shown++] = xstrdup(path);
}

void
mig_tree_release(struct mig_tree *t)
{
	for (int i = 0; i < MIG_ODDS; i++)
		for (unsigned k = 0; k < t->odd[i].shown; k++)
			free(t->odd[i].example[k]);
}

static bool
is_utf8(const char *s)
{
	json_t *j = json_string(s);
	bool yes = j != NULL;

	json_decref(j);
	return yes;
}

static void
check_name(struct mig *m, struct mig_tree *t, const char *path,
	   const char *name)
{
	const struct be_caps *c = &m->be->caps;

	if (strlen(name) > c->name_max || strlen(path) > c->path_max)
		odd(t, MIG_ODD_LONG, path);
	if (!is_utf8(name))
		odd(t, MIG_ODD_NAME, path);
	if (mig_source_reserved(path))
		odd(t, MIG_ODD_RESERVED, path);
}

static void
check_xattrs(struct mig_tree *t, int dir, const char *path, const char *name)
{
	_cleanup_free_ char *at = xasprintf("/proc/self/fd/%d/%s", dir, name);
	char list[4096];
	ssize_t n = llistxattr(at, list, sizeof(list));
	bool user = false, acl = false;

	for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1) {
		user |= strncmp(p, "user.", 5) == 0;
		acl |= strncmp(p, "system.posix_acl_", 17) == 0;
	}
	if (user || (n < 0 && errno == ERANGE))
		odd(t, MIG_ODD_XATTR, path);
	if (acl)
		odd(t, MIG_ODD_ACL, path);
}

static void
check_file(struct mig *m, struct mig_tree *t, int dir, const char *path,
	   const char *name, const struct stat *st)
{
	_cleanup_rec_ struct mig_rec rec = { 0 };

	t->files++;
	t->bytes += st->st_size;
	if (mig_journal_get(m->journal, path, &rec) &&
	    mig_entry_same(&rec, st)) {
		t->known++;
		t->carried += st->st_size;
	}
	if (st->st_nlink > 1)
		odd(t, MIG_ODD_HARD_LINK, path);
	if ((uint64_t)st->st_blocks * 512 + 4096 <= (uint64_t)st->st_size)
		odd(t, MIG_ODD_SPARSE, path);
	if (st->st_mode & (S_ISUID | S_ISGID))
		odd(t, MIG_ODD_SETID, path);
	if (faccessat(dir, name, R_OK, AT_EACCESS) < 0 && errno == EACCES)
		odd(t, MIG_ODD_UNREADABLE, path);
}

static int walk(struct mig *m, struct mig_tree *t, const char *path);

static void
check_entry(struct mig *m, struct mig_tree *t, int dir, const char *parent,
	    const char *name)
{
	_cleanup_free_ char *joined = *parent ? path_join(parent, name) : NULL;
	const char *path = joined ? joined : name;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	check_name(m, t, path, name);
	if (st.st_dev != m->dev) {
		odd(t, MIG_ODD_MOUNT, path);
		return;
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		check_file(m, t, dir, path, name, &st);
		check_xattrs(t, dir, path, name);
		break;
	case S_IFDIR:
		t->dirs++;
		check_xattrs(t, dir, path, name);
		if (walk(m, t, path) < 0 && errno != ENOENT)
			odd(t, MIG_ODD_UNREADABLE, path);
		break;
	case S_IFLNK:
		t->symlinks++;
		break;
	case S_IFIFO:
		odd(t, MIG_ODD_FIFO, path);
		break;
	case S_IFSOCK:
		odd(t, MIG_ODD_SOCKET, path);
		break;
	default:
		odd(t, MIG_ODD_DEVICE, path);
	}
}

/* -1 and errno. */
static int
walk(struct mig *m, struct mig_tree *t, const char *path)
{
	int fd = mig_source_open(m, path, O_RDONLY | O_DIRECTORY);
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;

	if (fd < 0) {
		errno = -fd;
		return -1;
	}
	d = fdopendir(fd);
	if (!d)
		return -1;
	while (!atomic_load(&m->stop) && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			check_entry(m, t, fd, path, e->d_name);
	return 0;
}

int
mig_tree_walk(struct mig *m, struct mig_tree *t, struct err *err)
{
	struct be_ctx ctx = mig_ctx(m, NULL);
	struct be_attr a;

	/* Names are asked for where they can't be: the store says why. */
	t->bad_names_ok = be_getattr(m->be, &ctx, "\xff", BE_HINT_FILE, &a) !=
			  -EILSEQ;
	if (walk(m, t, "") < 0)
		return err_set(err, -errno, "%s: %s", m->dir, strerror(errno));
	if (atomic_load(&m->stop))
		return err_set(err, -EINTR, "interrupted");
	return 0;
}
