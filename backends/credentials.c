/* SPDX-License-Identifier: MIT */
/*
 * The chain of credentials.h: who is asked, and when again.
 *
 * Keys that expire go through these states, by the clock:
 *
 *   fresh ──► getting old ──► old ──► expired
 *        15 min before   10 min before   at the end
 *
 * Getting old: one thread asks, the others go on with what is there.  Old: all
 * wait for the answer.  In both a failure is logged and the keys are used on,
 * as they are valid.  Short-lived keys have shorter windows.
 */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/secret.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/xalloc.h"

#define ADVISORY_S (15 * 60)
#define MANDATORY_S (10 * 60)
/* After an attempt that did not help, while the keys are still valid. */
#define RETRY_S 60
/* A store that refuses new keys over and over must not wear out the source. */
#define INVALIDATE_MIN_S 1

static const struct {
	const char *name;
	cred_source_fn *ask;
} sources[] = {
	{ "passwd_file", cred_from_passwd },
	{ "environment", cred_from_env },
	{ "role of a profile", cred_from_role_profile },
	{ "web identity", cred_from_web_identity },
	{ "profile", cred_from_profile },
	{ "container", cred_from_container },
	{ "instance metadata", cred_from_imds },
};
#define NSOURCES (sizeof(sources) / sizeof(sources[0]))

struct cred_chain {
	struct cred_conf conf;

	pthread_mutex_t lock; /* all below; not held while a source is asked */
	pthread_cond_t answered;
	bool asking;	   /* a thread is */
	unsigned answers;  /* counts them */
	int last_ret;	   /* of the last one */
	char *last_words;  /* NULL = it went well */
	int source;	   /* index of the one that has keys; -1: not known */
	bool have;	   /* doc holds keys */
	bool refused;	   /* the store did not take them */
	struct cred_doc doc;
	int64_t loaded;	   /* when; Unix seconds, as all here */
	int64_t old_soon, old, dead; /* INT64_MAX: never */
	int64_t retry_at;  /* no attempt before, while valid */
	char *region;	   /* set once, then constant */
};

static int64_t
wall_now(void *arg)
{
	return time(NULL);
}

static char *
option(const struct be_config *cfg, const char *name)
{
	const char *v = cfg && cfg->get ? cfg->get(cfg->arg, name) : NULL;

	return v && *v ? xstrdup(v) : NULL;
}

int
cred_chain_new(const struct be_config *cfg, const char *bucket,
	       struct cred_chain **out, struct err *err)
{
	struct cred_chain *c = xcalloc(1, sizeof(*c));
	struct cred_conf *conf = &c->conf;
	const char *env = cred_env("AWS_PROFILE");

	secret_start();
	if (!env)
		env = cred_env("AWS_DEFAULT_PROFILE");
	conf->bucket = xstrdup(bucket);
	conf->passwd_file = option(cfg, "passwd_file");
	conf->profile = option(cfg, "profile");
	conf->no_env = conf->profile != NULL;
	conf->profile_given = conf->profile || env;
	if (!conf->profile)
		conf->profile = xstrdup(env ? env : "default");
	conf->ca_bundle = option(cfg, "ca_bundle");
	if (!conf->ca_bundle && cred_env("AWS_CA_BUNDLE"))
		conf->ca_bundle = xstrdup(cred_env("AWS_CA_BUNDLE"));
	conf->limits = (struct cred_limits){
		.imds_ms = 1000,
		.container_ms = 2000,
		.container_attempts = 3,
		.pause_ms = 1000,
		.sts_ms = 10000,
		.process_ms = 60000,
	};
	conf->now = wall_now;
	c->source = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->answered, NULL);
	*out = c;
	return 0;
}

