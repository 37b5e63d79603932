#!/bin/sh
# SPDX-License-Identifier: MIT
# Random calls on several descriptors of a file on two nodes, while the workers
# of both are killed again and again (docs/semantics.md P6.1, P6.3, P6.5): each
# call is answered as if they were not, on each store, with the kernel writing
# by itself and without.  Nobody else writes, so no conflict may be told.
#   SEED=N CALLS=N tests/fault/random-kill.sh    other calls, or more
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
calls=${CALLS:-300}
! quick || calls=${CALLS:-100}

# kill_workers SUPERVISOR…: until it is told to stop.
kill_workers()
{
	kills=0
	until [ -e "$work/stop" ]; do
		# Both have come so far as to answer, also on a slow machine.
		[ ! -e "$A/none" ] && [ ! -e "$B/none" ]
		sleep "0.$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')"
		for s; do
			# (No newline follows.)
			read -r w rest <"/proc/$s/task/$s/children" || :
			[ -n "$w" ] && kill_worker "$w" 2>/dev/null &&
				kills=$((kills + 1))
		done
	done
	echo "$kills" >"$work/kills"
}

body()
{
	for mode in auto off; do
		rm -f "$work/stop"
		mount_two "passthrough=$mode"
		s=$(status_field "$A" supervisor_pid)
		t=$(status_field "$B" supervisor_pid)
		kill_workers "$s" "$t" &
		killer=$!
		test_pids=$killer
		"$builddir/tests/bin/random-io" "$A" "$B" 3 "$calls" \
			"${SEED:-1}" >"$work/out" 2>&1 || {
			cat "$work/out"
			fail "passthrough=$mode: see above"
		}
		touch "$work/stop"
		wait "$killer"
		echo "passthrough=$mode: $(cat "$work/kills") kills"
		[ "$(cat "$work/kills")" -gt 0 ] || fail "nobody was killed"
		for n in "$A" "$B"; do
			[ ! -e "$n/none" ] # a worker is there
			same "failed files" \
				"$(status_field "$n" errors.failed_files)" 0
			nodes_pids="$nodes_pids $(status_field "$n" worker_pid)"
		done
		! grep "by another node while" "$work/A.log" "$work/B.log" ||
			fail "a conflict that was none"
		rm -f "$A"/*
		umount_node "$A"
		umount_node "$B"
	done
}
each_store body
