#!/bin/sh
# SPDX-License-Identifier: MIT
# What the first look says of a tree with oddities that bulk.sh has not: names
# that are too long or that sharedfs keeps for itself, something mounted below
# DIR, programs that use it.  Such names are left out, listed, and nothing else is
# lost by them [MIG.3].  A bucket that is not there, and a wrong key, are refused
# with words [MIG.5].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

src=$work/src

# Programs: one has a file open for writing, one works below DIR.
start_users()
{
	(
		exec 5>"$src/open" >/dev/null 2>&1
		exec sleep 100000
	) &
	writing=$!
	(
		cd "$src/00"
		exec sleep 100000 >/dev/null 2>&1
	) &
	inside=$!
	test_pids="$test_pids $writing $inside"
	wait_until 10 "the program with a file" is_sleep $writing
	wait_until 10 "the program in a directory" is_sleep $inside
}

is_sleep()
{
	[ "$(cat "/proc/$1/comm")" = sleep ]
}

# Keys end at 1024 bytes: the fifth directory and the file in it are too long.
long_names()
{
	python3 - "$src" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for i in range(5):
    os.mkdir("d" * 230)
    os.chdir("d" * 230)
open("f", "w").close()
PY
}

body()
{
	rm -rf "$src" "$work/state"
	plain_tree "$src" 20
	echo theirs >"$src/.sharedfs-root"
	mkdir "$src/mounted"
	mount -t tmpfs tmpfs "$src/mounted"
	echo beside >"$src/mounted/file"
	[ "$store" != s3 ] || long_names
	start_users

	migrate "$src" --dry-run
	ended "the first look" 0
	said "1 names that sharedfs keeps for itself: left out (.sharedfs-root)"
	said "1 places where something else is mounted: left out (mounted)"
	said "in use by process $writing (sleep): 1 open files, 1 for writing"
	said "in use by process $inside (sleep): 0 open files, 0 for writing;" \
		"it works in the directory"
	said "at the pace of a sample about"
	[ "$store" != s3 ] || said "2 names that are too long: left out"
	kill $writing $inside
	wait $writing $inside || :

	migrate "$src"
	ended "the copy" 3
	said "left out: .sharedfs-root"
	said "left out: mounted: another file system is mounted there"
	mount_node A "$SOURCE" "$work/A"
	umount "$src/mounted"
	rm -rf "$src/mounted" "$src/.sharedfs-root" "$src/dddd"*
	rm -rf "$work/A/dddd"*
	same_tree "$src" "$work/A"
	umount_node "$work/A"

	[ "$store" != s3 ] || refused_by_store
}

refused_by_store()
{
	there=$SOURCE
	SOURCE=$there-missing
	migrate "$src"
	ended "a bucket that is not there" 2
	said "$SOURCE"
	SOURCE=$there
	(
		AWS_SECRET_ACCESS_KEY=wrong
		export AWS_SECRET_ACCESS_KEY
		migrate "$src"
		ended "a wrong key" 2
		said "$SOURCE"
	)
}
each_store body
