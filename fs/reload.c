/* SPDX-License-Identifier: MIT */
/* See reload.h.  One reload at a time; texts have a lock of their own, so that
 * status never waits for the disk. */
#include <config.h>

#include "fs/reload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/link.h"
#include "fs/logging.h"
#include "fs/options-priv.h"

/* What can change under a live mount; each is passed on in apply(). */
static const int live[] = {
	OPT_ID_actimeo,	       OPT_ID_negative_timeout,
	OPT_ID_stale_if_error,
	OPT_ID_cto,	       OPT_ID_conflict,
	OPT_ID_excl,	       OPT_ID_cache_size,
	OPT_ID_cache_free,     OPT_ID_readahead,
	OPT_ID_drain_timeout,  OPT_ID_hard,
	OPT_ID_timeo,	       OPT_ID_request_timeout,
	OPT_ID_connect_timeout, OPT_ID_io_threads,
	OPT_ID_log_level,      OPT_ID_log_format,
	OPT_ID_log_file,
};

struct reload {
	struct fs *fs;
	struct options *opt;
	bool foreground;
	int link;
	pthread_mutex_t lock; /* one reload, or the building of the chain */
	bool stopped;	      /* lock */
	pthread_mutex_t text_lock; /* texts and strings of *opt; a leaf */
};

struct reload *
reload_new(struct fs *fs, struct options *opt, bool foreground, int link)
{
	struct reload *r = xcalloc(1, sizeof(*r));

	r->fs = fs;
	r->opt = opt;
	r->foreground = foreground;
	r->link = link;
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->text_lock, NULL);
	atomic_store(&fs->actimeo, opt->actimeo);
	atomic_store(&fs->negative_timeout, opt->negative_timeout);
	atomic_store(&fs->drain_timeout, opt->drain_timeout);
	return r;
}

void
reload_free(struct reload *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->text_lock);
	free(r);
}

void
reload_hold(struct reload *r)
{
	pthread_mutex_lock(&r->lock);
}

void
reload_go(struct reload *r)
{
	pthread_mutex_unlock(&r->lock);
}

void
reload_stop(struct reload *r)
{
	pthread_mutex_lock(&r->lock);
	r->stopped = true;
	pthread_mutex_unlock(&r->lock);
}

void
reload_result_release(struct reload_result *res)
{
	buf_release(&res->changed);
	buf_release(&res->left);
}

static bool
is_live(int id)
{
	for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
		if (live[i] == id)
			return true;
	}
	return false;
}

static bool
differs(const struct options *a, const struct options *b, int id)
{
	const char *x = a->text[id], *y = b->text[id];

	return strcmp(x ? x : "", y ? y : "") != 0;
}

static void
add_words(struct buf *b, int id, const char *new, const char *old)
{
	buf_addf(b, "%s%s=%s (%s %s)", b->len ? "\n" : "",
		 options_table[id].name, new ? new : "",
		 is_live(id) ? "was" : "is", old ? old : "not set");
}

/* --- to those who work by them -------------------------------------------- */

static void
apply(struct reload *r)
{
	const struct options *o = r->opt;
	struct fs *fs = r->fs;
	struct cache_config limits = {
		.size_max = o->cache_size,
		.free_min = o->cache_free,
		.actimeo_ns = o->actimeo,
		.negative_ns = o->negative_timeout,
		.stale_ns = o->stale_if_error,
		.cto = o->cto,
		.conflict_fail = strcmp(o->conflict, "fail") == 0,
		.exclusive_at_close = strcmp(o->excl, "close") == 0,
		.readahead = o->readahead,
	};
	struct be_config cfg = options_be_config(o);
	struct backend *be;

	atomic_store(&fs->actimeo, o->actimeo);
	atomic_store(&fs->negative_timeout, o->negative_timeout);
	atomic_store(&fs->drain_timeout, o->drain_timeout);
	/* Not there yet: it will be built by what the options are now. */
	if (!fs->cache)
		return;
	be = cache_backend(fs->cache);
	cache_set_limits(fs->cache, &limits);
	wrap_retry_set(be, o->hard, o->timeo);
	be_reload(be, &cfg);
	pool_set_max(fs->io, o->io_threads);
	pool_set_max(fs->commit, o->io_threads);
}

