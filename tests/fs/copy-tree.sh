#!/bin/sh
# SPDX-License-Identifier: MIT
# A real tree, thousands of small files with links and some large files, is
# written through node A with cp, tar and rsync and is the same on node B
# [P1.1] [P2.1] [P8.4]; B's changes are seen on A [P2.1] [P2.4].
# Some 1,500 small files on s3.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program rsync tar

# docs N DIR: those of the first N packages.
docs()
{
	find /usr/share/doc -mindepth 1 -maxdepth 1 | LC_ALL=C sort |
		head -n "$1" | tar -cf - -T - 2>/dev/null | tar -xf - -C "$2"
}

src=$work/src
mkdir "$src"
if quick; then
	docs 30 "$src"
	large=9
else
	docs 120 "$src"
	large=40
fi
ln -s ../nowhere "$src/dangling"
mkdir -m 700 "$src/private" "$src/empty dir"
chown 12:34 "$src/private"
echo secret >"$src/private/file"
chmod 640 "$src/private/file"
chown 1000:1001 "$src/private/file"
touch -d '1999-12-31 23:59:59.123456789 UTC' "$src/private/file"
: >"$src/empty file"
echo umlaut >"$src/$(printf 'f\303\274r "alle" %%41+&')"
head -c 3000000 /dev/urandom >"$src/medium"
head -c "${large}000001" /dev/urandom >"$src/large1"
head -c "${large}000000" /dev/urandom >"$src/large2"
# cp gets all of it; tar and rsync, which cost more requests a file, a part.
part=$src
if ! quick; then
	part=$work/part
	mkdir "$part"
	docs 30 "$part"
	cp -a "$src"/[!u]* "$part"
fi

body()
{
	mount_two
	cp -a "$src" "$A/cp"
	attrs_sent "$A"
	same_tree "$src" "$B/cp"
	mkdir "$A/tar"
	tar -cf - -C "$part" . | tar -xpf - -C "$A/tar"
	attrs_sent "$A"
	same_tree "$part" "$B/tar"
	rsync -a "$part/" "$A/rsync"
	attrs_sent "$A"
	same_tree "$part" "$B/rsync"
	[ "$store" != file ] || same_tree "$src" "$store_dir/cp"

	# Node B changes, A sees.
	echo new >"$B/cp/new"
	same "a new file" "$(cat "$A/cp/new")" new
	echo longer than before >"$B/cp/empty file"
	same "a changed file" "$(cat "$A/cp/empty file")" "longer than before"
	mv "$B/tar" "$B/moved"
	wait_until 3 "the new name on A" test -d "$A/moved/private"
	wait_until 3 "the end of the old name on A" test ! -e "$A/tar"
	same_tree "$part" "$A/moved"
	rm -r "$B/rsync"
	wait_until 3 "the removal on A" test ! -e "$A/rsync"
	same "names on A" "$(ls "$A" | tr '\n' ' ')" "cp moved "
	rm -r "$A/cp" "$A/moved"
	same "nothing is left" "$(ls -A "$A")" ""
}
each_store body
