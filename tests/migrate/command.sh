#!/bin/sh
# SPDX-License-Identifier: MIT
# The command as its operator sees it: the line of progress, Enter, signals, exit
# codes, the report; what it does where an application is faster than the store,
# where fanotify is not allowed, or a disk is full [MIG.3] [MIG.5] [MIG.6] [MIG.8].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3 setpriv

# at DIR OPTION…: on a terminal; when $words are there $then is run, and $what
# is done (see until.py).  Output and code as of migrate.
at()
{
	dir=$1
	shift
	code=0
	python3 "$srcdir/tests/migrate/until.py" "$words" "$then" "$what" \
		migrate-local-uploads "$dir" "$SOURCE" -o "$OPTS" \
		--state="$work/state" --throttle=off "$@" \
		>"$work/out" 2>&1 || code=$?
}

new_store file
mkdir "$work/up"
src=$work/up/loads
plain_tree "$src" 30
OPTS=$OPTS,cache_dir=$work/cache

echo "== Enter"
words="press Enter" then="! mountpoint -q '$src'" what=enter
at "$src" --cutover=wait
ended "with Enter" 0
note_node "$src"
mountpoint -q "$src" || fail "no cut-over"
# One line, written over: percent, files, bytes, rate, lag.
grep -qE "[a-z]: [0-9]+%, [0-9]+/33 files, .*B, .*B/s, [0-9]+ files/s.*, lag [0-9.]+ s \([0-9]+ names\)" \
	"$work/out" || { cat "$work/out" >&2; fail "no line of progress"; }
grep -qF "$(printf '\r\033[K')" "$work/out" || fail "it is not written over"

echo "== late writers that stay [MIG.8]"
migrate "$src" --undo
ended undo 0
wait_gone
sleep 100000 >"$src/held" &
holder=$!
test_pids="$test_pids $holder"
migrate "$src" --cutover --late=1s
ended "a file that stays open" 5
said "process $holder (sleep) still writes to files of the old tree"
note_node "$src"
kill $holder
wait $holder || :
migrate "$src" --undo
ended undo 0
wait_gone

echo "== an application that is faster than the store [MIG.6]"
mkdir "$work/fast"
(
	while [ ! -e "$work/enough" ]; do
		for i in 1 2 3 4 5 6; do
			date +%N >"$work/fast/$i"
		done
	done
) &
fast=$!
test_pids="$test_pids $fast"
was=$SOURCE
SOURCE=file://$work/fast-store
mkdir "$work/fast-store"
words="the cut-over waits until that is less than 1 s" then=: what=TERM
at "$work/fast" --cutover --max-lag=1s --iops=1
ended "a cut-over that waits" 143
said "changes come faster than they are carried"
! mountpoint -q "$work/fast" || fail "it did not wait"
migrate "$work/fast" --cutover --iops=1
ended "--max-lag" 0
note_node "$work/fast"
: >"$work/enough"
wait $fast
migrate "$work/fast" --undo
ended undo 0
wait_gone
SOURCE=$was

echo "== signals"
words="following" then=: what=USR1+TERM
at "$src" --follow
ended SIGTERM 143
what=INT
at "$src" --follow
ended SIGINT 130

echo "== where fanotify is not allowed [MIG.6]"
changed="mv '$src/large' '$src/moved' && echo new >'$src/new' && rm '$src/-n'"
words="following" then="$changed; until [ -e '$store_dir/new' ] &&
	[ -e '$store_dir/moved' ] && [ ! -e '$store_dir/large' ] &&
	[ ! -e '$store_dir/-n' ]; do sleep 0.1; done" what=TERM
code=0
setpriv --bounding-set -sys_admin --inh-caps -sys_admin \
	python3 "$srcdir/tests/migrate/until.py" "$words" "$then" "$what" \
	migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
	--state="$work/state" --throttle=off --follow >"$work/out" 2>&1 ||
	code=$?
ended "without CAP_SYS_ADMIN" 143
said "all is looked at again and again"
migrate "$src" --verify --report="$work/report.json"
ended "compared" 0
same "nothing was left to do" "$(report files_sent)" 0

echo "== the report"
python3 - "$work/report.json" <<'PY' || fail "the report: see above"
import json, sys
r = json.load(open(sys.argv[1]))
numbers = """files bytes files_done bytes_done files_sent bytes_sent verified
    removed vanished changed_while_read exit seconds""".split()
lists = "failed collisions left_out differs notes".split()
for k in numbers:
    assert isinstance(r[k], (int, float)) and r[k] >= 0, k
for k in lists:
    assert isinstance(r[k], list), k
assert r["exit"] == 0 and r["seconds"] > 0 and r["files"] == r["files_done"]
assert len(r["hash_xxh3_128"]) == 32 and r["began"].endswith("Z")
assert r["verified"] >= r["files"]
PY

echo "== a store that gets full on the way [MIG.4]"
mkdir "$work/small" "$work/many"
mount -t tmpfs -o size=24M tmpfs "$work/small"
for i in $(seq 100); do
	head -c 65536 /dev/urandom >"$work/many/$i"
done
tree_list "$work/many" >"$work/before"
SOURCE=file://$work/small
words="copying" what=CONT
then="head -c 30000000 /dev/zero >'$work/small/.sharedfs-filler'; :"
at "$work/many" --bwlimit=200K --progress=plain
ended "no room" 1
said "No space left"
tree_list "$work/many" >"$work/after"
diff "$work/before" "$work/after" || fail "the source was changed"
rm "$work/small/.sharedfs-filler"
migrate "$work/many" --verify
ended "with room" 0
umount "$work/small"
