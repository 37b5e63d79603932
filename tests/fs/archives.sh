#!/bin/sh
# SPDX-License-Identifier: MIT
# zip, unzip and tar read and write on the mount, and rsync finds nothing to
# send the second time.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program zip unzip tar rsync

src=$work/src
mkdir -p "$src/a/b/c"
cp -r "$srcdir/docs" "$src/a/"
quick || cp -r "$srcdir/tests/fs" "$src/a/"
head -c 5000000 /dev/urandom >"$src/a/b/random"
ln -s random "$src/a/b/link"

same_size()
{
	[ "$(stat -c %s "$A/$1")" = "$(stat -c %s "$B/$1")" ]
}

body()
{
	mount_two
	(cd "$src" && zip -qry "$A/test.zip" a)
	unzip -tq "$B/test.zip"
	unzip -q "$B/test.zip" -d "$B/unzipped"
	diff -r --no-dereference "$src" "$A/unzipped"
	# zip changes an archive by writing a new one beside it.
	(cd "$B/unzipped" && echo more >more && zip -q "$B/test.zip" more)
	# unzip believes a stat() from before its open().
	wait_until 3 "the new size on A" same_size test.zip
	unzip -tq "$A/test.zip"
	unzip -p "$A/test.zip" more | grep -q more

	tar -czf "$A/test.tar.gz" -C "$src" a
	mkdir "$B/untarred"
	tar -xzpf "$B/test.tar.gz" -C "$B/untarred"
	attrs_sent "$B"
	same_tree "$src" "$A/untarred"

	rsync -ai "$src/" "$A/rsync" >"$work/first"
	[ -s "$work/first" ] || fail "rsync sent nothing at all"
	attrs_sent "$A"
	for d in "$A" "$B"; do
		rsync -ai "$src/" "$d/rsync" >"$work/second"
		same "second rsync" "$(cat "$work/second")" ""
	done
	rsync -aic "$src/" "$B/rsync" >"$work/second"
	same "rsync by checksum" "$(cat "$work/second")" ""
	rsync -a --delete "$src/a/docs/" "$B/rsync"
	attrs_sent "$B"
	same_tree "$src/a/docs" "$A/rsync"
}
each_store body
