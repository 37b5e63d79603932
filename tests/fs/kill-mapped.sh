#!/bin/sh
# SPDX-License-Identifier: MIT
# What nobody has open any more when the worker is killed: what a mapping has
# written, and writes later, and a truncate() that was just being sent, are in
# the store in the end, and nothing is kept for the user [P6.10] [P1.8].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
need_passthrough
need_faults

body()
{
	D=$work/$store-1 E=$work/$store-2
	mount_node "$store-1" "$SOURCE" "$D"
	mount_node "$store-2" "$SOURCE" "$E"
	python3 - "$builddir/sharedfs" "$D" "$E" "$SHAREDFS_FAULTS" <<'EOF' || fail "see above"
import ctypes, json, mmap, os, subprocess, sys, time

prog, d, e, faults = sys.argv[1:]
size = 200000


def status():
    return json.loads(subprocess.check_output([prog, 'status', '--json', d]))


supervisor = status()['supervisor_pid']


def kill_worker():
    with open('/proc/%d/task/%d/children' % (supervisor, supervisor)) as f:
        for pid in f.read().split():
            os.kill(int(pid), 9)


def wait_for(what, fn):
    end = time.monotonic() + 60
    while not fn():
        assert time.monotonic() < end, 'waited in vain: ' + what
        time.sleep(0.05)


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                      ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def mapped(name):
    """(mmap.mmap() keeps a descriptor open.)"""
    fd = os.open(d + '/' + name, os.O_CREAT | os.O_RDWR)
    os.write(fd, b'a' * size)
    at = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE,
                   mmap.MAP_SHARED, fd, 0)
    assert at not in (None, ctypes.c_void_p(-1).value), ctypes.get_errno()
    os.close(fd)
    return (ctypes.c_char * size).from_address(at)


def unmap(m):
    assert libc.munmap(ctypes.addressof(m), size) == 0


def clean(name):
    return os.getxattr(d + '/' + name, 'user.sharedfs.state') == b'clean'


def there(name, want):
    with open(e + '/' + name, 'rb') as f:
        return f.read() == want


later, before = mapped('later'), mapped('before')
later[5] = before[5] = b'x'
wait_for('the first bytes', lambda: clean('later') and clean('before'))
before[0:6] = b'before'
unmap(before)
kill_worker()
wait_for('what was mapped', lambda: there(
    'before', b'before' + b'a' * (size - 6)))
later[0:5] = b'later'
wait_for('what is mapped', lambda: there(
    'later', b'later' + b'x' + b'a' * (size - 6)))
unmap(later)

for point in 'commit.saved', 'commit.answered':
    m = mapped(point)
    m[0] = b'c'
    wait_for('the mapping', lambda: clean(point))
    armed = os.path.join(faults, point)
    open(armed, 'w').close()
    os.truncate(os.path.join(d, point), 1000)
    if os.path.exists(armed):
        sys.exit(77)
    assert there(point, b'c' + b'a' * 999), point
    unmap(m)
wait_for('nothing that is pending', lambda: status()['pending_files'] == 0)
assert status()['errors']['failed_files'] == 0, status()
EOF
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
}
each_store body
