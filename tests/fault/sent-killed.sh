#!/bin/sh
# SPDX-License-Identifier: MIT
# The worker is killed when the store has taken an upload and has not yet
# answered: the next one finds that it was its own (rule 2).  close() succeeds
# [P6.3], the file is what it was meant to be, and there is no conflict [P9.1],
# also with conflict=fail, though the bytes that were not changed are not on
# this node.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

in_store()
{
	rgw req "$RGW_DIR" GET "/$bucket/$1" | cmp -s - "$work/$1"
}

# killed FILE REQUEST FLAG OFFSET TEXT: writes there; the reply to REQUEST
# waits while the worker is killed.
killed()
{
	cat >"$work/writer.py" <<-'PY'
	import os, sys
	name, flag, at, text = sys.argv[1:]
	fd = os.open(name, os.O_WRONLY | getattr(os, flag, 0))
	os.pwrite(fd, text.encode(), int(at))
	os.close(fd)
	PY
	proxy_do p fault "match=$2" "path=/$1" stall=600000
	python3 "$work/writer.py" "$work/$1" "$3" "$4" "$5"
	python3 "$work/writer.py" "$A/$1" "$3" "$4" "$5" &
	writer=$!
	test_pids="$test_pids $writer"
	wait_until 60 "the bytes of $1 in the store" in_store "$1"
	kill_worker "$(status_field "$A" worker_pid)"
	wait "$writer" || fail "the writer of $1 ($2, $3)"
	proxy_do p clear
	in_store "$1" || fail "$1 is something else ($2, $3)"
	cmp "$work/$1" "$A/$1"
	same "conflicts ($1, $2, $3)" "$(status_field "$A" conflicts)" 0
	nodes_pids="$nodes_pids $(status_field "$A" worker_pid)"
}

body()
{
	start_proxy "p$mode" "127.0.0.1:$RGW_PORT"
	ln -sf "p$mode.ctl" "$work/p.ctl"
	A=$work/A B=$work/B
	# What B wrote is not in A's cache.
	mount_node "B$mode" "$SOURCE" "$B"
	seq 1 2000 >"$work/small"
	seq 1 800000 >"$work/large"
	cp "$work/small" "$work/large" "$B"
	mount_node "A$mode" "$SOURCE" "$A" "$OPTS,passthrough=$mode,part_size=5M,conflict=fail,endpoint=http://127.0.0.1:$proxy_port"
	killed small PUT O_APPEND 0 more
	if [ "$mode" = auto ]; then
		killed small PUT none 100 ----
		killed large COMPLETE O_APPEND 0 more
	else
		killed large COMPLETE none 100 ----
	fi
	umount_all
}

for mode in auto off; do
	new_store s3
	body
done
