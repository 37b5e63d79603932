/* SPDX-License-Identifier: MIT */
/* See supervisor.h. */
#include <config.h>

#include "fs/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/control-socket.h"
#include "fs/exe.h"
#include "fs/guard.h"
#include "fs/kmount.h"
#include "fs/link.h"
#include "fs/linger.h"
#include "fs/logging.h"
#include "fs/options-priv.h"
#include "fs/places.h"
#include "fs/sdnotify.h"
#include "fs/table.h"
#include "fs/worker.h"

#define BACKOFF_MIN (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX (10 * NSEC_PER_SEC)
#define LIVED_LONG (10 * NSEC_PER_SEC)
#define READAHEAD (1u << 20) /* as large as one READ can be */
#define CRASH_LOOP 3 /* crashes in a row that are one */
#define LEAVE_WAIT (15 * NSEC_PER_SEC) /* for LINK_LEAVE; then it is killed */
#define TRIAL_WAIT (60 * NSEC_PER_SEC) /* for an upgrade's worker to be live */
#define LOOK_AFTER NSEC_PER_SEC
#define BEATS 6 /* pings within the time that a worker may be silent */
#define TRIES_AFTER_END 5 /* workers that only have to send what is left */

struct supervisor {
	const struct plan *plan;
	struct err err;
	int up; /* -1: nobody waits (any more) */
	int signals;
	int table;
	int fuse;    /* -1: not mounted yet */
	struct control_socket control;
	dev_t dev;
	/* The worker: pid 0 = none. */
	pid_t pid;
	int pidfd, link;
	bool live;	 /* has been, once */
	bool served;	 /* this one has been live */
	char *instance;	 /* of the cache; chosen by the first worker */
	unsigned workers; /* started so far */
	unsigned tries_after_end;
	int64_t started, backoff, restart_at;
	int64_t watchdog, watchdog_at; /* systemd's period, 0: none */
	char oom_score[16]; /* before ours was changed: the workers' */
	/* How the last one ended, for the next one to tell. */
	unsigned crashes; /* in a row */
	char *last_end;
	/* Which binary (exe.h).  next: the one that an upgrade waits for the
	 * old worker's end with; trial: it runs, and was not live yet. */
	int exe, next, old;
	char *exe_path;
	bool trial;
	int64_t leave_by; /* 0: nobody is leaving */
	/* Heartbeat. */
	int64_t ping_at;
	unsigned missed;
	bool hung;
	bool adopted; /* by a new supervisor: it is not our child */
	int done_code; /* what it says it ends with; -1: nothing */
	pid_t lingers[4]; /* killed, and not reaped yet (linger.h); 0: none */
	int64_t linger_since; /* the worker seems to be one; 0: it does not */
	bool stopping; /* somebody wants the end */
	bool failed;   /* something was left unsent, or it never came up */
	bool done;
};

/* --- the worker ----------------------------------------------------------- */

/* Every option that was given anywhere, so that all workers have the same. */
static char **
worker_argv(const struct supervisor *s)
{
	const struct options *o = s->plan->opt;
	char **argv = xcalloc(OPT_COUNT + 8, sizeof(*argv));
	size_t n = 0;

	argv[n++] = xstrdup("sharedfs");
	argv[n++] = xstrdup(WORKER_ARG);
	argv[n++] = xasprintf("%u", s->workers);
	argv[n++] = xstrdup(s->plan->foreground ? "foreground" : "daemon");
	argv[n++] = xstrdup(s->instance ? s->instance : "");
	argv[n++] = xstrdup(s->plan->source);
	argv[n++] = xstrdup(s->plan->dir);
	for (int i = 0; i < OPT_COUNT; i++) {
		argv[n] = options_arg(o, i);
		if (argv[n])
			n++;
	}
	return argv;
}

static void
worker_exec(char **argv, const char *score, int exe, int link, int table)
{
	_cleanup_close_ int oom = -1;
	sigset_t none;
	int low;

	/* The supervisor is not to be chosen when memory is short; the worker
	 * is what the memory is for. */
	oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (oom >= 0 && write(oom, score, strlen(score)) < 0) {
		/* as it is */
	}

	/* Out of the way of the fixed numbers first. */
	low = fcntl(link, F_DUPFD, 10);
	table = fcntl(table, F_DUPFD, 10);
	exe = fcntl(exe, F_DUPFD_CLOEXEC, 10);
	if (low < 0 || table < 0 || exe < 0 || dup2(low, WORKER_LINK_FD) < 0 ||
	    dup2(table, WORKER_TABLE_FD) < 0)
		_exit(126);
	close(low);
	close(table);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	exe_exec(exe, argv);
	_exit(127);
}

