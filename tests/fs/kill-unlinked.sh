#!/bin/sh
# SPDX-License-Identifier: MIT
# Files that lost their names while they were open, by unlink, by a rename over
# them or by another node, go on when the worker is killed [P6.9]; after the last
# close nothing of them is left.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

no_private()
{
	[ -z "$(find "$work/cache-$1/v1/mounts" -path '*/files/*' -type f)" ] &&
		[ -z "$(find "$work/cache-$1/v1/mounts" -name '*.j')" ]
}

body()
{
	for mode in auto off; do
		echo "-- passthrough=$mode"
		mount_two "passthrough=$mode"
		python3 "$srcdir/tests/fs/kill-unlinked.py" \
			"$builddir/sharedfs" "$A" "$B" || fail "see above"
		wait_until 20 "an empty cache" no_private A
		same pending "$(status_field "$A" pending_files)" 0
		same failed "$(status_field "$A" errors.failed_files)" 0
		same "names on the other node" "$(ls "$B" | tr '\n' ' ')" \
			"file over1 over2 over3 over4 over5 "
		nodes_pids="$nodes_pids $(status_field "$A" worker_pid)"
		rm "$A"/*
		umount_node "$A"
		umount_node "$B"
	done
}
each_store body
