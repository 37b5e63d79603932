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

/* More than what any call needs between finding a directory and its lock. */
#define RUN_NS NSEC_PER_MSEC

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

/* --- who uses it ----------------------------------------------------------- */

/* What /proc/PID/task/TID/NAME says; the caller's.  NULL: nothing. */
static char *
proc_text(pid_t pid, pid_t tid, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/task/%d/%s", (int)pid,
					      (int)tid, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[1024];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return NULL;
	text[n] = '\0';
	return xstrdup(text);
}

/* A name of /proc that is a process, else 0. */
static pid_t
pid_of(const char *name)
{
	uint64_t n;

	return units_uint(name, &n) == 0 && n < INT32_MAX ? (pid_t)n : 0;
}

static bool
link_below(int proc, const char *name, const char *dir)
{
	size_t n = strlen(dir);
	char at[4096];
	ssize_t len = readlinkat(proc, name, at, sizeof(at) - 1);

	if (len < 0)
		return false;
	at[len] = '\0';
	return strncmp(at, dir, n) == 0 && (at[n] == '/' || !at[n]);
}

/* "flags:" of /proc/PID/fdinfo/N. */
static bool
is_writing(int proc, const char *fd)
{
	_cleanup_free_ char *path = xasprintf("fdinfo/%s", fd);
	_cleanup_close_ int f = openat(proc, path, O_RDONLY | O_CLOEXEC);
	char text[512], *p;
	ssize_t n = f < 0 ? -1 : read(f, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strstr(text, "flags:");
	return p && (strtoul(p + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

static void
look_at_fds(int proc, const char *dir, struct mig_user *u)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (!link_below(fd, e->d_name, dir))
			continue;
		u->files++;
		u->writing += is_writing(proc, e->d_name);
	}
}

static void
read_name(int proc, struct mig_user *u)
{
	_cleanup_close_ int f = openat(proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = f < 0 ? -1 : read(f, u->name, sizeof(u->name) - 1);

	u->name[n > 0 ? n : 0] = '\0';
	u->name[strcspn(u->name, "\n")] = '\0';
}

struct mig_user *
mig_users(const char *dir, size_t *n)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct mig_user *v = NULL;
	struct dirent *e;

	*n = 0;
	while (d && (e = readdir(d))) {
		struct mig_user u = { .pid = pid_of(e->d_name) };
		_cleanup_close_ int proc = -1;

		if (u.pid <= 0 || u.pid == getpid())
			continue;
		proc = openat(dirfd(d), e->d_name,
			      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc < 0)
			continue;
		u.cwd = link_below(proc, "cwd", dir) ||
			link_below(proc, "root", dir);
		look_at_fds(proc, dir, &u);
		if (!u.cwd && !u.files)
			continue;
		read_name(proc, &u);
		v = xrealloc(v, *n + 1, sizeof(*v));
		v[(*n)++] = u;
	}
	return v;
}

bool
mig_user_writes(pid_t pid, const char *dir)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d", (int)pid);
	_cleanup_close_ int proc =
		open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct mig_user u = { .pid = pid };

	if (proc >= 0)
		look_at_fds(proc, dir, &u);
	return u.writing > 0;
}

/* --- who has to go on ------------------------------------------------------ */

struct thread {
	pid_t pid, tid;
	uint64_t ran; /* ns on a processor */
};
struct threads {
	struct thread *v;
	size_t n;
};

/* Is it ready to run, or running?  Then also how long it has run. */
static bool
is_ready(pid_t pid, pid_t tid, uint64_t *ran)
{
	_cleanup_free_ char *stat = NULL, *sched = NULL;
	const char *state;

	stat = proc_text(pid, tid, "stat");
	/* "pid (any name) R …" */
	state = stat ? strrchr(stat, ')') : NULL;
	if (!state || strncmp(state, ") R", 3) != 0)
		return false;
	sched = proc_text(pid, tid, "schedstat");
	*ran = sched ? strtoull(sched, NULL, 10) : 0;
	return sched != NULL;
}

static void
find_ready(struct threads *t, pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/task", (int)pid);
	_cleanup_closedir_ DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct thread one = { pid, pid_of(e->d_name), 0 };

		if (one.tid <= 0 || !is_ready(pid, one.tid, &one.ran))
			continue;
		t->v = xrealloc(t->v, t->n + 1, sizeof(*t->v));
		t->v[t->n++] = one;
	}
}

void
mig_let_run(int64_t until)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct threads t = { 0 };
	struct dirent *e;
	uint64_t ran;

	while (d && (e = readdir(d))) {
		pid_t pid = pid_of(e->d_name);

		if (pid > 0 && pid != getpid())
			find_ready(&t, pid);
	}
	while (t.n && clock_mono_ns() < until) {
		const struct thread *last = &t.v[t.n - 1];

		if (is_ready(last->pid, last->tid, &ran) &&
		    ran - last->ran < RUN_NS)
			poll(NULL, 0, 1);
		else
			t.n--;
	}
	free(t.v);
}

void
mig_say_users(struct mig *m)
{
	_cleanup_free_ struct mig_user *v = NULL;
	size_t n;

	v = mig_users(m->dir, &n);
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *name = mig_printable(v[i].name);

		mig_say(m, "in use by process %d (%s): %u open files, %u for "
			   "writing%s",
			(int)v[i].pid, name, v[i].files, v[i].writing,
			v[i].cwd ? "; it works in the directory and must be "
				   "restarted after the cut-over" :
				   "");
	}
}