static int
say_go(struct supervisor *s)
{
	_cleanup_free_ char *text = NULL;

	if (s->last_end)
		text = xasprintf("%c%s", s->crashes >= CRASH_LOOP ? '!' : '.',
				 s->last_end);
	return link_send(s->link, LINK_GO, text, s->fuse, s->control.fd);
}

static int
worker_start(struct supervisor *s)
{
	char **argv;
	int sv[2], r;
	pid_t pid;

	r = link_pair(sv);
	if (r < 0)
		return err_set(&s->err, r, "socketpair: %s", strerror(-r));
	argv = worker_argv(s);
	pid = fork();
	if (pid == 0)
		worker_exec(argv, s->oom_score, s->exe, sv[1], s->table);
	for (char **a = argv; *a; a++)
		free(*a);
	free(argv);
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return err_set(&s->err, -EAGAIN, "fork: %s", strerror(errno));
	}
	s->pid = pid;
	s->link = sv[0];
	s->pidfd = syscall(SYS_pidfd_open, pid, 0);
	s->started = clock_mono_ns();
	s->served = s->hung = s->adopted = false;
	s->done_code = -1;
	s->leave_by = 0;
	s->restart_at = 0;
	s->workers++;
	if (s->fuse >= 0)
		say_go(s);
	if (s->stopping)
		link_send(s->link, LINK_DRAIN, NULL, -1, -1);
	return 0;
}

static void
tell_up(struct supervisor *s, enum link_kind kind, const char *text)
{
	if (s->up >= 0)
		link_send(s->up, kind, text, -1, -1);
	else if (kind == LINK_ERROR)
		log_error("supervisor", "%s", text);
	if (s->plan->foreground && kind == LINK_ERROR)
		fprintf(stderr, "sharedfs: %s\n", text);
}

static void
give_up(struct supervisor *s, const char *text)
{
	tell_up(s, LINK_ERROR, text);
	s->failed = true;
	s->done = true;
}

/* --- mounting ------------------------------------------------------------- */

static int
mount_now(struct supervisor *s)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	const struct plan *p = s->plan;
	int r;

	r = kmount(p->opt, p->fsname, p->at, &s->fuse, &s->err);
	if (r < 0)
		return r;
	r = mountinfo_at(p->at, &e);
	if (r != 1 || strcmp(e.type, MOUNT_TYPE) != 0)
		return err_set(&s->err, -EIO, "%s is not to be seen in "
			       "/proc/self/mountinfo", p->at);
	s->dev = makedev(e.major, e.minor);
	s->control.other = p->opt->control;
	r = control_socket_listen(&s->control, &e, &s->err);
	if (r < 0)
		return r;
	return say_go(s);
}

static bool
mount_is_gone(const struct supervisor *s)
{
	struct pollfd p = { .fd = s->fuse };

	return s->fuse >= 0 && poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLERR | POLLNVAL));
}

/* Somebody may have put another mount on top since. */
static bool
is_mounted_at(const struct supervisor *s, const char *dir)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };

	return mountinfo_at(dir, &e) == 1 && strcmp(e.type, MOUNT_TYPE) == 0 &&
	       makedev(e.major, e.minor) == s->dev;
}

static void
unmount_now(struct supervisor *s)
{
	const char *dir = s->plan->dir;
	int r;

	if (s->fuse < 0 || mount_is_gone(s))
		return;
	/* It may not have been moved yet. */
	if (!is_mounted_at(s, dir))
		dir = s->plan->at;
	if (!is_mounted_at(s, dir))
		return;
	r = kumount(dir, 0);
	if (r < 0) {
		log_warn("supervisor",
			 "%s is busy: it goes when its last user does", dir);
		kumount(dir, MNT_DETACH);
	}
	if (s->plan->opt->guard && s->live)
		guard_clear(s->plan->dir);
}

/* --- upgrade -------------------------------------------------------------- */

