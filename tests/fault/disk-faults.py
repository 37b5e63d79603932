# SPDX-License-Identifier: MIT
"""What programs see of a cache disk that fails: disk-faults.py DIR OTHER CACHE
DISK KIND.  DIR is the mount, OTHER another node's, CACHE where the cache is, DISK
where tests/bin/disk is.  KIND: one of the functions at the end."""
import ctypes
import errno
import os
import random
import subprocess
import sys
import time

top, other, cache, disk, kind = sys.argv[1:]
rnd = random.Random(kind)
BASE = {'f%d' % i: 1000 * 3 ** (i % 7) for i in range(14)}
BASE['large'] = 5000000


def data_of(name):
    return random.Random(name).randbytes(BASE[name])


def put(d, name, data):
    fd = os.open(os.path.join(d, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for at in range(0, len(data), 100000):
            os.write(fd, data[at:at + 100000])
    finally:
        os.close(fd)


def get(d, name):
    with open(os.path.join(d, name), 'rb') as f:
        return f.read()


def read_all(why):
    for name in BASE:
        try:
            got = get(top, name)
        except OSError as e:
            raise AssertionError('%s: %s: %s' % (why, name, e)) from e
        assert got == data_of(name), '%s: %s' % (why, name)


def tell(words):
    with open(disk + '/ctl', 'w') as f:
        f.write(words)


def cold():
    """What the disk has is read from the disk."""
    subprocess.check_call(['sync', '-f', cache])
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('1')


def clean_files():
    for d, _, names in os.walk(cache + '/v1/clean'):
        for n in names:
            yield os.path.join(d, n)


def error_of(fn):
    try:
        fn()
    except OSError as e:
        return errno.errorcode[e.errno]
    return None


def round_trip(name, n):
    """What is written is seen here and there."""
    data = rnd.randbytes(n)
    put(top, name, data)
    assert get(top, name) == data and get(other, name) == data, name
    os.unlink(os.path.join(top, name))


def base():
    for name in BASE:
        put(other, name, data_of(name))
    settle()


def settle():
    """All is in the cache.  (On file a young version is not kept.)"""
    end = time.monotonic() + 120
    while len(list(clean_files())) < len(BASE):
        assert time.monotonic() < end, 'nothing is cached'
        read_all('base')


def edited():
    """Clean files are written to by somebody: also those that are open."""
    held = [os.open(os.path.join(top, n), os.O_RDONLY) for n in list(BASE)[:9]]
    for path in clean_files():
        size = os.path.getsize(path)
        with open(path, 'r+b') as f:
            at = rnd.randrange(size)
            f.seek(at)
            b = f.read(1)
            f.seek(at)
            f.write(bytes([b[0] ^ 255]))
    read_all('edited')
    read_all('edited, again')
    for fd in held:
        os.close(fd)
    read_all('edited, and closed')
    for path in clean_files():
        os.truncate(path, os.path.getsize(path) // 2)
    read_all('truncated')


def deleted():
    """All of the cache directory is removed while it is used."""
    names = list(BASE)
    held = {n: os.open(os.path.join(top, n), os.O_RDONLY) for n in names[:9]}
    new = os.open(top + '/new', os.O_RDWR | os.O_CREAT)
    old = os.open(top + '/f8', os.O_RDWR)
    first, second = rnd.randbytes(70000), rnd.randbytes(70000)
    os.write(new, first)
    os.pwrite(old, b'changed', 5)
    subprocess.check_call(['rm', '-rf', cache + '/v1'])
    os.write(new, second)
    assert os.pread(new, 200000, 0) == first + second
    os.close(new)
    os.close(old)
    for n, fd in held.items():
        want = data_of(n)
        if n == 'f8':
            want = want[:5] + b'changed' + want[12:]
        assert os.pread(fd, BASE[n] + 1, 0) == want, n
        os.close(fd)
    assert get(other, 'new') == get(top, 'new') == first + second
    assert get(other, 'f8')[5:12] == b'changed'
    put(other, 'f8', data_of('f8'))
    os.unlink(top + '/new')
    read_all('deleted')
    round_trip('x', 300000)
    settle()


def fill():
    fd = os.open(cache + '/filler', os.O_WRONLY | os.O_CREAT)
    for n in (1 << 20, 4096, 1):
        while error_of(lambda: os.write(fd, bytes(n))) is None:
            pass
    os.close(fd)


def full():
    """Another program takes all the room."""
    for n in BASE:
        if rnd.randrange(2):
            put(other, n, data_of(n))  # not in the cache in this version
    staged = rnd.randbytes(200000)
    fd = os.open(top + '/staged', os.O_RDWR | os.O_CREAT)
    os.write(fd, staged)
    fill()
    read_all('full')
    got = staged
    for _ in range(1000):
        more = rnd.randbytes(100000)
        try:
            got += more[:os.write(fd, more)]
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            break
    else:
        raise AssertionError('no ENOSPC')
    assert os.pread(fd, len(got) + 1, 0) == got, 'the staged bytes'
    os.fsync(fd)
    assert get(other, 'staged') == got
    # More than clean content can make room for.
    e = error_of(lambda: put(top, 'refused', bytes(40000000)))
    assert e == 'ENOSPC', e
    read_all('full, again')
    os.unlink(cache + '/filler')
    os.write(fd, staged)
    os.close(fd)
    assert get(other, 'staged') == got + staged
    os.unlink(top + '/staged')
    if os.path.exists(top + '/refused'):  # what of it could be written
        os.unlink(top + '/refused')
    round_trip('x', 3000000)
    read_all('room again')


def warm_ends():
    """Of large files the ends are in memory, and what is between is not."""
    for path in clean_files():
        size = os.path.getsize(path)
        if size > 1 << 20:
            with open(path, 'rb', buffering=0) as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for at in (0, (size - 1) // 131072 * 131072):
                    os.pread(f.fileno(), 131072, at)


def unreadable():
    """The disk can't be read."""
    read_all('before')
    cold()
    warm_ends()
    tell('fail read')
    try:
        read_all('unreadable')
        read_all('unreadable, again')
    finally:
        tell('fail none')
    read_all('readable')
    round_trip('x', 300000)


def staging_files():
    for d, _, names in os.walk(cache + '/v1/mounts'):
        if d.endswith('/files'):
            for n in names:
                yield os.path.join(d, n)


def end_of_ext4():
    """It becomes read-only: its journal can't be written."""
    error_of(lambda: os.fsync(os.open(cache, os.O_RDONLY)))
    e = error_of(lambda: open(cache + '/x', 'w').close())
    assert e in ('EROFS', 'EIO'), e


def lose(fault):
    """What is written does not get to the disk, and memory lets it go."""
    # Of ext4's own writes none is under way when they fail: it would end there.
    # (Of an earlier fault it tells here.)
    subprocess.call(['sync', '-f', cache], stderr=subprocess.DEVNULL)
    fd = os.open(top + '/lost', os.O_RDWR | os.O_CREAT)
    os.write(fd, rnd.randbytes(3000000))
    tell('fail write')
    for path in staging_files():
        with open(path, 'rb') as f:
            ctypes.CDLL(None).sync_file_range(
                f.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), 7)
    fault()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('1')
    tell('fail none')
    e = error_of(lambda: os.close(fd))
    assert e == 'EIO', e
    # The kernel lets go of the file a moment after close().
    end = time.monotonic() + 60
    while b'lost' not in subprocess.check_output(
            ['sharedfs', 'recover', 'list', top]):
        assert time.monotonic() < end, 'not listed'
        time.sleep(0.05)
    subprocess.check_call(['sharedfs', 'recover', 'discard', top, '--all'])
    if os.path.exists(top + '/lost'):
        assert get(other, 'lost') == b'', 'other bytes were sent'
        os.unlink(top + '/lost')


def lost():
    lose(lambda: None)


def broken():
    """Writes fail, and ext4 becomes read-only; it does not come back."""
    staged = rnd.randbytes(300000)
    fd = os.open(top + '/staged', os.O_RDWR | os.O_CREAT)

    def end():
        os.write(fd, staged)
        end_of_ext4()

    # The record of a file that can't be sent any more can't be written, too.
    lose(end)
    read_all('broken')
    read_all('broken, again')
    assert os.pread(fd, 400000, 0) == staged
    os.close(fd)
    assert get(other, 'staged') == staged
    # Files that are written live in memory now.
    round_trip('x', 300000)
    os.unlink(top + '/staged')


globals()[kind]()
