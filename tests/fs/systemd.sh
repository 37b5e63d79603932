#!/bin/sh
# SPDX-License-Identifier: MIT
# The units are correct, and the service speaks as Type=notify wants it: ready
# when the mount is live, the watchdog fed while the worker comes and goes.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

if command -v systemd-analyze >/dev/null; then
	echo "== systemd-analyze verify"
	mkdir "$work/units"
	for u in "$builddir"/mount-helpers/systemd/*.service \
	    "$srcdir"/mount-helpers/systemd/*.socket \
	    "$srcdir"/examples/*.service "$srcdir"/examples/*.timer; do
		# The programs are not where they will be installed.
		sed 's#^\(Exec[A-Za-z]*=\)[^ ]*/\(sharedfs\|docker-volume-sharedfs\)#\1/bin/true#' \
			"$u" >"$work/units/$(basename "$u" | sed 's/@/@srv-share/')"
	done
	# It wants a manual page for each Documentation=, installed or not.
	systemd-analyze verify --man=no "$work"/units/*.* >"$work/out" 2>&1 ||
		fail "$(cat "$work/out")"
	# It warns about units of the machine's own too.
	! grep -F "$work/units" "$work/out" || fail "see above"
else
	echo "systemd-analyze is not installed: units are not verified"
fi

echo "== sd_notify"
new_store file
D=$work/mnt
mkdir "$D"
cat >"$work/listen.py" <<'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listening", flush=True)
while True:
    print(s.recv(4096).decode(), flush=True)
END
python3 "$work/listen.py" "$work/notify" >"$work/heard" &
test_pids="$test_pids $!"
wait_until 30 "the listener" grep -qx listening "$work/heard"

heard()
{
	[ "$(grep -cx "$1" "$work/heard")" -ge "$2" ]
}

NOTIFY_SOCKET=$work/notify WATCHDOG_USEC=400000 \
	sharedfs mount "$SOURCE" "$D" -f -o "$OPTS,cache_dir=$work/cache,log_file=$work/n.log" &
daemon=$!
test_pids="$test_pids $daemon"
wait_until 60 READY=1 heard READY=1 1
same "mounted when it is ready" "$(status_field "$D" supervisor_pid)" "$daemon"
worker=$(status_field "$D" worker_pid)
wait_until 60 WATCHDOG=1 heard WATCHDOG=1 3
kill -KILL "$worker"
n=$(grep -cx WATCHDOG=1 "$work/heard")
wait_until 60 "the watchdog after a worker's death" heard WATCHDOG=1 $((n + 2))
echo x >"$D/f"
nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
same "ready only once" "$(grep -cx READY=1 "$work/heard")" 1
kill -TERM "$daemon"
wait_until 60 STOPPING=1 heard STOPPING=1 1
wait "$daemon" || fail "exit status of SIGTERM: $?"
wait_gone
