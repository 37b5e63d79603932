#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole way with a large tree and a live writer: bulk, catching up, cut-over,
# the application goes on, --undo under the application; each time all names,
# attributes and bytes are compared [MIG.6] [MIG.7] [MIG.9].  It prints how long
# nobody could write.  MIGRATE_FILES=100000 MIGRATE_BYTES=5000000000 is the real
# thing (SHAREDFS_TEST_TIMEOUT=7200), MIGRATE_LOG=info tells what that moment
# consists of; else it is small.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

n=${MIGRATE_FILES:-300} bytes=${MIGRATE_BYTES:-3000000}
if quick; then
	n=${MIGRATE_FILES:-60} bytes=${MIGRATE_BYTES:-600000}
fi

# As before, but for the directories of the writers.
manifest()
{
	python3 "$srcdir/tests/migrate/manifest.py" list "$src" writer-5 \
		writer-6 >"$work/manifest" || fail "$1: it can't be read"
	diff "$work/manifest.want" "$work/manifest" >"$work/diff.out" || {
		head -n 20 "$work/diff.out" >&2
		fail "$1: it is another tree"
	}
}

took()
{
	echo "$store: $1: $(report seconds) s; $(report files_sent) files," \
		"$(report bytes_sent) bytes sent, $(report files_brought_back)" \
		"brought back; could not be written for $(report gap_seconds) s"
	grep -E "exchange|changes|frozen" "$work/out" || :
}

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state"
	mkdir -p "$src"
	python3 "$srcdir/tests/migrate/manifest.py" make "$src" "$n" "$bytes"
	python3 "$srcdir/tests/migrate/manifest.py" list "$src" \
		>"$work/manifest.want"
	OPTS=$OPTS,cache_dir=$work/cache-$store,log_file=$work/large.log

	start_writer "$src" 5
	migrate "$src" --cutover --report="$work/report.json"
	ended "cut-over" 0
	note_node "$src"
	took "cut-over"
	manifest "the share"
	stop_writer
	as_written "$src"

	start_writer "$src" 6
	migrate "$src" --undo --report="$work/report.json"
	ended "undo" 0
	took "undo"
	stop_writer
	as_written "$src"
	manifest "the old tree"
	! mountpoint -q "$src" || fail "it is still mounted"
	wait_gone
}
each_store body
