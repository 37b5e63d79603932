/* SPDX-License-Identifier: MIT */
/* What an option may be: types, limits, and the value in struct options. */
#include <config.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/units.h"
#include "common/xalloc.h"
#include "fs/options-priv.h"

/* What a value may be, in the words a user writes.  zero: 0 is fine too. */
static const struct {
	const char *name, *min, *max;
	bool zero;
} limits[] = {
	{"umask", "0", "777", false},
	{"io_threads", "1", "1024", false},
	{"timeo", "100ms", "7d", false},
	{"request_timeout", "100ms", "1h", false},
	{"connect_timeout", "100ms", "1h", false},
	{"actimeo", "0", "1d", false},
	{"negative_timeout", "0", "1d", false},
	{"stale_if_error", "0", "365d", false},
	{"attr_delay", "0", "1h", false},
	{"cache_size", "1M", "1024T", true},
	{"cache_free", "0", "1024T", false},
	{"attr_cache", "1M", "64G", false},
	{"attr_table", "0", "2G", false},
	{"readahead", "0", "4G", false},
	{"drain_timeout", "0", "7d", false},
	{"part_size", "5M", "5G", false},
	{"abort_uploads", "1h", "365d", true},
	{"parallel", "1", "256", false},
};

/* Made absolute, for a daemon leaves the directory it was started in. */
static const char *const path_options[] = {
	"cache_dir", "passwd_file", "ca_bundle",
	"config",    "log_file",    "control",
};

bool
options_limits(const char *name, const char **min, const char **max)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		if (strcmp(limits[i].name, name) != 0)
			continue;
		*min = limits[i].min;
		*max = limits[i].max;
		return true;
	}
	return false;
}

int
options_parse_bool(const char *s)
{
	static const char *const yes[] = {"yes", "true", "on", "1"};
	static const char *const no[] = {"no", "false", "off", "0"};

	if (OPTIONS_ONE_OF(s, yes))
		return 1;
	if (OPTIONS_ONE_OF(s, no))
		return 0;
	return strcmp(s, "auto") == 0 ? -1 : -2;
}

const char *
options_type_words(enum opt_type type)
{
	switch (type) {
	case OPT_BOOL:
		return "neither yes nor no";
	case OPT_UINT:
		return "no whole number";
	case OPT_SIZE:
		return "no size; write for example 512M, 10G or bytes";
	case OPT_DURATION:
		return "no duration; write for example 30 (seconds), 500ms "
		       "or 2m";
	case OPT_OCTAL:
		return "no octal number such as 022";
	case OPT_STR:
	case OPT_WORD:
		break;
	}
	return "no value";
}

/* A number of any type as one that can be compared. */
static int
parse_number(enum opt_type type, const char *s, uint64_t *out)
{
	int64_t ns;
	int rc;

	switch (type) {
	case OPT_UINT:
		return units_uint(s, out);
	case OPT_OCTAL:
		return units_octal(s, out);
	case OPT_SIZE:
		return units_size(s, out);
	default:
		rc = units_duration(s, &ns);
		if (rc == 0)
			*out = (uint64_t)ns;
		return rc;
	}
}

static int
check_number(const struct opt *opt, const char *s, uint64_t *out,
	     struct err *err)
{
	uint64_t v, lo, hi;
	size_t i;
	int rc;

	rc = parse_number(opt->type, s, &v);
	if (rc == -EINVAL)
		return err_set(err, -EINVAL, "option '%s': '%s' is %s",
			       opt->name, s, options_type_words(opt->type));
	for (i = 0; i < ARRAY_SIZE(limits); i++)
		if (strcmp(limits[i].name, opt->name) == 0)
			break;
	if (i < ARRAY_SIZE(limits)) {
		if (rc == 0 && limits[i].zero && v == 0)
			goto out;
		if (rc == 0 &&
		    parse_number(opt->type, limits[i].min, &lo) == 0 &&
		    parse_number(opt->type, limits[i].max, &hi) == 0 &&
		    (v < lo || v > hi))
			rc = -ERANGE;
		if (rc < 0)
			return err_set(
				err, -EINVAL,
				"option '%s': %s is out of range; it can "
				"be %s%s to %s",
				opt->name, s, limits[i].zero ? "0 or " : "",
				limits[i].min, limits[i].max);
	}
	if (rc < 0)
		return err_set(err, -EINVAL, "option '%s': %s is out of range",
			       opt->name, s);
out:
	*out = v;
	return 0;
}

/* The words of a WORD stand in the last parentheses of its help. */
static int
check_word(const struct opt *opt, const char *value, struct err *err)
{
	const char *open = strrchr(opt->help, '('), *w;
	size_t len, n = strlen(value);

	for (w = open + 1; *w && *w != ')'; w += len + (w[len] == '|')) {
		len = strcspn(w, "|)");
		if (len == n && strncmp(w, value, n) == 0)
			return 0;
	}
	return err_set(err, -EINVAL, "option '%s': '%s' is none of %s",
		       opt->name, value, open);
}