/* The old worker goes on unless the new binary can read the table. */
static int
upgrade_begin(struct supervisor *s)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (!s->live || s->stopping)
		return err_set(&s->err, -EBUSY, "not while it starts or ends");
	if (s->trial || s->next >= 0)
		return err_set(&s->err, -EBUSY, "an upgrade is under way");
	r = exe_candidate(s->exe_path, s->table, &fd, &s->err);
	if (r < 0)
		return r;
	log_info("supervisor", "%s takes over", s->exe_path);
	s->next = steal_fd(&fd);
	if (s->pid) {
		link_send(s->link, LINK_LEAVE, NULL, -1, -1);
		s->leave_by = clock_mono_ns() + LEAVE_WAIT;
	}
	return 0;
}

/* Who asked gets the words, or nothing when it begins. */
static void
upgrade(struct supervisor *s, int answer)
{
	int r = upgrade_begin(s);
	const char *words = r < 0 ? err_words(&s->err) : "";

	if (r < 0)
		log_error("supervisor", "no upgrade: %s", words);
	if (answer >= 0) {
		if (write(answer, words, strlen(words)) < 0) {
			/* nobody waits for it any more */
		}
		close(answer);
	}
	err_release(&s->err);
	s->err = (struct err)ERR_INIT;
}

/* No worker runs: which binary is the next one? */
static void
upgrade_step(struct supervisor *s)
{
	if (s->trial) {
		log_error("supervisor", "the new binary could not go on; back "
					"to the old one");
		close(s->exe);
		s->exe = s->old;
		s->old = -1;
		s->trial = false;
		s->backoff = 0;
	} else if (s->next >= 0) {
		s->old = s->exe;
		s->exe = s->next;
		s->next = -1;
		s->trial = true;
		s->backoff = 0;
	}
}

static void
upgrade_done(struct supervisor *s)
{
	if (!s->trial)
		return;
	close(s->old);
	s->old = -1;
	s->trial = false;
	log_info("supervisor", "the upgrade is done");
}

/* --- is it there at all? -------------------------------------------------- */

static int64_t
beat_every(const struct supervisor *s)
{
	return s->plan->opt->heartbeat / BEATS;
}

/* Counted in pings that we did send, so that a machine that slept is no silent
 * worker. */
static void
look_after(struct supervisor *s)
{
	int64_t now = clock_mono_ns();

	if (!s->pid || s->hung)
		return;
	if ((s->leave_by && now > s->leave_by) ||
	    (s->trial && !s->served && now > s->started + TRIAL_WAIT)) {
		s->hung = true;
		kill(s->pid, SIGKILL);
		return;
	}
	if (!s->served || !beat_every(s) || s->leave_by || now < s->ping_at)
		return;
	if (s->ping_at && now > s->ping_at + beat_every(s))
		s->missed = 0;
	if (s->missed++ >= BEATS) {
		log_error("supervisor", "worker %d does not answer; it is "
					"killed", (int)s->pid);
		s->hung = true;
		kill(s->pid, SIGKILL);
		return;
	}
	link_send(s->link, LINK_PING, NULL, -1, -1);
	s->ping_at = now + beat_every(s);
}

/* --- what happens --------------------------------------------------------- */

/* One digit. */
static int
code_of(const char *text)
{
	return text[0] >= '0' && text[0] <= '9' && !text[1] ? text[0] - '0' : -1;
}

static void
on_message(struct supervisor *s, const struct link_msg *m)
{
	switch (m->kind) {
	case LINK_PROBED:
		if (!s->instance && *m->text)
			s->instance = xstrdup(m->text);
		if (s->fuse >= 0)
			break;
		if (mount_now(s) < 0) {
			unmount_now(s);
			give_up(s, err_words(&s->err));
		}
		break;
	case LINK_LIVE:
		if (!s->live) {
			/* INIT has set it to the kernel's 128 KiB. */
			kmount_set_readahead(s->dev, READAHEAD);
			log_info("supervisor", "%s is mounted on %s",
				 s->plan->source, s->plan->dir);
			sdnotify("READY=1");
		} else {
			log_warn("supervisor", "worker %d goes on with %s",
				 (int)s->pid, s->plan->dir);
		}
		s->live = s->served = true;
		s->ping_at = s->missed = 0;
		upgrade_done(s);
		tell_up(s, LINK_LIVE, NULL);
		if (s->up >= 0)
			close(s->up);
		s->up = -1;
		break;
	case LINK_ERROR:
		/* A later worker is tried again: the mount is there. */
		if (s->live)
			log_error("supervisor", "worker: %s", m->text);
		else
			give_up(s, m->text);
		break;
	case LINK_WARN:
		tell_up(s, LINK_WARN, m->text);
		break;
	case LINK_DRAINED:
		if (*m->text)
			log_error("supervisor", "%s", m->text);
		unmount_now(s);
		break;
	case LINK_OPTION:
		options_take_arg(s->plan->opt, m->text, NULL);
		if (logging_change(s->plan->opt, s->plan->foreground,
				   &s->err) < 0)
			log_error("supervisor", "%s", err_words(&s->err));
		break;
	case LINK_UPGRADE:
		upgrade(s, m->fds[0]);
		break;
	case LINK_PONG:
		s->missed = 0;
		break;
	case LINK_DONE:
		s->done_code = code_of(m->text);
		break;
	case LINK_STOP:
		s->stopping = true;
		link_send(s->link, LINK_DRAIN, NULL, -1, -1);
		break;
	default:
		log_error("supervisor", "BUG: message %d", m->kind);
		break;
	}
}

