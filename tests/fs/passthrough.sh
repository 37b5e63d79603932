#!/bin/sh
# SPDX-License-Identifier: MIT
# What the kernel reads and writes by itself (passthrough) and what is served:
# the same expectations in both modes.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

body()
{
	for mode in auto off; do
		A=$work/$store-$mode-a B=$work/$store-$mode-b
		mount_node "$store-$mode-a" "$SOURCE" "$A" "$OPTS,passthrough=$mode"
		mount_node "$store-$mode-b" "$SOURCE" "$B" "$OPTS,passthrough=$mode"
		why=$(status_field "$A" passthrough)
		echo "-- passthrough=$mode: $why"
		[ "$mode" = auto ] || same "passthrough=off" "$why" "off: by option"
		python3 - "$builddir/sharedfs" "$A" "$B" "$mode" \
			"$store" <<'EOF' ||
import json, mmap, os, subprocess, sys, time

prog, a, b, mode, store = sys.argv[1:]
ON = mode != 'off'

def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)

def get(path):
    with open(path, 'rb') as f:
        return f.read()

def on_b(name):
    return get(b + '/' + name)

def worker():
    out = subprocess.check_output([prog, 'status', '--json', a])
    return json.loads(out)['worker_pid']

def fresh(name, data):
    put(a + '/' + name, data)
    return a + '/' + name

# A reader that is already there sees what a later writer of its node adds.
p = fresh('log', b'one\n')
r = os.open(p, os.O_RDONLY)
assert os.read(r, 100) == b'one\n'
w = os.open(p, os.O_WRONLY | os.O_APPEND)
os.write(w, b'two\n')
assert os.read(r, 100) == b'two\n'
assert os.fstat(r).st_size == 8 and os.stat(p).st_size == 8
os.close(w)
assert os.read(r, 100) == b''
os.close(r)
assert on_b('log') == b'one\ntwo\n'

# All kinds of handles of one file at once.
p = fresh('mixed', b'0' * 8192)
fds = [os.open(p, f) for f in (
    os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_SYNC, os.O_RDWR | os.O_APPEND,
    os.O_WRONLY, os.O_RDONLY)]
os.pwrite(fds[1], b'A', 0)
os.pwrite(fds[2], b'B', 1)
os.write(fds[3], b'C')
os.pwrite(fds[4], b'D', 2)
for fd in (fds[0], fds[1], fds[2], fds[5]):
    got = os.pread(fd, 9000, 0)
    assert len(got) == 8193 and got[:4] == b'ABD0' and got[-1:] == b'C', got[:4]
for fd in fds:
    os.close(fd)
assert on_b('mixed') == b'ABD' + b'0' * 8189 + b'C'

# Two opens, the first one cached by its flags.
p = fresh('order', b'xyz')
f1 = os.open(p, os.O_RDWR | os.O_SYNC)
f2 = os.open(p, os.O_RDWR)
os.pwrite(f1, b'1', 0)
os.pwrite(f2, b'2', 1)
assert os.pread(f1, 10, 0) == os.pread(f2, 10, 0) == b'12z'
os.close(f1)
os.close(f2)
assert on_b('order') == b'12z'

# A mapping that outlives its close, written to after it.
p = fresh('map', b'm' * 300000)
fd = os.open(p, os.O_RDWR)
m = mmap.mmap(fd, 300000)
os.close(fd)
m[0:1] = b'A'
m[200000:200001] = b'B'
m.flush()
fd = os.open(p, os.O_RDWR)
os.fsync(fd)
m[1:2] = b'C' # the page is dirty and mapped: no new fault unless protected
os.fsync(fd)
os.close(fd)
assert on_b('map')[:3] == b'ACm' and on_b('map')[200000:200001] == b'B'
m[2:3] = b'D'
m.close()
deadline = time.monotonic() + 30
while on_b('map')[:3] != b'ACD': # msync: at the next close or rescan (P1)
    assert time.monotonic() < deadline, 'a mapping was forgotten'
    time.sleep(0.1)

