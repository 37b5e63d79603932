#!/bin/sh
# SPDX-License-Identifier: MIT
# Bytes that are unsent when the mount ends: SIGTERM, `sharedfs umount` and
# umount(8) wait for them, further SIGTERMs change nothing; what is not sent
# within drain_timeout is listed, kept, and there for the next start [P1.2]
# [P1.9] [P1.11].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store s3
start_proxy p "127.0.0.1:$RGW_PORT"
D=$work/mnt
OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,request_timeout=2"

pending()
{
	[ "$(status_field "$D" pending_files)" = "$1" ]
}

# unsent NAME: a program was killed in close(), and the store does not answer.
unsent()
{
	mkfifo "$work/go-$1"
	python3 - "$D/$1" "$work/go-$1" <<-'PY' &
	import os, sys
	fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
	os.write(fd, b"bytes\n")
	open(sys.argv[2]).read()
	os.close(fd)
	PY
	writer=$!
	test_pids="$test_pids $writer"
	exec 4>"$work/go-$1" # it has written
	proxy_do p pause
	exec 4>&-
	wait_until 30 "the unsent file" pending 1
	kill -KILL "$writer"
	wait_until 30 "the end of the writer" not_running "$writer"
	supervisor=$(status_field "$D" supervisor_pid)
	worker=$(status_field "$D" worker_pid)
}

in_store()
{
	[ "$(rgw req "$RGW_DIR" GET "/$bucket/$1")" = bytes ]
}

said()
{
	grep -q "$1" "$work/a.log"
}

goes_on()
{
	not_running "$worker" && fail "$1: the worker has ended"
	! in_store "$2" || fail "$1: how did it get there?"
}

echo "== SIGTERM"
mount_node a "$SOURCE" "$D"
unsent one
kill -TERM "$supervisor"
wait_until 30 "the end to begin" said "ending $D"
for n in 1 2 3; do
	kill -TERM "$supervisor" "$worker"
done
sleep 1
goes_on SIGTERM one
not_running "$supervisor" && fail "a second SIGTERM was heeded"
proxy_do p resume
wait_gone
in_store one || fail "not sent"
same "mounts" "$(our_mounts | wc -l)" 0

echo "== sharedfs umount"
mount_node a "$SOURCE" "$D"
unsent two
sharedfs umount "$D" >"$work/out" 2>&1 &
umounter=$!
test_pids="$test_pids $umounter"
sleep 1
goes_on "sharedfs umount" two
not_running $umounter && fail "sharedfs umount did not wait"
proxy_do p resume
wait $umounter || fail "umount: $(cat "$work/out")"
wait_gone
in_store two || fail "not sent"

echo "== umount(8)"
mount_node a "$SOURCE" "$D"
unsent three
umount -i -c "$D"
same "mounts" "$(our_mounts | wc -l)" 0
sleep 1
goes_on "umount(8)" three
kill -TERM "$supervisor"
proxy_do p resume
wait_gone
in_store three || fail "not sent"

echo "== drain_timeout"
mount_node a "$SOURCE" "$D" "$OPTS,drain_timeout=1"
unsent four
code=0
timeout 60 sharedfs umount "$D" >"$work/out" 2>&1 || code=$?
same "exit of umount" "$code" 1
grep -q '^  four (6 bytes)' "$work/out" || fail "no list: $(cat "$work/out")"
same "mounts" "$(our_mounts | wc -l)" 1
kill -TERM "$supervisor"
wait_gone
said 'stays in the cache directory' || fail "no word in the log"
proxy_do p resume
[ -z "$(our_mounts)" ] || umount "$D"
sharedfs recover list "$work/cache-a" >"$work/out"
grep -q four "$work/out" || fail "not kept: $(cat "$work/out")"
mount_node a "$SOURCE" "$D"
sharedfs recover save "$D" four "$work/four" >"$work/out" 2>&1 ||
	fail "$(cat "$work/out")"
same "what was kept" "$(cat "$work/four")" bytes
umount_node "$D"
wait_gone
