/* SPDX-License-Identifier: MIT */
/* common/mountinfo.h. */
#include <config.h>

#include "common/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/unit.h"

static void
parse(void **state)
{
	struct mount_entry m;

	assert_int_equal(mountinfo_parse("36 35 0:98 / /mnt/a\\040b\\134c "
					 "rw,nosuid,nodev shared:1 master:2 - "
					 "fuse.sharedfs s3://b/x\\040y,z "
					 "rw,user_id=0\n",
					 &m),
			 0);
	assert_int_equal(m.id, 36);
	assert_int_equal(m.parent, 35);
	assert_int_equal(m.minor, 98);
	assert_string_equal(m.root, "/");
	assert_string_equal(m.target, "/mnt/a b\\c");
	assert_string_equal(m.options, "rw,nosuid,nodev");
	assert_string_equal(m.type, "fuse.sharedfs");
	assert_string_equal(m.source, "s3://b/x y,z");
	assert_string_equal(m.super_options, "rw,user_id=0");
	mount_entry_release(&m);

	/* No optional fields; an empty source. */
	assert_int_equal(mountinfo_parse("1 2 0:3 / /a rw - tmpfs  rw", &m), 0);
	assert_string_equal(m.source, "");
	mount_entry_release(&m);
	/* An escape that is none. */
	assert_int_equal(mountinfo_parse("1 2 0:3 / /a\\9 rw - t s rw", &m), 0);
	assert_string_equal(m.target, "/a\\9");
	mount_entry_release(&m);

	assert_int_equal(mountinfo_parse("", &m), -EINVAL);
	assert_int_equal(mountinfo_parse("1 2 0:3 / /a rw", &m), -EINVAL);
	assert_int_equal(mountinfo_parse("1 2 0:3 / /a rw - t", &m), -EINVAL);
	assert_int_equal(mountinfo_parse("x 2 0:3 / /a rw - t s rw", &m),
			 -EINVAL);
}

static int
find(const char *text, const char *dir, struct mount_entry *m)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");
	int rc = mountinfo_find(f, dir, m);

	fclose(f);
	return rc;
}

static void
topmost(void **state)
{
	struct mount_entry m;

	assert_int_equal(find("1 0 0:1 / / rw - ext4 /dev/a rw\n"
			      "2 1 0:2 / /m rw - t low rw\n"
			      "3 2 0:3 / /m rw - t high rw\n"
			      "4 1 0:4 / /mm rw - t other rw\n",
			      "/m", &m),
			 1);
	assert_string_equal(m.source, "high");
	mount_entry_release(&m);
	/* The same stack, listed the other way round. */
	assert_int_equal(find("3 2 0:3 / /m rw - t high rw\n"
			      "2 1 0:2 / /m rw - t low rw\n",
			      "/m", &m),
			 1);
	assert_string_equal(m.source, "high");
	mount_entry_release(&m);
	assert_int_equal(find("1 0 0:1 / / rw - ext4 /dev/a rw\n", "/m", &m),
			 0);
}

static void
options(void **state)
{
	assert_true(mount_has_option("rw,nosuid", "nosuid"));
	assert_true(mount_has_option("rw", "rw"));
	assert_false(mount_has_option("rw,nosuid", "suid"));
	assert_false(mount_has_option("rw=1", "rw"));
	assert_false(mount_has_option("", "rw"));
}

static void
probe(void **state)
{
	assert_int_equal(mountpoint_probe("/", 5000), 0);
	assert_int_equal(mountpoint_probe("/no/such/dir", 5000), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse),
		cmocka_unit_test(topmost),
		cmocka_unit_test(options),
		cmocka_unit_test(probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