# A file that was written by descriptors that can't be mapped, and then is.
p = a + '/late-map'
w = os.open(p, os.O_CREAT | os.O_WRONLY)
os.write(w, b'm' * 300000)
os.fsync(w)
fd = os.open(p, os.O_RDWR)
m = mmap.mmap(fd, 300000)
os.close(fd)
m[0:1] = b'A'
os.fsync(w)
m[1:2] = b'B' # no new fault unless protected
os.fsync(w)
assert on_b('late-map')[:3] == b'ABm'
os.close(w)
m[2:3] = b'C'
m.close()
deadline = time.monotonic() + 30
while on_b('late-map')[:3] != b'ABC':
    assert time.monotonic() < deadline, 'a mapping was forgotten'
    time.sleep(0.1)

# Unlinked, renamed and replaced while open.
p = fresh('gone', b'1234')
fd = os.open(p, os.O_RDWR)
os.unlink(p)
os.write(fd, b'ab')
assert os.pread(fd, 10, 0) == b'ab34' and os.fstat(fd).st_nlink == 0
os.close(fd)
assert not os.path.exists(b + '/gone')
p = fresh('from', b'1234')
fd = os.open(p, os.O_RDWR)
os.write(fd, b'AB')
os.rename(p, a + '/to')
os.write(fd, b'CD')
os.close(fd)
assert on_b('to') == b'ABCD' and not os.path.exists(b + '/from')
p = fresh('target', b'old')
r = os.open(p, os.O_RDONLY)
q = fresh('source', b'newer')
os.rename(q, p)
assert os.read(r, 10) == b'old' and get(p) == b'newer'
os.close(r)
assert on_b('target') == b'newer'

# Replaced by the other node while open here.
p = fresh('foreign', b'mine')
r = os.open(p, os.O_RDONLY)
assert os.pread(r, 10, 0) == b'mine'
put(b + '/foreign', b'theirs')
assert get(p) == b'theirs'
r2 = os.open(p, os.O_RDONLY)
assert os.pread(r2, 10, 0) == b'theirs' and os.pread(r, 10, 0) == b'mine'
os.close(r)
os.close(r2)

# Small files are read through the kernel's pages: reading does not make the
# kernel ask for attributes, as the read of a backing file does.
def asked(what):
    out = subprocess.check_output([prog, 'status', '--json', a])
    return json.loads(out)['requests'].get(what, 0)

def read_again(p, data, n):
    for i in range(n):
        with open(p, 'rb') as f:
            assert os.fstat(f.fileno()).st_size == len(data)
            assert f.read() == data

p = fresh('pages', b'p' * 100000)
get(p)
before = asked('getattr')
read_again(p, b'p' * 100000, 200)
assert asked('getattr') - before < 100, 'a small file was a backing file'

