#!/bin/sh
# SPDX-License-Identifier: MIT
# A cut-over in the moment in which a program's call has found its directory in
# the old tree, but waits there for longer than half a second: "A call that was
# under way in the old tree is waited for" [MIG.7].  What it makes is in the
# share before the program asks for it there.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3
why=$(python3 "$srcdir/tests/migrate/stalled.py" 2>&1) ||
	skip "a call can't be stalled here: $why"

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state" "$work/result"
	mkdir -p "$work/up"
	plain_tree "$src" 30
	OPTS=$OPTS,cache_dir=$work/cache-stalled,log_file=$work/stalled.log
	code=0
	python3 "$srcdir/tests/migrate/until.py" "press Enter" \
		"python3 '$srcdir/tests/migrate/stalled.py' '$src' 00 \
			'$work/result'" enter \
		migrate-local-uploads "$src" "$SOURCE" \
		-o "$OPTS,log_level=${MIGRATE_LOG:-warning}" \
		--state="$work/state" --throttle=off --cutover=wait \
		>"$work/out" 2>&1 || code=$?
	ended "cut-over" 0
	note_node "$src"
	wait_until 30 "the program" test -e "$work/result"
	same "what the program met" "$(cat "$work/result")" ok
	same "its file" "$(cat "$src/00/new")" "all of it"
	migrate "$src" --undo
	ended undo 0
	wait_gone
	same "its file in the old tree" "$(cat "$src/00/new")" "all of it"
}
each_store body