void
cred_chain_free(struct cred_chain *c)
{
	if (!c)
		return;
	free(c->conf.bucket);
	free(c->conf.passwd_file);
	free(c->conf.profile);
	free(c->conf.ca_bundle);
	free(c->last_words);
	free(c->region);
	cred_doc_release(&c->doc);
	pthread_cond_destroy(&c->answered);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct cred_conf *
cred_chain_conf(struct cred_chain *c)
{
	return &c->conf;
}

int
cred_from_env(const struct cred_conf *conf, struct cred_doc *out,
	      struct err *err)
{
	const char *key = cred_env("AWS_ACCESS_KEY_ID");
	const char *secret = cred_env("AWS_SECRET_ACCESS_KEY");
	const char *token = cred_env("AWS_SESSION_TOKEN");
	int ret;

	if (!key)
		return err_set(err, -ENOENT, "AWS_ACCESS_KEY_ID is not set");
	if (!token)
		token = cred_env("AWS_SECURITY_TOKEN");
	ret = cred_fill(&out->cred, key, secret, token, err);
	if (ret < 0)
		err_prefix(err, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
				"AWS_SESSION_TOKEN");
	return ret;
}

/* --- one search ------------------------------------------------------------ */

static int
search(const struct cred_conf *conf, int *source, struct cred_doc *out,
       struct err *err)
{
	_cleanup_buf_ struct buf tried = BUF_INIT;

	for (size_t i = 0; i < NSOURCES; i++) {
		_cleanup_err_ struct err why = ERR_INIT;
		int ret;

		if (conf->no_env && sources[i].ask == cred_from_env)
			continue;
		ret = sources[i].ask(conf, out, &why);
		if (ret == 0) {
			*source = i;
			return 0;
		}
		if (ret != -ENOENT)
			return err_set(err, ret, "%s", err_words(&why));
		buf_addf(&tried, "%s%s (%s)", tried.len ? "; " : "",
			 sources[i].name, err_words(&why));
	}
	return err_set(err, -EACCES, "none found; tried %s",
		       buf_str(&tried));
}

/* No lock held.  *source: who gave keys before, or -1. */
static int
ask(const struct cred_conf *conf, int *source, struct cred_doc *out,
    struct err *err)
{
	int ret;

	if (*source < 0)
		return search(conf, source, out, err);
	ret = sources[*source].ask(conf, out, err);
	if (ret == -ENOENT)
		ret = search(conf, source, out, err);
	/* It worked before, so it is an outage and not a mistake. */
	return ret < 0 ? -EAGAIN : 0;
}

/* --- what there is, and how old -------------------------------------------- */

enum age { FRESH, OLD_SOON, OLD, DEAD };

static enum age
age_locked(const struct cred_chain *c, int64_t now)
{
	if (!c->have || c->refused || now >= c->dead)
		return DEAD;
	if (now < c->retry_at)
		return FRESH;
	return now >= c->old ? OLD : now >= c->old_soon ? OLD_SOON : FRESH;
}

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Takes over d. */
static void
install_locked(struct cred_chain *c, int source, struct cred_doc *d,
	       int64_t now)
{
	int64_t life = d->expires - now;

	cred_doc_release(&c->doc);
	c->doc = *d;
	*d = (struct cred_doc)CRED_DOC_INIT;
	c->source = source;
	c->have = true;
	c->refused = false;
	c->loaded = now;
	c->retry_at = 0;
	if (c->doc.region && !c->region)
		c->region = xstrdup(c->doc.region);
	if (!c->doc.expires) {
		c->old_soon = c->old = c->dead = INT64_MAX;
	} else if (life <= 2 * RETRY_S) {
		/* Handed out at their end, or our clock is wrong: the store
		 * knows better than we whether they are good. */
		c->old_soon = c->old = now + RETRY_S;
		c->dead = now + RETRY_S > d->expires ? now + RETRY_S
						     : c->doc.expires;
	} else {
		c->old_soon = c->doc.expires - min64(ADVISORY_S, life / 3);
		c->old = c->doc.expires - min64(MANDATORY_S, life / 6);
		c->dead = c->doc.expires;
	}
}

static void
copy_locked(const struct cred_chain *c, struct cred *out)
{
	const struct cred *k = &c->doc.cred;

	out->access_key = xstrdup(k->access_key);
	out->secret_key = xstrdup(k->secret_key);
	out->token = k->token ? xstrdup(k->token) : NULL;
}

/* Drops the lock while asking.  The result is in last_ret, last_words. */
static void
refresh_locked(struct cred_chain *c)
{
	_cleanup_cred_doc_ struct cred_doc d = CRED_DOC_INIT;
	_cleanup_err_ struct err why = ERR_INIT;
	int source = c->source;
	int64_t now;
	int ret;

	c->asking = true;
	pthread_mutex_unlock(&c->lock);
	ret = ask(&c->conf, &source, &d, &why);
	now = c->conf.now(c->conf.now_arg);
	pthread_mutex_lock(&c->lock);
	c->asking = false;
	c->answers++;
	c->last_ret = ret;
	free(c->last_words);
	c->last_words = NULL;
	if (ret == 0) {
		install_locked(c, source, &d, now);
	} else {
		c->last_words = xstrdup(err_words(&why));
		c->retry_at = now + RETRY_S;
	}
	pthread_cond_broadcast(&c->answered);
}

int
cred_get(struct cred_chain *c, struct cred *out, struct err *err)
{
	bool asked = false;
	char *warn = NULL;
	enum age age;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		age = age_locked(c, c->conf.now(c->conf.now_arg));
		if (age == FRESH || (age == OLD_SOON && c->asking))
			break;
		if (asked && age == DEAD) {
			ret = err_set(err, c->last_ret, "%s", c->last_words);
			break;
		}
		if (asked)
			break;
		asked = true;
		if (!c->asking) {
			refresh_locked(c);
			if (c->last_words)
				warn = xstrdup(c->last_words);
		} else {
			unsigned before = c->answers;

			while (c->answers == before)
				pthread_cond_wait(&c->answered, &c->lock);
		}
		/* Whatever the clock says, an answer just given is used. */
		if (c->last_ret == 0)
			break;
	}
	if (ret == 0)
		copy_locked(c, out);
	pthread_mutex_unlock(&c->lock);
	if (warn && ret == 0)
		log_warn("s3", "new keys can't be had, the present ones are "
			       "used on: %s",
			 warn);
	free(warn);
	return ret;
}

