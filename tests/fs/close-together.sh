#!/bin/sh
# SPDX-License-Identifier: MIT
# [S3.14] Calls of close() that come while the file is being sent are answered by
# one more upload, not by one each.  (The kernel makes calls of fsync() of one
# file wait for each other.)
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/many.py" <<'PY'
import os, sys, threading
fds = [os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644) for i in range(9)]
def one(i):
    os.pwrite(fds[i], b"%4d" % i * 1024, i * 4096)
    os.close(fds[i])
first = threading.Thread(target=one, args=(0,))
first.start()
sys.stdin.readline()  # its upload is under way
rest = [threading.Thread(target=one, args=(i,)) for i in range(1, 9)]
for t in rest: t.start()
for t in [first] + rest: t.join()
PY

under_way()
{
	[ "$(proxy_count p PUT)" -ge 1 ]
}

one_mode()
{
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600,passthrough=$1"
	proxy_do p reset
	proxy_do p fault match=PUT stall=5000
	mkfifo "$work/go.$1"
	python3 "$work/many.py" "$A/f" <"$work/go.$1" &
	writer=$!
	exec 7>"$work/go.$1"
	wait_until 60 "the first upload" under_way
	echo go >&7
	exec 7>&-
	wait "$writer" || fail "the writer"
	n=$(proxy_count p PUT)
	echo "passthrough=$1: 9 closes, $n PUTs"
	[ "$n" -ge 2 ] && [ "$n" -le 4 ] || fail "$n PUTs for 9 closes"
	rgw req "$RGW_DIR" GET "/$bucket/f" -o "$work/got"
	cmp "$A/f" "$work/got" || fail "other bytes"
	same "size" "$(stat -c %s "$work/got")" $((9 * 4096))
	rm "$A/f"
	sharedfs umount "$A"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	A=$work/A
	one_mode off
	one_mode auto
}
STORES=s3 each_store body
