#!/bin/sh
# SPDX-License-Identifier: MIT
# Close-to-open between two nodes: what A has closed, B opens, also when B
# looked the name up or listed the directory just before [P2.1] [P2.2].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

body()
{
	mount_two
	mkdir "$A/d"
	wait_until 3 "d on B" test -d "$B/d"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		[ ! -e "$B/d/$i" ] || fail "$i is there too early"
		ls "$B/d" >/dev/null
		echo "first $i" >"$A/d/$i"
		same "new name" "$(cat "$B/d/$i")" "first $i"
		# The same length, within one tick of coarse clocks.
		echo "other $i" >"$A/d/$i"
		same "new content" "$(cat "$B/d/$i")" "other $i"
		echo "from B, longer" >"$B/d/$i"
		same "back on A" "$(cat "$A/d/$i")" "from B, longer"
		rm "$B/d/$i"
		if cat "$A/d/$i" 2>"$work/err"; then
			fail "$i was removed on B and can be opened on A"
		fi
		grep -q 'No such file' "$work/err" || fail "$(cat "$work/err")"
	done
}
each_store body
