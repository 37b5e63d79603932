#!/bin/sh
# SPDX-License-Identifier: MIT
# [P7.7] A request that only asks and gets no answer is asked once more on a new
# connection; one that changes something never is.  The held-back answers would
# come long after the end of this test.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

field()
{
	status_field "$A" "store.$1"
}

# held CLASS COMMAND…: the answer to the next request of CLASS is held back.
held()
{
	class=$1
	shift
	won=$(field hedges_won)
	proxy_do p fault "match=$class" stall=900000
	"$@" >"$work/out" || fail "$*"
	same "hits of $class" "$(proxy_do p hits)" $((hits + 1))
	hits=$((hits + 1))
	# A busy machine may have been slow enough for more.
	[ "$(field hedges_won)" -gt "$won" ] || fail "no second $class has won"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	A=$work/A hits=0
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=0,hedge,request_timeout=800"
	echo abc >"$A/f"
	# A GET is for what is not here.
	s3many "$bucket" cold-%d 0 50
	i=0
	while [ $i -lt 50 ]; do
		cat "$A/cold-$i" "$A/f" >/dev/null
		i=$((i + 1))
	done
	s3req PUT "/$bucket/abc" -d abc
	held GET cat "$A/abc"
	same "content" "$(cat "$work/out")" abc
	held LIST ls "$A"
	grep -qx f "$work/out" || fail "listing"
	held HEAD stat "$A/f"

	# What changes something waits.
	proxy_do p reset
	echo new >"$A/g"
	puts=$(proxy_count p PUT)
	proxy_do p reset
	proxy_do p fault match=PUT stall=4000
	echo new >"$A/h"
	same "PUTs" "$(proxy_count p PUT)" "$puts"
	sharedfs umount "$A"
}
STORES=s3 each_store body
