#!/bin/sh
# SPDX-License-Identifier: MIT
# rclone and sharedfs share a bucket: bytes, names and times are the same in
# both directions [P8.1] [P8.2].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program rclone

new_store s3
unset AWS_CA_BUNDLE
RCLONE_CONFIG=$work/rclone.conf
RCLONE_CONFIG_R_TYPE=s3
RCLONE_CONFIG_R_PROVIDER=Ceph
RCLONE_CONFIG_R_ENV_AUTH=true
RCLONE_CONFIG_R_ENDPOINT=$RGW_ENDPOINT
export RCLONE_CONFIG RCLONE_CONFIG_R_TYPE RCLONE_CONFIG_R_PROVIDER
export RCLONE_CONFIG_R_ENV_AUTH RCLONE_CONFIG_R_ENDPOINT
: >"$RCLONE_CONFIG"

src=$work/src
mkdir -p "$src/dir/sub" "$src/implicit/deep"
cp -r "$srcdir/docs" "$src/dir/"
echo text >"$src/dir/text"
touch -d '2001-02-03 04:05:06.789 UTC' "$src/dir/text"
: >"$src/dir/sub/none"
head -c 30000000 /dev/urandom >"$src/dir/sub/large"
echo deep >"$src/implicit/deep/file"
echo space >"$src/a b+c%41"
printf umlaut >"$src/$(printf '\303\244\303\266')"

# Names, sizes and times of files; a bucket has no empty directories.
list()
{
	(cd "$1" && find . -type f -printf '%s %.19T@ %P\n' |
		sed 's/\(\.[0-9]\{6\}\)[0-9]* /\1 /' | LC_ALL=C sort -k 3)
}

rclone copy "$src" "r:$bucket/by-rclone"
A=$work/A
mount_node A "$SOURCE" "$A"
diff -r "$src" "$A/by-rclone"
list "$src" >"$work/list.1"
list "$A/by-rclone" >"$work/list.2"
diff "$work/list.1" "$work/list.2" || fail "times of rclone's files differ"

cp -a "$src" "$A/by-sharedfs"
echo changed >>"$A/by-rclone/dir/text"
mv "$A/by-rclone/implicit" "$A/by-rclone/renamed"
umount_all
rclone copy "r:$bucket/by-sharedfs" "$work/back"
diff -r "$src" "$work/back"
list "$work/back" >"$work/list.2"
diff "$work/list.1" "$work/list.2" || fail "times of sharedfs's files differ"
same "rclone check" "$(rclone check --one-way "$src" "r:$bucket/by-sharedfs" 2>&1 |
	grep -c ' 0 differences found')" 1
same "changed" "$(rclone cat "r:$bucket/by-rclone/dir/text" | tail -n 1)" changed
same "renamed" "$(rclone cat "r:$bucket/by-rclone/renamed/deep/file")" deep
