/* SPDX-License-Identifier: MIT */
/* common/path.c. */
#include <config.h>

#include "common/path.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/unit.h"

static void
validity(void **state)
{
	char longest[257];

	assert_true(path_ok(""));
	assert_true(path_ok("a"));
	assert_true(path_ok("a/b/..c"));
	assert_true(path_ok("...") && path_ok(".a/b."));
	assert_false(path_ok("/a"));
	assert_false(path_ok("a/"));
	assert_false(path_ok("a//b"));
	assert_false(path_ok("a/./b"));
	assert_false(path_ok("../x"));
	assert_false(path_ok("a/.."));
	memset(longest, 'n', sizeof(longest));
	longest[256] = '\0';
	assert_false(path_ok(longest));
	longest[255] = '\0';
	assert_true(path_ok(longest));
}

static void
parts(void **state)
{
	char *p;

	p = path_dir("a/b/c");
	assert_string_equal(p, "a/b");
	free(p);
	p = path_dir("a");
	assert_string_equal(p, "");
	free(p);
	assert_string_equal(path_base("a/b"), "b");
	assert_string_equal(path_base("b"), "b");
	p = path_join("", "x");
	assert_string_equal(p, "x");
	free(p);
	p = path_rebase("d/e/f", "d", "g/h");
	assert_string_equal(p, "g/h/e/f");
	free(p);
	p = path_rebase("d", "d", "g");
	assert_string_equal(p, "g");
	free(p);
	assert_true(path_within("a/b", "a"));
	assert_true(path_within("a", "a"));
	assert_true(path_within("a", ""));
	assert_false(path_within("ab", "a"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(validity),
		cmocka_unit_test(parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
