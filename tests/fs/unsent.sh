#!/bin/sh
# SPDX-License-Identifier: MIT
# A store that refuses the bytes: close() fails, they are kept and listed,
# status is not "ok", umount refuses until they are sent.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store file
D=$work/mnt
mount -t tmpfs store "$store_dir"
echo hello >"$store_dir/file"
mount_node a "$SOURCE" "$D"

python3 - "$D/file" "$store_dir" <<'END'
import errno, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
# Before the write: a child's copy of fd is closed too, and that sends.
subprocess.check_call(["mount", "-o", "remount,ro", sys.argv[2]])
os.write(fd, b"more\n")
try:
    os.close(fd)
except OSError as e:
    assert e.errno == errno.EROFS, e
else:
    sys.exit("close() of what is not in the store succeeded")
END
same "in the store" "$(cat "$store_dir/file")" hello

is_failed()
{
	[ "$(status_field "$D" errors.failed_files)" = 1 ]
}
wait_until 10 "the failed file in the status" is_failed
same pending_files "$(status_field "$D" pending_files)" 1
code=0
sharedfs status --check "$D" >"$work/out" || code=$?
same "exit of status" "$code" 1
grep -q '^degraded: files could not be sent' "$work/out" || fail "$(cat "$work/out")"

if sharedfs umount "$D" 2>"$work/out"; then
	fail "unmounted with an unsent file"
fi
grep -q '^  file (' "$work/out" || fail "the file is not listed: $(cat "$work/out")"
same mounts "$(our_mounts | grep -c "^$D\$")" 1

mount -o remount,rw "$store_dir"
sharedfs umount "$D"
wait_gone
same "sent in the end" "$(cat "$store_dir/file")" "hello
more"
umount "$store_dir"
