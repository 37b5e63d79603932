/* SPDX-License-Identifier: MIT */
/* See worker.h.  The one place where the chain of layers is built. */
#include <config.h>

#include "fs/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"
#include "fs/confine.h"
#include "fs/control.h"
#include "fs/fs.h"
#include "fs/handle.h"
#include "fs/handover.h"
#include "fs/link.h"
#include "fs/passthrough.h"
#include "fs/logging.h"
#include "fs/places.h"
#include "fs/reload.h"
#include "fs/request.h"
#include "fs/session.h"
#include "fs/takeover.h"

#define START_WAIT (5 * NSEC_PER_SEC)	/* for the store, at the first start */
#define PROBE_LIMIT (10 * NSEC_PER_SEC) /* for one try */
#define PROBE_PAUSE_MS 1000
#define WHOLE_MAX (4u << 20)
#define SUPERVISOR_PAUSE NSEC_PER_SEC
#define END_GRACE 10 /* seconds for what was cancelled to come back */
#define INSTANCES 8

struct worker {
	struct fs fs;
	struct options opt;
	const char *source, *dir;
	unsigned number;
	char *instance;
	struct backend *be; /* NULL once the cache has it */
	struct session *session;
	struct control *control;
	struct err err;
	bool foreground;
	bool up; /* the store is known, the chain is built */
	/* Asking a store that is down at the start. */
	pthread_t prober;
	bool probing;
	int probed_fd; /* eventfd */
	int finished_fd; /* eventfd: nothing is left to wait for */
	char *last_end; /* how the worker before ended; or NULL */
	int control_fd;
	int64_t adopted_at; /* when a new supervisor was started */
};

static void
say(enum link_kind kind, const char *text)
{
	link_send(WORKER_LINK_FD, kind, text, -1, -1);
}

static int
refuse(struct worker *w)
{
	log_error("worker", "%s", err_words(&w->err));
	say(LINK_ERROR, err_words(&w->err));
	return EXIT_FAILURE;
}

/* --- the chain ------------------------------------------------------------ */

static int
open_backend(struct worker *w)
{
	struct be_config cfg = options_be_config(&w->opt);
	struct backend *be;
	int r;

	r = backend_open(w->source, &cfg, &w->be, &w->err);
	if (r < 0 || !log_enabled(LOG_LEVEL_DEBUG))
		return r;
	r = wrap_trace_new(&w->be, &be);
	if (r < 0)
		return err_set(&w->err, r, "trace: %s", strerror(-r));
	w->be = be;
	return 0;
}

static int
probe_once(struct worker *w, int64_t limit_ns, bool *transient)
{
	struct be_ctx ctx = {
		.uid = geteuid(),
		.gid = getegid(),
		.deadline_ns = clock_mono_ns() + limit_ns,
		.cancel = &w->fs.stopping,
		.err = &w->err,
	};
	_cleanup_free_ char *facts = NULL;
	int r = be_probe(w->be, &ctx);

	*transient = ctx.transient || r == -ETIMEDOUT;
	if (r == 0 && (facts = be_facts(w->be)))
		table_facts_set(w->fs.table, facts);
	return r;
}

/* 0: it answers.  1: it is down.  < 0: it refuses us, with words. */
static int
probe_at_start(struct worker *w)
{
	int64_t until = clock_mono_ns() + START_WAIT;
	bool transient;
	int r;

	for (;;) {
		int64_t left = until - clock_mono_ns();

		r = probe_once(w, left > 0 ? left : NSEC_PER_MSEC, &transient);
		if (r == 0)
			return 0;
		left = until - clock_mono_ns();
		/* A later worker has users behind it: it never gives up. */
		if (!transient && w->number == 0)
			return err_prefix(&w->err, "%s", w->source);
		if (left <= PROBE_PAUSE_MS * NSEC_PER_MSEC || w->number > 0)
			break;
		poll(NULL, 0, PROBE_PAUSE_MS);
	}
	if (!w->opt.hard && w->number == 0)
		return err_prefix(&w->err, "%s (soft: not mounted)", w->source);
	return 1;
}

