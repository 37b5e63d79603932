#!/bin/sh
# SPDX-License-Identifier: MIT
# Supervisor and worker both killed: status says so, the next mount clears the
# dead one away, umount works on it.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
new_store file
D=$work/mnt
echo hello >"$store_dir/hello"

mount_node a "$SOURCE" "$D"
kill_node "$D"
wait_gone
code=0
sharedfs status --check "$D" >"$work/out" || code=$?
same "exit of status on a dead mount" "$code" 2
grep -q '^down' "$work/out" || fail "$(cat "$work/out")"
sharedfs mount "$SOURCE" "$D" -o "cache_dir=$work/cache-a,log_file=$work/a.log" \
	2>"$work/err"
nodes_pids="$(status_field "$D" supervisor_pid) $(status_field "$D" worker_pid)"
grep -q 'unmounting the dead mount' "$work/err" || fail "$(cat "$work/err")"
same mounts "$(our_mounts | wc -l)" 1
same content "$(cat "$D/hello")" hello

# The supervisor alone: the worker goes on, and ends as it should.
kill -KILL "$(status_field "$D" supervisor_pid)"
same content "$(cat "$D/hello")" hello
echo more >"$D/more"
umount_all
same "in the store" "$(cat "$store_dir/more")" more

# umount of a dead one.
mount_node a "$SOURCE" "$D"
kill_node "$D"
wait_gone
sharedfs umount "$D" || fail "a dead mount can't be unmounted"
[ -z "$(our_mounts)" ] || fail "still mounted"
