/* SPDX-License-Identifier: MIT */
/* Reads the AWS tools' files; see cred-ini.h. */
#include <config.h>

#include "backends/cred-ini.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/credentials-priv.h"
#include "backends/secret.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

#define INI_MAX (256 << 10)

static char *
trim(char *s)
{
	size_t n;

	s += strspn(s, " \t");
	for (n = strlen(s); n && strchr(" \t\r", s[n - 1]); n--)
		s[n - 1] = '\0';
	return s;
}

/* "[profile name]", "[profile 'a b']", "[default]", "[name]"; NULL: no
 * header, or one of another kind, such as [sso-session x]. */
static char *
section_name(char *line, bool config)
{
	char *end = strrchr(line, ']');
	char *name;
	size_t n;

	if (!end)
		return NULL;
	*end = '\0';
	name = trim(line + 1);
	if (config && strcmp(name, "default") != 0) {
		if (strncmp(name, "profile", 7) != 0 ||
		    !strchr(" \t", name[7]))
			return NULL;
		name = trim(name + 7);
	}
	n = strlen(name);
	if (n >= 2 && (name[0] == '"' || name[0] == '\'') &&
	    name[n - 1] == name[0]) {
		name[n - 1] = '\0';
		name++;
	}
	return name;
}

static void
add_pair(struct ini_profile *p, const char *key, const char *value,
	 bool keys_file)
{
	struct ini_pair *pair = xcalloc(1, sizeof(*pair));

	pair->key = xstrdup(key);
	pair->value = xstrdup(value);
	pair->keys_file = keys_file;
	pair->next = p->pairs; /* a later one goes before an earlier */
	p->pairs = pair;
}

int
ini_parse(char *text, bool config, const char *profile,
	  struct ini_profile *out, struct err *err)
{
	bool here = false, in_section = false, last = false;
	size_t indent = SIZE_MAX; /* of the last key; none yet */
	unsigned n = 0;

	for (char *line = text, *next; !last; line = next) {
		size_t in = strspn(line, " \t");
		char *eq, *name;

		next = line + strcspn(line, "\n");
		last = *next == '\0';
		*next++ = '\0';
		n++;
		line = trim(line);
		if (!*line || *line == '#' || *line == ';')
			continue;
		/* Set in deeper than its key: part of a value like "s3 =". */
		if (in > indent)
			continue;
		if (*line == '[') {
			in_section = true;
			indent = SIZE_MAX;
			if (!strchr(line, ']'))
				return err_set(err, -EINVAL,
					       "line %u: ] is missing", n);
			name = section_name(line, config);
			here = name && strcmp(name, profile) == 0;
			out->found |= here;
			continue;
		}
		eq = strchr(line, '=');
		/* Never quote the line: it may be a secret. */
		if (!in_section || !eq)
			return err_set(err, -EINVAL,
				       "line %u is neither [section] nor "
				       "key = value",
				       n);
		indent = in;
		if (!here)
			continue;
		*eq = '\0';
		add_pair(out, trim(line), trim(eq + 1), !config);
	}
	return 0;
}

static int
load_file(const char *env, const char *name, bool config, const char *profile,
	  struct ini_profile *out, struct err *err)
{
	_cleanup_cred_buf_ struct buf text = BUF_INIT;
	_cleanup_free_ char *path = NULL, *home = NULL;
	_cleanup_err_ struct err why = ERR_INIT;
	const char *given = cred_env(env);
	int ret;

	if (given && strncmp(given, "~/", 2) != 0) {
		path = xstrdup(given);
	} else {
		home = cred_home();
		if (!home)
			return 0;
		path = given ? xasprintf("%s%s", home, given + 1)
			     : xasprintf("%s/.aws/%s", home, name);
	}
	ret = cred_read_file(path, INI_MAX, &text, &why);
	if (ret == -ENOENT || ret == -ENOTDIR)
		return 0;
	if (ret < 0)
		return err_set(err, ret, "%s", err_words(&why));
	ret = ini_parse(text.s, config, profile, out, err);
	if (ret < 0)
		err_prefix(err, "%s", path);
	return ret;
}

int
ini_profile_load(const char *profile, struct ini_profile *out, struct err *err)
{
	struct ini_profile p = { NULL, false };
	int ret;

	ret = load_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", false,
			profile, &p, err);
	if (ret == 0)
		ret = load_file("AWS_CONFIG_FILE", "config", true, profile, &p,
				err);
	if (ret < 0) {
		ini_profile_release(&p);
		return ret;
	}
	*out = p;
	return 0;
}

void
ini_profile_release(struct ini_profile *p)
{
	while (p->pairs) {
		struct ini_pair *pair = p->pairs;

		p->pairs = pair->next;
		free(pair->key);
		secret_free(pair->value);
		free(pair);
	}
}

const char *
ini_get_from(const struct ini_profile *p, bool keys_file, const char *key)
{
	for (const struct ini_pair *i = p->pairs; i; i = i->next)
		if (i->keys_file == keys_file && *i->value &&
		    strcasecmp(i->key, key) == 0)
			return i->value;
	return NULL;
}

const char *
ini_get(const struct ini_profile *p, const char *key)
{
	const char *v = ini_get_from(p, true, key);

	return v ? v : ini_get_from(p, false, key);
}