static void *
prober_thread(void *arg)
{
	struct worker *w = arg;
	/* What was said at the start already. */
	_cleanup_free_ char *last = xstrdup(err_words(&w->err));
	uint64_t one = 1;
	bool transient;

	while (!atomic_load(&w->fs.stopping)) {
		if (probe_once(w, PROBE_LIMIT, &transient) == 0) {
			if (write(w->probed_fd, &one, sizeof(one)) < 0)
				abort(); /* an eventfd takes it */
			break;
		}
		if (strcmp(last, err_words(&w->err)) != 0) {
			log_warn("worker", "%s: %s; trying on", w->source,
				 err_words(&w->err));
			free(last);
			last = xstrdup(err_words(&w->err));
		}
		for (int i = 0; i < PROBE_PAUSE_MS / 100 &&
				!atomic_load(&w->fs.stopping);
		     i++)
			poll(NULL, 0, 100);
	}
	return NULL;
}

struct soon {
	struct pool_job job;
	void (*fn)(void *arg);
	void *arg;
};

static void
run_now(struct pool_job *job)
{
	struct soon *s = (struct soon *)job;

	s->fn(s->arg);
	free(s);
}

/* What the cache does beside what it was asked for. */
static void
run_soon(void *arg, void (*fn)(void *job), void *job)
{
	struct fs *fs = arg;
	struct soon *s = xcalloc(1, sizeof(*s));

	s->job.run = run_now;
	s->fn = fn;
	s->arg = job;
	pool_add(fs->io, &s->job);
}

/* Those of nodes that never came back ([S3.11]). */
static void
abort_uploads(struct fs *fs, struct be_ctx *ctx)
{
	int64_t age_s = fs->opt->abort_uploads / NSEC_PER_SEC;
	uint64_t n;
	int r = be_old_uploads(cache_backend(fs->cache), ctx, age_s, true, &n);

	if (r < 0)
		log_warn("worker", "abort_uploads: %s",
			 ctx->err ? err_words(ctx->err) : strerror(-r));
	else if (n)
		log_warn("worker",
			 "%" PRIu64 " uploads that never ended were aborted",
			 n);
}

static void
recover(void *arg)
{
	struct fs *fs = arg;
	_cleanup_err_ struct err err = ERR_INIT;
	struct cache_ctx ctx = {
		.be.uid = geteuid(),
		.be.gid = getegid(),
		.be.cancel = &fs->stopping,
		.be.err = &err,
	};

	cache_recover(fs->cache, &ctx);
	if (fs->opt->abort_uploads > 0)
		abort_uploads(fs, &ctx.be);
}

static int
open_cache(struct worker *w)
{
	_cleanup_free_ char *dir = places_cache_dir(&w->opt, &w->err);
	struct cache_config cfg = {
		.dir = dir,
		.size_max = w->opt.cache_size,
		.free_min = w->opt.cache_free,
		.attr_cache = w->opt.attr_cache,
		.attr_table = w->opt.attr_table,
		.actimeo_ns = w->opt.actimeo,
		.negative_ns = w->opt.negative_timeout,
		.stale_ns = w->opt.stale_if_error,
		.attr_delay_ns = w->opt.attr_delay,
		.cto = w->opt.cto,
		.conflict_fail = strcmp(w->opt.conflict, "fail") == 0,
		.exclusive_at_close = strcmp(w->opt.excl, "close") == 0,
		.readahead = w->opt.readahead,
		.whole_max = WHOLE_MAX,
		.uid = geteuid(),
		.gid = getegid(),
		.umask = w->opt.umask,
		.changed = notify_changed,
		.run = run_soon,
		.arg = &w->fs,
	};
	int r;

	if (!dir)
		return w->err.code;
	r = options_owner(&w->opt, &cfg.uid, &cfg.gid, &w->err);
	if (r < 0)
		return r;
	if (*w->instance) {
		cfg.instance = w->instance;
		return cache_new(&cfg, &w->be, &w->fs.cache, &w->err);
	}
	/* The name may be taken by a daemon whose mount somebody still holds:
	 * then this is one more node (rule 21). */
	for (unsigned i = 1; i <= INSTANCES; i++) {
		free(w->instance);
		w->instance = places_instance(w->source, w->dir);
		if (i > 1) {
			char *first = w->instance;

			w->instance = xasprintf("%s-%u", first, i);
			free(first);
		}
		cfg.instance = w->instance;
		r = cache_new(&cfg, &w->be, &w->fs.cache, &w->err);
		if (r != -EBUSY)
			break;
	}
	return r;
}

