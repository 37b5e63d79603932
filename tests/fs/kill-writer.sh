#!/bin/sh
# SPDX-License-Identifier: MIT
# The worker is killed between two writes of open files, new and existing: the
# next one goes on with the staged bytes, and close() sends all of them.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

body()
{
	D=$work/$store-1 E=$work/$store-2
	mount_node "$store-1" "$SOURCE" "$D"
	python3 - "$builddir/sharedfs" "$D" <<'EOF' || fail "see above"
import json, os, subprocess, sys

import killer

prog, d = sys.argv[1:]

# Not by a child process later on: what it inherits is closed, which sends it.
out = subprocess.check_output([prog, 'status', '--json', d])
supervisor = json.loads(out)['supervisor_pid']

old = d + '/old'
with open(old, 'wb') as f:
    f.write(b'0' * 1000000)
want = bytearray(b'0' * 1000000)
for i in range(4):
    path = d + '/new%d' % i
    new = os.open(path, os.O_CREAT | os.O_EXCL * (i % 2) | os.O_WRONLY)
    ex = os.open(old, os.O_RDWR)
    os.write(new, b'a' * 5000)
    os.pwrite(ex, b'X' * (i + 1), 500 + i * 100)
    want[500 + i * 100:501 + i * 101] = b'X' * (i + 1)
    os.fchmod(new, 0o600)
    if i == 2:
        os.ftruncate(ex, 700000)
        os.ftruncate(ex, 900000)
        want = want[:700000] + bytes(200000)
    killer.kill_worker_of(supervisor)
    os.write(new, b'b' * 5000)
    os.pwrite(ex, b'Y', 300000 + i)
    want[300000 + i] = ord('Y')
    os.close(new)
    os.close(ex)
    with open(path, 'rb') as f:
        got = f.read()
    assert got == b'a' * 5000 + b'b' * 5000, (path, len(got))
    assert os.stat(path).st_mode & 0o777 == 0o600, path
    with open(old, 'rb') as f:
        got = f.read()
    assert got == want, (i, len(got), len(want))
# A reader that comes after the kill has the same file as the writer before it.
for data in b'', b'there':
    path = d + '/reader%d' % len(data)
    w = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.write(w, data)
    killer.kill_worker_of(supervisor)
    r = os.open(path, os.O_RDONLY)
    os.write(w, b'more')
    assert os.pread(r, 100, 0) == data + b'more', os.pread(r, 100, 0)
    os.close(w)
    os.close(r)
EOF
	# Every write through the daemon; of what was empty nothing is cut.
	F=$work/$store-3
	mount_node "$store-3" "$SOURCE" "$F" "$OPTS,passthrough=off"
	python3 - "$builddir/sharedfs" "$F" <<'EOF' || fail "see above"
import json, os, subprocess, sys

import killer

prog, d = sys.argv[1:]
out = subprocess.check_output([prog, 'status', '--json', d])
supervisor = json.loads(out)['supervisor_pid']

for old in b'', b'old':
    path = d + '/again%d' % len(old)
    with open(path, 'wb') as f:
        f.write(old)
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b'before ')
    killer.kill_worker_of(supervisor)
    os.write(fd, b'after')
    os.close(fd)
    with open(path, 'rb') as f:
        got = f.read()
    assert got == b'before after', (path, got)

# Emptied through a descriptor that can't write.
for new in b'', b'new':
    path = d + '/emptied%d' % len(new)
    with open(path, 'wb') as f:
        f.write(b'old')
    fd = os.open(path, os.O_RDONLY | os.O_TRUNC)
    killer.kill_worker_of(supervisor)
    assert os.fstat(fd).st_size == 0, path
    if new:
        w = os.open(path, os.O_WRONLY)
        os.write(w, new)
        os.close(w)
        assert os.pread(fd, 100, 0) == new, path
    os.close(fd)
    with open(path, 'rb') as f:
        got = f.read()
    assert got == new, (path, got)
EOF
	# What the store has, through a second node that has nothing cached.
	mount_node "$store-2" "$SOURCE" "$E"
	for f in old new0 new1 new2 new3; do
		cmp "$D/$f" "$E/$f" || fail "$f differs"
	done
	same pending "$(status_field "$D" pending_files)" 0
	# [P9.1] Its mode was changed before the kill.
	! grep "by another node" "$work/$store-1.log" ||
		fail "a conflict that was none"
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
	nodes_pids="$nodes_pids $(status_field "$F" worker_pid)"
}
each_store body
