#!/bin/sh
# SPDX-License-Identifier: MIT
# [P6.1] The worker is killed while its thread that tells the kernel of a foreign
# change waits for a directory that a program holds, whose request waits for
# the worker: the next worker does not wait for the end of the old one.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

# The state of that thread; D: it waits in the kernel.
teller()
{
	for t in /proc/"$worker"/task/*; do
		[ "$(cat "$t/comm")" != notify ] ||
			sed 's/.*) \(.\).*/\1/' "$t/stat"
	done
}

waits()
{
	[ "$(teller)" = D ]
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	mount_node A "$SOURCE" "$work/A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port"
	mount_node B "$SOURCE" "$work/B"
	mkdir "$work/A/d"
	echo 1 >"$work/A/d/f"
	exec 9<"$work/A/d/f"
	worker=$(status_field "$work/A" worker_pid)
	echo 22 >"$work/B/d/f"
	# It holds the directory until its answer comes.
	proxy_do p fault match=PUT stall=900000
	mkdir "$work/A/d/new" &
	maker=$!
	wait_until 20 "the mkdir" is_held
	wait_until 20 "the notification" waits_after_stat
	kill -9 "$worker"
	wait_until 30 "a next worker" goes_on
	proxy_do p clear
	wait "$maker" || fail "mkdir"
	same "new content" "$(cat "$work/A/d/f")" 22
	[ -d "$work/B/d/new" ] || fail "no new directory"
	exec 9<&-
	nodes_pids="$nodes_pids $(status_field "$work/A" worker_pid)"
}

# Whoever asks for the attributes finds the change.
waits_after_stat()
{
	stat -L "/proc/self/fd/9" >/dev/null
	waits
}

is_held()
{
	[ "$(proxy_do p hits)" = 1 ]
}

goes_on()
{
	now=$(status_field "$work/A" worker_pid)
	[ -n "$now" ] && [ "$now" != "$worker" ]
}
STORES=s3
each_store body
