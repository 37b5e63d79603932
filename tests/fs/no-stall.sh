#!/bin/sh
# SPDX-License-Identifier: MIT
# [O.16] A large upload to a slow store holds up neither what is cached nor the
# close() of another file.  The upload can't end before the others have: the link
# is opened up only then, so that the verdict is an order, and the histogram of
# latencies is for people.
#   STALL_MIB=5120 STALL_RATE=20000000 STALL_OPENS=100000    the long form
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
mib=${STALL_MIB:-80} rate=${STALL_RATE:-600000} opens=${STALL_OPENS:-300}

cat >"$work/open.py" <<'PY'
import os, sys, time
d, n = sys.argv[1], int(sys.argv[2])
slots = {}
for i in range(n):
    t = time.monotonic()
    fd = os.open(d + "/cached", os.O_RDONLY)
    assert os.read(fd, 4096) == b"c" * 4096
    os.close(fd)
    us = int((time.monotonic() - t) * 1e6)
    slots[us.bit_length()] = slots.get(us.bit_length(), 0) + 1
print("open+read+close of a cached file while a large one is sent:")
for k in sorted(slots):
    print("%9d us  %5d  %s" % (1 << k, slots[k], "#" * (60 * slots[k] // n)))
PY
cat >"$work/big.py" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
for i in range(int(sys.argv[2])):
    os.write(fd, os.urandom(1 << 20))
open(sys.argv[3], "w").close()
os.close(fd)
PY

under_way()
{
	[ "$(status_field "$A" store.parts_under_way)" -ge 4 ]
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	A=$work/A
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600,nocto,part_size=5M,parallel=4"
	head -c 4096 /dev/zero | tr '\0' c >"$A/cached"
	cat "$A/cached" >/dev/null
	# 80 MiB would take more than two minutes.
	proxy_do p bandwidth $rate
	python3 "$work/big.py" "$A/big" $mib "$work/written" &
	big=$!
	test_pids="$test_pids $big"
	wait_until 120 "the file to be written" [ -e "$work/written" ]
	wait_until 120 "parts under way" under_way

	python3 "$work/open.py" "$A" $opens
	# One PUT each.
	for i in 1 2; do
		dd if="$A/cached" of="$A/other$i" bs=4096 status=none
	done
	n=$(status_field "$A" store.parts_under_way)
	[ "$n" -le 4 ] || fail "$n parts at a time, parallel=4"
	not_running "$big" && fail "the large file was sent meanwhile"
	proxy_do p bandwidth 0
	wait "$big" || fail "writing the large file"
	same "size" "$(rgw req "$RGW_DIR" HEAD "/$bucket/big" -i |
		tr -d '\r' | sed -n 's/^[Cc]ontent-[Ll]ength: //p')" $((mib << 20))
	sharedfs umount "$A"
}
STORES=s3 each_store body
