#!/bin/sh
# SPDX-License-Identifier: MIT
# What can't work is refused with words, and nothing is changed [MIG.5].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount

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

tree_list "$src" >"$work/after"
diff "$work/before" "$work/after" || fail "the source was changed"
