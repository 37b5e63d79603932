/* SPDX-License-Identifier: MIT */
/* Options as arguments between the supervisor and its workers: with where they
 * came from, so that a worker can read the config file again. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "fs/options-priv.h"

static const char *const ranks[] = {
	[OPTIONS_DEFAULT] = "default:",
	[OPTIONS_FILE] = "file:",
	[OPTIONS_ENV] = "env:",
	[OPTIONS_CLI] = "",
};

char *
options_arg(const struct options *o, int id)
{
	if (o->from[id] == OPTIONS_DEFAULT)
		return NULL;
	return xasprintf("%s--%s=%s", ranks[o->from[id]],
			 options_table[id].name,
			 o->text[id] ? o->text[id] : "");
}

int
options_take_arg(struct options *o, const char *arg, struct err *err)
{
	const char *dashes = strstr(arg, "--"), *value;
	_cleanup_free_ char *name = NULL;
	int from = -1;

	for (size_t i = 0; dashes && i < ARRAY_SIZE(ranks); i++) {
		if (strlen(ranks[i]) == (size_t)(dashes - arg) &&
		    strncmp(ranks[i], arg, dashes - arg) == 0)
			from = i;
	}
	if (from < 0)
		return err_set(err, -EINVAL, "bad argument '%s'", arg);
	value = strchr(dashes, '=');
	name = value ? xstrndup(dashes + 2, value - dashes - 2)
		     : xstrdup(dashes + 2);
	for (int i = 0; i < OPT_COUNT; i++) {
		if (strcmp(options_table[i].name, name) == 0)
			return options_replace(o, i, value ? value + 1 : NULL,
					       from, err);
	}
	return err_set(err, -EINVAL, "there is no option '%s'", name);
}
