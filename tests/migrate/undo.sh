#!/bin/sh
# SPDX-License-Identifier: MIT
# --undo while an application writes all the time: each call finds the newest
# state of what it names, in the share or in the old tree [MIG.9].  With a file
# open for writing it is refused with words; a program that works in the share
# is served there, and what it writes is brought.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

n=${MIGRATE_FILES:-300} rounds=${MIGRATE_ROUNDS:-3}
if quick; then
	n=${MIGRATE_FILES:-40} rounds=${MIGRATE_ROUNDS:-1}
fi

# Goes through the share by its working directory, as fast as it can.
in_the_share()
{
	(
		cd "$src/00"
		exec 3>&- 4>&-
		i=0
		while [ ! -e "$work/enough" ]; do
			i=$((i + 1))
			echo $i >here.tmp
			mv here.tmp here
			mkdir dir
			rmdir dir
			[ -e "$work/moving" ] || : >"$work/moving"
		done
		echo $i >"$work/last"
	) &
	inside=$!
	test_pids="$test_pids $inside"
}


# Programs that read at once what they have written.
start_counters()
{
	counters=
	for i in ${MIGRATE_COUNTERS:-1 2 3 4}; do
		python3 "$srcdir/tests/migrate/counter.py" "$src" \
			"$work/control" $i &
		counters="$counters $!"
		test_pids="$test_pids $!"
		wait_until 30 "counter $i" test -e "$work/control/$i"
	done
}

stop_counters()
{
	for p in $counters; do
		wait $p || fail "a counter found an older state"
	done
}

undone()
{
	! mountpoint -q "$src" || not_running $mover
}

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state"
	mkdir -p "$work/up"
	plain_tree "$src" "$n"
	OPTS=$OPTS,cache_dir=$work/cache-undo,log_file=$work/undo.log
	start_writer "$src" 3
	start_counters
	for i in $(seq $rounds); do
		migrate "$src" --cutover
		ended "cut-over" 0
		note_node "$src"
		[ "$i" != 1 ] || refused_by_writer
		migrate "$src" --undo
		ended "undo" 0
		wait_gone
		[ ! -e "$src.before-sharedfs" ] || fail "something is left"
	done
	stop_writer
	stop_counters
	as_written "$src"

	echo "-- a working directory in the share"
	migrate "$src" --cutover
	ended "cut-over" 0
	note_node "$src"
	rm -f "$work/enough" "$work/moving"
	in_the_share
	wait_until 30 "the program in the share" test -e "$work/moving"
	migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
		--state="$work/state" --undo >"$work/out" 2>&1 &
	mover=$!
	wait_until 60 "the old tree" undone
	rm "$work/moving"
	wait_until 30 "the program in the moved share" test -e "$work/moving"
	: >"$work/enough"
	wait $inside || fail "the program in the share got an error"
	code=0
	wait $mover || code=$?
	ended "undo" 0
	same "its last file" "$(cat "$src/00/here")" "$(cat "$work/last")"
	wait_gone
	as_written "$src"
}

# An open file for writing: nothing is moved, and it is told who has it.
refused_by_writer()
{
	mkfifo "$work/go"
	(
		exec 5>"$src/held" 3<"$work/go"
		echo before >&5
		read -r _ <&3
		echo after >&5
	) &
	holder=$!
	test_pids="$test_pids $holder"
	exec 4>"$work/go"
	wait_until 10 "the held file" test -s "$src/held"
	migrate "$src" --undo --late=1s
	ended "undo beside an open file" 1
	said "process $holder"
	said "has a file open for writing"
	said "not undone, $src is as it was"
	mountpoint -q "$src" || fail "it was moved"
	echo go >&4
	exec 4>&-
	wait $holder
	rm "$work/go"
}
each_store body
