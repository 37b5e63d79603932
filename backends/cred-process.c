/* SPDX-License-Identifier: MIT */
/* credential_process: a program that prints keys. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define OUTPUT_MAX (128 << 10)
#define LOOK_MS 10 /* how often its end is looked for */

extern char **environ;

void
cred_argv_free(char **argv)
{
	if (!argv)
		return;
	for (char **p = argv; *p; p++)
		free(*p);
	free(argv);
}

int
cred_split(const char *command, char ***argv)
{
	size_t n = 0, room = strlen(command) / 2 + 2;
	char **v = xcalloc(room, sizeof(*v));
	_cleanup_buf_ struct buf word = BUF_INIT;
	const char *p = command;

	for (;;) {
		char quote = 0;

		p += strspn(p, " \t\r\n");
		if (!*p)
			break;
		for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
			if (quote && *p == quote)
				quote = 0;
			else if (!quote && (*p == '\'' || *p == '"'))
				quote = *p;
			else if (*p == '\\' && p[1] &&
				 (!quote || (quote == '"' &&
					     strchr("\"\\", p[1]))))
				buf_addch(&word, *++p);
			else
				buf_addch(&word, *p);
		}
		v[n++] = xstrdup(buf_str(&word));
		buf_reset(&word);
		if (quote)
			goto bad;
	}
	if (n == 0)
		goto bad;
	*argv = v;
	return 0;
bad:
	cred_argv_free(v);
	return -EINVAL;
}

static int
spawn(char **argv, int out, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	/* What it complains about may quote a secret: not into our log. */
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attr);
	/* A group of its own, so that a timeout ends its children too. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
						POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = posix_spawnp(pid, argv[0], &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

static bool
has_ended(pid_t pid)
{
	siginfo_t si = { .si_pid = 0 };

	return waitid(P_PID, pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       si.si_pid == pid;
}

/* Until it has ended and its output is read, or the deadline. */
static int
collect(pid_t pid, int fd, int64_t deadline, struct buf *out, struct err *err)
{
	struct pollfd p = { fd, POLLIN, 0 };

	buf_reserve(out, OUTPUT_MAX);
	for (;;) {
		/* Asked before the pipe: what it wrote before is in there. */
		bool ended = has_ended(pid);
		ssize_t n;

		if (clock_mono_ns() >= deadline)
			return err_set(err, -EAGAIN, "no answer in time");
		if (poll(&p, 1, ended ? 0 : LOOK_MS) <= 0) {
			/* A child of it that holds the pipe does not count. */
			if (ended)
				return 0;
			continue;
		}
		n = read(fd, out->s + out->len, OUTPUT_MAX - out->len);
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "reading: %s",
				       strerror(errno));
		if (n == 0 && out->len == OUTPUT_MAX)
			return err_set(err, -EIO, "it prints too much");
		if (n == 0)
			p.fd = -1;
		if (n > 0)
			out->len += n;
	}
}

static int
run(char **argv, long timeout_ms, struct buf *out, struct err *err)
{
	int64_t deadline = clock_mono_ns() + timeout_ms * NSEC_PER_MSEC;
	_cleanup_close_ int rd = -1, wr = -1;
	int fds[2], status = 0, ret;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	rd = fds[0];
	wr = fds[1];
	ret = spawn(argv, wr, &pid);
	if (ret < 0)
		return err_set(err, -EINVAL, "%s: %s", argv[0], strerror(-ret));
	close(steal_fd(&wr));
	ret = collect(pid, rd, deadline, out, err);
	if (ret < 0)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ret < 0)
		return ret;
	if (WIFSIGNALED(status))
		return err_set(err, -EAGAIN, "%s was ended by signal %d",
			       argv[0], WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, -EAGAIN,
			       "%s ended with status %d; run it by hand to see "
			       "why",
			       argv[0], WEXITSTATUS(status));
	return 0;
}

int
cred_process(const struct cred_conf *conf, const char *command,
	     struct cred_doc *out, struct err *err)
{
	_cleanup_cred_buf_ struct buf text = BUF_INIT;
	char **argv;
	int ret;

	if (cred_split(command, &argv) < 0)
		return err_set(err, -EINVAL,
			       "credential_process is empty or has an open "
			       "quote");
	ret = run(argv, conf->limits.process_ms, &text, err);
	if (ret == 0)
		ret = cred_doc_json(text.s, text.len, "SessionToken", out, err);
	if (ret < 0)
		err_prefix(err, "credential_process");
	cred_argv_free(argv);
	return ret;
}
