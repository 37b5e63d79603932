#!/bin/sh
# SPDX-License-Identifier: MIT
# [P6.2] Workers that are killed while they read their first requests, large ones:
# the next worker answers them, and no program gets an error.  With the
# kernel's way to send them again, and with that of older kernels.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/killer.py" <<'PY'
import os, random, sys, threading, time

path, worker, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = bytes(range(256)) * 4096
stop, errors, writes = False, [], 0

def write(n):
    global writes
    fd = os.open('%s/%d' % (path, n), os.O_RDWR | os.O_CREAT)
    while not stop:
        try:
            os.pwrite(fd, block, random.randrange(8) << 20)
            writes += 1
        except OSError as e:
            errors.append(str(e))
    os.close(fd)

with open('/proc/%d/stat' % worker) as f:
    supervisor = int(f.read().rsplit(')', 1)[1].split()[1])

def threads(pid):
    try:
        return [open('/proc/%s/task/%s/comm' % (pid, t)).read()
                for t in os.listdir('/proc/%s/task' % pid)]
    except OSError:
        return [] # it has ended

def next_worker(last):
    """The one after it, as soon as it reads requests."""
    while True:
        with open('/proc/%d/task/%d/children' % (supervisor, supervisor)) as f:
            for pid in f.read().split():
                if int(pid) != last and 'fuse\n' in threads(pid):
                    return int(pid)
        time.sleep(0.0005)

writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
for w in writers:
    w.start()
for i in range(kills):
    time.sleep(random.random() * 0.006)
    os.kill(worker, 9)
    worker = next_worker(worker)
stop = True
for w in writers:
    w.join()
print('%d kills, %d writes' % (kills, writes))
if errors:
    sys.exit('%d errors: %s' % (len(errors), errors[0]))
for n in range(4):
    with open('%s/%d' % (path, n), 'rb') as f:
        data = f.read()
    for i in range(0, len(data), 1 << 20):
        if data[i:i + (1 << 20)] not in (block, bytes(1 << 20)):
            sys.exit('%d: other bytes at %d' % (n, i))
PY

kills=40
! quick || kills=15

body()
{
	for way in again kept; do
		echo "-- $way"
		[ $way = again ] || export SHAREDFS_NO_RESEND=1
		mount_node "A-$way" "$SOURCE" "$work/A-$way" \
			"$OPTS,passthrough=off"
		python3 "$work/killer.py" "$work/A-$way" \
			"$(status_field "$work/A-$way" worker_pid)" $kills ||
			fail "$way: see above"
		umount_node "$work/A-$way"
	done
}
STORES=file each_store body
