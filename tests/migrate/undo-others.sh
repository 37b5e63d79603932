#!/bin/sh
# SPDX-License-Identifier: MIT
# --undo while another node has the share mounted: if it writes, nothing is moved,
# and it is told; everything that it wrote before comes to the old tree, and with
# --undo=alone that is enough [MIG.9].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

# start_others NAME: another node's programs, each writes one file after the other
# until "enough"; their names begin with NAME.
start_others()
{
	rm -f "$work/enough" "$work"/begun.*
	others=
	for p in 1 2; do
		(
			i=0
			while [ ! -e "$work/enough" ]; do
				i=$((i + 1))
				echo "of B: $i" >"$work/B/there/$1.$p.$i"
				[ -e "$work/begun.$p" ] || : >"$work/begun.$p"
			done
		) &
		others="$others $!"
		test_pids="$test_pids $!"
		wait_until 30 "the first file of B" test -e "$work/begun.$p"
	done
}

stop_others()
{
	: >"$work/enough"
	for p in $others; do
		wait $p || fail "a program on the other node got an error"
	done
}

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state" "$work/want"
	mkdir -p "$work/up"
	plain_tree "$src" 20
	here=$OPTS,cache_dir=$work/cache-here,log_file=$work/here.log
	mine=$OPTS
	OPTS=$here
	migrate "$src" --cutover
	ended "cut-over" 0
	note_node "$src"
	# (It does not believe what it was told a moment ago.)
	mount_node B "$SOURCE" "$work/B" "$mine,actimeo=0"

	echo "-- it writes, and so do programs here"
	mkdir "$work/B/there"
	start_writer "$src" 4
	start_others one
	migrate "$src" --undo
	ended "undo beside a writer elsewhere" 1
	said "another node writes to the share (\"there"
	said "not undone, $src is as it was"
	mountpoint -q "$src" || fail "it was moved"
	stop_others
	stop_writer

	echo "-- it is quiet"
	rm "$work/B/-n"
	mv "$work/B/large" "$work/B/there/larger"
	echo "changed by B" >"$work/B/link"
	attrs_sent "$src"
	attrs_sent "$work/B"
	cp -a "$work/B" "$work/want"
	start_writer "$src" 5
	migrate "$src" --undo
	ended "undo beside a quiet node" 0
	stop_writer
	as_written "$src"
	rm -r "$src/writer-5"
	same_tree "$work/want" "$src"

	echo "-- it writes, and that is as it should be"
	! mountpoint -q "$src" || fail "it is mounted"
	migrate "$src" --cutover
	ended "cut-over" 0
	note_node "$src"
	start_others two
	wait_until 30 "two of its files" test -e "$work/B/there/two.1.2"
	# The last but one is complete.
	last=$(find "$work/B/there" -name "two.1.*" | wc -l)
	last=$((last - 1))
	migrate "$src" --undo=alone
	ended "undo alone" 0
	said "other nodes write to the share (\"there"
	said "does not come to $src"
	same "what B had written" "$(cat "$src/there/two.1.$last")" "of B: $last"
	stop_others
	! mountpoint -q "$src" || fail "it is mounted"
	umount_node "$work/B"
	wait_gone
}

each_store body
