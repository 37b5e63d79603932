#!/bin/sh
# SPDX-License-Identifier: MIT
# [S3.11]: uploads below the prefix that were begun long ago and never ended are
# found by their age, and aborted with abort_uploads; younger ones and those
# beside the prefix stay.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_mount
need_rgw
new_bucket
be()
{
	be-tool -o endpoint="$RGW_ENDPOINT" "s3://$bucket/t" "$@"
}
begin()
{
	s3req POST "/$bucket/$1?uploads" >/dev/null || fail "begin $1"
}
count()
{
	s3req GET "/$bucket?uploads" | grep -o '<UploadId>' | wc -l
}
# The store tells the time of day in seconds.
found()
{
	[ "$(be uploads 0)" = "$1" ]
}

same "in an empty bucket" "$(be uploads 0)" 0
begin t/plain
begin t/plain
begin "t/d/blank%20plus%2B%25%C3%A9"
begin t2/beside
begin other
same "an hour old" "$(be uploads 3600)" 0
same "aborted, an hour old" "$(be abort-uploads 3600)" 0
wait_until 20 "uploads to be old" found 3
same "still there" "$(count)" 5
same "aborted" "$(be abort-uploads 0)" 3
same "old now" "$(be uploads 0)" 0
same "beside the prefix" "$(count)" 2

# A share that is mounted does so at a sensible age only.
mkdir "$work/none"
refused=0
sharedfs mount "s3://$bucket/t" "$work/none" -o abort_uploads=60 \
	>"$work/out" 2>&1 || refused=$?
[ "$refused" != 0 ] || fail "abort_uploads=60 was taken"
grep -q '1h' "$work/out" || fail "$(cat "$work/out")"
listed()
{
	sharedfs status --json "$work/n" | grep -q '"requests_multipart_list": *1\>'
}
opts=log_level=info,endpoint=$RGW_ENDPOINT,region=us-east-1,path_style
mount_node n "s3://$bucket/t" "$work/n" "$opts,abort_uploads=1h"
wait_until 30 "the look for old uploads" listed
umount_all
same "young ones" "$(count)" 2