void
cred_invalidate(struct cred_chain *c, const struct cred *used)
{
	const struct cred *k = &c->doc.cred;

	pthread_mutex_lock(&c->lock);
	if (c->have && used->access_key &&
	    strcmp(k->access_key, used->access_key) == 0 &&
	    strcmp(k->secret_key, used->secret_key) == 0 &&
	    strcmp(k->token ? k->token : "", used->token ? used->token : "") ==
		    0 &&
	    c->conf.now(c->conf.now_arg) - c->loaded >= INVALIDATE_MIN_S)
		c->refused = true;
	pthread_mutex_unlock(&c->lock);
}

void
cred_forget(struct cred_chain *c)
{
	pthread_mutex_lock(&c->lock);
	c->old = c->old_soon = INT64_MIN;
	c->retry_at = 0;
	pthread_mutex_unlock(&c->lock);
}

const char *
cred_region(struct cred_chain *c)
{
	const char *env = cred_env("AWS_REGION");
	char *found;

	if (!env)
		env = cred_env("AWS_DEFAULT_REGION");
	if (env)
		return env;
	pthread_mutex_lock(&c->lock);
	if (!c->region) {
		pthread_mutex_unlock(&c->lock);
		found = cred_profile_value(&c->conf, "region");
		pthread_mutex_lock(&c->lock);
		if (!c->region)
			c->region = found;
		else
			free(found);
	}
	found = c->region;
	pthread_mutex_unlock(&c->lock);
	return found;
}