static int
build_held(struct worker *w)
{
	struct wrap_retry_config retry = {
		.hard = w->opt.hard,
		.timeo_ns = w->opt.timeo,
		.backoff_min_ns = 100 * NSEC_PER_MSEC,
		.backoff_max_ns = 5 * NSEC_PER_SEC,
	};
	struct backend *be;
	int r;

	r = wrap_retry_new(&w->be, &retry, &be);
	if (r < 0)
		return err_set(&w->err, r, "retry: %s", strerror(-r));
	w->be = be;
	r = open_cache(w);
	if (r < 0)
		return r;
	takeover(&w->fs);
	w->fs.io = pool_new("io", w->opt.io_threads);
	w->fs.commit = pool_new("commit", w->opt.io_threads);
	w->fs.notify = notify_new(&w->fs);
	r = fs_ops_init(&w->fs);
	if (r < 0)
		return err_set(&w->err, r, "operations: %s", strerror(-r));
	handles_restore(w->fs.handles);
	w->up = true;
	run_soon(&w->fs, recover, &w->fs);
	if (w->control)
		control_ready(w->control);
	say(LINK_PROBED, w->instance);
	return 0;
}

/* The store is known: everything above it. */
static int
build(struct worker *w)
{
	int r;

	reload_hold(w->fs.reload);
	r = build_held(w);
	reload_go(w->fs.reload);
	return r;
}

/* --- serving -------------------------------------------------------------- */

/* Waits for the mount, then answers INIT. */
static int
join_mount(struct worker *w)
{
	struct control_info info = {
		.fs = &w->fs,
		.source = w->source,
		.dir = w->dir,
		.supervisor = getppid(),
		.worker = w->number,
		.link = WORKER_LINK_FD,
		.instance = &w->instance,
		.last_end = NULL,
	};
	_cleanup_free_ struct link_msg *m = xmalloc(sizeof(*m));
	int r;

	if (link_recv(WORKER_LINK_FD, m) < 0 || m->kind != LINK_GO)
		return err_set(&w->err, -EPIPE, "the supervisor has gone");
	r = session_new(&w->fs, m->fds[0], &w->session, &w->err);
	if (r < 0)
		return r;
	if (*m->text) {
		w->last_end = xstrdup(m->text + 1);
		info.last_end = w->last_end;
		info.crash_loop = *m->text == '!';
	}
	w->control_fd = m->fds[1];
	if (m->fds[1] >= 0)
		w->control = control_new(m->fds[1], &info);
	if (w->up && w->control)
		control_ready(w->control);
	return session_init(w->session, &w->err);
}

static int
start_serving(struct worker *w)
{
	return session_start(w->session, &w->err);
}

static void
on_drain(struct worker *w)
{
	_cleanup_err_ struct err err = ERR_INIT;

	if (w->up && control_drain(&w->fs, &err) < 0)
		say(LINK_DRAINED, err_words(&err));
	else
		say(LINK_DRAINED, NULL);
}

/* drain blocks; other messages don't come while it runs. */
static void *
drain_thread(void *arg)
{
	on_drain(arg);
	return NULL;
}

static void
start_detached(void *(*fn)(void *), void *arg)
{
	if (thread_start(NULL, fn, arg) != 0)
		fn(arg);
}

static int
probed(struct worker *w)
{
	int r;

	pthread_join(w->prober, NULL);
	w->probing = false;
	log_warn("worker", "%s answers", w->source);
	r = build(w);
	if (r < 0)
		return r;
	return start_serving(w);
}

static void *
leave_thread(void *arg)
{
	struct worker *w = arg;

	handover_leave(&w->fs, w->up);
}

/* The supervisor was killed (rule 24).  One that dies at once again is not
 * followed at once. */
static void
new_supervisor(struct worker *w)
{
	const struct handover h = {
		.fs = &w->fs,
		.number = w->number,
		.foreground = w->foreground,
		.instance = w->instance,
		.source = w->source,
		.dir = w->dir,
		.control = w->control_fd,
	};
	_cleanup_err_ struct err err = ERR_INIT;
	int64_t since = clock_mono_ns() - w->adopted_at;

	if (w->adopted_at && since < SUPERVISOR_PAUSE)
		poll(NULL, 0, (SUPERVISOR_PAUSE - since) / NSEC_PER_MSEC + 1);
	log_error("worker", "the supervisor has gone; starting another one");
	while (handover_supervisor(&h, &err) < 0) {
		log_error("worker", "%s", err_words(&err));
		poll(NULL, 0, SUPERVISOR_PAUSE / NSEC_PER_MSEC);
	}
	w->adopted_at = clock_mono_ns();
}

