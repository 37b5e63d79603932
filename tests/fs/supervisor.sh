#!/bin/sh
# SPDX-License-Identifier: MIT
# The supervisor is killed, the worker hangs, the worker crashes again and
# again: the mount goes on [P6.6], [P6.8], and the status tells.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store file
D=$work/mnt
mount_node a "$SOURCE" "$D" "$OPTS,heartbeat=3"
echo before >"$D/f"
exec 9>>"$D/f"

another()
{
	# Its field $1 is no longer $2.
	now=$(status_field "$D" "$1" 2>/dev/null) && [ "$now" != "$2" ]
}

for n in 1 2; do
	s=$(status_field "$D" supervisor_pid)
	w=$(status_field "$D" worker_pid)
	kill -KILL "$s"
	echo "supervisor $n" >&9
	wait_until 20 "a new supervisor" another supervisor_pid "$s"
	same "the worker" "$(status_field "$D" worker_pid)" "$w"
	nodes_pids="$nodes_pids $(status_field "$D" supervisor_pid)"
	# It starts workers like the first.
	kill_worker "$w"
	echo "worker $n" >&9
	same "names" "$(ls "$D")" f
	wait_until 20 "a new worker" another worker_pid "$w"
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
done
s=$(status_field "$D" supervisor_pid)
if (echo -1000 >/proc/self/oom_score_adj) 2>/dev/null; then
	same "the supervisor's memory score" "$(cat "/proc/$s/oom_score_adj")" -1000
fi
same "the worker's" "$(cat "/proc/$(status_field "$D" \
	worker_pid)/oom_score_adj")" "$(cat /proc/self/oom_score_adj)"

# One that hangs.
w=$(status_field "$D" worker_pid)
kill -STOP "$w"
timeout 60 cat "$D/f" >/dev/null || fail "cat while the worker hung"
wait_until 20 "a worker in its place" another worker_pid "$w"
case $(status_field "$D" last_worker) in
*hung*) ;;
*) fail "the status says: $(status_field "$D" last_worker)" ;;
esac

# One that crashes.
for n in 1 2 3; do
	w=$(status_field "$D" worker_pid)
	kill -ABRT "$w" # sanitizers leave this one alone
	wait_until 30 "worker after $w" another worker_pid "$w"
	timeout 20 ls "$D" >/dev/null || fail "ls after crash $n"
done
! sharedfs status --check "$D" >"$work/check" || fail "nothing is degraded"
grep -q "crashes again" "$work/check" || fail "$(cat "$work/check")"
exec 9>&-
printf 'before\nsupervisor 1\nworker 1\nsupervisor 2\nworker 2\n' |
	cmp - "$D/f" || fail "the file has other bytes"
nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
umount_all

# Another mount has taken the directory meanwhile: a new supervisor of the first
# takes nothing of it for its own.
E=$work/moved
mkdir "$E"
mount_node a "$SOURCE" "$D"
mount --move "$D" "$E"
mount_node b "$SOURCE" "$D"
other=$(status_field "$D" supervisor_pid)
s=$(status_field "$E" supervisor_pid)
kill -KILL "$s"
moved_on()
{
	now=$(status_field "$E" supervisor_pid 2>/dev/null) && [ "$now" != "$s" ]
}
wait_until 20 "a new supervisor" moved_on
nodes_pids="$nodes_pids $now"
first_ended()
{
	not_running "$now"
}
umount -i "$E"
wait_until 20 "its end" first_ended
same "the other mount's" "$(status_field "$D" supervisor_pid)" "$other"
umount_all