# And never with pages of other bytes, whoever wrote them and how.
for size in 5000, 100000, 300000:
    p = fresh('turns%d' % size, b'1' * size)
    assert get(p) == b'1' * size
    with open(p, 'r+b') as f: # nobody has it open: by the kernel itself
        f.write(b'2')
        m = mmap.mmap(f.fileno(), size)
        m[size - 1:] = b'3'
    m.close()
    assert get(p) == b'2' + b'1' * (size - 2) + b'3'
    r = os.open(p, os.O_RDONLY)
    m = mmap.mmap(r, size, prot=mmap.PROT_READ)
    assert m[:2] == b'21'
    with open(p, 'r+b') as f: # beside a reader and a mapping
        f.write(b'4')
        f.flush()
        assert m[:2] == b'41' and os.pread(r, 2, 0) == b'41'
        w = mmap.mmap(f.fileno(), size)
    w[1:2] = b'5'
    assert m[:2] == b'45' and os.pread(r, 2, 0) == b'45'
    w.flush()
    w.close()
    m.close()
    os.close(r)
    want = b'45' + b'1' * (size - 3) + b'3'
    assert get(p) == want
    fd = os.open(p, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    assert on_b('turns%d' % size) == want
    put(b + '/turns%d' % size, b'from b')
    assert get(p) == b'from b' and get(p) == b'from b'
    with open(p, 'r+b') as f:
        f.write(b'A')
    assert get(p) == b'Arom b' and on_b('turns%d' % size) == b'Arom b'
    os.rename(p, a + '/turned')
    assert get(a + '/turned') == b'Arom b'

# [P2.7] A reader keeps its version over the end of the worker, also what it has
# not read yet, and what the kernel had of it is not taken for the new version.
if ON:
    old, new = b'old' * 30000, b'new' * 30000
    p = fresh('reader', old)
    r = os.open(p, os.O_RDONLY)
    assert os.pread(r, 3, 0) == b'old'
    os.posix_fadvise(r, 4096, 0, os.POSIX_FADV_DONTNEED)
    os.kill(worker(), 9)
    put(b + '/reader', new)
    assert os.pread(r, len(old), 0) == old, 'two versions in one read'
    assert get(p) == new
    assert os.pread(r, len(old), 0) == old
    os.close(r)
    assert get(p) == new

# Truncated through a handle and by name, grown, holes.
p = fresh('size', b's' * 10000)
fd = os.open(p, os.O_RDWR)
os.ftruncate(fd, 5000)
os.truncate(p, 4000)
assert os.fstat(fd).st_size == 4000
os.pwrite(fd, b'end', 9997)
assert os.stat(p).st_size == 10000
os.close(fd)
assert on_b('size') == b's' * 4000 + bytes(5997) + b'end'

# Opened for writing and not written: nothing changes, nothing is sent.
p = fresh('same', b'unchanged')
before = os.stat(b + '/same')
fd = os.open(p, os.O_RDWR)
os.pread(fd, 10, 0)
os.close(fd)
after = os.stat(b + '/same')
assert before.st_mtime_ns == after.st_mtime_ns
assert before.st_ctime_ns == after.st_ctime_ns

# Times that were set stay, also when the bytes are sent after that.
p = a + '/times'
fd = os.open(p, os.O_CREAT | os.O_WRONLY)
os.write(fd, b'bytes')
os.utime(fd, ns=(10**18, 10**18 + 5))
os.close(fd)
assert os.stat(p).st_mtime_ns == 10**18 + 5, os.stat(p).st_mtime_ns
assert os.stat(b + '/times').st_mtime_ns == 10**18 + 5

# setuid does not survive a write by somebody else.
p = fresh('suid', b'#!')
os.chmod(p, 0o6777)
os.chmod(a, 0o755)
pid = os.fork()
if pid == 0:
    os.setgroups([])
    os.setgid(12345)
    os.setuid(12345)
    fd = os.open(p, os.O_WRONLY)
    os.write(fd, b'x')
    os.close(fd)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert os.stat(p).st_mode & 0o7777 == 0o777, oct(os.stat(p).st_mode)

# No worker runs: what the kernel has it goes on with; the next worker sends.
if os.uname().release.split('.')[:2] >= ['6', '9'] or ON:
    p = a + '/alone'
    w = os.open(p, os.O_CREAT | os.O_RDWR)
    os.write(w, b'a' * 5000)
    r = os.open(fresh('steady', b'still here'), os.O_RDONLY)
    os.kill(worker(), 9)
    os.write(w, b'b' * 5000)
    assert os.pread(r, 20, 0) == b'still here'
    assert os.fstat(w).st_size == 10000
    again = os.open(p, os.O_RDWR)
    os.pwrite(again, b'c', 9999)
    os.close(again)
    os.close(w)
    os.close(r)
    assert on_b('alone') == b'a' * 5000 + b'b' * 4999 + b'c'
EOF
			fail "passthrough=$mode, see above"
		same pending "$(status_field "$A" pending_files)" 0
		nodes_pids="$nodes_pids $(status_field "$A" worker_pid)"
		umount_node "$A"
		umount_node "$B"
	done
}
each_store body
