/* SPDX-License-Identifier: MIT */
/* See handover.h. */
#include <config.h>

#include "fs/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/link.h"
#include "fs/reload.h"
#include "fs/request.h"
#include "fs/session.h"
#include "fs/supervisor.h"
#include "fs/worker.h"

#define LEAVE_PATIENCE (5 * NSEC_PER_SEC)
#define LOOK_MS 2

void
handover_leave(struct fs *fs, bool up)
{
	int64_t until = clock_mono_ns() + LEAVE_PATIENCE;
	char code[] = { '0' + WORKER_HANDED, '\0' };

	if (up) {
		session_leave(fs->session);
		session_join(fs->session);
		while (clock_mono_ns() < until &&
		       (!requests_idle(fs->requests) ||
			pool_queued(fs->commit) || pool_queued(fs->io)))
			poll(NULL, 0, LOOK_MS);
	}
	log_info("worker", "leaves %s to the next one", fs->opt->fsname ?
		 fs->opt->fsname : "the mount");
	link_send(WORKER_LINK_FD, LINK_DONE, code, -1, -1);
	_exit(WORKER_HANDED);
}

/* --- a new supervisor ----------------------------------------------------- */

static char **
supervisor_argv(const struct handover *h)
{
	char **argv = xcalloc(OPT_COUNT + 10, sizeof(*argv));
	const struct options *o = h->fs->opt;
	size_t n = 0;

	argv[n++] = xstrdup("sharedfs");
	argv[n++] = xstrdup(SUPERVISOR_ARG);
	argv[n++] = xasprintf("%d", (int)getpid());
	argv[n++] = xasprintf("%u", h->number);
	argv[n++] = xstrdup(h->foreground ? "foreground" : "daemon");
	argv[n++] = xstrdup(h->instance);
	argv[n++] = xstrdup(h->source);
	argv[n++] = xstrdup(h->dir);
	argv[n++] = xstrdup(o->fsname ? o->fsname : h->source);
	/* As the last reload left them. */
	reload_hold(h->fs->reload);
	for (int i = 0; i < OPT_COUNT; i++) {
		argv[n] = options_arg(o, i);
		if (argv[n])
			n++;
	}
	reload_go(h->fs->reload);
	return argv;
}

/* In a child of a process with threads: nothing but system calls.  A child of
 * the child, so that nobody has to wait for it. */
static void
start(char **argv, const int *fds)
{
	int high[SUPERVISOR_PIDFD - SUPERVISOR_LINK_FD + 1];
	const int n = SUPERVISOR_PIDFD - SUPERVISOR_LINK_FD + 1;
	sigset_t none;

	if (fork() != 0)
		_exit(0);
	setsid();
	for (int i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD, 20);
	for (int i = 0; i < n; i++) {
		if (high[i] < 0 || dup2(high[i], SUPERVISOR_LINK_FD + i) < 0)
			_exit(126);
	}
	close_range(SUPERVISOR_PIDFD + 1, ~0U, 0);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
	_exit(127);
}

int
handover_supervisor(const struct handover *h, struct err *err)
{
	_cleanup_close_ int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	char **argv;
	int sv[2], r;
	pid_t pid;

	r = link_pair(sv);
	if (r < 0 || pidfd < 0)
		return err_set(err, -EMFILE, "no descriptors are left");
	argv = supervisor_argv(h);
	{
		const int fds[] = { sv[0], WORKER_TABLE_FD,
				    session_fd(h->fs->session), h->control,
				    pidfd };

		pid = fork();
		if (pid == 0)
			start(argv, fds);
	}
	for (char **a = argv; *a; a++)
		free(*a);
	free(argv);
	close(sv[0]);
	if (pid < 0 || dup3(sv[1], WORKER_LINK_FD, O_CLOEXEC) < 0)
		r = err_set(err, -EAGAIN, "start a supervisor: %s",
			    strerror(errno));
	close(sv[1]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}
