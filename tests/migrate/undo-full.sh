#!/bin/sh
# SPDX-License-Identifier: MIT
# --undo where the old tree's file system has no room for what changed since the
# cut-over: it says so, the share stays in its place and takes writes, nothing is
# lost; with room the same command ends well [MIG.9].  So too where the last
# bytes find no room, when the old tree is in its place already.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3 mkfs.ext4 losetup
losetup -f >/dev/null 2>&1 || skip "no loop device"

# refused WORDS: the last undo was; the share goes on.
refused()
{
	ended "undo without room" 1
	said "$1"
	said "not undone, $src is as it was"
	same "what is mounted" "$(findmnt -n -o FSTYPE "$src")" fuse.sharedfs
	mountpoint -q "$disk" || fail "the disk is gone"
	echo "goes on" >"$src/after"
	same "a new file" "$(cat "$src/after")" "goes on"
	rm "$src/after"
	find "$disk" -xdev -name '.sharedfs-undo-*' >"$work/temps"
	[ ! -s "$work/temps" ] || fail "it left $(cat "$work/temps")"
	same_tree "$work/want" "$src"
}

old_tree_back()
{
	! mountpoint -q "$src" || not_running $mover
}

body()
{
	disk=$work/disk src=$work/disk/loads
	rm -rf "$work/state" "$work/want"
	mkdir -p "$disk" "$work/want"
	truncate -s 24M "$work/img"
	# Few inodes, too.
	mkfs.ext4 -q -F -m 0 -N 128 "$work/img"
	mount -o loop "$work/img" "$disk"
	plain_tree "$src" 10
	OPTS=$OPTS,cache_dir=$work/cache-$store,log_file=$work/full.log
	migrate "$src" --cutover
	ended "cut-over" 0
	note_node "$src"

	echo "-- a file that is too large"
	head -c 30000000 /dev/urandom >"$src/too large"
	echo small >"$src/small"
	rm "$src/-n"
	cp -a "$src/." "$work/want"
	migrate "$src" --undo
	refused "not carried: too large: 30000000 bytes are needed"
	said "the old tree takes no more"

	rm "$src/too large" "$work/want/too large"
	[ "$store" != file ] || many

	echo "-- room"
	echo "of now" >"$src/small"
	cp -a "$src/small" "$work/want/small"
	if [ "$store" = file ] && ! quick; then
		late
	else
		migrate "$src" --undo
		ended "undo" 0
	fi
	! mountpoint -q "$src" || fail "it is mounted"
	[ ! -e "$src.before-sharedfs" ] || fail "something is left"
	same_tree "$work/want" "$src"
	wait_gone
	umount "$disk"
}

# What was brought of them goes first, when they are no longer in the share.
many()
{
	echo "-- more files than there are inodes"
	mkdir "$src/many"
	for i in $(seq 150); do
		: >"$src/many/$i"
	done
	cp -a "$src/many" "$work/want"
	migrate "$src" --undo
	refused "No space left on device"
	rm -r "$src/many" "$work/want/many"
}

# A program that works in the share writes there when it has been moved, and more
# than there is room for.
late()
{
	mkfifo "$work/go"
	(
		cd "$src"
		exec 3>&-
		read -r _ <"$work/go"
		head -c 30000000 /dev/urandom >late
	) &
	inside=$!
	test_pids="$test_pids $inside"
	exec 4>"$work/go"
	migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
		--state="$work/state" --undo >"$work/out" 2>&1 &
	mover=$!
	wait_until 60 "the old tree" old_tree_back
	echo >&4
	exec 4>&-
	wait $inside || fail "the program in the share got an error"
	code=0
	wait $mover || code=$?
	ended "undo, without room for what is late" 1
	said "not carried: late: 30000000 bytes are needed"
	said "is the old tree again, but the last of what changed"
	mountpoint -q "$src.before-sharedfs" || fail "the share is gone"
	head -c 100 "$src.before-sharedfs/late" >"$work/late"
	mv "$work/late" "$src.before-sharedfs/late"
	cp -a "$src.before-sharedfs/late" "$work/want/late"
	migrate "$src" --undo
	ended "the same again" 0
	rm "$work/go"
}
each_store body