/* Until the mount is gone. */
static int
serve(struct worker *w)
{
	_cleanup_free_ struct link_msg *m = xmalloc(sizeof(*m));
	const int link = WORKER_LINK_FD;
	int r;

	for (;;) {
		struct pollfd p[3] = {
			{ .fd = link, .events = POLLIN },
			{ .fd = session_end_fd(w->session), .events = POLLIN },
			{ .fd = w->probing ? w->probed_fd : -1,
			  .events = POLLIN },
		};

		/* Nobody reads the mount while the store is down, so that its
		 * end must be looked for. */
		if (poll(p, 3, w->probing ? 200 : -1) < 0 && errno != EINTR)
			return err_set(&w->err, -errno, "poll: %s",
				       strerror(errno));
		if ((p[1].revents & POLLIN) ||
		    (w->probing && session_is_gone(w->session)))
			return 0;
		if (p[2].revents & POLLIN) {
			r = probed(w);
			if (r < 0)
				return r;
		}
		if (!(p[0].revents & (POLLIN | POLLHUP)))
			continue;
		if (link_recv(link, m) < 0) {
			if (session_is_gone(w->session))
				return 0;
			new_supervisor(w);
		} else if (m->kind == LINK_ADOPTED) {
			control_adopted(w->control,
					(pid_t)strtol(m->text, NULL, 10));
		} else if (m->kind == LINK_LEAVE) {
			start_detached(leave_thread, w);
		} else if (m->kind == LINK_PING) {
			if (session_is_well(w->session, w->opt.heartbeat))
				say(LINK_PONG, NULL);
		} else if (m->kind == LINK_DRAIN) {
			start_detached(drain_thread, w);
		} else if (m->kind == LINK_RELOAD) {
			struct reload_result res = { BUF_INIT, BUF_INIT };

			reload_config(w->fs.reload, &res, NULL);
			reload_result_release(&res);
		}
	}
}

/* --- the end -------------------------------------------------------------- */

/* What is unsent has drain_timeout; then it is cancelled, and what does not
 * come back from that is left to the journal. */
static void *
end_thread(void *arg)
{
	struct worker *w = arg;
	struct pollfd p = { .fd = w->finished_fd, .events = POLLIN };
	struct timespec t = ns_timespec(w->fs.drain_timeout);
	sigset_t all;

	sigfillset(&all); /* none ends the wait */
	if (ppoll(&p, 1, &t, &all) != 0)
		return NULL;
	atomic_store(&w->fs.stopping, 1);
	t = (struct timespec){ .tv_sec = END_GRACE };
	if (ppoll(&p, 1, &t, &all) != 0)
		return NULL;
	log_error("worker", "%s: not everything was sent within "
			    "drain_timeout; it stays in the cache directory",
		  w->dir);
	_exit(WORKER_LEFT);
}

static int
finish(struct worker *w)
{
	const uint64_t one = 1;
	bool ending = false;
	pthread_t ender;
	int left = 0;

	log_info("worker", "%s is unmounted", w->dir);
	session_join(w->session);
	if (w->control)
		control_ended(w->control);
	if (w->probing) {
		atomic_store(&w->fs.stopping, 1);
		pthread_join(w->prober, NULL);
	}
	reload_stop(w->fs.reload);
	if (w->up) {
		ending = pthread_create(&ender, NULL, end_thread, w) == 0;
		fs_ops_release(&w->fs);
		pool_free(w->fs.io);
		pool_free(w->fs.commit);
		left = control_drain(&w->fs, &w->err);
		if (left < 0)
			log_error("worker", "%s: %s; it stays in the cache "
					    "directory",
				  w->dir, err_words(&w->err));
	}
	if (w->control)
		control_finish(w->control,
			       left < 0 ? err_words(&w->err) : NULL);
	control_free(w->control);
	notify_free(w->fs.notify);
	w->fs.notify = NULL;
	session_free(w->session);
	passthrough_free(w->fs.passthrough);
	if (w->up)
		cache_free(w->fs.cache);
	else
		backend_free(w->be);
	if (ending) {
		if (write(w->finished_fd, &one, sizeof(one)) < 0)
			pthread_cancel(ender);
		pthread_join(ender, NULL);
	}
	return left < 0 ? WORKER_LEFT : WORKER_ENDED;
}