static void
on_signal(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP) {
		if (!s->live)
			return;
		/* The log file may have been rotated. */
		if (logging_change(s->plan->opt, s->plan->foreground,
				   &s->err) < 0)
			log_error("supervisor", "%s", err_words(&s->err));
		if (s->pid)
			link_send(s->link, LINK_RELOAD, NULL, -1, -1);
		return;
	}
	if (si.ssi_signo == SIGUSR2) {
		upgrade(s, -1);
		return;
	}
	if (!s->live) {
		unmount_now(s);
		give_up(s, "interrupted");
		return;
	}
	if (s->stopping)
		return; /* what is unsent is being sent; be patient */
	s->stopping = true;
	sdnotify("STOPPING=1");
	log_info("supervisor", "ending %s", s->plan->dir);
	if (s->pid)
		link_send(s->link, LINK_DRAIN, NULL, -1, -1);
}

static void
worker_forget(struct supervisor *s)
{
	close(s->link);
	if (s->pidfd >= 0)
		close(s->pidfd);
	s->link = s->pidfd = -1;
	s->pid = 0;
}

static void
drain_link(struct supervisor *s, struct link_msg *m)
{
	struct pollfd p = { .fd = s->link, .events = POLLIN };

	/* Its last words. */
	while (poll(&p, 1, 0) > 0 && (p.revents & POLLIN) &&
	       link_recv(s->link, m) == 0)
		on_message(s, m);
}

static void
on_exit_of_worker(struct supervisor *s, int status, struct link_msg *m)
{
	_cleanup_free_ char *how = NULL;
	int pid = s->pid;

	drain_link(s, m);
	worker_forget(s);
	if (s->done)
		return;
	if (WIFEXITED(status) && (WEXITSTATUS(status) == WORKER_ENDED ||
				  WEXITSTATUS(status) == WORKER_LEFT)) {
		s->failed = WEXITSTATUS(status) == WORKER_LEFT;
		s->done = true;
		return;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_HANDED) {
		s->backoff = 0;
		upgrade_step(s);
		s->restart_at = clock_mono_ns();
		return;
	}
	if (s->hung)
		how = xasprintf("hung and was killed");
	else if (WIFSIGNALED(status))
		how = xasprintf("was killed by signal %d (%s)",
				WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		how = xasprintf("ended with code %d", WEXITSTATUS(status));
	if (!s->live) {
		_cleanup_free_ char *words =
			xasprintf("the worker %s before it was ready", how);

		unmount_now(s);
		give_up(s, words);
		return;
	}
	if (mount_is_gone(s) && ++s->tries_after_end > TRIES_AFTER_END) {
		give_up(s, "what is unsent stays in the cache directory");
		return;
	}
	if (clock_mono_ns() - s->started > LIVED_LONG)
		s->backoff = 0;
	/* Somebody's kill of a worker that served is no fault of its own, and
	 * programs wait. */
	if (s->served && !s->hung && WIFSIGNALED(status) &&
	    WTERMSIG(status) == SIGKILL) {
		s->crashes = 0;
		if (s->backoff > BACKOFF_MIN)
			s->backoff = BACKOFF_MIN;
	} else {
		s->crashes = clock_mono_ns() - s->started > LIVED_LONG ?
				     1 : s->crashes + 1;
	}
	upgrade_step(s);
	free(s->last_end);
	s->last_end = xstrdup(how);
	log_error("supervisor", "worker %d %s; the next one starts in %lld ms",
		  pid, how, (long long)(s->backoff / NSEC_PER_MSEC));
	s->restart_at = clock_mono_ns() + s->backoff;
	s->backoff = s->backoff ? 2 * s->backoff : BACKOFF_MIN;
	if (s->backoff > BACKOFF_MAX)
		s->backoff = BACKOFF_MAX;
}

static int
wait_ms(const struct supervisor *s)
{
	int64_t now = clock_mono_ns(), left = INT64_MAX;

	if (!s->pid)
		left = s->restart_at - now;
	else if (s->leave_by || s->trial)
		left = LOOK_AFTER;
	if (s->pid && s->served && beat_every(s) && beat_every(s) < left)
		left = beat_every(s);
	if (s->pid && s->live && left > LOOK_AFTER)
		left = LOOK_AFTER;
	if (s->watchdog && s->watchdog_at - now < left)
		left = s->watchdog_at - now;
	if (left == INT64_MAX)
		return -1;
	return left <= 0 ? 0 : left / NSEC_PER_MSEC + 1;
}

/* systemd ends and restarts a supervisor that does not come round any more. */
static void
feed_watchdog(struct supervisor *s)
{
	if (!s->watchdog || clock_mono_ns() < s->watchdog_at)
		return;
	sdnotify("WATCHDOG=1");
	s->watchdog_at = clock_mono_ns() + s->watchdog;
}

/* Does a worker that was killed keep the mount waiting?  Each that ends looks
 * like that for a moment. */
static bool
lingers(struct supervisor *s)
{
	int64_t now = clock_mono_ns();

	if (!linger_is(s->pid)) {
		s->linger_since = 0;
		return false;
	}
	if (s->linger_since == 0)
		s->linger_since = now;
	if (now - s->linger_since < LOOK_AFTER)
		return false;
	s->linger_since = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s->lingers); i++) {
		if (s->lingers[i])
			continue;
		s->lingers[i] = s->adopted ? 0 : s->pid;
		return true;
	}
	return false;
}

