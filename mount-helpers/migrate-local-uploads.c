/* SPDX-License-Identifier: MIT */
/* migrate-local-uploads: a live upload directory becomes a share. */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/places.h"
#include "mount-helpers/migrate-mount.h"

#define PROBE_WAIT (15 * NSEC_PER_SEC) /* for a store that is down */
#define BEHIND_NS (10 * NSEC_PER_SEC) /* with more than --max-lag */
#define PAUSE_MS 50
#define PASSES_MAX 5 /* until what differs is accepted as "still changing" */

struct be_ctx
mig_ctx(struct mig *m, struct err *err)
{
	return (struct be_ctx){
		.uid = geteuid(),
		.gid = getegid(),
		.cancel = &m->stop,
		.err = err,
	};
}

static int
complain(const struct err *err, int code)
{
	fprintf(stderr, "migrate-local-uploads: %s\n", err_words(err));
	return code;
}

/* --- what must be there ---------------------------------------------------- */

static int
open_dir(struct mig *m, struct err *err)
{
	m->dir = realpath(m->a->dir, NULL);
	if (!m->dir)
		return err_set(err, -errno, "%s: %s", m->a->dir,
			       strerror(errno));
	m->root = open(m->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root < 0 || fstat(m->root, &m->root_st) < 0)
		return err_set(err, -errno, "%s: %s", m->dir, strerror(errno));
	m->dev = m->root_st.st_dev;
	if (strcmp(m->dir, "/") == 0)
		return err_set(err, -EINVAL,
			       "/ can't become a share; name the upload "
			       "directory");
	return 0;
}

static bool
is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]);
}

/* Neither may be a part of the other. */
static int
apart(struct mig *m, const char *place, const char *what, struct err *err)
{
	_cleanup_free_ char *at = realpath(place, NULL);

	if (at && (is_below(at, m->dir) || is_below(m->dir, at)))
		return err_set(err, -EINVAL,
			       "%s (%s) and %s: one is inside the other", what,
			       at, m->dir);
	return 0;
}

static int
check_places(struct mig *m, struct err *err)
{
	_cleanup_free_ char *cache = places_cache_dir(&m->a->opt, NULL);
	const char *s = m->a->source;
	int r = 0;

	if (strncmp(s, "file://", 7) == 0)
		s += 7;
	if (*s == '/')
		r = apart(m, s, "SOURCE", err);
	if (r == 0 && cache)
		r = apart(m, cache, "the cache", err);
	return r;
}

static int
read_ids(struct mig *m, struct err *err)
{
	int r = 0;

	if (m->a->opt.map_uid)
		r = idmap_parse(m->a->opt.map_uid, &m->uids, err);
	if (r == 0 && m->a->opt.map_gid)
		r = idmap_parse(m->a->opt.map_gid, &m->gids, err);
	return r;
}

static int
open_store(struct mig *m, struct err *err)
{
	struct be_config cfg = options_be_config(&m->a->opt);
	struct wrap_retry_config retry = {
		.hard = m->a->opt.hard,
		.timeo_ns = m->a->opt.timeo,
		.backoff_min_ns = 100 * NSEC_PER_MSEC,
		.backoff_max_ns = 5 * NSEC_PER_SEC,
	};
	struct backend *be;
	struct be_ctx ctx;
	int r = backend_open(m->a->source, &cfg, &m->be, err);

	if (r < 0)
		return r;
	r = wrap_retry_new(&m->be, &retry, &be);
	if (r < 0)
		return err_set(err, r, "retry: %s", strerror(-r));
	m->be = be;
	ctx = mig_ctx(m, err);
	ctx.deadline_ns = clock_mono_ns() + PROBE_WAIT;
	r = be_probe(m->be, &ctx);
	/* A store that is down makes retry wait; here is somebody to tell. */
	if (r < 0)
		return err_prefix(err, "%s", m->a->source);
	if (!m->jobs)
		m->jobs = m->be->caps.random_write ? 16 : 32;
	return 0;
}