/* --- start ---------------------------------------------------------------- */

static int
parse(struct worker *w, int argc, char **argv)
{
	bool foreground = argc > 3 && strcmp(argv[3], "foreground") == 0;

	w->foreground = foreground;
	int r;

	if (argc < 7)
		return err_set(&w->err, -EINVAL,
			       "%s is for sharedfs itself; use mount",
			       WORKER_ARG);
	w->number = strtoul(argv[2], NULL, 10);
	w->instance = xstrdup(argv[4]);
	w->source = argv[5];
	w->dir = argv[6];
	/* What the supervisor has read from file and environment is in argv. */
	r = options_init_from(&w->opt, NULL, NULL, &w->err);
	for (int i = 7; r == 0 && i < argc; i++)
		r = options_take_arg(&w->opt, argv[i], &w->err);
	if (r == 0)
		r = logging_start(&w->opt, foreground, &w->err);
	if (r == 0 && w->opt.map_uid)
		r = idmap_parse(w->opt.map_uid, &w->fs.uids, &w->err);
	if (r == 0 && w->opt.map_gid)
		r = idmap_parse(w->opt.map_gid, &w->fs.gids, &w->err);
	if (r == 0)
		w->fs.reload = reload_new(&w->fs, &w->opt, foreground,
					  WORKER_LINK_FD);
	return r;
}

static void
process_set_up(void)
{
	struct rlimit lim;

	prctl(PR_SET_NAME, "sharedfs-worker");
	/* The supervisor says when it is time to go; a signal to the whole
	 * group must not end what is being sent. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	confine_worker();
}

/* What an earlier worker of this mount knew holds, so that a takeover need not
 * wait for the store.  0, 1 or < 0 as probe_at_start(). */
static int
know_store(struct worker *w)
{
	_cleanup_free_ char *facts = table_facts(w->fs.table);

	if (facts && be_trust(w->be, facts) == 0)
		return 0;
	return probe_at_start(w);
}

static int
run(struct worker *w)
{
	int r, down;

	r = table_attach(WORKER_TABLE_FD, &w->fs.table, &w->err);
	if (r < 0 || (r = open_backend(w)) < 0)
		return refuse(w);
	down = know_store(w);
	if (down < 0)
		return refuse(w);
	if (down) {
		_cleanup_free_ char *words = xasprintf(
			"%s can't be reached: %s; %scalls wait until it answers",
			w->source, err_words(&w->err),
			w->number ? "" : "mounting all the same, ");

		log_warn("worker", "%s", words);
		say(LINK_WARN, words);
		say(LINK_PROBED, NULL);
	} else if (build(w) < 0) {
		return refuse(w);
	}
	if (join_mount(w) < 0)
		return refuse(w);
	if (!down && start_serving(w) < 0)
		return refuse(w);
	say(LINK_LIVE, NULL);
	if (down) {
		w->probing = pthread_create(&w->prober, NULL, prober_thread,
					    w) == 0;
		if (!w->probing) {
			err_set(&w->err, -EAGAIN, "no thread can be started");
			return refuse(w);
		}
	}
	if (serve(w) < 0)
		return refuse(w);
	return finish(w);
}

int
worker_main(int argc, char **argv)
{
	struct worker *w = xcalloc(1, sizeof(*w));
	int code;

	process_set_up();
	w->fs.opt = &w->opt;
	w->probed_fd = eventfd(0, EFD_CLOEXEC);
	w->finished_fd = eventfd(0, EFD_CLOEXEC);
	if (parse(w, argc, argv) < 0)
		code = refuse(w);
	else
		code = run(w);
	if (code != WORKER_ENDED && code != WORKER_LEFT)
		_exit(code); /* threads may still run */
	table_detach(w->fs.table);
	reload_free(w->fs.reload);
	options_release(&w->opt);
	idmap_release(&w->fs.uids);
	idmap_release(&w->fs.gids);
	close(w->probed_fd);
	close(w->finished_fd);
	err_release(&w->err);
	free(w->instance);
	free(w->last_end);
	free(w);
	say(LINK_DONE, code == WORKER_ENDED ? "0" : "3");
	return code;
}
