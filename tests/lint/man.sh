#!/bin/sh
# SPDX-License-Identifier: MIT
# The manual pages are correct mdoc.  (That they list every option is tested
# by tests/unit/options-test.c.)
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_program mandoc
for page in "$srcdir"/docs/*.[1-8]; do
	mandoc -Tlint -Wwarning "$page" || fail "$page: see above"
done
