#!/bin/sh
# SPDX-License-Identifier: MIT
# A tree with one of each thing that needs care is carried: what can be is the
# same in the share [MIG.1] [MIG.2], what can't is named before and listed after
# [MIG.3]; a second run sends nothing [MIG.4].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program setfattr setfacl python3

n=1500
! quick || n=100
src=$work/src

body()
{
	rm -rf "$src" "$work/state"
	plain_tree "$src" $n
	odd_tree "$src"

	migrate "$src" --dry-run
	ended "dry run" 0
	said "1 files with user.* attributes"
	said "3 hard links"
	said "1 sparse files"
	said "1 files with POSIX ACLs"
	said "1 files with setuid or setgid"
	said "1 FIFOs"
	said "1 sockets"
	said "1 device nodes"
	said "1 names that are not UTF-8"
	said "to be sent: $((n + 10)) files"

	migrate "$src" --report="$work/report.json"
	# What no store has is listed.
	ended "first run" 3
	left=2
	[ "$store" = file ] || left=3
	same "left out" "$(report left_out)" $left
	same "failed" "$(report failed)" 0
	said "left out: socket"
	said "left out: device"
	# Three names of one file are one, where the store has hard links.
	sent=$((n + 8))
	[ "$store" = file ] || sent=$((n + 9))
	same "files sent" "$(report files_sent)" $sent
	hash=$(report hash_xxh3_128)

	migrate "$src" --verify --report="$work/report.json"
	ended "second run" 3
	same "files sent by the second run" "$(report files_sent)" 0
	same "directories made by the second run" "$(report directories_made)" 0
	same "attributes set by the second run" "$(report attributes_only)" 0
	same "differences" "$(report differs)" 0
	same "hash" "$(report hash_xxh3_128)" "$hash"
	[ "$(report verified)" -gt $n ] || fail "not all was verified"

	# What is in the end as it was costs nothing, though it was touched.
	chmod 600 "$src/first"
	chmod 644 "$src/first" "$src/-n"
	migrate "$src" --report="$work/report.json"
	ended "third run" 3
	same "files sent by the third run" "$(report files_sent)" 0
	same "attributes set by the third run" "$(report attributes_only)" 0

	# The same through a mount, but for what was left out.
	mount_node A "$SOURCE" "$work/A"
	same "an attribute" "$(getfattr --only-values -n user.colour \
		"$work/A/with attributes")" blue
	same "owner of the root" "$(stat -c %u:%g "$work/A")" 33:33
	if [ "$store" = file ]; then
		same "names of one file" "$(stat -c %h "$work/A/second")" 3
		[ "$(stat -c %b "$store_dir/sparse")" -lt 100 ] ||
			fail "not sparse: $(stat -c %b "$store_dir/sparse")"
		same "time of the fifo" "$(stat -c %y "$store_dir/fifo")" \
			"$(stat -c %y "$src/fifo")"
	else
		rm "$src"/na*
	fi
	rm "$src/socket" "$src/device"
	chmod u-s "$src/setuid"
	# diff(1) can't compare FIFOs.
	rm "$src/fifo" "$work/A/fifo"
	same_tree "$src" "$work/A"

	# A difference is found.
	echo else >"$work/A/first"
	umount_node "$work/A"
	migrate "$src" --verify
	ended "verify of a changed store" 4
	said "differs in the store: first"
}
each_store body
