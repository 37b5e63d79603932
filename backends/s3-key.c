/* SPDX-License-Identifier: MIT */
/* See s3-key.h. */
#include <config.h>

#include "backends/s3-key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/path.h"
#include "common/xalloc.h"

bool
s3_utf8_ok(const char *str)
{
	const unsigned char *s = (const unsigned char *)str;

	while (*s) {
		unsigned int c = *s++, min, n;

		if (c < 0x80)
			continue;
		if (c >= 0xc2 && c <= 0xdf) {
			n = 1;
			min = 0x80;
			c &= 0x1f;
		} else if (c >= 0xe0 && c <= 0xef) {
			n = 2;
			min = 0x800;
			c &= 0x0f;
		} else if (c >= 0xf0 && c <= 0xf4) {
			n = 3;
			min = 0x10000;
			c &= 0x07;
		} else {
			return false;
		}
		while (n--) {
			if ((*s & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*s++ & 0x3f);
		}
		if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
	}
	return true;
}

bool
s3_key_reserved(const char *name, size_t len)
{
	return (len == strlen(S3_ROOT_KEY) &&
		memcmp(name, S3_ROOT_KEY, len) == 0) ||
	       (len > strlen(S3_PROBE_KEY) &&
		memcmp(name, S3_PROBE_KEY, strlen(S3_PROBE_KEY)) == 0);
}

bool
s3_key_name_ok(const char *name, size_t len)
{
	return path_name_ok(name, len);
}

static int
key_make(struct be_ctx *ctx, const char *prefix, const char *path,
	 const char *tail, char **out)
{
	size_t n = strlen(prefix) + strlen(path) + strlen(tail);

	if (!s3_utf8_ok(path))
		return be_fail(ctx, -EILSEQ, false,
			       "the name is not UTF-8, which S3 does not take");
	if (n > S3_KEY_MAX)
		return be_fail(ctx, -ENAMETOOLONG, false,
			       "the key would have %zu bytes, S3 takes %d", n,
			       S3_KEY_MAX);
	if (!strchr(path, '/') && s3_key_reserved(path, strlen(path)))
		return be_fail(ctx, -EPERM, false,
			       "the name %s is sharedfs's own", path);
	*out = xasprintf("%s%s%s", prefix, path, tail);
	return 0;
}

int
s3_key_file(struct be_ctx *ctx, const char *prefix, const char *path,
	    char **out)
{
	return key_make(ctx, prefix, path, "", out);
}

int
s3_key_marker(struct be_ctx *ctx, const char *prefix, const char *path,
	      char **out)
{
	if (!*path) {
		*out = xstrdup(*prefix ? prefix : S3_ROOT_KEY);
		return 0;
	}
	return key_make(ctx, prefix, path, "/", out);
}

char *
s3_key_below(const char *prefix, const char *path)
{
	return *path ? xasprintf("%s%s/", prefix, path) : xstrdup(prefix);
}
