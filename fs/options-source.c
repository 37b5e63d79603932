/* SPDX-License-Identifier: MIT */
/* Options that come from a file or from the environment; and --help. */
#include <config.h>

#include <errno.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "fs/options-priv.h"

/* --- the config file ------------------------------------------------------ */

static char *
trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	for (n = strlen(s); n > 0 && isspace((unsigned char)s[n - 1]); n--)
		s[n - 1] = '\0';
	return s;
}

/* A '#' begins a comment at the start or behind a blank, so that a value may
 * have one inside. */
static void
cut_comment(char *s)
{
	char *p;

	for (p = s; *p; p++) {
		if (*p == '#' && (p == s || isspace((unsigned char)p[-1]))) {
			*p = '\0';
			return;
		}
	}
}

static int
read_line(struct options *o, char *line, struct err *err)
{
	char *name, *value;
	size_t n;

	cut_comment(line);
	name = trim(line);
	if (!*name)
		return 0;
	value = strchr(name, '=');
	if (value) {
		*value++ = '\0';
		value = trim(value);
		name = trim(name);
		n = strlen(value);
		if (n >= 2 && (value[0] == '"' || value[0] == '\'') &&
		    value[n - 1] == value[0]) {
			value[n - 1] = '\0';
			value++;
		}
	}
	if (!*name)
		return err_set(err, -EINVAL, "a line needs name = value");
	if (name[0] == '[')
		return err_set(err, -EINVAL,
			       "there are no sections here: name = value");
	if (strcmp(name, "config") == 0)
		return err_set(err, -EINVAL,
			       "a config file can't name another one");
	return options_set(o, name, value, OPTIONS_FILE, err);
}

int
options_read_file(struct options *o, const char *path, struct err *err)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	unsigned no = 0;
	ssize_t n;
	int rc;

	if (!f)
		return err_set(err, -errno, "config file %s: %s", path,
			       strerror(errno));
	while ((n = getline(&line, &cap, f)) >= 0) {
		no++;
		rc = strlen(line) == (size_t)n
			     ? read_line(o, line, err)
			     : err_set(err, -EINVAL, "a NUL byte");
		if (rc < 0) {
			err_prefix(err, "%s:%u", path, no);
			return rc;
		}
	}
	if (ferror(f))
		return err_set(err, -EIO, "config file %s: cannot be read",
			       path);
	return 0;
}

/* --- the environment ------------------------------------------------------ */

#define PREFIX "SHAREDFS_"

int
options_read_env(struct options *o, char *const *env, struct err *err)
{
	int rc;

	for (; env && *env; env++) {
		_cleanup_free_ char *name = NULL, *near = NULL;
		const char *value = strchr(*env, '=');
		char *p;

		if (!value || strncmp(*env, PREFIX, strlen(PREFIX)) != 0)
			continue;
		name = xstrndup(*env, (size_t)(value - *env));
		for (p = name; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		p = name + strlen(PREFIX);
		/* Set but empty is the usual way to say "not set". */
		if (!*++value)
			continue;
		if (!options_known(p)) {
			/* Not an error: a Kubernetes service that is called
			 * sharedfs puts SHAREDFS_PORT here. */
			near = options_suggest(p);
			if (near)
				log_warn("options",
					 "%.*s in the environment is no "
					 "option; did you mean '%s'?",
					 (int)(value - 1 - *env), *env, near);
			continue;
		}
		rc = options_set(o, p, value, OPTIONS_ENV, err);
		if (rc < 0) {
			err_prefix(err, "%.*s in the environment",
				   (int)(value - 1 - *env), *env);
			return rc;
		}
	}
	return 0;
}

/* --- help ----------------------------------------------------------------- */

static const char *
placeholder(enum opt_type type)
{
	switch (type) {
	case OPT_BOOL:
		return "yes|no";
	case OPT_UINT:
		return "N";
	case OPT_SIZE:
		return "SIZE";
	case OPT_DURATION:
		return "TIME";
	case OPT_OCTAL:
		return "OCTAL";
	case OPT_STR:
		return "TEXT";
	case OPT_WORD:
		break;
	}
	return "WORD";
}

void
options_help(struct buf *out)
{
	const char *group = "", *min, *max;
	char alias[64];
	size_t i;
	unsigned n;

	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];

		if (strcmp(group, opt->group) != 0) {
			group = opt->group;
			buf_addf(out, "%sOptions (%s):\n", i ? "\n" : "",
				 group);
		}
		buf_addf(out, "  %s=%s\n      %s", opt->name,
			 placeholder(opt->type), opt->help);
		if (opt->def)
			buf_addf(out, "; default %s", opt->def);
		if (options_limits(opt->name, &min, &max))
			buf_addf(out, "; %s to %s", min, max);
		for (n = 0;
		     options_alias(opt->aliases, n, alias, sizeof(alias)); n++)
			buf_addf(out, "%s%s", n ? ", " : "; also ", alias);
		buf_addch(out, '\n');
	}
	buf_addstr(out,
		   "\nSIZE is bytes, or with K, M, G, T.  TIME is seconds, or "
		   "with ms, s, m, h, d.\n"
		   "Each is -o name=value, --name=value, a line in the config "
		   "file or SHAREDFS_NAME\n"
		   "in the environment; '-' and '_' are the same; \"noname\" "
		   "is name=no; soft is nohard.\n");
}
