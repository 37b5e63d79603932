#!/bin/sh
# SPDX-License-Identifier: MIT
# The store is down when it is mounted: hard gives a live mount that waits,
# never the bare directory; soft and wrong keys are refused.  And it goes down
# and comes back later, also with a new worker in between.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_rgw
new_store s3
start_proxy p "${RGW_ENDPOINT#http://}"
OPTS=$(echo "$OPTS" |
	sed "s|endpoint=[^,]*|endpoint=http://127.0.0.1:$proxy_port|")
D=$work/mnt
mkdir "$D"
echo bare >"$D/bare"
mount_node a "$SOURCE" "$D"
echo one >"$D/one"
umount_all

proxy_do p down >/dev/null
if sharedfs mount "$SOURCE" "$D" -o "$OPTS,soft,cache_dir=$work/c" 2>"$work/out"
then
	fail "a soft mount of a store that is down"
fi
grep -q 'not mounted' "$work/out" || fail "$(cat "$work/out")"

mount_node a "$SOURCE" "$D" 2>"$work/out"
grep -q "warning: .*can't be reached" "$work/out" || fail "$(cat "$work/out")"
same warnings "$(wc -l <"$work/out")" 1
code=0
sharedfs status --check "$D" >"$work/out" || code=$?
same "exit of status" "$code" 2
timeout 20 sharedfs mount "$SOURCE" "$D" -o "$OPTS" 2>"$work/out" ||
	fail "a waiting mount is not recognised"
grep -q 'already mounted' "$work/out" || fail "$(cat "$work/out")"

# A reader waits; nothing of the bare directory is seen.
cat "$D/one" >"$work/read" 2>&1 &
reader=$!
test_pids="$test_pids $reader"
code=0
timeout 1 ls "$D/bare" >"$work/out" 2>&1 || code=$?
same "ls while the store is down" "$code" 124
not_running $reader && fail "a reader did not wait"
proxy_do p up >/dev/null
wait $reader || fail "the reader failed: $(cat "$work/read")"
same content "$(cat "$work/read")" one
sharedfs status --check "$D" >/dev/null || fail "not ok when the store is back"

# Down again, and the worker killed: the next one waits as well.
echo two >"$D/two"
proxy_do p down >/dev/null
kill -KILL "$(status_field "$D" worker_pid)"
cat "$D/two" >"$work/read" 2>&1 &
reader=$!
test_pids="$test_pids $reader"
is_next()
{
	[ "$(status_field "$D" worker_restarts 2>/dev/null)" = 1 ]
}
wait_until 20 "the next worker" is_next
not_running $reader && fail "a reader did not wait: $(cat "$work/read")"
proxy_do p up >/dev/null
wait $reader || fail "the reader failed: $(cat "$work/read")"
same content "$(cat "$work/read")" two
nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
umount_all

# A mount that never reached its store can be unmounted.
proxy_do p down >/dev/null
mount_node a "$SOURCE" "$D" 2>/dev/null
timeout 30 sharedfs umount "$D" || fail "a waiting mount can't be unmounted"
wait_gone
mount_node a "$SOURCE" "$D" 2>/dev/null
umount -i -c "$D" # -c: umount(8) itself must not look, and wait
wait_gone
same "the bare directory" "$(cat "$D/bare")" bare
