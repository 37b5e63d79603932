#!/bin/sh
# SPDX-License-Identifier: MIT
# What a new small file costs on the cache disk and on the connections, counted as
# system calls of the worker (bench/README.md, "A new file").  A change of a number
# here is a change of how many uploads a node can take.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 strace
strace -o /dev/null true 2>"$work/err" || skip "$(cat "$work/err")"

n=100

# create DIR N: as an upload does it.
create()
{
	python3 - "$@" <<-'EOF'
	import os, sys
	for i in range(int(sys.argv[2])):
	    fd = os.open('%s/%d' % (sys.argv[1], i), os.O_CREAT | os.O_WRONLY)
	    os.write(fd, os.urandom(16384))
	    os.close(fd)
	EOF
}

# most LIMIT CALL…: no more of these for each file, and a few that are not for
# one (threads that start, the tables of the cache).
most()
{
	limit=$1 sum=0
	shift
	for call; do
		c=$(awk -v c="$call" '$NF == c { print $4 }' "$work/count")
		sum=$((sum + ${c:-0}))
	done
	[ "$sum" -le $((n * limit + n / 2)) ] ||
		fail "$*: $sum for $n files, not $limit for each"
}

new_store s3
A=$work/A
# (Directories that are asked for again in between are not counted.)
mount_node A "$SOURCE" "$A" "$OPTS,actimeo=60"
mkdir "$A/warm" "$A/new"
create "$A/warm" 40
strace -f -c -p "$(status_field "$A" worker_pid)" -o "$work/count" \
	2>"$work/strace" &
pid=$!
test_pids="$test_pids $pid"
wait_until 20 strace grep -qs attached "$work/strace"
create "$A/new" $n
# The last RELEASE: nobody waits for it.
wait_until 20 "the end" eval '[ "$(status_field "$A" open_files)" = 0 ]'
kill -INT $pid
wait $pid || :
most 2 open openat
most 2 close
most 3 rename renameat renameat2
most 1 ftruncate
# A LIST, and a PUT that is one piece with its header.
most 2 sendto sendmsg
grep -q openat "$work/count" || fail "nothing was counted"
most 0 fcntl unlink unlinkat fsync fdatasync
# Whether the disk could take the bytes: waits for nothing [P5.2].
most 3 sync_file_range
umount_all
