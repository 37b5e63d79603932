#!/bin/sh
# SPDX-License-Identifier: MIT
# A cache disk that writes slowly: what a mapping changes while its page is being
# written out is sent all the same, at the next fsync() or close(), or a moment
# after the last one [P1.8].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 mkfs.ext4 losetup
losetup -f >/dev/null 2>&1 || skip "no loop device"

cat >"$work/mapper.py" <<'PY'
import mmap, os, sys, time

a, b, ctl = sys.argv[1:]

def slow(ms):
    with open(ctl, 'w') as f:
        f.write('slow %d' % ms)

for turn in range(6):
    name = '/mapped%d' % turn
    fd = os.open(a + name, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, bytes(20000))
    m = mmap.mmap(fd, 20000)
    os.fsync(fd)
    slow(150)
    for step in b'12345':
        m[0] = m[12000] = step # … while what was there before is written out
        if step != b'5'[0]:
            os.fsync(fd)
    m.close()
    os.close(fd)
    slow(0)
    deadline = time.monotonic() + 30
    while True:
        with open(b + name, 'rb') as f:
            got = f.read()
        if got[:1] == got[12000:12001] == b'5':
            break
        assert time.monotonic() < deadline, '%s: %s' % (name, got[:1])
        time.sleep(0.1)
PY

body()
{
	E=$work/E-$store D=$work/D-$store C=$work/cache-D-$store
	mount_node "E-$store" "$SOURCE" "$E"
	truncate -s 40M "$work/img"
	mkfs.ext4 -q -F -m 0 -O ^has_journal -E nodiscard "$work/img"
	mkdir -p "$work/disk" "$C"
	"$builddir/tests/bin/disk" "$work/img" "$work/disk"
	mount -o loop "$work/disk/disk" "$C"
	mount_node "D-$store" "$SOURCE" "$D" "$OPTS,cache_free=4M"
	worker=$(status_field "$D" worker_pid)
	python3 "$work/mapper.py" "$D" "$E" "$work/disk/ctl" ||
		fail "see above"
	umount_node "$D"
	wait_until 60 "the end of process $worker" not_running "$worker"
	wait_until 60 "the end of the node" umount "$C"
	umount "$work/disk"
	rm "$work/img"
}
STORES=file each_store body
