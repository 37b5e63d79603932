/* SPDX-License-Identifier: MIT */
/* backends/file-errno.def: each row, and what is in no row. */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>

#include "tests/lib/unit.h"

enum when { NO, YES, REMOTE, FEW };

static const struct row {
	int said, is;
	enum when when;
} rows[] = {
#define FILE_ERRNO(said, is, when) {said, is, when},
#include "backends/file-errno.def"
#undef FILE_ERRNO
};

static void
each_row(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		bool local, remote, late;

		assert_int_equal(file_errno(r->said, false, 0, &local), -r->is);
		assert_int_equal(file_errno(r->said, true, 0, &remote), -r->is);
		assert_int_equal(file_errno(r->said, true, 100, &late), -r->is);
		assert_int_equal(local, r->when == YES);
		assert_int_equal(remote, r->when != NO);
		assert_int_equal(late, r->when == YES || r->when == REMOTE);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(rows[j].said, r->said);
		/* These have a meaning of the contract's own (B6, B2). */
		assert_int_not_equal(r->is, ESTALE);
		assert_int_not_equal(r->is, ETIMEDOUT);
	}
}

static void
answers_pass(void **state)
{
	static const int plain[] = {
		ENOENT,	   EEXIST,	 EACCES,  EPERM,  ENOTDIR, EISDIR,
		ENOTEMPTY, ENOSPC,	 EDQUOT,  EROFS,  EFBIG,   EXDEV,
		ELOOP,	   ENAMETOOLONG, ENODATA, EMLINK, EINVAL,  ENOTSUP};

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		bool transient = true;

		assert_int_equal(file_errno(plain[i], true, 0, &transient),
				 -plain[i]);
		assert_false(transient);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row),
		cmocka_unit_test(answers_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
