#!/bin/sh
# SPDX-License-Identifier: MIT
# Signals to programs that wait for the store (docs/semantics.md P1.9, P7.1):
# the fatal ones end the wait at once, the others do not; what was written is
# sent all the same.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
need_rgw

new_store s3
start_proxy p "${RGW_ENDPOINT#http://}"
OPTS=$(echo "$OPTS" | sed "s|endpoint=[^,]*|endpoint=http://127.0.0.1:$proxy_port|")
mount_node A "$SOURCE" "$work/A"
A=$work/A

# writer NAME TEXT: writes, says so, and closes when told; its pid is in $pid.
# It has a handler for SIGALRM.
writer()
{
	mkfifo "$work/go.$1" "$work/did.$1"
	python3 - "$A/$1" "$2" "$work/go.$1" "$work/did.$1" \
		>"$work/$1.out" 2>&1 <<'PY' &
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *a: None)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(fd, sys.argv[2].encode())
open(sys.argv[4], "w").close()
open(sys.argv[3]).close()
try:
    os.close(fd)
    print("closed")
except OSError as e:
    print(e)
PY
	pid=$!
	test_pids="$test_pids $pid"
	: <"$work/did.$1"
}

# close_now NAME: returns when the process is in close() and its request is
# under way.
close_now()
{
	proxy_do p pause >/dev/null
	: >"$work/go.$1"
	wait_until 10 "close() of $1" in_close "$pid"
}

in_close()
{
	grep -q '^3 ' "/proc/$1/syscall" # close(2) on x86-64
}

[ "$(uname -m)" = x86_64 ] || skip "knows the system calls of x86-64 only"

# A signal that the program handles: close() goes on waiting.
writer handled one
close_now handled
kill -ALRM "$pid"
sleep 0.6
in_close "$pid" || fail "SIGALRM ended the close()"
kill -ALRM "$pid"
# SIGKILL after it ends the wait, though the kernel tells of one signal only.
kill -KILL "$pid"
wait_until 5 "the end of a killed writer" not_running "$pid"
[ ! -s "$work/handled.out" ] || fail "$(cat "$work/handled.out")"
[ "$(status_field "$A" pending_files)" = 1 ] || fail "not listed as unsent"
proxy_do p resume >/dev/null
wait_until 30 "the bytes in the store" eval \
	'[ "$(status_field "$A" pending_files)" = 0 ]'
same "the file of a killed writer" "$(cat "$A/handled")" one

# SIGTERM is fatal for who does not handle it.
writer terminated two
close_now terminated
kill -TERM "$pid"
wait_until 5 "the end of a terminated writer" not_running "$pid"
proxy_do p resume >/dev/null
wait_until 30 "the bytes in the store" eval \
	'[ "$(status_field "$A" pending_files)" = 0 ]'

# No signal at all.
writer patient three
close_now patient
proxy_do p resume >/dev/null
wait "$pid" || fail "the patient writer failed"
same "close()" "$(cat "$work/patient.out")" closed

# Readers: an open() that asks the store.
proxy_do p pause >/dev/null
cat "$A/patient" >"$work/cat.out" 2>&1 &
reader=$!
test_pids="$test_pids $reader"
wait_until 10 "a request of the reader" eval \
	'[ "$(cut -d" " -f1 "/proc/$reader/syscall")" = 257 ]'
kill -TERM "$reader"
wait_until 5 "the end of a terminated reader" not_running "$reader"
proxy_do p resume >/dev/null

# All of it is in the store: another node sees it.
mount_node B "$SOURCE" "$work/B"
same "on B" "$(cat "$work/B/handled" "$work/B/terminated" "$work/B/patient")" \
	onetwothree
umount_all
