#!/bin/sh
# SPDX-License-Identifier: MIT
# The command is killed between the steps of a cut-over and of an undo: DIR is
# the old tree or the share and has everything, and the same command finishes it
# [MIG.7] [MIG.9].  After a reboot, when the share is not mounted, the empty
# directory is not taken for the source.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3
need_faults

# killed_at POINT OPTION…: the run ends there by SIGKILL, and DIR has all.
killed_at()
{
	point=$1
	shift
	: >"$work/faults/$point"
	migrate "$src" "$@"
	ended "the run that is killed at $point" 137
	[ ! -e "$work/faults/$point" ] || fail "it did not come to $point"
	ls -A "$src" >"$work/names"
	diff "$work/names.want" "$work/names" || fail "$point: names in DIR"
	for d in "$src" "$src.before-sharedfs"; do
		! mountpoint -q "$d" || note_node "$d"
	done
}

# The share is at its place and has everything; nothing is left over.
is_cut()
{
	mountpoint -q "$src" || fail "$1: it is not mounted"
	note_node "$src"
	same_tree "$work/copy" "$src"
	! mountpoint -q "$src.before-sharedfs" || fail "$1: mounted twice"
}

is_undone()
{
	! mountpoint -q "$src" || fail "$1: it is mounted"
	[ ! -e "$src.before-sharedfs" ] || fail "$1: something is left"
	same_tree "$work/copy" "$src"
	wait_gone
}

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state" "$work/copy"
	mkdir -p "$work/up"
	plain_tree "$src" 40
	cp -a "$src" "$work/copy"
	ls -A "$src" >"$work/names.want"
	# What the share was just asked is not believed: sizes are compared.
	OPTS=$OPTS,cache_dir=$work/cache-kc,log_file=$work/kc.log,actimeo=0

	points="mounted held exchanged carried"
	[ "$store" = file ] && ! quick || points=exchanged
	for p in $points; do
		killed_at cutover.$p --cutover
		# Late bytes, that nobody has carried yet.
		old=$src
		! mountpoint -q "$src" || old=$src.before-sharedfs
		echo "late $p" >>"$old/large"
		echo "late $p" >>"$work/copy/large"
		touch -r "$old/large" "$work/copy/large"
		migrate "$src" --cutover
		ended "the run after $p" 0
		is_cut $p
		migrate "$src" --undo
		ended undo 0
		is_undone $p
	done

	migrate "$src" --cutover
	ended "cut-over" 0
	note_node "$src"
	migrate "$src" --cutover
	ended "once more" 2
	said "is a share already"
	echo new >"$src/-n"
	points="frozen exchanged"
	[ "$store" = file ] && ! quick || points=exchanged
	for p in $points; do
		cp -a "$src/-n" "$work/copy/-n"
		killed_at undo.$p --undo
		if [ $p = exchanged ]; then
			migrate "$src"
			ended "another command" 2
			said "an --undo of $src was interrupted"
			# In the share, by a program that was left in it.
			echo late >>"$src.before-sharedfs/-n"
			cp -a "$src.before-sharedfs/-n" "$work/copy/-n"
		fi
		migrate "$src" --undo
		ended "the undo after $p" 0
		is_undone $p
		migrate "$src" --cutover
		ended "cut-over" 0
		note_node "$src"
	done

	echo "-- a reboot"
	sharedfs umount "$src"
	wait_gone
	migrate "$src"
	ended "the bare directory" 2
	said "$src became the share, which is not mounted now"
	mkdir "$src/stray"
	migrate "$src" --cutover
	ended "a directory in it" 1
	said "(stray): move that away"
	rmdir "$src/stray"
	migrate "$src" --cutover
	ended "mounted again" 0
	is_cut "a reboot"
	sharedfs umount "$src"
	wait_gone
	migrate "$src" --undo
	ended "undo of what is not mounted" 0
	is_undone "a reboot"
}
each_store body
