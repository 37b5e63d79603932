/* SPDX-License-Identifier: MIT */
/* See mount.h. */
#include <config.h>

#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/client.h"
#include "fs/guard.h"
#include "fs/kmount.h"
#include "fs/link.h"
#include "fs/places.h"
#include "fs/supervisor.h"
#include "fs/utab.h"

#define ALIVE_WAIT_MS 5000

static int
complain(const struct err *err)
{
	fprintf(stderr, "sharedfs: %s\n", err_words(err));
	return EXIT_FAILURE;
}

/* A daemon that waits for its store is alive too, though nobody can look at
 * its mount. */
static bool
is_alive(const struct mount_entry *e)
{
	json_t *o = NULL;
	int r = client_ask(e, "status", ALIVE_WAIT_MS, &o, NULL);

	json_decref(o);
	if (r == 0)
		return true;
	return mountpoint_probe(e->target, ALIVE_WAIT_MS) != -ENOTCONN;
}

/* 1: the same source is there, alive; 0: the place is free. */
static int
check_occupied(const char *dir, const char *fsname, struct err *err)
{
	for (;;) {
		_cleanup_mount_entry_ struct mount_entry e = { 0 };
		int r = mountinfo_at(dir, &e);

		if (r < 0)
			return err_set(err, r, "/proc/self/mountinfo: %s",
				       strerror(-r));
		/* systemd's automount waits there for us. */
		if (r == 0 || strcmp(e.type, "autofs") == 0)
			return 0;
		if (strcmp(e.type, MOUNT_TYPE) != 0)
			return err_set(err, -EBUSY,
				       "%s on %s: something else is mounted "
				       "there (%s, type %s)",
				       fsname, dir, e.source, e.type);
		if (is_alive(&e)) {
			if (strcmp(e.source, fsname) == 0)
				return 1;
			return err_set(err, -EBUSY,
				       "%s on %s: %s is mounted there", fsname,
				       dir, e.source);
		}
		fprintf(stderr, "sharedfs: %s: unmounting the dead mount of %s "
				"first\n",
			dir, e.source);
		r = kumount(dir, MNT_DETACH);
		if (r < 0)
			return err_set(err, r, "unmount the dead %s: %s", dir,
				       strerror(-r));
	}
}

static int
check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_set(err, -errno, "mount point %s: %s", dir,
			       strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR,
			       "mount point %s: not a directory", dir);
	return 0;
}

/* Objects without an owner belong to whom the mount point belongs. */
static int
default_owner(const char *dir, struct options *opt, struct err *err)
{
	_cleanup_free_ char *uid = NULL, *gid = NULL;
	struct stat st;
	int r = 0;

	if (stat(dir, &st) < 0)
		return err_set(err, -errno, "%s: %s", dir, strerror(errno));
	uid = xasprintf("%u", (unsigned)st.st_uid);
	gid = xasprintf("%u", (unsigned)st.st_gid);
	if (!opt->uid)
		r = options_add(opt, "uid", uid, err);
	if (r == 0 && !opt->gid)
		r = options_add(opt, "gid", gid, err);
	return r;
}

/* Without it the share would be no worse than it was: a warning will do. */
static void
set_guard(const char *dir)
{
	_cleanup_err_ struct err err = ERR_INIT;
	bool empty;

	if (guard_set(dir, &empty, &err) < 0)
		fprintf(stderr, "sharedfs: warning: guard: %s\n",
			err_words(&err));
	else if (!empty)
		fprintf(stderr,
			"sharedfs: warning: guard: %s is not empty: what was "
			"written there while the share was not mounted is "
			"hidden now\n",
			dir);
}

/* What a wrong SOURCE or option says, before anything is started. */
static int
check_source(const char *source, const struct options *opt, struct err *err)
{
	struct be_config cfg = options_be_config(opt);
	struct backend *be = NULL;
	int r = backend_open(source, &cfg, &be, err);

	backend_free(be);
	return r;
}

static void
become_daemon(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
}

/* Until the supervisor says that the mount is live, or why not. */
static int
wait_live(int fd)
{
	_cleanup_free_ struct link_msg *m = xmalloc(sizeof(*m));

	while (link_recv(fd, m) == 0) {
		switch (m->kind) {
		case LINK_LIVE:
			return EXIT_SUCCESS;
		case LINK_ERROR:
			fprintf(stderr, "sharedfs: %s\n", m->text);
			return EXIT_FAILURE;
		case LINK_WARN:
			fprintf(stderr, "sharedfs: warning: %s\n", m->text);
			break;
		default:
			break;
		}
	}
	fprintf(stderr, "sharedfs: the supervisor ended without a word\n");
	return EXIT_FAILURE;
}

static int
start_daemon(struct plan *plan, int lock)
{
	int sv[2], r;
	pid_t pid;

	fflush(NULL);
	r = link_pair(sv);
	if (r < 0) {
		fprintf(stderr, "sharedfs: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "sharedfs: fork: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	if (pid == 0) {
		close(sv[0]);
		close(lock); /* the mount command's alone */
		become_daemon();
		plan->up = sv[1];
		_exit(supervisor_run(plan));
	}
	close(sv[1]);
	r = wait_live(sv[0]);
	/* One that failed ends at once: what it has held is free. */
	if (r != EXIT_SUCCESS)
		waitpid(pid, NULL, 0);
	return r;
}

int
mount_command(const char *source, const char *dir, struct options *opt,
	      bool foreground)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_free_ char *place = places_canonical(dir);
	_cleanup_close_ int lock = -1;
	struct plan plan = {
		.source = source,
		.fsname = opt->fsname ? opt->fsname : source,
		.opt = opt,
		.foreground = foreground,
		.up = -1,
	};
	int r;

	if (check_source(source, opt, &err) < 0)
		return complain(&err);
	if (!place) {
		/* A dead mount can't be resolved through a symlink. */
		err_set(&err, -errno, "mount point %s: %s", dir,
			strerror(errno));
		return complain(&err);
	}
	plan.at = place;
	plan.dir = opt->moves_to ? opt->moves_to : place;
	lock = places_lock_mount(place, &err);
	if (lock < 0)
		return complain(&err);
	r = check_occupied(place, plan.fsname, &err);
	if (r == 1) {
		fprintf(stderr, "sharedfs: %s is already mounted on %s\n",
			plan.fsname, place);
		return EXIT_SUCCESS;
	}
	if (r < 0 || check_dir(place, &err) < 0 ||
	    default_owner(place, opt, &err) < 0)
		return complain(&err);
	/* Also if the mount fails: then more than ever. */
	if (opt->guard && !opt->moves_to)
		set_guard(place);
	/* A working directory on the mount would be fatal (it hangs at exit),
	 * and any other keeps a file system busy. */
	if (chdir("/") < 0) {
		err_set(&err, -errno, "chdir /: %s", strerror(errno));
		return complain(&err);
	}
	if (!foreground) {
		r = start_daemon(&plan, lock);
		if (r == EXIT_SUCCESS)
			utab_add(plan.fsname, plan.dir);
		return r;
	}
	return supervisor_run(&plan);
}
