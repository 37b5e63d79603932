#!/bin/sh
# SPDX-License-Identifier: MIT
# The S3 server is stopped in the middle of a write: hard waits until it is
# back [P7.1], soft fails after timeo [P7.2], and nothing that was acknowledged
# is missing afterwards [P1.1].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
need_own_rgw

# Writes files until told to stop; prints "ok NAME" for each that close()
# acknowledged, and the error of each that it did not.
cat >"$work/writer.py" <<'PY'
import hashlib, os, sys
d, stop = sys.argv[1:]
n = 0
while not os.path.exists(stop):
    name = "file%d" % n
    n += 1
    data = hashlib.sha256(name.encode()).digest() * (1 + 3001 * (n % 40))
    try:
        fd = os.open("%s/%s" % (d, name), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        print("ok", name, len(data), flush=True)
    except OSError as e:
        print("error", name, e.errno, flush=True)
PY
cat >"$work/verify.py" <<'PY'
import hashlib, sys
bad = 0
for line in open(sys.argv[2]):
    word = line.split()
    if word[0] != "ok":
        continue
    data = open("%s/%s" % (sys.argv[1], word[1]), "rb").read()
    want = hashlib.sha256(word[1].encode()).digest() * (int(word[2]) // 32)
    if data != want:
        print("%s: %d bytes, not %d" % (word[1], len(data), len(want)))
        bad = 1
sys.exit(bad)
PY

lines()
{
	grep -c "^$1" "$work/written" || :
}

more_than()
{
	[ "$(lines "$1")" -gt "$2" ]
}

start_writer()
{
	rm -f "$work/stop"
	: >"$work/written"
	python3 "$work/writer.py" "$A" "$work/stop" >"$work/written" &
	writer=$!
	test_pids="$test_pids $writer"
	wait_until 60 "the first files" more_than ok 20
}

end_writer()
{
	: >"$work/stop"
	wait "$writer"
	mount_node B "$SOURCE" "$work/B"
	python3 "$work/verify.py" "$work/B" "$work/written" ||
		fail "an acknowledged file is missing or wrong"
	umount_node "$work/B"
}

A=$work/A
new_store s3
mount_node A "$SOURCE" "$A" "$OPTS,request_timeout=2"
start_writer
rgw stop-gw "$RGW_DIR"
# It may finish the file whose reply was under way; then it waits.
sleep 1
before=$(lines ok)
sleep 4
same "hard: files acknowledged without a server" "$(lines ok)" "$before"
same "hard: errors" "$(lines error)" 0
not_running "$writer" && fail "hard: the writer ended"
sharedfs status --check "$A" >/dev/null && fail "status says all is well"
rgw start-gw "$RGW_DIR"
wait_until 60 "the writer to go on" more_than ok $((before + 20))
end_writer
umount_all

new_store s3
mount_node A "$SOURCE" "$A" "$OPTS,soft,timeo=2,request_timeout=1,connect_timeout=1"
start_writer
rgw stop-gw "$RGW_DIR"
wait_until 60 "an error" more_than error 0
same "soft: errno" "$(sed -n 's/^error [^ ]* //p' "$work/written" | sort -u)" 5
before=$(lines ok)
rgw start-gw "$RGW_DIR"
wait_until 60 "the writer to go on" more_than ok $((before + 20))
end_writer
# What was not acknowledged is still listed; nobody waits for it for ever.
sharedfs umount "$A" || echo "umount listed what was left"
