/* SPDX-License-Identifier: MIT */
/*
 * Options: the table, values with their types and limits, and the names that
 * people bring along from other programs.  See options.h.
 */
#include <config.h>

#include "fs/options.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/nearest.h"
#include "common/units.h"
#include "common/xalloc.h"
#include "fs/options-priv.h"

#define NAME_MAX_LEN 64

const struct opt options_table[OPT_COUNT] = {
#define OPT(type, name, def, aliases, group, help)                             \
	[OPT_ID_##name] = {#name, OPT_##type, offsetof(struct options, name),  \
			   def,	  aliases,    group,                           \
			   help},
#include "fs/options.def"
#undef OPT
};

/* A bare number under these names means MiB, as where they come from. */
static const char *const mib_names[] = {
	"ensure_diskfree",
	"multipart_size",
	"max_cache_size",
};

/* Other programs' ways to say it.  invert: the value is turned round. */
static const struct {
	const char *name, *to, *value;
	bool invert;
} habits[] = {
	{"soft", "hard", NULL, true},
	{"rw", "ro", NULL, true},
	{"noac", "actimeo", "0", false},
};

/* Taken and without effect: what they ask for is always so here. */
static const char *const no_effect[] = {
	"nonempty", "auto_unmount", "big_writes", "subtype", "iam_role", "ecs",
};

/* For mount(8), fstab and systemd; none of our business. */
static const char *const mount_words[] = {
	"_netdev",	 "nofail",     "fail",	     "auto",
	"noauto",	 "user",       "nouser",     "users",
	"nousers",	 "owner",      "noowner",    "group",
	"nogroup",	 "defaults",   "comment",    "uhelper",
	"helper",	 "atime",      "noatime",    "diratime",
	"nodiratime",	 "relatime",   "norelatime", "strictatime",
	"nostrictatime", "lazytime",   "nolazytime", "async",
	"sync",		 "dirsync",    "silent",     "loud",
	"iversion",	 "noiversion", "mand",	     "nomand",
};

static const char *const secret_names[] = {
	"access_key",	 "access_key_id",     "aws_access_key_id",
	"secret_key",	 "secret_access_key", "aws_secret_access_key",
	"session_token", "aws_session_token", "password",
	"passwd",
};

bool
options_one_of(const char *name, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

bool
options_is_mount_word(const char *name)
{
	if (strncasecmp(name, "x-", 2) == 0)
		return true;
	return OPTIONS_ONE_OF(name, mount_words);
}

/* '-' and '_' are the same; false: no name of ours is that long. */
static bool
normal_name(const char *name, char *buf, size_t cap)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		if (i + 1 >= cap)
			return false;
		buf[i] = name[i] == '-' ? '_' : name[i];
	}
	buf[i] = '\0';
	return i > 0;
}

const char *
options_alias(const char *aliases, unsigned n, char *buf, size_t cap)
{
	size_t len;

	for (; *aliases; aliases += len + (aliases[len] == ',')) {
		len = strcspn(aliases, ",");
		if (n-- > 0 || len >= cap)
			continue;
		memcpy(buf, aliases, len);
		buf[len] = '\0';
		return buf;
	}
	return NULL;
}

static const struct opt *
find(const char *name)
{
	char raw[NAME_MAX_LEN], alias[NAME_MAX_LEN];
	size_t i;
	unsigned n;

	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];

		if (strcmp(opt->name, name) == 0)
			return opt;
		for (n = 0; options_alias(opt->aliases, n, raw, sizeof(raw));
		     n++)
			if (normal_name(raw, alias, sizeof(alias)) &&
			    strcmp(alias, name) == 0)
				return opt;
	}
	return NULL;
}

/* --- names --------------------------------------------------------------- */

bool
options_known(const char *name)
{
	char n[NAME_MAX_LEN];
	const struct opt *opt;
	size_t i;

	if (!normal_name(name, n, sizeof(n)))
		return false;
	for (i = 0; i < ARRAY_SIZE(habits); i++)
		if (strcmp(n, habits[i].name) == 0)
			return true;
	if (find(n) || OPTIONS_ONE_OF(n, no_effect))
		return true;
	opt = strncmp(n, "no", 2) == 0 ? find(n + 2) : NULL;
	return opt && opt->type == OPT_BOOL;
}

char *
options_suggest(const char *name)
{
	struct nearest near = {.word = NULL};
	char n[NAME_MAX_LEN], alias[NAME_MAX_LEN], negated[NAME_MAX_LEN + 2];
	char *out = NULL;
	size_t i;
	unsigned k;

	if (!normal_name(name, n, sizeof(n)))
		return NULL;
	near.word = n;
	for (i = 0; i < OPT_COUNT; i++)
		nearest_offer(&near, options_table[i].name);
	for (i = 0; i < ARRAY_SIZE(habits); i++)
		nearest_offer(&near, habits[i].name);
	if (near.best)
		return xstrdup(near.best);
	/* An alias or a "no" form is named only if no name comes near. */
	for (i = 0; i < OPT_COUNT && !out; i++) {
		const struct opt *opt = &options_table[i];

		for (k = 0;
		     options_alias(opt->aliases, k, alias, sizeof(alias));
		     k++) {
			char norm[NAME_MAX_LEN];

			if (normal_name(alias, norm, sizeof(norm)))
				nearest_offer(&near, norm);
			if (near.best && !out)
				out = xstrdup(alias);
			near.best = NULL;
		}
		if (opt->type == OPT_BOOL && !out) {
			memcpy(negated, "no", 2);
			memcpy(negated + 2, opt->name, strlen(opt->name) + 1);
			nearest_offer(&near, negated);
			if (near.best)
				out = xstrdup(negated);
			near.best = NULL;
		}
	}
	return out;
}