static void
reap_lingering(struct supervisor *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->lingers); i++) {
		pid_t pid = s->lingers[i];

		if (pid && waitpid(pid, NULL, WNOHANG) != 0)
			s->lingers[i] = 0;
	}
}

/* What the worker of a dead supervisor ended with nobody can ask: it says so
 * before, or was killed. */
static bool
has_ended(struct supervisor *s, int *status, struct link_msg *m)
{
	struct pollfd p = { .fd = s->pidfd, .events = POLLIN };

	if (!s->pid)
		return false;
	if (!s->adopted && waitpid(s->pid, status, WNOHANG) == s->pid)
		return true;
	if (s->live && lingers(s)) {
		*status = SIGKILL;
		return true;
	}
	if (!s->adopted || poll(&p, 1, 0) <= 0)
		return false;
	drain_link(s, m);
	*status = s->done_code >= 0 ? s->done_code << 8 : SIGKILL;
	return true;
}

static void
loop(struct supervisor *s)
{
	struct link_msg *m = xmalloc(sizeof(*m));

	while (!s->done) {
		struct pollfd p[3] = {
			{ .fd = s->signals, .events = POLLIN },
			{ .fd = s->link, .events = POLLIN },
			{ .fd = s->pidfd, .events = POLLIN },
		};
		int status;

		if (poll(p, 3, wait_ms(s)) < 0 && errno != EINTR)
			break;
		if (p[1].revents & POLLIN) {
			if (link_recv(s->link, m) == 0)
				on_message(s, m);
		} else if ((p[1].revents & POLLHUP) && s->pid) {
			/* It closes its end only by ending. */
			poll(&p[2], 1, -1);
		}
		if (p[0].revents & POLLIN)
			on_signal(s);
		look_after(s);
		if (has_ended(s, &status, m))
			on_exit_of_worker(s, status, m);
		reap_lingering(s);
		feed_watchdog(s);
		if (!s->done && !s->pid && s->restart_at <= clock_mono_ns()) {
			if (worker_start(s) < 0) {
				log_error("supervisor", "%s",
					  err_words(&s->err));
				s->restart_at = clock_mono_ns() + BACKOFF_MAX;
			}
		}
	}
	free(m);
}

