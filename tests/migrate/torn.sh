#!/bin/sh
# SPDX-License-Identifier: MIT
# A file with holes is read twice, once for its hash and once to be sent, and so is
# each part of a large one.  One that is cut in between, or is other bytes then and
# the old ones again, is in the share as it is in the end [MIG.6], and a reader of a
# share that is a directory never sees zeros in the place of what was cut [MIG.2].
# Where the program is killed then, the next run goes on from there [MIG.4].
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

end_copy()
{
	kill -CONT $mover
	wait_until 120 "the end of the copy" not_running $mover
	code=0
	wait $mover || code=$?
	ended "$1" 0
	migrate "$src" --verify
	ended "$1, compared" 0
}

end_move()
{
	end_copy "$1"
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

# large BYTE: 9 MiB, two parts; it is in the first that BYTE is.
large()
{
	python3 - "$src/large" "$1" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.pwrite(fd, sys.argv[2].encode() * (1 << 20), 0)
os.pwrite(fd, b"end" * (8 << 20), 1 << 20)
os.ftruncate(fd, 9 << 20)
PY
}

# A part is hashed, is other bytes when it is sent, and the old ones again.
parts()
{
	rm "$src/holes"
	large a
	OPTS=$OPTS,parallel=1
	begin_move migrate.part
	large b
	: >"$work/faults/migrate.sent"
	kill -CONT $mover
	stop_at migrate.sent
	large a
	end_move "a part"

	echo "-- a large file is cut while its parts leave"
	head -c 1000 /dev/urandom >>"$src/large"
	begin_move migrate.part
	truncate -s 9000000 "$src/large"
	end_copy "cut parts"

	echo "-- the same content has a large file's name"
	rm -rf "$work/state"
	migrate "$src" --merge
	ended "the same content" 0
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
	for at in pended sent; do
		echo "-- killed when it was $at, and removed then"
		holes b
		begin_move "migrate.$at"
		kill -KILL $mover
		wait $mover || :
		rm "$src/holes"
		migrate "$src"
		ended "$at, after a kill" 0
		migrate "$src" --verify
		ended "$at, compared" 0
		mount_node A "$SOURCE" "$work/A"
		same_tree "$src" "$work/A"
		umount_node "$work/A"
		holes a
		migrate "$src"
		ended "once more" 0
	done
	[ "$store" = file ] || parts
}
each_store body