static void
host_name(struct mig *m)
{
	if (gethostname(m->host, sizeof(m->host) - 1) < 0 || !*m->host)
		memcpy(m->host, "host", 5);
	for (char *p = m->host; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-')
			*p = '-';
}

/* Temporary names that a run left behind when it was killed. */
static void
clear_temps(struct mig *m)
{
	size_t n;
	char **temps = mig_journal_temps(m->journal, &n);

	for (size_t i = 0; i < n; i++) {
		struct be_ctx ctx = mig_ctx(m, NULL);
		struct be_opid id;
		int r;

		be_opid_new(&id);
		r = be_unlink(m->be, &ctx, temps[i], &mig_any, &id);
		if (r == 0 || r == -ENOENT)
			mig_journal_temp(m->journal, temps[i], false);
		free(temps[i]);
	}
	free(temps);
}

/* --- the steps ------------------------------------------------------------- */

/* Passes until one finds nothing to do; with events one is enough. */
static int
copy(struct mig *m)
{
	uint64_t changes = 1;
	int r = 0;

	for (int i = 0; r == 0 && changes && i < PASSES_MAX; i++) {
		mig_phase(m, i ? "catching up" : "copying");
		/* What was changed a moment ago is looked at again; five times
		 * within that moment would tell nothing. */
		if (i > 1)
			poll(NULL, 0, PAUSE_MS);
		r = mig_pass(m, &changes);
		if (m->follow && mig_follow_events(m->follow))
			return r < 0 ? MIG_FAILED : MIG_OK;
	}
	if (r < 0)
		return MIG_FAILED;
	return changes && !m->follow ? MIG_CHANGING : MIG_OK;
}

static bool
enter_was_pressed(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char line[256];

	return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, line, sizeof(line)) >= 0;
}

struct behind {
	int64_t since;
	bool said;
};

/* An application that changes things faster than the throttle lets them
 * through would never be caught up with; one that is faster than the store, by
 * nothing. */
static void
look_behind(struct mig *m, bool small, int64_t lag, struct behind *b)
{
	int64_t now = clock_mono_ns();
	bool late;

	if (small)
		b->since = now;
	late = now - b->since > BEHIND_NS;
	mig_throttle_lift(m, late);
	if (!late || b->said)
		return;
	b->said = true;
	mig_say(m, "changes come faster than they are carried: %.1f s behind%s",
		(double)lag / NSEC_PER_SEC,
		m->a->adaptive ? "; the adaptive throttle does not hold back "
				 "meanwhile" :
				 "");
	if (m->a->cutover)
		mig_say(m,
			"the cut-over waits until that is less than %g s, or "
			"than --max-lag=TIME: programs may wait as long then",
			(double)m->a->lag_ns / NSEC_PER_SEC);
}

/* Until the difference is small, and then as long as asked for. */
static int
keep_up(struct mig *m)
{
	struct behind behind = { .since = clock_mono_ns() };
	int64_t until = m->a->follow && m->a->follow_ns ?
				clock_mono_ns() + m->a->follow_ns : INT64_MAX;
	bool asked = false;
	uint64_t changes;
	int r = 0;

	mig_phase(m, "following");
	while (r == 0 && !atomic_load(&m->stop)) {
		int64_t lag;
		bool small;
		size_t n;

		r = mig_follow_work(m->follow, false, &changes);
		if (clock_mono_ns() >= until)
			break;
		lag = mig_follow_lag(m->follow, &n);
		small = lag <= m->a->lag_ns;
		look_behind(m, small, lag, &behind);
		if (m->a->cutover && small && !m->a->follow) {
			if (m->a->cutover == MIG_CUT_NOW)
				return MIG_OK;
			if (!asked)
				mig_say(m, "ready: press Enter for the "
					   "cut-over");
			asked = true;
			if (enter_was_pressed())
				return MIG_OK;
		}
		poll(NULL, 0, PAUSE_MS);
	}
	for (int i = 0; r == 0 && i < PASSES_MAX; i++) {
		r = mig_follow_work(m->follow, true, &changes);
		if (r == 0 && changes == 0)
			return MIG_OK;
	}
	return r < 0 ? MIG_FAILED : MIG_CHANGING;
}

static int
result(struct mig *m, int code)
{
	if (atomic_load(&m->signal))
		return 128 + atomic_load(&m->signal);
	if (atomic_load(&m->fatal) || code == MIG_FAILED)
		return MIG_FAILED;
	if (mig_listed(m, MIG_DIFFERS))
		return MIG_MISMATCH;
	if (mig_listed(m, MIG_NOT_CARRIED) || mig_listed(m, MIG_COLLISION) ||
	    mig_listed(m, MIG_LEFT_OUT))
		return MIG_NOT_ALL;
	return code;
}

static int
finish(struct mig *m, int code)
{
	_cleanup_err_ struct err err = ERR_INIT;

	code = result(m, code);
	mig_report_stop(m);
	mig_report_print(m);
	/* The store's files have modes of their own; the report has not. */
	umask(022);
	if (m->a->report && mig_report_write(m, m->a->report, code, &err) < 0)
		return complain(&err, code ? code : MIG_FAILED);
	return code;
}

static int
undo(struct mig *m, enum mig_place place)
{
	int code;

	atomic_store(&m->showing, true);
	code = mig_undo(m, place);

	return finish(m, code);
}

static void
verify(struct mig *m)
{
	mig_phase(m, "verifying");
	mig_verify(m);
}

