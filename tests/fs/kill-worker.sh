#!/bin/sh
# SPDX-License-Identifier: MIT
# The worker is killed at any moment and again: no program sees an error, open
# files and working directories go on (P6).
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
# FUSE_NOTIFY_RESEND
new_store file
D=$work/mnt
mkdir "$store_dir/d"
for i in 1 2 3 4 5 6 7 8 9; do
	echo "content $i" >"$store_dir/d/f$i"
done
mount_node a "$SOURCE" "$D" "$OPTS,actimeo=0"

# Names, attributes, content and new files, over and over.
loop()
{
	cd "$D/d"
	n=0
	until [ -e "$work/stop" ]; do
		ls -l >"$work/ls.$1" || echo "ls failed" >>"$work/errors"
		same "names" "$(wc -l <"$work/ls.$1")" 10
		stat f1 f2 f3 >/dev/null || echo "stat failed" >>"$work/errors"
		for i in 1 5 9; do
			same content "$(cat "f$i")" "content $i"
		done
		n=$((n + 1))
	done 2>>"$work/errors"
	echo "$n" >"$work/loops.$1"
}
loop 1 &
p1=$!
loop 2 &
p2=$!
test_pids="$p1 $p2"
exec 9<"$D/d/f7"

killed=0
while [ "$killed" -lt 6 ]; do
	w=$(status_field "$D" worker_pid)
	kill_worker "$w"
	wait_until 10 "the end of worker $w" not_running "$w"
	killed=$((killed + 1))
	same restarts "$(status_field "$D" worker_restarts)" "$killed"
	timeout 20 stat "$D/d/f4" >/dev/null || fail "stat after kill $killed"
done
nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
touch "$work/stop"
wait $p1 || fail "loop 1 failed"
wait $p2 || fail "loop 2 failed"
same "content of an open file" "$(cat <&9)" "content 7"
exec 9<&-
[ ! -s "$work/errors" ] || fail "$(cat "$work/errors")"
for l in 1 2; do
	[ "$(cat "$work/loops.$l")" -gt 0 ] || fail "loop $l did nothing"
done
grep -q 'was killed by signal 9' "$work/a.log" || fail "nothing is logged"
umount_all
