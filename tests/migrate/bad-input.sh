#!/bin/sh
# SPDX-License-Identifier: MIT
# What can't work is refused with words, and nothing is changed [MIG.5].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program setpriv

src=$work/src
plain_tree "$src" 20
tree_list "$src" >"$work/before"

refused()
{
	what=$1
	shift
	ended "$what" 2
	said "$@"
	same "names in the store after: $what" "$(ls -A "$store_dir")" "$there"
}

new_store file
there=
migrate "$work/nothing"
refused "no such directory" "$work/nothing: No such file"
migrate "$src/large"
refused "a file" "Not a directory"
migrate "$src" --nosuch
refused "an unknown option" nosuch
migrate "$src" --on-collision=maybe
refused "a wrong value" "list or rename"
migrate "$src" --jobs=0
refused "no jobs" "from 1 to 256"
migrate "$src" more arguments
refused "arguments" "too many arguments"
migrate /
refused "the root" "/ can't become a share"
migrate "$src" --state="$src/state"
refused "a journal in the tree" "the journal can't be inside"
[ ! -e "$src/state" ] || fail "it was made in the tree"
(
	SOURCE=file://$work/missing
	migrate "$src"
	refused "no store" "does not exist"
	mkdir "$src/inside"
	SOURCE=file://$src/inside
	migrate "$src"
	refused "a store inside" "inside"
	SOURCE=file://$work
	migrate "$src"
	refused "a store around" "inside"
	rmdir "$src/inside"
)
OPTS=$OPTS,cache_dir=$work/cache
mkdir -p "$work/cache/up"
migrate "$work/cache/up"
refused "in the cache" "the cache"

echo foreign >"$store_dir/theirs"
there=theirs
migrate "$src"
refused "a store of others" "--merge"
migrate "$src" --dry-run
refused "the same, dry" "--merge"
rm "$store_dir/theirs"
there=

# A store without room, and one that takes no writes.
mkdir "$work/small"
mount -t tmpfs -o size=1M tmpfs "$work/small"
(
	SOURCE=file://$work/small
	migrate "$src"
	refused "no room" "are needed"
	mount -o remount,ro "$work/small"
	migrate "$src"
	ended "read-only" 2
)
umount "$work/small"

mount_node A "$SOURCE" "$work/A"
migrate "$work/A"
ended "a share" 2
said "is a share already"
umount_node "$work/A"

# A cut-over that can't be, before anything is sent.
mkdir "$work/bound"
mount --bind "$src" "$work/bound"
migrate "$work/bound" --cutover
refused "a mount point" "is a mount point"
umount "$work/bound"
mkdir "$src.before-sharedfs"
: >"$src.before-sharedfs/old"
migrate "$src" --cutover
refused "an old tree" "an earlier cut-over of this directory was not undone"
rm -r "$src.before-sharedfs"
migrate "$src" --undo
ended "undo of nothing" 1
said "no cut-over of $src"
migrate "$src" --undo=maybe
refused "a wrong word" "nothing or alone"
migrate "$src" --undo --cutover
refused "both" "--undo goes with none of"

# As another user, who may not mount, nor read everything.
as_daemon()
{
	code=0
	setpriv --reuid=1 --regid=1 --clear-groups \
		migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
		--state="$work/its" --progress=plain --throttle=off \
		"$@" >"$work/out" 2>&1 || code=$?
}
mkdir "$work/its" "$work/its/cache"
chown -R 1:1 "$work/its" "$store_dir"
chown 1:1 "$work"
OPTS=$OPTS,cache_dir=$work/its/cache
as_daemon --cutover
refused "cut-over by a user" "--cutover needs root"
as_daemon --dry-run
ended "a look by a user" 0
said "files or directories that can't be read: not carried; run this as root"
chown -R 0:0 "$store_dir" "$work/its"
chown 0:0 "$work"

tree_list "$src" >"$work/after"
diff "$work/before" "$work/after" || fail "the source was changed"
