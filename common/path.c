/* SPDX-License-Identifier: MIT */
/* See path.h. */
#include <config.h>

#include "common/path.h"

#include <string.h>

#include "common/xalloc.h"

bool
path_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > PATH_SEGMENT_MAX)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '/', len) && !memchr(name, '\0', len);
}

bool
path_ok(const char *path)
{
	if (!*path)
		return true;
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!path_name_ok(path, len))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

char *
path_join(const char *dir, const char *name)
{
	return *dir ? xasprintf("%s/%s", dir, name) : xstrdup(name);
}

char *
path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? xstrndup(path, slash - path) : xstrdup("");
}

const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool
path_within(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 0)
		return true;
	return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

char *
path_rebase(const char *path, const char *from, const char *to)
{
	const char *rest = path + strlen(from);

	if (*rest == '/')
		rest++;
	if (!*rest)
		return xstrdup(to);
	return path_join(to, rest);
}
