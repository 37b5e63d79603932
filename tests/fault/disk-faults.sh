#!/bin/sh
# SPDX-License-Identifier: MIT
# The cache disk under a mount is full, edited, emptied, unreadable, read-only:
# slower, logged once, never wrong bytes, and what was being written reaches
# the store or is refused with ENOSPC [P5.2] [P5.3] [P5.5]
# [P5.6].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 mkfs.ext4 losetup
losetup -f >/dev/null 2>&1 || skip "no loop device"

# fault KIND: what programs see; then the node still is the same process.
fault()
{
	python3 "$srcdir/tests/fault/disk-faults.py" "$D" "$E" "$C" \
		"$work/disk" "$1" || fail "$1, passthrough=$mode: see above"
	same "the worker after $1" "$(status_field "$D" worker_pid)" "$worker"
	same "unsent after $1" "$(status_field "$D" pending_files)" 0
	same "failed after $1" "$(status_field "$D" errors.failed_files)" 0
}

# Each of the five kinds of fault is said when it begins, once a minute at most.
said()
{
	most=$((5 * (2 + ($(date +%s) - begun) / 60)))
	n=$(grep -c "going on without" "$work/D-$store-$mode.log" || :)
	[ "$n" -gt 0 ] || fail "nothing is logged"
	[ "$n" -le "$most" ] || fail "$n faults are logged"
}

body()
{
	E=$work/E-$store
	mount_node "E-$store" "$SOURCE" "$E"
	modes="auto off"
	# The other one on the other store.
	! quick || case $store in
	file) modes=auto ;;
	s3) modes=off ;;
	esac
	for mode in $modes; do
		echo "-- passthrough=$mode"
		C=$work/cache-D-$store-$mode D=$work/D-$store-$mode
		truncate -s 40M "$work/img"
		mkfs.ext4 -q -F -m 0 -E nodiscard "$work/img"
		mkdir -p "$work/disk" "$C"
		"$builddir/tests/bin/disk" "$work/img" "$work/disk"
		# ext4 writes its journal when it is told to, and not just then
		# when a fault is made for a file's bytes.
		mount -o loop,errors=continue,commit=3600 "$work/disk/disk" "$C"
		mount_node "D-$store-$mode" "$SOURCE" "$D" \
			"$OPTS,passthrough=$mode,cache_free=4M"
		worker=$(status_field "$D" worker_pid) begun=$(date +%s)
		for kind in base edited deleted full unreadable lost broken; do
			fault $kind
		done
		said
		umount_node "$D"
		wait_until 60 "the end of process $worker" not_running "$worker"
		wait_until 60 "the end of the node" umount "$C"
		umount "$work/disk"
		rm "$work/img"
	done
}
each_store body
