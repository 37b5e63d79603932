#!/bin/sh
# SPDX-License-Identifier: MIT
# [S3.13] Appends to and edits of a large object on s3: what did not change is
# copied inside the store, what did is sent; counted in requests and bytes.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/edit.py" <<'PY'
import os, sys
how, p = sys.argv[1:]
if how == "append":
    fd = os.open(p, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"a" * (1 << 20))
elif how == "edit":
    fd = os.open(p, os.O_RDWR)
    os.pwrite(fd, b"e" * 100, (21 << 20) + 5)
elif how == "cut":
    fd = os.open(p, os.O_RDWR)
    os.ftruncate(fd, 17 << 20)
os.close(fd)
PY

field()
{
	status_field "$A" "store.$1"
}

# costs HOW "CLASS COUNT …" SENT FETCHED: requests that move bytes, and MiB.
costs()
{
	proxy_do p reset
	in=$(field bytes_in) out=$(field bytes_out)
	python3 "$work/edit.py" "$1" "$A/big"
	python3 "$work/edit.py" "$1" "$work/big"
	got=$(proxy_do p count | grep 'PART\|PUT\|COPY\|CREATE\|COMPLETE\|GET' |
		grep -v ' 0$' | LC_ALL=C sort | tr '\n' ' ')
	same "requests of $1" "$got" "$2 "
	same "MiB sent for $1" $((($(field bytes_out) - out) >> 20)) "$3"
	same "MiB fetched for $1" $((($(field bytes_in) - in) >> 20)) "$4"
	same "size after $1" "$(stat -c %s "$A/big")" "$(stat -c %s "$work/big")"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600,part_size=5M"
	A=$work/A
	# A multiple of the part, so that an append needs nothing of it.
	head -c "$((45 << 20))" /dev/urandom >"$work/big"
	rgw req "$RGW_DIR" PUT "/$bucket/big" -f "$work/big" >/dev/null
	mount_node A "$SOURCE" "$A" "$OPTS"
	stat "$A/big" >/dev/null
	# 45 MiB are one copy; the open looks, and the append is a part.
	costs append "COMPLETE 1 CREATE 1 PART 1 PART_COPY 1" 1 0
	# The part around it is fetched (what is before, what is behind) and sent; 20 MiB before it and 20 and 1
	# behind it are copied.
	costs edit "COMPLETE 1 CREATE 1 GET 3 PART 1 PART_COPY 2" 5 5
	costs cut "COMPLETE 1 CREATE 1 GET 1 PART_COPY 1" 0 0
	sharedfs umount "$A"
	rm -r "$work/cache-A"
	mount_node A "$SOURCE" "$A" "$OPTS"
	cmp "$A/big" "$work/big" || fail "other bytes"
	sharedfs umount "$A"
}
STORES=s3 each_store body
