/* SPDX-License-Identifier: MIT */
/* Paths to keys and back: a key stays below the prefix, can be sent, and its
 * rest is the path again. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "backends/s3-key.h"
#include "common/cleanup.h"
#include "common/path.h"

static void
check(const char *prefix, const char *path)
{
	struct be_ctx ctx = { 0 };
	_cleanup_free_ char *file = NULL, *marker = NULL;
	_cleanup_free_ char *below = s3_key_below(prefix, path);
	size_t n = strlen(prefix);

	FUZZ_CHECK(strncmp(below, prefix, n) == 0);
	if (*path && s3_key_file(&ctx, prefix, path, &file) == 0) {
		FUZZ_CHECK(strlen(file) <= S3_KEY_MAX && s3_utf8_ok(file));
		FUZZ_CHECK(strncmp(file, prefix, n) == 0);
		FUZZ_CHECK(strcmp(file + n, path) == 0);
		FUZZ_CHECK(strchr(path, '/') ||
			   !s3_key_reserved(path, strlen(path)));
		/* Listed, it would be shown. */
		FUZZ_CHECK(s3_key_name_ok(path_base(file), strlen(path_base(file))));
	}
	if (*path && s3_key_marker(&ctx, prefix, path, &marker) == 0)
		FUZZ_CHECK(strcmp(marker, below) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = fuzz_string(data, size);

	if (s3_key_name_ok(s, strlen(s)))
		FUZZ_CHECK(path_ok(s));
	if (!path_ok(s))
		return 0;
	check("", s);
	check("pre/fix/", s);
	return 0;
}