static int
parse_owner(const char *s, bool group, uint32_t *id)
{
	struct passwd *pw;
	struct group *gr;
	uint64_t v;

	if (units_uint(s, &v) == 0) {
		if (v >= UINT32_MAX)
			return -EINVAL;
		*id = (uint32_t)v;
		return 0;
	}
	if (group) {
		gr = getgrnam(s);
		if (!gr)
			return -ENOENT;
		*id = gr->gr_gid;
		return 0;
	}
	pw = getpwnam(s);
	if (!pw)
		return -ENOENT;
	*id = pw->pw_uid;
	return 0;
}

static int
check_string(const struct opt *opt, const char *value, struct err *err)
{
	const char *name = opt->name;
	struct idmap map;
	uint32_t id;
	int rc;

	if (strcmp(name, "uid") == 0 || strcmp(name, "gid") == 0) {
		if (parse_owner(value, name[0] == 'g', &id) < 0)
			return err_set(err, -EINVAL,
				       "option '%s': there is no %s '%s'", name,
				       name[0] == 'g' ? "group" : "user",
				       value);
	} else if (strncmp(name, "map_", 4) == 0) {
		rc = idmap_parse(value, &map, err);
		if (rc < 0) {
			err_prefix(err, "option '%s'", name);
			return rc;
		}
		idmap_release(&map);
	} else if (strcmp(name, "endpoint") == 0) {
		if (strncmp(value, "http://", 7) != 0 &&
		    strncmp(value, "https://", 8) != 0)
			return err_set(err, -EINVAL,
				       "option 'endpoint': '%s' is no URL; "
				       "write https://host[:port]",
				       value);
	}
	return 0;
}

static char *
absolute(const char *path)
{
	_cleanup_free_ char *cwd = NULL;

	if (path[0] == '/' || !*path)
		return xstrdup(path);
	cwd = getcwd(NULL, 0);
	return xasprintf("%s/%s", cwd ? cwd : "", path);
}

int
options_apply(struct options *o, const struct opt *opt, const char *value,
	      enum options_from from, struct err *err)
{
	void *field = (char *)o + opt->offset;
	size_t id = (size_t)(opt - options_table);
	char *text = NULL;
	uint64_t v = 0;
	int rc = 0;

	switch (opt->type) {
	case OPT_BOOL:
		rc = options_parse_bool(value);
		if (rc == -2 || (rc == -1 && strcmp(opt->def, "auto") != 0))
			return err_set(err, -EINVAL, "option '%s': '%s' is %s",
				       opt->name, value,
				       options_type_words(OPT_BOOL));
		text = xstrdup(rc < 0 ? "auto" : rc ? "yes" : "no");
		break;
	case OPT_UINT:
	case OPT_OCTAL:
	case OPT_SIZE:
	case OPT_DURATION:
		if (check_number(opt, value, &v, err) < 0)
			return -EINVAL;
		text = opt->type == OPT_DURATION
			       ? units_duration_text((int64_t)v)
		       : opt->type == OPT_OCTAL
			       ? xasprintf("0%o", (unsigned)v)
			       : xasprintf("%llu", (unsigned long long)v);
		break;
	case OPT_WORD:
		if (check_word(opt, value, err) < 0)
			return -EINVAL;
		text = xstrdup(value);
		break;
	case OPT_STR:
		/* "name=" takes a weaker source's value back. */
		if (!*value)
			break;
		if (check_string(opt, value, err) < 0)
			return -EINVAL;
		text = OPTIONS_ONE_OF(opt->name, path_options) ? absolute(value)
							       : xstrdup(value);
		break;
	}
	if (from < o->from[id]) {
		free(text);
		return 0;
	}
	free(o->text[id]);
	o->text[id] = text;
	o->from[id] = (unsigned char)from;
	switch (opt->type) {
	case OPT_BOOL:
		*(OPT_TYPE_BOOL *)field = rc;
		break;
	case OPT_UINT:
	case OPT_OCTAL:
		*(OPT_TYPE_UINT *)field = (unsigned)v;
		break;
	case OPT_SIZE:
		*(OPT_TYPE_SIZE *)field = v;
		break;
	case OPT_DURATION:
		*(OPT_TYPE_DURATION *)field = (int64_t)v;
		break;
	case OPT_STR:
	case OPT_WORD:
		free(*(char **)field);
		*(char **)field = text ? xstrdup(text) : NULL;
		break;
	}
	return 0;
}

int
options_owner(const struct options *o, uid_t *uid, gid_t *gid, struct err *err)
{
	uint32_t u, g;

	if (o->uid && parse_owner(o->uid, false, &u) < 0)
		return err_set(err, -EINVAL, "there is no user '%s'", o->uid);
	if (o->gid && parse_owner(o->gid, true, &g) < 0)
		return err_set(err, -EINVAL, "there is no group '%s'", o->gid);
	if (o->uid)
		*uid = u;
	if (o->gid)
		*gid = g;
	return 0;
}
