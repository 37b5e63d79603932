/* SPDX-License-Identifier: MIT */
/* See migrate-users.h: all of it is read from /proc. */
#include <config.h>

#include "mount-helpers/migrate-users.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/units.h"
#include "common/xalloc.h"

#define TEXT_MAX 8192 /* of a file of /proc */
#define PF_KTHREAD 0x00200000ul

/* What /proc/PID/task/TID/NAME says; the caller's.  NULL: nothing. */
static char *
proc_text(pid_t pid, pid_t tid, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/task/%d/%s", (int)pid,
					      (int)tid, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[TEXT_MAX];
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

/* --- who has to go on ------------------------------------------------------ */

struct thread {
	pid_t pid, tid;
	uint64_t ran; /* ns on a processor */
	bool changes; /* a file, and waits for the disk, say */
};
struct threads {
	struct thread *v;
	size_t n;
};

/* Does it wait, for a disk say, in a call that changes a file?  Of others that
 * wait like that it can't be told what for: it may be for the share, which waits
 * for us.  has_files: it has no file of the share open. */
static bool
changes_file(pid_t pid, pid_t tid, bool has_files)
{
	_cleanup_free_ char *stack = proc_text(pid, tid, "stack");

	if (!stack)
		return false;
	return strstr(stack, " do_truncate+") ||
	       (has_files && (strstr(stack, " vfs_write+") ||
			      strstr(stack, " vfs_fsync_range+")));
}

/* Of a program, and ready to run, running or changing a file?  Then also how long
 * it has run, and which. */
static bool
is_at_something(struct thread *t, bool has_files)
{
	_cleanup_free_ char *stat = NULL, *sched = NULL;
	unsigned long flags;
	const char *p;
	char state;

	stat = proc_text(t->pid, t->tid, "stat");
	/* "tid (any name) state ppid pgrp session tty tpgid flags …" */
	p = stat ? strrchr(stat, ')') : NULL;
	if (!p || sscanf(p, ") %c %*d %*d %*d %*d %*d %lu", &state, &flags) != 2 ||
	    (flags & PF_KTHREAD))
		return false;
	t->changes = state == 'D' && changes_file(t->pid, t->tid, has_files);
	if (!t->changes && state != 'R')
		return false;
	sched = proc_text(t->pid, t->tid, "schedstat");
	t->ran = sched ? strtoull(sched, NULL, 10) : 0;
	return t->changes || sched != NULL;
}

static void
find_threads(struct threads *t, pid_t pid, bool has_files)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/task", (int)pid);
	_cleanup_closedir_ DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct thread one = { .pid = pid, .tid = pid_of(e->d_name) };

		if (one.tid <= 0 || !is_at_something(&one, has_files))
			continue;
		t->v = xrealloc(t->v, t->n + 1, sizeof(*t->v));
		t->v[t->n++] = one;
	}
}

static void
find_all_threads(struct threads *t)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		pid_t pid = pid_of(e->d_name);

		if (pid > 0 && pid != getpid())
			find_threads(t, pid, false);
	}
}

void
mig_let_run(const struct mig_user *v, size_t n, uint64_t quantum, int64_t until)
{
	struct threads t = { 0 };

	if (!v)
		find_all_threads(&t);
	for (size_t i = 0; v && i < n; i++)
		find_threads(&t, v[i].pid, true);
	while (t.n && clock_mono_ns() < until) {
		const struct thread *last = &t.v[t.n - 1];
		struct thread now = *last;

		if (is_at_something(&now, v != NULL) &&
		    (now.changes || now.ran - last->ran < quantum))
			poll(NULL, 0, 1);
		else
			t.n--;
	}
	free(t.v);
}
