#!/bin/sh
# SPDX-License-Identifier: MIT
# [S3.11] [P1.1] Large new files on s3: parts leave while the program still
# writes, each once; what changed since is sent again; what is not wanted any
# more is aborted; and the requests are counted.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

# A writer that does what it is told, line by line, and says when it is done.
cat >"$work/writer.py" <<'PY'
import hashlib, os, sys
MIB = 1 << 20
fd = None
def block(n, seed=0):
    return hashlib.sha256(b"%d %d" % (n, seed)).digest() * (MIB // 32)
for line in sys.stdin:
    op, *arg = line.split()
    if op == "open":
        fd = os.open(arg[0], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    elif op == "write":  # FROM TO [SEED], in MiB
        for i in range(int(arg[0]), int(arg[1])):
            os.pwrite(fd, block(i, int(arg[2]) if arg[2:] else 0), i * MIB)
    elif op == "cut": os.ftruncate(fd, int(arg[0]) * MIB)
    elif op == "mode": os.fchmod(fd, int(arg[0], 8))
    elif op == "times": os.utime(fd, ns=(int(arg[0]), int(arg[0])))
    elif op == "sync": os.fsync(fd)
    elif op == "sum":  # FILE FROM TO SEED …: is that what is in it?
        h = hashlib.sha256()
        for a, b, s in zip(arg[1::3], arg[2::3], arg[3::3]):
            for i in range(int(a), int(b)):
                h.update(block(i, int(s)))
        with open(arg[0], "rb") as f:
            assert hashlib.sha256(f.read()).digest() == h.digest(), arg
    elif op == "close": os.close(fd)
    print("done", flush=True)
PY

tell()
{
	echo "$*" >&7
	read -r answer <&8 && [ "$answer" = done ] || fail "writer: $*"
}

# counts WHAT "CLASS COUNT …": since the last reset; what is changed, not what
# is asked for (requests.sh); the rest is 0.
counts()
{
	got=$(proxy_do p count | grep -v 'total\|HEAD\|LIST\| 0$' |
		LC_ALL=C sort | tr '\n' ' ')
	same "$1" "$got" "$2${2:+ }"
}

left()
{
	[ "$(proxy_count p PART)" -ge "$1" ]
}

uploads()
{
	rgw req "$RGW_DIR" GET "/$bucket?uploads" | grep -c '<UploadId>' || :
}

no_uploads()
{
	[ "$(uploads)" = 0 ]
}

# Parts of 5 MiB; the writer is at 15 MiB, so that two parts lie well behind it,
# whoever looks.
one_mode()
{
	mode=$1
	d=$A/$mode
	mount_node A "$SOURCE" "$A" "$OPTS,passthrough=$mode"
	mkdir "$d"

	echo "- $mode: parts leave before close()"
	proxy_do p reset
	tell open "$d/f"
	tell write 0 15
	wait_until 60 "parts to leave" left 2
	rgw req "$RGW_DIR" HEAD "/$bucket/$mode/f" >/dev/null 2>&1 &&
		fail "seen before close()"
	tell close
	counts "$mode" "COMPLETE 1 CREATE 1 PART 3"
	tell sum "$d/f" 0 15 0
	no_uploads || fail "$(uploads) uploads are left"

	echo "- $mode: a part that changed is sent again"
	proxy_do p reset
	tell open "$d/f"
	tell write 0 15 1
	wait_until 60 "parts to leave" left 2
	tell write 6 7 2
	tell close
	counts "again" "COMPLETE 1 CREATE 1 PART 4"

	echo "- $mode: what the file says of itself"
	tell open "$d/g"
	tell write 0 15
	tell mode 664
	tell times 1234567890123456789
	tell close
	same "attributes" "$(stat -c '%a %.9Y' "$d/g")" "664 1234567890.123456789"
	proxy_do p reset
	tell open "$d/h"
	tell write 0 15
	wait_until 60 "parts to leave" left 2
	tell mode 600
	tell close
	same "tighter mode" "$(stat -c %a "$d/h")" 600

	echo "- $mode: not wanted any more"
	proxy_do p reset
	tell open "$d/u"
	tell write 0 15
	wait_until 60 "parts to leave" left 2
	rm "$d/u"
	tell close
	wait_until 20 "the end of the upload" no_uploads
	[ ! -e "$d/u" ] || fail "it is back"
	proxy_do p reset
	tell open "$d/c"
	tell write 0 15
	wait_until 60 "parts to leave" left 2
	tell cut 7
	tell close
	wait_until 20 "the end of the upload" no_uploads
	tell sum "$d/c" 0 7 0

	echo "- $mode: a part that fails does not make the others new"
	proxy_do p reset
	proxy_do p fault match=PART skip=1 status=503
	tell open "$d/e"
	tell write 0 15
	wait_until 60 "parts to leave" left 2
	tell close
	# Those that were under way beside it may be given up as well.
	same "uploads after 503" "$(proxy_count p CREATE)" 1
	same "ends after 503" "$(proxy_count p COMPLETE)" 1
	parts=$(proxy_count p PART)
	[ "$parts" -ge 4 ] && [ "$parts" -le 6 ] || fail "after 503: $parts parts"
	proxy_do p fault match=COMPLETE drop
	tell open "$d/l"
	tell write 0 15
	tell close
	proxy_do p clear
	no_uploads || fail "$(uploads) uploads are left"

	sharedfs umount "$A"
	mount_node A "$SOURCE" "$A" "$OPTS,passthrough=$mode"
	tell sum "$d/f" 0 6 1 6 7 2 7 15 1
	tell sum "$d/g" 0 15 0
	tell sum "$d/e" 0 15 0
	tell sum "$d/l" 0 15 0
	same "attributes" "$(stat -c '%a %.9Y' "$d/g")" "664 1234567890.123456789"
	same "tighter mode" "$(stat -c %a "$d/h")" 600
	sharedfs umount "$A"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,part_size=5M,actimeo=600"
	A=$work/A
	mkfifo "$work/in" "$work/out"
	python3 "$work/writer.py" <"$work/in" >"$work/out" &
	test_pids="$test_pids $!"
	exec 7>"$work/in" 8<"$work/out"
	one_mode off
	one_mode auto
	exec 7>&- 8<&-
}
STORES=s3 each_store body