/* Only if everything is in the share that it can have. */
static int
cut_over(struct mig *m)
{
	if (mig_listed(m, MIG_NOT_CARRIED) || mig_listed(m, MIG_COLLISION)) {
		mig_say(m, "no cut-over: not everything is in the share (see "
			   "the list)");
		return MIG_NOT_ALL;
	}
	return mig_cutover(m);
}

/* A cut-over that was done, or begun and not finished. */
static int
go_on(struct mig *m, enum mig_place place)
{
	_cleanup_free_ char *state = mig_journal_value(m->journal, "cutover");
	_cleanup_err_ struct err err = ERR_INIT;
	int code;

	if (place == MIG_PLACE_SHARE && strcmp(state, "over") == 0)
		err_set(&err, -EBUSY, "%s is a share already (%s)", m->dir,
			m->a->source);
	else if (m->a->dry_run ||
		 (place == MIG_PLACE_BARE && !m->a->cutover))
		err_set(&err, -EBUSY,
			"%s became the share, %s.  With --cutover that is "
			"finished now, with --undo it is taken back",
			m->dir,
			place == MIG_PLACE_BARE ?
				"which is not mounted now" :
				"but the run that did it was ended early");
	if (err.code || mig_place_use_old(m, &err) < 0)
		return complain(&err, MIG_USAGE);
	mig_throttle_start(m);
	m->follow = mig_follow_start(m);
	atomic_store(&m->showing, true);
	code = mig_cutover_go_on(m, place);
	if (m->a->verify && !atomic_load(&m->stop))
		verify(m);
	return finish(m, code);
}

static int
run(struct mig *m)
{
	_cleanup_err_ struct err err = ERR_INIT;
	enum mig_place place;
	int code;

	if (open_dir(m, &err) < 0 || check_places(m, &err) < 0 ||
	    read_ids(m, &err) < 0)
		return complain(&err, MIG_USAGE);
	m->throttle = mig_throttle_new(m);
	if (open_store(m, &err) < 0 ||
	    mig_journal_open(m, m->be->id, &m->journal, &err) < 0 ||
	    mig_place_find(m, &place, &err) < 0)
		return complain(&err, atomic_load(&m->signal) ?
					      128 + atomic_load(&m->signal) :
					      MIG_USAGE);
	if (m->a->undo)
		return undo(m, place);
	if (place != MIG_PLACE_TREE)
		return go_on(m, place);
	mig_throttle_start(m);
	if ((m->a->cutover && mig_cutover_check(m, &err) < 0) ||
	    mig_preflight(m, &err) != 0) {
		code = atomic_load(&m->signal) ? 128 + atomic_load(&m->signal) :
						 MIG_USAGE;
		return complain(&err, code);
	}
	if (m->a->dry_run)
		return MIG_OK;
	clear_temps(m);
	if (m->a->follow || m->a->cutover)
		m->follow = mig_follow_start(m);
	atomic_store(&m->showing, true);
	code = copy(m);
	if (m->follow && code == MIG_OK)
		code = keep_up(m);
	if (m->a->cutover && code == MIG_OK)
		code = cut_over(m);
	if (m->a->verify && !atomic_load(&m->stop))
		verify(m);
	return finish(m, code);
}

int
main(int argc, char **argv)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct mig_args args;
	struct mig m = { .a = &args, .root = -1 };
	enum log_level level;
	int code;

	if (mig_args_parse(&args, argc, argv, &err) < 0) {
		complain(&err, 0);
		fprintf(stderr, "(migrate-local-uploads --help tells more)\n");
		return MIG_USAGE;
	}
	if (args.help || args.version) {
		if (args.help)
			fputs(mig_args_usage(), stdout);
		else
			printf("migrate-local-uploads %s\n", PACKAGE_VERSION);
		mig_args_release(&args);
		return fflush(stdout) == 0 ? MIG_OK : MIG_FAILED;
	}
	if (log_level_parse(args.opt.log_level, &level) == 0)
		log_init(level, LOG_TEXT, STDERR_FILENO);
	pthread_mutex_init(&m.keys_lock, NULL);
	pthread_cond_init(&m.keys_freed, NULL);
	m.jobs = args.jobs;
	host_name(&m);
	/* What the store writes must not be cut by our umask. */
	umask(0);
	m.report = mig_report_new(&m);
	mig_report_start(&m);
	code = run(&m);
	mig_report_stop(&m);
	mig_follow_stop(m.follow);
	mig_throttle_free(m.throttle);
	mig_journal_close(m.journal);
	mig_report_free(m.report);
	backend_free(m.be);
	idmap_release(&m.uids);
	idmap_release(&m.gids);
	if (m.root >= 0)
		close(m.root);
	free(m.keys_busy);
	free(m.dir);
	pthread_cond_destroy(&m.keys_freed);
	pthread_mutex_destroy(&m.keys_lock);
	mig_args_release(&args);
	return code;
}
