#!/bin/sh
# SPDX-License-Identifier: MIT
# Two hosts' trees into one share: the same content is one file, other content
# is never written over but listed, or carried beside [MIG.2] [MIG.3].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

beside=".from-$(hostname | sed 's/[^A-Za-z0-9-]/-/g')"

body()
{
	rm -rf "$work/one" "$work/two" "$work/state"
	mkdir -p "$work/one/dir" "$work/two/dir" "$work/two/plain" \
		"$work/one/empty"
	for h in one two; do
		echo same >"$work/$h/dir/same"
		echo "of $h" >"$work/$h/dir/other"
		echo "only $h" >"$work/$h/dir/only $h"
		ln -s "to $h" "$work/$h/symlink"
	done
	echo file >"$work/one/plain"
	echo below >"$work/two/plain/below"
	chmod 700 "$work/two/dir"

	migrate "$work/one"
	ended "the first host" 0
	migrate "$work/two"
	ended "the second host, not told" 2
	migrate "$work/two" --merge --report="$work/report.json"
	ended "the second host" 3
	same "collisions" "$(report collisions)" 3
	same "sent" "$(report files_sent)" 1
	said "not carried: dir/other: other content has this name"
	said "not carried: symlink"
	said "not carried: plain: it is no directory"

	mount_node A "$SOURCE" "$work/A"
	same "the first host's file" "$(cat "$work/A/dir/other")" "of one"
	same "the second host's" "$(cat "$work/A/dir/only two")" "only two"
	same "the first host's mode" "$(stat -c %a "$work/A/dir")" 755
	umount_node "$work/A"

	migrate "$work/two" --on-collision=rename --report="$work/report.json"
	ended "carried beside" 3
	same "collisions" "$(report collisions)" 2
	said "dir/other$beside"
	echo "of two, later" >"$work/two/dir/other"
	rm "$work/two/dir/same" "$work/two/symlink"
	rm -r "$work/two/plain"
	migrate "$work/two" --verify
	ended "and again" 0

	mount_node A "$SOURCE" "$work/A"
	same "the first host's file" "$(cat "$work/A/dir/other")" "of one"
	same "the file beside" "$(cat "$work/A/dir/other$beside")" \
		"of two, later"
	same "of both" "$(cat "$work/A/dir/same")" same
	same "a symlink" "$(readlink "$work/A/symlink")" "to one"
	same "a file" "$(cat "$work/A/plain")" file
	# Changed in the share: neither replaced nor removed.
	echo changed >"$work/A/dir/only two"
	echo changed >"$work/A/dir/other$beside"
	umount_node "$work/A"
	rm "$work/two/dir/only two"
	echo newer >"$work/two/dir/other"
	migrate "$work/two" --report="$work/report.json"
	ended "after a change in the share" 3
	same "collisions" "$(report collisions)" 1
	said "only two: removed from DIR, changed in the store"
	mount_node A "$SOURCE" "$work/A"
	same "changed there" "$(cat "$work/A/dir/only two")" changed
	same "changed there too" "$(cat "$work/A/dir/other$beside")" changed
	umount_node "$work/A"
	rm -r "$work/two/dir"
	migrate "$work/two"
	ended "the directory has gone" 0
	migrate "$work/one" --verify
	ended "the first host again" 0
}
each_store body
