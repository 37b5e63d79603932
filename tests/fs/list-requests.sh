#!/bin/sh
# SPDX-License-Identifier: MIT
# [F.7] ls -l of N names costs a LIST for each 1,000 and a HEAD for each that
# is new; what was learned once outlives the worker and the mount.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

# costs WHAT DIR NAMES LIST HEAD: of an ls -l of DIR.
costs()
{
	proxy_do p reset
	ls -l "$A/$2" >"$work/ls"
	same "$1: lines" "$(wc -l <"$work/ls")" $(($3 + 1))
	same "$1: LIST" "$(proxy_count p LIST)" "$4"
	same "$1: HEAD" "$(proxy_count p HEAD)" "$5"
}

# Answers are believed when they are 2 s younger than the object (rule 12).
no_heads()
{
	remount
	proxy_do p reset
	ls -l "$A/d" >"$work/ls"
	[ "$(proxy_count p HEAD)" = 0 ]
}

remount()
{
	umount_node "$A"
	mount_node A "$SOURCE" "$A"
	stat "$A/d" "$A/e" >/dev/null
}

body()
{
	s3many "$bucket" e/name-%06d 0 20
	s3many "$bucket" d/name-%06d 0 1010 -H 'x-amz-meta-mode: 33188' \
		-H 'x-amz-meta-uid: 33'
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600"
	A=$work/A
	mount_node A "$SOURCE" "$A"
	stat "$A/d" >/dev/null
	ls -l "$A/d" >/dev/null
	wait_until 60 "attributes that are known" no_heads
	remount
	costs "a fresh mount" d 1010 2 0
	same "owners" "$(awk 'NR > 1 { print $3 }' "$work/ls" | sort -u)" \
		"$(id -nu 33 2>/dev/null || echo 33)"
	costs "warm" d 1010 0 0
	worker=$(status_field "$A" worker_pid)
	kill -9 "$worker"
	wait_until 30 "the next worker" eval \
		'[ "$(status_field "$A" worker_pid)" != "$worker" ]'
	stat "$A/d" >/dev/null
	costs "after a kill" d 1010 2 0
	# Three new ones, one of them in place of an old one.
	s3many "$bucket" d/name-%06d 1009 3
	remount
	costs "new ones" d 1012 2 3
	costs "all are new" e 20 1 20
	# A table that can't be read: all is asked for again.
	umount_node "$A"
	for f in "$work/cache-A"/v1/mounts/*/attrs.*; do
		echo garbage >"$f"
	done
	mount_node A "$SOURCE" "$A"
	stat "$A/e" >/dev/null
	costs "a lost table" e 20 1 20
}
STORES=s3 each_store body
