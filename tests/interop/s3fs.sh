#!/bin/sh
# SPDX-License-Identifier: MIT
# s3fs and sharedfs share a bucket: each reads the other's files with owner,
# mode and times [P8.1] [P8.2] [P8.3].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program s3fs

new_store s3
(umask 077 && echo "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" >"$work/passwd")
A=$work/A S=$work/s3fs
mkdir "$S"

mount_s3fs()
{
	s3fs "$bucket" "$S" -o "url=$RGW_ENDPOINT,use_path_request_style" \
		-o "passwd_file=$work/passwd,logfile=$work/s3fs.log"
	wait_until 20 "s3fs" mountpoint -q "$S"
}

umount_s3fs()
{
	umount "$S"
	wait_until 20 "the end of s3fs" s3fs_is_gone
}

s3fs_is_gone()
{
	! ps -eo args= | grep -F "s3fs $bucket" | grep -vq grep
}

fill()
{
	mkdir -p "$1/dir/sub" "$1/empty"
	chmod 750 "$1/dir"
	chown 11:22 "$1/dir"
	echo small >"$1/dir/small"
	chmod 604 "$1/dir/small"
	chown 33:44 "$1/dir/small"
	touch -d '2001-02-03 04:05:06 UTC' "$1/dir/small"
	: >"$1/dir/sub/none"
	head -c 30000000 /dev/urandom >"$1/dir/sub/large"
	echo space >"$1/a b+c%41"
	ln -s dir/small "$1/link"
	# Changed after the first upload, as programs do.
	echo more >>"$1/dir/small"
	touch -d '2001-02-03 04:05:06 UTC' "$1/dir/small"
	mv "$1/dir/sub/none" "$1/dir/sub/renamed"
}

mount_s3fs
mkdir "$S/by-s3fs"
fill "$S/by-s3fs"
cp -a "$S/by-s3fs" "$work/copy1"
umount_s3fs
mount_node A "$SOURCE" "$A"
same_tree "$work/copy1" "$A/by-s3fs"

mkdir "$A/by-sharedfs"
fill "$A/by-sharedfs"
cp -a "$A/by-sharedfs" "$work/copy2"
# And each other's files changed.
echo changed >"$A/by-s3fs/dir/small"
umount_node "$A"
mount_s3fs
# s3fs may show times in whole seconds.
find "$work/copy2" "$S/by-sharedfs" -type f -exec stat -c '%n' {} + |
	wc -l | grep -q . || fail "no files"
diff -r --no-dereference "$work/copy2" "$S/by-sharedfs"
for d in "$work/copy2" "$S/by-sharedfs"; do
	(cd "$d" && find . -mindepth 1 ! -type l -exec \
		stat -c '%n %a %u %g' {} + | LC_ALL=C sort)
done >"$work/both"
n=$(($(wc -l <"$work/both") / 2))
head -n "$n" "$work/both" >"$work/list.1"
tail -n "$n" "$work/both" >"$work/list.2"
diff "$work/list.1" "$work/list.2" || fail "attributes through s3fs differ"
same "time through s3fs" "$(stat -c %Y "$S/by-sharedfs/dir/small")" 981173106
same "changed by sharedfs" "$(cat "$S/by-s3fs/dir/small")" changed
same "mode kept" "$(stat -c %a:%u:%g "$S/by-s3fs/dir/small")" 604:33:44
echo "changed by s3fs" >"$S/by-sharedfs/dir/small"
umount_s3fs
mount_node A "$SOURCE" "$A"
same "changed by s3fs" "$(cat "$A/by-sharedfs/dir/small")" "changed by s3fs"
same "mode kept" "$(stat -c %a:%u:%g "$A/by-sharedfs/dir/small")" 604:33:44
umount_all