/* Of the process: log, signals, memory. */
static int
process_set_up(struct supervisor *s)
{
	_cleanup_close_ int fd = -1;
	sigset_t set;
	int r = logging_start(s->plan->opt, s->plan->foreground, &s->err);

	if (r == 0)
		r = exe_self(&s->exe, &s->exe_path, &s->err);
	if (r < 0)
		return r;
	/* The kernel must not choose this process when memory is short. */
	fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (fd >= 0 && read(fd, s->oom_score, sizeof(s->oom_score) - 1) > 0 &&
	    pwrite(fd, "-1000", 5, 0) < 0) {
		/* not root: as it is */
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->watchdog = s->plan->foreground ? sdnotify_period() : 0;
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return err_set(&s->err, -errno, "signalfd: %s",
			       strerror(errno));
	return 0;
}

static int
set_up(struct supervisor *s)
{
	int r = process_set_up(s);

	if (r == 0)
		r = table_create(&s->table, &s->err);
	return r < 0 ? r : worker_start(s);
}

static void
tear_down(struct supervisor *s)
{
	if (s->link >= 0)
		close(s->link);
	if (s->pid && !s->adopted) {
		/* Never live: nobody has given it anything to lose. */
		kill(s->pid, SIGKILL);
		while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	control_socket_end(&s->control);
	for (int *fd = (int[]){ s->up, s->signals, s->table, s->fuse,
				s->pidfd, s->exe, s->next, s->old, -2 };
	     *fd != -2; fd++) {
		if (*fd >= 0)
			close(*fd);
	}
	free(s->instance);
	free(s->exe_path);
	free(s->last_end);
	err_release(&s->err);
}

static void
init(struct supervisor *s, const struct plan *plan)
{
	*s = (struct supervisor){
		.plan = plan,
		.up = plan->up,
		.signals = -1,
		.table = -1,
		.fuse = -1,
		.control.fd = -1,
		.pidfd = -1,
		.link = -1,
		.exe = -1,
		.next = -1,
		.old = -1,
		.done_code = -1,
	};
}

int
supervisor_run(const struct plan *plan)
{
	struct supervisor s;

	init(&s, plan);
	if (set_up(&s) < 0)
		give_up(&s, err_words(&s.err));
	loop(&s);
	tear_down(&s);
	return s.failed;
}

/* --- a new one, when the old one was killed ------------------------------- */

/* Only to be tidy at the end.  The directory may be another mount's by now, and
 * so may a device number that was ours; but not while we are mounted. */
static void
find_places(struct supervisor *s)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };

	if (mountinfo_at(s->plan->dir, &e) == 1 && !mount_is_gone(s) &&
	    control_socket_adopt(&s->control, &e))
		s->dev = makedev(e.major, e.minor);
}

static int
adopt(struct supervisor *s, pid_t pid)
{
	_cleanup_free_ char *text = xasprintf("%d", (int)getpid());
	int r;

	s->link = SUPERVISOR_LINK_FD;
	s->table = SUPERVISOR_TABLE_FD;
	s->fuse = SUPERVISOR_FUSE_FD;
	s->control.fd = SUPERVISOR_CONTROL_FD;
	s->control.other = s->plan->opt->control;
	s->pidfd = SUPERVISOR_PIDFD;
	for (int fd = SUPERVISOR_LINK_FD; fd <= SUPERVISOR_PIDFD; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	s->pid = pid;
	s->adopted = s->live = s->served = true;
	s->started = clock_mono_ns();
	r = process_set_up(s);
	if (r < 0)
		return r;
	r = link_send(s->link, LINK_ADOPTED, text, -1, -1);
	if (r < 0)
		return err_set(&s->err, r, "%s: both the supervisor and the "
					   "worker were killed",
			       s->plan->dir);
	log_warn("supervisor", "the one before was killed; going on with %s",
		 s->plan->dir);
	find_places(s);
	return 0;
}

int
supervisor_again_main(int argc, char **argv)
{
	struct options opt;
	struct plan plan = { .opt = &opt, .up = -1 };
	struct supervisor s;
	int r;

	if (argc < 9)
		return EXIT_FAILURE; /* nobody calls it but a worker */
	plan.foreground = strcmp(argv[4], "foreground") == 0;
	plan.source = argv[6];
	plan.dir = argv[7];
	plan.fsname = argv[8];
	init(&s, &plan);
	r = options_init_from(&opt, NULL, NULL, &s.err);
	for (int i = 9; r == 0 && i < argc; i++)
		r = options_take_arg(&opt, argv[i], &s.err);
	s.workers = strtoul(argv[3], NULL, 10) + 1;
	if (*argv[5])
		s.instance = xstrdup(argv[5]);
	if (r == 0)
		r = adopt(&s, (pid_t)strtol(argv[2], NULL, 10));
	if (r < 0)
		give_up(&s, err_words(&s.err));
	loop(&s);
	tear_down(&s);
	options_release(&opt);
	return s.failed;
}
