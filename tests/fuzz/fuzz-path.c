/* SPDX-License-Identifier: MIT */
/* common/path.c: a path that is accepted can't leave the tree, and its parts
 * make it up again.  Lines of mountinfo, which hold paths too. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "common/cleanup.h"
#include "common/mountinfo.h"
#include "common/path.h"

static void
check(const char *p)
{
	_cleanup_free_ char *dir = path_dir(p);
	_cleanup_free_ char *joined = NULL, *rebased = NULL;

	FUZZ_CHECK(p[0] != '/' && !strstr(p, "//") && !strstr(p, "/../"));
	FUZZ_CHECK(strcmp(p, "..") != 0 && strncmp(p, "../", 3) != 0);
	FUZZ_CHECK(path_within(p, p) && path_within(p, ""));
	if (!*p)
		return;
	FUZZ_CHECK(path_ok(dir) && path_within(p, dir));
	FUZZ_CHECK(path_name_ok(path_base(p), strlen(path_base(p))));
	joined = path_join(dir, path_base(p));
	FUZZ_CHECK(strcmp(joined, p) == 0);
	rebased = path_rebase(p, dir, "a/b");
	FUZZ_CHECK(path_ok(rebased) && path_within(rebased, "a/b"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = fuzz_string(data, size);
	struct mount_entry m = { 0 };

	if (path_ok(s))
		check(s);
	if (mountinfo_parse(s, &m) == 0) {
		FUZZ_CHECK(m.target && m.options && m.type && m.source);
		mount_has_option(m.options, "ro");
		mount_entry_release(&m);
	}
	return 0;
}
