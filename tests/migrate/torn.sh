#!/bin/sh
# SPDX-License-Identifier: MIT
# A file with holes is read twice, once for its hash and once to be sent.  One
# that is cut in between, or is other bytes then and the old ones again, is in the
# share as it is in the end [MIG.6], and a reader of a share that is a directory
# never sees zeros in the place of what was cut [MIG.2].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3
need_faults

# The program has stopped itself, or ended.
stands()
{
	[ -e "$work/faults/$1" ] && ! not_running $mover && return 1
	case $(ps -o stat= -p $mover) in
	T*) return 0 ;;
	esac
	not_running $mover
}

# stop_at POINT: it stands there.
stop_at()
{
	wait_until 60 "the stop at $1" stands "$1"
	[ ! -e "$work/faults/$1" ] || {
		cat "$work/out" >&2
		fail "it did not come to $1"
	}
}

# begin_move POINT: the copy runs until it is between reading and sending.
begin_move()
{
	: >"$work/faults/$1"
	migrate-local-uploads "$src" "$SOURCE" -o "$OPTS,log_level=warning" \
		--state="$work/state" --progress=plain --throttle=off \
		--report="$work/report.json" >"$work/out" 2>&1 &
	mover=$!
	stop_at "$1"
}

end_move()
{
	kill -CONT $mover
	wait_until 120 "the end of the copy" not_running $mover
	code=0
	wait $mover || code=$?
	ended "$1" 0
	migrate "$src" --verify
	ended "$1, compared" 0
	mount_node A "$SOURCE" "$work/A"
	same_tree "$src" "$work/A"
	umount_node "$work/A"
}

# holes BYTE: 3 MiB, with a hole in the middle; at the end is BYTE.
holes()
{
	python3 - "$src/holes" "$1" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.pwrite(fd, b"begin" * 100000, 0)
os.pwrite(fd, sys.argv[2].encode() * 300000, (3 << 20) - 300000)
PY
}

body()
{
	src=$work/src
	rm -rf "$src" "$work/state"
	mkdir "$src"
	holes a
	same "KiB on the disk are few" \
		"$(($(stat -c %b "$src/holes") < 4096))" 1

	echo "-- cut after it was read"
	begin_move migrate.read
	truncate -s 700000 "$src/holes"
	: >"$work/faults/migrate.sent"
	kill -CONT $mover
	stop_at migrate.sent
	# A directory has had nothing of it when it is looked at again.
	: >"$work/faults/migrate.read"
	kill -CONT $mover
	stop_at migrate.read
	[ "$store" != file ] || [ ! -e "$store_dir/holes" ] ||
		fail "what was cut is there"
	end_move "cut"

	echo "-- other bytes, and the old ones again"
	rm "$src/holes"
	migrate "$src"
	ended "removed" 0
	holes a
	begin_move migrate.read
	holes b
	: >"$work/faults/migrate.sent"
	kill -CONT $mover
	stop_at migrate.sent
	holes a
	end_move "back again"
}
each_store body
