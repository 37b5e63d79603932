#!/bin/sh
# SPDX-License-Identifier: MIT
# Random calls on several descriptors of a file, with the kernel writing by
# itself and without (docs/semantics.md P2.1, P2.6, P4.1): every read shows
# what was written last, on this node and, after close(), on the other.
#   SEED=N tests/fs/random-io.sh    other calls
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

calls=2000
! quick || calls=300

body()
{
	for mode in auto off; do
		echo "-- passthrough=$mode"
		mount_two "passthrough=$mode"
		"$builddir/tests/bin/random-io" "$A" "$B" 3 "$calls" "${SEED:-1}" ||
			fail "see above"
		rm -f "$A"/*
		umount_node "$A"
		umount_node "$B"
	done
}

each_store body
