#!/bin/sh
# SPDX-License-Identifier: MIT
# Keys that other tools put into the bucket and that are no paths: hidden and
# left alone; all others are shown and can be read.  Nothing escapes the prefix.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_rgw
new_bucket
be()
{
	be-tool -o endpoint="$RGW_ENDPOINT" "$@"
}
raw()
{
	s3req PUT "/$bucket/$1" -d "$2" >/dev/null || fail "raw PUT $1"
}
names()
{
	be "$1" ls "$2" 2>/dev/null | sed 's/.* flags=[0-9a-f]* //' | LC_ALL=C sort
}
same()
{
	[ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"
}

n300=$(printf '%300s' '' | tr ' ' n)
n255=$(printf '%255s' '' | tr ' ' m)
raw secret outside
raw t/a//b x
raw t//a x
raw t/../x x
raw t/a/./b x
raw t/a/../b x
raw t/. x
raw "t/$n300" x
raw "t/$n255" long
raw t/ctl%01%1F x
raw t/new%0Aline nl
raw t/both file
raw t/both/below dir
raw t/%C3%A9t%C3%A9 accent
raw t/plus%2Band%20blank%25 plus
raw 't/a/good' good
raw t/dirmark/ ''
raw t/folder_%24folder%24 ''
s3req PUT "/$bucket/t/s3fsdir" -d '' -H 'Content-Type: httpd/unix-directory' \
	>/dev/null
raw t/nonsense meta
s3req PUT "/$bucket/t/nonsense" -d meta -H 'x-amz-meta-mode: -1' \
	-H 'x-amz-meta-uid: 99999999999999999999' -H 'x-amz-meta-mtime: noon' \
	-H 'x-amz-meta-file-permissions: rwx' -H 'x-amz-meta-xattr: {]' \
	-H 'x-amz-meta-sharedfs-ino: 1' -H 'x-amz-meta-sharedfs-op: ' >/dev/null
s3req PUT "/$bucket/t/link" -d target -H 'x-amz-meta-mode: 41471' >/dev/null
s3req PUT "/$bucket/t/setuid" -d x -H 'x-amz-meta-mode: 35309' >/dev/null

T=s3://$bucket/t
want=$(printf '%s\n' a both "$(printf 'ctl\001\037')" dirmark \
	'folder_$folder$' link "$n255" new line nonsense 'plus+and blank%' s3fsdir \
	setuid "$(printf '\303\251t\303\251')" | LC_ALL=C sort)
same "the listing" "$(names "$T" "")" "$want"
same "a/" "$(names "$T" a)" good
# What can't be named is counted.
be -s "$T" ls "" 2>/dev/null | grep -q '^hidden_keys [4-9]' ||
	fail "the hidden keys are not counted"

same "long name" "$(be "$T" cat "$n255")" long
same "newline" "$(be "$T" cat "$(printf 'new\nline')")" nl
same "accent" "$(be "$T" cat "$(printf '\303\251t\303\251')")" accent
same "plus" "$(be "$T" cat 'plus+and blank%')" plus
same "nonsense" "$(be "$T" cat nonsense)" meta
# x and x/y: the directory shows, the file is not lost.
be "$T" stat both | grep -q '^04' || fail "both is no directory"
same "below both" "$(names "$T" both)" below
same "below both" "$(be "$T" cat both/below)" dir
same "the file" "$(s3req GET "/$bucket/t/both")" file
be "$T" stat s3fsdir | grep -q '^04' || fail "s3fsdir is no directory"
be "$T" stat dirmark | grep -q '^04' || fail "dirmark is no directory"
be "$T" stat nonsense | grep -q "^100644 $(id -u):$(id -g) size=4" ||
	fail "nonsense in metadata was believed"
be "$T" stat link | grep -q '^120777' || fail "link is no symlink"
be "$T" stat setuid | grep -q '^100755' || fail "setuid from the bucket"
be "$T" getxattr nonsense user.x 2>/dev/null && fail "an attribute of nonsense"

# Not UTF-8, too long: words, nothing made.
refused()
{
	be "$T" new "$2" >"$work/out" 2>&1 && fail "made '$2'"
	grep -q "$1" "$work/out" || fail "'$2': $(cat "$work/out")"
}
refused EILSEQ "$(printf 'latin\351')"
refused ENAMETOOLONG "$n255/$n255/$n255/$n255/$n255"
refused EPERM .sharedfs-root

# Operations leave alone what they can't name, or take it along.
be "$T" rmdir a 2>&1 | grep -q ENOTEMPTY || fail "rmdir a"
be "$T" mv a moved >/dev/null
same "moved" "$(names "$T" moved)" good
same "a//b went along" "$(s3req GET "/$bucket/t/moved//b")" x
same "a/../b went along" "$(s3req GET "/$bucket/t/moved/../b")" x
be "$T" stat a 2>/dev/null && fail "a is still there"
same "the outside" "$(s3req GET "/$bucket/secret")" outside
same "t/../x" "$(s3req GET "/$bucket/t/../x")" x
same "t//a" "$(s3req GET "/$bucket/t//a")" x
