# SPDX-License-Identifier: MIT
"""kill-unlinked.py SHAREDFS A B: open files of node A lose their names, its
worker is killed, and they go on; B is another node."""
import json
import mmap
import os
import subprocess
import sys

import killer

prog, a, b = sys.argv[1:]
SIZE = 300000


def kill_worker():
    out = subprocess.check_output([prog, 'status', '--json', a])
    killer.kill(json.loads(out)['worker_pid'])


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)


class File:
    """An open file and what it must be."""

    def __init__(self, name, flags, dirty=b'', clean=True):
        self.path = os.path.join(a, name)
        self.want = bytearray()
        if clean:
            self.want += os.urandom(1000) * (SIZE // 1000)
            put(self.path, bytes(self.want))
        self.flags = flags
        self.fd = os.open(self.path, flags | os.O_CREAT, 0o640)
        self.mode = os.fstat(self.fd).st_mode
        self.ino = os.fstat(self.fd).st_ino
        self.nlink = 0
        if dirty:
            self.write(dirty, 70)

    def write(self, data, at):
        if self.flags & os.O_APPEND:
            at = len(self.want)
        os.pwrite(self.fd, data, at)
        if at > len(self.want):
            self.want += bytes(at - len(self.want))
        self.want[at:at + len(data)] = data

    def check(self):
        st = os.fstat(self.fd)
        assert st.st_size == len(self.want), (self.path, st.st_size)
        assert st.st_mode == self.mode and st.st_ino == self.ino, self.path
        assert st.st_nlink <= self.nlink, (self.path, st.st_nlink)
        if self.flags & os.O_ACCMODE != os.O_WRONLY:
            got = os.pread(self.fd, len(self.want) + 1, 0)
            assert got == self.want, (self.path, len(got))

    def change(self, i):
        if self.flags & os.O_ACCMODE == os.O_RDONLY:
            return
        self.write(b'after %d' % i, 1000 * i)
        os.fsync(self.fd)
        if i == 2:
            os.ftruncate(self.fd, SIZE // 3)
            self.want = self.want[:SIZE // 3]
            self.want += bytes(SIZE // 3 - len(self.want))
            os.ftruncate(self.fd, SIZE)
            self.want += bytes(SIZE - len(self.want))
            os.fchmod(self.fd, 0o600)
            self.mode = os.fstat(self.fd).st_mode


def open_all(prefix):
    return [
        File(prefix + '1', os.O_RDONLY),
        File(prefix + '2', os.O_RDWR),
        File(prefix + '3', os.O_RDWR, b'dirty'),
        File(prefix + '4', os.O_RDWR, b'new', clean=False),
        File(prefix + '5', os.O_RDWR | os.O_APPEND, b'end'),
    ]


gone = open_all('gone')
over = open_all('over')
second = os.open(gone[0].path, os.O_RDONLY)
shown = mmap.mmap(gone[1].fd, SIZE)
private = mmap.mmap(gone[0].fd, SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ)
for f in gone:
    os.unlink(f.path)
for f in over:
    put(os.path.join(a, 'temp'), b'new')
    os.rename(os.path.join(a, 'temp'), f.path)
# Another node's file takes the name.  On file that is a new inode as well.
other = File('file', os.O_RDONLY)
other.nlink = 1
other.check()
put(os.path.join(b, 'temp'), b'of b')
os.rename(os.path.join(b, 'temp'), os.path.join(b, 'file'))
with open(other.path, 'rb') as f:
    assert f.read() == b'of b'
files = gone + over + [other]
for i in range(4):
    kill_worker()
    for f in files:
        f.check()
        f.change(i)
        f.check()
    assert os.pread(second, SIZE, 0) == gone[0].want
    assert private[:] == gone[0].want
    if i < 2:
        shown[5:9] = b'map%d' % i
        gone[1].want[5:9] = b'map%d' % i
        assert shown[:] == gone[1].want
    for f in over:
        with open(f.path, 'rb') as g:
            assert g.read() == b'new'
    assert not [n for n in os.listdir(a) if n.startswith('gone')]
del private, shown
for f in files:
    os.close(f.fd)
os.close(second)