static void
tell_supervisor(struct reload *r, int id)
{
	_cleanup_free_ char *arg = options_arg(r->opt, id);

	if (!arg)
		arg = xasprintf("default:--%s", options_table[id].name);
	link_send(r->link, LINK_OPTION, arg, -1, -1);
}

/* wanted: every option, or with `named` those of rank OPTIONS_CLI. */
static int
change_locked(struct reload *r, const struct options *wanted, bool named,
	      bool dry, struct reload_result *res, struct err *err)
{
	struct options *o = r->opt;
	int rc = 0;

	if (r->stopped)
		return err_set(err, -ESHUTDOWN, "the mount is going away");
	for (int i = 0; i < OPT_COUNT; i++) {
		if ((named && wanted->from[i] != OPTIONS_CLI) ||
		    !differs(o, wanted, i))
			continue;
		add_words(is_live(i) ? &res->changed : &res->left, i,
			  wanted->text[i], o->text[i]);
	}
	if (named && res->left.len)
		return err_set(err, -EOPNOTSUPP,
			       "cannot be changed on a live mount: %s; unmount "
			       "and mount again",
			       buf_str(&res->left));
	if (dry)
		return 0;
	/* The file may not be there to be opened: before anything else. */
	if (!named || differs(o, wanted, OPT_ID_log_file)) {
		struct options sinks = *o;

		if (!named || wanted->from[OPT_ID_log_file] == OPTIONS_CLI)
			sinks.log_file = wanted->log_file;
		rc = logging_change(&sinks, r->foreground, err);
		if (rc < 0)
			return rc;
	}
	for (int i = 0; i < OPT_COUNT; i++) {
		if ((named && wanted->from[i] != OPTIONS_CLI) || !is_live(i) ||
		    (!differs(o, wanted, i) && wanted->from[i] == o->from[i]))
			continue;
		pthread_mutex_lock(&r->text_lock);
		options_replace(o, i, wanted->text[i], wanted->from[i], NULL);
		pthread_mutex_unlock(&r->text_lock);
		tell_supervisor(r, i);
	}
	logging_change(o, r->foreground, NULL);
	apply(r);
	return 0;
}

static void
log_result(int rc, struct reload_result *res, const struct err *err)
{
	if (rc < 0)
		log_error("reload", "%s; nothing was changed", err_words(err));
	else
		log_info("reload", "%s", res->changed.len
						  ? buf_str(&res->changed)
						  : "no option has changed");
	if (rc == 0 && res->left.len)
		log_warn("reload",
			 "takes effect when the share is mounted again: %s",
			 buf_str(&res->left));
}

/* As the mount command read them: the command line stays what it was. */
static int
read_again(struct reload *r, struct options *out, struct err *err)
{
	const struct options *o = r->opt;
	int rc = options_init(out, err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < OPT_COUNT && rc == 0; i++) {
		if (o->from[i] == OPTIONS_CLI)
			rc = options_add(out, options_table[i].name,
					 o->text[i] ? o->text[i] : "", err);
	}
	if (rc < 0)
		options_release(out);
	return rc;
}

int
reload_config(struct reload *r, struct reload_result *res, struct err *err)
{
	_cleanup_err_ struct err mine = ERR_INIT;
	struct options wanted;
	int rc;

	if (!err)
		err = &mine;
	pthread_mutex_lock(&r->lock);
	rc = read_again(r, &wanted, err);
	if (rc == 0) {
		rc = change_locked(r, &wanted, false, false, res, err);
		options_release(&wanted);
	}
	pthread_mutex_unlock(&r->lock);
	log_result(rc, res, err);
	return rc;
}

int
reload_named(struct reload *r, const struct options *named, bool dry,
	     struct reload_result *res, struct err *err)
{
	int rc;

	pthread_mutex_lock(&r->lock);
	rc = change_locked(r, named, true, dry, res, err);
	pthread_mutex_unlock(&r->lock);
	if (!dry && rc == 0)
		log_result(rc, res, err);
	return rc;
}

void
reload_each_option(struct reload *r,
		   void (*fn)(void *arg, const char *name, const char *value),
		   void *arg)
{
	pthread_mutex_lock(&r->text_lock);
	options_each(r->opt, fn, arg);
	pthread_mutex_unlock(&r->text_lock);
}
