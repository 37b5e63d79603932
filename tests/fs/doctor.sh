#!/bin/sh
# SPDX-License-Identifier: MIT
# sharedfs doctor names the layer that is in the way; usage errors have words.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
new_store file
D=$work/mnt
O="--cache-dir=$work/cache-a --cache-free=0"

# says GOOD|BAD WORDS WHAT: the verdict, and a line of it.
says()
{
	code=0
	sharedfs doctor "$3" $O >"$work/out" 2>&1 || code=$?
	grep -q "$2" "$work/out" || fail "'$2' is not in: $(cat "$work/out")"
	case $1 in
	GOOD) same "exit" "$code" 0 ;;
	BAD) [ "$code" = 1 ] || fail "exit $code for $3" ;;
	esac
}

says GOOD "ok .*store $SOURCE answers" "$SOURCE"
says BAD "BAD .*nothere" "file://$work/nothere"
says BAD 'BAD .*nodir: No such file' "$work/nodir"
says BAD 'no sharedfs is mounted there' "$work"
mount_node a "$SOURCE" "$D"
says GOOD 'ok .*worker [0-9]* answers' "$D"
mkdir "$D/sub"
says GOOD 'ok .*supervisor' "$D/sub"
kill_node "$D"
wait_gone
says BAD 'the daemon is gone' "$D"
sharedfs umount "$D"

for bad in "" "mont x y" "mount x" "mount a b c" "status" "umount /none" \
	"mount a b --nosuchoption=1" "mount a b -o" "mount a b -x"; do
	if sharedfs $bad >/dev/null 2>"$work/out"; then
		fail "accepted: sharedfs $bad"
	fi
	[ -s "$work/out" ] || fail "no words for: sharedfs $bad"
done
sharedfs --help | grep -q '^usage: sharedfs mount' || fail "--help"
sharedfs --version | grep -q '^sharedfs [0-9]' || fail "--version"
