#!/bin/sh
# SPDX-License-Identifier: MIT
# Each operation of docs/semantics.md §2 through a mount, errno by errno.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

body()
{
	mount_node A "$SOURCE" "$work/A"
	bad=0
	for t in names-test bytes-test; do
		mkdir "$work/A/$t"
		chmod 755 "$work/A/$t"
		"$builddir/tests/bin/$t" "$work/A/$t" "$store" || bad=1
	done
	[ "$bad" = 0 ] || fail "on $store"
}

each_store body
