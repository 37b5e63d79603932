#!/bin/sh
# SPDX-License-Identifier: MIT
# What a user gets wrong at the mount: each is refused with words that name
# the cause, and nothing is left behind.  (What can be wrong with a bucket is
# in tests/backends.)
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_mount
new_store file
dir=$work/dir
mkdir "$dir"
cache=$work/cache

# refused WORDS SOURCE DIR [OPTIONS]: sharedfs mount fails, orderly and with
# these words; nothing is mounted and no daemon stays.
refused()
{
	words=$1 source=$2 where=$3 opts=${4-cache_dir=$cache}
	code=0
	sharedfs mount "$source" "$where" -o "$opts" >"$work/out" 2>&1 || code=$?
	[ "$code" != 0 ] || fail "'$source' on '$where' ($opts) was mounted"
	[ "$code" -lt 126 ] || fail "'$source' ($opts): exit status $code"
	grep -qiF -- "$words" "$work/out" || {
		cat "$work/out" >&2
		fail "'$source' on '$where' ($opts): no word of '$words'"
	}
	[ "$(wc -l <"$work/out")" -le 5 ] || {
		cat "$work/out" >&2
		fail "too many words"
	}
	[ -z "$(our_mounts)" ] || fail "mounted all the same: $(our_mounts)"
}

usage()
{
	words=$1
	shift
	code=0
	"$@" >"$work/out" 2>&1 || code=$?
	[ "$code" != 0 ] && [ "$code" -lt 126 ] || fail "$*: exit status $code"
	grep -qiF -- "$words" "$work/out" || {
		cat "$work/out" >&2
		fail "$*: no word of '$words'"
	}
}

echo "== the command line"
usage "usage" sharedfs
usage "are needed" sharedfs mount
usage "are needed" sharedfs mount "$SOURCE"
usage "too many arguments" sharedfs mount "$SOURCE" "$dir" more
usage "frobnicate" sharedfs frobnicate
usage "is needed" sharedfs umount
usage "is needed" sharedfs status
usage "no sharedfs is mounted there" sharedfs status "$dir"
usage "no sharedfs is mounted there" sharedfs umount "$dir"
usage "did you mean 'cache_dir'" sharedfs mount "$SOURCE" "$dir" --cache-dri=/x

echo "== the mount point"
refused "No such file" "$SOURCE" "$work/missing"
echo x >"$work/file"
refused "directory" "$SOURCE" "$work/file"
mount -t tmpfs tmpfs "$dir"
code=0
sharedfs mount "$SOURCE" "$dir" -o "cache_dir=$cache" >"$work/out" 2>&1 ||
	code=$?
[ "$code" != 0 ] || fail "mounted over another file system"
grep -q tmpfs "$work/out" || {
	cat "$work/out" >&2
	fail "no word of what is mounted there"
}
umount "$dir"

echo "== the source"
for s in '' ftp://host/x nfs: relative/path file://relative file: \
	http://host/bucket '://x' s3:/bucket s3:// s3:///x 's3://UPPER_case!'
do
	refused "source" "$s" "$dir"
done
refused "can't be a bucket's name" 's3://UPPER_case!' "$dir"
refused "use file:///" nfs://host/export "$dir"
refused "use file:///" host:/export "$dir"
refused "does not exist" "file://$work/missing" "$dir"
refused "directory" "file://$work/file" "$dir"

echo "== options"
refused "did you mean 'actimeo'" "$SOURCE" "$dir" actimoe=3
refused "out of range" "$SOURCE" "$dir" parallel=0
refused "write for example" "$SOURCE" "$dir" timeo=soon
refused "neither yes nor no" "$SOURCE" "$dir" cto=perhaps
refused "needs a value" "$SOURCE" "$dir" cache_dir
refused "config file" "$SOURCE" "$dir" "config=$work/missing"
printf 'ro\ntiemo = 3\n' >"$work/conf"
refused "$work/conf:2" "$SOURCE" "$dir" "config=$work/conf"
SHAREDFS_PARALLEL=many
export SHAREDFS_PARALLEL
refused "SHAREDFS_PARALLEL" "$SOURCE" "$dir"
unset SHAREDFS_PARALLEL

echo "== the cache directory"
refused "$work/file" "$SOURCE" "$dir" "cache_dir=$work/file"
refused "$work/file/x" "$SOURCE" "$dir" "cache_dir=$work/file/x"
mkdir -m 700 "$work/others"
chown 12345 "$work/others"
refused "$work/others" "$SOURCE" "$dir" "cache_dir=$work/others"

# [P5.2]: a disk that can't be used means slower, not refused.
echo content >"$store_dir/there"
mkdir "$work/ro"
mount -t tmpfs -o ro tmpfs "$work/ro"
mount_node ro "$SOURCE" "$dir" "cache_dir=$work/ro"
same "read without a cache" "$(cat "$dir/there")" content
echo written >"$dir/new"
same "written without a cache" "$(cat "$store_dir/new")" written
umount_node "$dir"
wait_gone
umount "$work/ro"

# [P5.3]: what is written must fit; reading goes on.
mkdir "$work/full"
mount -t tmpfs -o size=1m tmpfs "$work/full"
head -c 2M /dev/zero >"$work/full/ballast" 2>/dev/null || true
head -c 3M /dev/urandom >"$store_dir/big"
mount_node full "$SOURCE" "$dir" "cache_dir=$work/full,cache_free=0"
cmp "$dir/big" "$store_dir/big" || fail "reading on a full disk"
code=0
dd if=/dev/zero of="$dir/toobig" bs=64k count=32 2>"$work/out" || code=$?
[ "$code" != 0 ] || fail "2 MiB were written to a full disk"
grep -qi "no space" "$work/out" || {
	cat "$work/out" >&2
	fail "not ENOSPC"
}
cmp "$dir/big" "$store_dir/big" || fail "reading after ENOSPC"
umount_node "$dir"
wait_gone
umount "$work/full"
