#!/bin/sh
# SPDX-License-Identifier: MIT
# The worker is killed at each named point (common/fault.h) of each operation,
# one at a time: every call is answered as if nothing had happened [P6.5], and
# what the store has in the end is what the program was told.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
# KEPT: as on kernels before 6.9, which don't send requests again [P6.2].
case $(uname -r) in
[1-5].*|6.[0-8].*|6.[0-8]-*) KEPT=1 ;;
esac
[ -z "${KEPT-}" ] || export SHAREDFS_NO_RESEND=1
SHAREDFS_FAULTS=$work/faults
export SHAREDFS_FAULTS
mkdir "$SHAREDFS_FAULTS"
# POINTS="a b" tests/fs/kill-points.sh: only these.
points=${POINTS:-$(cd "$srcdir" && grep -rhoE 'FAULT_POINT\("[a-z0-9.-]+"\)' \
	fs cache backends | cut -d'"' -f2 | sort -u)}
# Those that can't be passed on a store, and those that know nothing of it and
# are passed on the other one.
not_file="s3\\." not_s3="file\\." not_kept="replay\\."
[ -z "${KEPT-}" ] || not_kept=nothing
if [ -z "${POINTS-}" ]; then
	not_file="$not_file\\|rekey\\." not_s3="$not_s3\\|publish\\.\\|take\\.\\|table\\."
	[ -z "${KEPT-}" ] || not_kept="publish\\.\\|take\\.\\|table\\.\\|rekey\\."
fi

# Nothing that a killed worker began to upload stays in the store, but for one
# whose number it was just being told: while one is aborted the next one begins
# [S3.11].
no_uploads()
{
	rgw req "$RGW_DIR" GET "/$bucket?uploads" >"$work/uploads"
	! grep -o '<Key>[^<]*' "$work/uploads" | grep -qv 's3\.upload-abort'
}

# Nothing is left of what was written (sN: records to be used again).
nothing_private()
{
	find "$work/cache-$store-1"/v1/mounts/*/files \
		"$work/cache-$store-1"/v1/mounts/*/journal \
		! -type d ! -name 's*' -ls >"$work/private.log"
	[ ! -s "$work/private.log" ]
}

body()
{
	D=$work/$store-1 E=$work/$store-2
	[ "$store" = file ] || OPTS="$OPTS,part_size=5M"
	mount_node "$store-1" "$SOURCE" "$D" "$OPTS${KEPT:+,passthrough=off}"
	: >"$SHAREDFS_FAULTS/once.saved"
	mkdir "$D/first"
	[ ! -e "$SHAREDFS_FAULTS/once.saved" ] ||
		skip "no --enable-dev build: it has no fault points"
	eval "not=\$not_$store"
	mine=$(echo "$points" | tr " " "\n" | grep -v "^\($not\)" |
		grep -v "^\($not_kept\)")
	python3 "$srcdir/tests/fs/kill-points.py" "$D" "$work/list" \
		"$SHAREDFS_FAULTS" $mine || fail "see above"
	mount_node "$store-2" "$SOURCE" "$E"
	(cd "$E" && find . -type f | sort | xargs cksum) >"$work/list.2"
	diff "$work/list" "$work/list.2" || fail "the store has something else"
	[ "$store" = file ] || wait_until 60 "the end of all uploads" no_uploads
	same pending "$(status_field "$D" pending_files)" 0
	same failed "$(status_field "$D" errors.failed_files)" 0
	same "open files" "$(status_field "$D" open_files)" 0
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
	wait_until 60 "the end of all private files" nothing_private
}
each_store body
