#!/bin/sh
# SPDX-License-Identifier: MIT
# [F.7] ls -l of N names costs a LIST for each 1,000 and a HEAD for each that
# is new; what was learned once outlives the worker and the mount.  [F.10] Those
# are asked for many at a time.
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

# together WHAT LINES COMMAND…: nothing is answered before many are asked.
together()
{
	what=$1 names=$2
	shift 2
	proxy_do p pause
	"$@" >"$work/together" &
	asking=$!
	wait_until 60 "many questions at once: $what" many_asked
	proxy_do p resume
	wait "$asking" || fail "$what"
	same "$what: LIST" "$(proxy_count p LIST)" 1
	same "$what: HEAD" "$(proxy_count p HEAD)" 400
	same "$what: lines" "$(wc -l <"$work/together")" "$names"
}

many_asked()
{
	[ "$(proxy_do p most)" -gt 8 ]
}

# As find and rsync do it: the names first, then what each is.
cat >"$work/steps.py" <<'PY'
import os, sys
for name in sys.argv[2:]:
    print(os.lstat(sys.argv[1] + "/" + name).st_size)
PY

ahead()
{
	s3many "$bucket" g/name-%04d 0 400
	s3many "$bucket" h/name-%04d 0 400
	stat "$A/g" "$A/h" >/dev/null
	proxy_do p reset
	ls -U "$A/g" >"$work/names"
	[ "$(proxy_count p HEAD)" -lt 40 ] || fail "ls asks for attributes"
	# He must show that he looks at one after the other.
	# shellcheck disable=SC2046
	set -- $(cat "$work/names")
	python3 "$work/steps.py" "$A/g" $(head -n 30 "$work/names") >/dev/null
	together "one after the other" 400 python3 "$work/steps.py" "$A/g" "$@"
	proxy_do p reset
	ls -U "$A/h" >/dev/null
	together "ls -l" 401 ls -l "$A/h"
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
	ahead
}
STORES=s3 each_store body
