#!/bin/sh
# SPDX-License-Identifier: MIT
# [O.15] What reading a large object on s3 costs that is not in the cache: a
# stream fetches each byte once, in few large requests; a jump fetches a little
# around it and nothing ahead.  Counted, not timed.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

MIB=64
cat >"$work/reader.py" <<'PY'
import hashlib, os, sys
how, p, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(p, os.O_RDONLY)
if how == "stream":
    h = hashlib.sha256()
    while True:
        b = os.read(fd, 1 << 20)
        if not b: break
        h.update(b)
    print(h.hexdigest())
else:  # far apart, and backwards
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for i in range(15, 0, -1):
        assert len(os.pread(fd, 4096, i * (size // 16))) == 4096
PY

bytes_in()
{
	status_field "$A" store.bytes_in
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600"
	A=$work/A
	head -c "$((MIB << 20))" /dev/urandom >"$work/big"
	rgw req "$RGW_DIR" PUT "/$bucket/big" -f "$work/big" >/dev/null
	want=$(sha256sum "$work/big" | cut -d ' ' -f 1)
	rm "$work/big"

	mount_node A "$SOURCE" "$A" "$OPTS"
	stat "$A/big" >/dev/null
	proxy_do p reset
	before=$(bytes_in)
	same "bytes" "$(python3 "$work/reader.py" stream "$A/big" 0)" "$want"
	n=$(proxy_count p GET)
	more=$(($(bytes_in) - before - (MIB << 20)))
	echo "stream of $MIB MiB: $n GETs, $more bytes more"
	[ "$n" -le 40 ] || fail "$n GETs for $MIB MiB"
	[ "$more" -ge 0 ] && [ "$more" -lt 65536 ] ||
		fail "$more bytes more than the object has"
	proxy_do p reset
	same "again" "$(python3 "$work/reader.py" stream "$A/big" 0)" "$want"
	[ "$(proxy_count p GET)" -le 1 ] || fail "fetched again"
	sharedfs umount "$A"

	rm -r "$work/cache-A"
	mount_node A "$SOURCE" "$A" "$OPTS"
	stat "$A/big" >/dev/null
	proxy_do p reset
	before=$(bytes_in)
	python3 "$work/reader.py" jump "$A/big" "$((MIB << 20))"
	n=$(proxy_count p GET)
	got=$((($(bytes_in) - before) >> 10))
	echo "15 jumps: $n GETs, $got KiB"
	[ "$n" -le 17 ] || fail "$n GETs for 15 jumps"
	[ "$got" -le $((17 * 256 + 64)) ] || fail "$got KiB for 15 jumps"
	sharedfs umount "$A"
}
STORES=s3 each_store body