static int
unknown(const char *name, struct err *err)
{
	_cleanup_free_ char *near = options_suggest(name);
	char n[NAME_MAX_LEN];

	if (normal_name(name, n, sizeof(n)) && OPTIONS_ONE_OF(n, secret_names))
		return err_set(err, -EINVAL,
			       "'%s' is no option: credentials come from the "
			       "environment (AWS_ACCESS_KEY_ID …), the AWS "
			       "files or passwd_file=FILE, so that they never "
			       "show in a process list",
			       name);
	if (near)
		return err_set(err, -EINVAL,
			       "unknown option '%s'; did you mean '%s'?", name,
			       near);
	return err_set(err, -EINVAL,
		       "unknown option '%s'; sharedfs --help lists them all",
		       name);
}

/* "eu-west-1", "us-gov-east-1"; not a host, not a URL. */
static bool
looks_like_region(const char *s)
{
	size_t len = strlen(s);
	unsigned dashes = 0;

	if (len < 4 || !isdigit((unsigned char)s[len - 1]))
		return false;
	for (; *s; s++) {
		if (*s == '-')
			dashes++;
		else if (!islower((unsigned char)*s) &&
			 !isdigit((unsigned char)*s))
			return false;
	}
	return dashes >= 2;
}

static const char *
dbglevel(const char *value)
{
	static const struct {
		const char *s3fs, *ours;
	} words[] = {
		{"silent", "error"}, {"critical", "error"},
		{"crit", "error"},   {"err", "error"},
		{"warn", "warning"}, {"information", "info"},
		{"inf", "info"},     {"dbg", "debug"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(value, words[i].s3fs) == 0)
			return words[i].ours;
	return value;
}

static int
apply_inverted(struct options *o, const struct opt *opt, const char *name,
	       const char *value, enum options_from from, struct err *err)
{
	int b = value ? options_parse_bool(value) : 1;

	if (b < 0)
		return err_set(err, -EINVAL, "option '%s': '%s' is %s", name,
			       value, options_type_words(OPT_BOOL));
	return options_apply(o, opt, b ? "no" : "yes", from, err);
}

/* Applies name=value; *done is the option that it was, NULL: had no effect. */
static int
resolve(struct options *o, const char *name, const char *value,
	enum options_from from, const struct opt **done, struct err *err)
{
	_cleanup_free_ char *mib = NULL;
	char n[NAME_MAX_LEN];
	const struct opt *opt;
	uint64_t v;
	size_t i;

	*done = NULL;
	if (!normal_name(name, n, sizeof(n)))
		return err_set(err, -EINVAL, "unknown option '%.40s'", name);
	if (OPTIONS_ONE_OF(n, no_effect))
		return 0;
	for (i = 0; i < ARRAY_SIZE(habits); i++) {
		if (strcmp(n, habits[i].name) != 0)
			continue;
		*done = find(habits[i].to);
		if (habits[i].invert)
			return apply_inverted(o, *done, name, value, from, err);
		return options_apply(o, *done, habits[i].value, from, err);
	}
	/* s3fs calls the region "endpoint" and the endpoint "url". */
	if (value && strcmp(n, "endpoint") == 0 && looks_like_region(value)) {
		*done = &options_table[OPT_ID_region];
		return options_apply(o, *done, value, from, err);
	}
	opt = find(n);
	if (!opt && strncmp(n, "no", 2) == 0) {
		opt = find(n + 2);
		if (opt && opt->type == OPT_BOOL) {
			*done = opt;
			return apply_inverted(o, opt, name, value, from, err);
		}
		opt = NULL;
	}
	if (!opt)
		return unknown(name, err);
	*done = opt;
	if (!value) {
		if (opt->type != OPT_BOOL)
			return err_set(err, -EINVAL,
				       "option '%s' needs a value: %s=…", name,
				       name);
		value = "yes";
	}
	if (opt == &options_table[OPT_ID_log_level])
		value = dbglevel(value);
	if (OPTIONS_ONE_OF(n, mib_names) && units_uint(value, &v) == 0)
		value = mib = xasprintf("%sM", value);
	return options_apply(o, opt, value, from, err);
}

int
options_set(struct options *o, const char *name, const char *value,
	    enum options_from from, struct err *err)
{
	const struct opt *done;

	return resolve(o, name, value, from, &done, err);
}

/* --- the command line ---------------------------------------------------- */

static void
remember(struct options *o, const struct opt *opt)
{
	const char *text = o->text[opt - options_table];
	char *entry = xasprintf("%s=%s", opt->name, text ? text : "");
	size_t len = strlen(opt->name) + 1;
	unsigned i;

	for (i = 0; i < o->nset; i++) {
		if (strncmp(o->set[i], entry, len) != 0)
			continue;
		free(o->set[i]);
		o->set[i] = entry;
		return;
	}
	o->set = xrealloc(o->set, o->nset + 2, sizeof(*o->set));
	o->set[o->nset++] = entry;
	o->set[o->nset] = NULL;
}

int
options_add(struct options *o, const char *name, const char *value,
	    struct err *err)
{
	const struct opt *done;
	int rc;

	rc = resolve(o, name, value, OPTIONS_CLI, &done, err);
	if (rc < 0)
		return rc;
	if (!done)
		return 0;
	remember(o, done);
	if (done != &options_table[OPT_ID_config])
		return 0;
	options_forget_file(o);
	return o->config ? options_read_file(o, o->config, err) : 0;
}

/* Cuts the next option off *rest; "\x" is x, so that "\," is no divider. */
static char *
next_option(char **rest)
{
	char *start = *rest, *from = start, *to = start;

	while (*from && *from != ',') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

int
options_add_list(struct options *o, const char *list, struct err *err)
{
	_cleanup_free_ char *copy = xstrdup(list);
	char *rest = copy, *name, *value;
	int rc;

	while (rest) {
		name = next_option(&rest);
		value = strchr(name, '=');
		if (value)
			*value++ = '\0';
		if (!*name) {
			if (!value)
				continue;
			return err_set(err, -EINVAL,
				       "'=%s' in the options lacks a name",
				       value);
		}
		if (options_is_mount_word(name))
			continue;
		rc = options_add(o, name, value, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- life ---------------------------------------------------------------- */

static void
set_default(struct options *o, size_t id)
{
	const struct opt *opt = &options_table[id];

	o->from[id] = OPTIONS_DEFAULT;
	/* The table's own defaults: the unit test holds them to the limits. */
	if (options_apply(o, opt, opt->def ? opt->def : "", OPTIONS_DEFAULT,
			  NULL) < 0)
		log_error("options", "BUG: default of %s", opt->name);
}

void
options_forget_file(struct options *o)
{
	size_t i;

	for (i = 0; i < OPT_COUNT; i++)
		if (o->from[i] == OPTIONS_FILE)
			set_default(o, i);
}

int
options_replace(struct options *o, int id, const char *value,
		enum options_from from, struct err *err)
{
	int rc = 0;

	if (!value || from == OPTIONS_DEFAULT) {
		set_default(o, id);
		return 0;
	}
	o->from[id] = OPTIONS_DEFAULT;
	rc = options_apply(o, &options_table[id], value, from, err);
	return rc;
}

int
options_init_from(struct options *o, const char *file, char *const *env,
		  struct err *err)
{
	size_t i;
	int rc;

	memset(o, 0, sizeof(*o));
	o->set = xcalloc(1, sizeof(*o->set));
	for (i = 0; i < OPT_COUNT; i++)
		set_default(o, i);
	rc = options_read_env(o, env, err);
	if (rc == 0 && o->config)
		rc = options_read_file(o, o->config, err);
	else if (rc == 0 && file && access(file, F_OK) == 0)
		rc = options_read_file(o, file, err);
	if (rc < 0)
		options_release(o);
	return rc;
}

int
options_init(struct options *o, struct err *err)
{
	return options_init_from(o, SYSCONFDIR "/sharedfs.conf", environ, err);
}

void
options_release(struct options *o)
{
	size_t i;

	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];

		free(o->text[i]);
		if (opt->type == OPT_STR || opt->type == OPT_WORD)
			free(*(char **)((char *)o + opt->offset));
	}
	for (i = 0; i < o->nset; i++)
		free(o->set[i]);
	free(o->set);
	memset(o, 0, sizeof(*o));
}

static const char *
config_get(void *arg, const char *name)
{
	const struct options *o = arg;
	size_t i;

	for (i = 0; i < OPT_COUNT; i++)
		if (strcmp(options_table[i].name, name) == 0)
			return o->text[i];
	log_error("options", "BUG: a store asks for '%s', which is no option",
		  name);
	return NULL;
}

struct be_config
options_be_config(const struct options *o)
{
	return (struct be_config){.get = config_get, .arg = (void *)o};
}

void
options_each(const struct options *o,
	     void (*fn)(void *arg, const char *name, const char *value),
	     void *arg)
{
	size_t i;

	for (i = 0; i < OPT_COUNT; i++)
		fn(arg, options_table[i].name, o->text[i]);
}

void
options_each_set(const struct options *o,
		 void (*fn)(void *arg, const char *name, const char *value),
		 void *arg)
{
	size_t i;

	for (i = 0; i < OPT_COUNT; i++)
		if (o->from[i] == OPTIONS_CLI)
			fn(arg, options_table[i].name, o->text[i]);
}
