#!/bin/sh
# SPDX-License-Identifier: MIT
# Everything that goes wrong between a node and S3, again and again while a
# tree is copied, changed, read and removed: with hard no program sees an
# error, and what another node reads is right.  (Late uploads are ghost.sh's:
# one that arrives when its name was removed meanwhile brings the name back,
# and no condition of S3 prevents that.)
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program rsync

src=$work/src
mkdir -p "$src"
cp -r "$srcdir/docs" "$srcdir/backends" "$src/"
quick || cp -r "$srcdir/tests/fs" "$src/"
head -c 25000001 /dev/urandom >"$src/large"
ln -s large "$src/link"

# storm SKIP: each kind after SKIP requests, three times.  (Bytes that are
# wrong again and again are an error, so those come once; and among the small
# files, which are read first: a part of a large one has no checksum by http.)
storm()
{
	proxy_do p clear
	proxy_do p fault "skip=$1" match=GET truncate=10
	proxy_do p fault "skip=$((50 + $1))" match=GET corrupt=50
	for f in "match=GET cut=100" "match=GET length=5" "match=GET status=503" \
	    "match=GET reset" "match=HEAD status=500" "match=HEAD drop" \
	    "match=LIST cut=200" "match=LIST status=503" "match=LIST corrupt=20" \
	    "match=PUT status=503" "match=PUT status=500" "match=PUT drop" \
	    "match=PUT reset" "match=PUT cut-request=10" \
	    "match=PUT corrupt-request=5" \
	    "match=COPY drop" "match=COPY status=503" "match=COPY reset" \
	    "match=PART drop" "match=PART cut-request=1000000" \
	    "match=PART corrupt-request=9" "match=COMPLETE status=503" \
	    "match=COMPLETE drop" "match=CREATE reset" "match=DELETE drop" \
	    "match=DELETE status=503" "match=DELETE reset"; do
		for n in 1 2 3; do
			proxy_do p fault "skip=$(($1 * n))" $f
		done
	done
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	A=$work/A B=$work/B
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port,request_timeout=5"
	storm 7
	cp -a "$src" "$A/tree"
	# B sees it without the proxy.
	mount_node B "$SOURCE" "$B"
	attrs_sent "$A"
	same_tree "$src" "$B/tree"
	storm 5
	mv "$A/tree" "$A/moved"
	find "$A/moved/docs" -type f -exec sed -i 's/the/THE/g' {} +
	find "$src/docs" -type f -exec sed -i 's/the/THE/g' {} +
	chmod -R g+w "$A/moved/docs"
	chmod -R g+w "$src/docs"
	rsync -a "$src/" "$A/moved"
	attrs_sent "$A"
	same_tree "$src" "$B/moved"
	# Reading on a node that has nothing.
	umount_all
	rm -rf "$work/cache-A"
	mount_node B "$SOURCE" "$B"
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port,request_timeout=5"
	storm 3
	same_tree "$src" "$A/moved"
	storm 2
	rm -r "$A/moved"
	same "names on B" "$(ls -A "$B")" ""
	echo "faults done: $(proxy_do p hits)"
	[ "$(proxy_do p hits)" -gt 60 ] || fail "too few faults"
	same "left unsent" "$(status_field "$A" pending_files)" 0
}
STORES=s3 each_store body
